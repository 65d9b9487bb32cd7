"""Every layout becomes the columns that a plain line-by-line reader finds, and every bad line is
named by its number.
"""

import gzip
import math
import random

import polars as pl
import pytest

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import files, sources, text
from autoloss_jax.data.read.text import zstd
from tests.support import files as made


def rows(path, size=1 << 25, labelled=True, **data):
    """(Rows of a file, as tuples of label and values; rows skipped)."""
    blocks = list(sources.read(path, Data(**data), labelled=labelled, size=size))
    return made.rows(blocks), sum(len(b.gaps) for b in blocks)


def criteo_line(label="0", integers=("",) * 13, words=("a",) * 26):
    return "\t".join([label, *integers, *words])


def criteo_reference(line):
    """The rule, written once more: v > 2 -> floor(ln(v)^2), kept apart from small v; blank stays
    blank.
    """
    cells = line.split("\t")
    integers = [
        c and (f"log {math.floor(math.log(int(c)) ** 2)}" if int(c) > 2 else str(int(c)))
        for c in cells[1:14]
    ]
    return (int(cells[0]), *integers, *cells[14:])


@pytest.fixture
def file(tmp_path):
    return made.writer(tmp_path, "data.txt")


def random_criteo(count, seed=0):
    r = random.Random(seed)
    return [
        criteo_line(
            r.choice("01"),
            [r.choice(["", "-1", "0", "1", "2", "3", str(r.randrange(10**6))]) for _ in range(13)],
            [r.choice(["", f"{r.randrange(2**32):08x}"]) for _ in range(26)],
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("size", [300, 1000, 1 << 25])
def test_criteo_follows_the_log_square_rule_at_every_block_size(file, size):
    lines = random_criteo(60)
    got, skipped = rows(file("\n".join(lines) + "\n"), size, format="criteo")
    assert got == [criteo_reference(line) for line in lines]
    assert skipped == 0


@pytest.mark.parametrize("size", [64, 1 << 25])
@pytest.mark.parametrize(
    "dress",
    [
        lambda s: s,
        lambda s: s.rstrip(b"\n"),
        lambda s: s + b"\n\n",
        lambda s: s.replace(b"\n", b"\r\n"),
        lambda s: b"\xef\xbb\xbf" + s,
        lambda s: b"\xef\xbb\xbf" + s.replace(b"\n", b"\r\n") + b"\r\n",
        gzip.compress,
        zstd.compress,
        lambda s: zstd.compress(s[:999]) + zstd.compress(s[999:]),
    ],
    ids=[
        "plain",
        "no final newline",
        "empty lines at the end",
        "CRLF",
        "BOM",
        "BOM and CRLF",
        "gzip",
        "zstd",
        "zstd in two frames",
    ],
)
def test_line_ends_byte_order_marks_and_gzip_change_nothing(file, dress, size):
    lines = random_criteo(20, seed=1)
    got, _ = rows(file(dress(("\n".join(lines) + "\n").encode())), size, format="criteo")
    assert got == [criteo_reference(line) for line in lines]


BAD = {
    "columns": (criteo_line() + "\tx", "40 columns|41 columns where 40"),
    "short": (criteo_line()[2:], "39 columns where 40"),
    "integer": (criteo_line(integers=("x",) + ("",) * 12), "column I1: x"),
    "label": (criteo_line(label="2"), "column label: 2"),
    "blank label": (criteo_line(label=""), "column label"),
    "NUL": (criteo_line(words=("a\0",) * 26), "NUL"),
    "empty": ("", "an empty line"),
}


@pytest.mark.parametrize("size", [200, 1 << 25])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_line_is_named_or_skipped_and_counted(file, kind, size):
    bad, message = BAD[kind]
    good = random_criteo(12, seed=2)
    path = file("\n".join([*good[:7], bad, *good[7:]]) + "\n")
    with pytest.raises(UserError, match=rf"data.txt:8: .*({message})") as error:
        rows(path, size, format="criteo")
    assert "on_bad_row=skip" in str(error.value)
    got, skipped = rows(path, size, format="criteo", on_bad_row="skip")
    assert got == [criteo_reference(line) for line in good]
    assert skipped == 1
    data, before = Data(format="criteo", on_bad_row="skip"), 0
    for block in sources.read(path, data, size=size):
        assert [before + gap for gap in block.gaps] in ([], [7])
        before += block.frame.height


def test_two_bad_lines_that_balance_each_other_are_both_found(file):
    path = file("\n".join([criteo_line(), criteo_line() + "\tx", criteo_line()[2:], criteo_line()]))
    got, skipped = rows(path, format="criteo", on_bad_row="skip")
    assert (len(got), skipped) == (2, 2)


def test_invalid_utf8_is_named(file):
    path = file((criteo_line() + "\n").encode() + criteo_line().encode().replace(b"a", b"\xff", 1))
    with pytest.raises(UserError, match=r"data.txt:2: invalid UTF-8"):
        rows(path, format="criteo")


@pytest.mark.parametrize("size", [500, 1 << 25])
@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_compressed_file_that_was_cut_off_is_named_and_the_lines_before_it_can_be_kept(
    file, size, compress
):
    lines = random_criteo(2000)
    whole = compress(("\n".join(lines) + "\n").encode())
    path = file(whole[: len(whole) // 2])
    with pytest.raises(
        UserError,
        match=r"data.txt:\d+: the compressed data is damaged or cut "
        r"off",
    ):
        rows(path, size, format="criteo")
    got, skipped = rows(path, size, format="criteo", on_bad_row="skip")
    assert skipped == 1
    assert 50 < len(got) < 2000
    assert got == [criteo_reference(line) for line in lines[: len(got)]]


def test_a_line_without_end_is_refused_early(file):
    with pytest.raises(UserError, match=r"data.txt:2: a line of more than"):
        rows(
            file((criteo_line() + "\n").encode() + b"a" * (text.LONGEST_LINE * 3)),
            1 << 20,
            format="criteo",
        )


def test_unlabelled_criteo_has_39_columns(file):
    lines = random_criteo(5)
    got, _ = rows(
        file("\n".join(line.partition("\t")[2] for line in lines)), labelled=False, format="criteo"
    )
    assert got == [criteo_reference(line)[1:] for line in lines]


AVAZU = "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"  # noqa: E501


@pytest.mark.parametrize("header", [True, False])
def test_avazu_is_read_with_and_without_its_header(file, header):
    line = ",".join(["7", "1", *(f"v{i}" for i in range(22))])
    got, _ = rows(file((AVAZU + "\n" if header else "") + line + "\n"), format="avazu")
    assert got == [(1, *(f"v{i}" for i in range(22)))]


def test_ratings_come_from_dat_and_csv_and_half_stars_are_rounded_up(file):
    dat = file("1::10::5::978300760\n2::11::1::1\n", "ratings.dat")
    assert rows(dat, format="ratings", num_classes=5)[0] == [(4, "1", "10"), (0, "2", "11")]
    csv = file(
        "userId,movieId,rating,timestamp\n1,10,3.5,1\n1,11,0.5,2\n1,12,5.0,3\n", "ratings.csv"
    )
    assert [r[0] for r in rows(csv, format="ratings", num_classes=5)[0]] == [3, 0, 4]
    assert [r[0] for r in rows(csv, format="ratings", num_classes=2)[0]] == [1, 0, 1]
    for stars in ("0", "5.5", "x", ""):
        with pytest.raises(UserError, match=r"ratings.dat:2: column rating"):
            rows(
                file(f"1::10::5::1\n2::11::{stars}::1\n", "ratings.dat"),
                format="ratings",
                num_classes=5,
            )


def test_libsvm_fields_are_positions_and_their_values_indices(file):
    path = file("1 3:1 17:1\n-1 4:1 18:1 \n0 3:1 19:1.0\n")
    assert rows(path, format="libsvm")[0] == [(1, "3", "17"), (0, "4", "18"), (0, "3", "19")]
    assert rows(file("3:1 17:1\n4:1 18:1\n"), labelled=False, format="libsvm")[0] == [
        ("3", "17"),
        ("4", "18"),
    ]
    with pytest.raises(UserError, match=r"data.txt:2: column field_1: 18:0.5"):
        rows(file("1 3:1 17:1\n0 4:1 18:0.5\n"), format="libsvm")


TABLE = {
    "format": "tabular",
    "label": "click",
    "categorical": ("site", "city"),
    "numeric": ("age",),
}


def test_a_table_is_read_from_csv_tsv_and_parquet(file, tmp_path):
    expected = [(1, "a,b", "x", 3.5), (0, "", 'say "hi"', None)]
    csv = file('click,age,site,city,unused\n1,3.5,"a,b",x,9\n0,,,"say ""hi""",9\n', "t.csv")
    assert rows(csv, **TABLE)[0] == expected
    tsv = file('click\tage\tsite\tcity\n1\t3.5\ta,b\tx\nfalse\t\t\t"say ""hi"""\n', "t.tsv")
    assert rows(tsv, **TABLE, delimiter="\t")[0] == expected
    frame = pl.DataFrame(
        {
            "click": [True, False],
            "age": [3.5, None],
            "site": ["a,b", None],
            "city": ["x", 'say "hi"'],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert rows(tmp_path / "t.parquet", **TABLE)[0] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clicks,age,site,city\n1,2,a,b\n", "'click' is not in the file.*did you mean 'clicks'"),
        ("click,age,site,city\n1,old,a,b\n", "t.csv:2: column age: old"),
        ("click,age,site,city\n1,inf,a,b\n", "t.csv:2: column age: inf"),
        ("click,age,site,city\n1,2,a\n", "t.csv:2: 3 columns where 4"),
        ('click,age,site,city\n1,2,"a,b\n', "t.csv:2: "),
        ("click,age,site,city\nmaybe,2,a,b\n", "t.csv:2: column click: maybe"),
    ],
)
def test_a_bad_table_is_named(file, content, message):
    with pytest.raises(UserError, match=message):
        rows(file(content, "t.csv"), **TABLE)


def test_splits_are_a_file_or_a_folder_of_three(tmp_path):
    with pytest.raises(UserError, match="name the dataset's file"):
        files.find_splits(Data())
    with pytest.raises(UserError, match="no such file or folder"):
        files.find_splits(Data(path=str(tmp_path / "none")))
    for name in ("train.csv", "valid.csv.gz"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no file test\.\*"):
        files.find_splits(Data(path=str(tmp_path)))
    (tmp_path / "test.csv").touch()
    assert [p.name for (p,) in files.find_splits(Data(path=str(tmp_path))).values()] == [
        "train.csv",
        "valid.csv.gz",
        "test.csv",
    ]
    (tmp_path / "test.txt").touch()
    with pytest.raises(UserError, match=r"2 files test\.\*"):
        files.find_splits(Data(path=str(tmp_path)))


@pytest.mark.parametrize(("short", "long"), [("1,2,a", "0,3,b,c,"), ("1,2,", "0,3,b,,")])
def test_a_cell_too_many_that_is_blank_makes_up_for_none_that_lacks(file, short, long):
    """Polars minds neither of the two lines."""
    path = file(f"click,age,site,city\n1,2,a,b\n{short}\n{long}\n0,3,a,\n")
    for size in (1, 1 << 20):
        with pytest.raises(UserError, match=r"data.txt:3: 3 columns where 4 are expected"):
            rows(path, size, **TABLE)
        got, skipped = rows(path, size, **TABLE, on_bad_row="skip")
        assert (len(got), skipped) == (2, 2)
