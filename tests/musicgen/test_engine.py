from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.errors import ExpotionError
from expotion.musicgen import gate
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.cuda import StaticStep
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.engine.text import FoldedText, KeyedText
from expotion.musicgen.engine.weights import int8_fits
from expotion.musicgen.generate import Sampler, generate_codes
from expotion_fast.engine import FusedEngine

MODES = ["fp32", "bf16", "fp16", "int8"]
PLAIN = [mode for mode in MODES if mode != "int8" or int8_fits(torch.device("cpu"))]  # oneDNN's saturates on AVX2
ENGINES = [pytest.param(Engine, mode, id=f"plain-{mode}") for mode in PLAIN] + [
    pytest.param(FusedEngine, mode, id=f"fused-{mode}") for mode in MODES if mode != "fp16"
]
CLOSE = {"fp32": 1e-5, "bf16": 0.03, "fp16": 0.01, "int8": 0.04}
"""Relative error of logits."""


def relative(got, wanted):
    return float((got.float() - wanted).detach().norm() / wanted.detach().norm())


def inputs_of(lm, batch, n_rows, valid=None):
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(batch, n_rows, 5, generator=generator)
    return {"motion": TrackInput(values, None, 1.0 if valid is None else valid)}


@pytest.fixture
def adaptor(small_lm):
    torch.manual_seed(2)
    sizes = small_lm.geometry
    made = Adaptor(AdaptorConfig((Modality("motion", d_in=5),), sizes.width, sizes.n_layers, 2), seed=0)
    made.gates.data.copy_(torch.tensor([0.7, -0.4]))
    return made


def run(model, sequence, source, prefix=None, mask=None, prompt=4):
    state = model.start(source, sequence.shape[2], prefix, source_mask=mask)
    seen = [model.step(sequence[:, :, :prompt], state)]
    seen += [model.step(sequence[:, :, index], state) for index in range(prompt, sequence.shape[2])]
    assert state.position == sequence.shape[2]
    return torch.stack(seen, dim=2).float()


@pytest.mark.parametrize(("kind", "mode"), ENGINES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [4, 12])
def test_logits_are_the_models(small_lm, kind, mode, batch, length):
    torch.manual_seed(1)
    sequence = torch.randint(0, 21, (batch, 4, 10))
    source = torch.randn(batch, length, 32)
    wanted = small_lm(sequence, source)[:, :, 3:]
    assert relative(run(kind(small_lm, mode), sequence, source), wanted) < CLOSE[mode]


def test_a_short_text_is_folded_and_a_long_one_is_not(small_lm):
    engine = Engine(small_lm, "fp32")
    short = engine.start(torch.randn(1, 4, 32), 5).text
    long = engine.start(torch.randn(1, 12, 32), 5).text
    assert isinstance(short.branches[0], FoldedText) and isinstance(long.branches[0], KeyedText)


def test_rows_without_a_text_cost_nothing_and_change_nothing(small_lm):
    torch.manual_seed(1)
    sequence = torch.randint(0, 21, (4, 4, 8))
    source = torch.zeros(4, 3, 32)
    source[0], source[2] = torch.randn(3, 32), torch.randn(3, 32)
    wanted = small_lm(sequence, source)[:, :, 3:]
    engine = Engine(small_lm, "fp32")
    assert relative(run(engine, sequence, source), wanted) < 1e-5
    state = engine.start(source, 8)
    assert state.text.branches[0].tensors()[0].shape[0] == 2
    assert engine.start(torch.zeros(2, 3, 32), 8).text.branches == []


@pytest.mark.parametrize("kind", [Engine, FusedEngine])
def test_padding_is_hidden_for_one_clip_and_for_several(small_lm, kind):
    torch.manual_seed(1)
    sequence = torch.randint(0, 21, (2, 4, 7))
    source = torch.randn(2, 6, 32)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    engine = kind(small_lm, "fp32")
    wanted = small_lm(sequence, source, source_mask=mask)[:, :, 3:]
    assert relative(run(engine, sequence, source, mask=mask), wanted) < 1e-5
    alone = run(engine, sequence[:1], source[:1], mask=mask[:1])
    assert relative(alone, wanted[:1]) < 1e-5


