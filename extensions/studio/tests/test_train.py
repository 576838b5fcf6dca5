"""The room Train without a browser: what is asked, the split by piece, the run, and its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expotion.manifest.rows import Row, read_manifest, write_manifest
from expotion_studio import planning, train, training
from expotion_studio.hooks import Curve, read_curve
from expotion_studio.shelf import Recording


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(function: str, *given: str, where: str, time_s: int) -> dict[str, Any]:
        found: dict[str, Any] = getattr(planning, function.partition(":")[2])(*given)
        return found

    monkeypatch.setattr(train, "limited", called)


def _recorded(made: Any, count: int, songs: int, performers: int = 1) -> list[str]:
    """Recordings and their clips in the manifest; nothing is decoded."""
    names, rows = [f"{number:016x}" for number in range(count)], []
    for number, name in enumerate(names):
        folder = made.shelf.recordings / name
        folder.mkdir(parents=True)
        song, who = f"Piece {number % songs}", f"P{number % performers}"
        one = Recording(
            id=name, song="5" * 16, title=song, performer=who, duration_s=20.0, frames=1, fps=1.0, dropped=0,
            offset_s=0.0, offset_from="", added=str(number),
        )  # fmt: skip
        (folder / "about.json").write_text(one.model_dump_json())
        for part in range(2):
            about = {"id": f"{name}@{part}", "path": str(folder / "x.mp4"), "file_sha256": f"{number:064x}"}
            times = {"start_s": 10.0 * part, "duration_s": 10.0}
            rows.append(Row(**about, **times, song=song, performer=who, recording=name, sound=song))
    write_manifest(made.shelf.corpus / "manifest.jsonl", rows, {})
    made.shelf.runs.mkdir(exist_ok=True)
    return names


def _asked(names: list[str], **changed: Any) -> dict[str, Any]:
    return {"name": "mine", "recordings": names, "controls": {"face": "face_marlin"}, "steps": 3, **changed}


def _parts(made: Any, names: list[str]) -> tuple[dict[str, Any], dict[str, set[str | None]]]:
    """A run's recipe, and the pieces of each of its parts."""
    recipe = training.own_recipe(made.shelf, {**_asked(names), "model": "tiny", "clip_s": 10.0, "seed": 7})
    rows = read_manifest(made.shelf.runs / "mine.jsonl")
    assert {row.recording for row in rows} == {*names}  # and no other take
    return recipe, {split: {row.song for row in rows if row.split == split} for split in ("train", "test")}


@pytest.mark.parametrize(("songs", "performers", "note"), [(4, 1, "this person"), (5, 2, "these people")])
def test_takes_of_one_piece_stay_together(made: Any, songs: int, performers: int, note: str) -> None:
    names = _recorded(made, 12, songs, performers)[:-1]
    recipe, parts = _parts(made, names)
    assert recipe["description"].endswith(f"{note}, unseen pieces")
    assert parts["train"] and len(parts["test"]) == 1 and not parts["train"] & parts["test"]
    assert json.loads((made.shelf.runs / "mine.recordings.json").read_text()) == names


def test_of_two_pieces_nothing_is_left_to_test_on_and_it_is_said(made: Any) -> None:
    names = _recorded(made, 4, 2)
    recipe, parts = _parts(made, names)
    assert "no test part" in recipe["description"]
    assert recipe["evaluate"] == {"conditions": ["all"], "metrics": []}
    assert parts["train"] == {"Piece 0", "Piece 1"}
    rows = read_manifest(made.shelf.runs / "mine.jsonl")
    assert [row.id for row in rows if row.split == "test"] == [f"{rows[0].id} (trained on)"]


def test_of_ten_pieces_some_are_left_to_watch_the_training_by(made: Any) -> None:
    _parts(made, _recorded(made, 10, 10))
    rows = read_manifest(made.shelf.runs / "mine.jsonl")
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "validation", "test")}
    assert counts == {"train": 14, "validation": 2, "test": 4}


def test_what_is_asked_is_checked_first(made: Any) -> None:
    names = _recorded(made, 3, 3)

    def said(**changed: Any) -> str:
        text: str = made.client.post("/api/runs", json=_asked(names, **changed)).text
        return text

    assert "some that are here" in said(recordings=["f" * 16])
    assert "'nothing'" in said(controls={"x": "nothing"})
    assert "expotion models pull" in said(controls={"x": "motion_raft"})
    for wrong in ({"name": "../x"}, {"steps": 0}, {"recordings": []}, {"controls": {}}):
        assert made.client.post("/api/runs", json=_asked(names, **wrong)).status_code == 422
    assert made.jobs.all() == []
    assert made.client.post("/api/runs", json=_asked(names)).json()["about"] == "mine"
    assert "give another" in said()  # the first waits
    assert made.client.delete("/api/recordings/" + names[0]).status_code == 409


