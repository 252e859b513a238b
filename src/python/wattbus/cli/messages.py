"""The part of the command that looks at stored messages, acts on them, and purges them.

With a production running, its process acts; with none, the command opens the store itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wattbus import words
from wattbus.cli.output import JsonOption, configured, home, reading, say, say_json, say_table
from wattbus.config import Config
from wattbus.errors import BadRequest, NotRunning

_SHOWN_BODY = 10_000
_SHOWN_REFUSALS = 10
FilterOption = Annotated[
    str | None, typer.Option("--filter", help='Which messages, such as "status=Error item=Echo since=1h".')
]
IdsArgument = Annotated[list[int] | None, typer.Argument(help="Ids of messages.", show_default=False)]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ReasonOption = Annotated[str, typer.Option(help="Why; written into the event log.")]
KeyOption = Annotated[str | None, typer.Option(help="The same key sends again only once.")]


class _Listing(TyperGroup):
    """A group whose name alone lists: ``wattbus messages status=Error`` is ``wattbus messages ls status=Error``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command that lists in front of a filter or an option; a bare word is meant as a command."""
        first = args[0] if args else "-"
        if first not in ("--help", "-h") and (first.startswith("-") or "=" in first or " " in first):
            args = ["ls", *args]
        return list(super().parse_args(ctx, args))


messages = typer.Typer(
    cls=_Listing, help="Stored messages: find them, send them again, set them aside, give them up."
)


# -- looking -----------------------------------------------------------------------------------------------------------


@messages.command("ls")
def ls(
    terms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER...",
            help='Such as: status=Error item=Echo since=1h "body contains x" $.field=value.',
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only ids below this one: the next page.")] = None,
    item: Annotated[str | None, typer.Option(help="Only messages from or to this item.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status, such as Error.")] = None,
    session: Annotated[int | None, typer.Option(help="Only this session.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List messages, the newest first."""
    from wattbus.store.filters import parse_terms
    from wattbus.store.queries import count_unsearched, list_messages

    asked = [*(terms or ()), *((f"status={status}",) if status is not None else ())]
    which = parse_terms(asked)
    engine = reading()
    found = list_messages(engine, limit=limit, item=item, session_id=session, before_id=before, which=which)
    unsearched = count_unsearched(engine, which)
    if as_json:
        say_json(found)
    else:
        nothing = (
            "No message fits." if asked or item or session or before else
            "No messages yet: send one with `wattbus test ITEM TYPE JSON`."
        )  # fmt: skip
        say_table(
            ["#id", "#session", "time", "type", "source", "target", "body", "status", "error"],
            (
                (
                    row.id,
                    row.session_id,
                    words.local_time(row.time_created_us),
                    row.type,
                    row.source_item,
                    row.target_item,
                    row.body_class.rpartition(".")[2],
                    row.status,
                    (row.error_status or "")[:80],
                )
                for row in found
            ),
            empty=nothing,
        )
    if unsearched:
        sys.stderr.write(
            f"not searched: {words.counted(unsearched, 'message')} whose body is over 1 MB and lies in a file.\n"
        )


@messages.command("show")
def show(
    message_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the message.")],
    as_json: JsonOption = False,
) -> None:
    """Show the header and the body of a message."""
    from wattbus.store.queries import message_body, message_header

    engine = reading()
    header = message_header(engine, message_id)
    if header is None:
        raise BadRequest(f"there is no message {message_id}: list messages with `wattbus messages ls`.")
    body = message_body(engine, home().bodies, header.body_id)
    if as_json:
        say_json({"header": header, "body": None if body is None else _loaded(body)})
        return
    for name, value in header._asdict().items():
        if value is not None and value != "":
            shown = words.local_time(value) if name.startswith("time_") else value
            say(f"{name.removesuffix('_us'):<20} {shown}")
    if body is not None:
        text = json.dumps(_loaded(body), indent=2, ensure_ascii=False)
        for line in text[:_SHOWN_BODY].splitlines():
            say(line)
        if len(text) > _SHOWN_BODY:
            say(f"... {len(text) - _SHOWN_BODY:,} more characters; --json shows all")


