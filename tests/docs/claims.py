#!/usr/bin/env python3
"""Every test that a page names is there.

usage: claims.py PAGE TESTS

A page names a case as `suite: how it begins ...`, and further ones of that suite as `... how it
begins`; the dots at the end, for the rest of its name, may be missing. The suites are
TESTS/*/<suite>_test.cpp, or are named in another source by TEST_SUITE.
"""
import re
import sys
from pathlib import Path

NAMED = re.compile(r"`(?:([a-z][a-z_0-9]*):|\.\.\.) ([^`]+)`")
CASE = re.compile(r'(?:CO_)?TEST_CASE\w*\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', re.S)
SUITE = re.compile(r'TEST_SUITE\("([^"]+)"\)')


def cases_of(tests: Path):
    """The names of cases by suite. A source has one suite, as a rule; where it has more, its cases
    are taken for those of each."""
    found = {}
    for source in tests.glob("*/*_test.cpp"):
        text = source.read_text()
        names = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', each)).replace('\\"', '"')
                 for each in CASE.findall(text)]
        for suite in SUITE.findall(text):
            found.setdefault(suite, []).extend(names)
    return found


def main() -> int:
    page, tests = map(Path, sys.argv[1:3])
    cases = cases_of(tests)
    suite, wrong, count = None, [], 0
    text = page.read_text()
    for named in NAMED.finditer(text):
        if named.group(1):
            if named.group(1) not in cases:
                continue  # some other text with a colon
            suite = named.group(1)
        begins = re.sub(r"\s+", " ", named.group(2)).removesuffix("...").strip()
        count += 1
        if suite is None or not any(each.startswith(begins) for each in cases[suite]):
            line = text.count("\n", 0, named.start()) + 1
            wrong.append(f"{page.name}:{line}: no case of {suite} begins so: {begins}")
    print("\n".join(wrong) or f"{page.name}: {count} cases, all there")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
