"""Retry: the rules of ReplyCodeActions, and what they do in a running production."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iop import BusinessOperation, BusinessProcess, Production
from sqlalchemy import select

from components import Echo, Text
from waiting import until, wait_for
from wattbus import testing
from wattbus.errors import BadSettings, RequestFailed
from wattbus.runtime.retry import Action, Asked, Decision, Limits, ReplyCodeActions, decide, numbers_of
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import Outcome, Status, attempts

DEFAULT = Limits()


def decided(text: str, error: str | None, *, replied: bool = False, **given: Any) -> Decision:
    values: dict[str, Any] = {"attempt": 1, "elapsed_seconds": 0.0, **given}
    limits = values.pop("limits", DEFAULT)
    return decide(ReplyCodeActions.parse(text), limits, error_status=error, replied=replied, **values)


# -- the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error", "action"),
    [
        ("", "ValueError: no", Action.FAIL),
        ("E=F", "ValueError: no", Action.FAIL),
        ("E=R", "ValueError: no", Action.RETRY),
        ("E=S", "ValueError: no", Action.SUSPEND),
        ("E=D", "ValueError: no", Action.DISABLE),
        ("E=C", "ValueError: no", Action.COMPLETE),
        ("E=W", "ValueError: no", Action.COMPLETE),
        ("E=WF", "ValueError: no", Action.FAIL),
        ("e*x=R,E=S".replace("e*", "E*"), "ValueError: no", Action.SUSPEND),
        ("E*timeout=R,E=S", "TimeoutError: the host said nothing", Action.RETRY),
        ("E*a=b=R", "KeyError: a=b", Action.RETRY),
        ("E#5001=R", "ERROR #5001: no", Action.RETRY),
        ("E#5001=R", "ERROR #50011: no", Action.FAIL),
        ("E#6301,E#6302=RF", "ERROR #6302: a bad line", Action.RETRY),
        ("(E#6301,E#6302)=RF", "ERROR #6301: a bad line", Action.RETRY),
        ("E#<Ens>ErrGeneral=S", "ValueError: no", Action.SUSPEND),
        ("E#111=R", "ConnectionRefusedError: [Errno 111] Connection refused", Action.RETRY),
        ("X=F", None, Action.FAIL),
        ("X=WC", None, Action.COMPLETE),
        ("X=S,E=R", None, Action.SUSPEND),
        ("E=R", None, Action.COMPLETE),
        (":?R=RF,:~=S,_=C,E=S", "ValueError: no", Action.SUSPEND),
        ("E=W,E*no=S", "ValueError: no", Action.SUSPEND),
        ("E=S,E*no=R", "ValueError: no", Action.SUSPEND),
    ],
)
def test_the_first_entry_that_matches_and_does_more_than_warn_decides(
    text: str, error: str | None, action: Action
) -> None:
    decision = decided(text, error)

    assert decision.action is action


def test_every_matching_warning_is_given_and_an_attempt_that_only_warned_is_completed() -> None:
    decision = decided("E*late=W,E*very=W,X=W", "very late")

    assert decision.action is Action.COMPLETE
    assert decision.error_status is None
    assert [warning.partition("(")[0] for warning in decision.warnings] == ["very late ", "very late "]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("E=R", Action.FAIL),
        ("E=RF", Action.FAIL),
        ("E=RS", Action.SUSPEND),
        ("E=RD", Action.DISABLE),
        ("E=RC", Action.COMPLETE),
    ],
)
def test_when_the_failure_timeout_is_over_the_other_action_counts(text: str, end: Action) -> None:
    before = decided(text, "ValueError: no", elapsed_seconds=14.9)
    after = decided(text, "ValueError: no", attempt=4, elapsed_seconds=15.0)

    assert (before.action, before.wait_seconds) == (Action.RETRY, 5.0)
    assert after.action is end
    if end is not Action.COMPLETE:
        said = "FailureTimeout of 15 s exceeded after 4 attempts; the last one: ValueError: no"
        assert after.error_status == said


def test_a_failure_timeout_of_minus_one_never_comes() -> None:
    decision = decided("E=R", "no", limits=Limits(2.5, -1), attempt=10_000, elapsed_seconds=1e9)

    assert (decision.action, decision.wait_seconds) == (Action.RETRY, 2.5)


@pytest.mark.parametrize(
    ("asked", "elapsed", "error", "action"),
    [
        (Asked(retry=True), 0, None, Action.RETRY),
        (Asked(retry=True), 15, None, Action.FAIL),
        (Asked(retry=True), 15, "no", Action.FAIL),
        (Asked(retry=True, suspend=True), 15, "no", Action.SUSPEND),
        (Asked(suspend=True), 0, "no", Action.SUSPEND),
        (Asked(suspend=True), 0, None, Action.SUSPEND),
    ],
)
def test_a_component_may_ask_for_a_retry_or_a_suspension_itself(
    asked: Asked, elapsed: float, error: str | None, action: Action
) -> None:
    decision = decided("", error, replied=True, elapsed_seconds=elapsed, asked=asked)

    assert decision.action is action


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("E", "character 1: 'E' has no action: write E=F"),
        ("E=", "character 3: an action is missing"),
        ("E=Q", "character 3: 'Q' is no action: use C complete"),
        ("E=RQ", "character 4: 'Q' is no action"),
        ("E=R,Z=F", "character 5: 'Z' is no code: use E, E#number"),
        ("E=R,,X=F", "character 5: there is nothing between two commas"),
        ("E=SF", "character 3: 'SF' ends a message in two ways, F and S"),
        ("E*a,b=R", "character 5: 'b' is no code"),
    ],
)
def test_a_bad_setting_is_refused_with_the_place_and_the_cure(text: str, said: str) -> None:
    with pytest.raises(BadSettings) as raised:
        ReplyCodeActions.parse(text)

    assert said in str(raised.value)


def test_codes_that_read_an_acknowledgement_are_kept_apart_and_never_match() -> None:
    read = ReplyCodeActions.parse(":?R=RF,:?E=S,:~=S,:?A=C,:*=S,:I?=W,:T?=C,_=C")

    assert read.entries == ()
    assert read.never_match == (":?R", ":?E", ":~", ":?A", ":*", ":I?", ":T?", "_")


CODES = st.sampled_from(["E", "X", "E#5001", "E#<Ens>ErrGeneral", "E*late", "E*no"])
ENDS = st.sampled_from(["", "C", "S", "D", "F"])
ACTIONS = st.tuples(st.sampled_from(["", "W"]), st.sampled_from(["", "R"]), ENDS).map("".join).filter(bool)
SETTINGS = st.lists(st.tuples(st.lists(CODES, min_size=1, max_size=3), ACTIONS), max_size=4).map(
    lambda entries: ",".join(f"{','.join(codes)}={actions}" for codes, actions in entries)
)
ERRORS = st.sampled_from([None, "ValueError: no", "TimeoutError: late", "ERROR #5001: no"])


@given(SETTINGS, ERRORS, st.booleans(), st.booleans(), st.booleans())
def test_a_message_always_comes_to_an_end_that_people_see(
    text: str, error: str | None, replied: bool, retry: bool, suspend: bool
) -> None:
    actions, elapsed, tries = ReplyCodeActions.parse(text), 0.0, 0
    while True:
        tries += 1
        decision = decide(
            actions,
            DEFAULT,
            error_status=error,
            replied=replied,
            attempt=tries,
            elapsed_seconds=elapsed,
            asked=Asked(retry, suspend),
        )
        if decision.action is not Action.RETRY:
            break
        elapsed += decision.wait_seconds

    assert tries <= 4
    assert (decision.error_status is None) == (decision.action is Action.COMPLETE)


@given(SETTINGS, ERRORS)
def test_reading_the_same_text_with_spaces_and_in_small_letters_of_actions_gives_the_same(
    text: str, error: str | None
) -> None:
    spaced = ",".join(
        f" {code} = {letters.lower()} " if separator else f" {letters} "
        for code, separator, letters in (piece.rpartition("=") for piece in text.split(",") if piece)
    )

    assert decided(spaced, error) == decided(text, error)


@given(st.integers(1, 99999), st.text(alphabet="abc #", max_size=8))
def test_a_number_is_found_where_iris_writes_it(number: int, text: str) -> None:
    assert str(number) in numbers_of(f"{text} ERROR #{number}: {text}")


# -- in a production ---------------------------------------------------------------------------------------------


class Flaky(BusinessOperation):
    """Fails as often as its text's ``times`` says, and notes each try."""

    tries: ClassVar[list[str]] = []
    counts: ClassVar[list[int]] = []

    def take(self, request: Text) -> Text:
        Flaky.tries.append(request.text)
        Flaky.counts.append(self.iris_handle.RetryCount)
        if Flaky.tries.count(request.text) <= request.times:
            raise ConnectionError("the other side does not answer")
        return request


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Flaky.tries.clear()
    Flaky.counts.clear()


