"""audiocraft beside our own decoder, codec and text source: the same files, the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch

expotion_audiocraft = pytest.importorskip("expotion_audiocraft", reason="the group oracle is not installed")

from expotion.music.request import text_sources  # noqa: E402
from expotion.musicgen import delay  # noqa: E402
from expotion.musicgen.engine.step import Engine  # noqa: E402
from expotion.musicgen.generate import Sampler, generate_codes  # noqa: E402
from expotion.musicgen.geometry import Chroma  # noqa: E402
from expotion.musicgen.load import load_backbone, text_source  # noqa: E402
from expotion.musicgen.melody import chroma_of  # noqa: E402
from expotion_text_t5 import SPEC as TEXT  # noqa: E402
from expotion_text_t5 import TextT5Options  # noqa: E402

N_FRAMES = 12
TOLERANCE = 1e-4
PROMPTS = ["calm warm strings", "bright drums and piano music", None]


@pytest.fixture(scope="module")
def theirs(release):
    return expotion_audiocraft.load(release().folder)


@pytest.fixture(scope="module")
def ours(release):
    return load_backbone(f"audiocraft:{release().folder}")


def source_of(backbone, prompts):
    """Prompts read by the ordinary text encoder, padded as audiocraft pads them."""
    encoder = TEXT.build(TextT5Options(model=text_source(backbone.source)))
    return text_sources(backbone.lm, [encoder.encode(prompt) for prompt in prompts])[0]


def deviation(record_property, name, got, wanted):
    """Largest absolute difference; also written to the test report."""
    largest = float((got - wanted).abs().max())
    record_property(name, largest)
    return largest


def test_text_source(theirs, ours, record_property):
    wanted = theirs.text.source(PROMPTS)
    got = source_of(ours, PROMPTS)
    assert wanted.shape == (3, 6, 32)  # five words and the end of the sequence
    assert deviation(record_property, "source", got, wanted) < TOLERANCE
    assert bool((got[2] == 0).all()) and bool((wanted[2] == 0).all())
    assert bool((wanted[0, :4] != 0).any()) and bool((wanted[0, 4:] == 0).all())


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_logits_of_a_sequence(theirs, ours, batch, record_property):
    torch.manual_seed(batch)
    sequence = torch.randint(0, 17, (batch, 4, 11))
    wanted = theirs.lm(sequence, theirs.text.source(PROMPTS[:batch]))
    got = ours.lm(sequence, source_of(ours, PROMPTS[:batch]))
    assert wanted.std() > 0.1
    assert deviation(record_property, "logits", got, wanted) < TOLERANCE


def test_a_small_change_of_one_weight_would_be_seen(theirs, ours):
    sequence = torch.randint(0, 17, (1, 4, 11))
    source = theirs.text.source(PROMPTS[:1])
    changed = copy.deepcopy(ours.lm)
    changed.block(1).ffn_in.weight.mul_(1.01)
    assert (changed(sequence, source) - theirs.lm(sequence, source)).abs().max() > 10 * TOLERANCE


def test_logits_that_training_scores(theirs, ours, record_property):
    codes = torch.randint(0, 16, (2, 4, 10))
    wanted, wanted_mask = theirs.lm.predict(codes, theirs.text.source(PROMPTS[:2]))
    sequence = delay.build(codes, 16, ours.geometry.delays, valid_only=True)
    got, mask = delay.revert_logits(ours.lm(sequence, source_of(ours, PROMPTS[:2])), 10, ours.geometry.delays)
    assert torch.equal(mask.expand(2, -1, -1), wanted_mask)
    assert torch.equal(got.isnan(), wanted.isnan())
    assert deviation(record_property, "training logits", got.nan_to_num(), wanted.nan_to_num()) < TOLERANCE


@pytest.mark.parametrize("prompt_frames", [0, 5])
@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_greedy_tokens(theirs, ours, batch, cfg_scale, prompt_frames, record_property):
    torch.manual_seed(7)
    prompt = torch.randint(0, 16, (batch, 4, prompt_frames)) if prompt_frames else None
    raw: list[torch.Tensor] = []
    wanted = theirs.lm.generate_codes(
        PROMPTS[:batch], N_FRAMES, cfg_scale=cfg_scale, prompt=prompt, greedy=True, on_logits=raw.append
    )
    seen: list[torch.Tensor] = []
    got = generate_codes(
        Engine(ours.lm, "fp32"),
        source_of(ours, PROMPTS[:batch]),
        N_FRAMES,
        cfg_scale=cfg_scale,
        sampler=Sampler(greedy=True),
        prompt=prompt,
        on_logits=seen.append,
    )
    assert torch.equal(got, wanted)
    assert wanted[:, :, prompt_frames:].unique().numel() > 2
    halves = [logits[:, :, -1].chunk(2) for logits in raw]
    guided = torch.stack([null + cfg_scale * (conditional - null) for conditional, null in halves])
    assert deviation(record_property, "guided logits", torch.stack(seen), guided) < TOLERANCE


def test_other_delays(release):
    folder = release(delays=(0, 2, 3, 6)).folder
    theirs, ours = expotion_audiocraft.load(folder), load_backbone(f"audiocraft:{folder}")
    assert ours.geometry.delays == (0, 2, 3, 6)
    wanted = theirs.lm.generate_codes(PROMPTS[:2], N_FRAMES, greedy=True)
    source = source_of(ours, PROMPTS[:2])
    got = generate_codes(Engine(ours.lm, "fp32"), source, N_FRAMES, cfg_scale=3.0, sampler=Sampler(greedy=True))
    assert torch.equal(got, wanted)


def test_sampling_obeys_its_seed_and_leaves_the_callers_generator_alone(theirs):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again, other = (theirs.lm.generate_codes(PROMPTS[:2], 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_codec(release, pad_mode, record_property):
    folder = release(pad_mode=pad_mode).folder
    theirs = expotion_audiocraft.load(folder).codec
    ours = load_backbone(f"audiocraft:{folder}").codec
    assert (ours.frame_rate_hz, ours.sample_rate_hz, ours.n_codebooks, ours.card) == (
        theirs.frame_rate_hz,
        theirs.sample_rate_hz,
        theirs.n_codebooks,
        theirs.card,
    )
    torch.manual_seed(5)
    wave = torch.randn(2, 1001)
    codes = theirs.encode(wave)
    assert codes.shape == (2, 4, 42) and codes.unique().numel() > 8
    assert torch.equal(ours.encode(wave), codes)
    assert torch.equal(ours.encode(wave[0]), theirs.encode(wave[0]))
    assert deviation(record_property, "sound", ours.decode(codes), theirs.decode(codes)) < 1e-5


def test_stereo(other_release, record_property):
    folder = other_release("stereo")
    theirs = expotion_audiocraft.load(folder)
    ours = load_backbone(f"audiocraft:{folder}")
    assert (ours.geometry.channels, ours.geometry.delays) == (2, (0, 0, 1, 1, 2, 2, 3, 3))
    torch.manual_seed(4)
    sequence = torch.randint(0, 17, (2, 8, 11))
    wanted = theirs.lm(sequence, theirs.text.source(PROMPTS[:2]))
    assert deviation(record_property, "logits", ours.lm(sequence, source_of(ours, PROMPTS[:2])), wanted) < TOLERANCE
    made = theirs.lm.generate_codes(PROMPTS[:2], N_FRAMES, greedy=True)
    engine, source = Engine(ours.lm, "fp32"), source_of(ours, PROMPTS[:2])
    assert torch.equal(generate_codes(engine, source, N_FRAMES, sampler=Sampler(greedy=True)), made)


@pytest.mark.parametrize("with_melody", [True, False])
def test_melody(other_release, with_melody, record_property):
    """Text, chroma and the null branch as audiocraft has them: tokens, logits, chroma rows."""
    from audiocraft.models.loaders import load_lm_model
    from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition

    folder = other_release("melody")
    theirs = load_lm_model(folder, device="cpu").eval()
    ours = load_backbone(f"audiocraft:{folder}")
    chroma = ours.geometry.chroma
    assert chroma == Chroma(12, 1 + 2 * 1200 // 16, 64, 1200)
    seconds = torch.arange(1500) / 1200
    wave = torch.sin(2 * torch.pi * (100 + 60 * seconds) * seconds) if with_melody else torch.zeros(1)
    given = WavCondition(wave[None, None], torch.tensor([len(wave) if with_melody else 0]), [1200], [None], [None])
    conditions = [ConditioningAttributes(text={"description": PROMPTS[0]}, wav={"self_wav": given})]
    provider = theirs.condition_provider
    embedded = provider(provider.tokenize(conditions))
    rows = chroma_of(wave.numpy(), chroma)[None] if with_melody else None
    encoder = TEXT.build(TextT5Options(model=text_source(ours.source)))
    source, _ = text_sources(ours.lm, [encoder.encode(PROMPTS[0])], rows)
    wanted = torch.cat([embedded["self_wav"][0], embedded["description"][0]], dim=1)
    assert source.shape == wanted.shape
    assert deviation(record_property, "what stands in front", source, wanted) < TOLERANCE
    torch.manual_seed(6)
    sequence = torch.randint(0, 17, (1, 4, 11))
    with torch.no_grad():
        logits = theirs(sequence, [], embedded)
    assert deviation(record_property, "logits", ours.lm(sequence, source), logits) < TOLERANCE
    for cfg_scale in (1.0, 3.0):
        with torch.no_grad():
            made = theirs.generate(
                None, conditions, max_gen_len=N_FRAMES, use_sampling=False, cfg_coef=cfg_scale, check=True
            )
        engine = Engine(ours.lm, "fp32")
        got = generate_codes(engine, source, N_FRAMES, cfg_scale=cfg_scale, sampler=Sampler(greedy=True))
        assert torch.equal(got, made) and made.unique().numel() > 2
