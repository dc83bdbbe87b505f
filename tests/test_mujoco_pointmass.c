/* test_mujoco_pointmass.c - chapters M1, M2, M4 and M5 of bprior_mujoco.h: the library glue, and sequential navigation.
 *
 * Oracles: the body's equation of motion written out by hand; the sequence law of the talk as exact numbers and as
 * frequencies; hits provoked by putting the body onto a target.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"

#include <pthread.h>


static void push(mj_rig *r, double a0, double a1) {
    const bp_real action[2] = {(bp_real)a0, (bp_real)a1};
    mj_rig_step(r, action);
}

static void put(mj_rig *r, double x, double y) {
    const double qpos[2] = {x, y}, qvel[2] = {0, 0};
    bpt_ok(bp_mj_env_set_state(&r->env, qpos, qvel, r->obs, &r->error), &r->error);
}

/* ---- M1, M2 ------------------------------------------------------------------------------------ */

static void raise_error(void *ctx) {
    (void)ctx;
    mju_error("boom");
}

static void raise_warning(void *ctx) {
    (void)ctx;
    mju_warning("careful");
}

/* Ask for more of mjData's stack than there is. */
static void overflow_stack(void *ctx) {
    mj_rig *r = (mj_rig *)ctx;
#if mjVERSION_HEADER >= 300
    mj_stackAllocNum(bp_mj_env_data(&r->env), (size_t)1 << 40);
#else
    mj_stackAlloc(bp_mj_env_data(&r->env), 2000000000);
#endif
}

static void nested_error(void *ctx) {
    bp_error *inner = (bp_error *)ctx;
    bpi_mj_guard(raise_error, NULL, NULL, inner);
    mju_error("outer");
}

static void test_errors(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    bp_error error, inner;
    char warning[128] = "";
    mjModel *model = (mjModel *)&error;
    mj_rig r;
    (void)state;
    bpt_ok(bp_mj_init(&error), &error);
    bpt_ok(bp_mj_init(NULL), NULL);

    assert_int_equal(bpi_mj_guard(raise_error, NULL, NULL, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "boom"));
    assert_int_equal(bpi_mj_guard(raise_warning, NULL, warning, &error), BP_OK);
    assert_non_null(strstr(warning, "careful"));
    assert_int_equal(bpi_mj_guard(nested_error, &inner, NULL, &error), BP_ERR_ENV);
    assert_non_null(strstr(inner.text, "boom"));
    assert_non_null(strstr(error.text, "outer"));

    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    assert_int_equal(bpi_mj_guard(overflow_stack, &r, NULL, &error), BP_ERR_ENV);
    assert_non_null(strstr(error.text, "tack")); /* "Stack overflow", "stack overflow" */
    mj_rig_free(&r);

    /* Text that is no model, no XML, or nothing at all. */
    assert_int_equal(bp_mj_load_xml(&model, "<mujoco><nonsense/></mujoco>", NULL, &error), BP_ERR_FORMAT);
    assert_null(model);
    assert_non_null(strstr(error.text, "XML"));
    assert_int_equal(bp_mj_load_xml(&model, "<mujoco", NULL, &error), BP_ERR_FORMAT);
    assert_int_equal(bp_mj_load_xml(&model, "", NULL, &error), BP_ERR_FORMAT);
    assert_int_equal(bp_mj_load_xml(&model, NULL, NULL, &error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_load_xml(NULL, "<mujoco/>", NULL, &error), BP_ERR_ARGUMENT);
    bpt_ok(bp_mj_load_xml(&model, "<mujoco/>", NULL, &error), &error);
    mj_deleteModel(model);
}

static void fail_in_callback(const mjModel *m, mjData *d) {
    (void)m;
    (void)d;
    mju_error("the callback says no");
}

/* An error in the middle of a step: a status, no episode any more, and reset() makes everything well again. */
static void test_engine_error_in_step(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    const bp_real action[2] = {0, 0};
    bp_real before[MJ_RIG_OBSERVATION];
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 5);
    memcpy(before, r.obs, sizeof before);
    push(&r, 1, 1);

    mjcb_control = fail_in_callback;
    assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "callback says no"));
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_ENGINE_ERROR);
    assert_int_equal(r.env.reset(r.env.self, 5, r.obs), BP_ERR_ENV); /* still failing */
    mjcb_control = NULL;

    assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV); /* no episode */
    mj_rig_reset(&r, 5);
    assert_memory_equal(before, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    push(&r, 1, 1);
    mj_rig_free(&r);
}

