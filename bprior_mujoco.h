/* bprior_mujoco.h - v0.1.0 - behavior priors: simulated bodies and tasks on MuJoCo. MIT licence.
 *
 * WHAT. The control tasks of the behavior-prior experiments as bp_env environments (bprior.h, chapter 9):
 *   - a point mass that must reach coloured targets in a sequence it is told one target at a time, and
 *   - the ant's go_to_k_targets task, number for number the one its authors released.
 * Nothing but MuJoCo's C library is needed: no Python, no model files. Debian's 2.2.2 and 3.x both work.
 *
 * DO THIS, in one file:
 *     #define BPRIOR_IMPLEMENTATION
 *     #include "bprior.h"
 *     #define BPRIOR_MUJOCO_IMPLEMENTATION
 *     #include "bprior_mujoco.h"
 * and in all others just include. Link with -lmujoco (Debian), or with -l:libmujoco.so.3.x.y and
 * -Wl,-rpath,DIR when MuJoCo was unpacked from the `mujoco` wheel, which has no unversioned name. This header
 * is C99 and C++11; the headers of recent MuJoCo 3.x themselves, when included from C++, need C++17.
 *
 * FIRST PROGRAM
 *     bp_mj_pointmass_config config = bp_mj_pointmass_config_default();
 *     bp_mj_world *world;
 *     bp_env env;
 *     bp_error error;
 *     if (bp_mj_pointmass_world(&world, &config, NULL, &error)) { puts(error.text); return 1; }
 *     if (bp_mj_env_make(world, &env, &error)) { puts(error.text); return 1; }
 *     env.reset(env.self, 1, observation);
 *     env.step(env.self, action, observation, &result);       // as any other environment
 *     bp_env_close(&env);                                     // environments first,
 *     bp_mj_world_destroy(world);                             // then their world
 *
 * CONTENTS (search for >>name)
 *   M1 >>mj-library     errors and versions        M4 >>mj-worlds      worlds, environments, arenas
 *   M2 >>mj-tables      models from tables         M5 >>mj-pointmass   sequential navigation
 *   M3 >>mj-bodies      point mass, ant            M6 >>mj-ant         go_to_k_targets
 *                                                  M9 >>mj-pictures    pictures and films
 *
 * THREADS. The compiled model is shared by all environments of a world and never written after it was
 * made, so any number of threads may each step their own environments. One environment belongs to one
 * thread at a time.
 *
 * MEMORY. Everything of ours goes through the bp_allocator given to the world, and only while worlds and
 * environments are made. MuJoCo's own structures (mjModel, mjData) come from its mju_malloc.
 *
 * CREDITS. The ant, its task and the arena follow DeepMind's box_arrangement and dm_control (Apache-2.0; the ant's
 * model file: MIT, 2020, Philipp Moritz and the dm_control authors). No code was taken, only numbers.
 */
#ifndef BPRIOR_MUJOCO_H
#define BPRIOR_MUJOCO_H

#include "bprior.h"
#include <mujoco/mujoco.h>

