"""What a study has found, as files: JSON, CSV, Markdown, the figure, and every counted and uncounted answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import NamedTuple

from expotion.evaluate.statistics import LEVEL
from expotion.files import write_json, write_text
from expotion_study import headphones, session
from expotion_study.analysis import N_DRAWS, Analysis, Estimate, analyse
from expotion_study.model import ANSWERS_FILE, TRAINING, Study
from expotion_study.store import Answer, Answers, Participant

WIDTH, LABEL, GAP, ROW, HEAD, FOOT = 900, 150, 36, 26, 34, 34
_CHARACTERS = 21
"""Of a system's name that fit beside a panel; the whole name stands in its tooltip."""

_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1f1d1a}
.title{font-size:15px;font-weight:600}.soft{fill:#67625a;font-size:12px}
.grid{stroke:#e2ddd3}.bar{stroke:#0b6e69;stroke-width:3;stroke-linecap:round}.dot{fill:#0b6e69}.paper{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#efeae1}.soft{fill:#a8a196}.grid{stroke:#37342f}
.bar{stroke:#4cc2b6}.dot{fill:#4cc2b6}.paper{fill:#161514}}
"""


class Panel(NamedTuple):
    """Estimates by system between `low` and `high`; `form` is how a tick is written."""

    title: str
    estimates: Sequence[Estimate]
    low: float
    high: float
    ticks: Sequence[float]
    form: str


def figure(study: Study, found: Analysis) -> str:
    """A panel per criterion and one for the preferences, as one SVG that stands alone.

    Dots are means (or shares), lines their 95 % intervals.
    """
    panels = [Panel(c.title, found.ratings[c.name], 1.0, 5.0, (1, 2, 3, 4, 5), "{:g}") for c in study.questions]
    if study.comparisons:
        quarters = (0.0, 0.25, 0.5, 0.75, 1.0)
        panels.append(Panel("Preferred over another system", found.shares, 0.0, 1.0, quarters, "{:.0%}"))
    panel_height = HEAD + ROW * len(study.systems) + FOOT
    height = -(-len(panels) // 2) * panel_height + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(_in_words(study, found))}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    for index, panel in enumerate(panels):
        left, top = (index % 2) * (WIDTH // 2), (index // 2) * panel_height
        parts += _drawn(panel, study.systems, left + 12, top)
    note = (
        f"{found.people.counted} participants, {len(study.clips)} clips. Dot: mean; line: 95 % bootstrap interval "
        "over participants and clips. Scale 1 bad to 5 excellent."
    )
    parts.append(f'<text class="soft" x="12" y="{height - 12}">{escape(note)}</text></svg>')
    return "\n".join(parts) + "\n"


def _drawn(panel: Panel, systems: Sequence[str], left: int, top: int) -> list[str]:
    start, width = left + LABEL, WIDTH // 2 - LABEL - GAP
    bottom = top + HEAD + ROW * len(systems)

    def at(value: float) -> float:
        return round(start + width * (value - panel.low) / (panel.high - panel.low), 1)

    parts = [f'<text class="title" x="{left}" y="{top + 22}">{escape(panel.title)}</text>']
    for tick in panel.ticks:
        parts.append(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="{top + HEAD}" y2="{bottom}"/>')
        label = escape(panel.form.format(tick))
        parts.append(f'<text class="soft" x="{at(tick)}" y="{bottom + 16}" text-anchor="middle">{label}</text>')
    for row, (name, each) in enumerate(zip(systems, panel.estimates, strict=True)):
        middle = top + HEAD + ROW * row + ROW / 2
        shown = name if len(name) <= _CHARACTERS else name[: _CHARACTERS - 1] + "…"
        parts.append(f'<text x="{start - 10}" y="{middle + 4}" text-anchor="end">')
        parts.append(f"<title>{escape(name)}</title>{escape(shown)}</text>")
        if each.value is None:
            parts.append(f'<text class="soft" x="{start + 4}" y="{middle + 4}">no answers</text>')
            continue
        if each.ci_low is not None and each.ci_high is not None:
            ends = f'x1="{at(each.ci_low)}" x2="{at(each.ci_high)}" y1="{middle}" y2="{middle}"'
            parts.append(f'<line class="bar" {ends}/>')
        parts.append(f'<circle class="dot" cx="{at(each.value)}" cy="{middle}" r="5.5"/>')
    return parts


def _in_words(study: Study, found: Analysis) -> str:
    """The figure in words."""
    lines = []
    for criterion in study.questions:
        means = [
            f"{name} {each.value:.2f}"
            for name, each in zip(study.systems, found.ratings[criterion.name], strict=True)
            if each.value is not None
        ]
        lines.append(f"{criterion.title}: {', '.join(means) or 'no answers'}")
    return ". ".join(lines)


def write_results(folder: Path, out: Path | None = None) -> tuple[str, list[Path]]:
    """Analyse a study's answers and write the files to `out` (default: the study's folder); the page and the paths.

    Raises ExpotionError where there are no answers, and for a database of another study.
    """
    study = Study.load(folder)
    answers = Answers(folder / ANSWERS_FILE, study.id, create=False)
    people, given = answers.everybody(), answers.all()
    found = analyse(study, people, given)
    markdown = to_markdown(study, found)
    texts = {
        "results.csv": to_csv(study, found),
        "results.md": markdown,
        "results.svg": figure(study, found),
        "answers.csv": answers_csv(study, people, given),
    }
    target = out or folder
    write_json(target / "results.json", to_json(study, found))
    for name, text in texts.items():
        write_text(target / name, text)
    return markdown, [target / name for name in ("results.json", *texts)]


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
    rows = []
    for index, name in enumerate(study.systems):
        own = [found.ratings[criterion.name][index] for criterion in study.questions]
        rows.append([name, *(_cell(each, "{:.2f}") for each in own), own[0].n_answers])
    lines += _table(["System", *heads, "answers"], rows)
    if study.comparisons:
        lines += ["", "## Preferences", ""]
        lines.append(
            "Chance of being preferred over another system drawn at random, and the logarithm of the strength, "
            "by the model of Bradley and Terry. Wins count half where there was no preference."
        )
        rows = [
            [name, _cell(share, "{:.0%}"), _cell(strength, "{:+.2f}"), share.n_answers]
            for name, share, strength in zip(study.systems, found.shares, found.log_strengths, strict=True)
        ]
        lines += _table(["System", "preferred", "log strength", "comparisons"], rows)
        lines += ["", "Wins of the row over the column:"]
        rows = [[name, *(f"{n:g}" for n in wins)] for name, wins in zip(study.systems, found.wins, strict=True)]
        for index, row in enumerate(rows):
            row[index + 1] = "–"
        lines += _table(["", *study.systems], rows)
    return "\n".join([*lines, "", "![Figure](results.svg)", ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return ["", lines[0], "|---" * len(head) + "|", *lines[1:]]


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


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
