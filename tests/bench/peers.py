#!/usr/bin/env python3
"""The rows of `make bench-peers` in PyTorch, measured in turn with ours.

    python3 tests/bench/peers.py build/bench/bench_peers [--out build/bench-peers.json] [--threads 1] [--rows rs0,sac] [--quick]

bench_peers (bench_peers.c) writes where a row starts: parameters, batch, noise. Three steps are taken from there by each way in
which PyTorch can do the row, and losses and norms of gradients must agree with ours to 1e-4: all do the same, or this program
stops. Then ours, the best eager way and the best compiled one are measured in turn, on the same pinned cores.

PyTorch is to look as good as it can: nothing it does not need (no metrics, no target policy where nothing asks for it), targets
without a graph, all samples in one batch, one backward pass, one fused Adam for all networks, twin critics as one batched product
or one by one, the state's part of the critic's first layer shared by the samples or not, whichever is faster; denormals are
zero, no garbage collection, and glibc keeps freed memory (a third of the large step is page faults otherwise).
Compiled means forward and backward in one graph, the C++ wrapper, fused multiply-adds, the fast tanh.
"""
import argparse
import gc
import json
import math
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time

CORES = sorted(os.sched_getaffinity(0))
options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("program", help="build/bench/bench_peers")
options.add_argument("--out", default="build/bench-peers.json")
options.add_argument("--threads", type=int, default=1)
options.add_argument("--rows", default="gemm,rs0,rs0_small,sac,sac_256,mlp,lstm,actor,actor_256,pendulum")
options.add_argument("--rounds", type=int, default=5, help="how often each is measured, in turn")
options.add_argument("--quick", action="store_true", help="nothing is compiled")
args = options.parse_args()
if not 1 <= args.threads <= len(CORES):
    sys.exit(f"peers.py: --threads {args.threads}, and there are {len(CORES)} cores")

# Some settings are read when a process starts: begin again with them.
SETTINGS = {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads),
            "MALLOC_MMAP_THRESHOLD_": "4000000000",
            "MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_TOP_PAD_": "100000000",
            "TORCHINDUCTOR_CACHE_DIR": os.path.abspath("build/peers-cache")}
if any(os.environ.get(k) != v for k, v in SETTINGS.items()):
    os.environ.update(SETTINGS)
    os.execv(sys.executable, [sys.executable] + sys.argv)
os.sched_setaffinity(0, CORES[-args.threads:])

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

# As in bench_peers.c: on one thread CPU time, which other programs on the machine do not count towards.
clock = time.process_time if args.threads == 1 else time.perf_counter
LOG_2, HALF_LOG_2PI = math.log(2.0), 0.5 * math.log(2 * math.pi)


def read_safetensors(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(size)), bytearray(f.read())
    out = {}
    for name, entry in head.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            out[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).reshape(entry["shape"]).clone()
    return out


class Net:
    """An MLP of the file, or several of one shape side by side ([C] first): w as PyTorch's linear has it, or [C][in][out].
    The first layer's matrix is kept in two parts, state and action."""

    def __init__(self, start, names, extra=0, learns=True):
        def tensor(part):
            one = [start[f"{name}/{part}"] for name in names]
            t = torch.stack(one) if len(one) > 1 else one[0].t() if part.endswith("/w") else one[0][0]
            return t.clone().contiguous().requires_grad_(learns)
        self.many, self.layers = len(names) > 1, 0
        while f"{names[0]}/{self.layers}/w" in start:
            self.layers += 1
        self.w = [tensor(f"{k}/w") for k in range(self.layers)]
        self.b = [tensor(f"{k}/b") for k in range(self.layers)]
        self.norm = [tensor("0/gain"), tensor("0/shift")] if f"{names[0]}/0/gain" in start else []
        self.u = []
        if extra and not self.many:  # SAC's critics see one action: they take both in one
            whole = self.w[0].detach()
            at = whole.shape[1] - extra
            self.w[0] = whole[:, :at].clone().contiguous().requires_grad_(learns)
            self.u = [whole[:, at:].clone().contiguous().requires_grad_(learns)]
        self.params = self.w + self.b + self.norm + self.u

    def linear(self, x, k):
        return torch.baddbmm(self.b[k], x, self.w[k]) if self.many else F.linear(x, self.w[k], self.b[k])

    def after(self, h):
        act = F.elu if self.norm else F.relu
        h = torch.tanh(F.layer_norm(h, h.shape[-1:], *self.norm, 1e-5)) if self.norm else act(h)
        for k in range(1, self.layers):
            h = self.linear(h, k)
            if k + 1 < self.layers:
                h = act(h)
        return h

    def __call__(self, x, u=None, shared=True):
        """u [..][S][A] belongs to x [..], or [..][A] to x [..]."""
        if u is None:
            return self.after(self.linear(x, 0))
        if self.many:
            return self.after(self.linear(torch.cat([x, u], -1).expand(len(self.w[0]), -1, -1), 0))
        samples = u.dim() > x.dim()
        if shared:
            h = self.linear(x, 0)
            return self.after((h.unsqueeze(-2) if samples else h) + F.linear(u, self.u[0]))
        if samples:
            x = x.unsqueeze(-2).expand(*u.shape[:-1], x.shape[-1])
        return self.after(F.linear(torch.cat([x, u], -1), torch.cat([self.w[0], self.u[0]], 1), self.b[0]))


