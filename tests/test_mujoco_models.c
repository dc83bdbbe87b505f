/* test_mujoco_models.c - chapters M4 and M10 of bprior_mujoco.h with models that are not ours, and what happens when things go wrong.
 *
 * Oracles: readings against MuJoCo's own functions for the same thing by another way (Jacobians for velocities, quaternions for
 * rotation matrices); a filter's and a falling body's recursion by hand; one trajectory against itself, saved, loaded, from a binary
 * file; mj_step for what a step must do; file descriptors and the working directory for what must not be printed.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp, dup2 */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"
#include "test_scratch.h"

#include <fcntl.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- a model with a bit of everything --------------------------------------------------------------------------- */

/* Free, ball, hinge and slide joints, a mocap body, a tendon, userdata, actuators with and without activation. */
static const char zoo[] =
    "<mujoco model='zoo'>\n"
    "  <compiler angle='radian'/>\n"
    "  <option timestep='0.004' integrator='Euler'/>\n"
    "  <size nuserdata='3'/>\n"
    "  <worldbody>\n"
    "    <geom name='floor' type='plane' size='5 5 .1'/>\n"
    "    <site name='origin' pos='.5 .5 0'/>\n"
    "    <body name='drone' pos='0 0 1.5'>\n"
    "      <freejoint name='free'/>\n"
    "      <geom type='box' size='.1 .2 .05' density='500'/>\n"
    "      <site name='nose' pos='.1 .02 .03' euler='.1 .2 .3'/>\n"
    "      <body name='pendulum' pos='0 0 -.05'>\n"
    "        <joint name='socket' type='ball' damping='.05'/>\n"
    "        <geom type='capsule' fromto='0 0 0 .02 0 -.3' size='.02'/>\n"
    "        <site name='end' pos='.02 0 -.3'/>\n"
    "      </body>\n"
    "    </body>\n"
    "    <body name='cart' pos='2 0 .5'>\n"
    "      <joint name='rail' type='slide' axis='1 0 0' damping='.5'/>\n"
    "      <geom type='box' size='.1 .1 .1'/>\n"
    "      <body name='pole' pos='0 0 .1' euler='0 .3 0'>\n"
    "        <joint name='pivot' type='hinge' axis='0 1 0' damping='.02'/>\n"
    "        <geom type='capsule' fromto='0 0 0 0 0 .5' size='.03'/>\n"
    "        <site name='top' pos='0 0 .5'/>\n"
    "      </body>\n"
    "    </body>\n"
    "    <body name='ghost' mocap='true' pos='1 1 1'><site name='aura' pos='0 .1 0'/></body>\n"
    "  </worldbody>\n"
    "  <tendon><fixed name='string'><joint joint='rail' coef='1'/><joint joint='pivot' coef='-.5'/></fixed></tendon>\n"
    "  <actuator>\n"
    "    <motor name='push' joint='rail' ctrllimited='true' ctrlrange='-20 30'/>\n"
    "    <motor name='pull' tendon='string'/>\n"
    "    <general name='muscle' joint='pivot' dyntype='filter' dynprm='.08' gainprm='2' ctrllimited='true' ctrlrange='0 .5'/>\n"
    "    <general name='lazy' joint='pivot' dyntype='integrator' gainprm='.3' ctrllimited='true' ctrlrange='-3 -1'/>\n"
    "  </actuator>\n"
    "  <sensor>\n"
    "    <jointpos name='where' joint='rail'/>\n"
    "    <gyro name='spin' site='nose'/>\n"
    "    <tendonpos name='length' tendon='string'/>\n"
    "    <framequat name='attitude' objtype='site' objname='nose'/>\n"
    "  </sensor>\n"
    "  <keyframe>\n"
    "    <key name='other' qpos='0 0 1 1 0 0 0 1 0 0 0 .1 .2'/>\n"
    "    <key name='ready' time='2' qpos='.3 .1 1.2 .5 .5 .5 .5 .8 .6 0 0 -.4 .7' qvel='.1 .2 .3 1 2 3 .4 .5 .6 -1 2'\n"
    "         act='.25 -.5' ctrl='1 .5 .25 -2'/>\n"
    "  </keyframe>\n"
    "</mujoco>\n";

static const bp_mj_reading everything[] = {
    {"q", BP_MJ_JOINT_POSITION, "*", NULL},
    {"v", BP_MJ_JOINT_VELOCITY, "*", NULL},
    {"act", BP_MJ_ACTIVATION, "*", NULL},
    {"sensors", BP_MJ_SENSOR, "*", NULL},
    {"ghost", BP_MJ_BODY_POSITION, "ghost", NULL},
};

static bp_mj_model_config zoo_config(void) {
    bp_mj_model_config c = bp_mj_model_config_default();
    c.xml = zoo;
    c.readings = everything;
    c.n_readings = COUNT(everything);
    c.n_substeps = 2;
    c.episode_steps = 60;
    return c;
}

static void own_make(mj_rig *r, const bp_mj_model_config *config) {
    memset(r, 0, sizeof *r);
    bpt_ok(bp_mj_model_world(&r->world, config, NULL, &r->error), &r->error);
    bpt_ok(bp_mj_env_make(r->world, &r->env, &r->error), &r->error);
    assert_true(r->env.spec.observation_size <= MJ_RIG_OBSERVATION);
    assert_null(bp_mj_world_task(r->world));
}

/* Actions that fill the box, from a sine: [t] of a script. */
static void own_action(bp_real *action, const bp_spec *spec, size_t t) {
    size_t i;
    for (i = 0; i < spec->action_size; i++) {
        const double u = 0.5 + 0.5 * sin(0.7 * (double)t + 2.0 * (double)i);
        action[i] = (bp_real)(spec->action_low[i] + u * (spec->action_high[i] - spec->action_low[i]));
    }
}

static void own_steps(mj_rig *r, size_t from, size_t to) {
    bp_real action[BP_MAX_ACTION];
    for (; from < to; from++) {
        own_action(action, &r->env.spec, from);
        mj_rig_step(r, action);
    }
}

/* ---- readings --------------------------------------------------------------------------------------------------- */

static void close3(const bp_real *have, const mjtNum *want, int n) {
    int i;
    for (i = 0; i < n; i++) bpt_close(have[i], want[i], BPT_TOL(2e-5, 1e-10));
}

/* Angular, then linear velocity of a body's origin in its own axes, from the Jacobian. */
static void jacobian_velocity(mjtNum out[6], const mjModel *m, const mjData *d, int body) {
    mjtNum jacp[3 * 32], jacr[3 * 32], linear[3], angular[3], inverse[4];
    assert_true(m->nv <= 32);
    mj_jacBody(m, d, jacp, jacr, body);
    mju_mulMatVec(linear, jacp, d->qvel, 3, (int)m->nv);
    mju_mulMatVec(angular, jacr, d->qvel, 3, (int)m->nv);
    mju_negQuat(inverse, d->xquat + 4 * body);
    mju_rotVecQuat(out, angular, inverse);
    mju_rotVecQuat(out + 3, linear, inverse);
}

