"""SequencePadder: makes a matrix of sequences of different lengths."""
# SPDX-License-Identifier: BSD-3-Clause

from itertools import chain
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from narwhals.exceptions import DuplicateError
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from sklrec._data.checks import as_codes
from sklrec._data.tables import Frame, as_column, read_table
from sklrec._utils.state.estimators import DeclaredEstimator, in_one_step
from sklrec._utils.state.kinds import Int, Maybe, Strings
from sklrec._utils.types import Whole
from sklrec._utils.versions import Interval, StrOptions, check_feature_names_in, fit_context

# In a file, so that a small file cannot ask for more than 1 MiB for each row.
LARGEST_MAX_LEN = 2**17


class SequencePadder(TransformerMixin, DeclaredEstimator):
    """Make a matrix of sequences of item codes, and pad short sequences with zeros.

    Parameters
    ----------
    max_len : int, default=None
        Width of the matrix. Longer sequences are cut. None takes the length of the longest
        sequence that `fit` sees.
    padding : {"pre", "post"}, default="pre"
        Place of the zeros: before or after the codes.
    truncating : {"pre", "post"}, default="pre"
        Part that long sequences lose: the oldest items at their front, or their end.
    mask : bool, default=False
        Whether to append `max_len_` columns that hold 1 for a code and 0 for a zero.

    Attributes
    ----------
    max_len_ : int
        Width of the matrix, without the mask.
    n_features_in_ : int
        Number of columns seen during `fit`; only if X was a matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns seen during `fit`; only if X was a DataFrame whose column names
        all are strings.

    See Also
    --------
    SequenceWindower : Makes windows over the histories in a log of interactions.

    Notes
    -----
    An empty sequence becomes a row of zeros.

    Codes are whole numbers from 1 upwards, since 0 stands for padding. Leave out items without a
    code. If all sequences have the same length, zeros in them count as padding.

    A two-dimensional array or a DataFrame of numbers is already rectangular. Columns are cut or
    columns of zeros are added. The values and the dtype stay as they are, also if the values are
    no codes. The mask is 0 for zeros.

    A file of `sklrec.save` holds a `max_len_` of at most 131,072.

    Examples
    --------
    >>> from sklrec.preprocessing import SequencePadder
    >>> sequences = [[5, 3, 8], [2], [], [7, 1, 9, 4, 6]]
    >>> SequencePadder().fit_transform(sequences)
    array([[0, 0, 5, 3, 8],
           [0, 0, 0, 0, 2],
           [0, 0, 0, 0, 0],
           [7, 1, 9, 4, 6]])
    >>> SequencePadder(max_len=2, padding="post", mask=True).fit_transform(sequences)
    array([[3, 8, 1, 1],
           [2, 0, 1, 0],
           [0, 0, 0, 0],
           [4, 6, 1, 1]])
    """

    _state = {
        "n_features_in_": Maybe(Int(size="n_columns")),
        "feature_names_in_": Maybe(Strings("n_columns")),
        "max_len_": Int(below=LARGEST_MAX_LEN + 1),
    }

    _parameter_constraints: dict = {
        "max_len": [Interval(Integral, 1, None, closed="left"), None],
        "padding": [StrOptions({"pre", "post"})],
        "truncating": [StrOptions({"pre", "post"})],
        "mask": ["boolean"],
    }

    max_len_: int

    def __init__(
        self,
        max_len: Whole | None = None,
        *,
        padding: Literal["pre", "post"] = "pre",
        truncating: Literal["pre", "post"] = "pre",
        mask: bool = False,
    ):
        self.max_len = max_len
        self.padding = padding
        self.truncating = truncating
        self.mask = mask

    @fit_context(prefer_skip_nested_validation=True)
    @in_one_step
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the width of the matrix.

        Parameters
        ----------
        X : sequence of sequences of int, or {DataFrame, ndarray} of shape (n_sequences, length)
            The sequences: a list, a Series or an array of lists, tuples or arrays of codes, or
            a matrix that holds one in each row.
        y : None
            Ignored. Pipelines pass it.

        Returns
        -------
        SequencePadder
            The fitted padder.

        Raises
        ------
        ValueError
            If there are no sequences, if one holds anything but codes, or if all are empty and
            `max_len` is None.
        """
        X = _read(X)
        if _is_matrix(X):
            longest = self._check_matrix(X, reset=True).shape[1]
        else:
            for name in {"n_features_in_", "feature_names_in_"} & set(vars(self)):
                delattr(self, name)  # from an earlier fit on a matrix
            longest = int(_flatten(X)[1].max())
        if self.max_len is None and longest == 0:
            raise ValueError(
                f"All {len(X)} sequences are empty, which says nothing about the width of the "
                "matrix: set max_len."
            )
        self.max_len_ = longest if self.max_len is None else int(self.max_len)
        return self

    def transform(self, X: Any) -> Any:
        """Pad and cut sequences.

        Parameters
        ----------
        X : sequence of sequences of int, or {DataFrame, ndarray} of shape (n_sequences, length)
            The sequences, in any of the forms that `fit` takes. A matrix needs the number of
            columns that `fit` saw, if `fit` saw a matrix.

        Returns
        -------
        ndarray of shape (n_sequences, max_len_) or (n_sequences, 2 * max_len_)
            The matrix, followed by its mask if `mask` is set. The dtype is int64, or that of X if
            X is a matrix.

        Raises
        ------
        ValueError
            If there are no sequences, or if one holds anything but codes.
        """
        check_is_fitted(self)
        X = _read(X)
        if _is_matrix(X):
            reset = not hasattr(self, "n_features_in_")
            padded = self._pad_columns(self._check_matrix(X, reset=reset))
        else:
            padded = self._pad_sequences(*_flatten(X))
        if self.mask:
            return np.hstack([padded, (padded != 0).astype(padded.dtype)])
        return padded

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the result.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X; only checked against those that `fit` saw.

        Returns
        -------
        ndarray of str
            `code0`, `code1` and so on, and with `mask` `mask0`, `mask1` and so on.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        what = ["code", "mask"] if self.mask else ["code"]
        places = range(self.max_len_)
        return np.array([f"{word}{place}" for word in what for place in places], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags

    def _check_matrix(self, X: Any, *, reset: bool) -> Any:
        try:
            return validate_data(self, X, reset=reset)
        except (TypeError, DuplicateError) as error:  # of pandas or narwhals
            raise TypeError(f"X must be a matrix of item codes: {error}") from error

    def _pad_columns(self, X: np.ndarray) -> np.ndarray:
        kept = X[:, -self.max_len_ :] if self.truncating == "pre" else X[:, : self.max_len_]
        n_missing = self.max_len_ - kept.shape[1]
        before_and_after = (n_missing, 0) if self.padding == "pre" else (0, n_missing)
        return np.pad(kept, ((0, 0), before_and_after))

    def _pad_sequences(self, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        kept = np.minimum(lengths, self.max_len_)[:, np.newaxis]
        starts = (np.cumsum(lengths) - lengths)[:, np.newaxis]
        if self.truncating == "pre":
            starts += lengths[:, np.newaxis] - kept
        # position in the sequence for each cell of the matrix
        places = np.arange(self.max_len_) - (self.max_len_ - kept if self.padding == "pre" else 0)
        filled = (places >= 0) & (places < kept)
        padded = np.zeros(filled.shape, dtype=np.int64)
        padded[filled] = codes[(starts + places)[filled]]
        return padded


def _read(X: Any) -> Any:
    """Array of the sequences in a column, and anything else as it is."""
    return X if isinstance(X, list | tuple) or isinstance(read_table(X), Frame) else as_column(X)


def _is_matrix(X: Any) -> bool:
    """Whether X is a two-dimensional table, and not a list or column of sequences."""
    return not isinstance(X, list | tuple) and not (
        getattr(X, "ndim", 2) == 1 and X.dtype.kind == "O"
    )


def _flatten(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all sequences in one array, and the lengths of the sequences."""
    sequences = list(X)
    if not sequences:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required by SequencePadder."
        )
    lengths = np.fromiter(map(_length, range(len(sequences)), sequences), np.int64)
    values = list(chain.from_iterable(sequences))
    codes, valid = as_codes(np.fromiter(values, dtype=object, count=len(values)))
    if lengths.min() < lengths.max():
        valid &= codes > 0
    if not valid.all():
        place = int(np.argmin(valid))
        which = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
        raise ValueError(
            f"Sequence {which} holds {values[place]!r}, which is no code: codes are whole numbers "
            "from 1 upwards, and 0 is that of padding. Encode items first, for example with "
            "IDEncoder, and leave out those that are missing or unknown."
        )
    return codes, lengths


def _length(which: int, sequence: Any) -> int:
    if isinstance(sequence, str | bytes | dict | set | frozenset) or not hasattr(
        sequence, "__len__"
    ):
        raise ValueError(
            f"Sequence {which} is {sequence!r} of type {type(sequence).__name__}, but a list, "
            "tuple or array of codes was expected. Pass X as a list of sequences, one for each "
            "row of the result, or as a two-dimensional array."
        )
    return len(sequence)