#ifdef BPRIOR_PREFIX
/* [prefix list: tools/prefix.sh] */
#define bp_mj_init BPI_PREFIXED(bp_mj_init)
#define bp_mj_load_xml BPI_PREFIXED(bp_mj_load_xml)
#define bp_mj_table_begin BPI_PREFIXED(bp_mj_table_begin)
#define bp_mj_table_body BPI_PREFIXED(bp_mj_table_body)
#define bp_mj_table_joint BPI_PREFIXED(bp_mj_table_joint)
#define bp_mj_table_geom BPI_PREFIXED(bp_mj_table_geom)
#define bp_mj_table_motor BPI_PREFIXED(bp_mj_table_motor)
#define bp_mj_table_xml BPI_PREFIXED(bp_mj_table_xml)
#define bp_mj_table_load BPI_PREFIXED(bp_mj_table_load)
#define bp_mj_table_add_pointmass BPI_PREFIXED(bp_mj_table_add_pointmass)
#define bp_mj_table_add_ant BPI_PREFIXED(bp_mj_table_add_ant)
#define bp_mj_env_make BPI_PREFIXED(bp_mj_env_make)
#define bp_mj_maker BPI_PREFIXED(bp_mj_maker)
#define bp_mj_world_destroy BPI_PREFIXED(bp_mj_world_destroy)
#define bp_mj_world_model BPI_PREFIXED(bp_mj_world_model)
#define bp_mj_world_spec BPI_PREFIXED(bp_mj_world_spec)
#define bp_mj_env_is BPI_PREFIXED(bp_mj_env_is)
#define bp_mj_env_data BPI_PREFIXED(bp_mj_env_data)
#define bp_mj_env_info BPI_PREFIXED(bp_mj_env_info)
#define bp_mj_env_targets BPI_PREFIXED(bp_mj_env_targets)
#define bp_mj_env_set_state BPI_PREFIXED(bp_mj_env_set_state)
#define bp_mj_table_add_room BPI_PREFIXED(bp_mj_table_add_room)
#define bp_mj_pointmass_config_make BPI_PREFIXED(bp_mj_pointmass_config_make)
#define bp_mj_pointmass_task_default BPI_PREFIXED(bp_mj_pointmass_task_default)
#define bp_mj_pointmass_multitask BPI_PREFIXED(bp_mj_pointmass_multitask)
#define bp_mj_pointmass_transfer BPI_PREFIXED(bp_mj_pointmass_transfer)
#define bp_mj_sequence_law BPI_PREFIXED(bp_mj_sequence_law)
#define bp_mj_pointmass_world BPI_PREFIXED(bp_mj_pointmass_world)
#define bp_mj_ant_config_make BPI_PREFIXED(bp_mj_ant_config_make)
#define bp_mj_ant_world BPI_PREFIXED(bp_mj_ant_world)
#define bp_mj_ant_set_layout BPI_PREFIXED(bp_mj_ant_set_layout)
#define bp_mj_film_config_make BPI_PREFIXED(bp_mj_film_config_make)
#define bp_mj_camera_default BPI_PREFIXED(bp_mj_camera_default)
#define bp_mj_shot_default BPI_PREFIXED(bp_mj_shot_default)
#define bp_mj_film_create BPI_PREFIXED(bp_mj_film_create)
#define bp_mj_film_destroy BPI_PREFIXED(bp_mj_film_destroy)
#define bp_mj_film_gl BPI_PREFIXED(bp_mj_film_gl)
#define bp_mj_film_resize BPI_PREFIXED(bp_mj_film_resize)
#define bp_mj_film_render BPI_PREFIXED(bp_mj_film_render)
#define bp_mj_film_clear BPI_PREFIXED(bp_mj_film_clear)
#define bp_mj_film_line BPI_PREFIXED(bp_mj_film_line)
#define bp_mj_film_ball BPI_PREFIXED(bp_mj_film_ball)
#define bp_mj_film_trail BPI_PREFIXED(bp_mj_film_trail)
#define bp_mj_color BPI_PREFIXED(bp_mj_color)
#define bp_mj_world_walker BPI_PREFIXED(bp_mj_world_walker)
#define bp_mj_env_position BPI_PREFIXED(bp_mj_env_position)
/* [end of prefix list] */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ==========================================================================
 * M1. >>mj-library   Library and errors
 *    provides: bp_mj_init bp_mj_load_xml
 *    needs: bprior.h 1, 2        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_library M1. MuJoCo: library and errors
 *
 * MuJoCo reports trouble through two function pointers that belong to the whole process. Left alone, an
 * error prints, in old versions waits for the Enter key, and exits. This header puts its own function there: while one
 * of our calls runs, an error jumps back out of MuJoCo and becomes BP_ERR_ENV with MuJoCo's own words; a
 * warning is noted in ::bp_mj_info and printed nowhere. MuJoCo errors outside our calls (your own use of
 * the library) go to whatever handler was there before, or to MuJoCo's default treatment.
 *
 * Two private variables hold the former handlers. They are the only mutable globals, and exist because
 * MuJoCo's own handlers are global.
 * @{ */

/** Check that the library at run time is the one of the headers (BP_ERR_ABI otherwise: their structs differ in
 *  layout) and install the error handlers, once. The world functions call it; call it yourself before
 *  starting threads that make worlds, since the very first call is not thread safe. */
BPRIOR_API bp_status bp_mj_init(bp_error *error);

/** Compile a model from MJCF text in memory. @param out receives the model, to be freed with mj_deleteModel().
 *  @return BP_ERR_FORMAT with MuJoCo's complaint, BP_ERR_MEMORY, or what bp_mj_init() says. */
BPRIOR_API bp_status bp_mj_load_xml(mjModel **out, const char *xml, const bp_allocator *allocator, bp_error *error);
/** @} */

/* ==========================================================================
 * M2. >>mj-tables   Models from tables
 *    provides: bp_mj_table bp_mj_table_begin bp_mj_table_xml bp_mj_table_load
 *    needs: M1        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_tables M2. MuJoCo: models from tables
 *
 * A model is a struct of plain rows - bodies, joints, geoms, sites, motors, sensors - that refer to each
 * other by row number. Adding a body of your own means filling rows; the text MuJoCo wants is written from
 * them, with every number at full precision. Rows of bodies stand in depth-first order (a parent before
 * its children), which is then the order of joints in qpos.
 * @{ */

#define BP_MJ_MAX_BODIES 48   /**< rows of each kind */
#define BP_MJ_MAX_JOINTS 80   /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_MAX_GEOMS 96    /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_MAX_MOTORS 64   /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_MAX_SITES 16    /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_MAX_SENSORS 16  /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_MAX_EXCLUDES 16 /**< see BP_MJ_MAX_BODIES */
#define BP_MJ_WORLD_BODY (-1) /**< row number of the fixed world, as a parent or a geom's body */

/** A rigid body. */
typedef struct bp_mj_body {
    char name[BP_NAME]; /**< unique, without quotes or angle brackets */
    int parent;         /**< row of the parent body, or BP_MJ_WORLD_BODY */
    double pos[3];      /**< m, in the parent's frame */
    double quat[4];     /**< (w, x, y, z); MuJoCo brings it to unit length */
} bp_mj_body;

/** What a joint allows. */
typedef enum bp_mj_joint_kind { BP_MJ_FREE = 0,
                                BP_MJ_SLIDE,
                                BP_MJ_HINGE } bp_mj_joint_kind;

/** A joint, at the origin of its body. */
typedef struct bp_mj_joint {
    char name[BP_NAME];     /**< unique */
    int body;               /**< the body that moves */
    bp_mj_joint_kind kind;  /**< a free joint uses nothing but name and body */
    double axis[3];         /**< any length */
    bool limited;           /**< is range in force? */
    double range[2];        /**< m or rad */
    double damping;         /**< N s/m or N m s/rad */
    double stiffness;       /**< toward 0 */
    double armature;        /**< added inertia */
    double solref_limit[2]; /**< softness of the limits */
    double solimp_limit[3]; /**< softness of the limits */
} bp_mj_joint;

/** Shape of a geom. */
typedef enum bp_mj_geom_kind { BP_MJ_PLANE = 0,
                               BP_MJ_SPHERE,
                               BP_MJ_CAPSULE,
                               BP_MJ_BOX } bp_mj_geom_kind;

/** A shape with mass that collides. */
typedef struct bp_mj_geom {
    char name[BP_NAME];   /**< unique */
    int body;             /**< row, or BP_MJ_WORLD_BODY */
    bp_mj_geom_kind kind; /**< a capsule runs from pos to end */
    double size[3];       /**< plane: half x, half y, side of a check; sphere, capsule: radius; box: half lengths */
    double pos[3];        /**< centre, or a capsule's beginning */
    double end[3];        /**< a capsule's end */
    double mass;          /**< kg; negative: from density and volume */
    double density;       /**< kg/m^3 */
    double friction[3];   /**< sliding, torsional, rolling */
    int condim;           /**< 1, 3, 4 or 6 */
    double solref[2];     /**< contact softness */
    double solimp[3];     /**< contact softness */
    double rgba[4];       /**< colour and opacity in pictures; a plane has a checkered material instead */
} bp_mj_geom;

/** A torque or force motor: force = gear * control. */
typedef struct bp_mj_motor {
    char name[BP_NAME]; /**< unique */
    int joint;          /**< row of the joint it drives */
    double gear;        /**< N or N m per unit of control; controls are clamped to [-1, 1] */
} bp_mj_motor;

/** A marked point on a body. */
typedef struct bp_mj_site {
    char name[BP_NAME]; /**< unique */
    int body;           /**< row */
    double pos[3];      /**< m, in the body's frame */
} bp_mj_site;

/** What a sensor measures at its site, in the site's frame. */
typedef enum bp_mj_sensor_kind { BP_MJ_VELOCIMETER = 0,
                                 BP_MJ_GYRO,
                                 BP_MJ_ACCELEROMETER } bp_mj_sensor_kind;

/** A sensor with three readings. */
typedef struct bp_mj_sensor {
    char name[BP_NAME];     /**< unique */
    bp_mj_sensor_kind kind; /**< what */
    int site;               /**< where */
} bp_mj_sensor;

/** A whole model: options and rows. Plain data without pointers; 40 kB, so rather not on a thread's stack. */
typedef struct bp_mj_table {
    char name[BP_NAME];      /**< of the model */
    double timestep;         /**< s per physics step */
    bool elliptic;           /**< friction cones: elliptic, or MuJoCo's default pyramids */
    bool contacts;           /**< false: nothing collides */
    int noslip_iterations;   /**< 0: off */
    double noslip_tolerance; /**< of those */
    double bound_mass;       /**< least mass of a moving body: massless frames get this */
    double bound_inertia;    /**< least moment of inertia */
    int max_constraints;     /**< room reserved by MuJoCo 2.x (0: its own guess); 3.x grows by itself */
    int max_contacts;        /**< same */
    int max_stack;           /**< same, in numbers */
    size_t n_bodies;         /**< rows in use */
    size_t n_joints;         /**< see n_bodies */
    size_t n_geoms;          /**< see n_bodies */
    size_t n_motors;         /**< see n_bodies */
    size_t n_sites;          /**< see n_bodies */
    size_t n_sensors;        /**< see n_bodies */
    size_t n_excludes;       /**< see n_bodies */

    bp_mj_body body[BP_MJ_MAX_BODIES];      /**< depth first */
    bp_mj_joint joint[BP_MJ_MAX_JOINTS];    /**< grouped as the bodies */
    bp_mj_geom geom[BP_MJ_MAX_GEOMS];       /**< any order */
    bp_mj_motor motor[BP_MJ_MAX_MOTORS];    /**< in the order of the action's numbers */
    bp_mj_site site[BP_MJ_MAX_SITES];       /**< any order */
    bp_mj_sensor sensor[BP_MJ_MAX_SENSORS]; /**< any order */
    int exclude[BP_MJ_MAX_EXCLUDES][2];     /**< pairs of bodies that do not collide */
} bp_mj_table;

/** An empty table with MuJoCo's defaults. */
BPRIOR_API void bp_mj_table_begin(bp_mj_table *table, const char *name);
/** Append a row with defaults for all but the arguments; the pointer is for filling in the rest. NULL when full,
 *  and the table is then refused by bp_mj_table_load(). */
BPRIOR_API bp_mj_body *bp_mj_table_body(bp_mj_table *table, const char *name, int parent, double x, double y, double z);
/** Append a joint on axis (x, y, z). See bp_mj_table_body(). */
BPRIOR_API bp_mj_joint *bp_mj_table_joint(bp_mj_table *table, const char *name, int body, bp_mj_joint_kind kind,
                                          double x, double y, double z);
/** Append a geom at the body's origin; fill in size. See bp_mj_table_body(). */
BPRIOR_API bp_mj_geom *bp_mj_table_geom(bp_mj_table *table, const char *name, int body, bp_mj_geom_kind kind);
/** Append a motor. See bp_mj_table_body(). */
BPRIOR_API bp_mj_motor *bp_mj_table_motor(bp_mj_table *table, const char *name, int joint, double gear);

/** Write the table as MJCF. @param out [capacity] receives as much as fits, terminated (NULL when capacity is 0).
 *  @return characters of the whole text without the terminator, as snprintf() does. */
BPRIOR_API size_t bp_mj_table_xml(char *out, size_t capacity, const bp_mj_table *table);
/** Compile a table. Free the model with mj_deleteModel(). @return as bp_mj_load_xml(), or BP_ERR_SIZE for a table that
 *  overflowed. */
BPRIOR_API bp_status bp_mj_table_load(mjModel **out, const bp_mj_table *table, const bp_allocator *allocator,
                                      bp_error *error);
/** @} */

/* ==========================================================================
 * M3. >>mj-bodies   Bodies
 *    provides: bp_mj_table_add_pointmass bp_mj_table_add_ant
 *    needs: M2        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_bodies M3. MuJoCo: bodies
 * @{ */

/** The control suite's point mass: a 0.3 kg sphere on two slides, each limited to +-0.29 m (the limits are the
 *  walls), damping 1 N s/m, a motor of `gear` N per unit of action on each axis (the suite: 0.1). With dt = 0.02 s
 *
 *      v' = (0.3 v + dt gear u) / (0.3 + dt),   x' = x + dt v'
 *
 *  so it coasts with a time constant of 0.3 s and its terminal speed is `gear` m/s. */
BPRIOR_API void bp_mj_table_add_pointmass(bp_mj_table *table, double gear);

/** The ant: a 6.5 kg sphere on four legs of hip (about z) and ankle, 8 motors, 12.38 kg in all. Its free joint
 *  sits on a massless frame at ground level; the torso is welded to it 0.522 m higher. That choice is not
 *  cosmetic: a free joint on the torso itself integrates to another trajectory within a few steps. */
BPRIOR_API void bp_mj_table_add_ant(bp_mj_table *table);
/** @} */

/* ==========================================================================
 * M4. >>mj-worlds   Worlds, environments, arenas
 *    provides: bp_mj_world bp_mj_env_* bp_mj_maker bp_mj_info bp_mj_table_add_room
 *    needs: M1 M2 M3, bprior.h 3, 9        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_worlds M4. MuJoCo: worlds, environments, arenas
 *
 * A *world* is a compiled model with the rules of a task. Nothing in it depends on the episode - targets are
 * coordinates, not things - so it is compiled once and shared. *Environments* are made from it, one mjData
 * (3-15 MB) each. Destroy a world after its environments.
 * @{ */

/** A compiled model with a task. Immutable, hence freely shared between threads. */
typedef struct bp_mj_world bp_mj_world;

/** Why an episode ended. */
typedef enum bp_mj_end {
    BP_MJ_RUNNING = 0, /**< it has not */
    BP_MJ_SUCCESS,     /**< the task is done (discount 0) */
    BP_MJ_FALL,        /**< the body tipped over (discount 0) */
    BP_MJ_TIME_LIMIT,  /**< (discount 1) */
    BP_MJ_DIVERGED,    /**< the simulation left the numbers' range (reward 0, discount 0) */
    BP_MJ_ENGINE_ERROR /**< MuJoCo called its error function; step() returned BP_ERR_ENV */
} bp_mj_end;

/** What an environment can tell beside its observation; for logs, plots and tests, not for agents. */
typedef struct bp_mj_info {
    uint64_t steps;     /**< control steps of this episode */
    bp_mj_end end;      /**< state of this episode */
    uint64_t diverged;  /**< episodes that ended in BP_MJ_DIVERGED since the environment was made */
    size_t task;        /**< point mass: number of the task of this episode; else 0 */
    size_t goal;        /**< target to go for */
    size_t hits;        /**< point mass: targets reached in this episode; ant: predicates now true */
    size_t previous[2]; /**< point mass: target reached last, and the one before (n_targets: none yet) */
    bp_error error;     /**< detail of the last failed reset or step */
    char warning[128];  /**< last warning of MuJoCo, or "" */
} bp_mj_info;

/** Make an environment of a world. @param out is filled; close it with bp_env_close(). Different threads may do this at
 *  the same time. @return BP_ERR_MEMORY, or BP_ERR_ENV with MuJoCo's words. */
BPRIOR_API bp_status bp_mj_env_make(const bp_mj_world *world, bp_env *out, bp_error *error);
/** A maker of environments of this world, which must outlive it. */
BPRIOR_API bp_env_maker bp_mj_maker(bp_mj_world *world);
/** Free a world all of whose environments are closed; fine on NULL. */
BPRIOR_API void bp_mj_world_destroy(bp_mj_world *world);
/** The compiled model, read only (for pictures and measurements). */
BPRIOR_API const mjModel *bp_mj_world_model(const bp_mj_world *world);
/** Spec of the world's environments, without making one. */
BPRIOR_API const bp_spec *bp_mj_world_spec(const bp_mj_world *world);

/** Is this an unwrapped environment of this header? The functions below need one. */
BPRIOR_API bool bp_mj_env_is(const bp_env *env);
/** The simulation state (for pictures and measurements); NULL if not ours. Valid until the environment is closed or an
 *  engine error makes reset() replace it. */
BPRIOR_API mjData *bp_mj_env_data(const bp_env *env);
/** Information on the running episode; zeros if not ours. */
BPRIOR_API bp_mj_info bp_mj_env_info(const bp_env *env);
/** Coordinates of the episode's targets, [n_targets][3], as many as fit into `capacity` targets. @return n_targets. */
BPRIOR_API size_t bp_mj_env_targets(const bp_env *env, double *targets, size_t capacity);
/** Put the body elsewhere in the middle of an episode; the task's memory stays as it is. For tests, and for
 *  starting episodes in special states.
 *  @param qpos [nq] or NULL: unchanged. @param qvel [nv] or NULL. @param observation [O] new one, or NULL. */
BPRIOR_API bp_status bp_mj_env_set_state(bp_env *env, const double *qpos, const double *qvel, bp_real *observation,
                                         bp_error *error);

/** The room of the ant's tasks: cells of 2 m, `cells` by `cells` of them, the outermost ring being walls 2 m high. x =
 *  (column - (cells-1)/2) 2, y = -(row - (cells-1)/2) 2: row 0 is the wall at the largest y. */
BPRIOR_API void bp_mj_table_add_room(bp_mj_table *table, int cells);
/** @} */

/* ==========================================================================
 * M5. >>mj-pointmass   Point mass: sequential navigation
 *    provides: bp_mj_pointmass_config bp_mj_pointmass_world bp_mj_sequence_law
 *    needs: M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_pointmass M5. MuJoCo: point mass, sequential navigation
 *
 * K coloured targets lie in a walled square. The agent is told which one is next; touching it earns 1 and the
 * next one is named. Touching any other earns nothing. What makes the task interesting is the *law* of the
 * sequence: under the second-order Markov law the next target is nearly known from the last two, so a
 * prior with memory that is never told the goal can still learn where to go, and one without cannot.
 *
 * **Body and time.** The suite's body unchanged (M3): terminal speed 0.1 m/s in a room of 0.58 m. It needs seconds
 * to get anywhere, so an agent that chose a force every 0.02 s would have to repeat itself a hundred
 * times before it could notice anything. A control step is therefore 25 physics steps = 0.5 s: the next target is then 5
 * or 6 steps away, noise that is white in time still travels far enough to find one now and then, and the body's
 * time constant of 0.3 s still matters. An episode is 50 steps = 25 s. Uniformly random actions touch 0.2 targets
 * in an episode, a hand-written controller 8.6: sparse, but not hopeless.
 *
 * **Targets** lie on a ring of radius 0.2 m, hit radius 0.06 m: with up to 7 of them a straight line from one to another
 * touches no third. A hit is noticed at every physics step, so rushing through counts.
 *
 * **Observation** fields (numbers of order 1 without any normaliser):
 *
 *  | field      | size | meaning                                                            |
 *  |------------|------|--------------------------------------------------------------------|
 *  | "position" | 2    | x / 0.29                                                           |
 *  | "velocity" | 2    | v / terminal speed                                                 |
 *  | "targets"  | 2 K  | (target - x) / 0.29, or target / 0.29 (see relative_targets)       |
 *  | "next"     | K    | one-hot: the goal                                                  |
 *  | "previous" | 2 K  | if show_previous: one-hot of the target reached last, then before  |
 *  | "task"     | S    | if task_slots = S > 0: one-hot of the task's slot                  |
 *
 * Relative targets are the default because "go to the next one" is then one product, next times targets, for the network to
 * learn; absolute ones ask for a subtraction besides. The position is seen in either case.
 *
 * **Tasks.** A task is a layout with a law; an episode draws one of the configured tasks (or takes `fixed_task`).
 * bp_mj_pointmass_multitask() sets four of them, bp_mj_pointmass_transfer() a new one with the same spec.
 * @{ */

#define BP_MJ_MAX_TARGETS 8 /**< most targets */
#define BP_MJ_MAX_TASKS 8   /**< most tasks in one configuration */

/** How the next target follows from the last two. It is never the one just reached. */
typedef enum bp_mj_law {
    BP_MJ_LAW_UNIFORM = 0, /**< any other, equally likely */
    BP_MJ_LAW_MARKOV2,     /**< see bp_mj_sequence_law() */
    BP_MJ_LAW_CYCLE        /**< 0, 1, 2, ... and round again */
} bp_mj_law;

/** Where the targets are. */
typedef enum bp_mj_layout {
    BP_MJ_LAYOUT_RING = 0, /**< regular polygon: target k at angle + 2 pi k / K, distance radius */
    BP_MJ_LAYOUT_LISTED,   /**< as given */
    BP_MJ_LAYOUT_RANDOM    /**< new each episode: uniform in the square +-0.25, pairwise at least `spacing` apart */
} bp_mj_layout;

/** Where the point mass begins, always at rest. */
typedef enum bp_mj_spawn {
    BP_MJ_SPAWN_UNIFORM = 0, /**< uniform in the room, but not on the first target (default, as in the suite) */
    BP_MJ_SPAWN_FIXED        /**< at spawn_position */
} bp_mj_spawn;

/** One task: layout and law. Made by bp_mj_pointmass_task_default(). */
typedef struct bp_mj_pointmass_task {
    bp_mj_law law;                       /**< default BP_MJ_LAW_MARKOV2 */
    bool reversed;                       /**< the law's cycles run the other way round; default false */
    double p_common;                     /**< MARKOV2: probability of the common successor, in [0, 1]; default 0.9 */
    bp_mj_layout layout;                 /**< default BP_MJ_LAYOUT_RING */
    double radius;                       /**< RING: m, default 0.2 */
    double angle;                        /**< RING: rad, of target 0; default pi/4: with K = 4 a square */
    double spacing;                      /**< RANDOM: m, default 0.15 */
    double target[BP_MJ_MAX_TARGETS][2]; /**< LISTED: m */
    size_t slot;                         /**< entry of the field "task" that is 1; task_slots or more: none. Default 0 */
} bp_mj_pointmass_task;

/** Configuration of sequential navigation. */
typedef struct bp_mj_pointmass_config {
    uint32_t cookie;                            /**< set by the default function */
    size_t n_targets;                           /**< K, 2 .. BP_MJ_MAX_TARGETS; default 4. MARKOV2 needs at least 4 */
    size_t n_substeps;                          /**< physics steps per control step, >= 1; default 25. Fewer: rarer rewards */
    size_t episode_steps;                       /**< time limit in control steps, >= 1; default 50 */
    size_t max_hits;                            /**< end the episode (discount 0) after so many targets; 0 = never, the default */
    double timestep;                            /**< s per physics step; default 0.02 */
    double gear;                                /**< N per unit of action = terminal speed in m/s, > 0; default 0.1 */
    double hit_radius;                          /**< m, > 0; default 0.06 */
    double hit_reward;                          /**< default 1 */
    bool relative_targets;                      /**< field "targets": relative to the body (default true) or to the room */
    bool show_previous;                         /**< add the field "previous": memory as an observation; default false */
    size_t task_slots;                          /**< size of the field "task"; 0 = no such field, the default */
    bp_mj_spawn spawn;                          /**< default BP_MJ_SPAWN_UNIFORM */
    double spawn_position[2];                   /**< for BP_MJ_SPAWN_FIXED; m, default 0, 0 */
    size_t n_tasks;                             /**< 1 .. BP_MJ_MAX_TASKS; default 1 */
    int fixed_task;                             /**< the task of every episode, or -1 (default): drawn by the seed */
    bp_mj_pointmass_task task[BP_MJ_MAX_TASKS]; /**< default: task_default in every place */
    bool divergence_is_error;                   /**< step() returns BP_ERR_ENV when the simulation diverges, instead of ending the
                                   episode; default false */
} bp_mj_pointmass_config;

/** @internal */
BPRIOR_API bp_mj_pointmass_config bp_mj_pointmass_config_make(uint32_t cookie);
/** One task: square of targets, second-order Markov law. */
#define bp_mj_pointmass_config_default() bp_mj_pointmass_config_make(BP_COOKIE(bp_mj_pointmass_config))
/** Defaults of a task. */
BPRIOR_API bp_mj_pointmass_task bp_mj_pointmass_task_default(void);

/** Set four training tasks - square and diamond of targets, each with the second-order Markov law and with its
 *  mirror image - and five task slots, the last of which no training task uses. */
BPRIOR_API void bp_mj_pointmass_multitask(bp_mj_pointmass_config *config);

/** What is new in bp_mj_pointmass_transfer(). */
typedef enum bp_mj_novelty {
    BP_MJ_NEW_LAYOUT = 1,   /**< the square turned by 22.5 degrees: between square and diamond; known law */
    BP_MJ_NEW_SEQUENCE = 2, /**< known square; the sequence 0, 1, 2, 3 over and over, unseen in training */
    BP_MJ_NEW_BOTH = 3      /**< both */
} bp_mj_novelty;
/** Set one held-out task in slot 4, with the spec of bp_mj_pointmass_multitask(): what was trained there fits here. */
BPRIOR_API void bp_mj_pointmass_transfer(bp_mj_pointmass_config *config, bp_mj_novelty novelty);

/** Probability of each target to be the next one.
 *
 * Second order: for the target c just reached let s run through the other K-1 targets in a cycle (by rising number,
 * skipping c; falling if reversed). With p the target reached before c,
 *
 *     next = s(p)      with probability p_common        (0.9)
 *     next = s(s(p))   with probability 1 - p_common    (0.1)
 *
 * As s is a permutation of the others, each target is the common successor of exactly one p: given c alone, and p uniform,
 * all others are equally likely. The law thus has nothing to offer a prior that remembers only one target.
 * Targets 0..3 as blue, green, black, red: after blue, green come black (.9) or red (.1).
 *
 * @param prob [n_targets] output. @param previous, current the last two targets reached, current the later one;
 * n_targets stands for "none yet" (then any other target, equally likely). */
BPRIOR_API void bp_mj_sequence_law(double *prob, const bp_mj_pointmass_task *task, size_t n_targets, size_t previous,
                                   size_t current);

/** Compile the world of a configuration. @return BP_ERR_CONFIG / BP_ERR_ABI, BP_ERR_ARGUMENT (the text names the field),
 *  BP_ERR_MEMORY, BP_ERR_ENV. */
BPRIOR_API bp_status bp_mj_pointmass_world(bp_mj_world **out, const bp_mj_pointmass_config *config,
                                           const bp_allocator *allocator, bp_error *error);
/** @} */

/* ==========================================================================
 * M6. >>mj-ant   Ant: go_to_k_targets
 *    provides: bp_mj_ant_config bp_mj_ant_world bp_mj_ant_set_layout
 *    needs: M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_ant M6. MuJoCo: ant, go_to_k_targets
 *
 * An ant in a walled room with K marked zones of 1 m. One *predicate* holds the goal: "the walker is at target i". The zone
 * counts as reached when the centre of any of the ant's 13 geoms is strictly inside.
 *
 * **Reward** of a step, with was = the predicate before and now = after it:
 *
 *     r = reward_scale ( [now and not was] - [was and not now] + bonus [was] )
 *
 * and the episode terminates (discount 0) on the step for which `was` holds. Entering therefore pays 10, and the control step
 * after it 50 more (40 if the zone has been left again). It also terminates, without penalty, when the torso's
 * z axis points below the horizontal; and is cut off (discount 1) after 400 control steps = 20 s.
 *
 * **Reset.** Spawn and targets are different cells among the central ones of the room, 2 m each; the yaw is uniform. The ant
 * starts upright with its feet 0.6 mm above the floor, so the first accelerometer reading is that of free
 * fall: (0, 0, 0).
 *
 * **Observation**, in this order. R is the torso's orientation (body to world), p its position; all vectors marked "ego" are
 * in the torso's full frame: R^T (x - p).
 *
 *  | field                          | size | meaning                                              | compact |
 *  |--------------------------------|------|------------------------------------------------------|---|
 *  | "walker/appendages_pos"        | 12   | feet, ego (same as end_effectors_pos)                |   |
 *  | "walker/bodies_pos"            | 39   | 13 bodies, ego, torso first, then leg aux foot by leg |   |
 *  | "walker/bodies_quats"          | 52   | their orientation relative to the torso (w, x, y, z) |   |
 *  | "walker/body_height"           | 1    | p_z                                                  | x |
 *  | "walker/end_effectors_pos"     | 12   | feet (ankle points), ego                             | x |
 *  | "walker/joints_pos"            | 8    | hip, ankle of front left, front right, back right, back left | x |
 *  | "walker/joints_vel"            | 8    | rad/s                                                | x |
 *  | "walker/orientation"           | 9    | R, row by row: global                                |   |
 *  | "walker/position"              | 3    | p: global                                            |   |
 *  | "walker/sensors_accelerometer" | 3    | m/s^2, one physics step old (as in the reference)    | x |
 *  | "walker/sensors_gyro"          | 3    | rad/s                                                | x |
 *  | "walker/sensors_velocimeter"   | 3    | m/s                                                  | x |
 *  | "walker/world_zaxis"           | 3    | third row of R                                       | x |
 *  | "walker/target_positions"      | 3 K  | zone centres (z = 0.5), ego                          | x |
 *  | "walker/predicates_activated"  | 1    | 1 if the ant is at its goal                          | x |
 *  | "predicate_0"                  | 5    | code 0 0 1 i 1: walker, -, target, i, close to       | x |
 *  | "goal"                         | K    | if goal_field: one-hot of i (ours, not the reference's) | x |
 *
 * With K = 3 that is 171 numbers, of which 67 never change and 20 repeat others. BP_MJ_OBSERVE_COMPACT leaves out what
 * is constant, repeated or global; or list the names you want.
 * @{ */

/** Which of the fields are there. */
typedef enum bp_mj_observe {
    BP_MJ_OBSERVE_REFERENCE = 0, /**< all, as the authors' environment has them */
    BP_MJ_OBSERVE_COMPACT,       /**< those marked compact: 41 + 3 K + 6 numbers */
    BP_MJ_OBSERVE_LISTED         /**< those named in `fields` */
} bp_mj_observe;

/** Where things are in an episode. */
typedef struct bp_mj_ant_layout {
    double spawn[2];                     /**< m */
    double yaw;                          /**< rad; 0: front along x. NaN: drawn at reset */
    double target[BP_MJ_MAX_TARGETS][2]; /**< m, zone centres */
    int goal;                            /**< number of the goal target, or -1: drawn at reset */
} bp_mj_ant_layout;

/** Configuration of go_to_k_targets. The defaults are the released task. */
typedef struct bp_mj_ant_config {
    uint32_t cookie;           /**< set by the default function */
    size_t n_targets;          /**< K, 1 .. BP_MJ_MAX_TARGETS; default 3. The room has max(3, K) free cells a side, plus a
                                 margin of one cell, plus walls */
    double timestep;           /**< s per physics step; default 0.005 */
    size_t n_substeps;         /**< physics steps per control step; default 10 */
    size_t episode_steps;      /**< time limit in control steps; default 400 */
    double reward_scale;       /**< default 10 */
    double bonus;              /**< default 5 */
    double alive_threshold;    /**< fallen if (R_zz - 1)/2 is below; in [-1, 0], default -0.5; -1 or less: never */
    bp_mj_observe observe;     /**< default BP_MJ_OBSERVE_REFERENCE */
    const char *const *fields; /**< [n_fields] names for BP_MJ_OBSERVE_LISTED (the order is always that of the table);
                                    read only while the world is made. Default NULL */
    size_t n_fields;           /**< default 0 */
    bool goal_field;           /**< add the field "goal"; default false */
    bool fixed_layout;         /**< every episode as in `layout`; default false */
    bp_mj_ant_layout layout;   /**< default: spawn (2,-2), targets (0,-2) (2,2) (-2,-2), yaw and goal drawn */
    bool divergence_is_error;  /**< as in bp_mj_pointmass_config; default false */
} bp_mj_ant_config;

/** @internal */
BPRIOR_API bp_mj_ant_config bp_mj_ant_config_make(uint32_t cookie);
/** The released task. */
#define bp_mj_ant_config_default() bp_mj_ant_config_make(BP_COOKIE(bp_mj_ant_config))
/** Compile the world of a configuration. @return as bp_mj_pointmass_world(); BP_ERR_FIELD for an unknown field name. */
BPRIOR_API bp_status bp_mj_ant_world(bp_mj_world **out, const bp_mj_ant_config *config, const bp_allocator *allocator,
                                     bp_error *error);
/** Restart the episode begun by the last reset() with this layout. What it leaves open (yaw, goal) is drawn from that
 *  reset's seed. @param observation [O] the first one of the new episode. */
BPRIOR_API bp_status bp_mj_ant_set_layout(bp_env *env, const bp_mj_ant_layout *layout, bp_real *observation,
                                          bp_error *error);
/** @} */

/* ==========================================================================
 * M9. >>mj-pictures   Pictures and films
 *    provides: bp_mj_film bp_mj_film_* bp_mj_shot bp_mj_camera bp_mj_world_walker bp_mj_env_position bp_mj_color
 *    needs: M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_pictures M9. MuJoCo: pictures and films
 *
 * A *film* renders environments of one world into RGB pixels, or into a window of yours. A *shot* says how: where
 * the camera is, which marks are drawn into the scene (the zones of the targets, the goal), which numbers are written
 * over it. Shapes of your own, such as the trails of many episodes, stay in the film until it is cleared.
 *
 * @code
 * bp_mj_film_config config = bp_mj_film_config_default(640, 480);
 * bp_mj_shot shot = bp_mj_shot_default(world, BP_MJ_VIEW_TRACK);
 * if (bp_mj_film_create(&film, &config, world, NULL, &error)) { puts(error.text); return 1; }
 * bp_mj_film_render(film, &env, &shot, rgb, &error);      // unsigned char rgb[480 * 640 * 3], first row on top
 * @endcode
 *
 * **OpenGL.** Training needs none, and this header links none. A film without a window makes its own context through EGL (no
 * display server needed; the graphics card or Mesa's software renderer) or through OSMesa (software). Define, before
 * the implementation, BPRIOR_MUJOCO_EGL, BPRIOR_MUJOCO_OSMESA, or both; the C headers EGL/egl.h and GL/osmesa.h are then
 * needed, and at run time the libraries, which are opened with dlopen() (before glibc 2.34: -ldl). Without either macro a film
 * can only draw into a context that you made current (::BP_MJ_GL_CURRENT: a GLFW window, for one).
 *
 * MuJoCo looks up OpenGL's functions once per process, so the first film decides: a later one through the other
 * library is refused with BP_ERR_ENV. The libraries stay loaded until the process ends.
 *
 * **Same state, same picture**: nothing in a film moves by itself. Rendering reads the simulation and changes none of it.
 *
 * **Threads.** A film belongs to one thread at a time. With a context of its own, each call makes it current
 * and leaves none current afterwards.
 * @{ */

/** Where OpenGL comes from. */
typedef enum bp_mj_gl {
    BP_MJ_GL_AUTO = 0, /**< EGL; OSMesa if that is not to be had */
    BP_MJ_GL_EGL,      /**< needs BPRIOR_MUJOCO_EGL */
    BP_MJ_GL_OSMESA,   /**< needs BPRIOR_MUJOCO_OSMESA */
    BP_MJ_GL_CURRENT   /**< the context that is current in the calling thread; pictures go to its window */
} bp_mj_gl;

/** What a camera does. */
typedef enum bp_mj_view {
    BP_MJ_VIEW_TRACK = 0, /**< goes along with the body, at a fixed height */
    BP_MJ_VIEW_TOP,       /**< from high above, hardly any perspective: a map with y upward */
    BP_MJ_VIEW_FIXED      /**< stays where it is */
} bp_mj_view;

/** A camera. It stands at lookat - distance (cos e cos a, cos e sin a, sin e) and looks at lookat. */
typedef struct bp_mj_camera {
    bp_mj_view view;  /**< TRACK replaces the x and y of lookat by the body's */
    double lookat[3]; /**< m */
    double distance;  /**< m */
    double azimuth;   /**< a, degrees: 0 looks along x, 90 along y */
    double elevation; /**< e, degrees: -90 looks straight down */
    double fovy;      /**< vertical opening angle in degrees */
} bp_mj_camera;

/** How to show a state, and what to write over it. Start from bp_mj_shot_default(). */
typedef struct bp_mj_shot {
    bp_mj_camera camera;    /**< from where */
    bool targets;           /**< draw the zones of the targets, translucent, with their numbers; default true */
    bool goal;              /**< draw the goal's zone stronger and an arrow above it, white while it is reached; default true */
    bool fade;              /**< make walls between camera and body translucent (TRACK only); default true */
    bool shadows;           /**< default true */
    bool numbers;           /**< write step, reward, return and KL, top left; default false */
    bool predicates;        /**< write goal, predicates and why the episode ended, bottom left; default false */
    double reward;          /**< of the newest step; NaN (default): not written */
    double total;           /**< return so far; NaN (default): not written */
    double kl;              /**< of the newest step, in nats; NaN (default): not written */
    const char *title;      /**< first line of the numbers; NULL (default): none */
    const char *keys;       /**< two columns of your own at the top right, lines separated by \n; NULL (default): none */
    const char *words;      /**< second column of `keys` */
    const double *curve;    /**< [n_curve] drawn over its index at the bottom right; NULL (default): none */
    size_t n_curve;         /**< of these at most the last 1000 are shown */
    const char *curve_name; /**< its title, such as "KL per step"; NULL: none */
} bp_mj_shot;

/** Size and means of a film. Start from bp_mj_film_config_default(). */
typedef struct bp_mj_film_config {
    uint32_t cookie;   /**< set by the default function */
    size_t width;      /**< pixels, 1 .. 8192 */
    size_t height;     /**< pixels, 1 .. 8192 */
    bp_mj_gl gl;       /**< default BP_MJ_GL_AUTO */
    size_t max_shapes; /**< room for shapes of your own, 0 .. 10^6; default 20000 (8 MB). A trail of n points takes n - 1 */
    size_t samples;    /**< per pixel, against jagged edges; 0: none; default 4. A window has its own */
    size_t font;       /**< size of the text in percent: 50, 100, 150, 200, 250 or 300; 0 (default): by the height */
} bp_mj_film_config;

/** Renders environments of one world; private inside. */
typedef struct bp_mj_film bp_mj_film;

/** @internal */
BPRIOR_API bp_mj_film_config bp_mj_film_config_make(uint32_t cookie, size_t width, size_t height);
/** Defaults for pictures of this size. */
#define bp_mj_film_config_default(width, height) bp_mj_film_config_make(BP_COOKIE(bp_mj_film_config), width, height)
/** A camera that suits the world: TRACK behind and above its body, TOP and FIXED with the whole arena in sight of a film that is no
 *  higher than it is wide. */
BPRIOR_API bp_mj_camera bp_mj_camera_default(const bp_mj_world *world, bp_mj_view view);
/** Zones and goal, no text, from such a camera. */
BPRIOR_API bp_mj_shot bp_mj_shot_default(const bp_mj_world *world, bp_mj_view view);

/** Make a film of this world, which must outlive it. @param allocator or NULL. With BP_MJ_GL_CURRENT a context must be current, now
 *  and in all calls until the film is destroyed.
 *  @return BP_ERR_CONFIG / BP_ERR_ABI (cookie), BP_ERR_ARGUMENT (the text names the field), BP_ERR_UNSUPPORTED (this build or this
 *  machine has no such OpenGL; the text says why), BP_ERR_ENV (MuJoCo's words), BP_ERR_MEMORY */
BPRIOR_API bp_status bp_mj_film_create(bp_mj_film **out, const bp_mj_film_config *config, const bp_mj_world *world,
                                       const bp_allocator *allocator, bp_error *error);
/** Free; NULL is fine. */
BPRIOR_API void bp_mj_film_destroy(bp_mj_film *film);
/** Where its OpenGL comes from: never BP_MJ_GL_AUTO, unless film is NULL. */
BPRIOR_API bp_mj_gl bp_mj_film_gl(const bp_mj_film *film);
/** Another size of picture: any with BP_MJ_GL_CURRENT (the window's), else no larger than it was made with.
 *  @return BP_ERR_SIZE */
BPRIOR_API bp_status bp_mj_film_resize(bp_mj_film *film, size_t width, size_t height, bp_error *error);
/** Draw the environment's present state. @param env of the film's world, unwrapped.
 *  @param rgb [height][width][3] receives the picture, first row on top; NULL: it is only drawn (into the window)
 *  @return BP_ERR_ARGUMENT (an environment of another world, numbers of the camera that make no sense), BP_ERR_ENV */
BPRIOR_API bp_status bp_mj_film_render(bp_mj_film *film, const bp_env *env, const bp_mj_shot *shot, unsigned char *rgb,
                                       bp_error *error);

/** Forget all shapes of your own. */
BPRIOR_API void bp_mj_film_clear(bp_mj_film *film);
/** Add a line with round ends. @param from, to [3] m @param width m @param rgba [4] colour and opacity, 0 .. 1.
 *  @return BP_ERR_SIZE when max_shapes are there, BP_ERR_NONFINITE */
BPRIOR_API bp_status bp_mj_film_line(bp_mj_film *film, const double *from, const double *to, double width, const double *rgba,
                                     bp_error *error);
/** Add a ball. @param center [3]. As bp_mj_film_line(). */
BPRIOR_API bp_status bp_mj_film_ball(bp_mj_film *film, const double *center, double radius, const double *rgba, bp_error *error);
/** Add the line through n points [n][3]; points with NaN lift the pen. All of it or, with BP_ERR_SIZE, nothing. */
BPRIOR_API bp_status bp_mj_film_trail(bp_mj_film *film, const double *points, size_t n, double width, const double *rgba,
                                      bp_error *error);
/** Colour number i of a palette of 8 that can be told apart, also by the colour-blind; goes round. @param rgba [4] */
BPRIOR_API void bp_mj_color(double *rgba, size_t i);

/** The body of mjModel that pictures follow: the heaviest one of what the first motor moves. 0 (the fixed world) if
 *  nothing moves. */
BPRIOR_API int bp_mj_world_walker(const bp_mj_world *world);
/** Where that body is, for trails. @param out [3] m; zeros if the environment is not ours. */
BPRIOR_API void bp_mj_env_position(double *out, const bp_env *env);
/** @} */

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BPRIOR_MUJOCO_H */

/* ############################################################################
 *  IMPLEMENTATION: outside the include guard, with its own once-guard.
 * ############################################################################ */
#if defined(BPRIOR_MUJOCO_IMPLEMENTATION) && !defined(BPRIOR_MUJOCO_IMPLEMENTED)
#define BPRIOR_MUJOCO_IMPLEMENTED

#ifndef BPRIOR_IMPLEMENTED
#error "bprior_mujoco.h: define BPRIOR_IMPLEMENTATION and include bprior.h before it, in this same file"
#endif

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A private function; the attribute keeps compilers quiet in builds that happen not to call it. */
#if defined(__GNUC__) || defined(__clang__)
#define BPI_MJ_FN static __attribute__((unused))
#define BPI_MJ_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BPI_MJ_FN static
#define BPI_MJ_PRINTF(fmt, args)
#endif

#if defined(__cplusplus)
#define BPI_MJ_TLS thread_local
#elif defined(__GNUC__) || defined(__clang__)
#define BPI_MJ_TLS __thread /* _Thread_local by its older name, which -std=c99 -Wpedantic accepts */
#elif defined(_MSC_VER)
#define BPI_MJ_TLS __declspec(thread)
#else
#define BPI_MJ_TLS _Thread_local
#endif

/* From 3.10 on errors arrive as structured messages; the older pointers are deprecated there. (Versions count as
 * major*100+minor*10+patch up to 3.4, as major*10^6+minor*10^3+patch from 3.5 on; either way they only grow.) */
#define BPI_MJ_HAS_LOG_HANDLER (mjVERSION_HEADER >= 3010000)

/* ==========================================================================
 * M1. >>mj-library-impl   Library and errors
 *    provides: bpi_mj_guard        needs: bprior.h 1, 2        equations: none
 * ========================================================================== */

/* Lives on the stack of the call it protects. */
typedef struct bpi_mj_trap {
    jmp_buf jump;
    struct bpi_mj_trap *outer; /* of an enclosing protected call in the same thread */
    char error[200];
    char warning[128];
} bpi_mj_trap;

static BPI_MJ_TLS bpi_mj_trap *bpi_mj_armed; /* NULL: this thread is not inside a call of ours */

/* Copy the first line of a message. */
BPI_MJ_FN void bpi_mj_copy_line(char *out, size_t capacity, const char *text) {
    size_t i = 0;
    for (; text && text[i] && text[i] != '\n' && i + 1 < capacity; i++) out[i] = text[i];
    out[i] = '\0';
}

/* An error handler must not return: the engine would go on with what has just failed. So it jumps. */
BPI_MJ_FN void bpi_mj_spring(const char *text) {
    bpi_mj_trap *trap = bpi_mj_armed;
    bpi_mj_copy_line(trap->error, sizeof trap->error, text);
    longjmp(trap->jump, 1);
}

#if BPI_MJ_HAS_LOG_HANDLER
static mjfLogHandler bpi_mj_former_log;
static bool bpi_mj_installed;

BPI_MJ_FN void bpi_mj_on_log(const mjLogMessage *message) {
    if (bpi_mj_armed && message->level >= mjLOG_ERROR) bpi_mj_spring(message->subject);
    if (bpi_mj_armed && message->level == mjLOG_WARNING)
        bpi_mj_copy_line(bpi_mj_armed->warning, sizeof bpi_mj_armed->warning, message->subject);
    if (bpi_mj_armed) return;

    /* Not our call. Without a former handler an error gets MuJoCo's own treatment, which ends the process. */
    if (bpi_mj_former_log) {
        bpi_mj_former_log(message);
    } else if (message->level >= mjLOG_ERROR) {
        mju_setLogHandler(NULL);
        mju_message(message);
    }
}

BPI_MJ_FN void bpi_mj_install(void) {
    if (bpi_mj_installed) return;
    bpi_mj_installed = true;
    bpi_mj_former_log = mju_setLogHandler(bpi_mj_on_log);
}
#else
static void (*bpi_mj_former_error)(const char *);
static void (*bpi_mj_former_warning)(const char *);
static bool bpi_mj_installed;

BPI_MJ_FN void bpi_mj_on_error(const char *text) {
    if (bpi_mj_armed) bpi_mj_spring(text);

    /* Not our call. Without a former handler it gets MuJoCo's own treatment, which ends the process. */
    if (bpi_mj_former_error) {
        bpi_mj_former_error(text);
    } else {
        mju_user_error = NULL;
#if mjVERSION_HEADER >= 233
        mju_error("%s", text);
#else
        mju_error(text);
#endif
    }
}

BPI_MJ_FN void bpi_mj_on_warning(const char *text) {
    if (bpi_mj_armed) bpi_mj_copy_line(bpi_mj_armed->warning, sizeof bpi_mj_armed->warning, text);
    else if (bpi_mj_former_warning) bpi_mj_former_warning(text);
}

BPI_MJ_FN void bpi_mj_install(void) {
    if (bpi_mj_installed) return;
    bpi_mj_installed = true;
    bpi_mj_former_error = mju_user_error;
    bpi_mj_former_warning = mju_user_warning;
    mju_user_error = bpi_mj_on_error;
    mju_user_warning = bpi_mj_on_warning;
}
#endif

/* A function of its own with nothing but parameters, none of which changes: no local variable can be clobbered by the
 * jump. Returns false if MuJoCo raised an error. */
BPI_MJ_FN bool bpi_mj_attempt(bpi_mj_trap *trap, void (*work)(void *), void *ctx) {
    if (setjmp(trap->jump)) return false;
    work(ctx);
    return true;
}

/* Run work(ctx), which may call MuJoCo. An error becomes BP_ERR_ENV; the mjData in use is unfit from then on, for its
 * internal stack was left in the middle of something. warning (nullable, [128]) receives the last warning, if any. */
BPI_MJ_FN bp_status bpi_mj_guard(void (*work)(void *), void *ctx, char *warning, bp_error *error) {
    bpi_mj_trap trap;
    bool fine;
    trap.outer = bpi_mj_armed;
    trap.error[0] = trap.warning[0] = '\0';
    bpi_mj_armed = &trap;
    fine = bpi_mj_attempt(&trap, work, ctx);
    bpi_mj_armed = trap.outer;
    if (warning && trap.warning[0]) memcpy(warning, trap.warning, sizeof trap.warning);
    return fine ? BP_OK : bpi_fail(error, BP_ERR_ENV, "MuJoCo: %s", trap.error);
}

BPRIOR_API bp_status bp_mj_init(bp_error *error) {
    if (mj_version() != mjVERSION_HEADER)
        return bpi_fail(error, BP_ERR_ABI, "MuJoCo's headers say version %d, the library found at run time %d",
                        (int)mjVERSION_HEADER, mj_version());
    bpi_mj_install();
    return bpi_ok(error);
}

typedef struct bpi_mj_loading {
    const char *xml;
    mjVFS *vfs;
    mjModel *model;
    bool no_room;
    char text[200];
} bpi_mj_loading;

/* A file system in memory with one file in it. */
BPI_MJ_FN void bpi_mj_load_work(void *ctx) {
    bpi_mj_loading *l = (bpi_mj_loading *)ctx;
    const int length = (int)strlen(l->xml);
    mj_defaultVFS(l->vfs);
#if mjVERSION_HEADER >= 313
    if (mj_addBufferVFS(l->vfs, "model.xml", l->xml, length)) {
        l->no_room = true;
    }
#else
    if (mj_makeEmptyFileVFS(l->vfs, "model.xml", length)) {
        l->no_room = true;
    } else {
        memcpy(l->vfs->filedata[mj_findFileVFS(l->vfs, "model.xml")], l->xml, (size_t)length);
    }
#endif
    if (!l->no_room) l->model = mj_loadXML("model.xml", l->vfs, l->text, (int)sizeof l->text);
    mj_deleteVFS(l->vfs);
}

BPRIOR_API bp_status bp_mj_load_xml(mjModel **out, const char *xml, const bp_allocator *allocator, bp_error *error) {
    bpi_mj_loading loading;
    bp_status status;
    char line[200];
    if (!out || !xml) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_load_xml: an argument is NULL");
    *out = NULL;
    if (!xml[0]) return bpi_fail(error, BP_ERR_FORMAT, "bp_mj_load_xml: the XML text is empty");
    if (strlen(xml) > 0x3fffffff) return bpi_fail(error, BP_ERR_SIZE, "bp_mj_load_xml: text over 1 GiB");
    status = bp_mj_init(error);
    if (status != BP_OK) return status;

    memset(&loading, 0, sizeof loading);
    loading.xml = xml;
    loading.vfs = (mjVFS *)bp_alloc(allocator, sizeof(mjVFS)); /* 2 MB in MuJoCo 2.x: not on the stack */
    if (!loading.vfs) return bpi_fail(error, BP_ERR_MEMORY, "bp_mj_load_xml: no memory");
    status = bpi_mj_guard(bpi_mj_load_work, &loading, NULL, error);
    bp_free(allocator, loading.vfs, sizeof(mjVFS));
    if (status != BP_OK) return status;
    if (!loading.model) {
        size_t i;
        memcpy(line, loading.text, sizeof line);
        line[sizeof line - 1] = '\0';
        for (i = 0; line[i]; i++)
            if (line[i] == '\n') line[i] = ' ';
        return bpi_fail(error, loading.no_room ? BP_ERR_MEMORY : BP_ERR_FORMAT, "MuJoCo: %s", line);
    }
    *out = loading.model;
    return bpi_ok(error);
}

/* ==========================================================================
 * M2. >>mj-tables-impl   Models from tables
 *    provides: bp_mj_table_*        needs: M1        equations: none
 * ========================================================================== */

BPI_MJ_FN void bpi_mj_set2(double *out, double a, double b) {
    out[0] = a;
    out[1] = b;
}
BPI_MJ_FN void bpi_mj_set3(double *out, double a, double b, double c) {
    out[0] = a;
    out[1] = b;
    out[2] = c;
}

BPI_MJ_FN void bpi_mj_paint(bp_mj_geom *geom, double red, double green, double blue) {
    bpi_mj_set3(geom->rgba, red, green, blue);
    geom->rgba[3] = 1;
}

BPI_MJ_FN void bpi_mj_name(char *out, const char *name) {
    size_t i = 0;
    for (; name[i] && i + 1 < BP_NAME; i++) out[i] = name[i];
    out[i] = '\0';
}

BPRIOR_API void bp_mj_table_begin(bp_mj_table *table, const char *name) {
    memset(table, 0, sizeof *table);
    bpi_mj_name(table->name, name);
    table->timestep = 0.002;
    table->contacts = true;
    table->noslip_tolerance = 1e-6;
}

BPRIOR_API bp_mj_body *bp_mj_table_body(bp_mj_table *table, const char *name, int parent, double x, double y, double z) {
    bp_mj_body *body;
    if (table->n_bodies++ >= BP_MJ_MAX_BODIES) return NULL;
    body = &table->body[table->n_bodies - 1];
    bpi_mj_name(body->name, name);
    body->parent = parent;
    bpi_mj_set3(body->pos, x, y, z);
    body->quat[0] = 1;
    return body;
}

BPRIOR_API bp_mj_joint *bp_mj_table_joint(bp_mj_table *table, const char *name, int body, bp_mj_joint_kind kind,
                                          double x, double y, double z) {
    bp_mj_joint *joint;
    if (table->n_joints++ >= BP_MJ_MAX_JOINTS) return NULL;
    joint = &table->joint[table->n_joints - 1];
    bpi_mj_name(joint->name, name);
    joint->body = body;
    joint->kind = kind;
    bpi_mj_set3(joint->axis, x, y, z);
    bpi_mj_set2(joint->solref_limit, 0.02, 1);
    bpi_mj_set3(joint->solimp_limit, 0.9, 0.95, 0.001);
    return joint;
}

BPRIOR_API bp_mj_geom *bp_mj_table_geom(bp_mj_table *table, const char *name, int body, bp_mj_geom_kind kind) {
    bp_mj_geom *geom;
    if (table->n_geoms++ >= BP_MJ_MAX_GEOMS) return NULL;
    geom = &table->geom[table->n_geoms - 1];
    bpi_mj_name(geom->name, name);
    geom->body = body;
    geom->kind = kind;
    geom->mass = -1;
    geom->density = 1000;
    geom->condim = 3;
    bpi_mj_set3(geom->friction, 1, 0.005, 0.0001);
    bpi_mj_set2(geom->solref, 0.02, 1);
    bpi_mj_set3(geom->solimp, 0.9, 0.95, 0.001);
    bpi_mj_paint(geom, 0.62, 0.65, 0.7);
    return geom;
}

BPRIOR_API bp_mj_motor *bp_mj_table_motor(bp_mj_table *table, const char *name, int joint, double gear) {
    bp_mj_motor *motor;
    if (table->n_motors++ >= BP_MJ_MAX_MOTORS) return NULL;
    motor = &table->motor[table->n_motors - 1];
    bpi_mj_name(motor->name, name);
    motor->joint = joint;
    motor->gear = gear;
    return motor;
}

/* Text that counts on when the room is used up. */
typedef struct bpi_mj_text {
    char *out;
    size_t capacity, used;
} bpi_mj_text;

BPI_MJ_FN BPI_MJ_PRINTF(2, 3) void bpi_mj_put(bpi_mj_text *t, const char *format, ...) {
    char piece[160]; /* the longest piece is one attribute word with a name */
    size_t i;
    va_list args;
    va_start(args, format);
    if (vsnprintf(piece, sizeof piece, format, args) < 0) piece[0] = '\0';
    va_end(args);
    for (i = 0; piece[i]; i++, t->used++)
        if (t->used + 1 < t->capacity) t->out[t->used] = piece[i];
}

/* key="1 2 3" with 17 digits: what is read back is the same double. */
BPI_MJ_FN void bpi_mj_put_numbers(bpi_mj_text *t, const char *key, const double *value, size_t n) {
    size_t i, j;
    bpi_mj_put(t, " %s=\"", key);
    for (i = 0; i < n; i++) {
        char digits[40];
        snprintf(digits, sizeof digits, "%s%.17g", i ? " " : "", value[i]);
        for (j = 0; digits[j]; j++)
            if (digits[j] == ',') digits[j] = '.'; /* some locales write a decimal comma */
        bpi_mj_put(t, "%s", digits);
    }
    bpi_mj_put(t, "\"");
}

BPI_MJ_FN void bpi_mj_put_geom(bpi_mj_text *t, const bp_mj_geom *g) {
    static const char *const kind[] = {"plane", "sphere", "capsule", "box"};
    static const size_t n_size[] = {3, 1, 1, 3};
    double ends[6];
    bpi_mj_put(t, "<geom name=\"%s\" type=\"%s\"", g->name, kind[g->kind]);
    bpi_mj_put_numbers(t, "size", g->size, n_size[g->kind]);
    if (g->kind == BP_MJ_CAPSULE) {
        memcpy(ends, g->pos, sizeof g->pos);
        memcpy(ends + 3, g->end, sizeof g->end);
        bpi_mj_put_numbers(t, "fromto", ends, 6);
    } else {
        bpi_mj_put_numbers(t, "pos", g->pos, 3);
    }
    if (g->mass >= 0) bpi_mj_put_numbers(t, "mass", &g->mass, 1);
    else bpi_mj_put_numbers(t, "density", &g->density, 1);
    bpi_mj_put(t, " condim=\"%d\"", g->condim);
    bpi_mj_put_numbers(t, "friction", g->friction, 3);
    bpi_mj_put_numbers(t, "solref", g->solref, 2);
    bpi_mj_put_numbers(t, "solimp", g->solimp, 3);
    if (g->kind == BP_MJ_PLANE) bpi_mj_put(t, " material=\"%s\"", g->name);
    else bpi_mj_put_numbers(t, "rgba", g->rgba, 4);
    bpi_mj_put(t, "/>\n");
}

/* What only pictures show: light, sky, and for each plane a material of checks. Physics never reads any of it. */
BPI_MJ_FN void bpi_mj_put_looks(bpi_mj_text *t, const bp_mj_table *table) {
    size_t i;
    bpi_mj_put(t, "<visual>\n<headlight ambient=\".32 .32 .34\" diffuse=\".3 .3 .3\" specular=\"0 0 0\"/>\n");
    bpi_mj_put(t, "<rgba haze=\".86 .91 .96 1\"/>\n<quality shadowsize=\"2048\"/>\n</visual>\n<asset>\n");
    bpi_mj_put(t, "<texture type=\"skybox\" builtin=\"gradient\" rgb1=\".55 .7 .86\" rgb2=\".93 .95 .97\"");
    bpi_mj_put(t, " width=\"64\" height=\"64\"/>\n");
    bpi_mj_put(t, "<texture name=\"checks\" type=\"2d\" builtin=\"checker\" mark=\"edge\" width=\"128\" height=\"128\"");
    bpi_mj_put(t, " rgb1=\".82 .85 .87\" rgb2=\".72 .76 .79\" markrgb=\".64 .68 .72\"/>\n");
    for (i = 0; i < table->n_geoms; i++) {
        const bp_mj_geom *g = &table->geom[i];
        double repeat[2]; /* the texture has two checks a side */
        if (g->kind != BP_MJ_PLANE) continue;
        if (g->size[0] > 0 && g->size[1] > 0) bpi_mj_set2(repeat, g->size[0] / g->size[2], g->size[1] / g->size[2]);
        else bpi_mj_set2(repeat, 1, 1); /* a plane without end */
        bpi_mj_put(t, "<material name=\"%s\" texture=\"checks\" specular=\"0\"", g->name);
        bpi_mj_put_numbers(t, "texrepeat", repeat, 2);
        bpi_mj_put(t, "/>\n");
    }
    bpi_mj_put(t, "</asset>\n");
}

/* Limits are always declared on or off: what an absent `limited` means changed in 3.0. */
BPI_MJ_FN void bpi_mj_put_joint(bpi_mj_text *t, const bp_mj_joint *j) {
    if (j->kind == BP_MJ_FREE) {
        bpi_mj_put(t, "<freejoint name=\"%s\"/>\n", j->name);
        return;
    }
    bpi_mj_put(t, "<joint name=\"%s\" type=\"%s\"", j->name, j->kind == BP_MJ_SLIDE ? "slide" : "hinge");
    bpi_mj_put_numbers(t, "axis", j->axis, 3);
    bpi_mj_put(t, " limited=\"%s\"", j->limited ? "true" : "false");
    bpi_mj_put_numbers(t, "range", j->range, 2);
    bpi_mj_put_numbers(t, "damping", &j->damping, 1);
    bpi_mj_put_numbers(t, "stiffness", &j->stiffness, 1);
    bpi_mj_put_numbers(t, "armature", &j->armature, 1);
    bpi_mj_put_numbers(t, "solreflimit", j->solref_limit, 2);
    bpi_mj_put_numbers(t, "solimplimit", j->solimp_limit, 3);
    bpi_mj_put(t, "/>\n");
}

/* A body, what hangs on it, and the bodies below it. Recursion is as deep as the tree. */
BPI_MJ_FN void bpi_mj_put_body(bpi_mj_text *t, const bp_mj_table *table, int index) {
    size_t i;
    if (index != BP_MJ_WORLD_BODY) {
        const bp_mj_body *body = &table->body[index];
        bpi_mj_put(t, "<body name=\"%s\"", body->name);
        bpi_mj_put_numbers(t, "pos", body->pos, 3);
        bpi_mj_put_numbers(t, "quat", body->quat, 4);
        bpi_mj_put(t, ">\n");
    }
    for (i = 0; i < table->n_joints; i++)
        if (table->joint[i].body == index) bpi_mj_put_joint(t, &table->joint[i]);
    for (i = 0; i < table->n_geoms; i++)
        if (table->geom[i].body == index) bpi_mj_put_geom(t, &table->geom[i]);
    for (i = 0; i < table->n_sites; i++)
        if (table->site[i].body == index) {
            bpi_mj_put(t, "<site name=\"%s\"", table->site[i].name);
            bpi_mj_put_numbers(t, "pos", table->site[i].pos, 3);
            bpi_mj_put(t, "/>\n");
        }
    for (i = 0; i < table->n_bodies; i++)
        if (table->body[i].parent == index && (int)i > index) bpi_mj_put_body(t, table, (int)i);
    if (index != BP_MJ_WORLD_BODY) bpi_mj_put(t, "</body>\n");
}

BPRIOR_API size_t bp_mj_table_xml(char *out, size_t capacity, const bp_mj_table *table) {
    static const char *const sensor[] = {"velocimeter", "gyro", "accelerometer"};
    bpi_mj_text t;
    size_t i;
    t.out = out;
    t.capacity = capacity;
    t.used = 0;

    bpi_mj_put(&t, "<mujoco model=\"%s\">\n<compiler angle=\"radian\"", table->name);
    bpi_mj_put_numbers(&t, "boundmass", &table->bound_mass, 1);
    bpi_mj_put_numbers(&t, "boundinertia", &table->bound_inertia, 1);
    bpi_mj_put(&t, "/>\n<option cone=\"%s\" noslip_iterations=\"%d\"", table->elliptic ? "elliptic" : "pyramidal",
               table->noslip_iterations);
    bpi_mj_put_numbers(&t, "timestep", &table->timestep, 1);
    bpi_mj_put_numbers(&t, "noslip_tolerance", &table->noslip_tolerance, 1);
    bpi_mj_put(&t, ">%s</option>\n", table->contacts ? "" : "<flag contact=\"disable\"/>");
#if mjVERSION_HEADER < 300
    bpi_mj_put(&t, "<size");
    if (table->max_constraints) bpi_mj_put(&t, " njmax=\"%d\"", table->max_constraints);
    if (table->max_contacts) bpi_mj_put(&t, " nconmax=\"%d\"", table->max_contacts);
    if (table->max_stack) bpi_mj_put(&t, " nstack=\"%d\"", table->max_stack);
    bpi_mj_put(&t, "/>\n");
#endif

    bpi_mj_put_looks(&t, table);
    bpi_mj_put(&t, "<worldbody>\n<light directional=\"true\" castshadow=\"true\" pos=\"0 0 10\" dir=\".4 .1 -1\"");
    bpi_mj_put(&t, " ambient=\"0 0 0\" diffuse=\".52 .51 .48\" specular=\".15 .15 .15\"/>\n");
    bpi_mj_put_body(&t, table, BP_MJ_WORLD_BODY);
    bpi_mj_put(&t, "</worldbody>\n<contact>\n");
    for (i = 0; i < table->n_excludes; i++)
        bpi_mj_put(&t, "<exclude body1=\"%s\" body2=\"%s\"/>\n", table->body[table->exclude[i][0]].name,
                   table->body[table->exclude[i][1]].name);
    bpi_mj_put(&t, "</contact>\n<actuator>\n");
    for (i = 0; i < table->n_motors; i++) {
        bpi_mj_put(&t, "<motor name=\"%s\" joint=\"%s\"", table->motor[i].name,
                   table->joint[table->motor[i].joint].name);
        bpi_mj_put_numbers(&t, "gear", &table->motor[i].gear, 1);
        bpi_mj_put(&t, " ctrllimited=\"true\" ctrlrange=\"-1 1\"/>\n");
    }
    bpi_mj_put(&t, "</actuator>\n<sensor>\n");
    for (i = 0; i < table->n_sensors; i++)
        bpi_mj_put(&t, "<%s name=\"%s\" site=\"%s\"/>\n", sensor[table->sensor[i].kind], table->sensor[i].name,
                   table->site[table->sensor[i].site].name);
    bpi_mj_put(&t, "</sensor>\n</mujoco>\n");
    if (capacity) out[t.used < capacity ? t.used : capacity - 1] = '\0';
    return t.used;
}

BPRIOR_API bp_status bp_mj_table_load(mjModel **out, const bp_mj_table *table, const bp_allocator *allocator,
                                      bp_error *error) {
    size_t bytes;
    char *xml;
    bp_status status;
    if (!out || !table) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_table_load: an argument is NULL");
    *out = NULL;
    if (table->n_bodies > BP_MJ_MAX_BODIES || table->n_joints > BP_MJ_MAX_JOINTS || table->n_geoms > BP_MJ_MAX_GEOMS ||
        table->n_motors > BP_MJ_MAX_MOTORS || table->n_sites > BP_MJ_MAX_SITES ||
        table->n_sensors > BP_MJ_MAX_SENSORS || table->n_excludes > BP_MJ_MAX_EXCLUDES)
        return bpi_fail(error, BP_ERR_SIZE, "bp_mj_table_load: table \"%s\" has more rows than fit", table->name);
    bytes = bp_mj_table_xml(NULL, 0, table) + 1;
    xml = (char *)bp_alloc(allocator, bytes);
    if (!xml) return bpi_fail(error, BP_ERR_MEMORY, "bp_mj_table_load: no memory");
    bp_mj_table_xml(xml, bytes, table);
    status = bp_mj_load_xml(out, xml, allocator, error);
    bp_free(allocator, xml, bytes);
    return status;
}

/* ==========================================================================
 * M3. >>mj-bodies-impl   Bodies
 *    provides: bp_mj_table_add_*        needs: M2        equations: none
 * ========================================================================== */

#define BPI_MJ_POINTMASS_LIMIT 0.29  /* m: joint limits of the point mass */
#define BPI_MJ_POINTMASS_DAMPING 1.0 /* N s/m */

BPRIOR_API void bp_mj_table_add_pointmass(bp_mj_table *table, double gear) {
    static const char *const name[2] = {"root_x", "root_y"};
    const int body = (int)table->n_bodies;
    bp_mj_geom *geom;
    int i;
    if (!bp_mj_table_body(table, "pointmass", BP_MJ_WORLD_BODY, 0, 0, 0.01)) return;
    for (i = 0; i < 2; i++) {
        bp_mj_joint *joint = bp_mj_table_joint(table, name[i], body, BP_MJ_SLIDE, i == 0, i == 1, 0);
        if (!joint) return;
        joint->limited = true;
        bpi_mj_set2(joint->range, -BPI_MJ_POINTMASS_LIMIT, BPI_MJ_POINTMASS_LIMIT);
        joint->damping = BPI_MJ_POINTMASS_DAMPING;
        /* the suite pulls on two tendons of one joint each; a motor on the joint is the same force */
        bp_mj_table_motor(table, name[i], (int)table->n_joints - 1, gear);
    }
    geom = bp_mj_table_geom(table, "pointmass", body, BP_MJ_SPHERE);
    if (!geom) return;
    geom->size[0] = 0.01;
    geom->mass = 0.3;
    bpi_mj_paint(geom, 0.9, 0.45, 0.15);
}

/* The four legs in their one order: which way they point, the ankle's axis, and the signs of the foot quaternion. */
typedef struct bpi_mj_leg {
    const char *name;
    double sx, sy;         /* the leg points to (sx, sy) */
    double axis_x, axis_y; /* of the ankle */
    double qx, qy;         /* signs of the foot's quaternion */
} bpi_mj_leg;

static const bpi_mj_leg bpi_mj_legs[4] = {{"front_left", 1, 1, 1, -1, -1, 1},
                                          {"front_right", 1, -1, -1, -1, 1, 1},
                                          {"back_right", -1, -1, -1, 1, 1, -1},
                                          {"back_left", -1, 1, 1, 1, -1, -1}};

/* What all the ant's geoms share. */
BPI_MJ_FN bp_mj_geom *bpi_mj_ant_geom(bp_mj_table *table, const char *name, int body, bp_mj_geom_kind kind) {
    bp_mj_geom *geom = bp_mj_table_geom(table, name, body, kind);
    if (!geom) return NULL;
    bpi_mj_set3(geom->friction, 1, 0.5, 0.5);
    bpi_mj_set3(geom->solimp, 0, 0.8, 0.01);
    bpi_mj_paint(geom, 0.87, 0.55, 0.25);
    return geom;
}

/* One body of a leg: a capsule from its origin to (x, y, 0). Returns the body's row, or -1. */
BPI_MJ_FN int bpi_mj_ant_segment(bp_mj_table *table, const char *leg, const char *part, int parent, double px,
                                 double py, double x, double y) {
    char name[BP_NAME];
    bp_mj_geom *geom;
    const int row = (int)table->n_bodies;
    snprintf(name, sizeof name, "%s_%s", leg, part);
    if (!bp_mj_table_body(table, name, parent, px, py, 0)) return -1;
    geom = bpi_mj_ant_geom(table, name, row, BP_MJ_CAPSULE);
    if (!geom) return -1;
    geom->size[0] = 0.08;
    geom->density = 50;
    bpi_mj_set3(geom->end, x, y, 0);
    return row;
}

BPI_MJ_FN bool bpi_mj_ant_hinge(bp_mj_table *table, const char *leg, const char *part, int body, double ax, double ay,
                                double az, double limit) {
    char name[BP_NAME];
    bp_mj_joint *joint;
    snprintf(name, sizeof name, "%s_%s", leg, part);
    joint = bp_mj_table_joint(table, name, body, BP_MJ_HINGE, ax, ay, az);
    if (!joint) return false;
    joint->limited = true;
    bpi_mj_set2(joint->range, -limit, limit);
    joint->damping = joint->stiffness = joint->armature = 1;
    bpi_mj_set2(joint->solref_limit, 0.04, 1); /* soft limits: joints overshoot by a few hundredths of a radian */
    bpi_mj_set3(joint->solimp_limit, 0, 0.8, 0.03);
    return bp_mj_table_motor(table, name, (int)table->n_joints - 1, 75) != NULL;
}

BPRIOR_API void bp_mj_table_add_ant(bp_mj_table *table) {
    static const char *const sensor[3] = {"velocimeter", "gyro", "accelerometer"};
    const int frame = (int)table->n_bodies, torso = frame + 1;
    bp_mj_geom *geom;
    size_t i;

    if (!bp_mj_table_body(table, "walker/", BP_MJ_WORLD_BODY, 0, 0, 0)) return;
    if (!bp_mj_table_joint(table, "walker/root", frame, BP_MJ_FREE, 0, 0, 0)) return;
    if (!bp_mj_table_body(table, "torso", frame, 0, 0, 0.522)) return;
    geom = bpi_mj_ant_geom(table, "torso", torso, BP_MJ_SPHERE);
    if (!geom) return;
    geom->size[0] = 0.25;
    geom->density = 100;
    bpi_mj_paint(geom, 0.72, 0.36, 0.16);

    for (i = 0; i < 4; i++) {
        const bpi_mj_leg *l = &bpi_mj_legs[i];
        const double x = 0.2 * l->sx, y = 0.2 * l->sy;
        int leg, aux, foot;
        bp_mj_body *body;
        leg = bpi_mj_ant_segment(table, l->name, "leg", torso, 0, 0, x, y);
        aux = leg < 0 ? -1 : bpi_mj_ant_segment(table, l->name, "aux", leg, x, y, x, y);
        foot = aux < 0 ? -1 : bpi_mj_ant_segment(table, l->name, "foot", aux, x, y, 2 * x, 2 * y);
        if (foot < 0) return;

        /* Not of unit length, and kept so: MuJoCo normalises it to a bend of 51.29 degrees. Reading w as a cosine
         * would suggest 20. */
        body = &table->body[foot];
        body->quat[0] = 0.98480775301220802;
        body->quat[1] = l->qx * 0.33428158105097677;
        body->quat[2] = l->qy * 0.33428158105097677;

        if (!bpi_mj_ant_hinge(table, l->name, "hip", aux, 0, 0, 1, 0.52359)) return;
        if (!bpi_mj_ant_hinge(table, l->name, "ankle", foot, l->axis_x, l->axis_y, 0, 0.34906)) return;
        if (table->n_excludes < BP_MJ_MAX_EXCLUDES) {
            table->exclude[table->n_excludes][0] = torso;
            table->exclude[table->n_excludes][1] = aux;
        }
        table->n_excludes++;
    }

    if (table->n_sites++ >= BP_MJ_MAX_SITES) return;
    bpi_mj_name(table->site[table->n_sites - 1].name, "torso_site");
    table->site[table->n_sites - 1].body = torso;
    for (i = 0; i < 3; i++) {
        if (table->n_sensors++ >= BP_MJ_MAX_SENSORS) return;
        bpi_mj_name(table->sensor[table->n_sensors - 1].name, sensor[i]);
        table->sensor[table->n_sensors - 1].kind = (bp_mj_sensor_kind)i;
        table->sensor[table->n_sensors - 1].site = (int)table->n_sites - 1;
    }
}

/* ==========================================================================
 * M4. >>mj-worlds-impl   Worlds, environments, arenas
 *    provides: bp_mj_world bp_mj_env_*        needs: M1 M2, bprior.h 3, 9        equations: none
 * ========================================================================== */

#define BPI_MJ_NONE ((size_t)-1) /* offset of a field that is not there */
#define BPI_MJ_PI 3.14159265358979323846

typedef enum bpi_mj_task { BPI_MJ_POINTMASS = 0,
                           BPI_MJ_ANT } bpi_mj_task;

/* Entries of the ant's observation, in the reference's order. */
enum {
    BPI_ANT_APPENDAGES = 0,
    BPI_ANT_BODIES_POS,
    BPI_ANT_BODIES_QUATS,
    BPI_ANT_HEIGHT,
    BPI_ANT_EFFECTORS,
    BPI_ANT_JOINTS_POS,
    BPI_ANT_JOINTS_VEL,
    BPI_ANT_ORIENTATION,
    BPI_ANT_POSITION,
    BPI_ANT_ACCELEROMETER,
    BPI_ANT_GYRO,
    BPI_ANT_VELOCIMETER,
    BPI_ANT_ZAXIS,
    BPI_ANT_TARGETS,
    BPI_ANT_ACTIVATED,
    BPI_ANT_PREDICATE,
    BPI_ANT_GOAL,
    BPI_ANT_FIELDS
};

/* Places in mjModel, looked up by name once. */
typedef struct bpi_mj_ant_ids {
    int body[13]; /* torso, then leg, aux, foot of each leg */
    int foot[4];
    int geom[13];
    int qpos[8]; /* address of each hinge, in the order of the actuators */
    int qvel[8];
    int root_qpos;
    int sensor[3]; /* address of velocimeter, gyro, accelerometer readings */
} bpi_mj_ant_ids;

struct bp_mj_world {
    bpi_mj_task kind;
    mjModel *model;
    bp_spec spec;
    uint64_t mark; /* tells this world's saved states from others' */
    size_t n_substeps;
    size_t episode_steps;
    bool divergence_is_error;
    size_t n_targets;
    bp_mj_pointmass_config pointmass;
    bp_mj_ant_config ant;
    bpi_mj_ant_ids ids;
    size_t offset[BPI_ANT_FIELDS]; /* of each field in the observation, or BPI_MJ_NONE */
    bp_owner owner;
};

/* The task's memory. Saved as bytes, hence without pointers, and with 8-byte members only: no padding. */
typedef struct bpi_mj_episode {
    uint64_t seed;
    uint64_t running;
    uint64_t steps;
    uint64_t end;  /* bp_mj_end */
    uint64_t task; /* point mass */
    uint64_t goal; /* the next target */
    uint64_t hits;
    uint64_t previous[2]; /* reached last, and before; n_targets: none */
    uint64_t was, now;    /* ant: the predicate before and after the step */
    double start[3];      /* x, y, yaw */
    double target[BP_MJ_MAX_TARGETS][3];
} bpi_mj_episode;

typedef struct bpi_mj_env {
    const bp_mj_world *world;
    mjData *data;
    bool broken; /* MuJoCo gave up in the middle of something: data must be made anew */
    bpi_mj_episode episode;
    uint64_t diverged;
    bp_error error;
    char warning[128];
} bpi_mj_env;

/* Purposes of random numbers within one episode's seed. Draw number i of a sequence uses its own stream, so the
 * generator has no state to save. */
#define BPI_MJ_STREAM_RESET 0u
#define BPI_MJ_STREAM_SEQUENCE 1u

/* What a protected piece of work is about. */
typedef struct bpi_mj_work {
    bpi_mj_env *env;
    const bp_real *action; /* step */
    const double *qpos;    /* set_state, load */
    const double *qvel;
    const double *rest; /* load: act, ctrl, warm start */
    double time;
    uint64_t hits; /* step, point mass: targets reached during it */
    bool diverged;
} bpi_mj_work;

BPI_MJ_FN void bpi_mj_work_make(void *ctx) {
    bpi_mj_env *env = ((bpi_mj_work *)ctx)->env;
    env->data = mj_makeData(env->world->model);
}

/* MuJoCo notices numbers out of range, resets the state on its own and carries on as if nothing had happened. */
BPI_MJ_FN bool bpi_mj_diverged(const mjData *d) {
    return d->warning[mjWARN_BADQPOS].number > 0 || d->warning[mjWARN_BADQVEL].number > 0 ||
           d->warning[mjWARN_BADQACC].number > 0;
}

/* Start of an episode: everything zero, the body in its place. */
BPI_MJ_FN void bpi_mj_work_begin(void *ctx) {
    bpi_mj_env *env = ((bpi_mj_work *)ctx)->env;
    const bp_mj_world *w = env->world;
    const double *start = env->episode.start;
    mjData *d = env->data;
    mj_resetData(w->model, d);
    if (w->kind == BPI_MJ_POINTMASS) {
        d->qpos[0] = (mjtNum)start[0];
        d->qpos[1] = (mjtNum)start[1];
    } else {
        mjtNum *q = d->qpos + w->ids.root_qpos; /* x y z, then a turn by yaw about z as a quaternion */
        q[0] = (mjtNum)start[0];
        q[1] = (mjtNum)start[1];
        q[2] = 0;
        q[3] = (mjtNum)cos(0.5 * start[2]);
        q[4] = 0;
        q[5] = 0;
        q[6] = (mjtNum)sin(0.5 * start[2]);
    }
    mj_forward(w->model, d);
}

BPI_MJ_FN void bpi_mj_pointmass_substep(bpi_mj_env *env, uint64_t *hits);

/* One control step. step2 + step1 rather than mj_step: it leaves positions, velocities and contacts of the NEW state
 * behind, where mj_step leaves those of 5 ms before. (The accelerometer alone is one physics step old.) */
BPI_MJ_FN void bpi_mj_work_step(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    bpi_mj_env *env = work->env;
    const bp_mj_world *w = env->world;
    const mjModel *m = w->model;
    mjData *d = env->data;
    size_t i;
    for (i = 0; i < w->spec.action_size; i++) d->ctrl[i] = (mjtNum)work->action[i]; /* MuJoCo clamps to [-1, 1] */
    for (i = 0; i < w->n_substeps; i++) {
        mj_step2(m, d);
        mj_step1(m, d);
        if (bpi_mj_diverged(d)) {
            work->diverged = true;
            mj_forward(m, d); /* after MuJoCo's own reset: something finite to observe */
            return;
        }
        if (w->kind == BPI_MJ_POINTMASS) bpi_mj_pointmass_substep(env, &work->hits);
    }
}

BPI_MJ_FN void bpi_mj_work_set(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    const mjModel *m = work->env->world->model;
    mjData *d = work->env->data;
    int i;
    for (i = 0; work->qpos && i < m->nq; i++) d->qpos[i] = (mjtNum)work->qpos[i];
    for (i = 0; work->qvel && i < m->nv; i++) d->qvel[i] = (mjtNum)work->qvel[i];
    mj_forward(m, d);
}

/* mj_step1 computes from positions and velocities exactly what it had computed when the state was saved: the next
 * step begins with mj_step2 and finds the same numbers. (mj_forward would also replace the warm start.) */
BPI_MJ_FN void bpi_mj_work_load(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    const mjModel *m = work->env->world->model;
    mjData *d = work->env->data;
    const double *rest = work->rest;
    int i;
    mj_resetData(m, d);
    for (i = 0; i < m->nq; i++) d->qpos[i] = (mjtNum)work->qpos[i];
    for (i = 0; i < m->nv; i++) d->qvel[i] = (mjtNum)work->qvel[i];
    for (i = 0; i < m->na; i++) d->act[i] = (mjtNum)*rest++;
    for (i = 0; i < m->nu; i++) d->ctrl[i] = (mjtNum)*rest++;
    for (i = 0; i < m->nv; i++) d->qacc_warmstart[i] = (mjtNum)*rest++;
    d->time = (mjtNum)work->time;
    mj_step1(m, d);
}

BPI_MJ_FN bp_status bpi_mj_run(bpi_mj_env *env, void (*fn)(void *), bpi_mj_work *work) {
    bp_status status;
    work->env = env;
    status = bpi_mj_guard(fn, work, env->warning, &env->error);
    if (status != BP_OK) {
        env->broken = true;
        env->episode.running = 0;
        env->episode.end = BP_MJ_ENGINE_ERROR;
    }
    return status;
}

/* Make mjData for an environment that has none, or none that is fit for use. */
BPI_MJ_FN bp_status bpi_mj_fresh_data(bpi_mj_env *env) {
    bpi_mj_work work;
    bp_status status;
    if (env->data) mj_deleteData(env->data);
    env->data = NULL;
    memset(&work, 0, sizeof work);
    status = bpi_mj_run(env, bpi_mj_work_make, &work);
    if (status != BP_OK) return status;
    if (!env->data) return bpi_fail(&env->error, BP_ERR_MEMORY, "MuJoCo could not allocate mjData");
    env->broken = false;
    return BP_OK;
}

BPI_MJ_FN void bpi_mj_pointmass_draw(bpi_mj_env *env);
BPI_MJ_FN void bpi_mj_pointmass_observe(const bpi_mj_env *env, bp_real *observation);
BPI_MJ_FN void bpi_mj_ant_draw(bpi_mj_env *env, const bp_mj_ant_layout *layout);
BPI_MJ_FN void bpi_mj_ant_observe(const bpi_mj_env *env, bp_real *observation);
BPI_MJ_FN bool bpi_mj_ant_at(const bpi_mj_env *env, const double *target);
BPI_MJ_FN void bpi_mj_ant_judge(bpi_mj_env *env, double *reward, double *discount);

BPI_MJ_FN void bpi_mj_observe(const bpi_mj_env *env, bp_real *observation) {
    if (env->world->kind == BPI_MJ_POINTMASS) bpi_mj_pointmass_observe(env, observation);
    else bpi_mj_ant_observe(env, observation);
}

/* Put the body where the episode says it starts, and look. */
BPI_MJ_FN bp_status bpi_mj_begin(bpi_mj_env *env, bp_real *observation) {
    bpi_mj_episode *e = &env->episode;
    bpi_mj_work work;
    bp_status status;
    memset(&work, 0, sizeof work);
    status = bpi_mj_run(env, bpi_mj_work_begin, &work);
    if (status != BP_OK) return status;
    e->running = 1;
    if (env->world->kind == BPI_MJ_ANT) e->now = bpi_mj_ant_at(env, e->target[e->goal]);
    bpi_mj_observe(env, observation);
    return bpi_ok(&env->error);
}

BPI_MJ_FN bp_status bpi_mj_reset(void *self, uint64_t seed, bp_real *observation) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_mj_world *w = env->world;
    env->warning[0] = '\0';
    if (env->broken || !env->data) {
        bp_status status = bpi_mj_fresh_data(env);
        if (status != BP_OK) return status;
    }
    memset(&env->episode, 0, sizeof env->episode);
    env->episode.seed = seed;
    env->episode.previous[0] = env->episode.previous[1] = w->n_targets;
    if (w->kind == BPI_MJ_POINTMASS) bpi_mj_pointmass_draw(env);
    else bpi_mj_ant_draw(env, w->ant.fixed_layout ? &w->ant.layout : NULL);
    return bpi_mj_begin(env, observation);
}

