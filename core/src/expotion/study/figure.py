"""The figure of a study: a panel per criterion and one for the preferences, as one SVG that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from expotion.study.analysis import Analysis, Estimate
from expotion.study.model import Study

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


_Panel = tuple[str, Sequence[Estimate], float, float, Sequence[float], str]


def figure(study: Study, found: Analysis) -> str:
    """SVG text. Dots are means (or shares), lines their 95 % intervals."""
    panels: list[_Panel] = [
        (c.title, found.ratings[c.name], 1.0, 5.0, (1, 2, 3, 4, 5), "{:g}") for c in study.questions
    ]
    if study.comparisons:
        quarters = (0.0, 0.25, 0.5, 0.75, 1.0)
        panels.append(("Preferred over another system", found.shares, 0.0, 1.0, quarters, "{:.0%}"))
    panel_height = HEAD + ROW * len(study.systems) + FOOT
    n_rows = -(-len(panels) // 2)
    height = n_rows * panel_height + 34
    people = found.people
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(_alt(study, found))}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    for index, (title, estimates, low, high, ticks, form) in enumerate(panels):
        left, top = (index % 2) * (WIDTH // 2), (index // 2) * panel_height
        parts += _panel(study.systems, title, estimates, low, high, ticks, form, left + 12, top)
    note = (
        f"{people.counted} participants, {len(study.clips)} clips. Dot: mean; line: 95 % bootstrap interval "
        "over participants and clips. Scale 1 bad to 5 excellent."
    )
    parts.append(f'<text class="soft" x="12" y="{height - 12}">{escape(note)}</text></svg>')
    return "\n".join(parts) + "\n"


def _panel(
    systems: Sequence[str],
    title: str,
    estimates: Sequence[Estimate],
    low: float,
    high: float,
    ticks: Sequence[float],
    form: str,
    left: int,
    top: int,
) -> list[str]:
    start, width = left + LABEL, WIDTH // 2 - LABEL - GAP
    bottom = top + HEAD + ROW * len(systems)

    def at(value: float) -> float:
        return round(start + width * (value - low) / (high - low), 1)

    parts = [f'<text class="title" x="{left}" y="{top + 22}">{escape(title)}</text>']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="{top + HEAD}" y2="{bottom}"/>')
        label = escape(form.format(tick))
        parts.append(
            f'<text class="soft" x="{at(tick)}" y="{bottom + 16}" text-anchor="middle">{label}</text>'
        )
    for row, (name, each) in enumerate(zip(systems, estimates, strict=True)):
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


def _alt(study: Study, found: Analysis) -> str:
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
