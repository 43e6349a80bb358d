#!/bin/sh
# A revision of Debian's that is too old is named and refused; a newer one, another system's and what no package owns
# are not.
#
#   debian_revision_test.sh SCRIPT
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/dpkg-query" <<'END'
#!/bin/sh
[ -n "$OWNER" ] || exit 1
[ "$1" = -S ] && echo "$OWNER: /a/x.pc" || echo "$REVISION"
END
chmod +x "$work/dpkg-query"
echo 'ID=debian' >"$work/debian"
echo 'ID=arch' >"$work/arch"
PATH=$work:$PATH
command -v dpkg >/dev/null || exit 77

expect() {
    said=$(OWNER=$2 REVISION=$3 "$script" 0.11.0-1+deb12u2 /a/x.pc "$work/$4") && status=0 || status=$?
    if [ "$status $said" != "$1" ]; then
        echo "of '$2' '$3' on $4 it says '$status $said' instead of '$1'"
        exit 1
    fi
}

script=$1
expect '1 0.11.0-1+b1' librabbitmq-dev:amd64 0.11.0-1+b1 debian
expect '1 0.11.0-1+deb12u1' librabbitmq-dev:amd64 0.11.0-1+deb12u1 debian
expect '0 ' librabbitmq-dev:amd64 0.11.0-1+deb12u2 debian
expect '0 ' librabbitmq-dev 0.15.0-1 debian
expect '0 ' librabbitmq 0.11.0-1 arch
expect '0 ' '' '' debian
