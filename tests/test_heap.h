/* test_heap.h - counts what the whole program asks of the heap, for tests that say: from here on, nothing.
 *
 *     bpt_heap_gather(team);               a team's threads all run: they begin when the system likes, and making them is not counted
 *     bpt_heap_watch();                    from now on calls count, of all threads, from everywhere: also libc's and MuJoCo's own
 *     n = bpt_heap_calls();                calls of malloc, calloc, realloc, free and their aligned relatives; counting ends
 *     bpt_heap_first()                     what the first of them was
 *     BPT_HEAP_SEES                        0 where this cannot be done: bpt_heap_calls() is then 0 whatever happened
 *
 * With glibc the functions are replaced: what a program defines goes before what libc defines, for shared libraries, too. The
 * sanitizers have replaced them already, and call back. free(NULL) does nothing and is not counted.
 *
 * Include in one file of a program, after bprior.h, before anything is allocated by it (that is: anywhere).
 */
#ifndef BPRIOR_TEST_HEAP_H
#define BPRIOR_TEST_HEAP_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BPT_HEAP_HOOKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BPT_HEAP_HOOKS 1
#endif
#endif

static int bpt_heap_on;       /* calls count */
static size_t bpt_heap_count; /* how many there were */
static struct {
    const char *what;
    size_t bytes;
} bpt_heap_one; /* the first of them */

/* Runs inside malloc: must not allocate, print or lock. */
BPT_FN void bpt_heap_note(const char *what, size_t bytes) {
    if (!__atomic_load_n(&bpt_heap_on, __ATOMIC_ACQUIRE)) return;
    if (__atomic_fetch_add(&bpt_heap_count, 1, __ATOMIC_ACQ_REL) > 0) return;
    bpt_heap_one.what = what;
    bpt_heap_one.bytes = bytes;
}

#if defined(BPT_HEAP_HOOKS)
#define BPT_HEAP_SEES 1
/* As in <sanitizer/allocator_interface.h>, which not every gcc comes with. */
extern int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void *, size_t),
                                                     void (*free_hook)(const volatile void *));

static void bpt_heap_got(const volatile void *p, size_t bytes) {
    (void)p;
    bpt_heap_note("an allocation", bytes);
}
static void bpt_heap_gave(const volatile void *p) {
    if (p) bpt_heap_note("free", 0);
}
BPT_FN void bpt_heap_begin(void) {
    static int installed;
    if (!installed) installed = __sanitizer_install_malloc_and_free_hooks(bpt_heap_got, bpt_heap_gave);
    if (!installed) abort(); /* blind, and nobody would notice */
}
#elif defined(__GLIBC__)
#define BPT_HEAP_SEES 1
#define BPT_HEAP_HIDDEN(result, name, arguments) \
    extern result __libc_##name arguments;       \
    result name arguments;
BPT_HEAP_HIDDEN(void *, malloc, (size_t bytes))
BPT_HEAP_HIDDEN(void *, calloc, (size_t n, size_t bytes))
BPT_HEAP_HIDDEN(void *, realloc, (void *p, size_t bytes))
BPT_HEAP_HIDDEN(void *, memalign, (size_t align, size_t bytes))
BPT_HEAP_HIDDEN(void, free, (void *p))
#undef BPT_HEAP_HIDDEN

void *malloc(size_t bytes) {
    bpt_heap_note("malloc", bytes);
    return __libc_malloc(bytes);
}
void *calloc(size_t n, size_t bytes) {
    bpt_heap_note("calloc", n * bytes);
    return __libc_calloc(n, bytes);
}
void *realloc(void *p, size_t bytes) {
    bpt_heap_note("realloc", bytes);
    return __libc_realloc(p, bytes);
}
void free(void *p) {
    if (p) bpt_heap_note("free", 0);
    __libc_free(p);
}
void *memalign(size_t align, size_t bytes) {
    bpt_heap_note("memalign", bytes);
    return __libc_memalign(align, bytes);
}
void *aligned_alloc(size_t align, size_t bytes) {
    bpt_heap_note("aligned_alloc", bytes);
    return __libc_memalign(align, bytes);
}
int posix_memalign(void **out, size_t align, size_t bytes) {
    void *p;
    bpt_heap_note("posix_memalign", bytes);
    if (align % sizeof(void *) || align & (align - 1) || align == 0) return EINVAL;
    p = __libc_memalign(align, bytes);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
BPT_FN void bpt_heap_begin(void) {}
#else
#define BPT_HEAP_SEES 0
BPT_FN void bpt_heap_begin(void) {}
#endif

/* A job for each thread, none of which ends before all have begun. */
typedef struct bpt_heap_meeting {
    size_t expected, here;
} bpt_heap_meeting;
static void bpt_heap_meet(void *ctx, size_t index, size_t worker) {
    bpt_heap_meeting *m = (bpt_heap_meeting *)ctx;
    (void)index;
    (void)worker;
    __atomic_fetch_add(&m->here, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&m->here, __ATOMIC_ACQUIRE) < m->expected) {}
}
BPT_FN void bpt_heap_gather(bp_team *team) {
    bpt_heap_meeting m = {bp_team_threads(team), 0};
    bp_team_run(team, bpt_heap_meet, &m, m.expected);
}

BPT_FN void bpt_heap_watch(void) {
    bpt_heap_begin();
    bpt_heap_one.what = "none";
    bpt_heap_one.bytes = 0;
    __atomic_store_n(&bpt_heap_count, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&bpt_heap_on, 1, __ATOMIC_RELEASE);
}

BPT_FN size_t bpt_heap_calls(void) {
    __atomic_store_n(&bpt_heap_on, 0, __ATOMIC_RELEASE);
    return __atomic_load_n(&bpt_heap_count, __ATOMIC_ACQUIRE);
}

/* Valid until the next call or watch. */
BPT_FN const char *bpt_heap_first(void) {
    static char text[64];
    (void)snprintf(text, sizeof text, "%s of %lu bytes", bpt_heap_one.what, (unsigned long)bpt_heap_one.bytes);
    return text;
}

#endif /* BPRIOR_TEST_HEAP_H */
