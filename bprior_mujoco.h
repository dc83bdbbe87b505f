/* bprior_mujoco.h - v0.1.0 - behavior priors: simulated bodies and tasks on MuJoCo. MIT licence.
 *
 * WHAT. The bodies and control tasks of the behavior-prior experiments as bp_env environments (bprior.h, chapter 9):
 *   - walkers: point mass, rolling and jumping ball, ant, the suite's humanoid, the CMU humanoid; or one you describe;
 *   - tasks: go to targets, move boxes, both at once, sequences of targets, a moving target, running, gaps;
 *   - any MJCF model of yours as an environment, with fields named by sensor, joint, body or site.
 * What the authors released is reproduced number for number (tests/test_mujoco_parity.c, `make parity`).
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
 *     bp_mj_task task = bp_mj_task_default(BP_MJ_MOVE_BOX, BP_MJ_WALKER_ANT);
 *     bp_mj_world *world;
 *     bp_env env;
 *     bp_error error;
 *     if (bp_mj_world_create(&world, &task, NULL, &error)) { puts(error.text); return 1; }
 *     if (bp_mj_env_make(world, &env, &error)) { puts(error.text); return 1; }
 *     env.reset(env.self, 1, observation);
 *     env.step(env.self, action, observation, &result);       // as any other environment
 *     bp_env_close(&env);                                     // environments first,
 *     bp_mj_world_destroy(world);                             // then their world
 *
 * CONTENTS (search for >>name)
 *   M1 >>mj-library     errors and versions        M6 >>mj-sequences   sequential navigation
 *   M2 >>mj-tables      models from tables         M7 >>mj-predicates  go to targets, move boxes
 *   M3 >>mj-walkers     bodies that act            M8 >>mj-locomotion  moving target, running, gaps
 *   M4 >>mj-worlds      worlds, environments       M9 >>mj-build       worlds of tasks
 *   M5 >>mj-tasks       the description of a task  M10 >>mj-models     a model of your own
 *                                                  M11 >>mj-pictures   pictures and films
 *
 * THREADS. The compiled model is shared by all environments of a world and never written after it was
 * made, so any number of threads may each step their own environments. One environment belongs to one
 * thread at a time.
 *
 * MEMORY. Everything of ours goes through the bp_allocator given to the world, and only while worlds and
 * environments are made. MuJoCo's own structures (mjModel, mjData) come from its mju_malloc.
 *
 * CREDITS. The walkers, the ant's task and the arena follow DeepMind's box_arrangement and dm_control (Apache-2.0; the ant's
 * model file: MIT, 2020, Philipp Moritz and the dm_control authors). No code was taken, only numbers.
 */
#ifndef BPRIOR_MUJOCO_H
#define BPRIOR_MUJOCO_H
/** @file
 *  @brief Bodies, arenas and tasks on MuJoCo, and pictures of them. */

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
#define bp_mj_walker_of BPI_PREFIXED(bp_mj_walker_of)
#define bp_mj_walker_named BPI_PREFIXED(bp_mj_walker_named)
#define bp_mj_walker_check BPI_PREFIXED(bp_mj_walker_check)
#define bp_mj_table_add_walker BPI_PREFIXED(bp_mj_table_add_walker)
#define bp_mj_table_add_pointmass BPI_PREFIXED(bp_mj_table_add_pointmass)
#define bp_mj_env_make BPI_PREFIXED(bp_mj_env_make)
#define bp_mj_maker BPI_PREFIXED(bp_mj_maker)
#define bp_mj_world_destroy BPI_PREFIXED(bp_mj_world_destroy)
#define bp_mj_world_model BPI_PREFIXED(bp_mj_world_model)
#define bp_mj_world_spec BPI_PREFIXED(bp_mj_world_spec)
#define bp_mj_world_memory BPI_PREFIXED(bp_mj_world_memory)
#define bp_mj_env_is BPI_PREFIXED(bp_mj_env_is)
#define bp_mj_env_world BPI_PREFIXED(bp_mj_env_world)
#define bp_mj_env_data BPI_PREFIXED(bp_mj_env_data)
#define bp_mj_env_info BPI_PREFIXED(bp_mj_env_info)
#define bp_mj_env_targets BPI_PREFIXED(bp_mj_env_targets)
#define bp_mj_env_set_state BPI_PREFIXED(bp_mj_env_set_state)
#define bp_mj_task_make BPI_PREFIXED(bp_mj_task_make)
#define bp_mj_task_name BPI_PREFIXED(bp_mj_task_name)
#define bp_mj_task_named BPI_PREFIXED(bp_mj_task_named)
#define bp_mj_sequence_default BPI_PREFIXED(bp_mj_sequence_default)
#define bp_mj_sequence_multitask BPI_PREFIXED(bp_mj_sequence_multitask)
#define bp_mj_sequence_transfer BPI_PREFIXED(bp_mj_sequence_transfer)
#define bp_mj_sequence_law BPI_PREFIXED(bp_mj_sequence_law)
#define bp_mj_table_add_room BPI_PREFIXED(bp_mj_table_add_room)
#define bp_mj_table_add_box BPI_PREFIXED(bp_mj_table_add_box)
#define bp_mj_env_set_layout BPI_PREFIXED(bp_mj_env_set_layout)
#define bp_mj_world_gaps BPI_PREFIXED(bp_mj_world_gaps)
#define bp_mj_world_create BPI_PREFIXED(bp_mj_world_create)
#define bp_mj_world_task BPI_PREFIXED(bp_mj_world_task)
#define bp_mj_model_config_make BPI_PREFIXED(bp_mj_model_config_make)
#define bp_mj_model_world BPI_PREFIXED(bp_mj_model_world)
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
#define bp_mj_world_focus BPI_PREFIXED(bp_mj_world_focus)
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
 * MuJoCo 2 writes the text of a warning into a buffer that all threads share. When two simulations diverge in the same instant the
 * words in bp_mj_info may be a mixture of two; the counters and the reason why the episode ended are not affected.
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
#define BP_MJ_MAX_GEOMS 128   /**< see BP_MJ_MAX_BODIES */
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

    double mass;             /**< kg; > 0: mass and inertia are as said here; 0 (default): they follow from the geoms */
    double inertial_pos[3];  /**< centre of that mass */
    double inertial_quat[4]; /**< its principal axes */
    double inertia[3];       /**< kg m^2 about those */
} bp_mj_body;

/** What a joint allows. */
typedef enum bp_mj_joint_kind {
    BP_MJ_FREE = 0, /**< any motion: 6 degrees of freedom, 7 numbers (position, quaternion) */
    BP_MJ_SLIDE,    /**< along its axis, m */
    BP_MJ_HINGE     /**< around its axis, rad */
} bp_mj_joint_kind;

/** A joint. */
typedef struct bp_mj_joint {
    char name[BP_NAME];     /**< unique */
    int body;               /**< the body that moves */
    bp_mj_joint_kind kind;  /**< a free joint uses nothing but name and body */
    double axis[3];         /**< any length */
    double pos[3];          /**< where it sits in the body's frame; default the origin */
    bool limited;           /**< is range in force? */
    double range[2];        /**< m or rad */
    double damping;         /**< N s/m or N m s/rad */
    double stiffness;       /**< toward 0 */
    double armature;        /**< added inertia */
    double solref_limit[2]; /**< softness of the limits */
    double solimp_limit[3]; /**< softness of the limits */
} bp_mj_joint;

/** Shape of a geom. */
typedef enum bp_mj_geom_kind {
    BP_MJ_PLANE = 0, /**< infinite for contacts, whatever its size */
    BP_MJ_SPHERE,    /**< a ball */
    BP_MJ_CAPSULE,   /**< a cylinder with a half ball at each end */
    BP_MJ_BOX,       /**< a box */
    BP_MJ_CYLINDER,  /**< a cylinder with flat ends */
    BP_MJ_ELLIPSOID  /**< an ellipsoid */
} bp_mj_geom_kind;

/** A shape with mass that collides. */
typedef struct bp_mj_geom {
    char name[BP_NAME];   /**< unique */
    int body;             /**< row, or BP_MJ_WORLD_BODY */
    bp_mj_geom_kind kind; /**< a capsule or cylinder runs from pos to end, unless it has a half length */
    double size[3];       /**< plane: half x, half y, side of a check; sphere: radius; box, ellipsoid: half lengths; capsule, cylinder:
                               radius, and half length (of the straight part) or 0 */
    double pos[3];        /**< centre, or where a capsule or cylinder without half length begins */
    double end[3];        /**< where that one ends */
    double quat[4];       /**< orientation of all others; default (1, 0, 0, 0): a capsule or cylinder along z */
    double mass;          /**< kg; negative: from density and volume */
    double density;       /**< kg/m^3 */
    double friction[3];   /**< sliding, torsional, rolling */
    int condim;           /**< 1, 3, 4 or 6 */
    double solref[2];     /**< contact softness */
    double solimp[3];     /**< contact softness */
    double rgba[4];       /**< colour and opacity in pictures; a plane has a checkered material instead */
} bp_mj_geom;

/** An actuator. Controls are clamped to [-1, 1].
 *
 *     kp = 0: a motor,             force = gear u
 *     kp > 0: position control,    force = clip(kp (middle + half u - q), -limit, limit),   middle +- half = the joint's range
 */
typedef struct bp_mj_motor {
    char name[BP_NAME]; /**< unique */
    int joint;          /**< row of the joint it drives */
    double gear;        /**< N or N m per unit of control */
    double kp;          /**< N m/rad; default 0 */
    double limit;       /**< N m, for kp > 0 */
} bp_mj_motor;

/** A marked point on a body. */
typedef struct bp_mj_site {
    char name[BP_NAME]; /**< unique */
    int body;           /**< row */
    double pos[3];      /**< m, in the body's frame */
} bp_mj_site;

/** What a sensor measures at its site, in the site's frame. */
typedef enum bp_mj_sensor_kind {
    BP_MJ_VELOCIMETER = 0, /**< linear velocity in the site's frame, m/s */
    BP_MJ_GYRO,            /**< angular velocity in the site's frame, rad/s */
    BP_MJ_ACCELEROMETER    /**< linear acceleration with gravity in the site's frame, m/s^2 */
} bp_mj_sensor_kind;

/** A sensor with three readings. */
typedef struct bp_mj_sensor {
    char name[BP_NAME];     /**< unique */
    bp_mj_sensor_kind kind; /**< what */
    int site;               /**< where */
} bp_mj_sensor;

