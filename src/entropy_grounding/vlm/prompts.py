"""Turn pictures and a question into the tensors of a prompt."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from entropy_grounding.core.errors import ContextError, InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.images import cut
from entropy_grounding.vlm.contexts import frozen, own_gradients
from entropy_grounding.vlm.family import Family
from entropy_grounding.vlm.quiet import quiet_casts
from entropy_grounding.vlm.types import Picture, Prompt

PIXELS = ("pixel_values", "pixel_attention_mask")
PER_POSITION = ("input_ids", "attention_mask", "mm_token_type_ids")


class PromptBuilder:
    """Encode pictures one by one, and build prompts from them.

    Args:
        model: a model of one of the supported classes.
        processor: its processor, with a chat template.
        family: the adapter of its family.
        name: for labels and messages.
        grounding: which token grids carry the map: "default", one by its name ("canvas", "base",
            "thumbnail"), or "all".
        system_prompt: the system message; None for none, which leaves the chat template its own.
        image_labels: write "Image-1: " and so on before the pictures of a prompt that has several.

    Raises:
        InputError: for a processor without a chat template, for a token grid that the family does
            not have, and for a system message or labels that the chat template does not show.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        family: Family,
        name: str = "",
        grounding: str = "default",
        *,
        system_prompt: str | None = None,
        image_labels: bool = False,
    ) -> None:
        check_chat_template(processor, name or type(model).__name__)
        if grounding not in ("default", "all", *family.view_names):
            raise InputError(
                f"Unknown grounding '{grounding}' for {family.architecture}: use default, all, "
                f"{', '.join(family.view_names)}."
            )

        self.model: Any = model
        self.processor: Any = processor
        self.family = family
        self.name = name
        self.grounding = grounding
        self.system_prompt = system_prompt
        self.image_labels = image_labels
        self._check_shown()
        family.prepare(model.config, processor)

    # --- Pictures ---

    @own_gradients
    def encode(self, image: Image.Image, box: Box | None = None) -> Picture:
        """Encode an image, or a crop of it, without gradient.

        Args:
            image: the original image, RGB.
            box: the crop in pixels of the image, widened to whole ones; None for the whole image.

        Raises:
            InputError: for a picture that the processor cannot use.
        """
        shown, place = image, Box(0.0, 0.0, float(image.width), float(image.height))
        if box is not None:
            shown, place = cut(image, box)

        inputs = self.processed(shown)
        with frozen(self.model), torch.no_grad():
            features = self.features(inputs).detach()

        # The views are in pixels of the crop; the original image has its own origin.
        views = self._chosen(
            self.family.views(self.model.config, self.processor, inputs, shown.size)
        )
        placed = tuple(
            replace(view, box=shifted(view.box, place.x0, place.y0), shown=place) for view in views
        )

        rest = {
            name: value for name, value in inputs.items() if name not in (*PIXELS, *PER_POSITION)
        }
        tokens = self._expansion(inputs["input_ids"][0])
        return Picture(shown, place, features, placed, tokens, rest)

    def processed(self, image: Image.Image) -> dict[str, Any]:
        """Return the tensors that the processor makes of one picture alone, on the model's device.

        Raises:
            InputError: for a picture that it cannot use, with its size.
        """
        size = f"{image.width} x {image.height} pixels"
        try:
            inputs = self._process(image)
        except (ValueError, ZeroDivisionError, IndexError) as error:
            raise InputError(f"The processor cannot use a picture of {size} ({error}).") from error

        if not inputs["pixel_values"].numel():
            raise InputError(
                f"The processor makes no visual token of a picture of {size}: enlarge it."
            )
        return inputs

    def features(self, inputs: dict[str, Any]) -> Tensor:
        """Return the visual tokens of one picture ``(tokens, dim)``, from its tensors."""
        accepted = inspect.signature(type(self.model.model).get_image_features).parameters
        known = {name: value for name, value in inputs.items() if name in accepted}
        with quiet_casts():
            return self.family.collect(self.model.get_image_features(**known, return_dict=True))

    def _process(self, image: Image.Image) -> dict[str, Any]:
        inputs = self.processor(text=self.chat_text("", 1), images=[image], return_tensors="pt")
        pixels = self.model.dtype

        return {
            name: value.to(self.model.device, pixels if value.is_floating_point() else None)
            for name, value in inputs.items()
        }

    def _expansion(self, ids: Int[Tensor, " length"]) -> Int[Tensor, " tokens"]:
        """Return the ids that stand for the picture in a prompt of one picture."""
        template = self._tokenized(self.chat_text("", 1))
        before = int((template == self.model.config.image_token_id).nonzero()[0])
        behind = len(template) - before - 1

        return ids[before : len(ids) - behind]

    def _chosen(self, views: dict[str, View]) -> list[View]:
        """Return the token grids to ground on.

        A picture without the wanted one (a single tile has no thumbnail) uses its first.
        """
        if self.grounding == "all":
            return list(views.values())

        first = next(iter(views.values()))
        return [views.get(self.grounding, first)]

    # --- Prompts ---

    @own_gradients
    def prompt(self, question: str, pictures: Sequence[Picture]) -> Prompt:
        """Build the chat prompt: all pictures in order, then the question.

        Raises:
            InputError: when the question holds the model's placeholder for an image.
            ContextError: when the prompt exceeds the model's context.
        """
        placeholder = self.processor.image_token
        if placeholder in question:
            raise InputError(
                f"The question holds '{placeholder}', "
                "which stands for an image in this model's prompts: leave it out."
            )

        inputs = self.prepared(question, pictures)
        self._check_length(inputs["input_ids"].shape[1], len(pictures))

        # Indices of each picture's tokens move behind those of the pictures before it.
        views: list[View] = []
        offset = 0
        for index, picture in enumerate(pictures):
            for view in picture.views:
                indices = view.token_indices + offset
                views.append(replace(view, image_index=index, token_indices=indices))
            offset += len(picture.features)

        return Prompt(
            text=self.chat_text(question, len(pictures)),
            inputs=inputs,
            features=tuple(picture.features for picture in pictures),
            views=tuple(views),
            boxes=tuple(picture.box for picture in pictures),
            pictures=tuple(pictures),
        )

    def prepared(
        self, question: str, pictures: Sequence[Picture], answer: str = ""
    ) -> dict[str, Any]:
        """Return the tensors of a prompt, without pixels and without reading the pictures again.

        Args:
            question: the question.
            pictures: encoded pictures.
            answer: the assistant's turn behind it; empty for none.
        """
        image_token = self.model.config.image_token_id
        ids = self._tokenized(self.chat_text(question, len(pictures), answer))

        # Each placeholder is replaced by the ids of its picture.
        pieces = [ids.new_empty(0)]
        places = [0, *((ids == image_token).nonzero()[:, 0] + 1).tolist()]
        for start, picture in zip(places, pictures, strict=False):
            end = start + int((ids[start:] == image_token).nonzero()[0])
            pieces += [ids[start:end], picture.tokens]
        ids = torch.cat([*pieces, ids[places[-1] :]])[None]  # (1, length)

        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in self.processor.model_input_names:
            inputs["mm_token_type_ids"] = (ids == image_token).long()

        shapes = pictures[0].shape if pictures else {}
        for name in shapes:
            inputs[name] = torch.cat([picture.shape[name] for picture in pictures])
        return inputs

    def chat_text(self, question: str, images: int, answer: str = "") -> str:
        """Return the prompt in the chat format, up to the end of ``answer`` if one is given."""
        messages = self._messages(question, images)
        asked = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        if not answer:
            return asked

        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        said = self.processor.apply_chat_template(messages, tokenize=False)
        return said[: said.index(answer, len(asked)) + len(answer)]

    def _messages(self, question: str, images: int) -> list[dict[str, Any]]:
        """Return the system message, if there is one, and the user's turn."""
        with_labels = self.image_labels and images > 1
        content = self.family.labelled if with_labels else self.family.content
        user = {"role": "user", "content": content(question, images)}
        if self.system_prompt is None:
            return [user]

        said = [{"type": "text", "text": self.system_prompt}]
        return [{"role": "system", "content": said}, user]

    def _check_shown(self) -> None:
        """Refuse a system message or labels that the chat template does not put in their places.

        Raises:
            InputError: naming the option.
        """
        template = f"the chat template of '{self.name or type(self.model).__name__}'"
        if self.system_prompt is not None and not self._knows_system_messages():
            raise InputError(
                f"vlm.system_prompt has no meaning here: {template} knows no system message; use "
                "vlm.system_prompt=null."
            )
        if self.system_prompt and self.processor.image_token in self.system_prompt:
            raise InputError(
                f"vlm.system_prompt holds '{self.processor.image_token}', which stands for an "
                "image in this model's prompts: leave it out."
            )

        token = self.processor.image_token
        if self.image_labels and not _in_order(self.chat_text("", 2), token):
            raise InputError(
                f"vlm.image_labels=true has no meaning here: {template} puts all pictures before "
                "the text; use false."
            )

    def _knows_system_messages(self) -> bool:
        """Tell whether the chat template shows a system message, and not as another role's."""
        said = [{"type": "text", "text": "Be brief."}]
        user = {"role": "user", "content": self.family.content("What?", 1)}
        as_system = [{"role": "system", "content": said}, user]
        as_assistant = [{"role": "assistant", "content": said}, user]
        try:
            shown = self.processor.apply_chat_template(as_system, tokenize=False)
        except Exception:  # a template may raise what it likes for a role that it does not know
            return False

        # Some templates take every role that is not the user's for the assistant's.
        other = self.processor.apply_chat_template(as_assistant, tokenize=False)
        return "Be brief." in shown and shown != other

    def first_picture_end(self, prompt: Prompt) -> int:
        """Return the position behind the last visual token of the first picture of a prompt."""
        return int(self.places(prompt).nonzero()[len(prompt.features[0]) - 1, 0]) + 1

    def places(self, prompt: Prompt) -> Tensor:
        """Return which positions of a prompt hold visual tokens, bool ``(positions,)``."""
        return prompt.inputs["input_ids"][0] == self.model.config.image_token_id

    def _tokenized(self, text: str) -> Int[Tensor, " length"]:
        ids = self.processor.tokenizer(text, return_tensors="pt")["input_ids"][0]
        return ids.to(self.model.device)

    def _check_length(self, length: int, pictures: int) -> None:
        context = self.model.config.get_text_config().max_position_embeddings
        if length > context:
            raise ContextError(
                f"The prompt of {pictures} pictures has {length} tokens, "
                f"more than the {context} of the model's context: use fewer crops "
                "(method.regions.max_regions) or a smaller vlm.max_pixels or vlm.max_tiles."
            )


