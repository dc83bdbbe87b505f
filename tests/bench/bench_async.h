/* bench_async.h - one actor thread beside one learner thread (BP_RUN_ASYNC): what is left of either's speed alone.
 *
 * Include after bprior.h with its implementation, compiled with BPRIOR_THREADS, and bench_gemm.h.
 *
 *     bench_async_result result;
 *     bench_load world = bench_load_of(10, 2, 50.0, 0.0);       an environment of 50 microseconds per step, or any other
 *     if (!bench_async(&result, &bench_async_small, bench_load_maker(&world))) ... result.share[regime]
 *
 * This environment does a fixed amount of arithmetic per step (it does not take a fixed time: it slows down like a simulator
 * when it has to share a processor). Four speeds are taken in turn, and medians over rounds reported:
 *
 *     actor alone      a synchronous run that never learns                              sequences per second
 *     learner alone    draw a batch, take a step, on a full replay                      steps per second
 *     side by side     both of these at the same time, with nothing in common           what the machine can do
 *     overlapped       an asynchronous run                                              steps per second
 *
 * The ratio of samples to inserts decides who is the slower side. For each regime it is set from the two speeds alone, so that
 * the learner's work takes a half, once or twice the time of the actor's. share is overlapped / slower side alone.
 *
 * Rounds in which the two sides did not get two processors are dropped: other programs ran. */
#ifndef BPRIOR_BENCH_ASYNC_H
#define BPRIOR_BENCH_ASYNC_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_ASYNC_ROUNDS 9

/* ---- an environment of known cost ------------------------------------------------------------------------- */

typedef struct bench_load {
    size_t observation, action;
    uint64_t work;         /* dependent multiplications per step */
    struct timespec sleep; /* and how long it waits for its hardware */
} bench_load;

BPI_NOINLINE uint64_t bench_load_work(uint64_t n, uint64_t x) {
    for (; n > 0; n--) x = x * UINT64_C(6364136223846793005) + 1u;
    return x;
}

/* How many multiplications take a microsecond here. */
static double bench_load_rate(void) {
    double sample[5];
    size_t i;
    volatile uint64_t sink = 1;
    for (i = 0; i < 5; i++) {
        const double start = bench_read(CLOCK_MONOTONIC);
        sink = bench_load_work(2000000, sink);
        sample[i] = 2.0 / (bench_read(CLOCK_MONOTONIC) - start);
    }
    return bench_median(sample, 5);
}

static bp_status bench_load_reset(void *self, uint64_t seed, bp_real *observation) {
    const bench_load *w = (const bench_load *)self;
    size_t i;
    for (i = 0; i < w->observation; i++) observation[i] = BP_R((seed >> i) & 1u);
    return BP_OK;
}

static bp_status bench_load_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    const bench_load *w = (const bench_load *)self;
    const uint64_t x = bench_load_work(w->work, (uint64_t)(action[0] > 0));
    size_t i;
    if (w->sleep.tv_sec || w->sleep.tv_nsec) nanosleep(&w->sleep, NULL);
    for (i = 0; i < w->observation; i++) observation[i] = BP_R(x >> (i % 60) & 1u);
    out->reward = action[0];
    out->discount = BP_R(1);
    out->last = false;
    return BP_OK;
}

static bp_status bench_load_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    const bench_load *w = (const bench_load *)ctx;
    (void)index;
    memset(out, 0, sizeof *out);
    bp_spec_begin(&out->spec, "work");
    if (bp_spec_add_field(&out->spec, "seen", w->observation / 2, error) != BP_OK ||
        bp_spec_add_field(&out->spec, "hidden", w->observation - w->observation / 2, error) != BP_OK ||
        bp_spec_actions_continuous(&out->spec, w->action, -1, 1, error) != BP_OK)
        return BP_ERR_ARGUMENT;
    out->self = ctx;
    out->reset = bench_load_reset;
    out->step = bench_load_step;
    return BP_OK;
}

/* O, A, microseconds of arithmetic and of sleep per step. */
static bench_load bench_load_of(size_t observation, size_t action, double work_us, double sleep_us) {
    bench_load w;
    w.observation = observation;
    w.action = action;
    w.work = (uint64_t)(work_us * bench_load_rate());
    w.sleep.tv_sec = (time_t)(1e-6 * sleep_us);
    w.sleep.tv_nsec = (long)(1e3 * (sleep_us - 1e6 * (double)w.sleep.tv_sec));
    return w;
}

static bp_env_maker bench_load_maker(bench_load *world) {
    bp_env_maker maker;
    memset(&maker, 0, sizeof maker);
    maker.make = bench_load_make;
    maker.ctx = world;
    return maker;
}

/* ---- sizes ---------------------------------------------------------------------------------------------------- */

