/* test_mujoco_tasks.c - chapters M4 to M9 of bprior_mujoco.h: every task with every walker that can do it.
 *
 * Oracles: the rules as they are written in the header's chapters, applied by hand to scripted episodes (things are put
 * where they trigger something); the definitions of the observation applied to mjData by other means; reset statistics over
 * 10,000 resets; sizes of observations recorded from the reference implementation. (The ant alone: test_mujoco_ant.c; numbers
 * from the reference: test_mujoco_parity.c.)
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"

#define PI 3.14159265358979323846

/* ---- the contract, for all ------------------------------------------------------------------------ */

static void test_all(void **state) {
    const uint64_t seed = bpt_seed();
    size_t bad = 0;
    int kind, walker;
    (void)state;
    for (kind = 0; kind < BP_MJ_TASK_COUNT_; kind++)
        for (walker = 0; walker < BP_MJ_WALKER_COUNT_; walker++) {
            bp_mj_task task = bp_mj_task_default((bp_mj_task_kind)kind, (bp_mj_walker_kind)walker);
            mj_rig r;
            task.episode_steps = 25;
            mj_rig_make(&r, &task);
            if (bp_env_check(&r.env, seed + (uint64_t)(kind + walker), 40, &r.error) != BP_OK) {
                print_error("%s\n", r.error.text);
                bad++;
            }
            assert_true(bp_mj_world_memory(r.world) > 10000);
            assert_ptr_equal(bp_mj_world_task(r.world)->walker, bp_mj_walker_of((bp_mj_walker_kind)walker));
            mj_rig_free(&r);
        }
    assert_int_equal(bad, 0);
    for (kind = 0; kind < BP_MJ_TASK_COUNT_; kind++)
        assert_int_equal(bp_mj_task_named(bp_mj_task_name((bp_mj_task_kind)kind)), kind);
    assert_int_equal(bp_mj_task_named("nothing of the kind"), BP_MJ_TASK_COUNT_);
    for (walker = 0; walker < BP_MJ_WALKER_COUNT_; walker++) {
        const bp_mj_walker *w = bp_mj_walker_of((bp_mj_walker_kind)walker);
        assert_ptr_equal(bp_mj_walker_named(w->name), w);
    }
    assert_null(bp_mj_walker_of(BP_MJ_WALKER_COUNT_));
}

/* What the reference implementation has, numbers per task. */
static void test_sizes(void **state) {
    static const struct {
        bp_mj_walker_kind walker;
        size_t size[4];
    } rows[] = {{BP_MJ_WALKER_ANT, {171, 195, 195, 201}},
                {BP_MJ_WALKER_ROLLING, {43, 67, 67, 73}},
                {BP_MJ_WALKER_JUMPING, {45, 69, 69, 75}},
                {BP_MJ_WALKER_CMU, {179, 203, 203, 209}}};
    size_t i, k;
    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        for (k = 0; k < 4; k++) {
            bp_mj_task task = bp_mj_task_default((bp_mj_task_kind)k, rows[i].walker);
            mj_rig r;
            mj_rig_make(&r, &task);
            assert_int_equal(r.env.spec.observation_size, rows[i].size[k]);
            mj_rig_free(&r);
        }
}

/* Upright, at rest, where and how the episode says: every walker, also with a yaw of 90 degrees. */
static void test_spawn(void **state) {
    int walker, turned;
    (void)state;
    for (walker = 0; walker < BP_MJ_WALKER_COUNT_; walker++)
        for (turned = 0; turned < 2; turned++) {
            bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, (bp_mj_walker_kind)walker);
            const bp_mj_walker *w = task.walker;
            bp_real direct[9], quarter[9];
            bp_mj_info info;
            mj_rig r;
            int i;
            task.fixed_layout = true;
            task.layout.yaw = 0;
            mj_rig_make(&r, &task);
            mj_rig_reset(&r, 1);
            info = bp_mj_env_info(&r.env);
            assert_true(fabs(info.root[0] - 2) < 0.1 && fabs(info.root[1] + 2) < 0.1);
            assert_true(info.aliveness > -0.01);
            assert_int_equal(bp_mj_env_data(&r.env)->ncon <= 1, 1); /* nothing sticks in the floor; a ball rests on it */
            memcpy(direct, mj_rig_field(&r, "walker/orientation"), sizeof direct);
            task.layout.yaw = PI / 2;
            bpt_ok(bp_mj_env_set_layout(&r.env, &task.layout, r.obs, &r.error), &r.error);
            memcpy(quarter, mj_rig_field(&r, "walker/orientation"), sizeof quarter);
            for (i = 0; i < 3; i++) { /* rows of R: x' = -y, y' = x, z' = z; the point mass has no front */
                const bool round = w->free_root || w->yaw_joint;
                bpt_close(quarter[i], round ? -(double)direct[3 + i] : (double)direct[i], 1e-6);
                bpt_close(quarter[3 + i], round ? (double)direct[i] : (double)direct[3 + i], 1e-6);
                bpt_close(quarter[6 + i], direct[6 + i], 1e-6);
            }
            mj_rig_free(&r);
        }
}

/* ---- predicates --------------------------------------------------------------------------------- */

static bp_mj_task scripted(bp_mj_task_kind kind) {
    bp_mj_task task = bp_mj_task_default(kind, BP_MJ_WALKER_ANT);
    task.fixed_layout = true;
    task.layout.yaw = 0;
    task.layout.box[0][2] = 0.3;
    return task;
}

