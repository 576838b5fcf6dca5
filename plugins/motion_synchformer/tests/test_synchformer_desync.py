"""DeSync: the sync model in the released layout on small random weights, what it hears, the value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import expotion_motion_synchformer as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, check_metric
from expotion_motion_synchformer import desync
from expotion_motion_synchformer.options import Geometry
from expotion_motion_synchformer.sync_model import SyncGeometry, SyncModel, load_sync
from expotion_motion_synchformer.sync_sound import segments_mel

VISUAL = Geometry(image=32, patch=16, frames=16, tubelet=2, dim=24, depth=1, heads=2, resize=36, segment_step=8)
SMALL = SyncGeometry(visual=VISUAL, segments=3, sound_depth=1, depth=1, heads=2, offsets=21)


def seeded() -> SyncModel:
    torch.manual_seed(0)
    model = SyncModel(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=round(16_000 * seconds)).astype(np.float32)


def test_keys_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in SyncModel().state_dict().items()}
    assert shapes["transformer.pos_emb_cfg.pos_emb"] == (1, 198, 768)
    assert shapes["transformer.blocks.2.attn.key.weight"] == (768, 768)
    assert shapes["transformer.blocks.0.mlp.2.weight"] == (768, 3072)
    assert shapes["transformer.off_head.weight"] == (21, 768)
    assert shapes["afeat_extractor.ast.embeddings.position_embeddings"] == (1, 74, 768)
    assert shapes["afeat_extractor.ast.encoder.layer.11.attention.attention.query.weight"] == (768, 768)
    assert shapes["afeat_extractor.ast.encoder.layer.0.intermediate.dense.weight"] == (3072, 768)
    assert shapes["afeat_extractor.freq_attn_agg.self_attn.in_proj_weight"] == (2304, 768)
    assert shapes["vproj.weight"] == shapes["aproj.weight"] == (768, 768)
    assert shapes["vfeat_extractor.pos_embed"] == (1, 197, 768)


def test_the_sound_tower_is_transformers_ast() -> None:
    """The same weights in transformers' AST give the same tokens."""
    from transformers import ASTConfig, ASTModel

    tower = seeded().afeat_extractor
    config = ASTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96, max_length=66
    )
    theirs = ASTModel(config).eval()
    own, wanted = tower.ast.state_dict(), theirs.state_dict()
    by_shape = {key: value for key, value in own.items() if key in wanted}
    renamed = set(wanted) - set(by_shape)
    for key in renamed:  # transformers has renamed its layers since the checkpoint was made
        old = (
            key.replace("layers.", "encoder.layer.", 1)
            .replace("attention.q_proj", "attention.attention.query")
            .replace("attention.k_proj", "attention.attention.key")
            .replace("attention.v_proj", "attention.attention.value")
            .replace("attention.o_proj", "attention.output.dense")
            .replace("mlp.fc1", "intermediate.dense")
            .replace("mlp.fc2", "output.dense")
        )
        by_shape[key] = own[old]
    theirs.load_state_dict(by_shape, strict=True)
    seen: list[torch.Tensor] = []
    handle = tower.ast.layernorm.register_forward_hook(lambda _m, _i, out: seen.append(out))
    mel = torch.randn(2, 66, 128)
    with torch.no_grad():
        rows = tower(mel)
        wanted_tokens = theirs(mel).last_hidden_state
    handle.remove()
    assert rows.shape == (2, 6, 24)
    torch.testing.assert_close(seen[0], wanted_tokens, atol=1e-5, rtol=1e-4)


def test_mel_is_the_written_out_formula() -> None:
    sound = noise(0.64)
    found = segments_mel(torch.from_numpy(sound)[None])[0]
    assert found.shape == (66, 128)
    frame, band = 30, 60
    window = np.zeros(1024)
    window[312:712] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    piece = sound[frame * 160 - 512 : frame * 160 + 512].astype(np.float64)
    power = np.abs(np.fft.rfft(piece * window)) ** 2
    top = 2595 * np.log10(1 + 8000 / 700)
    low, mid, high = (700 * (10 ** (top * (band + i) / 129 / 2595) - 1) for i in range(3))
    total = 0.0
    for i in range(513):
        hz = i * 15.625
        total += power[i] * max(0.0, min((hz - low) / (mid - low), (high - hz) / (high - mid)))
    assert float(found[frame, band]) == pytest.approx(
        (np.log(total + 1e-6) + 4.2677393) / (2 * 4.5689974), rel=1e-4
    )
    assert float(found[65, 0]) == pytest.approx(4.2677393 / (2 * 4.5689974), rel=1e-5)


def test_a_saved_checkpoint_comes_back(tmp_path: Path) -> None:
    model = seeded()
    unused = {
        "vfeat_extractor.patch_embed.proj.weight": torch.zeros(24, 3, 16, 16),
        "vfeat_extractor.patch_embed.proj.bias": torch.zeros(24),
    }
    torch.save({"model": model.state_dict() | unused, "epoch": 3}, tmp_path / "sync.pt")
    again = load_sync(tmp_path / "sync.pt", SMALL)
    pictures, mel = torch.randn(3, 3, 16, 32, 32), torch.randn(3, 66, 128)
    with torch.no_grad():
        wanted = model.logits(model.see(pictures), model.hear(mel))
        torch.testing.assert_close(again.logits(again.see(pictures), again.hear(mel)), wanted)
    assert wanted.shape == (21,)
    visual = {f"v_encoder.{key}": value for key, value in model.vfeat_extractor.state_dict().items()}
    torch.save({"state_dict": visual}, tmp_path / "stage1.pt")
    with pytest.raises(WeightsError, match="whole sync checkpoint"):
        load_sync(tmp_path / "stage1.pt", SMALL)


def test_the_value_is_the_mean_of_two_absolute_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = desync.Judge(seeded())
    asked: list[float] = []

    def offset_s(scored: Scored, video: object, start_s: float) -> float:
        asked.append(start_s)
        return -1.2 if start_s == 0 else 0.4

    monkeypatch.setattr(judge, "offset_s", offset_s)
    score = desync.score_with(judge)
    clip = SyntheticClip(3.0)
    assert score(Scored(noise(3.0), 16_000, clip)).value == pytest.approx(0.8)
    assert asked == [0.0, pytest.approx(3.0 - 32 / 25)]
    assert score(Scored(noise(1.0), 16_000, clip)).reason == "shorter than 1.28 s"
    assert score(Scored(noise(3.0), 16_000, SyntheticClip(n_frames=0))).reason == "the clip has no picture"


def test_it_hears_and_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = desync.Judge(seeded())
    offsets = {
        judge.offset_s(Scored(noise(3.0, i), 16_000, SyntheticClip(3.0)), SyntheticClip(3.0).video, 0.0)
        for i in range(4)
    }
    assert all(abs(offset) <= 2.0 for offset in offsets)
    spec = replace(plugin.DESYNC, build=lambda: desync.score_with(judge), weights=())
    check_metric(spec)


def test_weights_that_were_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    assert plugin.DESYNC.missing()[0].fix == "expotion models pull synchformer_sync_audioset"
    with pytest.raises(WeightsError, match="models pull"):
        plugin.DESYNC.build()
