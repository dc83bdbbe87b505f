/* Chapter 14: policies and priors.
 *
 * What makes a behavior prior is what it may not see, so the first thing tested is just that. Then the chain
 *
 *     observation --gather--> network --head--> distribution --> log-probability, KL, entropy, samples
 *
 * is differentiated as a whole against central differences, and the distributions are compared with what
 * sampling from them says. All buffers have exactly the promised size, so that a sanitizer sees any step beyond.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define TOL_GRADIENT BPT_TOL(1e-3, 1e-7)
#define STEP BPT_TOL(2e-2, 1e-3)
#define NOT_A_NUMBER ((double)NAN)
#define INFINITE ((double)INFINITY)

static uint64_t seed;
static bp_compute compute; /* of the group's kernel */
static void *compute_memory;

/* ---- a policy with its arrays ------------------------------------------------------------------ */

enum { O = 7,
       A = 3,
       K = 4,
       N = 9 };

typedef struct fixture {
    bp_spec spec;
    bp_policy policy;
    bp_real *params, *dist, *saved, *work, *observation;
    size_t n; /* rows */
} fixture;

static bp_real *numbers(size_t n) {
    bp_real *p = (bp_real *)malloc((n ? n : 1) * sizeof *p);
    size_t i;
    assert_non_null(p);
    for (i = 0; i < n; i++) p[i] = BP_R(NAN); /* shows up if read before it is written */
    return p;
}

static bp_real *zeros(size_t n) {
    bp_real *p = numbers(n);
    memset(p, 0, n * sizeof *p);
    return p;
}

static bp_real *normals(size_t n, double scale, bp_rng *rng) {
    bp_real *p = numbers(n);
    size_t i;
    bp_rng_normals(p, rng, n);
    for (i = 0; i < n; i++) p[i] *= BP_R(scale);
    return p;
}

static void make_spec(bp_spec *spec, bool discrete) {
    bp_error error;
    bp_spec_begin(spec, "robot");
    bpt_ok(bp_spec_add_field(spec, "position", 2, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "velocity", 3, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "goal", 2, &error), &error);
    if (discrete) bpt_ok(bp_spec_actions_discrete(spec, K, &error), &error);
    else bpt_ok(bp_spec_actions_continuous(spec, A, -1, 1, &error), &error);
}

/* Small networks whose output depends on everything: the head is not scaled down. */
static bp_policy_config small_config(void) {
    bp_policy_config config = bp_policy_config_default();
    config.width[0] = 6;
    config.width[1] = 5;
    config.init_scale = 1;
    config.head_scale = 1;
    return config;
}

static void fixture_make(fixture *f, const bp_policy_config *config, bool discrete, size_t n, bp_rng *rng) {
    bp_error error;
    memset(f, 0, sizeof *f);
    make_spec(&f->spec, discrete);
    bpt_ok(bp_policy_init(&f->policy, &f->spec, config, &error), &error);
    f->n = n;
    f->params = normals(f->policy.n_params, 0.5, rng);
    f->dist = numbers(n * f->policy.dist_size);
    f->saved = numbers(bp_policy_saved_reals(&f->policy, n));
    f->work = numbers(bp_policy_work_reals(&f->policy, n));
    f->observation = normals(n * O, 1, rng);
}

static void fixture_free(fixture *f) {
    free(f->params);
    free(f->dist);
    free(f->saved);
    free(f->work);
    free(f->observation);
}

static void eval(fixture *f) {
    bp_policy_eval(&compute, f->dist, f->work, f->observation, NULL, f->params, &f->policy, f->n);
}

/* ---- what it sees -------------------------------------------------------------------------------- */

static void test_fields_are_the_only_thing_seen(void **state) {
    bp_rng rng = bp_rng_make(seed, 1);
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_policy_config config = small_config();
        fixture f;
        bp_real *before;
        size_t i, bytes;
        config.n_fields = 2;
        config.fields[0] = "goal"; /* not in the spec's order */
        config.fields[1] = "position";
        fixture_make(&f, &config, discrete != 0, 1, &rng);
        assert_int_equal(f.policy.net.config.input, 4);
        bytes = f.policy.dist_size * sizeof(bp_real);
        before = numbers(f.policy.dist_size);
        eval(&f);
        memcpy(before, f.dist, bytes);
        for (i = 0; i < O; i++) {
            const bool unseen = i >= 2 && i < 5; /* "velocity" */
            const bp_real keep = f.observation[i];
            f.observation[i] = unseen ? BP_R(NAN) : keep + BP_R(0.5); /* not even a NaN gets through */
            eval(&f);
            f.observation[i] = keep;
            if (unseen) assert_memory_equal(before, f.dist, bytes);
            else assert_memory_not_equal(before, f.dist, bytes);
        }
        free(before);
        fixture_free(&f);
    }
}

