"""The prompts of the four checkpoints on all benchmarks: snapshots, and lmms-eval's beside.

    python tests/rehearsal/prompts.py --files DIR [--freeze] [--table FILE]

DIR has the released small files: only the true tokenizers and chat templates say what the released
models are asked. A snapshot holds the text of the first question of the small data sets, and its
token ids with each run of visual tokens written as a count. Ids must equal those that the released
processor makes of the same turn.

The texts of lmms-eval are rebuilt here from what its tasks and models do (read at commits of 2025
and 2026): *chat* models apply the processor's template to a turn of picture and text (`llava_hf`,
`internvl_hf` and `qwen2_5_vl` of ``models/chat``), *simple* models write a text of their own. Every
difference must be one of those that are named here, otherwise this ends with status 1.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from published import PUBLISHED, write_datasets
from twins import TWINS, write_twin

from entropy_grounding.benchmarks.base import LETTER, SHORT, Example
from entropy_grounding.benchmarks.load import BENCHMARKS, benchmark_config, load_benchmark
from entropy_grounding.core.config import section_config
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM

SNAPSHOTS = Path(__file__).parent / "prompts"
VLMS = ("llava_1_5_7b", "llava_1_6_mistral_7b", "internvl3_5_8b", "qwen2_5_vl_7b")
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
TWICE = "V*'s instruction twice"
SENTENCE = "vicuna's sentence in front"
FORMAT = "vicuna's sentence and turn instead of [INST]"


# --- Ours ---


def examples(data: Path) -> Iterator[tuple[str, dict[str, Any], Example]]:
    """Yield name, row and example of the first question of each benchmark."""
    folders = {name: data / name for name in PUBLISHED}
    for name in BENCHMARKS:
        config = benchmark_config(name, boxes=None, examples=1)
        loaded = load_benchmark(replace(config, path=str(folders[config.path]), revision=None))
        row = next(iter(loaded.rows))
        example = next(iter(loaded))
        assert isinstance(example, Example), example
        yield name, row, example


def twin_vlm(name: str, folder: Path) -> VLM:
    """Load a twin with the options of its preset, which the prompt may depend on."""
    preset = section_config("vlm", name, VLMConfig)
    return load_vlm(replace(preset, name="twin", weights=str(folder), dtype="float32"))


def snapshot(vlm: VLM, example: Example) -> dict[str, Any]:
    """Return text and token ids of a prompt; [id, count] stands for a run of one visual token."""
    prompt = vlm.prompt(example.prompt, [vlm.encode(example.image)])
    ids = prompt.inputs["input_ids"][0].tolist()

    # The released processor, asked for the same turn.
    turn = vlm.processor.apply_chat_template(
        chat_turn(example.prompt), add_generation_prompt=True, tokenize=False
    )
    released = vlm.processor(text=turn, images=[example.image], return_tensors="pt")["input_ids"][0]
    assert prompt.text == turn and ids == released.tolist(), f"{vlm.name}: not the processor's ids"

    visual = vlm.model.config.image_token_id
    short: list[Any] = []
    for number, run in groupby(ids):
        count = len(list(run))
        short += [[number, count]] if number == visual else [number] * count
    return {"text": prompt.text, "ids": short}


def chat_turn(question: str) -> list[dict[str, Any]]:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


# --- lmms-eval ---


def _with_short(row: dict[str, Any]) -> str:
    return f"{row['question']}\n{SHORT}"


def _vstar(row: dict[str, Any]) -> str:
    """Options in the form "A. ..."; the last one keeps the instruction, and it is added again."""
    question, _, rest = row["text"].partition("(A)")
    options = f"(A){rest}"
    for letter in "ABCDEF":
        options = options.replace(f"({letter}) ", f"{letter}. ")
    return f"{question.strip()}\n{options.strip()}\n{LETTER}"


def _hr_bench(row: dict[str, Any]) -> str:
    options = "".join(f"{letter}. {row[letter]}\n" for letter in "ABCD")
    return f"{row['question'].strip()}\n{options}Answer the option letter directly."


def _mme_realworld(row: dict[str, Any]) -> str:
    options = "\n".join(row["multi-choice options"])
    return (
        f"{row['question']} The choices are listed below:\n{options}\n"
        "Select the best answer to the above multiple-choice question based on the image. Respond "
        "with only the letter (A, B, C, D, or E) of the correct option.\nThe best answer is: "
    )


TASKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "textvqa": lambda row: f"{row['question'].capitalize()}\n{SHORT}",  # ocr: false
    "vstar": _vstar,
    "docvqa": _with_short,
    "infovqa": _with_short,
    "pope": lambda row: f"{row['question'].strip()}\n{SHORT}",
    "gqa": _with_short,
    "realworldqa": lambda row: row["question"].strip(),
    "hr_bench_4k": _hr_bench,
    "hr_bench_8k": _hr_bench,
    "mme_realworld_lite": _mme_realworld,
}


def _vicuna(vlm: VLM, question: str) -> str:
    """`llava_hf`: the tokenizers of both releases have no template, so it takes vicuna's."""
    return f"{VICUNA}USER: <image>\n{question} ASSISTANT:"


