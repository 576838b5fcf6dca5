"""Scores of captions: by hand where that can be, an empty caption, what is said where there is nothing to say."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expotion.contracts import MetricSpec, Scored
from expotion.evaluate.evaluate import evaluate
from expotion.testing import SyntheticClip, check_metric
from expotion_caption_musiscene import expotion_metrics
from expotion_caption_musiscene.judge import Judge, shipped, tempo_class
from expotion_caption_musiscene.words import claims_of
from expotion_conductor.plan import DEVELOPMENT_SEEDS, Plan, make_plan

SPECS: dict[str, MetricSpec] = {spec.name: spec for spec in expotion_metrics()}
FACTS = ("caption_precision", "caption_recall", "caption_claims")
OURS = ("caption_bleu", *FACTS)
THEIRS = ("caption_rouge_l", "caption_meteor_exact_stem")
"""They bring nltk, which takes seconds to import."""


def scored(
    caption: str | None, reference: str | None = "a calm piece", sound: Any = None, name: str = "a"
) -> Scored:
    clip = SyntheticClip(duration_s=0.2)
    clip.id, clip.caption = name, reference
    return Scored(np.zeros(1600, np.float32) if sound is None else sound, 16_000, clip, caption)


def value(metric: str, one: Scored) -> float | None:
    found: float | None = SPECS[metric].build()(one).value
    return found


@pytest.fixture(scope="module")
def piece() -> tuple[Plan, np.ndarray]:
    from scipy.signal import resample_poly

    from expotion_conductor.music import render_music

    plan = make_plan(DEVELOPMENT_SEEDS + 30_002, 8.0)
    return plan, np.asarray(resample_poly(render_music(plan), 1, 2), dtype=np.float32)


@pytest.mark.parametrize("name", [*OURS, "caption_meteor", "caption_bertscore"])
def test_the_suite_of_metrics(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    check_metric(SPECS[name], SyntheticClip(duration_s=0.2))


@pytest.mark.slow
@pytest.mark.parametrize("name", THEIRS)
def test_the_suite_of_metrics_on_libraries_that_start_slowly(name: str) -> None:
    check_metric(SPECS[name], SyntheticClip(duration_s=0.2))


def test_the_package_is_light() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'nltk', 'sacrebleu', 'torchmetrics'} & set(sys.modules)"
    code = f"import sys, expotion_caption_musiscene; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_same_words_score_highest_and_others_less() -> None:
    same, other = scored("a calm piece"), scored("a wild ride")
    assert value("caption_rouge_l", same) == 1.0
    assert value("caption_rouge_l", other) == pytest.approx(1 / 3)
    # METEOR: all of m words in one chunk: 1 - 0.5 / m^3.
    assert value("caption_meteor_exact_stem", same) == pytest.approx(1 - 0.5 / 3**3)
    assert value("caption_meteor_exact_stem", scored("calming pieces", "calm piece")) == pytest.approx(
        1 - 0.5 / 2**3
    )


@pytest.mark.slow
def test_of_several_references_the_best_counts() -> None:
    assert value("caption_rouge_l", scored("a wild ride", "a calm piece\na wild ride")) == 1.0


def pulled(cache: Path, name: str, file: Path) -> None:
    """What `expotion models pull` leaves behind."""
    note = cache / "models" / name / "model.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"file": str(file)}))


@pytest.mark.slow
def test_meteor_knows_synonyms_where_wordnet_is_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{kind}.{part}": "" for kind in ("index", "data") for part in ("noun", "verb", "adv", "adj")}
    files |= {f"{part}.exc": "" for part in ("noun", "verb", "adv", "adj")} | {"cntlist.rev": ""}
    files["data.noun"] = "00000000 04 n 02 tune 0 song 0 000 | what is sung  \n"
    files["index.noun"] = "".join(f"{word} n 1 0 1 0 00000000  \n" for word in ("song", "tune"))
    files["lexnames"] = "".join(f"{i:02d}\tpart.{i}\t1\n" for i in range(10))
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"wordnet/{name}", text)
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    assert [problem.fix for problem in SPECS["caption_meteor"].missing()] == ["expotion models pull wordnet"]
    pulled(tmp_path, "wordnet", tmp_path / "wordnet.zip")
    assert SPECS["caption_meteor"].missing() == []
    one = scored("song", "tune")
    assert value("caption_meteor", one) == pytest.approx(0.5)
    assert value("caption_meteor_exact_stem", one) == 0.0


@pytest.mark.slow
def test_bertscore_is_that_of_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    from expotion_caption_musiscene import scores

    known = ["<s>", "<pad>", "</s>", "<unk>", "a", "calm", "piano", "piece", "sad", "organ"]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **named).save_pretrained(tmp_path)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = RobertaModel(RobertaConfig(vocab_size=16, max_position_embeddings=40, **size)).eval()
    model.save_pretrained(tmp_path)
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.setattr(scores, "BERT_LAYER", 1)
    pulled(tmp_path, "roberta_large", tmp_path / "model.safetensors")

    def vectors(text: str) -> torch.Tensor:
        ids = torch.tensor([[0, *(known.index(word) for word in text.split()), 2]])
        with torch.inference_mode():
            hidden = model(ids, output_hidden_states=True).hidden_states[1][0, 1:-1]
        return torch.nn.functional.normalize(hidden, dim=-1)

    near = vectors("a calm piano piece") @ vectors("a sad organ piece").T
    precision, recall = near.max(dim=1).values.mean(), near.max(dim=0).values.mean()
    wanted = float(2 * precision * recall / (precision + recall))
    one = scored("a calm piano piece", "a sad organ piece")
    assert value("caption_bertscore", one) == pytest.approx(wanted, abs=1e-4)
    assert value("caption_bertscore", scored("a calm piano", "piece\na calm piano")) == pytest.approx(1.0, abs=1e-4)


def test_bleu_is_that_of_the_whole_set() -> None:
    from sacrebleu.metrics.bleu import BLEU

    captions = ["the slow and calm piano piece", "a happy tune with an organ and drums", "wild"]
    references = ["a slow and calm piano piece", "a happy tune with a flute and drums", "a wild ride"]
    sounds = [scored(*pair, name=str(i)) for i, pair in enumerate(zip(captions, references, strict=True))]
    found = evaluate({"made": sounds}, [SPECS["caption_bleu"]]).metrics["made"]["caption_bleu"]["mean"]
    assert found == pytest.approx(BLEU().corpus_score(captions, [references]).score, abs=1e-4)


@pytest.mark.parametrize("name", [*FACTS, *(pytest.param(name, marks=pytest.mark.slow) for name in THEIRS)])
@pytest.mark.parametrize("caption", ["", None, "  "])
def test_an_empty_caption_scores_nothing(name: str, caption: str | None, piece: tuple[Plan, np.ndarray]) -> None:
    assert value(name, scored(caption, sound=piece[1])) == 0.0


def test_an_empty_caption_has_no_word_that_bleu_could_count() -> None:
    counts = SPECS["caption_bleu"].build()(scored(""))
    assert counts[0, :9].sum() == 0 and counts[0, 9] == 3


@pytest.mark.parametrize("name", ["caption_bleu", *(pytest.param(name, marks=pytest.mark.slow) for name in THEIRS)])
def test_without_a_reference_there_is_no_value(name: str) -> None:
    assert SPECS[name].build()(scored("a calm piece", None)).reason == "the clip has no caption to compare with"


def test_true_words_are_told_from_false_ones(piece: tuple[Plan, np.ndarray]) -> None:
    plan, sound = piece
    pace = {"slow": "slow", "medium": "moderate", "fast": "fast"}[tempo_class(plan.tempo_bpm)]
    true = f"a {plan.mood}, {pace} piece played on {plan.timbre}"
    assert value("caption_precision", scored(true, sound=sound)) == 1.0
    assert value("caption_recall", scored(true, sound=sound)) == 1.0
    assert value("caption_claims", scored(true, sound=sound)) == 3.0
    half = f"a {plan.mood} piece for guitar"
    assert value("caption_precision", scored(half, sound=sound)) == 0.5
    assert value("caption_recall", scored(half, sound=sound)) == pytest.approx(1 / 3)


def test_every_claim_at_once_is_not_precise(piece: tuple[Plan, np.ndarray]) -> None:
    everything = (
        "happy sad calm dramatic dreamy mysterious slow moderate fast piano strings organ marimba flute synth"
    )
    assert value("caption_recall", scored(everything, sound=piece[1])) == 1.0
    assert value("caption_precision", scored(everything, sound=piece[1])) == pytest.approx(3 / 15)


def test_of_silence_nothing_is_true() -> None:
    judge = shipped()
    assert judge.truths(np.zeros(16_000, np.float32)) == frozenset()
    assert judge.truths(np.zeros(0, np.float32)) == frozenset()
    assert value("caption_precision", scored("a calm piece")) == 0.0
    assert SPECS["caption_recall"].build()(scored("a calm piece")).value is None


def test_how_often_the_judge_is_right_is_told() -> None:
    judge = Judge()
    assert set(judge.kinds) == {"tempo", "mood", "instrument"}
    assert all(0.9 < share < 1.0 for share in judge.right.values())
    assert f"mood {100 * judge.right['mood']:.0f} %" in SPECS["caption_recall"].measured_with()


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("A calm, SLOW piano piece", {("mood", "calm"), ("tempo", "slow"), ("instrument", "piano")}),
        ("no drums, without a piano, not sad", set()),
        ("not a fast piece but a slow one", {("tempo", "slow")}),
        ("breakfast in an organised kitchen", set()),
        ("a mid-tempo tune\nfor strings", {("tempo", "medium"), ("instrument", "strings")}),
        ("", set()),
    ],
)
def test_what_words_claim(text: str, claims: set[tuple[str, str]]) -> None:
    assert claims_of(text) == claims


@pytest.mark.parametrize(("bpm", "pace"), [(89.9, "slow"), (90, "medium"), (124.9, "medium"), (125, "fast")])
def test_where_tempo_classes_begin(bpm: float, pace: str) -> None:
    assert tempo_class(bpm) == pace
