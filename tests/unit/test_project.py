"""The project's own promises: one place for pins, consistent environments, clean notebooks."""

import ast
import re
import shlex
import subprocess
import tomllib
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest
import yaml
from omegaconf import OmegaConf
from packaging.requirements import Requirement

from entropy_grounding.evaluation.archive import load_rows

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_FUNCTIONS = ("05_from_scratch", "40_extend")  # where functions are what the reader came for


def requirements():
    # The harness has an environment of its own, against some of the pins.
    extras = {
        name: of for name, of in PROJECT["optional-dependencies"].items() if name != "harness"
    }
    everything = [*PROJECT["dependencies"], *(r for extra in extras.values() for r in extra)]
    return [each for each in map(Requirement, everything) if each.name != PROJECT["name"]]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned_inside_its_range():
    pins = {normal(name): version for name, version in PINS.items()}
    for requirement in requirements():
        assert requirement.specifier.contains(pins[normal(requirement.name)]), requirement


def test_the_harness_is_in_no_other_extra():
    extras = PROJECT["optional-dependencies"]
    assert not any("harness" in r or "lmms" in r for r in [*extras["dev"], *extras["test"]])
    assert [Requirement(r).name for r in extras["harness"]] == ["lmms-eval", "filelock"]


def test_environment_installs_this_package_with_extras_and_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [each["pip"] for each in environment["dependencies"] if isinstance(each, dict)]
    assert pip == ["-c constraints.txt", "-e .[dev]"]
    assert "dev" in PROJECT["optional-dependencies"]
    assert "python=3.11" in environment["dependencies"]
    assert "3.11" in PROJECT["requires-python"]
    assert "defaults" not in environment["channels"]


def test_make_lab_opens_the_quickstart_of_this_repository():
    # Within `make test`, make would also name the folder that it enters and leaves.
    make = ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", "lab"]
    said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True).stdout
    *_, command = shlex.split(said)
    assert "bin/jupyter-lab" in said
    assert ROOT / command in NOTEBOOKS
    assert "jupyter" in {requirement.name for requirement in requirements()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stripped_and_parameterised(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        assert "keep_output" in cell.metadata.get("tags", []) or not cell.outputs
        imports = re.findall(r"^(?:from|import) [^(\n]*(?:\([^)]*\))?$", cell.source, re.MULTILINE)
        lines = len(cell.source.splitlines()) - len("\n".join(imports).splitlines())
        assert lines <= 16
        assert ".cuda(" not in cell.source
        assert path.stem in WITH_FUNCTIONS or not re.search(
            r"^\s*(def|class) ", cell.source, re.MULTILINE
        )
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1


@pytest.mark.parametrize("name", ["00_quickstart", "01_method_step_by_step", "03_your_image"])
def test_notebooks_for_colab_install_the_package_from_the_address_of_the_project(name):
    first, second, *_ = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    place = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    page = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}.ipynb"
    assert page in first.source
    assert f"%pip install -q git+https://github.com/{place}" in second.source
    # With an upgrade, or a pin of torch, the torchvision of Colab would not fit any more.
    assert "torch==" not in second.source and "upgrade" not in second.source


def test_the_method_from_scratch_is_short_and_takes_nothing_from_the_package():
    cells = nbformat.read(ROOT / "notebooks" / "05_from_scratch.ipynb", as_version=4).cells
    sources = [cell.source for cell in cells]
    last = next(i for i, text in enumerate(sources) if "## The same from the package" in text)
    code = [cell for cell in cells[:last] if cell.cell_type == "code"]
    # The name of the package stands there once: for the folder of the weights.
    assert "".join(cell.source for cell in code).count("entropy_grounding") == 1
    method = [cell.source for cell in code if "method" in cell.metadata.get("tags", [])]
    lines = [line.strip() for line in "\n".join(method).splitlines()]
    assert len([line for line in lines if line and not line.startswith('"""')]) <= 75


def test_readme_numbers_come_from_stored_rows():
    from entropy_grounding.reporting.documents import readme_with_tables

    assert readme_with_tables(ROOT) == (ROOT / "README.md").read_text()


def test_experiments_and_verdicts_come_from_stored_rows():
    from entropy_grounding.reporting.documents import experiments_with_tables

    assert experiments_with_tables(ROOT) == (ROOT / "docs" / "experiments.md").read_text()


def test_the_citation_names_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert "2604.08456" in citation["preferred-citation"]["url"]

    # README cites the paper and, beside it, this repository.
    readme = (ROOT / "README.md").read_text()
    assert f"title   = {{{citation['preferred-citation']['title']}}}" in readme
    assert f"title   = {{{citation['title']}}}" in readme


def test_tiny_check_numbers_come_from_stored_rows():
    from entropy_grounding.reporting.documents import tiny_vlms_with_tables

    assert tiny_vlms_with_tables(ROOT) == (ROOT / "docs" / "tiny_vlms.md").read_text()


def test_protocol_numbers_come_from_stored_rows():
    from entropy_grounding.reporting.documents import protocol_with_table

    assert protocol_with_table(ROOT) == (ROOT / "docs" / "protocol.md").read_text()


def test_the_table_of_cost_comes_from_stored_figures():
    from entropy_grounding.reporting.documents import cost_with_table

    assert cost_with_table(ROOT) == (ROOT / "docs" / "cost.md").read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf" / "calibration").glob("*.yaml")), ids=lambda path: path.stem
)
def test_calibrations_are_those_of_the_stored_validation_rows(path):
    from entropy_grounding.evaluation.thresholds import calibrate

    rows, source = load_rows(ROOT / "results" / "measured" / "calibration" / path.stem)
    found = calibrate(rows, source["accept"])
    stored = OmegaConf.to_container(OmegaConf.load(path))
    assert stored == {**asdict(found), "weights": list(found.weights)}
    assert source["split"] == "validation"


