"""A process that is talked to: words and bytes in both directions, its end and that of the server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from expotion_web.talk import Talking

ECHO = """
import os, sys
from expotion_web.talk import Wire
wire = Wire.own()
print("noise")
wire.say({"pid": os.getpid()})
for message in wire.heard():
    if message == {"die": True}:
        os._exit(3)
    if message == {"sleep": True}:
        import time
        time.sleep(60)
    wire.say(message[::-1] if isinstance(message, bytes) else message)
wire.say({"end": True})
"""


def _talk(tmp_path: Path, said: list[Any], *, patience_s: float = 10.0) -> tuple[list[Any], int]:
    async def talk() -> tuple[list[Any], int]:
        process = await Talking.begin([sys.executable, "-c", ECHO], tmp_path / "log.txt", {"X": "1"})
        heard = [await process.heard()]
        for message in said:
            process.say(message)
            if message not in ({"die": True}, {"sleep": True}):
                heard.append(await process.heard())
        process.end()
        process.say({"late": True})  # nobody is there for it, which is no fault
        code = await process.ended(patience_s)
        heard.append(await process.heard())
        return heard, code

    return asyncio.run(talk())


def test_words_and_bytes_go_both_ways_apart_from_what_is_printed(tmp_path: Path) -> None:
    large = bytes(range(256)) * 2000
    heard, code = _talk(tmp_path, [{"say": "ümlaut"}, b"", large])
    assert heard[1:] == [{"say": "ümlaut"}, b"", large[::-1], {"end": True}]
    assert code == 0 and (tmp_path / "log.txt").read_text() == "noise\n"


@pytest.mark.parametrize(("how", "code"), [("die", 3), ("sleep", -9)])
def test_a_process_that_dies_or_does_not_end(tmp_path: Path, how: str, code: int) -> None:
    heard, found = _talk(tmp_path, [{how: True}], patience_s=10.0 if how == "die" else 0.2)
    assert heard[-1] is None and found == code
