#!/usr/bin/env python3
"""peers.py - the steps of `make bench-peers` in PyTorch, measured in turn with ours.

    python3 tests/bench/peers.py build/bench/bench_peers [--out build/bench-peers.json] [--threads 1] [--quick]

bench_peers writes where a row starts: parameters, batch and noise. The same three steps are taken from there and must report the
same losses, or the comparison stops: both do the same work. Then each side is measured alternately, and the best of PyTorch's ways
(eager, compiled; at batch 1 traced and frozen, too) counts. Everything here is written as fast as PyTorch lets it be: targets
without a graph, all samples in one batch, gradients by one backward pass per loss, Adam of all tensors of a network in one fused
call, the part of a critic's first layer that all samples of a state share computed once.
"""
import argparse
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

import torch
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)
ROWS = ["rs0", "rs0_small", "sac", "sac_256", "mlp", "lstm", "actor", "actor_256"]
TEXT = {"rs0": "learner step, authors' sizes", "rs0_small": "learner step, small", "sac": "SAC update, 64-64, batch 100",
        "sac_256": "SAC update, 256-256, batch 256", "mlp": "60-256-256-8, batch 256, Adam", "lstm": "LSTM 128, T 10, B 64, Adam",
        "actor": "3-64-64-1 at batch 1", "actor_256": "60-256-256-8 at batch 1"}


def read_safetensors(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(size))
        data = bytearray(f.read())
    out = {}
    for name, entry in head.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", entry
            begin, end = entry["data_offsets"]
            out[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).reshape(entry["shape"]).clone()
    return out


def mlp(p, x, activation, norm=False, u=None):
    """p: w, b [, gain, shift], w, b, ... With u [.., S, A] the first layer is x wx + b, shared by the S samples, plus u wu."""
    p = list(p)
    w, b = p[0], p[1]
    if u is None:
        z = torch.addmm(b, x.flatten(0, -2), w).unflatten(0, x.shape[:-1])
    else:
        k = x.shape[-1]
        z = (x @ w[:k] + b).unsqueeze(-2) + u @ w[k:]
    at = 2
    if norm:
        z = torch.tanh(F.layer_norm(z, z.shape[-1:], p[2], p[3], 1e-5))
        at = 4
    else:
        z = activation(z)
    for i in range(at, len(p), 2):
        z = torch.addmm(p[i + 1], z.flatten(0, -2), p[i]).unflatten(0, z.shape[:-1])
        if i + 2 < len(p):
            z = activation(z)
    return z


def adam(params, lr):
    return torch.optim.Adam(params, lr=lr, fused=True)


