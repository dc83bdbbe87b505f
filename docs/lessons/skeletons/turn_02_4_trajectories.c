/* 02_4_trajectories.c - lesson 2, exercise 4: a prior over actions is a prior over behavior
 *
 * E5 says that the KL between two trajectory distributions is the sum of the KLs of their steps, because the dynamics cancel. Here all
 * trajectories of four steps of a small random MDP are visited one by one, and both sides are computed apart.
 */
#include "../lesson.h"

enum { S = 3,
       A = 2,
       T = 4 };
static bp_mdp m;
static double pi[S * A], pi0[S * A];
static double trajectory_kl, probability, worst_cancellation;

/* Visit all continuations of a trajectory that is in state s at time t. log_p and log_q are the logarithms of its probability so far under
 * pi and under pi0, dynamics included; log_actions is the sum of log pi(a|s)/pi0(a|s) alone. */
static void visit(size_t t, size_t s, double log_p, double log_q, double log_actions) {
    if (t == T) {
        /* YOUR TURN: add this trajectory to `probability` and to `trajectory_kl`, and compare log_p - log_q with log_actions. */
        return;
    }
    for (size_t a = 0; a < A; a++)
        for (size_t next = 0; next < S; next++) {
            const double dynamics = log(m.P[(s * A + a) * S + next]), act = log(pi[s * A + a]), act0 = log(pi0[s * A + a]);
            visit(t + 1, next, log_p + act + dynamics, log_q + act0 + dynamics, log_actions + act - act0);
        }
}

/* E_pi sum_t KL[pi(.|s_t) || pi0(.|s_t)], from the distribution over states at each time. */
static double sum_of_steps(void) {
    double p[S], next[S], sum = 0;
    memcpy(p, m.p0, sizeof p);
    for (size_t t = 0; t < T; t++) {
        /* YOUR TURN: add the KL of each state, weighted by p, then move p one step on with pi and m.P. */
    }
    return sum;
}

int main(void) {
    bp_rng rng = bp_rng_make(2, 4);
    bp_trajectory_sums judge;
    double steps;
    must(bp_mdp_create(&m, S, A, 1, NULL, &error));
    bp_mdp_random(&m, &rng, 0);
    bp_mdp_random_policy(pi, &rng, S, A);
    bp_mdp_random_policy(pi0, &rng, S, A);
    for (size_t s = 0; s < S; s++) visit(0, s, log(m.p0[s]), log(m.p0[s]), 0);
    steps = sum_of_steps();
    must(bp_trajectory_enumerate(&judge, &m, pi, 0, pi0, 0, T, &error));
    printf("KL of trajectories %.12f, sum of the steps' KLs %.12f, the library %.12f\n", trajectory_kl, steps, judge.trajectory_kl);
    claim(near(probability, 1, 1e-12), "all trajectories together have probability 1");
    claim(probability > 0 && worst_cancellation < 1e-12, "in each of them the dynamics cancel from the ratio");
    claim(near(trajectory_kl, steps, 1e-12) && steps > 0, "the KL of trajectories is the expected sum of the KLs of steps");
    claim(near(trajectory_kl, judge.trajectory_kl, 1e-12), "bp_trajectory_enumerate() agrees");
    bp_mdp_destroy(&m);
    return false_claims;
}