class Row:
    """A training step: losses() gives what is made smaller, and what is reported; subclasses also set params and lr."""

    def begin(self, compiled):
        self.adam = torch.optim.Adam(self.params, lr=self.lr, fused=True)
        self.gradients = torch.compile(self.eager_gradients, dynamic=False, fullgraph=True) if compiled else None

    def eager_gradients(self, *inputs):
        total, told = self.losses(*inputs)
        gradients = torch.autograd.grad(total, self.params)
        return [v.detach() for v in told], [g.contiguous() for g in gradients]  # fused Adam overlooks strides

    def learn(self, *inputs):
        if self.gradients:
            told, gradients = self.gradients(*inputs)
            for p, g in zip(self.params, gradients):
                p.grad = g
        else:
            total, told = self.losses(*inputs)
            self.adam.zero_grad(set_to_none=True)
            total.backward()
        self.adam.step()
        return told

    def norms(self):
        return [math.sqrt(sum(float(p.grad.pow(2).sum()) for p in group)) for group in self.groups]


def entropy_of(std):
    return (torch.log(std) + (HALF_LOG_2PI + 0.5)).sum(-1)


def kl_of(mean, std, mean0, std0):
    return (torch.log(std0 / std) + (std * std + (mean - mean0) ** 2) / (2 * std0 * std0) - 0.5).sum(-1)


