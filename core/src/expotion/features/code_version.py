"""Which code an encoder runs: distribution, version and a digest of its sources."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path


@lru_cache(maxsize=256)
def code_version(module: str) -> str:
    """Distribution, version and a digest of the sources of the top-level package that a module is in.

    The digest keeps a plugin under development from reading what an earlier state of its code wrote.
    """
    top = module.partition(".")[0]
    digest = hashlib.sha256()
    # Core's own sources change for many reasons that are no feature's; its version stands for them.
    spec = _find_spec(top) if top not in {"expotion", "__main__"} else None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    if spec is not None and not folders and spec.origin and spec.origin.endswith(".py"):
        files = [Path(spec.origin)]
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{top} {distribution_of(top)} {digest.hexdigest()[:16]}"


@lru_cache(maxsize=256)
def distribution_of(module: str) -> str:
    """`NAME==VERSION` of what brings a module, several joined by commas, '' where nothing installed does."""
    top = module.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top, [])
    if not names:  # an editable install does not say which modules it brings; by custom it is named alike
        try:
            return f"{top.replace('_', '-')}=={importlib.metadata.version(top)}"
        except importlib.metadata.PackageNotFoundError:
            return ""
    return ",".join(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))


def _find_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
