#!/bin/sh
# Portability of the headers: every way of including them is built under the house warnings, linked and called.
#
#   tests/portability/run.sh list      names of the checks
#   tests/portability/run.sh NAME      run one; status 0 passed, 77 not possible here (last line says why)
#
# C and CXX compilers under test: gcc and clang where they are found, tcc as a bonus. Machines other than this one: 64-bit ARM in
# QEMU, Windows in Wine, and musl as another C library; the tests run there without cmocka (alone/cmocka.h).
cd "$(dirname "$0")/../.." || exit 1
here=tests/portability
scalar=
warn="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Werror"
standards="c99 c11 c17 c++11 c++17"

if [ "$1" = list ]; then
    for cc in gcc clang; do
        for std in $standards; do
            for scalar in float double; do echo "warnings-$cc-$std-$scalar"; done
        done
        for name in warnings-O2 static order units mixed mismatch prefix; do echo "$name-$cc"; done
    done
    echo symbols fast-math tcc tldr readme mujoco-c99 mujoco-c++ film
    echo aarch64 aarch64-double musl mingw
    echo embed-pkgconfig embed-cmake embed-meson embed-static embed-cortex-m3
    exit 0
fi

name=$1
dir=build/portability/$name
rm -rf "$dir"
mkdir -p "$dir" || exit 1

skip() { echo "$*"; exit 77; }
run() { echo "+ $*"; "$@" || { echo "error: failed: $*"; exit 1; }; }
must_fail() { echo "! $*"; if "$@" >"$dir/out" 2>&1; then echo "error: this should have failed: $*"; exit 1; fi; }

# compile COMPILER STANDARD FLAGS...: as C or as C++ according to the standard
compile() {
    driver=$1 std=$2
    shift 2
    case $std in
    c++*) run $(cxx $driver) -std=$std -x c++ $warn -I. "$@" ;;
    *) run $driver -std=$std -x c $warn -I. "$@" ;;
    esac
}
cxx() { case $1 in gcc) echo g++ ;; clang) echo clang++ ;; *) echo "$1" ;; esac; }
link() { # COMPILER STANDARD OUT OBJECTS
    driver=$1
    case $2 in c++*) driver=$(cxx $1) ;; esac
    shift 2
    run $driver -o "$@" -lm -pthread
}
compiler_or_skip() {
    command -v "$1" >/dev/null 2>&1 || skip "no $1 on this machine"
    case $2 in c++*)
        other=$(cxx $1)
        command -v $other >/dev/null 2>&1 || skip "no $other on this machine"
        printf '#include <cstddef>\n' | $other -x c++ -fsyntax-only - 2>/dev/null || skip "$other has no C++ library here"
        ;;
    esac
}
scalar_flag() { [ "$1" = double ] && echo -DBPRIOR_DOUBLE; }
# global symbols that an object defines, one per line: type name
defined() { nm -g --defined-only "$1" | awk 'NF == 3 { print $2, $3 }'; }

