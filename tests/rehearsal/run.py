"""The dress rehearsal: the whole path of ``run=full`` on twins, over HTTP, by the real commands.

    python tests/rehearsal/run.py [--files DIR] [--out outputs/rehearsal] [--cut]

A hub on loopback serves twins of the four checkpoints and small copies of the published data sets
under their released ids to an empty cache. Then, in processes of their own: `eg fetch` of
everything, the preflight, `eg evaluate` on every VLM and benchmark, with one run killed and
resumed, `eg rerun experiment=table1 run=full`, the notebooks of all other tables and ablations,
`eg publish` and `eg report`; and again without the hub, from the cache. Nothing is downloaded after
the fetch.

The small files of the twins are the released ones: from ``--files DIR``, or else from the hub.
Where that is out of reach, they are written from facts alone. The last line says which. Those of
Qwen3-VL, which one notebook needs, are from facts alone.

The last lines are a table of what was done. The exit status is 1 if anything failed. Run it again
to resume: a stage that has ended well is skipped. ``--cut`` takes a minute: one VLM, from facts
alone, and one benchmark. It leaves out what does not fit into that minute: the notebooks of the
other tables, publish and report, and Table 1 offline.

Values that differ from a real run: float32 (bfloat16 is slow on CPUs), one or two questions, and
answers of four tokens after the first stage.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from prompts import as_markdown, compare
from published import write_datasets
from repository import copy_repository
from small_files import released_files
from twins import TWINS, write_twin

from entropy_grounding.experiments.config import experiments, load_experiment
from support.hub import Hub

VLMS = ("llava_1_5_7b", "llava_1_6_mistral_7b", "internvl3_5_8b", "qwen2_5_vl_7b")
BEYOND = ("qwen3_vl_8b",)  # of one notebook alone, and no released small files are at hand
CUT_VLMS = ("llava_1_5_7b",)
BENCHMARKS = ("textvqa", "vstar", "docvqa", "pope", "infovqa", "gqa", "realworldqa")
TABLE1 = "10_table1_main"
# The notebooks of the other tables and ablations, the longest first.
_NAMED = {load_experiment(name).experiment.notebook for name in experiments()} - {TABLE1}
_LONG = ("25_cost", "12_controls", "11_table2_localization", "21_ablation_stopping")
NOTEBOOKS = tuple(sorted(_NAMED, key=lambda name: (name not in _LONG, name)))
# The controls alone would be 224 evaluations; V* has boxes for the oracles.
SMALLER = {"12_controls": ["benchmark=vstar"]}
AT_ONCE = 2  # processes
PATIENCE = 3600  # seconds that one command may take, on a machine that does other work too
SHORT = "benchmark.protocol.max_new_tokens=4"


@dataclass
class Outcome:
    """What a stage has done.

    Attributes:
        stage: its name.
        ok: whether every command ended with status 0 and no row failed.
        cells: evaluations, notebooks: executed notebooks, tables: table files.
        seconds: wall clock.
        core_seconds: of processors, in the commands.
        note: why it failed, or what was left out.
    """

    stage: str
    ok: bool = True
    cells: int = 0
    rows: int = 0
    failed_rows: int = 0
    notebooks: int = 0
    tables: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    note: str = ""


@dataclass
class Rehearsal:
    """Where everything lies, and what is run.

    Attributes:
        out: folder of the rehearsal.
        hub: the hub on loopback.
        vlms: names of presets.
        beyond: names of further presets, which only notebooks use.
        benchmarks: names of presets.
        notebooks: names of notebooks.
        questions: of a cell in evaluate and table 1.
        stages: what is done while there is a hub.
        alone: what is done after that, without the hub.
        files: folder with the released small files; None if the twins are from facts alone.
        offline: the hub has been stopped.
        fetched: number of requests to the hub when everything had been fetched.
    """

    out: Path
    hub: Hub
    vlms: Sequence[str] = VLMS
    beyond: Sequence[str] = ()
    benchmarks: Sequence[str] = BENCHMARKS
    notebooks: Sequence[str] = NOTEBOOKS
    questions: int = 2
    stages: Sequence["Callable[[Rehearsal], Outcome]"] = ()
    alone: Sequence["Callable[[Rehearsal], Outcome]"] = ()
    files: Path | None = None
    offline: bool = False
    fetched: int = 0

    @property
    def repository(self) -> Path:
        return self.out / "repository"

    def environment(self) -> dict[str, str]:
        """Return the environment of every command; a stranger sets nothing but HF_HOME."""
        more = {
            "PYTHONPATH": str(self.repository / "src"),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "JUPYTER_PREFER_ENV_PATH": "1",
        }
        if self.offline:
            more["HF_HUB_OFFLINE"] = "1"
        return self.hub.environment(self.out / "hf_home", **more)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `eg` in the copy of the repository, with a log of its output."""
        log = self.out / "logs" / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "entropy_grounding", *arguments]
        with log.open("ab") as file:
            file.write(f"$ eg {' '.join(arguments)}\n".encode())
            file.flush()
            return subprocess.Popen(
                command,
                cwd=self.repository,
                env=self.environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, name: str, *arguments: str) -> str:
        """Run `eg`, and return "" or the reason why it failed."""
        process = self.start(name, *arguments)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            stop_group(process)
            return f"{name}: no end after {PATIENCE} s"

        return "" if code == 0 else f"{name}: status {code}: {self.last_line(name)}"

    def last_line(self, name: str) -> str:
        """Return the last words of a log, the sentence of an error if there is one."""
        lines = [line for line in self.log(name).splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line]
        return (errors or lines or [""])[-1][:400]

    def log(self, name: str) -> str:
        return (self.out / "logs" / f"{name}.txt").read_text(errors="replace")

    def run_all(self, commands: dict[str, Sequence[str]]) -> list[str]:
        """Run several commands, two at a time, and return the reasons of those that failed."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reasons = list(pool.map(lambda item: self.run(item[0], *item[1]), commands.items()))
        return [reason for reason in reasons if reason]

    def experiments(self) -> list[str]:
        """Return the names of the experiments whose tables are made."""
        executed = (TABLE1, *self.notebooks)
        return [
            name for name in experiments() if load_experiment(name).experiment.notebook in executed
        ]

    def late_downloads(self) -> list[str]:
        """Return the requests for files of the hub after everything had been fetched."""
        requests = self.hub.requests[self.fetched :]
        return [line for line in requests if line.startswith("GET") and "/resolve/" in line]


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and the processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- Stages ---


def evaluate_options(made: Rehearsal, folder: str, questions: int) -> list[str]:
    return [
        "vlm.dtype=float32",
        f"benchmark.examples={questions}",
        "tracking=disabled",
        f"results_dir=outputs/{folder}",
    ]


def fetch(made: Rehearsal) -> Outcome:
    """Fetch all files ahead; nothing may be downloaded by the later stages."""
    models = f"vlm={','.join([*made.vlms, *made.beyond])}"
    data = f"benchmark={','.join(made.benchmarks)}"
    reason = made.run("fetch", "fetch", models, data)
    made.fetched = len(made.hub.requests)
    return Outcome("fetch", not reason, note=reason)


def preflight(made: Rehearsal) -> Outcome:
    """Ask `eg doctor` for a go, once for each VLM."""

    commands = {}
    for vlm in made.vlms:
        asked = [f"vlm={vlm}", f"benchmark={made.benchmarks[0]}", "method=entropy_gradient"]
        commands[f"doctor_{vlm}"] = ["doctor", *asked]
    reasons = made.run_all(commands)
    return Outcome("preflight", not reasons, note="; ".join(reasons))


def prompts(made: Rehearsal) -> Outcome:
    """Compare the prompts with their snapshots and with lmms-eval's, where tokenizers are true."""
    if made.files is None:
        return Outcome("prompts", note="need the released tokenizers: left out")

    rows, faults = compare(made.files, made.out)
    (made.out / "prompts.md").write_text(as_markdown(rows))
    return Outcome("prompts", not faults, cells=len(rows), note="; ".join(faults))


