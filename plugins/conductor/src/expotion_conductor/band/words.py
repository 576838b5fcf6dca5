"""The words of captions: phrases, and the traits that each stands for.

Every phrase fixes the value of some trait, so no word in it is idle; none speaks of tempo or loudness, which are
known from the video alone. Phrases of one value are paraphrases of each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from expotion_conductor.band.harmony import MODES, TONICS

Sets = Mapping[str, object]

PLAYERS: Mapping[str, tuple[str, ...]] = {
    "piano": ("piano", "grand piano", "pianoforte"),
    "electric piano": ("electric piano", "rhodes"),
    "harpsichord": ("harpsichord", "clavecin", "spinet"),
    "celesta": ("celesta", "celeste"),
    "glockenspiel": ("glockenspiel", "orchestra bells"),
    "music box": ("music box", "clockwork box"),
    "vibraphone": ("vibraphone", "vibes"),
    "marimba": ("marimba", "rosewood bars"),
    "xylophone": ("xylophone", "xylorimba"),
    "tubular bells": ("tubular bells", "chimes"),
    "hammond organ": ("hammond organ", "drawbar organ"),
    "church organ": ("church organ", "pipe organ"),
    "accordion": ("accordion", "squeezebox", "concertina"),
    "harmonica": ("harmonica", "mouth harp"),
    "nylon guitar": ("nylon guitar", "classical guitar", "spanish guitar"),
    "steel guitar": ("steel guitar", "acoustic guitar"),
    "jazz guitar": ("hollow guitar", "archtop"),
    "electric guitar": ("electric guitar", "clean telecaster"),
    "distorted guitar": ("distorted guitar", "overdriven guitar", "fuzz guitar"),
    "double bass": ("double bass", "upright bass", "contrabass"),
    "electric bass": ("electric bass", "fingered bass"),
    "fretless bass": ("fretless bass",),
    "slap bass": ("slap bass", "popped bass"),
    "synth bass": ("synth bass", "sub bass"),
    "violin": ("violin", "solo violin"),
    "viola": ("viola",),
    "cello": ("cello", "violoncello"),
    "pizzicato strings": ("pizzicato strings", "pizzicato"),
    "harp": ("harp", "pedal harp"),
    "string orchestra": ("string orchestra", "string ensemble"),
    "choir": ("choir", "singers", "chorus"),
    "trumpet": ("trumpet", "cornet"),
    "trombone": ("trombone", "sackbut"),
    "tuba": ("tuba", "sousaphone"),
    "muted trumpet": ("muted trumpet", "harmon trumpet"),
    "french horn": ("french horn", "hunting horn"),
    "brass section": ("brass section", "horn section"),
    "soprano saxophone": ("soprano saxophone", "soprano sax"),
    "alto saxophone": ("alto saxophone", "alto sax"),
    "tenor saxophone": ("tenor saxophone", "tenor sax"),
    "oboe": ("oboe", "hautboy"),
    "english horn": ("english horn", "cor anglais"),
    "bassoon": ("bassoon", "fagotto"),
    "clarinet": ("clarinet",),
    "piccolo": ("piccolo", "fife"),
    "flute": ("flute", "transverse flute"),
    "recorder": ("recorder", "blockflute"),
    "pan flute": ("pan flute", "panpipes", "syrinx"),
    "tin whistle": ("tin whistle", "pennywhistle"),
    "ocarina": ("ocarina",),
    "square synth": ("square synth", "chiptune synth"),
    "saw synth": ("saw synth", "sawtooth synth"),
    "synth pad": ("synth pad", "analog pad"),
    "sitar": ("sitar",),
    "banjo": ("banjo",),
    "koto": ("koto", "zither"),
    "kalimba": ("kalimba", "thumb piano", "mbira"),
    "bagpipes": ("bagpipes", "highland pipes"),
    "fiddle": ("fiddle",),
    "steel drums": ("steel drums", "steelpan"),
}
"""Names of each instrument."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "keyboard": ("keyboard", "keys"),
    "mallet": ("mallets", "tuned percussion"),
    "plucked": ("plucked strings",),
    "strings": ("bowed strings", "a string soloist"),
    "brass": ("brass", "a brass instrument"),
    "woodwind": ("woodwind", "a reed or flute"),
    "synth": ("synthesizer", "synths"),
}
"""Names of families, which stand for a leading instrument of theirs."""

KIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "drum kit": ("drum kit", "drumset"),
    "brushes": ("brushes", "brushed drums"),
    "electronic drums": ("electronic drums", "drum machine", "handclaps"),
    "marching drums": ("marching drums", "field snare"),
    "orchestral percussion": ("orchestral percussion", "triangle and bass drum"),
    "congas": ("congas", "tumbas"),
    "hand drums": ("hand drums", "bongos", "tambourine"),
    "wood blocks": ("wood blocks", "temple blocks"),
}

STYLE_WORDS: Mapping[str, tuple[str, ...]] = {
    "rock": ("rock", "garage rock", "grunge", "indie rock"),
    "pop ballad": ("pop ballad", "ballad", "songwriter pop"),
    "jazz": ("jazz", "swing", "bebop", "lounge jazz"),
    "bossa nova": ("bossa nova", "brazilian bossa", "copacabana bossa"),
    "waltz": ("waltz", "viennese waltz", "ballroom waltz", "musette"),
    "jig": ("jig", "irish jig", "celtic dance", "ceilidh dance"),
    "march": ("march", "military march", "parade march"),
    "polka": ("polka", "oompah", "bavarian polka"),
    "lullaby": ("lullaby", "cradle song", "bedtime song"),
    "baroque": ("baroque", "courtly baroque", "counterpoint", "chamber sonata"),
    "cinematic": ("cinematic", "film score", "soundtrack", "movie theme"),
    "funk": ("funk", "funky soul", "clavinet funk"),
    "disco": ("disco", "house", "dancefloor disco", "electro"),
    "reggae": ("reggae", "jamaican reggae", "dub", "rocksteady"),
    "country": ("country", "bluegrass", "nashville country", "americana"),
    "tango": ("tango", "argentine tango", "milonga"),
    "blues": ("blues", "delta blues", "shuffle blues"),
    "hymn": ("hymn", "chorale", "sacred hymn", "liturgy"),
    "ragtime": ("ragtime", "stride rag", "saloon rag"),
    "ambient": ("ambient", "soundscape", "meditation"),
    "eastern": ("eastern", "raga", "bazaar dance"),
    "calypso": ("calypso", "caribbean calypso", "soca"),
}

MOOD_WORDS: Mapping[str, tuple[str, ...]] = {
    "happy": ("happy", "joyful", "cheerful", "merry", "jolly", "sunny", "glad", "delighted"),
    "sad": ("sad", "sorrowful", "mournful", "tearful", "melancholy", "grieving", "heartbroken"),
    "calm": ("calm", "peaceful", "serene", "tranquil", "placid", "untroubled", "restful"),
    "dramatic": ("dramatic", "tragic", "doomed", "fateful", "theatrical", "operatic"),
    "dreamy": ("dreamy", "floating", "hazy", "weightless", "enchanted", "otherworldly"),
    "mysterious": ("mysterious", "eerie", "secretive", "enigmatic", "haunted", "shadowy", "spooky"),
    "playful": ("playful", "cheeky", "mischievous", "whimsical", "comical", "silly", "witty"),
    "romantic": ("romantic", "loving", "amorous", "passionate", "longing", "yearning"),
    "heroic": ("heroic", "triumphant", "noble", "valiant", "victorious", "proud", "majestic"),
    "nostalgic": ("nostalgic", "wistful", "bittersweet", "sentimental", "homesick", "pensive"),
    "tense": ("tense", "anxious", "nervous", "uneasy", "suspenseful", "ominous", "threatening"),
    "solemn": ("solemn", "grave", "austere", "reverent", "dignified", "ceremonial"),
}

DETAILS: Mapping[tuple[str, object], tuple[str, ...]] = {
    ("register", "low"): ("deep", "low pitched", "cavernous"),
    ("register", "high"): ("high pitched", "sparkling", "glittering", "twinkling"),
    ("touch", "short"): ("staccato", "crisp", "detached", "clipped", "bouncing"),
    ("touch", "long"): ("legato", "flowing", "smooth", "sustained"),
    ("figure", "block"): ("chordal", "homophonic"),
    ("figure", "arpeggio"): ("arpeggiated", "rippling", "cascading"),
    ("figure", "repeated"): ("pulsing", "insistent", "minimalist"),
    ("figure", "pad"): ("hovering", "suspended", "static"),
    ("space", "dry"): ("dry", "anechoic", "studio"),
    ("space", "hall"): ("reverberant", "echoing", "resonant", "spacious"),
    ("ornament", "ornamented"): ("ornamented", "decorated", "florid", "embellished"),
    ("motion", "stepwise"): ("stepwise", "winding", "undulating"),
    ("motion", "leaping"): ("leaping", "angular", "jagged", "acrobatic"),
    ("colour", "none"): ("bare", "unadorned", "stripped"),
    ("colour", "pad"): ("lush", "layered", "velvety"),
    ("syncopated", True): ("syncopated", "offbeat", "lilting"),
}
"""Adjectives by trait and value; a usual value has none."""

