/* test_mujoco_parity.c - bodies, tasks and resets of bprior_mujoco.h against the reference's own numbers.
 *
 * Oracle: the files tests/oracle/mujoco_*.safetensors, which dm_control and box_arrangement wrote on MuJoCo 3.17.0 (see
 * tests/oracle/README.md). Compared are compiled models, accelerations, trajectories, observations, whole episodes, and where resets
 * put things. `make parity` shows what is printed here: one line for each comparison, the largest difference, what is allowed.
 *
 * What is allowed depends on the build, hence the three numbers of ALLOW(same, rounded, other):
 *   same      the MuJoCo of the files, and bp_real is double. Nothing but the order of sums in our observations can differ, by
 *             1e-15; states were the same to the last bit. 1e-12 leaves room for another C library's sines
 *   rounded   that MuJoCo, but bp_real is float: actions and observations are rounded to 24 bits, 6e-8. About three times what was
 *             measured, which is the same everywhere, since rounding is
 *   other     another MuJoCo, whose solver and collisions are others: five to ten times what was measured with 2.2.2
 * Observations are compared relative to the largest number of their field, or 1 if that is more; states absolutely.
 *
 * Walkers on many contacts are chaotic: after 60 control steps nothing is left to compare when a last bit was other at the
 * beginning. Therefore trajectories are also compared from each recorded state to the next, and episodes with the recorded states
 * put back. A ball's spawn is the one state where versions differ for good: it touches the floor at a distance of 0 up
 * to rounding, which is a contact in 2.x and none in 3.17.
 *
 * Exceptions, all where nothing can come of a difference:
 *   - what is only to be seen: sizes of planes, geoms without contacts (walls and target of the suite's point mass);
 *   - range, solref and solimp of a joint without limits; forcerange of an actuator without; springref where the stiffness is 0;
 *   - position and orientation of a body with a free joint in its parent, which are those of qpos0 only;
 *   - a capsule's axis may point the other way, a quaternion may have the other sign, sizes a shape does not have may differ;
 *   - an affine bias of 0, 0, 0 (balls) is no bias; a tendon along one joint (point mass) is that joint.
 * And where our tasks are others than the reference's:
 *   - the suite's humanoid stands in the arena of the tasks here, with that arena's cone and noslip; its own options are put back for
 *     its own trajectory;
 *   - the CMU humanoid has a rule for having fallen (M3) where the reference says it never does: off here. It has 6 physics
 *     steps in a control step by default, as in dm_control's tasks; box_arrangement's have 10, set here;
 *   - the reference turns a ball by minus the yaw that it says, since the hinge's axis points down; ours by the yaw;
 *   - the order of the cells of the reference's maze means nothing after its shuffle, and is not kept: a layout says which
 *     thing is where.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_mujoco.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/oracle/"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define RESETS 2000 /* slower there, and numbers are what the other builds are for */
#else
#define RESETS 10000
#endif

#define PI 3.14159265358979323846
#define MAX_STATE 80 /* nq, nv */

/* ---- a file --------------------------------------------------------------------------------------- */

typedef struct table {
    double *x;
    size_t rows, cols;
} table;

static bp_safetensors *file;
static void *pool[256];
static size_t n_pool;
static bool same_version; /* the MuJoCo of the file is this one */

static const char *text_of(const char *key) {
    const char *value = bp_safetensors_text(file, key);
    if (!value) print_error("no \"%s\" in %s\n", key, file->path);
    assert_non_null(value);
    return value;
}

/* Entry i of a list in the metadata, or NULL behind its end. */
static const char *name_of(const char *list, size_t i) {
    char key[64];
    (void)snprintf(key, sizeof key, "%s.%lu", list, (unsigned long)i);
    return bp_safetensors_text(file, key);
}

static size_t count_of(const char *list) {
    size_t n = 0;
    while (name_of(list, n)) n++;
    return n;
}

static void open_file(const char *name) {
    char path[BP_PATH], version[64];
    bp_error error;
    (void)snprintf(path, sizeof path, "%smujoco_%s.safetensors", TEST_DATA, name);
    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    (void)snprintf(version, sizeof version, "mujoco %s,", mj_versionString());
#if defined(__x86_64__)
    same_version = strstr(text_of("versions"), version) != NULL;
#else
    same_version = false; /* compiled for another processor, last bits differ */
#endif
}

static void close_file(void) {
    while (n_pool) free(pool[--n_pool]);
    bp_safetensors_close(file);
    file = NULL;
}

/* Valid until close_file(). */
static table load(const char *name) {
    const bp_stored *stored = bp_safetensors_find(file, name);
    bp_error error;
    table t;
    if (!stored) print_error("no array \"%s\" in %s\n", name, file->path);
    assert_non_null(stored);
    assert_int_equal(stored->n_dims, 2);
    t.rows = stored->shape[0];
    t.cols = stored->shape[1];
    t.x = (double *)malloc((stored->count + 1) * sizeof *t.x);
    assert_non_null(t.x);
    assert_true(n_pool < sizeof pool / sizeof *pool);
    pool[n_pool++] = t.x;
    bpt_ok(bp_safetensors_read_double(file, name, t.x, stored->count, &error), &error);
    return t;
}

static const double *row(const table *t, size_t i) {
    assert_true(i < t->rows);
    return t->x + i * t->cols;
}

/* ---- differences ------------------------------------------------------------------------------------ */

/* The largest difference so far, and where it was. */
typedef struct gauge {
    double worst;
    char where[96];
} gauge;

static size_t n_checks, n_above;

static void see(gauge *g, double difference, const char *what, const char *of) {
    if (difference <= g->worst) return; /* NaN is not */
    g->worst = difference <= HUGE_VAL ? difference : HUGE_VAL;
    (void)snprintf(g->where, sizeof g->where, "%.40s of %.40s", what, of);
}

/* got and want [n]: difference relative to the largest |want|, or to `least` if that is more. */
static void see_numbers(gauge *g, const mjtNum *got, const double *want, size_t n, double least, const char *what, const char *of) {
    double scale = least, most = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]);
        if (!(d <= most)) most = d; /* NaN stays */
        scale = fmax(scale, fabs(want[i]));
    }
    see(g, most / (scale > 0 ? scale : 1), what, of);
}

static void see_number(gauge *g, double got, double want, const char *what, const char *of) {
    const mjtNum x = (mjtNum)got;
    see_numbers(g, &x, &want, 1, 0, what, of);
}

static void see_same(gauge *g, bool same, const char *what, const char *of) {
    see(g, same ? 0 : HUGE_VAL, what, of);
}

static double allow(double same, double rounded, double other) {
    const bool floats = sizeof(bp_real) == sizeof(float);
    if (same_version) return floats ? rounded : same;
    return floats ? fmax(rounded, other) : other;
}
#define ALLOW(same, rounded, other) allow(same, rounded, other)

/* The line that `make parity` shows. */
static void report(const char *who, const char *what, const gauge *g, double allowed) {
    char name[96];
    const bool ok = g->worst <= allowed;
    (void)snprintf(name, sizeof name, "%s: %s", who, what);
    printf("%-4s  %-58s %9.2g  <= %-8.2g%s%s\n", ok ? "ok" : "FAIL", name, g->worst, allowed, ok ? "" : "  differ: ", ok ? "" : g->where);
    (void)fflush(stdout);
    n_checks++;
    n_above += !ok;
}

/* The end of every test. */
static void judge(void) {
    const size_t above = n_above;
    n_above = 0;
    if (above) print_error("%lu differences above what is allowed\n", (unsigned long)above);
    assert_int_equal(above, 0);
}

/* ---- ours by the reference's names ---------------------------------------------------------------------- */

/* The reference's name of a body or joint, as it is here. */
static const char *our_name(mjtObj type, const char *name) {
    if (!strcmp(name, "box")) return "box_0";
    if (type == mjOBJ_BODY && !strcmp(name, "walker")) return "walker/";
    if (type == mjOBJ_JOINT && (!strcmp(name, "walker") || !strcmp(name, "root"))) return "walker/root";
    return name;
}

static int find(const mjModel *m, mjtObj type, const char *name) {
    const int id = mj_name2id(m, (int)type, our_name(type, name));
    if (id < 0) print_error("the model has no \"%s\"\n", name);
    assert_true(id >= 0);
    return id;
}

