"""MediaPipe's pose landmarker on the frames of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expotion.contracts import Video
from expotion.errors import PluginError, Problem, WeightsError
from expotion_pose import MODEL_URL
from expotion_pose.results import N_LANDMARKS, Landmarks


def check_model(model: Path | None) -> Path:
    """The model's file. Raises WeightsError that says where to get it."""
    if model is not None and model.expanduser().is_file():
        return model.expanduser()
    raise WeightsError(
        Problem(
            "pose options.model",
            "the file pose_landmarker_lite.task",
            "nothing" if model is None else f"no file {model}",
            f"download it once: {MODEL_URL}",
        )
    )


def detect(video: Video, model: Path, rate_hz: float) -> Landmarks:
    """Landmarks at the times of the video's own frames, at most about `rate_hz` of them per second."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        fix = "install it: pip install 'expotion-pose[mediapipe]'"
        raise PluginError(Problem("encoder pose", "mediapipe", str(error), fix)) from error

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO
    )
    times_s = thinned(video.frame_times_s, rate_hz)
    points = np.zeros((len(times_s), N_LANDMARKS, 3))
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        for row, time_s in enumerate(times_s):
            frame = np.ascontiguousarray(video.frames_at(np.array([time_s]))[0])
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
            result = landmarker.detect_for_video(image, round(time_s * 1000))
            for person in result.pose_landmarks[:1]:
                points[row] = [[p.x, p.y, p.visibility or 0.0] for p in person]
    return Landmarks(times_s, points)


def thinned(frame_times_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Frame times with no two closer than nine tenths of a period: the frames' own, never made up."""
    kept: list[float] = []
    for time_s in frame_times_s:
        if not kept or time_s - kept[-1] >= 0.9 / rate_hz:
            kept.append(float(time_s))
    return np.array(kept)