class RS0(Row):
    """SVG(0) with Retrace and a learned prior: E19 to E22 with the settings of bench_learn.h."""
    lr = 1e-4

    def __init__(self, start, compiled=False, shared=True, pieces=1):
        A = start["action"].shape[1]
        T, B = start["reward"].shape
        self.T, self.B, self.A, self.S = T, B, A, start["policy_noise"].shape[1] // A
        self.shared, self.pieces, self.steps = shared, pieces, 0
        self.batch = [start["observation"].reshape(T + 1, B, -1), start["action"].reshape(T, B, A), start["reward"], start["discount"],
                      start["log_mu"], start["mask"]]
        self.noise = [start["target_noise"].reshape(T + 1, B, self.S, A)[1:], start["policy_noise"].reshape(T, B, self.S, A)]
        self.policy, self.prior = Net(start, ["policy/online"]), Net(start, ["prior/online"])
        self.critic = Net(start, ["critic/online"], A)
        self.policy_t, self.prior_t = Net(start, ["policy/target"], 0, False), Net(start, ["prior/target"], 0, False)
        self.critic_t = Net(start, ["critic/target"], A, False)
        self.seen = self.prior.w[0].shape[1]
        self.groups = [self.critic.params, self.policy.params, self.prior.params]
        self.params = sum(self.groups, [])
        self.targets = self.critic_t.params + self.policy_t.params + self.prior_t.params
        self.begin(compiled)

    def head(self, raw):
        mean, v = raw.split(self.A, -1)
        return torch.tanh(mean), F.softplus(v) * (0.7 / LOG_2) + 0.1

    def ask(self, x, u):
        """Q' of all samples, in one go or in pieces that fit the cache."""
        n = self.T // self.pieces
        return torch.cat([self.critic_t(*p, self.shared) for p in zip(x.split(n), u.split(n))]).squeeze(-1)

    def losses(self, x, a, reward, discount, log_mu, mask, target_noise, policy_noise):
        T, S, alpha, cost = self.T, self.S, 1e-3, 1e-3
        weight, seen = mask / mask.sum(), x[..., :self.seen]
        with torch.no_grad():
            mean, std = self.head(self.policy_t(x[1:]))
            mean0, std0 = self.head(self.prior_t(seen))
            stored = a.clamp(-1, 1)
            u = (mean.unsqueeze(-2) + std.unsqueeze(-2) * target_noise).clamp(-1, 1)
            q = self.ask(x[1:], torch.cat([u, F.pad(stored[1:], (0, 0, 0, 0, 0, 1)).unsqueeze(-2)], -2))
            value = q[..., :S].mean(-1) - alpha * kl_of(mean, std, mean0[1:], std0[1:])
            log_pi = -(0.5 * ((a[1:] - mean[:-1]) / std[:-1]) ** 2 + torch.log(std[:-1]) + HALF_LOG_2PI).sum(-1)
            decay = 0.99 * discount
            carry = decay[:-1] * torch.exp((log_pi - log_mu[1:]).clamp(max=0)) * mask[1:]
            delta = reward + decay * value - F.pad(carry * q[:-1, :, S], (0, 0, 0, 1))
            target = [delta[-1]]
            for t in range(T - 2, -1, -1):
                target.append(torch.addcmul(delta[t], carry[t], target[-1]))
            target = torch.stack(target[::-1])
        critic = (weight * 0.5 * (self.critic(x[:-1], stored, self.shared).squeeze(-1) - target) ** 2).sum()
        mean, std = self.head(self.policy(x[:-1]))
        q = self.ask(x[:-1], (mean.unsqueeze(-2) + std.unsqueeze(-2) * policy_noise).clamp(-1, 1)).mean(-1)
        policy = (weight * (alpha * kl_of(mean, std, mean0[:-1], std0[:-1]) - q - cost * entropy_of(std))).sum()
        prior = (weight * kl_of(mean.detach(), std.detach(), *self.head(self.prior(seen[:-1])))).sum()
        return critic + policy + prior, [critic, policy, prior]

    def step(self, noise=None):
        shape = (self.T, self.B, self.S, self.A)
        told = self.learn(*self.batch, *(noise or (torch.randn(shape), torch.randn(shape))))
        self.steps += 1
        if self.steps % 100 == 0:
            torch._foreach_copy_(self.targets, [p.detach() for p in self.params])
        return told

    def checked_step(self):
        return [float(v.detach()) for v in self.step(self.noise)] + [1e-3] + self.norms()


