"""The answers: one SQLite file in write-ahead mode, one transaction per answer."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from expotion.errors import ExpotionError, Problem
from expotion_study.headphones import MAX_ATTEMPTS

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without 0, 1, I, L, O and U: a code can be read out."""
CODE_LENGTH = 12
HELD_HOURS = 24
"""A place in the design stays with an unfinished participant for this long after the last answer."""

_TABLES = """
create table if not exists study (id text not null);
create table if not exists participants (
  id integer primary key, code text not null unique, slot integer not null, training text not null,
  joined text not null, seen text not null, finished text
);
create table if not exists headphones (
  participant integer not null references participants, attempt integer not null, n_correct integer not null,
  passed integer not null, answered text not null, primary key (participant, attempt)
);
create table if not exists answers (
  participant integer not null references participants, trial integer not null, kind text not null,
  stimuli text not null, response text not null, answered text not null, primary key (participant, trial)
);
"""


@dataclass(frozen=True)
class Participant:
    """One participant; `attempts` are the results of the headphones check so far."""

    id: int
    code: str
    slot: int
    training: str
    finished: bool
    attempts: tuple[bool, ...]

    @property
    def screened(self) -> bool:
        """Whether the headphones check is over, passed or not."""
        return any(self.attempts) or len(self.attempts) >= MAX_ATTEMPTS

    @property
    def passed(self) -> bool:
        """Whether the headphones check was passed."""
        return any(self.attempts)


@dataclass(frozen=True)
class Answer:
    """One answered trial: what was heard (tokens) and what was said."""

    participant: int
    trial: int
    kind: str
    stimuli: tuple[str, ...]
    response: dict[str, Any]


class Answers:
    """A study's answers. Every method opens its own connection, so that threads and processes may share a file."""

    def __init__(self, path: Path, study_id: str, *, create: bool = True) -> None:
        """Open or make the file. Raises ExpotionError for one of another study and for one that is none."""
        self.path = path
        if not create and not path.is_file():
            fix = "start it with `expotion study serve`"
            raise ExpotionError(Problem(str(path), "answers of participants", "none yet", fix))
        try:
            with self._connected() as connection:
                connection.executescript(_TABLES)
            with self._writing() as connection:
                found = connection.execute("select id from study").fetchone()
                if found is None:
                    connection.execute("insert into study values (?)", (study_id,))
        except sqlite3.Error as error:
            fix = "check that the folder can be written to, or move this file away"
            raise ExpotionError(Problem(str(path), "a database of answers", str(error), fix)) from None
        if found is not None and found[0] != study_id:
            fix = "put the folder of the study back as it was built, or move this file away"
            got = f"those of study {found[0]}"
            raise ExpotionError(Problem(str(path), f"answers of study {study_id}", got, fix))

    def join(self, training: str) -> Participant:
        """A new participant in the first free place of the design.

        Free is what nobody holds whose answers will count: not those who failed the headphones check, nor those
        who left more than HELD_HOURS ago without finishing.
        """
        since = _stamp(timedelta(hours=HELD_HOURS))
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        with self._writing() as connection:
            held = connection.execute(
                "select slot from participants p where (finished is not null or seen >= ?) and not ("
                " (select count(*) from headphones h where h.participant = p.id) >= ?"
                " and (select max(passed) from headphones h where h.participant = p.id) = 0)",
                (since, MAX_ATTEMPTS),
            )
            taken = {row[0] for row in held}
            slot = next(number for number in range(len(taken) + 1) if number not in taken)
            stamp = _stamp()
            connection.execute(
                "insert into participants (code, slot, training, joined, seen) values (?, ?, ?, ?, ?)",
                (code, slot, training, stamp, stamp),
            )
        found = self.find(code)
        assert found is not None
        return found

    def find(self, code: str) -> Participant | None:
        """The participant with a code (dashes, spaces and case do not matter), or None."""
        plain = "".join(letter for letter in code.upper() if letter.isalnum())
        return next(iter(self._people(" where code = ?", plain)), None)

    def everybody(self) -> list[Participant]:
        """All participants in the order in which they joined."""
        return self._people("")

    def _people(self, which: str, *values: str) -> list[Participant]:
        columns = "id, code, slot, training, finished is not null"
        query = "select " + columns + " from participants" + which + " order by id"
        tried = "select passed from headphones where participant = ? order by attempt"
        with self._connected() as connection:
            found = []
            for who, code, slot, training, finished in connection.execute(query, values).fetchall():
                attempts = tuple(bool(passed) for (passed,) in connection.execute(tried, (who,)))
                found.append(Participant(who, code, slot, training, bool(finished), attempts))
            return found

    def add_attempt(self, participant: int, attempt: int, n_correct: int, passed: bool) -> None:
        """Keep a headphones check; the first answer to an attempt stays."""
        with self._writing() as connection:
            connection.execute(
                "insert or ignore into headphones values (?, ?, ?, ?, ?)",
                (participant, attempt, n_correct, int(passed), _stamp()),
            )
            connection.execute("update participants set seen = ? where id = ?", (_stamp(), participant))

    def add_answer(
        self,
        participant: int,
        trial: int,
        kind: str,
        stimuli: Sequence[str],
        response: Mapping[str, Any],
        *,
        last: bool,
    ) -> None:
        """Keep the answer to a trial; the first one stays. `last` marks the participant as finished."""
        values = (participant, trial, kind, json.dumps(list(stimuli)), json.dumps(dict(response)), _stamp())
        with self._writing() as connection:
            connection.execute("insert or ignore into answers values (?, ?, ?, ?, ?, ?)", values)
            connection.execute("update participants set seen = ? where id = ?", (_stamp(), participant))
            if last:
                connection.execute(
                    "update participants set finished = coalesce(finished, seen) where id = ?", (participant,)
                )

    def answered(self, participant: int) -> set[int]:
        """Numbers of the trials that a participant has answered."""
        with self._connected() as connection:
            rows = connection.execute("select trial from answers where participant = ?", (participant,))
            return {row[0] for row in rows}

    def all(self) -> list[Answer]:
        """Every answer, by participant and trial."""
        query = "select participant, trial, kind, stimuli, response from answers order by participant, trial"
        with self._connected() as connection:
            return [
                Answer(row[0], row[1], row[2], tuple(json.loads(row[3])), json.loads(row[4]))
                for row in connection.execute(query)
            ]

    def forget(self, code: str) -> bool:
        """Delete a participant and all answers; False where the code is unknown."""
        found = self.find(code)
        if found is None:
            return False
        with self._writing() as connection:
            for table in ("answers where participant", "headphones where participant", "participants where id"):
                connection.execute("delete from " + table + " = ?", (found.id,))
        return True

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20.0, isolation_level=None)) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and nobody else writes meanwhile."""
        with self._connected() as connection, connection:
            connection.execute("begin immediate")
            yield connection


def _stamp(before: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) - before).isoformat(timespec="seconds")
