"""Parts of a clip, prompts over time, a negative one and a theme, from the command line to the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from expotion.cli.main import run
from expotion.errors import ExpotionError, MediaError
from expotion.music.composer import Composer, open_composer
from expotion.music.parts import FADE_S, Part, laid_into, spans_of
from expotion.music.request import request_for_all
from expotion.music.steering import Steering
from expotion.music.theme import theme_of
from expotion.plugins import Registry
from expotion.run import generation
from expotion.run.generation import requests_of
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
Capture = pytest.CaptureFixture[str]
RATE_HZ = 32_000
CLIP_S = 2.4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.4 s with a sound of its own."""
    path = tmp_path_factory.mktemp("clip") / "lamp.mkv"
    frames = [np.full((32, 48, 3), 200 - 10 * (i % 5), np.uint8) for i in range(24)]
    noise = np.random.default_rng(0).normal(0.0, 0.1, round(CLIP_S * RATE_HZ)).astype(np.float32)
    write_video(path, frames, np.arange(24) / 10, noise, RATE_HZ)
    return path


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.7 s in stereo at another rate."""
    path = tmp_path_factory.mktemp("theme") / "theme.wav"
    sound = np.random.default_rng(1).normal(0.0, 0.1, (round(0.7 * 44_100), 2)).astype(np.float32)
    write_wav(path, sound, 44_100)
    return path


@pytest.fixture(scope="module")
def composer(finished: Path, lamps: Registry) -> Composer:
    return open_composer(finished, lamps)


@pytest.fixture
def refused(finished: Path, clip: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `expotion generate CLIP ARGUMENTS` says; nothing may be loaded for it."""
    monkeypatch.setattr("expotion.music.make.open_composer", lambda *_: pytest.fail("something was loaded"))

    def call(*arguments: object) -> str:
        assert run(["generate", str(clip), "--adaptor", str(finished), *map(str, arguments)]) != 0
        return capsys.readouterr().err

    return call


# ------------------------------------------------------------------------------------------------------- parts


def test_pieces_hold_their_parts() -> None:
    whole, late, last = (spans_of(parts, 2.4, 50.0) for parts in ((), (Part(0.013, 0.5),), (Part(1.0, None),)))
    assert (whole[0].start_s, whole[0].end_s, whole[0].first, whole[0].stop) == (0.0, 2.4, 0, 120)
    assert (late[0].first, late[0].stop, late[0].n_frames) == (0, 25, 25)
    assert (last[0].end_s, last[0].first, last[0].stop) == (2.4, 50, 120)


@pytest.mark.parametrize("shape", [(6400,), (6400, 2)])
def test_music_gives_way_inside_its_part_at_equal_power(shape: tuple[int, ...]) -> None:
    around, music = np.full(shape, 3.0, np.float32), np.full((3840, *shape[1:]), 4.0, np.float32)
    pieces = spans_of((Part(0.05, 0.15),), 0.2, 50.0)
    found = laid_into(around, [(pieces[0], music)], RATE_HZ, 50.0)
    start, end, fade = 1600, 4800, round(FADE_S * RATE_HZ)
    np.testing.assert_array_equal(found[:start], around[:start])
    np.testing.assert_array_equal(found[end:], around[end:])
    u = np.concatenate([np.arange(fade), np.arange(fade)[::-1]]) / fade
    assert fade == 1600 and len(u) == end - start
    wanted = 4 * np.sin(np.pi / 2 * u) + 3 * np.cos(np.pi / 2 * u)
    np.testing.assert_allclose(found[start:end].reshape(len(u), -1)[:, 0], wanted, atol=1e-5)
    whole = np.full(shape, 4.0, np.float32)
    at_the_edges = laid_into(around, [(spans_of((), 0.2, 50.0)[0], whole)], RATE_HZ, 50.0)
    np.testing.assert_array_equal(at_the_edges, whole)  # nothing to fade from


def test_a_clip_need_not_end_with_a_frame() -> None:
    (piece,) = spans_of((Part(0.1, None),), 0.209, 50.0)
    assert (piece.first, piece.stop) == (5, 10)
    around = np.ones(round(0.209 * RATE_HZ), np.float32)
    found = laid_into(around, [(piece, np.full(5 * 640, 2.0, np.float32))], RATE_HZ, 50.0)
    np.testing.assert_array_equal(found[4800:6400], 2.0)
    assert len(found) == len(around) and not found[6400:].any()  # as `to_sound` ends a whole piece
    assert str(Part.of("0.2-0.3")) == "0.2-0.3"


