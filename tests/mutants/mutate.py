#!/usr/bin/env python3
"""Breaks the durability code in many small ways, one at a time, and sees whether the tests notice.

A mutant is a copy of the tree in which one place of one source is changed: a comparison shifted, a
condition negated, a statement left out. It is killed if the tests fail, crash or hang; one that
survives is a claim that no test makes. The copy is made and built below --work; nothing in the tree
itself is touched. The same --seed makes the same mutants.
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What a mutation may touch: the code by which records become durable.
SOURCES = [
    "sinks/batch.cpp",
    "sinks/file_sink.cpp",
    "sinks/file_sink_preallocated.cpp",
    "sinks/file_sink_recovery.cpp",
    "sinks/file_sink_segment.cpp",
    "sinks/log_tail.cpp",
    "sinks/numbered_line.cpp",
    "sinks/pipeline_consumer.cpp",
    "sinks/pipeline_disk.cpp",
    "sinks/preallocation.cpp",
    "sinks/receipts.cpp",
]

# What is built, and what must fail: each is run in the build directory, cheap ones first.
TARGETS = ["tests/sinks_tests", "tests/sim"]
SUITES = [
    "batch", "file_sink", "file_sink_recovery", "numbered_line", "pipeline", "pipeline_disk",
    "preallocated_log",
]
TESTS = [
    ["tests/sinks_tests", f"--test-suite={','.join(SUITES)}"],
    ["tests/sim", "--seeds", "1000"],
]

# Lines that say nothing about what is written: speed, wording, what the compiler checks.
NOT_CODE = re.compile(
    r"^\s*(#|//|static_assert|SAPWOOD_ASSERT|using |namespace|template|constexpr|case |default:|"
    r"struct |class |public:|private:|friend |__builtin_prefetch|[)}\]];?\s*$)"
)
STATEMENT = re.compile(r"^(\s+)((?:co_await )?(?:\+\+|--)?[A-Za-z_][\w.:>()*-]*(?:\(.*\)| [-+|&]?= .*)|\+\+[\w.>-]+);$")

OPERATORS = [
    (" < ", [" <= ", " >= "]),
    (" <= ", [" < ", " > "]),
    (" > ", [" >= ", " <= "]),
    (" >= ", [" > ", " < "]),
    (" == ", [" != "]),
    (" != ", [" == "]),
    (" && ", [" || "]),
    (" || ", [" && "]),
    (" + ", [" - "]),
    (" - ", [" + "]),
    (" += ", [" = ", " -= "]),
    (" + 1", [""]),
    (" - 1", [""]),
    ("true", ["false"]),
    ("false", ["true"]),
    ("std::min(", ["std::max("]),
    ("std::max(", ["std::min("]),
]


def blank_literals(line: str) -> str:
    """The line with strings, characters and what is behind // overwritten by spaces."""
    line = re.sub(r'"(\\.|[^"\\])*"|\'(\\.|[^\'\\])\'', lambda m: " " * len(m.group()), line)
    at = line.find("//")
    return line if at < 0 else line[:at] + " " * (len(line) - at)


def mutations_of(line: str):
    """All (what, changed line) for one line."""
    code = blank_literals(line)
    if NOT_CODE.match(code) or not code.strip():
        return
    for old, news in OPERATORS:
        at = code.find(old)
        while at >= 0:
            word = old[0].isalpha()
            bounded = not word or not (code[at - 1].isalnum() or code[at - 1] == "_")
            # A template's arguments and a lambda's are not comparisons.
            if bounded and not (old in (" < ", " > ") and "template" in code):
                for new in news:
                    yield f"'{old.strip()}' -> '{new.strip()}'", line[:at] + new + line[at + len(old):]
            at = code.find(old, at + 1)
    condition = re.match(r"^(\s*(?:\} else )?(?:if|while) \()(.*)(\) \{)$", code)
    if condition and "=" not in re.sub(r"[=!<>]=", "", condition.group(2)):
        begin, end = condition.end(1), condition.end(2)
        yield "condition negated", f"{line[:begin]}!({line[begin:end]}){line[end:]}"
    statement = STATEMENT.match(code)
    if statement and not code.strip().startswith(("return", "co_return", "throw", "auto ", "const ")):
        yield f"left out: {line.strip()}", statement.group(1) + ";"
    if re.match(r"^\s+(break|continue);$", code):
        yield f"left out: {line.strip()}", re.sub(r"(break|continue);", ";", line)
    throws = re.match(r"^(\s+)throw;$", code)
    if throws:
        yield "left out: throw;", throws.group(1) + ";"