/** A whole model: options and rows. Plain data without pointers; 50 kB, so rather not on a thread's stack. */
typedef struct bp_mj_table {
    char name[BP_NAME];      /**< of the model */
    double timestep;         /**< s per physics step */
    bool elliptic;           /**< friction cones: elliptic, or MuJoCo's default pyramids */
    bool contacts;           /**< false: nothing collides */
    int noslip_iterations;   /**< 0: off */
    double noslip_tolerance; /**< of those */
    double bound_mass;       /**< least mass of a moving body: massless frames get this */
    double bound_inertia;    /**< least moment of inertia */
    int max_constraints;     /**< room reserved by MuJoCo 2.x (0: its own guess); for 3.x see memory */
    int max_contacts;        /**< same */
    int max_stack;           /**< same, in numbers */
    int memory;              /**< bytes that MuJoCo 3.x reserves for contacts, constraints and stack (0: its own guess) */
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
 * M3. >>mj-walkers   Walkers
 *    provides: bp_mj_walker bp_mj_walker_of bp_mj_table_add_walker bp_mj_table_add_pointmass
 *    needs: M2        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_walkers M3. MuJoCo: walkers
 *
 * A walker is a body that acts. It is described by constant rows - bodies, joints, geoms, in three tables - and a few words on how it
 * stands, what it tells of itself and when it has fallen. The built-in ones are described in just this way, so one of yours
 * goes wherever they go: fill in a ::bp_mj_walker and put its address into a task.
 *
 *  | walker                   | actions | kg   | what it is                                                          |
 *  |--------------------------|---------|------|---------------------------------------------------------------------|
 *  | BP_MJ_WALKER_POINTMASS   | 2       | 3    | a sphere on two slides, pushed along x and y                        |
 *  | BP_MJ_WALKER_ROLLING     | 2       | 22   | a ball that rolls and steers, with a head                           |
 *  | BP_MJ_WALKER_JUMPING     | 3       | 22   | the same, and it can kick itself up                                 |
 *  | BP_MJ_WALKER_ANT         | 8       | 12.4 | a sphere on four legs of hip and ankle                              |
 *  | BP_MJ_WALKER_HUMANOID    | 21      | 40.8 | the control suite's humanoid                                        |
 *  | BP_MJ_WALKER_CMU         | 56      | 39.6 | the CMU humanoid of 2019, torques                                   |
 *  | BP_MJ_WALKER_CMU_POSITION| 56      | 39.6 | the same body, each joint held by a position controller             |
 *
 * **Falling.** Aliveness is (u - 1)/2 in [-1, 0], u being the vertical component of the root's `up` axis, and -1 if the root is below
 * `min_height`. Tasks end when it drops below their alive_threshold (-0.5 by default: the axis points below the horizon). That is
 * the reference's rule for the ant. Nothing settles the humanoids': a root below about two thirds of its standing height is on
 * its knees or worse, whence their min_height. The balls and the point mass cannot fall.
 * @{ */

/** The built-in walkers. */
typedef enum bp_mj_walker_kind {
    BP_MJ_WALKER_POINTMASS = 0, /**< 2 actions */
    BP_MJ_WALKER_ROLLING,       /**< 2 actions */
    BP_MJ_WALKER_JUMPING,       /**< 3 actions */
    BP_MJ_WALKER_ANT,           /**< 8 actions */
    BP_MJ_WALKER_HUMANOID,      /**< 21 actions */
    BP_MJ_WALKER_CMU,           /**< 56 actions, torques */
    BP_MJ_WALKER_CMU_POSITION,  /**< 56 actions, positions */
    BP_MJ_WALKER_COUNT_         /**< not a walker */
} bp_mj_walker_kind;

/** A body of a walker. Row 0 carries the walker: it has the free joint or the root's slides, and no parent. */
typedef struct bp_mj_walker_body {
    const char *name;    /**< unique in the model */
    const char *parent;  /**< name of an earlier row; NULL for row 0 */
    double pos[3];       /**< m, in the parent's frame */
    double quat[4];      /**< (w, x, y, z); all zero: not turned */
    double mass;         /**< kg; 0: mass and inertia follow from the geoms */
    double mass_pos[3];  /**< centre of mass, if mass > 0 */
    double mass_quat[4]; /**< principal axes, if mass > 0 */
    double inertia[3];   /**< kg m^2, if mass > 0 */
} bp_mj_walker_body;

/** A joint of a walker, with its actuator. */
typedef struct bp_mj_walker_joint {
    const char *name;      /**< unique in the model; the actuator has it, too */
    const char *body;      /**< what it moves */
    bp_mj_joint_kind kind; /**< BP_MJ_SLIDE or BP_MJ_HINGE */
    double axis[3];        /**< any length */
    double pos[3];         /**< in the body's frame */
    double range[2];       /**< m or rad; equal: unlimited */
    double stiffness;      /**< toward 0 */
    double damping;        /**< N s/m or N m s/rad */
    double gear;           /**< N or N m at control 1 (torque control) */
    double kp;             /**< N m/rad (position control) */
    double limit;          /**< N m (position control) */
} bp_mj_walker_joint;

/** A geom of a walker. */
typedef struct bp_mj_walker_geom {
    const char *name;     /**< unique in the model; NULL: the body's name, numbered from the second on */
    const char *body;     /**< where */
    bp_mj_geom_kind kind; /**< shape */
    double size[3];       /**< see bp_mj_geom */
    double pos[3];        /**< centre, or where a capsule without half length begins */
    double end[3];        /**< where that one ends */
    double quat[4];       /**< all zero: not turned */
    double density;       /**< kg/m^3 */
    double mass;          /**< kg; > 0: used in place of the density */
} bp_mj_walker_geom;

/** A walker. Everything it points to must live as long as the worlds made of it. */
typedef struct bp_mj_walker {
    const char *name;                 /**< "ant" */
    const bp_mj_walker_body *bodies;  /**< [n_bodies] depth first */
    size_t n_bodies;                  /**< rows */
    const bp_mj_walker_joint *joints; /**< [n_joints] in the order of their bodies */
    size_t n_joints;                  /**< rows */
    const bp_mj_walker_geom *geoms;   /**< [n_geoms] */
    size_t n_geoms;                   /**< rows */
    const char *const (*excludes)[2]; /**< [n_excludes] pairs of bodies that do not collide */
    size_t n_excludes;                /**< rows */
    const char *const *actuators;     /**< [n_actuators] driven joints, in the order of the action's numbers */
    size_t n_actuators;               /**< numbers in an action */
    bool position_control;            /**< actuators hold positions (kp, limit) instead of giving torques (gear) */

    bool free_root;        /**< row 0 has a free joint; else it has slides "root_x", "root_y" among `joints` */
    const char *yaw_joint; /**< without free joint: hinge that turns the walker, or NULL: it has no front */
    double spawn_z;        /**< height of row 0 when it stands, m; with slides 0 */
    double spawn_quat[4];  /**< orientation of row 0 when it stands */

    double armature;        /**< of all hinges */
    double solref_limit[2]; /**< joint limits */
    double solimp_limit[3]; /**< joint limits */
    int condim;             /**< contacts of all geoms */
    double friction[3];     /**< sliding, torsional, rolling */
    double solref[2];       /**< contact softness */
    double solimp[3];       /**< contact softness */

    const char *root;              /**< body whose frame is the egocentric one, with velocimeter, gyro and accelerometer */
    const char *const *effectors;  /**< [n_effectors] bodies of "end_effectors_pos" */
    size_t n_effectors;            /**< 0: no such field */
    const char *const *appendages; /**< [n_appendages] bodies of "appendages_pos" */
    size_t n_appendages;           /**< 0: no such field */
    const char *const *observed;   /**< [n_observed] joints of "joints_pos" and "joints_vel" */
    size_t n_observed;             /**< 0: no such fields */
    bool observe_bodies;           /**< fields "bodies_pos" and "bodies_quats": bodies with geoms, in order */
    const char *const *feet;       /**< [n_feet] bodies that may touch the ground; others may not in go-to-target */
    size_t n_feet;                 /**< 0: all may */

    double up[3];      /**< axis of the root that points up while it stands; 0 0 0: it cannot fall */
    double min_height; /**< m; a root below has fallen; 0: any height will do */

    double timestep;   /**< s per physics step, unless the task says otherwise */
    size_t n_substeps; /**< physics steps per control step */
    double speed;      /**< m/s: a brisk pace */
} bp_mj_walker;

/** A built-in walker; NULL for an unknown number. */
BPRIOR_API const bp_mj_walker *bp_mj_walker_of(bp_mj_walker_kind kind);
/** A built-in walker by name ("ant"); NULL if there is none. */
BPRIOR_API const bp_mj_walker *bp_mj_walker_named(const char *name);
/** Is the description whole? Names are found, rows in order, numbers finite. @return BP_ERR_ARGUMENT; the text names the row. */
BPRIOR_API bp_status bp_mj_walker_check(const bp_mj_walker *walker, bp_error *error);
/** Append a walker's rows. @return BP_ERR_SIZE if the table is full, BP_ERR_ARGUMENT as bp_mj_walker_check(). */
BPRIOR_API bp_status bp_mj_table_add_walker(bp_mj_table *table, const bp_mj_walker *walker, bp_error *error);

/** The control suite's point mass in its own small room: a 0.3 kg sphere on two slides, each limited to +-0.29 m (the limits are the
 *  walls), damping 1 N s/m, a motor of `gear` N per unit of action on each axis (the suite: 0.1). With dt = 0.02 s
 *
 *      v' = (0.3 v + dt gear u) / (0.3 + dt),   x' = x + dt v'
 *
 *  so it coasts with a time constant of 0.3 s and its terminal speed is `gear` m/s. */
BPRIOR_API void bp_mj_table_add_pointmass(bp_mj_table *table, double gear);
/** @} */

/* ==========================================================================
 * M4. >>mj-worlds   Worlds, environments, readings
 *    provides: bp_mj_world_* bp_mj_env_* bp_mj_maker bp_mj_info bp_mj_reading
 *    needs: M1, bprior.h 3, 9        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_worlds M4. MuJoCo: worlds, environments, readings
 *
 * A *world* is a compiled model with the rules of a task. Nothing in it depends on the episode - targets are
 * coordinates, not things - so it is compiled once and shared. *Environments* are made from it, one mjData
 * each (bp_mj_world_memory() tells how large). Destroy a world after its environments.
 *
 * Worlds come from bp_mj_world_create() (M9: a walker and a task of this header) or from bp_mj_model_world() (M10: a model of
 * yours). A *reading* is what an observation is made of: a quantity of a named thing of the model.
 * @{ */

/** A compiled model with a task. Immutable, hence freely shared between threads. */
typedef struct bp_mj_world bp_mj_world;

/** What a reading reads. */
typedef enum bp_mj_quantity {
    BP_MJ_SENSOR = 0,      /**< all numbers of a sensor; "*": of all sensors */
    BP_MJ_JOINT_POSITION,  /**< qpos of a joint: 1 number, ball 4, free 7; "*": all of qpos */
    BP_MJ_JOINT_VELOCITY,  /**< qvel of a joint: 1, 3, 6; "*": all of qvel */
    BP_MJ_BODY_POSITION,   /**< 3: origin of a body, as seen from `frame` */
    BP_MJ_BODY_QUATERNION, /**< 4: its orientation (w, x, y, z), as seen from `frame`; the sign is MuJoCo's */
    BP_MJ_BODY_ROTATION,   /**< 9: the same as a matrix, row by row, body to world; frame must be NULL */
    BP_MJ_BODY_VELOCITY,   /**< 6: angular, then linear velocity of its origin, in its own axes; frame must be NULL */
    BP_MJ_BODY_HEIGHT,     /**< 1: z of its origin in the world; frame must be NULL */
    BP_MJ_BODY_VERTICAL,   /**< 3: the world's z axis in its own axes: which way is up? frame must be NULL */
    BP_MJ_SITE_POSITION,   /**< 3: a site, as seen from `frame` */
    BP_MJ_ACTIVATION       /**< activations of an actuator that has any; "*": all */
} bp_mj_quantity;

/** One row of an observation. Rows with the same field name that follow each other make one field. */
typedef struct bp_mj_reading {
    const char *field;   /**< name of the observation's field */
    bp_mj_quantity what; /**< which quantity */
    const char *name;    /**< of the sensor, joint, body, site or actuator; "*" where the table says so */
    const char *frame;   /**< body from which positions and orientations are seen; NULL: the world */
} bp_mj_reading;

/** Why an episode ended. */
typedef enum bp_mj_end {
    BP_MJ_RUNNING = 0, /**< it has not */
    BP_MJ_SUCCESS,     /**< the task is done (discount 0) */
    BP_MJ_FALL,        /**< the body tipped over, or touched what it must not (discount 0) */
    BP_MJ_TIME_LIMIT,  /**< (discount 1) */
    BP_MJ_DIVERGED,    /**< the simulation left the numbers' range (reward 0, discount 0) */
    BP_MJ_ENGINE_ERROR /**< MuJoCo called its error function; step() returned BP_ERR_ENV */
} bp_mj_end;

#define BP_MJ_MAX_TARGETS 8    /**< most targets */
#define BP_MJ_MAX_BOXES 4      /**< most boxes */
#define BP_MJ_MAX_PREDICATES 8 /**< most predicates, offered or in force */

/** What an environment can tell beside its observation; for logs, plots and tests, not for agents. */
typedef struct bp_mj_info {
    uint64_t steps;                         /**< control steps of this episode */
    bp_mj_end end;                          /**< state of this episode */
    uint64_t diverged;                      /**< episodes that ended in BP_MJ_DIVERGED since the environment was made */
    uint64_t warnings;                      /**< warnings of MuJoCo since the environment was made */
    size_t sequence;                        /**< sequences: number of the layout and law of this episode; else 0 */
    size_t goal;                            /**< target to go for (predicates: of the first one) */
    size_t hits;                            /**< targets reached in this episode; predicate tasks: predicates now true */
    size_t previous[2];                     /**< sequences: target reached last, and the one before (n_targets: none yet) */
    size_t n_predicates;                    /**< predicates in force */
    int predicate[BP_MJ_MAX_PREDICATES][5]; /**< their codes, see M7 */
    bool holds[BP_MJ_MAX_PREDICATES];       /**< are they true? */
    double root[3];                         /**< the walker's root in the world, m; zeros in a model of yours */
    double aliveness;                       /**< in [-1, 0], see M3 */
    bp_error error;                         /**< detail of the last failed reset or step */
    char warning[128];                      /**< last warning of MuJoCo, or "" */
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
/** Bytes that MuJoCo takes for each environment of this world. */
BPRIOR_API size_t bp_mj_world_memory(const bp_mj_world *world);

/** Is this an unwrapped environment of this header? The functions below need one. */
BPRIOR_API bool bp_mj_env_is(const bp_env *env);
/** The world it was made from; NULL if not ours. */
BPRIOR_API const bp_mj_world *bp_mj_env_world(const bp_env *env);
/** The simulation state (for pictures and measurements); NULL if not ours. Valid until the environment is closed or an
 *  engine error makes reset() replace it. */
BPRIOR_API mjData *bp_mj_env_data(const bp_env *env);
/** Information on the running episode; zeros if not ours. */
BPRIOR_API bp_mj_info bp_mj_env_info(const bp_env *env);
/** Coordinates of the episode's targets, [n_targets][3], as many as fit into `capacity` targets. @return n_targets. */
BPRIOR_API size_t bp_mj_env_targets(const bp_env *env, double *targets, size_t capacity);
/** Put bodies elsewhere in the middle of an episode; the task's memory stays as it is. For tests, and for
 *  starting episodes in special states.
 *  @param qpos [nq] or NULL: unchanged. @param qvel [nv] or NULL. @param observation [O] new one, or NULL. */
BPRIOR_API bp_status bp_mj_env_set_state(bp_env *env, const double *qpos, const double *qvel, bp_real *observation,
                                         bp_error *error);
/** @} */

/* ==========================================================================
 * M5. >>mj-tasks   Tasks: the description
 *    provides: bp_mj_task bp_mj_task_default bp_mj_task_named bp_mj_layout
 *    needs: M3 M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_tasks M5. MuJoCo: tasks
 *
 * One struct describes any of them; bp_mj_task_default(kind, walker) fills it, and bp_mj_world_create() (M9) makes a world of it.
 *
 *  | kind                    | what is to be done                                                        | rules |
 *  |-------------------------|---------------------------------------------------------------------------|----|
 *  | BP_MJ_GO_TO_K_TARGETS   | go to the target that is named                                            | M7 |
 *  | BP_MJ_MOVE_BOX          | push the box to the target that is named                                  | M7 |
 *  | BP_MJ_MOVE_BOX_OR_GTT   | one of the two, drawn                                                     | M7 |
 *  | BP_MJ_MOVE_BOX_AND_GTT  | both at once                                                              | M7 |
 *  | BP_MJ_SEQUENCE          | reach one target after the other in an order with a law                   | M6 |
 *  | BP_MJ_GO_TO_TARGET      | stay near a target that moves away when it was reached                    | M8 |
 *  | BP_MJ_RUN               | run along x at a given speed, on open ground                              | M8 |
 *  | BP_MJ_RUN_GAPS          | the same in a corridor with gaps in the floor                             | M8 |
 *
 * **Observation.** Every task with a walker has these fields, in this order. R is the root's orientation (body to world), p its
 * position; "ego" marks vectors in the root's full frame, R^T (x - p). Sizes: ant, CMU humanoid.
 *
 *  | field                          | ant | CMU | meaning                                                       | compact |
 *  |--------------------------------|-----|-----|---------------------------------------------------------------|---|
 *  | "walker/appendages_pos"        | 12  | 15  | feet (CMU: hands, feet, head), ego                            |   |
 *  | "walker/bodies_pos"            | 39  | -   | bodies, ego, the root first                                   |   |
 *  | "walker/bodies_quats"          | 52  | -   | their orientation relative to the root (w, x, y, z)           |   |
 *  | "walker/body_height"           | 1   | 1   | p_z                                                           | x |
 *  | "walker/end_effectors_pos"     | 12  | 12  | feet (CMU: hands, feet), ego                                  | x |
 *  | "walker/joints_pos"            | 8   | 56  | rad, in the order of the actuators                            | x |
 *  | "walker/joints_vel"            | 8   | 56  | rad/s                                                         | x |
 *  | "walker/orientation"           | 9   | 9   | R, row by row: global                                         |   |
 *  | "walker/position"              | 3   | 3   | p: global                                                     |   |
 *  | "walker/sensors_accelerometer" | 3   | 3   | m/s^2, one physics step old (as in the reference)             | x |
 *  | "walker/sensors_gyro"          | 3   | 3   | rad/s                                                         | x |
 *  | "walker/sensors_velocimeter"   | 3   | 3   | m/s                                                           | x |
 *  | "walker/world_zaxis"           | 3   | 3   | third row of R                                                | x |
 *
 * and then those of its task. BP_MJ_OBSERVE_COMPACT leaves out what is global, or constant or repeated in the ant; or list
 * the names you want.
 * @{ */

/** The tasks. */
typedef enum bp_mj_task_kind {
    BP_MJ_GO_TO_K_TARGETS = 0, /**< one target of several (M7) */
    BP_MJ_MOVE_BOX,            /**< one box to one target (M7) */
    BP_MJ_MOVE_BOX_OR_GTT,     /**< one of the two (M7) */
    BP_MJ_MOVE_BOX_AND_GTT,    /**< both at once (M7) */
    BP_MJ_SEQUENCE,            /**< target after target (M6) */
    BP_MJ_GO_TO_TARGET,        /**< a moving target (M8) */
    BP_MJ_RUN,                 /**< a given speed (M8) */
    BP_MJ_RUN_GAPS,            /**< the same over gaps (M8) */
    BP_MJ_TASK_COUNT_          /**< not a task */
} bp_mj_task_kind;

/** Which of the fields are there. */
typedef enum bp_mj_observe {
    BP_MJ_OBSERVE_REFERENCE = 0, /**< all, as the authors' environments have them */
    BP_MJ_OBSERVE_COMPACT,       /**< those marked compact, and all of the task's own */
    BP_MJ_OBSERVE_LISTED         /**< those named in `fields` */
} bp_mj_observe;

/** What a predicate moves, and whereto. The numbers are those of the code in the observation. */
typedef enum bp_mj_mover { BP_MJ_MOVE_WALKER = 0, /**< the walker */
                           BP_MJ_MOVE_THE_BOX = 1 /**< a box */
} bp_mj_mover;
/** See bp_mj_mover. */
typedef enum bp_mj_goal { BP_MJ_TO_BOX = 0,   /**< a box */
                          BP_MJ_TO_TARGET = 1 /**< a target */
} bp_mj_goal;

/** A condition that may hold or not: something is close to something. */
typedef struct bp_mj_predicate {
    bp_mj_mover mover; /**< what has to be there */
    int mover_index;   /**< which box; 0 for the walker */
    bp_mj_goal goal;   /**< where */
    int goal_index;    /**< which target or box; -1: a target drawn at random */
    double weight;     /**< how likely it is drawn, relative to the others; >= 0 */
} bp_mj_predicate;

/** How the next target follows from the last two. It is never the one just reached. */
typedef enum bp_mj_law {
    BP_MJ_LAW_UNIFORM = 0, /**< any other, equally likely */
    BP_MJ_LAW_MARKOV2,     /**< see bp_mj_sequence_law() */
    BP_MJ_LAW_CYCLE        /**< 0, 1, 2, ... and round again: the easy, deterministic one */
} bp_mj_law;

/** Where the targets of a sequence are. */
typedef enum bp_mj_places {
    BP_MJ_PLACES_RING = 0, /**< regular polygon: target k at angle + 2 pi k / K, distance radius */
    BP_MJ_PLACES_LISTED,   /**< as given */
    BP_MJ_PLACES_RANDOM    /**< new each episode: uniform in 0.86 of the room, pairwise at least `spacing` apart */
} bp_mj_places;

/** Where the walker of a sequence begins, always at rest. */
typedef enum bp_mj_spawn {
    BP_MJ_SPAWN_UNIFORM = 0, /**< uniform in the room, but not on the first target (default, as in the suite) */
    BP_MJ_SPAWN_FIXED        /**< at layout.spawn */
} bp_mj_spawn;

/** Layout and law of sequential navigation. Made by bp_mj_sequence_default(); lengths are for the suite's point mass. */
typedef struct bp_mj_sequence {
    bp_mj_law law;                       /**< default BP_MJ_LAW_MARKOV2 */
    bool reversed;                       /**< the law's cycles run the other way round; default false */
    double p_common;                     /**< MARKOV2: probability of the common successor, in [0, 1]; default 0.9 */
    bp_mj_places places;                 /**< default BP_MJ_PLACES_RING */
    double radius;                       /**< RING: m, default 0.2 */
    double angle;                        /**< RING: rad, of target 0; default pi/4: with K = 4 a square */
    double spacing;                      /**< RANDOM: m, default 0.15 */
    double target[BP_MJ_MAX_TARGETS][2]; /**< LISTED: m */
    size_t slot;                         /**< entry of the field "task" that is 1; task_slots or more: none. Default 0 */
} bp_mj_sequence;

#define BP_MJ_MAX_SEQUENCES 8 /**< most sequences in one task */

/** Where things are at the start of an episode. */
typedef struct bp_mj_layout {
    double spawn[2];                     /**< m */
    double yaw;                          /**< rad, counterclockwise; 0: as the walker's tables say. NaN: drawn at reset */
    double target[BP_MJ_MAX_TARGETS][2]; /**< m, zone centres */
    double box[BP_MJ_MAX_BOXES][3];      /**< m, m, rad: x, y, yaw (NaN: drawn at reset) */
    int active[BP_MJ_MAX_PREDICATES];    /**< predicate in each slot: its number among those offered, or -1: drawn */
    int goal[BP_MJ_MAX_PREDICATES];      /**< target of the predicate in each slot, if it has a random one; -1: drawn */
} bp_mj_layout;

/** A task: all that bp_mj_world_create() needs to know. Begin with bp_mj_task_default(). */
typedef struct bp_mj_task {
    uint32_t cookie;            /**< set by the default function */
    bp_mj_task_kind kind;       /**< set by the default function */
    const bp_mj_walker *walker; /**< who acts: built-in, or a description of yours */

    /* time, reward, end: all tasks */
    double timestep;          /**< s per physics step; default the walker's */
    size_t n_substeps;        /**< physics steps per control step; default the walker's */
    size_t episode_steps;     /**< time limit in control steps, >= 1; default 20 s (RUN: 30 s) */
    double reward_scale;      /**< multiplies every reward; default 10 in predicate tasks, else 1 */
    double alive_threshold;   /**< fallen if aliveness (M3) is below; in [-1, 0], default -0.5; below -1: never */
    bool contact_ends;        /**< the episode ends when anything but the walker's feet touches the ground; default: GO_TO_TARGET
                                   and RUN_GAPS, as in the reference */
    bool divergence_is_error; /**< step() returns BP_ERR_ENV when the simulation diverges, instead of ending the
                                   episode; default false */

    /* observation */
    bp_mj_observe observe;     /**< default BP_MJ_OBSERVE_REFERENCE */
    const char *const *fields; /**< [n_fields] names for BP_MJ_OBSERVE_LISTED (the order is always that of the tables);
                                    read only while the world is made. Default NULL */
    size_t n_fields;           /**< default 0 */
    bool goal_field;           /**< predicate tasks: add the field "goal" (M7); default false */

    /* things in the arena */
    size_t n_targets;    /**< K, 0 .. BP_MJ_MAX_TARGETS; default 3, sequences 4 */
    size_t n_boxes;      /**< 0 .. BP_MJ_MAX_BOXES; default 1 for the tasks that move one */
    double box_mass;     /**< kg; default 1.5 */
    bool fixed_layout;   /**< every episode as in `layout`; default false. Predicate tasks */
    bp_mj_layout layout; /**< default: spawn (2,-2), sequences (0,0); targets (0,-2) (2,2) (-2,-2), box (0,0), the rest drawn */

    /* predicate tasks: M7 */
    bp_mj_predicate predicate[BP_MJ_MAX_PREDICATES]; /**< those offered */
    size_t n_predicates;                             /**< how many; >= 1 */
    size_t n_active;                                 /**< how many are in force in an episode, 1 .. n_predicates */
    bool random_active;                              /**< a random number of them is, 1 .. n_active; other slots read -1. Default false */
    bool regenerate;                                 /**< success draws new predicates in place of ending the episode; default false */
    bool reference_clashes;                          /**< compare only with the first one drawn, like the reference (M7); default true */
    double bonus;                                    /**< on the step after all became true; default 5 */
    double close;                                    /**< m: "close to a box" is |x|, |y| below this; 0 (default): it means contact */

    /* sequences: M6 */
    double half_room;                             /**< m, half the side of the room; also GO_TO_TARGET. Default 0.29; walkers: M6, M8 */
    double gear;                                  /**< point mass: N per unit of action = terminal speed in m/s, > 0; default 0.1 */
    double hit_radius;                            /**< m, > 0; default 0.06, walkers: M6. GO_TO_TARGET: reward within; default 1 */
    double hit_reward;                            /**< default 1 */
    size_t max_hits;                              /**< end the episode (discount 0) after so many targets; 0 = never, the default */
    bool relative_targets;                        /**< point mass: field "targets" relative to the body (default true) or to the room */
    bool show_previous;                           /**< add the field "previous": memory as an observation; default false */
    size_t task_slots;                            /**< size of the field "task"; 0 = no such field, the default */
    bp_mj_spawn spawn;                            /**< default BP_MJ_SPAWN_UNIFORM */
    size_t n_sequences;                           /**< 1 .. BP_MJ_MAX_SEQUENCES; default 1 */
    int fixed_sequence;                           /**< the sequence of every episode, or -1 (default): drawn by the seed */
    bp_mj_sequence sequence[BP_MJ_MAX_SEQUENCES]; /**< default: bp_mj_sequence_default() in every place */

    /* locomotion: M8 */
    size_t move_after;      /**< GO_TO_TARGET: the target moves after so many rewarded steps; 0: never. Default 10 */
    double speed;           /**< RUN, RUN_GAPS: m/s to reach; default the walker's `speed` */
    double corridor[2];     /**< RUN_GAPS: length and width, m; default 60, 10 */
    double platform[2];     /**< RUN_GAPS: lengths between gaps are uniform in this range, m; default 0.3 .. 2.5 */
    double gap[2];          /**< RUN_GAPS: gaps are uniform in this range, m; default 0.5 .. 1.25 */
    uint64_t corridor_seed; /**< RUN_GAPS: of platforms and gaps, which are the world's, not the episode's; default 1 */
} bp_mj_task;

/** What #bp_mj_task_default() calls, with the cookie of its caller. */
BPRIOR_API bp_mj_task bp_mj_task_make(uint32_t cookie, bp_mj_task_kind kind, const bp_mj_walker *walker);
/** A task with its defaults. @param kind a ::bp_mj_task_kind @param walker a ::bp_mj_walker_kind */
#define bp_mj_task_default(kind, walker) bp_mj_task_make(BP_COOKIE(bp_mj_task), (kind), bp_mj_walker_of(walker))
/** A task with its defaults for a walker of yours. @param walker a const ::bp_mj_walker pointer */
#define bp_mj_task_for(kind, walker) bp_mj_task_make(BP_COOKIE(bp_mj_task), (kind), (walker))
/** Name of a task: "go_to_k_targets", "move_box", "move_box_or_gtt", "move_box_and_gtt", "sequence", "go_to_target", "run",
 *  "run_gaps"; NULL for an unknown number. */
BPRIOR_API const char *bp_mj_task_name(bp_mj_task_kind kind);
/** The task of a name; BP_MJ_TASK_COUNT_ if there is none. */
BPRIOR_API bp_mj_task_kind bp_mj_task_named(const char *name);
/** @} */

/* ==========================================================================
 * M6. >>mj-sequences   Sequential navigation
 *    provides: bp_mj_sequence_*
 *    needs: M5        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_sequences M6. MuJoCo: sequential navigation
 *
 * K coloured targets lie in a walled square. The agent is told which one is next; touching it earns 1 and the
 * next one is named. Touching any other earns nothing. What makes the task interesting is the *law* of the
 * sequence: under the second-order Markov law the next target is nearly known from the last two, so a
 * prior with memory that is never told the goal can still learn where to go, and one without cannot.
 *
 * **The point mass** lives in the suite's own small room: terminal speed 0.1 m/s in a room of 0.58 m. It needs seconds
 * to get anywhere, so an agent that chose a force every 0.02 s would have to repeat itself a hundred
 * times before it could notice anything. A control step is therefore 25 physics steps = 0.5 s: the next target is then 5
 * or 6 steps away, noise that is white in time still travels far enough to find one now and then, and the body's
 * time constant of 0.3 s still matters. An episode is 50 steps = 25 s. Uniformly random actions touch 0.2 targets
 * in an episode, a hand-written controller 8.6: sparse, but not hopeless.
 *
 * **Targets** lie on a ring of radius 0.2 m, hit radius 0.06 m: with up to 7 of them a straight line from one to another
 * touches no third. A hit is noticed at every physics step, so rushing through counts.
 *
 * **All other walkers** play in a room of half_room = 5 m with walls: lengths are those of the point mass times 15, so the ring has radius
 * 3 m and a hit is within 0.9 m of the root in the plane. They keep their own time steps; an episode is 30 s.
 *
 * **Observation** of the point mass (numbers of order 1 without any normaliser):
 *
 *  | field      | size | meaning                                                            |
 *  |------------|------|--------------------------------------------------------------------|
 *  | "position" | 2    | x / 0.29                                                           |
 *  | "velocity" | 2    | v / terminal speed                                                 |
 *  | "targets"  | 2 K  | (target - x) / 0.29, or target / 0.29 (see relative_targets)       |
 *  | "next"     | K    | one-hot: the goal                                                  |
 *  | "previous" | 2 K  | if show_previous: one-hot of the target reached last, then before  |
 *  | "task"     | S    | if task_slots = S > 0: one-hot of the sequence's slot              |
 *
 * Walkers have their own fields (M5), then "walker/target_positions" [3 K] (ego) in the place of "targets", "next", and so on.
 *
 * Relative targets are the default because "go to the next one" is then one product, next times targets, for the network to
 * learn; absolute ones ask for a subtraction besides. The position is seen in either case.
 *
 * **Several sequences.** An episode draws one of the task's sequences (or takes `fixed_sequence`). bp_mj_sequence_multitask() sets
 * four of them, bp_mj_sequence_transfer() a new one with the same spec.
 * @{ */

/** Defaults of a layout with its law. */
BPRIOR_API bp_mj_sequence bp_mj_sequence_default(void);

/** Set four training sequences - square and diamond of targets, each with the second-order Markov law and with its
 *  mirror image - and five task slots, the last of which no training sequence uses. */
BPRIOR_API void bp_mj_sequence_multitask(bp_mj_task *task);

/** What is new in bp_mj_sequence_transfer(). */
typedef enum bp_mj_novelty {
    BP_MJ_NEW_LAYOUT = 1,   /**< the square turned by 22.5 degrees: between square and diamond; known law */
    BP_MJ_NEW_SEQUENCE = 2, /**< known square; the sequence 0, 1, 2, 3 over and over, unseen in training */
    BP_MJ_NEW_BOTH = 3      /**< both */
} bp_mj_novelty;
/** Set one held-out sequence in slot 4, with the spec of bp_mj_sequence_multitask(): what was trained there fits here. */
BPRIOR_API void bp_mj_sequence_transfer(bp_mj_task *task, bp_mj_novelty novelty);

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
BPRIOR_API void bp_mj_sequence_law(double *prob, const bp_mj_sequence *sequence, size_t n_targets, size_t previous,
                                   size_t current);
/** @} */

/* ==========================================================================
 * M7. >>mj-predicates   Predicate tasks: go to targets, move boxes
 *    provides: bp_mj_env_set_layout bp_mj_table_add_room bp_mj_table_add_box
 *    needs: M5        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_predicates M7. MuJoCo: predicate tasks
 *
 * A walker in a walled room with K marked zones of 1 m and boxes of 1 m, 1.5 kg. The goal is one or several *predicates* that have to hold
 * at the same time: "the walker is at target i", "box b is at target i"; also "the walker touches box b", "boxes a and b touch".
 * A zone counts as reached when the centre of any geom of the walker (of the box) is strictly inside.
 *
 * **Reward** of a step, with was_k = predicate k before and now_k = after it, k over those in force:
 *
 *     r = reward_scale ( sum_k [now_k and not was_k] - [was_k and not now_k]  +  bonus [all was_k] )
 *
 * and the episode terminates (discount 0) on the step for which all was_k hold. Entering a single zone therefore pays 10, and the control
 * step after it 50 more (40 if the zone has been left again). It also terminates, without penalty, when the walker falls
 * (M3); and is cut off (discount 1) after 400 control steps = 20 s of the ant.
 *
 * **Drawing predicates.** Each of those offered that has a random target draws one; n_active different ones are chosen by their
 * weights; should two of them share the walker, a box or a target, all is drawn again, at most 1000 times. The reference
 * checks only for clashes with the first one chosen; so does this, unless reference_clashes is off. With up to two predicates there is no
 * difference.
 *
 * **Room.** max(3, boxes + targets) cells of 2 m a side for the things and the spawn, a ring of free cells around them, then walls.
 * Spawn, boxes and targets are different cells; the yaw is uniform; a box is turned at random and shifted as far as it stays in its
 * cell. The ant starts upright with its feet 0.6 mm above the floor, so the first accelerometer reading is that of
 * free fall: (0, 0, 0).
 *
 * **Observation**: the walker's fields (M5), then
 *
 *  | field                          | size | meaning                                                                       |
 *  |--------------------------------|------|-------------------------------------------------------------------------------|
 *  | "walker/prop_position"         | 24   | the box's corners, ego; several boxes: "walker/prop_0_position", and so on     |
 *  | "walker/target_positions"      | 3 K  | zone centres (z = 0.5), ego                                                   |
 *  | "walker/predicates_activated"  | n_active | 1 if the predicate in that slot holds; a slot not in use: 1               |
 *  | "predicate_0", ...             | 5    | code: mover, its index, goal, its index, 1; a slot not in use: -1 five times   |
 *  | "goal"                         | n_active K | if goal_field: one-hot of each slot's target (ours, not the reference's) |
 *
 * The code's mover is 0 (walker) or 1 (box), its goal 0 (box) or 1 (target), and 1 means "close to". For the ant and K = 3 that
 * makes 171 numbers without a box, 195 with one and 201 for move_box_and_gtt; 67 of the ant's never change and 20 repeat others.
 * @{ */

/** The room of the predicate tasks: cells of 2 m, `cells` by `cells` of them, the outermost ring being walls 2 m high. x =
 *  (column - (cells-1)/2) 2, y = -(row - (cells-1)/2) 2: row 0 is the wall at the largest y. */
BPRIOR_API void bp_mj_table_add_room(bp_mj_table *table, int cells);
/** A free cube of 1 m called "box_<number>"; put it before the walker to have the reference's order of qpos. */
BPRIOR_API void bp_mj_table_add_box(bp_mj_table *table, int number, double mass);
/** Restart the episode begun by the last reset() with this layout (predicate tasks). What it leaves open is drawn from that
 *  reset's seed. @param observation [O] the first one of the new episode. @return BP_ERR_ARGUMENT, BP_ERR_ENV */
BPRIOR_API bp_status bp_mj_env_set_layout(bp_env *env, const bp_mj_layout *layout, bp_real *observation, bp_error *error);
/** @} */

/* ==========================================================================
 * M8. >>mj-locomotion   Locomotion: a moving target, running, gaps
 *    provides: bp_mj_world_gaps
 *    needs: M5        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_locomotion M8. MuJoCo: locomotion
 *
 * GO TO TARGET. A point on open ground, uniform in +-half_room (4 m), as is the spawn. Each step within hit_radius (1 m) of
 * it, in the plane, pays hit_reward; after move_after (10) such steps the point moves to a new place. Field
 * "walker/target" [3]: the point on the ground, ego.
 *
 * RUN. Along x on open ground. With v the forward speed of the centre of mass
 *
 *     r = max(0, 1 - |v - speed| / speed)
 *
 * which is 0 at rest, 1 at `speed` and 0 again at twice that. Field "walker/direction" [3]: the x axis, ego.
 *
 * GAPS. The same in a corridor whose floor has gaps; an end effector (or, without any, the root) 0.5 m below the floor ends
 * the episode. Besides "walker/direction" it sees "lateral" [1], the root's y over half the corridor's width, and "gaps" [6]: how
 * far ahead of the root each of the next three gaps begins and ends, m, at most 10. The corridor belongs to the world: other
 * corridors come of another corridor_seed.
 *
 * Rewards, radii and the corridor's lengths follow dm_control's GoToTarget, RunThroughCorridor and GapsCorridor (there the gaps are
 * seen by a camera, and drawn anew each episode).
 * @{ */

#define BP_MJ_MAX_GAPS 48 /**< most gaps in a corridor */
/** Where the corridor's gaps begin and end: gaps [n][2], as many as fit into `capacity`. @return how many there are. */
BPRIOR_API size_t bp_mj_world_gaps(const bp_mj_world *world, double *gaps, size_t capacity);
/** @} */

/* ==========================================================================
 * M9. >>mj-build   Worlds of tasks
 *    provides: bp_mj_world_create bp_mj_world_task
 *    needs: M1-M8        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_build M9. MuJoCo: worlds of tasks
 *  Walker, arena and rules put together: a model is written, compiled, and searched for what the task reads.
 * @{ */

/** Compile the world of a task. @return BP_ERR_CONFIG / BP_ERR_ABI, BP_ERR_ARGUMENT (the text names the field), BP_ERR_FIELD for an
 *  unknown field name, BP_ERR_SIZE (too many rows or fields), BP_ERR_MEMORY, BP_ERR_ENV. */
BPRIOR_API bp_status bp_mj_world_create(bp_mj_world **out, const bp_mj_task *task, const bp_allocator *allocator,
                                        bp_error *error);
/** The task that the world was made of (its `fields` cleared); NULL for a model of yours. */
BPRIOR_API const bp_mj_task *bp_mj_world_task(const bp_mj_world *world);
/** @} */

/* ==========================================================================
 * M10. >>mj-models   A model of your own
 *    provides: bp_mj_model_config bp_mj_model_world
 *    needs: M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_models M10. MuJoCo: a model of your own
 *
 * Any MJCF file with actuators can be an environment: say what is observed (bp_mj_reading, M4), what a step is worth, how an episode
 * begins. examples/13_own_model.c trains a robot arm this way.
 *
 *     static double reach(void *ctx, const mjModel *m, const mjData *d, const bp_real *action, bool *done)
 *     { ... return -distance; }
 *     bp_mj_model_config c = bp_mj_model_config_default();
 *     c.path = "arm.xml";
 *     c.n_readings = 2; c.readings = (rows as { "joints", BP_MJ_JOINT_POSITION, "*", NULL });
 *     c.reward = reach;
 *     bp_mj_model_world(&world, &c, NULL, &error);
 *
 * **Actions** are the model's controls, in its order; their bounds are the ctrlrange of each actuator, or [-1, 1] where it has none.
 * (MuJoCo 2 wants ctrllimited="true" beside a ctrlrange, or the compiler's autolimits="true", and says so.) bp_run rescales them for
 * the learner, bp_agent gives them in these units.
 * **Callbacks** may be called from several threads at once, each for another environment; they must not write through
 * ctx without care, and `reward` must look at nothing but its arguments, or saved states will not replay.
 * @{ */

/** How to make an environment of an MJCF file. */
typedef struct bp_mj_model_config {
    uint32_t cookie;               /**< set by the default function */
    const char *path;              /**< MJCF (or binary MJB) file; meshes and textures are looked for where it says */
    const char *xml;               /**< instead of a file: MJCF text. Exactly one of path and xml; both NULL by default */
    const bp_mj_reading *readings; /**< [n_readings] the observation; read only while the world is made */
    size_t n_readings;             /**< >= 1 */
    size_t n_substeps;             /**< physics steps per control step, >= 1; default 1 */
    size_t episode_steps;          /**< time limit in control steps, >= 1; default 1000 */
    const char *keyframe;          /**< state to begin with, by the name of a key of the model; NULL (default): qpos0 */
    double noise;                  /**< uniform noise of +-this on hinge and slide positions at reset; default 0 */
    /** What the step just made was worth; set *done to end the episode (discount 0). NULL: always 0. */
    double (*reward)(void *ctx, const mjModel *model, const mjData *data, const bp_real *action, bool *done);
    /** Prepare the start of an episode: change data->qpos, qvel, act, mocap_pos as you like. Called after keyframe and noise; NULL:
     *  nothing more to do. Draw random numbers from `rng` only: then the seed repeats the episode. */
    void (*begin)(void *ctx, const mjModel *model, mjData *data, bp_rng *rng);
    void *ctx;                /**< handed to both */
    bool divergence_is_error; /**< as in bp_mj_task; default false */
} bp_mj_model_config;

/** What #bp_mj_model_config_default() calls, with the cookie of its caller. */
BPRIOR_API bp_mj_model_config bp_mj_model_config_make(uint32_t cookie);
/** See the fields for the defaults. */
#define bp_mj_model_config_default() bp_mj_model_config_make(BP_COOKIE(bp_mj_model_config))
/** Compile a model and make it a world. @return BP_ERR_CONFIG / BP_ERR_ABI, BP_ERR_ARGUMENT, BP_ERR_IO (no such file), BP_ERR_FORMAT
 *  with MuJoCo's words, line number included, BP_ERR_FIELD (a reading names a thing that is not there), BP_ERR_SIZE, BP_ERR_MEMORY. */
BPRIOR_API bp_status bp_mj_model_world(bp_mj_world **out, const bp_mj_model_config *config, const bp_allocator *allocator,
                                       bp_error *error);
/** @} */

/* ==========================================================================
 * M11. >>mj-pictures   Pictures and films
 *    provides: bp_mj_film bp_mj_film_* bp_mj_shot bp_mj_camera bp_mj_world_focus bp_mj_env_position bp_mj_color
 *    needs: M4        equations: none
 * ========================================================================== */
/** @defgroup bp_mj_pictures M11. MuJoCo: pictures and films
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

/** What #bp_mj_film_config_default() calls, with the cookie of its caller. */
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

/** The body of mjModel that pictures follow: the walker's root; in a model of yours the heaviest body of what the first motor moves. 0
 *  (the fixed world) if nothing moves. */
BPRIOR_API int bp_mj_world_focus(const bp_mj_world *world);
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
    body->quat[0] = body->inertial_quat[0] = 1;
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
    geom->quat[0] = 1;
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
    static const char *const kind[] = {"plane", "sphere", "capsule", "box", "cylinder", "ellipsoid"};
    static const size_t n_size[] = {3, 1, 2, 3, 2, 3};
    const bool from_to = (g->kind == BP_MJ_CAPSULE || g->kind == BP_MJ_CYLINDER) && !(g->size[1] > 0);
    double ends[6];
    bpi_mj_put(t, "<geom name=\"%s\" type=\"%s\"", g->name, kind[g->kind]);
    bpi_mj_put_numbers(t, "size", g->size, from_to ? 1 : n_size[g->kind]);
    if (from_to) {
        memcpy(ends, g->pos, sizeof g->pos);
        memcpy(ends + 3, g->end, sizeof g->end);
        bpi_mj_put_numbers(t, "fromto", ends, 6);
    } else {
        bpi_mj_put_numbers(t, "pos", g->pos, 3);
        bpi_mj_put_numbers(t, "quat", g->quat, 4);
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
    bpi_mj_put_numbers(t, "pos", j->pos, 3);
    bpi_mj_put(t, " limited=\"%s\"", j->limited ? "true" : "false");
    bpi_mj_put_numbers(t, "range", j->range, 2);
    bpi_mj_put_numbers(t, "damping", &j->damping, 1);
    bpi_mj_put_numbers(t, "stiffness", &j->stiffness, 1);
    bpi_mj_put_numbers(t, "armature", &j->armature, 1);
    bpi_mj_put_numbers(t, "solreflimit", j->solref_limit, 2);
    bpi_mj_put_numbers(t, "solimplimit", j->solimp_limit, 3);
    bpi_mj_put(t, "/>\n");
}

BPI_MJ_FN void bpi_mj_put_motor(bpi_mj_text *t, const bp_mj_motor *motor, const bp_mj_joint *joint) {
    bpi_mj_put(t, "<%s name=\"%s\" joint=\"%s\"", motor->kp > 0 ? "general" : "motor", motor->name, joint->name);
    bpi_mj_put_numbers(t, "gear", &motor->gear, 1);
    if (motor->kp > 0) {
        /* force = gain u + bias0 + bias1 q */
        const double half = (joint->range[1] - joint->range[0]) / 2, middle = joint->range[0] + half;
        const double gain = motor->kp * half, bias[3] = {motor->kp * middle, -motor->kp, 0};
        const double limits[2] = {-motor->limit, motor->limit};
        bpi_mj_put(t, " biastype=\"affine\" forcelimited=\"true\"");
        bpi_mj_put_numbers(t, "gainprm", &gain, 1);
        bpi_mj_put_numbers(t, "biasprm", bias, 3);
        bpi_mj_put_numbers(t, "forcerange", limits, 2);
    }
    bpi_mj_put(t, " ctrllimited=\"true\" ctrlrange=\"-1 1\"/>\n");
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
        if (body->mass > 0) {
            bpi_mj_put(t, "<inertial");
            bpi_mj_put_numbers(t, "mass", &body->mass, 1);
            bpi_mj_put_numbers(t, "pos", body->inertial_pos, 3);
            bpi_mj_put_numbers(t, "quat", body->inertial_quat, 4);
            bpi_mj_put_numbers(t, "diaginertia", body->inertia, 3);
            bpi_mj_put(t, "/>\n");
        }
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
#else
    if (table->memory) bpi_mj_put(&t, "<size memory=\"%d\"/>\n", table->memory);
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
    for (i = 0; i < table->n_motors; i++) bpi_mj_put_motor(&t, &table->motor[i], &table->joint[table->motor[i].joint]);
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
 * M3. >>mj-walkers-impl   Walkers
 *    provides: bp_mj_walker_* bp_mj_table_add_*        needs: M2        equations: none
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

#define BPI_MJ_DEGREE (3.14159265358979323846 / 180)
#define BPI_MJ_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BPI_MJ_SENSORS 3 /* velocimeter, gyro, accelerometer, at the root's origin */

static const char *const bpi_mj_sensor_name[BPI_MJ_SENSORS] = {"velocimeter", "gyro", "accelerometer"};

/* ---- the point mass at the scale of rooms: the suite's equations with lengths times 20, masses times 10 ---- */

static const bp_mj_walker_body bpi_pointmass_bodies[] = {
    {"walker/", NULL, {0, 0, 0.2}, {0, 0, 0, 0}, 0, {0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0}}};
static const bp_mj_walker_joint bpi_pointmass_joints[] = {
    {"root_x", "walker/", BP_MJ_SLIDE, {1, 0, 0}, {0, 0, 0}, {0, 0}, 0, 10, 20, 0, 0},
    {"root_y", "walker/", BP_MJ_SLIDE, {0, 1, 0}, {0, 0, 0}, {0, 0}, 0, 10, 20, 0, 0}};
static const bp_mj_walker_geom bpi_pointmass_geoms[] = {
    {"pointmass", "walker/", BP_MJ_SPHERE, {0.19, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0, 0}, 0, 3}};
static const char *const bpi_pointmass_actuators[] = {"root_x", "root_y"};

/* ---- ant ---- */

/* A body of a leg, its hinge, its geom. The feet's quaternions are not of unit length, and kept so: MuJoCo normalises them to a
 * bend of 51.29 degrees. Reading w as a cosine would suggest 20. */
#define BPI_ANT_BODY(name, parent, x, y)                                               \
    {                                                                                  \
        name, parent, {x, y, 0}, {0, 0, 0, 0}, 0, {0, 0, 0}, {0, 0, 0, 0}, { 0, 0, 0 } \
    }
#define BPI_ANT_FOOT(name, parent, x, y, qx, qy)                                                                  \
    {                                                                                                             \
        name, parent, {x, y, 0}, {0.98480775301220802, (qx)*0.33428158105097677, (qy)*0.33428158105097677, 0}, 0, \
            {0, 0, 0}, {0, 0, 0, 0}, { 0, 0, 0 }                                                                  \
    }
#define BPI_ANT_HINGE(name, body, ax, ay, az, limit) \
    { name, body, BP_MJ_HINGE, {ax, ay, az}, {0, 0, 0}, {-(limit), limit}, 1, 1, 75, 0, 0 }
#define BPI_ANT_CAPSULE(body, x, y) \
    { NULL, body, BP_MJ_CAPSULE, {0.08, 0, 0}, {0, 0, 0}, {x, y, 0}, {0, 0, 0, 0}, 50, 0 }

static const bp_mj_walker_body bpi_ant_bodies[] = {
    BPI_ANT_BODY("walker/", NULL, 0, 0),
    {"torso", "walker/", {0, 0, 0.522}, {0, 0, 0, 0}, 0, {0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0}},
    BPI_ANT_BODY("front_left_leg", "torso", 0, 0),
    BPI_ANT_BODY("front_left_aux", "front_left_leg", 0.2, 0.2),
    BPI_ANT_FOOT("front_left_foot", "front_left_aux", 0.2, 0.2, -1, 1),
    BPI_ANT_BODY("front_right_leg", "torso", 0, 0),
    BPI_ANT_BODY("front_right_aux", "front_right_leg", 0.2, -0.2),
    BPI_ANT_FOOT("front_right_foot", "front_right_aux", 0.2, -0.2, 1, 1),
    BPI_ANT_BODY("back_right_leg", "torso", 0, 0),
    BPI_ANT_BODY("back_right_aux", "back_right_leg", -0.2, -0.2),
    BPI_ANT_FOOT("back_right_foot", "back_right_aux", -0.2, -0.2, 1, -1),
    BPI_ANT_BODY("back_left_leg", "torso", 0, 0),
    BPI_ANT_BODY("back_left_aux", "back_left_leg", -0.2, 0.2),
    BPI_ANT_FOOT("back_left_foot", "back_left_aux", -0.2, 0.2, -1, -1)};
static const bp_mj_walker_joint bpi_ant_joints[] = {
    BPI_ANT_HINGE("front_left_hip", "front_left_aux", 0, 0, 1, 0.52359),
    BPI_ANT_HINGE("front_left_ankle", "front_left_foot", 1, -1, 0, 0.34906),
    BPI_ANT_HINGE("front_right_hip", "front_right_aux", 0, 0, 1, 0.52359),
    BPI_ANT_HINGE("front_right_ankle", "front_right_foot", -1, -1, 0, 0.34906),
    BPI_ANT_HINGE("back_right_hip", "back_right_aux", 0, 0, 1, 0.52359),
    BPI_ANT_HINGE("back_right_ankle", "back_right_foot", -1, 1, 0, 0.34906),
    BPI_ANT_HINGE("back_left_hip", "back_left_aux", 0, 0, 1, 0.52359),
    BPI_ANT_HINGE("back_left_ankle", "back_left_foot", 1, 1, 0, 0.34906)};
static const bp_mj_walker_geom bpi_ant_geoms[] = {
    {"torso", "torso", BP_MJ_SPHERE, {0.25, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0, 0}, 100, 0},
    BPI_ANT_CAPSULE("front_left_leg", 0.2, 0.2),
    BPI_ANT_CAPSULE("front_left_aux", 0.2, 0.2),
    BPI_ANT_CAPSULE("front_left_foot", 0.4, 0.4),
    BPI_ANT_CAPSULE("front_right_leg", 0.2, -0.2),
    BPI_ANT_CAPSULE("front_right_aux", 0.2, -0.2),
    BPI_ANT_CAPSULE("front_right_foot", 0.4, -0.4),
    BPI_ANT_CAPSULE("back_right_leg", -0.2, -0.2),
    BPI_ANT_CAPSULE("back_right_aux", -0.2, -0.2),
    BPI_ANT_CAPSULE("back_right_foot", -0.4, -0.4),
    BPI_ANT_CAPSULE("back_left_leg", -0.2, 0.2),
    BPI_ANT_CAPSULE("back_left_aux", -0.2, 0.2),
    BPI_ANT_CAPSULE("back_left_foot", -0.4, 0.4)};
static const char *const bpi_ant_excludes[][2] = {{"torso", "front_left_aux"},
                                                  {"torso", "front_right_aux"},
                                                  {"torso", "back_right_aux"},
                                                  {"torso", "back_left_aux"}};
static const char *const bpi_ant_actuators[] = {"front_left_hip", "front_left_ankle", "front_right_hip", "front_right_ankle",
                                                "back_right_hip", "back_right_ankle", "back_left_hip", "back_left_ankle"};
static const char *const bpi_ant_feet[] = {"front_left_foot", "front_right_foot", "back_right_foot", "back_left_foot"};
#undef BPI_ANT_BODY
#undef BPI_ANT_FOOT
#undef BPI_ANT_HINGE
#undef BPI_ANT_CAPSULE

/* Rows of the other walkers, without the columns that are zero. A rod is a capsule by half length, centre and orientation. */
#define BPI_NOT_TURNED \
    { 0, 0, 0, 0 }
#define BPI_ORIGIN \
    { 0, 0, 0 }
#define BPI_BODY(name, parent, x, y, z) \
    { name, parent, {x, y, z}, BPI_NOT_TURNED, 0, BPI_ORIGIN, BPI_NOT_TURNED, BPI_ORIGIN }
#define BPI_TURNED(name, parent, x, y, z, qw, qx, qy, qz) \
    { name, parent, {x, y, z}, {qw, qx, qy, qz}, 0, BPI_ORIGIN, BPI_NOT_TURNED, BPI_ORIGIN }
#define BPI_SPHERE(body, radius, x, y, z) \
    { NULL, body, BP_MJ_SPHERE, {radius, 0, 0}, {x, y, z}, BPI_ORIGIN, BPI_NOT_TURNED, 1000, 0 }
#define BPI_CAPSULE(body, radius, x, y, z, end_x, end_y, end_z) \
    { NULL, body, BP_MJ_CAPSULE, {radius, 0, 0}, {x, y, z}, {end_x, end_y, end_z}, BPI_NOT_TURNED, 1000, 0 }
#define BPI_ROD(body, radius, half, x, y, z, qw, qx, qy, qz) \
    { NULL, body, BP_MJ_CAPSULE, {radius, half, 0}, {x, y, z}, BPI_ORIGIN, {qw, qx, qy, qz}, 1000, 0 }

/* ---- rolling and jumping ball with head: one table, the rolling one without the row of the kick ---- */

/* The head's mass is given, its cylinders only collide. The camera of the reference shows nothing here, but its kilogram and its
 * moment of inertia are part of the body. The head's +y looks along the world's +x. */
static const bp_mj_walker_body bpi_ball_bodies[] = {
    BPI_BODY("walker/", NULL, 0, 0, 0),
    {"head_body", "walker/", {0, 0, 0.6}, {1, 0, 0, -1}, /* its mass, centre, principal axes, moments: */
     20,
     {0, 0, -0.08},
     {0.05876879, 0.70466036, -0.05876879, 0.70466036},
     {0.14683229, 0.10987294, 0.10986016}},
    {"egocentric_camera", "head_body", {0, 0.15, 0.9}, {0.7414525335515446, 0.6710053207613152, 0, 0}, /* it looks 6 degrees down */
     1,
     {0, 0, 0},
     {1, 0, 0, 0},
     {1, 1, 1}},
    BPI_BODY("torso", "head_body", 0, 0, -0.4)};
#define BPI_BALL_JOINT(name, body, kind, x, y, z, low, high, damping, gear) \
    { name, body, kind, {x, y, z}, BPI_ORIGIN, {low, high}, 0, damping, gear, 0, 0 }
#define BPI_BALL_ROOT                                                          \
    BPI_BALL_JOINT("root_x", "walker/", BP_MJ_SLIDE, 1, 0, 0, 0, 0, 0, 0),     \
        BPI_BALL_JOINT("root_y", "walker/", BP_MJ_SLIDE, 0, 1, 0, 0, 0, 0, 0), \
        BPI_BALL_JOINT("root_z", "walker/", BP_MJ_SLIDE, 0, 0, 1, 0, 0, 0, 0), \
        BPI_BALL_JOINT("steer", "head_body", BP_MJ_HINGE, 0, 0, -1, 0, 0, 4, 30)
#define BPI_BALL_ROLL BPI_BALL_JOINT("roll", "torso", BP_MJ_HINGE, -1, 0, 0, 0, 0, 2, -50)
static const bp_mj_walker_joint bpi_rolling_joints[] = {BPI_BALL_ROOT, BPI_BALL_ROLL};
static const bp_mj_walker_joint bpi_jumping_joints[] = {
    BPI_BALL_ROOT, BPI_BALL_JOINT("kick", "torso", BP_MJ_SLIDE, 0, 0, -1, 0, 0.4, 100, 1000), BPI_BALL_ROLL};
#undef BPI_BALL_JOINT
#undef BPI_BALL_ROOT
#undef BPI_BALL_ROLL
static const bp_mj_walker_geom bpi_ball_geoms[] = {
    {"head", "head_body", BP_MJ_CYLINDER, {0.1, 0.06, 0}, {0, 0, -0.07}, BPI_ORIGIN, BPI_NOT_TURNED, 1000, 0},
    {"face", "head_body", BP_MJ_CYLINDER, {0.05, 0, 0}, {0, 0.135, -0.07}, {0, 0.065, -0.07}, BPI_NOT_TURNED, 1000, 0},
    {"neck", "head_body", BP_MJ_CYLINDER, {0.07, 0.02, 0}, {0, 0, -0.13}, BPI_ORIGIN, BPI_NOT_TURNED, 1000, 0},
    {"shell", "torso", BP_MJ_SPHERE, {0.2, 0, 0}, BPI_ORIGIN, BPI_ORIGIN, BPI_NOT_TURNED, 0, 1}};
static const char *const bpi_ball_actuators[] = {"roll", "steer", "kick"}; /* the rolling one: without the last */
static const char *const bpi_ball_effectors[] = {"head_body"};
static const char *const bpi_ball_feet[] = {"torso"};
static const char *const bpi_jumping_observed[] = {"kick"};

/* ---- the control suite's humanoid ---- */

#define BPI_HUMANOID_HINGE(name, body, ax, ay, az, z, low, high, stiffness, damping, gear)                        \
    {                                                                                                             \
        name, body, BP_MJ_HINGE, {ax, ay, az}, {0, 0, z}, {(low)*BPI_MJ_DEGREE, (high)*BPI_MJ_DEGREE}, stiffness, \
            damping, gear, 0, 0                                                                                   \
    }

static const bp_mj_walker_body bpi_humanoid_bodies[] = {
    BPI_BODY("torso", NULL, 0, 0, 1.5), /* where it starts in the suite, in the air */
    BPI_BODY("head", "torso", 0, 0, 0.19),
    BPI_TURNED("lower_waist", "torso", -0.01, 0, -0.26, 1, 0, -0.002, 0),
    BPI_TURNED("pelvis", "lower_waist", 0, 0, -0.165, 1, 0, -0.002, 0),
    BPI_BODY("right_thigh", "pelvis", 0, -0.1, -0.04),
    BPI_BODY("right_shin", "right_thigh", 0, 0.01, -0.403),
    BPI_BODY("right_foot", "right_shin", 0, 0, -0.39),
    BPI_BODY("left_thigh", "pelvis", 0, 0.1, -0.04),
    BPI_BODY("left_shin", "left_thigh", 0, -0.01, -0.403),
    BPI_BODY("left_foot", "left_shin", 0, 0, -0.39),
    BPI_BODY("right_upper_arm", "torso", 0, -0.17, 0.06),
    BPI_BODY("right_lower_arm", "right_upper_arm", 0.18, -0.18, -0.18),
    BPI_BODY("right_hand", "right_lower_arm", 0.18, 0.18, 0.18),
    BPI_BODY("left_upper_arm", "torso", 0, 0.17, 0.06),
    BPI_BODY("left_lower_arm", "left_upper_arm", 0.18, 0.18, -0.18),
    BPI_BODY("left_hand", "left_lower_arm", 0.18, -0.18, 0.18)};
static const bp_mj_walker_joint bpi_humanoid_joints[] = {
    /* axis, height in the body, range in degrees, stiffness, damping, gear */
    BPI_HUMANOID_HINGE("abdomen_z", "lower_waist", 0, 0, 1, 0.065, -45, 45, 20, 5, 40),
    BPI_HUMANOID_HINGE("abdomen_y", "lower_waist", 0, 1, 0, 0.065, -75, 30, 10, 5, 40),
    BPI_HUMANOID_HINGE("abdomen_x", "pelvis", 1, 0, 0, 0.1, -35, 35, 10, 5, 40),
    BPI_HUMANOID_HINGE("right_hip_x", "right_thigh", 1, 0, 0, 0, -25, 5, 10, 5, 40),
    BPI_HUMANOID_HINGE("right_hip_z", "right_thigh", 0, 0, 1, 0, -60, 35, 10, 5, 40),
    BPI_HUMANOID_HINGE("right_hip_y", "right_thigh", 0, 1, 0, 0, -110, 20, 20, 5, 120),
    BPI_HUMANOID_HINGE("right_knee", "right_shin", 0, -1, 0, 0.02, -160, 2, 1, 0.2, 80),
    BPI_HUMANOID_HINGE("right_ankle_y", "right_foot", 0, 1, 0, 0.08, -50, 50, 6, 0.2, 20),
    BPI_HUMANOID_HINGE("right_ankle_x", "right_foot", 1, 0, 0.5, 0.04, -50, 50, 3, 0.2, 20),
    BPI_HUMANOID_HINGE("left_hip_x", "left_thigh", -1, 0, 0, 0, -25, 5, 10, 5, 40),
    BPI_HUMANOID_HINGE("left_hip_z", "left_thigh", 0, 0, -1, 0, -60, 35, 10, 5, 40),
    BPI_HUMANOID_HINGE("left_hip_y", "left_thigh", 0, 1, 0, 0, -120, 20, 20, 5, 120), /* the right one: -110 */
    BPI_HUMANOID_HINGE("left_knee", "left_shin", 0, -1, 0, 0.02, -160, 2, 1, 0.2, 80),
    BPI_HUMANOID_HINGE("left_ankle_y", "left_foot", 0, 1, 0, 0.08, -50, 50, 6, 0.2, 20),
    BPI_HUMANOID_HINGE("left_ankle_x", "left_foot", 1, 0, 0.5, 0.04, -50, 50, 3, 0.2, 20),
    BPI_HUMANOID_HINGE("right_shoulder1", "right_upper_arm", 2, 1, 1, 0, -85, 60, 1, 0.2, 20),
    BPI_HUMANOID_HINGE("right_shoulder2", "right_upper_arm", 0, -1, 1, 0, -85, 60, 1, 0.2, 20),
    BPI_HUMANOID_HINGE("right_elbow", "right_lower_arm", 0, -1, 1, 0, -90, 50, 0, 0.2, 40),
    BPI_HUMANOID_HINGE("left_shoulder1", "left_upper_arm", 2, -1, 1, 0, -60, 85, 1, 0.2, 20),
    BPI_HUMANOID_HINGE("left_shoulder2", "left_upper_arm", 0, 1, 1, 0, -60, 85, 1, 0.2, 20),
    BPI_HUMANOID_HINGE("left_elbow", "left_lower_arm", 0, -1, -1, 0, -90, 50, 0, 0.2, 40)};
static const bp_mj_walker_geom bpi_humanoid_geoms[] = {
    BPI_CAPSULE("torso", 0.07, 0, -0.07, 0, 0, 0.07, 0),
    BPI_CAPSULE("torso", 0.06, -0.01, -0.06, -0.12, -0.01, 0.06, -0.12),
    BPI_SPHERE("head", 0.09, 0, 0, 0),
    BPI_CAPSULE("lower_waist", 0.06, 0, -0.06, 0, 0, 0.06, 0),
    BPI_CAPSULE("pelvis", 0.09, -0.02, -0.07, 0, -0.02, 0.07, 0),
    BPI_CAPSULE("right_thigh", 0.06, 0, 0, 0, 0, 0.01, -0.34),
    BPI_CAPSULE("right_shin", 0.049, 0, 0, 0, 0, 0, -0.3),
    BPI_CAPSULE("right_foot", 0.027, -0.07, -0.02, 0, 0.14, -0.04, 0),
    BPI_CAPSULE("right_foot", 0.027, -0.07, 0, 0, 0.14, 0.02, 0),
    BPI_CAPSULE("left_thigh", 0.06, 0, 0, 0, 0, -0.01, -0.34),
    BPI_CAPSULE("left_shin", 0.049, 0, 0, 0, 0, 0, -0.3),
    BPI_CAPSULE("left_foot", 0.027, -0.07, 0.02, 0, 0.14, 0.04, 0),
    BPI_CAPSULE("left_foot", 0.027, -0.07, 0, 0, 0.14, -0.02, 0),
    BPI_CAPSULE("right_upper_arm", 0.04, 0, 0, 0, 0.16, -0.16, -0.16),
    BPI_CAPSULE("right_lower_arm", 0.031, 0.01, 0.01, 0.01, 0.17, 0.17, 0.17),
    BPI_SPHERE("right_hand", 0.04, 0, 0, 0),
    BPI_CAPSULE("left_upper_arm", 0.04, 0, 0, 0, 0.16, 0.16, -0.16),
    BPI_CAPSULE("left_lower_arm", 0.031, 0.01, -0.01, 0.01, 0.17, -0.17, 0.17),
    BPI_SPHERE("left_hand", 0.04, 0, 0, 0)};
static const char *const bpi_humanoid_actuators[] = {
    "abdomen_y", "abdomen_z", "abdomen_x", "right_hip_x", "right_hip_z", "right_hip_y", "right_knee", "right_ankle_x",
    "right_ankle_y", "left_hip_x", "left_hip_z", "left_hip_y", "left_knee", "left_ankle_x", "left_ankle_y", "right_shoulder1",
    "right_shoulder2", "right_elbow", "left_shoulder1", "left_shoulder2", "left_elbow"};
/* The suite knows no appendages; as for the CMU humanoid they are the effectors and the head. */
static const char *const bpi_humanoid_appendages[] = {"left_hand", "left_foot", "right_hand", "right_foot", "head"};
static const char *const bpi_humanoid_feet[] = {"left_foot", "right_foot"};
#undef BPI_HUMANOID_HINGE

/* ---- the CMU humanoid, version 2019; x is left, y up, z forward ---- */

/* The numbers are the model file's, to the last digit, noise included. A hinge: range, stiffness, damping, gear; kp and limit of
 * position control. It is called by its body and axis, "lfemurrx". */
#define BPI_CMU_HINGE(name, body, x, y, z, low, high, stiffness, damping, gear, kp, limit) \
    { name, body, BP_MJ_HINGE, {x, y, z}, BPI_ORIGIN, {low, high}, stiffness, damping, gear, kp, limit }
#define BPI_RX(body, low, high, stiffness, damping, gear, kp, limit) \
    BPI_CMU_HINGE(body "rx", body, 1, 0, 0, low, high, stiffness, damping, gear, kp, limit)
#define BPI_RY(body, low, high, stiffness, damping, gear, kp, limit) \
    BPI_CMU_HINGE(body "ry", body, 0, 1, 0, low, high, stiffness, damping, gear, kp, limit)
#define BPI_RZ(body, low, high, stiffness, damping, gear, kp, limit) \
    BPI_CMU_HINGE(body "rz", body, 0, 0, 1, low, high, stiffness, damping, gear, kp, limit)
#define BPI_ELLIPSOID(body, a, b, c, x, y, z, qw, qx, qy, qz) \
    { NULL, body, BP_MJ_ELLIPSOID, {a, b, c}, {x, y, z}, BPI_ORIGIN, {qw, qx, qy, qz}, 1000, 0 }

static const bp_mj_walker_body bpi_cmu_bodies[] = {
    BPI_BODY("walker/", NULL, 0, 0, 0),
    BPI_BODY("root", "walker/", 0, 0, 0),
    BPI_BODY("lhipjoint", "root", 0, 0, 0),
    BPI_TURNED("lfemur", "lhipjoint", 0.101937, -0.0918074, 0.0494461, 0.984808, 0, 0, 0.173648),
    BPI_BODY("ltibia", "lfemur", -1.01368e-07, -0.404945, 0),
    BPI_TURNED("lfoot", "ltibia", -1.06903e-07, -0.405693, 0, 0.707107, -0.707107, 0, 0),
    BPI_BODY("ltoes", "lfoot", 4.99882e-09, -0.106372, -0.0227756),
    BPI_BODY("rhipjoint", "root", 0, 0, 0),
    BPI_TURNED("rfemur", "rhipjoint", -0.101937, -0.0918074, 0.0494461, 0.984808, 0, 0, -0.173648),
    BPI_BODY("rtibia", "rfemur", 1.0706e-07, -0.404945, 0),
    BPI_TURNED("rfoot", "rtibia", 1.07257e-07, -0.405693, 0, 0.707107, -0.707107, 0, 0),
    BPI_BODY("rtoes", "rfoot", 6.93672e-09, -0.106372, -0.0227756),
    BPI_BODY("lowerback", "root", 0, 0, 0),
    BPI_BODY("upperback", "lowerback", 0.000565862, 0.113213, -0.00805298),
    BPI_BODY("thorax", "upperback", 0.000512528, 0.11356, 0.000936821),
    BPI_BODY("lowerneck", "thorax", -4.17976e-05, 0.113945, 0.00468037),
    BPI_BODY("upperneck", "lowerneck", -0.00330143, 0.0904801, 0.0106872),
    BPI_BODY("head", "upperneck", 0.00100175, 0.0899912, -0.00449288),
    BPI_BODY("lclavicle", "thorax", -4.17976e-05, 0.113945, 0.00468037),
    BPI_TURNED("lhumerus", "lclavicle", 0.183763, 0.0765273, 0.0107141, 0.183013, 0.683013, -0.683013, 0.183013),
    BPI_BODY("lradius", "lhumerus", 0, -0.276843, 0),
    BPI_TURNED("lwrist", "lradius", 0, -0.181536, 0, -0.5, 0, 0.866025, 0),
    BPI_BODY("lhand", "lwrist", 0, -0.0907676, 0),
    BPI_BODY("lfingers", "lhand", 0, -0.0351944, 0),
    BPI_TURNED("lthumb", "lhand", -0.01, 0, 0, 0.92388, 0, 0, -0.382683),
    BPI_BODY("rclavicle", "thorax", -4.17976e-05, 0.113945, 0.00468037),
    BPI_TURNED("rhumerus", "rclavicle", -0.183763, 0.0765273, 0.0107141, 0.183013, 0.683013, 0.683013, -0.183013),
    BPI_BODY("rradius", "rhumerus", 0, -0.276843, 0),
    BPI_TURNED("rwrist", "rradius", 0, -0.181536, 0, -0.5, 0, -0.866025, 0),
    BPI_BODY("rhand", "rwrist", 0, -0.0907676, 0),
    BPI_BODY("rfingers", "rhand", 0, -0.0351944, 0),
    BPI_TURNED("rthumb", "rhand", 0.01, 0, 0, 0.92388, 0, 0, 0.382683)};
static const bp_mj_walker_joint bpi_cmu_joints[] = {
    BPI_RZ("lfemur", -1.0472, 1.22173, 10, 2, 40, 80, 80),
    BPI_RY("lfemur", -1.22173, 1.22173, 10, 2, 40, 80, 80),
    BPI_RX("lfemur", -2.79253, 0.349066, 10, 2, 120, 120, 120),
    BPI_RX("ltibia", 0.01, 2.96706, 0.1, 1, 80, 80, 80),
    BPI_RZ("lfoot", -1.22173, 0.349066, 10, 2, 20, 50, 50),
    BPI_RX("lfoot", -0.785398, 1.5708, 10, 2, 20, 50, 50),
    BPI_RX("ltoes", -1.5708, 0.349066, 0.1, 1, 20, 20, 20),
    BPI_RZ("rfemur", -1.22173, 1.0472, 10, 2, 40, 80, 80),
    BPI_RY("rfemur", -1.22173, 1.22173, 10, 2, 40, 80, 80),
    BPI_RX("rfemur", -2.79253, 0.349066, 10, 2, 120, 120, 120),
    BPI_RX("rtibia", 0.01, 2.96706, 0.1, 1, 80, 80, 80),
    BPI_RZ("rfoot", -0.349066, 1.22173, 10, 2, 20, 50, 50),
    BPI_RX("rfoot", -0.785398, 1.5708, 10, 2, 20, 50, 50),
    BPI_RX("rtoes", -1.5708, 0.349066, 0.1, 1, 20, 20, 20),
    BPI_RZ("lowerback", -0.523599, 0.523599, 200, 5, 40, 150, 120),
    BPI_RY("lowerback", -0.523599, 0.523599, 200, 5, 40, 150, 120),
    BPI_RX("lowerback", -0.349066, 0.785398, 200, 5, 40, 150, 120),
    BPI_RZ("upperback", -0.523599, 0.523599, 200, 5, 40, 80, 80),
    BPI_RY("upperback", -0.523599, 0.523599, 200, 5, 40, 80, 80),
    BPI_RX("upperback", -0.349066, 0.785398, 200, 5, 40, 80, 80),
    BPI_RZ("thorax", -0.523599, 0.523599, 200, 5, 40, 100, 80),
    BPI_RY("thorax", -0.523599, 0.523599, 200, 5, 40, 100, 80),
    BPI_RX("thorax", -0.349066, 0.785398, 200, 5, 40, 100, 80),
    BPI_RZ("lowerneck", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RY("lowerneck", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RX("lowerneck", -0.349066, 0.785398, 10, 2, 20, 20, 20),
    BPI_RZ("upperneck", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RY("upperneck", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RX("upperneck", -0.349066, 0.785398, 10, 2, 20, 20, 20),
    BPI_RZ("head", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RY("head", -0.523599, 0.523599, 10, 2, 20, 20, 20),
    BPI_RX("head", -0.349066, 0.785398, 10, 2, 20, 20, 20),
    BPI_RZ("lclavicle", 0, 0.349066, 200, 5, 20, 20, 20),
    BPI_RY("lclavicle", -0.349066, 0.174533, 200, 5, 20, 20, 20),
    BPI_RZ("lhumerus", -1.5708, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RY("lhumerus", -1.5708, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RX("lhumerus", -1.0472, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RX("lradius", -0.174533, 2.96706, 0.1, 1, 40, 60, 60),
    BPI_RY("lwrist", 0, 3.14159, 0.1, 1, 20, 20, 20),
    BPI_RZ("lhand", -0.785398, 0.785398, 0.1, 1, 20, 20, 20),
    BPI_RX("lhand", -1.5708, 1.5708, 0.1, 1, 20, 20, 20),
    BPI_RX("lfingers", 0, 1.5708, 0.1, 1, 20, 20, 20),
    BPI_RZ("lthumb", -0.785398, 0.785398, 0.1, 1, 20, 20, 20),
    BPI_RX("lthumb", 0, 1.57, 0.1, 1, 20, 20, 20),
    BPI_RZ("rclavicle", -0.349066, 0, 200, 5, 20, 20, 20),
    BPI_RY("rclavicle", -0.174533, 0.349066, 200, 5, 20, 20, 20),
    BPI_RZ("rhumerus", -1.5708, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RY("rhumerus", -1.5708, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RX("rhumerus", -1.0472, 1.5708, 0.1, 1, 40, 60, 60),
    BPI_RX("rradius", -0.174533, 2.96706, 0.1, 1, 40, 60, 60),
    BPI_RY("rwrist", -3.14159, 0, 0.1, 1, 20, 20, 20),
    BPI_RZ("rhand", -0.785398, 0.785398, 0.1, 1, 20, 20, 20),
    BPI_RX("rhand", -1.5708, 1.5708, 0.1, 1, 20, 20, 20),
    BPI_RX("rfingers", 0, 1.5708, 0.1, 1, 20, 20, 20),
    BPI_RZ("rthumb", -0.785398, 0.785398, 0.1, 1, 20, 20, 20),
    BPI_RX("rthumb", 0, 1.57, 0.1, 1, 20, 20, 20)};
static const bp_mj_walker_geom bpi_cmu_geoms[] = {
    BPI_ROD("root", 0.09, 0.06, 0, -0.05, 0, 1, 0, -1, 0),
    BPI_ROD("lhipjoint", 0.008, 0.02187363, 0.0509685, -0.0459037, 0.024723, 0.5708, -0.566602, -0.594264, 0),
    BPI_ROD("lfemur", 0.06, 0.1822257, -5.0684e-08, -0.202473, 0, 0.696364, -0.696364, -0.122788, -0.122788),
    BPI_ROD("ltibia", 0.04, 0.1825614, -5.34516e-08, -0.202846, 0, 0.696364, -0.696364, -0.122788, -0.122788),
    BPI_ROD("lfoot", 0.03, 0.0543914, -0.0269999975006, -0.0231859, -0.0113878, 0.76725516, -0.64051114, 0.02306487, -0.02306583),
    BPI_ROD("lfoot", 0.03, 0.0543914, 0.0270000024994, -0.0231859, -0.0113878, 0.72887266, -0.59399462, -0.24074283, -0.2407425),
    BPI_SPHERE("ltoes", 0.03, 0, -0.01, -0.01),
    BPI_SPHERE("ltoes", 0.03, 0.03, -0.01, -0.01),
    BPI_SPHERE("ltoes", 0.03, -0.03, -0.01, -0.01),
    BPI_ROD("rhipjoint", 0.008, 0.02187363, -0.0509685, -0.0459037, 0.024723, 0.574856, -0.547594, 0.608014, 0),
    BPI_ROD("rfemur", 0.06, 0.1822257, 5.35298e-08, -0.202473, 0, 0.696364, -0.696364, 0.122788, 0.122788),
    BPI_ROD("rtibia", 0.04, 0.1825614, 5.36285e-08, -0.202846, 0, 0.696364, -0.696364, 0.122788, 0.122788),
    BPI_ROD("rfoot", 0.03, 0.0543914, -0.0269999965316, -0.0231859, -0.0113878, 0.73520687, -0.58633523, 0.24050108, 0.24050079),
    BPI_ROD("rfoot", 0.03, 0.0543914, 0.0270000034684, -0.0231859, -0.0113878, 0.77312469, -0.633231, -0.02545846, 0.02545836),
    BPI_SPHERE("rtoes", 0.03, 0, -0.01, -0.01),
    BPI_SPHERE("rtoes", 0.03, 0.03, -0.01, -0.01),
    BPI_SPHERE("rtoes", 0.03, -0.03, -0.01, -0.01),
    BPI_ROD("lowerback", 0.06, 0.04540016, 0.000282931, 0.0566065, -0.00402649, 0.70836027, -0.02340173, 0.70495373, 0.02680827),
    BPI_ROD("upperback", 0.06, 0.04542616, 0.000256264, 0.0567802, 0.00046841, 0.70869924, 0.00451524, 0.70549477, -0.00131076),
    BPI_ROD("thorax", 0.06, 0.0570206, -2.08988e-05, 0.0569725, 0.00234019, 0.70682567, 0.01438067, 0.70709033, -0.01464533),
    BPI_ROD("lowerneck", 0.06, 0.02279225, -0.00165071, 0.0452401, 0.00534359, 0.66437, 0.746906, 0.027253, 0),
    BPI_ROD("upperneck", 0.03, 0.0225272, 0.000500875, 0.0449956, -0.00224644, 0.724521, 0.68921, -0.00767204, 0),
    BPI_ROD("head", 0.07, 0.024104, 0.000341465, 0.048184, -0.00148117, 0.717887, 0.696142, -0.00493334, 0),
    BPI_ROD("lclavicle", 0.06, 0.03986988, 0.0918817, 0.0382636, 0.00535704, 0.674573, 0.274789, -0.685158, 0),
    BPI_ROD("lhumerus", 0.035, 0.1245789, 0, -0.138421, 0, 0.612372, -0.612372, 0.353553, 0.353553),
    BPI_ROD("lradius", 0.025, 0.08169111, 0, -0.0907679, 0, 0.612372, -0.612372, 0.353553, 0.353553),
    BPI_ROD("lwrist", 0.02, 0.03, 0, -0.03, 0, 1.59389e-11, -1.59388e-11, -0.707107, -0.707107),
    BPI_ELLIPSOID("lhand", 0.024, 0.01, 0.03, 0, -0.016752, 0, 1.05531e-11, -1.05529e-11, -0.707107, -0.707107),
    BPI_ROD("lfingers", 0.005, 0.02, -0.015, -0.025, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("lfingers", 0.005, 0.02, -0.004, -0.03, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("lfingers", 0.0045, 0.02, 0.007, -0.03, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("lfingers", 0.004, 0.02, 0.016, -0.025, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("lthumb", 0.006, 0.02, 0, -0.03, 0, 4.53059e-11, -4.27268e-11, -0.707107, -0.707107),
    BPI_ROD("rclavicle", 0.06, 0.03986988, -0.0918817, 0.0382636, 0.00535704, 0.687843, 0.27905, 0.670077, 0),
    BPI_ROD("rhumerus", 0.035, 0.1245789, 0, -0.138421, 0, 0.612372, -0.612372, -0.353553, -0.353553),
    BPI_ROD("rradius", 0.025, 0.08169111, 0, -0.0907679, 0, 0.61238, -0.612372, -0.353554, -0.353541),
    BPI_ROD("rwrist", 0.02, 0.03, 0, -0.03, 0, 1.11127e-05, -1.21227e-06, 0.707101, 0.707113),
    BPI_ELLIPSOID("rhand", 0.024, 0.01, 0.03, 0, -0.016752, 0, 2.00918e-11, -2.00916e-11, 0.707107, 0.707107),
    BPI_ROD("rfingers", 0.005, 0.02, 0.015, -0.025, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("rfingers", 0.005, 0.02, 0.004, -0.03, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("rfingers", 0.0045, 0.02, -0.007, -0.03, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("rfingers", 0.004, 0.02, -0.016, -0.025, 0, 0.707107, -0.707107, 0, 0),
    BPI_ROD("rthumb", 0.006, 0.02, 0, -0.03, 0, 6.21773e-11, -6.35284e-11, 0.707107, 0.707107)};
static const char *const bpi_cmu_excludes[][2] = {{"lclavicle", "rclavicle"},
                                                  {"lowerneck", "lclavicle"},
                                                  {"lowerneck", "rclavicle"},
                                                  {"upperneck", "lclavicle"},
                                                  {"upperneck", "rclavicle"}};
static const char *const bpi_cmu_actuators[] = {
    "headrx", "headry", "headrz", "lclaviclery", "lclaviclerz", "lfemurrx", "lfemurry", "lfemurrz", "lfingersrx", "lfootrx",
    "lfootrz", "lhandrx", "lhandrz", "lhumerusrx", "lhumerusry", "lhumerusrz", "lowerbackrx", "lowerbackry", "lowerbackrz",
    "lowerneckrx", "lowerneckry", "lowerneckrz", "lradiusrx", "lthumbrx", "lthumbrz", "ltibiarx", "ltoesrx", "lwristry",
    "rclaviclery", "rclaviclerz", "rfemurrx", "rfemurry", "rfemurrz", "rfingersrx", "rfootrx", "rfootrz", "rhandrx", "rhandrz",
    "rhumerusrx", "rhumerusry", "rhumerusrz", "rradiusrx", "rthumbrx", "rthumbrz", "rtibiarx", "rtoesrx", "rwristry", "thoraxrx",
    "thoraxry", "thoraxrz", "upperbackrx", "upperbackry", "upperbackrz", "upperneckrx", "upperneckry", "upperneckrz"};
static const char *const bpi_cmu_appendages[] = {"rradius", "lradius", "rfoot", "lfoot", "head"};
static const char *const bpi_cmu_feet[] = {"lfoot", "rfoot", "ltoes", "rtoes"};
#undef BPI_CMU_HINGE
#undef BPI_RX
#undef BPI_RY
#undef BPI_RZ
#undef BPI_ELLIPSOID
#undef BPI_BODY
#undef BPI_TURNED
#undef BPI_SPHERE
#undef BPI_CAPSULE
#undef BPI_ROD
#undef BPI_ORIGIN
#undef BPI_NOT_TURNED

/* ---- all of them, in the order of bp_mj_walker_kind ---- */

/* clang-format off */
static const bp_mj_walker bpi_mj_walkers[] = {
    {
        "pointmass",
        bpi_pointmass_bodies,
        BPI_MJ_COUNT(bpi_pointmass_bodies),
        bpi_pointmass_joints,
        BPI_MJ_COUNT(bpi_pointmass_joints),
        bpi_pointmass_geoms,
        BPI_MJ_COUNT(bpi_pointmass_geoms),
        NULL,
        0, /* excludes */
        bpi_pointmass_actuators,
        BPI_MJ_COUNT(bpi_pointmass_actuators), /* actions */
        false,                                 /* position control */
        false,
        NULL,
        0,
        {1, 0, 0, 0}, /* root: free? yaw, z, quat */
        0,
        {0.02, 1},
        {0.9, 0.95, 0.001}, /* joints: armature, limits */
        3,
        {1, 0.005, 0.0001},
        {0.02, 1},
        {0.9, 0.95, 0.001}, /* contacts */
        "walker/",          /* the root's body */
        NULL,
        0,
        NULL,
        0,
        NULL,
        0,
        false,
        NULL,
        0, /* effectors, appendages, joints, bodies? feet */
        {0, 0, 0},
        0, /* up, least height */
        0.005,
        10,
        2, /* timestep, substeps, speed */
    },
    {
        "rolling",
        bpi_ball_bodies, BPI_MJ_COUNT(bpi_ball_bodies),
        bpi_rolling_joints, BPI_MJ_COUNT(bpi_rolling_joints),
        bpi_ball_geoms, BPI_MJ_COUNT(bpi_ball_geoms),
        NULL, 0,
        bpi_ball_actuators, 2,
        false,
        false, "steer", 0, {1, 0, 0, 0},
        0, {0.02, 1}, {0.9, 0.95, 0.001},
        4, {0.5, 0.02, 0.02}, {0.02, 1}, {0.9, 0.95, 0.001},
        "head_body",
        bpi_ball_effectors, 1, NULL, 0, NULL, 0, false, bpi_ball_feet, 1,
        {0, 0, 0}, 0,
        0.005, 10, 2.5, /* at full throttle it comes to 5 m/s */
    },
    {
        "jumping",
        bpi_ball_bodies, BPI_MJ_COUNT(bpi_ball_bodies),
        bpi_jumping_joints, BPI_MJ_COUNT(bpi_jumping_joints),
        bpi_ball_geoms, BPI_MJ_COUNT(bpi_ball_geoms),
        NULL, 0,
        bpi_ball_actuators, 3,
        false,
        false, "steer", 0, {1, 0, 0, 0},
        0, {0.02, 1}, {0.95, 0.99, 0.001},
        4, {0.5, 0.02, 0.02}, {0.02, 1}, {0.9, 0.95, 0.001},
        "head_body",
        bpi_ball_effectors, 1, NULL, 0, bpi_jumping_observed, 1, false, bpi_ball_feet, 1,
        {0, 0, 0}, 0,
        0.005, 10, 2.5,
    },
    {
        "ant",
        bpi_ant_bodies,
        BPI_MJ_COUNT(bpi_ant_bodies),
        bpi_ant_joints,
        BPI_MJ_COUNT(bpi_ant_joints),
        bpi_ant_geoms,
        BPI_MJ_COUNT(bpi_ant_geoms),
        bpi_ant_excludes,
        BPI_MJ_COUNT(bpi_ant_excludes),
        bpi_ant_actuators,
        BPI_MJ_COUNT(bpi_ant_actuators),
        false,
        true,
        NULL,
        0,
        {1, 0, 0, 0},
        1,
        {0.04, 1},
        {0, 0.8, 0.03}, /* soft limits: joints overshoot by a few hundredths of a radian */
        3,
        {1, 0.5, 0.5},
        {0.02, 1},
        {0, 0.8, 0.01},
        "torso",
        bpi_ant_feet,
        4,
        bpi_ant_feet,
        4,
        bpi_ant_actuators,
        8,
        true,
        bpi_ant_feet,
        4,
        {0, 0, 1},
        0,
        0.005,
        10,
        1,
    },
    {
        "humanoid",
        bpi_humanoid_bodies, BPI_MJ_COUNT(bpi_humanoid_bodies),
        bpi_humanoid_joints, BPI_MJ_COUNT(bpi_humanoid_joints),
        bpi_humanoid_geoms, BPI_MJ_COUNT(bpi_humanoid_geoms),
        NULL, 0,
        bpi_humanoid_actuators, BPI_MJ_COUNT(bpi_humanoid_actuators),
        false,
        true, NULL, 1.286, {1, 0, 0, 0}, /* the soles half a millimetre above the floor */
        0.01, {0.02, 1}, {0, 0.99, 0.01},
        1, {0.7, 0.005, 0.0001}, {0.015, 1}, {0.9, 0.99, 0.003},
        "torso",
        bpi_humanoid_appendages, 4, bpi_humanoid_appendages, 5, bpi_humanoid_actuators, 21, false, bpi_humanoid_feet, 2,
        {0, 0, 1}, 0.85,
        0.005, 5, 1,
    },
    {
        "cmu",
        bpi_cmu_bodies, BPI_MJ_COUNT(bpi_cmu_bodies),
        bpi_cmu_joints, BPI_MJ_COUNT(bpi_cmu_joints),
        bpi_cmu_geoms, BPI_MJ_COUNT(bpi_cmu_geoms),
        bpi_cmu_excludes, BPI_MJ_COUNT(bpi_cmu_excludes),
        bpi_cmu_actuators, BPI_MJ_COUNT(bpi_cmu_actuators),
        false,
        true, NULL, 0.94, {0.46075297537525906, 0.5363829748256799, 0.5363829748256799, 0.46075297537525906}, /* 0.859, 1, 1, 0.859 */
        0.01, {0.02, 1}, {0, 0.99, 0.01},
        1, {0.7, 0.005, 0.0001}, {0.015, 1}, {0.99, 0.99, 0.003},
        "root",
        bpi_cmu_appendages, 4, bpi_cmu_appendages, 5, bpi_cmu_actuators, 56, false, bpi_cmu_feet, 4,
        {0, 1, 0}, 0.62,
        0.005, 6, 1,
    },
    {
        "cmu_position",
        bpi_cmu_bodies, BPI_MJ_COUNT(bpi_cmu_bodies),
        bpi_cmu_joints, BPI_MJ_COUNT(bpi_cmu_joints),
        bpi_cmu_geoms, BPI_MJ_COUNT(bpi_cmu_geoms),
        bpi_cmu_excludes, BPI_MJ_COUNT(bpi_cmu_excludes),
        bpi_cmu_actuators, BPI_MJ_COUNT(bpi_cmu_actuators),
        true,
        true, NULL, 0.94, {0.46075297537525906, 0.5363829748256799, 0.5363829748256799, 0.46075297537525906},
        0.01, {0.02, 1}, {0, 0.99, 0.01},
        1, {0.7, 0.005, 0.0001}, {0.015, 1}, {0.99, 0.99, 0.003},
        "root",
        bpi_cmu_appendages, 4, bpi_cmu_appendages, 5, bpi_cmu_actuators, 56, false, bpi_cmu_feet, 4,
        {0, 1, 0}, 0.62,
        0.005, 6, 1,
    },
};
/* clang-format on */

BPRIOR_API const bp_mj_walker *bp_mj_walker_of(bp_mj_walker_kind kind) {
    return (size_t)kind < BPI_MJ_COUNT(bpi_mj_walkers) ? &bpi_mj_walkers[kind] : NULL;
}

BPRIOR_API const bp_mj_walker *bp_mj_walker_named(const char *name) {
    size_t i;
    for (i = 0; name && i < BPI_MJ_COUNT(bpi_mj_walkers); i++)
        if (!strcmp(bpi_mj_walkers[i].name, name)) return &bpi_mj_walkers[i];
    return NULL;
}

BPI_MJ_FN int bpi_mj_walker_body(const bp_mj_walker *walker, const char *name) {
    size_t i;
    for (i = 0; name && i < walker->n_bodies; i++)
        if (walker->bodies[i].name && !strcmp(walker->bodies[i].name, name)) return (int)i;
    return -1;
}
BPI_MJ_FN int bpi_mj_walker_joint(const bp_mj_walker *walker, const char *name) {
    size_t i;
    for (i = 0; name && i < walker->n_joints; i++)
        if (walker->joints[i].name && !strcmp(walker->joints[i].name, name)) return (int)i;
    return -1;
}

/* All of these names are bodies (or joints) of the walker? Returns the first that is not, or n. */
BPI_MJ_FN size_t bpi_mj_walker_unknown(const bp_mj_walker *walker, const char *const *names, size_t n, bool joints) {
    size_t i;
    for (i = 0; i < n; i++)
        if ((joints ? bpi_mj_walker_joint(walker, names[i]) : bpi_mj_walker_body(walker, names[i])) < 0) break;
    return i;
}

/* Is the body `upper` the body `row`, or one of those that carry it? Parents stand above their children, so the walk ends. */
BPI_MJ_FN bool bpi_mj_walker_above(const bp_mj_walker *walker, int upper, int row) {
    while (row > upper) row = bpi_mj_walker_body(walker, walker->bodies[row].parent);
    return row == upper;
}

BPI_MJ_FN bool bpi_mj_all_finite(const double *x, size_t n) {
    size_t i;
    for (i = 0; i < n; i++)
        if (!bpi_finite_d(x[i])) return false;
    return true;
}

BPI_MJ_FN bool bpi_mj_name_ok(const char *name) {
    return name && name[0] && strlen(name) < BP_NAME && !strpbrk(name, "\"<>&");
}

BPRIOR_API bp_status bp_mj_walker_check(const bp_mj_walker *w, bp_error *error) {
    const char *const name = w && bpi_mj_name_ok(w->name) ? w->name : "?";
    size_t i, j;
    if (!w || !bpi_mj_name_ok(w->name)) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_walker: no name");
    if (!w->n_bodies || !w->n_geoms || !w->n_actuators || w->n_actuators > BP_MAX_ACTION)
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": bodies, geoms and 1 .. %d actuators are needed", name, BP_MAX_ACTION);
    if (!w->bodies || (!w->joints && w->n_joints) || !w->geoms || (!w->excludes && w->n_excludes) || !w->actuators ||
        (!w->effectors && w->n_effectors) || (!w->appendages && w->n_appendages) || (!w->observed && w->n_observed) ||
        (!w->feet && w->n_feet))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": a table that should have rows is NULL", name);
    for (i = 0; i < w->n_bodies; i++) {
        const bp_mj_walker_body *b = &w->bodies[i];
        const int parent = bpi_mj_walker_body(w, b->parent);
        if (!bpi_mj_name_ok(b->name) || bpi_mj_walker_body(w, b->name) != (int)i)
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": body %zu has no name of its own", name, i);
        if (i == 0 ? b->parent != NULL : parent < 0 || parent >= (int)i)
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": body \"%s\": its parent must be an earlier row (row 0: NULL)", name,
                            b->name);
        if (i && !bpi_mj_walker_above(w, parent, (int)i - 1))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": body \"%s\": rows must stand depth first", name, b->name);
        if (!bpi_mj_all_finite(b->pos, 3) || !bpi_mj_all_finite(b->quat, 4) || !(b->mass >= 0 && bpi_finite_d(b->mass)) ||
            !bpi_mj_all_finite(b->mass_pos, 3) || !bpi_mj_all_finite(b->mass_quat, 4) || !bpi_mj_all_finite(b->inertia, 3))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": body \"%s\" has a number out of range", name, b->name);
    }
    for (i = 0; i < w->n_joints; i++) {
        const bp_mj_walker_joint *q = &w->joints[i];
        if (!bpi_mj_name_ok(q->name) || bpi_mj_walker_joint(w, q->name) != (int)i || bpi_mj_walker_body(w, q->body) < 0 ||
            (q->kind != BP_MJ_SLIDE && q->kind != BP_MJ_HINGE))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": joint %zu: a name of its own, a body, SLIDE or HINGE", name, i);
        const double strength[5] = {q->stiffness, q->damping, q->gear, q->kp, q->limit};
        if (!bpi_mj_all_finite(q->axis, 3) || !bpi_mj_all_finite(q->pos, 3) || !bpi_mj_all_finite(q->range, 2) ||
            q->range[0] > q->range[1] || !bpi_mj_all_finite(strength, 5) || !(q->stiffness >= 0) || !(q->damping >= 0) ||
            (q->axis[0] == 0 && q->axis[1] == 0 && q->axis[2] == 0))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": joint \"%s\" has a number out of range", name, q->name);
        if (i && bpi_mj_walker_body(w, q->body) < bpi_mj_walker_body(w, q[-1].body))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": joint \"%s\" stands behind one of a later body", name, q->name);
    }
    for (i = 0; i < w->n_geoms; i++) {
        const bp_mj_walker_geom *g = &w->geoms[i];
        if (bpi_mj_walker_body(w, g->body) < 0 || (g->name && !bpi_mj_name_ok(g->name)) || (int)g->kind < BP_MJ_SPHERE ||
            g->kind > BP_MJ_ELLIPSOID || !(g->size[0] > 0) || !(g->mass >= 0) || !(g->density >= 0) ||
            !bpi_mj_all_finite(g->size, 3) || !bpi_mj_all_finite(g->pos, 3) || !bpi_mj_all_finite(g->end, 3) ||
            !bpi_mj_all_finite(g->quat, 4) || !bpi_finite_d(g->mass) || !bpi_finite_d(g->density))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": geom %zu: a body, a shape that is no plane, a size", name, i);
    }
    for (i = 0; i < w->n_excludes; i++)
        for (j = 0; j < 2; j++)
            if (bpi_mj_walker_body(w, w->excludes[i][j]) < 0)
                return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": exclude %zu names no body of it", name, i);
    if (bpi_mj_walker_unknown(w, w->actuators, w->n_actuators, true) < w->n_actuators ||
        bpi_mj_walker_unknown(w, w->observed, w->n_observed, true) < w->n_observed)
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": actuators or observed name a joint that is not there", name);
    if (bpi_mj_walker_unknown(w, w->effectors, w->n_effectors, false) < w->n_effectors ||
        bpi_mj_walker_unknown(w, w->appendages, w->n_appendages, false) < w->n_appendages ||
        bpi_mj_walker_unknown(w, w->feet, w->n_feet, false) < w->n_feet || bpi_mj_walker_body(w, w->root) < 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": root, effectors, appendages or feet name a body that is not there", name);
    if (!w->free_root && (bpi_mj_walker_joint(w, "root_x") < 0 || bpi_mj_walker_joint(w, "root_y") < 0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": no free joint, and no slides \"root_x\" and \"root_y\"", name);
    if (w->yaw_joint && (w->free_root || bpi_mj_walker_joint(w, w->yaw_joint) < 0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": yaw_joint is not there, or there is a free joint, too", name);
    for (i = 0; w->position_control && i < w->n_actuators; i++) {
        const bp_mj_walker_joint *q = &w->joints[bpi_mj_walker_joint(w, w->actuators[i])];
        if (!(q->kp > 0) || !(q->limit > 0) || !(q->range[0] < q->range[1]))
            return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": joint \"%s\": position control needs kp, limit and a range", name,
                            q->name);
    }
    if (!bpi_mj_all_finite(w->spawn_quat, 4) || !bpi_finite_d(w->spawn_z) ||
        (w->spawn_quat[0] == 0 && w->spawn_quat[1] == 0 && w->spawn_quat[2] == 0 && w->spawn_quat[3] == 0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": no spawn_z or spawn_quat", name);
    if (!(w->armature >= 0 && bpi_finite_d(w->armature)) || !bpi_mj_all_finite(w->solref_limit, 2) ||
        !bpi_mj_all_finite(w->solimp_limit, 3) || !bpi_mj_all_finite(w->friction, 3) || !bpi_mj_all_finite(w->solref, 2) ||
        !bpi_mj_all_finite(w->solimp, 3) || (w->condim != 1 && w->condim != 3 && w->condim != 4 && w->condim != 6))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": a number of its joints' or contacts' is out of range", name);
    if (!bpi_mj_all_finite(w->up, 3) || !bpi_finite_d(w->min_height) ||
        !(w->speed > 0 && bpi_finite_d(w->speed)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": up and min_height must be finite, speed positive", name);
    if (!(w->timestep > 0 && bpi_finite_d(w->timestep)) || !w->n_substeps)
        return bpi_fail(error, BP_ERR_ARGUMENT, "walker \"%s\": timestep and n_substeps must be positive", name);
    return bpi_ok(error);
}

/* Copy a quaternion, unless it is all zero. */
BPI_MJ_FN void bpi_mj_set_quat(double *out, const double *quat) {
    if (quat[0] != 0 || quat[1] != 0 || quat[2] != 0 || quat[3] != 0) memcpy(out, quat, 4 * sizeof *out);
}

BPI_MJ_FN void bpi_mj_add_joint(bp_mj_table *table, const bp_mj_walker *w, const bp_mj_walker_joint *q, int first) {
    bp_mj_joint *joint = bp_mj_table_joint(table, q->name, first + bpi_mj_walker_body(w, q->body), q->kind, q->axis[0],
                                           q->axis[1], q->axis[2]);
    if (!joint) return;
    memcpy(joint->pos, q->pos, sizeof joint->pos);
    memcpy(joint->range, q->range, sizeof joint->range);
    joint->limited = q->range[0] < q->range[1];
    joint->damping = q->damping;
    joint->stiffness = q->stiffness;
    joint->armature = w->armature;
    memcpy(joint->solref_limit, w->solref_limit, sizeof joint->solref_limit);
    memcpy(joint->solimp_limit, w->solimp_limit, sizeof joint->solimp_limit);
}

BPI_MJ_FN void bpi_mj_add_geom(bp_mj_table *table, const bp_mj_walker *w, size_t i, int first) {
    const bp_mj_walker_geom *g = &w->geoms[i];
    char name[BP_NAME + 12];
    bp_mj_geom *geom;
    size_t j, before = 0; /* geoms of the same body above this one */
    for (j = 0; j < i; j++) before += !strcmp(w->geoms[j].body, g->body);
    if (before) snprintf(name, sizeof name, "%.20s_%d", g->body, (int)before);
    else snprintf(name, sizeof name, "%s", g->body);
    geom = bp_mj_table_geom(table, g->name ? g->name : name, first + bpi_mj_walker_body(w, g->body), g->kind);
    if (!geom) return;
    memcpy(geom->size, g->size, sizeof geom->size);
    memcpy(geom->pos, g->pos, sizeof geom->pos);
    memcpy(geom->end, g->end, sizeof geom->end);
    bpi_mj_set_quat(geom->quat, g->quat);
    geom->density = g->density;
    if (g->mass > 0) geom->mass = g->mass;
    geom->condim = w->condim;
    memcpy(geom->friction, w->friction, sizeof geom->friction);
    memcpy(geom->solref, w->solref, sizeof geom->solref);
    memcpy(geom->solimp, w->solimp, sizeof geom->solimp);
    if (!strcmp(g->body, w->root)) bpi_mj_paint(geom, 0.72, 0.36, 0.16);
    else bpi_mj_paint(geom, 0.87, 0.55, 0.25);
}

BPRIOR_API bp_status bp_mj_table_add_walker(bp_mj_table *table, const bp_mj_walker *w, bp_error *error) {
    const int first = table ? (int)table->n_bodies : 0, first_joint = table ? (int)table->n_joints + (w && w->free_root) : 0;
    bp_status status = bp_mj_walker_check(w, error);
    bool room;
    size_t i;
    if (status != BP_OK) return status;
    if (!table) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_table_add_walker: table is NULL");
    room = table->n_bodies + w->n_bodies <= BP_MJ_MAX_BODIES && table->n_joints + w->n_joints + w->free_root <= BP_MJ_MAX_JOINTS &&
           table->n_geoms + w->n_geoms <= BP_MJ_MAX_GEOMS && table->n_motors + w->n_actuators <= BP_MJ_MAX_MOTORS &&
           table->n_sites + 1 <= BP_MJ_MAX_SITES && table->n_sensors + BPI_MJ_SENSORS <= BP_MJ_MAX_SENSORS &&
           table->n_excludes + w->n_excludes <= BP_MJ_MAX_EXCLUDES;
    if (!room) return bpi_fail(error, BP_ERR_SIZE, "walker \"%s\" does not fit into the table", w->name);

    for (i = 0; i < w->n_bodies; i++) {
        const bp_mj_walker_body *b = &w->bodies[i];
        bp_mj_body *body = bp_mj_table_body(table, b->name, i ? first + bpi_mj_walker_body(w, b->parent) : BP_MJ_WORLD_BODY,
                                            b->pos[0], b->pos[1], b->pos[2]);
        bpi_mj_set_quat(body->quat, b->quat);
        bpi_mj_set_quat(body->inertial_quat, b->mass_quat);
        body->mass = b->mass;
        memcpy(body->inertial_pos, b->mass_pos, sizeof body->inertial_pos);
        memcpy(body->inertia, b->inertia, sizeof body->inertia);
    }
    if (w->free_root) bp_mj_table_joint(table, "walker/root", first, BP_MJ_FREE, 0, 0, 0);
    for (i = 0; i < w->n_joints; i++) bpi_mj_add_joint(table, w, &w->joints[i], first);
    for (i = 0; i < w->n_geoms; i++) bpi_mj_add_geom(table, w, i, first);
    for (i = 0; i < w->n_actuators; i++) {
        const int row = bpi_mj_walker_joint(w, w->actuators[i]);
        bp_mj_motor *motor = bp_mj_table_motor(table, w->actuators[i], first_joint + row, w->joints[row].gear);
        if (!w->position_control) continue;
        motor->gear = 1;
        motor->kp = w->joints[row].kp;
        motor->limit = w->joints[row].limit;
    }
    for (i = 0; i < w->n_excludes; i++, table->n_excludes++) {
        table->exclude[table->n_excludes][0] = first + bpi_mj_walker_body(w, w->excludes[i][0]);
        table->exclude[table->n_excludes][1] = first + bpi_mj_walker_body(w, w->excludes[i][1]);
    }
    bpi_mj_name(table->site[table->n_sites].name, "root_site");
    table->site[table->n_sites].body = first + bpi_mj_walker_body(w, w->root);
    table->n_sites++;
    for (i = 0; i < BPI_MJ_SENSORS; i++, table->n_sensors++) {
        bpi_mj_name(table->sensor[table->n_sensors].name, bpi_mj_sensor_name[i]);
        table->sensor[table->n_sensors].kind = (bp_mj_sensor_kind)i;
        table->sensor[table->n_sensors].site = (int)table->n_sites - 1;
    }
    return bpi_ok(error);
}

/* ==========================================================================
 * M4. >>mj-worlds-impl   Worlds, environments, readings
 *    provides: bp_mj_world_* bp_mj_env_*        needs: M1 M2, bprior.h 3, 9        equations: none
 * ========================================================================== */

#define BPI_MJ_NONE ((size_t)-1) /* offset of a field that is not there */
#define BPI_MJ_PI 3.14159265358979323846

/* A reading, found in the model. */
typedef struct bpi_mj_source {
    bp_mj_quantity what;
    int id;        /* body, site */
    int address;   /* of the first number in sensordata, qpos, qvel or act */
    int count;     /* numbers */
    int frame;     /* body, or -1 */
    size_t offset; /* in the observation */
} bpi_mj_source;

/* Fields that a task writes itself, by their place in bp_mj_world.offset. */
enum {
    BPI_MJ_FIELD_POSITION = 0, /* the suite's point mass */
    BPI_MJ_FIELD_VELOCITY,
    BPI_MJ_FIELD_ROOM_TARGETS,
    BPI_MJ_FIELD_PROPS, /* one for each box */
    BPI_MJ_FIELD_TARGETS = BPI_MJ_FIELD_PROPS + BP_MJ_MAX_BOXES,
    BPI_MJ_FIELD_ACTIVATED,
    BPI_MJ_FIELD_PREDICATES, /* one for each slot */
    BPI_MJ_FIELD_GOAL = BPI_MJ_FIELD_PREDICATES + BP_MJ_MAX_PREDICATES,
    BPI_MJ_FIELD_NEXT,
    BPI_MJ_FIELD_PREVIOUS,
    BPI_MJ_FIELD_TASK,
    BPI_MJ_FIELD_TARGET,
    BPI_MJ_FIELD_DIRECTION,
    BPI_MJ_FIELD_LATERAL,
    BPI_MJ_FIELD_GAPS,
    BPI_MJ_FIELDS
};

/* What a geom is to the task. */
typedef enum bpi_mj_role {
    BPI_MJ_ROLE_NONE = 0,
    BPI_MJ_ROLE_FOOT,
    BPI_MJ_ROLE_LIMB, /* of the walker, not a foot */
    BPI_MJ_ROLE_GROUND,
    BPI_MJ_ROLE_BOX /* + number of the box */
} bpi_mj_role;

/* Places in mjModel, looked up by name once. */
typedef struct bpi_mj_ids {
    int root;       /* the walker's root */
    int x, y, z;    /* addresses in qpos of row 0's position; z may be -1 */
    int yaw;        /* address in qpos of the hinge that turns it; -1: a free joint's quaternion at x + 3, or nothing */
    double yaw_way; /* 1 or -1: which way that hinge turns */
    int n_geoms;    /* of the walker */
    int geom[BP_MJ_MAX_GEOMS];
    int n_effectors;
    int effector[BP_MJ_MAX_BODIES];
    int box_body[BP_MJ_MAX_BOXES], box_geom[BP_MJ_MAX_BOXES], box_qpos[BP_MJ_MAX_BOXES];
    int role[BP_MJ_MAX_GEOMS]; /* bpi_mj_role of each geom of the model */
} bpi_mj_ids;

typedef struct bpi_mj_env bpi_mj_env;
typedef struct bpi_mj_work bpi_mj_work;

/* What makes one task differ from another. All but draw, place and observe may be NULL. */
typedef struct bpi_mj_rules {
    void (*draw)(bpi_mj_env *env, const bp_mj_layout *layout);    /* what is random in an episode; layout (nullable) fixes some of it */
    void (*place)(bpi_mj_env *env);                               /* positions into fresh mjData */
    void (*look)(bpi_mj_env *env);                                /* at the first state, before it is observed */
    void (*before)(bpi_mj_env *env);                              /* a control step */
    void (*substep)(bpi_mj_env *env, bpi_mj_work *work);          /* after each physics step */
    void (*judge)(bpi_mj_env *env, bpi_mj_work *work);            /* after a control step: reward, discount, end */
    void (*observe)(const bpi_mj_env *env, bp_real *observation); /* the task's own fields */
} bpi_mj_rules;

struct bp_mj_world {
    const bpi_mj_rules *rules;
    mjModel *model;
    bp_spec spec;
    uint64_t mark; /* tells this world's saved states from others' */
    size_t memory; /* bytes of one mjData */
    size_t n_substeps;
    size_t episode_steps;
    bool divergence_is_error;
    size_t n_sources, max_sources;
    bpi_mj_source *source;
    bp_owner owner;

    /* worlds of tasks */
    bool of_task;
    bp_mj_task task;
    bpi_mj_ids ids;
    size_t offset[BPI_MJ_FIELDS]; /* of each field in the observation, or BPI_MJ_NONE */
    size_t n_gaps;
    double gap[BP_MJ_MAX_GAPS][2];

    /* worlds of models */
    bp_mj_model_config custom;
    int keyframe;
};

/* The task's memory. Saved as bytes, hence without pointers, and with 8-byte members only: no padding. */
typedef struct bpi_mj_episode {
    uint64_t seed;
    uint64_t running;
    uint64_t steps;
    uint64_t end;                                                  /* bp_mj_end */
    uint64_t sequence;                                             /* sequences: number of layout and law */
    uint64_t goal;                                                 /* the next target */
    uint64_t hits;                                                 /* targets reached */
    uint64_t previous[2];                                          /* reached last, and before; n_targets: none */
    uint64_t draws;                                                /* how often something was drawn in the middle of the episode */
    uint64_t timer;                                                /* rewarded steps at this place of a moving target */
    uint64_t n_active;                                             /* predicates in force */
    uint64_t was[BP_MJ_MAX_PREDICATES], now[BP_MJ_MAX_PREDICATES]; /* before and after the step */
    uint64_t predicate[BP_MJ_MAX_PREDICATES];                      /* number among those offered */
    uint64_t place[BP_MJ_MAX_PREDICATES];                          /* its target or box */
    double start[3];                                               /* x, y, yaw */
    double target[BP_MJ_MAX_TARGETS][3];
    double box[BP_MJ_MAX_BOXES][3]; /* x, y, yaw */
} bpi_mj_episode;

struct bpi_mj_env {
    const bp_mj_world *world;
    mjData *data;
    mjtNum *raw; /* [nq] qpos as it was before MuJoCo last brought its quaternions to unit length, see bpi_mj_work_load() */
    bool broken; /* MuJoCo gave up in the middle of something: data must be made anew */
    bpi_mj_episode episode;
    uint64_t diverged, warnings;
    bp_error error;
    char warning[128];
};

/* Purposes of random numbers within one episode's seed. What is drawn later takes a stream of its own for each draw, so the
 * generator has no state to save. */
#define BPI_MJ_STREAM_RESET 0u
#define BPI_MJ_STREAM_LATER 1u

/* What a protected piece of work is about. */
struct bpi_mj_work {
    bpi_mj_env *env;
    const bp_real *action;        /* step */
    const double *qpos;           /* set_state */
    const double *qvel;           /* set_state */
    const unsigned char *numbers; /* load: doubles, not aligned */
    bp_real *observation;
    double reward, discount; /* step */
    uint64_t hits;           /* step, sequences: targets reached during it */
    bool diverged;
};

BPI_MJ_FN void bpi_mj_work_make(void *ctx) {
    bpi_mj_env *env = ((bpi_mj_work *)ctx)->env;
    env->data = mj_makeData(env->world->model);
}

/* MuJoCo notices numbers out of range, resets the state on its own and carries on as if nothing had happened. */
BPI_MJ_FN bool bpi_mj_diverged(const mjData *d) {
    return d->warning[mjWARN_BADQPOS].number > 0 || d->warning[mjWARN_BADQVEL].number > 0 ||
           d->warning[mjWARN_BADQACC].number > 0;
}

/* ---- readings ---- */

/* out = R^T (x - p): a point of the world as a body sees it. R is row-major, body to world. */
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
BPI_MJ_FN void bpi_mj_put_relative(bp_real *out, const mjtNum *a, const mjtNum *b) {
    const double aw = (double)a[0], ax = -(double)a[1], ay = -(double)a[2], az = -(double)a[3];
    const double bw = (double)b[0], bx = (double)b[1], by = (double)b[2], bz = (double)b[3];
    out[0] = (bp_real)(aw * bw - ax * bx - ay * by - az * bz);
    out[1] = (bp_real)(aw * bx + ax * bw + ay * bz - az * by);
    out[2] = (bp_real)(aw * by - ax * bz + ay * bw + az * bx);
    out[3] = (bp_real)(aw * bz + ax * by - ay * bx + az * bw);
}

/* A point x [3] of the world as the source's frame sees it. */
BPI_MJ_FN void bpi_mj_put_point(bp_real *out, const mjData *d, int frame, const mjtNum *x) {
    if (frame < 0) bpi_mj_put_values(out, x, 3);
    else bpi_mj_put_ego(out, d->xmat + 9 * frame, d->xpos + 3 * frame, (double)x[0], (double)x[1], (double)x[2]);
}

BPI_MJ_FN void bpi_mj_read(bp_real *out, const mjModel *m, const mjData *d, const bpi_mj_source *s) {
    mjtNum velocity[6];
    switch (s->what) {
    case BP_MJ_SENSOR: bpi_mj_put_values(out, d->sensordata + s->address, (size_t)s->count); break;
    case BP_MJ_JOINT_POSITION: bpi_mj_put_values(out, d->qpos + s->address, (size_t)s->count); break;
    case BP_MJ_JOINT_VELOCITY: bpi_mj_put_values(out, d->qvel + s->address, (size_t)s->count); break;
    case BP_MJ_ACTIVATION: bpi_mj_put_values(out, d->act + s->address, (size_t)s->count); break;
    case BP_MJ_BODY_POSITION: bpi_mj_put_point(out, d, s->frame, d->xpos + 3 * s->id); break;
    case BP_MJ_SITE_POSITION: bpi_mj_put_point(out, d, s->frame, d->site_xpos + 3 * s->id); break;
    case BP_MJ_BODY_QUATERNION:
        if (s->frame < 0) bpi_mj_put_values(out, d->xquat + 4 * s->id, 4);
        else bpi_mj_put_relative(out, d->xquat + 4 * s->frame, d->xquat + 4 * s->id);
        break;
    case BP_MJ_BODY_ROTATION: bpi_mj_put_values(out, d->xmat + 9 * s->id, 9); break;
    case BP_MJ_BODY_HEIGHT: *out = (bp_real)d->xpos[3 * s->id + 2]; break;
    case BP_MJ_BODY_VERTICAL: bpi_mj_put_values(out, d->xmat + 9 * s->id + 6, 3); break;
    case BP_MJ_BODY_VELOCITY:
        mj_objectVelocity(m, d, mjOBJ_XBODY, s->id, velocity, 1);
        bpi_mj_put_values(out, velocity, 6);
        break;
    }
}

/* Find what a reading names. @return BP_ERR_FIELD, BP_ERR_ARGUMENT */
BPI_MJ_FN bp_status bpi_mj_find_source(bpi_mj_source *s, const mjModel *m, const bp_mj_reading *r, bp_error *error) {
    static const mjtObj type[] = {mjOBJ_SENSOR, mjOBJ_JOINT, mjOBJ_JOINT, mjOBJ_BODY, mjOBJ_BODY, mjOBJ_BODY,
                                  mjOBJ_BODY, mjOBJ_BODY, mjOBJ_BODY, mjOBJ_SITE, mjOBJ_ACTUATOR};
    static const char *const word[] = {"sensor", "joint", "joint", "body", "body", "body", "body", "body", "body", "site", "actuator"};
    static const int size[] = {0, 0, 0, 3, 4, 9, 6, 1, 3, 3, 0};
    const char *const field = r->field ? r->field : "?";
    const bool all = r->name && !strcmp(r->name, "*");
    memset(s, 0, sizeof *s);
    if ((int)r->what < 0 || r->what > BP_MJ_ACTIVATION)
        return bpi_fail(error, BP_ERR_ARGUMENT, "reading of field \"%.40s\": unknown quantity %d", field, (int)r->what);
    if (!r->name) return bpi_fail(error, BP_ERR_ARGUMENT, "reading of field \"%.40s\": no name", field);
    s->what = r->what;
    s->count = size[r->what];
    s->frame = -1;
    if (r->frame) {
        if (r->what != BP_MJ_BODY_POSITION && r->what != BP_MJ_SITE_POSITION && r->what != BP_MJ_BODY_QUATERNION)
            return bpi_fail(error, BP_ERR_ARGUMENT, "reading of field \"%.40s\": this quantity takes no frame", field);
        s->frame = mj_name2id(m, mjOBJ_BODY, r->frame);
        if (s->frame < 0)
            return bpi_fail(error, BP_ERR_FIELD, "reading of field \"%.40s\": the model has no body \"%.60s\"", field, r->frame);
    }
    if (!all) {
        s->id = mj_name2id(m, (int)type[r->what], r->name);
        if (s->id < 0)
            return bpi_fail(error, BP_ERR_FIELD, "reading of field \"%.40s\": the model has no %s \"%.60s\"", field, word[r->what],
                            r->name);
    } else if (s->count) {
        return bpi_fail(error, BP_ERR_ARGUMENT, "reading of field \"%.40s\": \"*\" is not for this quantity", field);
    }
    switch (r->what) {
    case BP_MJ_SENSOR:
        s->address = all ? 0 : (int)m->sensor_adr[s->id];
        s->count = all ? (int)m->nsensordata : (int)m->sensor_dim[s->id];
        break;
    case BP_MJ_JOINT_POSITION:
        s->address = all ? 0 : (int)m->jnt_qposadr[s->id];
        s->count = all ? (int)m->nq : m->jnt_type[s->id] == mjJNT_FREE ? 7
                                  : m->jnt_type[s->id] == mjJNT_BALL   ? 4
                                                                       : 1;
        break;
    case BP_MJ_JOINT_VELOCITY:
        s->address = all ? 0 : (int)m->jnt_dofadr[s->id];
        s->count = all ? (int)m->nv : m->jnt_type[s->id] == mjJNT_FREE ? 6
                                  : m->jnt_type[s->id] == mjJNT_BALL   ? 3
                                                                       : 1;
        break;
    case BP_MJ_ACTIVATION:
        s->count = (int)m->na;
        if (!all) {
#if mjVERSION_HEADER >= 230
            s->address = (int)m->actuator_actadr[s->id];
            s->count = s->address < 0 ? 0 : (int)m->actuator_actnum[s->id];
#else
            /* one activation for each actuator that has dynamics: those come last */
            s->address = s->id - (int)(m->nu - m->na);
            s->count = s->address < 0 ? 0 : 1;
#endif
        }
        break;
    default: break;
    }
    if (s->count < 1)
        return bpi_fail(error, BP_ERR_FIELD, "reading of field \"%.40s\": %s \"%.60s\" has no numbers", field, word[r->what], r->name);
    return BP_OK;
}

/* Append a source. */
BPI_MJ_FN bp_status bpi_mj_push(bp_mj_world *w, const bpi_mj_source *s, bp_error *error) {
    const bp_allocator *allocator = w->owner.custom ? &w->owner.allocator : NULL;
    if (w->n_sources == w->max_sources) {
        const size_t room = w->max_sources ? 2 * w->max_sources : 64;
        bpi_mj_source *grown = (bpi_mj_source *)bp_alloc(allocator, room * sizeof *grown);
        if (!grown) return bpi_fail(error, BP_ERR_MEMORY, "no memory for %zu readings", room);
        if (w->n_sources) memcpy(grown, w->source, w->n_sources * sizeof *grown);
        bp_free(allocator, w->source, w->max_sources * sizeof *grown);
        w->source = grown;
        w->max_sources = room;
    }
    w->source[w->n_sources++] = *s;
    return BP_OK;
}

/* Append a field made of readings [n] to the spec. */
BPI_MJ_FN bp_status bpi_mj_add_readings(bp_mj_world *w, const bp_mj_reading *r, size_t n, bp_error *error) {
    const size_t first = w->spec.observation_size;
    size_t i, size = 0;
    bp_status status = BP_OK;
    for (i = 0; i < n && status == BP_OK; i++) {
        bpi_mj_source s;
        status = bpi_mj_find_source(&s, w->model, &r[i], error);
        if (status != BP_OK) break;
        s.offset = first + size;
        size += (size_t)s.count;
        status = bpi_mj_push(w, &s, error);
    }
    return status == BP_OK ? bp_spec_add_field(&w->spec, r[0].field ? r[0].field : "", size, error) : status;
}

BPI_MJ_FN void bpi_mj_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_world *w = env->world;
    size_t i;
    for (i = 0; i < w->n_sources; i++)
        bpi_mj_read(observation + w->source[i].offset, w->model, env->data, &w->source[i]);
    if (w->rules->observe) w->rules->observe(env, observation);
}

/* ---- protected work ---- */

/* To be called whenever qpos was changed and mj_step1 or mj_forward comes next. */
BPI_MJ_FN void bpi_mj_note_raw(bpi_mj_env *env) {
    memcpy(env->raw, env->data->qpos, (size_t)env->world->model->nq * sizeof *env->raw);
}

/* Start of an episode: everything zero, the bodies in their places. */
BPI_MJ_FN void bpi_mj_work_begin(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    bpi_mj_env *env = work->env;
    const bpi_mj_rules *rules = env->world->rules;
    const mjModel *m = env->world->model;
    mjData *d = env->data;
    mj_resetData(m, d);
    rules->place(env);
    bpi_mj_note_raw(env);
    mj_forward(m, d);
    if (env->world->of_task && env->world->task.walker->position_control) {
        /* The reference looks at the first state with its actuators switched off; a position controller pulls at control 0 already, and
         * the accelerometer would notice. So that pull is taken back for once. */
        int i;
        for (i = 0; i < (int)m->nv; i++) d->qfrc_applied[i] = -d->qfrc_actuator[i];
        mj_forward(m, d);
        for (i = 0; i < (int)m->nv; i++) d->qfrc_applied[i] = 0;
    }
    if (rules->look) rules->look(env);
    bpi_mj_observe(env, work->observation);
}

/* One control step. step2 + step1 rather than mj_step: it leaves positions, velocities and contacts of the NEW state
 * behind, where mj_step leaves those of 5 ms before. (The accelerometer alone is one physics step old.) */
BPI_MJ_FN void bpi_mj_work_step(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    bpi_mj_env *env = work->env;
    const bp_mj_world *w = env->world;
    const mjModel *m = w->model;
    mjData *d = env->data;
    size_t i;
    for (i = 0; i < w->spec.action_size; i++) d->ctrl[i] = (mjtNum)work->action[i]; /* MuJoCo clamps to ctrlrange */
    for (i = 0; i < w->n_substeps; i++) {
        if (m->opt.integrator == mjINT_RK4) mj_step(m, d); /* mj_step2 would take Euler's method for it */
        else mj_step2(m, d);
        if (i + 1 == w->n_substeps) bpi_mj_note_raw(env);
        mj_step1(m, d);
        if (bpi_mj_diverged(d)) {
            work->diverged = true;
            bpi_mj_note_raw(env);
            mj_forward(m, d); /* after MuJoCo's own reset: something finite to observe */
            break;
        }
        if (w->rules->substep) w->rules->substep(env, work);
    }
    if (!work->diverged && w->rules->judge) w->rules->judge(env, work);
    bpi_mj_observe(env, work->observation);
}

BPI_MJ_FN void bpi_mj_work_set(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    const mjModel *m = work->env->world->model;
    mjData *d = work->env->data;
    int i;
    for (i = 0; work->qpos && i < m->nq; i++) d->qpos[i] = (mjtNum)work->qpos[i];
    for (i = 0; work->qvel && i < m->nv; i++) d->qvel[i] = (mjtNum)work->qvel[i];
    bpi_mj_note_raw(work->env);
    mj_forward(m, d);
    if (work->observation) bpi_mj_observe(work->env, work->observation);
}

/* A saved state is: mark, episode, and these numbers, each a double. Explicit arrays rather than mj_getState: what that
 * one holds differs between versions. In a model of the user's `begin` may have set forces and userdata; tasks have none. */
#define BPI_MJ_PARTS 11
BPI_MJ_FN size_t bpi_mj_state(mjtNum *part[BPI_MJ_PARTS], size_t length[BPI_MJ_PARTS], const bp_mj_world *w, mjData *d) {
    const mjModel *m = w->model;
    size_t i, total = 0;
    length[0] = 1;
    length[1] = (size_t)m->nq;
    length[2] = (size_t)m->nv;
    length[3] = (size_t)m->na;
    length[4] = (size_t)m->nu;
    length[5] = (size_t)m->nv;
    length[6] = 3 * (size_t)m->nmocap;
    length[7] = 4 * (size_t)m->nmocap;
    length[8] = w->of_task ? 0 : (size_t)m->nv;
    length[9] = w->of_task ? 0 : 6 * (size_t)m->nbody;
    length[10] = w->of_task ? 0 : (size_t)m->nuserdata;
    for (i = 0; i < BPI_MJ_PARTS; i++) total += length[i];
    if (!d) return total;
    part[0] = &d->time;
    part[1] = d->qpos;
    part[2] = d->qvel;
    part[3] = d->act;
    part[4] = d->ctrl;
    part[5] = d->qacc_warmstart;
    part[6] = d->mocap_pos;
    part[7] = d->mocap_quat;
    part[8] = d->qfrc_applied;
    part[9] = d->xfrc_applied;
    part[10] = d->userdata;
    return total;
}

/* mj_step1 computes from positions and velocities exactly what it had computed when the state was saved: the next
 * step begins with mj_step2 and finds the same numbers. (mj_forward would also replace the warm start.) It begins by bringing the
 * quaternions in qpos to unit length, and doing that twice can change their last bits: hence `raw`, qpos before it. */
BPI_MJ_FN void bpi_mj_work_load(void *ctx) {
    bpi_mj_work *work = (bpi_mj_work *)ctx;
    const mjModel *m = work->env->world->model;
    const unsigned char *p = work->numbers;
    mjtNum *part[BPI_MJ_PARTS];
    size_t length[BPI_MJ_PARTS], i, j;
    double number;
    mj_resetData(m, work->env->data);
    bpi_mj_state(part, length, work->env->world, work->env->data);
    for (i = 0; i < BPI_MJ_PARTS; i++)
        for (j = 0; j < length[i]; j++, p += sizeof number) {
            memcpy(&number, p, sizeof number);
            part[i][j] = (mjtNum)number;
        }
    bpi_mj_note_raw(work->env);
    mj_step1(m, work->env->data);
}

BPI_MJ_FN bp_status bpi_mj_run(bpi_mj_env *env, void (*fn)(void *), bpi_mj_work *work) {
    char warning[sizeof env->warning];
    bp_status status;
    work->env = env;
    warning[0] = '\0';
    status = bpi_mj_guard(fn, work, warning, &env->error);
    if (warning[0]) {
        memcpy(env->warning, warning, sizeof warning);
        env->warnings++;
    }
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

/* ---- the environment's five functions ---- */

/* A new episode of this seed: forget, draw, place, look. */
BPI_MJ_FN bp_status bpi_mj_begin(bpi_mj_env *env, uint64_t seed, const bp_mj_layout *layout, bp_real *observation) {
    bpi_mj_episode *e = &env->episode;
    bpi_mj_work work;
    bp_status status;
    size_t i;
    memset(e, 0, sizeof *e);
    e->seed = seed;
    e->previous[0] = e->previous[1] = env->world->task.n_targets;
    if (env->world->rules->draw) env->world->rules->draw(env, layout);
    memset(&work, 0, sizeof work);
    work.observation = observation;
    status = bpi_mj_run(env, bpi_mj_work_begin, &work);
    if (status != BP_OK) return status;
    for (i = 0; i < env->world->spec.observation_size; i++)
        if (!bpi_finite(observation[i]))
            return bpi_fail(&env->error, BP_ERR_ENV, "observation[%zu] at the start of the episode is not finite", i);
    e->running = 1;
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
    return bpi_mj_begin(env, seed, w->of_task && w->task.fixed_layout ? &w->task.layout : NULL, observation);
}

BPI_MJ_FN bp_status bpi_mj_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_mj_world *w = env->world;
    bpi_mj_episode *e = &env->episode;
    bpi_mj_work work;
    bp_status status;
    size_t i;

    if (!e->running) return bpi_fail(&env->error, BP_ERR_ENV, "no episode is running: call reset() first");
    for (i = 0; i < w->spec.action_size; i++)
        if (!bpi_finite(action[i])) return bpi_fail(&env->error, BP_ERR_ENV, "action[%zu] is not finite", i);

    memset(&work, 0, sizeof work);
    work.action = action;
    work.observation = observation;
    work.discount = 1;
    if (w->rules->before) w->rules->before(env);
    status = bpi_mj_run(env, bpi_mj_work_step, &work);
    if (status != BP_OK) return status;
    e->steps++;

    /* The last word belongs to the numbers: a state too large to be written as bp_real has diverged as well. */
    for (i = 0; i < w->spec.observation_size; i++)
        if (!bpi_finite(observation[i])) {
            work.diverged = true;
            observation[i] = 0;
        }
    if (!bpi_finite((bp_real)work.reward)) work.diverged = true;
    if (work.diverged) {
        work.reward = work.discount = 0;
        env->diverged++;
        e->end = BP_MJ_DIVERGED;
    } else if (e->end == BP_MJ_RUNNING && e->steps >= w->episode_steps) {
        e->end = BP_MJ_TIME_LIMIT;
    }
    e->running = e->end == BP_MJ_RUNNING;
    out->reward = (bp_real)work.reward;
    out->discount = (bp_real)work.discount;
    out->last = !e->running;
    if (work.diverged && w->divergence_is_error)
        return bpi_fail(&env->error, BP_ERR_ENV, "the simulation diverged in step %llu: %s",
                        (unsigned long long)e->steps, env->warning);
    return bpi_ok(&env->error);
}

BPI_MJ_FN size_t bpi_mj_save(void *self, void *buffer, size_t capacity) {
    const bpi_mj_env *env = (const bpi_mj_env *)self;
    mjtNum *part[BPI_MJ_PARTS];
    size_t length[BPI_MJ_PARTS], i, j;
    const size_t bytes = sizeof(uint64_t) + sizeof env->episode +
                         bpi_mj_state(part, length, env->world, env->data) * sizeof(double);
    unsigned char *p = (unsigned char *)buffer;
    double number;
    part[1] = env->raw;
    if (!buffer) return bytes;
    if (capacity < bytes || !env->data) return 0;
    memcpy(p, &env->world->mark, sizeof(uint64_t));
    p += sizeof(uint64_t);
    memcpy(p, &env->episode, sizeof env->episode);
    p += sizeof env->episode;
    for (i = 0; i < BPI_MJ_PARTS; i++)
        for (j = 0; j < length[i]; j++, p += sizeof number) {
            number = (double)part[i][j];
            memcpy(p, &number, sizeof number);
        }
    return bytes;
}

/* Could these bytes have come from bpi_mj_save()? Whatever is used as an index must be in range. */
BPI_MJ_FN bool bpi_mj_episode_ok(const bp_mj_world *w, const bpi_mj_episode *e) {
    const bp_mj_task *t = &w->task;
    const size_t n_places = t->n_targets > t->n_boxes ? t->n_targets : t->n_boxes;
    size_t i;
    if (e->running > 1 || e->end > BP_MJ_ENGINE_ERROR || e->previous[0] > t->n_targets || e->previous[1] > t->n_targets ||
        (e->goal && e->goal >= t->n_targets) || (e->sequence && e->sequence >= t->n_sequences) ||
        e->n_active > BP_MJ_MAX_PREDICATES)
        return false;
    if (e->running && (e->end != BP_MJ_RUNNING || e->steps >= w->episode_steps)) return false;
    for (i = 0; i < BP_MJ_MAX_PREDICATES; i++)
        if (e->was[i] > 1 || e->now[i] > 1 || (e->predicate[i] && e->predicate[i] >= t->n_predicates) ||
            (e->place[i] && e->place[i] >= n_places))
            return false;
    return bpi_mj_all_finite(e->start, 3) && bpi_mj_all_finite(&e->target[0][0], 3 * BP_MJ_MAX_TARGETS) &&
           bpi_mj_all_finite(&e->box[0][0], 3 * BP_MJ_MAX_BOXES);
}

BPI_MJ_FN bp_status bpi_mj_load(void *self, const void *buffer, size_t bytes) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_mj_world *w = env->world;
    const unsigned char *p = (const unsigned char *)buffer;
    size_t length[BPI_MJ_PARTS], i;
    const size_t n = bpi_mj_state(NULL, length, w, NULL);
    bpi_mj_episode episode;
    bpi_mj_work work;
    uint64_t mark;
    double number;
    bp_status status;

    if (!buffer || bytes != sizeof mark + sizeof episode + n * sizeof(double))
        return bpi_fail(&env->error, BP_ERR_FORMAT, "a saved state has another size");
    memcpy(&mark, p, sizeof mark);
    memcpy(&episode, p + sizeof mark, sizeof episode);
    p += sizeof mark + sizeof episode;
    if (mark != w->mark) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is of another environment");
    if (!bpi_mj_episode_ok(w, &episode)) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is damaged");
    for (i = 0; i < n; i++) {
        memcpy(&number, p + i * sizeof number, sizeof number);
        if (!bpi_finite_d(number)) return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is damaged");
    }

    if (env->broken || !env->data) {
        status = bpi_mj_fresh_data(env);
        if (status != BP_OK) return status;
    }
    memset(&work, 0, sizeof work);
    work.numbers = p;
    status = bpi_mj_run(env, bpi_mj_work_load, &work);
    if (status != BP_OK) return status;
    if (bpi_mj_diverged(env->data)) { /* numbers that MuJoCo will not go on with: it has reset them */
        env->episode.running = 0;
        return bpi_fail(&env->error, BP_ERR_FORMAT, "the saved state is damaged");
    }
    env->episode = episode;
    return bpi_ok(&env->error);
}

/* An environment, and `raw` behind it. */
BPI_MJ_FN size_t bpi_mj_env_bytes(const bp_mj_world *w) {
    return sizeof(bpi_mj_env) + (size_t)w->model->nq * sizeof(mjtNum);
}

BPI_MJ_FN void bpi_mj_close(void *self) {
    bpi_mj_env *env = (bpi_mj_env *)self;
    const bp_owner *owner;
    if (!env) return;
    owner = &env->world->owner;
    if (env->data) mj_deleteData(env->data);
    bp_free(owner->custom ? &owner->allocator : NULL, env, bpi_mj_env_bytes(env->world));
}

BPRIOR_API bp_status bp_mj_env_make(const bp_mj_world *world, bp_env *out, bp_error *error) {
    bpi_mj_env *env;
    bp_status status;
    if (!world || !out) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_env_make: an argument is NULL");
    env = (bpi_mj_env *)bp_alloc(world->owner.custom ? &world->owner.allocator : NULL, bpi_mj_env_bytes(world));
    if (!env) return bpi_fail(error, BP_ERR_MEMORY, "bp_mj_env_make: no memory");
    env->world = world;
    env->raw = (mjtNum *)(void *)(env + 1); /* bpi_mj_env holds 8-byte members, so what follows it is aligned */
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

/* ---- worlds ---- */

/* An empty world. */
BPI_MJ_FN bp_status bpi_mj_world_begin(bp_mj_world **out, const bpi_mj_rules *rules, const bp_allocator *allocator,
                                       bp_error *error) {
    bp_mj_world *w = (bp_mj_world *)bp_alloc(allocator, sizeof *w);
    size_t i;
    *out = NULL;
    if (!w) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a world");
    bpi_own(&w->owner, allocator, sizeof *w);
    w->rules = rules;
    for (i = 0; i < BPI_MJ_FIELDS; i++) w->offset[i] = BPI_MJ_NONE;
    w->keyframe = -1;
    *out = w;
    return BP_OK;
}

/* Fold numbers into a fingerprint (FNV-1a over their bytes). */
BPI_MJ_FN void bpi_mj_fold(bp_mj_world *w, const double *number, size_t n) {
    const unsigned char *byte = (const unsigned char *)number;
    size_t i;
    for (i = 0; i < n * sizeof *number; i++) w->mark = (w->mark ^ byte[i]) * (uint64_t)1099511628211u;
}

/* What every world ends with: its fingerprint, and a look at the size of an mjData. */
BPI_MJ_FN bp_status bpi_mj_world_end(bp_mj_world *w, bp_error *error) {
    const double common[6] = {(double)w->n_substeps, (double)w->episode_steps, (double)w->model->opt.timestep,
                              (double)w->model->nq, (double)w->model->nv, (double)w->model->nbody};
    bpi_mj_env probe;
    bp_status status;
    w->mark = bp_spec_hash(&w->spec);
    bpi_mj_fold(w, common, 6);
    memset(&probe, 0, sizeof probe);
    probe.world = w;
    status = bpi_mj_fresh_data(&probe);
    if (status != BP_OK) {
        if (error) *error = probe.error;
        return status;
    }
#if mjVERSION_HEADER >= 300
    w->memory = sizeof(mjData) + (size_t)probe.data->nbuffer + (size_t)probe.data->narena;
#else
    w->memory = sizeof(mjData) + (size_t)probe.data->nbuffer + (size_t)probe.data->nstack * sizeof(mjtNum);
#endif
    mj_deleteData(probe.data);
    return BP_OK;
}

BPRIOR_API void bp_mj_world_destroy(bp_mj_world *world) {
    if (!world) return;
    if (world->model) mj_deleteModel(world->model);
    bp_free(world->owner.custom ? &world->owner.allocator : NULL, world->source, world->max_sources * sizeof *world->source);
    bpi_disown(&world->owner, world);
}

BPRIOR_API const mjModel *bp_mj_world_model(const bp_mj_world *world) { return world ? world->model : NULL; }
BPRIOR_API const bp_spec *bp_mj_world_spec(const bp_mj_world *world) { return world ? &world->spec : NULL; }
BPRIOR_API size_t bp_mj_world_memory(const bp_mj_world *world) { return world ? world->memory : 0; }
BPRIOR_API bool bp_mj_env_is(const bp_env *env) { return env && env->self && env->step == bpi_mj_step; }

BPRIOR_API const bp_mj_world *bp_mj_env_world(const bp_env *env) {
    return bp_mj_env_is(env) ? ((const bpi_mj_env *)env->self)->world : NULL;
}

BPRIOR_API mjData *bp_mj_env_data(const bp_env *env) {
    return bp_mj_env_is(env) ? ((const bpi_mj_env *)env->self)->data : NULL;
}

/* Uprightness of the walker, see M3. */
BPI_MJ_FN double bpi_mj_aliveness(const bpi_mj_env *env) {
    const bp_mj_walker *walker = env->world->task.walker;
    const mjtNum *r, *p;
    double up = 1;
    if (!walker) return 0;
    r = env->data->xmat + 9 * env->world->ids.root;
    p = env->data->xpos + 3 * env->world->ids.root;
    if (walker->min_height > 0 && (double)p[2] < walker->min_height) return -1;
    if (walker->up[0] != 0 || walker->up[1] != 0 || walker->up[2] != 0)
        up = (double)r[6] * walker->up[0] + (double)r[7] * walker->up[1] + (double)r[8] * walker->up[2];
    return 0.5 * (up - 1);
}

/* The five numbers of predicate k, see M7; -1 for a slot not in use. */
BPI_MJ_FN void bpi_mj_predicate_code(int code[5], const bpi_mj_env *env, size_t k) {
    const bp_mj_predicate *p = &env->world->task.predicate[env->episode.predicate[k]];
    size_t i;
    for (i = 0; i < 5; i++) code[i] = -1;
    if (k >= env->episode.n_active) return;
    code[0] = (int)p->mover;
    code[1] = p->mover_index;
    code[2] = (int)p->goal;
    code[3] = (int)env->episode.place[k];
    code[4] = 1; /* close to */
}

BPRIOR_API bp_mj_info bp_mj_env_info(const bp_env *env) {
    bp_mj_info info;
    size_t i;
    memset(&info, 0, sizeof info);
    if (bp_mj_env_is(env)) {
        const bpi_mj_env *own = (const bpi_mj_env *)env->self;
        const bpi_mj_episode *e = &own->episode;
        info.steps = e->steps;
        info.end = (bp_mj_end)e->end;
        info.diverged = own->diverged;
        info.warnings = own->warnings;
        info.sequence = (size_t)e->sequence;
        info.goal = (size_t)(e->n_active ? e->place[0] : e->goal);
        info.hits = (size_t)e->hits;
        info.previous[0] = (size_t)e->previous[0];
        info.previous[1] = (size_t)e->previous[1];
        info.n_predicates = (size_t)e->n_active;
        for (i = 0; i < e->n_active; i++) {
            bpi_mj_predicate_code(info.predicate[i], own, i);
            info.holds[i] = e->now[i] != 0;
            info.hits += (size_t)e->now[i];
        }
        if (own->world->of_task && own->data && !own->broken) {
            for (i = 0; i < 3; i++) info.root[i] = (double)own->data->xpos[3 * own->world->ids.root + (int)i];
            info.aliveness = bpi_mj_aliveness(own);
        }
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
    n = capacity < own->world->task.n_targets ? capacity : own->world->task.n_targets;
    if (n) memcpy(targets, own->episode.target, n * sizeof own->episode.target[0]);
    return own->world->task.n_targets;
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
    work.observation = observation;
    status = bpi_mj_run(own, bpi_mj_work_set, &work);
    if (status != BP_OK) {
        if (error) *error = own->error;
        return status;
    }
    return bpi_ok(error);
}

/* ==========================================================================
 * M5. >>mj-tasks-impl   Tasks: the description
 *    provides: bp_mj_task_*        needs: M3 M4        equations: none
 * ========================================================================== */

#define BPI_MJ_POINTMASS_SCALE 15.0 /* of a walker's room, to the point mass's own */

static const char *const bpi_mj_task_names[] = {"go_to_k_targets", "move_box", "move_box_or_gtt", "move_box_and_gtt",
                                                "sequence", "go_to_target", "run", "run_gaps"};

BPRIOR_API const char *bp_mj_task_name(bp_mj_task_kind kind) {
    return (size_t)kind < BP_MJ_TASK_COUNT_ ? bpi_mj_task_names[kind] : NULL;
}

BPRIOR_API bp_mj_task_kind bp_mj_task_named(const char *name) {
    int i;
    for (i = 0; name && i < BP_MJ_TASK_COUNT_; i++)
        if (!strcmp(bpi_mj_task_names[i], name)) return (bp_mj_task_kind)i;
    return BP_MJ_TASK_COUNT_;
}

/* A sequence of the point mass is played in the suite's own room, with the suite's own body. */
BPI_MJ_FN bool bpi_mj_in_suite(const bp_mj_task *t) {
    return t->kind == BP_MJ_SEQUENCE && t->walker == bp_mj_walker_of(BP_MJ_WALKER_POINTMASS);
}

BPI_MJ_FN bool bpi_mj_has_predicates(const bp_mj_task *t) { return t->kind <= BP_MJ_MOVE_BOX_AND_GTT; }

/* Offer one more predicate. */
BPI_MJ_FN void bpi_mj_offer(bp_mj_task *t, bp_mj_mover mover) {
    bp_mj_predicate *p = &t->predicate[t->n_predicates++];
    p->mover = mover;
    p->goal = BP_MJ_TO_TARGET;
    p->goal_index = -1;
    p->weight = 1;
}

BPRIOR_API bp_mj_task bp_mj_task_make(uint32_t cookie, bp_mj_task_kind kind, const bp_mj_walker *walker) {
    bp_mj_task t;
    double seconds = 20, scale = 1;
    size_t i;
    memset(&t, 0, sizeof t);
    t.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mj_task)) return t;
    t.kind = kind;
    t.walker = walker;
    if (!walker) return t; /* refused by bp_mj_world_create() */
    t.timestep = walker->timestep;
    t.n_substeps = walker->n_substeps;
    t.reward_scale = bpi_mj_has_predicates(&t) ? 10 : 1;
    t.alive_threshold = -0.5;
    t.contact_ends = kind == BP_MJ_GO_TO_TARGET || kind == BP_MJ_RUN_GAPS;
    t.box_mass = 1.5;
    bpi_mj_set2(t.layout.spawn, 2, -2);
    t.layout.yaw = (double)NAN;
    bpi_mj_set2(t.layout.target[0], 0, -2);
    bpi_mj_set2(t.layout.target[1], 2, 2);
    bpi_mj_set2(t.layout.target[2], -2, -2);
    for (i = 0; i < BP_MJ_MAX_BOXES; i++) bpi_mj_set3(t.layout.box[i], 0, 2 * (double)i, (double)NAN);
    for (i = 0; i < BP_MJ_MAX_PREDICATES; i++) t.layout.active[i] = t.layout.goal[i] = -1;

    /* predicates */
    t.n_targets = 3;
    t.n_active = 1;
    t.reference_clashes = true;
    t.bonus = 5;
    if (kind == BP_MJ_GO_TO_K_TARGETS || kind == BP_MJ_MOVE_BOX_OR_GTT || kind == BP_MJ_MOVE_BOX_AND_GTT)
        bpi_mj_offer(&t, BP_MJ_MOVE_WALKER);
    if (kind == BP_MJ_MOVE_BOX || kind == BP_MJ_MOVE_BOX_OR_GTT || kind == BP_MJ_MOVE_BOX_AND_GTT) {
        bpi_mj_offer(&t, BP_MJ_MOVE_THE_BOX);
        t.n_boxes = 1;
    }
    if (kind == BP_MJ_MOVE_BOX_AND_GTT) t.n_active = 2;

    /* sequences: the point mass's own lengths, or those times 15 */
    if (kind == BP_MJ_SEQUENCE) {
        t.n_targets = 4;
        bpi_mj_set2(t.layout.spawn, 0, 0);
        if (bpi_mj_in_suite(&t)) {
            t.timestep = 0.02;
            t.n_substeps = 25;
            seconds = 25;
            t.half_room = 0.29;
            t.hit_radius = 0.06;
        } else {
            scale = BPI_MJ_POINTMASS_SCALE;
            seconds = 30;
            t.half_room = 5;
            t.hit_radius = 0.06 * scale;
        }
    }
    t.gear = 0.1;
    t.hit_reward = 1;
    t.relative_targets = true;
    t.spawn = BP_MJ_SPAWN_UNIFORM;
    t.n_sequences = 1;
    t.fixed_sequence = -1;
    for (i = 0; i < BP_MJ_MAX_SEQUENCES; i++) {
        t.sequence[i] = bp_mj_sequence_default();
        t.sequence[i].radius *= scale;
        t.sequence[i].spacing *= scale;
    }

    /* locomotion */
    if (kind == BP_MJ_GO_TO_TARGET) {
        t.n_targets = 1;
        t.half_room = 4;
        t.hit_radius = 1;
        seconds = 30;
    }
    if (kind == BP_MJ_RUN || kind == BP_MJ_RUN_GAPS) {
        t.n_targets = 0;
        seconds = 30;
    }
    t.move_after = 10;
    t.speed = walker->speed;
    bpi_mj_set2(t.corridor, 60, 10);
    bpi_mj_set2(t.platform, 0.3, 2.5);
    bpi_mj_set2(t.gap, 0.5, 1.25);
    t.corridor_seed = 1;

    t.episode_steps = (size_t)(seconds / (t.timestep * (double)t.n_substeps) + 0.5);
    return t;
}

/* ==========================================================================
 * M6. >>mj-sequences-impl   Sequential navigation
 *    provides: bp_mj_sequence_*        needs: M4 M5        equations: none
 * ========================================================================== */

BPRIOR_API bp_mj_sequence bp_mj_sequence_default(void) {
    bp_mj_sequence s;
    memset(&s, 0, sizeof s);
    s.law = BP_MJ_LAW_MARKOV2;
    s.p_common = 0.9;
    s.places = BP_MJ_PLACES_RING;
    s.radius = 0.2;
    s.angle = 0.25 * BPI_MJ_PI;
    s.spacing = 0.15;
    return s;
}

BPRIOR_API void bp_mj_sequence_multitask(bp_mj_task *task) {
    const double radius = task->sequence[0].radius, spacing = task->sequence[0].spacing;
    size_t i;
    task->n_sequences = 4;
    task->task_slots = 5;
    task->fixed_sequence = -1;
    for (i = 0; i < 4; i++) {
        task->sequence[i] = bp_mj_sequence_default();
        task->sequence[i].radius = radius;
        task->sequence[i].spacing = spacing;
        task->sequence[i].angle = i & 1 ? 0.0 : 0.25 * BPI_MJ_PI; /* diamond, square */
        task->sequence[i].reversed = (i & 2) != 0;
        task->sequence[i].slot = i;
    }
}

BPRIOR_API void bp_mj_sequence_transfer(bp_mj_task *task, bp_mj_novelty novelty) {
    bp_mj_sequence *s = &task->sequence[0];
    const double radius = s->radius, spacing = s->spacing;
    task->n_sequences = 1;
    task->task_slots = 5;
    task->fixed_sequence = -1;
    *s = bp_mj_sequence_default();
    s->radius = radius;
    s->spacing = spacing;
    s->slot = 4;
    if (novelty & BP_MJ_NEW_LAYOUT) s->angle = 0.125 * BPI_MJ_PI;
    if (novelty & BP_MJ_NEW_SEQUENCE) s->law = BP_MJ_LAW_CYCLE;
}

/* s_c(p): the target after p among the others of c, in rising (or falling) order and round again. */
BPI_MJ_FN size_t bpi_mj_successor(size_t p, size_t c, size_t n, bool reversed) {
    do p = reversed ? (p + n - 1) % n : (p + 1) % n;
    while (p == c);
    return p;
}

/* [mj_law] */
BPRIOR_API void bp_mj_sequence_law(double *prob, const bp_mj_sequence *sequence, size_t n_targets, size_t previous,
                                   size_t current) {
    size_t i, first, second;
    if (current >= n_targets) { /* nothing reached yet */
        for (i = 0; i < n_targets; i++) prob[i] = 1.0 / (double)n_targets;
        return;
    }
    for (i = 0; i < n_targets; i++) prob[i] = 0;
    if (sequence->law == BP_MJ_LAW_CYCLE) {
        prob[sequence->reversed ? (current + n_targets - 1) % n_targets : (current + 1) % n_targets] = 1;
    } else if (sequence->law == BP_MJ_LAW_UNIFORM || previous >= n_targets || previous == current) {
        for (i = 0; i < n_targets; i++)
            if (i != current) prob[i] = 1.0 / (double)(n_targets - 1);
    } else {
        first = bpi_mj_successor(previous, current, n_targets, sequence->reversed);
        second = bpi_mj_successor(first, current, n_targets, sequence->reversed);
        prob[first] += sequence->p_common;
        prob[second] += 1.0 - sequence->p_common;
    }
}
/* [mj_law] */

/* Draw the next target: number e->hits of the sequence. */
BPI_MJ_FN void bpi_mj_sequence_next(bpi_mj_env *env) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    double prob[BP_MJ_MAX_TARGETS], u;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_LATER + e->hits);
    size_t i, last = 0;
    bp_mj_sequence_law(prob, &t->sequence[e->sequence], t->n_targets, (size_t)e->previous[1], (size_t)e->previous[0]);
    u = bp_rng_uniform(&rng);
    for (i = 0; i < t->n_targets; i++) {
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
BPI_MJ_FN void bpi_mj_sequence_places(bpi_mj_env *env, bp_rng *rng) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    const bp_mj_sequence *s = &t->sequence[e->sequence];
    const size_t n = t->n_targets;
    const bool suite = bpi_mj_in_suite(t);
    const double half = suite ? 0.25 : 0.86 * t->half_room;
    size_t i, j, attempt;

    for (i = 0; i < n; i++) {
        const double angle = s->angle + 2 * BPI_MJ_PI * (double)i / (double)n;
        bpi_mj_set3(e->target[i], s->radius * cos(angle), s->radius * sin(angle), suite ? 0.01 : 0.5);
        if (s->places == BP_MJ_PLACES_LISTED) bpi_mj_set2(e->target[i], s->target[i][0], s->target[i][1]);
    }
    if (s->places != BP_MJ_PLACES_RANDOM) return;

    /* Place one after the other; a place too close to an earlier one is redrawn. A crowded square may leave no room for
     * the last, so a limit on attempts, after which the closest calls are let through. */
    for (i = 0; i < n; i++)
        for (attempt = 0; attempt < 1000; attempt++) {
            e->target[i][0] = half * (2 * bp_rng_uniform(rng) - 1);
            e->target[i][1] = half * (2 * bp_rng_uniform(rng) - 1);
            for (j = 0; j < i; j++)
                if (bpi_mj_distance2(e->target[j], e->target[i][0], e->target[i][1]) < s->spacing * s->spacing) break;
            if (j == i) break;
        }
}

BPI_MJ_FN void bpi_mj_sequence_draw(bpi_mj_env *env, const bp_mj_layout *layout) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    /* walkers keep clear of the walls */
    const double half = bpi_mj_in_suite(t) ? t->half_room : 0.8 * t->half_room;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);
    size_t attempt;
    (void)layout;
    e->sequence = bp_rng_index(&rng, t->n_sequences); /* drawn in any case: fixing it changes nothing else */
    if (t->fixed_sequence >= 0) e->sequence = (uint64_t)t->fixed_sequence;
    bpi_mj_sequence_places(env, &rng);
    bpi_mj_sequence_next(env);
    for (attempt = 0; attempt < 1000; attempt++) {
        e->start[0] = half * (2 * bp_rng_uniform(&rng) - 1);
        e->start[1] = half * (2 * bp_rng_uniform(&rng) - 1);
        if (bpi_mj_distance2(e->target[e->goal], e->start[0], e->start[1]) > t->hit_radius * t->hit_radius) break;
    }
    e->start[2] = BPI_MJ_PI * (2 * bp_rng_uniform(&rng) - 1);
    if (t->spawn != BP_MJ_SPAWN_FIXED) return;
    bpi_mj_set2(e->start, t->layout.spawn[0], t->layout.spawn[1]);
    if (bpi_finite_d(t->layout.yaw)) e->start[2] = t->layout.yaw;
}

/* The suite's point mass: two slides are all there is. */
BPI_MJ_FN void bpi_mj_suite_place(bpi_mj_env *env) {
    env->data->qpos[0] = (mjtNum)env->episode.start[0];
    env->data->qpos[1] = (mjtNum)env->episode.start[1];
}

/* Turn the walker by `yaw` and put it at (x, y), standing. */
BPI_MJ_FN void bpi_mj_place_walker(bpi_mj_env *env) {
    const bpi_mj_ids *ids = &env->world->ids;
    const bp_mj_walker *walker = env->world->task.walker;
    const double *start = env->episode.start, *s = walker->spawn_quat;
    const double c = cos(0.5 * start[2]), n = sin(0.5 * start[2]);
    mjtNum *q = env->data->qpos;
    q[ids->x] = (mjtNum)start[0];
    q[ids->y] = (mjtNum)start[1];
    if (ids->z >= 0) q[ids->z] = (mjtNum)walker->spawn_z;
    if (walker->free_root) { /* the yaw, then how it stands: (c, 0, 0, n) times s */
        q += ids->x + 3;
        q[0] = (mjtNum)(c * s[0] - n * s[3]);
        q[1] = (mjtNum)(c * s[1] - n * s[2]);
        q[2] = (mjtNum)(c * s[2] + n * s[1]);
        q[3] = (mjtNum)(c * s[3] + n * s[0]);
    } else if (ids->yaw >= 0) {
        q[ids->yaw] = (mjtNum)(ids->yaw_way * start[2]);
    }
}

/* After each physics step: is the next target touched? */
BPI_MJ_FN void bpi_mj_sequence_substep(bpi_mj_env *env, bpi_mj_work *work) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    const mjtNum *x = bpi_mj_in_suite(t) ? env->data->qpos : env->data->xpos + 3 * env->world->ids.root;
    if (t->max_hits && e->hits >= t->max_hits) return;
    if (bpi_mj_distance2(e->target[e->goal], (double)x[0], (double)x[1]) > t->hit_radius * t->hit_radius) return;
    e->previous[1] = e->previous[0];
    e->previous[0] = e->goal;
    e->hits++;
    work->hits++;
    bpi_mj_sequence_next(env);
}

/* [mj_judge_fall] */
/* Has the walker fallen? (Sets end and discount.) */
BPI_MJ_FN void bpi_mj_judge_fall(bpi_mj_env *env, bpi_mj_work *work) {
    const bp_mj_world *w = env->world;
    const mjData *d = env->data;
    bool fallen = bpi_mj_aliveness(env) < w->task.alive_threshold;
    int i;
    for (i = 0; w->task.contact_ends && i < (int)d->ncon && !fallen; i++) {
        const int a = w->ids.role[d->contact[i].geom1], b = w->ids.role[d->contact[i].geom2];
        fallen = (a == BPI_MJ_ROLE_LIMB && b == BPI_MJ_ROLE_GROUND) || (b == BPI_MJ_ROLE_LIMB && a == BPI_MJ_ROLE_GROUND);
    }
    if (!fallen || env->episode.end != BP_MJ_RUNNING) return;
    env->episode.end = BP_MJ_FALL;
    work->discount = 0;
}
/* [mj_judge_fall] */

BPI_MJ_FN void bpi_mj_sequence_judge(bpi_mj_env *env, bpi_mj_work *work) {
    const bp_mj_task *t = &env->world->task;
    work->reward = t->reward_scale * t->hit_reward * (double)work->hits;
    if (t->max_hits && env->episode.hits >= t->max_hits) {
        work->discount = 0;
        env->episode.end = BP_MJ_SUCCESS;
    }
    if (!bpi_mj_in_suite(t)) bpi_mj_judge_fall(env, work);
}

/* Where the field is to be written; NULL if it is not there. */
BPI_MJ_FN bp_real *bpi_mj_at(const bpi_mj_env *env, bp_real *observation, size_t field) {
    return env->world->offset[field] == BPI_MJ_NONE ? NULL : observation + env->world->offset[field];
}

/* A point of the world as the root sees it. */
BPI_MJ_FN bp_real *bpi_mj_put_root(bp_real *out, const bpi_mj_env *env, double x, double y, double z) {
    const int root = env->world->ids.root;
    return bpi_mj_put_ego(out, env->data->xmat + 9 * root, env->data->xpos + 3 * root, x, y, z);
}

BPI_MJ_FN void bpi_mj_put_targets(const bpi_mj_env *env, bp_real *observation) {
    const bpi_mj_episode *e = &env->episode;
    bp_real *o = bpi_mj_at(env, observation, BPI_MJ_FIELD_TARGETS);
    size_t i;
    for (i = 0; o && i < env->world->task.n_targets; i++)
        o = bpi_mj_put_root(o, env, e->target[i][0], e->target[i][1], e->target[i][2]);
}

BPI_MJ_FN void bpi_mj_sequence_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_task *t = &env->world->task;
    const bpi_mj_episode *e = &env->episode;
    const size_t n = t->n_targets;
    bp_real *o;
    size_t i;
    if (bpi_mj_in_suite(t)) {
        const double size = t->half_room, speed = t->gear / BPI_MJ_POINTMASS_DAMPING;
        const double x[2] = {(double)env->data->qpos[0], (double)env->data->qpos[1]};
        o = bpi_mj_at(env, observation, BPI_MJ_FIELD_POSITION);
        for (i = 0; o && i < 2; i++) o[i] = (bp_real)(x[i] / size);
        o = bpi_mj_at(env, observation, BPI_MJ_FIELD_VELOCITY);
        for (i = 0; o && i < 2; i++) o[i] = (bp_real)((double)env->data->qvel[i] / speed);
        o = bpi_mj_at(env, observation, BPI_MJ_FIELD_ROOM_TARGETS);
        for (i = 0; o && i < 2 * n; i++)
            o[i] = (bp_real)((e->target[i / 2][i % 2] - (t->relative_targets ? x[i % 2] : 0.0)) / size);
    }
    bpi_mj_put_targets(env, observation);
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_NEXT);
    for (i = 0; o && i < n; i++) o[i] = BP_R(e->goal == i);
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_PREVIOUS);
    for (i = 0; o && i < 2 * n; i++) o[i] = BP_R(e->previous[i / n] == i % n);
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_TASK);
    for (i = 0; o && i < t->task_slots; i++) o[i] = BP_R(t->sequence[e->sequence].slot == i);
}

static const bpi_mj_rules bpi_mj_suite_rules = {bpi_mj_sequence_draw, bpi_mj_suite_place, NULL,
                                                NULL, bpi_mj_sequence_substep, bpi_mj_sequence_judge,
                                                bpi_mj_sequence_observe};
static const bpi_mj_rules bpi_mj_sequence_rules = {bpi_mj_sequence_draw, bpi_mj_place_walker, NULL,
                                                   NULL, bpi_mj_sequence_substep, bpi_mj_sequence_judge,
                                                   bpi_mj_sequence_observe};

/* ==========================================================================
 * M7. >>mj-predicates-impl   Predicate tasks
 *    provides: bp_mj_table_add_room bp_mj_table_add_box bp_mj_env_set_layout        needs: M4 M5        equations: none
 * ========================================================================== */

#define BPI_MJ_BOX_HALF 0.5
#define BPI_MJ_ATTEMPTS 1000 /* to draw predicates without a clash, as in the reference */

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

BPRIOR_API void bp_mj_table_add_box(bp_mj_table *table, int number, double mass) {
    const int row = (int)table->n_bodies;
    bp_mj_geom *geom;
    char name[BP_NAME];
    snprintf(name, sizeof name, "box_%d", number);
    /* Where it is in qpos0, which is neither used nor without effect: MuJoCo makes a step from there while it compiles and after the
     * simulation diverged, and things inside each other would then need a great deal of memory. */
    if (!bp_mj_table_body(table, name, BP_MJ_WORLD_BODY, 2 + 1.5 * number, 2, BPI_MJ_BOX_HALF)) return;
    if (!bp_mj_table_joint(table, name, row, BP_MJ_FREE, 0, 0, 0)) return;
    geom = bp_mj_table_geom(table, name, row, BP_MJ_BOX);
    if (!geom) return;
    bpi_mj_set3(geom->size, BPI_MJ_BOX_HALF, BPI_MJ_BOX_HALF, BPI_MJ_BOX_HALF);
    geom->mass = mass;
    bpi_mj_paint(geom, 0.36, 0.52, 0.72);
}

/* The room: a square of free cells where things may be, one more ring of free cells, and the walls. */
BPI_MJ_FN size_t bpi_mj_free_cells(const bp_mj_task *t) {
    const size_t things = t->n_boxes + t->n_targets;
    return things < 3 ? 3 : things;
}

/* Do predicates a and b, with these places, use a thing in common? */
BPI_MJ_FN bool bpi_mj_clash(const bp_mj_predicate *a, uint64_t place_a, const bp_mj_predicate *b, uint64_t place_b) {
    const bool box_a[2] = {a->mover == BP_MJ_MOVE_THE_BOX, a->goal == BP_MJ_TO_BOX};
    const bool box_b[2] = {b->mover == BP_MJ_MOVE_THE_BOX, b->goal == BP_MJ_TO_BOX};
    const uint64_t which_a[2] = {(uint64_t)a->mover_index, place_a}, which_b[2] = {(uint64_t)b->mover_index, place_b};
    size_t i, j;
    if (!box_a[0] && !box_b[0]) return true; /* both move the walker */
    if (!box_a[1] && !box_b[1] && place_a == place_b) return true;
    for (i = 0; i < 2; i++)
        for (j = 0; j < 2; j++)
            if (box_a[i] && box_b[j] && which_a[i] == which_b[j]) return true;
    return false;
}

/* One attempt to draw the predicates in force. False: there is a clash. */
BPI_MJ_FN bool bpi_mj_try_predicates(bpi_mj_env *env, const bp_mj_layout *layout, bp_rng *rng) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    uint64_t target[BP_MJ_MAX_PREDICATES];
    bool taken[BP_MJ_MAX_PREDICATES];
    size_t i, k;

    /* every predicate offered draws its target, chosen or not */
    for (i = 0; i < t->n_predicates; i++) {
        const bp_mj_predicate *p = &t->predicate[i];
        const bool draws = p->goal == BP_MJ_TO_TARGET && p->goal_index < 0;
        target[i] = draws ? bp_rng_index(rng, t->n_targets) : (uint64_t)p->goal_index;
        taken[i] = false;
    }
    e->n_active = t->random_active ? 1 + bp_rng_index(rng, t->n_active) : t->n_active;

    /* one after the other, by weight, each at most once */
    for (k = 0; k < e->n_active; k++) {
        double total = 0, u;
        size_t chosen = 0;
        for (i = 0; i < t->n_predicates; i++) total += taken[i] ? 0 : t->predicate[i].weight;
        u = total * bp_rng_uniform(rng);
        for (i = 0; i < t->n_predicates; i++) {
            if (taken[i] || t->predicate[i].weight <= 0) continue;
            chosen = i;
            if (u < t->predicate[i].weight) break;
            u -= t->predicate[i].weight;
        }
        if (layout && layout->active[k] >= 0) chosen = (size_t)layout->active[k];
        if (taken[chosen]) return false;
        taken[chosen] = true;
        e->predicate[k] = chosen;
        e->place[k] = target[chosen];
        if (layout && layout->goal[k] >= 0 && t->predicate[chosen].goal == BP_MJ_TO_TARGET && t->predicate[chosen].goal_index < 0)
            e->place[k] = (uint64_t)layout->goal[k];
        for (i = 0; i < k; i++)
            if ((i == 0 || !t->reference_clashes) && bpi_mj_clash(&t->predicate[e->predicate[i]], e->place[i],
                                                                  &t->predicate[chosen], e->place[k]))
                return false;
    }
    for (; k < BP_MJ_MAX_PREDICATES; k++) e->predicate[k] = e->place[k] = 0;
    return true;
}

