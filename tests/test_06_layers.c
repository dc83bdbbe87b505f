/* Chapter 6: layers (E35). Values against plain loops in double precision, every derivative against central
 * differences, under every kernel this machine can run. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define N 5   /* rows */
#define IN 6  /* inputs of the linear layer */
#define OUT 9 /* its outputs, also the width of the layer norm: no multiple of a vector register */
#define A 3   /* action dimensions of the head */
#define STEP BPT_TOL(1e-2, 1e-3)
#define TOL BPT_TOL(1e-3, 1e-7)
#define EXACT BPT_TOL(3e-6, 1e-13)

typedef struct problem {
    const bp_compute *c;
    bp_real x[N * IN], w[IN * OUT], b[OUT];         /* linear */
    bp_real z[N * OUT], gain[OUT], shift[OUT];      /* layer norm, activations */
    bp_real raw[N * 2 * A];                         /* head */
    bp_real wy[N * OUT], wmean[N * A], wstd[N * A]; /* weights that make a scalar of the outputs */
    bp_gaussian_head head;
    bp_activation act;
} problem;

static uint64_t seed = 1;

static void fill(bp_real *x, size_t n, bp_rng *rng, double scale) {
    for (size_t i = 0; i < n; i++) x[i] = BP_R(scale * (double)bp_rng_normal(rng));
}

static problem make_problem(const bp_compute *c) {
    bp_rng rng = bp_rng_make(seed, 60);
    problem p;
    p.c = c;
    fill(p.x, N * IN, &rng, 1);
    fill(p.w, IN * OUT, &rng, 0.5);
    fill(p.b, OUT, &rng, 0.5);
    fill(p.z, N * OUT, &rng, 1.5);
    for (size_t i = 0; i < N * OUT; i++) /* stay away from the kink of ReLU and ELU at 0 */
        p.z[i] += p.z[i] > 0 ? BP_R(0.05) : -BP_R(0.05);
    fill(p.gain, OUT, &rng, 1);
    fill(p.shift, OUT, &rng, 1);
    fill(p.raw, N * 2 * A, &rng, 1.5);
    fill(p.wy, N * OUT, &rng, 1);
    fill(p.wmean, N * A, &rng, 1);
    fill(p.wstd, N * A, &rng, 1);
    p.head = bp_gaussian_head_default();
    p.act = BP_ACT_NONE;
    return p;
}

#define CHECK(loss, p, array, grad, n) \
    bpt_check_gradient_at(loss, &(p), (p).array, grad, n, STEP, TOL, #loss " by " #array, __FILE__, __LINE__)

/* Runs a test once for each kernel this machine has. */
static void each_kernel(void (*test)(const bp_compute *c)) {
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    size_t ran = 0;
    assert_non_null(mem);
    for (int k = (int)BP_KERNEL_REFERENCE; k <= (int)BP_KERNEL_CBLAS; k++) {
        bp_compute c;
        const bp_status status = bp_compute_init(&c, (bp_kernel)k, mem, NULL);
        if (status != BP_OK) continue;
        test(&c);
        ran++;
    }
    assert_true(ran >= 1);
    bp_free(NULL, mem, bp_compute_bytes());
}

/* --- linear --------------------------------------------------------------------------------------------------- */

static double activate(double x, bp_activation act) {
    switch (act) {
    case BP_ACT_TANH: return tanh(x);
    case BP_ACT_ELU: return x > 0 ? x : expm1(x);
    case BP_ACT_RELU: return x > 0 ? x : 0;
    case BP_ACT_SOFTPLUS: return log1p(exp(x));
    case BP_ACT_NONE:
    default: return x;
    }
}

static void linear_values(const bp_compute *c) {
    const problem p = make_problem(c);
    for (int act = (int)BP_ACT_NONE; act <= (int)BP_ACT_SOFTPLUS; act++)
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            const bp_real *b = with_bias ? p.b : NULL;
            bp_real y[N * OUT], y2[N * OUT];
            bp_linear_eval(c, y, p.x, p.w, b, N, IN, OUT, (bp_activation)act);
            bp_linear_forward(c, y2, p.x, p.w, b, N, IN, OUT, (bp_activation)act);
            assert_memory_equal(y, y2, sizeof y);
            for (size_t i = 0; i < N; i++)
                for (size_t j = 0; j < OUT; j++) {
                    double z = b ? (double)b[j] : 0;
                    for (size_t k = 0; k < IN; k++) z += (double)p.x[i * IN + k] * (double)p.w[k * OUT + j];
                    bpt_close(y[i * OUT + j], activate(z, (bp_activation)act), EXACT);
                }
        }
}

static double loss_linear(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real y[N * OUT];
    double sum = 0;
    bp_linear_forward(p->c, y, p->x, p->w, p->b, N, IN, OUT, p->act);
    for (size_t i = 0; i < N * OUT; i++) sum += (double)p->wy[i] * sin((double)y[i]);
    return sum;
}

