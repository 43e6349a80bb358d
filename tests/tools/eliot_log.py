"""Wrote eliot.log, which the suite "tree" reads: what Debian 12's python3-eliot 1.13 logs of actions
that succeed, fail, cross to another process, and do not end. `/usr/bin/python3 eliot_log.py eliot.log`
makes another one, and eliot.tree beside it has to be made anew then."""

import sys

from eliot import Action, log_call, log_message, start_action, to_file, write_traceback

to_file(open(sys.argv[1], "w"))


@log_call
def price(item, count=1):
    return 4.5 * count


with start_action(action_type="shop:order", user="ann", items=["tea", "cup"]) as action:
    log_message(message_type="shop:stock", item="tea", left=3)
    price("tea", count=2)
    with start_action(action_type="shop:pay", card={"kind": "visa", "last": "4242"}):
        log_message(message_type="shop:bank", text="two\nlines")
        remote = action.serialize_task_id()
    with Action.continue_task(task_id=remote):
        log_message(message_type="shop:ship", parcels=[{"weight": 1.25}, {"weight": 2}])
    action.add_success_fields(total=9.0)

try:
    with start_action(action_type="shop:order", user="bob\x1b[31m<b>"):
        try:
            raise KeyError("cup")
        except KeyError:
            write_traceback()
        raise RuntimeError("no cups left: é ∞")
except RuntimeError:
    pass

log_message(message_type="shop:closed", at=17)

start_action(action_type="shop:never_ends").__enter__()
log_message(message_type="shop:waiting")
