"""Other implementations' weights as ours, a function a model: state_dict -> (rows, dense, batch statistics)."""

import re

import jax
import jax.numpy as jnp
import numpy as np


def transplant(name, weights, prefix=""):
    """({"rows", "dense"}, batch statistics) of the weights that begin with `prefix`."""
    w = {k.removeprefix(prefix): np.asarray(v) for k, v in weights.items() if k.startswith(prefix)}
    rows, dense, stats = MODELS[name](w)
    return jax.tree.map(jnp.asarray, ({"rows": np.concatenate(rows, axis=1), "dense": dense}, stats))


def linear(w, name, more_bias=0.0):
    layer = {"kernel": w[f"{name}.weight"].T}
    return layer | ({"bias": w[f"{name}.bias"] + more_bias} if f"{name}.bias" in w else {})


def side_by_side(*layers):
    """Dense layers whose outputs are added, as one over the concatenation of their inputs."""
    return {
        "kernel": np.concatenate([la["kernel"] for la in layers]),
        "bias": sum(la["bias"] for la in layers),
    }


def norm(w, name):
    return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}


def running(w, name, shift=0.0):
    return {"mean": w[f"{name}.running_mean"] - shift, "var": w[f"{name}.running_var"]}


def mlp(w, name):
    """(Hidden layers, their batch statistics, the output layer or None) of a torch Sequential."""
    indices = sorted({int(m[1]) for k in w if (m := re.match(rf"{re.escape(name)}\.(\d+)\.weight$", k))})
    dense = [f"{name}.{i}" for i in indices if w[f"{name}.{i}.weight"].ndim == 2]
    norms = [f"{name}.{i}" for i in indices if w[f"{name}.{i}.weight"].ndim == 1]
    hidden, stats = {}, {}
    for i, layer in enumerate(dense[: len(norms)]):
        hidden[f"Dense_{i}"] = {"kernel": w[f"{layer}.weight"].T}
        hidden[f"BatchNorm_{i}"] = norm(w, norms[i])
        stats[f"BatchNorm_{i}"] = running(w, norms[i], w[f"{layer}.bias"])  # the bias, which ours leaves out
    return hidden, stats, linear(w, dense[-1]) if len(dense) > len(norms) else None


def fields(w):
    """Torchfm's embeddings and first-order weights, of which ours are one row."""
    return [w["embedding.embedding.weight"], w["linear.fc.weight"]]


def add_bias(layer, bias):
    return layer | {"bias": layer["bias"] + bias}


def autoint(w):
    hidden, stats, output = mlp(w, "mlp.mlp")
    dense = {
        "MLP_0": hidden,
        "projection": linear(w, "atten_embedding"),
        "residual": linear(w, "V_res_embedding"),
    }
    for i in range(len({k.split(".")[1] for k in w if k.startswith("self_attns.")})):
        layer = f"self_attns.{i}"
        kernels = np.split(w[f"{layer}.in_proj_weight"].T, 3, axis=1)
        biases = np.split(w[f"{layer}.in_proj_bias"], 3)
        dense[f"Attention_{i}"] = {
            name: {"kernel": kernel, "bias": bias}
            for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
        }
        dense[f"output_{i}"] = linear(w, f"{layer}.out_proj")
    dense["Dense_0"] = side_by_side(linear(w, "attn_fc", w["linear.bias"]), output)
    return fields(w), dense, {"MLP_0": stats}


def deepfm(w):
    hidden, stats, output = mlp(w, "mlp.mlp")
    return fields(w), {"MLP_0": hidden, "Dense_0": add_bias(output, w["linear.bias"])}, {"MLP_0": stats}


def ipnn(w):
    hidden, stats, output = mlp(w, "mlp.mlp")
    rows = [w["embedding.embedding.weight"]]  # torchfm makes a linear part too, and never uses it
    return rows, {"MLP_0": hidden, "Dense_0": output}, {"MLP_0": stats}


def nfm(w):
    hidden, stats, output = mlp(w, "mlp.mlp")
    dense = {
        "BatchNorm_0": norm(w, "fm.1"),
        "MLP_0": hidden,
        "Dense_0": add_bias(output, w["linear.bias"]),
    }
    return fields(w), dense, {"BatchNorm_0": running(w, "fm.1"), "MLP_0": stats}


MODELS = {"autoint": autoint, "deepfm": deepfm, "ipnn": ipnn, "nfm": nfm}
