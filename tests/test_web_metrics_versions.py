"""What /metrics says of the versions of a model."""

from web.metrics.installation import ends


def runs_done(totals: dict[str, str], version: str) -> dict[str, float]:
    """Version -> its runs that are done."""
    _, runs, _ = ends({"toy": totals}, {"toy": version})
    return {
        sample.labels["version"]: sample.value
        for sample in runs.samples
        if sample.labels["state"] == "done"
    }


def test_versions_that_are_forgotten_end_their_series_and_raise_no_other() -> None:
    before = runs_done({"done": "12", "done@a": "7", "done@b": "2"}, "b")

    after = runs_done({"done": "12", "done@": "7", "done@b": "2"}, "b")

    assert before == {"a": 7, "b": 2, "": 3}
    assert after == {"b": 2, "": 3}
