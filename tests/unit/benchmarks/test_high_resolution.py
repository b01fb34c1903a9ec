"""HR-Bench and MME-RealWorld-Lite: base64 pictures, rotations in the data, published scores."""

import base64

import pandas as pd
import pytest

from entropy_grounding.benchmarks.base import Unusable
from entropy_grounding.benchmarks.config import BenchmarkConfig, Protocol
from entropy_grounding.benchmarks.data_files import local_files
from entropy_grounding.benchmarks.load import (
    BENCHMARKS,
    PAPER_BENCHMARKS,
    benchmark_config,
    load_benchmark,
)
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.harness.export import ExportConfig, export
from entropy_grounding.reporting.tables import published_line
from support.benchmark_rows import BASE64, base64_of, load, parquet, picture

BEYOND = ("hr_bench_4k", "hr_bench_8k", "mme_realworld_lite")
COLUMN = {"hr_bench_4k": "image", "hr_bench_8k": "image", "mme_realworld_lite": "bytes"}
EACH = pytest.mark.parametrize("kind", BEYOND)
TEXTS = ("7", "12", "21", "None of them")  # "12" is right


def cyclic(index, shift, **changes):
    """A row of HR-Bench that shows the options from another one on."""
    options = dict(zip("ABCD", TEXTS[shift:] + TEXTS[:shift], strict=True))
    right = next(letter for letter, text in options.items() if text == "12")
    return {"index": index, "cycle_category": str(shift), **options, "answer": right, **changes}


def test_they_are_no_benchmarks_of_the_paper():
    assert set(BENCHMARKS) == {*PAPER_BENCHMARKS, *BEYOND}
    for run in ("full", "pilot"):
        assert set(load_experiment("table1", run).run.benchmarks) == set(PAPER_BENCHMARKS)


@EACH
def test_a_picture_is_read_from_its_base64_text(tmp_path, kind):
    column = COLUMN[kind]
    rows = [
        {"index": n, column: value}
        for n, value in enumerate((BASE64, BASE64[:60] + "\n" + BASE64[60:]))
    ]
    first, wrapped = load(parquet(tmp_path, kind, *rows), kind)
    assert first.image.size == wrapped.image.size == (40, 30)
    assert first.image.mode == "RGB"


@EACH
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "Example '.*' has no readable image."),
        ("images/3.jpg", "The image of example '.*' is 'images/3.jpg', which is no base64 text"),
        ("data:image/jpeg;base64,AAAA", "which is no base64 text"),
        (base64.b64encode(b"no picture").decode(), "is not a picture that Pillow can read"),
        (base64_of(picture())[:400], "is damaged or too large"),
    ],
)
def test_a_bad_picture_is_one_sentence(tmp_path, kind, value, complaint):
    (found,) = load(parquet(tmp_path, kind, {COLUMN[kind]: value}), kind)
    assert isinstance(found, Unusable)
    assert pd.Series([found.reason]).str.contains(complaint).all(), found.reason
    assert len(found.reason) < 300


@EACH
def test_a_missing_column_is_named_before_a_model_is_loaded(tmp_path, kind):
    path = parquet(tmp_path, kind)
    for column in BENCHMARKS[kind].columns:
        pd.read_parquet(path).drop(columns=column).to_parquet(tmp_path / "less.parquet")
        with pytest.raises(InputError, match=f"has no column {column}: it has"):
            load(str(tmp_path / "less.parquet"), kind)


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("hr_bench_4k", {"C": None}, "Example '8:0' has no C."),
        ("hr_bench_4k", {"answer": "E"}, "the answer 'E', which is none of its options A, B, C, D"),
        ("hr_bench_4k", {"category": None}, "Example '8:0' has no category."),
        ("hr_bench_4k", {"cycle_category": None}, "It has no id: cycle_category is None"),
        ("mme_realworld_lite", {"multi-choice options": []}, "Example '17' has no multi-choice"),
        (
            "mme_realworld_lite",
            {"multi-choice options": ["red", "blue"]},
            "Example '17' has the options red, blue: use a list of texts '(A) ...', '(B) ...'",
        ),
        ("mme_realworld_lite", {"answer": "F"}, "the answer 'F', which is none of its options"),
    ],
)
def test_a_bad_row_is_one_sentence(tmp_path, kind, change, complaint):
    (found,) = load(parquet(tmp_path, kind, change), kind)
    assert isinstance(found, Unusable)
    assert complaint in found.reason


