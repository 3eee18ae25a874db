"""`pixelmill pilot`: by hand, and in a simulation that drives the very same rules."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import cli
from deploy.pilot import chart, comparison, least, scales, traffic
from deploy.pilot.simulation import Machine, Result
from storage import pilot, pilot_log
from storage.pilot import Pins, Scaling, View
from storage.pilot_log import Decision
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput

pytest_plugins = ["inprocess"]


def run(*words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(cli.app, ["pilot", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.fixture
def seen(in_process: None, link: SyncRedis) -> None:
    """The pilot has seen the model `toy`, and has logged what it did."""
    numbers = {"p95_s": 3.2, "samples": 40, "workers": 1}
    view = View(int(time.time() * 1000), Scaling(3, 4.5), numbers, {"scale": "It is busy."})
    link.do(pilot.show({"toy": view}))
    made = Decision("toy", "degrade", "fast instead of best", "done", "Too slow.", {"p95_s": 3.2})
    decision_id = link.do(pilot_log.record(made))
    link.do(pilot_log.record_effect(decision_id, {"p95_s_before": 3.2, "p95_s_after": 0.9}))


def test_the_log_and_an_explanation_can_be_read(seen: None) -> None:
    assert "fast instead of best: done" in run("log") and "p95_s 3.2 -> 0.9" in run("log")
    [entry] = map(json.loads, run("log", "--json").splitlines())
    assert entry["effect"]["p95_s_after"] == 0.9 and entry["values"] == {"p95_s": 3.2}
    assert run("log", "--model", "noop") == ""

    explained = run("explain", "toy")
    assert "scale: It is busy." in explained and "3.2" in explained
    assert "toy" in run() and "3.20 s" in run()


def test_a_pause_and_a_pin_hold_until_they_are_taken_back_and_are_logged(
    seen: None, link: SyncRedis
) -> None:
    run("pause", "--minutes", "5")
    run("pin", "toy", "--profile", "best", "--workers", "2")

    orders = link.do(pilot.orders())
    assert orders.paused_until_ms == pytest.approx((time.time() + 300) * 1000, abs=20_000)
    assert orders.of("toy").pins == Pins("best", "", 2)
    assert "paused" in run()

    run("resume")
    run("pin", "toy", "--none")

    orders = link.do(pilot.orders())
    assert (orders.paused_until_ms, orders.of("toy").pins) == (0, Pins())
    assert [of.rule for of in link.do(pilot_log.read())][:4] == ["pin", "resume", "pin", "pause"]


def test_a_pin_of_nothing_or_of_an_unknown_model_is_refused(seen: None) -> None:
    with pytest.raises(BadInput, match="knows no model 'tony'; it knows: toy"):
        run("pin", "tony", "--workers", "2")
    with pytest.raises(BadInput, match="name what to pin"):
        run("pin", "toy")


def test_in_an_evening_with_a_flash_crowd_the_pilot_is_as_quick_as_a_fixed_number_at_its_half() -> (
    None
):
    rates = traffic.day(20)[19 * 60 + 30 : 22 * 60]
    static, by_queue, by_utilisation, own = comparison.compare(rates, Machine())

    assert own.p95_s < 1.1 * static.p95_s < by_utilisation.p95_s
    assert own.worker_s < 0.55 * static.worker_s, "of a day it is less than half"
    assert own.oscillations() == 0 and own.actions < by_queue.actions
    assert len(own.took_s) == len(static.took_s) == len(by_utilisation.took_s)
    picture = chart.draw(rates, Machine(), [static, by_queue, by_utilisation, own])
    assert picture.count("<path") == 4


def test_the_pilot_keeps_up_with_many_arrivals_and_workers_that_start_slowly() -> None:
    rates = traffic.day(60, 2)[12 * 60 : 13 * 60]

    row = scales.play(60.0, 2, rates, Machine(start_s=120.0), 2.0)

    assert row.pilot.p95_s <= scales.AS_QUICK * row.static.p95_s
    assert row.pilot.oscillations() == 0
    assert len(row.pilot.took_s) == len(row.utilisation.took_s) == len(row.static.took_s)


def test_a_row_says_which_goals_are_missed(capsys: pytest.CaptureFixture[str]) -> None:
    slow = Result("the pilot", [0.5], 0, 80.0, [(0.0, 1), (1.0, 2), (2.0, 1), (3.0, 2)])
    row = scales.Row(1, 30, 1, 0.4, Result("static", [0.3], 0, 100.0), Result("by use"), slow)

    assert row.missed == ["as quick", "half", "calmer", "no up-down-up"]
    scales.show([row])
    assert "80 %" in capsys.readouterr().out


def test_nobody_needs_fewer_workers_than_let_one_run_in_twenty_wait() -> None:
    assert least.must_wait(1, 0.5) == pytest.approx(0.5), "as with a single server"
    assert least.must_wait(2, 1.0) == pytest.approx(1 / 3)
    assert least.must_wait(2, 2.5) == 1.0

    hours = least.gpu_hours([1.0] * 60, 0.5)

    assert 2.5 < hours < 2.7, "one in ten waits for two, one in 66 for three"


def test_each_made_up_day_is_another_and_has_the_same_peak() -> None:
    days = [traffic.day(20, number) for number in range(1, 6)]

    assert all(len(day) == 1440 and max(day) == 20 and min(day) > 0 for day in days)
    assert len({round(sum(day)) for day in days}) == 5
    assert traffic.day(20, 3) == days[2]


def test_a_trace_is_a_column_of_runs_and_what_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("minute,runs\n0,60\n1,120\n")
    assert traffic.read(file) == [1.0, 2.0]
    assert 60 < len(traffic.arrivals([1.0, 2.0])) < 240

    file.write_text("when,count\n0,60\n")
    with pytest.raises(BadInput, match="is no trace"):
        traffic.read(file)


def test_below_the_simulated_day_stands_what_nobody_can_go_below(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("runs\n" + "60\n" * 30)

    shown = " ".join(run("simulate", "--trace", str(file)).split())

    hours = least.gpu_hours([1.0] * 30, Machine().soon_s)
    assert f"lets 5 of 100 runs wait needs about {hours:.1f} GPU-hours." in shown
    assert "the pilot" in shown and "static peak" in shown


def test_days_are_played_at_every_scale_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traffic, "day", lambda peak, number: [peak / 10] * (2 + number))

    found = scales.played(10, Machine(start_s=30.0), 2.0, 1)

    wanted = [(10 * part, start_s, day) for part, start_s, day in scales.cases(1, 30.0)]
    assert [(row.peak, row.start_s, row.day) for row in found] == wanted
    assert "playing days" in capsys.readouterr().err
