"""GPUs by name: the slower of arithmetic and memory counts, and a file adds others."""

from __future__ import annotations

from pathlib import Path

import pytest

from expotion.errors import ExpotionError
from expotion.machine.gpus import GPUS, Gpu, read_gpus


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    gpu = Gpu("one", tflops=100, gb_s=1000, memory_gb=10, fraction=0.5)
    assert gpu.seconds(1e14) == pytest.approx(2.0)
    assert gpu.seconds(1e13, 4e12) == pytest.approx(8.0)


def test_a_file_adds_to_the_table_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "H100: {tflops: 500, gb_s: 3000, memory_gb: 80, fraction: 0.4}\nB1: {tflops: 9, gb_s: 8, memory_gb: 7}"
    )
    table = {gpu.name: gpu for gpu in read_gpus(path)}
    assert set(table) == {*(gpu.name for gpu in GPUS), "B1"}
    assert (table["H100"].tflops, table["B1"].fraction) == (500, 0.35)


@pytest.mark.parametrize(
    "text", ["[1]", "A: 3", "A: {tflops: 1, gb_s: 1}", "A: {tflops: x, gb_s: 1, memory_gb: 1}", "A: {"]
)
def test_a_file_that_is_none_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ExpotionError, match=r"mine\.yaml"):
        read_gpus(path)
