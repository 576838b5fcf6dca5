"""No option, weight or clip ever reads what another wrote; processes may write at once."""

import multiprocessing

import errands
import numpy as np
from extraction import extract_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expotion.features.catalogue import verify
from expotion.features.store import FeatureStore

Options = st.fixed_dictionaries(
    {"gain": st.floats(0, 4, allow_nan=False), "fail_on": st.sampled_from(["", "x", "y"])}
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(Options, Options)
def test_changing_any_option_never_reads_an_old_feature(tmp_path, toy, clip, one, other):
    store = FeatureStore(tmp_path)
    extract_clip(toy(**one), clip("a"), store)
    second = toy(**other)
    found = store.load(clip("a"), second)
    if found is not None:  # only what these very options give
        np.testing.assert_array_equal(found.values, second.extract(clip("a")).values)
    same = one == other
    assert (store.key(clip("a"), toy(**one)) == store.key(clip("a"), second)) == same


def test_processes_that_write_one_key_leave_a_whole_entry(tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
    processes = [context.Process(target=errands.write_one_key, args=(tmp_path, n)) for n in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert [fault for _, fault in verify(FeatureStore(tmp_path))] == [None]
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1
