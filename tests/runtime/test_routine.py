"""A routine: the same work again and again, whatever the store says."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import OperationalError

from wattbus.errors import StoreError
from wattbus.runtime.routine import Routine


@pytest.mark.parametrize(
    "error", [StoreError("the disk is full"), OperationalError("SELECT 1", None, Exception("locked"))]
)
def test_a_store_that_does_not_answer_ends_one_turn_and_no_more(error: Exception) -> None:
    turns, said = threading.Semaphore(0), []

    def work() -> float:
        turns.release()
        if not said:
            raise error
        return 3600.0

    def fails(why: str) -> float:
        said.append(why)
        return 0.0

    routine = Routine("test", work, fails)
    routine.start()
    try:
        assert turns.acquire(timeout=10) and turns.acquire(timeout=10)
    finally:
        routine.stop()
    assert said == [str(error)]


def test_a_routine_that_is_stopped_in_its_pause_ends_at_once_and_works_no_more() -> None:
    turns = []
    routine = Routine("test", lambda: turns.append(1) or 0.0, lambda _: 0.0, first_pause_seconds=3600.0)
    routine.start()
    routine.stop()
    assert turns == [] and routine.is_ending()
