#!/usr/bin/env python3
"""Independent oracle of the learner's relatives (chapter 18): SAC, MPO, critics of their own, cloning. In PyTorch.

Written from docs/equations.md (E8, E17, E19-E22, E32) and the public declarations alone, as rs0_oracle.py, of which it takes the
distributions, the plain network, the batches and the optimiser. Every gradient is autograd's. Squashing is spelled as the
textbook does, log(1 - tanh(u)^2), since nothing here comes near the place where that loses digits.

    python3 tests/oracle/relatives_oracle.py [case...]    # rewrites tests/oracle/relatives_*.safetensors

The tensors of a file are those of rs0_oracle.py, and

    config/{squash,improvement,em_temperature,em_kl_target,em_lr,separate_critics}
    out/metrics/{em_kl,em_temperature}          also in cases without EM: zero
    out/step3/em_temperature [1]                after three steps

Files about cloning have config/clone 1, config/policy_* and the optimiser's; net/policy/online; batch/...; out/loss,
out/grad_norm, out/grad and out/step1/policy, out/grad3, out/step3/{policy,loss}.
"""
import math
import os
import sys

import torch

from lstm_oracle import save
from rs0_oracle import (ADAPTED, CATEGORICAL, DEFAULTS as FLAT, HERE, ISOTROPIC, LEARNED, NONE, ONLINE, PREVIOUS, TARGET, UNIFORM,
                        Gaussian, Learner, field_numbers, grid, make_batch)
import structured_oracle
from structured_oracle import Level, Structured

SVG, EM = 0, 1
RELATIVE = dict(squash=0, improvement=SVG, em_temperature=0.7, em_kl_target=0.1, em_lr=0.01, separate_critics=0)
DEFAULTS = dict(FLAT, policy_lstm=0, burn_in=0, clone=0, wandering=0, **RELATIVE)
DEEP = dict(structured_oracle.DEFAULTS, **RELATIVE)  # cases that set `latent`, be it to 0: those of structured_oracle.py

SQUASH = dict(squash=1, tanh_mean=0, min_std=0.01)
MPO = dict(improvement=EM, em_temperature=0.3, prior_kind=PREVIOUS, alpha_mode=ADAPTED, kl_target=0.4)

