/* Nothing is allocated after start-up: whole runs of every kind, from the end of their first round to the last byte of their last
 * checkpoint, ask neither their allocator nor malloc for anything, and give nothing back. So do the loops without a run: pools,
 * shipped policies, learning from recorded trajectories.
 *
 * malloc, calloc, realloc, free and their relatives are counted for the whole program, libc's own calls included (test_heap.h). What
 * is not counted: making threads and joining them, which is the first and the last thing that an asynchronous run does.
 * The negative controls come first: an environment that allocates in one step is seen, and so is a state that grows.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_heap.h"
#include "test_scratch.h"
#include "test_runs.h"

/* ---- an environment that does what it should not ----------------------------------------------------------------------------- */

/* Field "x" 1, action 1, reward -x^2, episodes of 17 steps. All share one plan: one thread only. */
static struct {
    size_t steps;       /* of all environments so far */
    size_t allocate_at; /* in this step it calls malloc and free (0: never) ... */
    size_t grow_at;     /* ... and from this one on its state has more bytes (0: never) */
    size_t fault_every; /* every so many steps fail (0: none) */
} plan;

typedef struct {
    bp_rng rng;
    double x;
    size_t t;
} drift;

static bp_status drift_reset(void *self, uint64_t seed, bp_real *observation) {
    drift *d = (drift *)self;
    d->rng = bp_rng_make(seed, 0);
    d->x = 0;
    d->t = 0;
    observation[0] = 0;
    return BP_OK;
}
static bp_status drift_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    drift *d = (drift *)self;
    plan.steps++;
    if (plan.steps == plan.allocate_at) {
        void *volatile p = malloc(100); /* volatile: or the compiler leaves both out */
        free(p);
    }
    if (plan.fault_every && plan.steps % plan.fault_every == 0) return BP_ERR_ENV;
    d->x += 0.1 * (double)action[0] + 0.01 * (double)bp_rng_normal(&d->rng);
    observation[0] = (bp_real)d->x;
    out->reward = (bp_real)(-d->x * d->x);
    out->discount = 1;
    out->last = ++d->t >= 17;
    return BP_OK;
}
static size_t drift_save(void *self, void *buffer, size_t capacity) {
    const size_t bytes = sizeof(drift) + (plan.grow_at && plan.steps >= plan.grow_at ? 8 : 0);
    if (!buffer) return bytes;
    if (capacity < bytes) return 0;
    memset(buffer, 0, bytes);
    memcpy(buffer, self, sizeof(drift));
    return bytes;
}
static bp_status drift_load(void *self, const void *buffer, size_t bytes) {
    if (bytes < sizeof(drift)) return BP_ERR_FORMAT;
    memcpy(self, buffer, sizeof(drift));
    return BP_OK;
}
static void drift_close(void *self) { free(self); }
static bp_status drift_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    (void)ctx;
    (void)index;
    memset(out, 0, sizeof *out);
    out->self = calloc(1, sizeof(drift));
    if (!out->self) return BP_ERR_MEMORY;
    out->reset = drift_reset;
    out->step = drift_step;
    out->save = drift_save;
    out->load = drift_load;
    out->close = drift_close;
    bp_spec_begin(&out->spec, "drift");
    if (bp_spec_add_field(&out->spec, "x", 1, error)) return BP_ERR_ARGUMENT;
    return bp_spec_actions_continuous(&out->spec, 1, -1, 1, error);
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------- */

static char directory[300];

/* With everything that a run can write, and evaluations. */
static bp_run_config common(const char *name) {
    bp_run_config c = bpt_small_run(bpt_at(directory, name));
    c.tensorboard = true;
    c.evaluate_every = 300;
    c.log_every = 50;
    c.checkpoint_every = 250;
    memset(&plan, 0, sizeof plan);
    return c;
}

static size_t texts; /* log and status lines that came */
static void hear_log(void *ctx, int level, const char *text) {
    (void)ctx;
    (void)level;
    (void)text;
    texts++;
}
static void hear_status(void *ctx, const char *text) {
    (void)ctx;
    (void)text;
    texts++;
}

typedef struct {
    size_t heap, requests; /* calls of the heap's functions; of the run's allocator */
    char first[64];        /* what the first was */
} spent;

