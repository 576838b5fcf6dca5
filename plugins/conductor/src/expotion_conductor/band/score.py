"""A piece in musical time: what each voice of the band plays in each bar.

Composed bar by bar, each from draws of its own, so that a longer piece begins as the shorter one does. Arousal says
how many of a pattern's notes are played, valence which chords are likely and how high the voices lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from expotion_conductor.band import harmony
from expotion_conductor.band.draw import Draw
from expotion_conductor.band.instruments import INSTRUMENTS, KITS, NO_DRUMS, Instrument
from expotion_conductor.band.styles import METRES, STYLES_BY_NAME, Groove
from expotion_conductor.band.traits import Traits

VOICES = ("melody", "chords", "bass", "drums", "colour")
"""Names of the numbers in `Notes.voice`."""
MELODY, CHORDS, BASS, DRUMS, COLOUR = range(5)

PHRASE_BARS, SECTION_BARS = 4, 8
_SHORTEST_STEP_S = 0.1
_OFF_BEAT = {MELODY: 0.6, CHORDS: 0.4, BASS: 0.4, DRUMS: 0.1, COLOUR: 0.6}
"""Accents off the beat in steady music. As strong as the beats, a tracker takes them for beats."""
_BASS_CENTRE = 38
_LENGTHS = {"short": 0.42, "normal": 0.9, "long": 1.0}
_REGISTERS = {"low": -9, "middle": 0, "high": 9}
_MOVES = {"stepwise": (-1, 0, 1, 1, -1), "free": (-2, -1, 0, 1, 2, 1, -1), "leaping": (-4, -3, -2, 2, 3, 4)}
_FIGURES = {
    "arpeggio": "1.2.3.4.3.2.1.2.",
    "block": "c.......c.......",
    "repeated": "c.c.c.c.c.c.c.c.",
    "pad": "c...............",
}


class Stroke(NamedTuple):
    """One note in musical time: `at` and `length` in beats, `accent` 0..1 beside the arousal of the moment."""

    voice: int
    pitch: int
    at: float
    length: float
    accent: float


class Moment(NamedTuple):
    """The two curves at a bar's beginning, the seconds from beat to beat, whether each beat must be struck."""

    arousal: Callable[[float], float]
    valence: float
    period_s: float
    strict: bool


