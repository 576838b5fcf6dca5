"""What is found in a file: where it decodes, whether picture and sound fit, how loud, cut into clips by time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expotion.video.writing import write_video
from expotion_corpus import examine as examining
from expotion_corpus.examine import Settings, cut, examine, silent_fraction
from expotion_corpus.tables import Item

Write = Callable[..., Path]
SETTINGS = Settings(2.0, 2.0, 1.0)


def item(path: Path, **values: object) -> Item:
    return Item(path, str(path), **values)  # type: ignore[arg-type]


def test_cutting_is_by_time_and_keeps_a_rest_that_is_long_enough() -> None:
    assert cut(0.0, 14.0, Settings(5.0, 5.0, 3.0)) == [(0.0, 5.0), (5.0, 5.0), (10.0, 4.0)]
    assert cut(0.0, 12.0, Settings(5.0, 5.0, 3.0)) == [(0.0, 5.0), (5.0, 5.0)]
    assert cut(1.0, 3.5, Settings(5.0, 5.0, 3.0)) == []
    assert cut(0.5, 10.5, Settings(10.0, 10.0, 3.0)) == [(0.5, 10.0)]
    assert cut(0.0, 10.0, Settings(5.0, 2.5, 5.0)) == [(0.0, 5.0), (2.5, 5.0), (5.0, 5.0)]
    assert cut(0.0, 30.0, Settings(10.0, 10.0, 3.0)) == [(0.0, 10.0), (10.0, 10.0), (20.0, 10.0)]


def test_a_sound_file_is_measured(tmp_path: Path, write: Write) -> None:
    found = examine(SETTINGS, item(write(tmp_path / "a.mp4", seconds=5.0)))
    assert found.dropped == []
    assert found.warnings == []
    assert [(clip["start_s"], clip["duration_s"]) for clip in found.clips] == [(0.0, 2.0), (2.0, 2.0), (4.0, 1.0)]
    first = found.clips[0]
    assert (first["width"], first["fps"], first["sample_rate_hz"]) == (32, 10.0, 8000)
    assert -30 < first["loudness_lufs"] < -10
    assert first["silent_fraction"] == 0.0
    assert first["clipped_fraction"] == 0.0
    assert first["picture_change"] > 10
    assert not first["whole"]
    assert len(found.print.hashes) > 100
    [whole] = examine(Settings(10.0, 10.0, 1.0), item(tmp_path / "a.mp4")).clips
    assert whole["whole"]


def test_a_stretch_that_a_list_asks_for(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.mp4", seconds=6.0)
    found = examine(SETTINGS, item(path, start_s=1.0, duration_s=3.5))
    assert [(clip["start_s"], clip["duration_s"]) for clip in found.clips] == [(1.0, 2.0), (3.0, 1.5)]
    beyond = examine(SETTINGS, item(path, start_s=5.0, duration_s=5.0))
    assert [clip["duration_s"] for clip in beyond.clips] == pytest.approx([1.0], abs=0.01)
    assert beyond.warnings == ["the list asks for 10.00 s of 6.00 s"]
    assert examine(SETTINGS, item(path, start_s=5.5)).clips == []


def test_loudness_silence_and_clipping_are_of_the_clip(
    tmp_path: Path, write: Write, notes: Callable[..., np.ndarray]
) -> None:
    sound = notes(1, 6.0)
    sound[:16000] *= 0.1
    sound[16000:32000] = 0
    sound[32000:] = np.clip(20 * sound[32000:], -1, 1)
    found = examine(SETTINGS, item(write(tmp_path / "a.mkv", seconds=6.0, sound=sound)))
    soft, loud = found.clips
    assert [clip["start_s"] for clip in found.clips] == [0.0, 4.0]
    assert loud["loudness_lufs"] - soft["loudness_lufs"] > 20
    assert loud["clipped_fraction"] > 0.1 > soft["clipped_fraction"]
    [drop] = found.dropped
    assert drop["start_s"] == 2.0
    assert drop["reason"].endswith("% silent")


def test_blocks_of_silence() -> None:
    half = np.concatenate([np.ones(32000), np.zeros(32000)]).astype(np.float32)
    assert silent_fraction(half) == 0.5
    assert silent_fraction(np.zeros(0, np.float32)) == 1.0
    assert silent_fraction(np.full(100, 0.5, np.float32)) == 0.0


def test_a_picture_that_stands_still_is_said(tmp_path: Path, write: Write) -> None:
    found = examine(SETTINGS, item(write(tmp_path / "a.mp4", seconds=4.0, still=True)))
    assert found.warnings == ["the picture stands still"]
    assert [clip["picture_change"] for clip in found.clips] == [0.0, 0.0]


def test_files_that_cannot_be_used_say_why(tmp_path: Path, write: Write) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"no video at all")
    reasons = {
        "junk.mp4": "cannot be read as video",
        write(tmp_path / "mute.mp4", sound=None).name: "a file with sound, got none",
        write(tmp_path / "short.mp4", seconds=0.8).name: "0.80 s usable, shorter than 1 s",
    }
    for name, reason in reasons.items():
        found = examine(SETTINGS, item(tmp_path / name))
        assert found.clips == []
        assert len(found.dropped) == 1
        assert reason in found.dropped[0]["reason"]
        assert str(tmp_path) not in found.dropped[0]["reason"]  # the file is named once, by `where`


def test_picture_and_sound_of_different_lengths_are_cut_to_both(
    tmp_path: Path, notes: Callable[..., np.ndarray]
) -> None:
    times_s = np.arange(60) / 10
    frames = [np.full((32, 32, 3), i * 4, np.uint8) for i in range(60)]
    write_video(tmp_path / "a.mkv", frames, times_s, notes(1, 3.0), 8000, duration_s=6.0)
    import av

    path = tmp_path / "b.mkv"  # the sound track ends after three of six seconds
    with av.open(str(tmp_path / "a.mkv")) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None or (packet.stream.type == "audio" and packet.pts * packet.time_base >= 3):
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    found = examine(SETTINGS, item(path))
    assert [clip["start_s"] for clip in found.clips] == [0.0, 2.0]
    assert found.clips[-1]["duration_s"] == pytest.approx(1.0, abs=0.1)
    assert len(found.warnings) == 1
    assert "sound ends -" in found.warnings[0]


def test_sound_that_begins_late_is_dropped_beyond_the_limit(tmp_path: Path, write: Write) -> None:
    import av

    write(tmp_path / "a.mkv", seconds=6.0)
    path = tmp_path / "late.mkv"
    with av.open(str(tmp_path / "a.mkv")) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                packet.pts += 1200
                packet.dts += 1200  # matroska counts milliseconds
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    [drop] = examine(Settings(2.0, 2.0, 1.0, max_offset_s=0.5), item(path)).dropped
    assert drop["reason"].startswith("sound begins +1.2")
    found = examine(SETTINGS, item(path))
    assert any("sound begins +1.2" in text and "cut to what both have" in text for text in found.warnings)
    assert found.clips[0]["start_s"] == pytest.approx(1.2, abs=0.03)  # both are there from then on


def test_a_damaged_picture_is_cut_where_it_stops(tmp_path: Path, write: Write) -> None:
    import av

    path = write(tmp_path / "a.mp4", seconds=8.0)
    whole = examine(SETTINGS, item(path))
    with av.open(str(path)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[len(packets) // 2 :]:
        assert packet.pos is not None
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(bytes(data))
    found = examine(SETTINGS, item(path))
    assert ["the file is damaged" in text for text in found.warnings] == [True, False]
    assert "the picture stops decoding at 4.0" in found.warnings[1]
    assert 0 < sum(clip["duration_s"] for clip in found.clips) < sum(clip["duration_s"] for clip in whole.clips)


def test_long_files_are_read_in_parts(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", seconds=9.0)
    at_once = examine(SETTINGS, item(path))
    monkeypatch.setattr(examining, "_PART_S", 3.0)
    in_parts = examine(SETTINGS, item(path))
    assert [clip["start_s"] for clip in in_parts.clips] == [clip["start_s"] for clip in at_once.clips]
    for one, other in zip(at_once.clips, in_parts.clips, strict=True):
        assert one["loudness_lufs"] == pytest.approx(other["loudness_lufs"], abs=0.1)
    from expotion_corpus.match import similarity

    votes, likeness, offset_s = similarity(at_once.print, in_parts.print)
    assert votes > 100
    assert likeness > 0.9
    assert offset_s == 0.0
