"""Question: what does Python's asyncio take for the cases of core_case.hpp? Unit: ns.

usage: core_asyncio.py CASE OPS

Method: see core_case.hpp. Does the work OPS times, checks that it was done, and prints the
nanoseconds that all of it took. bench_core calls it once per round, next to the other libraries.
"""

import asyncio
import socket
import sys
import time

CHANNEL_CAPACITY = 128
SLEEP_TASKS = 100_000
SLEEP_THOUSAND_TASKS = 1000
SLEEP_SECONDS = 1e-3
SLEEP_SECONDS_MAX = 3600
SLEEP_SECONDS_MIN = 1e-9  # Zero is no sleep for asyncio, it is a yield.


def check_equal(what, actual, expected):
    if actual != expected:
        sys.exit(f"{what}: expected {expected}, got {actual}")


def sum_of_values(count):
    return count // 256 * (256 * 255 // 2) + sum(range(count % 256))


async def child(i):
    return i & 0xFF


async def await_child(ops):
    start = time.perf_counter_ns()
    total = 0
    for i in range(ops):
        total += await child(i)
    elapsed = time.perf_counter_ns() - start
    check_equal("the sum of the awaited values", total, sum_of_values(ops))
    return elapsed


async def take_yields(ops):
    last = 0
    taken = 0

    async def take_turns(me):
        nonlocal last, taken
        for _ in range(ops // 2):
            if last != me:
                taken += 1
            last = me
            await asyncio.sleep(0)

    start = time.perf_counter_ns()
    other = asyncio.create_task(take_turns(1))
    await take_turns(2)
    await other
    elapsed = time.perf_counter_ns() - start
    check_equal("the turns taken", taken, ops // 2 * 2)
    return elapsed


async def pass_through_channel(ops):
    queue = asyncio.Queue(CHANNEL_CAPACITY)

    async def produce():
        for i in range(ops):
            await queue.put(i & 0xFF)

    start = time.perf_counter_ns()
    producer = asyncio.create_task(produce())
    total = 0
    for _ in range(ops):
        total += await queue.get()
    await producer
    elapsed = time.perf_counter_ns() - start
    check_equal("the sum of the received values", total, sum_of_values(ops))
    return elapsed


async def spawn_and_join(ops):
    start = time.perf_counter_ns()
    total = 0
    for i in range(ops):
        total += await asyncio.create_task(child(i))
    elapsed = time.perf_counter_ns() - start
    check_equal("the sum of the joined values", total, sum_of_values(ops))
    return elapsed


async def sleep_together(tasks, ops, seconds):
    # asyncio may wake a sleeper early by the clock's resolution, so only the wakes are counted.
    slept = 0

    async def sleep_repeatedly(count):
        nonlocal slept
        for _ in range(count):
            await asyncio.sleep(seconds)
            slept += 1

    start = time.perf_counter_ns()
    sleepers = [asyncio.create_task(sleep_repeatedly(ops // tasks)) for _ in range(tasks)]
    for sleeper in sleepers:
        await sleeper
    elapsed = time.perf_counter_ns() - start
    check_equal("the sleeps", slept, ops)
    return elapsed


async def sleep_once_each(ops):
    elapsed = 0
    for _ in range(0, ops, SLEEP_TASKS):
        elapsed += await sleep_together(SLEEP_TASKS, SLEEP_TASKS, SLEEP_SECONDS)
    return elapsed


async def cancel_losers(ops):
    first = 0
    start = time.perf_counter_ns()
    for _ in range(ops):
        soon = asyncio.create_task(asyncio.sleep(SLEEP_SECONDS_MIN))
        late = asyncio.create_task(asyncio.sleep(SLEEP_SECONDS_MAX))
        done, losers = await asyncio.wait((soon, late), return_when=asyncio.FIRST_COMPLETED)
        first += soon in done
        for loser in losers:
            loser.cancel()
        await asyncio.wait((late,))
    elapsed = time.perf_counter_ns() - start
    check_equal("the sleeps that were first", first, ops)
    return elapsed


async def cancel_reads(ops):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    cancels = 0

    async def read_until_cancelled():
        nonlocal cancels
        while cancels < ops:
            try:
                await loop.sock_recv(ours, 1)
            except asyncio.CancelledError:
                cancels += 1

    reader = asyncio.create_task(read_until_cancelled())
    start = time.perf_counter_ns()
    for i in range(ops):
        while cancels != i:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.cancel()
    await reader
    elapsed = time.perf_counter_ns() - start
    check_equal("the reads that were cancelled", cancels, ops)
    ours.close()
    theirs.close()
    return elapsed


CASES = {
    "await": await_child,
    "yield": take_yields,
    "channel": pass_through_channel,
    "spawn + join": spawn_and_join,
    "sleep": sleep_once_each,
    "sleep, 1000": lambda ops: sleep_together(SLEEP_THOUSAND_TASKS, ops, SLEEP_SECONDS_MIN),
    "sleep, alone": lambda ops: sleep_together(1, ops, SLEEP_SECONDS_MIN),
    "when_any": cancel_losers,
    "cancel read": cancel_reads,
}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in CASES or not sys.argv[2].isdecimal():
        sys.exit(__doc__)
    print(asyncio.run(CASES[sys.argv[1]](int(sys.argv[2]))))
