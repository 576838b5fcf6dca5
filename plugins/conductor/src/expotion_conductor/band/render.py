"""The sound of a piece, played from a General MIDI soundfont by `midirenderer`.

The repository holds no samples. Without a font named, the one that the package `pretty_midi` carries is used
(TimGM6mb, GPL-2: played on the user's machine, neither redistributed nor trained on). How loud a font's instruments
are is measured by playing a few notes of each, so that voices are balanced with any font.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import wave
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem
from expotion_conductor.band import midi
from expotion_conductor.band.instruments import INSTRUMENTS, KITS, NO_DRUMS
from expotion_conductor.band.performance import expression
from expotion_conductor.band.piece import Piece
from expotion_conductor.band.score import DRUMS, VOICES

SAMPLE_RATE_HZ = 32_000
_FONT_RATE_HZ = 48_000
_PRE_ROLL_S = 1.0
"""Notes struck this long before the clip begins still sound in it."""
_CHANNELS = (0, 1, 2, midi.DRUM_CHANNEL, 3)
_LEVEL_DB = (-33.0, -40.0, -35.0, -35.0, -42.0)
"""RMS of a voice's single notes at velocity 100 before the gain, so low that sixteen bits never clip."""
_GAIN_DB = 11.0
_KNEE = 0.7
_EXPRESSION_STEP_S = 0.04
_VIBRATO = 24
_REVERB = {"dry": 0, "room": 40, "hall": 127}


def packaged_font() -> Path:
    """The soundfont inside the installed package `pretty_midi`, which is not imported."""
    found = importlib.util.find_spec("pretty_midi")
    path = Path(found.origin).parent / "TimGM6mb.sf2" if found and found.origin else None
    if path is None or not path.is_file():
        raise ExpotionError(
            Problem(
                where="the band's soundfont",
                wanted="TimGM6mb.sf2 inside the package pretty_midi",
                got=str(path or "no such package"),
                fix="install expotion-conductor again, or name a .sf2 file",
            )
        )
    return path


BAND_VERSION = 1
"""Part of the band's content hashes: raise it when the same piece gives other notes or sounds."""


def fingerprint(piece: Piece, font: Path | None = None) -> str:
    """What a piece's sound depends on beside its seed, beats and intensity: traits, valence, version and font."""
    valence = np.rint(piece.valence * 1e4).astype("<i8").tobytes()
    heard = hashlib.sha256(valence).hexdigest()[:16]
    played_on = _font_digest(font or packaged_font())
    breaks = f", {piece.holds_s}, {piece.rests_s}" if piece.holds_s or piece.rests_s else ""
    return f", band {BAND_VERSION}, {piece.traits}, steady {piece.steady}, {heard}, {played_on}{breaks}"


@lru_cache(maxsize=4)
def _font_digest(font: Path) -> str:
    return hashlib.sha256(_font_bytes(font)).hexdigest()[:16]


def render_piece(
    piece: Piece, font: Path | None = None, voices: Collection[str] | None = None
) -> NDArray[np.float32]:
    """Mono float32 [round(duration_s * 32000)] at 32 kHz, within ±1; `voices` plays only these of `VOICES`.

    The same font gives the same samples each time. Raises ExpotionError for a font that cannot be read.
    """
    path = font or packaged_font()
    wanted = [i for i, name in enumerate(VOICES) if voices is None or name in voices]
    file = midi.midi_file(_messages(piece, path, wanted), _PRE_ROLL_S + piece.duration_s + 0.1)
    sound = _to_rate(_play(path, file))[round(_PRE_ROLL_S * SAMPLE_RATE_HZ) :]
    n_samples = round(piece.duration_s * SAMPLE_RATE_HZ)
    sound = np.pad(sound, (0, max(0, n_samples - len(sound))))[:n_samples] * np.float32(10 ** (_GAIN_DB / 20))
    size = np.abs(sound)
    soft = _KNEE + (1 - _KNEE) * np.tanh((size - _KNEE) / (1 - _KNEE))
    return np.asarray(np.where(size > _KNEE, np.copysign(soft, sound), sound), dtype=np.float32)


