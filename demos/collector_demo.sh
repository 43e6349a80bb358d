#!/usr/bin/env bash
# The problem that sapwood comes from: several processes write one log. Starts `sapwood serve`, has
# four processes post records at once, shows the log and counts.
# usage: demos/collector_demo.sh [SAPWOOD [RECORDS]], the program (by default the one that ./dev has
# built) and how many records each process posts.
set -euo pipefail

command -v python3 >/dev/null || {
    echo "The four processes are Python's, which is not installed."
    exit 77 # for Meson: skipped
}
sapwood=$(realpath "${1:-"$(dirname "$0")/../build/release/tools/sapwood"}")
records=${2:-100}
work=$(mktemp -d)
server=
clean_up() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

"$sapwood" serve --log "$work/app.log" --http 127.0.0.1:0 >"$work/out" 2>"$work/err" &
server=$!
for ((i = 0; i < 1200; ++i)); do
    [[ ! -s $work/out ]] || break
    kill -0 "$server" 2>/dev/null || {
        cat "$work/err" >&2
        exit 1
    }
    sleep 0.05
done
address=$(sed -n 's/^listening for HTTP on //p' "$work/out")
echo "sapwood serve listens on $address"

cat >"$work/post.py" <<'END'
import http.client, json, secrets, sys

address, name, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = http.client.HTTPConnection(address)
trace = secrets.token_hex(16)  # the process is a trace, and each request a span of it
for number in range(1, records + 1):
    server.request("POST", "/log", json.dumps({"process": name, "number": number}),
                   {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    answer = json.loads(server.getresponse().read())
    assert answer == {"status": "1", "result": "success"}, answer
print(f"{name}: {records} records, each answered {json.dumps(answer)}")
END
writers=()
for name in one two three four; do
    python3 "$work/post.py" "$address" "$name" "$records" &
    writers+=($!)
done
for writer in "${writers[@]}"; do
    wait "$writer"
done

kill -TERM "$server"
wait "$server"
server=
tail -n 1 "$work/out"

echo
echo "The end of the log, in which they have taken turns:"
tail -n 8 "$work/app.log"
echo
lines=$(wc -l <"$work/app.log")
traces=$(grep -o '"trace_id":"[0-9a-f]*"' "$work/app.log" | sort -u | wc -l)
echo "$lines lines of $((4 * records)) records, $traces traces, a process each"
"$sapwood" verify "$work/app.log" | tail -n 1 | sed "s|$work/||"
[[ $lines == $((4 * records)) && $traces == 4 ]]
