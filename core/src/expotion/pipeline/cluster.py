"""Ray: started here or joined where somebody runs it, with a clear word where nothing answers."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from expotion.errors import ExpotionError, Problem

CONNECT_S = 10.0
JOIN_S = 60.0
"""How long joining a cluster may take once its port has answered."""


def connect(address: str, *, cpus: int, store_bytes: int) -> Any:
    """The module `ray`, connected. `address` is 'local' (starts one here), 'auto', HOST:PORT or ray://HOST:PORT.

    `cpus` and `store_bytes` (shared memory) size a Ray that is started here. Raises ExpotionError where Ray is not
    installed or nothing answers in time.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # the workers run this environment as it is
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    try:
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
        import ray.train  # noqa: PLC0415
    except ImportError as error:
        fix = "pip install 'expotion[ray]'"
        raise ExpotionError(
            Problem("--ray", "Ray with its data and train libraries", str(error), fix)
        ) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    if address == "local":
        ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=store_bytes, **quiet)
        return ray
    where = f"--ray {address}"
    fix = "give HOST:PORT of a running cluster (`ray start --head` prints it), or local"
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=CONNECT_S):
                pass
        except (OSError, ValueError, OverflowError) as error:
            raise ExpotionError(Problem(where, "a Ray cluster that answers", str(error), fix)) from error
    failure = _join(ray, address, quiet)
    if failure is not None:
        raise ExpotionError(Problem(where, "a Ray cluster that answers", failure, fix))
    return ray


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> str | None:
    """Join a cluster; None, or what went wrong. Something that is no Ray may hold the port and never answer."""
    failures: list[str] = []

    def join() -> None:
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # whatever a foreign service makes of it
            failures.append((str(error).strip() or type(error).__name__).splitlines()[0])

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_S)
    if thread.is_alive():
        return f"nothing in {JOIN_S:.0f} s"
    return failures[0] if failures else None
