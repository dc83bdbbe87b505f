/* A run that is killed at any moment and resumed ends with the bytes of a run that never stopped.
 *
 * Each test trains a reference without interruption, then the same configuration in child processes that
 * are killed with SIGKILL after random times, until one gets to the end. Compared are the policy
 * file, the log (without its clock column) and everything in the last checkpoint: weights, moments, targets,
 * normaliser, replay, random states, environments, running episodes.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* fork, kill, setrlimit, mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

typedef void (*adjust)(bp_run_config *);

/* Little of everything, so that many checkpoints and kills fit into seconds. */
static bp_run_config small(const char *directory) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    c.envs = bp_pendulum_maker(NULL);
    c.directory = directory;
    c.env_steps = 3000;
    c.actors = 3;
    c.min_sequences = 20;
    c.replay_capacity = 150; /* wraps around */
    c.samples_per_insert = 4;
    c.evaluate_every = 1100;
    c.evaluation_episodes = 2;
    c.log_every = 200;
    c.checkpoint_every = 230;
    c.normalise = true;
    c.resume = true;
    c.learner.batch = 16;
    c.learner.length = 7;
    c.learner.samples = 3;
    c.learner.policy.hidden_layers = 2;
    for (i = 0; i < 2; i++) c.learner.policy.width[i] = c.learner.critic_width[i] = c.learner.prior.width[i] = 12;
    c.learner.target_period = 10;
    c.learner.policy_adam.lr = c.learner.critic_adam.lr = 1e-3;
    return c;
}

/* ---- comparing ------------------------------------------------------------------------------------ */

static char *slurp(const char *path, size_t *bytes) {
    FILE *f = fopen(path, "rb");
    long n;
    char *text;
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);
    text = (char *)malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    text[n] = '\0';
    fclose(f);
    *bytes = (size_t)n;
    return text;
}

