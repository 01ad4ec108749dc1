# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation site: `make docs` builds it into build/docs."""

import re
import sys
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

project = "infinitevggt_ros"
author = "The InfiniteVGGT for ROS 2 authors"
copyright = f"2026, {author}"
release = version = "0.1.0"
if (ROOT / "package.xml").is_file():
    release = version = ElementTree.parse(ROOT / "package.xml").findtext("version") or version

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["figures/*.py"]
html_theme = "furo"
html_title = "InfiniteVGGT for ROS 2"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,
}
# what the ROS build farm does not install, and what needs a sourced ROS 2
autodoc_mock_imports = [
    name
    for name in ("cv2", "einops", "huggingface_hub", "safetensors", "scipy", "small_gicp", "torch")
    if find_spec(name) is None
]
# classes are exported by their package too, so that a short name has two targets
suppress_warnings = ["ref.python"]

rosdoc2_settings = {"override_theme": False}

CORE = "infinitevggt_core"
API = HERE / "api" / "generated"
ROOMS = {
    "config": "Settings",
    "model": "Model",
    "memory": "Memory",
    "streaming": "Streaming",
    "mapping": "Mapping",
    "metric": "Metric scale",
    "tracking": "Tracking",
    "worlds": "Synthetic worlds",
    "training": "Training",
    "evaluation": "Evaluation",
    "io": "Files",
}


def write_api_pages(_app: object) -> None:
    """Write one page for each package of the core, with all of its modules."""
    API.mkdir(exist_ok=True)
    for room, title in ROOMS.items():
        folder, name = ROOT / CORE / room, f"{CORE}.{room}"
        if not folder.is_dir() and not folder.with_suffix(".py").is_file():
            continue
        found = (module.name for module in walk_packages([str(folder)], f"{name}."))
        modules = [name, *sorted(found)]
        lines = [title, "=" * len(title), ""]
        for module in modules:
            lines += [module, "-" * len(module), "", f".. automodule:: {module}", ""]
        write_if_changed(API / f"{room}.rst", "\n".join(lines))


def write_if_changed(path: Path, text: str) -> None:
    """Write a file, and leave its time as it is where nothing changes: Sphinx goes by the time."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def to_restructured_text(
    _app: object, _what: str, _name: str, documented: Any, _options: object, lines: list[str]
) -> None:
    """Convert a docstring in place from plain text with `code` to reStructuredText.

    Docstrings of this project are plain text: single backquotes mark code, indented paragraphs
    are examples. Characters that are markup in reStructuredText only are escaped.
    """
    text: list[str] = []
    is_literal = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not is_literal and (not text or not text[-1].strip()):
            text += ["::", ""]
            is_literal = True
        elif line.strip() and not indented and is_literal:
            if text and text[-1].strip():
                text.append("")
            is_literal = False
        text.append(line if is_literal else escaped(line.lstrip()))
    lines[:] = [*text, "", *described_fields(documented), ""]


def described_fields(documented: Any) -> list[str]:
    """Return a list of the fields of a dataclass of settings, which carry their descriptions."""
    if not (isinstance(documented, type) and is_dataclass(documented)):
        return []
    return [
        f"* ``{spec.name}`` = ``{spec.default!r}``: {escaped(spec.metadata['text'])}"
        for spec in fields(documented)
        if spec.metadata.get("text")
    ]


def escaped(line: str) -> str:
    """Return one line of prose as reStructuredText."""
    parts = INLINE_CODE.split(line)
    prose = [re.sub(r"([*|\\_`])", r"\\\1", part) for part in parts[::2]]
    if re.match(r"([-=+#.]{2,}|[-+*]\s|\d+[.)]\s|\(?\w[.)]\s|\.\.\s|:|>>>)", prose[0].strip()):
        prose[0] = "\\" + prose[0].lstrip()
    codes = [f"\\ ``{code.strip()}``\\ " for code in parts[1::2]]
    joined = prose[0]
    for code, part in zip(codes, prose[1:], strict=True):
        joined += code + part
    return joined


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write_api_pages)
    app.connect("autodoc-process-docstring", to_restructured_text)
    return {"parallel_read_safe": True}
