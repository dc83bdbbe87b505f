/* study.h - many training runs as one experiment: several at a time, resumable, and then their curves.
 *
 *     study_job jobs[N];                                name and bp_run_config of each; config.directory is set here
 *     int code = study_train(jobs, N, &options);        0, 1 (an error, told) or 130 (interrupted, told)
 *     study_curve c; study_read(&c, options.out, jobs[i].name, "eval_return_mean");
 *
 * Each run is a process of its own, --threads of them at a time, in the directory OUT/name. With --resume a run that is
 * complete is left alone, and one that was interrupted goes on from its checkpoint. Where there is no fork() the runs
 * take turns. Include bprior.h, cli.h and paper.h first.
 */
#ifndef BPRIOR_EXAMPLES_STUDY_H
#define BPRIOR_EXAMPLES_STUDY_H

#include <time.h>
#ifndef _WIN32
#include <sys/types.h>
#include <sys/wait.h>
#endif

#define STUDY_POINTS 400 /* most points of a curve */
#define STUDY_SEEDS 64   /* most runs that one statistic is about */

/* One run. */
typedef struct study_job {
    char name[64];        /* directory inside OUT */
    char prior[700];      /* prior.safetensors to be frozen; "" if there is none */
    bp_run_config config; /* directory, resume and overwrite are set by study_train() */
} study_job;

/* One column of a run's progress.csv against environment steps. */
typedef struct study_curve {
    size_t n;
    double steps[STUDY_POINTS], value[STUDY_POINTS];
} study_curve;

/* ---- curves ---------------------------------------------------------------------------------------------------- */

/* Read a column, by name; rows without a value (between two evaluations) are skipped. */
PAPER_FN bool study_read(study_curve *out, const char *dir, const char *run, const char *column) {
    char path[1024], line[4096], *cell, *next;
    FILE *file;
    int wanted = -1, i;
    out->n = 0;
    snprintf(path, sizeof path, "%s/%s/progress.csv", dir, run);
    file = fopen(path, "r");
    if (file == NULL) return false;
    while (fgets(line, sizeof line, file) && out->n < STUDY_POINTS) {
        const bool header = wanted < 0;
        double steps = 0.0;
        line[strcspn(line, "\r\n")] = 0;
        for (cell = line, i = 0; cell; cell = next, i++) {
            next = strchr(cell, ',');
            if (next) *next++ = 0;
            if (header && !strcmp(cell, column)) wanted = i;
            if (!header && i == 0) steps = strtod(cell, NULL);
            if (!header && i == wanted && *cell) {
                out->steps[out->n] = steps;
                out->value[out->n++] = strtod(cell, NULL);
            }
        }
        if (wanted < 0) break;
    }
    fclose(file);
    return out->n > 0;
}

/* Area under a curve divided by its width: the mean while learning (trapezoids). */
PAPER_FN double study_area(const study_curve *c) {
    double sum = 0.0;
    size_t i;
    for (i = 1; i < c->n; i++) sum += 0.5 * (c->value[i] + c->value[i - 1]) * (c->steps[i] - c->steps[i - 1]);
    return c->n > 1 ? sum / (c->steps[c->n - 1] - c->steps[0]) : c->value[0];
}

/* Mean of the last quarter of the points. */
PAPER_FN double study_tail(const study_curve *c) {
    const size_t k = c->n >= 4 ? c->n / 4 : 1;
    return paper_mean(c->value + (c->n - k), k);
}

/* ---- training ------------------------------------------------------------------------------------------------------ */

/* A run that is complete has a file `done` that says after how many steps. */
PAPER_FN void study_done_path(char *path, size_t size, const study_job *job, const char *out) {
    snprintf(path, size, "%s/%s/done", out, job->name);
}

