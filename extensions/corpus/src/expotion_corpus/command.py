"""`expotion data ...`: from a folder of videos to a split that does not leak."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expotion.errors import ExpotionError, PluginError, Problem, in_short

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Prepare, split and check clips of your own.\n\n\b\nExample: expotion data prepare videos/ --out corpus",
    no_args_is_help=True,
    rich_markup_mode=None,
)
SHOWN = 20
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.jsonl.")]
Root = Annotated[Path | None, typer.Option(help="Where paths in a list start; default: its folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder, .csv, .jsonl, .parquet, .tar, or an authors' list.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifest.")],
    clip: Annotated[float, typer.Option(help="Length of a clip, s.")] = 10.0,
    hop: Annotated[float | None, typer.Option(help="From one clip to the next, s; default: --clip.")] = None,
    min_: Annotated[float, typer.Option("--min", help="Shortest clip, s.")] = 3.0,
    max_offset: Annotated[
        float | None, typer.Option(help="Drop files whose picture and sound begin further apart, s.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Caption of clips that have none.")] = None,
    captioner: Annotated[str | None, typer.Option(help="Captioner of a plugin; replaces captions.")] = None,
    caption_style: Annotated[str | None, typer.Option(help="The captioner's option `style`.")] = None,
    caption_set: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Another option of the captioner.")
    ] = None,
    codes: Annotated[str | None, typer.Option(help="Backbone whose codec makes codes, such as tiny.")] = None,
    root: Root = None,
    skip_missing: Annotated[bool, typer.Option(help="Leave out files that are not there.")] = False,
) -> None:
    """Check videos and write a manifest of clips; originals are not changed. Run again to go on.

    \b
    Example: expotion data prepare videos/ --out corpus --clip 10 --min 3
    """
    from expotion.manifest.rows import ManifestError
    from expotion.plugins import discover
    from expotion.progress import stage_progress
    from expotion.workers import n_workers, spread
    from expotion_corpus.examine import Settings, examine
    from expotion_corpus.prepare import prepare as run
    from expotion_corpus.prepare import where_of
    from expotion_corpus.work import Finish

    console = _console()
    settings = Settings(clip, clip if hop is None else hop, min_, max_offset)
    options = {} if caption_style is None else {"style": caption_style}
    options |= _pairs("--caption-set", caption_set, "words=20")
    if options and captioner is None:
        where = "--caption-style, --caption-set"
        raise ManifestError(Problem(where, "a captioner", "none", "add --captioner"))
    finish = Finish(out, discover(), captioner, options, codes, console)
    made = run(
        source,
        out,
        settings,
        # a few share one process, where starting more would cost time
        lambda items: spread(partial(examine, settings), items, workers=n_workers(len(items), items_per_worker=8)),
        prompt=prompt,
        root=root,
        skip_missing=skip_missing,
        finish=finish,
        progress=stage_progress(console, "examine"),
    )
    report = made.report
    drops = [f"dropped {where_of(drop)}: {drop['reason']}" for drop in report["dropped"]]
    same = [f"same sound, kept together: {', '.join(files)}" for files in report["same_sound"]]
    notes = [*report["warnings"], *finish.warnings, *drops, *same]
    if len(notes) > SHOWN:
        notes[SHOWN:] = [f"{len(notes) - SHOWN} more notes are in {out / 'report.json'}"]
    for line in notes:
        console.print(line, style="yellow", markup=False)
    console.print(
        f"{out / 'manifest.jsonl'}: {len(made.rows)} clips ({report['duration_s']:.0f} s) "
        f"of {report['files']} files, {report['without_caption']} without a caption",
        markup=False,
    )


ROLES = {"video": {"style": "video"}, "music": {"style": "music"}, "scene": {}}
"""Who writes a record of `data scenes`, and the options that its captioner gets where it has them."""


@app.command()
def scenes(
    source: Annotated[Path, typer.Argument(help="A manifest.jsonl, or what `prepare` reads.")],
    out: Annotated[Path, typer.Option(help="Folder for scenes.jsonl and manifest.jsonl.")],
    video: Annotated[str, typer.Option(help="Captioner of the picture.")] = "qwen2_audio",
    music: Annotated[str, typer.Option(help="Captioner of the music.")] = "qwen2_audio",
    scene: Annotated[
        str, typer.Option(help="Captioner that makes a scene of two lines, of music and video.")
    ] = "qwen2_fuse",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ROLE.NAME=VALUE", help="An option of one, such as music.model=DIR."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, each with the models; 0: this one.")] = 0,
    ray: Annotated[str | None, typer.Option(help="Over Ray. E.g. auto, local or host:6379.")] = None,
    clip: Annotated[float, typer.Option(help="Length of a clip, s, where SOURCE is no manifest.")] = 10.0,
) -> None:
    """Describe picture and music of clips and imagine the scene that the music suits. Run again to go on.

    scenes.jsonl holds the records; the captions of manifest.jsonl are the scenes, for `data split` and training.

    \b
    Example: expotion data scenes corpus/manifest.jsonl --out scenes
    """
    from expotion.lock import held
    from expotion.manifest.rows import read_manifest
    from expotion.plugins import discover
    from expotion.progress import stage_progress
    from expotion.workers import spread
    from expotion_corpus.scenes import Writer, make_scenes, voices_here
    from expotion_corpus.work import options_of

    registry, console = discover(), _console()
    given = _pairs("--set", set_, "music.model=folder")
    wrong = [name for name in given if name.partition(".")[0] not in ROLES or "." not in name]
    if wrong:
        raise PluginError(
            Problem("--set", f"one of {', '.join(f'{role}.NAME' for role in ROLES)}", ", ".join(wrong))
        )
    writers = {}
    for role, name in {"video": video, "music": music, "scene": scene}.items():
        spec = registry.captioner(name)
        known = {key: value for key, value in ROLES[role].items() if key in spec.options.model_fields}
        own = {key.partition(".")[2]: value for key, value in given.items() if key.startswith(f"{role}.")}
        options = options_of(spec.options, known | own, f"--set {role}.{{}}".format)
        for weights in spec.weights(options):
            console.print(f"{weights.name}: licence {weights.licence}", markup=False)
        writers[role] = Writer.of(registry, name, options)
    manifest = source
    if source.suffix != ".jsonl":
        prepare(source, out / "clips", clip=clip, hop=None, min_=3.0, max_offset=None)
        manifest = out / "clips" / "manifest.jsonl"
    rows = read_manifest(manifest, files=True)
    voices, notes = voices_here(registry)

    def told(stage: str) -> Any:
        return lambda done, total: shown(done, total, stage)

    with held(out), stage_progress(console, "scenes") as shown:
        made = make_scenes(
            rows,
            manifest.parent,
            out,
            writers=writers,
            voices=voices,
            spread=lambda ask, of: spread(ask, of, workers=workers, ray=ray),
            progress=told,
        )
    for line in [*notes, *made.notes][:SHOWN]:
        console.print(line, style="yellow", markup=False)
    console.print(f"{out / 'scenes.jsonl'}: {len(made.records)} records of {len(rows)} clips", markup=False)
    if not made.records:
        raise ExpotionError(
            [
                Problem(str(out), "at least one record", "none"),
                *[Problem(str(out), note) for note in made.notes[:SHOWN]],
            ]
        )


@app.command()
def split(
    manifest: Manifest,
    by: Annotated[str, typer.Option(help="What must not cross.")] = "recording,song,performer",
    test: Annotated[float, typer.Option(help="Fraction of the duration.")] = 0.1,
    validation: Annotated[float, typer.Option(help="Fraction of the duration.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Default: split.jsonl beside the manifest.")] = None,
) -> None:
    """Split so that no recording, song, performer or sound is in two parts, and prove it.

    \b
    Example: expotion data split corpus/manifest.jsonl --test 0.1 --validation 0.1
    """
    from expotion_corpus.split import KEYS, split_manifest

    target = out or manifest.with_name("split.jsonl")
    report = split_manifest(manifest, target, _fields(by, KEYS), test, validation, seed)
    for name, counts in report["splits"].items():
        typer.echo(f"{name:<11}" + ", ".join(f"{key} {value}" for key, value in counts.items()))
    for key, count in report["unknown"].items():
        if count:
            typer.echo(f"{key} is not known of {count} clips: nothing keeps those apart by it", err=True)
    typer.echo(f"{len(report['groups'])} groups; {len(report['crossings'])} cross (computed from {target})")


@app.command()
def check(manifest: Manifest) -> None:
    """Hold a manifest against its files: all there, unchanged, long enough, at the stated rate.

    \b
    Example: expotion data check corpus/split.jsonl
    """
    from expotion.manifest.rows import ManifestError
    from expotion.progress import stage_progress
    from expotion_corpus.stats import verify

    console = _console()
    with stage_progress(console, "check") as progress:
        rows, problems = verify(manifest, progress)
    if problems:
        raise ManifestError(problems)
    console.print(f"{manifest}: {len(rows)} clips, all as they were prepared", markup=False)


@app.command()
def audit(
    lists: Annotated[list[Path], typer.Argument(help="A split list or folder, or one list for each part.")],
    by: Annotated[str | None, typer.Option(help="Fields to compare; default: all.")] = None,
    fingerprints: Annotated[bool, typer.Option(help="Compare the sounds as well.")] = True,
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole report as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find leaks by metadata and by sound; exit code 1 when there are any.

    \b
    Example: expotion data audit train.txt test.txt
    """
    from expotion.files import write_json
    from expotion.progress import stage_progress
    from expotion_corpus.audit import FIELDS
    from expotion_corpus.audit import audit as run

    fields = FIELDS if by is None else _fields(by, FIELDS)
    with stage_progress(_console(stderr=True), "audit") as progress:
        report = run(lists, fields=fields, root=root, fingerprints=fingerprints, progress=progress)
    if out is not None:
        write_json(out, report)
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False, default=str))
    else:
        _print_audit(report)
    if report["leaks"]:
        raise typer.Exit(1)


