"""The study as a web page: a participant's way through it, and the application that answers with it."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from expotion.report.write import environment
from expotion_study import headphones, session
from expotion_study.model import ANSWERS_FILE, SCALE, TRAINING, Study, sound_file
from expotion_study.store import Answers, Participant
from expotion_web.guard import Access, Guard
from expotion_web.media import file_response
from expotion_web.server import PageServer

log = logging.getLogger("expotion")
MAX_FORM_BYTES, MAX_FIELDS = 16_384, 100
_AGAIN = "Please go back and send the page again."
_REFUSALS = {
    400: ("That did not arrive whole", _AGAIN),
    405: ("There is no such page", "Please check the address, or start from the first page."),
    408: ("That did not arrive whole", _AGAIN),
    404: ("There is no such page", "Please check the address, or start from the first page."),
    411: ("That did not arrive whole", _AGAIN),
    413: ("That is too much", _AGAIN),
    503: ("Your answer could not be stored", "Please go back and send it again in a moment."),
}
_STATIC = {"study.css": "text/css; charset=utf-8", "study.js": "text/javascript; charset=utf-8"}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; media-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_SESSION = re.compile(r"/s/([0-9A-Za-z-]{1,40})(?:/(headphones|answer))?$")


@dataclass(frozen=True)
class Reply:
    """A page with its status, or where to go instead."""

    status: int = 200
    page: str = ""
    location: str | None = None


class Flow:
    """From a request to a page: where a participant stands and what an answer leads to. Knows nothing of the web.

    A page is found from the answers alone, so any may be reloaded.
    """

    def __init__(self, study: Study, answers: Answers) -> None:
        self.study, self.answers = study, answers

    def get(self, path: str) -> Reply:
        """The page at a path."""
        if path in ("/", ""):
            return self._intro()
        participant, form = self._asked(path)
        if participant is None:
            return self.refused(404, path)
        return _to(participant) if form else self._current(participant)

    def post(self, path: str, form: Mapping[str, str]) -> Reply:
        """What a form leads to."""
        if path == "/join":
            if form.get("consent") != "1" or form.get("training") not in TRAINING:
                text = "Please state your musical training and tick the box to take part."
                return self._intro(400, problem=text)
            return Reply(location=f"s/{self.answers.join(form['training']).code}")
        if path == "/resume":
            participant = self.answers.find(form.get("code", ""))
            if participant is None:
                text = "There is no such code. Please check its letters."
                return self._intro(400, resume_problem=text)
            return Reply(location=f"s/{participant.code}")
        participant, which = self._asked(path)
        if participant is None or which is None:
            return self.refused(404, path)
        return self._screen(participant, form) if which == "headphones" else self._keep(participant, form)

    def refused(self, status: int, path: str) -> Reply:
        """An error as a page."""
        heading, text = _REFUSALS[status]
        base = "../" * max(0, path.partition("?")[0].count("/") - 1)
        return self._page("message.html", status, base, heading=heading, text=text)

    def _asked(self, path: str) -> tuple[Participant | None, str | None]:
        """The participant and the form that a path names."""
        found = _SESSION.match(path)
        return (self.answers.find(found[1]), found[2]) if found else (None, None)

    def _page(self, name: str, status: int = 200, base: str = "", **values: Any) -> Reply:
        template = environment("expotion_study").get_template(name)
        return Reply(status, template.render(study=self.study, base=base, **values))

    def _intro(self, status: int = 200, problem: str = "", resume_problem: str = "") -> Reply:
        """Welcome, consent, and going on with a code."""
        paragraphs = [part.strip() for part in self.study.intro.split("\n\n") if part.strip()]
        problems = {"problem": problem, "resume_problem": resume_problem}
        return self._page("intro.html", status, paragraphs=paragraphs, training=TRAINING, **problems)

    def _current(self, participant: Participant, problem: str = "") -> Reply:
        """The page where a participant stands; with a problem, in answer to a form, which is a folder deeper."""
        status, base = (400, "../../") if problem else (200, "../")
        code = participant.code
        shown = {
            "participant": participant,
            "code": "-".join(code[at : at + 4] for at in range(0, len(code), 4)),
            "problem": problem,
        }
        if not participant.screened:
            left = headphones.MAX_ATTEMPTS - len(participant.attempts)
            return self._page("headphones.html", status, base, left=left, **shown)
        trials = session.trials_of(self.study, participant.slot)
        trial = session.next_trial(trials, self.answers.answered(participant.id))
        if trial is None:
            return self._page("done.html", base="../", receipt=shown["code"])
        heard = [self.study.stimuli[token] for token in trial.stimuli]
        return self._page(
            "trial.html",
            status,
            base,
            trial=trial,
            total=len(trials),
            prompt=self.study.clips[heard[0].clip].prompt if heard else None,
            media=[(token, each.media_type) for token, each in zip(trial.stimuli, heard, strict=True)],
            scale=SCALE,
            wanted=SCALE[trial.wanted - 1] if trial.wanted is not None else "",
            **shown,
        )

    def _screen(self, participant: Participant, form: Mapping[str, str]) -> Reply:
        """A headphones check. One that was answered before (sent twice, or the back button) changes nothing."""
        attempt, softest = len(participant.attempts), self.study.screening.softest
        if not participant.screened and form.get("attempt") == str(attempt):
            if any(form.get(token) not in ("0", "1", "2") for token in softest):
                return self._current(participant, "Please answer for every sound.")
            right = headphones.n_correct(softest, {token: int(form[token]) for token in softest})
            self.answers.add_attempt(participant.id, attempt, right, right >= headphones.N_TO_PASS)
        return _to(participant)

    def _keep(self, participant: Participant, form: Mapping[str, str]) -> Reply:
        """An answer to the trial at hand; one to any other trial changes nothing."""
        trials = session.trials_of(self.study, participant.slot)
        answered = self.answers.answered(participant.id)
        trial = session.next_trial(trials, answered) if participant.screened else None
        if trial is not None and form.get("trial") == str(trial.number):
            try:
                response = session.read_answer(self.study, trial, form)
            except session.Incomplete as error:
                return self._current(participant, str(error))
            last = len(answered) + 1 == len(trials)
            self.answers.add_answer(participant.id, trial.number, trial.kind, trial.stimuli, response, last=last)
        return _to(participant)


def _to(participant: Participant) -> Reply:
    return Reply(location=f"../{participant.code}")


class StudyServer(PageServer):
    """Serves one study to whoever comes: under any name, since a proxy stands before it where it is public."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        """Open study and answers, and listen. Raises ExpotionError for what is wrong with either."""
        self.study = Study.load(folder)
        self.answers = Answers(folder / ANSWERS_FILE, self.study.id)
        self.media = media_of(self.study, folder)
        flow = Flow(self.study, self.answers)
        access = Access(None, POLICY, max_body_bytes=MAX_FORM_BYTES, refusal=lambda *why: _sent(flow.refused(*why)))
        super().__init__(Guard(application(flow, self.media), access), host, port)


def media_of(study: Study, folder: Path) -> dict[str, tuple[Path, str]]:
    """File and media type of every sound and video of a study, by token."""
    sounds = (*study.screening.softest, study.screening.calibration)
    media = {token: (folder / sound_file(token), "audio/wav") for token in sounds}
    return media | {token: (folder / each.file, each.media_type) for token, each in study.stimuli.items()}


def application(flow: Flow, media: Mapping[str, tuple[Path, str]]) -> FastAPI:
    """Pages, style, script, and media by token. Addresses of participants are not kept."""
    app = FastAPI(openapi_url=None)

    def answer(act: Callable[[], Reply], path: str) -> Response:
        try:
            return _sent(act())
        except sqlite3.Error as error:
            log.warning("an answer could not be stored: %s", error)
            return _sent(flow.refused(503, path))

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return _sent(flow.refused(error.status_code, request.url.path))

    @app.api_route("/media/{token}", methods=["GET", "HEAD"])
    def sound_or_video(token: str, request: Request) -> Response:
        if token not in media:
            raise HTTPException(404)
        return file_response(*media[token], request.headers.get("range"))

    @app.api_route("/static/{name}", methods=["GET", "HEAD"])
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404)
        content = (files("expotion_study") / "templates" / name).read_bytes()
        return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "max-age=300"})

    @app.api_route("/{path:path}", methods=["GET", "HEAD"])
    def page(request: Request) -> Response:
        return answer(lambda: flow.get(request.url.path), request.url.path)

    @app.post("/{path:path}")
    async def form(request: Request) -> Response:
        path, body = request.url.path, (await request.body()).decode("utf-8", errors="replace")
        try:
            sent = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            return _sent(flow.refused(400, path))
        return await run_in_threadpool(answer, lambda: flow.post(path, sent), path)

    return app


def _sent(reply: Reply) -> Response:
    if reply.location is not None:
        return RedirectResponse(reply.location, 303)
    return HTMLResponse(reply.page, reply.status)
