"""Requests to codes: seeds, neighbours, strengths, whose controls they are, and clips beyond the window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError
from expotion.music.compose import compose, compose_pieces
from expotion.music.request import Request
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.geometry import LMGeometry

N_FRAMES = 14
SETTINGS = Steering(top_k=6)
WINDOWS = Windows(N_FRAMES)


@pytest.fixture(scope="module")
def lm() -> Engine:
    torch.manual_seed(0)
    lm = MusicGenLM(LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=16, n_codebooks=4, card=8, text_width=6))
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return Engine(lm.requires_grad_(False).eval(), "fp32")


@pytest.fixture(scope="module")
def adaptor() -> Adaptor:
    modalities = (Modality("face", d_in=3, rank=2), Modality("motion", d_in=2, rank=2))
    adaptor = Adaptor(AdaptorConfig(modalities, width=16, n_lm_layers=2, n_adapted=2), seed=1)
    with torch.no_grad():
        adaptor.gates.fill_(2.0)
    return adaptor


def request(seed: int, n_frames: int = N_FRAMES, **strengths: float) -> Request:
    rng = np.random.default_rng(seed)
    tracks = {
        name: SmoothedTrack(
            rng.normal(size=(n_frames + 1, width)).astype(np.float32), np.ones(n_frames + 1, dtype=bool)
        )
        for name, width in (("face", 3), ("motion", 2))
    }
    n_tokens = 1 + seed % 3
    text = TokenFeatures(rng.normal(size=(n_tokens, 6)).astype(np.float32), np.ones(n_tokens, dtype=bool))
    return Request(n_frames, text, tracks, strengths, seed)


def test_the_controls_are_heard(lm: Engine, adaptor: Adaptor) -> None:
    one = request(1)
    other = replace(one, tracks=request(2).tracks)
    codes = [compose(lm, adaptor, [r], SETTINGS, WINDOWS)[0] for r in (one, other, replace(one, tracks={}))]
    assert not torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_all_strengths_zero_is_the_frozen_model(lm: Engine, adaptor: Adaptor, scale: float) -> None:
    settings = Steering(top_k=6, cfg_scale=scale)
    frozen = compose(lm, None, [request(1)], settings, WINDOWS)[0]
    silent = compose(lm, adaptor, [request(1, face=0.0, motion=0.0)], settings, WINDOWS)[0]
    without = compose(lm, adaptor, [replace(request(1), tracks={})], settings, WINDOWS)[0]
    assert torch.equal(silent, frozen)
    assert torch.equal(without, frozen)


def test_a_request_does_not_depend_on_its_neighbours(lm: Engine, adaptor: Adaptor) -> None:
    """Prompts of other lengths, other controls, none at all: each gets what it would get alone."""
    batch = [request(1), request(2, face=0.0, motion=0.0), replace(request(3), tracks={}), request(4, face=0.5)]
    together = compose(lm, adaptor, batch, SETTINGS, WINDOWS)
    for one, codes in zip(batch, together, strict=True):
        assert torch.equal(compose(lm, adaptor, [one], SETTINGS, WINDOWS)[0], codes)
    assert torch.equal(together[1], compose(lm, None, [batch[1]], SETTINGS, WINDOWS)[0])


def test_a_seed_decides(lm: Engine, adaptor: Adaptor) -> None:
    first, again, other = (
        compose(lm, adaptor, [replace(request(1), seed=seed)], SETTINGS, WINDOWS)[0] for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("n_frames", [1, N_FRAMES - 1, N_FRAMES + 1, 3 * N_FRAMES + 2])
def test_any_length_comes_out_exactly(lm: Engine, adaptor: Adaptor, n_frames: int) -> None:
    told: list[tuple[int, int]] = []
    codes = compose(
        lm,
        adaptor,
        [request(1, n_frames), request(2, n_frames)],
        SETTINGS,
        WINDOWS,
        on_step=lambda a, b: told.append((a, b)),
    )
    for one in codes:
        assert one.shape == (4, n_frames)
        assert int(one.min()) >= 0 and int(one.max()) < 8
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == n_frames


def test_the_start_of_a_long_clip_is_what_a_window_gives(lm: Engine, adaptor: Adaptor) -> None:
    long = request(1, 2 * N_FRAMES)
    rows = N_FRAMES + 1
    short = Request(
        N_FRAMES,
        long.text,
        {name: SmoothedTrack(t.values[:rows], t.valid[:rows]) for name, t in long.tracks.items()},
        {},
        long.seed,
    )
    head = compose(lm, adaptor, [long], SETTINGS, WINDOWS)[0][:, :N_FRAMES]
    assert torch.equal(head, compose(lm, adaptor, [short], SETTINGS, WINDOWS)[0])


def test_lengths_may_differ_in_a_batch(lm: Engine, adaptor: Adaptor) -> None:
    batch = [request(1, 9), request(2), request(3, 9), request(4, 2 * N_FRAMES + 1)]
    told: list[tuple[int, int]] = []
    together = compose(lm, adaptor, batch, SETTINGS, WINDOWS, on_step=lambda a, b: told.append((a, b)))
    for one, codes in zip(batch, together, strict=True):
        assert torch.equal(compose(lm, adaptor, [one], SETTINGS, WINDOWS)[0], codes)
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_pieces_are_the_whole(lm: Engine, adaptor: Adaptor) -> None:
    long = request(1, 2 * N_FRAMES + 3)
    pieces = list(compose_pieces(lm, adaptor, long, SETTINGS, WINDOWS))
    assert torch.equal(torch.cat(pieces, dim=-1), compose(lm, adaptor, [long], SETTINGS, WINDOWS)[0])
    assert max(piece.shape[-1] for piece in pieces) <= 4  # frames come as they are finished


def test_a_scale_for_each_control(lm: Engine, adaptor: Adaptor) -> None:
    """Equal scales are one scale; a control of scale 0 is not heard; scales of 1 need no guidance."""
    one = request(1)
    together = Steering(top_k=6, control_scale=4.0)
    apart = Steering(top_k=6, control_scale=9.0, guidance={"face": 4.0, "motion": 4.0})
    assert torch.equal(*(compose(lm, adaptor, [one], s, WINDOWS)[0] for s in (together, apart)))
    unheard = Steering(top_k=6, control_scale=4.0, guidance={"face": 0.0})
    dropped = replace(one, strengths={"face": 0.0})
    assert torch.equal(
        compose(lm, adaptor, [one], unheard, WINDOWS)[0], compose(lm, adaptor, [dropped], together, WINDOWS)[0]
    )
    different = Steering(top_k=6, control_scale=4.0, guidance={"face": 2.0})
    assert not torch.equal(
        compose(lm, adaptor, [one], different, WINDOWS)[0], compose(lm, adaptor, [one], together, WINDOWS)[0]
    )


def test_a_strength_may_change_over_time(lm: Engine, adaptor: Adaptor) -> None:
    one = request(1)
    rows = np.ones(N_FRAMES + 1, dtype=np.float32)
    constant = replace(one, strengths={"face": rows, "motion": 1.0})
    assert torch.equal(
        compose(lm, adaptor, [constant], SETTINGS, WINDOWS)[0], compose(lm, adaptor, [one], SETTINGS, WINDOWS)[0]
    )
    silent = replace(one, strengths={"face": 0 * rows, "motion": 0 * rows})
    assert torch.equal(
        compose(lm, adaptor, [silent], SETTINGS, WINDOWS)[0], compose(lm, None, [one], SETTINGS, WINDOWS)[0]
    )
    fading = replace(one, strengths={"face": np.linspace(1, 0, N_FRAMES + 1), "motion": 1.0})
    assert not torch.equal(
        compose(lm, adaptor, [fading], SETTINGS, WINDOWS)[0], compose(lm, adaptor, [one], SETTINGS, WINDOWS)[0]
    )


def test_requests_that_do_not_fit_are_refused(lm: Engine, adaptor: Adaptor) -> None:
    with pytest.raises(ExpotionError, match=r"control 'face': \[14, 3\] rows, got \[15, 3\]"):
        compose(lm, adaptor, [replace(request(1), n_frames=13)], SETTINGS, WINDOWS)
    with pytest.raises(ExpotionError, match="at least one frame"):
        compose(lm, adaptor, [replace(request(1), n_frames=0)], SETTINGS, WINDOWS)


def test_a_feature_that_is_not_a_number_is_named(lm: Engine, adaptor: Adaptor) -> None:
    one = request(1)
    values = one.tracks["motion"].values.copy()
    values[5, 1] = np.nan
    spoilt = {**one.tracks, "motion": SmoothedTrack(values, one.tracks["motion"].valid)}
    with pytest.raises(ExpotionError, match=r"control 'motion': finite features, got NaN .* first at row 5"):
        compose(lm, adaptor, [replace(one, tracks=spoilt)], SETTINGS, WINDOWS)


# ------------------------------------------------------- prompts over time, a negative one, codes that are known

LIKELIEST = Steering(top_k=1)
"""One way to go on: draws do not count."""


def test_a_prompt_takes_over_at_its_frame(lm: Engine) -> None:
    """What comes before is the first prompt's, what comes after goes on from there under the second."""
    first, second = request(1), request(2)
    assert first.text is not None and second.text is not None
    changing = replace(first, tracks={}, later=[(9, second.text)])
    found = compose(lm, None, [changing], LIKELIEST, WINDOWS)[0]
    before = compose(lm, None, [replace(first, tracks={}, n_frames=9)], LIKELIEST, WINDOWS)[0]
    after = replace(first, tracks={}, text=second.text, known=before)
    assert torch.equal(found[:, :9], before)
    assert torch.equal(found, compose(lm, None, [after], LIKELIEST, WINDOWS)[0])
    assert not torch.equal(found, compose(lm, None, [replace(first, tracks={})], LIKELIEST, WINDOWS)[0])


