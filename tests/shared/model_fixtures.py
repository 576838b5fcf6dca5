"""Golden files and small random models. The fixtures import torch: every process reads this file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from expotion.musicgen.decoder import MusicGenLM

GOLDEN = Path(__file__).parent.parent / "golden"
WORDS = ["calm", "warm", "strings", "bright", "drums", "and", "piano", "music"]


@dataclass(frozen=True)
class Golden:
    about: dict[str, Any]
    arrays: Any

    def __getitem__(self, name: str) -> torch.Tensor:
        import torch

        return torch.from_numpy(self.arrays[name])

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): self[name] for name in self.arrays.files if name.startswith(prefix)}


@pytest.fixture(scope="session")
def golden():
    import numpy as np

    def load(kind: str) -> Golden:
        about = json.loads((GOLDEN / f"{kind}_dev.json").read_text())
        return Golden(about, np.load(GOLDEN / f"{kind}_dev.npz"))

    return load


@pytest.fixture(scope="session")
def golden_lm():
    from expotion.musicgen import audiocraft_files

    def build(data: Golden) -> MusicGenLM:
        state = data.under("lm/")
        settings = {"transformer_lm": {"num_heads": data.about["config"]["heads"]}}
        return audiocraft_files.language_model(state, settings, "golden")

    return build


@pytest.fixture
def small_lm() -> MusicGenLM:
    import torch

    from expotion.musicgen.decoder import MusicGenLM
    from expotion.musicgen.geometry import LMGeometry

    torch.manual_seed(0)
    lm = MusicGenLM(LMGeometry(32, 3, 4, 64, 4, 20, 12))
    for name, parameter in lm.named_parameters():
        if "norm" in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
        else:
            parameter.copy_(0.15 * torch.randn_like(parameter))
    return lm


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session")
def musicgen_folder(tmp_path_factory):
    return save_musicgen(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="session")
def stereo_folder(tmp_path_factory):
    """Eight codebooks, those of left and right in turn; the codec is that of mono."""
    return save_musicgen(tmp_path_factory.mktemp("stereo"), num_codebooks=8, audio_channels=2)


@pytest.fixture(scope="session")
def melody_folder(tmp_path_factory):
    """Text and 12 pitch classes, in 5 rows, in front of the music."""
    return save_musicgen(tmp_path_factory.mktemp("melody"), melody=True)


def save_musicgen(folder, *, melody=False, **of_decoder):
    """A random MusicGen as transformers saves it: decoder, T5, EnCodec and tokenizer."""
    import torch
    import transformers as hf

    torch.manual_seed(1)
    of_kind = (
        (hf.MusicgenMelodyConfig, hf.MusicgenMelodyDecoderConfig)
        if melody
        else (hf.MusicgenConfig, hf.MusicgenDecoderConfig)
    )
    config = of_kind[0](
        **({"num_chroma": 12, "chroma_length": 5} if melody else {}),
        text_encoder=hf.T5Config(vocab_size=16, d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3).to_dict(),
        audio_encoder=hf.EncodecConfig(
            target_bandwidths=[0.8],
            sampling_rate=1200,
            upsampling_ratios=[4, 3, 2],
            num_filters=4,
            hidden_size=8,
            codebook_dim=8,
            codebook_size=16,
            num_lstm_layers=1,
            use_causal_conv=False,
            normalize=False,
            use_conv_shortcut=False,
            pad_mode="reflect",
        ).to_dict(),
        decoder=of_kind[1](
            vocab_size=16,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=48,
            pad_token_id=16,
            bos_token_id=16,
            **{"num_codebooks": 4, **of_decoder},
        ).to_dict(),
    )
    model = (hf.MusicgenMelodyForConditionalGeneration if melody else hf.MusicgenForConditionalGeneration)(config)
    for name, buffer in model.audio_encoder.named_buffers():
        if name.endswith(("embed", "embed_avg")):
            buffer.copy_(torch.randn_like(buffer))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
