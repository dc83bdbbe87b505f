/* A private copy inside one unit. Compiled twice (COPY_NAME differs) and linked into one program. */
#define BPRIOR_STATIC
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

const char *COPY_NAME(void);
const char *COPY_NAME(void) {
    return bp_version();
}

#ifdef COPY_MAIN
const char *COPY_OTHER(void);
int main(void) {
    return COPY_NAME() == NULL || COPY_OTHER() == NULL;
}
#endif
