"""Folders of results in which something is missing, damaged, or was changed by hand."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import good_input as good
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from refusals import assert_told

import hgqify
from hgqify.cli import main
from hgqify.progress import no_progress

RESULT = "result"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good result of the small model."""
    folder = tmp_path_factory.mktemp("converted") / RESULT
    model = good.small_model()
    hgqify.convert(model, good.samples(), finetune_steps=0, progress=no_progress).save(folder)
    return folder


@pytest.fixture
def result(converted: Path, folder: Path) -> Path:
    """A copy of the good result in the working folder."""
    shutil.copytree(converted, folder / RESULT)
    return folder / RESULT


Damage = Callable[[Path], object]


def removed(name: str) -> Damage:
    def damage(result: Path) -> None:
        path = result / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def written(name: str, text: str | bytes) -> Damage:
    data = text.encode() if isinstance(text, str) else text
    return lambda result: (result / name).write_bytes(data)


def halved(name: str) -> Damage:
    return lambda result: good.cut(lambda path: None, 0.5)(result / name)


def program(edit: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> Damage:
    """The integers, with their description and arrays changed in place."""

    def damage(result: Path) -> None:
        path = result / "program.npz"
        with np.load(path) as file:
            arrays = dict(file)
        description = json.loads(arrays.pop("program").tobytes())
        edit(description, arrays)
        np.savez(path, program=np.frombuffer(json.dumps(description).encode(), np.uint8), **arrays)

    return damage


def node(number: int, **values: Any) -> Damage:
    return program(lambda description, _: description["nodes"][number].update(values))


def pickled(result: Path) -> None:
    objects = np.array([Payload()], object)
    np.savez(result / "program.npz", program=objects, allow_pickle=True)


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("marker", "w"))


def bomb(result: Path) -> None:
    """An array of 5 GiB in some MiB: its header and first bytes, and a size that the directory tells."""
    path = result / "program.npz"
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    while entry >= 0:
        data[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")
        entry = data.find(b"PK\x01\x02", entry + 4)
    path.write_bytes(data)


def another(result: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(result / "model.keras")


def bad_header(result: Path) -> None:
    """An array that says it is of 2^40 numbers."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(result / "program.npz", "a") as archive:
        archive.writestr("more.npy", buffer.getvalue())


def wide(result: Path) -> None:
    """Quantized weights that the file does not hold."""
    path = result / "model.keras"
    files = good.members(path)
    config = json.loads(files[good.CONFIG])
    for layer in config["config"]["layers"]:
        layer.pop("build_config", None)
        if layer["config"]["name"] == "scores":
            layer["config"]["units"] = 2**33
    good.write_archive(path, {**files, good.CONFIG: json.dumps(config).encode()})


AGAIN = r"\. Write it again from the Keras model"
CHECK = f"check {RESULT} --no-csim --random 8"
DAMAGED: dict[str, tuple[Damage, str, str]] = {
    "no program": (removed("program.npz"), CHECK, r"a folder without program\.npz\. Give the folder"),
    "no model": (removed("model.keras"), CHECK, r"a folder without model\.keras\. Give the folder"),
    "empty program": (written("program.npz", ""), CHECK, rf"not a fixed program.*{AGAIN}"),
    "text for a program": (written("program.npz", "hello"), CHECK, rf"not a fixed program.*{AGAIN}"),
    "half a program": (halved("program.npz"), CHECK, rf"not a fixed program.*{AGAIN}"),
    "pickled program": (pickled, CHECK, rf"not a fixed program.*{AGAIN}"),
    "program bomb": (bomb, CHECK, rf"not a fixed program; .*bytes when unpacked{AGAIN}"),
    "array of 2^40": (bad_header, CHECK, rf"not a fixed program.*{AGAIN}"),
    "other version": (program(lambda d, _: d.update(version=99)), CHECK, rf"version 99{AGAIN}"),
    "no nodes": (program(lambda d, _: d.update(nodes=[])), CHECK, rf"does not exist{AGAIN}"),
    "nodes of text": (program(lambda d, _: d.update(nodes="x")), CHECK, rf"not a fixed program.*{AGAIN}"),
    "unknown operation": (node(1, op="Popen"), CHECK, rf"KeyError: 'Popen'{AGAIN}"),
    "node that reads itself": (node(1, inputs=["nobody"]), CHECK, rf"is out of order{AGAIN}"),
    "other shape": (node(-1, shape=[7]), CHECK, r"not a fixed program|do not belong together"),
    "negative shape": (node(0, shape=[-4]), CHECK, r"not a fixed program|do not belong together"),
    "missing array": (program(lambda _, arrays: arrays.clear()), CHECK, rf"KeyError.*{AGAIN}"),
    "array of another size": (
        program(lambda _, arrays: arrays.update({name: a.ravel()[:1] for name, a in arrays.items()})),
        CHECK,
        r"not a fixed program|program\.npz",
    ),
    "another model": (another, CHECK, r"do not belong together; .*\. Convert the model again"),
    "2^33 units": (wide, CHECK, r"weights in the file do not fit its layers.*'scores'.*8589934592"),
    "half a model": (halved("model.keras"), CHECK, r"model\.keras: the \.keras archive is damaged"),
    "no project": (removed("hls"), f"check {RESULT} --csim --random 8", r"not a project written by hgqify"),
    "no report": (
        removed("report.json"),
        f"report {RESULT}",
        r"a folder without report\.json\. Give the folder",
    ),
    "report of text": (written("report.json", "hello"), f"report {RESULT}", r"report.*(JSON|cannot be read)"),
    "report of nothing": (written("report.json", "{}"), f"report {RESULT}", r"report\.json|schema|report"),
    "report of a list": (written("report.json", "[1]"), f"report {RESULT}", r"report"),
    "half a report": (halved("report.json"), f"compare {RESULT} {RESULT}", r"report"),
    "changed settings": (
        written("config.toml", "[convert]\nbits = 99"),
        f"good.keras --calib x.npy --config {RESULT}/config.toml",
        r"received: 99",
    ),
    "export without a report": (removed("report.json"), f"export {RESULT} -o again", r"report"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged(what: str, result: Path, refused: Callable[[str], str]) -> None:
    damage, line, told = DAMAGED[what]
    damage(result)
    assert_told(told, refused(line))


@pytest.mark.usefixtures("result")
def test_without_a_compiler_the_rest_is_checked(
    folder: Path, refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mistake: what was left out is said, and asking for it is refused."""
    monkeypatch.setenv("PATH", str(folder))
    done = CliRunner().invoke(main, ["check", RESULT, "--random", "8"])
    assert done.exit_code == 0, done.output
    assert_told(r"C simulation was not run: no C\+\+ compiler.*Install g\+\+.*--no-csim", done.stdout)
    assert_told(r"compiler.*g\+\+", refused(f"check {RESULT} --csim --random 8"))


def test_the_good_result_is_good(result: Path) -> None:
    done = CliRunner().invoke(main, CHECK.split())
    assert done.exit_code == 0, done.output
