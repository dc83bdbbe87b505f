/* 13_own_model.c - a model of your own: an MJCF file becomes an environment, a policy learns in it
 *
 * WHAT YOU LEARN  How rows of names make an observation; how a reward and the start of an episode are plain C functions; that
 *   actuators keep their own units from the model file to the saved policy (chapters M4 and M10 of bprior_mujoco.h).
 * DIFFICULTY      ***
 * BUILD           cc -O2 -I. examples/13_own_model.c -lmujoco -lm -o own_model
 *                 ./own_model                 the arm of examples/13_arm.xml, about 20 seconds
 *                 ./own_model FILE.xml [SEED] a file of yours: it learns if the file has the names below, and lists its names if not
 *
 * An arm of three joints is to touch a ball that hangs somewhere else in each episode. It has 4 seconds (80 steps) and pays for each
 * step with the distance it still has, so it had better hurry; touching ends the episode. Nothing in the library knows
 * this arm: everything that makes it a task is below.
 *
 * Expected output:
 *   arm: 12 observations, 3 actions
 *     joints 3, speeds 3, tip 3, ball 3
 *     action 0 in [-4, 4], action 1 in [-4, 12], action 2 in [-3, 4]
 *   before learning the ball is touched in fewer than 3 of 10 episodes
 *   after 50000 steps in more than 5 of 10
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bp_error error;
static void must(bp_status status) {
    if (status < 0) fprintf(stderr, "%s\n", error.text), exit(1);
}
/* [include] */

/* [readings] */
/* ---- the task ----------------------------------------------------------------------------------------------------- */

/* Rows with the same field name, one after the other, make one field. The ball is seen from the forearm: whatever way the arm is
 * turned, "ahead of me" looks the same. */
static const bp_mj_reading readings[] = {
    {"joints", BP_MJ_JOINT_POSITION, "turn", NULL},
    {"joints", BP_MJ_JOINT_POSITION, "shoulder", NULL},
    {"joints", BP_MJ_JOINT_POSITION, "elbow", NULL},
    {"speeds", BP_MJ_SENSOR, "turn_speed", NULL},
    {"speeds", BP_MJ_SENSOR, "shoulder_speed", NULL},
    {"speeds", BP_MJ_SENSOR, "elbow_speed", NULL},
    {"tip", BP_MJ_SITE_POSITION, "tip", NULL},
    {"ball", BP_MJ_BODY_POSITION, "target", "forearm"},
};
/* [readings] */

/* [distance] */
/* How far is the tip from the ball? Everything is in mjData, found by name. */
static double distance(const mjModel *m, const mjData *d) {
    const mjtNum *tip = d->site_xpos + 3 * mj_name2id(m, mjOBJ_SITE, "tip");
    const mjtNum *ball = d->xpos + 3 * mj_name2id(m, mjOBJ_BODY, "target");
    return (double)mju_dist3(tip, ball);
}
/* [distance] */

/* [callbacks] */
static double reward(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done) {
    (void)ctx, (void)action;
    *done = distance(m, d) < 0.06;
    return -distance(m, d);
}

/* The ball: somewhere in front, at a distance that the arm can reach. Joints have been placed already (keyframe and noise). */
static void begin(void *ctx, const mjModel *m, mjData *d, bp_rng *rng) {
    const double angle = 3 * bp_rng_uniform(rng) - 1.5;
    const double away = 0.25 + 0.25 * bp_rng_uniform(rng);
    (void)ctx;
    if (m->nmocap < 1) mju_error("there is no mocap body to be placed"); /* becomes the error of reset() */
    d->mocap_pos[0] = (mjtNum)(away * cos(angle));
    d->mocap_pos[1] = (mjtNum)(away * sin(angle));
    d->mocap_pos[2] = (mjtNum)(0.15 + 0.3 * bp_rng_uniform(rng));
}
/* [callbacks] */

/* [model] */
static bp_mj_model_config arm(const char *path) {
    bp_mj_model_config c = bp_mj_model_config_default();
    c.path = path;
    c.readings = readings, c.n_readings = sizeof readings / sizeof readings[0];
    c.n_substeps = 10, c.episode_steps = 80; /* 20 actions a second */
    c.keyframe = "folded", c.noise = 0.1;
    c.reward = reward, c.begin = begin;
    return c;
}
/* [model] */

/* [student] */
/* ---- learning: as in any other environment (05_pendulum.c explains the settings) ----------------------------------- */

static bp_run *student(bp_mj_world *world, uint64_t seed) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    bp_run *run;
    c.envs = bp_mj_maker(world);
    c.seed = l->seed = seed;
    c.env_steps = 50000, c.evaluate_every = 0;
    c.min_sequences = 200, c.samples_per_insert = 64, c.replay_capacity = 20000;
    l->length = 5, l->batch = 32, l->samples = 4, l->discount = 0.9;
    l->target_period = 50;
    l->policy_adam.lr = l->critic_adam.lr = 1e-3;
    l->prior_kind = BP_PRIOR_ISOTROPIC, l->prior_std = 1.0;
    l->alpha = bp_schedule_constant(0.003), l->entropy_cost = bp_schedule_constant(0.0);
    must(bp_run_create(&run, &c, NULL, &error));
    return run;
}
/* [student] */

