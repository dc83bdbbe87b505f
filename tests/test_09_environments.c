/* Chapter 9: specs, wrappers, the normaliser, the two built-in environments, and bp_env_check() against
 * environments that are wrong in one way each. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

/* ---- specs ------------------------------------------------------------------------------------ */

static void make_spec(bp_spec *s) {
    bp_error e;
    bp_spec_begin(s, "toy");
    bpt_ok(bp_spec_add_field(s, "position", 2, &e), &e);
    bpt_ok(bp_spec_add_field(s, "velocity", 3, &e), &e);
    bpt_ok(bp_spec_actions_continuous(s, 2, -1, 2, &e), &e);
    bpt_ok(bp_spec_check(s, &e), &e);
}

static void test_spec(void **state) {
    bp_spec s, t;
    bp_error e;
    size_t i;
    bp_real action[2];
    (void)state;
    make_spec(&s);
    assert_int_equal(s.observation_size, 5);
    assert_int_equal(bp_spec_find(&s, "velocity")->offset, 2);
    assert_null(bp_spec_find(&s, "speed"));
    assert_null(bp_spec_find(&s, "velocit"));

    assert_int_equal(bp_spec_add_field(&s, "position", 1, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "position"));
    assert_int_equal(bp_spec_add_field(&s, "", 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, NULL, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, "*", 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, "two words", 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, "a_name_that_is_longer_than_it_may_be", 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, "nothing", 0, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_add_field(&s, "huge", (size_t)-1, &e), BP_ERR_SIZE);
    assert_int_equal(bp_spec_actions_continuous(&s, 0, -1, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_actions_continuous(&s, BP_MAX_ACTION + 1, -1, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_actions_continuous(&s, 1, 1, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_actions_discrete(&s, 0, &e), BP_ERR_ARGUMENT);
    bpt_ok(bp_spec_check(&s, &e), &e); /* none of that did any harm */

    /* the contract: everything but the environment's name */
    make_spec(&t);
    bp_spec_begin(&t, "robot");
    bp_spec_add_field(&t, "position", 2, &e);
    bp_spec_add_field(&t, "velocity", 3, &e);
    bp_spec_actions_continuous(&t, 2, -1, 2, &e);
    assert_true(bp_spec_equal(&s, &t));
    assert_true(bp_spec_hash(&s) == bp_spec_hash(&t));
    t.action_high[1] = 3;
    assert_false(bp_spec_equal(&s, &t));
    assert_false(bp_spec_hash(&s) == bp_spec_hash(&t));
    make_spec(&t);
    t.field[1].name[0] = 'V';
    assert_false(bp_spec_equal(&s, &t));
    assert_false(bp_spec_hash(&s) == bp_spec_hash(&t));
    make_spec(&t);
    bp_spec_actions_discrete(&t, 2, &e);
    assert_false(bp_spec_equal(&s, &t));
    assert_false(bp_spec_hash(&s) == bp_spec_hash(&t));
    /* a fixed number: the fingerprint stands in files */
    assert_true(bp_spec_hash(&s) == 0x4ca47a6f71f287caull);

    /* damage that check must find */
    make_spec(&t);
    t.field[1].offset = 3;
    assert_int_equal(bp_spec_check(&t, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "velocity"));
    make_spec(&t);
    t.observation_size = 6;
    assert_int_equal(bp_spec_check(&t, &e), BP_ERR_ARGUMENT);
    make_spec(&t);
    t.n_fields = BP_MAX_FIELDS + 1;
    assert_int_equal(bp_spec_check(&t, &e), BP_ERR_ARGUMENT);
    make_spec(&t);
    memset(t.field[0].name, 'x', BP_NAME);
    assert_int_equal(bp_spec_check(&t, &e), BP_ERR_ARGUMENT);
    make_spec(&t);
    t.action_low[1] = (double)NAN;
    assert_int_equal(bp_spec_check(&t, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_spec_check(NULL, &e), BP_ERR_ARGUMENT);

    bp_spec_begin(&t, "full");
    for (i = 0; i < BP_MAX_FIELDS; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%d", (int)i);
        bpt_ok(bp_spec_add_field(&t, name, 1, &e), &e);
    }
    assert_int_equal(bp_spec_add_field(&t, "more", 1, &e), BP_ERR_SIZE);

    make_spec(&s);
    action[0] = 100;
    action[1] = 0;
    assert_true(bp_spec_action_ok(&s, action)); /* outside the box: the environment clips */
    action[1] = (bp_real)NAN;
    assert_false(bp_spec_action_ok(&s, action));
    bp_spec_actions_discrete(&s, 3, &e);
    action[0] = 2;
    assert_true(bp_spec_action_ok(&s, action));
    action[0] = 3;
    assert_false(bp_spec_action_ok(&s, action));
    action[0] = BP_R(1.5);
    assert_false(bp_spec_action_ok(&s, action));
    action[0] = -1;
    assert_false(bp_spec_action_ok(&s, action));
    action[0] = (bp_real)NAN;
    assert_false(bp_spec_action_ok(&s, action));
    action[0] = (bp_real)INFINITY;
    assert_false(bp_spec_action_ok(&s, action));
}

/* ---- the pendulum ----------------------------------------------------------------------------- */

/* From Gymnasium 1.4.0's Pendulum-v1, its state set by hand: start, action, state after the step, reward. */
static const struct {
    double theta, speed;
    int n;
    double step[4][4]; /* action, theta, speed, reward */
} gym[] = {
    /* clang-format off */
    {3.0, -0.5, 4, {{0.0, 2.9802920003022448, -0.3941599939550996, -9.0250000000000004},
        {2.0, 2.9816065798009155, 0.026291589973415408, -8.9016766171490236},
        {-5.0, 2.9738950764844572, -0.15423006632916703, -8.8940469214824471},
        {1.25, 2.981817798282107, 0.15845443595299419, -8.8479931172744823}}},
    {-10.0, 7.9, 3, {{2.0, -9.5999999999999996, 8, -12.831258130246276}, {2.0, -9.1999999999999993, 8, -15.203354621733617},
        {-2.0, -8.8233583717787578, 7.5328325644248144, -14.91180795225304}, {0, 0, 0, 0}}},
    {0.1, 0.0, 4, {{0.5, 0.10749375312425606, 0.14987506248512111, -0.010250000000000018},
        {0.5, 0.12276076347249996, 0.30534020696487807, -0.014051160396230422},
        {0.5, 0.14636974847370618, 0.47217970002412413, -0.024643469247286515},
        {-0.25, 0.17357302102273278, 0.54406545098053205, -0.043781970179743175}}},
    {7.5, -8.0, 2, {{-2.0, 7.1201749991290528, -7.5965000174189461, -7.8846379966636375},
        {-1.0, 6.7606986412704408, -7.1895271571722441, -6.4722329958942675}, {0, 0, 0, 0}, {0, 0, 0, 0}}},
    /* clang-format on */
};

static void test_pendulum_is_gymnasiums(void **state) {
    bp_env env;
    bp_error e;
    size_t c;
    int k;
    (void)state;
    bpt_ok(bp_pendulum_env(&env, NULL, NULL, &e), &e);
    assert_int_equal(bp_spec_find(&env.spec, "velocity")->offset, 2);
    for (c = 0; c < sizeof gym / sizeof gym[0]; c++) {
        bpi_pendulum *p = (bpi_pendulum *)env.self;
        bp_real obs[3];
        bp_step out;
        bpt_ok(env.reset(env.self, 5, obs), NULL);
        p->state.theta = gym[c].theta;
        p->state.speed = gym[c].speed;
        for (k = 0; k < gym[c].n; k++) {
            const bp_real a = (bp_real)gym[c].step[k][0];
            bpt_ok(env.step(env.self, &a, obs, &out), NULL);
            assert_true(fabs(p->state.theta - gym[c].step[k][1]) < 1e-13);
            assert_true(fabs(p->state.speed - gym[c].step[k][2]) < 1e-13);
            bpt_close(out.reward, gym[c].step[k][3], BPT_TOL(1e-6, 1e-13));
            bpt_close(obs[0], cos(gym[c].step[k][1]), BPT_TOL(1e-6, 1e-13));
            bpt_close(obs[1], sin(gym[c].step[k][1]), BPT_TOL(1e-6, 1e-13));
            bpt_close(obs[2], gym[c].step[k][2], BPT_TOL(1e-6, 1e-13));
            assert_false(out.last);
        }
    }
    bp_env_close(&env);
}

static void test_pendulum_episode(void **state) {
    bp_env env;
    bp_error e;
    bp_pendulum_config cfg = bp_pendulum_config_default();
    bp_real obs[3], a = 0;
    bp_step out;
    uint64_t seed;
    int n;
    double lo = 9, hi = -9, slo = 9, shi = -9;
    (void)state;
    bpt_ok(bp_pendulum_env(&env, &cfg, NULL, &e), &e);
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV); /* no reset yet */
    env.reset(env.self, 1, obs);
    for (n = 1;; n++) {
        bpt_ok(env.step(env.self, &a, obs, &out), NULL);
        bpt_close(out.discount, 1, 0);
        if (out.last) break;
    }
    assert_int_equal(n, 200);
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV); /* over */
    env.reset(env.self, 1, obs);
    a = (bp_real)NAN;
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV);
    a = 0;
    bpt_ok(env.step(env.self, &a, obs, &out), NULL); /* the refused action did nothing */
    for (seed = 0; seed < 2000; seed++) {
        const bpi_pendulum *p = (const bpi_pendulum *)env.self;
        env.reset(env.self, seed, obs);
        lo = fmin(lo, p->state.theta), hi = fmax(hi, p->state.theta);
        slo = fmin(slo, p->state.speed), shi = fmax(shi, p->state.speed);
    }
    assert_true(lo >= -3.1415927 && lo < -3.12 && hi <= 3.1415927 && hi > 3.12);
    assert_true(slo >= -1 && slo < -.99 && shi <= 1 && shi > .99);
    bp_env_close(&env);
    bp_env_close(&env); /* twice is fine */

    memset(&cfg, 0, sizeof cfg);
    assert_int_equal(bp_pendulum_env(&env, &cfg, NULL, &e), BP_ERR_CONFIG);
    cfg = bp_pendulum_config_default();
    cfg.dt = 0;
    assert_int_equal(bp_pendulum_env(&env, &cfg, NULL, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "dt"));
    cfg = bp_pendulum_config_default();
    cfg.gravity = (double)NAN;
    assert_int_equal(bp_pendulum_env(&env, &cfg, NULL, NULL), BP_ERR_ARGUMENT);
    cfg = bp_pendulum_config_default();
    cfg.steps = 0;
    assert_int_equal(bp_pendulum_env(&env, &cfg, NULL, &e), BP_ERR_ARGUMENT);
}

/* ---- the point mass --------------------------------------------------------------------------- */

static void test_pointmass(void **state) {
    bp_env env;
    bp_error e;
    bp_pointmass_config cfg = bp_pointmass_config_default();
    bpi_pointmass *p;
    bp_real obs[6], a[2];
    bp_step out;
    uint64_t seed;
    int n;
    double v, x;
    (void)state;
    cfg.random_target = false;
    cfg.target[0] = 0.1;
    bpt_ok(bp_pointmass_env(&env, &cfg, NULL, &e), &e);
    p = (bpi_pointmass *)env.self;

    /* closed form from rest with constant force: v_n = v_inf (1 - q^n), q = m/(m + dt c), v_inf = gear u/c = .1 m/s */
    env.reset(env.self, 3, obs);
    p->state.x[0] = -0.25, p->state.x[1] = 0.2;
    a[0] = 5, a[1] = BP_R(-0.5); /* the first is clipped to 1 */
    v = 0, x = -0.25;
    for (n = 1; n <= 40; n++) {
        const double q = pow(0.3 / 0.32, n);
        bpt_ok(env.step(env.self, a, obs, &out), NULL);
        v = 0.1 * (1 - q);
        x += 0.02 * v;
        assert_true(fabs(p->state.v[0] - v) < 1e-14);
        assert_true(fabs(p->state.x[0] - x) < 1e-14);
        assert_true(fabs(p->state.v[1] + v / 2) < 1e-14);
        assert_false(out.last);
        bpt_close(out.reward, 0, 0);
    }
    bpt_close(obs[0], x, 1e-6);
    bpt_close(obs[2], v, 1e-6);
    bpt_close(obs[4], 0.1, 1e-6);

    /* walls stop it */
    env.reset(env.self, 3, obs);
    p->state.x[0] = 0.2899, p->state.v[0] = 0.1, p->state.x[1] = 0.2;
    a[0] = 1, a[1] = 0;
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    bpt_close(obs[0], 0.29, 1e-6);
    bpt_close(obs[2], 0, 0);

    /* the goal terminates: discount 0 and reward 1 */
    env.reset(env.self, 3, obs);
    p->state.x[0] = 0.0695, p->state.v[0] = 0.09, p->state.x[1] = 0;
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    assert_true(out.last);
    bpt_close(out.discount, 0, 0);
    bpt_close(out.reward, 1, 0);
    assert_int_equal(env.step(env.self, a, obs, &out), BP_ERR_ENV);
    env.reset(env.self, 3, obs);
    a[1] = (bp_real)INFINITY;
    assert_int_equal(env.step(env.self, a, obs, &out), BP_ERR_ENV);
    bp_env_close(&env);

    /* staying at the goal, with a cost on the distance; time limit keeps discount 1 */
    cfg.end_at_goal = false;
    cfg.distance_cost = 2;
    cfg.steps = 3;
    bpt_ok(bp_pointmass_env(&env, &cfg, NULL, &e), &e);
    p = (bpi_pointmass *)env.self;
    env.reset(env.self, 3, obs);
    p->state.x[0] = 0.11, p->state.x[1] = 0;
    a[0] = 0, a[1] = 0;
    for (n = 0; n < 3; n++) {
        bpt_ok(env.step(env.self, a, obs, &out), NULL);
        bpt_close(out.reward, 1 - 2 * 0.01, 1e-6);
        bpt_close(out.discount, 1, 0);
        assert_int_equal(out.last, n == 2);
    }
    bp_env_close(&env);

    /* random targets are never reached already */
    cfg = bp_pointmass_config_default();
    cfg.goal_radius = 0.2;
    bpt_ok(bp_pointmass_env(&env, &cfg, NULL, &e), &e);
    for (seed = 0; seed < 500; seed++) {
        env.reset(env.self, seed, obs);
        assert_true(hypot((double)(obs[0] - obs[4]), (double)(obs[1] - obs[5])) > 0.1999);
    }
    bp_env_close(&env);

    cfg.goal_radius = 0.3;
    assert_int_equal(bp_pointmass_env(&env, &cfg, NULL, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "goal_radius"));
    cfg = bp_pointmass_config_default();
    cfg.random_target = false;
    cfg.target[1] = 1;
    assert_int_equal(bp_pointmass_env(&env, &cfg, NULL, &e), BP_ERR_ARGUMENT);
    cfg = bp_pointmass_config_default();
    cfg.damping = -1;
    assert_int_equal(bp_pointmass_env(&env, &cfg, NULL, &e), BP_ERR_ARGUMENT);
    memset(&cfg, 0, sizeof cfg);
    assert_int_equal(bp_pointmass_env(&env, &cfg, NULL, &e), BP_ERR_CONFIG);
}

/* ---- wrappers --------------------------------------------------------------------------------- */

/* Counts steps; reward = the step's number, terminates at step `end` (0: never). Remembers its last action. */
typedef struct counter {
    uint64_t t, end;
    double action[2];
    int closed;
    int flaw; /* see the flaws below */
    uint64_t episodes;
} counter;

enum { GOOD,
       FLAW_NAN,
       FLAW_UNWRITTEN,
       FLAW_OVERRUN,
       FLAW_ACTION,
       FLAW_REWARD,
       FLAW_DISCOUNT,
       FLAW_HALF,
       FLAW_HISTORY,
       FLAW_RESET,
       FLAW_STEP,
       FLAW_SAVE_SIZE,
       FLAW_SAVE_SHORT,
       FLAW_LOAD,
       FLAW_FORGET,
       FLAW_SAVE_DISTURBS,
       N_FLAWS };

static bp_status counter_reset(void *self, uint64_t seed, bp_real *obs) {
    counter *c = (counter *)self;
    c->t = 0;
    c->episodes++;
    obs[0] = (bp_real)(seed % 7);
    obs[1] = c->flaw == FLAW_HISTORY ? (bp_real)c->episodes : 0;
    obs[2] = 0;
    return c->flaw == FLAW_RESET ? BP_ERR_IO : BP_OK;
}

static bp_status counter_step(void *self, const bp_real *action, bp_real *obs, bp_step *out) {
    counter *c = (counter *)self;
    c->t++;
    c->action[0] = (double)action[0];
    c->action[1] = (double)action[1];
    obs[0] = (bp_real)c->t;
    obs[1] = action[0];
    if (c->flaw != FLAW_UNWRITTEN || c->t < 5) obs[2] = 1;
    if (c->flaw == FLAW_NAN && c->t == 5) obs[1] = (bp_real)NAN;
    if (c->flaw == FLAW_OVERRUN) obs[3] = 0;
    if (c->flaw == FLAW_ACTION) memset((void *)(uintptr_t)action, 0, sizeof *action);
    if (c->flaw != FLAW_REWARD) out->reward = (bp_real)c->t;
    out->discount = c->flaw == FLAW_DISCOUNT ? 2 : c->end && c->t >= c->end ? BP_R(0)
                                                                            : BP_R(0.5);
    out->last = c->flaw != FLAW_HALF && c->end && c->t >= c->end;
    return c->flaw == FLAW_STEP && c->t == 3 ? BP_ERR_IO : BP_OK;
}

static size_t counter_save(void *self, void *buffer, size_t capacity) {
    counter *c = (counter *)self;
    if (c->flaw == FLAW_SAVE_SIZE) return 0;
    if (!buffer) return sizeof c->t;
    if (capacity < sizeof c->t && c->flaw != FLAW_SAVE_SHORT) return 0;
    memcpy(buffer, &c->t, capacity < sizeof c->t ? capacity : sizeof c->t);
    if (c->flaw == FLAW_SAVE_DISTURBS) c->t += 1;
    return sizeof c->t;
}

static bp_status counter_load(void *self, const void *buffer, size_t bytes) {
    counter *c = (counter *)self;
    if (bytes != sizeof c->t || c->flaw == FLAW_LOAD) return BP_ERR_FORMAT;
    if (c->flaw != FLAW_FORGET) memcpy(&c->t, buffer, sizeof c->t);
    return BP_OK;
}

static void counter_close(void *self) { ((counter *)self)->closed++; }

static void make_counter(bp_env *env, counter *c, uint64_t end) {
    bp_error e;
    memset(c, 0, sizeof *c);
    c->end = end;
    memset(env, 0, sizeof *env);
    env->self = c;
    env->reset = counter_reset;
    env->step = counter_step;
    env->save = counter_save;
    env->load = counter_load;
    env->close = counter_close;
    bp_spec_begin(&env->spec, "counter");
    bp_spec_add_field(&env->spec, "time", 1, &e);
    bp_spec_add_field(&env->spec, "rest", 2, &e);
    bp_spec_actions_continuous(&env->spec, 2, -3, 5, &e);
}

static void test_wrappers(void **state) {
    counter c;
    bp_env env;
    bp_error e;
    bpt_memory m;
    bp_real obs[3], a[2];
    bp_step out;
    int n;
    (void)state;

    bpt_memory_use(&m);
    make_counter(&env, &c, 0);
    bpt_ok(bp_env_rescale_actions(&env, &m.allocator, &e), &e);
    bpt_ok(bp_spec_check(&env.spec, &e), &e);
    bpt_close(env.spec.action_low[1], -1, 0);
    bpt_close(env.spec.action_high[0], 1, 0);
    env.reset(env.self, 1, obs);
    a[0] = -1, a[1] = 1;
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    bpt_close(c.action[0], -3, 0);
    bpt_close(c.action[1], 5, 0);
    a[0] = 0, a[1] = 9; /* clipped */
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    bpt_close(c.action[0], 1, 0);
    bpt_close(c.action[1], 5, 0);
    a[1] = (bp_real)NAN;
    assert_int_equal(env.step(env.self, a, obs, &out), BP_ERR_ENV);

    /* on top: 3 repeats; rewards add up, discounts multiply */
    bpt_ok(bp_env_repeat(&env, 3, &m.allocator, &e), &e);
    env.reset(env.self, 1, obs);
    a[1] = 0;
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    bpt_close(out.reward, 1 + 2 + 3, 0);
    bpt_close(out.discount, 0.125, 0);
    assert_false(out.last);
    bpt_close(obs[0], 3, 0);

    /* on top of that: at most 2 steps, and the discount is left alone */
    bpt_ok(bp_env_time_limit(&env, 2, &m.allocator, &e), &e);
    assert_int_equal(env.step(env.self, a, obs, &out), BP_ERR_ENV); /* needs a reset */
    env.reset(env.self, 1, obs);
    for (n = 1; n <= 2; n++) {
        bpt_ok(env.step(env.self, a, obs, &out), NULL);
        assert_int_equal(out.last, n == 2);
        bpt_close(out.discount, 0.125, 0);
    }
    assert_int_equal(env.step(env.self, a, obs, &out), BP_ERR_ENV);
    bp_env_close(&env);
    assert_int_equal(c.closed, 1);
    bpt_memory_check(&m);

    /* a repeat stops where the episode does */
    make_counter(&env, &c, 2);
    bpt_ok(bp_env_repeat(&env, 5, &m.allocator, &e), &e);
    env.reset(env.self, 1, obs);
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    assert_true(out.last);
    bpt_close(out.reward, 3, 0);
    bpt_close(out.discount, 0, 0);
    bp_env_close(&env);

    /* a termination in the very step of the limit stays a termination */
    make_counter(&env, &c, 2);
    bpt_ok(bp_env_time_limit(&env, 2, NULL, &e), &e);
    env.reset(env.self, 1, obs);
    env.step(env.self, a, obs, &out);
    bpt_ok(env.step(env.self, a, obs, &out), NULL);
    assert_true(out.last);
    bpt_close(out.discount, 0, 0);
    bp_env_close(&env);

    /* what cannot be done is refused, and the environment is as before */
    make_counter(&env, &c, 0);
    env.spec.action_high[1] = (double)INFINITY;
    assert_int_equal(bp_env_rescale_actions(&env, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_env_repeat(&env, 0, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_env_time_limit(&env, 0, NULL, &e), BP_ERR_ARGUMENT);
    m.fail_at = m.requests + 1;
    assert_int_equal(bp_env_time_limit(&env, 7, &m.allocator, &e), BP_ERR_MEMORY);
    m.fail_at = 0;
    assert_ptr_equal(env.self, &c);
    assert_true(env.step == counter_step);
    /* discrete actions pass */
    bp_spec_actions_discrete(&env.spec, 3, &e);
    bpt_ok(bp_env_rescale_actions(&env, NULL, &e), &e);
    assert_ptr_equal(env.self, &c);
    /* no save inside, no save outside */
    env.save = NULL;
    env.load = NULL;
    bpt_ok(bp_env_time_limit(&env, 3, NULL, &e), &e);
    assert_null(env.save);
    bp_env_close(&env);
    bpt_memory_check(&m);
}

/* Everything at once, saved in the middle, loaded into a second copy: bit-exact continuation. */
static void make_stack(bp_env *env, const bp_allocator *al, int which, bp_normaliser *nrm) {
    bp_error e;
    if (which == 0) bpt_ok(bp_pendulum_env(env, NULL, al, &e), &e);
    else bpt_ok(bp_pointmass_env(env, NULL, al, &e), &e);
    bpt_ok(bp_env_rescale_actions(env, al, &e), &e);
    bpt_ok(bp_env_repeat(env, 2, al, &e), &e);
    bpt_ok(bp_env_time_limit(env, 60, al, &e), &e);
    if (nrm) bpt_ok(bp_env_normalise(env, nrm, false, al, &e), &e);
}

static void test_save_load(void **state) {
    int which;
    bpt_memory m;
    bp_error e;
    (void)state;
    bpt_memory_use(&m);
    for (which = 0; which < 2; which++) {
        bp_env one, two;
        bp_real a[2], o1[6], o2[6];
        bp_step s1, s2;
        unsigned char buffer[512];
        bp_normaliser nrm;
        size_t bytes, i;
        int t;
        make_stack(&one, &m.allocator, which, NULL);
        bpt_ok(bp_normaliser_create(&nrm, one.spec.observation_size, &m.allocator, &e), &e);
        bp_env_close(&one);
        make_stack(&one, &m.allocator, which, &nrm);
        make_stack(&two, &m.allocator, which, &nrm);
        bpt_ok(bp_env_check(&one, 9, 300, &e), &e);
        memset(o1, 0, sizeof o1);
        memset(o2, 0, sizeof o2);
        one.reset(one.self, 11, o1);
        two.reset(two.self, 12, o2);
        for (t = 0; t < 20; t++) {
            a[0] = BP_R(0.9) * (bp_real)(t % 3 - 1), a[1] = BP_R(0.3);
            bpt_ok(one.step(one.self, a, o1, &s1), NULL);
        }
        bytes = one.save(one.self, NULL, 0);
        assert_true(bytes > 0 && bytes <= sizeof buffer);
        assert_int_equal(one.save(one.self, buffer, bytes - 1), 0);
        assert_int_equal(one.save(one.self, buffer, bytes), bytes);
        bpt_ok(two.load(two.self, buffer, bytes), NULL);
        do {
            bpt_ok(one.step(one.self, a, o1, &s1), NULL);
            bpt_ok(two.step(two.self, a, o2, &s2), NULL);
            assert_memory_equal(o1, o2, sizeof o1);
            assert_memory_equal(&s1.reward, &s2.reward, sizeof s1.reward);
            assert_int_equal(s1.last, s2.last);
        } while (!s1.last);

        /* other bytes: refused or harmless, never a crash */
        assert_int_equal(two.load(two.self, buffer, bytes - 1), BP_ERR_FORMAT);
        assert_int_equal(two.load(two.self, buffer, 3), BP_ERR_FORMAT);
        assert_int_equal(two.load(two.self, NULL, 0), BP_ERR_FORMAT);
        for (i = 0; i < bytes; i++) {
            bp_status s;
            buffer[i] ^= 0xFF;
            s = two.load(two.self, buffer, bytes);
            assert_true(s == BP_OK || s == BP_ERR_FORMAT);
            if (s == BP_OK && two.step(two.self, a, o2, &s2) != BP_OK) two.reset(two.self, 1, o2);
            buffer[i] ^= 0xFF;
        }
        bp_env_close(&one);
        bp_env_close(&two);
        bp_normaliser_destroy(&nrm);
        bpt_memory_check(&m);
    }
    /* every allocation may fail */
    {
        size_t n;
        for (n = 1; n <= 2; n++) {
            bp_env env;
            m.requests = 0;
            m.fail_at = n;
            if (bp_pointmass_env(&env, NULL, &m.allocator, &e) == BP_OK) {
                assert_int_equal(bp_env_repeat(&env, 2, &m.allocator, &e), BP_ERR_MEMORY);
                bp_env_close(&env);
            }
            bpt_memory_check(&m);
        }
    }
}

/* ---- bp_env_check ----------------------------------------------------------------------------- */

static void test_check(void **state) {
    static const struct {
        int flaw;
        bp_status status;
        const char *says;
    } flaws[] = {
        {FLAW_NAN, BP_ERR_NONFINITE, "field 'rest'"},
        {FLAW_UNWRITTEN, BP_ERR_NONFINITE, "entry 1 of field 'rest'"},
        {FLAW_OVERRUN, BP_ERR_ENV, "past the 3 numbers"},
        {FLAW_ACTION, BP_ERR_ENV, "changed the action"},
        {FLAW_REWARD, BP_ERR_NONFINITE, "reward"},
        {FLAW_DISCOUNT, BP_ERR_ENV, "discount"},
        {FLAW_HALF, BP_ERR_ENV, "last = false"},
        {FLAW_RESET, BP_ERR_IO, "reset"},
        {FLAW_STEP, BP_ERR_IO, "step"},
        {FLAW_SAVE_SIZE, BP_ERR_ENV, "0 bytes"},
        {FLAW_SAVE_SHORT, BP_ERR_ENV, "too small"},
        {FLAW_LOAD, BP_ERR_FORMAT, "load"},
        {FLAW_FORGET, BP_ERR_ENV, "after save and load"},
        {FLAW_SAVE_DISTURBS, BP_ERR_ENV, "going on after save"},
    };
    counter c;
    bp_env env;
    bp_error e;
    size_t i;
    (void)state;
    make_counter(&env, &c, 37);
    bpt_ok(bp_env_check(&env, 3, 100, &e), &e);
    bpt_ok(bp_env_check(&env, 3, 1, &e), &e);
    bpt_ok(bp_env_check(&env, 3, 0, &e), &e);
    bpt_ok(bp_env_check(&env, 3, 100, NULL), &e);
    for (i = 0; i < sizeof flaws / sizeof flaws[0]; i++) {
        make_counter(&env, &c, 11);
        c.flaw = flaws[i].flaw;
        e.text[0] = '\0';
        if (bp_env_check(&env, 3, 100, &e) != flaws[i].status || !strstr(e.text, flaws[i].says)) {
            print_error("flaw %d: status %d, '%s' lacks '%s'\n", flaws[i].flaw, (int)e.status, e.text, flaws[i].says);
            fail();
        }
    }
    /* an environment that remembers earlier episodes; it shows in the observation after a reset */
    make_counter(&env, &c, 11);
    bpt_ok(bp_env_check(&env, 3, 100, &e), &e);
    c.flaw = FLAW_HISTORY;
    assert_int_equal(bp_env_check(&env, 3, 100, &e), BP_ERR_ENV);
    assert_non_null(strstr(e.text, "rest"));

    env.load = NULL;
    assert_int_equal(bp_env_check(&env, 3, 10, &e), BP_ERR_ARGUMENT);
    env.step = NULL;
    assert_int_equal(bp_env_check(&env, 3, 10, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_env_check(NULL, 3, 10, &e), BP_ERR_ARGUMENT);
    make_counter(&env, &c, 11);
    assert_int_equal(bp_env_check(&env, 3, (size_t)-1, &e), BP_ERR_SIZE);

    /* without save and load it is fine too */
    make_counter(&env, &c, 11);
    env.save = NULL;
    env.load = NULL;
    bpt_ok(bp_env_check(&env, 3, 100, &e), &e);
    /* infinite boxes are played in as well */
    env.spec.action_low[0] = -(double)INFINITY;
    env.spec.action_high[1] = (double)INFINITY;
    bpt_ok(bp_env_check(&env, 3, 100, &e), &e);

    /* our own ones */
    bpt_ok(bp_pendulum_maker(NULL).make(NULL, 0, &env, &e), &e);
    bpt_ok(bp_env_check(&env, 3, 1000, &e), &e);
    bp_env_close(&env);
    bpt_ok(bp_pointmass_maker(NULL).make(NULL, 0, &env, &e), &e);
    bpt_ok(bp_env_check(&env, 3, 3000, &e), &e);
    bp_env_close(&env);
}

/* ---- the normaliser --------------------------------------------------------------------------- */

enum { ROWS = 500,
       ENTRIES = 80,
       VARY = 13 }; /* 67 entries never change */

static void test_normaliser(void **state) {
    static bp_real x[ROWS * ENTRIES], y[ROWS * ENTRIES], z[ENTRIES];
    static const size_t blocks[] = {1, 3, 64, 65, 200, 167};
    bp_normaliser n;
    bpt_memory m;
    bp_error e;
    bp_rng rng = bp_rng_make(bpt_seed(), 9);
    double memory[2 + 3 * 2];
    size_t r, i, k, start, bytes;
    (void)state;
    bpt_memory_use(&m);
    bpt_ok(bp_normaliser_create(&n, ENTRIES, &m.allocator, &e), &e);
    for (r = 0; r < ROWS; r++)
        for (i = 0; i < ENTRIES; i++)
            x[r * ENTRIES + i] = i < VARY     ? (bp_real)pow(10, (double)i - 6) * bp_rng_normal(&rng) + (bp_real)(i == 5 ? 1000 : i)
                                 : i % 3 == 0 ? BP_R(0)
                                              : BP_R(0.1) * (bp_real)i;
    /* before any update only clipping happens */
    for (i = 0; i < ENTRIES; i++) z[i] = (bp_real)(i == 0 ? 1e9 : (double)i / 100);
    bp_normaliser_apply(y, &n, z, 1);
    bpt_close(y[0], 10, 0);
    bpt_close(y[50], 0.5, 1e-6);

    for (start = 0, k = 0; start < ROWS; start += blocks[k++]) bp_normaliser_update(&n, x + start * ENTRIES, blocks[k]);
    bpt_close(*n.count, ROWS, 0);
    bpt_close(*n.skipped, 0, 0);

    /* against two passes over the data */
    for (i = 0; i < ENTRIES; i++) {
        double mean = 0, var = 0;
        for (r = 0; r < ROWS; r++) mean += (double)x[r * ENTRIES + i];
        mean /= (double)ROWS;
        for (r = 0; r < ROWS; r++) var += ((double)x[r * ENTRIES + i] - mean) * ((double)x[r * ENTRIES + i] - mean);
        var /= (double)ROWS;
        bpt_close(n.mean[i], mean, 1e-13);
        if (i < VARY) {
            assert_true(fabs(*n.m2 > 0 ? n.m2[i] / (double)ROWS / var - 1 : 1) < 1e-9);
            bp_normaliser_apply(y, &n, x, ROWS);
            for (r = 0; r < ROWS; r++)
                bpt_close(y[r * ENTRIES + i], fmax(-10, fmin(10, ((double)x[r * ENTRIES + i] - mean) / sqrt(var + 1e-8))),
                          BPT_TOL(1e-6, 1e-9));
        } else {
            assert_true(n.m2[i] >= 0 && n.m2[i] <= 0); /* exactly */
            for (r = 0; r < ROWS; r++) bpt_close(y[r * ENTRIES + i], 0, 1e-12);
        }
    }
    /* a constant that moves for the first time: x - mean, clipped; not a 10^8 */
    memcpy(z, x, sizeof z);
    z[20] += BP_R(0.25);
    z[21] += BP_R(1e6);
    bp_normaliser_apply(z, &n, z, 1); /* in place */
    bpt_close(z[20], 0.25, 1e-6);
    bpt_close(z[21], 10, 0);

    /* the whole state is the block: copy it, go on, the same bits */
    {
        bp_normaliser other;
        bpt_ok(bp_normaliser_create(&other, ENTRIES, NULL, &e), &e);
        assert_int_equal(n.n_state, other.n_state);
        memcpy(other.state, n.state, n.n_state * sizeof(double));
        bp_normaliser_update(&n, x, 77);
        bp_normaliser_update(&other, x, 77);
        assert_memory_equal(other.state, n.state, n.n_state * sizeof(double));
        bp_normaliser_destroy(&other);
    }
    /* rows with a bad number are skipped and counted */
    {
        const double mean = n.mean[3], count = *n.count;
        memcpy(y, x, sizeof y);
        y[4] = (bp_real)NAN;
        y[ENTRIES + 79] = (bp_real)INFINITY;
        bp_normaliser_update(&n, y, 2);
        bpt_close(n.mean[3], mean, 0);
        bpt_close(*n.count, count, 0);
        bpt_close(*n.skipped, 2, 0);
        bp_normaliser_update(&n, y, 3);
        bpt_close(*n.count, count + 1, 0);
        assert_true(fabs(n.mean[4]) < 1e3);
        bp_normaliser_apply(y, &n, y, 1);
        assert_true(y[4] != y[4]); /* NaN is not hidden */
    }
    /* exempt entries pass as they are */
    bp_normaliser_exempt(&n, 5, 2);
    bp_normaliser_exempt(&n, 79, 2); /* out of range: ignored */
    bp_normaliser_apply(y, &n, x, 1);
    bpt_close(y[5], x[5], 0);
    bpt_close(y[6], x[6], 0);
    bp_normaliser_destroy(&n);
    bp_normaliser_destroy(&n);
    bpt_memory_check(&m);

    bpt_ok(bp_normaliser_size(2, &bytes, &e), &e);
    assert_int_equal(bytes, sizeof memory);
    bpt_ok(bp_normaliser_init(&n, 2, memory, sizeof memory, &e), &e);
    bp_normaliser_destroy(&n); /* not ours: must not free */
    assert_int_equal(bp_normaliser_init(&n, 2, memory, sizeof memory - 1, &e), BP_ERR_SIZE);
    assert_int_equal(bp_normaliser_init(&n, 2, (char *)memory + 1, sizeof memory, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_normaliser_size(0, &bytes, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_normaliser_size((size_t)-1, &bytes, &e), BP_ERR_SIZE);
    m.fail_at = m.requests + 1;
    assert_int_equal(bp_normaliser_create(&n, 2, &m.allocator, &e), BP_ERR_MEMORY);
}

static void test_normalise_wrapper(void **state) {
    counter c;
    bp_env env;
    bp_error e;
    bp_normaliser n;
    bp_real obs[3], a[2] = {0, 0};
    bp_step out;
    int t;
    (void)state;
    make_counter(&env, &c, 0);
    bpt_ok(bp_normaliser_create(&n, 2, NULL, &e), &e);
    assert_int_equal(bp_env_normalise(&env, &n, true, NULL, &e), BP_ERR_MISMATCH);
    bp_normaliser_destroy(&n);
    bpt_ok(bp_normaliser_create(&n, 3, NULL, &e), &e);
    bpt_ok(bp_env_normalise(&env, &n, true, NULL, &e), &e);
    env.reset(env.self, 0, obs);
    for (t = 1; t <= 10; t++) bpt_ok(env.step(env.self, a, obs, &out), NULL);
    /* it saw 0, 1, ..., 10: mean 5, variance 10 */
    bpt_close(*n.count, 11, 0);
    bpt_close(n.mean[0], 5, 1e-14);
    bpt_close(n.m2[0] / 11, 10, 1e-14);
    bpt_close(obs[0], 5 / sqrt(10 + 1e-8), 1e-6);
    bp_env_close(&env);
    make_counter(&env, &c, 0);
    bpt_ok(bp_env_normalise(&env, &n, false, NULL, &e), &e);
    env.reset(env.self, 0, obs);
    bpt_close(*n.count, 11, 0);
    bpt_close(obs[0], -5 / sqrt(10 + 1e-8), 1e-6);
    bp_env_close(&env);
    bp_normaliser_destroy(&n);
}

/* ---- many tasks in one (E10) -------------------------------------------------------------------------- */

/* n pendulums that differ in their episodes' length: task k lasts k + 3 steps. */
static void make_tasks(bp_env *task, size_t n) {
    bp_error e;
    size_t k;
    for (k = 0; k < n; k++) {
        bp_pendulum_config c = bp_pendulum_config_default();
        c.steps = k + 3;
        bpt_ok(bp_pendulum_env(&task[k], &c, NULL, &e), &e);
    }
}

static void test_mix(void **state) {
    const double p[3] = {1, 0, 3};
    bp_env task[3], mix;
    bp_real observation[8], other[8];
    const bp_real action[1] = {BP_R(0.5)};
    unsigned char *saved;
    size_t count[3] = {0, 0, 0}, bytes, k, i;
    bp_error e;
    bp_step step;
    bpt_memory m;
    (void)state;
    make_tasks(task, 3);
    bpt_ok(bp_env_mix(&mix, task, 3, p, NULL, &e), &e);
    for (k = 0; k < 3; k++) assert_null(task[k].reset); /* they live in the mix now */
    assert_int_equal(mix.spec.observation_size, 6);
    assert_int_equal(bp_spec_find(&mix.spec, "task")->offset, 3);
    bpt_ok(bp_env_check(&mix, 5, 50, &e), &e);
    for (i = 0; i < 4000; i++) {
        size_t length = 0, named = 3;
        bpt_ok(mix.reset(mix.self, i, observation), NULL);
        for (k = 0; k < 3; k++) {
            if (observation[3 + k] == BP_R(1)) named = k;
            else assert_true(observation[3 + k] == BP_R(0));
        }
        assert_true(named < 3);
        count[named]++;
        for (step.last = false; !step.last; length++) bpt_ok(mix.step(mix.self, action, observation, &step), NULL);
        assert_int_equal(length, named + 3); /* the task that is named is the one that is played */
        assert_true(observation[3 + named] == BP_R(1));
    }
    assert_int_equal(count[1], 0);
    bpt_close((double)count[2] / 4000, 0.75, 0.03);
    /* the same seed, the same task and episode */
    bpt_ok(mix.reset(mix.self, 77, observation), NULL);
    bpt_ok(mix.reset(mix.self, 78, other), NULL);
    bpt_ok(mix.reset(mix.self, 77, other), NULL);
    assert_memory_equal(observation, other, 6 * sizeof(bp_real));
    /* saved in one episode, loaded in another: it goes on where it was */
    bytes = mix.save(mix.self, NULL, 0);
    saved = (unsigned char *)malloc(bytes);
    assert_non_null(saved);
    bpt_ok(mix.step(mix.self, action, observation, &step), NULL);
    assert_int_equal(mix.save(mix.self, saved, bytes), bytes);
    bpt_ok(mix.step(mix.self, action, observation, &step), NULL);
    bpt_ok(mix.reset(mix.self, 78, other), NULL);
    bpt_ok(mix.load(mix.self, saved, bytes), NULL);
    bpt_ok(mix.step(mix.self, action, other, &step), NULL);
    assert_memory_equal(observation, other, 6 * sizeof(bp_real));
    assert_int_equal(mix.save(mix.self, saved, bytes - 1), 0);
    assert_int_equal(mix.load(mix.self, saved, 23), BP_ERR_FORMAT);
    saved[0] ^= 1;
    assert_int_equal(mix.load(mix.self, saved, bytes), BP_ERR_FORMAT);
    saved[0] ^= 1, saved[8] = 9; /* task 9 */
    assert_int_equal(mix.load(mix.self, saved, bytes), BP_ERR_FORMAT);
    free(saved);
    bp_env_close(&mix);

    /* what cannot be mixed stays as it was */
    make_tasks(task, 2);
    assert_int_equal(bp_env_mix(&mix, task, 0, NULL, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_env_mix(&mix, task, 2, (const double[]){0, 0}, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_env_mix(&mix, task, 2, (const double[]){1, -1}, NULL, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "task 1"));
    bp_env_close(&task[1]);
    bpt_ok(bp_pointmass_env(&task[1], NULL, NULL, &e), &e);
    assert_int_equal(bp_env_mix(&mix, task, 2, NULL, NULL, &e), BP_ERR_MISMATCH);
    bp_env_close(&task[1]);
    assert_non_null(task[0].reset);
    bp_env_close(&task[0]);
    make_tasks(task, 2);
    bpt_memory_use(&m);
    m.fail_at = 1;
    assert_int_equal(bp_env_mix(&mix, task, 2, NULL, &m.allocator, &e), BP_ERR_MEMORY);
    m.fail_at = 0;
    bpt_ok(bp_env_mix(&mix, task, 2, NULL, &m.allocator, &e), &e);
    bp_env_close(&mix);
    bpt_memory_check(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mix),
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_pendulum_is_gymnasiums),
        cmocka_unit_test(test_pendulum_episode),
        cmocka_unit_test(test_pointmass),
        cmocka_unit_test(test_wrappers),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_normaliser),
        cmocka_unit_test(test_normalise_wrapper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
