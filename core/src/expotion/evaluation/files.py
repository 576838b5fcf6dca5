"""The files of an evaluation in a run folder, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expotion.errors import Problem, RunFolderError
from expotion.evaluation.evaluate import Evaluation
from expotion.files import replacing

METRICS = "metrics.json"
PER_CLIP = "metrics_per_clip.json"
COMPARISONS = "comparisons.json"
NOTES = "metrics_notes.json"


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the notes, metrics_per_clip.json and comparisons.json; metrics.json last.

    Raises MediaError where the folder cannot be written to.
    """
    _write(folder / PER_CLIP, evaluation.per_clip)
    _write(folder / COMPARISONS, evaluation.comparisons)
    _write(folder / NOTES, evaluation.notes)
    _write(folder / METRICS, evaluation.metrics)


def load_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote. Raises RunFolderError where a file is missing or broken."""
    notes = _read(folder / NOTES) if (folder / NOTES).exists() else {}
    return Evaluation(_read(folder / METRICS), _read(folder / PER_CLIP), _read(folder / COMPARISONS), notes)


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            Problem(
                str(path),
                "the scores of a finished evaluation",
                "no such file",
                "finish the run with --resume",
            )
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            Problem(str(path), "a readable JSON file", str(error), "remove it and rerun with --resume")
        ) from error
    if not isinstance(content, dict):
        raise RunFolderError(Problem(str(path), "a JSON object", type(content).__name__))
    return content
