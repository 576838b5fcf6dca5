"""What a study is: criteria, systems, clips, stimuli, and the file that holds it all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from expotion.errors import ExpotionError, Problem
from expotion.files import write_json

FORMAT = "expotion-study/1"
STUDY_FILE, ANSWERS_FILE, MEDIA_FOLDER = "study.json", "answers.sqlite", "media"

SCALE = ("Bad", "Poor", "Fair", "Good", "Excellent")
"""Values 1 to 5: the scale of absolute category rating (ITU-T P.800). The paper does not state its own."""


@dataclass(frozen=True)
class Criterion:
    """One question of a rating; `needs` is what a clip must have for it to make sense."""

    name: str
    title: str
    question: str
    needs: str | None = None


CRITERIA = (
    Criterion("musicality", "Musicality", "How well does it work as music?"),
    Criterion(
        "text_similarity", "Fit to the text", "How well does the music match the description?", needs="prompt"
    ),
    Criterion(
        "video_consistency",
        "Fit to the video",
        "How well does the music go with the video, in tempo and in expression?",
        needs="video",
    ),
    Criterion("creativity", "Creativity", "How original and inventive is the music?"),
)
"""The four of the paper (section 4.4.2)."""

TRAINING = {
    "none": "None",
    "beginner": "Beginner",
    "intermediate": "Intermediate",
    "professional": "Professional",
    "unsaid": "I would rather not say",
}
"""Musical training as participants state it; the paper reports the same levels."""


@dataclass(frozen=True)
class StudyClip:
    """A clip as participants meet it; `prompt` is shown beside it, or None."""

    id: str
    prompt: str | None
    duration_s: float


@dataclass(frozen=True)
class Stimulus:
    """Indices of system and clip, the file below the study's folder, and its type for browsers."""

    system: int
    clip: int
    file: str
    media_type: str


@dataclass(frozen=True)
class Screening:
    """Sounds of the headphones check: by token, which of the three tones is the softest (0, 1 or 2)."""

    softest: dict[str, int]
    calibration: str


@dataclass(frozen=True)
class Study:
    """Everything about a study but the answers. `stimuli` and `screening` are by opaque token."""

    id: str
    created: str
    title: str
    intro: str
    contact: str
    systems: tuple[str, ...]
    clips: tuple[StudyClip, ...]
    stimuli: dict[str, Stimulus]
    screening: Screening
    criteria: tuple[str, ...]
    ratings: int
    comparisons: int
    attention_checks: int
    loudness_lufs: float
    has_video: bool

    @property
    def questions(self) -> tuple[Criterion, ...]:
        """The criteria that this study asks for."""
        return tuple(criterion for criterion in CRITERIA if criterion.name in self.criteria)

    @property
    def minutes(self) -> int:
        """About how long it takes: the media once, some seconds per question, two minutes before."""
        heard_s = sum(clip.duration_s for clip in self.clips) / len(self.clips)
        seconds = self.ratings * (heard_s + 5.0 * len(self.criteria)) + self.comparisons * (2 * heard_s + 5.0)
        return max(1, round((seconds + 150.0) / 60.0))

    def token_of(self, system: int, clip: int) -> str:
        """The token of a system's music for a clip."""
        for token, stimulus in self.stimuli.items():
            if (stimulus.system, stimulus.clip) == (system, clip):
                return token
        raise KeyError((system, clip))

    def save(self, folder: Path) -> None:
        """Write `study.json`."""
        write_json(folder / STUDY_FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read a study's folder. Raises ExpotionError for a folder that is none, and where media are missing."""
        path = folder / STUDY_FILE
        fix = "give a folder that `expotion study build` has made"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            study = TypeAdapter(cls).validate_python(content)
        except OSError as error:
            problem = Problem(str(folder), f"a study with {STUDY_FILE}", error.strerror, fix)
            raise ExpotionError(problem) from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ExpotionError(Problem(str(path), "JSON", "something else", fix)) from None
        except (KeyError, TypeError, ValueError) as error:
            got = f"no {error}" if isinstance(error, KeyError) else str(error)
            if isinstance(error, ValidationError):
                fault = error.errors()[0]
                got = f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}"
            raise ExpotionError(Problem(str(path), f"a study of {FORMAT}", got, fix)) from None
        missing = [name for name in study.media_files() if not (folder / name).is_file()]
        if missing:
            got = f"{len(missing)} missing, the first {missing[0]}"
            fix = "build the study again, or put the folder back whole"
            raise ExpotionError(Problem(str(folder), "its media files", got, fix))
        return study

    def media_files(self) -> list[str]:
        """Every file that the page plays, below the study's folder."""
        sounds = [*self.screening.softest, self.screening.calibration]
        return [*(each.file for each in self.stimuli.values()), *(sound_file(token) for token in sounds)]


def sound_file(token: str) -> str:
    """Where a sound of the headphones check lies."""
    return f"{MEDIA_FOLDER}/{token}.wav"
