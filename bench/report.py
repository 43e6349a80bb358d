#!/usr/bin/env python3
"""Merges what the benches measured into bench-report.json and bench-report.html.

usage: report.py [--out PREFIX] PART.json...

Each part is what one bench wrote with --json. The page is self-contained: its charts are inline
SVG, it loads nothing, and it follows the reader's choice of a light or a dark screen.
"""

import argparse
import html
import json
import math
import os
import sys

STYLE = """
:root { color-scheme: light dark; --page: #fbfaf7; --text: #22252a; --faint: #6a6f78;
  --line: #e3e0d9; --mark: #22252a; --sapwood: #c2601a; --first: #356aa6; --second: #84a9d4;
  --third: #9a9ea7; --limit: #c3c5ca; --good: #2c7a3f; --bad: #b3352b; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --text: #e7e5e0; --faint: #9da1a9;
  --line: #2e3238; --mark: #f4f2ed; --sapwood: #ee8d42; --first: #6aa2e0; --second: #3f699b;
  --third: #7b808a; --limit: #4d525b; --good: #6cc483; --bad: #f0837a; } }
body { background: var(--page); color: var(--text); margin: 2.5rem auto; max-width: 60rem;
  padding: 0 1.25rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.3rem; margin: 3rem 0 .3rem; }
h3 { font-size: 1rem; margin: 2rem 0 .4rem; } p { margin: .3rem 0; max-width: 48rem; }
.faint, figcaption { color: var(--faint); font-size: .875rem; }
figure { margin: 1.5rem 0; } figcaption { margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); } svg text.faint { fill: var(--faint); font-size: 12px; }
svg text.group { font-weight: 600; }
.grid { stroke: var(--line); } .spread { stroke: var(--text); opacity: .55; }
.mark { stroke: var(--mark); stroke-width: 2.5; }
.sapwood { fill: var(--sapwood); } .first { fill: var(--first); }
.second { fill: var(--second); } .third { fill: var(--third); }
.limit { fill: var(--limit); } .part { opacity: .5; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums;
  margin: .6rem 0; } th { font-weight: 600; border-bottom: 1px solid var(--faint); }
td, th { padding: .15rem .9rem .15rem 0; text-align: right; }
td { border-bottom: 1px solid var(--line); }
td.text, th.text { text-align: left; } .good { color: var(--good); } .bad { color: var(--bad); }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--faint); font-size: .875rem; }
.scroll { overflow-x: auto; }
"""


