"""Global mean and biases as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy
from numbers import Real
from typing import Any, Literal, overload

import numpy as np

from sklrec._core.base import BaseRatingRegressor
from sklrec._core.predict import predicted_with_std
from sklrec._core.readers import n_ids
from sklrec._solvers.least_squares.bias_solver import BiasSolver
from sklrec._utils.state.modules import Module
from sklrec._utils.types import Auto, Column, RatingScale
from sklrec._utils.versions import Interval, StrOptions
from sklrec.modules import BiasModel


class BiasRegressor(BaseRatingRegressor):
    r"""Global mean and biases for rating prediction: the baseline of all other models.

    A rating is predicted as

    .. math:: \hat r_{ui} = m + b_u + b_i

    with a mean :math:`m` and a bias :math:`b` of the user and of the item. They minimise

    .. math:: \sum_{(u, i)} w_{ui} (r_{ui} - m - b_u - b_i)^2
              + c_u \sum_u b_u^2 + c_i \sum_i b_i^2

    exactly, in closed form. A penalty :math:`c` counts in ratings: it is the weight of that many
    ratings at the mean, which shrink a bias towards 0. The mean has no penalty. It is the mean
    over users and items rather than over ratings. A user or item that `fit` did not see has
    bias 0.

    Parameters
    ----------
    user_penalty : float or 'auto', default='auto'
        The penalty :math:`c_u` of the biases of users, from 1e-10 to 1e10. ``'auto'`` takes the
        penalties with the least mean squared leave-one-out error on the training ratings.
    item_penalty : float or 'auto', default='auto'
        The penalty :math:`c_i` of the biases of items, from 1e-10 to 1e10.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs.

    Attributes
    ----------
    module_ : BiasModel
        The fitted ``nn.Module``, in float64.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    global_mean_ : float
        The mean :math:`m`: the prediction for an unknown user and an unknown item.
    user_biases_ : ndarray of shape (n_users_,)
        The biases of the known users, in the order of ``encoder_.categories_[0]``.
    item_biases_ : ndarray of shape (n_items_,)
        The biases of the known items, in the order of ``encoder_.categories_[1]``.
    user_penalty_ : float
        The penalty of users.
    item_penalty_ : float
        The penalty of items.
    noise_variance_ : float
        Estimated variance of a rating around its expected value.
    unknown_user_variance_ : float
        Estimated variance of the biases of unknown users.
    unknown_item_variance_ : float
        Estimated variance of the biases of unknown items.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    rating_statistics_ : tuple of (float, float, float)
        Sum of the weights of all training ratings so far, and their weighted mean and variance.
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_iter_ : int
        Number of calls of `fit` and `partial_fit` that the model comes from.
    loss_curve_ : list of float
        Mean squared error on the training ratings of each of these calls.
    validation_curve_ : list of float
        The same on the validation data. Only with validation data. They change nothing in the
        model.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` has seen.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    MFRegressor : Adds factors of users and items.
    sklrec.modules.BiasModel : The module alone.

    Notes
    -----
    **Weights.** A row of weight 2 equals two rows. The size of the weights therefore matters
    here, unlike in the other models. If all weights are far below 1, the penalties outweigh the
    ratings. Scale the weights to a mean of 1 in that case. Leave-one-out errors leave out one
    unit of weight.

    **Updates.** In `partial_fit` the earlier fit is the prior. Each bias is shrunk towards its
    earlier value, with the weight of its earlier ratings plus the penalty. The mean is too, with
    the weight of all earlier ratings. New users and items start from 0. A log in several calls
    therefore gives nearly the same model as one `fit`. The penalties and variances stay those of
    the first call.

    **Search.** The search for the penalties starts at 4 and takes steps by factors of 4, then 2,
    then 1.41, as long as the leave-one-out error falls. With more than
    100,000 ratings the search uses at most 100,000 of them, those of whole users. The fit itself
    uses all. No random number changes the result.

    **Uncertainty.** The noise variance comes from leave-one-out errors of ratings whose user and
    item have further ratings. The variance of unknown users comes from ratings of users with one
    rating, and in the same way for items. If such ratings are fewer than 50, it is the noise
    variance divided by the penalty.

    References
    ----------
    Koren (2010), "Factor in the Neighbors: Scalable and Accurate Collaborative Filtering",
    :doi:`10.1145/1644873.1644874`.

    Examples
    --------
    >>> from sklrec import BiasRegressor
    >>> X = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["bob", "gin"], ["cat", "rum"]]
    >>> model = BiasRegressor(user_penalty=1, item_penalty=1).fit(X, [5, 2, 4, 3, 1])
    >>> model.predict([["cat", "tea"], ["eve", "tea"]]).round(1)
    array([3.3, 3.8])
    >>> ratings, std = model.predict([["cat", "tea"], ["eve", "tea"]], return_std=True)
    >>> bool(std[1] > std[0])
    True
    """

    # The base class reads these; a fit in closed form has no use for other values.
    device = "cpu"
    random_state = 0
    verbose = 0
    _sides_with_factors = ()
    # Sums outside this range overflow or vanish in squares.
    _sum_of_weights = (1e-100, 1e100)

    _state = {**BaseRatingRegressor._state, "module_": Module(BiasModel)}

    _parameter_constraints = {
        **{
            name: BaseRatingRegressor._parameter_constraints[name]
            for name in ("rating_scale", "user", "item")
        },
        "user_penalty": [StrOptions({"auto"}), Interval(Real, 1e-10, 1e10, closed="both")],
        "item_penalty": [StrOptions({"auto"}), Interval(Real, 1e-10, 1e10, closed="both")],
    }

    def __init__(
        self,
        user_penalty: float | Auto = "auto",
        item_penalty: float | Auto = "auto",
        *,
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
    ):
        self.user_penalty = user_penalty
        self.item_penalty = item_penalty
        self.rating_scale = rating_scale
        self.user = user
        self.item = item

    @overload
    def predict(self, X: Any, *, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, *, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: Any, *, return_std: bool) -> Any: ...

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Predict the ratings of interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        ratings : ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends only on its own row.
        std : ndarray of shape (n_samples,)
            The standard deviation of a rating of weight 1 around its prediction, before clipping:
            the noise and the uncertainty of the two biases. Only if ``return_std=True``.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        return predicted_with_std(self, X, return_std)

    def _new_module(self, rows):
        return BiasModel(*n_ids(self))

    def _continued_module(self, previous, rows):
        return deepcopy(previous.module_).grow(*n_ids(self))

    def _new_solver(self, plan):
        penalties = self.user_penalty, self.item_penalty
        return BiasSolver(*(None if isinstance(p, str) else float(p) for p in penalties))

    @property
    def user_biases_(self) -> np.ndarray:
        """Biases of the known users."""
        return self.module_.user_biases[1:].numpy().copy()

    @property
    def item_biases_(self) -> np.ndarray:
        """Biases of the known items."""
        return self.module_.item_biases[1:].numpy().copy()

    @property
    def user_penalty_(self) -> float:
        """Penalty of users."""
        return self.module_.user_penalty.item()

    @property
    def item_penalty_(self) -> float:
        """Penalty of items."""
        return self.module_.item_penalty.item()

    @property
    def noise_variance_(self) -> float:
        """Variance of a rating around its expected value."""
        return self.module_.noise_variance.item()

    @property
    def unknown_user_variance_(self) -> float:
        """Variance of the biases of unknown users."""
        return self.module_.unknown_user_variance.item()

    @property
    def unknown_item_variance_(self) -> float:
        """Variance of the biases of unknown items."""
        return self.module_.unknown_item_variance.item()
