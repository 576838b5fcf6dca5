"""The words of scenes: what stands for which mood, style, tempo class and energy, listed once.

`tales.py` makes sentences of these phrases, `classes.py` reads them. A phrase stands for one value of one kind;
what is listed under `named` is read and not told, so that captions in plain words are understood, too.
"""

from __future__ import annotations

from collections.abc import Mapping

Phrases = tuple[str, ...]

WEATHER: Mapping[str, Phrases] = {
    "joyful": ("in bright sunshine", "under a cloudless sky", "among coloured lanterns", "under fluttering flags"),
    "tender": ("in soft candlelight", "under a pale moon", "in warm evening light", "beneath slow white clouds"),
    "sorrowful": ("in grey rain", "among fallen leaves", "beside an empty chair", "in the last cold light"),
    "dark": ("in thick fog", "under a black sky", "between long shadows", "by flickering torches"),
}
FEELINGS: Mapping[str, Phrases] = {
    "joyful": ("happy", "cheerful", "playful", "radiant", "proud"),
    "tender": ("calm", "dreamy", "romantic", "serene", "loving"),
    "sorrowful": ("sad", "wistful", "mournful", "solemn", "lonely"),
    "dark": ("dramatic", "mysterious", "tense", "menacing", "uneasy"),
}
MOODS_NAMED: Mapping[str, Phrases] = {
    "joyful": ("joyful", "heroic", "merry", "sunny", "triumphant", "festive", "mischievous", "whimsical"),
    "tender": ("tender", "peaceful", "tranquil", "relaxing", "floating", "ethereal", "passionate", "restful"),
    "sorrowful": ("sorrowful", "nostalgic", "melancholy", "melancholic", "tearful", "grieving", "bittersweet"),
    "dark": ("dark", "eerie", "ominous", "suspenseful", "haunting", "tragic", "anxious", "threatening", "spooky"),
}
MOVES: Mapping[str, Phrases] = {
    "slow": ("drift slowly", "linger", "stroll without haste", "move as in slow motion", "wait for a long time"),
    "medium": ("walk at an easy pace", "step in time", "sway from side to side", "keep a steady stride"),
    "fast": ("run", "race ahead", "whirl", "hurry past each other", "leap and spin"),
}
TEMPI_NAMED: Mapping[str, Phrases] = {
    "slow": ("slow", "slowly", "unhurried", "leisurely", "adagio", "largo"),
    "medium": ("moderate tempo", "medium tempo", "mid-tempo", "andante", "moderately paced"),
    "fast": ("fast", "quick", "rapid", "brisk", "hurried", "racing", "allegro", "presto"),
}
VOICES: Mapping[str, Phrases] = {
    "gentle": ("hushed", "barely louder than breath", "at a whisper", "faint as from far away"),
    "moderate": ("at the pitch of talk", "neither hushed nor loud", "with measured force", "in a clear even voice"),
    "strong": ("at full force", "with a great roar", "loud and blazing", "with all their might"),
}
ENERGIES_NAMED: Mapping[str, Phrases] = {
    "gentle": ("soft", "softly", "quiet", "quietly", "gentle", "delicate"),
    "moderate": ("of moderate energy", "moderately loud"),
    "strong": ("loud", "powerful", "energetic", "thunderous", "forceful"),
}

