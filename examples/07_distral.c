/* 07_distral.c - Distral by hand on two rooms
 *
 * What you learn:  1. tasks that share a world: two rooms, a corridor, four goals (E10)
 *                  2. best policies for a prior, best prior for the policies, in turn: L only rises (E7, E11, E12)
 *                  3. what such a prior knows: it walks the corridor both ways, goals unseen
 *                  4. what it is worth to see more, or less (E14)
 *                  5. the same from samples: soft Q-learning and counting (E13)
 *                  6. why the entropy bonus is off: an agent that is paid for dithering never arrives (E13)
 * Difficulty:      ** (of *****)
 * Build:           cc -O2 -I. examples/07_distral.c -o 07_distral -lm
 * Try:             c_kl = .02 or 1 (cheap and dear nats); seed 2 (other goals); BP_SEES_ACTION in part 3.
 *
 * Expected output:
 *   1. Two rooms, 4 tasks
 *   #############
 *   #1..#####...#
 *   #.0.     2..#
 *   #...#####3..#
 *   #############
 *   2. E7 and E11 in turn
 *      round  L after E7  after E11    reward  nats away
 *          1     -0.6947    -0.0285    0.1624     0.9546
 *          2      0.1504     0.2532    0.3571     0.5195
 *          4      0.3260     0.3339    0.4112     0.3866
 *          8      0.3473     0.3478    0.4184     0.3531
 *   3. The prior alone
 *      after a step left   after a step right
 *      #############       #############
 *      #v<o#####v<o#       #ovv#####ov<#
 *      #^<<<<<<<<<o#       #o>>>>>>>v<<#
 *      #^^o#####^<o#       #o^^#####o<<#
 *      #############       #############
 *   4. What the prior sees           L    reward  nats away
 *      nothing                 -0.4165    0.2651     3.4079
 *      last action             -0.0520    0.4068     2.2938
 *      cell                     0.0173    0.3088     1.4575
 *      both                     0.3478    0.4184     0.3530
 *   5. From samples
 *      rounds    steps  learned L  best for its prior
 *         500    15848      -1.33               -0.52
 *        2000    54770      -0.70               -0.18
 *        8000   186265       0.32                0.33
 *   6. Entropy bonus, no prior      L    reward
 *      c_ent 0.00, c_kl 0.20    -0.6947    0.1624
 *      c_ent 0.10, c_kl 0.10     0.5710   -0.8200
 *      c_ent 0.20, c_kl 0.00     3.3528   -2.2997
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* [include] */

/* [tables] */
enum { W = 4,     /* tasks */
       S = 230,   /* states: 23 cells * 10 memories of the step before */
       A = 5,     /* stay, up, down, left, right */
       C = S * 2, /* room for the classes of any prior */
       ROUNDS = 8 };
static bp_error error;          /* every call that can fail leaves a sentence here */
static const double c_kl = 0.2; /* what a nat away from the prior costs */
static double pi[W * S * A], prior[C * A], pi0[S * A], V[S], d[S];
static size_t phi[S]; /* what the prior sees of a state */

static void must(bp_status status) {
    if (status == BP_OK) return;
    fprintf(stderr, "%s: %s\n", bp_status_str(status), error.text);
    exit(1);
}
/* [tables] */

/* [world] */
/* ---- 1. the tasks ---------------------------------------------------------------------------------
 * A state is a cell and what the last step was. Every step costs .1, a bump into a wall .5, the goal pays 1 and ends the
 * episode. The prior sees the state but not the task: whatever it knows, it knows of all goals at once. */
static void show_world(const bp_tworooms *rooms, const char *map) {
    char text[128];
    size_t w;
    strcpy(text, map);
    for (w = 0; w < W; w++) {
        const size_t cell = rooms->grid.cell[rooms->goal[w]]; /* row * columns + column; in text each row ends with \n */
        text[cell + cell / rooms->grid.cols] = (char)('0' + w);
    }
    printf("1. Two rooms, %u tasks\n%s", (unsigned)rooms->W, text);
}
/* [world] */

