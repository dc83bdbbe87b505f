/* Chapter 5: distributions. The Gaussian (E32) against quadrature and Monte Carlo, the categorical (E33) against
 * brute force, the mixture (E34) against both, every derivative against central differences, and the corners where
 * textbook formulas lose their digits. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define D 7 /* components of the Gaussians */
#define K 6 /* choices of the categoricals */
#define STEP BPT_TOL(1e-2, 1e-3)
#define TOL BPT_TOL(1e-3, 1e-7)
#define EXACT BPT_TOL(2e-6, 1e-13)

/* One struct serves all losses: the arrays lie behind one another, so that one pass varies them all. */
typedef struct problem {
    bp_real a[D], mean[D], std[D], mean0[D], std0[D], noise[D];
    bp_real logits[K], logits0[K];
    double weight[D]; /* makes a scalar of a vector */
    size_t index;
} problem;

static uint64_t seed = 1;

static problem make_problem(void) {
    bp_rng rng = bp_rng_make(seed, 5);
    problem p;
    for (size_t i = 0; i < D; i++) {
        p.a[i] = bp_rng_uniform_in(&rng, -2, 2);
        p.mean[i] = bp_rng_uniform_in(&rng, -1, 1);
        p.std[i] = bp_rng_uniform_in(&rng, BP_R(0.3), 2);
        p.mean0[i] = bp_rng_uniform_in(&rng, -1, 1);
        p.std0[i] = bp_rng_uniform_in(&rng, BP_R(0.3), 2);
        p.noise[i] = bp_rng_normal(&rng);
        p.weight[i] = (double)bp_rng_uniform_in(&rng, -2, 2);
    }
    for (size_t i = 0; i < K; i++) {
        p.logits[i] = bp_rng_uniform_in(&rng, -2, 2);
        p.logits0[i] = bp_rng_uniform_in(&rng, -2, 2);
    }
    p.index = 2;
    return p;
}

