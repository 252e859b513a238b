"""The doctor: says that all promises hold, and names each way in which one is broken."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from iop import BusinessOperation, Message, Production
from sqlalchemy import delete, insert, text, update

from wattbus import doctor
from wattbus.energy.feed import FakeFeed
from wattbus.errors import RequestFailed
from wattbus.home import Home, write_durably
from wattbus.runtime.reading import from_production
from wattbus.runtime.running import RunningProduction
from wattbus.secrets import Vault
from wattbus.store.database import open_engine
from wattbus.store.store import counts
from wattbus.store.tables import attempts, bodies, energy, energy_intervals, messages, settings


@dataclass
class Text(Message):
    text: str = ""


class Echo(BusinessOperation):
    def echo(self, request: Text) -> Text:
        if request.text == "boom":
            raise ValueError("no boom")
        return Text(f">{request.text}")


class Held(BusinessOperation):
    go = threading.Event()

    def work(self, request: Text) -> Text:
        Held.go.wait(20)
        return Text("worked")


def running(folder: Path, name: str = "Echo", component: type = Echo) -> RunningProduction:
    production = Production("Doctor.Production")
    production.operation(name, component)
    return RunningProduction(from_production(production), Home(folder / "home"), feed=FakeFeed())


def used_home(folder: Path) -> Home:
    """Return a home in which three messages completed and one failed."""
    with running(folder) as bus:
        for words in ("one", "two", "three"):
            bus.request("Echo", Text(words))
        with pytest.raises(RequestFailed):
            bus.request("Echo", Text("boom"))
    return Home(folder / "home")


def changed(home: Home, *statements: object) -> None:
    with open_engine(home).begin() as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def wrong(home: Home) -> dict[str, str]:
    """Return the details of the checks that failed, by code."""
    return {check.code: " / ".join(check.details) for check in doctor.examine(home).checks if not check.ok}


# -- all is well ---------------------------------------------------------------------------------------------------


def test_all_promises_hold_after_ordinary_work_and_the_report_says_what_was_counted(tmp_path: Path) -> None:
    home = used_home(tmp_path)

    report = doctor.examine(home)

    assert report.ok, report.to_text()
    assert [check.code for check in report.checks] == ["L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "P1"]
    said = {check.code: " / ".join(check.details) for check in report.checks}
    assert "7 messages, 7 bodies" in said["L1"]
    assert "sha256 equal" in said["L1"]
    assert "7 messages accepted = 6 Completed + 1 Error" in said["L2"]
    assert "4 messages of queues with one worker" in said["L4"]
    assert "4 energy records: 4 with a figure" in said["L5"]
    assert report.to_dict()["ok"] is True


def test_a_home_that_is_not_there_says_that_nothing_is_here_yet_and_stays_so(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    report = doctor.examine(home)

    assert report.ok
    assert "nothing here yet" in report.to_text()
    assert not home.root.exists()


def test_a_home_without_a_store_is_not_given_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()

    report = doctor.examine(home)

    assert report.ok, report.to_text()
    assert not home.store_file.exists()


def test_a_running_production_is_examined_without_disturbing_it(tmp_path: Path) -> None:
    Held.go.clear()
    with running(tmp_path, "Held", Held) as bus:
        waiter = bus.submit_and_watch("Held", Text("hi"))
        deadline = time.monotonic() + 20
        while "Delivered" not in counts(bus.store.engine):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        meanwhile = doctor.examine(bus.home)
        Held.go.set()
        assert waiter.wait(20)
        bus.store.flush()

    assert meanwhile.ok, meanwhile.to_text()
    assert "1 Delivered" in meanwhile.to_text()
    assert doctor.examine(bus.home).ok


def test_the_doctor_changes_no_byte_of_the_store(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    before = home.store_file.read_bytes()

    doctor.examine(home)

    assert home.store_file.read_bytes() == before


def test_what_a_killed_process_left_is_a_note_before_the_next_start_and_gone_after_it(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    home = Home(tmp_path / "home")
    subprocess.run([sys.executable, str(script), str(home.root)], timeout=60, check=False)

    before = doctor.examine(home)
    with running(tmp_path) as bus:
        bus.wait_ready()
        deadline = time.monotonic() + 20
        while counts(bus.store.engine).get("Queued") or counts(bus.store.engine).get("Delivered"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        bus.store.flush()
    after = doctor.examine(home)

    assert before.ok, before.to_text()
    assert (
        "1 message in the hands of a process that is gone: the next start takes it back" in before.to_text()
    )
    assert after.ok, after.to_text()
    assert "1 attempt interrupted" in after.to_text()


KILLED = """
import os, sys, threading
from dataclasses import dataclass
from pathlib import Path
from iop import BusinessOperation, Message, Production
from wattbus.energy.feed import FakeFeed
from wattbus.home import Home
from wattbus.runtime.reading import from_production
from wattbus.runtime.running import RunningProduction

