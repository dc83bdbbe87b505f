/* 12_3_table.c - lesson 12, exercise 3: from runs to a table
 *
 * docs/results/transfer/runs.csv has every run of an experiment of this project: kind, prior, seed, and the return at the end.
 * Recompute the means and standard deviations that its table.csv reports. Then compare two kinds, once as ten runs against ten
 * others, once paired by (prior, seed). Start it in the root of the project.
 */
#include "../lesson.h"

enum { KINDS = 16,
       RUNS = 64 };
typedef struct kind {
    char name[32];
    size_t n;
    int prior[RUNS], seed[RUNS];
    double end[RUNS];
} kind;
static kind kinds[KINDS];
static size_t n_kinds;

static kind *find(const char *name, bool add) {
    for (size_t k = 0; k < n_kinds; k++)
        if (!strcmp(kinds[k].name, name)) return &kinds[k];
    if (!add || n_kinds == KINDS) return NULL;
    snprintf(kinds[n_kinds].name, sizeof kinds[0].name, "%s", name);
    return &kinds[n_kinds++];
}

static double mean(const double *x, size_t n) {
    double sum = 0;
    /* YOUR TURN: the mean */
    return sum;
}

/* Sample standard deviation: divided by n - 1. */
static double spread(const double *x, size_t n) {
    double sum = 0;
    /* YOUR TURN: the sum of squared distances from the mean, divided by n - 1 */
    return sqrt(sum);
}

int main(void) {
    static const char runs[] = "docs/results/transfer/runs.csv", table[] = "docs/results/transfer/table.csv";
    char line[512], name[64];
    double v[5], difference[RUNS] = {0}, worst = 0, paired, apart;
    const kind *a, *b;
    size_t rows = 0, pairs = 0;
    FILE *f = fopen(runs, "r");
    if (!f) return fprintf(stderr, "start this program in the root of the project: there is no %s\n", runs), 2;
    while (fgets(line, sizeof line, f)) { /* kind,number,prior,seed,area,final_return,... */
        kind *k;
        if (sscanf(line, "%63[^,],%lf,%lf,%lf,%lf,%lf", name, &v[0], &v[1], &v[2], &v[3], &v[4]) != 6) continue; /* the header */
        k = find(name, true);
        if (!k || k->n == RUNS) return fprintf(stderr, "more runs than expected\n"), 2;
        k->prior[k->n] = (int)v[1], k->seed[k->n] = (int)v[2], k->end[k->n++] = v[4];
    }
    fclose(f);

    f = fopen(table, "r");
    if (!f) return 2;
    printf("kind             runs   mean at the end   standard deviation\n");
    while (fgets(line, sizeof line, f)) { /* kind, mean and deviation of the area, mean and deviation of the end, ... */
        const kind *k;
        if (sscanf(line, "%63[^,],%lf,%lf,%lf,%lf", name, &v[0], &v[1], &v[2], &v[3]) != 5) continue;
        k = find(name, false);
        if (!k) continue;
        rows++;
        printf("%-15s %5d %17.4f %20.4f\n", k->name, (int)k->n, mean(k->end, k->n), spread(k->end, k->n));
        worst = fmax(worst, fmax(fabs(mean(k->end, k->n) - v[2]), fabs(spread(k->end, k->n) - v[3])));
    }
    fclose(f);

    a = find("body_puck", false), b = find("everything", false);
    if (!a || !b) return 2;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < b->n; j++)
            if (a->prior[i] == b->prior[j] && a->seed[i] == b->seed[j]) difference[pairs++] = a->end[i] - b->end[j];
    paired = mean(difference, pairs) / (spread(difference, pairs) / sqrt((double)pairs));
    apart = (mean(a->end, a->n) - mean(b->end, b->n)) /
            sqrt(spread(a->end, a->n) * spread(a->end, a->n) / (double)a->n + spread(b->end, b->n) * spread(b->end, b->n) / (double)b->n);
    printf("body + puck against everything: %.3f, t = %.1f paired over %d, %.1f as two samples\n", mean(difference, pairs), paired,
           (int)pairs, apart);
    claim(rows == n_kinds && rows > 4, "every kind has its row in the table");
    claim(worst < 1e-3, "means and standard deviations are those of the table");
    claim(pairs == a->n && pairs == b->n, "every run has its partner: the same prior number and the same seed");
    claim(near(mean(difference, pairs), mean(a->end, a->n) - mean(b->end, b->n), 1e-9) && paired == paired && spread(difference, pairs) > 0,
          "pairing does not change the difference, only what is known about its error");
    return false_claims;
}
