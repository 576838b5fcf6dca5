"""Adaptors in Hugging Face repositories, `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`: bring one here, put one there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

from expotion.adaptor.checkpoint import DESCRIPTION, TENSORS, read_description
from expotion.errors import ExpotionError, Problem, WeightsError, first_line
from expotion.files import sha256_of
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
    folder = Path(reference).expanduser()
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


def check_adaptor(folder: Path, where: str) -> None:
    """WeightsError unless the folder holds a whole adaptor: a description, and tensors of the hash it states."""
    description = read_description(folder)
    path = folder / TENSORS
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(Problem(where, f"a readable {TENSORS}", error.strerror or str(error))) from None
    if digest != description.get("sha256"):
        wanted = str(description.get("sha256"))[:16]
        fix = "the file was damaged or exchanged: fetch it again"
        raise WeightsError(Problem(f"{where} {TENSORS}", f"SHA-256 {wanted}...", f"{digest[:16]}...", fix))


def upload_adaptor(
    folder: Path, reference: str, *, private: bool, message: str, say: Callable[[str], None] = print
) -> str:
    """Put a folder's files into the repository `hf:ORG/NAME`, made if need be; returns its address.

    The token is the hub's own (HF_TOKEN or `hf auth login`). Raises ExpotionError.
    """
    repository, revision = repository_of(reference)
    from huggingface_hub import HfApi  # noqa: PLC0415

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        say(f"uploading to {repository}")
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            commit_message=message,
            revision=revision,
        )
    except Exception as error:  # the hub raises its HTTP client's errors, whose classes change
        fix = "log in with `hf auth login`, or push to a folder"
        raise ExpotionError(
            Problem(reference, "a repository that can be written to", first_line(error), fix)
        ) from error
    return f"https://huggingface.co/{repository}"


def metrics_of(folder: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """What `metrics.json` beside an adaptor or in its run folder says; {} where there is none."""
    for place in (folder, folder.parent):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            return cast(dict[str, dict[str, dict[str, float | None]]], found)
    return {}
