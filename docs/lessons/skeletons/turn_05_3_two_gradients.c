/* 05_3_two_gradients.c - lesson 5, exercise 3: two estimates of one gradient
 *
 * How does E[Q(a)] change with the mean of a Gaussian policy? Q(a) = -(a - 1)^2 has an answer: -2 (m - 1). It can be estimated
 * from samples in two ways, by the score function (which needs Q alone) and by reparameterisation (which needs Q's slope, E18).
 * Both are right on average. How much they scatter is another matter.
 */
#include "../lesson.h"

enum { N = 40000,
       WAYS = 3 };
static const char *const name[WAYS] = {"score function", "score function, baseline", "reparameterised"};

static double Q(double a) { return -(a - 1) * (a - 1); }
static double slope(double a) { return -2 * (a - 1); } /* dQ/da */

int main(void) {
    const double mean = 0.2, std = 0.3, exact = -2 * (mean - 1), baseline = -(mean - 1) * (mean - 1) - std * std; /* E[Q] */
    double sum[WAYS] = {0}, square[WAYS] = {0}, average[WAYS], variance[WAYS];
    bp_rng rng = bp_rng_make(5, 3);
    bool right = true;
    for (int n = 0; n < N; n++) {
        const double noise = (double)bp_rng_normal(&rng), a = mean + std * noise;
        double g[WAYS] = {0};
        /* YOUR TURN: one sample of d E[Q] / d mean in each of the three ways. The score is d log pi(a) / d mean. */
        for (int k = 0; k < WAYS; k++) sum[k] += g[k], square[k] += g[k] * g[k];
    }
    printf("%-26s average (exactly %.3f)  error bar  variance\n", "", exact);
    for (int k = 0; k < WAYS; k++) {
        average[k] = sum[k] / N;
        variance[k] = square[k] / N - average[k] * average[k];
        printf("%-26s %8.3f %23.3f %9.2f\n", name[k], average[k], sqrt(variance[k] / N), variance[k]);
        right = right && fabs(average[k] - exact) < 5 * sqrt(variance[k] / N);
    }
    claim(right, "all three averages are right within five error bars");
    claim(variance[1] < variance[0], "a baseline takes variance away and adds no bias");
    claim(variance[0] > 10 * variance[2] && variance[2] > 0, "the slope of Q is worth more than ten times the samples");
    return false_claims;
}
