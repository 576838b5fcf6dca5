"""Weights: found, hashed, read without ever running code from them, and filled in strictly.

Public: plugins load their networks through it, so that every file is refused in the same words.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from expotion.errors import Problem, WeightsError, first_line
from expotion.files import sha256_of

HUB_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt")
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".bin")
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")

Settings = TypeVar("Settings", bound=BaseModel)

sha256 = sha256_of
"""SHA-256 of a file, hex; for plugins, to whom `files` is closed."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; WeightsError when it is missing or is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(Problem(str(path), "the file to exist", fix="check the model folder")) from None
    except (OSError, ValueError) as error:
        raise WeightsError(Problem(str(path), "a readable JSON file", str(error))) from None
    if not isinstance(value, dict):
        raise WeightsError(Problem(str(path), "a JSON object", type(value).__name__))
    return value


def safetensors_files(folder: Path) -> list[Path]:
    """The weights of a folder in transformers' layout: one file, or the shards that the index names."""
    single = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        shards = sorted({folder / name for name in read_json(index).get("weight_map", {}).values()})
        missing = [Problem(str(shard), "the shard to exist") for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise WeightsError(missing or Problem(str(index), "a weight_map that names shards"))
        return shards
    fix = "only safetensors are read; convert a pytorch_model.bin with transformers' save_pretrained"
    raise WeightsError(Problem(str(folder), f"{single.name} or {index.name}", "neither", fix))


def read_safetensors(paths: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors of some safetensors files; a name in two of them is an error."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load, load_file  # noqa: PLC0415

    tensors: dict[str, Tensor] = {}
    for path in paths:
        try:
            # Many small tensors are read in a quarter of the time where the file is not mapped.
            part = load(path.read_bytes()) if path.stat().st_size < 2**24 else load_file(path)
        except (OSError, SafetensorError) as error:
            fix = "copy or download it again"
            raise WeightsError(Problem(str(path), "a readable safetensors file", str(error), fix)) from None
        twice = sorted(tensors.keys() & part.keys())
        if twice:
            raise WeightsError([Problem(f"{path} {name}", "each tensor in one shard only") for name in twice])
        tensors.update(part)
    return tensors


def read_torch(path: Path) -> Any:
    """A torch-saved file of plain data (`weights_only`); one that holds code is refused."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(Problem(str(path), "the file to exist")) from None
    except pickle.UnpicklingError as error:
        got = f"one that needs code to be run or is damaged ({first_line(error)})"
        fix = "such files are refused because they can run anything; save the plain state dict instead"
        raise WeightsError(Problem(str(path), "a file of tensors and plain data", got, fix)) from None
    except Exception as error:  # on damaged files torch raises whatever its parser meets first
        raise WeightsError(Problem(str(path), "a readable torch file", first_line(error))) from None


def read(path: Path) -> Any:
    """What a weights file holds: the tensors of a `.safetensors` file, anything plain in a torch file."""
    if path.suffix != ".safetensors":
        return read_torch(path)
    if not path.is_file():
        raise WeightsError(Problem(str(path), "the file to exist", "no such file", "check the path"))
    return read_safetensors([path])


def read_state(path: Path, containers: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors of a file by name: its own, or those under the first of `containers` that it has.

    Raises WeightsError where it holds no mapping, or anything else than tensors in it.
    """
    content = read(path)
    for container in containers:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(Problem(str(path), "a flat dictionary of tensors", type(content).__name__))
    strangers = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError([Problem(f"{path} {name}", "a tensor", "something else") for name in strangers])
    return {str(name): value for name, value in content.items()}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and float32 values of tensors, in the order of their names, hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def files_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of files, hex. Files that a hub cache stores by their own SHA-256 are not read."""
    total = hashlib.sha256()
    for path in sorted(paths):
        stored = path.resolve().name
        known = path.is_symlink() and re.fullmatch("[0-9a-f]{64}", stored)
        total.update(bytes.fromhex(stored if known else sha256(path)))
    return total.hexdigest()


def folder_of(source: str | Path, patterns: Iterable[str] = HUB_PATTERNS, cache: Path | None = None) -> Path:
    """A folder itself, or the snapshot of the repository that `source` names (`hf:` optional)."""
    folder = Path(source).expanduser()
    return folder if folder.is_dir() else hub_snapshot(str(source).removeprefix("hf:"), patterns, cache)


def hub_snapshot(
    repository: str,
    patterns: Iterable[str] = HUB_PATTERNS,
    cache: Path | None = None,
    *,
    revision: str | None = None,
    newest: bool = False,
) -> Path:
    """Folder of a Hugging Face repository with weights: the local cache first, then a download.

    `newest` asks the hub first, as a branch may have moved. WeightsError where neither has weights.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    wanted = list(patterns)
    weights = [pattern for pattern in wanted if pattern.endswith(WEIGHT_SUFFIXES)] or wanted
    failure = "it is not in the local cache"
    for local_only in (False, True) if newest else (True, False):
        try:
            found = snapshot_download(
                repository, revision=revision, cache_dir=cache, allow_patterns=wanted, local_files_only=local_only
            )
        except Exception as error:  # the hub raises its HTTP client's errors, whose classes change
            # why the hub cannot be reached says more than that the cache is empty
            failure = failure if local_only else first_line(error)
            continue
        if any(any(Path(found).glob(pattern)) for pattern in weights):
            return Path(found)
        failure = f"the repository has no {' or '.join(weights)}"
    needed = "weights in the local cache or a connection to the hub"
    command = f"`hf download {repository}`"
    fix = f"on a connected machine run {command} and copy the cache (HF_HOME), or give the path of a folder"
    raise WeightsError(Problem(f"hf:{repository}", needed, failure, fix))


def check_tensors(
    got: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], where: str, ignored: Iterable[str] = ()
) -> None:
    """Every tensor that is missing, unexpected or of another shape, all in one WeightsError."""
    problems = mismatches(got, wanted, where, ignored)
    if problems:
        raise WeightsError(problems)


def mismatches(
    got: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], where: str, ignored: Iterable[str] = ()
) -> list[Problem]:
    """What `check_tensors` raises. `ignored`: names that may be there and are not wanted."""
    skip = set(ignored)
    problems = [Problem(f"{where} {name}", "to be there", "nothing") for name in wanted if name not in got]
    problems += [
        Problem(f"{where} {name}", f"shape {list(shape)}", str(list(got[name].shape)))
        for name, shape in wanted.items()
        if name in got and tuple(got[name].shape) != tuple(shape)
    ]
    problems += [
        Problem(f"{where} {name}", "not to be there", f"a tensor {list(got[name].shape)}")
        for name in got
        if name not in wanted and name not in skip
    ]
    return problems


