"""Settings of models and adaptors that were changed by hand or damaged: an error that names the file and field."""

import json
import shutil

import pytest

from expotion import machine
from expotion.errors import ExpotionError, WeightsError
from expotion.musicgen.codec_files import codec_from_hf

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")


@pytest.fixture
def said(finished, tmp_path, capsys):
    """What `generate` says of the finished adaptor after `change` was done to its description."""
    from expotion.cli.main import run

    def of(change) -> str:
        folder = tmp_path / "adaptor"
        shutil.copytree(finished / "adaptor", folder)
        file = folder / "adaptor.json"
        description = json.loads(file.read_text())
        change(description["metadata"])
        file.write_text(json.dumps(description))
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(b"")
        assert run(["generate", str(clip), "--adaptor", str(folder), "--out", str(tmp_path / "x.wav")]) != 0
        return capsys.readouterr().err

    return of


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found["recipe"].update(train={"steps": [4]}), ("adaptor.json recipe", "train.steps")),
        (lambda found: found["recipe"].update(conditions=3), ("adaptor.json recipe", "conditions")),
        (lambda found: found["recipe"].update(nope=1), ("adaptor.json recipe", "nope")),
        (lambda found: found.update(encoder_hashes=[]), ("adaptor.json", "encoder_hashes")),
        (lambda found: found.update(window_frames="long"), ("adaptor.json", "window_frames")),
    ],
)
def test_an_adaptor_whose_description_was_changed_is_named_with_its_field(change, words, said):
    told = said(change)
    assert "fault in expotion" not in told
    assert all(word in told for word in words)


@pytest.mark.parametrize(
    "changed", [{"use_causal_conv": "x" * 50}, {"upsampling_ratios": None}, {"num_filters": -2}]
)
def test_settings_that_make_no_codec_are_named(changed, model):
    config = json.loads((model / "config.json").read_text())["audio_encoder"]
    with pytest.raises(WeightsError, match=rf"model audio_encoder\.{next(iter(changed))}: .*, got"):
        codec_from_hf({}, {**config, **changed}, "model")


def test_a_control_that_is_a_list_is_named(finished, tmp_path, capsys):
    from expotion.cli.main import run

    steering, clip = tmp_path / "steering.yaml", tmp_path / "clip.mp4"
    steering.write_text("controls:\n  glow: [a.mp4]\n")
    clip.write_bytes(b"")
    assert run(["generate", str(clip), "--adaptor", str(finished), "--steering", str(steering)]) != 0
    told = capsys.readouterr().err
    assert "steering.yaml:2" in told and "controls.glow" in told and "fault in expotion" not in told


@pytest.mark.parametrize("damaged", [[], {"cpu": None}, {"cpu": {"codec": {}}}, {"cpu": {"codec": "fp32"}}, "bf16"])
def test_what_auto_stood_for_is_named_where_it_is_none(damaged, copy_of_finished, recipe_file, capsys):
    from expotion.cli.main import run

    file = copy_of_finished / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto": damaged}))
    assert run(["recipe", "run", str(recipe_file), "--out", str(copy_of_finished)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        f"{file}: fp32, bf16, fp16, int8 by device and use, got {json.dumps(damaged)}; remove `auto`"
    )


def test_a_precision_that_auto_cannot_have_stood_for():
    with pytest.raises(
        ExpotionError, match=r'x\.json: fp32, .*, got \{"cpu": \{"codec": \{"precision": "fp3"\}\}\}'
    ):
        machine.adopt({"cpu": {"codec": {"precision": "fp3"}}}, where="x.json")


@pytest.mark.parametrize("stages", [[], {"generation": []}, {"generation": "x"}, {"generation": {"seconds": "3"}}])
def test_stages_of_a_run_that_are_none(stages, copy_of_finished, recipe_file, capsys):
    from expotion.cli.main import run

    file = copy_of_finished / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stages": stages}))
    assert run(["recipe", "run", str(recipe_file), "--out", str(copy_of_finished)]) == 1
    assert capsys.readouterr().err.startswith(
        f"{file}: stages with their seconds, got something else; run the recipe"
    )


@pytest.mark.parametrize("damage", ["{", '{"text_only": []}', None])
def test_scores_that_are_damaged_are_measured_again(damage, copy_of_less, capsys):
    from expotion.cli.main import run

    file = copy_of_less / "metrics.json"
    before = file.read_bytes()
    file.unlink() if damage is None else file.write_text(damage)
    assert run(["recipe", "run", "--resume", str(copy_of_less)]) == 0
    assert "metrics.json: the scores of a finished evaluation" in capsys.readouterr().out.replace("\n", "")
    assert file.read_bytes() == before
