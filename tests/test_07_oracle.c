/* The LSTM and recurrent networks (E35) against torch.nn.LSTM (tests/oracle/README.md).
 *
 * Each file holds inputs, parameters, resets, and what PyTorch in double precision makes of them: outputs, last state, loss,
 * and autograd's derivative by everything. Here it is computed again, under every kernel: by the layer (chapter 6) from the
 * file's gates, and by the network (chapter 7) from the file's inputs.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/oracle/"
#endif

#define TOL BPT_TOL(5e-6, 1e-12) /* |a - b| against the larger of 1, |a|, |b| */

static bp_safetensors *file;
static const char *case_name;
static double worst;

/* ---- the file ----------------------------------------------------------------------------------- */

static bool has(const char *name) { return bp_safetensors_find(file, name) != NULL; }

/* An array of the file with n numbers; NULL if n is 0. free() it. */
static bp_real *read_real(const char *name, size_t n) {
    bp_error error;
    bp_real *out = n ? (bp_real *)malloc(n * sizeof *out) : NULL;
    if (!n) return NULL;
    assert_non_null(out);
    bpt_ok(bp_safetensors_read_real(file, name, out, n, &error), &error);
    return out;
}

static double *read_double(const char *name, size_t n) {
    bp_error error;
    double *out = (double *)malloc(n * sizeof *out);
    assert_non_null(out);
    bpt_ok(bp_safetensors_read_double(file, name, out, n, &error), &error);
    return out;
}

static double number(const char *name) {
    double *p = read_double(name, 1), x = p[0];
    free(p);
    return x;
}

static size_t config(const char *name) {
    char path[BP_TENSOR_NAME];
    snprintf(path, sizeof path, "config/%s", name);
    return (size_t)number(path);
}

static void compare_with(const bp_real *got, const double *want, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        const double g = (double)got[i];
        worst = fmax(worst, fabs(g - want[i]) / fmax(1, fmax(fabs(g), fabs(want[i]))));
        if (bpt_is_close(g, want[i], TOL)) continue;
        print_error("%s: %s[%lu] is %.17g, the oracle says %.17g\n", case_name, name, (unsigned long)i, g, want[i]);
        fail();
    }
}

static void compare(const bp_real *got, const char *name, size_t n) {
    if (n == 0) return;
    double *want = read_double(name, n);
    compare_with(got, want, n, name);
    free(want);
}

/* A gradient array of zeros, to be added to; free() it. */
static bp_real *zeros(size_t n) {
    bp_real *out = (bp_real *)calloc(n ? n : 1, sizeof *out);
    assert_non_null(out);
    return out;
}

/* ---- one case ----------------------------------------------------------------------------------- */

typedef struct problem {
    size_t T, B, H, detach, input, extra;
    bp_rnn rnn;
    bp_real *params, *x, *u, *state, *reset;
    double *weight; /* loss: the sum of weight * sin(h) over the steps from detach on */
} problem;

/* The four tensors of torch.nn.LSTM as parameters of a bp_rnn without hidden layers, or their gradients: PyTorch's matrices
 * are [4H][in]. Of its two biases there is only the sum; its derivative is that of each. */
static void from_pytorch(double *out, const problem *p, const char *prefix, bool gradient) {
    const size_t G = 4 * p->H, I = p->input, H = p->H;
    const char *names[4] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"};
    const size_t count[4] = {G * I, G * H, G, G};
    double *t[4];
    for (size_t k = 0; k < 4; k++) {
        char path[BP_TENSOR_NAME];
        snprintf(path, sizeof path, "%s%s", prefix, names[k]);
        t[k] = read_double(path, count[k]);
    }
    for (size_t j = 0; j < G; j++) {
        for (size_t i = 0; i < I; i++) out[p->rnn.torso.layer[0].w + i * G + j] = t[0][j * I + i];
        for (size_t i = 0; i < H; i++) out[p->rnn.w + i * G + j] = t[1][j * H + i];
        if (gradient) assert_true(fabs(t[2][j] - t[3][j]) < 1e-13);
        out[p->rnn.torso.layer[0].b + j] = t[2][j] + (gradient ? 0 : t[3][j]);
    }
    for (size_t k = 0; k < 4; k++) free(t[k]);
}

static void load(problem *p) {
    bp_error error;
    p->T = config("T"), p->B = config("B"), p->H = config("H");
    p->detach = config("detach"), p->input = config("input"), p->extra = config("extra");
    bp_mlp_config torso = bp_mlp_config_default(p->input, 1);
    torso.extra = p->extra;
    double *width = read_double("config/width", bp_safetensors_find(file, "config/width")->count);
    torso.hidden_layers = (size_t)width[0];
    for (size_t l = 0; l < torso.hidden_layers; l++) torso.width[l] = (size_t)width[l + 1];
    free(width);
    bpt_ok(bp_rnn_init(&p->rnn, &torso, p->H, &error), &error);
    const size_t rows = p->T * p->B, P = p->rnn.n_params;
    p->x = read_real("x", rows * p->input);
    p->u = read_real("u", rows * p->extra);
    p->state = read_real("state", p->B * 2 * p->H);
    p->reset = read_real("reset", rows);
    p->weight = read_double("weight", rows * p->H);
    if (has("params")) {
        p->params = read_real("params", P);
    } else {
        double *params = (double *)malloc(P * sizeof *params);
        assert_non_null(params);
        from_pytorch(params, p, "", false);
        p->params = zeros(P);
        for (size_t i = 0; i < P; i++) p->params[i] = BP_R(params[i]);
        free(params);
    }
}

