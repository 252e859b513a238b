"""A small model hub on loopback that the real huggingface_hub client talks to; it can stall, cut, lie and count.

>>> with FakeHub() as hub:                                    # doctest: +SKIP
...     hub.add("org/tiny", folder)
...     Hub(endpoint=hub.endpoint).plan("org/tiny")
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".h5", ".msgpack", ".model")
CHUNK_BYTES = 8192


@dataclass(frozen=True)
class HubRequest:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What goes wrong, for paths that contain ``match``, ``times`` times (None: for ever)."""

    kind: str  # stall, cut, lie, html, status, slow, redirect, short, long
    match: str
    times: int | None = None
    after_bytes: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    bytes_per_second: int = 0


@dataclass(frozen=True)
class HubFile:
    """A file of a repository with the words that the Hub's API says of it."""

    path: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def is_lfs(self) -> bool:
        return self.path.endswith(LFS_SUFFIXES)

    def sibling(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"rfilename": self.path, "size": len(self.data), "blobId": self.git_oid}
        if self.is_lfs:
            answer["lfs"] = {"sha256": self.sha256, "size": len(self.data), "pointerSize": 134}
        return answer


@dataclass(frozen=True)
class HubPull:
    """A pull request that somebody opened on a data set."""

    number: int
    account: str
    title: str
    description: str
    files: dict[str, bytes]


@dataclass
class HubDataset:
    """A data set that takes pull requests: what it holds, and what was opened."""

    files: dict[str, bytes] = field(default_factory=dict)
    pulls: list[HubPull] = field(default_factory=list)


@dataclass(frozen=True)
class HubRepo:
    """One commit of one repository."""

    repo_id: str
    files: dict[str, HubFile]
    card: dict[str, Any]

    @property
    def sha(self) -> str:
        lines = "".join(f"{path} {file.git_oid}\n" for path, file in sorted(self.files.items()))
        return hashlib.sha1(f"{self.repo_id}\n{lines}".encode()).hexdigest()


Inference = Callable[[HubRequest], tuple[int, dict[str, str], bytes]]
Answer = tuple[int, Any, dict[str, str]]  # status, body (bytes, or what becomes JSON), headers


