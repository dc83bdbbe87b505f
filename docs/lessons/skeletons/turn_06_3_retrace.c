/* 06_3_retrace.c - lesson 6, exercise 3: the recursion
 *
 * Write Retrace (E19) for one sequence, from the last row to the first. The judge is the double sum that it comes from.
 */
#include "../lesson.h"

enum { T = 12,
       SEQUENCES = 200 };

/* target[t] = reward[t] + discount[t] (value[t+1] + c[t+1] (target[t+1] - q[t+1])); the last row has nothing behind it.
 * value [T+1], all others [T]. */
static void retrace(bp_real *target, const bp_real *reward, const bp_real *discount, const bp_real *value, const bp_real *q,
                    const bp_real *c) {
    for (size_t t = 0; t < T; t++) target[t] = 0;
    /* YOUR TURN: target, backwards */
}

int main(void) {
    bp_rng rng = bp_rng_make(6, 3);
    double worst = 0, size = 0, after_end = 0;
    for (int n = 0; n < SEQUENCES; n++) {
        bp_real reward[T], discount[T], value[T + 1], q[T], c[T], log_pi[T], log_mu[T], mask[T], mine[T], judge[T];
        const size_t end = bp_rng_index(&rng, T); /* an episode terminates here */
        bp_rng_normals(reward, &rng, T), bp_rng_normals(value, &rng, T + 1), bp_rng_normals(q, &rng, T);
        bp_rng_normals(log_pi, &rng, T), bp_rng_normals(log_mu, &rng, T);
        for (size_t t = 0; t < T; t++) discount[t] = t == end ? 0 : BP_R(0.95), mask[t] = 1;
        bp_retrace_trace(c, log_pi, log_mu, mask, 0.9, T, 1);
        retrace(mine, reward, discount, value, q, c);
        bp_retrace_reference(judge, reward, discount, value, q, c, T, 1);
        for (size_t t = 0; t < T; t++) {
            worst = fmax(worst, fabs((double)(mine[t] - judge[t])));
            size = fmax(size, fabs((double)mine[t]));
        }
        after_end = fmax(after_end, fabs((double)(mine[end] - reward[end])));
    }
    printf("largest difference %.1e, largest target %.1f\n", worst, size);
    claim(size > 0 && worst < 1e-4, "the recursion is the double sum, up to rounding");
    claim(after_end == 0, "where an episode terminates the target is the reward alone");
    return false_claims;
}
