"""The shapes of errors: problem+json, and what the clients of other APIs look for at the paths that they call."""

from __future__ import annotations

from http import HTTPStatus

#: The clients of these look for a field "error".
_OLDER = ("/api/iop", "/api/wattbus", "/api/atelier")
PROBLEM = "application/problem+json"
_KINDS = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def problem(status: int, sentence: str, path: str, **more: object) -> dict[str, object]:
    """Return an error in the form of RFC 9457; fields that are None are left out."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": sentence,
        "instance": path,
        **{name: value for name, value in more.items() if value is not None},
    }


def error_body(path: str, status: int, sentence: str, **more: object) -> tuple[dict[str, object], str]:
    """Return an error as the client of a path expects it, and the media type."""
    if path.startswith(_OLDER):
        return {"error": sentence}, "application/json"
    if path.startswith("/v1/") or path.endswith("/v1/chat/completions"):
        kind = _KINDS.get(HTTPStatus(status), "invalid_request_error" if status < 500 else "server_error")
        code = "model_not_found" if status == HTTPStatus.NOT_FOUND else None
        told = {"message": sentence, "type": kind, "param": None, "code": code}
        return {"error": told, **{name: value for name, value in more.items() if value is not None}}, (
            "application/json"
        )
    if path.startswith("/models/"):
        # huggingface_hub reads "error" out of whatever JSON comes.
        return {**problem(status, sentence, path, **more), "error": sentence}, PROBLEM
    return problem(status, sentence, path, **more), PROBLEM


def is_for_programs(path: str) -> bool:
    """Tell whether a path is called by programs only, so that no error there is a page."""
    return path.startswith(("/api/", "/v1/"))
