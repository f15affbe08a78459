"""Colours of Okabe and Ito, which readers with any colour vision can tell apart, and shades of grey."""

BLUE, ORANGE, GREEN, RED, SKY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
LINES = (BLUE, RED, GREEN, ORANGE, PINK, SKY)  # of several runs in one panel, in this order
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
