/* test_mujoco_ant.c - chapters M3, M4 and M6 of bprior_mujoco.h: the ant and go_to_k_targets.
 *
 * Oracles: numbers recorded from the reference implementation on MuJoCo 2.2.2 (to all the digits given there; newer
 * versions within 1e-3), a worked episode, and the definitions of the observation applied to mjData by other means
 * (rotation matrices instead of quaternions, mj_objectVelocity instead of sensors).
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"

#include <pthread.h>

#define HALF_PI 1.57079632679489661923

/* d: the last digit recorded; on other versions of MuJoCo 1e-3. A float build adds its own rounding. */
#define GOLDEN(value, recorded, d) \
    bpt_golden((double)(value), (recorded), (d), #value, __LINE__)

static double golden_worst;

static void bpt_golden(double value, double recorded, double digit, const char *what, int line) {
    const double error = fabs(value - recorded), rounding = BPT_TOL(2e-6, 0) * (1 + fabs(recorded));
    const double tolerance = (mjVERSION_HEADER == 222 ? 0.501 * digit : 1e-3) + rounding;
    if (error - 0.5 * digit > golden_worst) golden_worst = error - 0.5 * digit; /* beyond the record's own rounding */
    if (!(error <= tolerance)) {
        print_error("%s: %.9g, recorded %.9g, differs by %.3g > %.3g\n", what, value, recorded, error, tolerance);
        _fail(__FILE__, line);
    }
}

/* The worked episode's layout: spawn (2,-2), targets (0,-2) (2,2) (-2,-2), goal 1, facing +y. */
static bp_mj_task worked_config(void) {
    bp_mj_task c = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    c.fixed_layout = true;
    c.layout.yaw = HALF_PI;
    c.layout.goal[0] = 1;
    return c;
}

/* ---- the model --------------------------------------------------------------------------------- */

static void test_model(void **state) {
    static const double leg_mass[3] = {0.391578, 0.391578, 0.675922};
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    const mjModel *m;
    double total = 0;
    int i, body;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    m = bp_mj_world_model(r.world);
    assert_int_equal(m->nq, 15);
    assert_int_equal(m->nv, 14);
    assert_int_equal(m->nu, 8);
    assert_int_equal(m->nbody, 15);
    assert_int_equal(m->ngeom, 13 + 5);
    for (i = 0; i < m->nbody; i++) total += (double)m->body_mass[i];
    assert_true(fabs(total - 12.38130) < 5.1e-6);
    body = mj_name2id(m, mjOBJ_BODY, "torso");
    assert_true(fabs((double)m->body_mass[body] - 6.544985) < 5.1e-7);
    assert_true((double)m->body_mass[body - 1] == 1e-5); /* the frame */
    for (i = 0; i < 3; i++) assert_true(fabs((double)m->body_mass[body + 1 + i] - leg_mass[i]) < 5.1e-7);
    assert_true(m->opt.cone == mjCONE_ELLIPTIC && m->opt.noslip_iterations == 5 && m->opt.noslip_tolerance == 0);
    assert_true(m->opt.timestep == (mjtNum)0.005);
    assert_true(m->opt.solver == mjSOL_NEWTON && m->opt.integrator == mjINT_EULER && m->opt.iterations == 100);
    for (i = 0; i < m->nu; i++) {
        assert_true(m->actuator_gear[6 * i] == 75);
        assert_int_equal(m->actuator_trnid[2 * i], i + 1); /* actuator order is joint order, after the free joint */
    }
    mj_rig_free(&r);
}

/* Walls meet without gaps: a point just inside the wall's line is free, just outside is in some box. */
static void test_room(void **state) {
    int k, i, side;
    (void)state;
    for (k = 3; k <= 6; k++) {
        bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
        const double w = (double)(k + 4), inner = w - 2;
        const mjModel *m;
        double along;
        mj_rig r;
        config.n_targets = (size_t)k;
        mj_rig_make(&r, &config);
        m = bp_mj_world_model(r.world);
        for (side = 0; side < 4; side++)
            for (along = -inner; along <= inner; along += 0.25) {
                int hits[2] = {0, 0}, out;
                for (out = 0; out < 2; out++) {
                    const double depth = out ? inner + 0.01 : inner - 0.01;
                    const double x = side == 0 ? depth : side == 1 ? -depth
                                                                   : along;
                    const double y = side == 2 ? depth : side == 3 ? -depth
                                                                   : along;
                    for (i = 0; i < m->ngeom; i++)
                        if (m->geom_type[i] == mjGEOM_BOX)
                            hits[out] += fabs(x - (double)m->geom_pos[3 * i]) < (double)m->geom_size[3 * i] &&
                                         fabs(y - (double)m->geom_pos[3 * i + 1]) < (double)m->geom_size[3 * i + 1];
                }
                if (fabs(along) < inner) assert_int_equal(hits[0], 0);
                assert_true(hits[1] > 0 || fabs(along) >= inner);
            }
        mj_rig_free(&r);
    }
}

/* ---- the observation --------------------------------------------------------------------------- */

static void test_layout_of_observation(void **state) {
    static const struct {
        const char *name;
        size_t offset, size;
    } want[] = {
        {"walker/appendages_pos", 0, 12},
        {"walker/bodies_pos", 12, 39},
        {"walker/bodies_quats", 51, 52},
        {"walker/body_height", 103, 1},
        {"walker/end_effectors_pos", 104, 12},
        {"walker/joints_pos", 116, 8},
        {"walker/joints_vel", 124, 8},
        {"walker/orientation", 132, 9},
        {"walker/position", 141, 3},
        {"walker/sensors_accelerometer", 144, 3},
        {"walker/sensors_gyro", 147, 3},
        {"walker/sensors_velocimeter", 150, 3},
        {"walker/world_zaxis", 153, 3},
        {"walker/target_positions", 156, 9},
        {"walker/predicates_activated", 165, 1},
        {"predicate_0", 166, 5},
    };
    static const char *const few[] = {"predicate_0", "walker/joints_pos", "walker/target_positions"};
    static const char *const wrong[] = {"walker/joints_pos", "walker/wings"};
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    bp_mj_world *world = NULL;
    bp_error error;
    size_t i, j;
    mj_rig r, s;
    (void)state;
    mj_rig_make(&r, &config);
    assert_int_equal(r.env.spec.n_fields, 16);
    assert_int_equal(r.env.spec.observation_size, 171);
    for (i = 0; i < 16; i++) {
        assert_string_equal(r.env.spec.field[i].name, want[i].name);
        assert_int_equal(r.env.spec.field[i].offset, want[i].offset);
        assert_int_equal(r.env.spec.field[i].size, want[i].size);
    }
    assert_int_equal(r.env.spec.action_size, 8);

    /* A compact or listed observation holds the same numbers under the same names. */
    for (j = 0; j < 2; j++) {
        config.observe = j ? BP_MJ_OBSERVE_LISTED : BP_MJ_OBSERVE_COMPACT;
        config.fields = few;
        config.n_fields = 3;
        config.goal_field = true;
        mj_rig_make(&s, &config);
        assert_int_equal(s.env.spec.observation_size, j ? 8 + 9 + 5 + 3 : 41 + 9 + 1 + 5 + 3);
        if (j) assert_string_equal(s.env.spec.field[0].name, "walker/joints_pos"); /* the reference's order */
        mj_rig_reset(&r, 4);
        mj_rig_reset(&s, 4);
        for (i = 0; i < 5; i++) {
            const bp_real action[8] = {1, -1, BP_R(0.5), 0, -1, 1, 0, BP_R(0.2)};
            mj_rig_step(&r, action);
            mj_rig_step(&s, action);
        }
        for (i = 0; i + 1 < s.env.spec.n_fields; i++) {
            const bp_field *f = &s.env.spec.field[i];
            assert_memory_equal(s.obs + f->offset, mj_rig_field(&r, f->name), f->size * sizeof(bp_real));
        }
        for (i = 0; i < 3; i++)
            assert_true(mj_rig_field(&s, "goal")[i] == BP_R(i == bp_mj_env_info(&s.env).goal));
        mj_rig_free(&s);
    }
    mj_rig_free(&r);

    config.fields = wrong;
    config.n_fields = 2;
    assert_int_equal(bp_mj_world_create(&world, &config, NULL, &error), BP_ERR_FIELD);
    assert_non_null(strstr(error.text, "walker/wings"));
    config.fields = NULL;
    assert_int_equal(bp_mj_world_create(&world, &config, NULL, &error), BP_ERR_ARGUMENT);
    assert_null(world);
}

/* First observation of the worked episode, against numbers done by hand. */
static void test_first_observation(void **state) {
    static const double feet[12] = {.4, .4, 0, .4, -.4, 0, -.4, -.4, 0, -.4, .4, 0};
    static const double targets[9] = {0, 2, -0.022, 4, 0, -0.022, 0, 4, -0.022};
    static const double quat[4] = {0.901510, -0.306007, 0.306007, 0};
    static const double code[5] = {0, 0, 1, 1, 1};
    bp_mj_task config = worked_config();
    const double tol = BPT_TOL(2e-6, 1e-12);
    double xyz[9];
    size_t i;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    for (i = 0; i < 12; i++) {
        bpt_close(mj_rig_field(&r, "walker/end_effectors_pos")[i], feet[i], tol);
        bpt_close(mj_rig_field(&r, "walker/appendages_pos")[i], feet[i], tol);
    }
    for (i = 0; i < 9; i++) bpt_close(mj_rig_field(&r, "walker/target_positions")[i], targets[i], tol);
    for (i = 0; i < 4; i++) { /* torso, leg, aux: no turn; foot: the 51 degree bend */
        bpt_close(mj_rig_field(&r, "walker/bodies_quats")[i], i == 0, tol);
        bpt_close(mj_rig_field(&r, "walker/bodies_quats")[8 + i], i == 0, tol);
        bpt_close(mj_rig_field(&r, "walker/bodies_quats")[12 + i], quat[i], 1e-6);
    }
    for (i = 0; i < 3; i++) {
        bpt_close(mj_rig_field(&r, "walker/bodies_pos")[i], 0, tol);
        bpt_close(mj_rig_field(&r, "walker/bodies_pos")[3 + i], 0, tol);
        bpt_close(mj_rig_field(&r, "walker/bodies_pos")[6 + i], i < 2 ? 0.2 : 0, tol);
        bpt_close(mj_rig_field(&r, "walker/bodies_pos")[9 + i], i < 2 ? 0.4 : 0, tol);
        bpt_close(mj_rig_field(&r, "walker/sensors_accelerometer")[i], 0, 1e-12);
        bpt_close(mj_rig_field(&r, "walker/world_zaxis")[i], i == 2, tol);
    }
    for (i = 0; i < 5; i++) assert_true(mj_rig_field(&r, "predicate_0")[i] == BP_R(code[i]));
    assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 0);
    bpt_close(mj_rig_field(&r, "walker/body_height")[0], 0.522, tol);
    bpt_close(mj_rig_field(&r, "walker/position")[0], 2, tol);
    bpt_close(mj_rig_field(&r, "walker/position")[1], -2, tol);
    bpt_close(mj_rig_field(&r, "walker/orientation")[1], -1, tol); /* R of a quarter turn: (0,-1;1,0) */
    bpt_close(mj_rig_field(&r, "walker/orientation")[3], 1, tol);
    assert_int_equal(bp_mj_env_targets(&r.env, xyz, 3), 3);
    assert_true(xyz[3] == 2 && xyz[4] == 2 && xyz[5] == 0.5);
    assert_int_equal(bp_mj_env_data(&r.env)->ncon, 0); /* the feet hang 0.6 mm above the floor */
    mj_rig_free(&r);
}

