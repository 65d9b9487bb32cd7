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
    tables = [
        k for k in w if k.startswith(("embedding.embedding.", "ffm.embeddings."))
    ]  # the latter a table a field
    return [*(w[k] for k in tables), w["linear.fc.weight"]]


def torchfm(w, beside=(), more_stats=None, wide=True, **more):
    """A model of torchfm's that ends in dense layers: an MLP, and those over `beside`, added up."""
    hidden, stats, output = mlp(w, "mlp.mlp")
    output = side_by_side(*(linear(w, name) for name in beside), *([output] if output else []))
    if wide:
        output = output | {"bias": output["bias"] + w["linear.bias"]}
    dense = more | {"Dense_0": output} | ({"MLP_0": hidden} if hidden else {})
    rows = fields(w) if wide else [w["embedding.embedding.weight"]]
    return rows, dense, (more_stats or {}) | ({"MLP_0": stats} if stats else {})


def total(w):
    """A model of torchfm's without dense layers."""
    return fields(w), {"bias": w["linear.bias"]}, {}


def afm(w):
    return torchfm(
        w,
        beside=["afm.fc"],
        attention=linear(w, "afm.attention"),
        projection={"kernel": w["afm.projection.weight"].T},
    )


def afn(w):
    return torchfm(w, kernel=w["LNN.weight"].T)


def autoint(w):
    more = {"projection": linear(w, "atten_embedding"), "residual": linear(w, "V_res_embedding")}
    for i in range(len({k.split(".")[1] for k in w if k.startswith("self_attns.")})):
        layer = f"self_attns.{i}"
        kernels = np.split(w[f"{layer}.in_proj_weight"].T, 3, axis=1)
        biases = np.split(w[f"{layer}.in_proj_bias"], 3)
        more[f"Attention_{i}"] = {
            name: {"kernel": kernel, "bias": bias}
            for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
        }
        more[f"output_{i}"] = linear(w, f"{layer}.out_proj")
    return torchfm(w, beside=["attn_fc"], **more)


def dcn(w):
    layers = range(len([k for k in w if k.startswith("cn.b.")]))
    kernel = np.concatenate([w[f"cn.w.{i}.weight"] for i in layers])
    bias = np.stack([w[f"cn.b.{i}"] for i in layers])
    return torchfm(
        w | {"fc.weight": w["linear.weight"], "fc.bias": w["linear.bias"]},
        ["fc"],
        wide=False,
        cross_kernel=kernel,
        cross_bias=bias,
    )


def nfm(w, name="fm.1"):
    return torchfm(w, BatchNorm_0=norm(w, name), more_stats={"BatchNorm_0": running(w, name)})


def xdeepfm(w):
    more = {}
    for i, last in enumerate(
        sorted(k for k in w if k.startswith("cin.conv_layers.") and k.endswith(".weight"))
    ):
        kernel = w[last]
        num_fields = round(w["cin.conv_layers.0.weight"].shape[1] ** 0.5)
        more[f"cin_kernel_{i}"] = kernel.reshape(len(kernel), num_fields, -1)
        more[f"cin_bias_{i}"] = w[last.replace("weight", "bias")][:, None]
    return torchfm(w, beside=["cin.fc"], **more)


MODELS = {
    "afm": afm,
    "afn": afn,
    "autoint": autoint,
    "dcn": dcn,
    "deepfm": torchfm,
    "ffm": total,
    "fm": total,
    "fnfm": lambda w: nfm(w, "bn"),
    "fnn": lambda w: torchfm(w, wide=False),
    "ipnn": lambda w: torchfm(w, wide=False),  # torchfm makes a linear part too, and never uses it
    "lr": total,
    "ncf": lambda w: torchfm(w, beside=["fc"], wide=False),
    "nfm": nfm,
    "opnn": lambda w: torchfm(w, wide=False, kernel=w["pn.kernel"].transpose(1, 2, 0)),
    "wide_deep": torchfm,
    "xdeepfm": xdeepfm,
    "xdeepfm_split": xdeepfm,
}
