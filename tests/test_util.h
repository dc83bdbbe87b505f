/* test_util.h - what every test program shares.
 *
 *     #define BPRIOR_IMPLEMENTATION
 *     #include "bprior.h"
 *     #include "test_util.h"
 *
 * includes cmocka, and gives
 *   BPT_TOL(f, d)            f in the float build, d in the double build
 *   bpt_close(a, b, tol)     assert |a - b| <= tol * max(1, |a|, |b|); NaN and infinity never pass
 *   bpt_close_array(...)     the same for n numbers, naming the worst one
 *   bpt_refuses_run(...)     a run configuration is refused with this status and word
 *   bpt_memory               an allocator that counts blocks and bytes, fails the n-th request, and
 *                            notices a wrong size on free, a double free and a write past the end
 *   bpt_check_gradient(...)  a hand-written gradient against central differences at two steps
 *   bpt_seed()               the random seed: BPRIOR_TEST_SEED from the environment, else 1; printed
 *
 * Prefix bpt_ / BPT_. Everything is static and may stay unused.
 */
#ifndef BPRIOR_TEST_UTIL_H
#define BPRIOR_TEST_UTIL_H

/* cmocka wants these four before it, in this order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define BPT_FN static __attribute__((unused))
#else
#define BPT_FN static
#endif

/* A tolerance per scalar type. */
#if defined(BPRIOR_DOUBLE)
#define BPT_TOL(f, d) (d)
#else
#define BPT_TOL(f, d) (f)
#endif

/* ---- closeness ------------------------------------------------------------------------------ */

/* Not an assertion: is b within tol of a, relative to the larger of 1, |a| and |b|? */
BPT_FN int bpt_is_close(double a, double b, double tol) {
    double scale = 1.0;
    if (fabs(a) > scale) scale = fabs(a);
    if (fabs(b) > scale) scale = fabs(b);
    return fabs(a - b) <= tol * scale && fabs(a) < HUGE_VAL; /* inf - inf is NaN, NaN <= x is false */
}

