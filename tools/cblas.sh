#!/bin/sh
# Print the link flags of a CBLAS if there is one, else nothing.  Changes nothing.
for libs in -lopenblas -lcblas "-lblas" ; do
    printf '#include <cblas.h>\nint main(void) { return (int)cblas_sdot(0, 0, 1, 0, 1); }\n' |
        ${CC:-cc} -x c - -o /dev/null $libs >/dev/null 2>&1 && { echo "$libs"; exit 0; }
done
exit 0
