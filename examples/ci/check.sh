#!/bin/sh
# Exit status 0: exact, and within the limits. 1: some codes differ, or a limit is left; the text and check.xml
# (JUnit) say which. 2: the result or the data cannot be used.
set -eu
hgqify check model_hgq --data holdout.npz --max-ebops 20000 --min-metric 0.9 --junit check.xml
