"""Fitted networks as ONNX graphs, for runtimes that know neither torch nor sklrec."""
# SPDX-License-Identifier: BSD-3-Clause

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklrec._utils.tensor_file import write_whole
from sklrec.estimators.dense import DenseRecRegressor
from sklrec.estimators.matrix_factorization import MFRegressor
from sklrec.estimators.sequence import SequenceRatingRegressor
from sklrec.modules import DenseNet, LSTMRating

__all__ = ["onnx_inputs", "to_onnx"]

# What protobuf, which ONNX files are written in, takes.
MAX_BYTES = 2**31 - 2**20
# Axes that have any length, and their lengths in the example that is traced. They differ, and
# none is 1, lest two be taken for one or one for fixed.
ANY_LENGTH = {"n": 5, "max_values": 2, "n_sequences": 3, "max_len": 4}
FLOATS = {"numeric", "past_ratings", "past_gaps"}


class _Clipped(nn.Module):
    """A module whose ratings are clipped, and whose inputs come in one order."""

    def __init__(self, module: nn.Module, names: list[str], scale: tuple[float, float] | None):
        super().__init__()
        self.module, self.names, self.scale = module, names, scale

    def forward(self, *inputs: Tensor) -> Tensor:
        ratings = self.module(**dict(zip(self.names, inputs, strict=True)))
        return ratings if self.scale is None else ratings.clamp(*self.scale)


class _LSTM(nn.Module):
    """ONNX's own operator in place of ``nn.LSTM``, which torch would write out step by step."""

    of_inputs: Tensor
    of_hidden: Tensor
    biases: Tensor

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.input_size, self.hidden_size = lstm.input_size, lstm.hidden_size
        of_inputs, of_hidden, *biases = (table.detach() for table in lstm.parameters())
        self.register_buffer("of_inputs", self._arranged(of_inputs).unsqueeze(0))
        self.register_buffer("of_hidden", self._arranged(of_hidden).unsqueeze(0))
        self.register_buffer("biases", torch.cat([*map(self._arranged, biases)]).unsqueeze(0))

    def _arranged(self, table: Tensor) -> Tensor:
        """Let the gates come as input, output, forget, cell, and not as torch has them."""
        first, forget, cell, output = table.split(self.hidden_size)
        return torch.cat([first, output, forget, cell])

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        n_sequences, length, _ = inputs.shape
        hidden = torch.onnx.ops.symbolic(
            "LSTM",
            [inputs.transpose(0, 1), self.of_inputs, self.of_hidden, self.biases],
            {"hidden_size": self.hidden_size},
            dtype=inputs.dtype,
            shape=(length, 1, n_sequences, self.hidden_size),
        )
        return (hidden.squeeze(1).transpose(0, 1),)