class Learning:
    """bp_rs0_step(): with a learned prior (E19 to E22), or as SAC."""

    def __init__(self, start, sac):
        self.sac = sac
        self.net = {}
        for kind in ("online", "target"):
            for name in ("policy", "prior", "critic", "critic.1"):
                keys = sorted((k for k in start if k.startswith(f"{name}/{kind}/")), key=self.order)
                self.net[name, kind] = [start[k].squeeze(0) if start[k].shape[0] == 1 and k[-2:] != "/w" else start[k] for k in keys]
        for (name, kind), tensors in self.net.items():
            for t in tensors:
                t.requires_grad_(kind == "online")
        self.critics = [c for c in ("critic", "critic.1") if self.net[c, "online"]]
        self.T, self.B = start["reward"].shape
        T, B = self.T, self.B
        self.batch = {k: start[k].reshape(-1, B, start[k].shape[-1]) for k in ("observation", "action")}
        self.batch |= {k: start[k] for k in ("reward", "discount", "log_mu", "mask")}
        A = self.batch["action"].shape[-1]
        self.target_noise = start["target_noise"].reshape(T + 1, B, -1, A)[1:]
        self.policy_noise = start["policy_noise"].reshape(T, B, -1, A)
        self.A, self.seen = A, self.net["prior", "online"][0].shape[0] if self.net["prior", "online"] else 0
        names = ["policy", "prior"] if self.seen else ["policy"]
        self.groups = {"policy": self.net["policy", "online"], "critic": [t for c in self.critics for t in self.net[c, "online"]]}
        if self.seen:
            self.groups["prior"] = self.net["prior", "online"]
        self.optimiser = {k: adam(v, 1e-4) for k, v in self.groups.items()}
        self.pairs = [(self.net[n, "target"], self.net[n, "online"]) for n in names + self.critics]
        self.alpha = torch.tensor(0.2 if sac else 1e-3)
        self.cost = 0.0 if sac else 1e-3
        self.activation = F.relu if sac else F.elu
        self.steps = 0
        if sac:
            n = 100000
            self.replay = {k: torch.randn(n, *v.shape[2:]) for k, v in self.batch.items() if k not in ("discount", "mask", "observation")}
            self.replay["x"] = torch.randn(2, n, self.batch["observation"].shape[-1])

    @staticmethod
    def order(key):
        layer, part = key.split("/")[-2:]
        return int(layer), ["w", "b", "gain", "shift"].index(part)

    def head(self, name, kind, x):
        raw = mlp(self.net[name, kind], x, self.activation, not self.sac)
        mean, v = raw.split(self.A, -1)
        low = 0.01 if self.sac else 0.1
        return (mean if self.sac else torch.tanh(mean)), F.softplus(v) * (0.7 / math.log(2.0)) + low

    def q(self, kind, x, u):
        answers = [mlp(self.net[c, kind], x, self.activation, not self.sac, u).squeeze(-1) for c in self.critics]
        return answers

    def box(self, a):
        return torch.tanh(a) if self.sac else a.clamp(-1, 1)

    @staticmethod
    def log_det(u):  # of tanh
        return 2 * (math.log(2.0) - u - F.softplus(-2 * u))

    def kl(self, pi, prior, u):
        mean, std = pi
        if self.sac:  # to the uniform density on the box: log volume - H
            entropy = (torch.log(std) + 0.5 * LOG_2PI + 0.5).sum(-1) + self.log_det(u).sum(-1).mean(-1)
            return self.A * math.log(2.0) - entropy
        m0, s0 = prior
        return (torch.log(s0 / std) + (std * std + (mean - m0) ** 2) / (2 * s0 * s0) - 0.5).sum(-1)

    def losses(self, x, a, reward, discount, log_mu, mask, target_noise, policy_noise, alpha):
        T = reward.shape[0]
        now, later = x[:T], x[1:]
        weight = mask / mask.sum()
        with torch.no_grad():
            pi_next = self.head("policy", "online" if self.sac else "target", later)
            prior_next = prior_now = None
            if self.seen:
                prior_next = self.head("prior", "target", later[..., :self.seen])
                prior_now = self.head("prior", "target", now[..., :self.seen])
            u = pi_next[0].unsqueeze(-2) + pi_next[1].unsqueeze(-2) * target_noise
            samples = self.box(u)
            if T > 1:  # the stored action rides along as one more sample
                samples = torch.cat([samples, F.pad(self.box(a[1:]), (0, 0, 0, 0, 0, 1)).unsqueeze(-2)], -2)
            answers = self.q("target", later, samples)
            q = answers[0] if len(answers) == 1 else torch.minimum(*answers)
            S = target_noise.shape[-2]
            value = q[..., :S].mean(-1) - alpha * self.kl(pi_next, prior_next, u)
            gamma = 0.99 * discount
            target = [None] * T
            bracket = value[T - 1]
            if T > 1:
                std = pi_next[1][:-1]
                log_pi = (-0.5 * ((a[1:] - pi_next[0][:-1]) / std) ** 2 - torch.log(std) - 0.5 * LOG_2PI).sum(-1)
                trace = torch.exp((log_pi - log_mu[1:]).clamp(max=0)) * mask[1:]
                stored = q[:-1, :, S]
            for t in reversed(range(T)):
                target[t] = reward[t] + gamma[t] * bracket
                if t > 0:
                    bracket = value[t - 1] + trace[t - 1] * (target[t] - stored[t - 1])
            target = torch.stack(target)
        critic = sum((weight * 0.5 * (c.squeeze(-1) - target) ** 2).sum() for c in self.q("online", now, self.box(a).unsqueeze(-2)))
        pi = self.head("policy", "online", now)
        u = pi[0].unsqueeze(-2) + pi[1].unsqueeze(-2) * policy_noise
        answers = self.q("target", now, self.box(u))
        q = answers[0] if len(answers) == 1 else torch.minimum(*answers)
        kl = self.kl(pi, prior_now, u)
        entropy = (torch.log(pi[1]) + 0.5 * LOG_2PI + 0.5).sum(-1)
        policy = (weight * (-q.mean(-1) + alpha * kl - self.cost * entropy)).sum()
        prior = torch.zeros(())
        if self.seen:
            prior = (weight * self.kl((pi[0].detach(), pi[1].detach()), self.head("prior", "online", now[..., :self.seen]), None)).sum()
        # what is reported of the policy's loss is without its penalties
        return critic, policy, prior, (weight * kl).sum().detach()

    def update(self, losses):
        for name, loss in losses.items():
            gradients = torch.autograd.grad(loss, self.groups[name], retain_graph=name == "policy" and False)
            for p, g in zip(self.groups[name], gradients):
                p.grad = g
        norms = {}
        if self.report:
            norms = {k: math.sqrt(sum(float((p.grad**2).sum()) for p in v)) for k, v in self.groups.items()}
        for o in self.optimiser.values():
            o.step()
        self.steps += 1
        with torch.no_grad():
            if self.sac:
                for target, online in self.pairs:
                    torch._foreach_lerp_(target, online, 0.005)
            elif self.steps % 100 == 0:
                for target, online in self.pairs:
                    torch._foreach_copy_(target, online)
        return norms

    report = False

    def step(self, losses=None):
        b, fresh = self.batch, self.report
        if self.sac and not fresh:
            i = torch.randint(100000, (self.B,))
            r = self.replay
            b = dict(observation=r["x"][:, i], action=r["action"][i].unsqueeze(0), reward=r["reward"][i].reshape(1, -1),
                     log_mu=b["log_mu"], discount=b["discount"], mask=b["mask"])
        noise = (self.target_noise, self.policy_noise) if fresh else (torch.randn_like(self.target_noise), torch.randn_like(self.policy_noise))
        critic, policy, prior, kl = (losses or self.losses)(b["observation"], b["action"], b["reward"], b["discount"], b["log_mu"], b["mask"],
                                                            *noise, self.alpha)
        used = float(self.alpha) if fresh else 0.0
        names = {"critic": critic, "policy": policy}
        if self.seen:
            names["prior"] = prior
        norms = self.update(names)
        if self.sac:
            self.alpha = self.alpha * torch.exp(1e-3 * (kl - (math.log(2.0) + 1.0)))
        if fresh:
            return [float(critic), float(prior), used, norms["critic"], norms["policy"], norms.get("prior", 0.0)]

    def compiled(self):
        losses = torch.compile(self.losses, mode="max-autotune-no-cudagraphs")
        return lambda: self.step(losses)


