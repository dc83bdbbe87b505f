/* test_03_random.c - chapter 3: known answers, bits that must never change, and statistics with fixed seeds. */
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

/* FNV-1a over the bytes of 32- or 64-bit numbers, lowest byte first whatever the machine. */
static uint64_t hash_bits(uint64_t h, uint64_t bits, size_t bytes) {
    size_t i;
    for (i = 0; i < bytes; i++) {
        h ^= (bits >> (8 * i)) & 255u;
        h *= UINT64_C(0x100000001B3);
    }
    return h;
}

static uint64_t real_bits(bp_real x) {
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (sizeof x == sizeof wide) {
        memcpy(&wide, &x, sizeof wide < sizeof x ? sizeof wide : sizeof x);
        return wide;
    }
    memcpy(&narrow, &x, sizeof narrow);
    return narrow;
}

/* The vectors published with Random123 (kat_vectors, philox4x32 10). */
static void test_known_answers(void **state) {
    static const uint32_t in[3][6] = {
        {0, 0, 0, 0, 0, 0},
        {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
        {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u}};
    static const uint32_t out[3][4] = {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u},
                                       {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu},
                                       {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}};
    uint32_t got[4];
    size_t i;
    bp_rng rng;
    (void)state;
    for (i = 0; i < 3; i++) {
        bp_philox(got, in[i], in[i] + 4);
        assert_memory_equal(got, out[i], sizeof got);
    }
    /* the same through the generator: key = seed, counter = (index, stream), words lowest first */
    rng = bp_rng_make(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e));
    bp_rng_skip(&rng, UINT64_C(0x85a308d3243f6a88));
    for (i = 0; i < 4; i++) assert_int_equal(bp_rng_u32(&rng), out[2][i]);
}

/* The first 10^5 normals, rounded to bp_real, of seed 1 and stream 2. This number may never change: saved runs
 * depend on it. Float and double builds have one each. */
static void test_normal_bits(void **state) {
    enum { N = 100000 };
    bp_real *x = (bp_real *)malloc(N * sizeof *x);
    bp_rng rng = bp_rng_make(1, 2);
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    size_t i;
#ifdef BPRIOR_DOUBLE
    const uint64_t want = UINT64_C(0x55343A7B43577C7A);
#else
    const uint64_t want = UINT64_C(0xFC754145723938A6);
#endif
    (void)state;
    assert_non_null(x);
    bp_rng_normals(x, &rng, N);
    for (i = 0; i < N; i++) h = hash_bits(h, real_bits(x[i]), sizeof *x);
    print_message("hash of the normals: %08lx%08lx\n", (unsigned long)(h >> 32), (unsigned long)(h & 0xFFFFFFFFu));
    assert_true(h == want);
    free(x);
}

/* One by one or in bulk, from any position: the same numbers. */
static void test_normals_in_bulk(void **state) {
    size_t lead, n, i;
    (void)state;
    for (lead = 0; lead < 6; lead++)
        for (n = 0; n < 150; n = n < 40 ? n + 1 : n + 9) {
            bp_real bulk[160];
            bp_rng one = bp_rng_make(9, UINT64_C(0x100000000) + lead), many;
            bp_rng_skip(&one, UINT64_C(0xFFFFFFFE)); /* the carry into the upper half of the counter */
            for (i = 0; i < lead; i++) bp_rng_normal(&one);
            many = one;
            bulk[n] = BP_R(777);
            bp_rng_normals(bulk, &many, n);
            assert_true(bulk[n] == BP_R(777));
            for (i = 0; i < n; i++) {
                bp_real x = bp_rng_normal(&one);
                assert_memory_equal(&x, &bulk[i], sizeof x);
            }
            assert_true(bp_rng_normal(&one) == bp_rng_normal(&many));
            assert_true(one.counter == many.counter);
        }
}

#ifdef BPI_X86
static void test_normal_kernels(void **state) {
    bp_real a[32], b[32];
    size_t i;
    (void)state;
    for (i = 0; i < 2000; i++) {
        bp_rng rng = bp_rng_make(5, i);
        bp_rng_skip(&rng, i * UINT64_C(0x9E3779B97F4A7C15));
        bpi_normals_plain(a, &rng);
        if (bpi_cpu_level() >= 2) {
            bpi_normals_avx2(b, &rng);
            assert_memory_equal(a, b, sizeof a);
        }
        if (bpi_cpu_level() >= 3) {
            bpi_normals_avx512(b, &rng);
            assert_memory_equal(a, b, sizeof a);
        }
    }
}
#endif

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Kolmogorov and Smirnov: the largest gap between the observed and the true distribution, times sqrt(n). Exceeds 1.95
 * once in a thousand honest samples. */
