from __future__ import annotations

import pytest
import torch

from expotion.errors import ExpotionError, WeightsError
from expotion.musicgen.load import load_backbone
from expotion.musicgen.text import load_text, pad_text


@pytest.fixture(scope="module")
def backbone(musicgen_folder):
    return load_backbone(musicgen_folder, parts={"lm", "text"})


def test_hidden_states_are_transformers_own(backbone, musicgen_folder):
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(musicgen_folder).eval()
    tokens = AutoTokenizer.from_pretrained(musicgen_folder)(
        ["warm strings", "piano"], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = model.text_encoder(**tokens).last_hidden_state
        projected = model.enc_to_dec_proj(wanted) * tokens["attention_mask"][..., None]
    hidden, mask = backbone.text.encode(["warm strings", "piano"])
    assert torch.equal(mask, tokens["attention_mask"].bool())
    assert (hidden - wanted).abs().max() < 1e-5
    assert (backbone.lm.project_text(hidden, mask) - projected).abs().max() < 1e-5


def test_missing_and_empty_prompts_are_null(backbone):
    hidden, mask = backbone.text.encode(["calm piano", None, ""])
    assert mask.tolist() == [[True, True, True], [False] * 3, [False] * 3]  # with the end token
    source = backbone.lm.project_text(hidden, mask)
    assert bool((source[1:] == 0).all()) and bool((source[0] != 0).any())


def test_cached_texts_batch_like_texts_encoded_together(backbone):
    prompts = ["warm strings and drums", "piano"]
    alone = []
    for prompt in prompts:
        hidden, mask = backbone.text.encode([prompt])
        alone.append((hidden[0], mask[0]))
    hidden, mask = pad_text(alone)
    together, together_mask = backbone.text.encode(prompts)
    assert torch.equal(mask, together_mask)
    ours, theirs = (backbone.lm.project_text(h, mask) for h in (hidden, together))
    assert (ours - theirs).abs().max() < 1e-5


def test_loads_from_a_musicgen_folder_alone(musicgen_folder, backbone):
    text = load_text(musicgen_folder)
    assert text.width == 12
    assert torch.equal(text.encode(["music"])[0], backbone.text.encode(["music"])[0])


def test_no_prompts_and_no_tokenizer_are_errors(backbone, musicgen_folder, tmp_path):
    import shutil

    with pytest.raises(ExpotionError, match="no prompts"):
        backbone.text.encode([])
    with pytest.raises(ExpotionError, match="no texts"):
        pad_text([])
    for name in ("config.json", "model.safetensors"):
        shutil.copy(musicgen_folder / name, tmp_path)
    with pytest.raises(WeightsError, match="tokenizer"):
        load_text(tmp_path)
