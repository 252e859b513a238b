"""The table of faults in docs/reliability.md, from what a run of the tests has left.

    python -m pytest tests/faults ... --junitxml=faults.xml
    python misc/faults/report.py faults.xml docs/reliability.md

`make faults` does both. A fault whose test is gone, or did not run, is named and makes the exit status 1.
"""

from __future__ import annotations

import platform
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- faults: begin, written by `make faults` -->", "<!-- faults: end -->"
COMMAND = "make faults"


@dataclass(frozen=True)
class Fault:
    """One fault, and the tests that inject it: names of files, or of tests in them."""

    code: str
    what: str
    tests: tuple[str, ...]
    note: str = ""


FAULTS = (
    Fault(
        "R1",
        "kill -9 before the commit of an acceptance",
        ("test_kill_points.py::test_kill_9_at_each_point",),
    ),
    Fault(
        "R2", "kill -9 after it, before the caller knows", ("test_kill_points.py::test_kill_9_at_each_point",)
    ),
    Fault(
        "R3", "kill -9 while messages are queued", ("test_recovery.py::test_messages_queued", "test_kill.py")
    ),
    Fault("R4", "kill -9 of a worker", ("test_isolated_faults.py::test_a_child_killed",)),
    Fault(
        "R5",
        "kill -9 after an effect, before its result is stored",
        ("test_model_points.py", "test_remote_faults.py", "test_kill_points.py::test_kill_9_at_each_point"),
    ),
    Fault(
        "R6",
        "kill -9 after the result is stored, before it is told",
        ("test_kill_points.py::test_kill_9_at_each_point",),
        "the store is the queue: there is no broker to acknowledge to",
    ),
    Fault("R7", "kill -9 in a process that has sent", ("test_kill_points.py::test_kill_9_at_each_point",)),
    Fault(
        "R8",
        "kill -9 at 200 random moments of 1,000 messages",
        ("test_random_kills.py::test_kill_9_at_random",),
    ),
    Fault("R9", "power cut while messages flow, 50 times", ("test_random_kills.py::test_a_power_cut",)),
    Fault("R10", "power cut while models and settings are written", ("test_power_cuts.py",)),
    Fault("R11", "a sync of the store fails", ("test_disk_errors.py::test_a_sync",)),
    Fault("R12", "each write of a message's life fails", ("test_disk_errors.py::test_whichever_write",)),
    Fault("R13", "the disk of the store is full", ("test_disk_full.py",)),
    Fault(
        "R14",
        "the disk is full while a model is fetched",
        (
            "test_model_faults.py::test_a_model_that_does_not_fit",
            "test_model_faults.py::test_a_disk_that_fills",
        ),
    ),
    Fault("R15", "the store is locked by a stopped process", ("test_locked_store.py",)),
    Fault(
        "R16",
        "a second process on one home",
        ("test_recovery.py::test_a_second", "test_life_command.py::test_a_second_start"),
    ),
    Fault("R17", "the store is damaged, cut off, empty, without its log", ("test_damaged_store.py",)),
    Fault("R18", "the store is of an older or newer release", ("test_migration_faults.py",)),
    Fault(
        "R19",
        "PostgreSQL is restarted at once, its connections are cut",
        ("test_database_faults.py::test_messages_go_on",),
    ),
    Fault("R20", "PostgreSQL is away", ("test_database_faults.py::test_a_",)),
    Fault(
        "R21",
        "the broker is away",
        (),
        "no broker: the store is the only truth; who waits for work asks it, R20",
    ),
    Fault("R22", "the broker loses messages", (), "no broker: the store is the only truth"),
    Fault("R23", "S3 fails", (), "nothing is kept in S3"),
    Fault("R24", "a download is killed half way", ("test_model_faults.py::test_a_download",)),
    Fault(
        "R25",
        "a model's file is damaged",
        ("test_model_faults.py::test_a_flipped_bit", "test_model_faults.py::test_a_damaged_model"),
    ),
    Fault("R26", "the hub answers wrongly", ("test_model_faults.py::test_a_hub",)),
    Fault("R27", "several want one model", ("test_model_faults.py::test_who_waits",)),
    Fault(
        "R28",
        "the hub is out of reach",
        ("test_model_faults.py::test_a_cached", "test_model_faults.py::test_a_model_that_is_not_cached"),
    ),
    Fault("R29", "a training is killed", ("test_training_resumes.py::test_a_training_whose",)),
    Fault(
        "R30",
        "a training is killed in a checkpoint",
        ("test_model_points.py::test_a_kill_while_a_model_is_trained",),
    ),
    Fault(
        "R31",
        "a training that cannot come to an end",
        (
            "test_training_resumes.py::test_rows",
            "test_training_resumes.py::test_a_loss",
            "test_training_resumes.py::test_a_batch",
        ),
    ),
    Fault(
        "R32",
        "an override is interrupted, or meets requests",
        ("test_model_points.py::test_a_kill_while_a_version", "test_model_swaps.py::test_each"),
    ),
    Fault("R33", "an override too early, twice, meanwhile", ("test_model_swaps.py::test_an_override",)),
    Fault(
        "R34",
        "a message that crashes its interpreter",
        ("test_isolated_faults.py::test_a_message_that_kills",),
    ),
    Fault(
        "R35",
        "a producer that is too fast",
        ("test_load.py::test_a_producer", "test_actions.py::test_a_queue"),
    ),
    Fault("R36", "10,000 and 100,000 queued", ("test_load.py::test_a_long_queue",)),
    Fault("R37", "a body of 100 MB", ("test_load.py::test_a_very_large",)),
    Fault("R38", "the clock jumps", ("test_clock_jumps.py",)),
    Fault(
        "R39",
        "an operation takes all memory",
        (
            "test_isolated_faults.py::test_a_message_beyond_its_memory",
            "test_isolated_faults.py::test_a_child_that_the_kernel",
        ),
    ),
    Fault(
        "R40",
        "an operation hangs, or is cancelled",
        (
            "test_isolated_faults.py::test_a_message_beyond_its_time",
            "test_isolated_faults.py::test_a_loop_in_c",
            "test_isolated_faults.py::test_a_message_in_hand",
            "test_training_faults.py",
        ),
    ),
    Fault("R41", "the energy meter fails, lies or hangs", ("test_tracker_faults.py",)),
    Fault(
        "R42",
        "service life: signals, ports, folders, users",
        ("test_life_command.py", "test_serve.py", "test_model_swaps.py::test_trainings"),
    ),
)


