/* Whole learner steps against an oracle in PyTorch (tests/oracle/README.md).
 *
 * Each file holds parameters, a batch and noise, and what E19-E22 (E8, E17, E27-E30, E32, E35) make of them: losses, soft values,
 * traces, Retrace targets, every gradient entry, and the parameters after one and after three steps of
 * Adam. The files were computed in double precision without any code of this library, by automatic
 * differentiation; here they are rebuilt with every kernel and for several shard counts.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#if defined(BPRIOR_THREADS)
#include <pthread.h>
#include <sched.h>
#include <time.h>
#endif

/* A build without threads refuses more than one. */
#if defined(BPRIOR_THREADS)
#define THREADS 3
#else
#define THREADS 1
#endif

#ifndef TEST_DATA
#define TEST_DATA "tests/oracle/"
#endif

#define TOL BPT_TOL(2e-3, 1e-11)        /* against the oracle */
#define TOL_PARAMS BPT_TOL(2e-4, 1e-11) /* of parameters after steps of size 1e-3 */
#define TOL_SHARDS BPT_TOL(2e-5, 1e-12) /* between shard counts: only the order of sums differs */

/* ---- the file ----------------------------------------------------------------------------------- */

static bp_safetensors *file;
static const char *case_name;
static double worst_difference; /* of the case, for the log */

static size_t oracle_count(const char *name) {
    const bp_stored *stored = bp_safetensors_find(file, name);
    return stored ? stored->count : 0;
}

/* An array of the file that must be there, with n numbers; free() it. */
static double *oracle(const char *name, size_t n) {
    bp_error error;
    double *out = (double *)malloc((n ? n : 1) * sizeof(double));
    assert_non_null(out);
    bpt_ok(bp_safetensors_read_double(file, name, out, n, &error), &error);
    return out;
}

static double number(const char *name) {
    double *p = oracle(name, 1), x = p[0];
    free(p);
    return x;
}

static double cfg(const char *name) {
    char path[BP_TENSOR_NAME + 8];
    (void)snprintf(path, sizeof path, "config/%s", name);
    return number(path);
}

static size_t cfg_size(const char *name) {
    return (size_t)cfg(name);
}

/* For what only the files about it speak of. */
static size_t cfg_or_zero(const char *name) {
    char path[BP_TENSOR_NAME + 8];
    (void)snprintf(path, sizeof path, "config/%s", name);
    return oracle_count(path) ? cfg_size(name) : 0;
}

static bool structured(void) {
    return oracle_count("config/latent") > 0;
}

static void read_real(bp_real *out, const char *name, size_t n) {
    bp_error error;
    bpt_ok(bp_safetensors_read_real(file, name, out, n, &error), &error);
}

/* ---- comparisons -------------------------------------------------------------------------------- */

/* got [n] against array `name`; entries with keep[i] == 0 are not compared (keep may be NULL). */
static void compare(const bp_real *got, const char *name, size_t n, const double *keep, double tol) {
    double *want = oracle(name, n);
    size_t i;
    for (i = 0; i < n; i++) {
        const double g = (double)got[i], w = want[i];
        const double scale = fmax(1.0, fmax(fabs(g), fabs(w)));
        if (keep && keep[i] == 0) continue;
        if (fabs(g - w) / scale > worst_difference) worst_difference = fabs(g - w) / scale;
        if (!bpt_is_close(g, w, tol)) {
            print_error("%s: %s[%lu] is %.17g, the oracle says %.17g\n", case_name, name, (unsigned long)i, g, w);
            fail();
        }
    }
    free(want);
}

static void compare_number(double got, const char *name, double tol) {
    const double want = number(name);
    const double scale = fmax(1.0, fmax(fabs(got), fabs(want)));
    if (fabs(got - want) / scale > worst_difference) worst_difference = fabs(got - want) / scale;
    if (!bpt_is_close(got, want, tol)) {
        print_error("%s: %s is %.17g, the oracle says %.17g\n", case_name, name, got, want);
        fail();
    }
}

/* ---- building the learner ------------------------------------------------------------------------ */

static const char *const field_names[4] = {"position", "velocity", "goal", "task"};

/* Field lists are numbers into field_names, in the order the network sees them; -1 is "*", -2 an empty list. */
static size_t set_fields(const char **out, const char *name) {
    char path[BP_TENSOR_NAME];
    size_t i, n;
    double *p;
    (void)snprintf(path, sizeof path, "config/%s", name);
    n = oracle_count(path);
    p = oracle(path, n);
    if (n == 1 && p[0] < -1) n = 0;
    for (i = 0; i < n; i++) out[i] = p[i] < 0 ? "*" : field_names[(size_t)p[i]];
    free(p);
    return n;
}

