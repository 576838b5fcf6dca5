"""How the genres are played: patterns of a bar for drums, bass and chords, and who usually plays.

A pattern has one sign per sixteenth. Drums: `1`..`9` is a stroke's strength, and the weaker it is, the more arousal
it waits for. Bass: `r` root, `f` fifth, `t` third, `o` octave, `a` a step to the next root. Chords: `c` the whole
chord, `u` without its lowest tone, `1`..`4` one tone of it. A tone lasts until the next sign. A bar of 3/4 is the
first three quarters of 4/4 and one of 2/4 the first half, unless it has its own pattern; 6/8 has twelve sixteenths.
"""

from __future__ import annotations

from dataclasses import dataclass, field

METRES = {"2/4": (2, 8), "3/4": (3, 12), "4/4": (4, 16), "6/8": (6, 12)}
"""Beats (in 6/8 the quavers) and sixteenths of a bar."""


@dataclass(frozen=True)
class Groove:
    """The patterns of one bar."""

    low: str
    high: str
    light: str
    bass: str
    chords: str


@dataclass(frozen=True)
class Style:
    """A genre. `swing` is how much of a quaver the second one comes late (1/3: triplets), `looseness_s` how far
    onsets deviate, `rubato` how far the tempo breathes, `syncopation` 0..1 how far melodies leave the beat."""

    name: str
    grooves: dict[str, Groove]
    leads: tuple[str, ...]
    comps: tuple[str, ...]
    basses: tuple[str, ...]
    kits: tuple[str, ...]
    modes: tuple[str, ...] = ("major", "minor")
    swing: float = 0.0
    sevenths: bool = False
    looseness_s: float = 0.008
    rubato: float = 0.02
    syncopation: float = 0.2
    walking: bool = False
    harmony: dict[str, float] = field(default_factory=dict)
    """Further weights of chord degrees (`1`..`7`)."""


def _all(groove: Groove, *metres: str, **own: Groove) -> dict[str, Groove]:
    """The groove of 4/4 cut to these metres, beside others of their own (`m34`, `m68`, `m24`)."""
    named = {f"{name[1]}/{name[2]}": value for name, value in own.items()}
    return {metre: groove for metre in metres} | named


_WALTZ = Groove("8...........", "....6...6...", "..3...3...3.", "r...........", "....c...c...")
_JIG = Groove("8.....7.....", "......6.....", "6.4.5.6.4.5.", "r.....f.....", "c...u.c...u.")
_SLOW_SIX = Groove("7...........", "......5.....", "5.3.4.5.3.4.", "r.....f.....", "1.2.3.4.3.2.")

