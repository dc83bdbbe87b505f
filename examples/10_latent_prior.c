/* 10_latent_prior.c - a latent prior with two modes, and its bound
 *
 * What you learn:  1. why one Gaussian cannot say "left or right"   2. the bound that stands in for a KL that cannot be computed
 *                  (E24), and what its gap is made of                3. closing the gap: training an inference network
 *                  4. the same with networks: a prior with a continuous latent, trained by its evidence bound
 * Difficulty:      *** (of *****)
 * Build:           cc -O2 -I. examples/10_latent_prior.c -o 10_latent_prior -lm
 * Try:             WAY 0.3 (when does one Gaussian suffice?); hold = 1 in part 4 (each step pays for its own y);
 *                  kl_weight = 5 (the latent costs too much, and the prior collapses to one Gaussian).
 *
 * Expected output:
 *   1. One step: a = -0.6 or +0.6, with noise of 0.2
 *      nearest Gaussian: N(0, 0.63), KL 0.462 nats; density at 0 is 0.631 there, and 0.022 in truth
 *   2. Three steps, left or right: every trajectory, exactly
 *      inference table f(y|tau)       KL    bound      gap   bound - gap
 *      guesses                    0.4940   1.7793   1.2853        0.4940
 *      half-way to the posterior  0.4940   0.5828   0.0888        0.4940
 *      the exact posterior        0.4940   0.4940   0.0000        0.4940
 *   3. Descending the bound by f alone
 *      after     0 steps: gap 1.2853
 *      after    10 steps: gap 0.1540
 *      after   100 steps: gap 0.0061
 *      after  1000 steps: gap 0.0002
 *   4. Four steps, one direction for all of them: networks
 *      one Gaussian: KL 4 nats an episode; two in three of its episodes go nowhere
 *      latent prior: KL at most 0.6 nats an episode? yes
 *      episodes to the left and to the right: about as many
 *      fewer than one in five go nowhere? yes
 *      f knows the direction that was taken? yes
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* [include] */

/* [constants] */
#define WAY 0.6
#define NOISE 0.2
enum { N = 8, /* trajectories of part 2 */
       T = 4,
       B = 32 };

static bp_error error; /* every call that can fail leaves a sentence here */

static void must(bp_status status) {
    if (status == BP_OK) return;
    fprintf(stderr, "%s\n", error.text);
    exit(1);
}
/* [constants] */

/* [one_step] */
/* ---- 1. one step ------------------------------------------------------------------------------------
 * The policies of many tasks, averaged: half of them go left, half right. The Gaussian nearest to that, in KL, has its mean and
 * its variance, and so it recommends what nobody does: to stand still. */
static const bp_real equal[2] = {0, 0}, two_mean[2] = {BP_R(-WAY), BP_R(WAY)}, two_std[2] = {BP_R(NOISE), BP_R(NOISE)};
static const bp_real zero = 0;

static void one_step(void) {
    const bp_real broad = BP_R(sqrt(WAY * WAY + NOISE * NOISE));
    double kl = 0;
    for (int i = -400; i <= 400; i++) { /* the trapezoid rule */
        const bp_real a = BP_R(i * 0.005);
        const double log_pi = (double)bp_mixture_log_prob(&a, equal, two_mean, two_std, 2, 1);
        kl += exp(log_pi) * (log_pi - (double)bp_gaussian_log_prob(&a, &zero, &broad, 1)) * 0.005;
    }
    printf("1. One step: a = %.1f or %+.1f, with noise of %.1f\n", -WAY, WAY, NOISE);
    printf("   nearest Gaussian: N(0, %.2f), KL %.3f nats; density at 0 is %.3f there, and %.3f in truth\n", (double)broad, kl,
           exp((double)bp_gaussian_log_prob(&zero, &zero, &broad, 1)),
           exp((double)bp_mixture_log_prob(&zero, equal, two_mean, two_std, 2, 1)));
}
/* [one_step] */

/* [bound] */
/* ---- 2. and 3. the bound, exactly ------------------------------------------------------------------------
 * One state, two actions, three steps: eight trajectories. The prior draws y, left or right, once, and then goes that way nine
 * times in ten. The policy goes right seven times in ten. log pi0(tau) = log sum_y ... is the sum inside a logarithm that
 * the bound avoids:   bound = E_pi[ log pi(tau) + log f(y|tau) - log pi0(tau,y) ],   y ~ f                          (E24) */
