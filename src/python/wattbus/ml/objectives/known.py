"""The objectives by name: the columns that each takes, and the task that serves what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wattbus.errors import BadRequest, UnknownName

DEFAULT_OBJECTIVE = "text-classification"


@dataclass(frozen=True)
class ObjectiveFacts:
    """One objective: its columns, in one of the orders that it takes, the task that serves it, its metrics."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    example: str
    task: str  # that MLOperation serves the new version for
    family: str  # as energy reports spell it
    metrics: tuple[str, ...] = ("accuracy", "precision", "recall", "f1")
    reads: str = "text"
    counts_labels: bool = True  # the number of labels can be asked for
    has_ladder: bool = False  # there are cheaper ways than in full

    @property
    def names_tokens(self) -> bool:
        """Whether the answers are tokens, so that a new vocabulary is learnt with it."""
        return "perplexity" in self.metrics

    @property
    def made_ready(self) -> str:
        """What is done to rows before the first step."""
        return "looked at" if self.reads == "image" else "tokenised"

    def check_columns(self, names: tuple[str, ...]) -> None:
        """Raise BadRequest unless ``names`` are as many columns as the objective takes, each named once."""
        given = [name for name in names if name]
        if len(given) != len(names) or len(names) not in map(len, self.columns):
            raise BadRequest(
                f"columns names {len(given)} columns: {self.name} takes {self._takes()}, as in {self.example!r}."
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadRequest(f"columns names {twice!r} twice: {self._takes()} are different columns.")

    def check_ladder(self, asked: Sequence[str]) -> None:
        """Raise BadRequest where ``asked``, fields of a request, are for objectives with a ladder."""
        if asked and not self.has_ladder:
            raise BadRequest(
                f"{', '.join(asked)} cannot be asked for with {self.name}, which is trained in full: leave "
                f"{'it' if len(asked) == 1 else 'them'} out; text-classification has cheaper ways."
            )

    def _takes(self) -> str:
        return ", or ".join(_in_order(each) for each in self.columns)


def _in_order(columns: tuple[str, ...]) -> str:
    if len(columns) == 1:
        return f"one column, the {columns[0]}"
    first, *rest = columns
    return f"{len(columns)} columns, the {first} first, then the {' and the '.join(rest)}"


_LANGUAGE = ("loss", "perplexity", "accuracy")

OBJECTIVES: Mapping[str, ObjectiveFacts] = {
    facts.name: facts
    for facts in (
        ObjectiveFacts(
            "text-classification", (("label", "text"),), "ReviewLabel,ReviewText",
            "text-classification", "textClassification", has_ladder=True,
        ),
        ObjectiveFacts(
            "token-classification", (("tags", "words"),), "Tags,Words",
            "token-classification", "tokenClassification",
        ),
        ObjectiveFacts(
            "masked-lm", (("text",),), "Abstract", "fill-mask", "fillMask",
            metrics=_LANGUAGE, counts_labels=False,
        ),
        ObjectiveFacts(
            "causal-lm", (("text",),), "Abstract", "text-generation", "textGeneration",
            metrics=_LANGUAGE, counts_labels=False,
        ),
        ObjectiveFacts(
            "next-sentence", (("label", "first sentence", "second sentence"), ("document",)),
            "IsNext,First,Second", "text-classification", "nextSentencePrediction", counts_labels=False,
        ),
        ObjectiveFacts(
            "image-classification", (("label", "image"),), "Animal,Picture",
            "image-classification", "imageClassification", reads="image",
        ),
    )
}  # fmt: skip
ALIASES = {"next-sentence-prediction": "next-sentence"}


def find_objective(name: str) -> ObjectiveFacts:
    """Return the objective of this name; UnknownName with the nearest one otherwise.

    >>> find_objective("masked-lm").task
    'fill-mask'
    """
    canonical = ALIASES.get(name, name)
    if canonical not in OBJECTIVES:
        raise UnknownName("objective", name, [*OBJECTIVES, *ALIASES])
    return OBJECTIVES[canonical]
