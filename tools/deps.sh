#!/bin/sh
# Install what a task needs and this machine lacks.
#
#   tools/deps.sh demo|test|bench|lint|film|watch|all ...
#
# Every need is checked by trying it, so a second run finds everything, installs nothing and needs no
# network. System packages come from apt (as root, or through sudo). MuJoCo: see tools/mujoco.sh; when it is
# nowhere, Debian's libmujoco-dev is tried, then the `mujoco` Python wheel is unpacked into .deps/ (only its
# headers and its shared library: Python is used to fetch it, never to run bprior).
# What cannot be had is named in one line that says how to get it, and the exit status is 1.
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
CC=${CC:-cc}
export CC

wheel_version=3.17.0
wheel_cpu=$(uname -m)
case $wheel_cpu in
x86_64) wheel_sum=d66928d86a2d1b601bbaa4dc11db50214d17d5301bb8afd84721313b67ff0874 ;;
aarch64) wheel_sum=91a70ed9979c383ff1f5c03f25cc2e1280a8254c1a8e558d5dd7f4184f01efc9 ;;
*) wheel_sum= ;;
esac
wheel_platform=manylinux_2_28_$wheel_cpu
wheel_file=mujoco-$wheel_version-cp311-cp311-manylinux_2_27_$wheel_cpu.$wheel_platform.whl

log=${TMPDIR:-/tmp}/bprior-deps.$$
trap 'rm -rf "$log" "$log.dir"' EXIT
trap 'exit 1' HUP INT TERM

say() { echo "bprior: $*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---- apt ---------------------------------------------------------------------------------------

# How to become root: "" when we are, "sudo -n" or "sudo" when that works, "no" otherwise.
become_root() {
    if [ "$(id -u)" = 0 ]; then echo
    elif have sudo && sudo -n true 2>/dev/null; then echo "sudo -n"
    elif have sudo && [ -t 0 ]; then echo sudo
    else echo no
    fi
}

apt_updated=
apt_get() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q "$@" >>"$log" 2>&1 </dev/null; }
apt_refresh() {
    [ -n "$apt_updated" ] && return 0
    apt_updated=1
    apt_get update
}
apt_ready() {
    have apt-get || return 1
    as_root=${as_root-$(become_root)}
    [ "$as_root" != no ]
}
# apt_install packages...: install, refreshing the package lists if the first attempt fails
apt_install() {
    apt_ready || return 1
    apt_get install --no-install-recommends "$@" && return 0
    apt_refresh && apt_get install --no-install-recommends "$@"
}

# Why did it fail? One line, for the end of a message.
apt_reason() {
    if ! have apt-get; then echo "this is not a Debian or Ubuntu machine"
    elif [ "$as_root" = no ]; then echo "not root, and sudo is missing or wants a password"
    else
        reason=$(grep -m1 '^E: ' "$log" 2>/dev/null | cut -c1-160)
        echo "apt-get said: ${reason:-nothing (see $log)}"
    fi
}

# need CHECK PACKAGE WHY: note the package if the check fails. want: the same, but only warn.
needs= wants=
need() { eval "$1" >/dev/null 2>&1 || { needs="$needs $2"; why="$why$2 ($3), "; }; }
want() { eval "$1" >/dev/null 2>&1 || { wants="$wants $2"; why="$why$2 ($3), "; }; }

install_noted() {
    [ -n "$needs$wants" ] || return 0
    if apt_ready; then say "installing with apt: ${why%, }"; fi
    # All at once first; then one by one, so that one missing package does not cost the others.
    if apt_install $needs $wants; then :
    else
        for p in $needs; do
            apt_install "$p" || die "needs $p: $(apt_reason). Get it with: sudo apt-get install$needs"
        done
        for p in $wants; do
            apt_install "$p" || say "goes on without $p: $(apt_reason). Get it with: sudo apt-get install $p"
        done
    fi
    needs= wants= why=
}

# ---- checks --------------------------------------------------------------------------------------

