/* 04_retrace.c - learning one policy's values from another policy's data
 *
 * What you learn:  how Retrace (E19) corrects for a behavior policy mu that is not the policy pi being evaluated, what goes
 *                  wrong without its trace coefficients, and how lambda trades bias against variance.
 * Difficulty:      ** (of *****)
 * Build:           cc -O2 -I. examples/04_retrace.c -o 04_retrace -lm
 *
 * A chain of eight cells; entering the last one pays 1 and ends the episode, any other move costs 0.02. The policy pi goes
 * right nine times of ten; the data come from mu, which tosses a coin. The values are soft (E6): each step of pi also
 * costs alpha KL[pi || uniform].
 *
 * What to look at: in part 1, that every lambda arrives at the exact values and larger ones sooner, while lambda = 1 without
 * the ratio pi/mu blows up. In part 2, that a longer trace believes a wrong critic less (bias) and the noise more
 * (spread). How far lambda reaches depends on the data: the coin's actions cut nearly every trace.
 *
 * Expected output:
 *   1. largest error of Q after so many sweeps, from Q = 0
 *      sweeps   lambda 0   lambda 0.5   lambda 1   lambda 1 without correction
 *           0     1.0000       1.0000     1.0000        1.00
 *           1     0.8742       0.6964     0.5439        0.56
 *           2     0.7641       0.5547     0.3784        0.35
 *           4     0.5834       0.3675     0.1763        0.39
 *           8     0.1759       0.0526     0.0010        0.60
 *          16     0.0013       0.0000     0.0000        1.39
 *          32     0.0000       0.0000     0.0000        6.47
 *          64     0.0000       0.0000     0.0000      277.04
 *   2. the target of one sequence; exact value 0.596, critic 40% too low
 *                 data of the coin              data of a policy like pi
 *      lambda     bias   spread   rms error     bias   spread   rms error
 *        0.00   -0.248    0.150       0.290   -0.248    0.150       0.290
 *        0.25   -0.249    0.152       0.292   -0.248    0.153       0.292
 *        0.50   -0.247    0.159       0.294   -0.234    0.166       0.287
 *        0.75   -0.238    0.176       0.296   -0.188    0.198       0.273
 *        1.00   -0.217    0.216       0.306   -0.082    0.267       0.280
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
/* [include] */

/* [constants] */
enum { S = 8,
       A = 2,
       LEFT = 0,
       RIGHT = 1 };
#define GAMMA 0.9
#define ALPHA 0.02
#define NOISE 0.15 /* of rewards, in part 2 */
static const double pi[A] = {0.1, 0.9};
static double mu[A] = {0.5, 0.5}; /* a coin; part 2 has another */
/* [constants] */

/* [chain] */
/* ---- the chain, and its exact values by a linear solve (chapter 10) ---------------------------------------- */

static size_t move(size_t s, size_t a) { return a == RIGHT ? s + 1 : s > 0 ? s - 1
                                                                           : 0; }
static double pay(size_t s, size_t a) { return move(s, a) == S - 1 ? 1 : -0.02; }

static void exact_values(double Q[S][A]) {
    double V[S], table[S][A];
    bp_error error;
    bp_mdp mdp;
    if (bp_mdp_create(&mdp, S, A, GAMMA, NULL, &error) != BP_OK) fprintf(stderr, "%s\n", error.text), exit(1);
    mdp.p0[0] = 1, mdp.terminal[S - 1] = true;
    for (size_t s = 0; s < S; s++) {
        for (size_t a = 0; a < A; a++) {
            table[s][a] = pi[a];
            mdp.P[(s * A + a) * S + (s == S - 1 ? s : move(s, a))] = 1;
            mdp.R[s * A + a] = s == S - 1 ? 0 : pay(s, a);
        }
    }
    if (bp_mdp_check(&mdp, &error) != BP_OK ||
        bp_mdp_soft_evaluate(V, &Q[0][0], &mdp, &table[0][0], NULL, ALPHA, &error) != BP_OK)
        fprintf(stderr, "%s\n", error.text), exit(1);
    bp_mdp_destroy(&mdp);
}
/* [chain] */

/* [soft_value] */
/* V(s) = E_pi[Q] - alpha KL (E6); nothing can be earned in the last cell. */
static double soft_value(double Q[S][A], size_t s) {
    double v = 0;
    for (size_t a = 0; a < A; a++) v += pi[a] * (Q[s][a] - ALPHA * log(pi[a] / 0.5));
    return s == S - 1 ? 0 : v;
}
/* [soft_value] */

/* [sequences] */
/* ---- sequences as the learner sees them --------------------------------------------------------------------- */

enum { T = 8,
       COLUMNS = (S - 1) * A * 128 }; /* 128 = 2^(T-1): all action sequences after the first action */
typedef struct sequences {
    bp_real reward[T * COLUMNS], discount[T * COLUMNS], log_pi[T * COLUMNS], log_mu[T * COLUMNS], mask[T * COLUMNS];
    bp_real value[(T + 1) * COLUMNS], q[T * COLUMNS], c[T * COLUMNS], target[T * COLUMNS];
} sequences;
static sequences d;
/* [sequences] */

/* [put_row] */
/* One step of column b at time t, n columns in all. Returns the next cell. In the last cell there is no action to
 * take: a boundary row, mask 0, where bp_retrace_trace() cuts the trace. */
