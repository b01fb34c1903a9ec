"""The method as a model of lmms-eval (``--model entropy_grounding``).

Model arguments are Hydra overrides of ``conf/harness.yaml``. lmms-eval scores the answers; crops,
plain answers and cost lie beside, in rows whose ``number`` is lmms-eval's ``doc_id``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NoReturn

import torch
from tqdm.auto import tqdm

from entropy_grounding.core.config import override_list
from entropy_grounding.core.errors import InputError
from entropy_grounding.harness.config import harness_config
from entropy_grounding.harness.task import Task, TaskAnswers
from entropy_grounding.vlm.load import load_vlm

try:
    from lmms_eval.api.model import lmms
except ImportError as error:
    raise InputError(
        f"lmms-eval cannot be imported ({error}): install it in an environment of its own, as "
        "'make harness' does (pip install 'entropy-grounding[harness]')."
    ) from error


class EntropyGrounding(lmms):
    """A VLM and a method.

    Args:
        overrides: ``option=value`` each, or several with commas between them, for example
            ``vlm=tiny_llava,method=gated``.
        device: of lmms-eval's command line; None leaves ``vlm.device``.
    """

    is_simple = False  # it gets chat messages

    def __init__(self, *overrides: str, device: str | None = None) -> None:
        super().__init__()
        config = harness_config([one for given in overrides for one in override_list(given)])
        self.config = replace(
            config,
            vlm=replace(config.vlm, device=device or _device(config.vlm.device)),
            results_dir=_of_the_first_process(config.results_dir),
        )

        torch.set_num_threads(config.threads)
        self.vlm = load_vlm(self.config.vlm)
        self.device = self.vlm.model.device  # lmms-eval gathers counts of its processes on it
        self.tasks: dict[tuple[str, str], TaskAnswers] = {}

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> "EntropyGrounding":
        """Return the model of a command line.

        Args:
            arg_string: the model arguments, with commas between them.
            additional_config: options of lmms-eval's command line.
        """
        more = additional_config or {}
        with _ended_in_a_sentence():
            if str(more.get("batch_size") or 1) != "1":
                raise InputError(
                    f"--batch_size is {more['batch_size']}: "
                    "the method answers one question at a time, so leave it out."
                )
            return cls(arg_string, device=more.get("device"))

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Return the answers of requests of any tasks, in their order, and store their rows."""
        answers: list[str] = []
        open_tasks: dict[tuple[str, str], TaskAnswers] = {}

        with _ended_in_a_sentence(), ExitStack() as stack:
            for request in tqdm(requests, desc="entropy_grounding", disable=self.rank > 0):
                _, to_messages, limits, number, name, split = request.args
                documents = self.task_dict[name][split]

                if (name, split) not in open_tasks:
                    task = Task(name, split, documents, limits, version("lmms_eval"))
                    open_tasks[name, split] = self._answers(task)
                    stack.enter_context(open_tasks[name, split].writing())

                answer = open_tasks[name, split].answer(number, to_messages(documents[number]))
                answers.append(answer)

        return answers

    def _answers(self, task: Task) -> TaskAnswers:
        """Return the answers to a task; lmms-eval may ask it in several calls."""
        key = task.name, task.split
        if key not in self.tasks:
            shard = f"{self.rank + 1}/{self.world_size}"
            self.tasks[key] = TaskAnswers(self.vlm, self.config, task, shard)

        return self.tasks[key]

    def clean(self) -> None:
        """Join the rows; lmms-eval calls this when every process has answered."""
        super().clean()
        with _ended_in_a_sentence():
            for answers in self.tasks.values() if self.rank == 0 else ():
                answers.join()

    def loglikelihood(self, requests: list[Any]) -> NoReturn:
        """Refuse tasks that ask for likelihoods."""
        self._refuse("likelihoods")

    def generate_until_multi_round(self, requests: list[Any]) -> NoReturn:
        """Refuse tasks with several turns."""
        self._refuse("several turns")

    def _refuse(self, wanted: str) -> NoReturn:
        with _ended_in_a_sentence():
            raise InputError(
                f"A task asks for {wanted}, and the method answers single questions: "
                "choose tasks of output_type generate_until."
            )
        raise AssertionError


def _device(device: str) -> str:
    """Return the device of this process: of several, each has a GPU of its own."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if device == "auto" and several and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"

    return device


def _of_the_first_process(results_dir: str) -> str:
    """Return the folder of the first process: the default bears the time of its start."""
    folder = [results_dir]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(folder)

    return folder[0]


@contextmanager
def _ended_in_a_sentence() -> Iterator[None]:
    """End the process in one sentence: lmms-eval would go on after an error, with status 0."""
    try:
        yield
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
