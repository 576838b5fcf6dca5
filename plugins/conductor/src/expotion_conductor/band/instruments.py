"""The players: instruments of General MIDI by name, with their range, and sets of drums."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One instrument: its General MIDI program (0..127) and the MIDI pitches that it plays well."""

    name: str
    family: str
    program: int
    low: int
    high: int
    held: bool
    """A tone lasts as long as it is played; otherwise it dies away by itself."""


_HELD = {"strings", "brass", "woodwind", "organ", "voice", "synth", "reed"}
_TABLE = (
    ("piano", "keyboard", 0, 36, 96),
    ("electric piano", "keyboard", 4, 40, 92),
    ("harpsichord", "keyboard", 6, 41, 88),
    ("celesta", "mallet", 8, 60, 96),
    ("glockenspiel", "mallet", 9, 72, 100),
    ("music box", "mallet", 10, 60, 90),
    ("vibraphone", "mallet", 11, 53, 89),
    ("marimba", "mallet", 12, 45, 90),
    ("xylophone", "mallet", 13, 65, 98),
    ("tubular bells", "mallet", 14, 60, 79),
    ("hammond organ", "organ", 16, 40, 88),
    ("church organ", "organ", 19, 36, 90),
    ("accordion", "reed", 21, 48, 88),
    ("harmonica", "reed", 22, 58, 90),
    ("nylon guitar", "plucked", 24, 40, 81),
    ("steel guitar", "plucked", 25, 40, 84),
    ("jazz guitar", "plucked", 26, 40, 84),
    ("electric guitar", "plucked", 27, 40, 86),
    ("distorted guitar", "plucked", 30, 40, 84),
    ("double bass", "bass", 32, 28, 55),
    ("electric bass", "bass", 33, 28, 55),
    ("fretless bass", "bass", 35, 28, 55),
    ("slap bass", "bass", 36, 28, 55),
    ("synth bass", "bass", 38, 28, 55),
    ("violin", "strings", 40, 57, 96),
    ("viola", "strings", 41, 50, 84),
    ("cello", "strings", 42, 38, 74),
    ("pizzicato strings", "plucked", 45, 43, 86),
    ("harp", "plucked", 46, 36, 96),
    ("string orchestra", "strings", 48, 38, 92),
    ("choir", "voice", 52, 48, 79),
    ("trumpet", "brass", 56, 55, 84),
    ("trombone", "brass", 57, 43, 72),
    ("tuba", "brass", 58, 30, 58),
    ("muted trumpet", "brass", 59, 55, 82),
    ("french horn", "brass", 60, 43, 76),
    ("brass section", "brass", 61, 45, 80),
    ("soprano saxophone", "woodwind", 64, 56, 86),
    ("alto saxophone", "woodwind", 65, 50, 80),
    ("tenor saxophone", "woodwind", 66, 45, 75),
    ("oboe", "woodwind", 68, 58, 88),
    ("english horn", "woodwind", 69, 52, 80),
    ("bassoon", "woodwind", 70, 36, 70),
    ("clarinet", "woodwind", 71, 50, 88),
    ("piccolo", "woodwind", 72, 74, 102),
    ("flute", "woodwind", 73, 60, 94),
    ("recorder", "woodwind", 74, 65, 96),
    ("pan flute", "woodwind", 75, 60, 90),
    ("tin whistle", "woodwind", 78, 67, 96),
    ("ocarina", "woodwind", 79, 60, 88),
    ("square synth", "synth", 80, 48, 90),
    ("saw synth", "synth", 81, 48, 90),
    ("synth pad", "synth", 89, 43, 88),
    ("sitar", "plucked", 104, 48, 80),
    ("banjo", "plucked", 105, 48, 86),
    ("koto", "plucked", 107, 52, 88),
    ("kalimba", "plucked", 108, 55, 88),
    ("bagpipes", "reed", 109, 55, 79),
    ("fiddle", "strings", 110, 55, 92),
    ("steel drums", "mallet", 114, 55, 86),
)
INSTRUMENTS = {
    name: Instrument(name, family, program, low, high, family in _HELD)
    for name, family, program, low, high in _TABLE
}
"""By name, in the order of their programs."""


@dataclass(frozen=True)
class Kit:
    """A set of drums: its program and the keys of its low, high and light strokes, of the mark of a new section."""

    program: int
    low: int
    high: int
    light: int
    crash: int
    fill: tuple[int, ...]


KITS = {
    "drum kit": Kit(0, 36, 38, 42, 49, (48, 45, 41)),
    "brushes": Kit(40, 36, 38, 51, 49, (38, 38, 45)),
    "electronic drums": Kit(25, 36, 39, 42, 49, (38, 38, 39)),
    "marching drums": Kit(0, 35, 38, 44, 57, (38, 38, 38)),
    "orchestral percussion": Kit(0, 41, 43, 81, 57, (43, 41, 41)),
    "congas": Kit(0, 64, 62, 70, 54, (63, 62, 64)),
    "hand drums": Kit(0, 61, 60, 54, 54, (60, 61, 61)),
    "wood blocks": Kit(0, 77, 76, 75, 81, (76, 77, 77)),
}
"""By name; `no drums` stands for none."""
NO_DRUMS = "no drums"