# house C_COMPILER CXX_COMPILER: the header as C99 and C++11 under the house warnings, float and double
house() {
    for flags in -DBPRIOR_THREADS -DBPRIOR_DOUBLE; do
        run $1 -std=c99 -x c $warn -I. $flags -fsyntax-only $here/implementation.c
        run $2 -std=c++11 -x c++ $warn -I. $flags -fsyntax-only $here/implementation.c
    done
}
# abroad COMPILE START TESTS...: builds and runs tests/test_NAME.c. COMPILE makes programs for the other machine, START runs
# them here (empty: they run by themselves). As in the Makefile, tests that only call the library share one object of it.
# Last, bits.c has to print the same here and there.
abroad() {
    build="$1 -Wall -Wextra -Werror -I. -Itests -I$here/alone" start=$2
    shift 2
    run $build -c -o "$dir/bprior.o" $here/implementation.c
    for name; do
        shared="-DBPRIOR_IMPLEMENTED $dir/bprior.o"
        ! grep -q -E 'bpi_|BPI_|define +BPRIOR_[^I]' tests/test_$name.c || shared=
        run $build -o "$dir/$name.exe" tests/test_$name.c $shared -lm
        echo "+ $start $dir/$name.exe"
        $start "$dir/$name.exe" >"$dir/$name.out" 2>&1 || { cat "$dir/$name.out"; echo "error: failed: tests/test_$name.c"; exit 1; }
        cat "$dir/$name.out"
    done
    run $build -o "$dir/bits.exe" $here/bits.c "$dir/bprior.o" -lm
    $start "$dir/bits.exe" | tr -d '\r' >"$dir/there"
    run ${CC:-cc} -std=gnu99 -O1 -DBPRIOR_NO_SIMD $scalar -I. -o "$dir/bits" $here/bits.c $here/implementation.c -lm
    "$dir/bits" >"$dir/here"
    diff "$dir/here" "$dir/there" || { echo "error: other bits here (<) than there (>)"; exit 1; }
    cat "$dir/there"
}
# example COMPILE START NAME: examples/NAME.c prints what it says it prints
example() {
    run $1 -std=c99 $warn -I. -o "$dir/$3.exe" examples/$3.c -lm
    printf '#!/bin/sh\n%s "%s" | tr -d "\\r"\n' "$2" "$dir/$3.exe" >"$dir/$3.sh" # check-example.sh takes a program, not a command
    chmod +x "$dir/$3.sh"
    mkdir -p build/log
    run tools/check-example.sh "$dir/$3.sh" examples/$3.c
}

case $name in
aarch64*) # the NEON kernel: the tests of everything that calls it, in QEMU
    scalar=$(scalar_flag "${name#aarch64-}")
    gcc=aarch64-linux-gnu-gcc gxx=aarch64-linux-gnu-g++
    command -v $gcc >/dev/null 2>&1 && command -v $gxx >/dev/null 2>&1 || skip "no $gcc or $gxx on this machine"
    if [ -z "$scalar" ]; then
        house $gcc $gxx
        ! command -v clang >/dev/null 2>&1 || house "clang --target=aarch64-linux-gnu" "clang++ --target=aarch64-linux-gnu"
    fi
    command -v qemu-aarch64 >/dev/null 2>&1 || skip "no qemu-aarch64 on this machine to run what it compiles"
    # In double not chapter 4: its test compares with long double, which has 128 bits there and is slow library code.
    tests="04_linalg 05_distributions 06_layers 07_networks 08_optimiser"
    [ -z "$scalar" ] || tests="05_distributions 06_layers 07_networks 08_optimiser"
    abroad "$gcc -std=gnu99 -O2 -static -pthread -DBPRIOR_THREADS $scalar" qemu-aarch64 $tests
    [ -n "$scalar" ] || grep -q '^kernel neon runs here' "$dir/04_linalg.out" || { echo "error: no test met the NEON kernel"; exit 1; }
    ;;
musl) # another C library, and another libm
    command -v musl-gcc >/dev/null 2>&1 || skip "no musl-gcc on this machine"
    run musl-gcc -std=c99 $warn -I. -DBPRIOR_THREADS -fsyntax-only $here/implementation.c
    example "musl-gcc -O2 -static" "" 01_network
    example "musl-gcc -O2 -static" "" 05_pendulum
    abroad "musl-gcc -std=gnu99 -O1 -static -pthread -DBPRIOR_THREADS" "" 04_linalg 05_distributions 19_resume 20_files
    ;;
