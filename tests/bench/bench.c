/* bench.c - what `make bench` prints, one figure per line, and writes to build/bench.json.
 *
 * Each figure is the median of repeated samples in one run. Figures in the same units can be compared with each
 * other; with figures of another run or machine only through their ratios. Wall-clock time throughout, because threads
 * are part of what is measured: use an idle machine.
 *
 * Compiled with BENCH_MUJOCO and MuJoCo's flags it also measures the MuJoCo environments.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "bench_gemm.h"
#include "bench_learn.h"
#ifdef BPRIOR_THREADS
#include "bench_async.h"
#endif
#ifdef BENCH_MUJOCO
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "bench_env.h"
#endif

static FILE *json;
static bool json_first = true;

/* One figure, to both places. */
static void report(const char *key, double value, const char *unit, const char *note) {
    printf("%-36s %12.4g", key, value);
    if (*note) printf(" %-9s %s\n", unit, note);
    else printf("%s%s\n", *unit ? " " : "", unit); /* no blanks at line ends: docs/results keeps this */
    fflush(stdout);
    if (json) fprintf(json, "%s\n  \"%s\": %.6g", json_first ? "{" : ",", key, value);
    json_first = false;
}

/* ---- the library's own environments --------------------------------------------- */

static double env_rate(bp_env *env) {
    static bp_real observation[256], action[BP_MAX_ACTION];
    bp_step step;
    double sample[21];
    size_t i, k, episode = 0;
    env->reset(env->self, 0, observation);
    for (k = 0; k < 21; k++) {
        const double start = bench_seconds();
        for (i = 0; i < 20000; i++) {
            action[0] = (i & 8) ? BP_R(0.5) : BP_R(-0.5);
            env->step(env->self, action, observation, &step);
            if (step.last) env->reset(env->self, ++episode, observation);
        }
        sample[k] = 20000.0 / (bench_seconds() - start);
    }
    env->close(env->self);
    return bench_median(sample, 21);
}

/* ---- acting and learning at the same time ----------------------------------------- */

#ifdef BPRIOR_THREADS
static void bench_overlap(double step_us) {
    bench_load world = bench_load_of(10, 2, step_us, 0.0);
    bench_async_result result;
    char key[96], note[160];
    size_t k;
    if (bench_async(&result, &bench_async_small, bench_load_maker(&world))) return;
    for (k = 0; k < BENCH_ASYNC_REGIMES; k++) {
        snprintf(key, sizeof key, "async_share.%s.%g_us", bench_async_name[k], step_us);
        snprintf(note, sizeof note, "of the slower side alone, %.1f samples per insert; %.3f of it beside the other", result.ratio[k],
                 result.beside[k]);
        report(key, result.share[k], "", note);
    }
}

static void bench_idle(void) {
    double learning = 0.0, cpu = bench_async_idle(&bench_async_small, 30000.0, 3.0, &learning);
    char note[160];
    if (cpu < 0.0) return;
    snprintf(note, sizeof note, "a world of 30 ms per step, two threads learning: %.2f %% of a processor, the steps' own %.2f %% included",
             100.0 * cpu, 100.0 * learning);
    report("async_idle_cpu", cpu, "cpus", note);
}
#endif

/* ---- MuJoCo's ----------------------------------------------------------------------- */

#ifdef BENCH_MUJOCO
static void bench_mujoco(void) {
    static const char *const ways[BENCH_WAYS] = {"", ".2_threads", ".bare", ".bare.2_threads", ".pool", ".pool.2_threads"};
    char key[96], note[160];
    size_t i, k;
    for (i = 0; i < BENCH_BODIES; i++) {
        bench_env_result result;
        if (bench_bodies[i].rounds == 0 || bench_env_speed(&result, &bench_bodies[i])) continue;
        if (!result.same) fprintf(stderr, "bench: %s: the loops ended in different states\n", result.name);
        for (k = 0; k < BENCH_WAYS; k++) {
            snprintf(key, sizeof key, "env_steps_per_s.%s%s", result.name, ways[k]);
            if (k >= BENCH_WAY_BARE && k < BENCH_WAY_POOL) snprintf(note, sizeof note, "mj_step2 + mj_step1");
            else snprintf(note, sizeof note, "%.3f x the time of the bare loop, %.3f x its CPU time", result.ratio[k], result.cpu[k]);
            report(key, result.rate[k], "1/s", note);
        }
    }
    for (i = 0; i < BENCH_BODIES; i++) {
        bench_env_space m;
        if (bench_env_memory(&m, &bench_bodies[i], 21, 100)) continue;
        snprintf(key, sizeof key, "env_memory.%s", bench_bodies[i].name);
        snprintf(note, sizeof note, "buffer %zu; stack %zu, used %zu; %d contacts, %d rows in %zu steps", m.buffer, m.stack,
                 m.used, m.contacts, m.equations, m.steps);
        report(key, (double)(m.data + m.own), "bytes", note);
    }
}
#endif

