"""The two laws of the tree, from the sources alone: nothing is imported."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "entropy_grounding"
# Every room may import those before it.
ORDER = (
    *("core", "metrics", "vlm", "tracking", "plots", "method", "benchmarks", "baselines"),
    *("grounding", "evaluation", "app", "harness", "tiny", "experiments", "profiling"),
    *("notebook", "reporting", "commands", "__main__"),
)
QUIET = [room for room in ORDER if room not in ("commands", "__main__")]
# Functions that say what is wrong with the machine or the environment, on standard error.
WARNINGS = {
    "tracking.py": {"_tell"},
    "experiments/launch.py": {"_follow", "_launch", "_make_table"},
}


def imported_by(tree):
    """Yield (line, module) of everything that a file imports of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("entropy_grounding"):
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("entropy_grounding"):
                    yield node.lineno, name.name


def violations_of_the_first_law(path, source):
    """Imports that point up the list, or stand inside a function."""
    tree = ast.parse(source)
    room = path.parts[0].removesuffix(".py")
    found = []
    for line, module in imported_by(tree):
        other = module.split(".")[1]
        if ORDER.index(other) > ORDER.index(room):
            found.append(f"{path}:{line} imports {module}")
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            inside = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            found += [f"{path}:{node.lineno} imports inside {function.name}" for node in inside]
    return found


def violations_of_the_second_law(path, source):
    """Calls below the commands that print, exit, or name the published results to write them."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        if function.name in WARNINGS.get(str(path), ()):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "exit"):
                found.append(f"{path}:{node.lineno} prints in {function.name}")
    return found


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", [each for each in FILES if str(each) != "__init__.py"], ids=str)
def test_imports_point_one_way(path):
    assert violations_of_the_first_law(path, (PACKAGE / path).read_text()) == []


@pytest.mark.parametrize(
    "path", [each for each in FILES if each.parts[0].removesuffix(".py") in QUIET], ids=str
)
def test_below_the_commands_nothing_is_printed(path):
    assert violations_of_the_second_law(path, (PACKAGE / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/errors.py", "from entropy_grounding.vlm.model import VLM"),
        ("method/zoom.py", "import entropy_grounding.reporting.tables"),
        ("vlm/load.py", "def f():\n    from entropy_grounding.core.errors import InputError"),
        ("app/panel.py", "def f():\n    import json"),
    ],
)
def test_the_first_law_notices_a_violation(path, source):
    assert violations_of_the_first_law(Path(path), source)


def test_the_second_law_notices_a_violation():
    assert violations_of_the_second_law(Path("vlm/model.py"), "def f():\n    print(1)")


def test_no_module_imports_itself_through_others():
    imports = {}
    for path in FILES:
        module = ".".join(("entropy_grounding", *path.with_suffix("").parts))
        tree = ast.parse((PACKAGE / path).read_text())
        imports[module.removesuffix(".__init__")] = {module for _, module in imported_by(tree)}

    def reached(module, seen):
        for name in imports.get(module, ()):
            target = name if name in imports else name.rpartition(".")[0]
            if target in imports and target not in seen and target != "entropy_grounding":
                seen.add(target)
                reached(target, seen)
        return seen

    assert [module for module in imports if module in reached(module, set())] == []
