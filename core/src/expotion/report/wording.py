"""Names and numbers as people read them, and the verdict in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from expotion.evaluate.statistics import ALPHA
from expotion.report.data import CONTROLS, PROBE, MetricInfo, Numbers, ReportData, Results

Verdict = Literal["clear", "likely", "none", "worse"]

_CONDITIONS = {
    "text_only": "text only",
    "shuffled": "another clip’s video",
    "lenders_truth": "another clip’s video, held to that clip",
    "fader_on_frozen": "text only, under a fader",
    "clicks_on_frozen": "text only, with clicks",
    "codec_ceiling": "codec round trip",
    "ground_truth": "original sound",
    "original": "original sound",
}
_ROWS = {
    "lenders_truth": "The music of the row above, held to the clip whose controls it was lent.",
    "fader_on_frozen": "The frozen model’s music under a fader that the controls move, by a line fitted to 16 "
    "training clips: what they say of loudness, without steering.",
    "clicks_on_frozen": "The same music with clicks on the beats that this line finds.",
    PROBE: "Probes: the video does what it does in no training clip, and the music is held to it.",
}
_LEADS: dict[Verdict, str] = {
    "clear": "{claim}.",
    "likely": "{claim}, as far as the comparison clip by clip tells.",
    "none": "With and without the video are not told apart in {thing}.",
    "worse": "The video does harm to {thing}.",
}


@dataclass(frozen=True)
class Statement:
    """One sentence of the verdict: a bold lead and the numbers behind it."""

    verdict: Verdict
    lead: str
    detail: str


def condition_label(name: str) -> str:
    """A condition's name for readers."""
    if name.startswith(PROBE):
        return f"probe: {name.removeprefix(PROBE).replace('_', ' ')}"
    return _CONDITIONS.get(name, name.replace("+", " + "))


def row_notes(results: Results) -> list[tuple[str, str]]:
    """(Label, sentence) of rows that need one; probes share theirs."""
    found = []
    for key, text in _ROWS.items():
        rows = [name for name in results if name == key or (key == PROBE and name.startswith(PROBE))]
        if any(_has(results, row, metric) for row in rows for metric in results[row]):
            found.append(("" if key == PROBE else condition_label(key), text))
    return found


def metric_label(info: MetricInfo) -> str:
    """A metric's name for readers."""
    return info.label or info.name.replace("_", " ")


def number(value: float | int | None, info: MetricInfo) -> str:
    """The metric's digits after the point, one from 10 on; fractions of clips as per cent."""
    if value is None:
        return "–"
    if info.fraction:
        return f"{100 * value:.0f} %"
    return f"{value:.{1 if abs(value) >= 9.95 else info.digits}f}".replace("-", "−")


def clip_number(value: float | None, info: MetricInfo) -> str:
    """A metric's value for one clip."""
    if value is not None and info.fraction:
        return "yes" if value else "no"
    return number(value, info)


def span(numbers: Numbers, info: MetricInfo, between: str) -> str:
    """Both ends of an interval."""
    low, high = number(numbers["ci_low"], info), number(numbers["ci_high"], info)
    return f"{low.removesuffix(' %')}{between}{high}"


def with_interval(numbers: Numbers | None, info: MetricInfo) -> str:
    """`0.61 [0.55, 0.67]`."""
    if numbers is None or numbers.get("mean") is None:
        return "not defined"
    return f"{number(numbers['mean'], info)} [{span(numbers, info, ', ').removesuffix(' %')}]"


def difference(numbers: Numbers | None, info: MetricInfo) -> str:
    """`0.61 [0.55, 0.67], p < 0.001`: a paired difference, with its corrected p-value where it has one."""
    text, p = with_interval(numbers, info), None if numbers is None else numbers.get("p_holm")
    if p is None:
        return text
    value = "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.0995 else f"= {p:.2f}"
    return f"{text}, p {value}".replace("p ", "p\u00a0").replace("< ", "<\u00a0").replace("= ", "=\u00a0")


def is_apart(ours: Numbers | None, theirs: Numbers | None, higher_is_better: bool) -> bool:
    """Whether our whole interval lies on the good side of theirs."""
    if ours is None or theirs is None or ours.get("mean") is None or theirs.get("mean") is None:
        return False
    if higher_is_better:
        return float(ours["ci_low"] or 0.0) > float(theirs["ci_high"] or 0.0)
    return float(ours["ci_high"] or 0.0) < float(theirs["ci_low"] or 0.0)


def beats_controls(results: Results, condition: str, info: MetricInfo) -> bool:
    """Whether a condition's interval is clear of those of all controls that were run (False without any)."""
    controls = [name for name in CONTROLS if name in results and name != condition]
    return bool(controls) and all(
        is_apart(results[condition].get(info.name), results[name].get(info.name), info.higher_is_better)
        for name in controls
    )


def statements(data: ReportData) -> list[Statement]:
    """What the numbers say about the main condition, one statement per metric that has values."""
    main = data.main
    if main is None or main not in data.metrics:
        return []
    found = []
    for info in data.metric_info:
        ours = data.metrics[main].get(info.name)
        controls = [name for name in CONTROLS if _has(data.metrics, name, info.name)]
        if ours is None or ours.get("mean") is None or not controls or not info.compared:
            continue
        verdict = _verdict(data, main, controls, info)
        label = metric_label(info)
        claim = info.claim or f"The video improves {label}"
        lead = _LEADS[verdict].format(claim=claim, thing=info.thing or label)
        found.append(Statement(verdict, lead, _detail(data.metrics, main, controls, info, label)))
    return found


def _verdict(data: ReportData, main: str, controls: list[str], info: MetricInfo) -> Verdict:
    if beats_controls(data.metrics, main, info):
        return "clear"
    sign = 1.0 if info.higher_is_better else -1.0
    sides = [_side(data.comparisons.get(control, {}).get(main, {}).get(info.name), sign) for control in controls]
    if all(side > 0 for side in sides):
        return "likely"
    return "worse" if any(side < 0 for side in sides) else "none"


def _side(difference: Numbers | None, sign: float) -> int:
    """1 where the paired difference is good, -1 where it is bad, 0 where its interval holds 0 or its corrected p is
    no proof (runs of before have none).
    """
    if difference is None or difference.get("mean") is None or float(difference.get("p_holm") or 0.0) >= ALPHA:
        return 0
    ends = sorted((sign * float(difference["ci_low"] or 0.0), sign * float(difference["ci_high"] or 0.0)))
    return 1 if ends[0] > 0 else -1 if ends[1] < 0 else 0


def _detail(results: Results, main: str, controls: list[str], info: MetricInfo, label: str) -> str:
    unit = f" {info.unit}" if info.unit else ""
    parts = [f"{with_interval(results[main][info.name], info)}{unit} with {condition_label(main)}"]
    words = {"text_only": "with text only", "shuffled": "when each clip gets another clip’s video"}
    parts += [f"{with_interval(results[name][info.name], info)} {words[name]}" for name in controls]
    text = f"{label}: " + ", ".join(parts) + "."
    singles = [name for name in main.split("+") if name != main and _has(results, name, info.name)]
    if singles:
        alone = ", ".join(f"{name} {number(results[name][info.name]['mean'], info)}" for name in singles)
        text += f" Alone: {alone}."
    if _has(results, "codec_ceiling", info.name):
        ceiling = number(results["codec_ceiling"][info.name]["mean"], info)
        text += f" The most this codec allows: {ceiling}."
    return text


def _has(results: Mapping[str, Mapping[str, Numbers]], condition: str, metric: str) -> bool:
    return results.get(condition, {}).get(metric, {}).get("mean") is not None
