#!/usr/bin/env python3
"""Sums up a run of 'meson test' from its testlog.json as 'N passed, N failed[, N skipped]'.

A test program counts by its cases, from the line that tests/main.cpp prints last; any other test
counts as one. A program that died, or failed without a failed case, adds one failure.
"""

import json
import re
import sys

CASES = re.compile(r"^\[sapwood\] (\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
GOOD = ("OK", "EXPECTEDFAIL")


def count(test):
    cases = CASES.search(test.get("stdout", ""))
    passed, failed, skipped = map(int, cases.groups()) if cases else (0, 0, 0)
    if test["result"] == "SKIP":
        skipped += 1
    elif test["result"] not in GOOD:
        failed = max(failed, 1)
    elif not cases:
        passed += 1
    return passed, failed, skipped


def main():
    try:
        with open(sys.argv[1], encoding="utf-8") as log:
            tests = [json.loads(line) for line in log]
    except OSError as error:
        sys.exit(f"totals: the tests left no log: {error}")
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *map(count, tests)))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))


main()
