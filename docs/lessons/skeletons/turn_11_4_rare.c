/* 11_4_rare.c - lesson 11, exercise 4: how much better is a habit than noise?
 *
 * A corridor of 31 cells, start in the middle, a button at the right end, 40 steps of time. Noise takes each step left or right
 * with probability 1/2. The habit of a prior goes on in the direction of its last step with probability .9. How often does each
 * find the button? Exactly, by moving a distribution; and by playing.
 */
#include "../lesson.h"

enum { CELLS = 31,
       T = 40,
       EPISODES = 200000 };

/* The probability of arriving at the last cell within T steps, if a step repeats the one before with probability `keep`. */
static double exact(double keep) {
    double p[CELLS][2] = {{0}}, found = 0; /* p[cell][direction of the last step]; 1 is right */
    p[CELLS / 2][0] = p[CELLS / 2][1] = 0.5;
    for (int t = 0; t < T; t++) {
        double next[CELLS][2] = {{0}};
        for (int cell = 0; cell + 1 < CELLS; cell++)
            for (int last = 0; last < 2; last++)
                for (int step = 0; step < 2; step++) {
                    const int to = step ? cell + 1 : cell > 0 ? cell - 1
                                                              : 0;
                    /* YOUR TURN: add the probability of this step to next[to][step], or to `found` where `to` is the last cell. */
                }
        memcpy(p, next, sizeof p);
    }
    return found;
}

static double played(double keep, bp_rng *rng) {
    int found = 0;
    for (int n = 0; n < EPISODES; n++) {
        int cell = CELLS / 2, step = bp_rng_uniform(rng) < 0.5;
        for (int t = 0; t < T && cell < CELLS - 1; t++) {
            if (bp_rng_uniform(rng) >= keep) step = !step;
            cell += step ? 1 : cell > 0 ? -1
                                        : 0;
        }
        found += cell == CELLS - 1;
    }
    return (double)found / EPISODES;
}

int main(void) {
    static const double keep[2] = {0.5, 0.9};
    double p[2], q[2];
    bp_rng rng = bp_rng_make(11, 4);
    bool agree = true;
    for (int k = 0; k < 2; k++) {
        p[k] = exact(keep[k]), q[k] = played(keep[k], &rng);
        printf("%-6s finds the button with probability %.5f (played: %.5f), so once in %.0f episodes\n", k ? "habit" : "noise", p[k],
               q[k], 1 / p[k]);
        agree = agree && fabs(p[k] - q[k]) < 5 * sqrt(q[k] * (1 - q[k]) / EPISODES);
    }
    claim(agree, "playing agrees with the exact number, within five error bars");
    claim(p[1] > 10 * p[0] && p[0] > 0, "the habit finds it more than ten times as often");
    return false_claims;
}