def test_baseline_tables_come_from_stored_summaries():
    from entropy_grounding.reporting.documents import baselines_with_tables

    assert baselines_with_tables(ROOT) == (ROOT / "docs" / "baselines.md").read_text()


def test_long_tables_come_from_stored_rows():
    from entropy_grounding.reporting.long_tables import LONG_TABLES

    for path, table in LONG_TABLES.items():
        assert table(ROOT) == (ROOT / path).read_text(), path


def test_the_attention_layers_of_the_tiny_vlms_are_those_measured():
    from entropy_grounding.evaluation.archive import read_summary
    from entropy_grounding.profiling.attention_layers import ATTENTION_LAYERS, best_layers

    stored = {
        path.stem: yaml.safe_load(path.read_text())["attention_layer"]
        for path in (ROOT / "conf" / "vlm").glob("tiny_*.yaml")
    }
    assert stored == best_layers(read_summary(ROOT / "results" / "measured" / ATTENTION_LAYERS))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_executed_notebooks_ran_the_code_of_the_notebooks(path):
    source, executed = (
        nbformat.read(each, as_version=4).cells for each in (ROOT / "notebooks" / path.name, path)
    )
    # A copy lies one folder deeper, so its links do, too.
    kept = [
        cell.source.replace("](../../", "](../")
        for cell in executed
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    assert kept == [cell.source for cell in source]
    assert path.stat().st_size < 500_000


def test_summaries_come_from_stored_rows():
    """Eight of them: all would take minutes."""
    from entropy_grounding.evaluation.archive import read_summary
    from entropy_grounding.reporting.summary import cell

    stored = read_summary(ROOT / "results" / "measured" / "cells.json")
    for expected in stored.sample(8, random_state=0).to_dict("records"):
        found = cell(
            ROOT / "results" / "rows" / "table1",
            expected["vlm"],
            expected["benchmark"],
            expected["method"],
        )
        for name, value in found.items():
            assert value == (
                pytest.approx(expected[name], nan_ok=True)
                if isinstance(value, float)
                else expected[name]
            ), name


@pytest.mark.parametrize(
    ("benchmark", "plain", "oracle", "met"),
    [
        ("mini_vstar", 50.0, 75.0, True),
        ("mini_vstar", 50.0, 74.9, False),
        ("mini_pope", 80.0, 88.0, True),
        ("mini_gqa", 70.0, 75.0, True),
        ("mini_gqa", 80.0, 74.0, False),
        ("mini_realworldqa", 69.9, 70.0, False),
    ],
)
def test_what_is_required_of_a_miniature(benchmark, plain, oracle, met):
    from entropy_grounding.benchmarks.miniature.requirements import meets

    assert meets(benchmark, plain, oracle)[1] == met


def test_links_in_the_documents_lead_somewhere():
    for document in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "figures" / "README.md",
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def contents_of_the_site():
    """Yield the pages in the table of contents, read without Sphinx."""
    (table,) = [
        node.value
        for node in ast.parse((ROOT / "docs" / "conf.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONTENTS"
    ]
    for pages in ast.literal_eval(table).values():
        for page in pages:
            yield from (path for path in ROOT.glob(f"{page}.*") if path.suffix in (".md", ".ipynb"))


def test_every_page_is_once_in_the_contents_of_the_site():
    listed = list(contents_of_the_site())
    written = {*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {ROOT / "README.md"}
    assert written <= set(listed)
    assert set((ROOT / "results" / "notebooks").glob("*.ipynb")) <= set(listed)
    assert len(listed) == len(set(listed))


def test_the_site_is_in_no_other_extra():
    extras = PROJECT["optional-dependencies"]
    assert not any("sphinx" in r or "site" in r for r in [*extras["dev"], *extras["test"]])


def headings_of(path):
    """Return the anchors that GitHub and the site give to the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


def test_links_to_headings_lead_to_a_heading():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
            path = document.parent / target if target else document
            if path.suffix == ".md":
                assert anchor in headings_of(path), f"{document.name}: {target}#{anchor}"
