"""Saved searches: filters of messages under names that people gave them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, insert, select

from wattbus.clock import SYSTEM
from wattbus.errors import BadRequest, UnknownName
from wattbus.store.database import transaction
from wattbus.store.filters import parse_filter
from wattbus.store.tables import saved_searches

LONGEST_NAME = 80
MOST_SEARCHES = 200


@dataclass(frozen=True)
class SavedSearch:
    """A filter with its name."""

    name: str
    filter: str
    saved_by: str
    saved_us: int


def list_searches(engine: Engine) -> list[SavedSearch]:
    """Return all saved searches by name."""
    query = select(saved_searches).order_by(saved_searches.c.name).limit(MOST_SEARCHES)
    with engine.connect() as connection:
        return [SavedSearch(*row) for row in connection.execute(query)]


def save_search(engine: Engine, name: str, text: str, by: str) -> SavedSearch:
    """Keep a filter under a name, in the place of one that had it; a filter that cannot be read is refused."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRequest(
            f"the name {name!r} cannot be used: give 1 to {LONGEST_NAME} letters, digits or signs."
        )
    parse_filter(text)
    saved = SavedSearch(name, text, by, SYSTEM.now_us())
    with transaction(engine) as connection:
        connection.execute(delete(saved_searches).where(saved_searches.c.name == name))
        if connection.execute(select(func.count()).select_from(saved_searches)).scalar_one() >= MOST_SEARCHES:
            raise BadRequest(
                f"there are {MOST_SEARCHES} saved searches already: delete one, then save this one."
            )
        connection.execute(
            insert(saved_searches).values(name=name, filter=text, saved_by=by, saved_us=saved.saved_us)
        )
    return saved


def delete_search(engine: Engine, name: str) -> SavedSearch:
    """Forget a saved search, and return what it was."""
    one = saved_searches.c.name == name
    with transaction(engine) as connection:
        row = connection.execute(select(saved_searches).where(one)).first()
        connection.execute(delete(saved_searches).where(one))
    if row is None:
        raise UnknownName("saved search", name, [saved.name for saved in list_searches(engine)])
    return SavedSearch(*row)
