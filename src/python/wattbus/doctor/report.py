"""What the doctor says: checks with their findings, and a report of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from wattbus import words

_MOST_SHOWN = 5
_LONGEST = 400


@dataclass(frozen=True)
class Check:
    """One promise, whether it holds, what was counted or found wrong, and what to do where it does not."""

    code: str
    name: str
    ok: bool
    details: tuple[str, ...]
    cure: str


@dataclass(frozen=True)
class Report:
    """All checks of one home."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every promise holds."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe values."""
        return {
            "ok": self.ok,
            "checks": [{**asdict(check), "details": list(check.details)} for check in self.checks],
        }

    def to_text(self) -> str:
        """Return the report as lines for a terminal."""
        lines = []
        for check in self.checks:
            lines.append(f"{check.code}  {'ok   ' if check.ok else 'WRONG'}  {check.name}")
            lines += [f"           {detail}" for detail in check.details]
            lines += [f"           what to do: {check.cure}"] if not check.ok else []
        return "\n".join([*lines, "ok" if self.ok else "something is wrong, see above"]) + "\n"


def joined(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks in the order of their codes, those of one code as one."""
    by_code: dict[str, Check] = {}
    for check in checks:
        other = by_code.get(check.code)
        if other is not None:
            cure = " ".join(part for part in (other.cure, check.cure) if part)
            check = replace(other, ok=other.ok and check.ok, details=other.details + check.details, cure=cure)
        by_code[check.code] = check
    return tuple(by_code[code] for code in sorted(by_code))


class Findings:
    """What one check finds: counts, notes, and what is wrong; the first of each kind are shown, all are counted."""

    def __init__(self) -> None:
        self._counts: list[str] = []
        self._notes: list[str] = []
        self._wrong: list[str] = []
        self.ok = True

    def count(self, text: str) -> None:
        """Say what was looked at."""
        self._counts.append(text)

    def note(self, text: str) -> None:
        """Say something that is not wrong."""
        self._notes.append(words.clean(text, _LONGEST))

    def wrong(self, text: str) -> None:
        """Say one thing that is wrong."""
        self.all_wrong([text])

    def all_wrong(self, texts: Iterable[str]) -> None:
        """Say the things of one kind that are wrong, without keeping more than are shown."""
        total = 0
        for text in texts:
            total += 1
            if total <= _MOST_SHOWN:
                self._wrong.append(words.clean(text, _LONGEST))
        if total > _MOST_SHOWN:
            self._wrong.append(f"and {total - _MOST_SHOWN:,} more of this kind")
        self.ok = self.ok and not total

    def check(self, code: str, name: str, cure: str) -> Check:
        """Return the check that these findings make."""
        return Check(
            code, name, self.ok, (*self._counts, *self._wrong, *self._notes), "" if self.ok else cure
        )
