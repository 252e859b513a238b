"""A service that is called in one process and sends through another, and what it sends to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iop import BusinessOperation, BusinessService, Production, target

from components import Echo, Gate, Text


class Counter(BusinessOperation):
    """Answers with a stream."""

    def count(self, request: Text) -> Iterator[Text]:
        for number in range(request.times):
            yield Text(str(number))


class AskRemotely(BusinessService):
    Output = target()
    greeting: str = ""

    def ask(self, text: str) -> str:
        self.log_info(f"asked {text}")
        self.send_request_async(self.Output, Text("first"))
        return self.greeting + str(self.send_request_sync(self.Output, Text(text)).text)

    def ask_several(self, *texts: str) -> list[str]:
        answers = self.send_multi_request_sync([(self.Output, Text(text)) for text in texts])
        return [str(response.text) for _, _, response, _ in answers]

    async def ask_slowly(self, text: str) -> str:
        answer = await self.send_request_async_ng(self.Output, Text(text))
        return str(answer.text)

    def ask_gate(self, timeout: float) -> Any:
        return self.send_request_sync("Gate", Text("x"), timeout=timeout)  # type: ignore[arg-type]

    def count(self, times: int) -> Iterator[str]:
        for value in self.send_generator_request("Counter", Text(times=times)):
            yield value.text


def remote_production() -> Production:
    prod = Production("Test.Remote")
    prod.operation("Echo", Echo, pool_size=4)
    prod.operation("Gate", Gate)
    prod.operation("Counter", Counter)
    service = prod.service("Ask", AskRemotely, settings={"greeting": "dear "})
    prod.connect(service.Output, "Echo")
    return prod
