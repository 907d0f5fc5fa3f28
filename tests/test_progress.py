"""Bars on terminals, lines elsewhere."""

import io

from hgqify.progress import Event, TextProgress, no_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _run(stream, seconds):
    clock = Clock()
    progress = TextProgress(stream, clock=clock, columns=120)
    for done in range(1, 11):
        clock.now += seconds
        progress(Event(stage="finetune", done=done, total=10, values={"loss": 0.125, "EBOPs": 12000.0}))
    return stream.getvalue()


def test_a_terminal_sees_a_bar_that_is_redrawn():
    text = _run(Terminal(), 1.0)
    assert text.count("\r") == 10
    assert text.count("\n") == 1
    middle = text.split("\r")[5]
    assert "[############............]" in middle
    assert "5/10 steps  loss 0.125  EBOPs 12,000  ETA 00:05" in middle


def test_a_notebook_sees_it_too():
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    assert _run(notebook(), 1.0) == _run(Terminal(), 1.0)


def test_a_terminal_is_not_flooded():
    assert _run(Terminal(), 0.02).count("\r") == 3


def test_a_file_gets_a_line_now_and_then():
    lines = _run(io.StringIO(), 4.0).splitlines()
    assert len(lines) == 4
    assert not any("\r" in line or "[" in line for line in lines)
    assert "ETA" not in lines[-1]


def test_a_line_is_never_wider_than_the_terminal():
    """Else the terminal breaks it, and every redraw leaves a copy of its first part behind."""
    event = Event(
        stage="finetune", done=5, total=10, values={"loss": 0.125, "held out": 0.25, "EBOPs": 151_723_480.0}
    )
    lines = {}
    for columns in (20, 50, 70, 200):
        stream = Terminal()
        TextProgress(stream, clock=Clock(), columns=columns)(event)
        lines[columns] = stream.getvalue().strip("\r")
        assert len(lines[columns]) < columns
    assert "EBOPs 151,723,480" in lines[200]
    assert "loss 0.125" in lines[70]
    assert "EBOPs" not in lines[70]
    assert lines[50].startswith("finetune   [#####.....]  5/10 steps")
    assert lines[20].startswith("finetune  5/10 step")


def test_milestones_have_lines_of_their_own():
    for stream in (Terminal(), io.StringIO()):
        clock = Clock()
        progress = TextProgress(stream, clock=clock)
        progress(Event(stage="sweep", done=0, total=3, unit="points"))
        for done in (1, 2):
            clock.now += 0.02
            progress(Event(stage="sweep", done=done, total=3, unit="points", milestone=True))
        lines = stream.getvalue().replace("\r", "\n").splitlines()
        assert sum(line.startswith("sweep  1/3 points  ETA") for line in lines) == 1
        assert sum(line.startswith("sweep  2/3 points  ETA") for line in lines) == 1
        assert stream.getvalue().endswith("\n")


def test_unknown_totals_count():
    stream = io.StringIO()
    TextProgress(stream)(Event(stage="calibrate", done=256, total=None, unit="samples"))
    assert stream.getvalue().startswith("calibrate  256 samples")


def test_silence():
    no_progress(Event(stage="x", done=1, total=1))
