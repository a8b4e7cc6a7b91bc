"""Matrix factorisation as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

from sklrec._base import BaseRatingRegressor, mean_and_scale
from sklrec._recommend import RecommenderMixin
from sklrec._solvers import MINIBATCH_SOLVERS
from sklrec._validation import Interval, StrOptions
from sklrec.modules import MatrixFactorization


class MFRegressor(RecommenderMixin, BaseRatingRegressor):
    r"""Matrix factorisation with biases for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \langle p_u, q_i \rangle

    with the global mean :math:`\mu`, the biases :math:`b` and the factors :math:`p, q` of the
    user and the item. The biases and factors minimise

    .. math:: \sum_{(u, i)} w_{ui} \left[ (r_{ui} - \hat r_{ui})^2
              + \alpha (\|p_u\|^2 + \|q_i\|^2 + b_u^2 + b_i^2) \right]

    over ratings that are scaled to unit standard deviation, so that `alpha` and `lr` mean the
    same on any rating scale. A user or item that `fit` did not see has bias 0 and factors 0: an
    unknown user gets :math:`\mu + b_i`, an unknown item :math:`\mu + b_u`, both :math:`\mu`.

    Parameters
    ----------
    n_factors : int, default=100
        Number of factors of each user and item.
    solver : {'sgd', 'adam'}, default='sgd'
        How the model is trained. ``'sgd'`` is stochastic gradient descent from a small random
        start, in which strong patterns grow first; a step moves only the rows of its batch.
        ``'adam'`` is Adam on the batch's mean, over whole tables.
    biased : bool, default=True
        Whether the model has a global mean and biases.
    alpha : float, default=0.07
        L2 penalty, in units of the ratings' standard deviation, on factors and biases, once for
        each rating.
    max_epochs : int, default=15
        Number of passes over the ratings.
    lr : float or 'auto', default='auto'
        Learning rate at the start. For ``'sgd'`` it is the step for one rating, whatever the
        batch size. ``'auto'`` is ``1.2 / max_epochs``, at most 0.3, for ``'sgd'``, so that more
        epochs make the fit finer but no longer, and 0.02 for ``'adam'``.
    lr_schedule : {'linear', 'constant'}, default='linear'
        Whether the learning rate falls, from batch to batch, linearly to 0 over `max_epochs`.
    batch_size : int, default=4096
        Ratings in a batch.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of the solver's own. It is
        given dense gradients of the batch's mean, as Adam is, and Adam's `lr` if that is
        ``'auto'``.
    init_std : float, default=0.01
        Standard deviation of the factors' random start.
    early_stopping : bool or 'auto', default='auto'
        Whether to stop when the validation loss no longer falls, and to go back to the epoch
        in which it was lowest. ``'auto'`` does so if `X_val` is given to `fit`; ``True``
        without `X_val` holds out a part of the training data.
    validation_fraction : float, default=0.1
        Share of the training data to hold out for early stopping if `X_val` is not given.
    n_iter_no_change : int, default=5
        Number of epochs without a lower validation loss after which to stop.
    tol : float, default=1e-4
        By how much the validation loss must fall to count as lower, as a share of the variance
        of the ratings.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs. Columns other than these
        two are not used.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the previous call, as `partial_fit` does, but
        for `max_epochs` and with the schedule.
    callbacks : list, default=None
        Further skorch callbacks. They are used as they are, not copied.
    device : str or torch.device, default='cpu'
        Where to train and predict.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches and the held-out part. torch's,
        numpy's and Python's global random states are left as they are, save that ``None``
        takes the seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : MatrixFactorization
        The fitted ``nn.Module``.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    encoder_ : IDEncoder
        Maps IDs to codes; the ID in place k of ``categories_`` has the code k + 1.
    user_factors_ : ndarray of shape (n_users, n_factors)
        The users' factors, in the order of ``encoder_.categories_[0]``; in units in which
        dot products are ratings.
    item_factors_ : ndarray of shape (n_items, n_factors)
        The items' factors, in the order of ``encoder_.categories_[1]``.
    user_biases_ : ndarray of shape (n_users,)
        The users' biases, in units of the ratings.
    item_biases_ : ndarray of shape (n_items,)
        The items' biases, in units of the ratings.
    global_mean_ : float
        The weighted mean of the training ratings; 0 if ``biased=False``.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    n_iter_ : int
        Number of epochs that were run.
    loss_curve_ : list of float
        Mean squared error of each epoch's batches, each before its step; the penalty is not
        in it.
    validation_curve_ : list of float
        Mean squared error on the validation data after each epoch. Only if there are any.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Which codes of items the codes of users have ratings of, in `fit` and `partial_fit`.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if they are all strings.

    See Also
    --------
    sklrec.modules.MatrixFactorization : The module alone.
    sklrec.IDEncoder : The encoder alone.

    Notes
    -----
    Ctrl-C during the training ends `fit` with a KeyboardInterrupt, so that a search stops too,
    but leaves a usable model, that of the steps so far, and a warning. Before the training it
    leaves the estimator as it was. So does any error.

    The training keeps to one thread as long as ``batch_size * n_factors`` is below a million,
    as it is by default; beyond that it uses one more for each half a million.

    The ``'sgd'`` step of a user or item that occurs so often in a batch that the sum of its
    gradients would overshoot is bounded to 0.8 of their average.

    References
    ----------
    Koren, Bell, Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems",
    :doi:`10.1109/MC.2009.263`.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> mf.predict(X[:3]).shape
    (3,)
    >>> mf.recommend([7], n_items=3).columns.to_list()
    ['user', 'item', 'rank', 'score']
    """

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions(set(MINIBATCH_SOLVERS))],
        "biased": ["boolean"],
        "init_std": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_factors=100,
        *,
        solver="sgd",
        biased=True,
        alpha=0.07,
        max_epochs=15,
        lr="auto",
        lr_schedule="linear",
        batch_size=4096,
        optimizer=None,
        init_std=0.01,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        rating_scale="auto",
        user=0,
        item=1,
        warm_start=False,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.solver = solver
        self.biased = biased
        self.alpha = alpha
        self.max_epochs = max_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _new_module(self, y, weight, generator):
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        mean, scale = mean_and_scale(y, weight)
        return MatrixFactorization(
            n_users,
            n_items,
            self.n_factors,
            biased=self.biased,
            global_mean=mean if self.biased else 0.0,
            scale=scale,
            init_std=self.init_std,
            sparse=self._takes_sparse_gradients(),
            generator=generator,
        )

    def _grow_module(self, generator):
        for name in ("n_factors", "biased"):
            self._refuse_change(name)
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        self.module_.grow(n_users, n_items, generator)
        # the solver may be another than before
        self.module_.sparse = self._takes_sparse_gradients()

    def _optimization(self):
        if self.optimizer is None:
            return MINIBATCH_SOLVERS[self.solver]
        return MINIBATCH_SOLVERS["adam"]._replace(optimizer=self.optimizer)

    def _rating_counts(self):
        return {"user": self.seen_.sum(axis=1), "item": self.seen_.sum(axis=0)}

    def _takes_sparse_gradients(self):
        return self.optimizer is None and self.solver == "sgd"

    @property
    def user_factors_(self):
        """Factors of the known users."""
        return self._table("user_factors.weight", 0.5)

    @property
    def item_factors_(self):
        """Factors of the known items."""
        return self._table("item_factors.weight", 0.5)

    @property
    def user_biases_(self):
        """Biases of the known users."""
        return self._table("user_biases", 1)

    @property
    def item_biases_(self):
        """Biases of the known items."""
        return self._table("item_biases", 1)

    def _table(self, name, power_of_scale):
        # The module works on ratings of unit standard deviation.
        scale = self.module_.scale.item() ** power_of_scale
        return self.module_.get_parameter(name).detach().cpu().numpy()[1:] * scale
