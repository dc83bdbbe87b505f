/* push_study.h - what the three experiments in the world of push_world.h share: who sees what, settings, a judge.
 *
 * Include bprior.h, cli.h, paper.h, study.h and push_world.h first.
 */
#ifndef BPRIOR_EXAMPLES_PUSH_STUDY_H
#define BPRIOR_EXAMPLES_PUSH_STUDY_H

#define PUSH_KINDS 7
#define PUSH_FIRST_LEARNED 2 /* the kinds from here on have a prior that learns */

/* What the policy is pulled toward. The policy itself always sees all four fields. */
typedef struct push_kind {
    const char *name, *title;
    bp_prior_kind prior;
    size_t n_fields; /* x^D, what the prior sees (E14) */
    const char *fields[4];
} push_kind;

static const push_kind push_kinds[PUSH_KINDS] = {
    {"none", "no prior", BP_PRIOR_NONE, 0, {NULL}},
    {"isotropic", "isotropic", BP_PRIOR_ISOTROPIC, 0, {NULL}},
    {"body", "body", BP_PRIOR_LEARNED, 1, {"body"}},
    {"body_puck", "body + puck", BP_PRIOR_LEARNED, 2, {"body", "puck"}},
    {"body_targets", "body + targets", BP_PRIOR_LEARNED, 2, {"body", "targets"}},
    {"no_goal", "all but the goal", BP_PRIOR_LEARNED, 3, {"body", "puck", "targets"}},
    {"everything", "everything", BP_PRIOR_LEARNED, 4, {"body", "puck", "targets", "goal"}},
};

/* For gnuplot: line types 1.. and titles in the order of push_kinds. */
#define PUSH_COLOURS                                                                                        \
    "titles = \"'no prior' isotropic body 'body + puck' 'body + targets' 'all but the goal' everything\"\n" \
    "array colour[7] = ['#777777', '#222222', '#e69f00', '#cc3311', '#33aa55', '#0060ad', '#aa44aa']\n"     \
    "do for [k=1:7] { set linetype k lc rgb colour[k] }\n"

/* How the world, the settings below and each experiment's alpha were chosen. */
#define PUSH_TUNED "the world and its settings by single runs with seeds 101 to 103, which are reported nowhere"

#define PUSH_ALPHA 0.03   /* reward per nat */
#define PUSH_STEPS 24000  /* environment steps of a run on the four tasks, where an experiment needs many */
#define PUSH_EPISODES 100 /* that judge a finished run */

/* Settings of every run: those of demo.c, with a shorter horizon and half as many learner steps that are twice as large. */
PAPER_FN bp_run_config push_settings(const cli_options *o, push_config *world, const push_kind *kind, double alpha,
                                     uint64_t steps, uint64_t seed) {
    bp_run_config c = bp_run_config_default();
    size_t i;
    c.envs.make = push_make;
    c.envs.ctx = world;
    c.env_steps = steps;
    c.actors = 4;
    c.replay_capacity = 10000;
    c.min_sequences = 100;
    c.samples_per_insert = 32;
    c.evaluate_every = c.log_every = steps >= 20000 ? 1000 : steps / 20 + 1;
    c.evaluation_episodes = 20;
    c.evaluation_stochastic = true; /* the return of the policy that E14 is about, noise included */
    c.checkpoint_every = 5000;
    c.learner.batch = 32;
    c.learner.length = 10;
    c.learner.samples = 4;
    c.learner.discount = 0.9;
    c.learner.target_period = 25;
    c.learner.policy_adam.lr = c.learner.prior_adam.lr = c.learner.critic_adam.lr = 2e-3;
    c.learner.entropy_cost = bp_schedule_constant(0.0);
    c.learner.alpha = bp_schedule_constant(alpha);
    c.learner.prior_kind = kind->prior;
    if (kind->prior == BP_PRIOR_LEARNED) {
        c.learner.prior.n_fields = kind->n_fields;
        for (i = 0; i < kind->n_fields; i++) c.learner.prior.fields[i] = kind->fields[i];
    }
    cli_attach(o, &c);
    c.status = NULL; /* several runs at a time: study.h tells how far they are */
    c.threads = 1;
    c.overwrite = true; /* what is there from an earlier experiment without --resume */
    c.seed = c.learner.seed = seed;
    return c;
}

