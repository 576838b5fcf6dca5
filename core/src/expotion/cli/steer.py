"""The options that steer, the same for `generate`, `play` and `live`, and a file of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from expotion.errors import Problem, RecipeError

if TYPE_CHECKING:
    from expotion.recipe.nodes import Node

steer = functools.partial(typer.Option, rich_help_panel="Steering")
draw = functools.partial(typer.Option, rich_help_panel="Sampling")
models = functools.partial(typer.Option, rich_help_panel="Models")


def _options(
    *,
    prompt: Annotated[
        str | None, steer("--prompt", "-p", metavar="TEXT", help='What it is like. E.g. "calm strings".')
    ] = None,
    prompt_at: Annotated[
        list[str] | None,
        steer("--prompt-at", metavar="SECOND=TEXT", help='Another prompt from then on. E.g. 8="storm, drums".'),
    ] = None,
    negative: Annotated[
        str | None, steer("--negative", metavar="TEXT", help='A prompt to stay away from. E.g. "drums".')
    ] = None,
    theme: Annotated[
        Path | None, steer("--continue", metavar="FILE", help="Start from the end of this sound. E.g. theme.wav.")
    ] = None,
    theme_s: Annotated[
        float | None, steer("--theme-s", metavar="SECONDS", help="How much of it, by default 3. E.g. 2.")
    ] = None,
    seed: Annotated[
        int | None, steer("--seed", "-s", metavar="N", help="Another seed, another piece. E.g. 7.")
    ] = None,
    strength: Annotated[
        list[str] | None,
        steer(
            "--strength",
            metavar="NAME=VALUE",
            help="How strongly a control steers, or a schedule by second. E.g. motion=0.5 or motion=0:1.0,5:0.2.",
        ),
    ] = None,
    guidance: Annotated[
        list[str] | None, steer("--guidance", metavar="NAME=SCALE", help="A control's own guidance. E.g. motion=2.")
    ] = None,
    mute: Annotated[
        list[str] | None, steer("--mute", metavar="NAME", help="Leave a control out. E.g. face.")
    ] = None,
    control: Annotated[
        list[str] | None,
        steer("--control", metavar="NAME=CLIP", help="Take it from another clip. E.g. motion=b.mp4."),
    ] = None,
    overlap_s: Annotated[
        float | None, steer("--overlap", metavar="SECONDS", help="How much a window continues the last. E.g. 4.")
    ] = None,
    steering: Annotated[
        Path | None,
        steer(
            "--steering",
            metavar="YAML",
            help="All of it from a file; options beside it count more. E.g. calm.yaml.",
        ),
    ] = None,
    cfg_scale: Annotated[
        float | None, draw("--cfg-scale", metavar="SCALE", help="The text's guidance. E.g. 3.")
    ] = None,
    temperature: Annotated[
        float | None, draw("--temperature", metavar="T", help="Below 1 plays safer. E.g. 0.9.")
    ] = None,
    top_k: Annotated[
        int | None, draw("--top-k", metavar="K", help="Choose among the K likeliest. E.g. 250.")
    ] = None,
    top_p: Annotated[
        float | None, draw("--top-p", metavar="P", help="Choose within this probability. E.g. 0.9.")
    ] = None,
    precision: Annotated[
        str | None, draw("--precision", metavar="KIND", help="auto, fp32, bf16, fp16 or int8. E.g. int8.")
    ] = None,
    adaptor: Annotated[
        Path | None,
        models(
            "--adaptor", "-a", metavar="DIR", help="A run or adaptor folder, pixels, or person. E.g. runs/best."
        ),
    ] = None,
    backbone: Annotated[
        str | None, models("--backbone", metavar="NAME", help="Another backbone of the same size. E.g. tiny.")
    ] = None,
) -> None:
    """What every command that makes music takes; `steered` adds it to a command's own options."""


PARTS = ("part", "start", "duration", "outside")
"""Options of a command that makes files, for parts of a clip."""
_NAMED_APART = {"overlap_s": "--overlap", "theme": "--continue"}


