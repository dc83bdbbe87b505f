/* Chapter 8: optimiser (E36). Adam against steps worked out by hand and against the textbook form; clipping,
 * schedules, the adapted multiplier, target averages. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define EXACT BPT_TOL(1e-6, 1e-14)

/* With lr 0.1, beta1 0.9, beta2 0.99, epsilon 0.5, from params = 1 and gradients 2, -1, 4:
 *     t = 1: m = 0.2,   v = 0.04;     mhat = 2,          vhat = 4            step 0.1 * 2 / (2 + 0.5) = 0.08
 *     t = 2: m = 0.08,  v = 0.0496;   mhat = 0.08/0.19,  vhat = 0.0496/0.0199
 *     t = 3: m = 0.472, v = 0.209104; mhat = 0.472/0.271, vhat = 0.209104/0.029701
 */
static void adam_by_hand(void **state) {
    (void)state;
    bp_adam_config config = bp_adam_config_default();
    bp_real p = 1, m = 0, v = 0, g;
    config.lr = 0.1;
    config.beta1 = 0.9;
    config.beta2 = 0.99;
    config.epsilon = 0.5;

    g = 2;
    bp_adam_step(&p, &m, &v, &g, 1, &config, 1, 1, 1);
    bpt_close(m, 0.2, EXACT);
    bpt_close(v, 0.04, EXACT);
    bpt_close(p, 0.92, EXACT);

    g = -1;
    bp_adam_step(&p, &m, &v, &g, 1, &config, 2, 1, 1);
    const double p2 = 0.92 - 0.1 * (0.08 / 0.19) / (sqrt(0.0496 / 0.0199) + 0.5);
    bpt_close(m, 0.08, EXACT);
    bpt_close(v, 0.0496, EXACT);
    bpt_close(p, p2, EXACT);

    g = 4;
    bp_adam_step(&p, &m, &v, &g, 1, &config, 3, 1, 1);
    bpt_close(m, 0.472, EXACT);
    bpt_close(v, 0.209104, EXACT);
    bpt_close(p, p2 - 0.1 * (0.472 / 0.271) / (sqrt(0.209104 / 0.029701) + 0.5), EXACT);
}

/* A thousand random steps against the textbook form in double precision, with scales on rate and gradient. */
static void adam_textbook(void **state) {
    (void)state;
    enum { n = 37 };
    bp_rng rng = bp_rng_make(3, 80);
    bp_adam_config config = bp_adam_config_default();
    bp_real p[n], m[n] = {0}, v[n] = {0}, g[n];
    double P[n], M[n] = {0}, V[n] = {0};
    for (size_t i = 0; i < n; i++) P[i] = (double)(p[i] = bp_rng_normal(&rng));
    for (int t = 1; t <= 1000; t++) {
        const double lr_scale = 1.0 / t + 0.5, grad_scale = t % 3 ? 1.0 : 0.25;
        for (size_t i = 0; i < n; i++) g[i] = bp_rng_normal(&rng);
        bp_adam_step(p, m, v, g, n, &config, (uint64_t)t, lr_scale, grad_scale);
        for (size_t i = 0; i < n; i++) {
            const double G = grad_scale * (double)g[i];
            M[i] = 0.9 * M[i] + 0.1 * G;
            V[i] = 0.999 * V[i] + 0.001 * G * G;
            P[i] -= 1e-4 * lr_scale * (M[i] / (1 - pow(0.9, t))) / (sqrt(V[i] / (1 - pow(0.999, t))) + 1e-8);
        }
    }
    for (size_t i = 0; i < n; i++) bpt_close(p[i], P[i], BPT_TOL(5e-6, 1e-12));
}

/* The first step is lr in size whatever the gradient, and a zero gradient moves nothing. */
static void adam_first_step(void **state) {
    (void)state;
    const bp_adam_config config = bp_adam_config_default();
    const bp_real g[4] = {1000, BP_R(-1e-3), 3, 0};
    bp_real p[4] = {0}, m[4] = {0}, v[4] = {0};
    bp_adam_step(p, m, v, g, 4, &config, 1, 1, 1);
    bpt_close((double)p[0] * 1e4, -1, 1e-4);
    bpt_close((double)p[1] * 1e4, 1, 1e-4);
    bpt_close((double)p[2] * 1e4, -1, 1e-4);
    assert_true(p[3] == 0);
    bp_real q[4] = {0}, m0[4] = {0}, v0[4] = {0};
    bp_adam_step(q, m0, v0, g, 4, &config, 0, 1, 1); /* 0 is taken as 1 */
    assert_memory_equal(p, q, sizeof p);
}