static double log_pi[N], log_joint0[N * 2], log_f[N * 2], f_logits[N * 2];

/* log p(tau,y) = log pi(tau) + log f(y|tau), in the inequality at the head of the chapter */
static bp_bound bound_of(double *log_p) {
    bp_bound b;
    bp_latent_softmax(log_f, f_logits, N, 2);
    for (size_t i = 0; i < N * 2; i++) log_p[i] = log_pi[i / 2] + log_f[i];
    bp_bound_exact(&b, log_p, log_joint0, N, 2);
    return b;
}
/* [bound] */

/* [exact] */
static void exact_bound(void) {
    static const char *const name[3] = {"guesses", "half-way to the posterior", "the exact posterior"};
    const bp_latent_tables plain = bp_latent_tables_make(1, 2, 1, true), latent = bp_latent_tables_make(1, 2, 2, true);
    const double policy[3] = {0.3, 0.7, 1}, prior[6] = {0.9, 0.1, 0.1, 0.9, 0.5, 0.5}; /* p(a|s,y), then p(y|s) */
    double logp[6], log_p[N * 2], posterior[N * 2], dlog_p[N * 2];
    bp_trajectories all;
    bp_mdp m;
    must(bp_mdp_create(&m, 1, 2, 1, NULL, &error));
    m.P[0] = m.P[1] = m.p0[0] = 1;
    must(bp_trajectories_create(&all, &m, 3, NULL, &error)); /* all eight */
    for (size_t i = 0; i < 3; i++) logp[i] = log(policy[i]);
    bp_latent_log_joint(log_pi, &all, logp, &plain);
    for (size_t i = 0; i < 6; i++) logp[i] = log(prior[i]);
    bp_latent_log_joint(log_joint0, &all, logp, &latent);
    for (size_t i = 0; i < N; i++) bp_latent_posterior(posterior + i * 2, log_joint0 + i * 2, 2);
    printf("2. Three steps, left or right: every trajectory, exactly\n");
    printf("   inference table f(y|tau)       KL    bound      gap   bound - gap\n");
    for (size_t k = 0; k < 3; k++) {
        bp_bound b;
        for (size_t i = 0; i < N * 2; i++) f_logits[i] = 0.5 * (double)k * posterior[i];
        b = bound_of(log_p);
        printf("   %-25s %7.4f  %7.4f  %7.4f  %12.4f\n", name[k], b.kl, b.bound, b.gap, b.bound - b.gap);
    }
    /* [exact] */

    /* [descend] */
    /* In practice f is a network. Here: the gradient of the bound by its logits. Nothing else moves, so the gap must close. */
    printf("3. Descending the bound by f alone\n");
    memset(f_logits, 0, sizeof f_logits);
    for (size_t step = 0; step <= 1000; step++) {
        double dlogits[N * 2] = {0};
        const bp_bound b = bound_of(log_p);
        if (step == 0 || step == 10 || step == 100 || step == 1000) printf("   after %5u steps: gap %.4f\n", (unsigned)step, b.gap);
        memset(dlog_p, 0, sizeof dlog_p);
        bp_bound_exact_backward(dlog_p, NULL, 1, log_p, log_joint0, N, 2);
        bp_latent_softmax_backward(dlogits, dlog_p, log_f, N, 2);
        for (size_t i = 0; i < N * 2; i++) f_logits[i] -= dlogits[i];
    }
    bp_trajectories_destroy(&all);
    bp_mdp_destroy(&m);
}
/* [descend] */

/* [episodes] */
/* ---- 4. the same with networks ------------------------------------------------------------------------------
 * Episodes of four steps that keep one direction. A decoder pi0(a|x,y) turns y ~ N(0,1) into a Gaussian over actions, an encoder
 * f(y|tau) guesses y from the episode; both descend minus the evidence bound. */
static void episodes(bp_real *action, bool *right, bp_rng *rng) {
    for (size_t b = 0; b < B; b++) {
        right[b] = bp_rng_index(rng, 2) == 1;
        for (size_t t = 0; t < T; t++) action[t * B + b] = BP_R((right[b] ? WAY : -WAY) + NOISE * (double)bp_rng_normal(rng));
    }
}
/* [episodes] */

