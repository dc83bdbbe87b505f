/* Chapter 9, pools: many environments in one call give what a plain loop gives, bit for bit, whatever the number of threads;
 * episodes that end, steps and resets that fail, arguments that are wrong, memory that is not there, states saved and loaded. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

/* ---- a toy that does as it is told ------------------------------------------------------------------ */

/* Observation: step of the episode, a random walk, the environment's number. Reward: the action plus noise. */
typedef struct toy {
    struct toys *all;
    size_t index;
    bp_rng rng;
    uint64_t seed;
    size_t t, end; /* steps done; length of this episode */
    bool running;
    double x;
} toy;

enum { MOST = 40 };
enum { NO_FAULT,
       STEP_STATUS,  /* the third step of each episode returns BP_ERR_IO */
       STEP_NAN,     /* ... gives an observation that is not finite */
       STEP_REWARD,  /* ... a reward that is not finite */
       STEP_DISCOUNT /* ... a discount that is not finite */
};

typedef struct toys {
    toy toy[MOST];
    int closed[MOST];
    size_t made;
    size_t length;       /* of every episode; 0: random, 1 to 9 steps */
    int bad_kind;        /* which fault */
    size_t bad;          /* whose; MOST: nobody's */
    size_t bad_resets;   /* so many resets of `bad` fail first */
    size_t bad_nan;      /* so many resets of `bad` give a NaN first */
    size_t resets;       /* of `bad` so far */
    size_t fail_make;    /* the maker fails for this one */
    size_t other_spec;   /* this one has another contract */
    size_t no_save;      /* this one cannot save */
    size_t no_function;  /* this one has no step() */
    size_t broken_spec;  /* this one's contract is not whole */
    size_t refuses_load; /* this one refuses every state */
    bool discrete;
} toys;

static void toys_begin(toys *all) {
    memset(all, 0, sizeof *all);
    all->bad = all->fail_make = all->other_spec = all->no_save = all->no_function = all->broken_spec = all->refuses_load = MOST;
}

static void toy_observe(const toy *s, bp_real *observation) {
    observation[0] = (bp_real)s->t;
    observation[1] = (bp_real)s->x;
    observation[2] = (bp_real)s->index;
}

static bp_status toy_reset(void *self, uint64_t seed, bp_real *observation) {
    toy *s = (toy *)self;
    s->seed = seed;
    s->rng = bp_rng_make(seed, 3);
    s->t = 0;
    s->end = s->all->length ? s->all->length : 1 + bp_rng_index(&s->rng, 9);
    s->x = bp_rng_uniform(&s->rng);
    s->running = true;
    toy_observe(s, observation);
    if (s->index == s->all->bad) {
        const size_t n = s->all->resets++;
        if (n < s->all->bad_resets) return BP_ERR_IO;
        if (n < s->all->bad_nan) observation[1] = (bp_real)NAN;
    }
    return BP_OK;
}

static bp_status toy_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    toy *s = (toy *)self;
    const bool bad = s->index == s->all->bad && s->t == 2;
    if (!s->running) return BP_ERR_ENV;
    s->t++;
    s->x += 0.1 * (double)action[0] + 0.01 * bp_rng_uniform(&s->rng);
    toy_observe(s, observation);
    out->reward = (bp_real)((double)action[0] + 0.1 * bp_rng_uniform(&s->rng));
    out->last = s->t >= s->end;
    out->discount = out->last && s->seed % 2 ? BP_R(0) : BP_R(1); /* some terminate, some reach a time limit */
    if (out->last) s->running = false;
    if (bad && s->all->bad_kind == STEP_NAN) observation[1] = (bp_real)NAN;
    if (bad && s->all->bad_kind == STEP_REWARD) out->reward = (bp_real)INFINITY;
    if (bad && s->all->bad_kind == STEP_DISCOUNT) out->discount = (bp_real)NAN;
    return bad && s->all->bad_kind == STEP_STATUS ? BP_ERR_IO : BP_OK;
}

static size_t toy_save(void *self, void *buffer, size_t capacity) {
    if (buffer) {
        if (capacity < sizeof(toy)) return 0;
        memcpy(buffer, self, sizeof(toy));
    }
    return sizeof(toy);
}

static bp_status toy_load(void *self, const void *buffer, size_t bytes) {
    toy *s = (toy *)self;
    toys *all = s->all;
    if (bytes != sizeof(toy) || s->index == all->refuses_load) return BP_ERR_FORMAT;
    memcpy(self, buffer, bytes);
    s->all = all;
    return BP_OK;
}

static void toy_close(void *self) {
    const toy *s = (const toy *)self;
    s->all->closed[s->index]++;
}

