/* bench_env.h - control steps per second of the MuJoCo environments against MuJoCo alone, and the memory they take.
 *
 * Include after the implementations of bprior.h and bprior_mujoco.h, and bench_gemm.h.
 *
 *     bench_env_result result;
 *     for (i = 0; i < BENCH_BODIES; i++) if (!bench_env_speed(&result, &bench_bodies[i])) ...
 *     bench_env_space space;
 *     for (i = 0; i < BENCH_BODIES; i++) if (!bench_env_memory(&space, &bench_bodies[i], 20, 100)) ...
 *
 * What is compared: the same episodes of N environments, from the same states with the same actions, in three ways, each
 * on one thread and on two -
 *
 *     env      bp_env's step(), one environment after the other; on 2 threads, each has half of them
 *     bare     mj_step2 and mj_step1 on copies of the mjData, in the same way
 *     pool     bp_pool_step(): all of them one control step, then the next
 *
 * The bare loop finishes one mjData before it turns to the next, and does not wait for anybody between control steps: the
 * best that MuJoCo can do. All compute the same trajectories (verified at the end of every round), so their ratios are what
 * observation, reward, error trapping and the pool cost. No episode ends in between: resets are measured by themselves.
 * The six alternate in one process, and medians over rounds are reported: a busy machine slows all of them.
 * On a very busy one look at the ratios of CPU times: they do not see other programs, but neither do they see waiting.
 */
#ifndef BPRIOR_BENCH_ENV_H
#define BPRIOR_BENCH_ENV_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_ENV_ROUNDS 61
#define BENCH_ENV_THREADS 2

/* ---- what is measured: the one place that knows how worlds are made ------------------------------------ */

typedef enum bench_change { BENCH_AS_IT_IS = 0,
                            BENCH_ONE_SUBSTEP, /* the control rate of the suite: overhead at its largest */
                            BENCH_COMPACT,
                            BENCH_GOES_ON /* after a fall: the most contacts */
} bench_change;

typedef struct bench_body {
    const char *name;
    bp_mj_task_kind task;
    bp_mj_walker_kind walker;
    bench_change change;
    size_t envs;   /* N */
    size_t steps;  /* control steps of one round, at most */
    size_t rounds; /* odd; 0: memory only */
} bench_body;

static const bench_body bench_bodies[] = {
    {"mj_pointmass", BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS, BENCH_AS_IT_IS, 32, 25, 41},
    {"mj_pointmass, 1 substep", BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS, BENCH_ONE_SUBSTEP, 256, 20, 61},
    {"mj_ant", BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT, BENCH_AS_IT_IS, 8, 25, 31},
    {"mj_ant, compact", BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT, BENCH_COMPACT, 8, 25, 31},
    {"mj_ant, box too", BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_ANT, BENCH_AS_IT_IS, 8, 25, 21},
    {"mj_rolling", BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ROLLING, BENCH_AS_IT_IS, 16, 25, 21},
    {"mj_humanoid", BP_MJ_RUN, BP_MJ_WALKER_HUMANOID, BENCH_AS_IT_IS, 8, 12, 21},
    {"mj_cmu", BP_MJ_RUN, BP_MJ_WALKER_CMU, BENCH_AS_IT_IS, 4, 8, 15},
    {"mj_ant, fallen too", BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_ANT, BENCH_GOES_ON, 0, 0, 0},
    {"mj_humanoid, fallen too", BP_MJ_RUN, BP_MJ_WALKER_HUMANOID, BENCH_GOES_ON, 0, 0, 0},
    {"mj_cmu, fallen too", BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_CMU, BENCH_GOES_ON, 0, 0, 0},
};
#define BENCH_BODIES (sizeof bench_bodies / sizeof bench_bodies[0])

