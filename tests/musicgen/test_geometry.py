from __future__ import annotations

import pytest
import torch

from expotion.errors import WeightsError
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LARGE, MEDIUM, SMALL, LMGeometry


@pytest.mark.parametrize(
    ("geometry", "official"), [(SMALL, 420_371_456), (MEDIUM, 1_838_737_920), (LARGE, 3_256_956_928)]
)
def test_official_parameter_counts(geometry, official):
    with torch.device("meta"):
        lm = MusicGenLM(geometry)
    assert sum(parameter.numel() for parameter in lm.parameters()) == official


def test_reads_the_hugging_face_configuration():
    decoder = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 128,
        "vocab_size": 32,
    }
    full = LMGeometry.from_hf({"decoder": decoder, "text_encoder": {"d_model": 48}})
    assert full == LMGeometry(64, 2, 4, 128, 4, 32, 48)
    assert LMGeometry.from_hf({"decoder": decoder, "text_encoder": {"d_model": 64}}).text_width is None
    assert LMGeometry.from_hf(decoder).text_width is None


def test_lists_every_setting_that_would_change_the_computation():
    config = {"decoder": {"activation_function": "relu", "scale_embedding": True, "hidden_size": "wide"}}
    with pytest.raises(WeightsError) as error:
        LMGeometry.from_hf(config)
    text = str(error.value)
    assert len(error.value.problems) == 3
    assert "activation_function" in text and "scale_embedding" in text and "hidden_size" in text


def test_refuses_sizes_that_cannot_be():
    with pytest.raises(WeightsError, match="divisible"):
        LMGeometry(30, 2, 4, 64, 4, 16, None)
    with pytest.raises(WeightsError, match="n_layers"):
        LMGeometry(32, 0, 4, 64, 4, 16, None)
    with pytest.raises(WeightsError, match="4 delays"):
        LMGeometry(32, 1, 4, 64, 4, 16, None, delays=(0, 1))
    with pytest.raises(WeightsError, match="as many codebooks each"):
        LMGeometry(32, 1, 4, 64, 3, 16, None, channels=2)
