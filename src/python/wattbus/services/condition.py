"""A condition on the rows of a table: comparisons joined by AND, parsed and never passed on as SQL text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from wattbus.errors import BadSettings

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"]|"")+")
      | (?P<text>'(?:[^']|'')*')
      | (?P<number>[-+]?\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<operator><=|>=|<>|!=|=|<|>)
    )""",
    re.VERBOSE,
)
_EXAMPLE = "status = 'new' AND amount >= 10"


@dataclass(frozen=True)
class Comparison:
    """A column compared with a value; ``IS NULL`` and ``IS NOT NULL`` have none."""

    column: str
    operator: str
    value: Any = None

    def on(self, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
        """Return the comparison with the column that the inspected schema has under the name."""
        if self.operator == "IS NULL":
            return column.is_(None)
        if self.operator == "IS NOT NULL":
            return column.is_not(None)
        if self.operator == "LIKE":
            return column.like(self.value)
        return column.op(self.operator, is_comparison=True)(sa.bindparam(None, self.value, column.type))


def parse_condition(text: str) -> list[Comparison]:
    """Read ``column operator value AND ...``; raise :class:`BadSettings` that says where it is wrong.

    >>> parse_condition("status = 'new' AND done IS NULL")
    [Comparison(column='status', operator='=', value='new'), Comparison(column='done', operator='IS NULL', value=None)]
    """
    if not text.strip():
        return []
    tokens = _Tokens(text)
    found = [_comparison(tokens)]
    while not tokens.is_end:
        if not tokens.take_word("AND"):
            raise tokens.bad("only AND joins two comparisons")
        found.append(_comparison(tokens))
    return found


class _Tokens:
    """The words of a condition, one after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._place = text.rstrip(), 0

    @property
    def is_end(self) -> bool:
        return self._place >= len(self._text)

    def take(self, *kinds: str) -> tuple[str, str] | None:
        """Take the next token where it is of one of the kinds."""
        match = _TOKEN.match(self._text, self._place)
        if match is None or match.lastgroup not in kinds:
            return None
        self._place = match.end()
        return str(match.lastgroup), match[match.lastgroup]

    def take_word(self, *words: str) -> str | None:
        """Take the next token where it is one of these words, in any case."""
        before, token = self._place, self.take("word")
        if token is not None and token[1].upper() in words:
            return token[1].upper()
        self._place = before
        return None

    def bad(self, what: str) -> BadSettings:
        return BadSettings(
            f"Where {self._text!r}, character {self._place + 1}: {what}; write for instance {_EXAMPLE}."
        )


def _comparison(tokens: _Tokens) -> Comparison:
    column = tokens.take("word", "quoted")
    if column is None:
        raise tokens.bad("the name of a column is missing")
    name = column[1][1:-1].replace('""', '"') if column[0] == "quoted" else column[1]
    if tokens.take_word("IS"):
        negated = tokens.take_word("NOT")
        if not tokens.take_word("NULL"):
            raise tokens.bad("after IS comes NULL or NOT NULL")
        return Comparison(name, "IS NOT NULL" if negated else "IS NULL")
    if tokens.take_word("LIKE"):
        return Comparison(name, "LIKE", _value(tokens))
    operator = tokens.take("operator")
    if operator is None:
        raise tokens.bad("an operator is missing: =, <>, <, <=, >, >=, LIKE, IS NULL or IS NOT NULL")
    return Comparison(name, "<>" if operator[1] == "!=" else operator[1], _value(tokens))


def _value(tokens: _Tokens) -> Any:
    truth = tokens.take_word("TRUE", "FALSE")
    if truth is not None:
        return truth == "TRUE"
    token = tokens.take("text", "number")
    if token is None:
        raise tokens.bad("a value is missing: a 'text' in single quotes, a number, true or false")
    if token[0] == "text":
        return token[1][1:-1].replace("''", "'")
    return float(token[1]) if "." in token[1] else int(token[1])
