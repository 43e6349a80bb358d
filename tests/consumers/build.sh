#!/usr/bin/env bash
# Builds answer.cpp outside the tree in one way (cmake, pkg-config, subproject), or the program in
# the README (readme), and runs it.
# Exits with 77, Meson's word for "skipped", where the way's tool is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset DESTDIR

libdir=$work/root$SAPWOOD_TEST_PREFIX/$SAPWOOD_TEST_LIBDIR

tool() {
    command -v "$1" >/dev/null || {
        echo "skipped: $1 is not installed"
        exit 77
    }
}

stage() {
    meson install -C "$SAPWOOD_TEST_BUILD" --destdir "$work/root" --no-rebuild --quiet
    # For a shared library; a static one needs no path.
    export LD_LIBRARY_PATH=$libdir
}

cp "$here/answer.cpp" "$here/broker.cpp" "$work"
cd "$work"

case $1 in
cmake)
    tool cmake
    stage
    cp "$here/cmake/CMakeLists.txt" .
    cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_PREFIX_PATH="$work/root$SAPWOOD_TEST_PREFIX" -DHAS_AMQP="$SAPWOOD_TEST_AMQP"
    cmake --build build
    build/answer
    [[ $SAPWOOD_TEST_AMQP == OFF ]] || build/broker
    ;;
pkg-config)
    tool pkg-config
    stage
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    # Unquoted on purpose: both are lists of words.
    # shellcheck disable=SC2046,SC2086
    $CXX -std=c++20 -O2 -o answer answer.cpp $(pkg-config --cflags --libs sapwood)
    ./answer
    [[ $SAPWOOD_TEST_AMQP == ON ]] || exit 0
    # shellcheck disable=SC2046,SC2086
    $CXX -std=c++20 -O2 -o broker broker.cpp $(pkg-config --cflags --libs sapwood_amqp)
    ./broker
    ;;
readme)
    tool pkg-config
    stage
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    sed -n '/^```cpp$/,/^```$/ { /^```/!p }' "$SAPWOOD_TEST_SOURCE/README.md" >readme.cpp
    # shellcheck disable=SC2046,SC2086
    $CXX -std=c++20 -O2 -o readme readme.cpp $(pkg-config --cflags --libs sapwood)
    ./readme
    [[ $(grep -c ' info request [123] done$' app.log) == 9 && $(wc -l <app.log) == 9 ]] || {
        echo "the README's program wrote another log than its nine lines:" >&2
        cat app.log >&2
        exit 1
    }
    ;;
subproject)
    tool meson
    cp "$here/subproject/meson.build" .
    mkdir subprojects
    ln -s "$SAPWOOD_TEST_SOURCE" subprojects/sapwood
    # What this tree has already unpacked need not be downloaded again.
    for unpacked in "$SAPWOOD_TEST_SOURCE"/subprojects/*/; do
        [[ $unpacked == */packagefiles/ || ! -d $unpacked ]] || ln -s "${unpacked%/}" subprojects/
    done
    # Several sources as one, for half the time.
    meson setup build --buildtype=plain --force-fallback-for=sapwood \
        -Dsapwood:amqp=disabled -Dunity=on -Dunity_size=40 -Dcpp_args=-Wno-shadow
    ninja -C build answer
    build/answer
    ;;
*)
    echo "build.sh: unknown way '$1'" >&2
    exit 2
    ;;
esac
