"""Any file that a person has is read right, or refused in one line that helps."""

import bz2
import csv
import io
import lzma
import random
import tarfile
import zipfile

import numpy as np
import polars as pl
import pytest

from autoloss_jax import config
from autoloss_jax.config import Config, Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import source, store
from autoloss_jax.data.prepare import pipeline, stages
from autoloss_jax.data.read import formats, sources, text
from tests.support import files
from tests.support.commands import call
from tests.support.runs import quiet

TABLE = {"format": "tabular", "label": "click", "categorical": ("site",), "numeric": ("age",)}


@pytest.fixture
def file(tmp_path):
    return files.writer(tmp_path, "data.csv")


def rows(path, size=1 << 25, labelled=True, **data):
    """Rows of a file, as tuples of label and values."""
    return files.rows(sources.read(path, Data(**data), labelled=labelled, size=size))


RATINGS = [("u1", "m1", "5"), ("u2", "m1", "1"), ("-3", "m 2", "4")]


@pytest.mark.parametrize(
    "content",
    [
        "u1,m1,5\nu2,m1,1\n-3,m 2,4\n",  # no header, and ids that are no digits
        '"u1","m1","5"\n"u2","m1","1"\n"-3","m 2","4"\n',
        "user,item,rating\nu1,m1,5\nu2,m1,1\n-3,m 2,4\n",
        "item_id,user_id,rating\nm1,u1,5\nm1,u2,1\nm 2,-3,4\n",  # in another order
        "Rating,userId,movieId,timestamp\n5,u1,m1,1\n1,u2,m1,2\n4,-3,m 2,3\n",
        "u1\tm1\t5\t881250949\nu2\tm1\t1\t881250950\n-3\tm 2\t4\t881250951\n",
        "u1::m1::5::978300760\nu2::m1::1::978300761\n-3::m 2::4::978300762\n",
    ],
)
def test_ratings_are_known_by_their_header_or_by_their_places(file, content):
    wanted = [(int(stars) - 1, user, movie) for user, movie, stars in RATINGS]
    assert rows(file(content), format="ratings", num_classes=5) == wanted


def test_a_header_is_read_or_not_as_it_is_said(file):
    named = file("user,movie,stars\nu2,m1,1\n", "named.csv")
    other = file("viewer,film,how much\nu2,m1,1\n", "other.csv")
    for path, header in ((named, "auto"), (named, "true"), (other, "true")):
        assert rows(path, format="ratings", num_classes=5, header=header) == [(0, "u2", "m1")]
    for path, header in ((named, "false"), (other, "auto"), (other, "false")):
        with pytest.raises(UserError, match=r":1: column rating: .*--config\.data\.header=true"):
            rows(path, format="ratings", num_classes=5, header=header)
    with pytest.raises(UserError, match=r"data.csv:1: the header: no column 'movie'"):
        rows(file("user,title,rating\nu,t,5\n"), format="ratings")


def test_avazus_and_criteos_columns_are_known_by_name(file):
    from autoloss_jax.data.read.layouts import AVAZU, CRITEO

    names = ["id", "click", *AVAZU]
    cells = {name: name.upper() for name in names} | {"click": "1"}
    order = [*names[5:], *names[:5]]
    content = ",".join(order) + "\n" + ",".join(cells[n] for n in order) + "\n"
    assert rows(file(content), format="avazu") == [(1, *(n.upper() for n in AVAZU))]
    scored = rows(file(content), labelled=False, format="avazu")  # rows to score have a label too
    assert scored == [tuple(n.upper() for n in AVAZU)]
    line = "\t".join(["1", *["7"] * 13, *["a"] * 26])
    header = "\t".join(["label", *CRITEO])
    expected = rows(file(line + "\n"), format="criteo")
    assert rows(file(f"{header}\n{line}\n"), format="criteo") == expected
    assert rows(file(line + "\n"), labelled=False, format="criteo") == [expected[0][1:]]


@pytest.mark.parametrize("spelled", ["1", "1.0", " 1", '"1"', '" 1.0 "'])
def test_a_value_has_one_text(file, spelled):
    assert rows(file(f"click,age,site\n1,2,{spelled}\n"), **TABLE)[0][1] == "1"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (pl.Series([1, 2]), ["1", "2"]),
        (pl.Series([1.0, None]), ["1", ""]),  # what pandas makes of a blank among whole numbers
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series(["TRUE", "False"]), ["true", "false"]),
        (pl.Series(["1", "2"], dtype=pl.Categorical), ["1", "2"]),
        (pl.Series([1.5, 2.0]), ["1.5", "2"]),
    ],
)
def test_a_column_of_parquet_has_the_texts_of_its_csv(tmp_path, cells, words):
    frame = pl.DataFrame({"click": [1, 0], "age": [2, 3], "site": cells})
    frame.write_parquet(tmp_path / "t.parq")  # known by its first bytes
    frame.write_csv(tmp_path / "t.csv")
    for name in ("t.parq", "t.csv"):
        assert [row[1] for row in rows(tmp_path / name, **TABLE)] == words


