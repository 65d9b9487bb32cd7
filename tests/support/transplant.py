"""Other implementations' weights as ours, a function a model: state_dict -> (rows, dense, batch
statistics).
"""

import re

import jax
import jax.numpy as jnp
import numpy as np


def transplant(name, weights, prefix=""):
    """({"rows", "dense"}, batch statistics) of the weights that begin with `prefix`."""
    w = {k.removeprefix(prefix): np.asarray(v) for k, v in weights.items() if k.startswith(prefix)}
    rows, dense, stats = MODELS[name](w)
    return jax.tree.map(
        jnp.asarray, ({"rows": np.concatenate(rows, axis=1), "dense": dense}, stats)
    )


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
    indices = sorted(
        {int(m[1]) for k in w if (m := re.match(rf"{re.escape(name)}\.(\d+)\.weight$", k))}
    )
    dense = [f"{name}.{i}" for i in indices if w[f"{name}.{i}.weight"].ndim == 2]
    norms = [f"{name}.{i}" for i in indices if w[f"{name}.{i}.weight"].ndim == 1]
    hidden, stats = {}, {}
    for i, layer in enumerate(dense[: len(norms)]):
        hidden[f"Dense_{i}"] = {"kernel": w[f"{layer}.weight"].T}
        hidden[f"BatchNorm_{i}"] = norm(w, norms[i])
        stats[f"BatchNorm_{i}"] = running(
            w, norms[i], w[f"{layer}.bias"]
        )  # the bias, which ours leaves out
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


def tables(w, name):
    """FuxiCTR's embeddings of one layer, a table a field, one below the other. -> [all rows,
    any].
    """
    return np.concatenate(
        [w[k] for k in sorted(w) if k.startswith(f"{name}.embedding_layer.embedding_layers.")]
    )


def fuxictr_rows(w):
    wide = "lr_layer.embedding_layer.embedding_layer.embedding_layers.f0.weight" in w
    return [
        tables(w, "embedding_layer"),
        *([tables(w, "lr_layer.embedding_layer")] if wide else []),
    ]


def fuxictr(w, name="dnn.mlp", beside=(), **more):
    """A model of FuxiCTR's that ends in dense layers: an MLP, and those over `beside`, added up."""
    hidden, stats, output = mlp(w, name)
    output = side_by_side(*(linear(w, layer) for layer in beside), *([output] if output else []))
    return (
        fuxictr_rows(w),
        more | {"MLP_0": hidden, "Dense_0": output},
        {"MLP_0": stats} if stats else {},
    )


def fuxictr_afn(w):
    rows = [tables(w, "embedding_layer"), tables(w, "embedding_layer2")]
    (first, stats, a), (second, more_stats, b) = mlp(w, "dense_layer.mlp"), mlp(w, "dnn.mlp")
    scale, kernels = (
        w["fc.weight"][0],
        [a["kernel"], b["kernel"]],
    )  # of two numbers that we do not hold apart
    output = {
        "kernel": np.concatenate([k * s for k, s in zip(kernels, scale, strict=True)]),
        "bias": a["bias"] * scale[0] + b["bias"] * scale[1] + w["fc.bias"],
    }
    dense = {
        "kernel": w["coefficient_W.weight"].T,
        "MLP_0": first,
        "MLP_1": second,
        "Dense_0": output,
    }
    norms = {"BatchNorm_0": "log_batch_norm", "BatchNorm_1": "exp_batch_norm"}
    dense |= {ours: norm(w, theirs) for ours, theirs in norms.items()}
    stats = {"MLP_0": stats, "MLP_1": more_stats}
    return rows, dense, stats | {ours: running(w, theirs) for ours, theirs in norms.items()}


def fuxictr_autoint(w):
    more = {}
    for i in range(2):
        layer = f"self_attention.{i}"
        names = {"query": "W_q", "key": "W_k", "value": "W_v"}
        more[f"Attention_{i}"] = {
            ours: linear(w, f"{layer}.{theirs}") for ours, theirs in names.items()
        }
        own = f"{layer}.W_res.weight"  # where the width stays, the residual is the input itself
        more[f"residual_{i}"] = {"kernel": w[own].T if own in w else np.eye(6, dtype=np.float32)}
    return fuxictr(w, beside=["fc"], **more)


def fuxictr_xdeepfm(w):
    more = {}
    for i in range(2):
        layer = f"cin.cin_layer.layer_{i + 1}"
        kernel = w[f"{layer}.weight"]
        more[f"cin_kernel_{i}"] = kernel.reshape(len(kernel), 4, -1)
        more[f"cin_bias_{i}"] = w[f"{layer}.bias"][:, None]
    return fuxictr(w, beside=["cin.fc"], **more)


