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

static void layer_norm_values(const bp_compute *c) {
    const problem p = make_problem(c);
    bp_real y[N * OUT], y2[N * OUT], saved[N * 2];
    bp_layer_norm_forward(c, y, saved, p.z, p.gain, p.shift, N, OUT);
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
    bp_layer_norm_eval(c, y2, p.z, p.gain, p.shift, N, OUT);
    assert_memory_equal(y, y2, sizeof y);
    memcpy(y2, p.z, sizeof y2);
    bp_layer_norm_eval(c, y2, y2, p.gain, p.shift, N, OUT); /* in place */
    assert_memory_equal(y, y2, sizeof y);

    /* a constant row gives the shift, a large common offset changes (nearly) nothing, one number is its own mean */
    for (size_t j = 0; j < OUT; j++) y[j] = 3;
    bp_layer_norm_eval(c, y, y, p.gain, p.shift, 1, OUT);
    for (size_t j = 0; j < OUT; j++) bpt_close(y[j], p.shift[j], EXACT);
    for (size_t j = 0; j < OUT; j++) {
        y[j] = BP_R(j);
        y2[j] = BP_R(j) + 4096;
    }
    bp_layer_norm_eval(c, y, y, p.gain, p.shift, 1, OUT);
    bp_layer_norm_eval(c, y2, y2, p.gain, p.shift, 1, OUT);
    for (size_t j = 0; j < OUT; j++) bpt_close(y[j], y2[j], BPT_TOL(2e-3, 1e-11));
    bp_layer_norm_eval(c, y, p.z, p.gain, p.shift, 1, 1);
    assert_true(y[0] == p.shift[0]);
}

static double loss_norm(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real y[N * OUT];
    double sum = 0;
    bp_layer_norm_eval(p->c, y, p->z, p->gain, p->shift, N, OUT);
    for (size_t i = 0; i < N * OUT; i++) sum += (double)p->wy[i] * sin((double)y[i]);
    return sum;
}

