"""`study build`: every check, then the media, then the study's file; the folder appears whole or not at all."""

from __future__ import annotations

import functools
import secrets
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion.errors import ExpotionError, Problem, listed
from expotion.files import made, replacing_folder
from expotion_study import headphones
from expotion_study.model import CRITERIA, MEDIA_FOLDER, Screening, Stimulus, Study, StudyClip, sound_file
from expotion_study.sources import Sources
from expotion_study.stimuli import System, has_picture, match_levels, write_clip

DEFAULT_RATINGS, DEFAULT_COMPARISONS = 12, 10


@dataclass(frozen=True)
class Asked:
    """Options of a study. None: by the number of systems and clips."""

    title: str = "Music for videos"
    intro: str = ""
    contact: str = ""
    ratings: int | None = None
    comparisons: int | None = None
    attention_checks: int = 0
    loudness_lufs: float = -23.0
    """By default that of programmes in EBU R 128: room for the peaks of uncompressed music."""
    only: tuple[str, ...] = ()
    common: bool = False

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        counts = (("--ratings", self.ratings, 1), ("--comparisons", self.comparisons, 0))
        for option, value, least in (*counts, ("--attention", self.attention_checks, 0)):
            if value is not None and value < least:
                found.append(Problem(option, f"a whole number of at least {least}", str(value)))
        if not -50.0 <= self.loudness_lufs <= -10.0:
            fix = "for example --loudness -23"
            found.append(Problem("--loudness", "LUFS from -50 to -10", f"{self.loudness_lufs:g}", fix))
        return found


