"""Token classification: a tag for each word of a row, such as the names in a sentence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, ModelError
from wattbus.ml.examples import BATCH_MAX, LABELS_MAX, label_order
from wattbus.ml.loading import TOKEN_HEAD, Loaded, load_headed, load_tokenizer, longest_input, set_padding
from wattbus.ml.metrics import classification_metrics
from wattbus.ml.objectives.base import IGNORED, Answers, Encoded, changed_places, shown
from wattbus.ml.objectives.entities import OUTSIDE, are_entity_tags, entity_metrics
from wattbus.ml.objectives.padding import PadRight
from wattbus.ml.objectives.places import answer_places, places_of
from wattbus.ml.objectives.texts import check_enough
from wattbus.ml.train_spec import ChangedExample, TrainMetrics, TrainSpec


@dataclass(frozen=True)
class TaggedRows:
    """Rows of words, a tag for each."""

    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    row_numbers: tuple[int, ...]  # as read, from 1
    dropped: int
    digest: str
    bytes: int

    @property
    def strata(self) -> tuple[str, ...]:
        return ("",) * len(self.words)

    def load(self, folder: Path, num_labels: int | None, seed: int) -> TaggedLearner:
        """Load a text encoder with a head for the tags of these rows."""
        tokenizer = load_tokenizer(folder)
        if getattr(tokenizer, "add_prefix_space", None) is False:  # byte-level: a word begins with its space
            tokenizer = load_tokenizer(folder, add_prefix_space=True)
        if not tokenizer.is_fast:
            raise ModelError(
                f"the tokenizer in {folder} does not tell which word a token is of: it is too old."
            )
        tags = label_order(tag for row in self.tags for tag in row)
        labels = tuple(sorted(tags, key=lambda tag: tag != OUTSIDE))  # O first, as is the custom
        headed = load_headed(folder, TOKEN_HEAD, labels, num_labels, seed)
        set_padding(headed.model, tokenizer)
        base = Loaded(
            model=headed.model, reader=tokenizer, collate=PadRight(tokenizer.pad_token_id),
            labels=headed.labels, label_ids={label: number for number, label in enumerate(headed.labels)},
            max_tokens=longest_input(headed.config, tokenizer), old_note=headed.old_note, notes=headed.notes,
        )  # fmt: skip
        return TaggedLearner(base, self)


def read(rows: Iterable[tuple[Any, ...]], spec: TrainSpec) -> TaggedRows:
    """Read rows of (tags, words), each a JSON list or words between spaces; BadRequest when they teach nothing."""
    words: list[tuple[str, ...]] = []
    tags: list[tuple[str, ...]] = []
    numbers: list[int] = []
    digest = hashlib.sha256()
    size = number = 0
    for number, (tag_cell, word_cell) in enumerate(rows, start=1):
        row_tags = listed(tag_cell, spec.table, spec.columns[0], number)
        row_words = listed(word_cell, spec.table, spec.columns[1], number)
        if not row_tags or not row_words:
            continue
        if len(row_tags) != len(row_words):
            raise BadRequest(
                f"row {number} of {spec.table} has {len(row_tags)} tags in {spec.columns[0]} and {len(row_words)} "
                f"words in {spec.columns[1]}: each word needs its tag. The tags are named first, the words second."
            )
        words.append(row_words)
        tags.append(row_tags)
        numbers.append(number)
        coded = json.dumps([row_tags, row_words]).encode()
        size += sum(len(word.encode("utf-8", "surrogatepass")) for word in row_words)
        digest.update(coded + b"\n")
    check_enough(len(words), number, spec)
    _check_tags({tag for row in tags for tag in row}, spec)
    return TaggedRows(
        tuple(words), tuple(tags), tuple(numbers), number - len(words), digest.hexdigest(), size
    )


def listed(cell: object, table: str, column: str, row: int) -> tuple[str, ...]:
    """Return the entries of a cell: a list, a JSON list, or what stands between spaces; none of an empty one.

    >>> listed('["New York", "is"]', "T", "c", 1), listed("New York is", "T", "c", 1)
    (('New York', 'is'), ('New', 'York', 'is'))
    """
    if cell is None:
        return ()
    if isinstance(cell, str):
        try:
            found = json.loads(cell) if cell.lstrip().startswith("[") else cell.split()
        except ValueError:
            found = cell.split()
    else:
        found = cell
    if not isinstance(found, list | tuple):
        raise BadRequest(
            f"column {column} of {table} holds {type(cell).__name__} in row {row}: write a JSON list, or words "
            "between spaces."
        )
    if not all(
        isinstance(one, str | int) and not isinstance(one, bool) and str(one).strip() for one in found
    ):
        raise BadRequest(f"column {column} of {table} has an entry in row {row} that is empty or no text.")
    return tuple(str(one) for one in found)


def _check_tags(distinct: set[str], spec: TrainSpec) -> None:
    if len(distinct) == 1:
        raise BadRequest(
            f"all words of {spec.table} have the same tag {next(iter(distinct))!r}: at least two different tags are "
            "needed."
        )
    if len(distinct) > LABELS_MAX:
        raise BadRequest(
            f"column {spec.columns[0]} of {spec.table} has {len(distinct)} different tags, more than {LABELS_MAX}: "
            "name the tags first and the words second."
        )


@dataclass(frozen=True)
class TaggedLearner:
    """A tagger beside its rows."""

    base: Loaded
    rows: TaggedRows
    rows_at_once: int = BATCH_MAX

    def encode(self, positions: Sequence[int], *, held_out: bool) -> Encoded:
        """Tokenise words; the first token of each has its tag, the others none."""
        coded = self.base.reader(
            [list(self.rows.words[row]) for row in positions],
            is_split_into_words=True, truncation=True, max_length=self.base.max_tokens, padding=False,
        )  # fmt: skip
        rows, cut = [], 0
        for place, row in enumerate(positions):
            tags, labels, before = self.rows.tags[row], [], None
            for word in coded.word_ids(place):
                new = word is not None and word != before
                labels.append(self.base.label_ids[tags[word]] if new else IGNORED)
                before = word
            cut += len(labels) == self.base.max_tokens and sum(one != IGNORED for one in labels) < len(tags)
            rows.append({**{name: coded[name][place] for name in coded}, "labels": labels})
        note = f"{cut} rows are longer than {self.base.max_tokens} tokens: what is beyond was left out."
        return Encoded(
            rows, tuple(positions), tuple(len(row["input_ids"]) for row in rows), (note,) if cut else ()
        )

    def answers(self, encoded: Encoded) -> Answers:
        """Return the tag that each word gets."""
        found = answer_places(self.base, encoded, self.rows_at_once)
        return Answers(self._metrics(found.truth, found.predicted), found.predicted)

    def score(self, truth: Any, predicted: Any) -> TrainMetrics:
        """Return accuracy by word, and precision, recall and F1 of entities."""
        known = truth != IGNORED
        return self._metrics(
            [row[mask].tolist() for row, mask in zip(truth, known, strict=True)],
            [row[mask].tolist() for row, mask in zip(predicted, known, strict=True)],
        )

    def _metrics(self, truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]) -> TrainMetrics:
        """Count entities where the tags mark them; else words, weighted by tag."""
        if not are_entity_tags(self.base.labels):
            return classification_metrics(
                [tag for row in truth for tag in row], [tag for row in predicted for tag in row]
            )
        labels = self.base.labels
        return entity_metrics(
            [[labels[tag] for tag in row] for row in truth],
            [[labels[tag] for tag in row] for row in predicted],
        )

    def changed(self, encoded: Encoded, old: Answers, new: Answers) -> list[ChangedExample]:
        """Return the rows in which a word gets another tag, with the first such word."""
        found = []
        for row, number, place in changed_places(encoded, old, new):
            # a word without a token of its own has no truth, so places are not words
            labels = encoded.rows[number]["labels"]
            ids = encoded.rows[number]["input_ids"]
            at = places_of(labels)[place]
            word = self.base.reader.decode([ids[at]]).strip()
            found.append(
                ChangedExample(
                    row=self.rows.row_numbers[row],
                    text=shown(" ".join(self.rows.words[row])),
                    label=f"{word}: {self.base.labels[labels[at]]}",
                    old=f"{word}: {self.base.labels[old.predicted[number][place]]}",
                    new=f"{word}: {self.base.labels[new.predicted[number][place]]}",
                )
            )
        return found
