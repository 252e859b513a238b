"""The part of the command that changes how a running production and its items run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, say, say_json, say_table
from wattbus.errors import BadRequest

item = typer.Typer(help="Single items of the running production.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the item.")]


def restart(as_json: JsonOption = False) -> None:
    """Stop the production and start it again, as settings.py says now."""
    _do("restart", as_json)


def update(as_json: JsonOption = False) -> None:
    """Read settings.py again; only the items that changed begin anew."""
    _do("update", as_json)


def recover(as_json: JsonOption = False) -> None:
    """Take back what a process that died had in hand."""
    from wattbus import server

    answer = server.recover(configured())
    if as_json:
        say_json(answer)
        return
    taken = words.counted(answer["taken_back"], "message")
    say(f"{answer['production']} is {answer['status']}: {taken} taken back")


@item.command("start")
def start_item(name: NameArgument, as_json: JsonOption = False) -> None:
    """Start an item that was stopped, or that could not start."""
    _do("start", as_json, item=name)


@item.command("stop")
def stop_item(name: NameArgument, as_json: JsonOption = False) -> None:
    """Stop an item until it is started; what is sent to it is queued."""
    _do("stop", as_json, item=name)


@item.command("restart")
def restart_item(name: NameArgument, as_json: JsonOption = False) -> None:
    """Make the components of an item anew."""
    _do("restart_item", as_json, item=name)


@item.command("pool")
def pool(
    name: NameArgument,
    size: Annotated[int, typer.Argument(min=0, help="How many workers.")],
    as_json: JsonOption = False,
) -> None:
    """Let an item have so many workers, now and at the next start."""
    _do("pool", as_json, item=name, size=size)


@item.command("enable")
def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Enable an item, now and at the next start."""
    _do("enable", as_json, item=name)


@item.command("disable")
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Disable an item, now and at the next start; what is sent to it is queued."""
    _do("disable", as_json, item=name)


@item.command("reset")
def reset(
    name: Annotated[str | None, typer.Argument(help="Name of the item; by default all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Forget what was changed while it ran: settings.py counts again."""
    _do("reset", as_json, item=name)


@item.command("set")
def set_settings(
    name: NameArgument,
    settings: Annotated[list[str], typer.Argument(help="SETTING=VALUE, several; SETTING= is its default.")],
    as_json: JsonOption = False,
) -> None:
    """Change settings of an item while it runs; only it begins anew."""
    from wattbus import server

    given = {}
    for written in settings:
        setting, equals, value = written.partition("=")
        if not equals or not setting.strip():
            raise BadRequest(f"{written!r} is no setting: write SETTING=VALUE, such as PoolSize=2.")
        given[setting.strip()] = value
    answer = server.life(home(), "set", item=name, settings=given)
    say_json(answer) if as_json else say(answer["sentence"])


@item.command("history")
def history(
    name: NameArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many changes.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what was changed on an item, when and by whom, the newest first."""
    from wattbus import server

    changes = server.life(home(), "history", item=name, limit=limit)["changes"]
    if as_json:
        say_json(changes)
        return
    say_table(
        ["#id", "when", "who", "setting", "from", "to"],
        (
            (
                row["id"],
                words.local_time(row["changed_us"]),
                row["changed_by"],
                row["setting"],
                _said(row["before"]),
                _said(row["after"]),
            )
            for row in changes
        ),
        empty=f"Nothing was changed on {name}.",
    )


def _said(value: str | None) -> str:
    return "(as settings.py)" if value is None else words.clean(value, 60) or "(default)"


def _do(action: str, as_json: bool, **values: Any) -> None:
    from wattbus import server

    answer = server.life(home(), action, **values)
    if as_json:
        say_json(answer)
        return
    touched = {row["name"]: row for row in answer["items"]}
    for name in answer["touched"]:
        say(
            f"{name} {stands(touched[name])}"
            if name in touched
            else f"{name} is not in the production any more"
        )
    if not answer["touched"]:
        nothing = "" if action == "restart" else ", and nothing had changed"
        say(f"{answer['production']} is {answer['status']}{nothing}")


def stands(row: dict[str, Any]) -> str:
    """Say how an item stands, with what differs from settings.py."""
    said = [f"is {row['state']}", words.counted(row["pool_size"], "worker")]
    if row["queued"]:
        said.append(f"{words.counted(row['queued'], 'message')} queued")
    return ", ".join([*said, *row["changed"], *([row["error"]] if row["error"] else [])])