/* The point of it all: from (5, -3), the minimum of 100 x^2 + y^2/100. */
static void adam_minimises(void **state) {
    (void)state;
    bp_adam_config config = bp_adam_config_default();
    bp_real p[2] = {5, -3}, m[2] = {0}, v[2] = {0}, g[2];
    config.lr = 0.02;
    for (uint64_t t = 1; t <= 3000; t++) {
        g[0] = 200 * p[0];
        g[1] = BP_R(0.02) * p[1];
        bp_adam_step(p, m, v, g, 2, &config, t, 1, 1);
    }
    assert_true(fabs((double)p[0]) < 1e-3 && fabs((double)p[1]) < 1e-3);
}

/* A gradient that becomes 0: the averages fall as they should, end at 0 and are never subnormal; meanwhile the parameter has
 * come to rest. */
static void adam_forgets(void **state) {
    (void)state;
    const bp_adam_config config = bp_adam_config_default();
    bp_real p = 1, m = 0, v = 0, g = BP_R(-0.5);
    double M = -0.05, V = 0.00025;
    bp_adam_step(&p, &m, &v, &g, 1, &config, 1, 1, 1);
    g = 0;
    bpt_close(m, M, BPT_TOL(1e-6, 1e-14));
    for (uint64_t t = 2; t < 2000000 && (m != 0 || v != 0); t++) {
        const bool m_lives = (M *= 0.9)<-2 * (double)BPI_ADAM_TINY, v_lives = (V *= 0.999)> 2 * (double)BPI_ADAM_TINY;
        const bp_real before = p;
        bp_adam_step(&p, &m, &v, &g, 1, &config, t, 1, 1);
        if (m_lives) bpt_close(m / BP_R(M), 1, BPT_TOL(2e-3, 1e-10));
        if (v_lives) bpt_close(v / BP_R(V), 1, BPT_TOL(2e-2, 1e-8)); /* 0.999 is rounded, to the power of some 100,000 */
        assert_true(m == 0 || bpi_fabs(m) >= BPI_REAL_MIN);
        assert_true(v == 0 || v >= BPI_REAL_MIN);
        if (t > 500) assert_true(p == before);
    }
    assert_true(m == 0 && v == 0);
}

/* Every kernel's step has the bits of the plain loop: for any length, for numbers of any size, and for those that are none. */
static void adam_kernels(void **state) {
    (void)state;
    enum { most = 67 };
    static const bp_kernel kernels[] = {BP_KERNEL_VECTOR, BP_KERNEL_AVX2, BP_KERNEL_AVX512, BP_KERNEL_NEON};
    bp_rng rng = bp_rng_make(5, 80);
    size_t tested = 0, flushed = 0, i, j, n;
    for (j = 0; j < sizeof kernels / sizeof *kernels; j++) {
        const struct bp_kernel_table *t = bpi_kernel_find(kernels[j]);
        if (!t || !t->adam) continue;
        for (n = 1; n <= most; n++) {
            const bpi_adam k = {BP_R(0.9), BP_R(0.999), BP_R(0.1), BP_R(0.001), BP_R(1e-3), BP_R(1e-8), BP_R(0.5)};
            bp_real x[4][most + 1], y[4][most + 1];
            for (i = 0; i <= most; i++) {
                x[0][i] = bp_rng_normal(&rng);
                x[1][i] = bp_rng_normal(&rng) * BP_R(pow(10, -6.0 * (double)bp_rng_index(&rng, 8)));
                x[2][i] = x[1][i] * x[1][i];
                x[3][i] = x[1][i] * bp_rng_normal(&rng);
                if (i % 7 == 3) x[1][i] *= BPI_ADAM_TINY;
                if (i % 7 == 3) x[3][i] = 0;
            }
            x[3][n / 2] = BP_R(NAN);
            x[1][n / 3] = -BP_R(INFINITY);
            memcpy(y, x, sizeof x);
            t->adam(x[0], x[1], x[2], x[3], n, &k);
            bpi_adam_plain(y[0], y[1], y[2], y[3], n, &k);
            for (i = 0; i < n; i++) flushed += i % 7 == 3 && y[1][i] == 0;
            for (i = 0; i < 3; i++) /* NaN has many patterns */
                for (size_t at = 0; at <= most; at++)
                    assert_true(bpi_bits_of(x[i][at]) == bpi_bits_of(y[i][at]) || (x[i][at] != x[i][at] && y[i][at] != y[i][at]));
            assert_true(y[0][n / 2] != y[0][n / 2]);
        }
        tested++;
        assert_true(flushed > 100);
    }
    if (tested == 0) skip();
}