#define CHECK(loss, p, array, grad, n) \
    bpt_check_gradient_at(loss, &(p), (p).array, grad, n, STEP, TOL, #loss " by " #array, __FILE__, __LINE__)

/* The density of one component in double precision, written down plainly: the oracle of the integrals below. */
static double log_density(double a, double mean, double std) {
    const double z = (a - mean) / std;
    return -0.5 * z * z - log(std) - 0.5 * log(2 * 3.14159265358979323846);
}

/* --- the Gaussian ---------------------------------------------------------------------------------------------- */

/* The trapezoid rule on a Gaussian converges faster than any power of the step: 400 intervals over +-12 deviations are exact
 * to rounding. Returns the integral of p, of -p log p, or of p (log p - log p0), using the library's log densities. */
typedef enum quantity { MASS,
                        ENTROPY,
                        KL } quantity;
static double integrate(quantity what, bp_real mean, bp_real std, bp_real mean0, bp_real std0) {
    const double h = 24.0 / 400;
    double sum = 0;
    for (int i = -200; i <= 200; i++) {
        const bp_real a = BP_R((double)mean + h * i * (double)std);
        const double lp = (double)bp_gaussian_log_prob(&a, &mean, &std, 1);
        const double lq = (double)bp_gaussian_log_prob(&a, &mean0, &std0, 1);
        const double p = exp(log_density((double)mean + h * i * (double)std, (double)mean, (double)std));
        sum += what == MASS ? exp(lp) : what == ENTROPY ? -p * lp
                                                        : p * (lp - lq);
    }
    return sum * h * (double)std;
}

static void gaussian_log_prob_matches_formula(void **state) {
    (void)state;
    const problem p = make_problem();
    double want = 0;
    for (size_t i = 0; i < D; i++) want += log_density((double)p.a[i], (double)p.mean[i], (double)p.std[i]);
    bpt_close(bp_gaussian_log_prob(p.a, p.mean, p.std, D), want, EXACT);
    assert_true(bp_gaussian_log_prob(p.a, p.mean, p.std, 0) == 0);
}

static void gaussian_integrals(void **state) {
    (void)state;
    const problem p = make_problem();
    for (size_t i = 0; i < D; i++) {
        bpt_close(integrate(MASS, p.mean[i], p.std[i], 0, 1), 1, BPT_TOL(1e-5, 1e-12));
        bpt_close(bp_gaussian_entropy(p.std + i, 1), integrate(ENTROPY, p.mean[i], p.std[i], 0, 1), BPT_TOL(1e-5, 1e-12));
        bpt_close(bp_gaussian_kl(p.mean + i, p.std + i, p.mean0 + i, p.std0 + i, 1),
                  integrate(KL, p.mean[i], p.std[i], p.mean0[i], p.std0[i]), BPT_TOL(1e-5, 1e-12));
    }
}

/* E[log p - log p0] over samples of p, with its standard error. */
static void gaussian_kl_monte_carlo(void **state) {
    (void)state;
    const problem p = make_problem();
    bp_rng rng = bp_rng_make(seed, 6);
    const int n = 100000;
    double sum = 0, sum2 = 0;
    for (int k = 0; k < n; k++) {
        bp_real noise[D], a[D];
        bp_rng_normals(noise, &rng, D);
        bp_gaussian_sample(a, p.mean, p.std, noise, D);
        const double d = (double)bp_gaussian_log_prob(a, p.mean, p.std, D) - (double)bp_gaussian_log_prob(a, p.mean0, p.std0, D);
        sum += d;
        sum2 += d * d;
    }
    const double mean = sum / n, error = sqrt((sum2 / n - mean * mean) / n);
    const double kl = (double)bp_gaussian_kl(p.mean, p.std, p.mean0, p.std0, D);
    print_message("KL %.5f, Monte Carlo %.5f +- %.5f\n", kl, mean, error);
    assert_true(error > 0 && error < 0.1 * kl);
    assert_true(fabs(mean - kl) < 4 * error);
}

static void gaussian_kl_of_equals_is_zero(void **state) {
    (void)state;
    const problem p = make_problem();
    bp_real dmean[D] = {0}, dstd[D] = {0}, dmean0[D] = {0}, dstd0[D] = {0};
    assert_true(bp_gaussian_kl(p.mean, p.std, p.mean, p.std, D) == 0);
    bp_gaussian_kl_backward(dmean, dstd, dmean0, dstd0, 1, p.mean, p.std, p.mean, p.std, D);
    for (size_t i = 0; i < D; i++) assert_true(dmean[i] == 0 && dstd[i] == 0 && dmean0[i] == 0 && dstd0[i] == 0);
}

/* [e32_near_zero_test] */
/* KL = (q - log(1+q))/2 = q^2/4 - q^3/6 + q^4/8 - ..., with q = std^2/std0^2 - 1 known exactly from the stored numbers. */
static void gaussian_kl_is_accurate_near_zero(void **state) {
    (void)state;
    for (int e = 1; e <= 5; e++) {
        const bp_real zero = 0, std0 = 1, std = 1 + BP_R(pow(10.0, -(double)e));
        const double t = (double)std - 1, q = t * (2 + t);
        double want = 0, power = q;
        for (int k = 2; k < 60; k++) {
            power *= -q;
            want -= power / k;
        }
        const double got = (double)bp_gaussian_kl(&zero, &std, &zero, &std0, 1);
        assert_true(got > 0);
        assert_true(fabs(got / (0.5 * want) - 1) < BPT_TOL(1e-6, 1e-13));
    }
}
/* [e32_near_zero_test] */

static void gaussian_kl_is_never_negative(void **state) {
    (void)state;
    bp_rng rng = bp_rng_make(seed, 7);
    for (int k = 0; k < 20000; k++) {
        const double size = pow(10.0, -8 * bp_rng_uniform(&rng));
        const bp_real mean = bp_rng_normal(&rng), mean0 = BP_R((double)mean + size * (double)bp_rng_normal(&rng));
        const bp_real std0 = bp_rng_uniform_in(&rng, BP_R(0.01), 3);
        const bp_real std = BP_R((double)std0 * (1 + 0.9 * size * (2 * bp_rng_uniform(&rng) - 1)));
        const bp_real kl = bp_gaussian_kl(&mean, &std, &mean0, &std0, 1);
        assert_true(kl >= 0);
    }
}

static void gaussian_kl_with_tiny_std(void **state) {
    (void)state;
    const bp_real mean = BP_R(0.25), mean0 = 0, std0 = 1, tiny = BP_R(1e-30);
    /* the std^2 term is nothing, the log is large but finite */
    bpt_close(bp_gaussian_kl(&mean, &tiny, &mean0, &std0, 1), -log(1e-30) + 0.5 * 0.0625 - 0.5, BPT_TOL(1e-6, 1e-14));
    bp_real dstd = 0;
    bp_gaussian_kl_backward(NULL, &dstd, NULL, NULL, 1, &mean, &tiny, &mean0, &std0, 1);
    bpt_close((double)dstd * 1e-30, -1, 1e-6);
    /* two tiny ones: only their ratio counts */
    const bp_real tiny2 = BP_R(2e-30), same = mean;
    bpt_close(bp_gaussian_kl(&mean, &tiny, &same, &tiny2, 1), log(2.0) + 0.125 - 0.5, BPT_TOL(1e-6, 1e-14));
}

/* E8 with a uniform prior on a box. */
static void gaussian_uniform_box(void **state) {
    (void)state;
    const problem p = make_problem();
    bpt_close(bp_gaussian_kl_uniform_box(p.std, D, BP_R(D * log(2.0))),
              -(double)bp_gaussian_entropy(p.std, D) + D * log(2.0), EXACT);
    /* a narrow Gaussian inside the box: the integral of p (log p - log 1/4) over [-2,2] */
    const bp_real mean = BP_R(0.1), std = BP_R(0.15);
    bpt_close(bp_gaussian_kl_uniform_box(&std, 1, BP_R(log(4.0))),
              -integrate(ENTROPY, mean, std, 0, 1) + log(4.0), BPT_TOL(1e-5, 1e-12));
}

static double loss_log_prob(void *ctx) {
    const problem *p = (const problem *)ctx;
    return (double)bp_gaussian_log_prob(p->a, p->mean, p->std, D);
}
static double loss_entropy(void *ctx) { return (double)bp_gaussian_entropy(((const problem *)ctx)->std, D); }
static double loss_kl(void *ctx) {
    const problem *p = (const problem *)ctx;
    return (double)bp_gaussian_kl(p->mean, p->std, p->mean0, p->std0, D);
}
static double loss_sample(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real a[D];
    double sum = 0;
    bp_gaussian_sample(a, p->mean, p->std, p->noise, D);
    for (size_t i = 0; i < D; i++) sum += p->weight[i] * sin((double)a[i]);
    return sum;
}

/* Every derivative of E32, and the pullback of the sample that E18 is made of. */
static void gaussian_gradients(void **state) {
    (void)state;
    problem p = make_problem();
    bp_real da[D] = {0}, dmean[D] = {0}, dstd[D] = {0}, dmean0[D] = {0}, dstd0[D] = {0};
    bp_gaussian_log_prob_backward(da, dmean, dstd, 1, p.a, p.mean, p.std, D);
    CHECK(loss_log_prob, p, a, da, D);
    CHECK(loss_log_prob, p, mean, dmean, D);
    CHECK(loss_log_prob, p, std, dstd, D);

    memset(dstd, 0, sizeof dstd);
    bp_gaussian_entropy_backward(dstd, 1, p.std, D);
    CHECK(loss_entropy, p, std, dstd, D);

    memset(dmean, 0, sizeof dmean);
    memset(dstd, 0, sizeof dstd);
    bp_gaussian_kl_backward(dmean, dstd, dmean0, dstd0, 1, p.mean, p.std, p.mean0, p.std0, D);
    CHECK(loss_kl, p, mean, dmean, D);
    CHECK(loss_kl, p, std, dstd, D);
    CHECK(loss_kl, p, mean0, dmean0, D);
    CHECK(loss_kl, p, std0, dstd0, D);

    /* the reparameterised sample, below a loss that is not linear */
    bp_real a[D];
    bp_gaussian_sample(a, p.mean, p.std, p.noise, D);
    for (size_t i = 0; i < D; i++) da[i] = BP_R(p.weight[i] * cos((double)a[i]));
    memset(dmean, 0, sizeof dmean);
    memset(dstd, 0, sizeof dstd);
    bp_gaussian_sample_backward(dmean, dstd, da, p.noise, D);
    CHECK(loss_sample, p, mean, dmean, D);
    CHECK(loss_sample, p, std, dstd, D);
}

/* Backward adds, scales by dout, and leaves out what is NULL. */
static void gaussian_backward_contract(void **state) {
    (void)state;
    const problem p = make_problem();
    bp_real one[4][D], two[4][D];
    memset(one, 0, sizeof one);
    bp_gaussian_kl_backward(one[0], one[1], one[2], one[3], 1, p.mean, p.std, p.mean0, p.std0, D);
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < D; i++) two[k][i] = 10;
    bp_gaussian_kl_backward(two[0], two[1], NULL, NULL, 3, p.mean, p.std, p.mean0, p.std0, D);
    bp_gaussian_kl_backward(NULL, NULL, two[2], two[3], 3, p.mean, p.std, p.mean0, p.std0, D);
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < D; i++) bpt_close(two[k][i], 10 + 3 * (double)one[k][i], EXACT);
    bp_gaussian_log_prob_backward(NULL, NULL, NULL, 1, p.a, p.mean, p.std, D);
    bp_gaussian_kl_backward(NULL, NULL, NULL, NULL, 1, p.mean, p.std, p.mean0, p.std0, D);
    bp_gaussian_sample_backward(NULL, NULL, p.a, p.noise, D);
}