def killed(made: Rehearsal) -> Outcome:
    """Kill the evaluation of the first VLM after its first stored rows."""
    vlm = made.vlms[0]
    process = made.start(f"evaluate_{vlm}", *_evaluation(made, vlm))
    started, folder = time.monotonic(), made.repository / "outputs" / "evaluate"

    while process.poll() is None and not list(folder.rglob("*.parquet")):
        if time.monotonic() - started > PATIENCE:
            break
        time.sleep(0.05)

    running = process.poll() is None
    stop_group(process)
    stored = sum(len(frame) for frame in frames(folder, "shard_*.parquet"))
    note = f"killed with {stored} rows stored; the next stage resumes"
    return Outcome("killed", running and stored > 0, note=note if running else "had ended before")


def _evaluation(made: Rehearsal, vlm: str) -> list[str]:
    cells = [f"vlm={vlm}", f"benchmark={','.join(made.benchmarks)}"]
    options = evaluate_options(made, "evaluate", made.questions)
    return ["evaluate", "--multirun", *cells, *options, "flush_every=1"]


def evaluate(made: Rehearsal) -> Outcome:
    """Evaluate every VLM on every benchmark, at the default lengths of answers."""
    reasons = made.run_all({f"evaluate_{vlm}": _evaluation(made, vlm) for vlm in made.vlms})
    expected = len(made.vlms) * len(made.benchmarks)
    return counted(made, "evaluate", "evaluate", reasons, expected, expected * made.questions)


