"""The visual trace: what it reads from a session, and how it is drawn."""

import json
import re
import threading
import time
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import pytest
from iop import BusinessOperation, BusinessProcess, Message, Production, target
from rich.cells import cell_len
from rich.console import Console
from sqlalchemy import Engine, event, update

from wattbus import trace
from wattbus.energy import current_window, estimate_remote
from wattbus.energy.feed import FakeFeed, NullFeed, PowerFeed
from wattbus.errors import BadRequest, RequestFailed, StoreError
from wattbus.home import Home
from wattbus.runtime.reading import from_production
from wattbus.runtime.running import RunningProduction
from wattbus.store.database import open_engine
from wattbus.store.store import counts
from wattbus.store.tables import attempts, energy, messages


@dataclass
class Text(Message):
    text: str = ""


class Echo(BusinessOperation):
    def echo(self, request: Text) -> Text:
        if request.text.startswith("boom"):
            raise ValueError(f"no {request.text}")
        return Text(f">{request.text}")


class Ask(BusinessProcess):
    Out = target()

    def on_request(self, request: Text) -> Text:
        self.log_info(f"asked: {request.text}")
        answer = self.send_request_sync(self.Out, request)
        self.send_request_async(self.Out, Text("later"), response_required=False)
        return answer


class FanOut(BusinessOperation):
    def fan(self, request: Text) -> Text:
        for number in range(int(request.text)):
            self.send_request_async("Echo", Text(str(number)))
        return Text("sent")


class Remote(BusinessOperation):
    def call(self, request: Text) -> Text:
        current_window().remote(
            estimate_remote("text-generation", parameters=7e9, output_tokens=300, latency_seconds=2.0)
        )
        return Text("done")


class Slow(BusinessOperation):
    loaded = threading.Event()

    def on_init(self) -> None:
        Slow.loaded.wait(20)

    def work(self, request: Text) -> Text:
        return Text("worked")


def running(folder: Path, *operations: tuple[str, type], feed: PowerFeed | None = None) -> RunningProduction:
    production = Production("Trace.Production")
    for name, component in operations:
        production.operation(name, component)
    return RunningProduction(from_production(production), Home(folder / "home"), feed=feed or FakeFeed())


def asking(folder: Path, feed: PowerFeed | None = None) -> RunningProduction:
    production = Production("Trace.Production")
    echo = production.operation("Echo", Echo)
    ask = production.process("Ask", Ask)
    production.connect(ask.Out, echo)
    return RunningProduction(from_production(production), Home(folder / "home"), feed=feed or FakeFeed())


def reopened(folder: Path) -> Engine:
    return open_engine(Home(folder / "home"), read_only=True)


def wait_until_all_ended(bus: RunningProduction) -> None:
    deadline = time.monotonic() + 60
    while set(counts(bus.store.engine)) - {"Completed", "Error"}:
        assert time.monotonic() < deadline, counts(bus.store.engine)
        time.sleep(0.01)


def once_it_starts(bus: RunningProduction) -> trace.Trace:
    deadline = time.monotonic() + 20
    while (seen := trace.read(bus.store.engine)).steps[0].waiting_because == "the item has not started":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return seen


# -- reading -------------------------------------------------------------------------------------------------------


