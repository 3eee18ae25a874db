"""The page while the browser is off the network."""

from playwright.sync_api import Page


def test_tries_off_the_network_count_nothing(page: Page):
    tries, waits = page.evaluate(
        """async () => {
            const { retry, ApiError } = await import("/static/api.js");
            const waits = [];
            let tries = 0;
            Object.defineProperty(navigator, "onLine", { get: () => tries >= 12 });
            const attempt = async () => {
                if (++tries < 12) throw new ApiError("no answer");
                return tries;
            };
            const wake = (seconds) => {
                waits.push(seconds === Infinity);
                setTimeout(() => dispatchEvent(new Event("online")));
            };
            return [await retry(attempt, undefined, wake), waits];
        }"""
    )

    assert (tries, waits) == (12, [True] * 11)
