"""The orders in which lettered options are shown."""

from collections.abc import Iterator, Sequence

import numpy as np

from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import letter_of
from entropy_grounding.metrics.option_lines import OptionLine


def orders(count: int, protocol: Protocol, identity: str) -> list[tuple[int, ...]]:
    """Return the orders in which ``count`` options are shown: one, or all rotations."""
    plain = tuple(range(count))
    if protocol.option_order == "rotations":
        return [plain[shift:] + plain[:shift] for shift in range(count)]
    if protocol.option_order == "shuffled":
        digits = [int(byte) for byte in identity.encode()]
        return [
            tuple(
                int(i)
                for i in np.random.default_rng([protocol.option_seed, *digits]).permutation(count)
            )
        ]
    return [plain]


def shown_orders(
    listed: Sequence[OptionLine], answer: str, protocol: Protocol, identity: str
) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (number, options by letter, letter of the answer) for each order that the protocol asks for."""
    options = {line.letter: line.text for line in listed}
    right = letter_of(answer, options)
    if right is None:
        raise InputError(
            f"Example '{identity}' has the answer '{answer}', which is none of its options {', '.join(options)}."
        )
    letters = list(options)
    for number, order in enumerate(orders(len(letters), protocol, identity)):
        shown = {
            letter: options[letters[index]] for letter, index in zip(letters, order, strict=True)
        }
        yield number, shown, letters[order.index(letters.index(right))]
