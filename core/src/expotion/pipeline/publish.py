"""Publishing an adaptor: to a folder or a Hugging Face repository, with its card, recipe and measurements."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from expotion.adaptor.checkpoint import DESCRIPTION, TENSORS, read_description
from expotion.errors import OutputError, Problem, WeightsError
from expotion.files import WRITE_FIX
from expotion.models.published import check_adaptor, fetch_adaptor, metrics_of, upload_adaptor
from expotion.models.reference import is_published
from expotion.pipeline.card import card_of
from expotion.plugins import Registry
from expotion.recipe import Recipe


def adaptor_folder(reference: str | Path) -> Path:
    """The folder that holds `adaptor.json`: of a run folder, an adaptor folder, or `hf:ORG/NAME`."""
    if is_published(reference):
        return fetch_adaptor(str(reference))
    folder = Path(reference).expanduser()
    return folder / "adaptor" if (folder / "adaptor" / DESCRIPTION).exists() else folder


def push_adaptor(
    source: str | Path,
    target: str,
    registry: Registry,
    *,
    licence: str | None = None,
    private: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Publish to `hf:ORG/NAME` or a new folder; returns where it is. Nothing half-written stays behind."""
    with _staged(adaptor_folder(source), target, registry, licence) as staged:
        if is_published(target):
            recipe = Recipe.from_dict(read_description(staged)["metadata"]["recipe"])
            return upload_adaptor(
                staged, target, private=private, message=f"Expotion adaptor {recipe.name}", say=say
            )
        folder = Path(target).expanduser()
        place(staged, folder)
        return str(folder)


def pull_adaptor(reference: str, out: Path | None) -> Path:
    """Bring an adaptor here: into the hub's cache, or as files of its own into `out`."""
    folder = adaptor_folder(reference)
    check_adaptor(folder, reference)
    if out is None:
        return folder
    place(folder, out)
    return out


def place(source: Path, target: Path) -> None:
    """Copy an adaptor's files to a new folder, an empty one, or over an adaptor; whole or not at all."""
    occupied = target.exists() and not (target / DESCRIPTION).is_file()
    if occupied and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            Problem(str(target), "a new or empty folder, or an adaptor", "other files", "give another place")
        )
    draft = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        for path in sorted(source.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, draft / path.name)  # not the hub's link to it
        draft.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(Problem(str(target), "to be writable", str(error), WRITE_FIX)) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _staged(folder: Path, target: str, registry: Registry, licence: str | None) -> Iterator[Path]:
    """The files to publish, in a temporary folder."""
    check_adaptor(folder, str(folder))
    metadata = read_description(folder).get("metadata") or {}
    if "recipe" not in metadata:
        raise WeightsError(
            Problem(
                str(folder), "an adaptor that a recipe trained", "one without its recipe", "give a run folder"
            )
        )
    with tempfile.TemporaryDirectory(prefix="expotion-publish-") as name:
        staged = Path(name)
        for file in (TENSORS, DESCRIPTION):
            shutil.copyfile(folder / file, staged / file)
        (staged / "recipe.yaml").write_text(Recipe.from_dict(metadata["recipe"]).to_yaml(), encoding="utf-8")
        metrics = metrics_of(folder)
        if metrics:
            (staged / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        shown = target if is_published(target) else Path(target).name
        card = card_of(folder, registry, name=shown, licence=licence)
        (staged / "README.md").write_text(card, encoding="utf-8")
        yield staged
