"""The life of a production in a process: states, order, single items, pools, updates."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from iop import BusinessOperation, BusinessProcess, BusinessService, Production
from sqlalchemy import select

from components import Echo, Gate, Text, echo_production
from waiting import until, wait_for
from wattbus import testing
from wattbus.errors import BadRequest, BadSettings, NotRunning, RequestFailed, UnknownName
from wattbus.runtime.standing import ItemStatus
from wattbus.store.database import transaction
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import Outcome, Status, attempts


class Slow(BusinessOperation):
    """Waits inside its handler until the test lets it go on; one permit a message."""

    permits: ClassVar[threading.Semaphore] = threading.Semaphore(0)
    busy: ClassVar[list[str]] = []
    done: ClassVar[list[str]] = []

    def take(self, request: Text) -> Text:
        Slow.busy.append(request.text)
        assert Slow.permits.acquire(timeout=20)
        Slow.done.append(request.text)
        return request


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Slow.permits = threading.Semaphore(0)
    Slow.busy.clear()
    Slow.done.clear()
    Gate.opened.clear()
    Gate.entered.clear()
    yield
    Slow.permits.release(1000)
    Gate.opened.set()


def slow_production(pool_size: int = 1) -> Production:
    prod = Production("Test.Slow")
    prod.operation("Slow", Slow, pool_size=pool_size)
    prod.operation("Echo", Echo)
    return prod


def item(bus: testing.PythonDoor, name: str) -> ItemStatus:
    return next(one for one in bus.items() if one.name == name)


def finish(bus: testing.PythonDoor) -> None:
    Slow.permits.release(1000)
    wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))


# -- one item ----------------------------------------------------------------------------------------------------


def test_a_stopped_item_keeps_what_is_sent_to_it_and_goes_on_when_it_is_started(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.wait_ready()
        state = bus.production.stop_item("Echo")
        bus.submit("Echo", Text("kept"))
        kept = item(bus, "Echo")
        bus.production.start_item("Echo")
        wait_for(bus, lambda rows: any(row.status == Status.COMPLETED for row in rows))

    assert state == "Stopped"
    assert (kept.state, kept.queued) == ("Stopped", 1)


def test_stopping_one_item_leaves_the_idle_workers_of_the_others(tmp_path: Path) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        bus.wait_ready()
        bus.production.stop_item("Slow")
        answer = bus.request("Echo", Text("x"), timeout_seconds=20)

    assert answer == Text("x")


def test_an_item_that_is_stopped_finishes_what_it_has_in_hand(tmp_path: Path) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        for text in ("a", "b"):
            bus.submit("Slow", Text(text))
        until(lambda: Slow.busy == ["a"], "the first message is in hand")
        state = bus.production.stop_item("Slow", grace_seconds=0)
        Slow.permits.release()
        until(lambda: item(bus, "Slow").state == "Stopped", "the worker has left")
        done = list(Slow.done)
        bus.production.start_item("Slow")
        finish(bus)

    assert state == "Stopping"
    assert done == ["a"]
    assert Slow.done == ["a", "b"]


def test_a_restarted_item_has_new_components(tmp_path: Path) -> None:
    class Counting(BusinessOperation):
        made: ClassVar[list[object]] = []

        def on_init(self) -> None:
            Counting.made.append(self)

    prod = Production("Test.Counting")
    prod.operation("Counting", Counting)

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()
        bus.production.restart_item("Counting")
        bus.wait_ready()

        assert len(Counting.made) == 2


def test_an_item_that_could_not_start_is_started_when_its_cause_is_gone(tmp_path: Path) -> None:
    class Broken(Echo):
        broken: ClassVar[bool] = True

        def on_init(self) -> None:
            if Broken.broken:
                raise RuntimeError("no such disk")

    prod = Production("Test.Broken")
    prod.operation("Broken", Broken)

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()
        before = item(bus, "Broken")
        Broken.broken = False
        bus.production.start_item("Broken")
        answer = bus.request("Broken", Text("x"), timeout_seconds=20)
        after = item(bus, "Broken")

    assert (before.state, before.error) == ("Error", "RuntimeError: no such disk")
    assert answer == Text("x")
    assert (after.state, after.error) == ("Running", None)


def test_a_disabled_item_queues_and_is_still_disabled_at_the_next_start(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.production.enable("Echo", False)
        bus.submit("Echo", Text("x"))
    with testing.production(echo_production(), tmp_path) as bus:
        again = item(bus, "Echo")
        with pytest.raises(BadRequest, match="wattbus item enable Echo"):
            bus.production.start_item("Echo")
        bus.production.enable("Echo", True)
        wait_for(bus, lambda rows: any(row.status == Status.COMPLETED for row in rows))
        enabled = item(bus, "Echo")

    assert (again.state, again.queued) == ("Disabled", 1)
    assert again.changed == ("disabled (changed; settings.py says enabled)",)
    assert (enabled.state, enabled.changed) == ("Running", ())


def test_an_item_that_settings_disable_accepts_messages_and_runs_none(tmp_path: Path) -> None:
    prod = echo_production()
    prod.operation("Later", Echo, enabled=False)

    with testing.production(prod, tmp_path) as bus:
        bus.submit("Later", Text("x"))
        bus.request("Echo", Text("y"), timeout_seconds=20)
        later = item(bus, "Later")

    assert (later.state, later.queued) == ("Disabled", 1)


@pytest.mark.parametrize("call", ["start_item", "stop_item", "restart_item"])
def test_an_item_that_is_not_there_is_named_with_the_nearest_one(tmp_path: Path, call: str) -> None:
    with (
        testing.production(echo_production(), tmp_path) as bus,
        pytest.raises(UnknownName, match="did you mean 'Echo'"),
    ):
        getattr(bus.production, call)("Ecoh")


# -- pools -------------------------------------------------------------------------------------------------------


def test_a_pool_grows_while_it_works(tmp_path: Path) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        for number in range(3):
            bus.submit("Slow", Text(str(number)))
        until(lambda: len(Slow.busy) == 1, "one message is in hand")
        bus.production.set_pool_size("Slow", 3)
        until(lambda: len(Slow.busy) == 3, "all three are in hand")
        finish(bus)


def test_a_pool_that_shrinks_loses_no_message_and_finishes_what_it_has_in_hand(tmp_path: Path) -> None:
    with testing.production(slow_production(pool_size=4), tmp_path) as bus:
        for number in range(8):
            bus.submit("Slow", Text(str(number)))
        until(lambda: len(Slow.busy) == 4, "four messages are in hand")
        bus.production.set_pool_size("Slow", 1)
        Slow.permits.release(4)
        until(lambda: len(Slow.done) == 4, "the four are done")
        until(lambda: len(Slow.busy) == 5, "the one that is left has taken the next")
        alive = [thread.name for thread in threading.enumerate() if re.fullmatch(r"Slow#\d", thread.name)]
        finish(bus)
        with bus.production.store.engine.connect() as connection:
            ended = connection.execute(select(attempts.c.outcome)).scalars().all()

    assert len(alive) <= 4
    assert len(Slow.busy) == 8
    assert set(ended) == {Outcome.COMPLETED}


def test_idle_workers_leave_when_the_pool_shrinks(tmp_path: Path) -> None:
    def workers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if re.fullmatch(r"Echo#\d", thread.name)]

    with testing.production(echo_production(pool_size=5), tmp_path) as bus:
        until(lambda: len(workers()) == 5, "five threads are there")
        bus.production.set_pool_size("Echo", 2)
        until(lambda: len(workers()) == 2, "two threads are left")
        answers = [bus.request("Echo", Text(str(number)), timeout_seconds=20).text for number in range(10)]

    assert answers == [str(number) for number in range(10)]


def test_a_pool_that_grows_and_shrinks_under_load_answers_every_request(tmp_path: Path) -> None:
    answers: list[str] = []

    def ask(bus: Any, number: int) -> None:
        answers.extend(
            bus.request("Echo", Text(f"{number}-{turn}"), timeout_seconds=60).text for turn in range(25)
        )

    with testing.production(echo_production(pool_size=2), tmp_path) as bus:
        clients = [threading.Thread(target=ask, args=(bus, number)) for number in range(6)]
        for client in clients:
            client.start()
        for size in (1, 8, 3, 1, 5, 2, 8, 1):
            bus.production.set_pool_size("Echo", size)
        for client in clients:
            client.join(60)

    assert sorted(answers) == sorted(f"{number}-{turn}" for number in range(6) for turn in range(25))


def test_a_changed_pool_size_wins_over_settings_at_the_next_start_until_it_is_reset(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.production.set_pool_size("Echo", 4)
    with testing.production(echo_production(), tmp_path) as bus:
        changed = item(bus, "Echo")
        touched = bus.production.reset("Echo")
        after = item(bus, "Echo")
    with testing.production(echo_production(), tmp_path) as bus:
        again = item(bus, "Echo")

    assert (changed.pool_size, changed.changed) == (4, ("pool size 4 (changed; settings.py says 1)",))
    assert touched == ["Echo"]
    assert (after.pool_size, after.changed) == (1, ())
    assert again.pool_size == 1


# -- start and stop ----------------------------------------------------------------------------------------------


def test_a_stop_finishes_what_somebody_waits_for_and_keeps_what_nobody_does(tmp_path: Path) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        answer = bus.begin("Slow", Text("asked"))
        until(lambda: Slow.busy == ["asked"], "the request is in hand")
        stopping = threading.Thread(target=bus.production.stop)
        stopping.start()
        until(lambda: bus.production.state == "Stopping", "the stop has begun")
        with pytest.raises(NotRunning, match="Stopping"):
            bus.submit("Slow", Text("late"))
        Slow.permits.release()
        answered = answer.result(20)
        stopping.join(20)

    assert answered == Text("asked")
    assert bus.production.state == "Stopped"


def test_a_chain_of_synchronous_requests_is_answered_before_the_stop(tmp_path: Path) -> None:
    class Waiting(BusinessProcess):
        def on_message(self, request: Text) -> Text:
            Gate.entered.set()
            assert Gate.opened.wait(20)
            return self.send_request_sync("Echo", request)

    prod = echo_production()
    prod.process("Waiting", Waiting)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.begin("Waiting", Text("x"))
        until(Gate.entered.is_set, "the process is at work")
        stopping = threading.Thread(target=bus.production.stop)
        stopping.start()
        until(lambda: bus.production.state == "Stopping", "the stop has begun")
        Gate.opened.set()
        answered = answer.result(20)
        stopping.join(20)

    assert answered == Text("x")
    assert bus.production.state == "Stopped"


def test_a_stop_whose_grace_is_cut_is_suspended_tells_the_caller_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        answer = bus.begin("Slow", Text("asked"))
        until(lambda: Slow.busy == ["asked"], "the request is in hand")
        stopping = threading.Thread(target=bus.production.stop, args=(3600,))
        stopping.start()
        until(lambda: bus.production.state == "Stopping", "the stop has begun")
        bus.production.hurry()
        stopping.join(20)
        with pytest.raises(RequestFailed, match="the production has stopped: message 1 is kept"):
            answer.result(20)
        state = bus.production.state
    Slow.permits.release(1000)
    with testing.production(slow_production(), tmp_path) as bus:
        wait_for(bus, lambda rows: rows[-1].status == Status.COMPLETED)
        with bus.production.store.engine.connect() as connection:
            found = connection.execute(select(attempts.c.outcome).order_by(attempts.c.number)).scalars().all()

    assert state == "Suspended"
    assert found == ["worker lost", "completed"]


def test_what_waits_for_a_disabled_item_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.production.enable("Echo", False)
        waiter = bus.production.submit_and_watch("Echo", Text("x"))
        state = bus.production.stop(grace_seconds=3600)

    assert state == "Suspended"
    assert "is kept" in (waiter.error_status or "")


def test_services_are_off_before_anything_else_ends(tmp_path: Path) -> None:
    order: list[str] = []

    class Served(BusinessService):
        def on_tear_down(self) -> None:
            order.append("service")

    class Worked(BusinessOperation):
        def on_init(self) -> None:
            order.append("operation starts")

        def on_tear_down(self) -> None:
            order.append("operation")

    prod = Production("Test.Order")
    prod.service("Served", Served)
    prod.operation("Worked", Worked)

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()

    assert order == ["operation starts", "service", "operation"]


def test_everything_of_a_life_is_refused_in_words_once_the_production_has_stopped(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        pass

    for call in (bus.production.update, bus.production.recover, lambda: bus.production.enable("Echo", True)):
        with pytest.raises(NotRunning, match="is Stopped"):
            call()


def test_recover_starts_what_could_not_start(tmp_path: Path) -> None:
    class Broken(Echo):
        broken: ClassVar[bool] = True

        def on_init(self) -> None:
            if Broken.broken:
                raise RuntimeError("no such disk")

    prod = Production("Test.Broken")
    prod.operation("Broken", Broken)

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()
        Broken.broken = False
        taken = bus.production.recover()
        answer = bus.request("Broken", Text("x"), timeout_seconds=20)

    assert taken == 0
    assert answer == Text("x")


# -- update ------------------------------------------------------------------------------------------------------

COMPONENTS = """
from iop import BusinessOperation, Message
from dataclasses import dataclass


