"""Try this repository in several environments, made with uv.

``make environments``, or ``python tests/environments/build.py [NAME ...]``.

Each environment is built by uv below ``outputs/environments`` and kept: a second call only checks
it again. In each, `check.py` answers questions of two miniatures with every tiny VLM and compares
them with the stored rows, and the trained cases of the contract run. The wheel is installed alone
and used outside the checkout. Everything that was seen goes to
``outputs/environments/environments.json``.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "outputs" / "environments"
CHECK = Path(__file__).with_name("check.py")
CONTRACT = [ROOT / "tests/tiny_models/vlm/test_contract.py", "-k", "tiny_"]


@dataclass(frozen=True)
class Environment:
    """How an environment is made.

    Attributes:
        title: for the table.
        python: version of Python.
        arguments: of ``uv pip install``, after the project.
        unpinned: packages whose line of constraints.txt does not hold; "*" for all.
        extras: of the project, with commas between them.
        wheel: install the built wheel alone instead of the checkout with its tests.
    """

    title: str
    python: str = "3.11"
    arguments: tuple[str, ...] = ()
    unpinned: tuple[str, ...] = ()
    extras: str = "test"
    wheel: bool = False


ENVIRONMENTS = {
    "pinned": Environment("as pinned in constraints.txt"),
    "torchvision": Environment(
        "with torchvision", arguments=("torch==2.14.1", "torchvision==0.29.1"), unpinned=("torch",)
    ),
    "lowest": Environment(
        "lowest versions of pyproject.toml",
        arguments=("--resolution", "lowest-direct"),
        unpinned=("*",),
    ),
    "newest": Environment("newest that resolve", unpinned=("*",)),
    "python312": Environment("Python 3.12, as pinned", python="3.12"),
    "wheel": Environment("the wheel alone, as pinned", wheel=True),
}


def main(names: list[str]) -> int:
    """Build and check the named environments, all by default; return the exit status."""
    if unknown := [name for name in names if name not in ENVIRONMENTS]:
        print(
            f"Unknown environment '{unknown[0]}': use {', '.join(ENVIRONMENTS)}.", file=sys.stderr
        )
        return 2

    path = OUT / "environments.json"
    seen = json.loads(path.read_text()) if path.is_file() else {}
    OUT.mkdir(parents=True, exist_ok=True)

    for name in names or ENVIRONMENTS:
        print(f"== {name}: {ENVIRONMENTS[name].title}", flush=True)
        seen[name] = tried(name)
        path.write_text(json.dumps(seen, indent=1) + "\n")

    print(table(seen))
    return 0 if all(found["ok"] for found in seen.values()) else 1


def tried(name: str) -> dict:
    """Build one environment, check it, and return what was seen."""
    environment, folder = ENVIRONMENTS[name], OUT / name
    start = time.monotonic()

    try:
        python = built(environment, folder)
    except subprocess.CalledProcessError as error:
        return {"ok": False, "why": f"could not be built: {error.stderr or error}"}

    found: dict = {"build_seconds": round(time.monotonic() - start)}
    report = folder / "check.json"
    report.unlink(missing_ok=True)
    status = run([python, CHECK, ROOT / "results", report], cwd=folder)
    found |= json.loads(report.read_text()) if report.is_file() else {"families": {}}
    found["ok"] = status == 0

    if environment.wheel:
        found["commands"] = wheel_commands(python, folder)
        found["ok"] &= all(found["commands"].values())
    else:
        found["contract"] = (
            run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CONTRACT]) == 0
        )
        found["ok"] &= found["contract"]

    return found


def built(environment: Environment, folder: Path) -> Path:
    """Return the Python of an environment, made with uv where it is not there yet.

    Raises:
        subprocess.CalledProcessError: where uv cannot make it.
    """
    python = folder / "venv" / "bin" / "python"
    if (folder / ".ready").is_file() and not environment.wheel:
        return python

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    quietly(uv(), "venv", "--quiet", "--python", environment.python, folder / "venv")

    checkout = ["--editable", f"{ROOT}[{environment.extras}]"]
    project = [built_wheel(folder)] if environment.wheel else checkout
    constraints = folder / "constraints.txt"
    constraints.write_text(pinned_lines(environment.unpinned))
    quietly(
        *(uv(), "pip", "install", "--quiet", "--python", python, "--constraint", constraints),
        *(*project, *environment.arguments),
    )

    (folder / ".ready").touch()
    return python


def pinned_lines(unpinned: tuple[str, ...]) -> str:
    """Return constraints.txt without the lines of some packages, or of all ("*")."""
    if "*" in unpinned:
        return ""

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return "\n".join(line for line in lines if line.partition("==")[0] not in unpinned) + "\n"


def built_wheel(folder: Path) -> Path:
    """Build the wheel of the checkout, and return its path."""
    quietly(uv(), "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT)

    return next((folder / "dist").glob("*.whl"))


def wheel_commands(python: Path, folder: Path) -> dict[str, bool]:
    """Ask one question and evaluate twenty with what the wheel installed, far from the checkout."""
    command = [python, "-m", "entropy_grounding"]
    ground = ["ground", "seed=6", "tracking=disabled", "run_dir=ground"]
    evaluate = [
        *("evaluate", "vlm=tiny_internvl", "benchmark=mini_vstar"),
        *("benchmark.examples=20", "tracking=disabled", "results_dir=rows"),
    ]

    return {
        "ground": run([*command, *ground], cwd=folder) == 0,
        "evaluate": run([*command, *evaluate], cwd=folder) == 0,
    }


def table(seen: dict) -> str:
    """Return what was seen as a Markdown table, one line per environment."""
    families = list(
        dict.fromkeys(name for found in seen.values() for name in found.get("families", {}))
    )
    lines = ["| environment | " + " | ".join([*families, "contract", "commands"]) + " |"]
    lines.append("|---" * (len(families) + 3) + "|")

    for name, found in seen.items():
        cells = [family_cell(found.get("families", {}).get(family)) for family in families]
        contract = {True: "passes", False: "fails", None: "-"}[found.get("contract")]
        commands = (
            ", ".join(each for each, fine in found.get("commands", {}).items() if fine) or "-"
        )
        lines.append(
            f"| {name} ({versions_of(found)}) | " + " | ".join([*cells, contract, commands]) + " |"
        )

    return "\n".join(lines)


def family_cell(found: dict | None) -> str:
    """Return "equal/asked, seconds" of a VLM."""
    return (
        f"{found['equal']}/{found['asked']}, {found['seconds']:.0f} s" if found else "did not run"
    )


def versions_of(found: dict) -> str:
    """Return the versions that differ between the environments."""
    versions = found.get("versions", {})
    shown = ("python", "torch", "torchvision", "transformers", "numpy", "pillow")

    return ", ".join(f"{name} {versions[name]}" for name in shown if versions.get(name))


def run(command: list, cwd: Path = ROOT) -> int:
    """Run a command, one thread, without the checkout's source on its path; return its status."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**clean, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

    return subprocess.run([str(each) for each in command], cwd=cwd, env=environment).returncode


def quietly(*command: object) -> None:
    """Run a command that must succeed; what it says on standard error goes into the exception."""
    subprocess.run([str(each) for each in command], check=True, stderr=subprocess.PIPE, text=True)


def uv() -> str:
    """Return uv: of this environment, or of the path."""
    beside = Path(sys.executable).with_name("uv")

    return str(beside) if beside.is_file() else "uv"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
