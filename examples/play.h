/* play.h - what film.c and watch.c share: a world by name, who acts in it, one step at a time, and options for both.
 *
 *     play_options options = play_defaults("film", "what it does", steps);
 *     int code = play_parse(&options, argc, argv);
 *     if (code >= 0) return code;
 *     if (!play_open(&player, &options, &error)) ...
 *     play_begin(&player, episode);
 *     while (!player.last) play_step(&player);
 *     play_close(&player);
 */
#ifndef BPRIOR_EXAMPLES_PLAY_H
#define BPRIOR_EXAMPLES_PLAY_H

#include "cli.h"
#include <math.h>

#define PLAY_MAX_STEPS 4000 /* most control steps of an episode that are remembered */

/* Options of a program that plays. */
typedef struct play_options {
    cli_options cli;
    const char *more; /* the program's own lines for --help, or NULL */
    const char *task, *body, *policy, *prior, *camera, *gl;
    bool best;
    uint64_t width, height, fps, episodes;
    const char *format; /* NULL: the program has no such option */
    bool trails, has_trails;
} play_options;

/* A world with somebody in it. */
typedef struct play {
    bp_mj_world *world;
    bp_env env;
    bp_agent *policy, *prior; /* whoever acts is the policy, or else the prior, or else noise */
    bool has_kl, best;
    bp_rng rng;
    uint64_t seed;
    bp_real *observation, *action, *ignored;
    bp_error error;
    /* of the running episode */
    bp_step step;
    bool last, failed;
    double total, kl[PLAY_MAX_STEPS], trail[PLAY_MAX_STEPS + 1][3], seconds; /* seconds: of the newest step */
    size_t n;
} play;

CLI_FN play_options play_defaults(const char *name, const char *about, uint64_t steps) {
    play_options o;
    memset(&o, 0, sizeof o);
    o.cli = cli_defaults(name, about, steps);
    o.cli.no_run = true;
    o.camera = "track";
    o.gl = "auto";
    o.width = 640;
    o.height = 480;
    o.fps = 20;
    o.episodes = 1;
    return o;
}

CLI_FN void play_help(const play_options *o) {
    cli_help(&o->cli);
    printf("\n  --body NAME     pointmass, rolling, jumping, ant, humanoid, cmu, cmu_position (default: what the file was made\n"
           "                  for; else the ant)\n"
           "  --task NAME     go_to_k_targets, move_box, move_box_or_gtt, move_box_and_gtt, sequence, multitask, transfer,\n"
           "                  go_to_target, run, run_gaps (default: the first that fits)\n"
           "  --policy FILE   who acts: policy.safetensors, or the directory of a run (default: noise)\n"
           "  --prior FILE    prior.safetensors, or the directory of a run. With a policy: the KL from it, step by step.\n"
           "                  Without: the prior acts by itself\n"
           "  --best          the most probable actions, not random ones\n"
           "  --camera NAME   track, top or fixed (default %s)\n"
           "  --size WxH      of the picture in pixels (default %lux%lu)\n",
           o->camera, (unsigned long)o->width, (unsigned long)o->height);
    if (o->more) printf("%s", o->more);
}