/* An empty list: a policy or prior that sees nothing has one distribution for all observations, and can still learn it. */
static void test_seeing_nothing(void **state) {
    bp_rng rng = bp_rng_make(seed, 15);
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_policy_config config = small_config();
        fixture f;
        bp_real *ddist, *grad;
        size_t i, width;
        double sum = 0;
        config.n_fields = 0;
        config.fields[0] = NULL;
        fixture_make(&f, &config, discrete != 0, N, &rng);
        assert_int_equal(f.policy.fields.size, 0);
        for (i = 0; i < N * O; i++) f.observation[i] = BP_R(NOT_A_NUMBER);
        bp_policy_forward(&compute, f.dist, f.saved, f.observation, NULL, f.params, &f.policy, N);
        width = discrete ? K : A;
        for (i = width; i < N * width; i++) assert_true(f.dist[i] == f.dist[i % width]);
        ddist = normals(N * f.policy.dist_size, 1, &rng);
        grad = zeros(f.policy.n_params);
        bp_policy_backward(&compute, grad, f.saved, f.work, ddist, f.dist, f.params, &f.policy, N);
        for (i = 0; i < f.policy.n_params; i++) sum += fabs((double)grad[i]);
        assert_true(sum > 0 && sum < INFINITE);
        eval(&f);
        for (i = 0; i < N * width; i++) assert_true(f.dist[i] == f.dist[i % width]);
        free(ddist);
        free(grad);
        fixture_free(&f);
    }
}

/* The order of the names is the order of the network's inputs, and "*" is the spec's order. */
static void test_order_of_fields(void **state) {
    bp_rng rng = bp_rng_make(seed, 2);
    bp_policy_config config = small_config();
    fixture all, turned;
    size_t i, j;
    (void)state;
    fixture_make(&all, &config, false, 2, &rng);
    config.n_fields = 3;
    config.fields[0] = "goal";
    config.fields[1] = "velocity";
    config.fields[2] = "position";
    fixture_make(&turned, &config, false, 2, &rng);
    memcpy(turned.params, all.params, all.policy.n_params * sizeof(bp_real));
    for (i = 0; i < 2; i++) { /* the same inputs for the network, stored in another order */
        for (j = 0; j < 2; j++) turned.observation[i * O + 5 + j] = all.observation[i * O + j];
        for (j = 0; j < 3; j++) turned.observation[i * O + 2 + j] = all.observation[i * O + 2 + j];
        for (j = 0; j < 2; j++) turned.observation[i * O + j] = all.observation[i * O + 5 + j];
    }
    eval(&all);
    eval(&turned);
    /* inputs of the network in `turned`: goal = all's position, velocity, position = all's goal */
    assert_memory_equal(all.dist, turned.dist, 2 * all.policy.dist_size * sizeof(bp_real));
    fixture_free(&all);
    fixture_free(&turned);
}

/* ---- eval, forward, rows ---------------------------------------------------------------------------- */

static void test_forward_is_eval(void **state) {
    static const size_t sizes[4] = {1, 3, 17, 100};
    bp_rng rng = bp_rng_make(seed, 3);
    size_t variant, k;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_policy_config config = small_config();
        config.tanh_mean = (variant & 2) == 0;
        config.layer_norm = (variant & 4) == 0;
        if (variant == 7) config.hidden_layers = 0;
        if (variant == 6) config.width[0] = config.width[1] = 70;
        for (k = 0; k < 4; k++) {
            fixture f;
            bp_real *forward;
            fixture_make(&f, &config, (variant & 1) != 0, sizes[k], &rng);
            forward = numbers(f.n * f.policy.dist_size);
            eval(&f);
            bp_policy_forward(&compute, forward, f.saved, f.observation, NULL, f.params, &f.policy, f.n);
            assert_memory_equal(forward, f.dist, f.n * f.policy.dist_size * sizeof(bp_real));
            free(forward);
            fixture_free(&f);
        }
    }
}