SCENES: Mapping[str, Sets] = {
    "rain on a window": {"mood": "sad", "touch": "short", "figure": "arpeggio", "lead": "piano"},
    "sunrise over mountains": {"mood": "heroic", "lead": "french horn", "space": "hall"},
    "a ghost in the attic": {"mood": "mysterious", "lead": "celesta", "ornament": "plain"},
    "puppies in the garden": {"mood": "playful", "lead": "clarinet", "touch": "short"},
    "a candlelit dinner": {"mood": "romantic", "lead": "violin", "style": "bossa nova"},
    "an old photograph": {"mood": "nostalgic", "lead": "accordion", "style": "waltz"},
    "a stranger in alleys": {"mood": "tense", "lead": "saw synth", "figure": "repeated"},
    "a royal coronation": {"mood": "solemn", "lead": "trumpet", "style": "march"},
    "clouds drifting by": {"mood": "dreamy", "lead": "synth pad", "figure": "pad"},
    "a picnic by the lake": {"mood": "happy", "lead": "nylon guitar", "style": "country"},
    "snow on a forest": {"mood": "calm", "lead": "celesta", "register": "high"},
    "a ship lost at sea": {"mood": "dramatic", "lead": "cello", "style": "cinematic"},
    "a carousel at the fair": {"mood": "happy", "lead": "hammond organ", "style": "waltz"},
    "a funeral procession": {"mood": "sad", "lead": "church organ", "figure": "block"},
    "fishermen at dawn": {"mood": "calm", "lead": "harmonica", "style": "country"},
    "a knight in armour": {"mood": "heroic", "lead": "brass section", "figure": "block"},
    "fireflies in summer": {"mood": "dreamy", "lead": "kalimba", "register": "high"},
    "a detective in fog": {"mood": "mysterious", "lead": "muted trumpet", "style": "jazz"},
    "kittens with yarn": {"mood": "playful", "lead": "pizzicato strings", "ornament": "ornamented"},
    "a balcony in verona": {"mood": "romantic", "lead": "oboe", "style": "baroque"},
    "grandmother's kitchen": {"mood": "nostalgic", "lead": "clarinet", "style": "ragtime"},
    "a ticking bomb": {"mood": "tense", "lead": "xylophone", "touch": "short"},
    "monks in a cloister": {"mood": "solemn", "lead": "choir", "space": "hall", "style": "hymn"},
    "a beach bar": {"mood": "happy", "lead": "steel drums", "style": "calypso"},
    "an empty playground": {"mood": "sad", "lead": "music box", "colour": "none"},
    "leaves on a pond": {"mood": "calm", "lead": "harp", "figure": "arpeggio"},
    "a duel with swords": {"mood": "dramatic", "lead": "fiddle", "touch": "short"},
    "a unicorn under stars": {"mood": "dreamy", "lead": "harp", "colour": "pad"},
    "a cave of bats": {"mood": "mysterious", "lead": "bassoon", "space": "hall"},
    "clowns in the circus": {"mood": "playful", "lead": "trombone", "style": "polka"},
    "lovers on a bridge": {"mood": "romantic", "lead": "tenor saxophone", "style": "jazz"},
    "an astronaut landing": {"mood": "heroic", "lead": "saw synth", "style": "cinematic"},
    "a faded postcard": {"mood": "nostalgic", "lead": "muted trumpet", "touch": "long"},
    "spiders on the ceiling": {"mood": "tense", "lead": "viola", "ornament": "ornamented"},
    "marble statues": {"mood": "solemn", "lead": "french horn", "motion": "stepwise"},
    "harvest in the village": {"mood": "happy", "lead": "fiddle", "style": "jig"},
    "a soldier's farewell": {"mood": "sad", "lead": "trumpet", "ornament": "plain"},
    "moonlight in the valley": {"mood": "calm", "lead": "flute", "space": "hall"},
    "a volcano awakening": {"mood": "dramatic", "lead": "brass section", "figure": "repeated"},
    "jellyfish in an aquarium": {"mood": "dreamy", "lead": "vibraphone", "motion": "leaping"},
    "a pharaoh's tomb": {"mood": "mysterious", "lead": "sitar", "style": "eastern"},
    "monkeys in the jungle": {"mood": "playful", "lead": "marimba", "syncopated": True},
    "a rose and a letter": {"mood": "romantic", "lead": "piano", "ornament": "ornamented"},
    "an olympic medal": {"mood": "heroic", "lead": "trumpet", "colour": "octaves"},
    "a train at the station": {"mood": "nostalgic", "lead": "harmonica", "style": "blues"},
    "a spy behind curtains": {"mood": "tense", "lead": "electric guitar", "syncopated": True},
    "a lighthouse in winter": {"mood": "solemn", "lead": "english horn", "colour": "none"},
    "a wedding toast": {"mood": "happy", "lead": "trumpet", "style": "polka"},
    "withered flowers": {"mood": "sad", "lead": "oboe", "register": "low"},
    "a hammock in the shade": {"mood": "calm", "lead": "steel guitar", "style": "reggae"},
    "wolves at midnight": {"mood": "dramatic", "lead": "bassoon", "ornament": "ornamented"},
    "a child asleep": {"mood": "dreamy", "lead": "music box", "style": "lullaby"},
    "a wizard's laboratory": {"mood": "mysterious", "lead": "harpsichord", "ornament": "ornamented"},
    "penguins on ice": {"mood": "playful", "lead": "glockenspiel", "motion": "leaping"},
    "gondolas in venice": {"mood": "romantic", "lead": "accordion", "style": "waltz"},
    "eagles above the canyon": {"mood": "heroic", "lead": "pan flute", "space": "hall"},
    "autumn in the orchard": {"mood": "nostalgic", "lead": "viola", "figure": "arpeggio"},
    "a prisoner escaping": {"mood": "tense", "lead": "cello", "figure": "repeated"},
    "an abbey at dusk": {"mood": "solemn", "lead": "church organ", "register": "low"},
    "balloons and confetti": {"mood": "happy", "lead": "piccolo", "register": "high"},
    "geishas pouring tea": {"mood": "calm", "lead": "koto", "style": "eastern"},
    "robots in a factory": {"mood": "playful", "lead": "square synth", "figure": "repeated"},
    "a cowboy's campfire": {"mood": "nostalgic", "lead": "banjo", "style": "country"},
    "dragons over a castle": {"mood": "dramatic", "lead": "choir", "style": "cinematic"},
    "mirrors and smoke": {"mood": "mysterious", "lead": "vibraphone", "colour": "pad"},
    "a wheelchair in the hospital": {"mood": "sad", "lead": "soprano saxophone", "colour": "pad"},
}
"""What a scene sets; none says how quick or how loud."""