def flaky(pool_size: int = 1, **settings: object) -> Production:
    prod = Production("Test.Flaky")
    prod.operation("Flaky", Flaky, settings=settings, pool_size=pool_size)
    return prod


def outcomes(bus: testing.PythonDoor, message_id: int) -> list[str]:
    with bus.production.store.engine.connect() as connection:
        found = (
            select(attempts.c.outcome).where(attempts.c.message_id == message_id).order_by(attempts.c.number)
        )
        return list(connection.execute(found).scalars())


def test_a_failed_message_is_tried_again_after_the_interval_and_every_try_is_an_attempt(
    tmp_path: Path,
) -> None:
    clock = testing.FakeClock()

    with testing.production(flaky(ReplyCodeActions="E=R", FailureTimeout=60), tmp_path, clock=clock) as bus:
        answer = bus.begin("Flaky", Text("x", times=2))
        bus.settle()
        waiting = list_messages(bus.production.store.engine)[0]
        tried_once = outcomes(bus, 1)
        bus.advance(5)
        bus.advance(5)
        answered = answer.result(20)
        tried = outcomes(bus, 1)

    assert answered == Text("x", times=2)
    assert (waiting.status, tried_once) == (Status.QUEUED, ["retry"])
    assert tried == ["retry", "retry", "completed"]
    assert Flaky.counts == [1, 2, 3]


