"""Every golden file of the repository agrees, and no array of it can go missing or change unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

from expotion_verify.golden import Golden
from expotion_verify.run import check_golden

KINDS = [
    "delay_pattern",
    "musicgen_lm",
    "encodec",
    "expotion_adaptor",
    "expotion_maskvariant",
    "expotion_train",
    "lr_schedule",
    "marlin",
    "marlin_postable",
    "synchformer",
    "raft_small",
    "raft_large",
    "expotion_data",
]


def test_every_kind_is_here(kinds):
    assert sorted(kinds) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_and_uses_every_array(kind, checked):
    golden, findings = checked(kind)
    assert [finding for finding in findings if not finding.passed] == []
    assert golden.used == set(golden.about["arrays"])
    assert any(finding.deviation is not None for finding in findings)


@pytest.mark.parametrize("kind", KINDS)
def test_each_result_is_noticed_beyond_its_tolerance(kind, checked):
    """The comparisons of the real run, repeated with the file's numbers moved by twice and by a tenth of it."""
    golden, _ = checked(kind)
    compared = [item for item in golden.comparisons if isinstance(item[2], str)]
    assert {item[2] for item in compared} >= {n for n in golden.arrays if n.startswith(("out/", "gen/"))} - {
        "gen/prompt"
    }
    for quantity, got, name, tolerance, relative in compared:
        stored = golden.arrays[name].astype(np.float64)
        known = np.flatnonzero(np.isfinite(stored.ravel()))
        for index in {known[0], known[-1]}:
            changed = stored.copy()
            scale = np.abs(stored[np.isfinite(stored)]).max() if relative else 1.0
            changed.ravel()[index] += 3.0 * tolerance * scale if tolerance else 1.0
            again = Golden(golden.path, golden.about, {name: changed})
            again.compare(quantity, got, name, tolerance, relative=relative)
            assert not again.findings[0].passed, f"{kind} {name}"
        again = Golden(golden.path, golden.about, {name: stored})
        again.compare(quantity, got, name, tolerance, relative=relative)
        assert again.findings[0].passed


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_that_is_gone_misshaped_or_of_another_type_fails(kind, read, registry):
    check = registry.offers("golden check")[kind].spec.build()
    for name in {next(iter(read(kind).arrays)), list(read(kind).arrays)[-1]}:
        gone, misshaped, retyped, stranger = (read(kind) for _ in range(4))
        del gone.arrays[name]
        misshaped.arrays[name] = misshaped.arrays[name][None]
        retyped.arrays[name] = retyped.arrays[name].astype(np.complex64)
        stranger.arrays["stranger"] = np.zeros(1)
        for golden, subject in ((gone, name), (misshaped, name), (retyped, name), (stranger, "stranger")):
            failed = [finding for finding in check_golden(golden, check) if not finding.passed]
            assert failed and failed[0].quantity == subject


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("musicgen_lm", "out/raw_logits"),
        ("musicgen_lm", "lm/out_norm.bias"),
        ("marlin", "enc/norm.weight"),
        ("synchformer", "vfeat/temp_embed"),
        ("delay_pattern", "case0/full_sequence"),
        ("lr_schedule", "lr"),
        ("marlin_postable", "table768"),
        ("expotion_data", "out/mix_1"),
        ("encodec", "out/quantized_latent"),
    ],
)
def test_an_array_that_the_json_forgets_too_fails(kind, name, read, registry):
    golden = read(kind)
    del golden.arrays[name], golden.about["arrays"][name]
    failed = [f for f in check_golden(golden, registry.offers("golden check")[kind].spec.build()) if not f.passed]
    assert len(failed) == 1 and name.rpartition("/")[2] in failed[0].note


def test_an_array_that_nothing_uses_fails(read, registry):
    golden = read("lr_schedule")
    golden.arrays["spare"] = np.zeros(2)
    golden.about["arrays"]["spare"] = {"shape": [2], "dtype": "float64"}
    failed = [
        f for f in check_golden(golden, registry.offers("golden check")["lr_schedule"].spec.build()) if not f.passed
    ]
    assert [(f.quantity, f.note) for f in failed] == [("spare", "no check uses this array")]


@pytest.mark.parametrize(
    ("kind", "name"), [("musicgen_lm", "lm/emb.0.weight"), ("marlin", "in/clip_u8"), ("lr_schedule", "lr")]
)
def test_changed_weights_and_inputs_show_in_the_results(kind, name, read, registry):
    golden = read(kind)
    golden.arrays[name] = (golden.arrays[name] * 0.5).astype(golden.arrays[name].dtype)
    assert not all(f.passed for f in check_golden(golden, registry.offers("golden check")[kind].spec.build()))


def test_contradictions_are_failures_not_tracebacks(read, registry):
    golden = read("musicgen_lm")
    golden.about["config"]["heads"] = 5
    findings = check_golden(golden, registry.offers("golden check")["musicgen_lm"].spec.build())
    assert not findings[-1].passed and "divisible by the number of heads" in findings[-1].note
    golden = read("lr_schedule")
    del golden.about["num_steps"]
    findings = check_golden(golden, registry.offers("golden check")["lr_schedule"].spec.build())
    assert not findings[-1].passed and "num_steps" in findings[-1].note
