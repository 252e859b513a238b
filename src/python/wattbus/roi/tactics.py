"""The tactics: ways to spend less energy on the same work, as data.

What each one costs beside its electricity differs; :attr:`Tactic.costs` says what to think of.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.errors import UnknownName


@dataclass(frozen=True)
class Tactic:
    """One tactic: what is done, what is counted, and which costs belong to it."""

    name: str
    title: str
    text: str
    unit: str  # what the returns count: "inference" or "training"
    before: str
    after: str
    costs: tuple[str, ...]
    own_energy: str  # what the tactic itself uses energy for

    @property
    def units(self) -> str:
        """Return the plural of the unit."""
        return f"{self.unit}s"


TACTICS = (
    Tactic(
        "fine-tune",
        "Fine-tune instead of train",
        "A pretrained model is tuned on a few rows in place of one that is trained from nothing.",
        "training",
        "a training from nothing",
        "a fine-tune",
        ("the work of changing the recipe", "the rows that have to be labelled"),
        "trying the recipe out; each fine-tune itself is what is counted after",
    ),
    Tactic(
        "quantise",
        "Quantise",
        "The weights of the model are kept in fewer bits; the answers may move a little.",
        "inference",
        "the model as it is",
        "the quantised model",
        ("the work of converting and checking it", "wrong answers, where accuracy falls"),
        "the conversion, its calibration and the comparison of the answers",
    ),
    Tactic(
        "distil",
        "Distil",
        "A small model learns from the answers of a large one and takes its place.",
        "inference",
        "the large model",
        "the small model that learnt from it",
        ("the work of the distillation", "wrong answers, where accuracy falls"),
        "the answers of the teacher and the training of the student",
    ),
    Tactic(
        "smaller-model",
        "Use a smaller model",
        "A model with fewer parameters does the same task.",
        "inference",
        "the model as it is",
        "the smaller model",
        ("the work of choosing and comparing", "wrong answers, where accuracy falls"),
        "the comparison of the candidates, and a fine-tune where one is made",
    ),
    Tactic(
        "batch",
        "Batch",
        "Several requests are answered together; each may wait a little longer.",
        "inference",
        "one request at a time",
        "requests together",
        ("the work of setting it up", "what a longer wait costs you"),
        "finding the right size of a batch",
    ),
    Tactic(
        "cache",
        "Cache",
        "An answer that was given before is given again; the mean falls by the share of such requests.",
        "inference",
        "every request asks the model",
        "the mean over requests with and without a hit",
        ("the work of setting it up", "the memory or the service that keeps the answers"),
        "filling the cache",
    ),
    Tactic(
        "remote-to-local",
        "Move from remote to local",
        "A model on this machine takes the place of a remote service that takes a fee for each request.",
        "inference",
        "a request to the remote service: its fee, with price 0 where the fee holds the electricity",
        "the model on this machine",
        ("the work of the move", "the machine, as far as it is bought for this"),
        "fetching the model, and a fine-tune where one is made",
    ),
)


def tactic_of(name: str) -> Tactic:
    """Return the tactic of a name."""
    for one in TACTICS:
        if one.name == name:
            return one
    raise UnknownName("tactic", name, [one.name for one in TACTICS])
