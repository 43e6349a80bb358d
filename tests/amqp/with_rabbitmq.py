#!/usr/bin/python3
"""The client and a real RabbitMQ, and programs that others have written (pika), both ways; the broker
killed and started again in the middle. Under tests/amqp/rabbitmq run, one broker for all of it.

usage: with_rabbitmq.py FOLDER SUITES [SAPWOOD]: where amqp_hello and amqp_log are, the program
amqp_tests, and the program for logs, where it can serve
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import pika
except ImportError:
    print("skipped: there is no pika; on Debian: apt-get install python3-pika")
    sys.exit(77)

sys.dont_write_bytecode = True
import served  # noqa: E402

URL = os.environ["SAPWOOD_AMQP_URL"]
BROKER = os.environ["SAPWOOD_RABBITMQ"]
RABBITMQ = Path(__file__).parent / "rabbitmq"
FOLDER = Path(sys.argv[1]).resolve()
SUITES = Path(sys.argv[2]).resolve()
PATIENCE = 150
SUITE_PATIENCE = 600
SUITE_CASES = 11


def run(*command):
    """What a program prints, which has to succeed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=True
    )
    return done.stdout.decode()


def hello(*arguments):
    return run(FOLDER / "amqp_hello", *arguments, "--url", URL)


def log(*arguments):
    return run(FOLDER / "amqp_log", *arguments, "--url", URL)


def channel():
    return pika.BlockingConnection(pika.URLParameters(URL)).channel()


def expect(holds, what):
    if not holds:
        sys.exit(f"failed: {what}")
    print("ok:", what)


def lines_of(path):
    """Whole ones: what follows the last newline is being written, or torn."""
    return [line for line in Path(path).read_text().split("\n")[:-1] if "id=" in line]


def wait_for_lines(path, count):
    while not path.exists() or len(lines_of(path)) < count:
        time.sleep(0.001)


def ids_of(lines):
    return {re.search(r"id=(\S+)", line).group(1) for line in lines}


def test_hello():
    ours = channel()
    ours.queue_declare("hello")
    ours.basic_publish("", "hello", b"Hello from pika!")
    expect("[x] Received 'Hello from pika!'" in hello("receive", "--count", "1"),
           "what pika sends, amqp_hello receives")
    hello("send")
    method, properties, body = ours.basic_get("hello", auto_ack=True)
    expect(method is not None and body == b"Hello World!", "what amqp_hello sends, pika receives")
    expect(properties.message_id and properties.delivery_mode == 2,
           "it is persistent and has an id")
    ours.connection.close()


def test_log(work):
    log("produce", "--queue", "pika", "--count", "3", "--flag", "f")
    ours = channel()
    got = [ours.basic_get("pika", auto_ack=True) for _ in range(3)]
    expect([json.loads(body) for _, _, body in got]
           == [{"flag": "f", "number": n} for n in (1, 2, 3)],
           "what amqp_log produces, pika consumes, in order")
    for name in ("a", "b", "a", "c d"):
        ours.basic_publish("pika", "record", b'{"flag":"pika"}',
                           pika.BasicProperties(delivery_mode=2, message_id=name))
    log("consume", "--queue", "pika", "--log", work / "pika.log", "--count", "4", "--prefetch", "9")
    expect(ids_of(lines_of(work / "pika.log")) == {"a", "b", "c%20d"}
           and len(lines_of(work / "pika.log")) == 3,
           "what pika publishes, amqp_log keeps, one line for each message id")
    ours.basic_publish("pika", "record", b"again",
                       pika.BasicProperties(delivery_mode=2, message_id="b"))
    log("consume", "--queue", "pika", "--log", work / "pika.log", "--count", "1")
    expect(len(lines_of(work / "pika.log")) == 3, "a restarted consumer knows what the log has")
    whole = (work / "pika.log").read_text()
    with (work / "pika.log").open("a") as killed:
        killed.write(whole.splitlines()[-1].split("id=")[0] + 'id=torn {"fl')
    ours.basic_publish("pika", "record", b"torn",
                       pika.BasicProperties(delivery_mode=2, message_id="torn"))
    log("consume", "--queue", "pika", "--log", work / "pika.log", "--count", "1")
    expect((work / "pika.log").read_text().endswith("id=torn torn\n"),
           "whose line was torn is written again")
    expect(ours.queue_declare("pika", passive=True).method.message_count == 0,
           "all was acknowledged")
    ours.connection.close()


