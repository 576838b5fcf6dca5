"""Scenes: the grammar and its reader, what is true of a clip, the ear, the words, and the scores of scenes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion.contracts import Scored, Truth
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip
from expotion_caption_musiscene import lexicon, scene_scores, tales
from expotion_caption_musiscene.classes import KINDS, read, true_of
from expotion_caption_musiscene.ear import LAGS, Ear, echoes
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.mel import LOWEST_TONE, SOUND_RATE_HZ, log_tones
from expotion_caption_musiscene.teller import SIZES, SceneTeller, certain, doubting, likeliest, load, save


def some_classes(n: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(3)
    return [{kind: values[int(rng.integers(len(values)))] for kind, values in VALUES.items()} for _ in range(n)]


@pytest.mark.parametrize("held_out", [False, True])
def test_every_scene_is_read_as_what_it_was_told_of(held_out: bool) -> None:
    forms = tales.HELD_OUT_FORMS if held_out else tales.FORMS
    for i, classes in enumerate(some_classes(300)):
        text = tales.tell(classes, np.random.default_rng(i), held_out=held_out, form=i % len(forms))
        assert read(text) == classes, text
        assert tales.decode(tales.encode(text)) == text  # no word of it is unknown to the model
        assert len(tales.encode(text)) <= tales.LONGEST


def test_orders_of_words_for_testing_are_not_those_of_training() -> None:
    assert not set(tales.FORMS) & set(tales.HELD_OUT_FORMS)
    for form in (*tales.FORMS, *tales.HELD_OUT_FORMS):
        assert all(f"{{{part}}}" in form for part in ("people", "move", "place", "weather", "feeling", "voice"))


def test_what_is_told_for_testing_has_an_order_for_testing() -> None:
    [classes] = some_classes(1)
    told = {
        held_out: {tales.tell(classes, np.random.default_rng(i), held_out=held_out) for i in range(30)}
        for held_out in (False, True)
    }
    assert not told[False] & told[True]
    assert all(", all of" in text or " film." in text or text.startswith("It is") for text in told[True])


@pytest.mark.parametrize("word", ["angry", "empty", "icy", "old", "uneasy"])
def test_an_stands_before_vowels(word: str) -> None:
    assert tales.spaced(f"it is a {word} day") == f"It is an {word} day"
    assert tales.spaced("an quiet day. a end") == "A quiet day. An end"


def test_a_phrase_stands_for_one_value() -> None:
    groups = [
        (kind, value, table[value])
        for kind, table in (
            ("mood", lexicon.WEATHER),
            ("mood", lexicon.FEELINGS),
            ("mood", lexicon.MOODS_NAMED),
            ("energy", lexicon.VOICES),
            ("energy", lexicon.ENERGIES_NAMED),
            ("tempo", lexicon.MOVES),
            ("tempo", lexicon.TEMPI_NAMED),
        )
        for value in VALUES[kind]
    ]
    groups += [("style", style, group) for style, parts in lexicon.STYLES.items() for group in parts]
    phrases = [phrase for _, _, group in groups for phrase in group]
    assert len(phrases) == len(set(phrases))
    for kind, value, group in groups:
        for phrase in group:
            assert read(phrase) == {kind: value}, phrase


def test_plain_captions_are_read_and_what_is_denied_is_not() -> None:
    assert read("A SAD piece, unhurried; softly played") == {
        "mood": "sorrowful",
        "tempo": "slow",
        "energy": "gentle",
    }
    assert read("not sad, without a quick beat") == {}
    assert read("sad and happy") == {}  # as many for one as for the other
    assert read("sad, mournful and happy")["mood"] == "sorrowful"
    assert read("neither hushed nor loud") == {"energy": "moderate"}  # its words do not count once more
    assert read("") == {}


def truth(bpm: float, intensity: float, **traits: str) -> Truth:
    return Truth(np.zeros(0), np.arange(2.0), np.full(2, intensity), tempo_bpm=bpm, traits=traits)


def test_what_is_true_follows_from_tempo_intensity_and_traits() -> None:
    assert true_of(None) == {}
    assert true_of(truth(89.9, 0.42, mood="nostalgic"))["mood"] == "sorrowful"
    assert [true_of(truth(bpm, 0.5))["tempo"] for bpm in (89.9, 90.0, 124.9, 125.0)] == [
        "slow",
        "medium",
        "medium",
        "fast",
    ]
    assert [true_of(truth(100, level))["energy"] for level in (0.42, 0.43, 0.56, 0.57)] == [
        "gentle",
        "moderate",
        "moderate",
        "strong",
    ]
    assert set(true_of(truth(100, 0.5))) == {"tempo", "energy"}


def test_the_mood_is_the_quadrant_where_valence_is_known() -> None:
    for valence, intensity, mood in (
        (0.5, 0.5, "joyful"),
        (0.6, 0.4, "tender"),
        (0.4, 0.4, "sorrowful"),
        (0.4, 0.5, "dark"),
    ):
        found = Truth(
            np.zeros(0),
            np.arange(2.0),
            np.full(2, intensity),
            valence=np.full(2, valence),
            traits={"mood": "happy"},
        )
        assert true_of(found)["mood"] == mood


def test_every_mood_and_style_of_the_world_has_a_class() -> None:
    from expotion_conductor.band.styles import STYLES
    from expotion_conductor.band.traits import MOODS

    moods = {true_of(truth(100, 0.5, mood=mood))["mood"] for mood in MOODS}
    styles = {true_of(truth(100, 0.5, style=style.name))["style"] for style in STYLES}
    assert moods == set(VALUES["mood"]) and styles == set(VALUES["style"])


def test_a_tone_is_heard_in_its_band() -> None:
    t = np.arange(SOUND_RATE_HZ) / SOUND_RATE_HZ
    for number in (48, 57, 69, 81):
        sound = np.sin(2 * np.pi * 440 * 2 ** ((number - 69) / 12) * t).astype(np.float32)
        assert int(log_tones(sound).mean(axis=0).argmax()) == number - LOWEST_TONE
    assert log_tones(np.zeros(100, np.float32)).shape == (0, 60)


def test_harmony_is_heard_alike_in_every_key() -> None:
    torch.manual_seed(1)
    ear = Ear(SIZES).eval()
    tones = torch.randn(2, 40, 60)
    higher = tones.unflatten(2, (5, 12)).roll(3, dims=3).flatten(2)
    with torch.inference_mode():
        here, there, other = (ear._harmony(one) for one in (tones, higher, torch.randn(2, 40, 60)))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    assert float((here - other).abs().max()) > 1e-2


def test_echoes_tell_when_onsets_come_again() -> None:
    mel = torch.zeros(1, 320, 64)
    mel[:, ::16] = 1.0
    found = echoes(mel)
    assert found.shape == (1, 4, LAGS[1] - LAGS[0])
    assert int(found[0, 0, : 20 - LAGS[0]].argmax()) + LAGS[0] == 16
    assert float(found[0, 0, 16 - LAGS[0]]) > 0.9 and float(found[0, 0, 8 - LAGS[0]]) < 0.1


def test_a_sound_of_any_length_is_heard_and_pieces_do_not_hear_each_other() -> None:
    torch.manual_seed(1)
    ear = Ear(SIZES).eval()
    with torch.inference_mode():
        for frames in (31, 900):
            assert ear(torch.randn(2, frames, 64), torch.randn(2, frames // 3 + 1, 60)).shape == (2, 192)
        mel, tones = torch.randn(3, 100, 64), torch.randn(3, 40, 60)
        torch.testing.assert_close(ear(mel, tones)[:1], ear(mel[:1], tones[:1]), atol=1e-5, rtol=0)


def test_likelihood_is_the_sum_over_words_and_padding_counts_nothing() -> None:
    torch.manual_seed(2)
    model = SceneTeller().eval()
    [classes, other] = some_classes(2)
    numbers = tales.encode(tales.tell(classes, np.random.default_rng(0)))
    told = certain(classes)[None]
    with torch.inference_mode():
        whole = float(model.likelihood(torch.tensor([[*numbers, tales.PAD, tales.PAD]]), told))
        state, before, total = None, tales.BEGIN, 0.0
        for number in numbers:
            log_p, state = model.next_words(torch.tensor([[before]]), told, state)
            total, before = total + float(log_p[0, 0, number]), number
        assert whole == pytest.approx(total, abs=1e-3)
        assert float(model.likelihood(torch.tensor([numbers]), certain(other)[None])) != pytest.approx(
            whole, abs=1e-3
        )


def test_the_same_seed_draws_the_same_scene() -> None:
    torch.manual_seed(2)
    model = SceneTeller().eval()
    [classes] = some_classes(1)
    first, again, other = (model.draw([classes], [seed])[0] for seed in (5, 5, 6))
    assert first == again != other


def test_doubt_and_certainty_have_the_order_of_the_values() -> None:
    [classes] = some_classes(1)
    logits = {kind: torch.tensor([[9.0 * (value == classes[kind]) for value in VALUES[kind]]]) for kind in KINDS}
    assert likeliest(logits) == [classes]
    assert torch.equal(doubting(logits)[0].round(), certain(classes))


def test_weights_come_back_and_those_of_other_words_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = SceneTeller({"true mode": 3}), tmp_path / "w" / "scenes.safetensors"
    save(model, path)
    for name, tensor in load(path).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    monkeypatch.setattr(tales, "vocabulary", lambda: ("", "<", ">", "other"))
    with pytest.raises(WeightsError, match="this version's words"):
        load(path)
    with pytest.raises(WeightsError, match="no such file"):
        load(tmp_path / "nothing")


# Scores.


def row(true: dict[str, str], text: str) -> np.ndarray:
    clip = SyntheticClip()
    value = truth(
        {"slow": 60, "medium": 100, "fast": 150}[true["tempo"]],
        {"gentle": 0.2, "moderate": 0.5, "strong": 0.8}[true["energy"]],
        mood=true["mood"],
        style=true["style"],
    )
    clip.truth = value
    found = scene_scores.build_rows()(Scored(np.zeros(10, np.float32), 16_000, clip, text))
    assert isinstance(found, np.ndarray)
    return found


def test_true_scenes_score_one_and_empty_words_nothing() -> None:
    pieces = some_classes(40)
    right = [row(one, tales.tell(one, np.random.default_rng(i))) for i, one in enumerate(pieces)]
    empty = [row(one, "") for one in pieces]
    for kind in KINDS:
        assert scene_scores.balanced(kind)(right, []).value == 1.0
        assert scene_scores.balanced(kind)(empty, []).value == 0.0
    assert scene_scores.retrieval(empty, []).value == pytest.approx(0.1)
    assert (scene_scores.retrieval(right, []).value or 0.0) > 0.95
    assert scene_scores.distinct(right, []).value == 100.0
    assert scene_scores.distinct(empty, []).value == 2.5


def test_scenes_that_differ_are_counted_by_both_numbers_of_their_words() -> None:
    rows = [scene_scores.row_of({}, f"{i * 7919} at night") for i in range(400)]
    assert all(len({row[0, at] for row in rows}) < 400 for at in (-2, -1))  # neither number alone tells them apart
    assert scene_scores.distinct(rows, []).value == 100.0


def test_accuracy_is_balanced_over_true_values() -> None:
    joyful, dark = ({**some_classes(1)[0], "mood": mood} for mood in ("joyful", "dark"))
    rows = [row(joyful, "happy")] * 9 + [row(dark, "happy")]
    assert scene_scores.balanced("mood")(rows, []).value == 0.5


def test_one_scene_for_all_finds_its_piece_by_chance() -> None:
    pieces = some_classes(30)
    text = tales.tell(pieces[0], np.random.default_rng(0))
    assert scene_scores.retrieval([row(one, text) for one in pieces], []).value == pytest.approx(0.1)
    assert scene_scores.retrieval([row(one, text) for one in pieces[:9]], []).value is None


def test_the_chance_is_that_of_all_choices() -> None:
    n, better, level = 14, 2, 3
    others = ["better"] * better + ["level"] * level + ["worse"] * (n - 1 - better - level)
    choices = list(itertools.combinations(others, scene_scores.OUT_OF - 1))
    found = np.mean([0.0 if "better" in chosen else 1 / (1 + chosen.count("level")) for chosen in choices])
    assert scene_scores.chance(better, level, n) == pytest.approx(found)


def test_a_clip_of_unknown_truth_has_no_row() -> None:
    found = scene_scores.build_rows()(Scored(np.zeros(10, np.float32), 16_000, SyntheticClip(), "sad"))
    assert not isinstance(found, np.ndarray) and "does not tell" in (found.reason or "")
