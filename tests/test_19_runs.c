/* Actors and training runs: what goes in, what comes out, what goes wrong. Killing and resuming is in test_19_resume.c. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#define BPI_EVALUATION_LONGEST 5000
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"


/* ---- an environment that can be told to misbehave --------------------------------------------------------
 * Fields "x" 1, "task" 2. x counts the steps; reward 1 each; terminates after `length` steps. */
typedef struct {
    size_t length;
    size_t fault_step;    /* in this step of each faulty episode (0: never) ... */
    uint64_t fault_every; /* ... every so many episodes */
    int fault;            /* 1 error, 2 NaN reward, 3 infinite observation, 4 NaN discount */
    bool reset_fails;
    bool saves;
    bp_allocator *allocator;
    int alive;
} plan;
typedef struct {
    plan *p;
    uint64_t episodes;
    size_t t;
    size_t index;
} toy;

static void toy_observe(const toy *e, bp_real *observation) {
    observation[0] = (bp_real)e->t;
    observation[1] = (bp_real)(e->index % 2 == 0);
    observation[2] = (bp_real)(e->index % 2 == 1);
}
static bp_status toy_reset(void *self, uint64_t seed, bp_real *observation) {
    toy *e = (toy *)self;
    (void)seed;
    if (e->p->reset_fails) return BP_ERR_ENV;
    e->episodes++;
    e->t = 0;
    toy_observe(e, observation);
    return BP_OK;
}
static bp_status toy_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    toy *e = (toy *)self;
    (void)action;
    e->t++;
    toy_observe(e, observation);
    out->reward = 1;
    out->last = e->t >= e->p->length;
    out->discount = out->last ? 0 : 1;
    if (e->p->fault_step == e->t && e->episodes % e->p->fault_every == 0) {
        if (e->p->fault == 1) return BP_ERR_IO;
        if (e->p->fault == 2) out->reward = (bp_real)bpi_nan();
        if (e->p->fault == 3) observation[0] = (bp_real)HUGE_VAL;
        if (e->p->fault == 4) out->discount = (bp_real)bpi_nan();
    }
    return BP_OK;
}
static size_t toy_save(void *self, void *buffer, size_t capacity) {
    toy *e = (toy *)self;
    if (buffer) {
        if (capacity < sizeof(size_t) + 8) return 0;
        memcpy(buffer, &e->t, sizeof e->t);
        memcpy((char *)buffer + sizeof e->t, &e->episodes, 8);
    }
    return sizeof(size_t) + 8;
}
static bp_status toy_load(void *self, const void *buffer, size_t bytes) {
    toy *e = (toy *)self;
    if (bytes != sizeof(size_t) + 8) return BP_ERR_FORMAT;
    memcpy(&e->t, buffer, sizeof e->t);
    memcpy(&e->episodes, (const char *)buffer + sizeof e->t, 8);
    return BP_OK;
}
static void toy_close(void *self) {
    toy *e = (toy *)self;
    e->p->alive--;
    bp_free(e->p->allocator, e, sizeof *e);
}
static bp_status toy_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    plan *p = (plan *)ctx;
    toy *e;
    memset(out, 0, sizeof *out);
    bp_spec_begin(&out->spec, "toy");
    if (bp_spec_add_field(&out->spec, "x", 1, error) || bp_spec_add_field(&out->spec, "task", 2, error) ||
        bp_spec_actions_continuous(&out->spec, 1, -3, 5, error))
        return BP_ERR_ARGUMENT;
    e = (toy *)bp_alloc(p->allocator, sizeof *e);
    if (!e) return BP_ERR_MEMORY;
    e->p = p;
    e->index = index;
    p->alive++;
    out->self = e;
    out->reset = toy_reset;
    out->step = toy_step;
    out->close = toy_close;
    if (p->saves) out->save = toy_save, out->load = toy_load;
    return BP_OK;
}

