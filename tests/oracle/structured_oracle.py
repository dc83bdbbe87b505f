#!/usr/bin/env python3
"""Independent oracle of the learner with memory and with two levels (chapters 14 and 18), in PyTorch.

Written from docs/equations.md (E19-E22, E26-E30, E35) and the public declarations alone, as rs0_oracle.py, of which it
takes the distributions, the plain network and the optimiser. Every gradient is autograd's: what the documentation holds
constant is detached here, and nothing else is.

    python3 tests/oracle/structured_oracle.py [case...]    # rewrites tests/oracle/structured_*.safetensors

The tensors of a file are those of rs0_oracle.py, and

    config/...                     also the fields that structure needs (DEFAULTS below)
    net/policy/...                 two levels: the high one, then the low one
    net/prior/...                  the prior's high level, then its low level, as far as they exist
    net/critic/...                 each critic: its MLP, then its LSTM
    batch/state [B][n]             what acting remembered before row 0: memories (h, then c) of the policy's high level and of
                                   its low one, z, its age, memories of the prior's high level, of its low one, of each critic
    batch/latent [T][B][Z]         the z that was acted on (joint_ratio only)
    noise/target_latent [T+1][B][Z], noise/policy_latent [T][B][Z]
    out/z [T+1][B][Z], out/due [T+1][B]    the latents of V_t and where they were drawn, for whoever has to find a mistake
"""
import math
import os
import sys

import torch

from lstm_oracle import save
from rs0_oracle import (ADAPTED, CATEGORICAL, DEFAULTS as FLAT, FIELDS, FIXED, GAUSSIAN, HERE, ISOTROPIC, LEARNED, NONE,
                        ONLINE, PREVIOUS, TARGET, UNIFORM, Categorical, Gaussian, Learner, Net, field_numbers, grid)

STORED, ZERO = 0, 1
H_LEARNED, H_AUTOREGRESSIVE, H_ISOTROPIC, H_AR1 = range(4)

DEFAULTS = dict(
    FLAT, policy_width=[4], prior_width=[4], critic_width=[5, 4], samples=2,
    policy_lstm=0, prior_lstm=0, critic_lstm=0, memory_start=STORED, burn_in=0,
    latent=0, high_fields=["*"], high_width=[4], high_lstm=0, high_tanh_mean=0,
    high_prior_kind=H_LEARNED, high_prior_fields=["velocity", "goal"], high_prior_width=[3], high_prior_lstm=0,
    phi=0.75, hold=1, shared_low=1, critic_sees_latent=1, joint_ratio=0,
)

L = dict(latent=2, prior_kind=LEARNED, policy_fields=["position", "velocity"])  # two levels; the low one sees no goal