@dataclass
class Text(Message):
    text: str = ""

class Echo(BusinessOperation):
    def echo(self, request: Text) -> Text:
        os._exit(9)

production = Production("Doctor.Production")
production.operation("Echo", Echo)
with RunningProduction(from_production(production), Home(Path(sys.argv[1])), feed=FakeFeed()) as bus:
    bus.request("Echo", Text("hi"))
"""


# -- L1 ------------------------------------------------------------------------------------------------------------


def test_a_tampered_body_is_named_with_both_sums(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, update(bodies).where(bodies.c.id == 1).values(json='{"text":"eno"}'))

    found = wrong(home)

    assert list(found) == ["L1"]
    assert "the body of message 1 has sha256" in found["L1"]


def test_a_missing_and_a_damaged_body_file_are_named(tmp_path: Path) -> None:
    with running(tmp_path) as bus:
        bus.request("Echo", Text("x" * 1_100_000))
    home = Home(tmp_path / "home")
    first, second = sorted(home.bodies.iterdir())
    assert doctor.examine(home).ok
    first.unlink()
    with second.open("r+b") as file:
        file.seek(500_000)
        file.write(b"y")

    found = wrong(home)

    assert list(found) == ["L1"]
    assert f"bodies/{first.name}, which cannot be read" in found["L1"]
    assert f"{second.name} was accepted" in found["L1"]


def test_a_body_row_that_is_gone_and_a_message_that_is_gone_are_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, delete(bodies).where(bodies.c.id == 2), delete(messages).where(messages.c.id == 7))

    found = wrong(home)

    assert "message 2 has no body: row 2 is gone" in found["L1"]
    assert "body 7 is there and message 7 is not" in found["L1"]


def test_a_file_that_no_message_refers_to_is_only_a_note(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    write_durably(home.bodies / ("0" * 64), b"{}")

    report = doctor.examine(home)

    assert report.ok
    assert "1 file in bodies/ that no message refers to" in report.to_text()


@pytest.mark.parametrize("damage", ["start", "middle", "truncated", "random"])
def test_a_corrupt_store_is_a_failed_check_in_words(tmp_path: Path, damage: str) -> None:
    home = used_home(tmp_path)
    data = bytearray(home.store_file.read_bytes())
    if damage == "start":
        data[:100] = os.urandom(100)
    elif damage == "middle":
        data[4096:-4096] = os.urandom(len(data) - 8192)
    elif damage == "truncated":
        data = data[: len(data) // 2]
    else:
        data = bytearray(os.urandom(len(data)))
    home.store_file.write_bytes(data)

    report = doctor.examine(home)

    (first, *_) = report.checks
    assert not first.ok
    assert "backup" in first.cure
    assert "Traceback" not in report.to_text()


def test_an_emptied_store_and_bodies_without_a_store_are_named(tmp_path: Path) -> None:
    emptied, lost = used_home(tmp_path / "a"), used_home(tmp_path / "b")
    emptied.store_file.write_bytes(b"")
    write_durably(lost.bodies / ("0" * 64), b"{}")
    lost.store_file.unlink()

    assert "store.sqlite is empty" in wrong(emptied)["L1"]
    assert "there is no store.sqlite" in wrong(lost)["L1"]


def test_a_store_of_a_newer_release_is_left_to_that_release(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, text("UPDATE alembic_version SET version_num = '9999'"))

    report = doctor.examine(home)

    assert not report.ok
    assert "schema 9999" in report.to_text()
    assert "use the release that wrote it" in report.to_text()


# -- L2, L3, L4 ----------------------------------------------------------------------------------------------------


def test_an_orphan_delivered_message_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(
        home,
        update(messages).where(messages.c.id == 1).values(status="Delivered", corresponding_id=None),
        delete(messages).where(messages.c.id == 2),
        delete(bodies).where(bodies.c.id == 2),
        update(attempts).where(attempts.c.message_id == 1).values(outcome="worker lost", detail="it is gone"),
        update(energy).where(energy.c.message_id == 1).values(partial=True),
    )

    found = wrong(home)

    assert list(found) == ["L2"]
    assert "message 1 to Echo is Delivered and no attempt of it runs" in found["L2"]


def test_a_message_left_with_a_dead_process_while_another_runs_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    with running(tmp_path) as bus:
        changed(
            home,
            update(messages).where(messages.c.id == 7).values(status="Delivered", is_error=False),
            update(attempts).where(attempts.c.message_id == 7).values(outcome="running", instance="dead"),
        )
        found = wrong(home)
        bus.store.flush()

    assert "message 7 is in the hands of a process that is gone (dead)" in found["L2"]


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (update(messages).where(messages.c.id == 1).values(status="Lost"), "L2", "unknown status 'Lost'"),
        (update(attempts).where(attempts.c.message_id == 1).values(number=2), "L2", "numbers 2 to 2"),
        (update(messages).where(messages.c.id == 1).values(attempts=3), "L2", "handed out 3 times and has 1"),
        (
            update(messages).where(messages.c.id == 1).values(status="Queued"),
            "L2",
            "an attempt of it completed",
        ),
        (
            update(attempts).where(attempts.c.message_id == 1).values(outcome="error"),
            "L2",
            "no attempt of it completed",
        ),
        (
            delete(messages).where(messages.c.id == 1),
            "L2",
            "attempt 1 of message 1: there is no such message",
        ),
        (update(messages).where(messages.c.id == 7).values(is_error=False), "L2", "not marked as an error"),
        (
            update(messages).where(messages.c.id == 4).values(corresponding_id=1),
            "L3",
            "message 1 has 2 responses",
        ),
        (
            update(messages).where(messages.c.id == 1).values(corresponding_id=4),
            "L3",
            "request 1 names message 4",
        ),
        (update(messages).where(messages.c.id == 1).values(corresponding_id=None), "L3", "and there is none"),
        (
            update(messages).where(messages.c.id == 1).values(status="Queued"),
            "L3",
            "has its response 2 already",
        ),
        (update(messages).where(messages.c.id == 7).values(error_status=""), None, ""),
    ],
)
def test_rows_that_do_not_agree_are_named(
    tmp_path: Path, change: object, code: str | None, sentence: str
) -> None:
    home = used_home(tmp_path)
    changed(home, change)

    found = wrong(home)

    if code is None:
        assert not found
    else:
        assert sentence in found[code]


def test_a_message_that_completed_twice_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    with open_engine(home).begin() as connection:
        row = connection.execute(attempts.select().where(attempts.c.message_id == 1)).one()._mapping
        connection.execute(insert(attempts).values({**row, "number": 2}))
        connection.execute(update(messages).where(messages.c.id == 1).values(attempts=2))

    found = wrong(home)

    assert "message 1 completed 2 times" in found["L3"]
    assert "L2" not in found


def test_responses_out_of_order_behind_one_worker_are_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(
        home,
        update(messages).where(messages.c.id == 1).values(corresponding_id=4),
        update(messages).where(messages.c.id == 3).values(corresponding_id=2),
        update(messages).where(messages.c.id == 4).values(corresponding_id=1),
        update(messages).where(messages.c.id == 2).values(corresponding_id=3),
    )

    found = wrong(home)

    assert list(found) == ["L4"]
    assert "Echo: message 3 ended before 1, which was accepted earlier" in found["L4"]


def test_a_clock_that_was_set_back_is_no_false_alarm(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    hour = 3_600_000_000
    changed(
        home,
        update(messages).where(messages.c.id >= 7).values(time_created_us=messages.c.time_created_us - hour),
        update(attempts)
        .where(attempts.c.message_id >= 7)
        .values(started_us=attempts.c.started_us - hour, ended_us=attempts.c.ended_us - hour),
    )

    report = doctor.examine(home)

    assert report.ok, report.to_text()
    assert "1 message could not be judged: the clock was set back" in report.to_text()


# -- L5, L8 --------------------------------------------------------------------------------------------------------


def test_a_missing_energy_record_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, delete(energy).where(energy.c.message_id == 3))

    found = wrong(home)

    assert list(found) == ["L5"]
    assert "attempt 1 of message 3 ended (completed) and has no energy record" in found["L5"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"energy_joules": 0.0, "low_joules": 0.0, "duration_seconds": 3.0}, "an unknown written as 0"),
        ({"energy_joules": -1.0}, "a negative energy"),
        ({"status": "not_measured", "reason": "off"}, "its status says that there is none"),
        ({"energy_joules": None}, "its status says that there is one"),
        ({"tier": "none"}, "an energy without a tier"),
        ({"tier": "guessed"}, "an unknown tier"),
        ({"status": "maybe"}, "an unknown status"),
        ({"energy_joules": None, "status": "failed", "reason": None}, "no energy, and no reason why"),
        ({"high_joules": 1e-12}, "outside its own bounds"),
        ({"message_id": 99}, "and no such attempt"),
    ],
)
def test_a_figure_that_pretends_is_named(tmp_path: Path, values: dict[str, object], sentence: str) -> None:
    home = used_home(tmp_path)
    changed(home, update(energy).where(energy.c.message_id == 1).values(values))

    found = wrong(home)

    assert list(found) == ["L5"]
    assert sentence in found["L5"]


def test_two_records_of_its_own_and_a_lost_attempt_that_is_not_partial_are_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    with open_engine(home).begin() as connection:
        row = connection.execute(energy.select().where(energy.c.message_id == 1)).one()._mapping
        connection.execute(insert(energy).values({**row, "scope": "client"}))
        connection.execute(
            update(attempts)
            .where(attempts.c.message_id == 7)
            .values(outcome="worker lost", detail="it is gone")
        )

    found = wrong(home)

    assert "attempt 1 of message 1 has 2 energy records of its own" in found["L5"]
    assert "attempt 1 of message 7 was lost, and its energy record is not marked as partial" in found["L5"]


def test_power_readings_whose_buckets_do_not_sum_are_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, update(energy_intervals).values(idle_joules=energy_intervals.c.idle_joules + 0.5))

    assert "the buckets sum to" in wrong(home)["L5"]


def test_an_error_without_any_reason_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(
        home,
        update(messages).where(messages.c.id == 7).values(error_status=None),
        update(attempts).where(attempts.c.message_id == 7).values(detail=None),
        text("DELETE FROM event_log WHERE message_id = 7"),
    )

    found = wrong(home)

    assert list(found) == ["L8"]
    assert "message 7 to Echo is Error, and nothing says why" in found["L8"]


# -- L6, L7, P1 ----------------------------------------------------------------------------------------------------


def test_a_damaged_model_file_is_named(tmp_path: Path) -> None:
    from wattbus.ml.models import ModelStore

    home = used_home(tmp_path)
    store = ModelStore(home.models)
    version = store.publish("tiny", store.stage("tiny", _tiny_model, source="folder").id)
    assert doctor.examine(home).ok, doctor.examine(home).to_text()
    weights = version.path / "model.safetensors"
    weights.chmod(0o600)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    weights.chmod(0o400)

    found = wrong(home)

    assert list(found) == ["L6"]
    assert "model.safetensors" in found["L6"]


def _tiny_model(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    (folder / "config.json").write_text('{"model_type": "bert"}')
    save_file({"weight": torch.ones(2, 2)}, folder / "model.safetensors")


def test_a_half_written_file_is_named_unless_its_writer_lives(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    written = home.root / f".secrets.json.{os.getpid()}.part"
    written.touch(0o600)
    assert doctor.examine(home).ok
    ended = subprocess.Popen(["true"])
    ended.wait()
    (home.bodies / f".abc.{ended.pid}.part").touch(0o600)

    found = wrong(home)

    assert list(found) == ["L7"]
    assert f"bodies/.abc.{ended.pid}.part is half written" in found["L7"]


def test_secrets_without_their_key_or_with_another_are_named_and_no_key_is_made(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    Vault(home.secrets_file).seal("a secret of length")
    assert "secrets readable" in doctor.examine(home).to_text()
    key = home.secrets_file.with_suffix(".key")
    right = key.read_bytes()

    key.unlink()
    without = wrong(home)
    made = key.exists()
    write_durably(key, right[::-1])
    with_another = wrong(home)

    assert list(without) == list(with_another) == ["L7"]
    assert "its key secrets.key is not" in without["L7"]
    assert not made
    assert "cannot be read with secrets.key" in with_another["L7"]


def test_a_setting_without_a_name_is_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, insert(settings).values(production="P", item="Echo", name="", value="1", changed_us=1))

    assert "has name ''" in wrong(home)["L7"]


def test_what_others_can_read_and_links_that_lead_out_are_named(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    home.store_file.chmod(0o644)
    home.exports.chmod(0o755)
    (home.models / "link").symlink_to("/etc/passwd")
    (home.exports / "inside").symlink_to(home.store_file)

    found = wrong(home)

    assert list(found) == ["P1"]
    assert "home/store.sqlite has mode 0644: others can use it, 0600 is right" in found["P1"]
    assert "home/exports has mode 0755: others can use it, 0700 is right" in found["P1"]
    assert "home/models/link is a link that leads to /etc/passwd" in found["P1"]
    assert "inside" not in found["P1"]


def test_the_first_of_many_wrongs_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    with running(tmp_path) as bus:
        for _ in range(20):
            bus.request("Echo", Text("hi"))
    home = Home(tmp_path / "home")
    changed(home, delete(energy))

    found = wrong(home)

    assert found["L5"].count("has no energy record") == 5
    assert "and 15 more of this kind" in found["L5"]


def test_a_report_has_no_control_characters_of_a_store(tmp_path: Path) -> None:
    home = used_home(tmp_path)
    changed(home, update(messages).where(messages.c.id == 1).values(status="\x1b[2J\n"))

    said = doctor.examine(home).to_text()

    assert "\x1b" not in said
    assert r"\x1b[2J\n" in said


def test_a_store_on_postgresql_is_examined_too(tmp_path: Path, postgres_url: str) -> None:
    production = Production("Doctor.Production")
    production.operation("Echo", Echo)
    home = Home(tmp_path / "home")
    config = from_production(production)
    with RunningProduction(config, home, feed=FakeFeed(), store_url=postgres_url) as bus:
        bus.request("Echo", Text("hi"))
        with pytest.raises(RequestFailed):
            bus.request("Echo", Text("boom"))
        meanwhile = doctor.examine(home, postgres_url)
    after = doctor.examine(home, postgres_url)
    engine = open_engine(home, postgres_url)
    with engine.begin() as connection:
        connection.execute(delete(energy).where(energy.c.message_id == 1))
        connection.execute(update(bodies).values(json="{}"))
    engine.dispose()
    damaged = doctor.examine(home, postgres_url)

    assert meanwhile.ok, meanwhile.to_text()
    assert after.ok, after.to_text()
    assert "3 messages, 3 bodies" in after.to_text()
    assert {check.code for check in damaged.checks if not check.ok} == {"L1", "L5"}
