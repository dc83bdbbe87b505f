/* Chapter 18: the relatives (E8, E17, E32). SAC and MPO are settings of the same learner, and a prior can be learned from a file.
 *
 * Gradients against central differences of the reported losses; the entropy of a squashed Gaussian against a quadrature;
 * bandits whose optimum is known on paper; a clone that must find the policy which made its data.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include <unistd.h>

enum { O = 4,
       A = 2,
       K = 3,
       T = 4,
       B = 6 };

static void make_spec(bp_spec *spec, bool discrete) {
    bp_error error;
    bp_spec_begin(spec, "robot");
    bpt_ok(bp_spec_add_field(spec, "body", 3, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "goal", 1, &error), &error);
    if (discrete) bpt_ok(bp_spec_actions_discrete(spec, K, &error), &error);
    else bpt_ok(bp_spec_actions_continuous(spec, A, -1, 1, &error), &error);
}

static bp_rs0_config small_config(void) {
    bp_rs0_config c = bp_rs0_config_default();
    size_t i;
    c.batch = B;
    c.length = T;
    c.samples = 3;
    c.kernel = BP_KERNEL_REFERENCE;
    c.alpha = bp_schedule_constant(0.3);
    c.entropy_cost = bp_schedule_constant(0.05);
    c.prior.n_fields = 1;
    c.prior.fields[0] = "body";
    for (i = 0; i < 2; i++) c.policy.width[i] = c.prior.width[i] = c.critic_width[i] = 5;
    c.policy_adam.lr = c.prior_adam.lr = c.critic_adam.lr = 1e-2;
    return c;
}

typedef struct world {
    bp_spec spec;
    bp_rs0 *l;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
} world;

static void world_make(world *w, bool discrete, const bp_rs0_config *config) {
    const size_t rows = config->length * config->batch;
    bp_error error;
    bp_replay_config shape;
    size_t i;
    memset(w, 0, sizeof *w);
    make_spec(&w->spec, discrete);
    bpt_ok(bp_rs0_create(&w->l, &w->spec, config, NULL, &error), &error);
    w->rng = bp_rng_make(7, 7);
    for (i = 0; i < w->l->policy_p.n; i++) w->l->policy_p.online[i] += BP_R(0.3 * bp_rng_normal(&w->rng));
    for (i = 0; i < w->l->policy_p.n; i++) w->l->policy_p.target[i] += BP_R(0.3 * bp_rng_normal(&w->rng));
    for (i = 0; i < w->l->critic_p.n; i++) w->l->critic_p.target[i] += BP_R(0.5 * bp_rng_normal(&w->rng));
    for (i = 0; i < w->l->critic_p.n; i++) w->l->critic_p.online[i] += BP_R(0.5 * bp_rng_normal(&w->rng));
    shape = bp_rs0_replay_config(w->l);
    w->data = (bp_real *)malloc(bp_batch_reals(&shape, config->batch) * sizeof(bp_real));
    assert_non_null(w->data);
    bp_batch_init(&w->batch, w->data, &shape, config->batch);
    bp_rng_normals(w->data, &w->rng, bp_batch_reals(&shape, config->batch));
    for (i = 0; i < rows; i++) {
        w->batch.discount[i] = w->batch.mask[i] = BP_R(1);
        w->batch.log_mu[i] = BP_R(-2);
        if (discrete) w->batch.action[i] = BP_R(bp_rng_index(&w->rng, K));
    }
    w->batch.mask[8] = BP_R(0);
    if (!discrete) {
        bp_rng_normals(w->l->target_noise, &w->rng, (config->length + 1) * config->batch * config->samples * A);
        bp_rng_normals(w->l->policy_noise, &w->rng, rows * config->samples * A);
    }
}

static void world_free(world *w) {
    bp_rs0_destroy(w->l);
    free(w->data);
}

static double policy_loss(void *ctx) {
    world *w = (world *)ctx;
    bp_error error;
    bpt_ok(bp_rs0_gradients(w->l, &w->batch, NULL, &error), &error);
    return w->l->metrics.policy_loss;
}

/* The policy's gradient is that of the loss that is reported. */
static void check_policy_gradient(world *w) {
    const size_t n = w->l->policy_p.n;
    bp_real *grad = (bp_real *)malloc(n * sizeof(bp_real));
    assert_non_null(grad);
    (void)policy_loss(w);
    memcpy(grad, w->l->policy_p.grad, n * sizeof(bp_real));
    bpt_check_gradient(policy_loss, w, w->l->policy_p.online, grad, n);
    free(grad);
}

