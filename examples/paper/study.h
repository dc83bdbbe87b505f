/* study.h - many training runs as one experiment: a list of configurations, trained several at a time, resumable.
 *
 *     study_job jobs[N];                                name and bp_run_config of each; config.directory is set here
 *     int code = study_train(jobs, N, &options);        0, 1 (an error, told) or 130 (interrupted, told)
 *     paper_curve_data c; paper_curve(&c, options.out, jobs[i].name, "eval_return_mean");        (runs.h)
 *
 * Each run is a process of its own, --threads of them at a time (paper_runs() of runs.h), in the directory OUT/name. With --resume a
 * run that is complete is left alone, and one that was interrupted goes on from its checkpoint. Include bprior.h, cli.h
 * and paper.h first.
 */
#ifndef BPRIOR_EXAMPLES_STUDY_H
#define BPRIOR_EXAMPLES_STUDY_H

#include "runs.h"

#define STUDY_SEEDS 64 /* most runs that one statistic is about */

/* One run. */
typedef struct study_job {
    char name[64];        /* directory inside OUT */
    char prior[700];      /* prior.safetensors to be frozen; "" if there is none */
    bp_run_config config; /* directory, resume and overwrite are set by study_train() */
} study_job;

/* ---- training ------------------------------------------------------------------------------------------------------ */

/* A run that is complete has a file `done` that says after how many steps. */
PAPER_FN void study_done_path(char *path, size_t size, const study_job *job, const char *out) {
    snprintf(path, size, "%s/%.63s/done", out, job->name);
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
    cli_profile(o, job->name, run);
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

/* What a child process needs to know, and what they tell each other through files. */
typedef struct study_all {
    const study_job *jobs;
    const cli_options *o;
    size_t n, skipped;
    time_t start;
} study_all;

PAPER_FN int study_child(void *ctx, size_t i) {
    const study_all *all = (const study_all *)ctx;
    size_t k, finished = 0;
    int code;
    if (all->o->resume && study_is_done(&all->jobs[i], all->o->out)) return 0;
    code = study_one(&all->jobs[i], all->o);
    if (code) return code;
    for (k = 0; k < all->n; k++) finished += study_is_done(&all->jobs[k], all->o->out);
    study_tell(all->o, all->jobs[i].name, finished, all->n, all->start, all->skipped);
    return 0;
}

/* Train all jobs, options->threads of them at a time. */
PAPER_FN int study_train(const study_job *jobs, size_t n, const cli_options *o) {
    study_all all;
    size_t i;
    int code;
    memset(&all, 0, sizeof all);
    all.jobs = jobs;
    all.o = o;
    all.n = n;
    all.start = time(NULL);
    for (i = 0; i < n; i++) {
        char path[1024];
        study_done_path(path, sizeof path, &jobs[i], o->out);
        if (o->resume && study_is_done(&jobs[i], o->out)) all.skipped++;
        else (void)remove(path); /* from now on `done` means by this call */
    }
    if (all.skipped) fprintf(stderr, "%s: %lu of %lu runs are complete already\n", o->name, (unsigned long)all.skipped, (unsigned long)n);
    code = paper_runs(n, o->threads < 64 ? o->threads : 64, study_child, &all);
    if (code == 130) fprintf(stderr, "%s: stopped and saved; to go on, the same command with --resume\n", o->name);
    return code;
}

#endif
