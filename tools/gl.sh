#!/bin/sh
# Can films be made here?  Prints, or nothing, with what C programs that make them are compiled and linked:
#
#   tools/gl.sh cflags   -DBPRIOR_MUJOCO_EGL -DBPRIOR_MUJOCO_OSMESA, as far as their headers are there
#   tools/gl.sh libs     of dlopen(), which opens the libraries themselves
#   tools/gl.sh glfw     to link with GLFW, for a window
CC=${CC:-cc}
compiles() { printf '%s\nint main(void) { return 0; }\n' "$1" | $CC -x c - -o /dev/null $2 >/dev/null 2>&1; }
cflags=
compiles '#include <EGL/egl.h>' && cflags="$cflags -DBPRIOR_MUJOCO_EGL"
compiles '#include <GL/osmesa.h>' && cflags="$cflags -DBPRIOR_MUJOCO_OSMESA"
case $1 in
cflags) echo $cflags ;;
libs) [ -z "$cflags" ] || { compiles '' -ldl && echo -ldl; } ;;
glfw) compiles '#include <GLFW/glfw3.h>' -lglfw && echo -lglfw ;;
*)
    echo "usage: tools/gl.sh cflags|libs|glfw" >&2
    exit 2
    ;;
esac
exit 0
