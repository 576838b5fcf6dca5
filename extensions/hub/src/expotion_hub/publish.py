"""Publishing an adaptor: to a folder or a Hugging Face repository, with its card, recipe and measurements."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from expotion.adaptor.checkpoint import DESCRIPTION, TENSORS, check_adaptor, check_place, read_description
from expotion.adaptor.published import FILES, adaptor_folder, is_published, repository_of
from expotion.contracts import Encoder
from expotion.errors import ExpotionError, Problem, WeightsError, first_line
from expotion.features.encoders import build_encoders
from expotion.files import replacing_folder
from expotion.music.steering import described
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion_hub.catalogue import MUSICGEN_LICENCE

Licence = tuple[str, str, bool]
"""What, its licence, whether that is non-commercial."""


def card_of(folder: Path, registry: Registry, *, name: str | None = None, licence: str | None = None) -> str:
    """The card of an adaptor folder, in Markdown with the hub's front matter.

    `name` is how it will be loaded; `licence` the owner's own choice for the adaptor's weights. Encoders that are
    not installed are described by their names alone.
    """
    description, (recipe, metadata) = read_description(folder), described(folder)
    licences = list(_licences(recipe, registry))
    metrics = metrics_of(folder)
    blocks = [
        _front_matter(recipe, licences, metrics, licence),
        f"# {name or recipe.name}",
        recipe.description or "An adaptor for Expotion: a gated prefix that lets tracks steer a frozen MusicGen.",
        _use(name or str(folder)),
        _controls(recipe, registry),
        _training(recipe, metadata, description),
        _results(metrics),
        _licence_list(licences, licence),
        _limits(),
        "<details><summary>The whole recipe</summary>\n\n```yaml\n" + recipe.to_yaml() + "```\n\n</details>",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _front_matter(recipe: Recipe, licences: list[Licence], metrics: Mapping[str, Any], licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="expotion",
        pipeline_tag="text-to-audio",
        tags=["expotion", "music", "video-to-music", *[c.encoder for c in recipe.conditions]],
        license=(licence or ("cc-by-nc-4.0" if any(nc for _, _, nc in licences) else "other")).lower(),
        base_model=recipe.backbone.reference if recipe.backbone.kind == "hf" else None,
        metrics=sorted({metric for row in metrics.values() for metric in row}) or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _use(name: str) -> str:
    return (
        "## Use\n\n```\nexpotion generate CLIP.mp4 --adaptor " + name + "\n```\n\n```python\nimport expotion\n\n"
        f'composer = expotion.load("{name}")\nmusic = composer.compose("CLIP.mp4")\n```'
    )


def _controls(recipe: Recipe, registry: Registry) -> str:
    rows = ["| control | encoder | package | latent |", "|---|---|---|---|"]
    for condition in recipe.conditions:
        offer = registry.encoders.get(condition.encoder)
        package = "not installed here" if offer is None else offer.distribution
        rows.append(f"| {condition.name} | {condition.encoder} | {package} | {condition.rank} |")
    prompt = recipe.text.fixed_prompt
    words = "each clip's caption" if prompt is None else f"the fixed prompt '{prompt}'"
    return "## Controls\n\n" + "\n".join(rows) + f"\n\nText: {words}, through {recipe.text.encoder}."


def _training(recipe: Recipe, metadata: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    train, config = recipe.train, description["config"]
    options = ", ".join(f"{key} {value}" for key, value in recipe.data.options.items())
    long = f"{train.steps} steps" if train.epochs is None else f"{train.epochs:g} epochs, steps"
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    return (
        "## Training\n\n"
        f"Data: {recipe.data.source} ({options}).\n\n"
        f"Backbone: {recipe.backbone.source}, frozen; {config['n_adapted']} of {config['n_lm_layers']} layers "
        f"adapted. {long} of {train.clips_per_step} clips, {metadata['window_frames']} codec frames each, "
        f"seed {recipe.train_seed}.\n\nVersions: {versions}."
    )


def _results(metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    if not metrics:
        return "## Results\n\nNone were measured with this adaptor."
    names = list(dict.fromkeys(metric for row in metrics.values() for metric in row))
    rows = ["| condition | " + " | ".join(names) + " | clips |", "|---|" + "---:|" * (len(names) + 1)]
    for condition, row in metrics.items():
        cells = [_cell(row.get(name)) for name in names]
        clips = max((int(entry.get("n") or 0) for entry in row.values()), default=0)
        rows.append(f"| {condition} | " + " | ".join(cells) + f" | {clips} |")
    below = "Mean and 95% interval over test clips: BCa bootstrap, of proportions Wilson's."
    return "## Results\n\n" + "\n".join(rows) + f"\n\n{below}"


def _cell(entry: Mapping[str, float | None] | None) -> str:
    if entry is None or entry.get("mean") is None:
        return "-"
    mean, low, high = (entry.get(key) for key in ("mean", "ci_low", "ci_high"))
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _licences(recipe: Recipe, registry: Registry) -> Iterator[Licence]:
    source = recipe.backbone.source
    if source in registry.backbones:
        spec = registry.backbone(source)
        yield f"backbone {source}", spec.licence, spec.non_commercial
    elif "musicgen" in source.lower():
        yield f"backbone {source}", MUSICGEN_LICENCE, True
    else:
        yield f"backbone {source}", "see its source", False
    for name, encoder in _built(recipe, registry).items():
        for weights in encoder.spec.weights(encoder.options):
            yield f"{name}: {weights.name}", weights.licence, weights.non_commercial


def _built(recipe: Recipe, registry: Registry) -> dict[str, Encoder]:
    try:
        return build_encoders(recipe, registry)
    except ExpotionError:  # not installed or without weights: their licences cannot be told here
        return {}


def _licence_list(licences: list[Licence], licence: str | None) -> str:
    lines = [f"- {what}: {terms}{' (non-commercial)' if nc else ''}" for what, terms, nc in licences]
    own = f"The adaptor's own weights: {licence}. " if licence else ""
    return "## Licences\n\n" + own + "It works only together with:\n\n" + "\n".join(lines)


def _limits() -> str:
    return (
        "## Limits\n\nThe figures hold for the test clips named above. On other footage look at what the encoders "
        "see first: `expotion features show CLIP`."
    )


def push_adaptor(
    source: str | Path,
    target: str,
    registry: Registry,
    *,
    licence: str | None = None,
    private: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Publish to `hf:ORG/NAME` or a new folder; returns where it is. Nothing half-written stays behind."""
    with _staged(adaptor_folder(source), target, registry, licence) as staged:
        if is_published(target):
            recipe, _ = described(staged)
            return upload_adaptor(
                staged, target, private=private, message=f"Expotion adaptor {recipe.name}", say=say
            )
        folder = Path(target).expanduser()
        place(staged, folder)
        return str(folder)


