/* Runs whose policies remember, or have two levels: the promises of chapter 19 hold for them, too.
 *
 * One thread or two give the same bytes; a run that was stopped (also between the rows of an episode, with memories and latents
 * in the air) and resumed ends with those of a run that never was; actors run freely in asynchronous mode; memory that
 * fails is reported and given back; and what actors write down is what they acted on.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"
#include "test_runs.h"

static bp_run_config remembering(const char *directory) {
    bp_run_config c = bpt_small_run(directory);
    bpt_remember(&c);
    return c;
}

static bp_run_config levels(const char *directory) {
    bp_run_config c = bpt_small_run(directory);
    bpt_two_levels(&c);
    return c;
}

/* Both at once, each as large as it gets. */
static bp_run_config everything(const char *directory) {
    bp_run_config c = levels(directory);
    bpt_remember_levels(&c);
    c.learner.prior.lstm = 3;
    c.learner.critic_lstm = 2;
    c.normalise = true;
    return c;
}

typedef bp_run_config (*maker)(const char *directory);
static const maker makers[3] = {remembering, levels, everything};

/* ---- the same bytes ------------------------------------------------------------------------------------- */

/* All that two finished runs learned, stored and would do next. */
static void same_runs(const bp_run *a, const bp_run *b) {
    size_t i;
    assert_int_equal(a->learner->steps, b->learner->steps);
    assert_int_equal(a->env_steps, b->env_steps);
    assert_int_equal(a->episodes, b->episodes);
    for (i = 0; i < bp_rs0_tensor_count(a->learner); i++) {
        bp_tensor x, y;
        bp_rs0_tensor(&x, a->learner, i);
        bp_rs0_tensor(&y, b->learner, i);
        assert_string_equal(x.name, y.name);
        assert_memory_equal(x.data, y.data, x.rows * x.cols * sizeof(bp_real));
    }
    assert_int_equal(a->replay->inserted, b->replay->inserted);
    assert_memory_equal(a->replay->data, b->replay->data, a->replay->count * a->replay->stride * sizeof(bp_real));
    assert_memory_equal(&a->evaluation, &b->evaluation, sizeof a->evaluation);
}

static bp_run *create(const bp_run_config *config) {
    bp_run *run;
    bp_error error;
    bpt_ok(bp_run_create(&run, config, NULL, &error), &error);
    return run;
}

static bp_run *train(const bp_run_config *config) {
    bp_run *run = create(config);
    bp_error error;
    bpt_ok(bp_run_train(run, &error), &error);
    assert_true(run->finished && run->learner->steps > 20 && run->episodes > 10);
    assert_int_equal(run->learner->rejected + run->faults, 0);
    return run;
}

static void test_threads_do_not_matter(void **state) {
#if defined(BPRIOR_THREADS)
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        bp_run_config c = makers[i](NULL);
        bp_run *one = train(&c), *two;
        c.threads = 2;
        two = train(&c);
        same_runs(one, two);
        bp_run_destroy(one);
        bp_run_destroy(two);
    }
#else
    (void)state;
    skip();
#endif
}

static bool stop_soon(void *ctx) { return (*(int *)ctx)-- == 0; }

static void test_resume(void **state) {
    bp_rng rng = bp_rng_make(bpt_seed(), 19);
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        char path[300], name[32];
        bp_run_config c = makers[i](NULL);
        bp_run *straight = train(&c), *run;
        bp_error error;
        bp_status status;
        int stops = 0;
        (void)snprintf(name, sizeof name, "resume-%d", (int)i);
        c.directory = bpt_at(path, name);
        c.resume = true;
        c.stop = stop_soon;
        for (;;) {
            int rounds = (int)bp_rng_index(&rng, 12);
            c.stop_ctx = &rounds;
            run = create(&c);
            status = bp_run_train(run, &error);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_INTERRUPTED);
            bp_run_destroy(run);
            assert_true(++stops < 1000);
        }
        assert_true(stops > 3);
        same_runs(straight, run);
        bp_run_destroy(straight);
        bp_run_destroy(run);

        /* another structure does not take the checkpoint over */
        c = makers[i](path);
        c.resume = true;
        c.stop = NULL;
        if (i != 1) {
            c.learner.critic_lstm++;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "critic_lstm");
            c.learner.critic_lstm--, c.learner.policy.lstm++;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "policy.lstm");
            c.learner.policy.lstm--, c.learner.burn_in++;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "burn_in");
            c.learner.burn_in--, c.learner.memory_start = BP_MEMORY_ZERO;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "memory_start");
        }
        if (i > 0) {
            c = makers[i](path);
            c.resume = true;
            c.learner.latent.hold++;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "latent.hold");
            c.learner.latent.hold--, c.learner.latent.joint_ratio = !c.learner.latent.joint_ratio;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "latent.joint_ratio");
            c.learner.latent.joint_ratio = !c.learner.latent.joint_ratio, c.learner.latent.high.lstm++;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "latent.high.lstm");
            c.learner.latent.high.lstm--, c.learner.latent.critic_sees_latent = false;
            bpt_refuses_run(&c, BP_ERR_MISMATCH, "latent.critic_sees_latent");
        }
    }
}

/* ---- free-running actors ---------------------------------------------------------------------------------- */

static void test_asynchronous(void **state) {
#if defined(BPRIOR_THREADS)
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        char path[300], name[32];
        bp_run_config c = makers[i](NULL);
        bp_run *run;
        bp_error error;
        int rounds = 3;
        (void)snprintf(name, sizeof name, "async-%d", (int)i);
        c.directory = bpt_at(path, name);
        c.mode = BP_RUN_ASYNC;
        c.threads = 2;
        c.stop = stop_soon;
        c.stop_ctx = &rounds;
        run = create(&c);
        assert_int_equal(bp_run_train(run, &error), BP_INTERRUPTED);
        bp_run_destroy(run);
        c.stop = NULL;
        c.resume = true;
        run = train(&c);
        assert_true(run->resumed);
        bp_run_destroy(run);
    }