class Network:
    """An MLP, or an LSTM with a linear layer: forward, 1/2 squared error, backward, Adam."""

    def __init__(self, start, lstm):
        self.x, self.y = start.pop("x"), start.pop("y")
        self.lstm = lstm
        self.p = [t.squeeze(0) if k[-2:] == "/b" else t for k, t in start.items()]
        if lstm:  # names 0/w 0/b h/w head/w head/b; gates i f g o, as PyTorch's
            wx, bx, wh, w, b = self.p
            H = wh.shape[0]
            self.module = torch.nn.LSTM(wx.shape[0], H)
            with torch.no_grad():
                self.module.weight_ih_l0.copy_(wx.T)
                self.module.weight_hh_l0.copy_(wh.T)
                self.module.bias_ih_l0.copy_(bx)
                self.module.bias_hh_l0.zero_()
            self.module.bias_hh_l0.requires_grad_(False)
            self.x = self.x.reshape(10, -1, self.x.shape[-1])
            self.tail = [w, b]
            self.p = [q for q in self.module.parameters() if q.requires_grad] + self.tail
        for t in self.p:
            t.requires_grad_(True)
        self.optimiser = adam(self.p, 1e-4)

    def loss(self):
        if self.lstm:
            h = self.module(self.x)[0].flatten(0, 1)
            out = torch.addmm(self.tail[1], h, self.tail[0])
        else:
            out = mlp(self.p, self.x, F.relu)
        return 0.5 * ((out - self.y) ** 2).sum()

    def step(self, loss=None):
        value = (loss or self.loss)()
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        self.optimiser.step()
        return [float(value)] if self.report else None

    report = False

    def compiled(self):
        loss = torch.compile(self.loss, mode="max-autotune-no-cudagraphs")
        return lambda: self.step(loss)


