"""Checks of a network that a user wrote, by small inputs, and which codes its tables belong to."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec.modules._network_inputs import IDS, PAST, check_finite, signature_of_forward
from sklrec.modules._network_rating import NetworkRating

# Largest difference of a prediction that is made alone and with other rows, over the largest one.
TOLERANCE = 1e-3
TABLES = nn.Embedding, nn.EmbeddingBag
TRAINED = torch.float32, torch.float64
N_ROWS = 6


def check_network(rating: NetworkRating) -> None:
    """Find the tables of a new network, or raise if its predictions cannot be right."""
    _check_parameters(rating)
    rating.eval()
    inputs, codes = _inputs(rating)
    given = {name: values.clone() for name, values in inputs.items()}
    outputs = rating._of_network(given)
    _check_parameters(rating)  # of layers that are made at the first call
    check_finite(outputs, rating.network, " before any training")
    _check_attributes(rating)
    for name, values in inputs.items():
        if not torch.equal(values, given[name]):
            raise ValueError(
                f"forward must not change its arguments, but it changed {name}, got "
                f"{_found(rating)}. Work on a copy, such as {name}.clone()."
            )
    _check_rows_alone(rating, inputs, outputs.detach())
    _check_padding(rating, inputs, outputs.detach())
    gradients = _gradients(rating, outputs)
    if not gradients:
        raise ValueError(
            f"forward returns values that no parameter has a part in, got {_found(rating)}. Do "
            "not call detach() or torch.no_grad() in forward, and let some parameters have "
            "requires_grad=True."
        )
    for name, gradient in gradients.items():
        values = gradient._values() if gradient.is_sparse else gradient
        if not bool(values.isfinite().all()):
            raise ValueError(
                f"Gradients must be finite, got one of {name.partition('.')[2]} that is not, in "
                f"{_found(rating)}. Look for sqrt or norm of 0, and for divisions by 0."
            )
    rating.tables = _tables(rating, gradients, codes)
    _check_reads(rating, inputs, outputs, gradients)
    rating.train()


def _check_parameters(rating: NetworkRating) -> None:
    """Raise if a parameter has no values, or if its dtype or gradient cannot be trained."""
    for name, values in rating.network.named_parameters():
        if values.is_meta:
            raise ValueError(
                f"Parameters need values, got {name} on the device 'meta' of "
                f"{type(rating.network).__name__}. Make it on the CPU."
            )
        if values.requires_grad and values.dtype not in TRAINED:
            raise ValueError(
                f"Parameters must be float32 or float64, got {name} of {values.dtype} in "
                f"{type(rating.network).__name__}. Call float() on the module."
            )


def _check_attributes(rating: NetworkRating) -> None:
    """Raise if the network keeps a result of its parameters, which cannot be copied."""
    for layer in rating.network.modules():
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                raise ValueError(
                    f"A network must not keep results of its parameters, got {name} in "
                    f"{type(layer).__name__}. Compute it in forward, or keep {name}.detach()."
                )


def scale_tables(rating: NetworkRating, std: float) -> None:
    """Scale tables whose start has a larger standard deviation."""
    tables: dict[str, Tensor] = {name: rating.get_parameter(name) for name in rating.tables}
    for name, layer in rating.named_modules():  # also a table of both users and items
        if isinstance(layer, TABLES) and layer.weight.requires_grad:
            tables[f"{name}.weight"] = layer.weight
    with torch.no_grad():
        for table in tables.values():
            values = table[1:]  # without the row of unknown codes
            if values.numel() == 0:
                continue
            found = (values.std(correction=0) if values.numel() > 1 else values.abs()).item()
            if found > std:
                table.mul_(std / found)


def _inputs(rating: NetworkRating) -> tuple[dict[str, Tensor], dict[str, set[int]]]:
    """Make rows with the lowest, the highest and unknown codes, and the codes of each owner."""
    # The codes differ by owner, so that tables of equal length can be told apart.
    codes = {}
    sizes = {"user": rating.n_users, "item": rating.n_items, "value": rating.n_values}
    for k, (owner, n) in enumerate(sizes.items()):
        own = sorted({0, min(n, 1 + k), n})
        codes[owner] = torch.tensor(own)[torch.arange(N_ROWS) % len(own)]
    inputs = {"users": codes["user"], "items": codes["item"].flip(0)}
    for name, shape in _side_shapes(rating.sizes).items():
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


def _side_shapes(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Shape of a row of each kind of side feature that X has."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (sizes[f"n_{name}"],) for name in ("numeric", "categorical") if sizes[f"n_{name}"]
    }
    if n := sizes["n_multi_valued"]:
        shapes["multi_valued"] = n, 2
    return shapes


def _check_rows_alone(rating: NetworkRating, inputs: dict[str, Tensor], outputs: Tensor) -> None:
    """Raise if the prediction of a row depends on the other rows, or on chance."""
    tolerance = TOLERANCE * outputs.abs().max().item()
    for first, last in ((0, 1), (1, 3)):
        rows = slice(first, last)
        part = {name: v if name in PAST else v[rows] for name, v in inputs.items()}
        alone = rating._of_network(part).detach()
        if not torch.allclose(alone, outputs[rows], rtol=0, atol=tolerance):
            raise ValueError(
                "The prediction of a row must depend on this row only, but it changed when other "
                f"rows were left out, got {_found(rating)}. Look for operations over dimension 0, "
                "and for dropout without training=self.training."
            )


def _check_padding(rating: NetworkRating, inputs: dict[str, Tensor], outputs: Tensor) -> None:
    """Raise if the prediction changes with the width of the lists of values."""
    if "multi_valued" not in inputs:
        return
    wider = rating._of_network(inputs | {"multi_valued": F.pad(inputs["multi_valued"], (2, 0))})
    if not torch.allclose(wider, outputs, rtol=0, atol=TOLERANCE * outputs.abs().max().item()):
        raise ValueError(
            "The prediction must not depend on the width of multi_valued, but it changed when "
            f"more zeros filled its rows, got {_found(rating)}. Leave out code 0, for example by "
            "(multi_valued > 0)."
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
    layers = dict(rating.named_modules())
    tables = {}
    for name, gradient in gradients.items():
        fitting = [
            owner for owner, n in sizes.items() if n and gradient.ndim and len(gradient) == n + 1
        ]
        is_table = isinstance(layers[name.rpartition(".")[0]], TABLES)
        if gradient.is_sparse and not (is_table and layers[name.rpartition(".")[0]].sparse):
            raise ValueError(
                f"Only layers such as nn.Embedding(..., sparse=True) may have sparse gradients, "
                f"got {name.partition('.')[2]} in {_found(rating)}. Use such a layer in place of "
                "a function with sparse=True."
            )
        read = _rows_of(gradient)
        if not read:  # no gradient yet, as with factors that start at 0
            fitting = fitting if len(fitting) == 1 else []
        else:
            of_length = fitting
            fitting = [o for o in fitting if read <= codes[o]]
            fitting = [o for o in fitting if read | {0} == codes[o] | {0}] or fitting
            readers = [o for o, own in codes.items() if sizes[o] and read | {0} == own | {0}]
            if is_table and of_length and readers and not fitting:
                raise ValueError(
                    f"{name.partition('.')[2]} has n_{of_length[0]}s + 1 rows, but forward looks "
                    f"up {readers[0]}s in it, got {_found(rating)}. Use n_{readers[0]}s + 1 rows, "
                    f"or look up {of_length[0]}s."
                )
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
        other = rating._of_network(inputs | {name: sizes[name] - inputs[name]})
        changed = _gradients(rating, other)
        is_equal = torch.equal(outputs, other) and changed.keys() == gradients.keys()
        if is_equal and all(
            torch.equal(_dense(changed[key]), _dense(gradients[key])) for key in changed
        ):
            raise ValueError(
                f"forward takes {name}, but its result does not depend on them, got "
                f"{_found(rating)}. Use {name}, drop the argument, or let tables that are "
                "multiplied start with random numbers in place of 0."
            )


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _found(rating: NetworkRating) -> str:
    return signature_of_forward(rating.network)
