/* runs.h - for experiments that consist of many training runs: several at a time, finished ones skipped, curves read back.
 *
 *     paper_runs(n, options.jobs, one, &experiment);        calls one(&experiment, i) for i < n, each in a process of its own
 *     config = ...; paper_attach(&options, &config, "lstm-1", seed);   and in there: directory OUT/lstm-1, options, terminal
 *     paper_curve(&curve, options.out, "lstm-1", "eval_return_mean");
 *
 * A run that ended well leaves a file "done" beside its own files; with --resume it is not made again, and one that
 * was interrupted goes on. Include bprior.h, cli.h and paper.h first.
 */
#ifndef BPRIOR_EXAMPLES_PAPER_RUNS_H
#define BPRIOR_EXAMPLES_PAPER_RUNS_H

#include <time.h>
#ifndef _WIN32
#include <sys/wait.h>
#endif

#define PAPER_POINTS 2000 /* most points of a curve */

typedef struct paper_curve_data {
    size_t n;
    double steps[PAPER_POINTS], value[PAPER_POINTS];
} paper_curve_data;

/* A line of text from a run: whose it is, then the text. */
PAPER_FN void paper_status(void *ctx, const char *text) {
    fprintf(stderr, "%-16s%s", (const char *)ctx, text);
    fflush(stderr);
}

/* Give a run its directory (kept in `place` [>= 1024]), the options and a voice. */
PAPER_FN void paper_attach(const cli_options *o, bp_run_config *config, char *place, const char *name, uint64_t seed) {
    snprintf(place, 1024, "%s/%s", o->out, name);
    cli_attach(o, config);
    config->directory = place;
    config->seed = config->learner.seed = seed;
    config->overwrite = true; /* only where it does not resume */
    config->terminal = false;
    config->status = paper_status;
    config->status_ctx = (void *)name;
}

/* Was this run finished with so many steps, and may it be skipped? */
PAPER_FN bool paper_done(const cli_options *o, const char *name, uint64_t steps) {
    char path[1100], line[64] = "";
    FILE *file;
    unsigned long long had = 0;
    snprintf(path, sizeof path, "%s/%s/done", o->out, name);
    file = o->resume ? fopen(path, "r") : NULL;
    if (file == NULL) return false;
    if (fgets(line, sizeof line, file)) had = strtoull(line, NULL, 10);
    fclose(file);
    return had == steps;
}

PAPER_FN void paper_mark_done(const cli_options *o, const char *name, uint64_t steps) {
    char path[1100];
    FILE *file;
    snprintf(path, sizeof path, "%s/%s/done", o->out, name);
    file = fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "%llu steps\n", (unsigned long long)steps);
    fclose(file);
}

/* Call job(ctx, i) for i = 0 .. n-1, up to `at_once` at the same time. A job returns an exit code; after the first that is not
 * 0 no more are started. Returns that code. A job sees a copy of the memory: what it finds out goes into files. */
PAPER_FN int paper_runs(size_t n, size_t at_once, int (*job)(void *ctx, size_t i), void *ctx) {
    size_t next = 0;
    int code = 0;
#ifdef _WIN32
    (void)at_once; /* no fork(): one after the other */
    for (; next < n && code == 0; next++) code = job(ctx, next);
#else
    pid_t *child = (pid_t *)calloc(at_once, sizeof *child); /* 0: free */
    size_t running = 0, k;
    bool told = false;
    if (child == NULL) return 1;
    while (running || (next < n && code == 0 && !cli_interrupted)) {
        const struct timespec pause = {0, 20000000};
        for (k = 0; k < at_once; k++) {
            int state = 0;
            if (child[k] && waitpid(child[k], &state, WNOHANG) == child[k]) {
                const int ended = WIFEXITED(state) ? WEXITSTATUS(state) : 1;
                if (code == 0) code = ended;
                child[k] = 0;
                running--;
            }
            if (child[k] == 0 && next < n && code == 0 && !cli_interrupted) {
                fflush(stdout);
                fflush(stderr);
                child[k] = fork();
                if (child[k] == 0) _exit(job(ctx, next));
                if (child[k] < 0) child[k] = 0, code = 1;
                else running++, next++;
            }
        }
        if (cli_interrupted && !told) { /* Ctrl-C reaches the children by itself, a kill does not */
            for (k = 0; k < at_once; k++)
                if (child[k]) kill(child[k], SIGTERM);
            told = true;
        }
        if (running) nanosleep(&pause, NULL);
    }
    free(child);
#endif
    if (code == 0 && next < n) code = 130;
    return code;
}

/* Read a column of OUT/name/progress.csv against env_steps, rows without a number left out. */
PAPER_FN bool paper_curve(paper_curve_data *out, const char *dir, const char *name, const char *column) {
    char path[1100], line[4096];
    FILE *file;
    int x = -1, y = -1;
    out->n = 0;
    snprintf(path, sizeof path, "%s/%s/progress.csv", dir, name);
    file = fopen(path, "r");
    if (file == NULL) return false;
    while (fgets(line, sizeof line, file) && out->n < PAPER_POINTS) {
        const bool header = x < 0;
        char *cell = line, *end;
        double at = 0.0, value = 0.0;
        bool found = false;
        int i;
        for (i = 0; cell; i++, cell = end ? end + 1 : NULL) {
            end = strchr(cell, ',');
            cell[strcspn(cell, ",\r\n")] = '\0';
            if (header && !strcmp(cell, "env_steps")) x = i;
            if (header && !strcmp(cell, column)) y = i;
            if (!header && i == x) at = strtod(cell, NULL);
            if (!header && i == y && *cell) value = strtod(cell, NULL), found = true;
        }
        if (x < 0 || y < 0) break;
        if (found) out->steps[out->n] = at, out->value[out->n++] = value;
    }
    fclose(file);
    if (out->n < 2) fprintf(stderr, "%s: too few numbers in column %s\n", path, column);
    return out->n > 1;
}

/* Area under a curve divided by its width (trapezoids): the mean while learning. */
PAPER_FN double paper_area(const paper_curve_data *c) {
    double sum = 0.0;
    size_t i;
    for (i = 1; i < c->n; i++) sum += 0.5 * (c->value[i] + c->value[i - 1]) * (c->steps[i] - c->steps[i - 1]);
    return sum / (c->steps[c->n - 1] - c->steps[0]);
}

/* Mean of the last `count` points. */
PAPER_FN double paper_tail(const paper_curve_data *c, size_t count) {
    const size_t n = count < c->n ? count : c->n;
    return paper_mean(c->value + c->n - n, n);
}

#endif
