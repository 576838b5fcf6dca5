"""Adaptors in Hugging Face repositories, `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`: bring one here, put one there."""

from __future__ import annotations

import os
from pathlib import Path

from expotion.adaptor.checkpoint import DESCRIPTION, TENSORS, check_adaptor
from expotion.errors import ExpotionError, Problem, WeightsError
from expotion.weights import hub_snapshot

HUB = "hf:"
FILES = (TENSORS, DESCRIPTION, "README.md", "recipe.yaml", "metrics.json")


def is_published(reference: str | Path) -> bool:
    """Whether a reference is `hf:ORG/NAME` and no folder."""
    return str(reference).startswith(HUB)


def pinned(reference: str, folder: Path) -> str:
    """The reference with the revision that was fetched: `hf:ORG/NAME@COMMIT` of a snapshot folder."""
    repository, _ = repository_of(reference)
    return f"{HUB}{repository}@{folder.name}"


def repository_of(reference: str) -> tuple[str, str | None]:
    """(ORG/NAME, revision or None). Raises ExpotionError for anything else."""
    repository, _, revision = reference.removeprefix(HUB).partition("@")
    names = repository.split("/")
    if len(names) != 2 or not all(names):
        raise ExpotionError(Problem(reference, "hf:ORG/NAME or hf:ORG/NAME@REVISION", reference))
    return repository, revision or None


def adaptor_folder(reference: str | Path) -> Path:
    """The folder that holds `adaptor.json`: of a run folder, an adaptor folder, or `hf:ORG/NAME`."""
    if is_published(reference):
        return fetch_adaptor(str(reference))
    folder = Path(os.path.expanduser(reference))
    return folder / "adaptor" if (folder / "adaptor" / DESCRIPTION).exists() else folder


def fetch_adaptor(reference: str) -> Path:
    """The local folder of `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`: from the cache, else downloaded.

    Only the files of an adaptor are taken, and its tensors must have the hash that its description states.
    Raises WeightsError.
    """
    repository, revision = repository_of(reference)
    try:
        folder = hub_snapshot(repository, FILES, revision=revision, newest=True)
    except WeightsError as error:
        fix = "check the name; log in with `hf auth login` for a private one; or copy its files, give the folder"
        failure = error.problems[0].got
        raise WeightsError(Problem(reference, "an adaptor that can be downloaded", failure, fix)) from None
    check_adaptor(folder, reference)
    return folder
