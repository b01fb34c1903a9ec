"""Columns are read by their types; whatever a row holds, it becomes an example or a sentence."""

import io
import json
import shutil
import socket
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features
from PIL import Image as Pillow

from entropy_grounding.benchmarks.base import Example, LoadedBenchmark, Unusable
from entropy_grounding.benchmarks.columns import (
    answer_of,
    box_of,
    boxes_of,
    id_of,
    picture_of,
    text_of,
    texts_of,
)
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import local_files
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.benchmarks.load import (
    BENCHMARKS,
    benchmark_config,
    boxes_note,
    load_benchmark,
)
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from support.benchmark_rows import DEFAULTS, load, parquet, picture
from support.fuzz import retyped, tries

# --- types, not names ---


@pytest.mark.parametrize(
    ("value", "references"),
    [
        ("1 May", ("1 May",)),
        (["1 May", "May 1"], ("1 May", "May 1")),
        (np.array(["a", "b"]), ("a", "b")),
        (
            [{"answer": "red", "answer_confidence": "yes", "answer_id": 1}, {"answer": "blue"}],
            ("red", "blue"),
        ),
        ({"text": ["Paris"], "answer_start": [3]}, ("Paris",)),
        (7, ("7",)),
        ([2.5, "x"], ("2.5", "x")),
        (["", "a"], ("", "a")),
    ],
)
def test_references_are_read_as_what_they_are(value, references):
    assert texts_of({"answers": value}, "1", "answers") == references


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "",
        "  ",
        [""],
        [None],
        ["a", None],
        {"text": []},
        {"other": 1},
        True,
        float("nan"),
        [["a"]],
        b"bytes",
        [{}],
        {},
    ],
)
def test_what_is_no_reference_makes_a_row_unusable(value):
    with pytest.raises(InputError, match="Example '1' has"):
        texts_of({"answers": value}, "1", "answers")


@pytest.mark.parametrize("value", [None, "", " ", 7, ["text"], {"a": 1}, b"text", True])
def test_what_is_no_text_makes_a_row_unusable(value):
    with pytest.raises(InputError, match="Example '1' has .*question"):
        text_of({"question": value}, "1", "question")


def test_one_answer_is_one():
    assert answer_of({"answer": ["yes"]}, "1", "answer") == "yes"
    with pytest.raises(InputError, match="has 2 references in answer: this benchmark has one"):
        answer_of({"answer": ["yes", "no"]}, "1", "answer")


@pytest.mark.parametrize(("value", "identity"), [("a", "a"), (0, "0"), (np.int32(7), "7")])
def test_an_id_is_a_text_or_a_whole_number(value, identity):
    assert id_of({"id": value}, "id") == identity


@pytest.mark.parametrize("value", [None, "", True, 1.5, [1], {}])
def test_what_is_no_id_is_named(value):
    with pytest.raises(InputError, match="no id: id is"):
        id_of({"id": value}, "id")


def test_boxes_are_four_finite_numbers():
    assert boxes_of([[1, 2, 3, 4], (0, 0, 0.5, 0)]) == (Box(1, 2, 4, 6), Box(0, 0, 0.5, 0))
    assert boxes_of(None) == ()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        [1, 2, 3, None],
        [1, 2, 3, float("nan")],
        [1, 2, -3, 4],
        ["1", "2", "3", "4"],
        None,
        "1234",
        [True] * 4,
    ],
)
def test_what_is_no_box_is_named(value):
    with pytest.raises(InputError, match="An evidence box is"):
        box_of(value)
    with pytest.raises(InputError):
        boxes_of([value])


# --- pictures come from the data set, and from nowhere else ---


def png(**options):
    sink = io.BytesIO()
    picture().save(sink, "PNG", **options)
    return sink.getvalue()


