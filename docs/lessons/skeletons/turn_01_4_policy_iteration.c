/* 01_4_policy_iteration.c - lesson 1, exercise 4: policy iteration
 *
 * Evaluate a policy exactly (bp_mdp_evaluate(), a linear solve), make it greedy in its own Q, evaluate again. Each round is as expensive as
 * many sweeps of value iteration, and few rounds are needed.
 */
#include "../lesson.h"

enum { S = 30,
       A = 4 };

/* Put all of pi(.|s) on the best action of Q(s,.). Returns how many states chose another action than before. */
static int improve(double *pi, const double *Q) {
    int changed = 0;
    /* YOUR TURN: for each state: find the best action of Q, count the state if pi did not choose it, and rewrite the row of pi. */
    return changed;
}

int main(void) {
    double V[S], Q[S * A], pi[S * A], old[S] = {0}, truth[S], drop = 0, far = 0;
    bp_rng rng = bp_rng_make(1, 4);
    size_t sweeps;
    int rounds = 0, changed;
    bp_mdp m;
    must(bp_mdp_create(&m, S, A, 0.95, NULL, &error));
    bp_mdp_random(&m, &rng, 3); /* three possible successors for each state and action */
    must(bp_mdp_value_iteration(truth, NULL, &m, 1e-10, &sweeps, &error));
    bp_mdp_uniform_policy(pi, S, A);
    do {
        must(bp_mdp_evaluate(V, Q, &m, pi, &error));
        for (size_t s = 0; rounds > 0 && s < S; s++) drop = fmax(drop, old[s] - V[s]);
        memcpy(old, V, sizeof V);
        changed = improve(pi, Q);
        rounds++;
        printf("round %d: V(0) = %.4f, %d states change their mind\n", rounds, V[0], changed);
    } while (changed > 0 && rounds < 100);
    for (size_t s = 0; s < S; s++) far = fmax(far, fabs(V[s] - truth[s]));
    printf("value iteration needed %d sweeps\n", (int)sweeps);
    claim(drop < 1e-9, "no state is ever worth less than in the round before");
    claim(far < 1e-8, "when no state changes its mind any more, the policy is the best one");
    claim(rounds < 12 && sweeps > 100, "a dozen rounds do it, where value iteration takes hundreds of sweeps");
    bp_mdp_destroy(&m);
    return false_claims;
}