/* Draw predicates until they do not clash. That it can be done was made sure of when the world was made. */
BPI_MJ_FN bool bpi_mj_draw_predicates(bpi_mj_env *env, const bp_mj_layout *layout, bp_rng *rng) {
    int attempt;
    for (attempt = 0; attempt < BPI_MJ_ATTEMPTS; attempt++)
        if (bpi_mj_try_predicates(env, layout, rng)) return true;
    return false;
}

/* Everything an episode draws at its start. layout (nullable) replaces the draws it fixes; the others are made in the same
 * order all the same. */
BPI_MJ_FN void bpi_mj_predicates_draw(bpi_mj_env *env, const bp_mj_layout *layout) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    const size_t side = bpi_mj_free_cells(t), n = t->n_boxes + t->n_targets;
    size_t cell[(BP_MJ_MAX_TARGETS + BP_MJ_MAX_BOXES) * (BP_MJ_MAX_TARGETS + BP_MJ_MAX_BOXES) + 1], i, j;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);

    /* n + 1 different cells in random order: the beginning of a shuffle. First the spawn, then boxes, then targets. */
    for (i = 0; i < side * side; i++) cell[i] = i;
    for (i = 0; i <= n; i++) {
        const size_t other = i + bp_rng_index(&rng, side * side - i), picked = cell[other];
        const double x = 2 * ((double)(picked % side) - 0.5 * (double)(side - 1));
        const double y = -2 * ((double)(picked / side) - 0.5 * (double)(side - 1)); /* row 0 has the largest y */
        cell[other] = cell[i];
        cell[i] = picked;
        if (i == 0) bpi_mj_set2(e->start, x, y);
        else if (i <= t->n_boxes) bpi_mj_set2(e->box[i - 1], x, y);
        else bpi_mj_set3(e->target[i - 1 - t->n_boxes], x, y, BPI_MJ_BOX_HALF);
    }
    bpi_mj_draw_predicates(env, layout, &rng);
    e->start[2] = BPI_MJ_PI * (2 * bp_rng_uniform(&rng) - 1);

    /* A box is turned, then shifted by up to 0.99 of what keeps its corners in the cell. */
    for (i = 0; i < t->n_boxes; i++) {
        const double yaw = BPI_MJ_PI * (2 * bp_rng_uniform(&rng) - 1), c = fabs(cos(yaw)), s = fabs(sin(yaw));
        const double shift = 0.99 * (1 - BPI_MJ_BOX_HALF * (c + s));
        for (j = 0; j < 2; j++) e->box[i][j] += shift * (2 * bp_rng_uniform(&rng) - 1);
        e->box[i][2] = yaw;
    }
    if (!layout) return;

    bpi_mj_set2(e->start, layout->spawn[0], layout->spawn[1]);
    if (bpi_finite_d(layout->yaw)) e->start[2] = layout->yaw;
    for (i = 0; i < t->n_targets; i++) bpi_mj_set3(e->target[i], layout->target[i][0], layout->target[i][1], BPI_MJ_BOX_HALF);
    for (i = 0; i < t->n_boxes; i++) {
        bpi_mj_set2(e->box[i], layout->box[i][0], layout->box[i][1]);
        if (bpi_finite_d(layout->box[i][2])) e->box[i][2] = layout->box[i][2];
    }
}

