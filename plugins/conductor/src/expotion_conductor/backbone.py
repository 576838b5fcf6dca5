"""The backbone `tiny`: a small MusicGen trained on this world, shipped inside the package."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from expotion.contracts import BackboneSpec
from expotion.errors import Problem, WeightsError


def _shipped(folder: str, what: str) -> Path:
    """A folder under `weights/` in this package; WeightsError where it is absent or empty."""
    path = Path(str(files(__package__))) / "weights" / folder
    if not path.is_dir() or not any(path.iterdir()):
        raise WeightsError(
            Problem(
                where=str(path),
                wanted=f"the folder of {what}, which expotion-conductor ships",
                got="no such folder" if not path.is_dir() else "an empty folder",
                fix="install expotion-conductor again, or train it as TRAINING.md says",
            )
        )
    return path


def locate_tiny() -> Path:
    """Folder of the tiny MusicGen in the layout of transformers' MusicGen."""
    return _shipped("tiny", "the tiny MusicGen")


def locate_default_adaptor() -> Path:
    """Folder of the adaptor `pixels`: the whole picture of face and body, which needs nothing else."""
    return _shipped("default_adaptor", "the trained default adaptor")


def locate_person_adaptor() -> Path:
    """Folder of the adaptor `person`: the beat of a person's landmarks, for which models are pulled."""
    return _shipped("person_adaptor", "the adaptor trained by recipes/person.yaml")


SPEC = BackboneSpec(
    name="tiny",
    description="a small MusicGen (32 kHz, 50 Hz, 4 codebooks) trained from scratch on the conductor world",
    locate=locate_tiny,
    default=True,
    # on one core of a Xeon with AMX
    train_cost_s=0.0181,
    generate_cost_s=0.087,
    default_adaptor=locate_default_adaptor,
    adaptors={"person": locate_person_adaptor, "pixels": locate_default_adaptor},
)

TINY_1 = replace(
    SPEC,
    name="tiny-1",
    description="the first tiny MusicGen, by a name that stays: for adaptors that were trained on it",
    default=False,
)
"""`tiny` is the newest of them; where another takes its name, these weights keep this one."""