def steered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above: it is called with `steering` and the `problems` found in it.

    The steering has been held against the adaptor; nothing has been loaded. Where memory runs out, the error says
    what lowers it.
    """
    shared = inspect.signature(_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True, locals={"Steering": Any, "Problem": Any})
    before = [each for name, each in own.parameters.items() if name not in ("steering", "problems")]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        from expotion.errors import ExpotionError
        from expotion.music.out_of_memory import memory_problem
        from expotion.music.steering import Steering

        problems: list[Problem] = []
        options = {name: given.pop(name) for name in (*shared, *PARTS) if name in given}
        root = _tree(options, problems)
        steering = Steering.read(root, problems)
        problems += steering.misfits(root)
        try:
            command(**given, steering=steering, problems=problems)
        except (MemoryError, RuntimeError, OSError, ImportError) as error:
            short = memory_problem(f"expotion {command.__name__}", error)
            if short is None:
                raise
            raise ExpotionError(short) from error

    del run.__wrapped__  # typer would look at the command's own options through it
    whole = own.replace(parameters=[*before, *shared.values()])
    run.__signature__ = whole  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in whole.parameters.items()}
    return run


def _tree(options: Mapping[str, Any], problems: list[Problem]) -> Node:
    """The steering file, and over it the options that were given, each value with its place."""
    from expotion.recipe.nodes import Node, parse_scalar
    from expotion.recipe.pairs import split_pairs

    root = Node({}, "") if options["steering"] is None else _file(options["steering"], problems)
    tree: dict[str, Node] = dict(root.value)
    for name, value in options.items():
        if value is not None and not isinstance(value, list) and name != "steering":
            tree[name] = Node(value, _NAMED_APART.get(name, f"--{name.replace('_', '-')}"))
    later = split_pairs("--prompt-at", options["prompt_at"], "SECOND=TEXT", '8="storm, drums"', problems)
    if later:
        timed = []
        for at_s, text in later.items():
            where = f"--prompt-at {at_s}={text}"
            timed.append(Node({"at_s": Node(parse_scalar(at_s), where), "prompt": Node(text, where)}, where))
        tree["prompt_at"] = Node(timed, "--prompt-at")
    parts = _parts(tree, options.get("part") or (), problems)
    if parts:
        tree["parts"] = Node(parts, "--part")
    strengths = split_pairs("--strength", options["strength"], "NAME=VALUE", "motion=0.5", problems)
    scales = split_pairs("--guidance", options["guidance"], "NAME=SCALE", "motion=2", problems)
    clips = split_pairs("--control", options["control"], "NAME=CLIP", "motion=other.mp4", problems)
    muted = {name: Node(None, f"--mute {name}") for name in options["mute"] or ()}
    for name in muted.keys() & clips.keys():
        problems.append(Problem(f"--mute {name}", "a control that --control does not set", clips[name]))
    named = {
        "strengths": {name: Node(text, f"--strength {name}={text}") for name, text in strengths.items()},
        "guidance": {n: Node(parse_scalar(text), f"--guidance {n}={text}") for n, text in scales.items()},
        "controls": {name: Node(path, f"--control {name}={path}") for name, path in clips.items()} | muted,
    }
    for field, nodes in named.items():
        before = tree.get(field, Node({}, ""))
        if nodes:
            whole = {**before.value, **nodes} if isinstance(before.value, dict) else nodes
            tree[field] = Node(whole, before.where)
    return Node(tree, root.where)


def _parts(tree: dict[str, Node], given: Sequence[str], problems: list[Problem]) -> list[Node]:
    """Parts as they were typed; --start and --duration, which leave the tree, are one."""
    from expotion.recipe.nodes import Node

    parts = [Node(text, f"--part {text}") for text in given]
    start, duration = tree.pop("start", None), tree.pop("duration", None)
    if start is None and duration is None:
        return parts
    if parts:
        problems.append(Problem("--part", "either --part, or --start and --duration for one", "both"))
    start_s = 0.0 if start is None else start.value
    if start_s < 0 or (duration is not None and duration.value <= 0):
        got = " ".join(f"{node.where} {node.value:g}" for node in (start, duration) if node is not None)
        problems.append(Problem("--start", "a start of at least 0 s and a duration above 0", got))
        return parts
    end = "" if duration is None else f"{start_s + duration.value!r}"
    named = " ".join(f"{node.where} {node.value:g}" for node in (start, duration) if node is not None)
    return [Node(f"{start_s!r}-{end}", named)]


def _file(path: Path, problems: list[Problem]) -> Node:
    """The tree of a steering file. What is no such file is a problem, and counts as an empty one."""
    from expotion.recipe.nodes import Node, read_file
    from expotion.recipe.problems import show

    if not path.is_file():
        problems.append(Problem(f"--steering {path}", "a YAML file", "no such file"))
        return Node({}, "")
    try:
        root = read_file(path, problems)
    except RecipeError as error:
        problems += error.problems
        return Node({}, "")
    if not isinstance(root.value, dict):
        fix = "for example: temperature: 0.9"
        problems.append(Problem(root.where, "a mapping of fields", show(root.plain()), fix))
        return Node({}, "")
    return root


class Panels(TyperCommand):
    """A command whose help shows its options in groups (their `rich_help_panel`), without loading rich."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What the usage line says: `CLIPS...` where typer would write `{CLIPS}...`."""
        return [piece.strip("{").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then a section for each panel, in the order of the options."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                argument = "Arguments" if option.param_type_name == "argument" else "Options"
                panel = getattr(option, "rich_help_panel", None) or argument
                panels.setdefault(panel, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)
