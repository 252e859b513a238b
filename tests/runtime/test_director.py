"""Directors: a production driven by iop's own methods and functions, and services called from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import iop
import iop.runtime.director as functions
import pytest
from iop import BusinessOperation, BusinessService, Message, Production, target
from iop.runtime.protocol import DirectorProtocol
from sqlalchemy import select

import wattbus
from components import Echo, Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.door import Director
from wattbus.energy.feed import NullFeed
from wattbus.errors import AlreadyRunning, BadRequest, BadSettings, NotRunning, UnknownName, WattbusError
from wattbus.runtime import iris
from wattbus.runtime.running import RunningProduction
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import settings

NAME = "Test.Production"


@dataclass
class Question(Message):
    text: str = ""


class Ask(BusinessService):
    Output = target()
    greeting: str = ""

    def ask(self, text: str) -> str:
        self.log_info(f"asked {text}")
        self.send_request_async(self.Output, Text("first"))
        return self.greeting + str(self.send_request_sync(self.Output, Text(text)).text)

    def again(self, text: str) -> str:
        return self.ask(text)

    async def ask_slowly(self, text: str) -> str:
        answer = await self.send_request_async_ng(self.Output, Text(text))
        return str(answer.text)

    def each(self, *texts: str) -> Generator[str, None, None]:
        for text in texts:
            yield self.ask(text)

    def on_process_input(self, message_input: Text) -> Text:
        return Text(self.ask(message_input.text))


def asking(**ask: object) -> Production:
    prod = echo_production()
    service = prod.service("Ask", Ask, settings=ask)
    prod.connect(service.Output, "Echo")
    return prod


def director_of(prod: Production, home: Path) -> Director:
    found = Director(prod, home=home, feed=NullFeed("a test"))
    prod.with_director(found)
    return found


@pytest.fixture
def prod(tmp_path: Path) -> Iterator[Production]:
    """A production with a director, which is stopped at the end."""
    made = asking()
    found = director_of(made, tmp_path)
    yield made
    found.close()


def running_of(prod: Production) -> RunningProduction:
    found = prod._director
    assert isinstance(found, Director)
    return found.current()


# -- a production by its own methods -------------------------------------------------------------------------------


def test_the_director_has_every_method_that_iop_asks_for(tmp_path: Path) -> None:
    found = wattbus.Director(home=tmp_path, settings=tmp_path / "settings.py")

    assert isinstance(found, DirectorProtocol)


def test_a_production_starts_answers_and_stops_by_its_own_methods(prod: Production) -> None:
    prod.start()
    status, answer, queues = prod.status(), prod.test("Echo", Text("hi")), prod.queue()
    prod.stop()

    assert (status["Production"], status["Status"], status["NeedsUpdate"]) == (NAME, "running", False)
    assert answer == Text("hi")
    assert {item: row["count"] for item, row in queues.items()} == {"Echo": 0, "Relay": 0, "Ask": 0}
    assert prod.status()["Status"] == "stopped"


def test_a_message_is_tested_by_the_name_of_its_type_too(prod: Production) -> None:
    prod.start()

    answer = prod.test("Relay", classname="components.Text", body={"text": "x"})

    assert answer == Text("xab")


def test_a_wrong_item_type_or_field_is_a_sentence(prod: Production) -> None:
    prod.start()
    found = prod._director
    assert isinstance(found, Director)

    with pytest.raises(UnknownName, match="did you mean 'Echo'"):
        found.test_component("Ecoh", classname="Text")
    with pytest.raises(UnknownName, match="did you mean 'Text'"):
        found.test_component("Echo", classname="Txt")
    with pytest.raises(BadRequest, match="did you mean 'text'"):
        found.test_component("Echo", classname="Text", body='{"txt": 1}')
    with pytest.raises(BadRequest, match="no item is named"):
        found.test_component("", classname="Text")


def test_restart_update_and_kill_leave_it_as_they_say(prod: Production) -> None:
    prod.start()
    first = running_of(prod)

    prod.restart()
    second = running_of(prod)
    prod.update()
    after_update = prod.status()["Status"]
    prod.kill()

    assert second is not first
    assert after_update == "running"
    assert prod.status()["Status"] == "stopped"


def test_a_home_runs_one_production_at_a_time(prod: Production) -> None:
    prod.start()

    with pytest.raises(AlreadyRunning, match="stop it, then start again"):
        prod.start()


def test_what_does_not_run_cannot_be_stopped_and_says_so(prod: Production) -> None:
    with pytest.raises(NotRunning, match="start one"):
        prod.stop()


def test_a_production_that_nobody_knows_is_a_sentence_with_the_nearest_one(
    prod: Production, tmp_path: Path
) -> None:
    found = prod._director
    assert isinstance(found, Director)

    with pytest.raises(UnknownName, match=f"did you mean '{NAME}'"):
        found.start_production("Test.Prodution")


def test_a_start_that_fails_lets_the_home_go(tmp_path: Path) -> None:
    prod = Production("Test.Bad")
    prod.operation("Echo", Echo, pool_size="many")

    with pytest.raises(BadSettings, match="PoolSize"):
        director_of(prod, tmp_path).start_production()

    found = director_of(echo_production(), tmp_path)
    found.start_production()
    assert found.close() == "Stopped"


def test_an_item_stays_disabled_over_a_restart_until_it_is_enabled(prod: Production) -> None:
    prod.start()

    prod.stop_component("Echo")
    prod.restart()
    disabled = {item.name: item.state for item in running_of(prod).items()}["Echo"]
    exported = {item.name: item.enabled for item in Production.from_iris(NAME, director=prod._director).items}
    prod.start_component("Echo")

    assert disabled == "Disabled"
    assert exported == {"Echo": "false", "Relay": "true", "Ask": "true"}
    assert prod.test("Echo", Text("back")) == Text("back")


def test_restarting_an_item_makes_its_components_anew(prod: Production) -> None:
    prod.start()
    prod.restart_component("Relay")

    assert prod.test("Relay", Text("x")) == Text("xab")
    with pytest.raises(ValueError, match="Reley"):
        prod.restart_component("Reley")


def test_the_log_is_printed_as_iop_prints_it(prod: Production, capsys: pytest.CaptureFixture[str]) -> None:
    prod.start()
    prod.test("Echo", Text("hi"))

    prod.log(2)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[-1].endswith("echoing hi")
    assert " Info Echo Echo#1 " in lines[-1]


def test_the_log_is_followed_until_it_is_interrupted(
    prod: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod.start()
    seen: list[str] = []

    def write(text: str) -> int:
        seen.append(text)
        if "echoing hi" in text:
            raise KeyboardInterrupt
        return len(text)

    prod.test("Echo", Text("hi"))
    monkeypatch.setattr("sys.stdout.write", write)
    prod.log()

    assert any("starts, process" in text for text in seen)


def test_starting_with_the_log_stops_at_the_interrupt(
    prod: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_text: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout.write", interrupt)

    prod.start(detach=False)

    assert prod.status()["Status"] == "stopped"


def test_the_default_production_is_remembered(tmp_path: Path) -> None:
    first, second = Production("A.First"), Production("A.Second")
    for made in (first, second):
        made.operation("Echo", Echo)
    found = Director(first, second, home=tmp_path)
    before = found.get_default_production()

    second.with_director(found).set_default()

    assert before == "A.First"
    assert Director(first, second, home=tmp_path).get_default_production() == "A.Second"
    with pytest.raises(UnknownName, match="did you mean"):
        found.set_default_production("A.Secnd")
    found.set_default_production("")
    assert found.get_default_production() == "A.First"


def test_productions_are_listed_with_their_state_and_times(prod: Production) -> None:
    found = prod._director
    assert found is not None
    before = found.list_productions()[NAME]

    prod.start()
    running = found.list_productions()[NAME]
    prod.stop()
    after = found.list_productions()[NAME]

    assert (before["Status"], before["LastStartTime"], before["AutoStart"]) == ("", "", True)
    assert (running["Status"], running["LastStopTime"]) == ("Running", "")
    assert after["Status"] == "Stopped"
    assert after["LastStopTime"] >= after["LastStartTime"] > ""


def test_setup_says_that_there_is_nothing_to_set_up(
    prod: Production, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prod._director is not None

    prod._director.setup()

    assert "Nothing to set up" in capsys.readouterr().out


# -- what is deployed, and how it changes --------------------------------------------------------------------------


def test_an_unchanged_production_differs_in_nothing_from_what_is_deployed(prod: Production) -> None:
    assert prod.diff().changes == ()


def test_the_graph_of_what_runs_has_the_connections_of_the_settings(prod: Production) -> None:
    graph = Production.from_iris(NAME, director=prod._director).graph()

    edges = {(edge.source_item, edge.source_target_setting, edge.target) for edge in graph.edges}
    assert edges == {("Relay", "Output", "Echo"), ("Ask", "Output", "Echo")}
    assert graph.warnings == ()


def test_a_target_that_stands_in_the_source_is_a_connection(tmp_path: Path) -> None:
    class ByName(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            return self.send_request_sync("Echo", request)  # type: ignore[no-any-return]

    made = echo_production()
    made.operation("ByName", ByName)
    found = director_of(made, tmp_path)

    items = {row["item"]: row for row in found.export_production_connections(NAME)["items"]}

    assert items["ByName"]["connections"] == [{"target": "Echo", "source_target_setting": ""}]
    assert items["ByName"]["kind"] == "operation"


def test_a_plan_is_applied_verified_kept_over_a_start_and_rolled_back(
    prod: Production, tmp_path: Path
) -> None:
    prod.start()
    wanted = asking(greeting="dear ")
    wanted.item("Echo").setting("prefix", ">").pool(2)
    wanted.with_director(prod._director)

    plan = wanted.plan()
    applied = wanted.apply(plan, backup_dir=str(tmp_path / "backups"))
    verified = wanted.verify(plan)
    at_once = prod.test("Echo", Text("hi"))
    prod.restart()
    after_start = prod.test("Echo", Text("hi"))
    size = {item.name: item.pool_size for item in running_of(prod).items()}["Echo"]
    back = Production.rollback_backup(applied.backup_path, director=prod._director, allow_destructive=True)

    assert (applied.applied, applied.failed, applied.updated_runtime) == (3, 0, True)
    assert verified.success
    assert [at_once, after_start, size] == [Text(">hi"), Text(">hi"), 2]
    assert back.success
    assert prod.test("Echo", Text("hi")) == Text("hi")
    with running_of(prod).store.engine.connect() as connection:
        assert connection.execute(select(settings).where(settings.c.production == NAME)).all() == []


def test_items_are_added_and_deleted_by_a_plan(prod: Production, tmp_path: Path) -> None:
    prod.start()
    wanted = Production(NAME)
    wanted.operation("Echo", Echo)
    wanted.operation("Another", Echo, settings={"prefix": "another "})
    wanted.with_director(prod._director)

    result = wanted.apply(allow_destructive=True, backup_dir=str(tmp_path / "backups"))

    assert result.success
    assert wanted.test("Another", Text("x")) == Text("another x")
    assert {item.name for item in running_of(prod).items()} == {"Echo", "Another"}
    assert wanted.diff().changes == ()


def test_a_plan_that_is_applied_without_an_update_is_told_as_needed(prod: Production, tmp_path: Path) -> None:
    prod.start()
    wanted = asking(greeting="dear ")
    wanted.with_director(prod._director)

    wanted.apply(update=False, backup_dir=str(tmp_path / "backups"))
    before = prod.status()
    prod.update()

    assert before["NeedsUpdate"]
    assert "update" in before["UpdateMessage"]
    assert not prod.status()["NeedsUpdate"]


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (
            {"op_type": "set_item_field", "item": "Ecoh", "field": "pool_size", "after": "2"},
            "did you mean 'Echo'",
        ),
        (
            {"op_type": "set_item_field", "item": "Echo", "field": "size", "after": "2"},
            "unknown field of the plan",
        ),
        ({"op_type": "paint", "item": "Echo"}, "not known"),
        ({"op_type": "add_item", "item": "Echo", "after": {}}, "already has an item"),
    ],
)
def test_an_operation_that_cannot_be_done_fails_in_words_and_the_others_are_done(
    prod: Production, operation: dict[str, object], said: str
) -> None:
    prod.start()
    good = {"op_type": "set_setting", "item": "Echo", "target": "Host", "setting": "prefix", "after": "!"}
    assert prod._director is not None

    answer = prod._director.apply_production_plan({"production": NAME, "operations": [operation, good]})

    assert [row["status"] for row in answer["operations"]] == ["failed", "applied"]
    assert said in answer["operations"][0]["message"]
    assert "error" not in answer


def test_a_plan_that_no_production_can_be_made_of_stores_nothing(prod: Production) -> None:
    prod.start()
    bad = {"op_type": "set_item_field", "item": "Echo", "field": "pool_size", "after": "many"}
    assert prod._director is not None

    answer = prod._director.apply_production_plan({"production": NAME, "operations": [bad]})

    assert "whole number" in answer["error"]
    assert "Nothing of the plan was stored" in answer["error"]
    assert prod.diff().changes == ()


def test_what_is_destructive_is_skipped_unless_it_is_allowed(prod: Production) -> None:
    delete = {"op_type": "delete_item", "item": "Echo", "risk": "destructive"}
    assert prod._director is not None

    kept = prod._director.apply_production_plan({"production": NAME, "operations": [delete]})
    done = prod._director.apply_production_plan(
        {"production": NAME, "operations": [delete]}, allow_destructive=True
    )

    assert kept["operations"][0]["status"] == "skipped"
    assert done["operations"][0]["status"] == "applied"
    assert {item.name for item in Production.from_iris(NAME, director=prod._director).items} == {
        "Relay",
        "Ask",
    }


# -- settings files ------------------------------------------------------------------------------------------------

SETTINGS = """
from components import Echo
from iop import Production

