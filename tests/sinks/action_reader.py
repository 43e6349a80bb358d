"""Reads a log of actions with nothing of sapwood's, and says what is wrong with it.

usage: action_reader.py PROGRAM REQUESTS [TREE]: runs demos/actions, and reads the log that it has
written; each request is rebuilt, and what hangs below it must be its own. TREE, tools/sapwood, must
show the same trees.

Each task is rebuilt from its records, whatever their order; the numbers of each action's records are
1, 2, 3 and so on, its end's is the last, and says how many there are between. python3-eliot's parser
reads the log of few requests as well; where it is not installed, the rest is checked all the same,
and the test counts as skipped.
"""

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time


def read_log(path):
    with open(path, encoding="utf-8") as log:
        lines = log.readlines()
    records = json.loads("[" + ",".join(lines) + "]")  # sooner than one by one
    require(len(records) == len(lines), "there are lines that are not one record", path)
    return records


def require(condition, what, where=""):
    if not condition:
        sys.exit(f"action_reader: {what}: {where}")


def check_record(record, now):
    require(len(record["task_uuid"]) == 36, "no UUID", record)
    require(abs(record["timestamp"] - now) < 600, "another time", record)
    require(("message_type" in record) != ("action_type" in record), "neither or both", record)
    require(record.get("message_type", record.get("action_type")) == record["message"],
            "another text", record)


def build(records):
    """Actions by task and level: the records directly in them, by number."""
    actions = {}
    now = time.time()
    for record in records:
        check_record(record, now)
        *above, number = record["task_level"]
        inside = actions.setdefault((record["task_uuid"], tuple(above)), {})
        require(number not in inside, "two records in one place", record)
        inside[number] = record
    for uuid, level in list(actions):
        if level:  # in its parent, an action takes the place of its number
            actions.setdefault((uuid, level[:-1]), {})[level[-1]] = (uuid, level)
    return actions


def check_action(key, inside):
    numbers = sorted(inside)
    require(numbers == list(range(1, len(numbers) + 1)), "its numbers have gaps", (key, numbers))
    first, last = inside[1], inside[numbers[-1]]
    require(first["action_status"] == "started", "another start", first)
    require(last["action_status"] in ("succeeded", "failed"), "another end", last)
    require(last["action_type"] == first["action_type"], "two types", (first, last))
    require(last["children"] == len(numbers) - 2, "it has other children", last)
    require(last["duration"] >= 0, "it took less than nothing", last)


def outline(actions, key, depth=0):
    inside = actions[key]
    first, last = inside[1], inside[max(inside)]
    lines = ["  " * depth + first["action_type"] + " " + last.get("outcome", last["action_status"])]
    for number in sorted(inside)[1:-1]:
        child = inside[number]
        if isinstance(child, tuple):
            lines += outline(actions, child, depth + 1)
        else:
            lines.append("  " * (depth + 1) + child["message"])
    return lines


SAVED = """\
request succeeded
  post succeeded
    consume_msg succeeded
      save_request_body succeeded"""
NOT_SAVED = """\
request succeeded
  post succeeded
    consume_msg succeeded
      save_request_body failed
      exception succeeded"""
REFUSED = """\
request failed
  post failed"""


def body_of(number):
    special = {2: '{"disk": "full"}', 3: "no JSON", 4: '{\n"\\\x1b\u2028"},{"task_uuid":'}
    return special.get(number, f'{{"number": {number}}}')


def check_trees(actions, requests):
    """Each request has its tree, in the trace that it came with, in which everything tells of its
    own body. Returns the trees."""
    expected = {number: SAVED for number in range(1, requests + 1)} | {2: NOT_SAVED, 3: REFUSED}
    trees = []
    for key, inside in actions.items():
        if key[1] != ():
            continue
        caller = inside[1]["fields"]
        number = int(caller["trace_id"], 16)
        require(caller["parent_span_id"] == f"{number:016x}", "another caller", caller)
        told = "\n".join(outline(actions, key))
        require(told == expected.pop(number, ""), "another tree, or once more", (number, told))
        body = actions[key[0], (2,)][1]["fields"]["body"]
        require(body == body_of(number), "another body", body)
        if told != REFUSED:
            saved = actions[key[0], (2, 2, 2)][1]
            require(saved["fields"]["msg"] == body, "it is in the tree of another", saved)
        trees.append(told)
    require(not expected, "requests are missing", list(expected)[:3])
    return trees


def check_with_tree(tool, path, trees):
    """What `sapwood tree` shows, less fields, places, times and lines, is the same."""
    ran = subprocess.run([tool, "tree", "--ascii", path], capture_output=True, text=True, check=False)
    require(ran.returncode == 0 and ran.stderr == "", "sapwood tree complains", ran)
    shown = []
    for line in ran.stdout.split("\n"):
        start = re.match(r"((?:[| ]   )*)[|+`]-- (\S+?)/[\d/]+ => (?:started|(\S+))", line)
        if start and start[3] is None:
            shown.append("  " * (len(start[1]) // 4) + start[2])
    told = [re.sub(r" \S+$", "", line) for tree in trees for line in tree.split("\n")]
    require(sorted(shown) == sorted(told), "sapwood tree shows others", (shown, told))


def check_with_eliot(records, requests):
    try:
        from eliot.parse import Parser
    except ImportError:
        print("eliot's own parser is left out: python3-eliot is not installed")
        sys.exit(77)  # meson: skipped, though all else has been checked
    tasks = list(Parser.parse_stream(records))
    require(len(tasks) == requests, f"eliot sees {len(tasks)} tasks")
    for task in tasks:
        require(task.is_complete(), f"eliot sees a task that is not complete: {task.root()}")


def main():
    requests = int(sys.argv[2])
    gc.disable()  # what was read is kept, and looking through it takes as long as all else
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "actions.json")
        subprocess.run([sys.argv[1], "--log", path, "--out", os.path.join(directory, "out.txt"),
                        "--requests", str(requests)], check=True, stdout=subprocess.DEVNULL)
        records = [record for record in read_log(path) if "task_uuid" in record]
        actions = build(records)
        for key, inside in actions.items():
            check_action(key, inside)
        trees = check_trees(actions, requests)
        if len(sys.argv) > 3:
            check_with_tree(sys.argv[3], path, trees)
    print(f"{len(actions)} actions are those of {requests} requests")
    if requests <= 10:
        check_with_eliot(records, requests)


main()