static size_t set_widths(size_t *width, const char *name) {
    char path[BP_TENSOR_NAME];
    size_t i, n;
    double *p;
    (void)snprintf(path, sizeof path, "config/%s", name);
    p = oracle(path, oracle_count(path));
    n = (size_t)p[0];
    for (i = 0; i < n; i++) width[i] = (size_t)p[i + 1];
    free(p);
    return n;
}

static void make_spec(bp_spec *spec) {
    bp_error error;
    bp_spec_begin(spec, "oracle");
    bpt_ok(bp_spec_add_field(spec, "position", 2, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "velocity", 2, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "goal", 1, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "task", 2, &error), &error);
    if (cfg("output") > 0) bpt_ok(bp_spec_actions_discrete(spec, cfg_size("actions"), &error), &error);
    else bpt_ok(bp_spec_actions_continuous(spec, cfg_size("actions"), -1.0, 1.0, &error), &error);
}

static bp_rs0_source source_of(const char *name) {
    return cfg(name) > 0 ? BP_SOURCE_ONLINE : BP_SOURCE_TARGET;
}

static bp_weight_mode mode_of(const char *name) {
    return cfg(name) > 0 ? BP_WEIGHT_ADAPTED : BP_WEIGHT_SCHEDULED;
}

/* The network of one level, or of a prior: `which` is policy, prior, high or high_prior. */
static void make_network(bp_policy_config *net, const char *which) {
    char name[BP_TENSOR_NAME];
    (void)snprintf(name, sizeof name, "%s_fields", which);
    net->n_fields = set_fields(net->fields, name);
    (void)snprintf(name, sizeof name, "%s_width", which);
    net->hidden_layers = set_widths(net->width, name);
    net->activation = BP_ACT_ELU;
    net->layer_norm = cfg("layer_norm") > 0;
    net->init_std = cfg("init_std");
    net->min_std = cfg("min_std");
    (void)snprintf(name, sizeof name, "%s_lstm", which);
    net->lstm = cfg_or_zero(name);
}

/* Memory and two levels: the files structured_*. */
static void make_structure(bp_rs0_config *config) {
    static const bp_high_kind kinds[4] = {BP_HIGH_LEARNED, BP_HIGH_AUTOREGRESSIVE, BP_HIGH_ISOTROPIC, BP_HIGH_AR1};
    config->critic_lstm = cfg_size("critic_lstm");
    config->memory_start = cfg("memory_start") > 0 ? BP_MEMORY_ZERO : BP_MEMORY_STORED;
    config->burn_in = cfg_size("burn_in");
    if (cfg_size("latent") == 0) return;
    config->latent = bp_latent_config_default(cfg_size("latent"));
    make_network(&config->latent.high, "high");
    make_network(&config->latent.high_prior, "high_prior");
    config->latent.high.tanh_mean = config->latent.high_prior.tanh_mean = cfg("high_tanh_mean") > 0;
    config->latent.prior_kind = kinds[cfg_size("high_prior_kind")];
    config->latent.phi = cfg("phi");
    config->latent.hold = cfg_size("hold");
    config->latent.shared_low = cfg("shared_low") > 0;
    config->latent.critic_sees_latent = cfg("critic_sees_latent") > 0;
    config->latent.joint_ratio = cfg("joint_ratio") > 0;
}

static void make_adam(bp_adam_config *adam) {
    adam->lr = cfg("lr");
    adam->beta1 = cfg("beta1");
    adam->beta2 = cfg("beta2");
    adam->epsilon = cfg("epsilon");
    adam->clip_norm = cfg("clip_norm");
}

/* SAC, MPO and critics of their own: the files relatives_*. */
static void make_relative(bp_rs0_config *config) {
    config->policy.squash = config->prior.squash = cfg("squash") > 0;
    config->improvement = cfg("improvement") > 0 ? BP_IMPROVE_EM : BP_IMPROVE_SVG;
    config->em_temperature = cfg("em_temperature");
    config->em_kl_target = cfg("em_kl_target");
    config->em_lr = cfg("em_lr");
    config->separate_critics = cfg("separate_critics") > 0;
}

