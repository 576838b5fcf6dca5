"""The small captioner: an ear, and a recurrent network that tells a scene word by word of what the ear says.

    c = softmax of the ear's four kinds, side by side;   p(word | before, c) = softmax(W GRU(before, V c) + U c)

In training each scene is told of the truth and of the ear's own c: the words keep to the classes that they are
told, and their likelihood is honest about an ear in doubt. A scene is drawn from the words' distribution given
the likeliest classes, by a generator whose seed is the sound: the same sound gives the same scene.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from expotion.errors import Problem, WeightsError
from expotion_caption_musiscene import tales
from expotion_caption_musiscene.classes import KINDS, Classes
from expotion_caption_musiscene.ear import Ear
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.mel import log_mel, log_tones

WEIGHTS = Path(__file__).parent / "weights" / "scenes.safetensors"
EMBEDDED, HIDDEN = 64, 160
LIKELIEST = 0.9
"""Words are drawn from the likeliest that have this share of the probability."""
SIZES = {kind: len(values) for kind, values in VALUES.items()}


class SceneTeller(nn.Module):
    """Ear and words. `helpers`: further kinds that the ear learns to tell, kind -> number of values."""

    def __init__(self, helpers: dict[str, int] | None = None) -> None:
        super().__init__()
        n_words = len(tales.vocabulary())
        self.ear = Ear({**SIZES, **(helpers or {})})
        self.told = nn.Linear(sum(SIZES.values()), EMBEDDED)
        self.words = nn.Embedding(n_words, EMBEDDED, padding_idx=tales.PAD)
        self.tongue = nn.GRU(2 * EMBEDDED, HIDDEN, batch_first=True)
        self.next = nn.Linear(HIDDEN, n_words)
        self.names = nn.Linear(sum(SIZES.values()), n_words, bias=False)

    def hear(self, mel: Tensor, tones: Tensor) -> dict[str, Tensor]:
        """Logits of every kind [B, values]."""
        return self.ear.says(self.ear(mel, tones))

    def next_words(self, before: Tensor, told: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities [B, L, words] after words [B, L], of classes [B, sum of values]; the state behind."""
        classes = self.told(told)[:, None].expand(-1, before.shape[1], -1)
        out, state = self.tongue(torch.cat([self.words(before), classes], dim=2), state)
        return (self.next(out) + self.names(told)[:, None]).log_softmax(dim=2), state

    def likelihood(self, words: Tensor, told: Tensor) -> Tensor:
        """Log-likelihood [B] of texts [B, L], ended and padded."""
        before = functional.pad(words, (1, 0), value=tales.BEGIN)[:, :-1]
        log_p, _ = self.next_words(before, told)
        each = log_p.gather(2, words[:, :, None])[:, :, 0]
        return (each * (words != tales.PAD)).sum(dim=1)

    def draw(self, classes: Sequence[Classes], seeds: Sequence[int]) -> list[str]:
        """A scene of each of some classes; every one by a generator of its own."""
        return [self._draw(one, np.random.default_rng(seed)) for one, seed in zip(classes, seeds, strict=True)]

    @torch.inference_mode()
    def _draw(self, classes: Classes, rng: np.random.Generator) -> str:
        told, state = certain(classes)[None], None
        before, words = torch.tensor([[tales.BEGIN]]), list[int]()
        while len(words) < tales.LONGEST:
            log_p, state = self.next_words(before, told, state)
            word = _drawn(log_p[0, -1].exp().double().numpy(), rng)
            if word == tales.END:
                break
            words.append(word)
            before = torch.tensor([[word]])
        return tales.decode(words)


def _drawn(shares: NDArray[np.float64], rng: np.random.Generator) -> int:
    """One of the likeliest that together have `LIKELIEST` of the probability."""
    order = np.argsort(-shares, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(shares[order]), LIKELIEST)) + 1]
    return int(rng.choice(kept, p=shares[kept] / shares[kept].sum()))


def doubting(logits: dict[str, Tensor]) -> Tensor:
    """What the teller is told by the ear itself: probabilities [B, sum of values]."""
    return torch.cat([logits[kind].softmax(dim=1) for kind in KINDS], dim=1)


def certain(classes: Classes) -> Tensor:
    """What the teller is told of certain classes, [sum of values]; of one that is not known, all values alike."""
    shares = [
        [float(value == classes[kind]) if kind in classes else 1 / len(values) for value in values]
        for kind, values in VALUES.items()
    ]
    return torch.tensor([share for each in shares for share in each])


def likeliest(logits: dict[str, Tensor]) -> list[Classes]:
    """The likeliest value of every kind, of each piece."""
    best = {kind: logits[kind].argmax(dim=1).tolist() for kind in KINDS}
    return [{kind: VALUES[kind][best[kind][i]] for kind in KINDS} for i in range(len(best[KINDS[0]]))]


def spectra_of(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the ear takes of mono samples at 16 kHz: log-mel [T, 64] and log tones [S, 60]."""
    return log_mel(samples), log_tones(samples)


def seed_of(samples: NDArray[np.float32]) -> int:
    """A number that is the sound's own: of its samples in 16 bits."""
    whole = np.round(np.clip(samples, -1.0, 1.0) * 32_767).astype("<i2").tobytes()
    return int.from_bytes(hashlib.sha256(whole).digest()[:8], "little")


def save(model: SceneTeller, path: Path) -> None:
    """Write the weights and the grammar's words that they belong to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    helpers = {kind: head.out_features for kind, head in model.ear.heads.items() if kind not in SIZES}
    save_file(kept, path, metadata={"words": _grammar(), "helpers": json.dumps(helpers)})


def load(path: Path = WEIGHTS) -> SceneTeller:
    """The model of a file. Raises WeightsError where it is not there or belongs to other words."""
    if not path.is_file():
        raise WeightsError(Problem(str(path), "weights of the captioner musiscene", "no such file"))
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if about.get("words") != _grammar():
        fix = "train it again: expotion recipe run recipes/musiscene.yaml"
        raise WeightsError(Problem(str(path), "weights of this version's words", "those of others", fix))
    model = SceneTeller(json.loads(about["helpers"]))
    model.load_state_dict(kept)
    return model.eval()


def _grammar() -> str:
    """Digest of the vocabulary and of the values of every kind, in their order."""
    whole = json.dumps([tales.vocabulary(), {kind: list(values) for kind, values in VALUES.items()}])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