@dataclass
class Ask(Message):
    text: str = ""


class First(BusinessOperation):
    prefix: str = "first "

    def take(self, request: Ask) -> Ask:
        return Ask(self.prefix + request.text)
"""
OTHER = """
from iop import BusinessOperation
from components_of_first import Ask


class Second(BusinessOperation):
    made = []

    def on_init(self):
        type(self).made.append(self)

    def take(self, request: Ask) -> Ask:
        return Ask("second " + request.text)
"""
SETTINGS = """
from iop import BusinessOperation, Production
from components_of_first import Ask
from components_of_first import First
from components_of_second import Second


class Third(BusinessOperation):
    made = []

    def on_init(self):
        type(self).made.append(self)

    def take(self, request: Ask) -> Ask:
        return Ask("third " + request.text)


prod = Production("Test.Update")
prod.operation("First", First)
prod.operation("Second", Second)
prod.operation("Third", Third)
PRODUCTIONS = [prod]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "components_of_first.py").write_text(COMPONENTS)
    (tmp_path / "components_of_second.py").write_text(OTHER)
    (tmp_path / "settings.py").write_text(SETTINGS)
    return tmp_path


def change(file: Path, *pairs: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def ask(bus: testing.PythonDoor, name: str, text: str = "x") -> str:
    answer = bus.request(name, bus.message("Ask", {"text": text}), timeout_seconds=20)
    return str(answer.text)


def classes(bus: testing.PythonDoor) -> dict[str, type]:
    return {name: one.component for name, one in bus.production.production.items.items()}


def test_an_update_restarts_only_the_item_whose_setting_changed(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        before = [ask(bus, name) for name in ("First", "Second", "Third")]
        made = [list(classes(bus)[name].made) for name in ("Second", "Third")]  # type: ignore[attr-defined]
        change(project / "settings.py", ('"First", First', '"First", First, settings={"prefix": "changed "}'))
        said = bus.production.needs_update()
        touched = bus.production.update()
        after = [ask(bus, name) for name in ("First", "Second", "Third")]
        same = [list(classes(bus)[name].made) for name in ("Second", "Third")]  # type: ignore[attr-defined]
        said_after = bus.production.needs_update()

    assert before == ["first x", "second x", "third x"]
    assert touched == ["First"]
    assert after == ["changed x", "second x", "third x"]
    assert [[id(one) for one in ones] for ones in same] == [[id(one) for one in ones] for ones in made]
    assert "settings.py changed" in (said or "")
    assert said_after is None


def test_a_changed_class_is_picked_up_and_the_rest_is_not_touched(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        before = ask(bus, "Second")
        change(project / "components_of_second.py", ('"second "', '"new second "'))
        touched = bus.production.update()
        after = ask(bus, "Second")

    assert (before, after) == ("second x", "new second x")
    assert touched == ["Second"]


def test_a_changed_module_that_others_import_restarts_those_who_do(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        change(project / "components_of_first.py", ('text: str = ""', 'text: str = ""\n    times: int = 1'))
        touched = bus.production.update()
        answer = bus.request("First", bus.message("Ask", {"text": "x", "times": 2}), timeout_seconds=20)

    assert touched == ["First", "Second", "Third"]
    assert answer.times == 1


def test_items_are_added_and_removed_and_what_is_queued_for_a_removed_one_stays(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        bus.production.stop_item("Third")
        kept = bus.submit("Third", bus.message("Ask", {"text": "kept"}))
        change(
            project / "settings.py", ('prod.operation("Third", Third)', 'prod.operation("Fourth", Second)')
        )
        touched = bus.production.update()
        answer = ask(bus, "Fourth")
        with pytest.raises(UnknownName):
            ask(bus, "Third")
        bus.production.store.flush()
        warnings = [line.text for line in list_events(bus.production.store.engine, type="Warning")]
        status = {row.id: row.status for row in list_messages(bus.production.store.engine)}[kept]
        change(
            project / "settings.py", ('prod.operation("Fourth", Second)', 'prod.operation("Third", Third)')
        )
        bus.production.update()
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))

    assert touched == ["Third", "Fourth"]
    assert answer == "second x"
    assert any("1 message stay" in text for text in warnings)
    assert status == Status.QUEUED


def test_a_new_pool_size_in_settings_restarts_nothing(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        ask(bus, "Third")
        made = list(classes(bus)["Third"].made)  # type: ignore[attr-defined]
        change(project / "settings.py", ('"Third", Third', '"Third", Third, pool_size=2'))
        touched = bus.production.update()
        until(lambda: len(classes(bus)["Third"].made) == 2, "a second component is there")  # type: ignore[attr-defined]
        now = list(classes(bus)["Third"].made)  # type: ignore[attr-defined]

    assert touched == ["Third"]
    assert now[0] is made[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("PRODUCTIONS = [prod]", "PRODUCTIONS = [prod", "line"),
        ("PRODUCTIONS = [prod]", "PRODUCTIONS = [prodd]", "prodd"),
        ('"First", First', '"First", First, pool_size="many"', "many"),
        ("from components_of_first import First", "from components_of_first import Frist", "First"),
    ],
)
def test_a_settings_file_that_cannot_be_read_leaves_everything_as_it_was(
    project: Path, old: str, new: str, said: str
) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        before = [ask(bus, name) for name in ("First", "Second", "Third")]
        objects = list(classes(bus)["Third"].made)  # type: ignore[attr-defined]
        change(project / "settings.py", (old, new))
        with pytest.raises(BadSettings, match=re.escape(said)):
            bus.production.update()
        after = [ask(bus, name) for name in ("First", "Second", "Third")]
        still = list(classes(bus)["Third"].made)  # type: ignore[attr-defined]

    assert after == before
    assert still == objects


def test_a_production_that_was_made_in_memory_needs_the_new_one_to_update(tmp_path: Path) -> None:
    from wattbus.runtime.reading import from_production

    with testing.production(echo_production(prefix=">"), tmp_path) as bus:
        with pytest.raises(BadSettings, match="give update"):
            bus.production.update()
        touched = bus.production.update(from_production(echo_production(prefix="<")))
        answer = bus.request("Echo", Text("x"), timeout_seconds=20)

    assert touched == ["Echo"]
    assert answer.text == "<x"


def test_what_was_changed_while_it_ran_stays_over_an_update(project: Path) -> None:
    with testing.production(project / "settings.py", project / "home") as bus:
        bus.production.set_pool_size("First", 3)
        change(project / "settings.py", ('"First", First', '"First", First, settings={"prefix": "changed "}'))
        bus.production.update()
        first = item(bus, "First")

    assert first.pool_size == 3
    assert first.changed == ("pool size 3 (changed; settings.py says 1)",)


def test_a_process_sends_to_its_targets_after_an_update(tmp_path: Path) -> None:
    from wattbus.runtime.reading import from_production

    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Relay", Text("a"), timeout_seconds=20)
        bus.production.update(from_production(echo_production(prefix="!")))
        answer = bus.request("Relay", Text("x"), timeout_seconds=20)

    assert answer.text == "!x!a!b"


# -- what goes wrong outside of a component ----------------------------------------------------------------------


@contextmanager
def without_table(bus: testing.PythonDoor, name: str) -> Iterator[None]:
    """Let a table of the store be gone for a while, as after a failing disk: what needs it fails."""
    engine = bus.production.store.engine

    def rename(old: str, new: str) -> None:
        with transaction(engine) as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename(name, "gone")
    try:
        yield
    finally:
        rename("gone", name)


def test_a_result_that_the_store_does_not_take_is_kept_and_delivered_when_it_does(tmp_path: Path) -> None:
    with testing.production(slow_production(), tmp_path) as bus:
        answer = bus.begin("Slow", Text("x"))
        until(lambda: Slow.busy == ["x"], "the message is in hand")
        with without_table(bus, "energy"):
            Slow.permits.release()
            until(lambda: len(bus.production.bus.undelivered) == 1, "the result waits for the store")
            early = answer.done()
        answered = answer.result(20)
        following = bus.begin("Slow", Text("y"))
        Slow.permits.release()
        next_one = following.result(20)
        with bus.production.store.engine.connect() as connection:
            ended = connection.execute(select(attempts.c.outcome)).scalars().all()

    assert not early
    assert (answered, next_one) == (Text("x"), Text("y"))
    assert ended == [Outcome.COMPLETED, Outcome.COMPLETED]


def test_a_worker_that_fails_outside_of_its_component_tells_and_begins_anew(tmp_path: Path) -> None:
    tries: list[str] = []

    class Flaky(BusinessOperation):
        def take(self, request: Text) -> Text:
            tries.append(request.text)
            if self.iris_handle.RetryCount == 1:
                raise ConnectionError("not yet")
            return request

    clock = testing.FakeClock()
    prod = Production("Test.Flaky")
    prod.operation("Flaky", Flaky, settings={"ReplyCodeActions": "E=R"})

    with testing.production(prod, tmp_path, clock=clock) as bus:
        answer = bus.begin("Flaky", Text("x"))
        until(lambda: bool(tries) and "Flaky#1" in clock.sleeping(), "the worker waits for its retry")
        with without_table(bus, "attempts"):
            clock.advance(5)
            wait_for_alert(bus)
            until(lambda: "Flaky#1" in clock.sleeping(), "the worker pauses")
        clock.advance(1)
        answered = answer.result(20)
        alerts = list_events(bus.production.store.engine, type="Alert")

    assert answered == Text("x")
    assert "failed outside of its component" in alerts[0].text


def test_a_message_that_breaks_the_runtime_itself_is_kept_and_suspended_in_the_end(tmp_path: Path) -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise RuntimeError("neither true nor false")

    class Breaking(BusinessOperation):
        def take(self, request: Text) -> Text:
            if request.text == "bad":
                self.iris_handle.Retry = Odd()
            return request

    prod = Production("Test.Breaking")
    prod.operation("Breaking", Breaking)

    with testing.production(prod, tmp_path) as bus:
        bad = bus.submit("Breaking", Text("bad"))
        good = bus.submit("Breaking", Text("good"))
        wait_for(bus, lambda rows: {row.id: row.status for row in rows}.get(good) == Status.COMPLETED)
        rows = {row.id: row for row in list_messages(bus.production.store.engine)}
        with bus.production.store.engine.connect() as connection:
            tried = (
                connection.execute(select(attempts.c.outcome).where(attempts.c.message_id == bad))
                .scalars()
                .all()
            )

    assert rows[bad].status == Status.SUSPENDED
    assert "3 workers in a row" in (rows[bad].error_status or "")
    assert set(tried) == {Outcome.WORKER_LOST}


def wait_for_alert(bus: testing.PythonDoor) -> None:
    until(lambda: bool(list_events(bus.production.store.engine, type="Alert")), "an alert was raised")
