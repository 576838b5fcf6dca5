"""DeSync: by how much does Synchformer think that sound and picture are apart?

The first and the last 4.8 s of a clip (14 segments of 0.64 s, one every 0.32 s) are classified into offsets from
-2 to 2 s in steps of 0.2; the value is the mean of the two absolute offsets, as in the evaluation of MMAudio (Cheng
et al. 2025). The checkpoint was trained on AudioSet's sounds of events, not on music over gestures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.contracts import Score, Scored, Video, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_motion_synchformer import OFFICIAL
from expotion_motion_synchformer.encoder import fetch
from expotion_motion_synchformer.model import scale_pixels
from expotion_motion_synchformer.sync_model import SyncModel, load_sync
from expotion_motion_synchformer.sync_sound import RATE_HZ, segments_mel

FPS = 25.0
_MEMO_SIZE = 64


class Judge:
    """A sync model with a memory of the pictures: every row of a table looks at the same clips."""

    def __init__(self, model: SyncModel) -> None:
        self.model = model
        self._seen: OrderedDict[tuple[str, float], Tensor] = OrderedDict()

    @property
    def stretch_frames(self) -> int:
        """Frames that one decision looks at (120)."""
        visual = self.model.geometry.visual
        return visual.frames + (self.model.geometry.segments - 1) * visual.frames // 2

    def offset_s(self, scored: Scored, video: Video, start_s: float) -> float:
        """The offset in seconds of the stretch that starts there."""
        visual = self.model.geometry.visual
        starts = np.arange(self.model.geometry.segments) * (visual.frames // 2)
        key = (scored.clip.content_hash, start_s)
        with torch.inference_mode():
            if key not in self._seen:
                self._seen[key] = self.model.see(self._pictures(video, start_s, starts))
                while len(self._seen) > _MEMO_SIZE:
                    self._seen.popitem(last=False)
            size = round(visual.frames / FPS * RATE_HZ)
            first = [round((start_s + start / FPS) * RATE_HZ) for start in starts.tolist()]
            sound = torch.from_numpy(np.stack([scored.samples[at : at + size] for at in first]))
            logits = self.model.logits(self._seen[key], self.model.hear(segments_mel(sound)))
        return float(self.model.offsets_s[int(logits.argmax())])

    def _pictures(self, video: Video, start_s: float, starts: NDArray[np.int64]) -> Tensor:
        """Segments [S, 3, F, side, side] in [-1, 1], cut as for the encoder."""
        visual = self.model.geometry.visual
        times_s = start_s + np.arange(self.stretch_frames) / FPS
        scaled = scale_pixels(fetch(video, times_s, visual))  # [n, 3, side, side]
        return torch.stack([scaled[at : at + visual.frames].transpose(0, 1) for at in starts.tolist()])


def metric() -> Callable[[Scored], Score]:
    """The metric with the weights that were pulled. Raises WeightsError where they are not there."""
    path = pulled_weights(OFFICIAL)
    if path is None:
        fix = f"expotion models pull {OFFICIAL}"
        raise WeightsError(Problem("desync", f"the weights {OFFICIAL}", "not pulled", fix))
    return score_with(Judge(load_sync(path)))


def score_with(judge: Judge) -> Callable[[Scored], Score]:
    """The metric with a model that is open."""

    def score(scored: Scored) -> Score:
        video = scored.clip.video
        if video is None or not len(video.frame_times_s):
            return Score(None, "the clip has no picture")
        stretch_s = judge.stretch_frames / FPS
        heard_s = len(scored.samples) / RATE_HZ
        last_s = min(heard_s, scored.clip.duration_s, video.decodable_until_s) - stretch_s
        if last_s < -1e-6:
            return Score(None, f"shorter than {stretch_s:g} s")
        last_s = max(0.0, np.floor(last_s * FPS + 1e-6) / FPS)
        offsets_s = [judge.offset_s(scored, video, start_s) for start_s in (0.0, last_s)]
        return Score(float(np.mean(np.abs(offsets_s))))

    return score