/* Geom number `rank` of a body (-1: the world). */
static int find_geom(const mjModel *m, int body, size_t rank) {
    int g;
    for (g = 0; g < (int)m->ngeom; g++)
        if (m->geom_bodyid[g] == body && !rank--) return g;
    return -1;
}

static int width_q(const mjModel *m, int joint) { return m->jnt_type[joint] == mjJNT_FREE ? 7 : 1; }
static int width_v(const mjModel *m, int joint) { return m->jnt_type[joint] == mjJNT_FREE ? 6 : 1; }

/* Where each number of the file's qpos and qvel is in ours. */
typedef struct places {
    size_t nq, nv;
    int q[MAX_STATE], v[MAX_STATE];
} places;

static places find_places(const mjModel *m) {
    const char *name;
    size_t j;
    places p;
    int i;
    memset(&p, 0, sizeof p);
    for (j = 0; (name = name_of("joint", j)) != NULL; j++) {
        const int id = find(m, mjOBJ_JOINT, name);
        assert_true(p.nq + 7 < MAX_STATE);
        for (i = 0; i < width_q(m, id); i++) p.q[p.nq++] = m->jnt_qposadr[id] + i;
        for (i = 0; i < width_v(m, id); i++) p.v[p.nv++] = m->jnt_dofadr[id] + i;
    }
    assert_int_equal(p.nq, m->nq);
    assert_int_equal(p.nv, m->nv);
    return p;
}

/* theirs [n] -> ours */
static void reorder(double *ours, const double *theirs, const int *place, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) ours[place[i]] = theirs[i];
}

/* ---- 1. models ------------------------------------------------------------------------------------------ */

/* The model compilers of different versions take other ways to the same numbers: 1e-14. */
#define MODEL ALLOW(1e-14, 1e-14, 1e-13)
/* 2.2.2 takes an inertia of several geoms for diagonal when what is left beside the diagonal is 3e-7 of it (CMU's feet). */
#define MODEL_INERTIA(allowed_other) (strstr(who, "cmu") ? ALLOW(1e-14, 1e-14, allowed_other) : MODEL)

static void full_inertia(mjtNum out[9], const mjtNum *quat, const mjtNum *diagonal) {
    mjtNum r[9];
    int i, j, k;
    mju_quat2Mat(r, quat);
    for (i = 0; i < 3; i++)
        for (j = 0; j < 3; j++) {
            out[3 * i + j] = 0;
            for (k = 0; k < 3; k++) out[3 * i + j] += r[3 * i + k] * diagonal[k] * r[3 * j + k];
        }
}

static void full_inertia_of_file(double out[9], const double *quat, const double *diagonal) {
    mjtNum q[4], d[3], full[9];
    int i;
    for (i = 0; i < 4; i++) q[i] = (mjtNum)quat[i];
    for (i = 0; i < 3; i++) d[i] = (mjtNum)diagonal[i];
    full_inertia(full, q, d);
    for (i = 0; i < 9; i++) out[i] = (double)full[i];
}

static void see_quat(gauge *g, const mjtNum *got, const double *want, const char *what, const char *of) {
    double dot = 0, turned[4];
    int i;
    for (i = 0; i < 4; i++) dot += (double)got[i] * want[i];
    for (i = 0; i < 4; i++) turned[i] = dot < 0 ? -want[i] : want[i];
    see_numbers(g, got, turned, 4, 1, what, of);
}

static void check_bodies(const char *who, const mjModel *m) {
    const table mass = load("body/mass"), subtree = load("body/subtreemass"), inertia = load("body/inertia"), ipos = load("body/ipos");
    const table iquat = load("body/iquat"), pos = load("body/pos"), quat = load("body/quat"), parent = load("body/parent");
    const table weight = load("body/invweight0"), dof = load("dof/invweight0"), diagonal = load("dof/M0"), total = load("total_mass");
    const table mean = load("stat/meaninertia");
    gauge bodies = {0, ""}, weights = {0, ""}, matrix = {0, ""};
    double sum = 0;
    size_t i, at = 0;
    for (i = 0; i < mass.rows; i++) {
        const char *name = name_of("body", i);
        const int b = find(m, mjOBJ_BODY, name), up = (int)row(&parent, i)[0];
        const bool is_free = m->body_jntnum[b] > 0 && m->jnt_type[m->body_jntadr[b]] == mjJNT_FREE;
        mjtNum full[9];
        double want[9];
        see_number(&bodies, (double)m->body_mass[b], row(&mass, i)[0], "mass", name);
        see_number(&bodies, (double)m->body_subtreemass[b], row(&subtree, i)[0], "subtree mass", name);
        full_inertia(full, m->body_iquat + 4 * b, m->body_inertia + 3 * b);
        full_inertia_of_file(want, row(&iquat, i), row(&inertia, i));
        see_numbers(&bodies, full, want, 9, 0, "inertia", name);
        see_numbers(&bodies, m->body_ipos + 3 * b, row(&ipos, i), 3, 0.1, "ipos", name);
        see_same(&bodies, m->body_parentid[b] == (up < 0 ? 0 : find(m, mjOBJ_BODY, name_of("body", (size_t)up))), "parent", name);
        if (!is_free) {
            see_numbers(&bodies, m->body_pos + 3 * b, row(&pos, i), 3, 0.1, "pos", name);
            see_quat(&bodies, m->body_quat + 4 * b, row(&quat, i), "quat", name);
        }
        see_numbers(&weights, m->body_invweight0 + 2 * b, row(&weight, i), 2, 0, "body_invweight0", name);
        sum += (double)m->body_mass[b];
    }
    see_number(&bodies, sum, total.x[0], "mass", "all");
    report(who, "bodies: mass, inertia, placement", &bodies, MODEL_INERTIA(2e-6));
    for (i = 0; name_of("joint", i); i++) {
        const char *name = name_of("joint", i);
        const int j = find(m, mjOBJ_JOINT, name);
        int k;
        for (k = 0; k < width_v(m, j); k++, at++) {
            const int d = m->jnt_dofadr[j] + k;
            see_number(&weights, (double)m->dof_invweight0[d], row(&dof, at)[0], "dof_invweight0", name);
            see_number(&matrix, (double)m->dof_M0[d], row(&diagonal, at)[0], "dof_M0", name);
        }
    }
    assert_int_equal(at, dof.rows);
    /* with a box in the room the average is over more */
    if (m->nv == (int)dof.rows) see_number(&matrix, (double)m->stat.meaninertia, mean.x[0], "meaninertia", "the model");
    report(who, "generalised inertia at qpos0", &matrix, MODEL_INERTIA(5e-10));
    /* A body on slides alone has no inverse inertia for turning: 0 in one version, something else in the other (README). */
    if (strcmp(who, "model pointmass") || same_version) report(who, "invweight0", &weights, MODEL_INERTIA(5e-9));
}

static void check_joints(const char *who, const mjModel *m) {
    const table type = load("joint/type"), body = load("joint/body"), axis = load("joint/axis"), pos = load("joint/pos");
    const table range = load("joint/range"), limited = load("joint/limited"), stiffness = load("joint/stiffness");
    const table damping = load("joint/damping"), armature = load("joint/armature"), friction = load("joint/frictionloss");
    const table margin = load("joint/margin"), solref = load("joint/solref_limit"), solimp = load("joint/solimp_limit");
    const table qpos0 = load("joint/qpos0"), spring = load("joint/qpos_spring");
    gauge g = {0, ""};
    size_t i;
    for (i = 0; i < type.rows; i++) {
        const char *name = name_of("joint", i);
        const int j = find(m, mjOBJ_JOINT, name), d = m->jnt_dofadr[j], q = m->jnt_qposadr[j];
        see_same(&g, m->jnt_type[j] == (int)row(&type, i)[0], "type", name);
        see_same(&g, m->jnt_bodyid[j] == find(m, mjOBJ_BODY, name_of("body", (size_t)row(&body, i)[0])), "body", name);
        see_same(&g, m->jnt_limited[j] == (int)row(&limited, i)[0], "limited", name);
        see_number(&g, (double)m->jnt_stiffness[j], row(&stiffness, i)[0], "stiffness", name);
        see_number(&g, (double)m->dof_damping[d], row(&damping, i)[0], "damping", name);
        see_number(&g, (double)m->dof_armature[d], row(&armature, i)[0], "armature", name);
        see_number(&g, (double)m->dof_frictionloss[d], row(&friction, i)[0], "frictionloss", name);
        if (m->jnt_type[j] == mjJNT_FREE) continue;
        see_numbers(&g, m->jnt_axis + 3 * j, row(&axis, i), 3, 1, "axis", name);
        see_numbers(&g, m->jnt_pos + 3 * j, row(&pos, i), 3, 0.1, "pos", name);
        see_number(&g, (double)m->qpos0[q], row(&qpos0, i)[0], "qpos0", name);
        if (m->jnt_stiffness[j] > 0) see_number(&g, (double)m->qpos_spring[q], row(&spring, i)[0], "qpos_spring", name);
        if (!m->jnt_limited[j]) continue;
        see_numbers(&g, m->jnt_range + 2 * j, row(&range, i), 2, 0, "range", name);
        see_number(&g, (double)m->jnt_margin[j], row(&margin, i)[0], "margin", name);
        see_numbers(&g, m->jnt_solref + mjNREF * j, row(&solref, i), 2, 0, "solref", name);
        see_numbers(&g, m->jnt_solimp + mjNIMP * j, row(&solimp, i), 5, 0, "solimp", name);
    }
    report(who, "joints", &g, MODEL);
}

