"""What the controls see of a clip, for the page: boxes, skeletons and flow over its picture, curves under it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expotion.errors import MediaError, Problem
from expotion.files import replacing, write_json
from expotion.video.scan import check, scan

if TYPE_CHECKING:
    from expotion_web.worker import Telling

LONGEST_S = 600.0


def examined(path: str) -> dict[str, Any]:
    """What a file is; runs in a process with limits. Raises MediaError for what is no clip."""
    source = scan(Path(path))
    check(source, "video")
    picture = source.picture
    assert picture is not None
    if source.duration_s > LONGEST_S:
        got = f"{source.duration_s:.0f} s"
        raise MediaError(Problem("clip", f"at most {LONGEST_S:.0f} s", got, "cut it into parts"))
    from expotion.video.decoders import PyAvDecoder

    return {
        "duration_s": source.duration_s,
        "size": list(PyAvDecoder(source).size),
        "fps": round(picture.fps, 2),
        "has_sound": source.sound is not None,
        "notes": list(source.notes),
    }


def see(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: write picture.mp4 and look.json beside a clip, by the encoders of an adaptor."""
    from expotion import plugins, timeline
    from expotion.contracts import TimedFeatures
    from expotion.features.encoders import build_encoders
    from expotion.features.extract import extract_all
    from expotion.features.movement import movement_of
    from expotion.features.smooth import smooth_track
    from expotion.features.store import FeatureStore
    from expotion.music.steering import Steering, described
    from expotion.report.features import lane, motion_values, overlay_of, overlay_values, small_mp4, view
    from expotion.video.clip import FileClip

    folder = Path(given["folder"])
    recipe, _ = described(Steering.of(adaptor=given["adaptor"]).folder)
    encoders = build_encoders(recipe, plugins.discover())
    steps = len(encoders) + 2
    rate_hz = timeline.CODEC_RATE_HZ
    notes: list[str] = []
    overlays, seen, lanes = [], [], []
    with contextlib.closing(FileClip(folder / given["file"])) as clip:
        assert clip.video is not None
        telling.progress("look", 0, steps)
        with replacing(folder / "picture.mp4") as draft:
            draft.write_bytes(small_mp4(clip.video, clip.duration_s))
        for done, (name, encoder) in enumerate(encoders.items(), start=1):
            telling.progress("look", done, steps)
            found, failures, warnings = extract_all({name: encoder}, clip, FeatureStore(folder / "features"))
            notes += [*map(str, failures), *dict.fromkeys(warnings)]
            track = found.get(name)
            if isinstance(track, TimedFeatures):
                smoothed = smooth_track(encoder, track, timeline.n_steps(clip.duration_s, rate_hz), rate_hz)
                drawn = lane(track, smoothed, rate_hz, clip.duration_s)
                kept = {key: drawn[key] for key in ("curves", "explained", "gaps")}
                lanes.append({**view(name, encoder, track, smoothed, rate_hz), **kept})
            overlay = overlay_of(encoder, clip, name, notes)
            if overlay is not None:
                seen.append(overlay)
                overlays.append(overlay_values(name, overlay))
        telling.progress("look", steps - 1, steps)
        moved = motion_values(movement_of(clip, seen))
        look = {"duration_s": clip.duration_s, "overlays": overlays, "lanes": lanes, "moved": moved, "notes": notes}
    write_json(folder / "look.json", look)
    return {"clip": given["clip"]}
