/* test_mujoco.h - what the tests of bprior_mujoco.h share: a world with one environment of it, and ways to look at it.
 *
 * Include after both headers' implementations and test_util.h.
 *
 *     mj_rig r;
 *     mj_rig_make(&r, &task);
 *     mj_rig_reset(&r, seed);
 *     mj_rig_step(&r, action);                   NULL: all zero. Both fail the test on an error status
 *     mj_rig_field(&r, "goal")[0]
 *     mj_rig_free(&r);
 */
#ifndef BPRIOR_TEST_MUJOCO_H
#define BPRIOR_TEST_MUJOCO_H

#define MJ_RIG_OBSERVATION 512

typedef struct mj_rig {
    bp_mj_world *world;
    bp_env env;
    bp_real obs[MJ_RIG_OBSERVATION];
    bp_step out;
    bp_error error;
} mj_rig;

BPT_FN void mj_rig_make(mj_rig *r, const bp_mj_task *task) {
    memset(r, 0, sizeof *r);
    bpt_ok(bp_mj_world_create(&r->world, task, NULL, &r->error), &r->error);
    bpt_ok(bp_mj_env_make(r->world, &r->env, &r->error), &r->error);
    assert_true(r->env.spec.observation_size <= MJ_RIG_OBSERVATION);
}

BPT_FN void mj_rig_free(mj_rig *r) {
    bp_env_close(&r->env);
    bp_mj_world_destroy(r->world);
}

BPT_FN void mj_rig_reset(mj_rig *r, uint64_t seed) {
    const bp_status status = r->env.reset(r->env.self, seed, r->obs);
    bp_mj_info info = bp_mj_env_info(&r->env);
    bpt_ok(status, &info.error);
}

BPT_FN void mj_rig_step(mj_rig *r, const bp_real *action) {
    static const bp_real nothing[BP_MAX_ACTION] = {0};
    const bp_status status = r->env.step(r->env.self, action ? action : nothing, r->obs, &r->out);
    bp_mj_info info = bp_mj_env_info(&r->env);
    bpt_ok(status, &info.error);
}

BPT_FN bp_real *mj_rig_field(mj_rig *r, const char *name) {
    const bp_field *f = bp_spec_find(&r->env.spec, name);
    if (!f) print_error("there is no field \"%s\"\n", name);
    assert_non_null(f);
    return r->obs + f->offset;
}

/* Put the free (or slid) thing whose joint has this name at (x, y), as it is otherwise; velocities become 0. */
BPT_FN void mj_rig_move(mj_rig *r, const char *joint, double x, double y) {
    const mjModel *m = bp_mj_world_model(r->world);
    const mjData *d = bp_mj_env_data(&r->env);
    double qpos[256], qvel[256];
    int i, id = mj_name2id(m, mjOBJ_JOINT, joint);
    assert_true(id >= 0 && m->nq <= 256);
    for (i = 0; i < m->nq; i++) qpos[i] = (double)d->qpos[i];
    for (i = 0; i < m->nv; i++) qvel[i] = 0;
    qpos[m->jnt_qposadr[id]] = x;
    qpos[m->jnt_qposadr[id] + 1] = y;
    bpt_ok(bp_mj_env_set_state(&r->env, qpos, qvel, r->obs, &r->error), &r->error);
}

/* Pearson's statistic of counts [n] against equal shares, minus its mean n - 1, over its standard deviation. */
BPT_FN double mj_rig_uneven(const size_t *count, size_t n) {
    double total = 0, sum = 0, share;
    size_t i;
    for (i = 0; i < n; i++) total += (double)count[i];
    share = total / (double)n;
    for (i = 0; i < n; i++) sum += ((double)count[i] - share) * ((double)count[i] - share) / share;
    return (sum - (double)(n - 1)) / sqrt(2.0 * (double)(n - 1));
}

#endif
