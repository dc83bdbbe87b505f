/* Who waits, sleeps: processor time of teams and asynchronous runs that have nothing to do; and what goes on meanwhile.
 * Processor time is compared with wall time, so another program that keeps the machine busy makes these tests easier, not harder. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* clock_gettime, nanosleep */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include <time.h>

#ifdef BPRIOR_THREADS

static double seconds_of(clockid_t which) {
    struct timespec t;
    (void)clock_gettime(which, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

static void sleep_for(double seconds) {
    struct timespec t;
    t.tv_sec = (time_t)seconds;
    t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
    (void)nanosleep(&t, NULL);
}

/* ---- a team ----------------------------------------------------------------------------------------------------- */

static void count(void *ctx, size_t index, size_t worker) {
    (void)worker;
    ((int *)ctx)[index]++;
}

static void test_team_sleeps(void **state) {
    bp_team *team;
    bp_error error;
    double cpu, wall;
    int ran[8] = {0}, k;
    (void)state;
    bpt_ok(bp_team_create(&team, 4, NULL, &error), &error);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), wall = now();
    for (k = 0; k < 20; k++) { /* three workers look for the next batch for a while, each time, and sleep then */
        bp_team_run(team, count, ran, 8);
        sleep_for(0.02);
    }
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, wall = now() - wall;
    bp_team_destroy(team);
    for (k = 0; k < 8; k++) assert_int_equal(ran[k], 20);
    print_message("team of 4, a batch every 20 ms: %.1f %% of a processor\n", 100.0 * cpu / wall);
    assert_true(cpu < 0.2 * wall); /* three that never sleep would take 1 to 3 */
}

/* ---- a run in a slow world --------------------------------------------------------------------------------------- */

typedef struct world {
    double pause; /* seconds per step */
    size_t t;
} world;

static bp_status world_reset(void *self, uint64_t seed, bp_real *observation) {
    world *w = (world *)self;
    (void)seed;
    w->t = 0;
    observation[0] = BP_R(0);
    return BP_OK;
}

static bp_status world_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    world *w = (world *)self;
    sleep_for(w->pause);
    observation[0] = action[0];
    out->reward = BP_R(1);
    out->discount = BP_R(1);
    out->last = ++w->t == 40;
    return BP_OK;
}

static bp_status world_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    world *worlds = (world *)ctx;
    memset(out, 0, sizeof *out);
    bp_spec_begin(&out->spec, "slow");
    if (bp_spec_add_field(&out->spec, "x", 1, error) || bp_spec_actions_continuous(&out->spec, 1, -1, 1, error)) return BP_ERR_ARGUMENT;
    out->self = &worlds[index];
    out->reset = world_reset;
    out->step = world_step;
    return BP_OK;
}

static bp_run_config slow_config(world worlds[2], double pause) {
    bp_run_config c = bp_run_config_default();
    worlds[0].pause = worlds[1].pause = pause; /* one to act in, one to be judged in */
    c.envs.make = world_make;
    c.envs.ctx = worlds;
    c.mode = BP_RUN_ASYNC;
    c.threads = 2;
    c.min_sequences = 1000000;
    c.replay_capacity = 100;
    c.evaluate_every = 0;
    c.learner.batch = 4;
    c.learner.length = 5;
    c.profile = true;
    return c;
}

static uint64_t steps_so_far(bp_run *run) {
    bp_profile work, actors;
    bp_run_profile(&work, &actors, run);
    return actors.calls[BP_PHASE_PHYSICS];
}