CASES = {
    "lstm_policy": dict(policy_lstm=3),
    "lstm_policy_t1": dict(policy_lstm=3, length=1, prior_kind=UNIFORM),
    "lstm_policy_learned": dict(policy_lstm=3, prior_kind=LEARNED),
    "lstm_prior": dict(prior_lstm=3, prior_kind=LEARNED),
    "lstm_prior_fixed": dict(prior_lstm=3, prior_kind=FIXED),
    "lstm_critic": dict(critic_lstm=3, critic_fields=["goal", "velocity"]),
    "lstm_critic_twin": dict(critic_lstm=3, twin=1),
    "lstm_all": dict(policy_lstm=3, prior_lstm=2, critic_lstm=4, prior_kind=LEARNED, target_period=2),
    "lstm_all_twin": dict(policy_lstm=2, prior_lstm=3, critic_lstm=3, prior_kind=LEARNED, twin=1, tau=0.1),
    "lstm_zero": dict(policy_lstm=3, prior_lstm=3, critic_lstm=3, prior_kind=LEARNED, memory_start=ZERO),
    "lstm_zero_burn_in": dict(policy_lstm=3, prior_lstm=3, critic_lstm=3, prior_kind=LEARNED, memory_start=ZERO,
                              burn_in=3, twin=1),
    "lstm_stored_burn_in": dict(policy_lstm=3, prior_lstm=3, critic_lstm=3, prior_kind=LEARNED, burn_in=5),
    "mlp_burn_in": dict(prior_kind=LEARNED, burn_in=2),
    "lstm_previous": dict(policy_lstm=3, prior_kind=PREVIOUS, kl_source=ONLINE),
    "lstm_value_online": dict(policy_lstm=3, prior_lstm=3, prior_kind=LEARNED, value_source=ONLINE, lambda_=1.0),
    "lstm_plain": dict(policy_lstm=3, prior_lstm=3, policy_width=[], prior_width=[4, 3], prior_fields=[], layer_norm=0,
                       tanh_mean=0, prior_kind=LEARNED, clip_norm=0.1, target_period=1),
    "lstm_categorical": dict(output=CATEGORICAL, actions=3, policy_lstm=3, prior_kind=UNIFORM),
    "lstm_categorical_all": dict(output=CATEGORICAL, actions=3, policy_lstm=3, prior_lstm=3, critic_lstm=3, twin=1,
                                 prior_kind=LEARNED),
    "lstm_tasks": dict(n_tasks=2, prior_lstm=3, critic_lstm=3, prior_kind=LEARNED),
    "latent_none": dict(L, prior_kind=NONE),
    "latent_isotropic": dict(L, high_prior_kind=H_ISOTROPIC),
    "latent_ar1": dict(L, high_prior_kind=H_AR1, lambda_=1.0),
    "latent_learned": dict(L),
    "latent_learned_t1": dict(L, length=1),
    "latent_autoregressive": dict(L, high_prior_kind=H_AUTOREGRESSIVE, high_tanh_mean=1),
    "latent_autoregressive_blind": dict(L, high_prior_kind=H_AUTOREGRESSIVE, high_prior_fields=[]),
    "latent_separate": dict(L, shared_low=0),
    "latent_separate_ar1": dict(L, shared_low=0, high_prior_kind=H_AR1, twin=1),
    "latent_hold4": dict(L, hold=4, high_prior_kind=H_AR1),
    "latent_hold4_separate": dict(L, hold=4, high_prior_kind=H_AUTOREGRESSIVE, shared_low=0),
    "latent_once": dict(L, hold=0),
    "latent_once_ar1": dict(L, hold=0, high_prior_kind=H_AR1),
    "latent_joint": dict(L, joint_ratio=1, high_prior_kind=H_AR1),
    "latent_joint_hold4": dict(L, joint_ratio=1, hold=4, high_prior_kind=H_AUTOREGRESSIVE, shared_low=0),
    "latent_joint_once": dict(L, joint_ratio=1, hold=0, critic_sees_latent=0),
    "latent_blind_critic": dict(L, critic_sees_latent=0, high_prior_kind=H_AR1),
    "latent_lstm_prior": dict(L, high_prior_lstm=3),
    "latent_lstm_autoregressive": dict(L, high_prior_lstm=3, high_prior_kind=H_AUTOREGRESSIVE, hold=3),
    "latent_lstm": dict(L, high_lstm=3, policy_lstm=2, twin=1),
    "latent_lstm_all": dict(L, high_lstm=3, policy_lstm=2, high_prior_lstm=3, prior_lstm=2, critic_lstm=3, shared_low=0,
                            hold=3, high_prior_kind=H_AUTOREGRESSIVE, twin=1, tau=0.1),
    "latent_lstm_all_burn_in": dict(L, high_lstm=3, policy_lstm=2, high_prior_lstm=3, prior_lstm=2, critic_lstm=3,
                                    shared_low=0, hold=4, memory_start=ZERO, burn_in=3),
    "latent_lstm_joint": dict(L, high_lstm=2, policy_lstm=2, high_prior_lstm=2, critic_lstm=2, joint_ratio=1, hold=3,
                              burn_in=2, lambda_=1.0),
    "latent_hold4_burn_in": dict(L, hold=4, high_prior_kind=H_AR1, burn_in=4),
    "latent_fixed": dict(L, prior_kind=FIXED, high_prior_kind=H_AR1),
    "latent_fixed_learned": dict(L, prior_kind=FIXED, policy_lstm=3, tau=0.1),
    "latent_fixed_separate": dict(L, prior_kind=FIXED, shared_low=0),
    "latent_categorical": dict(L, output=CATEGORICAL, actions=3),
    "latent_categorical_separate": dict(L, output=CATEGORICAL, actions=3, shared_low=0, hold=4, joint_ratio=1, twin=1,
                                        high_prior_kind=H_AR1),
    "latent_twin": dict(L, twin=1, target_period=2),
    "latent_kl_online": dict(L, kl_source=ONLINE, shared_low=0),
    "latent_value_online": dict(L, value_source=ONLINE, shared_low=0, hold=3),
    "latent_both_online_joint": dict(L, value_source=ONLINE, kl_source=ONLINE, joint_ratio=1, high_prior_kind=H_AR1),
    "latent_adapted": dict(L, shared_low=0, alpha_mode=ADAPTED, kl_target=0.5, entropy_mode=ADAPTED, entropy_target=1.5,
                           clip_norm=0.1, target_period=1),
    "latent_alone": dict(L, policy_fields=[], shared_low=0, prior_fields=[]),  # low levels that see z and nothing else
    "latent_joint_t1": dict(L, length=1, joint_ratio=1, twin=1),
    "latent_lstm_kl_online": dict(L, high_lstm=3, policy_lstm=2, high_prior_lstm=2, prior_lstm=3, shared_low=0, hold=3,
                                  kl_source=ONLINE),
    "latent_lstm_value_online": dict(L, high_lstm=3, policy_lstm=2, critic_lstm=2, value_source=ONLINE, joint_ratio=1,
                                     hold=3, lambda_=1.0),
}