class FakeHub:
    """Serve folders as model repositories, and ``POST /hf-inference/models/<repo>`` by a function given."""

    def __init__(self) -> None:
        self.requests: list[HubRequest] = []
        self.served: dict[str, int] = {}  # body bytes of files that left, by path in the repository
        self.stalled = threading.Event()  # set when a response stands still: kill the client now
        self.answers: dict[str, Answer | list[Answer]] = {}  # of inference, by repository; a list is used up
        self.files: dict[
            str, tuple[str, bytes]
        ] = {}  # content type and bytes, by path such as "/picture.jpg"
        self.ignores_ranges = False
        self.datasets: dict[str, HubDataset] = {}
        self.accounts: dict[str, str] = {}  # the name of each account, by its token
        self._repos: dict[str, list[HubRepo]] = {}
        self._inference: dict[str, Inference] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def address(self) -> str:
        """``127.0.0.1:port``, as an allow-list of the transport wants it."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}"

    @property
    def bytes_served(self) -> int:
        """Body bytes of repository files that left the server."""
        with self._lock:
            return sum(self.served.values())

    def add(self, repo_id: str, folder: Path, licence: str | None = "apache-2.0") -> str:
        """Serve the files of ``folder`` as the newest commit of ``repo_id``; return the commit."""
        files = {
            path.relative_to(folder).as_posix(): HubFile(
                path.relative_to(folder).as_posix(), path.read_bytes()
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        repo = HubRepo(repo_id, files, {"license": licence} if licence else {})
        with self._lock:
            self._repos.setdefault(repo_id, []).append(repo)
        return repo.sha

    def forget(self, repo_id: str) -> None:
        """Have no commit of ``repo_id`` any more."""
        with self._lock:
            self._repos.pop(repo_id, None)

    def serve_inference(self, repo_id: str, answer: Inference) -> None:
        """Answer ``POST /hf-inference/models/<repo_id>`` (and ``/models/<repo_id>``) by ``answer``."""
        self._inference[repo_id] = answer

    def stall_after(self, after_bytes: int, match: str = ".safetensors", times: int | None = None) -> None:
        self._faults.append(Fault("stall", match, times, after_bytes=after_bytes))

    def cut_after(self, after_bytes: int, match: str = ".safetensors", times: int | None = None) -> None:
        self._faults.append(Fault("cut", match, times, after_bytes=after_bytes))

    def lie(self, match: str = ".safetensors", times: int | None = None) -> None:
        """Send other bytes of the right size."""
        self._faults.append(Fault("lie", match, times))

    def another_length(self, kind: str, match: str = ".safetensors", times: int | None = None) -> None:
        """Send a byte less (``short``) or more (``long``) than is listed, and announce as much."""
        self._faults.append(Fault(kind, match, times))

    def html(self, match: str = "/resolve/", times: int | None = None) -> None:
        """Answer 200 with a web page, as a captive portal does."""
        self._faults.append(Fault("html", match, times))

    def too_many_requests(self, retry_after: int | str = 1, match: str = "", times: int | None = 1) -> None:
        self._faults.append(
            Fault("status", match, times, status=429, headers={"Retry-After": str(retry_after)})
        )

    def unavailable(self, match: str = "", times: int | None = 1) -> None:
        self._faults.append(Fault("status", match, times, status=503))

    def refuse(self, status: int, match: str, times: int | None = None) -> None:
        """Answer ``status``, as for a token that may not do it."""
        self._faults.append(Fault("status", match, times, status=status))

    def hang(self, match: str, times: int | None = None) -> None:
        """Take the request and answer nothing."""
        self._faults.append(Fault("hang", match, times))

    def slow(self, bytes_per_second: int, match: str = ".safetensors", times: int | None = None) -> None:
        self._faults.append(Fault("slow", match, times, bytes_per_second=bytes_per_second))

    def redirect(self, location: str, match: str = ".safetensors", times: int | None = None) -> None:
        self._faults.append(Fault("redirect", match, times, headers={"Location": location}))

    def heal(self) -> None:
        """Take every fault back."""
        with self._lock:
            self._faults.clear()
        self.stalled.clear()

    def find(self, repo_id: str, revision: str) -> HubRepo | None:
        commits = self._repos.get(repo_id, [])
        if revision in ("main", "HEAD"):
            return commits[-1] if commits else None
        return next((repo for repo in commits if repo.sha == revision), None)

    def inference_for(self, repo_id: str) -> Inference | None:
        if repo_id in self.answers:
            return lambda request: self._set_answer(repo_id)
        return self._inference.get(repo_id)

    def _set_answer(self, repo_id: str) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            kept = self.answers[repo_id]
            status, body, headers = (
                (kept.pop(0) if len(kept) > 1 else kept[0]) if isinstance(kept, list) else kept
            )
        return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        with self._lock:
            for fault in self._faults:
                if method == "HEAD" or fault.match not in path or fault.times == 0:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def note(self, request: HubRequest) -> None:
        with self._lock:
            self.requests.append(request)

    def count(self, path: str, sent_bytes: int) -> None:
        with self._lock:
            self.served[path] = self.served.get(path, 0) + sent_bytes

    def stand_still(self) -> None:
        self.stalled.set()
        self._closing.wait()

    def pause(self, seconds: float) -> bool:
        """Wait; return whether the server is closing."""
        return self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    hub: FakeHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: they are killed on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep test output clean."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def _answer(self) -> None:
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = HubRequest(self.command, self.path, headers, body)
        hub.note(request)
        fault = hub.take_fault(self.command, self.path)
        if fault is not None and fault.kind in ("status", "redirect"):
            status = 302 if fault.kind == "redirect" else fault.status
            self._send(status, b'{"error": "as the test asked"}', fault.headers)
        elif fault is not None and fault.kind == "html":
            self._send(200, b"<html><body>Please log in to the guest network</body></html>", kind="text/html")
        elif fault is not None and fault.kind == "hang":
            hub.stand_still()
            self.close_connection = True
        elif urlsplit(self.path).path.startswith(("/api/whoami-v2", "/api/datasets/")):
            self._publish(request)
        elif self.command == "POST":
            self._infer(request)
        else:
            self._route(unquote(urlsplit(self.path).path).strip("/"), fault)

    def _publish(self, request: HubRequest) -> None:
        """Answer what a client asks that opens a pull request on a data set."""
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        account = hub.accounts.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if account is None:
            self._send(401, b'{"error": "Invalid credentials in Authorization header"}')
            return
        if path == "/api/whoami-v2":
            self._send(200, json.dumps({"type": "user", "name": account}).encode())
            return
        name, verb = path.removeprefix("/api/datasets/").removesuffix("/main").rsplit("/", 1)
        dataset = hub.datasets.get(name)
        if dataset is None:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif verb == "preupload":
            asked = json.loads(request.body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            self._send(200, json.dumps({"files": modes}).encode())
        elif verb == "paths-info":
            paths = parse_qs(request.body.decode()).get("paths", [])
            there = [
                {"type": "file", "path": one, "size": len(dataset.files[one]), "oid": "0" * 40}
                for one in paths
                if one in dataset.files
            ]
            self._send(200, json.dumps(there).encode())
        else:
            self._commit(name, dataset, account, request)

    def _commit(self, name: str, dataset: HubDataset, account: str, request: HubRequest) -> None:
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        number = len(dataset.pulls) + 1
        dataset.pulls.append(HubPull(number, account, header["summary"], header["description"], files))
        page = f"{self.server.hub.endpoint}/datasets/{name}"
        answer = {
            "commitUrl": f"{page}/commit/{number:040x}",
            "commitOid": f"{number:040x}",
            "pullRequestUrl": f"{page}/discussions/{number}",
        }
        self._send(200, json.dumps(answer).encode())

    def _infer(self, request: HubRequest) -> None:
        repo_id = urlsplit(self.path).path.partition("/models/")[2]
        answer = self.server.hub.inference_for(repo_id)
        if answer is None:
            self._send(404, b'{"error": "Model not found"}')
            return
        status, headers, body = answer(request)
        self._send(status, body, headers)

    def _route(self, path: str, fault: Fault | None) -> None:
        if f"/{path}" in self.server.hub.files:
            kind, data = self.server.hub.files[f"/{path}"]
            self._send(200, data, kind=kind)
            return
        if path.startswith("api/models/"):
            self._describe(path.removeprefix("api/models/"))
            return
        repo_id, separator, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        repo = self.server.hub.find(repo_id, revision) if separator else None
        if repo is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif name not in repo.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._file(repo, repo.files[name], fault)

    def _describe(self, path: str) -> None:
        repo_id, tree, tree_revision = path.partition("/tree/")
        repo_id, _, revision = repo_id.partition("/revision/")
        revision = tree_revision.split("/")[0] or revision or "main"
        known = self.server.hub.find(repo_id, "main")
        repo = self.server.hub.find(repo_id, revision)
        if repo is None:
            code = "RevisionNotFound" if known else "RepoNotFound"
            self._send(404, json.dumps({"error": code}).encode(), {"X-Error-Code": code})
            return
        if tree:
            rows = [
                {"type": "file", "path": file.path, "size": len(file.data), "oid": file.git_oid}
                for file in repo.files.values()
            ]
            self._send(200, json.dumps(rows).encode())
            return
        answer = {
            "id": repo_id,
            "modelId": repo_id,
            "sha": repo.sha,
            "private": False,
            "tags": [],
            "cardData": repo.card,
            "siblings": [file.sibling() for file in repo.files.values()],
        }
        self._send(200, json.dumps(answer).encode())

    def _file(self, repo: HubRepo, file: HubFile, fault: Fault | None) -> None:
        data = file.data
        if fault is not None and fault.kind == "lie":
            data = bytes(byte ^ 0x5A for byte in data)
        if fault is not None and fault.kind in ("short", "long"):
            data = data[:-1] if fault.kind == "short" else data + b"x"
        start = self._range_start(len(data))
        status = 206 if start is not None else 200
        headers = {
            "X-Repo-Commit": repo.sha,
            "ETag": f'"{file.sha256 if file.is_lfs else file.git_oid}"',
            "Accept-Ranges": "bytes",
        }
        if file.is_lfs:
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{file.sha256}"'}
        if start is not None and start >= len(data):
            self._send(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
            return
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start or 0 :]
        self._head(status, len(body), headers, "application/octet-stream")
        if self.command != "HEAD":
            self._stream(file.path, body, fault)

    def _range_start(self, size: int) -> int | None:
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes=") or self.server.hub.ignores_ranges:
            return None
        return int(asked.removeprefix("bytes=").split("-")[0])

    def _stream(self, path: str, body: bytes, fault: Fault | None) -> None:
        hub = self.server.hub
        limit = fault.after_bytes if fault is not None and fault.kind in ("stall", "cut") else len(body)
        rate = fault.bytes_per_second if fault is not None and fault.kind == "slow" else 0
        step = max(1, rate // 10) if rate else CHUNK_BYTES
        for start in range(0, min(limit, len(body)), step):
            chunk = body[start : min(start + step, limit)]
            self.wfile.write(chunk)
            self.wfile.flush()
            hub.count(path, len(chunk))
            if rate and hub.pause(0.1):
                break
        if fault is not None and fault.kind == "stall" and limit < len(body):
            hub.stand_still()
        if limit < len(body):
            self.close_connection = True

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self._head(status, len(body), headers or {}, kind)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str], kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if "Content-Type" not in headers:
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
