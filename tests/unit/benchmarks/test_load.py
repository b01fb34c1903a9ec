"""Benchmarks through `datasets`: small parquet files, read by the same loader as the hub's."""

import json
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset, Features

from entropy_grounding.benchmarks.base import LETTER, SHORT, Unusable
from entropy_grounding.benchmarks.config import BenchmarkConfig, Protocol
from entropy_grounding.benchmarks.load import BENCHMARKS, benchmark_config, load_benchmark
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from support.benchmark_rows import DEFAULTS, load, parquet, picture

HR_PROMPT = (
    "What is the number on the jersey?\nA. 7\nB. 12\nC. 21\nD. None of them\n"
    "Answer the option letter directly."
)
MME_PROMPT = (
    "What is the color of the boat? The choices are listed below:\n"
    "(A) red\n(B) blue\n(C) green\n(D) white\n(E) The image does not feature the color.\n"
    "Select the best answer to the above multiple-choice question based on the image. "
    "Respond with only the letter (A, B, C, D, or E) of the correct option.\nThe best answer is: "
)
LETTERED = ("vstar", "realworldqa", "mme_realworld_lite")


@pytest.mark.parametrize(
    ("kind", "identity", "prompt", "references", "group"),
    [
        ("textvqa", "7", f"What does the nasa sign say?\n{SHORT}", ("go",) * 10, ""),
        (
            "vstar",
            "direct_attributes/0",
            f"What is the color of the glove?\nA. red\nB. blue\nC. green\n{LETTER}",
            ("B",),
            "direct_attributes",
        ),
        ("docvqa", "11", f"What is the date?\n{SHORT}", ("1 May", "May 1"), ""),
        ("infovqa", "12", f"How many?\n{SHORT}", ("5",), ""),
        ("pope", "random/1", f"Is there a dog in the image?\n{SHORT}", ("no",), "random"),
        ("realworldqa", "0", DEFAULTS["realworldqa"]["question"], ("A",), "choice"),
        ("hr_bench_4k", "8:0", HR_PROMPT, ("B",), "single"),
        ("hr_bench_8k", "8:0", HR_PROMPT, ("B",), "single"),
        ("mme_realworld_lite", "17", MME_PROMPT, ("D",), "Perception/Remote Sensing"),
    ],
)
def test_a_row_of_the_published_schema_becomes_an_example(
    tmp_path, kind, identity, prompt, references, group
):
    (example,) = load(parquet(tmp_path, kind), kind)
    assert (example.id, example.prompt, example.references, example.group) == (
        identity,
        prompt,
        references,
        group,
    )
    assert example.image.size == (40, 30)
    assert example.image.mode == "RGB"


def test_gqa_joins_its_images(tmp_path):
    questions = {
        "id": ["1", "2"],
        "imageId": ["n1", "gone"],
        "question": ["What color?"] * 2,
        "answer": ["red"] * 2,
    }
    Dataset.from_dict(questions).to_parquet(tmp_path / "questions.parquet")
    images = Features(SCHEMAS["gqa_images"])
    Dataset.from_list([{"id": "n1", "image": picture()}], features=images).to_parquet(
        tmp_path / "images.parquet"
    )
    found, lost = load(
        str(tmp_path / "questions.parquet"), "gqa", images=str(tmp_path / "images.parquet")
    )
    assert (found.id, found.prompt, found.references, found.image.size) == (
        "1",
        f"What color?\n{SHORT}",
        ("red",),
        (40, 30),
    )
    assert lost == Unusable("2", "Example '2' has no readable image.")


def test_ocr_tokens_enter_the_prompt_where_asked(tmp_path):
    (example,) = load(parquet(tmp_path, "textvqa"), "textvqa", protocol=Protocol(ocr_tokens=True))
    assert example.prompt == f"What does the nasa sign say?\nReference OCR token: GO, slow\n{SHORT}"


PROTOCOLS = [
    *((kind, "reference", Protocol()) for kind in DEFAULTS),
    ("textvqa", "ocr_tokens", Protocol(ocr_tokens=True)),
    *((kind, "rotations", Protocol(option_order="rotations")) for kind in LETTERED),
    *((kind, "shuffled", Protocol(option_order="shuffled", option_seed=2)) for kind in LETTERED),
    *(
        (kind, "likelihood", Protocol(answer_mode="likelihood"))
        for kind in (*LETTERED, "hr_bench_4k", "hr_bench_8k")
    ),
]


