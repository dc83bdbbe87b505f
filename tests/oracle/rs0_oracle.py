#!/usr/bin/env python3
"""Independent oracle of the learner (chapter 18): whole steps of SVG(0) with Retrace in PyTorch.

Written from docs/equations.md (E4, E6, E8, E14, E17-E22, E32, E33, E35, E36) and the public
declarations alone; it shares no code and no structure with bprior.h. Everything is double precision
and every gradient is autograd's. The formulas are spelled row by row where that is what the equation
says, because an oracle has to be read, not to be fast.

    python3 tests/oracle/rs0_oracle.py            # rewrites tests/oracle/rs0_*.safetensors

One file per case. Tensors (all F64, time first):

    config/*                       [1]          numbers that rebuild the configuration
    net/{policy,prior,critic}/{online,target}   parameter vectors before the step
    batch/{observation,action,reward,discount,log_mu,mask}
    noise/{target,policy}          absent for categorical actions
    out/metrics/<name>             [1]          bp_rs0_metrics of the first step
    out/{value,q,trace,retrace}                 intermediate numbers of the first step
    out/{log_pi,kl,entropy}        [T][B]       of the first step, for whoever has to find a mistake
    out/grad/{policy,prior,critic}              gradients of the first step
    out/grad3/...                               of the third step
    out/step<k>/{policy,prior,critic}/{online,target}   parameters after k = 1, 3 steps (Adam, target copies)
    out/step3/{alpha,entropy_cost} [1]          penalty weights after three steps

Inputs are multiples of 2^-12, so that they are the same numbers in single precision.
"""
import math
import os

import torch

from lstm_oracle import save

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

HERE = os.path.dirname(os.path.abspath(__file__))
GAUSSIAN, CATEGORICAL = 0, 1
NONE, UNIFORM, ISOTROPIC, PREVIOUS, LEARNED, FIXED = range(6)
TARGET, ONLINE = 0, 1
SCHEDULED, ADAPTED = 0, 1
LOG_2PI = math.log(2 * math.pi)

# The observation: (name, size). The test builds the same spec.
FIELDS = [("position", 2), ("velocity", 2), ("goal", 1), ("task", 2)]

DEFAULTS = dict(
    output=GAUSSIAN, actions=2, batch=4, length=10, samples=3,
    policy_fields=["*"], prior_fields=["position", "goal"], critic_fields=["*"],
    policy_width=[5, 4], prior_width=[5, 4], critic_width=[6, 5],
    layer_norm=1, tanh_mean=1, init_std=0.7, min_std=0.1,
    prior_kind=NONE, prior_std=1.0, twin=0, n_tasks=1,
    discount=0.97, lambda_=0.9, alpha=0.3, entropy_cost=0.05, value_source=TARGET, kl_source=TARGET,
    alpha_mode=SCHEDULED, kl_target=1.0, alpha_lr=0.05, entropy_mode=SCHEDULED, entropy_target=0.0, entropy_lr=0.05,
    lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, clip_norm=0.0, target_period=100, tau=0.0,
    boundaries=1,
)

