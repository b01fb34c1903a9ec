"""Find the known word that a user meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to this one, None where none is similar."""
    words = list(known)
    lower = {each.lower(): each for each in words}
    found = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)

    return lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the advice for an unknown word: the nearest known one, and all of them."""
    words = list(known)
    near = nearest(word, words)
    advice = f": did you mean '{near}'? Use" if near else ": use"

    return f"{advice} one of {', '.join(words)}."