def test_controls_of_a_window_are_heard_whole_where_its_prompt_changes(lm: Engine, adaptor: Adaptor) -> None:
    """Every position sees every row of the prefix, so a prompt that says the same again changes nothing before."""
    one = request(1)
    assert one.text is not None
    same = replace(one, later=[(9, one.text)])
    found, plain = (compose(lm, adaptor, [each], LIKELIEST, WINDOWS)[0] for each in (same, one))
    assert torch.equal(found[:, :6], plain[:, :6])  # the last three frames before are drawn beside the next ones


@pytest.mark.parametrize("at", [3, N_FRAMES, N_FRAMES + 2, 2 * N_FRAMES, 90])
def test_prompts_over_time_do_not_depend_on_neighbours(lm: Engine, adaptor: Adaptor, at: int) -> None:
    """In the first window, at a join, in what a window continues, in the last window, behind the end."""
    long, other = request(1, 2 * N_FRAMES + 3), request(2, 2 * N_FRAMES + 3)
    assert other.text is not None
    changing = replace(long, later=[(at, other.text)])
    together = compose(
        lm, adaptor, [changing, other, replace(request(3), later=[(5, other.text)])], SETTINGS, WINDOWS
    )
    alone = compose(lm, adaptor, [changing], SETTINGS, WINDOWS)[0]
    assert torch.equal(together[0], alone)
    assert torch.equal(together[1], compose(lm, adaptor, [other], SETTINGS, WINDOWS)[0])
    plain = compose(lm, adaptor, [long], SETTINGS, WINDOWS)[0]
    assert torch.equal(alone, plain) == (at == 90)
    assert torch.equal(alone[:, : at - 3], plain[:, : at - 3])
    pieces = list(compose_pieces(lm, adaptor, changing, SETTINGS, WINDOWS))
    assert torch.equal(torch.cat(pieces, dim=-1), alone)


