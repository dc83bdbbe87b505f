/* bench_learn.h - what `make bench` and `make bench-peers` measure of learning: steps of the learner, of SAC, of an MLP and
 * of an LSTM, evaluations at batch 1, and the time until a pendulum stands.
 *
 * Include after the implementation of bprior.h and bench_gemm.h. Times are wall-clock time and medians.
 */
#ifndef BENCH_LEARN_H
#define BENCH_LEARN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the learner ------------------------------------------------------------ */

typedef struct sizes {
    size_t batch, samples, observation, seen, actions, policy[2], critic[2];
    bool sac;
} sizes;
static const sizes reference = {256, 10, 60, 41, 8, {200, 100}, {400, 300}, false}; /* the authors' released agent */
static const sizes small = {32, 4, 10, 4, 2, {64, 64}, {64, 64}, false};
static const sizes sac_64 = {100, 1, 3, 3, 1, {64, 64}, {64, 64}, true};
static const sizes sac_256 = {256, 1, 3, 3, 1, {256, 256}, {256, 256}, true};

/* A learner, a batch of random numbers and, for SAC, a replay that the batch is drawn from. */
typedef struct learning {
    bp_rs0 *learner;
    bp_team *team;
    bp_replay *replay;
    bp_batch batch;
    bp_real *data;
    size_t n; /* numbers in data */
    bp_rng rng;
} learning;

/* SAC is this learner with a uniform prior, squashed actions, T = 1 and S = 1. It has no target policy: V_t is the online one's.
 * Its networks are plain, with ReLU. */
static void configure_sac(bp_rs0_config *config) {
    config->length = 1;
    config->shards = 1;
    config->prior_kind = BP_PRIOR_UNIFORM;
    config->twin_critics = true;
    config->policy.squash = true;
    config->policy.tanh_mean = false;
    config->policy.min_std = 0.01;
    config->policy.layer_norm = config->critic_layer_norm = false;
    config->policy.activation = config->critic_activation = BP_ACT_RELU;
    config->value_source = config->kl_source = BP_SOURCE_ONLINE;
    config->alpha_mode = BP_WEIGHT_ADAPTED;
    config->alpha = bp_schedule_constant(0.2);
    config->kl_target = 0.6931471805599453 + 1.0; /* log volume of [-1,1], minus an entropy of -1 */
    config->entropy_cost = bp_schedule_constant(0.0);
    config->tau = 0.005;
}

/* 100,000 transitions of random numbers. */
static bp_status fill_replay(learning *l, bp_error *error) {
    bp_replay_config shape = bp_rs0_replay_config(l->learner);
    bp_real data[16]; /* two observations, an action, reward, discount, log mu, mask */
    bp_sequence sequence;
    bp_status status;
    size_t i;
    if (bp_sequence_reals(&shape) > 16) return BP_ERR_SIZE;
    shape.capacity = 100000;
    status = bp_replay_create(&l->replay, &shape, NULL, error);
    bp_sequence_init(&sequence, data, &shape);
    for (i = 0; i < shape.capacity && status == BP_OK; i++) {
        bp_rng_normals(data, &l->rng, bp_sequence_reals(&shape));
        sequence.discount[0] = sequence.mask[0] = BP_R(1);
        sequence.filled = 1;
        status = bp_replay_insert(l->replay, &sequence, error);
    }
    return status;
}

static void learning_end(learning *l) {
    bp_team_destroy(l->team);
    bp_replay_destroy(l->replay);
    bp_rs0_destroy(l->learner);
    bp_free(NULL, l->data, l->n * sizeof *l->data);
}

