/* 06_prior.c - a behavior prior, on and off
 *
 * What you learn:  how to write an environment; how to train a policy together with a prior (E22) that may not see the goal (E14);
 *                  what such a prior learns; and what it is worth when the next task is too hard for trial and error.
 * Difficulty:      ** (of *****)
 * Build:           cc -O2 -I. examples/06_prior.c -o 06_prior -lm                                  (runs about 20 s)
 *
 * A rowing boat on a river, with six levers. A stroke takes three steps: lever 4, lever 2, and then lever 1 (upstream) or 5
 * (downstream); any other lever spoils it. Whoever pulls at random nearly never completes a stroke.
 *
 *   1. School: there is always a buoy. A stroke towards it pays 1, away from it costs 1, and each part of a stroke done right
 *      pays 0.1. The policy sees the fields "oar", "place" and "buoy". The prior of school 1 sees the oar alone, so it can
 *      learn how to row but not where to; the prior of school 2 sees everything.
 *   2. A new task: reach a place six strokes upstream. There is no buoy (the field says 0), and nothing pays before the boat is
 *      there. It is learned without a prior, with the first school's prior, frozen, and with the second's.
 *
 * What to look at: alone, the prior that sees everything rows as well as its policy, while the one that sees the oar gets
 * nowhere. Yet the latter is the useful one: it tries strokes, both ways. The other insists on what the old buoys
 * asked for. This is one seed. Try others: in some the school itself has not learned to row after 12000 steps.
 *
 * Expected output:
 *   school 1: return of the policy 30, of the prior alone 7
 *   school 2: return of the policy 31, of the prior alone 31
 *   prior that sees the oar:   lever 0    1    2    3    4    5
 *      part 1 of a stroke           0.0  0.0  0.0  0.0  1.0  0.0
 *      part 2 of a stroke           0.0  0.0  1.0  0.0  0.0  0.0
 *      part 3 of a stroke           0.0  0.5  0.0  0.0  0.0  0.5
 *   new task, share of episodes that arrive
 *      steps   no prior   sees the oar   sees everything
 *          0        0.0        0.0        0.0
 *       1200        0.0        0.0        0.0
 *       2400        0.0        0.4        0.3
 *       3600        0.0        1.0        0.0
 *       4800        0.0        1.0        0.0
 *       6000        0.0        1.0        0.0
 *       7200        0.0        1.0        0.0
 */
/* [include] */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include <stdio.h>
#include <stdlib.h>

static bp_error error;
static void must(bp_status status) {
    if (status < 0) fprintf(stderr, "%s\n", error.text), exit(1);
}
/* [include] */

/* [boat] */
/* ---- the environment ------------------------------------------------------------------------------------------- */

enum { LEVERS = 6,
       FIRST = 4,
       SECOND = 2,
       DOWN = 5,
       UP = 1,
       STEPS = 80,
       FAR = 6 };

typedef struct boat {
    int oar, place, buoy, steps; /* oar: parts of the stroke done, 0..2 */
    bool school;
    bp_rng rng;
} boat;
/* [boat] */

/* [look] */
static void look(const boat *b, bp_real *observation) {
    for (int k = 0; k < 3; k++) observation[k] = BP_R(k == b->oar); /* "oar" */
    observation[3] = BP_R(0.25 * b->place), observation[4] = BP_R(0.25 * b->buoy);
}

static void new_buoy(boat *b) {
    while (b->school && b->buoy == b->place) b->buoy = (int)bp_rng_index(&b->rng, 2 * FAR - 1) - FAR + 1;
}
/* [look] */

/* [reset] */
static bp_status boat_reset(void *self, uint64_t seed, bp_real *observation) {
    boat *b = (boat *)self;
    b->rng = bp_rng_make(seed, 0); /* the episode is a function of the seed and the actions */
    b->oar = b->place = b->steps = b->buoy = 0;
    new_buoy(b);
    look(b, observation);
    return BP_OK;
}
/* [reset] */

/* [step] */
static bp_status boat_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    boat *b = (boat *)self;
    const int lever = (int)action[0], before = abs(b->place - b->buoy);
    const bool good = b->oar < 2 && lever == (b->oar ? SECOND : FIRST);
    if (b->oar == 2) b->place += lever == UP && b->place < FAR ? 1 : lever == DOWN && b->place > -FAR ? -1
                                                                                                      : 0;
    b->oar = good ? b->oar + 1 : 0;
    out->reward = BP_R(b->school ? before - abs(b->place - b->buoy) + (good ? 0.1 : 0) : b->place == FAR);
    out->discount = BP_R(!b->school && b->place == FAR ? 0 : 1); /* arrived: the end of the world */
    out->last = ++b->steps == STEPS || out->discount == BP_R(0); /* a time limit is not: the discount stays 1 */
    new_buoy(b);
    look(b, observation);
    return BP_OK;
}
/* [step] */

/* [make] */
static void boat_close(void *self) { free(self); }

