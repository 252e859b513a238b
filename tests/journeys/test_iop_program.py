"""The iop program as it is installed drives a wattbus: over HTTP by ``IOP_URL``, and locally as ``wattbus iop``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from command import Command
from waiting import until
from wattbus.door import Director

IOP = Path(sys.executable).with_name("iop")
NAME = "Test.Iop"
SETTINGS = """
from dataclasses import dataclass

from iop import BusinessOperation, BusinessService, Message, Production, target


@dataclass
class Text(Message):
    text: str = ""


class Echo(BusinessOperation):
    prefix: str = ""

    def echo(self, request: Text) -> Text:
        self.log_info(f"echoing {request.text}")
        return Text(self.prefix + request.text)


class Ask(BusinessService):
    Output = target()

    def ask(self, text: str) -> str:
        return self.send_request_sync(self.Output, Text(text)).text


prod = Production("Test.Iop")
echo = prod.operation("Echo", Echo)
ask = prod.service("Ask", Ask)
prod.connect(ask.Output, echo)
PRODUCTIONS = [prod]
"""
CHANGED = SETTINGS.replace('("Echo", Echo)', '("Echo", Echo, pool_size=2, settings={"prefix": ">"})')


class IopProgram:
    """``iop`` with ``IOP_URL``, each call a process."""

    def __init__(self, url: str, folder: Path, **environment: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WATTBUS_")}
        self.environment = {**kept, "IOP_URL": url, **environment}

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [IOP, *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words))


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    """A folder with a production, whose server is ended at the end."""
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


@pytest.fixture
def iop(wattbus: Command, tmp_path: Path) -> IopProgram:
    return program(wattbus, tmp_path)


def program(wattbus: Command, folder: Path, role: str = "admin") -> IopProgram:
    """Start the production; the program shows a new token, as the password of whatever name."""
    url, token = wattbus.json("start")["url"], wattbus.json("token", "new", "iop", "--role", role)["token"]
    return IopProgram(url, folder, IOP_USERNAME="ada", IOP_PASSWORD=token)


def test_the_production_is_listed_asked_stopped_and_started_while_the_process_lives(
    wattbus: Command, iop: IopProgram
) -> None:
    pid = wattbus.json("status")["pid"]
    listed, status = iop.json("-l"), iop.json("-x")
    told = iop("-S")
    stopped, offline = iop.json("-x"), wattbus.json("status")
    again = iop("-S", status=1)
    unknown = iop("-s", "Test.Ipo", "-D", status=1)
    started = iop("-s", "-D")
    twice = iop("-s", NAME, "-D", status=1)
    restarted, updated, killed = iop("-r"), iop("-u"), iop("-k")
    after_kill = iop.json("-x")
    wattbus("start")
    back = wattbus.json("status")

    assert listed[NAME]["Status"] == "Running"
    assert status == {"production": NAME, "status": "running"}
    assert f"Production {NAME} stopped" in told
    assert stopped["status"] == "stopped"
    assert offline["status"] == "Stopped"
    assert "no production runs" in again
    assert f"Production {NAME} started" in started
    assert "one production at a time" in twice
    assert "unknown production 'Test.Ipo'" in unknown
    assert [restarted, updated, killed] == ["", "", ""]
    assert after_kill["status"] == "stopped"
    assert (back["status"], back["pid"]) == ("Running", pid)


def test_messages_queues_and_the_log_are_seen(iop: IopProgram, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{"text": "from a file"}')

    answer = iop("-t", "Echo", "-C", "settings.Text", "-B", '{"text": "hi"}')
    filed = iop("-t", "Echo", "-C", "Text", "-B", "@body.json")
    wrong = iop("-t", "Ecoh", "-C", "Text", status=1)
    field = iop("-t", "Echo", "-C", "Text", "-B", '{"txt": 1}', status=1)
    queues = iop.json("-q")
    log = iop("-L", "2").splitlines()

    assert 'classname: settings.Text\nbody:\n{\n    "text": "hi"' in answer
    assert "from a file" in filed
    assert "did you mean 'Echo'" in wrong
    assert "did you mean 'text'" in field
    assert [(row["item"], row["count"]) for row in queues["items"]] == [("Echo", 0), ("Ask", 0)]
    assert [line.rpartition(" ")[2] for line in log][-1] == "file"


def test_the_production_is_exported_in_each_format(iop: IopProgram) -> None:
    exported = iop.json("-e")
    formats = {name: iop("-e", NAME, "--format", name) for name in ("python", "class", "graph", "mermaid")}

    assert [item["@Name"] for item in exported[NAME]["Item"]] == ["Echo", "Ask"]
    assert "ask.connect('Output', echo)" in formats["python"]
    assert "class Iop(Production):" in formats["class"]
    assert "Output -> Echo" in formats["graph"]
    assert formats["mermaid"].startswith("flowchart LR")


def test_the_default_production_bindings_and_what_needs_no_setup(iop: IopProgram) -> None:
    before = iop("-d").strip()
    chosen, refused = iop("-d", NAME), iop("-d", "Test.Ipo", status=1)
    bindings = iop.json("--bindings", "--unused")
    unbound = iop("--unbind", "Python.Nothing", status=1)
    setup = iop("-i", status=1)

    assert before == NAME
    assert chosen == ""
    assert "did you mean 'Test.Iop'" in refused
    assert bindings == []
    assert "unknown binding 'Python.Nothing'" in unbound
    assert "nothing to set up" in setup


def test_the_log_is_streamed_until_it_is_interrupted(iop: IopProgram, wattbus: Command) -> None:
    said = iop.folder / "log.txt"
    iop("-S")
    with said.open("w") as output:
        process = subprocess.Popen(
            [IOP, "-s"], cwd=iop.folder, env={**iop.environment, "PYTHONUNBUFFERED": "1"}, stdout=output
        )
    try:
        until(lambda: "starts, process" in said.read_text(), "the start is in the log")
        wattbus("test", "Echo", "Text", '{"text": "streamed"}')
        until(lambda: "echoing streamed" in said.read_text(), "the line is streamed")
        process.send_signal(signal.SIGINT)
        ended = process.wait(60)
    finally:
        process.kill()
        process.wait()

    assert ended == 0
    assert iop.json("-x")["status"] == "stopped"


def test_a_plan_is_made_and_verified_over_http_and_iop_keeps_applying_it_for_a_local_director(
    iop: IopProgram, tmp_path: Path
) -> None:
    (tmp_path / "settings.py").write_text(CHANGED)

    planned = iop("--plan", "settings.py", "--out", "plan.json")
    review = iop("--review-plan", "plan.json")
    applied = iop("--apply-plan", "plan.json", "--settings", "settings.py", status=1)
    verified = iop("--verify-plan", "plan.json")
    rolled = iop("--rollback-backup", ".", "--allow-destructive", status=1)

    assert "written to plan.json" in planned
    assert "items.Echo.settings.Host.prefix" in review
    assert "not supported" in applied
    assert "success: false" in verified
    assert "not supported" in rolled


def test_a_plan_is_applied_verified_and_rolled_back_by_the_local_program(
    wattbus: Command, tmp_path: Path
) -> None:
    wattbus("start")
    (tmp_path / "settings.py").write_text(CHANGED)
    send = ("iop", "-t", "Echo", "-C", "settings.Text", "-B", '{"text": "hi"}')

    wattbus("iop", "--plan", "settings.py", "--out", "plan.json")
    applied = wattbus("iop", "--apply-plan", "plan.json", "--settings", "settings.py")
    verified = wattbus("iop", "--verify-plan", "plan.json")
    changed = wattbus(*send)
    wattbus("iop", "-r")
    kept = wattbus(*send)
    (backup,) = (tmp_path / ".iop" / "backups").iterdir()
    refused = wattbus("iop", "--rollback-backup", str(backup), status=1)
    rolled = wattbus("iop", "--rollback-backup", str(backup), "--allow-destructive")
    back = wattbus(*send)

    assert "applied: 2, skipped: 0, failed: 0" in applied
    assert "success: true" in verified
    assert '">hi"' in changed
    assert '">hi"' in kept
    assert "allow_destructive" in refused
    assert "success: true" in rolled
    assert '"hi"' in back


def test_the_local_program_lists_shows_and_stops_what_another_process_runs(wattbus: Command) -> None:
    nobody = wattbus("iop", "-S", status=3)
    detached = wattbus("iop", "-s", "-D", status=1)
    wattbus("start")

    listed = json.loads(wattbus("iop", "-l"))
    log = wattbus("iop", "-L", "20")
    wattbus("iop", "-S")
    status = json.loads(wattbus("iop", "-x"))
    wattbus("iop", "-s", "-D")
    again = json.loads(wattbus("iop", "-x"))

    assert "no production runs" in nobody
    assert "wattbus start" in detached
    assert listed[NAME]["Status"] == "Running"
    assert "starts, process" in log
    assert (status["Status"], again["Status"]) == ("stopped", "running")


def test_the_end_of_the_process_is_wattbus_stop_also_where_its_production_was_stopped(
    wattbus: Command, iop: IopProgram
) -> None:
    iop("-S")

    wattbus("stop")

    assert "wattbus start" in wattbus("status", status=3)
    assert "could not reach" in iop("-x", status=1)


def test_a_migration_uploads_the_project_for_who_has_the_token_of_an_admin(
    wattbus: Command, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "settings.py").write_text(CHANGED.replace(NAME, "Test.Uploaded"))
    known = program(wattbus, tmp_path)
    stranger = IopProgram(known.environment["IOP_URL"], tmp_path)

    refused = stranger("-m", "project/settings.py", status=1)
    taken = known("-m", "project/settings.py")
    known("-S")
    known("-s", "Test.Uploaded", "-D")
    answer = known("-t", "Echo", "-C", "settings.Text", "-B", '{"text": "hi"}')

    assert "401" in refused
    assert "Test.Uploaded" in taken
    assert '">hi"' in answer


def test_a_production_is_driven_from_another_process_through_its_home(
    wattbus: Command, tmp_path: Path
) -> None:
    wattbus("start")
    director = Director(home=wattbus.home, settings=tmp_path / "settings.py")

    status = director.status_production()
    answer = director.test_component("Echo", classname="settings.Text", body={"text": "x"})
    director.restart_component("Echo")
    director.stop_production()
    stopped = wattbus.json("status")["status"]
    director.start_production(NAME)

    assert (status["Production"], status["Status"]) == (NAME, "running")
    assert "x" in str(answer)
    assert stopped == "Stopped"
    assert any(line["text"].startswith(f"production {NAME} ends") for line in director.log_lines(20))
    assert wattbus.json("status")["status"] == "Running"


SCRIPT = """
import iop.runtime.director as director
import wattbus

