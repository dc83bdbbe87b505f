/* 01_network.c - a network, its gradient, and how to be sure that the gradient is right
 *
 * What you learn:  parameters as one plain array; forward, backward (E35) and the memory between them; checking a
 *                  hand-written derivative against differences; training with Adam.
 * Difficulty:      * (of *****)
 * Build:           cc -O2 -I. examples/01_network.c -o 01_network -lm
 *
 * The problem is the oldest one there is for networks: the exclusive or, written with -1 for false and +1 for true. No
 * linear function can do it, a network with one hidden layer can.
 *
 * Expected output:
 *   network 2-16-16-1 with 369 parameters in 8 parts:
 *     0/w      2 x 16
 *     0/b      1 x 16
 *     0/gain   1 x 16
 *     0/shift  1 x 16
 *     1/w     16 x 16
 *     1/b      1 x 16
 *     2/w     16 x 1
 *     2/b      1 x 1
 *   gradient against differences: agrees
 *   the same with a mistake in it: differs
 *   before training the loss is above 0.1
 *   after 300 steps it is below 0.001
 *     -1 xor -1 = -1.0
 *     -1 xor +1 = +1.0
 *     +1 xor -1 = +1.0
 *     +1 xor +1 = -1.0
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
/* [include] */

/* [data] */
enum { N = 4,
       STEPS = 300 };

static const bp_real X[N][2] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
static const bp_real TARGET[N] = {-1, 1, 1, -1};
/* [data] */

/* [job] */
/* Everything the computation needs, in one place, so that the loss can be a function of one pointer. */
typedef struct job {
    bp_compute compute; /* which kernel multiplies matrices, and its scratch memory */
    bp_mlp net;         /* structure: plain data, no numbers */
    bp_real *params;    /* [n_params] */
    bp_real *grad;      /* [n_params] */
    bp_real *saved;     /* what forward keeps for backward */
    bp_real *work;      /* scratch */
    bp_real out[N];     /* [N][1] the network's answers */
} job;
/* [job] */

/* [array] */
static bp_real *array(size_t n) {
    bp_real *p = (bp_real *)calloc(n, sizeof *p);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}
/* [array] */

/* [loss] */
/* loss = 1/(2N) sum of (out - target)^2 */
static double loss(void *ctx) {
    job *j = (job *)ctx;
    double sum = 0;
    bp_mlp_forward(&j->compute, j->out, j->saved, &X[0][0], NULL, j->params, &j->net, N, 1);
    for (size_t i = 0; i < N; i++) {
        const double miss = (double)j->out[i] - (double)TARGET[i];
        sum += miss * miss;
    }
    return sum / (2 * N);
}
/* [loss] */

/* [gradient] */
/* The chain starts at the loss: d loss/d out = (out - target)/N. The network's backward function does the rest. It ADDS to the
 * gradient, so the gradient is cleared first. */
static double loss_and_gradient(job *j) {
    bp_real dout[N];
    const double value = loss(j);
    for (size_t i = 0; i < N; i++) dout[i] = (j->out[i] - TARGET[i]) / N;
    for (size_t i = 0; i < j->net.n_params; i++) j->grad[i] = 0;
    bp_mlp_backward(&j->compute, j->grad, NULL, NULL, j->saved, j->work, dout, &X[0][0], NULL, j->params, &j->net, N, 1);
    return value;
}
/* [gradient] */

/* [differences] */
/* Distance between the gradient and central differences, relative to the gradient's length. Two step sizes are combined so
 * that the leading error of the differences cancels (Richardson). */
static double gradient_error(job *j) {
    const double step = sizeof(bp_real) == 8 ? 1e-3 : 1e-2;
    double wrong = 0, size = 0;
    for (size_t i = 0; i < j->net.n_params; i++) {
        const double coarse = bp_fd_derivative(loss, j, &j->params[i], step);
        const double fine = bp_fd_derivative(loss, j, &j->params[i], step / 2);
        const double difference = (4 * fine - coarse) / 3, analytic = (double)j->grad[i];
        wrong += (analytic - difference) * (analytic - difference);
        size += analytic * analytic;
    }
    return size > 0 ? sqrt(wrong / size) : 1; /* a gradient of zero would pass any test */
}
/* [differences] */

/* [structure] */
int main(void) {
    job j;
    bp_error error;

    /* 1. Structure: two inputs, one output, two hidden layers of 16. */
    bp_mlp_config config = bp_mlp_config_default(2, 1);
    config.width[0] = config.width[1] = 16;
    config.activation = BP_ACT_TANH; /* smooth everywhere; the default ELU has a kink that differences stumble over */
    if (bp_mlp_init(&j.net, &config, &error) != BP_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    printf("network 2-16-16-1 with %d parameters in %d parts:\n", (int)j.net.n_params, (int)j.net.n_views);
    for (size_t i = 0; i < j.net.n_views; i++)
        printf("  %-7s %2d x %d\n", j.net.view[i].name, (int)j.net.view[i].rows, (int)j.net.view[i].cols);
    /* [structure] */

    /* [memory] */
    /* 2. Memory: all of it is ours, and all of it is taken here. */
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    if (!memory || bp_compute_init(&j.compute, BP_KERNEL_AUTO, memory, &error) != BP_OK) return 1;
    bp_real *m = array(j.net.n_params), *v = array(j.net.n_params);
    j.params = array(j.net.n_params);
    j.grad = array(j.net.n_params);
    j.saved = array(bp_mlp_saved_reals(&j.net, N, 1));
    j.work = array(bp_mlp_work_reals(&j.net, N, 1));
    /* [memory] */

    /* [weights] */
    /* 3. First weights, from a seed. */
    bp_rng rng = bp_rng_make(1, 0);
    bp_mlp_init_params(j.params, &j.net, &rng);
    /* [weights] */

    /* [check] */
    /* 4. Is the gradient right? And would the check notice if it were not? */
    const double before = loss_and_gradient(&j);
    printf("gradient against differences: %s\n", gradient_error(&j) < 1e-3 ? "agrees" : "differs");
    const bp_view *bias = bp_mlp_find_view(&j.net, "1/b");
    for (size_t i = 0; i < bias->cols; i++) j.grad[bias->offset + i] *= 2;
    printf("the same with a mistake in it: %s\n", gradient_error(&j) < 1e-3 ? "agrees" : "differs");
    /* [check] */

    /* [training] */
    /* 5. Training: gradient, step, and again. */
    bp_adam_config adam = bp_adam_config_default();
    adam.lr = 0.01;
    printf("before training the loss is %s 0.1\n", before > 0.1 ? "above" : "below");
    for (uint64_t step = 1; step <= STEPS; step++) {
        (void)loss_and_gradient(&j);
        bp_adam_step(j.params, m, v, j.grad, j.net.n_params, &adam, step, 1, 1);
    }
    printf("after %d steps it is %s 0.001\n", (int)STEPS, loss(&j) < 0.001 ? "below" : "above");
    for (size_t i = 0; i < N; i++) printf("  %+.0f xor %+.0f = %+.1f\n", (double)X[i][0], (double)X[i][1], (double)j.out[i]);
    /* [training] */

    /* [end] */
    free(j.params);
    free(j.grad);
    free(j.saved);
    free(j.work);
    free(m);
    free(v);
    bp_free(NULL, memory, bp_compute_bytes());
    return 0;
}
/* [end] */
