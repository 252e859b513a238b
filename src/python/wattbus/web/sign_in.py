"""Signing in: a browser shows its token once and gets a signed session."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from wattbus.access import SESSION_SECONDS, Access, Role
from wattbus.web.buckets import Failures
from wattbus.web.guard import COOKIE, Who
from wattbus.web.origins import network_of
from wattbus.web.roles import Asking, needs
from wattbus.web.twin import Twins, local_path

_FORM = "application/x-www-form-urlencoded"


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
        # No files from a stranger: they would be written aside before anybody knows who sends them.
        if not request.headers.get("content-type", "").lower().startswith(_FORM):
            raise HTTPException(415, f"send the token as the field `token` of a form ({_FORM}).")
        form = await request.form()
        there = local_path(str(form.get("next", "/")))
        failures: Failures = request.state.failures
        client = network_of(request.client.host if request.client else "")
        token = access.holder(str(form.get("token", "")).strip())
        if token is None and failures.wrong(client):
            wrong = "That is no token of this door, or it has expired."
            return twins.draw(request, "login.html", SignIn(there, wrong), 401)
        if token is None or not failures.right(client, token.id):
            wrong = "Too many wrong tokens from this address: wait a minute."
            return twins.draw(request, "login.html", SignIn(there, wrong), 429)
        request.state.who = Who(token.name, token.role, token.id)
        answer = RedirectResponse(there, 303)
        answer.set_cookie(
            COOKIE,
            access.sign_in(token),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            # Behind a proxy that speaks TLS only the browser knows that it does; this is its own word.
            secure=request.headers.get("origin", "").startswith("https://"),
        )
        return answer

    @pages.post("/logout", dependencies=[needs(Role.VIEWER)])
    async def sign_out(who: Asking) -> Response:
        if who.session is not None:
            await run_in_threadpool(access.sign_out, who.session)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    return pages