CASES = {
    "none_t1": dict(length=1, boundaries=0),
    "none_t10": dict(lambda_=1.0),
    "none_twin": dict(twin=1),
    "uniform": dict(prior_kind=UNIFORM),
    "uniform_t1": dict(prior_kind=UNIFORM, length=1, lambda_=1.0),
    "isotropic": dict(prior_kind=ISOTROPIC, prior_std=0.75),
    "previous": dict(prior_kind=PREVIOUS),
    "previous_kl_online": dict(prior_kind=PREVIOUS, kl_source=ONLINE, lambda_=1.0),
    "learned": dict(prior_kind=LEARNED, lambda_=1.0),
    "learned_t1": dict(prior_kind=LEARNED, length=1),
    "learned_twin": dict(prior_kind=LEARNED, twin=1, prior_fields=["goal", "position"]),
    "learned_kl_online": dict(prior_kind=LEARNED, kl_source=ONLINE),
    "learned_value_online": dict(prior_kind=LEARNED, value_source=ONLINE),
    "learned_both_online": dict(prior_kind=LEARNED, value_source=ONLINE, kl_source=ONLINE, twin=1, lambda_=1.0),
    "learned_clip_period": dict(prior_kind=LEARNED, clip_norm=0.1, target_period=1),
    "learned_twin_polyak": dict(prior_kind=LEARNED, twin=1, tau=0.1),
    "learned_period2": dict(prior_kind=LEARNED, target_period=2),
    "learned_plain": dict(prior_kind=LEARNED, layer_norm=0, tanh_mean=0, policy_width=[5], prior_width=[],
                          critic_width=[6, 5, 4], critic_fields=["task", "velocity"], prior_fields=["velocity"]),
    "learned_tasks": dict(prior_kind=LEARNED, n_tasks=2, target_period=1),
    "learned_tasks_twin": dict(prior_kind=LEARNED, n_tasks=2, twin=1),
    "learned_adapted": dict(prior_kind=LEARNED, alpha_mode=ADAPTED, kl_target=0.5, entropy_mode=ADAPTED,
                            entropy_target=1.5),
    "fixed_twin": dict(prior_kind=FIXED, twin=1),
    "categorical_none": dict(output=CATEGORICAL, actions=3),
    "categorical_uniform": dict(output=CATEGORICAL, actions=3, prior_kind=UNIFORM, n_tasks=2),
    "categorical_isotropic": dict(output=CATEGORICAL, actions=3, prior_kind=ISOTROPIC, length=1),
    "categorical_previous": dict(output=CATEGORICAL, actions=3, prior_kind=PREVIOUS, kl_source=ONLINE),
    "categorical_learned": dict(output=CATEGORICAL, actions=3, prior_kind=LEARNED, lambda_=1.0),
    "categorical_learned_twin": dict(output=CATEGORICAL, actions=3, prior_kind=LEARNED, twin=1, value_source=ONLINE,
                                     tau=0.1),
}


def grid(x):
    """Round to multiples of 2^-12: exact in float as well as in double."""
    return torch.round(x * 4096.0) / 4096.0


class Net:
    """Shapes of one MLP and its parameter vector: 0/w 0/b [0/gain 0/shift] 1/w 1/b ..."""

    def __init__(self, inputs, widths, outputs, layer_norm):
        sizes = [inputs] + list(widths) + [outputs]
        self.hidden = len(widths)
        self.layer_norm = bool(layer_norm) and self.hidden > 0
        self.views = []
        for i in range(len(sizes) - 1):
            self.views += [(i, "w", (sizes[i], sizes[i + 1])), (i, "b", (sizes[i + 1],))]
            if i == 0 and self.layer_norm:
                self.views += [(i, "gain", (sizes[1],)), (i, "shift", (sizes[1],))]
        self.n = sum(math.prod(shape) for _, _, shape in self.views)

    def random(self, generator, last):
        parts = []
        for i, kind, shape in self.views:
            z = torch.randn(shape, generator=generator)
            if kind == "w":
                z = z / math.sqrt(shape[0]) * (last if i == self.hidden else 1.2)
            elif kind == "gain":
                z = 1 + 0.3 * z
            else:
                z = 0.3 * z
            parts.append(grid(z).reshape(-1))
        return torch.cat(parts)

    def __call__(self, params, x):
        at, p = 0, {}
        for i, kind, shape in self.views:
            n = math.prod(shape)
            p[i, kind] = params[at:at + n].reshape(shape)
            at += n
        assert at == params.numel()
        for i in range(self.hidden + 1):
            x = x @ p[i, "w"] + p[i, "b"]
            if i == self.hidden:
                return x
            if i == 0 and self.layer_norm:
                centred = x - x.mean(-1, keepdim=True)
                variance = (centred * centred).mean(-1, keepdim=True)
                x = torch.tanh(centred / torch.sqrt(variance + 1e-5) * p[0, "gain"] + p[0, "shift"])
            else:
                x = torch.where(x > 0, x, torch.expm1(torch.clamp(x, max=0.0)))


class Gaussian:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def log_prob(self, a):
        return (-0.5 * ((a - self.mean) / self.std) ** 2 - torch.log(self.std) - 0.5 * LOG_2PI).sum(-1)

    def entropy(self):
        return (torch.log(self.std) + 0.5 * LOG_2PI + 0.5).sum(-1)

    def kl(self, other):
        return (torch.log(other.std / self.std) + (self.std**2 + (self.mean - other.mean) ** 2) / (2 * other.std**2)
                - 0.5).sum(-1)

    def detach(self):
        return Gaussian(self.mean.detach(), self.std.detach())


