/* bench_peers.c - our side of `make bench-peers`: measures what tests/bench/peers.py asks for, in turn with PyTorch.
 *
 * Each line of standard input is a question, answered by one line:
 *
 *     peak 1         multiply-adds of one core, GFLOP/s
 *     gemm 1         median seconds of the product 2560 x 256 by 256 x 256
 *     pendulum SEED  seconds of learning and environment steps until the pendulum stands
 *     ROW THREADS    median seconds of a step of this row
 *     ROW > FILE     writes where the row starts, its parameters, batch and noise, as a safetensors file; the answer is what
 *                    three steps from there report: losses, weight of the KL, norms of the gradients; of networks the loss
 *
 * The peer takes the same three steps from the file. Both then do the same, or the comparison of times is worth nothing.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "bench_gemm.h"
#include "bench_learn.h"

#define STEPS 3

static void shake(bp_real *x, size_t n, bp_rng *rng) {
    size_t i;
    for (i = 0; i < n; i++) x[i] += BP_R(0.1 * bp_rng_normal(rng));
}

/* Learner tensors, then the batch, then the noise. */
static void describe_learning(void *ctx, size_t i, bp_array *out) {
    const learning *l = (const learning *)ctx;
    const size_t T = l->batch.length, B = l->batch.batch, O = l->batch.observation_size, A = l->batch.action_size;
    const size_t tensors = bp_rs0_tensor_count(l->learner), draws = l->learner->config.samples * A;
    bp_tensor tensor;
    if (i < tensors) {
        bp_rs0_tensor(&tensor, l->learner, i);
        *out = bp_array_tensor(&tensor);
        return;
    }
    switch (i - tensors) {
    case 0: *out = bp_array_of("observation", BP_DTYPE_REAL, (T + 1) * B, O, l->batch.observation); break;
    case 1: *out = bp_array_of("action", BP_DTYPE_REAL, T * B, A, l->batch.action); break;
    case 2: *out = bp_array_of("reward", BP_DTYPE_REAL, T, B, l->batch.reward); break;
    case 3: *out = bp_array_of("discount", BP_DTYPE_REAL, T, B, l->batch.discount); break;
    case 4: *out = bp_array_of("log_mu", BP_DTYPE_REAL, T, B, l->batch.log_mu); break;
    case 5: *out = bp_array_of("mask", BP_DTYPE_REAL, T, B, l->batch.mask); break;
    case 6: *out = bp_array_of("target_noise", BP_DTYPE_REAL, (T + 1) * B, draws, l->learner->target_noise); break;
    default: *out = bp_array_of("policy_noise", BP_DTYPE_REAL, T * B, draws, l->learner->policy_noise); break;
    }
}

/* A start at which nothing is nearly zero: shaken parameters, targets that differ, masked rows, terminations, traces below 1. */
static bool learning_write(const sizes *s, const char *path) {
    bp_error error;
    learning l;
    bool good = learning_begin(&l, s, 1);
    bp_rs0 *r = l.learner;
    size_t i, k;
    if (!good) return false;
    shake(r->policy_p.online, r->policy_p.n, &l.rng);
    shake(r->policy_p.target, r->policy_p.n, &l.rng);
    shake(r->critic_p.online, r->critic_p.n, &l.rng);
    shake(r->critic_p.target, r->critic_p.n, &l.rng);
    shake(r->prior_p.online, r->prior_p.n, &l.rng);
    shake(r->prior_p.target, r->prior_p.n, &l.rng);
    for (i = 0; i < l.batch.length * l.batch.batch; i++) {
        l.batch.log_mu[i] = BP_R(bp_rng_normal(&l.rng) - 1.2 * (double)s->actions);
        l.batch.discount[i] = i % 13 ? BP_R(1) : BP_R(0);
        l.batch.mask[i] = i % 17 ? BP_R(1) : BP_R(0);
    }
    k = s->batch * s->samples * s->actions;
    bp_rng_normals(r->target_noise, &l.rng, (l.batch.length + 1) * k);
    bp_rng_normals(r->policy_noise, &l.rng, l.batch.length * k);
    good = bp_safetensors_write_from(path, describe_learning, &l, bp_rs0_tensor_count(r) + 8, NULL, 0, NULL, NULL, &error) == BP_OK;
    for (i = 0; i < STEPS && good; i++) {
        good = bp_rs0_step_with_noise(r, &l.batch, NULL, &error) == BP_OK;
        printf("%.9g %.9g %.9g %.9g %.9g %.9g %.9g ", r->metrics.critic_loss, r->metrics.policy_loss, r->metrics.prior_loss,
               r->metrics.alpha, r->metrics.critic_grad_norm, r->metrics.policy_grad_norm, r->metrics.prior_grad_norm);
    }
    if (!good) fprintf(stderr, "bench_peers: %s\n", error.text);
    learning_end(&l);
    return good;
}

