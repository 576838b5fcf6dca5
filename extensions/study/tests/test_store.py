"""Answers are kept one by one, whole, under several participants at once."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from expotion.errors import ExpotionError
from expotion_study.store import Answers


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "answers.sqlite", "s1")


def test_the_file_is_in_write_ahead_mode_and_belongs_to_one_study(answers: Answers) -> None:
    with sqlite3.connect(answers.path) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    Answers(answers.path, "s1")
    with pytest.raises(ExpotionError, match="answers of study s2, got those of study s1"):
        Answers(answers.path, "s2")


def test_a_file_that_is_no_database_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with pytest.raises(ExpotionError, match="none yet"):
        Answers(path, "s1", create=False)
    assert not path.exists()
    path.write_bytes(b"a text, and not a short one, in place of a database" * 9)
    with pytest.raises(ExpotionError, match="a database of answers"):
        Answers(path, "s1")


def test_participants_who_come_at_once_get_places_of_their_own(answers: Answers) -> None:
    joined = []
    threads = [threading.Thread(target=lambda: joined.append(answers.join("none"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(person.slot for person in joined) == list(range(12))
    assert len({person.code for person in joined}) == 12


def test_a_place_is_free_again_after_a_failed_check_and_after_a_day(answers: Answers) -> None:
    first, second, third = (answers.join("none") for _ in range(3))
    answers.add_attempt(first.id, 0, 2, False)
    assert answers.join("none").slot == 3  # one more attempt is left
    answers.add_attempt(first.id, 1, 3, False)
    assert answers.join("none").slot == first.slot
    with sqlite3.connect(answers.path) as connection:
        connection.execute("update participants set seen = '2020-01-01T00:00:00+00:00' where id = ?", (second.id,))
    assert answers.join("none").slot == second.slot
    answers.add_answer(third.id, 0, "rating", ["t"], {}, last=True)
    with sqlite3.connect(answers.path) as connection:
        connection.execute("update participants set seen = '2020-01-01T00:00:00+00:00' where id = ?", (third.id,))
    assert answers.join("none").slot == 4  # who has finished keeps the place


def test_the_first_answer_to_a_trial_stays(answers: Answers) -> None:
    person = answers.join("beginner")
    answers.add_answer(person.id, 0, "rating", ["a"], {"ratings": {"musicality": 4}}, last=False)
    answers.add_answer(person.id, 0, "rating", ["a"], {"ratings": {"musicality": 1}}, last=False)
    assert [answer.response for answer in answers.all()] == [{"ratings": {"musicality": 4}}]
    assert answers.answered(person.id) == {0}


def test_a_failure_in_the_middle_of_an_answer_keeps_nothing(answers: Answers) -> None:
    person = answers.join("none")
    with pytest.raises(sqlite3.IntegrityError):
        answers.add_answer(person.id + 7, 0, "rating", ["a"], {}, last=True)
    assert answers.all() == []
    assert not answers.everybody()[0].finished


def test_codes_are_found_however_they_are_typed_and_can_be_forgotten(answers: Answers) -> None:
    person = answers.join("none")
    typed = f" {person.code[:4].lower()}-{person.code[4:8]} {person.code[8:]}"
    found = answers.find(typed)
    assert found is not None and found.id == person.id
    answers.add_answer(person.id, 0, "rating", ["a"], {}, last=False)
    assert answers.forget(typed)
    assert answers.everybody() == [] and answers.all() == []
    assert not answers.forget(person.code)
