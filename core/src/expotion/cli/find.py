"""Recipes by file or by name: a name is looked up in the nearest folder `recipes`, here or above."""

from __future__ import annotations

from pathlib import Path

from expotion.errors import Problem, RecipeError, near


def recipes_folder(start: Path | None = None) -> Path | None:
    """The nearest folder `recipes` here or above, or None."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "recipes").is_dir():
            return folder / "recipes"
    return None


def recipe_files(folder: Path | None = None) -> list[Path]:
    """Recipe files of a folder (by default the nearest `recipes`), recursively, sorted."""
    where = folder or recipes_folder()
    if where is None or not where.is_dir():
        wanted = "a folder of recipes"
        raise RecipeError(
            Problem(str(where or Path.cwd()), wanted, "none", "run this in a checkout, or give --dir")
        )
    shown = [path for path in where.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file()]
    return sorted(_relative(path) for path in shown)


def find_recipe(name: str) -> Path:
    """The file of a recipe that is given as a path or as a name. Raises `RecipeError` with close names."""
    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    folder = recipes_folder()
    files = {file.stem: file for file in recipe_files(folder)} if folder else {}
    if name in files:
        return files[name]
    fix = near(name, files) or f"recipes: {', '.join(files) or 'none here'}"
    raise RecipeError(Problem(f"recipe {name!r}", "a recipe file or the name of one", None, fix))


def _relative(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return path