static bp_run_config toy_config(plan *p) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    memset(p, 0, sizeof *p);
    p->length = 9;
    p->fault_every = 3;
    c.envs.make = toy_make;
    c.envs.ctx = p;
    c.actors = 2;
    c.env_steps = 500;
    c.min_sequences = 10;
    c.replay_capacity = 40;
    c.samples_per_insert = 3;
    c.evaluate_every = 0;
    c.learner.batch = 8;
    c.learner.length = 5;
    c.learner.samples = 2;
    for (i = 0; i < 2; i++) c.learner.policy.width[i] = c.learner.critic_width[i] = c.learner.prior.width[i] = 6;
    return c;
}

/* ---- bad input -------------------------------------------------------------------------------------------- */

static bp_status other_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    const bp_status status = toy_make(ctx, index, out, error);
    if (index == 2) out->spec.action_high[0] = 6;
    return status;
}
static bp_status failing_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    if (index == 1) return BP_ERR_UNSUPPORTED;
    return toy_make(ctx, index, out, error);
}
static bp_status endless_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    const bp_status status = toy_make(ctx, index, out, error);
    out->spec.action_high[0] = HUGE_VAL;
    return status;
}

static void test_bad_configurations(void **state) {
    plan p;
    bp_run_config c, good = toy_config(&p);
    char path[300];
    FILE *f;
    (void)state;
    memset(&c, 0, sizeof c);
    bpt_refuses_run(&c, BP_ERR_CONFIG, "bp_run_config");
    c = good, c.cookie ^= 0x08000000u;
    bpt_refuses_run(&c, BP_ERR_ABI, "bp_real");
    c = bp_run_config_make(12345);
    bpt_refuses_run(&c, BP_ERR_CONFIG, "bp_run_config");
    c = good, memset(&c.learner, 0, sizeof c.learner);
    bpt_refuses_run(&c, BP_ERR_CONFIG, "bp_rs0_config");
    c = good, memset(&c.learner.policy, 0, sizeof c.learner.policy);
    bpt_refuses_run(&c, BP_ERR_CONFIG, "bp_policy_config");
    c = good, c.envs.make = NULL;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "envs");
    c = good, c.actors = 0;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "actors");
    c = good, c.threads = 0;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "threads");
    c = good, c.replay_capacity = 0;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "replay_capacity");
    c = good, c.replay_capacity = SIZE_MAX / 4;
    bpt_refuses_run(&c, BP_ERR_SIZE, "overflow");
    c = good, c.samples_per_insert = bpi_nan();
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "samples_per_insert");
    c = good, c.evaluate_every = 5, c.evaluation_episodes = 0;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "evaluation_episodes");
    c = good, c.mode = (bp_run_mode)7;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "mode");
    c = good, c.resume = true;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "directory");
    c = good, c.directory = "";
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "directory");
    c = good, c.learner.length = 0;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "length");
    c = good, c.learner.policy.fields[0] = "goals";
    bpt_refuses_run(&c, BP_ERR_FIELD, "goals");
    c = good, c.learner.critic_fields[0] = "y";
    bpt_refuses_run(&c, BP_ERR_FIELD, "y");
    c = good, c.envs.make = other_make;
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "environment 2");
    c = good, c.envs.make = failing_make;
    bpt_refuses_run(&c, BP_ERR_UNSUPPORTED, "environment 1");
    c = good, c.envs.make = endless_make;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "");
#ifndef BPRIOR_THREADS
    c = good, c.mode = BP_RUN_ASYNC;
    bpt_refuses_run(&c, BP_ERR_UNSUPPORTED, "BPRIOR_THREADS");
