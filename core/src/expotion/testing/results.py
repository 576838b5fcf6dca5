"""What one check of the suite found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """One check: `passed` is None where it does not apply; `detail` says what was found, `fix` what to do."""

    name: str
    passed: bool | None
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        state = {True: "ok", False: "failed", None: "not run"}[self.passed]
        text = f"{self.name}: {state}: {self.detail}"
        return f"{text}; {self.fix}" if self.passed is False and self.fix else text


class Failed(Exception):
    """Raised inside a check: what was found, and what to do about it."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


class NotApplicable(Exception):
    """Raised inside a check that has nothing to check; the message says why."""