/* --- the categorical --------------------------------------------------------------------------------------------- */

/* Probabilities in double precision, no cleverness: the oracle. */
static void probabilities(double *prob, const bp_real *logits) {
    double sum = 0;
    for (size_t i = 0; i < K; i++) sum += prob[i] = exp((double)logits[i]);
    for (size_t i = 0; i < K; i++) prob[i] /= sum;
}

static void categorical_matches_brute_force(void **state) {
    (void)state;
    const problem p = make_problem();
    double prob[K], prob0[K], entropy = 0, kl = 0, sum = 0;
    bp_real logp[K];
    probabilities(prob, p.logits);
    probabilities(prob0, p.logits0);
    bp_categorical_log_softmax(logp, p.logits, K);
    for (size_t i = 0; i < K; i++) {
        bpt_close(logp[i], log(prob[i]), EXACT);
        bpt_close(bp_categorical_log_prob(p.logits, i, K), log(prob[i]), EXACT);
        sum += exp((double)logp[i]);
        entropy -= prob[i] * log(prob[i]);
        kl += prob[i] * log(prob[i] / prob0[i]);
    }
    bpt_close(sum, 1, EXACT);
    bpt_close(bp_categorical_entropy(p.logits, K), entropy, EXACT);
    bpt_close(bp_categorical_kl(p.logits, p.logits0, K), kl, EXACT);
    bpt_close(bp_categorical_kl_uniform(p.logits, K), log((double)K) - entropy, EXACT);
}

