"""The message bodies that IRIS ships in its package Ens."""

from __future__ import annotations

from typing import Any

from wattbus.runtime.iris_objects import Persistent
from wattbus.runtime.iris_streams import CharacterStream, Stream


class MessageBody(Persistent, iris="Ens.MessageBody"):
    """``Ens.MessageBody``."""


class Request(MessageBody, iris="Ens.Request"):
    """``Ens.Request``."""


class Response(MessageBody, iris="Ens.Response"):
    """``Ens.Response``."""


class StringContainer(MessageBody, iris="Ens.StringContainer", properties={"StringValue": ""}):
    """``Ens.StringContainer``: a string."""

    def __init__(self, value: Any = "") -> None:
        super().__init__()
        self.StringValue = value


class StringRequest(StringContainer, Request, iris="Ens.StringRequest"):
    """``Ens.StringRequest``."""


class StringResponse(StringContainer, Response, iris="Ens.StringResponse"):
    """``Ens.StringResponse``."""


class StreamContainer(
    MessageBody,
    iris="Ens.StreamContainer",
    properties={"Stream": None, "OriginalFilename": "", "Type": ""},
):
    """``Ens.StreamContainer``: a stream, the name of the file it came from, and its type."""

    def __init__(self, stream: Any = "") -> None:
        super().__init__()
        self.Stream = stream

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "Stream" and isinstance(value, str) and value:
            value = CharacterStream(value)
        super().__setattr__(name, value)
        if name == "Stream" and isinstance(value, Stream):
            self.Type = value.TYPE


class AlarmRequest(Request, iris="Ens.AlarmRequest", properties={"Duration": ""}):
    """``Ens.AlarmRequest``: asks to be woken."""


class AlarmResponse(Response, iris="Ens.AlarmResponse"):
    """``Ens.AlarmResponse``."""


class AlertRequest(
    Request,
    iris="Ens.AlertRequest",
    properties={
        "AlertText": "",
        "AlertTime": "",
        "SourceConfigName": "",
        "AlertDestination": "",
        "SessionId": "",
        "MessageHeaderId": "",
    },
):
    """``Ens.AlertRequest``: what an item that alerts sends to ``Ens.Alert``."""