def test_a_dataset_from_before_there_was_one_text_keeps_its_places():
    """1 and 1.0 were two values: rows now are the first of them."""
    from autoloss_jax.data.prepare.encoder import _told

    words = pl.DataFrame({"value": ["1.0", "b", "1", "TRUE"]})
    assert _told(words).to_list() == ["1", "b", "1", "true"]


def test_a_pair_whose_first_value_is_blank_is_in_its_vocabulary(tmp_path):
    """Its text begins with a blank, which belongs to it."""
    frame = pl.DataFrame({"click": [0, 1] * 90, "site": ["", "a", "b"] * 60, "city": ["x"] * 180})
    frame.write_csv(tmp_path / "log.csv")
    asked = TABLE | {"categorical": ("site", "city"), "crosses": ("site*city",), "numeric": ()}
    data = Data(**asked, path=str(tmp_path / "log.csv"), cache=str(tmp_path / "cache"))
    assert pipeline.prepare(data, quiet).schema.oov_rate["train"] == [0.0, 0.0, 0.0]


def test_the_ids_of_formats_that_are_read_as_they_are_stay_in_their_vocabulary(file, tmp_path):
    path = file("".join(f"True,{i % 4}.0,{1 + i % 5}\n" for i in range(200)))
    data = Data(format="ratings", path=str(path), cache=str(tmp_path / "cache"))
    assert pipeline.prepare(data, quiet).schema.oov_rate["train"] == [0.0, 0.0]


@pytest.mark.parametrize("marker", ["", "NaN", "nan", "NA", "NULL", "null", r"\N", "N/A", " "])
def test_a_number_that_is_missing_is_so_in_every_spelling(file, marker):
    assert rows(file(f"click,age,site\n1,{marker},a\n"), **TABLE) == [(1, "a", None)]


def random_table(r, count):
    words = ["a", "b c", 'say "hi"', "two\nlines", "\n\n", ",", '",\n"', "", "1,a,2\n0,b,3"]
    return [[str(r.randrange(2)), str(r.randrange(99)), r.choice(words)] for _ in range(count)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "::", "¦", "\x01"])
def test_what_python_writes_is_read_at_every_block_size(file, delimiter):
    r = random.Random(0)
    table = random_table(r, 60)
    out = io.StringIO()
    single = "\x1f" if len(delimiter) > 1 else delimiter
    writer = csv.writer(out, lineterminator="\n", delimiter=single)
    writer.writerows([["click", "age", "site"], *table])
    path = file(out.getvalue().replace(single, delimiter))
    wanted = [(int(click), site.strip(), float(age)) for click, age, site in table]
    asked = {} if delimiter in ",;\t|" else {"delimiter": delimiter}
    for size in (1, 7, 64, 1 << 20):
        assert rows(path, size, **TABLE, **asked) == wanted


def test_a_file_of_cells_with_line_ends_is_the_same_in_every_stretch(file, tmp_path):
    """Also where it was gone on with in the middle."""
    r = random.Random(1)
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(
        [["click", "age", "site"], *random_table(r, 80)]
    )
    path = file(out.getvalue())
    data, whole = Data(**TABLE), rows(file(out.getvalue()), **TABLE)
    assert len(whole) == 80 and text.spans_lines(path)
    assert len(stages.stretches(path, "all", "x", _job(data, tmp_path))) == 1
    for length in (10, 50, 300):
        stretches = [
            [
                row
                for block in blocks
                for row in block.frame.with_columns(**block.meanings).iter_rows()
            ]
            for _, blocks in sources.stretches(path, data, length=length)
        ]
        assert [row for stretch in stretches for row in stretch] == whole
        middle = len(stretches) // 2
        later = [
            [
                row
                for block in blocks
                for row in block.frame.with_columns(**block.meanings).iter_rows()
            ]
            for _, blocks in sources.stretches(path, data, length=length, first=middle)
        ]
        assert later == stretches[middle:]