/* A step that is expected to pay this, without or with an end. */
static void expect(mj_rig *r, double reward, bool last) {
    mj_rig_step(r, NULL);
    bpt_close(r->out.reward, reward, 1e-6);
    assert_int_equal(r->out.last, last);
    assert_true(r->out.discount == (last ? 0 : 1));
}

static void test_move_box(void **state) {
    bp_mj_task task = scripted(BP_MJ_MOVE_BOX);
    const bp_real *code;
    int leave;
    (void)state;
    task.layout.goal[0] = 1;
    for (leave = 0; leave < 2; leave++) {
        mj_rig r;
        mj_rig_make(&r, &task);
        mj_rig_reset(&r, 1);
        code = mj_rig_field(&r, "predicate_0");
        assert_true(code[0] == 1 && code[1] == 0 && code[2] == 1 && code[3] == 1 && code[4] == 1);
        expect(&r, 0, false);
        mj_rig_move(&r, "walker/root", 2, 2); /* the walker in the zone does not count */
        expect(&r, 0, false);
        mj_rig_move(&r, "walker/root", 2, -2);
        mj_rig_move(&r, "box_0", -2, -2); /* the wrong target */
        expect(&r, 0, false);
        mj_rig_move(&r, "box_0", 1.52, 2); /* its centre just inside */
        expect(&r, 10, false);
        assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 1);
        assert_true(bp_mj_env_info(&r.env).holds[0]);
        if (leave) mj_rig_move(&r, "box_0", 1.45, 2);
        expect(&r, leave ? 40 : 50, true);
        assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_SUCCESS);
        mj_rig_free(&r);
    }
}

static void test_both(void **state) {
    bp_mj_task task = scripted(BP_MJ_MOVE_BOX_AND_GTT);
    mj_rig r;
    (void)state;
    task.layout.active[0] = 1; /* the box's predicate in the first slot */
    task.layout.active[1] = 0;
    task.layout.goal[0] = 2;
    task.layout.goal[1] = 1;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 1);
    assert_true(mj_rig_field(&r, "predicate_0")[0] == 1 && mj_rig_field(&r, "predicate_0")[3] == 2);
    assert_true(mj_rig_field(&r, "predicate_1")[0] == 0 && mj_rig_field(&r, "predicate_1")[3] == 1);
    expect(&r, 0, false);
    mj_rig_move(&r, "box_0", -2, -2);
    expect(&r, 10, false); /* one of two */
    assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 1);
    assert_true(mj_rig_field(&r, "walker/predicates_activated")[1] == 0);
    expect(&r, 0, false); /* staying pays nothing */
    mj_rig_move(&r, "box_0", 0, 0);
    expect(&r, -10, false); /* lost */
    mj_rig_move(&r, "walker/root", 2, 2);
    expect(&r, 10, false); /* the other one */
    mj_rig_move(&r, "box_0", -2, -2);
    expect(&r, 10, false); /* both */
    assert_int_equal(bp_mj_env_info(&r.env).hits, 2);
    mj_rig_move(&r, "walker/root", 2, -2);
    expect(&r, 40, true); /* bonus, less the one that was left */
    mj_rig_free(&r);
}

/* Success and a fall in the same step: the bonus is paid, and it counts as success. A fall alone pays nothing. */
static void test_fall(void **state) {
    bp_mj_task task = scripted(BP_MJ_GO_TO_K_TARGETS);
    double qpos[32];
    mj_rig r;
    int i;
    (void)state;
    task.layout.goal[0] = 1;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 1);
    expect(&r, 0, false);
    for (i = 0; i < bp_mj_world_model(r.world)->nq; i++) qpos[i] = (double)bp_mj_env_data(&r.env)->qpos[i];
    qpos[2] = 1.2;
    qpos[3] = 0; /* upside down */
    qpos[4] = 1;
    qpos[5] = qpos[6] = 0;
    bpt_ok(bp_mj_env_set_state(&r.env, qpos, NULL, r.obs, &r.error), &r.error);
    assert_true(bp_mj_env_info(&r.env).aliveness < -0.99);
    expect(&r, 0, true);
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_FALL);
    assert_int_equal(r.env.step(r.env.self, r.obs, r.obs, &r.out), BP_ERR_ENV);
    mj_rig_free(&r);
}