#endif
    /* a directory that cannot be: below a plain file */
    f = fopen(bpt_at(path, "file"), "wb");
    assert_non_null(f);
    fclose(f);
    bpt_at(path, "file/out");
    c = good, c.directory = path;
    bpt_refuses_run(&c, BP_ERR_IO, "file/out");
    c.resume = true;
    bpt_refuses_run(&c, BP_ERR_IO, "file/out");
    assert_int_equal(p.alive, 0);
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static void test_out_of_memory(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bpt_memory memory;
    size_t k;
    bp_run *run;
    bp_error error;
    int files;
    (void)state;
    c.threads = 2;
    c.normalise = true;
    for (files = 0; files < 2; files++) {
        char path[300];
        c.directory = files ? bpt_at(path, "oom") : NULL;
        for (k = 1;; k++) {
            bp_status status;
            bpt_memory_use(&memory);
            p.allocator = &memory.allocator;
            memory.fail_at = k;
            status = bp_run_create(&run, &c, &memory.allocator, &error);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
            assert_null(run);
            assert_int_equal(p.alive, 0);
            bpt_memory_check(&memory);
        }
        assert_true(k > 8);
        memory.fail_at = 0;
        {
            const size_t requests = memory.requests;
            int i;
            for (i = 0; i < 30; i++) bpt_ok(bp_run_round(run, &error), &error);
            assert_true(run->learner->steps > 0);
            assert_int_equal(memory.requests, requests); /* nothing after create */
        }
        bp_run_destroy(run);
        bpt_memory_check(&memory);
        assert_int_equal(p.alive, 0);
    }
    /* and while resuming */
    {
        char path[300];
        bpt_memory_use(&memory);
        p.allocator = &memory.allocator;
        p.saves = true;
        c.directory = bpt_at(path, "oom-resume");
        bpt_ok(bp_run_create(&run, &c, &memory.allocator, &error), &error);
        memory.fail_at = memory.requests + 1; /* the first round makes room for the environments' states */
        assert_int_equal(bp_run_round(run, &error), BP_ERR_MEMORY);
        bp_run_destroy(run);
        bpt_memory_check(&memory);
        bpt_ok(bp_run_create(&run, &c, &memory.allocator, &error), &error);
        for (k = 0; k < 10; k++) bpt_ok(bp_run_round(run, &error), &error);
        memory.fail_at = memory.requests + 1;
        memory.fail_after = 1;
        bpt_ok(bp_run_checkpoint(run, &error), &error); /* which needs none */
        bp_run_destroy(run);
        c.resume = true;
        for (k = 1;; k++) {
            bp_status status;
            bpt_memory_use(&memory);
            memory.fail_at = k;
            status = bp_run_create(&run, &c, &memory.allocator, &error);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
            bpt_memory_check(&memory);
        }
        assert_true(run->resumed);
        bp_run_destroy(run);
        bpt_memory_check(&memory);
    }
}

/* ---- bookkeeping ------------------------------------------------------------------------------------------- */

static void test_rounds(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    uint64_t rounds;
    (void)state;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(p.alive, 3);
    assert_true(run->env_spec.action_high[0] == 5 && run->spec.action_high[0] == 1);
    for (rounds = 1; !run->done; rounds++) {
        const bp_real *s;
        size_t t, k;
        bpt_ok(bp_run_round(run, &error), &error);
        assert_int_equal(run->rounds, rounds);
        assert_int_equal(run->replay->inserted, 2 * rounds);
        /* ratio * (inserted - min) / batch */
        assert_int_equal(run->learner->steps, run->replay->inserted > 10 ? 3 * (run->replay->inserted - 10) / 8 : 0);
        /* episodes of 9 steps and a boundary row: exactly two sequences of 5 */
        assert_int_equal(run->env_steps, rounds / 2 * 18 + rounds % 2 * 10);
        assert_int_equal(run->episodes, rounds / 2 * 2);
        for (k = 0; k < 2; k++) { /* the newest two sequences, actor 0 first */
            const size_t slot = (run->replay->next + 40 - 2 + k) % 40;
            s = run->replay->data + slot * run->replay->stride; /* observations [6][3] */
            for (t = 0; t < 5; t++) {
                assert_true(s[t * 3] == (bp_real)(t + (rounds % 2 ? 0 : 5)));
                assert_true(s[t * 3 + 1 + k] == 1);
            }
            assert_true(s[18 + 5 + 5 + 5 + 5 + 4] == (rounds % 2 ? 1 : 0)); /* mask of the last row */
        }
    }
    assert_true(run->env_steps >= 500 && run->env_steps < 510);
    rounds = run->rounds;
    bpt_ok(bp_run_round(run, &error), &error); /* does nothing */
    assert_int_equal(run->rounds, rounds);
    bpt_ok(bp_run_finish(run, &error), &error);
    assert_true(run->finished);
    bpt_close(run->recent_return, 9, 1e-12);
    bp_run_destroy(run);
    assert_int_equal(p.alive, 0);

    c = toy_config(&p);
    c.learner_steps = 7;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_int_equal(run->learner->steps, 7);
    assert_true(run->env_steps < 500);
    bp_run_destroy(run);
    bp_run_destroy(NULL);
}