static double ks(double *x, size_t n, double (*cdf)(double)) {
    double worst = 0.0;
    size_t i;
    qsort(x, n, sizeof *x, compare_double);
    for (i = 0; i < n; i++) {
        double f = cdf(x[i]), up = (double)(i + 1) / (double)n - f, down = f - (double)i / (double)n;
        worst = fmax(worst, fmax(up, down));
    }
    return worst * sqrt((double)n);
}

static double cdf_normal(double x) { return 0.5 * erfc(-x / sqrt(2.0)); }
static double cdf_uniform(double x) { return x; }

static void test_distributions(void **state) {
    enum { N = 200000 };
    double *x = (double *)malloc(N * sizeof *x), m1 = 0, m2 = 0, m3 = 0, m4 = 0, d;
    bp_rng rng = bp_rng_make(2026, 3);
    size_t i;
    (void)state;
    assert_non_null(x);
    for (i = 0; i < N; i++) {
        x[i] = (double)bp_rng_normal(&rng);
        m1 += x[i];
        m2 += x[i] * x[i];
        m3 += x[i] * x[i] * x[i];
        m4 += x[i] * x[i] * x[i] * x[i];
    }
    /* moments 0, 1, 0, 3 with variances 1, 2, 15, 96 over N; four standard errors */
    d = 4.0 / sqrt((double)N);
    assert_true(fabs(m1 / (double)N) < d);
    assert_true(fabs(m2 / (double)N - 1.0) < d * sqrt(2.0));
    assert_true(fabs(m3 / (double)N) < d * sqrt(15.0));
    assert_true(fabs(m4 / (double)N - 3.0) < d * sqrt(96.0));
    d = ks(x, N, cdf_normal);
    print_message("normal: KS %.3f\n", d);
    assert_true(d < 1.95);
    for (i = 0; i < N; i++) {
        x[i] = bp_rng_uniform(&rng);
        assert_true(x[i] >= 0.0 && x[i] < 1.0);
    }
    d = ks(x, N, cdf_uniform);
    print_message("uniform: KS %.3f\n", d);
    assert_true(d < 1.95);
    for (i = 0; i < 1000; i++) {
        bp_real u = bp_rng_uniform_in(&rng, BP_R(-3), BP_R(5));
        assert_true(u >= BP_R(-3) && u <= BP_R(5));
    }
    assert_true(bp_rng_uniform_in(&rng, BP_R(2), BP_R(2)) == BP_R(2));
    free(x);
}

/* Box and Muller against libm, and the accuracy of the logarithm. */
static void test_own_functions(void **state) {
    bp_rng rng = bp_rng_make(3, 3);
    double worst = 0.0;
    int i;
    (void)state;
    for (i = 0; i < 200000; i++) {
        uint32_t a = bp_rng_u32(&rng), b = bp_rng_u32(&rng);
        double n0, n1, r = sqrt(-2.0 * log(((double)a + 0.5) / 4294967296.0)),
                       phi = 6.283185307179586 * ((double)b / 4294967296.0), u;
        bpi_box_muller(&n0, &n1, a, b);
        assert_true(fabs(n0 - r * cos(phi)) < 1e-14 && fabs(n1 - r * sin(phi)) < 1e-14);
        u = bp_rng_uniform(&rng) * 3.0 + 1e-9;
        worst = fmax(worst, fabs(bpi_log_double(u) - log(u)) / (fabs(log(u)) * 2.220446049250313e-16));
    }
    assert_true(worst < 2.0);
}

/* Streams, seeds and neighbours in one stream: correlations of n samples stay within 4 / sqrt(n). */
static void test_streams(void **state) {
    enum { N = 50000 };
    const uint64_t seed[4] = {1, 1, 2, UINT64_C(0x8000000000000001)}, stream[4] = {0, 1, 0, 0};
    double *x[4];
    size_t i, j, k;
    (void)state;
    for (i = 0; i < 4; i++) {
        bp_rng rng = bp_rng_make(seed[i], stream[i]);
        x[i] = (double *)malloc(N * sizeof **x);
        assert_non_null(x[i]);
        for (k = 0; k < N; k++) x[i][k] = (double)bp_rng_normal(&rng);
    }
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++) {
            size_t lag;
            for (lag = i == j ? 1 : 0; lag < 6; lag++) {
                double c = 0.0;
                for (k = 0; k + lag < N; k++) c += x[i][k] * x[j][k + lag];
                assert_true(fabs(c / (double)N) < 4.3 / sqrt((double)N));
            }
        }
    for (i = 0; i < 4; i++) free(x[i]);
}