#else
    (void)state;
    skip();
#endif
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static void test_out_of_memory(void **state) {
    size_t i, k;
    (void)state;
    for (i = 0; i < 3; i++) {
        bp_run_config c = makers[i](NULL);
        bpt_memory memory;
        bp_run *run;
        bp_error error;
        for (k = 1;; k++) {
            bp_status status;
            bpt_memory_use(&memory);
            memory.fail_at = k;
            status = bp_run_create(&run, &c, &memory.allocator, &error);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
            assert_null(run);
            bpt_memory_check(&memory);
        }
        assert_true(k > 3);
        memory.fail_at = 0;
        {
            const size_t requests = memory.requests;
            for (k = 0; k < 20; k++) bpt_ok(bp_run_round(run, &error), &error);
            assert_true(run->learner->steps > 0);
            assert_int_equal(memory.requests, requests); /* nothing after create; fresh memory was no zeros, either */
        }
        bp_run_destroy(run);
        bpt_memory_check(&memory);
    }
}

/* ---- what actors write down ---------------------------------------------------------------------------------- */

/* Latents are held three steps, drawn anew in each episode; sequences begin with what the one before ended with. */
static void test_sequences(void **state) {
    const bp_run_config c = levels(NULL);
    const size_t T = c.learner.length, Z = 2;
    bp_run *run = create(&c);
    bp_error error;
    size_t rounds, k, held = 0, drawn = 0, boundaries = 0, middle = 0;
    bp_real z[3][2];
    double age[3] = {0, 0, 0};
    (void)state;
    memset(z, 0, sizeof z);
    assert_int_equal(run->replay->config.latent_size, Z);
    assert_int_equal(run->replay->config.state_size, Z + 1);
    for (rounds = 0; rounds < 20; rounds++) {
        bpt_ok(bp_run_round(run, &error), &error);
        for (k = 0; k < 3; k++) { /* of actor k */
            const size_t slot = (run->replay->next + run->replay->config.capacity - 3 + k) % run->replay->config.capacity;
            bp_sequence s;
            size_t t;
            const size_t O = run->replay->config.observation_size;
            bp_real *copy = (bp_real *)malloc(run->replay->stride * sizeof(bp_real));
            assert_non_null(copy);
            bp_sequence_init(&s, copy, &run->replay->config);
            memcpy(copy, run->replay->data + slot * run->replay->stride, run->replay->stride * sizeof(bp_real));
            assert_true((double)s.state[Z] == age[k]);
            if (age[k] > 0) assert_memory_equal(s.state, z[k], sizeof z[k]);
            middle += age[k] > 0;
            for (t = 0; t < T; t++) {
                const bp_real *now = s.latent + t * Z;
                if (!(s.mask[t] > BP_R(0))) {
                    boundaries++;
                    age[k] = 0;
                    assert_true(now[0] == BP_R(0) && now[1] == BP_R(0));
                    continue;
                }
                if (age[k] == 0 || age[k] >= 3) {
                    assert_true(now[0] != z[k][0] && now[1] != z[k][1]);
                    age[k] = 1, drawn++;
                } else {
                    assert_memory_equal(now, z[k], sizeof z[k]);
                    age[k]++, held++;
                }
                memcpy(z[k], now, sizeof z[k]);
            }
            (void)O;
            free(copy);
        }
    }
    assert_true(held > 50 && drawn > 50 && boundaries > 5 && middle > 20);
    bp_run_destroy(run);
}

/* The exported policy plays an evaluation's episodes to the same returns as the run itself. */
static void test_export(void **state) {
    size_t i, who;
    (void)state;
    for (i = 0; i < 3; i++) {
        bp_run_config c = makers[i](NULL);
        bp_run *run = train(&c);
        for (who = 0; who < 2; who++) {
            const bp_rs0_who whose = who ? BP_PLAY_PRIOR : BP_PLAY_POLICY;
            double returns[4];
            bp_evaluation evaluation;
            bp_agent *agent;
            bp_error error;
            bp_env env;
            char path[300];
            bp_real x[64], action[BP_MAX_ACTION];
            size_t k;
            bpt_ok(bp_run_evaluate(&evaluation, returns, run, whose, 4, 77, false, &error), &error);
            bpt_ok(bp_run_export(run, whose, bpt_at(path, "exported.safetensors"), &error), &error);
            bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
            bpt_ok(c.envs.make(c.envs.ctx, 9, &env, &error), &error);
            bpt_ok(bp_agent_check(agent, &env.spec, &error), &error);
            assert_true(env.spec.observation_size <= 64);
            for (k = 0; k < 4; k++) {
                bp_step step;
                double total = 0;
                bpt_ok(env.reset(env.self, bp_seed_mix(77, UINT64_MAX, k), x), NULL);
                bp_agent_reset(agent);
                do {
                    step.reward = 0, step.discount = 1, step.last = false;
                    bpt_ok(bp_agent_act(agent, action, x), NULL);
                    bpt_ok(env.step(env.self, action, x, &step), NULL);
                    total += (double)step.reward;
                } while (!step.last);
                bpt_close(total, returns[k], BPT_TOL(1e-4, 1e-10));
            }
            assert_true(returns[0] != returns[1]);
            bp_env_close(&env);
            bp_agent_destroy(agent);
        }
        bp_run_destroy(run);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_asynchronous),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_export),
    };
    bpt_make_scratch("structured-runs");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
