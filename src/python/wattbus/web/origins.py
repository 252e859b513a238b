"""Where a request comes from, and under which name: what its ``Host``, ``Origin`` and ``Sec-Fetch-`` headers say.

A name server can be made to answer with 127.0.0.1, so the name counts and not the address that it led to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
#: No user, no path, no white space, no dot at the end; an IPv6 address in brackets.
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?))(?::\d{1,5})?"
)


def is_loopback(name: str) -> bool:
    """Tell whether an address or a name leads to this machine whatever a name server says."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in _HERE


def name_in(host: str) -> str:
    """Return the name in a ``Host`` header, in lower case and without its port; "" where it is none.

    >>> name_in("LocalHost:52080"), name_in("[::1]:52080"), name_in("localhost@evil.example")
    ('localhost', '::1', '')
    """
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def network_of(client: str) -> str:
    """Return what counts as one client: an address, of IPv6 the network that one customer gets."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether another page asks, for a change or for something to build into itself.

    A link from elsewhere may lead here: a browser then shows our page, and the other page sees nothing of it.
    """
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
    if site not in ("same-origin", "none") and (method in CHANGES or mode != "navigate"):
        return True
    if method not in CHANGES or "origin" not in headers:
        return False
    try:
        return urlsplit(headers["origin"]).netloc.lower() != headers["host"].lower()
    except ValueError:
        return True