def test_a_session_is_read_as_a_tree_with_lanes_by_kind(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        session, _ = bus.exchange("Ask", Text("hi"))
        wait_until_all_ended(bus)

    seen = trace.read(reopened(tmp_path), session)

    assert [(lane.item, lane.kind) for lane in seen.lanes] == [
        ("Door.Python", "service"),
        ("Ask", "process"),
        ("Echo", "operation"),
    ]
    assert [(step.number, step.type, step.source, step.target) for step in seen.steps[:3]] == [
        (1, "Request", "Door.Python", "Ask"),
        (2, "Request", "Ask", "Echo"),
        (3, "Response", "Echo", "Ask"),
    ]
    children = seen.tree()
    assert [step.number for step in children[None]] == [1]
    assert {step.target for step in children[1]} == {"Echo", "Door.Python"}
    assert all(step.depth == 1 for step in children[1])
    assert [step.answers for step in children[2]] == [2]
    assert sum(len(steps) for steps in children.values()) == len(seen.steps) == 6


def test_each_attempt_shows_its_times_its_energy_and_the_log_lines_between(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        session, _ = bus.exchange("Ask", Text("hi"))
        wait_until_all_ended(bus)

    seen = trace.read(reopened(tmp_path), session)

    tried = [step for step in seen.steps if step.attempts]
    assert [step.target for step in tried] == ["Ask", "Echo", "Echo"]
    for step in tried:
        (attempt,) = step.attempts
        (used,) = step.energy
        assert attempt.outcome == "completed"
        assert attempt.wait_seconds is not None
        assert attempt.wait_seconds >= 0
        assert attempt.duration_seconds is not None
        assert used.scope == "local"
        assert used.joules is not None
        assert used.joules > 0
        assert used.tier == "modelled"
    (line,) = seen.events
    assert (line.item, line.type, line.text, line.step) == ("Ask", "Info", "asked: hi", 1)
    (total,) = seen.totals.known
    assert total.joules == pytest.approx(sum(step.energy[0].joules or 0 for step in tried))
    assert seen.open_messages == 0


def test_a_message_id_finds_its_session_and_none_finds_the_newest(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        first, _ = bus.exchange("Ask", Text("one"))
        second, _ = bus.exchange("Ask", Text("two"))
    engine = reopened(tmp_path)

    assert trace.read(engine, first + 2).session_id == first
    assert trace.read(engine).session_id == second


@pytest.mark.parametrize("unknown", [4711, 0, -1, 2**70])
def test_an_unknown_id_is_refused_in_a_sentence_that_names_the_newest_session(
    tmp_path: Path, unknown: int
) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus:
        bus.request("Echo", Text("hi"))

    with pytest.raises(BadRequest, match=f"no session and no message {unknown}: the newest session is 1;"):
        trace.read(reopened(tmp_path), unknown)


def test_a_store_without_a_session_and_a_file_without_tables_are_named_in_words(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)):
        pass
    other = Home(tmp_path / "other").create()
    other.store_file.touch()

    with pytest.raises(BadRequest, match="no session yet: send a message first"):
        trace.read(reopened(tmp_path))
    with pytest.raises(StoreError, match=r"cannot be read .* `wattbus doctor`"):
        trace.read(open_engine(other, read_only=True))


def test_a_failed_attempt_keeps_its_error_and_its_energy(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus, pytest.raises(RequestFailed):
        bus.request("Echo", Text("boom"))

    seen = trace.read(reopened(tmp_path))

    (step,) = seen.steps
    assert (step.status, step.error) == ("Error", "ValueError: no boom")
    assert step.attempts[0].outcome == "error"
    assert step.energy[0].joules is not None
    assert [line.type for line in seen.events] == ["Error"]


def test_unknown_energy_is_counted_and_its_reason_is_kept(tmp_path: Path) -> None:
    with asking(tmp_path, NullFeed("the meter is off")) as bus:
        bus.request("Ask", Text("hi"))
        wait_until_all_ended(bus)

    seen = trace.read(reopened(tmp_path))

    assert seen.totals.known == ()
    assert seen.totals.in_words() == "3 of 3 attempts unknown"
    assert seen.steps[0].energy[0].joules is None
    assert "the meter is off" in (seen.steps[0].energy[0].reason or "")
    drawn = seen.to_text(80)
    assert "—" in drawn
    assert drawn.count("the meter is off") == 1


def test_the_two_sides_of_a_remote_call_stand_apart(tmp_path: Path) -> None:
    with running(tmp_path, ("Remote", Remote)) as bus:
        bus.request("Remote", Text("7"))

    seen = trace.read(reopened(tmp_path))

    assert {(total.scope, total.tier) for total in seen.totals.known} == {
        ("client", "modelled"),
        ("remote", "estimated-remote"),
    }
    assert re.search(
        r"this side of remote calls .* modelled .*; the remote side .* J estimated-remote",
        seen.totals.in_words(),
    )
    assert re.search(r"↳ remote .* J estimated-remote", seen.to_text(80))


def test_unlike_tiers_are_not_added(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        bus.request("Ask", Text("hi"))
        wait_until_all_ended(bus)
        bus.store.flush()
    with open_engine(Home(tmp_path / "home")).begin() as connection:
        connection.execute(
            update(energy)
            .where(energy.c.item == "Ask")
            .values(tier="measured", energy_joules=1.5, low_joules=None)
        )
        connection.execute(update(energy).where(energy.c.item == "Echo").values(energy_joules=0.25))

    totals = trace.read(reopened(tmp_path)).totals

    assert [(total.tier, total.joules, total.records) for total in totals.known] == [
        ("measured", 1.5, 1),
        ("modelled", 0.5, 2),
    ]
    assert "1.50 J measured + 500 mJ modelled" in totals.in_words()
    assert "unlike tiers, not added" in totals.in_words()


def test_a_first_request_waits_for_the_item_and_the_trace_says_so(tmp_path: Path) -> None:
    Slow.loaded.clear()
    with running(tmp_path, ("Slow", Slow)) as bus:
        waiter = bus.submit_and_watch("Slow", Text("hi"))
        waiting = once_it_starts(bus)
        Slow.loaded.set()
        assert waiter.wait(20)
        bus.store.flush()
        seen = trace.read(bus.store.engine)

    assert waiting.open_messages == 1
    assert waiting.steps[0].waiting_because == "the item is still starting"
    assert "Queued: waits, the item is still starting" in waiting.to_text(80)
    (attempt,) = seen.steps[0].attempts
    assert attempt.wait_seconds is not None
    assert 0 < attempt.load_wait_seconds <= attempt.wait_seconds
    assert "▒ waits while the item starts" in seen.to_text(80)


def test_a_lost_attempt_and_the_one_after_it_stand_in_the_trace(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus:
        bus.request("Echo", Text("hi"))
    with open_engine(Home(tmp_path / "home")).begin() as connection:
        first = connection.execute(attempts.select()).one()._mapping
        lost = {"number": 2, "outcome": "worker lost", "duration_seconds": None, "detail": "it is gone"}
        connection.execute(attempts.insert().values({**first, **lost}))

    seen = trace.read(reopened(tmp_path))

    assert [attempt.number for attempt in seen.steps[0].attempts] == [1, 2]
    drawn = seen.to_text(80)
    assert "✗ worker lost in attempt 2: it is gone" in " ".join(drawn.split())
    assert re.search(r"^ *1\.2 +Echo +.*worker lost", drawn, re.MULTILINE)
    assert seen.totals.attempts_unknown == 1


def test_bodies_are_read_only_when_asked_for(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus:
        bus.request("Echo", Text("my words"))
    engine = reopened(tmp_path)

    without, with_bodies = trace.read(engine), trace.read(engine, body=True)

    assert "my words" not in json.dumps(without.to_dict()) + without.to_text(80) + without._repr_html_()
    assert without.steps[0].body_bytes == len('{"text":"my words"}')
    assert '"text": "my words"' in with_bodies.to_text(80)


def test_a_long_body_is_cut_and_a_body_out_of_line_is_named(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus:
        bus.request("Echo", Text("x" * 900_000))
        long = trace.read(bus.store.engine, body=True)
        bus.request("Echo", Text("x" * 1_100_000))
        longer = trace.read(bus.store.engine, body=True)

    assert len(long.steps[0].body or "") < 5_000
    assert (longer.steps[0].body or "").startswith("(in a file of its own, 1.1 MB")


def test_the_number_of_statements_does_not_grow_with_the_session(tmp_path: Path) -> None:
    with running(tmp_path, ("FanOut", FanOut), ("Echo", Echo)) as bus:
        small, _ = bus.exchange("FanOut", Text("1"))
        large, _ = bus.exchange("FanOut", Text("499"))
        wait_until_all_ended(bus)
    engine = reopened(tmp_path)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    few = trace.read(engine, small)
    for_few = len(statements)
    many = trace.read(engine, large)

    assert len(few.steps) == 4
    assert len(many.steps) == 1_000
    assert len(statements) - for_few == for_few <= 8


def test_the_order_is_that_of_acceptance_even_where_the_clock_went_back(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        bus.request("Ask", Text("hi"))
        wait_until_all_ended(bus)
    with open_engine(Home(tmp_path / "home")).begin() as connection:
        connection.execute(update(messages).where(messages.c.id == 3).values(time_created_us=1_000_000))
        connection.execute(update(attempts).where(attempts.c.message_id == 2).values(started_us=1_000_000))

    seen = trace.read(reopened(tmp_path))

    assert [step.number for step in seen.steps] == [1, 2, 3, 4, 5, 6]
    numbers = re.findall(r"^ *(\d+) .*[├┤]", seen.to_text(80), re.MULTILINE)
    assert numbers == ["1", "2", "3", "4", "5", "6"]
    assert all((attempt.wait_seconds or 0) >= 0 for step in seen.steps for attempt in step.attempts)


# -- drawing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_the_drawing_fits_and_names_every_lane_message_and_figure(tmp_path: Path, width: int) -> None:
    with asking(tmp_path) as bus:
        bus.wait_ready()
        session, _ = bus.exchange("Ask", Text("hi"))
        wait_until_all_ended(bus)

    drawn = trace.read(reopened(tmp_path), session).to_text(width)

    lines = drawn.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith(f"session {session}  ")
    assert "6 messages" in lines[0]
    assert re.search(r"Door\.Python +Ask +Echo", drawn)
    assert re.search(r"^ 2 .*│ +├─+▶│  Text 13 B$", drawn, re.MULTILINE)
    assert re.search(r"^ 3 .*│ +│◀─+┤  Text 14 B for 2$", drawn, re.MULTILINE)
    assert "Info Ask: asked: hi" in drawn
    assert re.search(
        r"^1  Ask +[\d.]+ \S+ +[\d.]+ \S+ +[\d.]+ \S+ +[\d.]+ \S?J modelled +█", drawn, re.MULTILINE
    )


def test_many_lanes_with_long_names_still_fit(tmp_path: Path) -> None:
    names = [f"Python.Some.Long.Operation{number}" for number in range(8)]
    with running(tmp_path, ("FanOut", Caller), *((name, Echo) for name in names)) as bus:
        bus.request("FanOut", Text(" ".join(names)))
        wait_until_all_ended(bus)

    seen = trace.read(reopened(tmp_path))

    assert len(seen.lanes) == 10
    for width in (60, 80, 100, 120, 200):
        drawn = seen.to_text(width)
        assert max(map(cell_len, drawn.splitlines())) <= width
        assert all(name in re.sub(r"\n *", "", drawn) for name in names)


class Caller(BusinessOperation):
    def call(self, request: Text) -> Text:
        for name in request.text.split():
            self.send_request_async(name, Text("hi"))
        return Text("sent")


def test_an_error_is_drawn_in_words_and_in_red(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus, pytest.raises(RequestFailed):
        bus.request("Echo", Text("boom"))
    seen = trace.read(reopened(tmp_path))
    screen = Console(file=StringIO(), width=80, force_terminal=True, color_system="standard")

    screen.print(seen)

    assert "✗ ValueError: no boom" in seen.to_text(80)
    assert "\x1b[" not in seen.to_text(80)
    assert isinstance(screen.file, StringIO)
    assert "\x1b[31m✗ ValueError: no boom" in screen.file.getvalue()


EVIL = "boom\x1b[2J\x9b31m\r\nfake line\u202e\u2028[red]x[/red] :smile: <script>alert(1)</script> \ud800"


def test_no_text_of_a_user_reaches_the_terminal_or_the_page_raw(tmp_path: Path) -> None:
    with running(tmp_path, ("Echo", Echo)) as bus, pytest.raises(RequestFailed):
        bus.request("Echo", Text("boom"))
    read = trace.read(reopened(tmp_path))
    step = replace(
        read.steps[0],
        error=EVIL,
        target=EVIL,
        body_class=f"m.{EVIL}",
        body=EVIL,
        waiting_because=EVIL,
        status="Queued",
    )
    seen = replace(
        read,
        steps=(step,),
        lanes=(read.lanes[0], replace(read.lanes[1], item=EVIL)),
        events=tuple(replace(line, text=EVIL, item=EVIL, type=EVIL) for line in read.events),
    )

    drawn, page = seen.to_text(80), seen._repr_html_()

    assert all(char.isprintable() or char == "\n" for char in drawn)
    assert not any(line.startswith("fake line") for line in drawn.splitlines())
    assert max(map(cell_len, drawn.splitlines())) <= 80
    assert "[red]" in drawn.replace("\n", "")
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.encode()


def test_a_trace_is_json_safe(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        bus.request("Ask", Text("hi"))
        wait_until_all_ended(bus)

    told = trace.read(reopened(tmp_path)).to_dict()

    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["started"].endswith("Z")


def test_a_notebook_gets_one_piece_of_html_without_script(tmp_path: Path) -> None:
    with asking(tmp_path) as bus:
        bus.request("Ask", Text("hi"))
        wait_until_all_ended(bus)

    page = trace.read(reopened(tmp_path))._repr_html_()

    assert page.startswith('<div class="wb-trace">')
    assert page.endswith("</div>")
    assert "Door.Python" in page
    assert "mJ modelled" in page
    assert page.count("<tr>") == page.count("</tr>")
    assert not re.search(r"<script|https?://|onclick|javascript:", page)


def test_a_session_is_read_from_postgresql_too(tmp_path: Path, postgres_url: str) -> None:
    production = Production("Trace.Production")
    ask, echo = production.process("Ask", Ask), production.operation("Echo", Echo)
    production.connect(ask.Out, echo)
    home = Home(tmp_path / "home")
    with RunningProduction(from_production(production), home, feed=FakeFeed(), store_url=postgres_url) as bus:
        session, _ = bus.exchange("Ask", Text("hi"))
        wait_until_all_ended(bus)
        bus.store.flush()
        seen = trace.read(bus.store.engine, session, body=True)

    assert len(seen.steps) == 6
    assert [step.target for step in seen.steps if step.attempts] == ["Ask", "Echo", "Echo"]
    assert '"text": "hi"' in (seen.steps[0].body or "")
