/* 09_memory.c - an LSTM prior that remembers
 *
 * What you learn:  how to give a prior a memory (E35); what it can know that a prior without one cannot; how to run a
 *                  policy or a prior step by step with its state; how to tell in nats whether it knows all there is to know.
 * Difficulty:      *** (of *****)
 * Build:           cc -O2 -I. examples/09_memory.c -o 09_memory -lm                                 (runs about 10 s)
 *
 * Four bells - blue, green, black, red - have to be rung in an order that is named one bell at a time. Ringing the one that is
 * named pays 1, and the next one is named; ringing another does nothing. The order has a law: given the last two bells the next
 * is nearly known,
 *
 *     next = s(last but one)  with probability .9        s: the other three bells in a cycle, the last one left out
 *     next = s(s(last but one))             .1
 *
 * while given the last one alone the other three are equally likely. The policy sees which bell is named, and rings it. The
 * prior sees only the bell that was rung last. It is trained to say what the policy will do (E22), and how far off it
 * is, in nats, has a floor that can be written down: with no more to go by than the last bell log 3 = 1.10, and
 * with the last two the entropy of (.9, .1), 0.33.
 *
 * In `measure` it is shown episodes that follow the law, one observation at a time; `state` is all that it takes along.
 *
 * Try:  l->prior.lstm = 4 (too small?);  l->length = 4 (what happened before the sequence began is still in its stored state,
 *       but no gradient reaches it);  l->memory_start = BP_MEMORY_ZERO.
 *
 * What to look at: both priors know all that they can know. The MLP's three .3 and .4 are a third each. The LSTM rings fewer bells by
 * itself than its .9 promises: after a wrong bell nothing happens, which it never saw in the episodes of a policy that makes no mistakes.
 *
 * Expected output:
 *   MLP  prior: 1.10 nats (floor 1.10); rings 13 bells by itself, the policy 40
 *   LSTM prior: 0.35 nats (floor 0.33); rings 21 bells by itself, the policy 40
 *                          MLP                       LSTM
 *   next:               blue green black   red    blue green black   red
 *   after  blue, green   0.3   0.0   0.4   0.3     0.0   0.0   0.9   0.1
 *   after black, green   0.3   0.0   0.4   0.3     0.1   0.0   0.0   0.9
 *   after   red, green   0.3   0.0   0.4   0.3     0.9   0.0   0.1   0.0
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

/* [bells] */
/* ---- the environment ------------------------------------------------------------------------------------------- */

enum { BELLS = 4 };
enum { NOBODY = BELLS }; /* in place of a bell: there was none yet */
static const char *const colour[BELLS] = {"blue", "green", "black", "red"};

typedef struct tower {
    int last, before, next, steps;
    bp_rng rng;
} tower;
/* [bells] */

/* [law] */
static int successor(int p, int c) { return (p + 1) % BELLS == c ? (p + 2) % BELLS : (p + 1) % BELLS; } /* s(p) after c */

static void name_next(tower *t) {
    if (t->before == NOBODY) { /* too early for the law: any other */
        while (t->next == t->last) t->next = (int)bp_rng_index(&t->rng, BELLS);
    } else {
        t->next = successor(t->before, t->last);
        if (bp_rng_uniform(&t->rng) >= 0.9) t->next = successor(t->next, t->last);
    }
}
/* [law] */

/* [tower] */
static void look(const tower *t, bp_real *observation) {
    for (int k = 0; k < BELLS; k++) {
        observation[k] = BP_R(k == t->last);         /* "last" */
        observation[BELLS + k] = BP_R(k == t->next); /* "next" */
    }
}

static bp_status tower_reset(void *self, uint64_t seed, bp_real *observation) {
    tower *t = (tower *)self;
    t->rng = bp_rng_make(seed, 0);
    t->last = t->before = NOBODY, t->steps = 0;
    t->next = (int)bp_rng_index(&t->rng, BELLS);
    look(t, observation);
    return BP_OK;
}

static bp_status tower_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    tower *t = (tower *)self;
    const bool good = (int)action[0] == t->next;
    if (good) t->before = t->last, t->last = t->next, name_next(t);
    out->reward = BP_R(good), out->discount = 1, out->last = ++t->steps == 40;
    look(t, observation);
    return BP_OK;
}
/* [tower] */

/* [make] */
static void tower_close(void *self) { free(self); }

static bp_status make_tower(void *ctx, size_t index, bp_env *out, bp_error *e) {
    (void)ctx, (void)index;
    out->self = calloc(1, sizeof(tower));
    if (!out->self) return BP_ERR_MEMORY;
    out->reset = tower_reset, out->step = tower_step, out->save = NULL, out->load = NULL, out->close = tower_close;
    bp_spec_begin(&out->spec, "tower");
    must(bp_spec_add_field(&out->spec, "last", BELLS, e));
    must(bp_spec_add_field(&out->spec, "next", BELLS, e));
    return bp_spec_actions_discrete(&out->spec, BELLS, e);
}
/* [make] */

/* [learn] */
/* ---- training ----------------------------------------------------------------------------------------------------- */