STYLES: Mapping[str, tuple[Phrases, Phrases, Phrases]] = {
    "rock": (
        ("a rock club", "a garage full of amplifiers", "a stadium stage"),
        ("guitarists", "teenagers in leather jackets", "motorcyclists"),
        ("rock", "grunge"),
    ),
    "pop ballad": (
        ("a school ball", "a rooftop above the city", "a parked car"),
        ("two sweethearts", "best friends", "singers at a microphone"),
        ("pop ballad", "ballad", "pop"),
    ),
    "jazz": (
        ("a smoky jazz cellar", "a late-night bar", "a hotel lounge"),
        ("saxophone players", "night owls", "strangers at the counter"),
        ("jazz", "swing", "bebop"),
    ),
    "bossa nova": (
        ("a terrace in rio", "a beach promenade", "a pool under palms"),
        ("bathers", "idlers in linen suits", "waiters with cool drinks"),
        ("bossa nova", "bossa", "brazilian"),
    ),
    "waltz": (
        ("a ballroom", "a carousel", "a palace in vienna"),
        ("dancers in evening dress", "couples in white gloves", "countesses"),
        ("waltz", "musette"),
    ),
    "jig": (
        ("an irish pub", "a barn with fiddlers", "a green cliff top"),
        ("step dancers", "shepherds", "fishwives"),
        ("jig", "irish", "celtic"),
    ),
    "march": (
        ("a parade ground", "a street lined with soldiers", "a fortress gate"),
        ("drummers in uniform", "cadets", "veterans with medals"),
        ("march", "military"),
    ),
    "polka": (
        ("a beer tent", "a bavarian village square", "a circus ring"),
        ("brewers", "clowns", "farmers in their best clothes"),
        ("polka", "oompah"),
    ),
    "lullaby": (
        ("a nursery", "a child's bedroom", "a cradle by the stove"),
        ("young mothers", "sleepy children", "toys"),
        ("lullaby", "cradle song"),
    ),
    "baroque": (
        ("a mirrored gallery", "a formal garden with fountains", "a harpsichord maker's shop"),
        ("courtiers in wigs", "ladies with fans", "noblemen"),
        ("baroque", "counterpoint"),
    ),
    "cinematic": (
        ("a film set of a battlefield", "a mountain pass", "a ruined city"),
        ("riders", "explorers", "survivors of a storm"),
        ("cinematic", "film score", "soundtrack", "movie theme"),
    ),
    "funk": (
        ("a basketball court", "a barber's shop", "a roller rink"),
        ("skaters", "dancers in flared trousers", "street artists"),
        ("funk", "funky"),
    ),
    "disco": (
        ("a disco", "a nightclub with a mirror ball", "a neon arcade"),
        ("clubbers", "models in sequins", "disc jockeys"),
        ("disco", "house", "electro"),
    ),
    "reggae": (
        ("a street in kingston", "a hammock by the sea", "a painted bus"),
        ("surfers", "rastafarians", "fruit sellers"),
        ("reggae", "dub", "rocksteady"),
    ),
    "country": (
        ("a prairie ranch", "a porch in tennessee", "a truck stop"),
        ("cowboys", "truck drivers", "neighbours with banjos"),
        ("country", "bluegrass", "americana"),
    ),
    "tango": (
        ("a courtyard in buenos aires", "a milonga hall", "a red velvet room"),
        ("tango dancers", "rivals", "women with roses"),
        ("tango", "milonga"),
    ),
    "blues": (
        ("a delta crossroads", "a juke joint", "a railway platform"),
        ("hobos", "gamblers", "old men with harmonicas"),
        ("blues", "shuffle"),
    ),
    "hymn": (
        ("a cathedral", "a village chapel", "a cloister"),
        ("monks", "pilgrims", "choristers"),
        ("hymn", "chorale", "sacred"),
    ),
    "ragtime": (
        ("a saloon", "a silent cinema", "a paddle steamer"),
        ("card players", "comedians in bowler hats", "pickpockets"),
        ("ragtime", "rag"),
    ),
    "ambient": (
        ("a space station", "a lake of glass", "an aquarium"),
        ("astronauts", "divers", "jellyfish"),
        ("ambient", "soundscape", "meditation"),
    ),
    "eastern": (
        ("a bazaar", "a temple garden", "a desert camp"),
        ("snake charmers", "caravan drivers", "tea merchants"),
        ("eastern", "raga", "oriental"),
    ),
    "calypso": (
        ("a caribbean carnival", "a beach in trinidad", "a cocktail boat"),
        ("steel drummers", "carnival queens", "islanders"),
        ("calypso", "soca", "caribbean"),
    ),
}
"""Style -> places, people, and the names of the style."""

VALUES: Mapping[str, Phrases] = {
    "mood": tuple(FEELINGS),
    "energy": tuple(VOICES),
    "tempo": tuple(MOVES),
    "style": tuple(STYLES),
}
"""Kind -> its values."""
