#!/bin/sh
# Skeletons of the programming exercises, made from their answers: docs/lessons/answers/NN_k_name.c without what stands between
#
#   /* [turn] what is to be written here */          (or [turn_1], [turn_2], ...)
#   /* [turn] */
#
#   tools/skeletons.sh           write docs/lessons/skeletons/turn_NN_k_name.c
#   tools/skeletons.sh --check   say which of them are not what this program would write; status 1 if any
cd "$(dirname "$0")/.." || exit 1
mkdir -p docs/lessons/skeletons build/lessons
status=0
for answer in docs/lessons/answers/*.c; do
    name=turn_$(basename "$answer")
    awk '
        /^ *\/\* \[turn(_[0-9])?\] \*\/$/ { inside = 0; next }
        /^ *\/\* \[turn(_[0-9])?\] / { sub(/\[turn(_[0-9])?\]/, "YOUR TURN:"); print; inside = 1; next }
        !inside' "$answer" >"build/lessons/$name"
    if [ "$1" != --check ]; then cp "build/lessons/$name" "docs/lessons/skeletons/$name"
    elif ! cmp -s "build/lessons/$name" "docs/lessons/skeletons/$name"; then
        echo "error: docs/lessons/skeletons/$name is not made from its answer: run tools/skeletons.sh"
        status=1
    fi
done
for skeleton in docs/lessons/skeletons/*.c; do
    name=$(basename "$skeleton")
    [ -f "docs/lessons/answers/${name#turn_}" ] || { echo "error: $skeleton has no answer"; status=1; }
done
exit $status
