"""Every kind of fault, with the message that a user sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from expotion.errors import RecipeError
from expotion.plugins import Registry, discover
from expotion.recipe import load_recipe

Write = Callable[[str], Path]

FAULTS = [
    # 1 an unknown field
    ("rank: 12}", "rnak: 12}", "dance.yaml:8 conditions[0].rnak: unknown field; did you mean 'rank'?"),
    # 2 a value of the wrong type
    ("steps: 160", "steps: many", "dance.yaml:11 train.steps: a whole number, got 'many'"),
    # 3 a value out of bounds
    ("batch_size: 8,", "batch_size: 0,", "dance.yaml:11 train.batch_size: a number of at least 1, got 0"),
    # 4 a word that is none of the choices
    (
        "adaptor: {layers: all}",
        "adaptor: {prefix_attention: casual}",
        "dance.yaml:10 adaptor.prefix_attention: one of causal, full, got 'casual'; did you mean 'causal'?",
    ),
    # 5 a required field that is missing
    (
        "- {name: motion, encoder: flow, rank: 4}",
        "- {name: motion, rank: 4}",
        "dance.yaml:9 conditions[1].encoder: this field is required, got nothing; add `encoder: ...`",
    ),
    # 6 a repeated key
    (
        "generate: {cfg_scale: 3.0}",
        "generate: {cfg_scale: 3.0, cfg_scale: 4.0}",
        "dance.yaml:12 cfg_scale: a field given once, got a repeated key; keep one; the other is on line 12",
    ),
    # 7 an encoder whose plugin is not installed
    (
        "encoder: flow",
        "encoder: motion_raft",
        "dance.yaml:9 conditions[1].encoder: encoder 'motion_raft': no installed plugin offers this encoder; "
        "install it: uv add expotion-motion-raft, or the package that offers it under another name; "
        "known: face_marlin, flow, text_t5",
    ),
    # 8 an option that the plugin does not know
    (
        "rank: 12}",
        "options: {geometri: tiny}}",
        "dance.yaml:8 conditions[0].options.geometri: unknown field; did you mean 'geometry'?",
    ),
    # 9 an option of a data source
    ("train_clips: 16", "train_clips: 0", "dance.yaml:4 data.train_clips: a number of at least 1, got 0"),
    # 10 a plugin that is needed but not declared
    (
        "plugins: [expotion-face-marlin, ",
        "plugins: [",
        "dance.yaml:8 conditions[0].encoder: encoder 'face_marlin' comes with expotion-face-marlin, "
        "which `plugins` does not list; add expotion-face-marlin to plugins",
    ),
    # 11 a version that is not installed
    (
        "expotion-text-t5,",
        "expotion-text-t5>=2,",
        "dance.yaml:3 plugins[1]: expotion-text-t5 >=2, got 0.1.0; uv add 'expotion-text-t5>=2'",
    ),
    # 12 the same name twice
    (
        "name: motion,",
        "name: face,",
        "dance.yaml:9 conditions[1].name: a name of its own, got 'face' as in conditions[0]; choose another name",
    ),
    # 13 a name that the evaluation uses itself
    (
        "name: motion,",
        "name: shuffled,",
        "dance.yaml:9 conditions[1].name: a name that the evaluation does not use itself, got 'shuffled'; "
        "choose another name",
    ),
    # 14 an unknown metric
    (
        "metrics: [beat_f1]",
        "metrics: [beat_f2]",
        "dance.yaml:13 evaluate.metrics[0]: metric 'beat_f2': no installed plugin offers this metric; "
        "did you mean 'beat_f1'?",
    ),
    # 15 `off` where a word is wanted
    (
        "adaptor: {layers: all}",
        "adaptor: {null_branch: off}",
        "dance.yaml:10 adaptor.null_branch: one of none, null_vectors, full, got 'off'; write none",
    ),
    # 16 a quoted number
    ("steps: 160", "steps: '160'", "dance.yaml:11 train.steps: a whole number, got '160'; remove the quotes: 160"),
    # 17 a fraction where a whole number is wanted
    ("batch_size: 8,", "batch_size: 8.0,", "dance.yaml:11 train.batch_size: a whole number, got 8.0; write 8"),
    # 18 a condition that is measured but does not exist
    (
        "{metrics: [beat_f1]}",
        "{metrics: [], conditions: [moton]}",
        "dance.yaml:13 evaluate.conditions[0]: a condition, or several joined by + in recipe order, "
        "got 'moton'; did you mean 'motion'?",
    ),
    # 19 an infinite number
    ("cfg_scale: 3.0", "cfg_scale: .inf", "dance.yaml:12 generate.cfg_scale: a finite number, got inf"),
    # 20 a backbone that is nowhere
    (
        "source: tiny",
        "source: ./no_such_folder",
        "dance.yaml:5 backbone.source: an existing folder, got './no_such_folder'; "
        "or a plugin's backbone, or hf:ORG/NAME",
    ),
    # 21 an encoder of tracks as text
    (
        "text: {encoder: text_t5",
        "text: {encoder: flow",
        "dance.yaml:6 text.encoder: an encoder that feeds cross-attention, got 'flow', which feeds the "
        "prefix; list it under conditions",
    ),
    # 22 yes and no
    (
        "learning_rate: {",
        "context_swap: yes, learning_rate: {",
        "dance.yaml:11 train.context_swap: true, false or a probability, got 'yes'; write true",
    ),
    # 23 a dropout for a condition that is not there
    (
        "learning_rate: {",
        "condition_dropout: {facee: 0.2}, learning_rate: {",
        "dance.yaml:11 train.condition_dropout.facee: one of face, motion, all, got 'facee'; did you mean 'face'?",
    ),
    # 24 a scale of guidance for a condition that is not there
    (
        "cfg_scale: 3.0",
        "cfg_scale: 3.0, scales: {moton: 2.0}",
        "dance.yaml:12 generate.scales.moton: one of face, motion, got 'moton'; did you mean 'motion'?",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault[1][:28] for fault in FAULTS])
def test_each_fault_alone_gives_its_message(
    fault: tuple[str, str, str], recipe_text: str, registry: Registry, write: Write
) -> None:
    right, wrong, message = fault
    assert recipe_text.count(right) >= 1
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(recipe_text.replace(right, wrong, 1)), registry=registry)
    assert str(caught.value) == message


def test_faults_of_every_stage_are_reported_together_in_the_order_of_the_file(
    recipe_text: str, registry: Registry, write: Write
) -> None:
    wrong = (
        recipe_text.replace("expotion-text-t5,", "expotion-txt-t5,")
        .replace("train_clips: 16", "train_clips: 0")
        .replace("rank: 12", "rank: -1")
        .replace("encoder: flow", "encoder: floww")
        .replace("steps: 160", "stesp: 160")
        .replace("cfg_scale: 3.0", "cfg_scale: 3.0, cfg_scale: 2.0")
        .replace("[beat_f1]", "[beat_f2]")
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(wrong), registry=registry)
    wheres = [problem.where for problem in caught.value.problems]
    assert wheres == [
        "dance.yaml:3 plugins[1]",
        "dance.yaml:4 data.train_clips",
        "dance.yaml:6 text.encoder",
        "dance.yaml:8 conditions[0].rank",
        "dance.yaml:9 conditions[1].encoder",
        "dance.yaml:11 train.stesp",
        "dance.yaml:12 cfg_scale",
        "dance.yaml:13 evaluate.metrics[0]",
    ]


def test_plugins_that_are_not_there_misspelt_or_broken(recipe_text: str, write: Write) -> None:
    class Broken:
        name = "gaze"
        dist = SimpleNamespace(name="expotion-gaze", version="0.1")

        def load(self) -> None:
            raise ImportError("No module named 'mediapipe'")

    plugins = "plugins: [expotion-gaze, my-controls>=1, expotion-gazze, '=?']"
    lines = recipe_text.splitlines()
    lines[2] = plugins
    with pytest.raises(RecipeError) as caught:
        load_recipe(write("\n".join(lines)), registry=discover([Broken()], builtins=()))
    assert [str(problem) for problem in caught.value.problems][:4] == [
        "dance.yaml:3 plugins[0]: a plugin that works, got expotion-gaze, broken: "
        "ImportError: No module named 'mediapipe'; reinstall expotion-gaze",
        "dance.yaml:3 plugins[1]: an installed plugin, got 'my-controls>=1'; install it: uv add 'my-controls>=1'",
        "dance.yaml:3 plugins[2]: an installed plugin, got 'expotion-gazze'; install it: uv add 'expotion-gazze'",
        "dance.yaml:3 plugins[3]: a distribution, with a range if you like, got '=?'; for example my-plugin>=0.1",
    ]


@pytest.mark.parametrize(
    ("listed", "fix"),
    [
        ("expotion-conducter", "did you mean 'expotion-conductor'?"),
        ("expotion-sensor", "install it: uv add 'expotion-sensor'"),  # only the beginning is alike
    ],
)
def test_only_a_plugin_of_nearly_the_same_name_is_meant(
    listed: str, fix: str, recipe_text: str, registry: Registry, write: Write
) -> None:
    wrong = recipe_text.replace("plugins: [expotion-face-marlin", f"plugins: [{listed}, expotion-face-marlin")
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(wrong), registry=registry)
    assert caught.value.problems[0].fix == fix


def test_a_gap_shorter_than_the_distance_of_samples(recipe_text: str, registry: Registry, write: Write) -> None:
    wrong = recipe_text.replace(
        "encoder: flow, rank: 4", "encoder: flow, rank: 4, smooth: {rate_hz: 4.0, max_gap_s: 0.2}"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(wrong), registry=registry)
    assert [str(problem) for problem in caught.value.problems] == [
        "dance.yaml:9 conditions[1].smooth.max_gap_s: at least the 0.25 s between two samples, got 0.2; raise "
        "it, or remove it for the default"
    ]


def test_smoothing_token_features_is_an_error(recipe_text: str, registry: Registry, write: Write) -> None:
    wrong = recipe_text.replace("encoder: flow, rank: 4", "encoder: text_t5, rank: 4, smooth: {max_gap_s: 1.0}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(wrong), registry=registry)
    assert [str(problem) for problem in caught.value.problems] == [
        "dance.yaml:9 conditions[1].smooth: smoothing of a time-varying track, got 'text_t5', whose token "
        "features have no rate; remove `smooth`",
        "dance.yaml:9 conditions[1].encoder: an encoder of a time-varying track, got 'text_t5', whose token "
        "features have no rate; use it as text: {encoder: text_t5}",
    ]


def test_a_recipe_that_is_not_there_lists_those_that_are(registry: Registry, write: Write) -> None:
    write("name: dance")
    with pytest.raises(RecipeError, match=r"dnace\.yaml: an existing recipe, got no such file; .*dance\.yaml"):
        load_recipe("dnace.yaml", registry=registry)


@pytest.mark.parametrize(
    ("text", "got"),
    [("- a list", ":1: .* a list"), ("just text", ":1: .* 'just text'"), ("42", ":1: .* 42"), ("", ": .* nothing")],
)
def test_a_file_that_is_no_mapping(text: str, got: str, registry: Registry, write: Write) -> None:
    with pytest.raises(
        RecipeError, match=rf"dance\.yaml{got.replace('.*', 'a mapping of fields, got')}; begin with"
    ):
        load_recipe(write(text), registry=registry)
