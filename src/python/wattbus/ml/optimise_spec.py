"""What an optimisation is given, what it tells on its way and what it gives back; JSON on both sides of the process."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from wattbus.errors import BadRequest, UnknownName

#: What a version can be converted to: the precision of its weights and its arithmetic, and another engine for the last.
CANDIDATES = ("fp32", "bf16", "fp16", "int8-weights", "int8", "onnx-int8")
AUTO = "auto"
#: In this order ``auto`` tries: what keeps every answer first, then what costs more to make.
AUTO_ORDER = ("bf16", "fp32", "int8-weights", "fp16", "int8", "onnx-int8")
FEWEST_ROWS = 10
MOST_ROWS = 256
FEWEST_CALIBRATION_ROWS = 10
DEFAULT_BUDGET_SECONDS = 600.0
ROWS_SHOWN = 20
CHARACTERS_SHOWN = 300


class Gate(BaseModel):
    """What a candidate must reach to be kept; the rest of a version's worth is for its user to judge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_agreement: float = Field(
        default=0.995, ge=0, le=1, description="share of the predictions that must stay"
    )
    min_speedup: float = Field(
        default=1.1, gt=0, description="times faster it must be at least, by throughput"
    )
    max_size_share: float = Field(
        default=0.7,
        gt=0,
        description="or else the share of the size that it may have, where it is not slower",
    )


class OptimiseSpec(BaseModel):
    """One optimisation: which version for which task, on which inputs, to what."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_folder: Path
    task: str
    candidates: tuple[str, ...]
    inputs: tuple[str, ...] = Field(description="texts, or names of pictures in the uploads folder")
    uploads: Path
    run_folder: Path
    budget_seconds: float = DEFAULT_BUDGET_SECONDS
    gate: Gate = Gate()
    rounds: int = Field(default=3, ge=1, le=50)
    metered: bool = True


class Speed(BaseModel):
    """How one side does on the inputs, each asked alone: medians of the rounds."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    load_seconds: float
    p50_ms: float
    p95_ms: float
    per_second: float
    cpu_seconds_per_1000: float | None = None
    joules_per_1000: float | None = None
    tier: str | None = None


class ChangedRow(BaseModel):
    """An input that the candidate answers in another way."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(description="its place in the inputs as read; the first is 1")
    text: str = Field(description="the first characters of it")
    old: str
    new: str


class Likeness(BaseModel):
    """How far the answers of a candidate are those of the version it was made from."""

    model_config = ConfigDict(frozen=True)

    measure: str = Field(description="what was compared: labels, labels of tokens, words, vectors, objects")
    agreement: float = Field(description="share of what was compared that is the same, 0 to 1")
    compared: int
    max_difference: float | None = Field(
        description="largest difference of a score, before softmax where the task gives that; empty: vectors"
    )
    mean_difference: float | None = None
    min_cosine: float | None = Field(
        default=None, description="least cosine of two vectors; empty: no vectors"
    )
    mean_cosine: float | None = None
    changed: int = Field(description="inputs of which something changed")
    changed_rows: tuple[ChangedRow, ...] = Field(default=(), description="the first of them")


class Candidate(BaseModel):
    """What came of one candidate; a reason stands where it was not made, or did not pass."""

    model_config = ConfigDict(frozen=True)

    name: str
    passes: bool
    reason: str
    likeness: Likeness | None = None
    before: Speed | None = None
    after: Speed | None = None

    @property
    def speedup(self) -> float | None:
        """How many times faster it is, by throughput."""
        if self.before is None or self.after is None or not self.before.per_second:
            return None
        return self.after.per_second / self.before.per_second


class OptimiseProgress(BaseModel):
    """Where an optimisation is."""

    model_config = ConfigDict(frozen=True)

    stage: str


class OptimiseResult(BaseModel):
    """A finished optimisation; ``model_folder`` is None where nothing is worth converting to."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    task: str
    rows: int
    candidates: tuple[Candidate, ...]
    chosen: str | None
    reason: str
    model_folder: Path | None
    seconds: float
    parameters: int
    layers: int | None
    class_path: str
    notes: tuple[str, ...] = ()
    cpu_seconds: float | None = None  # of the child process; None when it was not read


def candidates_of(to: str) -> tuple[str, ...]:
    """Return what ``to`` asks to try; UnknownName with the nearest right one."""
    if to == AUTO:
        return AUTO_ORDER
    if to not in CANDIDATES:
        raise UnknownName("way to optimise", to, [AUTO, *CANDIDATES])
    return (to,)


def check_inputs(inputs: list[str], where: str) -> None:
    """Refuse too few inputs to compare on."""
    if len(inputs) < FEWEST_ROWS:
        count = "is 1 row" if len(inputs) == 1 else f"are {len(inputs)} rows"
        raise BadRequest(
            f"there {count} in {where}, and {FEWEST_ROWS} are the least to calibrate and to compare on: give more rows."
        )


def judged(gate: Gate, name: str, likeness: Likeness, before: Speed, after: Speed) -> Candidate:
    """Let a candidate through, or say why not."""
    speedup = after.per_second / before.per_second if before.per_second else 1.0
    share = after.size_bytes / before.size_bytes if before.size_bytes else 1.0
    figures = f"{speedup:.2f} times the throughput, {share:.0%} of the size"
    if likeness.agreement < gate.min_agreement:
        reason = (
            f"{likeness.agreement:.2%} of the {likeness.measure} stay and {gate.min_agreement:.2%} must: it was "
            f"not kept ({figures})."
        )
        passes = False
    elif speedup >= gate.min_speedup or (share <= gate.max_size_share and speedup >= 0.95):
        reason = f"{likeness.agreement:.2%} of the {likeness.measure} stay, {figures}."
        passes = True
    else:
        reason = (
            f"it does not pay: {figures}, and it must have {gate.min_speedup:g} times the throughput, or at most "
            f"{gate.max_size_share:.0%} of the size and be no slower."
        )
        passes = False
    return Candidate(name=name, passes=passes, reason=reason, likeness=likeness, before=before, after=after)


def best(candidates: list[Candidate]) -> Candidate | None:
    """Return the fastest candidate that passes; of those within 5 % of it, the smallest.

    A speed is that against the model in the same turns: the machine may have been busier at another's time.
    """
    passing = [(one.speedup, one.after.size_bytes, one) for one in candidates if one.passes and one.after]
    fastest = max((speedup or 0.0 for speedup, _, _ in passing), default=0.0)
    near = [(size, one) for speedup, size, one in passing if (speedup or 0.0) >= 0.95 * fastest]
    return min(near, key=lambda pair: pair[0])[1] if near else None
