#!/usr/bin/env python3
"""Every trace that a page shows is the one that the simulator prints.

usage: trace.py PAGE SIM

A trace is an indented block that begins with `./dev sim` and its options. SIM, run with these, must
print the block's other lines, in this order; a page may leave lines out between them. How much
processor time it took is the machine's affair, and not looked at.
"""
import re
import subprocess
import sys
from pathlib import Path

COMMAND = re.compile(r"    \./dev sim (--.*)")


def traces(lines):
    """Each block's options and lines, its indentation taken away; of blocks with lines only."""
    for at, line in enumerate(lines):
        command = COMMAND.fullmatch(line)
        if not command:
            continue
        shown = []
        for each in lines[at + 1:]:
            if each.strip() and not each.startswith("    "):
                break
            shown.append(each[4:])
        shown = [each for each in shown if each.strip()]
        if shown and not any(each.startswith("./dev") for each in shown):
            yield command.group(1), shown


def comparable(line):
    return re.sub(r"; [\d.]+ s of CPU.*", "", line).rstrip()


def main() -> int:
    page, sim = Path(sys.argv[1]), Path(sys.argv[2])
    wrong, count = [], 0
    for options, shown in traces(page.read_text(encoding="utf-8").splitlines()):
        count += 1
        ran = subprocess.run([sim.resolve(), *options.split()], stdout=subprocess.PIPE, text=True,
                             timeout=60, check=False)
        printed = iter([comparable(each) for each in ran.stdout.splitlines()])
        missing = next((each for each in shown if comparable(each) not in printed), None)
        if missing is not None or ran.returncode != 0:
            wrong.append(f"{page.name}: ./dev sim {options} ended with {ran.returncode}, and does "
                         f"not print, or not there: {missing}\nbut:\n{ran.stdout}")
    print("\n".join(wrong) or f"{page.name}: {count} traces, as printed")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