static void same_file(const char *a, const char *b, const char *name) {
    char path[600];
    size_t n, m;
    char *x, *y;
    (void)snprintf(path, sizeof path, "%s/%s", a, name);
    x = slurp(path, &n);
    (void)snprintf(path, sizeof path, "%s/%s", b, name);
    y = slurp(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* Rows must agree up to the last comma. */
static void same_log(const char *a, const char *b) {
    char path[600];
    size_t n, m, rows = 0;
    char *x, *y, *p, *q;
    (void)snprintf(path, sizeof path, "%s/progress.csv", a);
    x = p = slurp(path, &n);
    (void)snprintf(path, sizeof path, "%s/progress.csv", b);
    y = q = slurp(path, &m);
    while (*p && *q) {
        char *pe = strchr(p, '\n'), *qe = strchr(q, '\n'), *pc, *qc;
        assert_non_null(pe);
        assert_non_null(qe);
        *pe = *qe = '\0';
        pc = strrchr(p, ',');
        qc = strrchr(q, ',');
        assert_non_null(pc);
        assert_non_null(qc);
        if (rows) *pc = *qc = '\0';
        assert_string_equal(p, q);
        p = pe + 1;
        q = qe + 1;
        rows++;
    }
    assert_int_equal(*p, 0);
    assert_int_equal(*q, 0);
    assert_true(rows > 10);
    free(x);
    free(y);
}

static bp_safetensors *open_part(const char *directory, const char *part) {
    char path[600], text[200];
    size_t n;
    unsigned long generation = 0;
    bp_safetensors *file;
    bp_error error;
    char *latest;
    (void)snprintf(path, sizeof path, "%s/checkpoint/latest", directory);
    latest = slurp(path, &n);
    (void)snprintf(text, sizeof text, "%.199s", latest);
    free(latest);
    assert_int_equal(sscanf(text, "bprior checkpoint 1\ngeneration %lu", &generation), 1);
    (void)snprintf(path, sizeof path, "%s/checkpoint/%08lu.%s.safetensors", directory, generation, part);
    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    return file;
}

static void same_arrays(const char *a, const char *b, const char *part) {
    bp_safetensors *x = open_part(a, part), *y = open_part(b, part);
    bp_error error;
    size_t i;
    assert_int_equal(x->n, y->n);
    for (i = 0; i < x->n; i++) {
        const bp_stored *s = &x->array[i], *t = bp_safetensors_find(y, s->name);
        size_t bytes = s->end - s->begin;
        unsigned char *p, *q;
        assert_non_null(t);
        assert_int_equal(t->end - t->begin, bytes);
        p = (unsigned char *)malloc(bytes + 1);
        q = (unsigned char *)malloc(bytes + 1);
        bpt_ok(bpi_stored_fetch(x, x->data + s->begin, p, bytes, &error), &error);
        bpt_ok(bpi_stored_fetch(y, y->data + t->begin, q, bytes, &error), &error);
        if (strcmp(s->name, "run/numbers") == 0) memset(p + 7 * 8, 0, 8), memset(q + 7 * 8, 0, 8);      /* seconds */
        if (strcmp(s->name, "run/counters") == 0) memset(p + 14 * 8, 0, 16), memset(q + 14 * 8, 0, 16); /* log sizes */
        if (memcmp(p, q, bytes) != 0) {
            print_error("%s: array '%s' differs\n", part, s->name);
            fail();
        }
        free(p);
        free(q);
    }
    bp_safetensors_close(x);
    bp_safetensors_close(y);
}

static void same_runs(const char *a, const char *b) {
    same_file(a, b, "policy.safetensors");
    same_log(a, b);
    same_arrays(a, b, "state");
    same_arrays(a, b, "replay");
}

/* ---- running -------------------------------------------------------------------------------------- */

static void train_here(const char *directory, adjust change) {
    bp_run_config c = small(directory);
    bp_run *run;
    bp_error error;
    if (change) change(&c);
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->learner->steps > 20);
    assert_true(run->finished);
    bp_run_destroy(run);
}

/* Child processes until one exits by itself; returns how many were killed. */
static int train_under_fire(const char *directory, adjust change, bp_rng *rng, double mean_ms) {
    int killed = 0;
    for (;;) {
        const pid_t child = fork();
        int status = 0;
        assert_true(child >= 0);
        if (child == 0) {
            bp_run_config c = small(directory);
            bp_run *run;
            bp_error error;
            if (change) change(&c);
            if (bp_run_create(&run, &c, NULL, &error) != BP_OK || bp_run_train(run, &error) != BP_OK) {
                fprintf(stderr, "child: %s\n", error.text);
                _exit(1);
            }
            _exit(0);
        }
        if (killed < 12) {
            struct timespec t;
            const double ms = 2.0 * mean_ms * bp_rng_uniform(rng);
            t.tv_sec = (time_t)(ms / 1000.0);
            t.tv_nsec = (long)((ms - 1000.0 * (double)t.tv_sec) * 1e6);
            (void)nanosleep(&t, NULL);
            (void)kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return killed;
        }
        killed++;
    }
}

static void two_threads(bp_run_config *c) { c->threads = 2; }
static bp_pointmass_config room;
static void point_mass(bp_run_config *c) {
    room = bp_pointmass_config_default();
    room.steps = 60;
    room.distance_cost = 1;
    c->envs = bp_pointmass_maker(&room);
    c->normalise = false;
    c->learner.prior_kind = BP_PRIOR_LEARNED;
    c->learner.prior.n_fields = 2;
    c->learner.prior.fields[0] = "position";
    c->learner.prior.fields[1] = "velocity";
    c->learner.alpha_mode = BP_WEIGHT_ADAPTED;
    c->learner.twin_critics = true;
    c->learner.tau = 0.01;
    c->tensorboard = true;
}
static void point_mass_threads(bp_run_config *c) {
    point_mass(c);
    c->threads = 2;
}

static void path_of(char *out, const char *name) { (void)bpt_at(out, name); }

static void kill_and_compare(const char *name, adjust change, adjust other) {
    char a[300], b[300], label[64];
    bp_rng rng = bp_rng_make(bpt_seed(), 77);
    int killed;
    (void)snprintf(label, sizeof label, "%s-straight", name);
    path_of(a, label);
    (void)snprintf(label, sizeof label, "%s-killed", name);
    path_of(b, label);
    train_here(a, change);
    killed = train_under_fire(b, other, &rng, 25.0);
    print_message("%s: killed %d times\n", name, killed);
    assert_true(killed > 0);
    same_runs(a, b);
}

static void test_killed_pendulum(void **state) {
    (void)state;
    kill_and_compare("pendulum", NULL, NULL);
}

/* The reference has one thread, the victims two. */
static void test_killed_point_mass(void **state) {
    (void)state;
    kill_and_compare("pointmass", point_mass, point_mass_threads);
}

static void test_threads_do_not_matter(void **state) {
    char a[300], b[300];
    (void)state;
    path_of(a, "one-thread");
    path_of(b, "two-threads");
    train_here(a, NULL);
    train_here(b, two_threads);
    same_runs(a, b);
}

/* ---- a stop request ---------------------------------------------------------------------------------- */

static bool stop_soon(void *ctx) { return (*(int *)ctx)-- == 0; }

static void test_stop_requests(void **state) {
    char a[300], b[300];
    bp_rng rng = bp_rng_make(bpt_seed(), 78);
    bp_status status;
    int stops = 0;
    (void)state;
    path_of(a, "not-stopped");
    path_of(b, "stopped");
    train_here(a, NULL);
    do {
        bp_run_config c = small(b);
        bp_run *run;
        bp_error error;
        int rounds = (int)bp_rng_index(&rng, 100);
        c.checkpoint_every = 0; /* only what the stop itself saves */
        c.stop = stop_soon;
        c.stop_ctx = &rounds;
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        status = bp_run_train(run, &error);
        assert_true(status == BP_OK || status == BP_INTERRUPTED);
        if (status == BP_INTERRUPTED) stops++;
        bp_run_destroy(run);
    } while (status == BP_INTERRUPTED && stops < 1000);
    assert_int_equal(status, BP_OK);
    assert_true(stops > 0);
    same_file(a, b, "policy.safetensors");
    same_log(a, b);
    same_arrays(a, b, "replay");
}

/* Resuming what is finished changes nothing, and writes the policy again if it got lost. */
static void test_resume_finished(void **state) {
    char a[300], b[300], path[600];
    (void)state;
    path_of(a, "finished-a");
    path_of(b, "finished-b");
    train_here(a, NULL);
    train_here(b, NULL);
    (void)snprintf(path, sizeof path, "%s/policy.safetensors", b);
    assert_int_equal(unlink(path), 0);
    train_here(b, NULL);
    same_runs(a, b);
}

/* ---- damage --------------------------------------------------------------------------------------------- */

static void interrupted_run(const char *directory) {
    bp_run_config c = small(directory);
    bp_run *run;
    bp_error error;
    int rounds = 60;
    c.stop = stop_soon;
    c.stop_ctx = &rounds;
    c.checkpoint_every = 0;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(bp_run_train(run, &error), BP_INTERRUPTED);
    bp_run_destroy(run);
}

static void rewrite(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void test_damaged_checkpoints(void **state) {
    static const char *const part[3] = {"latest", "00000001.state.safetensors", "00000001.replay.safetensors"};
    char a[300], path[600];
    bp_run_config c;
    bp_rng rng = bp_rng_make(bpt_seed(), 79);
    int i, k;
    size_t log_bytes, n;
    char *log, *good;
    (void)state;
    path_of(a, "damaged");
    interrupted_run(a);
    (void)snprintf(path, sizeof path, "%s/progress.csv", a);
    log = slurp(path, &log_bytes);
    c = small(a);

    /* any flipped bit, any truncation, any missing file is found, named, and nothing is touched */
    for (i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/checkpoint/%s", a, part[i]);
        good = slurp(path, &n);
        for (k = 0; k < 12; k++) {
            char *bad = (char *)malloc(n + 1), *now;
            size_t m = n, got;
            const size_t at = bp_rng_index(&rng, n);
            memcpy(bad, good, n);
            if (k % 3 == 0) m = at;                                          /* cut short */
            else if (k % 3 == 1) bad[at] = (char)(bad[at] ^ (1 << (k % 8))); /* one bit */
            else bad[m++] = 'x';                                             /* too long */
            rewrite(path, bad, m);
            bpt_refuses_run(&c, BP_ERR_FORMAT, part[i]);
            now = slurp(path, &got);
            assert_int_equal(got, m);
            assert_memory_equal(now, bad, m);
            free(now);
            free(bad);
        }
        if (i > 0) {
            assert_int_equal(unlink(path), 0);
            bpt_refuses_run(&c, BP_ERR_IO, part[i]);
        }
        rewrite(path, good, n);
        free(good);
    }
    (void)snprintf(path, sizeof path, "%s/progress.csv", a);
    good = slurp(path, &n);
    assert_int_equal(n, log_bytes);
    assert_memory_equal(good, log, n);
    free(good);

    /* a log that has lost rows */
    rewrite(path, log, log_bytes / 2);
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "progress.csv");
    rewrite(path, log, log_bytes);
    free(log);

    /* other settings, another environment: the first difference is named */
    c.learner.samples = 4;
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "samples = 3, this run has 4");
    c = small(a);
    c.learner.policy.width[1] = 13;
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "policy.width[1] = 12");
    c = small(a);
    c.seed = UINT64_C(1) << 40;
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "seed");
    c = small(a);
    c.envs = bp_pointmass_maker(NULL);
    bpt_refuses_run(&c, BP_ERR_MISMATCH, "'angle' of 2 there, 'position' of 2 here");

    /* without resume it is not thrown away by accident ... */
    c = small(a);
    c.resume = false;
    bpt_refuses_run(&c, BP_ERR_ARGUMENT, "overwrite");
    /* ... and after all this still good */
    train_here(a, NULL);
    path_of(path, "undamaged");
    train_here(path, NULL);
    same_file(a, path, "policy.safetensors");
    same_log(a, path);

    /* a finished run may be replaced without asking */
    c = small(a);
    c.resume = false;
    {
        bp_run *run;
        bp_error error;
        bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
        assert_int_equal(run->env_steps, 0);
        bp_run_destroy(run);
    }
}

