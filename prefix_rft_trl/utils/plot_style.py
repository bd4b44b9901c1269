"""Colours and matplotlib settings that all figures share."""

INK, RULE = "#1f2328", "#d8dde3"

COLOURS = ("#2c3e86", "#bf3e00", "#309773", "#9f9900", "#3897dd", "#693d3b", "#000000", "#666666", "#a000ff")

SETTINGS = {
    "svg.fonttype": "path",
    "svg.hashsalt": "prefix-rft",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "text.parse_math": False,  # a label with dollars is no formula
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
