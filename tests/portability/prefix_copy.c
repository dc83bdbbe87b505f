/* One of two whole copies of the library in one program: one float, one double, told apart by prefix. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

unsigned COPY_NAME(unsigned long *size);
unsigned COPY_NAME(unsigned long *size) {
    bp_rng rng = bp_rng_make(5, 6);
    *size = (unsigned long)sizeof(bp_real);
    return bp_rng_u32(&rng);
}

#ifdef COPY_MAIN
unsigned COPY_OTHER(unsigned long *size);
int main(void) {
    unsigned long a, b;
    const unsigned u = COPY_NAME(&a), v = COPY_OTHER(&b);
    return !(a == sizeof(float) && b == sizeof(double) && u == v);
}
#endif