/* Train to the end, and say what was asked for after the first round. */
static spent train(const bp_run_config *config) {
    bpt_memory memory;
    bp_run *run;
    bp_error error;
    spent s;
    size_t requests, blocks;
    bpt_memory_use(&memory);
    texts = 0;
    bpt_ok(bp_run_create(&run, config, &memory.allocator, &error), &error);
    bpt_ok(bp_run_round(run, &error), &error);
    requests = memory.requests;
    blocks = memory.live_blocks;

    bpt_heap_gather(run->self->team);
    bpt_heap_watch();
    while (!run->done)
        if (bp_run_round(run, &error) != BP_OK) break; /* cmocka may allocate: complain later */
    if (config->mode == BP_RUN_SYNC && run->done) (void)bp_run_finish(run, &error);
    s.heap = bpt_heap_calls();
    (void)snprintf(s.first, sizeof s.first, "%s", bpt_heap_first());
    bpt_ok(error.status, &error);
    bpt_ok(bp_run_finish(run, &error), &error);
    s.requests = memory.requests - requests;

    /* It has done what runs do. */
    assert_true(run->env_steps >= config->env_steps && run->episodes > 20 && run->learner->steps > 40);
    assert_true(run->learner->rejected == 0 && run->replay->count == config->replay_capacity);
    if (config->evaluate_every) assert_int_equal(run->evaluation.episodes, config->evaluation_episodes);
    if (config->directory) {
        char path[400];
        struct stat info;
        (void)snprintf(path, sizeof path, "%s/policy.safetensors", config->directory);
        assert_int_equal(stat(path, &info), 0);
        (void)snprintf(path, sizeof path, "%s/checkpoint/latest", config->directory);
        assert_int_equal(stat(path, &info), 0);
    }
    if (s.requests == 0) assert_int_equal(memory.live_blocks, blocks); /* nor was anything given back */
    bp_run_destroy(run);
    bpt_memory_check(&memory);
    return s;
}

static void nothing_at(const char *what, const spent *s, int line) {
    if (s->heap == 0 && s->requests == 0) return;
    print_error("%s: %lu calls to the heap after start-up (the first: %s), %lu requests to the allocator\n", what,
                (unsigned long)s->heap, s->first, (unsigned long)s->requests);
    _fail(__FILE__, line);
}
#define nothing(what, s) nothing_at(what, s, __LINE__)

/* The test can fail: what an environment does in one single step is seen ... */
static void test_it_sees_an_environment(void **state) {
    bp_run_config c = common("sees");
    spent s;
    (void)state;
    if (!BPT_HEAP_SEES) skip();
    c.envs.make = drift_make;
    c.learner.prior_kind = BP_PRIOR_NONE;
    c.checkpoint_every = 0;
    plan.allocate_at = 700;
    s = train(&c);
    assert_int_equal(s.heap, 2); /* malloc and free */
    assert_int_equal(s.requests, 0);
    assert_non_null(strstr(s.first, "100 bytes"));
    plan.allocate_at = 0;
    c.overwrite = true;
    s = train(&c);
    nothing("the same environment without that step", &s);
}

/* ... and so is the one thing that may grow: the state of an environment, if it wants to. */
static void test_it_sees_a_state_that_grows(void **state) {
    bp_run_config c = common("grows");
    spent s;
    (void)state;
    c.envs.make = drift_make;
    c.learner.prior_kind = BP_PRIOR_NONE;
    plan.grow_at = 700;
    s = train(&c);
    assert_int_equal(s.requests, 1);
    if (BPT_HEAP_SEES) assert_int_equal(s.heap, 2); /* the larger block, and the smaller one given back */
}

static void test_plain(void **state) {
    bp_run_config c = common("plain");
    spent s;
    (void)state;
    s = train(&c);
    nothing("files, logs, checkpoints, evaluations", &s);
    c = common("nowhere");
    c.directory = NULL;
    s = train(&c);
    nothing("without files", &s);
}

static void test_two_threads(void **state) {
    bp_run_config c = common("threads");
    spent s;
    (void)state;
#ifndef BPRIOR_THREADS
    skip();
#endif
    c.threads = 2;
    c.actors = 5;
    c.learner.shards = 4;
    s = train(&c);
    nothing("two threads", &s);
}