/* Numbers survive the way through text; short buffers get a terminated prefix; overfull tables are refused. */
static void test_tables(void **state) {
    bp_mj_table *table = (bp_mj_table *)malloc(sizeof *table);
    bp_error error;
    mjModel *model;
    char *text, part[40];
    size_t n, i;
    (void)state;
    bp_mj_table_begin(table, "test");
    table->timestep = 1.0 / 300.0;
    bp_mj_table_add_pointmass(table, 1.0 / 3.0);
    n = bp_mj_table_xml(NULL, 0, table);
    text = (char *)malloc(n + 1);
    assert_int_equal(bp_mj_table_xml(text, n + 1, table), n);
    assert_int_equal(strlen(text), n);
    assert_int_equal(bp_mj_table_xml(part, sizeof part, table), n);
    assert_int_equal(strlen(part), sizeof part - 1);
    assert_memory_equal(part, text, sizeof part - 1);

    bpt_ok(bp_mj_table_load(&model, table, NULL, &error), &error);
    assert_true(model->opt.timestep == (mjtNum)(1.0 / 300.0));
    assert_true(model->actuator_gear[0] == (mjtNum)(1.0 / 3.0));
    assert_int_equal(model->nq, 2);
    mj_deleteModel(model);

    for (i = 0; i < BP_MJ_MAX_GEOMS + 3; i++) {
        snprintf(part, sizeof part, "g%d", (int)i);
        bp_mj_table_geom(table, part, 0, BP_MJ_SPHERE);
    }
    assert_null(bp_mj_table_geom(table, "more", 0, BP_MJ_SPHERE));
    assert_int_equal(bp_mj_table_load(&model, table, NULL, &error), BP_ERR_SIZE);
    free(text);
    free(table);
}

/* ---- the body ---------------------------------------------------------------------------------- */

/* v' = (0.3 v + 0.02 0.1 u) / 0.32, x' = x + 0.02 v': the suite's point mass inside its limits. */
static void test_dynamics(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    bp_rng rng = bp_rng_make(bpt_seed(), 7);
    double x[2] = {-0.1, 0.05}, v[2] = {0.02, -0.03}, u[2], worst = 0;
    int t, i;
    mj_rig r;
    (void)state;
    config.n_substeps = 1;
    config.episode_steps = 1000;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    bpt_ok(bp_mj_env_set_state(&r.env, x, v, NULL, NULL), NULL);
    for (t = 0; t < 120; t++) {
        const mjData *d = bp_mj_env_data(&r.env);
        for (i = 0; i < 2; i++) u[i] = (double)(bp_real)(3 * bp_rng_uniform(&rng) - 1.5); /* beyond +-1: clamped */
        push(&r, u[0], u[1]);
        for (i = 0; i < 2; i++) {
            const double clamped = u[i] > 1 ? 1 : u[i] < -1 ? -1
                                                            : u[i];
            v[i] = (0.3 * v[i] + 0.02 * 0.1 * clamped) / 0.32;
            x[i] += 0.02 * v[i];
            assert_true(fabs(x[i]) < 0.285);
            worst = fmax(worst, fmax(fabs((double)d->qpos[i] - x[i]), fabs((double)d->qvel[i] - v[i])));
            bpt_close(r.obs[i], x[i] / 0.29, BPT_TOL(1e-6, 1e-12));
            bpt_close(r.obs[2 + i], v[i] / 0.1, BPT_TOL(1e-6, 1e-12));
        }
    }
    print_message("largest difference from the equation of motion: %.3g\n", worst);
    assert_true(worst < 1e-12);

    /* Terminal speed, and the wall: the limits are soft, but not by much. */
    mj_rig_reset(&r, 2);
    put(&r, -0.29, 0);
    for (t = 0; t < 150; t++) push(&r, 1, 0);
    bpt_close(r.obs[2], 1, 1e-3);
    for (t = 0; t < 400; t++) push(&r, 1, 0);
    assert_true(fabs((double)r.obs[0] - 1) < 0.02);
    assert_true(fabs((double)r.obs[2]) < 1e-3);
    mj_rig_free(&r);
}

