"""Stereo models: two channels as codebooks in turn, their delays, their codec, and files with two channels."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from expotion.errors import WeightsError
from expotion.music.sound import stream_sound, to_sound
from expotion.musicgen import delay
from expotion.musicgen.audiocraft_files import _channels
from expotion.musicgen.engine import prepare
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.load import load_backbone
from expotion.video.loudness import loudness_lufs, normalise, true_peak_dbtp
from expotion.video.sound_files import write_sound


@pytest.fixture(scope="module")
def backbone(stereo_folder):
    return load_backbone(stereo_folder)


@pytest.fixture(scope="module")
def theirs(stereo_folder):
    import transformers as hf

    return hf.MusicgenForConditionalGeneration.from_pretrained(stereo_folder).eval()


def test_left_and_right_have_the_same_delay(backbone):
    assert (backbone.geometry.n_codebooks, backbone.geometry.channels) == (8, 2)
    assert backbone.geometry.delays == (0, 0, 1, 1, 2, 2, 3, 3)
    codes = torch.arange(8 * 5).view(1, 8, 5) % 16
    ids = delay.build(codes, 16, backbone.geometry.delays, valid_only=False)[0]
    assert ids.shape == (8, 9)
    assert ids[2].tolist() == [16, 16, *codes[0, 2].tolist(), 16, 16]
    assert ids[3].tolist() == [16, 16, *codes[0, 3].tolist(), 16, 16]


def test_greedy_tokens_are_those_of_transformers(backbone, theirs):
    """Ten frames with guidance 3: the loop, the delays and the heads of eight codebooks, and the codec."""
    text = {"input_ids": torch.tensor([[3, 4, 1]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with torch.no_grad():
        wave = theirs.generate(**text, do_sample=False, guidance_scale=3.0, max_new_tokens=13)
        hidden = theirs.text_encoder(**text).last_hidden_state
    source = backbone.lm.project_text(hidden, text["attention_mask"])
    codes = generate_codes(prepare(backbone.lm, "fp32"), source, 10, cfg_scale=3.0, sampler=Sampler(greedy=True))
    ours = backbone.codec.decode(codes)
    assert wave.shape == (1, 2, 240) and ours.shape == (1, 240, 2)
    assert (ours[0].T - wave[0]).abs().max() < 1e-5
    assert (ours[0, :, 0] - ours[0, :, 1]).abs().max() > 1e-3  # two sounds


def test_each_side_is_decoded_by_itself(backbone):
    torch.manual_seed(0)
    codes = torch.randint(0, 16, (2, 8, 6))
    both = backbone.codec.decode(codes)
    mono = load_backbone_codec_of_one(backbone)
    assert torch.allclose(both[..., 0], mono.decode(codes[:, ::2].contiguous()), atol=1e-6)
    assert torch.allclose(both[..., 1], mono.decode(codes[:, 1::2].contiguous()), atol=1e-6)


def load_backbone_codec_of_one(backbone):
    from expotion.musicgen.codec import Codec

    return Codec(backbone.codec.model)


def test_a_clips_sound_is_mono_and_gets_the_same_codes_on_both_sides(backbone):
    codes = backbone.codec.encode(torch.randn(2, 100))
    assert codes.shape == (2, 8, 5)
    assert torch.equal(codes[:, ::2], codes[:, 1::2])


def test_streamed_as_at_once(backbone):
    torch.manual_seed(1)
    codes = torch.randint(0, 16, (8, 40))
    whole = to_sound(backbone.codec, codes, 950)
    parts = list(stream_sound(backbone.codec, torch.split(codes, 7, dim=-1), 950, 10))
    assert whole.shape == (950, 2)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_loudness_and_peaks_hear_both_sides():
    rng = np.random.default_rng(0)
    left = (0.05 * rng.standard_normal(32_000)).astype(np.float32)
    both = np.stack([left, np.zeros_like(left)], axis=1)
    both[16_000, 1] = 0.9
    assert loudness_lufs(both, 32_000) == pytest.approx(loudness_lufs(left, 32_000), abs=0.5)
    peak = true_peak_dbtp(both, 32_000)
    assert peak is not None and peak > -1.0
    made = normalise(both, 32_000, -20.0)
    assert made.samples.shape == both.shape
    assert made.true_peak_dbtp is not None and made.true_peak_dbtp <= -1.0 + 1e-3


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus"])
def test_sound_files_have_two_channels(tmp_path, suffix):
    time_s = np.arange(32_000) / 32_000
    sound = 0.3 * np.stack([np.sin(2 * np.pi * 440 * time_s), np.sin(2 * np.pi * 880 * time_s)], axis=1)
    path = tmp_path / f"a{suffix}"
    write_sound(path, sound.astype(np.float32), 32_000)
    read, rate_hz = soundfile.read(path)
    assert read.shape[1] == 2
    for side, pitch_hz in enumerate((440, 880)):
        spectrum = np.abs(np.fft.rfft(read[: rate_hz // 2, side]))
        assert np.argmax(spectrum) * 2 == pytest.approx(pitch_hz, abs=4)


def test_audiocrafts_stereo_by_steps_is_refused():
    assert _channels({}, "file") == 1
    assert _channels({"interleave_stereo_codebooks": {"use": True, "per_timestep": False}}, "file") == 2
    with pytest.raises(WeightsError, match="codebooks of one step"):
        _channels({"interleave_stereo_codebooks": {"use": True, "per_timestep": True}}, "file")


def test_a_codec_that_does_not_fit_is_named(stereo_folder, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(stereo_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["audio_channels"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="8 codebooks of 16 codes, got 4 of 16"):
        load_backbone(folder)


@pytest.mark.slow
def test_controls_are_trained_and_heard_in_stereo(world, in_the_world_of_lamps, run_lamps, tmp_path):
    model = world.write_model(tmp_path / "model", channels=2)
    run = tmp_path / "run"
    assert run_lamps(run, f"backbone.source={model}", "conditions=[{name: glow, encoder: glow, rank: 2}]") == 0
    steered, unsteered = (next((run / "samples" / name).glob("*.wav")) for name in ("glow", "text_only"))
    assert soundfile.info(steered).channels == 2
    assert steered.read_bytes() != unsteered.read_bytes()
