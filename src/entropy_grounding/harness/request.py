"""What a task of lmms-eval asks: one image, one text, and how to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import load_image, to_rgb

# Of a task that names no length, as lmms-eval's own model of Qwen2.5-VL takes it.
MAX_NEW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a task.

    Attributes:
        image: the picture, RGB.
        text: the whole text of the task, with its instruction, without any chat template.
        until: texts that end the answer.
    """

    image: Image.Image
    text: str
    until: tuple[str, ...] = ()

    def cut(self, answer: str) -> str:
        """Return the part of an answer before the first text that ends it."""
        for end in self.until:
            answer = answer.partition(end)[0]

        return answer


def read_request(
    messages: Sequence[Mapping[str, Any]], limits: Mapping[str, Any], where: str
) -> Asked:
    """Return the question of a task's chat messages.

    Args:
        messages: the turns; each has a role and parts of content.
        limits: the generation options of the task.
        where: task and document, for the message.

    Raises:
        InputError: for anything but one turn of the user with one image and then one text.
    """
    parts = [part for message in messages for part in message["content"]]
    if [message["role"] for message in messages] != ["user"] or [
        part["type"] for part in parts
    ] != ["image", "text"]:
        said = ", ".join(f"{message['role']}: {_kinds(message)}" for message in messages)
        raise InputError(
            f"{where} asks with '{said}', and the method needs one image and then one text of the "
            "user: choose a task about one image (a system prompt is vlm.system_prompt=...)."
        )

    picture, text = parts[0]["url"], parts[1]["text"]
    image = to_rgb(picture) if isinstance(picture, Image.Image) else load_image(picture)
    return Asked(image, text, tuple(end for end in limits.get("until") or () if end))


def _kinds(message: Mapping[str, Any]) -> str:
    return " + ".join(part["type"] for part in message["content"]) or "nothing"


def answer_length(limits: Mapping[str, Any], task: str) -> int:
    """Return the length limit of a task's answers, in tokens.

    Args:
        limits: the generation options of the task.
        task: its name, for the message.

    Raises:
        InputError: for a task that wants sampled answers, several beams or a penalty. The method
            answers greedily.
    """
    sampled = limits.get("do_sample")
    if sampled is None:
        sampled = (limits.get("temperature") or 0) > 0
    wanted = {"do_sample": (sampled, False)} | {
        name: (limits.get(name) or 1, 1) for name in ("num_beams", "repetition_penalty")
    }

    for name, (value, greedy) in wanted.items():
        if value != greedy:
            raise InputError(
                f"The task '{task}' asks for answers with {name}={value}, and the method answers "
                f"greedily: use --gen_kwargs {name}={greedy},temperature=0 with lmms-eval."
            )
    return int(limits.get("max_new_tokens") or MAX_NEW_TOKENS)
