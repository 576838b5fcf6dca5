from __future__ import annotations

import torch

from expotion.musicgen.audiocraft_files import read_checkpoint

SETTINGS = """
sample_rate: 32000
channels: 1
rate: ${sample_rate}
encodec: {causal: false, channels: "${channels}"}
seanet: {causal: "${encodec.causal}", channels: "${encodec.channels}", ratios: [8, 5, 4, 4]}
other: {section: "${encodec}", nowhere: "${a.b}", elsewhere: "${oc.env:HOME}", loop: "${other.loop}"}
"""


def test_references_between_settings_are_looked_up(tmp_path):
    path = tmp_path / "compression_state_dict.bin"
    torch.save({"best_state": {"a": torch.zeros(1)}, "xp.cfg": SETTINGS}, path)
    _, settings = read_checkpoint(path)
    assert settings["rate"] == 32000
    assert settings["encodec"] == {"causal": False, "channels": 1}
    assert settings["seanet"] == {"causal": False, "channels": 1, "ratios": [8, 5, 4, 4]}


def test_references_to_elsewhere_stay_as_they_are(tmp_path):
    path = tmp_path / "state_dict.bin"
    torch.save({"best_state": {"a": torch.zeros(1)}, "xp.cfg": SETTINGS}, path)
    _, settings = read_checkpoint(path)
    assert settings["other"] == {
        "section": "${encodec}",
        "nowhere": "${a.b}",
        "elsewhere": "${oc.env:HOME}",
        "loop": "${other.loop}",
    }
