"""MediaPipe's face landmarker on the frames of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expotion.contracts import Video
from expotion.errors import PluginError, Problem, WeightsError
from expotion_gaze import CHANNELS, MODEL_URL
from expotion_gaze.results import Gazes, describe


def check_model(model: Path | None) -> Path:
    """The model's file. Raises WeightsError that says where to get it."""
    if model is not None and model.expanduser().is_file():
        return model.expanduser()
    raise WeightsError(
        Problem(
            "gaze options.model",
            "the file face_landmarker.task",
            "nothing" if model is None else f"no file {model}",
            f"download it once: {MODEL_URL}",
        )
    )


def detect(video: Video, model: Path, rate_hz: float) -> Gazes:
    """Gazes at the times of the video's own frames, at most about `rate_hz` of them per second."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        fix = "install it: pip install 'expotion-gaze[mediapipe]'"
        raise PluginError(Problem("encoder gaze", "mediapipe", str(error), fix)) from error

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    times_s = thinned(video.frame_times_s, rate_hz)
    values, seen = np.zeros((len(times_s), len(CHANNELS))), np.zeros(len(times_s), bool)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for row, time_s in enumerate(times_s):
            frame = np.ascontiguousarray(video.frames_at(np.array([time_s]))[0])
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
            result = landmarker.detect_for_video(image, round(time_s * 1000))
            if result.facial_transformation_matrixes and result.face_blendshapes:
                scores = {shape.category_name: shape.score for shape in result.face_blendshapes[0]}
                values[row] = describe(np.asarray(result.facial_transformation_matrixes[0], np.float64), scores)
                seen[row] = True
    return Gazes(times_s, values, seen)


def thinned(frame_times_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Frame times with no two closer than nine tenths of a period: the frames' own, never made up."""
    kept: list[float] = []
    for time_s in frame_times_s:
        if not kept or time_s - kept[-1] >= 0.9 / rate_hz:
            kept.append(float(time_s))
    return np.array(kept)
