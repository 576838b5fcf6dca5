"""The tiny text side: a word tokenizer and a two-layer T5 encoder that know the world's captions."""

from __future__ import annotations

from typing import Any

from torch import nn

EXTRA_WORDS = "a an and the of with in for on by over to music piece song tune melody theme instrumental solo"
SPECIAL = ("<pad>", "</s>", "<unk>")


def build_tokenizer(captions: list[str]) -> Any:
    """A T5-like tokenizer: lower case, one id per word, ``</s>`` appended; an unknown word is ``<unk>``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    split = pre_tokenizers.Whitespace()
    words = set(EXTRA_WORDS.split())
    for caption in captions:
        words |= {word for word, _ in split.pre_tokenize_str(caption.lower())}
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted(words | {",", "."})])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


def build_text_encoder(n_words: int, width: int = 96) -> nn.Module:
    """A T5 encoder of two layers; the vocabulary is padded to a multiple of 64."""
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    config = T5Config(
        vocab_size=-(-n_words // 64) * 64,
        d_model=width,
        d_kv=24,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config)