static void layer_norm_gradients(const bp_compute *c) {
    problem p = make_problem(c);
    bp_real y[N * OUT], saved[N * 2], dy[N * OUT], dz[N * OUT] = {0}, dz2[N * OUT] = {0}, dgain[OUT] = {0}, dshift[OUT] = {0};
    bp_layer_norm_forward(c, y, saved, p.z, p.gain, p.shift, N, OUT);
    for (size_t i = 0; i < N * OUT; i++) dy[i] = BP_R((double)p.wy[i] * cos((double)y[i]));
    bp_layer_norm_backward(c, dz, dgain, dshift, dy, saved, p.z, p.gain, N, OUT);
    CHECK(loss_norm, p, z, dz, N * OUT);
    CHECK(loss_norm, p, gain, dgain, OUT);
    CHECK(loss_norm, p, shift, dshift, OUT);
    bp_layer_norm_backward_input(c, dz2, dy, saved, p.z, p.gain, N, OUT);
    assert_memory_equal(dz, dz2, sizeof dz);

    /* adds; and no component along the directions that normalisation removes */
    bp_layer_norm_backward(c, dz2, dgain, dshift, dy, saved, p.z, p.gain, N, OUT);
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

/* Every kernel's rows against the plain ones: all widths around a register's, several rows more than are worked on at once, and the
 * tanh that networks have fused to it. */
static void layer_norm_twins(const bp_compute *c) {
    enum { ROWS = 19,
           MOST = 70 };
    static bp_real x[ROWS * MOST], gain[MOST], shift[MOST], dy[ROWS * MOST];
    static bp_real y[2][ROWS * MOST], saved[2][ROWS * 2], dx[2][ROWS * MOST], dgain[2][MOST], dshift[2][MOST];
    bp_rng rng = bp_rng_make(seed, 61);
    bp_compute plain;
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    bpt_ok(bp_compute_init(&plain, BP_KERNEL_REFERENCE, mem, NULL), NULL);
    fill(x, ROWS * MOST, &rng, 2);
    fill(gain, MOST, &rng, 1);
    fill(shift, MOST, &rng, 1);
    fill(dy, ROWS * MOST, &rng, 1);
    for (size_t dim = 1; dim <= MOST; dim++) {
        for (int k = 0; k < 2; k++) {
            const bp_compute *which = k ? c : &plain;
            memset(dx[k], 0, sizeof dx[k]);
            memset(dgain[k], 0, sizeof dgain[k]);
            memset(dshift[k], 0, sizeof dshift[k]);
            bp_layer_norm_forward(which, y[k], saved[k], x, gain, shift, ROWS, dim);
            bp_layer_norm_backward(which, dx[k], dgain[k], dshift[k], dy, saved[k], x, gain, ROWS, dim);
        }
        for (size_t i = 0; i < ROWS * dim; i++) bpt_close(y[1][i], y[0][i], BPT_TOL(1e-5, 1e-13));
        /* rows of one or two numbers have a vanishing variance now and then */
        for (size_t i = 0; dim > 2 && i < ROWS * dim; i++) bpt_close(dx[1][i], dx[0][i], BPT_TOL(1e-3, 1e-11));
        for (size_t i = 0; i < dim; i++) {
            bpt_close(dgain[1][i], dgain[0][i], BPT_TOL(1e-4, 1e-12));
            bpt_close(dshift[1][i], dshift[0][i], BPT_TOL(1e-5, 1e-13));
        }
        for (size_t i = ROWS * dim; i < ROWS * MOST; i++) assert_true(dx[1][i] == 0); /* nothing beyond the last row */
    }
    bp_free(NULL, mem, bp_compute_bytes());
}

/* --- the head ------------------------------------------------------------------------------------------------------- */

static void head_values(const bp_compute *c) {
    bp_error error;
    const bp_real raw[2 * 2] = {0, BP_R(0.5), 0, -200};
    bp_real mean[2], std[2];
    bp_gaussian_head head = bp_gaussian_head_default();
    bpt_ok(bp_gaussian_head_check(&head, &error), &error);
    bp_gaussian_head_forward(c, mean, std, raw, 1, 2, &head);
    bpt_close(mean[0], 0, EXACT);
    bpt_close(mean[1], tanh(0.5), EXACT);
    bpt_close(std[0], 0.7 + 0.1, EXACT);
    bpt_close(std[1], 0.1, EXACT);
    assert_true(std[1] >= BP_R(0.1));
    head.tanh_mean = false;
    bp_gaussian_head_forward(c, mean, std, raw, 1, 2, &head);
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
    bp_gaussian_head_forward(p->c, mean, std, p->raw, N, A, &p->head);
    for (size_t i = 0; i < N * A; i++)
        sum += (double)p->wmean[i] * sin((double)mean[i]) + (double)p->wstd[i] * sin((double)std[i]);
    return sum;
}

static void head_gradients(const bp_compute *c) {
    problem p = make_problem(c);
    for (int squash = 0; squash < 2; squash++) {
        bp_real mean[N * A], std[N * A], dmean[N * A], dstd[N * A], draw[N * 2 * A] = {0}, parts[N * 2 * A] = {0};
        p.head.tanh_mean = squash != 0;
        bp_gaussian_head_forward(c, mean, std, p.raw, N, A, &p.head);
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
static void head_saturates(const bp_compute *c) {
    const bp_gaussian_head head = bp_gaussian_head_default();
    const bp_real raw[4] = {50, -50, 1000, -1000}, one[2] = {1, 1};
    bp_real mean[2], std[2], draw[4] = {0, 0, 0, 0};
    bp_gaussian_head_forward(c, mean, std, raw, 1, 2, &head);
    bp_gaussian_head_backward(draw, one, one, mean, std, raw, 1, 2, &head);
    assert_true(mean[0] == 1 && mean[1] == -1 && draw[0] == 0 && draw[1] == 0);
    bpt_close((double)std[0] / (1000 * 0.7 / log(2.0)), 1, 1e-3);
    bpt_close(draw[2], 0.7 / log(2.0), EXACT);
    assert_true(draw[3] == 0 && std[1] == BP_R(0.1));
}

/* --- the LSTM ------------------------------------------------------------------------------------------------------------ */

/* Data of T steps, B rows and H units, and gradients, all arrays of exactly the promised size, so that a sanitizer sees the
 * first number written beyond. */
typedef struct lstm {
    const bp_compute *c;
    size_t T, B, H, detach;
    bp_real *gates, *w, *state, *reset, *frozen;                       /* frozen [B][2H]: state after burn-in, a constant */
    bp_real *h, *state_out, *saved, *work, *dh;                        /* what the library computes */
    bp_real *dgates, *dw, *dstate;                                     /* its gradients */
    double *weight;                                                    /* makes a scalar of h */
    double *want_h, *want_state, *want_dgates, *want_dw, *want_dstate; /* the reference's */
} lstm;

static void *array(size_t n, size_t size) {
    void *p = malloc((n ? n : 1) * size);
    assert_non_null(p);
    return p;
}

static bp_real *numbers(size_t n) {
    bp_real *p = (bp_real *)array(n, sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = BP_R(sqrt(-1.0)); /* NaN: shows up if read before it is written */
    return p;
}

static void zero(bp_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 0;
}

/* resets: 0 none, 1 some rows in the middle, 2 also at the first step. */
static void lstm_make(lstm *p, const bp_compute *c, size_t T, size_t B, size_t H, int resets, size_t detach) {
    bp_rng rng = bp_rng_make(seed, 63);
    p->c = c;
    p->T = T, p->B = B, p->H = H, p->detach = detach;
    p->gates = numbers(T * B * 4 * H);
    p->w = numbers(H * 4 * H);
    p->state = numbers(B * 2 * H);
    p->frozen = numbers(B * 2 * H);
    p->reset = numbers(T * B);
    p->h = numbers(T * B * H);
    p->state_out = numbers(B * 2 * H);
    p->saved = numbers(bp_lstm_saved_reals(T, B, H));
    p->work = numbers(bp_lstm_work_reals(B, H));
    p->dh = numbers(T * B * H);
    p->dgates = numbers(T * B * 4 * H);
    p->dw = numbers(H * 4 * H);
    p->dstate = numbers(B * 2 * H);
    p->weight = (double *)array(T * B * H, sizeof(double));
    p->want_h = (double *)array(T * B * H, sizeof(double));
    p->want_state = (double *)array(B * 2 * H, sizeof(double));
    p->want_dgates = (double *)array(T * B * 4 * H, sizeof(double));
    p->want_dw = (double *)array(H * 4 * H, sizeof(double));
    p->want_dstate = (double *)array(B * 2 * H, sizeof(double));
    fill(p->gates, T * B * 4 * H, &rng, 1);
    fill(p->w, H * 4 * H, &rng, 1 / sqrt((double)H));
    fill(p->state, B * 2 * H, &rng, 0.7);
    zero(p->reset, T * B);
    for (size_t t = resets == 2 ? 0 : 1; resets && t < T; t++)
        for (size_t row = 0; row < B; row++)
            if ((3 * t + row) % 5 == 0) p->reset[t * B + row] = 1;
    for (size_t i = 0; i < T * B * H; i++) p->weight[i] = (double)bp_rng_normal(&rng);
}

static void lstm_destroy(lstm *p) {
    bp_real *reals[] = {p->gates, p->w, p->state, p->frozen, p->reset, p->h, p->state_out, p->saved, p->work, p->dh, p->dgates,
                        p->dw, p->dstate};
    double *doubles[] = {p->weight, p->want_h, p->want_state, p->want_dgates, p->want_dw, p->want_dstate};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) free(reals[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) free(doubles[i]);
}

static double logistic(double z) { return 1 / (1 + exp(-z)); }

/* The readable reference: one row after the other, forward and back, number by number, from the definition. */
static void lstm_reference(lstm *p) {
    const size_t T = p->T, B = p->B, H = p->H;
    /* [T] of: value of the four gates, c, and the state before */
    double *a = (double *)array(T * 4 * H, sizeof *a), *cell = (double *)array(T * H, sizeof *cell);
    double *h0 = (double *)array(T * H, sizeof *h0), *c0 = (double *)array(T * H, sizeof *c0);
    double *dh = (double *)array(H, sizeof *dh), *dc = (double *)array(H, sizeof *dc), *dz = (double *)array(4 * H, sizeof *dz);
    for (size_t i = 0; i < T * B * 4 * H; i++) p->want_dgates[i] = 0;
    for (size_t i = 0; i < H * 4 * H; i++) p->want_dw[i] = 0;
    for (size_t row = 0; row < B; row++) {
        double *h = p->want_state + row * 2 * H, *c = h + H;
        for (size_t k = 0; k < 2 * H; k++) h[k] = (double)p->state[row * 2 * H + k];
        for (size_t t = 0; t < T; t++) {
            for (size_t k = 0; k < H; k++) {
                h0[t * H + k] = p->reset[t * B + row] != 0 ? 0 : h[k];
                c0[t * H + k] = p->reset[t * B + row] != 0 ? 0 : c[k];
            }
            for (size_t j = 0; j < 4 * H; j++) {
                double z = (double)p->gates[(t * B + row) * 4 * H + j];
                for (size_t k = 0; k < H; k++) z += h0[t * H + k] * (double)p->w[k * 4 * H + j];
                a[t * 4 * H + j] = j / H == 2 ? tanh(z) : logistic(z);
            }
            for (size_t k = 0; k < H; k++) {
                const double *at = a + t * 4 * H;
                c[k] = at[H + k] * c0[t * H + k] + at[k] * at[2 * H + k];
                h[k] = at[3 * H + k] * tanh(c[k]);
                cell[t * H + k] = c[k];
                p->want_h[(t * B + row) * H + k] = h[k];
            }
        }
        for (size_t k = 0; k < H; k++) dh[k] = dc[k] = 0;
        for (size_t t = T; t-- > p->detach;) {
            const double *at = a + t * 4 * H;
            for (size_t k = 0; k < H; k++) {
                const size_t out = (t * B + row) * H + k;
                const double m = tanh(cell[t * H + k]);
                dh[k] += p->weight[out] * cos(p->want_h[out]);
                dc[k] += dh[k] * at[3 * H + k] * (1 - m * m);
                dz[k] = dc[k] * at[2 * H + k] * at[k] * (1 - at[k]);
                dz[H + k] = dc[k] * c0[t * H + k] * at[H + k] * (1 - at[H + k]);
                dz[2 * H + k] = dc[k] * at[k] * (1 - at[2 * H + k] * at[2 * H + k]);
                dz[3 * H + k] = dh[k] * m * at[3 * H + k] * (1 - at[3 * H + k]);
                dc[k] *= at[H + k];
                if (p->reset[t * B + row] != 0) dc[k] = 0;
            }
            for (size_t k = 0; k < H; k++) {
                dh[k] = 0;
                for (size_t j = 0; j < 4 * H; j++) {
                    if (p->reset[t * B + row] == 0) dh[k] += dz[j] * (double)p->w[k * 4 * H + j];
                    p->want_dw[k * 4 * H + j] += h0[t * H + k] * dz[j];
                }
            }
            for (size_t j = 0; j < 4 * H; j++) p->want_dgates[(t * B + row) * 4 * H + j] = dz[j];
        }
        for (size_t k = 0; k < H; k++) {
            p->want_dstate[row * 2 * H + k] = p->detach ? 0 : dh[k];
            p->want_dstate[row * 2 * H + H + k] = p->detach ? 0 : dc[k];
        }
    }
    free(a), free(cell), free(h0), free(c0), free(dh), free(dc), free(dz);
}

/* The loss of the steps from `detach` on: sum of weight sin(h). Burn-in ends in `frozen`, which does not move. */
static double loss_lstm(void *ctx) {
    lstm *p = (lstm *)ctx;
    const size_t B = p->B, H = p->H, at = p->detach * B;
    double sum = 0;
    bp_lstm_eval(p->c, p->h + at * H, NULL, p->work, p->gates + at * 4 * H, p->detach ? p->frozen : p->state, p->reset + at, p->w,
                 p->T - p->detach, B, H);
    for (size_t i = at * H; i < p->T * B * H; i++) sum += p->weight[i] * sin((double)p->h[i]);
    return sum;
}

/* Forward and backward; dh of the burn-in is left NaN, since nobody should read it. */
static void lstm_backward(lstm *p) {
    const size_t T = p->T, B = p->B, H = p->H;
    bp_lstm_eval(p->c, p->h, p->frozen, p->work, p->gates, p->state, p->reset, p->w, p->detach, B, H);
    bp_lstm_forward(p->c, p->h, p->saved, p->work, p->gates, p->state, p->reset, p->w, T, B, H);
    for (size_t i = p->detach * B * H; i < T * B * H; i++) p->dh[i] = BP_R(p->weight[i] * cos((double)p->h[i]));
    zero(p->dgates, T * B * 4 * H);
    zero(p->dw, H * 4 * H);
    zero(p->dstate, B * 2 * H);
    bp_lstm_backward(p->c, p->dgates, p->dw, p->dstate, p->work, p->dh, p->saved, p->reset, p->w, p->detach, T, B, H);
}

static double lstm_worst[2]; /* of values, of gradients; against the reference, for the log */

static void lstm_compare(const bp_real *got, const double *want, size_t n, double tol, double *worst) {
    for (size_t i = 0; i < n; i++) {
        const double scale = fmax(1, fabs(want[i]));
        *worst = fmax(*worst, fabs((double)got[i] - want[i]) / scale);
        bpt_close(got[i], want[i], tol);
    }
}

/* Sizes around the groups of eight units, around registers, and around the rows that backward collects. */
/* clang-format off */
static const size_t lstm_sizes[][3] = {{1, 1, 1}, {6, 3, 5}, {4, 2, 8}, {5, 3, 9}, {3, 5, 20}, {3, 2, 37}, {150, 1, 3}, {70, 3, 4},
    {3, 70, 9}};
/* clang-format on */
#define LSTM_SIZES (sizeof lstm_sizes / sizeof lstm_sizes[0])

static void lstm_values(const bp_compute *c) {
    for (size_t s = 0; s < LSTM_SIZES; s++)
        for (int resets = 0; resets <= 2; resets++)
            for (size_t detach = 0; detach < 3; detach += 2) {
                const size_t T = lstm_sizes[s][0], B = lstm_sizes[s][1], H = lstm_sizes[s][2];
                lstm p;
                if (detach > T) continue;
                lstm_make(&p, c, T, B, H, resets, detach);
                lstm_reference(&p);
                lstm_backward(&p);
                lstm_compare(p.h, p.want_h, T * B * H, EXACT, &lstm_worst[0]);
                lstm_compare(p.dgates, p.want_dgates, T * B * 4 * H, BPT_TOL(1e-5, 1e-13), &lstm_worst[1]);
                lstm_compare(p.dw, p.want_dw, H * 4 * H, BPT_TOL(1e-5, 1e-13), &lstm_worst[1]);
                lstm_compare(p.dstate, p.want_dstate, B * 2 * H, BPT_TOL(1e-5, 1e-13), &lstm_worst[1]);

                /* eval: the same bits, and the last state; also onto the state itself, and without being asked for it */
                bp_real *h = numbers(T * B * H);
                bp_lstm_eval(c, h, p.state_out, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
                assert_memory_equal(h, p.h, T * B * H * sizeof *h);
                lstm_compare(p.state_out, p.want_state, B * 2 * H, EXACT, &lstm_worst[0]);
                bp_lstm_eval(c, h, NULL, p.work, p.gates, p.state, resets ? p.reset : NULL, p.w, T, B, H);
                assert_memory_equal(h, p.h, T * B * H * sizeof *h);
                bp_lstm_eval(c, h, p.state, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
                assert_memory_equal(h, p.h, T * B * H * sizeof *h);
                assert_memory_equal(p.state, p.state_out, B * 2 * H * sizeof *h);
                free(h);
                lstm_destroy(&p);
            }
}

static void lstm_gradients(const bp_compute *c) {
    for (int resets = 0; resets <= 2; resets++)
        for (size_t detach = 0; detach < 3; detach++) {
            const size_t T = 6, B = 3, H = 9;
            lstm p;
            lstm_make(&p, c, T, B, H, resets, detach);
            lstm_backward(&p);
            const size_t at = detach * B * 4 * H;
            bpt_check_gradient_at(loss_lstm, &p, p.gates + at, p.dgates + at, T * B * 4 * H - at, STEP, TOL, "lstm by gates",
                                  __FILE__, __LINE__);
            bpt_check_gradient_at(loss_lstm, &p, p.w, p.dw, H * 4 * H, STEP, TOL, "lstm by w", __FILE__, __LINE__);
            for (size_t i = 0; i < at; i++) assert_true(p.dgates[i] == 0);
            if (detach) {
                for (size_t i = 0; i < B * 2 * H; i++) assert_true(p.dstate[i] == 0);
            } else {
                bpt_check_gradient_at(loss_lstm, &p, p.state, p.dstate, B * 2 * H, STEP, TOL, "lstm by state", __FILE__, __LINE__);
                for (size_t row = 0; row < B; row++)
                    for (size_t i = 0; i < 2 * H; i++) assert_true((p.dstate[row * 2 * H + i] == 0) == (p.reset[row] != 0));
            }
            lstm_destroy(&p);
        }
}

/* Backward adds; each output can be left out; old numbers in work and in `saved` do not matter; detach >= T does nothing. */
static void lstm_contract(const bp_compute *c) {
    for (size_t detach = 0; detach < 2; detach++) {
        const size_t T = 5, B = 3, H = 9, G = T * B * 4 * H, W = H * 4 * H, S = B * 2 * H;
        lstm p;
        lstm_make(&p, c, T, B, H, 1, detach);
        lstm_backward(&p);
        bp_real *dgates = numbers(G), *dw = numbers(W), *dstate = numbers(S), *h = numbers(T * B * H);
        for (int pass = 0; pass < 2; pass++) { /* work holds numbers, then NaN */
            const size_t n = bp_lstm_work_reals(B, H);
            for (size_t i = 0; pass && i < n; i++) p.work[i] = BP_R(sqrt(-1.0));
            zero(dgates, G), zero(dw, W), zero(dstate, S);
            bp_lstm_backward(c, dgates, NULL, NULL, p.work, p.dh, p.saved, p.reset, p.w, detach, T, B, H);
            bp_lstm_backward(c, NULL, dw, NULL, p.work, p.dh, p.saved, p.reset, p.w, detach, T, B, H);
            bp_lstm_backward(c, NULL, NULL, dstate, p.work, p.dh, p.saved, p.reset, p.w, detach, T, B, H);
            assert_memory_equal(dgates, p.dgates, G * sizeof *dgates);
            assert_memory_equal(dw, p.dw, W * sizeof *dw);
            assert_memory_equal(dstate, p.dstate, S * sizeof *dstate);
            for (size_t i = 0; i < n; i++) p.work[i] = pass ? BP_R(sqrt(-1.0)) : BP_R(1e3);
            bp_lstm_forward(c, h, p.saved, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
            assert_memory_equal(h, p.h, T * B * H * sizeof *h);
            for (size_t i = 0; i < n; i++) p.work[i] = pass ? BP_R(sqrt(-1.0)) : BP_R(1e3);
            bp_lstm_eval(c, h, NULL, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
            assert_memory_equal(h, p.h, T * B * H * sizeof *h);
        }
        bp_lstm_backward(c, dgates, dw, dstate, p.work, p.dh, p.saved, p.reset, p.w, detach, T, B, H);
        for (size_t i = 0; i < G; i++) bpt_close(dgates[i], 2 * (double)p.dgates[i], EXACT);
        for (size_t i = 0; i < W; i++) bpt_close(dw[i], 2 * (double)p.dw[i], BPT_TOL(1e-5, 1e-13));
        for (size_t i = 0; i < S; i++) bpt_close(dstate[i], 2 * (double)p.dstate[i], EXACT);
        for (size_t late = T; late <= T + 1; late++) {
            zero(dgates, G), zero(dw, W), zero(dstate, S);
            bp_lstm_backward(c, dgates, dw, dstate, p.work, p.dh, p.saved, p.reset, p.w, late, T, B, H);
            for (size_t i = 0; i < G; i++) assert_true(dgates[i] == 0);
            for (size_t i = 0; i < W; i++) assert_true(dw[i] == 0);
            for (size_t i = 0; i < S; i++) assert_true(dstate[i] == 0);
        }
        free(dgates), free(dw), free(dstate), free(h);
        lstm_destroy(&p);
    }
}

/* T steps are T times one step with the state handed on, and a reset is a start from zeros, both to the bit. */
static void lstm_pieces(const bp_compute *c) {
    const size_t T = 6, B = 3, H = 9;
    lstm p;
    lstm_make(&p, c, T, B, H, 1, 0);
    bp_real *h = numbers(T * B * H), *carried = numbers(B * 2 * H);
    bp_lstm_eval(c, p.h, p.state_out, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
    memcpy(carried, p.state, B * 2 * H * sizeof *carried);
    for (size_t t = 0; t < T; t++)
        bp_lstm_eval(c, h + t * B * H, carried, p.work, p.gates + t * B * 4 * H, carried, p.reset + t * B, p.w, 1, B, H);
    assert_memory_equal(h, p.h, T * B * H * sizeof *h);
    assert_memory_equal(carried, p.state_out, B * 2 * H * sizeof *h);

    /* everybody starts at step 2, after a state that is no number */
    zero(p.reset, T * B);
    for (size_t row = 0; row < B; row++) p.reset[2 * B + row] = BP_R(-0.5);
    for (size_t i = 0; i < B * 2 * H; i++) p.state[i] = BP_R(sqrt(-1.0));
    bp_lstm_eval(c, p.h, p.state_out, p.work, p.gates, p.state, p.reset, p.w, T, B, H);
    bp_lstm_eval(c, h, carried, p.work, p.gates + 2 * B * 4 * H, NULL, NULL, p.w, T - 2, B, H);
    assert_memory_equal(h, p.h + 2 * B * H, (T - 2) * B * H * sizeof *h);
    assert_memory_equal(carried, p.state_out, B * 2 * H * sizeof *h);
    assert_true(!(p.h[0] == p.h[0]));
    for (size_t i = 0; i < (T - 2) * B * H; i++) assert_true(h[i] == h[i]);

    /* no steps, no rows */
    bp_lstm_eval(c, h, p.state_out, p.work, p.gates, carried, NULL, p.w, 0, B, H);
    assert_memory_equal(carried, p.state_out, B * 2 * H * sizeof *h);
    bp_lstm_eval(c, h, p.state_out, p.work, p.gates, NULL, p.reset, p.w, 0, B, H);
    for (size_t i = 0; i < B * 2 * H; i++) assert_true(p.state_out[i] == 0);
    bp_lstm_forward(c, h, p.saved, p.work, p.gates, p.state, p.reset, p.w, T, 0, H);
    bp_lstm_backward(c, p.dgates, p.dw, p.dstate, p.work, p.dh, p.saved, p.reset, p.w, 0, 0, B, H);
    free(h), free(carried);
    lstm_destroy(&p);
}

/* Gates that are wide open or shut: nothing overflows, memory is kept or lost exactly, and derivatives are 0, not NaN. */
static void lstm_saturates(const bp_compute *c) {
    const size_t T = 3, B = 2, H = 2;
    lstm p;
    lstm_make(&p, c, T, B, H, 0, 0);
    zero(p.w, H * 4 * H);
    for (size_t i = 0; i < T * B * 4 * H; i++) {
        const size_t gate = i / H % 4, row = i / (4 * H) % B;
        const double open = row ? -1e4 : 1e4; /* row 0 keeps, row 1 forgets; nothing new comes in; all is shown */
        p.gates[i] = BP_R(gate == 1 ? open : gate == 3 ? 1e4
                                                       : -1e4);
    }
    lstm_backward(&p);
    for (size_t t = 0; t < T; t++)
        for (size_t k = 0; k < H; k++) {
            bpt_close(p.h[t * B * H + k], tanh((double)p.state[H + k]), EXACT);
            assert_true(p.h[(t * B + 1) * H + k] == 0);
        }
    for (size_t i = 0; i < T * B * 4 * H; i++) assert_true(p.dgates[i] == 0);
    for (size_t k = 0; k < H; k++) {
        assert_true(p.dstate[k] == 0 && p.dstate[H + k] != 0);
        assert_true(p.dstate[2 * H + k] == 0 && p.dstate[2 * H + H + k] == 0);
    }
    lstm_destroy(&p);
}

static void lstm_sizes_overflow(void **state) {
    (void)state;
    const size_t huge = SIZE_MAX / 16;
    assert_int_equal(bp_lstm_saved_reals(5, 3, 9), 7 * 5 * 3 * 9);
    assert_true(bp_lstm_saved_reals(huge, 3, 9) == SIZE_MAX && bp_lstm_saved_reals(3, huge, 9) == SIZE_MAX);
    assert_true(bp_lstm_saved_reals(1, 1, SIZE_MAX / 7 / sizeof(bp_real) + 1) == SIZE_MAX);
    assert_true(bp_lstm_saved_reals(1, 1, SIZE_MAX / 7 / sizeof(bp_real)) == SIZE_MAX / 7 / sizeof(bp_real) * 7);
    assert_true(bp_lstm_work_reals(huge, 9) == SIZE_MAX && bp_lstm_work_reals(3, huge) == SIZE_MAX);
    assert_int_equal(bp_lstm_work_reals(1000, 9), 7 * 1000 * 9 + bp_compute_keep_reals(9, 36)); /* w rearranged, too */
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

static void layer_norm_values_each(void **state) {
    (void)state;
    each_kernel(layer_norm_values);
}

static void layer_norm_gradients_each(void **state) {
    (void)state;
    each_kernel(layer_norm_gradients);
}

static void layer_norm_twins_each(void **state) {
    (void)state;
    each_kernel(layer_norm_twins);
}

static void head_values_each(void **state) {
    (void)state;
    each_kernel(head_values);
}

static void head_gradients_each(void **state) {
    (void)state;
    each_kernel(head_gradients);
}

static void head_saturates_each(void **state) {
    (void)state;
    each_kernel(head_saturates);
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
static void lstm_values_each(void **state) {
    (void)state;
    each_kernel(lstm_values);
    print_message("worst differences from the reference: values %.2g, gradients %.2g\n", lstm_worst[0], lstm_worst[1]);
}
static void lstm_gradients_each(void **state) {
    (void)state;
    each_kernel(lstm_gradients);
}
static void lstm_contract_each(void **state) {
    (void)state;
    each_kernel(lstm_contract);
}
static void lstm_pieces_each(void **state) {
    (void)state;
    each_kernel(lstm_pieces);
}
static void lstm_saturates_each(void **state) {
    (void)state;
    each_kernel(lstm_saturates);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_values_each),
        cmocka_unit_test(linear_gradients_each),
        cmocka_unit_test(activation_gradients_each),
        cmocka_unit_test(layer_norm_values_each),
        cmocka_unit_test(layer_norm_gradients_each),
        cmocka_unit_test(layer_norm_twins_each),
        cmocka_unit_test(head_values_each),
        cmocka_unit_test(head_gradients_each),
        cmocka_unit_test(head_saturates_each),
        cmocka_unit_test(lstm_values_each),
        cmocka_unit_test(lstm_gradients_each),
        cmocka_unit_test(lstm_contract_each),
        cmocka_unit_test(lstm_pieces_each),
        cmocka_unit_test(lstm_saturates_each),
        cmocka_unit_test(lstm_sizes_overflow),
        cmocka_unit_test(init_scaling),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
