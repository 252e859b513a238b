"""What each role may do: said at every route, and held here.

A route without :func:`needs` is a bug that a test finds. A change by a browser's session must carry the session's CSRF
value, as the header ``X-CSRF-Token`` or the form field ``csrf``.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import Depends, Request

from wattbus.access import Role
from wattbus.errors import Refused
from wattbus.web.guard import FORMS, Who
from wattbus.web.origins import CHANGES


class Forbidden(Refused):
    """The role of who asks is not enough."""


class Needs:
    """A dependency: lets in who has at least this role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Who:
        who: Who = request.state.who
        if not who.role.allows(self.role):
            raise Forbidden(
                f"{who.name!r} is {who.role}, and this takes {self.role}: ask for a token with that role."
            )
        if request.method in CHANGES and who.csrf is not None:
            given = request.headers.get("x-csrf-token", "")
            if not given and request.headers.get("content-type", "").lower().startswith(FORMS):
                given = str((await request.form()).get("csrf", ""))
            if not hmac.compare_digest(given.encode(errors="replace"), who.csrf.encode()):
                raise Forbidden("the page is out of date: load it again, then repeat what you did.")
        return who


def needs(role: Role) -> Any:
    """Return the dependency of a route that takes this role; for ``dependencies=[...]``."""
    return Depends(Needs(role))


def who_asks(request: Request) -> Who:
    """Return who asks, once they have been let in."""
    who: Who = request.state.who
    return who


#: A parameter of a route: who asks.
Asking = Annotated[Who, Depends(who_asks)]
