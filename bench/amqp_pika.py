"""The rows of bench_amqp by Python's pika: published without confirms, and consumed one by one.

usage: amqp_pika.py MESSAGES, with the broker's URL in SAPWOOD_AMQP_URL
"""

import os
import sys
import time

try:
    import pika
except ImportError:
    print("pika is not there: no peer (apt-get install python3-pika)")
    sys.exit(0)

count = int(sys.argv[1])
few = max(1, count // 10)
connection = pika.BlockingConnection(pika.URLParameters(os.environ["SAPWOOD_AMQP_URL"]))
channel = connection.channel()
channel.queue_declare("pika", durable=True)
body = b"x" * 130
persistent = pika.BasicProperties(delivery_mode=2)


def row(name, messages, began, cpu):
    wall = time.monotonic() - began
    used = (time.process_time() - cpu) * 1e6 / messages
    print(f"{name:<52} {messages / wall:9.0f}/s {used:6.2f} us", flush=True)


began, cpu = time.monotonic(), time.process_time()
for _ in range(count):
    channel.basic_publish("", "pika", body, persistent)
row("pika: published, persistent, not confirmed", count, began, cpu)
while channel.queue_declare("pika", passive=True).method.message_count < count:
    time.sleep(0.1)

channel.basic_qos(prefetch_count=1)
got = 0
began, cpu = time.monotonic(), time.process_time()
for method, _, _ in channel.consume("pika"):
    channel.basic_ack(method.delivery_tag)
    got += 1
    if got == few:
        break
row("pika: prefetch 1, acknowledged", few, began, cpu)
channel.queue_delete("pika")
connection.close()
