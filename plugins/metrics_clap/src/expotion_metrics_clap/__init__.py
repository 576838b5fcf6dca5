"""CLAP: does a sound fit its prompt, and how far is a set of sounds from the clips' own?"""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Rows, Score, Scored, Weights, hookimpl

SAMPLE_RATE_HZ = 48_000
CLAP = Weights("clap_music", "hf:laion/larger_clap_music", "Apache-2.0")
_OTHER = "CLAP scores of another checkpoint (there are at least six), or of other windows"


def build_similarity() -> Callable[[Scored], Score]:
    """A function from a sound at 48 kHz to the cosine of its embedding and its prompt's."""
    from expotion_metrics_clap.model import similarity  # noqa: PLC0415 - transformers only when a run uses it

    return similarity()


def build_rows() -> Callable[[Scored], Rows | Score]:
    """A function from a sound at 48 kHz to its embeddings [k, 512], one for each 10 s."""
    from expotion_metrics_clap.model import embedder  # noqa: PLC0415

    return embedder()


TEXT_AUDIO = MetricSpec(
    name="clap_text_audio",
    label="Text-audio (CLAP)",
    description="cosine of CLAP's embeddings of the sound and of its prompt",
    build=build_similarity,
    higher_is_better=True,
    weights=(CLAP,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"prompt"}),
    source="Wu et al. 2023 (LAION-CLAP)",
    not_comparable_with=_OTHER,
)
FAD_CLAP = MetricSpec(
    name="fad_clap",
    label="FAD (CLAP)",
    description="Fréchet distance of CLAP embeddings to those of the clips' own sounds",
    build=build_rows,
    higher_is_better=False,
    over="set",
    statistic="frechet",
    weights=(CLAP,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"sound"}),
    source="Gui et al. 2024",
    not_comparable_with="FAD of another embedding (its unit is another), reference set or number of clips",
)
FAD_CLAP_INFINITY = MetricSpec(
    name="fad_clap_infinity",
    label="FAD∞ (CLAP)",
    description="the same, extrapolated to endlessly many sounds",
    build=build_rows,
    higher_is_better=False,
    over="set",
    statistic="frechet_infinity",
    weights=(CLAP,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"sound"}),
    source="Gui et al. 2024",
    not_comparable_with="FAD of finite sets or of another embedding",
)


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Text-audio similarity, and FAD finite and extrapolated."""
    return [TEXT_AUDIO, FAD_CLAP, FAD_CLAP_INFINITY]