@pytest.mark.parametrize(
    ("kind", "name", "protocol"), PROTOCOLS, ids=[f"{kind}-{name}" for kind, name, _ in PROTOCOLS]
)
def test_prompts_are_those_of_the_snapshots(tmp_path, request, kind, name, protocol):
    """What each benchmark asks under each protocol.

    After a change on purpose: pytest --freeze-prompts.
    """
    examples = load(parquet(tmp_path, kind), kind, protocol=protocol)
    text = (
        "\n---\n".join(
            f"{example.prompt}\n=> {' | '.join(dict.fromkeys(example.references))}"
            for example in examples
        )
        + "\n"
    )
    frozen = Path(__file__).parents[2] / "data/prompts/benchmarks" / f"{kind}_{name}.txt"
    if request.config.getoption("freeze_prompts"):
        frozen.parent.mkdir(exist_ok=True)
        frozen.write_text(text)
    assert text == frozen.read_text()


def test_rotations_ask_with_the_answer_behind_every_letter(tmp_path):
    found = list(
        load(parquet(tmp_path, "vstar"), "vstar", protocol=Protocol(option_order="rotations"))
    )
    assert [example.references for example in found] == [("B",), ("A",), ("C",)]
    assert all(dict(example.options)[example.references[0]] == "blue" for example in found)
    assert len({example.id for example in found}) == 3


def test_a_shuffle_depends_on_seed_and_example_only(tmp_path):
    path = parquet(tmp_path, "vstar", *({"question_id": str(n)} for n in range(60)))
    first, again = (
        list(load(path, "vstar", protocol=Protocol(option_order="shuffled", option_seed=s)))
        for s in (1, 1)
    )
    (alone,) = load(
        path, "vstar", examples=1, protocol=Protocol(option_order="shuffled", option_seed=1)
    )
    assert [e.options for e in first] == [e.options for e in again]
    assert alone.options == first[0].options
    letters = Counter(example.references[0] for example in first)
    assert set(letters) == set("ABC")
    assert all(dict(example.options)[example.references[0]] == "blue" for example in first)


def test_reordered_realworldqa_keeps_its_instruction(tmp_path):
    found = list(
        load(
            parquet(tmp_path, "realworldqa"),
            "realworldqa",
            protocol=Protocol(option_order="rotations"),
        )
    )
    assert found[1].prompt == DEFAULTS["realworldqa"]["question"].replace(
        "A. left\nB. right", "A. right\nB. left"
    )
    assert [example.references for example in found] == [("A",), ("B",)]


MIXED = (
    "Which way?\n\nA. left\nB right\n(C) up\nD: down\nPlease answer directly with only the letter."
)


@pytest.mark.parametrize("answer", ["B", "b.", "(B)", "right", "Right.", "B right"])
def test_option_lines_of_any_style_and_the_answer_as_text(tmp_path, answer):
    row = {"question": MIXED, "answer": answer}
    (plain,) = load(parquet(tmp_path, "realworldqa", row), "realworldqa")
    assert (plain.prompt, plain.references, plain.group) == (MIXED, ("B",), "choice")
    assert plain.options == (("A", "left"), ("B", "right"), ("C", "up"), ("D", "down"))

    rotated = list(
        load(
            parquet(tmp_path, "realworldqa", row),
            "realworldqa",
            protocol=Protocol(option_order="rotations"),
        )
    )
    assert rotated[1].prompt == MIXED.replace(
        "left\nB right\n(C) up\nD: down", "right\nB up\n(C) down\nD: left"
    )
    assert [example.references for example in rotated] == [("B",), ("A",), ("D",), ("C",)]
    for example in rotated:
        assert [
            BENCHMARKS["realworldqa"].score(text, example) for _, text in example.options
        ].count(1.0) == 1
        assert BENCHMARKS["realworldqa"].score("It is right.", example) == 1.0

    (likely,) = load(
        parquet(tmp_path, "realworldqa", row),
        "realworldqa",
        protocol=Protocol(answer_mode="likelihood"),
    )
    assert likely.prompt == "Which way?"