STYLES = (
    Style(
        "rock",
        _all(
            Groove(
                "9.....3.9.6.....", "....9..2....9..2", "7.5.7.5.7.5.7.5.", "r.r.r.r.r.r.r.a.", "c...c...c...c.c."
            ),
            "4/4",
            "2/4",
            "3/4",
        ),
        ("electric guitar", "distorted guitar", "saw synth"),
        ("steel guitar", "electric guitar", "hammond organ"),
        ("electric bass",),
        ("drum kit",),
        ("minor", "mixolydian", "major"),
        harmony={"4": 1.5, "7": 1.5},
    ),
    Style(
        "pop ballad",
        _all(
            Groove(
                "8.....4.7.......", "....7.......7...", "6.4.6.4.6.4.6.4.", "r.......r...f.a.", "1.2.3.2.4.2.3.2."
            ),
            "4/4",
            "3/4",
        ),
        ("piano", "choir", "violin", "soprano saxophone", "square synth"),
        ("piano", "electric piano", "nylon guitar"),
        ("electric bass", "fretless bass"),
        ("drum kit", "brushes"),
        ("major", "minor"),
        harmony={"6": 1.6, "4": 1.5},
    ),
    Style(
        "jazz",
        _all(
            Groove(
                "6...5...6...5...", "....4.......4..3", "8...7.5.8...7.5.", "r...t...f...a...", "c.....u...c....."
            ),
            "4/4",
            "3/4",
        ),
        ("alto saxophone", "tenor saxophone", "muted trumpet", "clarinet", "vibraphone"),
        ("piano", "jazz guitar"),
        ("double bass",),
        ("brushes", "drum kit"),
        ("major", "dorian"),
        1 / 3,
        True,
        0.012,
        syncopation=0.6,
        walking=True,
        harmony={"2": 2.0, "5": 1.5},
    ),
    Style(
        "bossa nova",
        _all(
            Groove(
                "8.....6.8.....6.", "7.....6.....6...", "6.4.6.4.6.4.6.4.", "r.....f.f.....r.", "c...u.....u...c."
            ),
            "4/4",
            "2/4",
            "3/4",
        ),
        ("flute", "tenor saxophone", "nylon guitar", "vibraphone"),
        ("nylon guitar", "electric piano"),
        ("double bass", "fretless bass"),
        ("congas", "brushes"),
        ("major", "dorian"),
        0.0,
        True,
        syncopation=0.7,
        harmony={"2": 1.8},
    ),
    Style(
        "waltz",
        {"3/4": _WALTZ},
        ("violin", "accordion", "piano", "clarinet", "flute"),
        ("piano", "accordion", "string orchestra", "harp"),
        ("double bass", "cello"),
        ("orchestral percussion", "brushes"),
        rubato=0.05,
        syncopation=0.0,
    ),
    Style(
        "jig",
        {"6/8": _JIG},
        ("fiddle", "tin whistle", "accordion", "bagpipes"),
        ("steel guitar", "harp", "banjo"),
        ("double bass", "cello"),
        ("hand drums",),
        ("major", "dorian", "mixolydian"),
        rubato=0.01,
        syncopation=0.0,
        harmony={"7": 1.5},
    ),
    Style(
        "march",
        _all(
            Groove(
                "9...7...9...7...", "..5.7.4...5.7.4.", "7...5...7...5...", "r...f...r...f...", "..c...c...c...c."
            ),
            "2/4",
            "4/4",
        ),
        ("trumpet", "piccolo", "brass section", "clarinet"),
        ("french horn", "brass section", "trombone"),
        ("tuba",),
        ("marching drums",),
        rubato=0.01,
        syncopation=0.0,
        looseness_s=0.006,
    ),
    Style(
        "polka",
        _all(
            Groove(
                "9.......9.......", "....8.......8...", "..6...6...6...6.", "r...f...r...f...", "..c...c...c...c."
            ),
            "2/4",
            "4/4",
        ),
        ("accordion", "clarinet", "trumpet", "fiddle"),
        ("accordion", "banjo", "piano"),
        ("tuba", "double bass"),
        ("drum kit", "wood blocks"),
        ("major",),
        syncopation=0.1,
    ),
    Style(
        "lullaby",
        {
            "6/8": _SLOW_SIX,
            "3/4": Groove("5...........", "............", "5...4...4...", "r...........", "1...2...3..."),
        },
        ("music box", "celesta", "glockenspiel", "flute", "ocarina", "kalimba"),
        ("harp", "piano", "celesta"),
        ("cello", "double bass"),
        ("no drums", "wood blocks"),
        ("major",),
        rubato=0.05,
        syncopation=0.0,
    ),
    Style(
        "baroque",
        _all(
            Groove(
                "5...4...5...4...", "................", "6...4...6...4...", "r...t...f...a...", "1.3.2.3.4.3.2.3."
            ),
            "4/4",
            "3/4",
            "2/4",
        ),
        ("harpsichord", "recorder", "oboe", "violin", "trumpet"),
        ("harpsichord", "church organ", "string orchestra"),
        ("cello", "bassoon"),
        ("no drums", "orchestral percussion"),
        rubato=0.02,
        syncopation=0.0,
        harmony={"5": 1.6, "2": 1.3},
    ),
    Style(
        "cinematic",
        _all(
            Groove(
                "9.....5.8.......", "....5.......6...", "7.......6.......", "r...r...r...r...", "c..............."
            ),
            "4/4",
            "3/4",
        ),
        ("french horn", "cello", "choir", "violin", "trumpet"),
        ("string orchestra", "choir", "brass section"),
        ("double bass", "tuba"),
        ("orchestral percussion",),
        ("minor", "phrygian", "lydian"),
        rubato=0.04,
        syncopation=0.0,
        harmony={"6": 1.7},
    ),
    Style(
        "funk",
        _all(
            Groove(
                "9..3..6...5.4...", "....9..3.2..9..3", "7454745474547454", "r..r..o..r.f..a.", "..u..u....u..u.u"
            ),
            "4/4",
            "2/4",
        ),
        ("alto saxophone", "brass section", "hammond organ", "electric piano"),
        ("electric guitar", "electric piano"),
        ("slap bass",),
        ("drum kit",),
        ("dorian", "mixolydian"),
        0.0,
        True,
        syncopation=0.9,
        harmony={"1": 2.5},
    ),
    Style(
        "disco",
        _all(
            Groove(
                "9...9...9...9...", "....8.......8...", "4.7.4.7.4.7.4.7.", "r.o.r.o.r.o.r.o.", "..c...c...c...c."
            ),
            "4/4",
            "2/4",
        ),
        ("saw synth", "string orchestra", "square synth", "brass section"),
        ("synth pad", "electric piano"),
        ("synth bass", "electric bass"),
        ("electronic drums",),
        ("minor", "dorian"),
        looseness_s=0.003,
        rubato=0.0,
        syncopation=0.4,
        harmony={"6": 1.5},
    ),
    Style(
        "reggae",
        _all(
            Groove(
                "5.......9.......", "........8.......", "6.5.6.5.6.5.6.5.", "r...r.f.....f.r.", "....c.......c..."
            ),
            "4/4",
        ),
        ("trombone", "harmonica", "hammond organ", "steel drums"),
        ("hammond organ", "electric guitar"),
        ("electric bass",),
        ("drum kit", "hand drums"),
        ("major", "minor"),
        0.15,
        syncopation=0.6,
        harmony={"4": 1.5},
    ),
    Style(
        "country",
        _all(
            Groove(
                "8.......8.......", "....7.......7...", "6.4.6.4.6.4.6.4.", "r.......f.......", "..c.c.c...c.c.c."
            ),
            "4/4",
            "2/4",
            "3/4",
        ),
        ("fiddle", "harmonica", "steel guitar", "banjo"),
        ("steel guitar", "banjo"),
        ("double bass", "electric bass"),
        ("drum kit", "brushes"),
        ("major", "mixolydian"),
        syncopation=0.2,
        harmony={"4": 1.6, "5": 1.3},
    ),
    Style(
        "tango",
        _all(
            Groove(
                "8...6...7...6.5.", "......5.......6.", "5...5...5...5...", "r...r...f...a.a.", "c...c...c...c.c."
            ),
            "4/4",
            "2/4",
        ),
        ("accordion", "violin", "piano", "clarinet"),
        ("piano", "accordion"),
        ("double bass",),
        ("no drums", "wood blocks"),
        ("minor",),
        rubato=0.05,
        syncopation=0.4,
        harmony={"5": 1.6},
    ),
    Style(
        "blues",
        _all(
            Groove(
                "8.....4.8.......", "....8.......8...", "7...6.5.7...6.5.", "r...t...f...t...", "c.....c.u...c..."
            ),
            "4/4",
            m68=Groove("8.....5.....", "......8.....", "7.5.5.7.5.5.", "r.....f...t.", "c.....u....."),
        ),
        ("harmonica", "electric guitar", "tenor saxophone", "hammond organ"),
        ("piano", "hammond organ", "jazz guitar"),
        ("electric bass", "double bass"),
        ("drum kit", "brushes"),
        ("mixolydian",),
        1 / 3,
        True,
        syncopation=0.5,
        harmony={"4": 2.0},
    ),
    Style(
        "hymn",
        _all(
            Groove(
                "4.......4.......", "................", "................", "r...t...f...r...", "c...c...c...c..."
            ),
            "4/4",
            "3/4",
        ),
        ("church organ", "choir", "trumpet"),
        ("church organ", "choir"),
        ("church organ", "trombone"),
        ("no drums",),
        ("major", "minor"),
        rubato=0.04,
        syncopation=0.0,
        harmony={"4": 1.4},
    ),
    Style(
        "ragtime",
        _all(
            Groove(
                "7.......7.......", "....5.......5...", "5...5...5...5...", "r.......f.......", "....c.......c..."
            ),
            "2/4",
            "4/4",
        ),
        ("piano", "clarinet", "xylophone", "banjo"),
        ("piano", "banjo"),
        ("tuba", "piano"),
        ("wood blocks", "drum kit"),
        ("major",),
        syncopation=0.9,
        harmony={"2": 1.4, "6": 1.3},
    ),
    Style(
        "ambient",
        _all(
            Groove(
                "6...............", "................", "4.......4.......", "r...............", "1...2...4...3..."
            ),
            "4/4",
            "3/4",
            m68=_SLOW_SIX,
        ),
        ("synth pad", "pan flute", "vibraphone", "kalimba", "piano"),
        ("synth pad", "choir", "electric piano"),
        ("synth bass", "fretless bass"),
        ("no drums", "electronic drums"),
        ("lydian", "dorian", "major"),
        0.0,
        True,
        rubato=0.03,
        syncopation=0.1,
    ),
    Style(
        "eastern",
        _all(
            Groove(
                "8.....6.7...6...", "..5.6.....5.6.5.", "5.4.5.4.5.4.5.4.", "r.......r...f...", "1...3...2...3..."
            ),
            "4/4",
            "3/4",
            "2/4",
        ),
        ("sitar", "koto", "pan flute", "violin"),
        ("koto", "sitar", "harp"),
        ("cello", "fretless bass"),
        ("hand drums",),
        ("phrygian", "dorian"),
        syncopation=0.3,
        harmony={"2": 1.6, "7": 1.4},
    ),
    Style(
        "calypso",
        _all(
            Groove(
                "8.....6.8.....6.", "...6..6....6..6.", "6.5.6.5.6.5.6.5.", "r.....f.r.....t.", "..u..u....u..u.."
            ),
            "4/4",
            "2/4",
        ),
        ("steel drums", "marimba", "trumpet", "kalimba"),
        ("marimba", "nylon guitar", "steel drums"),
        ("electric bass",),
        ("congas",),
        ("major",),
        syncopation=0.8,
        harmony={"4": 1.5, "5": 1.4},
    ),
)
STYLES_BY_NAME = {style.name: style for style in STYLES}