/* ---- squashed Gaussians --------------------------------------------------------------------------- */

static double log_det_of(void *ctx) {
    return (double)bp_squash_log_det((const bp_real *)ctx, 3);
}

static void test_log_det(void **state) {
    bp_real u[3] = {BP_R(0.3), BP_R(-1.7), BP_R(2.4)}, du[3] = {0, 0, 0};
    double x, total = 0, entropy = 0;
    const double mean = 0.4, std = 0.8, dx = 1e-3;
    bp_real one;
    (void)state;
    bp_squash_log_det_backward(du, BP_R(1), u, 3);
    bpt_check_gradient(log_det_of, u, u, du, 3);
    /* where tanh rounds to 1: log(1 - tanh^2 u) = 2 log 2 - 2u to all digits */
    one = BP_R(40);
    bpt_close(bp_squash_log_det(&one, 1), 2 * log(2) - 80, BPT_TOL(1e-6, 1e-14));
    one = BP_R(-40);
    bpt_close(bp_squash_log_det(&one, 1), 2 * log(2) - 80, BPT_TOL(1e-6, 1e-14));
    /* the density of a = tanh(u) adds up to one, and its entropy is H[u] + E log det */
    for (x = -1 + dx / 2; x < 1; x += dx) {
        const bp_real v = BP_R(atanh(x)), m = BP_R(mean), s = BP_R(std);
        const double log_p = (double)(bp_gaussian_log_prob(&v, &m, &s, 1) - bp_squash_log_det(&v, 1));
        total += dx * exp(log_p);
        entropy -= dx * exp(log_p) * log_p;
    }
    bpt_close(total, 1, 1e-4);
    x = 0;
    {
        bp_rng rng = bp_rng_make(3, 3);
        const bp_real s = BP_R(std);
        int i;
        for (i = 0; i < 200000; i++) {
            const bp_real v = BP_R(mean + std * bp_rng_normal(&rng));
            x += (double)bp_squash_log_det(&v, 1) / 200000;
        }
        bpt_close(entropy, (double)bp_gaussian_entropy(&s, 1) + x, 5e-3);
    }
}

static bp_rs0_config sac_config(void) {
    bp_rs0_config c = small_config();
    c.prior_kind = BP_PRIOR_UNIFORM;
    c.twin_critics = true;
    c.policy.squash = true;
    c.policy.tanh_mean = false;
    c.policy.min_std = 0.01;
    return c;
}

static void test_sac_gradient(void **state) {
    bp_rs0_config c = sac_config();
    world w;
    double kl, entropy;
    (void)state;
    world_make(&w, false, &c);
    check_policy_gradient(&w);
    /* KL to the uniform density is log volume less the entropy, squashed on both sides */
    kl = w.l->metrics.kl;
    entropy = w.l->metrics.entropy;
    bpt_close(kl, A * log(2) - entropy, BPT_TOL(1e-5, 1e-12));
    world_free(&w);
    c.prior_kind = BP_PRIOR_NONE; /* the entropy cost alone */
    world_make(&w, false, &c);
    check_policy_gradient(&w);
    world_free(&w);
    c.prior_kind = BP_PRIOR_LEARNED; /* a learned prior of squashed actions: the same closed-form KL */
    c.prior.squash = true;
    world_make(&w, false, &c);
    check_policy_gradient(&w);
    world_free(&w);
}