static char logged[20000];
static void remember(void *ctx, int level, const char *text) {
    (void)ctx;
    (void)snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "[%d] %s\n", level, text);
}
static void remember_status(void *ctx, const char *text) { remember(ctx, 9, text); }

static void test_faults(void **state) {
    int fault;
    (void)state;
    for (fault = 1; fault <= 4; fault++) {
        plan p;
        bp_run_config c = toy_config(&p);
        bp_run *run;
        bp_error error;
        size_t i, k;
        p.fault = fault;
        p.fault_step = 4;
        c.log.fn = remember;
        logged[0] = '\0';
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        bpt_ok(bp_run_train(run, &error), &error);
        assert_true(run->faults > 10 && run->faults < 100);
        assert_non_null(strstr(logged, "environment 1, episode 2, step 3"));
        bpt_close(run->recent_return, 9, 1e-12); /* broken episodes are in no mean */
        for (i = 0; i < run->replay->count; i++)
            for (k = 0; k < run->replay->stride; k++) assert_true(bpi_finite(run->replay->data[i * run->replay->stride + k]));
        assert_int_equal(run->learner->rejected, 0);
        bp_run_destroy(run);

        /* too many */
        c.max_faults = 5;
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
        assert_non_null(strstr(error.text, "max_faults"));
        assert_int_equal(run->faults, 6);
        assert_int_equal(bp_run_round(run, &error), BP_ERR_ENV); /* it stays stopped */
        assert_non_null(strstr(error.text, "max_faults"));
        bp_run_destroy(run);
        assert_int_equal(p.alive, 0);
    }
    { /* reset fails, always; every step fails, always */
        plan p;
        bp_run_config c = toy_config(&p);
        bp_run *run;
        bp_error error;
        bp_evaluation evaluation;
        double returns[3];
        p.reset_fails = true;
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        assert_int_equal(bp_run_evaluate(&evaluation, returns, run, BP_PLAY_POLICY, 3, 1, false, &error), BP_ERR_ENV);
        assert_int_equal(evaluation.faults, 3);
        assert_true(returns[0] != returns[0]);
        assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
        assert_non_null(strstr(error.text, "reset"));
        bp_run_destroy(run);
        p.reset_fails = false;
        p.fault = 2;
        p.fault_step = 1;
        p.fault_every = 1;
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
        assert_int_equal(run->env_steps, 0);
        bp_run_destroy(run);
    }
    { /* a learner that blows up */
        plan p;
        bp_run_config c = toy_config(&p);
        bp_run *run;
        bp_error error;
        c.max_rejected = 3;
        c.log.fn = remember;
        logged[0] = '\0';
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        run->learner->critic_p.online[0] = (bp_real)bpi_nan();
        assert_int_equal(bp_run_train(run, &error), BP_ERR_NONFINITE);
        assert_non_null(strstr(error.text, "max_rejected"));
        assert_int_equal(run->learner->rejected, 4);
        assert_non_null(strstr(logged, "learner step undone"));
        bp_run_destroy(run);
    }
}

/* An environment whose episodes never end: the first evaluation says so, and the run stands. Without evaluations it is fine. */
static void test_endless_episodes(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    (void)state;
    p.length = SIZE_MAX;
    c.evaluate_every = 100;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "has not ended after 5000 steps"));
    assert_non_null(strstr(error.text, "bp_env_time_limit()"));
    assert_int_equal(bp_run_round(run, &error), BP_ERR_ENV); /* and it stays so */
    bp_run_destroy(run);
    c.evaluate_every = 0;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->done);
    bp_run_destroy(run);
    assert_int_equal(p.alive, 0);
}

/* A fixed prior that nobody has loaded is random numbers: the run says so and waits for one. */
static void test_fixed_prior_is_missing(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    bp_real *prior;
    (void)state;
    c.learner.prior_kind = BP_PRIOR_FIXED;
    c.learner.alpha = bp_schedule_constant(0.1);
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "bp_rs0_load_prior"));
    assert_true(run->env_steps == 0);
    prior = (bp_real *)calloc(run->learner->prior_p.n, sizeof *prior);
    assert_non_null(prior);
    bpt_ok(bp_rs0_set_prior(run->learner, prior, run->learner->prior_p.n, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error); /* now it goes on */
    assert_true(run->done && run->learner->steps > 0);
    free(prior);
    bp_run_destroy(run);
}

