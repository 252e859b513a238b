"""The difference between two recorded sessions: messages that are missing, added, changed, or in another order.

Pure. A message is matched with the one to the same target that says the same, else with the one most like it; of the
messages that were sent together the order means nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wattbus.testing.recording import Content, Hop, Recording, canonical

_ABSENT: Any = object()
_LONGEST_SHOWN = 200
# Each with each is a square: past this many the rest is paired in order.
_MOST_COMPARED = 200


class Change(StrEnum):
    """What happened to a message."""

    MISSING = "missing"
    ADDED = "added"
    CHANGED = "changed"
    ORDER = "order"


@dataclass(frozen=True)
class Difference:
    """One difference, at one message of the session."""

    path: tuple[str, ...]  # the items from outside to the message's target
    change: Change
    part: str  # request, response, error, sent; of a missing or an added message its type
    field: str = ""  # as a path of JSON: $.label
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.part, self.field)))
        if self.change is Change.MISSING:
            return f"missing: {what} {self.old}"
        if self.change is Change.ADDED:
            return f"added: {what} {self.new}"
        return f"{what}: {self.old} -> {self.new}"


def compare(old: Recording, new: Recording, ignore: Iterable[str] = ()) -> list[Difference]:
    """Return the differences; ``ignore`` are paths into bodies, such as ``$.timestamp``.

    ``$.a.b``, ``$.a[0]``, ``$.a[*].b`` for every element, ``$..b`` at any depth; what is below goes with it.
    """
    return list(_Comparison(tuple(_pattern(path) for path in ignore)).calls((), old.calls, new.calls))


def rendered(differences: Sequence[Difference], old: Recording) -> str:
    """Write the differences for a person, message by message."""
    if not differences:
        return f"the same {old.count()} messages"
    counted = "1 difference" if len(differences) == 1 else f"{len(differences)} differences"
    lines = [f"{counted} to the recorded session of {old.production}"]
    here: tuple[str, ...] | None = None
    for difference in differences:
        if difference.path != here:
            here = difference.path
            lines.append(" > ".join(here))
        lines.append(f"    {difference}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Comparison:
    ignored: tuple[re.Pattern[str], ...]

    def calls(self, path: tuple[str, ...], old: Sequence[Hop], new: Sequence[Hop]) -> Iterator[Difference]:
        """Compare what was sent for one message."""
        pairs = self._pairs(old, new)
        taken = {there for _, there in pairs}
        for here, there in pairs:
            name = _name(old, here)
            if there is None:
                hop = old[here]
                yield Difference(
                    (*path, name), Change.MISSING, hop.request.type, old=_shown(hop.request.body)
                )
            else:
                yield from self._hop((*path, name), old[here], new[there])
        for there, hop in enumerate(new):
            if there not in taken:
                yield Difference(
                    (*path, hop.target), Change.ADDED, hop.request.type, new=_shown(hop.request.body)
                )
        yield from self._order(path, old, new, pairs)

    def _hop(self, path: tuple[str, ...], old: Hop, new: Hop) -> Iterator[Difference]:
        if old.sent != new.sent:
            yield Difference(path, Change.CHANGED, "sent", old=old.sent, new=new.sent)
        yield from self._content(path, "request", old.request, new.request)
        if old.error != new.error:
            yield Difference(path, Change.CHANGED, "error", old=str(old.error), new=str(new.error))
        yield from self._content(path, "response", old.response, new.response)
        yield from self.calls(path, old.calls, new.calls)

    def _content(
        self, path: tuple[str, ...], part: str, old: Content | None, new: Content | None
    ) -> Iterator[Difference]:
        old_type, new_type = (content.type if content is not None else "none" for content in (old, new))
        if old_type != new_type:
            yield Difference(path, Change.CHANGED, f"{part} type", old=old_type, new=new_type)
        if old is None or new is None:
            return
        for field, before, after in _changed("$", old.body, new.body):
            if not self._is_ignored(field):
                yield Difference(path, Change.CHANGED, part, field, _shown(before), _shown(after))

    def _order(
        self,
        path: tuple[str, ...],
        old: Sequence[Hop],
        new: Sequence[Hop],
        pairs: list[tuple[int, int | None]],
    ) -> Iterator[Difference]:
        both = [
            (here, there)
            for here, there in pairs
            if there is not None and old[here].sent == new[there].sent == "sync"
        ]
        now = sorted(both, key=lambda pair: pair[1])
        if now != both:
            before, after = (", ".join(_name(old, here) for here, _ in order) for order in (both, now))
            yield Difference(path or ("outside",), Change.ORDER, "order", old=before, new=after)

    def _pairs(self, old: Sequence[Hop], new: Sequence[Hop]) -> list[tuple[int, int | None]]:
        """Return for each old message the new one that stands for it."""
        found: dict[int, int] = {}
        said: dict[str, list[int]] = {}
        for there, hop in enumerate(new):
            said.setdefault(self._words(hop), []).append(there)
        for here, hop in enumerate(old):
            if same := said.get(self._words(hop)):
                found[here] = same.pop(0)
        rest = sorted(there for left in said.values() for there in left)
        for here in (here for here in range(len(old)) if here not in found):
            near = [there for there in rest if new[there].target == old[here].target]
            if near:
                best = max(
                    near[:_MOST_COMPARED], key=lambda there: likeness(old[here].request, new[there].request)
                )
                found[here] = best
                rest.remove(best)
        return [(here, found.get(here)) for here in range(len(old))]

    def _words(self, hop: Hop) -> str:
        """Return what a message says, less what is ignored."""
        fields = [
            (field, value) for field, value in _leaves("$", hop.request.body) if not self._is_ignored(field)
        ]
        return canonical([hop.target, hop.request.type, fields])

    def _is_ignored(self, field: str) -> bool:
        return any(pattern.match(field) for pattern in self.ignored)


def likeness(one: Content, other: Content) -> float:
    """Return how much two messages say the same, 0 to 2; the same type counts as much as all fields."""
    ours, theirs = dict(_leaves("$", one.body)), dict(_leaves("$", other.body))
    names = ours.keys() | theirs.keys()
    same = sum(_equal(ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in names)
    return (one.type == other.type) + (same / len(names) if names else 1.0)


def _changed(field: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _changed(f"{field}.{name}", old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before, after = (items[index] if index < len(items) else _ABSENT for items in (old, new))
            yield from _changed(f"{field}[{index}]", before, after)
    elif not _equal(old, new):
        yield field, old, new


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(f"{field}.{name}", part)
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _leaves(f"{field}[{index}]", part)
    else:
        yield field, value


def _equal(one: Any, other: Any) -> bool:
    # JSON tells true from 1, Python does not.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _pattern(path: str) -> re.Pattern[str]:
    if not re.fullmatch(r"\$(\.\.?[^.\[\]]+|\[(\d+|\*)\])+", path):
        raise ValueError(
            f"{path!r} is no path into a body: write $.field, $.list[*].field, or $..field for any depth."
        )
    text = re.escape(path).replace(r"\.\.", r"(?:\.|.*\.)").replace(r"\[\*\]", r"\[\d+\]")
    return re.compile(text.replace(r"\.\*", r"\.[^.\[]+") + r"(?=[.\[]|$)")


def _name(hops: Sequence[Hop], index: int) -> str:
    target = hops[index].target
    same = [other for other, hop in enumerate(hops) if hop.target == target]
    return target if len(same) == 1 else f"{target} #{same.index(index) + 1}"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(not there)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"
