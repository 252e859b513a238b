"""Write misc/data/reviews.csv: synthetic reviews of grades 1 to 5, the same bytes for the same seed.

No review was written by a customer: each is put together from templates, so the file holds no personal data
and may be shared. The grades are learnable and not trivial: praise and blame mix in one review, words are
negated, some reviews tell about an earlier visit, and neighbouring grades share phrases, as real ones do.

    python misc/make_reviews.py                    # 2,000 rows into misc/data/reviews.csv
    python misc/make_reviews.py --rows 500 --seed 7 --out /tmp/other.csv
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

COLUMNS = ("ReviewLabel", "ReviewText")
GRADES = (1, 2, 3, 4, 5)
WORDS_MIN, WORDS_MAX = 10, 70

# what is reviewed -> the aspects that a review may speak of
DOMAINS: dict[str, tuple[str, ...]] = {
    "hotel": ("the bed", "the breakfast", "the front desk", "the bathroom", "the view", "the wifi"),
    "restaurant": (
        "the soup",
        "the waiter",
        "the wine list",
        "the dessert",
        "the table by the window",
        "the bill",
    ),
    "pair of headphones": (
        "the bass",
        "the ear cushions",
        "the battery",
        "the microphone",
        "the folding hinge",
    ),
    "phone": ("the camera", "the screen", "the charger", "the speaker", "the fingerprint reader"),
    "novel": ("the plot", "the dialogue", "the main character", "the translation", "the last chapter"),
    "film": ("the acting", "the score", "the second half", "the photography", "the script"),
    "online course": ("the teacher", "the exercises", "the pace", "the forum", "the recorded lectures"),
    "bank account": ("the app", "the card", "the helpline", "the fee table", "the transfer page"),
    "parcel service": (
        "the driver",
        "the tracking page",
        "the packaging",
        "the pickup shop",
        "the delivery window",
    ),
    "garage": ("the mechanic", "the estimate", "the waiting room", "the replacement car", "the invoice"),
    "dentist": (
        "the receptionist",
        "the treatment",
        "the explanation",
        "the appointment system",
        "the chair",
    ),
    "fitness app": (
        "the training plan",
        "the reminders",
        "the step counter",
        "the free version",
        "the design",
    ),
    "bicycle": ("the brakes", "the saddle", "the gears", "the frame", "the assembly guide"),
    "coffee machine": (
        "the milk frother",
        "the water tank",
        "the grinder",
        "the cleaning cycle",
        "the espresso",
    ),
    "garden tool": ("the handle", "the blade", "the motor", "the safety switch", "the weight"),
    "museum": ("the audio guide", "the new wing", "the ticket desk", "the café", "the children's tour"),
    "train journey": ("the seat", "the conductor", "the connection", "the dining car", "the heating"),
    "winter jacket": ("the zip", "the lining", "the pockets", "the hood", "the fit"),
}

OPENINGS = (
    "I tried this {thing} in {month}.",
    "Our second time with this {thing}.",
    "My sister recommended the {thing}.",
    "Bought after reading a dozen comments about this {thing}.",
    "We needed a {thing} at short notice.",
    "I have used this {thing} for {number} weeks now.",
    "A {thing} for our anniversary.",
    "This {thing} was a gift from a colleague.",
    "I was looking for a {thing} near the station.",
    "After {number} months with the {thing}, here is what I think.",
    "Short note on the {thing}.",
    "About the {thing}:",
    "",
    "",
)
MONTHS = ("January", "March", "May", "July", "August", "October", "December")
NUMBERS = ("two", "three", "four", "six", "eight", "ten")

# how an aspect did, from terrible to wonderful; {aspect} opens or sits inside the sentence
ASPECT_LINES: dict[int, tuple[str, ...]] = {
    -2: (
        "{aspect} was a disaster.",
        "{aspect} failed on the first day and nobody cared.",
        "I have never seen anything as poor as {aspect}.",
        "{aspect} was filthy, broken or both.",
        "They charged me twice over {aspect} and refused to talk about it.",
        "{aspect} made me want to leave at once.",
        "Nothing about {aspect} worked, whatever I tried.",
        "{aspect} was so bad that we laughed, and then we asked for our money.",
    ),
    -1: (
        "{aspect} was below what I had hoped for.",
        "{aspect} felt cheap and tired.",
        "{aspect} could use some attention.",
        "We had to ask twice about {aspect}.",
        "{aspect} was not really what the description said.",
        "I was not convinced by {aspect}.",
        "{aspect} left me a little disappointed.",
        "{aspect} is the weak point here.",
    ),
    0: (
        "{aspect} was what you would expect.",
        "{aspect} did its job, no more and no less.",
        "I have no strong feelings about {aspect}.",
        "{aspect} was neither good nor bad.",
        "{aspect} was fine.",
        "{aspect} is average for the price.",
        "One could live with {aspect}.",
    ),
    1: (
        "{aspect} was not bad at all.",
        "{aspect} was pleasant.",
        "{aspect} was better than I had expected.",
        "I liked {aspect}.",
        "{aspect} worked without a hitch.",
        "I had no complaint about {aspect}.",
        "{aspect} was good value.",
        "{aspect} could hardly be called disappointing.",
    ),
    2: (
        "{aspect} was superb.",
        "I cannot praise {aspect} enough.",
        "{aspect} was the best I have come across in years.",
        "{aspect} made us smile every single time.",
        "I would not change a thing about {aspect}.",
        "{aspect} went far beyond what we had paid for.",
        "Never once did {aspect} let me down.",
        "{aspect} was flawless.",
    ),
}

# how a grade mixes its aspect lines: weights of -2, -1, 0, 1, 2
MIXES: dict[int, tuple[float, ...]] = {
    1: (0.66, 0.26, 0.05, 0.03, 0.00),
    2: (0.16, 0.56, 0.16, 0.12, 0.00),
    3: (0.02, 0.27, 0.40, 0.28, 0.03),
    4: (0.00, 0.10, 0.16, 0.58, 0.16),
    5: (0.00, 0.02, 0.04, 0.26, 0.68),
}

VERDICTS: dict[int, tuple[str, ...]] = {
    1: (
        "Avoid.",
        "I want my money back.",
        "Never again.",
        "If I could give less, I would.",
        "The glowing comments must be about another place.",
        "A waste of time and money from start to end.",
        "One of the worst experiences I have had.",
        "It was a really terrible experience.",
    ),
    2: (
        "I would not choose it again.",
        "There are better ones for the same money.",
        "Not worth the detour.",
        "Expected more, honestly.",
        "It has its moments, but too few of them.",
        "Only if nothing else is free.",
        "It was a rather poor experience.",
    ),
    3: (
        "All in all, an ordinary experience.",
        "It is all right.",
        "Some things worked, some did not.",
        "I may come back, or I may not.",
        "Decent, with room to improve.",
        "You get what you pay for.",
    ),
    4: (
        "I would come back.",
        "Recommended, with a small reservation.",
        "Nearly perfect.",
        "A solid choice.",
        "Happy on the whole.",
        "Good, and I do not say that often.",
        "It was a good experience.",
    ),
    5: (
        "Simply wonderful.",
        "Recommended without reservation.",
        "Could not be happier.",
        "I have told all my friends.",
        "Nothing to improve, truly.",
        "Worth every cent and then some.",
        "It was a truly great experience.",
    ),
}

# true of any grade: they say nothing about it, or about another time
ASIDES = (
    "Last year it was wonderful, so I came with high hopes.",
    "A friend had a terrible time here two years ago.",
    "My neighbour loves it, my brother hates it.",
    "It rained the whole day.",
    "I read the good and the bad comments before.",
    "The price has gone up since last summer.",
    "Delivery took {number} days.",
    "We were {number} people.",
    "I paid with a voucher.",
    "The place is easy to find.",
    "I am not an expert.",
    "Others may see it another way.",
)
JOINTS = ("However, ", "On the other hand, ", "Then again, ", "That said, ", "Also, ", "")


def make_review(grade: int, chance: random.Random) -> str:
    """Return one review of ``grade``: opening, aspects, perhaps an aside and a verdict; 10 to 70 words."""
    thing = chance.choice(sorted(DOMAINS))
    parts = [
        chance.choice(OPENINGS).format(
            thing=thing, month=chance.choice(MONTHS), number=chance.choice(NUMBERS)
        )
    ]
    aspects = chance.sample(DOMAINS[thing], k=chance.choice((1, 2, 2, 3, 3, 4)))
    tones = chance.choices((-2, -1, 0, 1, 2), weights=MIXES[grade], k=len(aspects))
    previous: int | None = None
    for aspect, tone in zip(aspects, tones, strict=True):
        line = capital(chance.choice(ASPECT_LINES[tone]).format(aspect=aspect))
        if previous is not None and previous * tone < 0:  # praise after blame, or the other way round
            joint = chance.choice(JOINTS)
            line = joint + (line if line.startswith("I ") or not joint else line[0].lower() + line[1:])
        parts.append(line)
        previous = tone
    if chance.random() < 0.5:
        parts.insert(
            chance.randrange(1, len(parts) + 1), chance.choice(ASIDES).format(number=chance.choice(NUMBERS))
        )
    if chance.random() < 0.55:
        # one verdict in six is that of a neighbour: people grade each other's words differently
        spoken = grade if chance.random() > 1 / 6 else min(5, max(1, grade + chance.choice((-1, 1))))
        parts.append(chance.choice(VERDICTS[spoken]))
    return " ".join(part for part in parts if part)


def capital(sentence: str) -> str:
    """Return the sentence with its first letter in capital."""
    return sentence[0].upper() + sentence[1:]


def make_reviews(rows: int, seed: int) -> list[tuple[int, str]]:
    """Return ``rows`` reviews, no text twice, the five grades in turn and shuffled by fives."""
    chance = random.Random(seed)
    seen: set[str] = set()
    reviews: list[tuple[int, str]] = []
    while len(reviews) < rows:
        for grade in chance.sample(GRADES, k=len(GRADES)):
            text = make_review(grade, chance)
            while text in seen or not WORDS_MIN <= len(text.split()) <= WORDS_MAX:
                text = make_review(grade, chance)
            seen.add(text)
            reviews.append((grade, text))
    return reviews[:rows]


def main() -> None:
    """Write the file that the options describe."""
    parser = argparse.ArgumentParser(description="Write synthetic reviews as CSV.")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20220911)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "reviews.csv")
    options = parser.parse_args()

    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(make_reviews(options.rows, options.seed))
    print(f"{options.rows} reviews written to {options.out} ({options.out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
