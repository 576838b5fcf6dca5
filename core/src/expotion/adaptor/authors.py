"""The authors' adaptor files (`diff_N_end.pth`): a flat dictionary of float32 tensors, read and written.

pos_emb [L+1, R, d]           row 0 is O_0, row i+1 the positions of adapted layer i
gates [L]
ld_proj.weight [r, C]         W of the one stream (or of the face)
merge_linear.{i}.weight [d, r]   W_e,i; r + 2 columns in the class with masks
masked_embedding [L, R, 2]    only there: stand-ins for body and vid
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from expotion import weights
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, released_code
from expotion.errors import ExpotionError, Problem, WeightsError
from expotion.files import replacing

MASKED = ("body", "vid")


def released_config(state: Mapping[str, Tensor], n_lm_layers: int, where: str) -> AdaptorConfig:
    """The preset whose sizes are those of the tensors."""
    ranks = {"pos_emb": 3, "gates": 1, "ld_proj.weight": 2}
    problems = [
        Problem(
            f"{where} {name}",
            f"a tensor of {rank} dimensions",
            str(list(state[name].shape)) if name in state else "nothing",
        )
        for name, rank in ranks.items()
        if name not in state or state[name].dim() != rank
    ]
    if problems:
        raise WeightsError(problems)
    layers_and_start, n_rows, width = state["pos_emb"].shape
    rank, feature_width = state["ld_proj.weight"].shape
    try:
        return released_code(
            width=width,
            n_lm_layers=n_lm_layers,
            n_adapted=layers_and_start - 1,
            feature_width=feature_width,
            rank=rank,
            n_rows=n_rows,
            masked="masked_embedding" in state,
        )
    except ExpotionError as error:
        raise WeightsError(error.problems) from None


def adaptor_from_released(state: Mapping[str, Tensor], n_lm_layers: int, where: str) -> Adaptor:
    """An adaptor with these tensors for a model of `n_lm_layers` layers. Strict (WeightsError lists all)."""
    config = released_config(state, n_lm_layers, where)
    adaptor = Adaptor(config)
    theirs = to_released(adaptor)
    problems = weights.mismatches(state, {name: tuple(t.shape) for name, t in theirs.items()}, where)
    problems += [
        Problem(f"{where} {name}", "values of type torch.float32", str(state[name].dtype))
        for name in theirs.keys() & state.keys()
        if state[name].dtype != torch.float32
    ]
    if problems:
        raise WeightsError(problems)
    first = config.modalities[0].name
    ours = {
        "gates": state["gates"],
        "embedding.start": state["pos_emb"][0],
        "embedding.position_table": state["pos_emb"][1:],
        "embedding.fusion": torch.stack([state[f"merge_linear.{i}.weight"] for i in range(config.n_adapted)]),
        f"project.{first}.linear.weight": state["ld_proj.weight"],
    }
    if "masked_embedding" in state:
        for column, name in enumerate(MASKED):
            ours[f"project.{name}.null"] = state["masked_embedding"][..., column : column + 1]
    weights.fill(adaptor, ours, where)
    return adaptor


def import_released(path: Path, *, n_lm_layers: int) -> Adaptor:
    """Read an authors' file for a model of `n_lm_layers` layers (48 for MusicGen large)."""
    return adaptor_from_released(weights.read_state(path), n_lm_layers, str(path))


def to_released(adaptor: Adaptor) -> dict[str, Tensor]:
    """The authors' tensors of an adaptor that has their shape; ExpotionError for any other."""
    config = adaptor.config
    names = [modality.name for modality in config.modalities]
    masked = tuple(names[1:]) == MASKED
    first = config.modalities[0]
    expected = released_code(
        width=config.width,
        n_lm_layers=config.n_lm_layers,
        n_adapted=config.n_adapted,
        feature_width=first.d_in,
        rank=first.rank,
        n_rows=config.max_rows or 1,
        masked=masked,
    )
    if expected != config:
        wanted = "the preset released_code, the only one that the authors' format can hold"
        raise ExpotionError(Problem("adaptor", wanted, "another"))
    state = {name: tensor.detach().cpu() for name, tensor in adaptor.state_dict().items()}
    table = torch.cat([state["embedding.start"][None], state["embedding.position_table"]])
    released = {
        "pos_emb": table,
        "gates": state["gates"],
        "ld_proj.weight": state[f"project.{names[0]}.linear.weight"],
    }
    for index, weight in enumerate(state["embedding.fusion"]):
        released[f"merge_linear.{index}.weight"] = weight.clone()
    if masked:
        released["masked_embedding"] = torch.cat([state[f"project.{name}.null"] for name in MASKED], dim=-1)
    return released


def export_released(adaptor: Adaptor, path: Path) -> None:
    """Write the authors' format, atomically. ExpotionError for an adaptor of another shape."""
    state = to_released(adaptor)
    with replacing(path) as draft:
        torch.save(state, draft)
