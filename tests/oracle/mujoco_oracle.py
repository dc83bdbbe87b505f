#!/usr/bin/env python3
"""Independent oracle of the simulated bodies and tasks (bprior_mujoco.h): dm_control itself, and box_arrangement.

The numbers come from the reference environments as they are: models are compiled by dm_control (its suite, or a
walker attached to a composer arena), trajectories are stepped by its environments, observations are its own. Nothing
of bprior is used. See tests/oracle/README.md for what the files hold.

    python3 tests/oracle/mujoco_oracle.py models rolls             # needs dm_control and mujoco
    python3 tests/oracle/mujoco_oracle.py tasks resets --box-arrangement DIR [--resets 2000]

DIR is a directory that holds DeepMind's `box_arrangement` package (from the deepmind-research repository).

Every array is F64 and has two dimensions. Names of things are in the metadata, one key for each: "body.3" is the name of row 3
of all arrays body/..., "obs.2" is "NAME SIZE", the third piece of a row of `obs`. The composer's prefix "walker/" is
taken off names of bodies, joints and so on; what is then empty (the attachment frame and its free joint) is "walker".
Names of observations keep theirs. Quaternions are (w, x, y, z). Types are MuJoCo's numbers (mjtGeom, mjtJoint, ...).

Controls are a formula, so that anybody can repeat them: in control step k = 0, 1, ... actuator i gets

    u_i(k) = 0.6 sin(0.37 k + 1.3 i)
"""
import argparse
import json
import math
import os
import struct
import sys
from unittest import mock

os.environ.setdefault("MUJOCO_GL", "disabled")

import mujoco
import numpy as np
from dm_control import composer
from dm_control import mjcf
from dm_control import suite
from dm_control.locomotion.arenas import floors
from dm_control.locomotion.walkers import ant
from dm_control.locomotion.walkers import cmu_humanoid
from dm_control.locomotion.walkers import jumping_ball

HERE = os.path.dirname(os.path.abspath(__file__))
OBJ = mujoco.mjtObj
WALKERS = {
    "rolling_ball": jumping_ball.RollingBallWithHead,
    "jumping_ball": jumping_ball.JumpingBallWithHead,
    "ant": ant.Ant,
    "cmu": cmu_humanoid.CMUHumanoid,
    "cmu_position": cmu_humanoid.CMUHumanoidPositionControlled,  # model V2019, as its class has it by default
}
SUITE = {"pointmass": ("point_mass", "easy"), "humanoid": ("humanoid", "stand")}
SPAWN, YAW = (0.25, -0.5), 0.7  # of the composer walkers in the trajectories
SUBSTEP, SUBSTEPS = 0.005, 10   # of the composer environments


def control(k, n):
    return 0.6 * np.sin(0.37 * k + 1.3 * np.arange(n))


# ---- files -------------------------------------------------------------------------------------------

def versions():
    from importlib.metadata import version
    return f"dm_control {version('dm_control')}, mujoco {mujoco.__version__}, numpy {np.__version__}"


