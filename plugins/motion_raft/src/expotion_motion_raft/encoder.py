"""The encoder: a clip in, 256 values per pair of pictures out."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.optical_flow.raft import RAFT

from expotion.contracts import Clip, Encoder, TimedFeatures, Video, pulled_weights
from expotion.errors import MediaError, Problem, WeightsError
from expotion_motion_raft import SPEC, loader
from expotion_motion_raft.model import FlowCnn, build_raft, pad, scale_pixels, seed_weights
from expotion_motion_raft.options import GEOMETRIES, WIDTH, Geometry, RaftOptions
from expotion_motion_raft.pairs import plan_pairs


class RaftEncoder(Encoder):
    """RAFT (or DIS) flow of consecutive pictures through a frozen CNN. Rows [n, 256], midway between two
    pictures.
    """

    options: RaftOptions

    def __init__(self, options: RaftOptions | None = None) -> None:
        """Build the models and read their weights. Raises WeightsError where they are missing or do not fit."""
        self.spec = SPEC
        self.options = options or RaftOptions()
        self.geometry = GEOMETRIES[self.options.geometry]
        self.device = torch.device(self.options.device)
        self.raft: RAFT | None = None
        hashes: list[str] = [self.options.method]
        if self.options.method == "raft":
            self.raft, digest = _load_raft(self.options, self.geometry)
            self.raft.to(self.device).eval().requires_grad_(False)
            hashes.append(digest)
        self.cnn, self.mean, self.std, digest = _load_cnn(self.options, self.geometry)
        self.cnn.to(self.device).eval().requires_grad_(False)
        hashes.append(digest)
        self._weights_hash = hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the digests of all weights in use."""
        return self._weights_hash

    def extract(self, clip: Clip) -> TimedFeatures:
        """Features of the whole clip.

        A video of one picture has no flow: one row, not valid. Rows whose second picture could not be decoded, and
        pairs across a long gap in the timestamps, are not valid. Raises MediaError for a clip without a picture.
        """
        video = clip.video
        if video is None or len(video.frame_times_s) == 0:
            raise MediaError(
                Problem(clip.id, "a clip with a picture for motion_raft", "none", "drop the motion condition")
            )
        pairs = plan_pairs(video.frame_times_s, clip.duration_s, self.options.pairs_per_s)
        if len(pairs.times_s) == 0:
            nothing = np.zeros((1, WIDTH), dtype=np.float32)
            return TimedFeatures(nothing, pairs.frame_times_s[:1].copy(), np.zeros(1, dtype=np.bool_))
        rows = []
        for start in range(0, len(pairs.times_s), self.options.batch_size):
            stop = min(start + self.options.batch_size, len(pairs.times_s))
            pictures = self.pictures(video, pairs.frame_times_s[start : stop + 1])
            scale = torch.from_numpy(pairs.scale[start:stop]).float().view(-1, 1, 1, 1)
            rows.append(self.describe(self.flow(pictures) * scale))
        values, times_s = np.concatenate(rows), pairs.times_s
        valid = pairs.near & (pairs.frame_times_s[1:] < video.decodable_until_s)
        if self.options.last == "repeat":
            values = np.concatenate((values, values[-1:]))
            times_s = np.append(times_s, times_s[-1] + 1.0 / self.options.pairs_per_s)
            valid = np.append(valid, valid[-1])
        return TimedFeatures(values=values, times_s=times_s, valid=valid)

    def pictures(self, video: Video, times_s: NDArray[np.float64]) -> Tensor:
        """Frames with these timestamps in the working size, uint8 [m, H, W, 3] (not padded yet)."""
        height, width = video.size
        side = self.geometry.side
        if self.geometry.square:
            side = max(1, round(side * min(height, width) / max(height, width)))
        # A hair after the timestamp, so that rounding never gives the frame before it.
        return torch.from_numpy(video.frames_at(times_s + 1e-6, shorter_side=side))

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
        frames = frames.to(self.device)
        found: Tensor = self.raft(frames[:-1], frames[1:], num_flow_updates=self.options.updates)[-1].cpu()
        if self.geometry.square:
            return found
        return found[..., top : found.shape[-2] - bottom, left : found.shape[-1] - right]

    @torch.inference_mode()
    def describe(self, flow: Tensor) -> NDArray[np.float32]:
        """Flow float32 [b, 2, H, W] -> standardised rows float32 [b, 256]."""
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
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
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
        loader.fill(model, loader.to_torchvision(loader.read_file(path)), str(path))
        return model, loader.digest(path)
    raise WeightsError(
        Problem(
            "motion_raft: weights",
            f"a RAFT file for geometry {options.geometry!r}",
            "none",
            f"run `expotion models pull {official}`, or set `weights` to princeton's or torchvision's file, "
            "or to 'seeded' to try the sizes, or `flow: dis`",
        )
    )


def _load_cnn(options: RaftOptions, geometry: Geometry) -> tuple[FlowCnn, Tensor | None, Tensor | None, str]:
    """The flow CNN, its rows' mean and standard deviation where the file has them, and a digest."""
    model = FlowCnn(geometry.pool)
    if options.cnn_is_seeded:
        seed_weights(model, options.seed)
        return model, None, None, f"cnn pool {geometry.pool} seed {options.seed}"
    path = loader.SHIPPED if options.cnn is None else Path(options.cnn).expanduser()
    # DIS and RAFT flows differ in kind, so each has its own trained CNN in the file.
    state = loader.part(loader.read_file(path), f"cnn_{options.method}.")
    mean, std = state.pop("output.mean", None), state.pop("output.std", None)
    loader.fill(model, state, f"{path}: cnn_{options.method}")
    return (
        model,
        None if mean is None else mean.float(),
        None if std is None else std.float(),
        loader.digest(path),
    )
