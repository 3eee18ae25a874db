"""What the page says: how a photo is sent, its place among others, what helps after an error."""

import json
from typing import Any

from actions import as_file, bottle, drawn, pick
from PIL import Image
from playwright.sync_api import Page, Route, expect


def failure(route: Route, status: int, **error: Any) -> None:
    """Answer with an error as the server words it."""
    route.fulfill(status=status, body=json.dumps({"error": error}))


def test_a_new_photo_leaves_no_error_in_the_console(page: Page):
    errors: list[str] = []
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)

    pick(page, as_file(bottle(), "PNG"))
    drawn(page)

    assert errors == []


def test_it_is_said_how_the_photo_is_sent_with_and_without_the_tick(page: Page):
    plan = page.locator(".plan")
    pick(page, as_file(bottle().resize((2400, 3200)), "JPEG"))
    expect(plan).to_contain_text("a.jpeg: a copy of 1536 × 2048 as JPEG")
    page.get_by_label("Send originals").check()
    expect(plan).to_contain_text("a.jpeg: the JPEG itself, byte by byte")

    page.get_by_label("Send originals").uncheck()
    see_through = Image.new("RGBA", (2400, 1200), (200, 30, 30, 90))
    pick(page, as_file(see_through, "PNG"))
    expect(plan).to_contain_text("a copy of 2048 × 1024 as WEBP")
    expect(plan).to_contain_text("What is transparent stays so.")


def test_a_file_above_the_limit_names_the_tick_that_helps(page: Page):
    about = {"code": "too_large", "message": "the file is larger than 25 MiB"}
    page.route("**/api/v1/jobs", lambda route: failure(route, 413, **about))
    page.get_by_label("Send originals").check()

    pick(page, as_file(bottle(), "PNG"))

    expect(page.locator(".error")).to_contain_text("larger than 25 MiB. Take the tick off")


def test_a_failure_of_the_server_is_tried_again_and_has_a_reference(page: Page):
    answers = [500]

    def answer(route: Route) -> None:
        if not answers:
            return route.continue_()
        hint = "Tell whoever runs this server the reference 1a2b3c4d."
        return failure(route, answers.pop(), code="error", message="it failed", hint=hint)

    page.route("**/api/v1/jobs", answer)
    pick(page, as_file(bottle(), "PNG"))

    expect(page.locator(".sentence")).to_contain_text("It failed. Trying again in")
    drawn(page)


def test_photos_that_wait_in_the_browser_say_their_place_and_how_long_it_takes(page: Page):
    sentences = page.evaluate(
        """async () => {
            const { state } = await import("/static/state.js");
            const { sentence } = await import("/static/progress.js");
            const phases = ["done", "inferring", "pending", "pending"];
            state.items = phases.map((phase) => ({ phase, details: {}, job: {} }));
            const first = state.items.map(sentence);
            state.pace = 4;
            return [...first.slice(2), sentence(state.items[3])];
        }"""
    )

    assert sentences == [
        "Waiting, 1 before it", "Waiting, 2 before it", "Waiting, 2 before it, about 12 s left",
    ]  # fmt: skip


def test_the_default_model_comes_first_and_a_single_one_is_no_choice(page: Page):
    names = page.locator(".pm-chooser [type=radio]").evaluate_all("all => all.map((r) => r.value)")
    assert names[0] == "matting" and len(names) > 1

    def only_one(route: Route) -> None:
        models = route.fetch().json()["models"]
        route.fulfill(json={"models": [model for model in models if model["name"] == "toy"]})

    page.route("**/api/v1/models", only_one)
    page.evaluate("sessionStorage.clear()")
    page.reload()

    expect(page.locator(".pm-chooser label")).to_have_count(1)
    expect(page.locator(".pm-chooser [type=radio]")).to_be_hidden()


def test_an_answer_that_is_broken_off_is_worth_another_try(page: Page):
    error = page.evaluate("""async () => {
        const { call } = await import("/static/api.js");
        window.fetch = async () => new Response('{"id": "a');
        const error = await call("GET", "/jobs/a").then(() => null, (error) => error);
        return { isTransient: error?.isTransient, message: error?.message };
    }""")

    assert error == {"isTransient": True, "message": "The server did not answer."}


def test_whoever_is_signed_out_meanwhile_is_told_where_to_sign_in(page: Page):
    def refused(route: Route) -> None:
        failure(route, 401, message="sign in, or send an API key", hint="Open /login.")

    page.route("**/api/v1/jobs", refused)
    pick(page, as_file(bottle(), "PNG"))

    expect(page.locator(".error")).to_contain_text("You are no longer signed in.")
    expect(page.get_by_role("link", name="Sign in")).to_have_attribute("href", "/login")

    page.unroute("**/api/v1/jobs")
    page.get_by_role("button", name="Try again").click()
    drawn(page)
    expect(page.get_by_role("link", name="Sign in")).to_be_hidden()


def test_long_times_are_told_in_minutes(page: Page):
    told = page.evaluate(
        """async () => {
            const { duration } = await import("/static/progress.js");
            return [119_000, 336_000].map(duration);
        }"""
    )

    assert told == ["119 s", "6 minutes"]