/* Each quantity, with and without a frame. */
static void test_readings(void **state) {
    static const bp_mj_reading rows[] = {
        {"where", BP_MJ_SENSOR, "where", NULL},
        {"spin", BP_MJ_SENSOR, "spin", NULL},
        {"attitude", BP_MJ_SENSOR, "attitude", NULL},
        {"length", BP_MJ_SENSOR, "length", NULL},
        {"sensors", BP_MJ_SENSOR, "*", NULL},
        {"free_q", BP_MJ_JOINT_POSITION, "free", NULL},
        {"socket_q", BP_MJ_JOINT_POSITION, "socket", NULL},
        {"pivot_q", BP_MJ_JOINT_POSITION, "pivot", NULL},
        {"all_q", BP_MJ_JOINT_POSITION, "*", NULL},
        {"free_v", BP_MJ_JOINT_VELOCITY, "free", NULL},
        {"socket_v", BP_MJ_JOINT_VELOCITY, "socket", NULL},
        {"rail_v", BP_MJ_JOINT_VELOCITY, "rail", NULL},
        {"all_v", BP_MJ_JOINT_VELOCITY, "*", NULL},
        {"position", BP_MJ_BODY_POSITION, "pendulum", NULL},
        {"seen", BP_MJ_BODY_POSITION, "pole", "pendulum"},
        {"quaternion", BP_MJ_BODY_QUATERNION, "pendulum", NULL},
        {"turned", BP_MJ_BODY_QUATERNION, "pole", "pendulum"},
        {"rotation", BP_MJ_BODY_ROTATION, "pendulum", NULL},
        {"velocity", BP_MJ_BODY_VELOCITY, "pendulum", NULL},
        {"pole_velocity", BP_MJ_BODY_VELOCITY, "pole", NULL},
        {"height", BP_MJ_BODY_HEIGHT, "pendulum", NULL},
        {"up", BP_MJ_BODY_VERTICAL, "pendulum", NULL},
        {"end", BP_MJ_SITE_POSITION, "end", NULL},
        {"end_seen", BP_MJ_SITE_POSITION, "end", "pole"},
        {"own_origin", BP_MJ_BODY_POSITION, "drone", "drone"},
        {"world", BP_MJ_BODY_POSITION, "world", "ghost"},
        {"muscle", BP_MJ_ACTIVATION, "muscle", NULL},
        {"lazy", BP_MJ_ACTIVATION, "lazy", NULL},
        {"all_act", BP_MJ_ACTIVATION, "*", NULL},
    };
    bp_mj_model_config c = zoo_config();
    const mjModel *m;
    const mjData *d;
    int drone, pendulum, pole, ghost, rail, pivot;
    mjtNum x[9], y[3], inverse[4];
    size_t t;
    mj_rig r;
    (void)state;
    c.readings = rows;
    c.n_readings = COUNT(rows);
    c.keyframe = "ready";
    own_make(&r, &c);
    m = bp_mj_world_model(r.world);
    assert_int_equal(r.env.spec.n_fields, COUNT(rows));
    pendulum = mj_name2id(m, mjOBJ_BODY, "pendulum");
    drone = mj_name2id(m, mjOBJ_BODY, "drone");
    pole = mj_name2id(m, mjOBJ_BODY, "pole");
    ghost = mj_name2id(m, mjOBJ_BODY, "ghost");
    rail = (int)m->jnt_qposadr[mj_name2id(m, mjOBJ_JOINT, "rail")];
    pivot = (int)m->jnt_qposadr[mj_name2id(m, mjOBJ_JOINT, "pivot")];
    assert_int_equal(rail, 11); /* 7 of the free joint, 4 of the ball */
    mj_rig_reset(&r, 3);
    d = bp_mj_env_data(&r.env);
    for (t = 0; t < 25; t++) {
        const mjtNum *base = d->xpos + 3 * pole;
        const mjtNum up[3] = {0, 0, 1};
        /* sensors */
        bpt_close(mj_rig_field(&r, "where")[0], d->qpos[rail], 1e-6);
        bpt_close(mj_rig_field(&r, "length")[0], d->qpos[rail] - 0.5 * d->qpos[pivot], 1e-5);
        mju_negQuat(inverse, m->site_quat + 4 * mj_name2id(m, mjOBJ_SITE, "nose"));
        mju_rotVecQuat(y, d->qvel + 3, inverse); /* a free joint turns in the axes of its body; the gyro in those of its site */
        close3(mj_rig_field(&r, "spin"), y, 3);
        mju_mulQuat(x, d->xquat + 4 * drone, m->site_quat + 4 * mj_name2id(m, mjOBJ_SITE, "nose"));
        if (x[0] * (mjtNum)mj_rig_field(&r, "attitude")[0] < 0) mju_scl(x, x, -1, 4);
        close3(mj_rig_field(&r, "attitude"), x, 4);
        assert_int_equal(bp_spec_find(&r.env.spec, "sensors")->size, 1 + 3 + 1 + 4);
        assert_true(mj_rig_field(&r, "sensors")[0] == mj_rig_field(&r, "where")[0]);
        assert_memory_equal(mj_rig_field(&r, "sensors") + 1, mj_rig_field(&r, "spin"), 3 * sizeof(bp_real));
        assert_memory_equal(mj_rig_field(&r, "sensors") + 5, mj_rig_field(&r, "attitude"), 4 * sizeof(bp_real));
        /* joints: the free one is the drone's place, its ball joint turns the pendulum */
        close3(mj_rig_field(&r, "free_q"), d->xpos + 3 * drone, 3);
        close3(mj_rig_field(&r, "free_q") + 3, d->xquat + 4 * drone, 4);
        mju_mulQuat(x, d->xquat + 4 * drone, d->qpos + 7);
        close3(mj_rig_field(&r, "quaternion"), x, 4);
        close3(mj_rig_field(&r, "socket_q"), d->qpos + 7, 4);
        bpt_close(mj_rig_field(&r, "pivot_q")[0], d->qpos[pivot], 1e-6);
        assert_int_equal(bp_spec_find(&r.env.spec, "all_q")->size, 13);
        close3(mj_rig_field(&r, "all_q"), d->qpos, 13);
        assert_int_equal(bp_spec_find(&r.env.spec, "free_v")->size, 6);
        close3(mj_rig_field(&r, "free_v"), d->qvel, 6);
        close3(mj_rig_field(&r, "socket_v"), d->qvel + 6, 3);
        close3(mj_rig_field(&r, "rail_v"), d->qvel + 9, 1);
        close3(mj_rig_field(&r, "all_v"), d->qvel, 11);
        /* bodies */
        close3(mj_rig_field(&r, "position"), d->xpos + 3 * pendulum, 3);
        mju_negQuat(inverse, d->xquat + 4 * pendulum);
        mju_sub3(x, base, d->xpos + 3 * pendulum);
        mju_rotVecQuat(y, x, inverse);
        close3(mj_rig_field(&r, "seen"), y, 3);
        mju_mulQuat(x, inverse, d->xquat + 4 * pole);
        close3(mj_rig_field(&r, "turned"), x, 4);
        mju_rotVecQuat(y, up, inverse);
        close3(mj_rig_field(&r, "up"), y, 3);
        mju_quat2Mat(x, d->xquat + 4 * pendulum);
        close3(mj_rig_field(&r, "rotation"), x, 9);
        jacobian_velocity(x, m, d, pendulum);
        close3(mj_rig_field(&r, "velocity"), x, 6);
        jacobian_velocity(x, m, d, pole);
        close3(mj_rig_field(&r, "pole_velocity"), x, 6);
        bpt_close(mj_rig_field(&r, "height")[0], d->xpos[3 * pendulum + 2], 1e-6);
        /* sites */
        mju_rotVecQuat(x, m->site_pos + 3 * mj_name2id(m, mjOBJ_SITE, "end"), d->xquat + 4 * pendulum);
        mju_addTo3(x, d->xpos + 3 * pendulum);
        close3(mj_rig_field(&r, "end"), x, 3);
        mju_subFrom3(x, base);
        mju_negQuat(inverse, d->xquat + 4 * pole);
        mju_rotVecQuat(y, x, inverse);
        close3(mj_rig_field(&r, "end_seen"), y, 3);
        /* degenerate frames */
        assert_true(mj_rig_field(&r, "own_origin")[0] == 0 && mj_rig_field(&r, "own_origin")[2] == 0);
        mju_scl3(x, d->xpos + 3 * ghost, -1);
        close3(mj_rig_field(&r, "world"), x, 3);
        /* activations */
        close3(mj_rig_field(&r, "muscle"), d->act, 1);
        close3(mj_rig_field(&r, "lazy"), d->act + 1, 1);
        close3(mj_rig_field(&r, "all_act"), d->act, 2);
        own_steps(&r, t, t + 1);
    }
    bpt_ok(bp_env_check(&r.env, 1, 200, &r.error), &r.error);
    mj_rig_free(&r);
}

