"""Opens safetensors files of this library with the safetensors package and with PyTorch, and prints what is in them.

Usage: python3 check_safetensors.py [--sum] FILE...     (needs the packages safetensors, numpy; torch if there)
With --check-policy it also recomputes a policy's mean action in NumPy from the file alone, for the observation that
is all 0.1: the file is enough to deploy a policy from Python.
"""
import math
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file


def policy_mean(path, value=0.1):
    """The deterministic action in [-1,1] of a one-task Gaussian policy file."""
    with safe_open(path, "np") as f:
        meta = f.metadata()
    t = {k: v.astype(np.float64) for k, v in load_file(path).items()}
    sizes = {}
    i = 0
    while f"field.{i}" in meta:
        name, size = meta[f"field.{i}"].split()
        sizes[name] = int(size)
        i += 1
    observation = {name: np.full(size, value) for name, size in sizes.items()}
    if "normaliser/state" in t:
        clip, epsilon = t["normaliser/settings"]
        count, n = t["normaliser/state"][0], sum(sizes.values())
        mean, m2, exempt = t["normaliser/state"][2:].reshape(3, n)
        flat = np.concatenate(list(observation.values()))
        variance = m2 / count
        std = np.where(variance > 1e-12 * mean * mean, np.sqrt(variance + epsilon), 1)
        flat = np.where(exempt > 0, flat, np.clip((flat - mean) / std, -clip, clip))
        at = 0
        for name, size in sizes.items():
            observation[name] = flat[at:at + size]
            at += size
    seen = []
    i = 0
    while f"sees.{i}" in meta:
        seen.append(observation[meta[f"sees.{i}"]])
        i += 1
    x = np.concatenate(seen)
    hidden = len(meta["hidden"].split())
    act = {"elu": lambda v: np.where(v > 0, v, np.expm1(v)), "tanh": np.tanh, "relu": lambda v: np.maximum(v, 0),
           "softplus": lambda v: np.log1p(np.exp(v)), "none": lambda v: v}[meta["activation"]]
    for layer in range(hidden + 1):
        x = x @ t[f"policy/{layer}/w"] + t[f"policy/{layer}/b"][0]
        if layer == hidden:
            break
        if layer == 0 and meta["layer_norm"] == "1":
            x = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
            x = np.tanh(x * t["policy/0/gain"][0] + t["policy/0/shift"][0])
        else:
            x = act(x)
    mean = x[:len(x) // 2]
    return np.tanh(mean) if meta["tanh_mean"] == "1" else mean


def main():
    check = "--check-policy" in sys.argv
    for path in [a for a in sys.argv[1:] if not a.startswith("--")]:
        with safe_open(path, "np") as f:
            print(path, f.metadata())
        arrays = load_file(path)
        for name, array in sorted(arrays.items()):
            print(f"  {name} {array.dtype} {list(array.shape)} sum {array.astype(np.float64).sum():.9g}")
        try:
            from safetensors.torch import load_file as torch_load
            for name, tensor in torch_load(path).items():
                if not np.array_equal(tensor.numpy(), arrays[name], equal_nan=True):
                    sys.exit(f"{path}: torch and numpy disagree about {name}")
        except (ImportError, AttributeError):
            pass
        if check:
            print("  mean action at 0.1:", " ".join(f"{v:.7g}" for v in policy_mean(path)))


if __name__ == "__main__":
    main()
