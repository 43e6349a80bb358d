#!/usr/bin/env python3
"""Whether a page tells the truth about the program that it begins with.

usage: page.py PAGE SOURCE PROGRAM

The page's first ```cpp block must be SOURCE, less the comment on its top, and what PROGRAM, run in
an empty folder, prints must be the page's first ```text block (none where it prints nothing).
"""

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def block(lines, language):
    """The lines of the first block in that language; empty where the page has none."""
    try:
        begin = lines.index("```" + language) + 1
        return lines[begin : lines.index("```", begin)]
    except ValueError:
        return []


def without_head(lines):
    """A source without its comment and the empty line after it."""
    if not lines or not lines[0].startswith("//"):
        return lines
    return lines[lines.index("") + 1 :]


def differs(what, page, page_lines, other, other_lines):
    """Prints how they differ, if they do."""
    if page_lines == other_lines:
        return False
    print(f"{page}: {what} is not the one of {other}:")
    for line in difflib.unified_diff(page_lines, other_lines, str(page), str(other), lineterm=""):
        print("    " + line)
    return True


def main():
    page, source, program = (Path(argument) for argument in sys.argv[1:])
    lines = page.read_text(encoding="utf-8").splitlines()
    code = without_head(source.read_text(encoding="utf-8").splitlines())
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [program.resolve()], cwd=folder, stdout=subprocess.PIPE, timeout=60, check=False
        )
    printed = ran.stdout.decode("utf-8", "replace")
    # How long something took, and from where it was compiled, is the machine's affair.
    printed = re.sub(r"\b\d+\.\d s\b", "0.0 s", printed)
    printed = re.sub(r" at \S*/(\w+\.cpp:)", r" at \1", printed).splitlines()
    failed = differs("the first program", page, block(lines, "cpp"), source, code)
    failed |= differs("the first output", page, block(lines, "text"), program, printed)
    if ran.returncode != 0:
        print(f"{program} ended with {ran.returncode}")
        failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