/* Rows that follow each other under one name are one field, in their order; the same name further on is a mistake. */
static void test_joined(void **state) {
    static const bp_mj_reading rows[] = {
        {"a", BP_MJ_BODY_HEIGHT, "cart", NULL},
        {"b", BP_MJ_SITE_POSITION, "top", NULL},
        {"b", BP_MJ_JOINT_POSITION, "pivot", NULL},
        {"b", BP_MJ_SENSOR, "where", NULL},
        {"c", BP_MJ_JOINT_VELOCITY, "rail", NULL},
        {"b", BP_MJ_JOINT_VELOCITY, "pivot", NULL},
    };
    bp_mj_model_config c = zoo_config();
    const mjData *d;
    bp_mj_world *world;
    bp_error e;
    mj_rig r;
    (void)state;
    c.readings = rows;
    c.n_readings = 5;
    own_make(&r, &c);
    mj_rig_reset(&r, 1);
    own_steps(&r, 0, 7);
    d = bp_mj_env_data(&r.env);
    assert_int_equal(r.env.spec.n_fields, 3);
    assert_int_equal(r.env.spec.observation_size, 1 + 5 + 1);
    assert_int_equal(bp_spec_find(&r.env.spec, "b")->size, 5);
    close3(r.obs + 1, d->site_xpos + 3 * mj_name2id(bp_mj_world_model(r.world), mjOBJ_SITE, "top"), 3);
    bpt_close(r.obs[4], d->qpos[12], 1e-6);
    bpt_close(r.obs[5], d->qpos[11], 1e-6);
    bpt_close(r.obs[6], d->qvel[9], 1e-6);
    mj_rig_free(&r);
    c.n_readings = 6;
    assert_int_equal(bp_mj_model_world(&world, &c, NULL, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "'b'"));
}

/* ---- actions, start, callbacks ---------------------------------------------------------------------------------------- */