def _print_audit(report: dict[str, Any]) -> None:
    leaks = report["leaks"]
    for leak in leaks[:SHOWN]:
        told = "; ".join(f"{part}: {', '.join(ids[:3])}" for part, ids in leak["clips"].items())
        typer.echo(f"leak by {leak['by']}: {leak['value']} ({told})")
    if len(leaks) > SHOWN:
        typer.echo(f"... and {len(leaks) - SHOWN} more; --out FILE writes them all")
    for line in report["summary"]:
        values = f"{line['shared']} of {line['values']} values, " if "values" in line else ""
        told = f"{values}{line['leaking_clips']} of {line['clips']} clips also elsewhere"
        typer.echo(f"{line['by']:<12}{line['part']}: {told}")
    for line in report["unread"][:5]:
        typer.echo(f"not heard: {line}", err=True)
    if len(report["unread"]) > 5:
        typer.echo(f"... {len(report['unread'])} clips were not heard", err=True)
    for field, count in report["unknown"].items():
        if count:
            typer.echo(f"{field} is not known of {count} clips", err=True)
    counts = ", ".join(f"{name} {count}" for name, count in report["parts"].items())
    heard = f"; {report['heard']} heard" if report["fingerprints"] else "; sounds were not compared"
    typer.echo(f"{len(leaks)} leaks; clips: {counts}{heard}")


