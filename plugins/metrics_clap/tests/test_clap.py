"""CLAP on a small random model in the layout that transformers saves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import expotion_metrics_clap as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, check_metric
from expotion_metrics_clap.model import Clap, windows

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "warm", "strings", "over", "a", "steady", "drum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapTextConfig,
        PreTrainedTokenizerFast,
    )

    path = tmp_path_factory.mktemp("clap")
    text = ClapTextConfig(
        vocab_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        projection_dim=8,
    )
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        hidden_size=16,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        spec_size=256,
        num_mel_bins=64,
        patch_size=16,
        patch_stride=[16, 16],
        window_size=4,
        projection_dim=8,
    )
    torch.manual_seed(0)
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=8)
    ClapModel(config).save_pretrained(path)
    ClapFeatureExtractor(feature_size=64, truncation="rand_trunc").save_pretrained(path)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(path)
    return path


@pytest.fixture
def pulled(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    note = tmp_path / "models" / "clap_music" / "model.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"file": str(folder / "model.safetensors")}))
    return folder


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.1, size=round(seconds * 48_000)).astype(np.float32)


def test_windows_of_ten_seconds_without_a_short_rest() -> None:
    assert [len(piece) for piece in windows(sound(10.5))] == [480_000]
    assert [len(piece) for piece in windows(sound(11.5))] == [480_000, 72_000]
    assert [len(piece) for piece in windows(sound(0.2))] == [9_600]
    assert list(windows(sound(0))) == []


def test_embeddings_have_length_one_and_a_long_sound_is_repeatable(folder: Path) -> None:
    clap = Clap(folder)
    long = sound(21.5)
    rows = clap.audio(long)
    assert rows.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(rows, clap.audio(long))
    np.testing.assert_allclose(rows[:1], clap.audio(long[:480_000]), rtol=1e-5)


def test_similarity_is_the_cosine_with_the_prompt(pulled: Path) -> None:
    clap = Clap(pulled)
    music = sound(3)
    function = plugin.build_similarity()
    found = function(Scored(music, 48_000, SyntheticClip(), "warm strings"))
    assert found.value == pytest.approx(float(clap.audio(music)[0] @ clap.text("warm strings")), abs=1e-6)
    other = function(Scored(music, 48_000, SyntheticClip(), "steady drum"))
    assert other.value != found.value
    assert function(Scored(music, 48_000, SyntheticClip(), None)).reason == "the sound was made without a prompt"


@pytest.mark.parametrize("spec", plugin.expotion_metrics(), ids=lambda spec: spec.name)
def test_the_metrics_keep_the_contract(spec: plugin.MetricSpec, pulled: Path) -> None:
    check_metric(spec)
    assert spec.missing() == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="CLAP folder"):
        Clap(tmp_path)


def test_weights_that_were_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    assert plugin.TEXT_AUDIO.missing()[0].fix == "expotion models pull clap_music"
    with pytest.raises(WeightsError, match="models pull clap_music"):
        plugin.build_rows()