/* NULL if it cannot be made. *substeps: physics steps per control step. */
static bp_mj_world *bench_world(const bench_body *body, size_t *substeps, const bp_allocator *allocator) {
    bp_mj_task task = bp_mj_task_default(body->task, body->walker);
    bp_mj_world *world = NULL;
    if (body->change == BENCH_ONE_SUBSTEP) {
        task.n_substeps = 1;
        task.episode_steps = 1000;
    }
    if (body->change == BENCH_COMPACT) task.observe = BP_MJ_OBSERVE_COMPACT;
    if (body->change == BENCH_GOES_ON) task.alive_threshold = -2;
    *substeps = task.n_substeps;
    return bp_mj_world_create(&world, &task, allocator, NULL) == BP_OK ? world : NULL;
}

/* ---- time ------------------------------------------------------------------------------------------------ */

typedef struct bench_time {
    double wall, cpu;
} bench_time;

static bench_time bench_env_start(void) {
    bench_time t;
    t.wall = bench_read(CLOCK_MONOTONIC);
    t.cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID);
    return t;
}

static bench_time bench_env_stop(bench_time start) {
    bench_time t;
    t.cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID) - start.cpu;
    t.wall = bench_read(CLOCK_MONOTONIC) - start.wall;
    return t;
}

