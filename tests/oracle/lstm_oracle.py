#!/usr/bin/env python3
"""Independent oracle of the LSTM and of recurrent networks (chapters 6 and 7): torch.nn.LSTM and autograd.

Written from docs/equations.md (E35) and the public declarations alone; it shares no code with bprior.h.
Everything is double precision. torch.nn.LSTM knows no resets and no burn-in: each row is cut into pieces at its
episode starts, which begin from zeros, and at the end of burn-in, where the state goes on without its gradient.

    python3 tests/oracle/lstm_oracle.py           # rewrites tests/oracle/lstm_*.safetensors

One file per case. Tensors (all F64, time first):

    config/{T,B,H,detach,input,extra}  [1]
    config/width                       [1 + hidden layers]: their number, then their widths
    x [T][B][input], u [T][B][extra], state [B][2H] (h, then c), reset [T][B]
    weight [T][B][H]                   the loss is the sum of weight * sin(h) over the steps from detach on
    params                             as bp_rnn wants them; its views in order; or, in the case `pytorch`,
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0   PyTorch's parameters as they are, and their gradients
    out/{h,state,loss}                 state: after the last step
    out/gates [T][B][4H]               what the torso says; absent in the case `pytorch`
    grad/...                           the derivative of the loss by each of the above

Inputs are multiples of 2^-12, so that they are the same numbers in single precision.
"""
import json
import os
import struct

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULTS = dict(T=9, B=4, H=5, detach=0, input=3, extra=0, width=[], resets=1, pytorch=0)
CASES = {
    "pytorch": dict(pytorch=1),                     # nothing but torch.nn.LSTM with its own parameters
    "pytorch_burn_in": dict(pytorch=1, detach=3),
    "affine": dict(extra=2),                        # no hidden layers: x w_x + u w_u + b are the gates
    "torso": dict(width=[7, 6], extra=2),           # layer norm and tanh, ELU, then the LSTM
    "torso_burn_in": dict(width=[7, 6], extra=2, detach=4),
    "torso_one_episode": dict(width=[6], resets=0),
    "one_step": dict(width=[6], T=1),
}