/* "walker to box" and "box to box": by contact, and by distance. */
static void test_boxes(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_MOVE_BOX, BP_MJ_WALKER_ANT);
    int by_distance, second;
    (void)state;
    task.n_boxes = 2;
    task.n_targets = 1;
    task.n_predicates = 2;
    task.predicate[0].mover = BP_MJ_MOVE_WALKER;
    task.predicate[0].goal = BP_MJ_TO_BOX;
    task.predicate[0].goal_index = 1;
    task.predicate[0].weight = 1;
    task.predicate[1] = task.predicate[0];
    task.predicate[1].mover = BP_MJ_MOVE_THE_BOX;
    task.predicate[1].mover_index = 0;
    task.fixed_layout = true;
    task.layout.yaw = 0;
    task.layout.box[0][0] = 3;
    task.layout.box[0][1] = 2;
    task.layout.box[1][0] = -2;
    task.layout.box[1][1] = 1;
    task.layout.box[0][2] = task.layout.box[1][2] = 0;
    for (by_distance = 0; by_distance < 2; by_distance++)
        for (second = 0; second < 2; second++) {
            const char *mover = second ? "box_0" : "walker/root";
            const bp_real *code;
            mj_rig r;
            task.close = by_distance ? 1.3 : 0;
            task.layout.active[0] = second;
            mj_rig_make(&r, &task);
            mj_rig_reset(&r, 1);
            code = mj_rig_field(&r, "predicate_0");
            assert_true(code[0] == second && code[1] == 0 && code[2] == 0 && code[3] == 1 && code[4] == 1);
            assert_non_null(mj_rig_field(&r, "walker/prop_0_position"));
            assert_non_null(mj_rig_field(&r, "walker/prop_1_position"));
            expect(&r, 0, false);
            mj_rig_move(&r, mover, -2 + 1.4 + (second ? 0 : 0.4), 1); /* near, but neither touching nor close */
            expect(&r, 0, false);
            if (by_distance) mj_rig_move(&r, mover, -2 + 1.25, 1);
            else mj_rig_move(&r, mover, -2 + (second ? 0.99 : 0.9), 1); /* overlapping a little */
            expect(&r, 10, false);
            mj_rig_step(&r, NULL);
            assert_true(r.out.last && r.out.reward >= 40);
            mj_rig_free(&r);
        }
}

/* Corners of a turned box and targets, in the frame of a turned and tilted ant, by rotation matrices and box geometry. */
static void test_ego(void **state) {
    bp_mj_task task = scripted(BP_MJ_MOVE_BOX_OR_GTT);
    const mjModel *m;
    const mjData *d;
    double qpos[32], norm = 0;
    const bp_real *o;
    mj_rig r;
    int i, j, k, root, box;
    (void)state;
    task.goal_field = true;
    task.layout.goal[0] = 2;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 4);
    m = bp_mj_world_model(r.world);
    d = bp_mj_env_data(&r.env);
    for (i = 0; i < m->nq; i++) qpos[i] = (double)d->qpos[i] + 0.11 * sin(1 + i);
    for (i = 3; i < 7; i++) norm += qpos[i] * qpos[i];
    assert_true(norm > 0.5);
    bpt_ok(bp_mj_env_set_state(&r.env, qpos, NULL, r.obs, &r.error), &r.error);
    root = mj_name2id(m, mjOBJ_BODY, "torso");
    box = mj_name2id(m, mjOBJ_GEOM, "box_0");
    o = mj_rig_field(&r, "walker/prop_position");
    for (i = 0; i < 8; i++) { /* binary count: the last axis changes fastest, + first */
        const mjtNum local[3] = {i & 4 ? -0.5 : 0.5, i & 2 ? -0.5 : 0.5, i & 1 ? -0.5 : 0.5};
        mjtNum world[3], ego[3];
        mju_mulMatVec(world, d->geom_xmat + 9 * box, local, 3, 3);
        for (k = 0; k < 3; k++) world[k] += d->geom_xpos[3 * box + k] - d->xpos[3 * root + k];
        mju_mulMatTVec(ego, d->xmat + 9 * root, world, 3, 3);
        for (k = 0; k < 3; k++) bpt_close(*o++, ego[k], BPT_TOL(1e-6, 1e-12));
    }
    o = mj_rig_field(&r, "walker/target_positions");
    for (i = 0; i < 3; i++) {
        mjtNum world[3], ego[3];
        double target[9];
        assert_int_equal(bp_mj_env_targets(&r.env, target, 3), 3);
        assert_true(target[3 * i + 2] == 0.5);
        for (k = 0; k < 3; k++) world[k] = (mjtNum)target[3 * i + k] - d->xpos[3 * root + k];
        mju_mulMatTVec(ego, d->xmat + 9 * root, world, 3, 3);
        for (k = 0; k < 3; k++) bpt_close(*o++, ego[k], BPT_TOL(1e-6, 1e-12));
    }
    o = mj_rig_field(&r, "goal");
    for (j = 0; j < 3; j++) assert_true(o[j] == (j == 2));
    mj_rig_free(&r);
}

