#!/usr/bin/env bash
# Checks which ring a restricted program had, and what it said about it.
# usage: expect_ring.sh RESTRICTION LAUNCHER PROGRAM
set -euo pipefail

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
report=$("$2" "$3" 2>"$errors")
warnings=$(wc -l <"$errors")
printf '%s\n' "$report" "$(cat "$errors")"

case $1 in
without_uring)
    [[ $report == 'epoll and up to '* ]]
    ((warnings == 1))
    grep -q 'seccomp filter refuses it.*425 to 427.*Using epoll and threads instead' "$errors"
    ;;
with_little_memlock)
    # Few entries, but io_uring all the same; it is not worth a word.
    [[ $report == 'io_uring, '* || $report == 'epoll and up to '*'seccomp'* ]]
    ((warnings == 0)) || [[ $report == epoll* ]]
    ;;
esac