def pull_adaptor(reference: str, out: Path | None) -> Path:
    """Bring an adaptor here: into the hub's cache, or as files of its own into `out`."""
    folder = adaptor_folder(reference)
    check_adaptor(folder, reference)
    if out is None:
        return folder
    place(folder, out)
    return out


def place(source: Path, target: Path) -> None:
    """Copy an adaptor's files to a new folder, an empty one, or over an adaptor; whole or not at all."""
    check_place(target)
    with replacing_folder(target) as draft:
        for path in sorted(source.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, draft / path.name)  # not the hub's link to it


@contextmanager
def _staged(folder: Path, target: str, registry: Registry, licence: str | None) -> Iterator[Path]:
    """The files to publish, in a temporary folder."""
    check_adaptor(folder)
    metadata = read_description(folder).get("metadata") or {}
    if "recipe" not in metadata:
        raise WeightsError(
            Problem(str(folder), "an adaptor that a recipe trained", "one without its recipe", "give a run folder")
        )
    with tempfile.TemporaryDirectory(prefix="expotion-publish-") as name:
        staged = Path(name)
        for file in (TENSORS, DESCRIPTION):
            shutil.copyfile(folder / file, staged / file)
        (staged / "recipe.yaml").write_text(described(folder)[0].to_yaml(), encoding="utf-8")
        metrics = metrics_of(folder)
        if metrics:
            (staged / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        shown = target if is_published(target) else Path(target).name
        card = card_of(folder, registry, name=shown, licence=licence)
        (staged / "README.md").write_text(card, encoding="utf-8")
        yield staged


def upload_adaptor(
    folder: Path, reference: str, *, private: bool, message: str, say: Callable[[str], None] = print
) -> str:
    """Put a folder's files into the repository `hf:ORG/NAME`, made if need be; returns its address.

    The token is the hub's own (HF_TOKEN or `hf auth login`). Raises ExpotionError.
    """
    repository, revision = repository_of(reference)
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        say(f"uploading to {repository}")
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            commit_message=message,
            revision=revision,
        )
    except Exception as error:  # the hub raises its HTTP client's errors, whose classes change
        fix = "log in with `hf auth login`, or push to a folder"
        raise ExpotionError(
            Problem(reference, "a repository that can be written to", first_line(error), fix)
        ) from error
    return f"https://huggingface.co/{repository}"


def metrics_of(folder: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """What `metrics.json` beside an adaptor or in its run folder says; {} where there is none."""
    for place in (folder, folder.parent):
        with suppress(OSError, ValueError):
            found = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            return cast(dict[str, dict[str, dict[str, float | None]]], found)
    return {}