BPI_MJ_FN bp_status bpi_mj_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_mj_world *w = env->world;
    bpi_mj_episode *e = &env->episode;
    bpi_mj_work work;
    bp_status status;
    double reward = 0, discount = 1;
    size_t i;

    if (!e->running) return bpi_fail(&env->error, BP_ERR_ENV, "no episode is running: call reset() first");
    for (i = 0; i < w->spec.action_size; i++)
        if (!bpi_finite(action[i])) return bpi_fail(&env->error, BP_ERR_ENV, "action[%zu] is not finite", i);

    memset(&work, 0, sizeof work);
    work.action = action;
    if (w->kind == BPI_MJ_ANT) e->was = e->steps > 0 && e->now; /* nothing counts as true before the first step */
    status = bpi_mj_run(env, bpi_mj_work_step, &work);
    if (status != BP_OK) return status;
    e->steps++;

    if (w->kind == BPI_MJ_POINTMASS) {
        reward = w->pointmass.hit_reward * (double)work.hits;
        if (w->pointmass.max_hits && e->hits >= w->pointmass.max_hits) {
            discount = 0;
            e->end = BP_MJ_SUCCESS;
        }
    } else if (!work.diverged) {
        bpi_mj_ant_judge(env, &reward, &discount);
    }

    /* The last word belongs to the numbers: a state too large to be written as bp_real has diverged as well. */
    bpi_mj_observe(env, observation);
    for (i = 0; i < w->spec.observation_size; i++)
        if (!bpi_finite(observation[i])) {
            work.diverged = true;
            observation[i] = 0;
        }
    if (work.diverged) {
        reward = discount = 0;
        env->diverged++;
        e->end = BP_MJ_DIVERGED;
    } else if (e->end == BP_MJ_RUNNING && e->steps >= w->episode_steps) {
        e->end = BP_MJ_TIME_LIMIT;
    }
    e->running = e->end == BP_MJ_RUNNING;
    out->reward = (bp_real)reward;
    out->discount = (bp_real)discount;
    out->last = !e->running;
    if (work.diverged && w->divergence_is_error)
        return bpi_fail(&env->error, BP_ERR_ENV, "the simulation diverged in step %llu: %s",
                        (unsigned long long)e->steps, env->warning);
    return bpi_ok(&env->error);
}

