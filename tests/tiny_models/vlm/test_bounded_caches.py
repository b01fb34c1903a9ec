"""Keys and values are bounded: dropped ones change no answer and no map."""

import numpy as np
import pytest

from entropy_grounding.core.geometry import Box
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import max_log_probability, next_token_entropy
from entropy_grounding.vlm.cached import CachedVLM
from entropy_grounding.vlm.memory import bytes_in
from entropy_grounding.vlm.session import ImageSession
from support.families import TINY

QUESTION = "what is it ?"
CROPS = (Box(8, 6, 48, 38), Box(0, 0, 40, 40))
ROUNDS = [(), CROPS, (Box(0, 0, 30, 30),), (Box(10, 0, 60, 50),)]


@pytest.fixture(scope="module", params=TINY[::2], ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def vlm(case):
    return case.vlm()


def caches(passes):
    return [done.cache for done in passes.values() if done.cache is not None]


def all_rounds(session):
    prompts = [session.prompt(QUESTION, crops) for crops in ROUNDS]
    gradients = [
        session.gradient(session.run(prompt, differentiable=True), next_token_entropy).gradients
        for prompt in prompts
    ]
    return gradients, [session.answer(QUESTION, crops)[0] for crops in ROUNDS]


def test_a_session_drops_the_oldest_and_answers_alike(vlm, case):
    free = ImageSession(vlm, case.image(), max_new_tokens=4)
    tight = ImageSession(vlm, case.image(), max_new_tokens=4, kept_bytes=0)
    for prompt in [tight.prompt(QUESTION, crops) for crops in ROUNDS]:
        tight.run(prompt)
        free.run(free.prompt(QUESTION, prompt.crops))

    assert len(caches(free._passes)) == len(ROUNDS)
    assert len(caches(tight._passes)) == 2  # of the image alone, and the newest
    assert bytes_in(caches(tight._passes)) < bytes_in(caches(free._passes))
    for crops in ROUNDS:
        assert tight.answer(QUESTION, crops) == free.answer(QUESTION, crops)
    assert tight.ledger.cost().forwards > free.ledger.cost().forwards


def test_a_shared_model_drops_what_was_used_longest_ago_and_computes_it_again(vlm, case):
    free, tight = CachedVLM(vlm), CachedVLM(vlm, kept_bytes=0)
    results = []
    for shared in (free, tight):
        sessions = [ImageSession(shared, case.image(), max_new_tokens=4) for _ in range(2)]
        results.append([all_rounds(session) for session in sessions])

    for theirs, ours in zip(*results, strict=True):
        assert theirs[1] == ours[1]
        for first, second in zip(theirs[0], ours[0], strict=True):
            np.testing.assert_allclose(first, second, atol=1e-5 * float(first.abs().max()))
    assert len(caches(tight._passes)) == 1
    assert len(caches(free._passes)) == len(ROUNDS)


@pytest.mark.parametrize("reground", ["all", "crops"])
def test_a_loop_on_a_tight_shared_model_equals_that_on_a_free_one(vlm, case, reground):
    options = GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=3), reground=reground)
    image = case.image()
    shared = CachedVLM(vlm, kept_bytes=0)
    usual = ground(vlm, image, QUESTION, options)
    for _ in range(2):
        found = ground(shared, image, QUESTION, options)
        assert (found.answer, found.crops) == (usual.answer, usual.crops)
        assert found.cost.forwards == usual.cost.forwards


def test_a_gradient_behind_a_dropped_image_is_computed_again(vlm, case):
    shared = CachedVLM(vlm, kept_bytes=0)
    full = shared.encode(case.image())
    plain = shared.prompt(QUESTION, [full])
    prompt = shared.prompt(QUESTION, [full, shared.encode(case.image(), CROPS[0])])

    first = shared.continue_from(shared.run([plain], graph=False, keep=True), prompt)
    (before,) = shared.backward(first, next_token_entropy)
    again = shared.continue_from(shared.run([plain], graph=False, keep=True), prompt)
    (other,) = shared.backward(again, max_log_probability)
    assert before.gradients.shape == other.gradients.shape


def test_the_cost_counts_checkpointed_maps(vlm, case):
    options = GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=2))
    before = vlm.checkpointing
    counts = {}
    for checkpointing in ("off", "on"):
        vlm.checkpointing = checkpointing
        cost = ground(vlm, case.image(), QUESTION, options).cost
        counts[checkpointing] = cost.checkpointed
        maps = cost.backwards
    vlm.checkpointing = before
    assert counts == {"off": 0, "on": maps}