def test_outside_stands_the_clips_own_sound_or_silence(composer: Composer, clip: Path) -> None:
    from expotion.video.audio import load_audio

    own = load_audio(clip, RATE_HZ)
    assert own is not None
    music = composer.compose(clip, parts=["0.5-1", "1.6-"], seed=3)
    quiet = composer.compose(clip, parts=["0.5-1", "1.6-"], seed=3, outside="silence")
    outside = np.ones(len(own), bool)
    for start_s, end_s in ((0.5, 1.0), (1.6, CLIP_S)):
        outside[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] = False
    np.testing.assert_array_equal(music.samples[outside], own[outside])
    assert not quiet.samples[outside].any()
    inside = slice(round(0.55 * RATE_HZ), round(0.95 * RATE_HZ))
    np.testing.assert_array_equal(music.samples[inside], quiet.samples[inside])
    assert quiet.samples[inside].any() and not np.array_equal(music.samples[inside], own[inside])
    assert music.codes.shape[1] == 25 + 40 and len(music.samples) == len(own)
    with pytest.raises(ExpotionError, match="parts: none while it is made"):
        list(composer.stream(clip, parts=["1-2"]))


def test_a_part_is_steered_by_its_own_time(composer: Composer, clip: Path) -> None:
    """Its rows of the controls, its stretch of the schedules, the prompt in force."""
    seen: list[Any] = []
    given = {"prompt": "warm", "prompt_at": [{"at_s": 0.5, "prompt": "cold"}, {"at_s": 1.2, "prompt": "warm lamp"}]}
    steering = composer.resolved(Steering.of(parts=["1-2"], strength={"glow": "0:0,2.4:2.4"}, **given), {})
    piece = composer._prepare(clip, steering, seen.append)
    (one,) = piece.requests
    assert one.n_frames == 50
    np.testing.assert_allclose(one.strengths["glow"], np.arange(50, 101) / 50, atol=1e-6)
    np.testing.assert_array_equal(one.tracks["glow"].values, piece.tracks["glow"].values[50:101])
    assert one.text is composer.prompts["cold"]
    assert [(frame, text is composer.prompts["warm lamp"]) for frame, text in one.later] == [(10, True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--part", "2-1"), "--part 2-1: a part that goes forwards, for at least 0.1 s, got '2-1'"),
        (("--part", "1"), "--part 1: START-END in seconds, for example 10-20, or 10- up to the end, got '1'"),
        (("--part", "0-1", "--part", "0.5-2"), "--part: parts one after the other, not 0-1 and then 0.5-2"),
        (("--part", "1-2", "--part", "0-1"), "--part: parts one after the other"),
        (("--part", "1-9"), "--part 1-9: a part within the 2.40 s of the clip"),
        (("--part", "5-"), "--part 5-: a part within the 2.40 s of the clip"),
        (("--part", "1-2", "--start", "1"), "--part: either --part, or --start and --duration for one, got both"),
        (("--start", "1", "--duration", "-1"), "--start: a start of at least 0 s and a duration above 0"),
        (("--part", "0-1", "--outside", "loud"), "--outside: one of own, silence, got 'loud'"),
        (("--outside", "silence"), "--outside: parts of the clip, got the whole of it"),
        (("--prompt-at", "2.4=warm"), "--prompt-at 2.4: a time within the 2.40 s of the clip"),
        (
            ("--prompt-at", "2=warm", "--prompt-at", "1=warm"),
            "--prompt-at: times that go forwards, not 2 s and then 1",
        ),
        (("--prompt-at", "0=warm"), "--prompt-at 0=warm: a number greater than 0.0, got 0"),
        (("--prompt-at", "warm"), "--prompt-at warm: SECOND=TEXT"),
        (("--negative", " "), "--negative: some words"),
        (("--continue", "nowhere.wav"), "--continue: no such file"),
        (("--theme-s", "1"), "--theme-s: a theme to start from, got none"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_loaded(
    arguments: tuple[str, ...], message: str, refused: Callable[..., str]
) -> None:
    said = refused(*arguments)
    assert message in said.replace("\n", " ")
    assert len(said.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------ themes


def test_a_theme_is_the_first_codes_bit_for_bit(composer: Composer, clip: Path, theme: Path) -> None:
    codec = composer.backbone.codec
    assert codec is not None
    sound = theme_of(theme, 0.4, RATE_HZ)
    assert len(sound) == round(0.4 * RATE_HZ)
    wanted = codec.encode(sound)
    music = composer.compose(clip, theme=theme, theme_s=0.4)
    np.testing.assert_array_equal(music.codes[:, :20], wanted.numpy())
    assert music.codes.shape[1] == 120 and len(music.samples) == round(CLIP_S * RATE_HZ)
    default = composer.compose(clip, theme=str(theme))  # half a window of 1 s
    np.testing.assert_array_equal(default.codes[:, :25], codec.encode(theme_of(theme, 0.5, RATE_HZ)).numpy())
    streamed = np.concatenate([chunk.samples for chunk in composer.stream(clip, theme=theme)])
    np.testing.assert_allclose(streamed, default.samples, atol=1e-5)
    part = composer.compose(clip, theme=theme, theme_s=0.4, parts=["1-2"])
    np.testing.assert_array_equal(part.codes[:, :20], wanted.numpy())


def test_what_is_no_theme_is_one_line(refused: Callable[..., str], theme: Path, tmp_path: Path) -> None:
    silent, ending, short = (tmp_path / f"{name}.wav" for name in ("silent", "ending", "short"))
    noise = np.random.default_rng(0).normal(0.0, 0.1, RATE_HZ).astype(np.float32)
    write_wav(silent, np.zeros(RATE_HZ, np.float32), RATE_HZ)
    write_wav(ending, noise * (np.arange(RATE_HZ) < 0.9 * RATE_HZ), RATE_HZ)
    write_wav(short, noise[:1600], RATE_HZ)
    assert "sound in its last 0.5 s, up to the end, got silence in it; cut" in refused("--continue", silent)
    assert "up to the end, got silence in its end" in refused("--continue", ending)
    assert "at least 0.1 s of sound, got 0.05 s" in refused("--continue", short)
    assert "--theme-s: at most half a window of 1 s, got 0.6 s" in refused("--continue", theme, "--theme-s", 0.6)
    beyond = refused("--continue", theme, "--part", "1-1.4")
    assert "--theme-s: less than the 0.40 s of the piece, which it is a part of, got 0.5 s" in beyond
    with pytest.raises(MediaError, match="silence"):
        theme_of(silent, 0.5, RATE_HZ)


# ------------------------------------------------------------------------------------------ record, files, again


def test_all_of_it_is_in_the_record_and_made_again(
    finished: Path, clip: Path, theme: Path, tmp_path: Path, capsys: Capture
) -> None:
    own = tmp_path / "theme.wav"
    own.write_bytes(theme.read_bytes())
    out = tmp_path / "music.wav"
    words = ("--prompt", "warm", "--prompt-at", "1=cold lamp", "--negative", "lamp", "--part", "0.4-2")
    options = ("--continue", own, "--theme-s", 0.2, "--outside", "silence", "--out", out, "--adaptor", finished)
    assert run(["generate", str(clip), *words, *map(str, options)]) == 0
    record = json.loads(out.with_suffix(".json").read_text())
    wanted = {
        "prompt_at": [{"at_s": 1.0, "prompt": "cold lamp"}],
        "negative": "lamp",
        "theme": str(own),
        "theme_s": 0.2,
        "parts": ["0.4-2"],
        "outside": "silence",
    }
    for place in (record["asked"]["composing"], record["made"]):
        assert {name: place[name] for name in wanted} == wanted
    assert not soundfile.read(out)[0][: round(0.4 * RATE_HZ)].any()
    assert run(["again", str(out.with_suffix(".json"))]) == 0
    assert "The same bytes as the first time." in capsys.readouterr().out
    own.write_bytes(b"another")
    assert run(["again", str(out.with_suffix(".json"))]) == 1
    assert f"{own}: the file that" in capsys.readouterr().err


def test_a_steering_file_says_it_too(finished: Path, clip: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "calm.yaml"
    path.write_text("prompt_at:\n- {at_s: 0.5, prompt: cold}\n- {at_s: 0.2, prompt: lamp}\nparts: [0-1, 2-1]\n")
    call = ["generate", str(clip), "--adaptor", str(finished), "--steering", str(path)]
    assert run(call) == 1
    said = capsys.readouterr().err
    assert "calm.yaml:1 prompt_at: times that go forwards" in said
    assert "calm.yaml:4 parts" in said and "a part that goes forwards" in said
    steering = Steering.of(prompt_at=[{"at_s": 1, "prompt": "cold"}], parts=[Part(0.0, 1.0), "2-"])
    assert Steering.of(**steering.to_json()) == steering
    assert [str(part) for part in steering.parts] == ["0-1", "2-"]


def test_other_words_leave_out_a_recipes_later_ones(composer: Composer) -> None:
    later = ({"at_s": 1.0, "prompt": "cold"},)
    values = composer.recipe.to_dict()
    values["generate"] |= {"prompt_at": list(later), "negative": "lamp"}
    recipe = type(composer.recipe).from_dict(values)
    assert [each.prompt for each in Steering.of(seed=1).over(recipe).prompt_at] == ["cold"]
    assert Steering.of(seed=1).over(recipe).negative == "lamp"
    assert Steering.of(prompt="warm").over(recipe).prompt_at == ()
    assert recipe.section_hash("generate") != composer.recipe.section_hash("generate")


def test_a_recipes_words_are_in_every_request_of_its_evaluation(composer: Composer) -> None:
    values = composer.recipe.to_dict()
    values["generate"] |= {"prompt_at": [{"at_s": 0.5, "prompt": "cold"}], "negative": "lamp"}
    recipe = type(composer.recipe).from_dict(values)
    same = request_for_all(recipe.generate, composer.prompts, composer.backbone.geometry)
    clips = [generation.TestClip(str(n), 50 + n, 32_000, composer.prompts["warm"], {}) for n in range(2)]
    requests = requests_of(recipe, "text_only", clips, 3, same)
    assert [request.n_frames for request in requests] == [50, 51]
    for request in requests:
        assert request.text is composer.prompts["warm"] and request.negative is composer.prompts["lamp"]
        assert request.text_at(24) is request.text and request.text_at(25) is composer.prompts["cold"]
    assert requests[0].seed != requests[1].seed