static void adam_config_ranges(void **state) {
    (void)state;
    bp_error error;
    bp_adam_config config = bp_adam_config_default();
    bpt_ok(bp_adam_config_check(&config, &error), &error);
    assert_true(config.lr == 1e-4 && config.beta1 == 0.9 && config.beta2 == 0.999);
    assert_true(config.epsilon == 1e-8 && config.clip_norm == 0);
#define BAD(field, value)                                                         \
    do {                                                                          \
        config = bp_adam_config_default();                                        \
        config.field = (value);                                                   \
        assert_int_equal(bp_adam_config_check(&config, &error), BP_ERR_ARGUMENT); \
        assert_non_null(strstr(error.text, #field));                              \
    } while (0)
    BAD(lr, 0);
    BAD(lr, HUGE_VAL);
    BAD(beta1, 1);
    BAD(beta1, -0.1);
    BAD(beta2, 1);
    BAD(beta2, sqrt(-1.0));
    BAD(epsilon, 0);
    BAD(clip_norm, HUGE_VAL);
#undef BAD
    memset(&config, 0, sizeof config);
    assert_int_equal(bp_adam_config_check(&config, &error), BP_ERR_CONFIG);
    config = bp_adam_config_make(BP_COOKIE(bp_adam_config) ^ 0x08000000u);
    assert_true(config.lr == 0);
    assert_int_equal(bp_adam_config_check(&config, &error), BP_ERR_ABI);
    assert_int_equal(bp_adam_config_check(NULL, NULL), BP_ERR_ARGUMENT);
}

static void clipping(void **state) {
    (void)state;
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    bp_compute c;
    bp_error error;
    bpt_ok(bp_compute_init(&c, BP_KERNEL_AUTO, mem, &error), &error);
    bp_real g[5] = {3, 0, -4, 0, 12};
    bpt_close(bp_global_norm(&c, g, 5), 13, 1e-14);
    assert_true(bp_global_norm(&c, g, 0) == 0);
    assert_true(bp_clip_scale(13, 0) == 1 && bp_clip_scale(13, -1) == 1 && bp_clip_scale(13, 20) == 1);
    bpt_close(bp_clip_scale(13, 6.5), 0.5, 1e-15);
    assert_true(bp_clip_scale(0, 1) == 1);
    g[1] = BP_R(sqrt(-1.0));
    const double broken = bp_global_norm(&c, g, 5);
    assert_true(broken != broken);
    const double scale = bp_clip_scale(broken, 1);
    assert_true(scale != scale);
    bp_free(NULL, mem, bp_compute_bytes());
}

static void schedules(void **state) {
    (void)state;
    bp_error error;
    bp_schedule s = bp_schedule_constant(0.3);
    assert_true(bp_schedule_at(&s, 0) == 0.3 && bp_schedule_at(&s, UINT64_MAX) == 0.3);
    bpt_ok(bp_schedule_check(&s, &error), &error);
    for (int kind = (int)BP_SCHEDULE_LINEAR; kind <= (int)BP_SCHEDULE_COSINE; kind++) {
        s = bp_schedule_make((bp_schedule_kind)kind, 4, 0.25, 100);
        bpt_ok(bp_schedule_check(&s, &error), &error);
        assert_true(bp_schedule_at(&s, 0) == 4 && bp_schedule_at(&s, 100) == 0.25 && bp_schedule_at(&s, 1000000) == 0.25);
        for (uint64_t t = 0; t < 100; t++) assert_true(bp_schedule_at(&s, t) > bp_schedule_at(&s, t + 1));
        s.steps = 0;
        assert_true(bp_schedule_at(&s, 0) == 0.25);
    }
    s = bp_schedule_make(BP_SCHEDULE_LINEAR, 1, 3, 4);
    bpt_close(bp_schedule_at(&s, 1), 1.5, 1e-15);
    s = bp_schedule_make(BP_SCHEDULE_EXPONENTIAL, 1, 16, 4);
    bpt_close(bp_schedule_at(&s, 1), 2, 1e-15);
    bpt_close(bp_schedule_at(&s, 3), 8, 1e-15);
    s = bp_schedule_make(BP_SCHEDULE_COSINE, 1, 3, 4);
    bpt_close(bp_schedule_at(&s, 2), 2, 1e-15);
    bpt_close(bp_schedule_at(&s, 1), 3 - 2 * (1 + sqrt(0.5)) / 2, 1e-15);

    s = bp_schedule_make(BP_SCHEDULE_EXPONENTIAL, 0, 1, 4);
    assert_int_equal(bp_schedule_check(&s, &error), BP_ERR_ARGUMENT);
    s = bp_schedule_make((bp_schedule_kind)17, 0, 1, 4);
    assert_int_equal(bp_schedule_check(&s, &error), BP_ERR_ARGUMENT);
    s = bp_schedule_make(BP_SCHEDULE_LINEAR, HUGE_VAL, 1, 4);
    assert_int_equal(bp_schedule_check(&s, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "start"));
    s = bp_schedule_make(BP_SCHEDULE_LINEAR, 1, sqrt(-1.0), 4);
    assert_int_equal(bp_schedule_check(&s, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "end"));
    assert_int_equal(bp_schedule_check(NULL, NULL), BP_ERR_ARGUMENT);
}

static void dual(void **state) {
    (void)state;
    bp_error error;
    bp_dual d = bp_dual_make(0.5, 0.1, 2, 1e-4, 10);
    bpt_ok(bp_dual_check(&d, &error), &error);
    bpt_close(bp_dual_value(&d), 0.5, 1e-15);
    bp_dual_update(&d, 3); /* one unit too much: times e^0.1 */
    bpt_close(bp_dual_value(&d), 0.5 * exp(0.1), 1e-14);
    bp_dual_update(&d, 1);
    bpt_close(bp_dual_value(&d), 0.5, 1e-14);
    bp_dual_update(&d, 2);
    bpt_close(bp_dual_value(&d), 0.5, 1e-14);
    bp_dual_update(&d, sqrt(-1.0));
    bp_dual_update(&d, HUGE_VAL);
    bpt_close(bp_dual_value(&d), 0.5, 1e-14);
    for (int i = 0; i < 1000; i++) bp_dual_update(&d, 100);
    bpt_close(bp_dual_value(&d), 10, 1e-13);
    for (int i = 0; i < 10000; i++) bp_dual_update(&d, -100);
    bpt_close(bp_dual_value(&d), 1e-4, 1e-13);

    /* closed loop: the measured quantity 1/weight should settle at the target 4, that is at weight 1/4 */
    d = bp_dual_make(3, 0.05, 4, 1e-4, 10);
    for (int i = 0; i < 2000; i++) bp_dual_update(&d, 1 / bp_dual_value(&d));
    bpt_close(bp_dual_value(&d), 0.25, 1e-6);

    d = bp_dual_make(0, 0.1, 2, 1e-4, 10);
    assert_int_equal(bp_dual_check(&d, &error), BP_ERR_ARGUMENT);
    d = bp_dual_make(1, 0, 2, 1e-4, 10);
    assert_int_equal(bp_dual_check(&d, &error), BP_ERR_ARGUMENT);
    d = bp_dual_make(1, 1, 2, 0, 10);
    assert_int_equal(bp_dual_check(&d, &error), BP_ERR_ARGUMENT);
    d = bp_dual_make(1, 1, 2, 5, 4);
    assert_int_equal(bp_dual_check(&d, &error), BP_ERR_ARGUMENT);
    d = bp_dual_make(1, 1, HUGE_VAL, 1, 4);
    assert_int_equal(bp_dual_check(&d, &error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_dual_check(NULL, NULL), BP_ERR_ARGUMENT);
}

static void polyak(void **state) {
    (void)state;
    const bp_real online[3] = {BP_R(0.1), -7, BP_R(1e30)};
    bp_real target[3] = {1, 1, -1};
    bp_polyak(target, online, 3, 0);
    assert_true(target[0] == 1 && target[1] == 1 && target[2] == -1);
    bp_polyak(target, online, 3, 0.25);
    bpt_close(target[0], 0.775, EXACT);
    bpt_close(target[1], -1, EXACT);
    bp_polyak(target, online, 3, 1);
    assert_memory_equal(target, online, sizeof target);
    bp_polyak(target, online, 0, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_by_hand),
        cmocka_unit_test(adam_textbook),
        cmocka_unit_test(adam_first_step),
        cmocka_unit_test(adam_minimises),
        cmocka_unit_test(adam_forgets),
        cmocka_unit_test(adam_kernels),
        cmocka_unit_test(adam_config_ranges),
        cmocka_unit_test(clipping),
        cmocka_unit_test(schedules),
        cmocka_unit_test(dual),
        cmocka_unit_test(polyak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