static void linear_gradients(const bp_compute *c) {
    problem p = make_problem(c);
    for (int act = (int)BP_ACT_NONE; act <= (int)BP_ACT_SOFTPLUS; act++) {
        bp_real y[N * OUT], dy[N * OUT], dx[N * IN] = {0}, dw[IN * OUT] = {0}, db[OUT] = {0}, dx2[N * IN] = {0};
        p.act = (bp_activation)act;
        if (p.act == BP_ACT_RELU || p.act == BP_ACT_ELU) continue; /* kinks: below, where they can be avoided */
        bp_linear_forward(c, y, p.x, p.w, p.b, N, IN, OUT, p.act);
        for (size_t i = 0; i < N * OUT; i++) dy[i] = BP_R((double)p.wy[i] * cos((double)y[i]));
        bp_vec_act_backward_set(c, dy, dy, y, N * OUT, p.act);
        bp_linear_backward(c, dx, dw, db, dy, p.x, p.w, N, IN, OUT);
        CHECK(loss_linear, p, x, dx, N * IN);
        CHECK(loss_linear, p, w, dw, IN * OUT);
        CHECK(loss_linear, p, b, db, OUT);

        bp_linear_backward_input(c, dx2, dy, p.w, N, IN, OUT);
        assert_memory_equal(dx, dx2, sizeof dx);

        /* adds; and each part alone */
        bp_real ex[N * IN], ew[IN * OUT], eb[OUT];
        memcpy(ex, dx, sizeof dx);
        memcpy(ew, dw, sizeof dw);
        memcpy(eb, db, sizeof db);
        bp_linear_backward(c, ex, NULL, NULL, dy, NULL, p.w, N, IN, OUT);
        bp_linear_backward(c, NULL, ew, NULL, dy, p.x, NULL, N, IN, OUT);
        bp_linear_backward(c, NULL, NULL, eb, dy, NULL, NULL, N, IN, OUT);
        for (size_t i = 0; i < N * IN; i++) bpt_close(ex[i], 2 * (double)dx[i], EXACT);
        for (size_t i = 0; i < IN * OUT; i++) bpt_close(ew[i], 2 * (double)dw[i], EXACT);
        for (size_t i = 0; i < OUT; i++) bpt_close(eb[i], 2 * (double)db[i], EXACT);
    }
}

static double loss_activation(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real y[N * OUT];
    double sum = 0;
    bp_vec_act(p->c, y, p->z, N * OUT, p->act);
    for (size_t i = 0; i < N * OUT; i++) sum += (double)p->wy[i] * sin((double)y[i]);
    return sum;
}

static void activation_gradients(const bp_compute *c) {
    problem p = make_problem(c);
    for (int act = (int)BP_ACT_NONE; act <= (int)BP_ACT_SOFTPLUS; act++) {
        bp_real y[N * OUT], dy[N * OUT], dz[N * OUT] = {0}, set[N * OUT];
        p.act = (bp_activation)act;
        bp_vec_act(c, y, p.z, N * OUT, p.act);
        for (size_t i = 0; i < N * OUT; i++) dy[i] = BP_R((double)p.wy[i] * cos((double)y[i]));
        bp_vec_act_backward(c, dz, dy, y, N * OUT, p.act);
        CHECK(loss_activation, p, z, dz, N * OUT);
        bp_vec_act_backward_set(c, set, dy, y, N * OUT, p.act);
        CHECK(loss_activation, p, z, set, N * OUT);
    }
}

/* --- layer normalisation ------------------------------------------------------------------------------------------ */

