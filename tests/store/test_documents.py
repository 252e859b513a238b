"""Documents: versions that stay, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from wattbus.errors import BadRequest, UnknownName
from wattbus.home import Home
from wattbus.store.documents import (
    LARGEST_BYTES,
    document,
    document_versions,
    forget_document,
    list_documents,
    save_document,
)
from wattbus.store.item_settings import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def test_each_save_is_a_version_and_the_old_ones_stay(engine: Engine) -> None:
    save_document(engine, "profile", "ours", {"weight": 1}, "ann")
    second = save_document(engine, "profile", "ours", {"weight": 2}, "ben")

    assert (second.version, document(engine, "profile", "ours")) == (2, second)
    assert document(engine, "profile", "ours", 1).content == {"weight": 1}
    assert [one.made_by for one in document_versions(engine, "profile", "ours")] == ["ben", "ann"]


def test_saving_what_is_there_already_makes_no_version(engine: Engine) -> None:
    first = save_document(engine, "profile", "ours", {"a": 1.5, "b": [1, None]})

    assert save_document(engine, "profile", "ours", {"b": [1, None], "a": 1.5}, "ben") == first


def test_kinds_do_not_meet_and_a_list_shows_the_newest_of_each(engine: Engine) -> None:
    save_document(engine, "profile", "ours", {"weight": 1})
    save_document(engine, "profile", "theirs", {"weight": 3})
    save_document(engine, "profile", "ours", {"weight": 2})
    save_document(engine, "analysis", "ours", {"cost": 4})

    listed = list_documents(engine, "profile")

    assert [(one.name, one.version, one.content) for one in listed] == [
        ("ours", 2, {"weight": 2}),
        ("theirs", 1, {"weight": 3}),
    ]
    assert forget_document(engine, "profile", "ours") == 2
    assert document(engine, "analysis", "ours").content == {"cost": 4}


def test_an_unknown_name_or_version_is_told_with_the_nearest(engine: Engine) -> None:
    save_document(engine, "profile", "ours", {})

    with pytest.raises(UnknownName, match="did you mean 'ours'"):
        document(engine, "profile", "our")
    with pytest.raises(UnknownName, match="version of the profile 'ours'"):
        document(engine, "profile", "ours", 2)
    with pytest.raises(UnknownName, match="profile"):
        forget_document(engine, "profile", "our")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\nb"])
def test_a_name_that_cannot_be_shown_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be used"):
        save_document(engine, "profile", name, {})


def test_a_document_that_is_too_large_is_refused(engine: Engine) -> None:
    with pytest.raises(BadRequest, match="make it smaller"):
        save_document(engine, "profile", "ours", {"text": "x" * LARGEST_BYTES})
