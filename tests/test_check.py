"""What is wrong with a production is said by `wattbus check` and at the start, with file, item and cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import projects
from command import Command
from wattbus import testing
from wattbus.errors import BadRequest, RequestFailed
from wattbus.runtime.check import check, examine
from wattbus.runtime.production import Finding
from wattbus.runtime.reading import load
from wattbus.store.queries import list_events

GOOD = """
from iop import BusinessOperation, BusinessProcess, BusinessService, Message, Production, PydanticMessage, target
from iop import PollingBusinessService, handler, setting
from dataclasses import dataclass

@dataclass
class Order(Message):
    number: int = 0

class Checked(PydanticMessage):
    number: int

class Store(BusinessOperation):
    Limit: int = 3

    def store(self, request: Order) -> Order:
        return request

    def helper(self, text: str) -> list:
        return [text]

class Route(BusinessProcess):
    Output = target()

    def route(self, request: Order) -> Order:
        return self.send_request_sync(self.Output, request)

class Poll(PollingBusinessService):
    Output = target()

    def on_poll(self):
        self.send_request_async(self.Output, Order(1))
"""
ITEMS = """
prod = Production("Checked.Production")
store = prod.operation("Store", Store)
route = prod.process("Route", Route)
poll = prod.service("Poll", Poll)
prod.connect(route.Output, store)
prod.connect(poll.Output, route)
"""
END = "PRODUCTIONS = [prod]\n"


def found(folder: Path, *parts: str) -> list[Finding]:
    """Return what the check says of a settings file of these parts."""
    return check(projects.write(folder, settings="\n".join((GOOD, *parts, END))))


def sentences(findings: list[Finding], level: str) -> str:
    return "\n".join(f"[{finding.item}] {finding.sentence}" for finding in findings if finding.level == level)


def test_a_good_production_has_nothing_said_against_it(tmp_path: Path) -> None:
    assert found(tmp_path, ITEMS) == []


def test_the_shipped_production_has_nothing_said_against_it() -> None:
    from wattbus.door import SHIPPED_SETTINGS

    assert check(SHIPPED_SETTINGS) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import bo\ndef f(:\n",
            r"settings\.py cannot be imported: line 2 of settings\.py: SyntaxError.*Mend that line",
        ),
        (
            "import msgs\n",
            r"line 1 of settings\.py: ModuleNotFoundError: No module named 'msgs'.*Did you mean 'msg'\?",
        ),
        (
            "import pandass_not_here\n",
            r"Put pandass_not_here\.py beside settings\.py, or install the package",
        ),
        (
            "from grongier.pex import Message\n",
            r"iop 4 has no grongier\.pex any more: write `from iop import",
        ),
        ("from .bo import Greeter\n", r"write `from bo import X`, without a dot"),
        ("from bo import Greter\n", r"cannot import name 'Greter'.*Did you mean 'Greeter'\?"),
        ("import broken\n", r"line 2 of broken\.py: ZeroDivisionError"),
        ("raise KeyError('PORT')\n", r"line 1 of settings\.py: KeyError: 'PORT'"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3.*take out what ends the program"),
        (
            "from iop import Production\nclass P(Production):\n    operations = [3]\nPRODUCTIONS = [P]\n",
            "production P: ",
        ),
    ],
)
def test_a_settings_file_that_does_not_import_is_a_sentence_with_file_line_and_cure(
    tmp_path: Path, text: str, said: str
) -> None:
    projects.greeter(tmp_path, "", broken="x = 1\nx / 0\n")
    (tmp_path / "settings.py").write_text(text)

    findings = check(tmp_path / "settings.py")

    (finding,) = findings
    assert finding.level == "error"
    assert re.search(said, finding.sentence), finding.sentence
    assert str(tmp_path / "settings.py") in finding.sentence


def test_a_settings_file_that_does_not_end_its_import_is_an_error_and_no_hang(tmp_path: Path) -> None:
    text = "import time, os\nwhile not os.path.exists(__file__ + '.go'):\n    time.sleep(0.01)\n"
    file = projects.write(tmp_path, settings=text)

    (finding,) = check(file, import_seconds=0.2)
    (tmp_path / "settings.py.go").touch()

    assert finding.level == "error"
    assert re.search(
        r"not imported after 0\.2 s, it is at line [23] of .*settings\.py: move", finding.sentence
    )


@pytest.mark.parametrize(
    ("parts", "level", "said"),
    [
        # settings
        (
            'store.setting("Limit", "many")',
            "error",
            r"\[Store\].*setting 'Limit'.*'many': a number is needed",
        ),
        ('store.setting("RetryInterval", "soon")', "error", r"\[Store\].*'RetryInterval'.*'soon': a number"),
        ('store.setting("AlertOnError", "perhaps")', "error", r"\[Store\].*'perhaps': use true or false"),
        ('store.setting("ReplyCodeActions", "E=Q")', "error", r"\[Store\].*settings\.py: item 'Store'.*E=Q"),
        ('store.schedule_on("at noon")', "error", r"\[Store\].*item 'Store'.*at noon"),
        ('store.pool("lots")', "error", r"\[Store\].*PoolSize.*'lots': a whole number"),
        (
            'store.setting("Limt", 3)',
            "warning",
            r"\[Store\].*'Limt' is not declared by Store.*did you mean 'Limit'",
        ),
        (
            'store.setting("%settings", "limit=3")',
            "warning",
            r"\[Store\].*%settings has 'limit'.*did you mean 'Limit'",
        ),
        (
            'store.setting("%settings", "loud")',
            "warning",
            r"\[Store\].*the line 'loud', which is not key=value",
        ),
        # targets
        ('route.setting("Output", "Stor")', "error", r"\[Route\].*Output is 'Stor'.*did you mean 'Store'\?"),
        (
            'route.setting("Output", "Store, Nowhere")',
            "error",
            r"\[Route\].*'Nowhere'.*there are Store, Route, Poll",
        ),
        ('route.setting("Output", "Poll")', "error", r"\[Route\].*'Poll', which is a service"),
        (
            'route.setting("TargetConfigName", "Stroe")',
            "error",
            r"\[Route\].*TargetConfigName is 'Stroe'.*'Store'",
        ),
        (
            'route.setting("Output", "")',
            "warning",
            r"\[Route\].*route sends to Output, which is connected to nothing",
        ),
        (
            'prod.operation("Old", class_name="EnsLib.Old")\nroute.setting("Output", "Old")',
            "warning",
            r"\[Route\].*Output is 'Old', which needs IRIS",
        ),
    ],
)
def test_a_setting_or_target_that_cannot_work_is_a_sentence_with_the_item_and_the_nearest_name(
    tmp_path: Path, parts: str, level: str, said: str
) -> None:
    findings = found(tmp_path, ITEMS, parts)

    assert re.search(said, sentences(findings, level)), findings
    assert str(tmp_path / "settings.py") in sentences(findings, level)


@pytest.mark.parametrize(
    ("component", "level", "said"),
    [
        (
            "class X(BusinessOperation):\n    def __init__(self): ...\n    def on_message(self, request): ...",
            "warning",
            r"X has an __init__, which is never called: move what it does to on_init",
        ),
        (
            "class X(BusinessOperation):\n    def take(self, order: dict): ...",
            "error",
            r"take is annotated with dict, which is no message",
        ),
        (
            "class X(BusinessOperation):\n    def take(self, request: 'Ordr'): ...",
            "error",
            r"take is annotated with Ordr, which is not known there",
        ),
        (
            "class X(BusinessOperation):\n    def t(self, request: Order | None): ...\n    def on_message(self, r): 1",
            "warning",
            r"t is annotated with .*no Optional, no union",
        ),
        (
            "class Bare(Message):\n    a: int = 1\nclass X(BusinessOperation):\n    def take(self, request: Bare): ...",
            "error",
            r"take takes Bare, a Message without @dataclass: decorate",
        ),
        (
            "class X(BusinessOperation):\n    def a(self, r: Order): ...\n    @handler(Order)\n    def b(self, r): ...",
            "warning",
            r"(a and b|b and a) both take settings\.Order: only one is called",
        ),
        *(
            (
                f"import numpy\nclass X(BusinessOperation):\n    def take(self, request: Order) -> {result}: ...",
                "error",
                r"take returns .*, which is no message: return a message whose field holds it",
            )
            for result in (
                "str",
                "list",
                "dict",
                "list[int]",
                "'str | None'",
                "bool",
                "tuple",
                "numpy.ndarray",
            )
        ),
        (
            "class X(BusinessOperation):\n    Limit = 3",
            "warning",
            r"X has no handler: every message to it is ignored",
        ),
        ("class X:\n    pass", "error", r"X is no BusinessService, BusinessProcess or BusinessOperation"),
        ("class X(PollingBusinessService):\n    pass", "warning", r"X has no on_poll"),
    ],
)
def test_a_component_that_does_not_do_what_its_author_thinks_is_a_sentence(
    tmp_path: Path, component: str, level: str, said: str
) -> None:
    findings = found(tmp_path, component, ITEMS, 'prod.component("X", X)')

    assert re.search(rf"\[X\].*item 'X'.*{said}", sentences(findings, level)), findings


@pytest.mark.parametrize(
    "result", ["Order", "Checked", "'Order'", "None", "Order | None", "'Iterator[Order]'"]
)
def test_a_handler_that_returns_a_message_or_nothing_is_fine(tmp_path: Path, result: str) -> None:
    component = f"class X(BusinessOperation):\n    def take(self, request: Order) -> {result}: ..."

    assert found(tmp_path, "from typing import Iterator", component, ITEMS, 'prod.operation("X", X)') == []


def test_a_handler_annotated_through_an_alias_as_text_is_an_error(tmp_path: Path) -> None:
    module = """
        from __future__ import annotations
        import msg as m
        from iop import BusinessOperation

        class X(BusinessOperation):
            def take(self, request: m.Greeting) -> m.Greeting:
                return request
    """
    file = projects.greeter(tmp_path, projects.one_item("'Python.x.X'"), x=module)

    (finding,) = check(file)

    assert re.search(r"'m\.Greeting' as text.*msg\.Greeting never reaches it", finding.sentence)


CIRCLE = """
class Ping(BusinessProcess):
    Output = target()

    def ask(self, request: Order) -> Order:
        {ping}