/* A saved state is: mark, episode, time, qpos, qvel, act, ctrl, warm start; all members of 8 bytes. Explicit arrays
 * rather than mj_getState: what that one holds differs between versions. */
BPI_MJ_FN size_t bpi_mj_state_numbers(const mjModel *m) {
    return (size_t)(1 + m->nq + 2 * m->nv + m->na + m->nu);
}

BPI_MJ_FN size_t bpi_mj_save(void *self, void *buffer, size_t capacity) {
    const bpi_mj_env *env = (const bpi_mj_env *)self;
    const mjModel *m = env->world->model;
    const mjData *d = env->data;
    const size_t bytes = sizeof(uint64_t) + sizeof env->episode + bpi_mj_state_numbers(m) * sizeof(double);
    unsigned char *p = (unsigned char *)buffer;
    const mjtNum *part[5];
    int length[5], i, j;
    double number;
    if (!buffer) return bytes;
    if (capacity < bytes || !d) return 0;
    memcpy(p, &env->world->mark, sizeof(uint64_t));
    p += sizeof(uint64_t);
    memcpy(p, &env->episode, sizeof env->episode);
    p += sizeof env->episode;
    number = (double)d->time;
    memcpy(p, &number, sizeof number);
    p += sizeof number;
    part[0] = d->qpos;
    length[0] = (int)m->nq;
    part[1] = d->qvel;
    length[1] = (int)m->nv;
    part[2] = d->act;
    length[2] = (int)m->na;
    part[3] = d->ctrl;
    length[3] = (int)m->nu;
    part[4] = d->qacc_warmstart;
    length[4] = (int)m->nv;
    for (i = 0; i < 5; i++)
        for (j = 0; j < length[i]; j++, p += sizeof number) {
            number = (double)part[i][j];
            memcpy(p, &number, sizeof number);
        }
    return bytes;
}