def table1(made: Rehearsal) -> Outcome:
    """Run Table 1 with all of its methods, one job a VLM and benchmark, then its notebook."""
    arguments = _table1(made)
    stage = "table 1, offline" if made.offline else "table 1"
    reason = made.run("table1", *arguments)
    done = counted(made, stage, "rerun/table1", [reason] if reason else [], 0, 0)

    notebooks = list((made.repository / "outputs" / "executed").rglob("*.ipynb"))
    done.notebooks = sum(".failed" not in path.name for path in notebooks)
    return done


def _table1(made: Rehearsal) -> list[str]:
    chosen = [f"vlm={','.join(made.vlms)}", f"benchmark={','.join(made.benchmarks)}"]
    several = len(made.vlms) * len(made.benchmarks) > 1
    joblib = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={AT_ONCE}"]
    return [
        *("rerun", "experiment=table1", "run=full", *chosen, "tracking=disabled"),
        *("vlm.dtype=float32", f"benchmark.examples={made.questions}", SHORT),
        *("results_dir=outputs/rerun", "output_dir=outputs/executed"),
        *(joblib if several else []),
    ]


def notebooks(made: Rehearsal) -> Outcome:
    """Execute the notebooks of the other tables and ablations, which compute their own rows."""
    commands = {}
    for name in made.notebooks:
        overrides = f"overrides=vlm.dtype=float32,benchmark.examples=1,{SHORT}"
        folders = ["results_dir=outputs/notebooks", f"run_dir=outputs/executed/{name}"]
        target = f"outputs/executed/{name}/{name}.ipynb"
        parameters = ["run=full", "tracking=disabled", overrides, *folders, *SMALLER.get(name, [])]
        commands[name] = ["notebooks", "execute", name, target, *parameters]

    reasons = made.run_all(commands)
    done = counted(made, "tables and ablations", "notebooks", reasons, 0, 0)
    done.notebooks = len(made.notebooks) - len(reasons)
    return done


def publish(made: Rehearsal) -> Outcome:
    """Pack the rows of the rehearsal beside the published ones; every table was made."""
    outputs = made.repository / "outputs"
    folders = [*(outputs / "rerun").glob("*"), *(outputs / "notebooks").glob("*")]
    reasons = [made.run("publish", "publish", str(path)) for path in sorted(folders)]
    reasons = [reason for reason in reasons if reason]

    # Every experiment has a table that names what was rehearsed.
    tables = tables_of(made)
    lacking = sorted(set(made.experiments()) - set(tables))
    reasons += [f"no table of {name} with the rehearsed VLMs" for name in lacking]
    done = Outcome("publish", not reasons, note="; ".join(reasons))
    done.tables = len(tables)
    return done


def tables_of(made: Rehearsal) -> dict[str, Path]:
    """Return the tables that notebooks wrote of the rehearsed VLMs, by the name of experiments."""
    tables = {}
    by_notebook = {load_experiment(name).experiment.notebook: name for name in experiments()}
    for path in (made.repository / "outputs" / "executed").rglob("table.md"):
        if any(f"`{vlm}`" in path.read_text() for vlm in (*made.vlms, *made.beyond)):
            # `rerun` calls the folder by the experiment, the stage of notebooks by the notebook.
            tables[by_notebook.get(path.parent.name, path.parent.name)] = path
    return tables


def offline(made: Rehearsal) -> Outcome:
    """Evaluate every cell again into an empty folder, without the hub, from the cache.

    Beside it, `eg report` writes every table and document from all rows.
    """
    commands = {"report": ["report"]} if publish in made.stages else {}
    for vlm in made.vlms:
        cells = [f"vlm={vlm}", f"benchmark={','.join(made.benchmarks)}", "method=base"]
        options = [*evaluate_options(made, "offline", 1), SHORT]
        commands[f"offline_{vlm}"] = ["evaluate", "--multirun", *cells, *options]

    expected = len(made.vlms) * len(made.benchmarks)
    reasons = [f"downloaded after the fetch: {line}" for line in made.late_downloads()[:3]]
    reasons += made.run_all(commands)
    return counted(made, "report, and evaluate offline", "offline", reasons, expected, expected)


def frames(folder: Path, name: str = "rows.parquet") -> Iterator[pd.DataFrame]:
    """Yield the rows below a folder: those of finished evaluations, or of their parts."""
    for path in sorted(folder.rglob(name)):
        yield pd.read_parquet(path, columns=["status", "reason"])


