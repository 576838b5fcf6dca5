from pathlib import Path

import pytest

import expotion_conductor

TINY = Path(expotion_conductor.__file__).parent / "weights" / "tiny"
LIMIT_BYTES = 16_000_000


@pytest.fixture(scope="module")
def tiny():
    from transformers import MusicgenForConditionalGeneration

    return MusicgenForConditionalGeneration.from_pretrained(TINY, local_files_only=True).eval()


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY, local_files_only=True)


def generate(tiny, tokenizer, caption: str, n_frames: int, **how):
    text = tokenizer([caption], padding=True, return_tensors="pt")
    return tiny.generate(**text, max_length=n_frames + 4, **how)[0, 0]


def test_geometry_is_that_of_musicgen(tiny) -> None:
    import torch

    codec, decoder = tiny.config.audio_encoder, tiny.config.decoder
    assert (codec.sampling_rate, codec.frame_rate, codec.num_quantizers, codec.codebook_size) == (32000, 50, 4, 256)
    assert (decoder.num_codebooks, decoder.vocab_size, decoder.pad_token_id) == (4, 256, 256)
    assert decoder.ffn_dim == 4 * decoder.hidden_size and decoder.audio_channels == 1
    assert tiny.generation_config.decoder_start_token_id == decoder.bos_token_id == 256
    assert {p.dtype for p in tiny.parameters()} == {torch.float32}


def test_the_folder_is_small_float16_and_traceless() -> None:
    from safetensors import safe_open

    assert sum(path.stat().st_size for path in TINY.rglob("*")) < LIMIT_BYTES
    with safe_open(TINY / "model.safetensors", framework="pt") as weights:
        types = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert types == {"F16"}
    assert "_name_or_path" not in (TINY / "config.json").read_text()


def test_the_tokenizer_ends_sentences_pads_and_knows_the_captions(tokenizer) -> None:
    from expotion_conductor.plan import TEST_SEEDS, make_plan

    short, long = tokenizer(["Sad piano", "a calm tune with flute and percussion"], padding=True).input_ids
    assert len(short) == len(long) and short[-1] == tokenizer.pad_token_id == 0
    assert long[-1] == tokenizer.eos_token_id == 1
    for seed in range(TEST_SEEDS + 920_000, TEST_SEEDS + 920_050):
        assert tokenizer.unk_token_id not in tokenizer(make_plan(seed).caption).input_ids
    assert tokenizer.unk_token_id in tokenizer("a xylorimba").input_ids


def test_the_codec_keeps_length_and_loudness(tiny) -> None:
    import numpy as np
    import torch

    from expotion_conductor.music import render_music
    from expotion_conductor.plan import TEST_SEEDS, make_plan

    sound = torch.from_numpy(render_music(make_plan(TEST_SEEDS + 920_000, 4.0)))[None, None]
    with torch.inference_mode():
        codes = tiny.audio_encoder.encode(sound).audio_codes
        heard = tiny.audio_encoder.decode(codes, [None]).audio_values
    assert codes.shape == (1, 1, 4, 200) and heard.shape == sound.shape

    def level(x: torch.Tensor) -> np.ndarray:
        return 10 * np.log10(x[0, 0].reshape(-1, 16000).square().mean(1).numpy() + 1e-8)

    assert np.corrcoef(level(sound), level(heard))[0, 1] > 0.9
    assert np.abs(level(sound) - level(heard)).mean() < 4.0


def test_greedy_and_sampled_music_have_the_right_length(tiny, tokenizer) -> None:
    import torch

    greedy = generate(tiny, tokenizer, "calm piano music", 10, do_sample=False)
    torch.manual_seed(0)
    sampled = generate(tiny, tokenizer, "calm piano music", 10, do_sample=True, guidance_scale=3.0)
    assert greedy.shape == sampled.shape == (10 * 640,)
    assert torch.isfinite(greedy).all() and torch.isfinite(sampled).all()
    assert float(sampled.abs().max()) > 1e-4


def surprise(tiny, tokenizer, codes, caption: str) -> float:
    """Mean cross-entropy of codes [4, frames] under a caption, over all codebooks."""
    import torch

    n_frames = codes.shape[1]
    ids = torch.full((4, n_frames), 256)
    for k in range(4):
        ids[k, k + 1 :] = codes[k, : n_frames - k - 1]
    text = tokenizer([caption], return_tensors="pt")
    with torch.inference_mode():
        logits = tiny(**text, decoder_input_ids=ids).logits  # [4, frames, 256]
    per_book = [torch.nn.functional.cross_entropy(logits[k, k:], codes[k, : n_frames - k]) for k in range(4)]
    return float(torch.stack(per_book).mean())


def test_the_caption_is_heard(tiny, tokenizer) -> None:
    import torch

    from expotion_conductor.music import render_music
    from expotion_conductor.plan import TEST_SEEDS, make_plan

    gains = []
    for timbre, other in (("organ", "marimba"), ("marimba", "organ"), ("strings", "piano")):
        plans = (make_plan(TEST_SEEDS + 930_000 + i, 1.5) for i in range(400))
        plan = next(p for p in plans if p.timbre == timbre)
        sound = torch.from_numpy(render_music(plan))[None, None]
        with torch.inference_mode():
            codes = tiny.audio_encoder.encode(sound).audio_codes[0, 0]
        right = surprise(tiny, tokenizer, codes, plan.caption)
        gains.append(surprise(tiny, tokenizer, codes, plan.caption.replace(timbre, other)) - right)
    assert min(gains) > 0.0 and sum(gains) / len(gains) > 0.05