def save(tensors, path, about):
    """A safetensors file: length of the header, header, data. So that this needs nothing but PyTorch."""
    header, data, at = {"__metadata__": {"about": about}}, [], 0
    for name, v in sorted(tensors.items()):
        data.append(struct.pack(f"<{v.numel()}d", *v.reshape(-1).tolist()))
        header[name] = {"dtype": "F64", "shape": list(v.shape), "data_offsets": [at, at + len(data[-1])]}
        at += len(data[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def grid(x):
    """Round to multiples of 2^-12: exact in float as well as in double."""
    return torch.round(x * 4096.0) / 4096.0


def parameters(cfg, g):
    """bp_rnn's views in order: 0/w 0/b [0/gain 0/shift] 1/w 1/b ... h/w."""
    sizes = [cfg["input"] + cfg["extra"]] + cfg["width"] + [4 * cfg["H"]]
    views = []
    for i in range(len(sizes) - 1):
        views.append((f"{i}/w", grid(torch.randn(sizes[i], sizes[i + 1], generator=g) / sizes[i] ** 0.5)))
        views.append((f"{i}/b", grid(0.4 * torch.randn(sizes[i + 1], generator=g))))
        if i == 0 and cfg["width"]:
            views.append(("0/gain", grid(1 + 0.3 * torch.randn(sizes[1], generator=g))))
            views.append(("0/shift", grid(0.3 * torch.randn(sizes[1], generator=g))))
    views.append(("h/w", grid(torch.randn(cfg["H"], 4 * cfg["H"], generator=g) / cfg["H"] ** 0.5)))
    return {name: p.requires_grad_() for name, p in views}


def torso(p, cfg, xu):
    for i, width in enumerate(cfg["width"]):
        xu = xu @ p[f"{i}/w"] + p[f"{i}/b"]
        if i == 0:
            xu = torch.tanh(torch.nn.functional.layer_norm(xu, (width,), p["0/gain"], p["0/shift"], eps=1e-5))
        else:
            xu = torch.nn.functional.elu(xu)
    last = len(cfg["width"])
    return xu @ p[f"{last}/w"] + p[f"{last}/b"]


def run(lstm, cfg, x, state, reset):
    """lstm: (input [n,1,...], (h,c)) -> (output, (h,c)). Returns h [T][B][H] and the last state [B][2H]."""
    T, H = cfg["T"], cfg["H"]
    outputs, states = [], []
    for b in range(cfg["B"]):
        h, c = state[b, :H], state[b, H:]
        starts = [t for t in range(T) if t == 0 or t == cfg["detach"] or reset[t, b] != 0]
        pieces = []
        for first, end in zip(starts, starts[1:] + [T]):
            if reset[first, b] != 0:
                h, c = torch.zeros(H), torch.zeros(H)
            if first == cfg["detach"] > 0:
                h, c = h.detach(), c.detach()
            y, (h, c) = lstm(x[first:end, b:b + 1], (h.reshape(1, 1, H), c.reshape(1, 1, H)))
            h, c = h.reshape(H), c.reshape(H)
            pieces.append(y[:, 0])
        outputs.append(torch.cat(pieces))
        states.append(torch.cat([h, c]))
    return torch.stack(outputs, 1), torch.stack(states)


def make_case(number, name, overrides):
    cfg = dict(DEFAULTS, **overrides)
    T, B, H = cfg["T"], cfg["B"], cfg["H"]
    g = torch.Generator().manual_seed(7000 + number)
    x = grid(torch.randn(T, B, cfg["input"], generator=g)).requires_grad_()
    u = grid(torch.randn(T, B, cfg["extra"], generator=g)).requires_grad_()
    state = grid(0.6 * torch.randn(B, 2 * H, generator=g)).requires_grad_()
    weight = grid(torch.randn(T, B, H, generator=g))
    reset = torch.zeros(T, B)
    if cfg["resets"]:
        for t, b in ((0, 1), (2, 0), (3, 2), (4, 2), (4, 0), (6, 3), (8, 1)):
            if t < T:
                reset[t, b] = 1

    out, grad = {}, {"x": x, "u": u, "state": state}
    if cfg["pytorch"]:
        lstm = torch.nn.LSTM(cfg["input"], H)
        for pname, p in lstm.named_parameters():
            p.data = grid(0.5 * torch.randn(p.shape, generator=g))
            grad[pname] = p
        h, last = run(lstm, cfg, x, state, reset)
    else:
        # An LSTM whose input weights are the identity: its input is the gates.
        p = parameters(cfg, g)
        gates = torso(p, cfg, torch.cat([x, u], -1))
        gates.retain_grad()
        lstm = torch.nn.LSTM(4 * H, H)
        values = (torch.eye(4 * H), p["h/w"].t(), torch.zeros(4 * H), torch.zeros(4 * H))
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        call = lambda y, s: torch.func.functional_call(lstm, dict(zip(names, values)), (y, s))
        h, last = run(call, cfg, gates, state, reset)
        grad["gates"] = gates
        out["params"] = torch.cat([v.reshape(-1) for v in p.values()])
        out["out/gates"] = gates
    loss = (weight * torch.sin(h))[cfg["detach"]:].sum()
    loss.backward()
    if not cfg["pytorch"]:
        out["grad/params"] = torch.cat([v.grad.reshape(-1) for v in p.values()])
    for key, v in grad.items():
        if v.numel() == 0:
            continue
        out[f"grad/{key}"] = v.grad if v.grad is not None else torch.zeros_like(v)
        if key != "gates":
            out[key] = v
    out.update({"out/h": h, "out/state": last, "out/loss": loss.reshape(1), "weight": weight, "reset": reset})
    # A gradient of zero proves nothing; burn-in is the exception, where zero is the answer.
    for key, v in out.items():
        if key.startswith("grad/"):
            part = v if v.dim() != 3 else v[cfg["detach"]:]
            assert float(part.norm()) > 1e-2 or (key == "grad/state" and cfg["detach"]), (name, key)
            if v.dim() == 3:
                assert bool((v[:cfg["detach"]] == 0).all()), (name, key)
    for key in ("T", "B", "H", "detach", "input", "extra"):
        out["config/" + key] = torch.tensor([float(cfg[key])])
    out["config/width"] = torch.tensor([float(len(cfg["width"]))] + [float(w) for w in cfg["width"]])
    out = {k: v.detach() for k, v in out.items()}
    assert all(torch.isfinite(v).all() for v in out.values())
    path = os.path.join(HERE, f"lstm_{name}.safetensors")
    save(out, path, f"lstm_oracle.py case {name}, torch {torch.__version__.split('+')[0]}")
    print(f"{name:20s} loss {float(out['out/loss']):+.6f}  " + "  ".join(
        f"{k[5:]} {float(v.norm()):.3f}" for k, v in sorted(out.items()) if k.startswith("grad/")))
    return os.path.getsize(path)


def main():
    for old in os.listdir(HERE):
        if old.startswith("lstm_") and old.endswith(".safetensors"):
            os.remove(os.path.join(HERE, old))
    total = sum(make_case(i, name, overrides) for i, (name, overrides) in enumerate(CASES.items()))
    print(f"{len(CASES)} cases, {total / 1e3:.1f} kB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