typedef struct bench_async_sizes {
    const char *name;
    double seconds;        /* of one sample */
    size_t rounds;         /* odd, at most BENCH_ASYNC_ROUNDS */
    size_t batch, samples; /* B, S; T is 10 */
    size_t policy[2], critic[2];
} bench_async_sizes;
static const bench_async_sizes bench_async_small = {"small", 0.4, 9, 32, 4, {64, 64}, {64, 64}};
static const bench_async_sizes bench_async_reference = {"reference", 2.5, 3, 256, 10, {200, 100}, {400, 300}};

enum { BENCH_ASYNC_ACTOR,
       BENCH_ASYNC_BALANCED,
       BENCH_ASYNC_LEARNER,
       BENCH_ASYNC_REGIMES };
static const double bench_async_demand[BENCH_ASYNC_REGIMES] = {0.5, 1.0, 2.0};
static const char *const bench_async_name[BENCH_ASYNC_REGIMES] = {"actor_bound", "balanced", "learner_bound"};

typedef struct bench_async_result {
    size_t rounds;                       /* that count */
    double actor, learner;               /* alone: sequences, steps per second */
    double actor_beside, learner_beside; /* share of that left when both work side by side, with nothing in common */
    double ratio[BENCH_ASYNC_REGIMES];   /* samples per insert */
    double share[BENCH_ASYNC_REGIMES];   /* overlapped / slower side alone */
    double beside[BENCH_ASYNC_REGIMES];  /* overlapped / slower side beside the other */
} bench_async_result;

static bp_run_config bench_async_config(const bench_async_sizes *s, bp_env_maker envs) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    c.envs = envs;
    c.env_steps = UINT64_MAX / 2;
    c.replay_capacity = 5000;
    c.min_sequences = 200;
    c.evaluate_every = 0;
    c.checkpoint_every = 0;
    c.learner.batch = s->batch;
    c.learner.samples = s->samples;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    for (i = 0; i < 2; i++) {
        c.learner.policy.width[i] = c.learner.prior.width[i] = s->policy[i];
        c.learner.critic_width[i] = s->critic[i];
    }
    return c;
}

/* ---- the sides -------------------------------------------------------------------------------------------------- */

typedef struct bench_async_side {
    bp_run *run;
    double seconds, rate;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
    bool failed;
} bench_async_side;

static void *bench_async_act(void *ctx) {
    bench_async_side *side = (bench_async_side *)ctx;
    const double start = bench_read(CLOCK_MONOTONIC);
    const uint64_t before = side->run->replay->inserted;
    double now = start;
    for (; now < start + side->seconds && !side->failed; now = bench_read(CLOCK_MONOTONIC))
        if (bp_run_round(side->run, NULL) != BP_OK) side->failed = true;
    side->rate = (double)(side->run->replay->inserted - before) / (now - start);
    return NULL;
}

static void *bench_async_learn(void *ctx) {
    bench_async_side *side = (bench_async_side *)ctx;
    const double start = bench_read(CLOCK_MONOTONIC);
    double now = start;
    size_t n = 0;
    for (; now < start + side->seconds && !side->failed; now = bench_read(CLOCK_MONOTONIC), n++)
        if (bp_replay_sample(&side->batch, side->run->replay, &side->rng, NULL) != BP_OK ||
            bp_rs0_step(side->run->learner, &side->batch, &side->rng, NULL, NULL) != BP_OK)
            side->failed = true;
    side->rate = (double)n / (now - start);
    return NULL;
}

/* Steps per second of an asynchronous run once it learns. */
static double bench_async_overlap(const bp_run_config *config, double seconds) {
    bp_run *run = NULL;
    double start = 0.0, now = 0.0, rate = 0.0;
    uint64_t before = 0;
    bp_status status = bp_run_create(&run, config, NULL, NULL);
    while (status == BP_OK && (start <= 0.0 || now < start + seconds)) {
        status = bp_run_round(run, NULL);
        now = bench_read(CLOCK_MONOTONIC);
        if (start <= 0.0 && run->learner->steps > 3) {
            start = now;
            before = run->learner->steps;
        }
    }
    if (status == BP_OK) rate = (double)(run->learner->steps - before) / (now - start);
    bp_run_destroy(run);
    return rate;
}

