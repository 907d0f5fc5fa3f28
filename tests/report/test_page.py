"""The page without a browser: escaping, colours, sections, notebooks."""

import copy
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from hgqify.report.markup import escaped, joined, tag
from hgqify.report.notebook import summary_html
from hgqify.report.numbers import seconds, short, span
from hgqify.report.page import page

CSS = files("hgqify.report").joinpath("page.css").read_text()


def test_markup_escapes_all_but_markup() -> None:
    found = tag("p", "<b>", tag("i", 1), None, ["&", '"'], title='"<>', hidden=True, id=None)
    assert found == '<p title="&quot;&lt;&gt;" hidden>&lt;b&gt;<i>1</i>&amp;&quot;</p>'
    assert joined("a", ("<", ["'"])) == "a&lt;&#x27;"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\u202e", "\ud800"])
def test_characters_that_turn_or_break_text_are_replaced(character: str) -> None:
    assert escaped(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_numbers() -> None:
    assert [short(n) for n in (None, 0, 950, 999.9, 1234, 12_345_678, 3.2e13)] == [
        "–", "0", "950", "1k", "1.23k", "12.3M", "32T",
    ]  # fmt: skip
    assert [span(ends) for ends in (None, (3, 3), (-2, 5))] == ["–", "3", "−2–5"]
    assert [seconds(s) for s in (0.04, 12.3, 61.2, 7325)] == ["0.0 s", "12 s", "1 min 01 s", "2 h 02 min"]


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Of two colours, WCAG 2.2: from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", range(3), ids=["light", "dark", "print"])
def test_colours_stand_out(theme: int) -> None:
    """Text by 4.5, marks by 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = _colours(re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[theme])
    for back in ("page", "card"):
        for text in ("text", "muted", "link", "good", "bad", "open", "quantized"):
            assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
        for mark in ("quantized", "float", "faint", "cost"):
            assert contrast(colours[mark], colours[back]) >= 3, (mark, back)
    for kind in ("good", "bad", "open"):
        assert contrast(colours[kind], colours[f"{kind}-back"]) >= 4.5, kind


def test_sections_come_with_their_data(classifier: dict[str, Any]) -> None:
    found = re.findall(r'<section id="(\w+)"', page(classifier))
    assert found == [
        "network", "layers", "outcomes", "pareto", "training", "widths", "ranges", "exactness", "conversion",
        "reproduction",
    ]  # fmt: skip
    bare = copy.deepcopy(classifier)
    bare.update(outcomes=None, archive=[], allocation=None, check=None, command=None)
    bare["finetune"].update(steps=0, losses=[], looks=[], note="no steps")
    bare["graph"].update(nodes=[], edges=[], omitted=9000)
    found = re.findall(r'<section id="(\w+)"', page(bare))
    assert not {"outcomes", "pareto", "training"} & set(found)
    assert "9,000 nodes: too many to be drawn" in page(bare)
    assert "no fine-tuning" in page(bare)
    assert "not checked" in page(bare)


def test_a_difference_is_told_at_the_top(classifier: dict[str, Any]) -> None:
    wrong = copy.deepcopy(classifier)
    wrong["check"]["exact"] = False
    wrong["check"]["comparisons"][1].update(differing=7, place={"text": "layer <i>, element 3"})
    content = page(wrong)
    assert 'class="verdict bad"' in content
    assert "7 of" in content
    assert "first: layer &lt;i&gt;, element 3" in content


def test_a_sweep_is_plotted_with_this_result_marked(classifier: dict[str, Any]) -> None:
    swept = copy.deepcopy(classifier)
    point = {"target_ebops": 9, "drop": 0.1, "loss": 0.2, "on_front": True, "chosen": False}
    swept["sweep"] = {
        "points": [
            {**point, "ebops": swept["ebops"], "metric": 91.0, "chosen": True},
            {**point, "ebops": 2 * swept["ebops"], "metric": 92.0},
            {**point, "ebops": 3 * swept["ebops"], "metric": 91.5, "on_front": False},
        ],
        "metric": "accuracy",
        "float_metric": 92.5,
        "samples": 100,
        "data": "validation data",
        "rule": "the fewest EBOPs",
    }
    section = page(swept).split('id="pareto"')[1].split("</section>")[0]
    assert "float model 92.50" in section
    for name in ("front", "dominated", "this result"):
        assert name in section
    assert section.split("</svg>")[0].count('class="chosen"') == 2  # the point, and the legend


def test_open_proofs_are_listed_with_their_remedy(classifier: dict[str, Any]) -> None:
    opened = copy.deepcopy(classifier)
    opened.update(float32_proved=False, float32_open={"classes": 3})
    opened["certificate"][-1].update(proved=False, missing_bits=3, bits=27, remedy="narrow it")
    content = page(opened)
    assert "no proof" in content
    assert "narrow it" in content
    assert "27 (+3)" in content


def test_in_a_notebook(classifier: dict[str, Any]) -> None:
    content = summary_html(classifier)
    assert "&lt;b&gt;net&lt;/b&gt;" in content
    assert f"{classifier['ebops']:,}" in content
    assert "<script" not in content
    assert "<style" not in content
    multiplying = [layer for layer in classifier["layers"] if layer["ebops"]]
    assert content.count("<tr>") == 5 + 1 + len(multiplying)


def test_the_page_does_not_grow_with_the_data(classifier_folder: Path, classifier: dict[str, Any]) -> None:
    assert (classifier_folder / "report.html").stat().st_size < 150_000
    assert len(json.dumps(classifier)) < 60_000
