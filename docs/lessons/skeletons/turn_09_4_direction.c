/* 09_4_direction.c - lesson 9, exercise 4: which way round the KL stands
 *
 * Half of the tasks go left, half right: p = 1/2 N(-1, .3) + 1/2 N(1, .3). Fit one Gaussian q to that, once by the smallest
 * KL[p || q], which is how priors are trained, once by the smallest KL[q || p]. One of them covers everything, the other
 * chooses.
 */
#include "../lesson.h"

static const bp_real equal[2] = {0, 0}, way[2] = {-1, 1}, width[2] = {BP_R(0.3), BP_R(0.3)};

/* Both divergences for q = N(mean, std), by the trapezoid rule over [-6, 6]. */
static void divergences(double *forward, double *reverse, double mean, double std) {
    const bp_real m = BP_R(mean), s = BP_R(std);
    const double step = 0.02;
    *forward = *reverse = 0;
    for (int i = -300; i <= 300; i++) {
        const bp_real a = BP_R(i * step);
        const double log_p = (double)bp_mixture_log_prob(&a, equal, way, width, 2, 1), log_q = (double)bp_gaussian_log_prob(&a, &m, &s, 1);
        /* YOUR TURN: add this point's contribution to KL[p || q] and to KL[q || p]. */
    }
}

int main(void) {
    double best[2] = {HUGE_VAL, HUGE_VAL}, mean[2] = {0}, std[2] = {0};
    for (double m = -1.5; m <= 1.501; m += 0.025)
        for (double s = 0.2; s <= 1.601; s += 0.025) {
            double kl[2];
            divergences(&kl[0], &kl[1], m, s);
            for (int k = 0; k < 2; k++)
                if (kl[k] < best[k]) best[k] = kl[k], mean[k] = m, std[k] = s;
        }
    printf("smallest KL[p||q]: N(%.2f, %.2f), %.3f nats\n", mean[0], std[0], best[0]);
    printf("smallest KL[q||p]: N(%.2f, %.2f), %.3f nats (log 2 = %.3f)\n", mean[1], std[1], best[1], log(2.0));
    claim(fabs(mean[0]) < 0.03 && fabs(std[0] - sqrt(1 + 0.09)) < 0.03, "KL[p||q] covers both: it has p's mean and p's variance");
    claim(fabs(fabs(mean[1]) - 1) < 0.03 && fabs(std[1] - 0.3) < 0.03, "KL[q||p] chooses one of the two, and forgets the other");
    claim(near(best[1], log(2.0), 0.02), "which costs it log 2: q is everywhere twice as likely as p");
    return false_claims;
}
