"""The tiny language model as it is trained: MusicGen's decoder with its text side, delay pattern and optimisers."""

from __future__ import annotations

from typing import Any

import torch
from fast_attention import register
from text_model import build_text_encoder
from torch import Tensor, nn

N_BOOKS = 4


def build_decoder(width: int, layers: int, heads: int, dropout: float, n_entries: int) -> nn.Module:
    """MusicGen's decoder: sinusoidal positions, pre-norm, no biases, FFN four times the width.

    The special token is the one behind a codebook's last entry.
    """
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM  # noqa: PLC0415

    config = MusicgenDecoderConfig(
        vocab_size=n_entries,
        num_codebooks=N_BOOKS,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * width,
        activation_function="gelu",
        dropout=dropout,
        audio_channels=1,
        pad_token_id=n_entries,
        bos_token_id=n_entries,
        max_position_embeddings=2048,
    )
    config._attn_implementation = register()
    decoder = MusicgenForCausalLM(config)
    with torch.no_grad():
        # The library's start of 0.02 would drown the codes under the sinusoidal positions, which are near one.
        for table in decoder.model.decoder.embed_tokens:
            table.weight.normal_(std=0.4)
        for name, matrix in decoder.model.decoder.layers.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")):
                matrix.normal_(std=width**-0.5)
    return decoder


class TinyMusicgen(nn.Module):
    """Text encoder, projection and decoder in one module; the codec stays outside."""

    def __init__(self, n_words: int, width: int, layers: int, heads: int, dropout: float, n_entries: int) -> None:
        super().__init__()
        self.n_entries = n_entries
        self.text_encoder = build_text_encoder(n_words)
        self.enc_to_dec_proj = nn.Linear(self.text_encoder.config.d_model, width)
        self.decoder = build_decoder(width, layers, heads, dropout, n_entries)
        self.offset = 0
        table = self.decoder.model.decoder.embed_positions
        plain = table.forward
        # Positions may start anywhere in training, so that they mean distance and not place in the clip.
        table.forward = lambda ids, past=0: plain(ids, past + self.offset)

    def forward(self, ids: Tensor, words: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """Logits [batch, 4, steps, entries] of delayed ids int64 [batch, 4, steps].

        ``words`` and ``mask`` are the tokenised captions [batch, n]; where ``keep`` [batch] is 0 the text is
        dropped. As in MusicGen, padded and dropped text is zero and nothing is masked in the attention.
        """
        states = self.text_encoder(input_ids=words, attention_mask=mask).last_hidden_state
        states = self.enc_to_dec_proj(states) * (mask * keep[:, None])[..., None]
        flat = ids.reshape(-1, ids.shape[2])
        logits = self.decoder(input_ids=flat, encoder_hidden_states=states, use_cache=False).logits
        return logits.view(len(ids), N_BOOKS, ids.shape[2], -1)


def delayed(codes: Tensor, special: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of the delay pattern; int64 [batch, 4, T] -> two int64 [batch, 4, T].

    Step s holds frame s-1-k of codebook k and predicts frame s-k; what has no frame is the special token in the
    inputs and -100 in the targets.
    """
    batch, n_books, n_frames = codes.shape
    inputs = codes.new_full((batch, n_books, n_frames), special)
    targets = codes.new_full((batch, n_books, n_frames), -100)
    for k in range(n_books):
        inputs[:, k, k + 1 :] = codes[:, k, : n_frames - k - 1]
        targets[:, k, k:] = codes[:, k, : n_frames - k]
    return inputs, targets


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of each codebook, float32 [4]."""
    return torch.stack(
        [nn.functional.cross_entropy(logits[:, k].flatten(0, 1).float(), targets[:, k].flatten()) for k in range(4)]
    )


class Optimisers:
    """Muon on the matrices inside the layers, AdamW on the rest: fewer steps than AdamW alone needs."""

    def __init__(self, model: nn.Module, rate: float, decay: float) -> None:
        inner, outer = [], []
        for name, p in model.named_parameters():
            (inner if "decoder.layers" in name and p.ndim == 2 else outer).append(p)
        self.parts = [
            torch.optim.Muon(inner, lr=rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=rate, weight_decay=0.0, betas=(0.9, 0.95)),
        ]

    def step(self, rate: float) -> None:
        """One step of both at this rate; clears the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Of both."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Of both."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
