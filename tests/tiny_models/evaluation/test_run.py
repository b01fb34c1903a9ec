"""The run: one row an example, resumable after any kill, shards that add up, failures as rows."""

import math
import signal
import time
from argparse import Namespace
from dataclasses import replace

import pandas as pd
import pytest
import torch

from entropy_grounding import load_vlm
from entropy_grounding.app.question import ground_config
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.load import (
    PAPER_BENCHMARKS,
    benchmark_config,
    load_benchmark,
)
from entropy_grounding.commands.evaluate import main
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.config import EvaluateConfig, resolved, results_folder
from entropy_grounding.evaluation.example import evaluate_example
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.rows import TIMES
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.metrics.localization import overlap
from entropy_grounding.reporting.tables import score_line
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.model import VLM
from support.interruptions import in_shards, killed_at_random, start

N = 6


def config(folder, benchmark="mini_docvqa", method="entropy_gradient", **changes):
    overrides = [
        f"benchmark={benchmark}",
        f"method={method}",
        "tracking=disabled",
        f"benchmark.examples={N}",
        f"results_dir={folder}",
    ]
    composed = compose_config([*overrides, f"method_name={method}"], "evaluate", EvaluateConfig)
    return replace(composed, **changes)


def same(first, second):
    pd.testing.assert_frame_equal(first.drop(columns=list(TIMES)), second.drop(columns=list(TIMES)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, tiny_vlm):
    """The rows of an uninterrupted run."""
    return evaluate(config(tmp_path_factory.mktemp("straight")), tiny_vlm)


def test_every_example_has_a_row_with_what_the_method_did(straight):
    assert list(straight["number"]) == list(range(N))
    assert set(straight["status"]) == {"ok"}
    for row in straight.itertuples():
        assert len(row.entropies) == len(row.spatial_entropies) == row.rounds == row.backwards
        assert row.forwards >= row.rounds + 1
        assert all(0 <= entropy <= math.log(300) for entropy in row.entropies)
        assert row.prompt.startswith(row.question)
        assert "option_order" in row.protocol
        assert row.seconds > 0
        assert row.peak_memory > 100
        assert all(0 <= x0 < x1 <= 256 and 0 <= y0 < y1 <= 256 for x0, y0, x1, y1 in row.crops)


def test_the_manifest_says_what_ran(tmp_path, tiny_vlm):
    options = config(tmp_path)
    evaluate(options, tiny_vlm)
    rows, manifest = load_rows(results_folder(options))
    assert set(rows["config_hash"]) == {manifest["config_hash"]}
    assert manifest["config"]["benchmark"]["canvas"] == 256
    assert {"torch", "transformers", "datasets"} <= set(manifest["versions"])
    assert len(manifest["weights_sha256"]) == 64
    assert manifest["commit"]


def test_a_second_run_adds_only_what_is_missing(tmp_path, tiny_vlm, straight):
    part = config(tmp_path)
    evaluate(replace(part, benchmark=replace(part.benchmark, examples=2)), tiny_vlm)
    before = {path: path.read_bytes() for path in results_folder(part).glob("parts/*.parquet")}
    same(evaluate(part, tiny_vlm), straight)
    assert all(path.read_bytes() == content for path, content in before.items())
    count = len(list(results_folder(part).glob("parts/*.parquet")))
    evaluate(part, tiny_vlm)
    assert len(list(results_folder(part).glob("parts/*.parquet"))) == count


def test_a_run_that_is_killed_ends_with_the_same_rows(tmp_path, straight):
    """The real command in a process of its own, killed with SIGKILL at random moments.

    python tests/support/interruptions.py does it more often.
    """
    rows, kills = killed_at_random(
        tmp_path,
        ["benchmark=mini_docvqa", f"benchmark.examples={N}", "flush_every=1"],
        kills=2,
        seed=0,
    )
    assert kills == 2
    same(rows, straight)


def test_shards_side_by_side_lose_and_repeat_nothing(tmp_path, straight):
    rows, stored = in_shards(
        tmp_path, ["benchmark=mini_docvqa", f"benchmark.examples={N}"], shards=2
    )
    same(rows, straight)
    assert len(stored) == len(set(stored)) == N


def test_ctrl_c_keeps_finished_examples(tmp_path, tiny_vlm, monkeypatch):
    options, answered = config(tmp_path, flush_every=100), []

    def interrupted(*arguments):
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(evaluate_example(*arguments))
        return answered[-1]

    monkeypatch.setattr("entropy_grounding.evaluation.run.evaluate_example", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(options, tiny_vlm)
    monkeypatch.undo()
    assert merge(results_folder(options))[1] == 2


class Breaks(VLM):
    """The real VLM, except that a prompt of more than so many pictures ends in an error."""

    def __init__(self, vlm, error, pictures):
        self.__dict__.update(vlm.__dict__)
        self._error, self._pictures = error, pictures

    def prompt(self, question, pictures):
        if len(pictures) > self._pictures:
            raise self._error
        return super().prompt(question, pictures)


def test_an_example_that_fails_is_a_row_and_is_tried_again_on_request(tmp_path, tiny_vlm):
    options = config(tmp_path)
    rows = evaluate(options, Breaks(tiny_vlm, ZeroDivisionError("no"), 0))
    assert set(rows["status"]) == {"failed"}
    assert set(rows["reason"]) == {"ZeroDivisionError: no"}
    assert "no example has a score" in score_line(rows)
    assert set(evaluate(options, tiny_vlm)["status"]) == {"failed"}
    assert set(evaluate(replace(options, retry_failed=True), tiny_vlm)["status"]) == {"ok"}


def test_out_of_memory_is_tried_with_fewer_crops_and_the_row_says_so(tmp_path, tiny_vlm):
    error = torch.OutOfMemoryError("CUDA out of memory.")
    options = config(tmp_path, "mini_infovqa", most_retried=1.0)
    rows = evaluate(options, Breaks(tiny_vlm, error, 2))
    assert set(rows["status"]) == {"ok"}
    assert "fewer crops" in set(rows["retried"])
    assert all(len(row.crops) < 2 for row in rows.itertuples() if row.retried)


def test_out_of_memory_without_a_way_out_is_a_failed_row(tmp_path, tiny_vlm):
    rows = evaluate(
        config(tmp_path),
        Breaks(tiny_vlm, RuntimeError("DefaultCPUAllocator: not enough memory"), 0),
    )
    assert set(rows["status"]) == {"failed"}
    assert rows["reason"].str.startswith("Out of memory").all()


@pytest.mark.parametrize(
    ("name", "halved"), [("tiny_llava", False), ("tiny_internvl", True), ("tiny_qwen2_5_vl", True)]
)
def test_fewer_pixels_are_fewer_visual_tokens_for_a_while(name, halved, scene):
    vlm = load_vlm(name)
    before = len(vlm.encode(scene[0]).features)
    with pixels_scaled(vlm.processor, 0.5) as possible:
        assert possible == halved
        assert (len(vlm.encode(scene[0]).features) < before) == halved
    assert len(vlm.encode(scene[0]).features) == before


def test_a_row_of_the_data_that_is_no_example_is_a_row_of_the_results(tmp_path, tiny_vlm):
    from datasets import Dataset, Features

    from entropy_grounding.benchmarks.schemas import SCHEMAS

    features = Features(SCHEMAS["docvqa"])
    rows = [
        {**dict.fromkeys(features), "questionId": str(n), "question": "What?", "answers": ["a"]}
        for n in range(2)
    ]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    options = config(tmp_path / "results", "docvqa")
    options = replace(
        options, benchmark=replace(options.benchmark, path=str(tmp_path / "rows.parquet"))
    )
    found = evaluate(options, tiny_vlm)
    assert list(found["status"]) == ["unusable"] * 2
    assert list(found["reason"]) == [
        "Example '0' has no readable image.",
        "Example '1' has no readable image.",
    ]


def test_the_oracle_crops_the_evidence(tmp_path, tiny_vlm):
    rows = evaluate(config(tmp_path, "mini_infovqa", "control_oracle"), tiny_vlm)
    for row in rows.itertuples():
        for box, evidence in zip(row.crops, row.evidence, strict=True):
            assert box[0] <= evidence[0] < evidence[2] <= box[2]
        assert 0 < row.iou < 1


def sides(row):
    return [(round(x1 - x0, 6), round(y1 - y0, 6)) for x0, y0, x1, y1 in row.crops]


@pytest.mark.parametrize(
    "method", ["control_random", "control_center", "control_lowest", "control_blank"]
)
def test_controls_have_the_number_and_sizes_of_the_crops_found_stored_or_not(
    tmp_path, tiny_vlm, method
):
    alone = evaluate(config(tmp_path / "alone", method=method), tiny_vlm)
    found = evaluate(config(tmp_path / "beside"), tiny_vlm)
    beside = evaluate(config(tmp_path / "beside", method=method), tiny_vlm)
    for copy, other, original in zip(
        beside.itertuples(), alone.itertuples(), found.itertuples(), strict=True
    ):
        assert sides(copy) == sides(other) == sides(original)
        assert (copy.answer, copy.plain_answer) == (other.answer, original.plain_answer)
        assert copy.backwards == (1 if method == "control_lowest" else 0) <= other.backwards
        assert (
            other.backwards == original.backwards
        )  # the first map, found on the way, serves the lowest place, too


def test_crops_of_another_configuration_are_not_copied(tmp_path, tiny_vlm):
    one = config(tmp_path, "mini_infovqa")
    evaluate(
        replace(
            one, method=replace(one.method, regions=replace(one.method.regions, max_regions=1))
        ),
        tiny_vlm,
    )
    rows = evaluate(config(tmp_path, "mini_infovqa", "control_center"), tiny_vlm)
    assert rows["crops"].map(len).max() == 2
    assert (rows["backwards"] > 0).all()


def test_a_row_says_where_the_method_looked(straight):
    for row in straight.itertuples():
        assert 0 <= row.iou <= 1
        crops, evidence = ([Box(*box) for box in boxes] for boxes in (row.crops, row.evidence))
        assert row.best_iou == pytest.approx(overlap(crops[:1], evidence).iou)
        assert row.pointing in (0.0, 1.0)
        assert 0 < row.chance < row.energy <= 1 or row.pointing == 0


def test_likelihood_chooses_the_option_with_the_smallest_loss(tmp_path, tiny_vlm):
    options = config(tmp_path, "mini_vstar", "base")
    options = replace(
        options, benchmark=replace(options.benchmark, protocol=Protocol(answer_mode="likelihood"))
    )
    rows = evaluate(options, tiny_vlm)
    examples = list(load_benchmark(options.benchmark))
    for row, example in zip(rows.itertuples(), examples, strict=True):
        losses = {
            letter: tiny_vlm.answer_loss(row.prompt, [tiny_vlm.encode(example.image)], text)
            for letter, text in example.options
        }
        assert row.answer == min(losses, key=losses.get)
        assert row.forwards == len(example.options)
        assert "A." not in row.prompt


def test_the_loss_of_an_answer_is_minus_the_log_of_its_probability(tiny_vlm, scene):
    """Of one token: the next-token log-probability.

    Of the greedy one, no other word has a smaller loss.
    """
    image, question = scene[0], scene[1].text
    pictures = [tiny_vlm.encode(image)]
    logits = tiny_vlm.logits(tiny_vlm.prompt(question, pictures)).log_softmax(-1)
    for word in ("K", "red", "left"):
        token = tiny_vlm.processor.tokenizer.convert_tokens_to_ids(word)
        assert tiny_vlm.answer_loss(question, pictures, word) == pytest.approx(
            -float(logits[token]), abs=1e-3
        )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"shard": "9/8"}, "shard is '9/8'"),
        ({"flush_every": 0}, "flush_every is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_impossible_options_are_refused(tmp_path, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        config(tmp_path, **changes)


def test_data_is_checked_before_weights_are_loaded(tmp_path):
    options = config(tmp_path)
    options = replace(
        options,
        vlm=replace(options.vlm, weights="./nowhere"),
        benchmark=replace(options.benchmark, path="./none.parquet"),
    )
    with pytest.raises(InputError, match="No data set at './none.parquet'"):
        evaluate(options)


def test_control_crops_are_for_evaluations_only(tiny_vlm, scene):
    from entropy_grounding import ground

    with pytest.raises(
        InputError, match="method.crops is 'oracle': such crops need evidence boxes"
    ):
        ground(tiny_vlm, scene[0], scene[1].text, ground_config(["method=control_oracle"]).method)


def test_every_miniature_has_a_configuration_that_loads():
    for name in PAPER_BENCHMARKS:
        assert benchmark_config(f"mini_{name}").path == f"miniature:{name}"


def test_an_offline_run_keeps_pictures_and_rows(tmp_path, tiny_vlm):
    offline = TrackingConfig(mode="offline", group="any")
    options = replace(config(tmp_path), tracking=offline)
    evaluate(replace(options, benchmark=replace(options.benchmark, examples=2)), tiny_vlm)
    folder = results_folder(options) / "tracking"
    kept = [path.read_bytes()[:4] for path in (folder / "wandb_data").rglob("staging/*")]
    assert (kept.count(b"\x89PNG"), kept.count(b"PAR1")) == (2, 1)


# --- one example's exception is its row, and nothing else's ---


@pytest.mark.parametrize(
    "error",
    [StopIteration(), RuntimeError("decoder"), MemoryError(), KeyError("x"), RecursionError()],
)
def test_whatever_scoring_raises_is_the_row_of_its_example(tmp_path, tiny_vlm, monkeypatch, error):
    from entropy_grounding.benchmarks.docvqa import DocVQA

    score = DocVQA.score

    def broken(self, answer, example):
        if example.id.endswith("1"):
            raise error
        return score(self, answer, example)

    monkeypatch.setattr(DocVQA, "score", broken)
    rows = evaluate(config(tmp_path), tiny_vlm)
    assert len(rows) == N
    failed = rows[rows["example_id"].str.endswith("1")]
    assert set(failed["status"]) == {"failed"}
    assert failed["reason"].str.startswith(type(error).__name__).all()
    assert set(rows["status"][~rows["example_id"].str.endswith("1")]) == {"ok"}


def test_ten_failures_for_one_reason_stop_the_run(tmp_path, tiny_vlm):
    options = config(tmp_path)
    options = replace(options, benchmark=replace(options.benchmark, examples=30))
    with pytest.raises(
        InputError,
        match=r"10 examples in a row failed for the same reason \(ZeroDivisionError: no\)"
        r".*retry_failed=true",
    ):
        evaluate(options, Breaks(tiny_vlm, ZeroDivisionError("no"), 0))
    assert merge(results_folder(options))[1] == 10


# --- an oracle needs evidence ---


def without_evidence(folder, empty):
    """Rows of a miniature without boxes, or with boxes in the first row only."""
    from datasets import Dataset, Features, Sequence, Value

    from entropy_grounding.benchmarks.schemas import SCHEMAS

    rows = list(load_benchmark(benchmark_config("mini_docvqa", examples=2)).rows)
    features = {**SCHEMAS["docvqa"]}
    if empty:
        features["evidence"] = Sequence(Sequence(Value("float32")))
        rows[1]["evidence"] = []
    rows = [{name: row.get(name) for name in features} for row in rows]
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / "rows.parquet")
    return str(folder / "rows.parquet")


