"""How the backbone sounds: what its codec keeps of the band's music, and what it plays from words alone.

    uv run --group sound python benchmarks/sound.py                                     # 24 development pieces
    uv run --group sound python benchmarks/sound.py --codec CODEC --font FluidR3_GM.sf2 # a codec in training
    uv run --group sound python benchmarks/sound.py --seeds test                        # once, at the end

Notes are read by `basic-pitch`, a transcriber that nobody here wrote, and held against the notes that were played:
same semitone, onsets within 50 ms. The last line is one JSON object:

- `note_f1_fraction`: mean note F1 of the codec's sound over that of the original's, all pitched voices.
- `chroma_min`: the worst chroma correlation of codec and original, over the pitched instruments, each alone, and
  over the pieces.
- `mel_ratio`: log-mel distance through this codec over that through `tiny-1`'s, on the first world's music.
- `high_band_db`: energy above 4 kHz, codec against original, over all pieces.
- `in_key_fraction`: share of the transcribed notes that lie in the best-fitting key, text only.
- `instrument_heard_fraction`: share of the pieces from words in which a classifier hears the instrument that the
  words name; both are null where a codec alone is measured.
- `steering_nats`: null until there are adaptors on this sound.
- `notes`: an object with what stands behind these: counts, F1 themselves, per voice, per instrument, the world's
  own music and random pitches beside, how the classifier does on held-out true sound.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.music.request import text_sources
from expotion.musicgen.codec import Codec
from expotion.musicgen.codec_files import codec_from_hf
from expotion.musicgen.engine import prepare
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.load import load_backbone
from expotion.plugins import discover
from expotion_conductor.band.instruments import INSTRUMENTS
from expotion_conductor.band.piece import Piece, make_piece
from expotion_conductor.band.render import render_piece
from expotion_conductor.band.score import DRUMS, VOICES
from expotion_conductor.music import render_music
from expotion_conductor.plan import DEVELOPMENT_SEEDS, TEST_SEEDS, make_plan
from expotion_text_t5 import SPEC as TEXT
from expotion_text_t5 import TextT5Options

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "conductor" / "train"))
from codec_measures import chroma_correlation, high_band_db, mel_distance
from sound_notes import Played, in_key, note_f1, random_notes, recall, transcriber
from sound_timbre import Timbres

Sound = NDArray[np.float32]

RATE_HZ = 32_000
PIECE_S = 10.0
FIRST = {"development": DEVELOPMENT_SEEDS + 20_000, "test": TEST_SEEDS + 800_000}


def codec_in(folder: Path) -> Codec:
    """The codec of a folder with an `EncodecModel` or a whole MusicGen."""
    from safetensors.torch import load_file  # noqa: PLC0415

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "audio_encoder" in config:
        codec = load_backbone(str(folder)).codec
        assert codec is not None
        return codec
    return codec_from_hf(load_file(folder / "model.safetensors"), config, str(folder))


def through(codec: Codec, sound: Sound) -> Sound:
    """The sound as the codec gives it back, of the same length."""
    return codec.decode(codec.encode(sound)).numpy()[: len(sound)]


def played(piece: Piece, voice: str | None = None) -> Played:
    """The pitched notes of a piece, or of one of its voices, that begin in it."""
    notes = piece.notes
    keep = (notes.onset_s >= 0) & (notes.voice != DRUMS)
    if voice is not None:
        keep &= notes.voice == VOICES.index(voice)
    return Played(notes.onset_s[keep], notes.offset_s[keep], notes.pitch[keep])


def of_pieces(codec: Codec, pieces: list[Piece], font: Path | None) -> dict[str, Any]:
    """Note F1, recall per voice, chroma and the high band over whole pieces."""
    read = transcriber()
    f1: dict[str, list[float]] = {"original": [], "codec": []}
    voices: dict[str, list[float]] = {}
    chroma, rates, keys = [], [], []
    originals, heards = [], []
    for number, piece in enumerate(pieces):
        original = render_piece(piece, font=font)
        heard = through(codec, original)
        truth = played(piece)
        for name, sound in (("original", original), ("codec", heard)):
            found = read(sound, RATE_HZ)
            f1[name].append(note_f1(truth, found))
            for voice in ("melody", "bass"):
                voices.setdefault(f"{voice} {name}", []).append(recall(played(piece, voice), found))
            if name == "original":
                keys.append(in_key(found))
        pair = torch.from_numpy(heard), torch.from_numpy(original)
        chroma.append(chroma_correlation(*pair, RATE_HZ))
        originals.append(original)
        heards.append(heard)
        rates.append(len(truth.pitch) / piece.duration_s)
        print(f"piece {number + 1} of {len(pieces)}: F1 {f1['original'][-1]:.3f} to {f1['codec'][-1]:.3f}, "
              f"chroma {chroma[-1]:.3f}", file=sys.stderr, flush=True)  # fmt: skip
    both = torch.from_numpy(np.stack(heards)), torch.from_numpy(np.stack(originals))
    means = {name: float(np.nanmean(values)) for name, values in voices.items()}
    return {
        "fraction": np.mean(f1["codec"]) / np.mean(f1["original"]),
        "f1": {name: round(float(np.mean(values)), 4) for name, values in f1.items()},
        "recall_fraction": {
            voice: round(means[f"{voice} codec"] / means[f"{voice} original"], 4) for voice in ("melody", "bass")
        },
        "chroma": chroma,
        "high_band_db": high_band_db(*both, RATE_HZ),
        "notes_per_s_median": float(np.median(rates)),
        "in_key": float(np.mean(keys)),
    }


def alone(codec: Codec, font: Path | None, first_seed: int) -> dict[str, float]:
    """Chroma correlation of a melody of each pitched instrument, with nothing beside it."""
    found = {}
    for number, name in enumerate(INSTRUMENTS):
        piece = make_piece(first_seed + number, duration_s=PIECE_S, fixed={"lead": name})
        sound = render_piece(piece, font=font, voices=("melody",))
        heard = through(codec, sound)
        found[name] = chroma_correlation(torch.from_numpy(heard), torch.from_numpy(sound), RATE_HZ)
    return found


def mel_of_first_world(codec: Codec, first_seed: int, n_clips: int) -> float:
    """Mean log-mel distance through a codec on the first world's music."""
    distances = []
    for seed in range(first_seed, first_seed + n_clips):
        sound = np.asarray(render_music(make_plan(seed, PIECE_S)), np.float32)
        pair = torch.from_numpy(through(codec, sound)), torch.from_numpy(sound)
        distances.append(mel_distance(*pair, RATE_HZ))
    return float(np.mean(distances))