/* Every entry once more by other means, in the middle of violent motion. */
static void test_observation_by_definition(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    const double tol = BPT_TOL(1e-5, 1e-10);
    bp_rng rng = bp_rng_make(8, 8);
    size_t t, i, b, j, k;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    for (t = 0; t < 60; t++) {
        const mjModel *m = bp_mj_world_model(r.world);
        const mjData *d = bp_mj_env_data(&r.env);
        const int torso = mj_name2id(m, mjOBJ_BODY, "torso");
        const mjtNum *rot = d->xmat + 9 * torso, *p = d->xpos + 3 * torso;
        mjtNum velocity[6];
        double target[3][3];
        bp_real action[8];
        if (t % 30 == 0) mj_rig_reset(&r, t);
        for (i = 0; i < 8; i++) action[i] = bp_rng_normal(&rng);
        mj_rig_step(&r, action);
        mj_objectVelocity(m, d, mjOBJ_SITE, 0, velocity, 1);
        bp_mj_env_targets(&r.env, target[0], 3);
        for (i = 0; i < 3; i++) {
            bpt_close(mj_rig_field(&r, "walker/sensors_gyro")[i], velocity[i], tol);
            bpt_close(mj_rig_field(&r, "walker/sensors_velocimeter")[i], velocity[3 + i], tol);
            bpt_close(mj_rig_field(&r, "walker/position")[i], p[i], tol);
            bpt_close(mj_rig_field(&r, "walker/world_zaxis")[i], rot[6 + i], tol);
            for (k = 0; k < 3; k++) { /* from the ego frame back to the world */
                const bp_real *ego = mj_rig_field(&r, "walker/target_positions") + 3 * k;
                const double back = (double)p[i] + (double)rot[3 * i] * (double)ego[0] +
                                    (double)rot[3 * i + 1] * (double)ego[1] + (double)rot[3 * i + 2] * (double)ego[2];
                bpt_close(back, target[k][i], tol);
            }
        }
        for (b = 0; b < 13; b++) { /* bodies come in tree order, torso first */
            const int id = torso + (int)b;
            const bp_real *ego = mj_rig_field(&r, "walker/bodies_pos") + 3 * b;
            const bp_real *q = mj_rig_field(&r, "walker/bodies_quats") + 4 * b;
            mjtNum quat[4], local[9];
            for (i = 0; i < 4; i++) quat[i] = (mjtNum)q[i];
            mju_quat2Mat(local, quat);
            for (i = 0; i < 3; i++) {
                double back = (double)p[i];
                for (k = 0; k < 3; k++) back += (double)rot[3 * i + k] * (double)ego[k];
                bpt_close(back, d->xpos[3 * id + (int)i], tol);
                for (j = 0; j < 3; j++) { /* R_torso R_relative = R_body */
                    double product = 0;
                    for (k = 0; k < 3; k++) product += (double)rot[3 * i + k] * (double)local[3 * k + j];
                    bpt_close(product, d->xmat[9 * id + (int)(3 * i + j)], 4 * tol);
                }
            }
        }
        for (i = 0; i < 8; i++) {
            bpt_close(mj_rig_field(&r, "walker/joints_pos")[i], d->qpos[7 + i], tol);
            bpt_close(mj_rig_field(&r, "walker/joints_vel")[i], d->qvel[6 + i], tol);
        }
        for (i = 0; i < 4; i++)
            for (k = 0; k < 3; k++)
                assert_true(mj_rig_field(&r, "walker/end_effectors_pos")[3 * i + k] ==
                            mj_rig_field(&r, "walker/bodies_pos")[3 * (3 + 3 * i) + k]);
        if (r.out.last) mj_rig_reset(&r, 100 + t);
    }
    mj_rig_free(&r);
}

