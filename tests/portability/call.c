/* A program that only uses the library: declarations here, implementation.c elsewhere. Each call reaches
 * another chapter, so a function that is declared but not linked shows. */
#include "bprior.h"
#include <string.h>

static int check(int ok) {
    return ok ? 0 : 1;
}

int main(void) {
    int bad = 0;
    bp_rng rng = bp_rng_make(1, 2);
    bp_real weights[3], mean[1], std[1];
    mean[0] = BP_R(0), std[0] = BP_R(1);
    bp_rng_normals(weights, &rng, 3);
    bad += check(strcmp(bp_version(), BPRIOR_VERSION) == 0);
    bad += check(strlen(bp_status_str(BP_OK)) > 0);
    bad += check(bp_gaussian_kl(mean, std, mean, std, 1) == BP_R(0));
    return bad;
}
