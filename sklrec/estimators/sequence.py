"""An LSTM over histories as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from sklrec._core.minibatch import MinibatchRatingRegressor
from sklrec._core.recommend import RecommenderMixin
from sklrec._data.checks import (
    Interval,
    StrOptions,
    check_interactions,
    check_ratings,
    column_values,
    take_rows,
)
from sklrec._data.histories import Histories
from sklrec._data.padded import (
    check_item_codes,
    check_sequence_ratings,
    check_sequences,
    has_ratings,
    rated_positions,
    split_columns,
    to_histories,
)
from sklrec._data.timestamps import (
    TIMESTAMP_KINDS,
    read_timestamps,
    resolve_timestamp,
    timestamp_kind,
)
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers.distributed import is_shared
from sklrec._solvers.minibatch import Optimization
from sklrec._solvers.rowwise import RowwiseAdam
from sklrec._solvers.sequence_tensors import PLACES_AT_ONCE, SequenceTensors
from sklrec._solvers.static_part import add_expected_ratings, add_ratings, fit_static_part
from sklrec._utils.state.kinds import BOOL, NUMBER, Choice, Int, Only, Optional, Part
from sklrec._utils.state.modules import Module
from sklrec._utils.threads import threads_for
from sklrec._utils.warnings import warn
from sklrec.estimators.bayesian import FEW_FACTORS, MANY_FACTORS, MANY_RATINGS, MAX_FACTORS
from sklrec.modules import LSTMRating, ResidualLSTMRating

ADAM = Optimization(torch.optim.Adam, "mean", lambda max_epochs: 0.02, partial_fit_factor=0.3)
# Row-wise Adam is used with more than this many items for each interaction of a batch. With fewer
# items, a step that moves all of them is as fast.
SPARSE_FROM = 4
# Share of the training targets that read only a random first part of their history. A fifth of
# these read no history. This prepares the model for old histories and for new users.
HISTORY_DROPOUT = 0.5
# Of a longer history, a target reads the nearest ratings on each side: at least this many, and at
# most twice as many.
MAX_LEN = 512
# alpha="auto" and n_factors="auto" without a static part.
PENALTY, N_FACTORS = 10.0, 32
# Fitted attributes that only one value of `input` has.
ATTRIBUTES_OF_INPUT = {"encoder_", "histories_", "seen_", "timestamp_index_", "timestamp_kind_"}
ATTRIBUTES_OF_INPUT |= {"with_ratings_", "n_outputs_"}
# Limits of memory: scores that are held at once, and interactions that are copied at once.
SCORES_AT_ONCE = 2**16
INTERACTIONS_AT_ONCE = 2**22


class SequenceRatingRegressor(RecommenderMixin, MinibatchRatingRegressor):
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

    where z are the ratings in units of :math:`\sigma`, t are the SVD++ terms, C and c are the
    covariances of the item's factors with themselves and with its bias, and the prior
    :math:`m, \Lambda` and the precision :math:`\tau` of a rating are learned. At step j the LSTM
    reads the error :math:`z_j - p_j` of the expectation from the ratings before, moving averages
    of earlier errors, :math:`p_j`, the logarithm of the time since the rating before, and that of
    j. A net of one hidden layer computes :math:`\delta_{ui}` from its state, the averages,
    :math:`p_{ui}` and the logarithm of n. It is 0 without ratings. In training all expectations
    come from items that do not know the user's rating, because otherwise the LSTM would see
    smaller errors than those of new ratings.

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
        ``input='sequences'`` or ``items_only=True`` it is 10.0. A number trains the LSTM without a
        static part, and is the L2 penalty on the items' factors and biases, in units of the
        ratings' standard deviation. Training minimises the sum of squared errors plus `alpha`
        times the sum of squared factors and biases, as in ridge regression. The more ratings an
        item has, the less the penalty shrinks it.
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
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs.
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
    penalties_ : None
        Penalties of rows, which `MFRegressor` and `DenseRecRegressor` learn.
    rating_statistics_ : tuple of (float, float, float)
        Sum of the weights of all training ratings so far, and their weighted mean and variance.
    n_iter_ : int
        Number of epochs that were run.
    loss_curve_ : list of float
        Mean squared error of each epoch's batches, each before its step and with dropout, without
        the penalty.
    validation_curve_ : list of float
        Mean squared error on the validation data after each epoch. Only with validation data.
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
    Their order in a history is that of the items; without a static part each epoch draws it anew.
    Rows may come in any order. Validation rows read the histories of the training rows.

    Without timestamps, `fit` takes the order of the rows as time order, and `predict` reads the
    user's whole history except ratings of the same item. A score on the training rows then says
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
    learns the static part anew from the ratings of all calls, and the LSTM continues. `recommend`
    reads the whole history that `fit` and `partial_fit` saw. With ``exclude_seen=False`` the score
    of an item that the user rated depends on that rating.

    **Padded sequences.** With ``input='sequences'`` X has the shape (n_sequences, max_len): item
    codes from 1 upwards, and 0 for padding. y is the rating of the item in the last column, in
    the shape (n_sequences,). Or it has a rating for each position, in the shape
    (n_sequences, max_len), with NaN where there is no rating. `predict` returns the same shape,
    with NaN for padding. Sample weights belong to sequences.

    Unless ``items_only=True``, X has as many columns again: the ratings of the items, or NaN
    where the model must not read a rating. The last column must be NaN if y has the shape
    (n_sequences,). A position reads only ratings before it. `SequenceWindower` with
    ``ratings=True`` makes such an X. A code that `fit` did not see counts as an unknown item, and
    so does 0 in the last column. `user`, `item` and `timestamp` are not used, and there is no
    `recommend`.

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

    _state = {
        **MinibatchRatingRegressor._state,
        **{
            name: Only(kind, "input", "interactions")
            for name, kind in {
                "encoder_": MinibatchRatingRegressor._state["encoder_"],
                "seen_": MinibatchRatingRegressor._state["seen_"],
                "timestamp_index_": Optional(Int(below="n_columns")),
                "timestamp_kind_": Choice(*TIMESTAMP_KINDS, None),
                "histories_": Part(Histories),
            }.items()
        },
        "with_ratings_": Only(BOOL, "input", "sequences"),
        "n_outputs_": Only(Int(low=1), "input", "sequences"),
        "time_unit_": NUMBER,
        "n_items_": Int(size="n_items"),
        "module_": Module({cls.__name__: cls for cls in (LSTMRating, ResidualLSTMRating)}),
    }

    def _check_state(self):
        if self.input == "sequences":
            width = self.n_features_in_ // (1 + self.with_ratings_)
            if self.n_outputs_ not in (1, width):
                raise ValueError(f"n_outputs_ should be one of 1, {width}")

    _parameter_constraints = {
        **MinibatchRatingRegressor._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
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
        n_factors="auto",
        hidden_size=16,
        *,
        input="interactions",
        bidirectional=False,
        items_only=False,
        dropout=0.4,
        alpha="auto",
        max_epochs=9,
        lr="auto",
        batch_size=2048,
        optimizer=None,
        init_std=0.2,
        early_stopping="auto",
        rating_scale="auto",
        user=0,
        item=1,
        timestamp="auto",
        warm_start=False,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.hidden_size = hidden_size
        self.input = input
        self.bidirectional = bidirectional
        self.items_only = items_only
        self.dropout = dropout
        self.alpha = alpha
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

    def predict(self, X, *, history=None):
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
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        inputs = self._inputs(X)
        if self.input == "sequences":
            if history is not None:
                raise ValueError(
                    "history is for input='interactions', got a history with input='sequences'. "
                    "Leave it out: X itself holds the earlier items and ratings."
                )
            return self._predict_padded(inputs)
        histories, users = self.histories_, inputs["users"]
        if history is None:
            self._warn_of_kind(X, inputs)
        else:
            self._warn_of_items(X, inputs)
            histories, users = self._read_history(X, history)
        return self._predict_interactions(histories, users, inputs["items"], inputs.get("times"))

    def score(self, X, y, sample_weight=None, *, history=None):
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
        y = self._check_y(y, y_name="y")
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
    def noise_variance_(self):
        """Variance of the ratings around the static part."""
        if not self._has_static_part:
            raise AttributeError(
                "noise_variance_ belongs to the static part, which this model does not have. Fit "
                "with alpha='auto'."
            )
        return (self.module_.scale.square() / self.module_.users.precision).item()

    @property
    def item_factors_(self):
        """Factors of the known items."""
        return self.module_.item_factors.weight.detach().cpu().numpy()[1:].copy()

    # --- reading X and y

    def _check_X(self, X, *, reset):
        if not reset:
            self._check_input_unchanged()
        check = check_sequences if self.input == "sequences" else check_interactions
        return check(self, X, reset=reset)

    def _check_input_unchanged(self):
        """Raise if `input` differs from that of the fit."""
        fitted = "interactions" if hasattr(self, "encoder_") else "sequences"
        if fitted != self.input:
            raise ValueError(
                f"input={self.input!r} was asked for, but the model was fitted with "
                f"input={fitted!r}. Set it back, or fit anew with warm_start=False."
            )

    def _check_y(self, y, *, y_name):
        check = check_sequence_ratings if self.input == "sequences" else check_ratings
        return check(self, y, input_name=y_name)

    def _learn(self, X, y, weight, previous):
        """Learn everything but the module, and return the inputs of the rows of X."""
        if previous is None:
            for name in ATTRIBUTES_OF_INPUT & set(vars(self)):
                delattr(self, name)  # from an earlier fit, whose `input` may differ
        if self.input == "sequences":
            return self._learn_sequences(X, y, previous)
        timestamp_index = resolve_timestamp(self, self.timestamp, X)
        if previous is None:
            self._learn_timestamps(X, timestamp_index)
        elif timestamp_index != self.timestamp_index_:
            raise ValueError(
                f"timestamp={self.timestamp!r} was asked for, but the training continues a "
                f"model of timestamps in column {self.timestamp_index_}. Set it back, or fit with "
                "warm_start=False."
            )
        inputs = super()._learn(X, y, weight, previous)
        self.n_items_ = len(self.encoder_.vocabularies_[1])
        self.histories_ = self._histories(inputs, y, previous)
        self.time_unit_ = self.histories_.median_gap() if self.histories_.timed else 1.0
        return inputs

    def _learn_timestamps(self, X, index):
        self.timestamp_index_, self.timestamp_kind_ = index, None
        if index is not None:
            self.timestamp_kind_ = timestamp_kind(
                column_values(X, index), self._column_name(index)
            )
        elif self.timestamp == "auto" and X.shape[1] > 2:
            warn(
                "timestamp='auto' found no column named 'timestamp'. The order of the rows is "
                "taken as time order, and predict reads the whole history of a user. Set "
                "timestamp to the position or name of a column, or to None if there is none."
            )

    def _learn_sequences(self, X, y, previous):
        if previous is None:
            self.with_ratings_ = has_ratings(X, y)
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        self.rating_scale_ = self._new_rating_scale(y[~np.isnan(y)], previous is not None)
        if not (self.with_ratings_ or self.items_only):
            raise ValueError(
                "items_only=False reads past ratings, but X holds only items. Append the ratings "
                "as further columns, as SequenceWindower(ratings=True) does, or set "
                "items_only=True. (If X has the ratings already: the last one is the one to "
                "predict, and must be NaN.)"
            )
        items, _ = split_columns(X, self.with_ratings_)
        check_item_codes(X, items)
        self.time_unit_ = 1.0
        self.n_items_ = max(int(items.max()), 1 if previous is None else previous.n_items_)
        return self._inputs(X)

    def _inputs(self, X, rows=slice(None)):
        if self.input == "sequences":
            items, ratings = split_columns(X[rows], self.with_ratings_)
            inputs = {"is_item": items > 0, "items": np.where(items > self.n_items_, 0, items)}
            return inputs if ratings is None else {**inputs, "ratings": ratings}
        inputs = super()._inputs(X, rows)
        if self.timestamp_index_ is not None:
            values = column_values(X, self.timestamp_index_)[rows]
            inputs["times"] = read_timestamps(
                values,
                self._column_name(self.timestamp_index_),
                self.timestamp_kind_,
                first_row=rows.start or 0,
            )
        return inputs

    def _warn_of_kind(self, X, unknown):
        if self.input == "interactions":
            super()._warn_of_kind(X, unknown)

    def _warn_of_items(self, X, inputs):
        """Warn if items are of another kind than in `fit`; users of a history may be new."""
        vocabulary, values = self._id_columns(X)[1]
        n_unknown = int(np.count_nonzero(inputs["items"] == 0))
        if n_unknown and (message := vocabulary.kind_mismatch(values, n_unknown)):
            warn(message)

    def _column_name(self, position):
        names = getattr(self, "feature_names_in_", None)
        return position if names is None else names[position]

    # --- the network

    def _new_module(self, statistics, generator):
        arguments = {
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "global_mean": statistics.mean,
            "scale": statistics.scale,
            "generator": generator,
        }
        sizes = self.n_items_, self._n_factors(statistics.weight), int(self.hidden_size)
        if self._learns_static_part():
            return ResidualLSTMRating(*sizes, **arguments)
        return LSTMRating(
            *sizes,
            items_only=self.items_only,
            init_std=self.init_std,
            sparse=self._takes_sparse_gradients(),
            **arguments,
        )

    def _learns_static_part(self):
        return self.alpha == "auto" and self.input == "interactions" and not self.items_only

    @property
    def _has_static_part(self):
        return isinstance(self.module_, ResidualLSTMRating)

    def _n_factors(self, n_ratings):
        is_static = self._learns_static_part()
        if self.n_factors == "auto":
            if not is_static:
                return N_FACTORS
            is_sparse = n_ratings < MANY_RATINGS * (self.n_users_ + self.n_items_)
            return FEW_FACTORS if is_sparse else MANY_FACTORS
        if is_static and self.n_factors > MAX_FACTORS:
            raise ValueError(
                f"alpha='auto' learns a joint distribution of all factors of an item, which takes "
                f"at most {MAX_FACTORS} of them, got n_factors={self.n_factors}. Set n_factors to "
                f"at most {MAX_FACTORS}, or give alpha as a number."
            )
        return int(self.n_factors)

    def _alpha(self):
        return PENALTY if self.alpha == "auto" else self.alpha

    def _grow_module(self, generator):
        names = ["n_factors", "hidden_size", "items_only", "bidirectional"]
        for name in names[self.n_factors == "auto" :]:
            self._refuse_change(name)
        if self._learns_static_part() != self._has_static_part:
            kind = "with" if self._has_static_part else "without"
            raise ValueError(
                f"alpha={self.alpha!r} was asked for, but the training continues a model {kind} a "
                "static part, which alpha='auto' learns and a number does not. Set alpha back, or "
                "fit with warm_start=False."
            )
        self.module_.grow(self.n_items_, generator)
        self.module_.sparse = self._takes_sparse_gradients()
        self.module_.dropout.p = self.dropout

    def _optimization(self):
        if self._takes_sparse_gradients():
            return ADAM._replace(optimizer=RowwiseAdam)
        return ADAM._replace(optimizer=self.optimizer or ADAM.optimizer)

    def _takes_sparse_gradients(self):
        if self._learns_static_part():  # its tables have no gradients
            return False
        is_sparse = self.optimizer is None and self.n_items_ > SPARSE_FROM * int(self.batch_size)
        return is_sparse and not is_shared(self.device)  # processes exchange whole tables

    def _train(self, statistics, training_data, validation_data, generator, previous, **changes):
        # partial_fit updates a static part. fit learns it anew from all ratings, and so does
        # partial_fit when their number has doubled, or if they were all equal.
        updates = previous is not None and changes.get("constant_lr", False)
        if updates and previous._has_static_part:
            n_ratings = len(self.histories_.items)
            updates = n_ratings < 2 * previous.module_.users.n_ratings.item()
            updates &= previous.rating_statistics_.variance > 0
        training_data = partial(training_data, generator=generator, updates=updates)
        return super()._train(
            statistics, training_data, validation_data, generator, previous, **changes
        )

    def _convert(self, before):
        if not self._has_static_part:  # which has the mean and scale of the fit that learned it
            super()._convert(before)

    def _rating_counts(self):
        return {"item": self.seen_.sum(axis=0)} if self.input == "interactions" else {}

    # --- histories, and the ratings to predict from them

    def _histories(self, inputs, y, previous):
        """Histories of all users, added to those of `previous`."""
        n_users = len(self.encoder_.vocabularies_[0]) + 1
        times = inputs.get("times")
        histories = Histories(inputs["users"], inputs["items"], y, times, n_users)
        return histories if previous is None else previous.histories_.extended(histories)

    def _training_data(self, inputs, y, weight, previous, *, generator=None, updates=False):
        if self.input == "sequences":
            data = self._padded_tensors(inputs, y, weight)
            self._count_for_penalty(data, previous)
            return data
        histories = self._histories(inputs, y, previous)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        if times is None:
            times = histories.latest_positions(users)
        if self._has_static_part:
            data = self._tensors(histories, users, items, times, y, weight)
            places, weights = self._places_and_weights(inputs, weight, previous)
            device = self.module_.global_mean.device
            self.module_.cpu()
            with threads_for(PLACES_AT_ONCE, self.module_.width):
                if updates:
                    self._update_static_part(data, weights, previous)
                else:
                    self.module_.global_mean.fill_(self.rating_statistics_.mean)
                    self.module_.scale.fill_(self.rating_statistics_.scale)
                    left_out = fit_static_part(self.module_, histories, weights.numpy(), generator)
                    add_expected_ratings(self.module_, data, left_out, weights, places)
            self.module_.to(device)
            return data
        data = self._tensors(
            histories, users, items, times, y, weight, history_dropout=HISTORY_DROPOUT
        )
        self._count_for_penalty(data)
        return data

    def _update_static_part(self, data, weights, previous):
        """Compute what the LSTM reads, and then let the items read the new ratings too."""
        add_expected_ratings(self.module_, data)
        histories = data.histories
        ratings = torch.from_numpy(histories.ratings)
        add_ratings(
            self.module_.users,
            histories,
            self.module_._from_ratings(ratings, self.module_.scale),
            histories.is_missing_in(previous.histories_),
            weights,
        )

    def _places_and_weights(self, inputs, weight, previous):
        """Places of the rows in the histories, and weights there: 1 for those of earlier fits."""
        numbers = self._histories(inputs, np.arange(len(weight)), None)
        if previous is not None:
            before = copy(previous.histories_)
            before.ratings = np.full(len(before.items), -1)
            numbers = before.extended(numbers)
        rows = torch.from_numpy(numbers.ratings)
        is_here = rows >= 0
        weights = torch.ones(len(rows), dtype=torch.float64)
        weights[is_here] = torch.from_numpy(weight).double()[rows[is_here]]
        places = torch.empty(len(weight), dtype=torch.int64)
        places[rows[is_here]] = torch.nonzero(is_here).squeeze(1)
        return places, weights

    def _count_for_penalty(self, data, previous=None):
        """Count the ratings and the lookups of each item, over which the penalty is divided."""
        module = self.module_
        codes = torch.cat([torch.from_numpy(data.histories.items), data.X["items"]])
        n_lookups = torch.bincount(codes, minlength=self.n_items_ + 1)
        n_lookups = n_lookups.to(module.item_factors.weight)
        module.n_ratings = len(data) if self.input == "sequences" else len(data.histories.items)
        if previous is not None:
            module.n_ratings += previous.module_.n_ratings
            before = previous.module_.n_lookups.to(n_lookups)
            n_lookups[: len(before)] += before
        module.n_lookups = n_lookups

    def _validation_data(self, inputs, y, weight, training):
        if self.input == "sequences":
            return self._padded_tensors(inputs, y, weight)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        histories = training.histories
        if times is None:
            histories, users = histories.without_targets(users, items)
        data = self._tensors(histories, users, items, times, y, weight)
        if self._has_static_part:
            device = self.module_.global_mean.device
            add_expected_ratings(self.module_.cpu(), data)
            self.module_.to(device)
        return data

    def _padded_tensors(self, inputs, y, weight):
        items = inputs["items"]
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise ValueError(
                f"The model predicts {self.n_outputs_} rating(s) for each sequence, but ratings "
                f"came with shape {y.shape}. Give y and y_val the same number of columns."
            )
        histories, places = to_histories(items, inputs.get("ratings"))
        row, column = rated_positions(items, y)
        return self._tensors(
            histories,
            row,
            items[row, column],
            places[row, column],
            y if y.ndim == 1 else y[row, column],
            weight[row],
        )

    def _tensors(self, histories, sequences, items, times, y=None, weight=None, **params):
        return SequenceTensors(
            histories,
            sequences,
            items,
            times,
            y,
            weight,
            time_unit=self.time_unit_,
            max_len=MAX_LEN,
            bidirectional=self.module_.bidirectional,
            **params,
        )

    # --- prediction

    def _predict_interactions(self, histories, users, items, times):
        if times is not None:
            return self._rate(self._tensors(histories, users, items, times))
        ratings = np.empty(len(users))
        # Each row reads a copy of the history without its item. Copies for all rows at once could
        # exceed the memory.
        block = np.cumsum(histories.lengths[users]) // INTERACTIONS_AT_ONCE
        for rows in np.split(np.arange(len(users)), np.flatnonzero(np.diff(block)) + 1):
            copies, sequences = histories.without_targets(users[rows], items[rows])
            ratings[rows] = self._rate(self._tensors(copies, sequences, items[rows], None))
        return ratings

    def _predict_padded(self, inputs):
        data, where = self._padded_targets(inputs)
        if self.n_outputs_ == 1:
            return self._rate(data)
        ratings = np.full(inputs["items"].shape, np.nan)
        ratings[where] = self._rate(data)
        return ratings

    def _padded_targets(self, inputs):
        """Targets in padded sequences, and their rows and columns."""
        items = inputs["items"]
        histories, places = to_histories(items, inputs.get("ratings"))
        where = np.nonzero(inputs["is_item"])
        if self.n_outputs_ == 1:
            where = np.arange(len(items)), np.full(len(items), items.shape[1] - 1)
        return self._tensors(histories, where[0], items[where], places[where]), where

    def _rate(self, data):
        """Predict clipped ratings of targets, in the given order."""
        ratings = np.empty(len(data))
        data.to(self.module_.global_mean.device)
        with torch.inference_mode(), threads_for(PLACES_AT_ONCE, self.module_.width):
            for rows, past, targets in data.whole_batches():
                ratings[rows] = self.module_(**past, **targets).cpu().numpy()
        return self._clip(ratings)

    def _read_history(self, X, history):
        """Make histories from (X_past, y_past), and find the sequence of each row of X in them."""
        X_past, y_past = self._check_history(X, history)
        position = self.encoder_.column_indices_[0]
        vocabulary, users = Vocabulary.build(
            column_values(X_past, position), self._column_name(position)
        )
        values = column_values(X, position)
        sequences = vocabulary.codes(values)
        if message := vocabulary.kind_mismatch(values, int(np.count_nonzero(sequences == 0))):
            warn(message)
        is_read = np.zeros(len(vocabulary) + 1, dtype=bool)
        is_read[sequences[sequences > 0]] = True
        rows = is_read[users] & ~np.isnan(y_past)  # the only ones that X reads
        users, y_past = users[rows], y_past[rows]
        X_past = take_rows(X_past, rows)
        inputs = self._inputs(X_past)
        self._warn_of_items(X_past, inputs)
        times = inputs.get("times")
        return Histories(users, inputs["items"], y_past, times, len(is_read)), sequences

    def _check_history(self, X, history):
        """Return the checked X_past and y_past of a history, or raise."""
        try:
            X_past, y_past = history
        except (TypeError, ValueError) as error:
            raise ValueError(
                "history must be a pair (X_past, y_past) of interactions with the columns of X "
                f"and their ratings, got {type(history).__name__}. Pass history=(X_past, y_past)."
            ) from error
        if hasattr(X_past, "shape") and X_past.shape[0] == 0:  # no history yet
            X_past, y_past = X[:1], np.array([np.nan])
        else:
            X_past = check_interactions(self, X_past, reset=False)
            y_past = check_ratings(self, y_past, input_name="y_past")
        check_consistent_length(X_past, y_past)
        return X_past, y_past

    # --- recommending

    def _check_recommends(self):
        super()._check_recommends()
        if self.input == "sequences":
            raise ValueError(
                "Recommending needs input='interactions', got input='sequences', whose X has "
                "neither users nor item IDs. Fit a model of interactions."
            )

    def _similar(self, side, ids, n, metric):
        if side == "user":
            raise ValueError(
                "similar_users compares the factors of users, but this model has no factors of "
                "users. Use similar_items, or similar_users of MFRegressor."
            )
        return super()._similar(side, ids, n, metric)

    def _scores(self, users, items):
        data = self._tensors(self.histories_, users, np.ones_like(users), None)
        device = self.module_.global_mean.device
        data.to(device)
        scores = torch.empty(len(users), len(items))
        candidates = torch.from_numpy(items).to(device)
        users_at_once = max(1, SCORES_AT_ONCE // len(items))
        with torch.inference_mode(), threads_for(PLACES_AT_ONCE, self.module_.width):
            for rows, past, targets in data.whole_batches():
                targets.pop("items")
                read = self.module_._select(self.module_.read(**past), **targets)
                for first in range(0, len(rows), users_at_once):
                    block = slice(first, first + users_at_once)
                    of_pairs = {
                        name: values[block].repeat_interleave(len(items), 0)
                        for name, values in read.items()
                    }
                    n_users = len(rows[block])
                    found = self.module_._score(of_pairs, candidates.repeat(n_users))
                    scores[rows[block]] = found.reshape(n_users, -1).cpu()
        return scores
