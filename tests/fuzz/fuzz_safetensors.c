/* Feeds arbitrary bytes to everything that reads weights: the safetensors reader and the policy loader.
 *
 * With libFuzzer:   clang -g -O1 -fsanitize=fuzzer,address,undefined -DBPRIOR_LIBFUZZER -I. tests/fuzz/fuzz_safetensors.c -lm
 * Without:          cc -g -O1 -fsanitize=address,undefined -I. tests/fuzz/fuzz_safetensors.c -lm && ./a.out 60 1
 *
 * The second form mutates valid files for some seconds (argument 1, default 3) from a seed (argument 2, default 1)
 * and prints how many inputs were accepted and refused; a crash, a leak or a sanitizer's complaint is the failure.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned long accepted, refused;

/* An allocator that gives at most 64 MB in all: a file of a few kB has no business asking for more. */
static size_t live;
static void *fuzz_alloc(void *ctx, size_t bytes, size_t align) {
    unsigned char *raw, *p;
    (void)ctx;
    if (bytes > ((size_t)64 << 20) - live) {
        fprintf(stderr, "a small file made the reader ask for %lu bytes\n", (unsigned long)bytes);
        abort();
    }
    raw = (unsigned char *)malloc(bytes + align + sizeof(void *));
    if (!raw) return NULL;
    p = raw + sizeof(void *);
    p += (align - (size_t)((uintptr_t)p % align)) % align;
    memcpy(p - sizeof(void *), &raw, sizeof raw);
    live += bytes;
    return p;
}
static void fuzz_free(void *ctx, void *ptr, size_t bytes) {
    void *raw;
    (void)ctx;
    memcpy(&raw, (unsigned char *)ptr - sizeof(void *), sizeof raw);
    live -= bytes;
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bp_allocator allocator;
    bp_safetensors *file;
    bp_agent *agent;
    bp_error error;
    allocator.alloc = fuzz_alloc;
    allocator.free = fuzz_free;
    allocator.ctx = NULL;
    if (bp_safetensors_open_memory(&file, data, size, &allocator, &error) == BP_OK) {
        size_t i;
        accepted++;
        for (i = 0; i < file->n; i++) {
            const bp_stored *a = &file->array[i];
            if (bp_safetensors_find(file, a->name) != a) abort();
            if (a->count <= 4096) { /* every way of reading, the wrong ones too */
                static double out[4096];
                (void)bp_safetensors_read_double(file, a->name, out, a->count, &error);
                (void)bp_safetensors_read_real(file, a->name, (bp_real *)(void *)out, a->count, &error);
                (void)bp_safetensors_read_u64(file, a->name, (uint64_t *)(void *)out, a->count, &error);
                (void)bp_safetensors_read_bytes(file, a->name, out, a->count, &error);
            }
        }
        for (i = 0; i < file->n_texts; i++)
            if (!bp_safetensors_text(file, file->text[i].key)) abort();
        bp_safetensors_close(file);
    } else {
        refused++;
        if (error.text[0] == '\0') abort();
    }
    if (bp_agent_load_memory(&agent, data, size, &allocator, &error) == BP_OK) {
        static bp_real observation[1 << 16], action[BP_MAX_ACTION];
        if (agent->spec.observation_size <= sizeof observation / sizeof *observation)
            (void)bp_agent_act(agent, action, observation);
        bp_agent_destroy(agent);
    }
    if (live) abort();
    return 0;
}

#ifndef BPRIOR_LIBFUZZER
/* A small valid policy file to start from, made in memory by way of a temporary file. */
static size_t make_seed(unsigned char *out, size_t capacity, int discrete) {
    bp_spec spec;
    bp_policy policy;
    bp_policy_config config = bp_policy_config_default();
    bp_policy_export what;
    bp_normaliser normaliser;
    bp_rng rng = bp_rng_make(1, 2);
    bp_real *params;
    char name[300];
    FILE *f;
    size_t n;
    int k;
    bp_spec_begin(&spec, "fuzz");
    (void)bp_spec_add_field(&spec, "a", 2, NULL);
    (void)bp_spec_add_field(&spec, "task", 2, NULL);
    if (discrete) (void)bp_spec_actions_discrete(&spec, 3, NULL);
    else (void)bp_spec_actions_continuous(&spec, 1, -2, 2, NULL);
    config.hidden_layers = 1;
    config.width[0] = 3;
    if (bp_policy_init(&policy, &spec, &config, NULL) != BP_OK) return 0;
    params = (bp_real *)calloc(2 * policy.n_params, sizeof(bp_real));
    if (!params) return 0;
    bp_policy_init_params(params, &policy, &rng);
    if (bp_normaliser_create(&normaliser, 4, NULL, NULL) != BP_OK) return 0;
    memset(&what, 0, sizeof what);
    what.behavior.policy = &policy;
    what.behavior.params = params;
    what.spec = &spec;
    what.normaliser = &normaliser;
    what.n_tasks = discrete ? 2 : 1;
    what.task_field = "task";
    for (k = 0; k < 3; k++) { /* $TMPDIR, build, or here */
        const char *directory = k == 0 ? getenv("TMPDIR") : k == 1 ? "build"
                                                                   : ".";
        if (!directory || strlen(directory) > 200) continue;
        (void)snprintf(name, sizeof name, "%s/fuzz-seed-%lx-%d", directory,
                       (unsigned long)time(NULL) ^ (unsigned long)((uintptr_t)&spec & 0xFFFFFFu), discrete);
        if (bp_policy_save(name, &what, NULL) == BP_OK) break;
    }
    if (k == 3) return 0;
    f = fopen(name, "rb");
    n = f ? fread(out, 1, capacity, f) : 0;
    if (f) fclose(f);
    remove(name);
    bp_normaliser_destroy(&normaliser);
    free(params);
    return n;
}

