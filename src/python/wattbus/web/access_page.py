"""Access: the tokens and their roles, who has been here, and the audit."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from wattbus.access import Role, Token
from wattbus.store import recent
from wattbus.store.queries import EventLine
from wattbus.web.audit import AuditBook, Visitor
from wattbus.web.desk import Desk
from wattbus.web.twin import Twins

_ROLES = {
    Role.VIEWER: "looks",
    Role.OPERATOR: "looks, sends, tests, starts and stops",
    Role.ADMIN: "does everything: settings, models, tokens, purge",
}


class NewToken(BaseModel):
    """A token to make."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "dashboard", "role": "viewer", "days": 90}}
    )

    name: str = Field(description="who or what it is for")
    role: Role = Role.VIEWER
    days: float | None = Field(default=None, description="how long it is valid; by default without end")


@dataclass(frozen=True)
class TokenRow:
    """A token as it is listed; nobody can see the token itself again."""

    id: str
    name: str
    role: str
    created_us: int
    expires_us: int | None
    expired: bool


@dataclass(frozen=True)
class MadeToken:
    """A token that was made: this answer is the only place where it stands."""

    token: str
    name: str
    role: str


@dataclass(frozen=True)
class AccessView:
    """What the page shows."""

    tokens: list[TokenRow]
    from_environment: bool
    insecure_local: bool
    visitors: list[Visitor]
    audit: list[EventLine]
    roles: dict[str, str]


def add(twins: Twins, desk: Desk, book: AuditBook) -> None:
    """Open the page."""

    def access() -> AccessView:
        """List the tokens, who has been here, and what was changed through this door."""
        running = desk.running
        if running is not None:
            running.store.flush()
        with desk.reading() as engine:
            lines = [] if engine is None else recent.audit(engine)
        return AccessView(
            [_row(token) for token in desk.access.tokens()],
            desk.config.token is not None,
            desk.config.insecure_local,
            book.visitors(),
            lines,
            {str(role): text for role, text in _ROLES.items()},
        )

    def create(body: NewToken) -> MadeToken:
        """Make a token and show it, this once."""
        return MadeToken(
            desk.access.create(body.name, body.role, body.days), body.name.strip(), str(body.role)
        )

    def revoke(id: str) -> TokenRow:
        """Revoke a token; whoever has signed in with it is out."""
        return _row(desk.access.revoke(id))

    twins.view("/access", "access.html", access, role=Role.ADMIN, tag="access")
    twins.action("/access/tokens", create, role=Role.ADMIN, tag="access", shows="token_made.html")
    twins.action(
        "/access/tokens/{id}/revoke",
        revoke,
        role=Role.ADMIN,
        tag="access",
        said=lambda row: f"The token {row.name} is revoked: nobody comes in with it any more.",
    )


def _row(token: Token) -> TokenRow:
    return TokenRow(
        token.id,
        token.name,
        str(token.role),
        int(token.created_s * 1e6),
        None if token.expires_s is None else int(token.expires_s * 1e6),
        token.expired,
    )