static void categorical_corners(void **state) {
    (void)state;
    const problem p = make_problem();
    bp_real x[K], y[K], logp[K], dx[K] = {0}, dy[K] = {0};
    /* a constant changes nothing, and large logits do not overflow */
    for (size_t i = 0; i < K; i++) {
        x[i] = BP_R(floor((double)p.logits[i] * 8) / 8); /* so that adding 1000 is exact */
        y[i] = x[i] + 1000;
    }
    assert_true(bp_categorical_kl(x, y, K) == 0);
    bpt_close(bp_categorical_entropy(x, K), bp_categorical_entropy(y, K), EXACT);
    for (size_t i = 0; i < K; i++) x[i] = i ? -BP_R(1e4) : BP_R(1e4);
    bp_categorical_log_softmax(logp, x, K);
    assert_true(logp[0] == 0 && logp[1] == -20000);
    assert_true(bp_categorical_entropy(x, K) == 0);

    /* uniform: the largest entropy, no distance from uniform */
    for (size_t i = 0; i < K; i++) x[i] = BP_R(0.5);
    bpt_close(bp_categorical_entropy(x, K), log((double)K), EXACT);
    assert_true(fabs((double)bp_categorical_kl_uniform(x, K)) < BPT_TOL(1e-7, 1e-15));
    assert_true(bp_categorical_kl(p.logits, p.logits, K) == 0);

    /* forbidden choices */
    memcpy(x, p.logits, sizeof x);
    memcpy(y, p.logits0, sizeof y);
    x[1] = y[1] = y[3] = -BP_R(HUGE_VAL);
    assert_true(isinf((double)bp_categorical_kl(x, y, K)) && bp_categorical_kl(x, y, K) > 0);
    x[3] = -BP_R(HUGE_VAL);
    const bp_real kl = bp_categorical_kl(x, y, K), entropy = bp_categorical_entropy(x, K);
    assert_true(kl > 0 && kl < 100 && entropy > 0 && entropy <= BP_R(log(K - 2.0)));
    bp_categorical_kl_backward(dx, dy, 1, x, y, K);
    bp_categorical_entropy_backward(dx, 1, x, K);
    bp_categorical_log_prob_backward(dx, 1, x, 0, K);
    assert_true(dx[1] == 0 && dx[3] == 0 && dy[1] == 0);
    for (size_t i = 0; i < K; i++) assert_true(dx[i] - dx[i] == 0 && dy[i] - dy[i] == 0);
    bp_rng rng = bp_rng_make(seed, 8);
    for (int k = 0; k < 10000; k++) {
        const size_t c = bp_categorical_sample(&rng, x, K);
        assert_true(c < K && c != 1 && c != 3);
    }
    /* one choice */
    assert_true(bp_categorical_entropy(x, 1) == 0 && bp_categorical_sample(&rng, x, 1) == 0);
}