class SAC(Row):
    """The same learner as SAC: uniform prior, squashed actions, twin critics, Polyak averages, adapted alpha."""

    def __init__(self, start, compiled=False, stacked=True, lr=1e-4, discount=0.99, tau=0.005, alpha=0.2, alpha_lr=1e-3):
        self.A, self.B = start["action"].shape[1], start["action"].shape[0]
        self.lr, self.gamma, self.tau, self.alpha_lr, self.size = lr, discount, tau, alpha_lr, 100000
        x = start["observation"]
        self.O = O = x.shape[1]
        one = [x[:self.B], start["action"], start["reward"].t(), start["discount"].t(), x[self.B:], start["mask"].t()]
        self.batch, self.noise = torch.cat(one, 1), [start["target_noise"][self.B:], start["policy_noise"]]
        # A transition is one row, so that drawing a batch is one call.
        self.replay = torch.randn(self.size, self.batch.shape[1])
        self.replay[:, O + self.A + 1] = self.replay[:, -1] = 1
        self.policy = Net(start, ["policy/online"])
        self.critics, self.critics_t = ([Net(start, names, self.A, learns) for names in ([both] if stacked else [[n] for n in both])]
                                        for both, learns in ((["critic/online", "critic.1/online"], True),
                                                             (["critic/target", "critic.1/target"], False)))
        self.groups = [sum((c.params for c in self.critics), []), self.policy.params]
        self.params = sum(self.groups, [])
        self.targets = sum((c.params for c in self.critics_t), [])
        self.log_alpha = torch.tensor(math.log(alpha))
        self.begin(compiled)

    @staticmethod
    def opinions(critics, x, u):
        q = critics[0](x, u) if len(critics) == 1 else torch.stack([c(x, u) for c in critics])
        return q.squeeze(-1)

    def act(self, x, noise):
        """Action, and the KL to the uniform density on the box: log volume - H."""
        mean, v = self.policy(x).split(self.A, -1)
        std = F.softplus(v) * (0.7 / LOG_2) + 0.01
        u = mean + std * noise
        return torch.tanh(u), self.A * LOG_2 - entropy_of(std) - (2 * (LOG_2 - u - F.softplus(-2 * u))).sum(-1)

    def losses(self, batch, target_noise, policy_noise, alpha):
        x, a, reward, discount, later, mask = batch.split([self.O, self.A, 1, 1, self.O, 1], -1)
        weight = mask[:, 0] / mask.sum()
        with torch.no_grad():
            u, kl = self.act(later, target_noise)
            value = self.opinions(self.critics_t, later, u).min(0).values - alpha * kl
            target = reward[:, 0] + self.gamma * discount[:, 0] * value
        critic = (weight * 0.5 * (self.opinions(self.critics, x, torch.tanh(a)) - target) ** 2).sum()
        u, kl = self.act(x, policy_noise)
        kl = (weight * kl).sum()
        policy = alpha * kl - (weight * self.opinions(self.critics_t, x, u).min(0).values).sum()
        return critic + policy, [critic, policy, kl]

    def step(self, batch=None, noise=None):
        if batch is None:
            batch = self.replay.index_select(0, torch.randint(self.size, (self.B,)))
            noise = torch.randn(2, self.B, self.A)
        told = self.learn(batch, noise[0], noise[1], self.log_alpha.exp())
        with torch.no_grad():
            torch._foreach_lerp_(self.targets, self.groups[0], self.tau)
            self.log_alpha += self.alpha_lr * (told[2] - (self.A * LOG_2 + self.A))
        return told

    def checked_step(self):
        alpha = float(self.log_alpha.exp())
        return [float(v.detach()) for v in self.step(self.batch, self.noise)[:2]] + [0.0, alpha] + self.norms() + [0.0]


class MLP(Row):
    lr = 1e-4

    def __init__(self, start, compiled=False):
        self.x, self.y = start["x"], start["y"]
        self.net = Net({f"n/{k}": v for k, v in start.items()}, ["n"])
        self.params = self.net.params
        self.begin(compiled)

    def losses(self, x, y):
        loss = 0.5 * F.mse_loss(self.net(x), y, reduction="sum")
        return loss, [loss]

    def step(self):
        return self.learn(self.x, self.y)

    def checked_step(self):
        return [float(self.step()[0].detach())]


class LSTM(MLP):
    """torch.nn.LSTM, whose CPU kernels are oneDNN's; or the cell step by step, for the compiler. Gates are in PyTorch's order."""

    def __init__(self, start, compiled=False, module=True):
        leaf = lambda t: t.clone().contiguous().requires_grad_(True)
        self.x, self.y = start["x"].reshape(10, -1, start["x"].shape[1]), start["y"]
        wx, wh, b, H = start["0/w"].t(), start["h/w"].t(), start["0/b"][0], start["h/w"].shape[0]
        self.H, self.head = H, [leaf(start["head/w"].t()), leaf(start["head/b"][0])]
        self.module = torch.nn.LSTM(wx.shape[1], H) if module else None
        if module:
            with torch.no_grad():
                for name, t in (("weight_ih_l0", wx), ("weight_hh_l0", wh), ("bias_ih_l0", b), ("bias_hh_l0", 0 * b)):
                    getattr(self.module, name).copy_(t)
            self.module.bias_hh_l0.requires_grad_(False)  # ours has one bias
            self.params = [p for p in self.module.parameters() if p.requires_grad] + self.head
        else:
            self.wx, self.wh, self.b = leaf(wx), leaf(wh), leaf(b)
            self.params = [self.wx, self.wh, self.b] + self.head
        self.begin(compiled)

    def losses(self, x, y):
        if self.module:
            h = self.module(x)[0]
        else:
            gates, h, c, out = F.linear(x, self.wx, self.b), None, None, []
            for z in gates:
                i, f, g, o = (z if h is None else torch.addmm(z, h, self.wh.t())).chunk(4, -1)
                i, g = torch.sigmoid(i), torch.tanh(g)
                c = i * g if c is None else torch.sigmoid(f) * c + i * g
                h = torch.sigmoid(o) * torch.tanh(c)
                out.append(h)
            h = torch.stack(out)
        loss = 0.5 * F.mse_loss(F.linear(h.flatten(0, 1), *self.head), y, reduction="sum")
        return loss, [loss]