/* 10,000 resets: cells, yaw, the box's place in its cell, which predicates. */
static void test_reset_statistics(void **state) {
    enum { N = 10000 };
    static size_t spawn[16], box_cell[16], yaw[8], box_yaw[8], shift[8], pair[9], slot[2], target_cell[16];
    bp_mj_task task = bp_mj_task_default(BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_ANT);
    mj_rig r;
    uint64_t seed;
    (void)state;
    mj_rig_make(&r, &task);
    for (seed = 0; seed < N; seed++) {
        const mjtNum *q = bp_mj_env_data(&r.env)->qpos;
        double target[9], at[3], a, c, s, room;
        bp_mj_info info;
        int cell, i;
        mj_rig_reset(&r, seed);
        info = bp_mj_env_info(&r.env);
        bp_mj_env_targets(&r.env, target, 3);
        /* the ant stands in the middle of a cell: x = 2 column - 3 */
        cell = (int)lround((info.root[0] + 3) / 2) + 4 * (int)lround((3 - info.root[1]) / 2);
        assert_true(cell >= 0 && cell < 16);
        spawn[cell]++;
        target_cell[(int)lround((target[0] + 3) / 2) + 4 * (int)lround((3 - target[1]) / 2)]++;
        a = 2 * atan2((double)q[13], (double)q[10]); /* its quaternion: after the box's 7 numbers and 3 of its own */
        yaw[(int)(8 * (a + 4 * PI) / (2 * PI)) % 8]++;
        for (i = 0; i < 3; i++) at[i] = (double)q[i];
        assert_true(at[2] == 0.5);
        cell = (int)lround((at[0] + 3) / 2) + 4 * (int)lround((3 - at[1]) / 2);
        assert_true(cell >= 0 && cell < 16);
        box_cell[cell]++;
        a = 2 * atan2((double)q[6], (double)q[3]);
        box_yaw[(int)(8 * (a + 4 * PI) / (2 * PI)) % 8]++;
        c = fabs(cos(a));
        s = fabs(sin(a));
        room = 0.99 * (1 - 0.5 * (c + s));
        at[0] = (at[0] + 3) / 2 - (double)lround((at[0] + 3) / 2); /* cells from the middle of its cell */
        assert_true(fabs(2 * at[0]) <= room + 1e-9);
        shift[(int)(8 * (0.5 + at[0] / room)) % 8]++;
        assert_int_equal(info.n_predicates, 2);
        slot[info.predicate[0][0]]++; /* who is in the first slot: walker or box */
        pair[3 * info.predicate[0][3] + info.predicate[1][3]]++;
        assert_true(info.predicate[0][0] + info.predicate[1][0] == 1);
        assert_true(!info.holds[0] && !info.holds[1]);
    }
    print_message("unevenness in standard deviations: spawn %.1f, box %.1f, target %.1f, yaw %.1f, box's yaw %.1f, shift %.1f\n",
                  mj_rig_uneven(spawn, 16), mj_rig_uneven(box_cell, 16), mj_rig_uneven(target_cell, 16), mj_rig_uneven(yaw, 8),
                  mj_rig_uneven(box_yaw, 8), mj_rig_uneven(shift, 8));
    assert_true(mj_rig_uneven(spawn, 16) < 4 && mj_rig_uneven(box_cell, 16) < 4 && mj_rig_uneven(target_cell, 16) < 4);
    assert_true(mj_rig_uneven(yaw, 8) < 4 && mj_rig_uneven(box_yaw, 8) < 4 && mj_rig_uneven(shift, 8) < 4);
    assert_true(mj_rig_uneven(slot, 2) < 4);
    {
        const size_t unlike[6] = {pair[1], pair[2], pair[3], pair[5], pair[6], pair[7]};
        assert_true(pair[0] + pair[4] + pair[8] == 0 && mj_rig_uneven(unlike, 6) < 4); /* never the same target */
    }
    mj_rig_free(&r);
}

/* Three predicates at once: the reference looks for clashes with the first only. */
static void test_clashes(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_POINTMASS);
    bp_mj_world *world;
    bp_error error;
    int strict;
    (void)state;
    task.n_boxes = 2;
    task.n_predicates = task.n_active = 3;
    task.predicate[2] = task.predicate[1];
    task.predicate[2].mover_index = 1;
    for (strict = 0; strict < 2; strict++) {
        size_t with_first = 0, others = 0;
        uint64_t seed;
        mj_rig r;
        task.reference_clashes = !strict;
        mj_rig_make(&r, &task);
        for (seed = 0; seed < 300; seed++) {
            bp_mj_info info;
            mj_rig_reset(&r, seed);
            info = bp_mj_env_info(&r.env);
            with_first += info.predicate[0][3] == info.predicate[1][3] || info.predicate[0][3] == info.predicate[2][3];
            others += info.predicate[1][3] == info.predicate[2][3];
        }
        assert_int_equal(with_first, 0);
        if (strict) assert_int_equal(others, 0);
        else bpt_close((double)others / 300, 0.5, 0.12); /* two targets are left for two predicates */
        mj_rig_free(&r);
    }
    /* what cannot be drawn is refused when the world is made */
    task = bp_mj_task_default(BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_ANT);
    task.n_targets = 1;
    assert_int_equal(bp_mj_world_create(&world, &task, NULL, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "drawn"));
}

static void test_random_number(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_MOVE_BOX_AND_GTT, BP_MJ_WALKER_POINTMASS);
    size_t count[2] = {0, 0};
    uint64_t seed;
    mj_rig r;
    (void)state;
    task.random_active = true;
    mj_rig_make(&r, &task);
    for (seed = 0; seed < 2000; seed++) {
        bp_mj_info info;
        mj_rig_reset(&r, seed);
        info = bp_mj_env_info(&r.env);
        count[info.n_predicates - 1]++;
        if (info.n_predicates == 1) { /* a slot not in use reads -1, and "true" */
            const bp_real *code = mj_rig_field(&r, "predicate_1");
            size_t i;
            for (i = 0; i < 5; i++) assert_true(code[i] == -1);
            assert_true(mj_rig_field(&r, "walker/predicates_activated")[1] == 1);
        }
    }
    /* pairs without a clash are 2 in 3, and an attempt with a clash draws the number again: 1 : 2/3 */
    bpt_close((double)count[0] / 2000, 0.6, 0.04);
    mj_rig_free(&r);
}