/* A list of rows (out of order, with a repetition) is the same as copying those rows out first. */
static void test_rows(void **state) {
    static const size_t rows[5] = {7, 0, 8, 7, 3};
    bp_rng rng = bp_rng_make(seed, 4);
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_policy_config config = small_config();
        fixture all, some;
        bp_real *dist;
        size_t i, bytes;
        config.fields[0] = "velocity";
        fixture_make(&all, &config, discrete != 0, N, &rng);
        fixture_make(&some, &config, discrete != 0, 5, &rng);
        bytes = 5 * all.policy.dist_size * sizeof(bp_real);
        dist = numbers(5 * all.policy.dist_size);
        for (i = 0; i < 5; i++)
            memcpy(some.observation + i * O, all.observation + rows[i] * O, O * sizeof(bp_real));
        bp_policy_eval(&compute, some.dist, some.work, some.observation, NULL, all.params, &all.policy, 5);
        bp_policy_eval(&compute, dist, some.work, all.observation, rows, all.params, &all.policy, 5);
        assert_memory_equal(dist, some.dist, bytes);
        memset(dist, 0, bytes);
        bp_policy_forward(&compute, dist, some.saved, all.observation, rows, all.params, &all.policy, 5);
        assert_memory_equal(dist, some.dist, bytes);
        free(dist);
        fixture_free(&all);
        fixture_free(&some);
    }
}

/* ---- gradients ----------------------------------------------------------------------------------- */

/* One number made of all that can be done with a batch of distributions, each row and part with its own weight. */
typedef struct problem {
    fixture *pi, *pi0;
    bp_real *action, *noise, *weight; /* [n][A], [n][A], [5][n] */
} problem;

static double whole_loss(void *ctx) {
    const problem *p = (const problem *)ctx;
    const bp_policy *policy = &p->pi->policy;
    const size_t n = p->pi->n;
    double loss = 0;
    bp_real one[N], a[A];
    size_t i, k;
    eval(p->pi);
    eval(p->pi0);
    bp_policy_log_prob(one, p->action, p->pi->dist, policy, n);
    for (i = 0; i < n; i++) loss += (double)p->weight[i] * (double)one[i];
    bp_policy_kl(one, p->pi->dist, p->pi0->dist, policy, n);
    for (i = 0; i < n; i++) loss += (double)p->weight[n + i] * (double)one[i];
    bp_policy_kl(one, p->pi0->dist, p->pi->dist, policy, n);
    for (i = 0; i < n; i++) loss += (double)p->weight[2 * n + i] * (double)one[i];
    bp_policy_entropy(one, p->pi->dist, policy, n);
    for (i = 0; i < n; i++) loss += (double)p->weight[3 * n + i] * (double)one[i];
    if (policy->output != BP_OUTPUT_GAUSSIAN) return loss;
    for (i = 0; i < n; i++) { /* a smooth function of a sample: sum of sin a */
        bp_gaussian_sample(a, p->pi->dist + i * A, p->pi->dist + (n + i) * A, p->noise + i * A, A);
        for (k = 0; k < A; k++) loss += (double)p->weight[4 * n + i] * sin((double)a[k]);
    }
    return loss;
}

/* The derivative of the same by both distributions: log-prob and sample by the row functions of chapter 5. */
static void whole_backward(const problem *p, bp_real *ddist, bp_real *ddist0) {
    const bp_policy *policy = &p->pi->policy;
    const bp_real *dist = p->pi->dist, *dist0 = p->pi0->dist;
    const size_t n = p->pi->n;
    size_t i, k;
    for (i = 0; i < n; i++) {
        bp_real a[A], da[A];
        if (policy->output == BP_OUTPUT_CATEGORICAL) {
            bp_categorical_log_prob_backward(ddist + i * K, p->weight[i], dist + i * K, (size_t)p->action[i], K);
            continue;
        }
        bp_gaussian_log_prob_backward(NULL, ddist + i * A, ddist + (n + i) * A, p->weight[i], p->action + i * A,
                                      dist + i * A, dist + (n + i) * A, A);
        bp_gaussian_sample(a, dist + i * A, dist + (n + i) * A, p->noise + i * A, A);
        for (k = 0; k < A; k++) da[k] = p->weight[4 * n + i] * BP_R(cos((double)a[k]));
        bp_gaussian_sample_backward(ddist + i * A, ddist + (n + i) * A, da, p->noise + i * A, A);
    }
    bp_policy_kl_backward(ddist, ddist0, p->weight + n, dist, dist0, policy, n);
    bp_policy_kl_backward(ddist0, ddist, p->weight + 2 * n, dist0, dist, policy, n);
    bp_policy_entropy_backward(ddist, p->weight + 3 * n, dist, policy, n);
}

