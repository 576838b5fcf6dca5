"""The training programs: their parts by hand-worked cases, and each whole program in its smallest form."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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
    inputs, targets = lm.delayed(codes)
    decoder = lm.build_decoder(16, 1, 2, 0.0)
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


def test_spliced_sequences_stay_within_timbre_and_mood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = load("codes", monkeypatch)
    groups = np.array(["organ/sad", "piano/calm"] * 5)
    # Every code tells which clip it is from.
    codes = np.broadcast_to(np.arange(10, dtype=np.int16)[:, None, None], (10, 4, 300)).copy()
    np.savez(tmp_path / "000000.npz", codes=codes, captions=groups, groups=groups)
    data = module.Codes(tmp_path, 200)
    assert data.refresh() == 10
    whole, _ = data.batch(6, 0.0, np.random.default_rng(0))
    assert whole.shape == (6, 4, 200) and (whole == whole[:, :, :1]).all()
    spliced, captions = data.batch(32, 1.0, np.random.default_rng(0))
    assert len({tuple(np.unique(row)) for row in spliced}) > 5
    for row, caption in zip(spliced, captions, strict=True):
        assert {str(groups[clip]) for clip in np.unique(row)} == {caption}


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


@pytest.mark.slow
def test_both_programs_run_from_nothing_to_a_loadable_folder(tmp_path: Path) -> None:
    from transformers import MusicgenForConditionalGeneration

    log = TRAIN.parent / "TRAINING.md"
    before = log.read_bytes() if log.exists() else b""
    for program, extra in (("codec.py", []), ("lm.py", ["--weights", str(tmp_path / "tiny")])):
        command = [sys.executable, str(TRAIN / program), "--smoke", "--out", str(tmp_path / "run"), *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    model = MusicgenForConditionalGeneration.from_pretrained(tmp_path / "tiny")
    assert model.config.decoder.hidden_size == 32
    assert (log.read_bytes() if log.exists() else b"") == before
