"""Numbers and pages about a manifest: statistics, findings, the overview with players."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expotion.manifest.rows import Row, write_manifest
from expotion_corpus.examine import Settings
from expotion_corpus.overview import CorpusClip, CorpusPage, histogram_of, render_corpus, write_overview
from expotion_corpus.prepare import prepare
from expotion_corpus.stats import findings, stats, summary

MakeRow = Callable[..., Row]


def test_summaries_leave_out_what_is_not_known() -> None:
    assert summary([None, None]) is None
    assert summary([1.0, None, 3.0]) == {"count": 2, "least": 1.0, "median": 2.0, "mean": 2.0, "most": 3.0}
    assert summary([1.0, 3.0], total=True) == {**(summary([1.0, 3.0]) or {}), "sum": 4.0}


def test_statistics_of_rows(row: MakeRow) -> None:
    rows = [
        row("a", split="train", loudness_lufs=-20, caption="two words", fps=25, width=4, height=3, song="s"),
        row("b", split="test", path="a.mp4", file_sha256="61".ljust(64, "0")),
    ]
    numbers = stats(rows, lambda one: 120.0 if one.id == "a" else None)
    assert (numbers["clips"], numbers["files"], numbers["splits"]) == (2, 1, {"train": 1, "test": 1})
    assert numbers["duration_s"]["sum"] == 20.0
    assert numbers["caption_words"]["count"] == 1
    assert numbers["tempo_bpm"]["median"] == 120.0
    assert numbers["known"] == {"song": 1, "performer": 0, "recording": 0}


def test_findings_name_what_to_look_at(tmp_path: Path, row: MakeRow) -> None:
    rows = [
        row("fine", caption="c", loudness_lufs=-18, silent_fraction=0.0, picture_change=9, fps=25),
        row("bad", silent_fraction=0.5, clipped_fraction=0.02, loudness_lufs=-50, picture_change=0.1, fps=8),
        row("short", caption="c", duration_s=4, sample_rate_hz=16_000, loudness_lufs=-5),
        row("same", caption="c", sound="s"),
        row("same2", caption="c", sound="s"),
    ]
    write_manifest(tmp_path / "m.jsonl", rows, {"settings": {"clip_s": 10.0}})
    fine, bad, short, same, _ = ([one.text for one in several] for several in findings(rows, tmp_path / "m.jsonl"))
    assert fine == []
    assert bad == [
        "the picture stands still",
        "50% silent",
        "2.0% of the samples are clipped",
        "quiet: -50 LUFS",
        "8 frames per second",
        "no caption",
    ]
    assert short == [
        "loud: -5 LUFS",
        "sound at 16 kHz: nothing above 8 kHz",
        "short: 4.0 of 10 s, the rest is masked",
    ]
    assert same == ["2 files have this sound"]


def test_a_histogram_counts_every_value_once() -> None:
    values = {"train": [1.0, 2.0, 2.0, 9.0], "test": [2.0]}
    view = histogram_of("Length", "s", values)
    assert view is not None
    counts = {name: sum(int(bar.told.split()[0]) for bar in view.bars if bar.split == name) for name in values}
    assert counts == {"train": 4, "test": 1}
    assert view.most == 3
    at_two = [bar for bar in view.bars if bar.told.split(", ")[1].startswith("1.8")]
    assert sum(bar.height for bar in at_two) == pytest.approx(100)
    assert min(bar.y for bar in view.bars) >= -1e-9
    assert histogram_of("Length", "s", {"train": []}) is None
    assert histogram_of("Length", "s", {"train": [3.0, 3.0]}) is not None


def test_words_on_the_page_are_escaped_and_nothing_is_fetched() -> None:
    clip = CorpusClip("<b>id</b>", "train", caption="<script>alert(1)</script>", problems=("5 < 6",))
    page = CorpusPage("a & b", {"clips": "1"}, {"train": (1, 1.0)}, [], [clip], dropped=[("<i>", "why")])
    html = render_corpus(page)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "a &amp; b" in html
    assert not re.search(r"(src|href)=[\"']?https?:", html)


@pytest.fixture
def corpus(tmp_path: Path, write: Callable[..., Path], examine_all: Any) -> Path:
    write(tmp_path / "my videos" / "a b.mp4", seed=1, seconds=5.0)
    write(tmp_path / "my videos" / "still.mp4", seed=2, seconds=3.0, still=True)
    (tmp_path / "my videos" / "junk.mp4").write_bytes(b"junk")
    settings = Settings(3.0, 3.0, 2.0)
    prepare(tmp_path / "my videos", tmp_path / "corpus", settings, examine_all(settings))
    return tmp_path / "corpus" / "manifest.jsonl"


def test_the_overview_links_to_stretches_of_the_files(corpus: Path) -> None:
    out = corpus.parent / "pages" / "overview.html"
    assert write_overview(corpus, out, embed=False, most=100) == []
    html = out.read_text()
    sources = re.findall(r'<video src="([^"]+)"', html)
    assert sources == [  # those with more to look at are first where the rest is equal
        "../../my%20videos/a%20b.mp4#t=0.000,3.000",
        "../../my%20videos/a%20b.mp4#t=3.000,5.000",
        "../../my%20videos/still.mp4",
    ]
    assert (out.parent / sources[2].replace("%20", " ")).resolve().is_file()
    assert html.count('poster="data:image/jpeg;base64,') == 3
    assert "the picture stands still" in html
    assert "junk.mp4" in html
    assert html.count('class="outline"') == 3


def test_the_overview_may_hold_copies_and_may_be_limited(corpus: Path) -> None:
    out = corpus.with_name("o.html")
    notes = write_overview(corpus, out, embed=True, most=1)
    assert notes == ["1 of 3 clips have players; --most raises that"]
    html = out.read_text()
    assert html.count('src="data:video/mp4;base64,') == 1
    assert "notice" in html
    assert json.loads((corpus.parent / "report.json").read_text())["clips"] == 3


def test_a_clip_that_no_longer_opens_is_a_note(corpus: Path) -> None:
    path = corpus.parent.parent / "my videos" / "still.mp4"
    path.write_bytes(path.read_bytes()[:-10])
    notes = write_overview(corpus, corpus.with_name("o.html"), embed=False, most=9)
    assert len(notes) == 1
    assert notes[0].startswith("still: no still")