BPI_MJ_FN void bpi_mj_predicates_place(bpi_mj_env *env) {
    const bp_mj_world *w = env->world;
    size_t i;
    bpi_mj_place_walker(env);
    for (i = 0; i < w->task.n_boxes; i++) {
        mjtNum *q = env->data->qpos + w->ids.box_qpos[i];
        const double *box = env->episode.box[i];
        q[0] = (mjtNum)box[0];
        q[1] = (mjtNum)box[1];
        q[2] = (mjtNum)BPI_MJ_BOX_HALF;
        q[3] = (mjtNum)cos(0.5 * box[2]);
        q[4] = q[5] = 0;
        q[6] = (mjtNum)sin(0.5 * box[2]);
    }
}

/* Is the geom's centre strictly inside the unit cube around the target? */
BPI_MJ_FN bool bpi_mj_inside(const mjtNum *x, const double *target) {
    size_t i;
    for (i = 0; i < 3; i++)
        if (!((double)x[i] > target[i] - BPI_MJ_BOX_HALF && (double)x[i] < target[i] + BPI_MJ_BOX_HALF)) return false;
    return true;
}

/* Does a contact join box b with the walker (other < 0) or with box `other`? */
BPI_MJ_FN bool bpi_mj_touch(const bpi_mj_env *env, int b, int other) {
    const int *role = env->world->ids.role;
    const mjData *d = env->data;
    int i;
    for (i = 0; i < (int)d->ncon; i++) {
        int first = role[d->contact[i].geom1], second = role[d->contact[i].geom2];
        if (second == BPI_MJ_ROLE_BOX + b) {
            second = first;
            first = BPI_MJ_ROLE_BOX + b;
        }
        if (first != BPI_MJ_ROLE_BOX + b) continue;
        if (other < 0 ? second == BPI_MJ_ROLE_FOOT || second == BPI_MJ_ROLE_LIMB : second == BPI_MJ_ROLE_BOX + other) return true;
    }
    return false;
}

