/* test_scratch.h - a fresh directory for the tests that write files, after test_util.h.
 *
 *     bpt_make_scratch("runs");                   bprior-runs-XXXXXX under TMPDIR, else build/; its name is in `bpt_scratch`
 *     bpt_at(path, "policy.safetensors")          a path in there
 *     n = bpt_slurp(bytes, sizeof bytes, path);   a file
 *
 * mkdtemp() wants _XOPEN_SOURCE 700 before the first #include.
 */
#ifndef BPRIOR_TEST_SCRATCH_H
#define BPRIOR_TEST_SCRATCH_H

#include <sys/stat.h>
#include <unistd.h>
#ifdef _WIN32
#include <direct.h>
#include <io.h>
#define mkdir(path, mode) _mkdir(path)
#define mkdtemp(name) (_mktemp(name) && !_mkdir(name) ? (name) : NULL)
#endif

static char bpt_scratch[256];

BPT_FN void bpt_make_scratch(const char *name) {
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(bpt_scratch, sizeof bpt_scratch, "%s/bprior-%s-XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "build", name);
    if (!tmp) (void)mkdir("build", 0777);
    assert_non_null(mkdtemp(bpt_scratch));
}

/* out [300] */
BPT_FN const char *bpt_at(char *out, const char *name) {
    (void)snprintf(out, 300, "%.200s/%.64s", bpt_scratch, name);
    return out;
}

/* The file's first `capacity` bytes into out; returns how many there were. */
BPT_FN size_t bpt_slurp(unsigned char *out, size_t capacity, const char *path) {
    FILE *f = fopen(path, "rb");
    size_t n;
    assert_non_null(f);
    n = fread(out, 1, capacity, f);
    fclose(f);
    return n;
}

#endif