/* V_t by hand: mean over the samples of the smaller critic at tanh(u), less alpha times (log volume - H). */
static void test_sac_value(void **state) {
    bp_rs0_config c = sac_config();
    world w;
    size_t b, s, k;
    (void)state;
    c.shards = 1;
    world_make(&w, false, &c);
    (void)policy_loss(&w);
    for (b = 0; b < B; b++) { /* row t = 1 */
        const bp_real *obs = w.batch.observation + (B + b) * O;
        bp_real dist[2 * A], work[4096], scratch[4096], q[2];
        bp_compute compute;
        void *memory = bp_alloc(NULL, bp_compute_bytes());
        double v = 0, h;
        bp_error error;
        bpt_ok(bp_compute_init(&compute, BP_KERNEL_REFERENCE, memory, &error), &error);
        bp_policy_eval(&compute, dist, work, obs, NULL, w.l->policy_p.target, &w.l->policy, 1);
        h = (double)bp_gaussian_entropy(dist + A, A);
        for (s = 0; s < c.samples; s++) {
            const bp_real *eps = w.l->target_noise + (1 * B + b) * c.samples * A + s * A;
            bp_real u[A], a[A];
            for (k = 0; k < A; k++) u[k] = dist[k] + dist[A + k] * eps[k], a[k] = bp_tanh(u[k]);
            for (k = 0; k < 2; k++)
                bp_mlp_eval(&compute, &q[k], scratch, obs, a, w.l->critic_p.target + k * w.l->critic.n_params, &w.l->critic, 1, 1);
            v += (double)(q[0] < q[1] ? q[0] : q[1]) / (double)c.samples;
            h += (double)bp_squash_log_det(u, A) / (double)c.samples;
        }
        v -= 0.3 * (A * log(2) - h);
        bpt_close(w.l->value[B + b], v, BPT_TOL(1e-4, 1e-11));
        bp_free(NULL, memory, bp_compute_bytes());
    }
    world_free(&w);
}

/* ---- E/M -------------------------------------------------------------------------------------------- */

static void test_em_gradient(void **state) {
    bp_rs0_config c = small_config();
    world w;
    int discrete;
    (void)state;
    c.improvement = BP_IMPROVE_EM;
    c.prior_kind = BP_PRIOR_PREVIOUS;
    c.em_temperature = 0.7;
    for (discrete = 0; discrete < 2; discrete++) {
        world_make(&w, discrete, &c);
        check_policy_gradient(&w);
        assert_true(w.l->metrics.em_kl > 0);
        bpt_close(w.l->metrics.em_temperature, 0.7, 1e-12);
        world_free(&w);
    }
}

/* eta rises while the E-step costs more than it may, and falls while it costs less. */
static void test_em_temperature(void **state) {
    bp_rs0_config c = small_config();
    double before;
    world w;
    bp_error error;
    (void)state;
    c.improvement = BP_IMPROVE_EM;
    c.prior_kind = BP_PRIOR_PREVIOUS;
    c.em_kl_target = 0;
    world_make(&w, false, &c);
    before = bp_dual_value(&w.l->em_dual);
    bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), &error);
    assert_true(bp_dual_value(&w.l->em_dual) > before);
    world_free(&w);
    c.em_kl_target = 100;
    world_make(&w, false, &c);
    bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), &error);
    assert_true(bp_dual_value(&w.l->em_dual) < before);
    world_free(&w);
}

