"""Names and lengths at the edge of what is allowed, into `generate` and what it writes with."""

from pathlib import Path

import numpy as np
import pytest
from media import encode

from expotion.errors import MediaError, Problem
from expotion.features import job
from expotion.files import write_json
from expotion.music.files import write_files
from expotion.music.piece import Music
from expotion.music.steering import Steering
from expotion.music.targets import Output, Target, find_clips, plan, scan_clips
from expotion.video.mux import mux_video
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav

MUSIC = np.zeros(32_000, np.float32)


def test_a_name_of_246_letters(tmp_path: Path) -> None:
    source = encode(tmp_path / ("n" * 246 + ".mp4"))
    out = tmp_path / "out"
    for suffix in (".mp4", ".mkv", ".webm"):
        mux_video(source, MUSIC, 32_000, out / (source.stem + suffix))
    write_wav(out / f"{source.stem}.wav", MUSIC, 32_000)
    write_json(out / f"{source.stem}.json", {})
    assert len(list(out.iterdir())) == 5


def test_music_is_not_lost_with_the_picture(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4")
    source = scan(clip)
    clip.unlink()  # while the music was made
    target = Target(clip, tmp_path / "out" / "clip", 0)
    music = Music(MUSIC, 32_000, np.zeros((4, 50), np.int64), {}, {})
    with pytest.raises(MediaError, match="the music stands here") as error:
        write_files(target, music, source, Output(("mp4",)), {}, print, lambda path, music: None)
    assert str(clip) in str(error.value)
    assert target.file(".wav").stat().st_size == pytest.approx(2 * len(MUSIC), abs=100)
    assert not target.record.exists()


def test_two_clips_that_differ_in_their_suffix_get_names_of_their_own(tmp_path: Path) -> None:
    clips = [tmp_path / "x.mp3", tmp_path / "x.m4a"]
    made = plan(clips, out=tmp_path / "d", adaptor=None, formats=(), samples=1, seed=0, problems=[])
    assert [takes.targets[0].base.name for takes in made.takes] == ["x_mp3", "x_m4a"]


def test_a_clip_that_is_too_long_is_refused_at_once_with_a_fix_that_generate_has(tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    write_wav(long, np.zeros(601 * 4000, np.float32), 4000)
    _, bad = scan_clips([long], (), Steering())
    assert "at most 600 s, got 601.0 s; cut it into parts" in str(MediaError(bad[long]))


@pytest.mark.parametrize("suffix", ["ts", "mts", "m2ts", "3gp", "flv", "wmv", "ogv", "MOV"])
def test_folders_are_looked_through_for_every_kind_of_video(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    assert find_clips(tmp_path) == [tmp_path / f"a.{suffix}"]
    assert [clip.path for clip in job.find_clips([tmp_path])] == [str(tmp_path / f"a.{suffix}")]


def test_a_folder_of_sound_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp3").write_bytes(b"x")
    found: list[Problem] = []
    plan([tmp_path / "in"], out=tmp_path / "d", adaptor=None, formats=(), samples=1, seed=0, problems=found)
    assert "1 sound files (a.mp3); name sound files one by one" in str(found[0])