/* ---- the task ---------------------------------------------------------------------------------- */

static void test_observation(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    double target[BP_MJ_MAX_TARGETS][3];
    bp_mj_info info;
    size_t i;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    assert_int_equal(r.env.spec.n_fields, 4);
    assert_int_equal(r.env.spec.observation_size, 2 + 2 + 8 + 4);
    assert_int_equal(r.env.spec.action_size, 2);
    mj_rig_reset(&r, 3);
    info = bp_mj_env_info(&r.env);
    assert_int_equal(bp_mj_env_targets(&r.env, target[0], BP_MJ_MAX_TARGETS), 4);
    bpt_close(target[0][0], 0.2 * sqrt(0.5), 1e-12); /* a square: target 0 in the first quadrant, then round */
    bpt_close(target[0][1], 0.2 * sqrt(0.5), 1e-12);
    bpt_close(target[1][0], -0.2 * sqrt(0.5), 1e-12);
    bpt_close(target[2][1], -0.2 * sqrt(0.5), 1e-12);
    put(&r, 0.1, -0.05);
    for (i = 0; i < 4; i++) {
        bpt_close(mj_rig_field(&r, "targets")[2 * i], (target[i][0] - 0.1) / 0.29, BPT_TOL(1e-6, 1e-12));
        bpt_close(mj_rig_field(&r, "targets")[2 * i + 1], (target[i][1] + 0.05) / 0.29, BPT_TOL(1e-6, 1e-12));
        assert_true(mj_rig_field(&r, "next")[i] == BP_R(i == info.goal));
    }
    mj_rig_free(&r);

    config.relative_targets = false;
    config.show_previous = true;
    config.task_slots = 3;
    config.sequence[0].slot = 2;
    config.sequence[0].places = BP_MJ_PLACES_LISTED;
    config.sequence[0].target[1][0] = 0.25;
    config.sequence[0].target[2][1] = -0.25;
    config.sequence[0].target[3][1] = 0.2;
    mj_rig_make(&r, &config);
    assert_int_equal(r.env.spec.observation_size, 2 + 2 + 8 + 4 + 8 + 3);
    mj_rig_reset(&r, 3);
    bpt_close(mj_rig_field(&r, "targets")[2], 0.25 / 0.29, 1e-6);
    bpt_close(mj_rig_field(&r, "targets")[5], -0.25 / 0.29, 1e-6);
    for (i = 0; i < 8; i++) assert_true(mj_rig_field(&r, "previous")[i] == 0);
    for (i = 0; i < 3; i++) assert_true(mj_rig_field(&r, "task")[i] == BP_R(i == 2));
    mj_rig_free(&r);
}

