"""Question: what does Python's eliot take for the cases of bench_actions? Unit: ns of CPU time.

usage: actions_eliot.py action|message COUNT FILE

Method: see actions.cpp. Does the work COUNT times into FILE, and prints what one took.
"""

import sys
import time

import eliot


def main():
    what, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(path, "wb") as log:
        eliot.to_file(log)
        before = time.process_time_ns()
        if what == "action":
            for i in range(count):
                with eliot.start_action(action_type="save_order", order=i) as action:
                    action.add_success_fields(rows=3)
        else:
            with eliot.start_action(action_type="outer"):
                for i in range(count):
                    eliot.log_message(message_type="stored", row=i, of=count)
        log.flush()
        elapsed = time.process_time_ns() - before
    with open(path, "rb") as log:
        lines = sum(1 for _ in log)
    expected = 2 * count if what == "action" else count + 2
    if lines != expected:
        sys.exit(f"{path} has {lines} lines instead of {expected}")
    print(elapsed / count)


main()