@pytest.mark.parametrize("style", ["{}. {}", "{}) {}", "({}) {}", "({}). {}", "{}: {}", "{} {}"])
def test_option_lines_of_vstar_of_any_style_give_one_prompt(tmp_path, style):
    listed = "\n".join(
        style.format(letter, text) for letter, text in zip("AB", ("red", "blue"), strict=True)
    )
    (example,) = load(
        parquet(tmp_path, "vstar", {"text": f"What color?\n{listed}\nAnswer.", "label": "blue"}),
        "vstar",
    )
    assert example.prompt == f"What color?\nA. red\nB. blue\n{LETTER}"
    assert example.references == ("B",)


def test_a_line_that_begins_with_an_article_makes_no_options(tmp_path):
    row = {"question": "A man stands here.\nHow many legs has he?", "answer": "two"}
    (example,) = load(
        parquet(tmp_path, "realworldqa", row),
        "realworldqa",
        protocol=Protocol(option_order="shuffled"),
    )
    assert (example.group, example.options) == ("open", ())
    assert BENCHMARKS["realworldqa"].score("2", example) == 1.0


def test_evidence_boxes_are_joined_converted_and_clipped(tmp_path):
    Dataset.from_dict(
        {"dataset_id": ["7", "7"], "bbox": [[5.0, 6.0, 10.0, 4.0], [30.0, 20.0, 50.0, 5.0]]}
    ).to_parquet(tmp_path / "b.parquet")
    (example,) = load(parquet(tmp_path, "textvqa"), "textvqa", boxes=str(tmp_path / "b.parquet"))
    assert example.boxes == (Box(5, 6, 15, 10), Box(30, 20, 40, 25))


def test_vstar_targets_come_from_the_json_beside_the_image(tmp_path):
    (tmp_path / "direct_attributes").mkdir()
    line = {
        "question_id": 0,
        "category": "direct_attributes",
        "image": "direct_attributes/sa_1.jpg",
    }
    (tmp_path / "test_questions.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "direct_attributes" / "sa_1.json").write_text(
        json.dumps({"target_object": ["glove"], "bbox": [[5, 6, 10, 4]]})
    )
    (example,) = load(parquet(tmp_path, "vstar"), "vstar", boxes=str(tmp_path))
    assert example.boxes == (Box(5, 6, 15, 10),)


def test_pope_yes_objects_come_from_coco(tmp_path):
    coco = {
        "images": [{"id": 1, "file_name": "COCO_1.jpg"}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 4], "iscrowd": 0},
            {"image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 1},
            {"image_id": 1, "category_id": 8, "bbox": [1, 1, 2, 2]},
        ],
    }
    (tmp_path / "instances_val2014.json").write_text(json.dumps(coco))
    rows = [
        {"question_id": str(n), "answer": answer, "image_source": "COCO_1"}
        for n, answer in enumerate(["yes", "no"])
    ]
    yes, no = load(
        parquet(tmp_path, "pope", *rows), "pope", boxes=str(tmp_path / "instances_val2014.json")
    )
    assert (yes.boxes, no.boxes) == ((Box(5, 6, 15, 10),), ())


def test_gqa_objects_come_from_the_scene_graphs(tmp_path):
    question = {"id": "1", "imageId": "n1", "question": "What color?", "answer": "red"}
    annotations = {
        "question": {"2": "o1"},
        "answer": {"0": "o1"},
        "fullAnswer": {"1": "o1", "3": "gone"},
    }
    Dataset.from_list([{**question, "image": picture(), "annotations": annotations}]).to_parquet(
        tmp_path / "questions.parquet"
    )
    graph = {
        "n1": {
            "objects": {
                "o1": {"name": "cup", "x": 5, "y": 6, "w": 10, "h": 4},
                "o2": {"name": "cat", "x": 0, "y": 0, "w": 1, "h": 1},
            }
        }
    }
    (tmp_path / "val_sceneGraphs.json").write_text(json.dumps(graph))
    (example,) = load(
        str(tmp_path / "questions.parquet"), "gqa", boxes=str(tmp_path / "val_sceneGraphs.json")
    )
    assert example.boxes == (Box(5, 6, 15, 10),)


@pytest.mark.parametrize("content", ["{", '{"images": []}'])
def test_a_box_file_of_another_layout_is_named(tmp_path, content):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(InputError, match="boxes.json' cannot be read as boxes of pope"):
        load(parquet(tmp_path, "pope"), "pope", boxes=str(tmp_path / "boxes.json"))