/* Write the settings that are not the command line's, for settings.txt. */
PAPER_FN void push_write_settings(FILE *f, const char *prefix, const push_config *w, const bp_run_config *c) {
    fprintf(f, "%sworld.targets = %lu\n%sworld.steps = %lu\n%sworld.fickle = %g\n%sworld.radius = %g\n", prefix,
            (unsigned long)w->targets, prefix, (unsigned long)w->steps, prefix, w->fickle, prefix, w->radius);
    fprintf(f, "%sworld.puck_radius = %g\n%sworld.near = %g\n%sworld.goals = %s\n", prefix, w->puck_radius, prefix, w->near, prefix,
            w->goals == PUSH_EITHER ? "the body at a target or the puck at a target" : "the puck at a target and the body at another");
    fprintf(f, "%senv_steps = %llu\n%sactors = %lu\n%sreplay_capacity = %lu\n%smin_sequences = %lu\n%ssamples_per_insert = %g\n", prefix,
            (unsigned long long)c->env_steps, prefix, (unsigned long)c->actors, prefix, (unsigned long)c->replay_capacity, prefix,
            (unsigned long)c->min_sequences, prefix, c->samples_per_insert);
    fprintf(f, "%sevaluation = %lu episodes of the sampled policy every %llu steps\n", prefix, (unsigned long)c->evaluation_episodes,
            (unsigned long long)c->evaluate_every);
    fprintf(f, "%sbatch = %lu\n%slength = %lu\n%ssamples = %lu\n%sdiscount = %g\n%starget_period = %lu\n%slr = %g\n%sentropy_cost = %g\n",
            prefix, (unsigned long)c->learner.batch, prefix, (unsigned long)c->learner.length, prefix,
            (unsigned long)c->learner.samples, prefix, c->learner.discount, prefix, (unsigned long)c->learner.target_period, prefix,
            c->learner.policy_adam.lr, prefix, c->learner.entropy_cost.start);
    fprintf(f, "%snetworks = 2 layers of %lu (policy, prior, critic)\n", prefix, (unsigned long)c->learner.policy.width[0]);
}

/* What a finished run can do. */
typedef struct push_judgement {
    double sampled, mode; /* return per episode of the policy as it acts, and of its most probable actions */
    double pushed;        /* how much of `sampled` is for goals about the puck */
    double alone;         /* return of its prior alone, sampled; NaN without a prior */
    double nats;          /* E KL[pi || pi0] per step, along the sampled policy's own way: E16's bound; NaN without a prior */
} push_judgement;

enum { PUSH_PLAY_SAMPLED,
       PUSH_PLAY_MODE };

/* Mean return of `episodes` episodes, and the part of it that was for the puck (pushed, or NULL); with other, nats becomes the
 * mean KL from agent to it along the way (other NULL and isotropic: to N(0, 1)). */
PAPER_FN double push_play(bp_env *env, bp_agent *agent, bp_agent *other, bool isotropic, int how, int episodes, double *nats,
                          double *pushed) {
    bp_real observation[6 + 4 * PUSH_MOST], action[2], unused[2], kl, dist0[4];
    bp_rng rng = bp_rng_make(2024, (uint64_t)how);
    bp_step step;
    bool about_puck;
    const size_t wish = bp_spec_find(&env->spec, "goal")->offset, K = bp_spec_find(&env->spec, "goal")->size / 2;
    double sum = 0.0, steps = 0.0, total = 0.0, puck = 0.0;
    size_t k;
    int episode;
    for (episode = 0; episode < episodes; episode++) {
        if (env->reset(env->self, bp_seed_mix(777, 0, (uint64_t)episode), observation) != BP_OK) return -1.0;
        do {
            if (how == PUSH_PLAY_MODE) (void)bp_agent_act(agent, action, observation);
            else (void)bp_agent_sample(agent, action, NULL, observation, &rng);
            if (nats && (other || isotropic)) {
                dist0[0] = dist0[1] = BP_R(0); /* [2][1][A]: the means, then the standard deviations */
                dist0[2] = dist0[3] = BP_R(1);
                if (other && bp_agent_act(other, unused, observation) == BP_OK) memcpy(dist0, other->dist, sizeof dist0);
                bp_policy_kl(&kl, agent->dist, dist0, &agent->policy, 1);
                total += (double)kl;
            }
            for (k = 0, about_puck = false; k < K; k++) about_puck = about_puck || observation[wish + K + k] > 0;
            if (env->step(env->self, action, observation, &step) != BP_OK) return -1.0;
            if (about_puck) puck += (double)step.reward;
            sum += (double)step.reward;
            steps += 1.0;
        } while (!step.last);
    }
    if (nats) *nats = other || isotropic ? total / steps : (double)NAN;
    if (pushed) *pushed = puck / episodes;
    return sum / episodes;
}

