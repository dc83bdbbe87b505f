/* bench_gemm.c - how close each kernel comes to what one core can do.
 *
 *   cc -std=c99 -O2 -D_POSIX_C_SOURCE=199309L -I. tests/bench/bench_gemm.c -o bench_gemm -lm
 *   with OpenBLAS:  add -DBPRIOR_USE_CBLAS -lopenblas and run with OPENBLAS_NUM_THREADS=1
 *
 * Prints one line per kernel and shape: rate, share of the measured peak, time of one product. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "bench_gemm.h"

int main(void) {
    static const bench_shape shape[] = {
        /* clang-format off */
        {false, false, 2560, 256, 256}, {true, false, 256, 256, 2560}, {false, true, 2560, 256, 256},
            {false, false, 256, 64, 64}, {true, false, 64, 64, 256}, {false, true, 256, 64, 64},
            {false, false, 100, 64, 64}, {true, false, 64, 64, 100}, {false, true, 100, 64, 64},
            {false, false, 2560, 20, 256}, {false, false, 2560, 1, 256}, {false, false, 1, 64, 64},
            {false, false, 1, 64, 3}, {false, true, 1, 64, 64}};
    /* clang-format on */
    static const bp_kernel kernel[] = {BP_KERNEL_REFERENCE, BP_KERNEL_VECTOR, BP_KERNEL_AVX2,
                                       BP_KERNEL_AVX512, BP_KERNEL_NEON, BP_KERNEL_CBLAS};
    const size_t numbers = 2560 * 256;
    bp_real *a = (bp_real *)bp_alloc(NULL, numbers * sizeof *a), *b = (bp_real *)bp_alloc(NULL, numbers * sizeof *b);
    bp_real *out = (bp_real *)bp_alloc(NULL, numbers * sizeof *out), *pack = (bp_real *)bp_alloc(NULL, bp_compute_bytes());
    bp_rng rng = bp_rng_make(1, 1);
    size_t i, j;
    if (!a || !b || !out || !pack) return 1;
    bp_rng_normals(a, &rng, numbers);
    bp_rng_normals(b, &rng, numbers);
    printf("peak of one core: %.1f GFLOP/s in %s\n", bench_peak(), sizeof(bp_real) == 4 ? "float" : "double");
    printf("%-10s %-4s %18s %10s %8s %12s\n", "kernel", "op", "m x n x k", "GFLOP/s", "of peak", "one takes");
    for (i = 0; i < sizeof kernel / sizeof kernel[0]; i++) {
        bp_compute c;
        if (bp_compute_init(&c, kernel[i], pack, NULL) != BP_OK) continue;
        for (j = 0; j < sizeof shape / sizeof shape[0]; j++) {
            const bench_shape *s = &shape[j];
            double ratio, t;
            char size[32];
            if (kernel[i] == BP_KERNEL_REFERENCE && s->m * s->n * s->k > 10000000) continue;
            t = bench_gemm(&c, s, a, b, out, NULL, BP_ACT_NONE, &ratio);
            snprintf(size, sizeof size, "%zux%zux%zu", s->m, s->n, s->k);
            printf("%-10s %c%c   %18s %10.1f %7.0f%% %9.2f us\n", bp_kernel_name(kernel[i]), s->trans_a ? 'T' : 'N',
                   s->trans_b ? 'T' : 'N', size, 2e-9 * (double)s->m * (double)s->n * (double)s->k / t, 100.0 * ratio,
                   1e6 * t);
        }
    }
    bp_free(NULL, a, numbers * sizeof *a);
    bp_free(NULL, b, numbers * sizeof *b);
    bp_free(NULL, out, numbers * sizeof *out);
    bp_free(NULL, pack, bp_compute_bytes());
    return 0;
}