def check_chat_template(processor: Any, name: str) -> None:
    """Refuse a processor without a chat template.

    Raises:
        InputError: naming the files that may hold one.
    """
    if not getattr(processor, "chat_template", None):
        raise InputError(
            f"The processor of '{name}' has no chat template (chat_template.jinja, "
            "chat_template.json, or the key in tokenizer_config.json): download that file, or use "
            "an instruction-tuned model."
        )


def _in_order(text: str, image_token: str) -> bool:
    """Tell whether a prompt of two labelled pictures has each picture behind its label."""
    marks = [text.find("Image-1: "), text.find(image_token)]
    marks += [text.find("Image-2: "), text.rfind(image_token)]
    return -1 not in marks and marks == sorted(marks)


def padded_batch(inputs: Sequence[dict[str, Tensor]], pad: int | None) -> dict[str, Tensor]:
    """Put prompts into one batch, padded on the left.

    The last position is then the last token of every prompt.

    Args:
        inputs: the tensors of each prompt.
        pad: the id that fills; None takes 0.
    """
    if len(inputs) == 1:
        return inputs[0]

    longest = max(each["input_ids"].shape[1] for each in inputs)
    batch = {}
    for name in inputs[0]:
        rows = [each[name] for each in inputs]
        if name in PER_POSITION:
            fill = (pad or 0) if name == "input_ids" else 0
            rows = [_padded_left(row, longest, fill) for row in rows]
        batch[name] = torch.cat(rows)

    return batch


def _padded_left(row: Tensor, length: int, fill: int) -> Tensor:
    return torch.nn.functional.pad(row, (length - row.shape[1], 0), value=fill)


def shifted(box: Box, dx: float, dy: float) -> Box:
    """Return a box moved by (dx, dy) pixels."""
    return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
