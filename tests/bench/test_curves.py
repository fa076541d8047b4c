"""What ``aloe metrics FILE`` reads, and what it says of files it can't read."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.__main__ import main
from aloe.bench.metrics_file import format_metrics, metrics_table, read_curve
from aloe.errors import DataError

PUBLISHED = "62.16 68.92 70.27 74.32 72.97 74.32 75.68 78.38 77.03 79.73"
VALUES = [float(v) for v in PUBLISHED.split()]


def read(tmp_path, text, name="curve.csv"):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return read_curve(path)


FORMS = {
    "json list": (json.dumps(VALUES), "c.json"),
    "json al": (json.dumps({"al": VALUES}), "c.json"),
    "json points": (json.dumps({"points": [{"k": k, "al": v} for k, v in enumerate(VALUES, 1)]}), "c.json"),
    "json list of points": (json.dumps([{"k": k, "al": v} for k, v in enumerate(VALUES, 1)]), "c.json"),
    "json points backwards": (json.dumps([{"k": 10 - k, "al": v} for k, v in enumerate(VALUES[::-1])]), "c.json"),
    "json rows per persona": (json.dumps([[v - 1 for v in VALUES], [v + 1 for v in VALUES]]), "c.json"),
    "json strings with percent": (json.dumps([f"{v}%" for v in VALUES]), "c.json"),
    "json in a text file": (json.dumps(VALUES), "c.txt"),
    "json lines per persona": ("\n".join(json.dumps([v + d for v in VALUES]) for d in (-1, 1)), "c.jsonl"),
    "score rows": (
        "\n".join(
            json.dumps({"persona_id": p, "turn": k, "score": v + p})
            for p in (-2, 2)
            for k, v in enumerate(VALUES, 1)
        ),
        "c.jsonl",
    ),
    "blanks": (PUBLISHED, "c.txt"),
    "csv row": (",".join(map(str, VALUES)), "c.csv"),
    "csv row with a comma at the end": (",".join(map(str, VALUES)) + ",\n", "c.csv"),
    "csv column": ("\n".join(map(str, VALUES)), "c.csv"),
    "csv column with header": ("AL\n" + "\n".join(map(str, VALUES)), "c.csv"),
    "csv k and al": ("k,al\n" + "\n".join(f"{k},{v}" for k, v in enumerate(VALUES, 1)), "c.csv"),
    "csv turns without header": ("\n".join(f"{k},{v}" for k, v in enumerate(VALUES, 1)), "c.csv"),
    "result table with bands": (
        "k,al,ci_low,ci_high\n" + "\n".join(f"{k},{v},{v - 1},{v + 1}" for k, v in enumerate(VALUES, 1)),
        "c.csv",
    ),
    "csv personas": ("\n".join(",".join(str(v + d) for v in VALUES) for d in (-1, 1)), "c.csv"),
    "csv personas, numbered header": (
        ",".join(map(str, range(1, 11))) + "\n" + "\n".join(",".join(str(v + d) for v in VALUES) for d in (-1, 1)),
        "c.csv",
    ),
    "csv personas with ids": (
        "persona_id," + ",".join(f"turn_{k}" for k in range(1, 11)) + "\n"
        + "\n".join(f"p{d}," + ",".join(str(v + d) for v in VALUES) for d in (-1, 1)),
        "c.csv",
    ),
    "decimal commas": (";".join(str(v).replace(".", ",") for v in VALUES), "c.csv"),
    "tabs, comment, byte order mark": ("\ufeff# a comment\n" + "\t".join(map(str, VALUES)), "c.tsv"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_published_figures(tmp_path, form):
    text, name = FORMS[form]
    curves = read(tmp_path, text, name)
    (row,) = metrics_table(curves)
    assert row["name"] == "c"
    assert row["n_turns"] == 10
    assert (round(row["n_ir"], 3), round(row["n_r2"], 3)) == (0.090, 0.855)
    assert (row["al_1"], row["al_k"]) == pytest.approx((62.16, 79.73))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"base": [1, 2, 3], "dpo": {"al": [2, 3, 4]}, "note": "x"}', "c.json"),
        ("k,base,dpo\n1,1,2\n2,2,3\n3,3,4", "c.csv"),
        ("base,1,2,3\ndpo,2,3,4", "c.csv"),
        ("model,1,2,3\nbase,1,2,3\ndpo,2,3,4", "c.csv"),
        ("base,dpo\n1,2\n2,3\n3,4", "c.csv"),
    ],
)
def test_named_curves(tmp_path, text, name):
    assert read(tmp_path, text, name) == {"base": [1.0, 2.0, 3.0], "dpo": [2.0, 3.0, 4.0]}


def test_rows_of_one_name_are_personas_of_one_model(tmp_path):
    assert read(tmp_path, "sft,1,2\nsft,3,4\nbase,5,5") == {"sft": [2.0, 3.0], "base": [5.0, 5.0]}


def test_a_result_is_called_by_its_model(tmp_path):
    text = json.dumps({"model": "oracle", "points": [{"k": 1, "al": 2.0}, {"k": 2, "al": None}, {"k": 3, "al": 4}]})
    (row,) = metrics_table(read(tmp_path, text, "result.json"))
    assert (row["name"], row["ir"], row["avg"]) == ("oracle", 1.0, 3.0)


@pytest.mark.parametrize("text", ["[1, null, 3]", "[1, NaN, 3]", "1,,3", "1\nnan\n3", "k,al\n1,1\n3,3", "1,none,3"])
def test_unscored_turns(tmp_path, text):
    (curve,) = read(tmp_path, text, "c.json" if text[0] == "[" else "c.csv").values()
    assert curve[0] == 1.0
    assert math.isnan(curve[1])
    assert curve[2] == 3.0


@pytest.mark.parametrize("text", ["[3, 3, 3]", "[0.1, 0.1]", "[[1, 2], [2, 1]]", "[5]"])
def test_flat_curves_print_none_and_never_nan(tmp_path, text):
    rows = metrics_table(read(tmp_path, text, "c.json"))
    assert rows[0]["n_ir"] is None
    assert rows[0]["n_r2"] is None
    printed = format_metrics(rows)
    assert "none" in printed
    assert "nan" not in printed.lower()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "c.csv", "empty"),
        ("# only words\n", "c.csv", "only comments"),
        ("[]", "c.json", "not a valid curve"),
        ("{}", "c.json", "contains no curve"),
        ("[1, 2", "c.json", "line 1: not valid JSON"),
        ("[1,\n2,\n}", "c.json", "line 3: not valid JSON"),
        ('[1, "high", 3]', "c.json", "turn 2: 'high' is not a number"),
        ("[1, true]", "c.json", "turn 2: 'True' is not a number"),
        ("[[1, 2], 3]", "c.json", "row 2: 3 is not a list"),
        ("[[1, 2], [3, []]]", "c.json", "row 2, turn 2"),
        ('[{"k": 1}]', "c.json", "point 1 has no 'al'"),
        ('[{"k": 1, "al": 2}, {"k": 1, "al": 3}]', "c.json", "turn 1 occurs twice"),
        ('[{"k": 1.5, "al": 2}]', "c.json", "turn 1.5 is not a valid turn"),
        ('{"a": {"b": [1]}}', "c.json", "'a' is not a valid curve"),
        ("[null, null]", "c.json", "has no values"),
        ("1,2\n3,x\n", "c.csv", "line 2, column 2: 'x' is not a number"),
        ("62,abc,70\n", "c.csv", "line 1, column 2: 'abc' is not a number"),
        ("1,2,3\n\n4,5\n", "c.csv", "line 3: 2 values, expected 3"),
        ("k,al\n", "c.csv", "only a header"),
        ("k,al\n1,2\n1,3\n", "c.csv", "turn 1 occurs twice"),
        ("k,al\n1,2\nx,3\n", "c.csv", "line 3"),
        ("k\n1\n2\n", "c.csv", "no column of values"),
        ("1,inf\n2,3\n", "c.csv", "'inf' is not a number"),
        ('{"turn": 1, "score": 2}\n{"a": 1}\n', "c.jsonl", "line 2"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(tmp_path, text, name, said):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, name)
    assert said in str(caught.value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_curve(tmp_path / "none.json")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="not a text file"):
        read_curve(tmp_path / "b.csv")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_text(text, "utf-8")
    try:
        rows = metrics_table(read_curve(path))
    except DataError:
        return
    assert "nan" not in json.dumps([{**row, "name": ""} for row in rows]).lower()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_json_and_column_give_back_what_was_written(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp()
    (folder / "v.json").write_text(json.dumps(values))
    (folder / "v.csv").write_text("\n".join(map(repr, values)))
    assert read_curve(folder / "v.json") == read_curve(folder / "v.csv") == {"v": values}


def test_guarded_ir_of_named_curves(tmp_path, capsys):
    curves = {"generic": [2.0, 2.0, 2.0, 2.0], "even": [2.0, 2.5, 3.0], "saboteur": [1.0, 1.0, 3.0, 3.5]}
    (tmp_path / "c.json").write_text(json.dumps(curves))
    rows = {row["name"]: row for row in metrics_table(read_curve(tmp_path / "c.json"))}
    assert [rows[n]["guarded_ir"] for n in ("generic", "even")] == pytest.approx([0.0, 0.5])
    assert rows["saboteur"]["ir"] > rows["even"]["ir"] > rows["saboteur"]["guarded_ir"]
    assert main(["metrics", str(tmp_path / "c.json")]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.split() == ["curve", "turns", "AVG", "late", "AL(1)", "AL(K)", "guarded", "IR", "IR", "N-IR", "N-R2"]
    del curves["generic"]
    (tmp_path / "c.json").write_text(json.dumps(curves))
    assert main(["metrics", str(tmp_path / "c.json")]) == 0
    assert "guarded" not in capsys.readouterr().out
    assert main(["metrics", str(tmp_path / "c.json"), "--floor", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["guarded_ir"] == pytest.approx(0.5)
