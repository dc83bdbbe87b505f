/* The implementation macro works wherever the first plain include happened to be, and only once. */
#if ORDER == 1 /* plain, implementation, plain */
#include "bprior.h"
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#undef BPRIOR_IMPLEMENTATION
#include "bprior.h"
#elif ORDER == 2 /* implementation twice: the macro left defined */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "bprior.h"
#elif ORDER == 3 /* implementation first, system headers after */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#undef BPRIOR_IMPLEMENTATION
#include <stdio.h>
#include <stdlib.h>
#include "bprior.h"
#else /* 4: system headers first */
#include <stdlib.h>
#include <stdio.h>
#include <math.h>
#include <string.h>
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#endif

int main(void) {
    bp_rng rng = bp_rng_make(3, 4);
    return bp_rng_u32(&rng) == 0 && bp_version() == NULL;
}
