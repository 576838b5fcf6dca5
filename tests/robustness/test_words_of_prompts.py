"""Words that the text model does not know are named, and no example of ours has one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lamp_fixtures import among_lamps

from expotion.cli.main import run
from expotion.contracts import Encoder, MetricSpec, Score, hookimpl
from expotion.features.encoders import build_encoder
from expotion.plugins import Registry, discover
from expotion.video.writing import write_video

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/*/README.md"))]
HELP = [*sorted((ROOT / "core/src/expotion/cli").glob("*.py")), ROOT / "core/src/expotion/__init__.py"]
PROMPT = re.compile(
    r'(?:--prompt|-p) "([^"]+)"|\bprompt="([^"]+)"|^prompt: (.+)$|"--prompt".*E\.g\. "([^"]+)"', re.MULTILINE
)


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    """The text encoder of the tiny model that ships."""
    folder = discover().backbone("tiny").locate()
    return build_encoder(discover().encoder("text_t5"), {"model": str(folder)})


def test_unknown_words_come_with_near_ones(tiny: Encoder) -> None:
    assert tiny.unknown_words("bright Marimbas, joyful! A HAPPY piano; 3") == {
        "bright": ["light"],
        "Marimbas": ["marimba"],
        "joyful": [],
        "3": [],
    }
    assert tiny.unknown_words("a calm piano piece") == {}
    assert tiny.unknown_words("") == {}


def test_the_readme_of_the_tiny_model_lists_its_words(tiny: Encoder) -> None:
    listed = (ROOT / "plugins/conductor/README.md").read_text().partition("and no others: ")[2].partition(".\n")[0]
    words = listed.replace("\n", " ").split(", ")
    model = json.loads((discover().backbone("tiny").locate() / "tokenizer.json").read_text())["model"]
    assert words == sorted(word for word in model["vocab"] if word.isalpha()) and len(words) == 42
    assert tiny.unknown_words(" ".join(words)) == {}


def test_the_examples_have_words_that_the_tiny_model_knows(tiny: Encoder) -> None:
    found = [
        (page.name, text)
        for page in [*PAGES, *HELP]
        for match in PROMPT.finditer(page.read_text(encoding="utf-8"))
        for text in filter(None, match.groups())
    ]
    assert {"README.md", "generate.md", "steering.md", "python_api.md", "generate.py", "steer.py"} <= {
        p for p, _ in found
    }
    assert [(page, text) for page, text in found if tiny.unknown_words(text)] == []


@pytest.mark.usefixtures("in_the_world_of_lamps")
def test_a_piece_says_which_words_were_not_known(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = tmp_path / "lamp.mp4", tmp_path / "music.wav"
    write_video(clip, [np.full((32, 48, 3), 99, np.uint8)] * 3, np.arange(3) / 10)
    command = ["generate", str(clip), "--adaptor", str(finished), "--out", str(out)]
    assert run([*command, "--prompt", "calm lmap musik, gloomy"]) == 0
    words = "lmap (near: lamp), musik (near: music), gloomy (near: none)"
    told = f"lamp.mp4: the text encoder does not know these words of the prompt: {words}"
    assert told in " ".join(capsys.readouterr().out.split())
    made = json.loads(out.with_suffix(".json").read_text())["made"]
    assert made["unknown_words"] == {"lmap": ["lamp"], "musik": ["music"], "gloomy": []}
    assert run([*command, "--prompt", "calm lamp music"]) == 0
    assert "does not know" not in capsys.readouterr().out
    assert json.loads(out.with_suffix(".json").read_text())["made"]["unknown_words"] == {}


def test_a_run_names_words_and_columns_without_a_value(
    world: ModuleType,
    model: Path,
    cache: Path,
    run_lamps: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    beats = MetricSpec("beats", "beats", lambda: lambda scored: Score(None, "fewer than 4 beats"), True)
    pairs = MetricSpec(
        "pairs",
        "of a set",
        lambda: lambda scored: np.zeros((1, 2), np.float32),
        True,
        over="set",
        statistic=lambda sounds, reference: Score(None, "it needs 8 sounds"),
    )
    module = ModuleType("beats")
    module.expotion_metrics = hookimpl(lambda: [beats, pairs])  # type: ignore[attr-defined]
    point: Any = SimpleNamespace(
        name="beats", dist=SimpleNamespace(name="expotion-beats", version="1"), load=lambda: module
    )
    registry: Registry = world.registry_of(model, [point])
    sets = (
        "conditions=[]",
        "data.clip_s=0.3",
        "text.prompt=calm lamb",
        "evaluate.metrics=[loudness, beats, pairs]",
    )
    with among_lamps(registry, cache):
        assert run_lamps(tmp_path / "run", *sets) == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = "the text encoder does not know these words of the prompt: lamb (near: lamp)"
    empty = "No row has a value of beats: fewer than 4 beats. No row has a value of pairs: it needs 8 sounds."
    assert f"note {words}" in shown and shown.rpartition(" clips ")[2].count(empty) == 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count(words) == 1 and page.count(empty) == 1
