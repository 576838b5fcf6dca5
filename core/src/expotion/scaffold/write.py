"""Write the package of a new plugin: templates of its kind and those that all kinds share.

A template's path is the path of the file that it makes; `__package__` and `__name__` in it are replaced. Blocks are
`<% %>` and values `<< >>`, because workflow files have braces of their own.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from expotion.errors import OutputError, PluginError, Problem

Kind = Literal["video", "audio", "track", "token", "metric", "data", "captioner"]
KINDS: tuple[str, ...] = get_args(Kind)
MEANING: dict[str, str] = {
    "video": "an encoder that looks at the picture",
    "audio": "an encoder that listens to the clip's sound",
    "track": "an encoder of a sensor or control file: CSV of times and values",
    "token": "an encoder of the prompt that feeds cross-attention",
    "metric": "a number for a generated sound",
    "data": "a source of clips",
    "captioner": "writes a caption for a clip",
}
LICENCES = ("MIT", "Apache-2.0")
_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"^[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*$")


@dataclass(frozen=True)
class Blueprint:
    """What the author decides. `name` is the plugin's name in recipes, with underscores."""

    name: str
    kind: str
    author: str = ""
    licence: str = "MIT"
    description: str = ""

    def __post_init__(self) -> None:
        problems = []
        if not _NAME.match(self.name) or keyword.iskeyword(self.name):
            problems.append(
                Problem("NAME", "lower-case letters, digits, single - or _, a letter first", repr(self.name))
            )
        if self.kind not in KINDS:
            problems.append(Problem("--kind", f"one of {', '.join(KINDS)}", repr(self.kind)))
        if self.licence not in LICENCES:
            problems.append(Problem("--licence", f"one of {', '.join(LICENCES)}", repr(self.licence)))
        if any(mark in text for text in (self.author, self.description) for mark in '"\\\n'):
            problems.append(Problem("--author, --description", "one line without quotes and backslashes"))
        if problems:
            raise PluginError(problems)

    @property
    def identifier(self) -> str:
        """The name as Python and recipes spell it."""
        return self.name.replace("-", "_")

    @property
    def distribution(self) -> str:
        """The name that pip knows."""
        return f"expotion-{self.identifier.replace('_', '-')}"

    @property
    def package(self) -> str:
        """The name that Python imports."""
        return f"expotion_{self.identifier}"


def write_package(blueprint: Blueprint, parent: Path) -> Path:
    """Write the package into a new folder of `parent`, all of it or nothing; returns the folder.

    Raises OutputError where the folder is there already or cannot be made.
    """
    target = parent / blueprint.distribution
    if target.exists():
        raise OutputError(
            Problem(str(target), "a new folder", "it is there already", "choose another name or --dir")
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{blueprint.distribution}-", dir=parent))
    except OSError as error:
        raise OutputError(
            Problem(str(parent), "a folder that can be written", str(error), "give another --dir")
        ) from error
    try:
        for name, text in render(blueprint):
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        os.replace(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def render(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Path and text of every file of the package, in order."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only when asked for

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # source files, not pages
    )
    version, meaning = importlib.metadata.version("expotion"), MEANING[blueprint.kind]
    values = {
        "name": blueprint.identifier,
        "package": blueprint.package,
        "distribution": blueprint.distribution,
        "class_name": "".join(part.capitalize() for part in blueprint.identifier.split("_")),
        "kind": blueprint.kind,
        "meaning": meaning,
        "author": blueprint.author,
        "licence": blueprint.licence,
        "description": blueprint.description or meaning[:1].upper() + meaning[1:],
        "requirement": f"expotion>={version},<{int(version.partition('.')[0]) + 1}",
        "year": datetime.datetime.now(tz=datetime.UTC).year,
    }
    for folder in ("common", blueprint.kind):
        for path in sorted((_TEMPLATES / folder).rglob("*.j2")):
            relative = path.relative_to(_TEMPLATES / folder).as_posix().removesuffix(".j2")
            if relative.startswith("LICENSE-"):
                if relative != f"LICENSE-{blueprint.licence}":
                    continue
                relative = "LICENSE"
            text = environment.get_template(path.relative_to(_TEMPLATES).as_posix()).render(values)
            relative = relative.replace("__package__", blueprint.package)
            yield relative.replace("__name__", blueprint.identifier), text


# Questions for what the command line did not say.


def complete(name: str | None, kind: str | None, author: str, licence: str, description: str) -> Blueprint:
    """The blueprint; name and kind are asked for on a terminal, and an error elsewhere."""
    asks = sys.stdin.isatty() and (name is None or kind is None)
    if not asks:
        missing = [
            Problem(what, wanted)
            for what, wanted, given in (
                ("NAME", "a name for the plugin", name),
                ("--kind", f"one of {', '.join(KINDS)}", kind),
            )
            if given is None
        ]
        if missing:
            raise PluginError(missing)
        return Blueprint(name or "", kind or "", author, licence, description)
    import typer  # noqa: PLC0415 - only where there is somebody to ask

    name = name or typer.prompt("Name in recipes (lower case, for example gaze)")
    if kind is None:
        for choice in KINDS:
            typer.echo(f"  {choice:<10} {MEANING[choice]}")
        kind = typer.prompt("Kind", default="video")
    description = description or typer.prompt("Description in one line", default="", show_default=False)
    author = author or typer.prompt("Author", default="", show_default=False)
    return Blueprint(str(name), str(kind), author, licence, description)