static void check_whole_gradient(bool discrete, bp_activation activation, bool tanh_mean, bp_rng *rng) {
    bp_policy_config config = small_config(), config0;
    fixture pi, pi0;
    problem p;
    bp_real *ddist, *ddist0, *grad, *grad0;
    size_t i;
    config.activation = activation;
    config.tanh_mean = tanh_mean;
    config0 = config;
    config0.n_fields = 1; /* the prior sees less, and has a shape of its own */
    config0.fields[0] = "velocity";
    config0.hidden_layers = 1;
    config0.width[0] = 4;
    fixture_make(&pi, &config, discrete, N, rng);
    fixture_make(&pi0, &config0, discrete, N, rng);
    memcpy(pi0.observation, pi.observation, N * O * sizeof(bp_real));
    p.pi = &pi;
    p.pi0 = &pi0;
    p.action = normals(N * A, 1, rng);
    if (discrete)
        for (i = 0; i < N; i++) p.action[i] = BP_R(bp_rng_index(rng, K));
    p.noise = normals(N * A, 1, rng);
    p.weight = normals(5 * N, 1, rng);

    bp_policy_forward(&compute, pi.dist, pi.saved, pi.observation, NULL, pi.params, &pi.policy, N);
    bp_policy_forward(&compute, pi0.dist, pi0.saved, pi0.observation, NULL, pi0.params, &pi0.policy, N);
    ddist = zeros(N * pi.policy.dist_size);
    ddist0 = zeros(N * pi0.policy.dist_size);
    whole_backward(&p, ddist, ddist0);
    grad = zeros(pi.policy.n_params);
    grad0 = zeros(pi0.policy.n_params);
    bp_policy_backward(&compute, grad, pi.saved, pi.work, ddist, pi.dist, pi.params, &pi.policy, N);
    bp_policy_backward(&compute, grad0, pi0.saved, pi0.work, ddist0, pi0.dist, pi0.params, &pi0.policy, N);
    bpt_check_gradient_at(whole_loss, &p, pi.params, grad, pi.policy.n_params, STEP, TOL_GRADIENT, "policy", __FILE__,
                          __LINE__);
    bpt_check_gradient_at(whole_loss, &p, pi0.params, grad0, pi0.policy.n_params, STEP, TOL_GRADIENT, "prior", __FILE__,
                          __LINE__);

    { /* backward adds: a second call doubles */
        bp_real *twice = numbers(pi.policy.n_params);
        memcpy(twice, grad, pi.policy.n_params * sizeof(bp_real));
        bp_policy_backward(&compute, twice, pi.saved, pi.work, ddist, pi.dist, pi.params, &pi.policy, N);
        for (i = 0; i < pi.policy.n_params; i++)
            bpt_close(twice[i], 2 * (double)grad[i], BPT_TOL(1e-5, 1e-13));
        free(twice);
    }
    free(p.action);
    free(p.noise);
    free(p.weight);
    free(ddist);
    free(ddist0);
    free(grad);
    free(grad0);
    fixture_free(&pi);
    fixture_free(&pi0);
}

static void test_gradient_gaussian(void **state) {
    bp_rng rng = bp_rng_make(seed, 5);
    (void)state;
    check_whole_gradient(false, BP_ACT_TANH, true, &rng);
    check_whole_gradient(false, BP_ACT_SOFTPLUS, false, &rng);
}

static void test_gradient_categorical(void **state) {
    bp_rng rng = bp_rng_make(seed, 6);
    (void)state;
    check_whole_gradient(true, BP_ACT_TANH, true, &rng);
    check_whole_gradient(true, BP_ACT_SOFTPLUS, true, &rng);
}

/* Either side of the KL's derivative can be left out, and that changes nothing of the other. */
static void test_kl_backward_one_side(void **state) {
    bp_rng rng = bp_rng_make(seed, 7);
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_policy_config config = small_config();
        fixture a, b;
        bp_real *both, *both0, *left, *right, dkl[N];
        size_t count, i;
        fixture_make(&a, &config, discrete != 0, N, &rng);
        fixture_make(&b, &config, discrete != 0, N, &rng);
        count = N * a.policy.dist_size;
        eval(&a);
        eval(&b);
        bp_rng_normals(dkl, &rng, N);
        both = zeros(count), both0 = zeros(count), left = zeros(count), right = zeros(count);
        bp_policy_kl_backward(both, both0, dkl, a.dist, b.dist, &a.policy, N);
        bp_policy_kl_backward(left, NULL, dkl, a.dist, b.dist, &a.policy, N);
        bp_policy_kl_backward(NULL, right, dkl, a.dist, b.dist, &a.policy, N);
        for (i = 0; i < count; i++) assert_true(both[i] == left[i] && both0[i] == right[i]);
        free(both);
        free(both0);
        free(left);
        free(right);
        fixture_free(&a);
        fixture_free(&b);
    }
}