/* Regenerating: the step after success pays the bonus, new predicates come, and the episode goes on. */
static void test_regenerate(void **state) {
    bp_mj_task task = scripted(BP_MJ_GO_TO_K_TARGETS);
    double total = 0;
    size_t bonuses = 0, step;
    mj_rig r;
    (void)state;
    task.regenerate = true;
    task.layout.goal[0] = 1;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 1);
    for (step = 0; step < 30; step++) {
        double target[9], reward;
        const size_t goal = bp_mj_env_info(&r.env).goal;
        const bool held = bp_mj_env_info(&r.env).holds[0] && step > 0;
        bp_mj_env_targets(&r.env, target, 3);
        mj_rig_move(&r, "walker/root", target[3 * goal], target[3 * goal + 1]);
        mj_rig_step(&r, NULL);
        reward = (double)r.out.reward;
        total += reward;
        assert_true(!r.out.last && r.out.discount == 1);
        if (held) { /* 5 - 1 if the new target is another one, 5 if it is the same again */
            const bool same = bp_mj_env_info(&r.env).goal == goal;
            bpt_close(reward, same ? 50 : 40, 1e-6);
            bonuses++;
        } else {
            bpt_close(reward, 10, 1e-6);
        }
    }
    assert_true(bonuses >= 10 && total > 0);
    mj_rig_free(&r);
}

/* ---- sequences of walkers -------------------------------------------------------------------------- */

static void test_walker_sequence(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_ANT);
    double target[12];
    size_t k, common = 0, rare = 0;
    mj_rig r;
    (void)state;
    task.show_previous = true;
    bp_mj_sequence_multitask(&task);
    task.fixed_sequence = 0;
    task.episode_steps = 5000;
    mj_rig_make(&r, &task);
    assert_true(r.env.spec.observation_size == 156 + 12 + 4 + 8 + 5);
    mj_rig_reset(&r, 2);
    bp_mj_env_targets(&r.env, target, 4);
    for (k = 0; k < 4; k++) bpt_close(hypot(target[3 * k], target[3 * k + 1]), 3, 1e-9);
    for (k = 0; k < 300; k++) {
        const bp_mj_info before = bp_mj_env_info(&r.env);
        bp_mj_info info;
        double law[4];
        mj_rig_move(&r, "walker/root", target[3 * before.goal] + 0.5, target[3 * before.goal + 1]);
        mj_rig_step(&r, NULL);
        bpt_close(r.out.reward, 1, 1e-6);
        info = bp_mj_env_info(&r.env);
        assert_int_equal(info.previous[0], before.goal);
        assert_true(mj_rig_field(&r, "next")[info.goal] == 1 && mj_rig_field(&r, "previous")[before.goal] == 1);
        if (k < 1) continue;
        bp_mj_sequence_law(law, &task.sequence[0], 4, info.previous[1], info.previous[0]);
        assert_true(law[info.goal] > 0);
        if (law[info.goal] > 0.5) common++;
        else rare++;
        mj_rig_move(&r, "walker/root", 0, 0); /* away again: one hit a time */
    }
    bpt_close((double)common / (double)(common + rare), 0.9, 0.06);
    mj_rig_free(&r);

    /* a hit is within 0.9 m of the root */
    task = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_ROLLING);
    task.spawn = BP_MJ_SPAWN_FIXED;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 3);
    bp_mj_env_targets(&r.env, target, 4);
    k = bp_mj_env_info(&r.env).goal;
    mj_rig_move(&r, "root_x", target[3 * k] - 0.95, target[3 * k + 1]);
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 0);
    mj_rig_move(&r, "root_x", target[3 * k] - 0.85, target[3 * k + 1]);
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 1);
    mj_rig_free(&r);
}

/* ---- locomotion ------------------------------------------------------------------------------------- */

static void test_moving_target(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_TARGET, BP_MJ_WALKER_ANT);
    double target[3], moved[3];
    size_t step, paid = 0, moves = 0;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 5);
    for (step = 0; step < 60; step++) {
        bp_mj_env_targets(&r.env, target, 1);
        assert_true(fabs(target[0]) <= 4 && fabs(target[1]) <= 4 && target[2] == 0);
        mj_rig_move(&r, "walker/root", target[0] + (step % 2 ? 0.9 : 1.2), target[1]);
        bpt_close(mj_rig_field(&r, "walker/target")[2], 0 - bp_mj_env_info(&r.env).root[2], 0.05);
        mj_rig_step(&r, NULL);
        assert_false(r.out.last);
        assert_true(r.out.reward == (step % 2 ? 1 : 0));
        paid += step % 2;
        bp_mj_env_targets(&r.env, moved, 1);
        if (hypot(moved[0] - target[0], moved[1] - target[1]) > 0) {
            moves++;
            assert_true(paid % 10 == 0 && step % 2 == 1);
        }
    }
    assert_int_equal(moves, 3);
    mj_rig_free(&r);

    task.move_after = 0; /* never */
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 5);
    bp_mj_env_targets(&r.env, target, 1);
    for (step = 0; step < 15; step++) {
        mj_rig_move(&r, "walker/root", target[0], target[1]);
        mj_rig_step(&r, NULL);
        assert_true(r.out.reward == 1);
    }
    bp_mj_env_targets(&r.env, moved, 1);
    assert_true(moved[0] == target[0] && moved[1] == target[1]);
    mj_rig_free(&r);
}

