"""Features that other software computed: read from its files, kept by `features import`, given by an encoder."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures, hookimpl
from expotion.errors import ExpotionError, MediaError, Problem, first_line
from expotion.features.store import FeatureStore, imported_key
from expotion.files import sha256_of

if TYPE_CHECKING:
    from expotion.features.job import ClipFile

# The encoder: it computes nothing and reads what was imported for a clip.


class PrecomputedOptions(Options):
    """Options of `precomputed`."""

    features: str = Field(min_length=1, description="the name that the features were imported by, --encoder NAME")
    width: int = Field(ge=1, description="D, values per row")
    rate_hz: float = Field(gt=0.0, description="rows per second")
    store: Path | None = Field(None, description="folder of the feature store; default: the cache's")


def _build(options: PrecomputedOptions) -> PrecomputedEncoder:
    return PrecomputedEncoder(SPEC, options)


SPEC = EncoderSpec(
    name="precomputed",
    description="Features that were computed elsewhere and imported (`expotion features import`)",
    needs=frozenset({"video"}),
    build=_build,
    options=PrecomputedOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.rate_hz,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """Imported features as an encoder like any other."""
    return [SPEC]


class PrecomputedEncoder(Encoder):
    """Rows [n, width] as they were imported for a clip's content; never features of our own extraction."""

    def __init__(self, spec: EncoderSpec, options: PrecomputedOptions) -> None:
        self.spec = spec
        self.options: PrecomputedOptions = options
        self.store = FeatureStore(options.store)

    @property
    def worth_keeping(self) -> bool:
        """False: they are in the store already, and a new import must count at once."""
        return False

    def extract(self, clip: Clip) -> TimedFeatures:
        """The imported track. Raises MediaError where none was imported, or one of another width."""
        name = self.options.features
        where = f"precomputed {name} of {clip.id}"
        fix = f"run `expotion features import FILE.pt --clip CLIP --encoder {name} --rate HZ`"
        try:
            found = self.store.read(imported_key(clip.content_hash, name))
        except FileNotFoundError:
            raise MediaError(Problem(where, "features imported for this clip", "none", fix)) from None
        if not isinstance(found, TimedFeatures) or found.values.shape[1] != self.options.width:
            got = f"rows of width {found.values.shape[1]}"
            raise MediaError(Problem(where, f"rows of width {self.options.width}", got, "set options.width"))
        return found


# Files that torch.save wrote, the authors' precomputed tracks among them, become tracks of clips.

RowTimes = Literal["centre", "start", "stretched"]
"""Where row i of n lies: (i + 1/2) / rate; i / rate; or i * duration / (n - 1), the released loader's time base."""


def read_pt(path: Path) -> NDArray[np.float32]:
    """Rows float32 [n, D] of a .pt file: a tensor [n, D] or [1, n, D], or a dict with `face_p` or one such tensor.

    Raises MediaError for anything else; the file is read without running code that is in it.
    """
    import torch  # noqa: PLC0415

    wanted = "a file of torch.save with a tensor [n, D]"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is not one
        raise MediaError(Problem(str(path), wanted, first_line(error))) from error
    if isinstance(found, dict):
        tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
        if "face_p" not in tensors and len(tensors) != 1:
            got = f"a dict with {', '.join(map(str, found)) or 'nothing'}"
            raise MediaError(Problem(str(path), f"{wanted}, or a dict with `face_p` or one tensor", got))
        found = tensors["face_p"] if "face_p" in tensors else next(iter(tensors.values()))
    if not isinstance(found, torch.Tensor):
        raise MediaError(Problem(str(path), wanted, type(found).__name__))
    if found.ndim == 3 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2 or not found.shape[0] or not found.shape[1] or not found.is_floating_point():
        raise MediaError(Problem(str(path), wanted, f"{found.dtype} {list(found.shape)}"))
    rows = found.detach().to(torch.float32).contiguous().numpy()
    if not bool(np.isfinite(rows).all()):
        raise MediaError(Problem(str(path), "finite values", "NaN or infinity"))
    return rows