/* Touching the next target pays and names another; touching a wrong one does nothing. */
static void test_hits(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    double target[BP_MJ_MAX_TARGETS][3];
    bp_mj_info before, after;
    size_t n = 0, wrong, first, second;
    mj_rig r;
    (void)state;
    config.show_previous = true;
    config.hit_reward = 2.5;
    config.max_hits = 3;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 11);
    bp_mj_env_targets(&r.env, target[0], BP_MJ_MAX_TARGETS);
    before = bp_mj_env_info(&r.env);
    assert_int_equal(before.previous[0], 4);
    first = before.goal;

    wrong = (before.goal + 1) % 4;
    put(&r, target[wrong][0], target[wrong][1]);
    push(&r, 0, 0);
    assert_true(r.out.reward == 0);
    assert_int_equal(bp_mj_env_info(&r.env).goal, before.goal);

    put(&r, target[before.goal][0] + 0.061, target[before.goal][1]); /* just outside, drifting away */
    push(&r, 1, 0);
    assert_true(r.out.reward == 0);

    put(&r, target[before.goal][0], target[before.goal][1]);
    push(&r, 0, 0);
    assert_true(r.out.reward == BP_R(2.5));
    assert_true(r.out.discount == 1 && !r.out.last);
    after = bp_mj_env_info(&r.env);
    assert_int_equal(after.hits, 1);
    assert_int_equal(after.previous[0], before.goal);
    assert_int_equal(after.previous[1], 4);
    assert_int_not_equal(after.goal, before.goal);
    assert_true(mj_rig_field(&r, "previous")[before.goal] == 1);
    assert_true(mj_rig_field(&r, "next")[after.goal] == 1);

    second = after.goal;
    put(&r, target[second][0], target[second][1]);
    push(&r, 0, 0);
    after = bp_mj_env_info(&r.env);
    assert_int_equal(after.previous[0], second);
    assert_int_equal(after.previous[1], first);
    assert_true(mj_rig_field(&r, "previous")[4 + first] == 1);
    assert_true(after.goal != first && after.goal != second); /* second order: never straight back */

    put(&r, target[after.goal][0], target[after.goal][1]);
    push(&r, 0, 0);
    assert_true(r.out.last && r.out.discount == 0 && r.out.reward == BP_R(2.5)); /* the third and last */
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_SUCCESS);
    {
        const bp_real action[2] = {0, 0};
        assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV); /* the episode is over */
    }
    mj_rig_free(&r);

    /* Rushing through a target inside one control step counts. */
    config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 11);
    {
        const double qpos[2] = {target[first][0] - 0.065, target[first][1]}, qvel[2] = {1.0, 0};
        bpt_ok(bp_mj_env_set_state(&r.env, qpos, qvel, r.obs, NULL), NULL);
    }
    push(&r, 1, 0);
    assert_true(r.out.reward == 1);
    assert_true(fabs((double)bp_mj_env_data(&r.env)->qpos[0] - target[first][0]) > 0.06); /* already gone again */
    mj_rig_free(&r);

    /* The time limit: last, discount 1, exactly at step 50. */
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 12);
    do {
        push(&r, 0, 0);
        n++;
    } while (!r.out.last);
    assert_int_equal(n, 50);
    assert_true(r.out.discount == 1);
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_TIME_LIMIT);
    mj_rig_free(&r);
}

static void test_law_exact(void **state) {
    bp_mj_sequence task = bp_mj_sequence_default();
    double p[BP_MJ_MAX_TARGETS], sum[BP_MJ_MAX_TARGETS];
    size_t n, i, c, prev;
    (void)state;
    bp_mj_sequence_law(p, &task, 4, 0, 1); /* blue 0, green 1 -> black 2 or red 3 */
    bpt_close(p[2], 0.9, 1e-15);
    bpt_close(p[3], 0.1, 1e-15);
    assert_true(p[0] == 0 && p[1] == 0);
    bp_mj_sequence_law(p, &task, 4, 3, 1); /* red, green -> blue or black */
    bpt_close(p[0], 0.9, 1e-15);
    bpt_close(p[2], 0.1, 1e-15);

    for (n = 4; n <= BP_MJ_MAX_TARGETS; n++)
        for (task.reversed = false;; task.reversed = true) {
            for (c = 0; c < n; c++) {
                for (i = 0; i < n; i++) sum[i] = 0;
                for (prev = 0; prev < n; prev++) {
                    double total = 0;
                    if (prev == c) continue;
                    bp_mj_sequence_law(p, &task, n, prev, c);
                    for (i = 0; i < n; i++) total += p[i], sum[i] += p[i];
                    bpt_close(total, 1, 1e-14);
                    assert_true(p[c] == 0 && p[prev] == 0);
                }
                for (i = 0; i < n; i++) bpt_close(sum[i], i == c ? 0 : 1, 1e-14); /* uniform given c alone */
            }
            if (task.reversed) break;
        }

    task.law = BP_MJ_LAW_CYCLE;
    task.reversed = false;
    bp_mj_sequence_law(p, &task, 3, 0, 2);
    assert_true(p[0] == 1 && p[1] == 0 && p[2] == 0);
    task.law = BP_MJ_LAW_UNIFORM;
    bp_mj_sequence_law(p, &task, 3, 0, 2);
    assert_true(p[0] == 0.5 && p[1] == 0.5 && p[2] == 0);
    bp_mj_sequence_law(p, &task, 3, 3, 3);
    bpt_close(p[2], 1.0 / 3, 1e-15);
}

