"""One plan for the cores: models take turns, in the order in which they came, and a container's quota counts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from waiting import until
from wattbus.ml.threads import Turns, _quota, cores


def test_calls_take_turns_in_the_order_in_which_they_came() -> None:
    turns, order, busy = Turns(), [], []

    def call(number: int) -> None:
        with turns.taken():
            busy.append(number)
            assert len(busy) == 1
            order.append(number)
            busy.remove(number)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    with turns.taken():
        for number, caller in enumerate(callers):
            caller.start()
            until(lambda number=number: len(turns._waiting) == number + 1, "the caller waits", 20)
    for caller in callers:
        caller.join(20)

    assert order == list(range(8))


def test_a_turn_is_given_back_where_the_call_fails() -> None:
    turns = Turns()

    with pytest.raises(ValueError, match="no"), turns.taken():
        raise ValueError("no")

    with turns.taken():
        assert turns._free == 0
    assert turns._free == 1


def test_a_setting_makes_the_cores_fewer_and_never_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1

    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    most = cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "many")

    assert 1 <= cores() == most


@pytest.mark.parametrize(
    ("files", "cores_of_quota"),
    [
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "350000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read_in_both_versions(
    files: dict[str, str], cores_of_quota: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert _quota(tmp_path) == cores_of_quota
