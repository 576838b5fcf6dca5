"""A rehearsal: what it hears, what it makes of it, and what it leaves behind, which is nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from expotion.cli.main import run
from expotion.cli.recipe_view import print_rehearsal
from expotion.contracts import CaptionerRehearsal, CaptionerSpec, Clip, Options, Weights, pulled_weights
from expotion.errors import Problem
from expotion.machine.gpus import Gpu
from expotion.plugins import Offer, discover
from expotion.recipe import load_recipe
from expotion.recipe.lacks import Lack
from expotion.recipe.plan import Found, Geometry, forward_flops, n_decoder, plan_of
from expotion.rehearse import seeded, walk
from expotion.rehearse.estimate import GpuMemory, Heard, Rates, gpu_memory, kept_bytes, on_gpu, rates_of, whole_run

Capture = pytest.CaptureFixture[str]
SMALL = Geometry(1024, 24, 16, 4, 2048, 50.0)
RATES = Rates(True, 3.0, 2.0, 0.5, 0.0, 1.0, 0.1, 5.0, 0.25, 0.01, 7.0, 4.0)


def heard(*told: tuple[float, str, int, int]) -> Heard:
    listener = Heard()
    listener.told += told
    return listener


def test_a_stage_is_its_start_and_a_pace() -> None:
    told = heard((0.0, "clips", 0, 0), (0.0, "clips", 0, 4), *((5.0 + n, "clips", n, 4) for n in range(1, 5)))
    told.told.append((9.5, "clips", -1, 0))
    assert told.pace("clips") == pytest.approx((5.0, 1.0))
    assert told.seconds("clips") == pytest.approx(9.5)
    one = heard((1.0, "clips", 0, 0), (4.0, "clips", 1, 1), (4.0, "clips", -1, 0))
    assert one.pace("clips") == pytest.approx((0.0, 3.0))


def test_a_step_is_what_follows_the_one_that_starts_it() -> None:
    recipe = load_recipe("recipes/face_motion.yaml", registry=discover())
    one = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"batch_size": 1, "validation_clips": 0})}
    )
    told = heard(
        (0.0, "training", 0, 0), (9.0, "training", 1, 2), (9.5, "training", 2, 2), (9.6, "training", -1, 0)
    )
    counts = {"n_clips": 2, "n_test": 1, "n_sounds": 2}
    assert rates_of(told, 10.0, walked=one, recipe=recipe, **counts, whole=False).step_s == 8 * 0.5
    assert rates_of(told, 10.0, walked=recipe, recipe=recipe, **counts, whole=True).step_s == 0.5


def test_the_whole_run_is_rates_times_what_there_is() -> None:
    registry = discover()
    recipe = load_recipe("recipes/face_motion.yaml", registry=registry)
    plan = plan_of(recipe, registry, Found({"train": 256, "test": 24}, 10.0))
    told = whole_run(RATES, [(recipe, plan)], 8, table=False)
    assert told["clips"] == pytest.approx(2.0 + 280 * 0.5)
    assert told["training"] == pytest.approx(200 * 1.0 + 5 * 16 * 0.1)  # 16 clips validate at 5 steps
    assert told["generation"] == pytest.approx(5.0 + 5 * 24 * 0.25)  # five conditions are made
    assert told["evaluation"] == pytest.approx(len(recipe.evaluation_conditions()) * 24 * 0.01)
    assert told["other"] == pytest.approx(4.0 * 24 / 8)
    captions = [(9.0, True), (2.0, False)]  # of all clips, of test clips
    described = whole_run(RATES, [(recipe, plan)], 8, table=False, captions=captions)
    assert described["captions"] - told["captions"] == pytest.approx(9.0 * 280 + 2.0 * 24)
    twice = whole_run(RATES, [(recipe, plan)] * 2, 8, table=True)
    assert twice["clips"] == told["clips"] and twice["training"] == pytest.approx(2 * told["training"])
    gpu = Gpu("one", 100, 1000, 10, 0.5)
    assert on_gpu(gpu, [(recipe, plan)])["training"] == pytest.approx((plan.train_flops or 0) / 5e13)


def test_operations_are_those_of_the_model() -> None:
    from expotion.musicgen.decoder import MusicGenLM
    from expotion.musicgen.geometry import LMGeometry

    lm, counted = MusicGenLM(LMGeometry(32, 3, 4, 128, 4, 20, None)), 0.0

    def count(layer: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        counted += 2.0 * inputs[0].numel() * output.shape[-1] * (inputs[0].shape[1] > 1)  # not the text's keys

    for module in lm.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(count)
    lm(torch.zeros(1, 4, 50, dtype=torch.int64), torch.zeros(1, 1, 32))
    sizes = Geometry(32, 3, 4, 4, 20, 50.0)
    assert forward_flops(sizes, 50) == counted + 3 * 4 * 50 * 50 * 32  # and attention
    assert n_decoder(sizes, 32) == sum(p.numel() for p in lm.parameters())


def test_published_sizes() -> None:
    assert n_decoder(SMALL) == 420_371_456
    assert seeded.musicgen_bytes(SMALL) == 2_355_960_088


def test_a_whole_model_is_checked_against_the_published_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(SMALL, width=64, n_layers=1, n_heads=2)
    assert seeded.checked_layout(one) is None
    monkeypatch.setattr("expotion.musicgen.layouts._LAYER", {"qkv": ("self_attn.q_proj", "self_attn.in_proj")})
    assert "not to be there" in str(seeded.checked_layout(one))


def test_memory_grows_with_the_batch_and_fits_or_not() -> None:
    memory = GpuMemory(10**9, 10**8)
    assert memory.of_batch(10) == 2 * 10**9
    assert memory.largest_batch(Gpu("one", 1, 1, 2.0)) == 8  # 0.92 of 2 GB
    assert memory.largest_batch(Gpu("small", 1, 1, 0.5)) == 0


def test_what_a_clip_keeps_is_counted_layer_by_layer() -> None:
    registry = discover()
    recipe = load_recipe("recipes/face_motion.yaml", registry=registry)
    plan = plan_of(recipe, registry, Found({"train": 2, "test": 1}, 1.0))
    assert plan.geometry is not None

    three = replace(plan, geometry=replace(plan.geometry, n_layers=3), n_adapted=3)
    found = gpu_memory(recipe, three)  # from one layer and two
    assert found is not None and found.clip_bytes == kept_bytes(recipe, three, 3) > 3 * 51 * 192 * 2 * 10
    half = recipe.model_copy(update={"train": recipe.train.model_copy(update={"stretch_frames": 25})})
    assert kept_bytes(half, three, 3) < 0.6 * kept_bytes(recipe, three, 3)  # what is trained on, not the clip


def test_a_captioner_without_weights_rehearses_itself(capsys: Capture) -> None:
    asked: list[str] = []
    one = CaptionerRehearsal(16_000_000_000, {"ear": 32}, 3.0, 90.0)

    def rehearse(options: Options, clip: Clip) -> CaptionerRehearsal:
        asked.append(clip.id)
        return one

    far = Weights("some/far", "hf:some/far", "MIT")
    spec = CaptionerSpec("far_ear", "", lambda options: str, weights=lambda options: [far], rehearse=rehearse)
    known = discover()
    captioners = {**known.offers("captioner"), "far_ear": Offer(spec, "far", "1")}
    registry = replace(known, tables={**known.tables, "captioner": captioners})
    recipe = load_recipe("recipes/face_motion.yaml", registry=known)
    learned = recipe.model_copy(update={"text": recipe.text.model_copy(update={"captioner": "far_ear"})})
    tested = learned.model_copy(update={"conditions": []})
    lacks = (Lack(Problem("captioner 'far_ear'", "the weights"), far),)
    task = walk.Task("some", (tested, learned), True, lacks, recipe.data, None, False)
    left_out = walk._left_out(task, registry)
    found = walk._captioners(task, registry, left_out, Console(quiet=True))
    assert left_out == {"far_ear"} and len(asked) == 1
    assert found == {"far_ear": (one, True)}

    told = walk.Rehearsal(task, (), RATES, 1.0, 1, 0, 1, {}, (), None, None, captioners={"far_ear": one})
    computed = told.to_dict()["captioners"]["far_ear"]
    assert computed["computed_caption_s"] == 90.0 and computed["layers"] == {"ear": 32}
    print_rehearsal(told, Console())
    shown = " ".join(capsys.readouterr().out.split())
    whole = "the whole, 16.0 GB, on torch's device meta: as published"
    assert f"captioner far_ear: one of 32 layers of ear; {whole}" in shown
    assert "at most 90 s a clip (computed)" in shown


def test_temporary_files_are_gone_after_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), walk.temporary(tmp_path) as folder:
        (folder / "weights").write_bytes(b"1")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_weights_of_a_seed_lie_where_pulled_ones_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path) -> Path:
        (folder / "official.pt").write_bytes(b"1234")
        return folder / "official.pt"

    real = tmp_path / "real"
    (real / "features").mkdir(parents=True)
    (real / "machine").mkdir()
    (real / "models" / "here").mkdir(parents=True)
    (real / "models" / "here" / "model.json").write_text(json.dumps({"file": __file__}))
    monkeypatch.setenv("EXPOTION_CACHE", str(real))
    lack = Lack(Problem("x", "y"), Weights("official", "hf:someone/official", "MIT", seeded=write))
    with seeded.own_cache(tmp_path / "rehearsal") as cache:
        assert seeded.put_weights([lack, lack], cache) == {"official": 4}
        assert pulled_weights("official") == cache / "models" / "official" / "official.pt"
        assert pulled_weights("here") == Path(__file__)
        assert (cache / "machine").is_dir() and not (cache / "features").exists()
    assert os.environ["EXPOTION_CACHE"] == str(real) and pulled_weights("official") is None


def test_nothing_is_written_before_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(walk, "rehearse", lambda *_, **__: pytest.fail("it was not asked for"))
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert run(["recipe", "rehearse", "face_motion", "--dir", str(tmp_path)]) == 1
    assert "of temporary files, removed at the end" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_one_layer(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("expotion.machine.free_bytes", lambda *_: 20 * 10**9)
    monkeypatch.setattr("expotion.recipe.lacks.in_hub_cache", lambda *_: False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    few = ["--set", "data.train_clips=2", "--set", "data.test_clips=1"]
    paper = ["recipe", "rehearse", "face_motion", "--profile", "paper", *few]
    assert run(paper) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "does not fit into the memory that is free: one real layer" in shown and "(13.7 GB)" in shown
    assert run([*paper, "--set", "backbone.source=hf:facebook/musicgen-small"]) == 1
    shown = capsys.readouterr().out
    assert "one real layer" not in shown and "(2.4 GB)" in shown


@pytest.mark.slow
def test_a_small_recipe_is_walked_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "real"))
    (tmp_path / "there").mkdir()
    data = "data={source: conductor, train_clips: 4, test_clips: 2, clip_s: 2.0}"
    for name in ("SECOND_CLIPS", "SECOND_TEST", "SECOND_STEPS"):
        monkeypatch.setattr(walk, name, 2)
    few = ("evaluate.bootstrap=20", "evaluate.probes=0", "evaluate.control_alone=false", "generate.samples=1")
    sets = [word for one in few for word in ("--set", one)]
    arguments = [*sets, "--set", data, "--dir", str(tmp_path / "there"), "--yes", "--json"]
    assert run(["recipe", "rehearse", "face_motion", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["here_s"] == pytest.approx(sum(found["here"].values()), abs=1.0)
    assert found["rates"]["step_s"] > 0 and found["rates"]["clip_s"] > 0 and found["rates"]["piece_s"] > 0
    assert found["missing"] == [] and found["gpu_memory"]["largest_batch"]["H100"] > 8
    assert not list((tmp_path / "there").iterdir())
    assert not (tmp_path / "real" / "features").exists()