def test_the_rotations_of_hr_bench_are_its_rows(tmp_path):
    rows = [cyclic(4 * question + shift, shift) for question in range(2) for shift in range(4)]
    found = list(load(parquet(tmp_path, "hr_bench_4k", *rows), "hr_bench_4k"))
    assert [example.id for example in found[:4]] == ["0:0", "1:1", "2:2", "3:3"]
    assert [example.references[0] for example in found[:4]] == ["B", "A", "D", "C"]
    for example in found:
        assert dict(example.options)[example.references[0]] == "12"

    # They are no option of the protocol: shuffled rotations would be rotations no more.
    for order in ("rotations", "shuffled"):
        with pytest.raises(InputError, match="option_order has no meaning for HRBench"):
            load(
                str(tmp_path / "rows.parquet"), "hr_bench_4k", protocol=Protocol(option_order=order)
            )


def test_numbers_may_be_texts(tmp_path):
    path = parquet(tmp_path, "hr_bench_4k")
    rows = pd.read_parquet(path).assign(cycle_category=[3], index=["8"], A=[7])
    rows.to_parquet(path)
    (example,) = load(path, "hr_bench_4k")
    assert (example.id, example.options[0]) == ("8:3", ("A", "7"))


def test_the_published_scores_stand_beside_the_mean(tmp_path):
    changes = [cyclic(0, 0), cyclic(1, 1), cyclic(2, 0, category="cross"), cyclic(3, 0)]
    found = list(load(parquet(tmp_path, "hr_bench_4k", *changes), "hr_bench_4k"))
    rows = pd.DataFrame(
        {
            "example_id": [example.id for example in found],
            "group": [example.group for example in found],
            "method": "entropy_gradient",
            "status": ["ok", "ok", "ok", "failed"],
            "plain_score": [0.0, 0.0, 1.0, None],
            "score": [0.0, 1.0, 1.0, None],
        }
    )
    # All rows of the method: rotation 0 has 0 and 1, rotation 1 has 1.
    assert published_line(rows, "hr_bench_4k") == (
        "as published: plain cross 100.0, single 0.0, all 25.0; "
        "entropy_gradient cross 100.0, single 50.0, all 75.0"
    )
    assert published_line(rows, "vstar") == ""
    assert published_line(rows.assign(status="failed"), "hr_bench_4k") == ""

    rows["group"] = ["Perception/OCR", "Perception/OCR", "Perception/Monitoring", ""]
    assert published_line(rows, "mme_realworld_lite").endswith(
        "entropy_gradient Perception 66.7, Perception by domain 75.0"
    )


def test_a_folder_with_both_resolutions_gives_the_one_that_is_asked_for(tmp_path):
    """Without the card nothing but their names tells the files apart."""
    for size in ("4k", "8k"):
        name = f"hr_bench_{size}.parquet"
        parquet(tmp_path, f"hr_bench_{size}", {"question": f"In {size}?"}, name=name)

    for size in ("4k", "8k"):
        config = benchmark_config(f"hr_bench_{size}", path=str(tmp_path))
        (example,) = load_benchmark(config)
        assert example.question == f"In {size}?"
        (file,) = local_files(config.path, config.split, config.config)
        assert file.name == f"hr_bench_{size}.parquet"


@EACH
def test_an_export_is_refused_in_a_sentence(tmp_path, kind):
    benchmark = BenchmarkConfig(name=kind, kind=kind, path=parquet(tmp_path, kind))
    with pytest.raises(InputError, match=f"'{kind}' cannot be exported: use one of textvqa"):
        export(ExportConfig(benchmark=benchmark, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
