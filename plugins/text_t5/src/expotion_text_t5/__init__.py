"""Text features: a frozen T5 encoder, as MusicGen reads its prompts. Light to import; torch comes with `build`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from expotion.contracts import EncoderSpec, Weights, hookimpl
from expotion_text_t5.options import TextT5Options

if TYPE_CHECKING:
    from expotion_text_t5.encoder import TextT5

__all__ = ["SPEC", "TextT5Options", "expotion_encoders"]


def _build(options: TextT5Options) -> TextT5:
    from expotion_text_t5.encoder import TextT5  # noqa: PLC0415 - torch and transformers only when needed

    return TextT5(SPEC, options)


def _width(options: TextT5Options) -> int:
    """Width of the hidden states, from the model's config.json where it lies in a folder; else t5-base's 768."""
    import json  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    path = Path(options.model or "").expanduser() / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 768
    inner = config.get("text_encoder", config)
    return int(inner.get("d_model", 768))


def _weights(options: TextT5Options) -> Sequence[Weights]:
    return (
        Weights(name=options.model or "the backbone's", source=options.model or "shipped", licence="Apache-2.0"),
    )


SPEC = EncoderSpec(
    name="text_t5",
    description="T5 hidden states of the prompt, for cross-attention",
    needs=frozenset({"text"}),
    build=_build,
    options=TextT5Options,
    width=_width,
    feeds="cross_attention",
    weights=_weights,
    default=True,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The text encoder."""
    return [SPEC]
