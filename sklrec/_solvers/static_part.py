"""Static part of a model of sequences: its fit, its errors in training, and its updates."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sklrec._data.checks import RatingStatistics
from sklrec._data.histories import Histories
from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.fold_in import SideEquations
from sklrec._solvers.least_squares.pairs import Log
from sklrec._solvers.minibatch import MinibatchSolver
from sklrec._solvers.posterior import activity
from sklrec._solvers.sequence_tensors import SequenceTensors
from sklrec._solvers.steps import sweeps
from sklrec._solvers.tensors import InteractionTensors
from sklrec._solvers.variational import Posterior
from sklrec._utils.packed import inverse, n_packed, pack, times, unpack
from sklrec._utils.runtime import threads_for, threads_for_sweeps
from sklrec.modules import GaussianMatrixFactorization, ResidualLSTMRating
from sklrec.modules._sequence_module import States, _from_end
from sklrec.modules._user_posterior import UserPosterior, expected_ratings, rating_statistics

# Sweeps and tolerance of the variational model, as in BayesianMFRegressor.
N_SWEEPS, TOL = 20, 1e-3
# Number of places of histories, padding included, whose equations are in memory at once.
EQUATIONS_AT_ONCE = 2**12
# Interactions whose statistics are in memory at once.
INTERACTIONS_AT_ONCE = 2**15


class LeftOutItems:
    """Rows of items, each computed without the rating of one user."""

    # Each rating adds numbers of its user to the equations of its item. Without them, the
    # equations are those of the other ratings, with the users' rows as they are.

    def __init__(
        self,
        model: GaussianMatrixFactorization,
        log: Log,  # codes of the model, from 1
        users: Tensor,  # code of the model for each code of the histories
        items: Tensor,
    ):
        self.users, self.items = users, items
        self.rows, self.covariances = model.means("user").float(), model.user_covariances
        self.shares = 1 / model.user_noise
        by_item = Log(log.items - 1, log.users, log.y, log.weights)
        features = model.item_values[1:], model.item_weights[1:]
        self.equations = SideEquations.of(model, "item", by_item, len(features[0]), features)
        self.of_all = self.equations.float()  # enough for what training reads

    def without(
        self, users: Tensor, items: Tensor, z: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:  # (n, d) and (n, d(d+1)/2)
        """Compute means and covariances of items, each without one rating."""
        users, rows = self.users[users], self.items[items] - 1
        own = rating_statistics(z, self.rows[users], self.covariances[users])
        own *= (self.shares[users] * weights.float()).unsqueeze(1)
        of_all = self.of_all
        G, y = own.split([of_all.G.shape[1], of_all.y.shape[1]], 1)
        others = replace(
            of_all,
            G=of_all.G[rows] - G,
            y=of_all.y[rows] - y,
            centre=of_all.centre[rows],
            spread=of_all.spread[rows],
        )
        return others.solve()


@torch.no_grad()
def fit_static_part(
    module: ResidualLSTMRating,
    histories: Histories,
    weights: np.ndarray,  # (n_interactions,)
    generator: torch.Generator,
) -> LeftOutItems:
    """Learn the distributions of the items and of a user; forget the users themselves."""
    # Sequences and items without ratings are unknown to the model.
    (users, user_codes), (items, item_codes) = (
        np.unique(codes, return_inverse=True) for codes in (histories.sequences, histories.items)
    )
    model = GaussianMatrixFactorization(
        len(users),
        len(items),
        module.n_factors,
        svdpp=True,
        global_mean=module.global_mean.item(),
        scale=module.scale.item(),
    )
    ratings = torch.from_numpy(histories.ratings)
    data = InteractionTensors(
        {"users": user_codes + 1, "items": item_codes + 1},
        ratings,
        torch.from_numpy(weights) if np.ptp(weights) > 0 else None,
    )
    with threads_for_sweeps(len(data), model.width):
        posterior = Posterior(model, data, generator, is_new=True)
        for _ in sweeps(posterior, range(N_SWEEPS), TOL):
            pass
        posterior.write(model)
    z = model._from_ratings(ratings, model.scale).numpy()
    places = [
        torch.zeros(n, dtype=torch.int64) for n in (len(histories.lengths), module.n_items + 1)
    ]
    for codes, place in zip((users, items), places, strict=True):
        place[torch.from_numpy(codes)] = torch.arange(len(codes)) + 1
    left_out = LeftOutItems(model, Log(user_codes + 1, item_codes + 1, z, weights), *places)
    module.users.n_ratings.fill_(len(data))
    _write(module.users, model, torch.from_numpy(items), left_out.equations, posterior.totals[0])
    return left_out


def _write(
    users: UserPosterior,
    model: GaussianMatrixFactorization,
    items: Tensor,  # (n,), codes of the items with ratings
    equations: SideEquations,
    totals: Tensor,  # (n_users,), weights of the users' ratings
) -> None:
    means, covariances = equations.solve()
    for name, of_unknown, of_items in (
        ("item_rows", model.means("item")[0], means),
        ("item_covariances", model.item_covariances[0], covariances),
        ("item_terms", model.user_terms[0], model.user_terms[1:]),
    ):
        table: Tensor = getattr(users, name)
        table[:] = of_unknown
        table[items] = of_items.to(table)
    # The prior mean depends on the number of ratings. Users with a history are asked for as often
    # as they have ratings after the first.
    later = (totals.double() - 1).clamp(min=0)
    later = later if later.sum() > 0 else torch.ones_like(later)
    users.prior_mean.copy_(later @ activity(totals) @ model.user_prior_mean / later.sum())
    covariance = unpack(model.user_prior_covariance, model.n_factors + 1)
    users.prior_precision.copy_(torch.linalg.inv(covariance))
    users.unknown_row.copy_(model.means("user")[0])
    users.precision.copy_(1 / (model.residual_variance * model.user_noise[0]))


@torch.no_grad()
def add_expected_ratings(
    module: ResidualLSTMRating,
    data: SequenceTensors,
    left_out: LeftOutItems | None = None,
    weights: Tensor | None = None,  # (n_interactions,), with `left_out`
    places: Tensor | None = None,  # (n_targets,), with `left_out`: their own interactions
) -> None:
    """Add the static part's expected ratings of targets and interactions.

    With `left_out`, the items do not know the ratings of the user who is asked for. So what the
    LSTM reads in training is as wrong as it will be on new ratings."""
    n = max(1, len(data.histories.items))
    users = torch.from_numpy(data.histories.sequences)
    if places is not None:
        places = places[data.order]
        z_of_past = module._from_ratings(torch.from_numpy(data.histories.ratings), torch.zeros(1))
    of_past, of_targets = torch.zeros(2, n), torch.empty(len(data))
    columns = {"places": torch.arange(n)}
    for chosen, _, past, queries in data.planned_batches(EQUATIONS_AT_ONCE, None, **columns):
        at, lengths = past.pop("places"), past["lengths"]
        known, z = module._known_ratings(**past)
        is_rated = known.squeeze(2)
        at = at[is_rated]
        rows, covariances = module.users.item_distributions(past["past_items"])
        items = queries.pop("items")
        if left_out is not None:
            assert weights is not None and places is not None
            asked = past["past_items"][is_rated], z[is_rated].squeeze(1), weights[at]
            found = left_out.without(users[at], *asked)
            rows[is_rated], covariances[is_rated] = (values.to(rows) for values in found)
            of_items = _rows_of(places[chosen], at, found[0])
            # No target of a long history reads the interactions of these.
            is_missing = of_items[:, 0].isnan()
            own = places[chosen][is_missing]
            codes = users[own], items[is_missing]
            of_items[is_missing], _ = left_out.without(*codes, z_of_past[own], weights[own])
        else:
            of_items = module.users.item_rows[items].float()
        steps = module._static_steps(known, z, past["past_items"], rows, covariances)
        sums, read_users, expected = module._expect(steps)
        of_past[0, at] = expected[is_rated]
        states = States({"users": read_users}, None, lengths)
        if module.bidirectional:
            sums_after, _, expected = module._expect(_from_end(steps, lengths))
            expected = _from_end({"": expected.unsqueeze(2)}, lengths)[""].squeeze(2)
            of_past[1, at] = expected[is_rated]
            states = States({"sums": sums}, {"sums": sums_after}, lengths)
        of_users = module._select(states, **queries)["users"].float()
        of_targets[chosen] = expected_ratings(of_users, of_items)
    names = ["past_expected"] + ["past_expected_after"] * module.bidirectional
    data.expect(of_targets, **dict(zip(names, of_past, strict=False)))


def _rows_of(wanted: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Take the rows of some interactions out of those of others; NaN where there are none."""
    order = at.argsort()
    found = torch.searchsorted(at[order], wanted).clamp(max=max(0, len(at) - 1))
    taken = rows.new_full((len(wanted), rows.shape[1]), torch.nan)
    if len(at):
        found = order[found]
        is_there = at[found] == wanted
        taken[is_there] = rows[found[is_there]]
    return taken