/* The environment draws from that law: play sequences by teleporting from goal to goal. */
static void test_law_statistics(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    double target[BP_MJ_MAX_TARGETS][3], law[BP_MJ_MAX_TARGETS];
    size_t pair[4][4] = {{0}}, total[4] = {0}, common = 0, n = 0, episode, t, i, j;
    mj_rig r;
    (void)state;
    config.n_substeps = 1;
    config.episode_steps = 60;
    mj_rig_make(&r, &config);
    for (episode = 0; episode < 200; episode++) {
        mj_rig_reset(&r, 1000 + episode);
        bp_mj_env_targets(&r.env, target[0], BP_MJ_MAX_TARGETS);
        for (t = 0; t < 50; t++) {
            const size_t goal = bp_mj_env_info(&r.env).goal;
            bp_mj_info info;
            put(&r, target[goal][0], target[goal][1]);
            push(&r, 0, 0);
            assert_true(r.out.reward == 1);
            info = bp_mj_env_info(&r.env);
            if (t == 0) continue;
            bp_mj_sequence_law(law, &config.sequence[0], 4, info.previous[1], info.previous[0]);
            assert_true(law[info.goal] > 0);
            common += law[info.goal] > 0.5;
            n++;
            pair[info.previous[0]][info.goal]++;
            total[info.previous[0]]++;
        }
    }
    print_message("common successor: %.4f of %lu\n", (double)common / (double)n, (unsigned long)n);
    bpt_close((double)common / (double)n, 0.9, 0.015); /* 5 standard deviations */
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++)
            bpt_close((double)pair[i][j] / (double)total[i], i == j ? 0 : 1.0 / 3, 0.05);
    mj_rig_free(&r);
}

static void test_reset_statistics(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    double mean[2] = {0, 0}, square[2] = {0, 0}, target[BP_MJ_MAX_TARGETS][3];
    size_t goals[4] = {0}, tasks[4] = {0}, episode, i, j;
    const size_t n = 4000;
    mj_rig r;
    (void)state;
    bp_mj_sequence_multitask(&config);
    mj_rig_make(&r, &config);
    for (episode = 0; episode < n; episode++) {
        const mjData *d = bp_mj_env_data(&r.env);
        bp_mj_info info;
        mj_rig_reset(&r, episode);
        info = bp_mj_env_info(&r.env);
        bp_mj_env_targets(&r.env, target[0], BP_MJ_MAX_TARGETS);
        goals[info.goal]++;
        tasks[info.sequence]++;
        assert_true(mj_rig_field(&r, "task")[info.sequence] == 1);
        assert_true(mj_rig_field(&r, "task")[4] == 0);
        for (i = 0; i < 2; i++) {
            assert_true(fabs((double)d->qpos[i]) <= 0.29 && d->qvel[i] == 0);
            mean[i] += (double)d->qpos[i] / (double)n;
            square[i] += (double)(d->qpos[i] * d->qpos[i]) / (double)n;
        }
        assert_true(hypot((double)d->qpos[0] - target[info.goal][0], (double)d->qpos[1] - target[info.goal][1]) >
                    config.hit_radius);
    }
    for (i = 0; i < 2; i++) {
        bpt_close(mean[i], 0, 0.015);
        bpt_close(square[i] / (0.29 * 0.29 / 3), 1, 0.05);
    }
    for (i = 0; i < 4; i++) {
        bpt_close((double)goals[i] / (double)n, 0.25, 0.035);
        bpt_close((double)tasks[i] / (double)n, 0.25, 0.035);
    }
    mj_rig_free(&r);

    /* Random layouts keep their distance. */
    config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    config.sequence[0].places = BP_MJ_PLACES_RANDOM;
    mj_rig_make(&r, &config);
    for (episode = 0; episode < 300; episode++) {
        mj_rig_reset(&r, episode);
        bp_mj_env_targets(&r.env, target[0], BP_MJ_MAX_TARGETS);
        for (i = 0; i < 4; i++) {
            assert_true(fabs(target[i][0]) <= 0.25 && fabs(target[i][1]) <= 0.25);
            for (j = 0; j < i; j++)
                assert_true(hypot(target[i][0] - target[j][0], target[i][1] - target[j][1]) >= 0.15);
        }
    }
    mj_rig_free(&r);
}