/* ---- distributions --------------------------------------------------------------------------------- */

enum { MANY = 100000 };
#define FIVE_SIGMA (5 / sqrt((double)MANY)) /* of the mean of MANY numbers of variance 1 */

/* MANY copies of one Gaussian: mean and variance of samples, and E[-log p] = H, E[log p - log p0] = KL. */
static void test_gaussian_monte_carlo(void **state) {
    static const double mean[A] = {0.3, -0.8, 0}, std[A] = {0.2, 0.7, 1.5}, mean0[A] = {0, -0.5, 0.2}, std0[A] = {0.4, 1, 1};
    bp_rng rng = bp_rng_make(seed, 8);
    bp_policy_config config = small_config();
    fixture f;
    bp_real *dist = numbers(2 * MANY * A), *dist0 = numbers(2 * MANY * A), *action = numbers(MANY * A), *log_p = numbers(MANY);
    bp_real *log_p0 = numbers(MANY), *again = numbers(MANY), entropy, kl;
    double sum_h = 0, sum_kl = 0, spread_kl = 0;
    size_t i, k;
    (void)state;
    fixture_make(&f, &config, false, 1, &rng);
    for (i = 0; i < MANY * A; i++) {
        dist[i] = BP_R(mean[i % A]), dist[MANY * A + i] = BP_R(std[i % A]);
        dist0[i] = BP_R(mean0[i % A]), dist0[MANY * A + i] = BP_R(std0[i % A]);
    }
    bp_policy_sample(action, log_p, &rng, dist, &f.policy, MANY);
    bp_policy_log_prob(again, action, dist, &f.policy, MANY);
    assert_memory_equal(log_p, again, MANY * sizeof(bp_real));
    bp_policy_log_prob(log_p0, action, dist0, &f.policy, MANY);
    for (k = 0; k < A; k++) {
        double m = 0, v = 0;
        for (i = 0; i < MANY; i++) {
            const double z = ((double)action[i * A + k] - mean[k]) / std[k];
            m += z / MANY;
            v += z * z / MANY;
        }
        assert_true(fabs(m) < FIVE_SIGMA);
        assert_true(fabs(v - 1) < 1.5 * FIVE_SIGMA); /* the variance of z^2 is 2 */
    }
    for (i = 0; i < MANY; i++) {
        const double d = (double)log_p[i] - (double)log_p0[i];
        sum_h -= (double)log_p[i] / MANY;
        sum_kl += d / MANY;
        spread_kl += d * d / MANY;
    }
    memmove(dist + A, dist + MANY * A, A * sizeof(bp_real)); /* a batch of one */
    memmove(dist0 + A, dist0 + MANY * A, A * sizeof(bp_real));
    bp_policy_entropy(&entropy, dist, &f.policy, 1);
    bp_policy_kl(&kl, dist, dist0, &f.policy, 1);
    assert_true(fabs(sum_h - (double)entropy) < 1.5 * FIVE_SIGMA); /* variance of log p is A/2 */
    assert_true(kl > BP_R(0.3));
    assert_true(fabs(sum_kl - (double)kl) < sqrt(spread_kl) * FIVE_SIGMA);

    /* the mode is the mean, and nothing is likelier */
    bp_policy_mode(action, dist, &f.policy, 1);
    assert_memory_equal(action, dist, A * sizeof(bp_real));
    bp_policy_log_prob(again, action, dist, &f.policy, 1);
    for (i = 0; i < MANY; i++) assert_true(log_p[i] <= again[0]);

    /* log_prob may be left out; the actions are then the same */
    {
        bp_rng one = bp_rng_make(seed, 99), two = one;
        bp_real first[A], second[A], log_prob;
        bp_policy_sample(first, &log_prob, &one, dist, &f.policy, 1);
        bp_policy_sample(second, NULL, &two, dist, &f.policy, 1);
        assert_memory_equal(first, second, sizeof first);
    }
    free(dist);
    free(dist0);
    free(action);
    free(log_p);
    free(log_p0);
    free(again);
    fixture_free(&f);
}

