/* 03_finite_mdp.c - reinforcement learning where every number is exact
 *
 * What you learn:  1. tabular Q-learning (E3b), cell by cell    2. value iteration (E3) on a grid world
 *                  3. what a prior does, and what alpha is the price of (E7)
 *                  4. planning as inference, and why it must not be trusted with lotteries (E9)
 *                  5. what a prior learns that does not see the goal (E14, E17)
 * Difficulty:      * (of *****)
 * Build:           cc -O2 -I. examples/03_finite_mdp.c -o 03_finite_mdp -lm
 * Try:             more slip in part 2 (watch the cells beside walls); alpha = 0 in part 3.
 *
 * Expected output:
 *   1. Q-learning
 *      S1 up    r  -1  error -1.00  Q(S1,up) = -0.7
 *      S2 right r  -1  error -1.00  Q(S2,right) = -0.7
 *      S3 right r  -1  error -1.00  Q(S3,right) = -0.7
 *      S3 down  r  -1  error -1.00  Q(S3,down) = -0.7
 *      S4 left  r  10  error 10.00  Q(S4,left) = 7.0
 *      S4 up    r  10  error 10.00  Q(S4,up) = 7.0
 *      S3 down  r  -1  error  6.00  Q(S3,down) = 3.5
 *            up  down  left right
 *      S1  -0.7   0.0   0.0   0.0
 *      S2   0.0   0.0   0.0  -0.7
 *      S3   0.0   3.5   0.0  -0.7
 *      S4   7.0   0.0   7.0   0.0
 *   2. Value iteration: 25 states, V(start) = -0.1677 after 38 sweeps
 *      #########
 *      #vvv#vvv#
 *      #>vv#>vv#
 *      #>>>>>>v#
 *      #>^^#>>G#
 *      #########
 *   3. The same with a prior that goes right
 *      alpha 0.01  reward -0.1729 - alpha *  7.2400 nats = L  -0.2453   pi(down|start) = 0.462
 *      alpha 0.1   reward -0.2174 - alpha *  6.2951 nats = L  -0.8469   pi(down|start) = 0.384
 *      alpha 1     reward -2.2623 - alpha *  1.7344 nats = L  -3.9967   pi(down|start) = 0.138
 *      #########
 *      #>>>#>>>#
 *      #>>>#>>>#
 *      #>>>>>>>#
 *      #>>>#>>G#
 *      #########
 *   4. A lottery worth -0.89 on average
 *      inference plays with probability 0.995, the repaired planner with 0.291
 *   5. A prior that does not see the goal: L rises from 0.710 to 0.741
 *      cell                      0     1     2     3     4     5     6
 *      prior goes right       0.72  0.00  0.00  0.50  1.00  1.00  0.28
 *      policy, goal on right  0.72  0.00  0.00  1.00  1.00  1.00
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* [include] */

/* [errors] */
static bp_error error; /* every call that can fail leaves a sentence here */

static void must(bp_status status) {
    if (status != BP_OK) {
        fprintf(stderr, "%s: %s\n", bp_status_str(status), error.text);
        exit(1);
    }
}
/* [errors] */

/* [q_path] */
/* ---- 1. Q-learning ---------------------------------------------------------------------------------
 * Four rooms in a square, S2 S3 above S1 S4, a wall between S1 and S4. Being in S4 pays 10, anything else costs 1.
 * Learning rate .7, discount .9. One update moves one cell towards r + .9 max Q(next):
 *     Q(s,a) += .7 (r + .9 max_a' Q(s',a') - Q(s,a))                                               (E3b) */