def build_study(
    sources: Sources,
    out: Path,
    asked: Asked,
    *,
    note: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> Study:
    """Write a study of the systems to a new folder; `progress` gets what is done, how much of it, and of how much.

    Raises ExpotionError for fewer than two systems, clips that a system lacks (named), and a folder that is not
    empty or cannot be written to. Nothing is left behind by a build that fails.
    """
    systems, prompts = sources.systems, sources.prompts
    problems = asked.problems()
    chosen, missing = _choose(systems, sources.clips, asked)
    problems += missing
    if len(systems) < 2:
        fix = "name several runs, or conditions of one: RUN:motion RUN:text_only"
        problems.append(Problem("RUN...", "at least two systems", str(len(systems)), fix))
    problems += _folder_problems(out)
    if problems:
        raise ExpotionError(problems)
    used = [sources.clips[name] for name in chosen]
    pictures = _all_or_none("a picture", {clip.id: has_picture(clip) for clip in used}, note, "video")
    texts = _all_or_none("a prompt", {name: bool(prompts.get(name)) for name in chosen}, note, "text")
    there = {None: True, "video": pictures, "prompt": texts}
    ratings, comparisons = _counts(asked, len(systems), len(used), note)
    fix = "check that the folder can be written to and that the disk is not full"
    with replacing_folder(out.absolute(), fix=fix) as draft:
        media = draft / MEDIA_FOLDER
        media.mkdir()
        target_lufs, gains_db = match_levels(
            systems, used, asked.loudness_lufs, note=note, progress=functools.partial(progress, "loudness")
        )
        stimuli: dict[str, Stimulus] = {}
        for c, clip in enumerate(used):
            own_db = [gains_db.get((s, c)) for s in range(len(systems))]
            written = write_clip(media, clip, systems, own_db, with_picture=pictures)
            for s, (token, name, media_type) in enumerate(written):
                stimuli[token] = Stimulus(s, c, f"{MEDIA_FOLDER}/{name}", media_type)
                progress("media", len(stimuli), len(systems) * len(used))
        study = Study(
            id=uuid.uuid4().hex,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            title=asked.title,
            intro=asked.intro,
            contact=asked.contact,
            systems=tuple(system.name for system in systems),
            clips=tuple(StudyClip(c.id, prompts.get(c.id) if texts else None, c.duration_s) for c in used),
            stimuli={token: stimuli[token] for token in sorted(stimuli)},  # an order that says nothing
            screening=_screening(draft, target_lufs),
            criteria=tuple(criterion.name for criterion in CRITERIA if there[criterion.needs]),
            ratings=ratings,
            comparisons=comparisons,
            attention_checks=asked.attention_checks,
            loudness_lufs=target_lufs,
            has_video=pictures,
        )
        study.save(draft)
    return study


def _choose(systems: Sequence[System], clips: Mapping[str, Clip], asked: Asked) -> tuple[list[str], list[Problem]]:
    """Ids of the clips to use, and what is wrong with them."""
    union = list(dict.fromkeys(name for system in systems for name in system.clip_ids))
    wanted = list(dict.fromkeys(asked.only)) or union
    problems: list[Problem] = []
    unknown = [name for name in wanted if name not in union]
    if unknown:
        problems.append(Problem("--clips", f"some of {listed(union)}", listed(unknown)))
    if asked.common:
        wanted = [name for name in wanted if all(name in system.clip_ids for system in systems)]
        if not wanted:
            problems.append(Problem("--common", "a clip that every system has", "none"))
        return [name for name in wanted if name in clips], problems + _unseen(wanted, clips)
    for system in systems:
        lacking = [name for name in wanted if name in union and name not in system.clip_ids]
        if lacking:
            fix = "add them, name others with --clips, or use --common for those that all have"
            got = f"{len(lacking)} missing: {listed(lacking)}"
            problems.append(Problem(system.name, f"music for all {len(wanted)} clips", got, fix))
    return wanted, problems + _unseen([name for name in wanted if name in union], clips)


def _unseen(wanted: Sequence[str], clips: Mapping[str, Clip]) -> list[Problem]:
    unseen = [name for name in wanted if name not in clips]
    if not unseen:
        return []
    fix = "give the folder of the clips' videos with --videos"
    return [Problem("clips", "the clip of every piece of music", f"none for {listed(unseen)}", fix)]


def _all_or_none(what: str, has: Mapping[str, bool], note: Callable[[str], None], about: str) -> bool:
    """Whether all clips have something; none is a note, some an error that names the others."""
    lacking = [name for name, there in has.items() if not there]
    if not lacking:
        return True
    if len(lacking) < len(has):
        fix = "give it, or leave these clips out with --clips"
        raise ExpotionError(
            Problem("clips", f"{what} for all of them or for none", f"none for {listed(lacking)}", fix)
        )
    note(f"no clip has {what}: the question about the {about} is left out")
    return False


def _counts(asked: Asked, n_systems: int, n_clips: int, note: Callable[[str], None]) -> tuple[int, int]:
    """Ratings and comparisons of each participant; ratings hold every system equally often."""
    wanted = DEFAULT_RATINGS if asked.ratings is None else asked.ratings
    ratings = n_systems * min(n_clips, max(1, round(wanted / n_systems)))
    if asked.ratings is not None and ratings != asked.ratings:
        note(f"{ratings} ratings instead of {asked.ratings}: as many of each of the {n_systems} systems")
    most = n_systems * (n_systems - 1) * n_clips
    wanted = min(DEFAULT_COMPARISONS, most) if asked.comparisons is None else asked.comparisons
    if wanted > most:
        note(f"{most} comparisons instead of {wanted}: there are no more different ones")
    return ratings, min(wanted, most)


def _screening(folder: Path, loudness_lufs: float) -> Screening:
    import soundfile

    def write(sound: NDArray[np.float32]) -> str:
        token = secrets.token_hex(12)
        soundfile.write(folder / sound_file(token), sound, headphones.RATE_HZ, subtype="PCM_16")
        return token

    orders = list(headphones.ORDERS)
    secrets.SystemRandom().shuffle(orders)
    softest = {write(headphones.trial_sound(order)): order.index("soft") for order in orders}
    return Screening(softest, write(headphones.calibration_sound(loudness_lufs)))


def _folder_problems(out: Path) -> list[Problem]:
    fix = "give another --out"
    if out.exists() and not out.is_dir():
        return [Problem(str(out), "a folder", "a file", fix)]
    try:
        if out.is_dir() and any(out.iterdir()):
            return [Problem(str(out), "a new or empty folder", "a folder with files in it", fix)]
        parent = out.absolute().parent
        with made(parent), tempfile.TemporaryFile(dir=parent, prefix=".expotion-"):
            pass
    except OSError as error:
        return [Problem(str(out), "cannot be written to", error.strerror or str(error), fix)]
    return []
