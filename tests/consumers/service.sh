#!/usr/bin/env bash
# Whether what is installed as a service is one: the example's settings are well, and systemd has
# nothing against the units and finds the sandbox tight. Exits with 77, Meson's word for "skipped",
# where systemd's tools are missing.
#
# usage: service.sh SAPWOOD PACKAGING UNIT
set -euo pipefail

sapwood=$(realpath "$1") # a unit has no folder that it begins in
packaging=$2
unit=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed "s|/run/sapwood|$work|; s|/var/log/sapwood|$work|" "$packaging/serve.toml" >"$work/serve.toml"
"$sapwood" serve --config "$work/serve.toml" --check
# With all that is only shown, and a file for each.
sed -i "s|^#\([a-z[]\)|\1|; s|www-data|root|; s|/etc/sapwood|$work|" "$work/serve.toml"
said=$("$sapwood" serve --config "$work/serve.toml" --check 2>&1 || true)
if [[ $said != *CREDENTIALS_DIRECTORY* ]]; then
    echo "a credential without a directory for them is not told: $said" >&2
    exit 1
fi
if command -v openssl >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test \
        -keyout "$work/tls.key" -out "$work/tls.pem" 2>/dev/null
    echo "shop 0123456789abcdef" >"$work/tokens"
    echo "amqp://shop:secret@localhost/" >"$work/broker"
    chmod 440 "$work/tokens" "$work/broker" # as it looks with an access list
    said=$(CREDENTIALS_DIRECTORY=$work "$sapwood" serve --config "$work/serve.toml" --check 2>&1 || true)
    if [[ $said != *"3 places to listen at, 1 queue: well" && $said != *"built without "* ]]; then
        echo "the example's settings, all of them, are not well: $said" >&2
        exit 1
    fi
fi

# An installation has all of it, with the program's own manual.
staged=$work/staged
meson install -C "$SAPWOOD_TEST_BUILD" --destdir "$staged" --no-rebuild --quiet
prefix=$staged$SAPWOOD_TEST_PREFIX
for each in bin/sapwood lib/systemd/system/sapwood.{service,socket} lib/sysusers.d/sapwood.conf \
    lib/tmpfiles.d/sapwood.conf share/sapwood/serve.toml share/man/man8/sapwood-serve.8 \
    share/man/man1/sapwood{,-grep,-send,-stats,-tail,-tree,-verify}.1; do
    [[ -s $prefix/$each || -s $prefix/$each.gz ]] || {
        echo "an installation has no $each" >&2
        exit 1
    }
done
grep -q "^ExecStart=$SAPWOOD_TEST_PREFIX/bin/sapwood serve " "$prefix/lib/systemd/system/sapwood.service" || {
    echo "the unit that is installed does not start the program that is" >&2
    exit 1
}

# A socket unit's path must outlast the service, and its senders be known before it is there.
if grep -q '^Listen.*=/run/sapwood/' "$packaging/sapwood.socket"; then
    for each in "RuntimeDirectoryPreserve=yes $unit" "PassCredentials=yes $packaging/sapwood.socket"; do
        grep -qx "${each%% *}" "${each#* }" || {
            echo "${each#* } must say ${each%% *}" >&2
            exit 1
        }
    done
fi

command -v systemd-analyze >/dev/null || {
    echo "skipped: systemd-analyze is not installed"
    exit 77
}
mkdir "$work/units"
# The program is not installed, and the user not made.
sed "s|^\(ExecStart[a-zA-Z]*=\)[^ ]*sapwood |\1$sapwood |; s|^User=sapwood|User=root|" "$unit" \
    >"$work/units/sapwood.service"
cp "$packaging/sapwood.socket" "$work/units/"
said=$(systemd-analyze verify --man=no "$work"/units/sapwood.{service,socket} 2>&1 | grep -F "$work/units" || true)
if [[ -n $said ]]; then
    echo "systemd has something against the units:" >&2
    echo "$said" >&2
    exit 1
fi
# 0 to 10 by its count; nobody that is not asked for anything has less than 1.
systemd-analyze security --offline=true --threshold=20 "$unit" >"$work/security" || {
    cat "$work/security" >&2
    exit 1
}
tail -n 1 "$work/security"
