"""Extraction over a cluster with Ray Data: actors that build the encoders once and write to the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from expotion.features.processes import one_thread
from expotion.features.store import FeatureStore
from expotion.pipeline.cluster import connect
from expotion.pipeline.features.clips import ClipFile
from expotion.pipeline.features.job import ClipReport, EncodersFactory, Outcome, extract_one, failed_clip

TRIES = 2
"""How often a clip is given to an actor; one that kills each of them is reported."""
LOCAL_STORE_BYTES = 100_000_000
"""Shared memory of a Ray that is started here: only names and reports travel."""


class Extractor:
    """An actor: encoders once, then clips. Batches hold `id` and `path`, and come back as reports in JSON."""

    def __init__(self, factory: EncodersFactory, store_folder: str) -> None:
        self.encoders = factory()
        self.store = FeatureStore(store_folder)
        one_thread()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Extract the clips of a batch."""
        files = [ClipFile(str(i), str(p)) for i, p in zip(batch["id"], batch["path"], strict=True)]
        return {"report": [json.dumps(extract_one(self.store, self.encoders, f).to_json()) for f in files]}


def extract_over_ray(
    files: Sequence[ClipFile], factory: EncodersFactory, store_folder: Path, *, address: str, workers: int
) -> Iterator[ClipReport]:
    """Reports as they come. `address` is 'local' (starts one here), 'auto', HOST:PORT or ray://HOST:PORT.

    Clips and the store must lie at the same paths on every machine. A clip whose actor dies is tried again on
    another one, TRIES times in all, and then reported. Raises ExpotionError where Ray is not installed or nothing
    answers at the address.
    """
    ray = connect(address, cpus=max(1, workers) + 1, store_bytes=LOCAL_STORE_BYTES)
    from ray import data  # noqa: PLC0415

    context = data.DataContext.get_current()
    context.max_errored_blocks = -1  # a clip that is lost with its actor does not end the job
    context.enable_progress_bars = False
    rows = [{"id": file.id, "path": file.path} for file in files]
    missing = {file.id: file for file in files}
    try:
        mapped = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Extractor,
            fn_constructor_args=(factory, str(store_folder.resolve())),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=max(1, workers)),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )
        for row in mapped.iter_rows():
            report = _report(json.loads(row["report"]))
            if missing.pop(report.clip, None) is not None:
                yield report
    except ray.exceptions.RayError as error:
        reason = f"the Ray job ended ({type(error).__name__}: {str(error).strip().splitlines()[-1]})"
    else:
        reason = f"its process died {TRIES} times; it may have run out of memory"
    finally:
        if address == "local":
            ray.shutdown()
    for file in missing.values():
        yield failed_clip(file, reason)


def _report(plain: dict[str, Any]) -> ClipReport:
    outcomes = {name: Outcome(**outcome) for name, outcome in plain.pop("outcomes").items()}
    return ClipReport(outcomes=outcomes, **plain)
