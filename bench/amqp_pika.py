"""The rows of bench_amqp by Python's pika: published without confirms, and consumed one by one.

usage: amqp_pika.py MESSAGES PID, with the broker's URL in SAPWOOD_AMQP_URL and its process; prints for
each row messages per second, our CPU time per message and the broker's in microseconds, the broker's
CPUs, and the row's name
"""

import os
import sys
import time

try:
    import pika
except ImportError:
    print("bench_amqp: pika is not there: no peer (apt-get install python3-pika)", file=sys.stderr)
    sys.exit(0)

count = int(sys.argv[1])
few = max(1, count // 5)
connection = pika.BlockingConnection(pika.URLParameters(os.environ["SAPWOOD_AMQP_URL"]))
channel = connection.channel()
channel.queue_declare("pika", durable=True)
body = b"x" * 130
persistent = pika.BasicProperties(delivery_mode=2)


def broker_cpu():
    with open(f"/proc/{sys.argv[2]}/stat", encoding="ascii") as stat:
        user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def now():
    return time.monotonic(), time.process_time(), broker_cpu()


def row(name, messages, began):
    wall, own, broker = (after - before for after, before in zip(now(), began))
    print(messages / wall, own * 1e6 / messages, broker * 1e6 / messages, broker / wall, name)


began = now()
for _ in range(count):
    channel.basic_publish("", "pika", body, persistent)
row("published, persistent, not confirmed", count, began)
while channel.queue_declare("pika", passive=True).method.message_count < count:
    time.sleep(0.1)

channel.basic_qos(prefetch_count=1)
got = 0
began = now()
for method, _, _ in channel.consume("pika"):
    channel.basic_ack(method.delivery_tag)
    got += 1
    if got == few:
        break
row("prefetch 1, acked", few, began)
channel.queue_delete("pika")
connection.close()