KEYS: Mapping[str, Sets] = {
    f"{tonic} {mode}": {"tonic": place, "mode": mode} for place, tonic in enumerate(TONICS) for mode in MODES
}


def words_of(text: str) -> list[str]:
    """The words of a caption or phrase, without points and the possessive."""
    return text.lower().replace("'s", "").replace(",", " ").replace(":", " ").split()


GLUE = frozenset(
    words_of(
        "a above an and at bass behind by chords for in like line music of on or over piece played playing song"
    )
    + words_of("the through to tune under with")
)
"""Words that join; they stand for nothing and do not count."""


def lexicon() -> dict[str, Sets]:
    """Every phrase and the traits that it sets; a family's sets `family`, which is its leading instrument's."""
    found: dict[str, Sets] = {}
    for trait, table in (
        ("lead", PLAYERS),
        ("family", FAMILIES),
        ("kit", KIT_WORDS),
        ("style", STYLE_WORDS),
        ("mood", MOOD_WORDS),
    ):
        for value, phrases in table.items():
            found |= {phrase: {trait: value} for phrase in phrases}
    for (trait, setting), phrases in DETAILS.items():
        found |= {phrase: {trait: setting} for phrase in phrases}
    return found | dict(SCENES) | dict(KEYS)


def content_words() -> set[str]:
    """All words that stand for something."""
    return {word for phrase in lexicon() for word in words_of(phrase)} - GLUE | {"bass"}
