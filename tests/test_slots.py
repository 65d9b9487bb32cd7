"""Bags of values and numbers as values, from a table to a trained model: means, sums and
products of plain rows.
"""

import csv
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, fused, melu, networks
from autoloss_jax.config import Data, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline, scaling
from autoloss_jax.data.read import sources, text
from autoloss_jax.distributed import documents, sharding
from autoloss_jax.models.embeddings import pooling
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.models.embeddings.optimizers import Sparse
from autoloss_jax.training import evaluation, gradient_agreement, loop, prediction
from autoloss_jax.training.run import Run
from tests.support import proof

FILES = {"train": ("train", 400), "val": ("valid", 120), "test": ("test", 100)}
BAG_SIZE = 3
HEADER = ("click", "site", "age", "price", "tags", "topics")


def quiet(_):
    pass


def examples(rows, seed):
    """Label, a site, an age in its 40s or blank, a heavy-tailed price, and two bags: with
    repeats, blank, too long.
    """
    random = np.random.default_rng(seed)

    def bag(words):
        return random.choice(words, random.integers(0, BAG_SIZE + 3)).tolist()

    return [
        (
            int(random.integers(0, 2)),
            str(random.choice(["x", "y"])),
            None if random.random() < 0.2 else round(random.normal(40, 10), 3),
            round(float(np.exp(random.normal(0, 3))), 3),
            bag(list("abcdefg")),
            bag(list("pq")),
        )
        for _ in range(rows)
    ]


