"""Evidence boxes that come after the answers: only an oracle's rows depend on them."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.benchmarks.sources import open_rows
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.archive import load_rows, stored_folder, stored_index
from entropy_grounding.evaluation.config import EvaluateConfig, fingerprint, results_folder
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.metrics.localization import overlap
from entropy_grounding.vlm.model import VLM

N = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows of a miniature without their boxes, and the boxes in a table beside them."""
    folder = tmp_path_factory.mktemp("data")
    config = benchmark_config("mini_textvqa", canvas=256)
    rows = list(open_rows(config.path, config, ()).take(N))  # with encoded pictures
    kept = [{name: value for name, value in row.items() if name != "evidence"} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), folder / "validation.parquet")

    boxes = [
        {"dataset_id": str(row["question_id"]), "bbox": list(map(float, box))}
        for row in rows
        for box in row["evidence"]
    ]
    pq.write_table(pa.Table.from_pylist(boxes), folder / "boxes.parquet")
    return folder


def config(data, results, method="entropy_gradient", boxes="boxes.parquet"):
    given = ["benchmark=textvqa", "tracking=disabled", f"method={method}", "method_name=m"]
    composed = compose_config(given, "evaluate", EvaluateConfig)
    place = None if boxes is None else str(data / boxes)
    path = str(data / "validation.parquet")
    benchmark = replace(composed.benchmark, path=path, boxes=place)
    return replace(composed, benchmark=benchmark, results_dir=str(results))


def test_only_the_hash_of_an_oracle_counts_the_boxes(data, tmp_path):
    for method, counts in (("entropy_gradient", False), ("control_oracle", True)):
        without = fingerprint(config(data, tmp_path, method, None))
        given = fingerprint(config(data, tmp_path, method))
        assert (without != given) == counts

    # The content counts, not the place.
    (tmp_path / "copy.parquet").write_bytes((data / "boxes.parquet").read_bytes())
    copied = config(data, tmp_path, "control_oracle", tmp_path / "copy.parquet")
    assert fingerprint(copied) == fingerprint(config(data, tmp_path, "control_oracle"))


def test_boxes_that_come_later_fill_the_places(data, tmp_path, tiny_vlm, monkeypatch):
    before = evaluate(config(data, tmp_path, boxes=None), tiny_vlm)
    assert before["iou"].isna().all()

    later = config(data, tmp_path)
    assert stored_folder(later, stored_index(tmp_path)) is None  # something is left to do
    with monkeypatch.context() as patch:  # no answer is given again
        patch.setattr(VLM, "run", None)
        patch.setattr(VLM, "generate", None)
        filled = evaluate(later, tiny_vlm)

    assert list(filled["answer"]) == list(before["answer"])
    assert filled["iou"].notna().all()
    assert filled["energy"].isna().all()
    for row in filled.itertuples():
        crops, boxes = ([Box(*box) for box in each] for each in (row.crops, row.evidence))
        assert row.iou == pytest.approx(overlap(crops, boxes).iou)
        assert row.best_iou == pytest.approx(overlap(crops[:1], boxes).iou)

    rows, source = load_rows(results_folder(later))
    assert rows["iou"].notna().all()
    assert source["boxes"]
    assert stored_folder(later, stored_index(tmp_path)) == results_folder(later)


def test_the_places_equal_those_of_boxes_that_were_there_at_once(data, tmp_path, tiny_vlm):
    evaluate(config(data, tmp_path / "later", boxes=None), tiny_vlm)
    later = evaluate(config(data, tmp_path / "later"), tiny_vlm)
    at_once = evaluate(config(data, tmp_path / "once"), tiny_vlm)
    for name in ("iou", "best_iou", "config_hash", "answer"):
        assert list(later[name]) == list(at_once[name])
    assert json.dumps([[list(box) for box in each] for each in later["evidence"]]) == json.dumps(
        [[list(box) for box in each] for each in at_once["evidence"]]
    )
    assert at_once["energy"].notna().all()


def test_rows_of_other_shards_are_filled_too(data, tmp_path, tiny_vlm):
    for shard in ("1/2", "2/2"):
        evaluate(replace(config(data, tmp_path, boxes=None), shard=shard), tiny_vlm)
    filled = evaluate(replace(config(data, tmp_path), shard="1/2"), tiny_vlm)
    assert len(filled) == N
    assert filled["iou"].notna().all()
