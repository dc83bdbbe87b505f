/* 12_4_luck.c - lesson 12, exercise 4: how often does luck look like a result?
 *
 * Seven methods that are all the same, five seeds each. How often does a t test at the 5 % level find a difference between the
 * first two? How often does it find one somewhere among the twenty-one pairs? And what level would one have to ask for?
 */
#include "../lesson.h"

enum { METHODS = 7,
       SEEDS = 5,
       EXPERIMENTS = 20000 };

/* |t| of two samples of SEEDS: difference of the means / sqrt((var1 + var2) / SEEDS), variances with n - 1. */
static double t_of(const double *x, const double *y) {
    double t = 0;
    /* YOUR TURN: compute it */
    return t;
}

int main(void) {
    const double usual = 2.306, strict = 4.352; /* two-sided, 8 degrees of freedom: 5 %, and 5 % / 21 */
    double one = 0, any = 0, any_strict = 0;
    bp_rng rng = bp_rng_make(12, 4);
    for (int n = 0; n < EXPERIMENTS; n++) {
        double x[METHODS][SEEDS], largest = 0;
        for (int k = 0; k < METHODS * SEEDS; k++) x[k / SEEDS][k % SEEDS] = 3 + 0.6 * (double)bp_rng_normal(&rng);
        for (int i = 0; i < METHODS; i++)
            for (int j = i + 1; j < METHODS; j++) largest = fmax(largest, t_of(x[i], x[j]));
        one += (t_of(x[0], x[1]) > usual) / (double)EXPERIMENTS;
        any += (largest > usual) / (double)EXPERIMENTS;
        any_strict += (largest > strict) / (double)EXPERIMENTS;
    }
    printf("a difference where there is none: one pair %.3f, any of 21 pairs %.3f, any at 5 %% / 21 %.3f\n", one, any, any_strict);
    claim(fabs(one - 0.05) < 0.01, "one pair: one time in twenty, as promised");
    claim(any > 0.3, "the best-looking of 21 pairs: more than three times in ten");
    claim(any_strict > 0.01 && any_strict < 0.06, "asked for a 21st of 5 %, it is at most one time in twenty again");
    return false_claims;
}
