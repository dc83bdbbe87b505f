/* lesson.h - what the programs of the exercises share: the library, an exit for errors, and claims.
 *
 * An answer states what it has found out as claims that it checks itself; its status is not 0 when one does not hold.
 * Build, in the root of the project: cc -O2 -I. FILE -lm
 */
#ifndef BPRIOR_LESSON_H
#define BPRIOR_LESSON_H

#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bp_error error; /* every call that can fail leaves a sentence here */

static inline void must(bp_status status) {
    if (status == BP_OK) return;
    fprintf(stderr, "%s: %s\n", bp_status_str(status), error.text);
    exit(2);
}

static int false_claims;

static inline void claim(bool holds, const char *what) {
    printf("%-6s %s\n", holds ? "true" : "FALSE", what);
    false_claims += !holds;
}

/* Are two numbers the same, but for rounding? */
static inline bool near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance * (1 + fabs(b)); }

#endif
