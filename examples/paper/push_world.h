/* push_world.h - a small world of going and pushing: many goals, and a choice of things that a prior may see.
 *
 *     push_config config = push_config_default();
 *     bp_env_maker maker = { push_make, &config };     for bp_run_config.envs
 *
 * THE WORLD. A round body moves in a square room, pushed by a force. There is one puck, and there are K targets lying on the
 *   floor; they are somewhere else in each episode. A *goal* says for each target whether the body has to be there, and
 *   whether the puck has to be there:
 *
 *       wish[k]     = 1: the body at target k                      wish[K + k] = 1: the puck at target k
 *
 *   The step that ends with all wishes of the goal fulfilled pays 1, and then a new goal is drawn among those that are not yet
 *   fulfilled. Nothing else pays anything. With probability `fickle` per step the goal changes without having been achieved: who
 *   cannot push yet does not wait for ever. Episodes never terminate; after `steps` steps we stop looking (discount 1).
 *
 * WHAT IS SEEN. Four fields, everything relative to the body except its own place in the room:
 *
 *       "body"     4    place x y, velocity x y
 *       "puck"     2    from the body to the puck
 *       "targets"  2K   from the body to each target
 *       "goal"     2K   wish
 *
 *   Whoever sees the body alone can know how it moves and where the walls are; with the puck, how to get to it and to push
 *   it; with the targets, where one may have to go; with both, everything but what it is for.
 *
 * PHYSICS. Units: half the side of the room, steps. Per axis v' = DRAG v + THRUST u with |u| <= 1, x' = x + v'. The room ends at
 *   +-1. The puck is moved *quasi-statically*: when body and puck overlap, it goes on in the direction of the body's step until
 *   they touch (a rough rim: it does not slide off), and stays where it is left. It cannot leave the table, |x|, |y| <= TABLE;
 *   there it stops, and so does the body. TABLE + REACH < 1, so the body can get behind the puck everywhere: no position is
 *   lost. After all that the velocity is what was really travelled. A step is shorter than REACH, so nothing jumps over the puck.
 *
 * AT THE START the targets lie apart from each other, the puck within `near` of the rim of one of them (some pushes are short: noise
 *   finds a few), the body anywhere on the table where it does not touch the puck, at rest.
 *
 * Not part of the library. Include bprior.h first.
 */
#ifndef BPRIOR_EXAMPLES_PUSH_WORLD_H
#define BPRIOR_EXAMPLES_PUSH_WORLD_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define PUSH_FN static __attribute__((unused))
#else
#define PUSH_FN static
#endif

#define PUSH_MOST 4      /* most targets */
#define PUSH_DRAG 0.6    /* what is left of the velocity after a step */
#define PUSH_THRUST 0.15 /* so the top speed is 0.15 / (1 - 0.6) = 0.375 per step */
#define PUSH_REACH 0.4   /* radius of the body + radius of the puck */
#define PUSH_TABLE 0.55  /* the puck stays within */
#define PUSH_SPREAD 0.5  /* targets are drawn within */

/* Which goals there are. */
typedef enum push_goals {
    PUSH_EITHER = 0, /* the body at a target, or the puck at a target: 2K goals */
    PUSH_BOTH        /* the puck at one target and the body at another: K (K-1) goals */
} push_goals;

typedef struct push_config {
    size_t targets;     /* K, 1 .. PUSH_MOST */
    size_t steps;       /* time limit of an episode */
    double fickle;      /* probability that the goal changes in a step without having been achieved */
    double radius;      /* the body is at a target when its middle is at most so far away, */
    double puck_radius; /* and the puck, which is larger, when its middle is */
    double near;        /* at the start the puck is at most so far from the rim of some target */
    push_goals goals;   /* see there */
} push_config;

/* The tasks from which the priors are learned. */
PUSH_FN push_config push_config_default(void) {
    push_config c;
    c.targets = 2;
    c.steps = 50;
    c.fickle = 0.05;
    c.radius = 0.35;
    c.puck_radius = 0.4;
    c.near = 0.2;
    c.goals = PUSH_EITHER;
    return c;
}

