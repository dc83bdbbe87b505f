/* Chapter 7: networks (E35). A readable network in double precision on the concatenation [x,u] is the oracle of the values,
 * central differences are the oracle of the gradients; both for every kernel of this machine and for all shapes of network. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define STEP BPT_TOL(1e-2, 1e-4)
#define TOL BPT_TOL(1e-3, 1e-7)
#define EXACT BPT_TOL(1e-5, 1e-12)
#define MARGIN BPT_TOL(0.0, 2e-3) /* how far pre-activations stay from the kink of ELU and ReLU */

static uint64_t seed = 1;

/* A network with data and gradients, all arrays of exactly the promised size, so that a sanitizer sees the first number
 * written beyond. */
typedef struct problem {
    const bp_compute *c;
    bp_mlp mlp;
    size_t n, s;
    bp_real *params, *x, *u, *out, *saved, *work, *dout, *dparams, *dx, *du;
    double *weight;
} problem;

static bp_real *numbers(size_t n) {
    bp_real *p = (bp_real *)malloc((n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = BP_R(sqrt(-1.0)); /* NaN: shows up if read before it is written */
    return p;
}

static void zero(bp_real *x, size_t n) { memset(x, 0, (n ? n : 1) * sizeof *x); }

/* The readable reference: one row through the network, [x,u] concatenated. Returns the smallest |input| of an
 * activation with a kink. */
static double reference_row(double *out, const problem *p, size_t row) {
    const bp_mlp_config *config = &p->mlp.config;
    double h[64], z[64], closest = HUGE_VAL;
    for (size_t i = 0; i < config->input; i++) h[i] = (double)p->x[row / p->s * config->input + i];
    for (size_t i = 0; i < config->extra; i++) h[config->input + i] = (double)p->u[row * config->extra + i];
    for (size_t l = 0; l < p->mlp.n_layers; l++) {
        const bp_mlp_layer *layer = &p->mlp.layer[l];
        for (size_t j = 0; j < layer->out; j++) {
            z[j] = (double)p->params[layer->b + j];
            for (size_t k = 0; k < layer->in; k++) z[j] += h[k] * (double)p->params[layer->w + k * layer->out + j];
        }
        bp_activation act = config->activation;
        if (l + 1 == p->mlp.n_layers) {
            act = BP_ACT_NONE;
        } else if (l == 0 && config->layer_norm) {
            double mean = 0, var = 0;
            for (size_t j = 0; j < layer->out; j++) mean += z[j] / (double)layer->out;
            for (size_t j = 0; j < layer->out; j++) var += (z[j] - mean) * (z[j] - mean) / (double)layer->out;
            for (size_t j = 0; j < layer->out; j++)
                z[j] = (double)p->params[layer->gain + j] * (z[j] - mean) / sqrt(var + 1e-5) +
                       (double)p->params[layer->shift + j];
            act = BP_ACT_TANH;
        }
        for (size_t j = 0; j < layer->out; j++) {
            if ((act == BP_ACT_RELU || act == BP_ACT_ELU) && fabs(z[j]) < closest) closest = fabs(z[j]);
            switch (act) {
            case BP_ACT_TANH: h[j] = tanh(z[j]); break;
            case BP_ACT_ELU: h[j] = z[j] > 0 ? z[j] : expm1(z[j]); break;
            case BP_ACT_RELU: h[j] = z[j] > 0 ? z[j] : 0; break;
            case BP_ACT_SOFTPLUS: h[j] = log1p(exp(z[j])); break;
            case BP_ACT_NONE:
            default: h[j] = z[j]; break;
            }
        }
    }
    memcpy(out, h, config->output * sizeof *out);
    return closest;
}

static void destroy(problem *p) {
    free(p->params);
    free(p->x);
    free(p->u);
    free(p->out);
    free(p->saved);
    free(p->work);
    free(p->dout);
    free(p->dparams);
    free(p->dx);
    free(p->du);
    free(p->weight);
}

/* Draws parameters and data until no pre-activation is within `margin` of a kink, where differences would be wrong. */
static void make(problem *p, const bp_compute *c, const bp_mlp_config *config, size_t n, size_t s, double margin) {
    bp_error error;
    bp_rng rng = bp_rng_make(seed, 70);
    const size_t rows = n * s;
    p->c = c;
    p->n = n;
    p->s = s;
    bpt_ok(bp_mlp_init(&p->mlp, config, &error), &error);
    p->params = numbers(p->mlp.n_params);
    p->dparams = numbers(p->mlp.n_params);
    p->x = numbers(n * config->input);
    p->dx = numbers(n * config->input);
    p->u = numbers(rows * config->extra);
    p->du = numbers(rows * config->extra);
    p->out = numbers(rows * config->output);
    p->dout = numbers(rows * config->output);
    p->saved = numbers(bp_mlp_saved_reals(&p->mlp, n, s));
    p->work = numbers(bp_mlp_work_reals(&p->mlp, n, s));
    p->weight = (double *)malloc(rows * config->output * sizeof(double));
    assert_non_null(p->weight);
    for (size_t i = 0; i < rows * config->output; i++) p->weight[i] = (double)bp_rng_normal(&rng);
    for (int attempt = 0; attempt < 1000; attempt++) {
        double closest = HUGE_VAL, out[64];
        bp_rng_normals(p->x, &rng, n * config->input);
        bp_rng_normals(p->u, &rng, rows * config->extra);
        bp_mlp_init_params(p->params, &p->mlp, &rng);
        for (size_t i = 0; i < p->mlp.n_params; i++) p->params[i] += BP_R(0.3 * (double)bp_rng_normal(&rng));
        if (!(margin > 0)) return;
        for (size_t row = 0; row < rows; row++) closest = fmin(closest, reference_row(out, p, row));
        if (closest > margin) return;
    }
    fail_msg("no data away from the kinks");
}

static double loss(void *ctx) {
    problem *p = (problem *)ctx;
    double sum = 0;
    bp_mlp_forward(p->c, p->out, p->saved, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    for (size_t i = 0; i < p->n * p->s * p->mlp.config.output; i++) sum += p->weight[i] * sin((double)p->out[i]);
    return sum;
}

static void loss_backward(problem *p) {
    (void)loss(p);
    for (size_t i = 0; i < p->n * p->s * p->mlp.config.output; i++) p->dout[i] = BP_R(p->weight[i] * cos((double)p->out[i]));
    zero(p->dparams, p->mlp.n_params);
    zero(p->dx, p->n * p->mlp.config.input);
    zero(p->du, p->n * p->s * p->mlp.config.extra);
    bp_mlp_backward(p->c, p->dparams, p->dx, p->du, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
}

static void check_gradients(problem *p) {
    const bp_mlp_config *config = &p->mlp.config;
    char what[96];
    snprintf(what, sizeof what, "%s: layers %d, norm %d, act %d, s %d, extra %d", bp_kernel_name(p->c->kernel),
             (int)config->hidden_layers, (int)config->layer_norm, (int)config->activation, (int)p->s, (int)config->extra);
    loss_backward(p);
    /* view by view, so that a small part with a wrong gradient cannot hide behind a large one */
    for (size_t i = 0; i < p->mlp.n_views; i++) {
        const bp_view *v = &p->mlp.view[i];
        bpt_check_gradient_at(loss, p, p->params + v->offset, p->dparams + v->offset, v->rows * v->cols,
                              STEP, TOL, what, v->name, 0);
    }
    bpt_check_gradient_at(loss, p, p->x, p->dx, p->n * config->input, STEP, TOL, what, "x", 0);
    if (config->extra) bpt_check_gradient_at(loss, p, p->u, p->du, p->n * p->s * config->extra, STEP, TOL, what, "u", 0);
}

static bp_mlp_config small_config(size_t layers, bool norm, size_t extra) {
    bp_mlp_config config = bp_mlp_config_default(3, 2);
    config.hidden_layers = layers;
    config.layer_norm = norm;
    config.extra = extra;
    config.width[0] = 7;
    config.width[1] = 9;
    config.width[2] = 5;
    config.init_scale = 1;
    return config;
}

/* Runs a test under each kernel this machine has. */
static void each_kernel(void (*test)(const bp_compute *c)) {
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    size_t ran = 0;
    assert_non_null(mem);
    for (int k = (int)BP_KERNEL_REFERENCE; k <= (int)BP_KERNEL_CBLAS; k++) {
        bp_compute c;
        if (bp_compute_init(&c, (bp_kernel)k, mem, NULL) != BP_OK) continue;
        test(&c);
        ran++;
    }
    assert_true(ran >= 1);
    bp_free(NULL, mem, bp_compute_bytes());
}

/* ... and each shape: 0 to 3 hidden layers, with and without layer norm, one sample or three, with and without u */
static void each_shape(const bp_compute *c, double margin, void (*test)(problem *p)) {
    for (size_t layers = 0; layers <= 3; layers++)
        for (int norm = 0; norm < 2; norm++)
            for (size_t s = 1; s <= 3; s += 2)
                for (size_t extra = 0; extra <= 2; extra += 2) {
                    const bp_mlp_config config = small_config(layers, norm != 0, extra);
                    problem p;
                    make(&p, c, &config, 4, s, margin);
                    test(&p);
                    destroy(&p);
                }
}

/* --- values ---------------------------------------------------------------------------------------------------- */

static void check_values(problem *p) {
    const size_t O = p->mlp.config.output, rows = p->n * p->s;
    double want[64];
    bp_mlp_forward(p->c, p->out, p->saved, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    for (size_t row = 0; row < rows; row++) {
        reference_row(want, p, row);
        for (size_t j = 0; j < O; j++) bpt_close(p->out[row * O + j], want[j], EXACT);
    }
    /* eval: the same bits; u may be NULL when there is none */
    bp_real *again = numbers(rows * O);
    bp_mlp_eval(p->c, again, p->work, p->x, p->mlp.config.extra ? p->u : NULL, p->params, &p->mlp, p->n, p->s);
    assert_memory_equal(again, p->out, rows * O * sizeof *again);
    /* ... also with one row at a time, to rounding */
    for (size_t i = 0; i < p->n; i++)
        bp_mlp_eval(p->c, again + i * p->s * O, p->work, p->x + i * p->mlp.config.input, p->u + i * p->s * p->mlp.config.extra,
                    p->params, &p->mlp, 1, p->s);
    bpt_close_array(again, p->out, rows * O, EXACT);
    /* nothing to do */
    bp_mlp_eval(p->c, again, p->work, p->x, p->u, p->params, &p->mlp, 0, p->s);
    bp_mlp_forward(p->c, again, p->saved, p->x, p->u, p->params, &p->mlp, 0, p->s);
    free(again);
}

static void values_of_kernel(const bp_compute *c) { each_shape(c, 0, check_values); }
static void values(void **state) {
    (void)state;
    each_kernel(values_of_kernel);
}

/* S samples in one call are the plain network on the S-fold repeated rows of [x,u]: the same parameters, extra = 0. */
static void samples_of_kernel(const bp_compute *c) {
    const size_t n = 5, s = 3;
    for (int norm = 0; norm < 2; norm++) {
        bp_mlp_config split = small_config(2, norm != 0, 2), plain = split;
        problem p, q;
        plain.input = split.input + split.extra;
        plain.extra = 0;
        make(&p, c, &split, n, s, 0);
        make(&q, c, &plain, n * s, 1, 0);
        assert_int_equal(p.mlp.n_params, q.mlp.n_params);
        memcpy(q.params, p.params, p.mlp.n_params * sizeof *p.params);
        memcpy(q.weight, p.weight, n * s * split.output * sizeof *p.weight);
        for (size_t row = 0; row < n * s; row++) {
            memcpy(q.x + row * 5, p.x + row / s * 3, 3 * sizeof *q.x);
            memcpy(q.x + row * 5 + 3, p.u + row * 2, 2 * sizeof *q.x);
        }
        loss_backward(&p);
        loss_backward(&q);
        bpt_close_array(p.out, q.out, n * s * split.output, EXACT);
        bpt_close_array(p.dparams, q.dparams, p.mlp.n_params, BPT_TOL(1e-4, 1e-12));
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < 3; k++) {
                double sum = 0;
                for (size_t j = 0; j < s; j++) sum += (double)q.dx[(i * s + j) * 5 + k];
                bpt_close(p.dx[i * 3 + k], sum, BPT_TOL(1e-4, 1e-12));
            }
        for (size_t row = 0; row < n * s; row++)
            for (size_t k = 0; k < 2; k++) bpt_close(p.du[row * 2 + k], q.dx[row * 5 + 3 + k], BPT_TOL(1e-4, 1e-12));
        destroy(&p);
        destroy(&q);
    }
}
static void samples(void **state) {
    (void)state;
    each_kernel(samples_of_kernel);
}

/* --- gradients --------------------------------------------------------------------------------------------------- */

static void gradients_of_kernel(const bp_compute *c) { each_shape(c, MARGIN, check_gradients); }
static void gradients(void **state) {
    (void)state;
    each_kernel(gradients_of_kernel);
}

static void activations_of_kernel(const bp_compute *c) {
    for (int act = (int)BP_ACT_NONE; act <= (int)BP_ACT_SOFTPLUS; act++)
        for (int norm = 0; norm < 2; norm++) {
            bp_mlp_config config = small_config(2, norm != 0, 1);
            problem p;
            config.activation = (bp_activation)act;
            config.width[0] = config.width[1] = 4; /* few units, so that all of them can keep clear of a kink */
            make(&p, c, &config, 2, 1, act == (int)BP_ACT_RELU || act == (int)BP_ACT_ELU ? 0.06 : 0);
            check_gradients(&p);
            destroy(&p);
        }
}
static void gradients_of_activations(void **state) {
    (void)state;
    each_kernel(activations_of_kernel);
}

/* Backward adds; backward_input has the same bits; outputs that are not wanted can be left out. */
static void check_contract(problem *p) {
    const size_t P = p->mlp.n_params, I = p->n * p->mlp.config.input, U = p->n * p->s * p->mlp.config.extra;
    bp_real *dparams = numbers(P), *dx = numbers(I), *du = numbers(U);
    loss_backward(p);

    zero(dx, I);
    zero(du, U);
    bp_mlp_backward_input(p->c, dx, du, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    assert_memory_equal(dx, p->dx, I * sizeof *dx);
    if (U) assert_memory_equal(du, p->du, U * sizeof *du);
    zero(dx, I);
    zero(du, U);
    bp_mlp_backward_input(p->c, dx, NULL, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    bp_mlp_backward_input(p->c, NULL, U ? du : NULL, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    assert_memory_equal(dx, p->dx, I * sizeof *dx);
    if (U) assert_memory_equal(du, p->du, U * sizeof *du);
    bp_mlp_backward_input(p->c, dx, U ? du : NULL, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    for (size_t i = 0; i < I; i++) bpt_close(dx[i], 2 * (double)p->dx[i], EXACT);
    for (size_t i = 0; i < U; i++) bpt_close(du[i], 2 * (double)p->du[i], EXACT);

    zero(dparams, P);
    bp_mlp_backward(p->c, dparams, NULL, NULL, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    assert_memory_equal(dparams, p->dparams, P * sizeof *dparams);
    bp_mlp_backward(p->c, dparams, NULL, NULL, p->saved, p->work, p->dout, p->x, p->u, p->params, &p->mlp, p->n, p->s);
    for (size_t i = 0; i < P; i++) bpt_close(dparams[i], 2 * (double)p->dparams[i], EXACT);
    free(dparams);
    free(dx);
    free(du);
}
static void contract_of_kernel(const bp_compute *c) { each_shape(c, 0, check_contract); }
static void backward_contract(void **state) {
    (void)state;
    each_kernel(contract_of_kernel);
}

/* More rows than one block holds, with a ragged last block: the rows' values and the sum of their gradients. */
static void blocks_of_kernel(const bp_compute *c) {
    const size_t shapes[5][2] = {{1100, 1}, {700, 3}, {2, 700}, {3, 512}, {1024, 1}};
    for (size_t k = 0; k < 5; k++)
        for (size_t extra = 0; extra <= 2; extra += 2) {
            const bp_mlp_config config = small_config(2, true, extra);
            const size_t n = shapes[k][0], s = shapes[k][1], O = config.output;
            problem p, row;
            make(&p, c, &config, n, s, 0);
            make(&row, c, &config, 1, s, 0);
            memcpy(row.params, p.params, p.mlp.n_params * sizeof *p.params);
            loss_backward(&p);

            bp_real *again = numbers(n * s * O);
            bp_mlp_eval(c, again, p.work, p.x, p.u, p.params, &p.mlp, n, s);
            assert_memory_equal(again, p.out, n * s * O * sizeof *again);
            free(again);

            double *sum = (double *)calloc(p.mlp.n_params, sizeof *sum), size = 0, apart = 0;
            assert_non_null(sum);
            for (size_t i = 0; i < n; i++) {
                memcpy(row.x, p.x + i * config.input, config.input * sizeof *row.x);
                if (extra) memcpy(row.u, p.u + i * s * extra, s * extra * sizeof *row.u);
                memcpy(row.weight, p.weight + i * s * O, s * O * sizeof *row.weight);
                loss_backward(&row);
                bpt_close_array(row.out, p.out + i * s * O, s * O, EXACT);
                bpt_close_array(row.dx, p.dx + i * config.input, config.input, BPT_TOL(1e-4, 1e-11));
                if (extra) bpt_close_array(row.du, p.du + i * s * extra, s * extra, BPT_TOL(1e-4, 1e-12));
                for (size_t j = 0; j < p.mlp.n_params; j++) sum[j] += (double)row.dparams[j];
            }
            for (size_t j = 0; j < p.mlp.n_params; j++) {
                size = fmax(size, fabs(sum[j]));
                apart = fmax(apart, fabs(sum[j] - (double)p.dparams[j]));
            }
            assert_true(size > 1 && apart < BPT_TOL(1e-5, 1e-13) * size);
            free(sum);
            destroy(&p);
            destroy(&row);
        }
}
static void blocks(void **state) {
    (void)state;
    each_kernel(blocks_of_kernel);
}

/* --- structure ------------------------------------------------------------------------------------------------------ */

static void views(void **state) {
    (void)state;
    bp_error error;
    bp_mlp mlp;
    bp_mlp_config config = small_config(3, true, 2);
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    const char *names[] = {"0/w", "0/b", "0/gain", "0/shift", "1/w", "1/b", "2/w", "2/b", "3/w", "3/b"};
    const size_t shape[][2] = {{5, 7}, {1, 7}, {1, 7}, {1, 7}, {7, 9}, {1, 9}, {9, 5}, {1, 5}, {5, 2}, {1, 2}};
    size_t offset = 0;
    assert_int_equal(mlp.n_views, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_string_equal(mlp.view[i].name, names[i]);
        assert_int_equal(mlp.view[i].offset, offset);
        assert_int_equal(mlp.view[i].rows, shape[i][0]);
        assert_int_equal(mlp.view[i].cols, shape[i][1]);
        assert_ptr_equal(bp_mlp_find_view(&mlp, names[i]), &mlp.view[i]);
        offset += shape[i][0] * shape[i][1];
    }
    assert_int_equal(mlp.n_params, offset);
    assert_null(bp_mlp_find_view(&mlp, "4/w"));
    assert_int_equal(bp_mlp_macs(&mlp, 10, 4), 10 * 3 * 7 + 40 * (2 * 7 + 7 * 9 + 9 * 5 + 5 * 2));

    config.layer_norm = false;
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    assert_int_equal(mlp.n_views, 8);
    assert_null(bp_mlp_find_view(&mlp, "0/gain"));

    config.hidden_layers = 0;
    config.layer_norm = true;
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    assert_int_equal(mlp.n_views, 2);
    assert_int_equal(mlp.n_params, 5 * 2 + 2);
    assert_int_equal(bp_mlp_saved_reals(&mlp, 7, 1), 0);

    config.hidden_layers = BP_MAX_LAYERS;
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    assert_int_equal(mlp.n_views, 2 * (BP_MAX_LAYERS + 1) + 2);
}

static void initial_parameters(void **state) {
    (void)state;
    bp_error error;
    bp_mlp mlp;
    bp_mlp_config config = bp_mlp_config_default(30, 8);
    config.output_scale = 1e-4;
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    bp_real *a = numbers(mlp.n_params), *b = numbers(mlp.n_params);
    bp_rng rng = bp_rng_make(seed, 71), twin = rng;
    bp_mlp_init_params(a, &mlp, &rng);
    bp_mlp_init_params(b, &mlp, &twin);
    assert_memory_equal(a, b, mlp.n_params * sizeof *a);
    for (size_t i = 0; i < mlp.n_views; i++) {
        const bp_view *v = &mlp.view[i];
        const double limit = sqrt(3 * 0.333 / (double)v->cols) * (v->name[0] == '2' ? 1e-4 : 1);
        double largest = 0;
        for (size_t k = 0; k < v->rows * v->cols; k++) {
            const double value = (double)a[v->offset + k];
            if (strcmp(v->name + 2, "gain") == 0) assert_true(value == 1);
            else if (v->name[2] != 'w') assert_true(value == 0);
            else if (fabs(value) > largest) largest = fabs(value);
        }
        if (v->name[2] == 'w') assert_true(largest <= limit * (1 + 1e-6) && largest > 0.9 * limit);
    }
    free(a);
    free(b);
}

static void config_ranges(void **state) {
    (void)state;
    bp_error error;
    bp_mlp mlp;
    bp_mlp_config config = bp_mlp_config_default(3, 2);
    assert_true(config.hidden_layers == 2 && config.width[0] == 64 && config.width[1] == 64 && config.extra == 0);
    assert_true(config.activation == BP_ACT_ELU && config.layer_norm && config.init_scale == 0.333 && config.output_scale == 1);
#define BAD(field, value, name)                                                \
    do {                                                                       \
        config = bp_mlp_config_default(3, 2);                                  \
        config.field = (value);                                                \
        assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_ARGUMENT); \
        assert_int_equal(error.status, BP_ERR_ARGUMENT);                       \
        assert_non_null(strstr(error.text, name));                             \
        assert_int_equal(bp_mlp_init(&mlp, &config, NULL), BP_ERR_ARGUMENT);   \
    } while (0)
    BAD(input, 0, "input");
    BAD(output, 0, "output");
    BAD(hidden_layers, BP_MAX_LAYERS + 1, "hidden_layers");
    BAD(width[1], 0, "width[1]");
    BAD(activation, (bp_activation)99, "activation");
    BAD(init_scale, -1, "init_scale");
    BAD(init_scale, HUGE_VAL, "init_scale");
    BAD(output_scale, sqrt(-1.0), "output_scale");
#undef BAD
    config = bp_mlp_config_default(3, 2);
    config.width[7] = 0; /* not in use */
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_OK);
    assert_true(error.status == BP_OK && error.text[0] == '\0');

    memset(&config, 0, sizeof config);
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_CONFIG);
    config = bp_mlp_config_make(BP_COOKIE(bp_mlp_config) ^ 0x08000000u, 3, 2);
    assert_true(config.input == 0);
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_ABI);
    assert_int_equal(bp_mlp_init(NULL, &config, NULL), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mlp_init(&mlp, NULL, NULL), BP_ERR_ARGUMENT);

    /* sizes that overflow are refused, not wrapped */
    config = bp_mlp_config_default(SIZE_MAX / 2, 2);
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_SIZE);
    config = bp_mlp_config_default(SIZE_MAX, 2);
    config.extra = 1;
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_SIZE);
    config = bp_mlp_config_default(SIZE_MAX / 64 / sizeof(bp_real), 2);
    assert_int_equal(bp_mlp_init(&mlp, &config, &error), BP_ERR_SIZE);
    config = bp_mlp_config_default(3, 2);
    bpt_ok(bp_mlp_init(&mlp, &config, &error), &error);
    assert_true(bp_mlp_saved_reals(&mlp, SIZE_MAX / 2, 3) == SIZE_MAX);
    assert_true(bp_mlp_saved_reals(&mlp, SIZE_MAX / 64, 1) == SIZE_MAX);
    assert_true(bp_mlp_work_reals(&mlp, 1, SIZE_MAX / 4) == SIZE_MAX);
    assert_true(bp_mlp_work_reals(&mlp, SIZE_MAX, 1) == bp_mlp_work_reals(&mlp, 100000, 1)); /* bounded by a block */
}

/* --- recurrent networks -------------------------------------------------------------------------------------------------- */

/* As `problem`, for T steps of B rows. */
typedef struct recurrent {
    const bp_compute *c;
    bp_rnn rnn;
    size_t T, B, detach;
    bp_real *params, *x, *u, *state, *frozen, *reset; /* frozen: the state after burn-in, a constant */
    bp_real *h, *saved, *work, *dh, *dparams, *dx, *du;
    double *weight;
} recurrent;

static void recurrent_make(recurrent *p, const bp_compute *c, const bp_mlp_config *torso, size_t H, size_t T, size_t B,
                           size_t detach) {
    bp_error error;
    bp_rng rng = bp_rng_make(seed, 72);
    const size_t rows = T * B;
    p->c = c;
    p->T = T, p->B = B, p->detach = detach;
    bpt_ok(bp_rnn_init(&p->rnn, torso, H, &error), &error);
    p->params = numbers(p->rnn.n_params);
    p->dparams = numbers(p->rnn.n_params);
    p->x = numbers(rows * torso->input);
    p->dx = numbers(rows * torso->input);
    p->u = numbers(rows * torso->extra);
    p->du = numbers(rows * torso->extra);
    p->state = numbers(B * 2 * H);
    p->frozen = numbers(B * 2 * H);
    p->reset = numbers(rows);
    p->h = numbers(rows * H);
    p->dh = numbers(rows * H);
    p->saved = numbers(bp_rnn_saved_reals(&p->rnn, T, B));
    p->work = numbers(bp_rnn_work_reals(&p->rnn, T, B));
    p->weight = (double *)malloc(rows * H * sizeof(double));
    assert_non_null(p->weight);
    bp_rnn_init_params(p->params, &p->rnn, &rng);
    for (size_t i = 0; i < p->rnn.n_params; i++) p->params[i] += BP_R(0.2 * (double)bp_rng_normal(&rng));
    bp_rng_normals(p->x, &rng, rows * torso->input);
    bp_rng_normals(p->u, &rng, rows * torso->extra);
    for (size_t i = 0; i < B * 2 * H; i++) p->state[i] = BP_R(0.5 * (double)bp_rng_normal(&rng));
    for (size_t i = 0; i < rows; i++) p->reset[i] = (i / B * 2 + i % B) % 5 == 4 ? 1 : 0;
    for (size_t i = 0; i < rows * H; i++) p->weight[i] = (double)bp_rng_normal(&rng);
}

static void recurrent_destroy(recurrent *p) {
    bp_real *reals[] = {p->params, p->x, p->u, p->state, p->frozen, p->reset, p->h, p->saved, p->work, p->dh, p->dparams,
                        p->dx, p->du};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) free(reals[i]);
    free(p->weight);
}

/* The loss of the steps from `detach` on, which start from `frozen`. */
static double recurrent_loss(void *ctx) {
    recurrent *p = (recurrent *)ctx;
    const size_t B = p->B, H = p->rnn.units, at = p->detach * B;
    double sum = 0;
    bp_rnn_eval(p->c, p->h + at * H, NULL, p->work, p->x + at * p->rnn.torso.config.input, p->u + at * p->rnn.torso.config.extra,
                p->detach ? p->frozen : p->state, p->reset + at, p->params, &p->rnn, p->T - p->detach, B);
    for (size_t i = at * H; i < p->T * B * H; i++) sum += p->weight[i] * sin((double)p->h[i]);
    return sum;
}

static void recurrent_backward(recurrent *p) {
    const size_t T = p->T, B = p->B, H = p->rnn.units;
    bp_rnn_eval(p->c, p->h, p->frozen, p->work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, p->detach, B);
    bp_rnn_forward(p->c, p->h, p->saved, p->work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    for (size_t i = p->detach * B * H; i < T * B * H; i++) p->dh[i] = BP_R(p->weight[i] * cos((double)p->h[i]));
    zero(p->dparams, p->rnn.n_params);
    zero(p->dx, T * B * p->rnn.torso.config.input);
    zero(p->du, T * B * p->rnn.torso.config.extra);
    bp_rnn_backward(p->c, p->dparams, p->dx, p->du, p->saved, p->work, p->dh, p->x, p->u, p->reset, p->params, &p->rnn, p->detach,
                    T, B);
}

static void recurrent_values(recurrent *p) {
    const size_t T = p->T, B = p->B, H = p->rnn.units, n = T * B * H;
    /* the reference: one row after the other through the reference of the torso, and an LSTM in plain loops */
    problem torso;
    torso.mlp = p->rnn.torso, torso.params = p->params, torso.x = p->x, torso.u = p->u, torso.s = 1;
    bp_rnn_forward(p->c, p->h, p->saved, p->work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    bp_real *again = numbers(n), *last = numbers(B * 2 * H);
    bp_rnn_eval(p->c, again, last, p->work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    assert_memory_equal(again, p->h, n * sizeof *again);
    for (size_t row = 0; row < B; row++) {
        double z[64], h[16], c[16];
        for (size_t k = 0; k < H; k++) h[k] = (double)p->state[row * 2 * H + k], c[k] = (double)p->state[row * 2 * H + H + k];
        for (size_t t = 0; t < T; t++) {
            if (p->reset[t * B + row] != 0)
                for (size_t k = 0; k < H; k++) h[k] = c[k] = 0;
            reference_row(z, &torso, t * B + row);
            for (size_t j = 0; j < 4 * H; j++)
                for (size_t k = 0; k < H; k++) z[j] += h[k] * (double)p->params[p->rnn.w + k * 4 * H + j];
            for (size_t k = 0; k < H; k++) {
                c[k] = c[k] / (1 + exp(-z[H + k])) + tanh(z[2 * H + k]) / (1 + exp(-z[k]));
                h[k] = tanh(c[k]) / (1 + exp(-z[3 * H + k]));
                bpt_close(p->h[(t * B + row) * H + k], h[k], EXACT);
            }
        }
        for (size_t k = 0; k < H; k++) {
            bpt_close(last[row * 2 * H + k], h[k], EXACT);
            bpt_close(last[row * 2 * H + H + k], c[k], EXACT);
        }
    }

    /* whatever work holds; the same bits */
    for (size_t i = 0; i < bp_rnn_work_reals(&p->rnn, T, B); i++) p->work[i] = BP_R(sqrt(-1.0));
    bp_rnn_eval(p->c, again, NULL, p->work, p->x, p->rnn.torso.config.extra ? p->u : NULL, p->state, p->reset, p->params, &p->rnn,
                T, B);
    assert_memory_equal(again, p->h, n * sizeof *again);
    for (size_t i = 0; i < bp_rnn_work_reals(&p->rnn, T, B); i++) p->work[i] = BP_R(1e3);
    bp_rnn_forward(p->c, again, p->saved, p->work, p->x, p->u, p->state, p->reset, p->params, &p->rnn, T, B);
    assert_memory_equal(again, p->h, n * sizeof *again);

    /* step by step with the state handed on: to the bit where the products promise it */
    bp_real *carried = numbers(B * 2 * H);
    memcpy(carried, p->state, B * 2 * H * sizeof *carried);
    for (size_t t = 0; t < T; t++)
        bp_rnn_eval(p->c, again + t * B * H, carried, p->work, p->x + t * B * p->rnn.torso.config.input,
                    p->u + t * B * p->rnn.torso.config.extra, carried, p->reset + t * B, p->params, &p->rnn, 1, B);
    bpt_close_array(again, p->h, n, EXACT);
    bpt_close_array(carried, last, B * 2 * H, EXACT);
    if (p->c->kernel == BP_KERNEL_REFERENCE) assert_memory_equal(again, p->h, n * sizeof *again);

    /* an episode starts from zeros, also after numbers that are none */
    bp_real *everybody = numbers(B);
    for (size_t i = 0; i < B; i++) everybody[i] = 1;
    bp_rnn_eval(p->c, again, carried, p->work, p->x, p->u, NULL, NULL, p->params, &p->rnn, 1, B);
    for (size_t i = 0; i < B * 2 * H; i++) last[i] = BP_R(sqrt(-1.0));
    bp_rnn_eval(p->c, p->h, last, p->work, p->x, p->u, last, everybody, p->params, &p->rnn, 1, B);
    assert_memory_equal(again, p->h, B * H * sizeof *again);
    assert_memory_equal(carried, last, B * 2 * H * sizeof *last);
    free(again), free(last), free(carried), free(everybody);
}

static void recurrent_gradients(recurrent *p) {
    const bp_mlp_config *config = &p->rnn.torso.config;
    const size_t rows = p->T * p->B, at = p->detach * p->B;
    char what[96];
    snprintf(what, sizeof what, "%s: layers %d, extra %d, detach %d", bp_kernel_name(p->c->kernel), (int)config->hidden_layers,
             (int)config->extra, (int)p->detach);
    recurrent_backward(p);
    for (size_t i = 0; i < p->rnn.n_views; i++) {
        const bp_view *v = &p->rnn.view[i];
        bpt_check_gradient_at(recurrent_loss, p, p->params + v->offset, p->dparams + v->offset, v->rows * v->cols, STEP, TOL,
                              what, v->name, 0);
    }
    bpt_check_gradient_at(recurrent_loss, p, p->x + at * config->input, p->dx + at * config->input, (rows - at) * config->input,
                          STEP, TOL, what, "x", 0);
    if (config->extra)
        bpt_check_gradient_at(recurrent_loss, p, p->u + at * config->extra, p->du + at * config->extra,
                              (rows - at) * config->extra, STEP, TOL, what, "u", 0);
    for (size_t i = 0; i < at * config->input; i++) assert_true(p->dx[i] == 0);
    for (size_t i = 0; i < at * config->extra; i++) assert_true(p->du[i] == 0);
}

/* Backward adds; outputs that are not wanted can be left out; old numbers in work do not matter. */
static void recurrent_contract(recurrent *p) {
    const size_t P = p->rnn.n_params, X = p->T * p->B * p->rnn.torso.config.input, U = p->T * p->B * p->rnn.torso.config.extra;
    bp_real *dparams = numbers(P), *dx = numbers(X), *du = numbers(U);
    recurrent_backward(p);
#define BACKWARD(dp, dx, du) \
    bp_rnn_backward(p->c, dp, dx, du, p->saved, p->work, p->dh, p->x, p->u, p->reset, p->params, &p->rnn, p->detach, p->T, p->B)
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < bp_rnn_work_reals(&p->rnn, p->T, p->B); i++) p->work[i] = BP_R(pass ? sqrt(-1.0) : 1e3);
        zero(dparams, P), zero(dx, X), zero(du, U);
        BACKWARD(dparams, NULL, NULL);
        assert_memory_equal(dparams, p->dparams, P * sizeof *dparams);
        BACKWARD(NULL, dx, NULL);
        assert_memory_equal(dx, p->dx, X * sizeof *dx);
        BACKWARD(NULL, NULL, U ? du : NULL);
        if (U) assert_memory_equal(du, p->du, U * sizeof *du);
    }
    BACKWARD(dparams, dx, U ? du : NULL);
    for (size_t i = 0; i < P; i++) bpt_close(dparams[i], 2 * (double)p->dparams[i], EXACT);
    for (size_t i = 0; i < X; i++) bpt_close(dx[i], 2 * (double)p->dx[i], EXACT);
    for (size_t i = 0; i < U; i++) bpt_close(du[i], 2 * (double)p->du[i], EXACT);
#undef BACKWARD

    zero(dparams, P), zero(dx, X);
    for (size_t late = p->T; late < p->T + 2; late++) /* nothing but burn-in */
        bp_rnn_backward(p->c, dparams, dx, NULL, p->saved, p->work, p->dh, p->x, p->u, p->reset, p->params, &p->rnn, late, p->T,
                        p->B);
    for (size_t i = 0; i < P; i++) assert_true(dparams[i] == 0);
    for (size_t i = 0; i < X; i++) assert_true(dx[i] == 0);
    free(dparams), free(dx), free(du);
}

/* 0 to 2 hidden layers, with and without u, with and without burn-in. Resets fall into all of them. */
static void each_recurrent(const bp_compute *c, void (*test)(recurrent *p)) {
    for (size_t layers = 0; layers <= 2; layers++)
        for (size_t extra = 0; extra <= 2; extra += 2)
            for (size_t detach = 0; detach <= 2; detach += 2) {
                bp_mlp_config config = small_config(layers, layers < 2, extra);
                recurrent p;
                config.activation = BP_ACT_TANH; /* no kinks */
                recurrent_make(&p, c, &config, layers == 1 ? 9 : 4, 6, 2, detach);
                test(&p);
                recurrent_destroy(&p);
            }
}

static void recurrent_values_of_kernel(const bp_compute *c) { each_recurrent(c, recurrent_values); }
static void recurrent_gradients_of_kernel(const bp_compute *c) { each_recurrent(c, recurrent_gradients); }
static void recurrent_contract_of_kernel(const bp_compute *c) { each_recurrent(c, recurrent_contract); }

/* More rows than one block of the torso holds, with a burn-in that is no whole block: the gradient is that of a sequence that
 * starts where burn-in ends, and the sum over its rows, each alone. */
static void recurrent_blocks_of_kernel(const bp_compute *c) {
    const size_t T = 40, B = 30, detach = 7, H = 5, rest = T - detach, I = 3, E = 2;
    const bp_mlp_config config = small_config(2, true, E);
    recurrent p, q, row;
    recurrent_make(&p, c, &config, H, T, B, detach);
    recurrent_backward(&p);
    recurrent_make(&q, c, &config, H, rest, B, 0);
    memcpy(q.params, p.params, p.rnn.n_params * sizeof *p.params);
    memcpy(q.x, p.x + detach * B * I, rest * B * I * sizeof *p.x);
    memcpy(q.u, p.u + detach * B * E, rest * B * E * sizeof *p.u);
    memcpy(q.reset, p.reset + detach * B, rest * B * sizeof *p.reset);
    memcpy(q.weight, p.weight + detach * B * H, rest * B * H * sizeof *p.weight);
    memcpy(q.state, p.frozen, B * 2 * H * sizeof *p.state);
    recurrent_backward(&q);
    bpt_close_array(p.dparams, q.dparams, p.rnn.n_params, BPT_TOL(2e-4, 1e-12));
    bpt_close_array(p.dx + detach * B * I, q.dx, rest * B * I, BPT_TOL(1e-4, 1e-12));
    bpt_close_array(p.du + detach * B * E, q.du, rest * B * E, BPT_TOL(1e-4, 1e-12));

    double *sum = (double *)calloc(p.rnn.n_params, sizeof *sum);
    assert_non_null(sum);
    recurrent_make(&row, c, &config, H, rest, 1, 0);
    memcpy(row.params, p.params, p.rnn.n_params * sizeof *p.params);
    for (size_t b = 0; b < B; b++) {
        for (size_t t = 0; t < rest; t++) {
            memcpy(row.x + t * I, q.x + (t * B + b) * I, I * sizeof *row.x);
            memcpy(row.u + t * E, q.u + (t * B + b) * E, E * sizeof *row.u);
            memcpy(row.weight + t * H, q.weight + (t * B + b) * H, H * sizeof *row.weight);
            row.reset[t] = q.reset[t * B + b];
        }
        memcpy(row.state, q.state + b * 2 * H, 2 * H * sizeof *row.state);
        recurrent_backward(&row);
        for (size_t i = 0; i < p.rnn.n_params; i++) sum[i] += (double)row.dparams[i];
    }
    for (size_t i = 0; i < p.rnn.n_params; i++) bpt_close(p.dparams[i], sum[i], BPT_TOL(5e-4, 1e-12));
    free(sum);
    recurrent_destroy(&p);
    recurrent_destroy(&q);
    recurrent_destroy(&row);
}

static void recurrent_values_each(void **state) {
    (void)state;
    each_kernel(recurrent_values_of_kernel);
}
static void recurrent_gradients_each(void **state) {
    (void)state;
    each_kernel(recurrent_gradients_of_kernel);
}
static void recurrent_contract_each(void **state) {
    (void)state;
    each_kernel(recurrent_contract_of_kernel);
}
static void recurrent_blocks(void **state) {
    (void)state;
    each_kernel(recurrent_blocks_of_kernel);
}

static void recurrent_structure(void **state) {
    (void)state;
    bp_error error;
    bp_rnn rnn;
    bp_mlp_config config = small_config(1, true, 2);
    config.output = 0; /* does not matter */
    bpt_ok(bp_rnn_init(&rnn, &config, 6, &error), &error);
    const char *names[] = {"0/w", "0/b", "0/gain", "0/shift", "1/w", "1/b", "h/w"};
    const size_t shape[][2] = {{5, 7}, {1, 7}, {1, 7}, {1, 7}, {7, 24}, {1, 24}, {6, 24}};
    size_t offset = 0;
    assert_int_equal(rnn.n_views, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(rnn.view[i].name, names[i]);
        assert_int_equal(rnn.view[i].offset, offset);
        assert_int_equal(rnn.view[i].rows, shape[i][0]);
        assert_int_equal(rnn.view[i].cols, shape[i][1]);
        offset += shape[i][0] * shape[i][1];
    }
    assert_int_equal(rnn.n_params, offset);
    assert_true(rnn.units == 6 && rnn.w == offset - 6 * 24 && rnn.torso.config.output == 24 && config.output == 0);
    assert_int_equal(bp_rnn_macs(&rnn, 10, 4), 40 * (5 * 7 + 7 * 24 + 6 * 24));
    assert_int_equal(bp_rnn_saved_reals(&rnn, 10, 4), bp_mlp_saved_reals(&rnn.torso, 40, 1) + bp_lstm_saved_reals(10, 4, 6));
    config.hidden_layers = BP_MAX_LAYERS;
    bpt_ok(bp_rnn_init(&rnn, &config, 6, &error), &error);
    assert_int_equal(rnn.n_views, 2 * (BP_MAX_LAYERS + 1) + 3);

    /* what cannot be is refused, and says so */
    assert_int_equal(bp_rnn_init(NULL, &config, 6, &error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_rnn_init(&rnn, NULL, 6, NULL), BP_ERR_ARGUMENT);
    assert_int_equal(bp_rnn_init(&rnn, &config, 0, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "units"));
    assert_int_equal(bp_rnn_init(&rnn, &config, SIZE_MAX / 2, &error), BP_ERR_SIZE);
    assert_int_equal(bp_rnn_init(&rnn, &config, (size_t)1 << (sizeof(size_t) * 4), &error), BP_ERR_SIZE);
    config.width[0] = 0;
    assert_int_equal(bp_rnn_init(&rnn, &config, 6, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "width[0]"));
    memset(&config, 0, sizeof config);
    assert_int_equal(bp_rnn_init(&rnn, &config, 6, &error), BP_ERR_CONFIG);

    config = small_config(1, true, 0);
    bpt_ok(bp_rnn_init(&rnn, &config, 6, &error), &error);
    assert_true(bp_rnn_saved_reals(&rnn, SIZE_MAX / 8, 3) == SIZE_MAX);
    assert_true(bp_rnn_saved_reals(&rnn, SIZE_MAX / 64, 1) == SIZE_MAX);
    assert_true(bp_rnn_work_reals(&rnn, SIZE_MAX / 8, 3) == SIZE_MAX);
    assert_true(bp_rnn_work_reals(&rnn, 3, SIZE_MAX / 8) == SIZE_MAX);
    assert_true(bp_rnn_work_reals(&rnn, 1, SIZE_MAX / 64) == SIZE_MAX);
}

static void recurrent_initial_parameters(void **state) {
    (void)state;
    bp_error error;
    bp_rnn rnn;
    const size_t H = 32;
    const bp_mlp_config config = bp_mlp_config_default(30, 1);
    bpt_ok(bp_rnn_init(&rnn, &config, H, &error), &error);
    bp_real *a = numbers(rnn.n_params), *b = numbers(rnn.n_params);
    bp_rng rng = bp_rng_make(seed, 73), twin = rng;
    bp_rnn_init_params(a, &rnn, &rng);
    bp_rnn_init_params(b, &rnn, &twin);
    assert_memory_equal(a, b, rnn.n_params * sizeof *a);
    for (size_t i = 0; i < rnn.n_views; i++) {
        const bp_view *v = &rnn.view[i];
        const double fan = v->cols == 4 * H ? (double)H : (double)v->cols, limit = sqrt(3 * 0.333 / fan);
        double largest = 0;
        for (size_t k = 0; k < v->rows * v->cols; k++) {
            const double value = (double)a[v->offset + k];
            if (strcmp(v->name + 2, "gain") == 0) assert_true(value == 1);
            else if (strcmp(v->name, "2/b") == 0) assert_true(value == (k / H == 1 ? 1 : 0));
            else if (v->name[2] != 'w') assert_true(value == 0);
            else if (fabs(value) > largest) largest = fabs(value);
        }
        if (v->name[2] == 'w') assert_true(largest <= limit * (1 + 1e-6) && largest > 0.9 * limit);
    }
    free(a), free(b);
}

static double cube(void *ctx) {
    const double x = (double)*(const bp_real *)ctx;
    return x * x * x;
}

static void finite_differences(void **state) {
    (void)state;
    bp_real x = BP_R(1.1);
    const bp_real before = x;
    const double h = BPT_TOL(1e-2, 1e-3), coarse = bp_fd_derivative(cube, &x, &x, h);
    const double fine = bp_fd_derivative(cube, &x, &x, h / 2);
    assert_true(x == before);
    bpt_close(coarse, 3 * (double)x * (double)x + h * h, 1e-5);                          /* the error of a cubic is h^2 */
    bpt_close((4 * fine - coarse) / 3, 3 * (double)x * (double)x, BPT_TOL(1e-6, 1e-11)); /* Richardson takes it away */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(samples),
        cmocka_unit_test(gradients),
        cmocka_unit_test(gradients_of_activations),
        cmocka_unit_test(backward_contract),
        cmocka_unit_test(blocks),
        cmocka_unit_test(views),
        cmocka_unit_test(initial_parameters),
        cmocka_unit_test(config_ranges),
        cmocka_unit_test(recurrent_values_each),
        cmocka_unit_test(recurrent_gradients_each),
        cmocka_unit_test(recurrent_contract_each),
        cmocka_unit_test(recurrent_blocks),
        cmocka_unit_test(recurrent_structure),
        cmocka_unit_test(recurrent_initial_parameters),
        cmocka_unit_test(finite_differences),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