static void check_geoms(const char *who, const mjModel *m, bool contacts) {
    static const int sizes[] = {0, 0, 1, 2, 3, 2, 3}; /* numbers of plane, height field, sphere, capsule, ellipsoid, cylinder, box */
    const table body = load("geom/body"), type = load("geom/type"), size = load("geom/size"), pos = load("geom/pos");
    const table quat = load("geom/quat"), contype = load("geom/contype"), affinity = load("geom/conaffinity");
    const table condim = load("geom/condim"), priority = load("geom/priority"), friction = load("geom/friction");
    const table margin = load("geom/margin"), gap = load("geom/gap"), mix = load("geom/solmix"), solref = load("geom/solref");
    const table solimp = load("geom/solimp");
    gauge shape = {0, ""}, touch = {0, ""};
    size_t i, j;
    for (i = 0; i < body.rows; i++) {
        const char *name = name_of("geom", i);
        const int b = (int)row(&body, i)[0], kind = (int)row(&type, i)[0];
        size_t rank = 0;
        int g;
        if (b < 0 && !contacts) continue;
        for (j = 0; j < i; j++) rank += row(&body, j)[0] == (double)b;
        g = find_geom(m, b < 0 ? 0 : find(m, mjOBJ_BODY, name_of("body", (size_t)b)), rank);
        see_same(&shape, g >= 0 && m->geom_type[g] == kind, "type", name);
        if (g < 0 || m->geom_type[g] != kind) continue;
        assert_true(kind < (int)(sizeof sizes / sizeof *sizes));
        see_numbers(&shape, m->geom_size + 3 * g, row(&size, i), (size_t)sizes[kind], 0.01, "size", name);
        see_numbers(&shape, m->geom_pos + 3 * g, row(&pos, i), 3, 0.1, "pos", name);
        if (kind == mjGEOM_CAPSULE || kind == mjGEOM_CYLINDER) { /* it looks the same from both ends, and however it is turned */
            mjtNum got[9], want[9], q[4];
            double axis[3], dot = 0;
            for (j = 0; j < 4; j++) q[j] = (mjtNum)row(&quat, i)[j];
            mju_quat2Mat(got, m->geom_quat + 4 * g);
            mju_quat2Mat(want, q);
            for (j = 0; j < 3; j++) dot += (double)(got[3 * j + 2] * want[3 * j + 2]);
            for (j = 0; j < 3; j++) {
                axis[j] = (double)want[3 * j + 2] * (dot < 0 ? -1 : 1);
                got[j] = got[3 * j + 2];
            }
            see_numbers(&shape, got, axis, 3, 1, "axis", name);
        } else if (kind != mjGEOM_SPHERE) {
            see_quat(&shape, m->geom_quat + 4 * g, row(&quat, i), "quat", name);
        }
        see_same(&touch, m->geom_contype[g] == (int)row(&contype, i)[0] && m->geom_conaffinity[g] == (int)row(&affinity, i)[0],
                 "contype, conaffinity", name);
        see_same(&touch, m->geom_condim[g] == (int)row(&condim, i)[0] && m->geom_priority[g] == (int)row(&priority, i)[0],
                 "condim, priority", name);
        see_numbers(&touch, m->geom_friction + 3 * g, row(&friction, i), 3, 0, "friction", name);
        see_number(&touch, (double)m->geom_margin[g], row(&margin, i)[0], "margin", name);
        see_number(&touch, (double)m->geom_gap[g], row(&gap, i)[0], "gap", name);
        see_number(&touch, (double)m->geom_solmix[g], row(&mix, i)[0], "solmix", name);
        see_numbers(&touch, m->geom_solref + mjNREF * g, row(&solref, i), 2, 0, "solref", name);
        see_numbers(&touch, m->geom_solimp + mjNIMP * g, row(&solimp, i), 5, 0, "solimp", name);
    }
    report(who, "geoms: shape, placement", &shape, MODEL);
    report(who, "geoms: contact parameters", &touch, MODEL);
}

/* An actuator's force on joint j is moment_j (gain . (1, length, velocity) u + bias . (1, length, velocity)). */
static void check_actuators(const char *who, const mjModel *m) {
    const table kind = load("actuator/trntype"), gear = load("actuator/gear"), gain_kind = load("actuator/gaintype");
    const table gain = load("actuator/gainprm"), bias_kind = load("actuator/biastype"), bias = load("actuator/biasprm");
    const table dynamics = load("actuator/dyntype"), range = load("actuator/ctrlrange"), limited = load("actuator/ctrllimited");
    const table force = load("actuator/forcerange"), forced = load("actuator/forcelimited");
    gauge g = {0, ""};
    size_t i, j;
    assert_int_equal(kind.rows, m->nu);
    for (i = 0; i < kind.rows; i++) {
        const int a = (int)i;
        const char *name = name_of("actuator", i), *target = name_of("actuator_target", i);
        const char *joint = mj_id2name(m, mjOBJ_JOINT, m->actuator_trnid[2 * a]);
        double law[3] = {0, 0, 0};
        mjtNum ours[3] = {0, 0, 0};
        assert_true(m->actuator_trntype[a] == mjTRN_JOINT && joint != NULL);
        if ((int)row(&kind, i)[0] == mjTRN_TENDON) {
            const table coefficient = load("tendon/coefficient");
            const size_t tendon = i; /* tendons and actuators have the same names here, in the same order */
            assert_string_equal(target, name_of("tendon", tendon));
            for (j = 0; j < coefficient.cols; j++)
                see_number(&g, strcmp(name_of("joint", j), joint) ? 0 : (double)m->actuator_gear[6 * a],
                           row(&gear, i)[0] * row(&coefficient, tendon)[j], "force", name);
        } else {
            see_same(&g, (int)row(&kind, i)[0] == mjTRN_JOINT && !strcmp(joint, target), "joint", name);
            see_numbers(&g, m->actuator_gear + 6 * a, row(&gear, i), 6, 0, "gear", name);
        }
        assert_true(m->actuator_gaintype[a] == mjGAIN_FIXED && (int)row(&gain_kind, i)[0] == mjGAIN_FIXED);
        see_number(&g, (double)m->actuator_gainprm[mjNGAIN * a], row(&gain, i)[0], "gain", name);
        for (j = 0; j < 3; j++) {
            if ((int)row(&bias_kind, i)[0] == mjBIAS_AFFINE) law[j] = row(&bias, i)[j];
            if (m->actuator_biastype[a] == mjBIAS_AFFINE) ours[j] = m->actuator_biasprm[mjNBIAS * a + (int)j];
        }
        see_numbers(&g, ours, law, 3, 0, "bias", name);
        see_same(&g, m->actuator_dyntype[a] == (int)row(&dynamics, i)[0], "dyntype", name);
        see_same(&g, m->actuator_ctrllimited[a] == (int)row(&limited, i)[0], "ctrllimited", name);
        see_numbers(&g, m->actuator_ctrlrange + 2 * a, row(&range, i), 2, 0, "ctrlrange", name);
        see_same(&g, m->actuator_forcelimited[a] == (int)row(&forced, i)[0], "forcelimited", name);
        if (m->actuator_forcelimited[a])
            see_numbers(&g, m->actuator_forcerange + 2 * a, row(&force, i), 2, 0, "forcerange", name);
    }
    report(who, "actuators, in their order", &g, MODEL);
}

