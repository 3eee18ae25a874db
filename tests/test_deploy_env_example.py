from pathlib import Path

from deploy import env_example
from tasks.settings import Settings, read


def test_the_file_matches_the_settings() -> None:
    assert env_example.EXAMPLE_FILE.read_text() == env_example.text(), (
        "run `python -m deploy.env_example` and commit deploy/.env.example"
    )


def test_every_setting_is_there_with_its_sentence() -> None:
    for name, field in Settings.model_fields.items():
        is_there = f"\n# PIXELMILL_{name.upper()}=" in env_example.text()
        assert is_there != bool(field.deprecated), f"{name}: all but what is gone"
        assert field.description, f"{name} has no sentence"


def test_nothing_is_set_before_somebody_uncomments_it() -> None:
    assert all(line.startswith("#") for line in env_example.text().splitlines() if line)


def test_uncommenting_everything_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PIXELMILL_{name.upper()}", raising=False)
    lines = env_example.text().splitlines()
    chosen = [line.removeprefix("# ") for line in lines if line.startswith("# PIXELMILL_")]
    file = tmp_path / "env"
    file.write_text("\n".join(chosen))

    # To pydantic an empty path is the current folder, hence without that one.
    [set_, unset] = [read(name).model_dump(exclude={"weights_dir"}) for name in (str(file), None)]
    assert set_ == unset


def test_a_secret_in_the_environment_stays_out_of_the_file(monkeypatch) -> None:
    for name in ("SECRET", "S3_SECRET", "S3_KEY", "STATE_URL"):
        monkeypatch.setenv(f"PIXELMILL_{name}", "hunter2-hunter2-hunter2")

    assert "hunter2" not in env_example.text()
