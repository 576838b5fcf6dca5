"""What the plugin announces, and that announcing it costs nothing."""

from __future__ import annotations

from pathlib import Path

import pluggy
import pytest

import expotion_conductor
from expotion import contracts
from expotion.errors import WeightsError
from expotion_conductor import backbone


@pytest.fixture
def manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("expotion")
    manager.add_hookspecs(contracts)
    manager.register(expotion_conductor)
    manager.check_pending()
    return manager


def test_announces_the_world_and_the_tiny_backbone(manager: pluggy.PluginManager) -> None:
    (sources,) = manager.hook.expotion_data_sources()
    (backbones,) = manager.hook.expotion_backbones()
    assert [spec.name for spec in sources] == ["conductor"]
    assert [(spec.name, spec.default) for spec in backbones] == [("tiny", True), ("tiny-1", False)]
    assert set(sources[0].options.model_fields) == {
        "train_clips", "test_clips", "clip_s", "sensors", "size", "style", "performed", "train_seed", "test_seed",
    }  # fmt: skip


def test_missing_weights_are_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backbone, "files", lambda package: tmp_path)
    with pytest.raises(WeightsError, match="tiny MusicGen"):
        backbone.locate_tiny()
    (tmp_path / "weights" / "tiny").mkdir(parents=True)
    with pytest.raises(WeightsError, match="empty folder"):
        backbone.locate_tiny()
    (tmp_path / "weights" / "tiny" / "config.json").write_text("{}")
    assert backbone.locate_tiny() == tmp_path / "weights" / "tiny"
    with pytest.raises(WeightsError, match="default adaptor"):
        backbone.locate_default_adaptor()
