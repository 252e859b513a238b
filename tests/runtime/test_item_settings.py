"""Settings that change while an item runs: the functions behind the portal and the command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from iop import BusinessProcess

from components import Echo, Text, echo_production
from waiting import wait_for
from wattbus import testing
from wattbus.energy.feed import NullFeed
from wattbus.errors import BadRequest, UnknownName
from wattbus.runtime import item_settings
from wattbus.runtime.calls import Calls
from wattbus.runtime.director import Director
from wattbus.runtime.routes import connections
from wattbus.runtime.running import RunningProduction
from wattbus.store import recent
from wattbus.web.production_map import Box, Line, draw


@contextlib.contextmanager
def _directing(production: RunningProduction) -> Iterator[Director]:
    director = Director.of(production)
    try:
        yield director
    finally:
        director.ended()


class Sender(BusinessProcess):
    def on_message(self, request: Text) -> Text:
        return self.send_request_sync("Echo", request)


def test_only_the_item_that_was_changed_begins_anew(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        assert bus.wait_ready(20)
        relay, echo = (bus.production.life.pools[name] for name in ("Relay", "Echo"))
        changed = item_settings.change(bus.production, "Echo", {"factor": 2}, "ada")
        answer = bus.request("Echo", Text("x"))
        pools = bus.production.life.pools

        assert changed.settings == ("factor",)
        assert answer.text == "xx"
        assert pools["Relay"] is relay
        assert pools["Echo"] is not echo


def test_a_pool_size_alone_disturbs_nobody(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        before = bus.production.life.pools["Echo"]
        item_settings.change(bus.production, "Echo", {"PoolSize": 3}, "ada")

        assert bus.production.life.pools["Echo"] is before
        assert before.size == 3


def test_a_change_counts_at_the_next_start_too(tmp_path: Path) -> None:
    with testing.production(echo_production(prefix="a"), tmp_path) as bus:
        item_settings.change(bus.production, "Echo", {"prefix": "b"}, "ada")

    with testing.production(echo_production(prefix="a"), tmp_path) as bus:
        assert bus.request("Echo", Text("x")).text == "bx"
        item_settings.change(bus.production, "Echo", {"prefix": None}, "ada")
        assert bus.request("Echo", Text("x")).text == "ax"
        assert [row.can_undo for row in item_settings.history(bus.production, "Echo")] == [True, False]


def test_every_way_to_change_a_setting_is_in_the_history(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.production.set_pool_size("Echo", 2, "bob")
        bus.production.enable("Echo", False)
        item_settings.change(bus.production, "Echo", {"Enabled": True}, "ada")
        bus.production.set_pool_size("Echo", 4, "bob")
        item_settings.reset(bus.production, "Echo", "eve")
        rows = item_settings.history(bus.production, "Echo")

    told = [(row.setting, row.before, row.after, row.changed_by) for row in rows[::-1]]
    assert told == [
        ("PoolSize", None, "2", "bob"),
        ("Enabled", None, "false", ""),
        ("Enabled", "false", None, "ada"),
        ("PoolSize", "2", "4", "bob"),
        ("PoolSize", "4", None, "eve"),
    ]


def test_a_pool_size_that_was_set_needs_no_update(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.production.set_pool_size("Echo", 2)
        with _directing(bus.production) as director:
            status = director.status_production()

    assert status["NeedsUpdate"] is False


def test_the_command_changes_settings_and_shows_the_history(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus, _directing(bus.production) as director:
        calls = Calls(director, url=None, supervisor=None, end=lambda: 0.0)
        done = calls.life({"action": "set", "item": "Echo", "settings": {"prefix": "b", "factor": "2"}})
        told = calls.life({"action": "history", "item": "Echo"})
        with pytest.raises(UnknownName, match="did you mean 'factor'"):
            calls.life({"action": "set", "item": "Echo", "settings": {"facter": "2"}})

    assert done["sentence"].startswith("Echo: factor, prefix changed")
    assert {(row["setting"], row["changed_by"]) for row in told["changes"]} == {
        ("factor", "CLI"),
        ("prefix", "CLI"),
    }


def test_a_removed_item_keeps_its_queue_until_it_is_back(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        name = next(name for name in item_settings.known_classes(bus.production) if name.endswith("Echo"))
        item_settings.add_item(bus.production, "Mine", name, "ada")
        sent = bus.submit("Mine", Text("x"))
        item_settings.remove_item(bus.production, "Mine", "ada")
        with pytest.raises(BadRequest, match="unknown item 'Mine'"):
            item_settings.remove_item(bus.production, "Mine", "ada")
        item_settings.add_item(bus.production, "Mine", name, "ada", enabled=True)
        wait_for(bus, lambda rows: any(row.id == sent and row.status == "Completed" for row in rows))


def test_connections_follow_the_settings_and_the_source(tmp_path: Path) -> None:
    production = echo_production()
    production.operation("Other", Echo)
    production.process("Sender", Sender)
    with testing.production(production, tmp_path) as bus:
        before = {(route.source, route.target) for route in connections(bus.production.production)}
        item_settings.change(bus.production, "Relay", {"Output": "Other"}, "ada")
        after = {(route.source, route.target) for route in connections(bus.production.production)}

    assert before == {("Relay", "Echo"), ("Sender", "Echo")}
    assert after == {("Relay", "Other"), ("Sender", "Echo")}


def test_what_happened_lately_is_the_same_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    from wattbus.config import read_config
    from wattbus.door import running
    from wattbus.runtime.reading import from_production

    config = read_config(home=tmp_path, store_url=postgres_url)
    with running(from_production(echo_production()), config, NullFeed("a test")) as production:
        production.request("Echo", Text("x"))
        item_settings.change(production, "Echo", {"prefix": "b"}, "ada")
        (change,) = item_settings.history(production, "Echo")
        item_settings.undo(production, "Echo", change.id, "ada")
        production.store.flush()
        engine, items = production.store.engine, ["Echo", "Relay"]

        assert recent.ran(engine, 0).messages == 2
        assert recent.depths(engine, items) == {}
        assert recent.dead(engine, items) == []
        assert len(recent.messages_of(engine, "Echo")) == 2
        assert recent.queue_of(engine, "Echo") == recent.in_hand_of(engine, "Echo") == []
        assert recent.errors(engine) == recent.audit(engine) == recent.buckets(engine, 0) == []
        assert recent.events_of(engine, "Echo")
        assert recent.jobs_of(engine, "Echo")
        assert [group.item for group in recent.energy_of(engine, "Echo")] == ["Echo"]


def test_a_map_has_a_box_for_each_item_and_a_line_for_each_connection_of_them() -> None:
    boxes = [
        Box(f"<{kind}>", kind, "a.B", "Running", "good", "✓", "pool 1", f"/items/{kind}")
        for kind in ("service", "process", "operation", "")
    ]
    lines = [
        Line("<service>", "<process>", "Output"), Line("<operation>", "<service>"), Line("<process>", "<process>"),
        Line("<service>", "gone"),
    ]  # fmt: skip

    drawn = str(draw(boxes, lines))

    assert drawn.count('class="box good"') == 4
    assert drawn.count('class="line"') == 3
    assert "style=" not in drawn and "<service>" not in drawn and "&lt;service&gt;" in drawn
    assert "Need IRIS" in drawn


def test_a_map_of_nothing_is_three_empty_columns() -> None:
    assert str(draw([], [])).count(">none</text>") == 3
