"""audiocraft's checkpoint files, read without audiocraft.

`state_dict.bin` and `compression_state_dict.bin` are torch-saved dictionaries with `best_state` (tensors) and
`xp.cfg` (the training configuration: YAML text, in older exports a mapping). A newer compression file may hold
only `pretrained`, the name of a transformers codec. The text keeps references between settings, such as
`seanet.causal: ${encodec.causal}`; they are looked up here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from expotion import weights as files
from expotion.errors import Problem, WeightsError, first_line
from expotion.musicgen.codec import Codec
from expotion.musicgen.codec_files import codec_from_audiocraft, codec_from_hf
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import Chroma, LMGeometry
from expotion.musicgen.layouts import audiocraft_layout, build_lm

_FIXED_SETTINGS = {
    "norm_first": True,
    "bias_ff": False,
    "bias_attn": False,
    "bias_proj": False,
    "activation": "gelu",
    "positional_embedding": "sin",
    "layer_scale": None,
    "qk_layer_norm": False,
    "two_step_cfg": False,
}
_MELODY = "condition_provider.conditioners.self_wav."
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def _looked_up(value: Any, settings: Mapping[str, Any]) -> Any:
    """The setting that `${a.b}` names, followed a few times; what it names elsewhere, or a section, stays text."""
    for _ in range(4):
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            break
        found: Any = settings
        for key in match[1].split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None or isinstance(found, (Mapping, list)):
            break
        value = found
    return value


def _settings(value: Any, where: str) -> dict[str, Any]:
    """`xp.cfg` with its references looked up, at the top and in the sections below it."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise WeightsError(Problem(f"{where} xp.cfg", "YAML text", first_line(error))) from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WeightsError(Problem(f"{where} xp.cfg", "YAML text or a mapping", type(value).__name__))
    return {
        name: {key: _looked_up(one, value) for key, one in section.items()}
        if isinstance(section, Mapping)
        else _looked_up(section, value)
        for name, section in value.items()
    }


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of one of the two files."""
    package = files.read_torch(path)
    if not isinstance(package, Mapping) or not isinstance(package.get("best_state"), Mapping):
        raise WeightsError(Problem(str(path), "a dictionary with best_state and xp.cfg"))
    state = package["best_state"]
    if isinstance(state.get("model"), Mapping):  # some exports keep one level more
        state = state["model"]
    return dict(state), _settings(package.get("xp.cfg"), str(path))


def language_model(
    state: Mapping[str, Tensor], settings: Mapping[str, Any], where: str, dtype: torch.dtype = torch.float32
) -> MusicGenLM:
    """The model of `state_dict.bin`; strict: every mismatch is listed in one WeightsError."""
    sizes = _geometry(state, settings, where)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_MELODY + "chroma.")}  # computed
    return build_lm(state, sizes, audiocraft_layout(sizes), where, dtype)


def _geometry(state: Mapping[str, Tensor], settings: Mapping[str, Any], where: str) -> LMGeometry:
    """Sizes from the tensors' shapes; the number of heads, which no shape shows, from the settings."""
    lm = settings.get("transformer_lm", {})
    problems = [
        Problem(f"{where} xp.cfg transformer_lm.{key}", f"to be {value!r}", repr(lm[key]))
        for key, value in _FIXED_SETTINGS.items()
        if key in lm and lm[key] != value
    ]
    needed = ("emb.0.weight", "transformer.layers.0.linear1.weight")
    problems += [Problem(f"{where} {name}", "to be there", "nothing") for name in needed if name not in state]
    if "num_heads" not in lm:
        problems.append(Problem(f"{where} xp.cfg", "transformer_lm.num_heads", "nothing"))
    if problems:
        raise WeightsError(problems)
    rows, width = state["emb.0.weight"].shape
    projection = state.get("condition_provider.conditioners.description.output_proj.weight")
    return LMGeometry(
        width=width,
        n_layers=_count(state, "transformer.layers"),
        n_heads=int(lm["num_heads"]),
        ffn_width=state["transformer.layers.0.linear1.weight"].shape[0],
        n_codebooks=_count(state, "emb"),
        card=rows - 1,
        text_width=None if projection is None else projection.shape[1],
        channels=_channels(settings, where),
        delays=_delays(settings),
        chroma=_chroma(state, settings, where),
    )