/* All that changes: plain data, so that saving is copying. */
typedef struct push_state {
    double x[2], v[2], puck[2], target[PUSH_MOST][2];
    unsigned char wish[2 * PUSH_MOST];
    bp_rng rng;    /* draws the goals */
    uint64_t step; /* == steps: no episode is running */
} push_state;

typedef struct push_world {
    push_config config;
    push_state state;
} push_world;

PUSH_FN double push_distance(const double *a, const double *b) { return hypot(a[0] - b[0], a[1] - b[1]); }

PUSH_FN double push_clip(double x, double most) { return x > most ? most : x < -most ? -most
                                                                                     : x; }

PUSH_FN void push_place(double *x, bp_rng *rng, double most) {
    x[0] = bp_rng_uniform_in(rng, -most, most);
    x[1] = bp_rng_uniform_in(rng, -most, most);
}

/* Are all wishes fulfilled? */
PUSH_FN bool push_fulfilled(const push_world *w) {
    const push_state *s = &w->state;
    const size_t K = w->config.targets;
    size_t k;
    for (k = 0; k < K; k++) {
        if (s->wish[k] && push_distance(s->x, s->target[k]) > w->config.radius) return false;
        if (s->wish[K + k] && push_distance(s->puck, s->target[k]) > w->config.puck_radius) return false;
    }
    return true;
}

/* A goal that is not yet fulfilled. (With K = 1 there may be none; then any.) */
PUSH_FN void push_draw_goal(push_world *w) {
    push_state *s = &w->state;
    const size_t K = w->config.targets;
    int tries;
    for (tries = 0; tries < 1000; tries++) {
        memset(s->wish, 0, sizeof s->wish);
        if (w->config.goals == PUSH_EITHER) s->wish[bp_rng_index(&s->rng, (uint32_t)(2 * K))] = 1;
        else {
            const size_t i = (size_t)bp_rng_index(&s->rng, (uint32_t)K), j = (size_t)bp_rng_index(&s->rng, (uint32_t)(K - 1));
            s->wish[K + i] = 1;             /* the puck at i ... */
            s->wish[j < i ? j : j + 1] = 1; /* ... and the body at another */
        }
        if (!push_fulfilled(w)) return;
    }
}

PUSH_FN void push_look(const push_world *w, bp_real *observation) {
    const push_state *s = &w->state;
    const size_t K = w->config.targets;
    size_t d, k;
    for (d = 0; d < 2; d++) {
        observation[d] = (bp_real)s->x[d];
        observation[2 + d] = (bp_real)(s->v[d] / (PUSH_THRUST / (1 - PUSH_DRAG))); /* 1 is the top speed */
        observation[4 + d] = (bp_real)(s->puck[d] - s->x[d]);
        for (k = 0; k < K; k++) observation[6 + 2 * k + d] = (bp_real)(s->target[k][d] - s->x[d]);
    }
    for (k = 0; k < 2 * K; k++) observation[6 + 2 * K + k] = (bp_real)s->wish[k];
}

PUSH_FN bp_status push_reset(void *self, uint64_t seed, bp_real *observation) {
    push_world *w = (push_world *)self;
    push_state *s = &w->state;
    double angle, distance;
    const double apart = 2.25 * w->config.radius;
    size_t k, j;
    int tries;
    memset(s, 0, sizeof *s); /* also the bytes between the fields: equal states are equal bytes */
    s->rng = bp_rng_make(seed, 0);
    for (k = 0; k < w->config.targets; k++) /* targets apart from each other; when that is hard, at some point anywhere */
        for (tries = 0; tries < 1000; tries++) {
            push_place(s->target[k], &s->rng, PUSH_SPREAD);
            for (j = 0; j < k && push_distance(s->target[k], s->target[j]) >= apart; j++) continue;
            if (j == k) break;
        }
    k = (size_t)bp_rng_index(&s->rng, (uint32_t)w->config.targets);
    angle = bp_rng_uniform_in(&s->rng, 0.0, 6.283185307179586);
    distance = w->config.puck_radius + bp_rng_uniform_in(&s->rng, 0.0, w->config.near);
    s->puck[0] = push_clip(s->target[k][0] + distance * cos(angle), PUSH_TABLE);
    s->puck[1] = push_clip(s->target[k][1] + distance * sin(angle), PUSH_TABLE);
    do push_place(s->x, &s->rng, PUSH_TABLE);
    while (push_distance(s->x, s->puck) < PUSH_REACH);
    push_draw_goal(w);
    push_look(w, observation);
    return BP_OK;
}

