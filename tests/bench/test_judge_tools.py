"""``aloe judge``: known-answer items, blind sheets, calibration; judges with known faults, people with known bias."""

import csv
import json
import random

import numpy as np
import pytest

from aloe.__main__ import main
from aloe.bench.calibration import (
    Rated,
    calibrate_choices,
    calibrate_scores,
    corrected_mean,
    key_path,
    read_rated,
    read_ratings,
    scale_of,
    write_sheet,
)
from aloe.bench.check import KINDS, Answers, fitness, format_fitness, known_items
from aloe.bench.scales import SCALES
from aloe.cli.calibrate import format_calibration
from aloe.errors import DataError
from aloe.models.registry import register_scheme
from aloe.protocols import Completion
from aloe.seeding import derive_rng
from aloe.stats import cohen_kappa, spearman
from aloe.store.records import write_jsonl


class Scripted:
    """A model that answers by a function of the request."""

    def __init__(self, name, answer):
        self.name, self.revision, self.answer = name, "1", answer

    async def complete(self, request):
        return Completion(self.answer(request))

    async def aclose(self):
        return None


def check(capsys, *arguments):
    assert main(["judge", "check", "--json", "--n", "12", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_items_are_those_of_their_seed_and_of_every_kind():
    items = known_items(9, 3)
    assert items == known_items(12, 3)[:9]
    assert items != known_items(9, 4)
    assert {item.kind for item in items} == set(KINDS)
    assert all(item.good.text != item.bad.text and item.state.messages[-1].role == "user" for item in items)


def test_the_worlds_judge_is_fit(capsys):
    found = check(capsys)
    assert found["consistency"]["value"] == found["repeatability"]["value"] == found["sensitivity"]["value"] == 1
    assert found["position"]["value"] == 0.5
    assert 0.3 < found["position"]["low"] < 0.5 < found["position"]["high"] < 0.7
    assert found["score_sensitivity"]["value"] == 1
    assert found["score_noise"] == found["abstention"]["value"] == found["unparsed"]["value"] == 0


def test_twelve_of_twelve_is_not_certain(capsys):
    """Clopper and Pearson: 0.025 ** (1 / 12); an interval from the spread of twelve equal values would be a point."""
    found = check(capsys)
    for name in ("consistency", "repeatability", "sensitivity", "score_sensitivity"):
        assert (found[name]["low"], found[name]["high"]) == (pytest.approx(0.7354, abs=1e-4), 1.0)
    assert found["abstention"]["high"] == pytest.approx(1 - 0.7354, abs=1e-4)
    assert all(kind["low"] < 0.5 for kind in found["by_kind"].values())  # three of three
    assert main(["judge", "check", "--n", "40"]) == 0
    assert "sensitivity          1.000 [0.912, 1.000]" in capsys.readouterr().out


@pytest.mark.parametrize(("bias", "position"), [("first", 1), ("second", 0)])
def test_a_judge_that_looks_at_the_order_only(capsys, bias, position):
    found = check(capsys, "--judge", f"world:judge?bias={bias}")
    assert found["position"]["value"] == position
    assert found["consistency"]["value"] == found["sensitivity"]["value"] == 0


def test_a_judge_that_cannot_be_read(capsys):
    found = check(capsys, "--judge", "world:generic")
    assert found["unparsed"]["value"] == found["abstention"]["value"] == 1
    assert found["sensitivity"]["value"] == 0
    assert found["consistency"] is found["position"] is found["score_gap"] is None


def test_figures_of_given_answers():
    item = known_items(1, 0)[0]
    rows = [
        ("good", "good", "good", 4.0, 2.0, 3.0),
        ("good", "bad", "tie", 3.0, 3.0, None),
        (None, "good", "good", None, 1.0, 2.0),
    ]
    found = fitness([Answers(item, *row) for row in rows])
    assert found.consistency.value == 0.5
    assert found.repeatability.value == 0.5
    assert found.sensitivity.value == pytest.approx(1 / 3)
    assert found.position.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.abstention.value == pytest.approx(2 / 9)
    assert found.unparsed.value == pytest.approx(3 / 18)
    assert found.score_sensitivity.value == 0.75
    assert found.score_gap == 1.0
    assert found.score_noise == pytest.approx(np.sqrt(0.5))
    assert "none" not in format_fitness(found, "x")


@pytest.fixture(scope="module")
def run(personas, bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rated")
    bench(personas, ["world:oracle", "world:generic"], folder / "bench")
    (folder / "config.toml").write_text("")
    write_jsonl(folder / "personas/personas.jsonl", personas)
    return folder


def rate(sheet, out, score):
    """Fill a sheet in; ``score``: item -> what people write."""
    with open(sheet, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["score"] = score(row["item"])
    with open(out, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_sheet_is_blind_shuffled_and_balanced(run, personas, tmp_path):
    assert write_sheet(run, tmp_path / "s.csv", 20, 1, personas) == 20
    text = (tmp_path / "s.csv").read_text("utf-8-sig")
    assert "oracle" not in text
    assert "world:" not in text
    with open(tmp_path / "s.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["score"] == "" and row["reply"] and row["conversation"].startswith("User: ") for row in rows)
    models = {rated.item: rated.model for rated in read_rated(run)}
    order = [models[row["item"]] for row in rows]
    assert sorted(order) == ["generic"] * 10 + ["oracle"] * 10
    assert order != sorted(order)
    assert json.loads(key_path(tmp_path / "s.csv").read_text())["items"] == [row["item"] for row in rows]
    write_sheet(run, tmp_path / "again.csv", 20, 1, personas)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "s.csv").read_bytes()


def test_no_cell_is_a_formula(run, personas, tmp_path):
    hostile = [p.model_copy(update={"profile": '=HYPERLINK("x")'}) for p in personas]
    write_sheet(run, tmp_path / "s.csv", 4, 1, hostile)
    with open(tmp_path / "s.csv", encoding="utf-8-sig", newline="") as file:
        assert all(row["profile"].startswith("'=") for row in csv.DictReader(file))


def test_people_who_say_what_the_judge_says_half_a_point_lower(run, personas, tmp_path, capsys):
    write_sheet(run, tmp_path / "s.csv", 60, 1, personas)
    judged = {r.item: r.score for r in read_rated(run)}
    rate(tmp_path / "s.csv", tmp_path / "done.csv", lambda item: f"{judged[item] - 0.5:.4f}".replace(".", ","))
    assert main(["judge", "calibrate", str(tmp_path / "done.csv"), str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_items"], found["n_raters"]) == (60, 1)
    assert found["bias"]["value"] == pytest.approx(0.5, abs=1e-3)
    assert found["spearman"] == pytest.approx(1)
    for model in found["models"]:
        assert model["corrected"]["value"] == pytest.approx(model["judge"] - 0.5, abs=1e-3)
    assert main(["judge", "calibrate", str(tmp_path / "done.csv")]) != 0  # the key lies beside the sheet
    assert "RUN" in capsys.readouterr().err


def test_several_people_and_unrated_rows(run, personas, tmp_path):
    write_sheet(run, tmp_path / "s.csv", 40, 1, personas)
    judged = {r.item: r.score for r in read_rated(run)}
    rows = rate(tmp_path / "s.csv", tmp_path / "one.csv", lambda item: str(round(judged[item])))
    with open(tmp_path / "both.csv", "w", encoding="utf-8") as file:
        file.write("Item;Rater;Score\n")
        for place, row in enumerate(rows):
            file.write(f"{row['item']};ann;{row['score']}\n{row['item']};bob;{row['score'] if place % 2 else ''}\n")
    ratings = read_ratings(tmp_path / "both.csv")
    assert {rater: len(items) for rater, items in ratings.items()} == {"ann": 40, "bob": 20}
    found = calibrate_scores(read_rated(run), ratings)
    assert found.n_raters == 2
    assert found.between_raters == 1
    human = [round(judged[r["item"]]) for r in rows]
    assert found.kappa_quadratic == pytest.approx(cohen_kappa(human, human, "quadratic"))
    assert found.spearman == pytest.approx(spearman(human, [judged[r["item"]] for r in rows]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a,b\n1,2\n", "'item' and"), ("item,score\nx,\n", "no ratings"), ("item,score\nx,good\n", "not a number"),
     ("item,score\nx,nan\n", "not a number"), ("", "'item' and"), ("item,score\nx,40\n", "row 2: score 40 is not on"),
     ("item,score\nx,3\nx,4\n", "row 3: item x was rated before"), ('item,score\n"x' + "y" * 200_000, "not valid CSV")],
)  # fmt: skip
def test_what_is_no_filled_in_sheet(text, reason, tmp_path):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_ratings(tmp_path / "s.csv", SCALES["1-5"])


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-16", ","), ("cp1252", ";"), ("utf-8-sig", "\t")])
def test_a_sheet_as_spreadsheets_save_it(encoding, delimiter, tmp_path):
    rows = ["item,score,comment", "x,3,caf\u00e9", "y,4,na\u00efve"]
    (tmp_path / "s.csv").write_bytes("\r\n".join(rows).replace(",", delimiter).encode(encoding))
    assert read_ratings(tmp_path / "s.csv") == {"": {"x": 3.0, "y": 4.0}}


def test_what_is_not_text_is_no_sheet(tmp_path):
    (tmp_path / "s.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="item"):
        read_ratings(tmp_path / "s.csv")


def test_ratings_of_another_run(run, capsys):
    with pytest.raises(DataError, match="none of the rated items"):
        calibrate_scores(read_rated(run), {"": {"x": 3.0}})
    found = calibrate_scores(read_rated(run), {"": {"x": 3.0, "y": 3.0, read_rated(run)[0].item: 4.0}})
    assert (found.n_items, found.n_unknown) == (1, 2)
    assert "2 rated items that are not scored replies" in format_calibration(found)


def test_people_rate_on_the_judges_scale(run, personas, bench, tmp_path, capsys):
    assert scale_of(run).name == "1-5"
    bench(personas[:2], ["world:oracle"], tmp_path / "bench")
    bench(personas[:2], ["world:generic"], tmp_path / "bench", bench__scale="1-100")
    with pytest.raises(DataError, match="several scales: 1-100, 1-5"):
        scale_of(tmp_path)
    assert scale_of(tmp_path / "bench/generic").high == 100


def test_a_filled_in_sheet_is_not_overwritten(run, personas, tmp_path):
    sheet = tmp_path / "s.csv"
    write_sheet(run, sheet, 4, 1, personas)
    write_sheet(run, sheet, 6, 1, personas)  # nobody wrote into it yet
    rate(sheet, sheet, lambda item: "3")
    with pytest.raises(DataError, match="already contains ratings"):
        write_sheet(run, sheet, 4, 1, personas)
    assert len(read_ratings(sheet)[""]) == 6


@pytest.mark.parametrize("key", ["{", "[]", "{}", '{"run": 5}'])
def test_a_damaged_key_is_said(key, tmp_path, capsys):
    (tmp_path / "s.csv").write_text("item,score\nx,3\n")
    (tmp_path / "s.key.json").write_text(key)
    assert main(["judge", "calibrate", str(tmp_path / "s.csv")]) == 2
    assert "s.key.json is damaged" in capsys.readouterr().err


def test_corrected_means_cover_what_people_would_have_said():
    rng = np.random.default_rng(5)
    hits, n_runs, n = 0, 150, 60
    for _ in range(n_runs):
        human = np.clip(rng.normal(3, 0.8, n), 1, 5)
        judge = human + 0.6 + rng.normal(0, 0.4, n)  # lenient and noisy
        rows = [Rated(str(i), "m", f"p{i}", (f"a{i}", f"b{i}"), float(judge[i])) for i in range(n)]
        people = {str(i): float(human[i]) for i in rng.permutation(n)[:20]}
        found = corrected_mean("m", rows, people).corrected
        hits += found.low <= 3.0 <= found.high
    assert 0.9 <= hits / n_runs <= 0.995


@pytest.mark.parametrize("kind", ["people spread wider", "hardly ever wrong"])
def test_corrected_means_cover_where_judges_are_of_another_kind(kind):
    """Errors added as if independent covered 0.89 and 0.66: what is wrong with a judge is often rare and unseen."""
    hits, n_runs, n = 0, 300, 80
    for run in range(n_runs):
        rng = derive_rng(6, kind, run)
        if kind == "people spread wider":
            human = rng.normal(3, 0.9, n)
            judge, truth = 3 + 0.4 * (human - 3) + rng.normal(0, 0.2, n), 3.0
        else:
            judge = rng.normal(4, 0.2, n)
            human, truth = judge - (rng.random(n) < 0.1), 3.9
        rows = [Rated(str(i), "m", f"p{i}", (f"a{i}", f"b{i}"), float(judge[i])) for i in range(n)]
        people = {str(i): float(human[i]) for i in rng.permutation(n)[: 40 if kind == "people spread wider" else 10]}
        found = corrected_mean("m", rows, people).corrected
        hits += found.low <= truth <= found.high
    assert hits / n_runs >= 0.93


def test_empty_replies_are_in_the_corrected_mean_and_on_no_sheet(personas, bench, tmp_path):
    register_scheme("mute", lambda config: Scripted(config.uri, lambda r: "" if len(r.messages) > 4 else "Tell me."))
    bench(personas, ["mute:x"], tmp_path / "bench")
    (tmp_path / "config.toml").write_text("")
    rated = read_rated(tmp_path)
    assert sum(r.is_empty for r in rated) == len(rated) / 2
    assert write_sheet(tmp_path, tmp_path / "s.csv", 100, 0, personas) == len(rated) / 2
    judged = {r.item: r.score for r in rated if not r.is_empty}
    people = {item: score + 1.0 for item, score in judged.items()}
    found = corrected_mean("x", rated, people)
    assert found.judge == pytest.approx(np.mean([r.score for r in rated]))
    assert found.corrected.value == pytest.approx(found.judge + 0.5)  # half of the replies are a point better


def test_blind_choices(run, tmp_path, capsys):
    rng = random.Random(2)
    rows = []
    for _ in range(30):
        judge = rng.choice(["first", "second"])
        scores = [4.0, 2.0] if judge == "first" else [2.0, 4.0]
        rows.append({"choice": {"first": "A", "second": "right"}[judge], "scores": scores, "models": ["x", "y"]})
    rows += [{"choice": "tie", "judge": "tie"}, {"choice": "a", "scores": [1.0, 3.0]}, {"choice": None, "judge": "tie"}]
    found = calibrate_choices(
        [
            {**r, "choice": {"A": "first", "a": "first", "right": "second"}.get(r["choice"], r["choice"])}
            for r in rows[:-1]
        ]
    )
    assert (found.n_items, found.n_decided) == (32, 31)
    assert found.agreement.value == pytest.approx(30 / 31)
    assert found.win_rates["x"][0] + found.win_rates["y"][0] == pytest.approx(1)
    for name, (people, judge) in found.win_intervals.items():
        assert (people.value, judge.value) == found.win_rates[name]
        assert 0 < people.low < people.value < people.high < 1
    write_jsonl(run / "studio/ratings.jsonl", rows)
    assert main(["judge", "calibrate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_items"] == 32


def test_choices_without_the_judges_opinion_are_judged(run, capsys):
    item = known_items(1, 0)[0]
    messages = [m.model_dump() for m in item.state.messages]
    who = {"profile": item.persona.profile, "personality": item.persona.personality}
    replies = [item.good.text, item.bad.text]
    rows = [{**who, "messages": messages, "replies": replies, "choice": "first"},
            {**who, "messages": messages, "replies": replies[::-1], "choice": "second"}]  # fmt: skip
    write_jsonl(run / "studio/ratings.jsonl", rows)
    assert main(["judge", "calibrate", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_items"], found["agreement"]["value"], found["kappa"]) == (2, 1, 1)


@pytest.mark.parametrize(
    "row",
    [
        {"choice": "first", "scores": [3, "x"]},
        {"choice": "first", "scores": [3, None]},
        {"choice": "first", "replies": "ab", "messages": [{"role": "user", "content": "Hi."}]},
        {"choice": "first", "replies": ["a", None], "messages": [{"role": "user", "content": "Hi."}]},
    ],
)
def test_choices_that_cannot_be_judged(row, run, capsys):
    write_jsonl(run / "studio/ratings.jsonl", [row])
    assert main(["judge", "calibrate", str(run)]) != 0
    assert "judged none of the 1 blind choices" in capsys.readouterr().err
    write_jsonl(run / "studio/ratings.jsonl", [row, {"choice": "first", "scores": [3, 2]}])
    assert main(["judge", "calibrate", str(run)]) == 0
    assert "left out   1 choices" in capsys.readouterr().out


def test_sheet_by_command_line(run, tmp_path, capsys):
    out = tmp_path / "sheet.csv"
    assert main(["judge", "sheet", str(run), "--out", str(out), "--n", "6"]) == 0
    assert "6 replies" in capsys.readouterr().out
    rate(out, out, lambda item: "3")
    assert main(["judge", "calibrate", str(out)]) == 0
    assert "6 replies rated by 1 person" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["judge", "guess"],
        ["judge", "check", "--n", "1"],
        ["judge", "calibrate", "none.csv"],
        ["judge", "sheet", "tests"],
        ["judge", "calibrate", "tests"],
    ],
)
def test_one_line_for_bad_input(argv, capsys):
    assert main(argv) != 0
    assert capsys.readouterr().err.count("\n") == 1
