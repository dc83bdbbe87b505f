/* paper.h - what the experiments of examples/paper share beside cli.h: statistics over seeds, output files, plots.
 *
 *     FILE *f = paper_file(options.out, "curves.csv");
 *     FILE *s = paper_settings(&options);            more lines "name = value" may follow
 *     paper_plot(options.out, "two_rooms");          runs gnuplot on two_rooms.gp in that directory
 *
 * tools/check-paper.sh says what every experiment must leave behind. Include bprior.h and cli.h first.
 */
#ifndef BPRIOR_EXAMPLES_PAPER_H
#define BPRIOR_EXAMPLES_PAPER_H

#include <math.h>

#if defined(__GNUC__)
#define PAPER_FN static __attribute__((unused))
#else
#define PAPER_FN static
#endif

/* Mean of x [n]. */
PAPER_FN double paper_mean(const double *x, size_t n) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* Sample standard deviation of x [n]; 0 for a single number. */
PAPER_FN double paper_spread(const double *x, size_t n) {
    const double m = paper_mean(x, n);
    double sum = 0.0;
    size_t i;
    for (i = 0; i < n; i++) sum += (x[i] - m) * (x[i] - m);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0.0;
}

/* Open DIR/name for writing; NULL after saying so. */
PAPER_FN FILE *paper_file(const char *dir, const char *name) {
    char path[1024];
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "w");
    if (file == NULL) fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
    return file;
}

/* Open DIR/settings.txt and write what is common to all; the caller adds its own lines and closes. */
PAPER_FN FILE *paper_settings(const cli_options *o) {
    FILE *file = paper_file(o->out, "settings.txt");
    if (file == NULL) return NULL;
    fprintf(file, "experiment = %s\nbprior = %s\nsizeof(bp_real) = %u\nseed = %llu\n", o->name, bp_version(),
            (unsigned)bp_real_size(), (unsigned long long)o->seed);
    if (o->seeds) fprintf(file, "seeds = %llu\n", (unsigned long long)o->seeds);
    fprintf(file, "steps = %llu\nquick = %s\n", (unsigned long long)o->steps, o->quick ? "yes" : "no");
    return file;
}

/* Run gnuplot on DIR/name.gp, whose paths are relative to DIR and whose output is name.png. Says how it went; a missing
 * gnuplot is no error. */
PAPER_FN void paper_plot(const char *dir, const char *name) {
    char command[1200];
    int done = 1;
    snprintf(command, sizeof command, "cd '%s' && gnuplot '%s.gp' 2>&1", dir, name);
    if (strchr(dir, '\'') == NULL && strlen(dir) + strlen(name) < sizeof command - 40) done = system(command);
    if (done == 0) printf("plot: %s/%s.png\n", dir, name);
    else printf("no plot: gnuplot is missing or failed; install gnuplot-nox, then, in %s: gnuplot %s.gp\n", dir, name);
}

#endif
