"""The one guarded way out: every address that a user, a message or a model names is fetched here.

The name is resolved once, every address it has is checked, and the connection goes to a checked address, so that no
second answer of the name server can redirect it. Redirects are followed by hand, each hop checked anew. Secrets go
to listed hosts only.
"""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import json as json_module
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from wattbus.errors import BadRequest, Refused, RequestFailed

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

Resolver = Callable[..., list[Any]]

MOST_REDIRECTS = 3
DEFAULT_BYTES = 32 * 1024 * 1024
DEFAULT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
_LONGEST_URL = 4096
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.I)
# The last label of a real name is never a number: 127.1, 0x7f.1 and 2130706433 are spellings of an address.
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.I)
_ODD = re.compile(r"[\x00-\x20\x7f\\^`{}|<>\"]|%(?:00|0a|0d)", re.I)
_NEAR_NAMES = (".localhost", ".local", ".localdomain", ".internal", ".home.arpa")
# What ipaddress calls global, and yet leads inside: tunnels to IPv4, and a cloud's metadata on a public address.
_INNER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "2002::/16",  # 6to4
        "2001::/32",  # Teredo
        "::/96",
        "fec0::/10",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "168.63.129.16/32",
    )
)


@dataclass(frozen=True)
class FetchedResponse:
    """An answer, read whole; ``headers`` have lower-case names, ``hops`` are the addresses that redirected here."""

    status: int
    headers: dict[str, str]
    content: bytes
    url: str
    hops: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Hop:
    url: str
    parts: SplitResult
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.parts.scheme, self.host, self.port


class Transport:
    """Fetches from public addresses, and from the private ``host:port`` pairs that the configuration lists."""

    def __init__(
        self, allow_private_hosts: frozenset[str] = frozenset(), resolver: Resolver = socket.getaddrinfo
    ) -> None:
        self._allowed = frozenset(host.lower() for host in allow_private_hosts)
        self._resolve = resolver

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        secret_hosts: frozenset[str] = frozenset(),
        allow_hosts: frozenset[str] | None = None,
        timeout_seconds: float = DEFAULT_SECONDS,
        max_bytes: int = DEFAULT_BYTES,
    ) -> FetchedResponse:
        """Fetch ``url``; Refused for an address that is not allowed, before any packet goes out.

        Headers that carry a secret (Authorization and its like) are sent only to ``secret_hosts`` (names, or
        host:port); to another host the call is refused, and on a redirect to another host they are left out.
        ``allow_hosts``, when given, are the only hosts that may be asked. RequestFailed when no usable answer comes.
        ``content`` is JSON that is written already, byte for byte as it was signed.
        """
        deadline = time.monotonic() + timeout_seconds
        sent = _checked_headers(headers)
        hop = self._checked(url, deadline, allow_hosts)
        if _SECRET_HEADERS & sent.keys() and not _listed(hop, secret_hosts):
            raise Refused(
                f"the key would go to {hop.host}, which is not one of "
                f"{', '.join(sorted(secret_hosts)) or 'the API hosts'} (by https): "
                "list the host in the setting api_hosts, or send no api_key."
            )
        body = content if json is None else json_module.dumps(json).encode()
        hops: list[str] = []
        while True:
            answer = _exchange(hop, method, sent, body, deadline, max_bytes)
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not target:
                return FetchedResponse(answer.status, answer.headers, answer.content, hop.url, tuple(hops))
            if len(hops) == MOST_REDIRECTS:
                raise Refused(
                    f"{_shown(url)} redirects more than {MOST_REDIRECTS} times: give the address of the thing itself."
                )
            hops.append(hop.url)
            before, hop = hop, self._redirected(hop, target, deadline, allow_hosts)
            if hop.origin != before.origin:
                sent = {name: value for name, value in sent.items() if name not in _SECRET_HEADERS}
            if answer.status in (301, 302, 303) and method != "HEAD":
                method, body = "GET", None
            elif body is not None and hop.origin != before.origin:
                raise Refused(
                    f"{before.host} would pass the request on to {hop.host}: send it there yourself."
                )

    def send_with_retries(
        self,
        url: str,
        *,
        retry_seconds: float,
        most_tries: int = 5,
        timeout_seconds: float = DEFAULT_SECONDS,
        **how: Any,
    ) -> FetchedResponse:
        """Fetch, and try again after 429 and 503, as long as Retry-After or a doubling pause fits ``retry_seconds``.

        The last answer is returned as it is. A request that got no answer is not repeated: it may have been done.
        """
        deadline = time.monotonic() + retry_seconds
        pause = 1.0
        for _ in range(most_tries - 1):
            answer = self.fetch(url, timeout_seconds=timeout_seconds, **how)
            if answer.status not in (429, 503):
                return answer
            asked = retry_after_seconds(answer.headers.get("retry-after"))
            wait = pause if asked is None else asked
            if time.monotonic() + wait > deadline:
                return answer
            time.sleep(wait)
            pause *= 2
        return self.fetch(url, timeout_seconds=timeout_seconds, **how)

    def _redirected(
        self, before: _Hop, target: str, deadline: float, allow_hosts: frozenset[str] | None
    ) -> _Hop:
        hop = self._checked(urljoin(before.url, target), deadline, allow_hosts)
        if before.parts.scheme == "https" and hop.parts.scheme != "https":
            raise Refused(f"{before.host} redirects from https to http: {_shown(hop.url)} is not followed.")
        return hop

    def _checked(self, url: str, deadline: float, allow_hosts: frozenset[str] | None) -> _Hop:
        parts, host, port = _parsed(url)
        if allow_hosts is not None and host not in allow_hosts and f"{host}:{port}" not in allow_hosts:
            raise Refused(f"{host} is not one of the hosts allowed here: {', '.join(sorted(allow_hosts))}.")
        if f"{host}:{port}" in self._allowed or f"[{host}]:{port}" in self._allowed:
            return _Hop(url, parts, host, port, self._addresses(host, port, deadline))
        _check_public_spelling(url, parts, host, port)
        addresses = self._addresses(host, port, deadline)
        for address in addresses:
            if _is_inner(address):
                raise Refused(
                    f"{_shown(url)} leads to {address}, which is this machine or its network: only public addresses "
                    "are fetched. An administrator can list the host in WATTBUS_ALLOW_HOSTS."
                )
        return _Hop(url, parts, host, port, addresses)

    def _addresses(self, host: str, port: int, deadline: float) -> tuple[str, ...]:
        with contextlib.suppress(ValueError):
            return (str(ipaddress.ip_address(host)),)
        found = _resolved(self._resolve, host, port, deadline)
        addresses = tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in found))
        if not addresses:
            raise RequestFailed(f"the name {host} has no address: check it.")
        return addresses