wattbus.stand_in()
print(director.create_python_business_service("Ask").ask("from a script"))
"""


def test_a_script_beside_the_production_calls_its_service(wattbus: Command, tmp_path: Path) -> None:
    url = wattbus.json("start")["url"]
    token = wattbus.json("token", "new", "page", "--role", "operator")["token"]
    (tmp_path / "page.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WATTBUS_")}

    told = [
        subprocess.run(
            [sys.executable, "page.py"],
            cwd=tmp_path, env={**environment, **where}, capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for where in ({"WATTBUS_HOME": str(wattbus.home)}, {"WATTBUS_URL": url, "WATTBUS_TOKEN": token})
    ]  # fmt: skip
    rows = wattbus.json("messages")

    assert told == ["from a script\n"] * 2
    assert {row["source_item"] for row in rows if row["type"] == "Request"} == {"Ask"}


def test_the_port_is_chosen_taken_and_left_out_by_options(wattbus: Command) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        refused = wattbus("start", "--port", port, status=1)
    closed = wattbus.json("start", "--no-http")
    wattbus("stop")
    chosen = wattbus.json("start", "--port", port)

    assert f"port {port} is taken by process {os.getpid()}" in refused
    assert "--port" in refused
    assert closed["url"] is None
    assert chosen["url"] == f"http://127.0.0.1:{port}"
