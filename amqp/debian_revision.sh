#!/bin/sh
# Whether Debian's librabbitmq has the revision from which on no read goes out of bounds: where it is older, prints
# it and fails. Elsewhere than on Debian, and of what no package of its owns, there is no revision, and this succeeds.
#
#   debian_revision.sh LEAST FILE [OS-RELEASE]    FILE is one of the library's, as its .pc
set -eu
least=$1 file=$2 os=${3:-/etc/os-release}

[ "$(sed -n 's/^ID=//p' "$os" 2>/dev/null)" = debian ] || exit 0
owner=$(dpkg-query -S "$file" 2>/dev/null) || exit 0
found=$(dpkg-query -W -f '${Version}' "${owner%%: /*}") || exit 0
dpkg --compare-versions "$found" ge "$least" && exit 0
echo "$found"
exit 1
