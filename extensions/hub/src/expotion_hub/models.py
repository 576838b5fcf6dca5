"""`expotion models ...`: official weights, their licences and the cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from expotion_hub.catalogue import Entry
    from expotion_hub.pull import Pulled

app = typer.Typer(
    help="List, show and download official weights.\n\n\b\nExample: expotion models list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `models list`.")]


@app.command("list")
def list_() -> None:
    """List what can be downloaded: size, licence, source, and what is in the cache.

    \b
    Example: expotion models list
    """
    from rich.console import Console

    from expotion.plugins import discover
    from expotion.progress import columns
    from expotion_hub.catalogue import catalogue
    from expotion_hub.pull import pulled

    table = columns("name", "in the cache", "size", "licence", "source", "used by")
    for entry in catalogue(discover()).values():
        there = pulled(entry.name)
        table.add_row(
            entry.name,
            "yes" if there else "no",
            _size(there.size_bytes if there else entry.size_bytes),
            _licence(entry),
            entry.source,
            entry.used_by,
        )
    terminal = Console().is_terminal
    Console(highlight=False, width=None if terminal else 240).print(table)


@app.command()
def show(name: Name) -> None:
    """Show one entry: source, size, hash, licence, and where it lies in the cache.

    \b
    Example: expotion models show musicgen_small
    """
    from expotion.plugins import discover
    from expotion_hub.catalogue import WHEEL, find
    from expotion_hub.pull import address_of, pulled

    entry, there = find(discover(), name), pulled(name)
    address, digest = (entry.source, entry.sha256) if entry.source.startswith(("hf:", WHEEL)) else address_of(entry)
    lines = [
        f"{entry.name}: {entry.description}",
        f"  source: {address}",
        f"  size: {_size(there.size_bytes if there else entry.size_bytes)}",
        f"  SHA-256: {there.sha256 if there else digest or 'recorded on first download'}",
        f"  licence: {_licence(entry)}",
        f"  used by: {entry.used_by}",
        f"  in the cache: {there.file if there else 'no'}",
    ]
    for line in lines:
        typer.echo(line)


@app.command("pull")
def pull_(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence without being asked.")] = False,
    wheel: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE.whl", help="The wheel of an entry that lies in one, without a network."
        ),
    ] = None,
) -> None:
    """Download one entry into the cache; an interrupted download goes on where it stopped.

    \b
    Example: expotion models pull musicgen_small --yes
    Example: expotion models pull mediapipe_person --from mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl
    """
    from rich.console import Console

    from expotion.errors import Problem, WeightsError
    from expotion.plugins import discover
    from expotion_hub.catalogue import WHEEL, find
    from expotion_hub.pull import whole

    entry = find(discover(), name)
    console = Console(highlight=False, soft_wrap=True)
    if wheel is not None and not entry.source.startswith(WHEEL):
        raise WeightsError(
            Problem(f"--from {wheel}", "an entry that lies in a wheel", f"{name} from {entry.source}")
        )
    if (there := whole(entry)) is None:
        console.print(f"{entry.name} from {wheel or entry.source}, {_size(entry.size_bytes)}", markup=False)
        _agree(entry, yes, console)
        there = _download(entry, console, wheel)
    console.print(f"{entry.name}: {there.folder if entry.files else there.file}", markup=False)
    console.print(f"  {_size(there.size_bytes)}, SHA-256 {there.sha256}", markup=False)


def _agree(entry: Entry, yes: bool, console: Console) -> None:
    """Say the licence before anything is downloaded; non-commercial ones need a yes."""
    from expotion.errors import Problem, WeightsError

    console.print(f"Licence: {_licence(entry)}", markup=False)
    if not entry.non_commercial or yes:
        return
    console.print("These weights must not be used commercially.", markup=False)
    if not sys.stdin.isatty():
        fix = "add --yes if your use is non-commercial"
        raise WeightsError(Problem(f"model {entry.name}", "your agreement to a non-commercial licence", None, fix))
    typer.confirm("Download for non-commercial use?", abort=True)


def _download(entry: Entry, console: Console, wheel: Path | None) -> Pulled:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from expotion_hub.pull import pull

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(entry.name, total=None)
        return pull(entry, progress=lambda done, total: bar.update(task, completed=done, total=total), wheel=wheel)


def _licence(entry: Entry) -> str:
    return f"{entry.licence} (non-commercial)" if entry.non_commercial else entry.licence


def _size(size_bytes: int | None) -> str:
    return "size not known before the download" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
