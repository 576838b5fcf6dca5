"""Whole sessions over HTTP: from the first page to the last, blind, resumable, two at once."""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from expotion.cli.main import run
from expotion_study.model import Study
from expotion_study.server import MAX_FORM_BYTES, StudyServer
from expotion_study.store import Answers

SYSTEMS, CLIPS = ("alpha_net", "beta_net", "gamma_net"), ("jump", "run", "sway", "walk")
N_TRIALS = 6 + 1 + 3


@pytest.fixture
def visitor(visiting: ModuleType, server: StudyServer) -> Any:
    return visiting.Visitor(server.address, server.study.screening.softest)


def _finish(visitor: Any, choose: Any = None) -> list[str]:
    kinds = []
    while visitor.kind != "done":
        kinds.append(visitor.step(choose))
    return kinds


def test_a_whole_session(visitor: Any, server: StudyServer) -> None:
    visitor.join()
    assert re.search(r"<strong class=\"code\">(\w{4}-){2}\w{4}</strong>", visitor.page)
    kinds = _finish(visitor, lambda name, values: "right" if name == "preferred" else values[-2])
    assert kinds == ["headphones", *["rating"] * 3, "attention", *["rating"] * 3, *["comparison"] * 3]
    assert "Thank you" in visitor.page
    answers = server.answers.all()
    assert [answer.trial for answer in answers] == list(range(N_TRIALS))
    rated = [server.study.stimuli[answer.stimuli[0]].system for answer in answers if answer.kind == "rating"]
    assert Counter(rated) == {0: 2, 1: 2, 2: 2}
    assert answers[0].response["ratings"] == dict.fromkeys(server.study.criteria, 4)
    assert answers[0].response["heard"] == 1.0 and answers[0].response["seconds"] == 12.5
    assert {a.response["preferred"] for a in answers if a.kind == "comparison"} == {"right"}
    person = server.answers.everybody()[0]
    assert person.finished and person.passed and person.training == "beginner"


def test_nothing_that_reaches_the_browser_names_a_system_or_a_clip(
    visiting: ModuleType, visitor: Any, server: StudyServer
) -> None:
    visitor.join()
    tokens = []
    while visitor.kind != "done":
        tokens += visitor.tokens()
        visitor.step()
    for token in {*tokens}:
        with visiting.OPENER.open(f"{server.address}media/{token}") as answer:
            visitor.seen += [str(answer.headers), answer.read().decode("latin-1")]
    sent = "\n".join(visitor.seen).lower()
    assert not [name for name in SYSTEMS if name in sent]
    assert not [clip for clip in CLIPS if f"{clip}.mp4" in sent or f'"{clip}"' in sent]
    assert "last-modified" not in sent and "etag" not in sent
    links = re.findall(r'(?:src|href|action)="([^"]*)"', sent)
    assert links and not [link for link in links if "//" in link]  # nothing from elsewhere
    for hidden in ("study.json", "answers.sqlite", "media/../study.json", "media/%2e%2e/study.json"):
        assert visitor.get(server.address + hidden) == 404


def test_two_at_once_keep_their_own_answers(visiting: ModuleType, server: StudyServer) -> None:
    visitors = [visiting.Visitor(server.address, server.study.screening.softest) for _ in range(2)]
    barrier, errors = threading.Barrier(2), []

    def take_part(index: int) -> None:
        try:
            barrier.wait(5.0)
            visitors[index].join()
            _finish(visitors[index], lambda _name, values: values[index])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=take_part, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert not errors
    people = {person.code: person for person in server.answers.everybody()}
    assert sorted(person.slot for person in people.values()) == [0, 1]
    heard: Counter[tuple[int, int]] = Counter()
    for index, visitor in enumerate(visitors):
        person = people[visitor.code]
        own = [answer for answer in server.answers.all() if answer.participant == person.id]
        assert len(own) == N_TRIALS and person.finished
        ratings = [value for a in own if a.kind == "rating" for value in a.response["ratings"].values()]
        assert set(ratings) == {index + 1}
        stimuli = [server.study.stimuli[a.stimuli[0]] for a in own if a.kind == "rating"]
        heard.update((each.system, each.clip) for each in stimuli)
    assert set(heard.values()) == {1}  # 2 x 6 ratings: each of the 12 once


def test_a_session_goes_on_where_it_stopped_on_another_device_and_after_a_restart(
    visiting: ModuleType, visitor: Any, server: StudyServer, study_folder: Path
) -> None:
    visitor.join()
    for _ in range(4):
        visitor.step()
    page, code = visitor.page, visitor.code
    server.shutdown()
    with StudyServer(study_folder, "127.0.0.1", 0) as second:
        threading.Thread(target=second.serve_forever, daemon=True).start()
        other = visiting.Visitor(second.address, second.study.screening.softest)
        other.get(second.address)
        typed = f"{code[:4].lower()}-{code[4:8]}-{code[8:]}"
        assert other.post("resume", {"code": "AAAA-BBBB-CCCC"}) == 400
        assert "There is no such code" in other.page
        assert other.post("resume", {"code": typed}) == 200
        assert other.page == page
        assert len(_finish(other)) == N_TRIALS - 3
        second.shutdown()
    assert [answer.trial for answer in server.answers.all()] == list(range(N_TRIALS))


