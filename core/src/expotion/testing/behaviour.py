"""Checks of how an encoder behaves: repeatable, frozen, alike at every frame rate, calm about bad clips."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError
from expotion.testing.clips import moving_shapes
from expotion.testing.subject import Failed, NotApplicable, Subject

QUICK_FPS: tuple[float | None, ...] = (12.0, None)
FULL_FPS: tuple[float | None, ...] = (12.0, 24.0, 25.0, 30_000 / 1001, None)
REFERENCE_FPS = 60.0
MAX_RELATIVE_DISTANCE = 0.5
"""The same motion at another frame rate must be at most half as far away as another motion is."""


def two_calls_agree(subject: Subject) -> str:
    """Two calls give the same bits."""
    first, second = subject.features, subject.encoder.extract(subject.clip)
    same = first.values.tobytes() == second.values.tobytes()
    if isinstance(first, TimedFeatures) and isinstance(second, TimedFeatures):
        same = same and first.times_s.tobytes() == second.times_s.tobytes()
        same = same and first.valid.tobytes() == second.valid.tobytes()
    if not same:
        fix = "seed what is random, and build the model with .eval()"
        raise Failed("two calls on the same clip differ", fix)
    return "two calls are bit equal"


def nothing_is_trained(subject: Subject) -> str:
    """Parameters ask for no gradient, models are in evaluation mode, and extracting changes nothing."""
    encoder = subject.encoder
    modules = list(_modules(encoder))
    before = _digest(modules)
    hash_before = encoder.weights_hash
    encoder.extract(subject.clip)
    if _digest(modules) != before or encoder.weights_hash != hash_before:
        raise Failed("extracting changed the weights", "run the model under torch.no_grad() and .eval()")
    asking = sum(parameter.requires_grad for module in modules for parameter in module.parameters())
    if asking:
        raise Failed(f"{asking} parameters ask for gradients", "call model.requires_grad_(False) in build")
    if any(module.training for module in modules):
        raise Failed("a model is in training mode", "call model.eval() in build")
    shipped = any(weights.source != "seeded" for weights in subject.spec.weights(subject.options))
    if shipped and not encoder.weights_hash:
        fix = "return a digest of the weights in use"
        raise Failed("weights_hash is empty although weights are announced", fix)
    n_parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
    return f"{n_parameters:,} parameters, all frozen"


def _modules(encoder: object) -> Iterator[Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    for value in vars(encoder).values() if hasattr(encoder, "__dict__") else ():
        if isinstance(value, torch.nn.Module):
            yield value


def _digest(modules: list[Any]) -> str:
    digest = hashlib.sha256()
    for module in modules:
        for tensor in module.state_dict().values():
            flat = tensor.detach().cpu().reshape(-1).contiguous()
            digest.update(flat.view(sys.modules["torch"].uint8).numpy().tobytes())
    return digest.hexdigest()


def frame_rate_does_not_matter(subject: Subject) -> str:
    """The same motion at other frame rates gives nearly the same track; measured against another motion."""
    if "video" not in subject.spec.needs:
        raise NotApplicable("the encoder does not look at video")
    duration_s = 2.0
    at_s = timeline.step_times_s(timeline.n_steps(duration_s, 50.0), 50.0)
    reference, reference_valid = _rows(subject, subject.synthetic(duration_s, REFERENCE_FPS), at_s)
    if not reference_valid.any():
        raise NotApplicable("nothing valid is seen in the synthetic clip; give `scene`")
    other_scene = moving_shapes(beat_hz=2.1, direction_rad=0.4)
    if subject.scene is not None:
        # Another motion of the same scene: it runs backwards, faster.
        scene = subject.scene
        other_scene = lambda time_s: scene(duration_s - 0.7 * time_s)  # noqa: E731
    other, other_valid = _rows(subject, subject.synthetic(duration_s, REFERENCE_FPS, scene=other_scene), at_s)
    scale = _distance(other, reference, other_valid & reference_valid)
    if scale <= 1e-6:
        raise NotApplicable("the features do not tell one synthetic motion from another")
    worst, worst_name = 0.0, ""
    for fps in FULL_FPS if subject.full else QUICK_FPS:
        name = "a variable rate" if fps is None else f"{fps:.4g} fps"
        rows, valid = _rows(subject, subject.synthetic(duration_s, fps), at_s)
        common = valid & reference_valid
        if common.sum() < 0.5 * reference_valid.sum():
            raise Failed(f"at {name} most of the track is invalid", "choose frames by time, not by number")
        distance = _distance(rows, reference, common) / scale
        if distance > worst:
            worst, worst_name = distance, name
    if worst > MAX_RELATIVE_DISTANCE:
        raise Failed(
            f"at {worst_name} the track is {worst:.2f} as far from the one at 60 fps as another motion's",
            "take frames by clip.video.frames_at at times of your own, and divide by seconds, not frames",
        )
    return f"at most {worst:.2f} of the distance to another motion" + (f" ({worst_name})" if worst_name else "")


def _rows(subject: Subject, clip: Clip, at_s: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    features = subject.encoder.extract(clip)
    if not isinstance(features, TimedFeatures):
        raise NotApplicable("token features have no time")
    smooth = subject.encoder.smooth(features, at_s)
    return smooth.values, smooth.valid


def _distance(first: NDArray[np.float32], second: NDArray[np.float32], rows: NDArray[np.bool_]) -> float:
    if not rows.any():
        return 0.0
    return float(np.sqrt(np.mean((first[rows].astype(np.float64) - second[rows]) ** 2)))


def one_frame(subject: Subject) -> str:
    """A clip with a single frame."""
    if "video" not in subject.spec.needs:
        raise NotApplicable("the encoder does not look at video")
    return _copes(subject, subject.synthetic(n_frames=1))


def very_short(subject: Subject) -> str:
    """A clip of 60 ms."""
    return _copes(subject, subject.synthetic(duration_s=0.06))


def missing_parts(subject: Subject) -> str:
    """A clip without what the encoder needs."""
    without: dict[str, dict[str, Any]] = {
        "video": {"n_frames": 0},
        "audio": {"with_audio": False},
        "text": {"caption": None},
        "file": {"tracks": {}},
    }
    found = [
        f"without {need}: {_copes(subject, subject.synthetic(**without[need]))}"
        for need in sorted(subject.spec.needs)
        if need in without
    ]
    if not found:
        raise NotApplicable("the encoder announces that it needs nothing")
    return "; ".join(found)


COST_CLIP_S = 4.0
MAX_COST = 100.0
"""Processor seconds for each second of a small clip from which something is taken to be wrong."""


def cost_is_bearable(subject: Subject) -> str:
    """Processor time and memory for a small clip: a report, and a fault only where it is absurd."""
    clip = subject.synthetic(COST_CLIP_S)
    before = _peak_mib()
    started = time.process_time()
    subject.encoder.extract(clip)
    per_second = (time.process_time() - started) / COST_CLIP_S
    if per_second > MAX_COST:
        raise Failed(
            f"{per_second:.0f} s of processor time for each second of a 96-pixel clip",
            "look at fewer pictures, or at smaller ones (`frames_at(.., shorter_side=..)`)",
        )
    grown = _peak_mib() - before
    return f"{per_second:.2g} s of processor time per second of clip, {grown:.0f} MiB more than built"


def _peak_mib() -> float:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _copes(subject: Subject, clip: Clip) -> str:
    """Features of the right width, perhaps none or invalid ones, or an ExpotionError: nothing else."""
    try:
        features = subject.encoder.extract(clip)
    except ExpotionError as error:
        return f"refused: {error.problems[0]}"
    if not isinstance(features, (TimedFeatures, TokenFeatures)):
        fix = "return features, or raise an ExpotionError"
        raise Failed(f"extract returned {type(features).__name__}", fix)
    width = subject.spec.width(subject.options)
    if features.values.ndim != 2 or features.values.shape[1] != width:
        fix = f"keep the width {width} even where there are no samples"
        raise Failed(f"values are {features.values.shape}", fix)
    if isinstance(features, TokenFeatures):
        return f"{len(features.values)} tokens"
    return f"{len(features.times_s)} samples, {features.coverage:.0%} valid"
