/* 05_pendulum.c - swing up a pendulum with SVG(0) and Retrace
 *
 * WHAT YOU LEARN  How an environment, a replay and a learner make a training run (chapters 9, 16, 18, 19); what a
 *   parameter-free prior is good for; how to judge a result by more than one seed.
 * DIFFICULTY      ***
 * BUILD           cc -O2 -I. examples/05_pendulum.c -lm -o pendulum
 *                 ./pendulum               one seed, 8000 steps, a few seconds
 *                 ./pendulum --all         seeds 1 to 10, 20000 steps each, a table: what the README reports
 *
 * The pendulum is Gymnasium's Pendulum-v1: the torque is too weak to lift it, so it must be swung. A return above
 * -200 means: upright within a few swings, from any start.
 *
 * Expected output:
 *   pendulum: observations 3, actions 1, episodes of 200 steps
 *   before learning: worse than -1000
 *   after 8000 steps: above -200
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <stdio.h>
#include <string.h>
/* [include] */

/* [settings] */
/* Two things differ from the authors' settings for the ant: everything is smaller, and there is a prior.
 *
 * The prior is N(0, 1) in every state: KL-regularised RL in its plainest form (E4, E8; the losses are E20 and E21). It
 * has a job to do. Actions are clipped to [-1, 1], so once the policy's standard deviation is large nearly every sample sits on the
 * border and Q has no gradient left to give. An entropy bonus alone would then push the deviation up for
 * ever; the KL to a prior of width one brings it back. */
static bp_run_config settings(uint64_t seed, uint64_t steps) {
    bp_run_config config = bp_run_config_default();
    bp_rs0_config *learner = &config.learner;
    config.envs = bp_pendulum_maker(NULL);
    config.seed = learner->seed = seed;
    config.env_steps = steps;
    config.min_sequences = 200;      /* 1000 steps of noise first */
    config.samples_per_insert = 128; /* each sequence is learned from this many times */
    config.replay_capacity = 20000;
    config.evaluate_every = 0;
    learner->length = 5; /* T: sequences of five steps */
    learner->batch = 32;
    learner->samples = 4; /* S: action samples per state */
    learner->target_period = 50;
    learner->policy_adam.lr = learner->critic_adam.lr = 1e-3;
    learner->prior_kind = BP_PRIOR_ISOTROPIC;
    learner->prior_std = 1.0;
    learner->alpha = bp_schedule_constant(0.2); /* in units of reward per nat */
    learner->entropy_cost = bp_schedule_constant(0.0);
    return config;
}
/* [settings] */

/* [judge] */
/* Mean return of the deterministic policy over 100 episodes that training never sees. */
static double judge(bp_run *run, bp_error *error) {
    bp_evaluation result;
    if (bp_run_evaluate(&result, NULL, run, BP_PLAY_POLICY, 100, 12345, false, error) != BP_OK) return -1e9;
    return result.mean;
}
/* [judge] */

/* [learn] */
/* One seed: rounds until done. *solved gets the environment steps at which the mean return was first above -200. */
static bp_status learn(uint64_t seed, uint64_t steps, double *before, double *after, uint64_t *solved, bp_error *error) {
    const bp_run_config config = settings(seed, steps);
    uint64_t next = 1000;
    bp_run *run;
    bp_status status = bp_run_create(&run, &config, NULL, error);
    *solved = 0;
    if (status != BP_OK) return status;
    *before = judge(run, error);
    while (!run->done && status == BP_OK) {
        status = bp_run_round(run, error);
        if (*solved == 0 && run->env_steps >= next) {
            if (judge(run, error) > -200.0) *solved = run->env_steps;
            next += 1000;
        }
    }
    *after = judge(run, error);
    bp_run_destroy(run);
    return status;
}
/* [learn] */

/* [main] */
int main(int argc, char **argv) {
    const bool all = argc > 1 && !strcmp(argv[1], "--all");
    double before = 0, after = 0;
    uint64_t seed, solved = 0, last = all ? 10 : 1;
    int good = 0;
    bp_error error;

    printf("pendulum: observations 3, actions 1, episodes of 200 steps\n");
    for (seed = 1; seed <= last; seed++) {
        if (learn(seed, all ? 20000 : 8000, &before, &after, &solved, &error) != BP_OK) {
            fprintf(stderr, "%s\n", error.text);
            return 1;
        }
        good += solved > 0;
        if (all)
            printf("seed %2d: %8.1f before, %7.1f after 20000 steps, first above -200 at %5d\n", (int)seed, before, after,
                   (int)solved);
        fflush(stdout);
    }
    if (all) printf("%d of 10 seeds reach a mean return above -200 over 100 episodes\n", good);
    else {
        printf("before learning: %s than -1000\n", before < -1000 ? "worse" : "better");
        printf("after 8000 steps: %s -200\n", after > -200 ? "above" : "below");
    }
    return 0;
}
/* [main] */
