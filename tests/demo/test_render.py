"""Images of answers, computed by hand."""

import numpy as np
import pytest

pytest.importorskip("gradio")

import render

from hw2 import labels
from hw2.labels import VOC_PALETTE


def test_colours_and_maps_by_hand():
    assert render.parse_colour("#1d6f72") == (29, 111, 114) and render.parse_colour("#fff") == (255, 255, 255)
    assert render.parse_colour("rgba(12.6, 300, -4, 0.5)") == (13, 255, 0)
    for text in ("red", "#12345", "rgb(1, 2)", "#gggggg", "", None, 7, "#" + "f" * 5000, "rgb(1, 2, 1e999)"):
        with pytest.raises(ValueError, match="not a colour"):
            render.parse_colour(text)
    assert render.scale(np.array([0.0, 1.0])).tolist() == [list(render.HEAT[0]), list(render.HEAT[-1])]
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[:, :3] = True
    truth = np.zeros((4, 6), np.uint8)
    truth[:2], truth[0, 0] = 1, labels.VOID
    errors = np.asarray(render.errors(image, mask, truth))
    assert errors[0, 0].tolist() == [245] * 3
    for place, colour in (((1, 1), render.RIGHT), ((1, 5), render.MISSED), ((3, 1), render.EXTRA)):
        assert np.abs(errors[place] - (0.3 * 140 + 0.7 * np.array(colour))).max() <= 1
    assert np.ptp(errors[3, 5]) == 0
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    over = np.asarray(render.heat_over(np.full((50, 80, 3), 100, np.uint8), heat)).astype(int)
    assert (
        over.shape == (384, 384, 3) and over[20, 20, 0] - over[20, 20, 2] > 30 + over[300, 300, 0] - over[300, 300, 2]
    )


def test_a_heat_map_lies_over_the_central_square():
    """Of a wide picture, red on the left and blue on the right of its middle, both halves show."""
    image = np.zeros((50, 150, 3), np.uint8)
    image[:, :75, 0] = image[:, 75:, 2] = 255
    over = np.asarray(render.heat_over(image, np.zeros((4, 4)))).astype(int)
    assert (over[:, 20, 0] > over[:, 20, 2] + 30).all() and (over[:, -20, 2] > over[:, -20, 0] + 30).all()


def test_an_overlay_shows_on_an_object_of_its_own_colour_and_names_the_classes():
    colour = (200, 30, 20)
    image = np.full((120, 160, 3), colour, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[20:100, 20:140] = True
    painted = np.asarray(render.overlay(image, mask, colour, 0.5)).astype(int)
    assert painted[20, 60].tolist() == [255] * 3 and painted[19, 60].max() < 80  # a white line within a dark one
    labelled = np.where(mask, 8, 0).astype(np.uint8)
    named = np.asarray(render.overlay(image, mask, colour, 0.5, labelled))
    plain = VOC_PALETTE[8] * 0.5 + np.array(colour) * 0.5
    assert (np.abs(named[30:90, 30:130] - plain).max(-1) > 60).mean() > 0.02  # letters
    tiny = np.zeros((120, 160), np.uint8)
    tiny[:3, :3] = 8
    assert np.abs(np.asarray(render.overlay(image, tiny > 0, colour, 0.5, tiny))[20:] - image[20:]).max() == 0
    for background in ("blurred", "grey"):
        below = np.asarray(render.before_background(render.cut_out(image, mask), image, background))
        assert below.shape == image.shape and np.abs(below[60, 80].astype(int) - colour).max() <= 1
    behind = np.full((30, 90, 3), 9, np.uint8)
    assert (
        np.asarray(render.before_background(render.cut_out(image, mask), image, "", behind))[5, 5].tolist() == [9] * 3
    )
