"""SVG as text: elements with escaped attributes and texts, without inline style."""

from __future__ import annotations

from html import escape

from wattbus import words


def element(tag: str, *inner: str, **attributes: object) -> str:
    """Return an element; ``class_`` is its class, an underscore in a name a hyphen, and None leaves one out.

    >>> element("rect", class_="box", x=1, stroke_width=2.504)
    '<rect class="box" x="1" stroke-width="2.5"/>'
    """
    head = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{head}>{''.join(inner)}</{tag}>" if inner else f"<{tag}{head}/>"


def text(said: str, x: float, y: float, class_: str, *, longest: int = 200, **attributes: object) -> str:
    """Return a line of text, cut to ``longest`` characters; what was cut stands in its title."""
    inner = [safe(said, longest)]
    if len(said) > longest:
        inner.append(title(said))
    return element("text", *inner, class_=class_, x=x, y=y, **attributes)


def title(said: str) -> str:
    """Return what a reader of the screen hears and a pointer shows."""
    return element("title", safe(said, 2_000))


def safe(said: str, longest: int | None = None) -> str:
    """Return text that is only text: escaped, and without characters that XML does not know."""
    return escape(words.clean(said, longest))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return safe(str(value))