/* Does the predicate in slot k hold now? */
BPI_MJ_FN bool bpi_mj_holds(const bpi_mj_env *env, size_t k) {
    const bp_mj_world *w = env->world;
    const bp_mj_predicate *p = &w->task.predicate[env->episode.predicate[k]];
    const uint64_t place = env->episode.place[k];
    const mjData *d = env->data;
    int i;
    if (p->goal == BP_MJ_TO_TARGET) {
        const double *target = env->episode.target[place];
        if (p->mover == BP_MJ_MOVE_THE_BOX) return bpi_mj_inside(d->geom_xpos + 3 * w->ids.box_geom[p->mover_index], target);
        for (i = 0; i < w->ids.n_geoms; i++)
            if (bpi_mj_inside(d->geom_xpos + 3 * w->ids.geom[i], target)) return true;
        return false;
    }
    if (w->task.close > 0) {
        const mjtNum *b = d->geom_xpos + 3 * w->ids.box_geom[place];
        const mjtNum *a = p->mover == BP_MJ_MOVE_THE_BOX ? d->geom_xpos + 3 * w->ids.box_geom[p->mover_index] : d->xpos + 3 * w->ids.root;
        return fabs((double)(a[0] - b[0])) < w->task.close && fabs((double)(a[1] - b[1])) < w->task.close;
    }
    return bpi_mj_touch(env, (int)place, p->mover == BP_MJ_MOVE_THE_BOX ? p->mover_index : -1);
}

