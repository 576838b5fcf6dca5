"""LoRA fine-tuning of Qwen2-Audio on clips and their captions, as an objective of core's training loop.

The model stays frozen; `peft` puts two small matrices beside the projections of its language model, and only those
are trained, kept in checkpoints and written at the end, in the form that `peft` itself loads.

    loss = (1 / n) sum over the step's clips and their captions' tokens of -log p(token | sound, question, before)

n counts the tokens of all clips of the step, whoever computes them. A clip is a forward pass of its own, so that
neither padding nor the share of a worker changes its loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen2AudioForConditionalGeneration

from expotion.contracts import Clip, Workers
from expotion.errors import ExpotionError, Problem
from expotion_caption_qwen2_audio.captioner import heard_of
from expotion_caption_qwen2_audio.loading import load
from expotion_caption_qwen2_audio.options import FinetuneOptions
from expotion_caption_qwen2_audio.prompts import QUESTIONS


def beside(model: Any, options: FinetuneOptions) -> Any:
    """The model with matrices beside the layers that the options name, drawn by torch's generator."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - seconds

    layers = "|".join(options.targets)
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=rf".*language_model.*\.({layers})")
    made: Any = get_peft_model(model, config)
    made.peft_config["default"].base_model_name_or_path = options.model  # not where this machine keeps it
    return made


class LoraTensors(nn.Module):
    """The trained matrices by name; module names may hold no dots, so that a bar stands for each."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.lora = nn.ParameterDict({name.replace(".", "|"): parameter for name, parameter in named.items()})


class LoraObjective:
    """The objective. It travels to other processes without the model, which each of them loads by itself."""

    def __init__(
        self,
        options: FinetuneOptions,
        clips: Sequence[Clip],
        settings: Any,
        seed: int,
        validation: Sequence[Clip] = (),
    ) -> None:
        problems = [
            Problem(clip.id, "a caption to learn", "none") for clip in [*clips, *validation] if not clip.caption
        ]
        if not clips:
            problems.append(Problem("data", "at least one training clip", "none"))
        if problems:
            raise ExpotionError(problems)
        self.options, self.clips, self.validation = options, list(clips), list(validation)
        self.settings, self.seed = settings, seed

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("model", "trained", "_loaded")}

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        options = self.options
        return load(
            Qwen2AudioForConditionalGeneration, "qwen2_audio", options.model, options.device, options.precision
        )

    @property
    def processor(self) -> Any:
        """Tokenizer, feature extractor and the form of a conversation."""
        return self._loaded[1]

    @cached_property
    def model(self) -> Any:
        """The frozen model with matrices beside it: the same for the same seed."""
        options, base = self.options, self._loaded[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = beside(base, options)
        if options.recompute_activations:
            base.gradient_checkpointing_enable({"use_reentrant": False})
            base.enable_input_require_grads()
        return model.train()

    @cached_property
    def trained(self) -> nn.Module:
        """The matrices alone."""
        return LoraTensors({name: one for name, one in self.model.named_parameters() if one.requires_grad})

    @property
    def computed_in(self) -> torch.dtype:
        """That of the frozen weights."""
        found: torch.dtype = self._loaded[0].lm_head.weight.dtype
        return found

    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        """One rate for all."""
        return {"other": list(self.trained.parameters())}

    def draw(self, step: int) -> tuple[list[int], int]:
        """The clips of a step, and the tokens of their captions: every clip once before any comes again."""
        size, n = self.settings.clips_per_step, len(self.clips)
        places = range(step * size, (step + 1) * size)
        orders = {lap: np.random.default_rng((self.seed, lap)).permutation(n) for lap in {at // n for at in places}}
        index = [int(orders[at // n][at % n]) for at in places]
        return index, sum(len(self._words(self.clips[i])) for i in index)

    def part_loss(self, draw: tuple[list[int], int], number: int) -> Tensor:
        """Loss of one batch of the step's clips."""
        index, n_tokens = draw
        size = self.settings.batch_size
        total = torch.zeros((), device=self.model.device)
        for i in index[number * size : (number + 1) * size]:
            total = total + self.loss_sum(self.clips[i]) / n_tokens
        return total

    @torch.no_grad()
    def validate(self, world: Workers) -> dict[str, float]:
        """Mean loss of a token of the captions that are not trained on; the workers share the clips out."""
        if not self.validation:
            return {}
        sums = torch.zeros(2)
        for clip in self.validation[world.rank :: world.size]:
            sums += torch.tensor([float(self.loss_sum(clip)), float(len(self._words(clip)))])
        world.sum_([sums])
        return {"validation_loss": float(sums[0] / sums[1])}

    def record(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def loss_sum(self, clip: Clip) -> Tensor:
        """Sum over the tokens of a clip's caption of their negative log likelihoods, in nats."""
        inputs = self._asked(clip)
        words = torch.tensor([self._words(clip)])
        n_before = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], words], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        device, dtype = self.model.device, self.computed_in
        inputs = {k: v.to(device, dtype) if v.is_floating_point() else v.to(device) for k, v in inputs.items()}
        logits = self.model(**inputs, use_cache=False).logits[0, n_before - 1 : -1].float()
        return nn.functional.cross_entropy(logits, words[0].to(device), reduction="sum")

    def _asked(self, clip: Clip) -> dict[str, Tensor]:
        """Sound and question of a clip, as the model is asked when it describes it."""
        question = self.options.question or QUESTIONS[self.options.style]
        content = [{"type": "audio"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        rate_hz = int(self.processor.feature_extractor.sampling_rate)
        audio = heard_of(clip, self.processor.feature_extractor)
        return dict(self.processor(text=[text], audio=[audio], sampling_rate=rate_hz, return_tensors="pt"))

    def _words(self, clip: Clip) -> list[int]:
        """Tokens of a clip's caption and the one that ends an answer."""
        ends = self._loaded[0].generation_config.eos_token_id
        end = ends[0] if isinstance(ends, list) else ends
        ids = self.processor.tokenizer(clip.caption, add_special_tokens=False)["input_ids"]
        return [*ids[: self.options.max_tokens - 1], int(end)]

    def save(self, folder: Path) -> None:
        """Write the matrices as `peft` does: `adapter_model.safetensors` and `adapter_config.json`."""
        self.model.save_pretrained(folder)
