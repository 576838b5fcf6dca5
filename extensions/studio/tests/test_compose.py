"""The room Compose without a browser: what comes in, what is refused, takes on the shelf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expotion.errors import ExpotionError
from expotion_studio import compose, composing, seeing, words
from expotion_studio.adaptors import Adaptors
from expotion_studio.shelf import Take, plain_name
from expotion_web.worker import Telling

PROMPT = "calm music for marimba with light drums"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "limited", lambda _function, path, **_options: seeing.examined(path))


def _given(made: Any, clip: Path, name: str = "my dance.mp4") -> dict[str, Any]:
    answer = made.client.put("/api/clips", params={"name": name}, content=clip.read_bytes())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["clip"]
    return found


def test_a_clip_comes_and_goes(made: Any, clip: Path) -> None:
    found = _given(made, clip, "../../my dance.mp4")
    assert (found["name"], found["file"], found["has_sound"]) == ("my dance.mp4", "my_dance.mp4", True)
    folder = made.shelf.clips / found["id"]
    assert (folder / "my_dance.mp4").read_bytes() == clip.read_bytes()
    assert [one["id"] for one in made.client.get("/api/clips").json()] == [found["id"]]
    assert made.client.get(f"/api/clips/{found['id']}/look").json() is None
    job = made.jobs.all()[0]
    assert (job.kind, job.about, job.state) == ("see", found["id"], "waiting")
    assert "given" not in made.client.get("/api/jobs").json()[0]  # it holds paths
    assert made.client.delete(f"/api/clips/{found['id']}").status_code == 409  # something is being made
    made.jobs.stop(job.id)
    assert made.client.delete(f"/api/clips/{found['id']}").status_code == 200
    assert not folder.exists()


def test_a_clip_that_comes_while_something_plays_is_opened_behind_it(
    made: Any, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind: list[bool] = []

    def opened(_function: str, path: str, **options: Any) -> dict[str, Any]:
        behind.append(options["behind"])
        return seeing.examined(path)

    monkeypatch.setattr(compose, "limited", opened)
    _given(made, clip)
    with made.jobs.suspended():
        _given(made, clip)
    assert behind == [False, True]


def test_what_is_no_clip_leaves_nothing(made: Any, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, content: bytes, why: str) -> None:
        answer = made.client.put("/api/clips", params={"name": name}, content=content)
        assert answer.status_code in (400, 413, 507) and why in answer.text, answer.text
        assert not made.shelf.clips.is_dir() or not [*made.shelf.clips.iterdir()]

    refused("song.mp3", b"x", "convert it to mp4")
    refused("x.mp4", b"no video at all", "cannot be read")
    monkeypatch.setattr(seeing, "LONGEST_S", 1.0)
    refused("x.mp4", clip.read_bytes(), "at most 1 s")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    refused("x.mp4", b"x", "No space left")


def test_what_is_asked_is_checked_before_anything_is_made(made: Any, clip: Path) -> None:
    name = _given(made, clip)["id"]

    def ask(**asked: Any) -> Any:
        return made.client.post(f"/api/clips/{name}/takes", json={"prompt": PROMPT, **asked})

    assert "times that go forwards" in ask(strengths={"face": "5:1,2:0"}).text
    assert "'face', 'motion'" in ask(strengths={"gaze": "1"}).text or "face" in ask(strengths={"gaze": "1"}).text
    assert ask(samples=99).status_code == 422
    assert ask(adaptor="../../etc").status_code == 404
    assert [job.kind for job in made.jobs.all()] == ["see"]
    answer = ask(strengths={"face": "0:1,1:0.2"}, guidance={"motion": 6}, samples=2, seed=3)
    assert answer.status_code == 200 and answer.json()["title"] == "2 takes for my dance.mp4"
    kept = json.loads((made.shelf.jobs / answer.json()["id"] / "job.json").read_text())["given"]
    assert kept["steering"] == {
        "adaptor": None,
        "prompt": PROMPT,
        "seed": 3,
        "strengths": {"face": "0:1,1:0.2"},
        "guidance": {"motion": 6.0},
    }


@pytest.mark.parametrize(
    "path",
    [
        "/api/clips/..%2f..%2fx/look",
        "/api/clips/" + "0" * 16 + "/takes",
        "/api/takes/" + "0" * 16 + "-1/files/wav",
        "/api/takes/..-1/files/wav",
        "/static/..%2fapp.py",
        "/static/app.py",
        "/train.html",
    ],
)
def test_no_path_of_a_client_is_opened(made: Any, path: str) -> None:
    assert made.client.get(path).status_code == 404


def test_takes_are_kept_heard_and_deleted(made: Any, clip: Path) -> None:
    name = _given(made, clip)["id"]
    folder = made.shelf.pieces / ("a" * 16)
    folder.mkdir(parents=True)
    for number in (1, 2):
        for suffix in ("wav", "json"):
            (folder / f"x_{number}.{suffix}").write_bytes(b"12345")
    takes = [
        Take(
            id=f"{folder.name}-{n}", clip=name, seed=n, prompt="p", files={k: f"x_{n}.{k}" for k in ("wav", "json")}
        )
        for n in (1, 2)
    ]
    made.shelf.write_takes(folder, takes)
    first, second = (take.id for take in takes)
    for one in (first, second):
        kept = made.client.post(f"/api/takes/{one}/keep").json()
        assert [take["id"] for take in kept if take["kept"]] == [one]
    part = made.client.get(f"/api/takes/{first}/files/wav", headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"23", "audio/wav")
    assert made.client.get(f"/api/takes/{first}/files/video").status_code == 404
    assert made.client.post(f"/api/takes/{first}/again").json()["kind"] == "again"
    assert [take["id"] for take in made.client.delete(f"/api/takes/{first}").json()] == [second]
    assert sorted(path.name for path in folder.iterdir()) == ["takes.json", "x_2.json", "x_2.wav"]
    made.client.delete(f"/api/takes/{second}")
    assert not folder.exists()


def test_words_and_controls_of_an_adaptor() -> None:
    found = words.known("")
    assert [control["name"] for control in found["controls"]] == ["face", "motion"]
    assert "marimba" in found["words"] and found["prompt"] in found["captions"]
    with pytest.raises(ExpotionError):
        Adaptors(Path("nowhere"), []).steering({"adaptor": "", "strengths": {"face": "x"}})


def test_names() -> None:
    assert plain_name("../../été/My clip (1).mp4", "clip") == "My_clip_1"
    assert plain_name("..", "clip") == "clip"


@pytest.mark.slow
def test_a_clip_is_looked_at_and_scored_and_made_again(made: Any, clip: Path, tmp_path: Path) -> None:
    name = _given(made, clip)["id"]
    telling = Telling(open(tmp_path / "told", "w", encoding="utf-8"), tmp_path)  # noqa: SIM115 - closed with the test
    folder = made.shelf.clips / name
    given = {"folder": str(folder), "file": "my_dance.mp4", "clip": name, "adaptor": None}
    seeing.see(given, telling)
    look = made.client.get(f"/api/clips/{name}/look").json()
    assert [lane["name"] for lane in look["lanes"]] == ["face", "motion"]
    assert {"boxes", "vectors"} <= {key for layer in look["overlays"] for key in layer}
    assert made.client.get(f"/api/clips/{name}/picture").headers["content-type"] == "video/mp4"
    asked = {
        "clip": name,
        "file": str(folder / "my_dance.mp4"),
        "root": str(made.shelf.root),
        "out": str(made.shelf.pieces / ("b" * 16)),
        "steering": {"prompt": PROMPT, "seed": 5},
        "samples": 2,
    }
    composing.compose(asked, telling)
    takes = made.client.get(f"/api/clips/{name}/takes").json()
    assert [take["seed"] for take in takes] == [5, 6]
    assert {"Tempo", "Beat alignment", "Loudness"} <= {label for label, _ in takes[0]["scores"]}
    assert set(takes[0]["files"]) == {"wav", "video", "json"}
    record = made.shelf.pieces / ("b" * 16) / takes[1]["files"]["json"]
    composing.again({"root": asked["root"], "record": str(record), "take": takes[1]["id"], "clip": name}, telling)
    assert made.shelf.take(takes[1]["id"])[1].again == "The same bytes as the first time."
    assert len([*record.parent.iterdir()]) == 7  # what was made to compare is gone