def test_branches_of_guidance_share_one_folded_text(small_lm):
    torch.manual_seed(1)
    text = torch.randn(1, 4, 32)
    source = torch.cat([text, text, torch.zeros_like(text)])
    sequence = torch.randint(0, 21, (3, 4, 7))
    engine = Engine(small_lm, "fp32")
    assert isinstance(engine.start(source, 7).text.branches[0], FoldedText)
    wanted = small_lm(sequence, source)[:, :, 3:]
    assert relative(run(engine, sequence, source), wanted) < 1e-5


@pytest.mark.parametrize(("kind", "mode"), ENGINES)
@pytest.mark.parametrize("kept", [None, "half", "one row"])
def test_the_prefix_is_the_models(small_lm, adaptor, kind, mode, kept):
    torch.manual_seed(1)
    keep = None
    if kept == "half":
        keep = torch.tensor([[1.0] * 6 + [0.0] * 5, [1.0] * 11])
    elif kept == "one row":
        keep = torch.tensor([0.0, 1.0])
    inputs = inputs_of(small_lm, 2, 11, keep)
    sequence = torch.randint(0, 21, (4, 4, 13))
    source = torch.cat([torch.randn(2, 4, 32), torch.zeros(2, 4, 32)])
    wanted = small_lm(sequence, source, guided_prefix(adaptor, small_lm, inputs))[:, :, 3:]
    engine = kind(small_lm, mode)
    got = run(engine, sequence, source, guided_prefix(adaptor, engine, inputs))
    assert relative(got, wanted) < 2 * CLOSE[mode]
    assert relative(small_lm(sequence, source)[:, :, 3:], wanted) > 0.05
    if kept == "one row":
        assert torch.equal(got[0], run(engine, sequence, source)[0])


@pytest.mark.parametrize(("kind", "mode"), ENGINES)
@pytest.mark.parametrize("frames_only", [False, True])
def test_a_shorter_prefix_of_a_batch_is_what_it_is_alone(small_lm, adaptor, kind, mode, frames_only):
    """Two clips of 7 and 11 rows under guidance: each gets the logits that it gets alone, also behind its end."""
    torch.manual_seed(1)
    engine = kind(small_lm, mode)
    sequence = torch.randint(0, 21, (2, 4, 13))
    source = torch.cat([torch.randn(2, 4, 32), torch.zeros(2, 4, 32)])
    tracks = inputs_of(small_lm, 2, 11)["motion"].values
    open_rows = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]])
    joined, alone = None, []
    for row, (n_rows, keep) in enumerate(((7, open_rows), (11, 1.0))):
        inputs = {"motion": TrackInput(tracks[row : row + 1, :n_rows], None, keep)}
        limit = n_rows - 1 if frames_only else n_rows
        prefix = guided_prefix(adaptor, engine, inputs, row_limit=limit)
        both = torch.tensor([row, row + 2])
        alone.append(run(engine, sequence[row].expand(2, -1, -1), source[both], prefix))
        placed = replace(prefix, rows=prefix.rows * 2 + row)
        joined = placed if joined is None else joined.joined(placed)
    got = run(engine, sequence.repeat(2, 1, 1), source, joined)
    close = 1e-5 if mode == "fp32" else CLOSE[mode] / 2
    for row in range(2):
        assert relative(got[[row, row + 2]], alone[row]) < close
    assert joined.lengths.tolist() == [7, 11]
    assert relative(run(engine, sequence.repeat(2, 1, 1), source, replace(joined, lengths=None)), got) > 1e-3


