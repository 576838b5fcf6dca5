"""Scores of a caption against a reference, by the libraries that papers use, and against the sound itself.

What is scored is the words beside the sound: `Scored.prompt` is the caption, the clip's own `caption` the
reference (several of them one a line). Scores against references see how like they are worded and little of
whether they are true (arXiv 2511.05550); `caption_precision` and `caption_recall` see nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expotion.contracts import Rows, Score, Scored, pulled_weights
from expotion_caption_musiscene.judge import shipped
from expotion_caption_musiscene.words import Claim, claims_of

BERT_LAYER = 17
NO_REFERENCE = Score(None, "the clip has no caption to compare with")


def words(scored: Scored) -> tuple[str, list[str]]:
    """The caption, and the references (none where the clip has none)."""
    lines = [line.strip() for line in (scored.clip.caption or "").splitlines()]
    return (scored.prompt or "").strip(), [line for line in lines if line]


def against_references(score: Callable[[str, list[str]], float]) -> Callable[[Scored], Score]:
    """A metric of (caption, references); an empty caption scores 0, a clip without a reference has no value."""

    def metric(scored: Scored) -> Score:
        caption, references = words(scored)
        if not references:
            return NO_REFERENCE
        return Score(score(caption, references) if caption else 0.0)

    return metric


# BLEU of the whole set, as sacrebleu has it (tokenizer 13a, at most 4 words in a row, smoothing exp): what it
# counts of each caption is a row, and the score is made of their sum.


def build_bleu_counts() -> Callable[[Scored], Rows | Score]:
    """A function from a caption to its counts float32 [1, 10]: words in a row that fit 1..4, all 1..4, lengths."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

    bleu = BLEU()

    def counts(scored: Scored) -> Rows | Score:
        caption, references = words(scored)
        if not references:
            return NO_REFERENCE
        found = bleu.corpus_score([caption], [[one] for one in references])
        return np.array([[*found.counts, *found.totals, found.sys_len, found.ref_len]], np.float32)

    return counts


def bleu_of(captions: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """BLEU 0..100 of the set; `reference` is not looked at."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

    del reference
    if not len(captions):
        return Score(None, "no caption with a reference")
    total = np.concatenate(list(captions)).sum(axis=0).astype(int).tolist()
    made: Any = BLEU.compute_bleu(total[:4], total[4:8], total[8], total[9], smooth_method="exp")
    return Score(float(made.score))


def build_rouge_l() -> Callable[[Scored], Score]:
    """ROUGE-L 0..1: F1 of the longest common subsequence of stems; the best of several references."""
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    scorer: Any = RougeScorer(["rougeL"], use_stemmer=True)
    return against_references(
        lambda caption, references: float(scorer.score_multi(references, caption)["rougeL"].fmeasure)
    )


class _NoSynonyms:
    """A WordNet in which no word has another of its meaning."""

    def synsets(self, word: str) -> list[Any]:
        """None."""
        del word
        return []


def _meteor(wordnet: Any) -> Callable[[Scored], Score]:
    from nltk.tokenize import TreebankWordTokenizer  # noqa: PLC0415
    from nltk.translate.meteor_score import meteor_score  # noqa: PLC0415

    split = TreebankWordTokenizer().tokenize
    return against_references(
        lambda caption, references: float(
            meteor_score([split(one) for one in references], split(caption), wordnet=wordnet)
        )
    )


def build_meteor_exact_stem() -> Callable[[Scored], Score]:
    """METEOR 0..1 of nltk with words that are equal or of one stem, without synonyms."""
    return _meteor(_NoSynonyms())


def build_meteor() -> Callable[[Scored], Score]:
    """METEOR 0..1 of nltk, with the synonyms of the WordNet that was pulled."""
    import nltk.data  # noqa: PLC0415
    from nltk.corpus.reader.wordnet import WordNetCorpusReader  # noqa: PLC0415

    class English(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """None to other languages' WordNets, for which nltk would search its own folders."""

    path = pulled_weights("wordnet")
    assert path is not None  # looked at before a run starts
    if str(path.parent) not in nltk.data.path:
        nltk.data.path.append(str(path.parent))  # it reads nothing from elsewhere
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # other languages are not asked for
        wordnet = English(nltk.data.ZipFilePathPointer(str(path), "wordnet/"), None)
    return _meteor(wordnet)


def build_bertscore() -> Callable[[Scored], Score]:
    """BERTScore: F1 of the best cosines of RoBERTa-large's 17th layer, not rescaled; the best of the references."""
    from torchmetrics.functional.text.bert import bert_score  # noqa: PLC0415
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    path = pulled_weights("roberta_large")
    assert path is not None
    tokenizers: Any = AutoTokenizer  # untyped
    tokenizer, model = tokenizers.from_pretrained(path.parent), AutoModel.from_pretrained(path.parent).eval()

    def score(caption: str, references: list[str]) -> float:
        found = bert_score(
            [caption] * len(references), references, model=model, user_tokenizer=tokenizer, num_layers=BERT_LAYER
        )
        return float(np.max(np.asarray(found["f1"])))

    return against_references(score)


# True of the sound or not.


def _judged(scored: Scored) -> tuple[frozenset[Claim], frozenset[Claim]]:
    """What the caption claims, of the kinds that the judge can judge, and what is true of the sound."""
    judge = shipped()
    claims = claims_of(scored.prompt or "")
    return frozenset(claim for claim in claims if claim[0] in judge.kinds), judge.truths(scored.samples)


def build_precision() -> Callable[[Scored], Score]:
    """Share of the claims of a caption that are true of the sound; 0 for a caption that claims nothing."""

    def precision(scored: Scored) -> Score:
        claims, truths = _judged(scored)
        if not claims:
            return Score(0.0, "the caption claims nothing that can be judged")
        return Score(len(claims & truths) / len(claims))

    return precision


def build_recall() -> Callable[[Scored], Score]:
    """Share of what is true of the sound that the caption names; 0 for an empty caption."""

    def recall(scored: Scored) -> Score:
        claims, truths = _judged(scored)
        if not truths:
            return Score(None, "nothing is heard in the sound that words could name")
        return Score(len(claims & truths) / len(truths))

    return recall


def build_claims() -> Callable[[Scored], Score]:
    """Number of claims of a caption that can be judged."""
    return lambda scored: Score(float(len(_judged(scored)[0])))
