"""The encoder: a clip in, one row of features per tubelet out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expotion.contracts import Clip, Encoder, Overlay, TimedFeatures, Video, pulled_weights, read_ahead
from expotion.errors import MediaError, Problem, WeightsError
from expotion.machine import multiplies_bfloat16
from expotion_motion_synchformer import OFFICIAL, SPEC, loader, segments
from expotion_motion_synchformer.model import scale_pixels, seeded
from expotion_motion_synchformer.options import GEOMETRIES, Geometry, SynchformerOptions

GREY = 128
"""Value of the padding beside a frame that is not square."""

HAIR_S = 1e-6
"""Frames are asked for this much after their timestamps, so that rounding never gives the frame before."""


class SynchformerEncoder(Encoder):
    """Synchformer's visual encoder, frozen. Rows [n, D] at `options.rate_hz`; D is 96 (tiny) or 768 (base)."""

    options: SynchformerOptions

    def __init__(self, options: SynchformerOptions | None = None) -> None:
        """Build the model and read its weights. Raises WeightsError where they are missing or do not fit."""
        self.spec = SPEC
        self.options = options or SynchformerOptions()
        self.geometry = GEOMETRIES[self.options.geometry]
        loaded = _load(self.options, self.geometry)
        self._weights_hash = loaded.sha256
        self.mean, self.std = loaded.mean, loaded.std
        self.device = torch.device(self.options.device)
        self.precision = self.options.runs_in(multiplies_bfloat16(self.device))
        if self.precision == "bfloat16":
            loaded.model.multiply_in(torch.bfloat16)
        self.model = loaded.model.to(self.device).eval().requires_grad_(False)

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights file, or of what the seeded weights are made from."""
        return self._weights_hash

    @property
    def computed_in(self) -> str:
        """The precision of the matrix products where it is left to the machine."""
        return "bfloat16" if self.options.precision == "auto" and self.precision == "bfloat16" else ""

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """The one size in which frames are asked for."""
        return (shorter_side_px(video, self.geometry),)

    def overlay(self, clip: Clip) -> Overlay | None:
        """The picture's motion on a coarse grid."""
        from expotion_motion_synchformer.overlay import flow_overlay  # noqa: PLC0415 - only for pictures

        note = "DIS flow of pictures 0.08 s apart; motion_synchformer itself sees pictures, not flow"
        return None if clip.video is None else flow_overlay(clip.video, note)

    def extract(self, clip: Clip) -> TimedFeatures:
        """Features of the whole clip; rows at the centres of their tubelets (see `segments`).

        Raises MediaError for a clip without a picture. A video of one frame gives rows that are all invalid.
        """
        video = clip.video
        if video is None or len(video.frame_times_s) == 0:
            raise MediaError(
                Problem(
                    clip.id, "a clip with a picture for motion_synchformer", "none", "drop the motion condition"
                )
            )
        options, geometry = self.options, self.geometry
        plan = segments.plan_segments(
            clip.duration_s,
            fps=options.fps,
            frames=geometry.frames,
            tubelet=geometry.tubelet,
            step=options.step_frames,
            windows=options.windows,
        )
        values, ticks = segments.merge_rows(self._rows(video, plan), plan, overlap=options.overlap)
        times_s = segments.tick_times_s(ticks, options.fps)
        inside = times_s < max(clip.duration_s, times_s[0] + 1e-9)
        values, times_s = values[inside], times_s[inside]
        valid = segments.rows_valid(
            times_s,
            frame_times_s=video.frame_times_s,
            decodable_until_s=video.decodable_until_s,
            row_s=geometry.tubelet / options.fps,
        )
        return TimedFeatures(values=values, times_s=times_s, valid=valid)

    def _rows(self, video: Video, plan: segments.Segments) -> NDArray[np.float32]:
        """Run the segments in batches. Returns float32 [S, t, D]; at most one batch of pictures is held."""
        out: list[NDArray[np.float32]] = []
        times_s = plan.sample_times_s
        between = self.options.between or self.geometry.between
        used_s = video.frame_times_s[frames_around(video, np.unique(times_s), between)[0]]
        read_ahead(video, used_s + HAIR_S, shorter_side=shorter_side_px(video, self.geometry))
        at_once = self.options.segments_at_once
        for start in range(0, len(times_s), at_once):
            chunk = times_s[start : start + at_once]
            unique_s, index = np.unique(chunk, return_inverse=True)
            pictures = pictures_at(video, unique_s, self.geometry, between=between)
            looked = seen(pictures[torch.from_numpy(index.reshape(chunk.shape))], self.geometry)
            out.append(self.embed(looked).numpy())
        return np.concatenate(out)

    @torch.inference_mode()
    def embed(self, pictures: Tensor) -> Tensor:
        """Segments of pictures uint8 [B, F, H, W, 3] -> standardised rows float32 [B, t, D] on the CPU."""
        frames = scale_pixels(pictures.to(self.device)).transpose(1, 2)  # [B, 3, F, H, W]
        rows: Tensor = self.model(frames)
        rows = rows.float().cpu()
        if self.mean is not None and self.std is not None:
            rows = (rows - self.mean) / self.std
        return rows


