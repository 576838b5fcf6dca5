"""The scores of captions as metrics: what each is, what it needs, what it may be compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from expotion.contracts import MetricSpec, Score, Scored, Weights
from expotion_caption_musiscene.mel import SOUND_RATE_HZ

WORDNET = Weights(
    "wordnet",
    "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/wordnet.zip",
    "WordNet 3.0 (free, with notice)",
)
ROBERTA = Weights("roberta_large", "hf:FacebookAI/roberta-large", "MIT")
REFERENCE = "scores against other references, or with another tokenizer"


def _late(name: str) -> Callable[[], Callable[[Scored], Any]]:
    """The builder of that name in scores.py, imported when it is called."""

    def build() -> Callable[[Scored], Any]:
        builder: Callable[[], Callable[[Scored], Any]] = getattr(
            import_module("expotion_caption_musiscene.scores"), f"build_{name}"
        )
        return builder()

    return build


def _bleu(captions: Any, reference: Any) -> Score:
    from expotion_caption_musiscene.scores import bleu_of  # noqa: PLC0415 - sacrebleu

    return bleu_of(captions, reference)


def _scene(name: str) -> Callable[[Any, Any], Score]:
    """The statistic of that name in scene_scores.py, or the balanced accuracy of a kind."""

    def statistic(scenes: Any, reference: Any) -> Score:
        from expotion_caption_musiscene import scene_scores  # noqa: PLC0415

        made = getattr(scene_scores, name, None) or scene_scores.balanced(name)
        score: Score = made(scenes, reference)
        return score

    return statistic


def _scene_rows() -> Callable[[Scored], Any]:
    from expotion_caption_musiscene.scene_scores import build_rows  # noqa: PLC0415

    return build_rows()


def _said() -> str:
    from expotion_caption_musiscene.judge import said  # noqa: PLC0415

    return said()


_reference = partial(MetricSpec, higher_is_better=True, needs=frozenset({"prompt"}), not_comparable_with=REFERENCE)
_fact = partial(
    MetricSpec,
    needs=frozenset({"prompt"}),
    sample_rate_hz=SOUND_RATE_HZ,
    source="after arXiv 2511.05550",
    measured_with=_said,
    not_comparable_with="the same of another judge, or of other music than the judge knows",
)
_of_scenes = partial(
    MetricSpec,
    build=_scene_rows,
    higher_is_better=True,
    over="set",
    needs=frozenset({"prompt", "truth"}),
    source="ours",
    not_comparable_with="scores of another reader, or of music with other classes",
)

METRICS = [
    _reference(
        name="caption_bleu",
        label="BLEU",
        description="BLEU of the captions against the clips' own, over the set (sacrebleu, tokenizer 13a)",
        build=_late("bleu_counts"),
        over="set",
        statistic=_bleu,
        source="Papineni et al. 2002; Post 2018",
    ),
    _reference(
        name="caption_rouge_l",
        label="ROUGE-L",
        description="F1 of the longest common subsequence of stems of a caption and the clip's own (rouge-score)",
        build=_late("rouge_l"),
        source="Lin 2004",
    ),
    _reference(
        name="caption_meteor",
        label="METEOR",
        description="METEOR of a caption against the clip's own, with WordNet's synonyms (nltk)",
        build=_late("meteor"),
        weights=(WORDNET,),
        source="Banerjee and Lavie 2005",
    ),
    _reference(
        name="caption_meteor_exact_stem",
        label="METEOR (words and stems)",
        description="METEOR with equal words and stems alone, without WordNet (nltk)",
        build=_late("meteor_exact_stem"),
        source="Banerjee and Lavie 2005",
        not_comparable_with="METEOR with synonyms",
    ),
    _reference(
        name="caption_bertscore",
        label="BERTScore",
        description="F1 of the best cosines of RoBERTa-large, words of a caption and the clip's own (torchmetrics)",
        build=_late("bertscore"),
        weights=(ROBERTA,),
        source="Zhang et al. 2020",
        not_comparable_with="BERTScore of another model or layer, or rescaled",
    ),
    _fact(
        name="caption_precision",
        label="True claims",
        description="share of what the words claim (mood, tempo class, instruments) that is true of the sound",
        build=_late("precision"),
        higher_is_better=True,
    ),
    _fact(
        name="caption_recall",
        label="Claims made",
        description="share of what is true of the sound (mood, tempo class, instruments) that the words claim",
        build=_late("recall"),
        higher_is_better=True,
    ),
    _fact(
        name="caption_claims",
        label="Claims",
        description="claims (mood, tempo class, instruments) of a caption: what the shares stand on",
        build=_late("claims"),
        higher_is_better=True,
        compared=False,
    ),
    *(
        _of_scenes(
            name=f"scene_{kind}",
            label=f"{kind} read",
            description=f"balanced accuracy of the {kind} that a fixed reader takes from the words",
            statistic=_scene(kind),
            share=True,
        )
        for kind in ("mood", "energy", "tempo", "style")
    ),
    _of_scenes(
        name="scene_retrieval",
        label="own of 10",
        description="chance that of ten pieces the scene's own is the one of which most of it is true",
        statistic=_scene("retrieval"),
        share=True,
    ),
    _of_scenes(
        name="scene_distinct",
        label="different",
        description="different scenes for every hundred pieces",
        statistic=_scene("distinct"),
        digits=0,
        compared=False,
    ),
]