/* Returns an exit code, or -1: go ahead. */
CLI_FN int play_parse(play_options *o, int argc, char **argv) {
    char *rest[64];
    int n = 1, i;
    char trailing;
    rest[0] = argv[0];
    for (i = 1; i < argc && n < 62; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        const char **text = !strcmp(name, "--task")                  ? &o->task
                            : !strcmp(name, "--body")                ? &o->body
                            : !strcmp(name, "--policy")              ? &o->policy
                            : !strcmp(name, "--prior")               ? &o->prior
                            : !strcmp(name, "--camera")              ? &o->camera
                            : o->format && !strcmp(name, "--format") ? &o->format
                            : o->format && !strcmp(name, "--gl")     ? &o->gl
                                                                     : NULL;
        uint64_t *number = !strcmp(name, "--fps") ? &o->fps : !strcmp(name, "--episodes") ? &o->episodes
                                                                                          : NULL;
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            play_help(o);
            return 0;
        }
        if (text && value) {
            *text = value;
            i++;
        } else if (number && o->format) {
            if (!cli_number(number, name, value)) return 2;
            i++;
        } else if (!strcmp(name, "--size") && value) {
            unsigned long w = 0, h = 0;
            if (sscanf(value, "%lux%lu%c", &w, &h, &trailing) != 2 || w < 16 || h < 16 || w > 8192 || h > 8192) {
                fprintf(stderr, "--size wants WIDTHxHEIGHT between 16 and 8192, such as 640x480, not \"%s\"\n", value);
                return 2;
            }
            o->width = w;
            o->height = h;
            i++;
        } else if (!strcmp(name, "--best")) o->best = true;
        else if (!strcmp(name, "--trails") && o->has_trails) o->trails = true;
        else rest[n++] = argv[i];
    }
    rest[n] = NULL;
    if (strcmp(o->camera, "track") && strcmp(o->camera, "top") && strcmp(o->camera, "fixed")) {
        fprintf(stderr, "--camera is track, top or fixed, not \"%s\"\n", o->camera);
        return 2;
    }
    if (o->fps < 1 || o->fps > 240 || o->episodes < 1) {
        fprintf(stderr, "--fps is 1 .. 240, --episodes at least 1\n");
        return 2;
    }
    return cli_parse(&o->cli, n, rest);
}

CLI_FN bp_mj_view play_view(const char *camera) {
    return !strcmp(camera, "top") ? BP_MJ_VIEW_TOP : !strcmp(camera, "fixed") ? BP_MJ_VIEW_FIXED
                                                                              : BP_MJ_VIEW_TRACK;
}

/* Make a task observe what a policy file was made for, as far as it can. @param names [BP_MAX_FIELDS] must live until the world is made */
CLI_FN void play_fit(bp_mj_task *task, const char **names, const bp_spec *like) {
    const bp_field *targets = bp_spec_find(like, "walker/target_positions"), *next = bp_spec_find(like, "next");
    const bp_field *slots = bp_spec_find(like, "task");
    size_t i;
    if (task->kind != BP_MJ_GO_TO_TARGET && targets) task->n_targets = targets->size / 3;
    if (task->kind == BP_MJ_SEQUENCE && next) task->n_targets = next->size;
    if (slots) task->task_slots = slots->size;
    task->show_previous = bp_spec_find(like, "previous") != NULL;
    task->goal_field = bp_spec_find(like, "goal") != NULL;
    task->observe = BP_MJ_OBSERVE_LISTED;
    for (i = 0; i < like->n_fields; i++) names[i] = like->field[i].name;
    task->fields = names;
    task->n_fields = like->n_fields;
}

/* The one place that knows names of tasks and bodies. `like` (nullable) is what a policy file was made for: the world gets the same
 * observation, and of tasks and bodies that were not named the first that has it. */