/* ---- golden numbers ---------------------------------------------------------------------------- */

static void test_golden(void **state) {
    bp_mj_task config = worked_config();
    bp_real action[8];
    size_t i;
    int t;
    mj_rig r;
    (void)state;
    golden_worst = 0;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    for (t = 1; t <= 40; t++) {
        mj_rig_step(&r, NULL);
        if (t == 1) {
            GOLDEN(mj_rig_field(&r, "walker/position")[0], 2.0000, 1e-4);
            GOLDEN(mj_rig_field(&r, "walker/position")[1], -2.0000, 1e-4);
            GOLDEN(mj_rig_field(&r, "walker/position")[2], 0.518124, 1e-6);
            GOLDEN(mj_rig_field(&r, "walker/sensors_accelerometer")[2], 13.8936, 1e-4);
            GOLDEN(mj_rig_field(&r, "walker/sensors_velocimeter")[2], -0.01757, 1e-5);
            assert_int_equal(bp_mj_env_data(&r.env)->ncon, 4);
        }
        if (t == 10 || t == 40) {
            GOLDEN(mj_rig_field(&r, "walker/position")[2], 0.518487, 1e-6);
            GOLDEN(mj_rig_field(&r, "walker/sensors_accelerometer")[2], 9.8100, 1e-4);
        }
    }
    mj_rig_reset(&r, 1);
    for (i = 0; i < 8; i++) action[i] = i % 2 ? BP_R(-0.5) : BP_R(0.5);
    for (t = 1; t <= 10; t++) {
        mj_rig_step(&r, action);
        if (t == 1) {
            GOLDEN(mj_rig_field(&r, "walker/position")[2], 0.523494, 1e-6);
            for (i = 0; i < 4; i++) {
                GOLDEN(mj_rig_field(&r, "walker/joints_pos")[2 * i], 0.048682, 1e-6);
                GOLDEN(mj_rig_field(&r, "walker/joints_pos")[2 * i + 1], -0.012818, 1e-6);
            }
            GOLDEN(mj_rig_field(&r, "walker/joints_vel")[0], 1.752454, 1e-6);
            GOLDEN(mj_rig_field(&r, "walker/joints_vel")[1], -0.242085, 1e-6);
            GOLDEN(mj_rig_field(&r, "walker/sensors_gyro")[2], -1.197950, 1e-6);
            GOLDEN(mj_rig_field(&r, "walker/sensors_accelerometer")[2], 12.736574, 1e-6);
        }
    }
    GOLDEN(mj_rig_field(&r, "walker/position")[2], 0.617445, 1e-6);
    GOLDEN(mj_rig_field(&r, "walker/joints_pos")[0], 0.54622, 1e-5);
    GOLDEN(mj_rig_field(&r, "walker/joints_pos")[1], -0.37345, 1e-5);
    GOLDEN(mj_rig_field(&r, "walker/orientation")[0], 0.330307, 1e-6);
    print_message("MuJoCo %s: beyond the rounding of the recorded numbers: at most %.3g\n", mj_versionString(), golden_worst);
    mj_rig_free(&r);
}