def test_the_first_codes_stand_as_they_are(lm: Engine, adaptor: Adaptor) -> None:
    known = torch.randint(0, 8, (4, 5), generator=torch.Generator().manual_seed(0))
    for n_frames in (6, 2 * N_FRAMES):
        one = replace(request(1, n_frames), known=known)
        found = compose(lm, adaptor, [one, request(2)], SETTINGS, WINDOWS)[0]
        assert found.shape == (4, n_frames) and torch.equal(found[:, :5], known)
        pieces = list(compose_pieces(lm, adaptor, one, SETTINGS, WINDOWS))
        assert torch.equal(torch.cat(pieces, dim=-1), found)
    with pytest.raises(ExpotionError, match="fewer than 5 frames to start from, got 5"):
        compose(lm, adaptor, [replace(request(1, 5), known=known)], SETTINGS, WINDOWS)


@pytest.mark.parametrize("control_scale", [None, 4.0])
@pytest.mark.parametrize("null_branch", ["none", "full", "null_vectors"])
def test_a_negative_prompt_pulls_the_text_away(
    lm: Engine, adaptor: Adaptor, control_scale: float | None, null_branch: str
) -> None:
    """A negative prompt that says nothing changes nothing; the prompt itself leaves no guidance by the text."""
    config = replace(adaptor.config, null_branch=null_branch)
    own = Adaptor(config, seed=1)
    with torch.no_grad():
        own.gates.fill_(2.0)
    one, other = request(1), request(2)
    settings = Steering(top_k=1, control_scale=control_scale)
    silence = TokenFeatures(np.ones((4, 6), np.float32), np.zeros(4, dtype=bool))
    plain, silent, negative = (
        compose(lm, own, [replace(one, negative=text)], settings, WINDOWS)[0]
        for text in (None, silence, other.text)
    )
    assert torch.equal(plain, silent)
    assert not torch.equal(plain, negative)
    together = compose(lm, own, [replace(one, negative=other.text), other], settings, WINDOWS)
    assert torch.equal(together[0], negative)
    assert torch.equal(together[1], compose(lm, own, [other], settings, WINDOWS)[0])