/* Without save() a run resumes, too: episodes under way are given up. */
static void test_resume_without_save(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    char path[300];
    int i;
    (void)state;
    c.directory = bpt_at(path, "unsaving");
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    for (i = 0; i < 13; i++) bpt_ok(bp_run_round(run, &error), &error);
    bpt_ok(bp_run_checkpoint(run, &error), &error);
    bp_run_destroy(run);
    c.resume = true;
    c.log.fn = remember;
    logged[0] = '\0';
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_non_null(strstr(logged, "cannot save its state"));
    assert_int_equal(run->rounds, 13);
    bpt_ok(bp_run_round(run, &error), &error);
    { /* row 0 of the new sequence is the boundary that ends the episode given up: final observation, mask 0 */
        const bp_real *s = run->replay->data + (run->replay->next + 40 - 2) % 40 * run->replay->stride;
        assert_true(s[0] == 5 && s[3] == 0 && s[6] == 1);
        assert_true(s[18 + 5 + 5 + 5 + 5] == 0 && s[18 + 5 + 5 + 5 + 5 + 1] == 1);
    }
    bp_run_destroy(run);
}

/* ---- several tasks, evaluation, export ----------------------------------------------------------------------- */

static void test_evaluate_and_export(void **state) {
    static plan unused;
    bp_run_config c = toy_config(&unused);
    bp_run *run;
    bp_error error;
    bp_evaluation a, b, s;
    double returns[4], again[4];
    char path[300];
    bp_agent *agent;
    bp_env env;
    size_t k, n = 0;
    bp_real *before;
    (void)state;
    c.envs = bp_pendulum_maker(NULL);
    c.env_steps = 1500;
    c.normalise = true;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    c.learner.prior.fields[0] = "velocity";
    c.learner.policy_adam.lr = 1e-2; /* something to see after a few steps */
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    n = run->learner->policy_p.n;
    before = (bp_real *)malloc(n * sizeof(bp_real));
    memcpy(before, run->learner->policy_p.online, n * sizeof(bp_real));
    bpt_ok(bp_run_evaluate(&a, returns, run, BP_PLAY_POLICY, 4, 7, false, &error), &error);
    bpt_ok(bp_run_evaluate(&s, again, run, BP_PLAY_POLICY, 4, 7, true, &error), &error);
    assert_true(s.mean != a.mean);
    bpt_ok(bp_run_evaluate(&s, NULL, run, BP_PLAY_PRIOR, 2, 7, false, &error), &error);
    bpt_ok(bp_run_evaluate(&s, NULL, run, BP_PLAY_TARGET, 2, 7, false, &error), &error);
    bpt_ok(bp_run_evaluate(&b, again, run, BP_PLAY_POLICY, 4, 7, false, &error), &error);
    assert_memory_equal(returns, again, sizeof returns); /* repeatable, whatever came between */
    assert_int_equal(a.episodes, 4);
    bpt_close(a.mean, (returns[0] + returns[1] + returns[2] + returns[3]) / 4, 1e-12);
    bpt_close(a.length, 200, 1e-12);
    bpt_ok(bp_run_evaluate(&b, again, run, BP_PLAY_POLICY, 1, 8, false, &error), &error);
    assert_true(again[0] != returns[0]);
    assert_memory_equal(before, run->learner->policy_p.online, n * sizeof(bp_real));
    free(before);

    /* the exported file in somebody else's loop earns the same, to the last bit */
    bpt_ok(bp_run_export(run, BP_PLAY_POLICY, bpt_at(path, "shipped.safetensors"), &error), &error);
    bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
    bpt_ok(bp_agent_check(agent, &run->env_spec, &error), &error);
    bpt_ok(bp_pendulum_env(&env, NULL, NULL, &error), &error);
    for (k = 0; k < 4; k++) {
        bp_real observation[3], action[1];
        double sum = 0;
        bp_step step;
        step.last = false;
        bpt_ok(env.reset(env.self, bp_seed_mix(7, UINT64_MAX, k), observation), NULL);
        while (!step.last) {
            bpt_ok(bp_agent_act(agent, action, observation), NULL);
            bpt_ok(env.step(env.self, action, observation, &step), NULL);
            sum += (double)step.reward;
        }
        assert_true(sum == returns[k]);
    }
    bp_env_close(&env);
    bp_agent_destroy(agent);
    bpt_ok(bp_run_export(run, BP_PLAY_PRIOR, path, &error), &error);
    bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
    assert_int_equal(agent->policy.fields.n, 1);
    bp_agent_destroy(agent);
    bp_run_destroy(run);

    c.learner.prior_kind = BP_PRIOR_NONE;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_evaluate(&a, NULL, run, BP_PLAY_PRIOR, 2, 7, false, &error), BP_ERR_UNSUPPORTED);
    assert_int_equal(bp_run_export(run, BP_PLAY_PRIOR, path, &error), BP_ERR_UNSUPPORTED);
    bp_run_destroy(run);
}