static void categorical_kl_near_zero(void **state) {
    (void)state;
    bp_rng rng = bp_rng_make(seed, 9);
    for (int k = 0; k < 5000; k++) {
        const double size = pow(10.0, -6 * bp_rng_uniform(&rng));
        bp_real x[K], y[K];
        for (size_t i = 0; i < K; i++) {
            x[i] = bp_rng_normal(&rng);
            y[i] = BP_R((double)x[i] + size * (double)bp_rng_normal(&rng));
        }
        const bp_real kl = bp_categorical_kl(x, y, K);
        assert_true(kl >= 0 && (double)kl <= 40 * size * size + 1e-9);
    }
}

static void categorical_sampling(void **state) {
    (void)state;
    const problem p = make_problem();
    bp_rng rng = bp_rng_make(seed, 10), twin = rng;
    const int n = 100000;
    int count[K] = {0};
    double prob[K], prob0[K], sum = 0, sum2 = 0;
    probabilities(prob, p.logits);
    probabilities(prob0, p.logits0);
    for (int k = 0; k < n; k++) {
        const size_t c = bp_categorical_sample(&rng, p.logits, K);
        const double d = (double)bp_categorical_log_prob(p.logits, c, K) - (double)bp_categorical_log_prob(p.logits0, c, K);
        (void)bp_rng_uniform(&twin);
        count[c]++;
        sum += d;
        sum2 += d * d;
    }
    for (size_t i = 0; i < K; i++) assert_true(fabs(count[i] - n * prob[i]) < 4.5 * sqrt(n * prob[i] * (1 - prob[i])));
    const double mean = sum / n, error = sqrt((sum2 / n - mean * mean) / n);
    const double kl = (double)bp_categorical_kl(p.logits, p.logits0, K);
    print_message("KL %.5f, Monte Carlo %.5f +- %.5f\n", kl, mean, error);
    assert_true(error > 0 && fabs(mean - kl) < 4 * error);
    assert_true(bp_rng_u64(&rng) == bp_rng_u64(&twin)); /* one uniform per draw */
}

