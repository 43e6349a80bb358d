#!/usr/bin/env python3
"""Breaks the durability code in many small ways, one at a time, and sees whether the tests notice.

A mutant is a copy of the tree in which one place of one source is changed: a comparison shifted, a
condition negated, a statement left out. It is killed if the tests fail, crash or hang; one that
survives is a claim that no test makes. A change that can make no difference is no mutant: those
that somebody has looked at stand in equivalents.toml, each with its reason. The copy is made and
built below --work; nothing in the tree itself is touched. The same --seed makes the same mutants.
"""
import argparse
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What a mutation may touch: the code by which records become durable, stay so, and are found. Not
# log_backend.cpp, which begins and ends a logger's thread: its tests are those of threads, and long.
SOURCES = [
    "sinks/batch.cpp",
    "sinks/crash_file.cpp",
    "sinks/durable_writer.cpp",
    "sinks/durable_writer_crash.cpp",
    "sinks/durable_writer_disk.cpp",
    "sinks/file_sink.cpp",
    "sinks/file_sink_name.cpp",
    "sinks/file_sink_preallocated.cpp",
    "sinks/file_sink_recovery.cpp",
    "sinks/file_sink_segment.cpp",
    "sinks/input_files.cpp",
    "sinks/log_consumer_crash.cpp",
    "sinks/log_door.cpp",
    "sinks/log_output_write.cpp",
    "sinks/log_tail.cpp",
    "sinks/log_verifier.cpp",
    "sinks/numbered_line.cpp",
    "sinks/open_log_file.cpp",
    "sinks/pipeline_consumer.cpp",
    "sinks/pipeline_disk.cpp",
    "sinks/pipeline_health.cpp",
    "sinks/preallocation.cpp",
    "sinks/random_backoff.cpp",
    "sinks/receipts.cpp",
    "sinks/rotated_files.cpp",
    "sinks/rotating_log_sink.cpp",
    "sinks/rotating_log_sink_house.cpp",
    "sinks/write_behind.cpp",
]

# What is built, and what must fail: each is run in the build directory, cheap ones first.
TARGETS = ["tests/sinks_tests", "tests/sim"]
SUITES = [
    "batch", "durable_others", "durable_writer", "durable_writer_crash", "durable_writer_cut",
    "durable_writer_disk",
    "file_log_sink", "file_sink", "file_sink_name", "file_sink_others", "file_sink_recovery",
    "log_door", "log_verifier", "numbered_line", "pipeline", "pipeline_account", "pipeline_disk",
    "pipeline_linger", "preallocated_log", "receipts", "retention", "rotated_files",
    "rotating_log_sink", "rotation_schedule", "stream_log_sink", "write_behind",
]
# Of the logger that writes to durable files, and of its crashes: longer ones.
LOGGER_SUITES = ["log_crash", "log_faults", "log_full", "log_output", "logger"]
TESTS = [
    ["tests/sim", "--seeds", "300"],
    ["tests/sinks_tests", "--abort-after=1", f"--test-suite={','.join(SUITES)}"],
    ["tests/sinks_tests", "--abort-after=1", "--test-suite=log_fork"],
    ["tests/sinks_tests", "--abort-after=1", f"--test-suite={','.join(LOGGER_SUITES)}"],
    ["tests/sim", "--seeds", "2000", "--scenario", "durable"],
]

# A test that computes for so many times as long as without a mutant has no end, and neither has one
# that computes nothing for so many seconds: a machine that is busy with something else kills nothing.
PATIENCE = 5
IDLE_SECONDS_MAX = 60
MEMORY_MAX = 4 << 30

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


def made_mistakes(lines):
    """Which lines are there for tests of the simulator only, that make a mistake on purpose: those
    of a block behind `if (makes(...)) {`, to where it ends."""
    ends_with = None
    for number, line in enumerate(lines):
        if ends_with is None:
            behind = re.match(r"^(\s+)if \((?:detail::)?makes\((?:detail::)?mistake::\w+\)\) \{$", line)
            ends_with = behind.group(1) + "}" if behind else None
        elif line == ends_with:
            ends_with = None
        else:
            yield number


def all_mutants(tree: Path):
    for source in SOURCES:
        lines = (tree / source).read_text().split("\n")
        mistaken = set(made_mistakes(lines))
        for number, line in enumerate(lines):
            if number in mistaken:
                continue
            for what, changed in mutations_of(line):
                if changed != line:
                    yield source, number, what, changed


class Equivalents:
    """Changes that can make no difference, by the text of their line, and so wherever it moves."""

    def __init__(self, tree: Path, of: Path):
        with of.open("rb") as file:
            self.all = tomllib.load(file).get("equivalent", [])
        self.lines = {source: (tree / source).read_text().split("\n") for source in SOURCES}
        self.met = set()

    def reason(self, source, number, changed):
        lines = self.lines[source]
        for index, each in enumerate(self.all):
            if (each["source"] == source and each["line"] == lines[number].strip()
                    and each["mutant"] == changed.strip()
                    # Where the same line stands in several functions: in the one that begins so.
                    and self.function_of(lines, number).startswith(each.get("in", ""))):
                self.met.add(index)
                return each["why"]
        return None

    @staticmethod
    def function_of(lines, number):
        while number > 0 and not re.match(r"^[A-Za-z\[][^;]*[({,]$", lines[number]):
            number -= 1
        return lines[number]

    def stale(self):
        """Entries that no possible mutant meets, among the sources that are looked at."""
        return [each for index, each in enumerate(self.all)
                if index not in self.met and each["source"] in SOURCES]


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
            shutil.copyfile(source, target)  # new, whatever was built of it before
            shutil.copymode(source, target)