static void test_categorical_monte_carlo(void **state) {
    static const double p[K] = {0.5, 0.05, 0.15, 0.3}, p0[K] = {0.1, 0.2, 0.3, 0.4};
    bp_rng rng = bp_rng_make(seed, 9);
    bp_policy_config config = small_config();
    fixture f;
    bp_real *dist = numbers(MANY * K), *action = numbers(MANY), *log_p = numbers(MANY), *again = numbers(MANY);
    bp_real dist0[K], entropy, kl, mode;
    double count[K] = {0}, want_h = 0, want_kl = 0;
    size_t i, k;
    (void)state;
    fixture_make(&f, &config, true, 1, &rng);
    for (i = 0; i < MANY * K; i++) dist[i] = BP_R(log(p[i % K]) + 3); /* any constant may be added */
    for (k = 0; k < K; k++) dist0[k] = BP_R(log(p0[k]) - 8);
    bp_policy_sample(action, log_p, &rng, dist, &f.policy, MANY);
    bp_policy_log_prob(again, action, dist, &f.policy, MANY);
    assert_memory_equal(log_p, again, MANY * sizeof(bp_real));
    for (i = 0; i < MANY; i++) {
        k = (size_t)action[i];
        assert_true(k < K && action[i] == BP_R(k));
        bpt_close(log_p[i], log(p[k]), BPT_TOL(1e-5, 1e-13));
        count[k]++;
    }
    for (k = 0; k < K; k++) {
        assert_true(fabs(count[k] / MANY - p[k]) < FIVE_SIGMA * sqrt(p[k] * (1 - p[k])));
        want_h -= p[k] * log(p[k]);
        want_kl += p[k] * log(p[k] / p0[k]);
    }
    bp_policy_entropy(&entropy, dist, &f.policy, 1);
    bp_policy_kl(&kl, dist, dist0, &f.policy, 1);
    bpt_close(entropy, want_h, BPT_TOL(1e-5, 1e-13));
    bpt_close(kl, want_kl, BPT_TOL(1e-5, 1e-13));
    bp_policy_mode(&mode, dist, &f.policy, 1);
    assert_true(mode == BP_R(0));
    dist[2] = BP_R(9);
    bp_policy_mode(&mode, dist, &f.policy, 1);
    assert_true(mode == BP_R(2));
    free(dist);
    free(action);
    free(log_p);
    free(again);
    fixture_free(&f);
}

/* A stored index that is not one of the choices counts as the nearest; it must not be used as an index. */
static void test_choices_out_of_range(void **state) {
    static const double given[7] = {-1, -1e30, 4, 1e30, 3.7, -0.2, NOT_A_NUMBER};
    static const size_t taken[7] = {0, 0, 3, 3, 3, 0, 0};
    bp_rng rng = bp_rng_make(seed, 10);
    bp_policy_config config = small_config();
    fixture f;
    size_t i;
    (void)state;
    fixture_make(&f, &config, true, 1, &rng);
    eval(&f);
    for (i = 0; i < 7; i++) {
        const bp_real odd = BP_R(given[i]), right = BP_R(taken[i]);
        bp_real a, b;
        bp_policy_log_prob(&a, &odd, f.dist, &f.policy, 1);
        bp_policy_log_prob(&b, &right, f.dist, &f.policy, 1);
        assert_true(a == b);
    }
    fixture_free(&f);
}

static void test_kl_of_equals_is_zero(void **state) {
    bp_rng rng = bp_rng_make(seed, 11);
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_policy_config config = small_config();
        fixture a, b;
        bp_real kl[N];
        size_t i;
        fixture_make(&a, &config, discrete != 0, N, &rng);
        fixture_make(&b, &config, discrete != 0, N, &rng);
        eval(&a);
        eval(&b);
        bp_policy_kl(kl, a.dist, b.dist, &a.policy, N);
        for (i = 0; i < N; i++) assert_true(kl[i] > 0);
        bp_policy_kl(kl, a.dist, a.dist, &a.policy, N);
        for (i = 0; i < N; i++) bpt_close(kl[i], 0.0, BPT_TOL(1e-7, 1e-15));
        fixture_free(&a);
        fixture_free(&b);
    }
}

static void test_isotropic(void **state) {
    bp_rng rng = bp_rng_make(seed, 12);
    bp_policy_config config = small_config();
    fixture gaussian, categorical;
    bp_real dist0[2 * N * A], kl[N], entropy[N];
    size_t i;
    (void)state;
    fixture_make(&gaussian, &config, false, N, &rng);
    bp_policy_isotropic(dist0, 0.6, &gaussian.policy, N);
    for (i = 0; i < 2 * N * A; i++) assert_true(dist0[i] == (i < N * A ? BP_R(0) : BP_R(0.6)));
    fixture_make(&categorical, &config, true, N, &rng);
    eval(&categorical);
    bp_policy_isotropic(dist0, 0.6, &categorical.policy, N);
    bp_policy_kl(kl, categorical.dist, dist0, &categorical.policy, N);
    bp_policy_entropy(entropy, categorical.dist, &categorical.policy, N);
    for (i = 0; i < N; i++) bpt_close(kl[i], log((double)K) - (double)entropy[i], BPT_TOL(1e-5, 1e-13)); /* E8 */
    fixture_free(&gaussian);
    fixture_free(&categorical);
}