/* [network] */
static void with_networks(void) {
    static bp_real x[T * B], action[T * B], mean[T * B], std[T * B], y[T * B], dist[2 * T * B];
    const bp_real broad = BP_R(sqrt(WAY * WAY + NOISE * NOISE));
    const int rounds = 100;
    double gaussian = 0, bound = 0, agree = 0, to_right = 0, nowhere = 0;
    bool right[B];
    bp_latent_prior_config config = bp_latent_prior_config_default();
    bp_latent_prior *prior;
    bp_rng rng = bp_rng_make(10, 0);
    bp_spec spec;
    bp_spec_begin(&spec, "fork");
    must(bp_spec_add_field(&spec, "nothing", 1, &error)); /* x is always 0: all that differs is the direction */
    must(bp_spec_actions_continuous(&spec, 1, -1, 1, &error));
    config.latent = 1; /* one number y, held for the episode (hold = 0) */
    config.length = T, config.batch = B, config.samples = 4;
    config.hidden_layers = 1, config.width[0] = 16, config.adam.lr = 1e-2;
    config.head.init_std = 0.4, config.head.min_std = 0.01;
    must(bp_latent_prior_create(&prior, &spec, &config, NULL, &error));
    for (int k = 0; k < 2000; k++) {
        if (k == 1500) prior->config.adam.lr = 1e-3;
        episodes(action, right, &rng);
        must(bp_latent_prior_step(prior, x, action, NULL, T, B, &rng, &error));
    }
    /* [network] */

    /* [judge] */
    for (int k = 0; k < rounds; k++) {
        episodes(action, right, &rng); /* new ones */
        must(bp_latent_prior_gradients(prior, x, action, NULL, T, B, &rng, &error));
        must(bp_latent_prior_encode(mean, std, prior, x, action, NULL, T, B, &error));
        for (size_t b = 0; b < B; b++) {
            double way[2] = {log(0.5), log(0.5)}, log_p, evidence = 0, plain = 0;
            for (size_t t = 0; t < T; t++) {
                const bp_real *a = action + t * B + b;
                way[0] += (double)bp_gaussian_log_prob(a, two_mean, two_std, 1);
                way[1] += (double)bp_gaussian_log_prob(a, two_mean + 1, two_std, 1);
                plain += (double)bp_gaussian_log_prob(a, &zero, &broad, 1);
                evidence += (double)prior->row_log_prob[t * B + b] - (double)prior->row_kl[t * B + b];
            }
            log_p = bp_latent_marginal(way, 2); /* the episode's true log density */
            gaussian += (log_p - plain) / (rounds * B);
            bound += (log_p - evidence) / (rounds * B);
            agree += ((mean[b] > 0) == right[b]) / (double)(rounds * B); /* y > 0 may have come to mean left */
        }
        bp_rng_normals(mean, &rng, B); /* play the prior: one y an episode */
        for (size_t t = 0; t < T; t++) memcpy(y + t * B, mean, B * sizeof(bp_real));
        must(bp_latent_prior_decode(dist, prior, x, y, T * B, &error));
        for (size_t b = 0; b < B; b++) {
            double sum = 0;
            for (size_t t = 0; t < T; t++) sum += (double)(dist[t * B + b] + dist[T * B + t * B + b] * bp_rng_normal(&rng)) / T;
            nowhere += (fabs(sum) < WAY / 2) / (double)(rounds * B);
            to_right += (sum > 0) / (double)(rounds * B);
        }
    }
    /* [judge] */
    /* [report] */
    printf("4. Four steps, one direction for all of them: networks\n");
    printf("   one Gaussian: KL %.0f nats an episode; two in three of its episodes go nowhere\n", gaussian);
    printf("   latent prior: KL at most 0.6 nats an episode? %s\n", bound < 0.6 ? "yes" : "no");
    printf("   episodes to the left and to the right: %s\n", fabs(to_right - 0.5) < 0.1 ? "about as many" : "not as many");
    printf("   fewer than one in five go nowhere? %s\n", nowhere < 0.2 ? "yes" : "no");
    printf("   f knows the direction that was taken? %s\n", fabs(agree - 0.5) > 0.49 ? "yes" : "no");
    bp_latent_prior_destroy(prior);
}
/* [report] */

/* [main] */
int main(void) {
    one_step(), exact_bound(), with_networks();
    return 0;
}
/* [main] */
