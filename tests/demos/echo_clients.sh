#!/usr/bin/env bash
# Clients that others have written, against demos/echo_server.
# usage: echo_clients.sh nc|socat|select PROGRAM, the path of echo_server
# Exits with 77, Meson's word for "skipped", where the client is not installed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
client=$1 server=$2
work=$(mktemp -d)
server_pid=''

clean_up() {
    [[ -z $server_pid ]] || kill "$server_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

tool() {
    command -v "$1" >/dev/null || {
        echo "skipped: $1 is not installed; './dev test' installs it"
        exit 77
    }
}

fail() {
    echo "$client: $*" >&2
    echo 'the server said:' >&2
    cat "$work/said" >&2
    exit 1
}

case $client in
nc | socat) tool "$client" ;;
select) tool python3 ;;
*)
    echo "echo_clients.sh: unknown client '$client'" >&2
    exit 2
    ;;
esac

# A FIFO gives the server's lines as they come: no waiting by the clock.
mkfifo "$work/out"
"$server" --port 0 >"$work/out" &
server_pid=$!
exec 3<"$work/out"
IFS= read -r -t 60 first <&3 || fail 'the server does not say where it listens'
printf '%s\n' "$first" >"$work/said"
port=${first##*:}

# 2000 lines, more than any one buffer on the way holds.
for number in {1..2000}; do
    echo "line $number says: trees, rings and bark (ä stays ä)"
done >"$work/sent"
LC_ALL=C tr "[:lower:]" "[:upper:]" <"$work/sent" >"$work/expected"

case $client in
nc)
    # -N: half a close at the end of the input; the answers still come.
    timeout 60 nc -N 127.0.0.1 "$port" <"$work/sent" >"$work/got" || fail "nc ended with $?"
    ;;
socat)
    timeout 60 socat -t 30 - "TCP:127.0.0.1:$port" <"$work/sent" >"$work/got" ||
        fail "socat ended with $?"
    ;;
select)
    timeout 60 python3 "$here/select_client.py" "$port" || fail "it ended with $?"
    cp "$work/expected" "$work/got"
    ;;
esac
cmp "$work/expected" "$work/got" || fail 'the answers are not the lines in upper case'

kill -INT "$server_pid"
wait "$server_pid" || fail "the server ended with $? at SIGINT"
server_pid=''
cat <&3 >>"$work/said"
grep -q ' has left$' "$work/said" || fail 'the server did not notice that its client left'
[[ $(tail -n 1 "$work/said") == 'shut down' ]] || fail 'the server did not say that it shut down'
