/* 10_4_evidence.c - lesson 10, exercise 4: the evidence bound, and what it is off by
 *
 * A policy over sixteen "trajectories" and a prior that mixes three latents. The KL between them needs log sum_y; the bound
 * (E24) needs an inference table f(y|tau) instead. Write bound and gap, and check on random tables that bound - gap is the KL,
 * whatever f says.
 */
#include "../lesson.h"

enum { N = 16,
       M = 3 };

static double log_pi[N], log_joint[N * M]; /* log pi(tau), log pi0(tau, y) */

/* log pi0(tau) = log sum_y pi0(tau, y) */
static double log_marginal(int n) { return bp_latent_marginal(log_joint + n * M, M); }

/* For an inference table log f [N][M]: the bound and its gap. */
static void bound_and_gap(double *bound, double *gap, const double *log_f) {
    *bound = *gap = 0;
    for (int n = 0; n < N; n++) {
        const double p = exp(log_pi[n]);
        /* The bound has p (log pi + sum_y f (log f - log pi0(tau, y))), the gap p KL[f || pi0(tau, y) / pi0(tau)]. */
        /* YOUR TURN: add both, for this trajectory */
    }
}

static void random_logs(double *out, int n, bp_rng *rng) {
    double logits[N * M];
    for (int i = 0; i < n; i++) logits[i] = 2 * (double)bp_rng_normal(rng);
    bp_latent_softmax(out, logits, 1, (size_t)n);
}

int main(void) {
    double log_f[N * M], kl = 0, bound, gap, lowest = HUGE_VAL, worst = 0;
    bp_rng rng = bp_rng_make(10, 4);
    bool never_below = true;
    random_logs(log_pi, N, &rng);
    random_logs(log_joint, N * M, &rng);
    for (int n = 0; n < N; n++) kl += exp(log_pi[n]) * (log_pi[n] - log_marginal(n));
    for (int k = 0; k < 1000; k++) {
        for (int n = 0; n < N; n++) random_logs(log_f + n * M, M, &rng);
        bound_and_gap(&bound, &gap, log_f);
        worst = fmax(worst, fabs(bound - gap - kl));
        never_below = never_below && bound >= kl - 1e-12;
        lowest = fmin(lowest, bound);
    }
    printf("KL %.6f nats; lowest of 1000 bounds %.6f\n", kl, lowest);
    claim(worst < 1e-12, "bound - gap is the KL, whatever f says");
    claim(never_below, "no f brings the bound below the KL");
    for (int n = 0; n < N; n++)
        for (int y = 0; y < M; y++) log_f[n * M + y] = log_joint[n * M + y] - log_marginal(n);
    bound_and_gap(&bound, &gap, log_f);
    printf("at the exact posterior: bound %.6f, gap %.1e\n", bound, gap);
    claim(near(bound, kl, 1e-12) && fabs(gap) < 1e-12, "at the exact posterior it is tight");
    return false_claims;
}
