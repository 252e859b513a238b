"""The model hub: a repository is pinned to one commit, and its files arrive whole or not at all.

huggingface_hub names and describes the files and carries the requests. Its own file download (2.4) throws a part away
when it fails and accepts other bytes of the right size, so the bytes are received, resumed and checked here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from wattbus.errors import ModelCorrupt, ModelError, ModelNotCached, Refused
from wattbus.ml.plan import Plan, PlannedFile, make_plan, problem_of
from wattbus.ml.sources import PUBLIC_HUB, HubSource

Tell = Callable[[str], object]
PART = ".part"
MOST_HOPS = 5
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_TELL_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long the Hub may take."""

    stall_seconds: float = 30.0  # fewer than stall_bytes in so long is a stall
    stall_bytes: int = 1024
    describe_seconds: float = 60.0
    total_seconds: float = 6 * 3600.0
    tries: int = 6  # without a new byte in between
    pause_seconds: float = 1.0  # doubled after each try
    longest_wait_seconds: float = 120.0  # a longer Retry-After ends the fetch


class _Interrupted(Exception):
    """A try that may be repeated."""

    def __init__(self, why: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


@dataclass
class _Transfer:
    """The running count of one fetch."""

    total_bytes: int
    tell: Tell
    deadline: float
    received_bytes: int = 0
    done_bytes: int = 0
    told_at: float = field(default_factory=time.monotonic)

    def add(self, count: int, name: str) -> None:
        self.received_bytes += count
        self.done_bytes += count
        now = time.monotonic()
        if now - self.told_at >= _TELL_SECONDS:
            self.told_at = now
            self.tell(f"{name}: {megabytes(self.done_bytes)} of {megabytes(self.total_bytes)}")


class Hub:
    """Describes and fetches models from one endpoint: the one given, else ``HF_ENDPOINT``, else the public Hub."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        offline: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
        self.offline = offline
        self._token = token
        self._patience = patience or Patience()

    def plan(self, source: HubSource, tell: Tell = lambda text: None) -> Plan:
        """Pin ``source`` to a commit and choose the files that a model needs.

        Raises ModelNotCached when the Hub cannot be reached, ModelError when it has no such model, Refused when the
        weights are there only in a format that can run code.
        """
        if self.offline:
            raise ModelNotCached(self._unreachable(source.repo_id, "offline is set"))
        deadline = time.monotonic() + self._patience.describe_seconds
        info = self._tried(lambda: self._describe(source), "the Hub's description", tell, deadline)
        return make_plan(source.repo_id, info)

    def fetch(
        self,
        plan: Plan,
        folder: Path,
        tell: Tell = lambda text: None,
        inspect: Callable[[Path, str], None] = lambda path, name: None,
    ) -> int:
        """Bring every file of ``plan`` into ``folder``, checked; return the bytes received.

        What an earlier try left in ``folder`` is used; ``inspect`` may refuse a file as soon as it is there.
        Raises ModelCorrupt for bytes that differ from what the Hub lists, ModelError for a Hub that stalls, cuts or
        answers wrongly longer than patience lasts.
        """
        transfer = _Transfer(plan.total_bytes, tell, time.monotonic() + self._patience.total_seconds)
        for file in plan.files:
            target = folder / file.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if target.is_file() and problem_of(target, file) is None:
                transfer.done_bytes += file.size_bytes
            else:
                self._file(plan, file, target, transfer)
            inspect(target, file.path)
        return transfer.received_bytes

    def _describe(self, source: HubSource) -> Any:
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        # Without its own header, huggingface_hub reports the versions of what is installed.
        api = HfApi(endpoint=self.endpoint, token=self._token or False, headers={"user-agent": "wattbus"})
        repo, patience = source.repo_id, self._patience

        def ask() -> Any:
            return api.model_info(
                repo, revision=source.revision, files_metadata=True, timeout=patience.stall_seconds
            )

        try:
            return within(patience.describe_seconds, ask)
        except GatedRepoError:
            raise ModelError(
                f"the model {repo} asks for consent on its page: give it there, and set a token."
            ) from None
        except RepositoryNotFoundError:
            raise ModelError(
                f"there is no model {repo} on {self.endpoint}, or it is private: check the name, or set a token."
            ) from None
        except RevisionNotFoundError:
            raise ModelError(
                f"the model {repo} has no revision {source.revision!r}: check the branch or commit."
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in _TRANSIENT:
                raise _Interrupted(
                    f"{status}", _retry_after(error.response.headers.get("retry-after"))
                ) from None
            raise ModelError(f"{self.endpoint} answered {status} for the model {repo}.") from None
        except httpx2.RemoteProtocolError as error:
            raise _Interrupted(str(error)) from None
        except (httpx2.TransportError, TimeoutError, OfflineModeIsEnabled) as error:
            raise ModelNotCached(self._unreachable(repo, type(error).__name__)) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{self.endpoint} did not answer like a Hub for the model {repo} ({type(error).__name__}): is there a "
                "log-in page or a proxy in between?"
            ) from None

    def _unreachable(self, repo: str, why: str) -> str:
        return f"offline: {self.endpoint} cannot be reached ({why}), and the model {repo} is not cached"

    def _file(self, plan: Plan, file: PlannedFile, target: Path, transfer: _Transfer) -> None:
        part = target.with_name(target.name + PART)
        for resumed in (_size(part) > 0, False):
            self._receive_whole(plan, file, part, transfer)
            problem = problem_of(part, file)
            if problem is None:
                os.replace(part, target)
                return
            # What is wrong may lie in the part that an earlier try left: then once more from the start.
            part.unlink()
            if not resumed:
                break
            transfer.done_bytes -= file.size_bytes
        raise ModelCorrupt(
            f"{file.path} of {plan.repo_id}@{plan.commit[:12]} came wrong from {self.endpoint}: {problem}. "
            "Nothing was published; try again later."
        )

    def _receive_whole(self, plan: Plan, file: PlannedFile, part: Path, transfer: _Transfer) -> None:
        transfer.done_bytes += _size(part)
        if part.exists() and _size(part) >= file.size_bytes:
            return
        self._tried(
            lambda: self._receive(plan, file, part, transfer),
            file.path,
            transfer.tell,
            transfer.deadline,
            # not the bytes received: a hub without ranges may send the same ones for ever
            lambda: _size(part),
        )

    def _receive(self, plan: Plan, file: PlannedFile, part: Path, transfer: _Transfer) -> None:
        """Append to ``part`` what one response brings."""
        import httpx2
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(plan.repo_id, file.path, revision=plan.commit, endpoint=self.endpoint)
        start = _size(part)
        try:
            with self._response(url, start) as response, part.open("ab", buffering=0) as out:
                self._check_answer(response, file, start)
                if response.status_code == 200 and start:
                    out.truncate(0)
                    transfer.done_bytes -= start
                    start = 0
                self._append(response, out, file, start, transfer)
        except httpx2.TimeoutException:
            raise _Interrupted(f"it sent nothing for {self._patience.stall_seconds:g} s") from None
        except httpx2.TransportError as error:
            raise _Interrupted(str(error) or type(error).__name__) from None
        if _size(part) < file.size_bytes:
            raise _Interrupted("the connection was cut")

    def _append(self, response: Any, out: Any, file: PlannedFile, start: int, transfer: _Transfer) -> None:
        patience, position = self._patience, start
        window_began, window_bytes = time.monotonic(), 0
        for block in response.iter_raw():
            position += len(block)
            if position > file.size_bytes:
                raise ModelError(
                    f"{file.path}: {self.endpoint} sends more than the {file.size_bytes:,} bytes it lists."
                )
            out.write(block)
            transfer.add(len(block), file.path)
            window_bytes += len(block)
            now = time.monotonic()
            if now > transfer.deadline:
                raise ModelError(
                    f"{file.path} was not here after {patience.total_seconds:,.0f} s: try again, it goes on at byte "
                    f"{position:,}."
                )
            if now - window_began > patience.stall_seconds:
                if window_bytes < patience.stall_bytes:
                    raise _Interrupted(f"it sent {window_bytes} bytes in {patience.stall_seconds:g} s")
                window_began, window_bytes = now, 0

    def _check_answer(self, response: Any, file: PlannedFile, start: int) -> None:
        status, headers = response.status_code, response.headers
        if status in _TRANSIENT:
            raise _Interrupted(f"{self.endpoint} answered {status}", _retry_after(headers.get("retry-after")))
        if status not in (200, 206):
            raise ModelError(
                f"{self.endpoint} answered {status} for {file.path}: check the token and the model's page."
            )
        if headers.get("content-type", "").startswith("text/html"):
            raise ModelError(
                f"a web page came instead of {file.path}: is there a log-in page or a proxy in between?"
            )
        if headers.get("content-encoding", "identity") != "identity":
            raise ModelError(
                f"{file.path} came packed ({headers['content-encoding']}), which was not asked for."
            )
        if status == 206 and not headers.get("content-range", "").startswith(f"bytes {start}-"):
            raise ModelError(
                f"{self.endpoint} continued {file.path} at another place than asked: try again later."
            )
        length = headers.get("content-length", "")
        expected = file.size_bytes - (start if status == 206 else 0)
        if length.isdigit() and int(length) != expected:
            raise ModelError(
                f"{self.endpoint} announces {int(length):,} bytes of {file.path}, and lists {expected:,}."
            )

    @contextmanager
    def _response(self, url: str, start: int) -> Iterator[Any]:
        """Open ``url``, following redirects by hand: the token stays with the Hub, https stays https."""
        from huggingface_hub import get_session

        home = urlsplit(self.endpoint)[:2]
        for _ in range(MOST_HOPS):
            parts = urlsplit(url)
            headers = {"user-agent": "wattbus", "accept-encoding": "identity"}
            if start:
                headers["range"] = f"bytes={start}-"
            if self._token and parts[:2] == home:
                headers["authorization"] = f"Bearer {self._token}"
            with get_session().stream(
                "GET", url, headers=headers, timeout=self._patience.stall_seconds, follow_redirects=False
            ) as response:
                location = response.headers.get("location")
                if response.status_code // 100 != 3 or not location:
                    yield response
                    return
            url = urljoin(url, location)
            _check_redirect(parts.scheme, url, home)
        raise ModelError(f"{self.endpoint} redirects more than {MOST_HOPS} times: try again later.")

    def _tried(
        self,
        work: Callable[[], Any],
        what: str,
        tell: Tell,
        deadline: float,
        progress: Callable[[], int] = lambda: 0,
    ) -> Any:
        """Do ``work`` until it is not interrupted; tries without progress are counted."""
        failures, before = 0, progress()
        while True:
            try:
                return work()
            except _Interrupted as error:
                failures = failures + 1 if progress() == before else 1
                before = progress()
                wait = self._patience.pause_seconds * 2 ** (failures - 1)
                if error.retry_after_seconds is not None:
                    wait = max(wait, error.retry_after_seconds)
                late = time.monotonic() + wait > deadline
                if failures >= self._patience.tries or wait > self._patience.longest_wait_seconds or late:
                    asked = error.retry_after_seconds
                    raise ModelError(
                        f"{what} could not be fetched from {self.endpoint}: {error}"
                        + (f", and asks to wait {asked:.0f} s" if asked else "")
                        + ". Nothing was published; what came is kept, and the next try goes on from there."
                    ) from None
                tell(f"{what}: {error}; trying again in {wait:.0f} s")
                time.sleep(wait)


def megabytes(count: int) -> str:
    """Return a number of bytes in words.

    >>> megabytes(1_234_567_890), megabytes(90_000_000), megabytes(512)
    ('1.2 GB', '90.0 MB', '512 bytes')
    """
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns; TimeoutError after ``seconds``, however slowly bytes drip in."""
    results: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  # carried over to the caller's thread, raised there
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="wattbus-hub")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def _check_redirect(scheme: str, url: str, home: tuple[str, str]) -> None:
    from wattbus.transport import check_spelling

    parts = urlsplit(url)
    if parts[:2] == home:
        return
    if scheme == "https" and parts.scheme != "https":
        raise Refused(f"the Hub redirects from https to {parts.scheme or 'nowhere'}: that is not followed.")
    check_spelling(url)


def _retry_after(text: str | None) -> float | None:
    from wattbus.transport import retry_after_seconds

    return retry_after_seconds(text)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
