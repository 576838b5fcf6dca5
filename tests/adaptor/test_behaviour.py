from __future__ import annotations

import dataclasses

import pytest
import torch

from expotion.adaptor.adaptor import Adaptor, parameter_groups, trainable_names
from expotion.adaptor.config import AdaptorConfig, Modality, released_code
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.errors import ExpotionError
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.recipe.schema import Adaptor as Choices
from expotion.train.objective import codebook_loss


@pytest.fixture
def adaptor(config, make_adaptor):
    return make_adaptor(config)


def test_zero_gates_give_the_frozen_logits_bit_for_bit(lm, config, inputs, tokens, source):
    prefix = Adaptor(config, seed=1)(lm, inputs)
    assert prefix is not None
    assert torch.equal(lm(tokens, source, prefix), lm(tokens, source))


def test_the_trainable_names_are_these(adaptor):
    assert trainable_names(adaptor) == [
        "embedding.fusion",
        "embedding.position_scale",
        "embedding.start",
        "gates",
        "project.face.linear.weight",
        "project.face.null",
        "project.motion.linear.weight",
        "project.motion.null",
    ]
    groups = parameter_groups(adaptor)
    assert {name: len(group) for name, group in groups.items()} == {"project": 5, "gates": 1, "other": 2}


def test_gradients_reach_all_of_them_and_nothing_else(lm, adaptor, inputs, tokens, source):
    tracks = {
        "face": dataclasses.replace(inputs["face"], keep=0.5),
        "motion": dataclasses.replace(inputs["motion"], keep=0.5),
    }
    hidden = lm.hidden(tokens, source, adaptor(lm, tracks))
    codebook_loss(lm, hidden, tokens[:, :, 1:].clamp(max=19)).backward()
    for name, parameter in adaptor.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name
    assert all(parameter.grad is None for parameter in lm.parameters())


def test_no_graph_below_the_first_adapted_layer(lm, adaptor, inputs, tokens, source):
    flags = []
    for index in range(3):
        lm.block(index).register_forward_hook(lambda _m, _i, out: flags.append(out.requires_grad))
    lm.hidden(tokens, source, adaptor(lm, inputs))
    assert flags == [False, True, True]


def test_zero_gates_give_gradients_to_the_gates_alone(lm, config, inputs, tokens, source):
    adaptor = Adaptor(config, seed=1)
    hidden = lm.hidden(tokens, source, adaptor(lm, inputs))
    codebook_loss(lm, hidden, tokens[:, :, 1:].clamp(max=19)).backward()
    for name, parameter in adaptor.named_parameters():
        moved = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert moved == (name == "gates"), name


@pytest.mark.parametrize("keep", [0.0, torch.zeros(3), torch.zeros(3, 9)])
def test_strength_zero_everywhere_is_the_frozen_model(lm, adaptor, inputs, keep):
    dropped = {name: dataclasses.replace(track, keep=keep) for name, track in inputs.items()}
    assert adaptor(lm, dropped) is None
    assert adaptor(lm, {}) is None
    invalid = {n: dataclasses.replace(t, valid=torch.zeros(3, 9, dtype=torch.bool)) for n, t in inputs.items()}
    assert guided_prefix(adaptor, lm, invalid) is None


def test_a_dropped_modality_needs_no_features(lm, adaptor, inputs, tokens, source):
    absent = adaptor(lm, {"face": inputs["face"]})
    nonsense = TrackInput(torch.full((3, 9, 5), 1e3), keep=0.0)
    dropped = adaptor(lm, {"face": inputs["face"], "motion": nonsense})
    full = adaptor(lm, inputs)
    assert torch.equal(lm(tokens, source, absent), lm(tokens, source, dropped))
    assert not torch.allclose(lm(tokens, source, absent), lm(tokens, source, full))


def test_strength_moves_from_null_to_full(adaptor, lm, inputs):
    """a = 0.5 is the middle of dropped and full in the latent; a = 1 is W f itself."""
    projector = adaptor.projector("face")
    projected = projector.projected(inputs["face"])
    latents = [projector.latent(projected, torch.full((3, 9), amount), 0, (3, 9)) for amount in (0.0, 0.5, 1.0)]
    assert torch.equal(latents[0], projector.null.expand(3, 9, -1))
    assert torch.equal(latents[2], projected)
    assert torch.allclose(latents[1], (latents[0] + latents[2]) / 2, atol=1e-6)


