"""The contract of every family, on untrained models of several sizes, tilings and aspect ratios."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions, propose_regions
from entropy_grounding.method.relevance import relevance_maps
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from support.families import CASES, GEOMETRIES, TINY, TRAINED, UNTRAINED, Case

CROP = Box(8, 6, 48, 38)
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ONE_A_FAMILY = pytest.mark.parametrize(
    "case",
    [
        Case(name, build, variants[0], sizes[0])
        for name, (build, variants, sizes) in GEOMETRIES.items()
    ]
    + TINY[::2],
    ids=lambda case: case.name,
)
QUESTION = "what is it ?"
PROMPTS = Path(__file__).parents[2] / "data" / "prompts" / "families"


def pictures_of(vlm, image, crops):
    return [vlm.encode(image), *(vlm.encode(image, box) for box in crops)]


@EACH_CASE
@pytest.mark.parametrize(
    "crops", [[], [CROP], [CROP, Box(0, 0, 40, 40)]], ids=["single", "one crop", "two crops"]
)
def test_logits_through_embeddings_equal_the_forward_from_pixels(case, crops):
    vlm, image = case.vlm(), case.image()
    prompt = vlm.prompt(QUESTION, pictures_of(vlm, image, crops))
    pixels = [image, *(image.crop(box.xyxy()) for box in crops)]
    with torch.no_grad():
        expected = vlm.model(
            **vlm.processor(text=prompt.text, images=pixels, return_tensors="pt")
        ).logits[0, -1]
        torch.testing.assert_close(
            vlm.logits(prompt), expected, atol=1e-5, rtol=1e-6
        )  # trained weights have logits of 20


@EACH_CASE
def test_gradient_matches_finite_differences(case):
    vlm = case.vlm()
    prompt = vlm.prompt(QUESTION, pictures_of(vlm, case.image(), [CROP]))
    found = vlm.gradient(prompt, next_token_entropy)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        random = torch.randn(found.embeddings.shape, generator=generator)
        direction = (
            found.gradients / found.gradients.norm() + random / random.norm()
        )  # a random one alone is nearly orthogonal
        exact = (found.gradients * direction).sum().double()
        # Small against curvature (tokens, or entropy by 1e-3 nats), large against rounding;
        # four points cancel the third derivative.
        step = torch.minimum(5e-4 / abs(exact), 1e-2 * found.embeddings.norm() / direction.norm())
        with torch.no_grad():
            up2, up, down, down2 = (
                next_token_entropy(
                    vlm.logits(prompt, found.embeddings + (s * step * direction).float()).double()
                )
                for s in (1, 0.5, -0.5, -1)
            )
        numeric = (8 * (up - down) - (up2 - down2)) / (6 * step)
        assert abs(exact - numeric) < 2e-2 * abs(exact)


@EACH_CASE
def test_every_visual_token_has_one_gradient_and_parameters_have_none(case):
    vlm = case.vlm()
    prompt = vlm.prompt(QUESTION, pictures_of(vlm, case.image(), [CROP]))
    found = vlm.gradient(prompt, next_token_entropy)
    placeholders = int((prompt.inputs["input_ids"] == vlm.model.config.image_token_id).sum())
    assert len(found.gradients) == prompt.visual_tokens == placeholders
    assert all(parameter.grad is None for parameter in vlm.model.parameters())


@EACH_CASE
def test_a_batch_of_prompts_gives_the_maps_of_single_prompts(case):
    vlm, image = case.vlm(), case.image()
    asked = [(QUESTION, [CROP]), ("is it what is it ?", []), ("what ?", [CROP, Box(0, 0, 40, 40)])]
    prompts = [vlm.prompt(question, pictures_of(vlm, image, crops)) for question, crops in asked]
    for prompt, batched in zip(prompts, vlm.gradients(prompts, next_token_entropy), strict=True):
        single = vlm.gradient(prompt, next_token_entropy)
        torch.testing.assert_close(batched.logits, single.logits, atol=1e-4, rtol=1e-4)
        assert (batched.gradients - single.gradients).norm() <= 1e-3 * single.gradients.norm()


@ONE_A_FAMILY
def test_flags_and_hooks_are_restored_after_an_exception(case):
    vlm = case.vlm()
    vlm.model.train().requires_grad_(True)
    prompt = vlm.prompt(QUESTION, [vlm.encode(case.image())])
    hooks = [dict(module._forward_hooks) for module in vlm.model.modules()]
    with pytest.raises(RuntimeError, match="on purpose"):
        vlm.gradient(prompt, fail)
    assert [dict(module._forward_hooks) for module in vlm.model.modules()] == hooks
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in vlm.model.parameters()
    )
    assert all(module.training for module in vlm.model.modules())


def fail(logits):
    raise RuntimeError("on purpose")


@EACH_CASE
def test_padding_never_becomes_a_region(case):
    """Relevance is largest on the padding, of image and crop: no map and no region has it."""
    vlm = case.vlm(grounding="all")
    pictures = pictures_of(vlm, case.image(), [CROP])
    prompt = vlm.prompt(QUESTION, pictures)
    options = RegionOptions(threshold=0.5, margin=0.0, min_side=0.0)
    relevance = torch.ones(prompt.visual_tokens)
    outside = [~view.cells_inside() for view in prompt.views]
    for view, padding in zip(prompt.views, outside, strict=True):
        shown = pictures[view.image_index].box
        for row, col in np.argwhere(padding).tolist():
            cell = view.cell_box((row, col, row + 1, col + 1))
            common = cell.intersection(shown)
            assert common is None or common.area < 0.5 * cell.area
        assert not padding.all()
        relevance[view.token_indices[padding]] = 100.0
    maps = relevance_maps(relevance, prompt.views, options.sigma_for)
    for found, padding in zip(maps, outside, strict=True):
        assert (found.values[padding] == 0).all()
        assert (found.smoothed[padding] == 0).all()
        assert found.values.max() == 1
    for region in propose_regions(maps, case.size, options):
        assert not outside[region.map_index][
            region.cells[0] : region.cells[2], region.cells[1] : region.cells[3]
        ].any()


@EACH_CASE
def test_views_name_each_token_once_within_their_own_picture(case):
    vlm = case.vlm(grounding="all")
    pictures = pictures_of(vlm, case.image(), [CROP])
    prompt = vlm.prompt(QUESTION, pictures)
    named = np.concatenate([view.token_indices.ravel() for view in prompt.views])
    assert len(set(named.tolist())) == len(named)
    ends = np.cumsum([len(picture.features) for picture in pictures])
    for view in prompt.views:
        start = 0 if view.image_index == 0 else ends[view.image_index - 1]
        assert start <= view.token_indices.min()
        assert view.token_indices.max() < ends[view.image_index]


@EACH_CASE
def test_views_cover_their_picture_within_a_cell(case):
    """LLaVA-NeXT drops rows that are mostly padding, so its canvas may miss part of a cell.

    Nothing misses more.
    """
    vlm = case.vlm(grounding="all")
    for picture in pictures_of(vlm, case.image(), [CROP]):
        for view in picture.views:
            rows, cols = view.shape
            cell_width, cell_height = view.box.width / cols, view.box.height / rows
            assert view.box.x0 < picture.box.x0 + cell_width
            assert view.box.y0 < picture.box.y0 + cell_height
            assert view.box.x1 > picture.box.x1 - cell_width
            assert view.box.y1 > picture.box.y1 - cell_height


def silence_attention(vlm):
    """Zero what attention adds in the vision tower: each token then sees its own patches only."""
    silenced = 0
    for name, module in vlm.model.named_modules():
        if ("vision" in name or "visual" in name) and name.endswith(
            (".out_proj", ".projection_layer", ".attn.proj")
        ):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
            silenced += 1
    assert silenced


@EACH_CASE
@pytest.mark.parametrize("part", [None, (0.1, 0.2, 0.9, 0.95)], ids=["image", "crop"])
def test_a_planted_patch_moves_the_tokens_whose_cells_it_meets(case, part):
    """Resampling spreads a little, hence the shares: moved cells meet the patch, covered ones move.

    In a crop the boxes are pixels of the original image, so crops compose.
    """
    vlm = case.vlm(grounding="all")
    silence_attention(vlm)
    width, height = case.size
    shown = part and Box(
        *(float(round(share * side)) for share, side in zip(part, case.size * 2, strict=True))
    )
    ground_color = Image.new("RGB", case.size, (120, 120, 120))
    for center in ((0.3, 0.4), (0.75, 0.7)):
        patch = Box(
            *(
                round(v)
                for v in (
                    width * center[0] - 12,
                    height * center[1] - 12,
                    width * center[0] + 12,
                    height * center[1] + 12,
                )
            )
        )
        planted = ground_color.copy()
        planted.paste((255, 30, 0), tuple(int(v) for v in patch.xyxy()))
        before, after = vlm.encode(ground_color, shown), vlm.encode(planted, shown)
        moved = (before.features - after.features).abs().amax(-1).numpy()
        for view in before.views:
            values = moved[view.token_indices] / moved[view.token_indices].max()
            rows, cols = view.shape
            for row in range(rows):
                for col in range(cols):
                    cell = view.cell_box((row, col, row + 1, col + 1))
                    common = cell.intersection(patch)
                    if values[row, col] > 0.35:
                        assert cell.expand(0.35 * max(cell.width, cell.height)).intersection(
                            patch
                        ), (view.shape, row, col)
                    if common and common.area > 0.8 * cell.area:
                        assert values[row, col] > 0.1, (view.shape, row, col)


@pytest.mark.parametrize("case", UNTRAINED, ids=lambda case: case.name)
def test_with_attention_the_most_moved_token_still_meets_the_patch(case):
    vlm = case.vlm(grounding="all")
    patch = Box(
        *(
            float(round(v))
            for v in (
                0.3 * case.size[0],
                0.3 * case.size[1],
                0.3 * case.size[0] + 20,
                0.3 * case.size[1] + 20,
            )
        )
    )
    plain = Image.new("RGB", case.size, (120, 120, 120))
    planted = plain.copy()
    planted.paste((255, 30, 0), tuple(int(v) for v in patch.xyxy()))
    before, after = vlm.encode(plain), vlm.encode(planted)
    moved = (before.features - after.features).norm(dim=-1).numpy()
    for view in before.views:
        row, col = (
            int(i) for i in np.unravel_index(moved[view.token_indices].argmax(), view.shape)
        )
        assert view.cell_box((row, col, row + 1, col + 1)).intersection(patch)


@ONE_A_FAMILY
def test_pixels_are_laid_out_as_the_first_view_shows_them(case):
    """A change of pixels lies, in the laid out ones, where the box of the view has the patch."""
    vlm = case.vlm()
    width, height = case.size
    patch = Box(0.6 * width, 0.55 * height, 0.6 * width + 20, 0.55 * height + 20)
    plain = Image.new("RGB", case.size, (120, 120, 120))
    planted = plain.copy()
    planted.paste((255, 30, 0), tuple(round(side) for side in patch.xyxy()))
    before, after = vlm.processed(plain), vlm.processed(planted)

    changes = (after["pixel_values"] - before["pixel_values"]).abs()
    about = vlm.model.config, vlm.processor, before
    laid_out = vlm.family.picture(*about, changes, case.size).sum(0)
    down, across = (laid_out.sum(1 - side) / laid_out.sum() for side in (0, 1))
    y = float(down @ (torch.arange(len(down)) + 0.5)) / len(down)
    x = float(across @ (torch.arange(len(across)) + 0.5)) / len(across)

    box = vlm.encode(plain).views[0].box
    center = patch.center
    assert box.x0 + x * box.width == pytest.approx(center[0], abs=4)
    assert box.y0 + y * box.height == pytest.approx(center[1], abs=4)


@ONE_A_FAMILY
def test_kernels_and_precisions_agree(case):
    maps = {}
    for name, attention, dtype in (
        ("sdpa", "sdpa", None),
        ("eager", "eager", None),
        ("bfloat16", "sdpa", torch.bfloat16),
    ):
        vlm = case.vlm()
        vlm.model.set_attn_implementation(attention)
        if dtype:
            vlm.model.to(dtype)
        prompt = vlm.prompt(QUESTION, pictures_of(vlm, case.image(), [CROP]))
        maps[name] = vlm.gradient(prompt, next_token_entropy).gradients.double().norm(dim=-1)
    assert torch.cosine_similarity(maps["sdpa"], maps["eager"], dim=0) >= 0.999
    assert torch.cosine_similarity(maps["sdpa"], maps["bfloat16"], dim=0) >= 0.95


@ONE_A_FAMILY
def test_the_loop_runs_and_generation_starts_from_the_same_logits(case):
    vlm, image = case.vlm(), case.image()
    options = GroundingOptions(
        regions=RegionOptions(threshold="quantile:0.8"),
        stopping=StoppingOptions(rule="fixed", rounds=2),
    )
    grounding = ground(vlm, image, QUESTION, options, max_new_tokens=1)
    prompt = vlm.prompt(QUESTION, [vlm.encode(image)])
    with torch.no_grad():
        first = int(vlm.logits(prompt).argmax())
    assert (
        grounding.plain_answer
        == vlm.processor.tokenizer.decode([first], skip_special_tokens=True).strip()
    )
    assert grounding.stop_reason == "rounds"


@pytest.mark.parametrize("family", TRAINED)
def test_the_prompt_is_the_frozen_one(family, request):
    """Text and token ids of a prompt with one crop, runs of one id written once.

    After a change on purpose: pytest --freeze-prompts.
    """
    vlm = load_vlm(f"tiny_{family}")
    image = Image.new("RGB", (200, 120))
    prompt = vlm.prompt("What letter is on the red card?", pictures_of(vlm, image, [CROP]))
    runs = [
        (token, len(list(run)))
        for token, run in itertools.groupby(prompt.inputs["input_ids"][0].tolist())
    ]
    ids = " ".join(f"{token}x{count}" if count > 1 else str(token) for token, count in runs)
    frozen = PROMPTS / f"{family}.txt"
    if request.config.getoption("freeze_prompts"):
        frozen.write_text(f"{prompt.text}\n--- ids\n{ids}\n")
    assert frozen.read_text() == f"{prompt.text}\n--- ids\n{ids}\n"


@ONE_A_FAMILY
def test_a_saved_model_loads_by_folder(case, tmp_path):
    vlm = case.vlm()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = load_vlm(VLMConfig(weights=str(tmp_path)))
    assert type(loaded.model) is type(vlm.model)
    prompts = [each.prompt(QUESTION, [each.encode(case.image())]) for each in (vlm, loaded)]
    assert torch.equal(prompts[0].inputs["input_ids"], prompts[1].inputs["input_ids"])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.logits(prompts[1]), vlm.logits(prompts[0]), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(
    ("name", "budget", "tokens"),
    [
        ("qwen2_5_vl-0-200x120", {"max_pixels": 64 * 64}, 64),
        ("internvl-0-200x120", {"max_tiles": 1}, 16),
    ],
)
def test_a_budget_limits_the_visual_tokens(name, budget, tokens, tmp_path):
    (case,) = [case for case in CASES if case.name == name]
    vlm = case.vlm()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    limited = load_vlm(VLMConfig(weights=str(tmp_path), **budget))
    assert (
        len(limited.encode(case.image()).features)
        <= tokens
        < len(vlm.encode(case.image()).features)
    )


@pytest.mark.parametrize("budget", [{"max_pixels": 4096}, {"max_tiles": 2}])
def test_a_budget_without_meaning_is_refused(budget):
    with pytest.raises(InputError, match="has no meaning for 'tiny_llava'"):
        load_vlm(VLMConfig(**budget))


def test_qwen_positions_are_three_dimensional_also_with_embeddings():
    """Without ``mm_token_type_ids`` positions are silently one-dimensional, and logits others."""
    (case,) = [case for case in CASES if case.name == "qwen2_5_vl-0-200x120"]
    vlm = case.vlm()
    prompt = vlm.prompt(QUESTION, [vlm.encode(case.image())])
    with torch.no_grad():
        right = vlm.logits(prompt)
        del prompt.inputs["mm_token_type_ids"]
        wrong = vlm.logits(prompt)
    assert (right - wrong).abs().max() > 1e-5


def test_a_picture_too_thin_for_the_canvas_is_refused():
    (case,) = [case for case in CASES if case.name == "llava_next-0-200x120"]
    with pytest.raises(
        InputError,
        match="1000 x 8 pixels leaves no row .* canvas of 112 x 56: crop its longer side",
    ):
        case.vlm().encode(Image.new("RGB", (1000, 8)))


@pytest.mark.parametrize(
    ("grounding", "shape"), [("default", (4, 8)), ("canvas", (4, 8)), ("base", (4, 4))]
)
def test_grounding_on_the_canvas_or_the_base_tile(grounding, shape):
    (case,) = [case for case in CASES if case.name == "llava_next-0-200x120"]
    assert [view.shape for view in case.vlm(grounding).encode(case.image()).views] == [shape]


def test_a_canvas_of_too_many_tokens_is_shrunk():
    """LLaVA-OneVision: 4 x 8 tokens are twice as many as a tile has, so 1.41 become one."""
    cases = {case.name: case for case in CASES}
    shapes = []
    for name in ("llava_onevision-0-200x120", "llava_onevision-1-200x120"):
        (view,) = cases[name].vlm().encode(cases[name].image()).views
        shapes.append(view.shape)
    assert shapes == [(2, 5), (4, 6)]


@pytest.mark.parametrize(
    ("name", "boxes"),
    [
        # 2 x 3 tiles of 60 pixels, of which patches see 56: 4 of 180 and of 120 are left.
        ("smolvlm-0-200x120", [(0, 0, 200 * 176 / 180, 116), (0, 0, 200 * 56 / 60, 112)]),
        # 120 x 72 pixels are drawn from row 24 of 120; patches from row 28 to 88 are kept.
        (
            "llava_onevision-0-200x120",
            [(0, 4 / 0.6, 116 / 0.6, 64 / 0.6), (0, 0, 200 * 56 / 60, 112)],
        ),
    ],
)
def test_a_box_ends_where_patches_end(name, boxes):
    (case,) = [case for case in CASES if case.name == name]
    views = case.vlm("all").encode(case.image()).views
    assert [view.box.xyxy() for view in views] == [pytest.approx(box) for box in boxes]


def test_internvl_tiles_lie_in_row_major_order_on_the_canvas():
    """Each tile's tokens are contiguous in the sequence: two by three tiles of 4 x 4 tokens."""
    (case,) = [case for case in CASES if case.name == "internvl-0-200x120"]
    (view,) = case.vlm().encode(case.image()).views
    rows, cols = view.shape
    tile = view.token_indices // 16
    assert (tile == np.add.outer(np.arange(rows) // 4 * (cols // 4), np.arange(cols) // 4)).all()