def to_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator's network as an ONNX graph.

    The graph takes codes in place of IDs, and all else as the estimator's ``module_`` does:
    `onnx_inputs` makes it of X. Its one output, ``ratings``, are those that `predict` gives, as
    float32 and clipped to the rating scale. Any number of rows can be asked for at once. The
    graph computes in float32.

    The file appears under its name once it is complete. What was there before stays until then.

    Parameters
    ----------
    estimator : MFRegressor, DenseRecRegressor or SequenceRatingRegressor
        The fitted estimator.
    path : str or PathLike
        The file, by habit ``*.onnx``; one that is there already is replaced.

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is another estimator, or if the path is no path.
    ValueError
        If the tables are larger than the 2 GiB that an ONNX file takes.
    OSError
        If the file cannot be written.

    See Also
    --------
    onnx_inputs : What the graph takes for some rows of X.

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
    module = _module_of(estimator)
    _import_exporters()
    n_bytes = sum(table.nbytes for table in module.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"An ONNX file takes at most {MAX_BYTES:,} bytes, and this model's tables have "
            f"{n_bytes:,}. Fit with fewer n_factors."
        )
    axes = _axes(module)
    dims = {name: torch.export.Dim(name) for name in ANY_LENGTH}
    shapes = tuple(
        {axis: dims[name] for axis, name in enumerate(of_input) if isinstance(name, str)}
        for of_input in axes.values()
    )
    with _quiet():
        # In two steps, since torch.onnx alone would try other ways where axes do not stay open.
        traced = torch.export.export(
            _Clipped(_for_onnx(module), list(axes), estimator.rating_scale_).eval(),
            tuple(_example(name, of_input) for name, of_input in axes.items()),
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


def onnx_inputs(estimator: Any, X: Any, *, history: Any = None) -> dict[str, np.ndarray]:
    """Give what the ONNX graph of an estimator takes for some rows of X.

    Parameters
    ----------
    estimator : MFRegressor, DenseRecRegressor or SequenceRatingRegressor
        The fitted estimator that `to_onnx` wrote.
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The interactions or padded sequences, columns as in `fit`.
    history : tuple of (X_past, y_past), default=None
        As in ``SequenceRatingRegressor.predict``, which alone has one.

    Returns
    -------
    dict of str to ndarray
        The arrays by the names of the graph's inputs: ``users`` and ``items`` are codes, which
        are 0 for unknown IDs. The ratings come in the order of X's rows. With
        ``input='sequences'`` and a rating a position they are those of all positions but
        padding, row by row.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is one that `to_onnx` does not take.
    ValueError
        If X or the history is not what was asked for.

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
    _module_of(estimator)
    X = estimator._check_X(X, reset=False)
    inputs = estimator._inputs(X)
    if not isinstance(estimator, SequenceRatingRegressor):
        if history is not None:
            raise ValueError(
                f"{type(estimator).__name__} reads no history, got one. Leave history at None."
            )
        return inputs
    return _sequence_inputs(estimator, X, inputs, history)


def _sequence_inputs(
    estimator: SequenceRatingRegressor, X: Any, inputs: dict[str, np.ndarray], history: Any
) -> dict[str, np.ndarray]:
    """Histories as padded matrices, and what is asked of them."""
    if estimator.input == "sequences":
        if history is not None:
            raise ValueError(
                "history is for input='interactions'; with input='sequences' X itself holds the "
                "past, got a history."
            )
        targets, _ = estimator._padded_targets(inputs)
    else:
        histories, users, times = estimator.histories_, inputs["users"], inputs.get("times")
        if history is not None:
            histories, users = estimator._read_history(X, history)
        if times is None:
            histories, users = histories.apart(users, inputs["items"])
        targets = estimator._tensors(histories, users, inputs["items"], times)
    return {name: values.numpy() for name, values in targets.in_one_batch().items()}


def _module_of(estimator: Any) -> nn.Module:
    """The module of a fitted estimator; raise if none of it can be exported."""
    if not isinstance(estimator, (MFRegressor, DenseRecRegressor, SequenceRatingRegressor)):
        is_class = isinstance(estimator, type)
        what = f"the class {estimator.__name__}" if is_class else type(estimator).__name__
        raise TypeError(
            "Only MFRegressor, DenseRecRegressor and SequenceRatingRegressor have a network that "
            f"ONNX can hold, got {what}. Give the fitted estimator itself, without a Pipeline or "
            "a search around it."
        )
    check_is_fitted(estimator)
    return estimator.module_


def _axes(module: nn.Module) -> dict[str, tuple[str | int, ...]]:
    """What the module takes, and how long each axis of it is, or what it is called."""
    if isinstance(module, LSTMRating):
        matrix = "n_sequences", "max_len"
        axes: dict[str, tuple[str | int, ...]] = {
            "past_items": matrix,
            "past_ratings": matrix,
            "past_gaps": matrix,
            "lengths": matrix[:1],
        }
        asked = ["sequences", "before", "items"] + ["after"] * module.bidirectional
        return axes | dict.fromkeys(asked, ("n",))
    axes = {"users": ("n",), "items": ("n",)}
    if isinstance(module, DenseNet):
        if module.n_numeric:
            axes["numeric"] = "n", module.n_numeric
        if module.n_categorical:
            axes["categorical"] = "n", module.n_categorical
        if module.n_multi_valued:
            axes["multi_valued"] = "n", module.n_multi_valued, "max_values"
    return axes


def _example(name: str, axes: tuple[str | int, ...]) -> Tensor:
    shape = [ANY_LENGTH[axis] if isinstance(axis, str) else axis for axis in axes]
    return torch.zeros(shape, dtype=torch.float32 if name in FLOATS else torch.int64)


def _for_onnx(module: nn.Module) -> nn.Module:
    """A copy, on the CPU, of what ONNX has operators for."""
    copied: Any = deepcopy(module).cpu()
    copied.sparse = False  # graphs know of no gradients
    for name in ("lstm", "backward_lstm"):
        if hasattr(copied, name):
            setattr(copied, name, _LSTM(getattr(copied, name)))
    return copied


def _import_exporters() -> None:
    for name in ("onnx", "onnxscript"):
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f"to_onnx needs {name}. Install it with: pip install 'sklrec[onnx]'"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Let torch keep to itself what it says of its own parts while it exports."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
