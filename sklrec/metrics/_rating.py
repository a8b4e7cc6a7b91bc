"""Errors over the known ratings, and a scorer for them."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.metrics import make_scorer
from sklearn.utils.validation import check_array

from sklrec._data.checks import check_weights
from sklrec._data.numbers import numbers_of


def masked_root_mean_squared_error(
    y_true: Any, y_pred: Any, *, sample_weight: Any = None
) -> float:
    """Compute the root mean squared error over the known ratings.

    NaN in `y_true` stands for a rating that is not known, for example at the padding of a
    sequence. Predictions at these places are ignored, and may be NaN as well.

    The mean is over all known ratings at once. With sequences in rows, a long sequence has more
    weight than a short one. With one rating in each row, this is the usual error.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The ratings, with NaN where there is none.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The predictions, in the same shape.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of the ratings of each row. None gives all rows the same weight.

    Returns
    -------
    float
        The error, in the unit of the ratings.

    Raises
    ------
    ValueError
        If the shapes differ, if no known rating has a weight, if a rating is infinite, or if the
        prediction of a known rating is NaN or infinite.

    See Also
    --------
    sklearn.metrics.root_mean_squared_error : Refuses NaN, and averages the errors of outputs.
    neg_masked_root_mean_squared_error_scorer : Scorer for `scoring=`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklrec.metrics import masked_root_mean_squared_error
    >>> y_true = [[np.nan, 3, 5], [np.nan, 2, 4]]
    >>> y_pred = [[0.0, 3, 5], [7.0, 2, 2]]
    >>> masked_root_mean_squared_error(y_true, y_pred)
    1.0
    """
    options = {"ensure_2d": False, "dtype": np.float64}
    y_true = check_array(
        numbers_of(y_true, "y_true"), ensure_all_finite="allow-nan", input_name="y_true", **options
    )
    y_pred = check_array(
        numbers_of(y_pred, "y_pred"), ensure_all_finite=False, input_name="y_pred", **options
    )
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"y_true has the shape {y_true.shape}, but y_pred has {y_pred.shape}. Give one "
            "prediction for each rating, known or not."
        )
    known = ~np.isnan(y_true)
    if not known.any():
        raise ValueError(
            "y_true holds only NaN, so there is no known rating to compare with. Score rows that "
            "have one."
        )
    bad = np.argwhere(known & ~np.isfinite(y_pred))
    if len(bad):
        place = ", column ".join(map(str, bad[0]))
        raise ValueError(
            f"Each known rating needs a finite prediction, but y_pred holds "
            f"{y_pred[tuple(bad[0])]} at row {place}, and {len(bad)} of {known.sum()} known "
            "ratings have no finite prediction."
        )
    weight = check_weights(sample_weight, y_true)
    weights = np.broadcast_to(weight.reshape(-1, *[1] * (y_true.ndim - 1)), y_true.shape)[known]
    if not weights.any():
        raise ValueError(
            "All known ratings have sample_weight 0. Give one of them a positive weight."
        )
    return float(np.sqrt(np.average((y_true[known] - y_pred[known]) ** 2, weights=weights)))


#: Negative error for `scoring=` in `cross_val_score`, `GridSearchCV` and similar tools. It accepts
#: NaN in y, which the scorers of scikit-learn refuse.
neg_masked_root_mean_squared_error_scorer = make_scorer(
    masked_root_mean_squared_error, greater_is_better=False
)