def save(name, arrays, texts, about):
    """A safetensors file: length of the header, header, data. So that no other package is needed."""
    header, data, at = {"__metadata__": dict(about=about, versions=versions(), **texts)}, [], 0
    for key, value in sorted(arrays.items()):
        value = np.asarray(value, dtype=np.float64)
        assert value.ndim == 2, (key, value.shape)
        assert np.all(np.isfinite(value)), key
        data.append(np.ascontiguousarray(value).astype("<f8").tobytes())
        header[key] = {"dtype": "F64", "shape": list(value.shape), "data_offsets": [at, at + len(data[-1])]}
        at += len(data[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = os.path.join(HERE, f"mujoco_{name}.safetensors")
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    print(f"{os.path.basename(path)}: {os.path.getsize(path)} bytes")


def column(values):
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def enumerate_texts(texts, kind, names):
    for i, name in enumerate(names):
        texts[f"{kind}.{i}"] = name


# ---- environments ------------------------------------------------------------------------------------

class Stand(composer.Task):
    """A walker on a floor with the observations that box_arrangement turns on, and no reward."""

    def __init__(self, walker, arena):
        self._walker, self._arena = walker, arena
        walker.create_root_joints(arena.attach(walker))
        for o in (walker.observables.proprioception + walker.observables.kinematic_sensors +
                  [walker.observables.position, walker.observables.orientation]):
            o.enabled = True
        self._observables = walker.observables.as_dict()
        self.set_timesteps(physics_timestep=SUBSTEP, control_timestep=SUBSTEP * SUBSTEPS)

    @property
    def root_entity(self):
        return self._arena

    @property
    def observables(self):
        return self._observables

    def initialize_episode(self, physics, random_state):
        self._walker.reinitialize_pose(physics, random_state)
        self._walker.shift_pose(physics, [SPAWN[0], SPAWN[1], 0.0],
                                np.array([math.cos(YAW / 2), 0, 0, math.sin(YAW / 2)]), rotate_velocity=True)

    def get_reward(self, physics):
        return 0.0


def floor_environment(body):
    walker = WALKERS[body]()
    return walker, composer.Environment(Stand(walker, floors.Floor()), random_state=1)


# ---- A. compiled models ------------------------------------------------------------------------------

def short(name):
    for prefix in ("walker/", "box/"):
        if name.startswith(prefix) and name != prefix:
            name = name[len(prefix):]
    return name.rstrip("/")


def name_of(m, kind, i):
    return short(mujoco.mj_id2name(m, kind, int(i)) or "")


def model_facts(m, prefixes):
    """Arrays and texts of the bodies whose names begin so (all but the world if prefixes is empty)."""
    names = [mujoco.mj_id2name(m, OBJ.mjOBJ_BODY, i) or "" for i in range(m.nbody)]
    bodies = [i for i in range(1, m.nbody) if not prefixes or names[i].startswith(prefixes)]
    row = {body: i for i, body in enumerate(bodies)}
    joints = [j for j in range(m.njnt) if m.jnt_bodyid[j] in row]
    dofs = [d for d in range(m.nv) if m.dof_jntid[d] in joints]
    # Geoms of the world that cannot touch anything are pictures.
    geoms = [g for g in range(m.ngeom) if m.geom_bodyid[g] in row or (
        m.body_weldid[m.geom_bodyid[g]] == 0 and (m.geom_contype[g] or m.geom_conaffinity[g]))]
    a, texts = {}, {}

    enumerate_texts(texts, "body", [short(names[i]) for i in bodies])
    a["body/parent"] = column([row.get(int(m.body_parentid[i]), -1) for i in bodies])
    for field in ("mass", "subtreemass"):
        a[f"body/{field}"] = column(getattr(m, f"body_{field}")[bodies])
    for field in ("inertia", "ipos", "iquat", "pos", "quat", "invweight0"):
        a[f"body/{field}"] = getattr(m, f"body_{field}")[bodies]
    a["total_mass"] = column([m.body_mass[bodies].sum()])

    enumerate_texts(texts, "joint", [name_of(m, OBJ.mjOBJ_JOINT, j) for j in joints])
    a["joint/body"] = column([row[int(m.jnt_bodyid[j])] for j in joints])
    for field in ("type", "limited", "stiffness", "margin"):
        a[f"joint/{field}"] = column(getattr(m, f"jnt_{field}")[joints])
    for field in ("axis", "pos", "range"):
        a[f"joint/{field}"] = getattr(m, f"jnt_{field}")[joints]
    a["joint/solref_limit"] = m.jnt_solref[joints]
    a["joint/solimp_limit"] = m.jnt_solimp[joints]
    for field in ("damping", "armature", "frictionloss"):  # the same for all six of a free joint
        a[f"joint/{field}"] = column([getattr(m, f"dof_{field}")[m.jnt_dofadr[j]] for j in joints])
    a["joint/qpos0"] = column([m.qpos0[m.jnt_qposadr[j]] for j in joints])
    a["joint/qpos_spring"] = column([m.qpos_spring[m.jnt_qposadr[j]] for j in joints])
    a["dof/invweight0"] = column(m.dof_invweight0[dofs])
    a["dof/M0"] = column(m.dof_M0[dofs])

    enumerate_texts(texts, "geom", [name_of(m, OBJ.mjOBJ_GEOM, g) for g in geoms])
    a["geom/body"] = column([row.get(int(m.geom_bodyid[g]), -1) for g in geoms])
    for field in ("type", "contype", "conaffinity", "condim", "priority", "margin", "gap", "solmix"):
        a[f"geom/{field}"] = column(getattr(m, f"geom_{field}")[geoms])
    for field in ("size", "pos", "quat", "friction", "solref", "solimp"):
        a[f"geom/{field}"] = getattr(m, f"geom_{field}")[geoms]

    joint_of = int(mujoco.mjtTrn.mjTRN_JOINT)
    enumerate_texts(texts, "actuator", [name_of(m, OBJ.mjOBJ_ACTUATOR, i) for i in range(m.nu)])
    enumerate_texts(texts, "actuator_target", [
        name_of(m, OBJ.mjOBJ_JOINT if m.actuator_trntype[i] == joint_of else OBJ.mjOBJ_TENDON, m.actuator_trnid[i, 0])
        for i in range(m.nu)])
    for field in ("trntype", "gaintype", "biastype", "dyntype", "ctrllimited", "forcelimited"):
        a[f"actuator/{field}"] = column(getattr(m, f"actuator_{field}"))
    for field in ("gear", "gainprm", "biasprm", "dynprm", "ctrlrange", "forcerange"):
        value = getattr(m, f"actuator_{field}")
        if field.endswith("prm"):
            assert not value[:, 3:].any()
            value = value[:, :3]
        a[f"actuator/{field}"] = value
    if m.ntendon:  # the point mass: row i is tendon i's coefficients on the joints
        enumerate_texts(texts, "tendon", [name_of(m, OBJ.mjOBJ_TENDON, t) for t in range(m.ntendon)])
        coefficients = np.zeros((m.ntendon, len(joints)))
        for t in range(m.ntendon):
            for w in range(m.tendon_adr[t], m.tendon_adr[t] + m.tendon_num[t]):
                coefficients[t, joints.index(m.wrap_objid[w])] = m.wrap_prm[w]
        a["tendon/coefficient"] = coefficients

    enumerate_texts(texts, "exclude", [
        f"{name_of(m, OBJ.mjOBJ_BODY, s >> 16)} {name_of(m, OBJ.mjOBJ_BODY, s & 65535)}" for s in m.exclude_signature])
    wanted = {int(mujoco.mjtSensor.mjSENS_VELOCIMETER): "velocimeter", int(mujoco.mjtSensor.mjSENS_GYRO): "gyro",
              int(mujoco.mjtSensor.mjSENS_ACCELEROMETER): "accelerometer"}
    sensors = [s for s in range(m.nsensor) if int(m.sensor_type[s]) in wanted]
    enumerate_texts(texts, "sensor", [wanted[int(m.sensor_type[s])] for s in sensors])
    a["sensor/body"] = column([row[int(m.site_bodyid[m.sensor_objid[s]])] for s in sensors])
    a["sensor/pos"] = np.array([m.site_pos[m.sensor_objid[s]] for s in sensors]).reshape(-1, 3)
    a["sensor/quat"] = np.array([m.site_quat[m.sensor_objid[s]] for s in sensors]).reshape(-1, 4)

    for field in ("timestep", "impratio", "tolerance", "ls_tolerance", "noslip_tolerance", "ccd_tolerance", "integrator",
                  "cone", "jacobian", "solver", "iterations", "ls_iterations", "noslip_iterations", "ccd_iterations",
                  "disableflags", "enableflags", "density", "viscosity"):
        a[f"option/{field}"] = column([getattr(m.opt, field)])
    a["option/gravity"] = m.opt.gravity.reshape(1, 3)
    a["stat/meaninertia"] = column([m.stat.meaninertia])
    a["size"] = np.array([[m.nq, m.nv, m.nu, m.na]])
    return a, texts


def write_models():
    for body, (domain, task) in SUITE.items():
        arrays, texts = model_facts(suite.load(domain, task).physics.model.ptr, ())
        save(f"model_{body}", arrays, texts, f"compiled model of dm_control.suite {domain}")
    for body in WALKERS:
        _, env = floor_environment(body)
        env.reset()
        arrays, texts = model_facts(env.physics.model.ptr, ("walker/",))
        save(f"model_{body}", arrays, texts, f"compiled model of dm_control's {WALKERS[body].__name__} on composer's Floor")


# ---- B. trajectories ---------------------------------------------------------------------------------

def flatten(observation):
    """One row, and what it consists of. The reference's arrays have a leading axis of 1."""
    row = np.concatenate([np.asarray(v, dtype=np.float64).reshape(-1) for v in observation.values()])
    return row, [f"{k} {np.asarray(v).size}" for k, v in observation.items()]


class Tape:
    """Rows of a trajectory: row 0 is the start, later ones are after `step` control steps."""

    def __init__(self, m, every):
        self.m, self.every, self.d = m, every, mujoco.MjData(m)
        self.state, self.seen, self.forward, self.pieces = [], [], [], None

    def add(self, step, d, observation):
        m = self.m
        self.state.append(np.concatenate([[step], d.qpos, d.qvel]))
        if step % self.every == 0:
            row, self.pieces = flatten(observation)
            self.seen.append(np.concatenate([[step], row]))
        if step % 5 == 0:
            # What the dynamics are in this very state, free of how it came about: nothing of the past is left.
            mujoco.mj_resetData(m, self.d)
            self.d.qpos[:], self.d.qvel[:] = d.qpos, d.qvel
            self.d.ctrl[:] = control(step, m.nu)
            mujoco.mj_forward(m, self.d)
            self.forward.append(np.concatenate([[step, self.d.ncon], self.d.qacc, self.d.actuator_force]))

    def write(self, name, about, texts, walker_joints):
        state, seen, forward = np.array(self.state), np.array(self.seen), np.array(self.forward)
        nq, nv = self.m.nq, self.m.nv
        enumerate_texts(texts, "joint", walker_joints)
        enumerate_texts(texts, "obs", self.pieces)
        assert self.m.na == 0
        save(f"roll_{name}", {
            "step": state[:, :1], "qpos": state[:, 1:1 + nq], "qvel": state[:, 1 + nq:],
            "obs/step": seen[:, :1], "obs": seen[:, 1:],
            "forward/step": forward[:, :1], "forward/contacts": forward[:, 1:2], "forward/qacc": forward[:, 2:2 + nv],
            "forward/force": forward[:, 2 + nv:],
        }, texts, about)


def joint_names(m):
    return [name_of(m, OBJ.mjOBJ_JOINT, j) for j in range(m.njnt)]


def roll_walker(body, steps=60):
    walker, env = floor_environment(body)
    first = env.reset()
    m, d = env.physics.model.ptr, env.physics.data.ptr
    tape = Tape(m, 5 if body.startswith("cmu") else 1)
    tape.add(0, d, first.observation)
    for k in range(steps):
        tape.add(k + 1, d, env.step(control(k, m.nu)).observation)
    tape.write(body, f"{WALKERS[body].__name__} on composer's Floor, {steps} control steps of {SUBSTEPS} x {SUBSTEP} s, "
               f"spawned at {SPAWN} with yaw {YAW}", {"substeps": str(SUBSTEPS)}, joint_names(m))


class SuiteWalker:
    """The observations of composer's walkers, by their definitions, for a body that the suite has."""

    def __init__(self, physics):
        m = physics.model.ptr
        self.p, self.m = physics, m
        self.joints = m.actuator_trnid[:, 0]
        self.feet = [mujoco.mj_name2id(m, OBJ.mjOBJ_BODY, f"{side}_{limb}") for side in ("left", "right") for limb in ("hand", "foot")]
        self.torso = mujoco.mj_name2id(m, OBJ.mjOBJ_BODY, "torso")

    def sensor(self, name):
        i = mujoco.mj_name2id(self.m, OBJ.mjOBJ_SENSOR, name)
        at = self.m.sensor_adr[i]
        return self.p.data.ptr.sensordata[at:at + self.m.sensor_dim[i]].copy()

    def observe(self):
        d, m = self.p.data.ptr, self.m
        r, p = d.xmat[self.torso].reshape(3, 3).copy(), d.xpos[self.torso].copy()
        ends = ((d.xpos[self.feet] - p) @ r).reshape(-1)
        return {
            "walker/body_height": p[2:], "walker/end_effectors_pos": ends,
            "walker/joints_pos": d.qpos[m.jnt_qposadr[self.joints]].copy(),
            "walker/joints_vel": d.qvel[m.jnt_dofadr[self.joints]].copy(),
            "walker/orientation": r.reshape(-1), "walker/position": p,
            "walker/sensors_accelerometer": self.sensor("torso_accel"), "walker/sensors_gyro": self.sensor("torso_gyro"),
            "walker/sensors_velocimeter": self.sensor("torso_vel"), "walker/world_zaxis": r[2].copy(),
        }


def roll_suite(name, steps, start, options, substeps, about):
    env = suite.load(*SUITE[name.split("_")[0]], task_kwargs=dict(random=1))
    env.reset()
    physics = env.physics
    m, d = physics.model.ptr, physics.data.ptr
    for field, value in options.items():
        setattr(m.opt, field, value)
    with physics.reset_context():
        start(d)
    walker = SuiteWalker(physics) if name.startswith("humanoid") else None

    def observe():
        seen = {f"suite/{k}": v for k, v in env.task.get_observation(physics).items()}
        if walker:
            seen.update(walker.observe())
        return seen

    tape = Tape(m, 5)
    tape.add(0, d, observe())
    for k in range(steps):
        env.task.before_step(control(k, m.nu), physics)
        physics.step(substeps)
        tape.add(k + 1, d, observe())
    tape.write(name, f"{about}, {steps} control steps of {substeps} x {m.opt.timestep} s", {"substeps": str(substeps)},
               joint_names(m))


def write_rolls():
    for body in WALKERS:
        roll_walker(body)

    def slide_into_the_wall(d):
        d.qpos[:], d.qvel[:] = (0.27, -0.1), (0.3, -0.05)

    def dropped(d):
        d.qpos[:] = 0
        d.qpos[2:4] = 1.5, 1

    def standing(d):
        d.qpos[:] = 0
        d.qpos[2:4] = 1.29, 1

    roll_suite("pointmass", 200, slide_into_the_wall, {}, 1, "suite point_mass, started at the edge of its range, moving out")
    roll_suite("humanoid", 60, dropped, {}, 5, "suite humanoid with its own options, dropped from z = 1.5")
    roll_suite("humanoid_arena", 60, standing,
               dict(cone=int(mujoco.mjtCone.mjCONE_ELLIPTIC), noslip_iterations=5, noslip_tolerance=0.0), SUBSTEPS,
               "suite humanoid with the options of a composer arena (no environment of the reference), from z = 1.29")


# ---- C. tasks ----------------------------------------------------------------------------------------

TASKS = ("go_to_k_targets", "move_box", "move_box_or_gtt", "move_box_and_gtt")
CELL = 2.0      # metres
LIFT = 0.001    # of the balls when they are put somewhere: at 0 they touch the floor or not by rounding alone


def task_environment(task, seed, body="ant"):
    """One of box_arrangement's environments, with another walker in the ant's place if wished."""
    from box_arrangement import task_examples
    np.random.seed(seed)  # the maze draws from NumPy's own generator
    with mock.patch.object(task_examples.walkers, "Ant", WALKERS[body]):
        env = getattr(task_examples, task)()
    env.random_state.seed(seed)
    return env


class Watch:
    """Notes where a reset puts things: the arguments of the calls that place them."""

    def __init__(self, task):
        self.task = task
        self.shift = task._walker.shift_pose
        task._walker.shift_pose = self.on_shift
        self.box, self.place = None, None
        if task._props:
            self.place = task._props[0].set_pose
            task._props[0].set_pose = self.on_place

    def on_shift(self, physics, position, quaternion, **rest):
        self.spawn, self.yaw = np.array(position[:2]), 2 * math.atan2(quaternion[3], quaternion[0])
        self.shift(physics, position, quaternion, **rest)

    def on_place(self, physics, position, quaternion):
        self.box = np.array([position[0], position[1], 2 * math.atan2(quaternion[3], quaternion[0])])
        self.place(physics, position=position, quaternion=quaternion)

    def predicates(self):
        return np.array([p.observation_value for p in self.task._active_predicates])

    def targets(self):
        return np.array(self.task._target_positions)


class Episode:
    """The things that can be done to an episode from outside. at: metres."""

    def __init__(self, env, watch):
        self.env, self.task, self.watch = env, env.task, watch
        self.home = self.watch.spawn.copy(), self.watch.yaw
        self.lift = LIFT if isinstance(self.task._walker, jumping_ball.JumpingBallWithHead) else 0.0

    def goal(self, kind):
        """Where the active predicate about the walker (0) or the box (1) wants it."""
        return [self.watch.targets()[p[3], :2] for p in self.watch.predicates() if p[0] == kind][0]

    def decoy(self):
        used = self.watch.predicates()[:, 3]
        return [t[:2] for i, t in enumerate(self.watch.targets()) if i not in used][0]

    def walker(self, at, yaw=0.0, z=0.0, over=False):
        physics, walker = self.env.physics, self.task._walker
        walker.reinitialize_pose(physics, None)
        q = np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
        if over:
            q = np.array([0, math.cos(yaw / 2), math.sin(yaw / 2), 0])  # half a turn about x first
        self.watch.shift(physics, [at[0], at[1], z + self.lift], q, rotate_velocity=True)

    def walker_home(self):
        self.walker(*self.home)

    def box(self, at, yaw=0.3, z=0.5):
        box = self.task._props[0]
        self.watch.place(self.env.physics, position=[at[0], at[1], z],
                         quaternion=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
        box.set_velocity(self.env.physics, np.zeros(3), np.zeros(3))

    def sync(self):
        pass


def toward_leg(e, gap):
    """The ant beside its goal with its front left leg toward it: the centre of that ankle's capsule, 0.743 m from the
    torso's axis, is `gap` m outside the zone."""
    x, y = e.goal(0)
    e.walker((x + 0.5 + 0.743 + gap, y), yaw=math.pi - math.pi / 4)


# name: task, seed, steps at most, amplitude of the controls, {step: what happens before it}, every how many steps a row
# is kept, walker
CASES = {
    "go_enter": ("go_to_k_targets", 11, 20, 0.6, {10: lambda e: e.walker(e.goal(0), 0.4)}, 1, "ant"),
    "go_leave": ("go_to_k_targets", 12, 20, 0.6, {8: lambda e: e.walker(e.goal(0), -2.0),
                                                  9: lambda e: e.walker_home()}, 1, "ant"),
    "go_edge": ("go_to_k_targets", 13, 20, 0.0, {3: lambda e: e.walker(e.decoy(), 1.0), 6: lambda e: toward_leg(e, 0.06),
                                                 9: lambda e: toward_leg(e, -0.06)}, 1, "ant"),
    "go_fall": ("go_to_k_targets", 14, 20, 0.6, {6: lambda e: e.walker(e.decoy(), 0.5, 1.1, True)}, 1, "ant"),
    "go_fall_on_goal": ("go_to_k_targets", 15, 20, 0.6, {4: lambda e: e.walker(e.goal(0), 0.5, 1.1, True)}, 1, "ant"),
    "go_limit": ("go_to_k_targets", 16, 500, 0.6, {k: lambda e: e.sync() for k in range(10, 400, 10)}, 20, "ant"),
    "box_enter": ("move_box", 21, 20, 0.6, {3: lambda e: e.walker(e.goal(1), 0.4), 5: lambda e: e.walker_home(),
                                            6: lambda e: e.box(e.goal(1), 0.7)}, 1, "ant"),
    "box_drop": ("move_box", 22, 20, 0.6, {2: lambda e: e.box(e.goal(1), -0.7, 1.3)}, 1, "ant"),
    "box_leave": ("move_box", 23, 20, 0.6, {5: lambda e: e.box(e.goal(1)), 6: lambda e: e.box(e.decoy())}, 1, "ant"),
    "box_contact": ("move_box", 24, 30, 1.0, {2: lambda e: (e.box(e.decoy(), 0.2), e.walker(e.decoy() - [1.0, 0.1], 0.7)),
                                              10: lambda e: e.sync(), 20: lambda e: e.sync()}, 2, "ant"),
    "box_limit": ("move_box", 25, 500, 0.3, {**{k: lambda e: e.sync() for k in range(10, 399, 10)},
                                             399: lambda e: e.box(e.goal(1))}, 40, "ant"),
    "or_walker": ("move_box_or_gtt", 31, 20, 0.6, {3: lambda e: e.box(e.goal(0), 0.1),
                                                   5: lambda e: (e.box(e.decoy(), 0.1), e.walker(e.goal(0)))}, 1, "ant"),
    "or_box": ("move_box_or_gtt", 32, 20, 0.6, {3: lambda e: e.box(e.goal(1))}, 1, "ant"),
    "and_sequence": ("move_box_and_gtt", 41, 30, 0.6, {4: lambda e: e.walker(e.goal(0)), 7: lambda e: e.walker_home(),
                                                       9: lambda e: e.box(e.goal(1)),
                                                       12: lambda e: e.walker(e.goal(0), 2.0)}, 1, "ant"),
    "and_lost": ("move_box_and_gtt", 42, 20, 0.6, {5: lambda e: (e.box(e.goal(1)), e.walker(e.goal(0))),
                                                   6: lambda e: e.box(e.decoy())}, 1, "ant"),
    "and_fall": ("move_box_and_gtt", 43, 20, 0.6, {3: lambda e: e.box(e.goal(1)),
                                                   5: lambda e: e.walker(e.goal(0), 0.0, 1.1, True)}, 1, "ant"),
    "rolling_ball_go": ("go_to_k_targets", 51, 20, 0.6, {6: lambda e: e.walker(e.goal(0), 1.0)}, 1, "rolling_ball"),
    "jumping_ball_and": ("move_box_and_gtt", 52, 30, 0.6, {4: lambda e: e.walker(e.goal(0)), 7: lambda e: e.walker_home(),
                                                           9: lambda e: e.box(e.goal(1)),
                                                           12: lambda e: e.walker(e.goal(0), 2.0)}, 1, "jumping_ball"),
    "cmu_go": ("go_to_k_targets", 53, 30, 0.6, {20: lambda e: e.walker(e.goal(0), 1.0)}, 5, "cmu"),
}
# The kinds of predicates that a case needs, in this order: its seed is the first from the given one on that has them.
WANTED = {"or_walker": [0], "or_box": [1], "and_sequence": [0, 1], "and_lost": [1, 0]}


def write_case(name):
    task_name, seed, steps, amplitude, events, every, body = CASES[name]
    while True:
        env = task_environment(task_name, seed, body)
        watch = Watch(env.task)
        first = env.reset()
        if name not in WANTED or [p[0] for p in watch.predicates()] == WANTED[name]:
            break
        seed += 1
    m, d = env.physics.model.ptr, env.physics.data.ptr
    task, episode = env.task, Episode(env, watch)
    config = column([len(task._props), len(task._targets), task._max_num_predicates, task._arena._maze._room_size,
                     task.physics_steps_per_control_step, round(env._time_limit / task.control_timestep)]).T
    arrays = {
        "config": config, "layout/spawn": watch.spawn.reshape(1, 2), "layout/yaw": column([watch.yaw]),
        "layout/targets": watch.targets(), "layout/predicates": watch.predicates(),
        "layout/box": (watch.box if watch.box is not None else np.zeros(0)).reshape(-1, 3),
    }
    row, pieces = flatten(first.observation)
    kept = [np.concatenate([[0], d.qpos, d.qvel, row])]
    happened, log = [], []
    for k in range(steps):
        if k in events:
            events[k](episode)
            happened.append(np.concatenate([[k], d.qpos, d.qvel]))
            env.physics.forward()
        action = amplitude / 0.6 * control(k, m.nu)
        t = env.step(action)
        now = [p.is_active(env.physics) for p in task._active_predicates]
        aliveness = float(task._walker.aliveness(env.physics))
        log.append([t.reward, t.discount, int(t.step_type), aliveness, *task._was_active, *now, *action])
        if (k + 1) % every == 0 or k in events and every < 10 or t.last() or k + 1 == steps:
            kept.append(np.concatenate([[k + 1], d.qpos, d.qvel, flatten(t.observation)[0]]))
        if t.last():
            break
    log, kept, happened = np.array(log, dtype=np.float64), np.array(kept), np.array(happened)
    n, nq, nv = len(task._active_predicates), m.nq, m.nv
    for i, key in enumerate(("reward", "discount", "step_type", "aliveness")):
        arrays[key] = log[:, i:i + 1]
    arrays["was_active"], arrays["active"], arrays["action"] = log[:, 4:4 + n], log[:, 4 + n:4 + 2 * n], log[:, 4 + 2 * n:]
    arrays["step"], arrays["qpos"] = kept[:, :1], kept[:, 1:1 + nq]
    arrays["qvel"], arrays["obs"] = kept[:, 1 + nq:1 + nq + nv], kept[:, 1 + nq + nv:]
    arrays["events/step"], arrays["events/qpos"] = happened[:, :1], happened[:, 1:1 + nq]
    arrays["events/qvel"] = happened[:, 1 + nq:]
    texts = {"task": task_name, "walker": body, "seed": str(seed), "amplitude": str(amplitude)}
    enumerate_texts(texts, "joint", joint_names(m))
    enumerate_texts(texts, "obs", pieces)
    save(f"task_{name}", arrays, texts, f"box_arrangement's {task_name} with {WALKERS[body].__name__}")
    paid = [(i, r) for i, r in enumerate(log[:, 0]) if r]
    print(f"    {len(log)} steps, last {log[-1, :4].tolist()}, rewards {paid}")
    env.close()


def write_tasks():
    for name in CASES:
        write_case(name)


def write_rooms():
    """The arenas that the tasks build, and the box."""
    from dm_control.locomotion.arenas import mazes, padded_room
    from dm_control.manipulation import props
    for size in (3, 4):
        maze = padded_room.PaddedRoom(room_size=size, num_objects=size, pad_with_walls=True)
        arena = mazes.MazeWithTargets(maze=maze)
        arena.regenerate()
        arena.add_free_entity(props.BoxWithSites(mass=1.5, half_lengths=[0.5, 0.5, 0.5]))
        arena.mjcf_model.option.timestep = SUBSTEP
        m = mjcf.Physics.from_mjcf_model(arena.mjcf_model).model.ptr
        arrays, texts = model_facts(m, ("box/",))
        save(f"model_room_{size}", arrays, texts, f"MazeWithTargets over a PaddedRoom of {size} free cells a side, with one box")


# ---- where resets put things -------------------------------------------------------------------------

ANGLE_BINS, OFFSET_BINS = 24, 20


def cell_of(at, room):
    """Row and column in the inner room."""
    half = (room - 1) / 2
    return int(round(half - at[1] / CELL)), int(round(at[0] / CELL + half))


def order_rank(order):
    """Number of a permutation in lexicographic order."""
    rank, left = 0, sorted(order)
    for v in order:
        at = left.index(v)
        rank += at * math.factorial(len(left) - 1)
        left.pop(at)
    return rank


def write_resets(n):
    for task_name in TASKS:
        env = task_environment(task_name, 7)
        task, watch = env.task, Watch(env.task)
        boxes, targets, room = len(task._props), len(task._targets), task._arena._maze._room_size
        spawn = np.zeros((room, room))
        cells = np.zeros((boxes + targets, room * room))
        pairs = np.zeros((room * room, room * room))
        yaw = np.zeros((1, ANGLE_BINS))
        box_yaw, box_offset = np.zeros((1, ANGLE_BINS)), np.zeros((2, OFFSET_BINS))
        box_reach = np.zeros((2, OFFSET_BINS))
        order = np.zeros((1, math.factorial(boxes + targets)))
        codes, extreme = {}, np.zeros((1, 2))
        for _ in range(n):
            env.reset()
            r, c = cell_of(watch.spawn, room)
            assert np.allclose(watch.spawn, [(c - (room - 1) / 2) * 2, ((room - 1) / 2 - r) * 2])
            spawn[r, c] += 1
            yaw[0, int((watch.yaw + math.pi) / (2 * math.pi) * ANGLE_BINS) % ANGLE_BINS] += 1
            things = [cell_of(p, room) for p in task._prop_positions] + [cell_of(t, room) for t in watch.targets()]
            numbers = [i * room + j for i, j in things]
            assert len(set(numbers + [r * room + c])) == len(numbers) + 1
            for i, number in enumerate(numbers):
                cells[i, number] += 1
                pairs[r * room + c, number] += 1
            order[0, order_rank(numbers)] += 1
            key = tuple(watch.predicates().reshape(-1).tolist())
            codes[key] = codes.get(key, 0) + 1
            if boxes:
                x, y, a = watch.box
                at = np.array([x, y]) - task._prop_positions[0][:2]
                box_yaw[0, int((a + math.pi) / (2 * math.pi) * ANGLE_BINS) % ANGLE_BINS] += 1
                extent = max(abs(0.5 * math.cos(a) - 0.5 * math.sin(a)), abs(0.5 * math.cos(a) + 0.5 * math.sin(a)))
                for axis in range(2):
                    u = at[axis] / (0.99 * (1 - extent))
                    assert abs(u) <= 1 + 1e-9
                    box_offset[axis, min(int((u + 1) / 2 * OFFSET_BINS), OFFSET_BINS - 1)] += 1
                    box_reach[axis, min(int((at[axis] + 0.5) * OFFSET_BINS), OFFSET_BINS - 1)] += 1
                extreme = np.maximum(extreme, np.abs(at))
        rows = sorted(codes)
        arrays = {
            "n": column([n]), "spawn": spawn, "cells": cells, "spawn_and_things": pairs, "yaw": yaw, "order": order,
            "predicates": np.array(rows), "predicates/count": column([codes[k] for k in rows]),
        }
        if boxes:
            arrays.update({"box_yaw": box_yaw, "box_offset": box_offset, "box_reach": box_reach, "box_reach/most": extreme})
        save(f"resets_{task_name}", arrays, {"task": task_name, "seed": "7"}, f"{n} resets of box_arrangement's {task_name}")
        env.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", help="models, rolls, tasks, resets; default: models rolls")
    parser.add_argument("--box-arrangement", metavar="DIR", help="where the package box_arrangement is")
    parser.add_argument("--resets", type=int, default=2000, help="resets of each task to count")
    options = parser.parse_args()
    what = options.what or ["models", "rolls"]
    if options.box_arrangement:
        sys.path.insert(0, options.box_arrangement)
    if "models" in what:
        write_models()
        write_rooms()
    if "rolls" in what:
        write_rolls()
    if "tasks" in what:
        write_tasks()
    if "resets" in what:
        write_resets(options.resets)


if __name__ == "__main__":
    main()
