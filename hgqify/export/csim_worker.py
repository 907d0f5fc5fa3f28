"""Runs a compiled project; started as a script by `csim`, in a process of its own.

C++ that aborts (an assertion of ap_types, say) ends this process and not the user's. It reads requests on
standard input and answers on standard output, all numbers as raw float64:

    run N      then N samples of every input -> N samples of every output
    trace N    likewise                       -> for each sample, every traced layer
"""

import ctypes
import json
import os
import sys

import numpy as np


class TraceData(ctypes.Structure):
    """hls4ml's record of one traced layer."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p)]


def pointer(array):
    """Address of a float64 array, for C."""
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


def main(path, layout):
    """Serve requests until standard input closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the C++ code prints is no answer
    requests = sys.stdin.buffer
    library = ctypes.CDLL(path)
    in_sizes, out_sizes = layout["inputs"], layout["outputs"]
    top = getattr(library, layout["project"] + "_double")
    top.argtypes = [ctypes.POINTER(ctypes.c_double)] * (len(in_sizes) + len(out_sizes))
    top.restype = None
    for line in requests:
        command, count = line.split()
        n = int(count)
        inputs = [np.frombuffer(requests.read(8 * n * size)).reshape(n, size).copy() for size in in_sizes]
        outputs = [np.zeros((n, size)) for size in out_sizes]
        if command == b"trace":
            trace(library, top, layout["traced"], inputs, outputs, answers)
        else:
            for sample in range(n):
                top(*(pointer(a[sample]) for a in (*inputs, *outputs)))
            for array in outputs:
                answers.write(array.tobytes())
        answers.flush()


def trace(library, top, sizes, inputs, outputs, answers):
    """Answer with the values of every traced layer, sample by sample."""
    data = (TraceData * len(sizes))()
    library.allocate_trace_storage.argtypes = [ctypes.c_size_t]
    library.collect_trace_output.argtypes = [ctypes.POINTER(TraceData)]
    library.allocate_trace_storage(ctypes.sizeof(ctypes.c_double))
    for sample in range(len(inputs[0])):
        top(*(pointer(a[sample]) for a in (*inputs, *outputs)))
        library.collect_trace_output(data)
        values = {item.name.decode(): item.data for item in data}
        for name, size in sizes.items():
            source = ctypes.cast(values[name], ctypes.POINTER(ctypes.c_double))
            answers.write(np.ctypeslib.as_array(source, (size,)).tobytes())
    library.free_trace_storage()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
