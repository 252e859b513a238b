"""Actions on stored messages: what they change, what they refuse, and that nothing is lost by them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest
from iop import BusinessOperation, BusinessProcess, Message, Production, target
from sqlalchemy import func, select

from components import Checked, Echo, Relay, Text, echo_production
from waiting import until, wait_for
from wattbus import testing
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.errors import BadRequest, QueueFull, RequestFailed, UnknownName
from wattbus.home import Home
from wattbus.store.actions import Acted, By, dead_letters
from wattbus.store.filters import MessageFilter, parse_filter
from wattbus.store.queries import list_events, list_messages, message_header
from wattbus.store.rows import Header
from wattbus.store.store import INLINE_BODY_BYTES
from wattbus.store.tables import Priority, bodies

ME = By("Test", "a reason")
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("postgres_url")) if database == "postgresql" else None


def header(bus: PythonDoor, message_id: int) -> Header:
    found = message_header(bus.production.store.engine, message_id)
    assert found is not None
    return found


def statuses(bus: PythonDoor, ids: list[int]) -> list[str]:
    return [header(bus, one).status for one in ids]


def all_completed(rows: list[Header]) -> bool:
    return all(row.status == "Completed" for row in rows)


def failed(bus: PythonDoor) -> int:
    """Let a request fail and return its id."""
    with pytest.raises(RequestFailed):
        bus.request("Echo", Text("boom"))
    return list_messages(bus.production.store.engine, which=parse_filter("status=Error"))[0].id


def assert_healthy(home: Path, url: str | None = None) -> None:
    report = examine(Home(home), url)
    assert report.ok, report.to_text()


# -- suspend, resume ---------------------------------------------------------------------------------------------------


@DATABASES
def test_suspended_messages_wait_and_resumed_ones_are_handled(tmp_path: Path, url: str | None) -> None:
    with testing.production(echo_production(0), tmp_path, store_url=url) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(3)]
        suspended = bus.actions.suspend(ids[:2], ME)
    with testing.production(echo_production(1), tmp_path, store_url=url) as bus:
        wait_for(bus, lambda rows: any(row.status == "Completed" for row in rows))
        between = statuses(bus, ids)
        resumed = bus.actions.resume(ids[:2], ME)
        wait_for(bus, all_completed)

    assert suspended == Acted("suspend", tuple(ids[:2]))
    assert resumed == Acted("resume", tuple(ids[:2]))
    assert between == ["Suspended", "Suspended", "Completed"]
    assert_healthy(tmp_path, url)


def test_an_action_done_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        one = bus.submit("Echo", Text("x"))
        bus.actions.suspend([one, one], ME)

        again = bus.actions.suspend([one], ME)

    assert again == Acted("suspend", already=(one,))


def test_a_resumed_message_is_handed_to_a_worker_that_waits(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        one = bus.submit("Echo", Text("x"))
        bus.actions.suspend([one], ME)
    with testing.production(echo_production(1), tmp_path) as bus:
        bus.request("Echo", Text("the queue is empty now, and known to be"))

        bus.actions.resume([one], ME)

        wait_for(bus, all_completed)
    assert_healthy(tmp_path)


def test_a_resumed_message_starts_with_a_clean_count_of_lost_workers(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        one = bus.submit("Echo", Text("x"))
        store = bus.production.store
        with store.engine.connect() as connection:
            for number in range(1, 4):
                connection.exec_driver_sql(
                    "INSERT INTO attempts"
                    " (message_id, number, item, job, instance, started_us, lease_until_us, outcome)"
                    f" VALUES ({one}, {number}, 'Echo', 'j', 'i', {number}, {number}, 'worker lost')"
                )
            before = store.recovery.is_poison(connection, one)
            bus.actions.suspend([one], ME)
            bus.actions.resume([one], ME)

            after = store.recovery.is_poison(connection, one)

    assert (before, after) == (True, False)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("suspend", "is Completed: only what is Queued can be suspended"),
        ("resume", "is Completed: only what is Suspended can be resumed"),
        ("discard", "only what is Queued, Suspended, Error or Deferred can be discarded"),
        ("abort", "is Completed: only what is Queued can be aborted"),
    ],
)
def test_what_an_action_cannot_take_is_refused_in_words(tmp_path: Path, action: str, words: str) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("x"))

        acted: Acted = getattr(bus.actions, action)([1, 4711], ME)

    assert acted.changed == ()
    assert words in acted.refused[0].why
    assert acted.refused[1].why == "there is no message 4711."


# -- discard, abort ----------------------------------------------------------------------------------------------------


@DATABASES
@pytest.mark.parametrize("action", ["discard", "abort"])
def test_a_caller_of_a_message_that_is_given_up_is_told_who_did_it(
    tmp_path: Path, url: str | None, action: str
) -> None:
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(RequestFailed) as failure:
            bus.request("Echo", Text("x"))
        told.append(str(failure.value))

    with testing.production(echo_production(0), tmp_path, store_url=url) as bus:
        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(bus, lambda rows: bool(rows))
        one = list_messages(bus.production.store.engine)[0].id

        getattr(bus.actions, action)([one], ME)
        asking.join(20)
        after = header(bus, one)

    assert "by Test: a reason" in told[0]
    assert after.status == {"discard": "Discarded", "abort": "Aborted"}[action]
    assert (after.is_error, after.target_item) == (True, "Echo")
    assert_healthy(tmp_path, url)


class Waiting(BusinessProcess):
    """Asks asynchronously and answers with what it was told."""

    Output = target()

    def on_request(self, request: Text) -> None:
        self.send_request_async(self.Output, request, completion_key="first")

    def on_response(
        self, request: object, response: object, call_request: object, call_response: object, key: object
    ) -> None:
        return None

    def on_complete(self, request: object, response: object) -> Text:
        return Text("complete")


def waiting_production(pool_size: int) -> Production:
    prod = Production("Test.Waiting")
    echo = prod.operation("Echo", Echo, pool_size=pool_size)
    process = prod.process("Waiting", Waiting)
    prod.connect(process.Output, echo)
    return prod


def test_a_process_goes_on_with_an_error_when_what_it_waits_for_is_discarded(tmp_path: Path) -> None:
    with testing.production(waiting_production(0), tmp_path) as bus:
        bus.submit("Waiting", Text("x"))
        wait_for(bus, lambda rows: any(row.status == "Deferred" for row in rows))
        child = list_messages(bus.production.store.engine, which=parse_filter("target=Echo"))[0].id

        bus.actions.discard([child], ME)

        wait_for(bus, lambda rows: all(row.status != "Deferred" and row.status != "Queued" for row in rows))
    assert_healthy(tmp_path)


def test_a_process_that_waits_can_be_discarded_and_a_late_response_harms_nothing(tmp_path: Path) -> None:
    with testing.production(waiting_production(0), tmp_path) as bus:
        request = bus.submit("Waiting", Text("x"))
        wait_for(bus, lambda rows: any(row.status == "Deferred" for row in rows))

        acted = bus.actions.discard([request], ME)
    with testing.production(waiting_production(1), tmp_path) as bus:
        wait_for(bus, lambda rows: all(row.status not in ("Queued", "Delivered", "Deferred") for row in rows))
        after = header(bus, request)

    assert acted.changed == (request,)
    assert after.status == "Discarded"
    assert_healthy(tmp_path)


def test_a_response_that_a_process_waits_for_is_not_discarded(tmp_path: Path) -> None:
    with testing.production(waiting_production(1), tmp_path) as bus:
        bus.request("Waiting", Text("x"))
    with testing.production(waiting_production(1), tmp_path) as bus:
        bus.production.stop_item("Waiting")
        engine = bus.production.store.engine
        with engine.connect() as connection:
            # The process as it stands while its worker is away: a response in its queue.
            connection.exec_driver_sql("UPDATE messages SET status = 'Deferred' WHERE id = 1")
            connection.exec_driver_sql(
                "INSERT INTO processes (message_id, item, version, waiting, response_class, properties)"
                " VALUES (1, 'Waiting', 1, 1, '', '{}')"
            )
            connection.exec_driver_sql(
                "UPDATE messages SET status = 'Queued' WHERE type = 'Response' AND target_queue = 'Waiting'"
            )
        response = list_messages(engine, which=parse_filter("type=Response status=Queued"))[0].id

        acted = bus.actions.discard([response], ME)

    assert acted.refused[0].why == (
        f"message {response} is a response, and process 1 waits for it: discard message 1 instead."
    )


class Gate(BusinessOperation):
    opened: ClassVar[threading.Event]
    entered: ClassVar[threading.Event]

    def wait(self, request: Text) -> Text:
        Gate.entered.set()
        assert Gate.opened.wait(20)
        return request


def test_a_message_in_hand_is_refused_and_ends_as_it_would_have(tmp_path: Path) -> None:
    Gate.opened, Gate.entered = threading.Event(), threading.Event()
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)
    with testing.production(prod, tmp_path) as bus:
        ids = [bus.submit("Gate", Text("a")), bus.submit("Gate", Text("b"))]
        assert Gate.entered.wait(20)

        acted = bus.actions.abort(ids, ME)

        Gate.opened.set()
        wait_for(bus, lambda rows: header(bus, ids[0]).status == "Completed")
        after = statuses(bus, ids)

    assert acted.changed == (ids[1],)
    assert acted.refused[0].why == f"message {ids[0]} is Delivered: Gate has it in hand. Wait for its end."
    assert after == ["Completed", "Aborted"]
    assert_healthy(tmp_path)


def test_a_message_in_hand_that_can_be_cancelled_is_told_to_stop(tmp_path: Path) -> None:
    Gate.opened, Gate.entered = threading.Event(), threading.Event()
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)
    told: list[str] = []
    with testing.production(prod, tmp_path) as bus:
        one = bus.submit("Gate", Text("a"))
        assert Gate.entered.wait(20)
        with bus.production.place.cancels.offered(one, told.append):
            acted = bus.actions.abort([one], ME)
        Gate.opened.set()

    assert acted == Acted("abort", cancelling=(one,))
    assert told == ["Test: a reason"]


# -- resend, edit, replay ----------------------------------------------------------------------------------------------


@DATABASES
def test_a_resent_request_is_a_new_message_of_the_same_session_with_the_same_body(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        bus.request("Echo", Text("x"))
        old = list_messages(bus.production.store.engine)[-1]

        acted = bus.actions.resend([old.id], ME)

        wait_for(bus, all_completed)
        new = header(bus, acted.new[0])
        with bus.production.store.engine.connect() as connection:
            stored = connection.execute(select(func.count()).select_from(bodies)).scalar_one()

    assert (new.session_id, new.body_id, new.resent) == (old.session_id, old.body_id, str(old.id))
    assert (new.target_item, new.status, new.type) == ("Echo", "Completed", "Request")
    assert stored == 3  # the request's, and one of each response
    assert_healthy(tmp_path, url)


def test_a_response_and_an_open_request_are_not_sent_again(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("x"))
    with testing.production(echo_production(0), tmp_path) as bus:
        queued = bus.submit("Echo", Text("x"))

        acted = bus.actions.resend([2, queued, 99], ME)

    assert acted.new == ()
    assert [refusal.why for refusal in acted.refused] == [
        "message 2 is a response: send its request 1 again.",
        f"message {queued} is Queued: only what is Completed, Error, Discarded, Aborted or Suspended can be sent "
        "again.",
        "there is no message 99.",
    ]


def test_a_request_can_be_sent_to_another_item_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    prod = echo_production()
    prod.operation("Echo.Two", Echo, settings={"prefix": ">"})
    with testing.production(prod, tmp_path) as bus:
        bus.request("Echo", Text("x"))
        with pytest.raises(UnknownName, match=r"did you mean 'Echo.Two'"):
            bus.actions.resend([1], ME, to="Echo.Tow")

        acted = bus.actions.resend([1], ME, to="Echo.Two")

        wait_for(bus, all_completed)
        engine = bus.production.store.engine
        answer = list_messages(engine, which=parse_filter(f"answers={acted.new[0]}"))[0]
        text = bus.production.store.body(answer.body_id)

    assert text is not None
    assert '">x"' in text


def test_a_request_whose_item_is_gone_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    prod = Production("Test.Before")
    prod.operation("Echoo", Echo)
    with testing.production(prod, tmp_path) as bus:
        bus.request("Echoo", Text("x"))
    with testing.production(echo_production(), tmp_path) as bus:
        acted = bus.actions.resend([1], ME)

    assert acted.new == ()
    assert "did you mean 'Echo'" in acted.refused[0].why


def test_the_same_key_sends_again_only_once(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("x"))
        first = bus.actions.resend([1], ME, idempotency_key="k")

        second = bus.actions.resend([1], ME, idempotency_key="k")

    assert second == Acted("resend", new=first.new, already=(1,))


def test_an_edited_request_is_checked_against_its_type_and_sent(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        one = failed(bus)
        with pytest.raises(BadRequest, match="did you mean 'text'"):
            bus.actions.edit_and_resend(one, {"txet": "fine"}, ME)

        acted = bus.actions.edit_and_resend(one, '{"text": "fine"}', ME)

        wait_for(bus, lambda rows: header(bus, acted.new[0]).status == "Completed")
        new, old = header(bus, acted.new[0]), header(bus, one)

    assert new.body_id == new.id
    assert (new.body_class, old.status) == (old.body_class, "Error")
    assert_healthy(tmp_path)


def test_a_token_in_an_edited_body_is_not_written(tmp_path: Path) -> None:
    token = "hf_" + "abcdefghij" * 3
    with testing.production(echo_production(), tmp_path) as bus:
        one = failed(bus)

        acted = bus.actions.edit_and_resend(one, {"text": token}, ME)
        text = bus.production.store.body(header(bus, acted.new[0]).body_id)

    assert text is not None
    assert token not in text


def test_a_large_edited_body_lies_in_a_file(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        one = failed(bus)
        text = "y" * (INLINE_BODY_BYTES + 1)

        acted = bus.actions.edit_and_resend(one, {"text": text}, ME)
        wait_for(bus, lambda rows: header(bus, acted.new[0]).status == "Completed")

    assert any(text in file.read_text() for file in Home(tmp_path).bodies.iterdir())
    assert_healthy(tmp_path)


def test_a_hop_is_replayed_in_a_session_of_its_own_with_all_that_follows(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Relay", Text("one"))
        wait_for(bus, all_completed)
        before = [row for row in list_messages(bus.production.store.engine) if row.type == "Request"]

        whole = bus.actions.replay(1, ME)
        wait_for(bus, all_completed)
        hop = bus.actions.replay(1, ME, hop=2)
        wait_for(bus, all_completed)
        sessions = [
            list_messages(bus.production.store.engine, which=parse_filter(f"session={new} type=Request"))
            for new in (*whole.new, *hop.new)
        ]
        with pytest.raises(BadRequest, match="has no hop 9: its requests are counted from 1 to 5"):
            bus.actions.replay(1, ME, hop=9)

    assert [row.target_item for row in sessions[0]] == [row.target_item for row in before]
    assert [row.target_item for row in sessions[1]] == ["Echo"]
    assert sessions[1][0].parent_id is None
    assert_healthy(tmp_path)


def test_what_was_set_aside_is_replaced_when_it_is_sent_again_and_its_process_gets_the_answer(
    tmp_path: Path,
) -> None:
    with testing.production(waiting_production(0), tmp_path) as bus:
        request = bus.submit("Waiting", Text("x"))
        wait_for(bus, lambda rows: any(row.status == "Deferred" for row in rows))
        child = list_messages(bus.production.store.engine, which=parse_filter("target=Echo"))[0].id
        bus.actions.suspend([child], ME)
    with testing.production(waiting_production(1), tmp_path) as bus:
        acted = bus.actions.edit_and_resend(child, {"text": "better"}, ME)
        wait_for(bus, lambda rows: header(bus, request).status == "Completed")
        wait_for(bus, lambda rows: header(bus, acted.new[0]).status == "Completed")
        after = header(bus, child)

    assert after.status == "Discarded"
    assert f"sent again as message {acted.new[0]}" in str(after.error_status)
    assert_healthy(tmp_path)


# -- filters, dead letters, the event log ------------------------------------------------------------------------------


@DATABASES
def test_an_action_is_done_to_all_messages_of_a_filter_in_chunks(tmp_path: Path, url: str | None) -> None:
    with testing.production(echo_production(0), tmp_path, store_url=url) as bus:
        last = [bus.submit("Echo", Text(str(number))) for number in range(620)][-1]
        which = parse_filter("item=Echo")
        plan = bus.actions.plan("discard", parse_filter(f"item=Echo id=..{last - 1}"))

        discarded = bus.actions.every("discard", parse_filter(f"item=Echo id=..{last - 1}"), ME)
        again = bus.actions.plan("discard", which)

    assert (plan.matching, plan.actionable) == (619, 619)
    assert len(discarded.changed) == 619
    assert (again.matching, again.actionable) == (620, 1)
    assert_healthy(tmp_path, url)


def test_what_a_bulk_resend_brings_into_being_is_not_sent_again_by_it(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        for number in range(3):
            bus.request("Echo", Text(str(number)))

        acted = bus.actions.every("resend", MessageFilter(), ME)

        wait_for(bus, all_completed)
        count = len(list_messages(bus.production.store.engine, which=parse_filter("type=Request")))
    assert len(acted.new) == 3
    assert count == 6


def test_an_unknown_action_is_refused(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus, pytest.raises(UnknownName, match="discard"):
        bus.actions.every("dicsard", MessageFilter(), ME)


@DATABASES
def test_dead_letters_are_counted_by_item_with_the_last_error(tmp_path: Path, url: str | None) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        first = failed(bus)
        second = failed(bus)
        bus.actions.resend([first], ME)
        wait_for(bus, lambda rows: sum(row.status == "Error" for row in rows) == 3)

        (dead,) = dead_letters(bus.production.store.engine)

    assert (dead.item, dead.errors, dead.suspended, dead.sent_again) == ("Echo", 3, 0, 1)
    assert dead.newest_id > second
    assert dead.last_error == "ValueError: the text is boom"


def test_each_action_leaves_lines_that_say_who_what_and_why(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(2)]
        bus.actions.suspend([*ids, 99], ME)
        bus.actions.discard(ids[:1], ME)
        bus.production.store.flush()
        lines = [line for line in list_events(bus.production.store.engine) if "by Test" in line.text]

    assert [(line.message_id, line.text) for line in lines] == [
        (1, "message 1 was suspended by Test: a reason"),
        (2, "message 2 was suspended by Test: a reason"),
        (
            None,
            "2 messages suspended by Test: a reason (1, 2); 1 refused (99), the first since there is no message 99.",
        ),
        (1, "message 1 was discarded by Test: a reason (it was Suspended: suspended by Test: a reason)"),
    ]


# -- priorities, limits, keys ------------------------------------------------------------------------------------------


def test_a_higher_priority_is_served_first_and_equal_ones_in_order(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        late = [bus.submit("Echo", Text(str(number))) for number in range(2)]
        sync = bus.submit("Echo", Text("sync"), priority=Priority.SYNC)
        high = [bus.submit("Echo", Text("high"), priority=Priority.HIGH_SYNC) for _ in range(2)]
    with testing.production(echo_production(1), tmp_path) as bus:
        wait_for(bus, all_completed)
        answers = list_messages(bus.production.store.engine, which=parse_filter("type=Response"))[::-1]

    assert [row.corresponding_id for row in answers] == [*high, sync, *late]
    assert_healthy(tmp_path)


@DATABASES
def test_what_goes_beyond_the_limit_of_a_queue_is_refused_at_the_door(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(0, QueueLimit=3), tmp_path, store_url=url) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(3)]
        with pytest.raises(QueueFull, match="'Echo' has 3 messages waiting") as failure:
            bus.submit("Echo", Text("one too many"))
        with pytest.raises(QueueFull):
            bus.request("Echo", Text("one too many"))
        bus.actions.discard(ids[:1], ME)
        until(lambda: accepted(bus), "there is room again")
        with pytest.raises(QueueFull):
            bus.submit("Echo", Text("one too many"))

    assert failure.value.retry_after_seconds > 0
    assert_healthy(tmp_path, url)


def accepted(bus: PythonDoor) -> bool:
    try:
        bus.submit("Echo", Text("fits"))
    except QueueFull:
        return False
    return True


def test_many_doors_at_once_do_not_fill_a_queue_beyond_its_limit(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    results: list[bool] = []

    def send() -> None:
        start.wait(20)
        results.extend(accepted(bus) for _ in range(5))

    with testing.production(echo_production(0, QueueLimit=10), tmp_path) as bus:
        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        stored = len(list_messages(bus.production.store.engine))

    assert (results.count(True), stored) == (10, 10)


def test_the_count_of_a_queue_follows_what_is_handled_put_aside_and_resumed(tmp_path: Path) -> None:
    with testing.production(echo_production(1, QueueLimit=2), tmp_path) as bus:
        for number in range(10):
            bus.request("Echo", Text(str(number)))
    with testing.production(echo_production(0, QueueLimit=2), tmp_path) as bus:
        ids = [bus.submit("Echo", Text("a")), bus.submit("Echo", Text("b"))]
        bus.actions.suspend(ids, ME)
        room = [accepted(bus)]
        bus.actions.resume(ids[:1], ME)
        room.append(accepted(bus))

    assert room == [True, False]


def test_a_limit_is_kept_across_a_restart(tmp_path: Path) -> None:
    with testing.production(echo_production(0, QueueLimit=1), tmp_path) as bus:
        bus.submit("Echo", Text("a"))
    with testing.production(echo_production(0, QueueLimit=1), tmp_path) as bus:
        assert not accepted(bus)


def test_what_the_production_sends_itself_is_never_refused_by_a_limit(tmp_path: Path) -> None:
    prod = Production("Test.Limited")
    echo = prod.operation("Echo", Echo, settings={"QueueLimit": 1}, pool_size=0)
    relay = prod.process("Fan", Fan)
    prod.connect(relay.Output, echo)
    with testing.production(prod, tmp_path) as bus:
        bus.submit("Fan", Text("x"))

        wait_for(bus, lambda rows: sum(row.target_item == "Echo" for row in rows) == 5)


class Fan(BusinessProcess):
    Output = target()

    def on_message(self, request: Text) -> Message:
        for number in range(5):
            self.send_request_async(self.Output, Text(str(number)), response_required=False)
        return request


@DATABASES
def test_one_key_is_one_message_and_another_body_under_it_is_refused(tmp_path: Path, url: str | None) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        first = bus.submit("Echo", Text("x"), idempotency_key="k")

        second = bus.submit("Echo", Text("x"), idempotency_key="k")
        with pytest.raises(BadRequest, match=rf"'k' was used before, for message {first} \(Text to Echo\)"):
            bus.submit("Echo", Text("y"), idempotency_key="k")
        with pytest.raises(BadRequest, match="was used before"):
            bus.submit("Echo", Checked(number=1), idempotency_key="k")
        with pytest.raises(BadRequest, match="was used before"):
            bus.production.request("Echo", Text("z"), idempotency_key="k")
        answer = bus.production.request("Echo", Text("x"), idempotency_key="k")
        sent = list_messages(bus.production.store.engine, which=parse_filter("type=Request"))

    assert first == second
    assert answer == Text("x")
    assert len(sent) == 1
    assert_healthy(tmp_path, url)


def test_relays_and_their_children_can_be_sent_again_while_they_work(tmp_path: Path) -> None:
    prod = Production("Test.Busy")
    echo = prod.operation("Echo", Echo, pool_size=2)
    relay = prod.process("Relay", Relay, pool_size=2)
    prod.connect(relay.Output, echo)
    with testing.production(prod, tmp_path) as bus:
        for number in range(5):
            bus.submit("Relay", Text(str(number)))
        for _ in range(3):
            bus.actions.every("resend", parse_filter("type=Request item=Relay"), ME)
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows), seconds=60)
    assert_healthy(tmp_path)
