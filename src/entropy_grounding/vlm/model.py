"""The VLM: run prompts, differentiate passes, generate answers.

Visual tokens enter through ``mm_encoder_outputs`` of transformers >= 5.18, so each picture runs
through the vision tower once, and its tokens can be the leaf of a gradient.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float, Int
from packaging.version import Version
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.contexts import (
    at_layer,
    checkpointed,
    differentiate,
    eager,
    frozen,
    neutral_generation,
    own_gradients,
)
from entropy_grounding.vlm.family import NEUTRAL_QUESTION, Family
from entropy_grounding.vlm.head import float32_head
from entropy_grounding.vlm.memory import free_bytes, map_bytes
from entropy_grounding.vlm.prompts import PER_POSITION, PromptBuilder, padded_batch, shifted
from entropy_grounding.vlm.quiet import quiet_casts
from entropy_grounding.vlm.types import (
    Answer,
    Pass,
    Picture,
    PixelGradients,
    Pixels,
    Prompt,
    Target,
    TokenAttention,
    TokenGradients,
)

CHECKPOINTING = ("auto", "on", "off")
# The argument of generation that holds keys and values to resume from.
_CACHE = "cache" if Version(version("transformers")) >= Version("5.24") else "past_key_values"


class VLM(PromptBuilder):
    """A vision-language model of `transformers` with what the method needs.

    The model is returned as it was found.

    Args:
        model: a model of one of the supported classes.
        processor: its processor, with a chat template.
        family: the adapter of its family.
        name: for labels and messages.
        grounding: which token grids carry the map: "default", one by its name ("canvas", "base",
            "thumbnail"), or "all".
        attention_layer: the decoder layer, from 0, of attention maps with ``layers="chosen"``.
        system_prompt: the system message; None for none, which leaves the chat template its own.
        image_labels: write "Image-1: " and so on before the pictures of a prompt that has several.
        neutral_question: the question whose map divides where a method says "vlm".
        checkpointing: "on" keeps only the inputs of decoder layers for the backward pass and runs
            each layer again in it, "off" keeps all activations, "auto" checkpoints where a map
            would need more than half of the free memory. A checkpointed pass keeps no keys and
            values.

    Raises:
        InputError: for options that the model cannot serve.
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
        attention_layer: int | None = None,
        neutral_question: str = NEUTRAL_QUESTION,
        checkpointing: str = "auto",
    ) -> None:
        super().__init__(
            model,
            processor,
            family,
            name,
            grounding,
            system_prompt=system_prompt,
            image_labels=image_labels,
        )
        check_choice("checkpointing", checkpointing, CHECKPOINTING)

        self.attention_layer = attention_layer
        self.neutral_question = neutral_question
        self.checkpointing = checkpointing

    # --- Forward passes ---

    def logits(
        self, prompt: Prompt, visual_tokens: Float[Tensor, "tokens dim"] | None = None
    ) -> Float[Tensor, " vocabulary"]:
        """Return the next-token logits at the last position.

        Args:
            prompt: from `prompt`.
            visual_tokens: replaces the visual tokens of the prompt; None keeps them.
        """
        tokens = torch.cat(prompt.features) if visual_tokens is None else visual_tokens
        return self._call([prompt], tokens).logits[0, -1]

    @own_gradients
    def run(
        self,
        prompts: Sequence[Prompt],
        *,
        graph: bool = True,
        keep: bool = False,
        every_position: bool = False,
    ) -> Pass:
        """Run prompts up to their next-token logits.

        Args:
            prompts: from `prompt`; several are padded into one batch.
            graph: record what `backward` needs.
            keep: keep keys and values, of one prompt. A model with sliding windows cannot go back
                in its cache, so none are kept.
            every_position: compute the logits of all positions and use the last, as the authors'
                code does.
        """
        leaf = torch.cat([tokens for prompt in prompts for tokens in prompt.features])
        leaf = leaf.clone().requires_grad_() if graph else leaf
        positions = max(prompt.length for prompt in prompts) * len(prompts)

        again = graph and self.checkpoints(positions)
        with ExitStack() as stack:
            stack.enter_context(frozen(self.model))
            stack.enter_context(torch.set_grad_enabled(graph))
            if again:
                stack.enter_context(checkpointed(self.model.get_decoder().layers))
                keep = False
            out = self._call(prompts, leaf, use_cache=keep, every_position=every_position)

        cache = out.past_key_values if keep else None
        if cache is not None and any(layer.is_sliding for layer in cache.layers):
            cache = None
        return Pass(out.logits[:, -1], leaf, tuple(prompts), cache, checkpointed=again)

    @own_gradients
    def continue_from(self, earlier: Pass, prompt: Prompt, *, graph: bool = True) -> Pass:
        """Run a prompt behind its first picture, on the keys and values of an earlier pass.

        Logits are exact. The visual tokens of the first picture get no gradient.

        Args:
            earlier: a pass with a cache, of a prompt that begins with the same first picture.
            prompt: what to run; it has at least one crop.
            graph: record what `backward` needs.
        """
        start = self.first_picture_end(prompt)
        leaf = torch.cat(prompt.features[1:])
        leaf = leaf.clone().requires_grad_() if graph else leaf

        # Tensors with one row per picture lose that of the first picture, which has been run.
        inputs = {
            name: value[1:] for name, value in prompt.inputs.items() if name not in PER_POSITION
        }
        inputs |= self._part(prompt, start, prompt.length)

        cache = DynamicCache(config=self.model.config)
        for number, layer in enumerate(earlier.cache.layers):
            keys, values = layer.keys[:, :, :start], layer.values[:, :, :start]
            cache.update(keys.detach(), values.detach(), number)

        encoded = self._packed(leaf, prompt.features[1:])
        with frozen(self.model), torch.set_grad_enabled(graph):
            out = self._forward(
                inputs, mm_encoder_outputs=encoded, past_key_values=cache, use_cache=True
            )
        return Pass(out.logits[:, -1], leaf, (prompt,), out.past_key_values, start)

    @own_gradients
    def run_from_layer(self, prompt: Prompt, layer: int) -> Pass:
        """Run a prompt so that its gradient ends at the inputs of a decoder layer.

        Earlier layers record nothing.

        Args:
            prompt: what to run.
            layer: number of the decoder layer, from 0.

        Raises:
            InputError: for a layer that the model does not have.
        """
        layers = self.model.get_decoder().layers
        if layer >= len(layers):
            raise InputError(
                f"method.gradient_layer is {layer}: this model has {len(layers)} layers, from 0."
            )

        at = at_layer(layers[layer], self.places(prompt))
        with frozen(self.model), torch.enable_grad(), at as leaves:
            out = self._call([prompt], torch.cat(prompt.features))
        return Pass(out.logits[:, -1], leaves[0], (prompt,))

    def checkpoints(self, positions: int) -> bool:
        """Tell whether a map of so many positions runs with gradient checkpointing."""
        if self.checkpointing != "auto":
            return self.checkpointing == "on"

        kernel = self.model.get_decoder().config._attn_implementation
        needed = map_bytes(self.model.config, self.model.dtype, positions, kernel=kernel)
        return needed > free_bytes(self.model.device) / 2

    def _call(
        self,
        prompts: Sequence[Prompt],
        tokens: Tensor,
        *,
        use_cache: bool = False,
        every_position: bool = False,
    ) -> Any:
        """Run the model on prompts with these visual tokens ``(tokens, dim)``, in their order."""
        pad = self.processor.tokenizer.pad_token_id
        inputs = padded_batch([prompt.inputs for prompt in prompts], pad)
        encoded = self._packed(tokens, [part for prompt in prompts for part in prompt.features])

        return self._forward(
            inputs,
            mm_encoder_outputs=encoded,
            every_position=every_position,
            use_cache=use_cache,
        )

    def _forward(
        self,
        inputs: Mapping[str, Any],
        *,
        positions: int = 1,
        every_position: bool = False,
        **more: Any,
    ) -> Any:
        """Run the model, the last logits in float32; every call of the model goes through here.

        Args:
            inputs: the tensors of the prompt.
            positions: how many last positions get logits.
            every_position: let the model compute those of all positions too.
            more: other arguments of the model.
        """
        kept = 0 if every_position else positions
        with float32_head(self.model, positions), quiet_casts():
            return self.model(**inputs, **more, logits_to_keep=kept)

    def _packed(
        self, tokens: Tensor, features: Sequence[Tensor]
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Return visual tokens in the structure that the model merges into its text.

        Args:
            tokens: of all pictures ``(tokens, dim)``.
            features: what each picture has, for the number of its tokens.
        """
        parts = tokens.split([len(part) for part in features])
        return {"image": self.family.pack(self.model.config, list(parts))}

    # --- Gradients and attention ---

    @own_gradients
    def gradient(self, prompt: Prompt, target: Target) -> TokenGradients:
        """Return the gradient of a target at every visual token of a prompt (paper, step 2).

        Raises:
            InputError: when the logits are not finite or the model passes no gradient to its visual
                tokens.
        """
        return self.gradients([prompt], target)[0]

    @own_gradients
    def gradients(self, prompts: Sequence[Prompt], target: Target) -> list[TokenGradients]:
        """Return the result of `gradient` for several prompts, in one padded batch."""
        return self.backward(self.run(prompts), target)

    @own_gradients
    def backward(self, run: Pass, target: Target) -> list[TokenGradients]:
        """Return the gradient of a target at the leaf of a pass, for each of its prompts.

        Raises:
            InputError: when the logits are not finite or the model passes no gradient to its visual
                tokens.
        """
        if not run.logits.requires_grad:
            raise self._no_gradient("its kernels record none")

        # Prompts of a batch do not see each other, so the gradient of the sum holds that of each.
        # Checkpointed layers run again now.
        with frozen(self.model), torch.enable_grad(), quiet_casts():
            total = torch.stack([target(logits) for logits in run.logits]).sum()
            try:
                (gradients,) = differentiate(total, [run.leaf])
            except NotImplementedError as error:
                raise self._no_gradient(str(error)) from error

        if not torch.isfinite(gradients).all():
            raise InputError(
                "The gradient at the visual tokens is NaN or infinite: "
                "try dtype=float32 or bfloat16."
            )
        parts = zip(
            run.logits.detach(),
            run.by_prompt(gradients),
            run.by_prompt(run.leaf.detach()),
            strict=True,
        )
        return [TokenGradients(*part) for part in parts]

    @own_gradients
    def attention(self, prompt: Prompt, target: Target | None = None) -> TokenAttention:
        """Return how much the last position attends to every visual token, by layer and head.

        All positions but the last run with the model's own kernel, and leave keys and values. The
        last one then runs alone with the eager kernel, which returns its weights. So memory grows
        with the length of the prompt, not with its square, and the graph of a target holds one
        position.

        Args:
            prompt: from `prompt`.
            target: a scalar of the logits; its gradient with respect to the weights is returned
                too. It is exact: no later position sees the last one.

        Raises:
            InputError: for a model that returns no attention weights.
        """
        graph = target is not None
        with frozen(self.model):
            cache = self._before_last(prompt)
            with eager(self.model.get_decoder()), torch.set_grad_enabled(graph):
                out = self._last(prompt, cache, graph=graph)
            if not out.attentions or out.attentions[0] is None:
                raise InputError(
                    f"The model '{self.name}' returns no attention weights: "
                    "use a signal of gradients (method.signal=gradient)."
                )
            logits = out.logits[0, -1]
            gradients = differentiate(target(logits), out.attentions) if target else None

        places = self.places(prompt)
        return TokenAttention(
            logits.detach(),
            _to_tokens(out.attentions, places),
            _to_tokens(gradients, places) if gradients else None,
        )

    def _before_last(self, prompt: Prompt) -> DynamicCache:
        """Return the keys and values of all positions of a prompt but the last.

        Layers with sliding windows keep all of theirs, too, so that every row has every position.
        """
        cache = DynamicCache()
        rest = {name: value for name, value in prompt.inputs.items() if name not in PER_POSITION}
        with torch.no_grad():
            self._forward(
                rest | self._part(prompt, 0, prompt.length - 1),
                mm_encoder_outputs=self._packed(torch.cat(prompt.features), prompt.features),
                past_key_values=cache,
                use_cache=True,
            )
        return cache

    def _last(self, prompt: Prompt, cache: DynamicCache, *, graph: bool) -> Any:
        """Run the last position of a prompt behind the keys and values of the others.

        The graph begins at its embedding ``(1, 1, dim)``.
        """
        inputs = self._part(prompt, prompt.length - 1, prompt.length)
        ids = inputs.pop("input_ids")
        embedding = self.model.get_input_embeddings()(ids).detach().requires_grad_(graph)

        return self._forward(
            inputs,
            inputs_embeds=embedding,
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        )

    def _part(self, prompt: Prompt, start: int, end: int) -> dict[str, Tensor]:
        """Return the inputs of a part of a prompt, whose earlier positions lie in a cache.

        Args:
            prompt: from `prompt`.
            start: the first position.
            end: the position behind the last.
        """
        inputs = {
            "input_ids": prompt.inputs["input_ids"][:, start:end],
            "attention_mask": prompt.inputs["attention_mask"][:, :end],  # the cache counts, too
        }
        positions = self.family.positions(self.model, prompt.inputs)
        if positions is not None:
            inputs["position_ids"] = positions[..., start:end]
        return inputs

    @own_gradients
    def pixel_gradients(self, prompt: Prompt, target: Target) -> PixelGradients:
        """Return the gradient of a target at the pixels of every picture of a prompt.

        The pictures run through the vision tower again, this time with a graph.
        """
        inputs = [self.processed(picture.image) for picture in prompt.pictures]
        leaves = [each["pixel_values"].clone().requires_grad_() for each in inputs]

        with frozen(self.model), torch.enable_grad():
            read = zip(inputs, leaves, strict=True)
            tokens = [self.features({**each, "pixel_values": leaf}) for each, leaf in read]
            logits = self.logits(prompt, torch.cat(tokens))
            gradients = differentiate(target(logits), leaves)

        laid_out = self._laid_out(prompt, inputs, gradients)
        return PixelGradients(
            logits.detach(),
            self._as_pixels(prompt, inputs),
            tuple(part.pixels for part in laid_out),
        )

    @own_gradients
    def pixels(self, prompt: Prompt) -> tuple[Pixels, ...]:
        """Return the pixels that the model reads of every picture of a prompt."""
        return self._as_pixels(prompt, [self.processed(each.image) for each in prompt.pictures])

    def _as_pixels(self, prompt: Prompt, inputs: Sequence[dict[str, Any]]) -> tuple[Pixels, ...]:
        """Return the pixels of every picture, from what the processor made of it."""
        return self._laid_out(prompt, inputs, [each["pixel_values"] for each in inputs])

    def _laid_out(
        self, prompt: Prompt, inputs: Sequence[dict[str, Any]], values: Sequence[Tensor]
    ) -> tuple[Pixels, ...]:
        """Lay values of pixels out under the first token grid of each picture.

        Args:
            prompt: from `prompt`.
            inputs: what the processor made of each picture.
            values: of each picture, in the structure of its ``pixel_values``.
        """
        found = []
        offset = 0  # the tokens of earlier pictures
        for index, picture in enumerate(prompt.pictures):
            size = picture.image.size
            known = self.model.config, self.processor, inputs[index]
            view = next(iter(self.family.views(*known, size).values()))

            placed = replace(
                view,
                image_index=index,
                token_indices=view.token_indices + offset,
                box=shifted(view.box, picture.box.x0, picture.box.y0),
                shown=picture.box,
            )
            pixels = self.family.picture(*known, values[index].detach().float(), size)
            found.append(Pixels(pixels, placed))
            offset += len(picture.features)
        return tuple(found)

    def _no_gradient(self, why: str) -> InputError:
        name = self.name or type(self.model).__name__
        return InputError(
            f"The model '{name}' passes no gradient to its visual tokens ({why}): "
            "load it unquantised, attention=sdpa."
        )

    # --- Answers ---

    @own_gradients
    def generate(self, prompt: Prompt, *, max_new_tokens: int, after: Pass | None = None) -> Answer:
        """Return the greedy answer, and whether the length limit cut it off.

        Args:
            prompt: from `prompt`.
            max_new_tokens: length limit of the answer.
            after: a pass of this prompt; the answer resumes from its cache, which is used up.
        """
        ids = self._greedy(prompt, max_new_tokens, after)
        text = self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return Answer(text, cut_off=len(ids) >= max_new_tokens and not self._ends(int(ids[-1])))

    def _ends(self, token: int) -> bool:
        """Tell whether a token ends an answer."""
        ends = self.model.generation_config.eos_token_id
        return token in (ends if isinstance(ends, list) else [ends])

    @own_gradients
    def continued(self, prompt: Prompt, tokens: int) -> Prompt:
        """Return the prompt followed by the first tokens of the model's greedy answer.

        Args:
            prompt: from `prompt`.
            tokens: how many; fewer are added if the answer ends before.
        """
        ids = prompt.inputs["input_ids"]
        new = self._greedy(prompt, tokens) if tokens else ids.new_empty(0)
        special = new.new_tensor(self.processor.tokenizer.all_special_ids)
        new = new[~torch.isin(new, special)]

        more = {"input_ids": new, "attention_mask": torch.ones_like(new)}
        inputs = dict(prompt.inputs)
        for name in PER_POSITION:
            if name in inputs:
                behind = more.get(name, torch.zeros_like(new)).to(inputs[name].dtype)
                inputs[name] = torch.cat([inputs[name], behind[None]], dim=1)
        return replace(prompt, inputs=inputs)

    @own_gradients
    def answer_loss(self, question: str, pictures: Sequence[Picture], answer: str) -> float:
        """Return the mean cross-entropy of an answer as the assistant's turn, in nats per token.

        The token that ends the turn does not count.
        """
        prompt = self.prompt(question, pictures)
        inputs = self.prepared(question, pictures, answer)
        length = inputs["input_ids"].shape[1] - prompt.length

        encoded = self._packed(torch.cat(prompt.features), prompt.features)
        with frozen(self.model), torch.no_grad():
            out = self._forward(
                inputs, mm_encoder_outputs=encoded, positions=length + 1, use_cache=False
            )
        logits = out.logits[0, :-1].float()  # position i predicts token i + 1
        said = inputs["input_ids"][0, -length:]
        return float(torch.nn.functional.cross_entropy(logits, said))

    def _greedy(
        self, prompt: Prompt, max_new_tokens: int, after: Pass | None = None
    ) -> Int[Tensor, " tokens"]:
        """Return the ids of the greedy answer."""
        if after is None or after.cache is None:
            known: dict[str, Any] = {
                "mm_encoder_outputs": self._packed(torch.cat(prompt.features), prompt.features)
            }
        else:
            self.family.positions(self.model, prompt.inputs)
            after.cache.crop(-1)  # generation begins with the logits of the last position
            known = {_CACHE: after.cache}

        with ExitStack() as stack:
            for context in (frozen, neutral_generation, float32_head):
                stack.enter_context(context(self.model))
            stack.enter_context(quiet_casts())
            stack.enter_context(torch.no_grad())
            ids = self.model.generate(**prompt.inputs, **known, max_new_tokens=max_new_tokens)
        return ids[0, prompt.length :]


def _to_tokens(rows: Sequence[Tensor], places: Tensor) -> Tensor:
    """Return what the last position gives to visual tokens ``(layers, heads, tokens)``.

    Args:
        rows: one per layer ``(1, heads, 1, positions)``.
        places: which positions hold visual tokens, bool ``(positions,)``.
    """
    return torch.stack([row[0, :, 0][:, places].float() for row in rows]).detach()