@torch.no_grad()
def add_ratings(
    users: UserPosterior,
    histories: Histories,
    z: Tensor,  # (n_interactions,), ratings in units of the scale
    is_new: np.ndarray,  # (n_interactions,), whether the items have not read a rating yet
    weights: Tensor,  # (n_interactions,)
) -> None:
    """Update the rows of items by new ratings, with the users' rows after all their ratings."""
    d = users.n_factors + 1
    asked, owners = np.unique(histories.sequences[is_new], return_inverse=True)
    reads = np.isin(histories.sequences, asked)
    items = torch.from_numpy(histories.items)
    place = torch.from_numpy(np.searchsorted(asked, histories.sequences[reads]))
    sums = torch.zeros(len(asked), users.n_statistics, dtype=torch.float64)
    for part in torch.arange(len(place)).split(INTERACTIONS_AT_ONCE):
        at = torch.from_numpy(np.flatnonzero(reads))[part]
        sums.index_add_(
            0,
            place[part],
            users.statistics(z[at], items[at], *users.item_distributions(items[at])),
        )
    counts = torch.from_numpy(histories.lengths[asked])
    means, covariances = users.distributions(sums, counts)
    rated, rows = torch.from_numpy(histories.items[is_new]).unique(return_inverse=True)
    of_user = torch.from_numpy(owners)
    precisions = torch.linalg.inv(unpack(users.item_covariances[rated].double(), d))
    targets = times(precisions, users.item_rows[rated].double())
    new = torch.from_numpy(np.flatnonzero(is_new))
    for part in torch.arange(len(new)).split(INTERACTIONS_AT_ONCE):
        at = new[part]
        found = rating_statistics(z[at], means[of_user[part]], pack(covariances)[of_user[part]])
        found *= (users.precision * weights[at]).double().unsqueeze(1)
        precisions.index_add_(0, rows[part], unpack(found[:, : n_packed(d)], d))
        targets.index_add_(0, rows[part], found[:, n_packed(d) :])
    found = inverse(precisions)
    users.item_rows[rated] = times(found, targets).float()
    users.item_covariances[rated] = pack(found).float()