BPT_FN void bpt_close_at(double a, double b, double tol, const char *what, const char *file, int line) {
    if (bpt_is_close(a, b, tol)) return;
    print_error("%s: %.17g and %.17g differ by %.3g (tolerance %.3g)\n", what, a, b, fabs(a - b), tol);
    _fail(file, line);
}
#define bpt_close(a, b, tol) \
    bpt_close_at((double)(a), (double)(b), (double)(tol), #a " == " #b, __FILE__, __LINE__)

/* a, b [n] */
BPT_FN void bpt_close_array_at(const bp_real *a, const bp_real *b, size_t n, double tol, const char *what,
                               const char *file, int line) {
    size_t i, bad = 0, first = 0;
    for (i = 0; i < n; i++)
        if (!bpt_is_close((double)a[i], (double)b[i], tol) && !bad++) first = i;
    if (!bad) return;
    print_error("%s: %lu of %lu differ by more than %.3g; [%lu]: %.17g and %.17g\n", what,
                (unsigned long)bad, (unsigned long)n, tol, (unsigned long)first, (double)a[first],
                (double)b[first]);
    _fail(file, line);
}
#define bpt_close_array(a, b, n, tol) \
    bpt_close_array_at(a, b, n, (double)(tol), #a " == " #b, __FILE__, __LINE__)

/* assert a bp_status is BP_OK, printing the error's own text if it is not */
BPT_FN void bpt_ok_at(int status, const bp_error *error, const char *what, const char *file, int line) {
    if (status == 0) return;
    print_error("%s: status %d: %s\n", what, status, error ? error->text : "(no detail)");
    _fail(file, line);
}
#define bpt_ok(call, error) bpt_ok_at((int)(call), error, #call, __FILE__, __LINE__)

/* Shape of plain sequences (no latent, no state), for batches made by hand. */
BPT_FN bp_replay_config bpt_shape(size_t length, size_t observation_size, size_t action_size) {
    bp_replay_config shape = bp_replay_config_default(NULL);
    shape.length = length;
    shape.observation_size = observation_size;
    shape.action_size = action_size;
    return shape;
}
BPT_FN size_t bpt_batch_reals(size_t length, size_t batch, size_t observation_size, size_t action_size) {
    const bp_replay_config shape = bpt_shape(length, observation_size, action_size);
    return bp_batch_reals(&shape, batch);
}
BPT_FN void bpt_batch_init(bp_batch *batch, bp_real *data, size_t length, size_t batch_size, size_t observation_size,
                           size_t action_size) {
    const bp_replay_config shape = bpt_shape(length, observation_size, action_size);
    bp_batch_init(batch, data, &shape, batch_size);
}

/* Assert that a run with this configuration is refused with this status, a text that holds `word`, no object made, and
 * the same answer when nobody asks for the text. */
BPT_FN void bpt_refuses_run_at(const bp_run_config *config, int want, const char *word, const char *file, int line) {
    bp_run *run = (bp_run *)1;
    bp_error error;
    const int status = (int)bp_run_create(&run, config, NULL, &error);
    if (status != want || run || !strstr(error.text, word)) {
        print_error("expected %d with '%s', got %d: %s\n", want, word, status, error.text);
        _fail(file, line);
    }
    if ((int)bp_run_create(&run, config, NULL, NULL) != want) _fail(file, line);
}
#define bpt_refuses_run(config, want, word) bpt_refuses_run_at(config, (int)(want), word, __FILE__, __LINE__)

/* ---- an allocator that counts and fails --------------------------------------------------------
 *
 *     bpt_memory m; bpt_memory_use(&m);
 *     m.fail_at = 3;                           the third request returns NULL (0: none does)
 *     bp_x_create(&x, &cfg, &m.allocator, &error);
 *     bp_x_destroy(x);
 *     bpt_memory_check(&m);                    nothing alive, nothing freed wrongly
 *
 * The out-of-memory loop: for (n = 1;; n++) { m.fail_at = n; status = create(...); if OK: break;
 * assert BP_ERR_MEMORY; bpt_memory_check(&m) }. m.allocator points to m, so m must not be copied or
 * moved after bpt_memory_use().
 */
typedef struct bpt_memory {
    bp_allocator allocator; /* give &m.allocator to the object under test */
    size_t requests;        /* calls of alloc since bpt_memory_use(), the failed ones included */
    size_t fail_at;         /* the request that fails, counted from 1; 0 = none */
    int fail_after;         /* nonzero: all requests from fail_at on fail too */
    size_t live_blocks, live_bytes, peak_bytes;
    size_t mistakes; /* wrong sizes, double frees, overruns */
} bpt_memory;

#define BPT_MAGIC_LIVE 0x6c697665u
#define BPT_MAGIC_DEAD 0x64656164u
#define BPT_TAIL 32 /* guard bytes behind each block */

typedef struct bpt_block { /* sits right below the pointer we return */
    void *start;           /* what malloc returned */
    size_t bytes;
    uint32_t magic;
} bpt_block;

BPT_FN void *bpt_memory_alloc(void *ctx, size_t bytes, size_t align) {
    bpt_memory *m = (bpt_memory *)ctx;
    char *start, *p;
    bpt_block head;
    m->requests++;
    if (m->fail_at && (m->requests == m->fail_at || (m->fail_after && m->requests > m->fail_at))) return NULL;
    if (align < sizeof(void *)) align = sizeof(void *);
    if (bytes > ((size_t)-1) / 2) return NULL; /* nobody has that much */
    start = (char *)malloc(bytes + align + sizeof(bpt_block) + BPT_TAIL);
    if (!start) return NULL;
    p = start + sizeof(bpt_block);
    p += (align - (size_t)((uintptr_t)p % align)) % align;
    head.start = start, head.bytes = bytes, head.magic = BPT_MAGIC_LIVE;
    memcpy(p - sizeof head, &head, sizeof head);
    memset(p, 0xA5, bytes); /* nobody may rely on fresh memory being zero */
    memset(p + bytes, 0x5A, BPT_TAIL);
    m->live_blocks++, m->live_bytes += bytes;
    if (m->live_bytes > m->peak_bytes) m->peak_bytes = m->live_bytes;
    return p;
}

BPT_FN void bpt_memory_free(void *ctx, void *ptr, size_t bytes) {
    bpt_memory *m = (bpt_memory *)ctx;
    char *p = (char *)ptr;
    bpt_block head;
    size_t i;
    if (!p) return;
    memcpy(&head, p - sizeof head, sizeof head);
    if (head.magic != BPT_MAGIC_LIVE) {
        print_error("free of a block that is not alive\n");
        m->mistakes++;
        return;
    }
    if (head.bytes != bytes) {
        print_error("free says %lu bytes, alloc said %lu\n", (unsigned long)bytes, (unsigned long)head.bytes);
        m->mistakes++;
    }
    for (i = 0; i < BPT_TAIL; i++)
        if ((unsigned char)p[head.bytes + i] != 0x5A) {
            print_error("write past the end of a block of %lu bytes\n", (unsigned long)head.bytes);
            m->mistakes++;
            break;
        }
    head.magic = BPT_MAGIC_DEAD;
    memcpy(p - sizeof head, &head, sizeof head);
    m->live_blocks--, m->live_bytes -= head.bytes;
    free(head.start);
}

/* Set up in place: the allocator's context is the object itself. */
BPT_FN void bpt_memory_use(bpt_memory *m) {
    memset(m, 0, sizeof *m);
    m->allocator.alloc = bpt_memory_alloc;
    m->allocator.free = bpt_memory_free;
    m->allocator.ctx = m;
}

BPT_FN void bpt_memory_check_at(const bpt_memory *m, const char *file, int line) {
    if (!m->live_blocks && !m->live_bytes && !m->mistakes) return;
    print_error("allocator: %lu blocks (%lu bytes) still alive, %lu mistakes\n", (unsigned long)m->live_blocks,
                (unsigned long)m->live_bytes, (unsigned long)m->mistakes);
    _fail(file, line);
}
#define bpt_memory_check(m) bpt_memory_check_at(m, __FILE__, __LINE__)

/* ---- gradients ----------------------------------------------------------------------------------
 *
 * double loss(void *ctx) recomputes the scalar from scratch, reading x in place; grad [n] is the analytic
 * d loss / d x. Every coordinate is compared in the double build with
 *
 *     (loss(x + h) - loss(x - h)) / 2h     at h = step and h = step / 2
 *
 * (Richardson: (4 D(h/2) - D(h)) / 3 has error O(h^4)). In float the differences are too coarse for single
 * coordinates, so the two vectors are compared as a whole, by angle and by length. The gradient has to be
 * non-zero, and must not equal the differences bit for bit (a test that compares a thing with itself).
 */
BPT_FN double bpt_central(double (*loss)(void *), void *ctx, bp_real *x, double h) {
    const bp_real keep = *x;
    volatile bp_real up = (bp_real)((double)keep + h), down = (bp_real)((double)keep - h);
    double a, b, width = (double)up - (double)down; /* the step that was really made */
    *x = up, a = loss(ctx);
    *x = down, b = loss(ctx);
    *x = keep;
    return (a - b) / width;
}

BPT_FN void bpt_check_gradient_at(double (*loss)(void *), void *ctx, bp_real *x, const bp_real *grad, size_t n,
                                  double step, double tol, const char *what, const char *file, int line) {
    double gg = 0, dd = 0, gd = 0, worst = 0;
    size_t i, same = 0, at = 0;
    for (i = 0; i < n; i++) {
        const double g = (double)grad[i];
        const double coarse = bpt_central(loss, ctx, &x[i], step);
        const double fine = bpt_central(loss, ctx, &x[i], step * 0.5);
        const double d = (4 * fine - coarse) / 3;
        const double scale = fmax(1e-3, fmax(fabs(g), fabs(d)));
        const double err = fabs(g - d) / scale;
        if (!(err <= worst)) worst = err, at = i; /* written so that NaN counts as worst */
        same += g != 0 && (g == coarse || g == fine || g == d);
        gg += g * g, dd += d * d, gd += g * d;
    }
    if (!(gg > 0)) {
        print_error("%s: the gradient is zero, so the check would prove nothing\n", what);
        _fail(file, line);
    }
    if (n > 3 && same == n) {
        print_error("%s: gradient and differences are bit-identical\n", what);
        _fail(file, line);
    }
#if defined(BPRIOR_DOUBLE)
    if (!(worst <= tol)) {
        print_error("%s: [%lu] analytic %.12g, relative error %.3g > %.3g\n", what, (unsigned long)at,
                    (double)grad[at], worst, tol);
        _fail(file, line);
    }
#else
    {
        const double cosine = gd / sqrt(gg * dd), ratio = sqrt(gg / dd);
        if (!(cosine >= 1 - tol) || !(fabs(ratio - 1) <= tol)) {
            print_error("%s: cosine %.6g, length ratio %.6g (tolerance %.3g), worst [%lu] %.3g\n", what, cosine,
                        ratio, tol, (unsigned long)at, worst);
            _fail(file, line);
        }
    }
#endif
}
/* With usual steps and tolerances; bpt_check_gradient_at() to choose them. */
#define bpt_check_gradient(loss, ctx, x, grad, n) \
    bpt_check_gradient_at(loss, ctx, x, grad, n, BPT_TOL(2e-2, 1e-4), BPT_TOL(2e-2, 1e-6), #grad, __FILE__, __LINE__)

/* ---- random seed -------------------------------------------------------------------------------- */

BPT_FN uint64_t bpt_seed(void) {
    const char *text = getenv("BPRIOR_TEST_SEED");
    const uint64_t seed = text ? (uint64_t)strtoull(text, NULL, 10) : 1u;
    print_message("seed %lu (set BPRIOR_TEST_SEED to change it)\n", (unsigned long)seed);
    return seed;
}

#endif /* BPRIOR_TEST_UTIL_H */
