from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from expotion import weights as files
from expotion.contracts import BackboneSpec
from expotion.errors import WeightsError
from expotion.musicgen.load import backbone_trained_on, load_backbone
from expotion.plugins import Offer


@pytest.fixture
def folder(musicgen_folder, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(musicgen_folder, tmp_path / "model")


@pytest.fixture
def tensors(musicgen_folder):
    return load_file(musicgen_folder / "model.safetensors")


def logits(lm):
    torch.manual_seed(3)
    return lm(torch.randint(0, 17, (1, 4, 6)), torch.randn(1, 3, 32))


def test_reads_a_full_model(musicgen_folder):
    backbone = load_backbone(musicgen_folder)
    assert backbone.codec is not None
    assert (backbone.frame_rate_hz, backbone.sample_rate_hz) == (50.0, 1200)
    assert backbone.codec.encode(torch.randn(100)).shape == (4, 5)
    assert backbone.geometry.text_width == 12
    assert len(backbone.weights_hash) == 64
    half = backbone.cast(torch.bfloat16)
    assert half.lm.dtype == torch.bfloat16 and backbone.lm.dtype == torch.float32
    assert half.codec is backbone.codec


def test_sharded_half_precision_and_decoder_only_give_the_same_model(folder, tensors, tmp_path):
    whole = logits(load_backbone(folder, parts=set()).lm)
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    save_file({n: tensors[n] for n in names[::2]}, folder / "model-00001-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[1::2]}, folder / "model-00002-of-00002.safetensors")
    shards = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert torch.equal(logits(load_backbone(folder, parts=set()).lm), whole)

    config = json.loads((folder / "config.json").read_text())
    decoder_only = tmp_path / "decoder"
    decoder_only.mkdir()
    (decoder_only / "config.json").write_text(json.dumps(config["decoder"] | {"model_type": "musicgen_decoder"}))
    own = {n.removeprefix("decoder."): t.half() for n, t in tensors.items() if n.startswith("decoder.")}
    save_file(own, decoder_only / "model.safetensors")
    backbone = load_backbone(decoder_only)
    assert backbone.codec is None
    assert backbone.lm.dtype == torch.float32
    assert (logits(backbone.lm) - whole).abs().max() < 2e-2


def test_lists_missing_unexpected_and_misshaped(folder, tensors):
    tensors.pop("decoder.lm_heads.1.weight")
    tensors["decoder.stray"] = torch.zeros(2)
    tensors["enc_to_dec_proj.bias"] = torch.zeros(5)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError) as error:
        load_backbone(folder)
    assert len(error.value.problems) == 3
    for word in ("lm_heads.1", "stray", "enc_to_dec_proj.bias"):
        assert word in str(error.value)


def test_a_stored_table_of_positions_is_no_mismatch(folder, tensors):
    tensors["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 32)
    save_file(tensors, folder / "model.safetensors")
    assert load_backbone(folder, parts=set()).geometry.width == 32


def test_the_codec_is_strict_too(folder, tensors):
    part = "audio_encoder.encoder.layers.0.conv.bias"
    kept = {n: t for n, t in tensors.items() if n != part}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=part.split(".", 1)[1]):
        load_backbone(folder)


def test_files_that_cannot_be_read(folder):
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="readable safetensors"):
        load_backbone(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="neither"):
        load_backbone(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="JSON"):
        load_backbone(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="musicgen"):
        load_backbone(folder)
    with pytest.raises(WeightsError, match="no such folder"):
        load_backbone(folder / "nowhere")


def test_a_codec_of_another_size_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["audio_encoder"]["target_bandwidths"] = [0.6]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError):
        load_backbone(folder)


def audiocraft_folder(golden, tmp_path, cfg_as_text: bool):
    lm, codec = golden("musicgen_lm"), golden("encodec")
    width, text_width = lm.about["config"]["dim"], 12
    state = lm.under("lm/")
    stem = "condition_provider.conditioners.description.output_proj"
    state |= {f"{stem}.weight": torch.randn(width, text_width), f"{stem}.bias": torch.randn(width)}
    sizes = codec.about["config"]
    text = (
        "transformer_lm:\n  num_heads: 4\n  norm_first: true\ncodebooks_pattern:\n  modeling: delay\n"
        "  delay:\n    delays: [0, 1, 2, 3]\n"
    )
    mapping = {
        "sample_rate": sizes["sr"],
        "seanet": {key: sizes[key] for key in ("dimension", "n_filters", "ratios", "pad_mode")},
        "rvq": {"n_q": sizes["n_q"], "bins": sizes["bins"]},
    }
    torch.save({"best_state": state, "xp.cfg": text, "version": "1"}, tmp_path / "state_dict.bin")
    torch.save(
        {"best_state": codec.under("ac/"), "xp.cfg": json.dumps(mapping) if cfg_as_text else mapping},
        tmp_path / "compression_state_dict.bin",
    )
    return tmp_path