/* What was trained on the four tasks must fit the new one. */
static void test_transfer_spec(void **state) {
    bp_mj_task many = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS), one = many;
    double a[BP_MJ_MAX_TARGETS][3];
    mj_rig r, s;
    (void)state;
    bp_mj_sequence_multitask(&many);
    bp_mj_sequence_transfer(&one, BP_MJ_NEW_BOTH);
    mj_rig_make(&r, &many);
    mj_rig_make(&s, &one);
    assert_true(bp_spec_equal(&r.env.spec, &s.env.spec));
    mj_rig_reset(&s, 1);
    assert_true(mj_rig_field(&s, "task")[4] == 1);
    bp_mj_env_targets(&s.env, a[0], BP_MJ_MAX_TARGETS);
    bpt_close(atan2(a[0][1], a[0][0]), 3.14159265358979 / 8, 1e-9);
    mj_rig_free(&r);

    many.fixed_sequence = 2;
    mj_rig_make(&r, &many);
    mj_rig_reset(&r, 1);
    assert_int_equal(bp_mj_env_info(&r.env).sequence, 2);
    mj_rig_free(&r);
    mj_rig_free(&s);
}

/* ---- contract of an environment ---------------------------------------------------------------- */

static void test_env_check(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    bp_env_maker maker;
    bp_env env;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    bpt_ok(bp_env_check(&r.env, 1, 400, &r.error), &r.error);
    maker = bp_mj_maker(r.world);
    bpt_ok(maker.make(maker.ctx, 7, &env, &r.error), &r.error);
    assert_true(bp_spec_equal(&env.spec, bp_mj_world_spec(r.world)));
    assert_true(bp_mj_env_is(&env));
    bp_env_close(&env);
    assert_false(bp_mj_env_is(&env));
    assert_null(bp_mj_env_data(&env));
    mj_rig_free(&r);

    bp_mj_sequence_multitask(&config);
    config.show_previous = true;
    config.n_targets = 8;
    config.max_hits = 2;
    config.hit_radius = 0.2;
    mj_rig_make(&r, &config);
    bpt_ok(bp_env_check(&r.env, 1, 400, &r.error), &r.error);
    mj_rig_free(&r);
    bp_mj_world_destroy(NULL);
}

static void test_bad_actions_and_divergence(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    const double fast[2] = {1e12, 0};
    bp_real action[2] = {0, 0};
    size_t i;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV); /* before the first reset */
    mj_rig_reset(&r, 1);
    action[1] = (bp_real)NAN;
    assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "action[1]"));
    push(&r, 0, 0); /* the episode is unharmed */
    assert_int_equal(bp_mj_env_info(&r.env).steps, 1);

    bpt_ok(bp_mj_env_set_state(&r.env, NULL, fast, NULL, NULL), NULL);
    push(&r, 0, 0);
    assert_true(r.out.last && r.out.discount == 0 && r.out.reward == 0);
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_DIVERGED);
    assert_int_equal(bp_mj_env_info(&r.env).diverged, 1);
    assert_true(bp_mj_env_info(&r.env).warning[0] != '\0');
    for (i = 0; i < r.env.spec.observation_size; i++) assert_true(r.obs[i] - r.obs[i] == 0);
    mj_rig_reset(&r, 2);
    push(&r, 0, 0);
    assert_false(r.out.last);
    mj_rig_free(&r);

    config.divergence_is_error = true;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    action[1] = 0;
    bpt_ok(bp_mj_env_set_state(&r.env, NULL, fast, NULL, NULL), NULL);
    assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "diverged"));
    mj_rig_free(&r);
}

