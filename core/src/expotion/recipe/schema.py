"""What a recipe may say. Every field, its unit and its default; backbone and text encoder are plugins' defaults."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler  # pydantic 2.9 names it only there

from expotion.errors import RecipeError
from expotion.plugins import discover
from expotion.recipe.names import Names
from expotion.recipe.nodes import from_plain, to_text
from expotion.recipe.presets import GUIDED_AS_RELEASED, RIVALS, Preset, filled
from expotion.recipe.problems import problems_of

GONE: dict[str, Any] = {"shard_backbone": False, "trunk_cache_gib": 0.0}
"""Keys that `train` had, with their defaults. They changed no result and are read past, but they entered the
section's hash: it is taken with them, or no run that was made with them could be resumed."""

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
GenerationPrecision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Folder = Annotated[Path, Field(strict=False)]

# The adaptor's choices, in recipes and in adaptor.json.
PrefixAttention = Literal["causal", "full"]
PrefixBlock = Literal["layer", "attention"]
Positions = Literal["sinusoidal", "fused", "table"]
Fusion = Literal["per_layer", "shared"]
Start = Literal["vector", "table"]
Null = Literal["vector", "zero", "layer_table"]
NullBranch = Literal["none", "null_vectors", "full"]
RowLimit = Literal["all", "frames"]

CONTROLS_BEFORE = ("text_only",)
CONTROLS_ALONE = ("fader_on_frozen", "clicks_on_frozen")
NOT_GENERATED = ("lenders_truth", *CONTROLS_ALONE, "codec_ceiling", "ground_truth")
CONTROLS_AFTER = ("shuffled", *NOT_GENERATED)
RESERVED_NAMES = (*CONTROLS_BEFORE, *CONTROLS_AFTER)
"""Conditions of the evaluation that are not the recipe's own."""


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, types are not guessed, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(BaseModel):
    """Where the clips come from. All keys but `source` are the source's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    source: str = Field(min_length=1)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the data source, plain; checked and complete in a recipe from `load_recipe`."""
        return dict(self.model_extra or {})


class Backbone(Section):
    """The frozen language model: a plugin's name, `hf:ORG/NAME`, `audiocraft:...`, or a folder."""

    source: str = Field(default_factory=lambda: discover().default("backbone"), min_length=1)
    revision: str | None = None

    @property
    def kind(self) -> Literal["plugin", "hf", "audiocraft", "folder"]:
        """How `source` is to be read."""
        if self.source.startswith("hf:"):
            return "hf"
        if self.source.startswith("audiocraft:"):
            return "audiocraft"
        if "/" in self.source or "\\" in self.source or self.source.startswith((".", "~")):
            return "folder"
        return "plugin"

    @property
    def reference(self) -> str:
        """`source` without the prefix that names its kind."""
        return self.source.partition(":")[2] if self.kind in ("hf", "audiocraft") else self.source


class Text(Section):
    """The text condition. `prompt` is `caption` (each clip's own) or a fixed text for every clip.

    With `captioner`, the name of a plugin's captioner, captions are written by it and not the data's own.
    """

    encoder: str = Field(default_factory=lambda: discover().default("encoder"))
    prompt: str = "caption"
    options: dict[str, Any] = {}
    captioner: str | None = None
    captioner_options: dict[str, Any] = {}

    @property
    def fixed_prompt(self) -> str | None:
        """The text for every clip, or None where each clip's caption counts."""
        return None if self.prompt == "caption" else self.prompt


class Smooth(Section):
    """Overrides of smoothing. `max_gap_s`: longest gap in seconds between valid samples that is bridged.

    `rate_hz`: the track is sampled at this rate before it is brought to the model's (null: as the encoder gives it;
    a rate above the encoder's changes nothing).
    """

    max_gap_s: Positive | None = None
    rate_hz: Annotated[float, Field(ge=2.0, allow_inf_nan=False)] | None = None


