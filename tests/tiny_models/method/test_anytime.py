"""The cascade on a tiny VLM: when each stage ends it, and that a trace foretells every budget."""

import itertools
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from entropy_grounding.benchmarks.load import BENCHMARKS, benchmark_config, load_benchmark
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.budgets import read_traces, replay, traced
from entropy_grounding.evaluation.validation import endless
from entropy_grounding.grounding import ground
from entropy_grounding.method.budget import BudgetOptions, Limits
from entropy_grounding.method.gate import GateOptions
from entropy_grounding.method.options import GroundingOptions

NEVER, ALWAYS = float("-inf"), float("inf")
CANDIDATES = 4


def cascade(plain=NEVER, zoomed=NEVER, tried=NEVER, tries=None, **budget):
    return GroundingOptions(
        crops="anytime",
        candidates=CANDIDATES,
        gate=GateOptions(score="entropy", threshold=plain, settle=zoomed),
        budget=BudgetOptions(tried=tried, tries=tries, **budget),
    )


@pytest.fixture(scope="module")
def examples():
    return list(islice(load_benchmark(benchmark_config("mini_textvqa", split="validation")), 4))


@pytest.fixture(scope="module")
def ask(tiny_vlm, examples):
    def ask(options, number=0):
        example = examples[number]
        return ground(tiny_vlm, example.image, example.prompt, options, max_new_tokens=4)

    return ask


@pytest.fixture(scope="module")
def traces(ask, examples):
    options = replace(endless(GroundingOptions()), candidates=CANDIDATES)
    found = [ask(options, number) for number in range(len(examples))]
    assert {each.stop_reason for each in found} == {"searched"}
    return found


def test_a_sure_plain_answer_costs_one_pass(ask):
    found = ask(cascade(plain=ALWAYS))
    assert (found.answer, found.crops) == (found.plain_answer, ())
    assert (found.cost.forwards, found.cost.backwards) == (1, 0)
    assert [attempt.stage for attempt in found.attempts] == ["plain"]


def test_a_sure_zoomed_answer_makes_no_second_map(ask):
    found = ask(cascade(zoomed=ALWAYS))
    assert (found.cost.forwards, found.cost.backwards) == (2, 1)
    assert found.stop_reason == "sure" and len(found.steps) == 1


def test_a_sure_candidate_ends_the_search(ask):
    found = ask(cascade(tried=ALWAYS))
    assert [attempt.stage for attempt in found.attempts].count("tried") == 1
    assert found.stop_reason == "sure"


def test_the_answer_is_the_attempt_of_lowest_entropy(traces):
    for found in traces:
        best = min(found.attempts, key=lambda attempt: attempt.entropy)
        assert found.crops == best.crops
        assert found.answer == best.answer


def test_candidates_come_in_the_order_of_the_first_map(traces):
    from entropy_grounding.method.candidates import relevance_in

    for found in traces:
        boxes = [attempt.crops[0] for attempt in found.attempts if attempt.stage == "tried"]
        relevance = [relevance_in(box, found.steps[0].maps[0]) for box in boxes]
        assert len(set(boxes)) == CANDIDATES
        assert relevance == sorted(relevance, reverse=True)


def test_a_candidate_costs_the_tokens_behind_the_full_image(ask, tiny_vlm):
    """Everything up to the end of the full image is resumed, not run again."""
    one, two = (ask(cascade(tries=tries)).cost for tries in (1, 2))
    assert two.forwards - one.forwards == 1
    assert two.visual_tokens - one.visual_tokens == 64  # the crop's alone


@pytest.mark.parametrize(
    "limits",
    [
        Limits(0, 0, plain, zoomed, tried, tries, rounds)
        for (plain, zoomed), tried, tries, rounds in itertools.product(
            ((NEVER, NEVER), (1.9, 0.7)), (NEVER, 0.6), (0, 2), (1, 15)
        )
    ],
    ids=lambda limits: (
        f"{limits.plain}, {limits.zoomed}, {limits.tried}, {limits.tries}, {limits.rounds}"
    ),
)
def test_a_trace_foretells_score_and_passes_of_every_threshold(traces, ask, examples, limits):
    score = BENCHMARKS["textvqa"].score
    columns = []
    for found, example in zip(traces, examples, strict=True):
        scores = [score(attempt.answer, example) for attempt in found.attempts]
        columns.append(traced(found.attempts, scores, [None] * len(scores)))
    foretold = replay(read_traces(columns), limits)

    options = cascade(limits.plain, limits.zoomed, limits.tried, limits.tries)
    stopping = replace(options.stopping, max_rounds=limits.rounds)
    options = replace(options, stopping=stopping)
    for number, told_passes in enumerate(foretold.passes):
        found = ask(options, number)
        assert found.cost.forwards + 2 * found.cost.backwards == told_passes
        assert np.isclose(score(found.answer, examples[number]), foretold.score[number])


@pytest.mark.parametrize("late", [1, 3])
def test_when_time_is_up_the_best_answer_so_far_is_given(ask, monkeypatch, late):
    """The clock jumps at its n-th reading behind the first, at the plain answer or in the zoom."""
    readings = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 0.0 if next(readings) < late else 1e9)
    found = ask(cascade(seconds=10.0))
    assert found.stop_reason == "time"
    assert found.crops == min(found.attempts, key=lambda attempt: attempt.entropy).crops


def test_a_cascade_without_its_gate_is_refused():
    with pytest.raises(InputError, match=r"method\.gate\.score=entropy"):
        GroundingOptions(crops="anytime")


def test_a_budget_without_a_cascade_is_refused():
    with pytest.raises(InputError, match=r"method\.crops is 'found'"):
        GroundingOptions(budget=BudgetOptions(passes=5))