static void test_bad_configs(void **state) {
    bp_mj_task good = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS), c;
    bp_mj_world *world = NULL;
    bp_error e;
    (void)state;
#define REFUSED(change, status, word)                                         \
    do {                                                                      \
        c = good;                                                             \
        change;                                                               \
        assert_int_equal(bp_mj_world_create(&world, &c, NULL, &e), (status)); \
        assert_non_null(strstr(e.text, word));                                \
        assert_null(world);                                                   \
    } while (0)
    REFUSED(memset(&c, 0, sizeof c), BP_ERR_CONFIG, "default");
    REFUSED(c.cookie ^= 0x08000000u, BP_ERR_ABI, "bp_real");
    REFUSED(c.n_targets = 1, BP_ERR_ARGUMENT, "n_targets");
    REFUSED(c.n_targets = 9, BP_ERR_ARGUMENT, "n_targets");
    REFUSED(c.n_targets = 3, BP_ERR_ARGUMENT, "4 targets");
    REFUSED(c.n_substeps = 0, BP_ERR_ARGUMENT, "n_substeps");
    REFUSED(c.timestep = -1, BP_ERR_ARGUMENT, "timestep");
    REFUSED(c.gear = 0, BP_ERR_ARGUMENT, "gear");
    REFUSED(c.hit_radius = NAN, BP_ERR_ARGUMENT, "hit_radius");
    REFUSED(c.hit_reward = INFINITY, BP_ERR_ARGUMENT, "hit_reward");
    REFUSED(c.n_sequences = 0, BP_ERR_ARGUMENT, "n_sequences");
    REFUSED(c.fixed_sequence = 1, BP_ERR_ARGUMENT, "fixed_sequence");
    REFUSED((c.spawn = BP_MJ_SPAWN_FIXED, c.layout.spawn[1] = 0.3), BP_ERR_ARGUMENT, "layout.spawn");
    REFUSED(c.half_room = 1, BP_ERR_ARGUMENT, "half_room");
    REFUSED(c.walker = NULL, BP_ERR_ARGUMENT, "walker");
    REFUSED(c.sequence[0].p_common = 1.5, BP_ERR_ARGUMENT, "p_common");
    REFUSED(c.sequence[0].radius = 1, BP_ERR_ARGUMENT, "radius");
    REFUSED(c.task_slots = 5000, BP_ERR_ARGUMENT, "task_slots");
    REFUSED((c.sequence[0].places = BP_MJ_PLACES_LISTED, c.sequence[0].target[3][0] = 1), BP_ERR_ARGUMENT, "target[3]");
#undef REFUSED
    assert_int_equal(bp_mj_world_create(NULL, &good, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_world_create(&world, NULL, NULL, NULL), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_env_make(NULL, NULL, &e), BP_ERR_ARGUMENT);
}

