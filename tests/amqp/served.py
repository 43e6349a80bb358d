"""sapwood send --queue, a real RabbitMQ, sapwood serve --queue; the latter killed in the middle."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from urllib.parse import urlsplit

import pika

PATIENCE = 150
QUEUE = "served"
BASIC_CONSUME = bytes.fromhex("003c0014")
BASIC_ACK = bytes.fromhex("003c0050")


def start_serving(sapwood, log, *options, environment=None):
    """Returns when it is ready. For a moment the kernel may hold the lock of one that was killed."""
    for _ in range(100):
        served = subprocess.Popen(
            [sapwood, "serve", "--log", log, "--queue", QUEUE, *options],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        if served.stdout.readline() == b"consuming queue served\n":
            return served
        served.wait()
        time.sleep(0.05)
    raise AssertionError("it does not start")


def numbers_in(log):
    """Of whole lines: one that is torn is not in the log, and is taken away at the next start."""
    text = log.read_text() if log.exists() else ""
    return [int(n) for n in re.findall(r'\[amqp served message_id=\S+\] \{"n":(\d+)\}\n', text)]


def wait_until(holds, what):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


def test_kill(sapwood, work, ours, expect):
    """Messages that are confirmed are each one line, whatever is killed."""
    count = 6_000
    log = work / "served.log"
    lines = work / "lines"
    lines.write_text("".join(f'{{"n":{n}}}\n' for n in range(count)))
    served = start_serving(sapwood, log)
    with subprocess.Popen([sapwood, "send", "--queue", QUEUE, lines]) as sender:
        try:
            for part in (0.1, 0.4, 0.7):
                wait_until(lambda: len(numbers_in(log)) > part * count, f"{part} of all lines")
                served.kill()
                served.wait()
                served = start_serving(sapwood, log)
            expect(sender.wait(PATIENCE) == 0, "sapwood send has a confirm of each message")
            wait_until(lambda: len(set(numbers_in(log))) == count, "all lines")
            served.send_signal(signal.SIGTERM)
            expect(served.wait(PATIENCE) == 0, "sapwood serve ends when it is told to")
        finally:
            served.kill()
            sender.kill()
    numbers = numbers_in(log)
    expect(len(numbers) == count and sorted(numbers) == list(range(count)),
           "each confirmed message is one line, although its consumer was killed three times")
    expect(ours.queue_declare(QUEUE, passive=True).method.message_count == 0,
           "all are acknowledged")


class proxy_between:
    """Between us and the broker: cuts connections, each after a random number of bytes in all, until it
    has cut `cuts` of them; or keeps what a consumer says behind basic.consume, its acknowledgements."""

    def __init__(self, url, cuts=0, keeps_acks=False):
        self.broker = urlsplit(url)
        self.left = cuts
        self.keeps_acks = keeps_acks
        self.kept = b""
        self.seed = random.randrange(1 << 32)
        self.chance = random.Random(self.seed)
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def run(self):
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    async def serve(self):
        self.ended = asyncio.Event()
        server = await asyncio.start_server(self.connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.ended.wait()
        server.close()
        # Whatever is connected is closed before this ends: the broker has to see it.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def connect(self, reader, writer):
        bound = None
        if self.left > 0:
            self.left -= 1
            # A greeting takes some 700 bytes, a message with its acknowledgement some 200.
            bound = self.chance.randint(1, self.chance.choice([1000, 20_000, 200_000]))
        try:
            to_reader, to_writer = await asyncio.open_connection(self.broker.hostname, self.broker.port)
        except BaseException:
            writer.transport.abort()
            raise
        moved = [0]
        pumps = {asyncio.create_task(self.pump(reader, to_writer, moved, bound, self.keeps_acks)),
                 asyncio.create_task(self.pump(to_reader, writer, moved, bound, False))}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pumps:
                each.cancel()
            for each in (writer, to_writer):
                each.transport.abort()
            # A task that is cancelled once more closes them all the same.
            closing = [each.wait_closed() for each in (writer, to_writer)]
            await asyncio.gather(*closing, return_exceptions=True)

    async def pump(self, reader, writer, moved, bound, keeps_acks):
        is_keeping = False
        try:
            while piece := await reader.read(4096):
                if is_keeping:
                    self.kept += piece
                    continue
                is_keeping = keeps_acks and BASIC_CONSUME in piece
                if bound is not None and moved[0] + len(piece) >= bound:
                    writer.write(piece[: bound - moved[0]])
                    await writer.drain()
                    return
                moved[0] += len(piece)
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass


def test_cuts(sapwood, work, ours, expect):
    """Connections that are cut at random bytes: each message is one line."""
    count = 20_000
    log = work / "cut.log"
    lines = work / "lines"
    lines.write_text("".join(f'{{"n":{n}}}\n' for n in range(count)))
    with proxy_between(os.environ["SAPWOOD_AMQP_URL"], cuts=12) as proxy:
        by_proxy = dict(os.environ, SAPWOOD_AMQP_URL=proxy.url)
        served = start_serving(sapwood, log, environment=by_proxy)
        with subprocess.Popen([sapwood, "send", "--queue", QUEUE, lines], env=by_proxy,
                              stderr=subprocess.DEVNULL) as sender:
            try:
                expect(sender.wait(PATIENCE) == 0, "sapwood send has a confirm of each message, "
                       f"although connections are cut (seed {proxy.seed})")
                wait_until(lambda: len(set(numbers_in(log))) == count, "all lines")
                served.send_signal(signal.SIGTERM)
                expect(served.wait(PATIENCE) == 0, "sapwood serve ends when it is told to")
            finally:
                served.kill()
                sender.kill()
        expect(proxy.left == 0, "a dozen connections were cut")
    numbers = numbers_in(log)
    expect(len(numbers) == count and sorted(numbers) == list(range(count)),
           f"each is one line, although connections were cut at random bytes (seed {proxy.seed})")
    expect(ours.queue_declare(QUEUE, passive=True).method.message_count == 0,
           "all are acknowledged")


def test_between_sync_and_ack(sapwood, work, ours, expect):
    """What is on disk and was not acknowledged before a kill is one line all the same."""
    count = 100
    log = work / "between.log"
    for n in range(count):
        ours.basic_publish("", QUEUE, f'{{"n":{n}}}'.encode(),
                           pika.BasicProperties(delivery_mode=2, message_id=f"between-{n}"))
    with proxy_between(os.environ["SAPWOOD_AMQP_URL"], keeps_acks=True) as proxy:
        served = start_serving(sapwood, log, environment=dict(os.environ, SAPWOOD_AMQP_URL=proxy.url))
        try:
            # Of the last one and all before: said when they are durable.
            last = BASIC_ACK + count.to_bytes(8, "big") + b"\x01"
            wait_until(lambda: last in proxy.kept, "an acknowledgement of all")
        finally:
            served.kill()
            served.wait()
    wait_until(lambda: ours.queue_declare(QUEUE, passive=True).method.message_count == count,
               "all of them in the queue again")
    served = start_serving(sapwood, log)
    try:
        wait_until(lambda: ours.queue_declare(QUEUE, passive=True).method.message_count == 0,
                   "all of them delivered again")
        served.send_signal(signal.SIGTERM)
        expect(served.wait(PATIENCE) == 0, "sapwood serve ends when it is told to")
    finally:
        served.kill()
    expect(sorted(numbers_in(log)) == list(range(count)),
           "what is killed between its sync and its acknowledgement leaves one line of each message")
    expect(ours.queue_declare(QUEUE, passive=True).method.message_count == 0, "all are acknowledged")


def test_poison(sapwood, work, ours, expect):
    log = work / "poison.log"
    served = start_serving(sapwood, log, "--limit", "record_bytes=1000")
    try:
        ours.basic_publish("", QUEUE, b"x" * 5000)
        ours.basic_publish("", QUEUE, b"\x00\xff")
        wait_until(lambda: ours.queue_declare(QUEUE + ".dead", passive=True).method.message_count == 1,
                   "a dead letter")
        wait_until(lambda: log.read_text().count("\n") == 2, "two lines")
        served.send_signal(signal.SIGTERM)
        expect(served.wait(PATIENCE) == 0, "messages that are no records do not stop it")
    finally:
        served.kill()
    expect(ours.queue_declare(QUEUE, passive=True).method.message_count == 0,
           "what cannot be a record does not go round: it is a dead letter, and told in the log")


def test_refused(sapwood, expect):
    wrong = dict(os.environ, SAPWOOD_AMQP_URL=os.environ["SAPWOOD_AMQP_URL"].replace(":guest@", ":wr0ng@"))
    done = subprocess.run([sapwood, "send", "--queue", QUEUE, "-m", "x"], env=wrong, timeout=PATIENCE,
                          stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 1 and "1 of 1 record was not acknowledged" in done.stderr
           and "wr0ng" not in done.stderr, "a password that is wrong is told, and not shown")
    done = subprocess.run([sapwood, "send", "--exchange", "nowhere", "-m", "x"], timeout=PATIENCE,
                          stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 1 and "nowhere" in done.stderr, "an exchange that is not there is told")


def test(sapwood, work, ours, expect):
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": QUEUE + ".dead"}
    ours.queue_declare(QUEUE + ".dead", durable=True)
    ours.queue_declare(QUEUE, durable=True, arguments=dead)
    test_kill(sapwood, work, ours, expect)
    test_cuts(sapwood, work, ours, expect)
    test_between_sync_and_ack(sapwood, work, ours, expect)
    test_poison(sapwood, work, ours, expect)
    test_refused(sapwood, expect)
    subprocess.run([sapwood, "send", "--queue", QUEUE, "--tag", "t", "-m", "a", "b"],
                   timeout=PATIENCE, check=True)
    method, properties, body = ours.basic_get(QUEUE, auto_ack=True)
    expect(json.loads(body) == {"tag": "t", "message": "a b"} and properties.message_id
           and properties.app_id == "t" and properties.delivery_mode == 2,
           "what sapwood send publishes, pika reads")