static void test_index_shuffle_pick(void **state) {
    bp_rng rng = bp_rng_make(11, 0);
    size_t count[7] = {0, 0, 0, 0, 0, 0, 0}, order[6] = {0, 0, 0, 0, 0, 0}, i, j;
    bp_real prob[5], none[3];
    double chi = 0.0;
    (void)state;
    assert_int_equal(bp_rng_index(&rng, 0), 0);
    assert_int_equal(bp_rng_index(&rng, 1), 0);
    for (i = 0; i < 70000; i++) {
        size_t k = bp_rng_index(&rng, 7);
        assert_true(k < 7);
        count[k]++;
    }
    for (i = 0; i < 7; i++) chi += ((double)count[i] - 10000.0) * ((double)count[i] - 10000.0) / 10000.0;
    assert_true(chi < 22.5); /* 6 degrees of freedom, p = 0.001 */
    for (i = 0; i < 100; i++) assert_true(bp_rng_index(&rng, (size_t)-1) < (size_t)-1);

    for (i = 0; i < 60000; i++) {
        size_t p[3] = {0, 1, 2};
        bp_rng_shuffle(p, &rng, 3);
        assert_int_equal(p[0] + p[1] + p[2], 3);
        j = p[0] * 2 + (p[1] > p[2]);
        order[j]++;
    }
    chi = 0.0;
    for (i = 0; i < 6; i++) chi += ((double)order[i] - 10000.0) * ((double)order[i] - 10000.0) / 10000.0;
    assert_true(chi < 20.5); /* 5 degrees of freedom */
    bp_rng_shuffle(NULL, &rng, 0);

    prob[0] = BP_R(0);
    prob[1] = BP_R(0.5);
    prob[2] = BP_R(NAN);
    prob[3] = BP_R(1.5);
    prob[4] = BP_R(-1);
    memset(count, 0, sizeof count);
    for (i = 0; i < 40000; i++) count[bp_rng_pick(&rng, prob, 5)]++;
    assert_int_equal(count[0] + count[2] + count[4], 0);
    assert_true(fabs((double)count[1] - 10000.0) < 4.0 * sqrt(40000.0 * 0.25 * 0.75));
    none[0] = none[1] = none[2] = BP_R(0);
    assert_int_equal(bp_rng_pick(&rng, none, 3), 0);
}

static void test_copy_and_skip(void **state) {
    bp_rng a = bp_rng_make(5, 6), b, c;
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) bp_rng_u32(&a);
    bp_rng_normal(&a);
    memcpy(&b, &a, sizeof b);
    for (i = 0; i < 20; i++) {
        assert_int_equal(bp_rng_u32(&a), bp_rng_u32(&b));
        assert_true(bp_rng_normal(&a) == bp_rng_normal(&b));
    }
    assert_memory_equal(&a, &b, sizeof a);
    a = bp_rng_make(5, 6);
    c = bp_rng_make(5, 6);
    for (i = 0; i < 4 * 10; i++) bp_rng_u32(&a);
    bp_rng_skip(&c, 10);
    assert_int_equal(bp_rng_u32(&a), bp_rng_u32(&c));
}

static void test_seed_mix(void **state) {
    uint64_t seen[1000];
    size_t i, j;
    int flipped = 0;
    (void)state;
    for (i = 0; i < 1000; i++) {
        seen[i] = bp_seed_mix(i / 100, i / 10 % 10, i % 10);
        for (j = 0; j < i; j++) assert_true(seen[i] != seen[j]);
    }
    /* a flipped bit of any input flips half the bits of the output */
    for (i = 0; i < 64; i++) {
        uint64_t d = bp_seed_mix(7, 8, 9) ^ bp_seed_mix(7, 8 ^ (UINT64_C(1) << i), 9);
        for (; d; d &= d - 1) flipped++;
    }
    assert_true(flipped > 64 * 32 - 200 && flipped < 64 * 32 + 200);
    assert_true(bp_seed_mix(1, 2, 3) != bp_seed_mix(1, 3, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_normal_bits),
        cmocka_unit_test(test_normals_in_bulk),
#ifdef BPI_X86
        cmocka_unit_test(test_normal_kernels),
#endif
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_own_functions),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_index_shuffle_pick),
        cmocka_unit_test(test_copy_and_skip),
        cmocka_unit_test(test_seed_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
