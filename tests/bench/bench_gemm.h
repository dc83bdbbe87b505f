/* bench_gemm.h - measuring functions for matrix products; include after bprior.h with its implementation.
 *
 * All rates are in GFLOP/s with two operations per multiply-add. A measurement repeats the work until one sample takes
 * about a millisecond, takes many samples and reports their median: the machine may be shared. Time is that of the
 * calling thread, so use one thread (OPENBLAS_NUM_THREADS=1). Peak and products are sampled in turn, so that ratios are
 * taken under the same load. */
#ifndef BENCH_GEMM_H
#define BENCH_GEMM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_SAMPLES 41

/* Seconds: CLOCK_MONOTONIC wall time, CLOCK_PROCESS_CPUTIME_ID of all threads, CLOCK_THREAD_CPUTIME_ID of this one. */
static double bench_read(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double bench_now(void) { return bench_read(CLOCK_THREAD_CPUTIME_ID); } /* not the time others had the core */

static int bench_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts the samples and returns the middle one. */
static double bench_median(double *sample, size_t n) {
    qsort(sample, n, sizeof *sample, bench_compare);
    return sample[n / 2];
}

/* --- the peak of one core ---
 * Twelve independent chains of fused multiply-adds on registers: enough to hide four cycles of latency on two units. */
#ifdef BPI_X86
#define BENCH_CHAINS(T, FMA, ADD, SET1)                                                                     \
    T c0 = SET1(1), c1 = SET1(2), c2 = SET1(3), c3 = SET1(4), c4 = SET1(5), c5 = SET1(6), c6 = SET1(7),     \
      c7 = SET1(8), c8 = SET1(9), c9 = SET1(10), c10 = SET1(11), c11 = SET1(12);                            \
    const T a = SET1(BP_R(0.999)), b = SET1(BP_R(0.001));                                                   \
    for (; n > 0; n--) {                                                                                    \
        c0 = FMA(c0, a, b), c1 = FMA(c1, a, b), c2 = FMA(c2, a, b), c3 = FMA(c3, a, b), c4 = FMA(c4, a, b); \
        c5 = FMA(c5, a, b), c6 = FMA(c6, a, b), c7 = FMA(c7, a, b), c8 = FMA(c8, a, b), c9 = FMA(c9, a, b); \
        c10 = FMA(c10, a, b), c11 = FMA(c11, a, b);                                                         \
    }                                                                                                       \
    c0 = ADD(ADD(ADD(c0, c1), ADD(c2, c3)), ADD(ADD(c4, c5), ADD(c6, c7)));                                 \
    c0 = ADD(c0, ADD(ADD(c8, c9), ADD(c10, c11)));

BPI_AVX512_ATTR BPI_NOINLINE void bench_chains_avx512(bp_real *out, long n) {
    BENCH_CHAINS(bpi_avx512_T, bpi_avx512_fma, bpi_avx512_add, bpi_avx512_set1)
    bpi_avx512_store(out, c0);
}

BPI_AVX2_ATTR BPI_NOINLINE void bench_chains_avx2(bp_real *out, long n) {
    BENCH_CHAINS(bpi_avx2_T, bpi_avx2_fma, bpi_avx2_add, bpi_avx2_set1)
    bpi_avx2_store(out, c0);
}
#endif

/* One sample of the multiply-add rate with the widest registers of this core, in GFLOP/s; 0 where it is not known. */
static double bench_peak_sample(void) {
#ifdef BPI_X86
    bp_real out[16];
    const long n = 40000;
    double t = bench_now(), width;
    volatile bp_real keep;
    switch (bpi_cpu_level()) {
    case 3:
        bench_chains_avx512(out, n);
        width = (double)bpi_avx512_W;
        break;
    case 2:
        bench_chains_avx2(out, n);
        width = (double)bpi_avx2_W;
        break;
    default: return 0.0;
    }
    keep = out[0];
    (void)keep;
    return (double)n * 12.0 * 2.0 * width / (bench_now() - t) * 1e-9;
#else
    return 0.0;
#endif
}

typedef struct bench_shape {
    bool trans_a, trans_b;
    size_t m, n, k;
} bench_shape;

/* Seconds of one product, from one sample of `reps` products. */
static double bench_gemm_sample(const bp_compute *c, const bench_shape *s, size_t reps, const bp_real *a,
                                const bp_real *b, bp_real *out, const bp_real *bias, bp_activation act) {
    size_t i;
    double t = bench_now();
    for (i = 0; i < reps; i++)
        bp_gemm(c, s->trans_a, s->trans_b, s->m, s->n, s->k, a, s->trans_a ? s->m : s->k, b, s->trans_b ? s->k : s->n,
                BP_R(0), out, s->n, bias, act);
    return (bench_now() - t) / (double)reps;
}

/* Median seconds of one product; *peak_ratio, if not NULL, gets the median of rate / peak, sample by sample. */
static double bench_gemm(const bp_compute *c, const bench_shape *s, const bp_real *a, const bp_real *b, bp_real *out,
                         const bp_real *bias, bp_activation act, double *peak_ratio) {
    double sample[BENCH_SAMPLES], ratio[BENCH_SAMPLES], flop = 2.0 * (double)s->m * (double)s->n * (double)s->k, once;
    size_t reps, i;
    bench_gemm_sample(c, s, 1, a, b, out, bias, act);
    once = bench_gemm_sample(c, s, 1, a, b, out, bias, act);
    reps = once > 1e-3 ? 1 : (size_t)(1e-3 / (once + 1e-9)) + 1;
    for (i = 0; i < BENCH_SAMPLES; i++) {
        double peak = bench_peak_sample();
        sample[i] = bench_gemm_sample(c, s, reps, a, b, out, bias, act);
        ratio[i] = peak > 0.0 ? flop / sample[i] * 1e-9 / peak : 0.0;
    }
    if (peak_ratio) *peak_ratio = bench_median(ratio, BENCH_SAMPLES);
    return bench_median(sample, BENCH_SAMPLES);
}

/* Median of the peak over many samples. */
static double bench_peak(void) {
    double sample[BENCH_SAMPLES];
    size_t i;
    for (i = 0; i < BENCH_SAMPLES; i++) sample[i] = bench_peak_sample();
    return bench_median(sample, BENCH_SAMPLES);
}

#endif /* BENCH_GEMM_H */
