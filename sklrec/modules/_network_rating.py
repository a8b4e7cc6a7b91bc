"""Rating module around a network that a user wrote."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from sklrec._data.features.columns import N_BINS
from sklrec.modules._losses import Loss
from sklrec.modules._network_inputs import (
    FEATURES,
    IDS,
    PAST,
    TARGETS,
    call_network,
    check_finite,
)
from sklrec.modules._network_pairs import by_pairs, checked_vectors, features_of_pairs
from sklrec.modules._rating_module import INPUTS_OF_TABLES, Penalty, RatingModule

# Share of the codes of a batch that training replaces by 0, the code of unknown IDs and values. It
# was chosen, as the factor below, on one held-out part of the training ratings of three logs:
# foodcom, MovieLens 100K and a generated one with a strong signal.
UNKNOWN_SHARE = 0.02
# Factor on the penalty of biases of the network, beside biases that are subtracted already.
LEFT_OF_BIASES = 10.0
# Pairs whose ratings are compared with the products of the vectors, and the largest difference.
N_COMPARED = 32
TOLERANCE = 1e-3


class History(NamedTuple):
    """The latest interactions before each target, with padding in front.

    Codes are 0 and numbers are 0.0 for padding. The ratings are those that the network predicts:
    by default minus the mean, over the standard deviation.
    """

    items: Tensor  # (n, max_len), codes
    ratings: Tensor  # (n, max_len), 0 if unknown
    gaps: Tensor  # (n, max_len), time since the interaction before, on a logarithmic scale
    lengths: Tensor  # (n,), number of interactions without padding


class NetworkRating(RatingModule):
    r"""Rating module around a network, which predicts :math:`(r - \mu) / \sigma`.

    Parameters
    ----------
    network : torch.nn.Module
        The network. Its ``forward`` takes codes by the names in `arguments`.
    arguments : tuple of str
        Names of the arguments of the network's ``forward``.
    sizes : dict of str to int
        Numbers of known IDs and values, ``n_users``, ``n_items`` and ``n_values``, and the
        length ``max_len`` of a history.
    part : {'pairs', 'features', 'histories'}, default='pairs'
        Part of X that the network reads.
    has_biases : bool, default=False
        Whether the module adds biases of users and items, which no gradient trains.
    global_mean : float, default=0.0
        The rating of the output 0. It is not trained.
    scale : float, default=1.0
        The difference in ratings of the outputs 0 and 1. It is not trained.

    Attributes
    ----------
    n_users, n_items, n_values, n_numeric, n_categorical, n_multi_valued, max_len : int
        The sizes.
    network : torch.nn.Module
        The network.
    tables : dict of str to str
        Owner, 'user', 'item' or 'value', of the rows of each table, by the name of the parameter.
        The estimator finds them.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import MatrixFactorization, NetworkRating
    >>> network = MatrixFactorization(n_users=4, n_items=6, n_factors=8)
    >>> sizes = {"n_users": 4, "n_items": 6, "n_values": 0, "max_len": 1}
    >>> module = NetworkRating(network, ("users", "items"), sizes, global_mean=3.5).eval()
    >>> module(users=torch.tensor([1, 0]), items=torch.tensor([6, 2])).shape
    torch.Size([2])
    """

    learns_penalties = True
    reads_users = True

    def __init__(
        self,
        network: nn.Module,
        arguments: tuple[str, ...],
        sizes: dict[str, int],
        part: str = "pairs",
        *,
        has_biases: bool = False,
        global_mean: float = 0.0,
        scale: float = 1.0,
    ):
        super().__init__(global_mean, scale)
        self.network = network
        self.arguments = arguments
        self.part = part
        if has_biases:  # from least squares; no gradient trains them
            for side in ("user", "item"):
                self.register_buffer(f"{side}_biases", torch.zeros(sizes[f"n_{side}s"] + 1))
        self.sizes = dict(sizes)
        self.tables: dict[str, str] = {}
        self.chances: dict[str, Tensor] = {}
        self.unseen: dict[str, Tensor] = {}  # rows that no training rating reads, by table

    @property
    def has_fixed_biases(self) -> bool:  # type: ignore[override]
        """Whether the module adds biases."""
        return self.has_biases

    def __getattr__(self, name: str) -> Any:
        sizes = self.__dict__.get("sizes", {})
        return sizes[name] if name in sizes else super().__getattr__(name)

    @property
    def bidirectional(self) -> bool:
        """Whether the network reads a history from both ends."""
        return bool(getattr(self.network, "bidirectional", False))

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        widest = max((p.shape[-1] for p in self.network.parameters() if p.ndim > 1), default=1)
        return widest * (self.sizes["max_len"] if "histories" in self.arguments else 1)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Predict one rating for each row.

        Parameters
        ----------
        **inputs : Tensor
            Codes of users and items of shape (n,), and side features or histories as in the
            modules of `DenseRecRegressor` and `SequenceRatingRegressor`. Those that the network
            does not read are ignored.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        return self._to_ratings(self._outputs(inputs))

    def penalty(self, **inputs: Tensor) -> Tensor:
        """Return 0, because `backward_loss` adds the penalties itself.

        Parameters
        ----------
        **inputs : Tensor
            Not used.

        Returns
        -------
        Tensor of shape ()
            Zero.
        """
        return torch.zeros((), device=self.global_mean.device)

    def backward_loss(
        self,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        loss: Loss | None = None,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of a batch's penalised loss to the parameters' ``grad``.

        A small share of the codes is replaced by 0, so that the rows of unknown IDs are trained.

        Parameters
        ----------
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        loss : Loss, default=None
            The loss of a prediction, the squared error if ``None``.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the squared rows of each rating, or a factor for each row by
            ``user_factors``, ``user_biases`` and the like. Tables of one column are biases.
            ``layers`` is a factor of the squared weights of all other parameters.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.
        **inputs : Tensor
            The arguments of ``forward``.

        Returns
        -------
        mean : Tensor of shape ()
            The weighted mean of the losses, in units of the ratings, without the penalty.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
        """
        inputs = self._partly_unknown(inputs)
        options: dict[str, Any] = {"loss": loss, "reduction": reduction, **inputs}
        found = super().backward_loss(ratings, sample_weight, **options)
        weight = torch.ones(len(ratings)) if sample_weight is None else sample_weight
        total = weight.sum() / 2 if reduction == "mean" else 1.0
        self._add_penalty(alpha, inputs, weight.to(self.global_mean.device).float() / total)
        return found

    @torch.no_grad()
    def _add_penalty(self, alpha: Penalty, inputs: dict[str, Tensor], weight: Tensor) -> None:
        """Add the gradients of the penalties."""
        if not isinstance(alpha, dict) and alpha == 0:
            return
        codes = {"user": inputs.get("users"), "item": inputs.get("items")}
        codes["value"] = inputs.get("categorical")
        for name, parameter in self.named_parameters():
            if parameter.grad is None:
                continue
            owner = self.tables.get(name)
            if owner is None:
                # A sparse gradient, of a table of both users and items, stays sparse.
                is_layer = parameter.ndim > 1 and not parameter.grad.is_sparse
                if isinstance(alpha, dict) and is_layer:
                    total = weight.sum()
                    parameter.grad.add_(parameter * (alpha["layers"] * total))
                continue
            rows = codes[owner]
            if rows is None:
                continue
            of_row = weight
            if rows.ndim > 1:
                of_row, rows = weight.repeat_interleave(rows.shape[1]), rows.flatten()
            table = parameter.flatten(1) if parameter.ndim > 1 else parameter.unsqueeze(1)
            kind = "biases" if table.shape[1] == 1 and owner != "value" else "factors"
            factor: Any = alpha
            if isinstance(alpha, dict):
                of_table = alpha[f"{owner}_{kind}"]
                # Row 0 has as many ratings as the most active user, or more.
                factor = torch.where(rows > 0, of_table[rows], of_table.min())
                if self.has_biases and kind == "biases":
                    factor = factor * LEFT_OF_BIASES
            added = table[rows] * (of_row * factor).unsqueeze(1)
            added = added.view(-1, *parameter.shape[1:])
            if parameter.grad.is_sparse:
                more = torch.sparse_coo_tensor(
                    rows.unsqueeze(0), added, parameter.shape, check_invariants=False
                )
                parameter.grad = parameter.grad + more
            else:
                parameter.grad.index_add_(0, rows, added)

    def _vectors(self, side: str) -> Tensor:  # (n_rows, n_columns)
        """Vectors by which users or items are compared: row k has the code k."""
        function = getattr(self.network, f"{side}_vectors", None)
        with torch.inference_mode():
            if function is not None and self.arguments == IDS:
                codes = torch.arange(self.sizes[f"n_{side}s"] + 1, device=self.global_mean.device)
                return checked_vectors(function(codes), side, len(codes)).float().cpu()
        tables = [
            table.detach()
            for name, table in self.named_parameters()
            if self.tables.get(name) == side and table.ndim == 2 and table.shape[1] > 1
        ]
        if not tables:
            raise ValueError(
                f"{type(self.network).__name__} has no table of {side}s to compare them by. Give "
                f"it a table with n_{side}s + 1 rows, or the method {side}_vectors({side}s)."
            )
        return max(tables, key=lambda table: table.shape[1]).cpu()

    @torch.no_grad()
    def _pair_scores(
        self,
        users: Tensor,
        items: Tensor,
        user_side: dict[str, Tensor] | None = None,
        item_side: dict[str, Tensor] | None = None,
        of_users: Tensor | None = None,
    ) -> Tensor:  # (n_users, n_items)
        """Compute the outputs of all pairs."""
        of_network: Any = [
            getattr(self.network, f"{side}_vectors", None) for side in ("user", "item")
        ]
        if None not in of_network and self.arguments == IDS:
            return self._products(users, items, of_network)

        def rate(first: Tensor, second: Tensor) -> Tensor:
            side: dict[str, Tensor] = {}
            if of_users is not None and user_side is not None and item_side is not None:
                side = features_of_pairs(user_side, item_side, of_users, first, second)
            return self._outputs({"users": users[first], "items": items[second], **side})

        return by_pairs(len(users), len(items), rate, self.global_mean.device)

    def _pair_outputs(
        self, past: dict[str, Tensor], targets: dict[str, Tensor], candidates: Tensor
    ) -> Tensor:  # (n, n_candidates)
        """Compute the outputs of all pairs of a place in a history and a candidate."""

        def rate(first: Tensor, second: Tensor) -> Tensor:
            places = {name: values[first] for name, values in targets.items()}
            return self._outputs(past | places | {"items": candidates[second]})

        n_places = len(targets["sequences"])
        return by_pairs(n_places, len(candidates), rate, self.global_mean.device)

    def _products(
        self, users: Tensor, items: Tensor, functions: list[Callable[[Tensor], Any]]
    ) -> Tensor:
        """Multiply the vectors of users and items, and compare some products with `forward`."""
        p, q = (
            checked_vectors(function(codes), side, len(codes))
            for function, codes, side in zip(
                functions, (users, items), ("user", "item"), strict=True
            )
        )
        if p.shape[1] != q.shape[1]:
            raise ValueError(
                "user_vectors and item_vectors must return as many columns as each other, got "
                f"{p.shape[1]} and {q.shape[1]}."
            )
        n = min(N_COMPARED, len(users), len(items))
        few = users[:n], items[:n]
        wanted = self._of_network(dict(zip(IDS, few, strict=True)))
        found = (p[:n] * q[:n]).sum(1)
        if not torch.allclose(found, wanted.to(found), TOLERANCE, TOLERANCE):
            worst = int((found - wanted).abs().argmax())
            raise ValueError(
                "The product of user_vectors(users) and item_vectors(items) must be the output of "
                f"forward(users, items), got {found[worst]:.5g} where forward gives "
                f"{wanted[worst]:.5g}. Biases can be further columns, beside columns of ones."
            )
        scores = p @ q.T
        if self.has_biases:
            scores += self.user_biases[users].unsqueeze(1) + self.item_biases[items]
        return scores

    def grow(self, larger: "NetworkRating") -> "NetworkRating":
        """Copy the rows and layers of this module into a larger one.

        Parameters
        ----------
        larger : NetworkRating
            A new module with at least as many rows in each table.

        Returns
        -------
        NetworkRating
            The larger module. Its new rows are the row of unknown codes plus their own start; new
            rows of buffers and of tables that are not trained are as they were made.
        """
        old = dict(self.named_parameters()) | dict(self.named_buffers())
        grown = [
            (self.sizes[n] + 1, larger.sizes[n] + 1) for n in ("n_users", "n_items", "n_values")
        ]
        tables = larger.tables.keys() | {"user_biases", "item_biases"}
        with torch.no_grad():
            for name, new in [*larger.named_parameters(), *larger.named_buffers()]:
                before = old.get(name)
                if before is not None and before.shape == new.shape:
                    new.copy_(before)
                    continue
                if (
                    before is None
                    or before.shape[1:] != new.shape[1:]
                    or (*before.shape[:1], *new.shape[:1]) not in grown
                ):
                    shape = None if before is None else tuple(before.shape)
                    raise ValueError(
                        f"The training continues a network whose {name.partition('.')[2]} has the "
                        f"shape {shape}, but the network for more users and items has "
                        f"{tuple(new.shape)}. Set the parameters of the module back, or fit with "
                        "warm_start=False. Only tables with a row for each code can grow."
                    )
                if name in tables:
                    new[len(before) :] += before[0]
                new[: len(before)] = before
        return larger

    def _set_chances(self, **counts: Tensor) -> None:
        """Set the chance of each code of an input to become 0, from the numbers of its ratings.

        Each known ID has the same expected number of such ratings. So row 0 learns to predict for
        the average user, and not for those with the most ratings."""
        self.chances = {
            name: UNKNOWN_SHARE * n.sum() / (n > 0).sum() / n.clamp(min=1e-6)
            for name, n in counts.items()
        }

    def _partly_unknown(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace a share of the codes by 0."""
        inputs = dict(inputs)
        for name in (*IDS, "categorical"):
            if name in inputs:
                codes = inputs[name]
                chances: Any = UNKNOWN_SHARE
                if name in self.chances:
                    chances = self.chances[name][codes]
                is_unknown = torch.rand(codes.shape, device=codes.device) < chances
                inputs[name] = codes.masked_fill(is_unknown, 0)
        return inputs

    def _drop_biases(self) -> None:
        """Let the network predict what the biases would predict, too."""
        del self.user_biases, self.item_biases

    def _tables_of_codes(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Owner of the rows of each table, and the inputs that hold their codes, by table."""
        return {name: INPUTS_OF_TABLES[owner] for name, owner in self.tables.items()}

    @torch.no_grad()
    def _clear_rows(self, name: str, rows: Tensor) -> None:
        """Set rows of a table to the row of unknown codes, at the end of each training too."""
        table = self.get_parameter(name)
        table[rows] = table[0].clone()
        self.unseen[name] = rows

    def train(self, mode: bool = True) -> Self:
        """Set the mode. At the end of training, rows without training ratings become row 0.

        Parameters
        ----------
        mode : bool, default=True
            Whether the module is trained.

        Returns
        -------
        NetworkRating
            The module itself.
        """
        if self.training and not mode:
            with torch.no_grad():
                for name, rows in self.unseen.items():
                    table = self.get_parameter(name)
                    table[rows] = table[0].clone()
        return super().train(mode)

    def _outputs(self, inputs: dict[str, Tensor]) -> Tensor:  # (n,)
        """Compute ratings without mean and scale."""
        found = self._of_network(inputs)
        if self.has_biases:
            found = found + self.user_biases[inputs["users"]] + self.item_biases[inputs["items"]]
        return found

    def _of_network(self, inputs: dict[str, Tensor]) -> Tensor:  # (n,)
        """Call the network with the inputs that it reads."""
        n_rows = inputs["items"].shape[0]  # len() would fix the number in an exported graph
        if PAST[1] in inputs:
            past_ratings = self._from_ratings(inputs[PAST[1]], inputs["past_gaps"])
            inputs = inputs | {PAST[1]: past_ratings}
        given: dict[str, Any] = {name: inputs[name] for name in self.arguments if name in inputs}
        if "features" in self.arguments:
            features = {name: inputs[name] for name in FEATURES if name in inputs}
            if "numeric" in features:  # from -1 to 1
                features["numeric"] = features["numeric"] / (N_BINS / 2)
            given["features"] = features
        if "histories" in self.arguments:
            read = {name: inputs[name] for name in (*PAST, *TARGETS[:2])}
            given["histories"] = _windows(self.sizes["max_len"], **read)
        outputs = call_network(self.network, given, n_rows, self.sizes)
        if torch.is_inference_mode_enabled():  # in training, the loss shows it
            check_finite(outputs, self.network)
        return outputs.reshape(-1)


def _windows(
    max_len: int,
    past_items: Tensor,
    past_ratings: Tensor,
    past_gaps: Tensor,
    lengths: Tensor,
    sequences: Tensor,
    before: Tensor,
) -> History:
    """Read the latest interactions of each target."""
    place = before.unsqueeze(1) - max_len + torch.arange(max_len, device=before.device)
    padding = place < 0  # (n, max_len)
    index = sequences.unsqueeze(1), place.clamp(min=0)
    items = past_items[index].masked_fill(padding, 0)
    ratings = past_ratings[index].nan_to_num().masked_fill(padding, 0)
    gaps = past_gaps[index].masked_fill(padding, 0)
    return History(items, ratings, gaps, before.clamp(max=max_len))