/* [policies] */
/* ---- 2. by hand ------------------------------------------------------------------------------------
 * Two steps that maximise the same L, each over its own half of the variables:
 *     E7   pi_w(a|s)  = pi0(a|s) exp((Q_w(s,a) - V_w(s)) / c_kl)                       (the library: soft value iteration)
 *     E11  pi0(a|c)   proportional to sum_w p(w) sum_{s in c} d_w(s) pi_w(a|s)         (three loops) */
static void alternate(const bp_tworooms *rooms, const bp_distral_tasks *tasks) {
    bp_distral_value L;
    size_t w, s, a, c;
    int round;
    printf("2. E7 and E11 in turn\n   round  L after E7  after E11    reward  nats away\n");
    bp_mdp_uniform_policy(prior, tasks->classes, A);
    for (round = 1; round <= ROUNDS; round++) {
        double mixture[C * A] = {0}, after_policies;
        bp_asymmetric_expand(pi0, prior, phi, S, A);
        for (w = 0; w < W; w++)
            must(bp_mdp_soft_value_iteration(V, NULL, pi + w * S * A, &rooms->mdp[w], pi0, c_kl, 1e-10, NULL, &error));
        must(bp_distral_objective(&L, NULL, tasks, pi, prior, c_kl, 0, &error));
        after_policies = L.value;
        /* [policies] */
        /* [best_prior] */
        for (w = 0; w < W; w++) { /* where each policy goes, and what it does there */
            must(bp_mdp_visitation(d, &rooms->mdp[w], pi + w * S * A, &error));
            for (s = 0; s < S; s++)
                for (a = 0; a < A; a++) mixture[phi[s] * A + a] += d[s] * pi[(w * S + s) * A + a];
        }
        for (c = 0; c < tasks->classes; c++) {
            double sum = 0;
            for (a = 0; a < A; a++) sum += mixture[c * A + a];
            for (a = 0; a < A; a++) prior[c * A + a] = sum > 0 ? mixture[c * A + a] / sum : 1.0 / A;
        }
        must(bp_distral_objective(&L, NULL, tasks, pi, prior, c_kl, 0, &error));
        if ((round & (round - 1)) == 0) /* 1, 2, 4, 8 */
            printf("   %5d  %10.4f %10.4f %9.4f %10.4f\n", round, after_policies, L.value, L.reward, L.divergence);
    }
}
/* [best_prior] */

/* [knows] */
/* ---- 3. what the prior knows ------------------------------------------------------------------------ */
static void draw(const bp_tworooms *rooms) {
    char left[128], right[128];
    double slice[S / BP_MEMORIES * A];
    const size_t cols = rooms->grid.cols;
    size_t row;
    bp_tworooms_slice(slice, prior, phi, rooms, BP_MEMORY_LEFT);
    bp_gridworld_draw(left, sizeof left, &rooms->grid, slice);
    bp_tworooms_slice(slice, prior, phi, rooms, BP_MEMORY_RIGHT);
    bp_gridworld_draw(right, sizeof right, &rooms->grid, slice);
    printf("3. The prior alone\n   after a step left   after a step right\n");
    for (row = 0; row < rooms->grid.rows; row++)
        printf("   %.*s       %.*s\n", (int)cols, left + row * (cols + 1), (int)cols, right + row * (cols + 1));
}
/* [knows] */

/* [sight] */
/* ---- 4. seeing more, seeing less -------------------------------------------------------------------
 * From here on the library does the alternation. A prior that sees nothing still learns how often each action is any good;
 * the last action alone tells it to go on; the cell alone tells it where walls are; together they tell the way. */
