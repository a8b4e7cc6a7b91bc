"""Dense net over embeddings of users, items and side features."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.versions import is_exporting
from sklrec.modules._rating_module import (
    FactorModule,
    Penalty,
    embedding,
    grow_tables,
    linear,
    new_linear,
    normal,
    rows_of,
    wide,
)

# Numbers of a hidden layer to hold at once when all pairs are rated.
PAIR_NUMBERS_AT_ONCE = 2**22


class DenseNet(FactorModule):
    r"""Predict a rating by a dense net over embeddings.

    .. math:: \hat r = \mu + \sigma \Big( b_u + b_i + \langle p_u, q_i \rangle
              + \sum_s \langle p_u + q_i, e_s \rangle + f([p_u, q_i, e_1, e_2, \dots]) \Big)

    The user, the item and each side feature :math:`s` have an embedding of `n_factors` numbers.
    The net :math:`f` reads their concatenation. Its layers are linear, with ReLU between them.
    The products of embeddings, which a small net learns only slowly, are added to its output.

    Without products, biases and side features, the net is plain: ``DenseNet(n_users, n_items,
    n_factors, (H,), products=False, biased=False)`` is ``Linear(2 * n_factors, H)``, ReLU and
    ``Linear(H, 1)`` over the concatenated embeddings of user and item.

    Codes run from 1 to ``n_users``, from 1 to ``n_items`` and from 1 to ``n_values``. Code 0
    stands for an unknown ID or a missing value. Its embedding and its bias are zero and stay
    zero.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=64
        Number of columns of all embedding tables.
    hidden_layer_sizes : sequence of int, default=(32,)
        Number of units of each hidden layer. Without hidden layers the net is linear.
    products : bool, default=True
        Whether products of embeddings are added to the net's output: user times item, and
        each of the two times every side feature.
    biased : bool, default=True
        Whether there are user and item biases.
    dropout : float, default=0.0
        Share of the net's inputs that training sets to zero at random.
    n_numeric : int, default=0
        Number of numeric side features.
    n_bins : int, default=16
        Number of pieces of the piecewise linear embedding of a numeric side feature.
    n_categorical : int, default=0
        Number of side features with one value per row.
    n_multi_valued : int, default=0
        Number of side features with any number of values per row. The embedding of such a
        feature is the mean of the embeddings of its known values.
    n_values : int, default=0
        Number of known values of all categorical and multi-valued side features together.
    global_mean : float, default=0.0
        The constant :math:`\mu`, in units of the ratings. It is not trained.
    scale : float, default=1.0
        The constant :math:`\sigma`, in units of the ratings. It is not trained. If it is
        the standard deviation of the ratings, learning rate and penalty have the same effect
        on any rating scale.
    init_std : float, default=0.05
        Standard deviation of the normal distribution of the initial embeddings. Biases and
        the embedding of a missing number start at zero. Hidden layers start as in
        ``nn.Linear``. The output layer starts at zero, so that an untrained net adds nothing.
    sparse : bool, default=False
        Whether the tables of users, items and values get sparse gradients, which hold only the
        rows of the batch.
    generator : torch.Generator, default=None
        Source of the random start; ``None`` is torch's global one.

    See Also
    --------
    sklrec.DenseRecRegressor : The scikit-learn estimator around this module.

    References
    ----------
    He, Liao, Zhang, Nie, Hu, Chua (2017), "Neural Collaborative Filtering",
    :doi:`10.1145/3038912.3052569`: a net over embeddings, and their product.

    Rendle (2010), "Factorization Machines", :doi:`10.1109/ICDM.2010.127`: the products with side
    features.

    Gorishniy, Rubachev, Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep
    Learning", :doi:`10.48550/arXiv.2203.05556`: piecewise linear embeddings.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import DenseNet
    >>> module = DenseNet(n_users=3, n_items=4, n_factors=2, global_mean=3.5, n_numeric=1)
    >>> users, items = torch.tensor([1, 3, 0]), torch.tensor([4, 1, 0])
    >>> module(users, items, numeric=torch.tensor([[0.5], [8.0], [torch.nan]])).shape
    torch.Size([3])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 64,
        hidden_layer_sizes: Sequence[int] = (32,),
        *,
        products: bool = True,
        biased: bool = True,
        dropout: float = 0.0,
        n_numeric: int = 0,
        n_bins: int = 16,
        n_categorical: int = 0,
        n_multi_valued: int = 0,
        n_values: int = 0,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.05,
        sparse: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__(global_mean, scale)
        self.n_factors = n_factors
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        self.products = products
        self.biased = biased
        self.n_numeric = n_numeric
        self.n_bins = n_bins
        self.n_categorical = n_categorical
        self.n_multi_valued = n_multi_valued
        self.init_std = init_std
        self.sparse = sparse
        self._add_tables(n_users, n_items, generator)
        if n_categorical + n_multi_valued:
            self.value_factors = embedding(self, "value", n_values, generator)
        if n_numeric:
            shape = n_numeric, n_bins + 1, n_factors
            missing = slice(None), -1
            self.bin_factors = nn.Parameter(normal(shape, init_std, generator, zeros=missing))
        self.dropout = nn.Dropout(dropout)
        layers: list[nn.Module] = []
        n_inputs = self.width
        for size in self.hidden_layer_sizes:
            layers += [new_linear(n_inputs, size, generator), nn.ReLU()]
            n_inputs = size
        output = new_linear(n_inputs, 1, generator)
        for values in output.parameters():  # an untrained net adds nothing
            nn.init.zeros_(values)
        self.layers = nn.Sequential(*layers, output)

    @property
    def n_values(self) -> int:
        """Number of known values of all categorical and multi-valued side features."""
        n_features = self.n_categorical + self.n_multi_valued
        return self.value_factors.num_embeddings - 1 if n_features else 0

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor: at the net's input."""
        n_side = self.n_numeric + self.n_categorical + self.n_multi_valued
        return (2 + n_side) * self.n_factors

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        numeric: Tensor | None = None,
        categorical: Tensor | None = None,
        multi_valued: Tensor | None = None,
    ) -> Tensor:
        """Predict one rating for each row.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        numeric : Tensor of shape (n, n_numeric), default=None
            Numeric side features as positions between minus and plus ``n_bins / 2``; NaN if
            missing. Here and below, ``None`` means that all are missing.
        categorical : Tensor of shape (n, n_categorical), default=None
            Codes of values, 0 if unknown or missing.
        multi_valued : Tensor of shape (n, n_multi_valued, max_values), default=None
            Codes of values, in any number of columns, padded with zeros.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        side = {"numeric": numeric, "categorical": categorical, "multi_valued": multi_valued}
        return self._rate(users, items, self._look_up(users, items, self._complete(users, side)))

    def all_pairs(
        self,
        users: Tensor,
        items: Tensor,
        user_side: dict[str, Tensor] | None = None,
        item_side: dict[str, Tensor] | None = None,
        of_users: Tensor | None = None,
    ) -> Tensor:
        """Predict the ratings of all pairs of a user and an item.

        Parameters
        ----------
        users : Tensor of shape (n_users,)
            User codes, 0 for unknown.
        items : Tensor of shape (n_items,)
            Item codes, 0 for unknown.
        user_side : dict of str to Tensor, default=None
            Side features of the users, as in ``forward``; ``None`` means all missing.
        item_side : dict of str to Tensor, default=None
            Side features of the items; ``None`` means all missing.
        of_users : Tensor of shape (n_side,), default=None
            Mask of the side features to read from `user_side` and not from `item_side`, numeric
            ones first and multi-valued ones last; ``None`` means none.

        Returns
        -------
        Tensor of shape (n_users, n_items)
            Ratings as float64, not clipped.
        """
        return self._to_ratings(self._pair_scores(users, items, user_side, item_side, of_users))

    def _pair_scores(
        self,
        users: Tensor,
        items: Tensor,
        user_side: dict[str, Tensor] | None = None,
        item_side: dict[str, Tensor] | None = None,
        of_users: Tensor | None = None,
    ) -> Tensor:
        """Compute the ratings of all pairs, without mean and scale."""
        p, _, *user_rows = self._look_up(users, users * 0, self._complete(users, user_side))
        _, q, *item_rows = self._look_up(items * 0, items, self._complete(items, item_side))
        n_side = self.width // self.n_factors - 2
        if of_users is None:
            of_users = torch.zeros(n_side, dtype=torch.bool)
        share = of_users.to(p).unsqueeze(1)
        # (n_users, n_side, n_factors) and (n_items, n_side, n_factors)
        of_user = torch.cat([p.new_zeros(len(p), 0, self.n_factors), *user_rows], 1) * share
        of_item = torch.cat([q.new_zeros(len(q), 0, self.n_factors), *item_rows], 1) * (1 - share)
        scores = self._net_of_pairs(p, q, of_user.flatten(1), of_item.flatten(1))
        if self.products:
            # p·q, and the products of both with the side features of users and of items
            s, t = of_user.sum(1), of_item.sum(1)
            scores.addmm_(torch.cat([p, s], 1), torch.cat([q + t, q], 1).T)
            scores += (p * s).sum(1, keepdim=True)
            scores += (q * t).sum(1)
        if self.biased:
            scores += self.user_biases[users].unsqueeze(1)
            scores += self.item_biases[items]
        return scores

    def penalty(  # type: ignore[override]
        self,
        users: Tensor,
        items: Tensor,
        *,
        alpha: Penalty = 1.0,
        **side: Tensor,
    ) -> Tensor:
        """Return the squared norms of the embeddings and biases of each row, times factors.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.
        alpha : float or dict of str to Tensor, default=1.0
            One factor, or a factor for each row of the tables ``user_factors``,
            ``item_factors``, ``user_biases``, ``item_biases`` and ``value_factors``, with one
            factor of all numeric side features under ``bin_factors``. A multi-valued side feature
            has the mean of the factors of its known values. ``layers`` is a factor of the squared
            weights of the layers, which have no penalty otherwise.
        **side : Tensor
            The side features, as in ``forward``.

        Returns
        -------
        Tensor of shape (n,)
            The sums of the squares, times their factors.
        """
        known = self._complete(users, side)
        return self._penalise(alpha, self._look_up(users, items, known), users, items, known)

    def _predict_and_penalise(  # type: ignore[override]
        self, alpha: Penalty, users: Tensor, items: Tensor, **side: Tensor
    ) -> tuple[Tensor, Tensor]:
        known = self._complete(users, side)
        embeddings = self._look_up(users, items, known)
        ratings = self._rate(users, items, embeddings)
        return ratings, self._penalise(alpha, embeddings, users, items, known)

    @torch.no_grad()
    def _multiply_scores(self, ratio: float) -> None:
        """Multiply the scores by a number, through the parameters."""
        for name, table in self.named_parameters():
            if not name.startswith("layers"):
                table.mul_(ratio if name.endswith("biases") else ratio**0.5)
        # The hidden units stay as they are.
        self.get_parameter("layers.0.weight").div_(ratio**0.5)
        for table in self.layers[-1].parameters():
            table.mul_(ratio)

    def grow(
        self,
        n_users: int,
        n_items: int,
        n_values: int = 0,
        generator: torch.Generator | None = None,
    ) -> "DenseNet":
        """Append rows of new users, items and values to the tables.

        Parameters
        ----------
        n_users : int
            New number of users, at least the current one.
        n_items : int
            New number of items, at least the current one.
        n_values : int, default=0
            New number of values of side features, at least the current one.
        generator : torch.Generator, default=None
            Source of the new embeddings; ``None`` is torch's global one.

        Returns
        -------
        DenseNet
            This module; its existing rows are unchanged.
        """
        grow_tables(self, {"user": n_users, "item": n_items, "value": n_values}, generator)
        return self

    def _complete(
        self, codes: Tensor, side: Mapping[str, Tensor | None] | None
    ) -> dict[str, Tensor]:
        """Give all inputs of side features that the module reads, with NaN or 0 if missing."""
        n = codes.shape[0]  # len() would be a constant in an exported graph
        like = self.user_factors.weight
        missing = {
            "numeric": lambda: like.new_full((n, self.n_numeric), torch.nan),
            "categorical": lambda: codes.new_zeros(n, self.n_categorical),
            "multi_valued": lambda: codes.new_zeros(n, self.n_multi_valued, 1),
        }
        given = {name: values for name, values in (side or {}).items() if values is not None}
        read = [name for name in missing if getattr(self, f"n_{name}")]
        return {name: given[name] if name in given else missing[name]() for name in read}

    def _look_up(self, users: Tensor, items: Tensor, side: dict[str, Tensor]) -> list[Tensor]:
        """Return the embeddings of users, of items and of each kind of side features."""
        embeddings = [
            rows_of(self.user_factors, users, sparse=self.sparse),  # (n, n_factors)
            rows_of(self.item_factors, items, sparse=self.sparse),
        ]
        if "numeric" in side:
            embeddings.append(self._embed_numbers(side["numeric"]))  # (n, n_numeric, n_factors)
        if "categorical" in side:
            codes = side["categorical"]
            embeddings.append(rows_of(self.value_factors, codes, sparse=self.sparse))
        if "multi_valued" in side:
            embeddings.append(self._mean_rows(self.value_factors.weight, side["multi_valued"]))
        return embeddings

    def _mean_rows(self, table: Tensor, codes: Tensor) -> Tensor:
        """Return the mean rows of the known values."""
        if is_exporting():  # ONNX has no embedding bags
            n_known = (codes > 0).sum(2, keepdim=True)
            return F.embedding(codes, table, padding_idx=0).sum(2) / n_known.clamp(min=1)
        # Unlike the mean of a tensor, its order of additions does not depend on the padding.
        means = F.embedding_bag(
            codes.flatten(0, 1), table, mode="mean", padding_idx=0, sparse=self.sparse
        )
        return means.view(*codes.shape[:2], -1)

    def _embed_numbers(self, numeric: Tensor) -> Tensor:
        """Return embeddings that change linearly within each bin."""
        missing = numeric.isnan().unsqueeze(2)
        # Bins are filled from the middle, where a missing number is too.
        starts = torch.arange(self.n_bins, dtype=numeric.dtype, device=numeric.device)
        starts -= self.n_bins / 2
        filled = (numeric.nan_to_num(0.0).unsqueeze(2) - starts).clamp(0, 1)
        filled = filled - (-starts).clamp(0, 1)
        weights = torch.cat([filled, missing.to(numeric.dtype)], 2)
        factors = self.bin_factors
        if self.training:
            return torch.einsum("nfb,fbk->nfk", weights, factors)
        return torch.einsum("nfb,fbk->nfk", wide(weights), wide(factors)).to(weights.dtype)

    def _rate(self, users: Tensor, items: Tensor, embeddings: list[Tensor]) -> Tensor:
        user, item, *side = embeddings
        read = torch.cat([rows.flatten(1) for rows in embeddings], 1)
        scores = self.dropout(read)
        for layer in self.layers:
            scores = linear(layer, scores) if isinstance(layer, nn.Linear) else layer(scores)
        scores = scores.squeeze(1)
        if self.products:
            scores = scores + (user * item).sum(1)
            if side:
                of_side = torch.stack([rows.sum(1) for rows in side]).sum(0)
                scores = scores + ((user + item) * of_side).sum(1)
        if self.biased:
            for biases in self._biases(users, items, sparse=self.sparse):
                scores = scores + biases
        return self._to_ratings(scores)

    def _net_of_pairs(self, p: Tensor, q: Tensor, of_user: Tensor, of_item: Tensor) -> Tensor:
        """Compute the net's output for all pairs of a user and an item."""
        # The first layer is a sum over its inputs: compute it per user and per item, not per pair.
        first, *others = self.layers
        assert isinstance(first, nn.Linear)
        by_user, by_item, by_side = first.weight.split(
            [p.shape[1], q.shape[1], of_user.shape[1]], 1
        )
        users = p @ by_user.T + of_user @ by_side.T
        items = q @ by_item.T + of_item @ by_side.T + first.bias
        scores = p.new_empty(len(p), len(q))
        at_once = max(
            1, PAIR_NUMBERS_AT_ONCE // (len(q) * max(self.hidden_layer_sizes, default=1))
        )
        for rows in range(0, len(p), at_once):
            hidden = users[rows : rows + at_once].unsqueeze(1) + items
            for layer in others:
                hidden = layer(hidden)
            scores[rows : rows + at_once] = hidden.squeeze(2)
        return scores

    def _penalise(
        self,
        alpha: Penalty,
        embeddings: list[Tensor],
        users: Tensor,
        items: Tensor,
        side: dict[str, Tensor],
    ) -> Tensor:
        """Return the squared norms of each row times their factors, and those of the layers."""
        squares = [rows.square().sum(-1) for rows in embeddings]  # (n,) or (n, n_columns)
        if self.biased:
            biases = self._biases(users, items, sparse=self.sparse)
            squares += [values.square() for values in biases]
        if isinstance(alpha, dict):
            codes_of = {"user": users, "item": items}
            factors = [alpha[f"{k}_factors"].index_select(0, v) for k, v in codes_of.items()]
            if "numeric" in side:
                factors.append(alpha["bin_factors"])
            if "categorical" in side:
                factors.append(alpha["value_factors"][side["categorical"]])
            if "multi_valued" in side:
                of_values = alpha["value_factors"].unsqueeze(1)
                factors.append(self._mean_rows(of_values, side["multi_valued"]).squeeze(2))
            if self.biased:
                factors += [alpha[f"{k}_biases"].index_select(0, v) for k, v in codes_of.items()]
            squares = [square * factor for square, factor in zip(squares, factors, strict=True)]
        sums = [square if square.ndim == 1 else square.sum(1) for square in squares]
        total = torch.stack(sums).sum(0)
        if not isinstance(alpha, dict):
            return alpha * total
        weights = [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]
        of_layers = torch.stack([weight.square().sum() for weight in weights]).sum()
        return total + alpha["layers"] * of_layers