class Condition(Section):
    """One modality: its encoder and how strongly it steers. `strength` 0 is the modality left out."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    encoder: str = Field(min_length=1)
    rank: int = Field(default=12, ge=1, le=4096)
    strength: NotNegative = 1.0
    options: dict[str, Any] = {}
    smooth: Smooth = Smooth()


class Adaptor(Section):
    """The gated prefix. `preset` fills what the recipe leaves out; explicit keys win.

    `position_rows` is the length of learned tables (`positions: table | fused`, `start: table`,
    `null: layer_table`); by default that of the training clips, T + 1.
    """

    preset: Preset = "ours"
    layers: int | str = "all"
    prefix_attention: PrefixAttention = "full"
    prefix_block: PrefixBlock = "layer"
    positions: Positions = "sinusoidal"
    fusion: Fusion = "per_layer"
    start: Start = "vector"
    null: Null = "vector"
    null_branch: NullBranch = "none"
    row_limit: RowLimit = "all"
    silent_when_dropped: bool = True
    standardise: bool = True
    position_rows: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        return filled("adaptor", values)

    @field_validator("layers", mode="plain")
    @classmethod
    def _layers(cls, value: Any) -> int | str:
        if value in ("all", "last_half", "last_quarter") and isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise ValueError("'all', 'last_half', 'last_quarter' or a number of layers")

    @property
    def needs_rows(self) -> bool:
        """Whether something is learned per row, which bounds the length of a clip."""
        return self.positions != "sinusoidal" or self.start == "table" or self.null == "layer_table"

    def choices(self) -> dict[str, Any]:
        """The named choices (all but preset, layers, null and position_rows), as keywords of `AdaptorConfig`."""
        apart = {"preset", "layers", "null", "position_rows"}
        return {name: getattr(self, name) for name in type(self).model_fields if name not in apart}

    def n_adapted(self, n_layers: int) -> int:
        """How many of the decoder's last layers are adapted, 1..n_layers."""
        if isinstance(self.layers, int):
            return min(self.layers, n_layers)
        share = {"all": 1, "last_half": 2, "last_quarter": 4}[self.layers]
        return max(1, math.ceil(n_layers / share))


class LearningRate(Section):
    """Peak learning rates of AdamW by group of parameters."""

    project: Positive = 8e-3
    gates: Positive = 5e-2
    other: Positive = 3e-4


class ContextSwap(Section):
    """Share of training sequences whose start (in frames) is another clip's and is not scored."""

    prob: Probability = 1.0
    min_frames: int = Field(default=25, ge=1)
    max_frames: int = Field(default=400, ge=1)
    more_prob: Probability = 0.0
    more_min_frames: int = Field(default=25, ge=1)
    more_max_frames: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> ContextSwap:
        if self.min_frames > self.max_frames or self.more_min_frames > self.more_max_frames:
            raise ValueError("the smallest number of frames at most the largest")
        return self


class EarlyStopping(Section):
    """End training once the validation loss has not fallen by `min_improvement` nats for `patience_steps`."""

    patience_steps: int = Field(ge=1)
    min_improvement: NotNegative = 0.0


