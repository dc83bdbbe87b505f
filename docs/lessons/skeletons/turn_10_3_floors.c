/* 10_3_floors.c - lesson 10, exercise 3: what can be known, before anything is trained
 *
 * The bells of example 9 have a law. What is the least cross-entropy of a prior that sees the last bell, of one that sees the
 * last two, and of one that sees nothing? Exactly, as conditional entropies; then by the simplest prior there is, a table of
 * counts, on sampled bells.
 */
#include "../lesson.h"

enum { N = 4 };

static int successor(int p, int c) { return (p + 1) % N == c ? (p + 2) % N : (p + 1) % N; } /* the law: s(p) after c */

/* P(next | before, last): .9 for the successor of the last but one, .1 for the one after that. */
static double law(int before, int last, int next) {
    const int common = successor(before, last), rare = successor(common, last);
    return next == common ? 0.9 : next == rare ? 0.1
                                               : 0;
}

/* H(next | what): joint [classes][N] is P(what, next). */
static double conditional_entropy(const double *joint, int classes) {
    double H = 0;
    /* YOUR TURN: - sum P(what, next) log P(next | what); 0 log 0 = 0 */
    return H;
}

int main(void) {
    static const char *const what[3] = {"nothing", "the last bell", "the last two"};
    double pair[N * N] = {0}, joint[3][N * N * N] = {{0}}, floor[3], counts[3][N * N * N] = {{0}}, nats[3] = {0};
    bp_rng rng = bp_rng_make(10, 3);
    int before = 0, last = 1, seen = 0;
    bool reached = true;
    /* how often each (last but one, last) occurs: start anywhere, follow the law until nothing changes */
    for (int b = 0; b < N; b++)
        for (int l = 0; l < N; l++) pair[b * N + l] = b == l ? 0 : 1.0 / (N * (N - 1));
    for (int k = 0; k < 200; k++) {
        double then[N * N] = {0};
        for (int b = 0; b < N; b++)
            for (int l = 0; l < N; l++)
                for (int n = 0; n < N; n++) then[l * N + n] += pair[b * N + l] * law(b, l, n);
        memcpy(pair, then, sizeof pair);
    }
    for (int b = 0; b < N; b++)
        for (int l = 0; l < N; l++)
            for (int n = 0; n < N; n++) {
                const double p = pair[b * N + l] * law(b, l, n);
                joint[0][n] += p, joint[1][l * N + n] += p, joint[2][(b * N + l) * N + n] += p;
            }
    for (int k = 0; k < 3; k++) floor[k] = conditional_entropy(joint[k], k == 0 ? 1 : k == 1 ? N
                                                                                             : N * N);

    for (int t = 0; t < 60000; t++) { /* the counting prior: learn and be judged at the same time, as in a run */
        const double u = bp_rng_uniform(&rng);
        const int common = successor(before, last), next = u < 0.9 ? common : successor(common, last);
        const int row[3] = {0, last, before * N + last};
        for (int k = 0; k < 3; k++) {
            double *c = counts[k] + row[k] * N, total = 0, p = 1;
            for (int n = 0; n < N; n++) total += c[n] + 0.1;
            /* YOUR TURN: p: the probability that the counts give to `next`, each count increased by .1; then count it. */
            if (t >= 2000) nats[k] -= log(p);
        }
        seen += t >= 2000;
        before = last, last = next;
    }
    for (int k = 0; k < 3; k++) {
        printf("sees %-14s floor %.4f nats, counting prior %.4f\n", what[k], floor[k], nats[k] / seen);
        reached = reached && fabs(nats[k] / seen - floor[k]) < 0.01;
    }
    claim(near(floor[1], log(3.0), 1e-9), "who sees the last bell alone has a floor of log 3");
    claim(near(floor[2], -0.9 * log(0.9) - 0.1 * log(0.1), 1e-9), "who sees the last two: the entropy of (.9, .1)");
    claim(near(floor[0], log(4.0), 1e-9), "who sees nothing: log 4");
    claim(reached, "and counting reaches each floor within a hundredth of a nat");
    return false_claims;
}