def test_a_request_is_cut_to_a_part(lm: Engine) -> None:
    long, second, third = request(1, 30), request(2).text, request(3).text
    assert second is not None and third is not None
    rising = np.arange(31, dtype=np.float32)
    part = replace(long, later=[(4, second), (20, third)], strengths={"face": rising, "motion": 0.5}).cut(10, 25)
    assert part.n_frames == 15 and part.text is second
    assert [(frame, text is third) for frame, text in part.later] == [(10, True)]
    np.testing.assert_array_equal(part.strengths["face"], rising[10:26])
    assert part.strengths["motion"] == 0.5
    np.testing.assert_array_equal(part.tracks["face"].values, long.tracks["face"].values[10:26])


def test_what_takes_share_is_computed_once(lm: Engine, adaptor: Adaptor, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a take's last bits do not depend on how many there are: text and prefix are made for one row."""
    rows: list[int] = []
    project, start = lm.project_text, lm.start
    monkeypatch.setattr(lm, "project_text", lambda hidden, *a: (rows.append(len(hidden)), project(hidden, *a))[1])
    starts: list[int] = []
    monkeypatch.setattr(
        lm, "start", lambda source, *a, **k: (starts.append(len(source)), start(source, *a, **k))[1]
    )
    one, other = request(1, 2 * N_FRAMES), request(2, N_FRAMES)
    batch = [replace(each, seed=seed) for seed in (1, 2, 3) for each in (one, other)]
    settings = Steering(top_k=6, control_scale=4.0)
    together = compose(lm, adaptor, batch, settings, WINDOWS)
    assert rows == [2, 1, 1] and starts == [18, 9, 9]  # three branches; the short one is done after a window
    for each, codes in zip(batch, together, strict=True):
        assert torch.equal(compose(lm, adaptor, [each], settings, WINDOWS)[0], codes)