static bp_run *learn(size_t lstm) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    bp_run *run;
    c.envs.make = make_tower;
    c.env_steps = 16000, c.evaluate_every = 0;
    c.replay_capacity = 400; /* only recent sequences: the memories stored with them were left by a recent prior */
    c.min_sequences = 32, c.samples_per_insert = 16;
    l->batch = 8, l->length = 20, l->discount = 0.5; /* an action matters for the moment only */
    l->policy.hidden_layers = l->prior.hidden_layers = l->critic_layers = 1;
    l->policy.width[0] = l->prior.width[0] = l->critic_width[0] = 16;
    l->policy_adam.lr = l->critic_adam.lr = l->prior_adam.lr = 5e-3;
    l->entropy_cost = bp_schedule_constant(0.01), l->tau = 0.02;
    l->kernel = BP_KERNEL_REFERENCE; /* the same digits on every machine; BP_KERNEL_AUTO is faster */
    /* [learn] */
    /* [memory] */
    l->prior_kind = BP_PRIOR_LEARNED;
    l->alpha = bp_schedule_constant(0.01);
    l->prior.n_fields = 1;
    l->prior.fields[0] = "last"; /* x^D: not "next" */
    l->prior.lstm = lstm;        /* units of memory; 0: none */
    /* [memory] */
    /* [train] */
    must(bp_run_create(&run, &c, NULL, &error));
    must(bp_run_train(run, &error));
    return run;
}
/* [train] */

/* [measure] */
/* Show the prior episodes that follow the law. said [before][last][next]: its mean probability of each bell. Returns -log of
 * the probability it gave to what came, in nats, from the third bell of an episode on. */
static double measure(double said[BELLS][BELLS][BELLS], const bp_run *run) {
    bp_behavior prior;
    bp_env env;
    tower *t;
    bp_compute compute;
    bp_real x[2 * BELLS], action, dist[BELLS], logp[BELLS], *state, *work;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    double nats = 0, seen[BELLS][BELLS] = {{0}};
    size_t n = 0;
    must(bp_compute_init(&compute, BP_KERNEL_REFERENCE, memory, &error));
    must(make_tower(NULL, 0, &env, &error));
    must(bp_rs0_behavior(&prior, run->learner, BP_PLAY_PRIOR, x, &error));
    t = (tower *)env.self;
    work = (bp_real *)malloc(bp_behavior_work_reals(&prior) * sizeof *work);
    state = (bp_real *)malloc((bp_behavior_state_size(&prior) + 1) * sizeof *state); /* + 1: without memory it is nothing */
    /* [measure] */
    /* [state] */
    for (uint64_t episode = 0; episode < 200; episode++) {
        bp_step step = {0, 1, false};
        must(env.reset(env.self, 1000 + episode, x));
        for (size_t k = 0; k < bp_behavior_state_size(&prior); k++) state[k] = 0; /* an episode begins: nothing is remembered */
        while (!step.last) {
            bp_behavior_act(&compute, &action, NULL, NULL, dist, state, work, NULL, x, &prior); /* updates state */
            /* [state] */
            /* [shown] */
            bp_categorical_log_softmax(logp, dist, BELLS);
            if (t->before != NOBODY) {
                nats -= (double)logp[t->next], n++;
                seen[t->before][t->last] += 1;
                for (int k = 0; k < BELLS; k++) said[t->before][t->last][k] += (double)bp_exp(logp[k]);
            }
            action = BP_R(t->next); /* what happens is the law, not what the prior would do */
            must(env.step(env.self, &action, x, &step));
        }
    }
    for (int k = 0; k < BELLS * BELLS * BELLS; k++)
        if (seen[k / 16][k / 4 % 4] > 0) said[k / 16][k / 4 % 4][k % 4] /= seen[k / 16][k / 4 % 4];
    env.close(env.self);
    bp_free(NULL, memory, bp_compute_bytes()), free(state), free(work);
    return nats / (double)n;
}
/* [shown] */

/* [main] */
int main(void) {
    static double said[2][BELLS][BELLS][BELLS];
    for (int k = 0; k < 2; k++) {
        bp_run *run = learn(k ? 16 : 0);
        bp_evaluation policy, alone;
        const double nats = measure(said[k], run);
        must(bp_run_evaluate(&policy, NULL, run, BP_PLAY_POLICY, 20, 1, false, &error));
        must(bp_run_evaluate(&alone, NULL, run, BP_PLAY_PRIOR, 50, 1, true, &error));
        printf("%s prior: %.2f nats (floor %s); rings %.0f bells by itself, the policy %.0f\n", k ? "LSTM" : "MLP ", nats,
               k ? "0.33" : "1.10", alone.mean, policy.mean);
        bp_run_destroy(run);
    }
    printf("                       MLP                       LSTM\n");
    printf("next:               blue green black   red    blue green black   red\n");
    for (int p = 0; p < BELLS; p++) {
        if (p == 1) continue;
        printf("after %5s, green", colour[p]);
        for (int k = 0; k < 2; k++, printf(k == 1 ? "  " : "\n"))
            for (int n = 0; n < BELLS; n++) printf("%6.1f", said[k][p][1][n]);
    }
    return 0;
}
/* [main] */
