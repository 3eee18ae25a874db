"""Flows that wait share a device by its time, however much each of them has waiting."""

from collections import Counter

from workers.gpu.shares import PHOTOS, Flow, Shares

VOLUMES = Flow("lungs")
BATCH_S = {PHOTOS: 0.01, VOLUMES: 0.04}


def served(shares: Shares, flows: list[Flow], batches: int) -> list[Flow]:
    """Whose batches run while all of these always have something waiting."""
    turns = []
    for _ in range(batches):
        flow = shares.next(flows)
        shares.begin(flow)
        shares.end(flow, BATCH_S[flow])
        turns.append(flow)
    return turns


def test_each_flow_gets_the_same_time_and_not_the_same_number_of_batches() -> None:
    turns = Counter(served(Shares(), [PHOTOS, VOLUMES], 100))

    assert turns[PHOTOS] == 4 * turns[VOLUMES]


def test_who_comes_is_next_and_has_no_credit_from_before() -> None:
    shares = Shares()
    served(shares, [VOLUMES], 50)

    turns = served(shares, [PHOTOS, VOLUMES], 15)

    assert turns[0] == PHOTOS
    assert Counter(turns)[VOLUMES] >= 2, "what came late has not saved up time"
