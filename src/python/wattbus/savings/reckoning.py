"""A run beside the other way: the sample scaled to the size of the run, and what is summed up over all runs.

Nothing is invented: without a sample there is no other side, joules stand beside joules of the same tier only, and a
run that cost more than the other way shows a ratio below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattbus import words
from wattbus.energy.record import Tier
from wattbus.savings.counterfactual import COUNTED, Cost, Counterfactual, KeptSample
from wattbus.savings.runs import AnswersWork, FetchWork, Run, Side, TrainingWork

#: Old and new model are each evaluated once on the test rows: here, and in the template.
EVALUATIONS = 2


@dataclass(frozen=True)
class Row:
    """One run: ours, the other way, and their ratio (above 1: ours was cheaper); ``how`` says how that is known."""

    run: str
    kind: str
    what: str
    at_us: int
    ours: Side
    template: Side | None
    seconds_ratio: float | None
    joules_ratio: float | None
    bytes_ratio: float | None
    how: str
    not_measured: str = ""
    command: str = ""  # what would measure it; empty where nothing would
    note: str = ""


@dataclass(frozen=True)
class JoulesTotal:
    """Joules of one tier over the runs that have them on both sides."""

    tier: str
    runs: int
    ours: float
    template: float


@dataclass(frozen=True)
class Totals:
    """The sum of the runs that have both sides; ``left_out`` have not."""

    measured: int
    left_out: int
    seconds_runs: int
    ours_seconds: float
    template_seconds: float
    joules: tuple[JoulesTotal, ...]
    fetches: int
    ours_bytes: int
    template_bytes: int


def row_of(run: Run, sample: KeptSample | None, obstacle: str = "") -> Row:
    """Set a run beside the sample of its shape; ``obstacle`` says why none can be measured now."""
    if run.why_not:
        return _without(run, run.why_not)
    if isinstance(run.work, FetchWork):
        return _fetch_row(run, run.work)
    if sample is None:
        command = "" if obstacle else measure_command(run)
        return _without(run, obstacle or "not measured on this machine yet", command)
    if isinstance(run.work, TrainingWork):
        return _row(
            run, trained_the_other_way(run.work, sample.found), sample, _scaled_training(run.work, sample)
        )
    if isinstance(run.work, AnswersWork):
        return _answers_row(run, run.work, sample)
    return _without(run, "nothing is known of its size")


def measure_command(run: Run) -> str:
    """Return the command that measures a run."""
    return f"wattbus savings measure {run.name}"


def trained_the_other_way(work: TrainingWork, sample: Counterfactual) -> Side:
    """Return what the sample comes to over the rows and epochs of a training: start, passes, evaluations."""
    return _scaled(
        sample,
        {
            "start": 1.0,
            "training": work.train_rows * work.epochs,
            "evaluation": float(EVALUATIONS * work.test_rows),
        },
    )


def answered_the_other_way(requests: int, sample: Counterfactual) -> Side:
    """Return what the sample comes to over so many requests."""
    return _scaled(sample, {"answering": float(requests)})


def totals_of(rows: Sequence[Row]) -> Totals:
    """Sum up what has both sides; joules of each tier apart."""
    both = [row for row in rows if row.template is not None]
    timed = [row for row in both if row.seconds_ratio is not None]
    counted = [row for row in both if row.bytes_ratio is not None or row.kind == "fetch"]
    tiers = dict.fromkeys(row.ours.tier for row in both if row.joules_ratio is not None)
    return Totals(
        measured=len(both),
        left_out=len(rows) - len(both),
        seconds_runs=len(timed),
        ours_seconds=sum(row.ours.seconds or 0.0 for row in timed),
        template_seconds=sum(_other(row).seconds or 0.0 for row in timed),
        joules=tuple(_joules_total(both, tier) for tier in tiers),
        fetches=len(counted),
        ours_bytes=sum(row.ours.bytes or 0 for row in counted),
        template_bytes=sum(_other(row).bytes or 0 for row in counted),
    )


def _joules_total(rows: Sequence[Row], tier: Tier) -> JoulesTotal:
    same = [row for row in rows if row.joules_ratio is not None and row.ours.tier is tier]
    return JoulesTotal(
        str(tier), len(same), sum(row.ours.joules or 0.0 for row in same),
        sum(_other(row).joules or 0.0 for row in same),
    )  # fmt: skip


def _other(row: Row) -> Side:
    return row.template or Side()


# -- rows ---------------------------------------------------------------------------------------------------------


def _answers_row(run: Run, work: AnswersWork, sample: KeptSample) -> Row:
    """Compare seconds over all answers, and joules over those whose energy is known."""
    timed = answered_the_other_way(work.requests, sample.found)
    metered = answered_the_other_way(work.metered, sample.found)
    other = Side(
        timed.seconds, metered.joules, metered.low_joules, metered.high_joules, timed.tier, timed.low_seconds,
        timed.high_seconds,
    )  # fmt: skip
    how = f"measured on {words.counted(sample.found.rows, 'request')}, {_told(sample)}, scaled to {work.requests:,}"
    missing = work.requests - work.metered
    what = f"the energy of {words.counted(missing, 'answer')} is unknown or of another tier"
    note = f"{what}: joules are of the others" if missing else ""
    return _row(run, other, sample, how, note if run.ours.joules is not None else "")


def _row(run: Run, other: Side, sample: KeptSample, how: str, note: str = "") -> Row:
    why = "" if other.joules is not None else f"no joules of the other way: {sample.found.why_no_joules}"
    if run.ours.joules is None:
        why = "no joules of ours: they were not read, or are of unlike tiers"
    elif other.joules is not None and not _comparable(other.tier, run.ours.tier):
        why = (
            f"joules are not compared: ours are {run.ours.tier}, the other way's {other.tier}; "
            "measure it again"
        )
        other = Side(other.seconds, low_seconds=other.low_seconds, high_seconds=other.high_seconds)
    return Row(
        run.name, run.kind, run.what, run.at_us, run.ours, other,
        _ratio(other.seconds, run.ours.seconds), _ratio(other.joules, run.ours.joules), None, how,
        note="; ".join(part for part in (note, why) if part),
    )  # fmt: skip


def _comparable(one: Tier, other: Tier) -> bool:
    return one is other or {one, other} <= COUNTED


def _fetch_row(run: Run, work: FetchWork) -> Row:
    """Compare bytes, and seconds at the rate of this very fetch; nobody knows the joules of a network."""
    listed = work.listed_bytes or 0
    seconds = run.ours.seconds
    whole = work.fetched_bytes == work.needed_bytes
    rate = work.fetched_bytes / seconds if seconds and work.fetched_bytes else None
    other = Side(seconds=listed / rate if rate and whole else None, bytes=listed)
    notes = ["the joules of a network are not known"]
    if work.fetched_bytes and not whole:
        notes.append("an earlier try had fetched a part of it: seconds are not compared")
    formats = ", ".join(one.removeprefix(".") for one in work.formats)
    how = (
        f"{words.size(listed)} are listed at the top of the repository (weights as {formats or 'none'}), "
        f"{words.size(work.needed_bytes)} are needed"
        + ("; seconds at the rate of this fetch" if other.seconds is not None else "")
    )
    return Row(
        run.name, run.kind, run.what, run.at_us, run.ours, other, _ratio(other.seconds, seconds), None,
        _ratio(listed, work.fetched_bytes), how, note="; ".join(notes),
    )  # fmt: skip


def _without(run: Run, why: str, command: str = "") -> Row:
    return Row(
        run.name, run.kind, run.what, run.at_us, run.ours, None, None, None, None, "", not_measured=why,
        command=command,
    )  # fmt: skip


def _scaled_training(work: TrainingWork, sample: KeptSample) -> str:
    return (
        f"measured on {words.counted(sample.found.rows, 'row')}, {_told(sample)}, scaled to {work.train_rows:,} rows x "
        f"{work.epochs:g} epoch{'' if work.epochs == 1 else 's'} and {EVALUATIONS} evaluations of "
        f"{work.test_rows:,} rows"
    )


def _told(sample: KeptSample) -> str:
    date = words.local_time(sample.made_us)[:10]
    return f"{words.counted(sample.found.repeats, 'repeat')}, {date}"


# -- arithmetic ---------------------------------------------------------------------------------------------------


def _scaled(sample: Counterfactual, units: dict[str, float]) -> Side:
    """Add up the parts, each so many times its unit; joules unknown where those of a part are."""
    parts: list[tuple[Cost, float]] = [(sample.costs[name], count) for name, count in units.items()]

    def total(field: str) -> float | None:
        each = [getattr(cost, field) for cost, _ in parts]
        return (
            None
            if None in each
            else sum(value * count for value, (_, count) in zip(each, parts, strict=True))
        )

    joules = total("joules")
    return Side(
        total("seconds"), joules, total("low_joules"), total("high_joules"),
        sample.tier if joules is not None else Tier.NONE, total("low_seconds"), total("high_seconds"),
    )  # fmt: skip


def _ratio(other: float | None, ours: float | None) -> float | None:
    """Return how many times ours the other way is; None where one is unknown, or ours was nothing.

    >>> _ratio(6.0, 2.0), _ratio(1.0, 2.0), _ratio(None, 2.0), _ratio(2.0, 0)
    (3.0, 0.5, None, None)
    """
    return None if other is None or not ours else other / ours
