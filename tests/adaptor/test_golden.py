"""The released code's numbers, both classes: prefix, logits, loss, gradients, generations."""

from __future__ import annotations

import pytest
import torch

from expotion.adaptor.authors import adaptor_from_released
from expotion.adaptor.project import TrackInput
from expotion.musicgen import delay
from expotion.train.objective import codebook_loss


@pytest.fixture
def adaptor(golden):
    return adaptor_from_released(golden.under("adaptor/"), golden.config["layers"], "golden")


@pytest.fixture
def inputs(golden, adaptor):
    first = adaptor.config.modalities[0].name
    tracks = {first: TrackInput(golden["in/features"])}
    if "in/cond_mask" in golden.arrays.files:
        keep = (golden["in/cond_mask"] > 0).float()
        tracks["body"] = TrackInput(golden["in/body"], keep=keep[:, 0])
        tracks["vid"] = TrackInput(golden["in/vid"], keep=keep[:, 1])
    return tracks


@pytest.fixture
def source(golden):
    projected = golden.lm.project_text(golden["in/text_hidden"], golden["in/text_mask"])
    assert (projected - golden["in/cross_source"]).abs().max() < 1e-5
    return projected


def test_prefix_heads(golden, adaptor, inputs):
    prefix = adaptor(golden.lm, inputs)
    assert prefix.first_layer == golden.config["layers"] - golden.config["adapt_layers"]
    for index in range(golden.config["adapt_layers"]):
        for name, tensors in (("q", prefix.q), ("k", prefix.k), ("v", prefix.v)):
            assert (tensors[index] - golden[f"out/prefix_{name}_{index}"]).abs().max() < 1e-5


def test_logits_loss_and_gradients(golden, adaptor, inputs, source):
    sequence = delay.build(
        golden["in/codes"], golden.lm.geometry.special_token, golden.lm.geometry.delays, valid_only=True
    )
    hidden = golden.lm.hidden(sequence, source, adaptor(golden.lm, inputs))
    logits, mask = delay.revert_logits(
        golden.lm.logits(hidden), golden["in/codes"].shape[2], golden.lm.geometry.delays
    )
    assert torch.equal(mask.expand_as(golden["out/mask"]), golden["out/mask"])
    assert (logits - golden["out/logits"]).nan_to_num().abs().max() < 1e-4
    loss = codebook_loss(golden.lm, hidden, golden["in/codes"])
    assert (loss - golden["out/loss"]).abs() < 1e-5
    loss.backward()

    embedding = adaptor.embedding
    first = adaptor.config.modalities[0].name
    ours = {
        "gates": adaptor.gates.grad,
        "pos_emb": torch.cat([embedding.start.grad[None], embedding.position_table.grad]),
        "ld_proj.weight": adaptor.projector(first).linear.weight.grad,
        **{f"merge_linear.{i}.weight": grad for i, grad in enumerate(embedding.fusion.grad)},
    }
    if len(adaptor.config.modalities) > 1:
        ours["masked_embedding"] = torch.cat([adaptor.projector(n).null.grad for n in ("body", "vid")], dim=-1)
    wanted = golden.under("grad/")
    assert ours.keys() == wanted.keys()
    for name, gradient in ours.items():
        assert (gradient - wanted[name]).abs().max() / wanted[name].abs().max() < 1e-5
    norm = torch.stack([gradient.norm() for gradient in ours.values()]).norm()
    assert (norm - golden["out/grad_total_norm"]).abs() / norm < 1e-5
    assert not any(parameter.requires_grad for parameter in golden.lm.parameters())


def test_what_the_golden_numbers_can_tell_apart(golden, adaptor, inputs, source):
    """Negative controls: each departure from the released code misses by far more than the tolerance."""
    import dataclasses

    sequence = delay.build(
        golden["in/codes"], golden.lm.geometry.special_token, golden.lm.geometry.delays, valid_only=True
    )

    def deviation():
        logits = golden.lm(sequence, source, adaptor(golden.lm, inputs))
        return (delay.revert_logits(logits, 20, (0, 1, 2, 3))[0] - golden["out/logits"]).nan_to_num().abs().max()

    config = adaptor.config
    for change in ({"prefix_attention": "full"}, {"prefix_block": "attention"}):
        adaptor.config = dataclasses.replace(config, **change)
        assert deviation() > 1.0
    adaptor.config = config
    assert deviation() < 1e-4
