"""Mean and scale of each input channel, from the training clips, fixed before training starts.

    mean_c, std_c over all steps of all clips where the features are valid and the clip has sound

Encoders differ by orders of magnitude in scale, within one encoder channels do; one learning rate for all
projections needs them alike. The two vectors are part of the adaptor, not of the encoder.
"""

from __future__ import annotations

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.training.examples import Examples


@torch.no_grad()
def standardise_inputs(adaptor: Adaptor, examples: Examples) -> None:
    """Set the statistics of every modality that keeps some; without a valid row they stay as they are."""
    if not adaptor.config.standardise:
        return
    n_rows = examples.codes.shape[-1] + 1
    inside = torch.arange(n_rows)[None, :] <= examples.n_frames[:, None]
    for modality in adaptor.config.modalities:
        if adaptor.projector(modality.name).mean is None:
            continue
        rows = examples.controls[modality.name][inside & examples.valid[modality.name]].double()
        if len(rows) > 1:
            adaptor.set_statistics(modality.name, rows.mean(dim=0).float(), rows.std(dim=0).float())