static double loss_softmax(void *ctx) {
    const problem *p = (const problem *)ctx;
    bp_real logp[K];
    double sum = 0;
    bp_categorical_log_softmax(logp, p->logits, K);
    for (size_t i = 0; i < K; i++) sum += p->weight[i] * sin((double)logp[i]);
    return sum;
}
static double loss_cat_log_prob(void *ctx) {
    const problem *p = (const problem *)ctx;
    return (double)bp_categorical_log_prob(p->logits, p->index, K);
}
static double loss_cat_entropy(void *ctx) { return (double)bp_categorical_entropy(((const problem *)ctx)->logits, K); }
static double loss_cat_kl(void *ctx) {
    const problem *p = (const problem *)ctx;
    return (double)bp_categorical_kl(p->logits, p->logits0, K);
}
static double loss_cat_uniform(void *ctx) { return (double)bp_categorical_kl_uniform(((const problem *)ctx)->logits, K); }

static void categorical_gradients(void **state) {
    (void)state;
    problem p = make_problem();
    bp_real d[K] = {0}, d0[K] = {0}, logp[K], dlogp[K];

    bp_categorical_log_softmax(logp, p.logits, K);
    for (size_t i = 0; i < K; i++) dlogp[i] = BP_R(p.weight[i] * cos((double)logp[i]));
    bp_categorical_log_softmax_backward(d, dlogp, logp, K);
    CHECK(loss_softmax, p, logits, d, K);

    memset(d, 0, sizeof d);
    bp_categorical_log_prob_backward(d, 1, p.logits, p.index, K);
    CHECK(loss_cat_log_prob, p, logits, d, K);

    memset(d, 0, sizeof d);
    bp_categorical_entropy_backward(d, 1, p.logits, K);
    CHECK(loss_cat_entropy, p, logits, d, K);

    memset(d, 0, sizeof d);
    bp_categorical_entropy_backward(d, -1, p.logits, K);
    CHECK(loss_cat_uniform, p, logits, d, K);

    memset(d, 0, sizeof d);
    bp_categorical_kl_backward(d, d0, 1, p.logits, p.logits0, K);
    CHECK(loss_cat_kl, p, logits, d, K);
    CHECK(loss_cat_kl, p, logits0, d0, K);

    /* adds, scales, and NULL is allowed */
    bp_real e[K], e0[K];
    for (size_t i = 0; i < K; i++) e[i] = e0[i] = 5;
    bp_categorical_kl_backward(e, NULL, 2, p.logits, p.logits0, K);
    bp_categorical_kl_backward(NULL, e0, 2, p.logits, p.logits0, K);
    for (size_t i = 0; i < K; i++) {
        bpt_close(e[i], 5 + 2 * (double)d[i], EXACT);
        bpt_close(e0[i], 5 + 2 * (double)d0[i], EXACT);
    }
}

/* --- the mixture of Gaussians ------------------------------------------------------------------------------------- */

#define M 4  /* components */
#define MD 3 /* of so many numbers */

typedef struct mixture {
    bp_real a[MD], logits[M], mean[M * MD], std[M * MD];
} mixture;

static mixture make_mixture(void) {
    bp_rng rng = bp_rng_make(seed, 11);
    mixture m;
    for (size_t i = 0; i < MD; i++) m.a[i] = bp_rng_uniform_in(&rng, -1, 1);
    for (size_t k = 0; k < M; k++) m.logits[k] = bp_rng_uniform_in(&rng, -1, 1);
    for (size_t i = 0; i < M * MD; i++) {
        m.mean[i] = bp_rng_uniform_in(&rng, -1, 1);
        m.std[i] = bp_rng_uniform_in(&rng, BP_R(0.4), BP_R(1.5));
    }
    return m;
}

/* sum of w N, plainly, in double */
static double mixture_density(const bp_real *a, const mixture *m, size_t dim) {
    double total = 0, sum = 0;
    for (size_t k = 0; k < M; k++) total += exp((double)m->logits[k]);
    for (size_t k = 0; k < M; k++) {
        double l = 0;
        for (size_t i = 0; i < dim; i++) l += log_density((double)a[i], (double)m->mean[k * dim + i], (double)m->std[k * dim + i]);
        sum += exp((double)m->logits[k]) / total * exp(l);
    }
    return sum;
}