static void sight(const bp_tworooms *rooms, bp_distral_tasks *tasks) {
    static const unsigned sees[4] = {0, BP_SEES_ACTION, BP_SEES_CELL, BP_SEES_CELL | BP_SEES_ACTION};
    static const char *const what[4] = {"nothing", "last action", "cell", "both"};
    bp_distral_value L;
    size_t k;
    printf("4. What the prior sees           L    reward  nats away\n");
    for (k = 0; k < 4; k++) {
        tasks->classes = bp_tworooms_classes(phi, rooms, sees[k]);
        bp_mdp_uniform_policy(prior, tasks->classes, A);
        must(bp_distral_solve(pi, prior, NULL, tasks, c_kl, 0, ROUNDS, &error));
        must(bp_distral_objective(&L, NULL, tasks, pi, prior, c_kl, 0, &error));
        printf("   %-20s %10.4f %9.4f %10.4f\n", what[k], L.value, L.reward, L.divergence);
    }
}
/* [sight] */

/* [sample] */
/* ---- 5. from samples --------------------------------------------------------------------------------
 * Nobody knows P now. Each round plays ten steps of every task, updates its Q-table after each step, and then counts:
 * the prior is the share of each action among all that were taken. */
static void sample(bp_distral_tasks *tasks) {
    bp_distral_learner *learner;
    bp_distral_value now, best;
    bp_rng rng = bp_rng_make(1, 7);
    int round;
    must(bp_distral_learner_create(&learner, tasks, NULL, NULL, &error));
    printf("5. From samples\n   rounds    steps  learned L  best for its prior\n");
    for (round = 1; round <= 8000; round++) {
        bp_distral_learner_round(learner, &rng);
        if (round != 500 && round != 2000 && round != 8000) continue;
        bp_distral_learner_policies(pi, learner);
        must(bp_distral_objective(&now, NULL, tasks, pi, learner->prior, c_kl, 0, &error));
        must(bp_distral_best_policies(pi, NULL, tasks, learner->prior, c_kl, 0, 1e-8, &error));
        must(bp_distral_objective(&best, NULL, tasks, pi, learner->prior, c_kl, 0, &error));
        printf("   %6d  %7u %10.2f %19.2f\n", round, (unsigned)learner->steps, now.value, best.value);
    }
    bp_distral_learner_destroy(learner);
}
/* [sample] */

/* [alive] */
/* ---- 6. paid for dithering ---------------------------------------------------------------------------
 * The published objective also has - c_ent log pi: acting at random earns c_ent log 5 a step. Once that is more than a
 * step costs, the best policy stays away from the goal, which would end the income. */
static void stay_alive(const bp_distral_tasks *tasks) {
    static const double c_ent[3] = {0, 0.1, 0.2};
    bp_distral_value L;
    size_t k;
    printf("6. Entropy bonus, no prior      L    reward\n");
    for (k = 0; k < 3; k++) { /* price .2 in all; a uniform prior */
        must(bp_distral_best_policies(pi, NULL, tasks, NULL, 0.2 - c_ent[k], c_ent[k], 1e-8, &error));
        bp_mdp_uniform_policy(prior, tasks->classes, A);
        must(bp_distral_objective(&L, NULL, tasks, pi, prior, 0.2 - c_ent[k], c_ent[k], &error));
        printf("   c_ent %4.2f, c_kl %4.2f %10.4f %9.4f\n", c_ent[k], 0.2 - c_ent[k], L.value, L.reward);
    }
}
/* [alive] */

/* [main] */
int main(void) {
    bp_tworooms_config config = bp_tworooms_config_default();
    bp_tworooms rooms;
    bp_distral_tasks tasks = {W, NULL, NULL, phi, 0}; /* all alike */
    config.tasks = W;
    must(bp_tworooms_create(&rooms, &config, NULL, &error));
    tasks.mdp = rooms.mdp;
    tasks.classes = bp_tworooms_classes(phi, &rooms, BP_SEES_ALL);
    show_world(&rooms, config.map), alternate(&rooms, &tasks), draw(&rooms);
    sight(&rooms, &tasks), sample(&tasks), stay_alive(&tasks);
    bp_tworooms_destroy(&rooms);
    return 0;
}
/* [main] */
