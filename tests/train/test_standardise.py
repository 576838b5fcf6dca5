"""Mean and scale of the inputs come from the training clips' valid rows, and are part of the adaptor."""

from __future__ import annotations

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.train.examples import Examples, standardise_inputs

N, T, D = 3, 10, 2


def examples() -> Examples:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(N, T + 1, D, generator=generator) * torch.tensor([100.0, 0.01]) + torch.tensor([5.0, -1.0])
    valid = torch.ones(N, T + 1, dtype=torch.bool)
    valid[0, 4:] = False
    values[0, 4:] = 1e6  # must not count
    n_frames = torch.tensor([T, T, 6])
    values[2, 7:] = -1e6  # after the end of a shorter clip
    return Examples(
        codes=torch.zeros(N, 4, T, dtype=torch.int64),
        n_frames=n_frames,
        text=torch.zeros(N, 1, 4),
        text_mask=torch.ones(N, 1, dtype=torch.bool),
        controls={"motion": values},
        valid={"motion": valid},
    )


def adaptor(standardise: bool = True) -> Adaptor:
    config = AdaptorConfig(
        (Modality("motion", D, 2),), width=8, n_lm_layers=1, n_adapted=1, standardise=standardise
    )
    return Adaptor(config, seed=0)


def test_valid_rows_inside_the_clips_count() -> None:
    given, made = examples(), adaptor()
    standardise_inputs(made, given)
    values = given.controls["motion"]
    rows = torch.cat([values[0, :4], values[1], values[2, :7]])
    projector = made.projector("motion")
    assert projector.mean is not None and projector.scale is not None
    assert torch.allclose(projector.mean, rows.mean(dim=0), rtol=1e-5)
    assert torch.allclose(projector.scale, rows.std(dim=0), rtol=1e-4)
    assert {"project.motion.mean", "project.motion.scale"} <= set(made.state_dict())


def test_an_adaptor_without_statistics_is_left_alone() -> None:
    made = adaptor(standardise=False)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    standardise_inputs(made, examples())
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


def test_without_a_valid_row_nothing_changes() -> None:
    given, made = examples(), adaptor()
    given.valid["motion"][:] = False
    standardise_inputs(made, given)
    projector = made.projector("motion")
    assert projector.mean is not None and not projector.mean.any()
