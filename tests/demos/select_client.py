#!/usr/bin/env python3
"""A client of two connections on select, as Python's own examples have it.

usage: select_client.py PORT

Each connection sends the message in three parts, each when the one before has been answered, and
prints what it sends and gets. Exit status 1 where an answer is not the part in upper case.
"""

import select
import socket
import sys

PARTS = [b"This is the message. ", b"It will be sent ", b"in parts."]


def connect(port):
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.setblocking(False)
    return made


def main():
    connections = [connect(int(sys.argv[1])) for _ in range(2)]
    names = {each: f"connection {i + 1}" for i, each in enumerate(connections)}
    to_send = {each: list(PARTS) for each in connections}
    awaited = {each: b"" for each in connections}
    writing = set(connections)
    reading = set()
    while writing or reading:
        readable, writable, _ = select.select(list(reading), list(writing), [], 30)
        if not readable and not writable:
            sys.exit("nothing happened for half a minute")
        for each in writable:
            part = to_send[each].pop(0)
            print(f"{names[each]}: sending {part!r}")
            each.sendall(part)
            awaited[each] = part.upper()
            writing.remove(each)
            reading.add(each)
        for each in readable:
            got = each.recv(1024)
            print(f"{names[each]}: received {got!r}")
            if not got or not awaited[each].startswith(got):
                sys.exit(f"{names[each]}: {awaited[each]!r} was expected")
            awaited[each] = awaited[each][len(got) :]
            if not awaited[each]:
                reading.remove(each)
                if to_send[each]:
                    writing.add(each)
                else:
                    each.close()
    print("all answered")


if __name__ == "__main__":
    main()
