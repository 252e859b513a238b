"""How pages are drawn: the templates, what they share, and how figures and times are written in them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from wattbus import __version__, words
from wattbus.access import Role
from wattbus.web.charts import line_chart
from wattbus.web.sparkline import sparkline

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
#: The places of the portal in the order of the menu: address, name, icon of the sprite.
MENU = (
    ("/", "Home", "home"),
    ("/production", "Production", "production"),
    ("/test", "Test", "test"),
    ("/messages", "Messages", "messages"),
    ("/trace", "Visual trace", "trace"),
    ("/log", "Event log", "log"),
    ("/queues", "Queues", "queues"),
    ("/jobs", "Jobs", "jobs"),
    ("/alerts", "Alerts", "alerts"),
    ("/models", "Models", "models"),
    ("/trainings", "Trainings", "trainings"),
    ("/tables", "SQL tables", "tables"),
    ("/energy", "Energy", "energy"),
    ("/access", "Access", "access"),
)
#: Of each word for a state: its class and its sign, so that colour never stands alone.
_STATES = {
    **dict.fromkeys(("Running", "Completed", "completed", "measured", "ok", "ready"), ("good", "✓")),
    **dict.fromkeys(("Error", "Troubled", "failed", "error", "Aborted", "Assert"), ("bad", "✕")),
    **dict.fromkeys(
        ("Suspended", "Stopping", "Starting", "Warning", "Alert", "Deferred", "staged"), ("warn", "!")
    ),
    **dict.fromkeys(("Queued", "Delivered", "running", "Created", "Info", "published"), ("info", "●")),
}


class Drawing:
    """The templates of the portal."""

    def __init__(self, production: Any) -> None:
        """``production`` returns the name and the state that stand in the head of every page."""
        self._production = production
        self.environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters.update(
            seconds=words.seconds, joules=words.joules, size=words.size, counted=words.counted, clean=words.clean,
            clean_lines=words.clean_lines, joule_range=words.joule_range, watts=words.watts,
            sparkline=sparkline, moment=_moment, state=_state, figure=_figure, pretty=_pretty, short=_short,
            from_json=json.loads,
        )  # fmt: skip
        self.environment.globals.update(
            menu=MENU,
            version=__version__,
            curl=_curl,
            python_call=_python_call,
            line_chart=line_chart,
            UNKNOWN=words.UNKNOWN,
        )

    def share(self, **functions: Any) -> None:
        """Give the templates functions of a part under these names."""
        self.environment.globals.update(functions)

    def page(self, request: Request, template: str, view: Any, told: Any = None, **more: Any) -> str:
        """Return a page as text; ``view`` is what it shows, ``told`` a sentence from the action before."""
        who = getattr(request.state, "who", None)
        name, state = self._production()
        return self.environment.get_template(template).render(
            request=request,
            view=view,
            told=told,
            who=who,
            can_operate=who is not None and who.role.allows(Role.OPERATOR),
            can_admin=who is not None and who.role.allows(Role.ADMIN),
            csrf=(who.csrf or "") if who is not None else "",
            here=request.url.path,
            back=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            base=str(request.base_url).rstrip("/"),
            production_name=name,
            production_state=state,
            **more,
        )


def _moment(time_us: int | None) -> Markup:
    """Show a moment: in the zone of this machine, with ISO 8601 for programs; the browser may put its own zone."""
    if time_us is None:
        return escape(words.UNKNOWN)
    iso = words.utc_time(time_us)
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(iso, words.local_time(time_us))


def _state(word: str) -> Markup:
    """Show a state as a badge: a sign, the word, a colour."""
    kind, sign = look_of(word)
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, sign, word
    )


def look_of(word: str) -> tuple[str, str]:
    """Return the class and the sign of a state."""
    return _STATES.get(word, ("plain", "○"))


def _figure(value: float | int | None, digits: int = 3) -> str:
    if value is None:
        return words.UNKNOWN
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}g}"


def _pretty(value: Any) -> str:
    """Show JSON with its indents; a text that is no JSON as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def _short(name: str) -> str:
    """Return the class name of a message type without its module."""
    return name.rpartition(".")[2] or "(no body)"


def _curl(base: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """Return the curl command that does what a button does."""
    lines = [
        f"curl -X {method} {shlex.quote(base + '/api/v1' + path)}",
        '-H "Authorization: Bearer $WATTBUS_TOKEN"',
    ]
    if body is not None:
        lines += [
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ]
    return " \\\n  ".join(lines)


def _python_call(base: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """Return the Python lines that do what a button does."""
    sent = "" if body is None else f",\n    json=json.loads({json.dumps(body, ensure_ascii=False)!r})"
    first = "import json\nimport os\n" if body is not None else "import os\n"
    return (
        f"{first}\nimport requests\n\nanswer = requests.request(\n    {method!r}, {base + '/api/v1' + path!r},\n"
        f'    headers={{"Authorization": f"Bearer {{os.environ[\'WATTBUS_TOKEN\']}}"}}{sent},\n    timeout=60,\n)\n'
        "print(answer.json())\n"
    )