def test_the_first_examples_or_a_seeded_sample(tmp_path):
    path = parquet(tmp_path, "docvqa", *({"questionId": str(n)} for n in range(30)))
    assert [e.id for e in load(path, "docvqa", examples=3)] == ["0", "1", "2"]
    drawn, again, other = (
        [e.id for e in load(path, "docvqa", examples=5, sample_seed=seed)] for seed in (1, 1, 2)
    )
    assert drawn == again != other


def test_a_folder_is_read_by_split(tmp_path):
    parquet(tmp_path, "docvqa", {"questionId": "v"}, name="validation-00000-of-00001.parquet")
    parquet(tmp_path, "docvqa", {"questionId": "t"}, name="test-00000-of-00001.parquet")
    assert [e.id for e in load(str(tmp_path), "docvqa")] == ["v"]


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("textvqa", {"image": None}, "Example '7' has no readable image"),
        ("textvqa", {"question": " "}, "Example '7' has no question"),
        ("textvqa", {"answers": []}, "Example '7' has no answers"),
        ("pope", {"answer": "maybe"}, "'maybe': POPE has yes and no only"),
        ("vstar", {"label": "Z"}, "the answer 'Z', which is none of its options A, B, C"),
        ("vstar", {"text": "What?"}, "lists no lettered options"),
        ("vstar", {"text": "A dog.\nWhat is it?"}, "lists no lettered options"),
        (
            "vstar",
            {"text": "What?\nA. red\nB. red", "label": "red"},
            "the answer 'red', which is none of its options A, B",
        ),
    ],
)
def test_a_row_that_is_no_example_says_why_and_the_rest_go_on(tmp_path, kind, change, reason):
    key = {"textvqa": "question_id", "pope": "question_id", "vstar": "question_id"}[kind]
    bad, good = load(
        parquet(tmp_path, kind, change, {key: 99 if kind == "textvqa" else "99"}), kind
    )
    assert isinstance(bad, Unusable)
    assert reason in bad.reason
    assert "99" in good.id


def test_popes_older_file_leaves_out_the_random_questions_that_it_lacks(tmp_path):
    changes = [
        {"question_id": str(n), "image_source": f"COCO_{n}", "category": c}
        for n, c in enumerate(["random", "random", "popular"])
    ]
    path = parquet(tmp_path, "pope", *changes)
    older = tmp_path / "coco_pope_random.json"
    older.write_text(
        '{"question_id": 1, "image": "COCO_1.jpg", '
        '"text": "Is there a dog in the image?", "label": "no"}\n'
    )
    assert [example.id for example in load(path, "pope", rows_in=str(older))] == [
        "random/1",
        "popular/2",
    ]
    with pytest.raises(InputError, match="rows_in .* is no JSON-lines file with image and text"):
        load(path, "pope", rows_in=str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="rows_in has no meaning for DocVQA"):
        load(parquet(tmp_path, "docvqa"), "docvqa", rows_in=str(older))


def test_a_broken_image_fails_alone(tmp_path):
    features = Features(SCHEMAS["docvqa"])
    rows = [
        {**dict.fromkeys(features), **DEFAULTS["docvqa"], "questionId": str(n), "image": picture()}
        for n in range(2)
    ]
    rows[0]["image"] = {"bytes": b"\x89PNG and no more", "path": None}
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    bad, good = load(str(tmp_path / "rows.parquet"), "docvqa")
    assert bad.reason.startswith("The image of example '0' is not a picture")
    assert good.id == "1"


def test_rows_that_are_not_wanted_are_skipped_with_their_number(tmp_path):
    loaded = load(
        parquet(tmp_path, "docvqa", *({"questionId": str(n)} for n in range(5))), "docvqa"
    )
    assert [
        (n, e.id)
        for n, e in loaded.numbered(lambda number, identity: number % 2 == 1 and identity != "3")
    ] == [(1, "1")]


def test_a_repeated_id_is_used_once(tmp_path):
    first, second = load(parquet(tmp_path, "docvqa", {}, {}), "docvqa")
    assert first.id == "11"
    assert "occurs twice" in second.reason


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kind": "mmlu"}, "Unknown benchmark 'mmlu': use one of textvqa, vstar"),
        ({"path": "./nowhere.parquet"}, "No data set at './nowhere.parquet'"),
        ({"examples": 0}, "examples is 0: use at least 1"),
        (
            {"protocol": Protocol(option_order="random")},
            "Unknown option_order 'random': use one of as_released",
        ),
        ({"protocol": Protocol(ocr_tokens=True)}, "protocol.ocr_tokens has no meaning for DocVQA"),
        ({"protocol": Protocol(max_new_tokens=0)}, "max_new_tokens is 0"),
        (
            {"protocol": Protocol(answer_mode="loud")},
            "Unknown answer_mode 'loud': use one of generate, likelihood",
        ),
        (
            {"protocol": Protocol(answer_mode="likelihood")},
            "protocol.answer_mode has no meaning for DocVQA",
        ),
    ],
)
def test_bad_options_are_refused_before_any_row(tmp_path, options, complaint):
    with pytest.raises(InputError, match=complaint):
        load_benchmark(
            BenchmarkConfig(**{"kind": "docvqa", "path": parquet(tmp_path, "docvqa"), **options})
        )


