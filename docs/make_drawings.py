"""Draws docs/round.svg and docs/stages.svg, the two pictures of the page on concepts.

``python docs/make_drawings.py [FOLDER]``
"""

import sys
from pathlib import Path

INK, GREY, LIGHT = "#333333", "#8A8A8A", "#EDEDED"
DOWN, WORK, UP, WASTE = "#56B4E9", "#BBBBBB", "#E69F00", "#F3D9D0"
TRAINED, KEPT = "#D55E00", "#F6DCC6"
FONT = "font-family='system-ui, sans-serif'"

Leg = tuple[str, float, float]
"""Name, start and end in seconds."""
LANES: list[tuple[str, str, list[Leg], str]] = [
    ("laptop, Wi-Fi", "completed", [("download", 0, 1.0), ("compute", 1.0, 2.4), ("upload", 2.4, 3.4)], ""),
    ("phone, Wi-Fi", "completed", [("download", 0, 1.4), ("compute", 1.4, 4.4), ("upload", 4.4, 6.0)], ""),
    ("phone, 4G", "completed", [("download", 0, 2.2), ("compute", 2.2, 4.9), ("upload", 4.9, 8.0)], ""),
    (
        "old phone, Wi-Fi",
        "dropped",
        [("download", 0, 1.6), ("compute", 1.6, 5.2)],
        "its battery is empty",
    ),
    (
        "phone, 3G",
        "late",
        [("download", 0, 3.8), ("compute", 3.8, 7.2), ("upload", 7.2, 9.0)],
        "cut off at the deadline",
    ),
    ("old phone, 3G", "out_of_memory", [], "the price says: does not fit, so it never starts"),
]
COLOURS = {"download": DOWN, "compute": WORK, "upload": UP}
USEFUL = "completed"
DEADLINE_S = 9.0


METHODS = {
    "FedAvg": [("all 12 rounds", range(6), range(6), True)],
    "FedBT, further pre-training": [
        ("rounds 1-6", (0, 2, 5), (0,), False),
        ("7-9", (0, 1, 4), (1,), False),
        ("10-12", (0, 1, 2), (2,), False),
    ],
    "ProgFed": [
        ("rounds 1-2", range(2), range(2), True),
        ("3-4", range(4), range(4), True),
        ("5-12", range(6), range(6), True),
    ],
}
"""Stages by method: rounds, layers held, layers trained, and whether embeddings are trained; of 12 rounds."""


def text(
    x: float, y: float, words: str, size: int = 13, anchor: str = "start", colour: str = INK, weight: str = "normal"
) -> str:
    """A line of text with its baseline at y."""
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size}' text-anchor='{anchor}' fill='{colour}' font-weight='{weight}' "
        f"{FONT}>{words}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none") -> str:
    """A rectangle."""
    return f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' fill='{fill}' stroke='{stroke}' rx='2'/>"


def line(x: float, y: float, to_x: float, to_y: float, dashes: str = "none") -> str:
    """A thin line."""
    return f"<line x1='{x:g}' y1='{y:g}' x2='{to_x:g}' y2='{to_y:g}' stroke='{GREY}' stroke-dasharray='{dashes}'/>"


def picture(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole SVG, white behind so that it reads on any page."""
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img'><title>{title}</title>"
    return "\n".join([head, box(0, 0, width, height, "white"), *parts, "</svg>\n"])


def round_() -> str:
    """One round: a lane a client, simulated time to the right, the server's step at the end."""
    left, top, scale, high = 150.0, 64.0, 62.0, 40.0
    bottom = top + high * len(LANES)
    parts = [text(16, 28, "One round, in simulated time", 16, weight="bold")]
    for i, (words, colour) in enumerate((("download", DOWN), ("train", WORK), ("upload", UP))):
        parts += [box(430 + 100 * i, 17, 14, 14, colour), text(450 + 100 * i, 29, words)]
    for i, (who, outcome, legs, why) in enumerate(LANES):
        y = top + high * i
        parts += [text(left - 12, y + 19, who, anchor="end"), line(left, y + 34, left + scale * 11.6, y + 34, "1 4")]
        for name, start, end in legs:
            parts.append(box(left + scale * start, y + 4, scale * (end - start) - 1, 22, COLOURS[name]))
        ended = max((end for _, _, end in legs), default=0.0)
        colour = INK if outcome == USEFUL else "#B23A00"
        parts.append(text(left + scale * ended + 8, y + 15, f"{outcome}", 13, colour=colour, weight="bold"))
        if why:
            parts.append(text(left + scale * ended + 8, y + 29, why, 11, colour=GREY))
    deadline = left + scale * DEADLINE_S
    parts += [line(left, top - 12, left, bottom), line(deadline, top - 12, deadline, bottom + 8, "5 3")]
    parts += [text(left, top - 16, "server sends the model", 12), text(deadline, top - 16, "deadline", 12, "middle")]
    parts.append(text(deadline, bottom + 26, "server takes the mean of what was completed", 12, "middle"))
    parts.append(text(left, bottom + 26, "0 s", 12, "middle"))
    return picture(900, int(bottom + 40), "A round: who is asked, what each trip is made of, and how it ends", parts)


def stages() -> str:
    """What three methods train of a model of six layers, stage by stage, on the device."""
    layers, wide, high, gap = 6, 34, 17, 6
    parts = [text(16, 28, "Stages: which layers a device holds, and which it trains and sends", 16, weight="bold")]
    for i, (words, colour) in enumerate((("trained and sent", TRAINED), ("held, frozen", KEPT), ("not there", LIGHT))):
        parts += [box(16 + 150 * i, 42, 14, 14, colour), text(36 + 150 * i, 54, words)]
    x, top = 40.0, 104.0
    for method, columns in METHODS.items():
        parts.append(text(x, top - 14, method, 14, weight="bold"))
        for label, held, trained, embeddings in columns:
            for number in range(layers):
                y = top + (layers - number) * (high + gap)
                fill = TRAINED if number in trained else KEPT if number in held else LIGHT
                parts += [box(x, y, wide + 30, high, fill), text(x + 32, y + 13, f"layer {number}", 11, "middle")]
            for y, words, on in ((top, "head", True), (top + 7 * (high + gap), "embeddings", embeddings)):
                parts += [
                    box(x, y, wide + 30, high, TRAINED if on else KEPT),
                    text(x + 32, y + 13, words, 10, "middle"),
                ]
            parts.append(text(x + 32, top + 8 * (high + gap) + 14, label, 12, "middle", GREY))
            x += wide + 42
        x += 40
    return picture(int(x), int(top + 8 * (high + gap) + 30), "Stages of FedAvg, FedBT and ProgFed", parts)


def main(folder: str = str(Path(__file__).parent)) -> None:
    """Write both."""
    for name, content in (("round.svg", round_()), ("stages.svg", stages())):
        Path(folder, name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
