"""What benchmarks are called where people read, and in which order they stand.

Rows and files hold identifiers, such as "mini_vstar". Tables, figures and captions show
`display_name`: a miniature always says that it is one.
"""

from collections.abc import Iterable

# By identifier, the name of each of the paper's benchmarks; in the order of the paper's Table 1.
TITLES = {
    "textvqa": "TextVQA",
    "vstar": "V*",
    "docvqa": "DocVQA",
    "pope": "POPE",
    "infovqa": "InfoVQA",
    "gqa": "GQA",
    "realworldqa": "RealWorldQA",
}
# Those that the paper lacks.
_FURTHER = {
    "hr_bench_4k": "HR-Bench 4K",
    "hr_bench_8k": "HR-Bench 8K",
    "mme_realworld_lite": "MME-RealWorld-Lite",
}
_CHANCE = {
    "pope": 0.5,
    "hr_bench_4k": 0.25,
    "hr_bench_8k": 0.25,
    "highres": 0.25,
    "highres_fine": 0.25,
}
_MINIATURE = "mini_"  # how the identifier of a miniature starts
_COMPOSITE = "_photo"  # how the identifier of a miniature on photographs ends


def kind_of(benchmark: str) -> str:
    """Return the benchmark that a miniature stands for; any other benchmark is its own kind."""
    return benchmark.removeprefix(_MINIATURE)


def is_composite(benchmark: str) -> bool:
    """Tell whether a benchmark is a miniature on photographs."""
    return benchmark.startswith(_MINIATURE) and benchmark.endswith(_COMPOSITE)


def drawn_sibling(benchmark: str) -> str:
    """Return the miniature with the same questions on drawn backgrounds, for a composite."""
    return benchmark.removesuffix(_COMPOSITE)


def display_name(benchmark: str) -> str:
    """Return the name of a benchmark for readers: "mini-V*" for "mini_vstar", "V*" for "vstar".

    A composite says that it stands on photographs. A benchmark of a user keeps its identifier.
    """
    if is_composite(benchmark):
        return f"{display_name(drawn_sibling(benchmark))} on photographs"

    kind = kind_of(benchmark)
    if kind not in TITLES:
        return _FURTHER.get(benchmark, benchmark)

    return TITLES[kind] if kind == benchmark else f"mini-{TITLES[kind]}"


def chance_score(benchmark: str) -> float | None:
    """Return the expected score of a random choice among the options, None where nothing is chosen.

    It is known where every question has as many options: letters of four, or yes and no.
    """
    return _CHANCE.get(kind_of(drawn_sibling(benchmark)))


def in_paper_order(benchmarks: Iterable[str]) -> list[str]:
    """Return every different benchmark once, in the order of the paper's Table 1.

    Benchmarks that the paper lacks come last, in the order in which they appear.
    """
    kinds = list(TITLES)

    def place(benchmark: str) -> int:
        kind = kind_of(drawn_sibling(benchmark))
        return kinds.index(kind) if kind in TITLES else len(kinds)

    return sorted(dict.fromkeys(benchmarks), key=place)
