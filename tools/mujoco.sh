#!/bin/sh
# Where is MuJoCo, and how does one compile and link with it?  Changes nothing.
#
#   tools/mujoco.sh cflags|libs|tag|version
#
# Reads from the environment
#   MUJOCO_DIR   a MuJoCo installation: the release archive, or the `mujoco` directory of the Python wheel
#   MUJOCO       auto (default): MUJOCO_DIR, else the system's, else the wheel in .deps/
#                system, wheel: only that one;  none: pretend there is none
# and prints nothing, with status 1, when there is none. `tag` is a word for directory names.
root=$(cd "$(dirname "$0")/.." && pwd)
CC=${CC:-cc}
wheel_version=3.17.0
choice=${MUJOCO:-auto}
[ -n "$MUJOCO_DIR" ] && [ "$choice" = auto ] && choice=dir

# The version from mujoco.h's mjVERSION_HEADER: 222 is 2.2.2, 3017000 is 3.17.0.
header_version() { # $1: compiler flags
    v=$(printf '#include <mujoco/mujoco.h>\nBPRIOR_V mjVERSION_HEADER\n' |
        $CC $1 -E -P -x c - 2>/dev/null | sed -n 's/^BPRIOR_V *//p')
    case $v in
    '' | *[!0-9]*) return 1 ;;
    ???) echo "$((v / 100)).$((v / 10 % 10)).$((v % 10))" ;;
    *) echo "$((v / 1000000)).$((v / 1000 % 1000)).$((v % 1000))" ;;
    esac
}

# $1: a directory with include/mujoco/mujoco.h and libmujoco.so[.version] in it or in its lib/
from_dir() {
    [ -f "$1/include/mujoco/mujoco.h" ] || return 1
    for lib in "$1"/lib/libmujoco.so "$1"/lib/libmujoco.so.* "$1"/libmujoco.so "$1"/libmujoco.so.*; do
        [ -f "$lib" ] || continue
        cflags="-isystem $1/include"
        libs="$lib -Wl,-rpath,$(dirname "$lib")"
        version=$(header_version "$cflags") || return 1
        return 0
    done
    return 1
}

from_system() {
    version=$(header_version "") || return 1
    printf 'int main(void) { return 0; }\n' |
        $CC -x c - -o /dev/null -lmujoco >/dev/null 2>&1 || return 1
    cflags= libs=-lmujoco
}

kind=$choice
case $choice in
none) exit 1 ;;
dir) from_dir "$(cd "$MUJOCO_DIR" 2>/dev/null && pwd)" || exit 1 ;;
system) from_system || exit 1 ;;
wheel) from_dir "$root/.deps/mujoco-$wheel_version" || exit 1 ;;
auto)
    if from_system; then kind=system
    elif from_dir "$root/.deps/mujoco-$wheel_version"; then kind=wheel
    else exit 1
    fi
    ;;
*)
    echo "bprior: MUJOCO=$choice is not one of auto, system, wheel, none" >&2
    exit 1
    ;;
esac

case $1 in
cflags) echo "$cflags" ;;
libs) echo "$libs" ;;
version) echo "$version" ;;
tag) echo "mujoco-$version-$kind" ;;
*)
    echo "usage: tools/mujoco.sh cflags|libs|version|tag" >&2
    exit 2
    ;;
esac