def _job(data, folder):
    return stages.Job(data, folder, folder, 16, 16)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_quote_that_nothing_closes_costs_its_own_line(file, size):
    content = 'click,age,site\n1,2,a\n0,3,"b\n1,4,c\n0,5,5" pipe\n'
    with pytest.raises(UserError, match=r"data.csv:3: bad quoting"):
        rows(file(content), size, **TABLE)
    with pytest.raises(UserError, match=r"data.csv:3: a quote that is not closed"):
        rows(file(content.replace('5" pipe', "pipe")), size, **TABLE)
    kept = rows(file(content), size, **TABLE, on_bad_row="skip")
    assert kept == [(1, "a", 2.0), (1, "c", 4.0), (0, '5" pipe', 5.0)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("click,age,site,x,x,", None),
        (",click,age,site", None),
        ("click,age,site,age", "data.csv:1: the header has the column 'age' 2 times"),
        ("click;age;site", None),
        ("click,age,line,site", None),
    ],
)
def test_names_that_are_there_twice_or_blank_matter_where_they_are_declared(file, header, message):
    separator = ";" if ";" in header else ","
    cells = {"click": "1", "age": "2", "site": "a"}
    line = separator.join(cells.get(name, "7") for name in header.split(separator))
    path = file(f"{header}\n{line}\n")
    if message is None:
        assert rows(path, **TABLE) == [(1, "a", 2.0)]
    else:
        with pytest.raises(UserError, match=message):
            rows(path, **TABLE)


def test_a_table_without_a_header_is_refused(file):
    with pytest.raises(UserError, match=r"data.csv:1: --config\.data\.header=false: a table's"):
        rows(file("1,2,a\n"), **TABLE, header="false")


@pytest.mark.parametrize("name", ["^site$", "*", "label"])
def test_names_that_would_be_taken_for_another_thing_are_refused(file, name):
    keys = TABLE | {"categorical": (name,)}
    with pytest.raises(UserError, match="rename it"):
        rows(file(f"click,age,{name}\n1,2,a\n"), **keys)


@pytest.mark.parametrize("delimiter", ['"', "\\x0a", "\n"])
def test_what_cannot_part_columns_is_said(file, delimiter):
    with pytest.raises(UserError, match=r"--config\.data\.delimiter"):
        rows(file("click,age,site\n1,2,a\n"), **TABLE, delimiter=delimiter)


def test_what_is_no_text_is_said_as_what_it_is_and_what_is_compressed_is_read(tmp_path):
    content = b"click,age,site\n1,2,a\n"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", content)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    (tmp_path / "utf16.csv").write_bytes(content.decode().encode("utf-16"))
    for name, what in (("a.zip", "zip"), ("a.tar.gz", "tar"), ("utf16.csv", "UTF-16")):
        with pytest.raises(UserError, match=rf"{name}: .*{what}"):
            rows(tmp_path / name, **TABLE)
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(content))
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(content))
    for name in ("a.csv.xz", "a.csv.bz2"):
        assert rows(tmp_path / name, **TABLE) == [(1, "a", 2.0)]
        cut = (tmp_path / name).read_bytes()[:-9]
        (tmp_path / name).write_bytes(cut)
        with pytest.raises(UserError, match=r"damaged or cut off|empty"):
            rows(tmp_path / name, **TABLE)


def test_a_list_of_parquet_is_its_values_whatever_is_in_them(tmp_path):
    lists = [["R&B|Soul", "jazz"], [], None, ["1.0", ""]]
    for kind in (pl.List(pl.String), pl.List(pl.Categorical)):
        frame = pl.DataFrame(
            {"click": [1, 0, 1, 0], "tags": pl.Series(lists, dtype=pl.List(pl.String)).cast(kind)}
        )
        frame.write_parquet(tmp_path / "t.parquet")
        blocks = sources.read(
            tmp_path / "t.parquet", Data(format="tabular", label="click", bags=("tags",))
        )
        cells = [cell for block in blocks for cell in block.frame["tags"].to_list()]
        assert cells == [["R&B|Soul", "jazz"], [""], [""], ["1.0"]]
    with pytest.raises(UserError, match=r"column 'tags' holds List.*bags"):
        rows(tmp_path / "t.parquet", format="tabular", label="click", categorical=("tags",))


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000123", 1_700_000_000.123),
        ("2023-11-14 22:13:20", 1_700_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000.5),
        ("2023-11-14", 1_699_920_000),
        ("", -1),
        ("NaN", -1),
        ("3", 3),
    ],
)
def test_a_time_is_a_number_or_a_date(file, cell, seconds):
    data = Data(**TABLE, time="when")
    (block, *more) = sources.read(file(f"click,age,site,when\n1,2,a,{cell}\n"), data, own=True)
    (when,) = [b.frame["data.time"][0] for b in (block, *more) if b.frame.height]
    assert when == pytest.approx(seconds, abs=1e-6)


def test_a_time_of_parquet_is_its_date_and_what_is_none_is_said(file, tmp_path):
    data = Data(**TABLE, time="when")
    when = pl.Series(["2023-11-14 22:13:20"]).str.to_datetime()
    pl.DataFrame({"click": [1], "age": [2], "site": ["a"], "when": when}).write_parquet(
        tmp_path / "t.parquet"
    )
    found = [
        b.frame["data.time"].to_list() for b in sources.read(tmp_path / "t.parquet", data, own=True)
    ]
    assert found == [[1_700_000_000]]
    with pytest.raises(
        UserError, match=r":2: column when: soon is not what belongs there: a number, or a date"
    ):
        list(sources.read(file("click,age,site,when\n1,2,a,soon\n"), data, own=True))


