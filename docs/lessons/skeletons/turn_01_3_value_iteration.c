/* 01_3_value_iteration.c - lesson 1, exercise 3: value iteration by hand
 *
 * One sweep of value iteration (E3) on a grid world, written by you; then the library's own as the judge. And two things that make
 * value iteration trustworthy, as claims: each sweep shrinks the largest change by gamma at least, and from the last change
 * one knows how far away the answer can be.
 */
#include "../lesson.h"

enum { STATES = 64 };

/* V [S] <- max_a [ R(s,a) + gamma sum_s' P(s'|s,a) V(s') ], for all s at once; terminal states are worth 0. Returns the largest change. */
static double sweep(double *V, const bp_mdp *m) {
    double next[STATES] = {0}, largest = 0;
    /* YOUR TURN: fill `next` from V, then copy it to V and note the largest change. P is at m->P[(s * m->A + a) * m->S + s']. */
    return largest;
}

int main(void) {
    bp_gridworld_config config = bp_gridworld_config_default();
    bp_gridworld grid;
    double V[STATES] = {0}, truth[STATES], before = 0, worst_ratio = 0, far = 0, promised;
    config.slip = 0.1;
    must(bp_gridworld_create(&grid, "#########\n"
                                    "#S..#...#\n"
                                    "#...#...#\n"
                                    "#.......#\n"
                                    "#...#..G#\n"
                                    "#########\n",
                             &config, NULL, &error));
    must(bp_mdp_value_iteration(truth, NULL, &grid.mdp, 1e-12, NULL, &error));
    for (int k = 0; k < 30; k++) {
        const double change = sweep(V, &grid.mdp);
        if (k > 0 && before > 0) worst_ratio = fmax(worst_ratio, change / before);
        before = change;
    }
    promised = grid.mdp.gamma / (1 - grid.mdp.gamma) * before;
    for (size_t s = 0; s < grid.mdp.S; s++) far = fmax(far, fabs(V[s] - truth[s]));
    printf("after 30 sweeps: last change %.2e, so at most %.2e away; in truth %.2e\n", before, promised, far);
    claim(worst_ratio > 0 && worst_ratio <= grid.mdp.gamma + 1e-9, "each sweep shrinks the largest change by gamma or more");
    claim(far <= promised, "the last change bounds the distance to the answer");
    for (int k = 0; k < 500; k++) (void)sweep(V, &grid.mdp);
    far = 0;
    for (size_t s = 0; s < grid.mdp.S; s++) far = fmax(far, fabs(V[s] - truth[s]));
    claim(far < 1e-9, "after 530 sweeps every value is that of bp_mdp_value_iteration()");
    bp_gridworld_destroy(&grid);
    return false_claims;
}
