/* cli.h - what every main of the examples shares: options, Ctrl-C, the status line on stderr.
 *
 *     cli_options options = cli_defaults("demo", "what it does", steps);
 *     int code = cli_parse(&options, argc, argv);
 *     if (code >= 0) return code;
 *     cli_attach(&options, &run_config);
 *
 * Not part of the library: bprior.h never prints and never touches a signal.
 */
#ifndef BPRIOR_EXAMPLES_CLI_H
#define BPRIOR_EXAMPLES_CLI_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <io.h>
#define CLI_ISATTY() _isatty(2)
#else
#include <unistd.h>
#define CLI_ISATTY() isatty(2)
#endif

#if defined(__GNUC__)
#define CLI_FN static __attribute__((unused)) /* a program need not use all of this */
#else
#define CLI_FN static
#endif

/* What the user may choose. */
typedef struct cli_options {
    const char *name, *about; /* for --help */
    uint64_t seed;            /* --seed N, default 1 */
    uint64_t steps;           /* --steps N: environment steps, the program's own default */
    const char *out;          /* --out DIR, default build/NAME */
    uint64_t seeds;           /* --seeds N: how many seeds an experiment has; 0: the program has no such option */
    const char *from;         /* --from DIR: where runs of another experiment are; NULL: the program has no such option, "": not given */
    size_t threads;           /* --threads N, default 2 */
    size_t jobs;              /* --jobs N: how many runs at the same time; 0: the program has no such option */
    bool resume;              /* --resume: go on from the checkpoint in the output directory */
    bool quick;               /* --quick: a short setting that shows that everything runs */
    bool profile;             /* --profile: at the end of each run, where its time went */
    bool no_run;              /* the program has no bp_run: --threads, --profile and --resume are not offered */
    char out_default[64];
} cli_options;

static volatile sig_atomic_t cli_interrupted;

CLI_FN void cli_on_signal(int number) {
    cli_interrupted = 1;
    signal(number, SIG_DFL); /* a second Ctrl-C ends the program at once */
}

CLI_FN bool cli_stop(void *ctx) {
    (void)ctx;
    return cli_interrupted != 0;
}

CLI_FN void cli_status(void *ctx, const char *text) {
    (void)ctx;
    fputs(text, stderr);
    fflush(stderr);
}

CLI_FN void cli_log(void *ctx, int level, const char *text) {
    (void)ctx;
    if (level > 0) fprintf(stderr, "%s: %s\n", level > 1 ? "error" : "warning", text);
}

CLI_FN cli_options cli_defaults(const char *name, const char *about, uint64_t steps) {
    cli_options o;
    memset(&o, 0, sizeof o);
    o.name = name;
    o.about = about;
    o.seed = 1;
    o.steps = steps;
    o.threads = 2;
    snprintf(o.out_default, sizeof o.out_default, "build/%s", name);
    return o;
}

CLI_FN void cli_help(const cli_options *o) {
    printf("usage: %s [options]\n\n%s\n\n", o->name, o->about);
    printf("  --seed N     seed of everything random (default %llu)\n", (unsigned long long)o->seed);
    printf("  --steps N    environment steps (default %llu)\n", (unsigned long long)o->steps);
    printf("  --out DIR    where CSV, configuration%s and plot go (default %s)\n",
           o->no_run ? "" : ", checkpoint", o->out_default);
    if (o->seeds) printf("  --seeds N    how many seeds, counted up from --seed (default %llu)\n", (unsigned long long)o->seeds);
    if (o->from) printf("  --from DIR   where the runs are that this one builds on (default: made here)\n");
    if (!o->no_run) {
        if (o->jobs)
            printf("  --jobs N     runs at the same time; never changes the result (default %lu)\n", (unsigned long)o->jobs);
        printf("  --threads N  threads%s; never changes the result (default %lu)\n", o->jobs ? " of each run" : "",
               (unsigned long)o->threads);
        printf("  --profile    at the end of each run: where its time went, by phase; never changes the result\n");
        printf("  --resume     go on from the checkpoint in DIR\n");
    }
    printf("  --quick      a short setting: shows that everything runs, not what it can learn\n");
    printf("  --help       this text\n");
    if (!o->no_run) printf("\nCtrl-C saves a checkpoint and says how to go on.\n");
}

