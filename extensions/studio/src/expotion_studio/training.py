"""The job of the room Train: recordings to a manifest of their own, a recipe, and the run of the command line.

Takes of one piece stay together: the test part is pieces that were not trained on, by the same person or people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from expotion.files import write_json, write_text
from expotion_studio.recipes import recipe_of
from expotion_studio.recording import manifest
from expotion_studio.shelf import Shelf

if TYPE_CHECKING:
    from expotion.manifest.rows import Row
    from expotion_web.worker import Telling

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
LEAST_SONGS, VALIDATED_FROM = 3, 10
"""Pieces from which on some are left to test on, and some more to watch the training by."""
NO_TEST = "fewer than three pieces: no test part; nothing is measured, and what is heard was trained on"


def train(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """Run, or go on with, the recipe of a run. Killed and begun anew, it goes on where it was."""
    from expotion import plugins
    from expotion.recipe.load import load_recipe
    from expotion.run.stages import run_recipe

    shelf = Shelf(Path(given["root"]))
    file = shelf.runs / f"{given['name']}.yaml"
    registry = plugins.discover()
    if not file.is_file():
        manifest({"root": given["root"], "clip_s": given["clip_s"], "codes": None}, telling)
        write_text(file, yaml.safe_dump(own_recipe(shelf, given), sort_keys=False, allow_unicode=True))
    done = run_recipe(
        recipe=load_recipe(file, registry=registry, ready=True),
        registry=registry,
        out_dir=shelf.runs / given["name"],
        resume=None,
        console=telling.console,
    )
    return {"run": done.name}


def own_recipe(shelf: Shelf, given: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a run beside its recipe, split by piece, and give the recipe."""
    from expotion.manifest.rows import read_manifest, write_manifest

    wanted, name = set(given["recordings"]), given["name"]
    rows = [row for row in read_manifest(shelf.corpus / "manifest.jsonl") if row.recording in wanted]
    note = says(len({row.song for row in rows}), len({row.performer for row in rows}))
    write_json(shelf.runs / f"{name}.recordings.json", sorted(wanted))
    path = shelf.runs / f"{name}.jsonl"
    header = {"source": "the studio's recordings", "note": note, "steps": given["steps"]}
    write_manifest(path, split(rows), header)  # and NAME.json, its header
    told = f"Trained in the studio on {len(wanted)} recordings: {note}"
    return recipe_of(given, path, told, tested=note != NO_TEST)


def says(n_songs: int, n_people: int) -> str:
    """What the numbers of a run over so many pieces and performers are numbers of."""
    if n_songs < LEAST_SONGS:
        return NO_TEST
    return "this person, unseen pieces" if n_people == 1 else "these people, unseen pieces"


def split(rows: Sequence[Row]) -> list[Row]:
    """Rows with their part: a fifth of the pieces, and one at least, to test on.

    With fewer than three pieces all is trained on, and one clip stands a second time, to be heard.
    """
    from expotion_corpus.split import assign

    n_songs = len({row.song for row in rows})
    if n_songs < LEAST_SONGS:
        heard = rows[0].model_copy(update={"id": f"{rows[0].id} (trained on)", "split": "test"})
        return [*(row.model_copy(update={"split": "train"}) for row in rows), heard]
    watched = VALIDATION_SHARE if n_songs >= VALIDATED_FROM else 0.0
    return assign(rows, ("song", "recording"), max(TEST_SHARE, 1.0 / n_songs), watched, 0)[0]
