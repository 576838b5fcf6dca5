"""The language model's training program: its parts by hand-worked cases, and the whole in its smallest form."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

TRAIN = Path(__file__).parents[1] / "train"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TRAIN))
    spec = importlib.util.spec_from_file_location(name, TRAIN / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_delay_is_that_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    lm = load("lm_model", monkeypatch)
    codes = torch.arange(2 * 4 * 9).view(2, 4, 9) % 256
    inputs, targets = lm.delayed(codes, 256)
    decoder = lm.build_decoder(16, 1, 2, 0.0, 256)
    start = torch.full((2, 4, 1), 256)
    flat, _ = decoder.build_delay_pattern_mask(torch.cat([start, codes], 2).view(8, -1), 256, max_length=13)
    theirs = flat.view(2, 4, -1)
    assert torch.equal(inputs[:, :, : theirs.shape[2]], theirs[:, :, :9])
    for k in range(4):
        assert (targets[:, k, :k] == -100).all()
        assert torch.equal(targets[:, k, k:], codes[:, k, : 9 - k])


def test_blockwise_attention_is_causal_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    fast = load("fast_attention", monkeypatch)
    rng = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 300, 8, generator=rng) for _ in range(3))
    module = torch.nn.Module()
    module.is_causal = True
    ours, _ = fast.attend(module, query, key, value, None)
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(ours, exact.transpose(1, 2))
    module.is_causal = False
    ours, _ = fast.attend(module, query, key[:, :, :7], value[:, :, :7], None)
    exact = torch.nn.functional.scaled_dot_product_attention(query, key[:, :, :7], value[:, :, :7])
    torch.testing.assert_close(ours, exact.transpose(1, 2))


def test_spliced_sequences_stay_within_instrument_and_style(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = load("codes", monkeypatch)
    leads, styles = np.array(["organ", "piano"] * 5), np.array(["waltz", "march"] * 5)
    captions = np.char.add(leads, styles)
    # Every code tells which clip it is from.
    codes = np.broadcast_to(np.arange(10, dtype=np.int16)[:, None, None], (10, 4, 300)).copy()
    np.savez(tmp_path / "000000.npz", codes=codes, captions=captions, leads=leads, styles=styles)
    data = module.Codes(tmp_path, 200)
    whole, _ = data.batch(6, 0.0, np.random.default_rng(0))
    assert whole.shape == (6, 4, 200) and (whole == whole[:, :, :1]).all()
    spliced, drawn = data.batch(32, 1.0, np.random.default_rng(0))
    assert len({tuple(np.unique(row)) for row in spliced}) > 5
    for row, caption in zip(spliced, drawn, strict=True):
        assert {str(captions[clip]) for clip in np.unique(row)} == {caption}


def test_k_means_and_the_quantiser_reduce_the_error_with_every_codebook(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    module = load("codec_quantise", monkeypatch)
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 3, generator=rng)
    centres = module.k_means(rows, 64)
    left = rows - centres[module.nearest(rows, centres)]
    assert float(left.square().mean()) < 0.15
    assert module.nearest(centres, centres).tolist() == list(range(64))


def test_a_section_of_the_log_is_replaced_and_others_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    common = load("common", monkeypatch)
    path = tmp_path / "TRAINING.md"
    common.log_section("Codec", ["old"], path)
    common.log_section("Language model", ["kept"], path)
    common.log_section("Codec", ["new"], path)
    text = path.read_text(encoding="utf-8")
    assert "old" not in text and text.count("## ") == 2
    assert text.index("## Codec\n\nnew") < text.index("## Language model\n\nkept")


@pytest.fixture
def lm_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Makes a training of the smallest model on random codes, in the folder of this name."""
    program = load("lm", monkeypatch)
    codec = load("codec", monkeypatch).build_codec(2, 4, 1, 8)
    codec.save_pretrained(tmp_path / "codec")
    rng = np.random.default_rng(0)
    shard = {"captions": ["a sad waltz", "a march"], "leads": ["organ", "piano"], "styles": ["waltz", "march"]}
    for name in ("000000", "held_out"):
        np.savez(tmp_path / f"{name}.npz", codes=rng.integers(0, 8, (2, 4, 90)).astype(np.int16), **shard)
    small = "--steps 4 --frames 60 --width 32 --layers 1 --heads 2 --batch 2 --entries 8 --dropout 0.1"

    def make(name: str, *more: str) -> Any:
        out = tmp_path / name
        folders = f"--codes {tmp_path} --codec {tmp_path / 'codec'} --out {out} --weights {out / 'model'}"
        return program.Training(program.arguments([*f"{small} {folders}".split(), *more]), ["a sad waltz, slow"])

    return make


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="the language model is trained by Muon, of torch 2.9")
def test_a_killed_and_resumed_language_model_ends_with_the_same_bytes(
    lm_run: Callable[..., Any], tmp_path: Path
) -> None:
    whole = lm_run("whole")
    whole.run()
    killed = lm_run("killed")
    for _ in range(2):
        killed.learn()
    killed.save()
    killed.learn()  # lost with the process
    resumed = lm_run("killed", "--resume")
    assert resumed.step == 2
    resumed.run()
    a, b = (tmp_path / run / "model" / "model.safetensors" for run in ("whole", "killed"))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="the language model is trained by Muon, of torch 2.9")
def test_the_language_model_is_a_folder_that_loads_and_reports_by_group(
    lm_run: Callable[..., Any], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    training = lm_run("run")
    training.run()
    row = training.history.rows()[-1]
    assert len(row["held_out"]) == 4
    assert (list(row["leads"]), list(row["styles"])) == (["organ", "piano"], ["march", "waltz"])
    model = MusicgenForConditionalGeneration.from_pretrained(tmp_path / "run" / "model")
    assert (model.config.decoder.hidden_size, model.config.decoder.pad_token_id) == (32, 8)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert tokenizer.unk_token_id not in tokenizer("A slow, sad waltz").input_ids
    assert tokenizer.unk_token_id in tokenizer("a fugue").input_ids