/* ---- construction ------------------------------------------------------------------------------------ */

/* The authors' head: every state starts with nearly the same wide distribution. */
static void test_first_distribution(void **state) {
    bp_rng rng = bp_rng_make(seed, 13), copy;
    bp_policy_config config = bp_policy_config_default();
    fixture f;
    bp_real *params;
    size_t i, views = 0;
    (void)state;
    fixture_make(&f, &config, false, N, &rng);
    for (i = 0; i < f.policy.net.n_views; i++) views += f.policy.net.view[i].rows * f.policy.net.view[i].cols;
    assert_int_equal(views, f.policy.n_params);
    assert_int_equal(f.policy.n_params, 7 * 64 + 3 * 64 + 64 * 64 + 64 + 64 * 6 + 6);
    params = numbers(f.policy.n_params);
    copy = rng;
    bp_policy_init_params(f.params, &f.policy, &rng);
    bp_policy_init_params(params, &f.policy, &copy);
    assert_memory_equal(f.params, params, f.policy.n_params * sizeof(bp_real)); /* a function of the generator */
    eval(&f);
    for (i = 0; i < N * A; i++) {
        bpt_close(f.dist[i], 0.0, 2e-3);                                      /* means */
        bpt_close(f.dist[N * A + i], config.init_std + config.min_std, 2e-3); /* standard deviations */
    }
    free(params);
    fixture_free(&f);
}

/* No parameters bring a standard deviation below min_std, or a squashed mean out of [-1,1]. */
static void test_head_limits(void **state) {
    bp_rng rng = bp_rng_make(seed, 14);
    bp_policy_config config = small_config();
    fixture f;
    size_t i;
    bool small = false, far = false;
    (void)state;
    config.min_std = 0.25;
    fixture_make(&f, &config, false, 100, &rng);
    for (i = 0; i < f.policy.n_params; i++) f.params[i] *= BP_R(40);
    eval(&f);
    for (i = 0; i < 100 * A; i++) {
        const double mean = (double)f.dist[i], std = (double)f.dist[100 * A + i];
        assert_true(fabs(mean) <= 1 && std >= 0.25 * (1 - 1e-6) && std < HUGE_VAL);
        small = small || std < 0.2501;
        far = far || fabs(mean) > 0.999;
    }
    assert_true(small && far); /* the limits were reached */
    fixture_free(&f);
}

/* A configuration that must not pass: with which status, and which word must be in the text. */
static void refuse(const bp_policy_config *config, bool discrete, bp_status status, const char *word) {
    bp_policy policy;
    bp_error error;
    bp_spec spec;
    bp_status got;
    make_spec(&spec, discrete);
    error.text[0] = '\0';
    got = bp_policy_init(&policy, &spec, config, &error);
    if (got != status || error.status != status || !strstr(error.text, word)) {
        print_error("status %d, wanted %d with \"%s\" in: %s\n", (int)got, (int)status, word, error.text);
        fail();
    }
    assert_int_equal(bp_policy_init(&policy, &spec, config, NULL), status); /* the detail is optional */
}

