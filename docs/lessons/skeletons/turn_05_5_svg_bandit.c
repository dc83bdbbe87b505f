/* 05_5_svg_bandit.c - lesson 5, exercise 5: SVG(0) with a prior, where the answer is known
 *
 * One state, Q(a) = -c (a - a*)^2, prior N(0, 1). E7 gives the best policy: N(0,1) exp(Q/alpha), normalised, which is again a
 * Gaussian. Find it by the gradient of E21 from samples: dQ/da through the sample (E18), the KL in closed form (E32).
 */
#include "../lesson.h"

#define C 0.4
#define BEST 1.5 /* a* */

/* Add to g = (d loss/d mean, d loss/d log std) one sample of loss = -Q(a) + alpha KL[N(mean, std) || N(0, 1)]. */
static void sample_gradient(bp_real g[2], bp_real mean, bp_real std, bp_real alpha, bp_rng *rng) {
    const bp_real noise = bp_rng_normal(rng), zero = 0, one = 1;
    bp_real a = 0, da = 0, dmean = 0, dstd = 0;
    /* YOUR TURN: bp_gaussian_sample(); da = d(-Q)/da; its pullback, bp_gaussian_sample_backward(); then bp_gaussian_kl_backward() */
    g[0] += dmean;
    g[1] += dstd * std; /* through std = exp(log std) */
}

int main(void) {
    static const double alpha[3] = {0.1, 1, 10};
    bool means = true, stds = true;
    for (int k = 0; k < 3; k++) {
        /* exponent: -a^2/2 - (c/alpha)(a - a*)^2 */
        const double precision = 1 + 2 * C / alpha[k], best_mean = 2 * C / alpha[k] * BEST / precision, best_std = 1 / sqrt(precision);
        bp_real x[2] = {0, 0}, m[2] = {0}, v[2] = {0}; /* mean, log std */
        bp_adam_config adam = bp_adam_config_default();
        bp_rng rng = bp_rng_make(5, 5);
        for (uint64_t step = 1; step <= 6000; step++) {
            bp_real g[2] = {0};
            adam.lr = step < 4000 ? 1e-2 : 1e-3;
            for (int n = 0; n < 16; n++) sample_gradient(g, x[0], bp_exp(x[1]), BP_R(alpha[k]), &rng);
            bp_adam_step(x, m, v, g, 2, &adam, step, 1, 1.0 / 16);
        }
        printf("alpha %-4g mean %.3f (best %.3f), standard deviation %.3f (best %.3f)\n", alpha[k], (double)x[0], best_mean,
               exp((double)x[1]), best_std);
        means = means && fabs((double)x[0] - best_mean) < 0.02;
        stds = stds && fabs(exp((double)x[1]) - best_std) < 0.02;
    }
    claim(means, "the mean is the best one at every price");
    claim(stds, "the standard deviation, too: 1 / sqrt(1 + 2 c / alpha)");
    return false_claims;
}