class Pong(BusinessOperation):
    def on_init(self):
        if not hasattr(self, "other"):
            self.other = "Ping"

    def answer(self, request: Order) -> Order:
        where = self.other
        return self.send_request_sync(where, request)

prod = Production("Circle.Production")
ping = prod.process("Ping", Ping, pool_size={pool})
pong = prod.operation("Pong", Pong, pool_size={pool})
prod.connect(ping.Output, pong)
"""
WAITS = "return self.send_request_sync(self.Output, request)"


@pytest.mark.parametrize(
    ("ping", "pool", "level"),
    [
        (WAITS, 1, "error"),
        ("return self.send_multi_request_sync([(self.Output, request)])[0][2]", 1, "error"),
        ("return self.send_request_sync(self.Output, request, timeout=3)", 1, None),
        ("self.send_request_async(self.Output, request)", 1, None),
        (WAITS, 3, None),
    ],
)
def test_a_circle_of_items_that_wait_for_each_other_is_found(
    tmp_path: Path, ping: str, pool: int, level: str | None
) -> None:
    findings = found(tmp_path, CIRCLE.format(ping=ping, pool=pool))

    circles = [finding for finding in findings if "circle of synchronous requests" in finding.sentence]
    assert [finding.level for finding in circles] == ([level] if level else [])
    assert all("Ping -> Pong -> Ping" in finding.sentence for finding in circles)


def test_a_circle_is_told_at_the_start_and_its_request_refused_instead_of_waiting_for_ever(
    tmp_path: Path,
) -> None:
    text = "\n".join((GOOD, CIRCLE.format(ping=WAITS, pool=1), END))

    with testing.production(projects.write(tmp_path, settings=text), tmp_path / "home") as bus:
        order = bus.production.production.modules["settings"].Order
        with pytest.raises((RequestFailed, BadRequest), match="circle of synchronous requests"):
            bus.request("Ping", order(1), timeout_seconds=60)
        bus.production.store.flush()
        said = list_events(bus.production.store.engine, type="Error", item="Ping")

    assert any("Ping -> Pong -> Ping" in event.text for event in said)


def test_what_a_start_looks_at_names_no_settings_since_the_items_say_those(tmp_path: Path) -> None:
    text = "\n".join((GOOD, ITEMS, 'store.setting("Limt", 3)', 'route.setting("Output", "Stor")', END))

    findings = examine(load(projects.write(tmp_path, settings=text)))

    assert [finding.item for finding in findings] == ["Route"]


def test_the_command_lists_the_findings_as_table_and_json_and_ends_with_1_on_errors(tmp_path: Path) -> None:
    wattbus = Command(tmp_path)
    projects.write(tmp_path, settings="\n".join((GOOD, ITEMS, 'route.setting("Output", "Stor")', END)))
    good = projects.write(tmp_path / "good", settings="\n".join((GOOD, ITEMS, END)))

    table, report = wattbus("check", status=1), wattbus.json("check", status=1)
    fine = wattbus("check", str(good))

    assert "Route" in table and "1 errors, 0 warnings" in table
    assert (report["ok"], report["findings"][0]["level"], report["findings"][0]["item"]) == (
        False,
        "error",
        "Route",
    )
    assert "nothing to say against it" in fine


def test_the_command_checks_and_starts_one_of_several_productions(tmp_path: Path) -> None:
    wattbus = Command(tmp_path)
    second = 'second = Production("Second.Production")\nsecond.operation("Stroe", Store, pool_size="x")\n'
    projects.write(tmp_path, settings="\n".join((GOOD, ITEMS, second, "PRODUCTIONS = [prod, second]\n")))

    first, other = wattbus("check"), wattbus("check", "--production", "Second.Production", status=1)
    started = wattbus("start", "--production", "Second.Production", status=1)

    assert "Second.Production" in first and "--production" in first
    assert "PoolSize" in other
    assert "PoolSize" in started and "Traceback" not in started