/* Dropped on its side the ant rolls over, and something beside its feet touches the ground: that ends it, where it is asked for. */
static void test_contact_ends(void **state) {
    size_t ended = 0;
    int ends;
    (void)state;
    for (ends = 1; ends >= 0; ends--) {
        bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_TARGET, BP_MJ_WALKER_ANT);
        double qpos[32];
        size_t step;
        mj_rig r;
        int i;
        assert_true(task.contact_ends);
        task.contact_ends = ends != 0;
        task.alive_threshold = -2; /* attitude ends nothing */
        mj_rig_make(&r, &task);
        mj_rig_reset(&r, 5);
        for (i = 0; i < 15; i++) qpos[i] = (double)bp_mj_env_data(&r.env)->qpos[i];
        qpos[2] = 0;
        qpos[3] = cos(0.3);
        qpos[4] = sin(0.3);
        qpos[5] = qpos[6] = 0;
        bpt_ok(bp_mj_env_set_state(&r.env, qpos, NULL, r.obs, &r.error), &r.error);
        for (step = 0; step < (ends ? 40 : ended); step++) {
            mj_rig_step(&r, NULL);
            if (r.out.last) break;
        }
        if (ends) {
            ended = step + 1;
            assert_true(r.out.last && r.out.discount == 0 && bp_mj_env_info(&r.env).end == BP_MJ_FALL);
        } else {
            assert_false(r.out.last);
        }
        mj_rig_free(&r);
    }
}

/* The reward of running, with the speed of the centre of mass computed from the bodies. */
static void test_run(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_RUN, BP_MJ_WALKER_ANT);
    size_t step, positive = 0;
    const mjModel *m;
    double speed;
    mj_rig r;
    (void)state;
    task.speed = 2;
    task.reward_scale = 3;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 1);
    m = bp_mj_world_model(r.world);
    for (step = 0; step < 12; step++) {
        const mjData *d = bp_mj_env_data(&r.env);
        double qvel[32], mass = 0, momentum = 0, expected;
        bp_real action[8];
        int i;
        for (i = 0; i < m->nv; i++) qvel[i] = i ? 0.3 * sin((double)step + i) : 0.4 * (double)step;
        bpt_ok(bp_mj_env_set_state(&r.env, NULL, qvel, r.obs, &r.error), &r.error);
        for (i = 0; i < 8; i++) action[i] = (bp_real)sin(i + (double)step);
        mj_rig_step(&r, action);
        for (i = 1; i < m->nbody; i++) { /* cvel is at the centre of mass of the whole tree */
            mjtNum v[6];
            mj_objectVelocity(m, d, mjOBJ_BODY, i, v, 0);
            mass += (double)m->body_mass[i];
            momentum += (double)m->body_mass[i] * (double)v[3];
        }
        speed = momentum / mass;
        expected = 3 * fmax(0, 1 - fabs(speed - 2) / 2);
        positive += expected > 0.1;
        bpt_close(r.out.reward, expected, 1e-5);
        if (r.out.last) mj_rig_reset(&r, 1 + step);
    }
    assert_true(positive > 4);
    bpt_close(mj_rig_field(&r, "walker/direction")[0], mj_rig_field(&r, "walker/orientation")[0], 1e-7);
    bpt_close(mj_rig_field(&r, "walker/direction")[2], mj_rig_field(&r, "walker/orientation")[2], 1e-7);
    mj_rig_free(&r);
}

static void test_gaps(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_RUN_GAPS, BP_MJ_WALKER_ANT);
    double gap[BP_MJ_MAX_GAPS][2], other[BP_MJ_MAX_GAPS][2];
    const mjModel *m;
    size_t n, i;
    const bp_real *o;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &task);
    n = bp_mj_world_gaps(r.world, gap[0], BP_MJ_MAX_GAPS);
    assert_true(n >= 15 && n < BP_MJ_MAX_GAPS);
    m = bp_mj_world_model(r.world);
    mj_rig_reset(&r, 1);
    for (i = 0; i < n; i++) {
        /* a ray from above meets the floor beside the gap, and nothing in the middle of it */
        const double width = gap[i][1] - gap[i][0];
        mjtNum down[3] = {0, 0, -1}, from[3] = {0, 3, 2}, hit;
        int geom;
        assert_true(width >= 0.5 && width <= 1.25 && gap[i][0] >= 6 && gap[i][0] <= 60);
        if (i) assert_true(gap[i][0] - gap[i - 1][1] >= 0.3 - 1e-9 && gap[i][0] - gap[i - 1][1] <= 2.5 + 1e-9);
        from[0] = 0.5 * (gap[i][0] + gap[i][1]);
        hit = mj_ray(m, bp_mj_env_data(&r.env), from, down, NULL, 1, -1, &geom
#if mjVERSION_HEADER >= 3005000
                     ,
                     NULL
#endif
        );
        assert_true(hit < 0);
        from[0] = gap[i][0] - 0.01;
        hit = mj_ray(m, bp_mj_env_data(&r.env), from, down, NULL, 1, -1, &geom
#if mjVERSION_HEADER >= 3005000
                     ,
                     NULL
#endif
        );
        bpt_close(hit, 2, 1e-9);
    }
    /* what it sees from 1 m before the second gap, then from within the third */
    mj_rig_move(&r, "walker/root", gap[1][0] - 1, 2);
    o = mj_rig_field(&r, "gaps");
    bpt_close(o[0], 1, 1e-5);
    bpt_close(o[1], 1 + gap[1][1] - gap[1][0], 1e-5);
    bpt_close(o[2], fmin(10, gap[2][0] - gap[1][0] + 1), 1e-5);
    bpt_close(mj_rig_field(&r, "lateral")[0], 0.4, 1e-5);
    mj_rig_move(&r, "walker/root", gap[2][0] + 0.1, 0);
    bpt_close(mj_rig_field(&r, "gaps")[0], -0.1, 1e-5);
    mj_rig_move(&r, "walker/root", gap[n - 1][1] + 0.5, 0);
    assert_true(mj_rig_field(&r, "gaps")[0] == 10 && mj_rig_field(&r, "gaps")[5] == 10);
    mj_rig_free(&r);

    /* the point mass cannot fall: its slides hold it. The rolling ball falls, and that ends the episode */
    task = bp_mj_task_default(BP_MJ_RUN_GAPS, BP_MJ_WALKER_ROLLING);
    task.gap[0] = task.gap[1] = 1.25;
    mj_rig_make(&r, &task);
    mj_rig_reset(&r, 1);
    bp_mj_world_gaps(r.world, gap[0], 1);
    mj_rig_move(&r, "root_x", 0.5 * (gap[0][0] + gap[0][1]), 0);
    for (i = 0; i < 60; i++) {
        mj_rig_step(&r, NULL);
        if (r.out.last) break;
    }
    assert_true(r.out.last && r.out.discount == 0 && bp_mj_env_info(&r.env).end == BP_MJ_FALL);
    n = bp_mj_world_gaps(r.world, gap[0], BP_MJ_MAX_GAPS);
    mj_rig_free(&r);

    task.corridor_seed = 2; /* another corridor */
    mj_rig_make(&r, &task);
    bp_mj_world_gaps(r.world, other[0], BP_MJ_MAX_GAPS);
    assert_true(other[1][0] != gap[1][0]);
    assert_int_equal(bp_mj_world_gaps(NULL, NULL, 0), 0);
    mj_rig_free(&r);
}

