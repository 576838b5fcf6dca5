"""How fast the tiny MusicGen decodes: our engine against transformers' `generate`, same weights, one run.

    uv run python benchmarks/tiny_decode.py

Batch 1 with classifier-free guidance, 10 s, greedy, fp32, one thread. The last line is one JSON object:
`speedup_vs_transformers` (peer's time / our time), `equal_sound_fraction` (share of frames that sound the same),
`adaptor_overhead` (our time with a prefix of two modalities / without - 1), `notes`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.music.request import text_sources
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.load import load_backbone
from expotion.plugins import discover
from expotion_text_t5 import SPEC as TEXT
from expotion_text_t5 import TextT5Options

N_FRAMES = 500
PROMPT = "a calm marimba piece"
REPEATS = 3


def best_of(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Least wall time of a few runs, in seconds, and the last result."""
    run()
    times, result = [], torch.empty(0)
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - started)
    return min(times), result


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    folder = discover().backbone("tiny").locate()
    ours = load_backbone(folder)
    encoder = TEXT.build(TextT5Options(model=ours.source))
    source, _ = text_sources(ours.lm, [encoder.encode(PROMPT)])
    geometry = ours.geometry
    modalities = tuple(Modality(name, d_in=96) for name in ("face", "motion"))
    adaptor = Adaptor(AdaptorConfig(modalities, geometry.width, geometry.n_layers, geometry.n_layers), seed=0)
    engine = Engine(ours.lm, "fp32")
    generator = torch.Generator().manual_seed(0)
    inputs = {m.name: TrackInput(torch.randn(1, N_FRAMES + 1, 96, generator=generator)) for m in modalities}

    def decode(with_prefix: bool) -> torch.Tensor:
        prefix = guided_prefix(adaptor, ours.lm, inputs) if with_prefix else None
        sampler = Sampler(greedy=True)
        return generate_codes(engine, source, N_FRAMES, prefix=prefix, cfg_scale=3.0, sampler=sampler)

    peer = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(folder)([PROMPT], return_tensors="pt")

    def peer_decode() -> torch.Tensor:
        # Columns of the delayed layout: the start column and K - 1 further steps come on top of the frames.
        peer.generation_config.max_length = N_FRAMES + geometry.n_codebooks
        made = peer.generate(**tokens, do_sample=False, guidance_scale=3.0)
        return torch.as_tensor(made)

    our_s, codes = best_of(lambda: decode(False))
    prefix_s, _ = best_of(lambda: decode(True))
    peer_s, wave = best_of(peer_decode)
    assert ours.codec is not None
    ours_wave = ours.codec.decode(codes[0])
    n = min(wave.shape[-1], ours_wave.shape[-1])
    hop = ours.codec.hop
    frames = n // hop
    ours_frames, peer_frames = (w.flatten()[: frames * hop].view(frames, hop) for w in (ours_wave, wave))
    equal = (ours_frames - peer_frames).abs().amax(dim=1) < 1e-3
    print(f"ours {our_s:.2f} s, with a prefix {prefix_s:.2f} s, transformers {peer_s:.2f} s for 10 s of music")
    print(
        json.dumps(
            {
                "speedup_vs_transformers": round(peer_s / our_s, 3),
                "adaptor_overhead": round(prefix_s / our_s - 1.0, 3),
                "equal_sound_fraction": round(float(equal.float().mean()), 4),
                "notes": "fp32, one thread, greedy, guidance 3; equal sound: frames within 1e-3 of the peer's",
            }
        )
    )


if __name__ == "__main__":
    main()
