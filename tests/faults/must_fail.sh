#!/bin/sh
# must_fail.sh PROGRAM MISTAKE CASE: the case must fail where the log makes this mistake, and not
# because it takes too long. Skipped where the case cannot run.
program=$1 mistake=$2 case=$3
output=$(SAPWOOD_TEST_MISTAKE=$mistake timeout 100 "$program" --test-case="$case" 2>&1)
status=$?
# Its count is of a case that is to fail: not one of the tests'.
echo "$output" | tail -n 20 | sed 's,^\[sapwood\] ,the mistake: ,'
if echo "$output" | grep -q 'MESSAGE: skipped: '; then
    exit 77
fi
if echo "$output" | grep -q 'No case was selected'; then
    exit 1
fi
if [ "$status" -eq 0 ] || [ "$status" -eq 124 ]; then
    echo "$mistake is not found by: $case"
    exit 1
fi