mingw) # Windows: another format of long, threads through winpthreads, files through stdio
    gcc=x86_64-w64-mingw32-gcc gxx=x86_64-w64-mingw32-g++
    command -v $gcc >/dev/null 2>&1 && command -v $gxx >/dev/null 2>&1 || skip "no $gcc or $gxx on this machine"
    house $gcc $gxx
    run $gcc -std=gnu99 -O0 -static -pthread -DBPRIOR_THREADS $warn -I. -o "$dir/call.exe" $here/call.c $here/implementation.c -lm
    command -v wine >/dev/null 2>&1 || skip "it compiles; no wine on this machine to run it"
    # Not below build/: its z: is a link to /, which whoever walks through the project's folders would follow.
    WINEPREFIX=$(mktemp -d "${TMPDIR:-/tmp}/bprior-wine.XXXXXX") WINEDEBUG=-all
    trap 'wineserver -k 2>/dev/null; rm -rf "$WINEPREFIX"' EXIT
    export WINEPREFIX WINEDEBUG
    run wine "$dir/call.exe"
    example "$gcc -O1 -static" wine 05_pendulum
    # Without AVX so far, as everyone gets it; here with it, as the gcc of the name above is Debian's (docs/pages/64_porting.md).
    abroad "$gcc -std=gnu99 -O1 -static -pthread -DBPRIOR_THREADS -DBPRIOR_WINDOWS_AVX" wine 04_linalg 16_replay 19_structured
    ;;
warnings-O2-*) # what only the optimiser's view reveals
    cc=${name#warnings-O2-}
    compiler_or_skip $cc c++11
    compile $cc c99 -O2 -DBPRIOR_THREADS -c -o "$dir/a.o" $here/implementation.c
    compile $cc c++11 -O2 -DBPRIOR_DOUBLE -c -o "$dir/a.o" $here/implementation.c
    ;;
warnings-*) # warnings-COMPILER-STANDARD-SCALAR
    rest=${name#warnings-} cc=${rest%%-*} rest=${rest#*-} std=${rest%-*}
    scalar=$(scalar_flag "${rest##*-}")
    compiler_or_skip $cc $std
    compile $cc $std $scalar -fsyntax-only $here/call.c
    for threads in "" -DBPRIOR_THREADS; do
        compile $cc $std $scalar $threads -fsyntax-only $here/implementation.c
    done
    compile $cc $std $scalar -c -o "$dir/implementation.o" $here/implementation.c
    compile $cc $std $scalar -c -o "$dir/call.o" $here/call.c
    link $cc $std "$dir/call" "$dir/call.o" "$dir/implementation.o"
    run "$dir/call"
    ;;
static-*) # nothing unused warned about, nothing exported, two copies in one program
    cc=${name#static-}
    compiler_or_skip $cc c++11
    for std in c99 c++11; do
        compile $cc $std -DCOPY_NAME=one_version -DCOPY_OTHER=two_version -DCOPY_MAIN -c -o "$dir/one.o" $here/static_copy.c
        compile $cc $std -DCOPY_NAME=two_version -c -o "$dir/two.o" $here/static_copy.c
        link $cc $std "$dir/static" "$dir/one.o" "$dir/two.o"
        run "$dir/static"
        ! defined "$dir/two.o" | grep ' bp_' || { echo "error: BPRIOR_STATIC exports these"; exit 1; }
    done
    ;;
order-*)
    cc=${name#order-}
    compiler_or_skip $cc
    for order in 1 2 3 4; do
        compile $cc c99 -DORDER=$order -c -o "$dir/$order.o" $here/order.c
        link $cc c99 "$dir/$order" "$dir/$order.o"
        run "$dir/$order"
    done
    ;;
units-*) # implementation in one unit, used from another; also with everything the thread option brings
    cc=${name#units-}
    compiler_or_skip $cc
    for flags in "" -DBPRIOR_THREADS "-DBPRIOR_THREADS -DBPRIOR_DOUBLE"; do
        compile $cc c99 $flags -c -o "$dir/a.o" $here/implementation.c
        compile $cc c99 $flags -c -o "$dir/b.o" $here/call.c
        link $cc c99 "$dir/two" "$dir/a.o" "$dir/b.o"
        run "$dir/two"
    done
    ;;
mixed-*) # the library in C, its user in C++
    cc=${name#mixed-}
    compiler_or_skip $cc c++11
    compile $cc c99 -c -o "$dir/a.o" $here/implementation.c
    compile $cc c++11 -c -o "$dir/b.o" $here/call.c
    link $cc c++ "$dir/mixed" "$dir/a.o" "$dir/b.o"
    run "$dir/mixed"
    ;;
mismatch-*)
    cc=${name#mismatch-}
    compiler_or_skip $cc
    compile $cc c99 -c -o "$dir/float.o" $here/implementation.c
    compile $cc c99 -DBPRIOR_DOUBLE -c -o "$dir/double.o" $here/implementation.c
    for pair in "float float BP_OK" "double double BP_OK" "float double BP_ERR_ABI" "double float BP_ERR_ABI"; do
        set -- $pair
        compile $cc c99 $(scalar_flag $1) -DEXPECTED=$3 -c -o "$dir/use.o" $here/mismatch.c
        link $cc c99 "$dir/mismatch" "$dir/use.o" "$dir/$2.o"
        run "$dir/mismatch"
    done
    ;;
prefix-*)
    cc=${name#prefix-}
    compiler_or_skip $cc
    compile $cc c99 -DBPRIOR_PREFIX=one_ -DCOPY_NAME=copy_one -DCOPY_OTHER=copy_two -DCOPY_MAIN -c -o "$dir/one.o" $here/prefix_copy.c
    compile $cc c99 -DBPRIOR_PREFIX=two_ -DBPRIOR_DOUBLE -DCOPY_NAME=copy_two -c -o "$dir/two.o" $here/prefix_copy.c
    ! defined "$dir/two.o" | grep -v -E ' (two_bp_|copy_two)' || { echo "error: these kept their names"; exit 1; }
    link $cc c99 "$dir/prefix" "$dir/one.o" "$dir/two.o"
    run "$dir/prefix"
    ;;
symbols) # everything global starts with bp_, and there is no mutable data at all
    compile ${CC:-cc} c99 -fno-pic -DBPRIOR_THREADS -c -o "$dir/a.o" $here/implementation.c
    ! defined "$dir/a.o" | grep -v ' bp_' || { echo "error: global names without bp_"; exit 1; }
    ! nm "$dir/a.o" | grep -E ' [bBdDCsSgG] ' || { echo "error: mutable data"; exit 1; }
    ! nm "$dir/a.o" | grep -E -w 'U (printf|puts|putchar|exit|abort|_exit|__assert_fail|stderr|stdout|rand|srand|time)' ||
        { echo "error: the library prints, exits or has global state through these"; exit 1; }
    ;;
