"""What audiocraft loads, written as a folder: read by core and by transformers, or refused with reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

expotion_audiocraft = pytest.importorskip("expotion_audiocraft", reason="the group oracle is not installed")

from expotion.errors import OutputError, WeightsError  # noqa: E402
from expotion.musicgen.load import load_backbone, text_source  # noqa: E402
from expotion_audiocraft import __main__ as program  # noqa: E402
from expotion_audiocraft import backbones, convert  # noqa: E402
from expotion_audiocraft.folder import write_folder  # noqa: E402
from expotion_audiocraft.model import AudiocraftCodec  # noqa: E402
from expotion_text_t5 import SPEC as TEXT  # noqa: E402
from expotion_text_t5 import TextT5Options  # noqa: E402

PROMPTS = ["calm warm strings", None]


@pytest.fixture(scope="module")
def model(release):
    return expotion_audiocraft.load(release().folder)


@pytest.fixture(scope="module")
def converted(model, tmp_path_factory):
    return write_folder(model, tmp_path_factory.mktemp("converted") / "model", "a test")


def test_core_reads_the_folder_as_it_reads_audiocrafts_files(release, converted):
    direct = load_backbone(f"audiocraft:{release().folder}")
    back = load_backbone(converted)
    state = direct.lm.state_dict()
    assert state.keys() == back.lm.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.lm.state_dict().items())
    readers = [TEXT.build(TextT5Options(model=text_source(one.source))) for one in (back, direct)]
    for prompt in PROMPTS:
        ours, theirs = (reader.encode(prompt).values for reader in readers)
        assert (ours == theirs).all()
    wave = torch.randn(700)
    assert torch.equal(back.codec.encode(wave), direct.codec.encode(wave))
    assert (back.geometry, back.frame_rate_hz, back.sample_rate_hz) == (
        direct.geometry,
        direct.frame_rate_hz,
        direct.sample_rate_hz,
    )


def test_transformers_reads_the_folder(model, converted):
    from transformers import MusicgenForConditionalGeneration

    theirs = MusicgenForConditionalGeneration.from_pretrained(converted).eval()
    sequence = torch.randint(0, 17, (2, 4, 9))
    source = torch.randn(2, 5, 32)
    with torch.no_grad():
        logits = theirs.decoder(
            input_ids=sequence.reshape(8, 9), encoder_hidden_states=source, use_cache=False
        ).logits.view(2, 4, 9, 16)
    assert (logits - model.lm(sequence, source)).abs().max() < 1e-4
    assert theirs.generation_config.decoder_start_token_id == 16


def test_a_codec_that_comes_from_transformers(model, tmp_path):
    from audiocraft.models.encodec import HFEncodecCompressionModel
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        target_bandwidths=[0.8],
        sampling_rate=1200,
        upsampling_ratios=[4, 3, 2],
        num_filters=4,
        hidden_size=8,
        codebook_dim=8,
        codebook_size=16,
        num_lstm_layers=1,
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    inner = EncodecModel(config).eval()
    for name, buffer in inner.named_buffers():
        if name.endswith("embed"):
            buffer.copy_(torch.randn_like(buffer))
    codec = AudiocraftCodec(HFEncodecCompressionModel(inner))
    folder = write_folder(replace(model, codec=codec), tmp_path / "model", "a test")
    wave = torch.randn(500)
    codes = codec.encode(wave)
    ours = load_backbone(folder).codec
    assert torch.equal(ours.encode(wave), codes)
    assert (ours.decode(codes) - codec.decode(codes)).abs().max() < 1e-5


def test_refuses_what_the_layout_cannot_say(release, tmp_path):
    with pytest.raises(WeightsError, match="delays") as error:
        convert(release(delays=(0, 2, 3, 6), activation="relu").folder, tmp_path / "model")
    assert len(error.value.problems) == 2 and "GELU" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_never_overwrites(model, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="does not exist yet"):
        write_folder(model, tmp_path / "model", "a test")


def test_says_what_audiocraft_could_not_load(release, t5, tmp_path):
    with pytest.raises(WeightsError, match=r"state_dict\.bin"):
        expotion_audiocraft.load(tmp_path)
    package = torch.load(release().folder / "state_dict.bin", weights_only=True)
    package["best_state"].pop("out_norm.bias")
    torch.save(package, tmp_path / "state_dict.bin")
    with pytest.raises(WeightsError, match=r"out_norm\.bias"):
        expotion_audiocraft.load(tmp_path)


def test_a_file_with_code_is_refused(tmp_path):
    torch.save({"best_state": {}, "xp.cfg": print}, tmp_path / "state_dict.bin")
    with pytest.raises(WeightsError, match="UnpicklingError"):
        expotion_audiocraft.load(tmp_path)


def test_published_models_are_found_once_converted(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    small = {spec.name: spec for spec in expotion_audiocraft.expotion_backbones()}["audiocraft-small"]
    assert small.non_commercial and small.licence == "CC-BY-NC-4.0"
    with pytest.raises(WeightsError, match="python -m expotion_audiocraft facebook/musicgen-small"):
        small.locate()
    backbones.converted_folder("facebook/musicgen-small").mkdir(parents=True)
    assert small.locate() == tmp_path / "audiocraft" / "facebook--musicgen-small"


def test_the_program(release, tmp_path, capsys):
    assert program.main([str(release().folder), str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model")
    assert load_backbone(tmp_path / "model", parts={"lm"}).geometry.n_layers == 3
    assert program.main([str(tmp_path / "nowhere"), str(tmp_path / "other")]) == 1
    assert "state_dict.bin" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.main([str(release().folder)])