static void mixture_matches_brute_force(void **state) {
    (void)state;
    mixture m = make_mixture();
    bp_real r[M];
    double sum = 0, total = 0;
    bpt_close(bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD), log(mixture_density(m.a, &m, MD)), EXACT);
    bp_mixture_responsibilities(r, m.a, m.logits, m.mean, m.std, M, MD);
    for (size_t k = 0; k < M; k++) total += exp((double)m.logits[k]);
    for (size_t k = 0; k < M; k++) {
        const double share = exp((double)m.logits[k] + (double)bp_gaussian_log_prob(m.a, m.mean + k * MD, m.std + k * MD, MD)) / total;
        bpt_close(r[k], share / mixture_density(m.a, &m, MD), 4 * EXACT);
        sum += (double)r[k];
    }
    bpt_close(sum, 1, EXACT);
    /* one component is a Gaussian; the same component several times too; the order does not matter */
    bpt_close(bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, 1, MD), bp_gaussian_log_prob(m.a, m.mean, m.std, MD), EXACT);
    for (size_t k = 1; k < M; k++) {
        memcpy(m.mean + k * MD, m.mean, MD * sizeof(bp_real));
        memcpy(m.std + k * MD, m.std, MD * sizeof(bp_real));
    }
    bpt_close(bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD), bp_gaussian_log_prob(m.a, m.mean, m.std, MD), EXACT);
}

/* In one dimension the density adds up to 1. */
static void mixture_integrates_to_one(void **state) {
    (void)state;
    const mixture m = make_mixture();
    double mass = 0;
    for (int i = -2000; i <= 2000; i++) {
        const bp_real a = BP_R(i * 0.01);
        mass += exp((double)bp_mixture_log_prob(&a, m.logits, m.mean, m.std, M, 1)) * 0.01;
    }
    bpt_close(mass, 1, BPT_TOL(1e-5, 1e-12));
}

static double loss_mixture(void *ctx) {
    const mixture *m = (const mixture *)ctx;
    return (double)bp_mixture_log_prob(m->a, m->logits, m->mean, m->std, M, MD);
}

static void mixture_gradients(void **state) {
    (void)state;
    mixture m = make_mixture();
    bp_real da[MD] = {0}, dlogits[M] = {0}, dmean[M * MD] = {0}, dstd[M * MD] = {0}, twice[M * MD];
    bp_mixture_log_prob_backward(da, dlogits, dmean, dstd, 1, m.a, m.logits, m.mean, m.std, M, MD);
    CHECK(loss_mixture, m, a, da, MD);
    CHECK(loss_mixture, m, logits, dlogits, M);
    CHECK(loss_mixture, m, mean, dmean, M * MD);
    CHECK(loss_mixture, m, std, dstd, M * MD);

    /* adds, scales, and NULL is allowed */
    for (size_t i = 0; i < M * MD; i++) twice[i] = 4;
    bp_mixture_log_prob_backward(NULL, NULL, twice, NULL, 2, m.a, m.logits, m.mean, m.std, M, MD);
    for (size_t i = 0; i < M * MD; i++) bpt_close(twice[i], 4 + 2 * (double)dmean[i], EXACT);
    bp_mixture_log_prob_backward(NULL, NULL, NULL, NULL, 1, m.a, m.logits, m.mean, m.std, M, MD);
}