static void q_learning(void) {
    enum { UP,
           DOWN,
           LEFT,
           RIGHT };
    static const char *const action[4] = {"up", "down", "left", "right"};
    static const struct {
        size_t s, a, next;
        double reward;
    } path[7] = {{0, UP, 1, -1}, {1, RIGHT, 2, -1}, {2, RIGHT, 2, -1}, /* right of S3 is a wall */
                 {2, DOWN, 3, -1},
                 {3, LEFT, 3, 10}, /* left of S4 too */
                 {3, UP, 2, 10},
                 {2, DOWN, 3, -1}};
    double Q[4 * 4] = {0};
    size_t i, s;
    /* [q_path] */
    /* [q_updates] */
    printf("1. Q-learning\n");
    for (i = 0; i < 7; i++) {
        const double td = bp_q_learning_update(Q, path[i].s, path[i].a, path[i].reward, 0.9, path[i].next, 0.7, 4);
        printf("   S%u %-5s r %3.0f  error %5.2f  Q(S%u,%s) = %.1f\n", (unsigned)path[i].s + 1, action[path[i].a],
               path[i].reward, td, (unsigned)path[i].s + 1, action[path[i].a], Q[path[i].s * 4 + path[i].a]);
    }
    printf("         up  down  left right\n");
    for (s = 0; s < 4; s++)
        printf("   S%u %5.1f %5.1f %5.1f %5.1f\n", (unsigned)s + 1, Q[s * 4], Q[s * 4 + 1], Q[s * 4 + 2], Q[s * 4 + 3]);
}
/* [q_updates] */

/* [draw] */
/* ---- 2. and 3. a grid world, without and with a prior -------------------------------------------------- */
static void draw(const bp_gridworld *grid, const double *pi) {
    char text[256], *line = text, *end;
    if (!bp_gridworld_draw(text, sizeof text, grid, pi)) return;
    for (; *line && (end = strchr(line, '\n')) != NULL; line = end + 1) printf("   %.*s\n", (int)(end - line), line);
}
/* [draw] */

/* [grid] */
static void grid_world(void) {
    static const double alpha[3] = {0.01, 0.1, 1};
    bp_gridworld_config config = bp_gridworld_config_default();
    bp_gridworld grid;
    bp_objective parts;
    double V[64], Q[64 * 5], pi[64 * 5], prior[64 * 5];
    size_t sweeps, start, i;
    config.slip = 0.1; /* one move in ten goes astray */
    must(bp_gridworld_create(&grid, "#########\n"
                                    "#S..#...#\n"
                                    "#...#...#\n"
                                    "#.......#\n"
                                    "#...#..G#\n"
                                    "#########\n",
                             &config, NULL, &error));
    must(bp_mdp_value_iteration(V, Q, &grid.mdp, 1e-10, &sweeps, &error));
    bp_mdp_greedy(pi, Q, grid.mdp.S, 5);
    start = bp_gridworld_state(&grid, 1, 1);
    printf("2. Value iteration: %u states, V(start) = %.4f after %u sweeps\n", (unsigned)grid.mdp.S, V[start],
           (unsigned)sweeps);
    draw(&grid, pi);
    /* [grid] */

    /* [prior] */
    /* A prior that goes right 80 % of the time. alpha is the price of a nat away from it: at .01 the policy can afford
     * to ignore the prior, at 1 it lets itself be carried into the walls on the right. */
    for (i = 0; i < grid.mdp.S * 5; i++) prior[i] = i % 5 == BP_GRID_RIGHT ? 0.8 : 0.05;
    printf("3. The same with a prior that goes right\n");
    for (i = 0; i < 3; i++) {
        must(bp_mdp_soft_value_iteration(V, NULL, pi, &grid.mdp, prior, alpha[i], 1e-10, NULL, &error));
        must(bp_mdp_objective(&parts, &grid.mdp, pi, prior, alpha[i], &error));
        printf("   alpha %-4g  reward %7.4f - alpha * %7.4f nats = L %8.4f   pi(down|start) = %.3f\n", alpha[i],
               parts.reward, parts.divergence, parts.value, pi[start * 5 + BP_GRID_DOWN]);
    }
    draw(&grid, pi);
    bp_gridworld_destroy(&grid);
}
/* [prior] */

/* [lottery] */
/* ---- 4. planning as inference, and a lottery ------------------------------------------------------------
 * State 0: play (1 % to win 10, else lose 1) or walk away. "Given that things went well, did I play?" Surely. But that
 * is no reason to play: the inference has also bent the odds. Keeping the dynamics fixed (E7) repairs it. */
