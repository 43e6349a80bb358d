#!/usr/bin/env bash
# Runs the main demonstrations under a restriction and checks what they wrote.
# usage: restricted_demos.sh LAUNCHER PRODUCER_CONSUMER LOG_TO_FILE
set -euo pipefail

launcher=$1 producer_consumer=$2 log_to_file=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$launcher" "$producer_consumer" --seed 1 >/dev/null

fifos=()
for program in ash birch cedar; do
    mkfifo "$work/$program"
    fifos+=("$work/$program")
    for number in {1..500}; do
        echo "$program says line $number of 500"
    done >"$work/$program" &
done
seq -f 'a file says line %g' 1000 >"$work/file"
"$launcher" "$log_to_file" --out "$work/shared.log" "$work/file" "${fifos[@]}"
wait

lines=$(wc -l <"$work/shared.log")
distinct=$(sort -u "$work/shared.log" | wc -l)
echo "$lines lines, $distinct of them distinct, of 2500"
((lines == 2500 && distinct == 2500))