/* A bandit with one state: reward = -(a0 - .5)^2 - (a1 + .3)^2. Both ways of improving find its best action. */
static void bandit(bp_rs0_config *c, double *a0, double *a1) {
    world w;
    bp_error error;
    bp_behavior behavior;
    bp_compute compute;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    bp_real dist[2 * A], work[4096], observation[O] = {0, 0, 0, 0}, action[A];
    size_t i, step;
    c->length = 1;
    c->batch = 32;
    c->samples = 8;
    c->target_period = 20;
    c->lambda = 0;
    for (i = 0; i < 2; i++) c->policy.width[i] = c->critic_width[i] = 16;
    world_make(&w, false, c);
    bpt_ok(bp_compute_init(&compute, BP_KERNEL_REFERENCE, memory, &error), &error);
    memset(w.batch.observation, 0, 2 * 32 * O * sizeof(bp_real));
    for (step = 0; step < 800; step++) {
        for (i = 0; i < 32; i++) {
            const double u = 1.2 * bp_rng_normal(&w.rng), v = 1.2 * bp_rng_normal(&w.rng);
            const double x = c->policy.squash ? tanh(u) : fmin(1, fmax(-1, u)), y = c->policy.squash ? tanh(v) : fmin(1, fmax(-1, v));
            w.batch.action[i * A] = BP_R(u), w.batch.action[i * A + 1] = BP_R(v);
            w.batch.reward[i] = BP_R(-(x - 0.5) * (x - 0.5) - (y + 0.3) * (y + 0.3));
            w.batch.discount[i] = BP_R(0);
            w.batch.mask[i] = BP_R(1);
        }
        bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), &error);
    }
    bpt_ok(bp_rs0_behavior(&behavior, w.l, BP_PLAY_POLICY, observation, &error), &error);
    bp_behavior_act(&compute, action, NULL, NULL, dist, NULL, work, NULL, observation, &behavior);
    bp_policy_squash(action, action, behavior.policy, 1);
    *a0 = (double)action[0], *a1 = (double)action[1];
    bp_free(NULL, memory, bp_compute_bytes());
    world_free(&w);
}

static void test_bandit_em(void **state) {
    bp_rs0_config c = small_config();
    double a0, a1;
    (void)state;
    c.improvement = BP_IMPROVE_EM;
    c.prior_kind = BP_PRIOR_PREVIOUS;
    c.alpha = bp_schedule_constant(0.01);
    c.entropy_cost = bp_schedule_constant(0);
    bandit(&c, &a0, &a1);
    bpt_close(a0, 0.5, 0.1);
    bpt_close(a1, -0.3, 0.1);
}

static void test_bandit_sac(void **state) {
    bp_rs0_config c = sac_config();
    double a0, a1;
    (void)state;
    c.alpha = bp_schedule_constant(0.01);
    c.entropy_cost = bp_schedule_constant(0);
    bandit(&c, &a0, &a1);
    bpt_close(a0, 0.5, 0.1);
    bpt_close(a1, -0.3, 0.1);
}

/* SAC's temperature: alpha moves until the entropy is what was asked for. */
static void test_sac_temperature(void **state) {
    bp_rs0_config c = sac_config();
    world w;
    bp_error error;
    size_t step;
    const double wanted = -1;
    double mean = 0;
    (void)state;
    c.alpha_mode = BP_WEIGHT_ADAPTED;
    c.alpha = bp_schedule_constant(0.1);
    c.alpha_lr = 0.02;
    c.kl_target = A * log(2) - wanted;
    c.entropy_cost = bp_schedule_constant(0);
    world_make(&w, false, &c);
    for (step = 0; step < 2000; step++) {
        bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), &error);
        if (step >= 1000) mean += w.l->metrics.entropy / 1000; /* it swings about what it is after */
    }
    bpt_close(mean, wanted, 0.3);
    world_free(&w);
}

static void refused(bp_rs0_config *c, bp_status want, const char *word) {
    bp_spec spec;
    bp_rs0 *l;
    bp_error error;
    make_spec(&spec, false);
    assert_int_equal(bp_rs0_create(&l, &spec, c, NULL, &error), want);
    assert_null(l);
    assert_non_null(strstr(error.text, word));
}

