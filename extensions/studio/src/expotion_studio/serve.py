"""The studio from its start to Ctrl-C: folder, token, certificate, page."""

from __future__ import annotations

import contextlib
import secrets
import socket
import sys
import threading
import webbrowser
from pathlib import Path

from rich.console import Console

from expotion.errors import ExpotionError
from expotion.lock import held
from expotion.music.targets import unwritable
from expotion_studio.adaptors import Adaptors
from expotion_studio.app import JOBS, access, studio
from expotion_studio.record import drop_half_written
from expotion_studio.sessions import unwritten
from expotion_studio.shelf import Shelf
from expotion_web.certificate import given_certificate, own_certificate
from expotion_web.guard import Guard
from expotion_web.jobs import Jobs
from expotion_web.server import LOCAL, PageServer

EVERYWHERE = ("0.0.0.0", "::")
SWITCH_S = 0.0005


def serve(
    folder: Path,
    host: str,
    port: int,
    names: list[str],
    cert: Path | None,
    adaptors: list[Path],
    *,
    browser: bool,
    console: Console,
) -> None:
    """Serve until Ctrl-C. Raises ExpotionError with what is wrong before anything is opened."""
    from expotion.music.steering import find_adaptor
    from expotion.plugins import discover

    problems = unwritable([folder])
    for each in adaptors:
        try:
            find_adaptor(each, discover(), None)
        except ExpotionError as error:
            problems += error.problems
    if problems:
        raise ExpotionError(problems)
    shelf, local = Shelf(folder.absolute()), host in LOCAL
    called = [*names, *([] if host in EVERYWHERE else [host]), *(here() if host in EVERYWHERE else [])]
    certificate = given_certificate(cert) if cert is not None else None
    if certificate is None and not local:
        certificate = own_certificate(shelf.root / "certificate", [*LOCAL, *called])
    token = None if local else secrets.token_urlsafe(24)
    hosts = frozenset(name.lower() for name in (*LOCAL, *called))
    # The loop that carries a session's frames and sound waits for the interpreter behind every busy thread of the
    # others' calls, 5 ms each by default.
    sys.setswitchinterval(SWITCH_S)
    drop_half_written(shelf)
    with held(shelf.root), Jobs(shelf.jobs, JOBS) as jobs:
        unwritten(shelf, jobs)
        guarded = Guard(studio(shelf, jobs, Adaptors(shelf.root / "runs", adaptors)), access(hosts, token))
        with PageServer(guarded, host, port, certificate, jobs.hang_up) as server:
            address = server.address
            if host in EVERYWHERE:
                address = address.replace(host, called[0] if called else socket.gethostname(), 1)
            if token is not None:
                console.print("Whoever has this address may use the studio. It is printed once:")
                address += f"?token={token}"
            console.print(f"Studio: {address}", markup=False)
            if certificate is not None and cert is None:
                console.print("Its certificate was made here: the browser asks once whether to trust it.")
            console.print(f"Everything stays in {shelf.root}. Ctrl-C ends it.", markup=False)
            if browser and local:
                threading.Timer(0.5, webbrowser.open, [address]).start()
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.print("\nWhat was being made goes on at the next start.")


def here() -> list[str]:
    """Names and addresses that other machines may call this one by."""
    name = socket.gethostname()
    found = {name, f"{name}.local"}
    with contextlib.suppress(OSError):  # nobody may resolve its name
        found |= {str(each[4][0]) for each in socket.getaddrinfo(name, None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address would be used
        found.add(str(probe.getsockname()[0]))
    return sorted(found - {*LOCAL}, key=lambda each: not each[0].isdigit())