class Categorical:
    def __init__(self, logits):
        self.logits = logits
        self.logp = logits - torch.logsumexp(logits, -1, keepdim=True)
        self.p = torch.exp(self.logp)

    def log_prob(self, a):
        return self.logp.gather(-1, a[..., :1].long())[..., 0]

    def entropy(self):
        return -(self.p * self.logp).sum(-1)

    def kl(self, other):
        return (self.p * (self.logp - other.logp)).sum(-1)

    def detach(self):
        return Categorical(self.logits.detach())


class Learner:
    def __init__(self, cfg, generator):
        self.cfg = cfg
        A = cfg["actions"]
        self.where, at = {}, 0
        for name, size in FIELDS:
            self.where[name] = list(range(at, at + size))
            at += size
        self.O = at
        self.categorical = cfg["output"] == CATEGORICAL
        dist = A if self.categorical else 2 * A
        self.policy_net = Net(len(self.see(cfg["policy_fields"])), cfg["policy_width"], dist, cfg["layer_norm"])
        self.prior_net = Net(len(self.see(cfg["prior_fields"])), cfg["prior_width"], dist, cfg["layer_norm"])
        self.critic_net = Net(len(self.see(cfg["critic_fields"])) + A, cfg["critic_width"], 1, cfg["layer_norm"])
        self.C = 2 if cfg["twin"] else 1
        has_prior = cfg["prior_kind"] in (LEARNED, FIXED)
        copies = {"policy": (self.policy_net, cfg["n_tasks"], 0.8), "prior": (self.prior_net, int(has_prior), 0.8),
                  "critic": (self.critic_net, self.C, 1.5)}
        self.online, self.target, self.m, self.v = {}, {}, {}, {}
        for name, (net, count, last) in copies.items():
            draw = lambda: torch.cat([net.random(generator, last) for _ in range(count)] + [torch.zeros(0)])
            self.online[name] = draw()
            # Targets are different enough that no mix-up of the two can hide.
            self.target[name] = grid(0.8 * self.online[name] + 0.35 * draw())
            if name == "prior" and cfg["prior_kind"] == FIXED:
                self.target[name] = self.online[name].clone()
            self.m[name] = torch.zeros_like(self.online[name])
            self.v[name] = torch.zeros_like(self.online[name])
        self.steps = 0
        self.log_alpha = math.log(cfg["alpha"])
        self.log_entropy_cost = math.log(cfg["entropy_cost"])

    def see(self, names):
        names = list(self.where) if names == ["*"] else names
        return [i for name in names for i in self.where[name]]

    def head(self, raw):
        cfg, A = self.cfg, self.cfg["actions"]
        if self.categorical:
            return Categorical(raw)
        mean = torch.tanh(raw[..., :A]) if cfg["tanh_mean"] else raw[..., :A]
        softplus = torch.logaddexp(raw[..., A:], torch.zeros(()))
        return Gaussian(mean, softplus * (cfg["init_std"] / math.log(2.0)) + cfg["min_std"])

    def tasks(self, x):
        """Which task's policy answers for each row."""
        return x[..., self.where["task"]].argmax(-1)

    def policy(self, params, x):
        seen = x[..., self.see(self.cfg["policy_fields"])]
        if self.cfg["n_tasks"] == 1:
            return self.head(self.policy_net(params, seen))
        blocks = params.reshape(self.cfg["n_tasks"], self.policy_net.n)
        raw = torch.stack([self.policy_net(b, seen) for b in blocks], -2)
        index = self.tasks(x)[..., None, None].expand(*x.shape[:-1], 1, raw.shape[-1])
        return self.head(raw.gather(-2, index)[..., 0, :])

    def prior(self, params, x):
        return self.head(self.prior_net(params, x[..., self.see(self.cfg["prior_fields"])]))

    def kl(self, pi, x):
        """KL[pi || pi0'] in nats; the prior is a constant here."""
        cfg, A, kind = self.cfg, self.cfg["actions"], self.cfg["prior_kind"]
        if kind == NONE:
            return torch.zeros(x.shape[:-1])
        if kind == UNIFORM:  # -H + log(number of choices, or volume of the box [-1,1]^A)
            return -pi.entropy() + (math.log(A) if self.categorical else A * math.log(2.0))
        if kind == ISOTROPIC:
            if self.categorical:
                return pi.kl(Categorical(torch.zeros(A)))
            return pi.kl(Gaussian(torch.zeros(A), torch.full((A,), cfg["prior_std"])))
        if kind == PREVIOUS:
            return pi.kl(self.policy(self.target["policy"], x).detach())
        return pi.kl(self.prior(self.target["prior"], x).detach())

    def one_hot(self, a):
        return torch.nn.functional.one_hot(a[..., 0].long(), self.cfg["actions"]).to(torch.float64)

    def critics(self, params, x, a):
        """[C] + shape of x: each critic's opinion of the action the environment would see."""
        u = torch.clamp(a, -1.0, 1.0)
        inputs = torch.cat([x[..., self.see(self.cfg["critic_fields"])], u], -1)
        return torch.stack([self.critic_net(p, inputs)[..., 0] for p in params.reshape(self.C, self.critic_net.n)])

    def expected_q(self, pi, x, noise):
        """E_a~pi[min_c Q'_c(x,a)]: S reparameterised samples, or all K choices. Differentiable in pi."""
        if self.categorical:
            choices = torch.eye(self.cfg["actions"]).expand(*x.shape[:-1], -1, -1)
            xs = x[..., None, :].expand(*x.shape[:-1], self.cfg["actions"], x.shape[-1])
            return (pi.p * self.critics(self.target["critic"], xs, choices).min(0).values).sum(-1)
        a = pi.mean[..., None, :] + pi.std[..., None, :] * noise
        xs = x[..., None, :].expand(*a.shape[:-1], x.shape[-1])
        q = self.critics(self.target["critic"], xs, a)
        # The oracle's inputs must not sit on a kink, where float and double could choose differently.
        self.margin = min(self.margin, float((a.detach().abs() - 1).abs().min()))
        if self.C == 2:
            self.margin = min(self.margin, float((q[0] - q[1]).detach().abs().min()))
        return q.min(0).values.mean(-1)

    def losses(self, batch, noise):
        cfg = self.cfg
        T, B = batch["mask"].shape
        x, a, mask = batch["observation"], batch["action"], batch["mask"]
        weight = mask / mask.sum()
        alpha = math.exp(self.log_alpha) if cfg["alpha_mode"] == ADAPTED else cfg["alpha"]
        cost = math.exp(self.log_entropy_cost) if cfg["entropy_mode"] == ADAPTED else cfg["entropy_cost"]
        leaf = {k: v.clone().requires_grad_(True) for k, v in self.online.items()}
        stored = self.one_hot(a) if self.categorical else a

        # E19. Everything in the target is a constant of the losses.
        with torch.no_grad():
            sources = {TARGET: self.policy(self.target["policy"], x), ONLINE: self.policy(self.online["policy"], x)}
            pi_v, pi_kl = sources[cfg["value_source"]], sources[cfg["kl_source"]]
            value = self.expected_q(pi_v, x, noise["target"]) - alpha * self.kl(pi_kl, x)
            log_pi = self.policy(self.target["policy"] if cfg["value_source"] == TARGET else self.online["policy"],
                                 x[:T]).log_prob(a)
            trace = cfg["lambda_"] * torch.clamp(torch.exp(log_pi - batch["log_mu"]), max=1.0) * mask
            q_target = self.critics(self.target["critic"], x[:T], stored).min(0).values
            gamma = cfg["discount"] * batch["discount"]
            retrace = torch.zeros(T, B)
            for b in range(B):
                for t in reversed(range(T)):
                    bracket = value[t + 1, b]
                    if t + 1 < T:
                        bracket = bracket + trace[t + 1, b] * (retrace[t + 1, b] - q_target[t + 1, b])
                    retrace[t, b] = batch["reward"][t, b] + gamma[t, b] * bracket

        # E20
        q = self.critics(leaf["critic"], x[:T], stored)
        critic_loss = (weight * 0.5 * (q - retrace) ** 2).sum()
        # E21
        pi = self.policy(leaf["policy"], x[:T])
        kl, entropy = self.kl(pi, x[:T]), pi.entropy()
        policy_loss = (weight * (-self.expected_q(pi, x[:T], noise["policy"]) + alpha * kl - cost * entropy)).sum()
        # E22
        prior_loss = torch.zeros(())
        if cfg["prior_kind"] == LEARNED:
            prior_loss = (weight * pi.detach().kl(self.prior(leaf["prior"], x[:T]))).sum()

        grad = {}
        for name, loss in (("critic", critic_loss), ("policy", policy_loss), ("prior", prior_loss)):
            if name == "prior" and cfg["prior_kind"] != LEARNED:
                grad[name] = torch.zeros_like(leaf[name])
            else:
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
                policy_std=torch.zeros(()) if self.categorical else mean(pi.std.mean(-1)),
                alpha=torch.tensor(alpha), entropy_cost=torch.tensor(cost),
                critic_grad_norm=grad["critic"].norm(), policy_grad_norm=grad["policy"].norm(),
                prior_grad_norm=grad["prior"].norm() if grad["prior"].numel() else torch.zeros(()))
        parts = dict(value=value, q=q, trace=trace, retrace=retrace, log_pi=log_pi, kl=kl, entropy=entropy)
        return metrics, parts, grad

    def step(self, batch, noise):
        cfg = self.cfg
        self.margin = float("inf")
        metrics, parts, grad = self.losses(batch, noise)
        self.steps += 1
        k = self.steps
        for name, g in grad.items():
            if name == "prior" and cfg["prior_kind"] != LEARNED:
                continue
            norm = float(g.norm())  # all tasks, or both critics, are one vector
            if cfg["clip_norm"] > 0 and norm > cfg["clip_norm"]:
                g = g * (cfg["clip_norm"] / norm)
            b1, b2 = cfg["beta1"], cfg["beta2"]
            self.m[name] = b1 * self.m[name] + (1 - b1) * g
            self.v[name] = b2 * self.v[name] + (1 - b2) * g * g
            m_hat, v_hat = self.m[name] / (1 - b1**k), self.v[name] / (1 - b2**k)
            self.online[name] = self.online[name] - cfg["lr"] * m_hat / (torch.sqrt(v_hat) + cfg["epsilon"])
        for name in self.target:
            if cfg["tau"] > 0:
                self.target[name] = (1 - cfg["tau"]) * self.target[name] + cfg["tau"] * self.online[name]
            elif k % cfg["target_period"] == 0:
                self.target[name] = self.online[name].clone()
        # Adapted weights: a plain step on the logarithm, up when the KL is above (the entropy below) its target.
        if cfg["alpha_mode"] == ADAPTED:
            self.log_alpha += cfg["alpha_lr"] * (float(metrics["kl"]) - cfg["kl_target"])
        if cfg["entropy_mode"] == ADAPTED:
            self.log_entropy_cost += cfg["entropy_lr"] * (cfg["entropy_target"] - float(metrics["entropy"]))
        return metrics, parts, grad