@pytest.mark.parametrize("cfg_as_text", [True, False])
def test_reads_audiocraft_files(golden, tmp_path, cfg_as_text):
    data = golden("musicgen_lm")
    folder = audiocraft_folder(golden, tmp_path, cfg_as_text)
    backbone = load_backbone(f"audiocraft:{folder}", parts={"lm"})
    logits = backbone.lm(data["in/raw_sequence"], data["in/cross_source"])
    assert (logits - data["out/raw_logits"]).abs().max() < 1e-4
    assert backbone.geometry.delays == (0, 1, 2, 3)
    with pytest.raises(WeightsError, match="codes"):  # the two golden sets differ in their number of codes
        load_backbone(folder, parts={"lm", "codec"})


def test_audiocraft_codec_in_its_newer_form(golden, tmp_path, musicgen_folder):
    from expotion.musicgen.audiocraft_files import load_codec

    config = json.loads((musicgen_folder / "config.json").read_text())["audio_encoder"]
    codec = tmp_path / "codec"
    codec.mkdir()
    (codec / "config.json").write_text(json.dumps(config))
    whole = load_file(musicgen_folder / "model.safetensors")
    prefix = "audio_encoder."
    save_file(
        {n.removeprefix(prefix): t for n, t in whole.items() if n.startswith(prefix)}, codec / "model.safetensors"
    )
    torch.save({"pretrained": str(codec)}, tmp_path / "compression_state_dict.bin")
    assert load_codec(tmp_path / "compression_state_dict.bin").n_codebooks == 4


def test_audiocraft_settings_that_compute_something_else(golden, tmp_path):
    folder = audiocraft_folder(golden, tmp_path, True)
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    package["xp.cfg"] = "transformer_lm: {positional_embedding: rope, bias_attn: true}"
    torch.save(package, folder / "state_dict.bin")
    with pytest.raises(WeightsError) as error:
        load_backbone(folder, parts={"lm"})
    assert len(error.value.problems) == 3  # and the number of heads is missing
    package["best_state"].pop("out_norm.bias")
    package["xp.cfg"] = "transformer_lm: {num_heads: 4}"
    torch.save(package, folder / "state_dict.bin")
    with pytest.raises(WeightsError, match=r"out_norm\.bias"):
        load_backbone(folder, parts={"lm"})


def test_a_file_with_code_is_refused(tmp_path):
    torch.save({"best_state": SimpleNamespace(run=os.system)}, tmp_path / "state_dict.bin")
    with pytest.raises(WeightsError, match="refused"):
        load_backbone(f"audiocraft:{tmp_path}")


def test_offline_without_a_cache_says_how_to_fetch(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*_args, **_kwargs):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(WeightsError, match="hf download facebook/musicgen-small") as error:
        load_backbone("hf:facebook/musicgen-small", cache=tmp_path)
    assert "no route" in str(error.value)


def test_a_cached_snapshot_is_used(musicgen_folder, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_a, **_k: str(musicgen_folder))
    assert load_backbone("hf:somebody/tiny", parts=set()).source == "hf:somebody/tiny"


def test_the_hash_is_of_the_content(tmp_path):
    for name, data in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(data)
    assert files.files_hash([tmp_path / "a"]) == files.files_hash([tmp_path / "b"])
    assert files.files_hash([tmp_path / "a"]) != files.files_hash([tmp_path / "c"])


@pytest.fixture
def renamed(monkeypatch):
    """A registry whose plugin put new weights under `tiny`; a backbone's hash is its folder's name."""
    monkeypatch.setattr("expotion.musicgen.load.load_backbone", lambda folder: SimpleNamespace(weights_hash=folder))
    offered = {"tiny": ("new", "ours"), "tiny-1": ("old", "ours"), "other": ("theirs", "another")}
    table = {
        name: Offer(BackboneSpec(name, "", lambda folder=folder: Path(folder)), distribution, "1.0")
        for name, (folder, distribution) in offered.items()
    }
    return SimpleNamespace(backbones=table, backbone=lambda name: table[name].spec)


@pytest.mark.parametrize("weights_hash", ["new", "old"])
def test_an_adaptors_weights_are_found_under_the_name_that_they_have_now(renamed, weights_hash):
    assert backbone_trained_on("tiny", weights_hash, renamed).weights_hash == weights_hash


def test_an_adaptor_for_another_backbone_is_refused_by_name(renamed):
    with pytest.raises(WeightsError, match=r"(?s)backbone 'tiny'.*no name.*older ours"):
        backbone_trained_on("tiny", "theirs", renamed)


def test_weights_that_are_no_plugins_are_taken_as_they_are(renamed):
    assert backbone_trained_on("hf:someone/musicgen", "whatever", renamed).weights_hash == "hf:someone/musicgen"