static bp_status toy_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    toys *all = (toys *)ctx;
    toy *s = &all->toy[index];
    memset(out, 0, sizeof *out);
    if (index == all->fail_make) {
        out->self = s; /* rubbish that nobody may call */
        out->close = toy_close;
        if (error) {
            error->status = BP_ERR_IO;
            snprintf(error->text, sizeof error->text, "toy %d is out of stock", (int)index);
        }
        return BP_ERR_IO;
    }
    memset(s, 0, sizeof *s);
    s->all = all;
    s->index = index;
    out->self = s;
    out->reset = toy_reset;
    out->step = index == all->no_function ? NULL : toy_step;
    out->close = toy_close;
    if (index != all->no_save) {
        out->save = toy_save;
        out->load = toy_load;
    }
    bp_spec_begin(&out->spec, "toy");
    bp_spec_add_field(&out->spec, "all", index == all->other_spec ? 4 : 3, NULL);
    if (all->discrete) bp_spec_actions_discrete(&out->spec, 3, NULL);
    else bp_spec_actions_continuous(&out->spec, 2, -1, 1, NULL);
    if (index == all->broken_spec) out->spec.observation_size = 5;
    all->made++;
    return BP_OK;
}

static bp_env_maker toy_maker(toys *all) {
    bp_env_maker maker;
    maker.make = toy_make;
    maker.ctx = all;
    return maker;
}

static bp_pool *make_pool(toys *all, size_t envs, size_t threads, size_t per_job, const bp_allocator *allocator) {
    bp_pool_config config = bp_pool_config_default();
    const bp_env_maker maker = toy_maker(all);
    bp_error error;
    bp_pool *pool = NULL;
    config.envs = envs;
    config.threads = threads;
    config.per_job = per_job;
    bpt_ok(bp_pool_create(&pool, &maker, &config, allocator, &error), &error);
    assert_non_null(pool);
    return pool;
}

/* Actions of a step: a function of environment and time, so that a plain loop can make the same. */
static void choose(bp_real *action, size_t n, size_t i, size_t t) {
    bp_rng rng = bp_rng_make(bp_seed_mix(7, i, t), 0);
    size_t k;
    for (k = 0; k < n; k++) action[k] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
}

static void choose_all(bp_pool *pool, size_t t) {
    size_t i;
    for (i = 0; i < pool->config.envs; i++) choose(pool->action + i * pool->spec.action_size, pool->spec.action_size, i, t);
}

/* ---- against a plain loop ----------------------------------------------------------------------------- */

enum { STEPS = 60 };

/* What environment i of a pool should say at each step: reset and step called by hand. */
typedef struct row {
    bp_real observation[8], arrived[8];
    bp_step out;
    double total;
    uint64_t length, episode;
} row;

static void plain_loop(row *rows, const bp_env_maker *maker, size_t i, uint64_t seed) {
    bp_env env;
    bp_error error;
    uint64_t k = 0, length = 0;
    double total = 0;
    size_t t;
    bpt_ok(maker->make(maker->ctx, i, &env, &error), &error);
    memset(rows, 0, (STEPS + 1) * sizeof *rows);
    bpt_ok(env.reset(env.self, bp_seed_mix(seed, i, k++), rows[0].observation), NULL);
    memcpy(rows[0].arrived, rows[0].observation, sizeof rows[0].arrived);
    rows[0].out.discount = 1;
    for (t = 0; t < STEPS; t++) {
        row *r = &rows[t + 1];
        bp_real action[8];
        choose(action, env.spec.action_size, i, t);
        bpt_ok(env.step(env.self, action, r->arrived, &r->out), NULL);
        memcpy(r->observation, r->arrived, sizeof r->observation);
        r->total = total += (double)r->out.reward;
        r->length = ++length;
        if (r->out.last) {
            bpt_ok(env.reset(env.self, bp_seed_mix(seed, i, k++), r->observation), NULL);
            total = 0;
            length = 0;
        }
        r->episode = k - 1;
    }
    bp_env_close(&env);
}

static void compare(const bp_pool *pool, const row *rows, size_t t) {
    const size_t O = pool->spec.observation_size;
    size_t i;
    for (i = 0; i < pool->config.envs; i++) {
        const row *r = &rows[i * (STEPS + 1) + t];
        assert_memory_equal(pool->observation + i * O, r->observation, O * sizeof(bp_real));
        assert_memory_equal(pool->arrived + i * O, r->arrived, O * sizeof(bp_real));
        assert_memory_equal(&pool->reward[i], &r->out.reward, sizeof(bp_real));
        assert_memory_equal(&pool->discount[i], &r->out.discount, sizeof(bp_real));
        assert_int_equal(pool->last[i], r->out.last);
        assert_false(pool->fault[i]);
        assert_memory_equal(&pool->total[i], &r->total, sizeof(double));
        assert_true(pool->length[i] == r->length);
        assert_true(pool->episode[i] == r->episode);
    }
}