/* After how many steps a run was complete; 0 if it is not. */
PAPER_FN unsigned long long study_done_steps(const study_job *job, const char *out) {
    char path[1024];
    unsigned long long steps = 0;
    FILE *file;
    study_done_path(path, sizeof path, job, out);
    file = fopen(path, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%llu", &steps) != 1) steps = 0;
    fclose(file);
    return steps;
}

PAPER_FN bool study_is_done(const study_job *job, const char *out) {
    return study_done_steps(job, out) == job->config.env_steps;
}

/* Train one run to its end: 0, 1 or 130. */
PAPER_FN int study_one(const study_job *job, const cli_options *o) {
    char directory[1024], path[1024];
    bp_run_config config = job->config;
    bp_run *run = NULL;
    bp_error error;
    bp_status status;
    FILE *file;
    snprintf(directory, sizeof directory, "%s/%s", o->out, job->name);
    study_done_path(path, sizeof path, job, o->out);
    remove(path);
    config.directory = directory;
    status = bp_run_create(&run, &config, NULL, &error);
    if (status == BP_OK && job->prior[0] && !run->resumed) status = bp_rs0_load_prior(run->learner, job->prior, NULL, &error);
    if (status == BP_OK) status = bp_run_train(run, &error);
    bp_run_destroy(run);
    if (status == BP_INTERRUPTED) return 130;
    file = status == BP_OK ? fopen(path, "w") : NULL;
    if (file == NULL) {
        fprintf(stderr, "%s: %s: %s\n", o->name, job->name, status == BP_OK ? "cannot write the file `done`" : error.text);
        return 1;
    }
    fprintf(file, "%llu\n", (unsigned long long)job->config.env_steps);
    return fclose(file) == 0 ? 0 : 1;
}

PAPER_FN void study_tell(const cli_options *o, const char *name, size_t finished, size_t n, time_t start, size_t done_before) {
    const double took = difftime(time(NULL), start), left = took / (double)(finished - done_before) * (double)(n - finished);
    fprintf(stderr, "%s: %lu of %lu runs, newest %s; %.0f min gone, about %.0f min left\n", o->name, (unsigned long)finished,
            (unsigned long)n, name, took / 60, left / 60);
}

/* Train all jobs, options->threads of them at a time. */
PAPER_FN int study_train(const study_job *jobs, size_t n, const cli_options *o) {
    const time_t start = time(NULL);
    size_t i, finished = 0, skipped;
    int worst = 0;
#ifndef _WIN32
    struct {
        pid_t pid;
        size_t job;
    } child[64];
    size_t running = 0, most = o->threads < 64 ? o->threads : 64, k;
    bool told = false;
#endif
    for (i = 0; i < n; i++) finished += o->resume && study_is_done(&jobs[i], o->out);
    skipped = finished;
    if (skipped) fprintf(stderr, "%s: %lu of %lu runs are complete already\n", o->name, (unsigned long)skipped, (unsigned long)n);
    fflush(NULL); /* or each child would write what is still in the buffers again */
#ifdef _WIN32
    for (i = 0; i < n && worst == 0; i++) {
        if (o->resume && study_is_done(&jobs[i], o->out)) continue;
        worst = study_one(&jobs[i], o);
        if (worst == 0) study_tell(o, jobs[i].name, ++finished, n, start, skipped);
    }
#else
    for (i = 0; i < n || running;) {
        const bool go = i < n && worst == 0 && !cli_interrupted;
        int status = 0;
        pid_t pid;
        if (go && o->resume && study_is_done(&jobs[i], o->out)) {
            i++;
            continue;
        }
        if (go && running < most) {
            pid = fork();
            if (pid == 0) {
                setpgid(0, 0); /* Ctrl-C reaches the parent alone, which passes it on, once */
                _exit(study_one(&jobs[i], o));
            }
            if (pid < 0) {
                fprintf(stderr, "%s: no new process: %s\n", o->name, strerror(errno));
                worst = 1;
                continue;
            }
            child[running].pid = pid;
            child[running++].job = i++;
            continue;
        }
        if (running == 0) break;
        if (cli_interrupted && !told)
            for (k = 0, told = true; k < running; k++) kill(child[k].pid, SIGTERM);
        pid = waitpid(-1, &status, cli_interrupted || running == 0 ? 0 : WNOHANG);
        if (pid == 0) {
            struct timespec nap = {0, 20000000};
            nanosleep(&nap, NULL); /* a signal ends it early */
            continue;
        }
        for (k = 0; k < running && child[k].pid != pid; k++) continue;
        if (pid < 0 || k == running) continue;
        status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        if (status == 0) study_tell(o, jobs[child[k].job].name, ++finished, n, start, skipped);
        else if (status != 130) fprintf(stderr, "%s: run %s failed\n", o->name, jobs[child[k].job].name);
        if (status && worst != 1) worst = status;
        child[k] = child[--running];
    }
#endif
    if (worst == 0 && cli_interrupted && finished < n) worst = 130;
    if (worst == 130)
        fprintf(stderr, "%s: stopped and saved; to go on, the same command with --resume\n", o->name);
    return worst;
}

#endif
