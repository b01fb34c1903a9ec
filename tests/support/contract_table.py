"""The contract as a table, check by family, from the reports of a pytest run: ``make contract``."""

import re
from collections import Counter

from tabulate import tabulate


def contract_table(stats):
    """Return cases passed / run for each check and family.

    "tiny_" columns are the committed weights, the others untrained models.
    """
    from support.families import GEOMETRIES, TRAINED  # after the hook that checks shapes

    columns = [*GEOMETRIES, *(f"tiny_{family}" for family in TRAINED)]
    names = "|".join(sorted(columns, key=len, reverse=True))
    report_of = re.compile(rf"test_contract\.py::test_(\w+)\[(?:.+-)?({names})[-\]]")
    passed, run = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in stats.get(outcome, []):
            if found := report_of.search(report.nodeid):
                run[found.groups()] += 1
                passed[found.groups()] += outcome == "passed"
    rows = [
        [
            check.replace("_", " "),
            *(
                f"{passed[check, column]}/{run[check, column]}" if run[check, column] else ""
                for column in columns
            ),
        ]
        for check in dict.fromkeys(check for check, _ in run)
    ]
    return tabulate(rows, headers=["check: cases passed / run", *columns], tablefmt="github")