def test_answers_sent_twice_late_or_incomplete_change_nothing(visitor: Any, server: StudyServer) -> None:
    visitor.join()
    visitor.step()
    action = f"{server.address}s/{visitor.code}/answer"
    whole = {"trial": "0", **dict.fromkeys(server.study.criteria, "5")}
    assert visitor.post(action, {**whole, "musicality": ""}) == 400
    assert "answer every question" in visitor.page
    links = re.findall(r'(?:src|action|href)="(\.\./[^"]*)"', visitor.page)
    assert links and all(link.startswith("../../") for link in links)  # the page stands one folder deeper
    assert visitor.post(action, {**whole, "musicality": "6"}) == 400
    assert visitor.post(action, {**whole, "trial": "3"}) == 200
    assert server.answers.all() == []
    assert visitor.post(action, whole) == 200
    assert visitor.post(action, dict(whole, **dict.fromkeys(server.study.criteria, "1"))) == 200
    assert [set(a.response["ratings"].values()) for a in server.answers.all()] == [{5}]
    assert visitor.get(action) == 200 and "2 of 10" in visitor.page


def test_a_clip_that_does_not_play_is_skipped_and_an_attention_check_is_not(
    visitor: Any, server: StudyServer
) -> None:
    visitor.join()
    visitor.step()
    action = f"{server.address}s/{visitor.code}/answer"
    for trial in range(3):
        assert visitor.post(action, {"trial": str(trial), "skip": "1"}) == 200
    assert visitor.kind == "attention"
    assert visitor.post(action, {"trial": "3", "skip": "1"}) == 400
    assert [answer.response["skipped"] for answer in server.answers.all()] == [True] * 3


def test_the_headphones_check_is_tried_twice_then_marked(visiting: ModuleType, server: StudyServer) -> None:
    visitor = visiting.Visitor(server.address, server.study.screening.softest, wrong_tones=True)
    visitor.join()
    assert visitor.step() == "headphones"
    assert "once more" in visitor.page
    assert visitor.step() == "headphones"
    assert visitor.kind == "rating"
    person = server.answers.everybody()[0]
    assert person.screened and not person.passed and len(person.attempts) == 2
    again = visiting.Visitor(server.address, server.study.screening.softest)
    again.join()
    assert [person.slot for person in server.answers.everybody()] == [0, 0]  # the place is given anew


def test_no_consent_no_participant(visitor: Any, server: StudyServer) -> None:
    visitor.get(server.address)
    assert visitor.post("join", {"training": "none"}) == 400
    assert visitor.post("join", {"consent": "1", "training": "wizard"}) == 400
    assert "tick the box" in visitor.page
    assert server.answers.everybody() == []
    assert "ask@example.org" in visitor.page


def test_media_come_whole_and_in_parts(visiting: ModuleType, server: StudyServer) -> None:
    token = next(iter(server.study.stimuli))
    content = server.media[token][0].read_bytes()
    address = f"{server.address}media/{token}"

    def get(part: str | None) -> tuple[int, bytes, str]:
        request = urllib.request.Request(address, headers={} if part is None else {"Range": part})
        with visiting.OPENER.open(request) as answer:
            return answer.status, answer.read(), answer.headers.get("Content-Range", "")

    assert get(None) == (200, content, "")
    assert get("bytes=0-99") == (206, content[:100], f"bytes 0-99/{len(content)}")
    assert get("bytes=100-")[1] == content[100:]
    assert get("bytes=-50")[1] == content[-50:]
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(f"bytes={len(content)}-")


def test_requests_that_make_no_sense(visitor: Any, server: StudyServer) -> None:
    assert visitor.get(f"{server.address}s/AAAABBBBCCCC") == 404
    assert visitor.get(f"{server.address}media/{'0' * 24}") == 404
    assert visitor.post(f"{server.address}join", {"x": "y" * MAX_FORM_BYTES}) == 413
    assert visitor.post(f"{server.address}join", {str(n): "" for n in range(150)}) == 400
    headers = "".join(visitor.seen)
    assert "default-src 'none'" in headers and "no-referrer" in headers
    with socket.create_connection(server.server_address[:2], timeout=5.0) as raw:
        raw.sendall(b"POST /join HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 411")


def test_answers_that_cannot_be_stored_are_said_so(
    visitor: Any, server: StudyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.join()

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Answers, "add_attempt", full)
    fields = {"attempt": "0", **{token: str(place) for token, place in server.study.screening.softest.items()}}
    assert visitor.post(f"{server.address}s/{visitor.code}/headphones", fields) == 503
    assert "could not be stored" in visitor.page


def test_a_port_in_use_and_addresses_that_are_not_ours(
    server: StudyServer, study_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = server.server_address[1]
    assert run(["study", "serve", str(study_folder), "--port", str(port)]) == 1
    assert f"--port {port}: a port that is free, got in use" in capfd.readouterr().err
    assert run(["study", "serve", str(study_folder), "--port", "70000"]) == 1
    assert "from 0 to 65535" in capfd.readouterr().err
    assert run(["study", "serve", str(study_folder), "--host", "203.0.113.7", "--port", "0"]) == 1
    assert "an address of this machine" in capfd.readouterr().err


def test_answers_of_another_study_are_not_touched(study_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Answers(study_folder / "answers.sqlite", "0" * 32)
    for command in ("serve", "results"):
        assert run(["study", command, str(study_folder)]) == 1
        said = capfd.readouterr().err.replace("\n", "")
        wanted = f"answers of study {Study.load(study_folder).id}"
        assert f"{wanted}, got those of study {'0' * 32}" in said
