"""How a published adaptor is named: `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`."""

from __future__ import annotations

from pathlib import Path

from expotion.errors import ExpotionError, Problem

HUB = "hf:"


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
