"""Folders and lists as people have them, into `data prepare`."""

import json
from pathlib import Path

import numpy as np
import pytest
from media import encode, frames
from typer.testing import CliRunner

from expotion.cli.main import app
from expotion.manifest.rows import read_manifest
from expotion.video.writing import write_video

RATE_HZ = 16_000


def clip(path: Path, seconds: float = 2.5, sound: np.ndarray | None = None) -> Path:
    """A moving picture with noise, or with the sound that is given."""
    times_s = np.arange(round(seconds * 10)) / 10
    noise = np.random.default_rng(0).normal(0.0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = noise if sound is None else sound
    write_video(path, frames(len(times_s)), times_s, samples, RATE_HZ, duration_s=seconds)
    return path


def prepared(source: Path, out: Path, *options: str) -> tuple[int, str, dict[str, object]]:
    """Exit code, output without line ends, and the report."""
    done = CliRunner().invoke(app, ["data", "prepare", str(source), "--out", str(out), "--min", "1", *options])
    report = out / "report.json"
    told = done.output if done.exception is None else f"{done.output} {done.exception}"
    return done.exit_code, told, json.loads(report.read_text()) if report.is_file() else {}


def test_a_picture_that_starts_late_is_cut_to_what_both_have(tmp_path):
    source = clip(tmp_path / "a.mkv")
    late = tmp_path / "videos" / "late.mkv"
    late.parent.mkdir()
    import av

    with av.open(str(source)) as read, av.open(str(late), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in read.streams}
        for packet in read.demux():
            if packet.size:
                late_ms = 860 if packet.stream.type == "video" else 0
                packet.pts, packet.dts = packet.pts + late_ms, packet.pts + late_ms
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    code, _, report = prepared(late.parent, tmp_path / "corpus")
    assert code == 0
    assert any("cut to what both have" in text for text in report["warnings"])
    [row] = read_manifest(tmp_path / "corpus" / "manifest.jsonl", files=True)
    assert row.start_s == pytest.approx(0.86, abs=0.02)
    code, told, _ = prepared(late.parent, tmp_path / "strict", "--max-offset", "0.5")
    assert code != 0
    assert "more than --max-offset allows" in told


@pytest.mark.parametrize("suffix", ["ts", "mts", "m2ts", "flv", "3gp"])
def test_every_kind_of_video_is_found(tmp_path, suffix):
    format = {"mts": "mpegts", "m2ts": "mpegts"}.get(suffix)
    path = tmp_path / "videos" / f"a.{suffix}"
    path.parent.mkdir()
    encode(path, format=format, n=36, sound="aac", rate_hz=44_100)
    (path.parent / "notes.pdf").write_text("words")
    code, _, report = prepared(path.parent, tmp_path / "corpus")
    assert (code, report["clips"]) == (0, 1)
    assert any("1 files" in text and "notes.pdf" in text for text in report["warnings"])
    assert prepared(path, tmp_path / "alone")[0] == 0


def test_one_inverted_channel_is_named(tmp_path):
    import av

    tone = (0.3 * np.sin(np.arange(2 * RATE_HZ) * 0.1)).astype(np.float32)
    path = tmp_path / "videos" / "a.mkv"
    path.parent.mkdir()
    silent = clip(tmp_path / "picture.mkv", 2.0)
    with av.open(str(silent)) as read, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(read.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=RATE_HZ, layout="stereo")
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        stereo = np.stack([tone, -tone], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray((stereo * 32767).astype(np.int16), "s16", "stereo")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    code, told, _ = prepared(path.parent, tmp_path / "corpus")
    assert code != 0
    assert "its channels cancel each other" in told


def test_samples_that_are_no_numbers_do_not_reach_the_numbers(tmp_path):
    import av

    samples = (0.2 * np.sin(np.arange(2 * RATE_HZ) * 0.1)).astype(np.float32)
    samples[20_000] = np.inf
    path = tmp_path / "videos" / "a.mkv"
    path.parent.mkdir()
    with av.open(str(clip(tmp_path / "picture.mkv", 2.0))) as read, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(read.streams.video[0])
        sound = out.add_stream("pcm_f32le", rate=RATE_HZ, layout="mono")
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples[None, :], "flt", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    code, _, report = prepared(path.parent, tmp_path / "corpus")
    assert code == 0
    assert any("1 samples of the sound are no finite numbers" in text for text in report["warnings"])
    [row] = read_manifest(tmp_path / "corpus" / "manifest.jsonl")
    assert -30 < row.loudness_lufs < 0


def test_a_file_that_was_cut_off_says_so(tmp_path):
    path = clip(tmp_path / "videos" / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    _, _, report = prepared(path.parent, tmp_path / "corpus")
    assert any("the file is damaged" in text for text in report["warnings"])
    assert not any("cut to what both have" in text for text in report["warnings"])


def test_captions_may_hold_other_line_ends(tmp_path):
    caption = "one\u2028two\u2029three\x85four\x0bfive\x0csix"
    path = clip(tmp_path / "videos" / "a.mp4", 1.2)
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"path": str(path), "caption": caption}, ensure_ascii=False) + "\n", "utf-8")
    assert prepared(listed, tmp_path / "corpus")[0] == 0
    manifest = tmp_path / "corpus" / "manifest.jsonl"
    assert [row.caption for row in read_manifest(manifest, files=True)] == [caption]
    for command in (["check", str(manifest)], ["split", str(manifest), "--test", "0", "--validation", "0"]):
        done = CliRunner().invoke(app, ["data", *command])
        assert "invalid json" not in f"{done.output}{done.exception}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.CSV", "path,caption\n{},a tune\n"),
        ("l.tsv", "path\tcaption\n{}\ta tune\n"),
        ("l.csv", "File_Name;Caption\n{};a tune\n"),
        ("l.csv", "File Name,Text\n{},a tune\n"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, text):
    path = clip(tmp_path / "videos" / "a.mp4", 1.2)
    (tmp_path / name).write_text(text.format(path))
    code, told, _ = prepared(tmp_path / name, tmp_path / "corpus")
    assert code == 0, told
    [row] = read_manifest(tmp_path / "corpus" / "manifest.jsonl")
    assert row.caption == "a tune"


def test_a_quote_that_is_not_closed_is_an_error_with_its_line(tmp_path):
    for name in "abc":
        clip(tmp_path / f"{name}.mp4", 1.2)
    (tmp_path / "l.csv").write_text('path,caption\na.mp4,fine\nb.mp4,"open\nc.mp4,fine\n')
    code, told, _ = prepared(tmp_path / "l.csv", tmp_path / "corpus")
    assert code != 0
    assert "l.csv:3" in told


def test_a_caption_of_200_kilobytes(tmp_path):
    path = clip(tmp_path / "a.mp4", 1.2)
    (tmp_path / "l.csv").write_text(f"path,caption\n{path},{'word ' * 40_000}\n")
    assert prepared(tmp_path / "l.csv", tmp_path / "corpus")[0] == 0