/* How far along direction u [2] the middles must be moved apart until body and puck just touch; 0 if they do not overlap. */
PUSH_FN double push_overlap(const double *from, const double *to, const double *u) {
    const double dx = to[0] - from[0], dy = to[1] - from[1], along = dx * u[0] + dy * u[1];
    const double c = dx * dx + dy * dy - PUSH_REACH * PUSH_REACH; /* |d + t u|^2 = REACH^2  =>  t^2 + 2 along t + c = 0 */
    return c < 0 ? -along + sqrt(along * along - c) : 0.0;
}

/* Body and puck overlap after the body has moved by `moved`: onward with the puck, in the same direction, and where it cannot
 * go, back with the body, straight away from it. */
PUSH_FN void push_contact(push_state *s, const double *moved) {
    const double length = hypot(moved[0], moved[1]);
    double u[2] = {1, 0}, distance, t;
    int d;
    for (d = 0; d < 2 && length > 1e-9; d++) u[d] = moved[d] / length;
    t = push_overlap(s->x, s->puck, u);
    for (d = 0; d < 2; d++) s->puck[d] = push_clip(s->puck[d] + t * u[d], PUSH_TABLE);
    distance = push_distance(s->puck, s->x);
    if (distance >= PUSH_REACH - 1e-9 || distance < 1e-9) return;
    for (d = 0; d < 2; d++) u[d] = (s->puck[d] - s->x[d]) / distance;
    for (d = 0; d < 2; d++) s->x[d] = push_clip(s->puck[d] - PUSH_REACH * u[d], 1.0);
}

PUSH_FN bp_status push_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    push_world *w = (push_world *)self;
    push_state *s = &w->state;
    double before[2], moved[2];
    bool achieved;
    int d;
    if (s->step >= w->config.steps || !isfinite((double)action[0]) || !isfinite((double)action[1])) return BP_ERR_ENV;
    for (d = 0; d < 2; d++) {
        before[d] = s->x[d];
        s->x[d] = push_clip(s->x[d] + PUSH_DRAG * s->v[d] + PUSH_THRUST * push_clip((double)action[d], 1.0), 1.0);
        moved[d] = s->x[d] - before[d];
    }
    push_contact(s, moved);
    for (d = 0; d < 2; d++) s->v[d] = s->x[d] - before[d];
    achieved = push_fulfilled(w);
    if (achieved || bp_rng_uniform(&s->rng) < w->config.fickle) push_draw_goal(w);
    s->step++;
    out->reward = BP_R(achieved ? 1 : 0);
    out->discount = BP_R(1);
    out->last = s->step >= w->config.steps;
    push_look(w, observation);
    return BP_OK;
}

PUSH_FN size_t push_save(void *self, void *buffer, size_t capacity) {
    const push_world *w = (const push_world *)self;
    if (buffer && capacity < sizeof w->state) return 0;
    if (buffer) memcpy(buffer, &w->state, sizeof w->state);
    return sizeof w->state;
}

PUSH_FN bp_status push_load(void *self, const void *buffer, size_t bytes) {
    push_world *w = (push_world *)self;
    push_state s;
    if (bytes != sizeof s) return BP_ERR_FORMAT;
    memcpy(&s, buffer, sizeof s);
    if (s.step > w->config.steps || !(fabs(s.x[0]) <= 1 && fabs(s.x[1]) <= 1)) return BP_ERR_FORMAT;
    w->state = s;
    return BP_OK;
}

PUSH_FN void push_close(void *self) { free(self); }

