"""The typed messages that come with wattbus: of its machine-learning production, of its ready-made services, of alerts.

They are iop messages: the same classes travel on wattbus and inside IRIS. The seed's bodies are accepted as they
stand; the seed's type names (``msg.MLRequest``) are aliases, see :data:`ALIASES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from iop import Message, PydanticMessage
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from wattbus.training_report import LadderReport, Method, TargetMetric


class WattbusMessage(PydanticMessage):
    """Base of our messages: unknown fields are refused, secret fields are named."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    SECRET_FIELDS: ClassVar[tuple[str, ...]] = ()


class HFRequest(WattbusMessage):
    """Ask a model behind the Hugging Face inference API."""

    SECRET_FIELDS: ClassVar[tuple[str, ...]] = ("api_key",)

    api_url: str = Field(description="https address of the model on the inference API")
    payload: JsonValue = Field(description="the input, as the model's task expects it")
    api_key: str = Field(default="", description="Hugging Face token; kept as a reference, never written")
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)

    def __repr_args__(self) -> Any:
        return [
            (name, "***" if name in self.SECRET_FIELDS and value else value)
            for name, value in super().__repr_args__()
        ]


class HFResponse(WattbusMessage):
    """What the remote model answered."""

    output: JsonValue
    status: int
    api_url: str
    notes: list[str] = []


class MLRequest(PydanticMessage):
    """Ask the item's model; every field goes to the pipeline, which checks them against its task."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)

    def inputs_by_name(self) -> dict[str, Any]:
        """Return the fields as sent."""
        return dict(self.__pydantic_extra__ or {})


class MLResponse(WattbusMessage):
    """The model's answer, and which version gave it."""

    output: JsonValue
    model: str
    version: str
    task: str
    pictures: list[str] = Field(default=[], description="names of annotated pictures in the pictures folder")
    notes: list[str] = []
    input_tokens: int | None = Field(
        default=None, description="tokens that the model read; empty: not counted"
    )
    output_tokens: int | None = Field(default=None, description="tokens that it wrote")


class MLToken(WattbusMessage):
    """What one token adds to a text that is streamed; an MLResponse with the whole follows the last."""

    text: str = Field(description="empty while a character is not whole")


class TrainRequest(PydanticMessage):
    """Fine-tune the item's model on rows of a SQL table; other fields are TrainingArguments by name."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    columns: str = Field(description="those of the objective, by default label column, text column")
    table: str
    objective: str = Field(
        default="text-classification",
        description="or token-classification, masked-lm, causal-lm, next-sentence, image-classification",
    )
    train_tokenizer: int | None = Field(
        default=None, strict=False,
        description="masked-lm, causal-lm: so many tokens of a new tokenizer, trained on the rows first",
    )  # fmt: skip
    limit: int | None = Field(
        default=None, ge=1, le=10_000_000, strict=False, description="rows to read; all when left out"
    )
    p_of_train: float = Field(
        default=0.8, gt=0, lt=1, description="share of the rows that train; the rest tests"
    )
    method: Method | None = Field(
        default=None,
        description="features, last-layers, lora, full, or auto: from the cheapest on; left out: auto with a target or "
        "a budget, else full",
    )
    target: float | None = Field(
        default=None,
        ge=0,
        le=1,
        strict=False,
        description="auto ends at the first that reaches it, such as 0.8",
    )
    target_metric: TargetMetric = Field(default="accuracy", description="what the target is set for")
    energy_budget_wh: float | None = Field(
        default=None, gt=0, strict=False, description="watt-hours; no more is begun than what is left of them"
    )
    class_weights: JsonValue = Field(
        default=None, description='balanced, or a weight by label, such as {"1": 2.0}'
    )
    early_stopping_patience: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        strict=False,
        description="evaluations without a better one, after which it ends with the best",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _join(cls, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

    @field_validator("limit", "train_tokenizer", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a number is expected, not true or false")
        return value

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)

    def options(self) -> dict[str, Any]:
        """Return the TrainingArguments that were sent."""
        return dict(self.__pydantic_extra__ or {})


class ChangedExample(BaseModel):
    """A test row that the new model answers in another way than the old one."""

    row: int = Field(description="its place in the rows as read; the first is 1")
    text: str = Field(description="the first characters of it")
    label: str = Field(description="what the table says")
    old: str
    new: str


class TrainResponse(WattbusMessage):
    """Old and new metrics of a training, side by side; the new version is staged, not live."""

    model: str
    old_version: str
    new_version: str
    old_metrics: dict[str, float]
    new_metrics: dict[str, float]
    labels: list[str]
    train_rows: int
    test_rows: int
    changed_predictions: int
    changed_examples: list[ChangedExample] = Field(default=[], description="the first of those predictions")
    seconds: float
    notes: list[str] = []
    objective: str = "text-classification"
    task: str = Field(default="text-classification", description="of the item that can serve the new version")
    ladder: LadderReport = Field(
        default=LadderReport(), description="what each way to train came to, and the scores in detail"
    )


class OverrideRequest(WattbusMessage):
    """Publish the staged version of the item's model."""