@messages.command("dead")
def dead(as_json: JsonOption = False) -> None:
    """List what failed or was set aside, by item."""
    from wattbus.store.actions import dead_letters

    found = dead_letters(reading())
    if as_json:
        say_json(found)
        return
    say_table(
        ["item", "#errors", "#suspended", "#sent again", "oldest", "#newest", "last error"],
        (
            (
                row.item,
                row.errors,
                row.suspended,
                row.sent_again,
                words.local_time(row.oldest_us),
                row.newest_id,
                words.clean(row.last_error or "", 80),
            )
            for row in found
        ),
        empty="No message failed, and none is set aside.",
    )


# -- acting ------------------------------------------------------------------------------------------------------------


@messages.command("suspend")
def suspend(
    ids: IdsArgument = None,
    which: FilterOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set queued messages aside."""
    _act("suspend", ids, which, dry_run, yes, as_json, reason=reason)


@messages.command("resume")
def resume(
    ids: IdsArgument = None,
    which: FilterOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put suspended messages back into their queue."""
    _act("resume", ids, which, dry_run, yes, as_json, reason=reason)


@messages.command("discard")
def discard(
    ids: IdsArgument = None,
    which: FilterOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give up messages that are queued, suspended, deferred or in error."""
    _act("discard", ids, which, dry_run, yes, as_json, reason=reason)


@messages.command("abort")
def abort(
    ids: IdsArgument = None,
    which: FilterOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take queued messages out, and stop those in hand where their item allows it."""
    _act("abort", ids, which, dry_run, yes, as_json, reason=reason)


@messages.command("cancel")
def cancel(
    message_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the message.")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a message in hand, such as a training, or take it out of its queue: abort, for one message."""
    _act("abort", [message_id], None, False, True, as_json, reason=reason)


@messages.command("resend")
def resend(
    ids: IdsArgument = None,
    which: FilterOption = None,
    to: Annotated[str | None, typer.Option(help="Another item than the one it went to.")] = None,
    idempotency_key: KeyOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send requests once more, with the same body and in the same session."""
    if which is not None and (to is not None or idempotency_key is not None):
        raise BadRequest("--to and --idempotency-key take ids: list them first with `wattbus messages ls`.")
    _act(
        "resend", ids, which, dry_run, yes, as_json, reason=reason, to=to, idempotency_key=idempotency_key
    )  # fmt: skip


@messages.command("edit")
def edit(
    message_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the request.")],
    body: Annotated[str, typer.Argument(help="JSON of the new body, or @file.")],
    to: Annotated[str | None, typer.Option(help="Another item than the one it went to.")] = None,
    idempotency_key: KeyOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a request once more with another body of its type."""
    _act(
        "edit", [message_id], None, False, True, as_json, reason=reason, to=to, idempotency_key=idempotency_key,
        body=body_text(body),
    )  # fmt: skip


@messages.command("replay")
def replay(
    message_id: Annotated[int, typer.Argument(metavar="ID", help="Id of a request, or of a session.")],
    hop: Annotated[
        int | None, typer.Option(min=1, help="The n-th request of the session, counted from 1.")
    ] = None,
    idempotency_key: KeyOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a request, and everything after it, happen anew in a session of its own."""
    _act(
        "replay", [message_id], None, False, True, as_json, reason=reason, hop=hop,
        idempotency_key=idempotency_key,
    )  # fmt: skip


def purge(
    older_than: Annotated[str, typer.Option("--older-than", help="Age, such as 12h, 30d or 4w.")],
    which: FilterOption = None,
    keep_errors: Annotated[bool, typer.Option("--keep-errors", help="Keep sessions with an error.")] = False,
    energy: Annotated[bool, typer.Option("--energy", help="Purge the energy records as well.")] = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take old sessions out of the store: each whole, and only when all its messages are at their end."""
    from wattbus.store.filters import duration_seconds
    from wattbus.store.purge import Purged

    request = {
        "action": "purge", "older_than_seconds": duration_seconds(older_than), "filter": which,
        "keep_errors": keep_errors, "with_energy": energy, "reason": reason,
    }  # fmt: skip
    plan = Purged(**_ask({**request, "dry_run": True}))
    if dry_run or not plan.sessions:
        say_json(plan) if as_json else say(_sentence(plan.sentence(f"older than {older_than}")))
        return
    _confirm(
        f"purge {words.counted(plan.messages, 'message')} of {words.counted(plan.sessions, 'session')}", yes
    )
    done = Purged(**_ask(request))
    say_json(done) if as_json else say(_sentence(done.sentence(f"older than {older_than}")))


# -- how ---------------------------------------------------------------------------------------------------------------


def _act(
    action: str,
    ids: Iterable[int] | None,
    which: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **more: Any,
) -> None:
    """Do an action to messages by id or by filter, and say what became of each; exit status 1 where one was refused."""
    named = list(ids or ())
    if bool(named) == (which is not None):
        raise BadRequest('say which messages: ids, or --filter "status=Error item=Echo".')
    request = {"action": action, "ids": named, "filter": which, **more}
    if dry_run and which is None:
        raise BadRequest("--dry-run counts what a --filter finds: ids are counted already.")
    if which is not None:
        plan = _ask({**request, "dry_run": True})
        if dry_run:
            say_json(plan) if as_json else say(
                f"would {action} {plan['actionable']:,} of {words.counted(plan['matching'], 'message')} that fit."
            )
            return
        _confirm(f"{action} {words.counted(plan['actionable'], 'message')}", yes)
    acted = _ask(request)
    if as_json:
        say_json(acted)
    else:
        _say_acted(acted)
    if acted["refused"]:
        raise typer.Exit(1)


def _say_acted(acted: dict[str, Any]) -> None:
    action, changed, new = acted["action"], acted["changed"], acted["new"]
    if new and len(new) == 1:
        again = "was sent again before" if acted["already"] else "is sent again"
        say(
            f"message {(changed or acted['already'])[0]} {again} as message {new[0]}; see `wattbus trace {new[0]}`"
        )
    elif len(changed) == 1:
        say(f"{action}: message {changed[0]}")
    else:
        say(f"{action}: {words.counted(len(changed), 'message')}")
    if acted["already"] and not new:
        say(f"so before: {words.counted(len(acted['already']), 'message')}")
    if acted["cancelling"]:
        say(f"told to stop: {words.counted(len(acted['cancelling']), 'message')} in hand")
    refused = acted["refused"]
    for refusal in refused[:_SHOWN_REFUSALS]:
        say(f"refused: {refusal['why']}")
    if len(refused) > _SHOWN_REFUSALS:
        say(f"and {len(refused) - _SHOWN_REFUSALS:,} more refused; --json names each")


def _confirm(what: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadRequest(f"this would {what}: add --yes, or look first with --dry-run.")
    if not typer.confirm(f"{what}?"):
        raise typer.Abort


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Let the running production act, or act on the store where none runs."""
    from wattbus.runtime.control import call
    from wattbus.store.database import holder_of

    given = {name: value for name, value in request.items() if value is not None}
    try:
        answer: dict[str, Any] = call(home(), "messages", **given)
    except NotRunning:
        if holder_of(home()) is not None:
            raise
        answer = _offline(given)
    return answer


def _offline(request: dict[str, Any]) -> dict[str, Any]:
    from wattbus.runtime.actions import perform
    from wattbus.store.actions import Actions
    from wattbus.store.store import Store

    config = configured()
    reading().dispose()  # says in words that there is no store yet, before one would be made
    store = Store(home().create(), config.store_url)
    try:
        return perform(Actions(store, _Configured(config)), store, request)
    finally:
        store.close()


class _Configured:
    """The configured production, read only when an action asks for it."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @cached_property
    def _known(self) -> Any:
        from wattbus.door import read_production
        from wattbus.runtime.actions import KnownProduction
        from wattbus.runtime.types import MessageTypes
        from wattbus.secrets import Vault

        production = read_production(None, self._config)
        return KnownProduction(production, MessageTypes.of(production), Vault(home().secrets_file))

    def target(self, name: str) -> tuple[str, str]:
        """Return the name and the business type of an item."""
        found: tuple[str, str] = self._known.target(name)
        return found

    def written(self, body_class: str, body: Any) -> str:
        """Return the JSON text of a body as it may be stored."""
        return str(self._known.written(body_class, body))


def body_text(text: str) -> str:
    """Return a body as it was given, or what the file named after an ``@`` holds."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body file {text[1:]!r} cannot be read: {error}.") from None


def _loaded(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
