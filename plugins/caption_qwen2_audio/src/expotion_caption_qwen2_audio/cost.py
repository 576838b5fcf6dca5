"""What a fine-tuning takes at the model's own sizes: counted on torch's device `meta`, where nothing is computed.

The language model is run forward and backward on the longest clip (30 s, the question, a caption of `max_tokens`):
what autograd keeps is its memory, what the matrix products take its operations. The tower that hears is frozen and
keeps nothing; its operations are two for each weight and frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from expotion.contracts import TaskCost
from expotion_caption_qwen2_audio.finetune import beside
from expotion_caption_qwen2_audio.options import FinetuneOptions
from expotion_caption_qwen2_audio.published import QWEN2_AUDIO_7B

QUESTION_TOKENS = 64
CAUSAL = {"full_attention": None}
"""No mask but the order: a ready one, as transformers would look at the positions, which `meta` has not."""
FRAMES_PER_TOKEN = 2
"""The tower's frames that are pooled into one token."""


def cost_of(options: FinetuneOptions) -> TaskCost:
    """The cost of one clip; the sizes are those of a folder, or else those of the published models."""
    folder = Path(options.model)
    config: Any = (
        Qwen2AudioConfig.from_pretrained(folder) if folder.is_dir() else Qwen2AudioConfig(**QWEN2_AUDIO_7B)
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            base: Any = Qwen2AudioForConditionalGeneration(config)
            model = beside(base.requires_grad_(False), options)
    finally:
        torch.set_default_dtype(before)
    trained = [one for one in model.parameters() if one.requires_grad]
    language = base.model.language_model
    if options.recompute_activations:
        language.gradient_checkpointing_enable({"use_reentrant": False})
        language.train()
    frames = config.audio_config.max_source_positions
    n_tokens = frames // FRAMES_PER_TOKEN + QUESTION_TOKENS + options.max_tokens
    width = config.text_config.hidden_size
    kept: dict[int, torch.Tensor] = {}
    weights = {one.untyped_storage()._cdata for one in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in weights:
            kept[place] = tensor  # held, so that no other gets its place
        return tensor

    given = torch.zeros(1, n_tokens, width, device="meta", dtype=torch.bfloat16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden = language(inputs_embeds=given, attention_mask=CAUSAL, use_cache=False).last_hidden_state
            logits = base.lm_head(hidden)
            loss = logits[0, -options.max_tokens :].float().logsumexp(-1).sum()
        loss.backward()
    tower = sum(one.numel() for one in base.model.audio_tower.parameters())
    return TaskCost(
        n_frozen=sum(one.numel() for one in model.parameters()) - sum(one.numel() for one in trained),
        n_trained=sum(one.numel() for one in trained),
        clip_bytes=sum(one.untyped_storage().nbytes() for one in kept.values()),
        clip_flop=float(counter.get_total_flops()) + 2.0 * tower * frames,
    )
