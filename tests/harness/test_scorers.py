"""Our letter rules and lmms-eval's own functions, where lmms-eval is installed (make harness)."""

import random

import pytest

lmms_eval = pytest.importorskip("lmms_eval", reason="needs lmms-eval: make harness")

from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer  # noqa: E402
from lmms_eval.tasks.hrbench.utils import hrbench_aggregate_results  # noqa: E402
from lmms_eval.tasks.mme_realworld.utils import extract_characters_regex  # noqa: E402
from lmms_eval.tasks.realworldqa.utils import realworldqa_process_results  # noqa: E402
from lmms_eval.tasks.vstar_bench.utils import extract_answer_letter  # noqa: E402

from entropy_grounding.metrics.answers import SCORERS  # noqa: E402
from entropy_grounding.metrics.averages import rotation_means  # noqa: E402
from entropy_grounding.metrics.lmms_eval_letters import (  # noqa: E402
    mme_realworld_letter,
    realworldqa_letter,
    vstar_letter,
)

PIECES = (
    *"ABCDEabcd ..,:;!?()[]'\"\n",
    *("answer", "Answer:", "The answer is ", "option", "choice is", "I choose ", "my answer is"),
    *(
        "答案是",
        "옵션",
        "Blue",
        "a car",
        "the correct option is",
        "ANSWER IS\n",
        "(B)",
        "C.",
        "D) ",
    ),
)
WORDS = ("", " ", "İ answer is B", "ﬁ", "\t", "four", "4.", "Downhill", "downhill.", "Yes")


def texts(count):
    draw = random.Random(7)
    for _ in range(count):
        yield "".join(draw.choices(PIECES, k=draw.randint(0, 9)))
    yield from WORDS


def test_the_letter_of_vstar_is_lmms_evals():
    for text in texts(10_000):
        assert vstar_letter(text) == extract_answer_letter(text), text


def test_the_letter_of_realworldqa_is_lmms_evals():
    for text in texts(10_000):
        theirs = extract_mcq_answer(text.strip(), choices=["A", "B", "C", "D"])
        assert (realworldqa_letter(text.strip()) or "") == theirs, text


def test_the_letter_of_mme_realworld_is_lmms_evals():
    for text in texts(10_000):
        assert (mme_realworld_letter(text) or "") == extract_characters_regex(text), text


def test_the_mean_over_rotations_is_lmms_evals():
    draw = random.Random(7)
    for _ in range(100):
        count = draw.randint(1, 30)
        scores, rotations = ([draw.randrange(n) for _ in range(count)] for n in (2, 4))
        theirs = hrbench_aggregate_results(
            [
                {"gpt_score": score, "cycle_category": rotation}
                for score, rotation in zip(scores, rotations, strict=True)
            ],
            None,
        )
        ours = rotation_means(scores, list(map(str, rotations)), ["single"] * count)
        assert ours == pytest.approx({"single": theirs, "all": theirs})


@pytest.mark.parametrize("truth", ["A", "d", "4", "Downhill", "two"])
def test_the_score_of_realworldqa_is_lmms_evals(truth):
    for text in texts(1_000):
        theirs = realworldqa_process_results({"answer": truth}, [text.strip()])["exact_match"]
        assert SCORERS["realworldqa_lmms_eval_letters"](text, [truth]) == theirs, text