def test_the_gate_is_silent_on_rows_where_nothing_is_active(lm, adaptor, inputs, tokens, source):
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[:, 5:] = False
    tracks = {name: dataclasses.replace(track, valid=valid) for name, track in inputs.items()}
    prefix = adaptor(lm, tracks)
    assert torch.equal(prefix.active, valid)
    silent = dataclasses.replace(prefix, active=torch.zeros_like(valid))
    assert torch.equal(lm(tokens, source, silent), lm(tokens, source))
    # features on invalid rows do not matter
    changed = {n: TrackInput(t.values.masked_fill(~valid[:, :, None], 9.0), valid) for n, t in tracks.items()}
    assert torch.equal(lm(tokens, source, adaptor(lm, changed)), lm(tokens, source, prefix))


def test_clips_without_controls_are_untouched_in_a_mixed_batch(lm, adaptor, inputs, tokens, source):
    keep = torch.tensor([1.0, 0.0, 1.0])
    mixed = {name: dataclasses.replace(track, keep=keep) for name, track in inputs.items()}
    prefix = adaptor(lm, mixed)
    assert prefix.rows.tolist() == [0, 2] and prefix.n_clips == 2
    logits = lm(tokens, source, prefix)
    assert torch.equal(logits[1], lm(tokens, source)[1])
    everyone = lm(tokens, source, adaptor(lm, inputs))
    assert torch.allclose(logits[[0, 2]], everyone[[0, 2]], atol=1e-5)