def test_an_oracle_is_refused_where_no_row_has_a_box(tmp_path, tiny_vlm):
    options = config(tmp_path / "results", "docvqa", "control_oracle")
    options = replace(
        options, benchmark=replace(options.benchmark, path=without_evidence(tmp_path, False))
    )
    with pytest.raises(
        InputError,
        match=r"method.crops is 'oracle' and .* has no evidence boxes: name a file with them",
    ):
        evaluate(options, tiny_vlm)
    assert not (tmp_path / "results").exists()


def test_an_oracle_answers_nothing_where_a_row_has_no_box(tmp_path, tiny_vlm):
    options = config(tmp_path / "results", "docvqa", "control_oracle")
    options = replace(
        options, benchmark=replace(options.benchmark, path=without_evidence(tmp_path, True))
    )
    rows = evaluate(options, tiny_vlm)
    assert list(rows["status"]) == ["ok", "unusable"]
    assert rows["reason"].iloc[1].startswith("no evidence box")


# --- what ran ---


def test_the_manifest_names_weights_data_and_environment(tmp_path, tiny_vlm):
    from entropy_grounding.core.environment import environment_of
    from entropy_grounding.vlm.weights import weights_identities

    options = config(tmp_path)
    evaluate(options, tiny_vlm)
    _, manifest = load_rows(results_folder(options))
    assert manifest["environment"] == environment_of(tiny_vlm)
    assert (
        manifest["weights_sha256"]
        == manifest["weights"]
        == weights_identities("tiny:llava")["weights"]
    )
    assert manifest["data"] == "miniature:docvqa"
    assert manifest["complete"] == {"examples": N, "rows": N}


