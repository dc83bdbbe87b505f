/* test_04_linalg.c - chapter 4: every kernel against the reference, accuracy of the functions, threads. */
#ifdef BPRIOR_THREADS /* let the n-th thread fail on request */
#include <pthread.h>
static int threads_allowed = 1000;
static int careful_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg) {
    return threads_allowed-- > 0 ? pthread_create(thread, attr, start, arg) : 11;
}
#define pthread_create careful_create
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#include <cmocka.h>
#ifdef __cplusplus
}
#endif

#ifdef BPRIOR_DOUBLE
typedef long double wide; /* what answers are compared with */
#define WIDE(f) f##l
#define GEMM_TOLERANCE 1e-14
#else
typedef double wide;
#define WIDE(f) f
#define GEMM_TOLERANCE 3e-6
#endif

static const bp_kernel all_kernels[] = {BP_KERNEL_AUTO, BP_KERNEL_REFERENCE, BP_KERNEL_VECTOR, BP_KERNEL_AVX2,
                                        BP_KERNEL_AVX512, BP_KERNEL_NEON, BP_KERNEL_CBLAS};
#define N_KERNELS (sizeof all_kernels / sizeof all_kernels[0])

/* A compute for the kernel, or false where this machine lacks it. */
static bool make_compute(bp_compute *c, bp_kernel kernel) {
    bp_error error;
    void *mem = bp_alloc(NULL, bp_compute_bytes());
    bp_status s;
    assert_non_null(mem);
    s = bp_compute_init(c, kernel, mem, &error);
    if (s == BP_OK) return true;
    assert_int_equal(s, BP_ERR_UNSUPPORTED);
    assert_int_equal(error.status, s);
    assert_non_null(strstr(error.text, bp_kernel_name(kernel)));
    bp_free(NULL, mem, bp_compute_bytes());
    return false;
}

static void drop_compute(bp_compute *c) { bp_free(NULL, c->pack, bp_compute_bytes()); }

