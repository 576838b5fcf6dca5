from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from expotion.errors import ExpotionError, MediaError, PluginError, WeightsError
from expotion.music.request import text_sources
from expotion.musicgen.load import load_backbone
from expotion.testing import SyntheticClip, check_encoder
from expotion.weights import tensors_hash
from expotion_text_t5 import SPEC, TextT5Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random T5 encoder with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("t5")
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "calm", "warm", "strings", "drums"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path)
    config = T5Config(vocab_size=8, d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3)
    T5EncoderModel(config).save_pretrained(path)
    return path


def test_conformance(folder):
    check_encoder(SPEC, {"model": str(folder)})


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_gives_t5s_hidden_states(folder, tmp_path, feed_forward):
    """To rounding, also beyond the distance from which all are one bucket."""
    import torch
    from transformers.models.t5.modeling_t5 import T5Config, T5EncoderModel

    sizes = {"vocab_size": 8, "d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 3}
    theirs = T5EncoderModel(T5Config(**sizes, feed_forward_proj=feed_forward)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    path = shutil.copytree(folder, tmp_path / "t5")
    theirs.save_pretrained(path)
    encoder = SPEC.build(TextT5Options(model=str(path)))
    features = encoder.extract(SyntheticClip(caption="warm strings " * 80))
    with torch.no_grad():
        wanted = theirs(torch.tensor([[4, 5] * 80 + [1]])).last_hidden_state[0]
    np.testing.assert_allclose(features.values, wanted.numpy(), atol=1e-5)  # equal with the newest torch
    assert features.mask.all() and features.values.shape == (161, SPEC.width(encoder.options))
    assert encoder.weights_hash == tensors_hash(theirs.state_dict())


def test_a_tokenizer_of_sentencepiece_alone_is_read(folder, tmp_path, monkeypatch):
    """Old T5 folders have no tokenizer.json: transformers makes one."""
    import transformers
    from tokenizers import Tokenizer

    path = shutil.copytree(folder, tmp_path / "t5")
    (path / "tokenizer.json").rename(path / "spiece.model")
    made = SimpleNamespace(backend_tokenizer=Tokenizer.from_file(str(path / "spiece.model")))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: made)
    assert SPEC.build(TextT5Options(model=str(path))).encode("calm").values.shape == (2, 12)


@pytest.mark.parametrize("changed", [{"num_heads": -1}, {"feed_forward_proj": "swish"}, {"d_model": "wide"}])
def test_settings_that_make_no_encoder_are_named(folder, tmp_path, changed):
    broken = shutil.copytree(folder, tmp_path / "t5")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(WeightsError, match=rf"config\.json {next(iter(changed))}"):
        SPEC.build(TextT5Options(model=str(broken)))


@pytest.mark.parametrize("caption", [None, "", "  "])
def test_no_caption_is_the_null_text(folder, caption):
    features = SPEC.build(TextT5Options(model=str(folder))).extract(SyntheticClip(caption=caption))
    assert features.values.shape == (1, 12) and not features.mask.any() and not features.values.any()


def test_a_book_is_refused(folder):
    encoder = SPEC.build(TextT5Options(model=str(folder), max_words=5))
    with pytest.raises(MediaError, match="at most 5 words"):
        encoder.extract(SyntheticClip(caption="calm " * 6))


def test_models_that_cannot_be_used(folder, tmp_path, monkeypatch):
    with pytest.raises(PluginError, match=r"options\.model"):
        SPEC.build(TextT5Options())
    broken = shutil.copytree(folder, tmp_path / "t5")
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer_config.json").unlink()
    with pytest.raises(WeightsError, match="tokenizer"):
        SPEC.build(TextT5Options(model=str(broken)))
    (broken / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="safetensors"):
        SPEC.build(TextT5Options(model=str(broken)))
    (broken / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="T5"):
        SPEC.build(TextT5Options(model=str(broken)))

    import huggingface_hub

    def offline(*_args, **_kwargs):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(WeightsError, match="hf download"):
        SPEC.build(TextT5Options(model="google-t5/t5-base"))


def test_mismatched_weights_are_all_listed(folder, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "t5")
    state = load_file(broken / "model.safetensors")
    state.pop("encoder.final_layer_norm.weight")
    state["stray"] = torch.zeros(1)
    save_file(state, broken / "model.safetensors")
    with pytest.raises(ExpotionError) as error:
        SPEC.build(TextT5Options(model=str(broken)))
    assert len(error.value.problems) == 2


def test_what_the_decoder_attends_to_is_transformers_own(musicgen_folder):
    """Two prompts of unequal length: hidden states, padding, projection and mask."""
    import torch
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    prompts = ["warm strings", "piano"]
    model = MusicgenForConditionalGeneration.from_pretrained(musicgen_folder).eval()
    tokens = AutoTokenizer.from_pretrained(musicgen_folder)(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model.enc_to_dec_proj(model.text_encoder(**tokens).last_hidden_state)
    mask = tokens["attention_mask"].bool()
    encoder, lm = (
        SPEC.build(TextT5Options(model=str(musicgen_folder))),
        load_backbone(musicgen_folder, parts={"lm"}).lm,
    )
    source, own = text_sources(lm, [encoder.encode(prompt) for prompt in prompts])
    assert torch.equal(own, mask)
    assert (source - wanted * mask[..., None]).abs().max() < 1e-5


def test_missing_and_empty_prompts_are_exactly_zero(musicgen_folder):
    encoder, lm = (
        SPEC.build(TextT5Options(model=str(musicgen_folder))),
        load_backbone(musicgen_folder, parts={"lm"}).lm,
    )
    source, _ = text_sources(lm, [encoder.encode("piano"), None, encoder.encode("")])
    assert bool((source[1:] == 0).all()) and bool((source[0] != 0).any())
