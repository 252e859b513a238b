"""The same runtime on PostgreSQL, where several processes may work on one store."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from components import Text, echo_production
from waiting import wait_for
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.store.queries import list_messages
from wattbus.store.tables import attempts


def test_requests_processes_and_errors_work_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with testing.production(echo_production(prefix=">"), tmp_path, store_url=postgres_url) as bus:
        answer = bus.request("Echo", Text("hi"))
        relayed = bus.request("Relay", Text("one"))
        with pytest.raises(RequestFailed, match="the text is boom"):
            bus.request("Echo", Text("boom"))

    assert answer.text == ">hi"
    assert relayed.text == ">one>a>b"


def test_two_processes_share_the_work_and_each_message_is_done_once(
    tmp_path: Path, postgres_url: str
) -> None:
    first = testing.production(echo_production(), tmp_path / "one", store_url=postgres_url)
    second = testing.production(echo_production(), tmp_path / "two", store_url=postgres_url)
    with first as one, second as two:
        ids = [(one if number % 2 else two).submit("Echo", Text(str(number))) for number in range(60)]
        wait_for(
            one, lambda rows: sum(row.status == "Completed" for row in rows if row.type == "Request") == 60
        )
        with one.production.store.engine.connect() as connection:
            done = connection.execute(select(attempts.c.message_id, attempts.c.instance)).all()

    assert sorted(row.message_id for row in done) == sorted(ids)
    assert len({row.instance for row in done}) == 2


def test_a_caller_is_answered_by_a_worker_of_another_process(tmp_path: Path, postgres_url: str) -> None:
    asking = testing.production(echo_production(pool_size=0), tmp_path / "one", store_url=postgres_url)
    working = testing.production(echo_production(pool_size=1), tmp_path / "two", store_url=postgres_url)
    with asking as one, working:
        answer = one.request("Echo", Text("far"), timeout_seconds=20)

        assert answer.text == "far"
        assert len(list_messages(one.production.store.engine)) == 2
