#!/usr/bin/env bash
# RabbitMQ between the ones who log and the log: "Hello World!" first, then a durable log with two
# producers, whose consumer is killed and started again. Under tests/amqp/rabbitmq run, which starts
# a broker of its own: usage: amqp_demo.sh FOLDER, where the two programs are.
set -euo pipefail

programs=$1
url=${SAPWOOD_AMQP_URL:?is set by tests/amqp/rabbitmq run}
work=$(mktemp -d)
consumer=
clean_up() {
    [[ -z $consumer ]] || kill -9 "$consumer" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

hello() { "$programs/amqp_hello" "$@" --url "$url"; }
log() { "$programs/amqp_log" "$@" --url "$url"; }

echo "A queue, one who sends, one who receives:"
hello send
hello receive --count 1

echo
echo "Two producers, and a consumer that is killed while it writes:"
"$programs/amqp_log" consume --log "$work/amqp.log" --url "$url" &
consumer=$!
disown
log produce --count 300 --flag one &
first=$!
log produce --count 300 --flag two
wait "$first"
kill -9 "$consumer"
consumer=
lines=$(wc -l <"$work/amqp.log")
echo "It was killed with $lines lines in the log. Another one goes on:"
"$programs/amqp_log" consume --log "$work/amqp.log" --prefetch 256 --url "$url" &
consumer=$!
for ((i = 0; i < 300; ++i)); do
    (($(grep -c flag "$work/amqp.log" || true) < 600)) || break
    sleep 0.1
done
kill -TERM "$consumer"
wait "$consumer"
consumer=

echo
tail -n 3 "$work/amqp.log"
lines=$(grep -c flag "$work/amqp.log")
ids=$(grep -o 'id=[^ ]*' "$work/amqp.log" | sort -u | wc -l)
echo "$lines lines of $ids messages; 600 were published"
[[ $lines == 600 && $ids == 600 ]]