static void destroy(problem *p) { free(p->params), free(p->x), free(p->u), free(p->state), free(p->reset), free(p->weight); }

/* The loss, and dh its derivative by h; NaN for the steps of the burn-in, which nobody should read. */
static void loss(bp_real *dh, const bp_real *h, const problem *p) {
    const double want = number("out/loss");
    double sum = 0;
    for (size_t i = 0; i < p->T * p->B * p->H; i++) {
        const bool counts = i >= p->detach * p->B * p->H;
        if (counts) sum += p->weight[i] * sin((double)h[i]);
        dh[i] = BP_R(counts ? p->weight[i] * cos((double)h[i]) : sqrt(-1.0));
    }
    worst = fmax(worst, fabs(sum - want) / fmax(1, fabs(want)));
    bpt_close(sum, want, TOL);
}

/* Chapter 6: from the file's gates. */
static void check_layer(const bp_compute *c, const problem *p) {
    const size_t T = p->T, B = p->B, H = p->H, G = T * B * 4 * H, W = H * 4 * H, S = B * 2 * H, n = T * B * H;
    const bp_real *w = p->params + p->rnn.w;
    bp_real *gates = read_real("out/gates", G), *h = zeros(n), *dh = zeros(n), *state = zeros(S);
    bp_real *saved = zeros(bp_lstm_saved_reals(T, B, H)), *work = zeros(bp_lstm_work_reals(B, H));
    bp_real *dgates = zeros(G), *dw = zeros(W), *dstate = zeros(S);
    bp_lstm_eval(c, h, state, work, gates, p->state, p->reset, w, T, B, H);
    compare(h, "out/h", n);
    compare(state, "out/state", S);
    bp_lstm_forward(c, h, saved, work, gates, p->state, p->reset, w, T, B, H);
    compare(h, "out/h", n);
    loss(dh, h, p);
    bp_lstm_backward(c, dgates, dw, dstate, work, dh, saved, p->reset, w, p->detach, T, B, H);
    compare(dgates, "grad/gates", G);
    compare(dstate, "grad/state", S);
    double *want = read_double("grad/params", p->rnn.n_params);
    compare_with(dw, want + p->rnn.w, W, "grad/params, from h/w on,");
    free(want), free(gates), free(h), free(dh), free(state), free(saved), free(work), free(dgates), free(dw), free(dstate);
}

/* Chapter 7: from the file's inputs. */
static void check_network(const bp_compute *c, const problem *p) {
    const size_t T = p->T, B = p->B, H = p->H, P = p->rnn.n_params, S = B * 2 * H, n = T * B * H, X = T * B * p->input;
    const size_t U = T * B * p->extra;
    bp_real *h = zeros(n), *dh = zeros(n), *state = zeros(S), *dparams = zeros(P), *dx = zeros(X), *du = zeros(U);
    bp_real *saved = zeros(bp_rnn_saved_reals(&p->rnn, T, B)), *work = zeros(bp_rnn_work_reals(&p->rnn, T, B));
    bp_rnn_eval(c, h, state, work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    compare(h, "out/h", n);
    compare(state, "out/state", S);
    bp_rnn_forward(c, h, saved, work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    compare(h, "out/h", n);
    loss(dh, h, p);
    bp_rnn_backward(c, dparams, dx, U ? du : NULL, saved, work, dh, p->x, p->u, p->reset, p->params, &p->rnn, p->detach, T, B);
    compare(dx, "grad/x", X);
    compare(du, "grad/u", U);
    if (has("grad/params")) {
        compare(dparams, "grad/params", P);
    } else {
        double *want = (double *)malloc(P * sizeof *want);
        assert_non_null(want);
        from_pytorch(want, p, "grad/", true);
        compare_with(dparams, want, P, "gradient of PyTorch's parameters, transposed,");
        free(want);
    }
    free(h), free(dh), free(state), free(saved), free(work), free(dparams), free(dx), free(du);
}

static void run_case(const char *name) {
    bp_error error;
    problem p;
    char path[256];
    size_t ran = 0;
    case_name = name, worst = 0;
    snprintf(path, sizeof path, "%slstm_%s.safetensors", TEST_DATA, name);
    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    load(&p);
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    assert_non_null(mem);
    for (int k = (int)BP_KERNEL_REFERENCE; k <= (int)BP_KERNEL_CBLAS; k++) {
        bp_compute c;
        if (bp_compute_init(&c, (bp_kernel)k, mem, NULL) != BP_OK) continue;
        if (has("out/gates")) check_layer(&c, &p);
        check_network(&c, &p);
        ran++;
    }
    assert_true(ran >= 1);
    print_message("%s: worst difference %.2g, %lu kernels\n", name, worst, (unsigned long)ran);
    bp_free(NULL, mem, bp_compute_bytes());
    destroy(&p);
    bp_safetensors_close(file);
    file = NULL;
}

#define CASES(X) X(pytorch) X(pytorch_burn_in) X(affine) X(torso) X(torso_burn_in) X(torso_one_episode) X(one_step)

#define DEFINE(name)                        \
    static void test_##name(void **state) { \
        (void)state;                        \
        run_case(#name);                    \
    }
CASES(DEFINE)

int main(void) {
#define ENTRY(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {CASES(ENTRY)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
