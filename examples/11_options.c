/* 11_options.c - options as a latent model: who was at the wheel?
 *
 * What you learn:  1. the forward algorithm, which sums over K^T sequences of latents at a cost of T K (E31)
 *                  2. filtering (what was known then) and smoothing (what is known now)
 *                  3. learning options from movements alone, by the exact gradient of their likelihood
 *                  4. what it is worth to remember, in nats per step
 * Difficulty:      *** (of *****)
 * Build:           cc -O2 -I. examples/11_options.c -o 11_options -lm
 * Try:             NOISE 1.2 (options that overlap); REDRAW 0.5 (options that are hardly kept);
 *                  K 4 when there are three (what becomes of the fourth?).
 *
 * Expected output:
 *   1. 60 movements: one of 3^60 sequences of options made them; all are summed over
 *   2. Which option was it, in the first of 16 walks?                    right in all
 *      truth    LLLLLLLLLLRRRRRRRRRRRRRRRRRRRLLLLLLLRRUUUUUUUUUUUUUUUUUUUUUU 100 %
 *      one step LLLLLLRLLLRRRRRRRRRRRRRURRLRULLLLLLLLRUUUUUUUULRRLUUUUULUULU  79 %
 *      filtered LLLLLLLLLLRRRRRRRRRRRRRRRRLRRLLLLLLLLLUUUUUUUUUURLUUUUUUUUUU  89 %
 *      smoothed LLLLLLLLLLRRRRRRRRRRRRRRRRLRRLLLLLLLLUUUUUUUUUUUUUUUUUUUUUUU  95 %
 *   3. Learned from 960 movements, without being told the options
 *      option ( 0.03,  0.92)  spread 0.75  drawn with probability 0.31
 *      option (-0.96, -0.51)  spread 0.82  drawn with probability 0.34
 *      option ( 0.96, -0.52)  spread 0.76  drawn with probability 0.35
 *      given up with probability 0.16 a step (true: 0.15)
 *   4. Log-likelihood of these movements, nats per step
 *      one Gaussian              -2.983
 *      mixture without memory    -2.939
 *      options                   -2.656
 *      the true model            -2.661
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
/* [include] */

/* [constants] */
#define NOISE 0.8
#define REDRAW 0.15 /* the true b: how often an option is given up */
enum { OPTIONS = 3, /* true ones: up, left, right */
       K = 3,       /* learned ones */
       T = 60,
       B = 16,
       ROWS = T * B,
       MAX_K = 8 };

static const double way[OPTIONS][2] = {{0, 1}, {-1, -0.5}, {1, -0.5}};
static const char letter[] = "ULR";

static bp_real action[ROWS * 2]; /* [T][B][2] all that can be observed */
static size_t truth[ROWS];       /* [T][B] the option that was active */
/* [constants] */

/* [walk] */
/* A walker draws an option, follows it, and in every step gives it up with probability REDRAW and draws again. */
static void walk(bp_rng *rng) {
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++) {
            const size_t row = t * B + b;
            const bool redraw = t == 0 || bp_rng_uniform(rng) < REDRAW;
            truth[row] = redraw ? bp_rng_index(rng, OPTIONS) : truth[row - B];
            for (size_t i = 0; i < 2; i++)
                action[row * 2 + i] = BP_R(way[truth[row]][i] + NOISE * (double)bp_rng_normal(rng));
        }
}
/* [walk] */

/* [model] */
/* The model, in the numbers that are learned: none depends on an observation here, but each row could have its own. */
typedef struct model {
    bp_real mean[MAX_K * 2], log_std[MAX_K * 2]; /* p(a|y) */
    bp_real logits[MAX_K];                       /* p(y) when it is redrawn */
    bp_real redraw;                              /* logit of b */
} model;
enum { PARAMS = sizeof(model) / sizeof(bp_real) };

static bp_real emission[ROWS * MAX_K], option[ROWS * MAX_K], redraw[ROWS], log_prob[ROWS], saved[2 * ROWS * MAX_K];
static bp_real work[B * MAX_K], demission[ROWS * MAX_K], doption[ROWS * MAX_K], dredraw[ROWS];
/* [model] */

/* [forward] */
/* Log-likelihood of all that was seen, nats per step; what backward needs stays in the arrays above. */
static double forward(const model *m, size_t k) {
    bp_real std[MAX_K * 2];
    double sum = 0;
    for (size_t i = 0; i < 2 * k; i++) std[i] = bp_exp(m->log_std[i]);
    for (size_t row = 0; row < ROWS; row++) {
        bp_option_gaussian(emission + row * k, action + row * 2, m->mean, std, 1, k, 2); /* log p(a_t|y) */
        bp_categorical_log_softmax(option + row * k, m->logits, k);                      /* log p(y) */
        redraw[row] = m->redraw;
    }
    bp_option_forward(log_prob, saved, emission, option, redraw, NULL, T, B, k); /* log p(a_t|a_<t) */
    for (size_t row = 0; row < ROWS; row++) sum += (double)log_prob[row];
    return sum / ROWS;
}
/* [forward] */

