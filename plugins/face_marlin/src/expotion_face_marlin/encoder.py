"""The encoder: face path, crops of the frames that the windows need, MARLIN, one vector per window."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expotion.contracts import Clip, Encoder, EncoderSpec, Overlay, TimedFeatures, Video, pulled_weights, read_ahead
from expotion.errors import MediaError, Problem, WeightsError
from expotion.machine import multiplies_bfloat16
from expotion.weights import sha256
from expotion_face_marlin import TINY_WEIGHTS, FaceMarlinOptions
from expotion_face_marlin.crops import crop_squares, useful_shorter_side
from expotion_face_marlin.faces import Detector, make_detector, yunet_file
from expotion_face_marlin.geometry import GEOMETRIES, MarlinGeometry
from expotion_face_marlin.loader import build_from_state, load_encoder, read_state
from expotion_face_marlin.model import MarlinEncoder, initialise
from expotion_face_marlin.path import FacePath
from expotion_face_marlin.tracking import find_path, search_side_px
from expotion_face_marlin.windows import place_windows, reference_starts_s, regular_starts_s

FRAMES_AT_ONCE = 64
"""Frames held at full size while they are cropped: bounds the memory for long clips."""

TOKENS_AT_ONCE = 2048
"""Tokens in one forward pass where the options do not say: one window of an official size, 28 of `tiny`. A layer's
activations then stay in a core's caches; two official windows at once take up to a quarter longer each."""


