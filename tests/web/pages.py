"""A page as a browser reads it: elements with their attributes and their text, found by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import unquote

from doors import Asked

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)


@dataclass
class Element:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return its text, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> list[str]:
        return [
            part
            for child in self.children
            for part in ([child] if isinstance(child, str) else [" ", *child._texts(), " "])
        ]

    def all(self, name: str, /, **attributes: str) -> list[Element]:
        """Return the elements inside it of this name whose attributes are these; ``class_`` is one of the classes."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if child.name == name and all(child._has(key, value) for key, value in attributes.items()):
                    found.append(child)
                found += child.all(name, **attributes)
        return found

    def one(self, name: str, /, **attributes: str) -> Element:
        """Return the only such element."""
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} of {name} {attributes}"
        return found[0]

    def _has(self, key: str, value: str) -> bool:
        if key == "class_":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(key.replace("_", "-")) == value

    def fields(self) -> dict[str, list[str]]:
        """Return what a browser would send of this form."""
        sent: dict[str, list[str]] = {}
        for one in [*self.all("input"), *self.all("textarea"), *self.all("select")]:
            name, kind = one.attributes.get("name"), one.attributes.get("type", "")
            off = "disabled" in one.attributes or (kind == "checkbox" and "checked" not in one.attributes)
            if name and not off:
                sent.setdefault(name, []).append(_value(one))
        return sent


def page(asked: Asked) -> Element:
    """Read the page that was answered."""
    parser = _Reader()
    parser.feed(str(asked.said))
    return parser.root


def told(asked: Asked) -> str:
    """Return the sentence that stands on the next page after a form."""
    cookie = SimpleCookie(asked.headers.get("set-cookie", "")).get("wattbus_said")
    return str(json.loads(unquote(cookie.value))["text"]) if cookie is not None else ""


def _value(one: Element) -> str:
    if one.name == "textarea":
        return "".join(child for child in one.children if isinstance(child, str)).removeprefix("\n")
    if one.name == "select":
        options = one.all("option")
        chosen = next((option for option in options if "selected" in option.attributes), options[0])
        return chosen.attributes.get("value", chosen.text)
    return one.attributes.get("value", "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("page", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
