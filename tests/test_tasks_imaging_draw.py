"""Boxes are seen, labelled, and stay inside the picture."""

import numpy as np
import pytest

from tasks.imaging import draw


def annotated(boxes, labels=None, side=200):
    image = np.full((side, side, 3), 128, np.uint8)
    labels = labels or ["facemask"] * len(boxes)
    return image, draw.annotate(image, boxes, labels, [0.97] * len(boxes))


def test_a_box_is_outlined_and_tagged():
    before, after = annotated([[50, 60, 150, 160]])

    changed = (before != after).any(-1)
    assert changed[60:160, 50].all() and changed[60:160, 150].all()
    assert not changed[80:140, 70:130].any(), "what is inside stays visible"
    assert changed[40:58, 50:90].mean() > 0.5, "the tag stands above the box"
    assert (before == 128).all(), "the argument is not changed"


def test_a_tag_without_room_above_stands_inside():
    before, after = annotated([[50, 2, 150, 160]])

    assert (before != after).any(-1)[4:16, 52:90].all(-1).any()


def test_labels_differ_by_more_than_colour():
    _, one = annotated([[50, 60, 150, 160]], ["facemask"])
    _, other = annotated([[50, 60, 150, 160]], ["no facemask"])

    assert ((one != 128).any(-1) != (other != 128).any(-1)).any()


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0.97, "97%"), (0.9899, "99%"), (0.9974, "99.7%"), (0.99999, "99.9%"), (1.0, "100%")],
)
def test_only_what_is_certain_is_100_per_cent(score, shown):
    assert draw.percent(score) == shown


def test_boxes_beyond_the_picture_are_clipped():
    _, after = annotated([[-50, -50, 500, 500], [190, 190, 10, 10]])

    assert after.shape == (200, 200, 3)


def test_no_box_is_no_change():
    before, after = annotated(np.zeros((0, 4), np.float32))

    assert (before == after).all()


def test_lines_and_text_grow_with_the_picture():
    small, large = (annotated([[20, 60, 90, 90]], side=side) for side in (200, 2000))

    assert (large[0] != large[1]).sum() > 4 * (small[0] != small[1]).sum()
