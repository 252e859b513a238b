"""Signing in: a browser shows its token once and gets a signed session."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from wattbus.access import SESSION_SECONDS, Access, Role
from wattbus.web.guard import COOKIE, Bucket, Who
from wattbus.web.roles import needs
from wattbus.web.twin import Twins, local_path


@dataclass(frozen=True)
class SignIn:
    """The page: where it leads, and why it is shown again."""

    next: str = "/"
    wrong: str = ""


def router(twins: Twins, access: Access) -> APIRouter:
    """Return the routes of signing in and out."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/login")
    async def page(request: Request, next: str = "/") -> Response:
        return twins.draw(request, "login.html", SignIn(local_path(next)))

    @pages.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await request.form()
        there = local_path(str(form.get("next", "/")))
        failed: Bucket = request.state.failed
        client = request.client.host if request.client else ""
        if failed.left(client) < 1:
            wrong = "Too many wrong tokens from this address: wait a minute."
            return twins.draw(request, "login.html", SignIn(there, wrong), 429)
        token = access.holder(str(form.get("token", "")).strip())
        if token is None:
            failed.take(client)
            wrong = "That is no token of this door, or it has expired."
            return twins.draw(request, "login.html", SignIn(there, wrong), 401)
        request.state.who = Who(token.name, token.role, token.id)
        answer = RedirectResponse(there, 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE,
            access.sign_in(token),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=secure,
        )
        return answer

    @pages.post("/logout", dependencies=[needs(Role.VIEWER)])
    async def sign_out() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    return pages