def test_a_missing_column_is_named(tmp_path):
    Dataset.from_dict({"questionId": ["1"], "question": ["What?"]}).to_parquet(
        tmp_path / "x.parquet"
    )
    with pytest.raises(
        InputError, match="has no column image, answers: it has questionId, question"
    ):
        load(str(tmp_path / "x.parquet"), "docvqa")


def test_an_empty_split_a_truncated_file_and_an_empty_folder_are_named(tmp_path):
    path = parquet(tmp_path, "docvqa")
    Dataset.from_dict({name: [] for name in SCHEMAS["docvqa"]}).to_parquet(
        tmp_path / "empty.parquet"
    )
    with pytest.raises(InputError, match="has no row"):
        load(str(tmp_path / "empty.parquet"), "docvqa")
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="Could not read the data set"):
        load(path, "docvqa")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no parquet file"):
        load(str(tmp_path / "none"), "docvqa")


def test_an_unreachable_hub_says_how_to_fetch_ahead(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match="hf download --repo-type dataset nobody/nothing --local-dir data/nothing"
    ):
        load("nobody/nothing", "docvqa")


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_has_a_configuration(name):
    config = benchmark_config(name, examples=3, protocol={"max_new_tokens": 5})
    assert (config.name, config.kind, config.examples, config.protocol) == (
        name,
        name,
        3,
        Protocol(max_new_tokens=5),
    )
    assert "/" in config.path


@pytest.mark.parametrize(
    ("name", "overrides", "complaint"),
    [
        ("mmlu", {}, "Unknown benchmark 'mmlu': use one of docvqa, gqa"),
        ("gqa", {"exampels": 3}, "exampels"),
        ("gqa", {"examples": "x"}, "'x'"),
    ],
)
def test_a_wrong_configuration_is_named(name, overrides, complaint):
    with pytest.raises(InputError, match=complaint):
        benchmark_config(name, **overrides)


@pytest.mark.parametrize(
    ("kind", "answer", "score"),
    [
        ("textvqa", "Go!", 1.0),
        ("textvqa", "stop", 0.0),
        ("vstar", "B", 1.0),
        ("vstar", "The glove is blue.", 1.0),
        ("vstar", "A. red", 0.0),
        ("docvqa", "may 2", 0.8),
        ("infovqa", "5", 1.0),
        ("pope", "No, there is none.", 1.0),
        ("pope", "Yes", 0.0),
        ("realworldqa", "A", 1.0),
        ("realworldqa", "right", 0.0),
        ("hr_bench_4k", "B", 1.0),
        ("hr_bench_8k", "The number is 12.", 1.0),
        ("hr_bench_4k", "D. None of them", 0.0),
        ("mme_realworld_lite", "(D) white", 1.0),
        ("mme_realworld_lite", "D", 1.0),
        ("mme_realworld_lite", "E", 0.0),
    ],
)
def test_answers_are_scored_by_the_rule_of_the_benchmark(tmp_path, kind, answer, score):
    (example,) = load(parquet(tmp_path, kind), kind)
    assert BENCHMARKS[kind].score(answer, example) == pytest.approx(score)


def test_reordered_options_are_scored_by_the_letters_shown(tmp_path):
    for kind, right in (
        ("vstar", "blue"),
        ("realworldqa", "left"),
        ("mme_realworld_lite", "white"),
    ):
        for example in load(
            parquet(tmp_path, kind), kind, protocol=Protocol(option_order="rotations")
        ):
            letters = {text: letter for letter, text in example.options}
            assert BENCHMARKS[kind].score(letters[right], example) == 1.0
            assert (
                sum(BENCHMARKS[kind].score(letter, example) for letter in letters.values()) == 1.0
            )