def test_a_run_is_shown_and_deleted(made: Any) -> None:
    _recorded(made, 3, 3)
    folder = made.shelf.runs / "mine"
    (folder / "samples" / "face").mkdir(parents=True)
    clip = "0" * 16 + "@10.000+5.000"
    (folder / "samples" / "face" / f"{clip}.wav").write_bytes(b"123")
    (folder / "report.html").write_text("<p>report</p>")
    (made.shelf.runs / "mine.yaml").write_text("name: mine\n")
    curve = Curve()
    curve.on_start(folder, {}, 0)
    for step in range(900):
        validated = {"validation_loss": 1.5} if step == 401 else {}
        curve.on_step({"step": step, "loss": 2.0 - step / 1000, "step_s": 0.1, **validated})
    with (folder / "curve.jsonl").open("a") as file:
        file.write('{"step": 90')  # is being written
    run = made.client.get("/api/runs").json()[0]
    assert run["samples"] == [["face", "Piece 0 from 10 s"]] and run["has_report"] and not run["has_adaptor"]
    assert run["curve"][0] == {"step": 0, "loss": 2.0} and 300 < len(run["curve"]) <= 600
    assert [point["step"] for point in run["curve"] if "validation_loss" in point] == [401]  # is never thinned out
    report = made.client.get("/api/runs/mine/report")
    assert "sandbox" in report.headers["content-security-policy"]
    assert made.client.get("/api/runs/mine/samples/0").content == b"123"
    assert made.client.get("/api/runs/mine/samples/1").status_code == 404
    assert made.client.post("/api/runs/mine/resume").json()["state"] == "waiting"
    assert made.client.delete("/api/runs/mine").status_code == 409
    made.jobs.stop(made.jobs.all()[0].id)
    assert made.client.delete("/api/runs/mine").status_code == 200
    assert [path.name for path in made.shelf.runs.iterdir()] == []


def test_a_resumed_curve_forgets_what_was_not_kept(tmp_path: Path) -> None:
    curve = Curve()
    curve.on_start(tmp_path, {}, 0)
    for step in range(5):
        curve.on_step({"step": step, "loss": 1.0})
    curve.on_start(tmp_path, {}, 3)
    curve.on_step({"step": 3, "loss": 0.5})
    assert [(one["step"], one["loss"]) for one in read_curve(tmp_path / "curve.jsonl")] == [
        (0, 1.0),
        (1, 1.0),
        (2, 1.0),
        (3, 0.5),
    ]


@pytest.mark.parametrize(
    ("model", "clip_s", "stretch"), [("tiny", 10.0, 250), ("tiny", 5.0, None), ("large", 10.0, None)]
)
def test_the_recipe_is_one_that_the_command_line_takes(
    made: Any, tmp_path: Path, model: str, clip_s: float, stretch: int | None
) -> None:
    import yaml

    from expotion.plugins import discover
    from expotion.recipe.load import load_recipe

    given = {**_asked(_recorded(made, 3, 3)), "model": model, "clip_s": clip_s, "seed": 3, "steps": 40}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(training.own_recipe(made.shelf, given)))
    recipe = load_recipe(tmp_path / "mine.yaml", registry=discover())
    assert [condition.encoder for condition in recipe.conditions] == ["face_marlin"]
    assert (recipe.seed, recipe.train.steps, recipe.train.stretch_frames) == (3, 40, stretch)
    assert recipe.backbone.source == ("tiny" if model == "tiny" else "hf:facebook/musicgen-large")
    assert recipe.conditions[0].options["geometry"] == ("tiny" if model == "tiny" else "base")


def test_what_a_run_needs_and_takes_is_said_before_it(made: Any) -> None:
    names = _recorded(made, 6, 3)

    def plan(**changed: Any) -> dict[str, Any]:
        found: dict[str, Any] = made.client.post("/api/plan", json=_asked(names, **changed)).json()
        return found

    found = plan()
    assert (found["clips"], found["songs"], found["note"]) == (12, 3, "this person, unseen pieces")
    assert found["lacks"] == found["gpus"] == [] and "training" in found["times"]
    assert plan(clip_s=20)["clips"] == 6
    large = plan(model="large", steps=500)
    assert any("marlin_vit_base_ytf" in lack for lack in large["lacks"])
    assert large["fetches"][0].startswith("the weights facebook/musicgen-large")
    assert large["gpus"][0].startswith("6.8 GB") and "H200" in large["gpus"][-1]


def test_controls_that_need_no_more_than_a_picture_are_offered(made: Any) -> None:
    found = made.client.get("/api/controls").json()
    names = [one["encoder"] for one in found["controls"]]
    assert names[:2] == ["face_marlin", "motion_synchformer"]  # the usual ones
    assert "precomputed" not in names and "movement_beat" in names
    assert next(one for one in found["controls"] if one["encoder"] == "motion_raft")["lacks"]
    assert list(found["models"]) == ["tiny", "small", "medium", "large"]


def test_a_listening_study_is_answered_within_the_studio(made: Any) -> None:
    from expotion_study.model import Screening, Study, StudyClip

    assert made.client.get("/study/mine/").status_code == 404
    made.shelf.runs.mkdir(parents=True)
    (made.shelf.runs / "mine.yaml").write_text("name: mine\n")
    assert made.client.get("/study/mine/").status_code == 404
    assert made.client.post("/api/runs/mine/study").status_code == 409  # nothing to listen to
    Study(
        "1" * 32, "2026-01-01", "Music for movement", "", "", ("a", "b"), (StudyClip("c", None, 2.0),), {},
        Screening({}, "x"), ("musicality",), 1, 0, 0, -23.0, False,
    ).save(made.shelf.studies / "mine")  # fmt: skip
    (made.shelf.studies / "mine" / "media").mkdir()
    (made.shelf.studies / "mine" / "media" / "x.wav").write_bytes(b"x")
    assert made.client.get("/study/mine", follow_redirects=False).headers["location"] == "/study/mine/"
    page = made.client.get("/study/mine/")
    assert "Music for movement" in page.text and page.headers["referrer-policy"] == "same-origin"
    assert made.client.get("/study/mine/static/study.css").status_code == 200
    joined = made.client.post(
        "/study/mine/join",
        content="consent=1&training=none",
        headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://testserver"},
        follow_redirects=False,
    )
    assert joined.status_code == 303
    place = joined.headers["location"]  # as the page's own: from where it stands
    assert place.startswith("s/") and "headphones" in made.client.get(f"/study/mine/{place}").text
    assert made.client.get("/study/..%2f..%2fx/").status_code == 404
    assert "1 joined, 0 finished" in made.client.get("/api/runs/mine/study/results").text
