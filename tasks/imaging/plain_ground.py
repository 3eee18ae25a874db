"""The colour of a plain ground at each place: a polynomial of second degree of the place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def terms(down: NDArray[Any], across: NDArray[Any]) -> NDArray[Any]:
    """... x 6: the polynomial's terms at places, 0..1 both ways."""
    every = np.ones_like(down)
    return np.stack([every, down, across, down**2, down * across, across**2], -1)


def fitted(places: NDArray[Any], colours: NDArray[Any], damping: float) -> NDArray[Any]:
    """6 x 3: what the terms are multiplied by, by least squares. `places`: N x 6, of `terms`;
    `colours`: N x 3. `damping` keeps it solvable where the places lie on a line."""
    square = places.T @ places + damping * np.eye(places.shape[1])
    return np.asarray(np.linalg.solve(square, places.T @ colours))


def grain(away: NDArray[Any]) -> float:
    """The deviation of a ground's pixels from its colour, robustly. `away`: how far each is."""
    return float(1.5 * np.median(away))
