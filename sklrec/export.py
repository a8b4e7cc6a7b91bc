"""Export of fitted networks to ONNX, for programs without torch and sklrec."""
# SPDX-License-Identifier: BSD-3-Clause

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklrec._core.history_reader import HistoryReader
from sklrec._core.padded_reader import PaddedReader
from sklrec._core.rows import check_X
from sklrec._utils.extras import import_extra
from sklrec._utils.runtime import own_settings
from sklrec._utils.versions import check_onnx_operators
from sklrec._utils.whole_files import check_file_path, write_whole
from sklrec.estimators.dense import DenseRecRegressor
from sklrec.estimators.matrix_factorization import MFRegressor
from sklrec.estimators.module import ModuleRecRegressor
from sklrec.estimators.sequence import SequenceRatingRegressor
from sklrec.modules._network_inputs import FEATURES
from sklrec.modules._sequence_module import SequenceModule

__all__ = ["onnx_inputs", "to_onnx"]

EXPORTED = MFRegressor, DenseRecRegressor, SequenceRatingRegressor, ModuleRecRegressor
# Limit of protobuf, the format of ONNX files.
MAX_BYTES = 2**31 - 2**20
# Axes of any length, and their lengths in the traced example. The lengths differ and are not 1,
# because torch would else take two axes for one, or an axis for a fixed one.
ANY_LENGTH = {"n": 5, "max_values": 2, "n_sequences": 3, "max_len": 4}
DTYPES = {
    "numeric": torch.float32,
    "past_gaps": torch.float32,
    "past_ratings": torch.float64,
}


class _Clipped(nn.Module):
    """Wrapper of a module that clips its ratings and takes positional inputs."""

    def __init__(self, module: nn.Module, names: list[str], scale: tuple[float, float] | None):
        super().__init__()
        self.module, self.names = module, names
        # As tensors, because torch would export plain numbers as float32.
        bounds = (-torch.inf, torch.inf) if scale is None else scale
        self.lowest, self.highest = torch.tensor(bounds, dtype=torch.float64)

    def forward(self, *inputs: Tensor) -> Tensor:
        ratings = self.module(**dict(zip(self.names, inputs, strict=True)))
        return ratings.clamp(self.lowest, self.highest)


class _LSTM(nn.Module):
    """Replacement of ``nn.LSTM`` by ONNX's operator, because torch would export each step."""

    input_weights: Tensor  # (1, 4 * hidden_size, n_inputs)
    hidden_weights: Tensor  # (1, 4 * hidden_size, hidden_size)
    biases: Tensor  # (1, 8 * hidden_size)

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.input_size, self.hidden_size = lstm.input_size, lstm.hidden_size
        inputs, hidden, *biases = (self._reorder(table) for table in lstm.parameters())
        self.register_buffer("input_weights", inputs.unsqueeze(0))
        self.register_buffer("hidden_weights", hidden.unsqueeze(0))
        self.register_buffer("biases", torch.cat(biases).unsqueeze(0))

    def _reorder(self, table: Tensor) -> Tensor:
        """Change the order of the gates from torch's to ONNX's: input, output, forget, cell."""
        first, forget, cell, output = table.detach().split(self.hidden_size)
        return torch.cat([first, output, forget, cell])

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        n_sequences, length, _ = inputs.shape
        hidden = torch.onnx.ops.symbolic(
            "LSTM",
            [inputs.transpose(0, 1), self.input_weights, self.hidden_weights, self.biases],
            {"hidden_size": self.hidden_size},
            dtype=inputs.dtype,
            shape=(length, 1, n_sequences, self.hidden_size),
        )
        return (hidden.squeeze(1).transpose(0, 1),)


