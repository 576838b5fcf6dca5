"""T5's last hidden states of a clip's caption. Frozen, deterministic, float32.

One prompt at a time: the tokenizer appends its end-of-sequence token and cuts nothing; there is no padding, so
the mask is true for every token. An absent or empty caption is the null text: one masked row of zeros.
"""

from __future__ import annotations

import difflib

import numpy as np

from expotion.contracts import Clip, Encoder, EncoderSpec, TokenFeatures
from expotion.errors import MediaError, PluginError, Problem
from expotion.weights import tensors_hash
from expotion_text_t5.loading import LoadedT5, load_t5
from expotion_text_t5.model import T5Encoder
from expotion_text_t5.options import TextT5Options

LARGE_VOCABULARY = 5000


class TextT5(Encoder):
    """A T5 encoder with its tokenizer. Raises PluginError when no model is named or it cannot be read."""

    def __init__(self, spec: EncoderSpec, options: TextT5Options) -> None:
        self.spec = spec
        self.options = options
        self.max_words = options.max_words
        if options.model is None:
            raise PluginError(
                Problem(
                    "text_t5 options.model",
                    "a folder or hub id of a T5 encoder, or of a MusicGen that holds one",
                    "nothing",
                    "in a recipe, leave it out to use the backbone's own text encoder",
                )
            )
        self._t5: LoadedT5 = load_t5(options.model)
        self._hash = tensors_hash(self.model.state_dict())

    @property
    def model(self) -> T5Encoder:
        """The frozen T5 encoder."""
        return self._t5.model

    @property
    def width(self) -> int:
        """Width D of the hidden states."""
        return self.model.settings.d_model

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights, hex."""
        return self._hash

    def unknown_words(self, text: str) -> dict[str, list[str]]:
        """Words that the tokenizer makes its unknown token of, each with up to three near ones of its vocabulary.

        Near ones are looked for in small vocabularies: a large one of parts of words knows nearly every word.
        """
        tokenizer, unknown = self._t5.tokenizer, self._t5.unknown_id
        read = tokenizer.encode(text)
        found = [text[a:b] for token, (a, b) in zip(read.ids, read.offsets, strict=True) if token == unknown]
        known = [word for word in tokenizer.get_vocab() if word.isalpha()]
        known = known if len(known) <= LARGE_VOCABULARY else []
        return {
            word: difflib.get_close_matches(word.lower(), known, n=3)
            for word in found
            if any(letter.isalnum() for letter in word)
        }

    def extract(self, clip: Clip) -> TokenFeatures:
        """Hidden states float32 [n, D] of the caption and mask [n]. MediaError for a book of a prompt."""
        return self.encode(clip.caption, where=f"clip {clip.id}")

    def encode(self, prompt: str | None, where: str = "prompt") -> TokenFeatures:
        """Hidden states of a prompt; None and white space are the null text."""
        import torch  # noqa: PLC0415 - the package stays light until a model is built

        text = (prompt or "").strip()
        n_words = len(text.split())
        if n_words > self.max_words:
            raise MediaError(
                Problem(
                    where,
                    f"a prompt of at most {self.max_words} words",
                    f"{n_words} words",
                    "shorten it, or raise max_words of text_t5",
                )
            )
        if not text:
            return TokenFeatures(np.zeros((1, self.width), dtype=np.float32), np.zeros(1, dtype=bool))
        ids = torch.tensor(self._t5.tokenizer.encode(text).ids)
        with torch.inference_mode():
            hidden = self.model(ids)
        values = np.ascontiguousarray(hidden.float().numpy())
        return TokenFeatures(values, np.ones(len(values), dtype=bool))