static void test_refusals(void **state) {
    bp_rs0_config c = sac_config();
    (void)state;
    c.improvement = BP_IMPROVE_EM;
    refused(&c, BP_ERR_UNSUPPORTED, "EM");
    c = sac_config();
    c.prior_kind = BP_PRIOR_LEARNED;
    refused(&c, BP_ERR_MISMATCH, "squash");
    c = small_config();
    c.em_temperature = 0;
    refused(&c, BP_ERR_ARGUMENT, "em_temperature");
    c = small_config();
    c.em_lr = NAN;
    refused(&c, BP_ERR_ARGUMENT, "em_lr");
    c = small_config();
    c.latent = bp_latent_config_default(2);
    c.latent.high.squash = true;
    refused(&c, BP_ERR_ARGUMENT, "squash");
}

/* ---- a prior from a file ----------------------------------------------------------------------------- */

/* The expert sees the goal: a = N(+-.5, .2) by its sign, and a small part that depends on the body. */
static void record(bp_replay *replay, const bp_replay_config *shape, size_t sequences) {
    bp_rng rng = bp_rng_make(11, 2);
    bp_sequence s;
    bp_real *data = (bp_real *)malloc(bp_sequence_reals(shape) * sizeof(bp_real)), x[O], a[A];
    bp_error error;
    size_t i, t, k;
    assert_non_null(data);
    bp_sequence_init(&s, data, shape);
    for (i = 0; i < sequences; i++) {
        bp_rng_normals(x, &rng, O);
        bp_sequence_begin(&s, x);
        for (t = 0; t < shape->length; t++) {
            const double goal = (double)x[3] > 0 ? 0.5 : -0.5;
            for (k = 0; k < A; k++) a[k] = BP_R(goal + 0.3 * (double)x[k] + 0.2 * bp_rng_normal(&rng));
            bp_rng_normals(x, &rng, O);
            bp_sequence_add(&s, a, BP_R(0), BP_R(0), BP_R(1), x);
        }
        bpt_ok(bp_replay_insert(replay, &s, &error), &error);
    }
    free(data);
}

typedef struct cloning {
    bp_spec spec;
    bp_replay *replay;
    bp_clone *clone;
    bp_batch batch;
    bp_real *data;
} cloning;

static void cloning_make(cloning *w, const char *field, size_t lstm) {
    bp_clone_config config = bp_clone_config_default();
    bp_replay_config shape;
    bp_error error;
    make_spec(&w->spec, false);
    shape = bp_replay_config_default(&w->spec);
    shape.capacity = 400;
    shape.length = T;
    bpt_ok(bp_replay_create(&w->replay, &shape, NULL, &error), &error);
    record(w->replay, &shape, 400);
    config.policy.fields[0] = field;
    config.policy.lstm = lstm;
    config.policy.width[0] = config.policy.width[1] = 16;
    config.policy.tanh_mean = false;
    config.policy.min_std = 0.01;
    config.length = T;
    config.batch = 32;
    config.adam.lr = 3e-3;
    bpt_ok(bp_clone_create(&w->clone, &w->spec, &config, NULL, &error), &error);
    w->data = (bp_real *)malloc(bp_batch_reals(&shape, 32) * sizeof(bp_real));
    assert_non_null(w->data);
    bp_batch_init(&w->batch, w->data, &shape, 32);
}

static void cloning_free(cloning *w) {
    bp_clone_destroy(w->clone);
    bp_replay_destroy(w->replay);
    free(w->data);
}

static double clone_loss(void *ctx) {
    cloning *w = (cloning *)ctx;
    bp_error error;
    bpt_ok(bp_clone_gradients(w->clone, &w->batch, &error), &error);
    return w->clone->loss;
}

