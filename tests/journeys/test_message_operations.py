"""Operating a production's messages from the command line: with the production running, and with none."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command import SETTINGS, Command
from components import Text, echo_production
from waiting import wait_for
from wattbus import cli, testing
from wattbus.config import read_config
from wattbus.door import run
from wattbus.energy.feed import NullFeed
from wattbus.home import Home
from wattbus.store.queries import list_events

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """The command in this process, for a home where no production runs: status, output, errors."""
    (tmp_path / "settings.py").write_text(
        "from components import echo_production\nPRODUCTIONS = [echo_production()]\n"
    )
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wattbus", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


def answered(said: tuple[int, str, str]) -> Any:
    status, output, errors = said
    assert status == 0, errors
    return json.loads(output)


def test_messages_of_a_running_production_are_set_aside_edited_and_sent_again(wattbus: Command) -> None:
    hold = wattbus.folder / "hold"
    hold.touch()
    wattbus("start")
    ids = [
        wattbus.json("test", "Slow", "Job", f'{{"number": {number}}}', "--background", "--priority", word)[
            "message_id"
        ]
        for number, word in ((1, "async"), (2, "async"), (3, "high"))
    ]
    wattbus.wait(lambda: wattbus.json("messages", "status=Delivered") != [])

    suspended = wattbus("messages", "suspend", str(ids[1]), "--reason", "look first")
    refused = wattbus("messages", "abort", str(ids[0]), status=1)
    plan = wattbus.json("messages", "discard", "--filter", "status=Queued", "--dry-run")
    unasked = wattbus("messages", "discard", "--filter", "status=Queued", status=1)
    edited = wattbus.json("messages", "edit", str(ids[1]), '{"number": 20}')
    hold.unlink()
    wattbus.wait(lambda: len(wattbus.json("messages", "type=Request", "status=Completed")) == 3)
    again = wattbus("messages", "resend", str(ids[0]))
    shown = wattbus.json("messages", "show", str(edited["new"][0]))
    wattbus("stop")

    assert suspended == f"suspend: message {ids[1]}\n"
    assert f"message {ids[0]} is Delivered: Slow has it in hand" in refused
    assert plan == {"action": "discard", "matching": 1, "actionable": 1}
    assert "add --yes, or look first with --dry-run" in unasked
    assert f"message {ids[0]} is sent again as message" in again
    assert (shown["body"], shown["header"]["resent"]) == ({"number": 20}, str(ids[1]))
    wattbus("doctor")


def test_messages_are_operated_on_the_store_when_no_production_runs(tmp_path: Path, say: Say) -> None:
    home = tmp_path / "home"
    with testing.production(echo_production(0), home) as bus:
        ids = [str(bus.submit("Echo", Text(text))) for text in ("a", "b", "c")]

    suspended = answered(say("messages", "suspend", *ids[:2], "--json"))
    resumed = answered(say("messages", "resume", ids[0], "--json"))
    discarded = answered(say("messages", "discard", "--filter", "status=Suspended", "--yes", "--json"))
    resent = answered(say("messages", "resend", ids[1], "--json"))
    edited = answered(say("messages", "edit", ids[1], '{"text": "boom"}', "--json"))
    with testing.production(echo_production(1), home) as bus:
        wait_for(bus, lambda rows: all(row.status not in ("Queued", "Delivered") for row in rows))
    dead = answered(say("messages", "dead", "--json"))
    replayed = answered(say("messages", "replay", ids[0], "--hop", "1", "--json"))
    aborted = answered(say("messages", "abort", str(replayed["new"][0]), "--json"))
    status, report, _ = say("doctor")

    assert suspended["changed"] == [int(one) for one in ids[:2]]
    assert (resumed["changed"], discarded["changed"]) == ([int(ids[0])], [int(ids[1])])
    assert len(resent["new"]) == len(edited["new"]) == 1
    assert [(row["item"], row["errors"]) for row in dead] == [("Echo", 1)]
    assert aborted["changed"] == replayed["new"]
    assert (status, report.splitlines()[-1]) == (0, "ok")


def test_old_sessions_are_purged_on_the_store_and_the_event_log_says_so(tmp_path: Path, say: Say) -> None:
    home = tmp_path / "home"
    with testing.production(echo_production(), home) as bus:
        for number in range(3):
            bus.request("Echo", Text(str(number)))

    plan = answered(say("purge", "--older-than", "0s", "--dry-run", "--json"))
    unasked = say("purge", "--older-than", "0s")
    done = say("purge", "--older-than", "0s", "--yes", "--reason", "spring")
    again = say("purge", "--older-than", "0s", "--yes")
    with testing.production(echo_production(), home) as bus:
        lines = [line.text for line in list_events(bus.production.store.engine) if "purged" in line.text]

    assert (plan["sessions"], plan["messages"], plan["dry_run"]) == (2, 4, True)
    assert unasked[0] == 1
    assert "this would purge 4 messages of 2 sessions" in unasked[2]
    assert done[1].startswith("Purged 4 messages of 2 sessions older than 0s; with them 4 bodies (")
    assert again[1].startswith("Would purge 0 messages of 0 sessions")
    assert ["by CLI: spring" in line for line in lines] == [True]


def test_the_listing_takes_a_filter_pages_and_json_and_shows_one_message(tmp_path: Path, say: Say) -> None:
    with testing.production(echo_production(0), tmp_path / "home") as bus:
        for number in range(5):
            bus.submit("Echo", Text(f"text {number}"))

    listed = answered(say("messages", "--limit", "2", "--json"))
    page = answered(say("messages", "ls", "--before", str(listed[-1]["id"]), "--limit", "2", "--json"))
    found = answered(say("messages", "item=Echo", "body contains text 3", "--json"))
    table = say("messages", "$.text=text 3")
    shown = say("messages", "show", "4")
    nothing = say("messages", "status=Error")

    assert [row["id"] for row in (*listed, *page)] == [5, 4, 3, 2]
    assert [row["id"] for row in found] == [4]
    assert "Queued" in table[1]
    assert "target_item          Echo" in shown[1]
    assert '"text": "text 3"' in shown[1]
    assert nothing[1] == "No message fits.\n"


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["messages", "stauts=Error"], 1, "did you mean 'status'"),
        (["messages", "--status", "Erorr"], 1, "did you mean 'Error'"),
        (["messages", "resned", "1"], 2, "Did you mean 'resend'"),
        (["messages", "show", "99"], 1, "there is no message 99"),
        (["messages", "suspend"], 1, "say which messages"),
        (["messages", "suspend", "1", "--filter", "item=Echo"], 1, "say which messages"),
        (["messages", "suspend", "1", "--dry-run"], 1, "--dry-run counts what a --filter finds"),
        (["messages", "discard", "9"], 1, "there is no message 9."),
        (["messages", "edit", "1", '{"txet": 1}'], 1, "did you mean 'text'"),
        (["messages", "edit", "1", "@nowhere.json"], 1, "cannot be read"),
        (["messages", "resend", "1", "--to", "Ehco"], 1, "did you mean 'Echo'"),
        (["messages", "replay", "1", "--hop", "7"], 1, "has no hop 7"),
        (["purge", "--older-than", "soon"], 1, "write 90s"),
        (["purge"], 2, "--older-than"),
    ],
)
def test_what_is_not_understood_or_not_possible_is_a_sentence_and_an_exit_status(
    tmp_path: Path, say: Say, words: list[str], status: int, sentence: str
) -> None:
    with testing.production(echo_production(0), tmp_path / "home") as bus:
        bus.submit("Echo", Text("x"))

    ended, output, errors = say(*words)

    assert ended == status
    assert sentence in " ".join((output + errors).replace("│", "").split())


def test_a_home_without_a_store_is_not_given_one(tmp_path: Path, say: Say) -> None:
    status, _, errors = say("messages", "suspend", "1")

    assert (status, Home(tmp_path / "home").store_file.exists()) == (3, False)
    assert "there is no store" in errors


def test_the_daily_purge_takes_out_what_was_kept_long_enough(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        for number in range(3):
            bus.request("Echo", Text(str(number)))
        with bus.production.store.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE messages SET time_created_us = 0 WHERE session_id = 1")
    config = read_config(home=tmp_path, retention_days=30)

    with run(echo_production(), config=config, feed=NullFeed("a test without a power feed")) as bus:
        wait_for(bus, lambda rows: {row.session_id for row in rows} == {3, 5})
        lines = [line.text for line in list_events(bus.production.store.engine) if "purged" in line.text]

    assert len(lines) == 1
    assert "older than 720 h 00 min by WATTBUS_RETENTION_DAYS" in lines[0]
