"""`expotion features`: a plugin in a file, small videos, the store from extraction to the page."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import encode

import expotion.plugins
from expotion.cli.main import run
from expotion.features.encoders import EncodersFactory
from expotion.features.extract import extract_many
from expotion.features.job import extract, find_clips
from expotion.features.store import code_version, parse_entry

PLUGIN = """
import os
import numpy as np
from expotion.contracts import Encoder, EncoderSpec, Options, Overlay, TimedFeatures, hookimpl


class Bright(Encoder):
    def __init__(self, options):
        self.spec, self.options = SPEC, options

    def extract(self, clip):
        if clip.id == "deadly":
            os._exit(9)
        times_s = clip.video.frame_times_s
        mean = clip.video.frames_at(times_s).astype(np.float32).mean(axis=(1, 2)) * self.options.gain
        return TimedFeatures(mean, times_s, times_s < 1.0)

    def overlay(self, clip):
        return Overlay(
            "a square",
            boxes=np.array([[0.0, 0.1, 0.2, 0.5, 0.6], [1.0, *[np.nan] * 4]]),
            point_times_s=np.array([0.0, 1.0]),
            points=np.array([[[0.25, 0.5], [0.5, 0.5]], [[0.25, 0.75], [np.nan, np.nan]]], np.float32),
            lines=((0, 1),),
            events_s=np.array([0.5]),
            beats_s=np.array([0.4, 0.9, 1.4]),
        )


class BrightOptions(Options):
    gain: float = 1.0


SPEC = EncoderSpec("bright", "brightness", frozenset({"video"}), Bright, BrightOptions, lambda o: 3, lambda o: 10.0)


@hookimpl
def expotion_encoders():
    return [SPEC]
"""


def video(path: Path, seed: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in range(20):
            picture = np.full((32, 32, 3), (seed * 40 + i * 5) % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Three clips; a distribution with the encoder `bright` that other processes find, too."""
    site = tmp_path / "site"
    meta = site / "expotion_bright_x-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "expotion_bright_x.py").write_text(PLUGIN)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: expotion-bright-x\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[expotion.plugins]\nbright = expotion_bright_x\n")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{before}")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    importlib.invalidate_caches()
    sys.modules.pop("expotion_bright_x", None)
    code_version.cache_clear()
    expotion.plugins._discover_installed.cache_clear()
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed, name in enumerate(("one", "two", "three")):
        video(folder / f"{name}.mp4", seed)
    yield folder
    expotion.plugins._discover_installed.cache_clear()


def call(*arguments: object) -> int:
    return run(["features", *map(str, arguments)])


def test_extract_skips_what_is_there_and_reports_what_fails(clips, tmp_path, capsys):
    (clips / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "report.json"
    assert call("extract", clips, "--encoder", "bright", "--out", out) == 1
    text = capsys.readouterr().out
    assert "3 extracted, 0 skipped (in the store already), 1 failed" in text
    assert "bright covers 50%" in text
    report = json.loads(out.read_text())
    assert {c["clip"]: c["failed"] for c in report["clips"]} == {
        "broken": True,
        "one": False,
        "two": False,
        "three": False,
    }
    assert "broken.mp4" in report["clips"][0]["outcomes"]["clip"]["error"]
    (clips / "broken.mp4").unlink()
    assert call("extract", clips, "--encoder", "bright") == 0
    assert "0 extracted, 3 skipped" in capsys.readouterr().out
    assert call("extract", clips, "--encoder", "bright", "--option", "gain=2.0") == 0
    assert "3 extracted, 0 skipped" in capsys.readouterr().out


def test_a_damaged_entry_is_extracted_again_and_said(clips, tmp_path, capsys):
    call("extract", clips, "--encoder", "bright")
    path = sorted((tmp_path / "cache" / "features").rglob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-9])
    capsys.readouterr()
    assert call("verify") == 1
    assert f"damaged: {path}" in capsys.readouterr().out
    assert call("extract", clips, "--encoder", "bright") == 0
    text = capsys.readouterr().out
    assert "1 extracted, 2 skipped" in text
    assert "computed again" in text
    assert call("verify") == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_give_the_same_and_outlive_a_deadly_clip(clips, tmp_path, monkeypatch, workers):
    monkeypatch.delenv("EXPOTION_WORKERS")
    video(clips / "deadly.mp4", 7)
    factory = EncodersFactory(encoder="bright")
    files = find_clips([clips])
    many = {r.clip: r for r in extract(files, factory, tmp_path / "many", workers=workers)}
    assert {name for name, report in many.items() if report.failed} == {"deadly"}
    assert "process died" in many["deadly"].outcomes["clip"].error
    safe = [file for file in files if file.id != "deadly"]
    assert not any(r.failed for r in extract(safe, factory, tmp_path / "one"))
    assert _rows(tmp_path / "many") == _rows(tmp_path / "one")


@pytest.mark.slow
def test_ray_gives_the_same(clips, tmp_path):
    factory = EncodersFactory(encoder="bright")
    files = find_clips([clips])
    over = {r.clip: r for r in extract(files, factory, tmp_path / "ray", workers=1, ray="local")}
    assert over.keys() == {"one", "two", "three"}
    assert not any(report.failed for report in over.values())
    list(extract(files, factory, tmp_path / "one"))
    assert _rows(tmp_path / "ray") == _rows(tmp_path / "one")


def _rows(folder: Path) -> dict[str, bytes]:
    return {
        path.name: parse_entry(path.read_bytes(), path.name)[0].values.tobytes()
        for path in folder.rglob("*.safetensors")
    }


