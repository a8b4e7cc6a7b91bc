"""Ctrl-C at random moments leaves estimators, files and torch's settings as they were."""
# SPDX-License-Identifier: BSD-3-Clause

import signal

import interrupts
import pytest
import torch

from sklrec._utils.runtime import own_settings


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_interrupted_calls_change_nothing(abuse):
    counts, failures = interrupts.run(60)
    assert not failures, failures[0]
    assert counts["interrupted"] > 30
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


def test_a_context_of_torch_that_does_not_end_is_ended():
    with pytest.raises(KeyboardInterrupt), own_settings():
        torch.no_grad().__enter__()
        raise KeyboardInterrupt
    assert torch.is_grad_enabled()