/* Could these bytes have come from bpi_mj_save()? Whatever is used as an index must be in range. */
BPI_MJ_FN bool bpi_mj_episode_ok(const bp_mj_world *w, const bpi_mj_episode *e) {
    size_t i, j;
    if (e->running > 1 || e->was > 1 || e->now > 1 || e->end > BP_MJ_ENGINE_ERROR || e->goal >= w->n_targets ||
        e->previous[0] > w->n_targets || e->previous[1] > w->n_targets)
        return false;
    if (e->running && (e->end != BP_MJ_RUNNING || e->steps >= w->episode_steps)) return false;
    if (e->task >= (w->kind == BPI_MJ_POINTMASS ? w->pointmass.n_tasks : 1)) return false;
    for (i = 0; i < BP_MJ_MAX_TARGETS; i++)
        for (j = 0; j < 3; j++)
            if (!bpi_finite_d(e->target[i][j])) return false;
    for (i = 0; i < 3; i++)
        if (!bpi_finite_d(e->start[i])) return false;
    return true;
}

#define BPI_MJ_MAX_STATE 256 /* numbers; the largest body here has nq + 2 nv + nu below 100 */

BPI_MJ_FN bp_status bpi_mj_load(void *self, const void *buffer, size_t bytes) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_mj_world *w = env->world;
    const mjModel *m = w->model;
    const unsigned char *p = (const unsigned char *)buffer;
    const size_t n = bpi_mj_state_numbers(m);
    double number[BPI_MJ_MAX_STATE];
    bpi_mj_episode episode;
    bpi_mj_work work;
    uint64_t mark;
    bp_status status;
    size_t i;

    if (!buffer || n > BPI_MJ_MAX_STATE || bytes != sizeof mark + sizeof episode + n * sizeof(double))
        return bpi_fail(&env->error, BP_ERR_FORMAT, "a saved state has another size");
    memcpy(&mark, p, sizeof mark);
    memcpy(&episode, p + sizeof mark, sizeof episode);
    memcpy(number, p + sizeof mark + sizeof episode, n * sizeof(double));
    if (mark != w->mark) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is of another environment");
    if (!bpi_mj_episode_ok(w, &episode)) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is damaged");
    for (i = 0; i < n; i++)
        if (!bpi_finite_d(number[i])) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is damaged");

    if (env->broken || !env->data) {
        status = bpi_mj_fresh_data(env);
        if (status != BP_OK) return status;
    }
    memset(&work, 0, sizeof work);
    work.time = number[0];
    work.qpos = number + 1;
    work.qvel = work.qpos + m->nq;
    work.rest = work.qvel + m->nv;
    status = bpi_mj_run(env, bpi_mj_work_load, &work);
    if (status != BP_OK) return status;
    env->episode = episode;
    return bpi_ok(&env->error);
}

BPI_MJ_FN void bpi_mj_close(void *self) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_owner *owner;
    if (!env) return;
    owner = &env->world->owner;
    if (env->data) mj_deleteData(env->data);
    bp_free(owner->custom ? &owner->allocator : NULL, env, sizeof *env);
}

BPRIOR_API bp_status bp_mj_env_make(const bp_mj_world *world, bp_env *out, bp_error *error) {
    bpi_mj_env *env;
    bp_status status;
    if (!world || !out) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_env_make: an argument is NULL");
    env = (bpi_mj_env *)bp_alloc(world->owner.custom ? &world->owner.allocator : NULL, sizeof *env);
    if (!env) return bpi_fail(error, BP_ERR_MEMORY, "bp_mj_env_make: no memory");
    env->world = world;
    status = bpi_mj_fresh_data(env);
    if (status != BP_OK) {
        if (error) *error = env->error;
        bpi_mj_close(env);
        return status;
    }
    memset(out, 0, sizeof *out);
    out->self = env;
    out->reset = bpi_mj_reset;
    out->step = bpi_mj_step;
    out->save = bpi_mj_save;
    out->load = bpi_mj_load;
    out->close = bpi_mj_close;
    out->spec = world->spec;
    return bpi_ok(error);
}

BPI_MJ_FN bp_status bpi_mj_maker_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    (void)index;
    return bp_mj_env_make((const bp_mj_world *)ctx, out, error);
}

BPRIOR_API bp_env_maker bp_mj_maker(bp_mj_world *world) {
    bp_env_maker maker;
    maker.make = bpi_mj_maker_make;
    maker.ctx = world;
    return maker;
}

BPRIOR_API void bp_mj_world_destroy(bp_mj_world *world) {
    if (!world) return;
    if (world->model) mj_deleteModel(world->model);
    bpi_disown(&world->owner, world);
}

BPRIOR_API const mjModel *bp_mj_world_model(const bp_mj_world *world) { return world ? world->model : NULL; }
BPRIOR_API const bp_spec *bp_mj_world_spec(const bp_mj_world *world) { return world ? &world->spec : NULL; }
BPRIOR_API bool bp_mj_env_is(const bp_env *env) { return env && env->self && env->step == bpi_mj_step; }

BPRIOR_API mjData *bp_mj_env_data(const bp_env *env) {
    return bp_mj_env_is(env) ? ((const bpi_mj_env *)env->self)->data : NULL;
}

BPRIOR_API bp_mj_info bp_mj_env_info(const bp_env *env) {
    bp_mj_info info;
    memset(&info, 0, sizeof info);
    if (bp_mj_env_is(env)) {
        const bpi_mj_env *own = (const bpi_mj_env *)env->self;
        info.steps = own->episode.steps;
        info.end = (bp_mj_end)own->episode.end;
        info.diverged = own->diverged;
        info.task = (size_t)own->episode.task;
        info.goal = (size_t)own->episode.goal;
        info.hits = (size_t)(own->world->kind == BPI_MJ_ANT ? own->episode.now : own->episode.hits);
        info.previous[0] = (size_t)own->episode.previous[0];
        info.previous[1] = (size_t)own->episode.previous[1];
        info.error = own->error;
        memcpy(info.warning, own->warning, sizeof info.warning);
    }
    return info;
}

BPRIOR_API size_t bp_mj_env_targets(const bp_env *env, double *targets, size_t capacity) {
    const bpi_mj_env *own;
    size_t n;
    if (!bp_mj_env_is(env)) return 0;
    own = (const bpi_mj_env *)env->self;
    n = capacity < own->world->n_targets ? capacity : own->world->n_targets;
    if (n) memcpy(targets, own->episode.target, n * sizeof own->episode.target[0]);
    return own->world->n_targets;
}

BPRIOR_API bp_status bp_mj_env_set_state(bp_env *env, const double *qpos, const double *qvel, bp_real *observation,
                                         bp_error *error) {
    bpi_mj_env *own;
    bpi_mj_work work;
    bp_status status;
    if (!bp_mj_env_is(env)) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_env_set_state: not a MuJoCo environment");
    own = (bpi_mj_env *)env->self;
    if (!own->episode.running) return bpi_fail(error, BP_ERR_ENV, "bp_mj_env_set_state: no episode is running");
    memset(&work, 0, sizeof work);
    work.qpos = qpos;
    work.qvel = qvel;
    status = bpi_mj_run(own, bpi_mj_work_set, &work);
    if (status != BP_OK) {
        if (error) *error = own->error;
        return status;
    }
    if (observation) bpi_mj_observe(own, observation);
    return bpi_ok(error);
}

BPRIOR_API void bp_mj_table_add_room(bp_mj_table *table, int cells) {
    /* Half-lengths and centres of the four walls, in cells. With an even number of cells the boxes go round like a
     * pinwheel, because no box of 2 m can be centred on the corner otherwise. */
    const double w = (double)cells;
    const bool odd = cells % 2 != 0;
    const double odd_size[4][2] = {{w, 1}, {1, w - 2}, {1, w - 2}, {w, 1}};
    const double odd_at[4][2] = {{0, w - 1}, {-(w - 1), 0}, {w - 1, 0}, {0, -(w - 1)}};
    const double even_size[4][2] = {{w - 1, 1}, {1, w - 1}, {1, w - 1}, {w - 1, 1}};
    const double even_at[4][2] = {{-1, w - 1}, {w - 1, 1}, {-(w - 1), -1}, {1, -(w - 1)}};
    bp_mj_geom *geom = bp_mj_table_geom(table, "floor", BP_MJ_WORLD_BODY, BP_MJ_PLANE);
    char name[BP_NAME];
    int i;
    if (!geom) return;
    bpi_mj_set3(geom->size, w, w, 1);
    for (i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "wall_%d", i);
        geom = bp_mj_table_geom(table, name, BP_MJ_WORLD_BODY, BP_MJ_BOX);
        if (!geom) return;
        bpi_mj_set3(geom->size, odd ? odd_size[i][0] : even_size[i][0], odd ? odd_size[i][1] : even_size[i][1], 1);
        bpi_mj_set3(geom->pos, odd ? odd_at[i][0] : even_at[i][0], odd ? odd_at[i][1] : even_at[i][1], 1);
        bpi_mj_paint(geom, 0.6, 0.66, 0.74);
    }
}

/* Fold a number into a fingerprint (FNV-1a over its bytes). */
BPI_MJ_FN uint64_t bpi_mj_fold(uint64_t mark, double number) {
    unsigned char byte[sizeof number];
    size_t i;
    memcpy(byte, &number, sizeof number);
    for (i = 0; i < sizeof number; i++) mark = (mark ^ byte[i]) * (uint64_t)1099511628211u;
    return mark;
}

/* An empty world of a kind. */
BPI_MJ_FN bp_status bpi_mj_world_create(bp_mj_world **out, bpi_mj_task kind, const bp_allocator *allocator,
                                        bp_error *error) {
    bp_mj_world *w = (bp_mj_world *)bp_alloc(allocator, sizeof *w);
    *out = NULL;
    if (!w) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a world");
    bpi_own(&w->owner, allocator, sizeof *w);
    w->kind = kind;
    *out = w;
    return BP_OK;
}

/* A table to fill, or NULL. */
BPI_MJ_FN bp_mj_table *bpi_mj_table_alloc(const char *name, double timestep, const bp_allocator *allocator,
                                          bp_error *error) {
    bp_mj_table *table = (bp_mj_table *)bp_alloc(allocator, sizeof *table);
    if (!table) {
        bpi_fail(error, BP_ERR_MEMORY, "no memory for a model table");
        return NULL;
    }
    bp_mj_table_begin(table, name);
    table->timestep = timestep;
    return table;
}

/* ==========================================================================
 * M5. >>mj-pointmass-impl   Point mass: sequential navigation
 *    provides: bp_mj_pointmass_* bp_mj_sequence_law        needs: M4        equations: none
 * ========================================================================== */

BPRIOR_API bp_mj_pointmass_task bp_mj_pointmass_task_default(void) {
    bp_mj_pointmass_task task;
    memset(&task, 0, sizeof task);
    task.law = BP_MJ_LAW_MARKOV2;
    task.p_common = 0.9;
    task.layout = BP_MJ_LAYOUT_RING;
    task.radius = 0.2;
    task.angle = 0.25 * BPI_MJ_PI;
    task.spacing = 0.15;
    return task;
}

BPRIOR_API bp_mj_pointmass_config bp_mj_pointmass_config_make(uint32_t cookie) {
    bp_mj_pointmass_config c;
    size_t i;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mj_pointmass_config)) return c;
    c.n_targets = 4;
    c.n_substeps = 25;
    c.episode_steps = 50;
    c.timestep = 0.02;
    c.gear = 0.1;
    c.hit_radius = 0.06;
    c.hit_reward = 1;
    c.relative_targets = true;
    c.spawn = BP_MJ_SPAWN_UNIFORM;
    c.n_tasks = 1;
    c.fixed_task = -1;
    for (i = 0; i < BP_MJ_MAX_TASKS; i++) c.task[i] = bp_mj_pointmass_task_default();
    return c;
}

BPRIOR_API void bp_mj_pointmass_multitask(bp_mj_pointmass_config *config) {
    size_t i;
    config->n_tasks = 4;
    config->task_slots = 5;
    config->fixed_task = -1;
    for (i = 0; i < 4; i++) {
        config->task[i] = bp_mj_pointmass_task_default();
        config->task[i].angle = i & 1 ? 0.0 : 0.25 * BPI_MJ_PI; /* diamond, square */
        config->task[i].reversed = (i & 2) != 0;
        config->task[i].slot = i;
    }
}

BPRIOR_API void bp_mj_pointmass_transfer(bp_mj_pointmass_config *config, bp_mj_novelty novelty) {
    config->n_tasks = 1;
    config->task_slots = 5;
    config->fixed_task = -1;
    config->task[0] = bp_mj_pointmass_task_default();
    config->task[0].slot = 4;
    if (novelty & BP_MJ_NEW_LAYOUT) config->task[0].angle = 0.125 * BPI_MJ_PI;
    if (novelty & BP_MJ_NEW_SEQUENCE) config->task[0].law = BP_MJ_LAW_CYCLE;
}

/* s_c(p): the target after p among the others of c, in rising (or falling) order and round again. */
BPI_MJ_FN size_t bpi_mj_successor(size_t p, size_t c, size_t n, bool reversed) {
    do p = reversed ? (p + n - 1) % n : (p + 1) % n;
    while (p == c);
    return p;
}

BPRIOR_API void bp_mj_sequence_law(double *prob, const bp_mj_pointmass_task *task, size_t n_targets, size_t previous,
                                   size_t current) {
    size_t i, first, second;
    if (current >= n_targets) { /* nothing reached yet */
        for (i = 0; i < n_targets; i++) prob[i] = 1.0 / (double)n_targets;
        return;
    }
    for (i = 0; i < n_targets; i++) prob[i] = 0;
    if (task->law == BP_MJ_LAW_CYCLE) {
        prob[task->reversed ? (current + n_targets - 1) % n_targets : (current + 1) % n_targets] = 1;
    } else if (task->law == BP_MJ_LAW_UNIFORM || previous >= n_targets || previous == current) {
        for (i = 0; i < n_targets; i++)
            if (i != current) prob[i] = 1.0 / (double)(n_targets - 1);
    } else {
        first = bpi_mj_successor(previous, current, n_targets, task->reversed);
        second = bpi_mj_successor(first, current, n_targets, task->reversed);
        prob[first] += task->p_common;
        prob[second] += 1.0 - task->p_common;
    }
}

/* Draw the next target: number e->hits of the sequence. */
BPI_MJ_FN void bpi_mj_pointmass_next(bpi_mj_env *env) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_world *w = env->world;
    double prob[BP_MJ_MAX_TARGETS], u;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_SEQUENCE + e->hits);
    size_t i, last = 0;
    bp_mj_sequence_law(prob, &w->pointmass.task[e->task], w->n_targets, (size_t)e->previous[1],
                       (size_t)e->previous[0]);
    u = bp_rng_uniform(&rng);
    for (i = 0; i < w->n_targets; i++) {
        if (prob[i] <= 0) continue;
        last = i; /* should rounding leave u above the sum, the last possible one it is */
        if (u < prob[i]) break;
        u -= prob[i];
    }
    e->goal = last;
}

BPI_MJ_FN double bpi_mj_distance2(const double *a, double x, double y) {
    return (a[0] - x) * (a[0] - x) + (a[1] - y) * (a[1] - y);
}

/* Coordinates of the episode's targets. */
BPI_MJ_FN void bpi_mj_pointmass_layout(bpi_mj_env *env, bp_rng *rng) {
    bpi_mj_episode *e = &env->episode;
    const size_t n = env->world->n_targets;
    const bp_mj_pointmass_task *task = &env->world->pointmass.task[e->task];
    size_t i, j, attempt;

    for (i = 0; i < n; i++) {
        const double angle = task->angle + 2 * BPI_MJ_PI * (double)i / (double)n;
        bpi_mj_set3(e->target[i], task->radius * cos(angle), task->radius * sin(angle), 0.01);
        if (task->layout == BP_MJ_LAYOUT_LISTED) bpi_mj_set2(e->target[i], task->target[i][0], task->target[i][1]);
    }
    if (task->layout != BP_MJ_LAYOUT_RANDOM) return;

    /* Place one after the other; a place too close to an earlier one is redrawn. A crowded square may leave no room for
     * the last, so a limit on attempts, after which the closest calls are let through. */
    for (i = 0; i < n; i++)
        for (attempt = 0; attempt < 1000; attempt++) {
            e->target[i][0] = 0.5 * bp_rng_uniform(rng) - 0.25;
            e->target[i][1] = 0.5 * bp_rng_uniform(rng) - 0.25;
            for (j = 0; j < i; j++)
                if (bpi_mj_distance2(e->target[j], e->target[i][0], e->target[i][1]) < task->spacing * task->spacing)
                    break;
            if (j == i) break;
        }
}

/* Everything an episode of the point mass draws at its start. */
BPI_MJ_FN void bpi_mj_pointmass_draw(bpi_mj_env *env) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_pointmass_config *c = &env->world->pointmass;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);
    size_t attempt;
    e->task = bp_rng_index(&rng, c->n_tasks); /* drawn in any case: fixing the task changes nothing else */
    if (c->fixed_task >= 0) e->task = (uint64_t)c->fixed_task;
    bpi_mj_pointmass_layout(env, &rng);
    bpi_mj_pointmass_next(env);
    for (attempt = 0; attempt < 1000; attempt++) {
        e->start[0] = BPI_MJ_POINTMASS_LIMIT * (2 * bp_rng_uniform(&rng) - 1);
        e->start[1] = BPI_MJ_POINTMASS_LIMIT * (2 * bp_rng_uniform(&rng) - 1);
        if (bpi_mj_distance2(e->target[e->goal], e->start[0], e->start[1]) > c->hit_radius * c->hit_radius) break;
    }
    if (c->spawn == BP_MJ_SPAWN_FIXED) bpi_mj_set2(e->start, c->spawn_position[0], c->spawn_position[1]);
}

/* After each physics step: is the next target touched? */
BPI_MJ_FN void bpi_mj_pointmass_substep(bpi_mj_env *env, uint64_t *hits) {
    bpi_mj_episode *e = &env->episode;
    const double radius = env->world->pointmass.hit_radius;
    const size_t max_hits = env->world->pointmass.max_hits;
    if (max_hits && e->hits >= max_hits) return;
    if (bpi_mj_distance2(e->target[e->goal], (double)env->data->qpos[0], (double)env->data->qpos[1]) > radius * radius)
        return;
    e->previous[1] = e->previous[0];
    e->previous[0] = e->goal;
    e->hits++;
    ++*hits;
    bpi_mj_pointmass_next(env);
}

BPI_MJ_FN void bpi_mj_pointmass_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_world *w = env->world;
    const bp_mj_pointmass_config *c = &w->pointmass;
    const bpi_mj_episode *e = &env->episode;
    const double size = BPI_MJ_POINTMASS_LIMIT, speed = c->gear / BPI_MJ_POINTMASS_DAMPING;
    const double x[2] = {(double)env->data->qpos[0], (double)env->data->qpos[1]};
    const size_t n = w->n_targets;
    size_t i;
    bp_real *o = observation;
    for (i = 0; i < 2; i++) *o++ = (bp_real)(x[i] / size);
    for (i = 0; i < 2; i++) *o++ = (bp_real)((double)env->data->qvel[i] / speed);
    for (i = 0; i < 2 * n; i++)
        *o++ = (bp_real)((e->target[i / 2][i % 2] - (c->relative_targets ? x[i % 2] : 0.0)) / size);
    for (i = 0; i < n; i++) *o++ = BP_R(e->goal == i);
    if (c->show_previous)
        for (i = 0; i < 2 * n; i++) *o++ = BP_R(e->previous[i / n] == i % n);
    for (i = 0; i < c->task_slots; i++) *o++ = BP_R(c->task[e->task].slot == i);
}

BPI_MJ_FN bp_status bpi_mj_pointmass_check(const bp_mj_pointmass_config *c, bp_error *error) {
    const char *const type = "bp_mj_pointmass_config";
    size_t i, j;
    bp_status status = bpi_check_cookie(c->cookie, BP_COOKIE(bp_mj_pointmass_config), type, error);
    if (status != BP_OK) return status;
    if (c->n_targets < 2 || c->n_targets > BP_MJ_MAX_TARGETS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: n_targets is %zu, must be 2 .. %d", type, c->n_targets,
                        BP_MJ_MAX_TARGETS);
    if (c->n_substeps < 1 || c->episode_steps < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: n_substeps and episode_steps must be at least 1", type);
    if (!(c->timestep > 0 && c->timestep <= 1))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: timestep is %g, must be in (0, 1]", type, c->timestep);
    if (!(c->gear > 0 && c->gear < 1e6))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: gear is %g, must be positive", type, c->gear);
    if (!(c->hit_radius > 0 && bpi_finite_d(c->hit_radius)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: hit_radius is %g, must be positive", type, c->hit_radius);
    if (!bpi_finite_d(c->hit_reward)) return bpi_fail(error, BP_ERR_ARGUMENT, "%s: hit_reward is not finite", type);
    if (c->task_slots > 1024) return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task_slots is over 1024", type);
    if (c->spawn != BP_MJ_SPAWN_UNIFORM && c->spawn != BP_MJ_SPAWN_FIXED)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: spawn is %d", type, (int)c->spawn);
    for (i = 0; i < 2; i++)
        if (!(fabs(c->spawn_position[i]) <= BPI_MJ_POINTMASS_LIMIT))
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: spawn_position must be within +-0.29", type);
    if (c->n_tasks < 1 || c->n_tasks > BP_MJ_MAX_TASKS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: n_tasks is %zu, must be 1 .. %d", type, c->n_tasks,
                        BP_MJ_MAX_TASKS);
    if (c->fixed_task < -1 || c->fixed_task >= (int)c->n_tasks)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: fixed_task is %d, must be -1 .. n_tasks - 1", type,
                        c->fixed_task);
    for (i = 0; i < c->n_tasks; i++) {
        const bp_mj_pointmass_task *t = &c->task[i];
        if ((int)t->law < 0 || t->law > BP_MJ_LAW_CYCLE || (int)t->layout < 0 || t->layout > BP_MJ_LAYOUT_RANDOM)
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu] has law %d, layout %d", type, i, (int)t->law,
                            (int)t->layout);
        if (t->law == BP_MJ_LAW_MARKOV2 && c->n_targets < 4)
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu]: the second-order law needs at least 4 targets",
                            type, i);
        if (!(t->p_common >= 0 && t->p_common <= 1))
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu].p_common is %g, must be in [0, 1]", type, i,
                            t->p_common);
        if (!bpi_finite_d(t->angle) || !(fabs(t->radius) <= BPI_MJ_POINTMASS_LIMIT))
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu]: radius must be within +-0.29, angle finite", type,
                            i);
        if (!(t->spacing >= 0 && t->spacing < 0.5))
            return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu].spacing is %g, must be in [0, 0.5)", type, i,
                            t->spacing);
        for (j = 0; t->layout == BP_MJ_LAYOUT_LISTED && j < 2 * c->n_targets; j++)
            if (!(fabs(t->target[j / 2][j % 2]) <= BPI_MJ_POINTMASS_LIMIT))
                return bpi_fail(error, BP_ERR_ARGUMENT, "%s: task[%zu].target[%zu] is not within +-0.29", type, i,
                                j / 2);
    }
    return BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_pointmass_spec(bp_mj_world *w, bp_error *error) {
    const bp_mj_pointmass_config *c = &w->pointmass;
    bp_status status;
    bp_spec_begin(&w->spec, "mj_pointmass");
    status = bp_spec_add_field(&w->spec, "position", 2, error);
    if (status == BP_OK) status = bp_spec_add_field(&w->spec, "velocity", 2, error);
    if (status == BP_OK) status = bp_spec_add_field(&w->spec, "targets", 2 * c->n_targets, error);
    if (status == BP_OK) status = bp_spec_add_field(&w->spec, "next", c->n_targets, error);
    if (status == BP_OK && c->show_previous)
        status = bp_spec_add_field(&w->spec, "previous", 2 * c->n_targets, error);
    if (status == BP_OK && c->task_slots) status = bp_spec_add_field(&w->spec, "task", c->task_slots, error);
    if (status == BP_OK) status = bp_spec_actions_continuous(&w->spec, 2, -1, 1, error);
    return status;
}

