#!/usr/bin/env bash
# Shows the demonstrations in order, the last one on real input, and checks what they wrote.
# usage: tour.sh DIR, the folder with the built programs; sapwood is in ../tools from there.
# './dev demo' builds them, and calls it.
set -euo pipefail

programs=$(cd "$1" && pwd)
work=$(mktemp -d)
writers=()

clean_up() {
    ((${#writers[@]} == 0)) || kill "${writers[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

lines_in() { cat -- "$@" | wc -l; }

echo '== producer_consumer --seed 1 --delay-max 200'
"$programs/producer_consumer" --seed 1 --delay-max 200

echo
echo '== echo_server --port 0, and echo_client'
mkfifo "$work/server"
"$programs/echo_server" --port 0 >"$work/server" &
server=$!
writers+=("$server")
exec 3<"$work/server"
IFS= read -r line <&3
echo "server: $line"
"$programs/echo_client" --port "${line##*:}"
kill -INT "$server"
wait "$server"
sed 's/^/server: /' <&3
exec 3<&-
writers=()

echo
echo '== actions, and sapwood tree'
# In the folder that goes with the tour: what the program says to do next is done here.
(
    cd "$work"
    "$programs/actions" --log actions.json --out requests.txt
    echo '$ sapwood tree actions.json'
    "$programs/../tools/sapwood" tree actions.json
)

echo
echo '== log_to_file'
mkdir "$work/in"

# This machine's own logs, copied because they may grow meanwhile, binary ones included: the log
# keeps every byte.
while IFS= read -r -d '' log; do
    head -c 4000000 -- "$log" >"$work/in/file-$(printf '%02d' "$(find "$work/in" -type f | wc -l)")"
done < <(find /var/log -type f -readable -size +0 -print0 2>/dev/null | LC_ALL=C sort -z | head -z -n 20)
shopt -s nullglob
files=("$work"/in/file-*)

# Three programs at once: shell loops, each writing its own lines into its own FIFO.
fifos=()
for program in ash birch cedar; do
    for number in {1..500}; do
        echo "$program says line $number of 500"
    done >"$work/in/$program"
    mkfifo "$work/$program.fifo"
    fifos+=("$work/$program.fifo")
    while IFS= read -r line; do
        printf '%s\n' "$line"
    done <"$work/in/$program" >"$work/$program.fifo" &
    writers+=($!)
done

# sed ends each file's last line, as the log does.
LC_ALL=C sed -s '$a\' "$work"/in/* | LC_ALL=C sort >"$work/expected"

echo "${#files[@]} files from /var/log and 3 programs writing into FIFOs at once," \
    "$(lines_in "$work/expected") lines"
"$programs/log_to_file" --out "$work/shared.log" "${files[@]}" "${fifos[@]}"

echo 'shared.log begins:'
head -n 8 "$work/shared.log" | cat -v | cut -c 1-96 | sed 's/^/    /'
echo 'and from each program, the first line that got in:'
for program in ash birch cedar; do
    grep -a -n -m 1 "^$program says" "$work/shared.log" | sed 's/^\([0-9]*\):/    line \1: /'
done

LC_ALL=C sort "$work/shared.log" >"$work/found"
if cmp -s "$work/expected" "$work/found"; then
    echo "CHECK ok: $(lines_in "$work/found") lines out, every input line is there exactly once"
else
    missing=$(LC_ALL=C comm -23 "$work/expected" "$work/found" | wc -l)
    extra=$(LC_ALL=C comm -13 "$work/expected" "$work/found" | wc -l)
    echo "CHECK FAILED: $missing input lines are missing, $extra lines are there that were not input"
    LC_ALL=C comm -3 "$work/expected" "$work/found" | head -n 5 | cat -v
    exit 1
fi

echo
echo 'There are more: ./dev demo collector (four processes post into one log), ./dev demo amqp'
echo '(RabbitMQ), ./dev demo threads_queue (threads beside coroutines), ./dev demo cpu_bound'
