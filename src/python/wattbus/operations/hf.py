"""HFOperation: asks a model behind the Hugging Face inference API."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from iop import BusinessOperation

from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.energy.remote import RemoteEstimate, estimate_remote, parameters_of_name
from wattbus.errors import BadSettings, RequestFailed
from wattbus.messages import HFRequest, HFResponse
from wattbus.operations.metered import Metered
from wattbus.operations.place import transport
from wattbus.runtime import context

if TYPE_CHECKING:
    from wattbus.transport import FetchedResponse

OLD_HOST = "api-inference.huggingface.co"
HOSTS = frozenset({"huggingface.co", OLD_HOST, "router.huggingface.co"})
RETRY_SECONDS = 60.0
ROUTER = "https://router.huggingface.co/hf-inference/models/"
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
SEND, SUSPEND = "send", "suspend"
_CHARACTERS_A_TOKEN = 4


class HFOperation(Metered, BusinessOperation):
    """Sends the payload with the key, to hosts of the allow-list only, and reports two rows of energy.

    Our side of the call is measured like any attempt; the remote side is estimated where a published formula
    exists, and else not estimable, with the reason.

    A request that was on its way when its process died may have run: nobody here can know. It is sent again and says
    so, or, with ``may_have_run=suspend``, it is suspended for a person to resume or to discard.
    """

    api_hosts: str = ""  # comma-separated; replaces HOSTS
    router_url: str = ""  # where requests to the switched-off API go; by default ROUTER
    retry_seconds: float | None = None  # how long to try again after 429 and 503; by default RETRY_SECONDS
    may_have_run: str = SEND

    def on_init(self) -> None:
        """Read the hosts that a key may be sent to."""
        if self.may_have_run not in (SEND, SUSPEND):
            raise BadSettings(
                f"may_have_run is {self.may_have_run!r}: set it to {SEND} (once more, with a warning) or {SUSPEND}."
            )
        hosts = {host.strip() for host in self.api_hosts.split(",") if host.strip()} or HOSTS
        self._key_hosts = frozenset(hosts | context.place().allow_hosts)

    def ask(self, request: HFRequest) -> HFResponse:
        """Post the payload and return the checked answer."""
        address, notes = self._address(request.api_url)
        notes += self._second_time(address)
        key = context.place().vault.reveal(request.api_key)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        began = time.perf_counter()
        answer = transport().send_with_retries(
            address,
            method="POST",
            headers=headers,
            json=_body(request.payload),
            secret_hosts=self._key_hosts,
            timeout_seconds=request.timeout_seconds,
            retry_seconds=float(self.retry_seconds or RETRY_SECONDS),
            max_bytes=LARGEST_ANSWER_BYTES,
        )
        output = _checked(answer, address)
        model = _model_of(address)
        estimate = _estimate(output, model, time.perf_counter() - began)
        window = current_window()
        window.describe(kind="remote inference", model=model, facts=_facts(request, output, model, address))
        window.remote(estimate, kind="remote inference", model=model)
        if estimate.energy_joules is None:
            notes.append(f"energy of the remote side: not estimable, {estimate.reason}")
        return HFResponse(output=output, status=answer.status, api_url=address, notes=notes)

    def _second_time(self, address: str) -> list[str]:
        """Say of a request whose last attempt died on the way that it may have run; suspend it where that is set."""
        now = context.current()
        if now is None or not now.cut_off:
            return []
        host = urlsplit(address).hostname
        note = f"attempt {now.attempt - 1} was cut off: the request may have run on {host} already"
        if self.may_have_run == SUSPEND:
            self.iris_handle.SuspendMessage = 1
            raise RequestFailed(
                f"{note}. `wattbus messages resume {now.message_id}` sends it again, "
                f"`wattbus messages discard {now.message_id}` gives it up."
            )
        self.log_warning(f"{note}; it is sent again")
        return [f"{note}; it was sent again"]

    def _address(self, url: str) -> tuple[str, list[str]]:
        """Return the address to call; one of the API that was switched off is translated, and a note says so."""
        parts = urlsplit(url)
        if parts.hostname == OLD_HOST and parts.path.startswith("/models/"):
            address = (self.router_url or ROUTER).rstrip("/") + "/" + parts.path.removeprefix("/models/")
            return address, [f"{OLD_HOST} answers no more: the request went to {address}"]
        return url, []


def _body(payload: Any) -> Any:
    return payload if isinstance(payload, dict) else {"inputs": payload}


def _checked(answer: FetchedResponse, address: str) -> Any:
    try:
        output = json.loads(answer.content)
    except ValueError:
        output = None
    if answer.status >= 400:
        said = output.get("error") if isinstance(output, dict) else None
        cure = {
            401: "send a valid api_key",
            403: "the key may not use this model",
            404: "check the model's name",
        }
        raise RequestFailed(
            f"{urlsplit(address).hostname} answered {answer.status} for {urlsplit(address).path}"
            f"{f': {str(said)[:300]}' if said else ''}; {cure.get(answer.status, 'try again later')}."
        )
    if output is None:
        raise RequestFailed(
            f"{urlsplit(address).hostname} answered with no JSON ({len(answer.content)} bytes)."
        )
    return output


def _model_of(address: str) -> str:
    path = urlsplit(address).path
    return path.partition("/models/")[2].strip("/") or path.strip("/")


def _generated(output: Any) -> str | None:
    rows = output if isinstance(output, list) else [output]
    texts = [row["generated_text"] for row in rows if isinstance(row, dict) and "generated_text" in row]
    return "".join(str(text) for text in texts) if texts else None


def _estimate(output: Any, model: str, seconds: float) -> RemoteEstimate:
    text = _generated(output)
    if text is None:
        return estimate_remote(None)
    return estimate_remote(
        "text-generation",
        parameters=parameters_of_name(model),
        output_tokens=max(1, len(text) // _CHARACTERS_A_TOKEN),
        latency_seconds=seconds,
    )


def _facts(request: HFRequest, output: Any, model: str, address: str) -> TaskFacts:
    text = _generated(output)
    parameters = parameters_of_name(model)
    asked, answered = len(json.dumps(request.payload)), len(json.dumps(output))
    return TaskFacts(
        stage="inference",
        family="textGeneration" if text is not None else None,
        requests=1,
        algorithm_type="llm" if text is not None else "neural network",
        foundation_model=model,
        foundation_model_uri=address,
        parameters=None if parameters is None else int(parameters),
        data=(
            DataFacts("input", "text", 1, asked, "(1)", "json", "private"),
            DataFacts(
                "output", "text" if text is not None else "object", 1, answered, "(1)", "json", "private"
            ),
        ),
    )