CASES = {
    "sac": dict(SQUASH, prior_kind=UNIFORM, twin=1, alpha_mode=ADAPTED, kl_target=2 * math.log(2) + 1, entropy_cost=1e-9,
                tau=0.1),
    "squash_learned": dict(SQUASH, prior_kind=LEARNED, lambda_=1.0),
    "squash_isotropic": dict(SQUASH, prior_kind=ISOTROPIC, prior_std=0.75, twin=1),
    "squash_previous": dict(SQUASH, prior_kind=PREVIOUS, value_source=ONLINE, target_period=2),
    "squash_none": dict(SQUASH, prior_kind=NONE, entropy_cost=0.3),
    "squash_kl_online": dict(SQUASH, prior_kind=UNIFORM, kl_source=ONLINE),
    "squash_value_online": dict(SQUASH, prior_kind=UNIFORM, value_source=ONLINE),
    "squash_both_online": dict(SQUASH, prior_kind=UNIFORM, value_source=ONLINE, kl_source=ONLINE, twin=1),
    "squash_entropy_adapted": dict(SQUASH, prior_kind=UNIFORM, entropy_mode=ADAPTED, entropy_target=0.2, clip_norm=0.1,
                                   target_period=1),
    "squash_tasks": dict(SQUASH, prior_kind=UNIFORM, n_tasks=2, twin=1, separate_critics=1),
    "em_gaussian": dict(MPO, samples=5),
    "em_gaussian_twin": dict(MPO, samples=4, twin=1, prior_kind=LEARNED, target_period=1, em_lr=0.0),
    "em_categorical": dict(MPO, output=CATEGORICAL, actions=3),
    "em_categorical_tasks": dict(MPO, output=CATEGORICAL, actions=4, n_tasks=2, separate_critics=1, prior_kind=UNIFORM),
    "em_temperature": dict(MPO, em_kl_target=0.02, em_lr=1.5, tau=0.1, samples=4),
    "em_temperature_down": dict(MPO, output=CATEGORICAL, actions=3, em_kl_target=1.0, em_lr=0.8, target_period=2),
    "separate_critics": dict(n_tasks=2, separate_critics=1, prior_kind=LEARNED),
    "separate_critics_twin": dict(n_tasks=2, separate_critics=1, twin=1, prior_kind=UNIFORM, target_period=2),
    "separate_critics_categorical": dict(n_tasks=2, separate_critics=1, twin=1, output=CATEGORICAL, actions=3,
                                         prior_kind=LEARNED, clip_norm=0.1),
    "clone_mlp": dict(clone=1, policy_fields=["goal", "position"]),
    "clone_mlp_burn_in": dict(clone=1, tanh_mean=0, burn_in=3, layer_norm=0),
    "clone_lstm": dict(clone=1, policy_lstm=3),
    "clone_lstm_burn_in": dict(clone=1, policy_lstm=3, burn_in=3, clip_norm=0.1, policy_width=[4]),
    "clone_categorical": dict(clone=1, output=CATEGORICAL, actions=3, policy_lstm=3, burn_in=2),
    "squash_lstm": dict(SQUASH, latent=0, prior_kind=UNIFORM, twin=1, policy_lstm=3, critic_lstm=3, burn_in=3),
    "squash_lstm_kl_online": dict(SQUASH, latent=0, prior_kind=UNIFORM, policy_lstm=3, kl_source=ONLINE),
    "squash_latent": dict(SQUASH, latent=2, prior_kind=LEARNED, shared_low=0, twin=1, hold=3, entropy_cost=0.2),
    "squash_latent_lstm": dict(SQUASH, latent=2, prior_kind=LEARNED, policy_lstm=2, high_lstm=2, burn_in=2, entropy_cost=0.2,
                               entropy_mode=ADAPTED, joint_ratio=1),
    "em_lstm": dict(MPO, latent=0, policy_lstm=3, critic_lstm=3, twin=1, samples=4, em_lr=1.0),
    "em_lstm_burn_in": dict(MPO, latent=0, policy_lstm=3, prior_lstm=2, prior_kind=LEARNED, burn_in=3, memory_start=1, samples=4),
    "em_lstm_categorical": dict(MPO, latent=0, output=CATEGORICAL, actions=3, policy_lstm=3, burn_in=2),
    "separate_critics_wandering": dict(n_tasks=2, separate_critics=1, twin=1, prior_kind=LEARNED, wandering=1),
}


def step(learner, result):
    """What follows a step: eta's dual."""
    if learner.cfg["improvement"] == EM:
        learner.log_eta += learner.cfg["em_lr"] * (float(result[0]["em_kl"]) - learner.cfg["em_kl_target"])
    return result


