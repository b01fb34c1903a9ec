"""The thread that makes the next example: same order, same errors, one ahead and no more."""

import threading

import pytest

from entropy_grounding.evaluation.prefetch import prefetched


def test_items_come_in_order():
    assert list(prefetched(iter(range(100)))) == list(range(100))
    assert list(prefetched(iter([]))) == []


def test_an_error_comes_behind_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    found = []
    with pytest.raises(ValueError, match="broken"):
        found.extend(prefetched(items()))
    stream, again = prefetched(items()), []
    with pytest.raises(ValueError, match="broken"):
        for item in stream:
            again.append(item)
    assert again == [1, 2]


def test_one_item_is_made_ahead_and_no_more():
    made, ready = [], threading.Event()

    def items():
        for number in range(10):
            made.append(number)
            if number == 1:
                ready.set()
            yield number

    stream = prefetched(items())
    assert next(stream) == 0
    assert ready.wait(10)  # the second is made while the first is used
    assert made == [0, 1]
    stream.close()
    assert made == [0, 1]


def test_items_are_made_in_one_thread_beside_the_caller():
    def items():
        for _ in range(5):
            yield threading.current_thread().name

    names = set(prefetched(items()))
    assert len(names) == 1
    assert threading.current_thread().name not in names