/* Two tasks, one policy each: the normaliser must leave the task field alone, and the file must know who is who. */
static void test_tasks(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    bp_agent *agent;
    char path[300];
    bp_real observation[3] = {2, 0, 1}, action[1];
    (void)state;
    c.normalise = true;
    c.learner.n_tasks = 2;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    c.learner.prior.fields[0] = "x";
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->normaliser.exempt[0] == 0 && run->normaliser.exempt[1] == 1 && run->normaliser.exempt[2] == 1);
    bpt_ok(bp_run_export(run, BP_PLAY_POLICY, bpt_at(path, "tasks.safetensors"), &error), &error);
    bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
    assert_int_equal(agent->n_tasks, 2);
    assert_memory_equal(agent->params, run->learner->policy_p.online, run->learner->policy_p.n * sizeof(bp_real));
    bpt_ok(bp_agent_act(agent, action, observation), NULL);
    assert_true(action[0] >= -3 && action[0] <= 5);
    bp_agent_destroy(agent);
    bp_run_destroy(run);
}

static void test_logs(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    char path[300], file[400];
    static char text[20000];
    FILE *f;
    size_t n, rows = 0;
    char *line;
    (void)state;
    c.directory = bpt_at(path, "logs");
    c.log_every = 100;
    c.evaluate_every = 200;
    c.evaluation_episodes = 2;
    c.status = remember_status;
    c.status_every = 0;
    c.terminal = true;
    logged[0] = '\0';
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    bp_run_destroy(run);
    assert_non_null(strstr(logged, "[9] \r  10/500  2%"));
    assert_non_null(strstr(logged, "/500  100%"));
    assert_non_null(strstr(logged, "eval 9"));
    (void)snprintf(file, sizeof file, "%s/progress.csv", path);
    f = fopen(file, "rb");
    assert_non_null(f);
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    assert_int_equal(strncmp(text, "env_steps,learner_steps,episodes,return_mean,", 44), 0);
    for (line = text; (line = strchr(line, '\n')) != NULL; line++) rows++;
    assert_int_equal(rows, 1 + 5); /* header, 100 .. 400, the last */
    assert_non_null(strstr(text, "\n100,"));
    (void)snprintf(file, sizeof file, "%s/settings.txt", path);
    f = fopen(file, "rb");
    assert_non_null(f);
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    assert_non_null(strstr(text, "environment = toy\n"));
    assert_non_null(strstr(text, "\nseed = 1\n"));
}

/* The bits of a short training on the reference kernel, on every platform with IEEE arithmetic: FNV-1a over all
 * online parameters after 200 learner steps. If this changes, results of older versions cannot be repeated: say so
 * in the notes of the release. */