def dcnv2(w, name="parallel_dnn.mlp"):
    more = {}
    for i in range(2):
        if "crossnet.U_list.0" in w:
            more[f"cross_{i}"] = {
                **{letter: w[f"crossnet.{letter}_list.{i}"] for letter in "UVC"},
                "bias": w[f"crossnet.bias.{i}"][:, 0],
            }
            more["gate"] = {
                "kernel": np.concatenate([w[f"crossnet.gating.{e}.weight"] for e in range(2)]).T
            }
        else:
            more[f"cross_{i}"] = linear(w, f"crossnet.cross_layers.{i}")
    return fuxictr(w, name, beside=["fc"], **more)


def fibinet(w):
    return fuxictr(
        w,
        squeeze=linear(w, "senet_layer.excitation.0"),
        excite=linear(w, "senet_layer.excitation.2"),
        kernel=w["bilinear_interaction1.bilinear_W"],
        weighted_kernel=w["bilinear_interaction2.bilinear_W"],
    )


def finalmlp(w, num_rows=25):
    rows, dense, stats = [tables(w, "embedding_layer")], {}, {}
    for i, (stream, field) in enumerate((("1", slice(12, 21)), ("2", slice(0, 7)))):
        dense[f"MLP_{i}"], stats[f"MLP_{i}"], _ = mlp(w, f"mlp{stream}.mlp")
        gate = f"fs_module.fs{stream}"
        dense[f"Gate_{i}"] = {
            "Dense_0": linear(w, f"{gate}_gate.mlp.0"),
            "Dense_1": linear(w, f"{gate}_gate.mlp.2"),
        }
        if f"{gate}_ctx_bias" in w:
            dense[f"Gate_{i}"]["context"] = w[f"{gate}_ctx_bias"]
        else:  # in the rows of its field; the others have the columns too, unread
            rows.append(np.zeros((num_rows, 4), np.float32))
            rows[-1][field] = tables(w, f"{gate}_ctx_emb")
    dense["fusion"] = w["fusion_module.w_xy"].reshape(2, 3, 2, 1)
    dense["Dense_0"] = side_by_side(linear(w, "fusion_module.w_x"), linear(w, "fusion_module.w_y"))
    return rows, dense, stats


def finalnet(w):
    dense, stats = {}, {}
    if "feature_gating.linear.weight" in w:
        dense["gate"] = linear(w, "feature_gating.linear")
    for block in range(2 if "fc2.weight" in w else 1):
        for i in range(2):
            ours, theirs = f"BatchNorm_{2 * block + i}", f"block{block + 1}.norm.{i}"
            dense[f"block_{block}_layer_{i}"] = linear(w, f"block{block + 1}.layer.{i}.linear")
            dense[ours], stats[ours] = norm(w, theirs), running(w, theirs)
        dense[f"Dense_{block}"] = linear(w, f"fc{block + 1}")
    return fuxictr_rows(w), dense, stats


def gdcn(w, beside=("fc",)):
    more = {}
    for i in range(2):
        more[f"cross_{i}"] = linear(w, f"cross_net.w.{i}") | {"bias": w[f"cross_net.b.{i}"]}
        more[f"gate_{i}"] = linear(w, f"cross_net.wg.{i}")
    return fuxictr(w, beside=beside, **more)


def masknet(w):
    norms = {
        name: np.stack([w[f"emb_norm.{i}.{theirs}"] for i in range(4)])
        for name, theirs in (("scale", "weight"), ("bias", "bias"))
    }
    dense = {"LayerNorm_0": norms}
    for i in range(2):
        block = f"mask_net.mask_blocks.{i}"
        dense[f"MaskBlock_{i}"] = {
            "aggregate": linear(w, f"{block}.mask_layer.0"),
            "project": linear(w, f"{block}.mask_layer.2"),
            "Dense_0": linear(w, f"{block}.hidden_layer.0"),
            "LayerNorm_0": norm(w, f"{block}.hidden_layer.1"),
        }
    if "mask_net.fc.0.weight" in w:
        return fuxictr_rows(w), dense | {"Dense_0": linear(w, "mask_net.fc.0")}, {}
    layers = {f"Dense_{i}": linear(w, f"mask_net.dnn.mlp.{2 * i}") for i in range(2)}
    return (
        fuxictr_rows(w),
        dense | {"MLP_0": layers, "Dense_0": linear(w, "mask_net.dnn.mlp.4")},
        {},
    )


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
    "fuxictr_afn": fuxictr_afn,
    "fuxictr_autoint": fuxictr_autoint,
    "fuxictr_xdeepfm": fuxictr_xdeepfm,
    "dcnv2": dcnv2,
    "dcnv2_mixture": dcnv2,
    "dcnv2_stacked": lambda w: dcnv2(w, "stacked_dnn.mlp"),
    "dlrm": lambda w: fuxictr(w, "top_mlp.mlp"),
    "fibinet": fibinet,
    "fibinet_all": fibinet,
    "fibinet_each": fibinet,
    "finalmlp": finalmlp,
    "finalmlp_context": finalmlp,
    "finalnet": finalnet,
    "finalnet_sum": finalnet,
    "gdcn": gdcn,
    "gdcn_stacked": lambda w: gdcn(w, beside=()),
    "masknet": masknet,
    "masknet_parallel": masknet,
}