static void test_asynchronous(void **state) {
    bp_run_config c = common("async");
    spent s;
    (void)state;
#ifndef BPRIOR_THREADS
    skip();
#endif
    c.mode = BP_RUN_ASYNC;
    c.env_steps = 3000;
    s = train(&c);
    nothing("free-running actors", &s);
    c = common("async2");
    c.mode = BP_RUN_ASYNC;
    c.env_steps = 3000;
    c.threads = 2;
    c.normalise = true;
    c.learner.policy.lstm = c.learner.critic_lstm = 4;
    s = train(&c);
    nothing("free-running actors that remember, two threads for the learner", &s);
}

static void test_normaliser_and_messages(void **state) {
    bp_run_config c = common("normalise");
    spent s;
    (void)state;
    c.normalise = true;
    c.status = hear_status;
    c.status_every = 0;
    c.terminal = true;
    s = train(&c);
    nothing("normaliser and status line", &s);
    assert_true(texts > 20);

    c = common("faults");
    c.envs.make = drift_make;
    c.learner.prior_kind = BP_PRIOR_NONE;
    c.log.fn = hear_log;
    c.evaluate_every = 0; /* some of its episodes would fail, too */
    plan.fault_every = 40;
    s = train(&c);
    nothing("an environment that fails, with messages", &s);
    assert_true(texts > 10);
}

static void test_memory(void **state) {
    bp_run_config c = common("memory");
    spent s;
    (void)state;
    bpt_remember(&c);
    s = train(&c);
    nothing("memory everywhere", &s);
}

static void test_two_levels(void **state) {
    bp_run_config c = common("levels");
    spent s;
    (void)state;
    bpt_two_levels(&c);
    s = train(&c);
    nothing("two levels, AR(1)", &s);

    c.directory = bpt_at(directory, "levels2");
    bpt_remember_levels(&c);
    s = train(&c);
    nothing("two levels with memory", &s);
}

static bp_status grid_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    (void)index;
    return bp_mdp_env(out, &((bp_gridworld *)ctx)->mdp, 17, NULL, error);
}

static void test_discrete(void **state) {
    bp_run_config c = common("discrete");
    bp_gridworld grid;
    bp_error error;
    spent s;
    (void)state;
    bpt_ok(bp_gridworld_create(&grid, "#######\n#S   .#\n#  #  #\n#    G#\n#######\n", NULL, NULL, &error), &error);
    c.envs.make = grid_make;
    c.envs.ctx = &grid;
    c.learner.prior.fields[0] = "state";
    s = train(&c);
    nothing("choices", &s);
    bp_gridworld_destroy(&grid);
}

static bp_status tasks_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    bp_env task[2];
    bp_status status = bp_pointmass_env(&task[0], &bpt_room, NULL, error);
    (void)ctx;
    (void)index;
    if (status == BP_OK) status = bp_pointmass_env(&task[1], &bpt_room, NULL, error);
    return status == BP_OK ? bp_env_mix(out, task, 2, NULL, NULL, error) : status;
}

static void test_relatives(void **state) {
    bp_run_config c = common("sac");
    spent s;
    (void)state;
    c.learner.prior_kind = BP_PRIOR_UNIFORM;
    c.learner.twin_critics = c.learner.policy.squash = true;
    c.learner.alpha_mode = c.learner.entropy_mode = BP_WEIGHT_ADAPTED;
    c.learner.tau = 0.01;
    c.learner.length = 1;
    c.replay_capacity = 300;
    s = train(&c);
    nothing("SAC", &s);

    c = common("mpo");
    c.learner.improvement = BP_IMPROVE_EM;
    c.learner.prior_kind = BP_PRIOR_PREVIOUS;
    s = train(&c);
    nothing("MPO", &s);

    c = common("tasks");
    c.envs.make = tasks_make;
    c.learner.n_tasks = 2;
    c.learner.separate_critics = true;
    s = train(&c);
    nothing("a policy for each task", &s);
}

/* Start-up of a resumed run is longer: it reads files. Then it is as quiet as the first one. */
static void test_resumed(void **state) {
    bp_run_config c = common("resumed");
    bp_run *run;
    bp_error error;
    spent s;
    (void)state;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    while (run->env_steps < 400) bpt_ok(bp_run_round(run, &error), &error);
    bpt_ok(bp_run_checkpoint(run, &error), &error);
    bp_run_destroy(run);
    c.resume = true;
    s = train(&c);
    nothing("resumed", &s);
}

