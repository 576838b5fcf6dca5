"""A small random MusicGen in audiocraft's released form: two files, and the T5 folder that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WORDS = ("calm", "warm", "strings", "bright", "drums", "and", "piano", "music")
PROMPTS = ["calm warm strings", "bright drums and piano music", None]

LM_SETTINGS = """
solver: musicgen
sample_rate: 1200
device: cuda
dtype: float16
lm_model: transformer_lm
dataset: {{segment_duration: 30, batch_size: 4}}
codebooks_pattern:
  modeling: delay
  delay: {{delays: {delays}, flatten_first: 0, empty_initial: 0}}
transformer_lm:
  dim: 32
  num_heads: 4
  num_layers: 3
  hidden_scale: 4
  n_q: 4
  card: 16
  dropout: 0.
  emb_lr: null
  activation: {activation}
  norm_first: true
  bias_ff: false
  bias_attn: false
  bias_proj: false
  past_context: null
  causal: true
  custom: false
  memory_efficient: true
  attention_as_float32: false
  layer_scale: null
  positional_embedding: sin
  xpos: false
  checkpointing: none
  weight_init: gaussian
  depthwise_init: current
  zero_bias_init: true
  norm: layer_norm
  cross_attention: false
  qk_layer_norm: false
  qk_layer_norm_cross: false
  attention_dropout: null
  kv_repeat: 1
  two_step_cfg: false
classifier_free_guidance: {{training_dropout: 0.3, inference_coef: 3.0}}
attribute_dropout: {{}}
fuser:
  cross_attention_pos_emb: false
  cross_attention_pos_emb_scale: 1
  sum: []
  prepend: []
  cross: [description]
  input_interpolate: []
conditioners:
  description:
    model: t5
    t5: {{name: "{t5}", finetune: false, word_dropout: 0.3, normalize_text: false}}
"""

# References between settings stay as they are written: that is how audiocraft exports them.
CODEC_SETTINGS = """
solver: compression
sample_rate: 1200
channels: 1
device: cuda
compression_model: encodec
encodec:
  autoencoder: seanet
  quantizer: rvq
  sample_rate: ${sample_rate}
  channels: ${channels}
  causal: false
  renormalize: false
seanet:
  dimension: 8
  channels: ${channels}
  causal: ${encodec.causal}
  n_filters: 4
  n_residual_layers: 1
  ratios: [4, 3, 2]
  activation: ELU
  activation_params: {alpha: 1.0}
  norm: weight_norm
  norm_params: {}
  kernel_size: 7
  residual_kernel_size: 3
  last_kernel_size: 7
  dilation_base: 2
  pad_mode: PAD
  true_skip: true
  compress: 2
  lstm: 2
  disable_norm_outer_blocks: 0
  decoder: {trim_right_ratio: 1.0, final_activation: null, final_activation_params: null}
  encoder: {}
rvq:
  n_q: 4
  q_dropout: false
  bins: 16
  decay: 0.99
  kmeans_init: true
  kmeans_iters: 50
  threshold_ema_dead_code: 2
  orthogonal_reg_weight: 0.0
  orthogonal_reg_active_codes_only: false
no_quant: {}
"""


@dataclass(frozen=True)
class Release:
    """A folder of audiocraft's two files."""

    folder: Path
    t5: Path


def save_t5(folder: Path) -> None:
    """A random T5 encoder with its tokenizer, as transformers saves them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((f"▁{word}", -2.0) for word in WORDS)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = T5Config(vocab_size=16, d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3)
    T5EncoderModel(config).save_pretrained(folder)


def shaken(model: Any) -> Any:
    """The model with norms and biases moved off their initial ones and zeros."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def export(model: Any, settings: str, path: Path) -> None:
    """What `audiocraft.utils.export` writes: the tensors, and the settings as YAML text."""
    import torch
    from omegaconf import OmegaConf

    package = {
        "best_state": model.state_dict(),
        "xp.cfg": OmegaConf.to_yaml(OmegaConf.create(settings)),
        "version": "1.3.0",
        "exported": True,
    }
    torch.save(package, path)