BPI_MJ_FN bp_status bpi_mj_pointmass_model(bp_mj_world *w, const bp_allocator *allocator, bp_error *error) {
    bp_status status;
    bp_mj_geom *floor_geom;
    bp_mj_table *table = bpi_mj_table_alloc("pointmass", w->pointmass.timestep, allocator, error);
    if (!table) return BP_ERR_MEMORY;
    table->contacts = false;
    table->max_constraints = 16; /* two joint limits; MuJoCo 2.x would reserve megabytes and clear them at each reset */
    table->max_contacts = 4;
    table->max_stack = 20000;
    floor_geom = bp_mj_table_geom(table, "floor", BP_MJ_WORLD_BODY, BP_MJ_PLANE); /* only to be seen */
    if (floor_geom) bpi_mj_set3(floor_geom->size, 0.3, 0.3, 0.1);
    bp_mj_table_add_pointmass(table, w->pointmass.gear);
    status = bp_mj_table_load(&w->model, table, allocator, error);
    bp_free(allocator, table, sizeof *table);
    return status;
}

BPRIOR_API bp_status bp_mj_pointmass_world(bp_mj_world **out, const bp_mj_pointmass_config *config,
                                           const bp_allocator *allocator, bp_error *error) {
    bp_mj_world *w;
    bp_status status;
    size_t i;
    if (!out || !config) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_pointmass_world: an argument is NULL");
    *out = NULL;
    status = bpi_mj_pointmass_check(config, error);
    if (status != BP_OK) return status;
    status = bpi_mj_world_create(&w, BPI_MJ_POINTMASS, allocator, error);
    if (status != BP_OK) return status;
    w->pointmass = *config;
    w->n_substeps = config->n_substeps;
    w->episode_steps = config->episode_steps;
    w->divergence_is_error = config->divergence_is_error;
    w->n_targets = config->n_targets;
    status = bpi_mj_pointmass_spec(w, error);
    if (status == BP_OK) status = bpi_mj_pointmass_model(w, allocator, error);
    if (status != BP_OK) {
        bp_mj_world_destroy(w);
        return status;
    }
    w->mark = bp_spec_hash(&w->spec);
    w->mark = bpi_mj_fold(w->mark, (double)w->kind);
    w->mark = bpi_mj_fold(w->mark, config->gear);
    w->mark = bpi_mj_fold(w->mark, config->timestep);
    w->mark = bpi_mj_fold(w->mark, config->hit_radius);
    w->mark = bpi_mj_fold(w->mark, (double)config->n_substeps);
    w->mark = bpi_mj_fold(w->mark, (double)config->episode_steps);
    for (i = 0; i < config->n_tasks; i++) {
        w->mark = bpi_mj_fold(w->mark, (double)config->task[i].law + (config->task[i].reversed ? 0.5 : 0.0));
        w->mark = bpi_mj_fold(w->mark, config->task[i].p_common);
    }
    *out = w;
    return bpi_ok(error);
}

/* ==========================================================================
 * M6. >>mj-ant-impl   Ant: go_to_k_targets
 *    provides: bp_mj_ant_*        needs: M4        equations: none
 * ========================================================================== */

typedef struct bpi_mj_ant_field {
    const char *name;
    size_t size; /* 0: depends on the number of targets */
    bool compact;
} bpi_mj_ant_field;

static const bpi_mj_ant_field bpi_mj_ant_fields[BPI_ANT_FIELDS] = {
    {"walker/appendages_pos", 12, false},
    {"walker/bodies_pos", 39, false},
    {"walker/bodies_quats", 52, false},
    {"walker/body_height", 1, true},
    {"walker/end_effectors_pos", 12, true},
    {"walker/joints_pos", 8, true},
    {"walker/joints_vel", 8, true},
    {"walker/orientation", 9, false},
    {"walker/position", 3, false},
    {"walker/sensors_accelerometer", 3, true},
    {"walker/sensors_gyro", 3, true},
    {"walker/sensors_velocimeter", 3, true},
    {"walker/world_zaxis", 3, true},
    {"walker/target_positions", 0, true},
    {"walker/predicates_activated", 1, true},
    {"predicate_0", 5, true},
    {"goal", 0, false}};

BPRIOR_API bp_mj_ant_config bp_mj_ant_config_make(uint32_t cookie) {
    bp_mj_ant_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mj_ant_config)) return c;
    c.n_targets = 3;
    c.timestep = 0.005;
    c.n_substeps = 10;
    c.episode_steps = 400;
    c.reward_scale = 10;
    c.bonus = 5;
    c.alive_threshold = -0.5;
    c.observe = BP_MJ_OBSERVE_REFERENCE;
    bpi_mj_set2(c.layout.spawn, 2, -2);
    c.layout.yaw = (double)NAN;
    bpi_mj_set2(c.layout.target[0], 0, -2);
    bpi_mj_set2(c.layout.target[1], 2, 2);
    bpi_mj_set2(c.layout.target[2], -2, -2);
    c.layout.goal = -1;
    return c;
}

/* The room: a square of free cells where things may be, one more ring of free cells, and the walls. */
BPI_MJ_FN size_t bpi_mj_ant_free_cells(size_t n_targets) { return n_targets < 3 ? 3 : n_targets; }

/* Everything an episode of the ant draws at its start. layout (nullable) replaces the draws it fixes; the others are
 * made in the same order all the same. */
BPI_MJ_FN void bpi_mj_ant_draw(bpi_mj_env *env, const bp_mj_ant_layout *layout) {
    bpi_mj_episode *e = &env->episode;
    const size_t n = env->world->n_targets, side = bpi_mj_ant_free_cells(n);
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);
    size_t cell[BP_MJ_MAX_TARGETS * BP_MJ_MAX_TARGETS + 1], i;

    /* n + 1 different cells in random order: the beginning of a shuffle. The first is the spawn. */
    for (i = 0; i < side * side; i++) cell[i] = i;
    for (i = 0; i <= n; i++) {
        const size_t j = i + bp_rng_index(&rng, side * side - i), picked = cell[j];
        const double x = 2 * ((double)(picked % side) - 0.5 * (double)(side - 1));
        const double y = -2 * ((double)(picked / side) - 0.5 * (double)(side - 1)); /* row 0 has the largest y */
        cell[j] = cell[i];
        cell[i] = picked;
        if (i == 0) bpi_mj_set2(e->start, x, y);
        else bpi_mj_set3(e->target[i - 1], x, y, 0.5);
    }
    e->goal = bp_rng_index(&rng, n);
    e->start[2] = BPI_MJ_PI * (2 * bp_rng_uniform(&rng) - 1);
    if (!layout) return;

    bpi_mj_set2(e->start, layout->spawn[0], layout->spawn[1]);
    if (bpi_finite_d(layout->yaw)) e->start[2] = layout->yaw;
    for (i = 0; i < n; i++) bpi_mj_set3(e->target[i], layout->target[i][0], layout->target[i][1], 0.5);
    if (layout->goal >= 0) e->goal = (uint64_t)layout->goal;
}

/* Is any geom's centre strictly inside the unit cube around the target? */
BPI_MJ_FN bool bpi_mj_ant_at(const bpi_mj_env *env, const double *target) {
    size_t i, j;
    for (i = 0; i < 13; i++) {
        const mjtNum *x = env->data->geom_xpos + 3 * env->world->ids.geom[i];
        for (j = 0; j < 3; j++)
            if (!((double)x[j] > target[j] - 0.5 && (double)x[j] < target[j] + 0.5)) break;
        if (j == 3) return true;
    }
    return false;
}

/* Reward and termination of the step just made. */
BPI_MJ_FN void bpi_mj_ant_judge(bpi_mj_env *env, double *reward, double *discount) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_ant_config *c = &env->world->ant;
    const double zz = (double)env->data->xmat[9 * env->world->ids.body[0] + 8];
    e->now = bpi_mj_ant_at(env, e->target[e->goal]);
    *reward = c->reward_scale * ((double)e->now - (double)e->was + (e->was ? c->bonus : 0.0));
    if (e->was) e->end = BP_MJ_SUCCESS;
    else if (0.5 * (zz - 1) < c->alive_threshold) e->end = BP_MJ_FALL;
    *discount = e->end == BP_MJ_RUNNING ? 1 : 0;
}

/* out = R^T (x - p): a point of the world as the torso sees it. R is row-major, body to world. */
BPI_MJ_FN bp_real *bpi_mj_put_ego(bp_real *out, const mjtNum *r, const mjtNum *p, double x, double y, double z) {
    const double d[3] = {x - (double)p[0], y - (double)p[1], z - (double)p[2]};
    size_t i;
    for (i = 0; i < 3; i++)
        *out++ = (bp_real)((double)r[i] * d[0] + (double)r[3 + i] * d[1] + (double)r[6 + i] * d[2]);
    return out;
}

BPI_MJ_FN bp_real *bpi_mj_put_values(bp_real *out, const mjtNum *value, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) *out++ = (bp_real)value[i];
    return out;
}

/* out = conj(a) b: orientation b as seen from a. */
BPI_MJ_FN bp_real *bpi_mj_put_relative(bp_real *out, const mjtNum *a, const mjtNum *b) {
    const double aw = (double)a[0], ax = -(double)a[1], ay = -(double)a[2], az = -(double)a[3];
    const double bw = (double)b[0], bx = (double)b[1], by = (double)b[2], bz = (double)b[3];
    *out++ = (bp_real)(aw * bw - ax * bx - ay * by - az * bz);
    *out++ = (bp_real)(aw * bx + ax * bw + ay * bz - az * by);
    *out++ = (bp_real)(aw * by - ax * bz + ay * bw + az * bx);
    *out++ = (bp_real)(aw * bz + ax * by - ay * bx + az * bw);
    return out;
}

/* Feet as seen from the torso. */
BPI_MJ_FN void bpi_mj_put_feet(bp_real *out, const bpi_mj_env *env, const mjtNum *r, const mjtNum *p) {
    size_t i;
    for (i = 0; i < 4; i++) {
        const mjtNum *x = env->data->xpos + 3 * env->world->ids.foot[i];
        out = bpi_mj_put_ego(out, r, p, (double)x[0], (double)x[1], (double)x[2]);
    }
}

BPI_MJ_FN void bpi_mj_ant_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_world *w = env->world;
    const bpi_mj_ant_ids *ids = &w->ids;
    const bpi_mj_episode *e = &env->episode;
    const mjData *d = env->data;
    const mjtNum *p = d->xpos + 3 * ids->body[0];
    const mjtNum *q = d->xquat + 4 * ids->body[0];
    const mjtNum *r = d->xmat + 9 * ids->body[0];
    const size_t *at = w->offset;
    bp_real *o;
    size_t i;

    if (at[BPI_ANT_APPENDAGES] != BPI_MJ_NONE) bpi_mj_put_feet(observation + at[BPI_ANT_APPENDAGES], env, r, p);
    if (at[BPI_ANT_BODIES_POS] != BPI_MJ_NONE)
        for (o = observation + at[BPI_ANT_BODIES_POS], i = 0; i < 13; i++) {
            const mjtNum *x = d->xpos + 3 * ids->body[i];
            o = bpi_mj_put_ego(o, r, p, (double)x[0], (double)x[1], (double)x[2]);
        }
    if (at[BPI_ANT_BODIES_QUATS] != BPI_MJ_NONE)
        for (o = observation + at[BPI_ANT_BODIES_QUATS], i = 0; i < 13; i++)
            o = bpi_mj_put_relative(o, q, d->xquat + 4 * ids->body[i]);
    if (at[BPI_ANT_HEIGHT] != BPI_MJ_NONE) observation[at[BPI_ANT_HEIGHT]] = (bp_real)p[2];
    if (at[BPI_ANT_EFFECTORS] != BPI_MJ_NONE) bpi_mj_put_feet(observation + at[BPI_ANT_EFFECTORS], env, r, p);
    if (at[BPI_ANT_JOINTS_POS] != BPI_MJ_NONE)
        for (i = 0; i < 8; i++) observation[at[BPI_ANT_JOINTS_POS] + i] = (bp_real)d->qpos[ids->qpos[i]];
    if (at[BPI_ANT_JOINTS_VEL] != BPI_MJ_NONE)
        for (i = 0; i < 8; i++) observation[at[BPI_ANT_JOINTS_VEL] + i] = (bp_real)d->qvel[ids->qvel[i]];
    if (at[BPI_ANT_ORIENTATION] != BPI_MJ_NONE) bpi_mj_put_values(observation + at[BPI_ANT_ORIENTATION], r, 9);
    if (at[BPI_ANT_POSITION] != BPI_MJ_NONE) bpi_mj_put_values(observation + at[BPI_ANT_POSITION], p, 3);
    if (at[BPI_ANT_ACCELEROMETER] != BPI_MJ_NONE)
        bpi_mj_put_values(observation + at[BPI_ANT_ACCELEROMETER], d->sensordata + ids->sensor[2], 3);
    if (at[BPI_ANT_GYRO] != BPI_MJ_NONE)
        bpi_mj_put_values(observation + at[BPI_ANT_GYRO], d->sensordata + ids->sensor[1], 3);
    if (at[BPI_ANT_VELOCIMETER] != BPI_MJ_NONE)
        bpi_mj_put_values(observation + at[BPI_ANT_VELOCIMETER], d->sensordata + ids->sensor[0], 3);
    if (at[BPI_ANT_ZAXIS] != BPI_MJ_NONE) bpi_mj_put_values(observation + at[BPI_ANT_ZAXIS], r + 6, 3);
    if (at[BPI_ANT_TARGETS] != BPI_MJ_NONE)
        for (o = observation + at[BPI_ANT_TARGETS], i = 0; i < w->n_targets; i++)
            o = bpi_mj_put_ego(o, r, p, e->target[i][0], e->target[i][1], e->target[i][2]);
    if (at[BPI_ANT_ACTIVATED] != BPI_MJ_NONE) observation[at[BPI_ANT_ACTIVATED]] = BP_R(e->now);
    if (at[BPI_ANT_PREDICATE] != BPI_MJ_NONE) {
        o = observation + at[BPI_ANT_PREDICATE];
        o[0] = 0; /* what moves: the walker */
        o[1] = 0; /* which one */
        o[2] = 1; /* where to: a target */
        o[3] = (bp_real)e->goal;
        o[4] = 1; /* be close to it */
    }
    if (at[BPI_ANT_GOAL] != BPI_MJ_NONE)
        for (i = 0; i < w->n_targets; i++) observation[at[BPI_ANT_GOAL] + i] = BP_R(e->goal == i);
}

