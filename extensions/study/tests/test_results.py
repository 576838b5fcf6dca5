"""Numbers from answers: what was put in comes out, with intervals that hold it."""

from __future__ import annotations

import csv
import json
import sqlite3
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from expotion.cli.main import run
from expotion_study import analysis as bradley_terry
from expotion_study.analysis import analyse
from expotion_study.model import ANSWERS_FILE, Study
from expotion_study.session import trials_of
from expotion_study.store import Answers

QUALITY = (2.2, 3.0, 3.9)
"""Mean rating of the three systems in the simulated population."""


def simulate(folder: Path, n_people: int, *, deaf: int = 0, careless: int = 0, seed: int = 0) -> Study:
    """People who rate by QUALITY and prefer what is better; the deaf and the careless say the opposite."""
    study = Study.load(folder)
    answers, rng = Answers(folder / ANSWERS_FILE, study.id), np.random.default_rng(seed)
    rows: list[tuple[object, ...]] = []
    clip_shift = rng.normal(0, 0.2, len(study.clips))
    for number in range(n_people + deaf + careless):
        odd = number >= n_people
        person = answers.join("beginner" if number % 2 else "professional")
        is_deaf = n_people <= number < n_people + deaf
        for attempt in range(2 if is_deaf else 1):
            answers.add_attempt(person.id, attempt, 1 if is_deaf else 6, not is_deaf)
        shift, trials = rng.normal(0, 0.3), trials_of(study, person.slot)
        for trial in trials:
            heard = [study.stimuli[token] for token in trial.stimuli]
            quality = [QUALITY[2 - each.system] if odd else QUALITY[each.system] for each in heard]
            response: dict[str, object] = {"heard": 1.0, "seconds": 20.0}
            if trial.kind == "rating":
                mean = quality[0] + shift + clip_shift[heard[0].clip]
                drawn = np.clip(np.rint(rng.normal(mean, 0.6, len(study.criteria))), 1, 5)
                response["ratings"] = dict(zip(study.criteria, drawn.astype(int).tolist(), strict=True))
            elif trial.kind == "attention":
                wanted = trial.wanted or 0
                response |= {"wanted": wanted, "value": 3 if number >= n_people + deaf else wanted}
            else:
                left = rng.random() < 1 / (1 + np.exp(quality[1] - quality[0]))
                response["preferred"] = "left" if left else "right"
            stimuli = json.dumps(trial.stimuli)
            rows.append((person.id, trial.number, trial.kind, stimuli, json.dumps(response), "now"))
    # All at once: hundreds of answers one by one wait for the disk.
    with sqlite3.connect(answers.path) as connection:
        connection.executemany("insert into answers values (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("update participants set finished = seen")
    return study


def test_means_and_preferences_come_out_as_they_were_put_in(study_folder: Path) -> None:
    study = simulate(study_folder, 40)
    answers = Answers(study_folder / ANSWERS_FILE, study.id)
    found = analyse(study, answers.everybody(), answers.all(), n_draws=400)
    for estimates in found.ratings.values():
        for each, truth in zip(estimates, QUALITY, strict=True):
            assert each.value is not None and each.ci_low is not None and each.ci_high is not None
            assert each.ci_low <= each.value <= each.ci_high
            assert each.ci_low - 0.25 < truth < each.ci_high + 0.25  # the drawn clips have a mean of their own
            assert (each.n_answers, each.n_participants, each.n_clips) == (80, 40, 4)
    shares = [each.value or 0.0 for each in found.shares]
    assert shares == sorted(shares) and shares[2] - shares[0] > 0.2
    logs = [each.value or 0.0 for each in found.log_strengths]
    assert logs[2] - logs[0] == pytest.approx(QUALITY[2] - QUALITY[0], abs=0.9)
    assert sum(logs) == pytest.approx(0.0, abs=1e-9)
    assert np.sum(found.wins) == 120
    assert found.people.training["beginner"] == found.people.training["professional"] == 20


def test_who_failed_a_check_is_left_out_and_reported(study_folder: Path) -> None:
    study = simulate(study_folder, 10, deaf=6, careless=5)
    answers = Answers(study_folder / ANSWERS_FILE, study.id)
    answers.join("none")  # came, and left before the check
    found = analyse(study, answers.everybody(), answers.all(), n_draws=100)
    assert (found.people.joined, found.people.finished, found.people.counted) == (22, 21, 10)
    assert found.people.excluded == {
        "failed the headphones check": 6,
        "failed an attention check": 5,
        "did not reach the end of the headphones check": 1,
    }
    assert {each.n_participants for each in found.ratings["musicality"]} == {10}
    means = [each.value or 0.0 for each in found.ratings["musicality"]]
    assert means == sorted(means)  # the eleven said the opposite


def test_intervals_speak_about_people_and_clips(study_folder: Path) -> None:
    """Many answers of few people do not make them sure: people who differ widen the interval."""
    study = simulate(study_folder, 12)
    answers = Answers(study_folder / ANSWERS_FILE, study.id)
    given = answers.all()
    for answer in given:
        if answer.kind == "rating":
            own = 5 if answer.participant % 2 else 1
            answer.response["ratings"] = dict.fromkeys(study.criteria, own)
    found = analyse(study, answers.everybody(), given, n_draws=400)
    for each in found.ratings["musicality"]:
        assert each.ci_low is not None and each.ci_high is not None
        # 24 independent answers would give 2 * 1.96 * 2 / sqrt(24) = 1.6; 12 people give 2.26.
        assert each.ci_high - each.ci_low > 1.9


def test_the_same_answers_give_the_same_numbers_and_two_systems_are_enough() -> None:
    wins = np.array([[0.0, 9.0], [1.0, 0.0]])
    strengths = bradley_terry.fit(wins, prior=0.0)
    assert strengths[0] / strengths[1] == pytest.approx(9.0, rel=1e-4)
    assert bradley_terry.preferred_share(strengths) == pytest.approx([0.9, 0.1], rel=1e-4)


def test_bradley_terry_recovers_known_strengths_and_stays_finite() -> None:
    truth = np.array([4.0, 2.0, 1.0, 0.125])
    chance = truth[:, None] / (truth[:, None] + truth[None, :])
    found = bradley_terry.fit(1e4 * (chance - np.diag(np.diag(chance))))
    assert found == pytest.approx(truth, rel=1e-2)  # geometric mean 1 already
    always = bradley_terry.fit(np.array([[0.0, 20.0], [0.0, 0.0]]))
    assert np.isfinite(np.log(always)).all() and always[0] > 10 * always[1]
    many = bradley_terry.fit(np.stack([np.array([[0.0, 3.0], [1.0, 0.0]])] * 3))
    assert many.shape == (3, 2) and np.ptp(many[:, 0]) == 0


def test_results_as_files(study_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = simulate(study_folder, 6, deaf=1)
    out = tmp_path / "found"
    assert run(["study", "results", str(study_folder), "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert "7 joined, 7 finished, **6 count**" in said and "1 failed the headphones check" in said
    names = {"results.json", "results.csv", "results.md", "results.svg", "answers.csv"}
    assert {path.name for path in out.iterdir()} == names
    content = json.loads((out / "results.json").read_text())
    assert content["ratings"]["creativity"]["beta_net"]["n_answers"] == 12
    assert content["participants"]["excluded"] == {"failed the headphones check": 1}
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert {row["measure"] for row in rows} == {*study.criteria, "preferred_share", "log_strength"}
    assert len(rows) == 18
    told = {float(row["value"]) for row in rows if row["measure"] == "musicality"}
    assert told == {each["value"] for each in content["ratings"]["musicality"].values()}
    every = list(csv.DictReader((out / "answers.csv").open()))
    assert len(every) == 7 * (6 * 4 + 1 + 3)
    assert {row["passed_headphones"] for row in every} == {"0", "1"}
    codes = [person.code for person in Answers(study_folder / ANSWERS_FILE, study.id).everybody()]
    written = "".join(path.read_text() for path in out.iterdir())
    assert not [code for code in codes if code in written]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(["study", "results", str(study_folder), "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_figure_has_a_dot_for_every_number_where_it_belongs(study_folder: Path) -> None:
    from expotion_study.results import figure

    study = simulate(study_folder, 5)
    answers = Answers(study_folder / ANSWERS_FILE, study.id)
    found = analyse(study, answers.everybody(), answers.all(), n_draws=50)
    root = ET.fromstring(figure(study, found))
    space = {"s": "http://www.w3.org/2000/svg"}
    dots, bars = root.findall("s:circle", space), root.findall("s:line[@class='bar']", space)
    assert len(dots) == len(bars) == 15
    for dot, bar in zip(dots, bars, strict=True):
        assert float(bar.get("x1", "")) <= float(dot.get("cx", "")) <= float(bar.get("x2", ""))
        assert dot.get("cy") == bar.get("y1")
    means = [each.value or 0.0 for each in found.ratings["musicality"]]
    places = [float(dot.get("cx", "")) for dot in dots[:3]]
    assert np.corrcoef(means, places)[0, 1] > 0.999
    text = "".join(root.itertext())
    assert all(name in text for name in study.systems) and "5 participants, 4 clips" in text


def test_results_without_answers(study_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "results", str(study_folder)]) == 1
    assert "answers of participants, got none yet" in capfd.readouterr().err
    study = Study.load(study_folder)
    Answers(study_folder / ANSWERS_FILE, study.id)
    assert run(["study", "results", str(study_folder)]) == 0
    content = json.loads((study_folder / "results.json").read_text())
    assert content["ratings"]["musicality"]["alpha_net"]["value"] is None
    assert "no answers" in (study_folder / "results.svg").read_text()


def test_a_participant_can_be_forgotten(study_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = simulate(study_folder, 2)
    answers = Answers(study_folder / ANSWERS_FILE, study.id)
    first = answers.everybody()[0]
    assert run(["study", "forget", str(study_folder), first.code]) == 0
    assert [person.id for person in answers.everybody()] == [first.id + 1]
    assert {answer.participant for answer in answers.all()} == {first.id + 1}
    assert run(["study", "forget", str(study_folder), first.code]) == 1
    assert "a participant of this study" in capfd.readouterr().err
