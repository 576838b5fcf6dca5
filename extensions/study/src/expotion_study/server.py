"""The study as a small web server: standard library only, pages without foreign resources, media by token."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from expotion.errors import ExpotionError, Problem
from expotion.report.write import environment
from expotion_study import headphones, session
from expotion_study.model import ANSWERS_FILE, SCALE, TRAINING, Study, sound_file
from expotion_study.store import Answers, Participant

log = logging.getLogger("expotion")
MAX_FORM_BYTES, MAX_FIELDS = 16_384, 100
IDLE_S = 60.0
"""A connection that says nothing for this long is closed."""
_AGAIN = "Please go back and send the page again."
_REFUSALS = {
    400: ("That did not arrive whole", _AGAIN),
    404: ("There is no such page", "Please check the address, or start from the first page."),
    411: ("That did not arrive whole", _AGAIN),
    413: ("That is too much", _AGAIN),
    503: ("Your answer could not be stored", "Please go back and send it again in a moment."),
}
_STATIC = {"/static/study.css": "text/css; charset=utf-8", "/static/study.js": "text/javascript; charset=utf-8"}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; media-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SESSION = re.compile(r"/s/([0-9A-Za-z-]{1,40})(?:/(headphones|answer))?$")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True)
class Reply:
    """A page with its status, or where to go instead."""

    status: int = 200
    page: str = ""
    location: str | None = None


class Flow:
    """From a request to a page: where a participant stands and what an answer leads to. Knows nothing of sockets.

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


class StudyServer(ThreadingHTTPServer):
    """Serves one study; every request runs in a thread of its own."""

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int) -> None:
        """Open study and answers, and listen. Raises ExpotionError for what is wrong with either."""
        self.study = Study.load(folder)
        self.answers = Answers(folder / ANSWERS_FILE, self.study.id)
        self.flow = Flow(self.study, self.answers)
        sounds = (*self.study.screening.softest, self.study.screening.calibration)
        self.media = {token: (folder / sound_file(token), "audio/wav") for token in sounds}
        for token, each in self.study.stimuli.items():
            self.media[token] = (folder / each.file, each.media_type)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ExpotionError(_listening_problem(host, port, error)) from None

    @property
    def address(self) -> str:
        """Where the first page is."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault; anything else is logged with its traceback."""
        del request, client_address
        log.debug("a request of the study ended early", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "expotion-study"
    sys_version = ""
    timeout = IDLE_S
    server: StudyServer

    def do_GET(self) -> None:
        """Pages, style, script and media."""
        path = self.path.partition("?")[0]
        if path.startswith("/media/"):
            self._media(path.removeprefix("/media/"))
        elif path in _STATIC:
            body = (files("expotion_study") / "templates" / path.rpartition("/")[2]).read_bytes()
            self._send(200, body, _STATIC[path], "max-age=300")
        else:
            self._answer(lambda flow: flow.get(path))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A form."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_FORM_BYTES:
            self.close_connection = True
            self._reply(self.server.flow.refused(413 if length > 0 else 411, self.path))
            return
        body = self.rfile.read(length).decode("utf-8", errors="replace")
        try:
            form = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            self._reply(self.server.flow.refused(400, self.path))
            return
        self._answer(lambda flow: flow.post(self.path.partition("?")[0], form))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses of participants are not kept."""

    def _answer(self, act: Callable[[Flow], Reply]) -> None:
        try:
            reply = act(self.server.flow)
        except sqlite3.Error as error:
            log.warning("an answer could not be stored: %s", error)
            reply = self.server.flow.refused(503, self.path)
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        if reply.location is not None:
            self._send(303, b"", "text/plain", headers={"Location": reply.location})
        else:
            self._send(reply.status, reply.page.encode("utf-8"), "text/html; charset=utf-8")

    def _send(
        self, status: int, body: bytes, kind: str, cache: str = "no-store", headers: Mapping[str, str] | None = None
    ) -> None:
        self._begin(status, kind, len(body), cache, headers or {})
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    def _begin(self, status: int, kind: str, length: int, cache: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(length), "Cache-Control": cache}
        for name, value in (own | _SAFE | dict(headers)).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _media(self, token: str) -> None:
        """A file by its token, whole or the part that a player asks for."""
        found = self.server.media.get(token)
        if found is None:
            self._reply(self.server.flow.refused(404, self.path))
            return
        path, kind = found
        with path.open("rb") as file:
            size = path.stat().st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                self._send(416, b"", kind, headers={"Content-Range": f"bytes */{size}"})
                return
            first, last = part
            status, headers = 200, {"Accept-Ranges": "bytes"}
            if "Range" in self.headers:
                status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
            self._begin(status, kind, last - first + 1, "private, max-age=86400", headers)
            if self.command == "HEAD":
                return
            file.seek(first)
            with contextlib.suppress(ConnectionError):
                if last + 1 == size:
                    shutil.copyfileobj(file, self.wfile)
                else:
                    self.wfile.write(file.read(last - first + 1))


def _part(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; all where nothing is, None where it cannot be given."""
    if header is None or "," in header:
        return 0, size - 1
    found = _RANGE.match(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (first, last) if first <= last else None


def _listening_problem(host: str, port: int, error: BaseException) -> Problem:
    if isinstance(error, OverflowError):
        return Problem("--port", "a number from 0 to 65535", str(port))
    number, where = getattr(error, "errno", None), f"--port {port}"
    if number == errno.EADDRINUSE:
        return Problem(where, "a port that is free", "in use", "give another, or 0 for any")
    if number == errno.EACCES:
        return Problem(where, "a port that may be used", "permission denied", "give one above 1023")
    return Problem(f"--host {host}", "an address of this machine", str(error), "for example 127.0.0.1")
