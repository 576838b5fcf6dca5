"""Melody models: chroma and text in front of the music, controls by the music's own steps."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.project import TrackInput
from expotion.contracts import TokenFeatures
from expotion.errors import ExpotionError, WeightsError
from expotion.music.compose import compose
from expotion.music.request import Request, chroma_rows, melody_of
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.audiocraft_files import _chroma
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.geometry import Chroma, LMGeometry
from expotion.musicgen.layouts import audiocraft_layout, build_lm, hf_layout
from expotion.musicgen.load import load_backbone
from expotion.musicgen.melody import chroma_of
from expotion.recipe import Recipe


@pytest.fixture(scope="module")
def backbone(melody_folder):
    return load_backbone(melody_folder)


@pytest.fixture(scope="module")
def theirs(melody_folder):
    import transformers as hf

    return hf.MusicgenMelodyForConditionalGeneration.from_pretrained(melody_folder).eval()


def drawn(batch=2, n_text=3, n_steps=9):
    generator = torch.Generator().manual_seed(5)
    sequence = torch.randint(0, 16, (batch, 4, n_steps), generator=generator)
    text = torch.randn(batch, n_text, 12, generator=generator)
    rows = torch.eye(12)[torch.randint(0, 12, (batch, 5), generator=generator)]
    return sequence, text, torch.ones(batch, n_text), rows


def test_logits_are_those_of_transformers(backbone, theirs):
    sequence, text, mask, rows = drawn()
    source = backbone.lm.project_text(text, mask, rows)
    assert source.shape == (2, 5 + 3, 32) and backbone.geometry.chroma == Chroma(12, 5)
    wanted = theirs.decoder(
        input_ids=sequence.reshape(8, 9),
        encoder_hidden_states=torch.cat([theirs.audio_enc_to_dec_proj(rows), theirs.enc_to_dec_proj(text)], dim=1),
    ).logits.view(2, 4, -1, 16)[:, :, -9:]
    assert (backbone.lm(sequence, source) - wanted).abs().max() < 1e-5


def test_no_melody_is_silence_whose_class_is_the_first(backbone):
    _, text, mask, rows = drawn()
    silence = torch.eye(12)[0].expand(2, 5, 12)
    nothing = backbone.lm.project_text(text, mask)
    assert torch.equal(nothing, backbone.lm.project_text(text, mask, silence)) and nothing[:, :5].any()
    assert chroma_of(np.zeros(10, np.float32), Chroma(12, 5)).argmax(dim=1).tolist() == [0] * 5
    rows[1] = 0
    half = backbone.lm.project_text(text, mask, rows)
    assert torch.equal(half[1], nothing[1]) and not torch.equal(half[0], nothing[0])
    null = backbone.lm.null_text(half)
    assert torch.equal(null[:, :5], nothing[:, :5]) and not null[:, 5:].any()


@pytest.mark.parametrize("prompt_frames", [0, 4])
def test_steps_are_the_whole_sequence(backbone, prompt_frames):
    _, text, mask, rows = drawn()
    engine = Engine(backbone.lm, "fp32")
    source = engine.project_text(text, mask, rows)
    assert torch.allclose(source, backbone.lm.project_text(text, mask, rows), atol=1e-6)
    prompt = torch.randint(0, 16, (2, 4, prompt_frames)) if prompt_frames else None
    seen: list[torch.Tensor] = []
    generate_codes(
        engine, source, 10, sampler=Sampler(greedy=True), prompt=prompt, on_logits=seen.append, cfg_scale=1.0
    )
    codes = generate_codes(engine, source, 10, sampler=Sampler(greedy=True), prompt=prompt, cfg_scale=1.0)
    from expotion.musicgen import delay

    sequence = delay.build(codes, 16, backbone.geometry.delays, valid_only=False)
    whole = backbone.lm(sequence[:, :, :-1], source)
    assert (torch.stack(seen, dim=2) - whole[:, :, prompt_frames:]).abs().max() < 1e-4


@pytest.fixture(scope="module")
def adaptor():
    config = AdaptorConfig(
        (Modality("hand", 3, 2, null="vector"),), width=32, n_lm_layers=2, n_adapted=2, max_rows=None
    )
    made = Adaptor(config, seed=3)
    with torch.no_grad():
        made.gates.fill_(0.7)
    return made


def steered_at(lm, adaptor, source, steps):
    """Logits of 10 steps whose control speaks at some of them, and of those without it."""
    valid = torch.zeros(1, 10, dtype=torch.bool)
    valid[:, steps] = True
    track = {"hand": TrackInput(torch.ones(1, 10, 3), valid, torch.ones(1))}
    sequence = torch.arange(40).view(1, 4, 10) % 16
    return lm(sequence, source, adaptor(lm, track)), lm(sequence, source)


def test_a_controls_effect_does_not_move_with_text_or_chroma(backbone, adaptor):
    """The prefix's row p is added at the music's step p: with silence before step 6 nothing changes before it."""
    _, text, mask, rows = drawn(batch=1, n_text=3)
    longer = torch.cat([text, text], dim=1)
    for words in (text, longer):
        for melody in (rows[:1], None):
            source = backbone.lm.project_text(words, torch.ones(words.shape[:2]), melody)
            with_it, without = steered_at(backbone.lm, adaptor, source, slice(6, 10))
            changed = (with_it - without).abs().amax(dim=(0, 1, 3)) > 1e-4
            assert changed.tolist() == [False] * 6 + [True] * 4
    assert mask.shape == (1, 3)


def test_a_steered_step_is_the_whole_sequences(backbone, adaptor):
    _, text, mask, rows = drawn(batch=1)
    engine = Engine(backbone.lm, "fp32")
    track = {"hand": TrackInput(torch.randn(1, 10, 3), torch.ones(1, 10, dtype=torch.bool), torch.ones(1))}
    sequence = torch.arange(40).view(1, 4, 10) % 16
    source = backbone.lm.project_text(text, mask, rows)
    whole = backbone.lm(sequence, source, adaptor(backbone.lm, track))
    state = engine.start(source, 10, adaptor.prefix(engine, track, for_generation=True))
    stepped = [
        engine.step(sequence[:, :, :3], state),
        *(engine.step(sequence[:, :, p], state) for p in range(3, 10)),
    ]
    assert (torch.stack(stepped, dim=2) - whole[:, :, 2:]).abs().max() < 1e-5
    bare = backbone.lm(sequence, source)
    assert (whole - bare).abs().max() > 5e-3


def test_chroma_is_the_strongest_pitch_class():
    chroma = Chroma(12, 40, 16_384, 32_000)
    seconds = np.arange(2 * 32_000) / 32_000
    tone = np.sin(2 * np.pi * np.where(seconds < 1, 440.0, 523.25) * seconds).astype(np.float32)
    rows = chroma_of(tone, chroma)
    assert rows.shape == (40, 12) and (rows.sum(dim=1) == 1).all()
    classes = rows.argmax(dim=1)
    n = 1 + 2 * 32_000 // 4096
    assert classes[2] == 9 and classes[n - 3] == 0  # A, then C
    assert torch.equal(rows[:n], rows[n : 2 * n])  # a short melody is repeated
    with pytest.raises(ExpotionError, match="melody"):
        chroma_of(np.zeros(0, np.float32), chroma)


SIZES = {"melody": (1536, 48, 24), "melody-large": (2048, 48, 32)}


@pytest.mark.parametrize(
    ("size", "n_codebooks", "layout"), [("melody", 4, hf_layout), ("melody-large", 8, audiocraft_layout)]
)
def test_full_sizes_load_without_memory(size, n_codebooks, layout):
    width, n_layers, n_heads = SIZES[size]
    channels = n_codebooks // 4
    geometry = LMGeometry(
        width, n_layers, n_heads, 4 * width, n_codebooks, 2048, 768, channels=channels, chroma=Chroma()
    )
    names = layout(geometry)
    sources = {source.name: source.shape for parts in names.values() for source in parts}
    assert not any("cross" in name or "encoder_attn" in name for name in sources)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in sources.items()}
    lm = build_lm(tensors, geometry, names, size, torch.bfloat16)
    # twelve matrices of a layer are there, four of cross-attention are not
    layers = n_layers * (12 * width**2 + 4 * width)
    ends = n_codebooks * (2049 + 2048) * width + 2 * width + 769 * width + 13 * width
    assert sum(p.numel() for p in lm.parameters()) == layers + ends
    sequence = torch.zeros(1, n_codebooks, 5, dtype=torch.int64, device="meta")
    text = torch.zeros(1, 3, 768, device="meta")
    source = lm.project_text(text, torch.ones(1, 3, device="meta"), torch.zeros(1, 235, 12, device="meta"))
    assert source.shape == (1, 238, width)
    assert lm.hidden(sequence, source).shape == (1, 5, width)


def settings(**changed):
    fuser = {"cross": [], "prepend": ["self_wav", "description"], "sum": [], "input_interpolate": []}
    sound = {"sample_rate": 32000, "n_chroma": 12, "radix2_exp": 14, "argmax": True, "match_len_on_eval": True}
    return {
        "fuser": fuser | changed.get("fuser", {}),
        "dataset": {"segment_duration": 30},
        "conditioners": {"self_wav": {"model": changed.get("model", "chroma_stem"), "chroma_stem": sound}},
    }


def test_audiocrafts_melody_settings_and_what_else_there_is():
    assert _chroma({}, settings(), "file") == Chroma(12, 235, 16_384, 32_000)
    assert _chroma({}, {"fuser": {"cross": ["description"]}}, "file") is None
    for other in ({"fuser": {"cross": ["description"]}}, {"fuser": {"sum": ["x"]}}, {"model": "style"}):
        with pytest.raises(WeightsError, match="fuser"):
            _chroma({}, settings(**other), "file")
    soft = settings()
    soft["conditioners"]["self_wav"]["chroma_stem"]["argmax"] = False
    with pytest.raises(WeightsError, match=r"chroma_stem\.argmax: true, got False"):
        _chroma({}, soft, "file")


def requests(*lengths, melody=None):
    texts = [TokenFeatures(np.ones((n, 12), np.float32), np.ones(n, bool)) for n in lengths]
    return [Request(8, text, seed=i, melody=melody) for i, text in enumerate(texts)]


def test_what_is_composed_does_not_depend_on_who_is_beside(backbone):
    engine, steering = Engine(backbone.lm, "fp32"), Steering(top_k=4)
    together = compose(engine, None, requests(2, 5, 2), steering, Windows(8))
    for index, request in enumerate(requests(2, 5, 2)):
        assert torch.equal(compose(engine, None, [request], steering, Windows(8))[0], together[index])


def test_a_melody_is_heard_and_goes_on_in_the_next_window(backbone):
    heard = backbone.lm.geometry.chroma
    tone = np.sin(np.arange(5 * heard.window) * np.repeat([0.06, 0.09, 0.12, 0.15, 0.2], heard.window))
    melody = tone.astype(np.float32)
    lm = copy.deepcopy(backbone.lm)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(8.0)  # as they are drawn, logits are all but alike
    engine, steering = Engine(lm, "fp32"), Steering(top_k=4)
    plain = compose(engine, None, requests(2), steering, Windows(8))[0]
    assert not torch.equal(compose(engine, None, requests(2, melody=melody), steering, Windows(8))[0], plain)
    rows = [chroma_rows(backbone.lm, requests(2, melody=melody), start_s) for start_s in (0.0, 0.6)]
    assert torch.equal(rows[0][0], chroma_of(melody, heard))
    assert torch.equal(rows[1][0], chroma_of(np.roll(melody, -19_200), heard))  # 0.6 s later
    assert not torch.equal(*rows) and chroma_rows(backbone.lm, requests(2), 0.0) is None


def test_a_melody_for_a_model_that_hears_none_is_refused(tmp_path, musicgen_folder, backbone):
    soundfile.write(tmp_path / "tune.wav", np.zeros(3200, np.float32), 32_000)
    assert len(melody_of(tmp_path / "tune.wav", backbone.geometry)) == 3200
    assert melody_of(None, load_backbone(musicgen_folder).geometry) is None
    with pytest.raises(ExpotionError, match=r"a model that hears one.*musicgen-melody"):
        melody_of(tmp_path / "tune.wav", load_backbone(musicgen_folder).geometry)


def test_a_melody_stands_in_recipes_steering_and_records(tmp_path):
    base = Recipe.from_dict(
        {"name": "a", "data": {"source": "x"}, "backbone": {"source": "./m"}, "text": {"encoder": "t"}}
    )
    tuned = base.model_copy(update={"generate": base.generate.model_copy(update={"melody": tmp_path / "tune.wav"})})
    assert Steering().over(tuned).melody == tmp_path / "tune.wav"
    assert Steering.of(melody="own.wav").over(tuned).melody == Path("own.wav")
    assert Steering.of(melody="own.wav").to_json()["melody"] == str(Path("own.wav").absolute())
    assert base.section_hash("generate") != tuned.section_hash("generate")
    assert Recipe.from_dict(tuned.to_dict()) == tuned