static void check_sensors(const char *who, const mjModel *m) {
    const table body = load("sensor/body"), pos = load("sensor/pos"), quat = load("sensor/quat");
    gauge g = {0, ""};
    size_t i;
    for (i = 0; i < body.rows; i++) {
        const char *name = name_of("sensor", i);
        const int s = find(m, mjOBJ_SENSOR, name), site = m->sensor_objid[s];
        see_same(&g, m->site_bodyid[site] == find(m, mjOBJ_BODY, name_of("body", (size_t)row(&body, i)[0])), "body", name);
        see_numbers(&g, m->site_pos + 3 * site, row(&pos, i), 3, 0.1, "pos", name);
        see_quat(&g, m->site_quat + 4 * site, row(&quat, i), "quat", name);
    }
    if (body.rows) report(who, "sensors' placement", &g, MODEL);
}

static void check_excludes(const char *who, const mjModel *m) {
    const size_t n = count_of("exclude");
    gauge g = {0, ""};
    size_t i;
    see_same(&g, (int)n == (int)m->nexclude, "number", "excludes");
    for (i = 0; i < n; i++) {
        char a[64] = "", b[64] = "";
        bool there = false;
        int k, one, two;
        assert_int_equal(sscanf(name_of("exclude", i), "%63s %63s", a, b), 2);
        one = find(m, mjOBJ_BODY, a) + (mjVERSION_HEADER < 300); /* 2.x packs numbers that begin at 1 */
        two = find(m, mjOBJ_BODY, b) + (mjVERSION_HEADER < 300);
        for (k = 0; k < (int)m->nexclude; k++) {
            const int high = m->exclude_signature[k] >> 16, low = m->exclude_signature[k] & 65535;
            there = there || (high == one && low == two) || (high == two && low == one);
        }
        see_same(&g, there, "presence", name_of("exclude", i));
    }
    report(who, "pairs excluded from contact", &g, 0);
}

/* own: the file's options are the walker's own and not those of an arena: cone and noslip are not compared. */
static void check_options(const char *who, const mjModel *m, bool own) {
    gauge g = {0, ""};
    const table gravity = load("option/gravity");
#define OPTION(field) see_number(&g, (double)m->opt.field, load("option/" #field).x[0], #field, "the options")
    OPTION(timestep);
    OPTION(impratio);
    OPTION(tolerance);
    OPTION(integrator);
    OPTION(jacobian);
    OPTION(solver);
    OPTION(iterations);
    OPTION(disableflags);
    OPTION(enableflags);
    OPTION(density);
    OPTION(viscosity);
    if (!own) {
        OPTION(cone);
        OPTION(noslip_iterations);
        OPTION(noslip_tolerance);
    }
#if mjVERSION_HEADER >= 3017000 /* younger than 2.2.2, or with other defaults there */
    OPTION(ls_tolerance);
    OPTION(ls_iterations);
    OPTION(ccd_tolerance);
    OPTION(ccd_iterations);
#endif
#undef OPTION
    see_numbers(&g, m->opt.gravity, gravity.x, 3, 0, "gravity", "the options");
    report(who, "options", &g, 0);
}

/* The files say "rolling_ball", "jumping_ball", "humanoid_arena" for the walkers rolling, jumping, humanoid. */
static bp_mj_task task_of_model(const char *name) {
    const bp_mj_walker *walker;
    char shorter[BP_NAME], *end;
    (void)snprintf(shorter, sizeof shorter, "%s", name);
    end = strstr(shorter, "_ball");
    if (!end) end = strstr(shorter, "_arena");
    if (end) *end = '\0';
    walker = bp_mj_walker_named(shorter);
    assert_non_null(walker);
    if (!strcmp(name, "pointmass")) return bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    return bp_mj_task_for(BP_MJ_GO_TO_K_TARGETS, walker);
}

static void test_models(void **state) {
    static const char *const names[] = {"pointmass", "rolling_ball", "jumping_ball", "ant", "humanoid", "cmu", "cmu_position"};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        const bp_mj_task task = task_of_model(names[i]);
        const bool suite = !strcmp(names[i], "pointmass");
        char path[64];
        bp_mj_world *world;
        const mjModel *m;
        bp_error error;
        gauge g = {0, ""};
        table size;
        (void)snprintf(path, sizeof path, "model_%s", names[i]);
        bpt_ok(bp_mj_world_create(&world, &task, NULL, &error), &error);
        m = bp_mj_world_model(world);
        open_file(path);
        path[5] = ' ';
        size = load("size");
        see_same(&g, (double)m->nq == size.x[0] && (double)m->nv == size.x[1] && (double)m->nu == size.x[2] && (double)m->na == size.x[3],
                 "nq, nv, nu, na", names[i]);
        /* world and attachment frame have no twin in the suite's humanoid; ours has neither a frame there */
        see_same(&g, (size_t)m->nbody == 1 + count_of("body"), "nbody", names[i]);
        report(path, "sizes", &g, 0);
        check_bodies(path, m);
        check_joints(path, m);
        check_geoms(path, m, !suite);
        check_actuators(path, m);
        check_sensors(path, m);
        check_excludes(path, m);
        check_options(path, m, !strcmp(names[i], "humanoid"));
        close_file();
        bp_mj_world_destroy(world);
    }
    judge();
}

/* The rooms, with the box of the tasks. */
static void test_rooms(void **state) {
    static const bp_mj_task_kind kinds[2] = {BP_MJ_GO_TO_K_TARGETS, BP_MJ_MOVE_BOX};
    int i;
    (void)state;
    for (i = 0; i < 2; i++) {
        bp_mj_task task = bp_mj_task_default(kinds[i], BP_MJ_WALKER_ANT);
        char path[32];
        bp_mj_world *world;
        bp_error error;
        task.n_targets = (size_t)(2 + i); /* things: 3, 4 */
        task.n_boxes = 1;
        (void)snprintf(path, sizeof path, "model_room_%d", 3 + i);
        bpt_ok(bp_mj_world_create(&world, &task, NULL, &error), &error);
        open_file(path);
        path[5] = ' ';
        check_bodies(path, bp_mj_world_model(world));
        check_joints(path, bp_mj_world_model(world));
        check_geoms(path, bp_mj_world_model(world), true);
        check_options(path, bp_mj_world_model(world), false);
        close_file();
        bp_mj_world_destroy(world);
    }
    judge();
}

/* ---- 2. trajectories ------------------------------------------------------------------------------------ */

static double control(size_t k, size_t i, double amplitude) {
    return amplitude * sin(0.37 * (double)k + 1.3 * (double)i);
}

/* One observation against a row of the file, by the fields' names; accelerometers apart, as they feel every impact. */
static void see_observation(gauge *rest, gauge *accelerometer, const bp_spec *spec, const bp_real *got, const double *want) {
    const char *piece;
    size_t i, j;
    for (i = 0; (piece = name_of("obs", i)) != NULL; i++) {
        char name[BP_NAME];
        unsigned long size = 0;
        double scale = 1;
        const bp_field *f;
        assert_int_equal(sscanf(piece, "%31s %lu", name, &size), 2);
        if (size && !strncmp(name, "suite/", 6)) { /* the point mass sees the suite's two vectors, in other units */
            const double unit = !strcmp(name, "suite/position") ? 0.29 : 0.1;
            f = bp_spec_find(spec, name + 6);
            for (j = 0; f && j < size; j++) see(rest, fabs((double)got[f->offset + j] * unit - want[j]), "value", name);
            want += size;
            continue;
        }
        f = size ? bp_spec_find(spec, name) : NULL;
        if (size) assert_true(f != NULL && f->size == size);
        for (j = 0; j < size; j++) scale = fmax(scale, fabs(want[j]));
        for (j = 0; j < size; j++)
            see(strstr(name, "accelerometer") ? accelerometer : rest, fabs((double)got[f->offset + j] - want[j]) / scale, "value", name);
        want += size;
    }
}

/* Do the fields that both have stand in the same order; and are there, if `all`, no others? */
static void check_order(const char *who, const bp_spec *spec, bool all) {
    const char *piece;
    gauge g = {0, ""};
    size_t i, at = 0;
    for (i = 0; (piece = name_of("obs", i)) != NULL; i++) {
        char name[BP_NAME];
        unsigned long size = 0;
        assert_int_equal(sscanf(piece, "%31s %lu", name, &size), 2);
        if (!size || !strncmp(name, "suite/", 6)) continue;
        while (!all && at < spec->n_fields && strcmp(spec->field[at].name, name)) at++;
        see_same(&g, at < spec->n_fields && !strcmp(spec->field[at].name, name) && spec->field[at].size == size, "place", name);
        at++;
    }
    if (all) see_same(&g, at == spec->n_fields, "number", "fields");
    report(who, "order of the observation's fields", &g, 0);
}