def make_batch(learner, g):
    cfg = learner.cfg
    T, B, O, A = cfg["length"], cfg["batch"], learner.O, cfg["actions"]
    x = grid(torch.randn(T + 1, B, O, generator=g))
    mask, discount = torch.ones(T, B), torch.ones(T, B)
    if cfg["boundaries"]:
        # Column 0: never ends. 1: terminates inside. 2: truncates inside. 3: begins with a boundary row (and,
        # when there is room, terminates again so that the sequence's last row is a boundary too).
        if T == 1:
            mask[0, 3], discount[0, 1] = 0, 0
        else:
            mask[4, 1], discount[3, 1] = 0, 0
            mask[6, 2] = 0
            mask[0, 3], mask[T - 1, 3], discount[T - 2, 3] = 0, 0, 0
    elif T == 1:
        discount[0, 2] = 0
    if cfg["n_tasks"] > 1:
        # The task may change only where an episode does: rows after a boundary row.
        for b in range(B):
            task = b % 2
            for t in range(T + 1):
                if t > 0 and mask[t - 1, b] == 0:
                    task = 1 - task
                x[t, b, learner.where["task"]] = torch.eye(2)[task]
    with torch.no_grad():
        if learner.categorical:
            a = torch.randint(0, A, (T, B, 1), generator=g).to(torch.float64)
        else:
            a = grid(0.9 * torch.randn(T, B, A, generator=g))  # about a quarter of the entries outside the box
        log_pi = learner.policy(learner.target["policy"], x[:T]).log_prob(a)
        log_mu = grid(log_pi + 0.6 * torch.randn(T, B, generator=g) + 0.1)
    # Masked rows keep their random action, reward and log_mu: they must not matter.
    batch = dict(observation=x, action=a, reward=grid(torch.randn(T, B, generator=g)), discount=discount,
                 log_mu=log_mu, mask=mask)
    noise = dict(target=None, policy=None)
    if not learner.categorical:
        noise = dict(target=grid(torch.randn(T + 1, B, cfg["samples"], A, generator=g)),
                     policy=grid(torch.randn(T, B, cfg["samples"], A, generator=g)))
    return batch, noise