def test_a_label_may_be_any_word_that_is_named(file):
    path = file("click,age,site\nyes,1,a\nno,2,b\n")
    with pytest.raises(UserError, match=r"column click: yes .* 0 or 1; .*--config\.data\.positive"):
        rows(path, **TABLE)
    assert [row[0] for row in rows(path, **TABLE, positive="yes")] == [1, 0]
    signs = file("click,age,site\n-1,1,a\n+1,2,b\n1.0,2,b\n")
    assert [row[0] for row in rows(signs, **TABLE, positive="1")] == [0, 0, 1]
    with pytest.raises(UserError, match="a blank is not what belongs there"):
        rows(file("click,age,site\n,1,a\n"), **TABLE, positive="yes")


def test_labels_may_be_any_words_in_an_order(file, tmp_path):
    stars = file("click,age,site\n1,1,a\n5,2,b\n2.50,2,b\n 3.0,2,b\n")
    classes = ("1", "2.50", "3", "5")
    assert [row[0] for row in rows(stars, **TABLE, classes=classes)] == [0, 3, 1, 2]
    with pytest.raises(UserError, match=r"data.csv:3: column click: 5 .* one of 1, 2.50, 3;"):
        rows(stars, **TABLE, classes=("1", "2.50", "3"))
    words = file("click,age,site\n" + "low,1,a\nhigh,2,b\nmid,2,b\n" * 20)
    keys = {f"data.{name}": value for name, value in TABLE.items()}
    data = {"data.path": str(words), "data.classes": ("low", "mid", "high")}
    found = source.resolved(Config().replace(keys | data), tmp_path, quiet).data
    assert found.num_classes == 3 and formats.levels(found) == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"data.classes": ("a",)}, "two or more"),
        ({"data.classes": ("a", "a")}, "each once"),
        ({"data.classes": ("a", "b"), "data.positive": "a"}, "leave --config.data.positive out"),
        ({"data.classes": ("a", "b", "c"), "data.num_classes": 4}, "3 classes"),
    ],
)
def test_classes_that_are_none_are_refused(keys, said):
    with pytest.raises(UserError, match=said):
        config.check(Config().replace(keys))


def test_words_that_stand_for_a_missing_value_are_blanks(file):
    content = "click,age,site\n1,2,NA\n0,3,\\N\n1,2,\n0,3,n/a\n"
    assert [row[1] for row in rows(file(content), **TABLE)] == ["NA", "\\N", "", "n/a"]
    known = rows(file(content), **TABLE, na_values=("NA", "\\N"))
    assert [row[1] for row in known] == ["", "", "", "n/a"]


def test_part_files_without_rows_are_parts(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"click": np.arange(90) % 2, "age": rng.integers(0, 9, 90), "site": ["a", "b", "c"] * 30}
    )
    for number, part in enumerate((frame[:50], frame[50:], frame[:0])):
        part.write_csv(tmp_path / f"part-{number}.csv")
        part.write_parquet(tmp_path / f"part-{number}.parquet")
    for kind in ("csv", "parquet"):
        data = Data(**TABLE, path=str(tmp_path / f"part-*.{kind}"), cache=str(tmp_path / kind))
        assert sum(pipeline.prepare(data, quiet).schema.num_examples.values()) == 90


def test_folders_with_the_letters_of_patterns_are_folders(tmp_path):
    folder = tmp_path / "été [1] * ?"
    folder.mkdir()
    log = pl.DataFrame({"click": [0, 1] * 40, "age": [1, 2, 3, 4] * 20, "site": ["a"] * 80})
    log.write_parquet(folder / "log [2].parquet")
    data = Data(**TABLE, path=str(folder / "log [2].parquet"), cache=str(folder))
    made = pipeline.prepare(data, quiet)
    assert sum(made.schema.num_examples.values()) == 80
    assert store.load_vocabulary(made.path)[0] == made.schema


@pytest.mark.parametrize("columns", ["site,city", "('site','city')", "site, city"])
def test_lists_are_typed_with_commas(tmp_path, columns):
    frame = pl.DataFrame({"click": [0, 1] * 40, "site": ["a", "b"] * 40, "city": ["x"] * 80})
    frame.write_csv(tmp_path / "log.csv")
    done = call(
        "autoloss_jax.cli.prepare",
        "--config=tabular:quick",
        f"--config.data.path={tmp_path / 'log.csv'}",
        f"--config.data.cache={tmp_path / 'cache'}",
        "--config.data.label=click",
        f"--config.data.categorical={columns}",
    )
    assert done.returncode == 0, done.stderr
    assert "2 fields" in done.stderr