@pytest.fixture
def no_network(monkeypatch):
    """Any connection is an error."""

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_a_path_is_read_inside_the_data_sets_folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    for image in ("pictures/a.png", {"path": "pictures/a.png", "bytes": None}):
        assert picture_of({"image": image}, "1", folder=tmp_path).size == (40, 30)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside.png", "link.png", "missing.png", "folder", "~/x.png", "a\0b"],
)
def test_a_path_outside_the_data_sets_folder_is_never_opened(tmp_path, path):
    inside = tmp_path / "data"
    (inside / "folder").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(png())
    (inside / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises((InputError, ValueError)) as found:
        picture_of({"image": {"path": path, "bytes": None}}, "1", folder=inside)
    assert "\0" in path or "no file inside the data set's folder" in str(found.value)
    with pytest.raises((InputError, ValueError)):
        picture_of({"image": path}, "1", folder=None)


ADDRESSES = [
    "hf://datasets/a/b.png",
    "ftp://host/a.png",
    "s3://bucket/a.png",
    "file:///etc/passwd",
    "gs://b/a",
    "data:image/png;base64,aa",
]


@pytest.mark.parametrize("urls", [False, True])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_never_fetched(no_network, tmp_path, address, urls):
    with pytest.raises(InputError, match="which is not fetched"):
        picture_of({"image": {"path": address, "bytes": None}}, "1", folder=tmp_path, urls=urls)


def test_a_web_address_is_fetched_only_where_allowed(no_network, tmp_path):
    row = {"image": "http://127.0.0.1:9/a.png"}
    with pytest.raises(InputError, match="benchmark.allow_urls=true"):
        picture_of(row, "1", folder=tmp_path)
    with pytest.raises(AssertionError, match="a connection was opened"):
        picture_of(row, "1", folder=tmp_path, urls=True)


def test_rows_whose_pictures_lie_elsewhere_are_unusable_and_end_nothing(no_network, tmp_path):
    features = Features(SCHEMAS["docvqa"])
    paths = [
        "/etc/hostname",
        "s3://b/a.png",
        "hf://datasets/x/y.png",
        "https://example.org/a.png",
        "in.png",
    ]
    common = {**dict.fromkeys(features), **DEFAULTS["docvqa"]}
    rows = [
        {**common, "questionId": str(n), "image": {"bytes": None, "path": path}}
        for n, path in enumerate(paths)
    ]
    (tmp_path / "in.png").write_bytes(png())
    pq.write_table(
        pa.Table.from_pylist(rows, schema=features.arrow_schema), tmp_path / "rows.parquet"
    )
    *elsewhere, inside = load(str(tmp_path / "rows.parquet"), "docvqa")
    assert all(isinstance(each, Unusable) for each in elsewhere)
    assert inside.image.size == (40, 30)


# --- one row's exception is its row ---


class Strange(type(BENCHMARKS["docvqa"])):
    """Raises for one row, in one of the places where a row is read."""

    def __init__(self, place, error):
        self.place, self.error = place, error

    def identify(self, row, number):
        if self.place == "identify" and number == 1:
            raise self.error
        return super().identify(row, number)

    def examples(self, row, identity, protocol):
        if self.place == "examples" and identity == "1":
            raise self.error
        yield from super().examples(row, identity, protocol)


ERRORS = [
    KeyError("x"),
    StopIteration(),
    RuntimeError("decoder"),
    MemoryError(),
    NotImplementedError(),
    RecursionError(),
]


@pytest.mark.parametrize("place", ["identify", "examples", "evidence"])
@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        StopIteration(),
        RuntimeError("decoder"),
        MemoryError(),
        NotImplementedError(),
        RecursionError(),
    ],
)
def test_whatever_a_row_raises_makes_that_row_unusable(place, error):
    def evidence(row, identity):
        if place == "evidence" and identity == "1":
            raise error
        return ()

    rows = [{**DEFAULTS["docvqa"], "questionId": str(n), "image": picture()} for n in range(3)]
    found = list(
        LoadedBenchmark(Strange(place, error), rows, BenchmarkConfig(kind="docvqa"), evidence)
    )
    assert [isinstance(each, Unusable) for each in found] == [False, True, False]
    assert type(error).__name__ in found[1].reason