static void layer_norm_values(void **state) {
    (void)state;
    const problem p = make_problem(NULL);
    bp_real y[N * OUT], y2[N * OUT], saved[N * 2];
    bp_layer_norm_forward(y, saved, p.z, p.gain, p.shift, N, OUT);
    for (size_t i = 0; i < N; i++) {
        double mean = 0, var = 0;
        for (size_t j = 0; j < OUT; j++) mean += (double)p.z[i * OUT + j] / OUT;
        for (size_t j = 0; j < OUT; j++) var += ((double)p.z[i * OUT + j] - mean) * ((double)p.z[i * OUT + j] - mean) / OUT;
        bpt_close(saved[2 * i], mean, EXACT);
        bpt_close(saved[2 * i + 1], 1 / sqrt(var + 1e-5), EXACT);
        for (size_t j = 0; j < OUT; j++)
            bpt_close(y[i * OUT + j],
                      (double)p.gain[j] * ((double)p.z[i * OUT + j] - mean) / sqrt(var + 1e-5) + (double)p.shift[j], EXACT);
    }
    bp_layer_norm_eval(y2, p.z, p.gain, p.shift, N, OUT);
    assert_memory_equal(y, y2, sizeof y);
    memcpy(y2, p.z, sizeof y2);
    bp_layer_norm_eval(y2, y2, p.gain, p.shift, N, OUT); /* in place */
    assert_memory_equal(y, y2, sizeof y);

    /* a constant row gives the shift, a large common offset changes (nearly) nothing, one number is its own mean */
    for (size_t j = 0; j < OUT; j++) y[j] = 3;
    bp_layer_norm_eval(y, y, p.gain, p.shift, 1, OUT);
    for (size_t j = 0; j < OUT; j++) bpt_close(y[j], p.shift[j], EXACT);
    for (size_t j = 0; j < OUT; j++) {
        y[j] = BP_R(j);
        y2[j] = BP_R(j) + 4096;
    }
    bp_layer_norm_eval(y, y, p.gain, p.shift, 1, OUT);
    bp_layer_norm_eval(y2, y2, p.gain, p.shift, 1, OUT);
    for (size_t j = 0; j < OUT; j++) bpt_close(y[j], y2[j], BPT_TOL(2e-3, 1e-11));
    bp_layer_norm_eval(y, p.z, p.gain, p.shift, 1, 1);
    assert_true(y[0] == p.shift[0]);
}

static double loss_norm(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real y[N * OUT];
    double sum = 0;
    bp_layer_norm_eval(y, p->z, p->gain, p->shift, N, OUT);
    for (size_t i = 0; i < N * OUT; i++) sum += (double)p->wy[i] * sin((double)y[i]);
    return sum;
}

static void layer_norm_gradients(void **state) {
    (void)state;
    problem p = make_problem(NULL);
    bp_real y[N * OUT], saved[N * 2], dy[N * OUT], dz[N * OUT] = {0}, dz2[N * OUT] = {0}, dgain[OUT] = {0}, dshift[OUT] = {0};
    bp_layer_norm_forward(y, saved, p.z, p.gain, p.shift, N, OUT);
    for (size_t i = 0; i < N * OUT; i++) dy[i] = BP_R((double)p.wy[i] * cos((double)y[i]));
    bp_layer_norm_backward(dz, dgain, dshift, dy, saved, p.z, p.gain, N, OUT);
    CHECK(loss_norm, p, z, dz, N * OUT);
    CHECK(loss_norm, p, gain, dgain, OUT);
    CHECK(loss_norm, p, shift, dshift, OUT);
    bp_layer_norm_backward_input(dz2, dy, saved, p.z, p.gain, N, OUT);
    assert_memory_equal(dz, dz2, sizeof dz);

    /* adds; and no component along the directions that normalisation removes */
    bp_layer_norm_backward(dz2, dgain, dshift, dy, saved, p.z, p.gain, N, OUT);
    for (size_t i = 0; i < N; i++) {
        double along_one = 0, along_x = 0;
        for (size_t j = 0; j < OUT; j++) {
            bpt_close(dz2[i * OUT + j], 2 * (double)dz[i * OUT + j], EXACT);
            along_one += (double)dz[i * OUT + j];
            along_x += (double)dz[i * OUT + j] * ((double)p.z[i * OUT + j] - (double)saved[2 * i]);
        }
        assert_true(fabs(along_one) < BPT_TOL(1e-5, 1e-13));
        assert_true(fabs(along_x) < 1e-4); /* exactly 0 were it not for the epsilon in the variance */
    }
}

/* --- the head ------------------------------------------------------------------------------------------------------- */

static void head_values(void **state) {
    (void)state;
    bp_error error;
    const bp_real raw[2 * 2] = {0, BP_R(0.5), 0, -200};
    bp_real mean[2], std[2];
    bp_gaussian_head head = bp_gaussian_head_default();
    bpt_ok(bp_gaussian_head_check(&head, &error), &error);
    bp_gaussian_head_forward(mean, std, raw, 1, 2, &head);
    bpt_close(mean[0], 0, EXACT);
    bpt_close(mean[1], tanh(0.5), EXACT);
    bpt_close(std[0], 0.7 + 0.1, EXACT);
    bpt_close(std[1], 0.1, EXACT);
    assert_true(std[1] >= BP_R(0.1));
    head.tanh_mean = false;
    bp_gaussian_head_forward(mean, std, raw, 1, 2, &head);
    assert_true(mean[1] == BP_R(0.5));

    head.init_std = 0;
    assert_int_equal(bp_gaussian_head_check(&head, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "init_std"));
    head = bp_gaussian_head_default();
    head.min_std = -1;
    assert_int_equal(bp_gaussian_head_check(&head, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "min_std"));
    head.min_std = sqrt(-1.0);
    assert_int_equal(bp_gaussian_head_check(&head, NULL), BP_ERR_ARGUMENT);
    assert_int_equal(bp_gaussian_head_check(NULL, NULL), BP_ERR_ARGUMENT);
}