def counted(
    made: Rehearsal, stage: str, folder: str, reasons: list[str], cells: int, rows: int
) -> Outcome:
    """Count the rows below a folder of outputs; 0 expected cells or rows stand for any number."""
    stored = list(frames(made.repository / "outputs" / folder))
    done = Outcome(stage, cells=len(stored), rows=sum(map(len, stored)))
    for frame in stored:
        failed = frame[frame["status"] != "ok"]
        done.failed_rows += len(failed)
        reasons += [str(reason)[:200] for reason in failed["reason"].unique()]

    if cells and (done.cells, done.rows) != (cells, rows):
        reasons.append(f"{done.cells} cells and {done.rows} rows, not {cells} and {rows}")
    tables = (made.repository / "outputs" / "executed").rglob("*.md")
    done.tables = len(list(tables)) if "table" in stage else 0
    done.ok, done.note = not reasons, "; ".join(dict.fromkeys(reasons))
    return done


STAGES: tuple[Callable[[Rehearsal], Outcome], ...] = (
    prompts,
    fetch,
    preflight,
    killed,
    evaluate,
    table1,
    notebooks,
    publish,
)
ALONE = (offline, table1)
CUT = (fetch, preflight, killed, evaluate, table1)


# --- The whole ---


def rehearse(made: Rehearsal) -> list[Outcome]:
    """Run all stages, skip those that an earlier call has ended well, and keep the state."""
    state = made.out / "state.json"
    known = json.loads(state.read_text()) if state.is_file() else {}
    done = []

    for number, stage in enumerate((*made.stages, *made.alone)):
        if number == len(made.stages):
            made.hub.stop()
            made.offline = True
        name = f"{stage.__name__}{' offline' if made.offline else ''}"

        if name not in known or not known[name]["ok"]:
            started, used = time.monotonic(), core_seconds()
            outcome = stage(made)
            outcome.seconds = time.monotonic() - started
            outcome.core_seconds = core_seconds() - used
            known[name] = asdict(outcome)
            state.write_text(json.dumps(known, indent=1))
            print(f"{name}: {'ok' if outcome.ok else 'FAILED'} {outcome.note}", flush=True)
        done.append(Outcome(**known[name]))
    return done


def core_seconds() -> float:
    """Return the seconds of processors in commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prepared(out: Path, files: Path | None, vlms: Sequence[str]) -> Hub:
    """Write repository, twins and data, and return the hub that serves them (not started)."""
    copy_repository(out / "repository")
    source = "facts" if files is None else "files"
    models = {}
    for name in vlms:
        twin = TWINS[name]
        models[twin.hub_id] = write_twin(twin, out / "twins" / source / name, files)

    return Hub(models, write_datasets(out / "data"))


def cut(out: Path, hub: Hub) -> Rehearsal:
    """Return the short rehearsal: one VLM, and a benchmark with boxes."""
    return Rehearsal(out, hub, CUT_VLMS, benchmarks=("vstar",), stages=CUT, alone=(offline,))


def table(done: Sequence[Outcome]) -> str:
    """Return the table of what was done."""
    frame = pd.DataFrame([asdict(outcome) for outcome in done])
    frame["ok"] = frame["ok"].map({True: "ok", False: "FAILED"})
    frame["minutes"] = (frame.pop("seconds") / 60).round(1)
    frame["core minutes"] = (frame.pop("core_seconds") / 60).round(1)
    frame["note"] = frame.pop("note").str.slice(0, 300)
    return frame.to_markdown(index=False)


def main() -> int:
    """Rehearse, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=Path, help="folder with the released small files")
    parser.add_argument("--out", type=Path, default=Path("outputs/rehearsal"))
    parser.add_argument("--cut", action="store_true", help="a minute, facts alone")
    options = parser.parse_args()
    if options.cut and options.files:
        parser.error("--cut writes twins from facts alone: leave out --files")

    started, out = time.monotonic(), options.out.resolve()
    vlms = CUT_VLMS if options.cut else VLMS
    files = options.files
    if files is None and not options.cut:
        files = released_files(out / "released", [TWINS[name] for name in vlms])

    beyond = () if options.cut else BEYOND
    with prepared(out, files, (*vlms, *beyond)) as hub:
        whole = Rehearsal(out, hub, beyond=beyond, stages=STAGES, alone=ALONE, files=files)
        made = cut(out, hub) if options.cut else whole
        done = rehearse(made)
        (out / "requests.txt").write_text("\n".join(hub.requests) + "\n")

    minutes = (time.monotonic() - started) / 60
    source = "facts alone" if files is None else "the released small files"
    print(table(done))
    print(
        f"Twins from {source}; {minutes:.1f} minutes, {core_seconds() / 60:.1f} "
        f"core minutes in commands; {len(hub.requests)} requests."
    )
    return 0 if all(outcome.ok for outcome in done) else 1


if __name__ == "__main__":
    sys.exit(main())
