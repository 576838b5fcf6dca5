"""An encoder that computes nothing: it reads what was imported for the clip."""

from __future__ import annotations

from expotion.contracts import Clip, Encoder, EncoderSpec, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion.features.hooks import PrecomputedOptions
from expotion.features.store import FeatureStore, imported_key


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
