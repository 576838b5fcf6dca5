"""The codec's training program: its parts against the library and by hand-worked cases, and an exact resume."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TRAIN = Path(__file__).parents[1] / "train"
NEIGHBOURS = [f"codec{part}" for part in ("", "_adversary", "_fast", "_loss", "_measures", "_quantise")]
NEIGHBOURS += ["common", "pool", "unpack_font"]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`codec.py` with its own neighbours, whatever of the same names other programs left behind."""
    for name in NEIGHBOURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(TRAIN))
    return importlib.import_module("codec")


def near(name: str) -> Any:
    return importlib.import_module(name)


@pytest.fixture
def pool(program: Any, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    times = np.arange(32_000) / 32_000
    tones = [np.sin(2 * np.pi * f * times) * 8000 + rng.normal(0, 100, 32_000) for f in (220.0, 330.0)]
    notes = np.array([(0, 0.0, 1.0, 57, 0), (1, 0.2, 0.6, 64, 0), (1, 0.0, 1.0, 38, 1)], np.float32)
    near("pool").write_shard(tmp_path / "pool", 0, np.stack(tones).astype(np.int16), notes)
    return tmp_path / "pool"


def arguments(program: Any, pool: Path, out: Path, *more: str) -> Any:
    small = "--filters 2 --width 4 --entries 8 --batch 2 --frames 16 --start-batches 2 --seed 3 --no-bf16"
    stages = "--continuous 1 --quantised 2 --decoder 2"
    return program.arguments([*f"--pool {pool} --out {out} {small} {stages}".split(), *more])


@pytest.mark.parametrize("seed", range(2))
def test_the_fast_codec_is_transformers_own(program: Any, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    codec = program.build_codec(2, 4, 2, 8)
    sound = torch.randn(2, 1, 640 * 5)
    fast = near("codec_fast").FastCodec(codec)

    def outcome(encode: Any, decode: Any) -> tuple[Any, Any, list[Any]]:
        codec.zero_grad()
        latent = encode(sound)
        heard = decode(latent * 30)
        heard.square().mean().mul(1e4).backward()
        return latent, heard, [p.grad.clone() for p in codec.parameters()]

    theirs = outcome(codec.encoder, codec.decoder)
    ours = outcome(lambda x: fast.encode(x).transpose(1, 2), lambda x: fast.decode(x.transpose(1, 2)))
    torch.testing.assert_close(ours[:2], theirs[:2], atol=1e-5, rtol=1e-4)
    largest = max(
        float(gradient.abs().max()) for gradient in theirs[2]
    )  # those of norms cancel: sums of such parts
    torch.testing.assert_close(ours[2], theirs[2], atol=1e-5 * largest, rtol=1e-4)


def test_the_start_gives_every_convolution_unit_variance(program: Any) -> None:
    import torch

    codec = program.build_codec(4, 4, 1, 8)
    sound = 0.1 * torch.randn(2, 1, 6400, generator=torch.Generator().manual_seed(0))
    program.start_from_data(codec, sound)
    with torch.no_grad():
        latent = codec.encoder(sound)
        assert abs(float(latent.std()) - 1.0) < 1e-3
        assert abs(float(codec.decoder(latent).std()) - 0.05) < 1e-3


def test_a_killed_and_resumed_training_ends_with_the_same_bytes(program: Any, pool: Path, tmp_path: Path) -> None:
    whole = program.Training(arguments(program, pool, tmp_path / "whole"))
    whole.run()
    killed = program.Training(arguments(program, pool, tmp_path / "killed"))
    for _ in range(2):
        killed.learn()
    killed.save()
    killed.learn()  # lost with the process
    resumed = program.Training(arguments(program, pool, tmp_path / "killed", "--resume"))
    assert resumed.step == 2
    resumed.run()
    a, b = (tmp_path / run / "codec" / "model.safetensors" for run in ("whole", "killed"))
    assert a.read_bytes() == b.read_bytes()


def test_the_last_stage_leaves_the_codes_alone(program: Any, pool: Path, tmp_path: Path) -> None:
    import torch

    training = program.Training(arguments(program, pool, tmp_path / "run"))
    for _ in range(3):
        training.learn()
    before = {name: p.detach().clone() for name, p in training.codec.state_dict().items()}
    training.learn()
    assert (tmp_path / "run" / "codes_final").exists()
    changed = {name for name, p in training.codec.state_dict().items() if not torch.equal(p, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_a_semitone_costs_more_than_a_phase(program: Any) -> None:
    import torch

    loss = near("codec_loss").SpectralLoss(32_000)
    times = torch.arange(32_000) / 32_000

    def tone(pitch: float, phase: float = 0.0) -> Any:
        return 0.1 * torch.sin(2 * np.pi * 440.0 * 2 ** ((pitch - 69) / 12) * times + phase)[None, None]

    same, turned, off = (loss(heard, tone(52)) for heard in (tone(52), tone(52, 2.0), tone(53)))
    assert all(float(value) == 0.0 for value in same.values())
    assert 5 * float(turned["pitch"]) < float(off["pitch"])
    assert float(off["pitch"]) > 2 * float(off["mel"]), "the long window is what tells semitones apart"


def test_measures_of_known_pairs(program: Any) -> None:
    import torch

    measures = near("codec_measures")
    times = torch.arange(32_000) / 32_000
    a4, e5 = (torch.sin(2 * np.pi * f * times) for f in (440.0, 659.26))
    picture = measures.chroma(a4, 32_000)
    assert int(picture.mean(0).argmax()) == 9
    assert measures.chroma_correlation(0.3 * a4, a4, 32_000) > 0.999
    assert measures.chroma_correlation(e5, a4, 32_000) < 0.2
    high = torch.sin(2 * np.pi * 8000.0 * times)
    assert abs(measures.high_band_db(a4 + 0.5 * high, a4 + high, 32_000) + 6.02) < 0.01
    assert measures.mel_distance(a4, a4, 32_000) == 0.0 < measures.mel_distance(0.5 * a4, a4, 32_000)


def test_the_pool_cuts_the_same_crops_and_marks_what_sounds(program: Any, pool: Path) -> None:
    import torch

    module = near("pool")
    data = module.Pool(pool)
    first, again, other = (data.batch(4, 16, (0, seed)) for seed in (5, 5, 6))
    assert torch.equal(first.sound, again.sound) and not torch.equal(first.sound, other.sound)
    assert float(first.sound.abs().max()) <= 1.0
    roll = data.excerpts(50).roll
    assert roll[0, :, 57 - module.LOWEST].all() and int(roll[0].sum()) == 50
    assert torch.nonzero(roll[1])[:, 0].tolist() == list(range(10, 30)), "the drum's pitch is none"
    with pytest.raises(SystemExit, match="holds 2 pieces, 3 are wanted"):
        module.Pool(pool, 3)


def test_rows_of_lost_steps_are_dropped(program: Any, tmp_path: Path) -> None:
    module = near("common")
    history = module.History(tmp_path / "h.jsonl", 0)
    for step in (10, 20, 30):
        history.add({"mel": step / 10})
        history.write({"step": step})
    resumed = module.History(tmp_path / "h.jsonl", 20)
    assert [row["mel"] for row in resumed.rows()] == [1.0, 2.0]


def test_each_stage_warms_up_and_the_last_falls_to_nothing(program: Any) -> None:
    schedule = program.Schedule((1000, 3000, 1000), 1e-3)
    assert [schedule.stage(step) for step in (0, 999, 1000, 3999, 4000)] == [0, 0, 1, 1, 2]
    assert schedule.rate(1000) < 1e-5
    assert schedule.rate(1300) > 0.9e-3
    assert schedule.rate(3999) < 0.25e-3 and schedule.rate(4999) < 1e-6


def test_a_compressed_soundfont_is_unpacked_with_its_loops(program: Any) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile")
    module = near("unpack_font")
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(4000) / 32_000)).astype(np.int16)
    packed = io.BytesIO()
    soundfile.write(packed, tone, 32_000, format="OGG", subtype="VORBIS")
    row = module.HEADER.pack(b"tone", 2, 2 + len(packed.getvalue()), 100, 3000, 32_000, 69, 0, 0, 0x11)
    end = module.HEADER.pack(b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    parts = [
        module._list(b"INFO", {b"ifil": b"\3\0\1\0", b"ICOP": b"MIT\0"}),
        module._list(b"sdta", {b"smpl": b"\0\0" + packed.getvalue()}),
        module._list(b"pdta", {b"phdr": b"kept", b"shdr": row + row + end}),
    ]
    made = module.unpacked(module._chunk(b"RIFF", b"sfbk" + b"".join(parts)))
    lists = {data[:4]: dict(module.chunks(data[4:])) for _, data in module.chunks(made[12:])}
    assert (lists[b"INFO"][b"ifil"], lists[b"INFO"][b"ICOP"]) == (b"\2\0\4\0", b"MIT\0")
    assert lists[b"pdta"][b"phdr"] == b"kept"
    rows = list(module.HEADER.iter_unpack(lists[b"pdta"][b"shdr"]))
    n = rows[0][2]
    assert [r[1:5] for r in rows] == [(0, n, 100, 3000), (n + 46, 2 * n + 46, n + 146, n + 3046), (0, 0, 0, 0)]
    assert rows[0][9] == 1, "plain mono"
    sound = np.frombuffer(lists[b"sdta"][b"smpl"], "<i2")
    assert len(sound) == 2 * (n + 46) and n >= len(tone)
    assert np.corrcoef(sound[200:3800], tone[200:3800])[0, 1] > 0.99
    with pytest.raises(SystemExit, match="RIFF"):
        module.unpacked(b"not a font")