def _chroma(state: Mapping[str, Tensor], settings: Mapping[str, Any], where: str) -> Chroma | None:
    """What a melody model hears, None for others; other ways to give conditions are refused."""
    fuser, conditioners = settings.get("fuser", {}), settings.get("conditioners", {})
    given = {way: sorted(fuser.get(way) or []) for way in ("cross", "prepend", "sum", "input_interpolate")}
    plain = {"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []}
    if not fuser or given == plain:
        return None
    heard = conditioners.get("self_wav", {})
    if (
        given != {**plain, "cross": [], "prepend": ["description", "self_wav"]}
        or heard.get("model") != "chroma_stem"
    ):
        wanted = "text in cross-attention, or text and a chroma_stem in front of the sequence"
        got = "; ".join(f"{way}: {', '.join(names)}" for way, names in given.items() if names) or "no condition"
        raise WeightsError(Problem(f"{where} xp.cfg fuser", wanted, got))
    sound = heard.get("chroma_stem", {})
    for key in ("argmax", "match_len_on_eval"):
        if sound.get(key) is not True:
            raise WeightsError(
                Problem(f"{where} xp.cfg conditioners.self_wav.chroma_stem.{key}", "true", repr(sound.get(key)))
            )
    rate_hz, window = int(sound.get("sample_rate", 32_000)), 2 ** int(sound.get("radix2_exp", 14))
    seconds = float(settings.get("dataset", {}).get("segment_duration", 30))
    projection = state.get(_MELODY + "output_proj.weight")
    width = int(sound.get("n_chroma", 12)) if projection is None else projection.shape[1]
    return Chroma(width, 1 + int(seconds * rate_hz) // (window // 4), window, rate_hz)


def _channels(settings: Mapping[str, Any], where: str) -> int:
    """2 where left and right have codebooks of their own, in turn; other forms of stereo are refused."""
    stereo = settings.get("interleave_stereo_codebooks", {})
    if not stereo.get("use", False):
        return 1
    if stereo.get("per_timestep", False):
        wanted = "left and right as codebooks of one step"
        raise WeightsError(Problem(f"{where} xp.cfg interleave_stereo_codebooks.per_timestep", wanted, "true"))
    return 2


def _count(state: Mapping[str, Tensor], stem: str) -> int:
    """How many numbered parts `stem.0`, `stem.1`, .. the names speak of."""
    numbers = [name.removeprefix(f"{stem}.").split(".")[0] for name in state if name.startswith(f"{stem}.")]
    return max((int(number) + 1 for number in numbers if number.isdigit()), default=0)


def _delays(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Delays of the codebooks, () for MusicGen's own; patterns other than `delay` are refused."""
    pattern = settings.get("codebooks_pattern", {})
    if pattern.get("modeling", "delay") != "delay":
        raise WeightsError(Problem("xp.cfg codebooks_pattern.modeling", "delay", repr(pattern["modeling"])))
    listed = pattern.get("delay", {}).get("delays")
    return tuple(int(item) for item in listed or ())


def text_model_name(settings: Mapping[str, Any]) -> str:
    """Name of the T5 model on the hub, `t5-base` unless the settings say otherwise."""
    description = settings.get("conditioners", {}).get("description", {})
    name = str(description.get("t5", {}).get("name", "t5-base"))
    return name if "/" in name else f"google-t5/{name}"


def load_codec(path: Path, cache: Path | None = None) -> Codec:
    """The codec of `compression_state_dict.bin`, both forms."""
    package = files.read_torch(path)
    if isinstance(package, Mapping) and "pretrained" in package:
        folder = files.folder_of(str(package["pretrained"]), cache=cache)
        config = files.read_json(folder / "config.json")
        return codec_from_hf(files.read_safetensors(files.safetensors_files(folder)), config, str(folder))
    state, settings = read_checkpoint(path)
    return codec_from_audiocraft(state, settings, str(path))