class Relative(Learner):
    def __init__(self, cfg, g):
        super().__init__(cfg, g)
        self.log_eta = math.log(cfg["em_temperature"])
        if cfg["separate_critics"]:  # one critic, or pair, for each task: task after task
            draw = lambda: torch.cat([self.critic_net.random(g, 1.5) for _ in range(cfg["n_tasks"] * self.C)])
            self.online["critic"] = draw()
            self.target["critic"] = grid(0.8 * self.online["critic"] + 0.35 * draw())
            self.m["critic"], self.v["critic"] = torch.zeros_like(self.online["critic"]), torch.zeros_like(self.online["critic"])

    def seen_by_environment(self, a):
        return torch.tanh(a) if self.cfg["squash"] else torch.clamp(a, -1.0, 1.0)

    def entropy(self, pi, noise):
        """H of what the environment gets: of u, and the mean over the samples of log |da/du|."""
        H = pi.entropy()
        if self.cfg["squash"]:
            u = pi.mean[..., None, :] + pi.std[..., None, :] * noise
            assert u.abs().max() < 9
            H = H + torch.log(1 - torch.tanh(u) ** 2).sum(-1).mean(-1)
        return H

    def divergence(self, pi, x, noise):
        if self.cfg["prior_kind"] == UNIFORM:
            A = self.cfg["actions"]
            return -self.entropy(pi, noise) + (math.log(A) if self.categorical else A * math.log(2.0))
        return self.kl(pi, x)

    def critics(self, params, x, a):
        cfg = self.cfg
        a = a if self.categorical else self.seen_by_environment(a)
        inputs = torch.cat([x[..., self.see(cfg["critic_fields"])], a], -1)
        groups = cfg["n_tasks"] if cfg["separate_critics"] else 1
        blocks = params.reshape(groups, self.C, self.critic_net.n)
        opinions = [torch.stack([self.critic_net(p, inputs)[..., 0] for p in group]) for group in blocks]
        out = opinions[0]
        for task in range(1, groups):
            out = torch.where(self.tasks(x) == task, opinions[task], out)
        return out

    def opinions(self, x, a):
        """min_c Q'_c at several actions [...,S,A] of each row: [...,S]."""
        q = self.critics(self.target["critic"], x[..., None, :].expand(*a.shape[:-1], x.shape[-1]), a)
        if not self.categorical and not self.cfg["squash"]:
            self.margin = min(self.margin, float((a.detach().abs() - 1).abs().min()))
        if self.C == 2:
            self.margin = min(self.margin, float((q[0] - q[1]).detach().abs().min()))
        return q.min(0).values

    def candidates(self, pi, noise):
        if self.categorical:
            A = self.cfg["actions"]
            return torch.eye(A).expand(*pi.p.shape[:-1], A, A)
        return pi.mean[..., None, :] + pi.std[..., None, :] * noise

    def expected_q(self, pi, x, noise):
        q = self.opinions(x, self.candidates(pi, noise))
        return (pi.p * q).sum(-1) if self.categorical else q.mean(-1)

    def weighted_likelihood(self, pi, x, noise):
        """MPO. -E_q[log pi], and KL[q||pi'] in nats, where q ~ pi' exp(Q'/eta) lives on samples of pi' or on all choices."""
        with torch.no_grad():
            old = self.policy(self.target["policy"], x)
            a = self.candidates(old, noise)
            boltzmann = torch.exp(self.opinions(x, a) / math.exp(self.log_eta))
            base = old.p if self.categorical else torch.full_like(boltzmann, 1.0 / boltzmann.shape[-1])
            q = base * boltzmann
            q = q / q.sum(-1, keepdim=True)
            kl = (q * torch.log(q / base)).sum(-1)
        if self.categorical:
            log_pi = pi.logp
        else:
            log_pi = type(pi)(pi.mean[..., None, :], pi.std[..., None, :]).log_prob(a)
        return -(q * log_pi).sum(-1), kl

    def losses(self, batch, noise):
        cfg = self.cfg
        T, B = batch["mask"].shape
        x, a, mask = batch["observation"], batch["action"], batch["mask"]
        weight = mask / mask.sum()
        alpha = math.exp(self.log_alpha) if cfg["alpha_mode"] == ADAPTED else cfg["alpha"]
        cost = math.exp(self.log_entropy_cost) if cfg["entropy_mode"] == ADAPTED else cfg["entropy_cost"]
        leaf = {k: v.clone().requires_grad_(True) for k, v in self.online.items()}
        stored = self.one_hot(a) if self.categorical else a

        # E19
        with torch.no_grad():
            of_value = (self.target if cfg["value_source"] == TARGET else self.online)["policy"]
            of_kl = (self.target if cfg["kl_source"] == TARGET else self.online)["policy"]
            value = self.expected_q(self.policy(of_value, x), x, noise["target"])
            value = value - alpha * self.divergence(self.policy(of_kl, x), x, noise["target"])
            log_pi = self.policy(of_value, x[:T]).log_prob(a)  # of u, as log_mu is
            trace = cfg["lambda_"] * torch.clamp(torch.exp(log_pi - batch["log_mu"]), max=1.0) * mask
            q_target = self.critics(self.target["critic"], x[:T], stored).min(0).values
            gamma = cfg["discount"] * batch["discount"]
            retrace = torch.zeros(T, B)
            for t in reversed(range(T)):
                bracket = value[t + 1].clone()
                if t + 1 < T:
                    bracket = bracket + trace[t + 1] * (retrace[t + 1] - q_target[t + 1])
                retrace[t] = batch["reward"][t] + gamma[t] * bracket

        # E20
        q = self.critics(leaf["critic"], x[:T], stored)
        critic_loss = (weight * 0.5 * (q - retrace) ** 2).sum()
        # E21, or MPO's E-step and M-step in place of its first term
        pi = self.policy(leaf["policy"], x[:T])
        kl, entropy = self.divergence(pi, x[:T], noise["policy"]), self.entropy(pi, noise["policy"])
        em_kl = torch.zeros(T, B)
        if cfg["improvement"] == EM:
            improve, em_kl = self.weighted_likelihood(pi, x[:T], noise["policy"])
        else:
            improve = -self.expected_q(pi, x[:T], noise["policy"])
        policy_loss = (weight * (improve + alpha * kl - cost * entropy)).sum()
        # E22
        learns = cfg["prior_kind"] == LEARNED
        prior_loss = (weight * pi.detach().kl(self.prior(leaf["prior"], x[:T]))).sum() if learns else torch.zeros(())

        grad = {"prior": torch.zeros_like(leaf["prior"])}
        for name, loss in (("critic", critic_loss), ("policy", policy_loss), ("prior", prior_loss)):
            if name != "prior" or learns:
                (grad[name],) = torch.autograd.grad(loss, leaf[name], retain_graph=True)

        with torch.no_grad():
            mean = lambda z: (weight * z).sum()
            later = mask[1:].sum()
            q0 = q[0]
            metrics = dict(
                critic_loss=critic_loss, policy_loss=policy_loss, prior_loss=prior_loss, kl=mean(kl),
                entropy=mean(entropy), q_mean=mean(q0), q_std=torch.sqrt(mean((q0 - mean(q0)) ** 2)),
                target_mean=mean(retrace), td_abs=mean((q0 - retrace).abs()), value_mean=mean(value[1:]),
                trace_mean=trace[1:].sum() / later if later > 0 else torch.zeros(()),
                policy_std=torch.zeros(()) if self.categorical else mean(pi.std.mean(-1)), em_kl=mean(em_kl),
                em_temperature=torch.tensor(math.exp(self.log_eta) if cfg["improvement"] == EM else 0.0),
                alpha=torch.tensor(alpha), entropy_cost=torch.tensor(cost),
                critic_grad_norm=grad["critic"].norm(), policy_grad_norm=grad["policy"].norm(),
                prior_grad_norm=grad["prior"].norm() if grad["prior"].numel() else torch.zeros(()))
        return metrics, dict(value=value, q=q, trace=trace, retrace=retrace, log_pi=log_pi, kl=kl, entropy=entropy), grad

    def step(self, batch, noise):
        return step(self, super().step(batch, noise))


