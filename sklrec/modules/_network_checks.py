"""Checks of a network that a user wrote, by small inputs, and which codes its tables belong to."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import torch
from torch import Tensor

from sklrec.modules._network_inputs import IDS, PAST, WANTED, signature_of
from sklrec.modules._network_rating import NetworkRating

# Largest difference of a prediction that is made alone and with other rows, over its size.
TOLERANCE = 1e-3
N_ROWS = 6


def check_network(rating: NetworkRating, side: dict[str, tuple[int, ...]]) -> None:
    """Find the tables of a new network, or raise if its predictions cannot be right."""
    # `side` has the shape of a row of each side feature.
    rating.eval()
    inputs, codes = _inputs(rating, side)
    outputs = _call(rating, inputs)
    _check_outputs(rating, outputs, len(inputs["items"]))
    _check_rows_alone(rating, inputs, outputs.detach().flatten())
    gradients = _gradients(rating, outputs)
    if not gradients:
        raise ValueError(
            f"forward returns values that no parameter has a part in, got {_found(rating)}. Do "
            "not call detach() or torch.no_grad() in forward."
        )
    rating.tables = _tables(rating, gradients, codes)
    _check_reads(rating, inputs, outputs, gradients)
    rating.train()


def scale_tables(rating: NetworkRating, std: float) -> None:
    """Scale tables whose start has a larger standard deviation."""
    with torch.no_grad():
        for name in rating.tables:
            table = rating.get_parameter(name)
            found = table[1:].std(correction=0).item()
            if found > std:
                table.mul_(std / found)


def _inputs(
    rating: NetworkRating, side: dict[str, tuple[int, ...]]
) -> tuple[dict[str, Tensor], dict[str, set[int]]]:
    """Make rows with the lowest, the highest and unknown codes, and the codes of each owner."""
    # The codes differ by owner, so that tables of equal length can be told apart.
    codes = {}
    sizes = {"user": rating.n_users, "item": rating.n_items, "value": rating.n_values}
    for k, (owner, n) in enumerate(sizes.items()):
        own = sorted({0, min(n, 1 + k), n})
        codes[owner] = torch.tensor(own)[torch.arange(N_ROWS) % len(own)]
    inputs = {"users": codes["user"], "items": codes["item"].flip(0)}
    for name, shape in side.items():
        if name == "numeric":
            inputs[name] = torch.zeros(N_ROWS, *shape)
        else:
            of_value = codes["value"].view(-1, *[1] * len(shape))
            inputs[name] = of_value.expand(N_ROWS, *shape).contiguous()
    past = torch.stack([codes["item"], codes["item"].flip(0)], 1)
    inputs |= {
        "past_items": past,
        "past_ratings": rating.global_mean
        + rating.scale * torch.linspace(-1, 1, 2 * N_ROWS).double().view(N_ROWS, 2),
        "past_gaps": torch.ones(N_ROWS, 2),
        "lengths": torch.full((N_ROWS,), 2),
        "sequences": torch.arange(N_ROWS),
        "before": torch.arange(N_ROWS) % 3,
    }
    return inputs, {owner: set(values.tolist()) for owner, values in codes.items()}


def _call(rating: NetworkRating, inputs: dict[str, Tensor]) -> Any:
    """Call the network, and explain errors of its tables."""
    try:
        return rating._raw_outputs(inputs)
    except IndexError as error:
        raise ValueError(
            f"forward failed for the codes 0 to {rating.n_users} of users and 0 to "
            f"{rating.n_items} of items with: {error}. Tables need n_users + 1 and n_items + 1 "
            f"rows, because code 0 stands for unknown IDs, got {_found(rating)}."
        ) from error


def _check_outputs(rating: NetworkRating, outputs: Any, n_rows: int) -> None:
    """Raise unless the network returns one finite number for each row."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"forward must return a tensor, got {type(outputs).__name__} from {_found(rating)}. "
            f"Write {WANTED}."
        )
    if tuple(outputs.shape) not in ((n_rows,), (n_rows, 1)):
        raise ValueError(
            f"forward must return one number for each row, got the shape {tuple(outputs.shape)} "
            f"for {n_rows} rows from {_found(rating)}. Write {WANTED}."
        )
    if not outputs.is_floating_point():
        raise ValueError(f"forward must return floats, got {outputs.dtype} from {_found(rating)}.")
    if not bool(outputs.isfinite().all()):
        raise ValueError(
            f"forward must return finite numbers, got {outputs.flatten().tolist()[:3]} from "
            f"{_found(rating)} before any training. Look for a division by 0, and for log or sqrt "
            "of numbers that are not positive."
        )