/* Judge the run in OUT/name. prior: the file of a frozen prior, or "": the run's own. */
PAPER_FN bool push_judge(push_judgement *out, const char *dir, const char *name, const push_kind *kind, const char *prior,
                         push_config *world, int episodes, bp_error *error) {
    char path[1024];
    bp_agent *agent = NULL, *other = NULL;
    bp_env env;
    bool ok;
    memset(&env, 0, sizeof env);
    snprintf(path, sizeof path, "%s/%s/policy.safetensors", dir, name);
    ok = bp_agent_load(&agent, path, NULL, error) == BP_OK && push_make(world, 0, &env, error) == BP_OK;
    snprintf(path, sizeof path, "%s/%s/prior.safetensors", dir, name);
    if (ok && kind->prior == BP_PRIOR_LEARNED) ok = bp_agent_load(&other, *prior ? prior : path, NULL, error) == BP_OK;
    if (ok) {
        out->sampled = push_play(&env, agent, other, kind->prior == BP_PRIOR_ISOTROPIC, PUSH_PLAY_SAMPLED, episodes, &out->nats,
                                 &out->pushed);
        out->mode = push_play(&env, agent, NULL, false, PUSH_PLAY_MODE, episodes, NULL, NULL);
        out->alone = other ? push_play(&env, other, NULL, false, PUSH_PLAY_SAMPLED, episodes, NULL, NULL) : (double)NAN;
    }
    bp_agent_destroy(agent);
    bp_agent_destroy(other);
    bp_env_close(&env);
    return ok;
}

/* Return per episode of the player by hand (or of noise, standard deviation 0.7: an untrained policy), and a check of the world. */
PAPER_FN bool push_yardstick(double *hand, double *noise, push_config *world, int episodes, bp_error *error) {
    bp_real observation[6 + 4 * PUSH_MOST], action[2];
    bp_rng rng = bp_rng_make(5, 0);
    bp_env env;
    bp_step step;
    int who, episode, d;
    if (push_make(world, 0, &env, error) != BP_OK || bp_env_check(&env, 1, 1000, error) != BP_OK) return false;
    *hand = *noise = 0.0;
    for (who = 0; who < 2; who++)
        for (episode = 0; episode < episodes; episode++) {
            env.reset(env.self, bp_seed_mix(777, 0, (uint64_t)episode), observation);
            do {
                bp_rng_normals(action, &rng, 2);
                for (d = 0; d < 2; d++) action[d] *= BP_R(0.7);
                if (who == 0) push_by_hand(action, observation, world);
                if (env.step(env.self, action, observation, &step) != BP_OK) break;
                *(who ? noise : hand) += (double)step.reward / episodes;
            } while (!step.last);
        }
    bp_env_close(&env);
    return true;
}

/* ---- the plot of information.c and of transfer.c: curves on the left, kinds on the right ---------------------------- */

PAPER_FN void push_plot_head(FILE *f, const char *name) {
    fprintf(f,
            "set datafile separator ','\nset terminal pngcairo size 1300,520 font 'sans,11'\nset output '%s.png'\n" PUSH_COLOURS
            "set multiplot layout 1,2\nset grid\nset yrange [0:*]\n",
            name);
}

/* curves.csv: steps, then mean and standard deviation per kind. */
PAPER_FN void push_plot_curves(FILE *f, const char *title) {
    fprintf(f,
            "set key top left reverse Left samplen 2\nset xlabel 'environment steps'\nset ylabel 'return per episode'\nset title '%s'\n"
            "plot for [k=1:%d] 'curves.csv' every ::1 using 1:(column(2*k)-column(2*k+1)):(column(2*k)+column(2*k+1)) with filledcurves "
            "fs transparent solid 0.07 noborder lc k notitle, for [k=1:%d] '' every ::1 using 1:2*k with lines lw 2 lc k title "
            "word(titles, k)\n",
            title, PUSH_KINDS, PUSH_KINDS);
}

/* A bar per kind, column `bar` of table.csv, and a dot per run, column `dot` of runs.csv, whose column 2 is the kind's number.
 * run: gnuplot's expression for the number of the run among the n of its kind. */
PAPER_FN void push_plot_kinds(FILE *f, const char *title, const char *label, int bar, int dot, const char *run, size_t n) {
    int k;
    fprintf(f, "set title '%s'\nunset key\nunset xlabel\nset ylabel '%s'\nset xrange [-0.6:%d.6]\nset xtics rotate by -25 (", title,
            label, PUSH_KINDS - 1);
    for (k = 0; k < PUSH_KINDS; k++) fprintf(f, "%s'%s' %d", k ? ", " : "", push_kinds[k].title, k);
    fprintf(f,
            ")\nplot 'table.csv' every ::1 using 0:%d:(0.7):($0+1) with boxes fs solid 0.3 lc variable, "
            "'runs.csv' every ::1 using ($2+0.5*((%s)+0.5)/%lu-0.25):%d:($2+1) with points pt 7 ps 0.8 lc variable\nunset multiplot\n",
            bar, run, (unsigned long)n, dot);
}

/* "a ± b" of x [n], or "-" when it is not a number. */
PAPER_FN const char *push_pm(char text[40], const double *x, size_t n) {
    if (paper_mean(x, n) == paper_mean(x, n)) snprintf(text, 40, "%.2f \xc2\xb1 %.2f", paper_mean(x, n), paper_spread(x, n));
    else snprintf(text, 40, "    -      ");
    return text;
}

#endif