@app.command()
def stats(
    manifest: Manifest,
    tempo: Annotated[bool, typer.Option(help="Estimate tempi; decodes every sound.")] = True,
    html: Annotated[Path | None, typer.Option(help="Write a page with players as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show lengths, loudness, tempi, captions and sizes.

    \b
    Example: expotion data stats corpus/manifest.jsonl
    """
    from expotion.manifest.rows import read_manifest
    from expotion_corpus.stats import stats as run
    from expotion_corpus.work import tempo_of

    rows = read_manifest(manifest, files=tempo)
    numbers: dict[str, Any] = run(rows, partial(tempo_of, manifest.parent) if tempo else None)
    if as_json:
        typer.echo(json.dumps(numbers, indent=1))
    else:
        for name, value in numbers.items():
            told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            typer.echo(f"{name:<18}{'unknown' if value is None else told or 'none'}")
    if html is not None:
        overview(manifest, html)


@app.command()
def overview(
    manifest: Manifest,
    out: Annotated[Path | None, typer.Option(help="Default: NAME.html beside the manifest.")] = None,
    embed: Annotated[bool, typer.Option(help="Put small copies of the clips into the page.")] = False,
    most: Annotated[int, typer.Option(min=1, help="Clips with players, those with problems first.")] = 300,
) -> None:
    """Write a page to look through: players, captions, loudness, problems, histograms.

    \b
    Example: expotion data overview corpus/split.jsonl
    """
    from expotion_corpus.overview import write_overview

    path = out or manifest.with_suffix(".html")
    for note in write_overview(manifest, path, embed=embed, most=most):
        typer.echo(note, err=True)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="A data source, such as conductor.")],
    out: Annotated[Path, typer.Option(help="Folder for train/ and test/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the source.")
    ] = None,
) -> None:
    """Write the clips of a data source as mp4 with sound, captions beside them.

    \b
    Example: expotion data export conductor --out videos --set train_clips=16 --set test_clips=4
    """
    from expotion.lock import held
    from expotion.plugins import discover
    from expotion.progress import stage_progress
    from expotion.workers import n_workers, spread
    from expotion_corpus.export import export_clip
    from expotion_corpus.work import options_of

    spec = discover().data_source(source)
    given = _pairs("--set", settings, "face=features/face")
    data = spec.build(options_of(spec.options, given, lambda name: f"--set {name} ({source})"))
    jobs = [(clip, out / "train") for clip in data.clips("train")]
    jobs += [(clip, out / "test") for clip in data.clips("test")]
    console = _console()
    failed: list[Problem] = []
    n_failed = 0
    with held(out), stage_progress(console, "export") as progress:
        results = spread(export_clip, jobs, workers=n_workers(len(jobs), items_per_worker=4))
        for done, (index, result) in enumerate(results, start=1):
            if isinstance(result, ExpotionError):
                failed += result.problems
                n_failed += 1
            elif isinstance(result, Exception):
                failed.append(Problem(jobs[index][0].id, "a clip that can be written", in_short(result)))
                n_failed += 1
            progress(done, len(jobs), jobs[index][0].id)
    console.print(f"{out}: {len(jobs) - n_failed} clips", markup=False)
    if failed:
        raise ExpotionError([*failed, Problem(str(out), "every clip", f"{n_failed} could not be written")])


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def _fields(given: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names of --by, each of which is known."""
    from expotion.manifest.rows import ManifestError

    fields = tuple(word.strip() for word in given.split(",") if word.strip())
    if unknown := [field for field in fields if field not in known]:
        raise ManifestError(Problem("--by", f"some of {', '.join(known)}", ", ".join(unknown)))
    return fields


def _pairs(option: str, given: list[str] | None, example: str) -> dict[str, str]:
    from expotion.recipe.pairs import split_pairs

    problems: list[Problem] = []
    pairs = split_pairs(option, given, "NAME=VALUE", example, problems)
    if problems:
        raise PluginError(problems)
    return pairs
