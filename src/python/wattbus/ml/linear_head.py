"""A linear head on features: fitted by scikit-learn, and fitted again on parts of the rows for a learning curve."""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wattbus.training_report import LearningPoint

#: Strength of the regularisation on standardised features. On 512 reviews of five labels and the 384 means of MiniLM,
#: 0.1 gave an accuracy of 0.49, 1.0 one of 0.48, 0.01 one of 0.46 (three splits each).
STRENGTH = 0.1
MOST_ROUNDS = 1000
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
SEEDS = 3
#: Numbers of features (rows by size) above which a curve is fitted with one seed.
CHEAP_FEATURES = 4_000_000
#: Logit of a label that no training row has.
NEVER = -100.0
#: A curve that still rises by this much from half of the rows to all of them says that more would help.
RISE = 0.01


@dataclass(frozen=True)
class LinearHead:
    """Logits are ``features @ weight.T + bias``; (labels, size) and (labels,), in float64."""

    weight: Any
    bias: Any
    rounds: int

    def logits(self, features: Any) -> Any:
        """Return the logits of features (rows, size)."""
        return features @ self.weight.T + self.bias


def fit_head(
    features: Any,
    truth: Sequence[int],
    labels: int,
    *,
    weights: Sequence[float] | None = None,
    has_bias: bool = True,
) -> LinearHead:
    """Fit a head for ``labels`` outputs; of two classes each has half of scikit-learn's one logit, with a sign."""
    import numpy
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=has_bias).fit(features)
    fitted = LogisticRegression(
        C=STRENGTH,
        max_iter=MOST_ROUNDS,
        fit_intercept=has_bias,
        class_weight=None if weights is None else {n: weights[n] for n in set(truth)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the head is judged by the test rows
        fitted.fit(scaler.transform(features), list(truth))
    coefficients, intercepts = fitted.coef_, numpy.broadcast_to(fitted.intercept_, fitted.coef_.shape[:1])
    if len(fitted.classes_) == 2:
        coefficients = numpy.vstack((-coefficients / 2, coefficients / 2))
        intercepts = numpy.concatenate((-intercepts / 2, intercepts / 2))
    weight, bias = numpy.zeros((labels, features.shape[1])), numpy.full(labels, NEVER)
    weight[fitted.classes_] = coefficients / scaler.scale_
    bias[fitted.classes_] = intercepts
    if has_bias:
        bias[fitted.classes_] -= weight[fitted.classes_] @ scaler.mean_
    return LinearHead(weight, bias, int(max(fitted.n_iter_)))


def learning_curve(
    features: Any,
    truth: Sequence[int],
    judge: Callable[[LinearHead], float],
    labels: int,
    *,
    weights: Sequence[float] | None,
    has_bias: bool,
    seed: int,
) -> list[LearningPoint]:
    """Return what ``judge`` says of heads fitted on shares of the rows; a share with one label only is left out."""
    seeds = SEEDS if features.size <= CHEAP_FEATURES else 1
    points = []
    for share in SHARES:
        parts = [_part(truth, share, seed + number) for number in range(seeds if share < 1 else 1)]
        parts = [part for part in parts if len({truth[row] for row in part}) > 1]
        if not parts:
            continue
        values = [
            judge(
                fit_head(
                    features[part], [truth[row] for row in part], labels, weights=weights, has_bias=has_bias
                )
            )
            for part in parts
        ]
        points.append(
            LearningPoint(
                share=share,
                rows=len(parts[0]),
                value=round(sum(values) / len(values), 6),
                low=round(min(values), 6),
                high=round(max(values), 6),
                seeds=len(values),
            )
        )
    return points


def more_rows_sentence(points: Sequence[LearningPoint], metric: str) -> str:
    """Say whether more rows would help: by how much the metric still rose from half of the rows to all of them."""
    half = next((point for point in points if point.share == 0.5), None)
    whole = next((point for point in points if point.share == 1.0), None)
    if half is None or whole is None:
        return "there are too few rows to say whether more of them would help."
    rise, spread = whole.value - half.value, half.high - half.low
    told = (
        f"from {half.rows} to {whole.rows} training rows the {metric} of a linear head went from {half.value:.3f} to "
        f"{whole.value:.3f}"
    )
    if rise < RISE:
        return f"more rows are not likely to help a linear head: {told}."
    if rise <= spread:
        return (
            f"more rows may help: {told}, which is within the {spread:.3f} that the choice of the rows makes."
        )
    return f"more rows would likely help: {told}, and it still rises."


def _part(truth: Sequence[int], share: float, seed: int) -> list[int]:
    """Return a share of the rows, of each label alike as far as its rows go, by chance."""
    if share >= 1:
        return list(range(len(truth)))
    chance = random.Random(seed)  # noqa: S311  # a sample, not a secret
    chosen: list[int] = []
    for label in Counter(truth):
        rows = [row for row, one in enumerate(truth) if one == label]
        chosen += chance.sample(rows, max(1, math.floor(share * len(rows))))
    return sorted(chosen)
