from __future__ import annotations

import pytest

from expotion.errors import WeightsError
from expotion_hub.pull import Interrupted, fetch


def test_whole_file_with_progress(server, tmp_path):
    seen = []
    digest = fetch(
        server.address, tmp_path / "a" / "w.pt", sha256=server.sha256, progress=lambda *n: seen.append(n)
    )
    assert digest == server.sha256
    assert (tmp_path / "a" / "w.pt").read_bytes() == server.data
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["w.pt"]
    assert seen[-1] == (len(server.data), len(server.data))


def test_a_broken_connection_is_resumed_at_once(server, tmp_path):
    server.breaks = 2
    fetch(server.address, tmp_path / "w.pt", pause_s=0.0)
    assert (tmp_path / "w.pt").read_bytes() == server.data
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_an_interrupted_download_goes_on_in_the_next_call(server, tmp_path):
    server.breaks = 1
    with pytest.raises(Interrupted, match="300000 of 1024000"):
        fetch(server.address, tmp_path / "w.pt", attempts=1)
    assert not (tmp_path / "w.pt").exists()
    assert (tmp_path / "w.pt.part").stat().st_size == 300_000
    assert fetch(server.address, tmp_path / "w.pt", sha256=server.sha256[:8]) == server.sha256
    assert server.ranges[-1] == "bytes=300000-"


def test_two_versions_are_never_mixed(server, tmp_path):
    server.breaks = 1
    with pytest.raises(Interrupted):
        fetch(server.address, tmp_path / "w.pt", attempts=1)
    server.data, server.tag = server.data[::-1], '"two"'
    assert fetch(server.address, tmp_path / "w.pt") == server.sha256


def test_a_server_that_does_not_resume_starts_again(server, tmp_path):
    server.breaks, server.resumes = 1, False
    assert fetch(server.address, tmp_path / "w.pt", pause_s=0.0) == server.sha256


def test_a_part_that_is_longer_than_the_file_starts_again(server, tmp_path):
    server.breaks = 1
    with pytest.raises(Interrupted):
        fetch(server.address, tmp_path / "w.pt", attempts=1)
    server.data = server.data[:1000]
    assert fetch(server.address, tmp_path / "w.pt", pause_s=0.0) == server.sha256


def test_a_wrong_hash_is_refused_and_nothing_stays(server, tmp_path):
    with pytest.raises(WeightsError, match="SHA-256"):
        fetch(server.address, tmp_path / "w.pt", sha256="00" * 32)
    assert not (tmp_path / "w.pt").exists() and not (tmp_path / "w.pt.part").exists()


def test_a_file_that_is_not_there_is_said_at_once(server, tmp_path):
    server.status = 404
    with pytest.raises(WeightsError, match="404"):
        fetch(server.address, tmp_path / "w.pt", pause_s=0.0)
    assert len(server.ranges) == 1
    server.status = 503
    with pytest.raises(Interrupted, match="503"):
        fetch(server.address, tmp_path / "w.pt", attempts=2, pause_s=0.0)
    assert len(server.ranges) == 3


@pytest.mark.parametrize("url", ["http://example.org/w.pt", "file:///etc/hostname", "ftp://127.0.0.1/w"])
def test_only_https(tmp_path, url):
    with pytest.raises(WeightsError, match="https"):
        fetch(url, tmp_path / "w.pt")
