from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from expotion.contracts import CaptionerSpec, EncoderSpec, MetricSpec, hookimpl
from expotion.errors import PluginError
from expotion.plugins import KINDS, Registry, discover


@dataclass
class Point:
    name: str
    module: Any
    distribution: str = ""
    version: str = "1.2"

    @property
    def dist(self) -> Any:
        return SimpleNamespace(name=self.distribution or f"expotion-{self.name}", version=self.version)

    def load(self) -> Any:
        if isinstance(self.module, Exception):
            raise self.module
        return self.module


def module_with(**functions: Any) -> ModuleType:
    module = ModuleType("a_plugin")
    for name, function in functions.items():
        setattr(module, name, function)
    return module


def encoder_spec(name: str) -> EncoderSpec:
    return EncoderSpec(name, "for tests", frozenset({"video"}), build=lambda options: None)  # type: ignore[arg-type, return-value]


def offering(*names: str) -> ModuleType:
    return module_with(expotion_encoders=hookimpl(lambda: [encoder_spec(name) for name in names]))


def found(*points: Point) -> Registry:
    return discover(points, builtins=())


def test_offers_are_found_by_name_with_the_distribution_that_brings_them() -> None:
    registry = found(Point("pose", offering("pose", "hands")), Point("gaze", offering("gaze"), version="0.3"))
    assert sorted(registry.encoders) == ["gaze", "hands", "pose"]
    assert registry.encoder("hands").name == "hands"
    offer = registry.offer("encoder", "gaze")
    assert (offer.distribution, offer.version) == ("expotion-gaze", "0.3")
    assert registry.distributions == {"expotion-pose": "1.2", "expotion-gaze": "0.3"}
    assert registry.plugins[0].offers == {"encoder": ("pose", "hands")}


def test_every_kind_of_offer_has_its_table() -> None:
    metric = MetricSpec("loudness", "dB", lambda: None, True)  # type: ignore[arg-type, return-value]
    captioner = CaptionerSpec("words", "words", lambda options: None)  # type: ignore[arg-type, return-value]
    module = module_with(
        expotion_metrics=hookimpl(lambda: [metric]), expotion_captioners=hookimpl(lambda: [captioner])
    )
    registry = found(Point("extra", module))
    assert registry.metric("loudness") is metric
    assert registry.captioner("words") is captioner
    assert [kind for kind in KINDS if registry.offers(kind)] == ["metric", "captioner"]


def test_a_broken_plugin_is_kept_with_its_cause_and_the_others_work() -> None:
    registry = found(Point("bad", ImportError("No module named 'mediapipe'")), Point("pose", offering("pose")))
    assert list(registry.encoders) == ["pose"]
    assert [(p.name, p.error) for p in registry.broken] == [("bad", "ImportError: No module named 'mediapipe'")]


def test_a_hook_that_raises_breaks_only_its_own_plugin() -> None:
    def announce() -> list[EncoderSpec]:
        raise RuntimeError("no licence file")

    registry = found(
        Point("bad", module_with(expotion_encoders=hookimpl(announce))), Point("pose", offering("pose"))
    )
    assert registry.broken[0].error == "RuntimeError: no licence file"
    assert "pose" in registry.encoders


@pytest.mark.parametrize("marked", [True, False])
def test_a_misspelt_hook_breaks_its_plugin_and_the_real_name_is_told(marked: bool) -> None:
    def announce() -> list[EncoderSpec]:
        return [encoder_spec("wave")]

    module = offering("hands")
    module.expotion_encodres = hookimpl(announce) if marked else announce  # type: ignore[attr-defined]
    registry = found(Point("pose", module), Point("gaze", offering("gaze")))
    told = "'expotion_encodres' is no hook: did you mean 'expotion_encoders'?"
    assert [(plugin.name, plugin.error) for plugin in registry.broken] == [("pose", told)]
    assert list(registry.encoders) == ["gaze"]
    for name in ("hands", "pose"):  # what it offers by another hook, and what it is named after
        with pytest.raises(PluginError) as caught:
            registry.encoder(name)
        assert str(caught.value) == (
            f"encoder {name!r}: the plugin expotion-pose that offers it is broken, got {told}; "
            "reinstall or update expotion-pose"
        )


