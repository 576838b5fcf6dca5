from __future__ import annotations

import pytest
import torch

from expotion.errors import ExpotionError, WeightsError
from expotion.musicgen.codec import Codec
from expotion.musicgen.codec_files import codec_from_audiocraft, codec_from_hf
from expotion.musicgen.encodec import Encodec, EncodecSettings


def settings(config):
    return {
        "sample_rate": config["sr"],
        "seanet": {key: config[key] for key in ("dimension", "n_filters", "ratios", "pad_mode")},
        "rvq": {"n_q": config["n_q"], "bins": config["bins"]},
    }


@pytest.fixture
def codec(golden):
    data = golden("encodec")
    return codec_from_audiocraft(data.under("ac/"), settings(data.about["config"]), "golden")


def test_matches_audiocraft_exactly(golden, codec):
    data = golden("encodec")
    wave = data["in/wave"][:, 0]
    assert torch.equal(codec.encode(wave), data["out/codes"])
    assert (codec.latent(wave) - data["out/latent"]).abs().max() < 1e-5
    assert (codec.decode(data["out/codes"]) - data["out/wave"][:, 0]).abs().max() < 1e-5
    assert torch.equal(codec.encode(wave), data["hf/codes"][0])


def test_reads_transformers_names_old_and_new(golden):
    data = golden("encodec")
    names = data.about["key_map_ac_to_hf"]
    new = {names[name]: tensor for name, tensor in data.under("ac/").items()}
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in new.items()
    }
    config = {**data.about["hf_config"], "upsampling_ratios": [4, 3, 2]}
    for tensors in (new, old):
        read = codec_from_hf(tensors, config, "golden")
        assert torch.equal(read.encode(data["in/wave"][:, 0]), data["out/codes"])


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_both_ways_of_padding_are_transformers_own(golden, pad_mode):
    from transformers.models.encodec.modeling_encodec import EncodecConfig, EncodecModel

    data = golden("encodec")
    tensors = {data.about["key_map_ac_to_hf"][name]: t for name, t in data.under("ac/").items()}
    config = {**data.about["hf_config"], "upsampling_ratios": [4, 3, 2], "pad_mode": pad_mode}
    theirs = EncodecModel(EncodecConfig(**config)).eval()
    theirs.load_state_dict(tensors)
    wave = data["in/wave"]
    with torch.no_grad():
        codes = theirs.encode(wave, bandwidth=config["target_bandwidths"][0]).audio_codes[0]
        sound = theirs.decode(codes[None], [None]).audio_values
    ours = codec_from_hf(tensors, config, "golden")
    assert torch.equal(ours.encode(wave[:, 0]), codes)
    assert torch.equal(ours.decode(codes), sound[:, 0])


def test_length_is_rounded_up(codec):
    for n_samples, n_frames in ((1, 1), (codec.hop, 1), (codec.hop + 1, 2), (10 * codec.hop - 1, 10)):
        codes = codec.encode(torch.zeros(n_samples))
        assert codes.shape == (4, n_frames)
        assert codec.decode(codes).shape == (n_frames * codec.hop,)


def test_says_what_it_is(codec):
    assert (codec.sample_rate_hz, codec.hop, codec.frame_rate_hz) == (2400, 24, 100.0)
    assert (codec.n_codebooks, codec.card) == (4, 16)


@pytest.mark.parametrize(("bandwidth_kbps", "card"), [(2.2, 2048), (1.6, 256)])
def test_codebooks_follow_from_the_bandwidth(bandwidth_kbps, card):
    sizes = {"num_filters": 2, "hidden_size": 8, "codebook_dim": 8, "num_lstm_layers": 1, "use_causal_conv": False}
    rates = {"sampling_rate": 32000, "upsampling_ratios": [8, 5, 4, 4], "target_bandwidths": [bandwidth_kbps]}
    codec = Codec(Encodec(EncodecSettings(codebook_size=card, **rates, **sizes)))
    assert codec.n_codebooks == 4
    assert codec.encode(torch.zeros(640)).shape == (4, 1)


def test_refuses_codes_and_sounds_that_cannot_be(codec):
    with pytest.raises(ExpotionError, match=r"0\.\.15"):
        codec.decode(torch.full((4, 3), 16))
    with pytest.raises(ExpotionError, match="K=4"):
        codec.decode(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ExpotionError, match="n > 0"):
        codec.encode(torch.zeros(0))


def test_lists_every_mismatch(golden):
    data = golden("encodec")
    tensors = data.under("ac/")
    tensors.pop("encoder.model.0.conv.conv.bias")
    tensors["decoder.model.0.conv.conv.bias"] = torch.zeros(3)
    tensors["stray"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        codec_from_audiocraft(tensors, settings(data.about["config"]), "golden")
    assert len(error.value.problems) == 3


def test_refuses_a_codec_that_computes_something_else(golden):
    data = golden("encodec")
    wrong = settings(data.about["config"])
    wrong["seanet"]["causal"] = True
    wrong["encodec"] = {"renormalize": True}
    with pytest.raises(WeightsError, match="causal") as error:
        codec_from_audiocraft(data.under("ac/"), wrong, "golden")
    assert len(error.value.problems) == 2