@dataclass(frozen=True)
class StaticPartSolver:
    """A solver that learns or updates the static part, and then trains the LSTM."""

    lstm: MinibatchSolver
    statistics: RatingStatistics  # of all ratings so far
    earlier: Histories | None  # what the static part has read, if it is only updated

    def train(
        self,
        module: ResidualLSTMRating,
        data: SequenceTensors,
        valid: SequenceTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a module in place; see `Solver.train`."""
        device = module.global_mean.device
        on_device = [part for part in (module, data, valid) if part is not None]
        for part in on_device:
            part.to("cpu")
        with threads_for(EQUATIONS_AT_ONCE, module.width):
            if self.earlier is None:
                module.global_mean.fill_(self.statistics.mean)
                module.scale.fill_(self.statistics.scale)
                weights = data.past_weights
                left_out = fit_static_part(module, data.histories, weights.numpy(), generator)
                add_expected_ratings(module, data, left_out, weights, data.places)
            else:  # compute what the LSTM reads, and then let the items read the new ratings too
                add_expected_ratings(module, data)
                ratings = torch.from_numpy(data.histories.ratings)
                z = module._from_ratings(ratings, module.scale)
                is_new = data.histories.is_missing_in(self.earlier)
                add_ratings(module.users, data.histories, z, is_new, data.past_weights)
            if valid is not None:
                add_expected_ratings(module, valid)
        for part in on_device:
            part.to(device)
        return self.lstm.train(module, data, valid, generator, previous)