/* Save in the middle, go on, load in ANOTHER environment, go on: the same bits. Damaged bytes are refused. */
static void test_save_load(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    bp_rng rng = bp_rng_make(3, 3);
    bp_real actions[40][2], seen[40][MJ_RIG_OBSERVATION], rewards[40];
    unsigned char buffer[4096];
    size_t bytes, t, i;
    bp_env other;
    mj_rig r;
    (void)state;
    config.hit_radius = 0.15; /* many hits */
    mj_rig_make(&r, &config);
    bpt_ok(bp_mj_env_make(r.world, &other, &r.error), &r.error);
    for (t = 0; t < 40; t++)
        for (i = 0; i < 2; i++) actions[t][i] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
    mj_rig_reset(&r, 77);
    for (t = 0; t < 9; t++) push(&r, (double)actions[t][1], (double)actions[t][0]);
    bytes = r.env.save(r.env.self, NULL, 0);
    assert_true(bytes <= sizeof buffer);
    assert_int_equal(r.env.save(r.env.self, buffer, bytes - 1), 0);
    assert_int_equal(r.env.save(r.env.self, buffer, sizeof buffer), bytes);
    for (t = 0; t < 40; t++) {
        push(&r, (double)actions[t][0], (double)actions[t][1]);
        memcpy(seen[t], r.obs, sizeof seen[t]);
        rewards[t] = r.out.reward;
    }
    assert_int_equal(other.load(other.self, buffer, bytes), BP_OK);
    for (t = 0; t < 40; t++) {
        assert_int_equal(other.step(other.self, actions[t], r.obs, &r.out), BP_OK);
        assert_memory_equal(r.obs, seen[t], r.env.spec.observation_size * sizeof(bp_real));
        assert_true(r.out.reward == rewards[t]);
    }

    assert_int_equal(other.load(other.self, buffer, bytes - 1), BP_ERR_FORMAT);
    assert_int_equal(other.load(other.self, NULL, bytes), BP_ERR_FORMAT);
    for (t = 0; t < bytes; t++) { /* no byte may crash the loader, whatever it says */
        const unsigned char keep = buffer[t];
        buffer[t] = 0xFF;
        if (other.load(other.self, buffer, bytes) == BP_OK && bp_mj_env_info(&other).end == BP_MJ_RUNNING)
            other.step(other.self, actions[0], r.obs, &r.out);
        buffer[t] = keep;
    }
    bp_env_close(&other);
    mj_rig_free(&r);
}

/* ---- threads ----------------------------------------------------------------------------------- */

typedef struct runner {
    const bp_mj_world *world;
    double sum;
    int failures;
} runner;

static void *run_thread(void *ctx) {
    runner *r = (runner *)ctx;
    bp_rng rng = bp_rng_make(9, 9);
    bp_env env;
    bp_real obs[MJ_RIG_OBSERVATION], action[2];
    bp_step out;
    size_t episode;
    r->failures = bp_mj_env_make(r->world, &env, NULL) != BP_OK;
    if (r->failures) return NULL;
    for (episode = 0; episode < 20; episode++) {
        r->failures += env.reset(env.self, episode, obs) != BP_OK;
        do {
            bp_error error;
            action[0] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
            action[1] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
            r->failures += env.step(env.self, action, obs, &out) != BP_OK;
            r->sum += (double)obs[0] + (double)obs[3] + (double)out.reward;
            /* errors in one thread must not reach another */
            r->failures += bpi_mj_guard(raise_error, NULL, NULL, &error) != BP_ERR_ENV;
        } while (!out.last);
    }
    bp_env_close(&env);
    return NULL;
}

static void test_threads(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    pthread_t thread[2];
    runner run[2];
    mj_rig r;
    int i;
    (void)state;
    mj_rig_make(&r, &config);
    for (i = 0; i < 2; i++) {
        memset(&run[i], 0, sizeof run[i]);
        run[i].world = r.world;
        assert_int_equal(pthread_create(&thread[i], NULL, run_thread, &run[i]), 0);
    }
    for (i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    assert_int_equal(run[0].failures + run[1].failures, 0);
    assert_true(run[0].sum == run[1].sum && run[0].sum != 0);
    mj_rig_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_engine_error_in_step),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_dynamics),
        cmocka_unit_test(test_observation),
        cmocka_unit_test(test_hits),
        cmocka_unit_test(test_law_exact),
        cmocka_unit_test(test_law_statistics),
        cmocka_unit_test(test_reset_statistics),
        cmocka_unit_test(test_transfer_spec),
        cmocka_unit_test(test_env_check),
        cmocka_unit_test(test_bad_actions_and_divergence),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