def write(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for row in rows:
            cells = dict(zip(HEADER, row, strict=True))
            table.writerow(
                "|".join(c) if isinstance(c := cells[name], list) else c for name in header
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(Given splits, their rows)."""
    path = tmp_path_factory.mktemp("slots")
    content = {split: examples(rows, seed) for seed, (split, (_, rows)) in enumerate(FILES.items())}
    content["test"].append((1, "x", 70.0, 5.0, ["unseen", "a"], ["p"]))
    for split, rows in content.items():
        write(path / f"{FILES[split][0]}.csv", rows)
    return path, content


def data(path, cache, **values):
    base = {
        "name": "t",
        "label": "click",
        "categorical": ("site",),
        "values": ("age", "price"),
        "bags": ("tags", "topics"),
        "bag_size": BAG_SIZE,
    }
    return Data(path=str(path), cache=str(cache), **base | values)


def run_config(path, cache, **keys):
    cfg = config.Config(
        data=data(path, cache),
        model=config.Model(name="fm", embed_dim=4, embed_init_std=0.1),
        method=config.Method(name="darts", every=3),
        optimizer=config.Optimizer(learning_rate=0.02),
        train=config.Train(batch_size=50, epochs=2, log_every=4, eval_batch_size=64),
    )
    return settings.with_keys(cfg, {k.replace("__", "."): v for k, v in keys.items()})


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """(Config, workdir, result) of a run from the device's memory."""
    workdir = tmp_path_factory.mktemp("trained")
    cfg = run_config(folder[0], workdir / "cache", data__residence="device")
    return cfg, workdir / "run", loop.train(cfg, workdir / "run", quiet)


def scaled(numbers, of_train, scale):
    """Numbers and blanks standardised by hand, none beyond those of train; a blank is 1."""
    warp = {"standard": lambda a: a, "log": lambda a: np.sign(a) * np.log(1 + np.abs(a))}[scale]
    known = warp(np.array([n for n in of_train if n is not None]))
    low, high = known.min(), known.max()
    return [
        1.0 if n is None else (min(max(warp(n), low), high) - known.mean()) / known.std()
        for n in numbers
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "scale"), [("mean", "standard"), ("sum", "log")])
def test_a_models_fields_are_what_torchs_embedding_bag_makes_of_the_raw_cells(
    folder, tmp_path, how, scale
):
    torch = pytest.importorskip("torch", reason="torch is not installed: it is the oracle here")
    path, content = folder
    prepared = pipeline.prepare(data(path, tmp_path, bag_pooling=how, scale=scale), quiet)
    schema, vocabulary = store.load_vocabulary(prepared.path)
    ids = {
        name: {
            word: i + 1
            for i, word in enumerate(vocabulary.filter(pl.col("field") == name)["value"])
        }
        for name in schema.fields
    }
    rows, batch = (
        content["test"],
        {name: np.asarray(a) for name, a in prepared.split("test").items()},
    )
    for spec in ("deepfm", "ipnn"):
        cfg = config.Config(
            model=config.Model(name=spec, embed_dim=3, hidden=(8,), embed_init_std=0.5)
        )
        al = Run.of(cfg).build(2, Table(schema.vocab_sizes, schema.slots), 10)
        state = Run.of(cfg).initial_state(al)
        W = state.drs.params
        table = torch.tensor(np.asarray(W["rows"]))
        fields = []
        for name, offset in zip(schema.fields, schema.offsets, strict=True):
            cells, factor = [row[HEADER.index(name)] for row in rows], None
            bags = [
                (cell or [""])[:BAG_SIZE] if isinstance(cell, list) else [cell] for cell in cells
            ]
            if name in schema.scales:
                factor = scaled(cells, [row[HEADER.index(name)] for row in content["train"]], scale)
                places = [0 if cell is None else 1 for cell in cells]
                fields.append(
                    table[offset + torch.tensor(places)] * torch.tensor(factor)[:, None].float()
                )
                continue
            flat = torch.tensor([offset + ids[name].get(word, 0) for bag in bags for word in bag])
            begins = torch.tensor(np.cumsum([0, *map(len, bags)])[:-1])
            fields.append(torch.nn.functional.embedding_bag(flat, table, begins, mode=how))
        given = jnp.asarray(torch.stack(fields, dim=1).numpy())
        want = al.recommender.module.apply(
            {"params": W["dense"], "batch_stats": state.drs.stats}, given, train=False
        )
        got, _ = proof.forward(al, W, state.drs.stats, batch)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert batch["x"][-1, 3] == schema.offsets[3] and schema.oov_rate["test"][3] > 0  # "unseen"
    padding = batch["v"] == 0
    assert padding[:, 3:].any() and not padding[:, :3].any()
    for begin in (3, 6):  # padding repeats the first value: no other row is touched
        x, unused = batch["x"][:, begin : begin + 3], padding[:, begin : begin + 3]
        assert np.array_equal(x[unused], np.broadcast_to(x[:, :1], x.shape)[unused])


SLOTS = (1, 3, 1, 4)  # a bag, and another that is weighted at will, of the four fields of the proof


def slotted(**keys):
    """The problem of the proof with bags: repeated ids in one bag, weights of either sign,
    padding.
    """
    al, state, *_ = proof.problem(**keys)
    tight = {"chunk": None} if isinstance(al.optimizer, Sparse) else {}
    al = dataclasses.replace(
        al,
        recommender=dataclasses.replace(
            al.recommender, pooled=functools.partial(pooling.pooled, slots=SLOTS)
        ),
        optimizer=dataclasses.replace(
            al.optimizer, table=Table(tuple(al.optimizer.table.vocab_sizes), SLOTS), **tight
        ),  # no room beyond what slots need
    )
    random = np.random.default_rng(3)
    offsets, known = (np.repeat(a, SLOTS) for a in (150 * np.arange(4), (12, 150, 12, 250)))

    def batch():
        x = random.integers(0, known, (proof.BATCH, sum(SLOTS)))
        v = random.normal(size=x.shape)
        v[::3, 2:4], x[::3, 2:4] = 0, x[::3, 1:2]
        x[1::3, 2] = x[1::3, 1]
        y = random.integers(0, 2, proof.BATCH)
        return {
            "x": jnp.asarray(x + offsets, jnp.int32),
            "v": jnp.asarray(v),
            "y": jnp.asarray(y, jnp.int32),
        }

    return al, state, batch(), batch()


@pytest.mark.slow
def test_the_hypergradient_through_bags_and_values_matches_central_differences():
    with jax.enable_x64(True):
        al, state, batch, val = slotted(model="fm", embedding="sparse_adam", val_objective="ce")
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, batch, val))(state)
        f = proof.full_table_outer_loss(al, state, batch, val)
        scale = np.linalg.norm(proof.flatten(gradient))
        assert scale > 1e-6
        for direction, difference in proof.central_differences(f, state.controller.params, count=6):
            exact = proof.flatten(gradient) @ proof.flatten(direction)
            assert abs(exact - difference) < 1e-6 * max(scale, 1e-2)


@pytest.mark.slow
def test_with_bags_sparse_adam_is_dense_adam_and_rows_that_no_cell_holds_rest():
    with jax.enable_x64(True):
        _, state, batch, val = slotted(model="fm", name="darts")
        ends = {}
        for embedding in ("adam", "sparse_adam"):
            al, *_ = slotted(model="fm", name="darts", embedding=embedding)
            W = state.drs.params
            drs = state.drs.replace(opt_state=al.optimizer.init(W))
            start = state.replace(drs=drs, step=jnp.asarray(0))

            @jax.jit
            def run(state, al=al):
                def step(i, s):
                    return fused.train_step(
                        al, s, jax.tree.map(lambda a, b: jnp.where(i % 2, a, b), batch, val), val
                    )

                return networks.settle(al, jax.lax.fori_loop(0, 70, step, state))

            ends[embedding] = run(start)
        dense, sparse = (ends[name].drs.params for name in ("adam", "sparse_adam"))
        assert jax.tree.all(jax.tree.map(lambda a, b: np.max(np.abs(a - b)) < 1e-11, dense, sparse))
        used = np.union1d(batch["x"], val["x"])
        for end in ends.values():
            moved = np.any(np.asarray(end.drs.params["rows"] != W["rows"]), axis=1)
            assert np.array_equal(np.flatnonzero(moved), used)