def test_a_damaged_later_row_group_is_one_sentence(tmp_path):
    path = parquet(tmp_path, "docvqa", *({"questionId": str(n)} for n in range(6)))
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=2)
    place = pq.ParquetFile(path).metadata.row_group(2).column(3).data_page_offset
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "rows.parquet").write_bytes(content)
    # Which of the two depends on how far threads of pyarrow have read ahead.
    early, late = f"Could not read the data set '{path}'", f"The data set '{path}' cannot be read"
    with pytest.raises(InputError, match=rf"{early}|{late}"):
        list(load(path, "docvqa"))


def test_evidence_of_another_shape_is_the_rows_fault(tmp_path):
    boxes = ([[1, 2, 3]], [None], [[0, 0, 5, 5]])
    common = {**DEFAULTS["docvqa"], "image": picture()}
    rows = [{**common, "questionId": str(n), "evidence": box} for n, box in enumerate(boxes)]
    bad, null, good = LoadedBenchmark(BENCHMARKS["docvqa"], rows, BenchmarkConfig(kind="docvqa"))
    assert "An evidence box is" in bad.reason
    assert "An evidence box is" in null.reason
    assert good.boxes == (Box(0, 0, 5, 5),)


def test_pope_rows_without_an_image_source_are_no_crash(tmp_path):
    path = parquet(
        tmp_path, "pope", {"image_source": None}, {"question_id": "2", "category": "popular"}
    )
    (tmp_path / "older.json").write_text(
        json.dumps({"image": "a.jpg", "text": "Is there a dog in the image?"})
    )
    found = list(load(path, "pope", rows_in=str(tmp_path / "older.json")))
    assert found[-1].group == "popular"


def test_mutated_rows_become_an_example_or_a_sentence():
    """Of every benchmark: each column dropped, retyped, nulled, emptied, nested."""
    generator = np.random.default_rng(0)
    outcomes = {"example": 0, "unusable": 0}
    for number in tries(600):
        kind = sorted(DEFAULTS)[number % len(DEFAULTS)]
        row = {
            **DEFAULTS[kind],
            "image": {"bytes": png(), "path": None},
            "evidence": [[1.0, 2.0, 5.0, 6.0]],
        }
        for _ in range(int(generator.integers(1, 3))):
            column = sorted(row)[int(generator.integers(len(row)))]
            change = int(generator.integers(4))
            if change == 0:
                row.pop(column)
            elif change == 1:
                row[column] = [row[column]]
            elif change == 2:
                row[column] = retyped(row[column], generator)
            else:
                row[column] = {"answer": row[column], "text": [row[column]]}
        (found,) = LoadedBenchmark(BENCHMARKS[kind], [row], BenchmarkConfig(kind=kind))
        assert isinstance(found, Example | Unusable)
        if isinstance(found, Unusable):
            assert found.reason
            assert len(found.reason.splitlines()) == 1
            outcomes["unusable"] += 1
        else:
            assert all(isinstance(each, str) for each in found.references)
            assert found.references
            outcomes["example"] += 1
    print(f"mutated rows: {outcomes}")
    assert min(outcomes.values()) > 10


# --- a local copy of a data set ---


def copied(folder, kind, *places):
    """A local copy with the same rows in several places, each row named by its place."""
    for number, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        parquet(
            (folder / place).parent, kind, {"questionId": str(number)}, name=(folder / place).name
        )
    return str(folder)


