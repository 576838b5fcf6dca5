"""RAFT of any geometry from torchvision's blocks, and the CNN that turns a flow field into 256 values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion_motion_raft.options import FLOW_GRID, WIDTH, Geometry

if TYPE_CHECKING:
    from torchvision.models.optical_flow import raft

FLOW_UNIT_PX = 4.0
"""Flow is divided by this many pixels before the CNN, so that a moving hand is of order one."""


def build_raft(geometry: Geometry) -> raft.RAFT:
    """RAFT with torchvision's parameter names; `small` has 990,162 and `large` 5,257,536 parameters (facts 5.1)."""
    from torchvision.models.optical_flow import raft  # noqa: PLC0415 - takes seconds, and DIS does without

    block = raft.BottleneckBlock if geometry.bottleneck else raft.ResidualBlock
    context_norm = nn.BatchNorm2d if geometry.context_norm else None
    correlation = raft.CorrBlock(num_levels=geometry.levels, radius=geometry.radius)
    motion = raft.MotionEncoder(
        in_channels_corr=correlation.out_channels,
        corr_layers=geometry.corr,
        flow_layers=geometry.flow,
        out_channels=geometry.motion,
    )
    kernels = ((1, 5), (5, 1)) if geometry.separable_gru else (3,)
    recurrent = raft.RecurrentBlock(
        input_size=geometry.motion + geometry.context[-1] - geometry.hidden,
        hidden_size=geometry.hidden,
        kernel_size=kernels,
        padding=((0, 2), (2, 0)) if geometry.separable_gru else (1,),
    )
    head = raft.FlowHead(in_channels=geometry.hidden, hidden_size=geometry.head)
    upsampling = (
        raft.MaskPredictor(in_channels=geometry.hidden, hidden_size=256) if geometry.convex_upsampling else None
    )
    return raft.RAFT(
        feature_encoder=raft.FeatureEncoder(block=block, layers=geometry.feature, norm_layer=nn.InstanceNorm2d),
        context_encoder=raft.FeatureEncoder(block=block, layers=geometry.context, norm_layer=context_norm),
        corr_block=correlation,
        update_block=raft.UpdateBlock(motion_encoder=motion, recurrent_block=recurrent, flow_head=head),
        mask_predictor=upsampling,
    )


def consecutive_flow(model: raft.RAFT, frames: Tensor, updates: int) -> Tensor:
    """The last flow [m - 1, 2, H, W] from each of the frames [m, 3, H, W], in [-1, 1], to the next one.

    What the model's own forward gives for these pairs, with less work: each picture is encoded once, and only the
    last flow is brought to full size.
    """
    from torchvision.models.optical_flow import raft  # noqa: PLC0415

    maps = model.feature_encoder(frames)
    model.corr_block.build_pyramid(maps[:-1], maps[1:])
    n_hidden = model.update_block.hidden_state_size
    found = model.context_encoder(frames[:-1])
    hidden, context = torch.tanh(found[:, :n_hidden]), functional.relu(found[:, n_hidden:])
    still = raft.make_coords_grid(len(found), *found.shape[-2:]).to(found.device)
    moved = still
    for _ in range(updates):
        looked_up = model.corr_block.index_pyramid(centroids_coords=moved)
        hidden, step = model.update_block(hidden, context, looked_up, moved - still)
        moved = moved + step
    mask = None if model.mask_predictor is None else model.mask_predictor(hidden)
    full_size: Tensor = raft.upsample_flow(flow=moved - still, up_mask=mask)
    return full_size


class FlowCnn(nn.Module):
    """3x3 convolutions with ReLU, then adaptive average pooling to 256 values (paper eq. 5).

    Depth and widths are not public; here three convolutions of stride 2 and a pooling grid of `pool` x `pool` cells
    with 256 / pool^2 channels: 1 is global pooling, 4 keeps where in the picture something moves.
    """

    def __init__(self, pool: int) -> None:
        super().__init__()
        channels = WIDTH // pool**2
        self.pool = pool
        self.conv1 = nn.Conv2d(2, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, channels, 3, stride=2, padding=1)

    def forward(self, flow: Tensor) -> Tensor:
        """flow [B, 2, H, W] in pixels -> [B, 256], ordered channel, row, column."""
        x = functional.relu(self.conv1(flow / FLOW_UNIT_PX))
        x = functional.relu(self.conv2(x))
        x = functional.relu(self.conv3(x))
        return functional.adaptive_avg_pool2d(x, self.pool).flatten(1)


class TrainableFlowCnn(nn.Module):
    """The CNN as a part of the adaptor: flow on its grid [.., 2 G G] -> FlowCnn -> linear map to [.., rank]."""

    def __init__(self, pool: int, rank: int, seed: int) -> None:
        super().__init__()
        self.cnn = FlowCnn(pool)
        seed_weights(self.cnn, seed)
        self.linear = nn.Linear(WIDTH, rank, bias=False)

    def forward(self, flow: Tensor) -> Tensor:
        """[.., 2 G G], ordered direction, row, column -> [.., rank]."""
        grids = flow.reshape(-1, 2, FLOW_GRID, FLOW_GRID)
        rows: Tensor = self.linear(self.cnn(grids)).unflatten(0, flow.shape[:-1])
        return rows


def seed_weights(model: nn.Module, seed: int) -> None:
    """Fill a model with random weights made from a seed: He's normal for convolutions, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 4:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def scale_pixels(frames: Tensor) -> Tensor:
    """uint8 [m, H, W, 3] -> float32 [m, 3, H, W] in [-1, 1]: 2 x / 255 - 1 (facts 5.1)."""
    return frames.movedim(-1, 1).float().mul_(2.0 / 255.0).sub_(1.0)


def pad(frames: Tensor, *, min_side: int, square: bool) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Pad float frames [m, 3, H, W] by replication to multiples of 8, at least `min_side`, symmetric as RAFT's own
    evaluation does it (left and top get the floor half). Returns the frames and (left, right, top, bottom).
    """
    sides = [max(min_side, -(-side // 8) * 8) for side in frames.shape[-2:]]
    if square:
        sides = [max(sides)] * 2
    down, across = (want - have for want, have in zip(sides, frames.shape[-2:], strict=True))
    amounts = (across // 2, across - across // 2, down // 2, down - down // 2)
    return (functional.pad(frames, amounts, mode="replicate") if any(amounts) else frames), amounts
