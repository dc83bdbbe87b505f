/* Where the time goes: profiles of a learner's steps and of whole runs add up to what a clock outside says, count what was done,
 * change no result, and read well. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* clock_gettime */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"
#include <time.h>

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double sum_of(const bp_profile *p) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < BP_PHASES; i++) {
        assert_true(p->seconds[i] >= -1e-6);
        sum += p->seconds[i];
    }
    return sum;
}

/* The phases are the whole, and the whole is as many threads as there were. */
static void check_sums(const bp_profile *p, double threads) {
    bpt_close(sum_of(p), p->total, 1e-9);
    bpt_close(p->total, threads * p->wall, 1e-9);
}

/* Somebody may have taken the processor between our look at the clock and the library's: then once more. */
#define TRIES 20
static bool near(double inside, double outside) {
    assert_true(inside <= outside);
    return inside > 0.95 * outside;
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void test_text(void **state) {
    static const char want[] = "phase             calls     seconds    share   GFLOP/s\n"
                               "act               12345       1.250   12.5 %     20.0\n"
                               "physics                       8.000   80.0 %\n"
                               "adam                  7       0.000    0.0 %\n"
                               "other                         0.750    7.5 %\n"
                               "total                        10.000  100.0 %\n";
    char text[BP_PROFILE_TEXT], small[40];
    bp_profile p;
    size_t i;
    (void)state;
    memset(&p, 0, sizeof p);
    p.wall = 5.0, p.total = 10.0;
    p.calls[BP_PHASE_ACT] = 12345, p.seconds[BP_PHASE_ACT] = 1.25, p.macs[BP_PHASE_ACT] = UINT64_C(12500000000);
    p.seconds[BP_PHASE_PHYSICS] = 8.0;
    p.calls[BP_PHASE_ADAM] = 7;
    p.seconds[BP_PHASE_OTHER] = 0.75;
    p.seconds[BP_PHASE_FILES] = 0.0004; /* a look at the clock and nothing between: no line */
    assert_int_equal(bp_profile_text(text, sizeof text, &p), sizeof want - 1);
    assert_string_equal(text, want);
    for (i = 1; i <= sizeof small; i++) { /* cut, and never past the end */
        memset(small, '#', sizeof small);
        assert_int_equal(bp_profile_text(small, i, &p), sizeof want - 1);
        assert_int_equal(strlen(small), i - 1);
        assert_memory_equal(small, want, i - 1);
        if (i < sizeof small) assert_true(small[i] == '#');
    }
    assert_int_equal(bp_profile_text(NULL, 0, &p), sizeof want - 1);

    /* the longest there can be */
    for (i = 0; i < BP_PHASES; i++) p.calls[i] = p.macs[i] = UINT64_MAX, p.seconds[i] = 1e15;
    assert_true(bp_profile_text(text, sizeof text, &p) < sizeof text);
    memset(&p, 0, sizeof p); /* nothing was measured */
    assert_true(bp_profile_text(text, sizeof text, &p) < sizeof text && strstr(text, "total"));

    for (i = 0; i < BP_PHASES; i++) assert_true(strlen(bp_phase_name((bp_phase)i)) >= 3 && strlen(bp_phase_name((bp_phase)i)) <= 10);
    assert_string_equal(bp_phase_name(BP_PHASES), "");
    assert_string_equal(bp_phase_name((bp_phase)-1), "");
}

/* ---- a learner ------------------------------------------------------------------------------------------------- */

typedef struct rig {
    bp_rs0 *l;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
} rig;

static void make(rig *r, bp_rs0_config c) {
    bp_spec spec;
    bp_error error;
    bp_replay_config shape;
    size_t n, i;
    bp_spec_begin(&spec, "robot");
    bpt_ok(bp_spec_add_field(&spec, "body", 4, &error), &error);
    bpt_ok(bp_spec_add_field(&spec, "goal", 2, &error), &error);
    bpt_ok(bp_spec_actions_continuous(&spec, 2, -1, 1, &error), &error);
    c.batch = 16;
    c.length = 6;
    c.samples = 4;
    bpt_ok(bp_rs0_create(&r->l, &spec, &c, NULL, &error), &error);
    shape = bp_rs0_replay_config(r->l);
    n = bp_batch_reals(&shape, c.batch);
    r->data = (bp_real *)calloc(n, sizeof(bp_real));
    assert_non_null(r->data);
    r->rng = bp_rng_make(1, 1);
    bp_rng_normals(r->data, &r->rng, n);
    bp_batch_init(&r->batch, r->data, &shape, c.batch);
    for (i = 0; i < 6 * 16; i++) {
        r->batch.discount[i] = r->batch.mask[i] = BP_R(i % 7 != 0);
        r->batch.log_mu[i] = BP_R(-2);
    }
    if (r->batch.state) memset(r->batch.state, 0, 16 * shape.state_size * sizeof(bp_real));
}

static void drop(rig *r) {
    bp_rs0_destroy(r->l);
    free(r->data);
}

static bp_rs0_config variant(int i) {
    bp_rs0_config c = bp_rs0_config_default();
    c.prior_kind = i % 2 ? BP_PRIOR_LEARNED : BP_PRIOR_NONE;
    c.twin_critics = i == 1;
    c.shards = 3;
    if (i == 2) c.policy.lstm = 8;
    if (i == 3) c.latent = bp_latent_config_default(3);
    return c;
}

static void same_learned(const bp_learned *a, const bp_learned *b) {
    assert_memory_equal(a->online, b->online, a->n * sizeof(bp_real));
    assert_memory_equal(a->target, b->target, a->n * sizeof(bp_real));
    assert_memory_equal(a->v, b->v, a->n * sizeof(bp_real));
}

static void test_learner(void **state) {
    int i, k, tries;
    bp_error error;
    (void)state;
    for (i = 0; i < 4; i++) {
        bp_rs0_config c = variant(i);
        const bool learned = c.prior_kind == BP_PRIOR_LEARNED;
        uint64_t macs = 0;
        double start, passed = 0.0, wall = 0.0;
        static const bp_profile nothing;
        bp_profile *p;
        rig off, on;
        make(&off, c);
        c.profile = true;
        make(&on, c);
        p = &on.l->profile;
        for (tries = 0; tries < TRIES; tries++) {
            wall = p->wall;
            start = now();
            for (k = 0; k < 20; k++) bpt_ok(bp_rs0_step(on.l, &on.batch, &on.rng, NULL, &error), &error);
            passed = now() - start;
            wall = p->wall - wall;
            if (near(wall, passed)) break;
        }
        assert_true(tries < TRIES);
        check_sums(p, 1.0);
        for (k = 0; k < BP_PHASES; k++) macs += p->macs[k];
        assert_int_equal(macs, on.l->steps * bp_rs0_macs(on.l));
        assert_int_equal(p->calls[BP_PHASE_TARGETS], on.l->steps);
        assert_int_equal(p->calls[BP_PHASE_CRITIC], on.l->steps);
        assert_int_equal(p->calls[BP_PHASE_POLICY], on.l->steps);
        assert_int_equal(p->calls[BP_PHASE_PRIOR], learned ? on.l->steps : 0);
        assert_int_equal(p->calls[BP_PHASE_NOISE], on.l->steps);
        assert_int_equal(p->calls[BP_PHASE_ADAM], on.l->steps);
        for (k = BP_PHASE_NOISE; k <= BP_PHASE_ADAM; k++)
            if (learned || k != BP_PHASE_PRIOR) assert_true(p->seconds[k] > 0.0);
        assert_true(p->seconds[BP_PHASE_ACT] <= 0.0 && p->seconds[BP_PHASE_PHYSICS] <= 0.0);

        /* it measures and changes nothing */
        while (off.l->steps < on.l->steps) bpt_ok(bp_rs0_step(off.l, &off.batch, &off.rng, NULL, &error), &error);
        same_learned(&off.l->policy_p, &on.l->policy_p);
        same_learned(&off.l->critic_p, &on.l->critic_p);
        if (learned) same_learned(&off.l->prior_p, &on.l->prior_p);
        assert_memory_equal(&off.l->metrics, &on.l->metrics, sizeof off.l->metrics);
        assert_memory_equal(&off.l->profile, &nothing, sizeof nothing);

        /* a gradient alone, and a batch that is refused */
        wall = p->wall;
        bpt_ok(bp_rs0_gradients(on.l, &on.batch, NULL, &error), &error);
        assert_true(p->wall > wall);
        on.batch.reward[0] = BP_R(1) / BP_R(0.0 * on.l->config.batch);
        on.batch.mask[0] = BP_R(1);
        assert_int_equal(bp_rs0_step(on.l, &on.batch, &on.rng, NULL, &error), BP_ERR_NONFINITE);
        check_sums(p, 1.0);
        drop(&off);
        drop(&on);
    }
}

#ifdef BPRIOR_THREADS
static void test_learner_threads(void **state) {
    bp_rs0_config c = variant(1);
    rig one, two;
    bp_team *team;
    bp_error error;
    int k;
    (void)state;
    c.profile = true;
    make(&one, c);
    make(&two, c);
    bpt_ok(bp_team_create(&team, 2, NULL, &error), &error);
    for (k = 0; k < 20; k++) {
        bpt_ok(bp_rs0_step(one.l, &one.batch, &one.rng, NULL, &error), &error);
        bpt_ok(bp_rs0_step(two.l, &two.batch, &two.rng, team, &error), &error);
    }
    bp_team_destroy(team);
    check_sums(&two.l->profile, 2.0);
    assert_true(two.l->profile.seconds[BP_PHASE_WAIT] > 0.0); /* three shards on two threads: somebody waits */
    assert_memory_equal(one.l->profile.calls, two.l->profile.calls, sizeof one.l->profile.calls);
    assert_memory_equal(one.l->profile.macs, two.l->profile.macs, sizeof one.l->profile.macs);
    same_learned(&one.l->policy_p, &two.l->policy_p);
    drop(&one);
    drop(&two);
}
#endif

/* ---- a run ----------------------------------------------------------------------------------------------------- */

static bp_run_config small_run(void) {
    bp_run_config c = bp_run_config_default();
    c.envs = bp_pendulum_maker(NULL);
    c.actors = 2;
    c.env_steps = 3000;
    c.min_sequences = 20;
    c.replay_capacity = 200;
    c.samples_per_insert = 8;
    c.evaluate_every = 1000;
    c.evaluation_episodes = 2;
    c.log_every = 500;
    c.learner.batch = 16;
    c.learner.length = 5;
    c.learner.samples = 4;
    c.learner.prior_kind = BP_PRIOR_LEARNED;
    return c;
}

static void test_run(void **state) {
    bp_run_config c = small_run();
    bp_run *off, *on = NULL;
    bp_profile work, actors;
    char path[300];
    bp_error error;
    int tries;
    (void)state;
    bpt_ok(bp_run_create(&off, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(off, &error), &error);
    bp_run_profile(&work, &actors, off);
    assert_true(work.total <= 0.0 && actors.total <= 0.0 && sum_of(&work) <= 0.0);

    c.profile = true;
    c.directory = bpt_at(path, "profile");
    c.overwrite = true;
    c.checkpoint_every = 1000;
    for (tries = 0; tries < TRIES; tries++) {
        double start, passed;
        bp_evaluation e;
        bpt_ok(bp_run_create(&on, &c, NULL, &error), &error);
        start = now();
        bpt_ok(bp_run_train(on, &error), &error);
        passed = now() - start;
        bp_run_profile(&work, NULL, on);
        bpt_ok(bp_run_evaluate(&e, NULL, on, BP_PLAY_POLICY, 1, 1, false, &error), &error); /* not a part of the training */
        bp_run_profile(&actors, NULL, on);
        bpt_close(work.wall, actors.wall, 0);
        if (near(work.wall, passed)) break;
        bp_run_destroy(on);
        on = NULL;
    }
    assert_true(tries < TRIES);
    check_sums(&work, 1.0);
    assert_int_equal(work.calls[BP_PHASE_ACT], on->env_steps);
    assert_int_equal(work.calls[BP_PHASE_PHYSICS], on->env_steps);
    assert_int_equal(work.calls[BP_PHASE_REPLAY], on->replay->inserted + on->learner->steps);
    assert_int_equal(work.calls[BP_PHASE_POLICY], on->learner->steps);
    assert_int_equal(work.calls[BP_PHASE_EVALUATION], 4);    /* at 0, 1000, 2000 and at the end */
    assert_int_equal(work.calls[BP_PHASE_FILES], 5 + 1 + 3); /* rows, the last one, checkpoints */
    assert_int_equal(work.macs[BP_PHASE_ACT], on->env_steps * bp_policy_macs(&on->learner->policy, 1, 1));
    assert_int_equal(work.macs[BP_PHASE_POLICY] % on->learner->steps, 0);

    assert_int_equal(off->learner->steps, on->learner->steps);
    same_learned(&off->learner->policy_p, &on->learner->policy_p);
    same_learned(&off->learner->prior_p, &on->learner->prior_p);
    same_learned(&off->learner->critic_p, &on->learner->critic_p);
    assert_memory_equal(off->replay->data, on->replay->data, off->replay->count * off->replay->stride * sizeof(bp_real));
    bpt_close(off->evaluation.mean, on->evaluation.mean, 0);
    bp_run_destroy(off);
    bp_run_destroy(on);
}

#ifdef BPRIOR_THREADS
static void test_run_threads(void **state) {
    bp_run_config c = small_run();
    bp_profile work, actors;
    bp_run *run;
    bp_error error;
    (void)state;
    c.profile = true;
    c.threads = 3;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_train(run, &error), &error);
    bp_run_profile(&work, &actors, run);
    check_sums(&work, 3.0);
    assert_int_equal(work.calls[BP_PHASE_PHYSICS], run->env_steps);
    assert_true(actors.total <= 0.0);
    bp_run_destroy(run);

    c.mode = BP_RUN_ASYNC;
    c.normalise = true;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    while (!run->done) { /* looked at while it runs */
        bpt_ok(bp_run_round(run, &error), &error);
        bp_run_profile(&work, &actors, run);
        check_sums(&actors, 2.0);
    }
    bpt_ok(bp_run_finish(run, &error), &error);
    bp_run_profile(&work, &actors, run);
    check_sums(&work, 3.0);
    check_sums(&actors, 2.0);
    assert_int_equal(actors.calls[BP_PHASE_ACT], run->env_steps);
    assert_int_equal(actors.calls[BP_PHASE_PHYSICS], run->env_steps);
    assert_int_equal(actors.calls[BP_PHASE_REPLAY], run->replay->inserted);
    assert_int_equal(work.calls[BP_PHASE_REPLAY], run->learner->steps);
    assert_int_equal(work.calls[BP_PHASE_ACT] + work.calls[BP_PHASE_PHYSICS], 0);
    assert_int_equal(actors.calls[BP_PHASE_POLICY], 0);
    bp_run_destroy(run);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_learner),
        cmocka_unit_test(test_run),
#ifdef BPRIOR_THREADS
        cmocka_unit_test(test_learner_threads),
        cmocka_unit_test(test_run_threads),
#endif
    };
    bpt_make_scratch("profile");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