/* These toys are so cheap that the caller would step all of them: let it think otherwise. */
static void dear(bp_pool *pool) {
    pool->self->turn = BPI_POOL_FIRST + 1;
    pool->self->cost = 1.0;
}

static void play(const bp_env_maker *maker, size_t envs, size_t threads, bp_team *team, size_t per_job, const row *rows,
                 uint64_t seed) {
    bp_pool_config config = bp_pool_config_default();
    bp_error error;
    bp_pool *pool;
    size_t t, i, steps = 0, episodes = 0;
    int twice;
    config.envs = envs;
    config.threads = threads;
    config.team = team;
    config.per_job = per_job;
    bpt_ok(bp_pool_create(&pool, maker, &config, NULL, &error), &error);
    assert_int_equal(pool->config.threads, team ? bp_team_threads(team) : threads);
    for (twice = 0; twice < 2; twice++) { /* a second reset starts all over */
        bpt_ok(bp_pool_reset(pool, seed, &error), &error);
        compare(pool, rows, 0);
        assert_true(pool->n_steps == 0 && pool->n_episodes == 0 && pool->n_faults == 0);
        for (i = 0; i < envs * pool->spec.action_size; i++) assert_true(pool->action[i] == BP_R(0));
        for (t = 0, steps = episodes = 0; t < STEPS; t++) {
            choose_all(pool, t);
            if (twice) dear(pool); /* once as it likes, once on all threads */
            bpt_ok(bp_pool_step(pool, &error), &error);
            compare(pool, rows, t + 1);
            steps += envs;
            for (i = 0; i < envs; i++) episodes += pool->last[i];
            assert_true(pool->n_steps == steps && pool->n_episodes == episodes);
        }
    }
    bp_pool_destroy(pool);
}

static void test_same_as_a_plain_loop(void **state) {
    static const size_t per_job[] = {0, 1, 5, 100};
    static row rows[MOST * (STEPS + 1)];
    static toys all;
    bp_pendulum_config pendulum = bp_pendulum_config_default();
    bp_env_maker maker[2];
    size_t i, m, envs, threads, p;
    (void)state;
    toys_begin(&all);
    pendulum.steps = 7;
    maker[0] = toy_maker(&all);
    maker[1] = bp_pendulum_maker(&pendulum);
    for (m = 0; m < 2; m++)
        for (envs = 1; envs <= MOST; envs += envs < 3 ? 1 : 37) { /* 1, 2, 3, 40 */
            for (i = 0; i < envs; i++) plain_loop(rows + i * (STEPS + 1), &maker[m], i, 99);
            for (p = 0; p < sizeof per_job / sizeof per_job[0]; p++) {
                play(&maker[m], envs, 1, NULL, per_job[p], rows, 99);
#ifdef BPRIOR_THREADS
                for (threads = 2; threads <= 3; threads++) {
                    bp_team *team;
                    bp_error error;
                    play(&maker[m], envs, threads, NULL, per_job[p], rows, 99);
                    if (per_job[p] > 1) continue;
                    bpt_ok(bp_team_create(&team, threads, NULL, &error), &error);
                    play(&maker[m], envs, 0, team, per_job[p], rows, 99); /* the team's number of threads counts */
                    play(&maker[m], envs, 9, team, per_job[p], rows, 99); /* and it is still alive */
                    bp_team_destroy(team);
                }
#endif
            }
        }
    (void)threads;
    for (i = 0; i < MOST; i++) assert_true(all.closed[i] > 0);
}

/* ---- the end of an episode ------------------------------------------------------------------------------ */