CLI_FN bp_status play_world(bp_mj_world **out, const char *task, const char *body, const bp_spec *like,
                            bp_error *error) {
    const bool multitask = task && !strcmp(task, "multitask"), transfer = task && !strcmp(task, "transfer");
    const char *names[BP_MAX_FIELDS];
    bool has_task = false, has_body = false;
    int kind, walker;
    if (multitask || transfer) task = "sequence";
    if (like == NULL && body == NULL) body = task && !strcmp(task, "sequence") ? "pointmass" : "ant";
    if (like == NULL && task == NULL) task = !strcmp(body, "pointmass") ? "sequence" : "go_to_k_targets";
    for (kind = 0; kind < BP_MJ_TASK_COUNT_; kind++)
        for (walker = 0; walker < BP_MJ_WALKER_COUNT_; walker++) {
            bp_mj_task t = bp_mj_task_default((bp_mj_task_kind)kind, (bp_mj_walker_kind)walker);
            const bool this_task = !task || !strcmp(task, bp_mj_task_name(t.kind)), this_body = !body || !strcmp(body, t.walker->name);
            bp_status status;
            has_task = has_task || this_task;
            has_body = has_body || this_body;
            if (!this_task || !this_body) continue;
            if (like && like->action_size != t.walker->n_actuators) continue;
            if (multitask) bp_mj_sequence_multitask(&t);
            if (transfer || (task == NULL && like && bp_spec_find(like, "task"))) bp_mj_sequence_transfer(&t, BP_MJ_NEW_BOTH);
            if (like) play_fit(&t, names, like);
            status = bp_mj_world_create(out, &t, NULL, error);
            if (like == NULL && status != BP_OK) return status;
            if (status != BP_OK) continue;
            if (like == NULL || bp_spec_equal(bp_mj_world_spec(*out), like)) return BP_OK;
            bp_mj_world_destroy(*out);
            *out = NULL;
        }
    if (!has_body) snprintf(error->text, sizeof error->text, "--body: there is no \"%.40s\" (see --help)", body);
    else if (!has_task) snprintf(error->text, sizeof error->text, "--task: there is no \"%.40s\" (see --help)", task);
    else snprintf(error->text, sizeof error->text, "this file was made for other fields or actions than any task%s%.40s%s%.40s has",
                  task ? " " : "", task ? task : "", body ? " of the body " : "", body ? body : "");
    return error->status = BP_ERR_ARGUMENT;
}

/* A file, or the file of that name in a run's directory. */
CLI_FN bp_status play_load(bp_agent **out, const char *path, const char *name, bp_error *error) {
    char inside[1100];
    bp_status status = bp_agent_load(out, path, NULL, error);
    if (status == BP_OK) return status;
    snprintf(inside, sizeof inside, "%.1000s/%s", path, name);
    return bp_agent_load(out, inside, NULL, NULL) == BP_OK ? BP_OK : status;
}

CLI_FN void play_close(play *p) {
    if (p->env.self) bp_env_close(&p->env);
    bp_mj_world_destroy(p->world);
    bp_agent_destroy(p->policy);
    bp_agent_destroy(p->prior);
    free(p->observation);
    free(p->action);
    free(p->ignored);
    memset(p, 0, sizeof *p);
}

/* False: p->error says why. Close it in either case. */
CLI_FN bool play_open(play *p, const play_options *o) {
    const bp_agent *a, *b;
    memset(p, 0, sizeof *p);
    p->seed = o->cli.seed;
    p->best = o->best;
    p->last = true;
    if (o->policy && play_load(&p->policy, o->policy, "policy.safetensors", &p->error) != BP_OK) return false;
    if (o->prior && play_load(&p->prior, o->prior, "prior.safetensors", &p->error) != BP_OK) return false;
    a = p->policy ? p->policy : p->prior;
    b = p->prior;
    if (bp_mj_init(&p->error) != BP_OK || play_world(&p->world, o->task, o->body, a ? &a->spec : NULL, &p->error) != BP_OK ||
        bp_mj_env_make(p->world, &p->env, &p->error) != BP_OK)
        return false;
    if ((a && bp_agent_check(a, &p->env.spec, &p->error) != BP_OK) || (b && bp_agent_check(b, &p->env.spec, &p->error) != BP_OK))
        return false;

    /* The closed form wants both distributions in the same coordinates; with latents it would be one of many terms. */
    p->has_kl = p->policy && p->prior && a->behavior.latent.size == 0 && b->behavior.latent.size == 0 &&
                a->policy.output == b->policy.output && a->policy.squash == b->policy.squash &&
                a->policy.dist_size == b->policy.dist_size;
    p->observation = (bp_real *)calloc(p->env.spec.observation_size, sizeof(bp_real));
    p->action = (bp_real *)calloc(p->env.spec.action_size, sizeof(bp_real));
    p->ignored = (bp_real *)calloc(p->env.spec.action_size, sizeof(bp_real));
    if (p->observation && p->action && p->ignored) return true;
    snprintf(p->error.text, sizeof p->error.text, "no memory");
    return false;
}