BPI_MJ_FN bp_status bpi_mj_ant_layout_check(const bp_mj_ant_layout *layout, size_t n_targets, bp_error *error) {
    size_t i;
    if (!bpi_finite_d(layout->spawn[0]) || !bpi_finite_d(layout->spawn[1]))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_ant_layout: spawn is not finite");
    for (i = 0; i < 2 * n_targets; i++)
        if (!bpi_finite_d(layout->target[i / 2][i % 2]))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_ant_layout: target[%zu] is not finite", i / 2);
    if (layout->goal < -1 || layout->goal >= (int)n_targets)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_ant_layout: goal is %d, must be -1 .. n_targets - 1",
                        layout->goal);
    return BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_ant_check(const bp_mj_ant_config *c, bp_error *error) {
    const char *const type = "bp_mj_ant_config";
    bp_status status = bpi_check_cookie(c->cookie, BP_COOKIE(bp_mj_ant_config), type, error);
    if (status != BP_OK) return status;
    if (c->n_targets < 1 || c->n_targets > BP_MJ_MAX_TARGETS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: n_targets is %zu, must be 1 .. %d", type, c->n_targets,
                        BP_MJ_MAX_TARGETS);
    if (c->n_substeps < 1 || c->episode_steps < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: n_substeps and episode_steps must be at least 1", type);
    if (!(c->timestep > 0 && c->timestep <= 1))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: timestep is %g, must be in (0, 1]", type, c->timestep);
    if (!bpi_finite_d(c->reward_scale) || !bpi_finite_d(c->bonus) || !bpi_finite_d(c->alive_threshold))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: reward_scale, bonus and alive_threshold must be finite", type);
    if ((int)c->observe < 0 || c->observe > BP_MJ_OBSERVE_LISTED)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: observe is %d", type, (int)c->observe);
    if (c->observe == BP_MJ_OBSERVE_LISTED && (!c->fields || !c->n_fields))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: BP_MJ_OBSERVE_LISTED needs fields and n_fields", type);
    return c->fixed_layout ? bpi_mj_ant_layout_check(&c->layout, c->n_targets, error) : BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_ant_spec(bp_mj_world *w, bp_error *error) {
    const bp_mj_ant_config *c = &w->ant;
    bool wanted[BPI_ANT_FIELDS];
    bp_status status;
    size_t i, j;
    for (i = 0; i < BPI_ANT_FIELDS; i++)
        wanted[i] = i == BPI_ANT_GOAL ? c->goal_field
                                      : c->observe == BP_MJ_OBSERVE_REFERENCE ||
                                            (c->observe == BP_MJ_OBSERVE_COMPACT && bpi_mj_ant_fields[i].compact);
    for (j = 0; c->observe == BP_MJ_OBSERVE_LISTED && j < c->n_fields; j++) {
        for (i = 0; i < BPI_ANT_FIELDS; i++)
            if (c->fields[j] && !strcmp(c->fields[j], bpi_mj_ant_fields[i].name)) break;
        if (i == BPI_ANT_FIELDS)
            return bpi_fail(error, BP_ERR_FIELD, "bp_mj_ant_config: fields[%zu] = \"%.40s\" is not one of the ant's", j,
                            c->fields[j] ? c->fields[j] : "(null)");
        wanted[i] = true;
    }

    bp_spec_begin(&w->spec, "mj_ant_go_to_targets");
    for (i = 0; i < BPI_ANT_FIELDS; i++) {
        size_t size = bpi_mj_ant_fields[i].size;
        w->offset[i] = BPI_MJ_NONE;
        if (!wanted[i]) continue;
        if (i == BPI_ANT_TARGETS) size = 3 * c->n_targets;
        if (i == BPI_ANT_GOAL) size = c->n_targets;
        w->offset[i] = w->spec.observation_size;
        status = bp_spec_add_field(&w->spec, bpi_mj_ant_fields[i].name, size, error);
        if (status != BP_OK) return status;
    }
    return bp_spec_actions_continuous(&w->spec, 8, -1, 1, error);
}

/* Look up every number of mjModel that the task needs. False if one is missing, which our own table rules out. */
BPI_MJ_FN bool bpi_mj_ant_find(bp_mj_world *w) {
    static const char *const part[3] = {"leg", "aux", "foot"}, *const joint[2] = {"hip", "ankle"};
    static const char *const sensor[3] = {"velocimeter", "gyro", "accelerometer"};
    bpi_mj_ant_ids *ids = &w->ids;
    const mjModel *m = w->model;
    char name[BP_NAME];
    size_t i, j;
    int id;
    ids->body[0] = mj_name2id(m, mjOBJ_BODY, "torso");
    ids->geom[0] = mj_name2id(m, mjOBJ_GEOM, "torso");
    id = mj_name2id(m, mjOBJ_JOINT, "walker/root");
    if (ids->body[0] < 0 || ids->geom[0] < 0 || id < 0) return false;
    ids->root_qpos = m->jnt_qposadr[id];
    for (i = 0; i < 4; i++) {
        for (j = 0; j < 3; j++) {
            snprintf(name, sizeof name, "%s_%s", bpi_mj_legs[i].name, part[j]);
            ids->body[1 + 3 * i + j] = mj_name2id(m, mjOBJ_BODY, name);
            ids->geom[1 + 3 * i + j] = mj_name2id(m, mjOBJ_GEOM, name);
            if (ids->body[1 + 3 * i + j] < 0 || ids->geom[1 + 3 * i + j] < 0) return false;
        }
        ids->foot[i] = ids->body[3 + 3 * i];
        for (j = 0; j < 2; j++) {
            snprintf(name, sizeof name, "%s_%s", bpi_mj_legs[i].name, joint[j]);
            id = mj_name2id(m, mjOBJ_JOINT, name);
            if (id < 0) return false;
            ids->qpos[2 * i + j] = m->jnt_qposadr[id];
            ids->qvel[2 * i + j] = m->jnt_dofadr[id];
        }
    }
    for (i = 0; i < 3; i++) {
        id = mj_name2id(m, mjOBJ_SENSOR, sensor[i]);
        if (id < 0) return false;
        ids->sensor[i] = m->sensor_adr[id];
    }
    return true;
}

BPI_MJ_FN bp_status bpi_mj_ant_model(bp_mj_world *w, const bp_allocator *allocator, bp_error *error) {
    bp_status status;
    bp_mj_table *table = bpi_mj_table_alloc("ant", w->ant.timestep, allocator, error);
    if (!table) return BP_ERR_MEMORY;
    table->elliptic = true;
    table->noslip_iterations = 5;
    table->noslip_tolerance = 0;
    table->bound_mass = 1e-5; /* the frame under the ant has no mass of its own and moves */
    table->bound_inertia = 1e-11;
    bp_mj_table_add_room(table, (int)bpi_mj_ant_free_cells(w->n_targets) + 4);
    bp_mj_table_add_ant(table);
    status = bp_mj_table_load(&w->model, table, allocator, error);
    bp_free(allocator, table, sizeof *table);
    if (status == BP_OK && !bpi_mj_ant_find(w))
        return bpi_fail(error, BP_ERR_ENV, "MuJoCo: the compiled ant lacks a name");
    return status;
}

BPRIOR_API bp_status bp_mj_ant_world(bp_mj_world **out, const bp_mj_ant_config *config, const bp_allocator *allocator,
                                     bp_error *error) {
    bp_mj_world *w;
    bp_status status;
    if (!out || !config) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_ant_world: an argument is NULL");
    *out = NULL;
    status = bpi_mj_ant_check(config, error);
    if (status != BP_OK) return status;
    status = bpi_mj_world_create(&w, BPI_MJ_ANT, allocator, error);
    if (status != BP_OK) return status;
    w->ant = *config;
    w->n_substeps = config->n_substeps;
    w->episode_steps = config->episode_steps;
    w->divergence_is_error = config->divergence_is_error;
    w->n_targets = config->n_targets;
    status = bpi_mj_ant_spec(w, error);
    w->ant.fields = NULL; /* the caller's array need not live on */
    w->ant.n_fields = 0;
    if (status == BP_OK) status = bpi_mj_ant_model(w, allocator, error);
    if (status != BP_OK) {
        bp_mj_world_destroy(w);
        return status;
    }
    w->mark = bp_spec_hash(&w->spec);
    w->mark = bpi_mj_fold(w->mark, (double)w->kind);
    w->mark = bpi_mj_fold(w->mark, config->timestep);
    w->mark = bpi_mj_fold(w->mark, (double)config->n_substeps);
    w->mark = bpi_mj_fold(w->mark, (double)config->episode_steps);
    w->mark = bpi_mj_fold(w->mark, config->alive_threshold);
    *out = w;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mj_ant_set_layout(bp_env *env, const bp_mj_ant_layout *layout, bp_real *observation,
                                          bp_error *error) {
    bpi_mj_env *own;
    bp_status status;
    uint64_t seed;
    if (!bp_mj_env_is(env) || !layout || !observation ||
        ((const bpi_mj_env *)env->self)->world->kind != BPI_MJ_ANT)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_ant_set_layout: not an ant, or an argument is NULL");
    own = (bpi_mj_env *)env->self;
    status = bpi_mj_ant_layout_check(layout, own->world->n_targets, error);
    if (status != BP_OK) return status;
    if (own->broken || !own->data) return bpi_fail(error, BP_ERR_ENV, "bp_mj_ant_set_layout: call reset() first");
    seed = own->episode.seed;
    memset(&own->episode, 0, sizeof own->episode);
    own->episode.seed = seed;
    own->episode.previous[0] = own->episode.previous[1] = own->world->n_targets;
    bpi_mj_ant_draw(own, layout);
    status = bpi_mj_begin(own, observation);
    if (error) *error = own->error;
    return status;
}

/* ==========================================================================
 * M9. >>mj-pictures-impl   Pictures and films
 *    provides: bp_mj_film_* bp_mj_camera_default bp_mj_shot_default        needs: M1 M4        equations: none
 * ========================================================================== */

#if defined(BPRIOR_MUJOCO_EGL) || defined(BPRIOR_MUJOCO_OSMESA)
#include <dlfcn.h>
#endif
#ifdef BPRIOR_MUJOCO_EGL
#ifndef EGL_NO_X11
#define EGL_NO_X11 /* its headers would bring half of X with them */
#endif
#include <EGL/egl.h>
#include <EGL/eglext.h>
#endif
#ifdef BPRIOR_MUJOCO_OSMESA
#include <GL/osmesa.h>
#endif

#define BPI_MJ_MAX_PICTURE 8192
#define BPI_MJ_MARKS 300 /* room in a scene for what shots draw, beside the model and the shapes */
#define BPI_MJ_DEGREE (BPI_MJ_PI / 180)

/* ---- a context without a window ------------------------------------------------ */

/* Somewhere to draw. Only the members of the library in use are set. */
typedef struct bpi_mj_canvas {
    bp_mj_gl gl;
    void *library; /* never closed: Mesa cannot be unloaded cleanly, and MuJoCo keeps its functions' addresses */
#ifdef BPRIOR_MUJOCO_EGL
    EGLDisplay display; /* of the process, hence never terminated: another film may be using it */
    EGLContext context;
    EGLBoolean(EGLAPIENTRY *make_current)(EGLDisplay, EGLSurface, EGLSurface, EGLContext);
    EGLBoolean(EGLAPIENTRY *destroy_context)(EGLDisplay, EGLContext);
#endif
#ifdef BPRIOR_MUJOCO_OSMESA
    OSMesaContext mesa;
    GLboolean(GLAPIENTRY *mesa_current)(OSMesaContext, void *, GLenum, GLsizei, GLsizei);
    void(GLAPIENTRY *mesa_destroy)(OSMesaContext);
    unsigned char pixels[16 * 16 * 4]; /* what OSMesa takes for a window; nothing is drawn here */
#endif
} bpi_mj_canvas;

#if defined(BPRIOR_MUJOCO_EGL) || defined(BPRIOR_MUJOCO_OSMESA)
/* An address as a function pointer: ISO C has no cast for that. */
BPI_MJ_FN bool bpi_mj_symbol(void *function, void *library, const char *name) {
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

/* MuJoCo will look for its functions among the process's global symbols. */
BPI_MJ_FN void *bpi_mj_open_library(const char *const *names, size_t n, int mode) {
    void *library = NULL;
    size_t i;
    for (i = 0; i < n && !library; i++) library = dlopen(names[i], RTLD_NOW | mode);
    return library;
}
#endif

#ifdef BPRIOR_MUJOCO_EGL
static const char *const bpi_mj_egl_names[] = {"libEGL.so.1", "libEGL.so"};

/* A context on an initialised display, or nothing. */
BPI_MJ_FN bool bpi_mj_egl_context(bpi_mj_canvas *canvas, EGLDisplay display) {
    static const EGLint wanted[] = {EGL_SURFACE_TYPE, EGL_PBUFFER_BIT, EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT, EGL_NONE};
    EGLBoolean(EGLAPIENTRY * initialize)(EGLDisplay, EGLint *, EGLint *);
    EGLBoolean(EGLAPIENTRY * bind)(EGLenum);
    EGLBoolean(EGLAPIENTRY * choose)(EGLDisplay, const EGLint *, EGLConfig *, EGLint, EGLint *);
    EGLContext(EGLAPIENTRY * create)(EGLDisplay, EGLConfig, EGLContext, const EGLint *);
    EGLConfig config;
    EGLint n = 0;
    if (display == EGL_NO_DISPLAY || !bpi_mj_symbol(&initialize, canvas->library, "eglInitialize") ||
        !bpi_mj_symbol(&bind, canvas->library, "eglBindAPI") || !bpi_mj_symbol(&choose, canvas->library, "eglChooseConfig") ||
        !bpi_mj_symbol(&create, canvas->library, "eglCreateContext"))
        return false;
    if (!initialize(display, NULL, NULL) || !bind(EGL_OPENGL_API) || !choose(display, wanted, &config, 1, &n) || n < 1)
        return false;
    canvas->context = create(display, config, EGL_NO_CONTEXT, NULL);
    if (canvas->context == EGL_NO_CONTEXT) return false;
    canvas->display = display;
    if (canvas->make_current(display, EGL_NO_SURFACE, EGL_NO_SURFACE, canvas->context)) return true;
    canvas->destroy_context(display, canvas->context);
    canvas->context = EGL_NO_CONTEXT;
    return false;
}

/* Mesa without surfaces first; then each graphics device by itself, which is how other drivers do it. Returns NULL or what is wrong. */
BPI_MJ_FN const char *bpi_mj_egl_open(bpi_mj_canvas *canvas) {
    void (*(EGLAPIENTRY * proc)(const char *))(void);
    PFNEGLGETPLATFORMDISPLAYEXTPROC display = NULL;
    PFNEGLQUERYDEVICESEXTPROC query = NULL;
    EGLDeviceEXT device[16];
    EGLint n = 0, i;
    void (*address)(void);
    bool made;
    canvas->library = bpi_mj_open_library(bpi_mj_egl_names, 2, RTLD_LOCAL);
    if (!canvas->library) return "libEGL.so.1 is not there (Debian: libegl1)";
    if (!bpi_mj_symbol(&proc, canvas->library, "eglGetProcAddress") ||
        !bpi_mj_symbol(&canvas->make_current, canvas->library, "eglMakeCurrent") ||
        !bpi_mj_symbol(&canvas->destroy_context, canvas->library, "eglDestroyContext"))
        return "libEGL lacks a function";
    address = proc("eglGetPlatformDisplayEXT");
    memcpy(&display, &address, sizeof display);
    address = proc("eglQueryDevicesEXT");
    memcpy(&query, &address, sizeof query);
    if (!display) return "EGL cannot choose a platform";
    made = bpi_mj_egl_context(canvas, display(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, NULL));
    if (!made && query && query(16, device, &n))
        for (i = 0; i < n && !made; i++)
            made = bpi_mj_egl_context(canvas, display(EGL_PLATFORM_DEVICE_EXT, device[i], NULL));
    if (!made) return "EGL has no OpenGL that works without a window (Debian: libegl-mesa0, libgl1-mesa-dri)";
    canvas->gl = BP_MJ_GL_EGL;
    bpi_mj_open_library(bpi_mj_egl_names, 2, RTLD_GLOBAL); /* it works: let MuJoCo find it */
    return NULL;
}
#endif

#ifdef BPRIOR_MUJOCO_OSMESA
BPI_MJ_FN const char *bpi_mj_osmesa_open(bpi_mj_canvas *canvas) {
    static const char *const names[] = {"libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"};
    OSMesaContext(GLAPIENTRY * create)(GLenum, GLint, GLint, GLint, OSMesaContext);
    canvas->library = bpi_mj_open_library(names, 3, RTLD_GLOBAL);
    if (!canvas->library) return "libOSMesa.so is not there (Debian: libosmesa6)";
    if (!bpi_mj_symbol(&create, canvas->library, "OSMesaCreateContextExt") ||
        !bpi_mj_symbol(&canvas->mesa_current, canvas->library, "OSMesaMakeCurrent") ||
        !bpi_mj_symbol(&canvas->mesa_destroy, canvas->library, "OSMesaDestroyContext"))
        return "libOSMesa lacks a function";
    canvas->mesa = create(OSMESA_RGBA, 24, 8, 0, NULL);
    if (!canvas->mesa) return "OSMesa made no context";
    canvas->gl = BP_MJ_GL_OSMESA;
    return NULL;
}
#endif

/* Make the canvas's context current, or make none current. */
BPI_MJ_FN bool bpi_mj_canvas_use(bpi_mj_canvas *canvas, bool use) {
    (void)use;
    switch (canvas->gl) {
#ifdef BPRIOR_MUJOCO_EGL
    case BP_MJ_GL_EGL:
        return canvas->make_current(canvas->display, EGL_NO_SURFACE, EGL_NO_SURFACE,
                                    use ? canvas->context : EGL_NO_CONTEXT) != EGL_FALSE;
#endif
#ifdef BPRIOR_MUJOCO_OSMESA
    case BP_MJ_GL_OSMESA:
        if (!use) return canvas->mesa_current(NULL, NULL, 0, 0, 0) != 0;
        return canvas->mesa_current(canvas->mesa, canvas->pixels, GL_UNSIGNED_BYTE, 16, 16) != 0;
#endif
    default: return true;
    }
}

BPI_MJ_FN void bpi_mj_canvas_close(bpi_mj_canvas *canvas) {
    switch (canvas->gl) {
#ifdef BPRIOR_MUJOCO_EGL
    case BP_MJ_GL_EGL: canvas->destroy_context(canvas->display, canvas->context); break;
#endif
#ifdef BPRIOR_MUJOCO_OSMESA
    case BP_MJ_GL_OSMESA: canvas->mesa_destroy(canvas->mesa); break;
#endif
    default: break;
    }
}

BPI_MJ_FN bp_status bpi_mj_canvas_open(bpi_mj_canvas *canvas, bp_mj_gl gl, bp_error *error) {
    const char *egl = "compiled without BPRIOR_MUJOCO_EGL", *mesa = "compiled without BPRIOR_MUJOCO_OSMESA";
    if (gl == BP_MJ_GL_CURRENT) {
        canvas->gl = gl;
        return BP_OK;
    }
#ifdef BPRIOR_MUJOCO_EGL
    if (gl == BP_MJ_GL_EGL || gl == BP_MJ_GL_AUTO) egl = bpi_mj_egl_open(canvas);
#endif
    if (!egl) return BP_OK;
#ifdef BPRIOR_MUJOCO_OSMESA
    if (gl == BP_MJ_GL_OSMESA || gl == BP_MJ_GL_AUTO) mesa = bpi_mj_osmesa_open(canvas);
#endif
    if (!mesa) return BP_OK;
    if (gl == BP_MJ_GL_EGL) return bpi_fail(error, BP_ERR_UNSUPPORTED, "no pictures: %s", egl);
    if (gl == BP_MJ_GL_OSMESA) return bpi_fail(error, BP_ERR_UNSUPPORTED, "no pictures: %s", mesa);
    return bpi_fail(error, BP_ERR_UNSUPPORTED, "no pictures: %s; %s", egl, mesa);
}

/* ---- films ----------------------------------------------------------------------- */

struct bp_mj_film {
    bp_mj_film_config config;
    const bp_mj_world *world;
    mjModel *model; /* a copy: pictures change how it looks, and the world's is shared */
    bpi_mj_canvas canvas;
    mjvScene scene;
    mjvOption option;
    mjrContext context;
    bool has_scene, has_context;
    size_t width, height, max_width, max_height;
    mjvGeom *shape; /* [max_shapes] */
    size_t n_shapes;
    mjvFigure *figure; /* close to a megabyte */
    bp_owner owner;
};

BPRIOR_API bp_mj_film_config bp_mj_film_config_make(uint32_t cookie, size_t width, size_t height) {
    bp_mj_film_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mj_film_config)) return c;
    c.width = width;
    c.height = height;
    c.max_shapes = 20000;
    c.samples = 4;
    return c;
}

BPRIOR_API int bp_mj_world_walker(const bp_mj_world *world) {
    const mjModel *m = bp_mj_world_model(world);
    int root = 0, best = 0, i;
    if (!m) return 0;
    if (m->nu && (m->actuator_trntype[0] == mjTRN_JOINT || m->actuator_trntype[0] == mjTRN_JOINTINPARENT))
        root = m->body_rootid[m->jnt_bodyid[m->actuator_trnid[0]]];
    else if (m->njnt) root = m->body_rootid[m->jnt_bodyid[0]];
    for (i = 1; i < m->nbody; i++)
        if (m->body_rootid[i] == root && (best == 0 || m->body_mass[i] > m->body_mass[best])) best = i;
    return best;
}

BPRIOR_API void bp_mj_env_position(double *out, const bp_env *env) {
    const mjData *d = bp_mj_env_data(env);
    const int body = d ? bp_mj_world_walker(((const bpi_mj_env *)env->self)->world) : 0;
    int i;
    for (i = 0; i < 3; i++) out[i] = d ? (double)d->xpos[3 * body + i] : 0;
}

/* Half the side of the arena: of the floor, if there is one. */
BPI_MJ_FN double bpi_mj_arena(const mjModel *m) {
    int i;
    for (i = 0; i < m->ngeom; i++)
        if (m->geom_type[i] == mjGEOM_PLANE && m->geom_size[3 * i] > 0)
            return (double)(m->geom_size[3 * i] > m->geom_size[3 * i + 1] ? m->geom_size[3 * i] : m->geom_size[3 * i + 1]);
    return (double)m->stat.extent;
}

/* A length that goes with the body: half the extent of its parts in their initial position. */
BPI_MJ_FN double bpi_mj_stature(const bp_mj_world *world) {
    const mjModel *m = world->model;
    const int walker = bp_mj_world_walker(world);
    double largest = 0, size;
    int i, j;
    for (i = 0; i < m->ngeom; i++) {
        const int body = m->geom_bodyid[i];
        if (walker == 0 || m->body_rootid[body] != m->body_rootid[walker]) continue;
        /* how far the bodies up to the walker's reach, as if all stood in one line: never too small */
        for (size = (double)m->geom_rbound[i], j = body; j != walker && j != 0; j = m->body_parentid[j])
            size += sqrt((double)(m->body_pos[3 * j] * m->body_pos[3 * j] + m->body_pos[3 * j + 1] * m->body_pos[3 * j + 1] +
                                  m->body_pos[3 * j + 2] * m->body_pos[3 * j + 2]));
        if (size > largest) largest = size;
    }
    return largest;
}

BPRIOR_API bp_mj_camera bp_mj_camera_default(const bp_mj_world *world, bp_mj_view view) {
    bp_mj_camera c;
    double arena, stature;
    memset(&c, 0, sizeof c);
    c.view = view;
    c.azimuth = 90;
    c.elevation = -35;
    c.fovy = 45;
    c.distance = 1;
    if (!world) return c;
    arena = bpi_mj_arena(world->model);
    stature = bpi_mj_stature(world);
    if (view == BP_MJ_VIEW_TRACK) {
        c.azimuth = 65;
        c.elevation = -32;
        c.distance = stature < 0.05 * arena         ? 1.8 * arena
                     : 4.2 * stature > 0.75 * arena ? 4.2 * stature
                                                    : 0.75 * arena;
        c.lookat[2] = 0.4 * stature;
    } else if (view == BP_MJ_VIEW_TOP) {
        c.elevation = -90;
        c.fovy = 6;
        c.distance = 1.03 * arena / tan(0.5 * c.fovy * BPI_MJ_DEGREE);
    } else {
        c.elevation = -48;
        c.distance = 2.6 * arena;
    }
    return c;
}

BPRIOR_API bp_mj_shot bp_mj_shot_default(const bp_mj_world *world, bp_mj_view view) {
    bp_mj_shot s;
    memset(&s, 0, sizeof s);
    s.camera = bp_mj_camera_default(world, view);
    s.targets = s.goal = s.fade = s.shadows = true;
    s.reward = s.total = s.kl = (double)NAN;
    return s;
}

/* Colours after Okabe and Ito. */
BPRIOR_API void bp_mj_color(double *rgba, size_t i) {
    static const double color[8][3] = {
        {0, 0.447, 0.698},     /* blue */
        {0, 0.62, 0.451},      /* green */
        {0.2, 0.2, 0.22},      /* black */
        {0.835, 0.369, 0},     /* red */
        {0.8, 0.475, 0.655},   /* pink */
        {0.337, 0.706, 0.914}, /* light blue */
        {0.902, 0.624, 0},     /* orange */
        {0.94, 0.894, 0.259}   /* yellow */
    };
    memcpy(rgba, color[i % 8], sizeof color[0]);
    rgba[3] = 1;
}

BPI_MJ_FN bp_status bpi_mj_film_check(const bp_mj_film_config *c, bp_error *error) {
    const char *const type = "bp_mj_film_config";
    bp_status status = bpi_check_cookie(c->cookie, BP_COOKIE(bp_mj_film_config), type, error);
    if (status != BP_OK) return status;
    if (c->width < 1 || c->width > BPI_MJ_MAX_PICTURE || c->height < 1 || c->height > BPI_MJ_MAX_PICTURE)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: width and height are %zu and %zu, must be 1 .. %d", type, c->width, c->height,
                        BPI_MJ_MAX_PICTURE);
    if ((int)c->gl < 0 || c->gl > BP_MJ_GL_CURRENT) return bpi_fail(error, BP_ERR_ARGUMENT, "%s: gl is %d", type, (int)c->gl);
    if (c->max_shapes > 1000000) return bpi_fail(error, BP_ERR_ARGUMENT, "%s: max_shapes is over 10^6", type);
    if (c->samples > 32) return bpi_fail(error, BP_ERR_ARGUMENT, "%s: samples is %zu, must be 0 .. 32", type, c->samples);
    if (c->font % 50 != 0 || c->font > 300)
        return bpi_fail(error, BP_ERR_ARGUMENT, "%s: font is %zu, must be 50, 100, 150, 200, 250, 300, or 0", type, c->font);
    return BP_OK;
}

/* Everything of MuJoCo's that a film has. */
BPI_MJ_FN void bpi_mj_film_work_make(void *ctx) {
    bp_mj_film *f = (bp_mj_film *)ctx;
    const size_t font = f->config.font ? f->config.font : f->height < 300 ? 50
                                                      : f->height < 800   ? 100
                                                      : f->height < 1300  ? 150
                                                                          : 200;
    f->model = mj_copyModel(NULL, f->world->model);
    if (!f->model) return;
    f->model->vis.global.offwidth = (int)f->width;
    f->model->vis.global.offheight = (int)f->height;
    f->model->vis.quality.offsamples = (int)f->config.samples;
    mjv_makeScene(f->model, &f->scene, (int)f->model->ngeom + (int)f->model->nsite + BPI_MJ_MARKS + (int)f->config.max_shapes + 100);
    f->has_scene = true;
    f->has_context = true; /* from here on there may be something to free */
    mjr_makeContext(f->model, &f->context, (int)font);
}

BPI_MJ_FN void bpi_mj_film_work_free(void *ctx) {
    bp_mj_film *f = (bp_mj_film *)ctx;
    if (f->has_context) mjr_freeContext(&f->context);
    f->has_context = false;
    if (f->has_scene) mjv_freeScene(&f->scene);
    f->has_scene = false;
}

BPRIOR_API void bp_mj_film_destroy(bp_mj_film *film) {
    const bp_allocator *allocator;
    if (!film) return;
    allocator = film->owner.custom ? &film->owner.allocator : NULL;
    bpi_mj_canvas_use(&film->canvas, true);
    bpi_mj_guard(bpi_mj_film_work_free, film, NULL, NULL);
    bpi_mj_canvas_use(&film->canvas, false);
    bpi_mj_canvas_close(&film->canvas);
    if (film->model) mj_deleteModel(film->model);
    bp_free(allocator, film->shape, (film->config.max_shapes + 1) * sizeof(mjvGeom));
    bp_free(allocator, film->figure, sizeof(mjvFigure));
    bpi_disown(&film->owner, film);
}

BPRIOR_API bp_status bp_mj_film_create(bp_mj_film **out, const bp_mj_film_config *config, const bp_mj_world *world,
                                       const bp_allocator *allocator, bp_error *error) {
    bp_mj_film *f;
    bp_status status;
    int i;
    if (!out || !config || !world) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_film_create: an argument is NULL");
    *out = NULL;
    status = bpi_mj_film_check(config, error);
    if (status == BP_OK) status = bp_mj_init(error);
    if (status != BP_OK) return status;
    f = (bp_mj_film *)bp_alloc(allocator, sizeof *f);
    if (!f) return bpi_fail(error, BP_ERR_MEMORY, "bp_mj_film_create: no memory");
    bpi_own(&f->owner, allocator, sizeof *f);
    f->config = *config;
    f->world = world;
    f->width = f->max_width = config->width;
    f->height = f->max_height = config->height;
    mjv_defaultOption(&f->option);
    for (i = 0; i < mjNGROUP; i++) f->option.sitegroup[i] = 0; /* marks for sensors, not for eyes */
    mjv_defaultScene(&f->scene);
    mjr_defaultContext(&f->context);
    f->shape = (mjvGeom *)bp_alloc(allocator, (config->max_shapes + 1) * sizeof(mjvGeom));
    f->figure = (mjvFigure *)bp_alloc(allocator, sizeof(mjvFigure));
    if (!f->shape || !f->figure) status = bpi_fail(error, BP_ERR_MEMORY, "bp_mj_film_create: no memory");
    if (status == BP_OK) status = bpi_mj_canvas_open(&f->canvas, config->gl, error);
    if (status == BP_OK && !bpi_mj_canvas_use(&f->canvas, true))
        status = bpi_fail(error, BP_ERR_UNSUPPORTED, "no pictures: the OpenGL context cannot be used in this thread");
    if (status == BP_OK) status = bpi_mj_guard(bpi_mj_film_work_make, f, NULL, error);
    if (status == BP_OK && !f->model) status = bpi_fail(error, BP_ERR_MEMORY, "bp_mj_film_create: no memory for a model");
    if (status == BP_OK && config->gl != BP_MJ_GL_CURRENT && !f->context.offFBO)
        status = bpi_fail(error, BP_ERR_ENV, "no pictures: OpenGL made no buffer to draw into; has this process drawn "
                                             "through another library before?");
    bpi_mj_canvas_use(&f->canvas, false);
    if (status != BP_OK) {
        bp_mj_film_destroy(f);
        return status;
    }
    *out = f;
    return bpi_ok(error);
}

BPRIOR_API bp_mj_gl bp_mj_film_gl(const bp_mj_film *film) { return film ? film->canvas.gl : BP_MJ_GL_AUTO; }

BPRIOR_API bp_status bp_mj_film_resize(bp_mj_film *film, size_t width, size_t height, bp_error *error) {
    if (width < 1 || height < 1 || width > BPI_MJ_MAX_PICTURE || height > BPI_MJ_MAX_PICTURE)
        return bpi_fail(error, BP_ERR_SIZE, "bp_mj_film_resize: %zu by %zu pixels, must be 1 .. %d", width, height,
                        BPI_MJ_MAX_PICTURE);
    if (film->canvas.gl != BP_MJ_GL_CURRENT && (width > film->max_width || height > film->max_height))
        return bpi_fail(error, BP_ERR_SIZE, "bp_mj_film_resize: %zu by %zu pixels, but the film was made with %zu by %zu", width,
                        height, film->max_width, film->max_height);
    film->width = width;
    film->height = height;
    return bpi_ok(error);
}

/* ---- shapes ------------------------------------------------------------------------ */

/* A shape at a place. size is as in MJCF: radius and half height of a cylinder or capsule. mat (nullable) is row-major.
 * Colours glow a little, so that shadows do not swallow them. */
BPI_MJ_FN void bpi_mj_geom(mjvGeom *g, int type, const double *size, const double *at, const mjtNum *mat, const double *rgba,
                           double opacity) {
    mjtNum s[3], p[3];
    float color[4];
    int i;
    for (i = 0; i < 3; i++) {
        s[i] = (mjtNum)size[i];
        p[i] = (mjtNum)at[i];
        color[i] = (float)rgba[i];
    }
    color[3] = (float)(rgba[3] * opacity);
    memset(g, 0, sizeof *g);
    mjv_initGeom(g, type, s, p, mat, color);
    g->category = mjCAT_DECOR;
    g->emission = 0.2f;
    g->specular = 0.1f;
}

/* A capsule, arrow or line (radius: its width in pixels) from a to b: its z axis is the direction, x and y any that are perpendicular. */
BPI_MJ_FN void bpi_mj_segment(mjvGeom *g, int type, const double *a, const double *b, double radius, const double *rgba,
                              double opacity) {
    double z[3], x[3] = {0, 0, 0}, y[3], at[3], size[3], length = 0, dot;
    mjtNum mat[9];
    int i;
    for (i = 0; i < 3; i++) {
        z[i] = b[i] - a[i];
        length += z[i] * z[i];
        at[i] = type == mjGEOM_ARROW || type == mjGEOM_LINE ? a[i] : 0.5 * (a[i] + b[i]);
    }
    length = sqrt(length);
    for (i = 0; i < 3; i++) z[i] = length > 0 ? z[i] / length : (i == 2);
    x[fabs(z[0]) < 0.7 ? 0 : 1] = 1;
    dot = x[0] * z[0] + x[1] * z[1] + x[2] * z[2];
    for (i = 0; i < 3; i++) x[i] -= dot * z[i];
    dot = sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
    for (i = 0; i < 3; i++) x[i] /= dot;
    bpi_mj_set3(y, z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]);
    for (i = 0; i < 3; i++) {
        mat[3 * i] = (mjtNum)x[i];
        mat[3 * i + 1] = (mjtNum)y[i];
        mat[3 * i + 2] = (mjtNum)z[i];
    }
    if (type == mjGEOM_ARROW || type == mjGEOM_LINE) bpi_mj_set3(size, radius, radius, length);
    else bpi_mj_set3(size, radius, 0.5 * length, 0);
    bpi_mj_geom(g, type, size, at, mat, rgba, opacity);
}