/* Returns 0 if it could be measured. */
static int bench_async(bench_async_result *out, const bench_async_sizes *s, bp_env_maker envs) {
    double actor[BENCH_ASYNC_ROUNDS], learner[BENCH_ASYNC_ROUNDS], actor2[BENCH_ASYNC_ROUNDS], learner2[BENCH_ASYNC_ROUNDS];
    double share[BENCH_ASYNC_REGIMES][BENCH_ASYNC_ROUNDS], beside[BENCH_ASYNC_REGIMES][BENCH_ASYNC_ROUNDS];
    bp_run_config config = bench_async_config(s, envs);
    bench_async_side act, learn;
    bp_error error;
    size_t round, n = 0, k;
    int code = 1;
    memset(out, 0, sizeof *out);
    memset(&act, 0, sizeof act);
    memset(&learn, 0, sizeof learn);
    config.min_sequences = SIZE_MAX / 2;
    act.seconds = learn.seconds = s->seconds;
    learn.rng = bp_rng_make(1, 1);
    if (bp_run_create(&act.run, &config, NULL, &error) != BP_OK || bp_run_create(&learn.run, &config, NULL, &error) != BP_OK) {
        fprintf(stderr, "bench: %s\n", error.text);
        goto end;
    }
    learn.data = (bp_real *)bp_alloc(NULL, bp_batch_reals(&learn.run->replay->config, s->batch) * sizeof(bp_real));
    if (!learn.data) goto end;
    bp_batch_init(&learn.batch, learn.data, &learn.run->replay->config, s->batch);
    while (learn.run->replay->inserted < 500)
        if (bp_run_round(learn.run, NULL) != BP_OK) goto end;

    for (round = 0; round < s->rounds; round++) {
        pthread_t thread;
        double wall, cpu;
        bench_async_act(&act);
        actor[n] = act.rate;
        bench_async_learn(&learn);
        learner[n] = learn.rate;
        wall = bench_read(CLOCK_MONOTONIC), cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID);
        if (pthread_create(&thread, NULL, bench_async_act, &act)) goto end;
        bench_async_learn(&learn);
        pthread_join(thread, NULL);
        wall = bench_read(CLOCK_MONOTONIC) - wall, cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        if (act.failed || learn.failed) goto end;
        if (cpu < 1.9 * wall) continue;
        actor2[n] = act.rate / actor[n];
        learner2[n] = learn.rate / learner[n];
        for (k = 0; k < BENCH_ASYNC_REGIMES; k++) {
            /* A sequences per second of the actor are worth A ratio / B steps */
            const double ratio = bench_async_demand[k] * learner[n] * (double)s->batch / actor[n];
            const double a = actor[n] * ratio / (double)s->batch, l = learner[n], a2 = a * actor2[n], l2 = l * learner2[n];
            double rate;
            config = bench_async_config(s, envs);
            config.mode = BP_RUN_ASYNC;
            config.samples_per_insert = ratio;
            rate = bench_async_overlap(&config, s->seconds);
            if (!(rate > 0.0)) goto end;
            out->ratio[k] = ratio;
            share[k][n] = rate / (a < l ? a : l);
            beside[k][n] = rate / (a2 < l2 ? a2 : l2);
        }
        n++;
    }
    out->rounds = n;
    if (n == 0) {
        fprintf(stderr, "bench: no two processors were free: no figures of overlapped acting and learning\n");
        goto end;
    }
    out->actor = bench_median(actor, n);
    out->learner = bench_median(learner, n);
    out->actor_beside = bench_median(actor2, n);
    out->learner_beside = bench_median(learner2, n);
    for (k = 0; k < BENCH_ASYNC_REGIMES; k++) {
        out->share[k] = bench_median(share[k], n);
        out->beside[k] = bench_median(beside[k], n);
    }
    code = 0;
end:
    if (learn.data) bp_free(NULL, learn.data, bp_batch_reals(&learn.run->replay->config, s->batch) * sizeof(bp_real));
    bp_run_destroy(act.run);
    bp_run_destroy(learn.run);
    return code;
}

/* ---- who waits, sleeps ----------------------------------------------------------------------------------------- */

/* CPU seconds per second of a run in which everybody waits for a slow environment: `step_us` of sleep per step, a team of two
 * threads for the learner, which takes a small step for every sequence. *learning gets the part of it that is the learner's
 * steps. < 0: it could not be measured. */
static double bench_async_idle(const bench_async_sizes *s, double step_us, double seconds, double *learning) {
    bench_load world = bench_load_of(10, 2, 0.0, step_us);
    bp_run_config config = bench_async_config(s, bench_load_maker(&world));
    bp_run *run = NULL;
    bp_profile work;
    double wall, cpu, share = -1.0;
    bp_status status;
    size_t i;
    config.mode = BP_RUN_ASYNC;
    config.min_sequences = 1;
    config.samples_per_insert = (double)s->batch;
    config.threads = 2;
    config.profile = true;
    status = bp_run_create(&run, &config, NULL, NULL);
    wall = bench_read(CLOCK_MONOTONIC), cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID);
    while (status == BP_OK && bench_read(CLOCK_MONOTONIC) < wall + seconds) status = bp_run_round(run, NULL);
    wall = bench_read(CLOCK_MONOTONIC) - wall, cpu = bench_read(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (status == BP_OK) {
        share = cpu / wall;
        bp_run_profile(&work, NULL, run);
        *learning = 0.0;
        for (i = BP_PHASE_NOISE; i <= BP_PHASE_ADAM; i++) *learning += work.seconds[i] / wall;
    }
    bp_run_destroy(run);
    return share;
}
#endif
