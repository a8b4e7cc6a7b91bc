"""An LSTM over histories as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from sklrec._core.base import mean_and_scale
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
from sklrec._data.timestamps import read_timestamps, resolve_timestamp, timestamp_kind
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers import Optimization
from sklrec._solvers.distributed import is_shared
from sklrec._solvers.rowwise_adam import RowwiseAdam
from sklrec._solvers.sequence_tensors import PLACES_AT_ONCE, SequenceTensors
from sklrec._utils.threads import threads_for
from sklrec._utils.warnings import warn
from sklrec.modules import LSTMRating

ADAM = Optimization(torch.optim.Adam, "mean", lambda max_epochs: 0.02, further=0.3)
# Items for each place of a batch from which on only the touched ones are moved.
# Where items are that many, both ways take the same time.
SPARSE_FROM = 4
# Share of the training targets that read only a random first part of their history, or, a fifth of
# them, nothing. It prepares the model for old histories and for new users.
HISTORY_DROPOUT = 0.5
# Ratings of a longer history that are read at least, the nearest on either side. Twice as many are
# read at most.
MAX_LEN = 512
# What tells the two inputs apart.
FITTED_FORM = {"encoder_", "histories_", "seen_", "timestamp_index_", "timestamp_kind_"}
FITTED_FORM |= {"with_ratings_", "n_outputs_"}
# Scores that are held at once, and interactions that are copied at once.
SCORES_AT_ONCE = 2**16
INTERACTIONS_AT_ONCE = 2**22


class SequenceRatingRegressor(RecommenderMixin, MinibatchRatingRegressor):
    r"""An LSTM over a user's history for rating prediction.

    The rating of an item is predicted from the ratings that its user gave before. No parameter
    belongs to a user, so that one whom `fit` did not see is served as soon as there is a history
    of them: ``predict(X, history=(X_past, y_past))``.

    With the deviations :math:`d_j = r_j - \mu - b_{i_j}` of the n ratings that are read, and
    their shrunken mean :math:`m_n = \sum_{j \le n} d_j / (n + c)`,

    .. math::

        \hat r_{ui} &= \mu + b_i + m_n + a_u + \langle p_u, q_i \rangle \\
        (a_u, p_u) &= W h_n + \frac{1}{\sqrt{n + 1}}
        \Big(0, \sum_{j \le n} (d_j - m_n)\, y_{i_j} + z_{i_j}\Big)

    where :math:`h_n` is the state of an LSTM that has read
    :math:`(d_j - m_{j-1})\, (q_{i_j}, 1)` and the logarithm of the time since the rating before,
    step by step. The sum beside it knows the same ratings without their order. Item factors
    :math:`q, y, z`, biases :math:`b` and :math:`c` are learned end to end.

    Parameters
    ----------
    n_factors : int, default=32
        Number of factors of each item.
    hidden_size : int, default=16
        Number of hidden units of the LSTM.
    input : {'interactions', 'sequences'}, default='interactions'
        What X is. ``'interactions'`` are rows of a user, an item and a timestamp; `fit` makes
        each user's rows one sequence, in time order. ``'sequences'`` are rows of padded item
        codes, see Notes.
    bidirectional : bool, default=False
        Whether a second LSTM also reads what came after the row, that is, all other ratings of
        the user that `fit` saw. For imputation, and for random splits, where the order means
        nothing; a forecast must not use it.
    items_only : bool, default=False
        Whether to read items and nothing else: their factors, the row's own item last, through
        the LSTM into one linear unit. That is the network of the 2018 post, with
        ``n_factors=64, hidden_size=128, dropout=0, alpha=0``.
    dropout : float, default=0.4
        Share of the user's vector :math:`p_u`, or of the hidden units if ``items_only=True``,
        that is dropped in training.
    alpha : float, default=10.0
        L2 penalty on the items' factors and biases, in units of the ratings' standard deviation:
        the sum of the squared errors and `alpha` times that of the squared factors and biases is
        minimised, as in ridge regression. So an item's own part weighs the less, the more often
        it is rated.
    max_epochs : int, default=9
        Number of passes over the sequences.
    lr : float or 'auto', default='auto'
        Learning rate at the start; ``'auto'`` is 0.02.
    batch_size : int, default=2048
        About how many interactions a batch holds, padding included; sequences stay whole.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of Adam.
    init_std : float, default=0.2
        Standard deviation of the random start of the item factors :math:`q`; half of it that of
        :math:`y`.
    early_stopping : bool, float or 'auto', default='auto'
        Whether to stop when the validation loss has not fallen for 5 epochs, and to restore the
        epoch with the lowest loss. ``'auto'`` does so if `fit` gets `X_val`. ``True`` without
        `X_val` holds out a tenth of the training data, and a float that share of it. A
        ``skorch.callbacks.EarlyStopping`` in `callbacks` takes the place of this rule.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs.
    timestamp : int, str or None, default='auto'
        Position, or name in a DataFrame, of the column of timestamps: numbers, or datetimes,
        which are read as UTC if they have no time zone. ``'auto'`` is the column named
        ``timestamp`` of a DataFrame that has one, else none. ``None`` is none, see Notes.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the previous call, as `partial_fit` does, but
        for `max_epochs` and with the schedule.
    callbacks : list, default=None
        Further skorch callbacks, used as they are, not copied. A
        ``skorch.callbacks.LRScheduler`` takes the place of the linear fall of the learning rate.
        `ModelCheckpoint` saves the model while it is trained.
    device : str or torch.device, default='cpu'
        Where to train and predict. ``'accelerate'`` is the device that Accelerate gives to this
        process; the processes that ``accelerate launch`` or ``torchrun`` started train together.
        All of them fit to the same X and y, and end with the same model. `batch_size` is that of
        all their parts together. A process that was not launched trains alone. Needs
        ``pip install sklrec[distributed]``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of batches, dropout and the held-out part. torch's,
        numpy's and Python's global random states are left as they are, save that ``None``
        takes the seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : LSTMRating
        The fitted ``nn.Module``.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    histories_ : Histories
        What `predict` reads: the interactions that `fit` and `partial_fit` saw, by user and in
        time order. Only if ``input='interactions'``.
    encoder_ : IDEncoder
        Maps IDs to codes; the ID in place k of ``categories_`` has the code k + 1. Only if
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
        What the timestamps are. Only if ``input='interactions'``.
    time_unit_ : float
        The median time between ratings of a user, the unit in which the LSTM is told times.
    with_ratings_ : bool
        Whether the second half of X's columns holds ratings. Only if ``input='sequences'``.
    n_outputs_ : int
        Number of ratings that `predict` gives for a sequence. Only if ``input='sequences'``.
    global_mean_ : float
        The weighted mean of the training ratings.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    n_iter_ : int
        Number of epochs that were run.
    loss_curve_ : list of float
        Mean squared error of each epoch's batches, each before its step and with dropout; the
        penalty is not in it.
    validation_curve_ : list of float
        Mean squared error on the validation data after each epoch. Only if there are any.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Which codes of items the codes of users have ratings of. Only if
        ``input='interactions'``.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if they are all strings.

    See Also
    --------
    sklrec.modules.LSTMRating : The module alone.
    sklrec.SequenceWindower : Makes padded sequences of interactions.
    sklrec.SequencePadder : Makes padded sequences of ragged ones.

    Notes
    -----
    **What is read.** With timestamps a row reads what its user rated strictly earlier; ratings of
    one and the same time do not see each other, neither in training nor afterwards. Their order
    is drawn anew in each epoch. Without timestamps the order of the rows is that of time in
    `fit`, and `predict` reads all of the user's history except ratings of the very same item.
    A score on the training rows then tells nothing about a forecast: each of them is predicted
    also from what came after it, and it takes long, since each has a history of its own. Score
    held-out rows, or give timestamps.

    A training target reads the state before it, so that the LSTM runs once over each user's
    history, not once for each row. Of a long history a row reads the nearest 512 to 1,024 ratings.
    In training, half of the targets read only a random first part of their history, and a fifth
    of these read nothing: practice for old histories and for new users.

    **Padded sequences.** With ``input='sequences'`` X has the shape (n_sequences, max_len): item
    codes from 1 upwards, and 0 for padding. y has the shape (n_sequences,) and is the rating of
    the item in the last column, or (n_sequences, max_len), with NaN where there is nothing to
    predict. `predict` answers in the same shape, with NaN for padding. Unless
    ``items_only=True``, X has as many columns again: the items' ratings, NaN where there is none
    to be read, and always for the last column if y has the shape (n_sequences,). A position reads
    ratings before it only. `SequenceWindower` with ``ratings=True`` makes such an X. A code that
    `fit` did not see counts as an unknown item, as 0 does in the last column. `user`, `item` and
    `timestamp` are not used, and there is nobody to `recommend` to.

    **Many items.** From 4 items for each interaction of a batch on (8,192 by default), a step of
    Adam moves only the factors and biases of items that its batch holds, each at once by all that
    Adam would move it by momentum, and the penalty on an item is shared out among the batches that
    hold it. A step then costs no more for a larger catalogue. With fewer, or with an `optimizer`,
    all items move in each step.

    Ctrl-C during the training ends `fit` with a KeyboardInterrupt, but leaves a usable model,
    that of the steps so far, and a warning. Before the training it leaves the estimator as it
    was. So does any error.

    References
    ----------
    Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", :doi:`10.1162/neco.1997.9.8.1735`;
    Wu, Ahmed, Beutel, Smola, Jing (2017), "Recurrent Recommender Networks",
    :doi:`10.1145/3018661.3018689`; for the sum beside the LSTM, Koren (2008), "Factorization
    Meets the Neighborhood", :doi:`10.1145/1401890.1401944`.

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

    What has come since is read from a history, without training again:

    >>> lstm.predict(X[later], history=(X, y)).shape == y[later].shape
    True
    """

    _takes_accelerate = True

    _parameter_constraints = {
        **MinibatchRatingRegressor._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "input": [StrOptions({"interactions", "sequences"})],
        "bidirectional": ["boolean"],
        "items_only": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "init_std": [Interval(Real, 0, None, closed="neither")],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str, None],
    }

    histories_: Histories
    module_: LSTMRating

    def __init__(
        self,
        n_factors=32,
        hidden_size=16,
        *,
        input="interactions",
        bidirectional=False,
        items_only=False,
        dropout=0.4,
        alpha=10.0,
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

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Fit the model to rated interactions, or to padded sequences.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each and in any order if they have timestamps: users, items
            and timestamps. With ``input='sequences'`` the padded sequences.
        y : array-like of shape (n_samples,) or (n_samples, max_len), default=None
            The ratings, of which there must be some; the second form is for sequences.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, not negative; only their proportions matter. Rows of weight 0
            are as good as absent, also from histories.
        X_val : {DataFrame, array-like} of shape (n_val, n_features), default=None
            Rows to measure the validation loss on after each epoch, and to stop early by unless
            ``early_stopping=False``. Interactions read the histories of X, strictly earlier.
        y_val : array-like of shape (n_val,) or (n_val, max_len), default=None
            The ratings of `X_val`.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weight of each row of `X_val`.

        Returns
        -------
        SequenceRatingRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. The estimator is then as it was before.
        TypeError
            If timestamps are neither numbers nor datetimes.
        KeyboardInterrupt
            If Ctrl-C ended the training; the estimator holds the model of the steps so far.

        Warns
        -----
        UserWarning
            If IDs of `X_val` are of another kind than those of `X`, or if the training was
            interrupted.
        """
        return super().fit(
            X,
            y,
            sample_weight,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
        )

    def predict(self, X, *, history=None):
        """Predict ratings from histories.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions or padded sequences, columns as in `fit`.
        history : tuple of (X_past, y_past), default=None
            Interactions to read in place of those that `fit` saw, with the same columns as X,
            and their ratings. They may be the whole log, and of users whom `fit` did not see:
            each row of X reads what is strictly earlier, or, without timestamps, all but the
            very same item. ``None`` reads what `fit` saw. Behind an encoder in a Pipeline X_past
            has to be encoded too: ``history=(pipeline[:-1].transform(X_past), y_past)``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, max_len)
            The ratings as float64, inside the rating scale. Each row depends on itself and on
            the history alone. The second form answers sequences that were fitted with one rating
            a position; NaN stands for padding.

        Raises
        ------
        ValueError
            If X or the history is not what was asked for.
        TypeError
            If timestamps are neither numbers nor datetimes.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than those that `fit` or the
            history has.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        inputs = self._inputs(X)
        if self.input == "sequences":
            if history is not None:
                raise ValueError(
                    "history is for input='interactions'; with input='sequences' X itself holds "
                    "the past, got a history."
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
            The ratings. In the second form NaN is not scored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        history : tuple of (X_past, y_past), default=None
            As in `predict`.

        Returns
        -------
        float
            1 at best; 0 is as good as the mean of y.

        Raises
        ------
        ValueError
            If y does not have the form of the predictions.
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

    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on further interactions or sequences.

        The first call starts a model; later ones go on with it, at 0.3 of the learning rate.
        Interactions join the histories of their users, in place of those with the same user,
        item and timestamp that are there already. New items get factors of their own; new users
        need none. The global mean stays that of the first call. An automatic rating scale widens
        with what comes.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions or padded sequences, columns as at the first call.
        y : array-like of shape (n_samples,) or (n_samples, max_len)
            The ratings, in the form of the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, not negative; only their proportions matter.

        Returns
        -------
        SequenceRatingRegressor
            The estimator.
        """
        return super().partial_fit(X, y, sample_weight)

    def recommend(self, users, n_items=10, *, exclude_seen=True, candidates=None):
        """Recommend the items with the highest predicted ratings.

        All of a user's history is read that `fit` and `partial_fit` saw. So with
        ``exclude_seen=False`` the score of an item that the user has rated knows that rating.

        Parameters
        ----------
        users : array-like of shape (n_users,)
            User IDs. A user whom `fit` did not see gets the items that are rated highest
            regardless of the user.
        n_items : int, default=10
            How many items to recommend to each user; fewer where there are fewer.
        exclude_seen : bool, default=True
            Whether to leave out what the user rated in `fit` and `partial_fit`.
        candidates : array-like of shape (n_candidates,) or dict, default=None
            IDs of the items to choose from; ``None`` is all that `fit` saw. A dict has the IDs
            of users as keys and a list of IDs of items for each user in `users`.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            Columns user, item, rank (from 1) and score (the rating that `predict` gives for a
            row later than the history, to float32's precision), users in the order in which they
            were given. Of items with the same score the one that comes first in
            ``encoder_.categories_[1]`` comes first.

        Raises
        ------
        ValueError
            If ``input='sequences'``, where there are no users.

        Warns
        -----
        UserWarning
            If users are unknown because their IDs are of another kind than those that `fit`
            saw.
        """
        return super().recommend(users, n_items, exclude_seen=exclude_seen, candidates=candidates)

    @property
    def item_factors_(self):
        """Factors of the known items."""
        return self.module_.item_factors.weight.detach().cpu().numpy()[1:].copy()

    # --- what fit learns of X

    def _check_X(self, X, *, reset):
        if not reset:
            fitted = "interactions" if hasattr(self, "encoder_") else "sequences"
            if fitted != self.input:
                raise ValueError(
                    f"input={self.input!r} was asked for, but the model was fitted with "
                    f"input={fitted!r}. Set it back, or fit anew with warm_start=False."
                )
        check = check_sequences if self.input == "sequences" else check_interactions
        return check(self, X, reset=reset)

    def _check_y(self, y, *, y_name):
        check = check_sequence_ratings if self.input == "sequences" else check_ratings
        return check(self, y, input_name=y_name)

    def _learn(self, X, y, weight, previous):
        if previous is None:
            for name in FITTED_FORM & set(vars(self)):
                delattr(self, name)  # of an earlier fit with another input
        if self.input == "sequences":
            return self._learn_sequences(X, y, previous)
        timestamp_index = resolve_timestamp(self, self.timestamp, X)
        if previous is None:
            self._learn_timestamps(X, timestamp_index)
        elif timestamp_index != self.timestamp_index_:
            raise ValueError(
                f"timestamp={self.timestamp!r} was asked for, but the training goes on with a "
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
            self.timestamp_kind_ = timestamp_kind(column_values(X, index), self._name_of(index))
        elif self.timestamp == "auto" and X.shape[1] > 2:
            warn(
                "timestamp='auto' found no column named 'timestamp', so that the order of the "
                "rows is taken for that of time, and predict reads all of a user's history. Give "
                "timestamp= the position or name of a column, or None if there is none.",
                UserWarning,
            )

    def _learn_sequences(self, X, y, previous):
        if previous is None:
            self.with_ratings_ = has_ratings(X, y)
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        self.rating_scale_ = self._new_rating_scale(y[~np.isnan(y)], previous is not None)
        if not (self.with_ratings_ or self.items_only):
            raise ValueError(
                "items_only=False reads past ratings, but X holds items alone. Append the "
                "ratings as further columns, as SequenceWindower(ratings=True) does, or set "
                "items_only=True. (If they are there already: the last one is that to be "
                "predicted, and has to be NaN.)"
            )
        items, _ = split_columns(X, self.with_ratings_)
        check_item_codes(X, items)
        self.time_unit_ = 1.0
        self.n_items_ = max(int(items.max()), 1 if previous is None else previous.n_items_)
        return self._inputs(X)

    def _inputs(self, X, rows=slice(None)):
        if self.input == "sequences":
            items, ratings = split_columns(X[rows], self.with_ratings_)
            inputs = {"there": items > 0, "items": np.where(items > self.n_items_, 0, items)}
            return inputs if ratings is None else {**inputs, "ratings": ratings}
        inputs = super()._inputs(X, rows)
        if self.timestamp_index_ is not None:
            values = column_values(X, self.timestamp_index_)[rows]
            inputs["times"] = read_timestamps(
                values,
                self._name_of(self.timestamp_index_),
                self.timestamp_kind_,
                first_row=rows.start or 0,
            )
        return inputs

    def _warn_of_kind(self, X, unknown):
        if self.input == "interactions":
            super()._warn_of_kind(X, unknown)

    def _warn_of_items(self, X, inputs):
        """Warn of the kind of items alone: whom a history is of, fit need not have seen."""
        vocabulary, values = self._id_columns(X)[1]
        n_unknown = int(np.count_nonzero(inputs["items"] == 0))
        if n_unknown and (message := vocabulary.kind_mismatch(values, n_unknown)):
            warn(message)

    def _name_of(self, position):
        names = getattr(self, "feature_names_in_", None)
        return position if names is None else names[position]

    # --- the network

    def _new_module(self, y, weight, generator):
        rated = ~np.isnan(y)
        if y.ndim == 2:
            weight = np.broadcast_to(weight[:, None], y.shape)
        mean, scale = mean_and_scale(y[rated], weight[rated])
        return LSTMRating(
            self.n_items_,
            int(self.n_factors),
            int(self.hidden_size),
            items_only=self.items_only,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            global_mean=mean,
            scale=scale,
            init_std=self.init_std,
            sparse=self._takes_sparse_gradients(),
            generator=generator,
        )

    def _grow_module(self, generator):
        for name in ("n_factors", "hidden_size", "items_only", "bidirectional"):
            self._refuse_change(name)
        self.module_.grow(self.n_items_, generator)
        self.module_.sparse = self._takes_sparse_gradients()
        self.module_.dropout.p = self.dropout

    def _optimization(self):
        if self._takes_sparse_gradients():
            return ADAM._replace(optimizer=RowwiseAdam)
        return ADAM._replace(optimizer=self.optimizer or ADAM.optimizer)

    def _takes_sparse_gradients(self):
        is_sparse = self.optimizer is None and self.n_items_ > SPARSE_FROM * int(self.batch_size)
        return is_sparse and not is_shared(self.device)  # processes exchange whole tables

    # --- histories and what is to be predicted from them

    def _histories(self, inputs, y, previous):
        """The histories of all users, with what `previous` holds of them."""
        n_users = len(self.encoder_.vocabularies_[0]) + 1
        times = inputs.get("times")
        histories = Histories(inputs["users"], inputs["items"], y, times, n_users)
        return histories if previous is None else previous.histories_.extended(histories)

    def _training_data(self, inputs, y, weight, previous):
        if self.input == "sequences":
            data = self._padded_tensors(inputs, y, weight)
            self._spread_penalty(data, previous)
            return data
        histories = self._histories(inputs, y, previous)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        if times is None:
            times = histories.latest_places(users)
        data = self._tensors(
            histories, users, items, times, y, weight, history_dropout=HISTORY_DROPOUT
        )
        self._spread_penalty(data)
        return data

    def _spread_penalty(self, data, previous=None):
        """Tell the module how many ratings there are, and lookups of items, with those before."""
        module = self.module_
        codes = torch.cat([torch.from_numpy(data.histories.items), data.X["items"]])
        n_lookups = torch.bincount(codes, minlength=self.n_items_ + 1).to(module.scale)
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
            histories, users = histories.apart(users, items)
        return self._tensors(histories, users, items, times, y, weight)

    def _padded_tensors(self, inputs, y, weight):
        items = inputs["items"]
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise ValueError(
                f"The model predicts {self.n_outputs_} rating(s) a sequence, but ratings came "
                f"with shape {y.shape}. Give all y and y_val the same form."
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
        # Histories that lack one item or another are copies: not of all rows at once.
        budget = np.cumsum(histories.lengths[users]) // INTERACTIONS_AT_ONCE
        for rows in np.split(np.arange(len(users)), np.flatnonzero(np.diff(budget)) + 1):
            apart, sequences = histories.apart(users[rows], items[rows])
            ratings[rows] = self._rate(self._tensors(apart, sequences, items[rows], None))
        return ratings

    def _predict_padded(self, inputs):
        data, where = self._padded_targets(inputs)
        if self.n_outputs_ == 1:
            return self._rate(data)
        ratings = np.full(inputs["items"].shape, np.nan)
        ratings[where] = self._rate(data)
        return ratings

    def _padded_targets(self, inputs):
        """What is to be predicted in padded sequences, and the rows and columns where it is."""
        items = inputs["items"]
        histories, places = to_histories(items, inputs.get("ratings"))
        where = np.nonzero(inputs["there"])
        if self.n_outputs_ == 1:
            where = np.arange(len(items)), np.full(len(items), items.shape[1] - 1)
        return self._tensors(histories, where[0], items[where], places[where]), where

    def _rate(self, data):
        """Ratings of targets, in the order in which they were given, clipped."""
        ratings = np.empty(len(data))
        data.to(self.module_.global_mean.device)
        with torch.inference_mode(), threads_for(PLACES_AT_ONCE, self.module_.width):
            for rows, read, asked in data.whole_batches():
                ratings[rows] = self.module_(**read, **asked).cpu().numpy()
        return self._clip(ratings)

    def _read_history(self, X, history):
        """Histories from (X_past, y_past), and the one that each row of X reads."""
        try:
            X_past, y_past = history
        except (TypeError, ValueError) as error:
            raise ValueError(
                "history must be a pair (X_past, y_past): interactions with the columns of X, and "
                f"their ratings; got {type(history).__name__}."
            ) from error
        position = self.encoder_.column_indices_[0]
        if hasattr(X_past, "shape") and X_past.shape[0] == 0:  # a log that has yet to begin
            X_past, y_past = X[:1], np.array([np.nan])
        else:
            X_past = check_interactions(self, X_past, reset=False)
            y_past = check_ratings(self, y_past, input_name="y_past")
        check_consistent_length(X_past, y_past)
        vocabulary, users = Vocabulary.build(
            column_values(X_past, position), self._name_of(position)
        )
        values = column_values(X, position)
        wanted = vocabulary.codes(values)
        if message := vocabulary.kind_mismatch(values, int(np.count_nonzero(wanted == 0))):
            warn(message)
        asked = np.zeros(len(vocabulary) + 1, dtype=bool)
        asked[wanted[wanted > 0]] = True
        rows = asked[users] & ~np.isnan(y_past)  # others are not read
        users, y_past = users[rows], y_past[rows]
        X_past = take_rows(X_past, rows)
        inputs = self._inputs(X_past)
        self._warn_of_items(X_past, inputs)
        times = inputs.get("times")
        return Histories(users, inputs["items"], y_past, times, len(asked)), wanted

    # --- recommending

    def _check_recommends(self):
        super()._check_recommends()
        if self.input == "sequences":
            raise ValueError(
                "Recommending needs input='interactions': with input='sequences' fit saw codes of "
                "items, but neither users nor IDs."
            )

    def _similar(self, side, ids, n, metric):
        if side == "user":
            raise ValueError(
                "similar_users compares the factors of users, of which this model has none: a "
                "user is what their history says. similar_items compares items."
            )
        return super()._similar(side, ids, n, metric)

    def _scores(self, users, items):
        data = self._tensors(self.histories_, users, np.ones_like(users), None)
        device = self.module_.global_mean.device
        data.to(device)
        scores = torch.empty(len(users), len(items))
        candidates = torch.from_numpy(items).to(device)
        at_once = max(1, SCORES_AT_ONCE // len(items))
        with torch.inference_mode(), threads_for(PLACES_AT_ONCE, self.module_.width):
            for rows, read, asked in data.whole_batches():
                states = self.module_.read(**read)
                for first in range(0, len(rows), at_once):
                    some = slice(first, first + at_once)
                    pairs = {
                        name: values[some].repeat_interleave(len(items))
                        for name, values in asked.items()
                    }
                    n_users = len(rows[some])
                    pairs["items"] = candidates.repeat(n_users)
                    ratings = self.module_.rate(states, **pairs)
                    scores[rows[some]] = ratings.reshape(n_users, -1).cpu()
        return scores