def actors(start, compiles):
    """Ways of one evaluation at batch 1, each repeated 200 times a call."""
    x, layers = start["x"], []
    for k in range(3):
        w, b = start[f"{k}/w"], start[f"{k}/b"]
        layers += [torch.nn.Linear(*w.shape), torch.nn.ReLU()]
        with torch.no_grad():
            layers[-2].weight.copy_(w.t())
            layers[-2].bias.copy_(b[0])
    module = torch.nn.Sequential(*layers[:-1]).eval()
    ways = {"eager": module}
    with torch.inference_mode():
        traced = torch.jit.trace(module, x)
    ways["traced"] = torch.jit.freeze(traced.eval())
    if compiles:
        torch._inductor.config.freezing = True
        ways["compiled"] = torch.compile(module, dynamic=False, fullgraph=True)

    def repeat(f):
        def run():
            with torch.inference_mode():
                for _ in range(200):
                    f(x)
        return run
    with torch.inference_mode():
        want = module(x)
        for f in ways.values():
            for _ in range(3):
                torch.testing.assert_close(f(x), want, rtol=1e-4, atol=1e-5)
    torch._inductor.config.freezing = False
    return {k: repeat(f) for k, f in ways.items()}


def gemm_ways():
    a, b, c = torch.randn(2560, 256), torch.randn(256, 256), torch.empty(2560, 256)
    return {"eager": lambda: torch.mm(a, b, out=c)}


# ---- the pendulum: ours is pendulum_solve() in bench_learn.h, with the same settings ------------------------------------

def pendulum_step(angle, speed, torque):
    """Gymnasium's Pendulum-v1: the torque is in [-1,1] here. Floats, or tensors of several pendulums."""
    lib = torch if torch.is_tensor(angle) else math
    turned = (angle + math.pi) % (2 * math.pi) - math.pi
    reward = -(turned * turned + 0.1 * speed * speed + 0.001 * (2 * torque) ** 2)
    speed = speed + (15.0 * lib.sin(angle) + 6.0 * torque) * 0.05
    speed = speed.clamp(-8, 8) if lib is torch else max(-8.0, min(8.0, speed))
    return angle + speed * 0.05, speed, reward


def pendulum_return(policy):
    """Mean return of ten deterministic episodes, always from the same starts."""
    g = torch.Generator().manual_seed(12345)
    angle, speed = (torch.rand(10, generator=g) * 2 - 1) * math.pi, torch.rand(10, generator=g) * 2 - 1
    total = torch.zeros(10)
    with torch.inference_mode():
        for _ in range(200):
            x = torch.stack([torch.cos(angle), torch.sin(angle), speed], 1)
            angle, speed, reward = pendulum_step(angle, speed, torch.tanh(policy(x)[:, 0]))
            total += reward
    return float(total.mean())