/* ---- reward and termination -------------------------------------------------------------------- */

/* The worked episode: reaches target 1 in step 180 (first case stays, second leaves again at once). */
static void test_worked_episode(void **state) {
    bp_mj_task config = worked_config();
    int leave, t;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    for (leave = 0; leave < 2; leave++) {
        mj_rig_reset(&r, 1);
        for (t = 1; t <= 181; t++) {
            if (t == 180) mj_rig_move(&r, "walker/root", 2, 1.3); /* its front leg centres are then in 1.5 < y < 2.5 */
            if (t == 181 && leave) mj_rig_move(&r, "walker/root", 2, -2);
            mj_rig_step(&r, NULL);
            if (t < 180) {
                assert_true(r.out.reward == 0 && r.out.discount == 1 && !r.out.last);
                assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 0);
            }
            if (t == 180) {
                assert_true(r.out.reward == 10 && r.out.discount == 1 && !r.out.last);
                assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 1);
            }
        }
        assert_true(r.out.reward == (leave ? 40 : 50));
        assert_true(r.out.discount == 0 && r.out.last);
        assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == BP_R(!leave));
        assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_SUCCESS);
        assert_int_equal(r.env.step(r.env.self, r.obs, r.obs, &r.out), BP_ERR_ENV);
    }

    /* A target that is not the goal never counts. */
    mj_rig_reset(&r, 1);
    mj_rig_move(&r, "walker/root", 0, -2);
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 0);
    mj_rig_free(&r);

    /* The reference's own test: scale 1, bonus 2, onto the target after 10 idle steps. */
    config.reward_scale = 1;
    config.bonus = 2;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    for (t = 0; t < 10; t++) {
        mj_rig_step(&r, NULL);
        assert_true(r.out.reward == 0 && r.out.discount == 1);
    }
    mj_rig_move(&r, "walker/root", 2, 2);
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 1 && r.out.discount == 1 && !r.out.last);
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 2 && r.out.discount == 0 && r.out.last);
    mj_rig_free(&r);
}