/* Bounds are ctrlranges; what is outside has the effect of the bound; the filter's activation follows its own law. */
static void test_actions(void **state) {
    static const double low[4] = {-20, -1, 0, -3}, high[4] = {30, 1, 0.5, -1};
    bp_mj_model_config c = zoo_config();
    bp_real inside[4] = {30, 0, (bp_real)0.5, -1}, outside[4] = {1000, 0, 7, 5}, seen[MJ_RIG_OBSERVATION];
    double act = 0, lazy = 0;
    size_t t, i;
    mj_rig r;
    (void)state;
    own_make(&r, &c);
    assert_int_equal(r.env.spec.action_size, 4);
    assert_int_equal(r.env.spec.action_kind, BP_ACTION_CONTINUOUS);
    for (i = 0; i < 4; i++) {
        assert_true(r.env.spec.action_low[i] == low[i]);
        assert_true(r.env.spec.action_high[i] == high[i]);
    }
    mj_rig_reset(&r, 1);
    for (t = 0; t < 20; t++) {
        mj_rig_step(&r, inside);
        for (i = 0; i < c.n_substeps; i++) {
            act += 0.004 * (0.5 - act) / 0.08;
            lazy -= 0.004;
        }
        bpt_close(mj_rig_field(&r, "act")[0], act, 1e-6);
        bpt_close(mj_rig_field(&r, "act")[1], lazy, 1e-6);
    }
    memcpy(seen, r.obs, sizeof seen);
    mj_rig_reset(&r, 1);
    for (t = 0; t < 20; t++) mj_rig_step(&r, outside);
    assert_memory_equal(seen, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    mj_rig_free(&r);
}

/* A keyframe is the whole start: positions, velocities, activations, time; without one it is qpos0. */
static void test_keyframe(void **state) {
    bp_mj_model_config c = zoo_config();
    const mjModel *m;
    const mjData *d;
    mj_rig r;
    int i, key, turn;
    (void)state;
    for (turn = 0; turn < 2; turn++) {
        c.keyframe = turn ? "ready" : NULL;
        own_make(&r, &c);
        m = bp_mj_world_model(r.world);
        key = mj_name2id(m, mjOBJ_KEY, "ready");
        mj_rig_reset(&r, 9);
        own_steps(&r, 0, 5);
        mj_rig_reset(&r, 9);
        d = bp_mj_env_data(&r.env);
        for (i = 0; i < (int)m->nq; i++) bpt_close(d->qpos[i], turn ? m->key_qpos[key * (int)m->nq + i] : m->qpos0[i], 1e-12);
        for (i = 0; i < (int)m->nv; i++) bpt_close(d->qvel[i], turn ? m->key_qvel[key * (int)m->nv + i] : 0, 1e-12);
        for (i = 0; i < (int)m->na; i++) bpt_close(d->act[i], turn ? m->key_act[key * (int)m->na + i] : 0, 1e-12);
        bpt_close(d->time, turn ? 2 : 0, 1e-12);
        for (i = 0; i < 3; i++) bpt_close(d->mocap_pos[i], 1, 1e-12);
        mj_rig_free(&r);
    }
    assert_true(turn == 2);
}

/* Noise: uniform, on hinge and slide alone, repeated by the seed. */
static void test_noise(void **state) {
    bp_mj_model_config c = zoo_config();
    double least[2] = {1, 1}, most[2] = {-1, -1}, sum[2] = {0, 0}, square[2] = {0, 0};
    const mjData *d;
    uint64_t seed;
    int i, k;
    mj_rig r;
    (void)state;
    c.noise = 0.25;
    c.keyframe = "ready";
    own_make(&r, &c);
    d = bp_mj_env_data(&r.env);
    for (seed = 0; seed < 2000; seed++) {
        const double *key = bp_mj_world_model(r.world)->key_qpos + 13;
        mj_rig_reset(&r, seed);
        for (i = 0; i < 11; i++) assert_true(d->qpos[i] == key[i]);
        for (k = 0; k < 2; k++) {
            const double noise = (double)d->qpos[11 + k] - (double)key[11 + k];
            least[k] = fmin(least[k], noise);
            most[k] = fmax(most[k], noise);
            sum[k] += noise;
            square[k] += noise * noise;
        }
    }
    for (k = 0; k < 2; k++) { /* variance of U(-a, a): a^2 / 3 */
        assert_true(least[k] >= -0.25 && least[k] < -0.245 && most[k] <= 0.25 && most[k] > 0.245);
        assert_true(fabs(sum[k] / 2000) < 5 * 0.25 / sqrt(3.0 * 2000));
        bpt_close(square[k] / 2000, 0.0625 / 3, 0.002);
    }
    for (seed = 0; seed < 5; seed++) {
        bp_real first[MJ_RIG_OBSERVATION];
        mj_rig_reset(&r, seed);
        memcpy(first, r.obs, sizeof first);
        own_steps(&r, 0, 3);
        mj_rig_reset(&r, seed + 1);
        assert_true(first[11] != r.obs[11]);
        mj_rig_reset(&r, seed);
        assert_memory_equal(first, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    }
    mj_rig_free(&r);
}

typedef struct witness {
    int begins, rewards;
    double q11;         /* as `begin` found it */
    double answer;      /* what reward() says */
    bool finish;        /* and whether it is the end */
    bool fail;          /* call mju_error */
    bool poison;        /* begin: a number that is none */
    const mjData *seen; /* by reward */
} witness;

static double witness_reward(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done) {
    witness *w = (witness *)ctx;
    assert_false(*done);
    assert_true((double)d->ctrl[0] == (double)action[0] && m->nu == 4);
    w->rewards++;
    w->seen = d;
    *done = w->finish;
    if (w->fail) mju_error("reward: no idea");
    return w->answer;
}

static void witness_begin(void *ctx, const mjModel *m, mjData *d, bp_rng *rng) {
    witness *w = (witness *)ctx;
    int i;
    assert_int_equal(m->nmocap, 1);
    w->begins++;
    w->q11 = (double)d->qpos[11];
    for (i = 0; i < 3; i++) {
        d->mocap_pos[i] = (mjtNum)bp_rng_uniform(rng);
        d->userdata[i] = d->mocap_pos[i] + 1;
    }
    d->qvel[9] = (mjtNum)bp_rng_uniform(rng);
    d->act[0] = (mjtNum)0.125;
    d->xfrc_applied[6 * mj_name2id(m, mjOBJ_BODY, "drone") + 2] = (mjtNum)bp_rng_uniform(rng);
    d->qfrc_applied[10] = (mjtNum)(0.1 * bp_rng_uniform(rng));
    if (w->poison) d->qpos[11] = NAN;
    if (w->fail) mju_error("begin: no idea");
}

static void test_callbacks(void **state) {
    bp_mj_model_config c = zoo_config();
    bp_real first[MJ_RIG_OBSERVATION];
    witness w;
    mj_rig r;
    size_t t;
    (void)state;
    memset(&w, 0, sizeof w);
    c.ctx = &w;
    c.reward = witness_reward;
    c.begin = witness_begin;
    c.noise = 0.1;
    c.keyframe = "ready";
    own_make(&r, &c);
    assert_int_equal(w.begins, 0);
    mj_rig_reset(&r, 4);
    assert_int_equal(w.begins, 1);
    assert_true(w.q11 != -0.4 && fabs(w.q11 + 0.4) <= 0.1); /* after keyframe and noise */
    bpt_close(mj_rig_field(&r, "ghost")[0], bp_mj_env_data(&r.env)->mocap_pos[0], 1e-6);
    assert_true(mj_rig_field(&r, "ghost")[0] != mj_rig_field(&r, "ghost")[1]);
    bpt_close(mj_rig_field(&r, "act")[0], 0.125, 1e-7);
    memcpy(first, r.obs, sizeof first);
    mj_rig_reset(&r, 5);
    assert_true(memcmp(first, r.obs, r.env.spec.observation_size * sizeof(bp_real)) != 0);
    mj_rig_reset(&r, 4);
    assert_memory_equal(first, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    assert_int_equal(w.rewards, 0);

    for (t = 1; t <= 60; t++) { /* the limit of time */
        w.answer = 0.25 * (double)t;
        mj_rig_step(&r, NULL);
        assert_int_equal(w.rewards, t);
        assert_ptr_equal(w.seen, bp_mj_env_data(&r.env));
        assert_true(r.out.reward == (bp_real)w.answer && r.out.discount == 1 && r.out.last == (t == 60));
    }
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_TIME_LIMIT);
    assert_int_equal(r.env.step(r.env.self, first, r.obs, &r.out), BP_ERR_ENV);
    mj_rig_reset(&r, 4);
    mj_rig_step(&r, NULL);
    w.finish = true; /* done */
    w.answer = -3;
    mj_rig_step(&r, NULL);
    assert_true(r.out.last && r.out.discount == 0 && r.out.reward == -3);
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_SUCCESS);
    w.finish = false;

    /* a reward that is no number, or none that bp_real can hold, ends like a divergence */
    for (t = 0; t < 3; t++) {
        w.answer = t == 0 ? NAN : t == 1 ? -INFINITY
                                         : 1e300;
        if (t == 2 && sizeof(bp_real) > 4) break;
        mj_rig_reset(&r, 4);
        mj_rig_step(&r, NULL);
        assert_true(r.out.last && r.out.discount == 0 && r.out.reward == 0);
        assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_DIVERGED);
        assert_int_equal(bp_mj_env_info(&r.env).diverged, t + 1);
    }
    w.answer = 1;

    /* a start that is no number is an error of reset() */
    w.poison = true;
    assert_int_equal(r.env.reset(r.env.self, 4, r.obs), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "observation[11]"));
    assert_int_equal(r.env.step(r.env.self, first, r.obs, &r.out), BP_ERR_ENV);
    w.poison = false;

    /* MuJoCo's error function called from a callback */
    w.fail = true;
    assert_int_equal(r.env.reset(r.env.self, 4, r.obs), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "begin: no idea"));
    assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_ENGINE_ERROR);
    w.fail = false;
    mj_rig_reset(&r, 4);
    assert_memory_equal(first, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    w.fail = true;
    assert_int_equal(r.env.step(r.env.self, first, r.obs, &r.out), BP_ERR_ENV);
    assert_non_null(strstr(bp_mj_env_info(&r.env).error.text, "reward: no idea"));
    assert_int_equal(r.env.step(r.env.self, first, r.obs, &r.out), BP_ERR_ENV); /* no episode */
    w.fail = false;
    mj_rig_reset(&r, 4);
    assert_memory_equal(first, r.obs, r.env.spec.observation_size * sizeof(bp_real));
    mj_rig_step(&r, NULL);
    assert_true(r.out.reward == 1 && !r.out.last);
    mj_rig_free(&r);
}

/* ---- a step is what MuJoCo calls a step --------------------------------------------------------------------------- */

/* mj_step, n_substeps times, for each integrator: the state may not differ (by more than what an additional look at the same state
 * may change). */
