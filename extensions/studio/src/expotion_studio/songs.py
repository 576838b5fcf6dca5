"""Pieces to move to: made by the world, or own sounds cut to 30 s and played back through the codec."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion_studio.shelf import Song, new_name, now

if TYPE_CHECKING:
    from expotion.musicgen.codec import Codec
    from expotion_web.worker import Telling

SONG_S = 30.0
"""As in the paper (4.1)."""
FIRST_SEED = 7_000_000
"""Of the world's pieces: none of these was trained on by what ships."""
RATE_HZ = 32_000
BANDS_HZ = np.geomspace(50.0, 14_000.0, 33)
FLOOR_DB = 60.0


def heard(path: str) -> dict[str, Any]:
    """The length of a sound or of a video's sound; runs in a process with limits."""
    from expotion.video.scan import check, scan

    source = scan(Path(path))
    check(source, "audio")
    return {"duration_s": source.duration_s}


def of_world(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: `count` pieces of the world that the shipped adaptor was trained on, of seeds from `first` on."""
    from expotion import plugins
    from expotion.files import write_json
    from expotion.music.steering import Steering, described
    from expotion.video.sound_files import write_wav

    recipe, _ = described(Steering.of().folder)
    spec = plugins.discover().data_source(recipe.data.source)
    asked = {"train_clips": given["count"], "train_seed": FIRST_SEED + given["first"], "clip_s": given["seconds"]}
    options = spec.options.model_validate(asked)
    names = []
    for done, clip in enumerate(spec.build(options).clips("train")):
        telling.progress("piece", done, given["count"])
        samples = clip.audio(RATE_HZ)
        assert samples is not None
        folder = Path(given["songs"]) / new_name()
        write_wav(folder / "sound.wav", samples, RATE_HZ)
        title, caption = f"Piece {given['first'] + done + 1}", clip.caption or "music"
        song = Song(id=folder.name, title=title, caption=caption, duration_s=clip.duration_s, added=now())
        write_json(folder / "song.json", song.model_dump())
        names.append(folder.name)
    return {"songs": names}


def own(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: a sound of one's own cut to 30 s, and the same through the codec, with the distance between both."""
    from expotion import plugins
    from expotion.files import write_json
    from expotion.music.steering import Steering, described
    from expotion.musicgen.load import backbone_folder, load_backbone
    from expotion.video.audio import load_audio
    from expotion.video.sound_files import write_wav

    folder = Path(given["folder"])
    registry = plugins.discover()
    telling.progress("codec", 0, 3)
    recipe, _ = described(Steering.of().folder)
    codec = load_backbone(backbone_folder(recipe.backbone.source, registry), parts=frozenset({"codec"})).codec
    assert codec is not None
    samples = load_audio(folder / given["file"], RATE_HZ)
    assert samples is not None
    samples = samples[: round(SONG_S * RATE_HZ)]
    telling.progress("codec", 1, 3)
    back = through(codec, samples)
    telling.progress("codec", 2, 3)
    spec = registry.data_source(recipe.data.source)
    world = spec.build(
        spec.options.model_validate({"train_clips": 1, "train_seed": FIRST_SEED, "clip_s": 10.0})
    ).clips("train")[0]
    usual = world.audio(RATE_HZ)
    assert usual is not None
    write_wav(folder / "sound.wav", samples, RATE_HZ)
    write_wav(folder / "back.wav", back, RATE_HZ)
    (folder / given["file"]).unlink()
    song = Song(
        id=folder.name,
        title=given["title"],
        caption=given["caption"],
        duration_s=len(samples) / RATE_HZ,
        own=True,
        distance_db=round(distance_db(samples, back), 1),
        usual_db=round(distance_db(usual, through(codec, usual)), 1),
        added=now(),
    )
    write_json(folder / "song.json", song.model_dump())
    return {"songs": [folder.name]}


def through(codec: Codec, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sound [n] encoded and decoded again, as long as it was."""
    back: NDArray[np.float32] = codec.decode(codec.encode(samples)).detach().cpu().numpy()
    if back.ndim == 2:
        back = back.mean(axis=1, dtype=np.float32)
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]


def distance_db(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean difference of the levels of 32 bands from 50 Hz to 14 kHz, 40 ms apart, in dB.

    Levels more than 60 dB below the loudest band count as that. 0 for equal sounds.
    """
    from scipy.signal import stft

    def levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
        hz, _, spectrum = stft(samples, RATE_HZ, nperseg=2560, noverlap=1280)
        power = np.abs(spectrum) ** 2
        edges = np.searchsorted(hz, BANDS_HZ)
        bands = [power[a : max(b, a + 1)].sum(axis=0) for a, b in itertools.pairwise(edges)]
        return np.asarray(10 * np.log10(np.maximum(np.stack(bands), 1e-20)), dtype=np.float64)

    first, second = levels(one), levels(other)
    floor = first.max() - FLOOR_DB
    return float(np.abs(np.maximum(first, floor) - np.maximum(second, floor)).mean())
