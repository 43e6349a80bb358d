#!/usr/bin/env python3
"""Whether the compiler refuses what it must, and nothing else.

usage: refused.py SOURCE COMPILER...

Compiles SOURCE, without code, and looks at which of its lines the compiler complains of: those that
hold `// refused`, all of them. Where one says `// refused: a_name`, a message has that name in it.
"""

import re
import subprocess
import sys
from pathlib import Path


def main():
    source, compiler = Path(sys.argv[1]), sys.argv[2:]
    ran = subprocess.run(
        [*compiler, "-std=c++20", "-fsyntax-only", "-w", "-fno-diagnostics-color", str(source)],
        stderr=subprocess.PIPE,
        check=False,
    )
    said = ran.stderr.decode("utf-8", "replace")
    lines = source.read_text(encoding="utf-8").splitlines()
    expected = {i for i, line in enumerate(lines, 1) if "// refused" in line}
    # An error inside of a header names the line that brought it there.
    refused = {int(n) for n in re.findall(rf"{re.escape(source.name)}:(\d+):\d+:", said)}
    calls = {i for i, line in enumerate(lines, 1) if line.lstrip().startswith("log.")}
    wrong = (refused & calls) ^ expected
    for number in sorted(wrong):
        what = "is not refused" if number in expected else "is refused"
        print(f"{source}:{number}: {what}: {lines[number - 1].strip()}")
    names = set(re.findall(r"// refused: (\w+_\w+)$", source.read_text(encoding="utf-8"), re.M))
    unnamed = sorted(name for name in names if name not in said)
    for name in unnamed:
        print(f"{source}: no message names {name}")
    failed = bool(wrong or unnamed or not expected)
    if failed:
        print(said)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