def _check_rows_alone(rating: NetworkRating, inputs: dict[str, Tensor], outputs: Tensor) -> None:
    """Raise if the prediction of a row depends on the other rows, or on chance."""
    rows = torch.arange(N_ROWS // 2)
    part = {name: v if name in PAST else v[rows] for name, v in inputs.items()}
    alone = rating._raw_outputs(part).detach().flatten()
    wanted = outputs[rows]
    if alone.shape != wanted.shape or not torch.allclose(alone, wanted, TOLERANCE, TOLERANCE):
        raise ValueError(
            "The prediction of a row must depend on this row only, but it changed when other rows "
            f"were left out, got {_found(rating)}. Look for operations over dimension 0, and for "
            "dropout without training=self.training."
        )


def _gradients(rating: NetworkRating, outputs: Tensor) -> dict[str, Tensor]:
    """Gradients of the sum of the outputs, by the names of the parameters."""
    if not outputs.requires_grad:
        return {}
    rating.zero_grad()
    outputs.sum().backward()
    found = {n: p.grad for n, p in rating.named_parameters() if p.grad is not None}
    rating.zero_grad()
    return found


def _tables(
    rating: NetworkRating, gradients: dict[str, Tensor], codes: dict[str, set[int]]
) -> dict[str, str]:
    """Find the owner of the rows of each table."""
    sizes = {"user": rating.n_users, "item": rating.n_items, "value": rating.n_values}
    tables = {}
    for name, gradient in gradients.items():
        fitting = [
            owner for owner, n in sizes.items() if n and gradient.ndim and len(gradient) == n + 1
        ]
        read = _rows_of(gradient)
        if not read:  # no gradient yet, as with factors that start at 0
            fitting = fitting if len(fitting) == 1 else []
        else:
            fitting = [o for o in fitting if read <= codes[o]]
            fitting = [o for o in fitting if read | {0} == codes[o] | {0}] or fitting
        if fitting:
            named = [owner for owner in fitting if owner in name.lower()]
            tables[name] = (named or fitting)[0]
    return tables


def _rows_of(gradient: Tensor) -> set[int]:
    """Rows of a gradient that are not zero; of a sparse one, all that it holds."""
    if gradient.ndim == 0:
        return set()
    if gradient.is_sparse:
        return set(gradient._indices()[0].tolist())
    return (
        set(gradient.flatten(1).any(1).nonzero().flatten().tolist())
        if gradient.ndim > 1
        else (set(gradient.nonzero().flatten().tolist()))
    )


def _check_reads(
    rating: NetworkRating,
    inputs: dict[str, Tensor],
    outputs: Tensor,
    gradients: dict[str, Tensor],
) -> None:
    """Raise if outputs and gradients are the same whatever an argument is."""
    sizes = {"users": rating.n_users, "items": rating.n_items}
    for name in IDS:
        if name not in rating.arguments or (name == "users" and rating.part == "histories"):
            continue  # a history stands for its user
        other = _call(rating, inputs | {name: sizes[name] - inputs[name]})
        changed = _gradients(rating, other)
        is_equal = torch.equal(outputs, other) and changed.keys() == gradients.keys()
        if is_equal and all(
            torch.equal(_dense(changed[key]), _dense(gradients[key])) for key in changed
        ):
            raise ValueError(
                f"forward takes {name}, but its result does not depend on them, got "
                f"{_found(rating)}. Use {name}, or drop the argument."
            )


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _found(rating: NetworkRating) -> str:
    return signature_of(type(rating.network).forward)