static double loss_head(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real mean[N * A], std[N * A];
    double sum = 0;
    bp_gaussian_head_forward(mean, std, p->raw, N, A, &p->head);
    for (size_t i = 0; i < N * A; i++)
        sum += (double)p->wmean[i] * sin((double)mean[i]) + (double)p->wstd[i] * sin((double)std[i]);
    return sum;
}

static void head_gradients(void **state) {
    (void)state;
    problem p = make_problem(NULL);
    for (int squash = 0; squash < 2; squash++) {
        bp_real mean[N * A], std[N * A], dmean[N * A], dstd[N * A], draw[N * 2 * A] = {0}, parts[N * 2 * A] = {0};
        p.head.tanh_mean = squash != 0;
        bp_gaussian_head_forward(mean, std, p.raw, N, A, &p.head);
        for (size_t i = 0; i < N * A; i++) {
            dmean[i] = BP_R((double)p.wmean[i] * cos((double)mean[i]));
            dstd[i] = BP_R((double)p.wstd[i] * cos((double)std[i]));
        }
        bp_gaussian_head_backward(draw, dmean, dstd, mean, std, p.raw, N, A, &p.head);
        CHECK(loss_head, p, raw, draw, N * 2 * A);
        bp_gaussian_head_backward(parts, dmean, NULL, mean, std, p.raw, N, A, &p.head);
        bp_gaussian_head_backward(parts, NULL, dstd, mean, std, p.raw, N, A, &p.head);
        assert_memory_equal(draw, parts, sizeof draw);
        bp_gaussian_head_backward(parts, dmean, dstd, mean, std, p.raw, N, A, &p.head);
        for (size_t i = 0; i < N * 2 * A; i++) bpt_close(parts[i], 2 * (double)draw[i], EXACT);
    }
}

/* Far out, the slope of softplus is 0 on one side and 1 on the other, and no exponential overflows on the way. */
static void head_saturates(void **state) {
    (void)state;
    const bp_gaussian_head head = bp_gaussian_head_default();
    const bp_real raw[4] = {50, -50, 1000, -1000}, one[2] = {1, 1};
    bp_real mean[2], std[2], draw[4] = {0, 0, 0, 0};
    bp_gaussian_head_forward(mean, std, raw, 1, 2, &head);
    bp_gaussian_head_backward(draw, one, one, mean, std, raw, 1, 2, &head);
    assert_true(mean[0] == 1 && mean[1] == -1 && draw[0] == 0 && draw[1] == 0);
    bpt_close((double)std[0] / (1000 * 0.7 / log(2.0)), 1, 1e-3);
    bpt_close(draw[2], 0.7 / log(2.0), EXACT);
    assert_true(draw[3] == 0 && std[1] == BP_R(0.1));
}

/* --- initial weights ---------------------------------------------------------------------------------------------------- */

static void init_scaling(void **state) {
    (void)state;
    static bp_real w[100 * 60];
    for (int fan = 0; fan < 2; fan++) {
        bp_rng rng = bp_rng_make(seed, 61);
        const double limit = sqrt(3 * 0.333 / (fan == BP_FAN_IN ? 100 : 60));
        double sum = 0, sum2 = 0, largest = 0;
        bp_init_variance_scaling(w, &rng, 100, 60, 0.333, (bp_fan)fan);
        for (size_t i = 0; i < 6000; i++) {
            sum += (double)w[i];
            sum2 += (double)w[i] * (double)w[i];
            if (fabs((double)w[i]) > largest) largest = fabs((double)w[i]);
        }
        assert_true(largest <= limit * (1 + 1e-6) && largest > 0.99 * limit);
        assert_true(fabs(sum / 6000) < 4.5 * limit / sqrt(3.0 * 6000));
        assert_true(fabs(sum2 / 6000 / (limit * limit / 3) - 1) < 0.06);
    }
    bp_rng rng = bp_rng_make(seed, 62);
    bp_init_variance_scaling(w, &rng, 2, 2, 0, BP_FAN_IN);
    assert_true(w[0] == 0 && w[3] == 0);
}

static void linear_values_each(void **state) {
    (void)state;
    each_kernel(linear_values);
}
static void linear_gradients_each(void **state) {
    (void)state;
    each_kernel(linear_gradients);
}
static void activation_gradients_each(void **state) {
    (void)state;
    each_kernel(activation_gradients);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_values_each),
        cmocka_unit_test(linear_gradients_each),
        cmocka_unit_test(activation_gradients_each),
        cmocka_unit_test(layer_norm_values),
        cmocka_unit_test(layer_norm_gradients),
        cmocka_unit_test(head_values),
        cmocka_unit_test(head_gradients),
        cmocka_unit_test(head_saturates),
        cmocka_unit_test(init_scaling),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