def test_restart(work):
    each, count = 20_000, 0
    path = work / "restart.log"
    with contextlib.ExitStack() as ended:
        def start(*command):
            started = ended.enter_context(subprocess.Popen([FOLDER / "amqp_log", *command, "--url", URL]))
            ended.callback(started.kill)
            return started

        consumer = start("consume", "--queue", "restart", "--log", path, "--prefetch", "256")
        while True:
            producer = start("produce", "--queue", "restart", "--count", str(each))
            wait_for_lines(path, count + 500)
            count += each
            producer.send_signal(signal.SIGSTOP)
            if producer.poll() is None:
                break  # otherwise we have come too late, and another one publishes
        run(RABBITMQ, "kill", BROKER)
        expect(producer.poll() is None, "the broker is killed while records are published")
        producer.send_signal(signal.SIGCONT)
        # Its output is no pipe that the broker would hold open.
        subprocess.run([RABBITMQ, "start", BROKER], stdout=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)
        expect(producer.wait(PATIENCE) == 0, "the producer has a confirm of each")
        end = time.monotonic() + PATIENCE
        while len(ids_of(lines_of(path))) < count and time.monotonic() < end:
            time.sleep(0.1)
        consumer.terminate()
        expect(consumer.wait(PATIENCE) == 0, "the consumer ends when it is told to")
    lines = lines_of(path)
    expect(len(ids_of(lines)) == count, "nothing that was confirmed is missing")
    expect(len(lines) == count, "each message is one line")


def test_killed_consumer(work):
    count, path = 6_000, work / "killed.log"
    total = 0

    def produce(records):
        nonlocal total
        log("produce", "--queue", "killed", "--count", str(records))
        total += records

    produce(count)
    command = [FOLDER / "amqp_log", "consume", "--queue", "killed", "--log", path,
               "--prefetch", "64", "--url", URL]
    for share in (0.2, 0.4, 0.6):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as consumer:
            while True:
                wait_for_lines(path, total - count * (1 - share))
                consumer.send_signal(signal.SIGSTOP)
                if len(lines_of(path)) < total:
                    break
                produce(count)  # we have come too late: it had everything
                consumer.send_signal(signal.SIGCONT)
            consumer.kill()
    produce(1)  # so that there is one, whatever they have acknowledged
    left = channel()
    # What it had and did not acknowledge is the queue's again when the broker has noticed.
    while left.queue_declare("killed", passive=True).method.consumer_count > 0:
        time.sleep(0.01)
    unacknowledged = left.queue_declare("killed", passive=True).method.message_count
    left.connection.close()
    log("consume", "--queue", "killed", "--log", path, "--prefetch", "64",
        "--count", str(unacknowledged))
    lines = lines_of(path)
    expect(len(ids_of(lines)) == total, "a consumer that is killed at any time has lost nothing")
    expect(len(lines) == total, "what it had written and not acknowledged is one line all the same")


def test_suite():
    done = subprocess.run([SUITES, "--test-suite=rabbitmq"], timeout=SUITE_PATIENCE,
                          stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    # A suite of another name would pass, without a case.
    cases = re.search(r"test cases: +(\d+) \| +(\d+) passed", done.stdout)
    expect(done.returncode == 0 and cases and int(cases[1]) == int(cases[2]) >= SUITE_CASES,
           f"the suite «rabbitmq» of amqp_tests, {SUITE_CASES} cases at least")


def main():
    with tempfile.TemporaryDirectory() as folder:
        test_hello()
        test_log(Path(folder))
        test_killed_consumer(Path(folder))
        test_restart(Path(folder))
        if len(sys.argv) > 3:
            ours = channel()
            served.test(Path(sys.argv[3]).resolve(), Path(folder), ours, expect)
            ours.connection.close()
    test_suite()


main()