def test_without_reply_code_actions_an_error_is_the_end_at_once(tmp_path: Path) -> None:
    with testing.production(flaky(), tmp_path) as bus:
        with pytest.raises(RequestFailed, match="does not answer"):
            bus.request("Flaky", Text("x", times=9), timeout_seconds=20)
        tried = outcomes(bus, 1)

    assert tried == [Outcome.ERROR]


def test_a_message_whose_failure_timeout_is_over_ends_as_an_error_in_words(tmp_path: Path) -> None:
    clock = testing.FakeClock()

    with testing.production(flaky(ReplyCodeActions="E=RF"), tmp_path, clock=clock) as bus:
        answer = bus.begin("Flaky", Text("x", times=99))
        for _ in range(3):
            bus.advance(5)
        with pytest.raises(RequestFailed, match="FailureTimeout of 15 s exceeded after 4 attempts"):
            answer.result(20)
        header = list_messages(bus.production.store.engine)[0]

    assert header.status == Status.ERROR


def test_a_message_is_suspended_and_the_next_one_is_taken(tmp_path: Path) -> None:
    with testing.production(flaky(ReplyCodeActions="E=S"), tmp_path) as bus:
        bus.submit("Flaky", Text("bad", times=99))
        bus.submit("Flaky", Text("good", times=0))
        wait_for(bus, lambda found: bool(found) and found[0].status == Status.COMPLETED)
        rows = {row.id: row for row in list_messages(bus.production.store.engine)}
        bus.production.store.flush()
        errors = list_events(bus.production.store.engine, type="Error")

    assert Flaky.tries == ["bad", "good"]
    assert (rows[1].status, rows[1].error_status) == (
        Status.SUSPENDED,
        "ConnectionError: the other side does not answer",
    )
    assert any(line.text.startswith("suspended: ConnectionError") for line in errors)


def test_an_error_that_only_warns_completes_the_message(tmp_path: Path) -> None:
    with testing.production(flaky(ReplyCodeActions="E=W"), tmp_path) as bus:
        answer = bus.request("Flaky", Text("x", times=99), timeout_seconds=20)
        bus.production.store.flush()
        warnings = list_events(bus.production.store.engine, type="Warning")
        header = list_messages(bus.production.store.engine)[-1]

    assert answer is None
    assert (header.status, header.is_error) == (Status.COMPLETED, False)
    assert any("does not answer" in line.text for line in warnings)


