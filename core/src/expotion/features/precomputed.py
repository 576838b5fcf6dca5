"""The encoder that core itself offers: features which other software computed and `features import` brought in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures, hookimpl
from expotion.errors import MediaError, Problem
from expotion.features.store import FeatureStore, imported_key

if TYPE_CHECKING:
    pass


class PrecomputedOptions(Options):
    """Options of `precomputed`."""

    features: str = Field(
        min_length=1, description="the name that the features were imported by, --encoder NAME"
    )
    width: int = Field(ge=1, description="D, values per row")
    rate_hz: float = Field(gt=0.0, description="rows per second")
    store: Path | None = Field(None, description="folder of the feature store; default: the cache's")


def _build(options: PrecomputedOptions) -> PrecomputedEncoder:

    return PrecomputedEncoder(SPEC, options)


SPEC = EncoderSpec(
    name="precomputed",
    description="Features that were computed elsewhere and imported (`expotion features import`)",
    needs=frozenset({"video"}),
    build=_build,
    options=PrecomputedOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.rate_hz,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """Imported features as an encoder like any other."""
    return [SPEC]


# An encoder that computes nothing: it reads what was imported for the clip.


class PrecomputedEncoder(Encoder):
    """Rows [n, width] as they were imported for a clip's content; never features of our own extraction."""

    def __init__(self, spec: EncoderSpec, options: PrecomputedOptions) -> None:
        self.spec = spec
        self.options: PrecomputedOptions = options
        self.store = FeatureStore(options.store)

    @property
    def worth_keeping(self) -> bool:
        """False: they are in the store already, and a new import must count at once."""
        return False

    def extract(self, clip: Clip) -> TimedFeatures:
        """The imported track. Raises MediaError where none was imported, or one of another width."""
        name = self.options.features
        where = f"precomputed {name} of {clip.id}"
        fix = f"run `expotion features import FILE.pt --clip CLIP --encoder {name} --rate HZ`"
        try:
            found = self.store.read(imported_key(clip.content_hash, name))
        except FileNotFoundError:
            raise MediaError(Problem(where, "features imported for this clip", "none", fix)) from None
        if not isinstance(found, TimedFeatures) or found.values.shape[1] != self.options.width:
            got = f"rows of width {found.values.shape[1]}"
            raise MediaError(Problem(where, f"rows of width {self.options.width}", got, "set options.width"))
        return found