@contextmanager
def undrawn() -> Iterator[None]:
    """Within it a module of torch is built without drawing at random what `fill` then replaces.

    With torch's device `meta` too: the first number that is drawn there imports torch's compiler and sympy, for
    seconds, and so does moving a module away from it.
    """
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    drawing = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, function in drawing.items():
            setattr(nn.init, name, function)


def settings_of(kind: type[Settings], values: Mapping[str, Any], before: str) -> Settings:
    """A model's settings out of its configuration. WeightsError lists all that no model can be built from.

    `before`: what stands before a field's name in a message.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fix = "fetch the folder again, or undo what was changed in it"
        raise WeightsError(
            [
                Problem(
                    before + ".".join(map(str, found["loc"])),
                    found["msg"].removeprefix("Input should be "),
                    textwrap.shorten(repr(found["input"]), 80),
                    fix,
                )
                for found in error.errors()
            ]
        ) from None


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a module."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    ignored: Iterable[str] = (),
    same_types: bool = False,
) -> None:
    """Copy tensors into a module of their names and shapes. Strict: WeightsError lists every mismatch.

    Values are converted to the module's types; whole numbers are no floating-point weights. `same_types` wants
    exactly its types.
    """
    own = module.state_dict()
    problems = mismatches(tensors, shapes_of(module), where, ignored)
    for name in own.keys() & tensors.keys():
        mine, theirs = own[name].dtype, tensors[name].dtype
        if theirs != mine and (same_types or mine.is_floating_point > theirs.is_floating_point):
            problems.append(Problem(f"{where} {name}", f"values of type {mine}", str(theirs)))
    if problems:
        raise WeightsError(problems)
    with torch.no_grad():
        module.load_state_dict({name: tensors[name] for name in own}, strict=True)