static void test_episodes_go_on(void **state) {
    static toys all;
    bp_error error;
    bp_pool *pool;
    size_t t, i;
    double sum[4] = {0};
    (void)state;
    toys_begin(&all);
    all.length = 3;
    pool = make_pool(&all, 4, 1, 0, NULL);
    bpt_ok(bp_pool_reset(pool, 5, &error), &error);
    for (t = 1; t <= 9; t++) {
        choose_all(pool, t);
        bpt_ok(bp_pool_step(pool, &error), &error);
        for (i = 0; i < 4; i++) {
            const bp_real *o = pool->observation + 3 * i, *a = pool->arrived + 3 * i;
            const bool ends = t % 3 == 0;
            assert_true((double)a[2] == (double)i);                   /* each row is its own environment's */
            assert_int_equal(pool->last[i], ends);                    /* no step is spent on a reset */
            assert_true(a[0] == (bp_real)(ends ? 3 : t % 3));         /* the terminal observation is there */
            assert_true(o[0] == (bp_real)(t % 3));                    /* and so is the new episode's first */
            assert_true(pool->episode[i] == t / 3);                   /* whose number that is */
            assert_true(all.toy[i].seed == bp_seed_mix(5, i, t / 3)); /* and seed */
            assert_true(pool->length[i] == (ends ? 3 : t % 3));       /* length and return of the one that ended */
            if (t % 3 == 1) sum[i] = 0;
            sum[i] += (double)pool->reward[i];
            bpt_close(pool->total[i], sum[i], 0);
            assert_true(pool->discount[i] == (ends && bp_seed_mix(5, i, t / 3 - 1) % 2 ? BP_R(0) : BP_R(1)));
        }
    }
    assert_true(pool->n_steps == 36 && pool->n_episodes == 12 && pool->n_faults == 0);
    assert_string_equal(bp_pool_fault(pool, 0), "");
    bp_pool_destroy(pool);
    for (i = 0; i < 4; i++) assert_int_equal(all.closed[i], 1);
}

/* ---- faults -------------------------------------------------------------------------------------------- */

static void test_step_faults(void **state) {
    static toys all;
    bp_error error;
    int kind;
    size_t threads;
    (void)state;
    for (kind = STEP_STATUS; kind <= STEP_DISCOUNT; kind++)
#ifdef BPRIOR_THREADS
        for (threads = 1; threads <= 2; threads++)
#else
        for (threads = 1; threads <= 1; threads++)
#endif
        {
            bp_real before[3];
            bp_pool *pool;
            size_t t;
            toys_begin(&all);
            all.length = 5;
            all.bad = 1;
            all.bad_kind = kind;
            pool = make_pool(&all, 3, threads, 1, NULL);
            bpt_ok(bp_pool_reset(pool, 5, &error), &error);
            for (t = 1; t <= 9; t++) {
                memcpy(before, pool->observation + 3, sizeof before);
                choose_all(pool, t);
                bpt_ok(bp_pool_step(pool, &error), &error); /* one bad environment stops nobody */
                assert_false(pool->fault[0]);
                assert_int_equal(pool->last[0], t % 5 == 0);
                assert_int_equal(pool->fault[1], t % 3 == 0);
                assert_int_equal(pool->last[1], t % 3 == 0);
                if (t % 3 == 0) { /* like a time limit at the last good observation, no transition */
                    assert_memory_equal(pool->arrived + 3, before, sizeof before);
                    assert_true(pool->reward[1] == BP_R(0) && pool->discount[1] == BP_R(1));
                    assert_true(pool->length[1] == 2);
                    assert_true(pool->observation[3] == BP_R(0)); /* and on with the next */
                    assert_true(pool->episode[1] == t / 3);
                    assert_true(pool->faults[1] == t / 3);
                    assert_true(pool->total[1] == pool->total[1]);
                }
            }
            assert_true(pool->n_faults == 3 && pool->faults[0] == 0 && pool->faults[2] == 0);
            assert_true(pool->n_steps == 9 * 3 - 3);
            assert_true(pool->n_episodes == 2); /* the two others': cut ones do not count */
            assert_string_equal(bp_pool_fault(pool, 0), "");
            assert_non_null(strstr(bp_pool_fault(pool, 1), "environment 1, episode 0, step 2: step")); /* the first one */
            assert_non_null(strstr(bp_pool_fault(pool, 1), kind == STEP_STATUS ? bp_status_str(BP_ERR_IO) : "not finite"));
            assert_string_equal(bp_pool_fault(pool, 3), "");
            bpt_ok(bp_pool_reset(pool, 5, &error), &error); /* forgets them */
            assert_true(pool->n_faults == 0 && pool->faults[1] == 0);
            assert_string_equal(bp_pool_fault(pool, 1), "");
            bp_pool_destroy(pool);
        }
}