/* The disk is full when a checkpoint is due: the run stops with a message, the checkpoint before is whole, and with room again
 * the run ends as if nothing had been. */
static void test_full_disk(void **state) {
    char a[300], b[300];
    struct rlimit limit, tight;
    bp_run_config c;
    bp_run *run;
    bp_error error;
    (void)state;
    path_of(a, "room");
    path_of(b, "full");
    train_here(a, NULL);
    interrupted_run(b);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    tight = limit;
    tight.rlim_cur = 20000; /* less than the replay takes */
    (void)signal(SIGXFSZ, SIG_IGN);
    c = small(b);
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(bp_run_train(run, &error), BP_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_non_null(strstr(error.text, "checkpoint"));
    assert_non_null(strstr(error.text, strerror(EFBIG)));
    bp_run_destroy(run);
    train_here(b, NULL);
    same_runs(a, b);
}

/* Checksums are against accidents. With right checksums and wild contents there must be no crash, either. */
static void test_hostile_checkpoints(void **state) {
    char a[300], path[600], latest[600];
    char *good, *text;
    size_t n, m;
    bp_rng rng = bp_rng_make(bpt_seed(), 80);
    bp_run_config c;
    int k, refused = 0;
    (void)state;
    path_of(a, "hostile");
    interrupted_run(a);
    c = small(a);
    c.checkpoint_every = 0;
    (void)snprintf(latest, sizeof latest, "%s/checkpoint/latest", a);
    text = slurp(latest, &m);
    for (k = 0; k < 60; k++) {
        bpi_latest l;
        bp_run *run;
        bp_error error;
        char line[512];
        const bool replay = k % 4 == 3;
        unsigned long generation = 1, finished, sb, rb;
        unsigned long sc, rc;
        char *bad;
        size_t at;
        (void)snprintf(path, sizeof path, "%s/checkpoint/00000001.%s.safetensors", a, replay ? "replay" : "state");
        good = slurp(path, &n);
        bad = (char *)malloc(n);
        memcpy(bad, good, n);
        at = bp_rng_index(&rng, k % 2 ? bpi_min_size(n, 4000) : n);
        bad[at] = (char)(k % 3 ? 0xFF : bp_rng_index(&rng, 256));
        if (k % 5 == 0) memset(bad + n - bpi_min_size(n, 3000), 0xFF, bpi_min_size(n, 3000)); /* actors, environments */
        rewrite(path, bad, n);
        assert_int_equal(sscanf(text, "bprior checkpoint 1\ngeneration %lu\nfinished %lu\nstate %lx %lx\nreplay %lx %lx",
                                &generation, &finished, &sb, &sc, &rb, &rc),
                         6);
        memset(&l, 0, sizeof l);
        l.generation = generation;
        l.finished = finished != 0;
        l.state_bytes = sb;
        l.replay_bytes = rb;
        l.state_crc = (uint32_t)sc;
        l.replay_crc = (uint32_t)rc;
        if (replay) l.replay_crc = bp_crc32c(0, bad, n);
        else l.state_crc = bp_crc32c(0, bad, n);
        rewrite(latest, line, bpi_latest_text(line, sizeof line, &l));
        if (bp_run_create(&run, &c, NULL, &error) == BP_OK) {
            int rounds;
            for (rounds = 0; rounds < 3; rounds++) (void)bp_run_round(run, &error); /* may fail, must not crash */
            bp_run_destroy(run);
        } else {
            refused++;
            assert_true(strlen(error.text) > 10);
        }
        rewrite(path, good, n);
        rewrite(latest, text, m);
        free(bad);
        free(good);
    }
    free(text);
    assert_true(refused > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_killed_pendulum),
        cmocka_unit_test(test_killed_point_mass),
        cmocka_unit_test(test_stop_requests),
        cmocka_unit_test(test_resume_finished),
        cmocka_unit_test(test_damaged_checkpoints),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_hostile_checkpoints),
    };
    bpt_make_scratch("resume");
    print_message("scratch directory %s, seed %lu\n", bpt_scratch, (unsigned long)bpt_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
