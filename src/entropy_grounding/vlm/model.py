"""The VLM class: prompts, visual tokens as a gradient leaf, last-position logits, greedy answers, views.

What is particular to a family (chat content, token grids) is in its `Family`; everything else is shared. Visual tokens enter through
``mm_encoder_outputs`` of transformers >= 5.18, so each picture runs through the vision tower once, and nothing is hooked or patched.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import psutil
import torch.utils.checkpoint
from jaxtyping import Float, Int
from packaging.version import Version
from PIL import Image
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling

from entropy_grounding.core.errors import ContextError, InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.images import cut
from entropy_grounding.vlm.contexts import (
    checkpointed,
    eager,
    frozen,
    neutral_generation,
    own_gradients,
)
from entropy_grounding.vlm.family import NEUTRAL_QUESTION, Family
from entropy_grounding.vlm.types import (
    Forward,
    Picture,
    PixelGradient,
    Prompt,
    Target,
    TokenAttention,
    TokenGradients,
)
from entropy_grounding.vlm.weights import map_bytes

_PIXELS = ("pixel_values", "pixel_attention_mask")
_PER_POSITION = ("input_ids", "attention_mask", "mm_token_type_ids")

CHECKPOINTING = ("auto", "on", "off")
_HALF_SCALE = 2.0**10  # float16 gradients are scaled by it on their way through the model
# What generation calls the keys and values that it goes on from.
_CACHE = "cache" if Version(version("transformers")) >= Version("5.24") else "past_key_values"


class VLM:
    """A vision-language model of `transformers` with what the method needs; the model is returned as it was found.

    Args:
        model: a model of one of the supported classes.
        processor: its processor, with a chat template.
        family: the adapter of its family.
        name: for labels.
        grounding: which view carries the map: "default", one by name ("canvas", "base", "thumbnail"), or "all".
        attention_layer: the decoder layer, from 0, of attention maps with ``layers="chosen"``.
        neutral_question: what relative maps divide by where a method says "vlm".
        checkpointing: keep only the inputs of decoder layers for the backward pass and run each layer again in it: "on", "off", or "auto",
            where a map would otherwise need more than half of the free memory. Such a pass keeps no keys and values.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        family: Family,
        name: str = "",
        grounding: str = "default",
        *,
        attention_layer: int | None = None,
        neutral_question: str = NEUTRAL_QUESTION,
        checkpointing: str = "auto",
    ) -> None:
        if not getattr(processor, "chat_template", None):
            raise InputError(
                f"The processor of '{name or type(model).__name__}' has no chat template: use an instruction-tuned model."
            )
        if grounding not in ("default", "all", *family.view_names):
            raise InputError(
                f"Unknown grounding '{grounding}' for {family.architecture}: use default, all, {', '.join(family.view_names)}."
            )
        self.model: Any = model
        self.processor: Any = processor
        self.family, self.name, self.grounding = family, name, grounding
        self.attention_layer, self.neutral_question = attention_layer, neutral_question
        if checkpointing not in CHECKPOINTING:
            raise InputError(
                f"Unknown checkpointing '{checkpointing}': use one of {', '.join(CHECKPOINTING)}."
            )
        self.checkpointing = checkpointing
        family.prepare(model.config, processor)

    @own_gradients
    def look(self, image: Image.Image, box: Box | None = None) -> Picture:
        """Encode the image, or the crop ``box`` (pixels of the image, widened to whole ones), without gradient."""
        shown, place = (
            (image, Box(0.0, 0.0, float(image.width), float(image.height)))
            if box is None
            else cut(image, box)
        )
        inputs = self._alone(shown)
        with frozen(self.model), torch.no_grad():
            features = self._features(inputs).detach()
        views = self._chosen(
            self.family.views(self.model.config, self.processor, inputs, shown.size)
        )
        placed = tuple(
            replace(view, box=_shift(view.box, place.x0, place.y0), shown=place) for view in views
        )
        rest = {
            name: value for name, value in inputs.items() if name not in (*_PIXELS, *_PER_POSITION)
        }
        return Picture(
            shown, place, features, placed, self._expansion(inputs["input_ids"][0]), rest
        )

    def _expansion(self, ids: Int[Tensor, " length"]) -> Int[Tensor, " tokens"]:
        """Return the part of a prompt of one picture that stands for the picture."""
        template = self._tokenized(self._text("", 1))
        before = int((template == self.model.config.image_token_id).nonzero()[0])
        return ids[before : len(ids) - (len(template) - before - 1)]

    def _tokenized(self, text: str) -> Int[Tensor, " length"]:
        return self.processor.tokenizer(text, return_tensors="pt")["input_ids"][0].to(
            self.model.device
        )

    def _prepared(
        self, question: str, pictures: Sequence[Picture], answer: str = ""
    ) -> dict[str, Any]:
        """Return what the processor makes of question and pictures, without pixels, and without reading the pictures again."""
        image_token = self.model.config.image_token_id
        ids = self._tokenized(self._text(question, len(pictures), answer))
        pieces = [ids.new_empty(0)]
        places = [0, *((ids == image_token).nonzero()[:, 0] + 1).tolist()]
        for start, picture in zip(places, pictures, strict=False):
            end = start + int((ids[start:] == image_token).nonzero()[0])
            pieces += [ids[start:end], picture.tokens]
        ids = torch.cat([*pieces, ids[places[-1] :]])[None]
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in self.processor.model_input_names:
            inputs["mm_token_type_ids"] = (ids == image_token).long()
        return inputs | {
            name: torch.cat([picture.shape[name] for picture in pictures])
            for name in (pictures[0].shape if pictures else ())
        }

    def _features(self, inputs: dict[str, Any]) -> Tensor:
        """Return the visual tokens ``(tokens, dim)`` of one picture."""
        accepted = inspect.signature(type(self.model.model).get_image_features).parameters
        encoded = self.model.get_image_features(
            **{k: v for k, v in inputs.items() if k in accepted}, return_dict=True
        )
        return torch.cat([tokens.reshape(-1, tokens.shape[-1]) for tokens in encoded.pooler_output])

    def _alone(self, image: Image.Image) -> dict[str, Any]:
        """Return what the processor makes of one picture, with the picture's size in the error when it makes nothing of it."""
        try:
            inputs = self._process(image)
        except (ValueError, ZeroDivisionError, IndexError) as error:
            raise InputError(
                f"The processor cannot use a picture of {image.width} x {image.height} pixels ({error})."
            ) from error
        if not inputs["pixel_values"].numel():
            raise InputError(
                f"The processor makes no visual token of a picture of {image.width} x {image.height} pixels: enlarge it."
            )
        return inputs

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
                f"The question holds '{placeholder}', which stands for an image in this model's prompts: leave it out."
            )
        inputs = self._prepared(question, pictures)
        length, context = (
            inputs["input_ids"].shape[1],
            self.model.config.get_text_config().max_position_embeddings,
        )
        if length > context:
            raise ContextError(
                f"The prompt of {len(pictures)} pictures has {length} tokens, more than the {context} of the model's context: "
                "use fewer crops (method.regions.max_regions) or a smaller vlm.max_pixels or vlm.max_tiles."
            )
        views: list[View] = []
        offset = 0
        for index, picture in enumerate(pictures):
            views += [
                replace(v, image_index=index, token_indices=v.token_indices + offset)
                for v in picture.views
            ]
            offset += len(picture.features)
        boxes = tuple(picture.box for picture in pictures)
        return Prompt(
            self._text(question, len(pictures)),
            inputs,
            tuple(p.features for p in pictures),
            tuple(views),
            boxes,
        )

    def logits(
        self, prompt: Prompt, visual_tokens: Float[Tensor, "tokens dim"] | None = None
    ) -> Float[Tensor, " vocabulary"]:
        """Return the next-token logits at the last position; ``visual_tokens`` replaces the embeddings of the prompt's pictures."""
        return self._run(
            [prompt], torch.cat(prompt.features) if visual_tokens is None else visual_tokens
        ).logits[0, -1]

    @own_gradients
    def gradient(self, prompt: Prompt, target: Target) -> TokenGradients:
        """Return the gradient of a target of the next-token logits with respect to every visual token (paper, step 2).

        Raises:
            InputError: when the logits are not finite or the model passes no gradient to its visual tokens.
        """
        return self.gradients([prompt], target)[0]

    @own_gradients
    def gradients(self, prompts: Sequence[Prompt], target: Target) -> list[TokenGradients]:
        """Return what `gradient` returns, for several prompts in one padded forward and one backward of the sum of their targets."""
        return self.backward(self.forward(prompts), target)

    @own_gradients
    def forward(
        self,
        prompts: Sequence[Prompt],
        *,
        graph: bool = True,
        keep: bool = False,
        after: Forward | None = None,
        layer: int | None = None,
        every_position: bool = False,
    ) -> Forward:
        """Run prompts up to their next-token logits, ready for `backward`, `generate`, or both.

        Args:
            prompts: from `prompt`; several are padded into one batch.
            graph: record what `backward` needs.
            keep: keep keys and values, of one prompt; a model with sliding windows cannot go back, so none are kept.
            after: a pass of a prompt that begins with the same first picture: all up to its end is taken from that cache. Exact for logits;
                those tokens get no gradient.
            layer: of one prompt, the decoder layer whose inputs are the leaf; earlier ones record nothing.
            every_position: compute logits of all positions and use the last (as the authors' code; for comparison).
        """
        if after is not None or layer is not None:
            self._refuse_batch(prompts, after, layer)
        if after is not None:
            return self._continue(prompts[0], after, graph=graph)
        if layer is not None:
            return self._from_layer(prompts[0], layer)
        leaf = torch.cat([tokens for prompt in prompts for tokens in prompt.features])
        leaf = leaf.clone().requires_grad_() if graph else leaf
        with ExitStack() as stack:
            stack.enter_context(frozen(self.model))
            stack.enter_context(torch.set_grad_enabled(graph))
            if graph and self.checkpoints(max(prompt.length for prompt in prompts) * len(prompts)):
                stack.enter_context(checkpointed(self.model.get_decoder().layers))
                keep = False
            out = self._run(prompts, leaf, use_cache=keep, every_position=every_position)
        kept = (
            out.past_key_values
            if keep and not any(layer.is_sliding for layer in out.past_key_values.layers)
            else None
        )
        return Forward(out.logits[:, -1], leaf, tuple(prompts), kept)

    @staticmethod
    def _refuse_batch(prompts: Sequence[Prompt], after: Forward | None, layer: int | None) -> None:
        """Refuse what a pass behind another one, or from a layer on, cannot do: several prompts, or both at once."""
        if len(prompts) != 1:
            raise InputError(
                f"A pass with after=... or layer=... runs one prompt, not {len(prompts)}: run them one by one."
            )
        if after is not None and layer is not None:
            raise InputError(
                "A pass runs behind another one (after=...) or from a layer on (layer=...), not both."
            )

    def _continue(self, prompt: Prompt, after: Forward, *, graph: bool) -> Forward:
        """Run what follows the first picture of a prompt on the keys and values that another prompt has up to there."""
        ids = prompt.inputs["input_ids"]
        start = self.first_picture_end(prompt)
        leaf = torch.cat(prompt.features[1:])
        leaf = leaf.clone().requires_grad_() if graph else leaf
        inputs = {
            name: value[1:] for name, value in prompt.inputs.items() if name not in _PER_POSITION
        }
        inputs |= {"input_ids": ids[:, start:], "attention_mask": prompt.inputs["attention_mask"]}
        positions = self.family.positions(self.model, prompt.inputs)
        if positions is not None:
            inputs["position_ids"] = positions[..., start:]
        cache = DynamicCache(config=self.model.config)
        for number, layer in enumerate(after.cache.layers):
            cache.update(
                layer.keys[:, :, :start].detach(), layer.values[:, :, :start].detach(), number
            )
        tokens = self.family.pack(
            list(leaf.split([len(features) for features in prompt.features[1:]]))
        )
        encoded = {"image": BaseModelOutputWithPooling(pooler_output=tokens)}
        with frozen(self.model), torch.set_grad_enabled(graph):
            out = self.model(
                **inputs,
                mm_encoder_outputs=encoded,
                past_key_values=cache,
                logits_to_keep=1,
                use_cache=True,
            )
        return Forward(out.logits[:, -1], leaf, (prompt,), out.past_key_values, start)

    def _from_layer(self, prompt: Prompt, layer: int) -> Forward:
        """Run a prompt so that the gradient ends at the inputs of a decoder layer.

        Raises:
            InputError: for a layer that the model does not have.
        """
        layers = self.model.get_decoder().layers
        if layer >= len(layers):
            raise InputError(
                f"method.gradient_layer is {layer}: this model has {len(layers)} layers, from 0."
            )
        places = prompt.inputs["input_ids"][0] == self.model.config.image_token_id
        leaves: list[Tensor] = []

        def begin(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            leaves.append(inputs[0][0, places].detach().requires_grad_())
            hidden = inputs[0].detach().clone()
            hidden[0, places] = leaves[0]
            return (hidden, *inputs[1:])

        handle = layers[layer].register_forward_pre_hook(begin)
        try:
            with frozen(self.model), torch.enable_grad():
                out = self._run([prompt], torch.cat(prompt.features))
        finally:
            handle.remove()
        return Forward(out.logits[:, -1], leaves[0], (prompt,))

    def first_picture_end(self, prompt: Prompt) -> int:
        """Return the position behind the last visual token of the first picture of a prompt."""
        places = (prompt.inputs["input_ids"][0] == self.model.config.image_token_id).nonzero()[:, 0]
        return int(places[len(prompt.features[0]) - 1]) + 1

    @own_gradients
    def backward(self, begun: Forward, target: Target) -> list[TokenGradients]:
        """Return the gradient of a target of the next-token logits at the leaf of a forward pass, for each of its prompts.

        Raises:
            InputError: when the logits are not finite or the model passes no gradient to its visual tokens.
        """
        leaf, scale = begun.leaf, _HALF_SCALE if begun.leaf.dtype == torch.float16 else 1.0
        if not begun.logits.requires_grad:
            raise self._no_gradient("its kernels record none")
        with frozen(self.model), torch.enable_grad():  # checkpointed layers run again now
            total = torch.stack([target(each) for each in begun.logits]).sum()
            try:
                (gradients,) = torch.autograd.grad(total * scale, leaf)
            except NotImplementedError as error:
                raise self._no_gradient(str(error)) from error
        if not torch.isfinite(gradients).all():
            raise InputError(
                "The gradient at the visual tokens is NaN or infinite: try dtype=float32 or bfloat16."
            )
        gradients = gradients.float() / scale if scale > 1 else gradients
        parts = zip(
            begun.logits.detach(),
            begun.by_prompt(gradients),
            begun.by_prompt(leaf.detach()),
            strict=True,
        )
        return [TokenGradients(*each) for each in parts]

    @own_gradients
    def attention(self, prompt: Prompt, target: Target | None = None) -> TokenAttention:
        """Return how much the last position attends to every visual token, by layer and head.

        Only here does the language model run its eager kernel, which keeps the weights: memory grows with the square of the prompt.

        Args:
            prompt: from `prompt`.
            target: a scalar of the logits, whose gradient with respect to the weights is returned, too.

        Raises:
            InputError: for a model that returns no attention weights.
        """
        leaf = torch.cat(prompt.features).clone().requires_grad_(target is not None)
        scale = _HALF_SCALE if leaf.dtype == torch.float16 else 1.0
        with (
            frozen(self.model),
            eager(self.model.get_decoder()),
            torch.set_grad_enabled(target is not None),
        ):
            encoded = self._encoded([prompt], leaf)
            out = self.model(
                **prompt.inputs,
                mm_encoder_outputs=encoded,
                logits_to_keep=1,
                use_cache=False,
                output_attentions=True,
            )
            if not out.attentions or out.attentions[0] is None:
                raise InputError(
                    f"The model '{self.name}' returns no attention weights: use a signal of gradients (method.signal=gradient)."
                )
            logits = out.logits[0, -1]
            gradients = (
                torch.autograd.grad(target(logits) * scale, out.attentions) if target else None
            )
        places = prompt.inputs["input_ids"][0] == self.model.config.image_token_id

        def to_tokens(matrices: Sequence[Tensor]) -> Tensor:
            return torch.stack([each[0, :, -1][:, places].float() for each in matrices]).detach()

        return TokenAttention(
            logits.detach(),
            to_tokens(out.attentions),
            to_tokens(gradients) / scale if gradients else None,
        )

    @own_gradients
    def pixel_gradient(self, question: str, picture: Picture, target: Target) -> PixelGradient:
        """Return the gradient of a target with respect to the pixels of a picture that is alone in the prompt."""
        inputs = self._alone(picture.image)
        pixels = inputs["pixel_values"].clone().requires_grad_()
        scale = _HALF_SCALE if pixels.dtype == torch.float16 else 1.0
        with frozen(self.model), torch.enable_grad():
            tokens = self._features({**inputs, "pixel_values": pixels})
            logits = self._run([self.prompt(question, [picture])], tokens).logits[0, -1]
            (found,) = torch.autograd.grad(target(logits) * scale, pixels)
        known = self.model.config, self.processor, inputs
        view = next(iter(self.family.views(*known, picture.image.size).values()))
        placed = replace(
            view, box=_shift(view.box, picture.box.x0, picture.box.y0), shown=picture.box
        )
        gradient, shown = (
            self.family.picture(*known, each.detach().float(), picture.image.size)
            for each in (found / scale, pixels)
        )
        return PixelGradient(logits.detach(), gradient, shown, placed)

    def checkpoints(self, positions: int) -> bool:
        """Tell whether a map of so many positions runs with gradient checkpointing."""
        if self.checkpointing != "auto":
            return self.checkpointing == "on"
        needed = positions * map_bytes(self.model.config, self.model.dtype)
        on_gpu = self.model.device.type == "cuda"
        free = (
            torch.cuda.mem_get_info(self.model.device)[0]
            if on_gpu
            else psutil.virtual_memory().available
        )
        return needed > free / 2

    def _run(
        self,
        prompts: Sequence[Prompt],
        tokens: Tensor,
        *,
        use_cache: bool = False,
        every_position: bool = False,
    ) -> Any:
        """Run the language model up to the last position's logits; ``tokens`` are the visual tokens of all prompts in order."""
        inputs = _padded(
            [prompt.inputs for prompt in prompts], self.processor.tokenizer.pad_token_id
        )
        encoded, last = self._encoded(prompts, tokens), 0 if every_position else 1
        return self.model(
            **inputs, mm_encoder_outputs=encoded, logits_to_keep=last, use_cache=use_cache
        )

    def _no_gradient(self, why: str) -> InputError:
        name = self.name or type(self.model).__name__
        return InputError(
            f"The model '{name}' passes no gradient to its visual tokens ({why}): load it unquantised, attention=sdpa."
        )

    @own_gradients
    def generate(self, prompt: Prompt, *, max_new_tokens: int, after: Forward | None = None) -> str:
        """Return the greedy answer; with ``after``, a pass of this prompt, without running the prompt again (its cache is used up)."""
        return self.processor.tokenizer.decode(
            self._greedy(prompt, max_new_tokens, after), skip_special_tokens=True
        ).strip()

    @own_gradients
    def continued(self, prompt: Prompt, tokens: int) -> Prompt:
        """Return the prompt followed by this many tokens of the model's greedy answer, fewer where the answer ends before."""
        new = self._greedy(prompt, tokens) if tokens else prompt.inputs["input_ids"].new_empty(0)
        new = new[~torch.isin(new, new.new_tensor(self.processor.tokenizer.all_special_ids))]
        inputs = dict(prompt.inputs)
        for name in [name for name in _PER_POSITION if name in inputs]:
            more = {"input_ids": new, "attention_mask": torch.ones_like(new)}.get(
                name, torch.zeros_like(new)
            )
            inputs[name] = torch.cat([inputs[name], more.to(inputs[name].dtype)[None]], dim=1)
        return replace(prompt, inputs=inputs)

    @contextmanager
    def first_layers(self, count: int | None) -> Iterator[None]:
        """Let the language model run only its first ``count`` decoder layers for a while, then its norm and head; None for all.

        Raises:
            InputError: for more layers than it has.
        """
        decoder = self.model.get_decoder()
        layers = decoder.layers
        if count is not None and count > len(layers):
            raise InputError(f"method.decoder_layers is {count}: this model has {len(layers)}.")
        decoder.layers = layers[:count]
        try:
            yield
        finally:
            decoder.layers = layers

    def _greedy(
        self, prompt: Prompt, max_new_tokens: int, after: Forward | None = None
    ) -> Int[Tensor, " tokens"]:
        if after is None or after.cache is None:
            known: dict[str, Any] = {
                "mm_encoder_outputs": self._encoded([prompt], torch.cat(prompt.features))
            }
        else:
            self.family.positions(self.model, prompt.inputs)
            after.cache.crop(-1)  # generation begins with the logits of the last position
            known = {_CACHE: after.cache}
        with frozen(self.model), torch.no_grad(), neutral_generation(self.model):
            ids = self.model.generate(**prompt.inputs, **known, max_new_tokens=max_new_tokens)
        return ids[0, prompt.inputs["input_ids"].shape[1] :]

    @own_gradients
    def answer_loss(self, question: str, pictures: Sequence[Picture], answer: str) -> float:
        """Return the mean cross-entropy, in nats a token, of ``answer`` as the assistant's turn (without the token that ends it)."""
        inputs, prompt = self._prepared(question, pictures, answer), self.prompt(question, pictures)
        length = inputs["input_ids"].shape[1] - prompt.inputs["input_ids"].shape[1]
        encoded = self._encoded([prompt], torch.cat(prompt.features))
        with frozen(self.model), torch.no_grad():
            logits = self.model(
                **inputs, mm_encoder_outputs=encoded, logits_to_keep=length + 1, use_cache=False
            ).logits[0, :-1]
        return float(
            torch.nn.functional.cross_entropy(logits.float(), inputs["input_ids"][0, -length:])
        )

    def _text(self, question: str, images: int, answer: str = "") -> str:
        """Return the chat-formatted prompt, up to the end of ``answer`` where one is given."""
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": self.family.content(question, images)}
        ]
        asked = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        if not answer:
            return asked
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        said = self.processor.apply_chat_template(messages, tokenize=False)
        return said[: said.index(answer, len(asked)) + len(answer)]

    def _process(self, image: Image.Image) -> dict[str, Any]:
        inputs = self.processor(text=self._text("", 1), images=[image], return_tensors="pt")
        pixels = self.model.dtype
        return {
            k: v.to(self.model.device, pixels if v.is_floating_point() else None)
            for k, v in inputs.items()
        }

    def _chosen(self, views: dict[str, View]) -> list[View]:
        """Return the views to ground on; a picture without the wanted one (a single tile has no thumbnail) uses its first."""
        if self.grounding == "all":
            return list(views.values())
        return [views.get(self.grounding, next(iter(views.values())))]

    def _encoded(
        self, prompts: Sequence[Prompt], tokens: Tensor
    ) -> dict[str, BaseModelOutputWithPooling]:
        split = tokens.split([len(features) for prompt in prompts for features in prompt.features])
        return {"image": BaseModelOutputWithPooling(pooler_output=self.family.pack(list(split)))}


def _padded(inputs: Sequence[dict[str, Tensor]], pad: int | None) -> dict[str, Tensor]:
    """Put prompts into one batch, padded on the left, so that the last position is the last token of every prompt."""
    if len(inputs) == 1:
        return inputs[0]
    longest = max(each["input_ids"].shape[1] for each in inputs)

    def joined(name: str, fill: int) -> Tensor:
        rows = [
            torch.nn.functional.pad(each[name], (longest - each[name].shape[1], 0), value=fill)
            for each in inputs
        ]
        return torch.cat(rows)

    return {
        name: joined(name, pad or 0 if name == "input_ids" else 0)
        if name in _PER_POSITION
        else torch.cat([each[name] for each in inputs])
        for name in inputs[0]
    }


def _shift(box: Box, dx: float, dy: float) -> Box:
    return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
