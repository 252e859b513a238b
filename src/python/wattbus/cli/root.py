"""The command ``wattbus``: start and stop a production, test its items, look at what happened."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from wattbus import __version__, words
from wattbus.cli import (
    access,
    boamps,
    check,
    data,
    energy,
    imports,
    label,
    label_picture,
    label_sync,
    life,
    messages,
    optimise,
    roi,
    savings,
    tokenizer,
)
from wattbus.cli.output import JsonOption, configured, home, plain, reading, say, say_json, say_table
from wattbus.errors import BadRequest, NotRunning, UnknownName, WattbusError

app = typer.Typer(
    name="wattbus",
    help="Run IoP productions without IRIS, and account for the energy of every operation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data.models.command("optimise")(optimise.models_optimise)
data.models.command("publish")(optimise.models_publish)
data.models.command("tokenizer")(tokenizer.models_tokenizer)
app.add_typer(data.models, name="models")
app.add_typer(data.tables, name="tables")
app.add_typer(data.export, name="export")
label.label.command("picture")(label_picture.picture)
label.label.command("badge")(label_picture.badge)
label.label.command("sync")(label_sync.sync)
label.label.command("provider")(label_sync.provider)
app.add_typer(label.label, name="label")
app.add_typer(boamps.boamps, name="boamps")
app.command("meter", context_settings={"allow_interspersed_args": False})(boamps.meter)
app.add_typer(energy.energy, name="energy")
app.command("import")(imports.import_runs)
app.add_typer(messages.messages, name="messages")
app.command("purge")(messages.purge)
app.command("check")(check.check)
app.command("restart")(life.restart)
app.command("update")(life.update)
app.command("recover")(life.recover)
app.add_typer(life.item, name="item")
app.add_typer(access.token, name="token")
app.add_typer(roi.roi, name="roi")
app.add_typer(savings.savings, name="savings")

NOT_RUNNING = 3


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"wattbus {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    home_folder: Annotated[
        Path | None, typer.Option("--home", help="Folder of all state.", envvar="WATTBUS_HOME")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if home_folder is not None:
        os.environ["WATTBUS_HOME"] = str(home_folder)


@app.command()
def start(
    settings: Annotated[Path | None, typer.Option("--settings", help="The settings.py to run.")] = None,
    production: check.ProductionOption = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP door; 0 takes a free one.")] = None,
    http: Annotated[bool, typer.Option("--http/--no-http", help="Open an HTTP door.")] = True,
    supervisor: Annotated[bool, typer.Option(help="Start the process again when it dies.")] = True,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="Ask nobody on this machine for a token.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the production and list its items."""
    from wattbus import server

    if port is not None:
        os.environ["WATTBUS_PORT"] = str(port)
    if not http:
        os.environ["WATTBUS_HTTP"] = "off"
    if production is not None:
        os.environ["WATTBUS_PRODUCTION"] = production
    if not supervisor:
        os.environ["WATTBUS_SUPERVISOR"] = "off"
    if insecure_local:
        os.environ["WATTBUS_INSECURE_LOCAL"] = "on"
    if foreground:
        access.show_first_token(foreground=True)
    if foreground and configured().supervisor:
        from wattbus.supervisor import Supervisor

        raise typer.Exit(Supervisor(home(), server.command(settings, supervised=False)).run())
    if foreground:
        gc.disable()  # what imports make is no garbage, and looking for some is a seventh of a start
        from wattbus.web.serve import serve

        gc.freeze()
        gc.enable()
        state = serve(configured(), settings)
        say(f"{state}.")
        server.leave()
        return
    answer = server.start(configured(), settings)
    _show_status(answer, as_json)
    if not as_json:
        access.show_first_token(answer.get("url"))


@app.command()
def stop(as_json: JsonOption = False) -> None:
    """Stop the production; what is queued stays queued."""
    from wattbus import server

    state = server.stop(configured())
    say_json({"status": state}) if as_json else say(f"{state}.")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the production and its items; exit status 3 when none runs."""
    from wattbus import server

    try:
        answer = server.status(home())
    except NotRunning as error:
        last = server.last_run(configured())
        state, text = ("Stopped", str(error)) if last is None else (last.state, last.sentence)
        say_json({"status": state, "text": text}) if as_json else say(text)
        raise typer.Exit(NOT_RUNNING) from None
    _show_status(answer, as_json)


@app.command("test")
def send(
    item: Annotated[str, typer.Argument(help="Name of the item, such as Python.MLOperation.")],
    type: Annotated[str, typer.Argument(help="Message type, such as msg.MLRequest.")],
    body: Annotated[str, typer.Argument(help="JSON of the body, or @file.")] = "{}",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the response; -1 for ever.")] = -1,
    background: Annotated[bool, typer.Option(help="Send, and print the message id.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key is the same message.")] = None,
    priority: Annotated[
        str | None,
        typer.Option(help="With --background: high, sync or async; what is higher is served first."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message to an item of the running production and print the response."""
    from wattbus.runtime.control import call

    answer = call(
        home(),
        "test",
        item=item,
        type=type,
        body=messages.body_text(body),
        timeout=timeout,
        background=background,
        idempotency_key=idempotency_key,
        priority=_priority(priority, background),
    )
    response = json.loads(answer["body"]) if answer.get("body") else None
    if as_json:
        say_json({"message_id": answer["message_id"], "type": answer.get("type"), "response": response})
    elif background:
        say(f"message {answer['message_id']} is accepted; see `wattbus trace {answer['message_id']}`")
    else:
        say(f"{answer['type'] or 'no response body'}  (message {answer['message_id']})")
        for line in (
            json.dumps(response, indent=2, ensure_ascii=False).splitlines() if response is not None else ()
        ):
            say(line)


