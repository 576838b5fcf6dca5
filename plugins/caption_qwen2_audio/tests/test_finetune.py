"""LoRA fine-tuning on a tiny random Qwen2-Audio in the published layout, under the guarantees of core's loop."""

from __future__ import annotations

import functools
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from expotion.errors import ExpotionError, WeightsError
from expotion.testing import SyntheticClip
from expotion_caption_qwen2_audio import SPEC, TASK

HERE = Path(__file__).parent


@functools.cache
def _load(name: str) -> ModuleType:
    """A program beside this file; not before a test wants it, as it loads transformers."""
    spec = importlib.util.spec_from_file_location(f"{name}_qwen", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tune() -> ModuleType:
    return _load("tune")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = _load("tiny").tiny_qwen2_audio(tmp_path_factory.mktemp("model"), width=32)
    return folder


def started(folder: Path, *args: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "tune.py"), str(folder), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_eight_pairs_are_learned_and_other_words_come_out(model: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import Qwen2AudioForConditionalGeneration

    base = load_file(model / "model.safetensors")
    loop = tune().make(model, steps=400)
    losses = [record["loss"] for record in loop.run()]
    assert losses[0] > 2.0 and max(losses[-4:]) < 0.02  # at .03 one of eight may be taken for another
    loop.finish()
    loop.objective.save(tmp_path / "lora")
    kept = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert kept and all(".lora_A." in name or ".lora_B." in name for name in kept)
    assert not {name for name in kept if name in base}
    official = Qwen2AudioForConditionalGeneration.from_pretrained(model)
    loaded = PeftModel.from_pretrained(official, tmp_path / "lora")
    trained = {name: one for name, one in loop.objective.model.named_parameters() if "lora_" in name}
    assert all(torch.equal(trained[name], one) for name, one in loaded.named_parameters() if "lora_" in name)
    options = {"model": str(model), "style": "scene", "max_new_tokens": 24}
    before, after = (SPEC.build(SPEC.options(**options, lora=lora)) for lora in (None, tmp_path / "lora"))
    said = [after(clip) for clip in tune().clips()]
    assert said == [clip.caption for clip in tune().clips()]
    assert all(before(clip) != words for clip, words in zip(tune().clips(), said, strict=True))


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    whole = started(tmp_path / "whole", model, 9)
    assert whole.wait(timeout=120) == 0
    killed = started(tmp_path / "killed", model, 9)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == "5":
            killed.kill()
            break
    killed.wait(timeout=60)
    assert not (tmp_path / "killed" / "lora").exists()
    again = started(tmp_path / "killed", model, 9)
    told, _ = again.communicate(timeout=120)
    assert told.split()[0] in ("6", "8")  # a checkpoint every two steps
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        first, second = ((tmp_path / run / "lora" / name).read_bytes() for run in ("whole", "killed"))
        assert first == second
    [newest] = sorted((tmp_path / "killed" / "checkpoints").glob("step_*"))[-1:]
    assert all("lora" in name for name in load_file(newest / "tensors.safetensors"))


@pytest.mark.slow
def test_two_workers_have_the_curve_of_one(model: Path, tmp_path: Path) -> None:
    rendezvous = tmp_path / "rendezvous"
    workers = [started(tmp_path / f"rank{rank}", model, 6, rank, f"file://{rendezvous}") for rank in range(2)]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    alone = [record["loss"] for record in tune().make(model, steps=6).run()]
    for rank in range(2):
        np.testing.assert_allclose(
            json.loads((tmp_path / f"rank{rank}" / "losses.json").read_text()), alone, atol=1e-4
        )


RECIPE = """\
name: scenes
task: qwen2_audio_lora
data: {{source: conductor, train_clips: 4, test_clips: 2, clip_s: 1.0, size: 64}}
options: {{model: {model}, rank: 2, precision: fp32, max_tokens: 12}}
train: {{steps: 4, batch_size: 1, accumulate: 2, learning_rate: 0.01, checkpoint_every_steps: 2}}
evaluate: {{metrics: [caption_claims, caption_precision]}}
"""


@pytest.mark.slow
def test_a_recipe_runs_from_end_to_end_here_and_over_ray(model: Path, tmp_path: Path) -> None:
    from expotion.cli.main import run

    recipe = tmp_path / "scenes.yaml"
    recipe.write_text(RECIPE.format(model=model))
    here, far = tmp_path / "here", tmp_path / "far"
    assert run(["recipe", "run", str(recipe), "--out", str(here)]) == 0
    said = json.loads((here / "captions.json").read_text())
    assert set(said) == {"references", "before", "fine_tuned"} and len(said["before"]) == 2
    assert set(json.loads((here / "metrics.json").read_text())) == {"before", "fine_tuned"}
    assert (here / "report.html").is_file()
    split = ["--workers", "2", "--set", "train.accumulate=1", "--set", "evaluate.metrics=[]"]
    assert run(["recipe", "run", str(recipe), "--out", str(far), *split]) == 0
    curves = [
        [json.loads(line)["loss"] for line in (folder / "training.jsonl").read_text().splitlines()]
        for folder in (here, far)
    ]
    assert len(curves[0]) == 4
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)


@pytest.mark.slow
def test_the_cost_is_counted_at_the_real_sizes(model: Path) -> None:
    from expotion_caption_qwen2_audio.finetune import LoraObjective

    tiny_cost = TASK.cost(TASK.options(model=str(model), rank=8))
    of_tiny = LoraObjective(TASK.options(model=str(model), rank=8), tune().clips(), SimpleNamespace(), 0)
    assert tiny_cost.n_trained == sum(one.numel() for one in of_tiny.trained.parameters())
    assert tiny_cost.n_frozen == sum(one.size for one in load_file(model / "model.safetensors").values())
    real = TASK.cost(TASK.options())
    assert 8.3e9 < real.n_frozen < 8.5e9
    again = TASK.cost(TASK.options(recompute_activations=True))
    assert again.clip_bytes < real.clip_bytes / 4 and again.clip_flop > real.clip_flop
    # A token of the language model: two operations for each weight forward, two backward to what is before.
    assert 0.9 < real.clip_flop / (4 * 7.7e9 * 910) < 1.3


def test_the_objective_travels_without_its_model(model: Path) -> None:
    objective = tune().make(model, steps=1).objective
    assert objective.model is not None
    copy = pickle.loads(pickle.dumps(objective))
    assert "model" not in vars(copy) and "_loaded" not in vars(copy)
    one, other = objective.draw(0), copy.draw(0)
    assert one == other and sorted(one[0] + objective.draw(1)[0]) == list(range(8))
    assert float(objective.part_loss(one, 1)) == float(copy.part_loss(other, 1))


def test_clips_without_words_are_named(model: Path) -> None:
    from expotion_caption_qwen2_audio.finetune import LoraObjective

    mute = SyntheticClip()
    mute.caption = None
    settings = SimpleNamespace(clips_per_step=1, batch_size=1)
    with pytest.raises(ExpotionError, match="a caption to learn"):
        LoraObjective(TASK.options(model=str(model)), [mute], settings, 0)
    with pytest.raises(ExpotionError, match="at least one training clip"):
        LoraObjective(TASK.options(model=str(model)), [], settings, 0)


def test_a_folder_without_matrices_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"adapter_config\.json"):
        SPEC.build(SPEC.options(model=str(model), lora=tmp_path))