BPI_MJ_FN void bpi_mj_predicates_look(bpi_mj_env *env) {
    size_t k;
    for (k = 0; k < env->episode.n_active; k++) env->episode.now[k] = bpi_mj_holds(env, k);
}

BPI_MJ_FN void bpi_mj_predicates_before(bpi_mj_env *env) {
    bpi_mj_episode *e = &env->episode;
    size_t k;
    for (k = 0; k < e->n_active; k++) e->was[k] = e->steps > 0 && e->now[k]; /* nothing counts as true before the first step */
}

/* [mj_predicates_judge] */
/* Reward and termination of the step just made. With `regenerate` the new predicates are judged against what held before, as in the
 * reference: the bonus step then pays bonus - 1 for what is no longer asked for. */
BPI_MJ_FN void bpi_mj_predicates_judge(bpi_mj_env *env, bpi_mj_work *work) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    bool all = true;
    double sum = 0;
    size_t k;
    for (k = 0; k < e->n_active; k++) all = all && e->was[k];
    if (all && t->regenerate) {
        bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_LATER + e->draws++);
        bpi_mj_draw_predicates(env, NULL, &rng);
    }
    bpi_mj_predicates_look(env);
    for (k = 0; k < e->n_active; k++) sum += (double)e->now[k] - (double)e->was[k];
    work->reward = t->reward_scale * (sum + (all ? t->bonus : 0.0));
    if (all && !t->regenerate) {
        e->end = BP_MJ_SUCCESS;
        work->discount = 0;
    }
    bpi_mj_judge_fall(env, work);
}
/* [mj_predicates_judge] */