/* Who is acting, for a title. */
CLI_FN const char *play_who(const play *p) { return p->policy ? "policy" : p->prior ? "prior alone"
                                                                                    : "noise"; }

/* The episode's picture in numbers: KL and trail end here. */
CLI_FN void play_note(play *p) { bp_mj_env_position(p->trail[p->n], &p->env); }

CLI_FN bool play_begin(play *p, uint64_t episode) {
    p->rng = bp_rng_make(p->seed, 1000 + episode);
    p->n = 0;
    p->total = 0;
    p->failed = p->env.reset(p->env.self, bp_seed_mix(p->seed, 0, episode), p->observation) != BP_OK;
    p->last = p->failed;
    if (p->failed) p->error = bp_mj_env_info(&p->env).error;
    if (p->policy) bp_agent_reset(p->policy);
    if (p->prior) bp_agent_reset(p->prior);
    memset(&p->step, 0, sizeof p->step);
    if (!p->failed) play_note(p);
    return !p->failed;
}

CLI_FN bool play_step(play *p) {
    bp_agent *agent = p->policy ? p->policy : p->prior;
    bp_status status = BP_OK;
    bp_real kl = 0;
    double before = (double)bp_mj_env_data(&p->env)->time;
    if (p->last) return false;
    if (agent == NULL) bp_rng_normals(p->action, &p->rng, p->env.spec.action_size);
    else if (p->best) status = bp_agent_act(agent, p->action, p->observation);
    else status = bp_agent_sample(agent, p->action, NULL, p->observation, &p->rng);
    if (status == BP_OK && p->has_kl) {
        status = bp_agent_act(p->prior, p->ignored, p->observation); /* what would the prior do? Its distribution is what counts */
        if (status == BP_OK) bp_policy_kl(&kl, p->policy->dist, p->prior->dist, &p->policy->policy, 1);
    }
    if (status == BP_OK) status = p->env.step(p->env.self, p->action, p->observation, &p->step);
    if (status != BP_OK) {
        p->error = bp_mj_env_info(&p->env).error;
        if (p->error.text[0] == '\0') snprintf(p->error.text, sizeof p->error.text, "the agent found a number that is not finite");
        p->failed = p->last = true;
        return false;
    }
    p->seconds = (double)bp_mj_env_data(&p->env)->time - before;
    p->total += (double)p->step.reward;
    p->last = p->step.last || p->n + 1 >= PLAY_MAX_STEPS;
    p->kl[p->n++] = (double)kl;
    play_note(p);
    return true;
}

/* Fill in what the episode knows. */
CLI_FN void play_shot(bp_mj_shot *shot, const play *p) {
    shot->numbers = shot->predicates = true;
    shot->title = play_who(p);
    shot->reward = p->n ? (double)p->step.reward : (double)NAN;
    shot->total = p->total;
    shot->kl = p->has_kl && p->n ? p->kl[p->n - 1] : (double)NAN;
    shot->curve = p->has_kl ? p->kl : NULL;
    shot->n_curve = p->n;
    shot->curve_name = "KL per step (nats)";
}

/* The way the body has gone, on the floor. Goes into the film once; play_more_trail() adds what is new. */
CLI_FN void play_trail(bp_mj_film *film, const play *p, size_t from, double width, const double *rgba) {
    size_t i;
    for (i = from ? from : 1; i <= p->n; i++) {
        double a[3], b[3];
        memcpy(a, p->trail[i - 1], sizeof a);
        memcpy(b, p->trail[i], sizeof b);
        a[2] = b[2] = 0.6 * width;
        if (bp_mj_film_line(film, a, b, width, rgba, NULL) != BP_OK) return; /* full: the film goes on without */
    }
}

#endif