def field_numbers(names):
    """Field lists are stored as numbers into FIELDS, in their order; -1 is "*"."""
    order = [n for n, _ in FIELDS]
    return [-1.0] if names == ["*"] else [float(order.index(n)) for n in names]


def make_case(number, name, overrides):
    cfg = dict(DEFAULTS)
    unknown = set(overrides) - set(cfg)
    assert not unknown, unknown
    cfg.update(overrides)
    for attempt in range(1000):
        g = torch.Generator().manual_seed(1000 * (number + 1) + attempt)
        learner = Learner(cfg, g)
        batch, noise = make_batch(learner, g)
        out, margin = {}, float("inf")
        for key in ("online", "target"):
            for net, p in getattr(learner, key).items():
                if p.numel():
                    out[f"net/{net}/{key}"] = p.clone()
        for step in (1, 2, 3):
            metrics, parts, grad = learner.step(batch, noise)
            margin = min(margin, learner.margin)
            if step == 1:
                out.update({f"out/metrics/{k}": v.reshape(1).clone() for k, v in metrics.items()})
                out.update({f"out/{k}": v.detach().clone() for k, v in parts.items()})
            if step != 2:
                tag = "grad" if step == 1 else "grad3"
                out.update({f"out/{tag}/{k}": v.clone() for k, v in grad.items() if v.numel()})
                for key in ("online", "target"):
                    out.update({f"out/step{step}/{net}/{key}": p.clone()
                                for net, p in getattr(learner, key).items() if p.numel()})
        if margin > 2e-4:
            break
    else:
        raise RuntimeError("no seed without a kink: " + name)
    out["out/step3/alpha"] = torch.tensor([math.exp(learner.log_alpha)])
    out["out/step3/entropy_cost"] = torch.tensor([math.exp(learner.log_entropy_cost)])
    # A case in which something is (nearly) zero proves nothing about it.
    for net in ("policy", "critic") + (("prior",) if cfg["prior_kind"] == LEARNED else ()):
        assert float(out[f"out/grad/{net}"].norm()) > 1e-2, (name, net)
        assert float((out[f"out/grad/{net}"].abs() > 1e-7).double().mean()) > 0.9, (name, net)
    out.update({f"batch/{k}": v for k, v in batch.items()})
    out.update({f"noise/{k}": v for k, v in noise.items() if v is not None})
    for key, v in cfg.items():
        if key.endswith("_fields"):
            out["config/" + key] = torch.tensor(field_numbers(v))
        elif key.endswith("_width"):
            out["config/" + key] = torch.tensor([float(len(v))] + [float(w) for w in v])
        elif key != "boundaries":
            out["config/" + key.rstrip("_")] = torch.tensor([float(v)])
    out = {k: v.detach().to(torch.float64).contiguous() for k, v in out.items()}
    assert all(torch.isfinite(v).all() for v in out.values())
    path = os.path.join(HERE, f"rs0_{name}.safetensors")
    save(out, path, f"rs0_oracle.py case {name}, torch {torch.__version__.split('+')[0]}")
    print(f"{name:26s} seed +{attempt:<3d} margin {margin:.1e}  " + "  ".join(
        f"{k} {float(out['out/metrics/' + k]):+.4f}" for k in ("critic_loss", "policy_loss", "prior_loss", "kl",
                                                                "trace_mean", "critic_grad_norm", "policy_grad_norm")))
    return os.path.getsize(path)


def main():
    for old in os.listdir(HERE):
        if old.startswith("rs0_") and old.endswith(".safetensors"):
            os.remove(os.path.join(HERE, old))
    total = sum(make_case(i, name, overrides) for i, (name, overrides) in enumerate(CASES.items()))
    print(f"{len(CASES)} cases, {total / 1e6:.2f} MB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