class Standardise(nn.Module):
    """(x - mean) / std for each dimension: the tiny network's features get unit variance over its world."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        out: Tensor = (x - self.mean) / self.std
        return out


class FaceMarlinEncoder(Encoder):
    """`face_marlin`: float32 [n, D], a row per window; invalid where there is no face."""

    def __init__(self, spec: EncoderSpec, options: FaceMarlinOptions) -> None:
        self.spec = spec
        self.options: FaceMarlinOptions = options
        self.geometry: MarlinGeometry = GEOMETRIES[options.geometry]
        self.model, self.head, self._weights_hash = load_network(options)
        self.precision = options.runs_in(multiplies_bfloat16())
        if self.precision == "bfloat16":
            self.model.multiply_in(torch.bfloat16)
        file = yunet_file(options.detector, options.yunet) if options.crop == "face" else None
        self.detector: Detector | None = make_detector(file) if options.crop == "face" else None
        if file is not None:  # another detector sees another square
            digest = hashlib.sha256(self._weights_hash.encode() + file.read_bytes())
            self._weights_hash = digest.hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights file, or the seed."""
        return self._weights_hash

    @property
    def computed_in(self) -> str:
        """The precision of the matrix products where it is left to the machine."""
        return "bfloat16" if self.options.precision == "auto" and self.precision == "bfloat16" else ""

    def extract(self, clip: Clip) -> TimedFeatures:
        """One row per window: see `windows.place_windows` for times, `tracking.find_path` for the face.

        A row is invalid where no face was found nearby or the video is not decodable; its values are 0.
        Raises MediaError for a clip without pictures.
        """
        video = clip.video
        if video is None or not len(video.frame_times_s):
            where = str(clip.path or clip.id)
            fix = "give a video, or leave face_marlin out of the recipe"
            raise MediaError(Problem(where, "a picture for face_marlin", "none", fix))
        n_frames = self.geometry.n_frames
        if self.options.reference_windows:
            starts_s = reference_starts_s(clip.duration_s, n_frames)
        else:
            starts_s = regular_starts_s(clip.duration_s, self.options.window_rate_hz)
        path = self.face_path(video)
        windows = place_windows(
            video, starts_s, n_frames, clip.duration_s, as_reencoded=self.options.reference_windows
        )
        valid = windows.seen.copy()
        if path is not None:
            valid &= path.at(windows.times_s)[2]
        values = np.zeros((len(starts_s), self.geometry.width), dtype=np.float32)
        if valid.any():
            rows = np.flatnonzero(valid)
            values[rows] = self._features(video, windows.frame[rows], path)
        # A decoder may notice only now that frames stop: what it repeated is not a face.
        valid &= windows.times_s < video.decodable_until_s
        values[~valid] = 0.0
        return TimedFeatures(values, windows.times_s, valid)

    def overlay(self, clip: Clip) -> Overlay | None:
        """The tracked face's square, as it is cropped."""
        from expotion_face_marlin.overlay import face_boxes  # noqa: PLC0415 - only for pictures

        video = clip.video
        path = None if video is None else self.face_path(video)
        return None if video is None or path is None else face_boxes(video, path, self.options.margin)

    def face_path(self, video: Video) -> FacePath | None:
        """The face through the clip; None where the whole frame is the crop."""
        if self.detector is None:
            return None
        options = self.options
        return find_path(
            video, self.detector, detect_hz=options.detect_hz, person=options.person, max_gap_s=options.max_gap_s
        )

    def encode(self, crops: NDArray[np.uint8], index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Crops uint8 [m, H, W, 3] and the crops of each window [n, T] -> features float32 [n, D]."""
        pixels = torch.from_numpy(crops)
        with torch.inference_mode():
            chunks = [
                self.head(self.model.pooled_windows(pixels, rows).float())
                for rows in torch.split(torch.from_numpy(index), self.batch_size)
            ]
        return torch.cat(chunks).numpy()

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """The size in which faces are looked for; that of the crops depends on the face."""
        return (search_side_px(video),) if self.detector is not None else (self._frame_side(video, 1.0),)

    @property
    def batch_size(self) -> int:
        """Windows in one forward pass."""
        return self.options.batch_size or max(1, TOKENS_AT_ONCE // self.geometry.n_tokens)

    def _frame_side(self, video: Video, face_side: float) -> int | None:
        """Shorter side of the frames that are cropped; `face_side` is over the frame's shorter side."""
        return useful_shorter_side(
            face_side, max(self.geometry.image_height, self.geometry.image_width), min(video.size)
        )

    def _features(self, video: Video, frame: NDArray[np.int64], path: FacePath | None) -> NDArray[np.float32]:
        """Features [n, D] of windows that see the frames `frame` [n, T].

        Windows go through the network a batch at a time, while the video decodes the frames of the next ones;
        each frame is cropped once, and its crop is kept only while a window still needs it.
        """
        needed = np.unique(frame)
        times_s = video.frame_times_s[needed]
        if path is None:
            centre = np.tile(np.array(video.size[::-1]) / (2 * min(video.size)), (len(times_s), 1))
            side = np.ones(len(times_s))
        else:
            centre, side, _ = path.at(times_s)
            side = side * (1.0 + 2.0 * self.options.margin)
        scale_to = self._frame_side(video, float(np.median(side)))
        read_ahead(video, times_s, shorter_side=scale_to)
        size = (self.geometry.image_height, self.geometry.image_width)
        kept, crops = np.zeros(0, np.int64), np.zeros((0, *size, 3), np.uint8)
        values = []
        for start in range(0, len(frame), self.batch_size):
            seen = frame[start : start + self.batch_size]
            wanted = np.unique(seen)
            known = np.isin(kept, wanted)
            new = np.flatnonzero(np.isin(needed, wanted) & ~np.isin(needed, kept))
            fresh = [crops[known]]
            for first in range(0, len(new), FRAMES_AT_ONCE):
                part = new[first : first + FRAMES_AT_ONCE]
                frames = video.frames_at(times_s[part], shorter_side=scale_to)
                fresh.append(crop_squares(frames, centre[part], side[part], size))
            kept, crops = np.concatenate((kept[known], needed[new])), np.concatenate(fresh)
            order = np.argsort(kept)
            values.append(self.encode(crops, order[np.searchsorted(kept, seen, sorter=order)]))
        return np.concatenate(values)


def load_network(options: FaceMarlinOptions) -> tuple[MarlinEncoder, nn.Module, str]:
    """Frozen encoder in eval mode, what standardises its output (official sizes: nothing), weights hash."""
    geometry = GEOMETRIES[options.geometry]
    if options.weights_seed is not None:
        model = MarlinEncoder(geometry)
        initialise(model, options.weights_seed)
        return model.requires_grad_(False).eval(), nn.Identity(), f"seed-{options.weights_seed}"
    official = f"marlin_vit_{options.geometry}_ytf"
    if options.geometry != "tiny":
        file = options.weights or pulled_weights(official)
        if file is None:
            where = f"face_marlin options: geometry={options.geometry}"
            fix = (
                f"run `expotion models pull {official}`, or set `weights` to the official file (MARLIN's weights "
                "are CC-BY-NC-4.0, not for commercial use), or use geometry=tiny, whose weights are in the package"
            )
            raise WeightsError(Problem(where, f"a file {official}.encoder.pt", "none", fix))
        return load_encoder(file, geometry), nn.Identity(), sha256(file)
    path = options.weights or TINY_WEIGHTS
    model, head = build_tiny(read_state(path), str(path))
    return model, head, sha256(path)


def build_tiny(state: Mapping[str, Tensor], where: str) -> tuple[MarlinEncoder, nn.Module]:
    """Our own small network: official encoder keys plus `output.mean` and `output.std` [D]."""
    geometry = GEOMETRIES["tiny"]
    head = Standardise(geometry.width)
    statistics = {key: state.get(f"output.{key}") for key in ("mean", "std")}
    for key, value in statistics.items():
        if value is None or value.shape != (geometry.width,):
            got = "no such key" if value is None else str(tuple(value.shape))
            raise WeightsError(Problem(f"{where} output.{key}", f"shape ({geometry.width},)", got))
        getattr(head, key).copy_(value)
    encoder_state = {key: value for key, value in state.items() if not key.startswith("output.")}
    geometry = replace(geometry)
    model = build_from_state(encoder_state, geometry, where=where)
    if not isinstance(model, MarlinEncoder):
        raise WeightsError(Problem(where, "an encoder without decoder for geometry=tiny", "a full autoencoder"))
    return model, head.eval()