@dataclass
class Result:
    """What became of the tests of one fault."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    reasons: set[str] = field(default_factory=set)
    figures: dict[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        if self.outcomes["failed"]:
            return "FAILED"
        return "holds" if self.outcomes["passed"] else "not run"


def main(xml: Path, document: Path) -> int:
    """Write the table and return the exit status."""
    cases = list(ElementTree.parse(xml).getroot().iter("testcase"))
    results = {fault.code: _result(fault, cases) for fault in FAULTS}
    text = document.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n{_table(results, cases)}\n{END}{after}")
    missing = [fault.code for fault in FAULTS if fault.tests and not results[fault.code].outcomes]
    for code in missing:
        sys.stderr.write(f"{code}: none of its tests was there\n")
    return 1 if missing or any(result.outcomes["failed"] for result in results.values()) else 0


def _result(fault: Fault, cases: list[ElementTree.Element]) -> Result:
    result = Result()
    for case in cases:
        file = case.get("classname", "").rpartition(".")[2] + ".py"
        where = f"{file}::{case.get('name', '')}"
        if not any(where.startswith(test if "::" in test else f"{test}::") for test in fault.tests):
            continue
        skipped = case.find("skipped")
        failed = case.find("failure") is not None or case.find("error") is not None
        result.outcomes["failed" if failed else "skipped" if skipped is not None else "passed"] += 1
        result.seconds += float(case.get("time", 0))
        if skipped is not None:
            result.reasons.add(skipped.get("message", "").splitlines()[0])
        parameter = re.search(r"\[(.*)\]", case.get("name", ""))
        for figure in case.iter("property"):
            name = f"{figure.get('name')} ({parameter.group(1)})" if parameter else str(figure.get("name"))
            result.figures[name] = str(figure.get("value"))
    return result


def _table(results: dict[str, Result], cases: list[ElementTree.Element]) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    lines = [
        f"`{COMMAND}` on {when}, {platform.system()} {platform.machine()}, Python {platform.python_version()}: "
        f"{len(cases)} tests.",
        "",
        "| | fault | | tests | seconds | remarks |",
        "|---|---|---|--:|--:|---|",
    ]
    for fault in FAULTS:
        result = results[fault.code]
        word = result.word if fault.tests else "does not apply"
        remarks = [fault.note] if fault.note else []
        remarks += [f"{name}: {value}" for name, value in result.figures.items()]
        remarks += [f"skipped: {reason}" for reason in sorted(result.reasons)]
        count = str(sum(result.outcomes.values()) or "")
        seconds = f"{result.seconds:.0f}" if result.outcomes else ""
        lines.append(f"| {fault.code} | {fault.what} | {word} | {count} | {seconds} | {'; '.join(remarks)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
