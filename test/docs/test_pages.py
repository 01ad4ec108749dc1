# SPDX-License-Identifier: Apache-2.0
"""Documentation: links resolve, cited files exist, and generated pages are up to date."""

import re
import subprocess
from pathlib import Path
from runpy import run_path
from xml.etree import ElementTree

import pytest
import yaml
from catkin_pkg.changelog import Changelog, populate_changelog_from_rst
from catkin_pkg.changelog_generator import FORTHCOMING_LABEL
from catkin_pkg.cli.tag_changelog import rename_section

from infinitevggt_core.model.model_card import CARDS

ROOT = Path(__file__).resolve().parents[2]
README_LINES = 120
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ROOMS = "benchmarks|config|docs|examples|infinitevggt_core|infinitevggt_ros|launch|msg|srv|test"
CITED = re.compile(
    rf"(?<![\w/.<*{{-])(?:[\w.-]+/)*[\w-]+\.md\b|(?<![\w/.<*{{-])(?:{ROOMS})/[\w/.-]+\.(?:py|yaml|xml|msg|srv|rviz)\b"
)
WRITTEN_BY_PROGRAMS = re.compile(r"OUT/.*|busy\.md")
"""Files that texts mention and that only exist after a program has run."""


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def pages() -> list[Path]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"]
    return found + sorted((ROOT / "docs").rglob("*.md"))


def slug(heading: str) -> str:
    """Return the anchor that GitHub and MyST give a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return text.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text())
    return {slug(heading) for heading in HEADING.findall(text)} | set(TARGET.findall(text))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else page.parent / name
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            broken.append(link)
    assert broken == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_no_file_cites_a_file_that_does_not_exist() -> None:
    names = tracked()
    known = {part for name in names for part in (name, Path(name).name)}
    missing = []
    for name in names:
        path = ROOT / name
        if path.suffix not in (".py", ".md", ".rst", ".yaml", ".yml", ".toml", ".txt", ".msg"):
            continue
        for cited in CITED.findall(path.read_text()):
            found = (
                cited in known
                or WRITTEN_BY_PROGRAMS.fullmatch(cited)
                or (path.parent / cited).exists()
                or (ROOT / cited).exists()
            )
            if not found and not any(known_name.endswith(f"/{cited}") for known_name in names):
                missing.append(f"{name}: {cited}")
    assert not missing, "\n".join(missing)


def test_every_source_file_names_its_licence() -> None:
    without = [
        name
        for name in tracked()
        if name.endswith(".py")
        and (text := (ROOT / name).read_text())
        and "SPDX-License-Identifier: Apache-2.0" not in text[:200]
    ]
    assert without == []


def test_the_parameter_page_is_what_the_dataclasses_say() -> None:
    module = run_path(str(ROOT / "docs" / "write_parameters.py"))
    assert (ROOT / "docs" / "parameters.md").read_text() == module["page"]()


def test_a_release_can_be_made_of_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.rst").read_text()
    released = rename_section(text, FORTHCOMING_LABEL, "99.0.0 (2030-01-01)")
    changelog = populate_changelog_from_rst(Changelog("infinitevggt_ros"), released)
    versions = {version: content for version, _, content in changelog.foreach_version()}
    [entries] = versions["99.0.0"]
    assert len(entries.bullets) > 5


def test_versions_agree() -> None:
    package = ElementTree.parse(ROOT / "package.xml").findtext("version")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    setup = (ROOT / "setup.cfg").read_text()
    assert str(citation["version"]) == package
    assert f"\nversion = {package}\n" in setup


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_table_of_weights_is_that_of_the_model_cards(page: str) -> None:
    text = (ROOT / page).read_text()
    pattern = re.compile(r"\| [^|`]+ \| `([\w-]+/[\w.-]+)`.*")
    rows = {match[1]: match[0] for match in map(pattern.match, text.splitlines()) if match}
    cards = {name: card.licence for name, card in CARDS.items() if "/" in name}
    assert rows.keys() == cards.keys()
    for name, licence in cards.items():
        assert licence.removesuffix(", as stated by its authors") in rows[name]


def test_pre_commit_runs_the_versions_of_make_check() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines()
        if "==" in line
    )
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {
        hook["id"].split("-")[0]: repo["rev"] for repo in repositories for hook in repo["hooks"]
    }
    assert hooks == {name: f"v{pins[name]}" for name in ("ruff", "codespell")}
