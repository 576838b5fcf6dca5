"""What a run needs here is asked for before it starts: packages and weights of the metrics, with the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from expotion.contracts import MetricSpec, Weights
from expotion.errors import RecipeError
from expotion.plugins import Offer, Registry
from expotion.recipe import load_recipe


def with_metric(registry: Registry, spec: MetricSpec) -> Registry:
    offers = {**registry.metrics, spec.name: Offer(spec, "expotion", "0.1.0")}
    return replace(registry, tables={**registry.tables, "metric": offers})


def test_missing_parts_are_told_with_the_line_and_once(
    recipe_text: str,
    write: Callable[[str], Path],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    deep = MetricSpec(
        "deep",
        "a model",
        lambda: lambda scored: None,
        True,
        packages=("no-such-package>=2",),
        weights=(Weights("deep_weights", "hf:someone/deep", "MIT"),),
    )
    both = with_metric(with_metric(registry, deep), replace(deep, name="deeper"))
    path = write(recipe_text.replace("metrics: [beat_f1]", "metrics: [beat_f1, deep, deeper]"))
    assert load_recipe(path, registry=both).evaluate.metrics == ["beat_f1", "deep", "deeper"]
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, registry=both, ready=True)
    told = [str(problem) for problem in caught.value.problems]
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("evaluate"))
    assert told == [
        f"{path}:{line} evaluate.metrics[1]: metric 'deep': the package no-such-package>=2, got not installed; "
        "install it: uv pip install 'no-such-package>=2'",
        f"{path}:{line} evaluate.metrics[1]: metric 'deep': the weights deep_weights (MIT), got not pulled; "
        "expotion models pull deep_weights",
    ]
