"""An LSTM over histories as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length

from sklrec._core.base import TRAINING_CONSTRAINTS, BaseRatingRegressor
from sklrec._core.fit import (
    auto_n_factors,
    check_unchanged,
    converted_module,
    minibatch_solver,
)
from sklrec._core.history_reader import HistoryReader
from sklrec._core.padded_reader import PaddedReader
from sklrec._core.predict import predicted
from sklrec._data.checks import TIMESTAMP_KINDS
from sklrec._data.histories import Histories
from sklrec._solvers.minibatch import Optimization
from sklrec._solvers.rowwise import RowwiseAdam
from sklrec._solvers.static_part import StaticPartSolver
from sklrec._utils.runtime import is_shared
from sklrec._utils.state.kinds import BOOL, NUMBER, Choice, Int, Only, Optional, Part
from sklrec._utils.state.modules import Module
from sklrec._utils.types import Auto, Column, Device, Loss, RandomState, RatingScale, Whole
from sklrec._utils.versions import Interval, StrOptions
from sklrec.estimators.bayesian import MAX_FACTORS
from sklrec.modules import LSTMRating, ResidualLSTMRating

READERS = {"interactions": HistoryReader(), "sequences": PaddedReader()}
ADAM = Optimization(torch.optim.Adam, "mean", lambda max_epochs: 0.02, partial_fit_factor=0.3)
# Row-wise Adam is used with more than this many items for each interaction of a batch. With fewer
# items, a step that moves all of them is as fast.
SPARSE_FROM = 4
# alpha="auto" and n_factors="auto" without a static part.
PENALTY, N_FACTORS = 10.0, 32


class SequenceRatingRegressor(BaseRatingRegressor):
    r"""LSTM over a user's history for rating prediction.

    The rating of an item is predicted from the ratings that its user gave before. No parameter
    belongs to a user. The fitted model therefore predicts for new users too, from their history:
    ``predict(X, history=(X_past, y_past))``.

    By default the model has two parts. A static part expects a rating, and an LSTM corrects the
    expectation:

    .. math::

        \hat r_{ui} = \mu + \sigma (p_{ui} + \delta_{ui}), \qquad
        p_{ui} = b_i + a_n + \langle w_n, q_i \rangle

    The static part is a Bayesian matrix factorisation with SVD++ terms, the one of
    `BayesianMFRegressor`. After each rating, the user's bias :math:`a_n` and factors :math:`w_n`
    are the posterior mean given the n ratings so far, with :math:`x = (1, q)`:

    .. math::

        (a_n, w_n) &= \Big(\tau \sum_{j \le n} M_j + \Lambda\Big)^{-1}
        \Big(\tau \sum_{j \le n} v_j +
        \Lambda \Big(m + \frac{1}{\sqrt n} \sum_{j \le n} t_{i_j}\Big)\Big) \\
        M_j &= x_{i_j} x_{i_j}^\top + C_{i_j}, \quad v_j = (z_j - b_{i_j}) x_{i_j} - c_{i_j}

    where z are the ratings in units of :math:`\sigma`, and t are the SVD++ terms. C and c are the
    covariances of the item's factors with themselves and with its bias. The prior
    :math:`m, \Lambda` and the precision :math:`\tau` of a rating are learned. At step j the LSTM
    reads the error :math:`z_j - p_j` of the expectation from the ratings before, and moving
    averages of earlier errors. It also reads :math:`p_j`, the logarithm of the time since the
    rating before, and that of j. A net of one hidden layer computes :math:`\delta_{ui}` from its
    state, the averages, :math:`p_{ui}` and the logarithm of n. It is 0 without ratings. In
    training, each expectation comes from item factors that were computed without the user's
    rating. Otherwise the LSTM would see smaller errors than those of new ratings.

    With a number for `alpha` there is no static part. A prediction then reads n ratings with
    deviations :math:`d_j = r_j - \mu - b_{i_j}` and shrunken mean
    :math:`m_n = \sum_{j \le n} d_j / (n + c)`. It is

    .. math::

        \hat r_{ui} &= \mu + b_i + m_n + a_u + \langle p_u, q_i \rangle \\
        (a_u, p_u) &= W h_n + \frac{1}{\sqrt{n + 1}}
        \Big(0, \sum_{j \le n} (d_j - m_n)\, y_{i_j} + z_{i_j}\Big)

    where :math:`h_n` is the last state of an LSTM. Step j of the LSTM reads
    :math:`(d_j - m_{j-1})\, (q_{i_j}, 1)` and the logarithm of the time since the rating before.
    The sum after it reads the same ratings without their order. The item factors
    :math:`q, y, z`, the biases :math:`b` and the constant :math:`c` are learned end to end.

    Parameters
    ----------
    n_factors : int or 'auto', default='auto'
        Number of factors of each item, at most 32 with a static part. ``'auto'`` is 16 with a
        static part, or 8 if there are fewer than 5 ratings for each user and item on average. It
        is 32 without a static part.
    hidden_size : int, default=16
        Number of hidden units of the LSTM.
    input : {'interactions', 'sequences'}, default='interactions'
        Form of X. ``'interactions'``: each row has a user, an item and a timestamp, and `fit`
        sorts the rows of each user by time. ``'sequences'``: each row has padded item codes, see
        Notes.
    bidirectional : bool, default=False
        Whether a second LSTM, and the static part, also read the later ratings of the user that
        `fit` saw. Use it for imputation and for random splits. Do not use it for forecasts.
    items_only : bool, default=False
        Whether to read items without ratings. The LSTM then reads the factors of the items, the
        row's own item last, and a linear unit gives the rating. With ``n_factors=64,
        hidden_size=128, dropout=0, alpha=0`` this is the network of the blog post "PyTorch for
        Recommenders 101".
    dropout : float, default=0.4
        Share of the LSTM's hidden units that training drops. Without a static part, it is the
        share of the user's vector :math:`p_u`, unless ``items_only=True``.
    alpha : 'auto' or float, default='auto'
        ``'auto'`` learns a static part, whose penalties are estimated from the ratings. With
        ``input='sequences'``, ``items_only=True`` or ``loss='quantile'`` it is 10.0. A number
        trains the LSTM without a static part, and is the L2 penalty on the items' factors and
        biases, in units of the ratings' standard deviation. Training minimises the sum of squared
        errors plus `alpha`
        times the sum of squared factors and biases, as in ridge regression. The more ratings an
        item has, the less the penalty shrinks it.
    loss : str or callable, default='squared_error'
        Loss that training minimises. ``'squared_error'`` predicts the mean of a rating,
        ``'absolute_error'`` its median, and ``'quantile'`` its `quantile`. ``'huber'`` is half
        the squared error for small errors and linear for large ones, so that outliers count
        less. The limit is 1.345 times a robust standard deviation of the errors of the start. A
        function or ``nn.Module`` ``loss(prediction, target)`` takes two tensors of shape (n,) in
        units of the ratings, and returns the loss of each rating. If it returns one number for a
        batch, there are no sample weights. `score` stays R2.
    quantile : float, default=0.5
        The quantile that ``loss='quantile'`` predicts, between 0 and 1.
    max_epochs : int, default=9
        Number of passes over the sequences.
    lr : float or 'auto', default='auto'
        Learning rate of the first batch. It falls linearly to 0 over `max_epochs`. ``'auto'`` is
        0.02.
    batch_size : int, default=2048
        Approximate number of interactions in a batch, padding included. Sequences stay whole.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of Adam.
    init_std : float, default=0.2
        Standard deviation of the random start of the item factors :math:`q`. That of :math:`y`
        is half of it. Not used with a static part.
    early_stopping : bool, float or 'auto', default='auto'
        Whether to stop when the validation loss has not fallen for 5 epochs, and to restore the
        epoch with the lowest loss. ``'auto'`` does so if `fit` gets `X_val`. Without `X_val`,
        ``True`` holds out a tenth of the training data, and a float such as 0.2 that share. A
        ``skorch.callbacks.EarlyStopping`` in `callbacks` replaces this rule.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs.
    timestamp : int, str or None, default='auto'
        Position, or name in a DataFrame, of the column of timestamps: numbers or datetimes.
        Datetimes without a time zone are read as UTC. ``'auto'`` is the column named
        ``timestamp`` if a DataFrame has one, else ``None``. ``None`` means no timestamps, see
        Notes.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the previous call. It then trains for
        `max_epochs` with a new schedule of the learning rate.
    callbacks : list, default=None
        Further skorch callbacks, or pairs of a name and a callback. They are not copied. A
        ``skorch.callbacks.LRScheduler`` replaces the linear fall of the learning rate.
        `sklrec.ModelCheckpoint` saves the model during the training.
    device : str or torch.device, default='cpu'
        Device of training and prediction. ``'accelerate'`` is the device that Accelerate gives
        to this process. The processes that ``accelerate launch`` or ``torchrun`` started then
        train together: each gets the same X and y, and each ends with the same model.
        `batch_size` counts the ratings of all processes together. Without a launcher the
        process trains alone. Needs ``pip install sklrec[distributed]``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches, dropout and the held-out part. The
        global random states of torch, numpy and Python stay as they are, except that ``None``
        takes the seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : ResidualLSTMRating or LSTMRating
        The fitted ``nn.Module``, with a static part or without one.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    histories_ : Histories
        Interactions that `fit` and `partial_fit` saw, by user and in time order. `predict` reads
        them. Only if ``input='interactions'``.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1. Only if
        ``input='interactions'``.
    item_factors_ : ndarray of shape (n_items, n_factors)
        The items' factors :math:`q`, in the order of ``encoder_.categories_[1]`` or of the codes.
    n_users_ : int
        Number of known users. Only if ``input='interactions'``.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together. Only if
        ``input='interactions'``.
    n_items_ : int
        Number of items.
    timestamp_index_ : int or None
        Position of the column of timestamps. Only if ``input='interactions'``.
    timestamp_kind_ : {'numbers', 'datetimes', 'datetimes with a time zone'} or None
        Kind of the timestamps. Only if ``input='interactions'``.
    time_unit_ : float
        Median time between ratings of a user. The LSTM reads times in this unit.
    with_ratings_ : bool
        Whether the second half of X's columns holds ratings. Only if ``input='sequences'``.
    n_outputs_ : int
        Number of ratings that `predict` returns for a sequence. Only if ``input='sequences'``.
    noise_variance_ : float
        Variance of the ratings around the static part, which the model learned, in squared units
        of the ratings. Only with a static part.
    global_mean_ : float
        The weighted mean of the training ratings.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    rating_statistics_ : tuple of (float, float, float)
        Sum of the weights of all training ratings so far, and their weighted mean and variance.
    n_iter_ : int
        Number of epochs that were run.
    loss_curve_ : list of float
        Mean loss of each epoch's batches, each before its step and with dropout, without the
        penalty: the mean squared error, or that of another `loss`, in units of the ratings.
    validation_curve_ : list of float
        The same on the validation data after each epoch. Only with validation data.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` and `partial_fit` have seen. Only if
        ``input='interactions'``.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    sklrec.modules.ResidualLSTMRating : The module alone, with a static part.
    sklrec.modules.LSTMRating : The module alone, without one.
    BayesianMFRegressor : The static model, with a posterior of each user from all ratings.
    sklrec.SequenceWindower : Makes padded sequences from interactions.
    sklrec.SequencePadder : Makes padded sequences from ragged ones.

    Notes
    -----
    **Histories.** With timestamps, a row reads the ratings that its user gave strictly
    earlier. Ratings with the same timestamp do not read each other, in training or in prediction.
    Their order in a history is that of the items; without a static part it is random in each
    epoch. Rows may come in any order. Validation rows read the histories of the training rows. Of
    rows with the same user, item and timestamp, a history holds the last one.

    Without timestamps, `fit` takes the order of the rows as time order, and `predict` reads the
    user's whole history except ratings of the same item. Of rows with the same user and item, a
    history holds the last one. A score on the training rows then says
    nothing about a forecast, because each row also reads later ratings. It is also slow, because
    each row has its own history. Score held-out rows, or give timestamps.

    The LSTM runs once over each user's history, not once for each row. Of a long history, a row
    reads the nearest 512 to 1,024 ratings. Without a static part, half of the training targets
    read only a random first part of their history, and a fifth of these read nothing. This
    prepares the model for old histories and for new users. A static part needs no such training.

    `partial_fit` adds interactions to the histories of their users. With timestamps they replace
    earlier interactions of the same user, item and time. New items get new factors, while new
    users need none. The static part updates the items of the new ratings, after the LSTM has
    learned from its errors on them; its prior and its noise stay. With ``warm_start=True``, `fit`
    learns the static part again from the ratings of all calls, and the LSTM continues. `recommend`
    reads the whole history that `fit` and `partial_fit` saw. With ``exclude_seen=False`` the score
    of an item that the user rated depends on that rating.

    **Padded sequences.** With ``input='sequences'`` X has the shape (n_sequences, max_len). It
    holds item codes from 1 upwards, and 0 for padding. A y of shape (n_sequences,) has the rating
    of the item in the last column. A y of shape (n_sequences, max_len) has a rating for each
    position, with NaN where there is no rating. `predict` returns the same shape, with NaN for
    padding. Sample weights belong to sequences.

    Unless ``items_only=True``, X has as many columns again: the ratings of the items, or NaN
    where the model must not read a rating. The last column must be NaN if y has the shape
    (n_sequences,). A position reads only ratings before it. `SequenceWindower` with
    ``ratings=True`` makes such an X. A code that `fit` did not see counts as an unknown item, and
    so does 0 in the last column. `user`, `item` and `timestamp` are not used, and there is no
    `recommend`.

    **Losses.** The static part is learned by squared errors. The start of the training adds the
    constant that minimises the loss of its errors, also for users without a history, and the LSTM
    learns the rest. With ``loss='quantile'`` there is no static part: on MovieLens 100K, 73 % of
    later ratings were between the quantiles 0.1 and 0.9 with one, and 82 % without. The notes of
    `MFRegressor` tell how other losses are minimised.

    **Many items.** Without a static part, row-wise Adam takes over with more than 4 items for each
    interaction of a batch (8,192 items by default). A step then moves only the items of its batch,
    so that its cost does not grow with the catalogue. Momentum of several steps is applied at
    once. The penalty on an item is divided among the batches that contain it. With an `optimizer`,
    each step moves all items.

    Ctrl-C during the training ends `fit` with a KeyboardInterrupt. The estimator then holds the
    model of the steps so far, and a warning says so.

    References
    ----------
    Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", :doi:`10.1162/neco.1997.9.8.1735`.

    Wu, Ahmed, Beutel, Smola, Jing (2017), "Recurrent Recommender Networks",
    :doi:`10.1145/3018661.3018689`.

    Lim, Teh (2007), "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup and
    Workshop.

    For SVD++ terms and the sum without order: Koren (2008), "Factorization Meets the
    Neighborhood", :doi:`10.1145/1401890.1401944`.

    Examples
    --------
    >>> from sklrec import SequenceRatingRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> X.columns.to_list()
    ['user', 'item', 'timestamp']
    >>> split = X["timestamp"].quantile(0.8)
    >>> first, later = X["timestamp"] < split, X["timestamp"] >= split
    >>> lstm = SequenceRatingRegressor(n_factors=8, random_state=0).fit(X[first], y[first])
    >>> lstm.predict(X[later]).shape == y[later].shape
    True

    A history adds later ratings without further training:

    >>> lstm.predict(X[later], history=(X, y)).shape == y[later].shape
    True
    """

    _takes_accelerate = True
    _sides_with_factors = ("item",)

    _state = {
        **BaseRatingRegressor._state,
        **{
            name: Only(kind, "input", "interactions")
            for name, kind in {
                "encoder_": BaseRatingRegressor._state["encoder_"],
                "seen_": BaseRatingRegressor._state["seen_"],
                "timestamp_index_": Optional(Int(below="n_columns")),
                "timestamp_kind_": Choice(*TIMESTAMP_KINDS, None),
                "histories_": Part(Histories),
            }.items()
        },
        "with_ratings_": Only(BOOL, "input", "sequences"),
        "n_outputs_": Only(Int(low=1), "input", "sequences"),
        "time_unit_": NUMBER,
        "module_": Module({cls.__name__: cls for cls in (LSTMRating, ResidualLSTMRating)}),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        **TRAINING_CONSTRAINTS,
        "n_factors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "input": [StrOptions({"interactions", "sequences"})],
        "bidirectional": ["boolean"],
        "items_only": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "init_std": [Interval(Real, 0, None, closed="neither")],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str, None],
    }

    histories_: Histories
    module_: Any  # LSTMRating, or ResidualLSTMRating with a static part

    def __init__(
        self,
        n_factors: Whole | Auto = "auto",
        hidden_size: Whole = 16,
        *,
        input: Literal["interactions", "sequences"] = "interactions",
        bidirectional: bool = False,
        items_only: bool = False,
        dropout: float = 0.4,
        alpha: float | Auto = "auto",
        loss: Loss = "squared_error",
        quantile: float = 0.5,
        max_epochs: Whole = 9,
        lr: float | Auto = "auto",
        batch_size: Whole = 2048,
        optimizer: type[torch.optim.Optimizer] | None = None,
        init_std: float = 0.2,
        early_stopping: bool | float | Auto = "auto",
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
        timestamp: Column | None = "auto",
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        verbose: Whole = 0,
    ):
        self.n_factors = n_factors
        self.hidden_size = hidden_size
        self.input = input
        self.bidirectional = bidirectional
        self.items_only = items_only
        self.dropout = dropout
        self.alpha = alpha
        self.loss = loss
        self.quantile = quantile
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.early_stopping = early_stopping
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.timestamp = timestamp
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any, *, history: tuple[Any, Any] | None = None) -> np.ndarray:
        """Predict ratings from histories.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions or padded sequences, columns as in `fit`.
        history : tuple of (X_past, y_past), default=None
            Interactions with the columns of X, and their ratings, to read instead of those that
            `fit` saw. They may be a whole log and contain users that `fit` did not see. Each row
            of X reads the strictly earlier ratings of its user or, without timestamps, all except
            those of the same item. ``None`` reads the interactions of `fit`. After an encoder in
            a Pipeline, X_past must be encoded too:
            ``history=(pipeline[:-1].transform(X_past), y_past)``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, max_len)
            The ratings as float64, inside the rating scale. Each depends only on its row and on
            the history. The second shape is for sequences that were fitted with a rating for each
            position. It has NaN for padding.

        Raises
        ------
        ValueError
            If X or the history is not valid.
        TypeError
            If timestamps are neither numbers nor datetimes.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs of `fit` or of the
            history.
        """
        return predicted(self, X, history)

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        history: tuple[Any, Any] | None = None,
    ) -> float:
        """Compute the coefficient of determination of the predictions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions or padded sequences, columns as in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, max_len)
            The ratings. NaN in the second shape is ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        history : tuple of (X_past, y_past), default=None
            As in `predict`.

        Returns
        -------
        float
            R2. The best value is 1, and 0 is as good as predicting the mean of y.

        Raises
        ------
        ValueError
            If y does not have the shape of the predictions.
        """
        predictions = self.predict(X, history=history)
        y = self._reader.check_y(self, y, input_name="y")
        check_consistent_length(y, predictions, sample_weight)
        if y.shape != predictions.shape:
            raise ValueError(
                f"y must have the shape of the predictions, {predictions.shape}, got {y.shape}."
            )
        if y.ndim == 2:
            rated = ~np.isnan(y)
            if sample_weight is not None:
                sample_weight = np.broadcast_to(np.reshape(sample_weight, (-1, 1)), y.shape)[rated]
            y, predictions = y[rated], predictions[rated]
        return r2_score(y, predictions, sample_weight=sample_weight)

    @property
    def noise_variance_(self) -> float:
        """Variance of the ratings around the static part."""
        if not self.module_.has_static_part:
            raise AttributeError(
                "noise_variance_ belongs to the static part, which this model does not have. Fit "
                "with alpha='auto'."
            )
        return (self.module_.scale.square() / self.module_.users.precision).item()

    @property
    def item_factors_(self) -> np.ndarray:
        """Factors of the known items."""
        return self.module_.item_factors.weight.detach().cpu().numpy()[1:].copy()

    def _check_state(self):
        if self.input == "sequences":
            width = self.n_features_in_ // (1 + self.with_ratings_)
            if self.n_outputs_ not in (1, width):
                raise ValueError(f"n_outputs_ should be one of 1, {width}")

    @property
    def _reader(self):
        return READERS[self.input]

    def _new_module(self, rows):
        arguments = {
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "global_mean": rows.statistics.mean,
            "scale": rows.statistics.scale,
            "generator": rows.generator,
        }
        n_items, n_ratings = rows.start["n_items"], rows.statistics.weight
        sizes = n_items, _n_factors(self, n_ratings), int(self.hidden_size)
        if _learns_static_part(self):
            return ResidualLSTMRating(*sizes, **arguments)
        return LSTMRating(
            *sizes,
            items_only=self.items_only,
            init_std=self.init_std,
            sparse=_takes_sparse_gradients(self, n_items),
            **arguments,
        )

    def _continued_module(self, previous, rows):
        before = previous.module_
        wanted = {"n_factors": self.n_factors, "hidden_size": self.hidden_size}
        if self.n_factors == "auto":
            del wanted["n_factors"]
        wanted |= {"items_only": self.items_only, "bidirectional": self.bidirectional}
        check_unchanged(before, **wanted)
        if _learns_static_part(self) != before.has_static_part:
            kind = "with" if before.has_static_part else "without"
            raise ValueError(
                f"alpha={self.alpha!r} was asked for, but the training continues a model {kind} a "
                "static part, which alpha='auto' learns and a number does not. Set alpha back, or "
                "fit with warm_start=False."
            )
        # A static part has the mean and scale of the fit that learned it.
        module = deepcopy(before) if before.has_static_part else converted_module(self, previous)
        module.grow(rows.start["n_items"], rows.generator)
        module.sparse = _takes_sparse_gradients(self, module.n_items)
        module.dropout.p = self.dropout
        return module

    def _new_solver(self, plan):
        optimizer = self.optimizer or ADAM.optimizer
        if _takes_sparse_gradients(self, self.n_items_):
            optimizer = RowwiseAdam
        alpha = PENALTY if self.alpha == "auto" else self.alpha
        lstm = minibatch_solver(self, ADAM._replace(optimizer=optimizer), alpha, plan)
        if not self.module_.has_static_part:
            return lstm
        # partial_fit updates a static part. fit learns it anew from all ratings, and so does
        # partial_fit when their number has doubled, or if they were all equal.
        earlier = None
        if plan.is_partial and (previous := plan.previous) is not None:
            n_ratings = 2 * previous.module_.users.n_ratings.item()
            if len(self.histories_.items) < n_ratings and previous.rating_statistics_.variance > 0:
                earlier = previous.histories_
        return StaticPartSolver(lstm, self.rating_statistics_, earlier)


def _learns_static_part(model):
    """Whether the parameters ask for a static part."""
    # Quantiles of users without a history were too near to the mean with a static part.
    is_auto = model.alpha == "auto" and model.loss != "quantile"
    return is_auto and model.input == "interactions" and not model.items_only


def _n_factors(model, n_ratings):
    is_static = _learns_static_part(model)
    if model.n_factors == "auto":
        return auto_n_factors(model, n_ratings) if is_static else N_FACTORS
    if is_static and model.n_factors > MAX_FACTORS:
        raise ValueError(
            f"alpha='auto' learns a joint distribution of all factors of an item, which takes "
            f"at most {MAX_FACTORS} of them, got n_factors={model.n_factors}. Set n_factors to "
            f"at most {MAX_FACTORS}, or give alpha as a number."
        )
    return int(model.n_factors)


def _takes_sparse_gradients(model, n_items):
    if _learns_static_part(model):  # its tables have no gradients
        return False
    is_sparse = model.optimizer is None and n_items > SPARSE_FROM * int(model.batch_size)
    return is_sparse and not is_shared(model.device)  # processes exchange whole tables