fast-math)
    must_fail ${CC:-cc} -ffast-math -I. -c -o "$dir/a.o" $here/implementation.c
    grep -q -i 'fast' "$dir/out" || { cat "$dir/out"; echo "error: the message does not say why"; exit 1; }
    run ${CC:-cc} -ffast-math -DBPRIOR_ALLOW_FAST_MATH -I. -c -o "$dir/a.o" $here/implementation.c
    ;;
tcc)
    command -v tcc >/dev/null 2>&1 || skip "no tcc on this machine"
    for flags in "" -DBPRIOR_DOUBLE; do
        run tcc -Wall -Werror $flags -I. -o "$dir/call" $here/call.c $here/implementation.c -lm
        run "$dir/call"
    done
    ;;
readme) # the embedding program of README.md
    sed -n '/<!-- complete:/,/^```$/p' README.md | sed '1,2d;$d' >"$dir/readme.c"
    grep -q 'int main' "$dir/readme.c" || { echo "error: no complete program in README.md"; exit 1; }
    run ${CC:-cc} -std=c99 $warn -O2 -I. -o "$dir/readme" "$dir/readme.c" -lm
    (cd "$dir" && run ./readme >printed && grep '^mean return' printed && test -s pendulum.safetensors) || exit 1
    ;;
tldr) # the program in the header's first screen, as a reader would copy it
    sed -n '/--- tldr\.c ---/,/--- end ---/p' bprior.h | sed '1d;$d;s/^ \*//;s/^     //' >"$dir/tldr.c"
    grep -q 'int main' "$dir/tldr.c" || { echo "error: no program between the tldr.c marks"; exit 1; }
    [ "$(wc -l <"$dir/tldr.c")" -lt 60 ] || { echo "error: it has 60 lines or more"; exit 1; }
    run ${CC:-cc} -std=c99 $warn -O2 -I. -o "$dir/tldr" "$dir/tldr.c" -lm
    (cd "$dir" && run ./tldr >printed) || exit 1
    # "return -1291 before, -181 after": it has to have learned something, whatever the kernel's last bits.
    cat "$dir/printed"
    awk '/^return / { ok = $4 > $2 + 500 } END { exit !ok }' "$dir/printed" || { echo "error: it learned nothing"; exit 1; }
    ;;