def test_an_item_that_disables_itself_puts_its_message_back_in_front_and_tells(tmp_path: Path) -> None:
    with testing.production(flaky(ReplyCodeActions="E=D"), tmp_path) as bus:
        first = bus.submit("Flaky", Text("x", times=1))
        second = bus.submit("Flaky", Text("y", times=0))
        until(lambda: bus.items()[0].state == "Disabled", "the item is disabled")
        bus.production.store.flush()
        alerts = list_events(bus.production.store.engine, type="Alert")
        kept = {row.id: row.status for row in list_messages(bus.production.store.engine)}
        bus.production.enable("Flaky", True)
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))

    assert kept == {first: Status.QUEUED, second: Status.QUEUED}
    assert "disabled by its ReplyCodeActions" in alerts[0].text
    assert Flaky.tries == ["x", "x", "y"]


def test_a_message_without_a_reply_fails_where_x_says_so(tmp_path: Path) -> None:
    class Mute(BusinessOperation):
        def take(self, request: Text) -> None:
            return None

    prod = Production("Test.Mute")
    prod.operation("Mute", Mute, settings={"ReplyCodeActions": "X=F"})

    with (
        testing.production(prod, tmp_path) as bus,
        pytest.raises(RequestFailed, match="no reply"),
    ):
        bus.request("Mute", Text("x"), timeout_seconds=20)


def test_nothing_overtakes_a_message_that_is_tried_again(tmp_path: Path) -> None:
    clock = testing.FakeClock()

    with testing.production(flaky(ReplyCodeActions="E=R", FailureTimeout=-1), tmp_path, clock=clock) as bus:
        for number in range(4):
            bus.submit("Flaky", Text(str(number), times=number % 2))
        for tried in (["0", "1"], ["0", "1", "1", "2", "3"]):
            until(lambda: "Flaky#1" in clock.sleeping(), "the worker waits with the message in hand")
            assert Flaky.tries == tried
            clock.advance(5)
        bus.settle()

    assert Flaky.tries == ["0", "1", "1", "2", "3", "3"]


def test_nothing_overtakes_it_across_a_stop_either(tmp_path: Path) -> None:
    production = flaky(ReplyCodeActions="E=R", FailureTimeout=-1, RetryInterval=3600)

    with testing.production(production, tmp_path) as bus:
        for number in range(3):
            bus.submit("Flaky", Text(str(number), times=1))
        until(lambda: outcomes(bus, 1) == ["retry"], "the first attempt has failed")
    with testing.production(production, tmp_path) as bus:
        wait_for(bus, lambda rows: rows[-1].status == Status.COMPLETED)

    assert Flaky.tries[:2] == ["0", "0"]
    assert set(Flaky.tries[2:]) <= {"1"}


DYING = """
from dataclasses import dataclass
from pathlib import Path
from iop import BusinessOperation, Message, Production

HERE = Path(__file__).parent


@dataclass
class Job(Message):
    number: int = 0


class Dying(BusinessOperation):
    def work(self, request: Job) -> Job:
        with (HERE / "tried").open("a") as tried:
            tried.write(f"{request.number}\\n")
        if not (HERE / "healed").exists():
            raise ConnectionError("not yet")
        return request


prod = Production("Test.Dying")
prod.operation("Dying", Dying, settings={"ReplyCodeActions": "E=R", "FailureTimeout": -1, "RetryInterval": 3600})
PRODUCTIONS = [prod]
"""
SENDER = """
import sys
from pathlib import Path
from wattbus import testing
with testing.production(Path(sys.argv[1]), Path(sys.argv[2])) as bus:
    for number in range(5):
        bus.submit("Dying", bus.message("Job", {"number": number}))
    sys.stdin.read()
"""


def test_nothing_overtakes_it_after_kill_9(tmp_path: Path) -> None:
    settings, home, tried = tmp_path / "settings.py", tmp_path / "home", tmp_path / "tried"
    settings.write_text(DYING)
    sender = subprocess.Popen([sys.executable, "-c", SENDER, str(settings), str(home)], stdin=subprocess.PIPE)
    try:
        until(lambda: (home / "store.sqlite").exists() and _first_is_retried(home), "a retry is waited for")
    finally:
        os.kill(sender.pid, signal.SIGKILL)
        sender.communicate()
    (tmp_path / "healed").touch()

    with testing.production(settings, home) as bus:
        wait_for(
            bus,
            lambda rows: sum(row.status == Status.COMPLETED for row in rows if row.type == "Request") == 5,
        )
        found = outcomes(bus, 1)

    assert tried.read_text().split() == ["0", "0", "1", "2", "3", "4"]
    assert found == ["retry", "completed"]


