"""Ctrl-C at random moments leaves estimators, files and torch's settings as they were."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import signal
import warnings

import interrupts
import numpy as np
import pytest
import torch

from sklrec._utils.runtime import own_settings
from sklrec._utils.whole_files import check_file_path


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_interrupted_calls_change_nothing(abuse):
    counts, _, failures = interrupts.run(28, without=("to_onnx",))  # an export takes seconds
    assert not failures, failures[0]
    assert counts["interrupted"] > 7
    abuse.counts["interrupts"] += counts["interrupted"]


def test_an_error_of_c_code_that_ctrl_c_caused_is_a_keyboard_interrupt():
    def call(error):
        with own_settings():
            try:
                raise error
            except type(error):
                raise SystemError("returned a result with an exception set") from error

    with pytest.raises(KeyboardInterrupt):
        call(KeyboardInterrupt())
    with pytest.raises(SystemError):
        call(ValueError())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemError])
def test_contexts_that_do_not_end_are_ended(error):
    errors, filters = np.geterr(), warnings.filters
    with pytest.raises(KeyboardInterrupt), own_settings():
        torch.no_grad().__enter__()
        np.errstate(over="raise").__enter__()
        warnings.catch_warnings(action="ignore").__enter__()
        raise error from KeyboardInterrupt()
    assert torch.is_grad_enabled()
    assert np.geterr() == errors
    assert warnings.filters is filters


def test_an_interrupted_check_of_a_path_leaves_no_file(tmp_path, monkeypatch):
    class File:
        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    def interrupted(path, mode):
        with open(path, mode):
            return File()

    monkeypatch.setattr("sklrec._utils.whole_files.open", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        check_file_path(tmp_path / "model")
    assert not os.listdir(tmp_path)
