"""Plain instructions with one right answer, written for this benchmark: does a model still follow what it could before?

Ten kinds, ``n`` of each, drawn by seed from words of our own; asked teacher-forced, so that nothing is decoded.
"""

from __future__ import annotations

from random import Random

from aloe.types import Message
from aloe.world.questions import Question

WORDS = (
    "apple", "river", "candle", "window", "garden", "silver", "pencil", "mountain", "bottle", "carpet", "engine",
    "ladder", "mirror", "orange", "pocket", "rabbit", "saddle", "ticket", "velvet", "whistle", "blanket", "copper",
    "drawer", "feather",
)  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "early": "late", "open": "closed", "wet": "dry", "light": "dark", "full": "empty",
    "fast": "slow", "old": "new", "high": "low", "loud": "quiet", "hard": "soft", "near": "far", "rich": "poor",
    "clean": "dirty", "strong": "weak", "happy": "sad", "long": "short", "right": "wrong", "first": "last",
}  # fmt: skip
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Germany": "Berlin", "Egypt": "Cairo",
    "Greece": "Athens", "Norway": "Oslo", "Poland": "Warsaw", "Portugal": "Lisbon", "Austria": "Vienna",
    "Ireland": "Dublin", "Russia": "Moscow", "China": "Beijing", "Cuba": "Havana", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Hungary": "Budapest", "Peru": "Lima", "Kenya": "Nairobi",
}  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Iris", "Jack")
PLACES = ("in the kitchen", "at the station", "in the library", "on the roof", "behind the shed", "under the bridge")


def _item(kind: int, rng: Random) -> tuple[str, str, str]:
    """(instruction, what stands of the answer already, how it goes on)."""
    one, two, three = rng.sample(WORDS, 3)
    name, other = rng.sample(NAMES, 2)
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    place = rng.choice(PLACES)
    word = rng.choice(list(OPPOSITES))
    country = rng.choice(list(CAPITALS))
    day = rng.randrange(7)
    low, high = sorted(rng.sample(range(10, 99), 2))
    items = (
        (f"Repeat this word and nothing else: {one}", "", one),
        (f"What is {a} plus {b}?", f"{a} plus {b} is", f" {a + b}"),
        (f"What is the opposite of {word}?", f"The opposite of {word} is", f" {OPPOSITES[word]}"),
        (f"What is the capital of {country}?", f"The capital of {country} is", f" {CAPITALS[country]}"),
        (f"Which day comes after {DAYS[day]}?", f"The day after {DAYS[day]} is", f" {DAYS[(day + 1) % 7]}"),
        (f"{name} left a {one} {place}. Where is the {one}?", f"The {one} is", f" {place}"),
        (f"{name} has a {one} and {other} has a {two}. Who has the {two}?", "The answer is", f" {other}"),
        (f"Write these words in the given order, with commas: {one} {two} {three}", f"{one},", f" {two}, {three}"),
        (f"Which number is larger, {low} or {high}?", "The larger number is", f" {high}"),
        (f"What is the last word of this list: {one}, {two}, {three}?", "The last word is", f" {three}"),
    )
    return items[kind]


def general_items(n: int = 22, seed: int = 0) -> list[Question]:
    """``10 n`` instructions as questions for ``aloe.training.probe.answer``."""
    found = []
    for number in range(10 * n):
        kind = number % 10
        text, before, right = _item(kind, Random(f"{seed}/{number}"))
        history = (Message(role="user", content=text),)
        found.append(Question(f"item{number}", 1, "value", str(kind), "stated", history, before, right))
    return found
