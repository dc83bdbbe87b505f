/* 05_4_reinforce.c - lesson 5, exercise 4: REINFORCE against the exact gradient
 *
 * A corridor of six cells, steps cost .05, the right end pays 1. A softmax table is the policy. Write the policy gradient of
 * one episode, and compare the average over many with bp_mdp_objective_backward(), which sums over everything; then learn with
 * it.
 */
#include "../lesson.h"

enum { S = 6,
       A = 2,
       T = 60 }; /* longest episode */
#define GAMMA 0.95

static size_t draw(bp_rng *rng, const double *p) { return bp_rng_uniform(rng) < p[0] ? 0 : 1; }

/* Play one episode from cell 0; add its policy gradient to grad [S][A]. */
static void episode(double *grad, const double *pi, double baseline, bp_rng *rng) {
    size_t s[T], a[T], n = 0, at = 0;
    double reward[T], to_go = 0;
    while (n < T && at != S - 1) {
        s[n] = at, a[n] = draw(rng, pi + at * A);
        at = a[n] == 1 ? at + 1 : at > 0 ? at - 1
                                         : 0;
        reward[n++] = at == S - 1 ? 1 : -0.05;
    }
    for (size_t t = n; t-- > 0;) {
        to_go = reward[t] + GAMMA * to_go; /* what was earned from here on */
        /* YOUR TURN: add gamma^t (to_go - baseline) d log pi(a_t|s_t) / d logits. For a softmax that is [a = a_t] - pi(a|s_t). */
    }
}

int main(void) {
    enum { EPISODES = 40000 };
    double logits[S * A], pi[S * A], exact[S * A] = {0}, sampled[S * A] = {0}, dot = 0, ee = 0, ss = 0;
    bp_rng rng = bp_rng_make(5, 4);
    bp_objective before, after;
    bp_mdp m;
    must(bp_mdp_create(&m, S, A, GAMMA, NULL, &error));
    m.p0[0] = 1, m.terminal[S - 1] = true;
    for (size_t s = 0; s + 1 < S; s++) {
        m.P[(s * A + 0) * S + (s ? s - 1 : 0)] = m.P[(s * A + 1) * S + s + 1] = 1;
        m.R[s * A] = -0.05, m.R[s * A + 1] = s + 2 == S ? 1 : -0.05;
    }
    must(bp_mdp_check(&m, &error));
    for (size_t i = 0; i < S * A; i++) logits[i] = i % A ? 0.5 : 0;

    bp_mdp_softmax(pi, logits, S, A);
    must(bp_mdp_objective(&before, &m, pi, NULL, 0, &error));
    must(bp_mdp_objective_backward(exact, NULL, 1, &m, pi, NULL, 0, &error));
    for (int n = 0; n < EPISODES; n++) episode(sampled, pi, 0.5, &rng);
    for (size_t i = 0; i < S * A; i++) {
        sampled[i] /= EPISODES;
        dot += exact[i] * sampled[i], ee += exact[i] * exact[i], ss += sampled[i] * sampled[i];
    }
    for (size_t s = 0; s + 1 < S; s++) printf("cell %d, right: exactly %.4f, sampled %.4f\n", (int)s, exact[s * A + 1], sampled[s * A + 1]);

    for (int k = 0; k < 400; k++) { /* and now learn: 20 episodes, a step uphill */
        double grad[S * A] = {0};
        for (int n = 0; n < 20; n++) episode(grad, pi, 0.5, &rng);
        for (size_t i = 0; i < S * A; i++) logits[i] += 0.5 * grad[i] / 20;
        bp_mdp_softmax(pi, logits, S, A);
    }
    must(bp_mdp_objective(&after, &m, pi, NULL, 0, &error));
    printf("return %.3f before, %.3f after 8000 episodes\n", before.reward, after.reward);
    claim(ss > 0 && dot / sqrt(ee * ss) > 0.99, "the sampled gradient points where the exact one does");
    claim(near(sqrt(ss), sqrt(ee), 0.05), "and is as long");
    claim(after.reward > 0.6, "following it leads to the end of the corridor"); /* always right: .629 */
    bp_mdp_destroy(&m);
    return false_claims;
}
