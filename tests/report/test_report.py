from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion.report import Control, Gates, ReportData, RunInfo, TrainingHistory, media, samples, write_report
from expotion.report.results import charts
from expotion.report.write import duration

VOID = {"meta", "link", "input", "br", "img", "path", "rect"}


class Outline(HTMLParser):
    """Collects tags and attributes and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.seen if name == tag]


def outline(html):
    parsed = Outline()
    parsed.feed(html)
    assert parsed.open == []
    return parsed


@pytest.fixture
def page(data, tmp_path):
    info = write_report(tmp_path / "run" / "report.html", data)
    html = info.path.read_text(encoding="utf-8")
    assert info.size_bytes == len(html.encode("utf-8"))
    assert [path.name for path in info.path.parent.iterdir()] == ["report.html"]
    return html


def test_page_is_whole_and_self_contained(page):
    parsed = outline(page)
    addresses = [a.get("src") or a.get("href") or a.get("poster") or "" for _, a in parsed.seen]
    assert all(address == "" or address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in page
    assert "@import" not in page
    assert len(parsed.all("audio")) == 6
    assert len([a for a in parsed.all("input") if a.get("type") == "radio" and "checked" in a]) == 2
    ids = [a["id"] for _, a in parsed.seen if "id" in a]
    assert {"verdict", "results", "samples", "training", "clips", "provenance"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_everything_is_escaped(page):
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in page
    assert "<tune>" not in page and "&lt;tune&gt;" in page
    assert "too &lt;short&gt;" in page
    assert "no picture &amp; no sound" in page
    assert "# &lt;b&gt;" in page


def test_beats_that_met_and_missed(page):
    assert "3 beats found, 2 within 70 ms of the 3 true beats" in page


def test_sound_survives_the_round_trip(data):
    import av

    sound = data.samples[0].sounds["original"]
    encoded = media.encode_sound(sound.samples, sound.sample_rate_hz)
    with av.open(io.BytesIO(encoded), "r") as container:
        stream = container.streams.audio[0]
        assert stream.rate == 16_000
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.01)
    assert len(encoded) < 40_000
    assert media.data_uri(b"abc", "audio/mp4") == "data:audio/mp4;base64," + base64.b64encode(b"abc").decode()


def test_odd_sample_rate_is_resampled():
    import av

    encoded = media.encode_sound(np.zeros(10_000, np.float32), 10_000)
    with av.open(io.BytesIO(encoded), "r") as container:
        assert container.streams.audio[0].rate == 48_000


def test_large_picture_is_made_smaller(tmp_path, monkeypatch):
    from expotion.video.writing import write_video

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, size=(2, 360, 640, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", frames, np.arange(2) / 25)
    n_bytes = (tmp_path / "noise.mp4").stat().st_size
    monkeypatch.setattr(media, "VIDEO_BYTES_KEPT", n_bytes)
    assert len(media.prepare_video(tmp_path / "noise.mp4")[0]) == n_bytes
    monkeypatch.setattr(media, "VIDEO_BYTES_KEPT", n_bytes - 1)
    content, still, size = media.prepare_video(tmp_path / "noise.mp4")
    assert size == (360, 640)
    assert still is not None and still[:2] == b"\xff\xd8"
    assert len(content) < (tmp_path / "noise.mp4").stat().st_size


def test_unreadable_video_costs_the_picture_only(data, tmp_path):
    broken = replace(data.samples[0], video=b"not a video")
    info = write_report(tmp_path / "report.html", replace(data, samples=[broken]))
    assert "could not be embedded" in info.notes[0]
    parsed = outline(info.path.read_text(encoding="utf-8"))
    assert parsed.all("video") == []
    assert len(parsed.all("audio")) == 3


def test_limits_leave_samples_out_and_say_so(data, tmp_path):
    info = write_report(tmp_path / "one.html", data, max_samples=1)
    assert len(outline(info.path.read_text(encoding="utf-8")).all("article")) == 1
    small = write_report(tmp_path / "small.html", data, max_bytes=2_150_000)
    assert small.notes == ("clip1: left out, its media would make this file too large",)


def test_report_of_nothing(tmp_path):
    empty = ReportData(RunInfo("bare"), {}, {}, {}, [])
    html = write_report(tmp_path / "report.html", empty).path.read_text(encoding="utf-8")
    assert "No metric was computed" in html
    assert outline(html).all("article") == []


def test_place_that_cannot_be_written(data, tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ExpotionError, match="No space left"):
        write_report(tmp_path / "report.html", replace(data, samples=[]))
    assert list(tmp_path.iterdir()) == []


def test_control_lane_shows_gaps_and_coverage():
    times_s = np.arange(101) / 50
    valid = np.ones(101, dtype=bool)
    valid[50:] = False
    values = np.random.default_rng(0).normal(size=(101, 5)).astype(np.float32)
    lane = samples._control_lane(Control("face", times_s, values, valid, strength=0.5), 2.0)
    assert lane.note.startswith("3 main components of 5")
    assert lane.note.endswith("covers 50 % of the clip, strength 0.5")
    assert lane.gaps == [pytest.approx((495.0, 505.0))]
    nothing = samples._control_lane(Control("face", times_s, values, ~valid & valid), 2.0)
    assert nothing.lines == []
    assert nothing.gaps == [pytest.approx((0.0, 1000.0))]


def test_gate_lane_keeps_the_strongest_layers():
    times_s = np.arange(11) / 5
    values = np.tile(np.arange(12, dtype=np.float32), (11, 1))
    lane = samples._gate_lane(Gates(times_s, values, layers=range(36, 48)), 2.0)
    assert [line.label for line in lane.lines] == [f"layer {n}" for n in range(40, 48)]
    assert "8 strongest of 12" in lane.note


def test_principal_components_of_a_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 9))
    parts, share = samples.principal(plane, np.ones(50, dtype=bool))
    assert parts.shape == (50, 3)
    assert share == pytest.approx(1.0)
    assert np.abs(parts[:, 2]).max() < 1e-9


def test_training_charts(data):
    loss, rate, gates = charts(data.training)
    assert re.search(r"5\.000 to 3\.\d+ in 19 steps", loss.summary)
    assert [line.label for line in loss.lines if "validation" in line.label] == ["validation (3.400)"]
    assert rate.y_label == "× 10⁻³"
    assert [line.label for line in gates.lines] == ["layer 0: +0.150", "layer 1: −0.300"]
    assert charts(TrainingHistory([])) == []


def test_durations():
    assert [duration(seconds) for seconds in (3.21, 48.2, 125.4)] == ["3.2 s", "48 s", "2 min 05 s"]