def number(value):
    """Three digits that matter, thousands separated by a thin space."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\u2009")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def count(value):
    return f"{value:,}".replace(",", "\u2009")


class Axis:
    """Maps values to x coordinates. A logarithmic axis starts at `low`, a linear one at zero."""

    def __init__(self, high, left, right, logarithmic=False, low=1.0):
        self.left, self.right, self.logarithmic = left, right, logarithmic
        if logarithmic:
            first = math.floor(math.log10(low))
            last = max(math.ceil(math.log10(high)), first + 1)
            self.low, self.high = 10.0**first, 10.0**last
            self.ticks = [10.0**i for i in range(first, last + 1)]
        else:
            step = 10.0 ** math.floor(math.log10(high or 1))
            step = next(s for s in (step / 5, step / 2, step, step * 2) if high / s <= 8)
            self.low, self.high = 0.0, math.ceil(high / step) * step
            self.ticks = [i * step for i in range(round(self.high / step) + 1)]

    def x(self, value):
        if self.logarithmic:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return self.left + min(share, 1) * (self.right - self.left)


class Bar:
    """One row of a chart. `parts` are stacked from the left; `mark` is what to reach."""

    def __init__(self, label, parts, color, spread=None, mark=None, text=None):
        self.label, self.parts, self.color = label, parts, color
        self.spread, self.mark = spread, mark
        self.text = text if text is not None else number(sum(parts))


def chart(groups, unit, logarithmic=False, label_width=250, origin=0.0, cap=math.inf):
    """Horizontal bars as SVG. `groups` are pairs of a name and its bars.

    Bars grow from `origin` to either side. What is longer than `cap` is cut off, with an arrow.
    """
    width, bar_height, bar_step, group_gap, head = 960, 15, 20, 12, 22
    bars = [bar for _, group in groups for bar in group]
    reach = [max(sum(b.parts), b.mark or 0, b.spread[1] if b.spread else 0) for b in bars]
    lowest = min(min(sum(b.parts), b.mark or math.inf) for b in bars)
    axis = Axis(min(max(reach), cap), label_width, width - 78, logarithmic, min(max(lowest, 1e-3), 1.0))
    height = head + len(bars) * bar_step + (len(groups) - 1) * group_gap + 10

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(unit)}">']
    for tick in axis.ticks:
        x = axis.x(tick)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{head - 4}" y2="{height}"/>')
        label = f"{tick:,.10g}".replace(",", "\u2009")
        out.append(f'<text class="faint" x="{x:.1f}" y="{head - 9}" text-anchor="middle">'
                   f"{label}</text>")
    out.append(f'<text class="faint" x="0" y="{head - 9}">{html.escape(unit)}</text>')

    y = head
    for name, group in groups:
        for i, bar in enumerate(group):
            base = y + bar_height / 2 + 4
            if i == 0:
                out.append(f'<text class="group" x="0" y="{base}">{html.escape(name)}</text>')
            out.append(f'<text x="{label_width - 10}" y="{base}" text-anchor="end">'
                       f"{html.escape(bar.label)}</text>")
            start, done = axis.x(origin), 0
            for order, part in enumerate(bar.parts):
                done += part
                end = axis.x(done)
                kind = bar.color + (" part" if order else "")
                out.append(f'<rect class="{kind}" x="{min(start, end):.1f}" y="{y}" '
                           f'width="{max(abs(end - start), 1):.1f}" height="{bar_height}"/>')
                start = end
            text_x = max(start, axis.x(origin))
            if done > axis.high:
                out.append(f'<path class="{bar.color} part" d="M{start + 3:.1f} {y}l7 '
                           f'{bar_height / 2}l-7 {bar_height / 2}z"/>')
                text_x += 9
            elif bar.spread:
                low, high = axis.x(bar.spread[0]), axis.x(bar.spread[1])
                middle = y + bar_height / 2
                out.append(f'<path class="spread" fill="none" d="M{low:.1f} {middle - 3}v6'
                           f'M{low:.1f} {middle}H{high:.1f}M{high:.1f} {middle - 3}v6"/>')
                text_x = max(text_x, high)
            if bar.mark is not None:
                x = axis.x(bar.mark)
                out.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" '
                           f'y2="{y + bar_height + 3}"/>')
                if text_x - 2 <= x <= text_x + 60:
                    text_x = x
            out.append(f'<text x="{text_x + 6:.1f}" y="{base}">{html.escape(bar.text)}</text>')
            y += bar_step
        y += group_gap
    out.append("</svg>")
    return "\n".join(out)


def figure(title, picture, caption):
    return (f"<figure><h3>{html.escape(title)}</h3>\n{picture}\n"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def table(heads, rows):
    """`heads` that start with a space stand over text, the others over numbers."""

    def cell(tag, head, content):
        kind = ' class="text"' if head.startswith(" ") else ""
        return f"<{tag}{kind}>{content}</{tag}>"

    lines = ['<div class="scroll"><table><tr>']
    lines += [cell("th", head, html.escape(head.strip())) for head in heads]
    for row in rows:
        lines.append("</tr>\n<tr>")
        lines += [cell("td", head, content) for head, content in zip(heads, row)]
    lines.append("</tr></table></div>")
    return "".join(lines)


def details(title, content):
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def judged(reached):
    """No verdict on a run that measures nothing well: bench/run --quick."""
    if "SAPWOOD_BENCH_QUICK" in os.environ:
        return ""
    return '<span class="good">reached</span>' if reached else '<span class="bad">missed</span>'


def spread_of(summary, scale=1.0):
    return summary["min"] * scale, summary["max"] * scale


LIBRARY_COLORS = {"sapwood": "sapwood", "asio": "first", "asio tuned": "second"}


def core_section(part):
    marks = {mark["case"]: mark for mark in part["marks"]}
    cases = list(dict.fromkeys(row["case"] for row in part["rows"]))
    out = ["<h2>One step of a coroutine program</h2>",
           "<p>Wall time per operation, median of "
           f"{part['rounds']} interleaved rounds. <em>asio</em> is written as its documentation "
           "shows it; <em>asio tuned</em> as an expert with one thread writes it: concurrency "
           "hint 1, a concrete executor, a channel tried before suspending.</p>"]

    groups = []
    for case in cases:
        bars = []
        for row in part["rows"]:
            if row["case"] != case:
                continue
            ours = row["library"] == "sapwood"
            bars.append(Bar(row["library"], [row["ns"]["median"]],
                            LIBRARY_COLORS.get(row["library"], "third"), spread_of(row["ns"]),
                            marks.get(case, {}).get("ns") if ours else None))
        groups.append((case, bars))
    out.append(figure("Nanoseconds per operation, less is better",
                      chart(groups, "ns, logarithmic", logarithmic=True, label_width=210),
                      "Bars: median. Thin lines: fastest and slowest round. Upright strokes: the "
                      "marks to reach. Each step of the scale is ten times the one before."))

    ratios = [r for r in part["ratios"] if r["peer"].startswith("asio")]
    if ratios:
        groups = []
        for case in cases:
            groups.append((case, [
                Bar("than " + r["peer"], [r["times"]["median"]],
                    "sapwood" if r["peer"] == "asio" else "third", spread_of(r["times"]),
                    marks.get(case, {}).get("times") if r["peer"] == "asio" else None)
                for r in ratios if r["case"] == case]))
        out.append(figure("How many times faster sapwood is, more is better",
                          chart(groups, "times, logarithmic", logarithmic=True, label_width=210,
                                origin=1.0),
                          "Ratio within a round, median of the rounds. Left of 1 sapwood is "
                          "slower. Upright strokes: the marks to reach."))
        rows = []
        for r in ratios:
            mark = marks.get(r["case"], {}).get("times") if r["peer"] == "asio" else None
            if mark is not None:
                median = r["times"]["median"]
                rows.append([r["case"], number(median), number(mark), judged(median >= mark)])
        out.append(table([" case", "times faster than asio", "mark", " "], rows))
    else:
        out.append('<p class="faint">This build had no sapwood rows.</p>')

    out.append(details("All numbers", table(
        [" case", " library", "median ns", "min ns", "max ns", "operations"],
        [[row["case"], row["library"], *(number(row["ns"][k]) for k in ("median", "min", "max")),
          count(row["operations"])] for row in part["rows"]])))
    return out


KIND_COLORS = {"sapwood": "sapwood", "threads": "first", "limit": "limit"}


def writers_section(part):
    rows = part["rows"]
    writers = list(dict.fromkeys(row["writer"] for row in rows))
    threaded = [row for row in rows if row["kind"] == "threads"]
    best = max((row["records_per_second"]["median"] for row in threaded), default=None)

    def groups(make_bar):
        return [(writer, [make_bar(row) for row in rows if row["writer"] == writer])
                for writer in writers]

    def producers(row):
        noun = "coroutine" if row["kind"] == "sapwood" else "thread"
        return f"{count(row['producers'])} {noun}{'s' if row['producers'] > 1 else ''}"

    def rate_bar(row):
        rate = row["records_per_second"]
        mark = None
        if row["kind"] == "sapwood" and best is not None:
            mark = best * part["marks"]["times_best_threaded"] / 1e6
        return Bar(producers(row), [rate["median"] / 1e6], KIND_COLORS[row["kind"]],
                   spread_of(rate, 1e-6), mark)

    def cpu_bar(row):
        mark = part["marks"]["cpu_ns"] if row["kind"] == "sapwood" else None
        user, system = row["user_ns"]["median"], row["system_ns"]["median"]
        return Bar(producers(row), [user, system], KIND_COLORS[row["kind"]], None, mark,
                   number(row["cpu_ns"]["median"]))

    def memory_bar(row):
        return Bar(producers(row), [row["peak_kib"]["median"] / 1024], KIND_COLORS[row["kind"]])

    out = ["<h2>Many producers, one file</h2>",
           f"<p>{count(part['records'])} records from all producers together into one file on "
           f"{html.escape(part['machine'].get('file system', 'an unknown file system'))}, each "
           f"writer in a process of its own, median of {part['rounds']} interleaved rounds. Every "
           "file was checked line by line. <em>memcpy limit</em> only copies lines that were "
           "formatted before: no writer can beat it.</p>",
           figure("Million records per second until the file is complete, more is better",
                  chart(groups(rate_bar), "M records/s"),
                  "Thin lines: fastest and slowest round. Upright strokes: the mark, "
                  f"{part['marks']['times_best_threaded']:g} times the best threaded writer."),
           figure("CPU time per record, less is better",
                  chart(groups(cpu_bar), "ns", cap=10 * part["marks"]["cpu_ns"]),
                  "Full colour: user. Pale: system. All threads of the process together. Upright "
                  f"strokes: the mark, {part['marks']['cpu_ns']:g} ns. Arrows: longer than the "
                  "chart is wide."),
           figure("Peak memory of the process",
                  chart([(w, [memory_bar(r) for r in rows if r["writer"] == w]) for w in writers
                         if not any(r["kind"] == "limit" for r in rows if r["writer"] == w)],
                        "MiB"),
                  "Resident, at its highest. The memcpy limit is left out: it holds all lines.")]

    if part["verdicts"]:
        at_most = {"cpu_ns", "waiting_bytes"}
        out.append(table([" sapwood", "median", "mark", " "], [
            [html.escape(v["claim"]), number(v["value"]), number(v["mark"]),
             judged(v["value"] <= v["mark"] if v["name"] in at_most else v["value"] >= v["mark"])]
            for v in part["verdicts"]]))
    else:
        out.append('<p class="faint">This build had no sapwood rows.</p>')

    out.append(details("All numbers", table(
        [" writer", "producers", "records/s", "min", "max", "times best threaded", "CPU ns",
         "user ns", "system ns", "peak MiB"],
        [[html.escape(row["writer"]), count(row["producers"]),
          *(number(row["records_per_second"][k]) for k in ("median", "min", "max")),
          number(row["times_best_threaded"]["median"]) if "times_best_threaded" in row else "",
          *(number(row[k]["median"]) for k in ("cpu_ns", "user_ns", "system_ns")),
          number(row["peak_kib"]["median"] / 1024)] for row in rows])))
    return out


ECHO_COLORS = {"sapwood": "sapwood", "by hand": "first", "asio": "second", "model": "third"}


def verdict_table(verdicts, heads=(" sapwood",), cells=lambda v: (html.escape(v["claim"]),)):
    """All of these marks are limits."""
    return table([*heads, "median", "mark", " "], [
        [*cells(v), number(v["value"]), number(v["mark"]), judged(v["value"] <= v["mark"])]
        for v in verdicts])


def echo_section(part):
    rows = part["rows"]
    loads = list(dict.fromkeys(row["load"] for row in rows))

    def groups(make_bar):
        return [(load, [make_bar(row) for row in rows if row["load"] == load]) for load in loads]

    def bar(row, parts, spread=None, text=None):
        return Bar(row["server"], parts, ECHO_COLORS[row["kind"]], spread, None, text)

    by_hand = [row["cpu_ns"]["median"] for row in rows if row["kind"] == "by hand"]
    cap = 3 * max(by_hand) if by_hand else math.inf
    out = ["<h2>A server of many connections</h2>",
           "<p>Each connection sends a message, waits for its answer, checks every byte and sends "
           "the next. The server has a CPU of its own, and so has who loads it, who is often the "
           f"limit. Median of {part['rounds']} interleaved rounds. <em>liburing</em> and "
           "<em>epoll</em> are written by hand; the models are those of demos/server_models.</p>",
           figure("CPU time of the server per request, less is better",
                  chart(groups(lambda row: bar(row, [row["user_ns"], row["system_ns"]],
                                               text=number(row["cpu_ns"]["median"]))),
                        "ns", cap=cap),
                  "Full colour: user, as the kernel samples it. Pale: system. Arrows: longer than "
                  "the chart is wide."),
           figure("Requests per second, more is better",
                  chart(groups(lambda row: bar(
                      row, [row["requests_per_second"]["median"] / 1e3],
                      spread_of(row["requests_per_second"], 1e-3))), "thousand/s"),
                  "Thin lines: slowest and fastest round."),
           figure("The 999th of 1000 requests is answered after, less is better",
                  chart(groups(lambda row: bar(row, [row["p999_us"]["median"]],
                                               spread_of(row["p999_us"]))),
                        "us, logarithmic", logarithmic=True),
                  "Thin lines: fastest and slowest round.")]
    if part["verdicts"]:
        out.append(verdict_table(part["verdicts"], (" connections", " sapwood"),
                                 lambda v: (html.escape(v["load"]), html.escape(v["claim"]))))

    def times(row, key):
        return number(row[key]["median"]) if key in row else ""

    out.append(details("All numbers", table(
        [" connections", " server", "requests/s", "p50 us", "p99 us", "p99.9 us", "CPU ns", "min",
         "max", "user ns", "system ns", "times liburing", "times epoll"],
        [[html.escape(row["load"]), html.escape(row["server"]),
          *(number(row[k]["median"])
            for k in ("requests_per_second", "p50_us", "p99_us", "p999_us", "cpu_ns")),
          number(row["cpu_ns"]["min"]), number(row["cpu_ns"]["max"]), number(row["user_ns"]),
          number(row["system_ns"]), times(row, "times_liburing"), times(row, "times_epoll")]
         for row in rows])))
    return out


def memory_section(part):
    rows = part["rows"]
    kinds = list(dict.fromkeys(row["what"] for row in rows))

    def color(row):
        first = row["library"].startswith("asio") and row["library"] != "asyncio"
        return "sapwood" if row["library"] == "sapwood" else "first" if first else "third"

    groups = [(kind, [Bar(row["library"], [row["bytes"]["median"]], color(row),
                          spread_of(row["bytes"])) for row in rows if row["what"] == kind])
              for kind in kinds]
    return ["<h2>Memory of what waits</h2>",
            "<p>Bytes per idle connection of a server, without the kernel's, and per sleeping "
            f"task. Median of {part['rounds']} interleaved rounds.</p>",
            figure("Bytes each, less is better", chart(groups, "bytes"),
                   "Thin lines: least and most."),
            verdict_table(part["verdicts"]),
            details("All numbers", table(
                [" what", " library", "how many", "bytes", "min", "max", "CPU ns, first", "second"],
                [[html.escape(row["what"]), html.escape(row["library"]), count(row["count"]),
                  *(number(row["bytes"][k]) for k in ("median", "min", "max")),
                  *(number(row[k]["median"]) if k in row else ""
                    for k in ("first_ns", "second_ns"))] for row in rows]))]


LOGGER_COLORS = {"sapwood": "sapwood", "peer": "first", "limit": "limit"}


def logger_section(part):
    rates, latencies = part["rates"], part["latencies"]
    messages = list(dict.fromkeys(row["message"] for row in rates))

    def groups(message, make_bar):
        rows = [row for row in rates if row["message"] == message]
        producers = list(dict.fromkeys(row["producers"] for row in rows))
        return [(kind, [make_bar(row) for row in rows if row["producers"] == kind])
                for kind in producers]

    def rate_bar(row):
        rate = row["records_per_second"]
        return Bar(row["logger"], [rate["median"] / 1e6], LOGGER_COLORS[row["kind"]],
                   spread_of(rate, 1e-6))

    out = ["<h2>Loggers</h2>",
           f"<p>{count(part['records'])} lines from all producers together into one file, with the "
           "time to the millisecond, thread and level, median of "
           f"{part['rounds']} interleaved rounds. Every file was checked line by line. <em>memcpy "
           "limit</em> only copies lines that were formatted before.</p>"]
    for message in messages:
        out.append(figure(f"Million lines per second, message: {message}, more is better",
                          chart(groups(message, rate_bar), "M lines/s"),
                          "Thin lines: slowest and fastest round."))
    if latencies:
        out.append(figure(
            "Nanoseconds of one call, less is better",
            chart([(f"{name}, CPUs: {cpus}",
                    [Bar(row["logger"], [row[key]["median"]], LOGGER_COLORS[row["kind"]],
                         spread_of(row[key])) for row in latencies if row["cpus"] == cpus])
                   for cpus in dict.fromkeys(row["cpus"] for row in latencies)
                   for name, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))],
                  "ns, logarithmic", logarithmic=True, label_width=300),
            "One thread, bursts of 20 calls, 500 us apart. Nothing is subtracted: what the timer "
            "and the machine take is the row \u201cnothing\u201d."))
    if part["verdicts"]:
        out.append(table([" sapwood", "median", "mark", " "], [
            [html.escape(v["claim"]), number(v["value"]), number(v["mark"]),
             judged(v["value"] <= v["mark"] if v["limit"] == "at most"
                    else v["value"] >= v["mark"])] for v in part["verdicts"]]))
    out.append(details("All numbers", table(
        [" message", " producers", " logger", "lines/s", "min", "max", "times best peer", "CPU ns",
         "user ns", "system ns"],
        [[row["message"], row["producers"], html.escape(row["logger"]),
          *(number(row["records_per_second"][k]) for k in ("median", "min", "max")),
          number(row["times_best_peer"]) if "times_best_peer" in row else "",
          *(number(row[k]["median"]) for k in ("cpu_ns", "user_ns", "system_ns"))]
         for row in rates]) + table(
        [" logger", " CPUs", "p50 ns", "p99 ns", "p99.9 ns", "worst ns"],
        [[html.escape(row["logger"]), row["cpus"],
          *(number(row[k]["median"]) for k in ("p50", "p99", "p999", "worst"))]
         for row in latencies])))
    return out


def durable_section(part):
    rows = part["rows"]
    colors = {"sapwood": "sapwood", "preallocated": "second", "threads": "first", "floor": "limit",
              "direct floor": "limit"}
    groups = [(writer, [Bar(f"{count(row['producers'])} producers",
                            [row["records_per_second"]["median"] / 1e3], colors[writer],
                            spread_of(row["records_per_second"], 1e-3))
                        for row in rows if row["writer"] == writer])
              for writer in dict.fromkeys(row["writer"] for row in rows)]
    out = ["<h2>Durable records</h2>",
           "<p>Each producer waits until its record is on disk before it writes the next; on "
           f"{html.escape(part['machine'].get('file system', 'an unknown file system'))}, median of "
           f"{part['rounds']} interleaved rounds. Every record that was acknowledged was looked for "
           "in the file. <em>floor</em> is one thread with write and fdatasync, <em>direct floor</em> one that "
           "writes past the page cache over zeros, as sapwood does where space is <em>preallocated</em>.</p>",
           figure("Thousand durable records per second, more is better",
                  chart(groups, "k records/s, logarithmic", logarithmic=True),
                  "Thin lines: slowest and fastest round.")]
    if part["verdicts"]:
        out.append(table([" sapwood", "median", "mark", " "], [
            [html.escape(v["claim"]), number(v["value"]), number(v["mark"]),
             judged(v["value"] >= v["mark"])] for v in part["verdicts"]]))
    out.append(details("All numbers", table(
        [" writer", "producers", "records/s", "min", "max", "CPU ns"],
        [[row["writer"], count(row["producers"]),
          *(number(row["records_per_second"][k]) for k in ("median", "min", "max")),
          number(row["cpu_ns"]["median"])] for row in rows])))
    return out


def collector_section(part):
    rows = part["rows"]
    return ["<h2>The collector</h2>",
            "<p>One core of <code>sapwood serve</code>, loaded from another over loopback, with records of "
            f"130 bytes; median of {part['rounds']} rounds. Every record that was acknowledged was "
            "looked for in the log.</p>",
            table([" load", " figure", "median", "min", "max", "mark", " "], [
                [html.escape(row["load"]), html.escape(row["figure"]),
                 *(number(row["value"][k]) for k in ("median", "min", "max")),
                 number(row["mark"]) if "mark" in row else "",
                 judged(row["value"]["median"] <= row["mark"] if row["limit"] == "at most"
                        else row["value"]["median"] >= row["mark"]) if "mark" in row else ""]
                for row in rows])]


def actions_section(part):
    return ["<h2>Actions</h2>",
            "<p>A log of JSON into a file: CPU time in all, and of the thread that makes the records, per "
            f"action or message; wall time per resumption. Median of {part['rounds']} interleaved rounds. Every "
            "line was counted.</p>",
            table([" sapwood", "median", "at most", " "], [
                [html.escape(v["claim"]), number(v["value"]), number(v["mark"]),
                 judged(v["value"] <= v["mark"])] for v in part["verdicts"]]),
            details("All numbers", table(
                [" case", "ns", "its thread, ns"],
                [[html.escape(row["case"]), number(row["all_ns"]), number(row["thread_ns"])]
                 for row in part["rows"]]))]


AMQP_COLORS = {"sapwood": "sapwood", "pika": "first"}


def amqp_section(part):
    rows = part["rows"]
    groups = [(library, [Bar(row["case"], [row["messages_per_second"]["median"] / 1e3],
                             AMQP_COLORS.get(library, "third"),
                             spread_of(row["messages_per_second"], 1e-3))
                         for row in rows if row["library"] == library])
              for library in dict.fromkeys(row["library"] for row in rows)]
    return ["<h2>By way of RabbitMQ</h2>",
            f"<p>{count(part['messages'])} messages of 130 bytes through a broker on the same "
            f"machine, which shares its CPUs; median of {part['rounds']} interleaved rounds. What "
            "was consumed into a log was looked for there.</p>",
            figure("Thousand messages per second, more is better",
                   chart(groups, "thousand/s", label_width=330),
                   "Thin lines: slowest and fastest round."),
            table([" sapwood", "median", "mark", " "], [
                [html.escape(v["claim"]), number(v["value"]), number(v["mark"]),
                 judged(v["value"] <= v["mark"] if v["limit"] == "at most"
                        else v["value"] >= v["mark"])] for v in part["verdicts"]]),
            details("All numbers", table(
                [" library", " what", "messages/s", "min", "max", "CPU us", "broker's us",
                 "broker's CPUs", "idle CPUs"],
                [[html.escape(row["library"]), html.escape(row["case"]),
                  *(number(row["messages_per_second"][k]) for k in ("median", "min", "max")),
                  *(number(row[k]["median"])
                    for k in ("client_us", "broker_us", "broker_cpus", "idle_cpus"))]
                 for row in rows]))]


SECTIONS = {"core": core_section, "writers": writers_section, "echo": echo_section,
            "memory": memory_section, "logger": logger_section, "durable": durable_section,
            "collector": collector_section, "actions": actions_section,
            "amqp": amqp_section}


def page(parts):
    machine = {}
    for part in parts:
        for name, content in part["machine"].items():
            machine.setdefault(name, content)
    facts = "".join(f'<tr><td class="text faint">{html.escape(name)}</td>'
                    f'<td class="text">{html.escape(content)}</td></tr>'
                    for name, content in machine.items())
    body = ["<h1>sapwood, measured</h1>",
            '<p class="faint">'
            f"{html.escape(machine.get('cpu', ''))}, {html.escape(machine.get('cpus', ''))}, "
            f"{html.escape(machine.get('kernel', ''))}, {html.escape(machine.get('compiler', ''))},"
            f" {html.escape(machine.get('date', ''))}</p>",
            details("The machine", f"<table>{facts}</table>")]
    for part in parts:
        body += SECTIONS[part["bench"]](part)
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>sapwood, measured</title>\n<style>{STYLE}</style></head>\n<body>\n"
            + "\n".join(body) + "\n</body></html>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="+", metavar="PART.json")
    parser.add_argument("--out", default="bench-report", metavar="PREFIX")
    arguments = parser.parse_args()

    parts = []
    for path in arguments.parts:
        try:
            with open(path, encoding="utf-8") as file:
                part = json.load(file)
        except (OSError, ValueError) as error:
            sys.exit(f"report.py: cannot read {path}: {error}")
        if part.get("bench") not in SECTIONS:
            sys.exit(f"report.py: {path} is not what a bench of this tree writes")
        parts.append(part)

    with open(arguments.out + ".json", "w", encoding="utf-8") as file:
        json.dump({"parts": parts}, file, indent=1)
        file.write("\n")
    with open(arguments.out + ".html", "w", encoding="utf-8") as file:
        file.write(page(parts))
    print(f"wrote {arguments.out}.html and {arguments.out}.json")


if __name__ == "__main__":
    main()
