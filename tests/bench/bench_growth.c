/* bench_growth.c - how time and memory grow: what `make bench-growth` measures and draws.
 *
 *     bench_growth --out DIR [--only step|replay|pool|checkpoint|actors|run]
 *
 * One CSV file per curve; docs/results/growth/growth.gp draws them, README.md beside it reads them. Each curve comes with what
 * it is expected to be: time over multiply-adds (flat), the machine's own latency at that size, its own disk. Times are medians
 * of repeated samples of wall-clock time, so use an idle machine; all of it takes three minutes.
 *
 * Compiled with BENCH_MUJOCO and MuJoCo's flags it also measures a pool of ants.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mallinfo2 */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "bench_gemm.h"
#ifdef BENCH_MUJOCO
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#endif
#include <sched.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static const char *out_dir = ".";

/* ---- measuring ------------------------------------------------------------------------------------------------------------------ */

/* Bytes that the program has from the heap now, by malloc's own account. NaN where it gives none. */
static double heap_bytes(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    const struct mallinfo2 m = mallinfo2();
    return (double)m.uordblks + (double)m.hblkhd;
#else
    return (double)NAN;
#endif
}

/* Bytes of the program that are in memory now, by the system's account. */
static double resident_bytes(void) {
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &total, &resident) != 2) resident = 0;
        fclose(f);
    }
    return resident ? (double)resident * (double)sysconf(_SC_PAGESIZE) : (double)NAN;
}

enum { MOST_SAMPLES = 201 };

/* Median seconds of work(ctx): samples until `budget` seconds are spent, 5 at least, after one that does not count. */
static double measure(void (*work)(void *), void *ctx, double budget) {
    double sample[MOST_SAMPLES], begin;
    size_t n = 0;
    work(ctx);
    begin = bench_read(CLOCK_MONOTONIC);
    while (n < 5 || (n < MOST_SAMPLES && bench_read(CLOCK_MONOTONIC) - begin < budget)) {
        const double start = bench_read(CLOCK_MONOTONIC);
        work(ctx);
        sample[n++] = bench_read(CLOCK_MONOTONIC) - start;
    }
    return bench_median(sample, n);
}

/* Threads that are made between these two run on the second processor only, the caller after them on the first only. Left alone
 * some kernels keep both threads of a team on one processor for seconds; which of the two happens would be all that is measured. */
static void pin(size_t cpu) {
#ifdef __linux__
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set); /* fails where there is but one */
#else
    (void)cpu;
#endif
}
static void pin_others(void) { pin(1); }
static void pin_me(void) { pin(0); }

static FILE *csv_open(const char *name, const char *columns) {
    char path[1200];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s.csv", out_dir, name);
    f = fopen(path, "w");
    if (!f) {
        fprintf(stderr, "bench_growth: cannot write %s\n", path);
        exit(1);
    }
    fprintf(f, "%s\n", columns);
    printf("%s: %s\n", name, columns);
    return f;
}

/* A row of numbers, NaN as nothing. */
static void csv_row(FILE *f, size_t n, const double *x) {
    size_t i;
    for (i = 0; i < n; i++) {
        char text[40] = "";
        if (x[i] == x[i]) snprintf(text, sizeof text, "%.6g", x[i]);
        fprintf(f, "%s%s", i ? "," : "", text);
        printf("%s%s", i ? "," : "  ", text);
    }
    fprintf(f, "\n");
    printf("\n");
    fflush(f);
    fflush(stdout);
}
#define CSV(f, ...)                                     \
    do {                                                \
        const double row_[] = {__VA_ARGS__};            \
        csv_row(f, sizeof row_ / sizeof row_[0], row_); \
    } while (0)

static void fail(const bp_error *error) {
    fprintf(stderr, "bench_growth: %s\n", error->text);
    exit(1);
}

/* ---- a learner step -------------------------------------------------------------------------------------------------------------- */

typedef struct shape {
    size_t batch, width, length, samples, observation;
    size_t shards; /* 0: the default */
    bool plain;    /* ReLU without layer norm: what is left is nearly all matrix products */
    size_t lstm;   /* units of policy and critic; 0: none */
} shape;
static const shape middle = {64, 64, 10, 4, 16, 0, false, 0};

