"""MusicGen loaded through audiocraft itself. Light to import; audiocraft and torch come with `load`.

    import expotion_audiocraft
    model = expotion_audiocraft.load("facebook/musicgen-small")   # or a folder of audiocraft's two files
    source = model.text.source(["slow strings", None])            # [B, L, d]
    logits = model.lm(sequence, source)                           # [B, K, S] -> [B, K, S, V]
    codes = model.lm.generate_codes(["slow strings"], 500, greedy=True)
    wave = model.codec.decode(codes)

`expotion_audiocraft.convert` writes such a model as one folder in transformers' layout, which core reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from expotion.contracts import BackboneSpec, hookimpl

if TYPE_CHECKING:
    from expotion_audiocraft.model import AudiocraftMusicGen

__all__ = ["convert", "expotion_backbones", "load"]


def load(source: str | Path, *, device: str = "cpu") -> AudiocraftMusicGen:
    """A MusicGen as audiocraft loads it: a folder with its two files, or a name on the hub.

    Raises PluginError where audiocraft cannot be imported, WeightsError where it cannot load the model.
    """
    from expotion_audiocraft.model import load_model  # noqa: PLC0415 - audiocraft takes seconds to import

    return load_model(source, device=device)


def convert(source: str | Path, folder: str | Path) -> Path:
    """Load a MusicGen through audiocraft and write it to a new folder in transformers' layout; the folder.

    It holds the language model, the codec, T5 and the tokenizer. Raises WeightsError where that layout cannot
    express the model, OutputError where the folder cannot be written.
    """
    from expotion_audiocraft.folder import write_folder  # noqa: PLC0415

    return write_folder(load(source), Path(folder), str(source))


@hookimpl
def expotion_backbones() -> list[BackboneSpec]:
    """The published models, once `python -m expotion_audiocraft` has converted them."""
    from expotion_audiocraft import backbones  # noqa: PLC0415 - submodules import this package

    return backbones.SPECS
