"""Fréchet audio distance with VGGish embeddings, as in the paper's table, announced to Expotion."""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Rows, Score, Scored, Weights, hookimpl

SAMPLE_RATE_HZ = 16_000
VGGISH = Weights(
    "vggish",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    "Apache-2.0",
    sha256="10086976",
)


def build() -> Callable[[Scored], Rows | Score]:
    """A function from a sound at 16 kHz to its VGGish embeddings [k, 128], one for each 0.96 s."""
    from expotion_metrics_fad.embed import embedder  # noqa: PLC0415 - torch only when a run uses it

    return embedder()


FAD_VGGISH = MetricSpec(
    name="fad_vggish",
    label="FAD (VGGish)",
    description="Fréchet distance of VGGish embeddings to those of the clips' own sounds",
    build=build,
    higher_is_better=False,
    over="set",
    statistic="frechet",
    weights=(VGGISH,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"sound"}),
    source="Kilgour et al. 2019",
    not_comparable_with="FAD of another embedding, another reference set or another number of clips; FAD with the "
    "PCA and 8-bit steps of AudioSet's embeddings",
)
FAD_VGGISH_INFINITY = MetricSpec(
    name="fad_vggish_infinity",
    label="FAD∞ (VGGish)",
    description="the same, extrapolated to endlessly many sounds",
    build=build,
    higher_is_better=False,
    over="set",
    statistic="frechet_infinity",
    weights=(VGGISH,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"sound"}),
    source="Gui et al. 2024",
    not_comparable_with="FAD of finite sets; fadtk, which draws windows and not whole sounds",
)


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """FAD on VGGish, finite and extrapolated."""
    return [FAD_VGGISH, FAD_VGGISH_INFINITY]
