"""What can go wrong before and while answers are graded.

EvalError
├── SuiteError     a suite's file, item, template or grader is wrong
├── NeedError      something that a suite needs is not there: a data set, a tokenizer, lm-eval
├── ReachError     nothing usable answers at the endpoint
├── RouteError     no route that this suite could take was proved by the probe
├── PairError      answers of two builds are not to the same questions by the same route
├── DamagedError   answers in a folder are not as they were written
└── ResumeError    what is in the folder was asked differently, or of another server

Errors of single items are no exceptions: they are `Failure`s, kept as records.
"""

from __future__ import annotations

import msgspec

GARBAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are no JSON of the kind: no UTF-8 within a text, and nested too
deep, too."""


class EvalError(Exception):
    """Base of everything below. The message names the field or file, and what to do."""


class SuiteError(EvalError):
    """A suite is wrong; one line a mistake."""


class NeedError(EvalError):
    """Something that a suite needs is not there; the message says how to get it."""


class ReachError(EvalError):
    """Nothing usable answers at the endpoint."""


class RouteError(EvalError):
    """The endpoint was not proved able to do what the suite needs."""


class PairError(EvalError):
    """Answers cannot be compared item by item."""


class DamagedError(EvalError):
    """A file is not as it was written; the message names file and line."""


class ResumeError(EvalError):
    """The folder holds answers to something else."""