BPI_MJ_FN void bpi_mj_predicates_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_world *w = env->world;
    const bpi_mj_episode *e = &env->episode;
    const size_t n = w->task.n_targets;
    bp_real *o;
    size_t i, j, k;
    int code[5];
    for (i = 0; i < w->task.n_boxes; i++) {
        const mjtNum *x = env->data->xpos + 3 * w->ids.box_body[i], *r = env->data->xmat + 9 * w->ids.box_body[i];
        o = bpi_mj_at(env, observation, BPI_MJ_FIELD_PROPS + i);
        for (j = 0; o && j < 8; j++) { /* corners + + +, + + -, + - +, ... in the box's frame */
            double corner[3];
            for (k = 0; k < 3; k++)
                corner[k] = (double)x[k] + BPI_MJ_BOX_HALF * ((j & 4 ? -1 : 1) * (double)r[3 * k] +
                                                              (j & 2 ? -1 : 1) * (double)r[3 * k + 1] +
                                                              (j & 1 ? -1 : 1) * (double)r[3 * k + 2]);
            o = bpi_mj_put_root(o, env, corner[0], corner[1], corner[2]);
        }
    }
    bpi_mj_put_targets(env, observation);
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_ACTIVATED);
    for (k = 0; o && k < w->task.n_active; k++) o[k] = BP_R(k >= e->n_active || e->now[k]);
    for (k = 0; k < w->task.n_active; k++) {
        o = bpi_mj_at(env, observation, BPI_MJ_FIELD_PREDICATES + k);
        bpi_mj_predicate_code(code, env, k);
        for (i = 0; o && i < 5; i++) o[i] = (bp_real)code[i];
    }
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_GOAL);
    for (k = 0; o && k < w->task.n_active; k++) {
        bpi_mj_predicate_code(code, env, k);
        for (i = 0; i < n; i++) *o++ = BP_R(code[2] == (int)BP_MJ_TO_TARGET && code[3] == (int)i);
    }
}

static const bpi_mj_rules bpi_mj_predicate_rules = {bpi_mj_predicates_draw, bpi_mj_predicates_place, bpi_mj_predicates_look,
                                                    bpi_mj_predicates_before, NULL, bpi_mj_predicates_judge,
                                                    bpi_mj_predicates_observe};

BPI_MJ_FN bp_status bpi_mj_layout_check(const bp_mj_task *t, const bp_mj_layout *layout, bp_error *error) {
    size_t i;
    if (!bpi_mj_all_finite(layout->spawn, 2)) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_layout: spawn is not finite");
    for (i = 0; i < t->n_targets; i++)
        if (!bpi_mj_all_finite(layout->target[i], 2))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_layout: target[%zu] is not finite", i);
    for (i = 0; i < t->n_boxes; i++)
        if (!bpi_mj_all_finite(layout->box[i], 2))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_layout: box[%zu] is not finite", i);
    for (i = 0; i < t->n_active; i++) {
        if (layout->active[i] < -1 || layout->active[i] >= (int)t->n_predicates)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_layout: active[%zu] is %d, must be -1 .. n_predicates - 1", i,
                            layout->active[i]);
        if (layout->goal[i] < -1 || layout->goal[i] >= (int)t->n_targets)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_layout: goal[%zu] is %d, must be -1 .. n_targets - 1", i,
                            layout->goal[i]);
    }
    return BP_OK;
}

/* Can predicates be drawn at all with this layout (nullable)? A hundred seeds say so. */
BPI_MJ_FN bp_status bpi_mj_predicates_possible(const bp_mj_world *w, const bp_mj_layout *layout, bp_error *error) {
    bpi_mj_env probe;
    uint64_t seed;
    memset(&probe, 0, sizeof probe);
    probe.world = w;
    for (seed = 0; seed < 100; seed++) {
        bp_rng rng = bp_rng_make(seed, BPI_MJ_STREAM_RESET);
        if (!bpi_mj_draw_predicates(&probe, layout, &rng))
            return bpi_fail(error, BP_ERR_ARGUMENT,
                            "bp_mj_task: %zu predicates in force at once cannot be drawn without sharing the walker, a box or a target",
                            w->task.n_active);
    }
    return BP_OK;
}

BPRIOR_API bp_status bp_mj_env_set_layout(bp_env *env, const bp_mj_layout *layout, bp_real *observation, bp_error *error) {
    bpi_mj_env *own;
    bp_status status;
    if (!bp_mj_env_is(env) || !layout || !observation)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_env_set_layout: not a MuJoCo environment, or an argument is NULL");
    own = (bpi_mj_env *)env->self;
    if (own->world->rules != &bpi_mj_predicate_rules)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_env_set_layout: only predicate tasks have layouts");
    status = bpi_mj_layout_check(&own->world->task, layout, error);
    if (status == BP_OK) status = bpi_mj_predicates_possible(own->world, layout, error);
    if (status != BP_OK) return status;
    if (own->broken || !own->data) return bpi_fail(error, BP_ERR_ENV, "bp_mj_env_set_layout: call reset() first");
    status = bpi_mj_begin(own, own->episode.seed, layout, observation);
    if (error) *error = own->error;
    return status;
}

/* ==========================================================================
 * M8. >>mj-locomotion-impl   Locomotion
 *    provides: bp_mj_world_gaps        needs: M4 M5 M6        equations: none
 * ========================================================================== */

#define BPI_MJ_SIGHT 10.0      /* m: gaps farther away look as if they were here */
#define BPI_MJ_GAPS_SEEN 3     /* how many of them are seen */
#define BPI_MJ_FIRST_FLOOR 6.0 /* m: before the first gap */
#define BPI_MJ_DEPTH 0.5       /* m below the floor: fallen into a gap */

/* A place on the open ground: number `draws` of the episode. */
BPI_MJ_FN void bpi_mj_move_target(bpi_mj_env *env) {
    bpi_mj_episode *e = &env->episode;
    const double half = env->world->task.half_room;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_LATER + e->draws++);
    const double x = half * (2 * bp_rng_uniform(&rng) - 1), y = half * (2 * bp_rng_uniform(&rng) - 1);
    bpi_mj_set3(e->target[0], x, y, 0);
}

BPI_MJ_FN void bpi_mj_target_draw(bpi_mj_env *env, const bp_mj_layout *layout) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);
    size_t i;
    for (i = 0; i < 2; i++) e->start[i] = t->half_room * (2 * bp_rng_uniform(&rng) - 1);
    e->start[2] = BPI_MJ_PI * (2 * bp_rng_uniform(&rng) - 1);
    bpi_mj_move_target(env);
    if (!layout) return;
    bpi_mj_set2(e->start, layout->spawn[0], layout->spawn[1]);
    if (bpi_finite_d(layout->yaw)) e->start[2] = layout->yaw;
    bpi_mj_set2(e->target[0], layout->target[0][0], layout->target[0][1]);
}

/* [mj_target_judge] */
BPI_MJ_FN void bpi_mj_target_judge(bpi_mj_env *env, bpi_mj_work *work) {
    bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    const mjtNum *p = env->data->xpos + 3 * env->world->ids.root;
    if (bpi_mj_distance2(e->target[0], (double)p[0], (double)p[1]) < t->hit_radius * t->hit_radius) {
        work->reward = t->reward_scale * t->hit_reward;
        e->hits++;
        if (t->move_after && ++e->timer >= t->move_after) {
            e->timer = 0;
            bpi_mj_move_target(env);
        }
    }
    bpi_mj_judge_fall(env, work);
}
/* [mj_target_judge] */

BPI_MJ_FN void bpi_mj_target_observe(const bpi_mj_env *env, bp_real *observation) {
    const double *target = env->episode.target[0];
    bp_real *o = bpi_mj_at(env, observation, BPI_MJ_FIELD_TARGET);
    if (o) bpi_mj_put_root(o, env, target[0], target[1], target[2]);
}

/* A run begins at the origin, facing along x, or anywhere on the first metre of the corridor. */
BPI_MJ_FN void bpi_mj_run_draw(bpi_mj_env *env, const bp_mj_layout *layout) {
    bpi_mj_episode *e = &env->episode;
    bp_rng rng = bp_rng_make(e->seed, BPI_MJ_STREAM_RESET);
    const double u = bp_rng_uniform(&rng), yaw = 2 * bp_rng_uniform(&rng) - 1;
    if (env->world->task.kind == BP_MJ_RUN_GAPS) bpi_mj_set2(e->start, 0.5 + u, 0);
    e->start[2] = 0.1 * BPI_MJ_PI * yaw; /* 18 degrees either way: episodes differ from the first step */
    if (!layout) return;
    bpi_mj_set2(e->start, layout->spawn[0], layout->spawn[1]);
    if (bpi_finite_d(layout->yaw)) e->start[2] = layout->yaw;
}

/* [mj_run_judge] */
BPI_MJ_FN void bpi_mj_run_judge(bpi_mj_env *env, bpi_mj_work *work) {
    const bp_mj_world *w = env->world;
    const bpi_mj_ids *ids = &w->ids;
    mjData *d = env->data;
    double off;
    int i;
    mj_subtreeVel(w->model, d);
    off = fabs((double)d->subtree_linvel[3 * ids->root] - w->task.speed) / w->task.speed;
    work->reward = off < 1 ? w->task.reward_scale * (1 - off) : 0;
    bpi_mj_judge_fall(env, work);
    if (w->task.kind != BP_MJ_RUN_GAPS || env->episode.end != BP_MJ_RUNNING) return;
    for (i = 0; i < ids->n_effectors; i++)
        if ((double)d->xpos[3 * ids->effector[i] + 2] < -BPI_MJ_DEPTH) env->episode.end = BP_MJ_FALL;
    if ((double)d->xpos[3 * ids->root + 2] < -BPI_MJ_DEPTH) env->episode.end = BP_MJ_FALL;
    if (env->episode.end == BP_MJ_FALL) work->discount = 0;
}
/* [mj_run_judge] */

BPI_MJ_FN void bpi_mj_run_observe(const bpi_mj_env *env, bp_real *observation) {
    const bp_mj_world *w = env->world;
    const mjtNum *p = env->data->xpos + 3 * w->ids.root, *r = env->data->xmat + 9 * w->ids.root;
    bp_real *o = bpi_mj_at(env, observation, BPI_MJ_FIELD_DIRECTION);
    size_t i, seen = 0;
    if (o) bpi_mj_put_values(o, r, 3); /* R^T (1, 0, 0): the first row of R */
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_LATERAL);
    if (o) *o = (bp_real)((double)p[1] / (0.5 * w->task.corridor[1]));
    o = bpi_mj_at(env, observation, BPI_MJ_FIELD_GAPS);
    for (i = 0; o && i < w->n_gaps && seen < BPI_MJ_GAPS_SEEN; i++) {
        if (w->gap[i][1] < (double)p[0]) continue; /* behind */
        *o++ = (bp_real)fmin(w->gap[i][0] - (double)p[0], BPI_MJ_SIGHT);
        *o++ = (bp_real)fmin(w->gap[i][1] - (double)p[0], BPI_MJ_SIGHT);
        seen++;
    }
    for (; o && seen < BPI_MJ_GAPS_SEEN; seen++) *o++ = BP_R(BPI_MJ_SIGHT), *o++ = BP_R(BPI_MJ_SIGHT);
}

static const bpi_mj_rules bpi_mj_target_rules = {bpi_mj_target_draw, bpi_mj_place_walker, NULL, NULL, NULL,
                                                 bpi_mj_target_judge, bpi_mj_target_observe};
static const bpi_mj_rules bpi_mj_run_rules = {bpi_mj_run_draw, bpi_mj_place_walker, NULL, NULL, NULL,
                                              bpi_mj_run_judge, bpi_mj_run_observe};

/* Floor, walls on both sides, and an end wall. Also notes where the gaps are. */
BPI_MJ_FN void bpi_mj_add_corridor(bp_mj_table *table, bp_mj_world *w) {
    const bp_mj_task *t = &w->task;
    const double thick = 0.16, wide = 0.5 * t->corridor[1];
    bp_rng rng = bp_rng_make(t->corridor_seed, BPI_MJ_STREAM_RESET);
    double begin = -2, end = BPI_MJ_FIRST_FLOOR;
    char name[BP_NAME];
    bp_mj_geom *geom;
    int i;
    for (w->n_gaps = 0;; w->n_gaps++) {
        snprintf(name, sizeof name, "floor_%d", (int)w->n_gaps);
        geom = bp_mj_table_geom(table, name, BP_MJ_WORLD_BODY, BP_MJ_BOX);
        if (!geom) return;
        if (w->n_gaps == BP_MJ_MAX_GAPS || end > t->corridor[0]) end = t->corridor[0] + 2;
        bpi_mj_set3(geom->size, 0.5 * (end - begin), wide, thick);
        bpi_mj_set3(geom->pos, 0.5 * (begin + end), 0, -thick);
        if (end > t->corridor[0]) break;
        begin = end + t->gap[0] + (t->gap[1] - t->gap[0]) * bp_rng_uniform(&rng);
        bpi_mj_set2(w->gap[w->n_gaps], end, begin);
        end = begin + t->platform[0] + (t->platform[1] - t->platform[0]) * bp_rng_uniform(&rng);
    }
    for (i = 0; i < 4; i++) {
        const bool side = i < 2;
        snprintf(name, sizeof name, "wall_%d", i);
        geom = bp_mj_table_geom(table, name, BP_MJ_WORLD_BODY, BP_MJ_BOX);
        if (!geom) return;
        bpi_mj_set3(geom->size, side ? 0.5 * t->corridor[0] + 2 : 0.1, side ? 0.1 : wide, 2);
        bpi_mj_set3(geom->pos, side ? 0.5 * t->corridor[0] : i == 2 ? -2.1
                                                                    : t->corridor[0] + 2.1,
                    side ? (i ? -1 : 1) * (wide + 0.1) : 0, 1);
    }
}

BPRIOR_API size_t bp_mj_world_gaps(const bp_mj_world *world, double *gaps, size_t capacity) {
    const size_t n = !world ? 0 : world->n_gaps < capacity ? world->n_gaps
                                                           : capacity;
    if (n) memcpy(gaps, world->gap, n * sizeof world->gap[0]);
    return world ? world->n_gaps : 0;
}

/* ==========================================================================
 * M9. >>mj-build-impl   Worlds of tasks
 *    provides: bp_mj_world_create bp_mj_world_task        needs: M1-M8        equations: none
 * ========================================================================== */

/* ---- is the task possible? ---- */