static void see_state(gauge *g, const mjData *d, const places *p, const double *qpos) {
    char where[32];
    size_t i;
    for (i = 0; i < p->nq; i++) {
        (void)snprintf(where, sizeof where, "qpos[%d]", p->q[i]);
        see(g, fabs((double)d->qpos[p->q[i]] - qpos[i]), "value", where);
    }
}

static void put_state(mj_rig *r, const places *p, const double *qpos, const double *qvel) {
    double q[MAX_STATE], v[MAX_STATE];
    reorder(q, qpos, p->q, p->nq);
    reorder(v, qvel, p->v, p->nv);
    bpt_ok(bp_mj_env_set_state(&r->env, q, v, r->obs, &r->error), &r->error);
}

typedef struct roll {
    const char *name;
    double forward;  /* allowed of accelerations, another version */
    double state[2]; /* of the state one control step after a recorded one: float build, another version */
    double seen[2];  /* of the observation then: the same */
    double felt[2];  /* of the accelerometer: the same */
    double whole[2]; /* of all states, of all observations of the whole trajectory, float build; 0: chaotic, not compared */
} roll;

/* Does this version have its own idea of the state that step k begins with? */
static bool doubtful(bool ball, size_t k) {
    return ball && k == 0 && !same_version;
}

/* What mj_forward makes of every fifth recorded state: nothing of the past is left in that. */
static void check_forward(const char *who, const roll *w, const mjModel *m) {
    const table step = load("forward/step"), contacts = load("forward/contacts"), qacc = load("forward/qacc");
    const table force = load("forward/force"), qpos = load("qpos"), qvel = load("qvel");
    const places p = find_places(m);
    const bool ball = strstr(w->name, "ball") != NULL;
    mjData *d = mj_makeData(m);
    gauge acceleration = {0, ""}, number = {0, ""};
    size_t i, j;
    assert_non_null(d);
    for (i = 0; i < step.rows; i++) {
        const size_t k = (size_t)row(&step, i)[0];
        mjtNum got[MAX_STATE];
        if (doubtful(ball, k)) continue;
        mj_resetData(m, d);
        for (j = 0; j < p.nq; j++) d->qpos[p.q[j]] = (mjtNum)row(&qpos, k)[j];
        for (j = 0; j < p.nv; j++) d->qvel[p.v[j]] = (mjtNum)row(&qvel, k)[j];
        for (j = 0; j < (size_t)m->nu; j++) d->ctrl[j] = (mjtNum)control(k, j, 0.6);
        mj_forward(m, d);
        for (j = 0; j < p.nv; j++) got[j] = d->qacc[p.v[j]];
        see_numbers(&acceleration, got, row(&qacc, i), p.nv, 1, "qacc", w->name);
        see_numbers(&acceleration, d->actuator_force, row(&force, i), (size_t)m->nu, 1, "force", w->name);
        see(&number, fabs((double)d->ncon - row(&contacts, i)[0]), "number", "contacts");
    }
    mj_deleteData(d);
    report(who, "accelerations, actuator forces", &acceleration, ALLOW(1e-12, 1e-12, w->forward));
    report(who, "contacts", &number, 0);
}

/* The same loop without an environment, for options that none of ours has. */
static void check_loop(const char *who, const mjModel *m, double allowed_other) {
    const table qpos = load("qpos"), qvel = load("qvel");
    const size_t substeps = (size_t)strtoul(text_of("substeps"), NULL, 10);
    const places p = find_places(m);
    mjData *d = mj_makeData(m);
    gauge g = {0, ""};
    size_t k, j;
    assert_non_null(d);
    for (j = 0; j < p.nq; j++) d->qpos[p.q[j]] = (mjtNum)row(&qpos, 0)[j];
    for (j = 0; j < p.nv; j++) d->qvel[p.v[j]] = (mjtNum)row(&qvel, 0)[j];
    mj_forward(m, d);
    for (k = 0; k + 1 < qpos.rows; k++) {
        for (j = 0; j < (size_t)m->nu; j++) d->ctrl[j] = (mjtNum)control(k, j, 0.6);
        for (j = 0; j < substeps; j++) {
            mj_step2(m, d);
            mj_step1(m, d);
        }
        see_state(&g, d, &p, row(&qpos, k + 1));
    }
    mj_deleteData(d);
    report(who, "whole trajectory", &g, ALLOW(1e-12, 1e-12, allowed_other));
}

/* Through bp_env: as a whole, and one control step from each recorded state. */
static void check_roll(const char *who, const roll *w, mj_rig *r) {
    const table step = load("obs/step"), obs = load("obs"), qpos = load("qpos"), qvel = load("qvel");
    const mjData *d = bp_mj_env_data(&r->env);
    const places p = find_places(bp_mj_world_model(r->world));
    const bool ball = strstr(w->name, "ball") != NULL, floats = sizeof(bp_real) == sizeof(float);
    const bool spawns = strncmp(w->name, "humanoid", 8) && strcmp(w->name, "pointmass"); /* the others start from a state of ours */
    const bool whole = same_version ? !floats || w->whole[0] > 0 : !strcmp(w->name, "pointmass");
    bp_real action[BP_MAX_ACTION];
    int again;
    for (again = 0; again < 2; again++) {
        gauge state = {0, ""}, seen = {0, ""}, felt = {0, ""};
        size_t k, j, at = 0;
        mj_rig_reset(r, 1);
        if (!again && spawns) {
            gauge spawn = {0, ""}, first = {0, ""}, fall = {0, ""};
            see_state(&spawn, d, &p, row(&qpos, 0));
            see_observation(&first, &fall, &r->env.spec, r->obs, row(&obs, 0));
            report(who, "spawn", &spawn, 1e-15);
            report(who, "first observation", &first, ALLOW(1e-14, 2e-7, 1e-14));
            if (!doubtful(ball, 0)) report(who, "first accelerometer", &fall, ALLOW(1e-12, 2e-7, 1e-9));
        }
        put_state(r, &p, row(&qpos, 0), row(&qvel, 0));
        for (k = 0; k + 1 < qpos.rows; k++) {
            if (again) put_state(r, &p, row(&qpos, k), row(&qvel, k));
            for (j = 0; j < r->env.spec.action_size; j++) action[j] = (bp_real)control(k, j, 0.6);
            mj_rig_step(r, action);
            assert_false(r->out.last);
            if (doubtful(ball, k)) continue;
            see_state(&state, d, &p, row(&qpos, k + 1));
            while (at < step.rows && (size_t)row(&step, at)[0] < k + 1) at++;
            if (at < step.rows && (size_t)row(&step, at)[0] == k + 1)
                see_observation(&seen, &felt, &r->env.spec, r->obs, row(&obs, at));
        }
        if (again) {
            report(who, "one step from each state", &state, ALLOW(1e-12, w->state[0], w->state[1]));
            report(who, "one step from each, observations", &seen, ALLOW(1e-12, w->seen[0], w->seen[1]));
            if (w->felt[1] > 0) report(who, "one step from each, accelerometer", &felt, ALLOW(1e-12, w->felt[0], w->felt[1]));
        } else if (whole) {
            report(who, "whole trajectory", &state, ALLOW(1e-12, w->whole[0], 1e-12));
            report(who, "whole trajectory, observations", &seen, ALLOW(1e-12, w->whole[1], 1e-12));
        }
    }
}