# What each build and each test is started by.
LAUNCHER: list[str] = []

def build(directory: Path, jobs: int) -> bool:
    made = subprocess.run([*LAUNCHER, "ninja", "-C", directory, f"-j{jobs}", *TARGETS],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (directory / "last-build.log").write_bytes(made.stdout)
    return made.returncode == 0


def limit_memory():
    """A loop that never ends, and asks for memory each time, is not to take all of the machine's."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))


def seconds_computed(group: int) -> float:
    """By all processes of it that are there, and those that they have waited for."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def run_test(directory: Path, test, patience: float):
    """What went wrong, or None; and for how long it computed."""
    failure, computed, since = None, 0.0, time.monotonic()
    with subprocess.Popen([*LAUNCHER, str(directory / test[0]), *test[1:]], cwd=directory,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True,
                          preexec_fn=limit_memory) as run:
        try:
            while True:
                try:
                    output, _ = run.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    now = seconds_computed(run.pid)
                    if now > computed:
                        computed, since = now, time.monotonic()
                    if computed > patience or time.monotonic() - since > IDLE_SECONDS_MAX:
                        failure = f"{' '.join(test)}: no end"
                        os.killpg(run.pid, 9)
        except BaseException:  # Ctrl-C: it is in a session of its own
            os.killpg(run.pid, 9)
            raise
    if run.returncode != 0:
        failure = failure or f"{' '.join(test)}: exit status {run.returncode}"
        (directory / "last-test.log").write_bytes(output)
    return failure, computed


def killer(directory: Path, patience):
    """The test that failed, or None."""
    for test, limit in zip(TESTS, patience):
        failure, _ = run_test(directory, test, limit)
        if failure:
            return failure
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=60, help="mutants that are tried (60)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--least", type=float, default=95, metavar="PERCENT",
                        help="fails where fewer are killed (95)")
    parser.add_argument("--source", action="append", help="only this source; may be repeated")
    parser.add_argument("--match", action="append", metavar="TEXT",
                        help="those that have this in their name, as in 'sinks/batch.cpp:138:', "
                             "instead of some by seed; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants",
                        help="where the copy is made (build/mutants)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--launcher", default="", metavar="COMMAND",
                        help="what each build and each test is started by: 'nice -n 19', say")
    wanted = parser.parse_args()
    LAUNCHER[:] = wanted.launcher.split()
    if wanted.source:
        unknown = set(wanted.source) - set(SOURCES)
        if unknown:
            parser.error(f"no source of durability: {', '.join(sorted(unknown))}")
        SOURCES[:] = wanted.source

    equivalents = Equivalents(ROOT, Path(__file__).with_name("equivalents.toml"))
    possible = list(all_mutants(ROOT))
    if wanted.match:
        mutants = [each for each in possible
                   if any(text in name_of(*each) for text in wanted.match)]
        wanted.count = len(mutants)
    else:
        mutants = choose(possible, wanted.count, wanted.seed)
    for source, number, _, changed in possible:
        equivalents.reason(source, number, changed)
    stale = equivalents.stale()
    for each in stale:
        print(f"equivalents.toml: nothing is like this any more: {each['source']}: {each['line']}",
              file=sys.stderr)
    if wanted.list:
        for source, number, what, changed in mutants[:wanted.count]:
            reason = equivalents.reason(source, number, changed)
            print(name_of(source, number, what, changed) + (f"   (equivalent: {reason})" if reason
                                                            else ""))
        return 1 if stale else 0

    tree, directory = wanted.work / "tree", wanted.work / "build"
    copy_tree(tree)
    if not (directory / "build.ninja").exists():
        subprocess.run(["meson", "setup", directory, tree, "-Dbuildtype=debug", "-Ddebug=false",
                        "-Ddemos=false", "-Dtools=false"], check=True, stdout=subprocess.DEVNULL)
    if not build(directory, wanted.jobs):
        sys.exit(f"the tree does not build: {directory / 'last-build.log'}")
    patience = []
    for test in TESTS:
        failed, took = run_test(directory, test, 600)
        if failed:
            sys.exit(f"the tests fail without a mutant, {failed}: {directory / 'last-test.log'}")
        patience.append(10 + PATIENCE * took)

    killed, survivors, tried, same = 0, [], 0, 0
    for source, number, what, changed in mutants:
        if tried + same == wanted.count:
            break
        where = name_of(source, number, what, changed)
        if reason := equivalents.reason(source, number, changed):
            same += 1
            print(f"{tried + same:4} the same {where}   ({reason})", flush=True)
            continue
        path = tree / source
        original = path.read_text()
        lines = original.split("\n")
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
        print(f"{tried + same:4} {'killed  ' if by else 'SURVIVED'} {where}"
              f"{f'   ({by})' if by else ''}", flush=True)
        if not by:
            survivors.append(where)
    share = 100 * killed / tried if tried else 0
    print(f"\nseed {wanted.seed}: {tried + same} changes, {same} of them no mutants; "
          f"{killed} of {tried} mutants killed, {share:.1f} %")
    for where in survivors:
        print(f"  survived: {where}")
    return 0 if tried and share >= wanted.least else 1


def interrupt(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Also where it is run in the background, which has Ctrl-C ignored.
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
