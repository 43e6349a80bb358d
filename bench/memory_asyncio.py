"""Question: what do many sleeping tasks cost in Python's asyncio? See memory_case.hpp.

usage: memory_asyncio.py TASKS SECONDS

Prints the bytes and the nanoseconds of CPU time of all tasks together, for the first time and for
the second, after having checked that all were asleep at once and that all woke.
"""

import asyncio
import resource
import sys
import time


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def sleep_together(tasks, seconds):
    asleep = awake = awake_then = bytes_asleep = 0
    bytes_before = resident_bytes()
    cpu_before = time.process_time_ns()

    async def sleep_once():
        nonlocal asleep, awake, awake_then, bytes_asleep
        asleep += 1
        if asleep == tasks:
            bytes_asleep = resident_bytes()
            awake_then = awake
        await asyncio.sleep(seconds)
        awake += 1

    sleepers = [asyncio.create_task(sleep_once()) for _ in range(tasks)]
    for sleeper in sleepers:
        await sleeper
    if awake != tasks:
        sys.exit(f"{awake} of {tasks} sleepers woke")
    if awake_then != 0:
        sys.exit("not all tasks were asleep at once: let them sleep longer")
    return max(bytes_asleep - bytes_before, 0), time.process_time_ns() - cpu_before


async def main(tasks, seconds):
    print(*await sleep_together(tasks, seconds), *await sleep_together(tasks, seconds))


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[1].isdecimal():
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