def check_spelling(url: str) -> None:
    """Refuse an address that is odd or names this machine or its network; nothing is resolved, nothing sent."""
    parts, host, port = _parsed(url)
    _check_public_spelling(url, parts, host, port)


def retry_after_seconds(text: str | None) -> float | None:
    """Read a Retry-After header, a number of seconds or a date; None when there is none that makes sense.

    >>> retry_after_seconds("2"), retry_after_seconds("soon")
    (2.0, None)
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _parsed(url: str) -> tuple[SplitResult, str, int]:
    """Split ``url`` by the one parser; the host is a name in lower case or a plainly spelt address."""
    if not isinstance(url, str) or len(url) > _LONGEST_URL:
        raise Refused(f"the address is longer than {_LONGEST_URL} characters: give a shorter one.")
    if _ODD.search(url) or not url.isascii():
        raise Refused(
            f"{_shown(url)} holds characters that no address needs: write it percent-encoded, names as punycode."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused(f"{_shown(url)} is no address: {error}.") from None
    if parts.scheme not in PORTS:
        raise Refused(f"{_shown(url)} is neither http nor https: only those are fetched.")
    if "@" in parts.netloc:
        raise Refused("the address holds a user name or password: leave them out, and send a key as api_key.")
    return parts, _host(url, parts), PORTS[parts.scheme] if port is None else port


def _host(url: str, parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host:
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(host))
        raise Refused(f"{_shown(url)} names no host.")
    if not _HOST.fullmatch(host):
        raise Refused(f"{_shown(url)} names no host.")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise Refused(
                f"{_shown(url)} spells an address in an odd way: write four decimal numbers."
            ) from None
    return host.lower()


def _check_public_spelling(url: str, parts: SplitResult, host: str, port: int) -> None:
    if port != PORTS[parts.scheme]:
        raise Refused(f"{_shown(url)} names port {port}: only 80 for http and 443 for https are allowed.")
    is_near = host == "localhost" or host.endswith(_NEAR_NAMES)
    with contextlib.suppress(ValueError):
        is_near = is_near or _is_inner(host)
    if is_near:
        raise Refused(
            f"{_shown(url)} names this machine or its network: only public addresses are fetched. "
            "An administrator can list the host in WATTBUS_ALLOW_HOSTS."
        )


def _is_inner(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if getattr(address, "ipv4_mapped", None) is not None:  # which newer ipaddress judges by the inner address
        return True
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return True
    return any(address in network for network in _INNER if network.version == address.version)


def _resolved(resolve: Resolver, host: str, port: int, deadline: float) -> list[Any]:
    """Ask the name server, no longer than until ``deadline``: getaddrinfo has no timeout of its own."""
    results: list[list[Any]] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            results.append(resolve(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="wattbus-resolve")
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise RequestFailed(f"the name {host} cannot be resolved ({errors[0]}): check it, and the network.")
    if not results:
        raise RequestFailed(f"the name server gave no answer for {host} in time: check the network.")
    return results[0]


def _listed(hop: _Hop, hosts: frozenset[str]) -> bool:
    # A bare name stands for https on it; a private host is listed with its port.
    return f"{hop.host}:{hop.port}" in hosts or (hop.parts.scheme == "https" and hop.host in hosts)


def _checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers with lower-case names; the value of a bad one is not shown, it may be a key."""
    for name, value in (headers or {}).items():
        if not value.isascii() or not value.isprintable():
            raise BadRequest(
                f"the value of the header {name} holds a line end or an odd character: check the key."
            )
    return {name.lower(): value for name, value in (headers or {}).items()}


