/* 08_bottleneck.c - how much of the goal shows in what an agent does, and what it would earn if less did
 *
 * What you learn:  1. the information that actions carry about what the prior does not see (E15), in bits and nats
 *                  2. the KL to a prior as an upper bound on it, and the gap between the two (E16)
 *                  3. the rate-return curve: reward against information, one point per price alpha
 *                  4. the same bound from sampled steps, with an error bar, as a training run would estimate it
 * Difficulty:      ** (of *****)
 * Build:           cc -O2 -I. examples/08_bottleneck.c -o 08_bottleneck -lm
 * Try:             a longer corridor (the one bit of part 1 stays one bit); a price of 10 in part 3; another prior in part 4.
 *
 * Expected output:
 *   1. What the actions tell about the goal
 *      toward the goal 100 %   return 0.857   0.693 nats = 1.000 bits an episode, 0.187 nats a step
 *      toward the goal  90 %   return 0.817   0.659 nats = 0.950 bits an episode, 0.147 nats a step
 *      toward the goal  70 %   return 0.666   0.457 nats = 0.660 bits an episode, 0.062 nats a step
 *      toward the goal  50 %   return 0.304   0.000 nats = 0.000 bits an episode, 0.000 nats a step
 *   2. The KL to a prior bounds it: 90 % toward the goal, alpha 0.1
 *      prior                 bound = information +  gap     L <= L_I
 *      uniform               1.645 =       0.659 +  0.987  0.653 <= 0.751
 *      always right, nearly  5.357 =       0.659 +  4.699  0.282 <= 0.751
 *      the marginal          0.659 =       0.659 +  0.000  0.751 <= 0.751
 *   3. Rate-return curve
 *      alpha   return   nats an episode   steps   L_I
 *      0.01    0.857    0.693 ###########    3.71   0.850
 *      0.05    0.857    0.693 ###########    3.71   0.823
 *      0.1     0.857    0.691 ###########    3.71   0.788
 *      0.2     0.846    0.621 ##########     3.93   0.721
 *      0.3     0.811    0.482 ########       4.59   0.666
 *      0.5     0.727    0.266 ####           6.20   0.594
 *      1       0.598    0.083 #              8.65   0.514
 *      3       0.453    0.009               11.39   0.426
 *   4. From 4000 sampled episodes, the marginal as prior
 *      bound 0.1495 +- 0.0026 nats a step (exactly 0.1474)
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bp_error error; /* every call that can fail leaves a sentence here */

static void must(bp_status status) {
    if (status != BP_OK) {
        fprintf(stderr, "%s: %s\n", bp_status_str(status), error.text);
        exit(1);
    }
}
/* [include] */

/* [corridor] */
/* A corridor of 9 cells with a room at each end, and a door in the middle where every episode starts. Which room
 * holds the goal is known to the policy and hidden from the prior:
 *
 *     state s = goal * 9 + cell,   x^D = phi(s) = cell,   x^G = goal                                             */
enum { CELLS = 9,
       GOALS = 2,
       S = GOALS * CELLS,
       LEFT = 0,
       RIGHT = 1,
       A = 2 };

static void make_corridor(bp_mdp *m, size_t *phi) {
    size_t goal, cell, a;
    must(bp_mdp_create(m, S, A, 0.95, NULL, &error));
    for (goal = 0; goal < GOALS; goal++) {
        const size_t end = goal ? CELLS - 1 : 0;
        for (cell = 0; cell < CELLS; cell++) {
            const size_t s = goal * CELLS + cell;
            phi[s] = cell;
            m->terminal[s] = cell == end;
            for (a = 0; a < A; a++) {
                const size_t to = a == RIGHT ? (cell + 1 < CELLS ? cell + 1 : cell) : (cell > 0 ? cell - 1 : cell);
                m->P[(s * A + a) * S + goal * CELLS + to] = 1;
                m->R[s * A + a] = to == end && cell != end ? 1 : 0;
            }
        }
        m->p0[goal * CELLS + CELLS / 2] = 0.5;
    }
    must(bp_mdp_check(m, &error));
}
/* [corridor] */

/* [toward] */
/* A policy that goes toward its goal with probability `p`. */
static void toward_goal(double *pi, double p) {
    size_t s;
    for (s = 0; s < S; s++) {
        const size_t right = s / CELLS;
        pi[s * A + RIGHT] = right ? p : 1 - p;
        pi[s * A + LEFT] = right ? 1 - p : p;
    }
}
/* [toward] */

/* [information] */
/* ---- 1. information ----------------------------------------------------------------------------------------------
 * The first step tells an onlooker in which room the goal is. Everything after it is predictable from the cell:
 * who is left of the door goes left. So the whole episode costs one bit if the policy never errs, however
 * long the corridor; one that wavers says less, and one that ignores the goal says nothing. */
static void information(const bp_mdp *m, const size_t *phi) {
    static const double p[4] = {1, 0.9, 0.7, 0.5};
    double pi[S * A], marginal[CELLS * A];
    bp_bottleneck b;
    size_t i;
    printf("1. What the actions tell about the goal\n");
    for (i = 0; i < 4; i++) {
        toward_goal(pi, p[i]);
        must(bp_bottleneck_objective(&b, marginal, m, pi, NULL, phi, CELLS, 0.1, &error)); /* NULL: no prior yet */
        printf("   toward the goal %3.0f %%   return %.3f   %.3f nats = %.3f bits an episode, %.3f nats a step\n", 100 * p[i],
               b.reward, b.information, b.information / log(2.0), b.information_rate);
    }
}
/* [information] */