@app.command()
def trace(
    session: Annotated[
        int | None, typer.Argument(help="Session or message id; by default the newest.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Columns to draw in.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write the session to a file, to be replayed in a test.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the visual trace of a session: messages, waits, durations, joules."""
    if record is not None:
        from wattbus.testing import recording

        recorded = recording.read(reading(), home(), session)
        say(f"{words.counted(recorded.count(), 'message')} written to {recorded.save(record)}")
        return
    from rich.console import Console

    from wattbus import trace as traces

    found = traces.read(reading(), session)
    if as_json:
        say_json(found.to_dict())
    else:
        Console(highlight=False, width=width).print(found)


@app.command()
def log(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many lines.")] = 50,
    item: Annotated[str | None, typer.Option(help="Only this item.")] = None,
    type: Annotated[str | None, typer.Option(help="Only this type: Error, Warning, Info, ...")] = None,
    session: Annotated[int | None, typer.Option(help="Only this session.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the event log, the newest line last."""
    from wattbus.store.queries import list_events

    found = list_events(reading(), limit=limit, item=item, type=type, session_id=session)
    if as_json:
        say_json(found)
        return
    for line in found:
        about = f" [{line.message_id}]" if line.message_id else ""
        say(
            f"{words.local_time(line.time_us)} {line.type:<7} {line.item or 'production'}{about}  {line.text.rstrip()}"
        )
    if not found:
        say("The event log is empty.")


@app.command()
def doctor(
    salvage: Annotated[
        Path | None,
        typer.Option(help="Write every message that can be read of a damaged store to this file."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the store and the model folder; exit status 1 when something is wrong."""
    from wattbus import doctor as doctors

    if salvage is not None:
        from wattbus.doctor.salvage import salvage as save

        saved = save(home(), salvage)
        say_json(saved) if as_json else say(str(saved))
        raise typer.Exit(1 if saved.reason is not None else 0)
    report = doctors.examine(home(), configured().store_url)
    if as_json:
        say_json({"ok": report.ok, "checks": plain(report.checks)})
    else:
        for check in report.checks:
            say(
                f"{check.code}  {'ok    ' if check.ok else 'WRONG '} {check.name}: {'; '.join(check.details)}"
            )
            if not check.ok:
                say(f"      {check.cure}")
        say("ok" if report.ok else "something is wrong, see above")
    if not report.ok:
        raise typer.Exit(1)


@app.command("iop", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def iop_program(
    arguments: Annotated[list[str] | None, typer.Argument(help="What the iop program takes.")] = None,
) -> None:
    """Run the iop program on this home; see `wattbus iop --help`."""
    from wattbus.cli.iop import run_iop

    run_iop(configured(), arguments or [])


@app.command()
def demo(as_json: JsonOption = False) -> None:
    """Run the main job from end to end: reuse, fine-tune, compare, swap, account for every joule."""
    from wattbus.demo import run_demo

    done = run_demo(configured(), quiet=as_json)
    if as_json:
        say_json(done)


def main() -> None:
    """Run the command; an error is a sentence and an exit status, a traceback only with --debug."""
    try:
        app()
    except WattbusError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        _fail(type(error).__name__, str(error))
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _fail(type(error).__name__, f"{type(error).__name__}: {error}. This is a bug; --debug shows where.")


def _fail(kind: str, text: str) -> NoReturn:
    if "--json" in sys.argv:
        say_json({"error": kind, "text": text})
    sys.stderr.write(f"error: {words.clean(text)}\n")
    raise SystemExit(NOT_RUNNING if kind == "NotRunning" else 1)


def _priority(word: str | None, background: bool) -> int | None:
    if word is None:
        return None
    from wattbus.store.filters import PRIORITIES

    if word not in PRIORITIES:
        raise UnknownName("priority", word, PRIORITIES)
    if not background:
        raise BadRequest("--priority is for --background: what somebody waits for goes as sync.")
    return PRIORITIES[word]


def _show_status(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(answer)
        return
    at = f", {answer['url']}" if answer.get("url") else ""
    say(f"{answer['production']} is {answer['status']} (process {answer['pid']}, {answer['home']}{at})")
    say_table(
        ["item", "kind", "component", "state", "#pool", "#queued", "#alerts", "remarks"],
        (
            (
                row["name"],
                row["kind"],
                row["component"],
                row["state"],
                row["pool_size"],
                row["queued"],
                row["alerts"] or "",
                "; ".join([*([row["error"]] if row["error"] else []), *row["changed"]]),
            )
            for row in answer["items"]
        ),
        empty="The production has no items.",
    )
    if answer.get("needs_update"):
        say(answer["needs_update"])