/* ---- without a run ------------------------------------------------------------------------------------------------------------- */

static void test_pool(void **state) {
    bp_pool_config config = bp_pool_config_default();
    bp_env_maker maker;
    bp_pool *pool;
    bp_error error;
    size_t heap, threads, t;
    (void)state;
    (void)common("pool");
    maker = bp_pointmass_maker(&bpt_room);
    for (threads = 1; threads <= 2; threads++) {
        config.envs = 10;
        config.threads = threads;
        if (bp_pool_create(&pool, &maker, &config, NULL, &error) == BP_ERR_UNSUPPORTED) continue;
        bpt_ok(bp_pool_reset(pool, 1, &error), &error);
        bpt_heap_gather(pool->self->team);
        bpt_heap_watch();
        for (t = 0; t < 100; t++) {
            if (t % 2) { /* so cheap that the caller would step all of them: every other time on all threads */
                pool->self->turn = BPI_POOL_FIRST + 1;
                pool->self->cost = 1.0;
            }
            if (bp_pool_step(pool, &error) != BP_OK) break;
        }
        heap = bpt_heap_calls();
        bpt_ok(error.status, &error);
        assert_true(pool->n_episodes >= 50);
        assert_int_equal(heap, 0);
        bp_pool_destroy(pool);
    }
}

static void test_agent(void **state) {
    bp_run_config c = common("agent");
    bp_real observation[6] = {0}, action[2];
    bp_rng rng = bp_rng_make(1, 1);
    char path[300];
    bp_agent *agent;
    bp_run *run;
    bp_error error;
    size_t heap, t;
    (void)state;
    c.directory = NULL;
    c.normalise = true;
    c.learner.policy.lstm = 4;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_heap_watch();
    (void)bp_run_export(run, BP_PLAY_POLICY, bpt_at(path, "agent.safetensors"), &error);
    heap = bpt_heap_calls();
    bpt_ok(error.status, &error);
    assert_int_equal(heap, 0); /* writing is quiet, reading is not */
    bp_run_destroy(run);
    bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
    bpt_heap_watch();
    for (t = 0; t < 100; t++) {
        if (t % 20 == 0) bp_agent_reset(agent);
        if (bp_agent_act(agent, action, observation) != BP_OK) break;
        if (bp_agent_sample(agent, action, NULL, observation, &rng) != BP_OK) break;
        observation[0] = action[0];
    }
    heap = bpt_heap_calls();
    assert_int_equal(t, 100);
    assert_int_equal(heap, 0);
    bp_agent_destroy(agent);
}

static void test_clone(void **state) {
    bp_run_config c = common("clone");
    bp_clone_config config = bp_clone_config_default();
    bp_rng rng = bp_rng_make(1, 1);
    bp_clone *clone;
    bp_batch batch;
    bp_real *data;
    bp_run *run;
    bp_error error;
    size_t heap, t;
    (void)state;
    c.directory = NULL;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    config.policy = bp_policy_config_default();
    config.batch = 8;
    config.length = 6;
    bpt_ok(bp_clone_create(&clone, &run->spec, &config, NULL, &error), &error);
    data = (bp_real *)calloc(bp_batch_reals(&run->replay->config, 8), sizeof(bp_real));
    assert_non_null(data);
    bp_batch_init(&batch, data, &run->replay->config, 8);
    bpt_heap_watch();
    for (t = 0; t < 50; t++)
        if (bp_replay_sample(&batch, run->replay, &rng, &error) != BP_OK || bp_clone_step(clone, &batch, &error) != BP_OK) break;
    heap = bpt_heap_calls();
    bpt_ok(error.status, &error);
    assert_int_equal(clone->steps, 50);
    assert_int_equal(heap, 0);
    free(data);
    bp_clone_destroy(clone);
    bp_run_destroy(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_sees_an_environment),
        cmocka_unit_test(test_it_sees_a_state_that_grows),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_asynchronous),
        cmocka_unit_test(test_normaliser_and_messages),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_two_levels),
        cmocka_unit_test(test_discrete),
        cmocka_unit_test(test_relatives),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_agent),
        cmocka_unit_test(test_clone),
    };
    bpt_make_scratch("heap");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