static int bench_env_order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bench_env_median(double *x, size_t n) {
    qsort(x, n, sizeof *x, bench_env_order);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

enum { BENCH_WAY_ENV, /* on 1 thread, then on 2, and so on */
       BENCH_WAY_BARE = BENCH_WAY_ENV + BENCH_ENV_THREADS,
       BENCH_WAY_POOL = BENCH_WAY_BARE + BENCH_ENV_THREADS,
       BENCH_WAYS = BENCH_WAY_POOL + BENCH_ENV_THREADS };

typedef struct bench_env_result {
    const char *name;
    double rate[BENCH_WAYS];  /* control steps per second of all environments, median */
    double ratio[BENCH_WAYS]; /* median over rounds of (its time / time of the bare loop on as many threads) */
    double cpu[BENCH_WAYS];   /* the same of CPU times */
    double reset_us;          /* microseconds per reset, median */
    size_t envs, substeps;    /* N; physics steps per control step */
    int same;                 /* did all end in the same state, bit for bit? */
} bench_env_result;

/* All that the ways share. */
typedef struct bench_race {
    const mjModel *model;
    size_t envs, steps, substeps, A;
    uint64_t seed;
    bp_real *action; /* [steps][envs][A] */
    mjData **start;  /* [envs] after the reset */
    mjData **bare;   /* [envs] */
    mjtNum *qpos;    /* [envs][nq] where the first way of a round ended */
    bp_pool *pool[BENCH_ENV_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t go;
    int gate; /* open: the threads may run */
} bench_race;

typedef struct bench_lane {
    bench_race *race;
    size_t first, end;
    bool bare;
} bench_lane;

static void bench_bare_loop(const bench_race *r, size_t first, size_t end) {
    size_t i, t, k, s;
    for (i = first; i < end; i++) {
        mjData *d = r->bare[i];
        for (t = 0; t < r->steps; t++) {
            const bp_real *action = r->action + (t * r->envs + i) * r->A;
            for (k = 0; k < r->A; k++) d->ctrl[k] = (mjtNum)action[k];
            for (s = 0; s < r->substeps; s++) {
                mj_step2(r->model, d);
                mj_step1(r->model, d);
            }
        }
    }
}

static void bench_env_loop(const bench_race *r, size_t first, size_t end) {
    bp_pool *pool = r->pool[0];
    const size_t O = pool->spec.observation_size;
    bp_step out;
    size_t i, t;
    for (i = first; i < end; i++)
        for (t = 0; t < r->steps; t++)
            pool->env[i].step(pool->env[i].self, r->action + (t * r->envs + i) * r->A, pool->observation + i * O, &out);
}

static void bench_lane_run(const bench_lane *lane) {
    if (lane->bare) bench_bare_loop(lane->race, lane->first, lane->end);
    else bench_env_loop(lane->race, lane->first, lane->end);
}

static void *bench_thread(void *arg) {
    const bench_lane *lane = (const bench_lane *)arg;
    bench_race *r = lane->race;
    pthread_mutex_lock(&r->lock);
    while (!r->gate) pthread_cond_wait(&r->go, &r->lock);
    pthread_mutex_unlock(&r->lock);
    bench_lane_run(lane);
    return NULL;
}

static bench_time bench_run_lanes(bench_race *r, size_t threads, bool bare) {
    pthread_t thread[BENCH_ENV_THREADS];
    bench_lane lane[BENCH_ENV_THREADS];
    size_t i;
    bench_time start;
    if (!bare) bp_pool_reset(r->pool[0], r->seed, NULL);
    for (i = 0; bare && i < r->envs; i++) mj_copyData(r->bare[i], r->model, r->start[i]);
    r->gate = 0;
    for (i = 0; i < threads; i++) {
        lane[i].race = r;
        lane[i].bare = bare;
        lane[i].first = r->envs * i / threads;
        lane[i].end = r->envs * (i + 1) / threads;
        if (i && pthread_create(&thread[i], NULL, bench_thread, &lane[i])) exit(1);
    }
    pthread_mutex_lock(&r->lock);
    start = bench_env_start();
    r->gate = 1;
    pthread_cond_broadcast(&r->go);
    pthread_mutex_unlock(&r->lock);
    bench_lane_run(&lane[0]);
    for (i = 1; i < threads; i++) pthread_join(thread[i], NULL);
    return bench_env_stop(start);
}

static bench_time bench_run_pool(bench_race *r, size_t threads) {
    bp_pool *pool = r->pool[threads - 1];
    bench_time start;
    size_t t;
    bp_pool_reset(pool, r->seed, NULL);
    start = bench_env_start();
    for (t = 0; t < r->steps; t++) {
        memcpy(pool->action, r->action + t * r->envs * r->A, r->envs * r->A * sizeof(bp_real));
        bp_pool_step(pool, NULL);
    }
    return bench_env_stop(start);
}

/* Have the environments of this pool (NULL: the bare loop) ended where the first way of this round did? */
static int bench_agree(bench_race *r, const bp_pool *pool, bool first) {
    const size_t nq = (size_t)r->model->nq;
    size_t i;
    int same = 1;
    for (i = 0; i < r->envs; i++) {
        const mjtNum *qpos = pool ? bp_mj_env_data(&pool->env[i])->qpos : r->bare[i]->qpos;
        if (first) memcpy(r->qpos + i * nq, qpos, nq * sizeof(mjtNum));
        else same &= !memcmp(r->qpos + i * nq, qpos, nq * sizeof(mjtNum));
    }
    return same;
}

/* One body, all ways. Returns 0 on success. */
static int bench_env_speed(bench_env_result *result, const bench_body *body) {
    static double rate[BENCH_WAYS][BENCH_ENV_ROUNDS], ratio[BENCH_WAYS][BENCH_ENV_ROUNDS], cpu[BENCH_WAYS][BENCH_ENV_ROUNDS];
    static double reset[BENCH_ENV_ROUNDS];
    bp_mj_world *world;
    bench_race race, *r = &race;
    bp_env_maker maker;
    bp_rng rng = bp_rng_make(1, 2);
    size_t round, rounds = 0, i, t, k;
    int failed = 1;

    memset(result, 0, sizeof *result);
    memset(r, 0, sizeof *r);
    result->name = body->name;
    result->envs = r->envs = body->envs;
    result->same = 1;
    world = bench_world(body, &r->substeps, NULL);
    if (!world) return 1;
    result->substeps = r->substeps;
    r->model = bp_mj_world_model(world);
    maker = bp_mj_maker(world);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->go, NULL);
    r->A = bp_mj_world_spec(world)->action_size;
    r->action = (bp_real *)calloc(body->steps * r->envs * r->A, sizeof(bp_real));
    r->start = (mjData **)calloc(r->envs, sizeof(mjData *));
    r->bare = (mjData **)calloc(r->envs, sizeof(mjData *));
    r->qpos = (mjtNum *)calloc(r->envs * (size_t)r->model->nq, sizeof(mjtNum));
    if (!r->action || !r->start || !r->bare || !r->qpos) goto end;
    for (i = 0; i < r->envs; i++)
        if (!(r->start[i] = mj_makeData(r->model)) || !(r->bare[i] = mj_makeData(r->model))) goto end;
    for (k = 0; k < BENCH_ENV_THREADS; k++) {
        bp_pool_config config = bp_pool_config_default();
        config.envs = r->envs;
        config.threads = k + 1;
        if (bp_pool_create(&r->pool[k], &maker, &config, NULL, NULL) != BP_OK) goto end;
    }

    for (round = 0; round < body->rounds && rounds < BENCH_ENV_ROUNDS; round++) {
        bp_pool *scout = r->pool[BENCH_ENV_THREADS - 1];
        bench_time taken[BENCH_WAYS];
        double began;
        bool ended = false;
        r->steps = body->steps;
        r->seed = round;
        for (i = 0; i < r->steps * r->envs * r->A; i++) r->action[i] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);

        /* How long until the first episode ends? Found out by playing, which also warms the caches. */
        bp_pool_reset(scout, r->seed, NULL);
        for (i = 0; i < r->envs; i++) mj_copyData(r->start[i], r->model, bp_mj_env_data(&scout->env[i]));
        for (t = 0; t < r->steps && !ended; t++) {
            memcpy(scout->action, r->action + t * r->envs * r->A, r->envs * r->A * sizeof(bp_real));
            bp_pool_step(scout, NULL);
            for (i = 0; i < r->envs; i++) ended |= scout->last[i];
        }
        r->steps = ended ? t - 1 : t;
        if (r->steps == 0) continue;
        began = bench_read(CLOCK_MONOTONIC);
        bp_pool_reset(r->pool[0], r->seed, NULL);
        reset[rounds] = 1e6 * (bench_read(CLOCK_MONOTONIC) - began) / (double)r->envs;

        for (k = 0; k < BENCH_WAYS; k++) { /* who goes first changes from round to round */
            const size_t way = (k + round) % BENCH_WAYS;
            const size_t threads = way % BENCH_ENV_THREADS + 1;
            taken[way] = way < BENCH_WAY_POOL ? bench_run_lanes(r, threads, way >= BENCH_WAY_BARE) : bench_run_pool(r, threads);
            if (way < BENCH_WAY_BARE) result->same &= bench_agree(r, r->pool[0], k == 0);
            else result->same &= way < BENCH_WAY_POOL ? bench_agree(r, NULL, k == 0)
                                                      : bench_agree(r, r->pool[way - BENCH_WAY_POOL], k == 0);
        }
        for (k = 0; k < BENCH_WAYS; k++) {
            const size_t threads = k % BENCH_ENV_THREADS;
            rate[k][rounds] = (double)(r->steps * r->envs) / taken[k].wall;
            ratio[k][rounds] = taken[k].wall / taken[BENCH_WAY_BARE + threads].wall;
            cpu[k][rounds] = taken[k].cpu / taken[BENCH_WAY_BARE + threads].cpu;
        }
        rounds++;
    }
    for (k = 0; k < BENCH_WAYS && rounds; k++) {
        result->rate[k] = bench_env_median(rate[k], rounds);
        result->ratio[k] = bench_env_median(ratio[k], rounds);
        result->cpu[k] = bench_env_median(cpu[k], rounds);
    }
    if (rounds) result->reset_us = bench_env_median(reset, rounds);
    failed = rounds == 0;
end:
    for (k = 0; k < BENCH_ENV_THREADS; k++) bp_pool_destroy(r->pool[k]);
    for (i = 0; i < r->envs; i++) {
        if (r->start && r->start[i]) mj_deleteData(r->start[i]);
        if (r->bare && r->bare[i]) mj_deleteData(r->bare[i]);
    }
    free(r->qpos);
    free(r->bare);
    free(r->start);
    free(r->action);
    pthread_cond_destroy(&r->go);
    pthread_mutex_destroy(&r->lock);
    bp_mj_world_destroy(world);
    return failed;
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

typedef struct bench_env_space {
    size_t data;             /* bytes of one mjData: struct, buffer, stack (and arena) */
    size_t own;              /* bytes of the environment around it */
    size_t buffer, stack;    /* of `data`; MuJoCo 3: stack is the arena, which the stack and all of a step's arrays share */
    size_t used;             /* bytes of stack (arena) in use at most */
    size_t used_stack;       /* bytes of the stack alone */
    int contacts, equations; /* most contacts and constraint rows */
    size_t steps;            /* control steps that were made for this */
} bench_env_space;

static void *bench_count_alloc(void *ctx, size_t bytes, size_t align) {
    (void)align; /* what bp_alloc() gives is aligned well enough for everything of ours */
    *(size_t *)ctx += bytes;
    return bp_alloc(NULL, bytes);
}

static void bench_count_free(void *ctx, void *ptr, size_t bytes) {
    *(size_t *)ctx -= bytes;
    bp_free(NULL, ptr, bytes);
}

/* Random episodes of at most `steps` control steps, of three kinds in turn: each action uniform, the corners of the box held
 * for five steps, and one corner for the whole episode. Returns 0 on success. */
static int bench_env_memory(bench_env_space *space, const bench_body *body, size_t episodes, size_t steps) {
    size_t counted = 0, before, substeps, k, t, i;
    bp_real *observation, action[BP_MAX_ACTION];
    bp_rng rng = bp_rng_make(3, 3);
    bp_allocator counting;
    bp_mj_world *world;
    const mjData *d;
    bp_env env;

    memset(space, 0, sizeof *space);
    counting.alloc = bench_count_alloc;
    counting.free = bench_count_free;
    counting.ctx = &counted;
    world = bench_world(body, &substeps, &counting);
    if (!world) return 1;
    before = counted;
    observation = (bp_real *)calloc(bp_mj_world_spec(world)->observation_size, sizeof(bp_real));
    if (!observation || bp_mj_env_make(world, &env, NULL) != BP_OK) {
        free(observation);
        bp_mj_world_destroy(world);
        return 1;
    }
    space->own = counted - before;
    d = bp_mj_env_data(&env);
    space->buffer = (size_t)d->nbuffer;
#if mjVERSION_HEADER < 300
    space->stack = (size_t)d->nstack * sizeof(mjtNum);
#else
    space->stack = (size_t)d->narena;
#endif
    space->data = sizeof(mjData) + space->buffer + space->stack;
    for (k = 0; k < episodes; k++) {
        bp_step out;
        if (env.reset(env.self, k, observation) != BP_OK) continue;
        out.last = false;
        for (t = 0; t < steps && !out.last; t++) {
            size_t used, used_stack;
            for (i = 0; i < env.spec.action_size; i++) {
                const double u = 2 * bp_rng_uniform(&rng) - 1;
                if (k % 3 == 0) action[i] = (bp_real)u;
                else if (t == 0 || (k % 3 == 1 && t % 5 == 0)) action[i] = u < 0 ? BP_R(-1) : BP_R(1);
            }
            if (env.step(env.self, action, observation, &out) != BP_OK) break;
            space->steps++;
#if mjVERSION_HEADER < 300
            used = used_stack = (size_t)d->maxuse_stack * sizeof(mjtNum);
#else
            used = (size_t)d->maxuse_arena;
            used_stack = (size_t)d->maxuse_stack;
#endif
            if (used > space->used) space->used = used;
            if (used_stack > space->used_stack) space->used_stack = used_stack;
            if (d->maxuse_con > space->contacts) space->contacts = d->maxuse_con;
            if (d->maxuse_efc > space->equations) space->equations = d->maxuse_efc;
        }
    }
    free(observation);
    bp_env_close(&env);
    bp_mj_world_destroy(world);
    return 0;
}

#endif /* BPRIOR_BENCH_ENV_H */