/* The geometry of "at the target": with the rest pose facing +y, leg centres trigger at torso y > 1.2; and at x = 2
 * exactly the ankle centres, 0.525 m off to the sides, do not. */
static void test_zone(void **state) {
    bp_mj_task config = worked_config();
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
#define AT(x, y, want)                                  \
    do {                                                \
        mj_rig_reset(&r, 1);                            \
        mj_rig_move(&r, "walker/root", x, y);           \
        mj_rig_step(&r, NULL);                          \
        assert_true(r.out.reward == ((want) ? 10 : 0)); \
    } while (0)
    AT(2, 1.15, false);
    AT(2, 1.25, true);
    AT(2, 0.9, false);
    AT(2.05, 0.9, false);
    AT(2.05, 1.02, true); /* 5 cm aside: one ankle centre is in */
    AT(2, 2, true);
#undef AT
    mj_rig_free(&r);
}

static void test_time_limit(void **state) {
    bp_mj_task config = worked_config();
    int t;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 1);
    for (t = 1; t < 400; t++) {
        mj_rig_step(&r, NULL);
        assert_false(r.out.last);
    }
    mj_rig_move(&r, "walker/root", 2, 2); /* reached in the very last step: 10, and no bonus any more */
    mj_rig_step(&r, NULL);
    assert_true(r.out.last && r.out.discount == 1 && r.out.reward == 10);
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_TIME_LIMIT);
    assert_int_equal(bp_mj_env_info(&r.env).steps, 400);
    mj_rig_free(&r);
}