static bool learning_begin(learning *l, const sizes *s, size_t threads) {
    bp_error error;
    bp_spec spec;
    bp_rs0_config config = bp_rs0_config_default();
    bp_replay_config shape;
    bp_status status;
    size_t i;
    memset(l, 0, sizeof *l);
    l->rng = bp_rng_make(1, 1);
    bp_spec_begin(&spec, "bench");
    bp_spec_add_field(&spec, "seen", s->seen, NULL);
    if (s->observation > s->seen) bp_spec_add_field(&spec, "hidden", s->observation - s->seen, NULL);
    bp_spec_actions_continuous(&spec, s->actions, -1, 1, NULL);
    config.batch = s->batch;
    config.samples = s->samples;
    config.prior_kind = BP_PRIOR_LEARNED;
    config.prior.fields[0] = "seen";
    for (i = 0; i < 2; i++) {
        config.policy.width[i] = config.prior.width[i] = s->policy[i];
        config.critic_width[i] = s->critic[i];
    }
    if (s->sac) configure_sac(&config);
    shape = bp_replay_config_default(&spec);
    shape.length = config.length;
    l->n = bp_batch_reals(&shape, s->batch);
    l->data = (bp_real *)bp_alloc(NULL, l->n * sizeof *l->data);
    status = l->data ? bp_rs0_create(&l->learner, &spec, &config, NULL, &error) : BP_ERR_MEMORY;
    if (status == BP_OK) status = bp_team_create(&l->team, threads, NULL, &error);
    if (status == BP_OK && s->sac) status = fill_replay(l, &error);
    if (status != BP_OK) {
        fprintf(stderr, "bench: %s\n", bp_status_str(status));
        learning_end(l);
        return false;
    }
    bp_batch_init(&l->batch, l->data, &shape, s->batch);
    bp_rng_normals(l->data, &l->rng, l->n);
    for (i = 0; i < config.length * s->batch; i++) {
        l->batch.discount[i] = l->batch.mask[i] = BP_R(1);
        l->batch.log_mu[i] = BP_R(-2);
    }
    return true;
}

/* Median seconds of one learner step: with a learned prior and T = 10, or of SAC, then with drawing the batch from replay.
 * *macs gets its multiply-adds. */
static double learner_step(const sizes *s, size_t threads, size_t reps, double *macs) {
    bp_error error;
    learning l;
    double sample[1001], result;
    size_t i;
    if (!learning_begin(&l, s, threads)) return 0.0;
    for (i = 0; i < reps + 3; i++) { /* three to warm up */
        const double start = wall();
        if (l.replay) bp_replay_sample(&l.batch, l.replay, &l.rng, &error);
        if (bp_rs0_step(l.learner, &l.batch, &l.rng, l.team, &error) != BP_OK) fprintf(stderr, "bench: %s\n", error.text);
        if (i >= 3) sample[i - 3] = wall() - start;
    }
    result = bench_median(sample, reps);
    if (macs) *macs = (double)bp_rs0_macs(l.learner);
    learning_end(&l);
    return result;
}

/* ---- one network -------------------------------------------------------------- */

/* An MLP on n rows; or an LSTM on T steps of n / T rows, and a linear layer on what it says. */
typedef struct network {
    bp_mlp mlp;
    bp_rnn rnn; /* units 0: an MLP */
    bp_compute compute;
    size_t n, T, input, output, n_params, bytes;
    void *block, *pack;
    bp_real *params, *grad, *m, *v;       /* [n_params] */
    bp_real *x, *y, *h, *out, *dh, *dout; /* [n][input], [n][output] what out should be, [n][units], ... */
    bp_real *saved, *work;
} network;

static void network_layout(network *net, bp_arena *arena) {
    const size_t n = net->n, T = net->T, units = net->rnn.units;
    net->pack = bp_arena_take(arena, 1, bp_compute_bytes());
    net->params = bp_arena_real(arena, net->n_params);
    net->grad = bp_arena_real(arena, net->n_params);
    net->m = bp_arena_real(arena, net->n_params);
    net->v = bp_arena_real(arena, net->n_params);
    net->x = bp_arena_real(arena, n * net->input);
    net->y = bp_arena_real(arena, n * net->output);
    net->h = bp_arena_real(arena, n * units);
    net->out = bp_arena_real(arena, n * net->output);
    net->dh = bp_arena_real(arena, n * units);
    net->dout = bp_arena_real(arena, n * net->output);
    net->saved = bp_arena_real(arena, units ? bp_rnn_saved_reals(&net->rnn, T, n / T) : bp_mlp_saved_reals(&net->mlp, n, 1));
    net->work = bp_arena_real(arena, units ? bp_rnn_work_reals(&net->rnn, T, n / T) : bp_mlp_work_reals(&net->mlp, n, 1));
}

