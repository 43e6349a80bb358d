#!/usr/bin/env python3
"""Clients that others have written send to `sapwood serve`, and the log has exactly what they sent.

usage: clients.py SAPWOOD (curl|killed|logger|python|socat|wrk)

Exits with 77, which Meson calls skipped, where the client is not installed.
"""

import gzip
import json
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SUCCESS = '{"status":"1","result":"success"}'


class Daemon:
    """`sapwood serve` with a listener of every kind, and a log of JSON."""

    def __init__(self, sapwood, directory):
        self.log = os.path.join(directory, "app.log")
        self.http_path = os.path.join(directory, "http.sock")
        self.lines_path = os.path.join(directory, "lines.sock")
        self.syslog_path = os.path.join(directory, "log.sock")
        self.process = subprocess.Popen(
            [sapwood, "serve", "--log", self.log, "--format", "json",
             "--http", "127.0.0.1:0", "--http", self.http_path, "--unix", self.lines_path,
             "--unix-datagram", self.syslog_path, "--udp", "127.0.0.1:0", "--tcp", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True)
        ports = []
        while len(ports) < 3:
            line = self.process.stdout.readline()
            assert line.startswith("listening for "), f"the daemon says: {line!r}"
            if "127.0.0.1:" in line:
                ports.append(int(line.rsplit(":", 1)[1]))
        self.http_port, self.udp_port, self.tcp_port = ports
        self.url = f"http://127.0.0.1:{self.http_port}"

    def lines(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            return file.read().split("\n")[:-1]

    def wait_for(self, count):
        """Until the log has so many lines: datagrams are not answered."""
        end = time.monotonic() + 30
        while len(self.lines()) < count:
            assert time.monotonic() < end, f"{len(self.lines())} lines of {count}: {self.lines()}"
            time.sleep(0.01)

    def stop(self):
        """The records, without what differs from run to run."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "the daemon did not end well"
        found = []
        for line in self.lines():
            record = json.loads(line)
            assert record.pop("time").endswith("Z")
            record["from"] = record["from"].split()[0]
            found.append(record)
        return found

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(*command, stdin=b""):
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout.decode()


def equal(found, expected):
    for got, wanted in zip(found, expected):
        assert got == wanted, f"\n  found    {got}\n  expected {wanted}"
    assert len(found) == len(expected), f"{len(found)} records of {len(expected)}: {found}"


def record(kind, fields, level="info"):
    return {"level": level, "from": kind, "record": fields}


def curl(at):
    def post(path, body, *options):
        return run("curl", "-sS", *options, "--data-binary", "@-", at.url + path, stdin=body)

    as_json = ("-H", "Content-Type: application/json")
    gzipped = ("-H", "Content-Encoding: gzip")
    expected = []

    assert run("curl", "-sS", "-d", '{"msg":"paid","user":7}', at.url + "/log") == SUCCESS
    expected.append(record("http", {"msg": "paid", "user": 7}))
    assert run("curl", "-sS", "-d", "msg=two words", "-d", "level=warn", at.url + "/log") == SUCCESS
    expected.append(record("http", {"msg": "two words", "level": "warn"}, "warning"))
    assert post("/log", b'{"n":1}\n{"n":2}\n', "-H", "Content-Type: application/x-ndjson") == SUCCESS
    expected += [record("http", {"n": 1}), record("http", {"n": 2})]
    assert post("/log", b'[{"n":3}]', *as_json, "-H", "Transfer-Encoding: chunked") == SUCCESS
    expected.append(record("http", {"n": 3}))
    # So long that curl asks before it sends it.
    large = "x" * 1_000_000
    assert post("/log", json.dumps({"large": large}).encode(), *as_json,
                "-H", "Expect: 100-continue") == SUCCESS
    expected.append(record("http", {"large": large}))
    assert run("curl", "-sS", "--unix-socket", at.http_path, "-d", '{"by":"unix"}',
               "http://localhost/log") == SUCCESS
    expected.append(record("http", {"by": "unix"}))
    answer = post("/log", gzip.compress(b'{"n":4}'), *as_json, *gzipped)
    if answer == SUCCESS:
        expected.append(record("http", {"n": 4}))
    else:
        assert '"status":"0"' in answer and "Content-Encoding" in answer, answer

    push = {"streams": [{"stream": {"app": "shop"}, "values": [["1690000000000000000", "a line"]]}]}
    assert run("curl", "-sS", "-w", "%{http_code}", *as_json, "-d", json.dumps(push),
               at.url + "/loki/api/v1/push") == "204"
    expected.append(record("http", {"timestamp": "2023-07-22T04:26:40.000000000Z",
                                    "message": "a line", "app": "shop"}))
    bulk = b'{"index":{"_index":"logs"}}\n{"message":"bulk"}\n'
    answer = json.loads(post("/_bulk", bulk, "-H", "Content-Type: application/x-ndjson"))
    assert not answer["errors"] and answer["items"][0]["index"]["status"] == 201, answer
    expected.append(record("http", {"message": "bulk"}))
    event = b'{"event":{"severity":"error","msg":"hec"}}'
    assert json.loads(post("/services/collector/event", event,
                           "-H", "Authorization: Splunk x"))["code"] == 0
    expected.append(record("http", json.loads(event), "error"))
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"severityNumber": 17, "body": {"stringValue": "otlp"}}]}]}]}
    assert post("/v1/logs", json.dumps(logs).encode(), *as_json) == "{}"
    expected.append(record("http", {"message": "otlp"}, "error"))
    assert '"status":"0"' in post("/log", b'{"n":', *as_json)
    equal(at.stop(), expected)


def python(at):
    log = logging.getLogger("shop")
    log.propagate = False
    where = f"127.0.0.1:{at.http_port}"
    handlers = [
        logging.handlers.HTTPHandler(where, "/log"),
        logging.handlers.HTTPHandler(where, "/log", "POST"),
        logging.handlers.SysLogHandler(at.syslog_path),
        logging.handlers.SysLogHandler(("127.0.0.1", at.udp_port)),
        logging.handlers.SysLogHandler(("127.0.0.1", at.tcp_port), facility="local0",
                                       socktype=socket.SOCK_STREAM)]
    for count, handler in enumerate(handlers):
        log.handlers = [handler]
        log.error("it is late\nforged %d", 7)
        log.warning("again")
        at.wait_for(2 * count + 2)
    log.handlers = []
    for handler in handlers:
        handler.close()
    found = at.stop()
    for each in found[:4]:
        fields = each["record"]
        expected = ({"name": "shop", "msg": "it is late\nforged %d", "levelname": "ERROR",
                     "args": "(7,)"} if each["level"] == "error" else
                    {"name": "shop", "msg": "again", "levelname": "WARNING", "args": "()"})
        each["record"] = {name: fields[name] for name in expected}
        assert each == record("http", expected, each["level"]), each
    assert [each["level"] for each in found[:4]] == ["error", "warning"] * 2
    expected = []
    for kind, facility in (("unix", "user"), ("udp", "user"), ("tcp", "local0")):
        for level, text in (("error", "it is late\nforged 7"), ("warning", "again")):
            expected.append({"level": level, "from": kind, "facility": facility, "message": text})
    equal(found[4:], expected)


def logger(at):
    host = ["-n", "127.0.0.1"]
    udp = [*host, "-P", str(at.udp_port), "-d"]
    tcp = [*host, "-P", str(at.tcp_port), "-T"]
    new = "--rfc5424=notime,notq,nohost"
    sends = [["-u", at.syslog_path, "-t", "billing", "paid"],
             ["-u", at.syslog_path, "-t", "billing", "-p", "local3.err", "--id=17", "refused"],
             [*udp, new, "-t", "billing", "--msgid", "ID1", "by udp"],
             [*udp, new, "-t", "billing", "--sd-id", "shop@1", "--sd-param", 'user="7"', "data"],
             [*tcp, new, "--octet-count", "-t", "billing", "-p", "user.crit", "two\nlines"],
             [*tcp, new, "-t", "billing", "one line"]]
    for count, options in enumerate(sends):
        run("logger", *options)
        at.wait_for(count + 1)
    user = {"facility": "user", "app": "billing"}
    found = at.stop()
    for each in found[:2]:  # those of the older form say when they were sent
        assert len(each.pop("sent")) == len("Nov  6 21:05:07"), each
    equal(found, [
        {"level": "info", "from": "unix", **user, "message": "paid"},
        {"level": "error", "from": "unix", "facility": "local3", "app": "billing", "process": "17",
         "message": "refused"},
        {"level": "info", "from": "udp", **user, "kind": "ID1", "message": "by udp"},
        {"level": "info", "from": "udp", **user, "data": '[shop@1 user="7"]', "message": "data"},
        {"level": "critical", "from": "tcp", **user, "message": "two\nlines"},
        {"level": "info", "from": "tcp", **user, "message": "one line"}])


def socat(at):
    sends = [(f"UNIX-CONNECT:{at.lines_path}", b'a line\n{"n":1,"level":"warn"}\n{"n":\n', 3),
             (f"UNIX-SENDTO:{at.syslog_path}", b"<11>Nov  6 21:05:07 su[17]: it failed", 1),
             (f"UDP-SENDTO:127.0.0.1:{at.udp_port}", b"no syslog at all \xff", 1),
             (f"TCP:127.0.0.1:{at.tcp_port}", b"<13>one\n<13>two\r\nlast, without an end", 3)]
    count = 0
    for address, text, lines in sends:
        run("socat", "-u", "-", address, stdin=text)
        count += lines
        at.wait_for(count)
    plain = {"level": "info", "facility": "user"}
    equal(at.stop(), [
        {"level": "info", "from": "unix", "message": "a line"},
        record("unix", {"n": 1, "level": "warn"}, "warning"),
        {"level": "info", "from": "unix", "message": '{"n":'},
        {"level": "error", "from": "unix", "facility": "user", "app": "su", "process": "17",
         "sent": "Nov  6 21:05:07", "message": "it failed"},
        {"level": "info", "from": "udp", "message_escaped": "no syslog at all \\xff"},
        {**plain, "from": "tcp", "message": "one"},
        {**plain, "from": "tcp", "message": "two"},
        {"level": "info", "from": "tcp", "cut": "true", "message": "last, without an end"}])


COUNTING = """
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

function init()
    n = 0
end

function request()
    n = n + 1
    local body = string.format('{"thread":%d,"n":%d}', id, n)
    return wrk.format("POST", "/log?ack=written", nil, body)
end

function done(summary)
    local all = summary.errors
    io.write(string.format("counted %d %d\\n", summary.requests,
             all.status + all.connect + all.read + all.write + all.timeout))
end
"""


def wrk(at):
    """Whatever was answered is in the log, once, as it was sent."""
    script = at.log + ".lua"
    with open(script, "w", encoding="utf-8") as file:
        file.write(COUNTING)
    said = run("wrk", "-t2", "-c16", "-d3s", "--timeout", "30s", "-s", script, at.url)
    answered, wrong = map(int, said.split("counted ")[1].split())
    assert wrong == 0 and answered > 0, said
    found = [(each["record"]["thread"], each["record"]["n"]) for each in at.stop()]
    assert len(set(found)) == len(found), "a record is there twice"
    # What was under way at the end was not counted.
    assert answered <= len(found) <= answered + 16, f"{len(found)} lines, {answered} answers"


WRITER = """
import socket, sys
to = socket.socket(socket.AF_UNIX)
to.connect(sys.argv[1])
number = 0
while True:
    to.sendall(b'{"writer":%s,"n":%d}\\n' % (sys.argv[2].encode(), number))
    number += 1
"""


def killed(at):
    """Two processes that are killed while they send: each has its lines there, whole, in order."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, at.lines_path, name])
               for name in "12"]
    end = time.monotonic() + 30
    while min(sum(f'"writer":{name},' in line for line in at.lines()) for name in "12") < 500:
        assert time.monotonic() < end, "the writers do not come to it"
        time.sleep(0.01)
    for writer in writers:
        writer.kill()
        writer.wait()
    while True:
        try:
            with urllib.request.urlopen(at.url + "/log", b"after=1") as answer:
                assert answer.read().decode() == SUCCESS
                break
        except urllib.error.HTTPError as refused:  # the log still has to take what they sent
            assert refused.code == 503 and time.monotonic() < end, refused
    following = {1: 0, 2: 0}
    found = at.stop()
    assert sum(each["from"] == "http" for each in found) == 1
    for each in found:
        if each["from"] == "http":
            continue
        if "record" in each:
            fields = each["record"]
            assert fields["n"] == following[fields["writer"]], each
            following[fields["writer"]] += 1
        else:  # what was cut off in the middle
            assert each["cut"] == "true", each
            assert '{"writer":'.startswith(each["message"][:10]), each
    assert min(following.values()) >= 500, following


def main():
    sapwood, client = sys.argv[1:]
    needed = {"killed": "python3", "python": "python3"}.get(client, client)
    if shutil.which(needed) is None:
        print(f"skipped: {needed} is not installed")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        at = Daemon(os.path.abspath(sapwood), directory)
        try:
            {"curl": curl, "killed": killed, "logger": logger, "python": python,
             "socat": socat, "wrk": wrk}[client](at)
        finally:
            at.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