BPRIOR_API void bp_mj_film_clear(bp_mj_film *film) { film->n_shapes = 0; }

BPI_MJ_FN bool bpi_mj_all_finite_d(const double *x, size_t n) {
    size_t i;
    for (i = 0; i < n; i++)
        if (!bpi_finite_d(x[i])) return false;
    return true;
}

BPI_MJ_FN bp_status bpi_mj_film_room(const bp_mj_film *film, size_t n, bp_error *error) {
    if (n <= film->config.max_shapes - film->n_shapes) return BP_OK;
    return bpi_fail(error, BP_ERR_SIZE, "bp_mj_film: %zu more shapes do not fit, max_shapes is %zu", n, film->config.max_shapes);
}

BPRIOR_API bp_status bp_mj_film_line(bp_mj_film *film, const double *from, const double *to, double width, const double *rgba,
                                     bp_error *error) {
    bp_status status = bpi_mj_film_room(film, 1, error);
    if (status != BP_OK) return status;
    if (!bpi_mj_all_finite_d(from, 3) || !bpi_mj_all_finite_d(to, 3) || !bpi_mj_all_finite_d(rgba, 4) || !bpi_finite_d(width))
        return bpi_fail(error, BP_ERR_NONFINITE, "bp_mj_film_line: a number is not finite");
    bpi_mj_segment(&film->shape[film->n_shapes++], mjGEOM_CAPSULE, from, to, 0.5 * width, rgba, 1);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mj_film_ball(bp_mj_film *film, const double *center, double radius, const double *rgba, bp_error *error) {
    bp_status status = bpi_mj_film_room(film, 1, error);
    double size[3];
    if (status != BP_OK) return status;
    if (!bpi_mj_all_finite_d(center, 3) || !bpi_mj_all_finite_d(rgba, 4) || !bpi_finite_d(radius))
        return bpi_fail(error, BP_ERR_NONFINITE, "bp_mj_film_ball: a number is not finite");
    bpi_mj_set3(size, radius, radius, radius);
    bpi_mj_geom(&film->shape[film->n_shapes++], mjGEOM_SPHERE, size, center, NULL, rgba, 1);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mj_film_trail(bp_mj_film *film, const double *points, size_t n, double width, const double *rgba,
                                      bp_error *error) {
    bp_status status = bpi_mj_film_room(film, n ? n - 1 : 0, error);
    size_t i;
    for (i = 1; i < n && status == BP_OK; i++) {
        if (!bpi_mj_all_finite_d(points + 3 * (i - 1), 6)) continue;
        status = bp_mj_film_line(film, points + 3 * (i - 1), points + 3 * i, width, rgba, error);
    }
    return status == BP_OK ? bpi_ok(error) : status;
}

/* ---- marks in the scene ----------------------------------------------------------------- */

/* Shape of a target's zone: half lengths of a box, or radius, twice, and half height of a disc (then it returns true). */
BPI_MJ_FN bool bpi_mj_zone(double *half, const bp_mj_world *w) {
    if (w->kind == BPI_MJ_POINTMASS) {
        bpi_mj_set3(half, w->pointmass.hit_radius, w->pointmass.hit_radius, 0.1 * w->pointmass.hit_radius);
        return true;
    }
    bpi_mj_set3(half, 0.5, 0.5, 0.5);
    return false;
}

/* Is the goal reached in the state that is shown? */
BPI_MJ_FN bool bpi_mj_at_goal(const bpi_mj_env *env) { return env->world->kind == BPI_MJ_ANT && env->episode.now != 0; }

/* What the bottom left says: what is to be done, how far it is, how it ended. */
BPI_MJ_FN void bpi_mj_film_words(char *keys, char *words, size_t capacity, const bpi_mj_env *env) {
    static const char *const end[] = {"running", "success", "fell", "time limit", "diverged", "engine error"};
    const bpi_mj_episode *e = &env->episode;
    if (env->world->kind == BPI_MJ_POINTMASS) {
        snprintf(keys, capacity, "next target\nreached\nepisode");
        snprintf(words, capacity, "%lu\n%lu\n%s", (unsigned long)e->goal, (unsigned long)e->hits, end[e->end]);
    } else {
        snprintf(keys, capacity, "walker at target %lu\nepisode", (unsigned long)e->goal);
        snprintf(words, capacity, "%s\n%s", e->now ? "true" : "false", end[e->end]);
    }
}

BPI_MJ_FN mjvGeom *bpi_mj_mark(mjvScene *scene) {
    return scene->ngeom < scene->maxgeom ? &scene->geoms[scene->ngeom++] : NULL;
}

/* The twelve edges of a box: rods, or lines that throw no shadow. */
BPI_MJ_FN void bpi_mj_mark_edges(mjvScene *scene, const double *at, const double *half, bool rods, const double *rgba) {
    int axis, k;
    for (axis = 0; axis < 3; axis++)
        for (k = 0; k < 4; k++) {
            const int u = (axis + 1) % 3, v = (axis + 2) % 3;
            double a[3], b[3];
            mjvGeom *g = bpi_mj_mark(scene);
            if (!g) return;
            a[axis] = at[axis] - half[axis];
            b[axis] = at[axis] + half[axis];
            a[u] = b[u] = at[u] + (k & 1 ? half[u] : -half[u]);
            a[v] = b[v] = at[v] + (k & 2 ? half[v] : -half[v]);
            bpi_mj_segment(g, rods ? mjGEOM_CAPSULE : mjGEOM_LINE, a, b, rods ? 0.02 * half[0] : 1.5, rgba, rods ? 1 : 0.7);
        }
}

/* Zones of the targets: a footprint on the floor, and above it the space that counts. */
BPI_MJ_FN void bpi_mj_mark_targets(mjvScene *scene, const bpi_mj_env *env, const bp_mj_shot *shot) {
    const bpi_mj_episode *e = &env->episode;
    const bool there = bpi_mj_at_goal(env), shadowless = mjVERSION_HEADER >= 300; /* before, translucent marks threw shadows, too */
    double half[3], flat[3], rgba[4], pale[4] = {0, 0, 0, 1}, at[3], tip[3], tail[3];
    const bool disc = bpi_mj_zone(half, env->world);
    const double thin = 0.012 * half[0];
    size_t i, j;
    mjvGeom *g;
    for (i = 0; i < env->world->n_targets; i++) {
        const bool goal = shot->goal && i == e->goal;
        if (!shot->targets && !goal) continue;
        bp_mj_color(rgba, i);
        if (goal && there) bpi_mj_set3(rgba, 1, 1, 1);
        bpi_mj_set3(flat, 0.98 * half[0], disc ? thin : 0.98 * half[1], thin);
        bpi_mj_set3(at, e->target[i][0], e->target[i][1], (disc ? 0 : e->target[i][2] - half[2]) + thin);
        g = bpi_mj_mark(scene);
        if (!g) return;
        if (shadowless) bpi_mj_geom(g, disc ? mjGEOM_CYLINDER : mjGEOM_BOX, flat, at, NULL, rgba, goal ? 0.85 : 0.45);
        else { /* opaque, lest one sees its shadow through it; paler instead */
            for (j = 0; j < 3; j++) pale[j] = goal ? rgba[j] : 0.5 * rgba[j] + 0.4;
            bpi_mj_geom(g, disc ? mjGEOM_CYLINDER : mjGEOM_BOX, flat, at, NULL, pale, 1);
        }
        snprintf(g->label, sizeof g->label, "%lu", (unsigned long)i);
        if (!disc) {
            memcpy(at, e->target[i], sizeof at);
            if (shadowless && (g = bpi_mj_mark(scene)) != NULL) bpi_mj_geom(g, mjGEOM_BOX, half, at, NULL, rgba, goal ? 0.3 : 0.12);
            if (goal || !shadowless) bpi_mj_mark_edges(scene, at, half, goal, rgba);
            at[2] += half[2];
        }
        if (!goal) continue;
        bpi_mj_set3(tip, at[0], at[1], at[2] + 0.25 * half[0]);
        bpi_mj_set3(tail, at[0], at[1], tip[2] + 1.3 * half[0]);
        g = bpi_mj_mark(scene);
        if (g) bpi_mj_segment(g, mjGEOM_ARROW, tail, tip, 0.14 * half[0], rgba, 1);
    }
}

/* Does the way from a to b pass within `margin` of a box? Slab by slab in the box's own frame. */
BPI_MJ_FN bool bpi_mj_in_the_way(const double *a, const double *b, const mjtNum *at, const mjtNum *mat, const mjtNum *half,
                                 double margin) {
    double enter = 0, leave = 1;
    int i, j;
    for (i = 0; i < 3; i++) {
        double p = 0, v = 0, t0, t1;
        const double h = (double)half[i] + margin;
        for (j = 0; j < 3; j++) {
            p += (double)mat[3 * j + i] * (a[j] - (double)at[j]);
            v += (double)mat[3 * j + i] * (b[j] - a[j]);
        }
        if (fabs(v) < 1e-12) {
            if (fabs(p) > h) return false;
            continue;
        }
        t0 = (v > 0 ? -h - p : h - p) / v;
        t1 = (v > 0 ? h - p : -h - p) / v;
        if (t0 > enter) enter = t0;
        if (t1 < leave) leave = t1;
        if (enter > leave) return false;
    }
    return true;
}

/* Fixed boxes between the camera and what it looks at become translucent. */
BPI_MJ_FN void bpi_mj_fade(mjvScene *scene, const mjModel *m, const mjData *d, const double *eye, const double *lookat,
                           double margin) {
    int i;
    for (i = 0; i < scene->ngeom; i++) {
        mjvGeom *g = &scene->geoms[i];
        const int id = g->objid;
        if (g->objtype != mjOBJ_GEOM || id < 0 || m->geom_bodyid[id] != 0 || m->geom_type[id] != mjGEOM_BOX) continue;
        if (bpi_mj_in_the_way(lookat, eye, d->geom_xpos + 3 * id, d->geom_xmat + 9 * id, m->geom_size + 3 * id, margin))
            g->rgba[3] = 0.18f;
    }
}

/* ---- a picture ------------------------------------------------------------------------------ */

typedef struct bpi_mj_take {
    bp_mj_film *film;
    const bpi_mj_env *env;
    const bp_mj_shot *shot;
    unsigned char *rgb;
} bpi_mj_take;

/* Everything that is to be seen, as geoms, lights and a camera. */
BPI_MJ_FN void bpi_mj_take_scene(const bpi_mj_take *take) {
    bp_mj_film *f = take->film;
    const bp_mj_camera *c = &take->shot->camera;
    mjModel *m = f->model;
    mjData *d = take->env->data;
    mjvScene *scene = &f->scene;
    mjvCamera camera;
    double lookat[3], eye[3], depth[2];
    const double aspect = (double)f->width / (double)f->height, extent = (double)m->stat.extent;
    const double arena = bpi_mj_arena(m);
    double distance = c->distance, shade;
    int i, j, walker = bp_mj_world_walker(f->world);
    size_t k;

    mjv_defaultCamera(&camera);
    memcpy(lookat, c->lookat, sizeof lookat);
    for (i = 0; i < 2 && c->view == BP_MJ_VIEW_TRACK; i++) lookat[i] = (double)d->xpos[3 * walker + i];
    if (c->view == BP_MJ_VIEW_TOP && aspect < 1) distance /= aspect; /* the width is then what has to fit */
    camera.type = mjCAMERA_FREE;
    camera.azimuth = (mjtNum)c->azimuth;
    camera.elevation = (mjtNum)c->elevation;
    camera.distance = (mjtNum)distance;
    bpi_mj_set3(eye, cos(c->elevation * BPI_MJ_DEGREE) * cos(c->azimuth * BPI_MJ_DEGREE),
                cos(c->elevation * BPI_MJ_DEGREE) * sin(c->azimuth * BPI_MJ_DEGREE), sin(c->elevation * BPI_MJ_DEGREE));
    for (i = 0; i < 3; i++) {
        camera.lookat[i] = (mjtNum)lookat[i];
        eye[i] = lookat[i] - distance * eye[i];
    }

    /* Planes of depth, in units of the model's extent: as far apart as needed and no further, which leaves the depth
     * buffer the resolution to tell a mark from the floor it lies on. */
    depth[0] = c->view == BP_MJ_VIEW_TOP ? 0.6 * distance : 0.08 * distance;
    depth[1] = c->view == BP_MJ_VIEW_TOP ? 1.5 * distance : 4.5 * distance + 4 * arena;
    m->vis.map.znear = (float)(depth[0] / extent);
    m->vis.map.zfar = (float)(depth[1] / extent);
    m->vis.global.fovy = (float)c->fovy;
    mjv_updateScene(m, d, &f->option, NULL, &camera, mjCAT_ALL, scene);
    scene->flags[mjRND_SHADOW] = take->shot->shadows ? 1 : 0;
    shade = c->view == BP_MJ_VIEW_TRACK ? 1.6 * distance : 1.5 * arena;
    f->context.shadowClip = (float)shade; /* the finer, the smaller the part of the world it is for */

    /* The sun goes along, so that its shadow map lies where one looks, and half way between the camera's planes of
     * depth, which it shares. */
    for (i = 0; i < scene->nlight; i++) {
        mjvLight *light = &scene->lights[i];
        if (light->headlight) continue;
        for (j = 0; j < 3; j++) light->pos[j] = (float)(lookat[j] - 0.5 * (depth[0] + depth[1]) * (double)light->dir[j]);
    }
    if (take->shot->fade && c->view == BP_MJ_VIEW_TRACK) bpi_mj_fade(scene, m, d, eye, lookat, 0.06 * distance);
    bpi_mj_mark_targets(scene, take->env, take->shot);
    for (k = 0; k < f->n_shapes; k++) {
        mjvGeom *g = bpi_mj_mark(scene);
        if (g) *g = f->shape[k];
    }
}

BPI_MJ_FN void bpi_mj_take_curve(const bpi_mj_take *take, mjrRect view) {
    const bp_mj_shot *shot = take->shot;
    mjvFigure *figure = take->film->figure;
    const size_t most = mjMAXLINEPNT < 1000 ? mjMAXLINEPNT : 1000;
    const size_t first = shot->n_curve > most ? shot->n_curve - most : 0;
    double low = 0, high = 1e-3;
    size_t i;
    mjv_defaultFigure(figure);
    if (shot->curve_name) bpi_mj_copy_line(figure->title, sizeof figure->title, shot->curve_name);
    figure->figurergba[3] = 0.55f;
    figure->gridsize[0] = 3;
    figure->gridsize[1] = 3;
    figure->linewidth = 2;
    figure->linergb[0][0] = 1;
    figure->linergb[0][1] = 0.75f;
    figure->linergb[0][2] = 0.2f;
    snprintf(figure->xformat, sizeof figure->xformat, "%%.0f");
    snprintf(figure->yformat, sizeof figure->yformat, "%%.2g");
    snprintf(figure->minwidth, sizeof figure->minwidth, "00.00");
    for (i = first; i < shot->n_curve; i++) {
        const double y = bpi_finite_d(shot->curve[i]) ? shot->curve[i] : 0;
        figure->linedata[0][2 * (i - first)] = (float)i;
        figure->linedata[0][2 * (i - first) + 1] = (float)y;
        if (y > high) high = y;
        if (y < low) low = y;
    }
    figure->linepnt[0] = (int)(shot->n_curve - first);
    figure->range[0][0] = (float)first;
    figure->range[0][1] = (float)(shot->n_curve > first + 2 ? shot->n_curve - 1 : first + 1);
    figure->range[1][0] = (float)low;
    figure->range[1][1] = (float)(1.05 * high);
    view.left += view.width - (int)(0.36 * view.width);
    view.width = (int)(0.36 * view.width);
    view.height = (int)(0.32 * view.height);
    mjr_figure(view, figure, &take->film->context);
}

/* One more line, "key" and "%.3f", in two columns. */
BPI_MJ_FN void bpi_mj_row(char *keys, char *words, size_t capacity, const char *key, double number) {
    const size_t k = strlen(keys), w = strlen(words);
    if (number != number) return;
    snprintf(keys + k, capacity - k, "%s%s", k ? "\n" : "", key);
    snprintf(words + w, capacity - w, "%s%.3f", k ? "\n" : "", number);
}

BPI_MJ_FN void bpi_mj_take_text(const bpi_mj_take *take, mjrRect view) {
    const bp_mj_shot *shot = take->shot;
    const mjrContext *context = &take->film->context;
    char keys[300] = "", words[300] = "";
    if (shot->numbers) {
        if (shot->title) snprintf(keys, sizeof keys, "%.120s\n", shot->title);
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "step");
        snprintf(words, sizeof words, "%s%lu", shot->title ? "\n" : "", (unsigned long)take->env->episode.steps);
        bpi_mj_row(keys, words, sizeof keys, "reward", shot->reward);
        bpi_mj_row(keys, words, sizeof keys, "return", shot->total);
        bpi_mj_row(keys, words, sizeof keys, "KL/nats", shot->kl);
        mjr_overlay(mjFONT_NORMAL, mjGRID_TOPLEFT, view, keys, words, context);
    }
    if (shot->predicates) {
        bpi_mj_film_words(keys, words, sizeof keys, take->env);
        mjr_overlay(mjFONT_NORMAL, mjGRID_BOTTOMLEFT, view, keys, words, context);
    }
    if (shot->keys) mjr_overlay(mjFONT_NORMAL, mjGRID_TOPRIGHT, view, shot->keys, shot->words ? shot->words : "", context);
}

/* OpenGL's first row is the bottom one. */
BPI_MJ_FN void bpi_mj_flip(unsigned char *rgb, size_t width, size_t height) {
    size_t i, j;
    for (i = 0; i < height / 2; i++) {
        unsigned char *a = rgb + i * width * 3, *b = rgb + (height - 1 - i) * width * 3;
        for (j = 0; j < 3 * width; j++) {
            const unsigned char keep = a[j];
            a[j] = b[j];
            b[j] = keep;
        }
    }
}

BPI_MJ_FN void bpi_mj_film_work_render(void *ctx) {
    bpi_mj_take *take = (bpi_mj_take *)ctx;
    bp_mj_film *f = take->film;
    mjrRect view = {0, 0, 0, 0};
    view.width = (int)f->width;
    view.height = (int)f->height;
    mjr_setBuffer(f->canvas.gl == BP_MJ_GL_CURRENT ? mjFB_WINDOW : mjFB_OFFSCREEN, &f->context);
    bpi_mj_take_scene(take);
    mjr_render(view, &f->scene, &f->context);
    if (take->shot->curve && take->shot->n_curve) bpi_mj_take_curve(take, view);
    bpi_mj_take_text(take, view);
    if (take->rgb) mjr_readPixels(take->rgb, NULL, view, &f->context);
}

BPRIOR_API bp_status bp_mj_film_render(bp_mj_film *film, const bp_env *env, const bp_mj_shot *shot, unsigned char *rgb,
                                       bp_error *error) {
    const bp_mj_camera *c;
    bpi_mj_take take;
    bp_status status;
    if (!film || !shot) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_film_render: an argument is NULL");
    if (!bp_mj_env_is(env) || ((const bpi_mj_env *)env->self)->world != film->world)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_film_render: not an environment of the film's world");
    c = &shot->camera;
    if (!bpi_mj_all_finite_d(c->lookat, 3) || !bpi_finite_d(c->azimuth) || !(fabs(c->elevation) <= 90) ||
        !(c->distance > 0 && c->distance < 1e6) || !(c->fovy > 0 && c->fovy < 180))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_film_render: distance, elevation, fovy or another number of the camera makes no "
                                                "sense");
    take.film = film;
    take.env = (const bpi_mj_env *)env->self;
    take.shot = shot;
    take.rgb = rgb;
    if (take.env->broken || !take.env->data)
        return bpi_fail(error, BP_ERR_ENV, "bp_mj_film_render: the environment has no state: call reset() first");
    if (!bpi_mj_canvas_use(&film->canvas, true))
        return bpi_fail(error, BP_ERR_ENV, "bp_mj_film_render: the OpenGL context cannot be used in this thread");
    status = bpi_mj_guard(bpi_mj_film_work_render, &take, NULL, error);
    bpi_mj_canvas_use(&film->canvas, false);
    if (status != BP_OK) return status;
    if (rgb) bpi_mj_flip(rgb, film->width, film->height);
    return bpi_ok(error);
}

#ifdef __cplusplus
} /* extern "C" */
#endif
#undef BPI_MJ_FN
#undef BPI_MJ_PRINTF
#undef BPI_MJ_TLS
#undef BPI_MJ_HAS_LOG_HANDLER
#undef BPI_MJ_NONE
#undef BPI_MJ_PI
#undef BPI_MJ_POINTMASS_LIMIT
#undef BPI_MJ_POINTMASS_DAMPING
#undef BPI_MJ_STREAM_RESET
#undef BPI_MJ_STREAM_SEQUENCE
#undef BPI_MJ_MAX_STATE
#undef BPI_MJ_MAX_PICTURE
#undef BPI_MJ_MARKS
#undef BPI_MJ_DEGREE
#endif /* BPRIOR_MUJOCO_IMPLEMENTATION */
