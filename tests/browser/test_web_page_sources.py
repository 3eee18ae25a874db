"""Where photos come from besides files: a camera, an address, another page."""

from pathlib import Path

from actions import drawn
from playwright.sync_api import Page, Route, expect
from stack import Stack

COFFEE = Path(__file__).parent.parent.parent / "examples" / "coffee.jpg"
ADDRESS = "https://photos.example/holiday/coffee.jpg?large=1"

DROP = """(texts) => {
    const data = new DataTransfer();
    for (const [type, text] of Object.entries(texts)) data.setData(type, text);
    const event = { dataTransfer: data, bubbles: true, cancelable: true };
    document.querySelector(".drop").dispatchEvent(new DragEvent("drop", event));
}"""
PASTE = """(text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    const event = { clipboardData: data, bubbles: true };
    document.body.dispatchEvent(new ClipboardEvent("paste", event));
}"""


def test_a_camera_that_is_refused_is_said_and_one_that_is_allowed_takes_a_photo(page: Page):
    page.get_by_role("button", name="Use the camera").click()
    camera = page.get_by_role("dialog", name="Camera")
    expect(camera).to_contain_text("was not allowed to use the camera")

    page.context.grant_permissions(["camera"])
    camera.get_by_role("button", name="Try again").click()
    expect(camera.locator("video")).to_be_visible()
    camera.get_by_role("button", name="Take the photo").click()

    drawn(page)
    expect(page.locator("h2")).to_contain_text("camera-")
    expect(camera).to_have_count(0)


def test_a_telephone_offers_its_own_camera(page: Page):
    capture = page.locator("input[capture]")

    capture.set_input_files(COFFEE)

    assert capture.get_attribute("capture") == "environment"
    drawn(page)


def test_an_address_that_is_pasted_says_what_an_operator_sets(page: Page):
    page.evaluate(PASTE, ADDRESS)

    expect(page.locator("h2")).to_have_text("coffee.jpg")
    expect(page.locator(".error")).to_contain_text("PIXELMILL_FETCH_URLS")


def test_a_picture_dragged_from_another_page_is_fetched_by_the_server_once(
    page: Page, stack: Stack
):
    asked: list[str] = []

    def fetched(route: Route) -> None:
        asked.append(route.request.post_data_json["url"])
        url = f"{stack.url}/api/v1/predict/matting?wait=0&output=alpha,preview,edge_colours"
        route.fulfill(response=page.request.post(url, data=COFFEE.read_bytes()))

    page.route("**/api/v1/predict/matting", fetched)
    page.evaluate(DROP, {"text/html": f'<a><img src="{ADDRESS}"></a>', "text/uri-list": ADDRESS})
    drawn(page)
    page.get_by_label("Toy brightener").check()
    page.get_by_role("button", name="Run again").click()

    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)
    assert asked == [ADDRESS] and page.traffic.puts == []


def test_a_picture_within_its_own_address_is_taken_without_the_server(page: Page):
    page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            const data = new DataTransfer();
            data.setData("text/html", `<img src="${canvas.toDataURL()}">`);
            data.setData("text/uri-list", "https://photos.example/page");
            const event = { dataTransfer: data, bubbles: true };
            document.querySelector(".drop").dispatchEvent(new DragEvent("drop", event));
        }"""
    )

    expect(page.locator("h2")).to_have_text("picture.png")
    drawn(page)


def test_the_address_can_be_typed(page: Page):
    page.get_by_role("button", name="Enter an address").click()
    page.get_by_label("Address of a picture").fill(ADDRESS)
    page.get_by_role("button", name="Take it").click()

    expect(page.locator("h2")).to_have_text("coffee.jpg")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_comment_in_a_list_of_addresses_is_not_taken_for_one(page: Page):
    found = page.evaluate(
        """async () => (await import("/static/sources/address.js")).addressIn(
            { "text/uri-list": "# of a file manager\\r\\nhttps://example.com/a.jpg\\r\\n" })"""
    )

    assert found == "https://example.com/a.jpg"
