"""The templates: each compiles, its filters are there, and it calls no function that nobody gives it."""

from __future__ import annotations

from pathlib import Path

from doors import open_door
from jinja2 import nodes

from components import echo_production


def test_every_template_compiles_and_calls_only_what_is_there(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        environment = ask.app.state.drawing.environment
    missing = {}
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]
        environment.compile(source, name)
        tree = environment.parse(source)
        macros = {macro.name for macro in tree.find_all(nodes.Macro)}
        macros |= {
            one if isinstance(one, str) else one[1]
            for line in tree.find_all(nodes.FromImport)
            for one in line.names
        }
        called = {call.node.name for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
        missing[name] = called - macros - set(environment.globals) - {"caller", "super"}

    assert {name: functions for name, functions in missing.items() if functions} == {}