def _qwen(vlm: VLM, question: str) -> str:
    """`qwen2_5_vl`: its system prompt is given explicitly."""
    system = {
        "role": "system",
        "content": [{"type": "text", "text": "You are a helpful assistant."}],
    }
    turns = [system, *chat_turn(question)]
    return vlm.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


SIMPLE: dict[str, Callable[[VLM, str], str]] = {
    "llava_1_5_7b": _vicuna,
    "llava_1_6_mistral_7b": _vicuna,
    "qwen2_5_vl_7b": _qwen,  # `internvl_hf` is a chat model only
}


def difference(ours: str, theirs: str) -> str:
    """Return "equal", or the named differences between our text and another."""
    as_vicuna = ours.replace("[INST] ", f"{VICUNA}USER: ").replace(" [/INST]", " ASSISTANT:")
    named = {
        "equal": ours,
        SENTENCE: VICUNA + ours,
        FORMAT: as_vicuna if as_vicuna != ours else "",
    }
    for name, text in named.items():
        if text == theirs:
            return name
        if text.replace(LETTER, f"{LETTER}\n{LETTER}") == theirs:
            return TWICE if name == "equal" else f"{TWICE}; {name}"
    return f"NOT NAMED: {theirs!r}"


# --- All of them ---


def compare(files: Path, work: Path, *, freeze: bool = False) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the table, and what has changed or has no name."""
    write_datasets(work / "data")
    asked = list(examples(work / "data"))
    rows, faults = [], []

    for name in VLMS:
        folder = write_twin(TWINS[name], work / "twins" / "files" / name, files)
        vlm = twin_vlm(name, folder)
        found = {}
        for benchmark, row, example in asked:
            found[benchmark] = snapshot(vlm, example)
            ours = found[benchmark]["text"]

            chat = vlm.processor.apply_chat_template(
                chat_turn(TASKS[benchmark](row)), add_generation_prompt=True, tokenize=False
            )
            simple = SIMPLE[name](vlm, TASKS[benchmark](row)) if name in SIMPLE else None
            both = [difference(ours, text) if text else "no such model" for text in (chat, simple)]
            faults += [f"{name} {benchmark}: {text}" for text in both if text.startswith("NOT")]
            rows.append([f"`{name}`", benchmark, *both])

        path = SNAPSHOTS / f"{name}.json"
        if freeze:
            path.parent.mkdir(exist_ok=True)
            path.write_text(as_text(found))
        stored = json.loads(path.read_text()) if path.is_file() else {}
        changed = [benchmark for benchmark in found if stored.get(benchmark) != found[benchmark]]
        faults += [f"{name} {benchmark}: not as in {path.name}" for benchmark in changed]
    return rows, faults


def as_text(found: dict[str, Any]) -> str:
    """Return snapshots as JSON with one line for each text and each list of ids."""
    parts = []
    for benchmark, one in found.items():
        text, ids = json.dumps(one["text"], ensure_ascii=False), json.dumps(one["ids"])
        parts.append(f' "{benchmark}": {{\n  "text": {text},\n  "ids": {ids}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def as_markdown(rows: list[list[str]]) -> str:
    """Return the table and what it means, as a document."""
    head = ["VLM", "benchmark", "lmms-eval, chat models", "lmms-eval, simple models"]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# Prompts beside lmms-eval's

Made by `tests/rehearsal/prompts.py` with the released tokenizers and templates; the texts and token
ids are in `tests/rehearsal/prompts`. Ids equal those of the released processors in all cells.

{table}

- *{TWICE}*: the data end with the instruction, and the task adds it again. Here it stands once.
- *{SENTENCE}*: `llava_hf` writes vicuna's own turn where the tokenizer has no template, as in this
  release (LLaVA's own evaluation has the sentence too).
- *{FORMAT}*: the same for LLaVA-1.6, if its tokenizer has no template either (that file was not
  seen). The release was trained on Mistral's turn, which lmms-eval's ``chat_template`` restores.
- Beginning of text once, a line break after the picture (LLaVA, InternVL) or none (Qwen2.5-VL), and
  the system prompt of Qwen2.5-VL are alike. Pixels are not: lmms-eval gives Qwen2.5-VL 256 to 2,048
  tokens a picture and encodes it as JPEG before.
"""


def main() -> int:
    """Compare, and say what differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=Path, required=True, help="folder with the released files")
    parser.add_argument("--work", type=Path, default=Path("outputs/rehearsal"))
    parser.add_argument("--freeze", action="store_true", help="write the snapshots anew")
    parser.add_argument("--table", type=Path, help="write the table of all cells into this file")
    options = parser.parse_args()

    torch.set_num_threads(1)
    rows, faults = compare(options.files, options.work.resolve(), freeze=options.freeze)
    if options.table:
        options.table.write_text(as_markdown(rows))
    print(as_markdown(rows))
    print("\n".join(faults) or f"{len(rows)} prompts as in the snapshots")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
