"""Draws docs/quickstart.png from a run of the quickstart scenario.

``python docs/make_picture.py RUN [PICTURE]``
"""

import sys
from pathlib import Path

import fedsim
from fedsim.report.figures import overview_figure


def main(run: str, picture: str = str(Path(__file__).with_name("quickstart.png"))) -> None:
    """Read a run's folder and write the picture."""
    # without a date and a version inside, the same run gives the same file
    overview_figure(fedsim.read_run(run)).savefig(picture, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
