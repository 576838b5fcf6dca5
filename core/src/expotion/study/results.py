"""What a study has found, as files: JSON, CSV, Markdown, the figure, and every counted and uncounted answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from expotion.files import write_json, write_text
from expotion.study import headphones, session
from expotion.study.analysis import LEVEL, N_DRAWS, Analysis, Estimate, analyse
from expotion.study.figure import figure
from expotion.study.model import ANSWERS_FILE, TRAINING, Study
from expotion.study.store import Answer, Answers, Participant

FILES = ("results.json", "results.csv", "results.md", "results.svg", "answers.csv")


def write_results(folder: Path, out: Path | None = None) -> tuple[Study, Analysis, list[Path]]:
    """Analyse a study's answers and write the files to `out` (default: the study's folder).

    Raises ExpotionError where there are no answers, and for a database of another study.
    """
    study = Study.load(folder)
    answers = Answers(folder / ANSWERS_FILE, study.id, create=False)
    people, given = answers.everybody(), answers.all()
    found = analyse(study, people, given)
    target = out or folder
    paths = [target / name for name in FILES]
    write_json(paths[0], to_json(study, found))
    write_text(paths[1], to_csv(study, found))
    write_text(paths[2], to_markdown(study, found))
    write_text(paths[3], figure(study, found))
    write_text(paths[4], answers_csv(study, people, given))
    return study, found, paths


def to_json(study: Study, found: Analysis) -> dict[str, object]:
    """Everything as plain values, by system name."""

    def by_system(estimates: Sequence[Estimate]) -> dict[str, object]:
        return {name: asdict(each) for name, each in zip(study.systems, estimates, strict=True)}

    return {
        "study": {"id": study.id, "title": study.title, "created": study.created},
        "design": {
            "systems": list(study.systems),
            "clips": [clip.id for clip in study.clips],
            "ratings_per_participant": study.ratings,
            "comparisons_per_participant": study.comparisons,
            "attention_checks": study.attention_checks,
            "loudness_lufs": study.loudness_lufs,
            "scale": "1 bad, 2 poor, 3 fair, 4 good, 5 excellent",
        },
        "participants": asdict(found.people),
        "exclusion": _rule(study),
        "intervals": f"{LEVEL:.0%} bootstrap over participants and clips, {N_DRAWS} draws",
        "ratings": {name: by_system(each) for name, each in found.ratings.items()},
        "preferred_share": by_system(found.shares),
        "bradley_terry_log_strength": by_system(found.log_strengths),
        "wins_row_over_column": found.wins,
    }


def to_csv(study: Study, found: Analysis) -> str:
    """One line per system and measure."""
    rows: list[Sequence[object]] = [
        ("measure", "system", "value", "ci_low", "ci_high", "answers", "participants", "clips")
    ]
    measures = {**found.ratings, "preferred_share": found.shares, "log_strength": found.log_strengths}
    for measure, estimates in measures.items():
        for name, each in zip(study.systems, estimates, strict=True):
            rows.append((measure, name, *asdict(each).values()))
    return _csv(rows)


def answers_csv(study: Study, people: Sequence[Participant], answers: Sequence[Answer]) -> str:
    """Every answer by participant number (not code), also of those who do not count."""
    passed = {person.id: person.passed for person in people}
    head = ("participant", "passed_headphones", "trial", "kind", "clip", "system", "other_system", "question")
    rows: list[Sequence[object]] = [(*head, "value", "heard", "seconds")]
    for answer in answers:
        heard = [study.stimuli[token] for token in answer.stimuli]
        shown = [study.systems[each.system] for each in heard] + [""] * (2 - len(heard))
        clip = study.clips[heard[0].clip].id if heard else ""
        response = answer.response
        said = _said(answer)
        for question, value in said.items():
            start = (answer.participant, int(passed[answer.participant]), answer.trial + 1, answer.kind)
            rows.append((*start, clip, *shown, question, value, response["heard"], response["seconds"]))
    return _csv(rows)


def _said(answer: Answer) -> dict[str, object]:
    """What an answer says, by question."""
    response = answer.response
    if response.get("skipped"):
        return {"skipped": 1}
    if answer.kind == session.COMPARISON:
        return {"preferred": response["preferred"]}
    if answer.kind == session.ATTENTION:
        return {f"attention ({response['wanted']})": response["value"]}
    return dict(response["ratings"])


def to_markdown(study: Study, found: Analysis) -> str:
    """A page of tables."""
    people = found.people
    lines = [f"# {study.title}", ""]
    lines.append(
        f"{people.joined} joined, {people.finished} finished, **{people.counted} count**. "
        f"{len(study.systems)} systems, {len(study.clips)} clips; each participant: {study.ratings} ratings, "
        f"{study.comparisons} comparisons. All sounds at {study.loudness_lufs:g} LUFS."
    )
    lines += ["", _rule(study)]
    for reason, n in people.excluded.items():
        lines.append(f"- {n} {reason}")
    if not people.excluded:
        lines.append("- nobody was left out")
    if people.skipped:
        lines.append(f"- {people.skipped} trials were skipped as not playing")
    levels = ", ".join(f"{TRAINING[level].lower()} {n}" for level, n in people.training.items() if n)
    lines += ["", f"Musical training of those who count: {levels or 'nobody yet'}.", "", "## Ratings", ""]
    lines.append("Mean (1 bad to 5 excellent) and 95 % bootstrap interval over participants and clips.")
    heads = [criterion.title for criterion in study.questions]
    lines += ["", f"| System | {' | '.join(heads)} | answers |", "|---" * (len(heads) + 2) + "|"]
    for index, name in enumerate(study.systems):
        own = [found.ratings[criterion.name][index] for criterion in study.questions]
        cells = " | ".join(_cell(each, "{:.2f}") for each in own)
        lines.append(f"| {_escaped(name)} | {cells} | {own[0].n_answers} |")
    if study.comparisons:
        lines += ["", "## Preferences", ""]
        lines.append(
            "Chance of being preferred over another system drawn at random, and the logarithm of the strength, "
            "by the model of Bradley and Terry. Wins count half where there was no preference."
        )
        lines += ["", "| System | preferred | log strength | comparisons |", "|---|---|---|---|"]
        for index, name in enumerate(study.systems):
            share, strength = found.shares[index], found.log_strengths[index]
            cells = f"{_cell(share, '{:.0%}')} | {_cell(strength, '{:+.2f}')} | {share.n_answers}"
            lines.append(f"| {_escaped(name)} | {cells} |")
        lines += ["", "Wins of the row over the column:", ""]
        lines += [
            f"| | {' | '.join(map(_escaped, study.systems))} |",
            "|---" * (len(study.systems) + 1) + "|",
        ]
        for index, name in enumerate(study.systems):
            cells = " | ".join("–" if index == k else f"{n:g}" for k, n in enumerate(found.wins[index]))
            lines.append(f"| {_escaped(name)} | {cells} |")
    return "\n".join([*lines, "", "![Figure](results.svg)", ""])


def _rule(study: Study) -> str:
    rule = (
        f"Only those count who got {headphones.N_TO_PASS} of {headphones.N_TRIALS} sounds of the headphones check "
        f"right, in at most {headphones.MAX_ATTEMPTS} attempts"
    )
    return f"{rule}, and every attention check." if study.attention_checks else f"{rule}."


def _cell(each: Estimate, form: str) -> str:
    if each.value is None:
        return "–"
    if each.ci_low is None or each.ci_high is None:
        return form.format(each.value)
    return f"{form.format(each.value)} [{form.format(each.ci_low)}, {form.format(each.ci_high)}]"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
