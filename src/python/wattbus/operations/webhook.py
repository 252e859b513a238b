"""WebhookOperation: posts a message, such as an alert, as JSON to an address."""

from __future__ import annotations

import hashlib
import hmac
import json
from string import Template
from typing import Any
from urllib.parse import urlsplit

from iop import BusinessOperation

from wattbus.errors import BadSettings, Refused, RequestFailed
from wattbus.messages import AlertRequest, WebhookResponse
from wattbus.operations.metered import Metered
from wattbus.operations.place import transport
from wattbus.runtime import context
from wattbus.runtime.types import to_envelope, type_name
from wattbus.secrets import PREFIX
from wattbus.transport import PORTS, FetchedResponse

LARGEST_ANSWER_BYTES = 1024 * 1024
_LONGEST_TEXT = 10_000
_LONGEST_SHOWN = 200


class WebhookOperation(Metered, BusinessOperation):
    """Posts every message to ``URL`` and fails in a sentence where the answer is no 2xx. See ``docs/services.md``.

    The address and the secret may be references into the vault, ``secret:...``; then neither is ever written.
    """

    URL: str = ""
    #: Signs the body: the header X-Wattbus-Signature holds sha256= and its HMAC-SHA256.
    Secret: str = ""
    #: Posts {"text": ...} in place of the fields, as chat programs want it; $AlertText and the like are filled in.
    Text: str = ""
    #: Seconds for one try.
    ResponseTimeout: float = 30.0
    #: Seconds within which a busy address (429, 503) is asked again.
    RetrySeconds: float = 60.0

    def on_init(self) -> None:
        """Check the settings."""
        vault = context.place().vault
        self._url = vault.reveal(self.URL)
        parts = urlsplit(self._url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise BadSettings("URL is no http or https address: name the address to post to.")
        self._host = parts.hostname.lower()
        # Sealed, so that it is masked wherever it might turn up.
        self._secret = vault.reveal(vault.seal(self.Secret)).encode()
        self._text = Template(self.Text)
        if not self._text.is_valid():
            raise BadSettings(
                f"Text {self.Text!r} has a $ that names no field: write $AlertText, and $$ for a $."
            )

    def on_message(self, request: Any) -> WebhookResponse:
        """Post the message."""
        kind, fields = _fields(request)
        payload = {"text": self._filled(fields)} if self.Text else fields
        content = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        try:
            # No redirect leads to another host than the one that is set.
            answer = transport().send_with_retries(
                self._url,
                method="POST",
                headers=self._headers(kind, content),
                content=content,
                allow_hosts=frozenset({self._host}),
                timeout_seconds=float(self.ResponseTimeout),
                retry_seconds=float(self.RetrySeconds),
                max_bytes=LARGEST_ANSWER_BYTES,
            )
        except (Refused, RequestFailed) as error:
            raise type(error)(self._without_address(str(error))) from None
        self._check(answer)
        return WebhookResponse(status=answer.status, text=_start(answer, _LONGEST_TEXT))

    def _filled(self, fields: dict[str, Any]) -> str:
        words = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in fields.items()
        }
        return self._text.safe_substitute(words)

    def _headers(self, kind: str, content: bytes) -> dict[str, str]:
        headers = {"X-Wattbus-Type": kind} if kind.isascii() else {}
        now = context.current()
        if now is not None and now.message_id is not None:
            # The same at every attempt, so that the other side can tell a repeat.
            headers["Idempotency-Key"] = str(now.message_id)
        if self._secret:
            digest = hmac.new(self._secret, content, hashlib.sha256).hexdigest()
            headers["X-Wattbus-Signature"] = f"sha256={digest}"
        return headers

    def _check(self, answer: FetchedResponse) -> None:
        if answer.hops:
            raise RequestFailed(
                f"{self._host} redirects: set the last address as URL; what was posted may have got lost on the way."
            )
        if not 200 <= answer.status < 300:
            said = _start(answer, _LONGEST_SHOWN)
            cure = {401: "check Secret", 403: "check Secret", 404: "check URL", 410: "check URL"}
            raise RequestFailed(
                f"{self._host} answered {answer.status}{f': {said}' if said else ''}; "
                f"{cure.get(answer.status, 'try again later')}."
            )

    def _without_address(self, text: str) -> str:
        """Return a sentence without the address where that is a secret; the host may be named."""
        if not self.URL.startswith(PREFIX):
            return text
        path = urlsplit(self._url).path
        return text.replace(self._url.partition("?")[0][:120], f"{self._host}/***").replace(path, "/***")


def _fields(request: Any) -> tuple[str, dict[str, Any]]:
    """Return the type of a message and its fields."""
    if hasattr(request, "AlertText"):
        # In IRIS, an alert is an object of a class that is not Python's.
        names = vars(AlertRequest())
        return type_name(AlertRequest), {name: str(getattr(request, name, "") or "") for name in names}
    body = to_envelope(request)
    fields = json.loads(body.json or "{}") if body is not None else {}
    return body.classname if body is not None else "", fields if isinstance(fields, dict) else {
        "value": fields
    }


def _start(answer: FetchedResponse, most: int) -> str:
    """Return the beginning of an answer as text."""
    return " ".join(answer.content[: 4 * most].decode("utf-8", "replace").split())[:most]
