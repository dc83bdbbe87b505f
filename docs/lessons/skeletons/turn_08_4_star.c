/* 08_4_star.c - lesson 8, exercise 4: one habit for three goals
 *
 * A star: a centre and three arms of three cells. The goal is at the tip of one arm; the policy is told which, the prior sees
 * the cell. Alternate the best policy for the prior (E7) with the best prior for the policy (E17), and look at what the prior
 * has become: undecided where the goal matters, certain where it does not.
 */
#include "../lesson.h"

enum { ARMS = 3,
       LENGTH = 3,
       CELLS = 1 + ARMS * LENGTH,
       S = ARMS * CELLS,
       A = ARMS }; /* in the centre: into arm 0, 1, 2; in an arm: outward, inward, stay */

static size_t cell_of(size_t arm, size_t i) { return 1 + arm * LENGTH + i; } /* i = 0 is next to the centre */

static void make_star(bp_mdp *m, size_t *phi) {
    must(bp_mdp_create(m, S, A, 0.95, NULL, &error));
    for (size_t goal = 0; goal < ARMS; goal++) {
        const size_t tip = cell_of(goal, LENGTH - 1);
        for (size_t cell = 0; cell < CELLS; cell++) {
            const size_t s = goal * CELLS + cell, arm = cell ? (cell - 1) / LENGTH : 0, i = cell ? (cell - 1) % LENGTH : 0;
            phi[s] = cell;
            m->terminal[s] = cell == tip;
            for (size_t a = 0; a < A; a++) {
                size_t to = cell;
                if (cell == 0) to = cell_of(a, 0);
                else if (a == 0) to = i + 1 < LENGTH ? cell + 1 : cell;
                else if (a == 1) to = i > 0 ? cell_of(arm, i - 1) : 0;
                m->P[(s * A + a) * S + goal * CELLS + to] = 1;
                m->R[s * A + a] = to == tip && cell != tip ? 1 : 0;
            }
        }
        m->p0[goal * CELLS] = 1.0 / ARMS;
    }
    must(bp_mdp_check(m, &error));
}

int main(void) {
    enum { ROUNDS = 40 };
    double V[S], pi[S * A], pi0[S * A], d[S], prior[CELLS * A], L[ROUNDS], drop = 0, outward = 1, off = 0;
    const double alpha = 0.05;
    size_t phi[S];
    bp_bottleneck told;
    double marginal[CELLS * A];
    bp_mdp m;
    make_star(&m, phi);
    bp_mdp_uniform_policy(prior, CELLS, A);
    for (int k = 0; k < ROUNDS; k++) {
        bp_objective parts;
        bp_asymmetric_expand(pi0, prior, phi, S, A);
        must(bp_mdp_soft_value_iteration(V, NULL, pi, &m, pi0, alpha, 1e-12, NULL, &error)); /* E7 */
        must(bp_mdp_visitation(d, &m, pi, &error));
        /* YOUR TURN: E17: prior(a|c) proportional to the sum of d(s) pi(a|s) over the states of class c; uniform where nobody ever is. */
        must(bp_asymmetric_objective(&parts, &m, pi, prior, phi, CELLS, alpha, &error));
        L[k] = parts.value;
        if (k > 0) drop = fmax(drop, L[k - 1] - L[k]);
    }
    must(bp_bottleneck_objective(&told, marginal, &m, pi, NULL, phi, CELLS, alpha, &error));
    for (size_t a = 0; a < A; a++) off = fmax(off, fabs(prior[a] - 1.0 / ARMS));
    for (size_t arm = 0; arm < ARMS; arm++)
        for (size_t i = 0; i + 1 < LENGTH; i++) outward = fmin(outward, prior[cell_of(arm, i) * A]);
    printf("L rises from %.4f to %.4f; information %.4f nats an episode (log 3 = %.4f)\n", L[0], L[ROUNDS - 1], told.information, log(3.0));
    printf("prior in the centre: %.3f %.3f %.3f; outward in the arms at least %.4f\n", prior[0], prior[1], prior[2], outward);
    claim(drop < 1e-9 && L[ROUNDS - 1] > L[0] + 1e-3, "L rises from round to round");
    claim(off < 0.01, "in the centre the prior says a third each");
    claim(outward > 0.99, "in the arms it knows the way: outward, whatever the goal is");
    claim(near(told.information, log(3.0), 0.02), "an episode tells log 3 nats, however long the arms are: which arm, and no more");
    bp_mdp_destroy(&m);
    return false_claims;
}
