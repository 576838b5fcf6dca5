"""mkdocs: the page of the command line, made from `--help` of every command."""

from __future__ import annotations

import re
import typing

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/cli.md."""
    files.append(File.generated(config, "reference/cli.md", content=_page()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links that leave the documentation for the repository become plain words."""
    return re.sub(r"\[([^\]]+)\]\(\.\./(?!docs)[^)]*\)", r"\1", markdown)


def _page() -> str:
    from expotion.cli.main import app

    command = typer.main.get_command(app)
    lines = ["# Command line", "", "What `--help` says.", ""]
    for name, found in _walk("expotion", command):
        context = found.context_class(found, info_name=name, terminal_width=100, max_content_width=100)
        lines += [f"## {name}", "", "```text", found.get_help(context), "```", ""]
    return "\n".join(lines)


def _walk(name: str, command: typing.Any) -> typing.Iterator[tuple[str, typing.Any]]:
    yield name, command
    for child, found in getattr(command, "commands", {}).items():
        yield from _walk(f"{name} {child}", found)