static void test_too_many_faults(void **state) {
    static toys all;
    bp_pool_config config = bp_pool_config_default();
    const bp_env_maker maker = toy_maker(&all);
    bp_error error, again;
    bp_pool *pool;
    size_t t;
    (void)state;
    toys_begin(&all);
    all.length = 5;
    all.bad = 1;
    all.bad_kind = STEP_NAN;
    config.envs = 2;
    config.max_faults = 2;
    bpt_ok(bp_pool_create(&pool, &maker, &config, NULL, &error), &error);
    bpt_ok(bp_pool_reset(pool, 1, &error), &error);
    for (t = 1; t < 9; t++) bpt_ok(bp_pool_step(pool, &error), &error);
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "environment 1, episode 0, step 2"));
    assert_non_null(strstr(error.text, "max_faults"));
    assert_int_equal(error.status, BP_ERR_ENV);
    assert_true(pool->n_steps == 15); /* that step was taken */
    assert_int_equal(all.toy[0].t, 4);
    assert_int_equal(bp_pool_save(pool, NULL, 0), 0);
    assert_int_equal(bp_pool_step(pool, &again), BP_ERR_ENV); /* no further one */
    assert_int_equal(bp_pool_step(pool, NULL), BP_ERR_ENV);
    assert_string_equal(again.text, error.text);
    assert_int_equal(all.toy[0].t, 4);
    bpt_ok(bp_pool_reset(pool, 1, &error), &error);
    bpt_ok(bp_pool_step(pool, &error), &error);
    bp_pool_destroy(pool);
}

static void test_reset_faults(void **state) {
    static toys all;
    bp_error error;
    bp_pool *pool;
    (void)state;
    /* a few: later episodes' seeds are tried */
    toys_begin(&all);
    all.bad = 2;
    all.bad_resets = 2;
    all.bad_nan = 5;
    pool = make_pool(&all, 3, 1, 0, NULL);
    bpt_ok(bp_pool_reset(pool, 8, &error), &error);
    assert_true(pool->faults[2] == 5 && pool->n_faults == 5);
    assert_true(pool->episode[2] == 5);
    assert_true(all.toy[2].seed == bp_seed_mix(8, 2, 5));
    assert_non_null(strstr(bp_pool_fault(pool, 2), "environment 2, episode 0, step 0: reset failed"));
    bpt_ok(bp_pool_step(pool, &error), &error);
    bp_pool_destroy(pool);
    /* ten: the pool stops */
    toys_begin(&all);
    all.bad = 2;
    all.bad_nan = 10;
    pool = make_pool(&all, 3, 1, 0, NULL);
    assert_int_equal(bp_pool_reset(pool, 8, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "reset gave a number that is not finite"));
    assert_non_null(strstr(error.text, "environment 2 failed 10 times"));
    assert_true(pool->observation[7] == BP_R(0)); /* no NaN is shown to anybody */
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ENV);
    bpt_ok(bp_pool_reset(pool, 8, &error), &error); /* the toy is well by now */
    bpt_ok(bp_pool_step(pool, &error), &error);
    bp_pool_destroy(pool);
    /* in the middle: the step stands, the pool stops */
    toys_begin(&all);
    all.length = 2;
    pool = make_pool(&all, 3, 1, 0, NULL);
    bpt_ok(bp_pool_reset(pool, 8, &error), &error);
    bpt_ok(bp_pool_step(pool, &error), &error);
    all.bad = 0;
    all.bad_resets = 1000;
    assert_int_equal(bp_pool_step(pool, NULL), BP_ERR_ENV);
    assert_false(pool->fault[0]);
    assert_true(pool->last[0] && pool->arrived[0] == BP_R(2) && pool->n_steps == 6 && pool->n_episodes == 3);
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "environment 0, episode 1, step 0: reset failed"));
    assert_true(pool->n_steps == 6);
    bp_pool_destroy(pool);
}

/* ---- arguments ------------------------------------------------------------------------------------------ */

static void refuses(toys *all, const bp_pool_config *config, bp_status want, const char *word) {
    const bp_env_maker maker = toy_maker(all);
    bp_pool *pool = (bp_pool *)1;
    bp_error error;
    size_t i, closed = 0;
    const bp_status status = bp_pool_create(&pool, &maker, config, NULL, &error);
    if (status != want || pool || !strstr(error.text, word)) {
        print_error("expected %d with '%s', got %d: %s\n", (int)want, word, (int)status, error.text);
        fail();
    }
    assert_int_equal(error.status, want);
    for (i = 0; i < MOST; i++) closed += (size_t)all->closed[i];
    assert_int_equal(closed, all->made); /* everything that was made has been closed, nothing twice */
    assert_int_equal(bp_pool_create(&pool, &maker, config, NULL, NULL), want);
}

