"""Load a MusicGen through audiocraft and write it in transformers' layout.

python -m expotion_audiocraft facebook/musicgen-small      into the cache: the backbone audiocraft-small
python -m expotion_audiocraft MODEL FOLDER                  a hub name or a folder of audiocraft's files
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from expotion.errors import ExpotionError
from expotion_audiocraft import backbones, convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m expotion_audiocraft", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("model", help="a folder of audiocraft's two files, or a name on the hub")
    parser.add_argument("folder", nargs="?", help="a new folder; published models go to the cache without one")
    asked = parser.parse_args(arguments)
    names = {model: name for name, model in backbones.PUBLISHED.items()}
    if asked.folder is None and asked.model not in names:
        parser.error(f"name a folder to write to (only {', '.join(names)} have a place of their own)")
    if asked.model in names:
        print(f"{asked.model}: weights under {backbones.LICENCE}: no commercial use", file=sys.stderr)
    folder = Path(asked.folder) if asked.folder else backbones.converted_folder(asked.model)
    try:
        convert(asked.model, folder)
    except ExpotionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(folder)
    if not asked.folder:
        print(f"a recipe names it {names[asked.model]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