class Train(Section):
    """Training of the adaptor. `seed` defaults to the recipe's; `callbacks` names plugins' training callbacks.

    `preset` fills what the recipe leaves out; explicit keys win. A step sees batch_size * accumulate *
    max(1, workers) clips, `n_parts` batches one after the other on one worker (gradients are added up) or shared
    out over several: the result is the same to float tolerance. `workers` 0 trains in this process, n under Ray
    Train. `stretch_frames`: train on a stretch of so many frames of each clip, drawn anew each step, at its own
    positions (null: whole clips). `epochs` and `warmup_epochs` take the place of `steps` and `warmup_steps`: times
    all training clips, an incomplete batch at an epoch's end left out (`in_steps`).
    """

    preset: Preset = "ours"
    steps: int = Field(default=160, ge=0)
    epochs: Positive | None = None
    batch_size: int = Field(default=8, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: LearningRate = LearningRate()
    schedule: Literal["cosine", "constant"] = "cosine"
    final_learning_rate_ratio: Probability = 0.0
    warmup_steps: int = Field(default=10, ge=0)
    warmup_epochs: NotNegative | None = None
    weight_decay: NotNegative = 0.01
    betas: list[Annotated[float, Field(ge=0.0, lt=1.0)]] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    clip_norm: Positive | None = 1.0
    context_swap: ContextSwap = ContextSwap()
    condition_dropout: Annotated[dict[str, Probability], Names("condition", also=("all",))] = {"all": 0.1}
    text_dropout: Probability = 0.1
    precision: TrainingPrecision = "auto"
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    workers: int = Field(default=0, ge=0)
    early_stopping: EarlyStopping | None = None
    recompute_activations: bool = False
    stretch_frames: Annotated[int, Field(ge=16)] | None = None
    validation_clips: int = Field(default=16, ge=0)
    validate_every_steps: int = Field(default=20, ge=1)
    sample_every_steps: int = Field(default=0, ge=0)
    checkpoint_every_steps: int = Field(default=50, ge=1)
    callbacks: list[str] = []
    seed: Seed | None = None
    _gone: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _fill_from_preset(cls, values: Any, validate: ModelWrapValidatorHandler[Train]) -> Train:
        if not isinstance(values, dict):
            return validate(values)
        # log_every_steps never did anything, and was not hashed
        given = {key: value for key, value in values.items() if key not in (*GONE, "log_every_steps")}
        for key, rival in RIVALS.items():
            if given.get(key) is not None and given.get(rival) is not None:
                raise ValueError(f"{key} or {rival}, not both")
        made = validate(filled("train", given))
        made._gone = {key: values[key] for key in GONE if key in values}
        return made

    @field_validator("learning_rate", "context_swap", "condition_dropout", mode="before")
    @classmethod
    def _one_number(cls, value: Any, info: ValidationInfo) -> Any:
        """One number stands for every rate, for the share of swapped sequences, or for every condition."""
        if info.field_name == "context_swap" and isinstance(value, bool):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        names = {"learning_rate": LearningRate.model_fields, "context_swap": ["prob"]}
        return dict.fromkeys(names.get(str(info.field_name), ["all"]), value)

    @property
    def n_parts(self) -> int:
        """Batches of a step."""
        return self.accumulate * max(1, self.workers)

    @property
    def clips_per_step(self) -> int:
        """Clips of one optimisation step, over all parts."""
        return self.batch_size * self.n_parts

    def n_validated(self, n_clips: int, n_given: int = 0) -> int:
        """How many clips validate: of `n_given` that the data names for it, else at most an eighth of all clips.

        One alone is none: the loss is compared with that of another clip's controls.
        """
        n_used = min(self.validation_clips, n_given or n_clips // 8)
        return n_used if n_used >= 2 else 0

    def in_steps(self, n_clips: int) -> Train:
        """The same with steps where it says epochs, for `n_clips` clips to train on."""
        an_epoch = max(1, n_clips // self.clips_per_step)
        changed = {
            key.replace("epochs", "steps"): round(value * an_epoch)
            for key in ("epochs", "warmup_epochs")
            if (value := getattr(self, key)) is not None
        }
        return self.model_copy(update={**changed, "epochs": None, "warmup_epochs": None})

    def dropout_of(self, condition: str) -> float:
        """Probability of dropping a condition."""
        return self.condition_dropout.get(condition, self.condition_dropout.get("all", 0.0))


class Cluster(Section):
    """Where the workers of `train.workers` run; nothing here changes a result.

    `workers`: how many share out the batches of `train.workers`, where it is not that number (0: this process), as
    `--workers` asks of a run that was begun with another. `ray`: `local` starts Ray here, `auto` or HOST:PORT joins
    a cluster. `storage`: a folder or URL that every machine reaches, for checkpoints (null: the run folder).
    `min_workers`: go on with as few as that when machines go away (elastic). `max_failures`: how often lost workers
    are replaced.
    """

    workers: Annotated[int, Field(ge=0)] | None = None
    ray: str = Field(default="local", min_length=1)
    storage: str | None = None
    min_workers: Annotated[int, Field(ge=1)] | None = None
    max_failures: int = Field(default=3, ge=0)


class PromptAt(Section):
    """Another prompt from a time on: `at_s` seconds of the clip, or of live music."""

    at_s: Positive
    prompt: str = Field(min_length=1)


Later = Annotated[tuple[PromptAt, ...], Field(strict=False)]
"""Prompts in the order of their times, written as a list."""


def forwards(prompts: tuple[PromptAt, ...]) -> tuple[PromptAt, ...]:
    """The same prompts. Raises ValueError unless their times go forwards."""
    for before, after in itertools.pairwise(prompts):
        if before.at_s >= after.at_s:
            raise ValueError(f"times that go forwards, not {before.at_s:g} s and then {after.at_s:g} s")
    return prompts


class Sampling(Section):
    """How tokens are chosen: guidance, what is left in the draw, and the precision that is computed in.

    `control_scale` guides the controls apart from the text; null leaves them together.
    """

    cfg_scale: NotNegative = 3.0
    control_scale: NotNegative | None = None
    top_k: int = Field(default=250, ge=0)
    top_p: Probability = 0.0
    temperature: Positive = 1.0
    precision: GenerationPrecision = "auto"


class Generate(Sampling):
    """How the evaluation's music is made. `scales` gives single conditions a scale of guidance of their own.

    `melody`: a file whose sound a melody model follows, in every clip. `prompt_at`: prompts in place of a clip's
    own from a time on; `negative`: a prompt to stay away from.

    `preset` fills what the recipe leaves out, here and of `adaptor.null_branch` and `adaptor.row_limit`.
    """

    preset: Preset = "ours"
    scales: Annotated[dict[str, NotNegative], Names("condition")] = {}
    batch_size: int = Field(default=8, ge=1)
    samples: int = Field(default=4, ge=0)
    seed: Seed | None = None
    melody: Folder | None = None
    prompt_at: Later = ()
    negative: str | None = None

    @field_validator("prompt_at")
    @classmethod
    def _forwards(cls, prompts: tuple[PromptAt, ...]) -> tuple[PromptAt, ...]:
        return forwards(prompts)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        return filled("generate", values)


class Evaluate(Section):
    """What is measured, on which conditions (null: all), with how many bootstrap draws.

    `all` among the conditions stands for every control together. `outside` names folders of sounds that other
    systems made for the test clips: each is measured like a condition. `control_alone` adds what the controls are
    worth without the model: a fader on the frozen model's music, clicks over it, and nats per code. `probes`: how
    many clips of each kind in which the video does what it never does in training, where the data has such.
    """

    metrics: list[str] = [
        "beat_f1",
        "tempo_error_bpm",
        "tempo_within_4pct",
        "intensity_correlation",
        "beat_alignment",
        "level_sane",
    ]
    conditions: list[str] | None = None
    bootstrap: int = Field(default=10_000, ge=1)
    outside: dict[str, Folder] = {}
    control_alone: bool = False
    probes: int = Field(default=0, ge=0)


class Trained(Section):
    """What recipes of every kind have, each among its own fields: something is trained, here or on workers."""

    if TYPE_CHECKING:
        name: str
        description: str
        seed: int
        plugins: list[str]
        train: Train
        cluster: Cluster

        @property
        def content_hash(self) -> str:
            """Hex SHA-256 of everything that can change a result."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default, in the order of the schema."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The resolved recipe as YAML that reads back to an equal recipe."""
        return to_text(self.to_dict())

    @property
    def n_processes(self) -> int:
        """Processes that train under Ray; 0: this one."""
        return self.train.workers if self.cluster.workers is None else self.cluster.workers

    @property
    def train_seed(self) -> int:
        """Seed of training."""
        return self.seed if self.train.seed is None else self.train.seed


class Recipe(Trained):
    """A whole run. `load_recipe` makes it from a file; `to_yaml` writes it with every default spelt out.

    `device`: where it is meant to run. A run computes on the processor, and says so where another is named.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    description: str = ""
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    plugins: list[str] = []
    data: Data
    backbone: Backbone = Field(default_factory=Backbone)
    text: Text = Field(default_factory=Text)
    conditions: list[Condition] = []
    adaptor: Adaptor = Adaptor()
    train: Train = Train()
    cluster: Cluster = Cluster()
    generate: Generate = Generate()
    evaluate: Evaluate = Evaluate()
    versions: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _guided_as_released(cls, values: Any) -> Any:
        generate, adaptor = (
            (values.get("generate"), values.get("adaptor", {})) if isinstance(values, dict) else (0, 0)
        )
        named = generate.get("preset") if isinstance(generate, dict) else None
        if named in ("paper", "released_code") and isinstance(adaptor, dict):
            return values | {"adaptor": GUIDED_AS_RELEASED | filled("adaptor", adaptor)}
        return values

    @model_validator(mode="after")
    def _as_few_workers_as_there_are(self) -> Recipe:
        least = self.cluster.min_workers
        if least is not None and least > max(1, self.train.workers):
            raise ValueError(f"cluster.min_workers at most train.workers ({self.train.workers})")
        return self

    @model_validator(mode="after")
    def _rows_at_their_own_places(self) -> Recipe:
        if self.train.stretch_frames is not None and self.adaptor.needs_rows:
            raise ValueError("train.stretch_frames only where nothing is learned per row (positions, start, null)")
        return self

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "recipe") -> Recipe:
        """A recipe from what `to_dict` gave, now or earlier; RecipeError, naming `where`, for anything else."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(problems_of(error, cls, from_plain(values, where))) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default, in the order of the schema."""
        values = super().to_dict()
        values["train"] |= self.train._gone
        for key in ("epochs", "warmup_epochs"):  # of two units the one that counts
            del values["train"][key if values["train"][key] is None else RIVALS[key]]
        return values

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 of everything that can change a result."""
        no_content = ("name", "description", "versions", "cluster")
        return self.section_hash(*[name for name in type(self).model_fields if name not in no_content])

    def section_hash(self, *sections: str) -> str:
        """Hex SHA-256 of some top-level fields, for the cache keys of stages."""
        values = self.to_dict()
        # What is measured, not what is made: it may change without anything being trained or generated again.
        for measured in ("outside", "metrics", "bootstrap", "control_alone", "probes"):
            del values["evaluate"][measured]
        del values["generate"]["preset"]  # a name for what stands there anyway
        for newer in ("melody", "prompt_at", "negative"):  # keys that there were not always
            if not values["generate"][newer]:
                del values["generate"][newer]
        values["train"] = GONE | values["train"]
        if values["train"]["stretch_frames"] is None:
            del values["train"]["stretch_frames"]
        text = json.dumps({name: values[name] for name in sections}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def generate_seed(self) -> int:
        """Seed of generation."""
        return self.seed if self.generate.seed is None else self.generate.seed

    @property
    def joint_name(self) -> str:
        """Name of all conditions together: joined by '+' in recipe order; '' without conditions."""
        return "+".join(condition.name for condition in self.conditions)

    def condition(self, name: str) -> Condition:
        """The condition of that name. Raises KeyError."""
        return {condition.name: condition for condition in self.conditions}[name]

    def evaluation_conditions(self) -> list[str]:
        """Conditions to measure, in the order of the table."""
        own = [condition.name for condition in self.conditions]
        joint = [self.joint_name] if len(own) > 1 else []
        everything = [*CONTROLS_BEFORE, *own, *joint, *CONTROLS_AFTER]
        of_controls = ("shuffled", "lenders_truth", *CONTROLS_ALONE)
        if not own:  # nothing to shuffle
            everything = [name for name in everything if name not in of_controls]
        if self.evaluate.conditions is None:
            alone = self.evaluate.control_alone
            return [name for name in everything if alone or name not in CONTROLS_ALONE]
        together = self.joint_name or CONTROLS_BEFORE[0]
        chosen = [together if name == "all" else name for name in self.evaluate.conditions]
        extra = [name for name in chosen if name not in (*everything, *of_controls)]
        return [name for name in everything if name in chosen] + extra
