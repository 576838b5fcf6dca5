"""What b377914 wrote is read by today's code; `make_samples.py` made `samples/` in a checkout of that commit."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
import yaml
from lamp_fixtures import among_lamps
from safetensors.torch import load_file

import expotion
from expotion.cli.main import run
from expotion.plugins import discover
from expotion.recipe.schema import GONE

SAMPLES = Path(__file__).parent / "samples"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be changed, the working directory."""
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def then(world: ModuleType, samples: Path) -> Iterator[Path]:
    """The samples among the lamps that they were made by, with the same weights."""
    with among_lamps(world.registry_of(samples / "model"), samples / "cache"):
        yield samples


@pytest.fixture
def stamps(samples: Path) -> Callable[[str], dict[str, tuple[int, int]]]:
    """When and where each file of a folder was written, but for those that every start writes to."""

    def of(folder: str) -> dict[str, tuple[int, int]]:
        files = [path for path in (samples / folder).rglob("*") if path.is_file()]
        kept = [path for path in files if path.name not in {"run.json", "log.txt", "matrix.json", "recipe.yaml"}]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in kept}

    return of


def test_an_adaptor_makes_music(then: Path) -> None:
    composer = expotion.load("run/adaptor")
    music = composer.compose("clip.mp4", prompt="warm lamp", seed=7, strength={"glow": 0.5})
    assert music.samples.shape == (16_000,) and np.isfinite(music.samples).all()
    assert music.notes["controls_used"] == ["glow"]
    without = composer.compose("clip.mp4", prompt="warm lamp", seed=7, strength={"glow": 0})
    assert not np.array_equal(music.samples, without.samples)


def test_a_record_is_followed(then: Path, capsys: Capture) -> None:
    record = (then / "music.json").read_text()
    place = str(Path(json.loads(record)["asked"]["clip"]["file"]).parent)
    (then / "music.json").write_text(record.replace(place, str(then)))
    assert run(["again", "music.json", "--out", "new.wav"]) == 0
    shown = "".join(capsys.readouterr())
    # The bytes are those of one machine and its packages; elsewhere the differences are named.
    assert "The same bytes as the first time." in shown or "Changed since: " in shown
    old, rate_hz = soundfile.read(then / "music.wav")
    new, again_hz = soundfile.read(then / "new.wav")
    assert (len(new), again_hz) == (len(old), rate_hz)
    assert json.loads((then / "new.json").read_text())["asked"]["composing"]["temperature"] == 0.9


def test_a_finished_run_stays_as_it_is(then: Path, stamps: Callable[[str], object]) -> None:
    before = stamps("run")
    assert run(["recipe", "run", "lamps.yaml", "--out", "run"]) == 0
    assert stamps("run") == before
    assert run(["recipe", "run", "--resume", "run"]) == 0
    assert stamps("run") == before


def test_an_interrupted_run_goes_on_where_it_stopped(then: Path) -> None:
    """Keys that its recipe holds and today's has not are read past, and leave its hash as it was."""
    first = json.loads((then / "interrupted/checkpoints/step_000002/state.json").read_text())["records"]
    held = (then / "interrupted/recipe.yaml").read_text()
    assert "shard_backbone: false" in held and "trunk_cache_gib: 0.0" in held
    assert run(["recipe", "run", "--resume", "interrupted"]) == 0
    assert "training resumes at step 2" in (then / "interrupted/log.txt").read_text()
    lines = (then / "interrupted/training.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[:2] == first and [record["step"] for record in records] == [0, 1, 2, 3]
    # The uninterrupted run, by today's code: the same weights.
    assert run(["recipe", "run", "stopped.yaml", "--out", "whole"]) == 0
    weights = [load_file(then / folder / "adaptor/adaptor.safetensors") for folder in ("interrupted", "whole")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("values", [{"trunk_cache_gib": 0.5}, {"shard_backbone": True}])
def test_a_deleted_key_keeps_its_part_in_the_hash(then: Path, values: dict[str, object]) -> None:
    """Of what other values of deleted keys were hashed to, only that it is something of their own is known."""
    from expotion.recipe import Recipe

    plain = yaml.safe_load((then / "interrupted/recipe.yaml").read_text())
    recipe = Recipe.from_dict(plain)
    assert recipe.content_hash == json.loads((then / "interrupted/run.json").read_text())["recipe_hash"]
    without = {**plain, "train": {k: v for k, v in plain["train"].items() if k not in GONE}}
    assert Recipe.from_dict(without).content_hash == recipe.content_hash
    other = Recipe.from_dict({**plain, "train": plain["train"] | values})
    assert other.content_hash != recipe.content_hash
    assert Recipe.from_dict(other.to_dict()).content_hash == other.content_hash


def test_a_finished_matrix_stays_as_it_is(then: Path, stamps: Callable[[str], object], capsys: Capture) -> None:
    before = stamps("matrix")
    assert run(["recipe", "run", "matrix.yaml", "--out", "matrix"]) == 0
    assert "2 cells, 2 done" in capsys.readouterr().out
    assert stamps("matrix") == before


def test_an_archive_of_features_is_imported(then: Path, capsys: Capture) -> None:
    assert run(["features", "import", "features.tar", "--store", "store"]) == 0
    assert "8 new, 0 there already, 0 refused" in capsys.readouterr().out
    assert run(["features", "list", "--store", "store", "--json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(entry["clip"], entry["encoder"], *entry["shape"]) for entry in entries if entry["encoder"] == "glow"}
    assert found == {(f"lamp-{seed}", "glow", 5, 2) for seed in (0, 1, 100)}
    assert run(["features", "verify", "--store", "store"]) == 0


def test_a_manifest_and_its_split_are_read(samples: Path, capsys: Capture) -> None:
    assert run(["data", "check", "corpus/manifest.jsonl"]) == 0
    assert run(["data", "check", "corpus/split.jsonl"]) == 0
    capsys.readouterr()
    assert run(["data", "audit", "corpus/split.jsonl"]) == 0
    assert "0 leaks; clips: " in capsys.readouterr().out
    spec = discover().offer("data source", "manifest").spec
    source = spec.build(spec.options(path="corpus/split.jsonl"))
    for part, n_clips in (("train", 6), ("test", 2)):
        clips = source.clips(part)
        assert len(clips) == n_clips and all(clip.video is not None for clip in clips)
        assert {clip.caption for clip in clips} == {"a lamp"}


def test_answers_of_a_study_are_counted_as_they_were(samples: Path) -> None:
    # Sounds and videos are megabytes that were not kept; who counts answers only asks whether they are there.
    about = json.loads((samples / "study" / "study.json").read_text())
    checks = [*about["screening"]["softest"], about["screening"]["calibration"]]
    played = [*(each["file"] for each in about["stimuli"].values()), *(f"media/{token}.wav" for token in checks)]
    (samples / "study" / "media").mkdir()
    for name in played:
        (samples / "study" / name).touch()
    assert run(["study", "results", "study", "--out", "new"]) == 0
    old, new = (json.loads((samples / where / "results.json").read_text()) for where in ("study/results", "new"))
    assert new["participants"] == old["participants"]
    assert new["ratings"] == old["ratings"]
    assert list(csv.DictReader((samples / "new/answers.csv").open())) == list(
        csv.DictReader((samples / "study/results/answers.csv").open())
    )
