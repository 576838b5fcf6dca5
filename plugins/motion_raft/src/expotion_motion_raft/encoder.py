"""The encoder: a clip in, 256 values (or the flow itself) per pair of pictures out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expotion import weights
from expotion.contracts import Clip, Encoder, Overlay, TimedFeatures, Video, pulled_weights, read_ahead
from expotion.errors import MediaError, Problem, WeightsError
from expotion_motion_raft import DIS_SPEC, RAFT_SPEC, loader
from expotion_motion_raft.model import (
    FlowCnn,
    TrainableFlowCnn,
    build_raft,
    consecutive_flow,
    pad,
    scale_pixels,
    seed_weights,
)
from expotion_motion_raft.options import FLOW_GRID, FlowOptions, Geometry, RaftOptions
from expotion_motion_raft.pairs import Rows, plan_rows

if TYPE_CHECKING:
    from torchvision.models.optical_flow.raft import RAFT

HAIR_S = 1e-6
"""Frames are asked for this much after their timestamps, so that rounding never gives the frame before."""


class FlowEncoder(Encoder):
    """RAFT (or DIS) flow between two pictures through a frozen CNN. Rows [n, 256], midway between the two; with
    a trainable CNN the flow itself on its grid, [n, 2048].
    """

    options: FlowOptions

    def __init__(self, options: FlowOptions) -> None:
        """Build the models and read their weights. Raises WeightsError where they are missing or do not fit."""
        self.spec = RAFT_SPEC if isinstance(options, RaftOptions) else DIS_SPEC
        self.options = options
        self.geometry = options.sizes
        self.device = torch.device(self.options.device)
        self.raft: RAFT | None = None
        hashes: list[str] = [options.method]
        if isinstance(options, RaftOptions):
            self.raft, digest = _load_raft(options, self.geometry)
            self.raft.to(self.device).eval().requires_grad_(False)
            hashes.append(digest)
        self.cnn: FlowCnn | None = None
        self.mean = self.std = None
        if not self.options.cnn_is_trainable:
            self.cnn, self.mean, self.std, digest = _load_cnn(self.options, self.geometry)
            self.cnn.to(self.device).eval().requires_grad_(False)
            hashes.append(digest)
        self._weights_hash = hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the digests of all weights in use."""
        return self._weights_hash

    def overlay(self, clip: Clip) -> Overlay | None:
        """The picture's motion on a coarse grid."""
        from expotion_motion_raft.overlay import flow_overlay  # noqa: PLC0415 - only for pictures

        note = "DIS flow of pictures 0.08 s apart, as a rough picture of the motion"
        return None if clip.video is None else flow_overlay(clip.video, note)

    def extract(self, clip: Clip) -> TimedFeatures:
        """Features of the whole clip.

        A video of one picture has no flow: one row, not valid. Rows whose second picture could not be decoded, and
        pairs across a long gap in the timestamps, are not valid. Raises MediaError for a clip without a picture.
        """
        video = clip.video
        if video is None or len(video.frame_times_s) == 0:
            raise MediaError(
                Problem(clip.id, f"a clip with a picture for {self.spec.name}", "none", "drop the motion condition")
            )
        options = self.options
        rows = plan_rows(video.frame_times_s, clip.duration_s, options.pairs_per_s, options.seconds_apart)
        if len(rows.times_s) == 0:
            nothing = np.zeros((1, options.width), dtype=np.float32)
            return TimedFeatures(nothing, rows.frame_times_s[:1].copy(), np.zeros(1, dtype=np.bool_))
        values, times_s = self._describe_rows(video, rows), rows.times_s
        valid = rows.near & (rows.frame_times_s[rows.last + 1] < video.decodable_until_s)
        if options.last == "repeat" and options.seconds_apart > 1.0 / options.pairs_per_s - 1e-9:
            values = np.concatenate((values, values[-1:]))
            times_s = np.append(times_s, times_s[-1] + 1.0 / self.options.pairs_per_s)
            valid = np.append(valid, valid[-1])
        return TimedFeatures(values=values, times_s=times_s, valid=valid)

    def _describe_rows(self, video: Video, rows: Rows) -> NDArray[np.float32]:
        """Features [n, D], a batch of rows at a time; each flow is computed once and kept while a row needs it."""
        read_ahead(video, rows.frame_times_s + HAIR_S, shorter_side=self._shorter_side(video))
        values, flows, known = [], torch.zeros(0), 0  # `flows` holds those from number `known` on
        for start in range(0, len(rows.times_s), self.options.batch_size):
            stop = min(start + self.options.batch_size, len(rows.times_s))
            first, end = int(rows.first[start]), int(rows.last[stop - 1]) + 1
            begin = min(known + len(flows), end) if len(flows) else first
            if begin < end:
                new = self.flow(self.pictures(video, rows.frame_times_s[begin : end + 1]))
                new = new * torch.from_numpy(rows.scale[begin:end]).float().view(-1, 1, 1, 1)
                flows = torch.cat((flows[first - known :], new)) if len(flows) else new
                known = first
            means = []
            for row in range(start, stop):
                part = flows[rows.first[row] - known : rows.last[row] + 1 - known]
                means.append(torch.einsum("j,jcyx->cyx", torch.from_numpy(rows.weights(row)).float(), part))
            values.append(self.describe(torch.stack(means)))
        return np.concatenate(values)

    def pictures(self, video: Video, times_s: NDArray[np.float64]) -> Tensor:
        """Frames with these timestamps in the working size, uint8 [m, H, W, 3] (not padded yet)."""
        return torch.from_numpy(video.frames_at(times_s + HAIR_S, shorter_side=self._shorter_side(video)))

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """The one size in which frames are asked for."""
        return (self._shorter_side(video),)

    def project(self, d_in: int, rank: int) -> nn.Module:
        """A linear map; where the CNN is trainable, the CNN before it (the flow is smoothed, then described)."""
        if self.options.cnn_is_trainable:
            return TrainableFlowCnn(self.geometry.pool, rank, self.options.seed)
        return super().project(d_in, rank)

    def _shorter_side(self, video: Video) -> int:
        side = self.geometry.side
        if self.geometry.square:
            side = max(1, round(side * min(video.size) / max(video.size)))
        return side

    @torch.inference_mode()
    def flow(self, pictures: Tensor) -> Tensor:
        """Consecutive pictures uint8 [m, H, W, 3] -> flow float32 [m - 1, 2, H', W'] on the CPU, in pixels
        (dx, dy).

        H' and W' include the padding for the square geometry, whose CNN knows places in the picture by it;
        otherwise the padding is cut away again.
        """
        frames, (left, right, top, bottom) = pad(
            scale_pixels(pictures), min_side=self.geometry.min_side, square=self.geometry.square
        )
        if self.raft is None:
            return dis_flow(((frames + 1.0) * 127.5).round().byte())
        assert isinstance(self.options, RaftOptions)
        found = consecutive_flow(self.raft, frames.to(self.device), self.options.updates).cpu()
        if self.geometry.square:
            return found
        return found[..., top : found.shape[-2] - bottom, left : found.shape[-1] - right]

    @torch.inference_mode()
    def describe(self, flow: Tensor) -> NDArray[np.float32]:
        """Flow float32 [b, 2, H, W] -> standardised rows float32 [b, 256], or the flow's grid as rows."""
        if self.cnn is None:
            return functional.adaptive_avg_pool2d(flow, FLOW_GRID).flatten(1).numpy()
        rows: Tensor = self.cnn(flow.to(self.device)).float().cpu()
        if self.mean is not None and self.std is not None:
            rows = (rows - self.mean) / self.std
        return rows.numpy()