class Squashed(Gaussian):
    """Scored before the tanh; the entropy is that after it, by the owner's noise: T + 1 rows are those of V, T those of the loss."""

    def __init__(self, mean, std, owner):
        super().__init__(mean, std)
        self.owner = owner

    def entropy(self):
        u = self.mean[..., None, :] + self.std[..., None, :] * self.owner.noise[self.mean.shape[0]]
        assert u.abs().max() < 9
        return super().entropy() + torch.log(1 - torch.tanh(u) ** 2).sum(-1).mean(-1)


class Deep(Structured):
    """With memory or two levels."""

    def __init__(self, cfg, g):
        super().__init__(cfg, g)
        self.log_eta = math.log(cfg["em_temperature"])

    def head(self, raw):
        pi = super().head(raw)
        return Squashed(pi.mean, pi.std, self) if self.cfg["squash"] else pi

    def boxed(self, a):
        return torch.tanh(a) if self.cfg["squash"] and not self.categorical else super().boxed(a)

    def expected(self, pi, batch, x, z, noise):
        """What the policy is to make large; in the loss of MPO that is E_q[log pi]."""
        if self.cfg["improvement"] != EM or x.shape[0] == self.cfg["length"] + 1:
            return super().expected(pi, batch, x, z, noise)
        with torch.no_grad():
            old = self.unroll("policy", "low", self.target["policy"], batch, x, None)
            if self.categorical:
                a = torch.eye(self.cfg["actions"]).expand(*x.shape[:-1], -1, -1)
            else:
                a = old.mean[..., None, :] + old.std[..., None, :] * noise
            Q = self.q(self.target["critic"], x, z, self.critic_memory(self.target["critic"], batch, x), a).min(0).values
            boltzmann = torch.exp(Q / math.exp(self.log_eta))
            base = old.p if self.categorical else torch.full_like(Q, 1.0 / Q.shape[-1])
            q = base * boltzmann / (base * boltzmann).sum(-1, keepdim=True)
            self.em_kl = (q * torch.log(q / base)).sum(-1)
        if self.categorical:
            return (q * pi.logp).sum(-1)
        return (q * Gaussian(pi.mean[..., None, :], pi.std[..., None, :]).log_prob(a)).sum(-1)

    def losses(self, batch, noise):
        cfg = self.cfg
        T, B = batch["mask"].shape
        self.noise = {T + 1: noise["target"], T: noise["policy"]}
        self.em_kl = torch.zeros(T, B)
        metrics, parts, grad = super().losses(batch, noise)
        counted = batch["mask"].clone()
        counted[:cfg["burn_in"]] = 0
        metrics["em_kl"] = (counted * self.em_kl).sum() / counted.sum()
        metrics["em_temperature"] = torch.tensor(math.exp(self.log_eta) if cfg["improvement"] == EM else 0.0)
        return metrics, parts, grad

    def step(self, batch, noise):
        return step(self, super().step(batch, noise))