class OverrideResponse(WattbusMessage):
    """Which version answers from now on, and which one it replaced."""

    model: str
    version: str
    replaced: str | None
    note: str = ""


class OptimiseRequest(WattbusMessage):
    """Convert the item's model to a faster engine, compared on rows of a table or on requests that were kept."""

    to: str = Field(
        default="auto",
        description="auto, fp32, bf16, fp16, int8-weights, int8 or onnx-int8; auto tries them all",
    )
    table: str | None = Field(
        default=None, description="a table with texts, or with names of uploaded pictures"
    )
    text_column: str | None = Field(default=None, description="its column")
    limit: int | None = Field(default=None, ge=1, strict=False, description="rows to read, 256 at most")
    requests: int | None = Field(
        default=None,
        ge=1,
        strict=False,
        description="in place of a table: so many of the newest requests answered",
    )
    budget_seconds: float = Field(
        default=600.0, gt=0, le=86_400, strict=False, description="no further candidate is begun after it"
    )
    min_agreement: float = Field(
        default=0.995, ge=0, le=1, strict=False, description="share of the predictions that must stay"
    )
    min_speedup: float = Field(
        default=1.1, gt=0, le=100, strict=False,
        description="times the throughput that pays; else 70 % of the size and no slower",
    )  # fmt: skip


class OptimisedSpeed(BaseModel):
    """How one side did, each input asked alone, in turns with the other side: medians of the rounds."""

    size_bytes: int
    load_seconds: float
    p50_ms: float
    p95_ms: float
    per_second: float
    cpu_seconds_per_1000: float | None = None
    joules_per_1000: float | None = Field(default=None, description="empty: not read")
    tier: str | None = Field(default=None, description="how far the joules can be trusted")


class ChangedAnswer(BaseModel):
    """An input that a candidate answers in another way."""

    row: int = Field(description="its place in the inputs as read; the first is 1")
    text: str = Field(description="the first characters of it")
    old: str
    new: str


class OptimisedLikeness(BaseModel):
    """How far the answers of a candidate are those of the version it was made from."""

    measure: str
    agreement: float
    compared: int
    max_difference: float | None = None
    mean_difference: float | None = None
    min_cosine: float | None = None
    mean_cosine: float | None = None
    changed: int
    changed_rows: list[ChangedAnswer] = Field(default=[], description="the first of them")


class OptimisedCandidate(BaseModel):
    """What came of one candidate; nothing was measured of one that was not made."""

    name: str
    passes: bool
    reason: str
    likeness: OptimisedLikeness | None = None
    before: OptimisedSpeed | None = None
    after: OptimisedSpeed | None = None


class OptimiseResponse(WattbusMessage):
    """What each candidate came to; the chosen one is staged as a new version, not live."""

    model: str
    task: str
    old_version: str
    new_version: str | None = Field(description="empty: do not convert; the reason says why")
    chosen: str | None
    reason: str
    rows: int
    candidates: list[OptimisedCandidate]
    seconds: float
    notes: list[str] = []


class FileRequest(WattbusMessage):
    """A file that was dropped into a folder; its content is text, or base64 of its bytes."""

    name: str
    text: str | None = None
    base64: str | None = None
    size: int = Field(ge=0, description="bytes")
    modified: datetime


class FileRow(WattbusMessage):
    """One row of a dropped file: a JSON object or a line of a CSV file."""

    file: str
    number: int = Field(ge=1, description="place of the row in its file; the first is 1")
    row: dict[str, JsonValue]


class SQLRow(WattbusMessage):
    """A new row of a table; what JSON does not know (times, decimals, bytes in base64) is text."""

    table: str
    row: dict[str, JsonValue]


class TimerTick(WattbusMessage):
    """What a timer sends."""

    due: datetime


class WebhookResponse(WattbusMessage):
    """What a webhook answered; a long text is cut."""

    status: int
    text: str = ""


@dataclass
class AlertRequest(Message):
    """``Ens.AlertRequest`` as a Python message, field for field; times as IRIS writes them, in UTC."""

    AlertText: str = ""
    AlertTime: str = ""
    SourceConfigName: str = ""
    AlertDestination: str = ""
    SessionId: str = ""
    MessageHeaderId: str = ""


_OF_THE_SEED = (
    HFRequest,
    HFResponse,
    MLRequest,
    MLResponse,
    TrainRequest,
    TrainResponse,
    OverrideRequest,
    OverrideResponse,
)
PUBLIC = (
    *_OF_THE_SEED,
    MLToken,
    OptimiseRequest,
    OptimiseResponse,
    FileRequest,
    FileRow,
    SQLRow,
    TimerTick,
    WebhookResponse,
    AlertRequest,
)

#: Names by which the seed and old IoP productions call our types.
ALIASES = {f"msg.{cls.__name__}": cls for cls in _OF_THE_SEED}

#: Envelope classes that IRIS's testing service asks for before the real type; they carry no type of their own.
ENVELOPES = ("Grongier.PEX.Message", "IOP.Message", "EnsLib.PEX.Message")
