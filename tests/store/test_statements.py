"""Statements of a group commit: what they write is what the rows say, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select

from wattbus.home import Home
from wattbus.store.item_settings import opened
from wattbus.store.rows import Attempt, Header, header_of
from wattbus.store.statements import Statements
from wattbus.store.tables import attempts, messages


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def _header(number: int, **changes: Any) -> Header:
    plain = header_of(
        type="Request",
        session_id=number,
        source=("Door.Python", "BusinessService"),
        target=("Echo", "BusinessOperation"),
        target_queue="Echo",
        body_class="Text",
        priority=2,
        status="Delivered",
    )
    return plain._replace(id=number, time_created_us=number, **changes)


def _written(engine: Engine, do: Any) -> None:
    connection = engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    do(Statements(engine.dialect), cursor)
    connection.driver_connection.commit()  # type: ignore[union-attr]
    connection.close()


def _headers(engine: Engine) -> list[Header]:
    with engine.connect() as connection:
        return [Header._make(row) for row in connection.execute(select(messages).order_by(messages.c.id))]


def test_rows_that_share_much_little_and_nothing_are_written_as_they_are(engine: Engine) -> None:
    alike = [_header(number) for number in range(1, 24)]
    unlike = [
        _header(24, parent_id=3, is_error=True, error_status="no"),
        _header(25, idempotency_key="one", response_required=True),
        _header(26, parent_id=4, corresponding_id=5, time_processed_us=7),
        _header(27, completion_key="key", return_queue="Process", attempts=2),
    ]

    _written(engine, lambda run, cursor: run.insert_message.run_many(cursor, alike + unlike))

    assert _headers(engine) == alike + unlike


def test_ends_of_one_commit_reach_each_its_own_message(engine: Engine) -> None:
    before = [_header(number, corresponding_id=100 + number) for number in range(1, 30)]
    ends = [(number, 200 + number, "Completed", False, None, 9, None) for number in range(1, 28)]
    ends += [(28, None, "Error", True, "it failed", 9, None), (29, None, "Queued", False, None, None, 77)]

    _written(engine, lambda run, cursor: run.insert_message.run_many(cursor, before))
    _written(engine, lambda run, cursor: run.end_message.run_many(cursor, ends))

    completed = [
        row._replace(corresponding_id=200 + row.id, status="Completed", time_processed_us=9)
        for row in before[:27]
    ]
    failed = before[27]._replace(status="Error", is_error=True, error_status="it failed", time_processed_us=9)
    again = before[28]._replace(status="Queued", not_before_us=77)
    assert _headers(engine) == [*completed, failed, again]


@pytest.mark.parametrize("count", [1, 2, 21])
def test_an_attempt_that_does_not_run_any_more_is_not_counted_as_ended(engine: Engine, count: int) -> None:
    running = [
        Attempt(number, 1, "Echo", "Echo", "here", 5, 6, None, None, "running", None)
        for number in range(1, count + 1)
    ]
    lost = Attempt(count + 1, 1, "Echo", "Echo", "here", 5, 6, 8, None, "worker lost", "gone")
    ends = [(row.message_id, 1, 0.5, f"Echo#{row.message_id}", "completed", 9, None) for row in running]
    ended: list[int] = []

    _written(engine, lambda run, cursor: run.insert_attempt.run_many(cursor, [*running, lost]))
    _written(
        engine,
        lambda run, cursor: ended.append(
            run.end_attempt.run_many(cursor, [*ends, (count + 1, 1, 0.5, "late", "completed", 9, None)])
        ),
    )

    with engine.connect() as connection:
        rows = [Attempt._make(row) for row in connection.execute(select(attempts).order_by("message_id"))]
    assert ended == [count]
    assert rows == [
        *(
            row._replace(ended_us=9, duration_seconds=0.5, job=f"Echo#{row.message_id}", outcome="completed")
            for row in running
        ),
        lost,
    ]