static void make_config(bp_rs0_config *config, size_t shards, bp_kernel kernel) {
    static const bp_prior_kind kinds[6] = {BP_PRIOR_NONE, BP_PRIOR_UNIFORM, BP_PRIOR_ISOTROPIC,
                                           BP_PRIOR_PREVIOUS, BP_PRIOR_LEARNED, BP_PRIOR_FIXED};
    *config = bp_rs0_config_default();
    make_network(&config->policy, "policy");
    make_network(&config->prior, "prior");
    config->policy.tanh_mean = config->prior.tanh_mean = cfg("tanh_mean") > 0;
    if (structured()) make_structure(config);
    if (oracle_count("config/squash")) make_relative(config);
    config->prior_kind = kinds[cfg_size("prior_kind")];
    config->prior_std = cfg("prior_std");
    config->n_critic_fields = set_fields(config->critic_fields, "critic_fields");
    config->critic_layers = set_widths(config->critic_width, "critic_width");
    config->critic_activation = BP_ACT_ELU;
    config->critic_layer_norm = cfg("layer_norm") > 0;
    config->twin_critics = cfg("twin") > 0;
    config->n_tasks = cfg_size("n_tasks");
    (void)snprintf(config->task_field, sizeof config->task_field, "task");
    config->batch = cfg_size("batch");
    config->length = cfg_size("length");
    config->samples = cfg_size("samples");
    config->discount = cfg("discount");
    config->lambda = cfg("lambda");
    config->value_source = source_of("value_source");
    config->kl_source = source_of("kl_source");
    config->alpha_mode = mode_of("alpha_mode");
    config->alpha = bp_schedule_constant(cfg("alpha"));
    config->kl_target = cfg("kl_target");
    config->alpha_lr = cfg("alpha_lr");
    config->entropy_mode = mode_of("entropy_mode");
    config->entropy_cost = bp_schedule_constant(cfg("entropy_cost"));
    config->entropy_target = cfg("entropy_target");
    config->entropy_lr = cfg("entropy_lr");
    make_adam(&config->policy_adam);
    make_adam(&config->prior_adam);
    make_adam(&config->critic_adam);
    config->target_period = cfg_size("target_period");
    config->tau = cfg("tau");
    config->shards = shards;
    config->kernel = kernel;
}

static void set_parameters(bp_learned *p, const char *net) {
    char path[BP_TENSOR_NAME];
    (void)snprintf(path, sizeof path, "net/%s/online", net);
    assert_int_equal(p->n, oracle_count(path));
    if (p->n == 0) return;
    read_real(p->online, path, p->n);
    (void)snprintf(path, sizeof path, "net/%s/target", net);
    read_real(p->target, path, p->n);
}

/* A learner with the file's parameters and noise; NULL if this machine lacks the kernel. */
static bp_rs0 *make_learner(size_t shards, bp_kernel kernel) {
    bp_spec spec;
    bp_rs0_config config;
    bp_rs0 *learner;
    bp_error error;
    bp_status status;
    make_spec(&spec);
    make_config(&config, shards, kernel);
    status = bp_rs0_create(&learner, &spec, &config, NULL, &error);
    if (status == BP_ERR_UNSUPPORTED) return NULL;
    bpt_ok(status, &error);
    set_parameters(&learner->policy_p, "policy");
    set_parameters(&learner->critic_p, "critic");
    if (config.prior_kind == BP_PRIOR_FIXED && learner->prior_p.n) {
        const size_t n = learner->prior_p.n;
        bp_real *params = (bp_real *)malloc(n * sizeof(bp_real));
        assert_non_null(params);
        read_real(params, "net/prior/online", n);
        bpt_ok(bp_rs0_set_prior(learner, params, n, &error), &error);
        free(params);
        compare(learner->prior_p.target, "net/prior/target", n, NULL, 0.0);
    } else {
        set_parameters(&learner->prior_p, "prior");
    }
    if (learner->policy.output == BP_OUTPUT_GAUSSIAN) {
        const size_t row = config.batch * config.samples * cfg_size("actions");
        read_real(learner->target_noise, "noise/target", (config.length + 1) * row);
        read_real(learner->policy_noise, "noise/policy", config.length * row);
    }
    if (learner->latent.size) {
        const size_t row = config.batch * learner->latent.size;
        read_real(learner->target_latent_noise, "noise/target_latent", (config.length + 1) * row);
        read_real(learner->policy_latent_noise, "noise/policy_latent", config.length * row);
    }
    return learner;
}

