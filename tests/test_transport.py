"""The one guarded way out: no address inside is reached, in any spelling, by any redirect or name server."""

from __future__ import annotations

import datetime
import email.utils
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from wattbus.errors import BadRequest, Refused, RequestFailed
from wattbus.transport import Transport, check_spelling, retry_after_seconds

KEY = "Bearer hf_CANARYcanary0123456789"


class Site:
    """A web server on loopback that answers by a function and remembers what it was asked."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.asked.append((self.command, self.path, headers, body))
                answer(self)

            do_POST = do_GET

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that are cut off are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/"


@contextmanager
def site(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Site]:
    made = Site(answer)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join(5)


def reply(
    status: int = 200, body: bytes = b"ok", headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def in_turn(*answers: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def redirect(target: str, status: int = 302) -> Callable[[BaseHTTPRequestHandler], None]:
    return reply(status, b"", {"Location": target})


def resolving(**names: list[str]) -> Callable[..., list[Any]]:
    def resolve(host: str, port: int, **how: Any) -> list[Any]:
        found = names.get(host.replace(".", "_").replace("-", "_"))
        if found is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return resolve


@pytest.fixture
def no_packets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let no socket connect, and remember who tried."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("the test lets nothing out")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/",
        "http://0x7f000001/", "http://127.0.0.1./", "http://127.0.0.01/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:93.184.216.34]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[::]/",
        "http://0.0.0.0/", "http://0/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
        "http://a.localhost/", "http://printer.local/", "http://metadata.google.internal/",
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.64.0.1/",
        "http://100.100.100.200/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/",
        "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/", "http://224.0.0.1/", "http://[ff02::1]/", "http://255.255.255.255/",
        "http://240.0.0.1/", "http://198.18.0.1/", "http://192.0.2.1/", "http://168.63.129.16/", "http://[fec0::1]/",
    ],
)  # fmt: skip
def test_an_inner_address_is_refused_in_every_spelling_before_any_packet(
    url: str, no_packets: list[Any]
) -> None:
    def resolve(*question: Any, **how: Any) -> list[Any]:
        raise AssertionError("no name server needs to be asked")

    with pytest.raises(Refused):
        Transport(resolver=resolve).fetch(url)
    with pytest.raises(Refused):
        check_spelling(url)

    assert no_packets == []


@pytest.mark.parametrize(
    "url",
    [
        "http://good\\@127.0.0.1/", "http://127.0.0.1%2f@good/", "http://user:pass@good.example/", "http://@good.example/",
        "http://good.example/\r\nHost: evil", "http://good.example/\tx", "http://good.example /", "http://good.example:22/",
        "https://good.example:80/", "http://good.example:0/", "http://good.example:99999/", "http://good.example:abc/",
        "http://göod.example/", "http://good.example/%0d%0aX", "http://good.example/%00", "file:///etc/passwd",
        "ftp://good.example/", "gopher://good.example/", "data:text/plain,x", "/etc/passwd", "good.example", "",
        "http://", "http:///x", "http://good..example/", "http://-good.example/", "http://[::1/", "http://[good]/",
        "http://good.example/" + "x" * 5000, "javascript:alert(1)", "http://ⓖood.example/", "http://good.example/{}",
    ],
)  # fmt: skip
def test_a_url_that_is_odd_is_refused_in_words_before_any_packet(url: str, no_packets: list[Any]) -> None:
    with pytest.raises(Refused) as caught:
        Transport(resolver=resolving(good_example=["93.184.216.34"])).fetch(url)

    assert no_packets == []
    assert "\r" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["10.1.2.3", "93.184.216.34"], ["::ffff:10.0.0.1"],
        ["fe80::1%eth0"], ["169.254.169.254"], ["64:ff9b::a00:1"], ["2002:a00:1::"],
    ],
)  # fmt: skip
def test_a_name_with_one_inner_address_is_refused(addresses: list[str], no_packets: list[Any]) -> None:
    transport = Transport(resolver=resolving(rebind_example=addresses))

    with pytest.raises(Refused, match="leads to"):
        transport.fetch("http://rebind.example/")

    assert no_packets == []


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(
    no_packets: list[Any],
) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **how: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with pytest.raises(RequestFailed):
        Transport(resolver=resolve).fetch("http://rebind.example/")

    assert asked == ["rebind.example"]
    assert no_packets == [("93.184.216.34", 80)]


def test_the_next_checked_address_is_tried_when_one_does_not_answer() -> None:
    with site(reply()) as there:  # listens on 127.0.0.1 only
        resolve = resolving(two_example=["127.0.0.2", "127.0.0.1"])

        answer = Transport(frozenset({f"two.example:{there.port}"}), resolve).fetch(
            f"http://two.example:{there.port}/"
        )

    assert answer.content == b"ok"


def test_a_listed_private_host_is_reached_by_its_own_name_and_no_other_port_is() -> None:
    with site(reply(body=b"hello", headers={"X-Some": "Thing"})) as there:
        transport = Transport(frozenset({f"hub.lan:{there.port}"}), resolving(hub_lan=["127.0.0.1"]))

        answer = transport.fetch(f"http://hub.lan:{there.port}/a?b=c#d")

        assert (answer.status, answer.content, answer.headers["x-some"]) == (200, b"hello", "Thing")
        assert there.asked[0][1] == "/a?b=c"
        assert there.asked[0][2]["host"] == f"hub.lan:{there.port}"
        with pytest.raises(Refused):
            transport.fetch("http://hub.lan:1/")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/", "http://169.254.169.254/", "file:///etc/passwd", "//localhost/", "http://2130706433/",
        "gopher://x.example/", "http://x.example:22/", "http://good.example\\@127.0.0.1/",
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_the_first_address(target: str) -> None:
    with site(redirect(target)) as there, pytest.raises(Refused):
        Transport(frozenset({there.host})).fetch(there.url)


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    hop = redirect("/next")
    with site(in_turn(hop, hop, hop, reply())) as there:
        answer = Transport(frozenset({there.host})).fetch(there.url)
        assert answer.content == b"ok" and len(answer.hops) == 3

    with site(hop) as there:
        with pytest.raises(Refused, match="more than 3 times"):
            Transport(frozenset({there.host})).fetch(there.url)
        assert len(there.asked) == 4


def test_a_key_goes_to_listed_hosts_only(no_packets: list[Any]) -> None:
    transport = Transport(
        resolver=resolving(evil_example=["93.184.216.34"], huggingface_co=["93.184.216.34"])
    )
    hosts = frozenset({"huggingface.co"})

    for name in ("Authorization", "authorization", "Cookie", "X-API-Key"):
        for url in ("https://evil.example/", "http://huggingface.co/"):
            with pytest.raises(Refused, match="the key would go to") as caught:
                transport.fetch(url, headers={name: KEY}, secret_hosts=hosts)
            assert "CANARY" not in str(caught.value)
    assert no_packets == []


def test_a_key_is_left_out_when_another_host_is_redirected_to() -> None:
    with site(reply()) as other, site(redirect(other.url)) as there:
        transport = Transport(frozenset({there.host, other.host}))

        transport.fetch(there.url, headers={"Authorization": KEY}, secret_hosts=frozenset({there.host}))

        assert there.asked[0][2]["authorization"] == KEY
        assert "authorization" not in other.asked[0][2]


def test_a_key_stays_when_the_same_host_redirects() -> None:
    with site(in_turn(redirect("/next"), reply())) as there:
        Transport(frozenset({there.host})).fetch(
            there.url, headers={"Authorization": KEY}, secret_hosts=frozenset({there.host})
        )

        assert [asked[2].get("authorization") for asked in there.asked] == [KEY, KEY]


def test_a_key_with_a_line_end_is_refused_and_not_shown(no_packets: list[Any]) -> None:
    with pytest.raises(BadRequest, match="header Authorization") as caught:
        Transport().fetch("https://huggingface.co/", headers={"Authorization": KEY + "\n"})

    assert "CANARY" not in str(caught.value) and no_packets == []


def test_a_body_is_not_passed_on_to_another_host() -> None:
    with site(reply()) as other, site(redirect(other.url, 307)) as there:
        transport = Transport(frozenset({there.host, other.host}))

        with pytest.raises(Refused, match="would pass the request on"):
            transport.fetch(there.url, method="POST", json={"inputs": "private"})

        assert other.asked == []


def test_json_is_posted_as_such() -> None:
    with site(reply()) as there:
        Transport(frozenset({there.host})).fetch(there.url, method="POST", json={"inputs": "é"})

        method, _, headers, body = there.asked[0]
    assert (method, headers["content-type"], json.loads(body)) == (
        "POST",
        "application/json",
        {"inputs": "é"},
    )


def test_only_allowed_hosts_are_asked_when_a_list_is_given(no_packets: list[Any]) -> None:
    with pytest.raises(Refused, match="not one of the hosts allowed here"):
        Transport().fetch("https://other.example/", allow_hosts=frozenset({"good.example"}))

    assert no_packets == []


def test_an_answer_larger_than_allowed_is_refused() -> None:
    with site(reply(body=b"x" * 5000)) as there, pytest.raises(Refused, match="more than 1,000 bytes"):
        Transport(frozenset({there.host})).fetch(there.url, max_bytes=1000)


def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with site(reply(body=bomb, headers={"Content-Encoding": "gzip"})) as there:
        with pytest.raises(RequestFailed, match="packed"):
            Transport(frozenset({there.host})).fetch(there.url)

        assert there.asked[0][2]["accept-encoding"] == "identity"


@pytest.mark.parametrize("where", ["headers", "body", "sized body"])
def test_an_answer_that_drips_in_ends_at_the_total_time(where: str) -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        starts = {"headers": b"HTTP/1.1 200 OK\r\nX-Long: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}
        handler.wfile.write(starts.get(where, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"))
        while not stop.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    with site(drip) as there:
        began = time.monotonic()
        with pytest.raises(RequestFailed, match="too slow"):
            Transport(frozenset({there.host})).fetch(there.url, timeout_seconds=0.5)
        took = time.monotonic() - began
        stop.set()

    assert took < 5


def test_a_silent_host_ends_at_the_total_time() -> None:
    stop = threading.Event()
    with site(lambda handler: stop.wait(10) and None) as there:
        with pytest.raises(RequestFailed, match="too slow"):
            Transport(frozenset({there.host})).fetch(there.url, timeout_seconds=0.3)
        stop.set()


def test_a_name_server_that_hangs_ends_at_the_total_time() -> None:
    stop = threading.Event()

    def resolve(*question: Any, **how: Any) -> list[Any]:
        stop.wait(10)
        return []

    with pytest.raises(RequestFailed, match="name server gave no answer"):
        Transport(resolver=resolve).fetch("http://good.example/", timeout_seconds=0.2)
    stop.set()


def test_a_name_that_does_not_exist_and_a_closed_port_are_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        host = f"127.0.0.1:{closed.getsockname()[1]}"

    with pytest.raises(RequestFailed, match=r"the name none\.example cannot be resolved"):
        Transport(resolver=resolving()).fetch("http://none.example/")
    with pytest.raises(RequestFailed, match="did not answer"):
        Transport(frozenset({host})).fetch(f"http://{host}/")


def test_an_answer_that_breaks_off_is_a_failure_not_a_short_answer() -> None:
    half = reply(body=b"half", headers={"Content-Length": "100"})
    with site(half) as there, pytest.raises(RequestFailed, match="did not answer"):
        Transport(frozenset({there.host})).fetch(there.url)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_name_is_asked_for(tmp_path: Path) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path, "hub.example"))
    context.sni_callback = lambda sock, name, inner: asked.append(name)
    with site(reply()) as there:
        there.server.socket = context.wrap_socket(there.server.socket, server_side=True)
        transport = Transport(frozenset({f"hub.example:{there.port}"}), resolving(hub_example=["127.0.0.1"]))

        with pytest.raises(RequestFailed, match="SSLCertVerificationError"):
            transport.fetch(f"https://hub.example:{there.port}/")

        assert there.asked == []
    assert asked == ["hub.example"]


def test_the_certificate_must_be_for_the_name_and_not_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path, "hub.example")
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with site(reply()) as there:
        there.server.socket = context.wrap_socket(there.server.socket, server_side=True)
        hosts = frozenset({f"hub.example:{there.port}", f"other.example:{there.port}"})
        names = resolving(hub_example=["127.0.0.1"], other_example=["127.0.0.1"])
        transport = Transport(hosts, names)

        assert transport.fetch(f"https://hub.example:{there.port}/").content == b"ok"
        with pytest.raises(RequestFailed, match="SSLCertVerificationError"):
            transport.fetch(f"https://other.example:{there.port}/")


def test_a_redirect_from_https_to_http_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path, "hub.example")
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with site(reply()) as plain, site(redirect(plain.url + "?token=secret")) as there:
        there.server.socket = context.wrap_socket(there.server.socket, server_side=True)
        hosts = frozenset({f"hub.example:{there.port}", plain.host})
        transport = Transport(hosts, resolving(hub_example=["127.0.0.1"]))

        with pytest.raises(Refused, match="redirects from https to http") as caught:
            transport.fetch(f"https://hub.example:{there.port}/")

        assert plain.asked == []
    assert "secret" not in str(caught.value)


def test_a_busy_host_is_asked_again_after_the_time_it_names() -> None:
    busy = reply(503, headers={"Retry-After": "0.1"})
    with site(in_turn(busy, reply(429, headers={"Retry-After": "0"}), reply())) as there:
        answer = Transport(frozenset({there.host})).send_with_retries(there.url, retry_seconds=10)

        assert (answer.status, len(there.asked)) == (200, 3)


def test_a_host_that_stays_busy_is_asked_a_bounded_number_of_times() -> None:
    with site(reply(503, headers={"Retry-After": "0"})) as there:
        answer = Transport(frozenset({there.host})).send_with_retries(
            there.url, retry_seconds=10, most_tries=3
        )

        assert (answer.status, len(there.asked)) == (503, 3)


def test_a_wait_longer_than_the_time_left_is_not_begun() -> None:
    with site(reply(429, headers={"Retry-After": "3600"})) as there:
        answer = Transport(frozenset({there.host})).send_with_retries(there.url, retry_seconds=5)

        assert (answer.status, len(there.asked)) == (429, 1)


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)

    assert retry_after_seconds("7") == 7
    assert retry_after_seconds("-7") == 0
    assert 90 < (retry_after_seconds(email.utils.format_datetime(later, usegmt=True)) or 0) <= 100
    assert [retry_after_seconds(text) for text in (None, "", "soon", "nan", "inf")] == [None] * 5


def _certificate(folder: Path, name: str) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*form) + certificate.public_bytes(serialization.Encoding.PEM))
    return path