def _exchange(
    hop: _Hop, method: str, headers: Mapping[str, str], body: bytes | None, deadline: float, max_bytes: int
) -> FetchedResponse:
    """Send one request to a checked address of ``hop`` and read the answer."""
    import http.client

    from urllib3.exceptions import HTTPError

    sent = {"host": hop.parts.netloc, "user-agent": "wattbus", "accept-encoding": "identity", **headers}
    if body is not None:
        sent["content-type"] = "application/json"
    path = (hop.parts.path or "/") + (f"?{hop.parts.query}" if hop.parts.query else "")
    began = time.monotonic()
    try:
        with _connected(hop, deadline) as connection:
            connection.request(
                method, path, body=body, headers=sent, preload_content=False, decode_content=False
            )
            answer = connection.getresponse()
            content = _read(answer, hop.host, deadline, max_bytes)
    except (OSError, http.client.HTTPException, HTTPError) as error:
        if time.monotonic() >= deadline:
            raise _too_slow(hop.host, time.monotonic() - began) from None
        raise RequestFailed(f"{hop.host} did not answer ({type(error).__name__}): try again later.") from None
    found = {name.lower(): value for name, value in answer.headers.items()}
    if found.get("content-encoding", "identity").lower() != "identity":
        raise RequestFailed(
            f"{hop.host} answered packed ({found['content-encoding']}), which was not asked for."
        )
    return FetchedResponse(answer.status, found, content, hop.url)


@contextlib.contextmanager
def _connected(hop: _Hop, deadline: float) -> Iterator[HTTPConnection]:
    """Connect to the first checked address that answers; the connection is cut at ``deadline``, whatever it does.

    Timeouts of sockets count from byte to byte: without the cut, an answer that drips in would never end.
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    for number, address in enumerate(hop.addresses, start=1):
        left = max(0.1, deadline - time.monotonic())
        connection: HTTPConnection
        if hop.parts.scheme == "https":
            # the certificate is checked for the name, not for the address
            connection = HTTPSConnection(
                address, hop.port, timeout=min(CONNECT_SECONDS, left), server_hostname=hop.host,
                cert_reqs="CERT_REQUIRED", ca_certs=_authorities(),
            )  # fmt: skip
        else:
            connection = HTTPConnection(address, hop.port, timeout=min(CONNECT_SECONDS, left))
        with contextlib.closing(connection):
            try:
                connection.connect()
            except (NewConnectionError, ConnectTimeoutError):
                if number == len(hop.addresses) or time.monotonic() >= deadline:
                    raise
                continue
            left = max(0.1, deadline - time.monotonic())
            connection.sock.settimeout(left)
            cut = threading.Timer(left, _cut, (connection.sock,))
            cut.daemon = True
            cut.start()
            try:
                yield connection
            finally:
                cut.cancel()
            return


def _authorities() -> str:
    import certifi

    return certifi.where()


def _cut(connected: socket.socket) -> None:
    # past SSLSocket.shutdown, which would take the TLS state away from under the reading thread
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _read(answer: Any, host: str, deadline: float, max_bytes: int) -> bytes:
    content = bytearray()
    # What comes is taken as it is: nothing is unpacked, so nothing can blow up.
    while part := answer.read(65536):
        content += part
        if len(content) > max_bytes:
            raise Refused(f"{host} sends more than {max_bytes:,} bytes: that is refused.")
    if time.monotonic() >= deadline:
        raise _too_slow(host, None)
    return bytes(content)


def _too_slow(host: str, seconds: float | None) -> RequestFailed:
    after = f" within {seconds:.0f} s" if seconds is not None else " in time"
    return RequestFailed(f"{host} is too slow: no whole answer{after}; try again later.")


def _shown(url: str) -> str:
    """Return the address as a message may show it: short, without query and odd characters."""
    return repr(url.partition("?")[0][:120])