def build_codec(settings: str) -> Any:
    """A random codec, built by audiocraft, its codebooks filled."""
    import torch
    from audiocraft.models import builders
    from omegaconf import OmegaConf

    config = OmegaConf.create(settings)
    config.device = "cpu"
    model = shaken(builders.get_compression_model(config))
    with torch.no_grad():
        latent = model.eval().encoder(torch.randn(4, 1, 1000))  # [B, width, T]
    centre, spread = latent.mean(dim=(0, 2)), latent.std(dim=(0, 2))
    for name, buffer in model.named_buffers():
        if name.endswith(("embed", "embed_avg")):
            stage = int(name.split(".layers.")[1].split(".")[0])
            buffer.copy_(spread * 0.6**stage * torch.randn_like(buffer) + (centre if stage == 0 else 0))
        elif name.endswith(("inited", "cluster_size")):
            buffer.fill_(1.0)
    return model


def build_lm(settings: str) -> Any:
    """A random language model, built by audiocraft."""
    from audiocraft.models import builders
    from omegaconf import OmegaConf

    config = OmegaConf.create(settings)
    config.device, config.dtype = "cpu", "float32"
    return shaken(builders.get_lm_model(config))


@pytest.fixture(scope="session")
def t5(tmp_path_factory):
    """A folder of a small T5 under a name that audiocraft accepts."""
    import torch
    from audiocraft.modules.conditioners import T5Conditioner

    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    save_t5(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(T5Conditioner, "MODELS", [str(folder)])
        patch.setattr(T5Conditioner, "MODELS_DIMS", {str(folder): 12})
        yield folder


@pytest.fixture(scope="session")
def release(tmp_path_factory, t5):
    """Writes a release: `release(delays=[0, 1, 2, 3], activation="gelu", pad_mode="constant")`."""
    import torch

    made: dict[str, Release] = {}

    def make(delays=(0, 1, 2, 3), activation="gelu", pad_mode="constant") -> Release:
        key = f"{list(delays)} {activation} {pad_mode}"
        if key not in made:
            torch.manual_seed(1)
            folder = tmp_path_factory.mktemp("release")
            lm = LM_SETTINGS.format(delays=list(delays), activation=activation, t5=t5)
            codec = CODEC_SETTINGS.replace("PAD", pad_mode)
            export(build_lm(lm), lm, folder / "state_dict.bin")
            export(build_codec(codec), codec, folder / "compression_state_dict.bin")
            made[key] = Release(folder, t5)
        return made[key]

    return make


CHROMA = """  self_wav:
    model: chroma_stem
    chroma_stem: {sample_rate: 1200, n_chroma: 12, radix2_exp: 6, argmax: true, match_len_on_eval: true,
      eval_wavs: null, n_eval_wavs: 0, cache_path: null}
"""


@pytest.fixture(scope="session")
def other_release(tmp_path_factory, t5):
    """Writes a stereo or a melody release. In place of the separator stands one that gives the mix back."""
    import sys
    import types

    import torch

    def make(kind: str) -> Path:
        torch.manual_seed(2)
        folder = tmp_path_factory.mktemp(kind)
        text = LM_SETTINGS.format(delays=[0, 1, 2, 3], activation="gelu", t5=t5)
        if kind == "stereo":
            text = text.replace("n_q: 4", "n_q: 8").replace(
                "delays: [0, 1, 2, 3]", "delays: [0, 0, 1, 1, 2, 2, 3, 3]"
            )
            text += "interleave_stereo_codebooks: {use: true, per_timestep: false}\n"
        else:
            text = text.replace("prepend: []", "prepend: [self_wav, description]").replace(
                "cross: [description]", "cross: []"
            )
            text = text.replace("segment_duration: 30", "segment_duration: 2") + CHROMA
        export(build_lm(text), text, folder / "state_dict.bin")
        export(
            build_codec(CODEC_SETTINGS.replace("PAD", "constant")),
            CODEC_SETTINGS.replace("PAD", "constant"),
            folder / "compression_state_dict.bin",
        )
        return folder

    mix = types.SimpleNamespace(sources=["drums", "bass", "other", "vocals"], samplerate=1200, audio_channels=1)
    mix.to = lambda device: mix
    with pytest.MonkeyPatch.context() as patch:
        from audiocraft.modules.conditioners import ChromaStemConditioner

        separator = types.ModuleType("demucs")
        separator.pretrained = types.SimpleNamespace(get_model=lambda name: mix)
        patch.setitem(sys.modules, "demucs", separator)
        patch.setattr(ChromaStemConditioner, "_get_stemmed_wav", lambda self, wav, rate: wav)
        yield make