enum { ACTIONS = 4 };

typedef struct stepper {
    bp_rs0 *learner;
    bp_batch batch;
    bp_rng rng;
    bp_team *team;
} stepper;

static void step_once(void *ctx) {
    stepper *s = (stepper *)ctx;
    bp_error error;
    if (bp_rs0_step(s->learner, &s->batch, &s->rng, s->team, &error) != BP_OK) fail(&error);
}

typedef struct cost {
    double seconds, macs, bytes, allocated;
} cost;

static cost learner_cost(const shape *at, size_t threads) {
    bp_rs0_config config = bp_rs0_config_default();
    bp_replay_config rows;
    bp_spec spec;
    bp_error error;
    stepper s;
    bp_real *data;
    size_t i, n, bytes;
    cost c;
    double before;
    memset(&s, 0, sizeof s);
    bp_spec_begin(&spec, "growth");
    bp_spec_add_field(&spec, "seen", (at->observation + 1) / 2, NULL);
    bp_spec_add_field(&spec, "hidden", at->observation / 2, NULL);
    bp_spec_actions_continuous(&spec, ACTIONS, -1, 1, NULL);
    config.batch = at->batch;
    config.length = at->length;
    config.samples = at->samples;
    config.prior_kind = BP_PRIOR_LEARNED;
    config.prior.fields[0] = "seen";
    for (i = 0; i < 2; i++) config.policy.width[i] = config.prior.width[i] = config.critic_width[i] = at->width;
    if (at->shards) config.shards = at->shards;
    if (at->plain) {
        config.policy.layer_norm = config.prior.layer_norm = config.critic_layer_norm = false;
        config.policy.activation = config.prior.activation = config.critic_activation = BP_ACT_RELU;
    }
    config.policy.lstm = config.critic_lstm = at->lstm;
    if (bp_rs0_size(&spec, &config, &bytes, &error) != BP_OK) fail(&error);
    before = heap_bytes();
    if (bp_rs0_create(&s.learner, &spec, &config, NULL, &error) != BP_OK) fail(&error);
    c.allocated = heap_bytes() - before;
    c.bytes = (double)bytes;
    pin_others();
    if (bp_team_create(&s.team, threads, NULL, &error) != BP_OK) fail(&error);
    pin_me();
    rows = bp_rs0_replay_config(s.learner);
    n = bp_batch_reals(&rows, at->batch);
    data = (bp_real *)bp_alloc(NULL, n * sizeof *data);
    if (!data) exit(1);
    bp_batch_init(&s.batch, data, &rows, at->batch);
    s.rng = bp_rng_make(1, 1);
    bp_rng_normals(data, &s.rng, n);
    for (i = 0; i < at->length * at->batch; i++) {
        s.batch.discount[i] = s.batch.mask[i] = BP_R(1);
        s.batch.log_mu[i] = BP_R(-2);
    }
    c.seconds = measure(step_once, &s, 0.2);
    c.macs = (double)bp_rs0_macs(s.learner);
    bp_free(NULL, data, n * sizeof *data);
    bp_team_destroy(s.team);
    bp_rs0_destroy(s.learner);
    return c;
}

/* The yardstick: nanoseconds of one multiply-add in a product of rows x width by width x width. */
static double gemm_ns(size_t rows, size_t width) {
    const bench_shape s = {false, false, rows, width, width};
    const size_t tall = rows * width, square = width * width;
    bp_real *a = (bp_real *)bp_alloc(NULL, tall * sizeof *a), *b = (bp_real *)bp_alloc(NULL, square * sizeof *b);
    bp_real *c = (bp_real *)bp_alloc(NULL, tall * sizeof *c), *pack = (bp_real *)bp_alloc(NULL, bp_compute_bytes());
    bp_compute compute;
    bp_rng rng = bp_rng_make(1, 1);
    double seconds;
    if (!a || !b || !c || !pack || bp_compute_init(&compute, BP_KERNEL_AUTO, pack, NULL) != BP_OK) exit(1);
    bp_rng_normals(a, &rng, tall);
    bp_rng_normals(b, &rng, square);
    seconds = bench_gemm(&compute, &s, a, b, c, NULL, BP_ACT_NONE, NULL);
    bp_free(NULL, a, tall * sizeof *a);
    bp_free(NULL, b, square * sizeof *b);
    bp_free(NULL, c, tall * sizeof *c);
    bp_free(NULL, pack, bp_compute_bytes());
    return 1e9 * seconds / (double)(tall * width);
}

