"""The part of the command that says who may come in over HTTP."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, say, say_json, say_table
from wattbus.errors import UnknownName

token = typer.Typer(help="Tokens of the portal and the REST door.", no_args_is_help=True)


@token.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    role: Annotated[
        str, typer.Option(help="viewer looks, operator sends and operates, admin also configures.")
    ] = "viewer",
    days: Annotated[
        float | None, typer.Option(help="How long it is valid; by default until it is revoked.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it: it is shown this once."""
    from wattbus.access import Access, Role

    if role not in list(Role):
        raise UnknownName("role", role, list(Role))
    made = Access(home().create().access_file).create(name, Role(role), days)
    say_json({"name": name, "role": role, "token": made}) if as_json else say(made)


@token.command("ls")
def ls(as_json: JsonOption = False) -> None:
    """List the tokens; nobody can read one again."""
    from wattbus.access import Access

    found = Access(home().access_file).tokens() if home().access_file.exists() else []
    rows = [(one.id, one.name, one.role.value, one.created_s, one.expires_s) for one in found]
    if as_json:
        say_json(
            [dict(zip(("id", "name", "role", "created_s", "expires_s"), row, strict=True)) for row in rows]
        )
        return
    say_table(
        ["id", "name", "role", "made", "valid until"],
        (
            (one, name, role, _moment(made), "revoked" if until is None else _moment(until))
            for one, name, role, made, until in rows
        ),
        empty="There is no token yet: the first `wattbus start` makes one, or `wattbus token new NAME`.",
    )


@token.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Id of the token, as `wattbus token ls` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Take a token away; who has signed in with it is out at once."""
    from wattbus.access import Access

    gone = Access(home().access_file).revoke(token_id)
    say_json({"revoked": gone.id, "name": gone.name}) if as_json else say(f"{gone.name} ({gone.id}) is out.")


def show_first_token(url: str | None = None, *, foreground: bool = False) -> None:
    """Make the first token of this home and show it, this once.

    Not where the output of a process in the foreground is kept: by a container, in ``wattbus.log``.
    """
    from wattbus.access import Access, Role
    from wattbus.web.origins import is_loopback

    config = configured()
    if not config.http or config.insecure_local or config.token is not None:
        return
    access = Access(home().create().access_file)
    if access.tokens() or not is_loopback(
        config.http_host
    ):  # others can reach it: its owner makes the tokens
        return
    if foreground and not sys.stdout.isatty():
        say("Nobody has a token yet: make one with `wattbus token new NAME --role admin`.")
        return
    say(f"Sign in at {url or 'the address below'} with this token, which is shown this once:")
    say(f"    {access.create('owner', Role.ADMIN)}")


def _moment(seconds: float) -> str:
    return words.local_time(int(seconds * 1e6))