static void test_clone_gradient(void **state) {
    cloning w;
    bp_rng rng = bp_rng_make(5, 5);
    bp_error error;
    int lstm;
    (void)state;
    for (lstm = 0; lstm < 2; lstm++) {
        bp_real *grad;
        size_t i;
        cloning_make(&w, "*", lstm ? 5 : 0);
        bpt_ok(bp_replay_sample(&w.batch, w.replay, &rng, &error), &error);
        w.batch.mask[40] = BP_R(0); /* a boundary: no loss there, memory cleared after */
        for (i = 0; i < w.clone->p.n; i++) w.clone->p.online[i] += BP_R(0.1 * bp_rng_normal(&rng));
        grad = (bp_real *)malloc(w.clone->p.n * sizeof(bp_real));
        assert_non_null(grad);
        (void)clone_loss(&w);
        memcpy(grad, w.clone->p.grad, w.clone->p.n * sizeof(bp_real));
        bpt_check_gradient(clone_loss, &w, w.clone->p.online, grad, w.clone->p.n);
        free(grad);
        cloning_free(&w);
    }
}

/* What sees everything finds the expert's own entropy; what does not see the goal finds the best Gaussian for both goals,
 * whose cross-entropy is known: mean 0 + .3 body, variance .2^2 + .5^2. */
static void test_clone_learns(void **state) {
    static const char *const sees[2] = {"*", "body"};
    const double sigma[2] = {0.2, sqrt(0.2 * 0.2 + 0.5 * 0.5)};
    int i;
    (void)state;
    for (i = 0; i < 2; i++) {
        const double best = A * (0.5 * log(2 * 3.14159265358979323846) + log(sigma[i]) + 0.5);
        cloning w;
        bp_rng rng = bp_rng_make(6, 6);
        bp_error error;
        double loss = 0;
        int step;
        cloning_make(&w, sees[i], 0);
        for (step = 0; step < 1500; step++) {
            bpt_ok(bp_replay_sample(&w.batch, w.replay, &rng, &error), &error);
            bpt_ok(bp_clone_step(w.clone, &w.batch, &error), &error);
            if (step >= 1300) loss += w.clone->loss / 200;
        }
        bpt_close(loss, best, 0.2);
        assert_int_equal(w.clone->steps, 1500);
        cloning_free(&w);
    }
}