def test_ray_at_no_address_is_one_clear_error(clips, capsys):
    assert call("extract", clips, "--encoder", "bright", "--ray", "127.0.0.1:1") == 1
    assert "--ray 127.0.0.1:1: a Ray cluster that answers" in capsys.readouterr().err


def test_list_prune_export_import(clips, tmp_path, capsys):
    call("extract", clips, "--encoder", "bright")
    capsys.readouterr()
    assert call("list", "--clip", "two", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["clip"], line["distribution"], line["shape"]) == ("two", "expotion-bright-x==1.0", [20, 3])
    assert call("list") == 0
    assert "3 entries" in capsys.readouterr().out
    assert call("export", tmp_path / "f.tar") == 0
    assert call("import", tmp_path / "f.tar", "--store", tmp_path / "other") == 0
    assert "3 new, 0 there already, 0 refused" in capsys.readouterr().out
    assert call("prune", "--stale", "--dry-run") == 0
    assert "0 of 3 entries" in capsys.readouterr().out
    (tmp_path / "site" / "expotion_bright_x.py").write_text(PLUGIN + "# changed\n")
    code_version.cache_clear()
    assert call("prune", "--stale") == 0
    text = capsys.readouterr().out
    assert "of other code than bright has now" in text
    assert "3 of 3 entries" in text
    assert call("list") == 0
    assert "0 entries" in capsys.readouterr().out


def test_imported_features_are_what_a_recipe_gets(clips, tmp_path, capsys):
    pt = tmp_path / "pt"
    pt.mkdir()
    torch.save(torch.full((10, 4), 3.0), pt / "one.pt")
    torch.save(torch.full((10, 4), 4.0), pt / "two.pt")
    torch.save(torch.zeros(90, 4), pt / "three.pt")
    names = [f"a/{name}.pt|x.npy|{{'caption': 'c'}}" for name in ("one", "two", "three", "four")]
    (tmp_path / "list.txt").write_text("\n".join(names))
    given = ["--clips", clips, "--list", tmp_path / "list.txt", "--encoder", "flow", "--rate", "5"]
    assert call("import", pt, *given) == 1
    text = capsys.readouterr().out
    assert "2 imported, 2 refused" in text
    assert "options: {features: flow, width: 4, rate_hz: 5}" in text
    options = {"features": "flow", "width": 4, "rate_hz": 5.0}
    factory = EncodersFactory(encoder="precomputed", options=options)
    found = extract_many(factory(), [file.open() for file in find_clips([clips / "one.mp4", clips / "two.mp4"])])
    assert found.features["one"]["precomputed"].values.tolist() == [[3.0] * 4] * 10
    assert found.features["two"]["precomputed"].values.max() == 4.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["extract", "{clips}", "--recipe", "face", "--encoder", "bright"], "either --recipe or --encoder"),
        (["extract", "{clips}/none", "--encoder", "bright"], "nothing there"),
        (["extract", "{clips}", "--encoder", "brigth"], "bright"),
        (["extract", "{clips}", "--encoder", "bright", "--option", "gian=1"], "did you mean 'gain'?"),
        (["prune"], "one of --older-than"),
        (["import", "{clips}"], "an export"),
        (["import", "{clips}/one.mp4", "--clip", "{clips}/one.mp4", "--encoder", "x", "--rate", "5"], "torch.save"),
        (["import", "{clips}", "--encoder", "x", "--rate", "5"], "--clips DIR"),
        (["export", "{clips}/x.tar"], "at least one entry"),
    ],
)
def test_wrong_input_is_one_clear_error(clips, capsys, arguments, told):
    assert call(*(a.format(clips=clips) for a in arguments)) in (1, 2)
    assert told in capsys.readouterr().err


def test_the_page_stands_alone(clips, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert call("show", clips / "one.mp4", "--encoder", "bright", "--out", out) == 0
    assert "bright: " in capsys.readouterr().out
    html = out.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]+", html)
    assert re.search(r"10 of 20 of its own rows are left out", html.replace("\n", " "))
    assert "Nothing steers the music at 1" in html
    data = json.loads(re.search(r"const DATA = (\{.*?\});\"use strict\"", html).group(1))
    assert data["overlays"][0]["boxes"] == [[0.0, 0.1, 0.2, 0.5, 0.6], [1.0, None, None, None, None]]
    drawn = data["overlays"][0]
    assert drawn["points"] == [[250, 500, 500, 500], [250, 750, -1, -1]] and drawn["lines"] == [[0, 1]]
    assert (drawn["events"], drawn["beats"]) == ([0.5], [0.4, 0.9, 1.4])
    assert html.count('class="map"') == 3 and "accents of the movement" in html and "are its beats" in html
    assert "M250 100V80" in html and "M200 20V0M450 20V0M700 20V0" in html


def test_the_page_of_a_file_without_a_picture(clips, tmp_path, capsys):
    (clips / "noise.mp4").write_bytes(b"noise")
    assert call("show", clips / "noise.mp4", "--encoder", "bright", "--out", tmp_path / "no.html") == 1
    assert "noise.mp4" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()


def test_the_page_of_a_clip_shows_the_encoders_of_the_shipped_adaptor(tmp_path, monkeypatch, capsys):
    clip = encode(tmp_path / "CLIP.mp4", n=12)
    monkeypatch.chdir(tmp_path)
    assert run(["features", "show", clip.name, "--store", str(tmp_path / "store")]) == 0
    told = capsys.readouterr().out
    assert "Page: CLIP.features.html" in told
    page = (tmp_path / "CLIP.features.html").read_text()
    assert "face" in page and "motion" in page