/* [touched] */
/* Share of 100 episodes that end before their time is up. The environment has the arm's own units; so does the agent. */
static double touched(bp_mj_world *world, const char *file) {
    bp_real observation[64], action[BP_MAX_ACTION];
    size_t touches = 0;
    bp_agent *agent;
    bp_step out;
    bp_env env;
    must(bp_agent_load(&agent, file, NULL, &error));
    must(bp_mj_env_make(world, &env, &error));
    must(bp_agent_check(agent, &env.spec, &error));
    for (uint64_t episode = 0; episode < 100; episode++) {
        bp_agent_reset(agent);
        must(env.reset(env.self, 5000 + episode, observation));
        do {
            must(bp_agent_act(agent, action, observation));
            must(env.step(env.self, action, observation, &out));
        } while (!out.last);
        touches += bp_mj_env_info(&env).end == BP_MJ_SUCCESS;
    }
    bp_env_close(&env);
    bp_agent_destroy(agent);
    return (double)touches / 100;
}
/* [touched] */

/* [look] */
/* ---- looking at a model --------------------------------------------------------------------------------------------- */

static void show(const bp_spec *spec) {
    printf("%zu observations, %zu actions\n ", spec->observation_size, spec->action_size);
    for (size_t i = 0; i < spec->n_fields; i++) printf("%s %s %zu", i ? "," : "", spec->field[i].name, spec->field[i].size);
    printf("\n ");
    for (size_t i = 0; i < spec->action_size; i++)
        printf("%s action %zu in [%g, %g]", i ? "," : "", i, spec->action_low[i], spec->action_high[i]);
    printf("\n");
}

/* A file in which the names above are not: tell which ones there are. */
static void look(const char *path) {
    static const bp_mj_reading all[] = {{"positions", BP_MJ_JOINT_POSITION, "*", NULL}};
    static const mjtObj type[] = {mjOBJ_JOINT, mjOBJ_BODY, mjOBJ_SITE, mjOBJ_SENSOR, mjOBJ_ACTUATOR, mjOBJ_KEY};
    bp_mj_model_config c = bp_mj_model_config_default();
    bp_mj_world *world;
    c.path = path;
    c.readings = all, c.n_readings = 1;
    must(bp_mj_model_world(&world, &c, NULL, &error));
    show(bp_mj_world_spec(world));
    for (size_t k = 0; k < sizeof type / sizeof type[0]; k++)
        for (int i = 0; i < 100; i++) { /* beyond the last there is no name */
            const char *name = mj_id2name(bp_mj_world_model(world), type[k], i);
            if (name && *name) printf("  %s \"%s\"\n", mju_type2Str(type[k]), name);
        }
    bp_mj_world_destroy(world);
}
/* [look] */

/* [world] */
int main(int argc, char **argv) {
    static const char policy[] = "13_policy.safetensors";
    const char *model = argc > 1 ? argv[1] : "examples/13_arm.xml";
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const bp_mj_model_config config = arm(model);
    bp_mj_world *world;
    bp_run *run;
    bp_env env;
    double share;
    const bp_status status = bp_mj_model_world(&world, &config, NULL, &error);
    if (status == BP_ERR_IO && argc < 2) fprintf(stderr, "Start this program in the directory that holds examples/: ");
    if (status == BP_ERR_FIELD) return printf("%s\n", error.text), look(model), 0;
    must(status);
    printf("arm: ");
    show(bp_mj_world_spec(world));
    /* [world] */

    /* [check] */
    must(bp_mj_env_make(world, &env, &error)); /* flaws? random actions; seeds repeat? saved states go on bit for bit? */
    must(bp_env_check(&env, 1, 500, &error));
    bp_env_close(&env);
    /* [check] */

    /* [train] */
    run = student(world, seed);
    must(bp_run_export(run, BP_PLAY_POLICY, policy, &error));
    share = touched(world, policy);
    printf("before learning the ball is touched in %s of 10 episodes\n", share < 0.3 ? "fewer than 3" : "3 or more");
    if (argc > 2) printf("(%.2f)\n", share);
    fflush(stdout);
    must(bp_run_train(run, &error));
    must(bp_run_export(run, BP_PLAY_POLICY, policy, &error)); /* with the names of the fields and the limits of the actions */
    share = touched(world, policy);
    printf("after %d steps in %s of 10\n", (int)run->config.env_steps, share > 0.5 ? "more than 5" : "5 or fewer");
    if (argc > 2) printf("(%.2f)\n", share);
    bp_run_destroy(run); /* runs hold environments: first these, then the world */
    bp_mj_world_destroy(world);
    remove(policy);
    return 0;
}
/* [train] */