/* 0 if all went well. */
static int fuzz(double seconds, uint64_t start) {
    static unsigned char seed[2][8192], input[16384];
    static const char *const words[] = {"\"__metadata__\"",
                                        "\\u005f",
                                        "\"dtype\":\"F64\"",
                                        "\"shape\":[",
                                        "18446744073709551615",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        "\\",
                                        ",",
                                        ":",
                                        "-1",
                                        "0",
                                        "9",
                                        "F32",
                                        "U8",
                                        "field.2",
                                        "4294967296",
                                        "\\ud83d",
                                        "\"tasks\":\"9\"",
                                        "discrete",
                                        "64"};
    bp_rng rng = bp_rng_make(start, 0);
    size_t n[2], k;
    const clock_t begin = clock();
    n[0] = make_seed(seed[0], sizeof seed[0], 0);
    n[1] = make_seed(seed[1], sizeof seed[1], 1);
    if (!n[0] || !n[1]) {
        fprintf(stderr, "could not make the seed files here\n");
        return 1;
    }
    LLVMFuzzerTestOneInput(seed[0], n[0]);
    LLVMFuzzerTestOneInput(seed[1], n[1]);
    if (accepted != 2) {
        fprintf(stderr, "the seed files themselves were refused\n");
        return 1;
    }
    for (k = 0; (double)(clock() - begin) < seconds * (double)CLOCKS_PER_SEC; k++) {
        const size_t which = k % 2;
        size_t size = n[which], edits = 1 + bp_rng_index(&rng, 4), header = 8 + seed[which][0] + 256u * seed[which][1];
        memcpy(input, seed[which], size);
        while (edits--) {
            size_t at = bp_rng_index(&rng, bp_rng_index(&rng, 5) ? header : size), length;
            const char *word;
            if (at >= size) continue;
            switch (bp_rng_index(&rng, 8)) {
            case 0: input[at] = (unsigned char)bp_rng_u32(&rng); break;
            case 1: input[at] ^= (unsigned char)(1u << bp_rng_index(&rng, 8)); break;
            case 2: size = at; break;
            case 3: /* insert a word, sometimes correcting the header's length */
            case 4:
                word = words[bp_rng_index(&rng, sizeof words / sizeof *words)];
                length = strlen(word);
                if (size + length > sizeof input) break;
                memmove(input + at + length, input + at, size - at);
                memcpy(input + at, word, length);
                size += length;
                if (at >= 8 && bp_rng_index(&rng, 4)) {
                    const size_t h = input[0] + 256u * input[1] + length;
                    input[0] = (unsigned char)(h & 255);
                    input[1] = (unsigned char)(h >> 8);
                }
                break;
            case 5: /* overwrite with a word */
                word = words[bp_rng_index(&rng, sizeof words / sizeof *words)];
                length = strlen(word);
                if (at + length <= size) memcpy(input + at, word, length);
                break;
            case 6: /* a digit for a digit: lies that are well-formed */
                while (at < size && !(input[at] >= '0' && input[at] <= '9')) at++;
                if (at < size) input[at] = (unsigned char)('0' + bp_rng_index(&rng, 10));
                break;
            default: /* swap two pieces */
                length = bp_rng_index(&rng, 40);
                if (at + length < size) memmove(input + at, input + bp_rng_index(&rng, size - length), length);
            }
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%lu inputs: %lu accepted, %lu refused\n", (unsigned long)k, accepted, refused);
    return 0;
}

#ifndef BPRIOR_FUZZ_NO_MAIN /* tests/test_20_fuzz.c has its own */
int main(int argc, char **argv) {
    return fuzz(argc > 1 ? atof(argv[1]) : 3.0, argc > 2 ? (uint64_t)strtoul(argv[2], NULL, 10) : 1);
}
#endif
#endif