/* [bound] */
/* ---- 2. the bound, and its gap -------------------------------------------------------------------------------------
 * Nobody can compute that information in a large problem: it needs the policy's own marginal. But the KL to *any* prior that
 * sees the cell is an upper bound, too large by the KL from the marginal to that prior:
 *
 *     E KL[pi||pi0]  =  I[x^G; a | x^D]  +  E KL[marginal||pi0]                                            (E16)  */
static void bound(const bp_mdp *m, const size_t *phi) {
    static const char *const name[3] = {"uniform", "always right, nearly", "the marginal"};
    double pi[S * A], marginal[CELLS * A], prior[3][CELLS * A];
    bp_bottleneck b;
    size_t i;
    toward_goal(pi, 0.9);
    must(bp_bottleneck_objective(&b, prior[2], m, pi, NULL, phi, CELLS, 0.1, &error)); /* prior[2] <- marginal */
    bp_mdp_uniform_policy(prior[0], CELLS, A);
    for (i = 0; i < CELLS * A; i++) prior[1][i] = i % A == RIGHT ? 0.95 : 0.05;
    printf("2. The KL to a prior bounds it: 90 %% toward the goal, alpha 0.1\n");
    printf("   prior                 bound = information +  gap     L <= L_I\n");
    for (i = 0; i < 3; i++) {
        must(bp_bottleneck_objective(&b, marginal, m, pi, prior[i], phi, CELLS, 0.1, &error));
        printf("   %-20s %6.3f = %11.3f + %6.3f %6.3f <= %.3f\n", name[i], b.bound, b.information, b.gap, b.lower, b.value);
    }
}
/* [bound] */

/* [curve] */
/* ---- 3. the rate-return curve ----------------------------------------------------------------------------------------
 * Best policy for the prior (E7), best prior for the policy (E17), in turn: the gap closes and what is left is the
 * best trade between reward and information at this price. */
static void curve(const bp_mdp *m, const size_t *phi) {
    enum { N = 8 };
    static const double alpha[N] = {0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 3};
    bp_bottleneck point[N];
    double pi[S * A], prior[CELLS * A], pi0[S * A], d[S];
    size_t i;
    must(bp_bottleneck_curve(point, pi, prior, pi0, d, m, phi, CELLS, alpha, N, 100, &error));
    printf("3. Rate-return curve\n");
    printf("   alpha   return   nats an episode   steps   L_I\n");
    for (i = 0; i < N; i++)
        printf("   %-5g   %.3f    %.3f %-13.*s %5.2f   %.3f\n", alpha[i], point[i].reward, point[i].information,
               (int)(16 * point[i].information + 0.5), "############", point[i].steps, point[i].value);
}
/* [curve] */

/* [samples] */
/* ---- 4. from samples ---------------------------------------------------------------------------------------------
 * A run cannot sum over states, but it can average the KL over the steps it takes. With stopping probability
 * 1 - gamma per step the visits are those of the discounted sums above. The error bar counts episodes, not steps:
 * the steps of one episode resemble each other. */
static void samples(const bp_mdp *m, const size_t *phi) {
    enum { T = 100,
           B = 4000 };
    static bp_real kl[T * B], mask[T * B]; /* [T][B], time first */
    double pi[S * A], prior[CELLS * A];
    bp_rng rng = bp_rng_make(8, 0);
    bp_bottleneck exact;
    bp_bottleneck_sample estimate;
    size_t t, b;
    toward_goal(pi, 0.9);
    must(bp_bottleneck_objective(&exact, prior, m, pi, NULL, phi, CELLS, 0, &error)); /* prior <- marginal: no gap */
    for (b = 0; b < B; b++) {
        size_t cell = CELLS / 2;
        const size_t goal = bp_rng_uniform(&rng) < 0.5 ? 0 : 1;
        for (t = 0; t < T && cell != (goal ? CELLS - 1 : 0); t++) {
            const double *p = pi + (goal * CELLS + cell) * A, *p0 = prior + cell * A;
            mask[t * B + b] = 1; /* rows after the end stay 0: masked */
            kl[t * B + b] = (bp_real)(p[0] * log(p[0] / p0[0]) + p[1] * log(p[1] / p0[1]));
            if (bp_rng_uniform(&rng) < p[RIGHT]) cell += cell + 1 < CELLS ? 1 : 0;
            else cell -= cell > 0 ? 1 : 0;
            if (bp_rng_uniform(&rng) >= m->gamma) break;
        }
    }
    must(bp_bottleneck_estimate(&estimate, kl, mask, T, B, &error));
    printf("4. From %u sampled episodes, the marginal as prior\n", (unsigned)estimate.sequences);
    printf("   bound %.4f +- %.4f nats a step (exactly %.4f)\n", estimate.mean, estimate.standard_error, exact.bound_rate);
}
/* [samples] */

/* [main] */
int main(void) {
    bp_mdp m;
    size_t phi[S];
    make_corridor(&m, phi);
    information(&m, phi), bound(&m, phi), curve(&m, phi), samples(&m, phi);
    bp_mdp_destroy(&m);
    return 0;
}
/* [main] */