def _first_is_retried(home: Path) -> bool:
    with (
        contextlib.closing(sqlite3.connect(home / "store.sqlite")) as connection,
        contextlib.suppress(sqlite3.Error),
    ):
        sent = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        return bool(
            sent == 5 and connection.execute("SELECT 1 FROM attempts WHERE outcome = 'retry'").fetchone()
        )
    return False


def test_an_item_that_is_restarted_takes_the_message_that_waited_first(tmp_path: Path) -> None:
    production = flaky(ReplyCodeActions="E=R", FailureTimeout=-1, RetryInterval=3600)

    with testing.production(production, tmp_path) as bus:
        for number in range(2):
            bus.submit("Flaky", Text(str(number), times=1 - number))
        until(lambda: outcomes(bus, 1) == ["retry"], "the first attempt has failed")
        bus.production.restart_item("Flaky")
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))

    assert Flaky.tries == ["0", "0", "1"]


def test_the_time_of_the_tries_counts_on_after_the_process_has_died(tmp_path: Path) -> None:
    from wattbus.store import tries
    from wattbus.store.database import transaction

    with testing.production(flaky(), tmp_path) as bus:
        with pytest.raises(RequestFailed):
            bus.request("Flaky", Text("x", times=1), timeout_seconds=20)
        engine = bus.production.store.engine
        rows = [
            (1, "put back", 10),
            (2, "retry", 20),
            (3, "worker lost", 30),
            (4, "retry", 40),
            (5, "running", 50),
        ]
        with transaction(engine) as connection:
            one = connection.execute(select(attempts)).mappings().one()
            connection.execute(attempts.delete())
            for number, outcome, began in rows:
                values = {**one, "number": number, "outcome": outcome, "started_us": began}
                connection.execute(attempts.insert().values(**values))
        found = [tries.first_try_us(engine, 1, number) for number in range(1, 6)]

    assert found == [10, 20, 20, 20, 20]


def test_a_component_asks_for_a_retry_and_sets_its_own_limits(tmp_path: Path) -> None:
    class Asking(BusinessOperation):
        def take(self, request: Text) -> Text:
            Flaky.counts.append(self.iris_handle.RetryCount)
            if self.iris_handle.RetryCount < 3:
                self.iris_handle.Retry = 1
                self.iris_handle.RetryInterval = 0
            return request

    prod = Production("Test.Asking")
    prod.operation("Asking", Asking)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Asking", Text("x"), timeout_seconds=20)

    assert answer == Text("x")
    assert Flaky.counts == [1, 2, 3]


def test_a_process_is_suspended_by_its_reply_code_actions_and_what_it_sent_is_not(tmp_path: Path) -> None:
    class Careless(BusinessProcess):
        def on_message(self, request: Text) -> Text:
            self.send_request_async("Echo", request)
            raise RuntimeError("no")

    prod = Production("Test.Careless")
    prod.process("Careless", Careless, settings={"ReplyCodeActions": "E=S"})
    prod.operation("Echo", Echo)

    with testing.production(prod, tmp_path) as bus:
        bus.submit("Careless", Text("x"))
        wait_for(bus, lambda rows: bool(rows) and rows[-1].status == Status.SUSPENDED)
        rows = list_messages(bus.production.store.engine)

    assert [(row.target_item, row.status) for row in rows] == [("Careless", Status.SUSPENDED)]


def test_an_item_with_a_bad_setting_says_so_and_the_others_run(tmp_path: Path) -> None:
    prod = flaky(ReplyCodeActions="E=Q")
    prod.operation("Echo", Echo)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Echo", Text("x"), timeout_seconds=20)
        states = {item.name: (item.state, item.error) for item in bus.items()}
        with pytest.raises(RequestFailed, match="'Q' is no action"):
            bus.request("Flaky", Text("x"), timeout_seconds=20)

    assert answer.text == "x"
    assert states["Flaky"][0] == "Error"
    assert "character 3" in (states["Flaky"][1] or "")


def test_a_stop_ends_the_wait_for_a_retry_at_once_and_keeps_the_message(tmp_path: Path) -> None:
    with testing.production(flaky(ReplyCodeActions="E=R", RetryInterval=3600), tmp_path) as bus:
        bus.submit("Flaky", Text("x", times=1))
        until(lambda: outcomes(bus, 1) == ["retry"], "the first attempt has failed")
        state = bus.production.stop(grace_seconds=3600)
        kept = list_messages(bus.production.store.engine)[0]

    assert kept.status == Status.QUEUED
    assert state == "Stopped"