static bp_status make_boat(void *school, size_t index, bp_env *out, bp_error *e) {
    boat *b = (boat *)calloc(1, sizeof *b);
    (void)index;
    if (!b) return BP_ERR_MEMORY;
    b->school = school != NULL;
    out->self = b, out->reset = boat_reset, out->step = boat_step, out->save = NULL, out->load = NULL, out->close = boat_close;
    bp_spec_begin(&out->spec, "boat");
    must(bp_spec_add_field(&out->spec, "oar", 3, e));
    must(bp_spec_add_field(&out->spec, "place", 1, e));
    must(bp_spec_add_field(&out->spec, "buoy", 1, e));
    return bp_spec_actions_discrete(&out->spec, LEVERS, e);
}
/* [make] */

/* [run] */
/* ---- training ----------------------------------------------------------------------------------------------------- */

/* A run of chapter 19 that we step ourselves. from: the run whose prior is copied, or NULL. */
static bp_run *begin(bool school, bp_prior_kind kind, bool blind, const bp_run *from) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    bp_run *run;
    l->batch = 16, l->length = 12;
    c.envs.make = make_boat;
    c.envs.ctx = school ? &error : NULL; /* anything but NULL */
    c.env_steps = 1000000, c.evaluate_every = 0;
    c.min_sequences = 64;
    c.samples_per_insert = 16;
    c.seed = l->seed = 2;
    l->policy.hidden_layers = l->prior.hidden_layers = l->critic_layers = 1;
    l->policy.width[0] = l->prior.width[0] = l->critic_width[0] = 24;
    l->policy_adam.lr = l->critic_adam.lr = l->prior_adam.lr = 3e-3;
    l->entropy_cost = bp_schedule_constant(0.05), l->tau = 0.02;
    l->kernel = BP_KERNEL_REFERENCE; /* the same digits on every machine; BP_KERNEL_AUTO is faster */
    /* [run] */
    /* [prior_config] */
    l->prior_kind = kind;
    l->alpha = bp_schedule_constant(0.1); /* the price of a nat, in reward */
    if (blind) {
        l->prior.n_fields = 1; /* all there is to information asymmetry */
        l->prior.fields[0] = "oar";
    }
    /* [prior_config] */
    /* [create] */
    must(bp_run_create(&run, &c, NULL, &error));
    if (from) must(bp_rs0_set_prior(run->learner, from->learner->prior_p.online, from->learner->prior_p.n, &error));
    return run;
}
/* [create] */

/* [score] */
static double score(bp_run *run, bp_rs0_who who) {
    bp_evaluation e;
    must(bp_run_evaluate(&e, NULL, run, who, 50, 1, true, &error));
    return e.mean;
}
/* [score] */

/* [show] */
/* Probability of each lever under the prior, in the three moments of a stroke. */
static void show_prior(const bp_run *run) {
    bp_real x[5], logits[LEVERS], logp[LEVERS], work[256];
    bp_compute compute;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    boat b = {0};
    must(bp_compute_init(&compute, BP_KERNEL_REFERENCE, memory, &error));
    for (b.oar = 0; b.oar < 3; b.oar++) {
        look(&b, x);
        bp_policy_eval(&compute, logits, work, x, NULL, run->learner->prior_p.online, &run->learner->prior, 1);
        bp_categorical_log_softmax(logp, logits, LEVERS);
        printf("   part %d of a stroke         ", b.oar + 1);
        for (int k = 0; k < LEVERS; k++) printf("  %.1f", (double)bp_exp(logp[k]));
        printf("\n");
    }
    bp_free(NULL, memory, bp_compute_bytes());
}
/* [show] */

/* [school] */
enum { SCHOOL_STEPS = 12000,
       TASK_STEPS = 7200 };

int main(void) {
    bp_run *school[2], *task[3];
    for (int k = 0; k < 2; k++) {
        school[k] = begin(true, BP_PRIOR_LEARNED, k == 0, NULL);
        while (school[k]->env_steps < SCHOOL_STEPS) must(bp_run_round(school[k], &error));
        printf("school %d: return of the policy %.0f, of the prior alone %.0f\n", k + 1, score(school[k], BP_PLAY_POLICY),
               score(school[k], BP_PLAY_PRIOR));
    }
    printf("prior that sees the oar:   lever 0    1    2    3    4    5\n");
    show_prior(school[0]);
    /* [school] */

    /* [tasks] */
    printf("new task, share of episodes that arrive\n   steps   no prior   sees the oar   sees everything\n");
    task[0] = begin(false, BP_PRIOR_NONE, true, NULL);
    task[1] = begin(false, BP_PRIOR_FIXED, true, school[0]);
    task[2] = begin(false, BP_PRIOR_FIXED, false, school[1]);
    for (int steps = 0; steps <= TASK_STEPS; steps += 1200) {
        printf("   %5d", steps);
        for (int k = 0; k < 3; k++) {
            while (task[k]->env_steps < (uint64_t)steps) must(bp_run_round(task[k], &error));
            printf("%11.1f", score(task[k], BP_PLAY_POLICY));
        }
        puts("");
    }
    for (int k = 0; k < 5; k++) bp_run_destroy(k < 2 ? school[k] : task[k - 2]);
    return 0;
}
/* [tasks] */
