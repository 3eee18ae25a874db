"""What a web process knows of sessions, and for how long."""

from typing import Any

from web.accounts import Accounts, Known


class State:
    """A state Redis in which a session counts."""

    async def do(self, call: Any) -> Known:
        return Known("ada", "account", "user")


async def test_a_session_that_is_used_while_it_is_ended_is_asked_for_again_at_once() -> None:
    class Durable:
        """Ends a session; meanwhile a request comes with it."""

        async def do(self, call: Any) -> bool:
            await accounts.session("ada", "1" * 32)
            return True

    state, durable = State(), Durable()
    accounts = Accounts(state, durable)  # type: ignore[arg-type]  # enough of both

    assert await accounts.end_session("ada", "1" * 32)
    assert accounts._sessions.get("1" * 32) is None