TWO = (
    "DocVQA/validation-00000-of-00001.parquet",
    "InfographicVQA/validation-00000-of-00001.parquet",
    "DocVQA/test-00000-of-00001.parquet",
)
CARD = """---
configs:
- config_name: DocVQA
  data_files:
  - split: validation
    path: DocVQA/validation-*
- config_name: InfographicVQA
  data_files:
  - split: validation
    path: [InfographicVQA/validation-*]
---
"""


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize(("name", "identity"), [("DocVQA", "0"), ("InfographicVQA", "1")])
def test_the_configuration_of_a_local_copy_is_honoured(tmp_path, card, name, identity):
    path = copied(tmp_path, "docvqa", *TWO)
    if card:
        (tmp_path / "README.md").write_text(CARD)
    (example,) = load(path, "docvqa", config=name)
    assert example.id == identity


def test_the_message_of_an_unreachable_hub_leads_to_a_copy_that_loads(tmp_path, monkeypatch):
    """Follow the advice: the hub's layout below data/NAME, and its folder as path."""
    monkeypatch.chdir(tmp_path)
    copied(tmp_path / "data" / "DocVQA", "docvqa", *TWO)
    config = benchmark_config("infovqa", path="data/DocVQA")
    (example,) = load_benchmark(config)
    assert example.id == "1"


def test_a_folder_of_several_configurations_is_refused_without_a_name(tmp_path):
    path = copied(tmp_path, "docvqa", *TWO)
    with pytest.raises(
        InputError,
        match=r"several configurations, DocVQA, InfographicVQA: "
        r"name one with benchmark.config=NAME",
    ):
        load(path, "docvqa")
    with pytest.raises(InputError, match="configuration 'Other' is none of them"):
        load(path, "docvqa", config="Other")


def test_a_folder_without_the_split_is_refused(tmp_path):
    path = copied(
        tmp_path,
        "docvqa",
        "data/train-00000-of-00001.parquet",
        "data/testdev-00000-of-00001.parquet",
    )
    with pytest.raises(InputError, match="has no split 'test', only testdev, train"):
        load(path, "docvqa", split="test")


def test_the_images_of_gqa_come_from_their_configuration(tmp_path):
    questions = {"id": ["1"], "imageId": ["n1"], "question": ["What color?"], "answer": ["red"]}
    features = Features(SCHEMAS["gqa_images"])
    tables = {
        "testdev_balanced_instructions/testdev-0.parquet": Dataset.from_dict(questions),
        "testdev_balanced_images/testdev-0.parquet": Dataset.from_list(
            [{"id": "n1", "image": picture()}], features=features
        ),
        "train_balanced_images/train-0.parquet": Dataset.from_list(
            [{"id": "n1", "image": picture(9, 9)}], features=features
        ),
    }
    for name, table in tables.items():
        (tmp_path / name).parent.mkdir()
        table.to_parquet(tmp_path / name)
    (example,) = load_benchmark(benchmark_config("gqa", path=str(tmp_path)))
    assert example.image.size == (40, 30)


def test_a_folder_with_brackets_in_its_name_is_read(tmp_path):
    folder = tmp_path / "data [v1] (a) *"
    folder.mkdir()
    (example,) = load(parquet(folder, "docvqa"), "docvqa")
    assert example.id == "11"


# --- a sample of the whole split ---


CATEGORIES = ("adversarial", "popular", "random")