/* What has been described in net->mlp or net->rnn, with parameters and data. */
static bool network_begin(network *net, size_t input, size_t output, size_t n, size_t T) {
    bp_rng rng = bp_rng_make(2, 2);
    bp_arena arena = bp_arena_make(NULL, 0);
    const size_t units = net->rnn.units;
    net->input = input;
    net->output = output;
    net->n = n;
    net->T = T;
    net->n_params = units ? net->rnn.n_params + (units + 1) * output : net->mlp.n_params;
    network_layout(net, &arena);
    net->bytes = arena.used;
    net->block = bp_alloc(NULL, net->bytes);
    if (!net->block) return false;
    memset(net->block, 0, net->bytes);
    arena = bp_arena_make(net->block, net->bytes);
    network_layout(net, &arena);
    bp_compute_init(&net->compute, BP_KERNEL_AUTO, net->pack, NULL);
    if (units) {
        bp_real *head = net->params + net->rnn.n_params;
        bp_rnn_init_params(net->params, &net->rnn, &rng);
        bp_init_variance_scaling(head, &rng, units, output, 0.333, BP_FAN_OUT);
    } else bp_mlp_init_params(net->params, &net->mlp, &rng);
    bp_rng_normals(net->x, &rng, n * input);
    bp_rng_normals(net->y, &rng, n * output);
    return true;
}

static void network_end(network *net) { bp_free(NULL, net->block, net->bytes); }

static bool mlp_begin(network *net, size_t input, const size_t width[2], size_t output, size_t n) {
    bp_mlp_config config = bp_mlp_config_default(input, output);
    memset(net, 0, sizeof *net);
    config.width[0] = width[0];
    config.width[1] = width[1];
    config.layer_norm = false;
    config.activation = BP_ACT_RELU;
    return bp_mlp_init(&net->mlp, &config, NULL) == BP_OK && network_begin(net, input, output, n, 1);
}

static bool lstm_begin(network *net, size_t input, size_t units, size_t output, size_t T, size_t B) {
    bp_mlp_config config = bp_mlp_config_default(input, 4 * units);
    memset(net, 0, sizeof *net);
    config.hidden_layers = 0;
    return bp_rnn_init(&net->rnn, &config, units, NULL) == BP_OK && network_begin(net, input, output, T * B, T);
}

/* Forward, gradient of the squared error 1/2 sum (out - y)^2, backward, Adam; k = 1, 2, ... */
static void network_step(network *net, size_t k) {
    const bp_adam_config adam = bp_adam_config_default();
    const size_t n = net->n, T = net->T, units = net->rnn.units, output = net->output;
    bp_real *w = net->params + net->rnn.n_params, *b = w + units * output;
    bp_real *dw = net->grad + net->rnn.n_params, *db = dw + units * output;
    size_t i;
    memset(net->grad, 0, net->n_params * sizeof(bp_real));
    if (units) {
        bp_rnn_forward(&net->compute, net->h, net->saved, net->work, net->x, NULL, NULL, NULL, net->params, &net->rnn, T, n / T);
        bp_linear_forward(&net->compute, net->out, net->h, w, b, n, units, output, BP_ACT_NONE);
    } else bp_mlp_forward(&net->compute, net->out, net->saved, net->x, NULL, net->params, &net->mlp, n, 1);
    for (i = 0; i < n * output; i++) net->dout[i] = net->out[i] - net->y[i];
    if (units) {
        memset(net->dh, 0, n * units * sizeof(bp_real));
        bp_linear_backward(&net->compute, net->dh, dw, db, net->dout, net->h, w, n, units, output);
        bp_rnn_backward(&net->compute, net->grad, NULL, NULL, net->saved, net->work, net->dh, net->x, NULL, NULL, net->params,
                        &net->rnn, 0, T, n / T);
    } else
        bp_mlp_backward(&net->compute, net->grad, NULL, NULL, net->saved, net->work, net->dout, net->x, NULL, net->params, &net->mlp,
                        n, 1);
    bp_adam_step(net->params, net->m, net->v, net->grad, net->n_params, &adam, k, 1.0, 1.0);
}

