"""A trained adaptor on disk: a folder that explains itself.

    adaptor.safetensors   every tensor of the adaptor
    adaptor.json          format, the adaptor's configuration, what the caller adds (recipe, encoders, versions),
                          and the SHA-256 of the tensors' file
    README.md             the model card

Written beside the target and renamed into place. Read strictly: all mismatches are reported at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from expotion import weights
from expotion.adaptor.adaptor import Adaptor, trainable_names
from expotion.adaptor.config import AdaptorConfig
from expotion.errors import ExpotionError, OutputError, Problem, WeightsError
from expotion.files import replacing_folder

FORMAT = "expotion-adaptor/1"
TENSORS, DESCRIPTION, CARD = "adaptor.safetensors", "adaptor.json", "README.md"


def _card(config: AdaptorConfig) -> str:
    """A short model card in Markdown."""
    lines = [
        "# Expotion adaptor",
        "",
        "A gated prefix that lets tracks steer a frozen MusicGen. Load it with `expotion generate --adaptor`.",
        "",
        "| modality | features | latent |",
        "|---|---|---|",
        *(f"| {m.name} | {m.d_in} | {m.rank} |" for m in config.modalities),
        "",
        f"Adapts the last {config.n_adapted} of {config.n_lm_layers} layers of width {config.width}.",
    ]
    return "\n".join(lines) + "\n"


def check_place(folder: Path) -> None:
    """OutputError unless an adaptor may be written here: nothing, an empty folder or an adaptor."""
    taken = folder.exists() and not (folder / DESCRIPTION).is_file()
    if taken and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            Problem(str(folder), "a new or empty folder, or an adaptor", "other files", "give another place")
        )


def save_adaptor(
    folder: Path, adaptor: Adaptor, metadata: Mapping[str, Any] | None = None, *, card: str | None = None
) -> None:
    """Write the folder. An existing adaptor there is replaced; any other existing folder is left alone (error)."""
    from safetensors.torch import save  # noqa: PLC0415

    check_place(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in adaptor.state_dict().items()}
    tensors = save(state)
    description = {
        "format": FORMAT,
        "config": adaptor.config.to_json(),
        "trainable": trainable_names(adaptor),
        "sha256": hashlib.sha256(tensors).hexdigest(),
        "metadata": dict(metadata or {}),
    }
    with replacing_folder(folder) as draft:
        (draft / TENSORS).write_bytes(tensors)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (draft / DESCRIPTION).write_text(text, encoding="utf-8")
        (draft / CARD).write_text(card or _card(adaptor.config), encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any]:
    """The content of adaptor.json, checked for its format."""
    path = folder / DESCRIPTION
    if not path.is_file():
        inside = (folder.parent / DESCRIPTION).is_file()
        fix = f"give its folder: {folder.parent}" if inside else "give a folder that training wrote"
        raise WeightsError(Problem(str(folder), f"an adaptor folder with {DESCRIPTION}", fix=fix))
    description = weights.read_json(path)
    if description.get("format") != FORMAT:
        found = repr(description.get("format"))
        raise WeightsError(Problem(str(path), f"format {FORMAT}", found, "train it again with this version"))
    return description


def check_adaptor(folder: Path, reference: str | None = None) -> dict[str, Any]:
    """The description of a whole adaptor; WeightsError where its tensors do not have the hash that it states.

    `reference` is what errors call it, where that is not the folder.
    """
    description = read_description(folder)
    path = folder / TENSORS
    where = str(path) if reference is None else f"{reference} {TENSORS}"
    try:
        digest = weights.sha256(path)
    except OSError as error:
        raise WeightsError(Problem(where, "a readable file", error.strerror or str(error))) from None
    if digest != description.get("sha256"):
        wanted = str(description.get("sha256"))[:16]
        again = "copy the adaptor here again" if reference is None else "fetch it again"
        fix = f"the file was damaged or exchanged: {again}"
        raise WeightsError(Problem(where, f"SHA-256 {wanted}...", f"{digest[:16]}...", fix))
    return description


def load_adaptor(
    folder: Path, *, projections: Mapping[str, nn.Module] | None = None
) -> tuple[Adaptor, dict[str, Any]]:
    """The adaptor and the metadata saved with it. `projections` as for `Adaptor`, from the same encoders."""
    description, path = check_adaptor(folder), folder / TENSORS
    config = description.get("config")
    if not isinstance(config, dict):
        raise WeightsError(Problem(str(folder / DESCRIPTION), "a config", repr(config)))
    try:
        adaptor = Adaptor(AdaptorConfig.from_json(config, str(folder / DESCRIPTION)), projections)
    except ExpotionError as error:
        raise WeightsError(error.problems) from None
    weights.fill(adaptor, weights.read(path), str(path), same_types=True)
    metadata = description.get("metadata", {})
    return adaptor, metadata if isinstance(metadata, dict) else {}
