"""How sure a listening test is: simulated participants with known qualities, and how often intervals hold them.

    uv run python benchmarks/study.py                          # 13, 26 and 52 participants, 100 studies each
    uv run python benchmarks/study.py --figure study.svg       # and the figure of one study of 13

Ratings are a system's quality plus a person's, a clip's and a clip-and-system's own shift plus noise, rounded to
1..5; preferences follow Bradley and Terry. An interval should hold the system's mean over all people and clips.
Last line: JSON with, by number of participants, `coverage` (of the 95 % intervals of the four criteria), `width`
(mean, in points of the scale) and `found_fraction` (studies where the intervals of the best and of the worst
system are apart), and `notes`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from expotion_study.analysis import Analysis, analyse
from expotion_study.model import CRITERIA, Screening, Stimulus, Study, StudyClip
from expotion_study.results import figure
from expotion_study.session import COMPARISON, RATING, trials_of
from expotion_study.store import Answer, Participant

SYSTEMS = ("face+motion", "text only", "another clip's", "original")
QUALITY = (3.3, 2.7, 2.9, 3.9)
PERSON, CLIP, CLIP_AND_SYSTEM, NOISE = 0.35, 0.25, 0.25, 0.8
"""Standard deviations, in points of the scale."""


def make_study(n_clips: int) -> Study:
    """A study without media."""
    names = [f"{system}-{clip}" for system in range(len(SYSTEMS)) for clip in range(n_clips)]
    stimuli = {name: Stimulus(*map(int, name.split("-")), name, "video/mp4") for name in names}
    clips = tuple(StudyClip(f"clip {number}", "words", 10.0) for number in range(n_clips))
    criteria = tuple(criterion.name for criterion in CRITERIA)
    ends = (criteria, 12, 10, 0, -23.0, True)
    return Study("0", "", "Simulated", "", "", SYSTEMS, clips, stimuli, Screening({}, ""), *ends)


def take_part(study: Study, n_people: int, rng: np.random.Generator) -> Analysis:
    """Simulate a study's answers and analyse them."""
    of_clip = rng.normal(0, CLIP, len(study.clips))
    of_both = rng.normal(0, CLIP_AND_SYSTEM, (len(SYSTEMS), len(study.clips)))
    people, answers = [], []
    for slot in range(n_people):
        people.append(Participant(slot, "", slot, "unsaid", True, (True,)))
        shift = rng.normal(0, PERSON)
        for trial in trials_of(study, slot):
            heard = [study.stimuli[token] for token in trial.stimuli]
            quality = [QUALITY[h.system] + of_clip[h.clip] + of_both[h.system, h.clip] for h in heard]
            response: dict[str, object] = {}
            if trial.kind == RATING:
                drawn = rng.normal(quality[0] + shift, NOISE, len(study.criteria)).round().clip(1, 5)
                response["ratings"] = dict(zip(study.criteria, drawn.astype(int).tolist(), strict=True))
            elif trial.kind == COMPARISON:
                left = rng.random() < 1.0 / (1.0 + np.exp(quality[1] - quality[0]))
                response["preferred"] = "left" if left else "right"
            answers.append(Answer(slot, trial.number, trial.kind, trial.stimuli, response))
    return analyse(study, people, answers, n_draws=500)


def true_means(rng: np.random.Generator, n: int = 400_000) -> list[float]:
    """Mean rating of each system over all people and clips, after rounding to the scale."""
    spread = np.sqrt(PERSON**2 + CLIP**2 + CLIP_AND_SYSTEM**2 + NOISE**2)
    return [float(rng.normal(quality, spread, n).round().clip(1, 5).mean()) for quality in QUALITY]


def main() -> None:
    """Simulate, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, nargs="+", default=[13, 26, 52])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    study, rng = make_study(asked.clips), np.random.default_rng(0)
    if asked.figure is not None:
        asked.figure.write_text(figure(study, take_part(study, 13, rng)), encoding="utf-8")
    truth = true_means(rng)
    found: dict[str, dict[str, float]] = {}
    for n_people in asked.participants:
        held, widths, apart = [], [], []
        for _ in range(asked.studies):
            ratings = take_part(study, n_people, rng).ratings
            for estimates in ratings.values():
                ends = [(each.ci_low or 0.0, each.ci_high or 0.0) for each in estimates]
                held += [low <= mean <= high for (low, high), mean in zip(ends, truth, strict=True)]
                widths += [high - low for low, high in ends]
                best, worst = ends[int(np.argmax(truth))], ends[int(np.argmin(truth))]
                apart.append(best[0] > worst[1])
        found[str(n_people)] = {
            "coverage": round(float(np.mean(held)), 3),
            "width": round(float(np.mean(widths)), 2),
            "found_fraction": round(float(np.mean(apart)), 2),
        }
        print(f"{n_people} participants: {found[str(n_people)]}", flush=True)
    notes = [f"{asked.studies} studies of {asked.clips} clips; 12 ratings and 10 comparisons each"]
    print(json.dumps({"participants": found, "true_means": [round(m, 2) for m in truth], "notes": notes}))


if __name__ == "__main__":
    main()
