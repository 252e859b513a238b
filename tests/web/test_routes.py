"""Every route says which role it takes, and holds to it: whatever is added stands in this matrix by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from doors import OpenDoor, open_door

from components import echo_production
from wattbus.access import Role
from wattbus.web.app import make_app
from wattbus.web.desk import Desk
from wattbus.web.guard import OPEN_PATHS
from wattbus.web.openapi import RouteFacts, every_route
from wattbus.web.origins import CHANGES
from wattbus.web.serve import access_of, rules_of

#: A session that ends: nobody has to be more than let in.
_ANY_ROLE = {"/logout": Role.VIEWER}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    rules = {"failures": 1_000_000, "burst": 1_000_000}
    with open_door(tmp_path_factory.mktemp("home"), echo_production(), rules=rules, start=False) as door:
        yield door


@pytest.fixture(scope="module")
def routes(ask: OpenDoor) -> list[RouteFacts]:
    home = ask.director.home
    app = make_app(Desk(ask.director, ask.config, access_of(home, ask.config)), rules_of(home, ask.config))
    return list(every_route(app))


def example_of(path: str) -> str:
    """Return a path that a route takes: a number stands for every parameter."""
    return re.sub(r"\{[^}]+\}", "1", path)


def test_every_route_says_its_role_or_is_open(routes: list[RouteFacts]) -> None:
    silent = sorted({route.path for route in routes if route.role is None})

    assert set(silent) <= OPEN_PATHS
    assert len(routes) > 60


def test_what_changes_something_takes_more_than_a_viewer(routes: list[RouteFacts]) -> None:
    lax = [
        (method, route.path)
        for route in routes
        for method in sorted(route.methods & CHANGES)
        if route.role is Role.VIEWER and route.path not in _ANY_ROLE
    ]

    assert lax == []


def test_nobody_gets_in_without_a_token_that_holds(ask: OpenDoor, routes: list[RouteFacts]) -> None:
    access = access_of(ask.director.home, ask.config)
    strangers = {
        "none": "",
        "wrong": "Bearer wbt_" + "x" * 43,
        "expired": f"Bearer {access.create('old', Role.ADMIN, days=1e-9)}",
    }
    let_in = []
    for route in routes:
        for method in sorted(route.methods | {"HEAD", "OPTIONS"}):
            if route.path in OPEN_PATHS:
                continue
            for name, shown in strangers.items():
                headers = {"authorization": shown} if shown else {}
                answer = replace(ask, token=None)(method, example_of(route.path), **headers)
                if answer.status != 401:
                    let_in.append((method, route.path, name, answer.status))

    assert let_in == []


def test_a_role_that_is_not_enough_is_turned_away_before_anything_is_read(
    ask: OpenDoor, routes: list[RouteFacts]
) -> None:
    doors = {role: ask.as_role(role) for role in (Role.VIEWER, Role.OPERATOR)}
    let_in = []
    for route in routes:
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            for role, door in doors.items():
                if route.role is None or role.allows(route.role):
                    continue
                answer = door(method, example_of(route.path), {})
                if answer.status != 403:
                    let_in.append((method, route.path, str(role), answer.status))

    assert let_in == []


def test_a_path_that_is_not_there_is_not_told_to_a_stranger(ask: OpenDoor, tmp_path: Path) -> None:
    stranger = replace(ask, token=None)

    assert [stranger("GET", path).status for path in ("/nothing", "/api/v1/nothing", "/static/x.js")] == [
        401
    ] * 3
    assert [ask("GET", path).status for path in ("/nothing", "/api/v1/nothing", "/static/x.js")] == [404] * 3