static void test_bad_configs(void **state) {
    bp_policy_config config;
    static const double bad_std[4] = {0, -1, NOT_A_NUMBER, INFINITE}, bad_min[3] = {-0.1, NOT_A_NUMBER, INFINITE};
    size_t i;
    (void)state;
    memset(&config, 0, sizeof config);
    refuse(&config, false, BP_ERR_CONFIG, "bp_policy_config");
    config = bp_policy_config_default();
    config.cookie ^= 0x08000000u; /* the other scalar type */
    refuse(&config, false, BP_ERR_ABI, "bp_real");
    config = bp_policy_config_default();
    config.cookie ^= 0x00010000u; /* another version */
    refuse(&config, false, BP_ERR_ABI, "version");
    config = bp_policy_config_default();
    config.cookie += 8; /* another size */
    refuse(&config, false, BP_ERR_ABI, "bp_policy_config");
    config = bp_policy_config_make(config.cookie); /* what a caller of another build would get: */
    assert_int_equal(config.n_fields, 0);          /* nothing filled in */

    config = bp_policy_config_default();
    config.fields[0] = "torque";
    refuse(&config, false, BP_ERR_FIELD, "torque");
    refuse(&config, false, BP_ERR_FIELD, "position, velocity, goal"); /* and what there is */
    config.n_fields = 2;
    config.fields[0] = config.fields[1] = "goal";
    refuse(&config, false, BP_ERR_ARGUMENT, "goal");
    config.fields[1] = NULL;
    refuse(&config, false, BP_ERR_ARGUMENT, "NULL");
    config.n_fields = BP_MAX_FIELDS + 1;
    refuse(&config, false, BP_ERR_ARGUMENT, "n_fields");

    for (i = 0; i < 4; i++) {
        config = bp_policy_config_default();
        config.init_std = bad_std[i];
        refuse(&config, false, BP_ERR_ARGUMENT, "init_std");
    }
    for (i = 0; i < 3; i++) {
        config = bp_policy_config_default();
        config.min_std = bad_min[i];
        refuse(&config, false, BP_ERR_ARGUMENT, "min_std");
    }
    config = bp_policy_config_default();
    config.hidden_layers = BP_MAX_LAYERS + 1;
    refuse(&config, true, BP_ERR_ARGUMENT, "hidden_layers");
    config = bp_policy_config_default();
    config.width[1] = 0;
    refuse(&config, true, BP_ERR_ARGUMENT, "width[1]");
    config = bp_policy_config_default();
    config.head_scale = NOT_A_NUMBER;
    refuse(&config, true, BP_ERR_ARGUMENT, "scale");
    config = bp_policy_config_default();
    config.width[0] = config.width[1] = SIZE_MAX / 2;
    refuse(&config, true, BP_ERR_SIZE, "network");
}

/* Settings of the Gaussian's head mean nothing to a categorical policy, which must not refuse them. */
static void test_discrete_ignores_std(void **state) {
    bp_policy_config config = small_config();
    bp_policy policy;
    bp_error error;
    bp_spec spec;
    (void)state;
    make_spec(&spec, true);
    config.init_std = 0;
    bpt_ok(bp_policy_init(&policy, &spec, &config, &error), &error);
    assert_int_equal(policy.output, BP_OUTPUT_CATEGORICAL);
    assert_int_equal(policy.dist_size, K);
    assert_int_equal(policy.action_size, 1);
}

/* ---- all of it, with the kernel that shows the formulas and with the fastest one ------------------------ */

static int use_kernel(bp_kernel kernel) {
    bp_error error;
    compute_memory = bp_alloc(NULL, bp_compute_bytes());
    if (!compute_memory) return -1;
    if (bp_compute_init(&compute, kernel, compute_memory, &error) != BP_OK) return -1;
    print_message("kernel %s\n", bp_kernel_name(compute.kernel));
    return 0;
}

static int use_reference(void **state) {
    (void)state;
    return use_kernel(BP_KERNEL_REFERENCE);
}

static int use_auto(void **state) {
    (void)state;
    return use_kernel(BP_KERNEL_AUTO);
}

static int release(void **state) {
    (void)state;
    bp_free(NULL, compute_memory, bp_compute_bytes());
    return 0;
}

int main(void) {
    const struct CMUnitTest with_reference[] = {
        cmocka_unit_test(test_fields_are_the_only_thing_seen),
        cmocka_unit_test(test_seeing_nothing),
        cmocka_unit_test(test_order_of_fields),
        cmocka_unit_test(test_forward_is_eval),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_gradient_gaussian),
        cmocka_unit_test(test_gradient_categorical),
        cmocka_unit_test(test_kl_backward_one_side),
        cmocka_unit_test(test_gaussian_monte_carlo),
        cmocka_unit_test(test_categorical_monte_carlo),
        cmocka_unit_test(test_choices_out_of_range),
        cmocka_unit_test(test_kl_of_equals_is_zero),
        cmocka_unit_test(test_isotropic),
        cmocka_unit_test(test_first_distribution),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_discrete_ignores_std),
    };
    const struct CMUnitTest with_auto[] = {
        cmocka_unit_test(test_fields_are_the_only_thing_seen),
        cmocka_unit_test(test_seeing_nothing),
        cmocka_unit_test(test_order_of_fields),
        cmocka_unit_test(test_forward_is_eval),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_gradient_gaussian),
        cmocka_unit_test(test_gradient_categorical),
        cmocka_unit_test(test_first_distribution),
        cmocka_unit_test(test_head_limits),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(with_reference, use_reference, release) +
           cmocka_run_group_tests(with_auto, use_auto, release);
}
