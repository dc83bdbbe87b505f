/* 03_4_trust_region.c - lesson 3, exercise 4: the previous policy as the prior
 *
 * Take the policy itself, as it was a round ago, for the prior; find the best policy for that; and again. Each round moves the
 * policy a little, and never for the worse (E8). Unlike a fixed prior, this one does not keep the policy from the optimum: it
 * only makes the way longer.
 */
#include "../lesson.h"

enum { S = 12,
       A = 3,
       ROUNDS = 400 };

/* The plain return of pi. */
static double worth(const double *pi, const bp_mdp *m) {
    bp_objective parts;
    must(bp_mdp_objective(&parts, m, pi, NULL, 0, &error));
    return parts.reward;
}

/* ROUNDS rounds from the uniform policy; J [ROUNDS + 1] the return after each. Returns how many rounds it took to close 99 % of the
 * way to `best`. */
static int climb(double *J, const bp_mdp *m, double alpha, double best) {
    double V[S], pi[S * A], old[S * A];
    int needed = ROUNDS;
    bp_mdp_uniform_policy(pi, S, A);
    J[0] = worth(pi, m);
    for (int k = 1; k <= ROUNDS; k++) {
        /* YOUR TURN: keep pi as the prior of this round, and replace it by the best policy for that prior at price alpha. */
        J[k] = worth(pi, m);
        if (needed == ROUNDS && J[k] > J[0] + 0.99 * (best - J[0])) needed = k;
    }
    return needed;
}

int main(void) {
    static double J[2][ROUNDS + 1];
    double V[S], Q[S * A], pi[S * A], best, fixed, drop = 0;
    bp_rng rng = bp_rng_make(3, 4);
    int rounds[2];
    bp_mdp m;
    must(bp_mdp_create(&m, S, A, 0.9, NULL, &error));
    bp_mdp_random(&m, &rng, 4);
    must(bp_mdp_value_iteration(V, Q, &m, 1e-12, NULL, &error));
    bp_mdp_greedy(pi, Q, S, A);
    best = worth(pi, &m);
    must(bp_mdp_soft_value_iteration(V, NULL, pi, &m, NULL, 1, 1e-12, NULL, &error));
    fixed = worth(pi, &m); /* the uniform prior, for ever, at price 1 */
    rounds[0] = climb(J[0], &m, 0.1, best);
    rounds[1] = climb(J[1], &m, 1, best);
    for (int k = 0; k < 2; k++)
        for (int i = 1; i <= ROUNDS; i++) drop = fmax(drop, J[k][i - 1] - J[k][i]);
    printf("return: uniform policy %.4f, best for a uniform prior at price 1 %.4f, best of all %.4f\n", J[1][0], fixed, best);
    printf("rounds to 99 %% of the way: %d at price 0.1, %d at price 1\n", rounds[0], rounds[1]);
    claim(drop < 1e-9, "the return never falls from round to round");
    claim(near(J[0][ROUNDS], best, 1e-6), "it ends at the best return there is");
    claim(fixed < best - 0.1, "with a prior that stays where it is, it does not");
    claim(rounds[0] < rounds[1] && rounds[1] < ROUNDS, "a higher price of a nat makes the way longer, not worse");
    bp_mdp_destroy(&m);
    return false_claims;
}