static void test_rolls(void **state) {
    static const roll rolls[] = {
        {"pointmass", 1e-12, {1e-11, 1e-12}, {5e-8, 1e-12}, {0, 0}, {1e-9, 5e-8}},
        {"rolling_ball", 1e-4, {3e-8, 5e-7}, {2e-7, 3e-5}, {2e-7, 5e-4}, {2e-7, 2e-7}},
        {"jumping_ball", 1e-11, {1e-7, 1e-5}, {2e-7, 1e-4}, {3e-7, 1e-5}, {3e-6, 2e-5}},
        {"ant", 5e-7, {1e-8, 1e-6}, {2e-7, 1e-5}, {2e-7, 5e-5}, {0, 0}},
        {"humanoid_arena", 5e-5, {2e-7, 2e-5}, {2e-7, 2e-4}, {6e-7, 1e-4}, {0, 0}},
        /* Flailing at 3000 rad/s^2 it hits itself. Most steps agree to 1e-4, the worst are those in which an arm does. */
        {"cmu", 2e-3, {2e-5, 3e-1}, {8e-7, 3e-3}, {4e-7, 2e-3}, {3e-3, 5e-3}},
        {"cmu_position", 2e-6, {2e-7, 5e-6}, {5e-7, 2e-5}, {3e-7, 5e-5}, {5e-6, 2e-5}},
    };
    size_t i, j;
    (void)state;
    for (i = 0; i < sizeof rolls / sizeof *rolls; i++) {
        bp_mj_task task = task_of_model(rolls[i].name);
        char path[64];
        mj_rig r;
        (void)snprintf(path, sizeof path, "roll_%s", rolls[i].name);
        open_file(path);
        path[4] = ' ';
        task.n_substeps = (size_t)strtoul(text_of("substeps"), NULL, 10);
        task.episode_steps = 100000;
        task.alive_threshold = -2;
        task.fixed_layout = task.kind != BP_MJ_SEQUENCE;
        task.layout.spawn[0] = 0.25;
        task.layout.spawn[1] = -0.5;
        task.layout.yaw = strstr(path, "ball") ? -0.7 : 0.7;
        for (j = 0; j < 3; j++) task.layout.target[j][0] = 1000; /* nobody comes there */
        mj_rig_make(&r, &task);
        check_order(path, &r.env.spec, false);
        check_forward(path, &rolls[i], bp_mj_world_model(r.world));
        check_roll(path, &rolls[i], &r);
        mj_rig_free(&r);
        close_file();
    }
    judge();
}

/* The suite's humanoid under its own options, over a copy of our model. */
static void test_suite_humanoid(void **state) {
    static const roll suite = {"humanoid", 1e-12, {0, 0}, {0, 0}, {0, 0}, {0, 0}};
    const bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_HUMANOID);
    bp_mj_world *world;
    bp_error error;
    mjModel *m;
    (void)state;
    bpt_ok(bp_mj_world_create(&world, &task, NULL, &error), &error);
    m = mj_copyModel(NULL, bp_mj_world_model(world));
    assert_non_null(m);
    open_file("model_humanoid");
    m->opt.cone = (int)load("option/cone").x[0];
    m->opt.noslip_iterations = (int)load("option/noslip_iterations").x[0];
    m->opt.noslip_tolerance = (mjtNum)load("option/noslip_tolerance").x[0];
    close_file();
    open_file("roll_humanoid");
    check_forward("roll humanoid", &suite, m);
    check_loop("roll humanoid", m, 1e-10);
    close_file();
    mj_deleteModel(m);
    bp_mj_world_destroy(world);
    judge();
}

/* ---- 3. and 5. episodes, and going on from a saved state -------------------------------------------------------- */

#define MAX_STEPS 400

typedef struct episode {
    table config, action, reward, discount, step_type, aliveness, was, active, step, qpos, qvel, obs, event, event_qpos, event_qvel;
    table predicates;
    places places;
    bool falls; /* aliveness is the reference's */
} episode;

/* What came of a step, to be repeated bit for bit. */
typedef struct trace {
    bp_real *obs; /* [MAX_STEPS][MJ_RIG_OBSERVATION] */
    bp_step out[MAX_STEPS];
} trace;

static trace first_time, second_time;

static bp_mj_task task_of_episode(const episode *e) {
    const table spawn = load("layout/spawn"), yaw = load("layout/yaw"), targets = load("layout/targets"), box = load("layout/box");
    const double *c = e->config.x;
    bp_mj_task task = task_of_model(text_of("walker"));
    size_t i, j;
    task = bp_mj_task_for(bp_mj_task_named(text_of("task")), task.walker);
    /* boxes, targets, predicates, free cells, physics steps, time limit */
    assert_int_equal(task.n_boxes, (size_t)c[0]);
    assert_int_equal(task.n_targets, (size_t)c[1]);
    assert_int_equal(task.n_active, (size_t)c[2]);
    if (e->falls) {
        assert_int_equal(task.n_substeps, (size_t)c[4]);
        assert_int_equal(task.episode_steps, (size_t)c[5]);
    } else {
        task.n_substeps = (size_t)c[4];
        task.episode_steps = (size_t)c[5];
        task.alive_threshold = -2;
    }
    task.fixed_layout = true;
    for (i = 0; i < 2; i++) task.layout.spawn[i] = spawn.x[i];
    task.layout.yaw = task.walker->yaw_joint ? -yaw.x[0] : yaw.x[0];
    for (i = 0; i < targets.rows; i++)
        for (j = 0; j < 2; j++) task.layout.target[i][j] = row(&targets, i)[j];
    for (i = 0; i < box.rows; i++)
        for (j = 0; j < 3; j++) task.layout.box[i][j] = row(&box, i)[j];
    for (i = 0; i < e->predicates.rows; i++) {
        const double *code = row(&e->predicates, i);
        for (j = 0; j < task.n_predicates; j++)
            if ((int)task.predicate[j].mover == (int)code[0]) task.layout.active[i] = (int)j;
        task.layout.goal[i] = (int)code[3];
    }
    return task;
}

/* What the file says happened before control step k. */
static bool happen(mj_rig *r, const episode *e, size_t k) {
    size_t i;
    for (i = 0; i < e->event.rows; i++)
        if ((size_t)row(&e->event, i)[0] == k) {
            put_state(r, &e->places, row(&e->event_qpos, i), row(&e->event_qvel, i));
            return true;
        }
    return false;
}

static void act(mj_rig *r, const episode *e, size_t k, trace *t) {
    bp_real action[BP_MAX_ACTION];
    size_t j;
    for (j = 0; j < e->action.cols; j++) action[j] = (bp_real)row(&e->action, k)[j];
    mj_rig_step(r, action);
    memcpy(t->obs + k * MJ_RIG_OBSERVATION, r->obs, r->env.spec.observation_size * sizeof(bp_real));
    t->out[k] = r->out;
}

/* Everything that is yes or no, or a multiple of ten: no tolerance. */
static void see_rules(gauge *g, const mj_rig *r, const episode *e, size_t k) {
    const bp_mj_info info = bp_mj_env_info(&r->env);
    const bpi_mj_episode *own = &((const bpi_mj_env *)r->env.self)->episode;
    const bool last = row(&e->step_type, k)[0] == 2;
    bool all = true;
    char where[32];
    size_t i, j;
    (void)snprintf(where, sizeof where, "step %lu", (unsigned long)k);
    see_same(g, (double)r->out.reward == row(&e->reward, k)[0], "reward", where);
    see_same(g, (double)r->out.discount == row(&e->discount, k)[0], "discount", where);
    see_same(g, r->out.last == last, "step type", where);
    see_same(g, info.n_predicates == e->active.cols, "number of predicates", where);
    for (i = 0; i < e->active.cols; i++) {
        see_same(g, (double)own->was[i] == row(&e->was, k)[i], "was_active", where);
        see_same(g, (double)info.holds[i] == row(&e->active, k)[i], "is_active", where);
        for (j = 0; j < 5; j++) see_same(g, (double)info.predicate[i][j] == row(&e->predicates, i)[j], "code", where);
        all = all && row(&e->was, k)[i] > 0;
    }
    /* cut off with discount 1; ended with 0, by success (which goes first) or by a fall */
    if (!last) see_same(g, info.end == BP_MJ_RUNNING, "end", where);
    else if (row(&e->discount, k)[0] > 0) see_same(g, info.end == BP_MJ_TIME_LIMIT, "truncation", where);
    else see_same(g, info.end == (all ? BP_MJ_SUCCESS : BP_MJ_FALL), "termination", where);
}

typedef struct story {
    const char *name;
    double state[2]; /* as in roll, from kept row to kept row: float build, another version */
    double seen[2];
    double felt[2];
} story;

/* From the middle of the episode, and from right behind an event: saved, gone on with, and then twice from what was saved, once in
 * another environment. */