/* Median seconds of a training step. */
static double network_train(network *net) {
    double sample[101];
    size_t k;
    for (k = 0; k < 101; k++) {
        const double start = wall();
        network_step(net, k + 1);
        sample[k] = wall() - start;
    }
    return bench_median(sample, 101);
}

/* Median seconds of one evaluation at batch 1: what an actor pays. */
static double network_act(network *net) {
    double sample[101];
    size_t i, k;
    for (k = 0; k < 101; k++) {
        const double start = wall();
        for (i = 0; i < 1000; i++) {
            net->x[0] = net->out[0]; /* each evaluation waits for the one before, as in a control loop */
            bp_mlp_eval(&net->compute, net->out, net->work, net->x, NULL, net->params, &net->mlp, 1, 1);
        }
        sample[k] = (wall() - start) / 1000.0;
    }
    return bench_median(sample, 101);
}

/* ---- until the pendulum stands ---------------------------------------------------- */

/* Settings that stand the pendulum up soon: SAC with large steps, one for every three of the environment. They were chosen on seeds
 * 101 to 108 and 201 to 220; others are reported. */
static bp_run_config pendulum_settings(uint64_t seed) {
    bp_run_config config = bp_run_config_default();
    bp_rs0_config *learner = &config.learner;
    configure_sac(learner);
    config.envs = bp_pendulum_maker(NULL);
    config.seed = learner->seed = seed;
    config.env_steps = 20000;
    config.min_sequences = 500;
    config.replay_capacity = 20000;
    config.samples_per_insert = 64.0 / 3.0;
    config.evaluate_every = config.log_every = config.checkpoint_every = 0;
    learner->batch = 64;
    learner->samples = 1;
    learner->critic_output_scale = 1.0; /* twins that both begin at 0 would agree for long */
    learner->policy_adam.lr = learner->critic_adam.lr = 5e-3;
    learner->alpha = bp_schedule_constant(1.0);
    learner->alpha_lr = 1e-2;
    learner->discount = 0.95;
    learner->tau = 0.05;
    return config;
}

/* Seconds of acting and learning until the mean return of ten deterministic episodes, looked at every 500 steps, is above -200;
 * *steps gets the environment's. HUGE_VAL: not in 20,000 steps. */
static double pendulum_solve(uint64_t seed, double *steps) {
    const bp_run_config config = pendulum_settings(seed);
    uint64_t next = 500;
    double seconds = 0.0;
    bool solved = false;
    bp_error error;
    bp_run *run;
    *steps = 0.0;
    if (bp_run_create(&run, &config, NULL, &error) != BP_OK) {
        fprintf(stderr, "bench: %s\n", error.text);
        return HUGE_VAL;
    }
    while (!run->done && !solved) {
        bp_evaluation result;
        const double start = wall();
        while (!run->done && run->env_steps < next)
            if (bp_run_round(run, &error) != BP_OK) break;
        seconds += wall() - start;
        if (run->env_steps < next) break;
        next += 500;
        solved = bp_run_evaluate(&result, NULL, run, BP_PLAY_POLICY, 10, 12345, false, &error) == BP_OK && result.mean > -200.0;
    }
    *steps = (double)run->env_steps;
    bp_run_destroy(run);
    return solved ? seconds : HUGE_VAL;
}

#endif /* BENCH_LEARN_H */