/* ---- what must be refused ---------------------------------------------------------------------------- */

static void test_refused(void **state) {
    static const char *const unknown[1] = {"walker/wings"};
    bp_mj_world *world = NULL;
    bp_error e;
    bp_mj_task c;
    (void)state;
#define REFUSED(kind, change, status, word)                                   \
    do {                                                                      \
        c = bp_mj_task_default(kind, BP_MJ_WALKER_ANT);                       \
        change;                                                               \
        assert_int_equal(bp_mj_world_create(&world, &c, NULL, &e), (status)); \
        if (!strstr(e.text, word)) print_error("%s\n", e.text);               \
        assert_non_null(strstr(e.text, word));                                \
        assert_null(world);                                                   \
    } while (0)
    REFUSED(BP_MJ_MOVE_BOX, memset(&c, 0, sizeof c), BP_ERR_CONFIG, "default");
    REFUSED(BP_MJ_MOVE_BOX, c.kind = (bp_mj_task_kind)77, BP_ERR_ARGUMENT, "kind");
    REFUSED(BP_MJ_MOVE_BOX, c.walker = NULL, BP_ERR_ARGUMENT, "walker");
    REFUSED(BP_MJ_MOVE_BOX, c.n_boxes = 0, BP_ERR_ARGUMENT, "predicate[0]");
    REFUSED(BP_MJ_MOVE_BOX, c.n_boxes = 5, BP_ERR_ARGUMENT, "n_boxes");
    REFUSED(BP_MJ_MOVE_BOX, c.n_targets = 0, BP_ERR_ARGUMENT, "predicate[0]");
    REFUSED(BP_MJ_MOVE_BOX, c.n_predicates = 0, BP_ERR_ARGUMENT, "n_predicates");
    REFUSED(BP_MJ_MOVE_BOX, c.n_active = 2, BP_ERR_ARGUMENT, "n_active");
    REFUSED(BP_MJ_MOVE_BOX, c.predicate[0].weight = -1, BP_ERR_ARGUMENT, "weight");
    REFUSED(BP_MJ_MOVE_BOX, c.box_mass = 0, BP_ERR_ARGUMENT, "box_mass");
    REFUSED(BP_MJ_MOVE_BOX, c.close = -1, BP_ERR_ARGUMENT, "close");
    REFUSED(BP_MJ_MOVE_BOX, (c.fixed_layout = true, c.layout.box[0][0] = NAN), BP_ERR_ARGUMENT, "box[0]");
    REFUSED(BP_MJ_MOVE_BOX, (c.fixed_layout = true, c.layout.active[0] = 4), BP_ERR_ARGUMENT, "active[0]");
    REFUSED(BP_MJ_MOVE_BOX, (c.observe = BP_MJ_OBSERVE_LISTED, c.fields = unknown, c.n_fields = 1), BP_ERR_FIELD, "walker/wings");
    REFUSED(BP_MJ_MOVE_BOX, c.observe = BP_MJ_OBSERVE_LISTED, BP_ERR_ARGUMENT, "fields");
    REFUSED(BP_MJ_SEQUENCE, c.n_boxes = 1, BP_ERR_ARGUMENT, "n_boxes");
    REFUSED(BP_MJ_SEQUENCE, c.half_room = -1, BP_ERR_ARGUMENT, "half_room");
    REFUSED(BP_MJ_GO_TO_TARGET, c.n_targets = 2, BP_ERR_ARGUMENT, "one target");
    REFUSED(BP_MJ_GO_TO_TARGET, c.hit_radius = 0, BP_ERR_ARGUMENT, "hit_radius");
    REFUSED(BP_MJ_RUN, c.speed = 0, BP_ERR_ARGUMENT, "speed");
    REFUSED(BP_MJ_RUN_GAPS, c.corridor[0] = 3, BP_ERR_ARGUMENT, "corridor");
    REFUSED(BP_MJ_RUN_GAPS, c.platform[0] = 0, BP_ERR_ARGUMENT, "platform");
    REFUSED(BP_MJ_RUN_GAPS, c.gap[1] = 0.1, BP_ERR_ARGUMENT, "gap");
#undef REFUSED
}

