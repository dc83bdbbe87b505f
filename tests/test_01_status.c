/* test_01_status.c - chapter 1: statuses, error text, cookies, versions. */
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

typedef struct sample {
    uint32_t cookie;
    double x[5];
} sample;

static void test_status_list(void **state) {
    size_t i, j;
#define ROW(name, value, text) {name, value, text},
    static const struct {
        bp_status status;
        int value;
        const char *text;
    } row[] = {BP_STATUS_LIST(ROW)};
#undef ROW
    (void)state;
    for (i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal((int)row[i].status, row[i].value);
        assert_string_equal(bp_status_str(row[i].status), row[i].text);
        for (j = 0; j < i; j++) assert_int_not_equal(row[i].value, row[j].value);
    }
    assert_int_equal((int)BP_OK, 0);
    assert_true((int)BP_INTERRUPTED > 0);
    assert_true((int)BP_ERR_THREAD < 0);
    assert_string_equal(bp_status_str(BP_STATUS_LAST_), "unknown status");
}

static void test_version(void **state) {
    char text[40];
    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", BPRIOR_VERSION_MAJOR, BPRIOR_VERSION_MINOR, BPRIOR_VERSION_PATCH);
    assert_string_equal(bp_version(), text);
    assert_string_equal(bp_version(), BPRIOR_VERSION);
    assert_int_equal(bp_real_size(), sizeof(bp_real));
}

static void test_fail(void **state) {
    bp_error e;
    char longer[600];
    (void)state;
    memset(&e, 'x', sizeof e);
    assert_int_equal(bpi_fail(&e, BP_ERR_SIZE, "rows %zu of %s", (size_t)7, "A"), BP_ERR_SIZE);
    assert_int_equal(e.status, BP_ERR_SIZE);
    assert_string_equal(e.text, "rows 7 of A");
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    bpi_fail(&e, BP_ERR_IO, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_int_equal(bpi_fail(NULL, BP_ERR_IO, "%d", 1), BP_ERR_IO);
    assert_int_equal(bpi_ok(&e), BP_OK);
    assert_int_equal(e.status, BP_OK);
    assert_string_equal(e.text, "");
    assert_int_equal(bpi_ok(NULL), BP_OK);
}

static void test_cookie(void **state) {
    const uint32_t mine = BP_COOKIE(sample);
    bp_error e;
    (void)state;
    assert_int_equal(bpi_check_cookie(mine, mine, "sample", &e), BP_OK);
    assert_int_equal(bpi_check_cookie(0, mine, "sample", &e), BP_ERR_CONFIG);
    assert_non_null(strstr(e.text, "sample_default"));
    assert_int_equal(bpi_check_cookie(0xDDDDDDDDu, mine, "sample", &e), BP_ERR_CONFIG);
    assert_int_equal(bpi_check_cookie(mine ^ 0x08000000u, mine, "sample", &e), BP_ERR_ABI);
    assert_non_null(strstr(e.text, "4-byte") ? strstr(e.text, "4-byte") : strstr(e.text, "8-byte"));
    assert_int_equal(bpi_check_cookie(mine ^ 0x00020000u, mine, "sample", &e), BP_ERR_ABI);
    assert_non_null(strstr(e.text, "version"));
    assert_int_equal(bpi_check_cookie(mine + 8u, mine, "sample", NULL), BP_ERR_ABI);
    assert_int_equal(bpi_check_cookie(mine + 8u, mine, "sample", &e), BP_ERR_ABI);
    assert_non_null(strstr(e.text, "bytes"));
}

static void keep_line(void *ctx, int level, const char *text) {
    char *to = (char *)ctx;
    to[0] = (char)('0' + level);
    strncpy(to + 1, text, 60);
}

static void test_log(void **state) {
    char line[64] = "";
    bp_logger log;
    (void)state;
    log.fn = keep_line;
    log.ctx = line;
    bpi_log_line(&log, 1, "step %d", 5);
    assert_string_equal(line, "1step 5");
    log.fn = NULL;
    bpi_log_line(&log, 1, "no");
    bpi_log_line(NULL, 1, "no");
    assert_string_equal(line, "1step 5");
}

static void test_small_helpers(void **state) {
    (void)state;
    assert_true(bpi_finite(BP_R(1)) && !bpi_finite(BP_R(NAN)) && !bpi_finite(BP_R(INFINITY)) &&
                !bpi_finite(-BP_R(INFINITY)) && bpi_finite(BPI_REAL_MAX));
    assert_true(bpi_finite_d(0.0) && !bpi_finite_d((double)NAN));
    assert_int_equal(bpi_min_size(3, 5), 3);
    assert_int_equal(bpi_max_size(3, 5), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_list),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_cookie),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_small_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
