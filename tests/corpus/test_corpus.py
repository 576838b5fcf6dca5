import json
from pathlib import Path

import numpy as np
import pytest

from expotion.corpus.audit import audit
from expotion.corpus.examine import Settings, cut, examine
from expotion.corpus.fingerprint import RATE_HZ, fingerprint, same_sound
from expotion.corpus.prepare import prepare
from expotion.corpus.schema import ManifestError, Row, read_manifest, write_manifest
from expotion.corpus.split import assign, crossings, split_manifest
from expotion.data.mux import write_video


def row(name: str, **fields: object) -> Row:
    digest = name.encode().hex().ljust(64, "0")
    return Row.model_validate(
        {"id": name, "path": f"{name}.mp4", "start_s": 0, "duration_s": 10, "file_sha256": digest, **fields}
    )


def notes(seed: int, seconds: float = 6.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(int(0.2 * RATE_HZ)) / RATE_HZ
    pieces = [
        np.sin(2 * np.pi * rng.uniform(150, 3000, (6, 1)) * t).sum(0) * np.exp(-8 * t)
        for _ in range(int(seconds * 5))
    ]
    return np.concatenate(pieces).astype(np.float32) / 6


def test_components_join_song_and_performer_and_do_not_cross() -> None:
    rows = [row(f"c{i}", song=f"s{i // 2}", performer=f"p{(i + 1) // 2 % 8}") for i in range(8)]
    rows += [row(f"d{i}", song=f"t{i // 3}") for i in range(30)]
    done, groups = assign(rows, ("song", "performer"), 0.1, 0.1, 3)
    assert {r.split for r in done} == {"train", "validation", "test"}
    assert crossings(done, ("song", "performer")) == []
    assert len(groups[0]) == 8  # a chain over songs and performers
    moved = [r.model_copy(update={"split": "test" if r.id == "c0" else "train"}) for r in done]
    assert {c["value"] for c in crossings(moved, ("song",))} == {"s0"}


def test_one_giant_group_is_an_error_with_numbers() -> None:
    with pytest.raises(ManifestError, match="1 for 5 clips; the largest holds 5 clips"):
        assign([row(f"c{i}", performer="p") for i in range(5)], ("performer",), 0.2, 0.0, 0)
    with pytest.raises(ManifestError, match="groups"):
        assign([row("only")], ("song",), 0.2, 0.0, 0)


def test_manifest_lists_every_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    good = row("a").model_dump_json()
    bad = json.dumps(json.loads(good) | {"id": "b", "duration_s": -1, "sample_rate_hz": 0})
    path.write_text(f"{good}\n{bad}\nnot json\n{good}\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(path, files=True)
    told = str(error.value)
    assert all(
        part in told
        for part in (f"{path}:2: duration_s", ":2: sample_rate_hz", f"{path}:3", f"{path}:4: an id")
    )
    assert "a.mp4" in told


def test_fingerprint_survives_gain_noise_and_offset_and_tells_sounds_apart() -> None:
    sound = notes(1)
    noise = np.random.default_rng(0).normal(0, 0.003, len(sound) - 7000)
    again = (0.3 * sound[7000:] + noise).astype(np.float32)
    assert same_sound(fingerprint(sound), fingerprint(again))
    assert not same_sound(fingerprint(sound), fingerprint(notes(2)))
    assert not same_sound(fingerprint(np.zeros(8000, np.float32)), fingerprint(sound))


def test_cutting_is_by_time_and_keeps_the_rest_that_is_long_enough() -> None:
    assert cut(0.0, 14.0, Settings(5.0, 5.0, 3.0)) == [(0.0, 5.0), (5.0, 5.0), (10.0, 4.0)]
    assert cut(1.0, 3.5, Settings(5.0, 5.0, 3.0)) == []


def test_prepare_split_audit(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    times_s = np.arange(40) / 10
    frames = [np.full((32, 32, 3), i * 5, np.uint8) for i in range(40)]
    for i in range(3):
        write_video(folder / f"v{i}.mp4", frames, times_s, notes(i, 4.0), RATE_HZ)
        (folder / f"v{i}.json").write_text(json.dumps({"song": f"s{i}", "caption": f"tune {i}"}))
    write_video(folder / "quiet.mp4", frames, times_s, np.zeros(4 * RATE_HZ, np.float32), RATE_HZ)
    (folder / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "corpus"
    settings = Settings(4.0, 4.0, 3.0)
    asked: list[int] = []

    def examine_all(items):  # type: ignore[no-untyped-def]
        asked.append(len(items))
        return ((i, examine(settings, item)) for i, item in enumerate(items))

    made = prepare(folder, out, settings, examine_all)
    assert [r.caption for r in made.rows] == ["tune 0", "tune 1", "tune 2"]
    reasons = " ".join(drop["reason"] for drop in made.report["dropped"])
    assert "100% silent" in reasons
    assert "broken.mp4" in reasons
    prepare(folder, out, settings, examine_all)
    assert asked == [5, 0]  # nothing is examined twice
    report = split_manifest(out / "manifest.jsonl", out / "split.jsonl", ("song",), 0.3, 0.0, 0)
    assert report["splits"]["test"]["clips"] == 1
    assert audit([out / "split.jsonl"])["leaks"] == []
    rows = read_manifest(out / "split.jsonl")
    twin = rows[0].model_copy(
        update={"id": "twin", "song": None, "sound": None, "path": str(tmp_path / "twin.mp4")}
        | {"split": "train" if rows[0].split == "test" else "test"}
    )
    (tmp_path / "twin.mp4").write_bytes((folder / "v0.mp4").read_bytes())
    write_manifest(out / "leaky.jsonl", [*rows, twin], {})
    assert "fingerprint" in {leak["by"] for leak in audit([out / "leaky.jsonl"])["leaks"]}