static size_t put_row(size_t t, size_t b, size_t n, size_t s, size_t a, double noise, double Q[S][A]) {
    const size_t i = t * n + b;
    const bool end = s == S - 1;
    d.mask[i] = BP_R(!end);
    d.reward[i] = BP_R(end ? 0 : pay(s, a) + noise);
    d.discount[i] = BP_R(end || move(s, a) == S - 1 ? 0 : GAMMA); /* 0 when the episode terminates here */
    d.log_pi[i] = BP_R(log(pi[a])), d.log_mu[i] = BP_R(log(mu[a]));
    d.q[i] = BP_R(end ? 0 : Q[s][a]);
    d.value[i] = BP_R(soft_value(Q, s));
    s = end ? s : move(s, a);
    d.value[i + n] = BP_R(soft_value(Q, s)); /* the next row writes the same; the last one bootstraps from it */
    return s;
}
/* [put_row] */

/* [sweep] */
/* ---- 1. the expected target, again and again -------------------------------------------------------------------- *
 * Q <- E_mu[target | s, a]: all action sequences are enumerated and weighted by their probability, so nothing is random.
 * "corrected" false pretends that pi had chosen the actions: c = lambda whatever happened. */
static void sweep(double Q[S][A], double lambda, bool corrected) {
    double next[S][A] = {{0}};
    for (size_t b = 0; b < COLUMNS; b++) {
        size_t s = b / A / 128, a = b / 128 % A;
        for (size_t t = 0; t < T; a = b >> t++ & 1) s = put_row(t, b, COLUMNS, s, a, 0, Q);
    }
    bp_retrace_trace(d.c, d.log_pi, corrected ? d.log_mu : d.log_pi, d.mask, lambda, T, COLUMNS);
    bp_retrace(d.target, d.reward, d.discount, d.value, d.q, d.c, T, COLUMNS);
    for (size_t b = 0; b < COLUMNS; b++) next[b / A / 128][b / 128 % A] += (double)d.target[b] / 128; /* mu is a fair coin */
    for (size_t i = 0; i < S * A; i++) Q[i / A][i % A] = next[i / A][i % A];
}
/* [sweep] */

/* [fixed_points] */
static double largest_error(double Q[S][A], double exact[S][A]) {
    double worst = 0;
    for (size_t i = 0; i < (S - 1) * A; i++) worst = fmax(worst, fabs(Q[i / A][i % A] - exact[i / A][i % A]));
    return worst;
}

static void fixed_points(double exact[S][A]) {
    static const double lambda[4] = {0, 0.5, 1, 1};
    double Q[4][S][A] = {{{0}}};
    printf("1. largest error of Q after so many sweeps, from Q = 0\n");
    printf("   sweeps   lambda 0   lambda 0.5   lambda 1   lambda 1 without correction\n");
    for (int sweeps = 0; sweeps <= 64; sweeps++) {
        if (sweeps < 3 || (sweeps & (sweeps - 1)) == 0)
            printf("   %6d   %8.4f   %10.4f   %8.4f   %9.2f\n", sweeps, largest_error(Q[0], exact), largest_error(Q[1], exact),
                   largest_error(Q[2], exact), largest_error(Q[3], exact));
        for (int k = 0; k < 4; k++) sweep(Q[k], lambda[k], k < 3);
    }
}
/* [fixed_points] */

/* [measure] */
/* ---- 2. one sampled target ------------------------------------------------------------------------------------------ *
 * Start in cell 3 with "right"; rewards carry noise. The critic's values are all too low by 40%. Bias, spread and
 * root mean square error of the target over many sequences. */
enum { N = 1792,
       ROUNDS = 20 };
static void measure(double out[3], double lambda, double Q[S][A], double truth) {
    bp_rng rng = bp_rng_make(1, 0); /* the same random numbers for every lambda */
    double sum = 0, square = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t b = 0; b < N; b++) {
            size_t s = 3, a = RIGHT;
            for (size_t t = 0; t < T; t++) {
                s = put_row(t, b, N, s, a, NOISE * (double)bp_rng_normal(&rng), Q);
                a = bp_rng_uniform(&rng) < mu[RIGHT] ? RIGHT : LEFT;
            }
        }
        bp_retrace_trace(d.c, d.log_pi, d.log_mu, d.mask, lambda, T, N);
        bp_retrace(d.target, d.reward, d.discount, d.value, d.q, d.c, T, N);
        for (size_t b = 0; b < N; b++) {
            const double e = (double)d.target[b] - truth;
            sum += e / (N * ROUNDS);
            square += e * e / (N * ROUNDS);
        }
    }
    out[0] = sum, out[1] = sqrt(square - sum * sum), out[2] = sqrt(square);
}
/* [measure] */

/* [bias] */
static void bias_and_variance(double exact[S][A]) {
    double Q[S][A], m[3];
    for (size_t i = 0; i < S * A; i++) Q[i / A][i % A] = 0.6 * exact[i / A][i % A];
    printf("2. the target of one sequence; exact value %.3f, critic 40%% too low\n", exact[3][RIGHT]);
    printf("              data of the coin              data of a policy like pi\n");
    printf("   lambda     bias   spread   rms error     bias   spread   rms error\n");
    for (int k = 0; k <= 4; k++) {
        printf("   %6.2f", 0.25 * k);
        for (int like_pi = 0; like_pi < 2; like_pi++) {
            mu[RIGHT] = like_pi ? 0.8 : 0.5, mu[LEFT] = 1 - mu[RIGHT];
            measure(m, 0.25 * k, Q, exact[3][RIGHT]);
            printf("   %6.3f   %6.3f   %9.3f", m[0], m[1], m[2]);
        }
        printf("\n");
    }
}
/* [bias] */

/* [main] */
int main(void) {
    double exact[S][A];
    exact_values(exact);
    fixed_points(exact);
    bias_and_variance(exact);
    return 0;
}
/* [main] */