/* A whole number from the next argument. */
CLI_FN bool cli_number(uint64_t *out, const char *option, const char *text) {
    char *end = NULL;
    unsigned long long value;
    errno = 0;
    value = text ? strtoull(text, &end, 10) : 0;
    if (text == NULL || *text < '0' || *text > '9' || *end || errno) {
        fprintf(stderr, "%s wants a whole number, not \"%s\"\n", option, text ? text : "");
        return false;
    }
    *out = value;
    return true;
}

/* Returns an exit code (0 after --help, 2 after a bad option), or -1: go ahead. */
CLI_FN int cli_parse(cli_options *o, int argc, char **argv) {
    int i;
    for (i = 1; i < argc; i++) {
        const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t number = 0;
        if (!strcmp(option, "--help") || !strcmp(option, "-h")) {
            cli_help(o);
            return 0;
        }
        if (!strcmp(option, "--resume") && !o->no_run) o->resume = true;
        else if (!strcmp(option, "--profile") && !o->no_run) o->profile = true;
        else if (!strcmp(option, "--quick")) o->quick = true;
        else if (!strcmp(option, "--out") && value) o->out = argv[++i];
        else if (!strcmp(option, "--from") && o->from && value) o->from = argv[++i];
        else if (!strcmp(option, "--seed") || !strcmp(option, "--steps") || (!strcmp(option, "--seeds") && o->seeds) ||
                 (!strcmp(option, "--jobs") && o->jobs) || (!strcmp(option, "--threads") && !o->no_run)) {
            if (!cli_number(&number, option, value)) return 2;
            if (!strcmp(option, "--seeds")) o->seeds = number ? number : 1;
            else if (option[2] == 'j') o->jobs = number ? (size_t)number : 1;
            else if (option[3] == 'e') o->seed = number;
            else if (option[3] == 't') o->steps = number;
            else o->threads = number ? (size_t)number : 1;
            i++;
        } else {
            fprintf(stderr, "%s: unknown option or missing value: %s (see --help)\n", o->name, option);
            return 2;
        }
    }
    if (o->out == NULL) o->out = o->out_default;
    signal(SIGINT, cli_on_signal);
    signal(SIGTERM, cli_on_signal);
    return -1;
}

#ifdef BPRIOR_H
/* Give a run the options and the terminal. */
CLI_FN void cli_attach(const cli_options *o, bp_run_config *config) {
    config->seed = o->seed;
    config->learner.seed = o->seed;
    config->resume = o->resume;
    config->profile = o->profile;
    config->overwrite = !o->resume;
#ifdef BPRIOR_THREADS
    config->threads = o->threads;
#endif
    config->stop = cli_stop;
    config->status = cli_status;
    config->terminal = CLI_ISATTY() != 0;
    config->log.fn = cli_log;
}

/* After bp_run_train(), whatever it said: what --profile asks for. In one piece, since several runs may be writing. run may be
 * NULL. */
CLI_FN void cli_profile(const cli_options *o, const char *title, bp_run *run) {
    char text[2 * BP_PROFILE_TEXT + 400];
    bp_profile work, actors;
    size_t n;
    if (!o->profile || run == NULL) return;
    bp_run_profile(&work, &actors, run);
    n = (size_t)snprintf(text, 200, "\n%.100s: %.1f seconds, %lu thread%s\n", title, work.wall, (unsigned long)run->config.threads,
                         run->config.threads > 1 ? "s" : "");
    n += bp_profile_text(text + n, BP_PROFILE_TEXT, &work);
    if (actors.total > 0.0) {
        n += (size_t)snprintf(text + n, 200, "\nthe actors' own %lu thread%s\n", (unsigned long)run->config.actors,
                              run->config.actors > 1 ? "s" : "");
        (void)bp_profile_text(text + n, BP_PROFILE_TEXT, &actors);
    }
    fputs(text, stderr);
}
#endif

#endif
