/* No heap, no files: a policy linked into the image, and all memory in one static block.
 *
 * policy.h holds the bytes of a policy file as an array:  xxd -i policy.safetensors > policy.h */
#define BPRIOR_IMPLEMENTATION
#define BPRIOR_STATIC  /* so that the linker drops what is not called */
#define BPRIOR_NO_SIMD /* no kernels of particular CPUs */
#include "bprior.h"
#include "policy.h"
#include <stdio.h>

/* [pool] */
/* All there is: handed out from front to back, given back at the end only. (Loading asks four times.) */
static unsigned char pool[900 * 1024 + BP_ALIGN];
static size_t used;

static void *pool_alloc(void *ctx, size_t bytes, size_t align) {
    const size_t at = (used + align - 1) / align * align, shift = (size_t)((uintptr_t)pool % align);
    (void)ctx;
    if (at + align > sizeof pool || bytes > sizeof pool - at - align) return NULL; /* an error status, not a crash */
    used = at + bytes;
    return pool + at + (shift ? align - shift : 0);
}

static void pool_free(void *ctx, void *ptr, size_t bytes) { (void)ctx, (void)ptr, (void)bytes; }

int main(void) {
    const bp_allocator memory = {pool_alloc, pool_free, NULL};
    bp_agent *agent = NULL;
    bp_error error;
    bp_real observation[3] = {BP_R(-1), BP_R(0), BP_R(1)}, action[1];
    if (bp_agent_load_memory(&agent, policy_safetensors, policy_safetensors_len, &memory, &error) != BP_OK) {
        puts(error.text);
        return 1;
    }
    if (bp_agent_act(agent, action, observation) != BP_OK) return 1;
    printf("torque %.2f, %lu bytes of memory\n", (double)action[0], (unsigned long)used);
    return 0;
}
/* [pool] */
