/* 02_3_soft_bandit.c - lesson 2, exercise 3: the best policy for a prior, and that it is the best
 *
 * One state, five actions. E7 says which policy maximises sum_a pi(a) Q(a) - alpha KL[pi || pi0] and what it gets. Write both so that
 * they do not overflow at a small alpha, then try to beat them with ten thousand random policies.
 */
#include "../lesson.h"

enum { A = 5 };

/* V = alpha log sum_a pi0(a) exp(Q(a)/alpha), and the policy pi(a) = pi0(a) exp((Q(a) - V)/alpha). exp(Q/alpha) overflows for
 * Q = 2, alpha = .001: subtract the largest Q first. */
static double soft_best(double *pi, const double *Q, const double *pi0, double alpha) {
    double V = 0;
    /* YOUR TURN: V and pi */
    return V;
}

/* sum_a pi(a) Q(a) - alpha KL[pi || pi0] */
static double objective(const double *pi, const double *Q, const double *pi0, double alpha) {
    double L = 0;
    for (int a = 0; a < A; a++)
        if (pi[a] > 0) L += pi[a] * (Q[a] - alpha * log(pi[a] / pi0[a]));
    return L;
}

int main(void) {
    static const double alpha[5] = {0.001, 0.1, 1, 10, 10000};
    const double Q[A] = {1, 2, 0.5, -1, 1.9}, pi0[A] = {0.4, 0.1, 0.2, 0.2, 0.1};
    double pi[A] = {0.2, 0.2, 0.2, 0.2, 0.2}, rival[A], V[5], mean = 0;
    bool achieved = true, unbeaten = true, sums_to_one = true;
    bp_rng rng = bp_rng_make(2, 3);
    for (int k = 0; k < 5; k++) {
        double sum = 0;
        V[k] = soft_best(pi, Q, pi0, alpha[k]);
        printf("alpha %-6g V = %7.4f  pi =", alpha[k], V[k]);
        for (int a = 0; a < A; a++) sum += pi[a], printf(" %.4f", pi[a]);
        printf("\n");
        sums_to_one = sums_to_one && near(sum, 1, 1e-9);
        achieved = achieved && near(objective(pi, Q, pi0, alpha[k]), V[k], 1e-9);
        for (int n = 0; n < 10000; n++) {
            bp_mdp_random_policy(rival, &rng, 1, A);
            unbeaten = unbeaten && objective(rival, Q, pi0, alpha[k]) <= V[k] + 1e-9;
        }
    }
    for (int a = 0; a < A; a++) mean += pi0[a] * Q[a];
    claim(sums_to_one, "pi is a distribution, at every alpha");
    claim(achieved, "pi gets exactly V");
    claim(unbeaten, "none of 50000 random policies gets more");
    claim(near(V[0], 2, 0.01), "alpha to 0: V is the largest Q on the prior's support");
    claim(near(V[4], mean, 0.001), "alpha to infinity: V is the prior's mean of Q");
    return false_claims;
}
