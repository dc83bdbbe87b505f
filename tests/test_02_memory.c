/* test_02_memory.c - chapter 2: allocators, checked sizes, arenas. */
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

typedef struct ledger {
    size_t blocks, bytes;
    bool refuse;
    unsigned char pool[4096];
    size_t used;
} ledger;

static void *ledger_alloc(void *ctx, size_t bytes, size_t align) {
    ledger *l = (ledger *)ctx;
    size_t gap = (align - (uintptr_t)(l->pool + l->used) % align) % align;
    void *p = l->pool + l->used + gap;
    if (l->refuse || l->used + gap + bytes > sizeof l->pool) return NULL;
    memset(p, 0xAB, bytes); /* bp_alloc promises zeros, an allocator does not */
    l->used += gap + bytes;
    l->blocks++;
    l->bytes += bytes;
    return p;
}

static void ledger_free(void *ctx, void *ptr, size_t bytes) {
    ledger *l = (ledger *)ctx;
    memset(ptr, 0xCD, bytes); /* writes to what was poisoned: only allowed once it is lifted */
    l->blocks--;
    l->bytes -= bytes;
}

static void test_alloc(void **state) {
    size_t n, i;
    (void)state;
    for (n = 0; n < 300; n++) {
        unsigned char *p = (unsigned char *)bp_alloc(NULL, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % BP_ALIGN, 0);
        for (i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xFF, n);
        bp_free(NULL, p, n);
    }
    bp_free(NULL, NULL, 10);
    assert_null(bp_alloc(NULL, (size_t)-1));
    assert_null(bp_alloc(NULL, (size_t)-70));
}

static void test_custom_allocator(void **state) {
    static ledger l;
    bp_allocator a;
    unsigned char *p, *q;
    size_t i;
    (void)state;
    a.alloc = ledger_alloc;
    a.free = ledger_free;
    a.ctx = &l;
    p = (unsigned char *)bp_alloc(&a, 100);
    q = (unsigned char *)bp_alloc(&a, 0);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal((uintptr_t)p % BP_ALIGN, 0);
    for (i = 0; i < 100; i++) assert_int_equal(p[i], 0);
    assert_int_equal(l.blocks, 2);
    bp_free(&a, p, 100);
    bp_free(&a, q, 0);
    assert_int_equal(l.blocks, 0);
    assert_int_equal(l.bytes, 0);
    l.refuse = true;
    assert_null(bp_alloc(&a, 1));
}

static void test_checked_sizes(void **state) {
    size_t x;
    (void)state;
    assert_true(bp_size_mul(&x, 6, 7));
    assert_int_equal(x, 42);
    assert_true(bp_size_mul(&x, 0, (size_t)-1));
    assert_int_equal(x, 0);
    assert_true(bp_size_mul(&x, (size_t)-1, 1));
    assert_true(x == (size_t)-1);
    assert_false(bp_size_mul(&x, (size_t)-1 / 2 + 1, 2));
    assert_true(x == (size_t)-1);
    assert_true(bp_size_add(&x, (size_t)-1, 0));
    assert_false(bp_size_add(&x, (size_t)-1, 1));
    assert_true(bp_size_add(&x, 2, 3));
    assert_int_equal(x, 5);
}

/* A layout as objects have it: the same function counts and places. */
static void layout(bp_arena *a, bp_real **x, uint32_t **y, double **z) {
    *x = bp_arena_real(a, 13);
    *y = (uint32_t *)bp_arena_take(a, 3, sizeof **y);
    *z = (double *)bp_arena_take(a, 0, sizeof **z);
}

static void test_arena(void **state) {
    bp_arena count = bp_arena_make(NULL, 0), place;
    bp_real *x;
    uint32_t *y;
    double *z;
    unsigned char *block;
    size_t shift, i;
    (void)state;
    layout(&count, &x, &y, &z);
    assert_null(x);
    assert_null(y);
    assert_false(count.overflow);
    assert_true(count.used >= 13 * sizeof(bp_real) + 3 * 4);
    block = (unsigned char *)bp_alloc(NULL, count.used + 64);
    assert_non_null(block);
    for (shift = 0; shift < 64; shift += 7) { /* any alignment of the block will do */
        place = bp_arena_make(block + shift, count.used);
        layout(&place, &x, &y, &z);
        assert_false(place.overflow);
        assert_true(place.used <= count.used);
        assert_non_null(x);
        assert_non_null(y);
        assert_non_null(z);
        assert_int_equal((uintptr_t)x % BP_ALIGN, 0);
        assert_int_equal((uintptr_t)y % BP_ALIGN, 0);
        for (i = 0; i < 13; i++) assert_true(x[i] == BP_R(0));
        for (i = 0; i < 3; i++) assert_int_equal(y[i], 0);
        memset(x, 0x55, 13 * sizeof *x);
        memset(y, 0x55, 3 * sizeof *y);
        bp_arena_unpoison(block, count.used + 64);
    }
    /* one byte too few for the worst alignment: a flag, not a crash */
    place = bp_arena_make(block, 64);
    layout(&place, &x, &y, &z);
    assert_true(place.overflow);
    assert_null(y);
    bp_free(NULL, block, count.used + 64);
}

static void test_arena_overflow(void **state) {
    bp_arena a = bp_arena_make(NULL, 0);
    (void)state;
    assert_null(bp_arena_take(&a, (size_t)-1 / 2, 4));
    assert_true(a.overflow);
    assert_null(bp_arena_take(&a, 1, 1)); /* stays so */
    assert_true(a.overflow);
    a = bp_arena_make(NULL, 0);
    bp_arena_take(&a, (size_t)-1, 1);
    assert_true(a.overflow);
    a = bp_arena_make(NULL, 0);
    bp_arena_take(&a, (size_t)-1 - 1000, 1);
    bp_arena_take(&a, 2000, 1);
    assert_true(a.overflow);
}

static void test_red_zone(void **state) {
    (void)state;
#ifdef BPI_ASAN
    {
        bp_arena count = bp_arena_make(NULL, 0), place;
        void *block;
        bp_real *x;
        unsigned char *tail;
        bp_arena_real(&count, 5);
        block = bp_alloc(NULL, count.used);
        place = bp_arena_make(block, count.used);
        x = bp_arena_real(&place, 5);
        assert_int_equal(__asan_address_is_poisoned(x + 4), 0);
        assert_int_equal(__asan_address_is_poisoned(x + 5 + 1), 1);
        assert_int_equal(__asan_address_is_poisoned((unsigned char *)x + 64 + 63), 1);
        bp_free(NULL, block, count.used);
        tail = (unsigned char *)bp_alloc(NULL, 72);
        assert_int_equal(__asan_address_is_poisoned(tail + 72), 1);
        bp_free(NULL, tail, 72);
    }
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_custom_allocator),
        cmocka_unit_test(test_checked_sizes),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_overflow),
        cmocka_unit_test(test_red_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