static void test_init(void **state) {
    bp_compute c;
    bp_error error;
    size_t i;
    (void)state;
    assert_int_equal(bp_compute_init(&c, BP_KERNEL_AUTO, NULL, &error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_compute_init(&c, BP_KERNEL_AUTO, NULL, NULL), BP_ERR_ARGUMENT);
    for (i = 0; i < N_KERNELS; i++) {
        if (!make_compute(&c, all_kernels[i])) continue;
        if (all_kernels[i] == BP_KERNEL_AUTO) assert_int_not_equal(c.kernel, BP_KERNEL_AUTO);
        else assert_int_equal(c.kernel, all_kernels[i]);
        print_message("kernel %s runs here\n", bp_kernel_name(c.kernel));
        drop_compute(&c);
    }
    assert_string_equal(bp_kernel_name((bp_kernel)7), "unknown");
    assert_true(make_compute(&c, BP_KERNEL_REFERENCE));
    drop_compute(&c);
    assert_true(make_compute(&c, BP_KERNEL_VECTOR));
    drop_compute(&c);
}

/* --- products ------------------------------------------------------------------------------------------------------ */

typedef struct product {
    bool ta, tb;
    size_t m, n, k, lda, ldb, ldc;
    bp_real beta;
    bool with_bias;
    bp_activation act;
} product;

#define BIG ((size_t)160 * 1024)
static bp_real *mat_a, *mat_b, *mat_c, *mat_ref, *mat_bias;

static int setup(void **state) {
    bp_rng rng = bp_rng_make(4, 4);
    size_t i;
    (void)state;
    mat_a = (bp_real *)bp_alloc(NULL, BIG * sizeof(bp_real));
    mat_b = (bp_real *)bp_alloc(NULL, BIG * sizeof(bp_real));
    mat_c = (bp_real *)bp_alloc(NULL, BIG * sizeof(bp_real));
    mat_ref = (bp_real *)bp_alloc(NULL, BIG * sizeof(bp_real));
    mat_bias = (bp_real *)bp_alloc(NULL, BIG * sizeof(bp_real));
    if (!mat_a || !mat_b || !mat_c || !mat_ref || !mat_bias) return -1;
    bp_rng_normals(mat_a, &rng, BIG);
    bp_rng_normals(mat_b, &rng, BIG);
    for (i = 0; i < BIG; i++) mat_bias[i] = bp_rng_normal(&rng);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    bp_free(NULL, mat_a, BIG * sizeof(bp_real));
    bp_free(NULL, mat_b, BIG * sizeof(bp_real));
    bp_free(NULL, mat_c, BIG * sizeof(bp_real));
    bp_free(NULL, mat_ref, BIG * sizeof(bp_real));
    bp_free(NULL, mat_bias, BIG * sizeof(bp_real));
    return 0;
}

static void run_product(const bp_compute *c, const product *p, bp_real *out) {
    bp_gemm(c, p->ta, p->tb, p->m, p->n, p->k, mat_a, p->lda, mat_b, p->ldb, p->beta, out, p->ldc,
            p->with_bias ? mat_bias : NULL, p->act);
}

/* Fills C, with NaN where it must not be read, and a guard value between and after the rows. */
static void fill_c(const product *p, bp_real *out) {
    size_t i, j;
    for (i = 0; i < p->m; i++)
        for (j = 0; j < p->ldc; j++)
            out[i * p->ldc + j] = j >= p->n              ? BP_R(777)
                                  : p->beta == BP_R(0.0) ? BP_R(NAN)
                                                         : BP_R((double)((i * 7 + j * 3) % 11) - 5.0);
}

static void compare_product(const bp_compute *c, const bp_compute *ref, const product *p) {
    size_t i, j;
    double scale = GEMM_TOLERANCE * sqrt((double)p->k + 1.0) * 4.0;
    fill_c(p, mat_ref);
    run_product(ref, p, mat_ref);
    fill_c(p, mat_c);
    run_product(c, p, mat_c);
    for (i = 0; i < p->m; i++)
        for (j = 0; j < p->ldc; j++) {
            double got = (double)mat_c[i * p->ldc + j], want = (double)mat_ref[i * p->ldc + j];
            bool fine = j >= p->n ? got == 777.0 && want == 777.0 : fabs(got - want) <= scale * (1.0 + fabs(want));
            if (!fine) {
                print_error("%s ta %d tb %d m %zu n %zu k %zu lda %zu ldb %zu ldc %zu beta %g bias %d act %d: [%zu][%zu] "
                            "%.9g, reference %.9g\n",
                            bp_kernel_name(c->kernel), p->ta, p->tb, p->m, p->n, p->k, p->lda, p->ldb, p->ldc,
                            (double)p->beta, p->with_bias, (int)p->act, i, j, got, want);
                fail();
            }
        }
}

static void test_gemm_grid(void **state) {
    static const size_t sizes[] = {0, 1, 2, 3, 7, 16, 17, 33, 64, 100};
    static const double betas[] = {0.0, 1.0, 0.5};
    const size_t n_sizes = sizeof sizes / sizeof sizes[0];
    bp_compute ref;
    size_t kernel, mi, ni, ki, t, count = 0;
    (void)state;
    assert_true(make_compute(&ref, BP_KERNEL_REFERENCE));
    for (kernel = 2; kernel < N_KERNELS; kernel++) {
        bp_compute c;
        if (!make_compute(&c, all_kernels[kernel])) continue;
        for (mi = 0; mi < n_sizes; mi++)
            for (ni = 0; ni < n_sizes; ni++)
                for (ki = 0; ki < n_sizes; ki++)
                    for (t = 0; t < 4; t++) {
                        product p;
                        p.ta = (t & 1u) != 0;
                        p.tb = (t & 2u) != 0;
                        p.m = sizes[mi];
                        p.n = sizes[ni];
                        p.k = sizes[ki];
                        /* the rest varies from case to case, so that all combinations come up somewhere */
                        p.beta = BP_R(betas[count % 3]);
                        p.with_bias = count / 3 % 2 != 0;
                        p.act = (bp_activation)(count / 6 % 5);
                        p.lda = (p.ta ? p.m : p.k) + count % 4;
                        p.ldb = (p.tb ? p.k : p.n) + count / 4 % 3;
                        p.ldc = p.n + count / 2 % 2;
                        compare_product(&c, &ref, &p);
                        count++;
                    }
        drop_compute(&c);
    }
    drop_compute(&ref);
    print_message("%zu products compared\n", count);
}

/* Several blocks of the inner dimension, several blocks of columns, shapes of gradients. */
static void test_gemm_large(void **state) {
    /* clang-format off */
    static const size_t shapes[][3] = {{60, 70, 1000}, {35, 1100, 30}, {1, 64, 1500}, {257, 1, 300}, {2, 300, 385},
        {29, 65, 769}, {90, 530, 200}, {3, 64, 64}, {150, 2, 900}};
    /* clang-format on */
    bp_compute ref;
    size_t kernel, s, t;
    (void)state;
    assert_true(make_compute(&ref, BP_KERNEL_REFERENCE));
    for (kernel = 2; kernel < N_KERNELS; kernel++) {
        bp_compute c;
        if (!make_compute(&c, all_kernels[kernel])) continue;
        for (s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (t = 0; t < 12; t++) {
                product p;
                p.ta = (t & 1u) != 0;
                p.tb = (t & 2u) != 0;
                p.m = shapes[s][0];
                p.n = shapes[s][1];
                p.k = shapes[s][2];
                p.beta = t < 4 ? BP_R(0) : t < 8 ? BP_R(1)
                                                 : BP_R(0.5);
                p.with_bias = t % 3 == 0;
                p.act = t % 3 == 1 ? BP_ACT_TANH : BP_ACT_NONE;
                p.lda = p.ta ? p.m : p.k;
                p.ldb = p.tb ? p.k : p.n;
                p.ldc = p.n;
                compare_product(&c, &ref, &p);
            }
        drop_compute(&c);
    }
    drop_compute(&ref);
}

/* A row's bits must not depend on where the row stands among at least two others, nor a run on the one before it: neither in wide
 * products nor in narrow ones. */
static void test_gemm_rows_alike(void **state) {
    static const size_t widths[] = {1, 2, 3, 4, 5, 8, 9, 37};
    size_t kernel, i, j, w, t;
    (void)state;
    for (kernel = 1; kernel < N_KERNELS - 1; kernel++) {
        bp_compute c;
        bp_real *a;
        if (!make_compute(&c, all_kernels[kernel])) continue;
        a = (bp_real *)bp_alloc(NULL, 41 * 50 * sizeof *a);
        assert_non_null(a);
        for (i = 0; i < 41; i++) memcpy(a + i * 50, mat_a, 50 * sizeof *a);
        for (w = 0; w < sizeof widths / sizeof widths[0]; w++)
            for (t = 0; t < 2; t++) {
                const size_t n = widths[w];
                const bool tb = t == 1;
                bp_gemm(&c, false, tb, 41, n, 50, a, 50, mat_b, tb ? 50 : n, BP_R(0), mat_c, n, mat_bias, BP_ACT_ELU);
                for (i = 1; i < 41; i++) assert_memory_equal(mat_c, mat_c + i * n, n * sizeof *a);
                bp_gemm(&c, false, tb, 5, n, 50, a, 50, mat_b, tb ? 50 : n, BP_R(0), mat_ref, n, mat_bias, BP_ACT_ELU);
                for (j = 0; j < 5 * n; j++) assert_true(mat_ref[j] == mat_c[j]);
            }
        bp_free(NULL, a, 41 * 50 * sizeof *a);
        drop_compute(&c);
    }
}

/* NaN and infinity in an operand reach exactly the elements they belong to. */
static void test_gemm_nonfinite(void **state) {
    size_t kernel, i, j;
    (void)state;
    for (kernel = 1; kernel < N_KERNELS; kernel++) {
        bp_compute c;
        bp_real keep_a = mat_a[3 * 20 + 5], keep_b = mat_b[7 * 33 + 11];
        if (!make_compute(&c, all_kernels[kernel])) continue;
        mat_a[3 * 20 + 5] = BP_R(NAN);
        mat_b[7 * 33 + 11] = BP_R(INFINITY);
        bp_gemm(&c, false, false, 18, 33, 20, mat_a, 20, mat_b, 33, BP_R(0), mat_c, 33, NULL, BP_ACT_NONE);
        for (i = 0; i < 18; i++)
            for (j = 0; j < 33; j++) {
                bp_real x = mat_c[i * 33 + j];
                if (i == 3) assert_true(x != x);
                else assert_int_equal(bpi_finite(x), j != 11);
            }
        mat_a[3 * 20 + 5] = keep_a;
        mat_b[7 * 33 + 11] = keep_b;
        drop_compute(&c);
    }
}

/* --- elementwise --------------------------------------------------------------------------------------------------- */

static double ulps(bp_real got, wide want) {
    bp_real near = (bp_real)want, a = near < BP_R(0) ? -near : near;
#ifdef BPRIOR_DOUBLE
    double unit;
    if (!bpi_finite(near)) return got == near ? 0.0 : 1e9;
    unit = nextafter(a, (double)INFINITY) - a;
#else
    float unit;
    if (!bpi_finite(near)) return got == near ? 0.0 : 1e9;
    unit = nextafterf(a, (float)INFINITY) - a;
#endif
    return (double)(WIDE(fabs)((wide)got - want) / (wide)unit);
}

static wide wide_exp(wide x) { return WIDE(exp)(x); }
static wide wide_log(wide x) { return WIDE(log)(x); }
static wide wide_tanh(wide x) { return WIDE(tanh)(x); }
static wide wide_softplus(wide x) { return (x > 0 ? x : 0) + WIDE(log1p)(WIDE(exp)(-WIDE(fabs)(x))); }
static wide wide_elu(wide x) { return x > 0 ? x : WIDE(expm1)(x); }
static bp_real one_elu(bp_real x) { return bpi_act_body(x, BP_ACT_ELU); }

static void sweep(const char *name, bp_real (*f)(bp_real), wide (*g)(wide), double lo, double hi, double allowed) {
    const int steps = 200000;
    double worst = 0.0, at = lo;
    int i;
    for (i = 0; i <= steps; i++) {
        bp_real x = BP_R(lo + (hi - lo) * i / steps);
        double e = ulps(f(x), g((wide)x));
        if (!(e <= worst)) {
            worst = e;
            at = (double)x;
        }
    }
    print_message("%-8s [%9.3g, %9.3g]: %.2f units in the last place, at %.9g\n", name, lo, hi, worst, at);
    assert_true(worst <= allowed);
}

static void test_accuracy(void **state) {
    (void)state;
    sweep("exp", bp_exp, wide_exp, -1.0, 1.0, 1.1);
    sweep("exp", bp_exp, wide_exp, -110.0, 92.0, 1.1);
#ifdef BPRIOR_DOUBLE
    sweep("exp", bp_exp, wide_exp, -750.0, 711.0, 1.1);
#endif
    sweep("log", bp_log, wide_log, 0.5, 2.0, 1.1);
    sweep("log", bp_log, wide_log, 1e-30, 1e4, 1.1);
    sweep("log", bp_log, wide_log, 1e-44, 1e-37, 1.1);
    sweep("tanh", bp_tanh, wide_tanh, -1e-3, 1e-3, 3.0);
    sweep("tanh", bp_tanh, wide_tanh, -0.7, 0.7, 3.0);
    sweep("tanh", bp_tanh, wide_tanh, -25.0, 25.0, 3.0);
    sweep("softplus", bp_softplus, wide_softplus, -4.0, 4.0, 3.0);
    sweep("softplus", bp_softplus, wide_softplus, -110.0, 110.0, 3.0);
    sweep("elu", one_elu, wide_elu, -1.0, 0.5, 1.5);
    sweep("elu", one_elu, wide_elu, -45.0, 2.0, 1.5);
}

/* The kernels' own tanh and ELU, against the truth, and against the scalar functions. */
static bp_compute swept;
static bp_real kernel_tanh(bp_real x) {
    bp_vec_tanh(&swept, &x, &x, 1);
    return x;
}
static bp_real kernel_elu(bp_real x) {
    bp_vec_act(&swept, &x, &x, 1, BP_ACT_ELU);
    return x;
}

static void test_kernel_accuracy(void **state) {
    size_t kernel;
    (void)state;
    for (kernel = 0; kernel < N_KERNELS; kernel++) {
        const bp_real special[] = {BP_R(INFINITY), BP_R(-INFINITY), BP_R(0), BP_R(-0.0), BP_R(1e30), BP_R(-1e30), BPI_REAL_MIN};
        size_t i;
        if (!make_compute(&swept, all_kernels[kernel])) continue;
        print_message("%s\n", bp_kernel_name(all_kernels[kernel]));
        sweep("tanh", kernel_tanh, wide_tanh, -1e-3, 1e-3, 3.0);
        sweep("tanh", kernel_tanh, wide_tanh, -0.7, 0.7, 3.0);
        sweep("tanh", kernel_tanh, wide_tanh, -25.0, 25.0, 3.0);
        sweep("elu", kernel_elu, wide_elu, -1.0, 0.5, 1.5);
        sweep("elu", kernel_elu, wide_elu, -45.0, 2.0, 1.5);
        for (i = 0; i < sizeof special / sizeof special[0]; i++) {
            bp_real got = kernel_tanh(special[i]), want = bp_tanh(special[i]);
            assert_memory_equal(&got, &want, sizeof got); /* the sign of 0, too */
            got = kernel_elu(special[i]), want = one_elu(special[i]);
            assert_true(got == want);
        }
        assert_true(kernel_tanh(BP_R(NAN)) != kernel_tanh(BP_R(NAN)));
        assert_true(kernel_elu(BP_R(NAN)) != kernel_elu(BP_R(NAN)));
        drop_compute(&swept);
    }
}

static void test_special_values(void **state) {
    const bp_real inf = BP_R(INFINITY), nan = BP_R(NAN);
    bp_real y;
    (void)state;
    assert_true(bp_exp(inf) == inf && bp_exp(-inf) == BP_R(0) && bp_exp(BP_R(0)) == BP_R(1));
    assert_true(bp_log(BP_R(0)) == -inf && bp_log(inf) == inf && bp_log(BP_R(1)) == BP_R(0));
    assert_true(bp_tanh(inf) == BP_R(1) && bp_tanh(-inf) == BP_R(-1));
    y = bp_tanh(BP_R(-0.0));
    assert_true(y == BP_R(0) && signbit(y));
    assert_true(bp_softplus(inf) == inf && bp_softplus(-inf) == BP_R(0));
    y = bp_exp(nan);
    assert_true(y != y);
    y = bp_log(nan);
    assert_true(y != y);
    y = bp_log(BP_R(-1));
    assert_true(y != y);
    y = bp_log(-inf);
    assert_true(y != y);
    y = bp_tanh(nan);
    assert_true(y != y);
    y = bp_softplus(nan);
    assert_true(y != y);
    y = one_elu(nan);
    assert_true(y != y);
    y = bpi_act_body(nan, BP_ACT_RELU);
    assert_true(y != y);
}

/* Are two results of one function the same: to the bit, or if multiply-adds were fused, but for a few roundings of numbers of that
 * size? */
static bool same(bp_real got, bp_real want, double fused) {
    const double epsilon = sizeof(bp_real) == sizeof(float) ? (double)FLT_EPSILON : DBL_EPSILON;
    if (want != want) return got != got;
    return got == want || fabs((double)got - (double)want) <= 8.0 * epsilon * fused;
}

/* Every kernel, every length: the bits of the scalar functions where no multiply-add is fused, else nearly so; the same bits wherever
 * in an array a number stands; in place too; and nothing written behind the end. */
static void test_elementwise(void **state) {
    enum { LONGEST = 203 };
    bp_real x[LONGEST + 1], y[LONGEST + 1], dy[LONGEST], dx[LONGEST + 1], base[LONGEST];
    bp_rng rng = bp_rng_make(7, 7);
    size_t kernel, n, i;
    bp_compute ref;
    (void)state;
    assert_true(make_compute(&ref, BP_KERNEL_REFERENCE));
    for (i = 0; i < LONGEST; i++) {
        x[i] = BP_R(4) * bp_rng_normal(&rng);
        dy[i] = bp_rng_normal(&rng);
        base[i] = bp_rng_normal(&rng);
    }
    x[5] = BP_R(NAN);
    x[6] = BP_R(INFINITY);
    x[40] = BP_R(-INFINITY);
    for (kernel = 0; kernel < N_KERNELS; kernel++) {
        const bool fuses = all_kernels[kernel] != BP_KERNEL_REFERENCE && all_kernels[kernel] != BP_KERNEL_VECTOR;
        bp_compute c;
        if (!make_compute(&c, all_kernels[kernel])) continue;
        for (n = 0; n <= LONGEST; n = n < 70 ? n + 1 : n + 19) {
            int act;
            double sumsq = 0.0;
            bp_real lo = BP_R(0);
            void (*const vec[4])(const bp_compute *, bp_real *, const bp_real *, size_t) = {bp_vec_exp, bp_vec_log,
                                                                                            bp_vec_tanh, bp_vec_softplus};
            bp_real (*const one[4])(bp_real) = {bp_exp, bp_log, bp_tanh, bp_softplus};
            size_t f;
            for (f = 0; f < 4; f++) {
                y[n] = BP_R(777);
                vec[f](&c, y, x, n);
                for (i = 0; i < n; i++) {
                    bp_real want = one[f](x[i]), alone;
                    assert_true(same(y[i], want, fuses && f == 2 ? fabs((double)want) : 0.0));
                    vec[f](&c, &alone, &x[i], 1);
                    assert_true(same(y[i], alone, 0.0));
                }
                assert_true(y[n] == BP_R(777));
                memcpy(y, x, n * sizeof *y);
                vec[f](&c, y, y, n);
                for (i = 0; i < n; i++) {
                    bp_real want = one[f](x[i]);
                    assert_true(same(y[i], want, fuses && f == 2 ? fabs((double)want) : 0.0));
                }
            }
            for (act = BP_ACT_NONE; act <= BP_ACT_SOFTPLUS; act++) {
                y[n] = BP_R(777);
                bp_vec_act(&c, y, x, n, (bp_activation)act);
                assert_true(y[n] == BP_R(777));
                for (i = 0; i < n; i++) {
                    bp_real want;
                    bp_vec_act(&ref, &want, &x[i], 1, (bp_activation)act);
                    assert_true(same(y[i], want, fuses && (act == BP_ACT_TANH || act == BP_ACT_ELU) ? fabs((double)want) : 0.0));
                    bp_vec_act(&c, &want, &x[i], 1, (bp_activation)act);
                    assert_true(same(y[i], want, 0.0));
                }
                memcpy(dx, base, n * sizeof *dx);
                dx[n] = BP_R(777);
                bp_vec_act_backward(&c, dx, dy, y, n, (bp_activation)act);
                assert_true(dx[n] == BP_R(777));
                for (i = 0; i < n; i++) {
                    bp_real want;
                    bp_vec_act_backward_set(&ref, &want, &dy[i], &y[i], 1, (bp_activation)act);
                    want += base[i];
                    assert_true(same(dx[i], want, 0.0));
                }
                memcpy(dx, dy, n * sizeof *dx);
                bp_vec_act_backward_set(&c, dx, dx, y, n, (bp_activation)act);
                for (i = 0; i < n; i++) {
                    bp_real want;
                    bp_vec_act_backward_set(&ref, &want, &dy[i], &y[i], 1, (bp_activation)act);
                    assert_true(same(dx[i], want, fuses && act == BP_ACT_TANH ? fabs((double)dy[i]) : 0.0));
                }
            }
            memcpy(dx, base, n * sizeof *dx);
            bp_vec_axpy(&c, dx, BP_R(0.3), dy, n);
            for (i = 0; i < n; i++) {
                const volatile bp_real rounded = BP_R(0.3) * dy[i]; /* twice, whatever the flags of the test */
                assert_true(dx[i] == base[i] + rounded);
                sumsq += (double)dy[i] * (double)dy[i];
                lo += dy[i] * base[i];
            }
            assert_true(fabs((double)(bp_vec_dot(&c, dy, base, n) - lo)) <= 100.0 * GEMM_TOLERANCE);
            assert_true(fabs(bp_vec_sumsq(&c, dy, n) - sumsq) <= 1e-12 * (1.0 + sumsq));
            assert_true(bp_vec_sumsq(&c, dy, n) == bp_vec_sumsq(&ref, dy, n));
        }
        memset(dx, 0, sizeof dx);
        bp_vec_sum_rows(&c, dx, base, 4, 40, 50);
        for (i = 0; i < 40; i++) assert_true(dx[i] == ((base[i] + base[50 + i]) + base[100 + i]) + base[150 + i]);
        drop_compute(&c);
    }
    drop_compute(&ref);
}

/* The slope found from the output is the derivative by differences. */
static void test_slopes(void **state) {
    int act, i;
    (void)state;
    for (act = BP_ACT_NONE; act <= BP_ACT_SOFTPLUS; act++) {
        double total = 0.0;
        for (i = -30; i <= 30; i++) {
            double x = 0.13 * i + 0.01, h = 1e-5, up, down, slope;
            wide (*f)(wide) = act == BP_ACT_TANH ? wide_tanh : act == BP_ACT_ELU ? wide_elu
                                                                                 : wide_softplus;
            if (act == BP_ACT_NONE || act == BP_ACT_RELU) {
                up = act == BP_ACT_RELU && x < 0 ? 0.0 : x + h;
                down = act == BP_ACT_RELU && x < 0 ? 0.0 : x - h;
            } else {
                up = (double)f((wide)(x + h));
                down = (double)f((wide)(x - h));
            }
            slope = (double)bpi_act_slope(bpi_act_body(BP_R(x), (bp_activation)act), (bp_activation)act);
            assert_true(fabs(slope - (up - down) / (2.0 * h)) < 1e-5);
            total += fabs(slope);
        }
        assert_true(total > 0.0);
    }
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

typedef struct tally {
    int ran[500];
    size_t worker[500];
    size_t threads;
} tally;

static void count_job(void *ctx, size_t index, size_t worker) {
    tally *t = (tally *)ctx;
    size_t i;
    volatile double x = 0.0;
    for (i = 0; i < 200 * (index % 5); i++) x += (double)i;
    (void)x;
    t->ran[index]++; /* each index belongs to one thread at a time, so no lock is needed */
    t->worker[index] = worker;
}

static void test_team(void **state) {
    size_t threads, round, i;
    (void)state;
    for (threads = 1; threads <= 4; threads++) {
        bp_team *team = NULL;
        bp_error error;
        bp_status s = bp_team_create(&team, threads, NULL, &error);
#ifndef BPRIOR_THREADS
        if (threads > 1) {
            assert_int_equal(s, BP_ERR_UNSUPPORTED);
            assert_null(team);
            continue;
        }
#endif
        assert_int_equal(s, BP_OK);
        assert_int_equal(bp_team_threads(team), threads);
        for (round = 0; round < 200; round++) {
            tally t;
            size_t jobs = round % 3 == 0 ? 500 : round % 7;
            memset(&t, 0, sizeof t);
            bp_team_run(team, count_job, &t, jobs);
            for (i = 0; i < 500; i++) {
                assert_int_equal(t.ran[i], i < jobs ? 1 : 0);
                assert_true(t.worker[i] < threads);
            }
        }
        bp_team_destroy(team);
    }
    {
        tally t;
        memset(&t, 0, sizeof t);
        bp_team_run(NULL, count_job, &t, 10);
        for (i = 0; i < 10; i++) assert_int_equal(t.ran[i], 1);
        assert_int_equal(bp_team_threads(NULL), 1);
        bp_team_destroy(NULL);
    }
}

static void *no_memory(void *ctx, size_t bytes, size_t align) {
    (void)ctx, (void)bytes, (void)align;
    return NULL;
}

static void no_free(void *ctx, void *ptr, size_t bytes) { (void)ctx, (void)ptr, (void)bytes; }

static void test_team_errors(void **state) {
    bp_team *team;
    bp_error error;
    bp_allocator none;
    (void)state;
    none.alloc = no_memory;
    none.free = no_free;
    none.ctx = NULL;
    assert_int_equal(bp_team_create(&team, 0, NULL, &error), BP_ERR_ARGUMENT);
    assert_null(team);
    assert_int_equal(bp_team_create(&team, 1, &none, &error), BP_ERR_MEMORY);
    assert_null(team);
#ifdef BPRIOR_THREADS
    assert_int_equal(bp_team_create(&team, (size_t)-1, NULL, &error), BP_ERR_SIZE);
    assert_null(team);
    for (threads_allowed = 0; threads_allowed < 3; threads_allowed++) { /* those already started are joined */
        int allowed = threads_allowed;
        assert_int_equal(bp_team_create(&team, 4, NULL, &error), BP_ERR_THREAD);
        assert_null(team);
        assert_non_null(strstr(error.text, "of 4"));
        threads_allowed = allowed;
    }
    threads_allowed = 1000;
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifndef BPRIOR_TEST_TEAM_ONLY /* for ThreadSanitizer, which makes the rest take minutes */
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_gemm_grid),
        cmocka_unit_test(test_gemm_large),
        cmocka_unit_test(test_gemm_rows_alike),
        cmocka_unit_test(test_gemm_nonfinite),
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_kernel_accuracy),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_slopes),
#endif
        cmocka_unit_test(test_team),
        cmocka_unit_test(test_team_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