static void test_step_is_mj_step(void **state) {
    static const char *const integrator[] = { "Euler",
                                              "RK4",
                                              "implicit",
#if mjVERSION_HEADER >= 300
                                              "implicitfast"
#endif
    };
    static char text[sizeof zoo + 32];
    mjtNum state_of[COUNT(integrator)];
    size_t k;
    (void)state;
    for (k = 0; k < COUNT(integrator); k++) {
        bp_mj_model_config c = zoo_config();
        const char *const at = strstr(zoo, "Euler");
        const mjModel *m;
        bp_real action[BP_MAX_ACTION];
        mjData *d;
        size_t t, i;
        mj_rig r;
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - zoo), zoo, integrator[k], at + 5);
        c.xml = text;
        c.keyframe = "ready";
        c.n_substeps = 3;
        own_make(&r, &c);
        m = bp_mj_world_model(r.world);
        d = mj_makeData(m);
        mj_rig_reset(&r, 1);
        mj_resetDataKeyframe(m, d, mj_name2id(m, mjOBJ_KEY, "ready"));
        mj_forward(m, d);
        for (t = 0; t < 20; t++) {
            const mjData *own = bp_mj_env_data(&r.env);
            own_action(action, &r.env.spec, t);
            mj_rig_step(&r, action);
            for (i = 0; i < 4; i++) d->ctrl[i] = (mjtNum)action[i];
            for (i = 0; i < 3; i++) mj_step(m, d);
            for (i = 0; i < 13; i++) bpt_close(own->qpos[i], d->qpos[i], 1e-9);
            for (i = 0; i < 11; i++) bpt_close(own->qvel[i], d->qvel[i], 1e-8);
            for (i = 0; i < 2; i++) bpt_close(own->act[i], d->act[i], 1e-12);
        }
        for (i = 0, state_of[k] = 0; i < 13; i++) state_of[k] += d->qpos[i];
        for (i = 0; i < k && k < 3; i++) assert_true(fabs(state_of[i] - state_of[k]) > 1e-9); /* others than each other */
        bpt_ok(bp_env_check(&r.env, 1, 200, &r.error), &r.error);
        mj_deleteData(d);
        mj_rig_free(&r);
    }
}

/* ---- save and load ---------------------------------------------------------------------------------------------------- */

/* A reward that needs all that `begin` left behind. */
static double userdata_reward(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done) {
    (void)ctx;
    (void)m;
    (void)action;
    (void)done;
    return (double)d->userdata[0] + 10 * (double)d->mocap_pos[1] + 100 * (double)d->act[0];
}

static void test_save_load(void **state) {
    bp_mj_model_config c = zoo_config();
    static unsigned char buffer[8192], again[8192];
    bp_real seen[50][MJ_RIG_OBSERVATION], reward[50], action[BP_MAX_ACTION];
    size_t bytes, t, k;
    witness w;
    bp_env other;
    mj_rig r;
    (void)state;
    memset(&w, 0, sizeof w);
    c.ctx = &w;
    c.begin = witness_begin;
    c.reward = userdata_reward;
    c.noise = 0.05;
    own_make(&r, &c);
    bpt_ok(bp_mj_env_make(r.world, &other, &r.error), &r.error);
    bpt_ok(other.reset(other.self, 4, r.obs) == BP_OK ? BP_OK : BP_ERR_ENV, NULL);
    mj_rig_reset(&r, 77);
    own_steps(&r, 0, 9);
    bytes = r.env.save(r.env.self, NULL, 0);
    assert_true(bytes <= sizeof buffer);
    assert_int_equal(r.env.save(r.env.self, buffer, sizeof buffer), bytes);
    for (t = 0; t < 50; t++) {
        own_steps(&r, 9 + t, 10 + t);
        memcpy(seen[t], r.obs, sizeof seen[t]);
        reward[t] = r.out.reward;
    }
    assert_true(reward[0] > 1);
    for (k = 0; k < 2; k++) { /* into another environment, and into the same one */
        bp_env *env = k ? &r.env : &other;
        const mjData *d = bp_mj_env_data(env);
        assert_int_equal(env->load(env->self, buffer, bytes), BP_OK);
        assert_int_equal(env->save(env->self, again, sizeof again), bytes);
        assert_memory_equal(buffer, again, bytes);
        assert_true(d->act[0] > 0.1 && d->mocap_pos[0] > 0 && d->mocap_pos[0] < 1 && d->userdata[0] == d->mocap_pos[0] + 1);
        for (t = 0; t < 50; t++) {
            own_action(action, &env->spec, 9 + t);
            assert_int_equal(env->step(env->self, action, r.obs, &r.out), BP_OK);
            assert_memory_equal(r.obs, seen[t], env->spec.observation_size * sizeof(bp_real));
            assert_true(r.out.reward == reward[t]);
        }
        assert_false(r.out.last);
    }
    for (t = 0; t < bytes; t++) { /* no byte may crash the loader, whatever it says */
        const unsigned char keep = buffer[t];
        buffer[t] = 0x7F;
        if (other.load(other.self, buffer, bytes) == BP_OK && bp_mj_env_info(&other).end == BP_MJ_RUNNING)
            (void)other.step(other.self, action, r.obs, &r.out);
        buffer[t] = keep;
    }
    bp_env_close(&other);
    mj_rig_free(&r);

    /* of a model of another size, or with other rules */
    c.n_substeps = 1;
    own_make(&r, &c);
    assert_int_equal(r.env.load(r.env.self, buffer, bytes), BP_ERR_FORMAT);
    mj_rig_free(&r);
}

