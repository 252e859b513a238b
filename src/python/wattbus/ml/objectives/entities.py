"""Entities in rows of tags: precision, recall and F1 of whole entities, as the conlleval script counts them."""

from __future__ import annotations

from collections.abc import Sequence

from wattbus.ml.train_spec import TrainMetrics

OUTSIDE = "O"


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the entities of one row: kind, first word, word after the last. IOB2, IOB1 and IOBES are read.

    >>> sorted(entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]))
    [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
    """
    found: set[tuple[str, int, int]] = set()
    kind, start = "", -1
    for place, tag in enumerate([*tags, OUTSIDE]):
        mark, _, name = tag.partition("-")
        begins = tag != OUTSIDE and (mark in ("B", "S") or name != kind or start < 0)
        if start >= 0 and (tag == OUTSIDE or begins):
            found.add((kind, start, place))
            start = -1
        if begins:
            kind, start = name, place
        if start >= 0 and mark in ("E", "S"):
            found.add((kind, start, place + 1))
            start = -1
    return found


def are_entity_tags(labels: Sequence[str]) -> bool:
    """Tell whether all labels but O begin with one of B-, I-, E- and S-."""
    marked = [label for label in labels if label != OUTSIDE]
    return bool(marked) and all(label[:2] in ("B-", "I-", "E-", "S-") for label in marked)


def entity_metrics(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> TrainMetrics:
    """Return accuracy by word, and precision, recall and F1 over all entities: kind and both ends must be right."""
    pairs = [(entities(right), entities(said)) for right, said in zip(truth, predicted, strict=True)]
    hits = sum(len(right & said) for right, said in pairs)
    wanted, given = sum(len(right) for right, _ in pairs), sum(len(said) for _, said in pairs)
    precision, recall = hits / given if given else 0.0, hits / wanted if wanted else 0.0
    words = [a == b for one, two in zip(truth, predicted, strict=True) for a, b in zip(one, two, strict=True)]
    return TrainMetrics(
        accuracy=sum(words) / max(1, len(words)),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
    )
