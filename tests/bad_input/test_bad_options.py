"""Options that cannot be meant, outputs that cannot be written, and layers that have no fixed-point form."""

from collections.abc import Callable
from pathlib import Path

import good_input as good
import keras
import numpy as np
import pytest
from keras import layers
from refusals import assert_told

X = "good.keras --calib x.npy"
OPTIONS = {
    # numbers
    f"{X} --bits -3": r"'--bits': -3 is not in the range x>=2",
    f"{X} --bits 1": r"'--bits': 1 is not in the range x>=2",
    f"{X} --bits 99": r"bits must be .* from 2 to 24; received: 99",
    f"{X} --bits six": r"'--bits': 'six' is not a valid integer",
    f"{X} --weight-bits 1": r"weight_bits must be .* from 2 to 24; received: 1",
    f"{X} --weight-bits 0": r"'--weight-bits': 0 is not in the range",
    f"{X} --activation-bits 40": r"activation_bits must be .* from 1 to 24; received: 40",
    f"{X} --margin wide": r"'--margin': 'wide' is not a valid integer",
    f"{X} --margin 0.5": r"'--margin': '0\.5' is not a valid integer",
    f"{X} --percentile nan --ranges percentile": r"percentile.*nan",
    f"{X} --percentile 101": r"'--percentile': 101.* is not in the range",
    f"{X} --finetune-steps -1": r"'--finetune-steps': -1 is not in the range",
    f"{X} --learning-rate nan": r"learning_rate.* nan",
    f"{X} --learning-rate 0": r"'--learning-rate': 0.0 is not in the range",
    f"{X} --label-weight nan": r"label_weight.* nan",
    f"{X} --batch-size 0": r"'--batch-size': 0 is not in the range",
    f"{X} --seed -1": r"'--seed': -1 is not in the range",
    f"{X} --target-ebops 0": r"'--target-ebops': 0 is not in the range",
    f"{X} --target-ebops nan": r"'--target-ebops': 'nan' is not a valid integer",
    f"{X} --max-drop nan": r"max_drop must be .*0 or more; received: nan|max-drop",
    f"{X} --max-drop -1": r"'--max-drop': -1.0 is not in the range",
    f"{X} --target-ebops 900 --max-drop 1": r"give either target_ebops or max_drop",
    f"{X} --compensate": r"under a budget only.*Give target_ebops",
    f"{X} --clock-period nan": r"clock_period.* nan",
    f"{X} --clock-period 0": r"'--clock-period': 0.0 is not in the range",
    f"{X} --check-samples 0": r"'--check-samples': 0 is not in the range",
    # names
    f"{X} --overflow satt": r"'--overflow': 'satt' is not one of 'wrap', 'sat'",
    f"{X} --io-type serial": r"'--io-type': 'serial' is not one of 'auto', 'io_parallel'",
    f"{X} --weight-granularity row": r"'row' is not one of 'tensor', 'channel', 'element'",
    f"{X} --softmax maybe": r"'maybe' is not one of 'logits', 'convert', 'refuse'",
    f"{X} --backend Vivdo": r"unknown backend; received: Vivdo\. Use one of",
    f"{X} --part 'a b;c'": r"part is the name of an FPGA; received: 'a b;c'\. Use letters",
    f"{X} --project-name 'a();'": r"not the name of a C\+\+ function",
    f"{X} --project-name int": r"not the name of a C\+\+ function; received: 'int'\. .*keyword",
    f"{X} --weigth-bits 8": r"No such option.*--weight-bits",
    f"{X} --quiet --verbose": r"--quiet.*--verbose",
    f"{X} --io-type io_stream --activation-granularity element": r"cannot be built .*\. Use io_type='io_p",
    # outputs
    f"{X} -o file": r"file: the output exists and is not a folder\. Choose another",
    f"{X} -o file/out": r"cannot be written; received: .*file, which is not a folder\. Choose another",
    f"{X} -o good.keras": r"the output exists and is not a folder\. Choose another",
    f"{X} -o good.keras/out": r"good\.keras, which is not a folder\. Choose another output folder",
    f"{X} -o .": r"the output folder exists already\. Choose another with -o",
    f"{X} -o . --force": r"holds something else and is not replaced; received: a folder without report\.json",
    f"{X} -o /proc/hgqify/out": r"cannot be written \(.*\)\. Choose a folder you may write to",
    f"{X} -o /dev/null": r"the output exists and is not a folder",
    f"{X} -o {'n' * 300}": r"cannot be written \(File name too long\)",
    f"{X} --json none/a.json": r"cannot be written \(there is no such folder\)",
    f"{X} --json .": r"the output is a folder\. Give the name of a file",
    f"{X} --training-folder file": r"file.*not a folder",
    f"sweep {X} --budgets 900,x": r"whole numbers above 0 are needed; received: 'x'",
    f"sweep {X} -o file": r"file.*not a folder",
    f"sweep {X} --save-chosen .": r"the output folder exists already",
    "init good.keras -o .": r"folder|exists",
    "init none.keras": r"none\.keras: the file does not exist\. Check the path",
    "inspect": r"Missing argument 'MODEL'",
    "inspect none.keras": r"none\.keras: the file does not exist\. Check the path",
    # results that are none
    "check none": r"not a result of hgqify; received: no such folder\. Give the folder",
    "check .": r"not a result of hgqify; received: a folder without model\.keras and program\.npz",
    "check . --random 0": r"nothing to compare on: give --data FILE, or --random above 0",
    "check . --random -5": r"'--random': -5 is not in the range",
    "check . --limit 0": r"'--limit': 0 is not in the range",
    "check . --data x.npy --min-metric nan": r"min_metric is a share, at most 1; received: nan$",
    "check . --data x.npy --min-metric 95": r"min_metric is a share, at most 1; .*For 95 % give 0\.95",
    "check . --min-metric 0.9": r"a limit on the metric needs data",
    "check . --junit none/a.xml": r"there is no such folder",
    "report none": r"none: the report cannot be read \(No such file or directory\)\. Give the folder",
    "compare none x.npy": r"not a result of hgqify",
    "export none -o out": r"not a result of hgqify",
    "export . -o out": r"not a result of hgqify",
}


