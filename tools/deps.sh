#!/bin/sh
# Install what a task needs and this machine lacks.
#
#   tools/deps.sh demo|test|bench|bench-peers|lint|film|watch|docs|docs-test|all ...
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
has_sans() { [ -n "$(fc-match -f '%{file}' 'DejaVu Sans' 2>/dev/null | grep -i dejavu)" ]; }
has_awesome() { [ -f /usr/share/doxygen-awesome-css/doxygen-awesome.css ]; }
has_cblas() { [ -n "$(tools/cblas.sh)" ]; }
has_python_h() { test -f "$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h"; }
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

# ---- packages of the npm registry ----------------------------------------------------------------

# npm_package NAME VERSION SHA256 WHY: the package's files in .deps/NAME, nothing of it run
npm_package() {
    [ "$(cat ".deps/$1/.version" 2>/dev/null)" = "$2" ] && return 0
    want_file=$1-$2.tgz
    mkdir -p .deps "$log.dir" || die "cannot write .deps/"
    have npm || { need "have npm" npm "to fetch $1"; install_noted; }
    say "fetching $1 $2 with npm into .deps/ ($4)"
    for pause in 5 15 30 0; do
        npm pack --silent --pack-destination "$log.dir" "$1@$2" >>"$log" 2>&1 </dev/null && break
        [ "$pause" = 0 ] && die "npm could not fetch $1@$2 (no network?)"
        sleep "$pause"
    done
    echo "$3  $log.dir/$want_file" | sha256sum -c - >/dev/null 2>&1 || die "sha256 of $1@$2 is not the pinned one"
    # Unpack beside, then rename: an interrupted run leaves nothing that looks complete.
    rm -rf ".deps/$1.new" ".deps/$1"
    mkdir -p ".deps/$1.new" && tar xzf "$log.dir/$want_file" -C ".deps/$1.new" --strip-components=1 || die "cannot unpack $1@$2"
    echo "$2" >".deps/$1.new/.version"
    mv ".deps/$1.new" ".deps/$1"
}

# ---- PyTorch, the peer of the benchmark: any that is there, else the pinned one into .deps/python --------

peer_version=2.13.0
has_torch() { PYTHONPATH="$root/.deps/python${PYTHONPATH:+:$PYTHONPATH}" python3 -c 'import torch, numpy'; }

pytorch() {
    has_torch >/dev/null 2>&1 && return 0
    if ! have python3 || ! python3 -m pip --version >/dev/null 2>&1; then
        say "installing with apt: python3-pip (to fetch PyTorch)"
        apt_install python3-pip || die "needs python3-pip to fetch PyTorch: $(apt_reason)"
    fi
    say "fetching PyTorch $peer_version into .deps/python (the peer of the benchmark)"
    rm -rf .deps/python.new
    if python3 -m pip install -q --disable-pip-version-check --target .deps/python.new \
        "torch==$peer_version" numpy >>"$log" 2>&1 </dev/null; then
        rm -rf .deps/python
        mv .deps/python.new .deps/python
    fi
    rm -rf .deps/python.new
    has_torch >/dev/null 2>&1 ||
        die "cannot fetch PyTorch $peer_version with pip (no network?); any PyTorch that python3 can import will do"
}

# ---- tasks ---------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- all
for task; do
    case $task in
    demo | test | bench | bench-peers | lint | film | watch | docs | docs-test | all) ;;
    *) die "tools/deps.sh knows demo, test, bench, bench-peers, lint, film, watch, docs, docs-test and all, not '$task'" ;;
    esac
    compiler
    case $task in test | all)
        need has_cmocka libcmocka-dev "the unit tests"
        want has_cxx g++ "the header as C++"
        want "have clang" clang "the header under a second compiler"
        want "have tcc" tcc "the header under a third"
        want "have cmake" cmake "a CMake project that embeds it"
        want "have meson" meson "a Meson project that embeds it"
        want "have aarch64-linux-gnu-g++" g++-aarch64-linux-gnu "the header for 64-bit ARM"
        want "have qemu-aarch64" qemu-user "to run that"
        want "have musl-gcc" musl-tools "the header under another C library"
        want "have x86_64-w64-mingw32-g++" g++-mingw-w64-x86-64-posix "the header for Windows"
        want "have pkg-config" pkgconf "both, after make install"
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
    case $task in docs | docs-test | all)
        need "have doxygen" doxygen "the documentation site"
        need "have dot" graphviz "its diagrams"
        need has_sans fonts-dejavu-core "letters of diagrams"
        need has_awesome doxygen-awesome-css "its looks"
        need "have node" nodejs "its index and its formulas in print"
        need "have chromium" chromium "the reference as PDF, and the site's tests"
        ;;
    esac
    case $task in bench-peers)
        need "have python3" python3 "PyTorch"
        want has_cxx g++ "what PyTorch compiles"
        want has_python_h python3-dev "what PyTorch compiles"
        ;;
    esac
    install_noted
    case $task in bench-peers) pytorch ;; esac
    case $task in docs | docs-test | all)
        npm_package mathjax 3.2.2 1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09 "formulas, without a network"
        ;;
    esac
    case $task in docs-test | all)
        npm_package playwright-core 1.56.1 fa648e5442796d4160c68dcfc3914ed5224f147852264993e6376e29f0228238 "drives the browser of the site's tests"
        ;;
    esac
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
