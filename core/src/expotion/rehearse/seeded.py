"""Weights of a seed where the real ones would lie: MusicGen as the hub has it, pulled files in the models' cache.

Names, shapes, types and layout are the published ones, values are random. MusicGen is written by transformers, from
the published settings of its decoder, T5 base and EnCodec at 32 kHz, in shards, as a snapshot of the hub's cache:
links into a folder of blobs that are named by their hash.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expotion.contracts import Weights
from expotion.files import cache_folder, sha256_of, write_json
from expotion.recipe.lacks import Lack
from expotion.recipe.plan import Geometry, n_decoder

T5_PARAMETERS, CODEC_PARAMETERS = 109_628_544, 58_990_022
"""T5 base's encoder and EnCodec at 32 kHz, with its codebooks' buffers."""
SHARD = "1GB"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-+&%"


def musicgen_bytes(geometry: Geometry) -> int:
    """Bytes of a published MusicGen: float32, with its text encoder and codec."""
    return 4 * (n_decoder(geometry) + T5_PARAMETERS + CODEC_PARAMETERS)


def musicgen_config(geometry: Geometry) -> Any:
    """transformers' settings of a published MusicGen of these sizes."""
    import transformers as hf  # noqa: PLC0415 - seconds to import

    hf.logging.set_verbosity_error()  # it warns of the published numbers of special tokens
    k = geometry.n_codebooks
    text = hf.T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    sound = hf.EncodecConfig(
        target_bandwidths=[2.2],
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=64,
        codebook_size=2048,
        codebook_dim=128,
        use_causal_conv=False,
        normalize=False,
        use_conv_shortcut=False,
        pad_mode="reflect",
    )
    decoder = hf.MusicgenDecoderConfig(
        vocab_size=geometry.card,
        hidden_size=geometry.width,
        num_hidden_layers=geometry.n_layers,
        num_attention_heads=geometry.n_heads,
        ffn_dim=4 * geometry.width,
        num_codebooks=k,
        audio_channels=2 if k == 8 else 1,
        pad_token_id=geometry.card,
        bos_token_id=geometry.card,
    )
    return hf.MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=sound.to_dict(), decoder=decoder.to_dict())


def write_musicgen(hub: Path, repository: str, geometry: Geometry) -> Path:
    """A MusicGen of a seed in the hub's cache `hub`; returns its snapshot."""
    import torch  # noqa: PLC0415
    import transformers as hf  # noqa: PLC0415

    place = hub / f"models--{repository.replace('/', '--')}"
    blobs, snapshot = place / "blobs", place / "snapshots" / "rehearsal"
    draft = place / "draft"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = hf.MusicgenForConditionalGeneration(musicgen_config(geometry))
        for name, buffer in model.named_buffers():
            if name.endswith("codebook.embed"):
                buffer.normal_()
        model.save_pretrained(draft, max_shard_size=SHARD)
        del model
    _tokenizer().save_pretrained(draft)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file in sorted(draft.iterdir()):
        blob = blobs / sha256_of(file)
        file.rename(blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    draft.rmdir()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("rehearsal")
    return snapshot


def _tokenizer() -> Any:
    """A tokenizer in T5's place, whose tokens are letters."""
    from tokenizers import Tokenizer, models, processors  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), (" ", -1.0), *((letter, -1.0) for letter in _LETTERS)]
    inner = Tokenizer(models.Unigram(words, unk_id=2))
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def unseeded(lacks: Sequence[Lack]) -> list[Weights]:
    """Weights that are not here and for which none can be made: what they are for is not walked."""
    return [
        lack.weights for lack in lacks if lack.weights and lack.weights.seeded is None and not _is_musicgen(lack)
    ]


def _is_musicgen(lack: Lack) -> bool:
    return "backbone.source" in lack.problem.where


def put_weights(lacks: Sequence[Lack], cache: Path) -> dict[str, int]:
    """Write the weights of a seed that stand in for missing ones into a cache folder; bytes by name."""
    made: dict[str, int] = {}
    for lack in lacks:
        weights = lack.weights
        if weights is None or weights.seeded is None or weights.name in made:
            continue
        folder = cache / "models" / weights.name
        folder.mkdir(parents=True, exist_ok=True)
        file = weights.seeded(folder)
        made[weights.name] = file.stat().st_size
        note = {"name": weights.name, "source": "seeded", "licence": "", "folder": str(folder), "file": str(file)}
        write_json(folder / "model.json", {**note, "size_bytes": made[weights.name], "sha256": sha256_of(file)})
    return made


@contextmanager
def own_cache(folder: Path) -> Iterator[Path]:
    """Within it the cache is an empty one below `folder`, with notes of what was pulled and measured before."""
    import os  # noqa: PLC0415

    real, mine = cache_folder(), folder / "cache"
    before = os.environ.get("EXPOTION_CACHE")
    mine.mkdir(parents=True)
    for kept in real.iterdir() if real.is_dir() else ():  # what was measured and compiled, not what was extracted
        if kept.name not in ("features", "models"):
            (mine / kept.name).symlink_to(kept)
    for note in real.glob("models/*/model.json"):
        (mine / "models" / note.parent.name).mkdir(parents=True)
        shutil.copyfile(note, mine / "models" / note.parent.name / note.name)
    os.environ["EXPOTION_CACHE"] = str(mine)
    try:
        yield mine
    finally:
        if before is None:
            del os.environ["EXPOTION_CACHE"]
        else:
            os.environ["EXPOTION_CACHE"] = before


def checked_layout(geometry: Geometry) -> str | None:
    """None where the whole model loads from the published layout, on torch's device `meta`; else what is wrong."""
    import torch  # noqa: PLC0415
    import transformers as hf  # noqa: PLC0415

    from expotion.errors import ExpotionError, in_short  # noqa: PLC0415
    from expotion.musicgen.geometry import LMGeometry  # noqa: PLC0415
    from expotion.musicgen.layouts import build_lm, hf_layout  # noqa: PLC0415
    from expotion.weights import undrawn  # noqa: PLC0415

    config = musicgen_config(geometry)
    sizes = LMGeometry.from_hf(json.loads(config.to_json_string(use_diff=False)))
    with torch.device("meta"), undrawn():
        theirs = hf.MusicgenForConditionalGeneration(config).state_dict()
    own = {
        name: tensor
        for name, tensor in theirs.items()
        if not name.startswith(("text_encoder.", "audio_encoder.")) and not name.endswith("embed_positions.weights")
    }
    try:
        build_lm(own, sizes, hf_layout(sizes), "published layout", torch.bfloat16)
    except ExpotionError as error:
        return in_short(error)
    return None
