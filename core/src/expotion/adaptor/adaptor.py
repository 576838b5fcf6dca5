"""The adaptor: features of a batch of clips in, the gated prefix for the frozen language model out.

Trainable: W_i and n_i (project), W_e,l, positions and O_0 (prefix), the gates g_l, which start at 0 so that
step 0 of training reproduces the frozen model exactly. Nothing else ever gets a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from expotion.adaptor.config import AdaptorConfig
from expotion.adaptor.prefix import FrozenLM, LayerEmbedding, run_prefix
from expotion.adaptor.project import Projector, TrackInput, check_inputs, strength
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.gate import Prefix


class Adaptor(nn.Module):
    """All trainable parameters, float32 whatever the model's type.

    `projections` holds encoders' own projection modules by modality name; the others get a linear map without
    bias. `seed` makes the initial values reproducible without touching the global generator.
    """

    def __init__(
        self, config: AdaptorConfig, projections: Mapping[str, nn.Module] | None = None, *, seed: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        given = dict(projections or {})
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            self.project = nn.ModuleDict(
                {m.name: Projector(m, config, given.get(m.name)) for m in config.modalities}
            )
            self.embedding = LayerEmbedding(config)
            self.gates = nn.Parameter(torch.zeros(config.n_adapted))

    def projector(self, name: str) -> Projector:
        """The projector of a modality."""
        module = self.project[name]
        assert isinstance(module, Projector)
        return module

    def set_statistics(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Fix the standardisation of a modality's input: (f - mean) / std per channel, [D] each.

        Channels that hardly vary keep their scale (std below 1e-6 counts as 1).
        """
        projector = self.projector(name)
        if projector.mean is None or projector.scale is None:
            raise ExpotionError(f"modality {name!r} is not standardised in this adaptor")
        projector.mean.copy_(mean)
        projector.scale.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def prefix(
        self,
        lm: FrozenLM,
        inputs: Mapping[str, TrackInput],
        *,
        for_generation: bool = False,
        row_limit: int | None = None,
        force_active: bool = False,
        batch: int | None = None,
        n_rows: int | None = None,
        recompute: bool = False,
        start: int = 0,
    ) -> Prefix | None:
        """The prefix of the clips in which something is active, or None where nothing is.

        A modality that is missing from `inputs` is dropped. `batch` and `n_rows` are needed only when all are
        missing. `for_generation` applies the config's row limit (`row_limit` overrides it). `force_active`
        computes every clip's prefix and opens the gate at every step, whatever was dropped. `recompute` trades
        time for memory in training. `start` is the position of the first row.
        """
        check_inputs(self.config, inputs)
        if lm.n_layers != self.config.n_lm_layers:
            wanted = f"the backbone that it was made for, with {self.config.n_lm_layers} layers"
            raise ExpotionError(Problem("adaptor", wanted, f"one with {lm.n_layers} layers"))
        for track in inputs.values():
            batch, n_rows = track.values.shape[:2]
        if batch is None or n_rows is None:
            if force_active:
                raise ExpotionError("a prefix without any modality needs the batch size and the number of rows")
            return None
        self.embedding.check_length(start + n_rows)
        device = self.gates.device
        keeps = {m.name: strength(inputs.get(m.name), batch, n_rows, device) for m in self.config.modalities}

        active: Tensor | None = None
        rows: Tensor | None = None
        known = [keep for keep in keeps.values() if keep is not None]
        if self.config.silent_when_dropped and not force_active and len(known) == len(keeps):
            anywhere = torch.stack([keep != 0 for keep in known]).any(dim=0)
            clips = anywhere.any(dim=1)
            if not bool(clips.any()):
                return None
            if not bool(clips.all()):
                rows = clips.nonzero()[:, 0]
                anywhere, batch = anywhere[rows], len(rows)
                inputs = {
                    name: TrackInput(track.values[rows], None if track.valid is None else track.valid[rows])
                    for name, track in inputs.items()
                }
                keeps = {name: keep[rows] for name, keep in zip(keeps, known, strict=True)}
            active = None if bool(anywhere.all()) else anywhere

        if row_limit is None:
            cut = for_generation and self.config.row_limit == "frames"
            row_limit = n_rows - 1 if cut else n_rows
        latents = self._latents(inputs, keeps, (batch, n_rows), start)
        return run_prefix(
            lm,
            self.config,
            self.embedding.first_hidden(lm, n_rows, start),
            lambda layer: self.embedding(lm, layer, latents(layer), start),
            self.gates,
            active=active,
            rows=rows,
            row_limit=max(1, row_limit),
            recompute=recompute,
        )

    forward = prefix

    def extended(
        self,
        lm: FrozenLM,
        past: Prefix | None,
        inputs: Mapping[str, TrackInput],
        n_rows: int,
        *,
        open_: bool = False,
    ) -> Prefix:
        """A clip's prefix with `n_rows` more rows behind those of `past`, which stay as they are.

        Every row sees those up to itself, whatever the adaptor was trained with. It speaks where one of `inputs`
        [1, n_rows, D_i] is valid and not dropped, or everywhere where `open_`. Raises ExpotionError for rows behind
        the end of learned tables.
        """
        start, device = 0 if past is None else past.n_rows, self.gates.device
        check_inputs(self.config, inputs)
        self.embedding.check_length(start + n_rows)
        keeps = {m.name: strength(inputs.get(m.name), 1, n_rows, device) for m in self.config.modalities}
        speaks = torch.full((1, n_rows), open_ or not self.config.silent_when_dropped, device=device)
        for keep in keeps.values():
            speaks = speaks | (True if keep is None else keep != 0)
        latents = self._latents(inputs, keeps, (1, n_rows), start)
        new = run_prefix(
            lm,
            self.config,
            self.embedding.first_hidden(lm, n_rows, start),
            lambda layer: self.embedding(lm, layer, latents(layer), start),
            self.gates,
            active=speaks,
            rows=None,
            row_limit=start + n_rows,
            past=past,
            causal=True,
        )
        return new if past is None else past.followed_by(new)

    def _latents(
        self,
        inputs: Mapping[str, TrackInput],
        keeps: Mapping[str, Tensor | None],
        shape: tuple[int, int],
        start: int = 0,
    ) -> Callable[[int], Tensor]:
        """Concatenated latents z float32 [Bp, R, sum r] by layer; computed once where layers do not differ."""
        projected = {name: self.projector(name).projected(track) for name, track in inputs.items()}

        def latents(layer: int) -> Tensor:
            parts = [
                self.projector(name).latent(projected.get(name), keep, layer, shape, start)
                for name, keep in keeps.items()
            ]
            return torch.cat(parts, dim=-1)

        if any(self.projector(name).per_layer for name in keeps):
            return latents
        shared = latents(0)
        return lambda layer: shared


def trainable_names(adaptor: Adaptor) -> list[str]:
    """Names of the trainable parameters, sorted."""
    return sorted(name for name, parameter in adaptor.named_parameters() if parameter.requires_grad)


def parameter_groups(adaptor: Adaptor) -> dict[str, list[nn.Parameter]]:
    """Parameters by learning rate: `project` (W_i, n_i, W_e), `gates`, `other` (positions, O_0)."""
    groups: dict[str, list[nn.Parameter]] = {"project": [], "gates": [], "other": []}
    for name, parameter in adaptor.named_parameters():
        projects = name.startswith("project.") or name == "embedding.fusion"
        groups["gates" if name == "gates" else "project" if projects else "other"].append(parameter)
    return groups
