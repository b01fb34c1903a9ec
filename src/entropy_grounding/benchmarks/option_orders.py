"""The orders in which lettered options are shown."""

from collections.abc import Iterator, Mapping

import numpy as np

from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import letter_of


def orders(count: int, protocol: Protocol, identity: str) -> list[tuple[int, ...]]:
    """Return the orders in which ``count`` options are shown: one order, or all rotations.

    Args:
        count: number of options.
        protocol: gives the kind of order and the seed of the shuffle.
        identity: id of the example.

    Returns:
        Orders of the places 0 to ``count`` - 1.
    """
    plain = tuple(range(count))
    if protocol.option_order == "rotations":
        return [plain[shift:] + plain[:shift] for shift in range(count)]

    # The id is part of the seed, so the order of an example does not depend on other examples.
    if protocol.option_order == "shuffled":
        rng = np.random.default_rng([protocol.option_seed, *map(int, identity.encode())])
        return [tuple(map(int, rng.permutation(count)))]

    return [plain]


def shown_orders(
    options: Mapping[str, str], answer: str, protocol: Protocol, identity: str
) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (number, options by letter, letter of the answer) for each order of the protocol.

    Args:
        options: option text by letter, as released.
        answer: letter or text of the right option.
        protocol: gives the orders.
        identity: id of the example.

    Raises:
        InputError: when the answer is none of the options.
    """
    right = letter_of(answer, options)
    if right is None:
        raise InputError(
            f"Example '{identity}' has the answer '{answer}', "
            f"which is none of its options {', '.join(options)}."
        )

    # The letters keep their order; the texts move, and the right letter moves with its text.
    letters = list(options)
    for number, order in enumerate(orders(len(letters), protocol, identity)):
        texts = [options[letters[index]] for index in order]
        shown = dict(zip(letters, texts, strict=True))

        yield number, shown, letters[order.index(letters.index(right))]