def test_the_threads_of_the_caller_stay_as_they_are(tmp_path, tiny_vlm):
    before = torch.get_num_threads()
    options = replace(config(tmp_path), threads=before + 1)
    evaluate(replace(options, benchmark=replace(options.benchmark, examples=1)), tiny_vlm)
    assert torch.get_num_threads() == before


def test_rows_of_two_shards_are_never_taken_for_all(tmp_path, tiny_vlm):
    from entropy_grounding.evaluation.archive import stored_folder

    options = replace(config(tmp_path), shard="2/2")
    evaluate(options, tiny_vlm)
    merge(results_folder(options))
    fewer = resolved(replace(options, benchmark=replace(options.benchmark, examples=3)))
    assert stored_folder(fewer, {}) is None
    evaluate(replace(options, shard="1/2"), tiny_vlm)
    merge(results_folder(options))
    assert stored_folder(fewer, {}) == results_folder(options)


def test_sigterm_keeps_finished_examples(tmp_path):
    """The real command; nothing would be flushed before the hundredth row."""
    process = start(
        [
            "benchmark=mini_docvqa",
            "benchmark.examples=300",
            "flush_every=100",
            f"results_dir={tmp_path}",
        ]
    )
    while process.poll() is None and not list(tmp_path.rglob("manifest.json")):
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "terminated: what was finished is kept" in said
    assert "Traceback" not in said
    assert len(list(tmp_path.rglob("parts/*.parquet"))) == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_in_a_multirun_the_others_go_on_and_the_status_tells(tmp_path, monkeypatch, capsys):
    """The first of both is refused; the sentence says which one it was."""
    options = [
        "benchmark=mini_gqa",
        "benchmark.examples=1",
        "method=base",
        "tracking=disabled",
        f"results_dir={tmp_path / 'a, (b)'}",
    ]
    monkeypatch.setattr("sys.argv", ["evaluate", "-m", "shard=9/8,1/1", *options])
    with pytest.raises(SystemExit) as ended:
        main(Namespace())
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "tiny_llava mini_gqa base: " in said.out
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors[0].startswith("error: shard=9/8 ")
    assert "use i/n with i from 1 to n" in errors[0]
    assert errors[1] == "error: 1 of 2 runs failed, see above; the others are done."
    assert len(load_rows(tmp_path / "a, (b)" / "tiny_llava" / "mini_gqa" / "base")[0]) == 1
