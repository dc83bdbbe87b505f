/* test_mujoco_threads.c - bprior_mujoco.h and several threads: worlds made at the same time, environments of one world, errors of the
 * engine that must reach the thread they belong to and no other, runs with several actors.
 *
 * Oracle: what one thread computes alone. Run under ThreadSanitizer and AddressSanitizer as well (libmujoco itself is not
 * instrumented: they see our memory, and MuJoCo's allocations and locks).
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"

#include <pthread.h>

/* MuJoCo 2 puts the text of a warning together in one buffer for all threads. We copy from it; text is all that can suffer. */
#if defined(__SANITIZE_THREAD__) && mjVERSION_HEADER < 300
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:mju_warningText\nrace:bpi_mj_copy_line\n"; }
#endif

enum { THREADS = 4,
       STEPS = 40,
       EPISODES = 3 };

/* A cart with a pole and an actuator with activation. */
static const char cart[] =
    "<mujoco><option timestep='.01'/><worldbody><geom type='plane' size='3 3 .1'/>"
    "  <body name='cart' pos='0 0 .3'><joint name='rail' type='slide' axis='1 0 0' damping='.5'/><geom type='box' size='.1 .1 .1'/>"
    "    <body name='pole' pos='0 0 .1'><joint name='pivot' axis='0 1 0'/><geom type='capsule' fromto='0 0 0 0 0 .5' size='.03'/></body>"
    "  </body></worldbody>"
    "<actuator><motor joint='rail' gear='5'/><general joint='pivot' dyntype='filter' dynprm='.1'/></actuator></mujoco>";

static const bp_mj_reading rows[] = {
    {"q", BP_MJ_JOINT_POSITION, "*", NULL},
    {"v", BP_MJ_JOINT_VELOCITY, "*", NULL},
    {"act", BP_MJ_ACTIVATION, "*", NULL},
    {"pole", BP_MJ_BODY_VELOCITY, "pole", NULL},
};

/* Upright is good. An action[0] of 0.75 and more is an error of the engine, with the second action in its text. */
static double reward(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done) {
    char text[64];
    (void)ctx;
    (void)m;
    (void)done;
    if (action[0] >= (bp_real)0.75) {
        (void)snprintf(text, sizeof text, "error of thread %d", (int)lround(100 * (double)action[1]));
#if mjVERSION_HEADER >= 233
        mju_error("%s", text);
#else
        mju_error(text);
#endif
    }
    return cos((double)d->qpos[1]);
}

static void begin(void *ctx, const mjModel *m, mjData *d, bp_rng *rng) {
    (void)ctx;
    (void)m;
    d->qpos[1] = (mjtNum)(0.2 * bp_rng_uniform(rng) - 0.1);
}

static bp_mj_model_config cart_config(void) {
    bp_mj_model_config c = bp_mj_model_config_default();
    c.xml = cart;
    c.readings = rows;
    c.n_readings = sizeof rows / sizeof rows[0];
    c.n_substeps = 2;
    c.episode_steps = STEPS;
    c.noise = 0.05;
    c.reward = reward;
    c.begin = begin;
    return c;
}

/* Episodes from a script, summed up. @return failures */
static int play(double *sum, const bp_mj_world *world, bp_env *env) {
    bp_real obs[MJ_RIG_OBSERVATION], action[BP_MAX_ACTION];
    const bp_spec *spec = bp_mj_world_spec(world);
    uint64_t episode;
    size_t t, i;
    int failures = 0;
    bp_step out;
    *sum = 0;
    for (episode = 0; episode < EPISODES; episode++) {
        failures += env->reset(env->self, episode, obs) != BP_OK;
        for (t = 0; t < STEPS; t++) {
            for (i = 0; i < spec->action_size; i++) action[i] = (bp_real)(0.5 * sin((double)(t + i)));
            failures += env->step(env->self, action, obs, &out) != BP_OK;
            for (i = 0; i < spec->observation_size; i++) *sum += (double)(obs[i]) * (double)(1 + i);
            *sum += (double)out.reward;
            if (out.last) break;
        }
    }
    return failures;
}

typedef struct job {
    int number;
    const bp_mj_world *world; /* to be shared, or NULL */
    double expected;
    int failures;
} job;