def test_stepping_with_a_prefix_equals_the_whole_sequence(lm, adaptor, inputs, tokens, source):
    keep = torch.tensor([[1.0] * 9, [0.0] * 9, [1.0] * 4 + [0.0] * 5])
    tracks = {name: dataclasses.replace(track, keep=keep) for name, track in inputs.items()}
    prefix = adaptor(lm, tracks)
    whole = lm(tokens, source, prefix)
    engine = Engine(lm, "fp32")
    state = engine.start(source, 9, prefix)
    steps = [engine.step(tokens[:, :, index], state) for index in range(9)]
    assert (torch.stack(steps, dim=2) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("branch", ["none", "null_vectors", "full"])
def test_null_branches(lm, adaptor, inputs, source, branch):
    prefix = guided_prefix(adaptor, lm, inputs, null_branch=branch)
    assert prefix.rows.tolist() == ([0, 1, 2] if branch == "none" else [0, 1, 2, 3, 4, 5])
    tokens = torch.randint(0, 21, (6, 4, 9))
    both = torch.cat([source, torch.zeros_like(source)])
    logits = lm(tokens, both, prefix)
    frozen = lm(tokens, both)
    steered = lm(tokens[3:], both[3:], adaptor(lm, inputs))
    null_half = logits[3:]
    assert torch.equal(null_half, frozen[3:]) == (branch == "none")
    assert torch.allclose(null_half, steered, atol=1e-5) == (branch == "full")


def test_dropped_everything_generates_the_frozen_tokens(lm, adaptor, inputs, source):
    sampler, engine = Sampler(top_k=8), Engine(lm, "fp32")

    def generate(prefix):
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        return generate_codes(engine, source, 8, prefix=prefix, sampler=sampler, generators=generators)

    dropped = {name: dataclasses.replace(track, keep=0.0) for name, track in inputs.items()}
    frozen = generate(None)
    assert torch.equal(generate(guided_prefix(adaptor, lm, dropped)), frozen)
    assert not torch.equal(generate(guided_prefix(adaptor, lm, inputs)), frozen)


def test_positions_beyond_the_rows_use_the_last_one(lm, adaptor, inputs, source):
    tokens = torch.randint(0, 21, (3, 4, 12))
    prefix = adaptor(lm, inputs, for_generation=True)
    longer = dataclasses.replace(
        prefix, q=tuple(torch.cat([q, q[:, :, -1:].expand(-1, -1, 3, -1)], dim=2) for q in prefix.q), row_limit=12
    )
    assert torch.allclose(lm(tokens, source, prefix), lm(tokens, source, longer), atol=1e-6)


def test_released_preset_reuses_the_last_frame_row_in_generation(lm, make_adaptor, inputs):
    adaptor = make_adaptor(released_code(width=32, n_lm_layers=3, n_adapted=2, feature_width=6, rank=4, n_rows=9))
    tracks = {"features": TrackInput(inputs["face"].values)}
    assert adaptor(lm, tracks).row_limit == 9
    assert adaptor(lm, tracks, for_generation=True).row_limit == 8
    assert adaptor(lm, tracks, for_generation=True, row_limit=5).row_limit == 5
    silent = {"features": dataclasses.replace(tracks["features"], keep=0.0)}
    assert adaptor(lm, silent) is not None  # the released code never leaves the prefix out


def paper(config):
    return AdaptorConfig(config.modalities, 32, 3, 2, max_rows=9, **Choices(preset="paper").choices())


def test_any_length_without_tables_and_a_clear_limit_with_them(lm, config, make_adaptor):
    long = {"face": TrackInput(torch.randn(1, 40, 6))}
    assert make_adaptor(config)(lm, long).k[0].shape[2] == 40
    bounded = paper(config)
    with pytest.raises(ExpotionError, match="at most 9 rows"):
        make_adaptor(bounded)(lm, long)


def test_bfloat16_model_with_a_float32_adaptor(lm, adaptor, inputs, tokens, source):
    exact = lm.hidden(tokens, source, adaptor(lm, inputs))
    rounded = lm.to(torch.bfloat16).hidden(tokens, source, adaptor(lm, inputs))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05
    codebook_loss(lm, rounded, tokens[:, :, 1:].clamp(max=19)).backward()
    assert adaptor.gates.grad.dtype == torch.float32


def test_the_same_seed_gives_the_same_adaptor_and_leaves_the_generator_alone(config):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second, third = Adaptor(config, seed=3), Adaptor(config, seed=3), Adaptor(config, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.embedding.fusion, second.embedding.fusion)
    assert not torch.equal(first.embedding.fusion, third.embedding.fusion)
    assert bool((first.gates == 0).all())


def test_encoders_may_bring_their_own_projection(lm, config, inputs):
    own = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    adaptor = Adaptor(config, {"face": own}, seed=0)
    assert "project.face.linear.2.bias" in trainable_names(adaptor)
    assert adaptor(lm, inputs) is not None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"fac": TrackInput(torch.zeros(1, 4, 6))}, "'fac'"),
        ({"face": TrackInput(torch.zeros(1, 4, 7))}, r"\[B, R, 6\]"),
        ({"face": TrackInput(torch.zeros(1, 4, 6), torch.ones(1, 3, dtype=torch.bool))}, "valid"),
        ({"face": TrackInput(torch.zeros(1, 4, 6)), "motion": TrackInput(torch.zeros(1, 5, 5))}, "one length"),
    ],
)
def test_inputs_that_do_not_fit(lm, adaptor, broken, words):
    with pytest.raises(ExpotionError, match=words):
        adaptor(lm, broken)


def test_a_model_with_another_number_of_layers(lm, make_adaptor, inputs):
    other = AdaptorConfig((Modality("face", 6), Modality("motion", 5)), 32, 4, 2)
    with pytest.raises(ExpotionError, match="4 layers"):
        make_adaptor(other)(lm, inputs)


def test_configurations_that_cannot_be():
    with pytest.raises(ExpotionError) as error:
        AdaptorConfig((Modality("a", 3), Modality("a", 3)), 32, 3, 5, positions="table", fusion="odd")
    assert len(error.value.problems) == 4
    with pytest.raises(ExpotionError):
        Modality("bad name", 0)
    with pytest.raises(ExpotionError, match="rank 3"):
        Modality("a", 3, 2, projection="identity")


def test_paper_preset_follows_the_papers_choices(config):
    preset = paper(config)
    assert (preset.prefix_attention, preset.prefix_block, preset.positions) == ("full", "attention", "fused")
    assert (preset.fusion, preset.start, preset.null_branch) == ("shared", "table", "full")