@pytest.mark.slow
def test_melus_step_and_the_signal_take_bags_too():
    al, state, batch, val = slotted(name="melu")
    after = jax.eval_shape(lambda s: melu.train_step(al, s, batch, val), state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    al, state, batch, val = slotted()
    assert (
        jax.eval_shape(lambda s: gradient_agreement.cosine(al, s, batch, val, val), state).shape
        == ()
    )


@pytest.mark.slow
def test_host_and_device_train_alike(trained, tmp_path):
    """To the rounding of two programs; test_train.py compares bits, as users compile."""
    cfg, _, result = trained
    keys = {"data.residence": "host", "train.block": 3}
    other = loop.train(settings.with_keys(cfg, keys), tmp_path, quiet)
    assert other["steps"] == result["steps"]
    assert other["val"]["logloss"] == pytest.approx(result["val"]["logloss"], abs=5e-3)


@pytest.mark.slow
def test_figures_are_found_again_and_a_file_without_labels_gets_the_scores_of_the_test_split(
    trained, folder, tmp_path
):
    (path, content), (cfg, workdir, result) = folder, trained
    loaded = prediction.load(workdir, None, {})
    for keys in ({}, {"data.path": str(path / "test.csv")}):
        again = prediction.evaluate_run(prediction.load(workdir, None, keys), workdir, "", quiet)
        assert {name: again[name] for name in ("auc", "logloss")} == {
            name: result["test"][name] for name in ("auc", "logloss")
        }
    write(tmp_path / "new.csv", content["test"], [name for name in HEADER if name != "click"])
    new = prediction.load(workdir, None, {"data.path": str(tmp_path / "new.csv")})
    assert prediction.predict(new, workdir, tmp_path / "scores.parquet") == len(content["test"])
    scores = pl.read_parquet(tmp_path / "scores.parquet")["score"].to_numpy()
    test = pipeline.prepare(Run.of(cfg).data, quiet).split("test")
    logits, _ = evaluation.predictions(*prediction._forward(loaded), test, 64)
    assert np.array_equal(scores, autoloss.probabilities(jnp.asarray(logits, jnp.float32))[:, 0])
    assert np.std(scores) > 0


def test_a_scale_is_that_of_train_alone(folder, tmp_path):
    path, content = folder
    (tmp_path / "d").mkdir()
    for split, rows in content.items():
        more = split != "train"
        write(
            tmp_path / "d" / f"{FILES[split][0]}.csv",
            [
                (y, s, age and age + 30 * more, price + 1e4 * more, *bags)
                for y, s, age, price, *bags in rows
            ],
        )
    ours, theirs = (
        pipeline.prepare(data(p, tmp_path / "c"), quiet) for p in (path, tmp_path / "d")
    )
    assert ours.path != theirs.path and ours.schema.scales == theirs.schema.scales
    assert np.array_equal(ours.split("train")["v"], theirs.split("train")["v"])
    assert not np.array_equal(ours.split("test")["v"], theirs.split("test")["v"])
    for name, found in ours.schema.scales.items():
        numbers = [n for row in content["train"] if (n := row[HEADER.index(name)]) is not None]
        np.testing.assert_allclose(found, [np.mean(numbers), np.std(numbers)], rtol=1e-12)


def test_blocks_of_any_size_give_the_same_store_and_so_do_lists_of_parquet(
    folder, tmp_path, monkeypatch
):
    path, content = folder
    monkeypatch.setattr(scaling, "CHUNK", 64)
    whole = pipeline.prepare(data(path, tmp_path / "a"), quiet)
    monkeypatch.setattr(text, "BLOCK_BYTES", 397)
    pieces = pipeline.prepare(data(path, tmp_path / "b"), quiet)
    names = {p.name for p in whole.path.iterdir()}
    assert {f"{split}-0000{i}.v.npy" for i, split in enumerate(store.SPLITS)} < names
    assert all((whole.path / n).read_bytes() == (pieces.path / n).read_bytes() for n in names)
    (tmp_path / "d").mkdir()
    for split, (file, _) in FILES.items():
        rows = [(*row[:4], row[4] or None, row[5]) for row in content[split]]
        pl.DataFrame(rows, schema=HEADER, orient="row").write_parquet(
            tmp_path / "d" / f"{file}.parquet"
        )
    lists = pipeline.prepare(data(tmp_path / "d", tmp_path / "c"), quiet)
    for split in store.SPLITS:
        assert jax.tree.all(jax.tree.map(np.array_equal, lists.split(split), whole.split(split)))


def test_a_cell_is_cut_at_the_separator_to_the_letter_and_blank_values_are_none(tmp_path):
    cells = {"a, b": ["a", "b"], "a,b": ["a,b"], ", a, , b, ": ["a", "b"], "": [""], ", , ": [""]}
    pl.DataFrame({"label": 1, "tags": list(cells)}).write_csv(tmp_path / "t.csv")
    _, block = sources.read(tmp_path / "t.csv", Data(bags=("tags",), bag_separator=", "))
    assert block.frame["tags"].to_list() == list(cells.values())


def test_it_is_said_how_many_cells_were_cut(folder, tmp_path):
    path, content = folder
    said = []
    pipeline.prepare(data(path, tmp_path), said.append)
    for name in ("tags", "topics"):
        cut = sum(
            len(row[HEADER.index(name)]) > BAG_SIZE for rows in content.values() for row in rows
        )
        assert any(
            line.startswith(f"{cut:,} cells of {name} hold more than {BAG_SIZE} values")
            for line in said
        )


def test_a_store_of_ordinary_fields_is_what_it_was(folder, tmp_path):
    path, _ = folder
    ordinary = {"values": (), "bags": (), "numeric": ("age",)}
    one = pipeline.prepare(data(path, tmp_path, **ordinary), quiet)
    assert (
        one.path
        == pipeline.prepare(data(path, tmp_path, bag_size=7, scale="log", **ordinary), quiet).path
    )
    assert one.split("train").keys() == {"x", "y"} and one.split("train")["x"].shape == (400, 2)
    known = json.loads((one.path / store.SCHEMA).read_text())
    older = {name: value for name, value in known.items() if name not in ("slots", "scales")}
    documents.write(one.path / store.SCHEMA, older)
    assert store.open_store(one.path).schema == one.schema


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"numeric": ("age",)}, "declared twice"),
        ({"bags": ("tgas",)}, "'tgas' is not in the file.*did you mean 'tags'"),
        (
            {"categorical": (), "values": ("age", "site")},
            r"train\.csv:2: column site: . is not what belongs there",
        ),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_columns_that_do_not_fit_are_one_line(folder, tmp_path, keys, message):
    with pytest.raises(UserError, match=message) as error:
        pipeline.prepare(data(folder[0], tmp_path, **keys), quiet)
    assert "\n" not in str(error.value)