static void test_arguments(void **state) {
    static toys all;
    bp_pool_config config = bp_pool_config_default();
    bp_env_maker maker = toy_maker(&all);
    bp_error error;
    bp_pool *pool;
    (void)state;
    config.envs = 5;
    toys_begin(&all);
    assert_int_equal(bp_pool_create(NULL, &maker, &config, NULL, &error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_pool_create(&pool, NULL, &config, NULL, &error), BP_ERR_ARGUMENT);
    assert_null(pool);
    maker.make = NULL;
    assert_int_equal(bp_pool_create(&pool, &maker, &config, NULL, &error), BP_ERR_ARGUMENT);
    config.envs = 0;
    refuses(&all, &config, BP_ERR_ARGUMENT, "envs");
    config.envs = 5;
    config.threads = 0;
    refuses(&all, &config, BP_ERR_ARGUMENT, "threads");
    config.threads = 1;
    config.cookie++;
    refuses(&all, &config, BP_ERR_ABI, "bp_pool_config");
    memset(&config, 0, sizeof config);
    refuses(&all, &config, BP_ERR_CONFIG, "bp_pool_config");
    config = bp_pool_config_default();
    config.envs = (size_t)-1;
    config.per_job = (size_t)-1;
    refuses(&all, &config, BP_ERR_SIZE, "environments");
    config.envs = (size_t)-1 / 2;
    refuses(&all, &config, BP_ERR_SIZE, "environments");
    config = bp_pool_config_default();
    config.envs = 5;
    all.fail_make = 3;
    refuses(&all, &config, BP_ERR_IO, "toy 3 is out of stock");
    all.fail_make = 0;
    refuses(&all, &config, BP_ERR_IO, "toy 0 is out of stock");
    all.fail_make = MOST;
    all.other_spec = 2;
    refuses(&all, &config, BP_ERR_MISMATCH, "environment 2 ('toy')");
    all.other_spec = MOST;
    all.no_function = 4;
    refuses(&all, &config, BP_ERR_ARGUMENT, "environment 4 has no step");
    all.no_function = MOST;
    all.broken_spec = 1;
    refuses(&all, &config, BP_ERR_ARGUMENT, "observation_size");
#ifndef BPRIOR_THREADS
    toys_begin(&all);
    config.threads = 2;
    refuses(&all, &config, BP_ERR_UNSUPPORTED, "BPRIOR_THREADS");
#endif
    bp_pool_destroy(NULL);

    /* the order of calls, and actions */
    toys_begin(&all);
    pool = make_pool(&all, 3, 1, 0, NULL);
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "reset"));
    assert_int_equal(bp_pool_save(pool, NULL, 0), 0);
    bpt_ok(bp_pool_reset(pool, 1, &error), &error);
    bpt_ok(bp_pool_step(pool, &error), &error);
    pool->action[3] = (bp_real)NAN; /* the second number of environment 1 */
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "row 1"));
    assert_non_null(strstr(error.text, "not finite"));
    assert_true(pool->n_steps == 3 && pool->n_faults == 0); /* nothing has moved */
    pool->action[3] = 100;                                  /* outside the box is fine */
    bpt_ok(bp_pool_step(pool, &error), &error);
    bp_pool_destroy(pool);
    all.discrete = true;
    pool = make_pool(&all, 3, 1, 0, NULL);
    bpt_ok(bp_pool_reset(pool, 1, &error), &error);
    pool->action[2] = 2;
    bpt_ok(bp_pool_step(pool, &error), &error);
    pool->action[2] = 3;
    assert_int_equal(bp_pool_step(pool, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "row 2"));
    assert_non_null(strstr(error.text, "choices"));
    bp_pool_destroy(pool);

    /* no configuration: the defaults */
    toys_begin(&all);
    maker = toy_maker(&all);
    bpt_ok(bp_pool_create(&pool, &maker, NULL, NULL, &error), &error);
    assert_int_equal(pool->config.envs, 16);
    assert_int_equal(all.made, 16);
    bp_pool_destroy(pool);
}

/* ---- memory --------------------------------------------------------------------------------------------- */

static void test_memory(void **state) {
    static toys all;
    bp_pool_config config = bp_pool_config_default();
    const bp_env_maker maker = toy_maker(&all);
    bp_error error;
    bp_pool *pool;
    bpt_memory m;
    size_t n, i, t, requests;
    (void)state;
    config.envs = 6;
#ifdef BPRIOR_THREADS
    config.threads = 2;
#endif
    bpt_memory_use(&m);
    for (n = 1;; n++) {
        size_t closed = 0;
        bp_status status;
        toys_begin(&all);
        m.requests = 0;
        m.fail_at = n;
        status = bp_pool_create(&pool, &maker, &config, &m.allocator, &error);
        if (status == BP_OK) break;
        assert_int_equal(status, BP_ERR_MEMORY);
        assert_null(pool);
        for (i = 0; i < MOST; i++) closed += (size_t)all.closed[i];
        assert_int_equal(closed, all.made);
        bpt_memory_check(&m);
    }
    assert_true(n > 2); /* the team's and the pool's */
    m.fail_at = 0;
    requests = m.requests;
    bpt_ok(bp_pool_reset(pool, 3, &error), &error);
    for (t = 0; t < 50; t++) {
        choose_all(pool, t);
        bpt_ok(bp_pool_step(pool, &error), &error);
    }
    assert_true(pool->n_episodes > 20);
    assert_int_equal(m.requests, requests); /* steps and resets take none */
    bp_pool_destroy(pool);
    bpt_memory_check(&m);
}

