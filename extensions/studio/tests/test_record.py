"""The room Record without a browser: songs, consent, takes to files, and away again from every cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from expotion.errors import MediaError
from expotion.features.store import FeatureStore
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav
from expotion_studio import record, recording, songs
from expotion_studio.recording import shown
from expotion_studio.shelf import Song
from expotion_web.worker import Telling

RATE_HZ = 32_000


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "limited", lambda _function, *given, **_options: recording.write(*given))
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def song(made: Any) -> Song:
    folder = made.shelf.songs / ("5" * 16)
    rng = np.random.default_rng(0)
    write_wav(folder / "sound.wav", (0.1 * rng.standard_normal(RATE_HZ)).astype(np.float32), RATE_HZ)
    found = Song(id=folder.name, title="A piece", caption="calm music", duration_s=1.0)
    (folder / "song.json").write_text(found.model_dump_json())
    return found


def _body(times_s: list[float], offset_s: float = 0.0, **changed: Any) -> bytes:
    """A take whose frame k is grey of level 10 + 5 k."""
    frames = [np.full((48, 64, 3), 10 + 5 * k, np.uint8) for k in range(len(times_s))]
    blobs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    header = {"times_s": times_s, "sizes": [len(blob) for blob in blobs], "offset_s": offset_s}
    text = json.dumps({**header, "offset_from": "calibrated by 20 flashes", "dropped": 0, **changed}).encode()
    return len(text).to_bytes(4, "big") + text + b"".join(blobs)


def _agree(made: Any, code: str = "P1") -> None:
    assert made.client.post("/api/performers", json={"code": code, "agreed": True}).status_code == 200


def _give(made: Any, song: Song, body: bytes, performer: str = "P1") -> Any:
    return made.client.put("/api/recordings", params={"song": song.id, "performer": performer}, content=body)


@pytest.mark.parametrize("offset_s", [0.0, 0.08, 0.25, -0.04])
def test_what_was_seen_late_is_put_back(offset_s: float) -> None:
    true_s = np.arange(-0.3, 1.4, 1 / 30)
    kept, times_s = shown(true_s + offset_s, offset_s, 1.0)
    assert times_s[0] == 0.0 and (np.diff(times_s) > 0).all() and times_s[-1] < 1.0
    np.testing.assert_allclose(times_s[1:], true_s[kept][1:], atol=1e-9)
    assert true_s[kept[0]] <= 0.0 < true_s[kept[1]]  # the frame that is on when the piece begins


def test_frames_of_equal_times_and_none_at_all() -> None:
    kept, times_s = shown(np.array([0.0, 0.1, 0.1, 0.1004, 0.2]), 0.0, 1.0)
    assert kept.tolist() == [0, 1, 4] and times_s.tolist() == [0.0, 0.1, 0.2]
    assert len(shown(np.array([]), 0.0, 1.0)[0]) == 0


def test_a_take_becomes_a_file_that_prepare_reads(made: Any, song: Song) -> None:
    _agree(made)
    times_s = [round(-0.2 + k / 15 + 0.08, 6) for k in range(24)]
    found = _give(made, song, _body(times_s, 0.08)).json()
    assert found["offset_s"] == 0.08 and found["notes"] == [] and found["fps"] == pytest.approx(15, abs=1.1)
    folder = made.shelf.recordings / found["id"]
    side = json.loads((folder / f"{found['id']}.json").read_text())
    assert side == {"caption": "calm music", "song": "A piece", "performer": "P1", "recording": found["id"]}
    source = scan(folder / f"{found['id']}.mp4")
    assert source.picture is not None and source.sound is not None
    np.testing.assert_allclose(source.picture.times_s[1:4], [1 / 15, 2 / 15, 3 / 15], atol=2e-3)
    assert source.duration_s == pytest.approx(1.0, abs=0.05)
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json", ".mp4"]
    assert made.client.get(f"/api/recordings/{found['id']}/video").headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xff\xff\xff\xff", "frames with their times"),
        (_body([0.0, 0.1])[:-5], "frames with their times"),
        (_body([0.0, 0.1], dropped=-1), "frames with their times"),
        (_body([0.0, float("nan")]), "frames with their times"),
        (_body([k / 15 for k in range(8)]), "frames from 0 to 1.0 s, got 0.00 to 0.47 s"),
        (_body([0.0, 0.5, 0.9]), "at least 8 frames a second, got 3.0"),
        (_body([5.0, 6.0]), "no frame of it"),
    ],
)
def test_a_take_that_is_not_whole_leaves_nothing(made: Any, song: Song, body: bytes, why: str) -> None:
    _agree(made)
    answer = _give(made, song, body)
    assert answer.status_code == 400 and why in answer.text
    assert [*made.shelf.recordings.iterdir()] == []


def test_nobody_is_recorded_who_has_not_agreed(made: Any, song: Song) -> None:
    assert "tick the box" in made.client.post("/api/performers", json={"code": "P1", "agreed": False}).text
    assert made.client.post("/api/performers", json={"code": "../x", "agreed": True}).status_code == 422
    assert "agree first" in _give(made, song, _body([0.0])).text
    _agree(made)
    (made.shelf.root / "consent.txt").write_text("Our own words.")
    found = made.client.get("/api/consent").json()
    assert found == {"text": "Our own words.", "performers": ["P1"]}
    assert (
        "You may stop at any time" in json.loads((made.shelf.root / "performers" / "P1.json").read_text())["text"]
    )


@pytest.mark.slow
def test_a_recording_goes_from_every_cache(made: Any, song: Song, tmp_path: Path) -> None:
    from expotion.contracts import TimedFeatures
    from expotion.manifest.source import ManifestClip, read_manifest

    _agree(made)
    names = [_give(made, song, _body([k / 15 for k in range(16)])).json()["id"]]
    names.append(_give(made, song, _body([k / 12 for k in range(13)])).json()["id"])
    telling = Telling(open(tmp_path / "told", "w", encoding="utf-8"), tmp_path)  # noqa: SIM115
    result = recording.manifest({"root": str(made.shelf.root), "clip_s": 1.0, "codes": None}, telling)
    assert result == {"clips": 2, "songs": 1, "performers": 1}
    rows = {row.recording: row for row in read_manifest(made.shelf.corpus / "manifest.jsonl")}
    store = FeatureStore()
    track = TimedFeatures(np.zeros((2, 3), np.float32), np.array([0.0, 0.5]), np.ones(2, bool))
    files = {
        name: store.save_imported(ManifestClip(rows[name], made.shelf.corpus), "face", track, 2.0, {})
        for name in names
    }
    made.shelf.runs.mkdir()
    (made.shelf.runs / "mine.recordings.json").write_text(json.dumps(names))
    assert made.client.delete(f"/api/recordings/{names[0]}").json() == {"runs": ["mine"]}
    assert not files[names[0]].exists() and files[names[1]].exists()
    assert [row.recording for row in read_manifest(made.shelf.corpus / "manifest.jsonl")] == [names[1]]
    assert len([*(made.shelf.corpus / "examined").glob("*.npz")]) == 1
    assert [one["id"] for one in made.client.get("/api/recordings").json()] == [names[1]]
    assert names[0] not in "".join(str(path) for path in tmp_path.rglob("*"))


def test_how_far_a_sound_is_from_another() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(RATE_HZ).astype(np.float32)
    assert songs.distance_db(noise, noise) == 0.0
    assert songs.distance_db(noise, 0.1 * noise) == pytest.approx(20.0, abs=0.1)
    assert 40 < songs.distance_db(noise, np.zeros_like(noise)) < 60  # as far as the floor


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    blobs = [cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes() for side in (16, 18)]
    (tmp_path / "raw").write_bytes(b"".join(blobs))
    with pytest.raises(MediaError, match="pictures of one size"):
        [*recording._pictures(tmp_path / "raw", 0, [len(blob) for blob in blobs], np.arange(2))]