@own_settings()
def to_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write the network of a fitted estimator as an ONNX graph.

    The inputs of the graph are those of the estimator's ``module_``, with codes in place of IDs.
    `onnx_inputs` computes them from X, for any number of rows. The output ``ratings`` has the
    ratings of `predict` as float64, clipped to the rating scale. The network computes in float32;
    its output is multiplied by the scale, and the mean is added, in float64.

    Parameters
    ----------
    estimator : MFRegressor, DenseRecRegressor, SequenceRatingRegressor or ModuleRecRegressor
        The fitted estimator.
    path : str or PathLike
        Path of the file, usually ``*.onnx``. An existing file is replaced when the new one is
        complete, and keeps its owner and its mode.

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed, or torch is older than 2.8.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is of another class, or if `path` is neither a str nor a PathLike.
    ValueError
        If the tables are larger than 2 GiB, the limit of an ONNX file, or if `path` is a device,
        a pipe or a socket.
    OSError
        If the file cannot be written. This is checked before the export starts.

    See Also
    --------
    onnx_inputs : Compute the inputs of the graph.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.export import onnx_inputs, to_onnx
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> to_onnx(mf, "mf.onnx")  # doctest: +SKIP
    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("mf.onnx")  # doctest: +SKIP
    >>> [ratings] = session.run(None, onnx_inputs(mf, X))  # doctest: +SKIP
    """
    check_file_path(path)
    estimator = copy(estimator)  # so that a fit in another thread changes nothing here
    module = _module_of(estimator)
    for name in ("onnx", "onnxscript"):
        import_extra(name, "onnx", "to_onnx")
    check_onnx_operators("to_onnx")
    n_bytes = sum(table.nbytes for table in module.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"An ONNX file holds at most {MAX_BYTES:,} bytes, got tables of {n_bytes:,} bytes. "
            "Fit with fewer n_factors."
        )
    axes = _axes(module)
    dims = {name: torch.export.Dim(name) for name in ANY_LENGTH}
    shapes = tuple(
        {axis: dims[name] for axis, name in enumerate(lengths) if isinstance(name, str)}
        for lengths in axes.values()
    )
    with _quiet():
        # Two steps, because torch.onnx alone falls back to other exporters if an axis is fixed.
        traced = torch.export.export(
            _Clipped(_for_onnx(module), list(axes), estimator.rating_scale_).eval(),
            tuple(_example(name, lengths) for name, lengths in axes.items()),
            dynamic_shapes=(shapes,),
        )
        program = torch.onnx.export(
            traced,
            input_names=list(axes),
            output_names=["ratings"],
            dynamic_shapes=(shapes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    write_whole(path, program.model_proto.SerializeToString())


@own_settings()
def onnx_inputs(estimator: Any, X: Any, *, history: Any = None) -> dict[str, np.ndarray]:
    """Compute the inputs of the ONNX graph of an estimator.

    Parameters
    ----------
    estimator : MFRegressor, DenseRecRegressor, SequenceRatingRegressor or ModuleRecRegressor
        The fitted estimator that `to_onnx` exported.
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The interactions or padded sequences, with columns as in `fit`.
    history : tuple of (X_past, y_past), default=None
        Earlier interactions and their ratings, as in ``SequenceRatingRegressor.predict``. Other
        estimators do not take it.

    Returns
    -------
    dict of str to ndarray
        The arrays by the names of the graph's inputs. ``users`` and ``items`` are codes, which
        are 0 for unknown IDs. The graph returns ratings in the order of the rows of X. With
        ``input='sequences'`` and one rating for each position, it returns the ratings of all
        positions without padding, row by row.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If `to_onnx` cannot export the estimator.
    ValueError
        If X or the history is invalid.

    See Also
    --------
    to_onnx : Write the graph.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.export import onnx_inputs
    >>> X = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"]]
    >>> mf = MFRegressor(n_factors=2, random_state=0).fit(X, [5, 1, 4])
    >>> onnx_inputs(mf, [["bob", "rum"], ["eve", "tea"]])
    {'users': array([2, 0]), 'items': array([2, 1])}
    """
    if isinstance(estimator, EXPORTED):
        estimator = copy(estimator)  # so that a fit in another thread changes nothing here
    _module_of(estimator)
    if isinstance(estimator._reader, HistoryReader | PaddedReader):
        targets = estimator._reader.targets(estimator, X, history)
        return {name: values.numpy() for name, values in targets.in_one_batch().items()}
    if history is not None:
        raise ValueError(
            f"{type(estimator).__name__} reads no history, got one. Set history=None."
        )
    return estimator._reader.inputs(estimator, check_X(estimator, X, reset=False))


def _module_of(estimator: Any) -> nn.Module:
    """Return the module of a fitted estimator, or raise a TypeError if ONNX cannot hold it."""
    if not isinstance(estimator, EXPORTED):
        is_class = isinstance(estimator, type)
        names = ", ".join(cls.__name__ for cls in EXPORTED)
        what = f"the class {estimator.__name__}" if is_class else type(estimator).__name__
        raise TypeError(
            f"to_onnx exports a fitted {names}, got {what}. "
            "Take the estimator out of a Pipeline or a search first."
        )
    check_is_fitted(estimator)
    return estimator.module_


def _axes(module: Any) -> dict[str, tuple[str | int, ...]]:
    """Inputs of a module, with the name or the length of each axis."""
    if isinstance(module, SequenceModule) or getattr(module, "part", "") == "histories":
        matrix = "n_sequences", "max_len"
        axes: dict[str, tuple[str | int, ...]] = {
            "past_items": matrix,
            "past_ratings": matrix,
            "past_gaps": matrix,
            "lengths": matrix[:1],
        }
        queries = ["sequences", "before", "items"] + ["after"] * module.bidirectional
        queries += ["users"] * module.reads_users
        return axes | dict.fromkeys(queries, ("n",))
    axes = {"users": ("n",), "items": ("n",)}
    for name in FEATURES:
        if n_columns := getattr(module, f"n_{name}", 0):
            axes[name] = "n", n_columns
    if "multi_valued" in axes:
        axes["multi_valued"] += ("max_values",)
    return axes


def _example(name: str, axes: tuple[str | int, ...]) -> Tensor:
    shape = [ANY_LENGTH[axis] if isinstance(axis, str) else axis for axis in axes]
    return torch.zeros(shape, dtype=DTYPES.get(name, torch.int64))


def _for_onnx(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, and replace parts that ONNX has no operators for."""
    copied: Any = deepcopy(module).cpu()
    for layer in copied.modules():
        if hasattr(layer, "sparse"):
            layer.sparse = False  # sparse gradients cannot be exported
    for owner in [layer for layer in copied.modules() if isinstance(layer, SequenceModule)]:
        for name in ("lstm", "backward_lstm"):
            if hasattr(owner, name):
                setattr(owner, name, _LSTM(getattr(owner, name)))
    return copied


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the log messages and warnings that torch and onnx emit about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