/* ---- saved states ----------------------------------------------------------------------------------------- */

static void test_save_load(void **state) {
    static toys all, others;
    bp_error error;
    bp_pool *pool, *other;
    unsigned char *bytes;
    size_t n, t, i;
    (void)state;
    toys_begin(&all);
    toys_begin(&others);
    pool = make_pool(&all, 6, 1, 0, NULL);
    other = make_pool(&others, 6, 1, 2, NULL);
    bpt_ok(bp_pool_reset(pool, 3, &error), &error);
    bpt_ok(bp_pool_reset(other, 4, &error), &error);
    for (t = 0; t < 11; t++) {
        choose_all(pool, t);
        bpt_ok(bp_pool_step(pool, &error), &error);
    }
    n = bp_pool_save(pool, NULL, 0);
    assert_true(n > 6 * sizeof(toy));
    bytes = (unsigned char *)malloc(n);
    assert_non_null(bytes);
    for (i = 0; i < n; i++) assert_int_equal(bp_pool_save(pool, bytes, i), 0);
    assert_int_equal(bp_pool_save(pool, bytes, n), n);
    for (t = 0; t < 5; t++) bpt_ok(bp_pool_step(other, &error), &error);

    bpt_ok(bp_pool_load(other, bytes, n, &error), &error);
    assert_memory_equal(other->observation, pool->observation, 18 * sizeof(bp_real));
    for (i = 0; i < 6; i++) assert_true(!other->last[i] && other->reward[i] == BP_R(0) && other->discount[i] == BP_R(1));
    for (t = 11; t < 40; t++) {
        choose_all(pool, t);
        choose_all(other, t);
        bpt_ok(bp_pool_step(pool, &error), &error);
        bpt_ok(bp_pool_step(other, &error), &error);
        assert_memory_equal(other->observation, pool->observation, 18 * sizeof(bp_real));
        assert_memory_equal(other->arrived, pool->arrived, 18 * sizeof(bp_real));
        assert_memory_equal(other->reward, pool->reward, 6 * sizeof(bp_real));
        assert_memory_equal(other->last, pool->last, 6 * sizeof(bool));
        assert_memory_equal(other->total, pool->total, 6 * sizeof(double));
        assert_memory_equal(other->length, pool->length, 6 * sizeof(uint64_t));
        assert_memory_equal(other->episode, pool->episode, 6 * sizeof(uint64_t));
        assert_true(other->n_steps == pool->n_steps && other->n_episodes == pool->n_episodes);
    }

    /* every shortened or lengthened text is refused, and the pool goes on as if nothing had happened */
    for (i = 0; i < n; i++) {
        bp_status status = bp_pool_load(other, bytes, i, &error);
        assert_int_equal(status, BP_ERR_FORMAT);
    }
    assert_int_equal(bp_pool_load(other, NULL, n, &error), BP_ERR_FORMAT);
    bytes[0] ^= 1;
    assert_int_equal(bp_pool_load(other, bytes, n, &error), BP_ERR_FORMAT);
    bytes[0] ^= 1;
    for (i = 8; i < 32; i += 8) { /* N, contract, size of a number */
        bytes[i] ^= 1;
        assert_int_equal(bp_pool_load(other, bytes, n, &error), BP_ERR_MISMATCH);
        bytes[i] ^= 1;
    }
    choose_all(pool, 40);
    choose_all(other, 40);
    bpt_ok(bp_pool_step(pool, &error), &error);
    bpt_ok(bp_pool_step(other, &error), &error);
    assert_memory_equal(other->arrived, pool->arrived, 18 * sizeof(bp_real));

    /* an environment that refuses its part: named, and the pool wants a reset */
    others.refuses_load = 4;
    assert_int_equal(bp_pool_load(other, bytes, n, &error), BP_ERR_FORMAT);
    assert_non_null(strstr(error.text, "environment 4"));
    assert_int_equal(bp_pool_step(other, &error), BP_ERR_ENV);
    bpt_ok(bp_pool_reset(other, 1, &error), &error);
    bpt_ok(bp_pool_step(other, &error), &error);
    bp_pool_destroy(other);
    bp_pool_destroy(pool);

    toys_begin(&all);
    all.no_save = 2;
    pool = make_pool(&all, 6, 1, 0, NULL);
    bpt_ok(bp_pool_reset(pool, 3, &error), &error);
    assert_int_equal(bp_pool_save(pool, NULL, 0), 0);
    assert_int_equal(bp_pool_load(pool, bytes, n, &error), BP_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "environment 2"));
    bp_pool_destroy(pool);
    free(bytes);
}

