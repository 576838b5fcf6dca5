"""Bring one entry of the catalogue into the cache, or say what is missing and how to fetch it elsewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from expotion.errors import Problem, WeightsError
from expotion.models.cache import Pulled, folder_of, pulled, remember, remembered
from expotion.models.catalogue import HUB, Entry
from expotion.models.download import Interrupted, Progress, check_hash, fetch

TORCHVISION = "torchvision:"
HUB_PATTERNS = ("*.json", "*.safetensors", "*.pt", "*.model", "*.txt")
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".bin")
OLD_FORM = "pytorch_model.bin"
"""Fetched only from repositories that have nothing newer."""


def pull(entry: Entry, *, progress: Progress | None = None, pause_s: float = 1.0) -> Pulled:
    """Download an entry, or find it in the cache. Raises WeightsError: refused, or not reachable."""
    there = pulled(entry.name)
    if there is not None:
        return there
    note = _pull_hub(entry) if entry.source.startswith(HUB) else _pull_url(entry, progress, pause_s)
    remember(note)
    return note


def address_of(entry: Entry) -> tuple[str, str | None]:
    """Address and hash of an entry that is one file."""
    if not entry.source.startswith(TORCHVISION):
        return entry.source, entry.sha256
    from torchvision.models import get_model_weights  # noqa: PLC0415 - torchvision knows its own addresses

    model, _, weights = entry.source.removeprefix(TORCHVISION).partition("/")
    url = str(get_model_weights(model)[weights].url)
    digest = Path(urlsplit(url).path).stem.rpartition("-")[
        2
    ]  # torchvision's names end in the hash's beginning
    return url, entry.sha256 or digest


def _pull_url(entry: Entry, progress: Progress | None, pause_s: float) -> Pulled:
    url, sha256 = address_of(entry)
    earlier = remembered(entry.name)
    wanted = sha256 or (earlier.sha256 if earlier is not None else None)
    target = folder_of(entry.name) / Path(urlsplit(url).path).name
    if target.is_file():  # copied there by hand
        digest = check_hash(target, wanted, str(target))
    else:
        try:
            digest = fetch(url, target, sha256=wanted, progress=progress, pause_s=pause_s)
        except Interrupted as error:
            raise _unreachable(entry, str(error), _by_hand(url, target)) from None
    return Pulled(
        entry.name,
        url,
        entry.licence,
        str(target.parent),
        str(target),
        target.stat().st_size,
        digest,
    )


def _by_hand(url: str, target: Path) -> str:
    kept = target.with_name(target.name + ".part")
    again = f"pull again to go on after {kept.stat().st_size} bytes, or " if kept.is_file() else ""
    return (
        f"{again}on a connected machine fetch {url}, copy the file to {target} and run "
        f"`expotion models pull {target.parent.name}` once more"
    )


def _pull_hub(entry: Entry) -> Pulled:
    """A repository through huggingface_hub, whose cache (HF_HOME) resumes and is used by all loaders."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    repository = entry.source.removeprefix(HUB)
    failure = "it is not in the local cache"
    plain, old = list(HUB_PATTERNS), [*HUB_PATTERNS, OLD_FORM]
    for local_only, patterns in ((True, plain), (False, plain), (False, old)):
        try:
            folder = Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=local_only))
        except Exception as error:  # the hub raises its HTTP client's errors, whose classes change
            text = str(error).strip()
            failure = text.splitlines()[0] if text else type(error).__name__
            continue
        found = _weights_in(folder)
        if found:
            return _checked(entry, folder, found)
        failure = f"the repository has no safetensors, .pt or {OLD_FORM} file"
    fix = (
        f"on a connected machine run `hf download {repository}` and copy its cache folder here "
        "(HF_HOME says where it lies)"
    )
    raise _unreachable(entry, failure, fix)


def _weights_in(folder: Path) -> list[Path]:
    for suffix in WEIGHTS_SUFFIXES:
        found = sorted(folder.glob(f"*{suffix}"))
        if found:
            return found
    return []


def _checked(entry: Entry, folder: Path, found: list[Path]) -> Pulled:
    """The hub names large files by their SHA-256: each must have it."""
    digest = ""
    for path in found:
        stored = path.resolve()
        named = stored.name if len(stored.name) == 64 else None
        digest = check_hash(stored, named, f"{entry.source} {path.name}")
    wanted = entry.sha256 if len(found) == 1 else None
    if wanted is not None:
        check_hash(found[0].resolve(), wanted, f"{entry.source} {found[0].name}")
    size = sum(path.stat().st_size for path in found)
    return Pulled(entry.name, entry.source, entry.licence, str(folder), str(found[0]), size, digest)


def _unreachable(entry: Entry, reason: str, fix: str) -> WeightsError:
    return WeightsError(Problem(f"model {entry.name}", f"a connection to {entry.source}", reason, fix))