/* So many shards that what one works on stays in a core's second-level cache. */
static size_t small_shards(const shape *at) {
    size_t shards = 2;
    while (shards < at->batch && at->batch * at->length * at->samples / shards > 1280) shards *= 2;
    return shards;
}

/* The curve along one member of `shape`. */
static void step_curve(const char *name, size_t offset, const size_t *x, size_t n, bool plain, size_t lstm) {
    FILE *f = csv_open(name, "x,ms,ms_2_threads,ms_small_shards,ms_plain,gemm_ns_per_mac,macs,bytes,allocated");
    size_t i;
    for (i = 0; i < n; i++) {
        shape at = middle;
        cost one, two;
        double small = (double)NAN, bare = (double)NAN;
        at.lstm = lstm;
        memcpy((char *)&at + offset, &x[i], sizeof(size_t));
        one = learner_cost(&at, 1);
        two = learner_cost(&at, 2);
        if (small_shards(&at) > 2 && !plain) {
            shape other = at;
            other.shards = small_shards(&at);
            small = learner_cost(&other, 1).seconds;
        }
        if (plain) {
            shape other = at;
            other.plain = true;
            bare = learner_cost(&other, 1).seconds;
        }
        CSV(f, (double)x[i], 1e3 * one.seconds, 1e3 * two.seconds, 1e3 * small, 1e3 * bare, gemm_ns(640, at.width), one.macs,
            one.bytes, one.allocated);
    }
    fclose(f);
}