def name_of(source, number, what, changed) -> str:
    shown = "" if what.startswith("left out") else f": {changed.strip()}"
    return f"{source}:{number + 1}: {what}{shown}"


def all_mutants(tree: Path):
    for source in SOURCES:
        for number, line in enumerate((tree / source).read_text().split("\n")):
            for what, changed in mutations_of(line):
                if changed != line:
                    yield source, number, what, changed


def choose(mutants, count, seed):
    """In an order that takes from every source in turn, at random places."""
    by_source = {}
    for mutant in mutants:
        by_source.setdefault(mutant[0], []).append(mutant)
    rng = random.Random(seed)
    weighted = []
    for of_one in by_source.values():
        rng.shuffle(of_one)
        weighted += [((i + rng.random()) / len(of_one), mutant) for i, mutant in enumerate(of_one)]
    # Each prefix has about the same share of every source, so a count is a fair sample.
    return [mutant for _, mutant in sorted(weighted, key=lambda pair: pair[0])]


def copy_tree(to: Path):
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        source, target = ROOT / name, to / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy2(source, target)


def build(directory: Path, jobs: int) -> bool:
    made = subprocess.run(["ninja", "-C", directory, f"-j{jobs}", *TARGETS],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (directory / "last-build.log").write_bytes(made.stdout)
    return made.returncode == 0


def killer(directory: Path, patience: float):
    """The test that failed, or None."""
    for test in TESTS:
        name = test[0]
        command = [str(directory / name), *test[1:]]
        with subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True) as run:
            try:
                output, _ = run.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, 9)
                run.communicate()
                return f"{name}: no end"
        if run.returncode != 0:
            (directory / "last-test.log").write_bytes(output)
            return f"{name}: exit status {run.returncode}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=60, help="mutants that are tried (60)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--least", type=float, default=95, metavar="PERCENT",
                        help="fails where fewer are killed (95)")
    parser.add_argument("--source", action="append", help="only this source; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants",
                        help="where the copy is made (build/mutants)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    wanted = parser.parse_args()
    if wanted.source:
        unknown = set(wanted.source) - set(SOURCES)
        if unknown:
            parser.error(f"no source of durability: {', '.join(sorted(unknown))}")
        SOURCES[:] = wanted.source

    mutants = choose(all_mutants(ROOT), wanted.count, wanted.seed)
    if wanted.list:
        for source, number, what, changed in mutants[:wanted.count]:
            print(name_of(source, number, what, changed))
        return 0

    tree, directory = wanted.work / "tree", wanted.work / "build"
    copy_tree(tree)
    if not (directory / "build.ninja").exists():
        subprocess.run(["meson", "setup", directory, tree, "-Dbuildtype=debug", "-Ddebug=false",
                        "-Ddemos=false"], check=True, stdout=subprocess.DEVNULL)
    if not build(directory, wanted.jobs):
        sys.exit(f"the tree does not build: {directory / 'last-build.log'}")
    began = time.monotonic()
    if failed := killer(directory, 600):
        sys.exit(f"the tests fail without a mutant, {failed}: {directory / 'last-test.log'}")
    patience = 10 + 3 * (time.monotonic() - began)

    killed, survivors, tried = 0, [], 0
    for source, number, what, changed in mutants:
        if tried == wanted.count:
            break
        path = tree / source
        original = path.read_text()
        lines = original.split("\n")
        where = name_of(source, number, what, changed)
        lines[number] = changed
        try:
            path.write_text("\n".join(lines))
            if not build(directory, wanted.jobs):
                continue  # no program, so no mutant
            tried += 1
            by = killer(directory, patience)
        finally:
            path.write_text(original)
        killed += by is not None
        print(f"{tried:4} {'killed  ' if by else 'SURVIVED'} {where}{f'   ({by})' if by else ''}",
              flush=True)
        if not by:
            survivors.append(where)
    share = 100 * killed / tried if tried else 0
    print(f"\n{killed} of {tried} mutants killed, {share:.1f} %")
    for where in survivors:
        print(f"  survived: {where}")
    return 0 if tried and share >= wanted.least else 1


if __name__ == "__main__":
    sys.exit(main())