static void test_hash(void **state) {
    const uint64_t want = sizeof(bp_real) == 4 ? UINT64_C(0xa41f0cdaf06d644c) : UINT64_C(0xe7381ad212c671a8);
    static plan unused;
    bp_run_config c = toy_config(&unused);
    uint64_t hash = UINT64_C(14695981039346656037);
    bp_run *run;
    bp_error error;
    int part;
    size_t i, k;
    (void)state;
    c.envs = bp_pointmass_maker(NULL); /* arithmetic and square roots only: no libm in the loop */
    c.env_steps = 1000000;
    c.learner_steps = 200;
    c.normalise = true;
    c.learner.kernel = BP_KERNEL_REFERENCE;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    c.learner.prior.fields[0] = "position";
    c.learner.target_period = 20;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_int_equal(run->learner->steps, 200);
    for (part = 0; part < 3; part++) {
        const bp_rs0 *learner = run->learner;
        const bp_learned *l = part == 0 ? &learner->policy_p : part == 1 ? &learner->prior_p
                                                                         : &learner->critic_p;
        for (i = 0; i < l->n; i++) {
            uint64_t bits = 0;
            if (sizeof(bp_real) == 4) {
                uint32_t narrow;
                memcpy(&narrow, &l->online[i], 4);
                bits = narrow;
            } else {
                memcpy(&bits, &l->online[i], sizeof(bp_real));
            }
            for (k = 0; k < sizeof(bp_real); k++) hash = (hash ^ (bits >> (8 * k) & 255u)) * UINT64_C(1099511628211);
        }
    }
    bp_run_destroy(run);
    if (hash != want) {
        print_error("parameters after 200 steps: hash 0x%08lx%08lx, expected 0x%08lx%08lx\n", (unsigned long)(hash >> 32),
                    (unsigned long)(hash & 0xFFFFFFFFu), (unsigned long)(want >> 32), (unsigned long)(want & 0xFFFFFFFFu));
        fail();
    }
}

/* ---- asynchronous mode ----------------------------------------------------------------------------------------- */
#ifdef BPRIOR_THREADS
static bool stop_after(void *ctx) { return --*(int *)ctx < 0; }

static void test_async(void **state) {
    static plan unused;
    bp_run_config c = toy_config(&unused);
    bp_run *run;
    bp_error error;
    char path[300];
    double allowed;
    int rounds = 30;
    (void)state;
    c.envs = bp_pendulum_maker(NULL);
    c.mode = BP_RUN_ASYNC;
    c.actors = 3;
    c.threads = 2;
    c.env_steps = 3000;
    c.normalise = true;
    c.evaluate_every = 1000;
    c.evaluation_episodes = 1;
    c.log_every = 100;
    c.checkpoint_every = 700;
    c.directory = bpt_at(path, "async");
    c.stop = stop_after;
    c.stop_ctx = &rounds;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_INTERRUPTED);
    bp_run_destroy(run);
    c.resume = true;
    c.stop = NULL;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_true(run->resumed);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->env_steps >= 3000 && run->env_steps < 3000 + 3 * 5);
    allowed = c.samples_per_insert * (double)(run->replay->inserted - c.min_sequences);
    assert_true(8.0 * (double)run->learner->steps <= allowed && 8.0 * (double)run->learner->steps > allowed - 8.0);
    bp_run_destroy(run);

    /* destroyed while running */
    c.directory = NULL;
    c.resume = false;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    for (rounds = 0; rounds < 20; rounds++) bpt_ok(bp_run_round(run, &error), &error);
    {
        bp_evaluation e;
        bpt_ok(bp_run_evaluate(&e, NULL, run, BP_PLAY_POLICY, 1, 1, false, &error), &error);
    }
    bp_run_destroy(run);
}

static void test_async_faults(void **state) {
    plan p;
    bp_run_config c = toy_config(&p);
    bp_run *run;
    bp_error error;
    (void)state;
    p.fault = 2;
    p.fault_step = 4;
    c.mode = BP_RUN_ASYNC;
    c.max_faults = 5;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "max_faults"));
    bp_run_destroy(run);
    p.reset_fails = true;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_ERR_ENV);
    bp_run_destroy(run);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_endless_episodes),
        cmocka_unit_test(test_fixed_prior_is_missing),
        cmocka_unit_test(test_resume_without_save),
        cmocka_unit_test(test_evaluate_and_export),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_hash),
#ifdef BPRIOR_THREADS
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_async_faults),
#endif
    };
    bpt_make_scratch("runs");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