static void check_resumed(const char *who, const episode *e, mj_rig *r, size_t from, bool behind_event) {
    const size_t steps = e->action.rows, bytes = r->env.save(r->env.self, NULL, 0), n = r->env.spec.observation_size;
    void *saved = malloc(bytes);
    gauge g = {0, ""};
    bp_env own = r->env, other;
    bp_error error;
    size_t k;
    int again;
    assert_non_null(saved);
    bpt_ok(bp_mj_env_make(r->world, &other, &error), &error);
    mj_rig_reset(r, 1);
    for (k = 0; k < steps; k++) {
        if (k == from && !behind_event) assert_int_equal(r->env.save(r->env.self, saved, bytes), bytes);
        (void)happen(r, e, k);
        if (k == from && behind_event) assert_int_equal(r->env.save(r->env.self, saved, bytes), bytes);
        act(r, e, k, &first_time);
    }
    for (again = 0; again < 2; again++) {
        if (again) r->env = other;
        assert_int_equal(r->env.load(r->env.self, saved, bytes), BP_OK);
        for (k = from; k < steps; k++) {
            char where[32];
            (void)snprintf(where, sizeof where, "step %lu", (unsigned long)k);
            if (k > from || !behind_event) (void)happen(r, e, k);
            act(r, e, k, &second_time);
            see_same(&g,
                     !memcmp(first_time.obs + k * MJ_RIG_OBSERVATION, second_time.obs + k * MJ_RIG_OBSERVATION, n * sizeof(bp_real)),
                     "observation", where);
            see_same(&g,
                     first_time.out[k].reward == second_time.out[k].reward && first_time.out[k].discount == second_time.out[k].discount &&
                         first_time.out[k].last == second_time.out[k].last,
                     "result", where);
        }
    }
    r->env = own;
    bp_env_close(&other);
    free(saved);
    report(who, behind_event ? "resumed behind an event, to the last bit" : "resumed from its middle, to the last bit", &g, 0);
}

static void check_episode(const story *s) {
    static episode e;
    char path[64];
    bp_mj_task task;
    const bool ball = strstr(s->name, "ball") != NULL;
    const mjData *d;
    mj_rig r;
    bool as_told = true;
    int synced;
    (void)snprintf(path, sizeof path, "task_%s", s->name);
    open_file(path);
    path[4] = ' ';
    e.config = load("config");
    e.action = load("action");
    e.reward = load("reward");
    e.discount = load("discount");
    e.step_type = load("step_type");
    e.aliveness = load("aliveness");
    e.was = load("was_active");
    e.active = load("active");
    e.step = load("step");
    e.qpos = load("qpos");
    e.qvel = load("qvel");
    e.obs = load("obs");
    e.event = load("events/step");
    e.event_qpos = load("events/qpos");
    e.event_qvel = load("events/qvel");
    e.predicates = load("layout/predicates");
    e.falls = strcmp(text_of("walker"), "cmu") != 0;
    assert_true(e.action.rows <= MAX_STEPS && e.step.x[0] == 0);
    task = task_of_episode(&e);
    mj_rig_make(&r, &task);
    d = bp_mj_env_data(&r.env);
    e.places = find_places(bp_mj_world_model(r.world));
    check_order(path, &r.env.spec, true);
    {
        gauge spawn = {0, ""}, seen = {0, ""}, fall = {0, ""};
        mj_rig_reset(&r, 1);
        see_state(&spawn, d, &e.places, row(&e.qpos, 0));
        see_observation(&seen, &fall, &r.env.spec, r.obs, row(&e.obs, 0));
        report(path, "reset by a layout", &spawn, 2e-15);
        report(path, "first observation", &seen, ALLOW(1e-14, 2e-7, 1e-14));
    }
    /* as it goes; then put back to the record wherever there is one, so that differences cannot grow */
    for (synced = 0; synced < 2; synced++) {
        gauge rules = {0, ""}, state = {0, ""}, seen = {0, ""}, felt = {0, ""}, alive = {0, ""};
        size_t k, at = 1;
        mj_rig_reset(&r, 1);
        put_state(&r, &e.places, row(&e.qpos, 0), row(&e.qvel, 0));
        for (k = 0; k < e.action.rows; k++) {
            const bool moved = happen(&r, &e, k);
            if (synced && !moved && k && (size_t)row(&e.step, at - 1)[0] == k)
                put_state(&r, &e.places, row(&e.qpos, at - 1), row(&e.qvel, at - 1));
            act(&r, &e, k, &first_time);
            see_rules(&rules, &r, &e, k);
            if (at < e.step.rows && (size_t)row(&e.step, at)[0] == k + 1 && doubtful(ball, k)) {
                at++;
            } else if (at < e.step.rows && (size_t)row(&e.step, at)[0] == k + 1) {
                see_state(&state, d, &e.places, row(&e.qpos, at));
                see_observation(&seen, &felt, &r.env.spec, r.obs, row(&e.obs, at));
                at++;
            }
            if (e.falls) see(&alive, fabs(bp_mj_env_info(&r.env).aliveness - row(&e.aliveness, k)[0]), "aliveness", "the walker");
            if (r.out.last) break;
        }
        see_same(&rules, at == e.step.rows, "length", "the episode"); /* all rows were compared */
        as_told = as_told && rules.worst <= 0;
        if (!synced) {
            report(path, "rewards, discounts, ends, flags, codes", &rules, 0);
            if (!same_version) continue;
            report(path, "states as it goes", &state, ALLOW(1e-12, s->state[0], 0));
            report(path, "observations as it goes", &seen, ALLOW(1e-12, s->seen[0], 0));
            report(path, "accelerometer as it goes", &felt, ALLOW(1e-12, s->felt[0], 0));
        } else {
            report(path, "states, put back", &state, ALLOW(1e-12, s->state[0], s->state[1]));
            report(path, "observations, put back", &seen, ALLOW(1e-12, s->seen[0], s->seen[1]));
            if (s->felt[1] > 0 || same_version)
                report(path, "accelerometer, put back", &felt, ALLOW(1e-12, s->felt[0], s->felt[1]));
        }
        if (e.falls) report(path, synced ? "aliveness, put back" : "aliveness as it goes", &alive,
                            ALLOW(1e-12, s->seen[0], fmin(s->seen[1], 1e-3)));
    }
    if (as_told) { /* else there may be no step to repeat */
        check_resumed(path, &e, &r, e.action.rows / 2, false);
        check_resumed(path, &e, &r, (size_t)row(&e.event, e.event.rows / 2)[0], true);
    }
    mj_rig_free(&r);
    close_file();
}

static void test_episodes(void **state) {
#define ANT \
    {2e-7, 1e-5}, {1e-5, 2e-4}, { 5e-6, 3e-4 }
    static const story stories[] = {
        {"go_enter", ANT},
        {"go_leave", ANT},
        {"go_edge", ANT},
        {"go_fall", ANT},
        {"go_fall_on_goal", ANT},
        {"go_limit", ANT},
        {"box_enter", ANT},
        {"box_drop", ANT},
        {"box_leave", ANT},
        /* The event puts legs into the box, and 3.x finds other contacts there than 2.x: the box goes 35 mm another way. */
        {"box_contact", {1e-7, 1e-1}, {6e-7, 5e-1}, {2e-6, 0}},
        {"box_limit", ANT},
        {"or_walker", ANT},
        {"or_box", ANT},
        {"and_sequence", ANT},
        {"and_lost", ANT},
        {"and_fall", ANT},
        {"rolling_ball_go", {5e-8, 1e-7}, {3e-7, 3e-5}, {3e-7, 5e-4}},
        {"jumping_ball_and", {5e-8, 5e-7}, {3e-7, 1e-4}, {3e-7, 1e-6}},
        /* kept every fifth step; see "cmu" above */
        {"cmu_go", {2e-5, 2e-1}, {2e-5, 2e-1}, {3e-5, 1e-1}},
    };
#undef ANT
    size_t i;
    (void)state;
    first_time.obs = (bp_real *)malloc(MAX_STEPS * MJ_RIG_OBSERVATION * sizeof(bp_real));
    second_time.obs = (bp_real *)malloc(MAX_STEPS * MJ_RIG_OBSERVATION * sizeof(bp_real));
    assert_true(first_time.obs && second_time.obs);
    for (i = 0; i < sizeof stories / sizeof *stories; i++) check_episode(&stories[i]);
    free(first_time.obs);
    free(second_time.obs);
    judge();
}

/* ---- 4. resets ------------------------------------------------------------------------------------------ */

