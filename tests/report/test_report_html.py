"""The page in a real browser: what is shown, in light and dark, on a laptop, narrow and in print."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, chromium
from matplotlib.image import imread

from hgqify.report.page import page

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium")

SIZES = (1280, 900, 400)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    command = chromium()
    assert command is not None
    with Browser(command, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def regression_page(regression: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(regression), encoding="utf-8")
    return path


def text(browser: Browser, selector: str) -> str:
    return browser.run(f"document.querySelector({json.dumps(selector)}).innerText")


def pixels(browser: Browser) -> np.ndarray:
    """(height, width, 3), from 0 to 1."""
    return imread(io.BytesIO(browser.screenshot()), format="png")[..., :3]


def headings(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('h2')].map(e => e.innerText)")


def test_a_classifier(browser: Browser, classifier_folder: Path, classifier: dict[str, Any]) -> None:
    browser.open(classifier_folder / "report.html")
    assert headings(browser) == [
        "Network",
        "Layers",
        "Classes",
        "EBOPs against quality",
        "Fine-tuning",
        "Widths and weights",
        "Activation ranges",
        "Exactness and overflow",
        "Conversion",
        "Reproduction",
    ]
    codes = sum(c["codes"] for c in classifier["check"]["comparisons"])
    assert text(browser, ".verdict").lower().startswith(f"exact 0 of {codes:,} codes differ")
    cards = text(browser, ".cards").replace("\N{NO-BREAK SPACE}", " ")
    quality = classifier["quality"]
    assert f"{100 * quality['float_accuracy']:.2f} % → {100 * quality['accuracy']:.2f} %" in cards
    assert f"{classifier['ebops']:,}" in cards
    assert "proved exact" in cards
    assert "saturates" in cards
    assert text(browser, "#reproduction pre") == classifier["command"]
    rows = browser.run("document.querySelectorAll('#layers tbody tr').length")
    assert rows == len(classifier["layers"])
    drawn = browser.run("[...document.querySelectorAll('.network text.bits')].map(e => e.textContent)")
    assert len(drawn) == len(classifier["graph"]["edges"])
    assert all(re.fullmatch(r"(\d+–)?\d+ bit|real", label) for label in drawn)


def test_names_are_text_only(browser: Browser, classifier_folder: Path, classifier: dict[str, Any]) -> None:
    browser.open(classifier_folder / "report.html")
    assert not browser.errors
    assert browser.dialogs() == 0
    assert text(browser, "h1") == classifier["model"]
    assert "<script>alert(1)" in text(browser, "#conversion")
    assert "onerror=alert(2)>" in text(browser, "#conversion")
    assert text(browser, "#reproduction pre") == "hgqify 'a <b>.keras' --calib x.npy"
    assert browser.run("document.querySelectorAll('img, iframe, object, link, b').length") == 0
    assert browser.run("document.scripts.length") == 1


def test_a_script_that_came_through_would_not_run(
    browser: Browser, classifier_folder: Path, tmp_path: Path
) -> None:
    """The second line of defence: the page's own policy."""
    content = (classifier_folder / "report.html").read_text(encoding="utf-8")
    smuggled = "<script>document.title='run'</script><img src='x' onerror=\"document.title='run'\">"
    path = tmp_path / "report.html"
    path.write_text(content.replace("<header>", f"<header>{smuggled}", 1), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.title") != "run"
    assert any("Content Security Policy" in error for error in browser.errors)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_every_size_and_both_themes(
    browser: Browser, classifier_folder: Path, regression_page: Path, name: str, width: int, dark: bool
) -> None:
    path = classifier_folder / "report.html" if name == "classifier" else regression_page
    browser.open(path, width=width, dark=dark)
    assert not browser.errors
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == width
    image = pixels(browser)
    assert image.shape[1] == width
    page_colour = image[-8:, :8].mean()
    assert page_colour < 0.12 if dark else page_colour > 0.98
    # Most of a page is background, and text and charts stand out from it.
    differs = np.abs(image - image[-1, 0]).max(axis=2) > 0.3
    assert 0.01 < differs.mean() < 0.3


def test_nothing_needs_scrolling_sideways_on_a_laptop(browser: Browser, classifier_folder: Path) -> None:
    browser.open(classifier_folder / "report.html", width=1280)
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.run(wide) == 0


def test_no_text_of_the_picture_leaves_its_box(browser: Browser, classifier_folder: Path) -> None:
    browser.open(classifier_folder / "report.html")
    outside = """[...document.querySelectorAll('.network g')].filter(g => {
      const box = g.querySelector('rect.box');
      if (!box) return false;
      const edge = box.getBoundingClientRect();
      return [...g.querySelectorAll('text')].some(t => t.getBoundingClientRect().right > edge.right);
    }).map(g => g.textContent)"""
    assert browser.run(outside) == []


def test_a_click_on_a_head_sorts(browser: Browser, classifier_folder: Path) -> None:
    browser.open(classifier_folder / "report.html")
    column = (
        "[...document.querySelectorAll('#layers thead th')].findIndex(e => e.innerText.startsWith('EBOPs'))"
    )
    shown = f"[...document.querySelectorAll('#layers tbody tr')].map(r => r.cells[{column}].innerText)"
    head = f"document.querySelectorAll('#layers thead button')[{column}].click()"

    def numbers() -> list[int]:
        return [int(cell.replace(",", "")) for cell in browser.run(shown) if cell != "–"]

    before = numbers()
    browser.run(head)
    assert numbers() == sorted(before)
    browser.run(head)
    assert numbers() == sorted(before, reverse=True)


def test_a_regression(browser: Browser, regression_page: Path, regression: dict[str, Any]) -> None:
    browser.open(regression_page, dark=True)
    assert "Residuals" in headings(browser)
    assert text(browser, ".verdict").lower().startswith("not checked")
    cards = text(browser, ".cards")
    assert "RMS error" in cards
    assert f"{regression['quality']['rms_error']:.4g}" in cards
    wrapping = [q for q in regression["overflow"]["quantizers"] if not q["overflow"].startswith("SAT")]
    rows = "[...document.querySelectorAll('#exactness tbody tr')].map(r => r.cells[0].innerText)"
    assert browser.run(rows) == [q["name"] for q in wrapping]


def test_print(browser: Browser, classifier_folder: Path) -> None:
    browser.open(classifier_folder / "report.html", dark=True)
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