compiles() { printf '%s\nint main(void) { return 0; }\n' "$1" | $CC -x c - -o /dev/null $2; }
has_libc() { compiles '#include <math.h>
#include <pthread.h>' "-lm -pthread"; }
has_cmocka() { compiles '#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>' -lcmocka; }
has_cxx() { printf '#include <cstddef>\nint main() { return 0; }\n' | g++ -x c++ - -o /dev/null; }
# OpenGL without a window, with a window, and ffmpeg: for pictures only. Training needs none of them.
has_egl() { compiles '#include <EGL/egl.h>'; }
has_osmesa() { compiles '#include <GL/osmesa.h>'; }
has_glfw() { [ -n "$(tools/gl.sh glfw)" ]; }
has_drivers() { ls /usr/lib*/dri/*_dri.so /usr/lib*/*/dri/*_dri.so 2>/dev/null | grep -q .; }
has_cblas() { [ -n "$(tools/cblas.sh)" ]; }
has_sanitizers() { compiles '' "-fsanitize=address,undefined" && compiles '' -fsanitize=thread; }

compiler() {
    have "${CC%% *}" || {
        [ "$CC" = cc ] || die "needs the compiler CC=$CC, which is not on the PATH"
        need "have cc" gcc "the C compiler"
    }
    need has_libc libc6-dev "the C library's headers"
    install_noted
    has_libc || die "$CC cannot compile and link a small C program; try: $CC -v"
}

# ---- MuJoCo --------------------------------------------------------------------------------------

mujoco_found() { tools/mujoco.sh version; }

mujoco_from_apt() {
    apt_ready || return 1
    # Some releases of Ubuntu have no such package: look before promising anything.
    apt-cache show libmujoco-dev >/dev/null 2>&1 || apt_refresh
    apt-cache show libmujoco-dev >/dev/null 2>&1 || return 1
    say "installing with apt: libmujoco-dev (physics of the MuJoCo environments)"
    apt_install libmujoco-dev
}

fetch_wheel() {
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --platform "$wheel_platform" -d "$log.dir" \
        "mujoco==$wheel_version" >>"$log" 2>&1 </dev/null
}

mujoco_from_wheel() { # sets $reason when it fails
    [ -n "$wheel_sum" ] || { reason="no pinned wheel for $wheel_cpu"; return 1; }
    mkdir -p .deps "$log.dir" || { reason="cannot write .deps/"; return 1; }
    if [ ! -f ".deps/$wheel_file" ]; then
        if ! have python3 || ! python3 -m pip --version >/dev/null 2>&1; then
            say "installing with apt: python3-pip (to fetch the MuJoCo $wheel_version wheel)"
            apt_install python3-pip || { reason=$(apt_reason); return 1; }
        fi
        say "fetching the MuJoCo $wheel_version wheel into .deps/ (physics of the MuJoCo environments)"
        # More than once if need be: a server may be slow to wake up.
        for pause in 5 15 30 0; do
            fetch_wheel && break
            [ "$pause" = 0 ] && { reason="pip could not fetch mujoco==$wheel_version (no network?)"; return 1; }
            sleep "$pause"
        done
        mv "$log.dir/$wheel_file" .deps/ 2>/dev/null || { reason="pip brought another file"; return 1; }
    fi
    if ! echo "$wheel_sum  .deps/$wheel_file" | sha256sum -c - >/dev/null 2>&1; then
        reason="sha256 of .deps/$wheel_file is not the pinned one; delete it and try again"
        return 1
    fi
    # Unpack beside, then rename: an interrupted run leaves nothing that looks complete.
    new=.deps/mujoco-$wheel_version.new
    rm -rf "$new"
    have python3 || apt_install python3 || { reason=$(apt_reason); return 1; }
    python3 - ".deps/$wheel_file" "$new" <<'PY' || { reason="cannot unpack .deps/$wheel_file"; return 1; }
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    for name in z.namelist():
        if name.endswith("/") or "/experimental/" in name or "/render/" in name:
            continue
        if name.startswith("mujoco/include/"):
            out = "include/" + name[len("mujoco/include/"):]
        elif name.startswith("mujoco/libmujoco.so"):
            out = "lib/" + os.path.basename(name)
        else:
            continue
        path = os.path.join(sys.argv[2], out)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(z.read(name))
PY
    rm -rf ".deps/mujoco-$wheel_version"
    mv "$new" ".deps/mujoco-$wheel_version"
    rm -f ".deps/$wheel_file"
}

mujoco() {
    case ${MUJOCO:-auto} in none) return 0 ;; esac
    mujoco_found >/dev/null && return 0
    if [ -n "$MUJOCO_DIR" ] && [ "${MUJOCO:-auto}" = auto ]; then
        die "finds no MuJoCo in MUJOCO_DIR=$MUJOCO_DIR: it should hold include/mujoco/mujoco.h and lib/libmujoco.so"
    fi
    reason=
    case ${MUJOCO:-auto} in
    system) mujoco_from_apt || reason="apt has no libmujoco-dev here" ;;
    wheel) mujoco_from_wheel ;;
    auto) mujoco_from_apt || mujoco_from_wheel ;;
    esac
    [ -n "$reason" ] || mujoco_found >/dev/null || reason="it was installed, but $CC cannot link with it"
    [ -z "$reason" ] || die "needs MuJoCo (MUJOCO=${MUJOCO:-auto}): $reason. Get it from its release page and say" \
        "MUJOCO_DIR=/path/to/mujoco, or sudo apt-get install libmujoco-dev; MUJOCO=none tests without it"
}

# ---- tasks ---------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- all
for task; do
    case $task in
    demo | test | bench | lint | film | watch | all) ;;
    *) die "tools/deps.sh knows demo, test, bench, lint, film, watch and all, not '$task'" ;;
    esac
    compiler
    case $task in test | all)
        need has_cmocka libcmocka-dev "the unit tests"
        want has_cxx g++ "the header as C++"
        want "have clang" clang "the header under a second compiler"
        want "have tcc" tcc "the header under a third"
        ;;
    esac
    case $task in demo | bench | all) want "have gnuplot" gnuplot-nox "plots" ;; esac
    case $task in film | test | all)
        want has_egl libegl-dev "pictures without a window, through EGL"
        want has_drivers libgl1-mesa-dri "Mesa's renderers behind EGL"
        want has_osmesa libosmesa6-dev "the same through OSMesa"
        ;;
    esac
    case $task in film | all) want "have ffmpeg" ffmpeg "films" ;; esac
    case $task in watch | all) need has_glfw libglfw3-dev "the window" ;; esac
    case $task in lint | all) need "have clang-format" clang-format "the house layout" ;; esac
    case $task in bench | all) want has_cblas libopenblas-dev "the yardstick of the benchmark" ;; esac
    install_noted
    case $task in demo | test | film | watch | all) mujoco ;; esac
    case $task in film)
        has_egl >/dev/null 2>&1 || has_osmesa >/dev/null 2>&1 ||
            die "needs the headers of EGL or OSMesa to make pictures. Get them with: sudo apt-get install libegl-dev libosmesa6-dev"
        ;;
    esac
    case $task in test | all)
        has_sanitizers >/dev/null 2>&1 ||
            die "needs a $CC that links -fsanitize=address,undefined and thread; Debian's gcc does: make test CC=gcc"
        ;;
    esac
done
exit 0