def many(folder, count=1500):
    """More rows than a shuffle buffer holds; sorted by a category, as POPE is."""
    features = Features(SCHEMAS["pope"])
    small = {"bytes": png(), "path": None}
    rows = [
        {
            **dict.fromkeys(features),
            **DEFAULTS["pope"],
            "question_id": str(n),
            "category": ("adversarial", "popular", "random")[3 * n // count],
            "image": small,
        }
        for n in range(count)
    ]
    Dataset.from_list(rows, features=features).to_parquet(folder / "test.parquet")
    return str(folder / "test.parquet")


def test_a_sample_is_drawn_from_all_rows(tmp_path):
    path = many(tmp_path)
    found = list(load(path, "pope", examples=150, sample_seed=0).numbered())
    groups = [example.group for _, example in found]
    assert all(35 <= groups.count(name) <= 65 for name in CATEGORIES)
    assert sorted(number for number, _ in found) == list(range(150))


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(tmp_path):
    path = many(tmp_path, 60)
    small, large = (
        {n: e.id for n, e in load(path, "pope", examples=count, sample_seed=3).numbered()}
        for count in (5, 40)
    )
    assert small == {number: large[number] for number in range(5)}
    assert len(dict(load(path, "pope", sample_seed=3).numbered())) == 60


def test_the_same_rows_are_drawn_of_a_table_and_of_a_stream(tmp_path, monkeypatch):
    path = many(tmp_path, 60)
    streamed = {
        number: example.id
        for number, example in load(path, "pope", examples=20, sample_seed=1).numbered()
    }
    table = Dataset.from_parquet(path, cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr("entropy_grounding.benchmarks.sources._open", lambda *_: table)
    assert streamed == {
        number: example.id
        for number, example in load(path, "pope", examples=20, sample_seed=1).numbered()
    }


# --- identity by content ---


def test_data_are_identified_by_the_files_that_are_read(tmp_path):
    path = copied(tmp_path / "a", "docvqa", TWO[0])
    config = BenchmarkConfig(path=path, config="DocVQA")
    before = data_identities(config)
    copied(tmp_path / "a", "docvqa", "DocVQA/train-00000-of-00001.parquet", TWO[1])
    assert data_identities(config) == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert data_identities(BenchmarkConfig(path=str(tmp_path / "b"), config="DocVQA")) == before
    assert data_identities(BenchmarkConfig(path=path, config="InfographicVQA")) != before


@pytest.mark.parametrize("option", ["boxes", "rows_in", "images"])
def test_files_that_are_joined_count_by_their_content(tmp_path, option):
    path = parquet(tmp_path, "docvqa")
    identities = []
    for number, content in enumerate((b"one", b"one", b"two")):
        file = tmp_path / f"{number}.{'parquet' if option == 'images' else 'json'}"
        file.write_bytes(content)
        identities.append(data_identities(BenchmarkConfig(path=path, **{option: str(file)})))
    first, same, other = identities
    assert first == same != other
    assert set(first) == {"data", option}


def test_a_miniature_is_identified_by_its_name_alone():
    assert data_identities(benchmark_config("mini_gqa")) == {"data": "miniature:gqa"}


def test_boxes_of_the_hub_are_not_fetched_for_a_local_copy(no_network, tmp_path):
    config = benchmark_config("textvqa", path=parquet(tmp_path, "textvqa"))
    assert config.boxes
    with pytest.warns(UserWarning, match="No boxes: no localisation"):
        (example,) = load_benchmark(config)
    assert example.boxes == ()
    assert boxes_note(config) == "no boxes: no localisation"
    assert boxes_note(benchmark_config("mini_pope")) == ""
    assert boxes_note(benchmark_config("textvqa")) == ""


def test_a_file_is_a_data_set_whatever_its_name(tmp_path):
    assert (
        local_files(parquet(tmp_path, "docvqa", name="x y.parquet"), "validation", "Any")[0].name
        == "x y.parquet"
    )


def test_pictures_that_were_read_before_have_the_same_pixels(tmp_path):
    """The reader of rows and the reader of files are one."""
    from entropy_grounding.core.images import load_image

    exif = Pillow.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(jpeg := _jpeg(exif))
    row = picture_of({"image": {"bytes": jpeg, "path": None}}, "1")
    assert np.array_equal(np.asarray(row), np.asarray(load_image(tmp_path / "turned.jpg")))
    assert row.size == (30, 40)


def _jpeg(exif):
    sink = io.BytesIO()
    picture().save(sink, "JPEG", exif=exif)
    return sink.getvalue()


def test_a_column_of_another_type_is_the_rows_fault_in_a_file_too(tmp_path):
    table = pa.table({"questionId": ["1"], "question": [7], "image": [None], "answers": ["x"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = load(str(tmp_path / "rows.parquet"), "docvqa")
    assert isinstance(found, Unusable)