def normal(shape):
    return Gaussian(torch.zeros(shape), torch.ones(shape))


def pick(due, a, b):
    return torch.where(due[..., None], a, b)


class Recurrent:
    """A network with an LSTM on top: the torso's last layer gives the gates, i f g o; then "lstm/w"."""

    def __init__(self, inputs, widths, units, layer_norm):
        self.torso, self.H = Net(inputs, widths, 4 * units, layer_norm), units
        self.n = self.torso.n + 4 * units * units

    def random(self, g):
        w = torch.randn(self.H, 4 * self.H, generator=g) / math.sqrt(self.H)
        return torch.cat([self.torso.random(g, 1.0), grid(w).reshape(-1)])

    def __call__(self, params, x, state, first, detach):
        """x [T,B,inputs]; state [B,2H] before row 0; first [T,B]: an episode starts here. Nothing flows into rows < detach."""
        H = self.H
        gates, w = self.torso(params[:self.torso.n], x), params[self.torso.n:].reshape(H, 4 * H)
        h, c = state[:, :H], state[:, H:]
        out = []
        for t in range(x.shape[0]):
            if t == detach:
                h, c = h.detach(), c.detach()
            h, c = pick(first[t], torch.zeros(()), h), pick(first[t], torch.zeros(()), c)
            i, f, g, o = (gates[t] + h @ w).split(H, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return torch.stack(out)


class Level:
    """Fields, and perhaps a latent beside them -> MLP, or torso, LSTM and a linear layer -> what a head needs."""

    def __init__(self, see, latent, widths, units, outputs, layer_norm):
        self.see, self.outputs = see, outputs
        inputs = max(len(see), 1) + latent  # a network without fields gets a constant 1
        self.rnn = Recurrent(inputs, widths, units, layer_norm) if units else None
        self.mlp = None if units else Net(inputs, widths, outputs, layer_norm)
        self.memory = 2 * units
        self.n = self.rnn.n + (units + 1) * outputs if units else self.mlp.n

    def random(self, g, last):
        if not self.rnn:
            return self.mlp.random(g, last)
        H = self.rnn.H
        head = torch.cat([last * torch.randn(H, self.outputs, generator=g).reshape(-1) / math.sqrt(H) * 1.5,
                          0.3 * torch.randn(self.outputs, generator=g)])
        return torch.cat([self.rnn.random(g), grid(head)])

    def __call__(self, params, x, latent, state, first, detach):
        seen = x[..., self.see] if self.see else torch.ones(*x.shape[:-1], 1)
        if latent is not None:
            seen = torch.cat([seen, latent], -1)
        if not self.rnn:
            return self.mlp(params, seen)
        h = self.rnn(params[:self.rnn.n], seen, state, first, detach)
        H, n = self.rnn.H, self.rnn.n
        return h @ params[n:n + H * self.outputs].reshape(H, self.outputs) + params[n + H * self.outputs:]


class Structured(Learner):
    def __init__(self, cfg, g):
        self.cfg = cfg
        self.where, at = {}, 0
        for name, size in FIELDS:
            self.where[name] = list(range(at, at + size))
            at += size
        self.O = at
        A, Z, norm = cfg["actions"], cfg["latent"], cfg["layer_norm"]
        self.Z, self.two, self.C = Z, Z > 0, 2 if cfg["twin"] else 1
        self.categorical = cfg["output"] == CATEGORICAL
        dist = A if self.categorical else 2 * A
        kind = cfg["prior_kind"]
        has_prior = kind in (LEARNED, FIXED)

        def level(which, latent, outputs):
            return Level(self.see(cfg[which + "_fields"]), latent, cfg[which + "_width"], cfg[which + "_lstm"], outputs, norm)

        self.low = level("policy", Z, dist)
        self.policy_net = self.low.mlp  # several tasks: as in rs0_oracle.py
        self.high = level("high", 0, 2 * Z) if self.two else None
        self.low_prior = level("prior", Z, dist) if has_prior and not (self.two and cfg["shared_low"]) else None
        self.high_prior = None
        if self.two and has_prior and cfg["high_prior_kind"] in (H_LEARNED, H_AUTOREGRESSIVE):
            self.high_prior = level("high_prior", Z if cfg["high_prior_kind"] == H_AUTOREGRESSIVE else 0, 2 * Z)
        see = self.see(cfg["critic_fields"])
        self.critic_rnn = Recurrent(len(see), [], cfg["critic_lstm"], 0) if cfg["critic_lstm"] else None
        extra = (Z if cfg["critic_sees_latent"] else 0) + cfg["critic_lstm"]
        self.critic_mlp = Net(len(see) + extra + A, cfg["critic_width"], 1, norm)

        def draw(net):
            if net == "critic":
                one = lambda: [self.critic_mlp.random(g, 1.5)] + ([self.critic_rnn.random(g)] if self.critic_rnn else [])
                return torch.cat([p for _ in range(self.C) for p in one()])
            levels = (self.high, self.low) if net == "policy" else (self.high_prior, self.low_prior)
            tasks = cfg["n_tasks"] if net == "policy" else 1
            return torch.cat([v.random(g, 0.8) for v in levels if v for _ in range(tasks)] + [torch.zeros(0)])

        self.online, self.target, self.m, self.v = {}, {}, {}, {}
        for net in ("policy", "prior", "critic"):
            self.online[net] = draw(net)
            self.target[net] = grid(0.8 * self.online[net] + 0.35 * draw(net))
            if net == "prior" and kind == FIXED:
                self.target[net] = self.online[net].clone()
            self.m[net] = torch.zeros_like(self.online[net])
            self.v[net] = torch.zeros_like(self.online[net])
        self.frozen = self.high.n if self.two and kind == FIXED and cfg["shared_low"] else None  # what follows does not learn
        if self.frozen is not None:
            self.target["policy"][self.frozen:] = self.online["policy"][self.frozen:]
        self.steps = 0
        self.log_alpha = math.log(cfg["alpha"])
        self.log_entropy_cost = math.log(cfg["entropy_cost"])
        # The state, piece by piece.
        self.piece, at = {}, 0
        sizes = [("high", self.high.memory if self.high else 0), ("low", self.low.memory),
                 ("z", Z), ("age", 1 if self.two else 0)]
        sizes += [("high_prior", self.high_prior.memory if self.high_prior else 0),
                  ("low_prior", self.low_prior.memory if self.low_prior else 0)]
        sizes += [(f"critic{c}", 2 * cfg["critic_lstm"]) for c in range(self.C)]
        for name, size in sizes:
            self.piece[name] = slice(at, at + size)
            at += size
        self.state_size = at

    # ---- the pieces of a step

    def memory(self, batch, name, size):
        B = batch["mask"].shape[1]
        if self.cfg["memory_start"] == ZERO:
            return torch.zeros(B, size)
        return batch["state"][:, self.piece[name]]

    def gaussian(self, raw):
        """The head of a high level."""
        cfg, Z = self.cfg, self.Z
        mean = torch.tanh(raw[..., :Z]) if cfg["high_tanh_mean"] else raw[..., :Z]
        softplus = torch.logaddexp(raw[..., Z:], torch.zeros(()))
        return Gaussian(mean, softplus * (cfg["init_std"] / math.log(2.0)) + cfg["min_std"])

    def split(self, net, params):
        levels = (self.high, self.low) if net == "policy" else (self.high_prior, self.low_prior)
        n = levels[0].n if levels[0] else 0
        return params[:n], params[n:]

    def unroll(self, net, level, params, batch, x, latent):
        """Distribution of one level of the policy or prior with these parameters, rows 0..len(x)-1."""
        high, low = self.split(net, params)
        name = level if net == "policy" else level + "_prior"
        if name == "low" and self.cfg["n_tasks"] > 1:
            return self.policy(params, x)
        structure = getattr(self, name)
        first = self.first(batch)[:x.shape[0]]
        raw = structure(high if level == "high" else low, x, latent, self.memory(batch, name, structure.memory), first,
                        self.cfg["burn_in"])
        return self.gaussian(raw) if level == "high" else self.head(raw)

    def first(self, batch):
        """[T+1,B]: this row begins an episode, because the one before was a boundary row."""
        mask = batch["mask"]
        return torch.cat([torch.zeros(1, mask.shape[1]), 1 - mask]) > 0

    def latents(self, batch, high, noise):
        """z [n,B,Z], where it was drawn, the z before (a constant; zeros if there is none), and where there is one.

        n rows of high-level distributions. With joint_ratio what is remembered from row to row is the z that was acted on."""
        cfg, B = self.cfg, batch["mask"].shape[1]
        state, first = batch["state"], self.first(batch)
        z, age = state[:, self.piece["z"]], state[:, self.piece["age"]][:, 0]
        zs, dues, befores, olds = [], [], [], []
        for t in range(high.mean.shape[0]):
            age = torch.where(first[t], torch.zeros(()), age)
            z = pick(first[t], torch.zeros(()), z)
            if t == cfg["burn_in"]:
                z = z.detach()
            due = (age == 0) | ((age >= cfg["hold"]) if cfg["hold"] > 0 else torch.zeros(B, dtype=torch.bool))
            befores.append(pick(age == 0, torch.zeros(()), z).detach())
            olds.append(age > 0)
            now = pick(due, high.mean[t] + high.std[t] * noise[t], z)
            zs.append(now)
            dues.append(due)
            age = torch.where(due, torch.ones(()), age + 1)
            if cfg["joint_ratio"]:
                # Nothing is acted on in a boundary row, and the row after it starts anew.
                acted = batch["latent"][t] if t < cfg["length"] else now
                z = pick(due, acted, z)
            else:
                z = now
        return torch.stack(zs), torch.stack(dues), torch.stack(befores), torch.stack(olds)

    def prior_high_dist(self, params, batch, x, before, old):
        kind = self.cfg["high_prior_kind"]
        if kind == H_ISOTROPIC:
            return normal(before.shape)
        if kind == H_AR1:
            phi = self.cfg["phi"]
            return Gaussian(pick(old, phi * before, torch.zeros(())),
                            pick(old, torch.full(before.shape, math.sqrt(1 - phi * phi)), torch.ones(())))
        return self.unroll("prior", "high", params, batch, x, before if kind == H_AUTOREGRESSIVE else None)

    def divergence(self, batch, x, prior, high, low, z, due, before, old):
        """KL of the high level and of the low level to the prior with these parameters."""
        cfg, zero = self.cfg, torch.zeros(x.shape[:-1])
        if cfg["prior_kind"] == NONE:
            return zero, zero
        if not self.two:
            if cfg["prior_kind"] in (LEARNED, FIXED):
                return zero, low.kl(self.unroll("prior", "low", prior, batch, x, None))
            if cfg["prior_kind"] == PREVIOUS:
                return zero, low.kl(self.unroll("policy", "low", self.target["policy"], batch, x, None).detach())
            if cfg["prior_kind"] == UNIFORM:
                A = cfg["actions"]
                return zero, -low.entropy() + (math.log(A) if self.categorical else A * math.log(2.0))
            raise ValueError
        kl_high = torch.where(due, high.kl(self.prior_high_dist(prior, batch, x, before, old)), zero)
        kl_low = zero if cfg["shared_low"] else low.kl(self.unroll("prior", "low", prior, batch, x, z))
        return kl_high, kl_low

    def critic_memory(self, params, batch, x):
        """h of each critic's LSTM [C][n,B,H], or None."""
        if not self.critic_rnn:
            return [None] * self.C
        out = []
        for c, p in enumerate(params.reshape(self.C, -1)):
            state = self.memory(batch, f"critic{c}", 2 * self.critic_rnn.H)
            out.append(self.critic_rnn(p[self.critic_mlp.n:], x[..., self.see(self.cfg["critic_fields"])], state,
                                       self.first(batch)[:x.shape[0]], self.cfg["burn_in"]))
        return out

    def boxed(self, a):
        return torch.clamp(a, -1.0, 1.0)

    def q(self, params, x, z, memory, a):
        """[C] + [n,B] or [C] + [n,B,S]: opinions of the actions the environment would see. z is not differentiated."""
        u, out = self.boxed(a), []
        for p, h in zip(params.reshape(self.C, -1), memory):
            parts = [x[..., self.see(self.cfg["critic_fields"])]]
            if self.two and self.cfg["critic_sees_latent"]:
                parts.append(z.detach())
            if h is not None:
                parts.append(h)
            seen = torch.cat(parts, -1)
            if u.dim() > seen.dim():
                seen = seen[..., None, :].expand(*u.shape[:-1], seen.shape[-1])
            out.append(self.critic_mlp(p[:self.critic_mlp.n], torch.cat([seen, u], -1))[..., 0])
        return torch.stack(out)

    def expected(self, pi, batch, x, z, noise):
        params = self.target["critic"]
        memory = self.critic_memory(params, batch, x)
        if self.categorical:
            choices = torch.eye(self.cfg["actions"]).expand(*x.shape[:-1], -1, -1)
            q = self.q(params, x, z, memory, choices)
        else:
            a = pi.mean[..., None, :] + pi.std[..., None, :] * noise
            q = self.q(params, x, z, memory, a)
            self.margin = min(self.margin, float((a.detach().abs() - 1).abs().min()))
        if self.C == 2:
            self.margin = min(self.margin, float((q[0] - q[1]).detach().abs().min()))
        low = q.min(0).values
        return (pi.p * low).sum(-1) if self.categorical else low.mean(-1)

    def play(self, params, batch, x, noise):
        """The policy with these parameters: high level, latents, low level."""
        if not self.two:
            return None, None, None, None, None, self.unroll("policy", "low", params, batch, x, None)
        high = self.unroll("policy", "high", params, batch, x, None)
        z, due, before, old = self.latents(batch, high, noise)
        return high, z, due, before, old, self.unroll("policy", "low", params, batch, x, z)

    def losses(self, batch, noise):
        cfg = self.cfg
        T, B = batch["mask"].shape
        x, a, mask = batch["observation"], batch["action"], batch["mask"]
        counted = mask.clone()
        counted[:cfg["burn_in"]] = 0
        weight = counted / counted.sum()
        alpha = math.exp(self.log_alpha) if cfg["alpha_mode"] == ADAPTED else cfg["alpha"]
        cost = math.exp(self.log_entropy_cost) if cfg["entropy_mode"] == ADAPTED else cfg["entropy_cost"]
        leaf = {k: v.clone().requires_grad_(True) for k, v in self.online.items()}
        taken = self.one_hot(a) if self.categorical else a

        with torch.no_grad():
            source = self.target if cfg["value_source"] == TARGET else self.online
            of_kl = self.target if cfg["kl_source"] == TARGET else self.online
            high, z, due, before, old, low = self.play(source["policy"], batch, x, noise["target_latent"])
            # The KL may be another copy's, of the same latents.
            kl_high = self.unroll("policy", "high", of_kl["policy"], batch, x, None) if self.two else None
            kl_low = self.unroll("policy", "low", of_kl["policy"], batch, x, z)
            kl = sum(self.divergence(batch, x, self.target["prior"], kl_high, kl_low, z, due, before, old))
            value = self.expected(low, batch, x, z, noise["target"]) - alpha * kl
            # Which z the stored action goes with: that of V_t, or the one that was acted on.
            z_taken = z[:T] if self.two else None
            if cfg["joint_ratio"]:
                z_taken = batch["latent"]
                low_taken = self.unroll("policy", "low", source["policy"], batch, x[:T], z_taken)
                log_pi = low_taken.log_prob(a) + torch.where(due[:T], Gaussian(high.mean[:T], high.std[:T]).log_prob(z_taken),
                                                             torch.zeros(()))
            elif self.categorical:
                log_pi = Categorical(low.logits[:T]).log_prob(a)
            else:
                log_pi = Gaussian(low.mean[:T], low.std[:T]).log_prob(a)
            trace = cfg["lambda_"] * torch.clamp(torch.exp(log_pi - batch["log_mu"]), max=1.0) * mask
            memory = self.critic_memory(self.target["critic"], batch, x[:T])
            q_target = self.q(self.target["critic"], x[:T], z_taken, memory, taken).min(0).values
            gamma = cfg["discount"] * batch["discount"]
            retrace = torch.zeros(T, B)
            for t in reversed(range(T)):
                bracket = value[t + 1].clone()
                if t + 1 < T:
                    bracket = bracket + trace[t + 1] * (retrace[t + 1] - q_target[t + 1])
                retrace[t] = batch["reward"][t] + gamma[t] * bracket

        # E20
        q = self.q(leaf["critic"], x[:T], z_taken, self.critic_memory(leaf["critic"], batch, x[:T]), taken)
        critic_loss = (weight * 0.5 * (q - retrace) ** 2).sum()
        # E21, E27
        high, zp, duep, before, old, pi = self.play(leaf["policy"], batch, x[:T], noise["policy_latent"])
        kl_high, kl_low = self.divergence(batch, x[:T], self.target["prior"], high, pi, zp, duep, before, old)
        kl, entropy = kl_high + kl_low, pi.entropy()
        q_pi = self.expected(pi, batch, x[:T], zp, noise["policy"])
        policy_loss = (weight * (-q_pi + alpha * kl - cost * entropy)).sum()
        # E22
        learns = cfg["prior_kind"] == LEARNED and leaf["prior"].numel() > 0
        prior_loss = torch.zeros(())
        if cfg["prior_kind"] == LEARNED:
            fixed = (high.detach(), pi.detach(), zp.detach()) if self.two else (None, pi.detach(), None)
            prior_loss = (weight * sum(self.divergence(batch, x[:T], leaf["prior"], fixed[0], fixed[1], fixed[2], duep, before,
                                                       old))).sum()
        grad = {"prior": torch.zeros_like(leaf["prior"])}
        for name, loss in (("critic", critic_loss), ("policy", policy_loss), ("prior", prior_loss)):
            if name != "prior" or learns:
                (grad[name],) = torch.autograd.grad(loss, leaf[name], retain_graph=True)
        if self.frozen is not None:
            grad["policy"][self.frozen:] = 0

        with torch.no_grad():
            mean = lambda v: (weight * v).sum()
            q0 = q[0]
            later = counted[1:].sum()
            metrics = dict(
                critic_loss=critic_loss, policy_loss=policy_loss, prior_loss=prior_loss, kl=mean(kl), kl_high=mean(kl_high),
                entropy=mean(entropy), q_mean=mean(q0), q_std=torch.sqrt(mean((q0 - mean(q0)) ** 2)),
                target_mean=mean(retrace), td_abs=mean((q0 - retrace).abs()), value_mean=mean(value[1:]),
                trace_mean=(trace * counted)[1:].sum() / later if later > 0 else torch.zeros(()),
                policy_std=torch.zeros(()) if self.categorical else mean(pi.std.mean(-1)),
                alpha=torch.tensor(alpha), entropy_cost=torch.tensor(cost),
                critic_grad_norm=grad["critic"].norm(), policy_grad_norm=grad["policy"].norm(),
                prior_grad_norm=grad["prior"].norm() if grad["prior"].numel() else torch.zeros(()))
        parts = dict(value=value, q=q, trace=trace, retrace=retrace, log_pi=log_pi, kl=kl, entropy=entropy)
        if self.two:
            parts.update(z=z, due=due.double())
        return metrics, parts, grad


def make_batch(learner, g):
    cfg = learner.cfg
    T, B, O, A, Z = cfg["length"], cfg["batch"], learner.O, cfg["actions"], learner.Z
    noise = lambda *shape: grid(torch.randn(*shape, generator=g))
    x, mask, discount = noise(T + 1, B, O), torch.ones(T, B), torch.ones(T, B)
    # Column 0 never ends, 1 terminates inside, 2 is truncated inside, 3 begins with a boundary row and ends with one.
    if T == 1:
        mask[0, 3], discount[0, 1] = 0, 0
    else:
        mask[4, 1], discount[3, 1] = 0, 0
        mask[6, 2] = 0
        mask[0, 3], mask[T - 1, 3], discount[T - 2, 3] = 0, 0, 0
    if cfg["n_tasks"] > 1:
        for b in range(B):  # the task changes only where the episode does
            task = b % 2
            for t in range(T + 1):
                task = 1 - task if t > 0 and mask[t - 1, b] == 0 else task
                x[t, b, learner.where["task"]] = torch.eye(2)[task]
    # Column 1 begins an episode with its row 0: nothing is remembered.
    state = grid(torch.tanh(0.7 * torch.randn(B, learner.state_size, generator=g)))
    if learner.two:
        hold = cfg["hold"]
        state[:, learner.piece["age"]] = torch.tensor([max(hold - 1, 1), 0, max(hold - 2, 1) if hold else 5, max(hold, 1)],
                                                      dtype=torch.float64)[:, None]
    state[1] = 0
    batch = dict(observation=x, reward=noise(T, B), discount=discount, mask=mask, state=state)
    noises = dict(target=None, policy=None, target_latent=None, policy_latent=None)
    if not learner.categorical:
        noises.update(target=noise(T + 1, B, cfg["samples"], A), policy=noise(T, B, cfg["samples"], A))
    if learner.two:
        noises.update(target_latent=noise(T + 1, B, Z), policy_latent=noise(T, B, Z))
    if learner.categorical:
        batch["action"] = torch.randint(0, A, (T, B, 1), generator=g).to(torch.float64)
    else:
        batch["action"] = grid(0.9 * noise(T, B, A))
    with torch.no_grad():
        batch["latent"] = noise(T, B, Z)
        if cfg["joint_ratio"]:
            # Drawn where due, held elsewhere; rows without an action hold anything.
            age, z, first = state[:, learner.piece["age"]][:, 0], state[:, learner.piece["z"]], learner.first(batch)
            for t in range(T):
                age = torch.where(first[t], torch.zeros(()), age)
                due = (age == 0) | (age >= hold if hold > 0 else torch.zeros(B, dtype=torch.bool))
                z = pick(due, batch["latent"][t], z)
                batch["latent"][t] = pick(mask[t] > 0, z, batch["latent"][t])
                age = torch.where(due, torch.ones(()), age + 1)
        high, z, due, _, _, low = learner.play(learner.target["policy"], batch, x[:T], noises["target_latent"])
        if cfg["joint_ratio"]:
            z = batch["latent"]
            low = learner.unroll("policy", "low", learner.target["policy"], batch, x[:T], z)
        log_pi = low.log_prob(batch["action"])
        if cfg["joint_ratio"]:
            log_pi = log_pi + torch.where(due, high.log_prob(z), torch.zeros(()))
        batch["log_mu"] = grid(log_pi + 0.6 * torch.randn(T, B, generator=g) + 0.1)
    if not cfg["joint_ratio"]:
        del batch["latent"]
    if learner.state_size == 0:
        del batch["state"]
    return batch, noises


def make_case(number, name, overrides):
    unknown = set(overrides) - set(DEFAULTS)
    assert not unknown, unknown
    cfg = dict(DEFAULTS, **overrides)
    for attempt in range(1000):
        g = torch.Generator().manual_seed(100000 + 1000 * number + attempt)
        learner = Structured(cfg, g)
        batch, noise = make_batch(learner, g)
        if "state" not in batch:
            batch = dict(batch, state=torch.zeros(cfg["batch"], 0))
        out, margin = {}, float("inf")
        for key in ("online", "target"):
            out.update({f"net/{net}/{key}": p.clone() for net, p in getattr(learner, key).items()})
        for step in (1, 2, 3):
            metrics, parts, grad = learner.step(batch, noise)
            margin = min(margin, learner.margin)
            if step == 1:
                out.update({f"out/metrics/{k}": v.reshape(1).clone() for k, v in metrics.items()})
                out.update({f"out/{k}": v.detach().clone() for k, v in parts.items()})
            if step != 2:
                tag = "grad" if step == 1 else "grad3"
                out.update({f"out/{tag}/{k}": v.clone() for k, v in grad.items()})
                for key in ("online", "target"):
                    out.update({f"out/step{step}/{net}/{key}": p.clone() for net, p in getattr(learner, key).items()})
        if margin > 2e-4:
            break
    else:
        raise RuntimeError("no seed without a kink: " + name)
    out["out/step3/alpha"] = torch.tensor([math.exp(learner.log_alpha)])
    out["out/step3/entropy_cost"] = torch.tensor([math.exp(learner.log_entropy_cost)])
    # A case in which something is (nearly) zero proves nothing about it: each part of each network has to move.
    parts = [("policy", learner.high), ("policy", learner.low)]
    parts += [("critic", learner.critic_mlp), ("critic", learner.critic_rnn)] * learner.C
    if cfg["prior_kind"] == LEARNED:
        parts += [("prior", learner.high_prior), ("prior", learner.low_prior)]
    begin = {"policy": 0, "critic": 0, "prior": 0}
    for net, part in parts:
        if part is None or begin[net] == learner.frozen:
            continue
        v = out[f"out/grad/{net}"][begin[net]:begin[net] + part.n]
        begin[net] += part.n
        assert float(v.norm()) > 1e-3, (name, net, float(v.norm()))
        assert float((v.abs() > 1e-8).double().mean()) > 0.6, (name, net, float((v.abs() > 1e-8).double().mean()))
    out.update({f"batch/{k}": v for k, v in batch.items()})
    out.update({f"noise/{k}": v for k, v in noise.items() if v is not None})
    for key, v in cfg.items():
        if key.endswith("_fields"):
            out["config/" + key] = torch.tensor(field_numbers(v) or [-2.0])
        elif key.endswith("_width"):
            out["config/" + key] = torch.tensor([float(len(v))] + [float(w) for w in v])
        elif key != "boundaries":
            out["config/" + key.rstrip("_")] = torch.tensor([float(v)])
    out = {k: v.detach().to(torch.float64).contiguous() for k, v in out.items() if v.numel()}
    assert all(torch.isfinite(v).all() for v in out.values())
    path = os.path.join(HERE, f"structured_{name}.safetensors")
    save(out, path, f"structured_oracle.py case {name}, torch {torch.__version__.split('+')[0]}")
    print(f"{name:28s} seed +{attempt:<3d} margin {margin:.1e}  " + "  ".join(
        f"{k} {float(out['out/metrics/' + k]):+.4f}" for k in ("critic_loss", "policy_loss", "prior_loss", "kl", "kl_high",
                                                                "trace_mean", "critic_grad_norm", "policy_grad_norm")))
    return os.path.getsize(path)


def main():
    chosen = set(sys.argv[1:])
    if not chosen:
        for old in os.listdir(HERE):
            if old.startswith("structured_") and old.endswith(".safetensors"):
                os.remove(os.path.join(HERE, old))
    total = sum(make_case(i, name, overrides) for i, (name, overrides) in enumerate(CASES.items())
                if not chosen or name in chosen)
    print(f"{len(CASES)} cases, {total / 1e6:.2f} MB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