/* Record, write, read, clone, save, load as the prior of a learner, and hold it fixed. */
static void test_from_file_to_prior(void **state) {
    char directory[] = "build/test-relatives-XXXXXX", data_path[64], prior_path[64];
    cloning w;
    bp_replay *loaded;
    bp_policy_export what;
    bp_rs0_config c = small_config();
    bp_rs0 *l;
    bp_error error;
    bp_spec other;
    FILE *f;
    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(data_path, sizeof data_path, "%s/data.safetensors", directory);
    (void)snprintf(prior_path, sizeof prior_path, "%s/prior.safetensors", directory);
    cloning_make(&w, "body", 0);
    bpt_ok(bp_replay_save(data_path, w.replay, &w.spec, &error), &error);
    bpt_ok(bp_replay_load(&loaded, data_path, &w.spec, NULL, &error), &error);
    assert_int_equal(loaded->count, 400);
    assert_int_equal(loaded->config.length, T);
    assert_memory_equal(loaded->data, w.replay->data, 400 * loaded->stride * sizeof(bp_real));
    bp_replay_destroy(loaded);
    bpt_ok(bp_replay_load(&loaded, data_path, NULL, NULL, &error), &error);
    bp_replay_destroy(loaded);
    make_spec(&other, true);
    assert_int_equal(bp_replay_load(&loaded, data_path, &other, NULL, &error), BP_ERR_MISMATCH);
    assert_non_null(strstr(error.text, "actions are continuous there, discrete here"));
    assert_null(loaded);

    memset(&what, 0, sizeof what);
    what.behavior.policy = &w.clone->policy;
    what.behavior.params = w.clone->p.online;
    what.spec = &w.spec;
    bpt_ok(bp_policy_save(prior_path, &what, &error), &error);
    assert_int_equal(bp_replay_load(&loaded, prior_path, NULL, NULL, &error), BP_ERR_MISMATCH); /* a policy is no data */
    c.prior_kind = BP_PRIOR_FIXED;
    c.prior.width[0] = c.prior.width[1] = 16;
    c.prior.tanh_mean = false;
    c.prior.min_std = 0.01;
    bpt_ok(bp_rs0_create(&l, &w.spec, &c, NULL, &error), &error);
    bpt_ok(bp_rs0_load_prior(l, prior_path, NULL, &error), &error);
    assert_memory_equal(l->prior_p.online, w.clone->p.online, l->prior_p.n * sizeof(bp_real));
    bp_rs0_destroy(l);

    f = fopen(data_path, "r+b"); /* a number that is none */
    assert_non_null(f);
    assert_int_equal(fseek(f, -(long)sizeof(bp_real), SEEK_END), 0);
    {
        const bp_real nan = BP_R(NAN);
        assert_int_equal(fwrite(&nan, sizeof nan, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(bp_replay_load(&loaded, data_path, NULL, NULL, &error), BP_ERR_NONFINITE);
    assert_null(loaded);
    assert_int_equal(unlink(data_path), 0);
    assert_int_equal(unlink(prior_path), 0);
    assert_int_equal(rmdir(directory), 0);
    cloning_free(&w);
}

static void test_clone_bad_input(void **state) {
    bp_clone_config c = bp_clone_config_default();
    bp_clone *clone;
    bp_spec spec;
    bp_error error;
    bpt_memory m;
    cloning w;
    bp_rng rng = bp_rng_make(5, 5);
    size_t n;
    (void)state;
    make_spec(&spec, false);
    c.burn_in = 10;
    assert_int_equal(bp_clone_create(&clone, &spec, &c, NULL, &error), BP_ERR_ARGUMENT);
    assert_non_null(strstr(error.text, "burn_in"));
    c.burn_in = 0, c.policy.fields[0] = "tail";
    assert_int_equal(bp_clone_create(&clone, &spec, &c, NULL, &error), BP_ERR_FIELD);
    memset(&c, 0, sizeof c);
    assert_int_equal(bp_clone_create(&clone, &spec, &c, NULL, &error), BP_ERR_CONFIG);
    c = bp_clone_config_default();
    c.batch = SIZE_MAX / 4;
    assert_int_equal(bp_clone_create(&clone, &spec, &c, NULL, &error), BP_ERR_SIZE);
    c = bp_clone_config_default();
    for (n = 1;; n++) {
        bp_status status;
        bpt_memory_use(&m);
        m.fail_at = n;
        status = bp_clone_create(&clone, &spec, &c, &m.allocator, &error);
        if (status == BP_OK) break;
        assert_int_equal(status, BP_ERR_MEMORY);
        assert_null(clone);
        bpt_memory_check(&m);
    }
    bp_clone_destroy(clone);
    bpt_memory_check(&m);

    cloning_make(&w, "*", 0);
    bpt_ok(bp_replay_sample(&w.batch, w.replay, &rng, &error), &error);
    {
        bp_real *before = (bp_real *)malloc(w.clone->p.n * sizeof(bp_real));
        assert_non_null(before);
        memcpy(before, w.clone->p.online, w.clone->p.n * sizeof(bp_real));
        w.batch.action[3] = BP_R(NAN);
        assert_int_equal(bp_clone_step(w.clone, &w.batch, &error), BP_ERR_NONFINITE);
        assert_memory_equal(before, w.clone->p.online, w.clone->p.n * sizeof(bp_real));
        assert_int_equal(w.clone->steps, 0);
        w.batch.batch--;
        assert_int_equal(bp_clone_step(w.clone, &w.batch, &error), BP_ERR_SIZE);
        free(before);
    }
    cloning_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_det),
        cmocka_unit_test(test_sac_gradient),
        cmocka_unit_test(test_sac_value),
        cmocka_unit_test(test_em_gradient),
        cmocka_unit_test(test_em_temperature),
        cmocka_unit_test(test_bandit_em),
        cmocka_unit_test(test_bandit_sac),
        cmocka_unit_test(test_sac_temperature),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_clone_gradient),
        cmocka_unit_test(test_clone_learns),
        cmocka_unit_test(test_from_file_to_prior),
        cmocka_unit_test(test_clone_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
