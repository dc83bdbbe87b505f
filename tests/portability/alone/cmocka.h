/* cmocka.h - what the tests use of cmocka, for machines that we compile for but have no cmocka of.
 *
 * cmocka's names, its messages and its exit status (the number of tests that failed), in one header: a test program that is
 * compiled with -Itests/portability/alone needs no library but the C library. No mocks, no setup per test.
 */
#ifndef BPRIOR_TEST_ALONE_CMOCKA_H
#define BPRIOR_TEST_ALONE_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__GNUC__)
#define ALONE_FN static __attribute__((unused))
#else
#define ALONE_FN static
#endif

struct CMUnitTest {
    const char *name;
    void (*test)(void **state);
};
#define cmocka_unit_test(f) \
    { #f, f }

static jmp_buf alone_out; /* where a test that fails or is skipped goes on; its value says which */
enum { ALONE_FAILED = 1,
       ALONE_SKIPPED };

#define print_message printf
#define print_error printf
#define skip() longjmp(alone_out, ALONE_SKIPPED)
#define fail() _fail(__FILE__, __LINE__)
#define fail_msg(...) (print_error("ERROR: " __VA_ARGS__), print_error("\n"), fail())

ALONE_FN void _fail(const char *file, int line) {
    print_error("%s:%d: error: Failure!\n", file, line);
    longjmp(alone_out, ALONE_FAILED);
}
ALONE_FN void alone_true(int holds, const char *what, const char *file, int line) {
    if (holds) return;
    print_error("%s\n", what);
    _fail(file, line);
}
/* As cmocka has it, numbers of any type and size are compared as the widest unsigned one. */
ALONE_FN void alone_int(uintmax_t a, uintmax_t b, int equal, const char *what, const char *file, int line) {
    if ((a == b) == equal) return;
    print_error("%s: %#llx and %#llx\n", what, (unsigned long long)a, (unsigned long long)b);
    _fail(file, line);
}
ALONE_FN void alone_string(const char *a, const char *b, int equal, const char *what, const char *file, int line) {
    if ((strcmp(a, b) == 0) == equal) return;
    print_error("%s: \"%s\" and \"%s\"\n", what, a, b);
    _fail(file, line);
}

#define assert_true(c) alone_true((c) ? 1 : 0, #c, __FILE__, __LINE__)
#define assert_false(c) alone_true((c) ? 0 : 1, "not: " #c, __FILE__, __LINE__)
#define assert_null(p) alone_true((p) == NULL, #p " == NULL", __FILE__, __LINE__)
#define assert_non_null(p) alone_true((p) != NULL, #p " != NULL", __FILE__, __LINE__)
#define assert_ptr_equal(a, b) alone_true((const void *)(a) == (const void *)(b), #a " == " #b, __FILE__, __LINE__)
#define assert_int_equal(a, b) alone_int((uintmax_t)(a), (uintmax_t)(b), 1, #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) alone_int((uintmax_t)(a), (uintmax_t)(b), 0, #a " != " #b, __FILE__, __LINE__)
#define assert_string_equal(a, b) alone_string(a, b, 1, #a " == " #b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) alone_string(a, b, 0, #a " != " #b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n) \
    alone_true(memcmp(a, b, n) == 0, #a " and " #b " have the same bytes", __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, n) \
    alone_true(memcmp(a, b, n) != 0, #a " and " #b " differ", __FILE__, __LINE__)

ALONE_FN int alone_group(const char *name, const struct CMUnitTest *tests, size_t n, int (*setup)(void **), int (*teardown)(void **)) {
    void *state = NULL;
    volatile int failed = 0, skipped = 0; /* read after a longjmp() */
    volatile size_t i;
    setvbuf(stdout, NULL, _IONBF, 0); /* what was said before a crash is to be seen */
    printf("[==========] Running %d test(s).\n", (int)n);
    if (setup && setup(&state)) {
        printf("[  ERROR   ] setup of %s\n", name);
        return (int)n;
    }
    for (i = 0; i < n; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        switch (setjmp(alone_out)) {
        case 0:
            tests[i].test(&state);
            printf("[       OK ] %s\n", tests[i].name);
            break;
        case ALONE_SKIPPED:
            printf("[  SKIPPED ] %s\n", tests[i].name);
            skipped++;
            break;
        default:
            printf("[  FAILED  ] %s\n", tests[i].name);
            failed++;
        }
    }
    if (teardown && teardown(&state)) {
        printf("[  ERROR   ] teardown of %s\n", name);
        failed++;
    }
    printf("[==========] %s: %d test(s), %d skipped, %d failed\n", name, (int)n, skipped, failed);
    return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown) \
    alone_group(#tests, tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)

#endif