static void lottery(void) {
    bp_mdp m;
    double log_beta_sa[2 * 4 * 2], log_beta[3 * 4], inferred[2 * 4 * 2], V[3 * 4], repaired[2 * 4 * 2];
    size_t a;
    must(bp_mdp_create(&m, 4, 2, 1, NULL, &error)); /* states: 0 choice, 1 won, 2 lost, 3 end */
    m.p0[0] = 1;
    m.P[(0 * 2 + 0) * 4 + 1] = 0.01, m.P[(0 * 2 + 0) * 4 + 2] = 0.99; /* play: won, lost */
    m.P[(0 * 2 + 1) * 4 + 3] = 1;                                     /* walk away */
    for (a = 0; a < 2; a++) {
        m.P[(1 * 2 + a) * 4 + 3] = m.P[(2 * 2 + a) * 4 + 3] = 1;
        m.R[1 * 2 + a] = 10, m.R[2 * 2 + a] = -1;
    }
    m.terminal[3] = true;
    must(bp_mdp_check(&m, &error));
    /* [lottery] */
    /* [planning] */
    must(bp_inference_backward_messages(log_beta_sa, log_beta, &m, NULL, 1, 2, &error));
    bp_inference_policy(inferred, log_beta_sa, log_beta, &m, NULL, 2);
    must(bp_mdp_soft_horizon(V, NULL, repaired, &m, NULL, 1, 2, &error));
    printf("4. A lottery worth %.2f on average\n", 0.01 * 10 + 0.99 * -1);
    printf("   inference plays with probability %.3f, the repaired planner with %.3f\n", inferred[0], repaired[0]);
    bp_mdp_destroy(&m);
}
/* [planning] */

/* [corridor] */
/* ---- 5. what a prior learns when it cannot see the goal ---------------------------------------------------
 * A corridor of 7 cells with the goal at one of its ends. state = goal*7 + cell; the prior sees the cell. */
static void corridor(void) {
    enum { N = 7,
           S = 2 * N };
    bp_mdp m;
    size_t phi[S], s, to, x, goal, a;
    double pi[S * 2], prior[N * 2], pi0[S * 2], d[S], L[30];
    must(bp_mdp_create(&m, S, 2, 0.9, NULL, &error)); /* actions: 0 left, 1 right */
    for (s = 0; s < S; s++) {
        x = s % N, goal = s < N ? 0 : N - 1;
        phi[s] = x;
        m.terminal[s] = x == goal;
        for (a = 0; a < 2; a++) {
            to = a ? (x < N - 1 ? x + 1 : x) : (x > 0 ? x - 1 : x);
            m.P[(s * 2 + a) * S + (s - x + to)] = 1;
            m.R[s * 2 + a] = to == goal && !m.terminal[s] ? 1 : 0;
        }
        m.p0[s] = x == N / 2 ? 0.5 : 0; /* start in the middle */
    }
    must(bp_mdp_check(&m, &error));
    /* [corridor] */
    /* [blind] */
    bp_mdp_uniform_policy(prior, N, 2);
    must(bp_asymmetric_solve(pi, prior, L, pi0, d, &m, phi, N, 0.1, 30, &error)); /* E7, E17, E7, ... */
    printf("5. A prior that does not see the goal: L rises from %.3f to %.3f\n", L[0], L[29]);
    printf("   cell                 ");
    for (x = 0; x < N; x++) printf("%6u", (unsigned)x);
    printf("\n   prior goes right     ");
    for (x = 0; x < N; x++) printf("%6.2f", prior[x * 2 + 1]);
    printf("\n   policy, goal on right");
    for (x = 0; x + 1 < N; x++) printf("%6.2f", pi[(N + x) * 2 + 1]);
    printf("\n");
    bp_mdp_destroy(&m);
}
/* [blind] */

/* [main] */
int main(void) {
    q_learning(), grid_world(), lottery(), corridor();
    return 0;
}
/* [main] */