def test_a_number_beyond_those_of_train_is_the_nearest_of_them(folder, tmp_path):
    """Also one that is beyond float32; train itself has none."""
    _, content = folder
    (tmp_path / "d").mkdir()
    greatest = max(row[2] for row in content["train"] if row[2] is not None)
    for split, (file, _) in FILES.items():
        far = [(1, "x", n, 1.0, [], []) for n in (1e60, greatest)] if split == "test" else []
        write(tmp_path / "d" / f"{file}.csv", content[split] + far)
    for scale in ("standard", "log"):
        made = pipeline.prepare(data(tmp_path / "d", tmp_path / "c", scale=scale), quiet)
        far, nearest = np.asarray(made.split("test")["v"])[-2:]
        np.testing.assert_array_equal(far, nearest)
    write(tmp_path / "d" / "train.csv", content["train"] + [(1, "x", 1e200, 1.0, [], [])])
    with pytest.raises(UserError, match="column age: its numbers are too large"):
        pipeline.prepare(data(tmp_path / "d", tmp_path / "c"), quiet)


def test_weights_that_are_not_finite_are_refused_before_they_are_trained_on():
    split = {"x": np.zeros((3, 1), np.int32), "v": np.array([[1], [np.nan], [0]], np.float32)}
    with pytest.raises(UserError, match="not finite"):
        host.check(split, np.array([[0], [1]]))


def test_weights_are_divided_over_devices_as_ids_are():
    for path in ("batch", "source/train", "source/val"):
        assert sharding.spec(f"{path}/v") == sharding.spec(f"{path}/x")


def test_a_constant_column_is_zero_and_a_column_of_blanks_is_no_error():
    numbers = scaling.Moments()
    for _ in range(5):
        numbers.add(np.full(7, 0.1))
    assert numbers.standard() == (pytest.approx(0.1), 1.0)
    assert scaling.Moments().standard() == (0.0, 1.0)