def dis_flow(frames: Tensor) -> Tensor:
    """OpenCV's DIS optical flow (Kroeger 2016, medium preset) of consecutive frames uint8 [m, 3, H, W]:
    float32 [m - 1, 2, H, W].
    """
    import cv2  # noqa: PLC0415 - only this option needs it

    grey = [cv2.cvtColor(frame.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for frame in frames]
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = [method.calc(first, second, None) for first, second in pairwise(grey)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float()


def _load_raft(options: RaftOptions, geometry: Geometry) -> tuple[RAFT, str]:
    model = build_raft(geometry)
    if options.raft_is_seeded:
        seed_weights(model, options.seed)
        return model, f"raft {options.geometry} seed {options.seed}"
    official = f"raft_{options.geometry}_things"
    file = pulled_weights(official) if options.weights is None else Path(options.weights)
    if file is not None:
        path = file.expanduser()
        weights.fill(model, loader.to_torchvision(loader.read_file(path)), str(path))
        return model, weights.sha256(path)
    raise WeightsError(
        Problem(
            "motion_raft: weights",
            f"a RAFT file for geometry {options.geometry!r}",
            "none",
            f"run `expotion models pull {official}`, or set `weights` to princeton's or torchvision's file, "
            "or to 'seeded' to try the sizes, or take the encoder motion_dis",
        )
    )


def _load_cnn(options: FlowOptions, geometry: Geometry) -> tuple[FlowCnn, Tensor | None, Tensor | None, str]:
    """The flow CNN, its rows' mean and standard deviation where the file has them, and a digest."""
    model = FlowCnn(geometry.pool)
    if options.cnn_is_seeded:
        seed_weights(model, options.seed)
        return model, None, None, f"cnn pool {geometry.pool} seed {options.seed}"
    path = loader.SHIPPED if options.cnn is None else Path(options.cnn).expanduser()
    # DIS and RAFT flows differ in kind, so each has its own trained CNN in the file.
    state = loader.part(loader.read_file(path), f"cnn_{options.method}.")
    mean, std = state.pop("output.mean", None), state.pop("output.std", None)
    weights.fill(model, state, f"{path}: cnn_{options.method}")
    return (
        model,
        None if mean is None else mean.float(),
        None if std is None else std.float(),
        weights.sha256(path),
    )
