/* 03_3_entropy.c - lesson 3, exercise 3: a uniform prior and an entropy bonus are the same thing
 *
 * Maximum-entropy learning has no prior: V(s) = alpha log sum_a exp(Q(s,a)/alpha). Write that value iteration. Its policy must
 * be the one that E7 has for a uniform prior, and its values must differ by a constant that E8 tells.
 */
#include "../lesson.h"

enum { S = 12,
       A = 3 };

/* One sweep of maximum-entropy value iteration: Q from V, then V from Q. Returns the largest change of V. */
static double sweep(double *V, double *Q, const bp_mdp *m, double alpha) {
    double largest = 0;
    /* YOUR TURN: Q(s,a) = R + gamma sum P V for all s, then V(s) = alpha log sum_a exp(Q(s,a)/alpha), stably. */
    return largest;
}

int main(void) {
    static const double alpha[3] = {0.01, 0.3, 5};
    bp_rng rng = bp_rng_make(3, 3);
    bool policies = true, constant = true;
    bp_mdp m;
    must(bp_mdp_create(&m, S, A, 0.9, NULL, &error));
    bp_mdp_random(&m, &rng, 4);
    for (int k = 0; k < 3; k++) {
        double V[S] = {0}, Q[S * A] = {0}, soft[S], pi[S * A], worst = 0, off = 0;
        const double promised = alpha[k] * log((double)A) / (1 - m.gamma);
        for (int n = 0; n < 400; n++) (void)sweep(V, Q, &m, alpha[k]);
        must(bp_mdp_soft_value_iteration(soft, NULL, pi, &m, NULL, alpha[k], 1e-12, NULL, &error)); /* NULL: a uniform prior */
        for (size_t i = 0; i < S * A; i++) worst = fmax(worst, fabs(exp((Q[i] - V[i / A]) / alpha[k]) - pi[i]));
        for (size_t s = 0; s < S; s++) off = fmax(off, fabs(V[s] - soft[s] - promised));
        printf("alpha %-5g largest difference of the policies %.1e; V - V_uniform = %.6f, promised %.6f\n", alpha[k], worst,
               V[0] - soft[0], promised);
        policies = policies && worst < 1e-7;
        constant = constant && off < 1e-7;
    }
    claim(policies, "the policies are the same");
    claim(constant, "the values differ by alpha log(A) / (1 - gamma) in every state");
    bp_mdp_destroy(&m);
    return false_claims;
}