prod = Production("Test.Production")
prod.operation("Echo", Echo, settings={"prefix": "file "})
PRODUCTIONS = [prod]
"""


def test_migrating_takes_the_file_in_the_place_of_what_was_changed(
    prod: Production, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    prod.start()
    prod.stop_component("Echo")
    assert prod._director is not None

    prod._director.migrate(str(tmp_path / "settings.py"))

    assert "Migration plan" in capsys.readouterr().out
    prod._director.start_component("Echo")


def test_migrating_a_file_that_cannot_be_read_changes_nothing(prod: Production, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("from nowhere import Nothing\n")
    prod.start()
    found = prod._director
    assert isinstance(found, Director)

    with pytest.raises(BadSettings, match="nowhere"):
        found.use_settings(str(tmp_path / "settings.py"))

    assert prod.test("Echo", Text("hi")) == Text("hi")
    assert found.get_default_production() == NAME


def test_an_upload_runs_and_the_next_director_still_knows_it(tmp_path: Path) -> None:
    found = Director(home=tmp_path, settings=tmp_path / "none.py", feed=NullFeed("a test"))
    found.upload("mine", "settings.py", {"settings.py": SETTINGS})

    found.start_production()
    answer = found.test_component("Echo", Text("x"))
    found.close()

    assert answer == Text("file x")
    assert NAME in Director(echo_production(), home=tmp_path).list_productions()


@pytest.mark.parametrize(
    ("package", "files", "said"),
    [
        ("../mine", {"settings.py": SETTINGS}, "cannot be a folder"),
        ("mine", {"../settings.py": SETTINGS}, "outside its folder"),
        ("mine", {"/settings.py": SETTINGS}, "outside its folder"),
        ("mine", {"settings.py": SETTINGS, "run.sh": "rm"}, "neither Python nor ObjectScript"),
        ("mine", {"other.py": ""}, "does not hold it"),
        ("mine", {"settings.py": "PRODUCTIONS = 3"}, "PRODUCTIONS"),
    ],
)
def test_an_upload_that_is_refused_leaves_the_one_before(
    tmp_path: Path, package: str, files: dict[str, str], said: str
) -> None:
    found = Director(echo_production(), home=tmp_path)
    found.upload("mine", "settings.py", {"settings.py": SETTINGS})

    with pytest.raises(WattbusError, match=said):
        found.upload(package, "settings.py", files)

    assert (tmp_path / "productions" / "mine" / "settings.py").read_text() == SETTINGS
    assert NAME in found.list_productions()


# -- bindings ------------------------------------------------------------------------------------------------------


def test_a_bound_class_is_listed_used_and_kept_while_an_item_needs_it(
    prod: Production, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.py").write_text("from components import Echo\n\nclass Bound(Echo):\n    pass\n")
    found = prod._director
    assert isinstance(found, Director)
    add = {"op_type": "add_item", "item": "New", "after": {"class_name": "Python.elsewhere.Bound"}}

    found.bind_component("Python.elsewhere.Bound", "elsewhere", "Bound", str(tmp_path))
    unused = found.list_bindings(unused_only=True)
    answer = found.apply_production_plan({"production": NAME, "operations": [add]})

    assert [row["class"] for row in unused] == ["Python.elsewhere.Bound"]
    assert "error" not in answer
    assert found.list_bindings(unused_only=True) == []
    with pytest.raises(BadRequest, match=r"used by Test\.Production\.New"):
        found.unbind_component("Python.elsewhere.Bound")
    prod.start()
    assert found.test_component("New", Text("x")) == Text("x")


def test_unbinding_what_is_not_bound_says_so(prod: Production) -> None:
    assert prod._director is not None

    with pytest.raises(UnknownName, match=r"Python\.Nothing"):
        prod._director.unbind_component("Python.Nothing")


# -- services called from outside ----------------------------------------------------------------------------------


def ask_service() -> Ask:
    found = functions.create_python_business_service("Ask")
    assert isinstance(found, Ask)
    return found


def test_each_call_of_a_service_is_durable_and_a_session_of_its_own(tmp_path: Path) -> None:
    with testing.production(asking(greeting="dear "), tmp_path) as bus:
        service = ask_service()
        answers = [service.ask("one"), service.again("two")]
        bus.production.store.flush()
        rows = list_messages(bus.production.store.engine)
        lines = list_events(bus.production.store.engine, item="Ask")

    requests = [row for row in rows if row.type == "Request"]
    sessions = sorted({row.session_id for row in requests})
    assert answers == ["dear one", "dear two"]
    assert len(requests) == 4
    assert len(sessions) == 2
    assert {row.source_item for row in requests} == {"Ask"}
    assert [row.session_id for row in reversed(requests)] == [sessions[0]] * 2 + [sessions[1]] * 2
    assert [line.text for line in lines] == ["asked one", "asked two"]


def test_a_service_is_called_from_several_threads_and_no_session_is_mixed(tmp_path: Path) -> None:
    answers: dict[str, str] = {}

    with testing.production(asking(), tmp_path) as bus:
        service = ask_service()

        def ask(name: str) -> None:
            answers[name] = service.ask(name)

        threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        rows = [row for row in list_messages(bus.production.store.engine) if row.type == "Request"]

    sizes = [sum(row.session_id == session for row in rows) for session in {row.session_id for row in rows}]
    assert answers == {str(number): str(number) for number in range(8)}
    assert sizes == [2] * 8


def test_methods_that_wait_in_an_event_loop_and_that_yield_are_calls_too(tmp_path: Path) -> None:
    with testing.production(asking(), tmp_path) as bus:
        service = ask_service()
        slowly = asyncio.run(service.ask_slowly("x"))
        each = list(service.each("a", "b"))
        rows = [row for row in list_messages(bus.production.store.engine) if row.type == "Request"]

    assert slowly == "x"
    assert each == ["a", "b"]
    assert len({row.session_id for row in rows}) == 2


def test_the_object_of_iris_hands_an_input_to_the_service(tmp_path: Path) -> None:
    with testing.production(asking(), tmp_path):
        found = functions.create_business_service("Ask")
        answer = found.dispatchProcessInput(Text("x"))

    assert (found.GetModule(), found.GetClassname()) == (__name__, "Ask")
    assert answer.json == '{"text":"x","times":1}'


def test_a_cached_service_goes_on_after_a_restart_of_its_production(prod: Production) -> None:
    prod.start()
    service = ask_service()
    before = service.ask("before")

    prod.restart()

    assert [before, service.ask("after")] == ["before", "after"]


def test_a_service_of_a_production_that_has_ended_says_so(prod: Production) -> None:
    prod.start()
    service = ask_service()
    prod.stop()

    with pytest.raises(NotRunning, match="start one"):
        service.ask("late")


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_the_facade_of_older_code_caches_a_service_and_forgets_it_with_the_production(tmp_path: Path) -> None:
    asked = iop.Director()

    with testing.production(asking(greeting="one "), tmp_path / "one"):
        first = asked.get_business_service("Ask")
        same = asked.get_business_service("Ask", force_session_id=True)
        of_the_facade = iop.Director.create_python_business_service("Ask").ask("x")
    with testing.production(asking(greeting="two "), tmp_path / "two"):
        answer = asked.get_business_service("Ask").ask("x")

    assert first is same
    assert of_the_facade == "one x"
    assert answer == "two x"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("Aks", UnknownName, "did you mean 'Ask'"),
        ("Echo", BadRequest, "only a service is called from outside"),
    ],
)
def test_what_is_no_service_is_refused_in_a_sentence(
    tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    with testing.production(asking(), tmp_path), pytest.raises(error, match=said):
        functions.create_python_business_service(name)


def test_without_a_production_the_sentence_names_the_ways(tmp_path: Path) -> None:
    iris.stand_in()

    with pytest.raises(NotRunning, match="WATTBUS_URL"):
        functions.create_python_business_service("Ask")


def test_iops_functions_direct_the_production_of_this_process(prod: Production) -> None:
    prod.start()

    status, listed = functions.status_production(), functions.list_productions()
    answer = functions.test_component("Echo", Text("hi"))
    functions.stop_component("Echo")
    stopped = {item.name: item.state for item in running_of(prod).items()}["Echo"]
    functions.start_component("Echo")
    functions.update_production()
    functions.restart_production()
    default = functions.get_default_production()
    functions.set_default_production(NAME)
    functions.stop_production()

    assert (status["Production"], status["Status"]) == (NAME, "running")
    assert list(listed) == [NAME]
    assert answer == Text("hi")
    assert stopped == "Disabled"
    assert default == NAME
    assert prod.status()["Status"] == "stopped"


def test_a_production_without_a_director_finds_the_one_of_this_process(tmp_path: Path) -> None:
    made = asking()

    with testing.production(made, tmp_path):
        answer = made.test("Echo", Text("hi"))
        changes = made.diff().changes

    assert answer == Text("hi")
    assert changes == ()


def test_messages_that_a_disabled_item_has_wait_for_it(prod: Production) -> None:
    prod.start()
    running = running_of(prod)
    prod.stop_component("Echo")
    running.submit("Echo", Text("waits"))
    waiting = prod.queue()["Echo"]["count"]

    prod.start_component("Echo")

    assert waiting == 1
    until(lambda: prod.queue()["Echo"]["count"] == 0, "the queue of Echo is empty")