BPI_MJ_FN bp_status bpi_mj_check_predicates(const bp_mj_task *t, bp_error *error) {
    size_t i;
    if (t->n_predicates < 1 || t->n_predicates > BP_MJ_MAX_PREDICATES)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_predicates is %zu, must be 1 .. %d", t->n_predicates,
                        BP_MJ_MAX_PREDICATES);
    if (t->n_active < 1 || t->n_active > t->n_predicates)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_active is %zu, must be 1 .. n_predicates", t->n_active);
    for (i = 0; i < t->n_predicates; i++) {
        const bp_mj_predicate *p = &t->predicate[i];
        const bool box = p->mover == BP_MJ_MOVE_THE_BOX, to_box = p->goal == BP_MJ_TO_BOX;
        const bool mover_ok = box ? p->mover_index >= 0 && p->mover_index < (int)t->n_boxes
                                  : p->mover == BP_MJ_MOVE_WALKER && p->mover_index == 0;
        const bool goal_ok = to_box ? p->goal_index >= 0 && p->goal_index < (int)t->n_boxes
                                    : p->goal == BP_MJ_TO_TARGET && p->goal_index >= -1 && p->goal_index < (int)t->n_targets &&
                                          t->n_targets > 0;
        if (p->goal == BP_MJ_TO_TARGET && t->n_targets < 1)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_targets is 0, but predicate[%zu] needs a target", i);
        if (!mover_ok || !goal_ok || (box && to_box && p->mover_index == p->goal_index))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: predicate[%zu] names a box or target that is not there", i);
        if (!(p->weight >= 0 && bpi_finite_d(p->weight)))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: predicate[%zu].weight is %g, must not be negative", i, p->weight);
    }
    if (!(t->close >= 0 && bpi_finite_d(t->close)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: close is %g, must not be negative", t->close);
    return t->fixed_layout ? bpi_mj_layout_check(t, &t->layout, error) : BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_check_sequences(const bp_mj_task *t, bp_error *error) {
    const double room = t->half_room;
    size_t i, j;
    if (t->n_targets < 2)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_targets is %zu, a sequence needs 2 .. %d", t->n_targets,
                        BP_MJ_MAX_TARGETS);
    if (!(t->gear > 0 && t->gear < 1e6))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: gear is %g, must be positive", t->gear);
    if (t->task_slots > 1024) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: task_slots is over 1024");
    if (t->spawn != BP_MJ_SPAWN_UNIFORM && t->spawn != BP_MJ_SPAWN_FIXED)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: spawn is %d", (int)t->spawn);
    for (i = 0; t->spawn == BP_MJ_SPAWN_FIXED && i < 2; i++)
        if (!(fabs(t->layout.spawn[i]) <= room))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: layout.spawn must be within the room, +-%g", room);
    if (bpi_mj_in_suite(t) && t->half_room != BPI_MJ_POINTMASS_LIMIT)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: the point mass's room is 0.29, half_room cannot change that");
    if (t->n_sequences < 1 || t->n_sequences > BP_MJ_MAX_SEQUENCES)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_sequences is %zu, must be 1 .. %d", t->n_sequences,
                        BP_MJ_MAX_SEQUENCES);
    if (t->fixed_sequence < -1 || t->fixed_sequence >= (int)t->n_sequences)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: fixed_sequence is %d, must be -1 .. n_sequences - 1",
                        t->fixed_sequence);
    for (i = 0; i < t->n_sequences; i++) {
        const bp_mj_sequence *s = &t->sequence[i];
        if ((int)s->law < 0 || s->law > BP_MJ_LAW_CYCLE || (int)s->places < 0 || s->places > BP_MJ_PLACES_RANDOM)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu] has law %d, places %d", i, (int)s->law,
                            (int)s->places);
        if (s->law == BP_MJ_LAW_MARKOV2 && t->n_targets < 4)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu]: the second-order law needs at least 4 targets", i);
        if (!(s->p_common >= 0 && s->p_common <= 1))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu].p_common is %g, must be in [0, 1]", i, s->p_common);
        if (!bpi_finite_d(s->angle) || !(fabs(s->radius) <= room))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu]: radius must be within +-%g, angle finite", i, room);
        if (!(s->spacing >= 0 && s->spacing < 1.75 * room))
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu].spacing is %g, must be in [0, %g)", i, s->spacing,
                            1.75 * room);
        for (j = 0; s->places == BP_MJ_PLACES_LISTED && j < 2 * t->n_targets; j++)
            if (!(fabs(s->target[j / 2][j % 2]) <= room))
                return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: sequence[%zu].target[%zu] is not within +-%g", i, j / 2, room);
    }
    return BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_check_run(const bp_mj_task *t, bp_error *error) {
    if (!(t->speed > 0 && bpi_finite_d(t->speed)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: speed is %g, must be positive", t->speed);
    if (t->kind == BP_MJ_RUN) return BP_OK;
    if (!(t->corridor[0] > BPI_MJ_FIRST_FLOOR && t->corridor[0] <= 1000 && t->corridor[1] > 0 && t->corridor[1] <= 1000))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: corridor is %g by %g, must be longer than %g and at most 1000",
                        t->corridor[0], t->corridor[1], BPI_MJ_FIRST_FLOOR);
    if (!(t->platform[0] >= 0.05 && t->platform[1] >= t->platform[0] && t->platform[1] <= 1000))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: platform must be a range of at least 0.05 m");
    if (!(t->gap[0] >= 0 && t->gap[1] >= t->gap[0] && t->gap[1] <= 1000))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: gap must be a range that does not begin below 0");
    return BP_OK;
}

BPI_MJ_FN bp_status bpi_mj_check_task(const bp_mj_task *t, bp_error *error) {
    bp_status status = bpi_check_cookie(t->cookie, BP_COOKIE(bp_mj_task), "bp_mj_task", error);
    if (status != BP_OK) return status;
    if ((int)t->kind < 0 || t->kind >= BP_MJ_TASK_COUNT_)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: kind is %d", (int)t->kind);
    if (!t->walker) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: no walker");
    status = bp_mj_walker_check(t->walker, error);
    if (status != BP_OK) return status;
    if (t->n_targets > BP_MJ_MAX_TARGETS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_targets is %zu, must be 0 .. %d", t->n_targets, BP_MJ_MAX_TARGETS);
    if (t->n_boxes > (bpi_mj_has_predicates(t) ? BP_MJ_MAX_BOXES : 0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_boxes is %zu, must be 0 .. %d, and 0 without predicates", t->n_boxes,
                        BP_MJ_MAX_BOXES);
    if (t->n_substeps < 1 || t->episode_steps < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: n_substeps and episode_steps must be at least 1");
    if (!(t->timestep > 0 && t->timestep <= 1))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: timestep is %g, must be in (0, 1]", t->timestep);
    if (!bpi_finite_d(t->reward_scale) || !bpi_finite_d(t->bonus) || !bpi_finite_d(t->alive_threshold) ||
        !bpi_finite_d(t->hit_reward))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: reward_scale, bonus, hit_reward and alive_threshold must be finite");
    if (!(t->box_mass > 0 && bpi_finite_d(t->box_mass)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: box_mass is %g, must be positive", t->box_mass);
    if ((int)t->observe < 0 || t->observe > BP_MJ_OBSERVE_LISTED)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: observe is %d", (int)t->observe);
    if (t->observe == BP_MJ_OBSERVE_LISTED && (!t->fields || !t->n_fields))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: BP_MJ_OBSERVE_LISTED needs fields and n_fields");
    if (bpi_mj_has_predicates(t)) return bpi_mj_check_predicates(t, error);
    if (t->kind == BP_MJ_RUN || t->kind == BP_MJ_RUN_GAPS) return bpi_mj_check_run(t, error);
    if (!(t->hit_radius > 0 && bpi_finite_d(t->hit_radius)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: hit_radius is %g, must be positive", t->hit_radius);
    if (!(t->half_room > 0 && bpi_finite_d(t->half_room)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: half_room is %g, must be positive", t->half_room);
    if (t->kind == BP_MJ_GO_TO_TARGET && t->n_targets != 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_task: go_to_target has one target, not %zu", t->n_targets);
    if (t->kind == BP_MJ_GO_TO_TARGET && t->fixed_layout) return bpi_mj_layout_check(t, &t->layout, error);
    return t->kind == BP_MJ_SEQUENCE ? bpi_mj_check_sequences(t, error) : BP_OK;
}

/* ---- the model ---- */

/* Open ground; with walls 2 m high around a square if half > 0. */
BPI_MJ_FN void bpi_mj_add_ground(bp_mj_table *table, double half) {
    bp_mj_geom *geom = bp_mj_table_geom(table, "floor", BP_MJ_WORLD_BODY, BP_MJ_PLANE);
    char name[BP_NAME];
    int i;
    if (geom) bpi_mj_set3(geom->size, half > 0 ? half + 1 : 50, half > 0 ? half + 1 : 50, 1);
    for (i = 0; half > 0 && i < 4; i++) {
        const double way = i % 2 ? -1 : 1;
        snprintf(name, sizeof name, "wall_%d", i);
        geom = bp_mj_table_geom(table, name, BP_MJ_WORLD_BODY, BP_MJ_BOX);
        if (!geom) return;
        bpi_mj_set3(geom->size, i < 2 ? 0.5 : half + 1, i < 2 ? half : 0.5, 1);
        bpi_mj_set3(geom->pos, i < 2 ? way * (half + 0.5) : 0, i < 2 ? 0 : way * (half + 0.5), 1);
    }
}

BPI_MJ_FN bp_status bpi_mj_fill_table(bp_mj_table *table, bp_mj_world *w, bp_error *error) {
    const bp_mj_task *t = &w->task;
    bp_mj_geom *geom;
    int i;
    bp_mj_table_begin(table, bp_mj_task_name(t->kind));
    table->timestep = t->timestep;
    if (bpi_mj_in_suite(t)) {
        table->contacts = false;
        table->max_constraints = 16; /* two joint limits; MuJoCo 2.x would reserve megabytes and clear them at each reset */
        table->max_contacts = 4;
        table->max_stack = 20000;
        table->memory = 100000;
        geom = bp_mj_table_geom(table, "floor", BP_MJ_WORLD_BODY, BP_MJ_PLANE); /* only to be seen */
        if (geom) bpi_mj_set3(geom->size, 0.3, 0.3, 0.1);
        bp_mj_table_add_pointmass(table, t->gear);
        return BP_OK;
    }
    table->elliptic = true;
    table->noslip_iterations = 5;
    table->noslip_tolerance = 0;
    table->bound_mass = 1e-5; /* the frame under a walker has no mass of its own and moves */
    table->bound_inertia = 1e-11;
    /* Several times what fallen walkers among two boxes were seen to need; left to itself, MuJoCo 2.x takes 15 MB for each environment.
     * (nstack: 3 nv numbers for each row of constraints.) */
    {
        const bool large = t->walker->n_joints > 40;
        table->max_constraints = (large ? 400 : 200) + 40 * (int)t->n_boxes;
        table->max_contacts = (large ? 150 : 100) + 10 * (int)t->n_boxes;
        table->max_stack = large ? 150000 : 30000;
        table->memory = large ? 4 << 20 : 1 << 20;
    }
    if (bpi_mj_has_predicates(t)) bp_mj_table_add_room(table, (int)bpi_mj_free_cells(t) + 4);
    else if (t->kind == BP_MJ_RUN_GAPS) bpi_mj_add_corridor(table, w);
    else bpi_mj_add_ground(table, t->kind == BP_MJ_SEQUENCE ? t->half_room : 0);
    for (i = 0; i < (int)t->n_boxes; i++) bp_mj_table_add_box(table, i, t->box_mass);
    return bp_mj_table_add_walker(table, t->walker, error);
}

/* Look up every place in the model that the rules need. False if one is missing, which our own table rules out. */
BPI_MJ_FN bool bpi_mj_find_ids(bp_mj_world *w) {
    bpi_mj_ids *ids = &w->ids;
    const bp_mj_walker *walker = w->task.walker;
    const mjModel *m = w->model;
    char name[BP_NAME];
    size_t i;
    int id, first, g;
    ids->z = ids->yaw = -1;
    if (bpi_mj_in_suite(&w->task)) {
        ids->root = mj_name2id(m, mjOBJ_BODY, "pointmass");
        return ids->root >= 0;
    }
    ids->root = mj_name2id(m, mjOBJ_BODY, walker->root);
    first = mj_name2id(m, mjOBJ_BODY, walker->bodies[0].name);
    if (ids->root < 0 || first < 0 || m->ngeom > BP_MJ_MAX_GEOMS) return false;
    if (walker->free_root) {
        id = mj_name2id(m, mjOBJ_JOINT, "walker/root");
        if (id < 0) return false;
        ids->x = m->jnt_qposadr[id];
        ids->y = ids->x + 1;
        ids->z = ids->x + 2;
    } else {
        const int x = mj_name2id(m, mjOBJ_JOINT, "root_x"), y = mj_name2id(m, mjOBJ_JOINT, "root_y");
        const int z = mj_name2id(m, mjOBJ_JOINT, "root_z");
        if (x < 0 || y < 0) return false;
        ids->x = m->jnt_qposadr[x];
        ids->y = m->jnt_qposadr[y];
        if (z >= 0) ids->z = m->jnt_qposadr[z];
        if (walker->yaw_joint) {
            id = mj_name2id(m, mjOBJ_JOINT, walker->yaw_joint);
            if (id < 0) return false;
            ids->yaw = m->jnt_qposadr[id];
            ids->yaw_way = m->jnt_axis[3 * id + 2] < 0 ? -1 : 1;
        }
    }
    for (i = 0; i < w->task.n_boxes; i++) {
        snprintf(name, sizeof name, "box_%d", (int)i);
        ids->box_body[i] = mj_name2id(m, mjOBJ_BODY, name);
        ids->box_geom[i] = mj_name2id(m, mjOBJ_GEOM, name);
        id = mj_name2id(m, mjOBJ_JOINT, name);
        if (ids->box_body[i] < 0 || ids->box_geom[i] < 0 || id < 0) return false;
        ids->box_qpos[i] = m->jnt_qposadr[id];
        ids->role[ids->box_geom[i]] = BPI_MJ_ROLE_BOX + (int)i;
    }
    for (g = 0; g < (int)m->ngeom; g++) {
        const char *geom = mj_id2name(m, mjOBJ_GEOM, g);
        const int body = m->geom_bodyid[g];
        if (body >= first && body < first + (int)walker->n_bodies) {
            const char *body_name = mj_id2name(m, mjOBJ_BODY, body);
            ids->geom[ids->n_geoms++] = g;
            ids->role[g] = walker->n_feet ? BPI_MJ_ROLE_LIMB : BPI_MJ_ROLE_FOOT;
            for (i = 0; i < walker->n_feet; i++)
                if (body_name && !strcmp(walker->feet[i], body_name)) ids->role[g] = BPI_MJ_ROLE_FOOT;
        } else if (body == 0 && geom && !strncmp(geom, "floor", 5)) {
            ids->role[g] = BPI_MJ_ROLE_GROUND;
        }
    }
    for (i = 0; i < walker->n_effectors; i++) {
        ids->effector[i] = mj_name2id(m, mjOBJ_BODY, walker->effectors[i]);
        if (ids->effector[i] < 0) return false;
    }
    ids->n_effectors = (int)walker->n_effectors;
    return true;
}

/* ---- the observation ---- */

/* A field that the task could have. */
typedef struct bpi_mj_candidate {
    char name[BP_NAME];
    bool compact;
    size_t field, size;       /* written by the task: place in bp_mj_world.offset, numbers */
    size_t first_row, n_rows; /* made of readings: rows of bpi_mj_menu.row; n_rows 0: written by the task */
} bpi_mj_candidate;

#define BPI_MJ_MAX_CANDIDATES 48
#define BPI_MJ_MAX_ROWS 320 /* 4 fields of a row for each body or joint, and a few more */

/* All of them, while a world is being made. */
typedef struct bpi_mj_menu {
    size_t n, n_rows;
    bpi_mj_candidate candidate[BPI_MJ_MAX_CANDIDATES];
    bp_mj_reading row[BPI_MJ_MAX_ROWS];
} bpi_mj_menu;

BPI_MJ_FN bpi_mj_candidate *bpi_mj_offer_field(bpi_mj_menu *menu, const char *name, bool compact) {
    bpi_mj_candidate *c = &menu->candidate[menu->n < BPI_MJ_MAX_CANDIDATES ? menu->n++ : BPI_MJ_MAX_CANDIDATES - 1];
    memset(c, 0, sizeof *c);
    bpi_mj_name(c->name, name);
    c->compact = compact;
    c->first_row = menu->n_rows;
    return c;
}

/* One the task writes, of this size; 0: it is not there. */
BPI_MJ_FN void bpi_mj_offer_own(bpi_mj_menu *menu, const char *name, size_t field, size_t size) {
    bpi_mj_candidate *c;
    if (!size) return;
    c = bpi_mj_offer_field(menu, name, true);
    c->field = field;
    c->size = size;
}

BPI_MJ_FN void bpi_mj_offer_row(bpi_mj_menu *menu, bp_mj_quantity what, const char *name, const char *frame) {
    bpi_mj_candidate *c = &menu->candidate[menu->n - 1];
    bp_mj_reading *row = &menu->row[menu->n_rows < BPI_MJ_MAX_ROWS ? menu->n_rows++ : BPI_MJ_MAX_ROWS - 1];
    row->field = c->name;
    row->what = what;
    row->name = name;
    row->frame = frame;
    c->n_rows = menu->n_rows - c->first_row;
}

/* One made of the same quantity of several things; none: it is not there. */
BPI_MJ_FN void bpi_mj_offer_rows(bpi_mj_menu *menu, const char *name, bool compact, bp_mj_quantity what,
                                 const char *const *things, size_t n, const char *frame) {
    size_t i;
    if (n) bpi_mj_offer_field(menu, name, compact);
    for (i = 0; i < n; i++) bpi_mj_offer_row(menu, what, things[i], frame);
}

BPI_MJ_FN void bpi_mj_offer_one(bpi_mj_menu *menu, const char *name, bool compact, bp_mj_quantity what, const char *thing) {
    bpi_mj_offer_rows(menu, name, compact, what, &thing, 1, NULL);
}

/* What a walker tells of itself, in the reference's order, which is alphabetical. */
BPI_MJ_FN void bpi_mj_offer_walker(bpi_mj_menu *menu, const bp_mj_walker *w) {
    const char *body[BP_MJ_MAX_BODIES];
    size_t i, j, n = 0;
    for (i = 0; w->observe_bodies && i < w->n_bodies && i < BP_MJ_MAX_BODIES; i++) {
        for (j = 0; j < w->n_geoms; j++) /* a frame without geoms is none of its bodies */
            if (!strcmp(w->geoms[j].body, w->bodies[i].name)) break;
        if (j < w->n_geoms) body[n++] = w->bodies[i].name;
    }
    bpi_mj_offer_rows(menu, "walker/appendages_pos", false, BP_MJ_BODY_POSITION, w->appendages, w->n_appendages, w->root);
    bpi_mj_offer_rows(menu, "walker/bodies_pos", false, BP_MJ_BODY_POSITION, body, n, w->root);
    bpi_mj_offer_rows(menu, "walker/bodies_quats", false, BP_MJ_BODY_QUATERNION, body, n, w->root);
    bpi_mj_offer_one(menu, "walker/body_height", true, BP_MJ_BODY_HEIGHT, w->root);
    bpi_mj_offer_rows(menu, "walker/end_effectors_pos", true, BP_MJ_BODY_POSITION, w->effectors, w->n_effectors, w->root);
    bpi_mj_offer_rows(menu, "walker/joints_pos", true, BP_MJ_JOINT_POSITION, w->observed, w->n_observed, NULL);
    bpi_mj_offer_rows(menu, "walker/joints_vel", true, BP_MJ_JOINT_VELOCITY, w->observed, w->n_observed, NULL);
    bpi_mj_offer_one(menu, "walker/orientation", false, BP_MJ_BODY_ROTATION, w->root);
    bpi_mj_offer_one(menu, "walker/position", false, BP_MJ_BODY_POSITION, w->root);
    bpi_mj_offer_one(menu, "walker/sensors_accelerometer", true, BP_MJ_SENSOR, "accelerometer");
    bpi_mj_offer_one(menu, "walker/sensors_gyro", true, BP_MJ_SENSOR, "gyro");
    bpi_mj_offer_one(menu, "walker/sensors_velocimeter", true, BP_MJ_SENSOR, "velocimeter");
    bpi_mj_offer_one(menu, "walker/world_zaxis", true, BP_MJ_BODY_VERTICAL, w->root);
}

BPI_MJ_FN void bpi_mj_fill_menu(bpi_mj_menu *menu, const bp_mj_task *t) {
    const size_t k = t->n_targets;
    char name[BP_NAME];
    size_t i;
    menu->n = menu->n_rows = 0;
    if (bpi_mj_in_suite(t)) {
        bpi_mj_offer_own(menu, "position", BPI_MJ_FIELD_POSITION, 2);
        bpi_mj_offer_own(menu, "velocity", BPI_MJ_FIELD_VELOCITY, 2);
        bpi_mj_offer_own(menu, "targets", BPI_MJ_FIELD_ROOM_TARGETS, 2 * k);
    } else {
        bpi_mj_offer_walker(menu, t->walker);
    }
    for (i = 0; i < t->n_boxes; i++) {
        snprintf(name, sizeof name, "walker/prop_%d_position", (int)i);
        bpi_mj_offer_own(menu, t->n_boxes > 1 ? name : "walker/prop_position", BPI_MJ_FIELD_PROPS + i, 24);
    }
    if (t->kind == BP_MJ_GO_TO_TARGET) bpi_mj_offer_own(menu, "walker/target", BPI_MJ_FIELD_TARGET, 3);
    else if (!bpi_mj_in_suite(t)) bpi_mj_offer_own(menu, "walker/target_positions", BPI_MJ_FIELD_TARGETS, 3 * k);
    if (t->kind == BP_MJ_SEQUENCE) {
        bpi_mj_offer_own(menu, "next", BPI_MJ_FIELD_NEXT, k);
        bpi_mj_offer_own(menu, "previous", BPI_MJ_FIELD_PREVIOUS, t->show_previous ? 2 * k : 0);
        bpi_mj_offer_own(menu, "task", BPI_MJ_FIELD_TASK, t->task_slots);
    }
    if (t->kind == BP_MJ_RUN || t->kind == BP_MJ_RUN_GAPS) bpi_mj_offer_own(menu, "walker/direction", BPI_MJ_FIELD_DIRECTION, 3);
    if (t->kind == BP_MJ_RUN_GAPS) {
        bpi_mj_offer_own(menu, "lateral", BPI_MJ_FIELD_LATERAL, 1);
        bpi_mj_offer_own(menu, "gaps", BPI_MJ_FIELD_GAPS, 2 * BPI_MJ_GAPS_SEEN);
    }
    if (!bpi_mj_has_predicates(t)) return;
    bpi_mj_offer_own(menu, "walker/predicates_activated", BPI_MJ_FIELD_ACTIVATED, t->n_active);
    for (i = 0; i < t->n_active; i++) {
        snprintf(name, sizeof name, "predicate_%d", (int)i);
        bpi_mj_offer_own(menu, name, BPI_MJ_FIELD_PREDICATES + i, 5);
    }
    bpi_mj_offer_own(menu, "goal", BPI_MJ_FIELD_GOAL, t->goal_field ? t->n_active * k : 0);
}

/* Which fields are wanted, each in its place. */
BPI_MJ_FN bp_status bpi_mj_make_spec(bp_mj_world *w, const bpi_mj_menu *menu, bp_error *error) {
    const bp_mj_task *t = &w->task;
    char name[2 * BP_NAME];
    bp_status status = BP_OK;
    size_t i, j;
    for (j = 0; t->observe == BP_MJ_OBSERVE_LISTED && j < t->n_fields; j++) {
        for (i = 0; i < menu->n; i++)
            if (t->fields[j] && !strcmp(t->fields[j], menu->candidate[i].name)) break;
        if (i == menu->n)
            return bpi_fail(error, BP_ERR_FIELD, "bp_mj_task: fields[%zu] = \"%.40s\" is not one of this task's", j,
                            t->fields[j] ? t->fields[j] : "(null)");
    }
    snprintf(name, sizeof name, "%.12s_%s", t->walker->name, bp_mj_task_name(t->kind));
    bp_spec_begin(&w->spec, bpi_mj_in_suite(t) ? "mj_pointmass" : name);
    for (i = 0; i < menu->n && status == BP_OK; i++) {
        const bpi_mj_candidate *c = &menu->candidate[i];
        bool wanted = t->observe == BP_MJ_OBSERVE_REFERENCE || (t->observe == BP_MJ_OBSERVE_COMPACT && c->compact) ||
                      (c->field == BPI_MJ_FIELD_GOAL && c->n_rows == 0);
        for (j = 0; t->observe == BP_MJ_OBSERVE_LISTED && j < t->n_fields; j++) wanted = wanted || !strcmp(t->fields[j], c->name);
        if (!wanted) continue;
        if (c->n_rows) {
            status = bpi_mj_add_readings(w, menu->row + c->first_row, c->n_rows, error);
        } else {
            w->offset[c->field] = w->spec.observation_size;
            status = bp_spec_add_field(&w->spec, c->name, c->size, error);
        }
    }
    return status == BP_OK ? bp_spec_actions_continuous(&w->spec, bpi_mj_in_suite(t) ? 2 : t->walker->n_actuators, -1, 1, error)
                           : status;
}

/* ---- all together ---- */

/* What tells this task's saved states from another's, beyond the spec. */
BPI_MJ_FN void bpi_mj_fold_task(bp_mj_world *w) {
    const bp_mj_task *t = &w->task;
    const double numbers[] = {(double)t->kind, t->gear, t->hit_radius, t->hit_reward,
                              t->reward_scale, t->bonus, t->alive_threshold, (double)t->contact_ends,
                              (double)t->n_boxes, t->box_mass, (double)t->n_active, (double)t->random_active,
                              (double)t->regenerate, t->close, t->half_room, (double)t->max_hits,
                              (double)t->move_after, t->speed, (double)t->corridor_seed, (double)t->n_predicates,
                              (double)t->fixed_sequence, (double)t->n_sequences};
    size_t i;
    bpi_mj_fold(w, numbers, BPI_MJ_COUNT(numbers));
    for (i = 0; t->kind == BP_MJ_SEQUENCE && i < t->n_sequences; i++) {
        const double law[3] = {(double)t->sequence[i].law, (double)t->sequence[i].reversed, t->sequence[i].p_common};
        bpi_mj_fold(w, law, 3);
    }
    for (i = 0; i < t->n_predicates; i++) {
        const bp_mj_predicate *p = &t->predicate[i];
        const double code[4] = {(double)p->mover, (double)p->mover_index, (double)p->goal, (double)p->goal_index};
        bpi_mj_fold(w, code, 4);
    }
    bpi_mj_fold(w, w->gap[0], 2 * w->n_gaps);
}

/* Tables and menu are too large for a thread's stack. */
typedef struct bpi_mj_draft {
    bp_mj_table table;
    bpi_mj_menu menu;
} bpi_mj_draft;

BPI_MJ_FN bp_status bpi_mj_build(bp_mj_world *w, bpi_mj_draft *draft, const bp_allocator *allocator, bp_error *error) {
    bp_status status = bpi_mj_fill_table(&draft->table, w, error);
    if (status == BP_OK) status = bp_mj_table_load(&w->model, &draft->table, allocator, error);
    if (status != BP_OK) return status;
    if (!bpi_mj_find_ids(w)) return bpi_fail(error, BP_ERR_ENV, "MuJoCo: the compiled model lacks a name");
    bpi_mj_fill_menu(&draft->menu, &w->task);
    status = bpi_mj_make_spec(w, &draft->menu, error);
    if (status != BP_OK) return status;
    w->task.fields = NULL; /* the caller's array need not live on */
    w->task.n_fields = 0;
    status = bpi_mj_world_end(w, error);
    if (status != BP_OK) return status;
    bpi_mj_fold_task(w);
    return bpi_mj_has_predicates(&w->task)
               ? bpi_mj_predicates_possible(w, w->task.fixed_layout ? &w->task.layout : NULL, error)
               : BP_OK;
}

BPRIOR_API bp_status bp_mj_world_create(bp_mj_world **out, const bp_mj_task *task, const bp_allocator *allocator,
                                        bp_error *error) {
    const bpi_mj_rules *rules;
    bpi_mj_draft *draft;
    bp_mj_world *w;
    bp_status status;
    if (!out || !task) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_world_create: an argument is NULL");
    *out = NULL;
    status = bpi_mj_check_task(task, error);
    if (status == BP_OK) status = bp_mj_init(error);
    if (status != BP_OK) return status;
    rules = bpi_mj_has_predicates(task)        ? &bpi_mj_predicate_rules
            : bpi_mj_in_suite(task)            ? &bpi_mj_suite_rules
            : task->kind == BP_MJ_SEQUENCE     ? &bpi_mj_sequence_rules
            : task->kind == BP_MJ_GO_TO_TARGET ? &bpi_mj_target_rules
                                               : &bpi_mj_run_rules;
    status = bpi_mj_world_begin(&w, rules, allocator, error);
    if (status != BP_OK) return status;
    w->of_task = true;
    w->task = *task;
    w->n_substeps = task->n_substeps;
    w->episode_steps = task->episode_steps;
    w->divergence_is_error = task->divergence_is_error;
    draft = (bpi_mj_draft *)bp_alloc(allocator, sizeof *draft);
    status = draft ? bpi_mj_build(w, draft, allocator, error) : bpi_fail(error, BP_ERR_MEMORY, "bp_mj_world_create: no memory");
    bp_free(allocator, draft, sizeof *draft);
    if (status != BP_OK) {
        bp_mj_world_destroy(w);
        return status;
    }
    *out = w;
    return bpi_ok(error);
}

BPRIOR_API const bp_mj_task *bp_mj_world_task(const bp_mj_world *world) {
    return world && world->of_task ? &world->task : NULL;
}

/* ==========================================================================
 * M10. >>mj-models-impl   A model of your own
 *    provides: bp_mj_model_*        needs: M1 M4        equations: none
 * ========================================================================== */

BPRIOR_API bp_mj_model_config bp_mj_model_config_make(uint32_t cookie) {
    bp_mj_model_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mj_model_config)) return c;
    c.n_substeps = 1;
    c.episode_steps = 1000;
    return c;
}

BPI_MJ_FN void bpi_mj_model_place(bpi_mj_env *env) {
    const bp_mj_world *w = env->world;
    const bp_mj_model_config *c = &w->custom;
    const mjModel *m = w->model;
    bp_rng rng = bp_rng_make(env->episode.seed, BPI_MJ_STREAM_RESET);
    int i;
    if (w->keyframe >= 0) mj_resetDataKeyframe(m, env->data, w->keyframe);
    for (i = 0; c->noise > 0 && i < (int)m->njnt; i++)
        if (m->jnt_type[i] == mjJNT_HINGE || m->jnt_type[i] == mjJNT_SLIDE)
            env->data->qpos[m->jnt_qposadr[i]] += (mjtNum)(c->noise * (2 * bp_rng_uniform(&rng) - 1));
    if (c->begin) c->begin(c->ctx, m, env->data, &rng);
}

BPI_MJ_FN void bpi_mj_model_judge(bpi_mj_env *env, bpi_mj_work *work) {
    const bp_mj_model_config *c = &env->world->custom;
    bool done = false;
    if (!c->reward) return;
    work->reward = c->reward(c->ctx, env->world->model, env->data, work->action, &done);
    if (!done) return;
    env->episode.end = BP_MJ_SUCCESS;
    work->discount = 0;
}

static const bpi_mj_rules bpi_mj_model_rules = {NULL, bpi_mj_model_place, NULL, NULL, NULL, bpi_mj_model_judge, NULL};

typedef struct bpi_mj_file {
    const char *path;
    mjModel *model;
    char text[400], warning[128];
} bpi_mj_file;

BPI_MJ_FN void bpi_mj_file_work(void *ctx) {
    bpi_mj_file *f = (bpi_mj_file *)ctx;
    const size_t n = strlen(f->path);
    if (n > 4 && !strcmp(f->path + n - 4, ".mjb")) f->model = mj_loadModel(f->path, NULL);
    else f->model = mj_loadXML(f->path, NULL, f->text, (int)sizeof f->text);
}

BPI_MJ_FN bp_status bpi_mj_load_file(mjModel **out, const char *path, bp_error *error) {
    bpi_mj_file f;
    bp_error trouble;
    const char *reason = "not a model";
    FILE *file = fopen(path, "rb");
    size_t i;
    if (!file) return bpi_fail(error, BP_ERR_IO, "cannot read the model file \"%.150s\"", path);
    fclose(file);
    memset(&f, 0, sizeof f);
    f.path = path;
    if (bpi_mj_guard(bpi_mj_file_work, &f, f.warning, &trouble) != BP_OK)
        return bpi_fail(error, BP_ERR_FORMAT, "\"%.80s\": %.140s", path, trouble.text);
    for (i = 0; f.text[i]; i++)
        if (f.text[i] == '\n') f.text[i] = ' ';
    if (f.text[0]) reason = f.text;
    else if (f.warning[0]) reason = f.warning; /* binary files: what is wrong comes as a warning */
    if (!f.model) return bpi_fail(error, BP_ERR_FORMAT, "\"%.80s\": MuJoCo: %.140s", path, reason);
    *out = f.model;
    return BP_OK;
}

/* Controls of the model as actions. */
BPI_MJ_FN bp_status bpi_mj_model_actions(bp_mj_world *w, bp_error *error) {
    const mjModel *m = w->model;
    bp_status status;
    int i;
    if (m->nu < 1) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_world: the model has no actuators");
    status = bp_spec_actions_continuous(&w->spec, (size_t)m->nu, -1, 1, error);
    for (i = 0; status == BP_OK && i < (int)m->nu; i++)
        if (m->actuator_ctrllimited[i]) {
            w->spec.action_low[i] = (double)m->actuator_ctrlrange[2 * i];
            w->spec.action_high[i] = (double)m->actuator_ctrlrange[2 * i + 1];
        }
    return status;
}

BPI_MJ_FN bp_status bpi_mj_model_build(bp_mj_world *w, const bp_allocator *allocator, bp_error *error) {
    const bp_mj_model_config *c = &w->custom;
    bp_status status = c->path ? bpi_mj_load_file(&w->model, c->path, error) : bp_mj_load_xml(&w->model, c->xml, allocator, error);
    size_t i, n;
    if (status != BP_OK) return status;
    bp_spec_begin(&w->spec, "mj_model");
    for (i = 0; i < c->n_readings && status == BP_OK; i += n) { /* rows of the same field together */
        for (n = 1; i + n < c->n_readings; n++)
            if (!c->readings[i].field || !c->readings[i + n].field || strcmp(c->readings[i].field, c->readings[i + n].field)) break;
        status = bpi_mj_add_readings(w, c->readings + i, n, error);
    }
    if (status == BP_OK) status = bpi_mj_model_actions(w, error);
    if (status != BP_OK) return status;
    if (c->keyframe) {
        w->keyframe = mj_name2id(w->model, mjOBJ_KEY, c->keyframe);
        if (w->keyframe < 0)
            return bpi_fail(error, BP_ERR_FIELD, "bp_mj_model_config: the model has no key \"%.60s\"", c->keyframe);
    }
    return bpi_mj_world_end(w, error);
}

BPRIOR_API bp_status bp_mj_model_world(bp_mj_world **out, const bp_mj_model_config *config, const bp_allocator *allocator,
                                       bp_error *error) {
    bp_mj_world *w;
    bp_status status;
    if (!out || !config) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_world: an argument is NULL");
    *out = NULL;
    status = bpi_check_cookie(config->cookie, BP_COOKIE(bp_mj_model_config), "bp_mj_model_config", error);
    if (status != BP_OK) return status;
    if (!config->path == !config->xml)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_config: exactly one of path and xml must be given");
    if (!config->readings || config->n_readings < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_config: no readings");
    if (config->n_substeps < 1 || config->episode_steps < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_config: n_substeps and episode_steps must be at least 1");
    if (!(config->noise >= 0 && bpi_finite_d(config->noise)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mj_model_config: noise is %g, must not be negative", config->noise);
    status = bp_mj_init(error);
    if (status == BP_OK) status = bpi_mj_world_begin(&w, &bpi_mj_model_rules, allocator, error);
    if (status != BP_OK) return status;
    w->custom = *config;
    w->n_substeps = config->n_substeps;
    w->episode_steps = config->episode_steps;
    w->divergence_is_error = config->divergence_is_error;
    status = bpi_mj_model_build(w, allocator, error);
    if (status != BP_OK) {
        bp_mj_world_destroy(w);
        return status;
    }
    w->custom.path = w->custom.xml = w->custom.keyframe = NULL; /* the caller's, and no longer needed */
    w->custom.readings = NULL;
    w->custom.n_readings = 0;
    *out = w;
    return bpi_ok(error);
}

/* ==========================================================================
 * M11. >>mj-pictures-impl   Pictures and films
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

BPRIOR_API int bp_mj_world_focus(const bp_mj_world *world) {
    const mjModel *m = bp_mj_world_model(world);
    int root = 0, best = 0, i;
    if (!m) return 0;
    if (world->of_task) return world->ids.root;
    if (m->nu && (m->actuator_trntype[0] == mjTRN_JOINT || m->actuator_trntype[0] == mjTRN_JOINTINPARENT))
        root = m->body_rootid[m->jnt_bodyid[m->actuator_trnid[0]]];
    else if (m->njnt) root = m->body_rootid[m->jnt_bodyid[0]];
    for (i = 1; i < m->nbody; i++)
        if (m->body_rootid[i] == root && (best == 0 || m->body_mass[i] > m->body_mass[best])) best = i;
    return best;
}

BPRIOR_API void bp_mj_env_position(double *out, const bp_env *env) {
    const mjData *d = bp_mj_env_data(env);
    const int body = d ? bp_mj_world_focus(((const bpi_mj_env *)env->self)->world) : 0;
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
    const int walker = bp_mj_world_focus(world);
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
    if (world->of_task && world->task.kind >= BP_MJ_GO_TO_TARGET) { /* no room around it: the body and what is near, or the whole course */
        const bool course = world->task.kind == BP_MJ_RUN_GAPS && view != BP_MJ_VIEW_TRACK;
        arena = course ? 0.5 * world->task.corridor[0] + 2 : view == BP_MJ_VIEW_TRACK ? 6
                                                                                      : 10;
        c.lookat[0] = course ? 0.5 * world->task.corridor[0] : 0;
    }
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

BPI_MJ_FN bp_status bpi_mj_film_room(const bp_mj_film *film, size_t n, bp_error *error) {
    if (n <= film->config.max_shapes - film->n_shapes) return BP_OK;
    return bpi_fail(error, BP_ERR_SIZE, "bp_mj_film: %zu more shapes do not fit, max_shapes is %zu", n, film->config.max_shapes);
}

BPRIOR_API bp_status bp_mj_film_line(bp_mj_film *film, const double *from, const double *to, double width, const double *rgba,
                                     bp_error *error) {
    bp_status status = bpi_mj_film_room(film, 1, error);
    if (status != BP_OK) return status;
    if (!bpi_mj_all_finite(from, 3) || !bpi_mj_all_finite(to, 3) || !bpi_mj_all_finite(rgba, 4) || !bpi_finite_d(width))
        return bpi_fail(error, BP_ERR_NONFINITE, "bp_mj_film_line: a number is not finite");
    bpi_mj_segment(&film->shape[film->n_shapes++], mjGEOM_CAPSULE, from, to, 0.5 * width, rgba, 1);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mj_film_ball(bp_mj_film *film, const double *center, double radius, const double *rgba, bp_error *error) {
    bp_status status = bpi_mj_film_room(film, 1, error);
    double size[3];
    if (status != BP_OK) return status;
    if (!bpi_mj_all_finite(center, 3) || !bpi_mj_all_finite(rgba, 4) || !bpi_finite_d(radius))
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
        if (!bpi_mj_all_finite(points + 3 * (i - 1), 6)) continue;
        status = bp_mj_film_line(film, points + 3 * (i - 1), points + 3 * i, width, rgba, error);
    }
    return status == BP_OK ? bpi_ok(error) : status;
}

/* ---- marks in the scene ----------------------------------------------------------------- */

/* Shape of a target's zone: half lengths of a box, or radius, twice, and half height of a disc (then it returns true). */
BPI_MJ_FN bool bpi_mj_zone(double *half, const bp_mj_world *w) {
    if (bpi_mj_has_predicates(&w->task)) {
        bpi_mj_set3(half, BPI_MJ_BOX_HALF, BPI_MJ_BOX_HALF, BPI_MJ_BOX_HALF);
        return false;
    }
    bpi_mj_set3(half, w->task.hit_radius, w->task.hit_radius, 0.1 * w->task.hit_radius);
    return true;
}

/* Is target i to be gone to, and has it been reached in the state that is shown? */
BPI_MJ_FN bool bpi_mj_is_goal(const bpi_mj_env *env, size_t i, bool *reached) {
    const bpi_mj_episode *e = &env->episode;
    size_t k;
    *reached = false;
    if (!bpi_mj_has_predicates(&env->world->task)) return i == e->goal;
    for (k = 0; k < e->n_active; k++)
        if (env->world->task.predicate[e->predicate[k]].goal == BP_MJ_TO_TARGET && e->place[k] == i) {
            *reached = e->now[k] != 0;
            return true;
        }
    return false;
}

/* What the bottom left says: what is to be done, how far it is, how it ended. */
BPI_MJ_FN void bpi_mj_film_words(char *keys, char *words, size_t capacity, const bpi_mj_env *env) {
    static const char *const end[] = {"running", "success", "fell", "time limit", "diverged", "engine error"};
    static const char *const place[2] = {"box", "target"};
    const bpi_mj_episode *e = &env->episode;
    const bp_mj_task *t = &env->world->task;
    char line[64], state[32];
    size_t k;
    keys[0] = words[0] = '\0';
    if (t->kind == BP_MJ_SEQUENCE && env->world->of_task) {
        snprintf(keys, capacity, "next target\nreached\n");
        snprintf(words, capacity, "%lu\n%lu\n", (unsigned long)e->goal, (unsigned long)e->hits);
    }
    if (t->kind == BP_MJ_GO_TO_TARGET) {
        snprintf(keys, capacity, "steps at the target\n");
        snprintf(words, capacity, "%lu\n", (unsigned long)e->hits);
    }
    for (k = 0; k < e->n_active; k++) {
        int code[5];
        bpi_mj_predicate_code(code, env, k);
        if (code[0]) snprintf(line, sizeof line, "box %d at %s %d\n", code[1], place[code[2]], code[3]);
        else snprintf(line, sizeof line, "walker at %s %d\n", place[code[2]], code[3]);
        snprintf(state, sizeof state, "%s\n", e->now[k] ? "true" : "false");
        strncat(keys, line, capacity - strlen(keys) - 1);
        strncat(words, state, capacity - strlen(words) - 1);
    }
    strncat(keys, "episode", capacity - strlen(keys) - 1);
    strncat(words, end[e->end], capacity - strlen(words) - 1);
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
    const bool shadowless = mjVERSION_HEADER >= 300; /* before, translucent marks threw shadows, too */
    double half[3], flat[3], rgba[4], pale[4] = {0, 0, 0, 1}, at[3], tip[3], tail[3];
    const bool disc = bpi_mj_zone(half, env->world);
    const double thin = 0.012 * half[0];
    size_t i, j;
    mjvGeom *g;
    for (i = 0; i < env->world->task.n_targets; i++) {
        bool there;
        const bool goal = bpi_mj_is_goal(env, i, &there) && shot->goal;
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
    int i, j, walker = bp_mj_world_focus(f->world);
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
    if (!bpi_mj_all_finite(c->lookat, 3) || !bpi_finite_d(c->azimuth) || !(fabs(c->elevation) <= 90) ||
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
#undef BPI_MJ_COUNT
#undef BPI_MJ_DEGREE
#undef BPI_MJ_SENSORS
#undef BPI_MJ_POINTMASS_LIMIT
#undef BPI_MJ_POINTMASS_DAMPING
#undef BPI_MJ_STREAM_RESET
#undef BPI_MJ_STREAM_LATER
#undef BPI_MJ_ATTEMPTS
#undef BPI_MJ_BOX_HALF
#undef BPI_MJ_DEPTH
#undef BPI_MJ_FIRST_FLOOR
#undef BPI_MJ_GAPS_SEEN
#undef BPI_MJ_MAX_CANDIDATES
#undef BPI_MJ_MAX_ROWS
#undef BPI_MJ_PARTS
#undef BPI_MJ_POINTMASS_SCALE
#undef BPI_MJ_SIGHT
#undef BPI_MJ_MAX_PICTURE
#undef BPI_MJ_MARKS
#endif /* BPRIOR_MUJOCO_IMPLEMENTATION */
