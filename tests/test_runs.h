/* test_runs.h - small runs of the point mass for tests of chapter 19, after bprior.h and test_util.h.
 *
 *     bp_run_config c = bpt_small_run(directory);   3 actors, 900 steps, a learned prior; directory may be NULL
 *     bpt_remember(&c);                             memory in policy, prior and critics, and two critics
 *     bpt_two_levels(&c);                           a latent that is held, with an AR(1) prior
 *     bpt_remember_levels(&c);                      after bpt_two_levels(): memory in both levels, the redrawn latents of Algorithm 2
 *
 * Include in one file of a program.
 */
#ifndef BPRIOR_TEST_RUNS_H
#define BPRIOR_TEST_RUNS_H

static bp_pointmass_config bpt_room;

/* Episodes of 17 steps in sequences of 6 rows: most begin in the middle of one. */
BPT_FN bp_run_config bpt_small_run(const char *directory) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    bpt_room = bp_pointmass_config_default();
    bpt_room.steps = 17;
    bpt_room.distance_cost = 1;
    c.envs = bp_pointmass_maker(&bpt_room);
    c.directory = directory;
    c.env_steps = 900;
    c.actors = 3;
    c.min_sequences = 12;
    c.replay_capacity = 60;
    c.samples_per_insert = 4;
    c.evaluate_every = 400;
    c.evaluation_episodes = 2;
    c.evaluation_stochastic = true;
    c.log_every = 100;
    c.checkpoint_every = 0;
    c.learner.batch = 8;
    c.learner.length = 6;
    c.learner.samples = 2;
    c.learner.shards = 3;
    for (i = 0; i < 2; i++) c.learner.policy.width[i] = c.learner.prior.width[i] = c.learner.critic_width[i] = 6;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    c.learner.prior.fields[0] = "velocity";
    c.learner.policy.head_scale = 1;
    c.learner.target_period = 5;
    c.learner.policy_adam.lr = c.learner.prior_adam.lr = c.learner.critic_adam.lr = 1e-3;
    return c;
}

BPT_FN void bpt_remember(bp_run_config *c) {
    c->learner.policy.lstm = 5;
    c->learner.prior.lstm = 4;
    c->learner.critic_lstm = 3;
    c->learner.burn_in = 2;
    c->learner.twin_critics = true;
}

BPT_FN void bpt_two_levels(bp_run_config *c) {
    size_t i;
    c->learner.latent = bp_latent_config_default(2);
    c->learner.latent.prior_kind = BP_HIGH_AR1;
    c->learner.latent.hold = 3;
    c->learner.latent.joint_ratio = true;
    c->learner.policy.fields[0] = "velocity";
    for (i = 0; i < 2; i++) c->learner.latent.high.width[i] = c->learner.latent.high_prior.width[i] = 5;
}

BPT_FN void bpt_remember_levels(bp_run_config *c) {
    c->learner.latent.prior_kind = BP_HIGH_AUTOREGRESSIVE;
    c->learner.latent.joint_ratio = false;
    c->learner.latent.shared_low = false;
    c->learner.latent.high.lstm = 3;
    c->learner.latent.high_prior.lstm = 4;
    c->learner.policy.lstm = 4;
}

#endif
