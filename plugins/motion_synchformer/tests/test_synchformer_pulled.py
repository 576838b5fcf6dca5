"""Official weights that `expotion models pull` has not brought yet."""

from __future__ import annotations

import pytest

from expotion.errors import WeightsError
from expotion_motion_synchformer import SynchformerOptions
from expotion_motion_synchformer.encoder import SynchformerEncoder


def test_official_weights_that_are_not_there_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="expotion models pull synchformer_sync_audioset"):
        SynchformerEncoder(SynchformerOptions(geometry="base"))
