"""Jobs of the room Compose: takes for a clip with their scores, and a take made again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expotion_studio.shelf import Shelf, Take

if TYPE_CHECKING:
    from expotion.contracts import MetricSpec
    from expotion_web.worker import Telling

NEEDS = frozenset({"video"})
"""What a clip of one's own has for a metric: its picture, and no truth."""


def compose(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """Make takes of a clip by `expotion generate`'s own function, score them, put them on the shelf."""
    from expotion.music.make import generate_files
    from expotion.music.steering import Steering
    from expotion.music.targets import Output

    shelf, clip, folder = Shelf(Path(given["root"])), Path(given["file"]), Path(given["out"])
    steering = Steering.of(**given["steering"])
    files = generate_files(
        [clip],
        steering,
        Output(),
        out=folder,
        samples=given["samples"],
        jobs=0,
        ray=None,
        overwrite=False,
        console=telling.console,
    )
    records = [path for path in files if path.suffix == ".json"]
    takes = []
    for number, record in enumerate(records):
        telling.progress("score", number, len(records))
        content = json.loads(record.read_text(encoding="utf-8"))
        own = {_kind(name): name for name in content["files"]}
        takes.append(
            Take(
                id=f"{folder.name}-{number + 1}",
                clip=given["clip"],
                seed=content["asked"]["composing"]["seed"],
                prompt=content["made"]["prompt"],
                files={**own, "json": record.name},
                scores=scores(clip, folder / own["wav"], content["made"]),
                warnings=[line.removeprefix("warning ") for line in telling.lines if line.startswith("warning ")],
            )
        )
    shelf.write_takes(folder, takes)
    return {"clip": given["clip"], "takes": [take.id for take in takes]}


def again(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """Make a take again from its record, and keep what was said of the bytes."""
    from expotion.music.make import make_again

    shelf = Shelf(Path(given["root"]))
    files = make_again(Path(given["record"]), out=None, console=telling.console)
    said = next((line for line in telling.lines if "bytes" in line), "")
    for file in files:
        file.unlink()  # it was made to compare
    shelf.change(given["take"], again=said.removeprefix("warning "))
    return {"clip": given["clip"], "said": said}


def scores(clip: Path, wav: Path, made: dict[str, Any]) -> list[tuple[str, str]]:
    """What can be measured without a truth: every installed metric that needs a picture at most."""
    from expotion import plugins
    from expotion.contracts import Scored
    from expotion.evaluate.evaluate import evaluate
    from expotion.evaluate.trackers import beats_of
    from expotion.video.audio import load_audio
    from expotion.video.clip import FileClip

    rate_hz = int(made["sample_rate_hz"])
    samples = load_audio(wav, rate_hz)
    assert samples is not None
    found = []
    tempo = beats_of(samples, rate_hz).tempo_bpm
    found.append(("Tempo", "no beat" if tempo is None else f"{tempo:.0f} BPM"))
    specs = [offer.spec for offer in plugins.discover().metrics.values() if _usable(offer.spec)]
    with contextlib.closing(FileClip(clip)) as opened:
        one = evaluate({"take": [Scored(samples, rate_hz, opened, made["prompt"])]}, specs, n_resamples=2)
        values = one.per_clip["take"][opened.id]
    for spec in specs:
        value, why = values[spec.name]["value"], values[spec.name]["reason"]
        if spec.fraction and isinstance(value, float):
            shown = "yes" if value else "no" if why is None else f"no: {why}"
        else:
            shown = f"{value:.{spec.digits}f}{spec.unit and ' ' + spec.unit}" if value is not None else str(why)
        found.append((spec.label or spec.name.replace("_", " "), shown))
    loudness = made["loudness_lufs"]
    found.append(("Loudness", "silent" if loudness is None else f"{loudness:.1f} LUFS"))
    return found


def _usable(spec: MetricSpec) -> bool:
    return spec.over == "clip" and spec.needs <= NEEDS and not spec.missing()


def _kind(name: str) -> str:
    return "wav" if name.endswith(".wav") else "video"
