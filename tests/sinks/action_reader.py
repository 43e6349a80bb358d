"""Reads a log of actions with nothing of sapwood's, and says what is wrong with it.

usage: action_reader.py PROGRAM: runs demos/actions, and reads the log that it has written.

Each task is rebuilt from its records, whatever their order; the numbers of each action's records are
1, 2, 3 and so on, its end's is the last, and says how many there are between. Where python3-eliot is
installed, its parser reads the log as well.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def read_log(path):
    with open(path, encoding="utf-8") as log:
        return [json.loads(line) for line in log]


def require(condition, what):
    if not condition:
        sys.exit(f"action_reader: {what}")


def check_record(record):
    require(len(record["task_uuid"]) == 36, f"no UUID: {record}")
    require(abs(record["timestamp"] - time.time()) < 600, f"another time: {record}")
    require(("message_type" in record) != ("action_type" in record), f"neither or both: {record}")
    require(record.get("message_type", record.get("action_type")) == record["message"],
            f"another text: {record}")


def build(records):
    """Actions by task and level: the records directly in them, by number."""
    actions = {}
    for record in records:
        check_record(record)
        *above, number = record["task_level"]
        inside = actions.setdefault((record["task_uuid"], tuple(above)), {})
        require(number not in inside, f"two records in one place: {record}")
        inside[number] = record
    for uuid, level in list(actions):
        if level:  # in its parent, an action takes the place of its number
            actions.setdefault((uuid, level[:-1]), {})[level[-1]] = (uuid, level)
    return actions


def check_action(key, inside):
    numbers = sorted(inside)
    require(numbers == list(range(1, len(numbers) + 1)), f"{key}: numbers are {numbers}")
    first, last = inside[1], inside[numbers[-1]]
    require(first["action_status"] == "started", f"{key} begins with {first}")
    require(last["action_status"] in ("succeeded", "failed"), f"{key} ends with {last}")
    require(last["action_type"] == first["action_type"], f"{key}: two types")
    require(last["children"] == len(numbers) - 2, f"{key} has {len(numbers) - 2} children: {last}")
    require(last["duration"] >= 0, f"{key} took {last['duration']}")


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


EXPECTED = """\
post succeeded
  consume_msg succeeded
    save_request_body succeeded
post succeeded
  consume_msg succeeded
    save_request_body failed
    exception succeeded
post failed"""


def check_with_eliot(records):
    try:
        from eliot.parse import Parser
    except ImportError:
        print("eliot's own parser is left out: python3-eliot is not installed")
        return
    tasks = list(Parser.parse_stream(records))
    require(len(tasks) == 3, f"eliot sees {len(tasks)} tasks")
    for task in tasks:
        require(task.is_complete(), f"eliot sees a task that is not complete: {task.root()}")


def main():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "actions.json")
        subprocess.run([sys.argv[1], "--log", path, "--out", os.path.join(directory, "out.txt")],
                       check=True, stdout=subprocess.DEVNULL)
        records = [record for record in read_log(path) if "task_uuid" in record]
    actions = build(records)
    for key, inside in actions.items():
        check_action(key, inside)
    roots = [key for key in actions if key[1] == ()]
    told = "\n".join("\n".join(outline(actions, key)) for key in roots)
    require(told == EXPECTED, f"another tree:\n{told}")
    check_with_eliot(records)


main()
