/* 07_3_agent.c - lesson 7, exercise 3: train, save, and play without the trainer
 *
 * Six thousand steps of the pendulum, as in example 5. Then the policy goes into a file, and a loop of your own plays it with nothing but
 * a bp_agent: the code that would be in a robot.
 */
#include "../lesson.h"

static bp_run *train(void) {
    bp_run_config config = bp_run_config_default();
    bp_rs0_config *learner = &config.learner;
    bp_run *run;
    config.envs = bp_pendulum_maker(NULL);
    config.env_steps = 6000, config.min_sequences = 200, config.samples_per_insert = 128, config.evaluate_every = 0;
    learner->length = 5, learner->batch = 32, learner->samples = 4, learner->target_period = 50;
    learner->policy_adam.lr = learner->critic_adam.lr = 1e-3;
    learner->prior_kind = BP_PRIOR_ISOTROPIC;
    learner->alpha = bp_schedule_constant(0.2), learner->entropy_cost = bp_schedule_constant(0);
    must(bp_run_create(&run, &config, NULL, &error));
    must(bp_run_train(run, &error));
    return run;
}

/* Mean return of 20 episodes under the agent, or under noise where agent is NULL. *steps: how many were played. */
static double play(bp_agent *agent, int *steps) {
    bp_real observation[3], action[1];
    bp_rng rng = bp_rng_make(7, 3);
    double total = 0;
    bp_env env;
    must(bp_pendulum_env(&env, NULL, NULL, &error));
    for (uint64_t episode = 0; episode < 20; episode++) {
        bp_step out = {0, 1, false};
        must(env.reset(env.self, 100 + episode, observation));
        if (agent) bp_agent_reset(agent);
        while (!out.last) {
            action[0] = 2 * bp_rng_normal(&rng); /* the torque is limited to 2 */
            /* YOUR TURN: if there is an agent, let it choose the action: bp_agent_act() */
            must(env.step(env.self, action, observation, &out));
            total += (double)out.reward / 20;
            ++*steps;
        }
    }
    bp_env_close(&env);
    return total;
}

int main(void) {
    static const char file[] = "07_3_agent.safetensors";
    bp_run *run = train();
    bp_agent *agent;
    int steps = 0;
    double learned, noise;
    must(bp_run_export(run, BP_PLAY_POLICY, file, &error));
    bp_run_destroy(run); /* from here on there is no trainer any more */
    must(bp_agent_load(&agent, file, NULL, &error));
    remove(file);
    noise = play(NULL, &steps);
    learned = play(agent, &steps);
    printf("mean return: noise %.0f, the agent %.0f (upright within a few swings: above -200)\n", noise, learned);
    claim(steps == 2 * 20 * 200, "every episode has 200 steps");
    claim(noise < -700, "noise does not get it up");
    claim(learned > -300, "the agent does, without the run that trained it");
    bp_agent_destroy(agent);
    return false_claims;
}