def config_tensors(cfg):
    out = {}
    for key, v in cfg.items():
        if key.endswith("_fields"):
            out["config/" + key] = torch.tensor(field_numbers(v) or [-2.0])
        elif key.endswith("_width"):
            out["config/" + key] = torch.tensor([float(len(v))] + [float(w) for w in v])
        elif key not in ("boundaries", "wandering"):
            out["config/" + key.rstrip("_")] = torch.tensor([float(v)])
    return out


def finish(name, out, text):
    out = {k: v.detach().to(torch.float64).contiguous() for k, v in out.items() if v.numel()}
    assert all(torch.isfinite(v).all() for v in out.values())
    path = os.path.join(HERE, f"relatives_{name}.safetensors")
    save(out, path, f"relatives_oracle.py case {name}, torch {torch.__version__.split('+')[0]}")
    print(f"{name:30s} {text}")
    return os.path.getsize(path)


def substantial(name, what, grad):
    """A case in which something is (nearly) zero proves nothing about it."""
    assert float(grad.norm()) > 1e-2, (name, what, float(grad.norm()))
    assert float((grad.abs() > 1e-7).double().mean()) > 0.8, (name, what, float((grad.abs() > 1e-7).double().mean()))


def make_learner_case(number, name, cfg):
    for attempt in range(1000):
        g = torch.Generator().manual_seed(200000 + 1000 * number + attempt)
        if "latent" in cfg:
            learner = Deep(cfg, g)
            learner.noise = None
            batch, noise = structured_oracle.make_batch(learner, g)
            batch.setdefault("state", torch.zeros(cfg["batch"], 0))
        else:
            learner = Relative(cfg, g)
            batch, noise = make_batch(learner, g)
            if cfg["wandering"]:  # the task of a row is what its observation says, whatever that of the row before
                task = torch.randint(0, 2, batch["observation"].shape[:2], generator=g)
                batch["observation"][..., learner.where["task"]] = torch.nn.functional.one_hot(task, 2).to(torch.float64)
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
                out.update({f"out/{'grad' if step == 1 else 'grad3'}/{k}": v.clone() for k, v in grad.items()})
                for key in ("online", "target"):
                    out.update({f"out/step{step}/{net}/{key}": p.clone() for net, p in getattr(learner, key).items()})
        if margin > 2e-4:
            break
    else:
        raise RuntimeError("no seed without a kink: " + name)
    out["out/step3/alpha"] = torch.tensor([math.exp(learner.log_alpha)])
    out["out/step3/entropy_cost"] = torch.tensor([math.exp(learner.log_entropy_cost)])
    out["out/step3/em_temperature"] = torch.tensor([math.exp(learner.log_eta)])
    for net in ("policy", "critic") + (("prior",) if cfg["prior_kind"] == LEARNED else ()):
        blocks = cfg["n_tasks"] if net == "policy" else 1
        if net == "critic":
            blocks = learner.C * (cfg["n_tasks"] if cfg["separate_critics"] else 1)
        for block in out[f"out/grad/{net}"].reshape(blocks, -1):
            substantial(name, net, block)
    if cfg["improvement"] == EM:
        assert float(out["out/metrics/em_kl"]) > 1e-2, (name, out["out/metrics/em_kl"])
    out.update({f"batch/{k}": v for k, v in batch.items()})
    out.update({f"noise/{k}": v for k, v in noise.items() if v is not None})
    out.update(config_tensors(cfg))
    return finish(name, out, f"seed +{attempt:<3d} margin {margin:.1e}  " + "  ".join(
        f"{k} {out['out/metrics/' + k].item():+.4f}" for k in ("critic_loss", "policy_loss", "kl", "entropy", "em_kl",
                                                                "policy_grad_norm")))


