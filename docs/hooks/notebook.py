"""A notebook with its outputs as a page."""

import base64
import json
import re
from pathlib import Path
from typing import Any


def converted(file: Path) -> tuple[str, dict[str, bytes]]:
    """The page's Markdown, and its pictures by the names that it links to, relative to it.

    Raises:
        ValueError: a cell has an output of a kind that a page cannot show.
    """
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    lines, pictures = list[str](), dict[str, bytes]()
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [source, ""]
            continue
        lines += ["```python", source, "```", ""]
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{file.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                lines += [f"![Picture {len(pictures)} of this notebook]({name})", ""]
            elif "text/html" in data:
                lines += [_table("".join(data["text/html"])), ""]
            else:
                lines += ["```text", _text(output, data), "```", ""]
    return "\n".join(lines), pictures


def _text(output: dict[str, Any], data: dict[str, Any]) -> str:
    if output["output_type"] not in ("execute_result", "display_data", "stream") or not (data or "text" in output):
        raise ValueError(f"a page cannot show an output of the kind {output['output_type']}")
    return "".join(data["text/plain"] if data else output["text"]).rstrip()


def _table(html: str) -> str:
    """The table of a pandas frame, without its own style, so that it looks like the site's other tables."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"<(table|tr)[^>]*>", r"<\1>", re.sub(r"\n\s*", "\n", html)).strip()