static bp_real *read_batch(bp_batch *batch, const bp_replay_config *shape, size_t B) {
    const size_t T = shape->length;
    bp_real *data = (bp_real *)malloc(bp_batch_reals(shape, B) * sizeof(bp_real));
    assert_non_null(data);
    bp_batch_init(batch, data, shape, B);
    read_real(batch->observation, "batch/observation", (T + 1) * B * batch->observation_size);
    read_real(batch->action, "batch/action", T * B * batch->action_size);
    read_real(batch->reward, "batch/reward", T * B);
    read_real(batch->discount, "batch/discount", T * B);
    read_real(batch->log_mu, "batch/log_mu", T * B);
    read_real(batch->mask, "batch/mask", T * B);
    assert_int_equal(B * batch->state_size, oracle_count("batch/state"));
    assert_int_equal(T * B * batch->latent_size, oracle_count("batch/latent"));
    if (batch->state_size) read_real(batch->state, "batch/state", B * batch->state_size);
    if (batch->latent_size) read_real(batch->latent, "batch/latent", T * B * batch->latent_size);
    return data;
}

/* ---- the checks --------------------------------------------------------------------------------- */

static double norm(const bp_real *x, size_t n) {
    double sum = 0;
    size_t i;
    for (i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void check_metrics(const bp_rs0 *learner) {
    char path[BP_TENSOR_NAME];
    size_t i;
    assert_true(bp_rs0_metric_count() > 0);
    for (i = 0; i < bp_rs0_metric_count(); i++) {
        (void)snprintf(path, sizeof path, "out/metrics/%s", bp_rs0_metric_name(i));
        if (!oracle_count(path)) { /* a file about one level, or not about EM: no such thing there */
            const char *name = bp_rs0_metric_name(i);
            assert_true((strncmp(name, "em_", 3) == 0 && learner->config.improvement != BP_IMPROVE_EM) ||
                        (strcmp(name, "kl_high") == 0 && !structured()));
            assert_true(bp_rs0_metric_value(&learner->metrics, i) == 0);
        } else compare_number(bp_rs0_metric_value(&learner->metrics, i), path, TOL);
    }
}

/* Values, traces and targets that a loss uses. The rest (masked rows, values after them) is nobody's business. */
static void check_parts(const bp_rs0 *learner) {
    const size_t T = learner->config.length, B = learner->config.batch, rows = T * B;
    const size_t C = learner->config.twin_critics ? 2 : 1;
    double *mask = oracle("batch/mask", rows);
    double *keep = (double *)calloc((T + 1) * B, sizeof(double));
    size_t c, i;
    double *q, total = 0;
    assert_non_null(keep);
    for (i = 0; i < learner->config.burn_in * B; i++) mask[i] = 0;
    for (i = 0; i < rows; i++) keep[B + i] = mask[i]; /* V_{t+1} serves row t */
    compare(learner->value, "out/value", (T + 1) * B, keep, TOL);
    for (i = 0; i < rows; i++) keep[i] = i >= B * (learner->config.burn_in + 1) ? 1.0 : 0.0; /* c_0 is not used */
    compare(learner->trace, "out/trace", rows, keep, TOL);
    compare(learner->retrace, "out/retrace", rows, mask, TOL);
    q = oracle("out/q", C * rows);
    for (c = 0; c < C; c++)
        for (i = 0; i < rows; i++)
            if (mask[i] > 0) bpt_close(learner->q[c * rows + i], q[c * rows + i], TOL);
    for (i = 0; i < rows; i++) {
        double *discount = oracle("batch/discount", rows);
        if (mask[i] > 0) bpt_close(learner->discount[i], learner->config.discount * discount[i], TOL);
        free(discount);
        total += mask[i];
    }
    assert_true(total > 0);
    free(q);
    free(keep);
    free(mask);
}

static void check_gradient(const bp_learned *p, const char *net, const char *which, bool learns) {
    char path[BP_TENSOR_NAME];
    if (p->n == 0) return;
    if (learns) assert_true(norm(p->grad, p->n) > 0);
    else if (p->grad == NULL) return;
    (void)snprintf(path, sizeof path, "out/%s/%s", which, net);
    compare(p->grad, path, p->n, NULL, TOL);
}

static void check_gradients(const bp_rs0 *learner, const char *which) {
    check_gradient(&learner->policy_p, "policy", which, true);
    check_gradient(&learner->critic_p, "critic", which, true);
    check_gradient(&learner->prior_p, "prior", which, learner->config.prior_kind == BP_PRIOR_LEARNED);
}

/* Adam's first steps are lr * sign(gradient): in single precision an entry whose gradient is nearly zero may go the
 * other way, so those are left out there. */
static void check_updated_net(const bp_learned *p, const char *net, int step) {
    static const char *const copies[2] = {"online", "target"};
    char path[BP_TENSOR_NAME];
    double *keep = NULL;
    int i;
    if (p->n == 0) return;
#if !defined(BPRIOR_DOUBLE)
    {
        double *g1, *g3;
        size_t k;
        (void)snprintf(path, sizeof path, "out/grad/%s", net);
        g1 = oracle(path, p->n);
        (void)snprintf(path, sizeof path, "out/grad3/%s", net);
        g3 = oracle(path, p->n);
        keep = (double *)malloc(p->n * sizeof(double));
        assert_non_null(keep);
        for (k = 0; k < p->n; k++) keep[k] = fabs(g1[k]) > 1e-3 && fabs(g3[k]) > 1e-3 ? 1.0 : 0.0;
        free(g1);
        free(g3);
    }
#endif
    for (i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "out/step%d/%s/%s", step, net, copies[i]);
        compare(i ? p->target : p->online, path, p->n, keep, TOL_PARAMS);
    }
    free(keep);
}

static void check_updated(const bp_rs0 *learner, int step) {
    assert_int_equal(learner->steps, step);
    assert_int_equal(learner->rejected, 0);
    check_updated_net(&learner->policy_p, "policy", step);
    check_updated_net(&learner->prior_p, "prior", step);
    check_updated_net(&learner->critic_p, "critic", step);
}

/* All gradients behind each other, to compare learners with each other; free() it. */
static bp_real *copy_gradients(const bp_rs0 *learner, size_t *n) {
    const bp_learned *net[3];
    bp_real *out;
    size_t i, at = 0;
    net[0] = &learner->policy_p, net[1] = &learner->critic_p, net[2] = &learner->prior_p;
    *n = net[0]->n + net[1]->n + net[2]->n;
    out = (bp_real *)calloc(*n, sizeof(bp_real));
    assert_non_null(out);
    for (i = 0; i < 3; i++) {
        if (net[i]->n && net[i]->grad) memcpy(out + at, net[i]->grad, net[i]->n * sizeof(bp_real));
        at += net[i]->n;
    }
    return out;
}

/* bp_rs0_gradients changes nothing but the gradients: the parameters are still the file's own bits. */
static void check_untouched(const bp_rs0 *learner) {
    const bp_learned *net[3];
    static const char *const names[3] = {"policy", "critic", "prior"};
    char path[BP_TENSOR_NAME];
    size_t i, k;
    net[0] = &learner->policy_p, net[1] = &learner->critic_p, net[2] = &learner->prior_p;
    assert_int_equal(learner->steps, 0);
    for (i = 0; i < 3; i++) {
        if (net[i]->n == 0) continue;
        (void)snprintf(path, sizeof path, "net/%s/online", names[i]);
        compare(net[i]->online, path, net[i]->n, NULL, 0.0);
        (void)snprintf(path, sizeof path, "net/%s/target", names[i]);
        compare(net[i]->target, path, net[i]->n, NULL, 0.0);
        for (k = 0; net[i]->m && k < net[i]->n; k++) assert_true(net[i]->m[k] == 0 && net[i]->v[k] == 0);
    }
}

/* One learner through the whole program. Returns its first gradients, or NULL if the kernel is not there. */
static bp_real *run(size_t shards, bp_kernel kernel, bp_team *team, size_t *n) {
    bp_rs0 *learner = make_learner(shards, kernel);
    bp_replay_config shape;
    bp_batch batch;
    bp_error error;
    bp_real *data, *gradients;
    if (!learner) return NULL;
    shape = bp_rs0_replay_config(learner);
    data = read_batch(&batch, &shape, learner->config.batch);
    bpt_ok(bp_rs0_gradients(learner, &batch, team, &error), &error);
    check_parts(learner);
    check_gradients(learner, "grad");
    check_metrics(learner);
    check_untouched(learner);
    gradients = copy_gradients(learner, n);
    bpt_ok(bp_rs0_step_with_noise(learner, &batch, team, &error), &error);
    check_parts(learner);
    check_gradients(learner, "grad");
    check_metrics(learner);
    check_updated(learner, 1);
    bpt_ok(bp_rs0_step_with_noise(learner, &batch, team, &error), &error);
    bpt_ok(bp_rs0_step_with_noise(learner, &batch, team, &error), &error);
    check_gradients(learner, "grad3");
    check_updated(learner, 3);
    if (learner->config.alpha_mode == BP_WEIGHT_ADAPTED)
        compare_number(bp_dual_value(&learner->alpha_dual), "out/step3/alpha", TOL);
    if (learner->config.entropy_mode == BP_WEIGHT_ADAPTED)
        compare_number(bp_dual_value(&learner->entropy_dual), "out/step3/entropy_cost", TOL);
    if (learner->config.improvement == BP_IMPROVE_EM)
        compare_number(bp_dual_value(&learner->em_dual), "out/step3/em_temperature", TOL);
    free(data);
    bp_rs0_destroy(learner);
    return gradients;
}

static const bp_kernel kernels[6] = {BP_KERNEL_REFERENCE, BP_KERNEL_VECTOR, BP_KERNEL_AVX2,
                                     BP_KERNEL_AVX512, BP_KERNEL_NEON, BP_KERNEL_CBLAS};

/* Does this machine run this very kernel? Asking chapter 4, because "agreement of all kernels" would be an empty
 * sentence if one of them quietly stood in for the others. */
static bool kernel_runs(bp_kernel want, bool *substituted) {
    bp_compute compute;
    bp_error error;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    bp_status status;
    bool same;
    assert_non_null(memory);
    status = bp_compute_init(&compute, want, memory, &error);
    if (status != BP_ERR_UNSUPPORTED) bpt_ok(status, &error);
    same = status == BP_OK && compute.kernel == want;
    *substituted = status == BP_OK && !same;
    bp_free(NULL, memory, bp_compute_bytes());
    return same;
}

/* What the other tests' word "kernels" is worth: none is another one in disguise, and two exist everywhere. */
static void test_kernels_are_real(void **state) {
    size_t i, real = 0, disguised = 0;
    (void)state;
    for (i = 0; i < 6; i++) {
        bool substituted;
        if (kernel_runs(kernels[i], &substituted)) real++;
        if (substituted) {
            print_error("kernel %s: BP_OK, but another one was selected\n", bp_kernel_name(kernels[i]));
            disguised++;
        }
    }
    assert_int_equal(disguised, 0);
    assert_true(real >= 2);
}

/* The same for threads. A count proves nothing, so three jobs wait for each other: they can only all be running at once
 * if three threads run them. (Who runs them one after the other waits in vain, and gives up after some seconds.) */
#if defined(BPRIOR_THREADS)
typedef struct meeting {
    pthread_mutex_t mutex;
    size_t present, met;
} meeting;

static void meet(void *ctx, size_t index, size_t worker) {
    meeting *m = (meeting *)ctx;
    const time_t start = time(NULL);
    bool complete = false;
    (void)index;
    (void)worker;
    pthread_mutex_lock(&m->mutex);
    m->present++;
    pthread_mutex_unlock(&m->mutex);
    while (!complete && difftime(time(NULL), start) < 4.0) {
        pthread_mutex_lock(&m->mutex);
        complete = m->present == 3;
        pthread_mutex_unlock(&m->mutex);
        sched_yield();
    }
    pthread_mutex_lock(&m->mutex);
    if (complete) m->met++;
    m->present -= complete ? 0u : 1u;
    pthread_mutex_unlock(&m->mutex);
}
#endif

static void test_threads_are_real(void **state) {
#if defined(BPRIOR_THREADS)
    bp_team *team;
    bp_error error;
    meeting m;
    (void)state;
    memset(&m, 0, sizeof m);
    pthread_mutex_init(&m.mutex, NULL);
    bpt_ok(bp_team_create(&team, 3, NULL, &error), &error);
    assert_int_equal(bp_team_threads(team), 3);
    bp_team_run(team, meet, &m, 3);
    bp_team_destroy(team);
    pthread_mutex_destroy(&m.mutex);
    assert_int_equal(m.met, 3);
#else
    (void)state;
    skip(); /* a build without threads */
#endif
}

/* ---- cloning: the files relatives_clone_* --------------------------------------------------------- */

static void check_clone(const bp_clone *clone, const char *loss, const char *grad, size_t steps) {
    assert_int_equal(clone->steps, steps);
    compare_number(clone->loss, loss, TOL);
    assert_true(norm(clone->p.grad, clone->p.n) > 0);
    compare(clone->p.grad, grad, clone->p.n, NULL, TOL);
}

/* Parameters after steps of Adam; see check_updated_net() about single precision. */
static void check_cloned(const bp_clone *clone, const char *name) {
    double *g1 = oracle("out/grad", clone->p.n), *g3 = oracle("out/grad3", clone->p.n);
    size_t k;
    for (k = 0; k < clone->p.n; k++) g1[k] = BPT_TOL(fabs(g1[k]) > 1e-3 && fabs(g3[k]) > 1e-3, 1.0);
    compare(clone->p.online, name, clone->p.n, g1, TOL_PARAMS);
    free(g1);
    free(g3);
}

static void run_clone(bp_kernel kernel) {
    bp_clone_config config = bp_clone_config_default();
    bp_replay_config shape;
    bp_clone *clone;
    bp_batch batch;
    bp_spec spec;
    bp_error error;
    bp_real *data;
    make_spec(&spec);
    make_network(&config.policy, "policy");
    config.policy.tanh_mean = cfg("tanh_mean") > 0;
    config.batch = cfg_size("batch");
    config.length = cfg_size("length");
    config.burn_in = cfg_size("burn_in");
    make_adam(&config.adam);
    config.kernel = kernel;
    bpt_ok(bp_clone_create(&clone, &spec, &config, NULL, &error), &error);
    assert_int_equal(clone->p.n, oracle_count("net/policy/online"));
    read_real(clone->p.online, "net/policy/online", clone->p.n);
    shape = bp_replay_config_default(&spec);
    shape.length = config.length;
    data = read_batch(&batch, &shape, config.batch);
    bpt_ok(bp_clone_gradients(clone, &batch, &error), &error);
    check_clone(clone, "out/loss", "out/grad", 0);
    compare(clone->p.online, "net/policy/online", clone->p.n, NULL, 0.0); /* nothing is updated */
    compare_number(clone->grad_norm, "out/grad_norm", TOL);
    bpt_ok(bp_clone_step(clone, &batch, &error), &error);
    check_clone(clone, "out/loss", "out/grad", 1);
    check_cloned(clone, "out/step1/policy");
    bpt_ok(bp_clone_step(clone, &batch, &error), &error);
    bpt_ok(bp_clone_step(clone, &batch, &error), &error);
    check_clone(clone, "out/step3/loss", "out/grad3", 3);
    check_cloned(clone, "out/step3/policy");
    free(data);
    bp_clone_destroy(clone);
}

static size_t run_clones(void) {
    size_t i, tried = 0;
    for (i = 0; i < 6; i++) {
        bool substituted;
        if (!kernel_runs(kernels[i], &substituted)) continue;
        run_clone(kernels[i]);
        tried++;
    }
    return tried;
}

/* Every shard count and every kernel. */
static size_t run_learners(void) {
    static const size_t shards[3] = {1, 2, 4};
    bp_real *first[3], *again;
    bp_team *team;
    bp_error error;
    size_t i, n = 0, tried = 0;
    for (i = 0; i < 3; i++) first[i] = run(shards[i], BP_KERNEL_AUTO, NULL, &n);
    for (i = 1; i < 3; i++) {
        assert_non_null(first[i]);
        bpt_close_array(first[0], first[i], n, TOL_SHARDS);
    }
    for (i = 0; i < 6; i++) {
        bool substituted;
        bp_real *g;
        if (!kernel_runs(kernels[i], &substituted)) continue;
        g = run(2, kernels[i], NULL, &n);
        assert_non_null(g);
        bpt_close_array(first[1], g, n, TOL);
        free(g);
        tried++;
    }

    /* shards are part of the result, threads are not */
    bpt_ok(bp_team_create(&team, THREADS, NULL, &error), &error);
    again = run(4, BP_KERNEL_AUTO, team, &n);
    assert_memory_equal(again, first[2], n * sizeof(bp_real));
    bp_team_destroy(team);
    free(again);
    for (i = 0; i < 3; i++) free(first[i]);
    return tried;
}

static void run_case(const char *name) {
    char path[256];
    bp_error error;
    size_t tried;
    case_name = name;
    worst_difference = 0;
    (void)snprintf(path, sizeof path, "%s%s.safetensors", TEST_DATA, name);
    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    assert_non_null(bp_safetensors_text(file, "about")); /* the generator's signature */
    tried = cfg_or_zero("clone") ? run_clones() : run_learners();
    assert_true(tried >= 2); /* REFERENCE and VECTOR exist everywhere */
    print_message("%-26s largest difference %.2g, kernels that really ran: %lu\n", name, worst_difference, (unsigned long)tried);
    bp_safetensors_close(file);
    file = NULL;
}

/* The files of tests/oracle. */
/* clang-format off */
#define CASES(X)                                                                                                     \
    X(rs0_none_t1) X(rs0_none_t10) X(rs0_none_twin) X(rs0_uniform) X(rs0_uniform_t1) X(rs0_isotropic)                \
    X(rs0_previous) X(rs0_previous_kl_online) X(rs0_learned) X(rs0_learned_t1) X(rs0_learned_twin)                   \
    X(rs0_learned_kl_online) X(rs0_learned_value_online) X(rs0_learned_both_online) X(rs0_learned_clip_period)       \
    X(rs0_learned_twin_polyak) X(rs0_learned_period2) X(rs0_learned_plain) X(rs0_learned_tasks)                      \
    X(rs0_learned_tasks_twin) X(rs0_learned_adapted) X(rs0_fixed_twin) X(rs0_categorical_none)                       \
    X(rs0_categorical_uniform) X(rs0_categorical_isotropic) X(rs0_categorical_previous)                              \
    X(rs0_categorical_learned) X(rs0_categorical_learned_twin) X(structured_lstm_policy)                             \
    X(structured_lstm_policy_t1) X(structured_lstm_policy_learned) X(structured_lstm_prior)                          \
    X(structured_lstm_prior_fixed) X(structured_lstm_critic) X(structured_lstm_critic_twin)                          \
    X(structured_lstm_all) X(structured_lstm_all_twin) X(structured_lstm_zero) X(structured_lstm_zero_burn_in)       \
    X(structured_lstm_stored_burn_in) X(structured_mlp_burn_in) X(structured_lstm_previous)                          \
    X(structured_lstm_value_online) X(structured_lstm_plain) X(structured_lstm_categorical)                          \
    X(structured_lstm_categorical_all) X(structured_lstm_tasks) X(structured_latent_none)                            \
    X(structured_latent_isotropic) X(structured_latent_ar1) X(structured_latent_learned)                             \
    X(structured_latent_learned_t1) X(structured_latent_autoregressive)                                              \
    X(structured_latent_autoregressive_blind) X(structured_latent_separate) X(structured_latent_separate_ar1)        \
    X(structured_latent_hold4) X(structured_latent_hold4_separate) X(structured_latent_once)                         \
    X(structured_latent_once_ar1) X(structured_latent_joint) X(structured_latent_joint_hold4)                        \
    X(structured_latent_joint_once) X(structured_latent_blind_critic) X(structured_latent_lstm_prior)                \
    X(structured_latent_lstm_autoregressive) X(structured_latent_lstm) X(structured_latent_lstm_all)                 \
    X(structured_latent_lstm_all_burn_in) X(structured_latent_lstm_joint) X(structured_latent_hold4_burn_in)         \
    X(structured_latent_fixed) X(structured_latent_fixed_learned) X(structured_latent_fixed_separate)                \
    X(structured_latent_categorical) X(structured_latent_categorical_separate) X(structured_latent_twin)             \
    X(structured_latent_kl_online) X(structured_latent_value_online) X(structured_latent_both_online_joint)          \
    X(structured_latent_adapted) X(structured_latent_alone) X(structured_latent_joint_t1)                            \
    X(structured_latent_lstm_kl_online) X(structured_latent_lstm_value_online)                                       \
    X(relatives_sac) X(relatives_squash_learned) X(relatives_squash_isotropic) X(relatives_squash_previous)          \
    X(relatives_squash_none) X(relatives_squash_kl_online) X(relatives_squash_value_online)                          \
    X(relatives_squash_both_online) X(relatives_squash_entropy_adapted) X(relatives_squash_tasks)                    \
    X(relatives_em_gaussian) X(relatives_em_gaussian_twin) X(relatives_em_categorical)                               \
    X(relatives_em_categorical_tasks) X(relatives_em_temperature) X(relatives_em_temperature_down)                   \
    X(relatives_separate_critics) X(relatives_separate_critics_twin) X(relatives_separate_critics_categorical)       \
    X(relatives_clone_mlp) X(relatives_clone_mlp_burn_in) X(relatives_clone_lstm) X(relatives_clone_lstm_burn_in)    \
    X(relatives_clone_categorical) X(relatives_squash_lstm) X(relatives_squash_lstm_kl_online)                       \
    X(relatives_squash_latent) X(relatives_squash_latent_lstm) X(relatives_em_lstm) X(relatives_em_lstm_burn_in)     \
    X(relatives_em_lstm_categorical)                                                                                 \
    X(relatives_separate_critics_wandering)
/* clang-format on */

#define DEFINE(name)                        \
    static void test_##name(void **state) { \
        (void)state;                        \
        run_case(#name);                    \
    }
CASES(DEFINE)

int main(void) {
#define ENTRY(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {CASES(ENTRY) ENTRY(kernels_are_real) ENTRY(threads_are_real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