/* A walker of one's own: rows like the built-in ones, mistakes are named. */
static void test_own_walker(void **state) {
    static bp_mj_walker_body body[2];
    static bp_mj_walker_joint joint[3];
    static bp_mj_walker_geom geom[2];
    static const char *const drives[] = {"root_x", "root_y", "arm"};
    static const char *const hands[] = {"hand"};
    bp_mj_walker w = *bp_mj_walker_of(BP_MJ_WALKER_POINTMASS), broken;
    bp_mj_task task;
    bp_mj_world *world;
    bp_error e;
    mj_rig r;
    (void)state;
    body[0] = w.bodies[0];
    body[1].name = "hand";
    body[1].parent = "walker/";
    body[1].pos[0] = 0.4;
    joint[0] = w.joints[0];
    joint[1] = w.joints[1];
    joint[2].name = "arm";
    joint[2].body = "hand";
    joint[2].kind = BP_MJ_HINGE;
    joint[2].axis[2] = 1;
    joint[2].pos[0] = -0.4;
    joint[2].damping = 0.5;
    joint[2].gear = 2;
    geom[0] = w.geoms[0];
    geom[1].body = "hand";
    geom[1].kind = BP_MJ_BOX;
    geom[1].size[0] = geom[1].size[1] = geom[1].size[2] = 0.05;
    geom[1].density = 500;
    w.name = "one_armed";
    w.bodies = body;
    w.n_bodies = 2;
    w.joints = joint;
    w.n_joints = 3;
    w.geoms = geom;
    w.n_geoms = 2;
    w.actuators = drives;
    w.n_actuators = 3;
    w.observed = drives + 2;
    w.n_observed = 1;
    w.effectors = hands;
    w.n_effectors = 1;
    bpt_ok(bp_mj_walker_check(&w, &e), &e);
    task = bp_mj_task_for(BP_MJ_MOVE_BOX_AND_GTT, &w);
    mj_rig_make(&r, &task);
    assert_int_equal(r.env.spec.action_size, 3);
    bpt_ok(bp_env_check(&r.env, 1, 450, &r.error), &r.error);
    bpt_close(bp_mj_world_model(r.world)->body_mass[mj_name2id(bp_mj_world_model(r.world), mjOBJ_BODY, "hand")], 0.5, 1e-9);
    mj_rig_free(&r);
#define BROKEN(change, word)                                                            \
    do {                                                                                \
        broken = w;                                                                     \
        change;                                                                         \
        task.walker = &broken;                                                          \
        assert_int_equal(bp_mj_world_create(&world, &task, NULL, &e), BP_ERR_ARGUMENT); \
        assert_non_null(strstr(e.text, word));                                          \
    } while (0)
    BROKEN(broken.name = "", "name");
    BROKEN(broken.n_geoms = 0, "geoms");
    BROKEN(broken.root = "head", "root");
    BROKEN(broken.yaw_joint = "neck", "yaw_joint");
    BROKEN(broken.n_joints = 1, "joint");
    BROKEN(broken.n_substeps = 0, "n_substeps");
    body[1].parent = "tail";
    BROKEN((void)0, "parent");
    body[1].parent = "walker/";
    joint[2].range[0] = 1;
    BROKEN((void)0, "joint \"arm\"");
    joint[2].range[0] = 0;
    geom[1].size[0] = 0;
    BROKEN((void)0, "geom 1");
#undef BROKEN
}

/* The n-th request for memory fails, for all n; after creation there is none. */
static void test_out_of_memory(void **state) {
    const bp_mj_task tasks[3] = {bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS),
                                 bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT),
                                 bp_mj_task_default(BP_MJ_MOVE_BOX, BP_MJ_WALKER_CMU)};
    bp_mj_world *world;
    bpt_memory memory;
    bp_error error;
    bp_env env;
    size_t n, i;
    (void)state;
    for (i = 0; i < 3; i++)
        for (n = 1;; n++) {
            bp_status status;
            bpt_memory_use(&memory);
            memory.fail_at = n;
            status = bp_mj_world_create(&world, &tasks[i], &memory.allocator, &error);
            if (status == BP_OK) {
                status = bp_mj_env_make(world, &env, &error);
                if (status == BP_OK) {
                    static bp_real obs[MJ_RIG_OBSERVATION], action[BP_MAX_ACTION];
                    const size_t requests = memory.requests;
                    bp_step out;
                    assert_int_equal(env.reset(env.self, 1, obs), BP_OK);
                    assert_int_equal(env.step(env.self, action, obs, &out), BP_OK);
                    assert_int_equal(memory.requests, requests);
                    bp_env_close(&env);
                }
                bp_mj_world_destroy(world);
            }
            bpt_memory_check(&memory);
            if (status == BP_OK) {
                assert_true(n >= 6); /* world, draft, text, file system, readings, environment */
                break;
            }
            assert_int_equal(status, BP_ERR_MEMORY);
            assert_true(n < 30);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_spawn),
        cmocka_unit_test(test_move_box),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_fall),
        cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_ego),
        cmocka_unit_test(test_reset_statistics),
        cmocka_unit_test(test_clashes),
        cmocka_unit_test(test_random_number),
        cmocka_unit_test(test_regenerate),
        cmocka_unit_test(test_walker_sequence),
        cmocka_unit_test(test_moving_target),
        cmocka_unit_test(test_contact_ends),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_own_walker),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
