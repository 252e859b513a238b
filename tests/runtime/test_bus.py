"""The bus through the Python door."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from iop import BusinessProcess, Production, target
from sqlalchemy import select

from components import Checked, Echo, Free, Gate, Relay, Text, echo_production
from waiting import wait_for
from wattbus import testing
from wattbus.errors import BadRequest, RequestFailed, RequestTimeout, UnknownName
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import Status, attempts, bodies, energy


def test_a_request_is_answered_by_the_handler_of_its_type(tmp_path: Path) -> None:
    with testing.production(echo_production(prefix=">"), tmp_path) as bus:
        answer = bus.request("Echo", Text("hello"))
        checked = bus.request("Echo", Checked(number=1))

    assert answer == Text(">hello")
    assert checked == Checked(number=2)


def test_settings_written_as_strings_arrive_as_their_declared_type(tmp_path: Path) -> None:
    with testing.production(echo_production(factor="3"), tmp_path) as bus:
        answer = bus.request("Echo", Text("x"))

    assert answer.text == "xxx"


def test_a_declared_default_beats_a_free_text_line_as_on_iris_and_is_a_warning(tmp_path: Path) -> None:
    with testing.production(echo_production(**{"%settings": "factor=3\nprefix=>"}), tmp_path) as bus:
        answer = bus.request("Echo", Text("x"))
        bus.production.store.flush()
        warnings = list_events(bus.production.store.engine, type="Warning")

    assert answer.text == ">x"
    assert any("'factor'" in line.text for line in warnings)


def test_a_process_sends_sync_multi_and_async_in_one_session(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        answer = bus.request("Relay", Text("one"))
        wait_for(
            bus,
            lambda rows: sum(row.status == Status.COMPLETED for row in rows if row.type == "Request") == 5,
        )
        rows = list_messages(bus.production.store.engine)

    assert answer.text == "oneab"
    assert {row.session_id for row in rows} == {1}
    later = next(row for row in rows if row.type == "Request" and row.priority == 6)
    assert later.parent_id == 1


def test_children_of_a_failing_attempt_are_never_sent(tmp_path: Path) -> None:
    class Careless(Relay):
        def on_message(self, request: Text) -> Text:
            self.send_request_async(self.Output, request)
            raise RuntimeError("no")

    prod = Production("Test.Careless")
    echo = prod.operation("Echo", Echo)
    relay = prod.process("Relay", Careless)
    prod.connect(relay.Output, echo)

    with testing.production(prod, tmp_path) as bus:
        with pytest.raises(RequestFailed, match="RuntimeError: no"):
            bus.request("Relay", Text("x"))
        rows = list_messages(bus.production.store.engine)

    assert [row.target_item for row in rows] == ["Relay"]


def test_an_operation_that_raises_ends_as_error_with_its_traceback_in_the_event_log(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        with pytest.raises(RequestFailed, match="the text is boom"):
            bus.request("Echo", Text("boom"))
        bus.production.store.flush()
        header = list_messages(bus.production.store.engine)[0]
        lines = list_events(bus.production.store.engine, type="Error")

    assert (header.status, header.is_error) == ("Error", True)
    assert header.error_status == "ValueError: the text is boom"
    assert "Traceback" in lines[0].text
    assert lines[0].message_id == header.id


def test_a_failed_child_raises_in_the_process_that_asked(tmp_path: Path) -> None:
    with (
        testing.production(echo_production(), tmp_path) as bus,
        pytest.raises(RequestFailed, match="the text is boom"),
    ):
        bus.request("Relay", Text("boom"))


@pytest.mark.parametrize(
    ("item", "message", "error", "words"),
    [
        ("Ecoh", Text("x"), UnknownName, "did you mean 'Echo'"),
        ("Echo", Free(), BadRequest, "does not handle Free; it handles Checked, Text"),
        ("Echo", "x", BadRequest, "a str is no message"),
    ],
)
def test_what_cannot_be_delivered_is_refused_at_the_door(
    tmp_path: Path, item: str, message: object, error: type[Exception], words: str
) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.wait_ready()
        with pytest.raises(error, match=words):
            bus.request(item, message)
        stored = list_messages(bus.production.store.engine)

    assert stored == []


def test_each_attempt_has_one_energy_record_also_when_it_fails(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("x"))
        with pytest.raises(RequestFailed):
            bus.request("Echo", Text("boom"))
        engine = bus.production.store.engine
        with engine.connect() as connection:
            tried = connection.execute(select(attempts.c.message_id, attempts.c.number)).all()
            metered = connection.execute(select(energy.c.message_id, energy.c.attempt)).all()
            joules = connection.execute(select(energy.c.energy_joules)).scalars().all()

    assert sorted(map(tuple, tried)) == sorted(map(tuple, metered))
    assert joules == [None, None]


def test_a_pool_of_one_completes_in_the_order_of_acceptance(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(50)]
        wait_for(
            bus,
            lambda rows: sum(row.status == Status.COMPLETED for row in rows if row.type == "Request") == 50,
        )
        with bus.production.store.engine.connect() as connection:
            ended = connection.execute(
                select(attempts.c.message_id).order_by(attempts.c.ended_us, attempts.c.message_id)
            )
            order = list(ended.scalars())

    assert order == ids


def test_a_time_out_leaves_the_message_in_the_store_and_it_goes_on(tmp_path: Path) -> None:
    Gate.opened.clear()
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)

    with testing.production(prod, tmp_path) as bus:
        with pytest.raises(RequestTimeout, match="stays in the store"):
            bus.request("Gate", Text("x"), timeout_seconds=0.05)
        Gate.opened.set()
        wait_for(bus, lambda rows: rows[-1].status == Status.COMPLETED)


def test_the_same_idempotency_key_is_the_same_message(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        running = bus.production
        first = running.exchange("Echo", Text("x"), idempotency_key="k")
        second = running.exchange("Echo", Text("x"), idempotency_key="k")

        assert first == second
        assert len([row for row in list_messages(running.store.engine) if row.type == "Request"]) == 1


def test_a_body_over_a_megabyte_lies_out_of_line_and_arrives_whole(tmp_path: Path) -> None:
    large = "é" * 1_200_000

    with testing.production(echo_production(), tmp_path) as bus:
        answer = bus.request("Echo", Text(large))
        with bus.production.store.engine.connect() as connection:
            rows = connection.execute(select(bodies)).all()

    assert answer.text == large
    assert [row.json for row in rows] == [None, None]
    assert all((tmp_path / "bodies" / row.sha256).exists() for row in rows)


def test_many_clients_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    wrong: list[str] = []

    def ask(bus: object, number: int) -> None:
        for turn in range(20):
            sent = f"{number}-{turn}"
            if bus.request("Echo", Text(sent)).text != sent:  # type: ignore[attr-defined]
                wrong.append(sent)

    with testing.production(echo_production(pool_size=8), tmp_path) as bus:
        clients = [threading.Thread(target=ask, args=(bus, number)) for number in range(16)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        done = [
            row for row in list_messages(bus.production.store.engine, limit=1000) if row.type == "Request"
        ]

    assert wrong == []
    assert len(done) == 320
    assert {row.status for row in done} == {Status.COMPLETED}


def test_a_handler_that_is_slow_for_once_holds_up_none_of_the_messages_that_came_with_its_own(
    tmp_path: Path,
) -> None:
    class MostlyFast(Gate):
        def wait(self, request: Text) -> Text:
            return super().wait(request) if request.text == "slow" else request

    class FanOut(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Text:
            for text in ("slow", "a", "b"):  # accepted together, with the end of this message
                self.send_request_async(self.Output, Text(text))
            return request

    Gate.opened.clear()
    prod = Production("Test.MostlyFast")
    fast = prod.operation("Fast", MostlyFast, pool_size=4)
    prod.connect(prod.process("FanOut", FanOut).Output, fast)

    with testing.production(prod, tmp_path) as bus:
        bus.request("Fast", Text("first"))
        bus.production.store.claim_ahead("Fast", 32, usual_seconds=0.00001)  # as after many fast ones
        bus.submit("FanOut", Text("go"))
        wait_for(
            bus,
            lambda rows: (
                [row.status for row in rows if row.parent_id and row.type == "Request"]
                == [Status.COMPLETED, Status.COMPLETED, Status.DELIVERED]
            ),
        )
        Gate.opened.set()
        wait_for(bus, lambda rows: all(row.status == Status.COMPLETED for row in rows))


def test_who_waits_for_an_item_that_cannot_start_is_told_and_the_message_is_kept(tmp_path: Path) -> None:
    class Broken(Echo):
        def on_init(self) -> None:
            Gate.entered.set()
            Gate.opened.wait(20)
            raise RuntimeError("no such disk")

    Gate.opened.clear()
    prod = Production("Test.Broken")
    prod.operation("Broken", Broken)

    with testing.production(prod, tmp_path) as bus:
        waiter = bus.production.submit_and_watch("Broken", Text("early"))
        Gate.opened.set()
        assert waiter.wait(20)
        with pytest.raises(RequestFailed, match="no such disk"):
            bus.request("Broken", Text("late"))
        kept = list_messages(bus.production.store.engine)

    assert "no such disk" in (waiter.error_status or "")
    assert [row.status for row in kept] == [Status.QUEUED]


def test_requests_in_an_event_loop_go_side_by_side(tmp_path: Path) -> None:
    import asyncio

    async def ask(bus: testing.PythonDoor) -> list[str]:
        answers = await asyncio.gather(
            *(bus.request_async("Echo", Text(str(number))) for number in range(20))
        )
        return [answer.text for answer in answers]

    with testing.production(echo_production(pool_size=4), tmp_path) as bus:
        answers = asyncio.run(ask(bus))

    assert answers == [str(number) for number in range(20)]


def test_an_error_text_that_no_database_takes_is_written_all_the_same(tmp_path: Path) -> None:
    class Odd(Echo):
        def echo(self, request: Text) -> Text:
            raise ValueError("a lone \ud800 and a \0")

    prod = Production("Test.Odd")
    prod.operation("Odd", Odd)

    with testing.production(prod, tmp_path) as bus:
        with pytest.raises(RequestFailed, match="a lone"):
            bus.request("Odd", Text("x"), timeout_seconds=20)
        header = list_messages(bus.production.store.engine)[0]

    assert header.status == Status.ERROR
    assert header.error_status == "ValueError: a lone ? and a \\0"


def test_a_value_that_no_database_takes_fails_alone_and_the_bus_goes_on(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        with pytest.raises((RequestFailed, BadRequest)):
            bus.request("Echo", Text("\ud800"), timeout_seconds=20)

        assert bus.request("Echo", Text("fine"), timeout_seconds=20) == Text("fine")