static void test_fall(void **state) {
    bp_mj_task config = worked_config();
    double qpos[15] = {0};
    int k;
    mj_rig r;
    (void)state;
    for (k = 0; k < 3; k++) {
        const double roll = k == 0 ? 0.9 * HALF_PI : 1.2 * HALF_PI; /* below and beyond the horizontal */
        config.alive_threshold = k == 2 ? -2 : -0.5;
        mj_rig_make(&r, &config);
        mj_rig_reset(&r, 1);
        memset(qpos, 0, sizeof qpos);
        qpos[0] = 2;
        qpos[1] = -2;
        qpos[2] = 1; /* in the air, so that it does not turn further within a step */
        qpos[3] = cos(roll / 2);
        qpos[4] = sin(roll / 2);
        bpt_ok(bp_mj_env_set_state(&r.env, qpos, NULL, NULL, NULL), NULL);
        mj_rig_step(&r, NULL);
        assert_true(r.out.reward == 0);
        assert_true(r.out.last == (k == 1));
        assert_true(r.out.discount == BP_R(k != 1));
        assert_int_equal(bp_mj_env_info(&r.env).end, k == 1 ? BP_MJ_FALL : BP_MJ_RUNNING);
        mj_rig_free(&r);
    }
}

static void test_divergence(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    double qvel[14] = {0};
    size_t i;
    int k;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    for (k = 0; k < 3; k++) {
        mj_rig_reset(&r, 1);
        for (i = 0; i < 14; i++) qvel[i] = k == 0 ? 1e12 : k == 1 ? 1e7
                                                                  : 1e4 * (double)(i + 1);
        bpt_ok(bp_mj_env_set_state(&r.env, NULL, qvel, NULL, NULL), NULL);
        for (i = 0; i < 20; i++) {
            size_t j;
            mj_rig_step(&r, NULL);
            for (j = 0; j < r.env.spec.observation_size; j++) assert_true(r.obs[j] - r.obs[j] == 0);
            if (r.out.last) break;
        }
        if (k == 0) {
            assert_true(r.out.last && r.out.reward == 0 && r.out.discount == 0);
            assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_DIVERGED);
            assert_true(bp_mj_env_info(&r.env).diverged == 1 && bp_mj_env_info(&r.env).warning[0] != '\0');
        }
    }
    mj_rig_reset(&r, 1);
    mj_rig_step(&r, NULL);
    assert_false(r.out.last);
    mj_rig_free(&r);
}

/* ---- reset ------------------------------------------------------------------------------------- */

