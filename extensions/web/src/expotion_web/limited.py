"""Foreign files are opened in a process that may take so much memory and time, and no more."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from expotion.errors import ExpotionError, MediaError, Problem, in_short

MEMORY_BYTES, TIME_S = 6 << 30, 60
"""Address space, of which libraries reserve much and use little, and time on the clock and on the processor."""


def limited(function: str, *given: str, where: str, time_s: int = TIME_S, behind: bool = False) -> dict[str, Any]:
    """The plain values that `module:function` gives for texts, from a process of its own.

    `behind`: something plays, and it gets what that leaves of the processor. Raises MediaError with what it found
    wrong; one that breaks a limit, or breaks down, is named by `where`.
    """
    command = [
        sys.executable,
        "-m",
        "expotion_web.limited",
        str(time_s),
        "idle" if behind else "",
        function,
        *given,
    ]
    broken = MediaError(Problem(where, "a file that can be read", "one on which reading broke down", "convert it"))
    try:
        done = subprocess.run(command, capture_output=True, timeout=time_s, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        wanted, fix = f"a file that is read within {time_s} s", "give a shorter one"
        raise MediaError(Problem(where, wanted, "longer", fix)) from None
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise broken from None
    if "problems" in found:
        raise MediaError([Problem(**problem) for problem in found["problems"]])
    result: dict[str, Any] = found["result"]
    return result


def stand_back() -> None:
    """Take what others leave of the processor, and make way for them at once (Linux); elsewhere the least share."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def main() -> None:
    """Set the limits, call the function, write what it gives or what is wrong."""
    time_s, idle, called, *given = int(sys.argv[1]), bool(sys.argv[2]), *sys.argv[3:]
    if os.name == "posix":
        import resource

        if idle:
            stand_back()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, _, function = called.partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), function)(*given)}
    except ExpotionError as error:
        answer = {"problems": [vars(problem) for problem in error.problems]}
    except Exception as error:
        answer = {
            "problems": [vars(Problem(Path((*given, called)[0]).name, "a file that can be read", in_short(error)))]
        }
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