class Score:
    """Composes the bars of a piece one after the other; `first_bar` is the place of bar 0 in its section."""

    def __init__(self, seed: int, traits: Traits, beats_per_bar: int, first_bar: int) -> None:
        self._seed, self.traits, self.beats_per_bar, self.first_bar = seed, traits, beats_per_bar, first_bar
        self.style = STYLES_BY_NAME[traits.style]
        self._quarters, self.steps = METRES[traits.metre]
        self._groove = _cut(self.style.grooves[traits.metre], self.steps)
        self._scale = harmony.scale_of(traits.tonic, traits.mode)
        self._step = beats_per_bar / self.steps
        self._beat_steps = self.steps // beats_per_bar
        self._lead, self._comp, self._bass = (INSTRUMENTS[n] for n in (traits.lead, traits.comp, traits.bass))
        self._colour = INSTRUMENTS[traits.colour_player]
        self._chord: tuple[int, ...] = ()
        self._voicing: tuple[int, ...] = ()
        self._bass_pitch = _BASS_CENTRE
        self._melody_pitch: int | None = None
        self._degrees: dict[int, int] = {}

    def bar(self, number: int, now: Moment) -> Iterator[Stroke]:
        """The strokes of one bar; bars are asked for in order. `strict`: weaker off the beat."""
        for stroke in self._composed(number, now):
            off_beat = now.strict and abs(stroke.at - round(stroke.at)) > 1e-6
            yield stroke._replace(accent=stroke.accent * _OFF_BEAT[stroke.voice]) if off_beat else stroke

    def _composed(self, number: int, now: Moment) -> Iterator[Stroke]:
        place = number + self.first_bar
        draw = Draw(self._seed, 50, number)
        degree = harmony.chord_degrees(
            Draw(self._seed, 51, number), place, now.valence, self.traits.mode, self.style
        )
        self._chord = harmony.chord_classes(self._scale, degree, seventh=self.style.sevenths)
        yield from self._drums(number, place, now)
        yield from self._bass_line(number, now, draw)
        yield from self._chords(number, place, now)
        melody = list(self._melody(number, place, now, draw))
        yield from melody
        yield from self._doubling(number, now, melody)

    def _shift(self, valence: float) -> float:
        """Semitones by which valence and register raise the upper voices."""
        return 12.0 * (valence - 0.5) + _REGISTERS[self.traits.register]

    def _strong(self, step: int) -> bool:
        return step == 0 or (self.steps % 2 == 0 and self._quarters != 3 and step == self.steps // 2)

    def _playable(self, step: int, now: Moment) -> bool:
        """Whether a step is not too close to its neighbour at this tempo."""
        step_s = self._step * now.period_s
        return step % 4 == 0 or (step % 2 == 0 and step_s * 2 > _SHORTEST_STEP_S * 1.6) or step_s > _SHORTEST_STEP_S

    def _drums(self, number: int, place: int, now: Moment) -> Iterator[Stroke]:
        if self.traits.kit == NO_DRUMS:
            return
        kit, bar_at = KITS[self.traits.kit], number * self.beats_per_bar
        filling = place % SECTION_BARS == SECTION_BARS - 1
        for step in range(self.steps):
            at = bar_at + step * self._step
            arousal = now.arousal(at)
            if not self._playable(step, now):
                continue
            if filling and step >= self.steps - 4 and arousal > 0.35:
                key = kit.fill[(step - self.steps + 4) * len(kit.fill) // 4]
                yield Stroke(DRUMS, key, at, self._step, 0.7 + 0.05 * (step % 4))
                continue
            struck = False
            for key, row in (
                (kit.low, self._groove.low),
                (kit.high, self._groove.high),
                (kit.light, self._groove.light),
            ):
                strength = int(row[step]) if row[step] != "." else 0
                if strength and strength >= 6.5 - 5.5 * arousal:
                    struck |= key != kit.light
                    yield Stroke(DRUMS, key, at, self._step, 0.45 + strength / 18)
            if now.strict and not struck and step % self._beat_steps == 0:
                yield Stroke(DRUMS, kit.low if step == 0 else kit.high, at, self._step, 0.85)
            if step == 0 and place % SECTION_BARS == 0 and arousal > 0.4:
                yield Stroke(DRUMS, kit.crash, at, self._step, 0.6)

    def _bass_line(self, number: int, now: Moment, draw: Draw) -> Iterator[Stroke]:
        row, bar_at = self._groove.bass, number * self.beats_per_bar
        signs = [s for s in range(self.steps) if row[s] != "." and self._playable(s, now)]
        if now.strict:
            signs = sorted({*signs, *range(0, self.steps, self._beat_steps)})
        for at_step, until in pairwise([*signs, self.steps]):  # none in a bar that rests
            at = bar_at + at_step * self._step
            on_beat = at_step % self._beat_steps == 0
            if not on_beat and now.arousal(at) < 0.3:
                continue
            sign = row[at_step] if row[at_step] != "." else "r"
            if sign == "a" or (self.style.walking and not self._strong(at_step)):
                ladder = [p for p in range(self._bass_pitch - 4, self._bass_pitch + 5) if p % 12 in self._scale]
                pitch = draw.pick([p for p in ladder if p != self._bass_pitch])
            else:
                tone = self._chord[{"r": 0, "o": 0, "t": 1, "f": 2}[sign]]
                pitch = harmony.centre_pitch(tone, 0.5 * self._bass_pitch + 0.5 * _BASS_CENTRE)
                pitch += 12 if sign == "o" else 0
            pitch = _within(pitch, self._bass)
            self._bass_pitch = pitch
            length = (until - at_step) * self._step * min(0.95, _LENGTHS[self.traits.touch] + 0.05)
            yield Stroke(BASS, pitch, at, length, 0.9 if on_beat else 0.7)

    def _chords(self, number: int, place: int, now: Moment) -> Iterator[Stroke]:
        comp, bar_at = self._comp, number * self.beats_per_bar
        centre = min(max(60 + 0.7 * self._shift(now.valence), comp.low + 6), comp.high - 6)
        self._voicing = harmony.lead_voices(self._chord, self._voicing, centre, comp.low, comp.high)
        # The second section turns a figure round, where the style has one.
        row = self._groove.chords
        if self.traits.figure != "of the style":
            row = _FIGURES[self.traits.figure][: self.steps]
        elif (place // SECTION_BARS) % 2 and row.count("1"):
            row = row.translate(str.maketrans("1234", "3142"))
        signs = [s for s in range(self.steps) if row[s] != "." and self._playable(s, now)]
        touch = _LENGTHS[self.traits.touch]
        for at_step, until in pairwise([*signs, self.steps]):  # none in a bar that rests
            at = bar_at + at_step * self._step
            on_beat = at_step % self._beat_steps == 0
            if not on_beat and now.arousal(at) < 0.25 and row[at_step] in "cu":
                continue
            sign = row[at_step]
            tones = self._voicing
            if sign == "u":
                tones = tones[1:]
            elif sign != "c":
                index = int(sign) - 1
                tones = (tones[index % len(tones)] + 12 * (index // len(tones)),)
            for pitch in tones:
                length = (until - at_step) * self._step * touch
                yield Stroke(CHORDS, pitch, at, length, (0.85 if on_beat else 0.72) + 0.1 * (len(tones) == 1))

    def _onsets(self, place: int, number: int, now: Moment) -> list[int]:
        """Steps of a bar on which the melody has a note: a motif of the section, denser with arousal."""
        part, answer = (place // SECTION_BARS) % 2, place % PHRASE_BARS == 2
        motif, vary = Draw(self._seed, 60, part, int(answer)), Draw(self._seed, 61, number)
        off_beat = self.style.syncopation + 0.6 * self.traits.syncopated
        found = []
        for step in range(self.steps):
            if step % self._beat_steps == 0:
                weight = 9.0 if step == 0 else 7.0 - 2.5 * off_beat
            else:
                weight = 4.4 + 2.6 * off_beat if step % 2 == 0 else 1.9 + 1.5 * off_beat
            weight += motif.between(-1.6, 1.6) + vary.between(-0.5, 0.5)
            at = number * self.beats_per_bar + step * self._step
            if weight > 6.8 - 3.2 * now.arousal(at) and self._playable(step, now):
                found.append(step)
        last = place % PHRASE_BARS == PHRASE_BARS - 1
        if last and Draw(self._seed, 62, part).chance(0.7):
            # A phrase breathes at its end; where the section has a pick-up, it leads into the next one.
            pick_up = self.steps - (2 if self.steps == 8 else 4)
            ends = self.steps // 2
            found = [s for s in found if s <= ends]
            if Draw(self._seed, 63, part).chance(0.5):
                found += [pick_up, pick_up + (self.steps - pick_up) // 2]
        return found

    def _melody(self, number: int, place: int, now: Moment, draw: Draw) -> Iterator[Stroke]:
        lead, bar_at = self._lead, number * self.beats_per_bar
        half = min(10.0, (lead.high - lead.low) / 2)
        centre = min(max(72 + self._shift(now.valence), lead.low + half), lead.high - half)
        ladder = [
            p for p in range(lead.low, lead.high + 1) if p % 12 in self._scale and abs(p - centre) <= half + 1
        ]
        answer = place % PHRASE_BARS == 2
        contour = Draw(self._seed, 64, (place // SECTION_BARS) % 2, int(answer))
        moves = _MOVES[self.traits.motion]
        pitch = self._melody_pitch if self._melody_pitch is not None else round(centre)
        at_rung = min(range(len(ladder)), key=lambda i: abs(ladder[i] - pitch))
        if place % PHRASE_BARS == 0:
            middle = min(range(len(ladder)), key=lambda i: abs(ladder[i] - centre))
            at_rung = (at_rung + middle) // 2
        onsets = self._onsets(place, number, now)
        touch = _LENGTHS[self.traits.touch]
        for step, until in pairwise([*onsets, self.steps]):
            move = contour.pick(moves) if draw.chance(0.8) else draw.pick(moves)
            at_rung += move
            if not 0 <= at_rung < len(ladder):
                at_rung = min(max(at_rung - 2 * move, 0), len(ladder) - 1)
            if self._strong(step) or (until - step) * self._step >= 1:
                fitting = [i for i, p in enumerate(ladder) if p % 12 in self._chord]
                at_rung = min(fitting, key=lambda i: (abs(i - at_rung), i))
            at, length = bar_at + step * self._step, (until - step) * self._step * touch
            accent = 1.0 if step == 0 else 0.92 if step % self._beat_steps == 0 else 0.8
            if self.traits.ornament == "ornamented" and draw.chance(0.6) and at_rung + 1 < len(ladder):
                grace = min(0.45 * self._step, 0.07 / now.period_s)
                yield Stroke(MELODY, ladder[at_rung + 1], at - grace, grace, 0.7)
            yield Stroke(MELODY, ladder[at_rung], at, length, accent)
        self._melody_pitch = ladder[at_rung]

    def _doubling(self, number: int, now: Moment, melody: list[Stroke]) -> Iterator[Stroke]:
        """A pad holds the chord; octaves double the melody the brighter, the higher the valence."""
        player = self._colour
        if self.traits.colour == "pad":
            centre = min(max(62 + self._shift(now.valence), player.low + 8), player.high - 8)
            for tone in self._chord[:3]:
                pitch = _within(harmony.centre_pitch(tone, centre), player)
                yield Stroke(COLOUR, pitch, number * self.beats_per_bar, self.beats_per_bar * 0.98, 0.75)
        elif self.traits.colour == "octaves" and now.valence > 0.4:
            for stroke in melody:
                pitch = _within(stroke.pitch + 12, player)
                yield stroke._replace(voice=COLOUR, pitch=pitch, accent=stroke.accent * (0.4 + 0.6 * now.valence))


def _cut(groove: Groove, steps: int) -> Groove:
    return Groove(*(getattr(groove, row)[:steps] for row in ("low", "high", "light", "bass", "chords")))


def _within(pitch: int, player: Instrument) -> int:
    """The pitch, in another octave where the player has it not."""
    while pitch < player.low:
        pitch += 12
    while pitch > player.high:
        pitch -= 12
    return pitch