static void test_reset_statistics(void **state) {
    size_t cells[16][5] = {{0}}, goals[4] = {0}, quadrant[4] = {0}, episode, i, j;
    const size_t n = 1200;
    int k;
    (void)state;
    for (k = 3; k <= 4; k++) {
        bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
        const size_t side = (size_t)k;
        mj_rig r;
        config.n_targets = side;
        memset(cells, 0, sizeof cells);
        memset(goals, 0, sizeof goals);
        memset(quadrant, 0, sizeof quadrant);
        mj_rig_make(&r, &config);
        assert_int_equal(r.env.spec.observation_size, 162 + 3 * side);
        for (episode = 0; episode < n; episode++) {
            const mjData *d = bp_mj_env_data(&r.env);
            double at[5][3], yaw;
            mj_rig_reset(&r, episode);
            at[0][0] = (double)d->qpos[0];
            at[0][1] = (double)d->qpos[1];
            assert_true(d->qpos[2] == 0);
            bp_mj_env_targets(&r.env, at[1], 4);
            for (i = 0; i <= side; i++) { /* cell centres, 2 m apart, all different */
                const double column = at[i][0] / 2 + 0.5 * (double)(side - 1);
                const double row = -at[i][1] / 2 + 0.5 * (double)(side - 1);
                const double whole = floor(row + 0.5) * (double)side + floor(column + 0.5);
                assert_true(fabs(column - floor(column + 0.5)) < 1e-12 && fabs(row - floor(row + 0.5)) < 1e-12);
                assert_true(whole >= 0 && whole < (double)(side * side));
                cells[(size_t)whole][i]++;
                for (j = 0; j < i; j++) assert_true(hypot(at[i][0] - at[j][0], at[i][1] - at[j][1]) > 1.9);
            }
            goals[bp_mj_env_info(&r.env).goal]++;
            yaw = 2 * atan2((double)d->qpos[6], (double)d->qpos[3]);
            quadrant[(size_t)floor((yaw + 8 * HALF_PI) / HALF_PI) % 4]++;
            assert_true(mj_rig_field(&r, "walker/predicates_activated")[0] == 0);
        }
        for (i = 0; i <= side; i++)
            for (j = 0; j < side * side; j++)
                bpt_close((double)cells[j][i] / (double)n, 1.0 / (double)(side * side), 0.035);
        for (i = 0; i < side; i++) bpt_close((double)goals[i] / (double)n, 1.0 / (double)side, 0.055);
        for (i = 0; i < 4; i++) bpt_close((double)quadrant[i] / (double)n, 0.25, 0.05);
        mj_rig_free(&r);
    }
}

static void test_set_layout(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    bp_mj_layout layout = config.layout;
    bp_real again[MJ_RIG_OBSERVATION];
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    mj_rig_reset(&r, 6);
    assert_int_equal(bp_mj_env_set_layout(&r.env, NULL, r.obs, &r.error), BP_ERR_ARGUMENT);
    layout.goal[0] = 5;
    assert_int_equal(bp_mj_env_set_layout(&r.env, &layout, r.obs, &r.error), BP_ERR_ARGUMENT);
    layout.goal[0] = -1;
    layout.spawn[0] = -1.5;
    bpt_ok(bp_mj_env_set_layout(&r.env, &layout, again, &r.error), &r.error);
    bpt_close(again[141], -1.5, 1e-6);
    bpt_close(again[132], r.obs[132], 1e-6); /* yaw and goal are still those of seed 6 */
    assert_true(again[169] == r.obs[169]);
    mj_rig_step(&r, NULL);
    assert_int_equal(bp_mj_env_info(&r.env).steps, 1);
    mj_rig_free(&r);
}

/* ---- contract ---------------------------------------------------------------------------------- */

static void test_env_check(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    bpt_ok(bp_env_check(&r.env, 1, 450, &r.error), &r.error);
    mj_rig_free(&r);
}

