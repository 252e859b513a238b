"""IRIS classes in components, without IRIS: bodies, streams, collections, and a sentence for the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import iop
import pytest
from iop import BusinessOperation, BusinessProcess, Production, handler, target

from components import Text
from waiting import wait_for
from wattbus import testing
from wattbus.errors import BadRequest, BadSettings, NeedsIris, NotRunning, UnknownName
from wattbus.runtime import iris_directors
from wattbus.runtime.iris import stand_in
from wattbus.store.queries import list_events, list_messages

stand_in()

import iris  # noqa: E402

SETTINGS = """
import iris
from iop import BusinessOperation, BusinessProcess, Production, target


class Shout(BusinessOperation):
    def shout(self, request: iris.Ens.StringRequest):
        answer = iris.Ens.StringResponse._New()
        answer.StringValue = request.StringValue.upper()
        return answer

    def needs_iris(self, request: iris.Demo.Orders.Request):
        return request


class Ask(BusinessProcess):
    Output = target()

    def on_message(self, request: "iris.Ens.StringRequest"):
        inner = iris.cls("Ens.StringRequest")._New(request.StringValue + "!")
        return self.send_request_sync(self.Output, inner)


prod = Production("Test.Iris")
shout = prod.operation("Shout", Shout)
ask = prod.process("Ask", Ask)
prod.connect(ask.Output, shout)
PRODUCTIONS = [prod]
"""


class Bodies(BusinessOperation):
    """Handles bodies of IRIS by each way that iop has."""

    DISPATCH = [("iris.Ens.StreamContainer", "of_dispatch")]

    @handler("Ens.StringContainer")
    def of_handler(self, request: Any) -> Any:
        return iris.Ens.StringResponse("handler " + request.StringValue)

    def of_dispatch(self, request: Any) -> Any:
        request.Stream.Rewind()
        return iris.Ens.StringResponse("dispatch " + request.Stream.Read())

    def of_annotation(self, request: iris.Ens.Request) -> Any:
        assert request._IsA("Ens.Request")
        return iris.Ens.Response._New()

    def on_message(self, request: Any) -> Any:
        self.log_info(f"fell through: {request._ClassName(1)}")
        return request


def bodies(enabled: bool = True) -> Production:
    prod = Production("Test.Bodies")
    prod.operation("Bodies", Bodies, enabled=enabled)
    return prod


def test_an_unmodified_settings_file_sends_and_answers_ens_string_requests(tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text(SETTINGS)

    with testing.production(settings, tmp_path / "home") as bus:
        answer = bus.request("Ask", bus.message("Ens.StringRequest", {"StringValue": "hello"}))

        headers = list_messages(bus.production.store.engine)

    assert answer == iris.Ens.StringResponse("HELLO!")
    assert {header.body_class for header in headers} == {"Ens.StringRequest", "Ens.StringResponse"}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (iris.Ens.StringContainer("a"), iris.Ens.StringResponse("handler a")),
        (iris.Ens.StreamContainer(iris._Stream.GlobalCharacter("b")), iris.Ens.StringResponse("dispatch b")),
        (iris.Ens.Request._New(), iris.Ens.Response()),
        (iris.Ens.AlertRequest(), iris.Ens.AlertRequest()),
        (iris._Stream.GlobalBinary(b"\x00\xff"), iris._Stream.GlobalBinary(b"\x00\xff")),
    ],
    ids=["handler", "DISPATCH", "annotation", "on_message", "a stream is a body"],
)
def test_iops_dispatch_finds_the_handler_of_an_iris_class(tmp_path: Path, request_: Any, answer: Any) -> None:
    with testing.production(bodies(), tmp_path) as bus:
        assert bus.request("Bodies", request_) == answer


def test_a_queued_body_is_the_same_kind_of_object_after_a_restart(tmp_path: Path) -> None:
    with testing.production(bodies(enabled=False), tmp_path) as bus:
        bus.submit("Bodies", iris.Ens.StringContainer("kept"))

    with testing.production(bodies(), tmp_path) as bus:
        wait_for(bus, lambda rows: rows[0].type == "Response")
        answer = list_messages(bus.production.store.engine)[0]
        text = bus.production.store.body(answer.body_id)

    assert (answer.body_class, text) == ("Ens.StringResponse", '{"StringValue":"handler kept"}')


def test_a_body_that_came_from_another_place_has_its_message_id(tmp_path: Path) -> None:
    class Tell(BusinessOperation):
        def on_message(self, request: Any) -> Any:
            return Text(f"{type(request).__module__} {request._Id()}")

    prod = Production("Test.Id")
    prod.operation("Tell", Tell)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Tell", iris.Ens.StringRequest("x"))

    assert answer == Text("iris.Ens 1")


@pytest.mark.parametrize(
    ("type_name", "body", "error", "words"),
    [
        ("Ens.StringRequest", {"StringVale": "x"}, BadRequest, "did you mean 'StringValue'"),
        ("Ens.StringReqest", {}, UnknownName, "did you mean 'Ens.StringRequest'"),
        ("Ens.StringRequest", {"StringValue": ["x"]}, BadRequest, "a list cannot be a property"),
        ("%Stream.GlobalCharacter", {"txt": "x"}, BadRequest, "a stream is"),
    ],
)
def test_a_body_of_iris_from_outside_is_checked_in_a_sentence(
    tmp_path: Path, type_name: str, body: Any, error: type[Exception], words: str
) -> None:
    with testing.production(bodies(), tmp_path) as bus, pytest.raises(error, match=words):
        bus.message(type_name, body)


def test_a_stream_property_is_given_from_outside_as_text(tmp_path: Path) -> None:
    with testing.production(bodies(), tmp_path) as bus:
        answer = bus.request("Bodies", bus.message("iris.Ens.StreamContainer", {"Stream": "from outside"}))

    assert answer.StringValue == "dispatch from outside"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda: iris.cls("EnsLib.HTTP.GenericMessage"), "'EnsLib.HTTP.GenericMessage' needs InterSystems IRIS"),
        (lambda: iris.EnsLib.HTTP.GenericMessage._New(), "'EnsLib.HTTP.GenericMessage' needs InterSystems IRIS"),
        (lambda: iris._Dictionary.CompiledClass._ExistsId("x"), "'%Dictionary.CompiledClass' needs"),
        (lambda: iris.cls("Ens.StringReqest"), "did you mean 'Ens.StringRequest'"),
        (lambda: iris.Ens.StringRequest._New().StringVale, "did you mean 'StringValue'"),
        (lambda: iris.Ens.StringRequest._New()._XMLExport(), r"Ens.StringRequest.%XMLExport\(\) needs"),
        (lambda: iris.system.OBJ.Compile("x"), "'%SYSTEM.OBJ.Compile' needs"),
        (lambda: iris.tstart(), "iris.tstart needs InterSystems IRIS"),
        (lambda: iris.execute("write 1"), "iris.execute needs InterSystems IRIS"),
        (lambda: iris.gref("^Orders"), r"the global \^Orders needs InterSystems IRIS"),
        (lambda: iris.sql.statement, "iris.sql.statement needs InterSystems IRIS"),
    ],
)  # fmt: skip
def test_what_only_iris_has_is_a_sentence_that_names_it_and_never_a_mock(asked: Any, words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        asked()


def test_a_property_that_a_class_does_not_have_cannot_be_set() -> None:
    request = iris.Ens.StringRequest._New()

    with pytest.raises(NeedsIris, match="unknown property 'Value'"):
        request.Value = "x"


def test_looking_for_what_is_not_there_is_a_plain_no() -> None:
    assert not hasattr(iris, "nothing_of_the_kind")
    assert not isinstance(3, iris.Demo.Person)
    assert not isinstance(iris.Demo.Person, mock.NonCallableMock)


def test_what_the_installed_package_does_without_a_server_stays() -> None:
    import iris.dbapi

    assert callable(iris.connect)
    assert callable(iris.createConnection)
    assert iris.dbapi is not None
    assert iris.IRISList is not None


def test_a_script_that_has_imported_iris_already_has_the_stand_in_too() -> None:
    script = (
        "import iris; connect = iris.connect; from wattbus.runtime.iris import stand_in; stand_in(); "
        "print(iris.cls('Ens.StringRequest')._New('x').StringValue, iris.connect is connect)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["x", "True"]


def test_objects_answer_for_their_class() -> None:
    request = iris.Ens.StringRequest._New("x")

    assert (request._ClassName(), request._ClassName(1)) == ("StringRequest", "Ens.StringRequest")
    assert request._IsA("Ens.Request")
    assert request._IsA("%Persistent")
    assert not request._IsA("Ens.Response")
    assert iris.Ens.StringRequest._Extends("%Library.Persistent")
    assert request._ConstructClone() == request
    assert request._ConstructClone() is not request


def test_a_saved_object_is_opened_again_by_its_id(tmp_path: Path) -> None:
    class Keep(BusinessOperation):
        def on_message(self, request: Text) -> Any:
            kept = iris.Ens.StreamContainer._New(iris._Stream.GlobalCharacter(request.text))
            assert iris.system.Status.IsOK(kept._Save())
            kept.OriginalFilename = "a.txt"
            kept._Save()
            found = iris.Ens.StreamContainer._OpenId(kept._Id())
            iris.Ens.StreamContainer._DeleteId(kept._Id())
            gone = iris.Ens.StreamContainer._OpenId(kept._Id()) == ""
            return Text(f"{found.Stream.Read()} {found.OriginalFilename} {gone}")

    prod = Production("Test.Keep")
    prod.operation("Keep", Keep)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Keep", Text("long text")) == Text("long text a.txt True")


def test_streams_are_written_read_and_rewound(tmp_path: Path) -> None:
    stream = iris._Stream.FileCharacter._New()
    stream.LinkToFile(str(tmp_path / "a.txt"))
    stream.WriteLine("first")
    stream.Write("second")
    stream._Save()

    again = iris.cls("%Stream.FileCharacter")._New()
    again.Filename = str(tmp_path / "a.txt")

    assert [again.ReadLine(), again.AtEnd, again.ReadLine(), again.AtEnd] == ["first", 0, "second", 1]
    again.Rewind()
    assert (again.Size, again.Read(3), again.Read()) == (12, "fir", "st\nsecond")


def test_collections_count_from_one_and_answer_nothing_as_an_empty_string() -> None:
    numbers = iris.cls("%ListOfDataTypes")._New()
    numbers.Insert("a")
    numbers.Insert("b")
    by_key = iris._Library.ArrayOfDataTypes._New()
    by_key.SetAt(1, "x")
    by_key.SetAt(2, "y")
    key = iris.ref("")

    assert (numbers.Count(), numbers.GetAt(1), numbers.GetAt(3), numbers.Find("b")) == (2, "a", "", 2)
    assert (by_key.GetNext(key), key.value, by_key.GetAt("z"), by_key.IsDefined("y")) == (1, "x", "", 1)


def test_dynamic_objects_are_json() -> None:
    found = iris.cls("%DynamicObject")._FromJSON('{"a": [1, {"b": true}]}')
    found.c = "text"

    assert found.a._Get(1).b is True
    assert found._ToJSON() == '{"a": [1, {"b": true}], "c": "text"}'


def test_status_helpers_read_a_status_as_iris_writes_it() -> None:
    bad = iris.system.Status.Error(5001, "no such order")

    assert iris.cls("%SYSTEM.Status").IsError(bad)
    assert iris.system.Status.IsOK(iris.system.Status.OK())
    assert iris.system.Status.GetErrorText(bad) == iris.system.Status.GetOneStatusText(bad)
    assert "no such order" in iris.system.Status.GetStatusText(bad)
    with pytest.raises(RuntimeError, match="no such order"):
        iris.check_status(bad)


def test_the_event_log_of_iris_is_the_event_log(tmp_path: Path) -> None:
    class Says(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            iris.cls("Ens.Util.Log").LogWarning("Says", "on_message", "careful")
            iris.Ens.Util.Log.Log(2, "Says", "on_message", "failed")
            return request

    prod = Production("Test.Says")
    prod.operation("Says", Says)

    with testing.production(prod, tmp_path) as bus:
        bus.request("Says", Text("x"))
        bus.production.store.flush()
        lines = {(line.type, line.text) for line in list_events(bus.production.store.engine)}

    assert {("Warning", "careful"), ("Error", "failed")} <= lines


def test_a_director_that_nobody_plays_says_that_no_production_runs() -> None:
    with pytest.raises(
        NotRunning, match=r"IOP.Director.dispatchCreateBusinessService\(\) needs a running production"
    ):
        iop.runtime.director.create_python_business_service("Chat")


def test_a_director_that_began_answers_until_it_ends() -> None:
    class Played:
        def answer(self, class_name: str, method: str, arguments: tuple[Any, ...]) -> Any:
            return (class_name, method, *arguments)

        def default_production(self) -> str:
            return "Test.Played"

    played = Played()
    iris_directors.begin_directing(played)
    try:
        said = iris.cls("Ens.Director").EnableConfigItem("A", 1, 1)
        default = iop.runtime.director.get_default_production()
    finally:
        iris_directors.end_directing(played)

    assert said == ("Ens.Director", "EnableConfigItem", "A", 1, 1)
    assert default == "Test.Played"
    with pytest.raises(NotRunning):
        iris.cls("Ens.Director").StopProduction()


def test_a_process_sends_several_bodies_of_iris_at_once(tmp_path: Path) -> None:
    class Several(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Text:
            asked = [(self.Output, iris.Ens.StringContainer(part)) for part in request.text]
            answers = self.send_multi_request_sync(asked)
            return Text(" ".join(answer.StringValue for _, _, answer, _ in answers))

    prod = Production("Test.Several")
    operation = prod.operation("Bodies", Bodies)
    process = prod.process("Several", Several)
    prod.connect(process.Output, operation)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Several", Text("ab")) == Text("handler a handler b")


def test_an_envelope_of_iop_can_be_sent_as_it_is(tmp_path: Path) -> None:
    class Wrap(BusinessProcess):
        Output = target()

        def on_message(self, request: Text) -> Text:
            envelope = iris.cls("IOP.Message")._New()
            envelope.classname, envelope.json = f"{Text.__module__}.Text", '{"text": "inside"}'
            answer: Text = self.send_request_sync(self.Output, envelope)
            return answer

    class Echo(BusinessOperation):
        def echo(self, request: Text) -> Text:
            return request

    prod = Production("Test.Wrap")
    wrap, echo = prod.process("Wrap", Wrap), prod.operation("Echo", Echo)
    prod.connect(wrap.Output, echo)

    with testing.production(prod, tmp_path) as bus:
        assert bus.request("Wrap", Text("x")) == Text("inside")