/* A bp_env_maker's function; ctx is a push_config, which must outlive the environments. */
PUSH_FN bp_status push_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    const push_config *config = (const push_config *)ctx;
    const size_t K = config->targets;
    push_world *w = (push_world *)calloc(1, sizeof *w);
    bp_status status;
    (void)index;
    if (w == NULL || K < 1 || K > PUSH_MOST || (config->goals == PUSH_BOTH && K < 2)) {
        free(w);
        return w ? BP_ERR_ARGUMENT : BP_ERR_MEMORY;
    }
    w->config = *config;
    w->state.step = config->steps; /* reset() comes first */
    memset(out, 0, sizeof *out);
    out->self = w;
    out->reset = push_reset;
    out->step = push_step;
    out->save = push_save;
    out->load = push_load;
    out->close = push_close;
    bp_spec_begin(&out->spec, "push");
    status = bp_spec_add_field(&out->spec, "body", 4, error);
    if (status == BP_OK) status = bp_spec_add_field(&out->spec, "puck", 2, error);
    if (status == BP_OK) status = bp_spec_add_field(&out->spec, "targets", 2 * K, error);
    if (status == BP_OK) status = bp_spec_add_field(&out->spec, "goal", 2 * K, error);
    if (status == BP_OK) status = bp_spec_actions_continuous(&out->spec, 2, -1, 1, error);
    if (status != BP_OK) bp_env_close(out);
    return status;
}

/* ---- a player by hand, as a yardstick ------------------------------------------------------------------------ */

/* Full thrust towards a point that is (dx, dy) away, less when near; the velocity is taken into account. */
PUSH_FN void push_steer(bp_real *action, const bp_real *observation, double dx, double dy) {
    const double wish[2] = {dx, dy};
    int d;
    for (d = 0; d < 2; d++) {
        const double v = (double)observation[2 + d] * PUSH_THRUST / (1 - PUSH_DRAG);
        action[d] = (bp_real)push_clip((wish[d] - PUSH_DRAG * v) / PUSH_THRUST, 1.0);
    }
}

/* What a sensible person would do, from the observation alone: the puck's wish first. To push it, go to the point behind it
 * (as seen from its target), around it if it is in the way, and then straight on. */
PUSH_FN void push_by_hand(bp_real *action, const bp_real *observation, const push_config *config) {
    const size_t K = config->targets;
    const bp_real *puck = observation + 4, *targets = observation + 6, *wish = targets + 2 * K;
    size_t k, go = K, bring = K;
    for (k = 0; k < K; k++) {
        if (wish[k] > 0) go = k;
        if (wish[K + k] > 0) bring = k;
    }
    if (bring < K) {
        double to[2], distance, behind[2], side, along;
        int d;
        for (d = 0; d < 2; d++) to[d] = (double)targets[2 * bring + (size_t)d] - (double)puck[d];
        distance = hypot(to[0], to[1]);
        if (distance > 0.9 * config->puck_radius) {
            for (d = 0; d < 2; d++) to[d] /= distance;
            along = -(to[0] * (double)puck[0] + to[1] * (double)puck[1]); /* < 0: we are behind the puck */
            side = to[0] * (double)puck[1] - to[1] * (double)puck[0];     /* how far off the line of pushing */
            for (d = 0; d < 2; d++) behind[d] = (double)puck[d] - 1.1 * PUSH_REACH * to[d];
            if (along < 0 && fabs(side) < 0.8 * PUSH_REACH) /* behind it: go straight on */
                push_steer(action, observation, to[0], to[1]);
            else if (along > -0.7 * PUSH_REACH) { /* on the wrong side: around it */
                const double turn = side > 0 ? -1 : 1;
                push_steer(action, observation, behind[0] - 1.4 * PUSH_REACH * turn * to[1],
                           behind[1] + 1.4 * PUSH_REACH * turn * to[0]);
            } else push_steer(action, observation, behind[0], behind[1]);
            return;
        }
    }
    if (go < K) push_steer(action, observation, (double)targets[2 * go], (double)targets[2 * go + 1]);
    else push_steer(action, observation, 0, 0);
}

#endif
