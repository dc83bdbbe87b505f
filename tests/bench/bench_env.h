/* bench_env.h - control steps per second of the MuJoCo environments, against MuJoCo alone.
 *
 * Include after the implementations of bprior.h and bprior_mujoco.h.
 *
 *     bench_env_result result[BENCH_ENVS];
 *     size_t n = bench_env_all(result, 41);
 *
 * What is compared: the same episode twice, from the same state with the same actions - once through step() of the
 * environment, once as a bare loop of mj_step2 and mj_step1 on a copy of its mjData. Both compute the same
 * trajectory (verified at the end of every round), so their ratio is what observation, reward and error
 * trapping cost. Rounds alternate in one process, and medians are reported: a busy machine slows both.
 */
#ifndef BPRIOR_BENCH_ENV_H
#define BPRIOR_BENCH_ENV_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_ENVS 4
#define BENCH_ENV_ROUNDS 101
#define BENCH_ENV_STEPS 100

typedef struct bench_env_result {
    const char *name;
    double env_steps;  /* control steps per second through bp_env, median */
    double bare_steps; /* control steps per second of mj_step2 + mj_step1, median */
    double ratio;      /* median over rounds of (env time / bare time): 1 would be free */
    double reset_us;   /* microseconds per reset, median */
    size_t substeps;   /* physics steps per control step */
    int same;          /* did both loops end in the same state, bit for bit? */
} bench_env_result;

static double bench_env_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int bench_env_order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bench_env_median(double *x, size_t n) {
    qsort(x, n, sizeof *x, bench_env_order);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

/* One environment of `world`, closed at the end. Returns 0 on success. */
static int bench_env_one(bench_env_result *result, const char *name, const bp_mj_world *world, size_t substeps,
                         size_t rounds) {
    static double env_rate[BENCH_ENV_ROUNDS], bare_rate[BENCH_ENV_ROUNDS], ratio[BENCH_ENV_ROUNDS],
        reset[BENCH_ENV_ROUNDS];
    static bp_real action[BENCH_ENV_STEPS][BP_MAX_ACTION], observation[1024];
    const mjModel *m = bp_mj_world_model(world);
    bp_rng rng = bp_rng_make(1, 2);
    mjData *bare;
    bp_env env;
    bp_step out;
    size_t round, t, i, s;

    memset(result, 0, sizeof *result);
    result->name = name;
    result->substeps = substeps;
    result->same = 1;
    if (rounds > BENCH_ENV_ROUNDS) rounds = BENCH_ENV_ROUNDS;
    if (rounds == 0 || bp_mj_env_make(world, &env, NULL) != BP_OK) return 1;
    bare = mj_makeData(m);
    if (!bare || env.spec.observation_size > 1024) {
        if (bare) mj_deleteData(bare);
        bp_env_close(&env);
        return 1;
    }

    for (round = 0; round < rounds; round++) {
        double start, env_time = 0, bare_time = 0;
        size_t steps = 0, pass;
        int q;
        for (t = 0; t < BENCH_ENV_STEPS; t++)
            for (i = 0; i < env.spec.action_size; i++) action[t][i] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);

        /* How long does this episode last? Found out by playing it, which also warms the caches. */
        start = bench_env_now();
        env.reset(env.self, round, observation);
        reset[round] = 1e6 * (bench_env_now() - start);
        do env.step(env.self, action[steps], observation, &out);
        while (++steps < BENCH_ENV_STEPS && !out.last);

        env.reset(env.self, round, observation);
        mj_copyData(bare, m, bp_mj_env_data(&env));
        for (pass = 0; pass < 2; pass++) {
            start = bench_env_now();
            if (pass == round % 2) { /* who goes first alternates */
                for (t = 0; t < steps; t++) env.step(env.self, action[t], observation, &out);
                env_time = bench_env_now() - start;
            } else {
                for (t = 0; t < steps; t++) {
                    for (i = 0; i < env.spec.action_size; i++) bare->ctrl[i] = (mjtNum)action[t][i];
                    for (s = 0; s < substeps; s++) {
                        mj_step2(m, bare);
                        mj_step1(m, bare);
                    }
                }
                bare_time = bench_env_now() - start;
            }
        }
        for (q = 0; q < (int)m->nq; q++)
            if (bare->qpos[q] != bp_mj_env_data(&env)->qpos[q]) result->same = 0;
        env_rate[round] = (double)steps / env_time;
        bare_rate[round] = (double)steps / bare_time;
        ratio[round] = env_time / bare_time;
    }
    result->env_steps = bench_env_median(env_rate, rounds);
    result->bare_steps = bench_env_median(bare_rate, rounds);
    result->ratio = bench_env_median(ratio, rounds);
    result->reset_us = bench_env_median(reset, rounds);
    mj_deleteData(bare);
    bp_env_close(&env);
    return 0;
}

/* All environments; `rounds` episodes each (odd, at most BENCH_ENV_ROUNDS). Returns how many results were filled. */
static size_t bench_env_all(bench_env_result result[BENCH_ENVS], size_t rounds) {
    bp_mj_task point = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    bp_mj_task ant = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    bp_mj_world *world;
    size_t n = 0;

    if (bp_mj_world_create(&world, &point, NULL, NULL) == BP_OK) {
        n += !bench_env_one(&result[n], "mj_pointmass", world, point.n_substeps, rounds);
        bp_mj_world_destroy(world);
    }
    point.n_substeps = 1; /* the suite's control rate: shows the overhead of a control step at its largest */
    point.episode_steps = 1000;
    if (bp_mj_world_create(&world, &point, NULL, NULL) == BP_OK) {
        n += !bench_env_one(&result[n], "mj_pointmass, 1 substep", world, point.n_substeps, rounds);
        bp_mj_world_destroy(world);
    }
    if (bp_mj_world_create(&world, &ant, NULL, NULL) == BP_OK) {
        n += !bench_env_one(&result[n], "mj_ant", world, ant.n_substeps, rounds);
        bp_mj_world_destroy(world);
    }
    ant.observe = BP_MJ_OBSERVE_COMPACT;
    if (bp_mj_world_create(&world, &ant, NULL, NULL) == BP_OK) {
        n += !bench_env_one(&result[n], "mj_ant, compact", world, ant.n_substeps, rounds);
        bp_mj_world_destroy(world);
    }
    return n;
}

#endif /* BPRIOR_BENCH_ENV_H */
