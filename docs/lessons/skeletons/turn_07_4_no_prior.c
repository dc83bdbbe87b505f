/* 07_4_no_prior.c - lesson 7, exercise 4: what the prior of the pendulum is for
 *
 * Example 5 claims that an entropy bonus alone would push the policy's standard deviation up for ever, since actions are
 * clipped, and that the KL to N(0, 1) stops it. Test the claim: 3000 steps with the one, 3000 with the other.
 */
#include "../lesson.h"

/* The policy's mean standard deviation after 3000 steps. */
static double deviation(bool prior) {
    bp_run_config config = bp_run_config_default();
    bp_rs0_config *learner = &config.learner;
    bp_run *run;
    double std;
    config.envs = bp_pendulum_maker(NULL);
    config.env_steps = 3000, config.min_sequences = 200, config.samples_per_insert = 128, config.evaluate_every = 0;
    learner->length = 5, learner->batch = 32, learner->samples = 4, learner->target_period = 50;
    learner->policy_adam.lr = learner->critic_adam.lr = 1e-3;
    /* YOUR TURN: with `prior`: isotropic, standard deviation 1, alpha .2, no entropy bonus. Without: no prior, an entropy bonus of .05. */
    must(bp_run_create(&run, &config, NULL, &error));
    must(bp_run_train(run, &error));
    std = run->learner->metrics.policy_std;
    printf("%-28s standard deviation %8.2f, entropy %6.2f nats\n", prior ? "prior N(0, 1)" : "entropy bonus alone", std,
           run->learner->metrics.entropy);
    bp_run_destroy(run);
    return std;
}

int main(void) {
    const double with = deviation(true), without = deviation(false);
    claim(with < 2, "with the prior the deviation stays near 1");
    claim(without > 20, "with an entropy bonus alone it explodes: the box is [-1, 1]");
    return false_claims;
}