mujoco-*)
    [ -f bprior_mujoco.h ] || skip "no bprior_mujoco.h here"
    std=${name#mujoco-}
    cflags=$(tools/mujoco.sh cflags) || skip "no MuJoCo on this machine"
    if [ "$std" = c++ ]; then # newer MuJoCo headers are C++17 themselves
        std=c++11
        compiler_or_skip gcc $std
        echo '#include <mujoco/mujoco.h>' | g++ -std=c++11 -x c++ $cflags -fsyntax-only - 2>/dev/null || std=c++17
        echo "as $std, the oldest that MuJoCo's own header takes"
    fi
    compiler_or_skip gcc $std
    printf '#define BPRIOR_IMPLEMENTATION\n#include "bprior.h"\n#include "bprior_mujoco.h"\n' >"$dir/both.c"
    printf '#include "bprior_mujoco.h"\nint nothing(void);\nint nothing(void) { return 0; }\n' >"$dir/alone.c"
    printf '#define BPRIOR_STATIC\n#define BPRIOR_IMPLEMENTATION\n#define BPRIOR_MUJOCO_IMPLEMENTATION\n#include "bprior_mujoco.h"\nint main(void) { return bp_version() == NULL; }\n' >"$dir/static.c"
    for flags in "" -DBPRIOR_DOUBLE; do
        compile gcc $std $cflags $flags -DBPRIOR_MUJOCO_IMPLEMENTATION -fsyntax-only "$dir/both.c"
        compile gcc $std $cflags $flags -fsyntax-only "$dir/alone.c"
        compile gcc $std $cflags $flags -fsyntax-only "$dir/static.c"
    done
    compile gcc $std $cflags -DBPRIOR_MUJOCO_IMPLEMENTATION -c -o "$dir/both.o" "$dir/both.c"
    ! defined "$dir/both.o" | grep -v ' bp_' || { echo "error: global names without bp_"; exit 1; }
    ;;
film) # pictures: as C and C++ under the warnings; nothing of OpenGL is needed to link, with them or without
    cflags=$(tools/mujoco.sh cflags) || skip "no MuJoCo on this machine"
    gl=$(tools/gl.sh cflags)
    printf '#define BPRIOR_IMPLEMENTATION\n#define BPRIOR_MUJOCO_IMPLEMENTATION\n#include "bprior_mujoco.h"\n' >"$dir/film.c"
    for flags in "" $gl "$gl"; do
        compile gcc c99 $cflags $flags -fsyntax-only "$dir/film.c"
        ! printf '#include <mujoco/mujoco.h>\n' | g++ -std=c++11 -x c++ $cflags -fsyntax-only - 2>/dev/null ||
            compile gcc c++11 $cflags $flags -fsyntax-only "$dir/film.c"
        compile gcc c99 $cflags $flags -O1 -DBPRIOR_NO_SIMD -c -o "$dir/film.o" "$dir/film.c"
        ! nm -u "$dir/film.o" | grep -E ' (egl|OSMesa|gl[A-Z]|glX|glfw)' || { echo "error: these need an OpenGL library"; exit 1; }
        [ -n "$flags" ] || ! nm -u "$dir/film.o" | grep -E ' dl(open|sym)' || { echo "error: dlopen() without films"; exit 1; }
    done
    run gcc -std=c99 -x c $warn -I. $cflags $gl -fsyntax-only examples/film.c
    [ -z "$(tools/gl.sh glfw)" ] || run gcc -std=c99 -x c $warn -I. $cflags -fsyntax-only examples/watch.c
    ;;
