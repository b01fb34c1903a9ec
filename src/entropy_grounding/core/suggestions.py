"""Find the known word that a user meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to this one, None where none is similar."""
    words = list(known)
    lower = {each.lower(): each for each in words}
    found = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)

    return lower[found[0]] if found else None


def nearest_option(key: str, known: Iterable[str]) -> str | None:
    """Return the option that was meant, None where none is similar.

    A section may be missing in front: "sigma" and "method.sigma" are "method.regions.sigma".

    Args:
        key: what was typed.
        known: names of options, with their sections.
    """
    names = list(known)
    # Of several options with the same last part, the first one counts.
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    typed = key.rpartition(".")[2]

    near = last.get(typed) or nearest(key, names)
    return near or last.get(nearest(typed, last) or "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the advice for an unknown word: the nearest known one, and all of them."""
    words = list(known)
    near = nearest(word, words)
    advice = f": did you mean '{near}'? Use" if near else ": use"

    return f"{advice} one of {', '.join(words)}."
