"""Settings files that are none, or say what cannot be."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import Bad, assert_told

toml = functools.partial(Bad, suffix=".toml")


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8")


def encoded(content: str, encoding: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode(encoding))


def many(path: Path) -> None:
    """Fifty thousand keys."""
    path.write_text("[convert]\n" + "".join(f"key_{n} = {n}\n" for n in range(50_000)))


def large(path: Path) -> None:
    """A file of 4 MiB."""
    path.write_bytes(b"# more\n" * 500_000)


NO_TABLE = r"not a TOML file"
BAD = [
    toml("no file", lambda path: None, r"cannot be read: No such file.*\. Check the path"),
    toml("folder", Path.mkdir, r"cannot be read: Is a directory\. Check the path"),
    toml("device", lambda path: path.symlink_to("/dev/zero"), r"not a regular file\. Copy it"),
    toml("large file", large, r"larger than .*\. Give a settings file"),
    toml("other text", text("weight bits: 6"), rf"{NO_TABLE}: .*line 1.*\. Correct it there"),
    toml("JSON", text('{"convert": {"weight_bits": 6}}'), rf"{NO_TABLE}: .*line 1"),
    toml("cut table", text("[convert\nweight_bits = 6"), rf"{NO_TABLE}: .*line 1"),
    toml(
        "same key twice",
        text("[convert]\nbits = 6\nbits = 7"),
        rf"{NO_TABLE}: Cannot overwrite a value.*\. Correct it",
    ),
    toml(
        "no bytes of text",
        lambda path: path.write_bytes(b"\xff\xfe\x00\x01"),
        rf"{NO_TABLE}: line 1 is no text in UTF-8\. Save it as",
    ),
    toml(
        "latin 1",
        encoded("# höhere Breite\n[convert]\nbits = 6", "latin-1"),
        r"line 1 is no text in UTF-8\. Save it as",
    ),
    toml("UTF-16", encoded("[convert]\nbits = 6", "utf-16"), r"UTF-8.*\. Save it as"),
    toml("nested lists", text("[convert]\nbudgets = " + "[" * 5000 + "]" * 5000), r"nested too deeply"),
    toml("huge number", text("[convert]\nseed = " + "9" * 5000), rf"{NO_TABLE}.*(digits|limit)"),
    toml("many keys", many, r"50000 settings are wrong.*key_0.*Did you mean.*and 49980 more"),
    toml("long key", text(f"[convert]\n{'k' * 100_000} = 1"), r"k{60} \[\.\.\.\]: unknown setting"),
    toml(
        "long value",
        text(f"[convert]\nbits = '{'v' * 100_000}'"),
        r"a whole number is needed; received: 'v{59} \[\.\.\.\]",
    ),
    toml("unknown table", text("[calibration]\nmargin = 1"), r"calibration: unknown table\. Did you mean"),
    toml(
        "key of a rule in a table",
        text("[convert]\nkeep_float = true"),
        r"convert\.keep_float: unknown setting",
    ),
    toml(
        "bits not a number",
        text("[convert]\nbits = nan"),
        r"convert\.bits: a whole number is needed; received: nan",
    ),
    toml("infinite rate", text("[convert]\nlearning_rate = inf"), r"convert\.learning_rate: .*inf"),
    toml("rate not a number", text("[convert]\nlearning_rate = nan"), r"convert\.learning_rate: .*nan"),
    toml(
        "drop not a number",
        text("[convert]\nmax_drop = nan"),
        r"convert\.max_drop: must not be negative; received: nan",
    ),
    toml("negative drop", text("[convert]\nmax_drop = -1.0"), r"convert\.max_drop: must not be negative"),
    toml("bits 0", text("[convert]\nbits = 0"), r"convert.*bits.*received: 0"),
    toml("bits 99", text("[convert]\nbits = 99"), r"convert.*bits.*received: 99"),
    toml("seed of 33 bits", text("[convert]\nseed = 8589934592"), r"seed must be .*received: 8589934592"),
    toml("budget 0", text("[convert]\ntarget_ebops = 0"), r"target_ebops.*received: 0"),
    toml(
        "two budgets", text("[convert]\ntarget_ebops = 9\nmax_drop = 1.0"), r"target_ebops.*max_drop|either"
    ),
    toml(
        "budget and budgets",
        text("[convert]\ntarget_ebops = 9\nbudgets = [9]"),
        r"either target_ebops or budgets",
    ),
    toml("compensation alone", text("[convert]\ncompensate = true"), r"under a budget only"),
    toml("bits and weight bits", text("[convert]\nbits = 6\nweight_bits = 8"), r"bits.*weight_bits"),
    toml("rule of nothing", text("[[rule]]\npath = 'nobody'\nweight_bits = 4"), r"matches nothing|no layer"),
    toml(
        "rule that is no expression",
        text("[[rule]]\npath = '('\nweight_bits = 4"),
        r"not a regular expression",
    ),
    toml(
        "rule of bits 0", text("[[rule]]\nlayer_type = 'Dense'\nweight_bits = 0"), r"weight_bits.*received: 0"
    ),
    toml("data elsewhere", text("[data]\ncalib = '../../none.npy'"), r"none\.npy: there is no such file"),
    toml(
        "data of another sum",
        text("[data]\ncalib = 'x.npy'\ncalib_sha256 = '00'"),
        r"has changed since.*--calib",
    ),
    toml(
        "pickles allowed",
        text("[data]\ncalib = 'x.npy'\nallow_pickle = true"),
        r"allow_pickle: unknown setting",
    ),
    toml("code allowed", text("[convert]\nsafe_mode = false"), r"safe_mode: unknown setting"),
    toml("part that runs", text("[project]\npart = 'x; exec rm'"), r"part is the name of an FPGA"),
    toml("name that runs", text("[project]\nproject_name = 'a b();'"), r"project_name.*received|name"),
    toml("name that leaves", text("[project]\nproject_name = '../../x'"), r"project_name"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_settings(bad: Bad, folder: Path, refused: Callable[[str], str]) -> None:
    name = bad.write(folder)
    calib = "" if "[data]" in _start(folder / name) else "--calib x.npy "
    assert_told(bad.told, refused(f"good.keras {calib}--config {name} -o result"))


def _start(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(100).decode("latin-1")


def test_a_mark_of_the_byte_order_is_no_mistake(folder: Path, refused: Callable[[str], str]) -> None:
    """Editors of Windows write it."""
    encoded("[convert]\nbits = 99", "utf-8-sig")(folder / "bom.toml")
    assert "received: 99" in refused("good.keras --calib x.npy --config bom.toml")