static void test_learner_sleeps(void **state) {
    world worlds[2];
    bp_run_config c = slow_config(worlds, 0.002);
    bp_run *run;
    bp_error error;
    bp_profile work, actors;
    double mine, all, wall;
    (void)state;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_round(run, &error), &error);
    mine = seconds_of(CLOCK_THREAD_CPUTIME_ID), all = seconds_of(CLOCK_PROCESS_CPUTIME_ID), wall = now();
    while (now() < wall + 0.5) bpt_ok(bp_run_round(run, &error), &error);
    mine = seconds_of(CLOCK_THREAD_CPUTIME_ID) - mine, all = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - all, wall = now() - wall;
    bp_run_profile(&work, &actors, run);
    assert_true(actors.calls[BP_PHASE_PHYSICS] > 0); /* it does go on */
    assert_true(work.seconds[BP_PHASE_WAIT] > 0.9 * work.total);
    print_message("a learner that waits: %.2f %% of a processor; with the actor that sleeps in its world %.2f %%\n",
                  100.0 * mine / wall, 100.0 * all / wall);
    assert_true(mine < 0.1 * wall);
    assert_true(all < 0.3 * wall);
    bp_run_destroy(run);
}

/* The other way round: the learner has had what it may have, the actor waits in vain. */
static void test_actor_sleeps(void **state) {
    world worlds[2];
    bp_run_config c = slow_config(worlds, 0.0);
    bp_run *run;
    bp_error error;
    double cpu, wall = now();
    uint64_t steps;
    (void)state;
    c.min_sequences = 1;
    c.samples_per_insert = 4;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    while (run->learner->steps < 3 && now() < wall + 20.0) bpt_ok(bp_run_round(run, &error), &error);
    assert_true(run->learner->steps >= 3);
    sleep_for(0.2); /* the limiter stops the actor */
    steps = steps_so_far(run);
    assert_true(steps < 1000);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), wall = now();
    sleep_for(0.3);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, wall = now() - wall;
    assert_int_equal(steps_so_far(run), steps);
    print_message("an actor that waits: %.2f %% of a processor\n", 100.0 * cpu / wall);
    assert_true(cpu < 0.1 * wall);
    wall = now();
    while (steps_so_far(run) == steps && now() < wall + 20.0) bpt_ok(bp_run_round(run, &error), &error); /* and it comes back */
    assert_true(steps_so_far(run) > steps);
    bp_run_destroy(run);
}

/* A sequence takes two seconds; somebody who wants to stop the run does not wait for it. */
static void test_round_is_short(void **state) {
    world worlds[2];
    bp_run_config c = slow_config(worlds, 0.4);
    bp_run *run;
    bp_error error;
    double start, longest = 0.0;
    int k;
    (void)state;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    for (k = 0; k < 3; k++) {
        start = now();
        bpt_ok(bp_run_round(run, &error), &error);
        if (now() - start > longest) longest = now() - start;
    }
    assert_int_equal(steps_so_far(run), 0); /* no sequence has come in the meantime */
    assert_true(longest < 1.5);
    bp_run_destroy(run);
}

/* Actors go on while the learner's thread evaluates. */
static void test_evaluation_stops_nobody(void **state) {
    world worlds[2];
    bp_run_config c = slow_config(worlds, 0.001);
    bp_run *run;
    bp_error error;
    bp_evaluation e;
    uint64_t before;
    (void)state;
    c.normalise = true;
    bpt_ok(bp_run_create(&run, &c, NULL, &error), &error);
    bpt_ok(bp_run_round(run, &error), &error);
    before = steps_so_far(run);
    bpt_ok(bp_run_evaluate(&e, NULL, run, BP_PLAY_POLICY, 5, 1, false, &error), &error); /* 200 steps */
    bpt_close(e.mean, 40, 1e-12);
    assert_true(steps_so_far(run) >= before + 20); /* held at the end of a sequence it would be 5 at most */
    bp_run_destroy(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_team_sleeps),
        cmocka_unit_test(test_learner_sleeps),
        cmocka_unit_test(test_actor_sleeps),
        cmocka_unit_test(test_round_is_short),
        cmocka_unit_test(test_evaluation_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
static void test_nothing(void **state) {
    (void)state;
    skip();
}
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