int main(int argc, char **argv) {
    static const bench_shape shapes[] = {{false, false, 2560, 256, 256}, {false, false, 256, 64, 64}, {false, false, 100, 64, 64}};
    static const bp_kernel kernels[] = {BP_KERNEL_AUTO, BP_KERNEL_CBLAS};
    const char *path = argc > 2 && !strcmp(argv[1], "--out") ? argv[2] : NULL;
    const size_t numbers = 2560 * 256, wide[2] = {256, 256}, narrow[2] = {64, 64};
    bp_real *a = (bp_real *)bp_alloc(NULL, numbers * sizeof *a), *b = (bp_real *)bp_alloc(NULL, numbers * sizeof *b);
    bp_real *c = (bp_real *)bp_alloc(NULL, numbers * sizeof *c), *pack = (bp_real *)bp_alloc(NULL, bp_compute_bytes());
    double macs = 0.0, one, two, solve[10], steps[10];
    bp_rng rng = bp_rng_make(1, 1);
    network net;
    bp_compute compute;
    bp_env env;
    char key[96], note[96];
    size_t i, k;

    if (path && (json = fopen(path, "w")) == NULL) {
        fprintf(stderr, "bench: cannot write %s\n", path);
        return 1;
    }
    if (!a || !b || !c || !pack) return 1;
    bp_rng_normals(a, &rng, numbers);
    bp_rng_normals(b, &rng, numbers);

    report("peak_fma_gflops", bench_peak(), "GFLOP/s", "one core, registers only");
    for (k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
        if (bp_compute_init(&compute, kernels[k], pack, NULL) != BP_OK) continue;
        for (i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            double share, seconds = bench_gemm(&compute, &shapes[i], a, b, c, NULL, BP_ACT_NONE, &share);
            const double g = 2e-9 * (double)(shapes[i].m * shapes[i].n * shapes[i].k) / seconds;
            snprintf(key, sizeof key, "gemm_gflops.%s.%zux%zux%zu", bp_kernel_name(compute.kernel), shapes[i].m, shapes[i].n,
                     shapes[i].k);
            snprintf(note, sizeof note, "%.0f %% of the peak", 100.0 * share);
            report(key, g, "GFLOP/s", note);
            if (k == 0 && i == 0) report("gemm_share_of_peak", share, "", "at 2560x256x256, sampled in turn");
        }
    }

    one = learner_step(&reference, 1, 11, &macs);
    two = learner_step(&reference, 2, 11, NULL);
    report("rs0_step_macs", macs, "", "multiply-adds of the reference step");
    report("rs0_step_ms", 1e3 * one, "ms", "");
    if (bp_compute_init(&compute, BP_KERNEL_AUTO, pack, NULL) == BP_OK) {
        const double product_macs = (double)(shapes[0].m * shapes[0].n * shapes[0].k);
        double over[9], product[9], step;
        for (i = 0; i < 9; i++) {
            for (k = 0; k < 9; k++) product[k] = bench_gemm_sample(&compute, &shapes[0], 1, a, b, c, NULL, BP_ACT_NONE);
            step = learner_step(&reference, 1, 3, NULL);
            over[i] = step * product_macs / bench_median(product, 9) / macs;
        }
        report("rs0_step_over_gemm", bench_median(over, 9), "", "the step over its multiply-adds at the first product's rate, in turn");
    }
    snprintf(note, sizeof note, "%.2f x faster than one thread", one / two);
    report("rs0_step_ms.2_threads", 1e3 * two, "ms", note);
    one = learner_step(&small, 1, 101, &macs);
    two = learner_step(&small, 2, 101, NULL);
    report("rs0_small_macs", macs, "", "");
    report("rs0_small_ms", 1e3 * one, "ms", "");
    snprintf(note, sizeof note, "%.2f x faster than one thread", one / two);
    report("rs0_small_ms.2_threads", 1e3 * two, "ms", note);

    report("sac_us", 1e6 * learner_step(&sac_64, 1, 501, NULL), "us", "SAC: 64-64, batch 100, with drawing the batch");
    report("sac_us.256", 1e6 * learner_step(&sac_256, 1, 101, NULL), "us", "256-256, batch 256");

    if (mlp_begin(&net, 60, wide, 8, 256)) report("mlp_us", 1e6 * network_train(&net), "us", "60-256-256-8, batch 256, with Adam");
    network_end(&net);
    if (lstm_begin(&net, 60, 128, 8, 10, 64)) report("lstm_us", 1e6 * network_train(&net), "us", "LSTM 60-128-8, T = 10, batch 64");
    network_end(&net);
    if (mlp_begin(&net, 3, narrow, 1, 1)) report("actor_ns.3-64-64-1", 1e9 * network_act(&net), "ns", "batch 1");
    network_end(&net);
    if (mlp_begin(&net, 60, wide, 8, 1)) report("actor_ns.60-256-256-8", 1e9 * network_act(&net), "ns", "batch 1");
    network_end(&net);

    for (i = 0; i < 10; i++) solve[i] = pendulum_solve(i + 1, &steps[i]);
    bench_median(solve, 10); /* sorts */
    snprintf(note, sizeof note, "median of 10 seeds; environment steps: median %.0f", bench_median(steps, 10));
    report("pendulum_solve_s", 0.5 * (solve[4] + solve[5]), "s", note);

    if (bp_pendulum_env(&env, NULL, NULL, NULL) == BP_OK) report("env_steps_per_s.pendulum", env_rate(&env), "1/s", "");
    if (bp_pointmass_env(&env, NULL, NULL, NULL) == BP_OK) report("env_steps_per_s.pointmass", env_rate(&env), "1/s", "");
#ifdef BPRIOR_THREADS
    bench_overlap(50.0);
    bench_overlap(5.0);
    bench_idle();
#endif
#ifdef BENCH_MUJOCO
    if (bp_mj_init(NULL) == BP_OK) bench_mujoco();
#endif
    if (json) {
        fprintf(json, "\n}\n");
        fclose(json);
        printf("written to %s\n", path);
    }
    return 0;
}