@pytest.mark.parametrize("kind", [Engine, FusedEngine])
@pytest.mark.parametrize("name", ["greedy", "prompted"])
def test_greedy_tokens_equal_audiocrafts(golden, golden_lm, kind, name):
    data = golden("musicgen_lm")
    seen: list[torch.Tensor] = []
    tokens = generate_codes(
        kind(golden_lm(data), "fp32"),
        data["in/cross_source"],
        data.about["config"]["gen_len"],
        cfg_scale=data.about["cfg_coef"],
        sampler=Sampler(greedy=True),
        prompt=data["gen/prompt"] if name == "prompted" else None,
        on_logits=seen.append,
    )
    assert torch.equal(tokens, data[f"gen/{name}_tokens"])
    assert (torch.stack(seen) - data[f"gen/{name}_cfg_logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("mode", [mode for mode in PLAIN if mode in ("fp32", "int8")])
@pytest.mark.parametrize("padding", [0, 4])
def test_static_steps_draw_the_tokens_of_plain_ones(small_lm, adaptor, mode, padding):
    engine = Engine(small_lm, mode)
    inputs = inputs_of(small_lm, 1, 9)
    source = torch.cat([torch.randn(1, 4, 32), torch.zeros(1, 4, 32)])
    drawn = []
    for static in (False, True):
        prefix = guided_prefix(adaptor, engine, inputs)
        state = engine.start(source, 12, prefix.padded(9 + padding) if padding else prefix)
        fixed = StaticStep(engine, state)
        tokens = torch.full((2, 4), 20)
        found = []
        for position in range(12):
            if static:
                fixed.place(tokens[:, :, None], position)
                logits = fixed.run()
            else:
                logits = engine.step(tokens, state)
            tokens = (3 * logits[:1] - 2 * logits[1:]).argmax(dim=-1).repeat(2, 1)
            found.append(tokens[0])
        drawn.append(torch.stack(found))
    assert torch.equal(*drawn)
    assert drawn[0].unique().numel() > 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_graphs_draw_the_tokens_of_eager_steps(small_lm, adaptor, mode):
    from expotion.musicgen.engine.step import Engine

    lm, steered = small_lm.cuda(), adaptor.cuda()
    inputs = {"motion": TrackInput(inputs_of(lm, 1, 9)["motion"].values.cuda(), None, 1.0)}
    source = torch.randn(1, 4, 32, device="cuda")
    drawn = []
    for engine in (Engine(lm, mode), prepare(lm, mode)):
        for _ in range(2):  # the second clip replays the first one's graph
            prefix = guided_prefix(steered, engine, inputs)
            drawn.append(generate_codes(engine, source, 9, prefix=prefix, sampler=Sampler(greedy=True)))
    assert all(torch.equal(codes, drawn[0]) for codes in drawn)


@pytest.mark.parametrize("kind", [Engine, FusedEngine])
def test_steps_that_do_not_fit_are_refused(small_lm, kind):
    engine = kind(small_lm, "fp32")
    state = engine.start(torch.randn(1, 3, 32), 4)
    engine.step(torch.zeros(1, 4, 4, dtype=torch.int64), state)
    with pytest.raises(ExpotionError, match="position 4 of 4"):
        engine.step(torch.zeros(1, 4, dtype=torch.int64), state)
    with pytest.raises(ExpotionError, match="n_positions"):
        engine.start(torch.randn(1, 3, 32), 0)


def test_the_model_that_an_engine_was_made_from_is_untouched(small_lm):
    before = {name: tensor.clone() for name, tensor in small_lm.state_dict().items()}
    prepare(small_lm, "int8")
    prepare(small_lm.to(torch.bfloat16), "int8")
    assert small_lm.text_projection.weight.dtype == torch.bfloat16
    assert all(torch.equal(t, before[n].to(t)) for n, t in small_lm.state_dict().items())


@pytest.mark.parametrize(("kind", "mode"), ENGINES)
@pytest.mark.parametrize("silent", [False, True])
def test_the_gate_is_one_definition(monkeypatch, small_lm, adaptor, kind, mode, silent):
    """Halved where it is defined, the model and every engine depart from what they were, together."""
    torch.manual_seed(1)
    inputs = inputs_of(small_lm, 1, 9, torch.tensor([[1.0] * 5 + [0.0] * 4]) if silent else None)
    sequence, source = torch.randint(0, 21, (1, 4, 9)), torch.randn(1, 4, 32)
    engine = kind(small_lm, mode)

    def both():
        prefix = adaptor.prefix(small_lm, inputs)
        whole = small_lm(sequence, source, prefix)[:, :, 3:]
        return whole, run(engine, sequence, source, adaptor.prefix(engine, inputs))

    model, stepped = both()
    monkeypatch.setattr(gate, "gated", lambda x, gate: x * gate / 2)
    other_model, other_stepped = both()
    assert relative(other_model, model) > 0.05
    assert relative(other_stepped, stepped.float()) > 0.05
