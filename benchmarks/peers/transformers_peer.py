"""transformers' own MusicGen `generate` on given weights and a given text source."""

from __future__ import annotations

import torch
from peers import weights
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, MusicgenDecoderConfig, MusicgenForCausalLM

from expotion.musicgen.decoder import MusicGenLM

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TransformersPeer:
    """Greedy decoding of one clip with guidance by transformers' cached loop."""

    def __init__(self, lm: MusicGenLM, mode: str, source: Tensor, cfg_scale: float) -> None:
        sizes = lm.geometry
        config = MusicgenDecoderConfig(
            vocab_size=sizes.card,
            hidden_size=sizes.width,
            num_hidden_layers=sizes.n_layers,
            num_attention_heads=sizes.n_heads,
            ffn_dim=sizes.ffn_width,
            num_codebooks=sizes.n_codebooks,
            pad_token_id=sizes.card,
            bos_token_id=sizes.card,
        )
        with torch.device("meta"):
            model = MusicgenForCausalLM(config)
        dtype = DTYPES[mode]
        tensors = {name: tensor.to(dtype) for name, tensor in weights.for_transformers(lm).items()}
        missing = model.load_state_dict(tensors, strict=False, assign=True).missing_keys
        for name in missing:  # its table of positions, which is computed
            if "embed_positions" not in name:
                raise RuntimeError(f"transformers wants {name}")
        decoder = model.model.decoder
        positions = type(decoder.embed_positions)(config.max_position_embeddings, sizes.width)
        positions.weights = positions.weights.to(source.device, dtype)
        decoder.embed_positions = positions
        self.model = model.to(dtype).eval()
        null = torch.zeros_like(source)
        self.source = torch.cat([source, null]).to(dtype)
        self.mask = torch.ones(self.source.shape[:2], dtype=torch.int64, device=source.device)
        self.cfg_scale = cfg_scale

    @torch.no_grad()
    def __call__(self, n_frames: int) -> Tensor:
        """Codes [1, K, n_frames]."""
        k, special = self.model.config.num_codebooks, self.model.config.vocab_size
        start = torch.full((k, 1), special, dtype=torch.int64, device=self.source.device)
        codes: Tensor = self.model.generate(
            inputs=start,
            encoder_hidden_states=self.source,
            attention_mask=torch.ones(1, 1, dtype=torch.int64, device=self.source.device),
            encoder_attention_mask=self.mask,
            guidance_scale=self.cfg_scale,
            do_sample=False,
            max_length=n_frames + k,
            pad_token_id=special,
            bos_token_id=special,
            decoder_start_token_id=special,
            eos_token_id=None,
            num_return_sequences=1,
            # left to itself `MusicgenForCausalLM.generate` (5.23) takes a cache that keeps the text's keys among
            # the music's own, step after step: other tokens, and slower
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        )
        return codes.view(1, k, -1)[:, :, :n_frames]