/* Bit for bit, in another environment that has lived through something else. */
static void test_save_load(void **state) {
    enum { BEFORE = 37,
           AFTER = 60 };
    static bp_real seen[AFTER][MJ_RIG_OBSERVATION];
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    bp_rng rng = bp_rng_make(bpt_seed(), 12);
    bp_real action[BEFORE + AFTER][8];
    unsigned char buffer[4096];
    double qpos[15];
    size_t bytes, t, i;
    bp_step out;
    bp_env other;
    mj_rig r;
    (void)state;
    mj_rig_make(&r, &config);
    bpt_ok(bp_mj_env_make(r.world, &other, &r.error), &r.error);
    for (t = 0; t < BEFORE + AFTER; t++)
        for (i = 0; i < 8; i++) action[t][i] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
    mj_rig_reset(&r, 3);
    for (t = 0; t < BEFORE; t++) mj_rig_step(&r, action[t]);
    assert_false(r.out.last);
    bytes = r.env.save(r.env.self, NULL, 0);
    assert_true(bytes <= sizeof buffer);
    assert_int_equal(r.env.save(r.env.self, buffer, sizeof buffer), bytes);
    for (t = 0; t < AFTER; t++) {
        mj_rig_step(&r, action[BEFORE + t]);
        memcpy(seen[t], r.obs, sizeof seen[t]);
        assert_false(r.out.last);
    }
    for (i = 0; i < 15; i++) qpos[i] = (double)bp_mj_env_data(&r.env)->qpos[i];

    assert_int_equal(other.reset(other.self, 99, r.obs), BP_OK);
    for (t = 0; t < 13; t++) assert_int_equal(other.step(other.self, action[t], r.obs, &out), BP_OK);
    assert_int_equal(other.load(other.self, buffer, bytes), BP_OK);
    assert_int_equal(bp_mj_env_info(&other).steps, BEFORE);
    for (t = 0; t < AFTER; t++) {
        assert_int_equal(other.step(other.self, action[BEFORE + t], r.obs, &out), BP_OK);
        assert_memory_equal(r.obs, seen[t], r.env.spec.observation_size * sizeof(bp_real));
    }
    for (i = 0; i < 15; i++) assert_true((double)bp_mj_env_data(&other)->qpos[i] == qpos[i]);

    buffer[0] ^= 1;
    assert_int_equal(other.load(other.self, buffer, bytes), BP_ERR_FORMAT);
    assert_int_equal(other.load(other.self, buffer, 10), BP_ERR_FORMAT);
    bp_env_close(&other);
    mj_rig_free(&r);
}

typedef struct runner {
    const bp_mj_world *world;
    double sum;
    int failures;
} runner;

static void *run_thread(void *ctx) {
    runner *r = (runner *)ctx;
    bp_rng rng = bp_rng_make(9, 9);
    bp_env env;
    bp_real obs[MJ_RIG_OBSERVATION], action[8];
    bp_step out;
    size_t episode, t, i;
    r->failures = bp_mj_env_make(r->world, &env, NULL) != BP_OK;
    if (r->failures) return NULL;
    for (episode = 0; episode < 3; episode++) {
        r->failures += env.reset(env.self, episode, obs) != BP_OK;
        for (t = 0; t < 100; t++) {
            for (i = 0; i < 8; i++) action[i] = bp_rng_normal(&rng);
            r->failures += env.step(env.self, action, obs, &out) != BP_OK;
            for (i = 0; i < env.spec.observation_size; i++) r->sum += (double)obs[i];
            if (out.last) break;
        }
    }
    bp_env_close(&env);
    return NULL;
}

static void test_threads(void **state) {
    bp_mj_task config = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    pthread_t thread[2];
    runner run[3];
    mj_rig r;
    int i;
    (void)state;
    mj_rig_make(&r, &config);
    memset(run, 0, sizeof run);
    for (i = 0; i < 3; i++) run[i].world = r.world;
    for (i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, run_thread, &run[i]), 0);
    for (i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    run_thread(&run[2]); /* and once alone */
    assert_int_equal(run[0].failures + run[1].failures + run[2].failures, 0);
    assert_true(run[0].sum == run[1].sum && run[0].sum == run[2].sum && run[0].sum != 0);
    mj_rig_free(&r);
}

static void test_bad_configs(void **state) {
    bp_mj_task good = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT), c;
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
    REFUSED(c.n_targets = 0, BP_ERR_ARGUMENT, "n_targets");
    REFUSED(c.n_targets = 9, BP_ERR_ARGUMENT, "n_targets");
    REFUSED(c.episode_steps = 0, BP_ERR_ARGUMENT, "episode_steps");
    REFUSED(c.timestep = NAN, BP_ERR_ARGUMENT, "timestep");
    REFUSED(c.bonus = NAN, BP_ERR_ARGUMENT, "bonus");
    REFUSED((c.fixed_layout = true, c.layout.goal[0] = 3), BP_ERR_ARGUMENT, "goal");
    REFUSED((c.fixed_layout = true, c.layout.target[2][1] = NAN), BP_ERR_ARGUMENT, "target[2]");
#undef REFUSED
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_layout_of_observation),
        cmocka_unit_test(test_first_observation),
        cmocka_unit_test(test_observation_by_definition),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_worked_episode),
        cmocka_unit_test(test_zone),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_fall),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_reset_statistics),
        cmocka_unit_test(test_set_layout),
        cmocka_unit_test(test_env_check),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
