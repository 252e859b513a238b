"""Texts that are run together: neighbours in length, as many as padding and the caches of a processor allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

#: So many go together whatever their lengths are: of sorted texts they are near enough.
TEXTS_AT_ONCE = 4
#: More of them only while they are short: so many texts, with so many tokens in all, padding included.
MOST_TEXTS, MOST_TOKENS = 64, 1024
#: And only of nearly one length: so much of what is run may be padding.
MOST_PADDING = 0.1


def length_groups(lengths: Sequence[int], most_texts: int = MOST_TEXTS) -> Iterator[list[int]]:
    """Return the places of texts in groups of ``most_texts``, the shortest first; ``lengths`` are their tokens.

    >>> list(length_groups([16] * 70))[0] == list(range(64)), [len(group) for group in length_groups([512] * 9)]
    (True, [4, 4, 1])
    >>> list(length_groups([90, 10, 91, 11, 40, 12]))
    [[1, 3, 5, 4], [0, 2]]
    """
    group: list[int] = []
    real = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        count, longest = len(group) + 1, max(1, lengths[place])
        padding = count * longest - real - longest
        likely = count <= most_texts and count * longest <= MOST_TOKENS
        if group and count > TEXTS_AT_ONCE and not (likely and padding <= MOST_PADDING * count * longest):
            yield group
            group, real = [], 0
        group.append(place)
        real += longest
    if group:
        yield group
