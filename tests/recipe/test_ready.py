"""What a run needs here is asked for before it starts: packages and weights of the metrics, with the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from expotion.cli.main import run
from expotion.contracts import MetricSpec, Weights
from expotion.errors import RecipeError
from expotion.plugins import Offer, Registry
from expotion.recipe import load_recipe
from expotion.recipe.lacks import missing_backbone
from expotion.recipe.schema import Backbone


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


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["recipe", "check", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_check_lists_missing_weights_behind_the_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.setattr("expotion.recipe.lacks.in_hub_cache", lambda *_: False)
    code, out, err = check(capsys, "face_motion", "--profile", "paper", "--set", "data.train_clips=1")
    assert code == 2 and "condition face" in out and "A100" in out and "(computed)" in out
    assert "backbone.source: the weights facebook/musicgen-large (CC-BY-NC-4.0), got not in the hub's cache" in out
    assert "The recipe is in order." not in out and "2 things that a run needs are not here" in out
    told = [line.partition(" ")[2] for line in err.splitlines()]
    assert told == [
        "conditions[0].encoder: encoder 'face_marlin': the weights marlin_vit_base_ytf (CC-BY-NC-4.0), "
        "got not pulled; expotion models pull marlin_vit_base_ytf",
        "conditions[1].encoder: encoder 'motion_synchformer': the weights synchformer_sync_audioset (MIT), "
        "got not pulled; expotion models pull synchformer_sync_audioset",
    ]


def test_check_lists_a_missing_manifest_behind_the_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("expotion_caption_qwen2_audio", reason="the profile's captioner, not in every environment")
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.setattr("expotion.recipe.lacks.in_hub_cache", lambda *_: False)
    code, out, err = check(capsys, "table1", "--profile", "paper")
    assert code == 2 and "7 cells in 7 rows" in out and "those of no clips" in out
    for part in ("data.path", "marlin_vit_base_ytf", "synchformer_sync_audioset", "raft_large_things", "vggish"):
        assert err.count(f"{part}: a file" if "." in part else f"the weights {part} ") == 1, part
    assert out.count("the weights Qwen/Qwen2-Audio-7B-Instruct (Apache-2.0)") == 1


def test_what_is_here_is_not_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    snapshot = tmp_path / "models--facebook--musicgen-small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    backbone = Backbone(source="hf:facebook/musicgen-small")
    (snapshot / "config.json").write_text("{}")
    missing = missing_backbone(backbone)
    assert missing is not None and missing.fetched and missing.weights is not None  # settings alone are no model
    (snapshot / "model.safetensors").write_bytes(b"")
    assert missing_backbone(backbone) is None
    assert missing_backbone(Backbone(source="tiny")) is None