@pytest.mark.parametrize(
    ("first", "second", "removed"),
    [
        ("expotion-pose", "third-party", "third-party"),
        ("a-third-party", "expotion-pose", "a-third-party"),
        ("expotion-aaa", "expotion_pose", "expotion-aaa"),
        ("expotion", "expotion-pose", "expotion-pose"),
        ("aaa", "expotion-motion", "aaa"),
        ("aaa", "bbb", "bbb (or aaa)"),
        ("expotion-a", "expotion-b", "expotion-b (or expotion-a)"),
    ],
)
def test_a_name_offered_twice_is_an_error_that_names_the_foreign_distribution(
    first: str, second: str, removed: str
) -> None:
    with pytest.raises(PluginError) as caught:
        found(Point("a", offering("pose"), first), Point("b", offering("pose"), second))
    assert str(caught.value) == (
        f"encoder 'pose': a name that one distribution offers, got two: {first} and {second}; "
        f"uninstall one of them: uv remove {removed}"
    )


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(PluginError) as caught:
        found(Point("a", offering("x", "y")), Point("b", offering("x", "y")))
    assert len(caught.value.problems) == 2


def test_a_plugin_of_another_api_is_skipped_with_the_reason() -> None:
    module = offering("pose")
    module.EXPOTION_API = "2.0"  # type: ignore[attr-defined]
    registry = found(Point("pose", module))
    assert not registry.encoders
    assert registry.broken[0].error is not None
    assert "plugin API 1.x, which this expotion speaks, got 2.0" in registry.broken[0].error


@pytest.mark.parametrize("answer", ["pose", encoder_spec("pose"), [{"name": "pose"}]])
def test_an_answer_of_the_wrong_type_breaks_the_plugin(answer: Any) -> None:
    registry = found(Point("pose", module_with(expotion_encoders=hookimpl(lambda: answer))))
    assert not registry.encoders
    assert "a list of" in str(registry.broken[0].error)


def test_an_unknown_name_gets_the_closest_one() -> None:
    with pytest.raises(PluginError, match="did you mean 'pose'"):
        found(Point("pose", offering("pose"))).encoder("poes")


def test_a_known_encoder_that_is_not_installed_names_its_package() -> None:
    with pytest.raises(PluginError) as caught:
        found().encoder("face_marlin")
    assert "install it: uv add expotion-face-marlin" in str(caught.value)


def test_a_known_encoder_whose_plugin_is_broken_says_why() -> None:
    broken = Point("face_marlin", ImportError("No module named 'timm'"), "expotion-face-marlin")
    with pytest.raises(PluginError) as caught:
        found(broken).encoder("face_marlin")
    assert "broken, got ImportError: No module named 'timm'" in str(caught.value)


def test_core_announces_its_own_metrics_through_the_same_hook() -> None:
    registry = discover((), builtins=("expotion.evaluate.registry",))
    assert "beat_f1" in registry.metrics
    assert registry.offer("metric", "beat_f1").distribution == "expotion"
    assert not registry.broken


def test_plugins_announce_what_they_offer_without_importing_anything_heavy() -> None:
    """The conductor world not even OpenCV; `check_encoder` asks the same of each encoder's module alone."""
    code = """
import sys
import expotion.plugins
import expotion_conductor

heavy = {"torch", "torchvision", "transformers", "scipy"}
expotion_conductor.expotion_data_sources(), expotion_conductor.expotion_backbones()
print({*heavy, "cv2"} & set(sys.modules), expotion.plugins.discover().broken, heavy & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "()", "set()"]


def test_a_package_that_is_there_but_does_not_offer_the_name_is_to_be_updated() -> None:
    with pytest.raises(PluginError) as caught:
        found(Point("gaze_wide", offering("gaze"))).encoder("gaze_wide")
    assert "expotion-gaze-wide 1.2 does not offer this encoder" in str(caught.value)
    assert "uv add --upgrade expotion-gaze-wide" in str(caught.value)


def test_a_metric_that_nobody_offers_names_what_is_broken() -> None:
    broken = Point("sound", ImportError("No module named 'timm'"))
    with pytest.raises(PluginError) as caught:
        found(broken).metric("timbre")
    assert "docs/plugins.md" in str(caught.value)
    assert "expotion-sound is broken and skipped: ImportError: No module named 'timm'" in str(caught.value)


def test_a_kind_has_the_one_default_that_a_plugin_declares() -> None:
    one = module_with(expotion_encoders=hookimpl(lambda: [replace(encoder_spec("words"), default=True)]))
    other = module_with(expotion_encoders=hookimpl(lambda: [replace(encoder_spec("verse"), default=True)]))
    assert found(Point("a", offering("pose")), Point("b", one)).default("encoder") == "words"
    with pytest.raises(PluginError, match=r"default encoder: one installed plugin.*, got none; name the encoder"):
        found(Point("a", offering("pose"))).default("encoder")
    with pytest.raises(PluginError, match="got 2: words, verse"):
        found(Point("b", one), Point("c", other)).default("encoder")
