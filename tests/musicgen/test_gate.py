"""A prefix of one layer, small enough to work by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from expotion.musicgen.gate import GateInput, Prefix, add_gated, gate_input, row_selection


def prefix(n_rows: int, *batch_rows: int, row_limit: int | None = None, first: float = 0.0) -> Prefix:
    """Row r of each clip has the query, key and value first + r; one layer, one head, one dimension."""
    rows = (first + torch.arange(float(n_rows))).expand(len(batch_rows), 1, n_rows)[..., None]
    return Prefix(
        first_layer=0,
        q=(rows,),
        k=(rows,),
        v=(rows,),
        gates=(torch.tensor(2.0),),
        active=None,
        rows=torch.tensor(batch_rows),
        row_limit=n_rows if row_limit is None else row_limit,
    )


def test_added_rows_are_padding_and_positions_behind_the_end_use_the_last_row() -> None:
    short = prefix(3, 0)
    assert (short.n_clips, short.n_rows, short.mask) == (1, 3, None)
    padded = short.padded(5)
    assert padded.n_rows == padded.row_limit == 5
    assert padded.q[0].flatten().tolist() == [0, 1, 2, 2, 2]
    assert padded.k[0].flatten().tolist() == padded.v[0].flatten().tolist() == [0, 1, 2, 0, 0]
    assert padded.mask is not None
    assert padded.mask.tolist() == [[[[True, True, True, False, False]]]]
    again = padded.padded(6)
    assert again.q[0].flatten().tolist() == [0, 1, 2, 2, 2, 2]
    assert again.mask is not None
    assert again.mask.flatten().tolist() == [True] * 3 + [False] * 3


def test_a_joined_prefix_names_all_rows_and_silences_only_who_was_silent() -> None:
    silent = prefix(2, 1)
    both = prefix(3, 0, first=5.0).joined(Prefix(**vars(silent) | {"active": torch.tensor([[True, False]])}))
    assert both.rows is not None
    assert both.rows.tolist() == [0, 1]
    assert (both.n_clips, both.n_rows, both.row_limit) == (2, 3, 3)
    assert both.active is not None
    assert both.active.tolist() == [[True, True, True], [True, False, False]]
    assert both.lengths is not None
    assert both.lengths.tolist() == [3, 2]
    assert both.k[0].squeeze().tolist() == [[5, 6, 7], [0, 1, 0]]
    alike = prefix(2, 0).joined(prefix(2, 1))
    assert (alike.active, alike.lengths) == (None, None)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [([2, 3, 4], slice(2, 5)), ([7], slice(7, 8)), ([2, 4], None), ([3, 2], None), ([1, 1, 3], None), ([], None)],
)
def test_a_run_of_rows_is_a_slice(rows: list[int], wanted: slice | None) -> None:
    given = torch.tensor(rows, dtype=torch.int64)
    found = row_selection(given)
    assert found == wanted if wanted else found is given


@pytest.mark.parametrize("rows", [slice(1, 2), torch.tensor([1]), None])
@pytest.mark.parametrize("in_place", [True, False])
def test_the_gated_term_is_added_to_its_rows(rows: slice | Tensor | None, in_place: bool) -> None:
    """One key: attention gives its value, 3, and the gate 2 makes it 6."""
    attended, query = torch.ones(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
    n = 3 if rows is None else 1
    one = torch.full((n, 1, 1, 1), 3.0)
    found = add_gated(attended, query, GateInput(one, one, one, torch.tensor(2.0), rows), in_place=in_place)
    assert found.flatten().tolist() == ([7, 7, 7] if rows is None else [1, 7, 1])


def test_positions_behind_the_limit_use_the_row_before_it() -> None:
    given = prefix(4, 0, row_limit=3)
    assert gate_input(given, 0, 2, None).q.flatten().tolist() == [0, 1]
    assert gate_input(given, 0, 5, None).q.flatten().tolist() == [0, 1, 2, 2, 2]
    partly = Prefix(**vars(given) | {"active": torch.tensor([[True, False, True, True]])})
    gate = gate_input(partly, 0, 4, None).gate
    assert gate is not None
    assert gate.flatten().tolist() == [2, 0, 2, 2]
