"""The purge: what goes, what stays, and that the rest of the store is whole afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

from components import Text, echo_production
from waiting import wait_for
from wattbus import testing
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.energy.feed import FakeFeed
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.store.actions import By
from wattbus.store.filters import parse_filter
from wattbus.store.purge import SOURCE, Purged, Retention, purge, purge_due
from wattbus.store.queries import list_events, list_messages
from wattbus.store.store import INLINE_BODY_BYTES
from wattbus.store.tables import attempts, bodies, energy, event_log, messages

ME = By("Test", "a reason")
DAY = 86_400.0
LARGE = "x" * (INLINE_BODY_BYTES + 1)
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("postgres_url")) if database == "postgresql" else None


def age(bus: PythonDoor, days: float = 40) -> None:
    """Let everything that is in the store have happened so many days ago."""
    bus.production.ledger.settle()
    bus.production.store.flush()
    with bus.production.store.engine.begin() as connection:
        for table, column in (
            ("messages", "time_created_us"),
            ("event_log", "time_us"),
            ("energy", "started_at_us"),
            ("energy_intervals", "started_at_us"),
        ):
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = {column} - {int(days * DAY * 1e6)}")


def rows(bus: PythonDoor, *tables: object) -> list[int]:
    with bus.production.store.engine.connect() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]  # type: ignore[arg-type]


def sessions(bus: PythonDoor) -> list[int]:
    return sorted({row.session_id for row in list_messages(bus.production.store.engine, limit=10_000)})


def assert_healthy(home: Path, url: str | None = None) -> None:
    report = examine(Home(home), url)
    assert report.ok, report.to_text()


@DATABASES
def test_old_sessions_go_with_bodies_attempts_and_events_and_the_energy_stays(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        bus.request("Relay", Text("one"))
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        age(bus)
        young = bus.submit("Echo", Text("young"))
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        before = rows(bus, energy)
        kept = rows(bus, messages, bodies, attempts)

        done = purge(bus.production.store, 30 * DAY, ME)

        after = rows(bus, messages, bodies, attempts)
        energies = rows(bus, energy)
        left = sessions(bus)

    assert (done.sessions, done.energy_records, done.files) == (1, 0, 0)
    assert [done.messages, done.bodies, done.attempts] == [
        was - now for was, now in zip(kept, after, strict=True)
    ]
    assert energies == before
    assert left == [young]
    assert_healthy(tmp_path, url)


def test_a_purge_says_in_the_event_log_what_went_and_why_and_that_line_stays(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        for number in range(3):
            bus.request("Echo", Text(str(number)))
        age(bus)
        bus.request("Echo", Text("young"))
        purge(bus.production.store, 30 * DAY, ME)
        age(bus)
        bus.request("Echo", Text("young"))

        purge(bus.production.store, 30 * DAY, By("Test"))

        lines = [
            line.text for line in list_events(bus.production.store.engine) if line.source_class == SOURCE
        ]

    assert lines[0].startswith(
        "purged 6 messages of 3 sessions older than 720 h 00 min by Test: a reason; with them 6 bodies ("
    )
    assert "3 attempts" in lines[0]
    assert lines[1].startswith("purged 2 messages of 1 session older than 720 h 00 min by Test; with them")
    assert_healthy(tmp_path)


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        for number in range(3):
            bus.request("Echo", Text(str(number)))
        age(bus)

        plan = purge(bus.production.store, 30 * DAY, ME, dry_run=True)

        assert rows(bus, messages) == [6]
    assert plan == Purged(sessions=2, messages=4, kept={"holding the newest message": 1}, dry_run=True)


def test_a_session_with_an_open_message_stays_whole(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        queued = bus.submit("Echo", Text("queued"))
        suspended = bus.submit("Echo", Text("suspended"))
        discarded = bus.submit("Echo", Text("discarded"))
        bus.actions.suspend([suspended], ME)
        bus.actions.discard([discarded], ME)
        age(bus)
        last = bus.submit("Echo", Text("young"))

        done = purge(bus.production.store, 30 * DAY, ME)

        left = sessions(bus)
    assert done.kept == {"not at its end": 2}
    assert left == [queued, suspended, last]
    assert_healthy(tmp_path)


def test_a_session_that_goes_on_after_a_resend_is_judged_by_its_youngest_message(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("old"))
        age(bus)
        bus.actions.resend([1], ME)
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        bus.request("Echo", Text("young"))

        done = purge(bus.production.store, 30 * DAY, ME)

    assert (done.messages, done.kept) == (0, {"not old enough as a whole": 1})
    assert_healthy(tmp_path)


@DATABASES
def test_a_body_that_a_replayed_message_shares_outlives_the_first_that_carried_it(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        bus.request("Echo", Text("shared"))
        age(bus)
        (new,) = bus.actions.replay(1, ME).new
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))

        purge(bus.production.store, 30 * DAY, ME)
        between = bus.production.store.body(1)
        left = sessions(bus)
        assert_healthy(tmp_path, url)
        age(bus)
        bus.request("Echo", Text("young"))
        purge(bus.production.store, 30 * DAY, ME)

        after = bus.production.store.body(1)
    assert left == [new]
    assert between is not None
    assert after is None
    assert_healthy(tmp_path, url)


def test_the_file_of_a_large_body_goes_only_with_the_last_body_of_the_same_text(tmp_path: Path) -> None:
    folder = Home(tmp_path).bodies
    with testing.production(echo_production(0), tmp_path) as bus:
        first = bus.submit("Echo", Text(LARGE))
        bus.actions.discard([first], ME)
        age(bus)
        second = bus.submit("Echo", Text(LARGE))
        one = purge(bus.production.store, 30 * DAY, ME)
        between = len(list(folder.iterdir()))
        bus.actions.discard([second], ME)
        age(bus)
        bus.submit("Echo", Text("young"))

        two = purge(bus.production.store, 30 * DAY, ME)

        after = list(folder.iterdir())
    assert (one.messages, one.files, between) == (1, 0, 1)
    assert (two.messages, two.files, after) == (1, 1, [])
    assert_healthy(tmp_path)


def test_a_body_that_is_accepted_while_an_equal_one_is_purged_keeps_its_file(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        store = bus.production.store
        one = bus.submit("Echo", Text(LARGE))
        bus.actions.discard([one], ME)
        age(bus)
        bus.submit("Echo", Text("young"))
        old = store.header(one)
        assert old is not None
        drafted = store.prepare(
            old._replace(id=0, status="Queued", is_error=False, error_status=None, body_id=None),
            store.body(one),
        )

        done = purge(store, 30 * DAY, ME)
        store.accept(drafted)
        new = drafted.wait()
        kept = store.body(new)

    assert done.files == 1
    assert kept is not None
    assert_healthy(tmp_path)


def test_ids_go_on_where_they_were_after_everything_old_is_gone(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("a"))
        bus.request("Echo", Text("b"))
        newest = list_messages(bus.production.store.engine)[0].id
        age(bus)
        purge(bus.production.store, 1, ME)
    with testing.production(echo_production(), tmp_path) as bus:
        next_id = bus.submit("Echo", Text("c"))

    assert next_id > newest
    assert_healthy(tmp_path)


def test_a_filter_names_sessions_and_each_goes_whole(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Relay", Text("one"))
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        other = bus.submit("Echo", Text("other"))
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        age(bus)
        last = bus.submit("Echo", Text("young"))
        events = rows(bus, event_log)

        purge(bus.production.store, 30 * DAY, ME, which=parse_filter('item=Relay "body contains one"'))

        left = sessions(bus)
        assert rows(bus, event_log)[0] > 1
    assert events[0] > 1
    assert left == [other, last]
    assert_healthy(tmp_path)


def test_retention_keeps_what_failed_and_what_is_young(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        with pytest.raises(RequestFailed):
            bus.request("Echo", Text("boom"))
        bus.request("Echo", Text("old"))
        age(bus)
        bus.request("Echo", Text("young"))

        kept = purge_due(bus.production.store, Retention(days=30))
        nothing = purge_due(bus.production.store, Retention(days=50, keep_errors=False))
        all_old = purge_due(bus.production.store, Retention(days=30, keep_errors=False))

    assert (kept.sessions, kept.kept) == (1, {"holding an error": 1})
    assert (nothing.sessions, all_old.sessions) == (0, 1)
    assert_healthy(tmp_path)


@DATABASES
def test_energy_goes_when_it_is_asked_for_also_that_of_messages_that_went_before(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=url, feed=FakeFeed()) as bus:
        bus.request("Echo", Text("first"))
        age(bus)
        bus.request("Echo", Text("second"))
        purge(bus.production.store, 30 * DAY, ME)
        between = rows(bus, energy)
        age(bus)
        bus.request("Echo", Text("young"))

        done = purge(bus.production.store, 30 * DAY, ME, with_energy=True)

        after = rows(bus, energy)
    assert done.energy_records >= 2
    assert (between, after) == ([2], [1])
    assert_healthy(tmp_path, url)


@DATABASES
def test_a_purge_of_many_sessions_goes_in_transactions_of_bounded_size_while_others_work(
    tmp_path: Path, url: str | None
) -> None:
    with testing.production(echo_production(0), tmp_path, store_url=url) as bus:
        for number in range(700):
            bus.submit("Echo", Text(str(number)))
        bus.actions.every("discard", parse_filter(""), ME)
        age(bus)
        sent: list[int] = []
        go_on = threading.Event()

        def send() -> None:
            while not go_on.is_set():
                sent.append(bus.submit("Echo", Text("new")))

        sending = threading.Thread(target=send)
        sending.start()
        try:
            done = purge(bus.production.store, 30 * DAY, ME)
        finally:
            go_on.set()
            sending.join(20)
        left = sessions(bus)

    assert done.messages >= 699
    assert set(sent) <= set(left)
    assert_healthy(tmp_path, url)


def test_a_message_that_is_sent_again_while_its_session_is_purged_is_refused_or_kept(tmp_path: Path) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(300)]
        bus.actions.discard(ids, ME)
        age(bus)
        bus.submit("Echo", Text("young"))
        start = threading.Barrier(2)
        again: list[int] = []

        def resend() -> None:
            start.wait(20)
            for one in ids:
                again.extend(bus.actions.replay(one, ME).new)

        sending = threading.Thread(target=resend)
        sending.start()
        start.wait(20)
        purge(bus.production.store, 30 * DAY, ME)
        sending.join(60)
        bodies_left = [bus.production.store.header(one) for one in again]
        texts = [bus.production.store.body(header.body_id) for header in bodies_left if header is not None]

    assert len(texts) == len(again)
    assert None not in texts
    assert_healthy(tmp_path)