def pendulum(sac, seed):
    """Seconds of acting and learning until the mean return is above -200, and environment steps. `sac` begins anew, its graph stays."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in sac.params + sac.targets:
            p.zero_()
        nets = [(sac.policy, 1e-4)] + [(c, 1.0) for c in sac.critics]
        for net, last in nets:  # variance .333 / fan-out, uniform, as ours
            for k, w in enumerate(net.w):
                out = w.shape[-1] if net.many else w.shape[0]
                w.uniform_(-1, 1).mul_(math.sqrt(3 * 0.333 / out) * (last if k + 1 == net.layers else 1))
            for w in net.u:
                w.uniform_(-1, 1).mul_(math.sqrt(3 * 0.333 / w.shape[0]))
        torch._foreach_copy_(sac.targets, sac.groups[0])
    sac.log_alpha.zero_()
    sac.adam.state.clear()
    rng, seconds, owed = torch.Generator().manual_seed(seed), 0.0, 0.0
    angle = speed = 0.0
    for steps in range(20000):
        begin = clock()
        if steps % 200 == 0:
            angle, speed = ((torch.rand(2, generator=rng) * 2 - 1) * torch.tensor([math.pi, 1.0])).tolist()
        x = [math.cos(angle), math.sin(angle), speed]
        with torch.inference_mode():
            mean, v = sac.policy(torch.tensor([x])).tolist()[0]
        std = math.log1p(math.exp(v)) * (0.7 / LOG_2) + 0.01
        u = mean + std * float(torch.randn((), generator=rng))
        angle, speed, reward = pendulum_step(angle, speed, math.tanh(u))
        sac.replay[steps] = torch.tensor(x + [u, reward, 1.0, math.cos(angle), math.sin(angle), speed, 1.0])
        sac.size = steps + 1
        owed += 1.0 / 3.0 if steps >= 500 else 0.0
        while owed >= 1.0:
            sac.step()
            owed -= 1.0
        seconds += clock() - begin
        if (steps + 1) % 500 == 0 and pendulum_return(sac.policy) > -200.0:
            return seconds, steps + 1
    return math.inf, 20000


# ---- measuring ----------------------------------------------------------------------------------------------------

class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("peers.py: bench_peers gave up")
        return [float(v) for v in answer.split()]


def seconds_of(f, budget):
    for _ in range(3):
        f()
    times, end = [], time.perf_counter() + budget
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 1000):
        start = clock()
        f()
        times.append(clock() - start)
    return statistics.median(times)


def agree(row, way, peer, want):
    """Takes three steps; the largest difference from ours, relative to numbers above 1."""
    got = sum((peer.checked_step() for _ in range(3)), [])
    worst = max(abs(g - w) / max(abs(w), 1.0) for g, w in zip(got, want)) if len(got) == len(want) else math.inf
    if not worst < 1e-4:
        sys.exit(f"peers.py: {row}, {way}: does not do what ours does:\n{got}\n{want}")
    return worst


WAYS = {  # row: class, {way: arguments}
    "rs0": (RS0, {"eager": {}, "eager, by row": {"pieces": 10}, "eager, joined": {"shared": False}, "compiled": {"compiled": True}}),
    "rs0_small": (RS0, {"eager": {}, "eager, joined": {"shared": False}, "compiled": {"compiled": True},
                        "compiled, joined": {"compiled": True, "shared": False}}),
    "sac": (SAC, {"eager": {}, "eager, one by one": {"stacked": False}, "compiled": {"compiled": True},
                  "compiled, one by one": {"compiled": True, "stacked": False}}),
    "mlp": (MLP, {"eager": {}, "compiled": {"compiled": True}}),
    "lstm": (LSTM, {"eager": {}, "eager, by step": {"module": False}, "compiled": {"compiled": True, "module": False}}),
}
WAYS["sac_256"] = WAYS["sac"]
PENDULUM = dict(lr=5e-3, discount=0.95, tau=0.05, alpha=1.0, alpha_lr=1e-2)
TEXT = {"gemm": "product 2560x256x256", "rs0": "RS(0) step, authors' sizes", "rs0_small": "RS(0) step, small",
        "sac": "SAC, 64-64, batch 100", "sac_256": "SAC, 256-256, batch 256", "mlp": "60-256-256-8, batch 256",
        "lstm": "60-LSTM 128-8, T 10, B 64", "actor": "3-64-64-1, batch 1", "actor_256": "60-256-256-8, batch 1",
        "pendulum": "pendulum stands (3 seeds)"}


def report(result, row, mine, theirs, worst, skipped):
    """One line. theirs: seconds of the best way of each kind."""
    best = min(theirs.values())
    cell = lambda kind: f"{1e6 * theirs[kind]:12.5g}" if kind in theirs else f"{'-':>12}"
    agrees = f"{worst:9.0e}" if worst is not None else f"{'-':>9}"
    print(f"{TEXT[row]:27}{1e6 * mine:12.5g}{cell('eager')}{cell('compiled')}{cell('traced')}{best / mine:10.2f}{agrees}{skipped}",
          flush=True)
    result["rows"][row] = {"ours_us": 1e6 * mine, "ratio": best / mine, "differs_by": worst,
                           **{f"{k}_us": 1e6 * v for k, v in theirs.items()}}


def main():
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    torch._dynamo.config.trace_autograd_ops = True
    torch._dynamo.config.recompile_limit = 64
    torch._inductor.config.cpp_wrapper = True
    torch._inductor.config.cpp.use_decompose_tanh = True
    torch._inductor.config.cpp.enable_floating_point_contract_flag = "fast"
    gc.disable()
    ours = Ours(args.program)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    peak = ours.ask("peak 1")[0]
    isa, date = torch.backends.cpu.get_cpu_capability(), time.strftime("%Y-%m-%d")
    print(f"{cpu}, {peak:.0f} GFLOP/s a core; PyTorch {torch.__version__} ({isa}), Python {platform.python_version()}; "
          f"{args.threads} pinned thread{'s, wall-clock time' if args.threads > 1 else ', CPU time'}; {date}")
    print(f"{'microseconds':27}{'ours':>12}{'eager':>12}{'compiled':>12}{'traced':>12}{'best/ours':>10}{'differ':>9}", flush=True)
    result = {"cpu": cpu, "peak_gflops": peak, "torch": torch.__version__, "isa": isa, "python": platform.python_version(),
              "threads": args.threads, "clock": "cpu" if args.threads == 1 else "wall", "date": date, "rows": {}}
    folder = tempfile.TemporaryDirectory()
    for row in args.rows.split(","):
        mine, theirs, worst, skipped, scale, ways = [], {}, None, "", 1, {}
        path = os.path.join(folder.name, row)
        want = ours.ask(f"{row} > {path}") if row not in ("gemm", "pendulum") else []
        if row in WAYS:
            make, kinds = WAYS[row]
            for way, arguments in kinds.items():
                if args.quick and arguments.get("compiled"):
                    continue
                try:
                    peer = make(read_safetensors(path), **arguments)
                    difference = agree(row, way, peer, want)
                    worst = max(worst or 0.0, difference)
                except Exception as error:  # a compiler can fail in many ways; the other ways still count
                    skipped += f"  ({way}: {type(error).__name__})"
                    continue
                ways[way] = peer.step
        elif row == "gemm":
            ways = gemm_ways()
        elif row == "pendulum":
            ours.ask(f"sac > {path}")
            sac = SAC(read_safetensors(path), not args.quick, **PENDULUM)
            sac.B = 64
            sac.size = 1000
            sac.step()  # compiles
            for seed in (1, 2, 3):
                mine.append(ours.ask(f"pendulum {seed}")[0])
                theirs.setdefault("eager" if args.quick else "compiled", []).append(pendulum(sac, seed)[0])
            report(result, row, statistics.median(mine), {k: statistics.median(v) for k, v in theirs.items()}, None, "")
            continue
        else:
            ways, scale = actors(read_safetensors(path), not args.quick), 200
        # The best way of each kind, then these and ours in turn: a slow minute of the machine meets all.
        kinds, tried = {}, {way: seconds_of(f, 0.3) for way, f in ways.items()}
        for way in tried:
            kind = way.split(",")[0]
            if kind not in kinds or tried[way] < tried[kinds[kind]]:
                kinds[kind] = way
        for _ in range(args.rounds):
            mine.append(ours.ask(f"{row} {args.threads if row[:3] in ('rs0', 'sac') else 1}")[0])
            for kind, way in kinds.items():
                theirs.setdefault(kind, []).append(seconds_of(ways[way], 0.5) / scale)
        report(result, row, statistics.median(mine), {k: statistics.median(v) for k, v in theirs.items()}, worst, skipped)
        result["rows"][row]["ways"] = {**kinds, **{f"{k}_s": v / scale for k, v in tried.items()}}
    with open(args.out, "w") as f:
        json.dump(result, f, indent=2)
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
