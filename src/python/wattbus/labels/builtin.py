"""The profiles that come with wattbus: GAISSA's two, and the default one. They are copied, never overwritten.

Where GAISSA's research tools state a figure it is taken from there, and each profile says in ``source`` what is theirs
and what is ours: GAISSALabel keeps its intervals in the database of its installation, which is not public.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from wattbus.energy.figures import Stage
from wattbus.labels.profile import SCALES, Direction, Interval, LabelProfile, Metric, Rule

#: Versions of the built-in profiles: raised with every change of a bound, a weight or a metric.
BUILT_IN_VERSION = 1

DEFAULT, GAISSA_TRAINING, GAISSA_INFERENCE = "default", "gaissa-training", "gaissa-inference"


def graded(
    direction: Direction, edges: Sequence[float], classes: str = SCALES[0], end: float | None = None
) -> tuple[Interval, ...]:
    """Return the intervals of a metric from the edges between its classes, the edge of the best class first.

    Everything begins above 0; ``end`` is the largest value that there can be.
    """
    rising = sorted(edges)
    bounds: list[float | None] = [0.0, *rising, end]
    letters = classes if direction is Direction.LOWER else classes[::-1]
    return tuple(
        Interval(letter=letter, lower=low, upper=high)
        for letter, (low, high) in zip(letters, itertools.pairwise(bounds), strict=True)
    )


_LOWER, _HIGHER = Direction.LOWER, Direction.HIGHER
_SCORE = Metric(
    id="performance_score", name="Performance score", direction=_HIGHER, weight=0.2,
    # 1.1745, 1.0864, 0.9088 and 0.5820 times 0.8233, the score of GAISSA's reference model
    intervals=graded(_HIGHER, (0.967, 0.894, 0.748, 0.479), end=1.0),
    text="How good the answers are, from 0 to 1: accuracy, F1, or the harmonic mean of several such scores.",
    recommendation="A better model needs fewer trainings: check the data first, then the choice of the base model.",
)  # fmt: skip

_TRAINING = LabelProfile(
    name=GAISSA_TRAINING,
    stage=Stage.TRAINING,
    source=(
        "Metrics and weights: the energy label of the GAISSA group's study of the models on the Hugging Face Hub "
        "(0.35, 0.1, 0.1, 0.25, 0.2). Intervals of size efficiency and performance score: the bounds in GAISSALabel's "
        "own test data, as multiples of its reference model distilgpt2. Intervals of the others: ours, powers of ten "
        "near the 20, 40, 60 and 80 % points of the models in GAISSALabel's HFClean.csv, and fixed."
    ),
    metrics=(
        Metric(
            id="co2_eq_emissions", name="CO2 emissions", unit="g CO2e", direction=_LOWER, weight=0.35,
            intervals=graded(_LOWER, (1, 10, 100, 1000)),
            text="What the training emitted, in grams of CO2 equivalent.",
            recommendation="Train where and when the grid is clean, fine-tune in place of training anew, stop early.",
        ),
        Metric(
            id="downloads", name="Downloads", direction=_HIGHER, weight=0.25,
            intervals=graded(_HIGHER, (10_000, 1_000, 100, 10)),
            text="How often the model was fetched: a training that many use is not repeated by each of them.",
            recommendation="Publish the model with a card that says what it can do and what it cost.",
        ),
        _SCORE,
        Metric(
            id="size_efficency", name="Size efficiency", unit="bytes/g", direction=_HIGHER, weight=0.1,
            intervals=graded(_HIGHER, (1.47e9, 3.21e8, 9.53e7, 2.45e7)),
            text="The size of the model for each gram of CO2 equivalent that its training emitted.",
            recommendation="Prune, distil, or choose an architecture that was made to be small.",
        ),
        Metric(
            id="datasets_size_efficency", name="Dataset efficiency", unit="bytes/g", direction=_HIGHER, weight=0.1,
            intervals=graded(_HIGHER, (1e8, 1e7, 1e6, 1e5)),
            text="The size of the training data for each gram of CO2 equivalent that the training emitted.",
            recommendation="Take out duplicates and rows that teach nothing; fewer epochs over good data often do.",
        ),
    ),
)  # fmt: skip

_INFERENCE = LabelProfile(
    name=GAISSA_INFERENCE,
    stage=Stage.INFERENCE,
    source=(
        "Metrics: those of GAISSALabel and of STREP, on which it is built. Weights: STREP's default, a third each "
        "for resources, complexity and quality, divided evenly within each. Intervals: ours, powers of ten, fixed; "
        "those of performance score as in gaissa-training."
    ),
    metrics=(
        _SCORE.model_copy(update={"weight": 6.0}),
        Metric(
            id="power_draw", name="Energy draw", unit="Ws", direction=_LOWER, weight=3,
            intervals=graded(_LOWER, (0.1, 1, 10, 100)),
            text="The energy of one inference, in watt-seconds (joules).",
            recommendation="Answer in batches, quantise the model, or take a smaller one.",
        ),
        Metric(
            id="running_time", name="Running time", unit="s", direction=_LOWER, weight=3,
            intervals=graded(_LOWER, (0.01, 0.1, 1, 10)),
            text="How long one inference takes, in seconds.",
            recommendation="Keep the model loaded, shorten its inputs, or serve it on hardware that suits it.",
        ),
        Metric(
            id="model_size", name="Parameters", direction=_LOWER, weight=2,
            intervals=graded(_LOWER, (1e7, 1e8, 1e9, 1e10)),
            text="The number of learned parameters.",
            recommendation="Look for a model made for this one task: it is often a tenth of the size.",
        ),
        Metric(
            id="file_size", name="File size", unit="MB", direction=_LOWER, weight=2,
            intervals=graded(_LOWER, (10, 100, 1_000, 10_000)),
            text="What the model takes on disk, in megabytes.",
            recommendation="Store the weights in 16 or 8 bits.",
        ),
        Metric(
            id="flops", name="FLOPs", direction=_LOWER, weight=2,
            intervals=graded(_LOWER, (1e8, 1e9, 1e10, 1e11)),
            text="The floating-point operations of one inference.",
            recommendation="Shorter inputs, early exits and sparse layers all lower it.",
        ),
    ),
)  # fmt: skip

#: Wh for 1,000 inferences by task, the means: Luccioni, Jernite, Strubell, "Power Hungry Processing" (FAccT 2024),
#: table 2.
#: Text generation made 10 new tokens an inference there, so that its 47 Wh are 4.7 Wh for 1,000 tokens.
_REFERENCES = {
    "text-classification": 2.0,
    "question-answering": 3.0,
    "fill-mask": 3.0,
    "token-classification": 4.0,
    "image-classification": 7.0,
    "object-detection": 38.0,
    "summarization": 49.0,
    "image-to-text": 63.0,
    "text-to-image": 2907.0,
}
_REFERENCE_FOR_TOKENS = {"text-generation": 4.7}
WH_PER_1000, WH_PER_1000_TOKENS, KWH_PER_TRAINING = "wh_per_1000", "wh_per_1000_tokens", "kwh_per_training"
#: The edges between A and G around a reference: half a decade each, the reference in the middle of D.
_HALF_DECADES = (-1.25, -0.75, -0.25, 0.25, 0.75, 1.25)


def edges_around(reference: float) -> tuple[float, ...]:
    """Return the six edges between A and G, logarithmic, to three digits.

    >>> edges_around(2.0)
    (0.112, 0.356, 1.12, 3.56, 11.2, 35.6)
    """
    return tuple(float(f"{reference * 10**step:.3g}") for step in _HALF_DECADES)


def _headline(metric: str, task: str, reference: float) -> Metric:
    unit = "Wh for 1,000 inferences" if metric == WH_PER_1000 else "Wh for 1,000 tokens"
    return Metric(
        id=metric,
        name=f"Energy of {task}",
        unit=unit,
        direction=_LOWER,
        task=task,
        intervals=graded(_LOWER, edges_around(reference), SCALES[1]),
        text=f"The reference, in the middle of D, is {reference:g} {unit}.",
        recommendation="A smaller model for the same task, larger batches, or fewer bits; Compare shows the quality.",
    )


_DEFAULT = LabelProfile(
    name=DEFAULT,
    rule=Rule.HEADLINE,
    classes=SCALES[1],
    source=(
        "References: the means by task of Luccioni, Jernite and Strubell, Power Hungry Processing, FAccT 2024 "
        "(arXiv 2311.16863), table 2: 88 models, 1,000 inferences one at a time, on one A100 of a node of eight, with "
        "processor and memory, by codecarbon. A to G are half a decade each around the reference, which stands in the "
        "middle of D; they are fixed for a version of this profile and do not move with what others measure. A task "
        "that is not in the table has no reference, and no letter."
    ),
    metrics=(
        *(_headline(WH_PER_1000, task, reference) for task, reference in _REFERENCES.items()),
        *(
            _headline(WH_PER_1000_TOKENS, task, reference)
            for task, reference in _REFERENCE_FOR_TOKENS.items()
        ),
    ),
)

BUILT_IN = {one.name: one for one in (_DEFAULT, _TRAINING, _INFERENCE)}
