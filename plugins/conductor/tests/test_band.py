"""The band's pieces: in key, on the beat, dense as the arousal says; every word of a caption changes something."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from expotion_conductor.band import words
from expotion_conductor.band.captions import FORMS, HELD_OUT_FORMS, caption_of
from expotion_conductor.band.conducted import band_plan
from expotion_conductor.band.draw import Draw, pink
from expotion_conductor.band.harmony import lead_voices, scale_of
from expotion_conductor.band.instruments import INSTRUMENTS, KITS
from expotion_conductor.band.piece import Piece, make_piece
from expotion_conductor.band.score import DRUMS, MELODY
from expotion_conductor.band.styles import METRES, STYLES
from expotion_conductor.band.traits import DOMAIN, MOODS
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import DEVELOPMENT_SEEDS
from expotion_conductor.probes import stop, tempo_step
from expotion_conductor.source import ConductorOptions, ConductorSource

SEED = DEVELOPMENT_SEEDS + 700


def steady_arousal(piece: Piece, level: float) -> Piece:
    return dataclasses.replace(piece, intensity=np.full_like(piece.intensity, level))


def test_a_seed_gives_one_piece_and_a_longer_one_begins_the_same() -> None:
    for seed in range(SEED, SEED + 6):
        short, again, long = make_piece(seed, 6.0), make_piece(seed, 6.0), make_piece(seed, 9.0)
        assert short.caption == again.caption == long.caption
        np.testing.assert_array_equal(short.beats_s, long.beats_s[: len(short.beats_s)])
        early = short.notes.onset_s < 4.0
        for name in ("onset_s", "pitch", "velocity", "voice"):
            mine = getattr(short.notes, name)
            np.testing.assert_array_equal(mine, getattr(again.notes, name))
            np.testing.assert_array_equal(mine[early], getattr(long.notes, name)[: early.sum()])


def test_pieces_are_full_enough_and_in_key() -> None:
    pieces = [make_piece(seed, 8.0) for seed in range(SEED, SEED + 20)]
    assert np.median([len(piece.notes.pitch) / 8.0 for piece in pieces]) >= 6.0
    assert np.median([len(set(piece.notes.voice.tolist())) for piece in pieces]) >= 4
    for piece in pieces:
        pitched = piece.notes.pitch[piece.notes.voice != DRUMS] % 12
        assert np.isin(pitched, scale_of(piece.key, piece.mode)).all()
        assert (piece.notes.offset_s > piece.notes.onset_s).all()
        assert piece.notes.velocity.min() >= 1 and piece.notes.velocity.max() <= 127


def test_a_bar_may_have_no_chord() -> None:
    assert len(make_piece(1_000_249, duration_s=20.0).notes.pitch) > 50


def test_metres_styles_and_performed_timing_are_all_drawn() -> None:
    pieces = [make_piece(seed, 8.0) for seed in range(SEED, SEED + 120)]
    assert {piece.traits.metre for piece in pieces} == set(METRES)
    assert {piece.beats_per_bar for piece in pieces} == {2, 3, 4, 6}
    assert {piece.style for piece in pieces} == {style.name for style in STYLES}
    spread = [np.std(np.log(np.diff(p.beats_s))) for p in pieces if len(p.beats_s) > 4]
    assert np.median(spread) > 0.01
    off_grid = np.abs(pieces[0].notes.onset_s / 0.02 - np.rint(pieces[0].notes.onset_s / 0.02))
    assert off_grid.mean() > 0.15


def test_steady_pieces_keep_one_tempo_and_strike_every_beat() -> None:
    for seed in range(SEED, SEED + 20):
        piece = make_piece(seed, 6.0, steady=True)
        assert piece.traits.metre in ("3/4", "4/4")
        np.testing.assert_allclose(np.diff(piece.beats_s), piece.first_period_s)
        gaps = np.abs(piece.notes.onset_s[:, None] - piece.beats_s).min(axis=0)
        assert gaps.max() < 0.035


def test_arousal_brings_more_and_harder_notes_and_valence_higher_ones() -> None:
    piece = make_piece(SEED + 3, 8.0, style="rock", fixed={"colour": "none"})
    low, high = (steady_arousal(piece, level).notes for level in (0.1, 0.9))
    assert len(high.pitch) > 1.4 * len(low.pitch)
    assert np.median(high.velocity) > np.median(low.velocity) + 15
    dark, bright = (
        dataclasses.replace(piece, valence=np.full_like(piece.valence, level)).notes for level in (0.05, 0.95)
    )
    assert bright.pitch[bright.voice == MELODY].mean() > dark.pitch[dark.voice == MELODY].mean() + 3


def test_voices_lead_by_small_steps() -> None:
    before = (60, 64, 67)
    after = lead_voices((5, 9, 0), before, 63.0, 40, 80)
    assert sorted(pitch % 12 for pitch in after) == [0, 5, 9]
    assert sum(abs(a - b) for a, b in zip(after, before, strict=True)) <= 4


def test_pink_deviations_are_of_unit_size_and_longer_rows_begin_alike() -> None:
    row = pink(4000, 5)
    assert 0.7 < row.std() < 1.3
    np.testing.assert_array_equal(pink(300, 5), row[:300])
    assert np.corrcoef(row[:-1], row[1:])[0, 1] > 0.5


def test_there_are_five_hundred_words_and_captions_use_no_others() -> None:
    known = words.content_words()
    assert len(known) >= 500
    captions = [make_piece(seed, 0.5).caption for seed in range(SEED, SEED + 150)]
    captions += [caption_of(make_piece(SEED, 0.5).traits, Draw(i), held_out=True) for i in range(50)]
    assert {word for text in captions for word in words.words_of(text)} <= known | words.GLUE
    forbidden = {"fast", "slow", "quick", "loud", "quiet", "soft", "tempo", "bpm", "gentle", "energetic"}
    assert not forbidden & (known | words.GLUE)
    assert not set(FORMS) & set(HELD_OUT_FORMS)


def test_every_word_stands_for_a_trait_that_exists() -> None:
    assert set(words.PLAYERS) == set(INSTRUMENTS) and set(words.KIT_WORDS) == set(KITS)
    assert set(words.STYLE_WORDS) == {style.name for style in STYLES} and set(words.MOOD_WORDS) == set(MOODS)
    assert set(words.FAMILIES) <= {one.family for one in INSTRUMENTS.values()}
    for trait, value in words.DETAILS:
        assert value in DOMAIN[trait]
    phrases = [
        phrase for table in (words.PLAYERS, words.MOOD_WORDS, words.STYLE_WORDS) for phrase in table.values()
    ]
    phrases += list(words.DETAILS.values()) + list(words.KIT_WORDS.values()) + list(words.FAMILIES.values())
    every = [phrase for some in phrases for phrase in some] + list(words.SCENES) + list(words.KEYS)
    assert len(every) == len(set(every)), "a phrase has two meanings"
    assert len({tuple(sorted(map(str, scene.items()))) for scene in words.SCENES.values()}) == len(words.SCENES)


SETTINGS = sorted(
    {tuple(sorted((k, str(v), v) for k, v in sets.items())) for sets in words.lexicon().values()}, key=str
)


def heard(piece: Piece) -> tuple[object, ...]:
    """All that reaches the synthesiser."""
    traits, notes = piece.traits, piece.performed
    who = (traits.lead, traits.comp, traits.bass, traits.kit, traits.colour_player, traits.space)
    return (who, notes.pitch.tobytes(), notes.onset_s.tobytes(), notes.offset_s.tobytes(), notes.velocity.tobytes())


def test_every_word_changes_the_music() -> None:
    """Each setting that words stand for, against the same piece without it: other notes, players or room."""
    seeds = (SEED + 11, SEED + 12, SEED + 13)
    base = {seed: heard(make_piece(seed, 1.0, fixed={"scene": ""})) for seed in seeds}
    for setting in SETTINGS:
        fixed = {name: value for name, _, value in setting}
        if "family" in fixed:
            fixed = {"lead": next(i.name for i in INSTRUMENTS.values() if i.family == fixed["family"])}
        changed = (heard(make_piece(seed, 1.0, fixed={"scene": "", **fixed})) != base[seed] for seed in seeds)
        assert any(changed), fixed


def test_a_clip_of_the_band_has_the_whole_truth() -> None:
    clip = ConductorClip(band_plan(SEED, 2.0), size_px=64)
    truth = clip.truth
    assert clip.id == f"band-{SEED}" and truth.tempo_bpm is not None
    assert truth.notes is not None and truth.valence is not None and truth.events_s is not None
    assert truth.tempo_curve_bpm is not None
    np.testing.assert_allclose(truth.tempo_curve_bpm, truth.tempo_bpm)
    assert len(truth.valence) == len(truth.intensity) == len(truth.intensity_times_s)
    assert clip.audio(16000).shape == (32000,)
    assert truth.landmarks is not None
    assert truth.landmarks["left_wrist"].shape == (len(truth.intensity_times_s), 2)
    performed = ConductorClip(band_plan(SEED, 2.0, steady=False), size_px=64)
    assert performed.truth.tempo_bpm is None and performed.content_hash != clip.content_hash


def test_the_conductor_turns_at_the_beats_of_a_performance() -> None:
    for seed in range(SEED, SEED + 4):
        clip = ConductorClip(band_plan(seed, 5.0, steady=False))
        times_s = np.arange(0.0, 5.0, 0.002)
        velocity = np.diff(-clip.figure.joints(times_s)[clip.figure.baton_wrist][:, 1])
        turns_s = times_s[1:-1][(velocity[:-1] < 0) & (velocity[1:] >= 0)]
        inside = clip.truth.beats_s[(clip.truth.beats_s > 0.05) & (clip.truth.beats_s < 4.95)]
        assert all(np.abs(turns_s - beat_s).min() < 0.025 for beat_s in inside)


def test_the_source_offers_the_band_by_name_and_keeps_the_first_style() -> None:
    band = ConductorSource(ConductorOptions(train_clips=2, test_clips=1, clip_s=1.0, style="band"))
    assert all(clip.plan.piece for clip in band.clips("train"))
    assert ConductorSource(ConductorOptions(train_clips=1)).clips("train")[0].plan.piece is None
    with pytest.raises(ValueError, match="style"):
        ConductorOptions.model_validate({"style": "orchestra"})


def test_probes_change_the_bands_music_too() -> None:
    plan = band_plan(SEED + 5, 8.0)
    assert plan.piece is not None
    stopped, stepped = stop(plan).piece, tempo_step(plan).piece
    assert stopped is not None and stepped is not None
    assert stopped.notes.onset_s.max() <= stop(plan).rests_from_s + 0.06
    changed = np.diff(stepped.beats_s)
    assert changed[-1] / changed[0] == pytest.approx(1.35, abs=0.1) or changed[0] / changed[-1] == pytest.approx(
        1.35, abs=0.1
    )
