"""The web page as text: one template per page, nothing loaded from elsewhere, no system's name in it."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from expotion.study import headphones
from expotion.study.model import SCALE, TRAINING, Study
from expotion.study.session import Trial
from expotion.study.store import Participant

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = {"study.css": "text/css; charset=utf-8", "study.js": "text/javascript; charset=utf-8"}


def static(name: str) -> bytes:
    """A file of style or script, one of STATIC."""
    return (files("expotion.study") / "templates" / name).read_bytes()


def intro_page(study: Study, problem: str = "", *, resume_problem: str = "") -> str:
    """Welcome, consent, and going on with a code."""
    paragraphs = [part.strip() for part in study.intro.split("\n\n") if part.strip()]
    return _render(
        "intro.html",
        study,
        base="",
        paragraphs=paragraphs,
        training=TRAINING,
        problem=problem,
        resume_problem=resume_problem,
    )


def headphones_page(study: Study, participant: Participant, problem: str = "", base: str = "../") -> str:
    """The check before the study; says so where the first attempt did not pass."""
    return _render(
        "headphones.html",
        study,
        base=base,
        participant=participant,
        code=spelt(participant.code),
        tokens=list(study.screening.softest),
        attempt=len(participant.attempts),
        problem=problem,
        left=headphones.MAX_ATTEMPTS - len(participant.attempts),
    )


def trial_page(
    study: Study,
    participant: Participant,
    trial: Trial,
    total: int,
    problem: str = "",
    base: str = "../",
) -> str:
    """A rating, an attention check or a comparison, with how far the participant is."""
    heard = [study.stimuli[token] for token in trial.stimuli]
    clip = study.clips[heard[0].clip] if heard else None
    return _render(
        "trial.html",
        study,
        base=base,
        participant=participant,
        code=spelt(participant.code),
        trial=trial,
        total=total,
        prompt=clip.prompt if clip is not None else None,
        media=list(zip(trial.stimuli, (each.media_type for each in heard), strict=True)),
        questions=study.questions,
        scale=SCALE,
        problem=problem,
        wanted=SCALE[trial.wanted - 1] if trial.wanted is not None else "",
    )


def done_page(study: Study, participant: Participant) -> str:
    """Thanks, and the code as a receipt."""
    return _render("done.html", study, base="../", receipt=spelt(participant.code))


def message_page(study: Study, title: str, text: str, base: str = "") -> str:
    """An error in words."""
    return _render("message.html", study, base=base, heading=title, text=text)


def spelt(code: str) -> str:
    """A code in groups of four."""
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def _render(name: str, study: Study, **values: Any) -> str:
    return _environment().get_template(name).render(study=study, **values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    import jinja2  # noqa: PLC0415

    return jinja2.Environment(
        loader=jinja2.PackageLoader("expotion.study", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
