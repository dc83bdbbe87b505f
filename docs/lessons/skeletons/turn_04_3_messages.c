/* 04_3_messages.c - lesson 4, exercise 3: backward messages, and what they mean
 *
 * "Given that every step was optimal, what was done first?" E9 answers by messages that run backwards. Write them, then ask the
 * same question by brute force: all trajectories, weighted by the probability of success.
 */
#include "../lesson.h"

enum { S = 4,
       A = 2,
       T = 4 };
#define ALPHA 0.5
static bp_mdp m;
static double prior[S * A];

/* beta_t(s,a) = exp(R/alpha) sum_s' P beta_{t+1}(s'), beta_t(s) = sum_a prior(a|s) beta_t(s,a), beta_T = 1. (Here, with few steps and
 * small rewards, the numbers themselves will do; the library keeps their logarithms.) */
static void messages(double beta_sa[T][S][A], double beta[T + 1][S]) {
    for (size_t s = 0; s < S; s++) beta[T][s] = 1;
    for (size_t t = T; t-- > 0;) {
        /* YOUR TURN: beta_sa[t] and beta[t] from beta[t + 1] */
    }
}

/* Brute force: success[a] collects the weight of all trajectories from s that begin with action a. */
static void visit(double *success, size_t t, size_t s, size_t first, double weight) {
    if (t == T) {
        success[first] += weight;
        return;
    }
    for (size_t a = 0; a < A; a++)
        for (size_t to = 0; to < S; to++)
            visit(success, t + 1, to, t ? first : a,
                  weight * prior[s * A + a] * exp(m.R[s * A + a] / ALPHA) * m.P[(s * A + a) * S + to]);
}

int main(void) {
    double beta_sa[T][S][A] = {{{0}}}, beta[T + 1][S] = {{0}}, log_sa[T * S * A], log_b[(T + 1) * S], worst = 0, off = 0;
    bp_rng rng = bp_rng_make(4, 3);
    must(bp_mdp_create(&m, S, A, 1, NULL, &error));
    bp_mdp_random(&m, &rng, 0);
    bp_mdp_random_policy(prior, &rng, S, A);
    messages(beta_sa, beta);
    for (size_t s = 0; s < S; s++) {
        double success[A] = {0};
        visit(success, 0, s, 0, 1);
        for (size_t a = 0; a < A; a++) {
            const double posterior = prior[s * A + a] * beta_sa[0][s][a] / beta[0][s], counted = success[a] / (success[0] + success[1]);
            if (!(fabs(posterior - counted) <= worst)) worst = fabs(posterior - counted);
            printf("state %d, action %d: prior %.3f, given success %.6f, counted %.6f\n", (int)s, (int)a,
                   prior[s * A + a], posterior, counted);
        }
    }
    must(bp_inference_backward_messages(log_sa, log_b, &m, prior, ALPHA, T, &error));
    for (size_t i = 0; i < T * S * A; i++) off = fmax(off, fabs(log(((double *)beta_sa)[i]) - log_sa[i]));
    claim(worst < 1e-12, "the messages answer what counting answers");
    claim(off < 1e-12, "their logarithms are those of bp_inference_backward_messages()");
    bp_mdp_destroy(&m);
    return false_claims;
}
