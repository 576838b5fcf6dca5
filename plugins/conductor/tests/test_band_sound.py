"""The band's sound: notes are heard, as loud as they are struck, the same each time, in timbres that differ."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion_conductor.band import midi
from expotion_conductor.band.instruments import INSTRUMENTS
from expotion_conductor.band.piece import make_piece
from expotion_conductor.band.render import SAMPLE_RATE_HZ, _play, packaged_font, render_piece
from expotion_conductor.plan import DEVELOPMENT_SEEDS

SEED = DEVELOPMENT_SEEDS + 500


def played(*messages: midi.Message, program: int = 73, end_s: float = 1.0) -> np.ndarray:
    """A flute's (or another's) messages on channel 0, at 48 kHz."""
    return _play(packaged_font(), midi.midi_file((midi.program(0.0, 0, program), *messages), end_s))


def level_db(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-12))


def test_a_hard_stroke_is_louder_by_ten_decibels() -> None:
    for program in (0, 24, 40, 56, 73):
        soft, hard = (played(*midi.note(0.0, 0.8, 0, 72, v), program=program) for v in (30, 110))
        assert level_db(hard) - level_db(soft) >= 10.0


def test_an_expression_swell_is_heard_within_one_note() -> None:
    swell = [midi.control(0.1 * i, 0, midi.EXPRESSION, 20 + 10 * i) for i in range(11)]
    sound = played(*swell, *midi.note(0.0, 1.1, 0, 72, 100), end_s=1.1)
    parts = [level_db(part) for part in np.array_split(sound[4800:], 5)]
    assert parts == sorted(parts) and parts[-1] - parts[0] >= 10.0


def test_at_least_twelve_timbres_differ() -> None:
    """Distances between levels in 24 bands, each sound's own level left out: mean 3 dB and more a band."""
    spectra = {}
    for one in list(INSTRUMENTS.values())[::3]:
        sound = played(*midi.note(0.0, 0.5, 0, 69, 100), program=one.program, end_s=0.5)
        power = np.abs(np.fft.rfft(sound[:24_000])) ** 2
        edges = np.geomspace(100, 11_000, 25).astype(int) // 2
        bands = 10 * np.log10([power[a:b].sum() + 1e-6 * power.sum() for a, b in pairwise(edges)])
        spectra[one.name] = bands - bands.mean()
    distances = {(a, b): np.abs(spectra[a] - spectra[b]).mean() for a, b in combinations(spectra, 2)}
    apart: list[str] = []
    for name in spectra:
        if all(distances[other, name] >= 3.0 for other in apart):
            apart.append(name)
    assert len(apart) >= 12, apart


def test_a_piece_sounds_the_same_each_time_and_has_its_length() -> None:
    piece = make_piece(SEED, 1.5)
    sound = render_piece(piece)
    assert sound.dtype == np.float32 and sound.shape == (48_000,) and np.abs(sound).max() < 1.0
    np.testing.assert_array_equal(sound, render_piece(make_piece(SEED, 1.5)))
    assert level_db(sound) > -50.0


def test_notes_are_heard_where_the_truth_has_them() -> None:
    crisp = {"lead": "piano", "space": "dry", "touch": "short", "ornament": "plain"}
    piece = make_piece(SEED + 1, 3.0, steady=True, fixed=crisp)
    sound = render_piece(piece, voices=["melody"])
    hop = SAMPLE_RATE_HZ // 100
    level = np.sqrt(np.square(sound).reshape(-1, hop).mean(1))
    mine = piece.notes.voice == 0
    for onset_s in piece.notes.onset_s[mine]:
        at = int(onset_s * 100)
        if 3 <= at < len(level) - 5:
            assert level[at : at + 5].max() > 1.3 * level[at - 2]


def test_a_font_that_is_none_is_refused(tmp_path: Path) -> None:
    piece = make_piece(SEED, 0.5)
    with pytest.raises(ExpotionError, match="none"):
        render_piece(piece, tmp_path / "none.sf2")
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(b"RIFF0000nothing")
    with pytest.raises(ExpotionError, match="another kind"):
        render_piece(piece, broken)