@pytest.mark.parametrize("line", OPTIONS)
def test_option(line: str, folder: Path, refused: Callable[[str], str]) -> None:
    (folder / "file").touch()
    message = refused(line)
    assert_told(OPTIONS[line], message.splitlines()[-1])


def sequential(*stack: layers.Layer) -> None:
    keras.Sequential(list(stack)).save("model.keras")


def test_all_refused_layers_at_once_with_a_remedy_each(refused: Callable[[str], str]) -> None:
    sequential(
        keras.Input((3, 8, 4)),
        layers.RandomCrop(3, 3, name="memory"),
        layers.Masking(1.0, name="size"),
        layers.TimeDistributed(layers.LayerNormalization(), name="unit"),
    )
    first, *rest, last = refused("model.keras --calib x.npy").splitlines()
    assert last == "Or keep them in float: unsupported='keep' (--unsupported keep)"
    assert first == "Error: 3 layers cannot be converted:"
    for line, start, remedy in zip(
        rest,
        ("memory (RandomCrop): at inference", "size (Masking): this mask", "unit (TimeDistributed): "),
        ("Crop the training data", "Remove masks", "Apply the inner layer to the whole tensor"),
        strict=True,
    ):
        assert line.strip().startswith(start)
        assert remedy in line


def test_a_softmax_that_may_not_stay(refused: Callable[[str], str]) -> None:
    good.small_model(layers.Dense(3, activation="softmax")).save("model.keras")
    assert "1 layer cannot be converted" in refused("model.keras --calib x.npy --softmax refuse")


def test_what_cannot_be_exported_is_refused_before_the_training(refused: Callable[[str], str]) -> None:
    sequential(keras.Input((7, 7, 1)), layers.MaxPooling2D(3, 2, name="overlap"), layers.Flatten())
    np.save("images.npy", np.ones((5, 7, 7, 1), np.float32))
    first, second = refused("model.keras --calib images.npy --io-type io_stream").splitlines()
    assert first == "Error: 1 operation(s) cannot be exported with io_stream for Vitis:"
    assert second.strip().startswith("overlap: hls4ml streams pool only in windows as large")
