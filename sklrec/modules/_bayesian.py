"""Draws from the posterior distribution of factors and biases (Salakhutdinov and Mnih 2008)."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod

import torch
from torch import Tensor

from sklrec.modules._matrix_factorization import MatrixFactorization

_DRAW_BUFFERS = ("user_draws", "item_draws", "noise", "user_covariances", "item_covariances")


class FactorDraws(MatrixFactorization):
    """Base of `BayesianFactorizationMachine`: draws of the tables, and the moments of their
    predictions."""

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 16,
        *,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.1,
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            n_users,
            n_items,
            n_factors,
            global_mean=global_mean,
            scale=scale,
            init_std=init_std,
            generator=generator,
        )
        width = n_factors + 1
        self.user_draws: Tensor
        self.item_draws: Tensor
        self.noise: Tensor
        self.user_noise: Tensor | None
        self.user_covariances: Tensor
        self.item_covariances: Tensor
        self.register_buffer("user_draws", torch.zeros(0, n_users + 1, width))
        self.register_buffer("item_draws", torch.zeros(0, n_items + 1, width))
        self.register_buffer("noise", torch.zeros(0))
        self.register_buffer("user_noise", None)
        self.register_buffer("user_covariances", torch.zeros(0, width, width))
        self.register_buffer("item_covariances", torch.zeros(0, width, width))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.noise)

    @torch.no_grad()
    def set_draws(
        self,
        users: Tensor,  # (n_draws, n_users + 1, n_factors + 1), bias last, the unknown user first
        items: Tensor,  # (n_draws, n_items + 1, n_factors + 1)
        noise: Tensor,  # (n_draws,), in units of the squared scale
        user_covariances: Tensor,  # (n_draws, n_factors + 1, n_factors + 1), of an unknown user
        item_covariances: Tensor,  # (n_draws, n_factors + 1, n_factors + 1), of an unknown item
        user_noise: Tensor | None = None,  # (n_draws, n_users + 1), factors of `noise`
    ) -> "FactorDraws":
        """Replace the draws, and set the parameters to their means."""
        self.user_noise = None if user_noise is None else user_noise.to(self.noise)
        draws = users, items, noise, user_covariances, item_covariances
        for name, values in zip(_DRAW_BUFFERS, draws, strict=True):
            setattr(self, name, values.to(getattr(self, name)))
        for side in ("user", "item"):
            mean = getattr(self, f"{side}_draws").mean(0)
            getattr(self, f"{side}_factors").weight.copy_(mean[:, : self.n_factors])
            getattr(self, f"{side}_biases").copy_(mean[:, -1])
        return self

    def moments(self, users: Tensor, items: Tensor, **features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict means and standard deviations of ratings."""
        total, squares = torch.zeros(2, len(users), dtype=torch.float64, device=users.device)
        extra = torch.zeros(len(users), dtype=torch.float64, device=users.device)
        for k in range(self.n_draws):
            centre, variance = self._draw(k, users, items, **features)
            total += centre
            squares += centre.square()
            extra += self._noise(k, users) + variance
        mean = total / self.n_draws
        variance = squares / self.n_draws - mean.square() + extra / self.n_draws
        return self._to_ratings(mean), self.scale * variance.clamp(min=0).sqrt()

    @abstractmethod
    def _draw(
        self, k: int, users: Tensor, items: Tensor, **features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict by one draw; also return the variance due to unknown users and items."""

    def _noise(self, k: int, users: Tensor) -> Tensor:
        """Return the noise variances of one draw."""
        return (
            self.noise[k] if self.user_noise is None else self.noise[k] * self.user_noise[k, users]
        )

    def _of_unknown(self, k: int, users: Tensor, items: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Compute the variance due to unknown users and items by the priors of one draw."""
        extra = p.new_zeros(len(users))
        for codes, partner, covariances in (
            (users, q, self.user_covariances),
            (items, p, self.item_covariances),
        ):
            unknown = codes == 0
            if unknown.any():
                feature = partner[unknown].clone()
                feature[:, -1] = 1  # factor of the bias
                extra[unknown] += ((feature @ covariances[k].to(feature)) * feature).sum(1)
        both = (users == 0) & (items == 0)
        if both.any():
            factors = slice(self.n_factors), slice(self.n_factors)
            products = self.user_covariances[k][factors] * self.item_covariances[k][factors].T
            extra[both] += products.sum().to(extra)
        return extra

    def _ratings(self, p: Tensor, q: Tensor) -> Tensor:
        """Compute dot products and biases, without mean and scale."""
        return (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