/* Numbers that MuJoCo would answer by a reset of its own are not a state. */
static void test_load_bad_numbers(void **state) {
    bp_mj_model_config c = zoo_config();
    static unsigned char buffer[8192];
    const double huge = 1e12;
    size_t bytes, refused = 0, t;
    mj_rig r;
    (void)state;
    own_make(&r, &c);
    mj_rig_reset(&r, 1);
    bytes = r.env.save(r.env.self, buffer, sizeof buffer);
    for (t = sizeof(uint64_t) + sizeof(bpi_mj_episode); t < bytes; t += sizeof huge) {
        double keep;
        memcpy(&keep, buffer + t, sizeof keep);
        memcpy(buffer + t, &huge, sizeof huge);
        refused += r.env.load(r.env.self, buffer, bytes) == BP_ERR_FORMAT;
        memcpy(buffer + t, &keep, sizeof keep);
    }
    assert_true(refused >= 13 - 8 + 11 && refused < (bytes - sizeof(bpi_mj_episode)) / 8); /* quaternions are made unit */
    assert_int_equal(r.env.load(r.env.self, buffer, bytes), BP_OK);
    mj_rig_step(&r, NULL);
    mj_rig_free(&r);
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* The same model as text, as a file and as a binary file gives the same bits. */
static void test_files(void **state) {
    bp_mj_model_config c = zoo_config();
    char xml[300], mjb[300];
    bp_real seen[MJ_RIG_OBSERVATION];
    size_t k;
    mj_rig r;
    (void)state;
    bpt_at(xml, "zoo.xml");
    bpt_at(mjb, "zoo.mjb");
    write_file(xml, zoo, strlen(zoo));
    c.keyframe = "ready";
    for (k = 0; k < 3; k++) {
        c.xml = k ? NULL : zoo;
        c.path = k == 0 ? NULL : k == 1 ? xml
                                        : mjb;
        own_make(&r, &c);
        if (k == 1) mj_saveModel(bp_mj_world_model(r.world), mjb, NULL, 0);
        mj_rig_reset(&r, 5);
        own_steps(&r, 0, 40);
        if (k == 0) memcpy(seen, r.obs, sizeof seen);
        else assert_memory_equal(seen, r.obs, r.env.spec.observation_size * sizeof(bp_real));
        mj_rig_free(&r);
    }
    remove(xml);
    remove(mjb);
}

/* ---- failures are quiet ------------------------------------------------------------------------------------------------- */

/* What a list of failures found wrong; nothing may be asserted while the output is elsewhere. */
static char complaint[512];
static void expect(bp_status have, bp_status want, const bp_error *e, const char *word, const char *more) {
    if (complaint[0]) return;
    if (have != want || (e && (!strstr(e->text, word) || (more && !strstr(e->text, more)) || e->status != want)))
        (void)snprintf(complaint, sizeof complaint, "wanted %d with '%s' and '%s', got %d: %.250s", (int)want, word, more ? more : "",
                       (int)have, e ? e->text : "");
}

static void refuse(const bp_mj_model_config *c, bp_status want, const char *word, const char *more) {
    bp_mj_world *world = (bp_mj_world *)1;
    bp_error e;
    memset(&e, 0, sizeof e);
    expect(bp_mj_model_world(&world, c, NULL, &e), want, &e, word, more);
    if (world && !complaint[0]) (void)snprintf(complaint, sizeof complaint, "a world although: %s", e.text);
    expect(bp_mj_model_world(&world, c, NULL, NULL), want, NULL, "", NULL); /* without anybody who asks why */
}

static void failures(void) {
    static const char broken[] = "<mujoco>\n  <worldbody>\n    <body name='a'>\n      <jiont name='b'/>\n"
                                 "    </body>\n  </worldbody>\n</mujoco>\n";
    static const char unwired[] = "<mujoco>\n  <actuator>\n\n    <motor joint='nobody'/>\n  </actuator>\n</mujoco>\n";
    static const char idle[] = "<mujoco><worldbody><body name='a'><joint name='j'/><geom size='.1'/></body></worldbody></mujoco>";
    static const char truncated[] = "<mujoco><worldbody>";
    static unsigned char model[200000];
    bp_mj_model_config good = zoo_config(), c;
    bp_mj_reading row = everything[0];
    bp_mj_world *world;
    bp_error e;
    mjModel *m = NULL;
    size_t bytes, k;
    FILE *f;
    good.readings = &row;
    good.n_readings = 1;
#define REFUSE(change, status, word, more) \
    do {                                   \
        c = good;                          \
        row = everything[0];               \
        change;                            \
        refuse(&c, status, word, more);    \
    } while (0)
    /* the configuration */
    REFUSE(memset(&c, 0, sizeof c), BP_ERR_CONFIG, "default", "bp_mj_model_config");
    REFUSE(c.cookie ^= 0x08000000u, BP_ERR_ABI, "bp_real", NULL);
    REFUSE(c.cookie += 1, BP_ERR_ABI, "bp_mj_model_config", NULL);
    REFUSE(c.xml = NULL, BP_ERR_ARGUMENT, "path and xml", NULL);
    REFUSE(c.path = "zoo.xml", BP_ERR_ARGUMENT, "path and xml", NULL);
    REFUSE(c.readings = NULL, BP_ERR_ARGUMENT, "readings", NULL);
    REFUSE(c.n_readings = 0, BP_ERR_ARGUMENT, "readings", NULL);
    REFUSE(c.n_substeps = 0, BP_ERR_ARGUMENT, "n_substeps", NULL);
    REFUSE(c.episode_steps = 0, BP_ERR_ARGUMENT, "episode_steps", NULL);
    REFUSE(c.noise = -0.1, BP_ERR_ARGUMENT, "noise", "-0.1");
    REFUSE(c.noise = NAN, BP_ERR_ARGUMENT, "noise", NULL);
    REFUSE(c.noise = INFINITY, BP_ERR_ARGUMENT, "noise", NULL);
    REFUSE(c.keyframe = "lost", BP_ERR_FIELD, "key", "\"lost\"");
    expect(bp_mj_model_world(NULL, &good, NULL, &e), BP_ERR_ARGUMENT, &e, "NULL", NULL);
    expect(bp_mj_model_world(&world, NULL, NULL, &e), BP_ERR_ARGUMENT, &e, "NULL", NULL);
    expect(bp_mj_env_make(NULL, NULL, &e), BP_ERR_ARGUMENT, &e, "NULL", NULL);
    /* readings */
    REFUSE((row.what = BP_MJ_SENSOR, row.name = "nerve"), BP_ERR_FIELD, "sensor \"nerve\"", "\"q\"");
    REFUSE(row.name = "knee", BP_ERR_FIELD, "joint \"knee\"", "\"q\"");
    REFUSE((row.what = BP_MJ_JOINT_VELOCITY, row.name = "knee"), BP_ERR_FIELD, "joint \"knee\"", NULL);
    for (k = BP_MJ_BODY_POSITION; k <= BP_MJ_BODY_VERTICAL; k++)
        REFUSE((row.what = (bp_mj_quantity)k, row.name = "torso"), BP_ERR_FIELD, "body \"torso\"", NULL);
    REFUSE((row.what = BP_MJ_SITE_POSITION, row.name = "here"), BP_ERR_FIELD, "site \"here\"", NULL);
    REFUSE((row.what = BP_MJ_ACTIVATION, row.name = "nobody"), BP_ERR_FIELD, "actuator \"nobody\"", NULL);
    REFUSE((row.what = BP_MJ_ACTIVATION, row.name = "push"), BP_ERR_FIELD, "\"push\" has no numbers", NULL);
    REFUSE((row.what = BP_MJ_SITE_POSITION, row.name = "top", row.frame = "nowhere"), BP_ERR_FIELD, "body \"nowhere\"", NULL);
    REFUSE((row.what = BP_MJ_BODY_HEIGHT, row.name = "cart", row.frame = "pole"), BP_ERR_ARGUMENT, "frame", "\"q\"");
    REFUSE((row.what = BP_MJ_BODY_VELOCITY, row.name = "cart", row.frame = "pole"), BP_ERR_ARGUMENT, "frame", NULL);
    REFUSE((row.what = BP_MJ_BODY_POSITION, row.name = "*"), BP_ERR_ARGUMENT, "\"*\"", NULL);
    REFUSE(row.name = NULL, BP_ERR_ARGUMENT, "no name", "\"q\"");
    REFUSE(row.what = (bp_mj_quantity)77, BP_ERR_ARGUMENT, "77", "\"q\"");
    REFUSE(row.what = (bp_mj_quantity)-1, BP_ERR_ARGUMENT, "-1", NULL);
    REFUSE(row.field = NULL, BP_ERR_ARGUMENT, "", NULL);
    REFUSE(row.field = "", BP_ERR_ARGUMENT, "", NULL);
    REFUSE((c.xml = idle, row.name = "j"), BP_ERR_ARGUMENT, "no actuators", NULL);
    REFUSE((c.xml = idle, row.what = BP_MJ_SENSOR), BP_ERR_FIELD, "has no numbers", NULL);
    /* texts */
    REFUSE(c.xml = "", BP_ERR_FORMAT, "empty", NULL);
    REFUSE(c.xml = "not a model", BP_ERR_FORMAT, "XML", NULL);
    REFUSE(c.xml = truncated, BP_ERR_FORMAT, "XML", NULL);
    REFUSE(c.xml = broken, BP_ERR_FORMAT, "jiont", "ine 4");
    REFUSE(c.xml = unwired, BP_ERR_FORMAT, "nobody", "line");
    /* files: here, in the scratch directory */
    REFUSE((c.xml = NULL, c.path = "absent.xml"), BP_ERR_IO, "\"absent.xml\"", NULL);
    REFUSE((c.xml = NULL, c.path = "absent.mjb"), BP_ERR_IO, "\"absent.mjb\"", NULL);
    REFUSE((c.xml = NULL, c.path = ""), BP_ERR_IO, "", NULL);
    write_file("broken.xml", broken, strlen(broken));
    REFUSE((c.xml = NULL, c.path = "broken.xml"), BP_ERR_FORMAT, "broken.xml", "ine 4");
    REFUSE((c.xml = NULL, c.path = "broken.xml"), BP_ERR_FORMAT, "jiont", NULL);
    write_file("unwired.xml", unwired, strlen(unwired));
    REFUSE((c.xml = NULL, c.path = "unwired.xml"), BP_ERR_FORMAT, "unwired.xml", "nobody");
    write_file("empty.xml", "", 0);
    REFUSE((c.xml = NULL, c.path = "empty.xml"), BP_ERR_FORMAT, "empty.xml", NULL);
    REFUSE((c.xml = NULL, c.path = "."), BP_ERR_FORMAT, "\".\"", NULL);
    write_file("mesh.xml", "<mujoco><asset><mesh name='m' file='gone.stl'/></asset></mujoco>", 64);
    REFUSE((c.xml = NULL, c.path = "mesh.xml"), BP_ERR_FORMAT, "mesh.xml", "gone.stl");
    write_file("text.mjb", broken, strlen(broken));
    REFUSE((c.xml = NULL, c.path = "text.mjb"), BP_ERR_FORMAT, "text.mjb", "MuJoCo: ");
    write_file("empty.mjb", "", 0);
    REFUSE((c.xml = NULL, c.path = "empty.mjb"), BP_ERR_FORMAT, "empty.mjb", NULL);
    if (bp_mj_load_xml(&m, zoo, NULL, &e) == BP_OK) {
        mj_saveModel(m, "zoo.mjb", NULL, 0);
        mj_deleteModel(m);
    }
    f = fopen("zoo.mjb", "rb");
    bytes = f ? fread(model, 1, sizeof model, f) : 0;
    if (f) fclose(f);
    if (bytes < 1000 || bytes == sizeof model) (void)snprintf(complaint, sizeof complaint, "zoo.mjb has %zu bytes", bytes);
    write_file("cut.mjb", model, bytes / 2);
    REFUSE((c.xml = NULL, c.path = "cut.mjb"), BP_ERR_FORMAT, "cut.mjb", NULL);
    model[4] ^= 0xFF; /* size of a number */
    write_file("odd.mjb", model, bytes);
    REFUSE((c.xml = NULL, c.path = "odd.mjb"), BP_ERR_FORMAT, "odd.mjb", "floating point precision");
#undef REFUSE
}

/* Divergence and engine errors, for the same treatment: whatever they do, they do it silently. */
static void faults(void) {
    bp_mj_model_config c = zoo_config();
    bp_real obs[MJ_RIG_OBSERVATION], action[4] = {30, 1, 0, -1};
    const double fast[11] = {1e12};
    bp_mj_world *world = NULL;
    witness w;
    bp_step out;
    bp_env env;
    bp_error e;
    memset(&w, 0, sizeof w);
    c.begin = witness_begin;
    c.ctx = &w;
    expect(bp_mj_model_world(&world, &c, NULL, &e), BP_OK, NULL, "", NULL);
    expect(bp_mj_env_make(world, &env, &e), BP_OK, NULL, "", NULL);
    expect(env.reset(env.self, 1, obs), BP_OK, NULL, "", NULL);
    expect(bp_mj_env_set_state(&env, NULL, fast, NULL, NULL), BP_OK, NULL, "", NULL);
    expect(env.step(env.self, action, obs, &out), BP_OK, NULL, "", NULL);
    if (bp_mj_env_info(&env).end != BP_MJ_DIVERGED) (void)snprintf(complaint, sizeof complaint, "1e12 rad/s did not diverge");
    w.fail = true;
    expect(env.reset(env.self, 1, obs), BP_ERR_ENV, NULL, "", NULL);
    w.fail = false;
    bp_env_close(&env);
    bp_mj_world_destroy(world);
}

/* In an empty directory, with standard output and error in a file of it and standard input a pipe on which nobody writes. */
static void test_quiet(void **state) {
    static const char *const left[] = {"printed", "broken.xml", "unwired.xml", "empty.xml", "mesh.xml",
                                       "text.mjb", "empty.mjb", "cut.mjb", "odd.mjb", "zoo.mjb"};
    void (*const list[2])(void) = {failures, faults};
    static char printed[4096];
    char here[1024], path[300];
    int out, err, in, sink, nobody[2], k;
    (void)state;
    complaint[0] = '\0';
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(pipe(nobody), 0);
    assert_int_equal(chdir(bpt_scratch), 0);
    fflush(NULL);
    out = dup(1);
    err = dup(2);
    in = dup(0);
    sink = open("printed", O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(sink, 1);
    dup2(sink, 2);
    dup2(nobody[0], 0);
    alarm(100); /* who waits for the Enter key is ended */
    for (k = 0; k < 2; k++) list[k]();
    alarm(0);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    dup2(in, 0);
    k = (int)lseek(sink, 0, SEEK_SET);
    k = (int)read(sink, printed, sizeof printed - 1);
    close(sink), close(out), close(err), close(in), close(nobody[0]), close(nobody[1]);
    if (complaint[0]) print_error("%s\n", complaint);
    if (k > 0) print_error("printed: %s\n", printed);
    assert_int_equal(access("MUJOCO_LOG.TXT", F_OK), -1);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(k, 0);
    assert_true(complaint[0] == '\0');
    for (k = 0; k < (int)COUNT(left); k++) assert_int_equal(remove(bpt_at(path, left[k])), 0);
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static void test_out_of_memory(void **state) {
    char path[300];
    size_t n, turn;
    (void)state;
    bpt_at(path, "zoo.xml");
    write_file(path, zoo, strlen(zoo));
    for (turn = 0; turn < 2; turn++) {
        bp_mj_model_config c = zoo_config();
        bp_mj_world *world;
        bpt_memory memory;
        bp_error error;
        bp_env env;
        if (turn) c.xml = NULL, c.path = path;
        for (n = 1;; n++) {
            bp_status status;
            bpt_memory_use(&memory);
            memory.fail_at = n;
            status = bp_mj_model_world(&world, &c, &memory.allocator, &error);
            if (status == BP_OK) {
                status = bp_mj_env_make(world, &env, &error);
                if (status == BP_OK) {
                    const size_t requests = memory.requests;
                    bp_real obs[MJ_RIG_OBSERVATION], action[4] = {0};
                    bp_step out;
                    assert_int_equal(env.reset(env.self, 1, obs), BP_OK);
                    assert_int_equal(env.step(env.self, action, obs, &out), BP_OK);
                    assert_int_equal(memory.requests, requests); /* nothing allocated after creation */
                    bp_env_close(&env);
                }
                bp_mj_world_destroy(world);
            } else {
                assert_null(world);
            }
            bpt_memory_check(&memory);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
            assert_true(n < 10);
        }
        assert_true(n >= 4); /* world, (file system of the text,) readings, environment; the last n fails none */
    }
    remove(path);
}

/* ---- divergence ------------------------------------------------------------------------------------------------------------ */

/* A featherweight on a motor that could move a mountain, integrated in steps that are too long. */
static const char catapult[] =
    "<mujoco><option timestep='.02' gravity='0 0 0'/><worldbody>"
    "  <body name='a'><joint name='x' type='slide' stiffness='1e4'/><geom size='.1' mass='.001'/>"
    "    <body name='b' pos='0 0 .2'><joint name='y' type='hinge' axis='0 1 0'/><geom size='.01' pos='.1 0 0' mass='1e-6'/></body>"
    "  </body></worldbody>"
    "<actuator><motor name='m' joint='y' gear='1e4' ctrllimited='true' ctrlrange='-1000 1000'/></actuator></mujoco>";

static double one(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done) {
    (void)ctx;
    (void)m;
    (void)d;
    (void)action;
    (void)done;
    return 1;
}

static void test_divergence(void **state) {
    static const bp_mj_reading rows[] = {{"q", BP_MJ_JOINT_POSITION, "*", NULL}, {"v", BP_MJ_JOINT_VELOCITY, "*", NULL}};
    const bp_real full[1] = {1000}, none[1] = {0};
    bp_mj_model_config c = bp_mj_model_config_default();
    uint64_t episode;
    bp_mj_info info;
    size_t i, t;
    mj_rig r;
    (void)state;
    c.xml = catapult;
    c.readings = rows;
    c.n_readings = 2;
    c.n_substeps = 2;
    c.reward = one;
    own_make(&r, &c);
    for (episode = 1; episode <= 5; episode++) {
        mj_rig_reset(&r, episode);
        assert_true(bp_mj_env_info(&r.env).warning[0] == '\0');
        mj_rig_step(&r, none);
        assert_true(r.out.reward == 1 && !r.out.last);
        for (t = 0; t < 50; t++) {
            mj_rig_step(&r, full);
            if (r.out.last) break;
            assert_true(r.out.reward == 1 && r.out.discount == 1);
        }
        info = bp_mj_env_info(&r.env);
        assert_true(r.out.last && r.out.reward == 0 && r.out.discount == 0);
        assert_int_equal(info.end, BP_MJ_DIVERGED);
        assert_int_equal(info.diverged, episode);
        assert_int_equal(info.warnings, episode);
        assert_true(strstr(info.warning, "Nan") || strstr(info.warning, "NaN") || strstr(info.warning, "huge"));
        for (i = 0; i < r.env.spec.observation_size; i++) assert_true(r.obs[i] - r.obs[i] == 0);
        assert_int_equal(r.env.step(r.env.self, none, r.obs, &r.out), BP_ERR_ENV); /* it is over */
    }
    mj_rig_reset(&r, 1);
    for (t = 0; t < 10; t++) mj_rig_step(&r, none);
    assert_false(r.out.last);
    mj_rig_free(&r);

    c.divergence_is_error = true;
    own_make(&r, &c);
    for (episode = 1; episode <= 2; episode++) {
        bp_status status = BP_OK;
        mj_rig_reset(&r, episode);
        for (t = 0; t < 50 && status == BP_OK; t++) status = r.env.step(r.env.self, full, r.obs, &r.out);
        assert_int_equal(status, BP_ERR_ENV);
        info = bp_mj_env_info(&r.env);
        assert_int_equal(info.end, BP_MJ_DIVERGED);
        assert_int_equal(info.diverged, episode);
        assert_non_null(strstr(info.error.text, "diverged in step"));
        assert_non_null(strstr(info.error.text, info.warning));
    }
    mj_rig_reset(&r, 1);
    mj_rig_step(&r, none);
    assert_false(r.out.last);
    mj_rig_free(&r);
}

/* The CMU humanoid with position controllers, each thrown from end to end: its simulation cannot always follow. */
static void test_cmu_diverges(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_RUN, BP_MJ_WALKER_CMU_POSITION);
    bp_rng rng = bp_rng_make(bpt_seed(), 0);
    size_t diverged = 0, episode, t, i;
    bp_mj_info info;
    mj_rig r;
    (void)state;
    task.episode_steps = 400;
    task.timestep = 0.008;     /* at its own 5 ms one episode of ten does, which is little to rely upon */
    task.alive_threshold = -2; /* the ground, too, is a place to be thrown about */
    task.contact_ends = false;
    mj_rig_make(&r, &task);
    for (episode = 0; episode < 10 && diverged < 3; episode++) {
        bp_real action[BP_MAX_ACTION];
        mj_rig_reset(&r, episode);
        for (t = 0;; t++) {
            for (i = 0; i < r.env.spec.action_size; i++) action[i] = bp_rng_uniform(&rng) < 0.5 ? -1 : 1;
            mj_rig_step(&r, action);
            for (i = 0; i < r.env.spec.observation_size; i++) assert_true(r.obs[i] - r.obs[i] == 0);
            if (r.out.last) break;
        }
        info = bp_mj_env_info(&r.env);
        if (info.end != BP_MJ_DIVERGED) continue;
        diverged++;
        assert_true(r.out.reward == 0 && r.out.discount == 0);
        assert_int_equal(info.diverged, diverged);
        assert_true(info.warnings >= diverged && info.warning[0]);
    }
    print_message("%zu of %zu episodes diverged\n", diverged, episode);
    assert_true(diverged == 3);
    mj_rig_reset(&r, 1); /* and goes on */
    mj_rig_step(&r, NULL);
    assert_false(r.out.last);
    mj_rig_free(&r);
}

/* MuJoCo's error function called in the middle of a step of each kind of task: state lost, environment not. */
static void fail_in_callback(const mjModel *m, mjData *d) {
    (void)m;
    (void)d;
    mju_error("the callback\nsays no");
}

static void test_engine_error(void **state) {
    static const bp_mj_task_kind kind[] = {BP_MJ_SEQUENCE, BP_MJ_MOVE_BOX, BP_MJ_RUN_GAPS, BP_MJ_GO_TO_TARGET};
    size_t k;
    (void)state;
    for (k = 0; k <= COUNT(kind); k++) {
        static const bp_real action[BP_MAX_ACTION];
        static unsigned char buffer[1 << 16];
        bp_real first[MJ_RIG_OBSERVATION];
        const double *nothing = NULL;
        size_t bytes;
        mj_rig r;
        if (k < COUNT(kind)) {
            bp_mj_task task = bp_mj_task_default(kind[k], BP_MJ_WALKER_ANT);
            mj_rig_make(&r, &task);
        } else {
            bp_mj_model_config c = zoo_config();
            own_make(&r, &c);
        }
        mj_rig_reset(&r, 5);
        memcpy(first, r.obs, sizeof first);
        bytes = r.env.save(r.env.self, buffer, sizeof buffer);
        assert_true(bytes > 0);
        mjcb_control = fail_in_callback;
        assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV);
        assert_string_equal(bp_mj_env_info(&r.env).error.text, "MuJoCo: the callback");
        assert_int_equal(bp_mj_env_info(&r.env).end, BP_MJ_ENGINE_ERROR);
        assert_int_equal(bp_mj_env_info(&r.env).diverged, 0);
        assert_int_equal(r.env.load(r.env.self, buffer, bytes), BP_ERR_ENV);
        assert_int_equal(r.env.reset(r.env.self, 5, r.obs), BP_ERR_ENV);
        mjcb_control = NULL;
        assert_int_equal(bp_mj_env_set_state(&r.env, nothing, nothing, r.obs, &r.error), BP_ERR_ENV); /* no episode */
        assert_int_equal(r.env.step(r.env.self, action, r.obs, &r.out), BP_ERR_ENV);
        assert_int_equal(r.env.load(r.env.self, buffer, bytes), BP_OK); /* a saved state brings it back, too */
        mj_rig_step(&r, action);
        mj_rig_reset(&r, 5);
        assert_memory_equal(first, r.obs, r.env.spec.observation_size * sizeof(bp_real));
        mj_rig_step(&r, action);
        mj_rig_free(&r);
    }
}

static int group_setup(void **state) {
    (void)state;
    bpt_make_scratch("models");
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    return rmdir(bpt_scratch); /* whoever leaves files behind is found out */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readings),
        cmocka_unit_test(test_joined),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_keyframe),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_step_is_mj_step),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_load_bad_numbers),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_cmu_diverges),
        cmocka_unit_test(test_engine_error),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