static void step_curves(void) {
    FILE *machine = csv_open("machine", "peak_gflops,gemm_ns_per_mac");
    static const size_t batch[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
    static const size_t width[] = {16, 32, 64, 128, 256, 512, 1024};
    static const size_t ragged[] = {20, 30, 50, 100, 200, 300, 500, 1000};
    static const size_t length[] = {1, 2, 3, 5, 10, 20, 40, 80};
    static const size_t samples[] = {1, 2, 4, 8, 16, 32, 64};
    static const size_t observation[] = {3, 8, 16, 32, 64, 128, 256, 512, 1024};
    CSV(machine, bench_peak(), gemm_ns(2560, 256));
    fclose(machine);
#define CURVE(name, member, x, plain, lstm) \
    step_curve(name, offsetof(shape, member), x, sizeof(x) / sizeof(x)[0], plain, lstm)
    CURVE("step_batch", batch, batch, false, 0);
    CURVE("step_width", width, width, true, 0);
    CURVE("step_width_ragged", width, ragged, true, 0);
    CURVE("step_length", length, length, false, 0);
    CURVE("step_length_lstm", length, length, false, 64);
    CURVE("step_samples", samples, samples, false, 0);
    CURVE("step_observation", observation, observation, false, 0);
#undef CURVE
}

/* ---- replay ------------------------------------------------------------------------------------------------------------------------ */

typedef struct filler {
    bp_replay *replay;
    bp_sequence sequence;
    bp_batch batch;
    bp_rng rng;
    size_t inserts;
} filler;

static void insert_some(void *ctx) {
    filler *f = (filler *)ctx;
    size_t i;
    for (i = 0; i < f->inserts; i++) bp_replay_insert(f->replay, &f->sequence, NULL);
}

static void sample_one(void *ctx) {
    filler *f = (filler *)ctx;
    bp_replay_sample(&f->batch, f->replay, &f->rng, NULL);
}

/* The machine's own price for what sampling does: touch `lines` lines in a row at each of 256 random places, where the address of
 * one place does not depend on the contents of another. */
typedef struct prober {
    const char *data;
    size_t slots, stride, lines, sum;
    bp_rng rng;
} prober;
static void probe(void *ctx) {
    prober *p = (prober *)ctx;
    size_t i, k;
    for (i = 0; i < 256; i++) {
        const volatile char *at = p->data + bp_rng_index(&p->rng, p->slots) * p->stride;
        for (k = 0; k < p->lines; k++) p->sum += (size_t)at[64 * k];
    }
}

/* The machine's own price for what inserting does: write as many bytes, one after the other. */
static void set_all(void *ctx) {
    filler *f = (filler *)ctx;
    memset(f->replay->data, 1, f->replay->count * f->replay->stride * sizeof(bp_real));
}

/* Sampling once more, from memory in pages of 2 MB where the system grants them: what do small pages cost? Seconds per sequence. */
static double sample_huge(const bp_replay_config *config, size_t bytes, filler *f) {
    double seconds = (double)NAN;
#ifdef MADV_HUGEPAGE
    const size_t page = (size_t)2 << 20, total = (bytes + 2 * page - 1) / page * page;
    char *memory = (char *)mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;
    if (memory == MAP_FAILED) return seconds;
    at = memory + (page - (uintptr_t)memory % page) % page;
    if (madvise(at, total - page, MADV_HUGEPAGE) == 0 && bp_replay_init(&f->replay, at, total - page, config, NULL) == BP_OK) {
        f->inserts = config->capacity;
        insert_some(f);
        seconds = measure(sample_one, f, 0.1) / 256.0;
    }
    munmap(memory, total);
#else
    (void)config;
    (void)bytes;
    (void)f;
#endif
    return seconds;
}

static void replay_curve(const char *name, size_t O, size_t A, size_t most) {
    static const size_t counts[] = {100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000};
    FILE *file = csv_open(name, "sequences,steps,bytes,allocated,create_s,insert_ns,set_ns,sample_ns,sample_huge_ns,touch_ns");
    bp_spec spec;
    size_t i;
    bp_spec_begin(&spec, "growth");
    bp_spec_add_field(&spec, "x", O, NULL);
    bp_spec_actions_continuous(&spec, A, -1, 1, NULL);
    for (i = 0; i < sizeof counts / sizeof counts[0] && counts[i] <= most; i++) {
        bp_replay_config config = bp_replay_config_default(&spec);
        bp_real *data, *batch;
        bp_error error;
        double before, start, allocated, create, insert, set, sample, huge, touch;
        size_t bytes, k;
        prober p;
        filler f;
        config.capacity = counts[i];
        data = (bp_real *)bp_alloc(NULL, bp_sequence_reals(&config) * sizeof *data);
        batch = (bp_real *)bp_alloc(NULL, bp_batch_reals(&config, 256) * sizeof *data);
        if (!data || !batch) exit(1);
        bp_sequence_init(&f.sequence, data, &config);
        for (k = 0; k < config.length; k++) bp_sequence_add(&f.sequence, data, BP_R(-1), BP_R(1), BP_R(1), data);
        bp_batch_init(&f.batch, batch, &config, 256);
        f.rng = bp_rng_make(1, 1);
        if (bp_replay_size(&config, &bytes, &error) != BP_OK) fail(&error);
        before = heap_bytes();
        start = bench_read(CLOCK_MONOTONIC);
        if (bp_replay_create(&f.replay, &config, NULL, &error) != BP_OK) fail(&error);
        create = bench_read(CLOCK_MONOTONIC) - start;
        allocated = heap_bytes() - before;
        f.inserts = counts[i];
        insert_some(&f);
        f.inserts = counts[i] < 10000 ? 1000 : counts[i] / 10;
        insert = measure(insert_some, &f, 0.1) / (double)f.inserts;
        sample = measure(sample_one, &f, 0.1) / 256.0;
        memset(&p, 0, sizeof p);
        p.data = (const char *)f.replay->data;
        p.slots = counts[i];
        p.stride = f.replay->stride * sizeof(bp_real);
        p.lines = p.stride / 64;
        p.rng = f.rng;
        touch = measure(probe, &p, 0.1) / 256.0;
        set = measure(set_all, &f, 0.1) / (double)counts[i];
        bp_replay_destroy(f.replay);
        huge = sample_huge(&config, bytes, &f);
        CSV(file, (double)counts[i], (double)(counts[i] * config.length), (double)bytes, allocated, create, 1e9 * insert,
            1e9 * set, 1e9 * sample, 1e9 * huge, 1e9 * touch);
        bp_free(NULL, data, bp_sequence_reals(&config) * sizeof *data);
        bp_free(NULL, batch, bp_batch_reals(&config, 256) * sizeof *data);
    }
    fclose(file);
}

/* Against the batch, from a replay of 10^5 sequences: time-first rows are far apart in a large batch. */
static void replay_batch_curve(void) {
    static const size_t batches[] = {8, 16, 32, 64, 128, 256, 512, 1000, 1024, 2000, 2048, 4000, 4096};
    FILE *file = csv_open("replay_batch", "batch,sample_ns");
    bp_replay_config config;
    bp_real *data;
    bp_error error;
    bp_spec spec;
    filler f;
    size_t i, k;
    bp_spec_begin(&spec, "growth");
    bp_spec_add_field(&spec, "x", 16, NULL);
    bp_spec_actions_continuous(&spec, ACTIONS, -1, 1, NULL);
    config = bp_replay_config_default(&spec);
    config.capacity = 100000;
    data = (bp_real *)bp_alloc(NULL, bp_sequence_reals(&config) * sizeof *data);
    if (!data) exit(1);
    bp_sequence_init(&f.sequence, data, &config);
    for (k = 0; k < config.length; k++) bp_sequence_add(&f.sequence, data, BP_R(-1), BP_R(1), BP_R(1), data);
    if (bp_replay_create(&f.replay, &config, NULL, &error) != BP_OK) fail(&error);
    f.inserts = config.capacity;
    insert_some(&f);
    f.rng = bp_rng_make(1, 1);
    for (i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        bp_real *batch = (bp_real *)bp_alloc(NULL, bp_batch_reals(&config, batches[i]) * sizeof *data);
        if (!batch) exit(1);
        bp_batch_init(&f.batch, batch, &config, batches[i]);
        CSV(file, (double)batches[i], 1e9 * measure(sample_one, &f, 0.1) / (double)batches[i]);
        bp_free(NULL, batch, bp_batch_reals(&config, batches[i]) * sizeof *data);
    }
    fclose(file);
    bp_replay_destroy(f.replay);
    bp_free(NULL, data, bp_sequence_reals(&config) * sizeof *data);
}

static void replay_curves(void) {
    replay_curve("replay_pendulum", 3, 1, 1000000);
    replay_curve("replay_ant", 60, 8, 300000);
    replay_batch_curve();
}

/* ---- many environments -------------------------------------------------------------------------------------------------------------- */

typedef struct swimmer {
    bp_pool *pool;
    bp_real *action; /* [ROUNDS][N][A] or NULL: leave them at what they are */
    size_t steps, at;
} swimmer;
enum { ROUNDS = 16 };

/* The same steps, but 16 of one environment before the next has its turn: what it works on stays near. */
static void swim_in_turn(void *ctx) {
    swimmer *s = (swimmer *)ctx;
    bp_pool *p = s->pool;
    const size_t N = p->config.envs, A = p->spec.action_size, O = p->spec.observation_size;
    size_t i, t;
    for (i = 0; i < N; i++)
        for (t = 0; t < ROUNDS; t++) {
            bp_step out;
            if (p->env[i].step(p->env[i].self, s->action + (t * N + i) * A, p->arrived + i * O, &out) != BP_OK || out.last)
                p->env[i].reset(p->env[i].self, s->at++, p->arrived + i * O);
        }
}

static void swim(void *ctx) {
    swimmer *s = (swimmer *)ctx;
    const size_t cells = s->pool->config.envs * s->pool->spec.action_size;
    bp_error error;
    size_t t;
    for (t = 0; t < s->steps; t++) {
        if (s->action) memcpy(s->pool->action, s->action + s->at++ % ROUNDS * cells, cells * sizeof(bp_real));
        if (bp_pool_step(s->pool, &error) != BP_OK) fail(&error);
    }
}

/* @param per_step seconds of one step, about: how much work is one sample? */
static void pool_curve(const char *name, const bp_env_maker *maker, double per_step) {
    static const size_t envs[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
    FILE *file = csv_open(name, "envs,per_s,per_s_2_threads,per_s_in_turn,bytes");
    size_t i, threads;
    for (i = 0; i < sizeof envs / sizeof envs[0]; i++) {
        double rate[2], in_turn = 0, bytes = 0;
        for (threads = 1; threads <= 2; threads++) {
            bp_pool_config config = bp_pool_config_default();
            bp_rng rng = bp_rng_make(1, 1);
            const double before = heap_bytes(), sample = per_step * (double)envs[i];
            bp_error error;
            size_t cells, k;
            swimmer s;
            config.envs = envs[i];
            config.threads = threads;
            pin_others();
            if (bp_pool_create(&s.pool, maker, &config, NULL, &error) != BP_OK || bp_pool_reset(s.pool, 1, &error) != BP_OK)
                fail(&error);
            pin_me();
            if (threads == 1) bytes = heap_bytes() - before;
            cells = envs[i] * s.pool->spec.action_size;
            s.at = 0;
            s.steps = sample < 0.02 ? (size_t)(0.02 / sample) + 1 : 1;
            s.action = (bp_real *)bp_alloc(NULL, ROUNDS * cells * sizeof(bp_real));
            if (!s.action) exit(1);
            for (k = 0; k < ROUNDS * cells; k++) s.action[k] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
            rate[threads - 1] = (double)(s.steps * envs[i]) / measure(swim, &s, 0.3);
            if (threads == 1) in_turn = (double)(ROUNDS * envs[i]) / measure(swim_in_turn, &s, 0.3);
            bp_free(NULL, s.action, ROUNDS * cells * sizeof(bp_real));
            bp_pool_destroy(s.pool);
        }
        CSV(file, (double)envs[i], rate[0], rate[1], in_turn, bytes);
    }
    fclose(file);
}

/* What does a second thread bring, and what does it cost? Two jobs that add numbers for a while. */
typedef struct burner {
    bp_team *team;
    size_t adds, runs;
} burner;
static void burn(void *ctx, size_t index, size_t worker) {
    const burner *b = (const burner *)ctx;
    volatile double sum = 0;
    size_t i;
    (void)index;
    (void)worker;
    for (i = 0; i < b->adds; i++) sum += 1e-3;
}
static void burn_twice(void *ctx) {
    burner *b = (burner *)ctx;
    size_t i;
    for (i = 0; i < b->runs; i++) bp_team_run(b->team, burn, b, 2);
}

static void hand_over_curve(void) {
    static const size_t adds[] = {20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000};
    FILE *file = csv_open("hand_over", "job_us,us,us_2_threads");
    size_t i, k;
    for (i = 0; i < sizeof adds / sizeof adds[0]; i++) {
        double us[2];
        for (k = 0; k < 2; k++) {
            bp_error error;
            burner b;
            b.adds = adds[i];
            b.runs = 1 + 500000 / adds[i];
            pin_others();
            if (bp_team_create(&b.team, k + 1, NULL, &error) != BP_OK) fail(&error);
            pin_me();
            us[k] = 1e6 * measure(burn_twice, &b, 0.2) / (double)b.runs;
            bp_team_destroy(b.team);
        }
        CSV(file, us[0] / 2, us[0], us[1]);
    }
    fclose(file);
}

static void pool_curves(void) {
    bp_env_maker maker = bp_pendulum_maker(NULL);
    hand_over_curve();
    pool_curve("pool_pendulum", &maker, 5e-8);
    maker = bp_pointmass_maker(NULL);
    pool_curve("pool_pointmass", &maker, 3e-8);
#ifdef BENCH_MUJOCO
    {
        bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
        bp_mj_world *world;
        bp_error error;
        if (bp_mj_init(&error) != BP_OK || bp_mj_world_create(&world, &task, NULL, &error) != BP_OK) fail(&error);
        maker = bp_mj_maker(world);
        pool_curve("pool_ant", &maker, 2e-4);
        bp_mj_world_destroy(world);
    }
#endif
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------------ */

static bp_run_config small_run(void) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    c.envs = bp_pendulum_maker(NULL);
    c.actors = 8;
    c.evaluate_every = 0;
    c.checkpoint_every = 0;
    c.learner.batch = 16;
    for (i = 0; i < 2; i++) c.learner.policy.width[i] = c.learner.critic_width[i] = 16;
    c.overwrite = true;
    return c;
}

/* One that does not learn. */
static bp_run_config saving_run(const char *directory, size_t capacity) {
    bp_run_config c = small_run();
    c.directory = directory;
    c.replay_capacity = capacity;
    c.samples_per_insert = 0;
    return c;
}

typedef struct saver {
    bp_run *run;
    const char *path;
    const void *data;
    size_t bytes;
    uint32_t crc;
} saver;

static void save_run(void *ctx) {
    bp_error error;
    if (bp_run_checkpoint(((saver *)ctx)->run, &error) != BP_OK) fail(&error);
}
/* The machine's own price: the same bytes into a file, forced to the disk. */
static void save_bytes(void *ctx) {
    const saver *s = (const saver *)ctx;
    const char *at = (const char *)s->data;
    size_t left = s->bytes;
    const int fd = open(s->path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) exit(1);
    while (left) {
        const ssize_t done = write(fd, at, left);
        if (done <= 0) exit(1);
        at += done;
        left -= (size_t)done;
    }
    if (fsync(fd) != 0) exit(1);
    close(fd);
    unlink(s->path);
}
static void sum_bytes(void *ctx) {
    saver *s = (saver *)ctx;
    s->crc = bp_crc32c(s->crc, s->data, s->bytes);
}
static void load_run(void *ctx) {
    saver *s = (saver *)ctx;
    bp_run_config c = saving_run(s->run->config.directory, s->run->config.replay_capacity);
    bp_run *run;
    bp_error error;
    c.resume = true;
    if (bp_run_create(&run, &c, NULL, &error) != BP_OK) fail(&error);
    if (run->replay->count != s->run->replay->count) exit(1);
    bp_run_destroy(run);
}

/* Every checkpoint writes the whole replay. */
static void checkpoint_curve(void) {
    static const size_t counts[] = {1000, 10000, 100000, 300000, 1000000};
    FILE *file = csv_open("checkpoint", "sequences,bytes,checkpoint_s,mb_per_s,disk_s,checksum_s,resume_s,create_s");
    char directory[1200], path[1300], command[1300];
    size_t i, k;
    snprintf(directory, sizeof directory, "%s/scratch", out_dir);
    snprintf(path, sizeof path, "%s/bytes", directory);
    for (i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const bp_run_config c = saving_run(directory, counts[i]);
        double seconds, disk, checksum, resume, create;
        bp_error error;
        saver s;
        memset(&s, 0, sizeof s);
        create = bench_read(CLOCK_MONOTONIC);
        if (bp_run_create(&s.run, &c, NULL, &error) != BP_OK) fail(&error);
        create = bench_read(CLOCK_MONOTONIC) - create;
        for (k = 0; k < 10; k++)
            if (bp_run_round(s.run, &error) != BP_OK) fail(&error);
        { /* the rest of the replay, from what the actors brought */
            bp_replay *r = s.run->replay;
            while (r->count < counts[i]) {
                memcpy(r->data + r->count * r->stride, r->data + r->count % 80 * r->stride, r->stride * sizeof(bp_real));
                r->count++;
                r->inserted++;
            }
            r->next = 0;
            s.data = r->data;
            s.bytes = r->count * r->stride * sizeof(bp_real);
        }
        s.path = path;
        seconds = measure(save_run, &s, 0);
        disk = measure(save_bytes, &s, 0);
        checksum = measure(sum_bytes, &s, 0);
        resume = measure(load_run, &s, 0);
        CSV(file, (double)counts[i], (double)s.bytes, seconds, 1e-6 * (double)s.bytes / seconds, disk, checksum, resume, create);
        bp_run_destroy(s.run);
    }
    fclose(file);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) fprintf(stderr, "bench_growth: %s is still there\n", directory);
}

/* Environment steps per second of a run, against the number of actors: nearly nothing is learned, so that actors are what takes time
 * (ratio .05), or the learner is, and holds actors back (ratio 4). Free-running actors share the second processor. */
static void actors_curve(void) {
    static const size_t actors[] = {1, 4, 16, 64, 256};
    FILE *file = csv_open("actors", "actors,sync,sync_2_threads,async,sync_ratio_4,sync_2_threads_ratio_4,async_ratio_4");
    size_t i, k;
    for (i = 0; i < sizeof actors / sizeof actors[0]; i++) {
        double rate[6];
        for (k = 0; k < 6; k++) {
            bp_run_config c = small_run();
            bp_error error;
            bp_run *run;
            double start;
            c.actors = actors[i];
            c.log_every = 0;
            c.samples_per_insert = k < 3 ? 0.05 : 4;
            c.env_steps = k < 3 ? 1000000 : 60000;
            c.threads = k % 3 == 1 ? 2 : 1;
            c.mode = k % 3 == 2 ? BP_RUN_ASYNC : BP_RUN_SYNC;
            pin_others();
            if (bp_run_create(&run, &c, NULL, &error) != BP_OK || bp_run_round(run, &error) != BP_OK) fail(&error);
            pin_me();
            start = bench_read(CLOCK_MONOTONIC);
            if (bp_run_train(run, &error) != BP_OK) fail(&error);
            rate[k] = (double)run->env_steps / (bench_read(CLOCK_MONOTONIC) - start);
            bp_run_destroy(run);
        }
        CSV(file, (double)actors[i], rate[0], rate[1], rate[2], rate[3], rate[4], rate[5]);
    }
    fclose(file);
}

/* Ten million steps: does anything grow with them? */
static void run_curve(void) {
    FILE *file = csv_open("run", "env_steps,steps_per_s,resident_bytes,heap_bytes,csv_bytes,sequences");
    bp_run_config c = small_run();
    char directory[1200], path[1300], command[1300];
    const uint64_t every = 500000;
    uint64_t next = every;
    bp_error error;
    bp_run *run;
    double start;
    snprintf(directory, sizeof directory, "%s/scratch", out_dir);
    snprintf(path, sizeof path, "%s/progress.csv", directory);
    c.directory = directory;
    c.env_steps = 10000000;
    c.samples_per_insert = 0.05;
    if (bp_run_create(&run, &c, NULL, &error) != BP_OK) fail(&error);
    start = bench_read(CLOCK_MONOTONIC);
    while (!run->done) {
        if (bp_run_round(run, &error) != BP_OK) fail(&error);
        if (run->env_steps >= next) {
            const double passed = bench_read(CLOCK_MONOTONIC) - start;
            struct stat info;
            if (stat(path, &info) != 0) exit(1);
            CSV(file, (double)run->env_steps, (double)every / passed, resident_bytes(), heap_bytes(), (double)info.st_size,
                (double)run->replay->count);
            next += every;
            start = bench_read(CLOCK_MONOTONIC);
        }
    }
    bp_run_destroy(run);
    fclose(file);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) fprintf(stderr, "bench_growth: %s is still there\n", directory);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*curves)(void);
    } parts[] = {{"step", step_curves},
                 {"replay", replay_curves},
                 {"pool", pool_curves},
                 {"checkpoint", checkpoint_curve},
                 {"actors", actors_curve},
                 {"run", run_curve}};
    const double start = bench_read(CLOCK_MONOTONIC);
    const char *only = NULL;
    bp_error error;
    size_t i, done = 0;
    int k;
    for (k = 1; k + 1 < argc; k += 2) {
        if (!strcmp(argv[k], "--out")) out_dir = argv[k + 1];
        else if (!strcmp(argv[k], "--only")) only = argv[k + 1];
        else break;
    }
    if (k < argc) {
        fprintf(stderr, "usage: bench_growth [--out DIR] [--only step|replay|pool|checkpoint|actors|run]\n");
        return 2;
    }
    if (bp_file_make_directory(out_dir, &error) != BP_OK) fail(&error);
    for (i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!only || !strcmp(only, parts[i].name)) {
            const double begin = bench_read(CLOCK_MONOTONIC);
            parts[i].curves();
            printf("%s took %.0f s\n", parts[i].name, bench_read(CLOCK_MONOTONIC) - begin);
            done++;
        }
    if (!done) fprintf(stderr, "bench_growth: --only is step, replay, pool, checkpoint, actors or run, not %s\n", only);
    else printf("%.0f s in all\n", bench_read(CLOCK_MONOTONIC) - start);
    return done ? 0 : 2;
}
