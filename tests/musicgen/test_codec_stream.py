"""Decoding piece by piece is decoding at once, wherever the pieces are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expotion.music.sound import stream_sound, to_sound
from expotion.musicgen.codec import Codec, CodecStream
from expotion.musicgen.encodec import Encodec, EncodecSettings
from expotion.musicgen.load import load_backbone
from expotion.plugins import discover


@pytest.fixture(scope="module", params=["tiny", "the longest stride at the sound"])
def codec(request: pytest.FixtureRequest) -> Codec:
    if request.param != "tiny":
        return random_codec((4, 4, 5, 8))
    found = load_backbone(discover().backbone("tiny").locate(), parts=frozenset({"codec"})).codec
    assert found is not None
    return found


def random_codec(ratios: tuple[int, ...]) -> Codec:
    torch.manual_seed(0)
    sizes = {"num_filters": 4, "hidden_size": 8, "codebook_size": 1024, "target_bandwidths": (2.0,)}
    kinds = {"use_causal_conv": False, "use_conv_shortcut": False, "pad_mode": "constant", "num_lstm_layers": 1}
    model = Encodec(EncodecSettings(sampling_rate=32_000, upsampling_ratios=ratios, **sizes, **kinds))
    for level in model.quantizer.layers:
        level.codebook.embed.normal_()
    return Codec(model)


def codes_of(codec: Codec, n_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_frames)
    return torch.randint(0, codec.card, (codec.n_codebooks, n_frames), generator=generator)


@pytest.mark.parametrize("sizes", [(1,), (3, 1, 2), (60,), (1, 40, 7, 12), (25, 25, 25), tuple([1] * 30)])
def test_pieces_are_the_whole(codec: Codec, sizes: tuple[int, ...]) -> None:
    codes = codes_of(codec, sum(sizes))
    stream = CodecStream(codec)
    parts = [stream.push(part) for part in codes.split(list(sizes), dim=-1)]
    found = np.concatenate([*parts, stream.finish()])
    wanted = codec.decode(codes).numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5


def test_samples_come_before_the_end(codec: Codec) -> None:
    stream = CodecStream(codec)
    first = stream.push(codes_of(codec, 50))
    assert 30 * codec.hop <= len(first) < 50 * codec.hop


def test_nothing_gives_nothing(codec: Codec) -> None:
    stream = CodecStream(codec)
    assert len(stream.push(codes_of(codec, 5)[:, :0])) == 0
    assert len(stream.finish()) == 0


@pytest.mark.parametrize("cut", [-100, 0, 700])
def test_a_long_sound_has_the_clips_length(codec: Codec, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expotion.music.sound.AT_ONCE_FRAMES", 80)
    codes = codes_of(codec, 100)
    n_samples = codes.shape[-1] * codec.hop + cut
    found = to_sound(codec, codes, n_samples)
    wanted = codec.decode(codes).numpy()
    assert len(found) == n_samples
    shared = min(n_samples, len(wanted))
    assert np.abs(found[:shared] - wanted[:shared]).max() < 1e-5
    assert not found[shared:].any()


def test_chunks_add_up_to_the_clip(codec: Codec) -> None:
    codes = codes_of(codec, 83)
    chunks = list(stream_sound(codec, codes.split(1, dim=-1), 83 * codec.hop - 50, 20))
    assert len(chunks) >= 4
    assert np.abs(np.concatenate(chunks) - codec.decode(codes).numpy()[: 83 * codec.hop - 50]).max() < 1e-5