@torch.inference_mode()
def from_words(folder: Path, prompts: list[str]) -> Iterator[Sound]:
    """Ten seconds of music from each prompt alone, with the seeds 0, 1, 2, ..."""
    backbone, encoder = load_backbone(str(folder)), TEXT.build(TextT5Options(model=str(folder)))
    engine, codec = prepare(backbone.lm, "fp32"), backbone.codec
    assert codec is not None
    n_frames = round(PIECE_S * backbone.frame_rate_hz)
    for seed, prompt in enumerate(prompts):
        source, mask = text_sources(backbone.lm, [encoder.encode(prompt)])
        generators = [torch.Generator().manual_seed(seed)]
        codes = generate_codes(
            engine, source, n_frames, source_mask=mask, cfg_scale=3.0, sampler=Sampler(), generators=generators
        )
        yield codec.decode(codes[0]).numpy()


def keys_and_notes(sounds: list[Sound], read: Callable[[Sound, int], Played]) -> dict[str, float]:
    """Mean share of notes in the best key, and notes a second, of sounds."""
    found = [read(sound, RATE_HZ) for sound in sounds]
    return {
        "in_key": round(float(np.mean([in_key(one) for one in found])), 4),
        "random_pitches_in_key": round(float(np.mean([in_key(random_notes(one)) for one in found])), 4),
        "notes_per_s": round(float(np.mean([len(one.pitch) / PIECE_S for one in found])), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tiny", help="whose codec and text-only music are measured")
    parser.add_argument("--codec", type=Path, help="a codec's folder instead of the backbone's")
    parser.add_argument("--font", type=Path, help="a soundfont (.sf2); the packaged one by default")
    parser.add_argument("--pieces", type=int, default=24)
    parser.add_argument("--seeds", choices=FIRST, default="development")
    parser.add_argument("--words", action=argparse.BooleanOptionalAction, default=True, help="music from words")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder, first_seed = discover().backbone(asked.backbone).locate(), FIRST[asked.seeds]
    codec = codec_in(asked.codec or folder)
    shipped = codec_in(discover().backbone("tiny").locate())
    pieces = [make_piece(first_seed + i, duration_s=PIECE_S) for i in range(asked.pieces)]
    whole = of_pieces(codec, pieces, asked.font)
    single = alone(codec, asked.font, first_seed + 1_000)
    mels = [mel_of_first_world(one, first_seed + 2_000, max(1, asked.pieces // 3)) for one in (codec, shipped)]
    notes: dict[str, Any] = {
        "pieces": asked.pieces,
        "seeds": asked.seeds,
        "note_f1": whole["f1"],
        "recall_fraction": whole["recall_fraction"],
        "notes_per_s_median": whole["notes_per_s_median"],
        "world_in_key": round(whole["in_key"], 4),
        "chroma_in_the_mix": {
            "min": round(min(whole["chroma"]), 4),
            "mean": round(float(np.mean(whole["chroma"])), 4),
        },
        "chroma_alone": {name: round(value, 4) for name, value in sorted(single.items(), key=lambda kv: kv[1])},
        "mel": {"codec": round(mels[0], 4), "tiny-1": round(mels[1], 4)},
    }
    found: dict[str, Any] = {
        "note_f1_fraction": round(float(whole["fraction"]), 4),
        "chroma_min": round(min(*whole["chroma"], *single.values()), 4),
        "mel_ratio": round(mels[0] / mels[1], 4),
        "high_band_db": round(whole["high_band_db"], 2),
        "in_key_fraction": None,
        "instrument_heard_fraction": None,
        "steering_nats": None,
    }
    if asked.words and asked.codec is None:
        sounds = list(from_words(folder, [piece.caption for piece in pieces]))
        notes["words"] = keys_and_notes(sounds, transcriber())
        found["in_key_fraction"] = notes["words"]["in_key"]
        timbres = Timbres.fitted(first_seed + 3_000, asked.font)
        notes["classifier_on_true_sound"] = round(timbres.held_out(first_seed + 4_000, asked.font), 4)
        heard = [timbres.hear(s) == p.traits.lead for s, p in zip(sounds, pieces, strict=True)]
        found["instrument_heard_fraction"] = round(float(np.mean(heard)), 4)
    print(json.dumps(found | {"notes": notes}))


if __name__ == "__main__":
    main()
