"""`pixelmill mcp`: clients of the Model Context Protocol run models by its tools."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image
from stack import REPOSITORY, Stack

from deploy.mcp import photos
from storage import keys
from tasks.errors import BadInput

PHOTO = REPOSITORY / "examples" / "chelsea.jpg"


@pytest.fixture
def command(stack: Stack, tmp_path: Path) -> StdioServerParameters:
    """`pixelmill mcp` with a folder of its own for results."""
    pixelmill = str(Path(sys.executable).parent / "pixelmill")
    return StdioServerParameters(
        command=pixelmill,
        args=["mcp", "--url", stack.url, "--key", stack.api_key, "--out", str(tmp_path / "out")],
        env={"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
    )


def text_of(result: Any) -> dict[str, Any]:
    """The JSON that a tool has answered."""
    value: dict[str, Any] = json.loads(result.content[0].text)
    return value


async def test_a_photo_of_this_machine_is_cut_out(command: StdioServerParameters) -> None:
    async with Client(command) as client:
        result = await client.call_tool("run_model", {"image": str(PHOTO)})

    assert not result.is_error, result.content
    answer = text_of(result)
    cutout = Path(answer["files"]["cutout"])
    with Image.open(cutout) as picture, Image.open(PHOTO) as photo:
        assert picture.mode == "RGBA" and picture.size == photo.size
    assert cutout.name.startswith("chelsea.cutout.")
    shown = result.content[1]
    assert shown.type == "image" and shown.mime_type == "image/webp"


async def test_what_an_assistant_logs_holds_no_addresses(
    command: StdioServerParameters, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as errors:
        async with Client(stdio_client(command, errors)) as client:
            await client.call_tool("list_models", {})

    assert "http" not in log.read_text()


async def test_the_models_are_listed_with_their_parameters(command: StdioServerParameters) -> None:
    async with Client(command) as client:
        tools = await client.list_tools()
        result = await client.call_tool("list_models", {})

    assert {tool.name for tool in tools.tools} == {"list_models", "run_model"}
    models = {model["name"]: model for model in result.structured_content["result"]}
    assert models["matting"]["makes"] == "matte" and models["toy"]["parameters"]["gain"]


async def test_progress_is_told_and_a_refusal_says_why(command: StdioServerParameters) -> None:
    seen: list[str | None] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    async with Client(command) as client:
        slow = {"image": str(PHOTO), "model": "slow", "params": {"device_s": 4}}
        await client.call_tool("run_model", slow, progress_callback=progress)
        wrong = await client.call_tool(
            "run_model", {"image": str(PHOTO), "model": "toy", "params": {"gian": 2}}
        )
        missing = await client.call_tool("run_model", {"image": "/nowhere.jpg"})

    assert "inference" in seen
    assert wrong.is_error and "unknown parameter 'gian'" in wrong.content[0].text
    assert missing.is_error and "there is no file /nowhere.jpg" in missing.content[0].text


async def test_a_cancelled_call_is_cancelled_on_the_server(
    stack: Stack, command: StdioServerParameters
) -> None:
    slow = {"image": str(PHOTO), "model": "slow", "params": {"device_s": 6, "salt": 1}}

    async with Client(command) as client:
        with anyio.move_on_after(2):
            await client.call_tool("run_model", slow)
        [job_id] = stack.state.zrange(keys.user_jobs("tester"), -1, -1)
        url = f"{stack.url}/api/v1/jobs/{job_id.decode()}"
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {stack.api_key}"}) as api:
            with anyio.fail_after(5):
                while (await api.get(url)).json()["state"] not in ("cancelling", "cancelled"):
                    await anyio.sleep(0.1)


async def test_a_background_is_a_colour_or_a_picture(
    command: StdioServerParameters, tmp_path: Path
) -> None:
    secret = tmp_path / "notes.txt"
    secret.write_text("nothing for others")
    call = {"image": str(PHOTO), "output": "cutout"}

    async with Client(command) as client:
        white = await client.call_tool("run_model", {**call, "params": {"background": "white"}})
        stolen = await client.call_tool(
            "run_model", {**call, "params": {"background": str(secret)}}
        )

    with Image.open(text_of(white)["files"]["cutout"]) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == pytest.approx((255, 255, 255), abs=2)
    assert stolen.is_error and "is no picture" in stolen.content[0].text


async def test_nothing_is_overwritten(command: StdioServerParameters, tmp_path: Path) -> None:
    call = {"image": str(PHOTO), "model": "toy"}
    async with Client(command) as client:
        files = [text_of(await client.call_tool("run_model", call))["files"] for _ in range(2)]

    assert len({one["preview"] for one in files}) == 2
    assert all(Path(one["preview"]).is_relative_to(tmp_path / "out") for one in files)


def test_only_pictures_leave_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")

    with pytest.raises(BadInput, match="is not accepted"), photos.photo(str(secret)):
        pass


@pytest.mark.parametrize(
    "url", ["http://example.com/a.jpg", "https://127.0.0.1/a.jpg", "https://user:x@example.com/a"]
)
def test_only_the_public_internet_is_asked(url: str) -> None:
    with pytest.raises(BadInput), photos.photo(url):
        pass


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("/a/b/My photo.jpg", "My-photo"), ("https://x.example/a/b.png?c=/d.e", "b"),
        ("../../etc", "etc"), ("https://x.example/", "photo"), ("/a/.jpg", "jpg"),
    ],
)  # fmt: skip
def test_results_are_named_after_the_photo(name: str, stem: str) -> None:
    assert photos.stem(name) == stem