/* [backward] */
/* Its gradient by the model's numbers, added. */
static void backward(model *grad, const model *m, size_t k) {
    bp_real std[MAX_K * 2], dstd[MAX_K * 2] = {0}, each[ROWS];
    for (size_t row = 0; row < ROWS; row++) each[row] = BP_R(1.0 / ROWS);
    for (size_t i = 0; i < 2 * k; i++) std[i] = bp_exp(m->log_std[i]);
    memset(demission, 0, sizeof demission), memset(doption, 0, sizeof doption), memset(dredraw, 0, sizeof dredraw);
    bp_option_backward(demission, doption, dredraw, work, each, saved, option, redraw, NULL, T, B, k);
    for (size_t row = 0; row < ROWS; row++) {
        bp_option_gaussian_backward(grad->mean, dstd, demission + row * k, action + row * 2, m->mean, std, 1, k, 2);
        bp_categorical_log_softmax_backward(grad->logits, doption + row * k, option + row * k, k);
        grad->redraw += dredraw[row];
    }
    for (size_t i = 0; i < 2 * k; i++) grad->log_std[i] += dstd[i] * std[i];
}
/* [backward] */

/* [fit] */
/* Ascend the likelihood by Adam. With `memory` false, b stays 1: a mixture that is drawn anew in every step. */
static double fit(model *m, size_t k, bool memory, bp_rng *rng) {
    bp_adam_config adam = bp_adam_config_default();
    bp_real first[PARAMS] = {0}, second[PARAMS] = {0};
    memset(m, 0, sizeof *m);
    bp_rng_normals(m->mean, rng, 2 * k);
    m->redraw = memory ? 0 : BP_R(HUGE_VAL);
    adam.lr = 0.03;
    for (uint64_t step = 1; step <= 400; step++) {
        model grad;
        memset(&grad, 0, sizeof grad);
        (void)forward(m, k);
        backward(&grad, m, k);
        if (!memory) grad.redraw = 0;
        bp_adam_step((bp_real *)m, first, second, (const bp_real *)&grad, PARAMS, &adam, step, 1, -1); /* -1: uphill */
    }
    return forward(m, k);
}
/* [fit] */

/* [draw] */
/* The most probable option of each step of the first walk, as letters, and how often it is the true one in all walks. */
static void draw(const char *name, const bp_real *p, size_t k) {
    size_t right = 0;
    printf("   %-9s", name);
    for (size_t row = 0; row < ROWS; row++) {
        size_t best = 0;
        for (size_t y = 1; y < k; y++)
            if (p[row * k + y] > p[row * k + best]) best = y;
        right += best == truth[row];
        if (row % B == 0) putchar(letter[best]);
    }
    printf(" %3.0f %%\n", 100.0 * (double)right / ROWS);
}
/* [draw] */

/* [wheel] */
int main(void) {
    static bp_real smooth[ROWS * MAX_K], known[ROWS * MAX_K];
    bp_rng rng = bp_rng_make(13, 0);
    model m, plain;
    double best, learned, mixture, one;
    walk(&rng);

    /* 1. and 2. with the true model */
    memset(&m, 0, sizeof m);
    for (size_t i = 0; i < 2 * OPTIONS; i++) m.mean[i] = BP_R(way[i / 2][i % 2]), m.log_std[i] = BP_R(log(NOISE));
    m.redraw = BP_R(log(REDRAW / (1 - REDRAW)));
    best = forward(&m, OPTIONS);
    printf("1. %d movements: one of 3^%d sequences of options made them; all are summed over\n", T, T);
    printf("2. Which option was it, in the first of %d walks?                    right in all\n", B);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t y = 0; y < OPTIONS; y++) known[row * OPTIONS + y] = y == truth[row];
    draw("truth", known, OPTIONS);
    draw("one step", emission, OPTIONS);
    draw("filtered", saved + ROWS * OPTIONS, OPTIONS);
    bp_option_smooth(smooth, work, saved, option, redraw, NULL, T, B, OPTIONS);
    draw("smoothed", smooth, OPTIONS);
    /* [wheel] */

    /* [learned] */
    /* 3. and 4. */
    one = fit(&plain, 1, false, &rng);
    mixture = fit(&plain, K, false, &rng);
    learned = fit(&m, K, true, &rng);
    printf("3. Learned from %d movements, without being told the options\n", ROWS);
    for (size_t y = 0; y < K; y++)
        printf("   option (%5.2f, %5.2f)  spread %.2f  drawn with probability %.2f\n", (double)m.mean[2 * y],
               (double)m.mean[2 * y + 1], exp((double)m.log_std[2 * y]), exp((double)option[y]));
    printf("   given up with probability %.2f a step (true: %.2f)\n", 1 / (1 + exp(-(double)m.redraw)), REDRAW);
    printf("4. Log-likelihood of these movements, nats per step\n");
    printf("   one Gaussian              %.3f\n", one);
    printf("   mixture without memory    %.3f\n", mixture);
    printf("   options                   %.3f\n", learned);
    printf("   the true model            %.3f\n", best);
    return 0;
}
/* [learned] */
