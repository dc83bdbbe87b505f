/* 02_gaussian_kl.c - one divergence, computed in three ways that know nothing of each other
 *
 * What you learn:  what KL[p||q] measures, that it is not symmetric, how to test a formula by integrating and by sampling,
 *                  what an error bar is good for, and how fast each way is right.
 * Difficulty:      * (of *****)
 * Build:           cc -O2 -I. examples/02_gaussian_kl.c -o 02_gaussian_kl -lm
 *
 * The price of leaving a behavior prior q for a policy p is KL[p||q] = E_p[log p - log q], in nats (E32). For Gaussians
 * there is a formula. Here it is checked against the definition: by the trapezoid rule over the line, and by averaging
 * log p - log q over samples of p. An average is "ok" when it is within four of its standard errors: it is
 * further off once in 16000 times.
 *
 * Expected output:
 *   p = N(mean, std)  q = N(mean, std)    formula   integral    samples
 *   N( 0.0, 1.0)      N( 0.0, 1.0)         0.0000     0.0000    0.000 +- 0.000    ok
 *   N( 1.0, 1.0)      N( 0.0, 1.0)         0.5000     0.5000    0.501 +- 0.005    ok
 *   N( 0.0, 0.5)      N( 0.0, 1.0)         0.3181     0.3181    0.318 +- 0.003    ok
 *   N( 0.0, 1.0)      N( 0.0, 0.5)         0.8069     0.8069    0.793 +- 0.011    ok
 *   N( 0.3, 0.1)      N(-0.2, 0.8)         1.7826     1.7826    1.783 +- 0.004    ok
 *   N( 0.5, 0.2)      N( 0.0, 0.1)        13.3069    13.3069   13.340 +- 0.051    ok
 *   narrow p under wide q costs 0.3181 nats, wide p over narrow q 0.8069: it is not a distance
 *   samples     average  error bar        intervals   integral
 *       100       0.527      0.114                4      0.798
 *      1000       0.501      0.032                8      0.507
 *     10000       0.505      0.010               16      0.500
 *    100000       0.505      0.003               32      0.500
 *   a hundred times the samples, a tenth of the error; but they work in any dimension
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

#include <math.h>
#include <stdio.h>
/* [include] */

/* [gaussian] */
typedef struct gaussian {
    bp_real mean, std;
} gaussian;
/* [gaussian] */

/* [formula] */
/* Way 1: the closed form, log(std_q/std_p) + (std_p^2 + (mean_p - mean_q)^2)/(2 std_q^2) - 1/2. */
static double kl_formula(gaussian p, gaussian q) { return (double)bp_gaussian_kl(&p.mean, &p.std, &q.mean, &q.std, 1); }
/* [formula] */

/* [log_ratio] */
/* log p(a) - log q(a) */
static double log_ratio(gaussian p, gaussian q, bp_real a) {
    return (double)bp_gaussian_log_prob(&a, &p.mean, &p.std, 1) - (double)bp_gaussian_log_prob(&a, &q.mean, &q.std, 1);
}
/* [log_ratio] */

/* [integral] */
/* Way 2: the definition, integral of p (log p - log q), by the trapezoid rule over eight standard deviations to each side. */
static double kl_integral(gaussian p, gaussian q, int intervals) {
    const double low = (double)p.mean - 8 * (double)p.std, h = 16 * (double)p.std / intervals;
    double sum = 0;
    for (int i = 0; i <= intervals; i++) { /* the integrand is nothing at both ends, so they need no factor 1/2 */
        const bp_real a = (bp_real)(low + h * i);
        sum += exp((double)bp_gaussian_log_prob(&a, &p.mean, &p.std, 1)) * log_ratio(p, q, a);
    }
    return sum * h;
}
/* [integral] */

/* [samples] */
/* Way 3: the average of log p - log q over n samples of p. The samples scatter with some standard deviation; the average of n
 * of them scatters sqrt(n) times less, and that is its standard error. Works in any dimension, for any p and q. */
static double kl_samples(double *error, gaussian p, gaussian q, int n, bp_rng *rng) {
    double sum = 0, sum2 = 0;
    for (int i = 0; i < n; i++) {
        bp_real a, noise = bp_rng_normal(rng);
        bp_gaussian_sample(&a, &p.mean, &p.std, &noise, 1);
        const double d = log_ratio(p, q, a);
        sum += d;
        sum2 += d * d;
    }
    const double mean = sum / n, variance = sum2 / n - mean * mean;
    *error = sqrt((variance > 0 ? variance : 0) / n);
    return mean;
}
/* [samples] */

/* [pairs] */
int main(void) {
    const gaussian pairs[6][2] = {
        {{0, 1}, {0, 1}},
        {{1, 1}, {0, 1}},
        {{0, BP_R(0.5)}, {0, 1}},
        {{0, 1}, {0, BP_R(0.5)}},
        {{BP_R(0.3), BP_R(0.1)}, {BP_R(-0.2), BP_R(0.8)}},
        {{BP_R(0.5), BP_R(0.2)}, {0, BP_R(0.1)}},
    };
    bp_rng rng = bp_rng_make(2, 0);
    double error;
    /* [pairs] */

    /* [table] */
    printf("p = N(mean, std)  q = N(mean, std)    formula   integral    samples\n");
    for (int i = 0; i < 6; i++) {
        const gaussian p = pairs[i][0], q = pairs[i][1];
        const double formula = kl_formula(p, q), average = kl_samples(&error, p, q, 40000, &rng);
        printf("N(%4.1f, %.1f)      N(%4.1f, %.1f)     %10.4f %10.4f %8.3f +- %.3f    %s\n", (double)p.mean, (double)p.std,
               (double)q.mean, (double)q.std, formula, kl_integral(p, q, 200), average, error,
               fabs(average - formula) <= 4 * error + 1e-6 ? "ok" : "WRONG");
    }
    printf("narrow p under wide q costs %.4f nats, wide p over narrow q %.4f: it is not a distance\n",
           kl_formula(pairs[2][0], pairs[2][1]), kl_formula(pairs[3][0], pairs[3][1]));
    /* [table] */

    /* [rates] */
    /* How fast do they get better? For p = N(1,1), q = N(0,1), with the answer 1/2. */
    const gaussian p = pairs[1][0], q = pairs[1][1];
    printf("samples     average  error bar        intervals   integral\n");
    for (int i = 0, n = 100; i < 4; i++, n *= 10) {
        const double average = kl_samples(&error, p, q, n, &rng);
        printf("%7d     %7.3f  %9.3f        %9d    %7.3f\n", n, average, error, 4 << i, kl_integral(p, q, 4 << i));
    }
    printf("a hundred times the samples, a tenth of the error; but they work in any dimension\n");
    return 0;
}
/* [rates] */
