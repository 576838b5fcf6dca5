from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import load_adaptor, save_adaptor
from expotion.adaptor.config import AdaptorConfig, Modality, released_code
from expotion.errors import OutputError, WeightsError


@pytest.fixture
def folder(config, make_adaptor, tmp_path):
    save_adaptor(tmp_path / "run", make_adaptor(config), {"backbone": "tiny", "encoders": {"face": "abc"}})
    return tmp_path / "run"


def test_comes_back_the_same(folder, config, make_adaptor, lm, inputs, tokens, source):
    adaptor, metadata = load_adaptor(folder)
    assert metadata == {"backbone": "tiny", "encoders": {"face": "abc"}}
    assert adaptor.config == config
    original = make_adaptor(config)
    assert torch.equal(lm(tokens, source, adaptor(lm, inputs)), lm(tokens, source, original(lm, inputs)))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "adaptor.json", "adaptor.safetensors"]
    assert "| face | 6 | 3 |" in (folder / "README.md").read_text()


def test_every_kind_of_configuration_survives_json(config):
    for one in (
        config,
        released_code(width=8, n_lm_layers=3, n_adapted=1, feature_width=5, rank=12, n_rows=7, masked=True),
    ):
        assert AdaptorConfig.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_statistics_and_own_projections_are_saved(tmp_path):
    config = AdaptorConfig((Modality("face", 4, 2),), 8, 2, 1)
    own = torch.nn.Linear(4, 2)
    adaptor = Adaptor(config, {"face": own}, seed=0)
    adaptor.set_statistics("face", torch.arange(4.0), torch.tensor([1.0, 2.0, 0.0, 4.0]))
    save_adaptor(tmp_path / "a", adaptor)
    back, _ = load_adaptor(tmp_path / "a", projections={"face": torch.nn.Linear(4, 2)})
    assert torch.equal(back.projector("face").scale, torch.tensor([1.0, 2.0, 1.0, 4.0]))
    assert torch.equal(back.projector("face").linear.bias, own.bias)
    with pytest.raises(WeightsError, match="bias"):
        load_adaptor(tmp_path / "a")  # with the default projection the file does not fit


def test_replacing_leaves_one_whole_folder(folder, config, make_adaptor):
    save_adaptor(folder, make_adaptor(config, gate=0.1), {"step": 2}, card="# Mine\n")
    adaptor, metadata = load_adaptor(folder)
    assert metadata == {"step": 2} and adaptor.gates.abs().max() < 0.4
    assert (folder / "README.md").read_text() == "# Mine\n"
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path, config, make_adaptor):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(OutputError, match="other files"):
        save_adaptor(tmp_path / "photos", make_adaptor(config))
    assert (tmp_path / "photos" / "cat.png").read_bytes() == b"cat"


def test_a_failing_disk_leaves_the_old_one(folder, config, make_adaptor, monkeypatch):
    before = (folder / "adaptor.safetensors").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_adaptor(folder, make_adaptor(config, gate=0.1))
    assert (folder / "adaptor.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def rewrite(folder, change):
    """Change the tensors and keep the hash right, as a careful hand would."""
    import hashlib

    path = folder / "adaptor.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    description = json.loads((folder / "adaptor.json").read_text())
    description["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "adaptor.json").write_text(json.dumps(description))


def test_every_mismatch_is_listed(folder):
    def change(state):
        state.pop("gates")
        state["stray"] = torch.zeros(1)
        state["embedding.start"] = torch.zeros(5)
        state["embedding.fusion"] = state["embedding.fusion"].half()

    rewrite(folder, change)
    with pytest.raises(WeightsError) as error:
        load_adaptor(folder)
    assert len(error.value.problems) == 4


def test_damage_is_noticed(folder):
    path = folder / "adaptor.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        load_adaptor(folder)
    path.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="safetensors"):
        load_adaptor(folder)
    path.unlink()
    with pytest.raises(WeightsError, match="safetensors"):
        load_adaptor(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "expotion-adaptor/9"}, "expotion-adaptor/1"),
        ({"config": 3}, "config"),
        ({"config": {"modalities": "face"}}, "list of objects"),
        ({"config": {"modalities": [{"nam": "x"}], "widht": 3}}, "widht"),
    ],
)
def test_descriptions_that_do_not_fit(folder, change, words):
    path = folder / "adaptor.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError, match=words):
        load_adaptor(folder)


def test_a_folder_without_an_adaptor(tmp_path):
    with pytest.raises(WeightsError, match=r"adaptor\.json"):
        load_adaptor(tmp_path)
