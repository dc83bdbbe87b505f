/* Three seconds of the fuzzer of tests/fuzz in every build, from a seed that BPRIOR_TEST_SEED changes. */
#define BPRIOR_FUZZ_NO_MAIN
#include "fuzz/fuzz_safetensors.c"
#include "test_util.h"

static void test_fuzz(void **state) {
    (void)state;
    assert_int_equal(fuzz(3.0, (uint64_t)bpt_seed()), 0);
    assert_true(refused > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