static void together(void *(*work)(void *), const bp_mj_world *world, double expected) {
    pthread_t thread[THREADS];
    job jobs[THREADS];
    int i;
    for (i = 0; i < THREADS; i++) {
        jobs[i].number = i;
        jobs[i].world = world;
        jobs[i].expected = expected;
        jobs[i].failures = 0;
        assert_int_equal(pthread_create(&thread[i], NULL, work, &jobs[i]), 0);
    }
    for (i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (i = 0; i < THREADS; i++) assert_int_equal(jobs[i].failures, 0);
}

/* ---- each its own world ------------------------------------------------------------------------------------------------ */

static void *make_and_play(void *ctx) {
    job *j = (job *)ctx;
    bp_mj_model_config c = cart_config();
    bp_mj_world *world;
    bp_error error;
    bp_env env;
    double sum;
    int turn;
    for (turn = 0; turn < 3; turn++) {
        char broken[160], word[32];
        const char *const keep = c.xml;
        if (bp_mj_model_world(&world, &c, NULL, &error) != BP_OK || bp_mj_env_make(world, &env, &error) != BP_OK) {
            j->failures++;
            return NULL;
        }
        j->failures += play(&sum, world, &env);
        j->failures += !(sum >= j->expected && sum <= j->expected);
        bp_env_close(&env);
        bp_mj_world_destroy(world);

        /* a mistake of mine is told to me */
        (void)snprintf(word, sizeof word, "joint%d", j->number);
        (void)snprintf(broken, sizeof broken, "<mujoco><actuator><motor joint='%s'/></actuator></mujoco>", word);
        c.xml = broken;
        j->failures += bp_mj_model_world(&world, &c, NULL, &error) != BP_ERR_FORMAT || !strstr(error.text, word);
        c.xml = keep;
    }
    return NULL;
}

static void test_worlds(void **state) {
    bp_mj_model_config c = cart_config();
    bp_mj_world *world;
    bp_error error;
    double expected;
    bp_env env;
    (void)state;
    bpt_ok(bp_mj_init(&error), &error); /* once, before the threads */
    bpt_ok(bp_mj_model_world(&world, &c, NULL, &error), &error);
    bpt_ok(bp_mj_env_make(world, &env, &error), &error);
    assert_int_equal(play(&expected, world, &env), 0);
    assert_true(expected != 0);
    bp_env_close(&env);
    bp_mj_world_destroy(world);
    together(make_and_play, NULL, expected);
}

/* Worlds of tasks: a walker each, from tables. */
static void *make_a_task(void *ctx) {
    static const bp_mj_walker_kind walker[THREADS] = {BP_MJ_WALKER_ANT, BP_MJ_WALKER_ROLLING, BP_MJ_WALKER_HUMANOID, BP_MJ_WALKER_ANT};
    static const bp_mj_task_kind kind[THREADS] = {BP_MJ_MOVE_BOX, BP_MJ_SEQUENCE, BP_MJ_RUN, BP_MJ_RUN_GAPS};
    job *j = (job *)ctx;
    const bp_mj_task task = bp_mj_task_default(kind[j->number], walker[j->number]);
    double sum[2];
    int turn;
    for (turn = 0; turn < 2; turn++) {
        bp_mj_world *world;
        bp_env env;
        if (bp_mj_world_create(&world, &task, NULL, NULL) != BP_OK || bp_mj_env_make(world, &env, NULL) != BP_OK) {
            j->failures++;
            return NULL;
        }
        j->failures += play(&sum[turn], world, &env);
        bp_env_close(&env);
        bp_mj_world_destroy(world);
    }
    j->failures += !(sum[0] >= sum[1] && sum[0] <= sum[1]);
    return NULL;
}

static void test_tasks(void **state) {
    (void)state;
    bpt_ok(bp_mj_init(NULL), NULL);
    together(make_a_task, NULL, 0);
}

/* ---- one world, an environment each ------------------------------------------------------------------------------------- */

/* Play; in between provoke an error, and a divergence, and find that both are this thread's own. */
static void *share(void *ctx) {
    job *j = (job *)ctx;
    const double fast[2] = {0, 1e12};
    bp_real obs[MJ_RIG_OBSERVATION], action[2] = {1, 0};
    char word[64];
    uint64_t turn;
    bp_mj_info info;
    bp_step out;
    bp_env env;
    double sum;
    if (bp_mj_env_make(j->world, &env, NULL) != BP_OK) {
        j->failures++;
        return NULL;
    }
    action[1] = (bp_real)(0.01 * j->number);
    (void)snprintf(word, sizeof word, "MuJoCo: error of thread %d", j->number);
    for (turn = 1; turn <= 10; turn++) {
        j->failures += play(&sum, j->world, &env);
        j->failures += !(sum >= j->expected && sum <= j->expected);
        j->failures += bp_mj_env_info(&env).end != BP_MJ_TIME_LIMIT;

        j->failures += env.reset(env.self, 1, obs) != BP_OK;
        action[0] = 1;
        j->failures += env.step(env.self, action, obs, &out) != BP_ERR_ENV;
        info = bp_mj_env_info(&env);
        j->failures += info.end != BP_MJ_ENGINE_ERROR || strcmp(info.error.text, word) != 0;

        j->failures += env.reset(env.self, 2, obs) != BP_OK;
        action[0] = 0;
        if (j->number % 2) {
            j->failures += bp_mj_env_set_state(&env, NULL, fast, NULL, NULL) != BP_OK;
            j->failures += env.step(env.self, action, obs, &out) != BP_OK || !out.last;
        } else {
            j->failures += env.step(env.self, action, obs, &out) != BP_OK || out.last;
        }
        info = bp_mj_env_info(&env);
        j->failures += info.diverged != (j->number % 2 ? turn : 0) || info.warnings != info.diverged;
    }
    bp_env_close(&env);
    return NULL;
}

static void test_one_world(void **state) {
    bp_mj_model_config c = cart_config();
    double expected;
    mj_rig r;
    (void)state;
    memset(&r, 0, sizeof r);
    bpt_ok(bp_mj_model_world(&r.world, &c, NULL, &r.error), &r.error);
    bpt_ok(bp_mj_env_make(r.world, &r.env, &r.error), &r.error);
    assert_int_equal(play(&expected, r.world, &r.env), 0);
    together(share, r.world, expected);
    mj_rig_free(&r);
}

/* ---- runs ----------------------------------------------------------------------------------------------------------------- */

static bp_run *run_of(bp_mj_world *world, size_t threads, bp_run_mode mode) {
    bp_run_config c = bp_run_config_default();
    bp_error error;
    bp_run *run;
    c.envs = bp_mj_maker(world);
    c.mode = mode;
    c.actors = 2;
    c.threads = threads;
    c.env_steps = 400;
    c.evaluate_every = 200;
    c.evaluation_episodes = 2;
    c.min_sequences = 20;
    c.samples_per_insert = 4;
    c.max_faults = 100000; /* an engine error ends an episode, not the run */
    c.learner.length = 4;
    c.learner.batch = 8;
    c.learner.policy.hidden_layers = c.learner.critic_layers = 1;
    c.learner.policy.width[0] = c.learner.critic_width[0] = 16;
    c.learner.prior_kind = BP_PRIOR_ISOTROPIC;
    c.learner.prior_std = 1;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->env_steps >= 400 && run->done);
    return run;
}

/* Two actors, one thread and two: the same weights, although the engine fails again and again. */
static void test_runs(void **state) {
    bp_mj_model_config c = cart_config();
    bp_run *one, *two;
    bp_mj_world *world;
    bp_error error;
    size_t i;
    (void)state;
    bpt_ok(bp_mj_model_world(&world, &c, NULL, &error), &error);
    one = run_of(world, 1, BP_RUN_SYNC);
    assert_true(one->faults > 0 && one->learner->steps > 20);
#ifdef BPRIOR_THREADS
    two = run_of(world, 2, BP_RUN_SYNC);
#else
    two = run_of(world, 1, BP_RUN_SYNC);
#endif
    assert_int_equal(one->faults, two->faults);
    assert_int_equal(one->learner->steps, two->learner->steps);
    for (i = 0; i < one->learner->policy.n_params; i++)
        assert_true(one->learner->policy_p.online[i] == two->learner->policy_p.online[i]);
    bp_run_destroy(one);
    bp_run_destroy(two);
#ifdef BPRIOR_THREADS
    one = run_of(world, 2, BP_RUN_ASYNC);
    assert_true(one->faults > 0 && one->learner->steps > 0);
    bp_run_destroy(one);
#endif
    bp_mj_world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worlds),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_one_world),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
