"""The contract as a table, check by family, from the reports of a pytest run: ``make contract``."""

import re
from collections import Counter

from tabulate import tabulate

FAMILIES = ("llava", "llava_next", "internvl", "qwen2_5_vl")
COLUMNS = [prefix + family for family in FAMILIES for prefix in ("", "tiny_")]
_REPORT = re.compile(
    r"test_contract\.py::test_(\w+)\[(?:.+-)?("
    + "|".join(sorted(COLUMNS, key=len, reverse=True))
    + r")[-\]]"
)


def contract_table(stats):
    """Return cases passed / run for each check and family.

    "tiny_" columns are the committed weights, the others untrained models.
    """
    passed, run = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in stats.get(outcome, []):
            if found := _REPORT.search(report.nodeid):
                run[found.groups()] += 1
                passed[found.groups()] += outcome == "passed"
    rows = [
        [
            check.replace("_", " "),
            *(
                f"{passed[check, column]}/{run[check, column]}" if run[check, column] else ""
                for column in COLUMNS
            ),
        ]
        for check in dict.fromkeys(check for check, _ in run)
    ]
    return tabulate(rows, headers=["check: cases passed / run", *COLUMNS], tablefmt="github")