def as_track(
    rows: NDArray[np.float32], duration_s: float, rate_hz: float, where: str, times: RowTimes = "centre"
) -> TimedFeatures:
    """Rows [n, D] as a track of a clip; those after its end are left out.

    Raises MediaError where n rows at this rate and the clip differ by more than a second and a tenth in length.
    """
    n = len(rows)
    length_s = n / rate_hz
    if abs(length_s - duration_s) > max(1.0, 0.1 * duration_s):
        fix = f"{n / duration_s:.3g} Hz would fit" if duration_s > 0 else None
        got = f"{n} rows at {rate_hz:g} Hz, {length_s:.2f} s"
        raise MediaError(Problem(where, f"rows for the clip's {duration_s:.2f} s", got, fix))
    if times == "stretched":
        times_s = np.arange(n) * (duration_s / max(1, n - 1))
    else:
        times_s = (np.arange(n) + (0.5 if times == "centre" else 0.0)) / rate_hz
    inside = times_s <= duration_s + 1e-9
    return TimedFeatures(
        np.ascontiguousarray(rows[inside]), times_s[inside].astype(np.float64), np.ones(inside.sum(), np.bool_)
    )


def read_list(path: Path) -> list[tuple[str, str]]:
    """(name of the feature file without folders, caption) of each line of the authors' list files.

    A line's fields are separated by `|`: first the feature file, last a literal dict with `caption`. Raises
    ExpotionError with every line that cannot be read.
    """
    found, problems = [], []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ExpotionError(Problem(str(path), "a list file in UTF-8", str(error))) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        first, _, rest = line.partition("|")
        caption = ""
        brace = rest.find("{")  # a `|` in the caption would break a split from the right
        try:
            about = ast.literal_eval(rest[brace:].strip()) if brace >= 0 else {}
            caption = str(about.get("caption", ""))
        except (ValueError, SyntaxError, AttributeError):
            problems.append(Problem(f"{path}:{number}", "FEATURES|...|{a literal dict}", line[:60]))
            continue
        name = first.strip().replace("\\", "/").rsplit("/", 1)[-1]
        if not name.endswith(".pt"):
            problems.append(Problem(f"{path}:{number}", "a feature file .pt in the first field", name or "nothing"))
            continue
        caption = caption.replace("<s>", "").replace("</s>", "").replace("\n", "").strip()
        found.append((name, caption))
    if problems:
        raise ExpotionError(problems)
    return found


@dataclass
class FilesImported:
    """How many files were taken, their width, and every one that was not, with the reason."""

    done: int = 0
    widths: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


def import_file(
    path: Path, clip: ClipFile, name: str, rate_hz: float, store: FeatureStore, times: RowTimes = "centre"
) -> int:
    """Take one file for one clip; returns D. Raises MediaError for a file or a rate that does not fit the clip."""
    opened = clip.open()
    rows = read_pt(path)
    track = as_track(rows, opened.duration_s, rate_hz, str(path), times)
    digest = sha256_of(path)
    notes = {"source": path.name, "source sha256": digest, "row times": times}
    store.save_imported(opened, name, track, rate_hz, notes)
    return int(rows.shape[1])


def import_folder(
    folder: Path,
    list_file: Path | None,
    clips: Sequence[ClipFile],
    name: str,
    rate_hz: float,
    store: FeatureStore,
    times: RowTimes = "centre",
) -> FilesImported:
    """Take every .pt of a folder (or those that a list file names) for the clip of the same name.

    A file without a clip, a listed file that is not there and one that does not fit are refused, never replaced.
    """
    wanted = (
        [entry for entry, _ in read_list(list_file)] if list_file else sorted(p.name for p in folder.glob("*.pt"))
    )
    if not wanted:
        raise ExpotionError(Problem(str(list_file or folder), "feature files .pt", "none"))
    by_stem: dict[str, list[ClipFile]] = {}
    for clip in clips:
        by_stem.setdefault(Path(clip.path).stem, []).append(clip)
    out = FilesImported()
    for entry in dict.fromkeys(wanted):
        path = folder / entry
        found = by_stem.get(path.stem, [])
        if not path.is_file():
            out.refused.append(f"{path}: listed, and not there")
        elif len(found) != 1:
            out.refused.append(f"{path}: {len(found) or 'no'} clips are named {path.stem}")
        else:
            try:
                out.widths.add(import_file(path, found[0], name, rate_hz, store, times))
                out.done += 1
            except (ExpotionError, OSError) as error:
                out.refused.append(str(error))
    return out