static void mixture_extremes(void **state) {
    (void)state;
    mixture m = make_mixture();
    bp_real r[M], d[M] = {0}, dmean[M * MD] = {0}, dstd[M * MD] = {0};
    double want;
    /* far from everything: only the widest component counts, and nothing underflows before the logarithm */
    for (size_t i = 0; i < MD; i++) m.a[i] = 1000;
    for (size_t i = 0; i < MD; i++) m.std[2 * MD + i] = 3;
    want = (double)m.logits[2] + (double)bp_gaussian_log_prob(m.a, m.mean + 2 * MD, m.std + 2 * MD, MD);
    {
        double total = 0;
        for (size_t k = 0; k < M; k++) total += exp((double)m.logits[k]);
        want -= log(total);
    }
    bpt_close(bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD), want, EXACT);
    bp_mixture_responsibilities(r, m.a, m.logits, m.mean, m.std, M, MD);
    assert_true(r[2] == 1 && r[0] == 0 && r[1] == 0 && r[3] == 0);

    /* a component of weight 0 is not looked at, whatever stands there */
    m = make_mixture();
    m.logits[0] = m.logits[3] = -BP_R(HUGE_VAL);
    for (size_t i = 0; i < MD; i++) m.mean[i] = m.std[i] = -BP_R(NAN);
    want = (double)bp_mixture_log_prob(m.a, m.logits + 1, m.mean + MD, m.std + MD, 2, MD);
    bpt_close(bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD), want, EXACT);
    bp_mixture_log_prob_backward(NULL, d, dmean, dstd, 1, m.a, m.logits, m.mean, m.std, M, MD);
    assert_true(d[0] == 0 && d[3] == 0);
    for (size_t i = 0; i < M * MD; i++) assert_true(dmean[i] - dmean[i] == 0 && dstd[i] - dstd[i] == 0);
    for (size_t i = 0; i < MD; i++) assert_true(dmean[i] == 0 && dmean[3 * MD + i] == 0);

    /* so far away that the square overflows: the density is 0, and nothing is responsible for it */
    m = make_mixture();
    m.a[0] = BPT_TOL(BP_R(1e30), BP_R(1e200));
    for (size_t i = 0; i < M; i++) d[i] = 5;
    want = (double)bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD);
    assert_true(isinf(want) && want < 0);
    bp_mixture_log_prob_backward(NULL, d, NULL, NULL, 1, m.a, m.logits, m.mean, m.std, M, MD);
    for (size_t i = 0; i < M; i++) assert_true(d[i] == 5);
    m.a[0] = BP_R(NAN);
    want = (double)bp_mixture_log_prob(m.a, m.logits, m.mean, m.std, M, MD);
    assert_true(want != want);
}

/* Samples come from the components as often as their weights say, and the average of any function is its integral. */
static void mixture_sampling(void **state) {
    (void)state;
    const mixture m = make_mixture();
    const int n = 100000;
    bp_rng rng = bp_rng_make(seed, 12);
    double count[M] = {0}, weight[M], total = 0, sum = 0, sum2 = 0, mean = 0;
    for (size_t k = 0; k < M; k++) total += weight[k] = exp((double)m.logits[k]);
    for (int i = 0; i < n; i++) {
        bp_real a[MD];
        count[bp_mixture_sample(a, &rng, m.logits, m.mean, m.std, M, MD)]++;
        const double x = (double)a[0];
        sum += x;
        sum2 += x * x;
    }
    for (size_t k = 0; k < M; k++) {
        const double p = weight[k] / total;
        assert_true(fabs(count[k] - n * p) < 4.5 * sqrt(n * p * (1 - p)));
        mean += p * (double)m.mean[k * MD];
    }
    assert_true(fabs(sum / n - mean) < 4 * sqrt((sum2 / n - sum / n * sum / n) / n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_log_prob_matches_formula),
        cmocka_unit_test(gaussian_integrals),
        cmocka_unit_test(gaussian_kl_monte_carlo),
        cmocka_unit_test(gaussian_kl_of_equals_is_zero),
        cmocka_unit_test(gaussian_kl_is_accurate_near_zero),
        cmocka_unit_test(gaussian_kl_is_never_negative),
        cmocka_unit_test(gaussian_kl_with_tiny_std),
        cmocka_unit_test(gaussian_uniform_box),
        cmocka_unit_test(gaussian_gradients),
        cmocka_unit_test(gaussian_backward_contract),
        cmocka_unit_test(categorical_matches_brute_force),
        cmocka_unit_test(categorical_corners),
        cmocka_unit_test(categorical_kl_near_zero),
        cmocka_unit_test(categorical_sampling),
        cmocka_unit_test(categorical_gradients),
        cmocka_unit_test(mixture_matches_brute_force),
        cmocka_unit_test(mixture_integrates_to_one),
        cmocka_unit_test(mixture_gradients),
        cmocka_unit_test(mixture_extremes),
        cmocka_unit_test(mixture_sampling),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
