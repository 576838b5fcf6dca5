"""Every mapping whose keys name something, and every path that a run reads, is looked at before the run."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from media import encode
from pydantic import BaseModel

from expotion.cli.main import run
from expotion.matrix.declare import MatrixSection
from expotion.music.steering import Steering
from expotion.plugins import discover
from expotion.recipe import Recipe

Capture = pytest.CaptureFixture[str]

MAPPINGS = {
    # a key that names nothing that there is -> what is refused
    "recipe.data": ("--set data.train_clip=3", "data.train_clip: unknown field; did you mean 'train_clips'?"),
    "recipe.text.options": (
        "--set text.options={modle: x}",
        "text.options.modle: unknown field; did you mean 'model'",
    ),
    "recipe.text.captioner_options": (
        "--set text={captioner: conductor_listener, captioner_options: {x: 1}}",
        "text.captioner_options.x: unknown field",
    ),
    "recipe.conditions.options": (
        "--set conditions[face].options={geometri: tiny}",
        "conditions[0].options.geometri: unknown field; did you mean 'geometry'?",
    ),
    "recipe.train.condition_dropout": (
        "--set train.condition_dropout={moton: 0.2}",
        "train.condition_dropout.moton: one of face, motion, all, got 'moton'; did you mean 'motion'?",
    ),
    "recipe.generate.scales": (
        "--set generate.scales={moton: 2}",
        "generate.scales.moton: one of face, motion, got 'moton'; did you mean 'motion'?",
    ),
    "recipe.evaluate.outside": (
        "--set evaluate.outside={motion: .}",
        "evaluate.outside.motion: a name that no condition has, got 'motion'",
    ),
    "steering.strengths": ("--strength moton=2", "one of face, motion, got 'moton'; did you mean 'motion'?"),
    "steering.guidance": ("--guidance moton=2", "one of face, motion, got 'moton'; did you mean 'motion'?"),
    "steering.controls": ("--mute moton", "one of face, motion, got 'moton'; did you mean 'motion'?"),
    "matrix.rows": ("--set matrix.rows={a: {trian.steps: 3}}", "a path that begins with a field of the recipe"),
    "matrix.axes": ("--set matrix.axes={trian.steps: [3]}", "a path that begins with a field of the recipe"),
    "matrix.exclude": ("--set matrix.exclude=[{rwo: face}]", "got 'rwo'; did you mean 'row'?"),
    "matrix.groups": ("--set matrix.groups={x: [beat_f2]}", "matrix.groups.x[0]: one of beat_f1, tempo_error_bpm"),
}
OWN = {
    "recipe.versions": "written by the run, for people",
    "matrix.published.rows": "systems and metrics of other people's tables, which need not be ours",
}
"""Mappings whose keys are anybody's."""


def inside(hint: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every type at any depth of a model's fields, with the fields that lead there."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        for name, field in hint.model_fields.items():
            yield from inside(field.annotation, f"{path}.{name}")
    yield path, hint
    for part in typing.get_args(hint):
        yield from inside(part, path)


def is_mapping(hint: Any) -> bool:
    open_model = (
        isinstance(hint, type) and issubclass(hint, BaseModel) and hint.model_config.get("extra") == "allow"
    )
    return typing.get_origin(hint) is dict or open_model


def test_every_mapping_of_every_schema_is_known_here() -> None:
    models = {"recipe": Recipe, "steering": Steering, "matrix": MatrixSection}
    found = {path for name, model in models.items() for path, hint in inside(model, name) if is_mapping(hint)}
    assert found == MAPPINGS.keys() | OWN.keys()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_key_that_names_nothing_is_refused(mapping: str, tmp_path: Path, capsys: Capture) -> None:
    options, message = MAPPINGS[mapping]
    option, _, value = options.partition(" ")
    command = ["recipe", "check", "table1" if mapping.startswith("matrix") else "face_motion"]
    if mapping.startswith("steering"):
        command = ["generate", str(encode(tmp_path / "a.mp4", n=3)), "--out", str(tmp_path / "out")]
    assert run([*command, option, value]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("out/*")]


# --------------------------------------------------------------------------------------------------- paths

READ = ("path", "weights", "model", "cnn", "file", "folder", "store", "source", "storage", "root")
"""Names of text fields that may hold a path."""
NOT_READ = {
    "recipe.cluster.storage": "written to",
    "recipe.data.source": "the name of a data source",
    "recipe.backbone.source": "checked by a rule of its own: a name, a folder or a repository",
    "encoder gaze.source": "one of two words",
    "encoder pose.source": "one of two words",
}
NEEDED = {"precomputed": "features: raft, width: 3, rate_hz: 5.0"}


def paths() -> Iterator[tuple[str, str]]:
    """(field, a path that leads nowhere) of all that may hold one, in a recipe and in everybody's options.

    Where text may be a path or a name, only what begins as paths do is one.
    """
    models: dict[str, type[BaseModel]] = {"recipe": Recipe}
    for kind in ("encoder", "data source", "captioner"):
        models |= {f"{kind} {name}": offer.spec.options for name, offer in discover().offers(kind).items()}
    for name, model in models.items():
        for path, hint in inside(model, name):
            if path not in NOT_READ and (hint is Path or (hint is str and path.rpartition(".")[2] in READ)):
                yield path, "/nope/there"
                yield path, "nope/there.pt" if hint is Path else "./nope/there"


def settings(path: str, nowhere: str) -> str:
    """What puts a path into a field."""
    owner, _, field = path.partition(".")
    kind, _, name = owner.rpartition(" ")
    values = f"{{{', '.join(filter(None, [NEEDED.get(name), f'{field}: {nowhere}']))}}}"
    if path == "recipe.generate.melody":
        return f"{field}={nowhere}"
    if owner == "recipe":
        return f"{field}={{mine: {nowhere}}}"
    if kind == "data source":
        return f"data={{source: {name}, {values[1:]}"
    if kind == "captioner":
        return f"text={{captioner: {name}, captioner_options: {values}}}"
    if name == "text_t5":
        return f"text.options={values}"
    return f"conditions=[{{name: face, encoder: {name}, options: {values}}}]"


@pytest.mark.parametrize(("path", "nowhere"), sorted(set(paths())))
def test_a_path_that_leads_nowhere_is_found_before_the_run(path: str, nowhere: str, capsys: Capture) -> None:
    few = [] if path.startswith("data source ") else ["--set", "data.train_clips=1"]
    assert run(["recipe", "check", "face_motion", *few, "--set", settings(path, nowhere)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "a file or folder that can be read" in line]
    assert len(told) == 1 and f"got {nowhere}: nothing there" in told[0]


def test_all_sorts_of_paths_were_tried() -> None:
    found = {path for path, _ in paths()}
    assert {"recipe.evaluate.outside", "data source manifest.path", "encoder face_marlin.weights"} <= found
    assert {"encoder motion_raft.cnn", "encoder text_t5.model"} <= found
    assert ("captioner qwen2_audio.model" in found) == (find_spec("expotion_caption_qwen2_audio") is not None)


@pytest.mark.usefixtures("in_the_world_of_lamps")
def test_a_folder_without_sounds_of_the_clips_is_found_before_anything_is_made(
    run_lamps: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    sets = f"evaluate.outside={{one: {tmp_path}/empty, two: {tmp_path}/empty}}"
    assert run_lamps(tmp_path / "run", sets) == 1
    told = capsys.readouterr().err
    assert (
        "outside row 'one'" in told and "outside row 'two'" in told and "name the files by the clips' ids" in told
    )
    assert not (tmp_path / "run" / "adaptor").exists() and not (tmp_path / "run" / "samples").exists()
