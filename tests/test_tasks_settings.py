"""Where settings come from."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.settings import read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of secrets, as Docker, Kubernetes, systemd or the agent of a vault makes it."""
    (tmp_path / "pixelmill_s3_secret").write_text("of-the-file\n")
    (tmp_path / "pixelmill_oidc_client_secret").write_text("of-the-file")
    (tmp_path / "another").write_text("of another program")
    return tmp_path


def test_secrets_are_read_from_the_files_of_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_SECRETS_DIR", str(folder))
    monkeypatch.setenv("PIXELMILL_OIDC_CLIENT_SECRET", "of-the-environment")
    env_file = folder / "env"
    env_file.write_text("PIXELMILL_S3_SECRET=of-the-env-file\nPIXELMILL_S3_KEY=of-the-env-file\n")

    settings = read(str(env_file))

    assert settings.s3_secret == "of-the-file"
    assert settings.oidc_client_secret == "of-the-environment"
    assert settings.s3_key == "of-the-env-file"


def test_a_folder_of_secrets_may_be_named_in_the_env_file(folder: Path) -> None:
    (folder / "env").write_text(f"PIXELMILL_SECRETS_DIR={folder}\n")

    assert read(str(folder / "env")).s3_secret == "of-the-file"


def test_a_folder_of_secrets_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="secrets_dir"):
        read(None, secrets_dir="/no/such/folder")