def _messages(piece: Piece, font: Path, voices: Collection[int]) -> Iterator[midi.Message]:
    traits = piece.traits
    players = (traits.lead, traits.comp, traits.bass, traits.kit, traits.colour_player)
    for voice in voices:
        if voice == DRUMS and traits.kit == NO_DRUMS:
            continue
        channel, player = _CHANNELS[voice], players[voice]
        kit = KITS.get(player) if voice == DRUMS else None
        yield midi.program(0.0, channel, kit.program if kit else INSTRUMENTS[player].program)
        gain_db = min(0.0, _LEVEL_DB[voice] - _level_db(font, player))
        yield midi.control(0.0, channel, midi.VOLUME, round(127 * 10 ** (gain_db / 40)))
        yield midi.control(0.0, channel, midi.REVERB, _REVERB[traits.space])
        yield midi.control(0.0, channel, midi.CHORUS, 0)
        if voice == 0 and INSTRUMENTS[player].held:
            yield midi.control(0.0, channel, midi.MODULATION, _VIBRATO)
        times_s = np.arange(0.0, _PRE_ROLL_S + piece.duration_s, _EXPRESSION_STEP_S)
        pedal, before = expression(piece.arousal_at(times_s - _PRE_ROLL_S)), -1
        for time_s, value in zip(times_s.tolist(), pedal.tolist(), strict=True):
            if value != before:
                yield midi.control(time_s, channel, midi.EXPRESSION, value)
            before = value
    notes = piece.performed
    keep = np.isin(notes.voice, list(voices)) & (notes.onset_s >= -_PRE_ROLL_S)
    columns = (notes.onset_s, notes.offset_s, notes.voice, notes.pitch, notes.velocity)
    for onset_s, offset_s, voice, pitch, velocity in zip(*(c[keep].tolist() for c in columns), strict=True):
        yield from midi.note(onset_s + _PRE_ROLL_S, offset_s + _PRE_ROLL_S, _CHANNELS[voice], pitch, velocity)


@lru_cache(maxsize=256)
def _level_db(font: Path, player: str) -> float:
    """RMS in dB of full scale of a player's notes at velocity 100, low, middle and high, half a second each."""
    kit = KITS.get(player)
    if kit:
        channel, number, pitches = midi.DRUM_CHANNEL, kit.program, (kit.low, kit.high, kit.high)
    else:
        one = INSTRUMENTS[player]
        channel, number = 0, one.program
        low, middle, high = (round(one.low + share * (one.high - one.low)) for share in (0.3, 0.5, 0.7))
        pitches = (low, middle, high)
    messages = [midi.program(0.0, channel, number), midi.control(0.0, channel, midi.VOLUME, 127)]
    messages.append(midi.control(0.0, channel, midi.REVERB, 0))
    for i, pitch in enumerate(pitches):
        messages += midi.note(0.5 * i, 0.5 * i + 0.4, channel, pitch, 100)
    sound = _play(font, midi.midi_file(messages, 0.5 * len(pitches)))
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-9))


@lru_cache(maxsize=2)
def _font_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_font(path, error.strerror or str(error)) from error
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise _no_font(path, "a file of another kind")
    return content


def _no_font(path: Path, got: str) -> ExpotionError:
    return ExpotionError(
        Problem(
            str(path), "a General MIDI soundfont (.sf2) with uncompressed samples", got, "name another .sf2 file"
        )
    )


def _play(font: Path, file: bytes) -> NDArray[np.float32]:
    """What the font makes of a MIDI file, both sides in one: float32 [n] at 48 kHz."""
    from midirenderer import render_wave_from  # noqa: PLC0415 - only where sound is wanted

    try:
        played = render_wave_from(_font_bytes(font), file)
    except (ValueError, RuntimeError) as error:
        raise _no_font(font, str(error)) from error
    with wave.open(io.BytesIO(played)) as sound:
        both = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).reshape(-1, 2)
    return np.asarray(both.astype(np.float32).sum(axis=1) / np.float32(65_536.0))


def _to_rate(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """48 to 32 kHz by cutting the spectrum at 16 kHz: float32 [n] -> [2 n / 3]."""
    n = -(-len(sound) // 4_800) * 4_800
    kept = np.fft.rfft(sound, n)[: n // 3 + 1]
    return np.asarray(np.fft.irfft(kept, n * 2 // 3) * (2 / 3), dtype=np.float32)[: len(sound) * 2 // 3]
