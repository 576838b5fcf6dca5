"""The run folder: everything a run made, where it stands, and what it was made with."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from expotion.errors import OutputError, Problem, RunFolderError
from expotion.files import write_json, write_text
from expotion.lock import LOCK
from expotion.recipe.schema import Trained

log = logging.getLogger("expotion")
AnyRecipe = TypeVar("AnyRecipe", bound=Trained)
FORMAT = 1
STATE = "run.json"
_REQUIRED = {"recipe_hash", "created", "command", "versions", "machine", "stages", "hashes"}
_NEW_FOLDER = "run the recipe again with this version into a new folder"
README = """\
# {name}

{description}

A run of `{command}`, started {created}.

| file | what |
|---|---|
| `report.html` | the result: table, curves, players; open it in a browser |
| `metrics.json` | condition -> metric -> mean, 95% interval, n |
| `metrics_per_clip.json` | the same per clip, with reasons where a value is missing |
| `comparisons.json` | paired differences against the baselines |
| `metrics_notes.json` | what each metric was measured with, and warnings |
| `recipe.yaml` | the resolved recipe, with versions |
| `run.json` | stages, times, hashes, versions, what `auto` stood for |
{own}| `training.jsonl` | one line per step |
| `checkpoints/` | where training goes on after an interruption |
| `log.txt` | what happened |
"""
_OF_MUSIC = """\
| `adaptor/` | the trained adaptor: `expotion generate CLIP.mp4 --adaptor {folder}` |
| `samples/` | generated sound per condition and clip |
"""
_OF_A_TASK = "| whatever else | what the stages of the task `{task}` made |\n"


def place_of(recipe: Trained, out_dir: Path | None, resume: Path | Literal["auto"] | None) -> Path:
    """Where the run goes: as told, or the newest unfinished run of this recipe, or a new folder in runs/."""
    if isinstance(resume, Path):
        RunFolder.open(resume)
        return resume
    if out_dir is not None:
        return out_dir
    runs = Path("runs")
    if resume is None:
        return runs / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    for path in sorted(runs.glob(f"{recipe.name}-*"), reverse=True):
        with contextlib.suppress(RunFolderError):
            RunFolder.open(path, with_its_batches(recipe, path))
            return path
    fix = "name its folder (--resume DIR), or leave out --resume to begin one"
    raise RunFolderError(Problem(str(runs), f"a run of '{recipe.name}' with these settings to resume", "none", fix))


def with_its_batches(recipe: AnyRecipe, folder: Path) -> AnyRecipe:
    """The recipe for a run begun with another number of workers: those of now share out the batches of then."""
    try:
        begun = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["train"]["workers"]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):  # no run; else said where it is opened
        return recipe
    workers = recipe.train.workers
    if begun == workers or not isinstance(begun, int):
        return recipe
    train, cluster = ({"workers": begun}, {"workers": workers})
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update=train),
            "cluster": recipe.cluster.model_copy(update=cluster),
        }
    )


class _LogFile(logging.FileHandler):
    """A log that a full disk silences: what matters is said by whoever fails to write a result."""

    def handleError(self, record: logging.LogRecord) -> None:
        del record

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@dataclass
class RunFolder:
    """Paths and state of a run."""

    path: Path
    state: dict[str, Any]

    @classmethod
    def create(cls, path: Path, recipe: Trained, versions: Mapping[str, str]) -> RunFolder:
        """Start a run in a new or empty folder, or take up one of the same recipe; its lock is held meanwhile.

        Raises RunFolderError if the folder holds another recipe's run or other files.
        """
        if (path / STATE).exists():
            run = cls.open(path, recipe)
            run._sweep()
            run._describe(recipe)
            return run
        if path.exists() and any(each.name != LOCK for each in path.iterdir()):
            wanted = "a new or empty folder, or a run folder"
            got = "a folder with other files"
            raise RunFolderError(Problem(str(path), wanted, got, "give another --out"))
        path.mkdir(parents=True, exist_ok=True)
        state = {
            "format": FORMAT,
            "name": recipe.name,
            "recipe_hash": recipe.content_hash,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(["expotion", *sys.argv[1:]]),
            "versions": dict(versions),
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "stages": {},
            "hashes": {},
        }
        run = cls(path, state)
        run.save()
        run._describe(recipe)
        return run

    def _describe(self, recipe: Trained) -> None:
        """Write the recipe, and the README where it is not there yet."""
        file, readme = self.path / "recipe.yaml", self.path / "README.md"
        # What is measured may have changed since.
        if not file.exists() or file.read_text(encoding="utf-8") != recipe.to_yaml():
            write_text(file, recipe.to_yaml())
        if not readme.exists():
            told = {key: self.state[key] for key in ("command", "created")}
            about = {"name": recipe.name, "description": recipe.description}
            task = getattr(recipe, "task", None)
            own = _OF_A_TASK.format(task=task) if task else _OF_MUSIC.format(folder=self.path)
            write_text(readme, README.format(**told, **about, own=own))

    def _sweep(self) -> None:
        """Remove the unfinished files and folders of a process that was killed."""
        for pattern in (".*.part*", ".*.old", ".adaptor.*"):  # the last: as folders were named before
            for path in list(self.path.rglob(pattern)):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path, recipe: Trained | None = None) -> RunFolder:
        """Read a run folder. Raises RunFolderError if it is none, of another format, or of another recipe."""
        file = path / STATE
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(Problem(str(path), "a run folder", f"no {STATE}", "check the path")) from None
        except (ValueError, OSError) as error:
            raise RunFolderError(Problem(str(file), "a readable state file", str(error), _NEW_FOLDER)) from None
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        if found != FORMAT:
            wanted = f"a run folder of format {FORMAT}"
            raise RunFolderError(Problem(str(file), wanted, f"format {found}", _NEW_FOLDER))
        if not state.keys() >= _REQUIRED:
            wanted = f"the fields {', '.join(sorted(_REQUIRED))}"
            raise RunFolderError(Problem(str(file), wanted, ", ".join(sorted(state)), _NEW_FOLDER))
        stages = state["stages"].values() if isinstance(state["stages"], dict) else [None]
        if not all(isinstance(each, dict) and isinstance(each.get("seconds"), int | float) for each in stages):
            raise RunFolderError(Problem(str(file), "stages with their seconds", "something else", _NEW_FOLDER))
        if recipe is not None and state["recipe_hash"] != recipe.content_hash:
            wanted = "the same recipe that this run was started with"
            fix = "give another --out, or --resume without changes"
            raise RunFolderError(Problem(str(path), wanted, "a recipe with other settings", fix))
        return cls(path, state)

    def save(self) -> None:
        """Write the state."""
        write_json(self.path / STATE, self.state)

    def is_done(self, stage: str, key: str) -> bool:
        """True if this stage was finished with the same key (a hash of what it depends on)."""
        record = self.state["stages"].get(stage)
        return bool(record and record.get("done") and record.get("key") == key)

    @contextlib.contextmanager
    def stage(self, name: str, key: str) -> Iterator[dict[str, Any]]:
        """Time a stage and mark it done at its end; what is put into the yielded dict is kept with it."""
        started = time.monotonic()
        before = self.state["stages"].get(name, {})
        spent = float(before.get("seconds", 0.0)) if before.get("key") == key else 0.0
        record: dict[str, Any] = {"key": key, "done": False, "seconds": spent}
        self.state["stages"][name] = record
        self.save()
        try:
            yield record
            record["done"] = True
        finally:
            record["seconds"] = round(spent + time.monotonic() - started, 2)
            # A full disk must not hide what brought us here.
            with contextlib.nullcontext() if record["done"] else contextlib.suppress(OutputError):
                self.save()

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time by stage."""
        return {name: float(record["seconds"]) for name, record in self.state["stages"].items()}

    @property
    def adaptor(self) -> Path:
        """The trained adaptor's folder."""
        return self.path / "adaptor"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints."""
        return self.path / "checkpoints"

    def sample(self, condition: str, clip_id: str) -> Path:
        """The wav of a condition and clip."""
        return self.path / "samples" / condition / f"{clip_id}.wav"

    def codes(self, condition: str, clip_id: str) -> Path:
        """The generated codes [K, T] of a condition and clip."""
        return self.path / "samples" / condition / f"{clip_id}.codes.npy"

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Send expotion's log to `log.txt`."""
        handler = _LogFile(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("expotion")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()