embed-*) # the projects of tests/embed, each built as its user would: a C and a C++ program, or one without heap and files
    embed=tests/embed
    quick="-O0 -DBPRIOR_NO_SIMD" # the projects are under test, not the kernels
    run ${CC:-cc} -std=c99 $warn $quick -I. -o "$dir/policy" $embed/policy.c $embed/bprior.c -lm
    (cd "$dir" && run ./policy) || exit 1
    case $name in
    *-static | *-cortex-m3)
        { # what `xxd -i policy.safetensors` prints
            echo 'static const unsigned char policy_safetensors[] = {'
            od -An -v -t x1 "$dir/policy.safetensors" | sed 's/ \(..\)/0x\1,/g'
            echo '};'
            echo 'static const unsigned policy_safetensors_len = sizeof policy_safetensors;'
        } >"$dir/policy.h"
        ;;
    esac
    small="-std=c99 -Os -ffunction-sections -fdata-sections -Wl,--gc-sections"
    case $name in
    *-pkgconfig)
        command -v pkg-config >/dev/null 2>&1 || skip "no pkg-config on this machine"
        run make -s install PREFIX="$(pwd)/$dir/installed"
        PKG_CONFIG_PATH=$(pwd)/$dir/installed/lib/pkgconfig
        export PKG_CONFIG_PATH
        run ${CC:-cc} -std=c99 $quick $(pkg-config --cflags bprior) -o "$dir/robot" $embed/robot.c $embed/bprior.c $(pkg-config --libs bprior)
        set -- "$dir/robot"
        ;;
    *-cmake)
        command -v cmake >/dev/null 2>&1 || skip "no cmake on this machine"
        run cmake -S $embed -B "$dir/build" -DCMAKE_C_FLAGS="$quick"
        run cmake --build "$dir/build"
        set -- "$dir/build/robot" "$dir/build/game"
        ;;
    *-meson)
        command -v meson >/dev/null 2>&1 || skip "no meson on this machine"
        run make -s install PREFIX="$(pwd)/$dir/installed"
        run env CFLAGS="$quick" meson setup "$dir/build" $embed --buildtype plain -Dpkg_config_path="$(pwd)/$dir/installed/lib/pkgconfig"
        run meson compile -C "$dir/build"
        set -- "$dir/build/robot" "$dir/build/game"
        ;;
    *-static)
        run ${CC:-cc} $warn $small -I. -I"$dir" -o "$dir/firmware" $embed/firmware.c -lm
        set -- "$dir/firmware"
        ;;
    *-cortex-m3)
        command -v arm-none-eabi-gcc >/dev/null 2>&1 || skip "no arm-none-eabi-gcc on this machine"
        run arm-none-eabi-gcc $small -mcpu=cortex-m3 -mthumb --specs=rdimon.specs -T $embed/cortex-m3.ld -I. -I"$dir" \
            -o "$dir/firmware.elf" $embed/firmware.c $embed/cortex-m3.s -lm
        command -v qemu-system-arm >/dev/null 2>&1 || skip "it compiles; no qemu-system-arm on this machine to run it"
        run timeout 60 qemu-system-arm -M mps2-an385 -nographic -semihosting -kernel "$dir/firmware.elf" >"$dir/printed"
        cat "$dir/printed"
        grep -q '^torque' "$dir/printed" || { echo "error: it did not act"; exit 1; }
        exit 0
        ;;
    esac
    for program; do
        "$program" "$dir/policy.safetensors" >"$dir/printed" || { cat "$dir/printed"; echo "error: $program failed"; exit 1; }
        cat "$dir/printed"
        grep -q '^torque' "$dir/printed" || { echo "error: $program did not act"; exit 1; }
    done
    ;;
*)
    echo "no such check: $name"
    exit 1
    ;;
esac
exit 0