def seen(pictures: Tensor, geometry: Geometry) -> Tensor:
    """What is seen of segments of pictures uint8 [B, F, P, P, 3]: uint8 [B, F, image, image, 3]."""
    if geometry.look is None:
        return pictures
    from expotion_motion_synchformer.place import look_at, moving_square  # noqa: PLC0415 - OpenCV, for this only

    parts = [look_at(one, moving_square(one), geometry.image) for one in pictures.numpy()]
    return torch.from_numpy(np.stack(parts))


def pictures_at(
    video: Video, times_s: NDArray[np.float64], geometry: Geometry, *, between: Literal["blend", "nearest"]
) -> Tensor:
    """Pictures at these times, uint8 [m, P, P, 3], P the geometry's `frame_px`; see `segments.around`."""
    used, index, weight = frames_around(video, times_s, between)
    frames = fetch(video, video.frame_times_s[used] + HAIR_S, geometry)
    first, second = (frames[torch.from_numpy(part)] for part in np.split(index, 2))
    if between == "nearest":
        return first
    share = torch.from_numpy(weight)[:, None, None, None]
    return torch.lerp(first.float(), second.float(), share).round_().byte()


def frames_around(
    video: Video, times_s: NDArray[np.float64], between: Literal["blend", "nearest"]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Frames that the pictures at these times are made of, increasing int64 [f]; where in them the frames before
    and after each time are, int64 [2 m]; the weight of the latter, float32 [m].
    """
    before, after, weight = segments.around(video.frame_times_s, times_s, between=between)
    used, index = np.unique(
        np.concatenate((np.where(weight < 1.0, before, after), np.where(weight > 0.0, after, before))),
        return_inverse=True,
    )
    return used, index, weight


def shorter_side_px(video: Video, geometry: Geometry) -> int:
    """Shorter side in which frames are asked for: the official one, or what fits the frame into the square."""
    if geometry.resize is not None:
        return geometry.resize
    height, width = video.size
    return max(1, round(geometry.frame_px * min(height, width) / max(height, width)))


def fetch(video: Video, times_s: NDArray[np.float64], geometry: Geometry) -> Tensor:
    """Frames at these times, uint8 [m, P, P, 3], P the geometry's `frame_px`.

    With `geometry.resize` as the reference does: shorter side to it, then the centre crop. Without, the whole frame
    is fitted into the square and padded with grey.
    """
    size = geometry.frame_px
    frames = torch.from_numpy(video.frames_at(times_s, shorter_side=shorter_side_px(video, geometry)))
    if geometry.resize is not None:
        top, left = (round((side - size) / 2) for side in frames.shape[1:3])
        return frames[:, top : top + size, left : left + size]
    height, width = frames.shape[1:3]
    if max(height, width) > size:  # the aspect may round to one pixel more than the square
        frames = frames[:, :size, :size]
        height, width = frames.shape[1:3]
    top, left = (size - height) // 2, (size - width) // 2
    pads = (0, 0, left, size - width - left, top, size - height - top)
    return functional.pad(frames, pads, value=GREY) if any(pads) else frames


def _load(options: SynchformerOptions, geometry: Geometry) -> loader.Loaded:
    if options.weights == "seeded":
        text = f"seeded {options.seed} {geometry}"
        return loader.Loaded(seeded(geometry, options.seed), None, None, hashlib.sha256(text.encode()).hexdigest())
    if options.weights is not None:
        return loader.load(options.weights.expanduser(), geometry)
    if options.geometry == "tiny":
        return loader.load(loader.SHIPPED, geometry)
    if options.geometry == "tiny_moving":
        fix = "set `weights` to a file that plugins/motion_synchformer/train/tiny.py wrote"
        raise WeightsError(Problem("motion_synchformer: weights", "a file for geometry 'tiny_moving'", "none", fix))
    file = pulled_weights(OFFICIAL)
    if file is not None:
        return loader.load(file, geometry)
    raise WeightsError(
        Problem(
            "motion_synchformer: weights",
            f"a checkpoint for geometry {options.geometry!r}",
            "none",
            f"run `expotion models pull {OFFICIAL}`, or set `weights` to a downloaded Synchformer checkpoint "
            "(sync or stage I), or to 'seeded' to try it",
        )
    )