/* ---- does a second thread pay? ------------------------------------------------------------------------------ */

#ifdef BPRIOR_THREADS
/* An environment whose steps take so many seconds, and that counts those which are not taken by the thread of the test. */
typedef struct work {
    double seconds;
    pthread_t caller;
    int elsewhere[8];
} work;
typedef struct worker_env {
    work *work;
    size_t index;
} worker_env;

static bp_status work_reset(void *self, uint64_t seed, bp_real *observation) {
    (void)self;
    (void)seed;
    observation[0] = BP_R(0);
    return BP_OK;
}
static bp_status work_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    const worker_env *e = (const worker_env *)self;
    const double end = bpi_clock_seconds() + e->work->seconds;
    (void)action;
    while (e->work->seconds > 0 && bpi_clock_seconds() < end) {}
    if (!pthread_equal(pthread_self(), e->work->caller)) e->work->elsewhere[e->index]++;
    observation[0] = BP_R(0);
    out->reward = BP_R(0);
    out->discount = BP_R(1);
    out->last = false;
    return BP_OK;
}
static bp_status work_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    static worker_env env[8];
    memset(out, 0, sizeof *out);
    env[index].work = (work *)ctx;
    env[index].index = index;
    out->self = &env[index];
    out->reset = work_reset;
    out->step = work_step;
    bp_spec_begin(&out->spec, "work");
    bp_spec_add_field(&out->spec, "nothing", 1, NULL);
    bp_spec_actions_continuous(&out->spec, 1, -1, 1, NULL);
    return bpi_ok(error);
}
#endif

static void test_second_thread_pays(void **state) {
#ifdef BPRIOR_THREADS
    bp_pool_config config = bp_pool_config_default();
    bp_env_maker maker;
    bp_pool *pool;
    bp_error error;
    work w;
    size_t i;
    int elsewhere;
    memset(&w, 0, sizeof w);
    w.caller = pthread_self();
    maker.make = work_make;
    maker.ctx = &w;
    config.envs = 8;
    config.threads = 2;
    bpt_ok(bp_pool_create(&pool, &maker, &config, NULL, &error), &error);
    bpt_ok(bp_pool_reset(pool, 1, &error), &error);

    /* the rule */
    for (i = 0; i < BPI_POOL_FIRST; i++) {
        pool->self->turn = i;
        pool->self->cost = 1.0;
        assert_int_equal(bpi_pool_alone(pool->self), i == 0); /* nothing is known yet */
        pool->self->cost = 50 * BPI_POOL_ALONE;
        assert_true(bpi_pool_alone(pool->self)); /* the first was slow because it was the first? */
    }
    for (pool->self->turn = 200; pool->self->turn < 300; pool->self->turn++) {
        pool->self->cost = 0.9 * BPI_POOL_ALONE;
        assert_true(bpi_pool_alone(pool->self));
        pool->self->cost = 2 * BPI_POOL_ALONE; /* near: tried now and then */
        assert_int_equal(bpi_pool_alone(pool->self), pool->self->turn == 256);
        pool->self->cost = 9 * BPI_POOL_ALONE;
        assert_false(bpi_pool_alone(pool->self));
    }

    /* dear environments, whatever was thought of them, are soon stepped by both; nobody else has steps */
    pool->self->turn = 0;
    w.seconds = 1e-4;
    for (i = 0; i < 100; i++) bpt_ok(bp_pool_step(pool, &error), &error);
    assert_true(pool->self->cost >= 0.99 * 8e-4);
    for (i = 0, elsewhere = 0; i < 8; i++) elsewhere += w.elsewhere[i];
    assert_in_range(elsewhere, 1, 8 * (100 - 1));

    /* when they become cheap, that is soon seen */
    w.seconds = 0;
    for (i = 0; i < 2000 && pool->self->cost >= 1e-4; i++) bpt_ok(bp_pool_step(pool, &error), &error);
    assert_true(i < 2000);
    assert_true(pool->n_steps == 8 * (100 + i));
    bp_pool_destroy(pool);
#else
    (void)state;
    skip();
#endif
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_a_plain_loop),
        cmocka_unit_test(test_episodes_go_on),
        cmocka_unit_test(test_step_faults),
        cmocka_unit_test(test_too_many_faults),
        cmocka_unit_test(test_reset_faults),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_second_thread_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
