"""The list of a small model hub on loopback, in pages as the real client follows them; it can refuse, cut and lie."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


class FakeHubList:
    """Serves ``GET /api/models``; each of ``faults`` answers one request: status, headers, body."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.next_host = ""  # where the list is said to go on, in place of here
        self.endpoint = ""

    def add(self, name: str, emissions: Any = None, **facts: Any) -> None:
        """List a model whose card declares ``emissions``."""
        card = {} if emissions is None else {"co2_eq_emissions": emissions}
        card |= facts.pop("card", {})
        tags = ["co2_eq_emissions"] if emissions is not None else []
        self.models.append(
            {
                "id": name,
                "modelId": name,
                "private": False,
                "tags": [*tags, *facts.pop("tags", [])],
                "cardData": card,
            }
            | facts
        )

    def answer(self, query: dict[str, list[str]]) -> tuple[list[dict[str, Any]], int | None]:
        """Return the rows of a page, and where the next begins."""
        found = [one for one in self.models if _matches(one, query)]
        begin = int(query.get("cursor", ["0"])[0])
        size = int(query.get("limit", ["1000"])[0])
        end = begin + size
        wanted = {*query.get("expand", []), "id", "modelId", "private"}
        rows = [
            {name: value for name, value in one.items() if name in wanted or "expand" not in query}
            for one in found[begin:end]
        ]
        return rows, end if end < len(found) else None


def _matches(model: dict[str, Any], query: dict[str, list[str]]) -> bool:
    return (
        all(tag in model["tags"] for tag in query.get("filter", []))
        and all(model["id"].startswith(f"{author}/") for author in query.get("author", []))
        and all(word in model["id"] for word in query.get("search", []))
        and all(model.get("pipeline_tag") == task for task in query.get("pipeline_tag", []))
    )


@contextmanager
def fake_hub_list() -> Iterator[FakeHubList]:
    """Open the door of a hub that lists models."""
    hub = FakeHubList()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Keep test output clean."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            hub.asked.append(query)
            hub.headers.append({name.lower(): value for name, value in self.headers.items()})
            if hub.faults:
                self._send(*hub.faults.pop(0))
                return
            if parts.path != "/api/models":
                self._send(404, {}, b'{"error": "not here"}')
                return
            rows, following = hub.answer(query)
            headers = {"content-type": "application/json"}
            if following is not None:
                again = urlencode({**query, "cursor": [str(following)]}, doseq=True)
                headers["link"] = f'<{hub.next_host or hub.endpoint}/api/models?{again}>; rel="next"'
            self._send(200, headers, json.dumps(rows).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if int(headers.get("content-length", len(body))) != len(body):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