def actor_ways(start):
    x = start.pop("x")
    start.pop("y")
    p = [t.squeeze(0) if k[-2:] == "/b" else t for k, t in start.items()]
    layers = []
    for i in range(0, len(p), 2):
        linear = torch.nn.Linear(*p[i].shape)
        with torch.no_grad():
            linear.weight.copy_(p[i].T)
            linear.bias.copy_(p[i + 1])
        layers += [linear, torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1]).eval()

    def way(f):
        def run():
            with torch.inference_mode():
                for _ in range(200):
                    x[0, 0] = f(x)[0, 0]
        return run

    traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module, x)))
    return {"eager": way(module), "compiled": way(torch.compile(module)), "traced": way(traced)}, 200


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("peers.py: bench_peers has ended")
        return [float(v) for v in answer.split()]


def median_seconds(f, budget):
    f()
    f()
    times, end = [], time.perf_counter() + budget
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 500):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def agree(row, got, want):
    """The three steps of both. Ours reports the policy's loss by its parts' names in another way, so of that the gradient counts."""
    if len(want) == 21:
        want = [[w[0], w[2], w[3], w[4], w[5], w[6]] for w in (want[:7], want[7:14], want[14:])]
    else:
        want = [[w] for w in want]
    worst = max(abs(g - w) / max(abs(w), 1e-3) for gs, ws in zip(got, want) for g, w in zip(gs, ws))
    if not worst < 2e-3:
        sys.exit(f"peers.py: {row}: PyTorch does something else: {got} instead of {want}")
    return worst


def main():
    options = argparse.ArgumentParser()
    options.add_argument("program")
    options.add_argument("--out", default="build/bench-peers.json")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--rows", default=",".join(ROWS))
    options.add_argument("--quick", action="store_true", help="less time a row, nothing compiled")
    o = options.parse_args()
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    ours = Ours(o.program)
    budget = 0.5 if o.quick else 2.0
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; {cpu}; threads: {o.threads}", flush=True)
    print(f"{'row':34}{'ours':>12}{'eager':>12}{'compiled':>12}{'traced':>12}{'best/ours':>12}{'differ by':>11}")
    result = {"torch": torch.__version__, "threads": o.threads, "peak_gflops": ours.ask("peak 1")[0], "rows": {}}
    for row in o.rows.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "start")
            want = ours.ask(f"{row} > {path}")
            start = read_safetensors(path)
        scale, worst, skipped = 1, float("nan"), ""
        if row.startswith("actor"):
            ways, scale = actor_ways(start)
        else:
            peer = Learning(start, row.startswith("sac")) if row[:2] in ("rs", "sa") else Network(start, row == "lstm")
            peer.report = True
            worst = agree(row, [peer.step() for _ in range(3)], want)
            peer.report = False
            ways = {"eager": peer.step}
            if not o.quick:
                ways["compiled"] = peer.compiled()
        mine, theirs = [], {}
        for _ in range(3):  # in turn, so that a slow minute of the machine meets both
            mine.append(ours.ask(f"{row} {o.threads}")[0])
            for name in list(ways):
                try:
                    theirs.setdefault(name, []).append(median_seconds(ways[name], budget) / scale)
                except Exception as error:  # compilers fail in many ways; the other ways still count
                    skipped = f"  ({name}: {type(error).__name__})"
                    del ways[name]
        mine = statistics.median(mine)
        theirs = {k: statistics.median(v) for k, v in theirs.items()}
        best = min(theirs.values())
        cells = "".join(f"{1e6 * theirs[k]:12.5g}" if k in theirs else f"{'-':>12}" for k in ("eager", "compiled", "traced"))
        print(f"{TEXT[row]:34}{1e6 * mine:12.5g}{cells}{best / mine:12.2f}{worst:11.1e}{skipped}", flush=True)
        result["rows"][row] = {"ours_us": 1e6 * mine, **{f"{k}_us": 1e6 * v for k, v in theirs.items()}, "ratio": best / mine}
    print("times in microseconds")
    with open(o.out, "w") as f:
        json.dump(result, f, indent=2)


main()
