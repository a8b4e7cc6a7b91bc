"""The state of a fit in a file, from which the same fit goes on after its process died."""
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklrec._packing import pack, unpack
from sklrec._tensor_file import read_tensor_file, write_tensor_file
from sklrec._training_data import TrainingData
from sklrec._version import __version__

# States are written at least so many seconds apart, and so far apart that writing takes at most
# this share of the time.
MIN_SECONDS = 30.0
MAX_SHARE = 0.02
# What may change before a fit goes on, since it changes nothing of the model.
FREE_PARAMETERS = {"callbacks", "verbose"}
# Rows of data that are read at once.
DIGEST_ROWS = 2**15
# What there is in a file.
PARTS = ["fit", "data", "start", "random_state", "finished", "state"]
# Longer values of parameters stand in the file by their digests.
MAX_CHARACTERS = 200


class Checkpoint:
    """The file that keeps the state of a fit, or none.

    Solvers ask it for a state to go on from, and show it theirs after each pass over the ratings.

    Parameters
    ----------
    path : str, PathLike or None, default=None
        The file, which need not be there; ``None`` keeps nothing.
    estimator : estimator instance, default=None
        What is fitted, before anything is drawn from its random state.

    Attributes
    ----------
    finished : bool
        Whether the state to go on from is the last one.
    is_written : bool
        Whether states are written. Of several processes that train together only one does so.

    Raises
    ------
    TypeError
        If the path is no path.
    ValueError
        If no file can be there, or the one that is there is not that of such a fit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        estimator: BaseEstimator | None = None,
    ):
        self.finished = False
        self.is_written = path is not None
        self._path = None if path is None else _checked(path)
        self._saved: dict[str, Any] = {}
        self._random_state: dict[str, Any] | None = None
        if self._path is None or estimator is None:
            return
        self._fit = _describe(estimator)
        if os.path.exists(self._path):
            self._read(self._path)

    def digest(self) -> str:
        """Tell the file that was there from any other, before a state is written.

        Returns
        -------
        str
            A digest of the file; empty if there was none.
        """
        if self._path is None or not self._saved:
            return ""
        with open(self._path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def random_state(self, seed: Any, rng: np.random.RandomState) -> np.random.RandomState:
        """Give the source of all that is random in the fit.

        Parameters
        ----------
        seed : object
            The estimator's parameter ``random_state``.
        rng : RandomState instance
            The source by that parameter.

        Returns
        -------
        RandomState instance
            For ``None`` the source as it was when the fit first began, else `rng`.
        """
        if self._path is None or seed is not None:
            return rng
        if self._saved:
            rng = np.random.RandomState()
            with self.reading():
                rng.set_state(self._saved["random_state"])
        self._random_state = rng.get_state(legacy=False)
        return rng

    def begin(
        self, module: torch.nn.Module, data: TrainingData, valid: TrainingData | None
    ) -> None:
        """Take in what is about to be trained, and on what.

        Parameters
        ----------
        module : Module
            The module as it is before any pass.
        data : TrainingData
            What it is trained on.
        valid : TrainingData or None
            What the validation loss is measured on.

        Raises
        ------
        ValueError
            If the file is that of a fit to something else.
        """
        if self._path is None:
            return
        self._data = {
            "the training data": _digest_of_data(data),
            "the validation data": "" if valid is None else _digest_of_data(valid),
        }
        # After the data, whose mean is in it.
        self._start = {"the model that the training starts from": _digest([module.state_dict()])}
        if self._saved:
            for part, here in (("data", self._data), ("start", self._start)):
                with self.reading():
                    there = self._saved[part]
                    changed = [name for name in here if here[name] != there[name]]
                self._refuse(changed)
        self._next_time = time.monotonic() + MIN_SECONDS

    def resume(self) -> Any:
        """Give the state to go on from.

        Returns
        -------
        object
            What a solver has shown, or ``None`` if there is nothing to go on from.
        """
        return self._saved.pop("state", None)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Blame the file for whatever goes wrong inside.

        A checksum tells what was damaged from what is whole, but anybody can write one.

        Raises
        ------
        ValueError
            If anything went wrong but for the memory, of which another time may have enough.
        """
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise ValueError(
                f"{self._path!r} is a checkpoint, but not one that this fit can go on from "
                f"({error!r:.200}). Delete it, or give another path."
            ) from error

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the file, if the training went on from it, in whatever goes wrong inside."""
        try:
            yield
        except Exception as error:
            if self._saved and "state" not in self._saved:
                error.add_note(
                    f"The training went on from the checkpoint {self._path!r}. If nothing else "
                    "explains the error, delete that file, or give another path."
                )
            raise

    def save(self, state: Callable[[], Any]) -> None:
        """Write the state if it is time to.

        Parameters
        ----------
        state : callable
            Gives the state.
        """
        if self.is_written and time.monotonic() >= self._next_time:
            self._write(state())

    def finish(self, state: Callable[[], Any]) -> None:
        """Write the last state.

        Parameters
        ----------
        state : callable
            Gives the state.
        """
        if self.is_written and not self.finished:
            self.finished = True
            self._write(state())

    def _write(self, state: Any) -> None:
        assert self._path is not None
        path = self._path
        start = time.monotonic()
        facts = self._fit, self._data, self._start, self._random_state
        try:
            document, arrays = pack(dict(zip(PARTS, (*facts, self.finished, state), strict=True)))
            write_tensor_file(path, "checkpoint", {"content": document}, arrays)
        except (OSError, TypeError) as error:
            # Hours of training are worth more than their checkpoint.
            warnings.warn(
                f"No checkpoint was written to {path!r}, and the training goes on without: "
                f"{error}. What was there before, if anything, is still there.",
                stacklevel=2,
            )
        now = time.monotonic()
        self._next_time = now + max(MIN_SECONDS, (now - start) / MAX_SHARE)

    def _read(self, path: str) -> None:
        document, arrays = read_tensor_file(path, "checkpoint")
        with self.reading():
            content = unpack(document["content"], arrays)
            self._saved = {name: content[name] for name in PARTS}
            self.finished = self._saved["finished"] is True
            if not isinstance(self._saved["state"], dict):
                raise TypeError("it has no state")
            changed = self._changed(self._saved["fit"])
        self._refuse(changed)

    def _changed(self, there: dict[str, Any]) -> list[str]:
        """What is not as it was in the fit of the file: parameters, or the code."""
        here = self._fit
        changed = [
            f"{name} ({there[name]} in the file, {here[name]} now)"
            for name in ("the estimator", "sklrec", "torch")
            if there[name] != here[name]
        ]
        if not changed:
            old, new = there["parameters"], here["parameters"]
            changed = [
                f"{name} ({old.get(name)} in the file, {new.get(name)} now)"
                for name in sorted(old | new)
                if old.get(name) != new.get(name)
            ]
        return changed

    def _refuse(self, changed: list[str]) -> None:
        if changed:
            raise ValueError(
                f"{self._path!r} is the checkpoint of another fit. Changed: {', '.join(changed)}. "
                "Set it back to go on with that fit, delete the file, or give another path."
            )


NO_CHECKPOINT = Checkpoint()


def random_states(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Give the states of a generator, and of torch's global ones.

    Parameters
    ----------
    generator : torch.Generator
        The generator.
    device : torch.device
        Whose global generator counts besides the CPU's.

    Returns
    -------
    dict of str to Tensor
        The states.
    """
    states = {"own": generator.get_state(), "cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device.type).get_rng_state(device)
    return states


def set_random_states(
    states: Mapping[str, Tensor], generator: torch.Generator, device: torch.device
) -> None:
    """Set a generator, and torch's global ones, to earlier states.

    Parameters
    ----------
    states : dict of str to Tensor
        What `random_states` gave.
    generator : torch.Generator
        The generator.
    device : torch.device
        The device that `random_states` was given.
    """
    generator.set_state(states["own"])
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device.type).set_rng_state(states["device"], device)