def make_clone_case(number, name, cfg):
    """E17 with the data's own policy: the mean of -log pi0(a|x) over the rows that count. Memory starts from zeros."""
    g = torch.Generator().manual_seed(200000 + 1000 * number)
    learner = Learner(cfg, g)  # for its fields, heads and batches
    batch, _ = make_batch(learner, g)
    T, B = batch["mask"].shape
    A, H = cfg["actions"], cfg["policy_lstm"]
    net = Level(learner.see(cfg["policy_fields"]), 0, cfg["policy_width"], H, A if learner.categorical else 2 * A,
                cfg["layer_norm"])
    params = net.random(g, 0.8)
    m, v = torch.zeros_like(params), torch.zeros_like(params)
    first = torch.cat([torch.zeros(1, B), 1 - batch["mask"][:-1]]) > 0
    counts = batch["mask"].clone()
    counts[:cfg["burn_in"]] = 0
    weight = counts / counts.sum()
    # Here both halves of the definition can be told apart: an episode begins within what is learned from, and one before.
    assert first[cfg["burn_in"] + 1:].any() and (counts.sum() < counts.numel())
    out = {"net/policy/online": params.clone()}
    for k in (1, 2, 3):
        leaf = params.clone().requires_grad_(True)
        raw = net(leaf, batch["observation"][:T], None, torch.zeros(B, 2 * H), first, cfg["burn_in"])
        loss = -(weight * learner.head(raw).log_prob(batch["action"])).sum()
        (grad,) = torch.autograd.grad(loss, leaf)
        norm = float(grad.norm())
        if k == 1:
            substantial(name, "policy", grad)
            out.update({"out/loss": loss.reshape(1), "out/grad_norm": grad.norm().reshape(1), "out/grad": grad.clone()})
        if k == 3:
            out.update({"out/step3/loss": loss.reshape(1), "out/grad3": grad.clone()})
        if cfg["clip_norm"] > 0 and norm > cfg["clip_norm"]:
            grad = grad * (cfg["clip_norm"] / norm)
        m = cfg["beta1"] * m + (1 - cfg["beta1"]) * grad
        v = cfg["beta2"] * v + (1 - cfg["beta2"]) * grad * grad
        params = params - cfg["lr"] * (m / (1 - cfg["beta1"]**k)) / (torch.sqrt(v / (1 - cfg["beta2"]**k)) + cfg["epsilon"])
        if k != 2:
            out[f"out/step{k}/policy"] = params.clone()
    out.update({f"batch/{k}": t for k, t in batch.items()})
    out.update(config_tensors(cfg))
    return finish(name, out, f"loss {out['out/loss'].item():+.4f}  grad_norm {out['out/grad_norm'].item():+.4f}")


def main():
    chosen = set(sys.argv[1:])
    if not chosen:
        for old in os.listdir(HERE):
            if old.startswith("relatives_") and old.endswith(".safetensors"):
                os.remove(os.path.join(HERE, old))
    total = 0
    for i, (name, overrides) in enumerate(CASES.items()):
        defaults = DEEP if "latent" in overrides else DEFAULTS
        assert not set(overrides) - set(defaults), name
        cfg = dict(defaults, **overrides)
        if not chosen or name in chosen:
            total += (make_clone_case if cfg.get("clone") else make_learner_case)(i, name, cfg)
    print(f"{len(CASES)} cases, {total / 1e6:.2f} MB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