static bool network_write(network *net, const char *path) {
    const bp_view *view = net->rnn.units ? net->rnn.view : net->mlp.view;
    const size_t n = net->rnn.units ? net->rnn.n_views : net->mlp.n_views, at = net->rnn.n_params, units = net->rnn.units;
    bp_array array[16];
    bp_error error;
    size_t i, k, count = 0;
    for (i = 0; i < n && i < 12; i++)
        array[count++] = bp_array_of(view[i].name, BP_DTYPE_REAL, view[i].rows, view[i].cols, net->params + view[i].offset);
    if (units) {
        array[count++] = bp_array_of("head/w", BP_DTYPE_REAL, units, net->output, net->params + at);
        array[count++] = bp_array_of("head/b", BP_DTYPE_REAL, 1, net->output, net->params + at + units * net->output);
    }
    array[count++] = bp_array_of("x", BP_DTYPE_REAL, net->n, net->input, net->x);
    array[count++] = bp_array_of("y", BP_DTYPE_REAL, net->n, net->output, net->y);
    if (bp_safetensors_write(path, array, count, NULL, 0, NULL, NULL, &error) != BP_OK) {
        fprintf(stderr, "bench_peers: %s\n", error.text);
        return false;
    }
    for (k = 0; k < STEPS; k++) {
        double loss = 0.0;
        network_step(net, k + 1);
        for (i = 0; i < net->n * net->output; i++) loss += 0.5 * (double)net->dout[i] * (double)net->dout[i];
        printf("%.9g ", loss);
    }
    return true;
}

static bool answer_product(void) {
    const bench_shape shape = {false, false, 2560, 256, 256};
    const size_t n = 2560 * 256;
    bp_real *block = (bp_real *)bp_alloc(NULL, 3 * n * sizeof *block + bp_compute_bytes());
    bp_rng rng = bp_rng_make(1, 1);
    bp_compute compute;
    if (!block) return false;
    bp_rng_normals(block, &rng, 2 * n);
    bp_compute_init(&compute, BP_KERNEL_AUTO, block + 3 * n, NULL);
    printf("%.9g", bench_gemm(&compute, &shape, block, block + n, block + 2 * n, NULL, BP_ACT_NONE, NULL));
    bp_free(NULL, block, 3 * n * sizeof *block + bp_compute_bytes());
    return true;
}

/* number: threads, or a seed */
static bool answer(const char *row, size_t number, const char *path) {
    static const struct {
        const char *name;
        const sizes *learner;
        size_t reps;
    } learners[] = {{"rs0", &reference, 3}, {"rs0_small", &small, 101}, {"sac", &sac_64, 501}, {"sac_256", &sac_256, 51}};
    static const size_t wide[2] = {256, 256}, narrow[2] = {64, 64};
    network net;
    bool good = false;
    size_t i;
    for (i = 0; i < sizeof learners / sizeof learners[0]; i++) {
        if (strcmp(row, learners[i].name)) continue;
        if (path) return learning_write(learners[i].learner, path);
        printf("%.9g", learner_step(learners[i].learner, number, learners[i].reps, NULL));
        return true;
    }
    if (!strcmp(row, "gemm") && !path) return answer_product();
    if (!strcmp(row, "peak") && !path) return printf("%.9g", bench_peak()) > 0;
    if (!strcmp(row, "pendulum") && !path) {
        double steps, seconds = pendulum_solve((uint64_t)number, &steps);
        return printf("%.9g %.0f", seconds, steps) > 0;
    }
    memset(&net, 0, sizeof net);
    if (!strcmp(row, "mlp")) good = mlp_begin(&net, 60, wide, 8, 256);
    else if (!strcmp(row, "lstm")) good = lstm_begin(&net, 60, 128, 8, 10, 64);
    else if (!strcmp(row, "actor")) good = mlp_begin(&net, 3, narrow, 1, 1);
    else if (!strcmp(row, "actor_256")) good = mlp_begin(&net, 60, wide, 8, 1);
    if (good && path) good = network_write(&net, path);
    else if (good) printf("%.9g", net.n == 1 ? network_act(&net) : network_train(&net));
    network_end(&net);
    return good;
}

int main(void) {
    char line[1200], row[32], path[1024];
    unsigned long number;
    while (fgets(line, sizeof line, stdin)) {
        bool good = false;
        if (sscanf(line, "%31s > %1023s", row, path) == 2) good = answer(row, 1, path);
        else if (sscanf(line, "%31s %lu", row, &number) == 2) good = answer(row, (size_t)number, NULL);
        if (!good) {
            fprintf(stderr, "bench_peers: cannot answer: %s", line);
            return 1;
        }
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}