def _checked(path: Any) -> str:
    """An absolute path at which there can be a file."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"checkpoint must be None or the path of a file that need not be there, got {path!r}."
        )
    path = os.fsdecode(path)
    if not path or "\0" in path:
        raise ValueError(
            f"checkpoint={path!r} cannot be the path of a file, being empty or with a null "
            "character. Give another path."
        )
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ValueError(
            f"checkpoint={path!r} cannot be written: there is no folder {folder!r}. Make it "
            "first, or give another path."
        )
    if os.path.isdir(path):
        raise ValueError(
            f"checkpoint={path!r} is a folder. Give the path of a file, such as "
            f"{os.path.join(path, 'fit.checkpoint')!r}."
        )
    if not os.access(folder, os.W_OK):
        raise ValueError(
            f"checkpoint={path!r} cannot be written: the folder may not be written to. Give "
            "another path."
        )
    return path


def _describe(estimator: BaseEstimator) -> dict[str, Any]:
    """What decides on the result of a fit, besides its data and the machine."""
    kind = type(estimator)
    return {
        "the estimator": f"{kind.__module__}.{kind.__qualname__}",
        "sklrec": __version__,
        "torch": torch.__version__,
        "parameters": {
            name: _text(value)
            for name, value in estimator.get_params(deep=False).items()
            if name not in FREE_PARAMETERS
        },
    }


def _text(value: Any) -> str:
    """A text that tells the value of a parameter from others."""
    if isinstance(value, np.random.RandomState):
        document, arrays = pack(value.get_state(legacy=False))
        value = document, [array.tolist() for array in arrays.values()]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    text = str(value) if isinstance(value, torch.device) else repr(value)
    return text if len(text) <= MAX_CHARACTERS else f"a value with digest {_digest([], text)[:8]}"


def _digest_of_data(data: TrainingData) -> str:
    return _digest({**X, "": ratings} for X, ratings in data.batches(DIGEST_ROWS))


def _digest(parts: Iterable[Mapping[str, Tensor]], text: str = "") -> str:
    """SHA-256 of tensors and their names."""
    digest = hashlib.sha256(text.encode())
    for part in parts:
        for name, values in part.items():
            array = values.detach().cpu().numpy()
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