/* Do two samples come from the same law? Chi-square of their counts [n], against what it exceeds once in 10,000 times if they do
 * (Wilson and Hilferty's approximation). Bins that both leave empty do not count. */
static void report_counts(const char *who, const char *what, const double *ours, const double *theirs, size_t n) {
    double a = 0, b = 0, sum = 0, cells = 0, degrees, cube;
    gauge g = {0, ""};
    size_t i;
    for (i = 0; i < n; i++) {
        a += ours[i];
        b += theirs[i];
    }
    for (i = 0; i < n; i++) {
        const double d = sqrt(b / a) * ours[i] - sqrt(a / b) * theirs[i];
        if (ours[i] + theirs[i] <= 0) continue;
        sum += d * d / (ours[i] + theirs[i]);
        cells++;
    }
    degrees = cells - 1;
    assert_true(degrees >= 1);
    cube = 1 - 2 / (9 * degrees) + 3.719 * sqrt(2 / (9 * degrees));
    see(&g, sum, what, "counts");
    report(who, what, &g, degrees * cube * cube * cube);
}

static size_t bin_of(double x, double low, double high, size_t n) {
    const double u = (x - low) / (high - low) * (double)n;
    return u < 0 ? 0 : u >= (double)n ? n - 1
                                      : (size_t)u;
}

static double angle_of(const mjtNum *quat) { /* about z, in [-pi, pi) */
    const double a = 2 * atan2((double)quat[3], (double)quat[0]);
    return a >= PI ? a - 2 * PI : a < -PI ? a + 2 * PI
                                          : a;
}

/* Row and column in the inner room, as one number. */
static size_t cell_of(double x, double y, size_t room) {
    const double half = 0.5 * (double)(room - 1);
    const long r = lround(half - y / 2), c = lround(x / 2 + half);
    assert_true(r >= 0 && r < (long)room && c >= 0 && c < (long)room);
    return (size_t)r * room + (size_t)c;
}

/* Lexicographic number of the order that these numbers stand in. */
static size_t rank_of(const size_t *number, size_t n) {
    size_t rank = 0, i, j;
    for (i = 0; i < n; i++) {
        size_t smaller = 0, ways = 1;
        for (j = i + 1; j < n; j++) {
            smaller += number[j] < number[i];
            ways *= j - i;
        }
        rank += smaller * ways;
    }
    return rank;
}

static void check_resets(const char *task_name) {
    static double spawn[16], cells[4][16], pairs[256], yaw[24], order[24], predicates[32], box_yaw[24], offset[2][20], reach[2][20];
    bp_mj_task task = bp_mj_task_default(bp_mj_task_named(task_name), BP_MJ_WALKER_ANT);
    char path[64];
    table codes, count, most;
    size_t room, things, i, k, unknown = 0;
    double farthest[2] = {0, 0};
    const mjModel *m;
    gauge g = {0, ""};
    mj_rig r;
    (void)snprintf(path, sizeof path, "resets_%s", task_name);
    open_file(path);
    path[6] = ' ';
    room = load("spawn").rows;
    things = task.n_boxes + task.n_targets;
    codes = load("predicates");
    count = load("predicates/count");
    assert_true(things <= 4 && room <= 4 && codes.rows <= 32);
    memset(spawn, 0, sizeof spawn);
    memset(cells, 0, sizeof cells);
    memset(pairs, 0, sizeof pairs);
    memset(yaw, 0, sizeof yaw);
    memset(order, 0, sizeof order);
    memset(predicates, 0, sizeof predicates);
    memset(box_yaw, 0, sizeof box_yaw);
    memset(offset, 0, sizeof offset);
    memset(reach, 0, sizeof reach);
    mj_rig_make(&r, &task);
    m = bp_mj_world_model(r.world);
    for (k = 0; k < RESETS; k++) {
        const mjtNum *q = bp_mj_env_data(&r.env)->qpos;
        const mjtNum *ant = q + m->jnt_qposadr[find(m, mjOBJ_JOINT, "walker")];
        const mjtNum *box = task.n_boxes ? q + m->jnt_qposadr[find(m, mjOBJ_JOINT, "box")] : NULL;
        size_t number[4], n = 0, start;
        bp_mj_info info;
        double target[9];
        mj_rig_reset(&r, k);
        info = bp_mj_env_info(&r.env);
        assert_int_equal(bp_mj_env_targets(&r.env, target, 3), 3);
        start = cell_of((double)ant[0], (double)ant[1], room);
        spawn[start]++;
        yaw[bin_of(angle_of(ant + 3), -PI, PI, 24)]++;
        if (box) number[n++] = cell_of((double)box[0], (double)box[1], room);
        for (i = 0; i < 3; i++) number[n++] = cell_of(target[3 * i], target[3 * i + 1], room);
        for (i = 0; i < n; i++) {
            cells[i][number[i]]++;
            pairs[start * room * room + number[i]]++;
        }
        order[rank_of(number, n)]++;
        for (i = 0; i < codes.rows; i++) {
            bool same = true;
            size_t j;
            for (j = 0; j < codes.cols; j++) same = same && (double)info.predicate[j / 5][j % 5] == row(&codes, i)[j];
            if (same) break;
        }
        if (i < codes.rows) predicates[i]++;
        else unknown++;
        if (box) {
            const double a = angle_of(box + 3), c = fabs(0.5 * cos(a)), s = fabs(0.5 * sin(a)), half = 0.5 * (double)(room - 1);
            const double center[2] = {2 * ((double)(number[0] % room) - half), 2 * (half - (double)(number[0] / room))};
            box_yaw[bin_of(a, -PI, PI, 24)]++;
            for (i = 0; i < 2; i++) {
                const double at = (double)box[i] - center[i];
                offset[i][bin_of(at / (0.99 * (1 - c - s)), -1, 1, 20)]++;
                reach[i][bin_of(at, -0.5, 0.5, 20)]++;
                farthest[i] = fmax(farthest[i], fabs(at));
            }
        }
    }
    report_counts(path, "spawn cells, chi-square", spawn, load("spawn").x, room * room);
    {
        const table t = load("cells");
        static const char *const name[2][4] = {{"cells of target 0", "cells of target 1", "cells of target 2", ""},
                                               {"cells of the box", "cells of target 0", "cells of target 1", "cells of target 2"}};
        for (i = 0; i < things; i++) report_counts(path, name[task.n_boxes][i], cells[i], row(&t, i), room * room);
    }
    /* Counts of one reset are of different cells, hence not independent: that makes the statistic smaller rather than larger. */
    report_counts(path, "spawn cell and cells of things", pairs, load("spawn_and_things").x, room * room * room * room);
    report_counts(path, "order of things over the cells", order, load("order").x, load("order").cols);
    report_counts(path, "yaw", yaw, load("yaw").x, 24);
    see(&g, (double)unknown, "number", "unknown predicates");
    report(path, "predicates that the reference never draws", &g, 0);
    report_counts(path, "predicates", predicates, count.x, codes.rows);
    if (task.n_boxes) {
        const table o = load("box_offset"), p = load("box_reach");
        gauge far = {0, ""};
        report_counts(path, "yaw of the box", box_yaw, load("box_yaw").x, 24);
        report_counts(path, "the box in its cell, x", offset[0], row(&o, 0), 20);
        report_counts(path, "the box in its cell, y", offset[1], row(&o, 1), 20);
        report_counts(path, "the same in metres, x", reach[0], row(&p, 0), 20);
        report_counts(path, "the same in metres, y", reach[1], row(&p, 1), 20);
        most = load("box_reach/most");
        for (i = 0; i < 2; i++) see(&far, fabs(farthest[i] - most.x[i]), "largest offset", "the box");
        report(path, "largest offset of the box", &far, 0.03); /* the density falls to nothing toward 0.495 */
    }
    mj_rig_free(&r);
    close_file();
}

static void test_resets(void **state) {
    (void)state;
    check_resets("go_to_k_targets");
    check_resets("move_box");
    check_resets("move_box_or_gtt");
    check_resets("move_box_and_gtt");
    judge();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_rooms),
        cmocka_unit_test(test_rolls),
        cmocka_unit_test(test_suite_humanoid),
        cmocka_unit_test(test_episodes),
        cmocka_unit_test(test_resets),
    };
    int status;
    printf("MuJoCo %s, bp_real is %s\n", mj_versionString(), sizeof(bp_real) == sizeof(float) ? "float" : "double");
    status = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%lu comparisons\n", (unsigned long)n_checks);
    return status;
}
