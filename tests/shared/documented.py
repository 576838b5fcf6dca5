"""The commands that the documentation shows in its shell blocks, page by page, in order, as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("*/*/README.md")),
    *sorted(ROOT.glob("examples/plugins/*/README.md")),
]
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = ("", "bash", "console", "sh", "text")
_STARTS = re.compile(r"(?:\$ )?((?:[A-Z_]+=\S+ )*(?:expotion|uv|pip|python3?|bash|sed|environment/bin/\S+)\s.*)$")

SIZES = (
    "data.train_clips=8 data.test_clips=2 train.steps=4 train.batch_size=2 generate.samples=1 evaluate.bootstrap=20"
)
"""What every `recipe run` is reduced to where the commands are run (`.ci/commands`)."""

NOT_RUN = {
    r"^environment/bin/|^python -m venv|^sed |^uv build": "the tutorial, which .ci/tutorial runs word for word",
    r"uv run (--\S+ \S+ )?pytest|python3 \.ci/": "a test of its own, which .ci/run and .ci/full run",
    r"python (benchmarks|plugins)/": "takes minutes to hours; its options are asked of its --help instead",
    r"--group (oracle|examples)\b|expotion_audiocraft": "needs an environment of its own; .ci/full makes them",
    r"hf:|s3://|rtsp://|models pull": "needs the network, an account or a bucket",
    r"--ray \S+:\d+": "needs a cluster at that address",
    r"expotion live 0": "needs a camera",
    r"expotion play \S+$": "needs speakers",
    r"person\.yaml|person_pose": "needs models that `models pull` fetches; .ci/full people runs them",
    r"qwen2_audio|--profile paper": "needs weights of gigabytes, which `recipe check` says with exit code 2",
    r"--profile musicgen|runs/musicgen": "needs weights of gigabytes",
    r"data scenes|scenes/manifest": "needs captioners' weights of gigabytes",
}
"""Commands that are not run, by a pattern, and why."""


@dataclass(frozen=True)
class Shown:
    """A command, its page (from the root), the number of its block on that page, and the comment behind it."""

    page: str
    text: str
    block: int = 0
    note: str = ""

    @property
    def why_not_run(self) -> str | None:
        """The reason why it is not run, or None."""
        return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, self.text)), None)


def shown() -> list[Shown]:
    """Every command of every page; what follows ` #` is left out, and continued lines are joined."""
    found = []
    for page in PAGES:
        blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
        for number, (language, block) in enumerate(blocks):
            if language not in _SHELL:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                text, _, note = line.partition(" #")
                match = _STARTS.match(text.rstrip())
                if match:
                    command = re.sub(r" {2,}", " ", match[1])
                    found.append(Shown(str(page.relative_to(ROOT)), command, number, note.strip()))
    return found
