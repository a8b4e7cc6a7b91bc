"""Training by several processes at once, each of which has a part of every batch."""
# SPDX-License-Identifier: BSD-3-Clause

import atexit
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._net import RatingNet
from sklrec._pair_batches import PairBatches
from sklrec.modules._pairs import Pairs
from sklrec.modules._svdpp import SVDPlusPlus

# How long a process waits for another, unless the script joined them before: torch's own half an
# hour is long for a training that has already failed.
TIMEOUT = timedelta(minutes=5)


class Processes:
    """The processes of a training, as Hugging Face Accelerate joined them.

    Parameters
    ----------
    state : accelerate.PartialState
        What Accelerate knows of them.

    Attributes
    ----------
    index : int
        Which of them this one is.
    count : int
        How many there are.
    device : torch.device
        Where this one trains: its own GPU, or the CPU.
    """

    def __init__(self, state: Any):
        self.index: int = state.process_index
        self.count: int = state.num_processes
        self.device: torch.device = state.device

    @classmethod
    def joined(cls, device: torch.device) -> Self | None:
        """Join the processes that a launcher started.

        Parameters
        ----------
        device : torch.device
            Where they are to train.

        Returns
        -------
        Processes or None
            ``None`` if this one is alone.

        Raises
        ------
        ImportError
            If Accelerate is not installed.
        ValueError
            If they were joined before, for another device.
        RuntimeError
            If they do not find each other.
        """
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise ImportError(
                "distributed=True needs Hugging Face Accelerate. Install it with "
                "pip install sklrec[distributed], or set distributed=False."
            ) from error
        try:
            state = PartialState(cpu=device.type == "cpu", timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            PartialState._reset_state()  # or Accelerate would take what is half done for done
            raise RuntimeError(
                f"The processes of this training did not find each other ({error}). Check that "
                "all of them were started, with the same address and port of the first one."
            ) from error
        _leave_at_exit()
        started = max(state.num_processes, int(os.environ.get("WORLD_SIZE", "1")))
        if started > 1 and (state.num_processes == 1 or state.device.type != device.type):
            raise ValueError(
                f"device={str(device)!r} was asked for, but Accelerate was set up in this process "
                f"for {state.num_processes} process(es) on {str(state.device)!r}. Call "
                f"PartialState(cpu={device.type == 'cpu'}) before anything else of Accelerate, or "
                "leave it to fit; or set another device."
            )
        return cls(state) if state.num_processes > 1 else None

    def gather(self, values: Tensor) -> Tensor:
        """Give all processes what each of them has.

        Parameters
        ----------
        values : Tensor of shape (n, ...)
            What this one has, in the same shape as the others.

        Returns
        -------
        Tensor of shape (count, n, ...)
            What all of them have.
        """
        from accelerate.utils import gather

        with self._named_failure():
            return gather(values.unsqueeze(0))

    def sum(self, values: Tensor) -> Tensor:
        """Add up what the processes have.

        Parameters
        ----------
        values : Tensor
            What this one has, in the same shape as the others.

        Returns
        -------
        Tensor of the shape of `values`
            The sums, the same numbers in all processes.
        """
        from accelerate.utils import reduce

        with self._named_failure():
            return reduce(values, "sum")

    def copy_first(self, values: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process.

        Parameters
        ----------
        values : iterable of Tensor
            The tensors, of the same shapes in all processes.
        """
        from accelerate.utils import broadcast

        with self._named_failure():
            broadcast(list(values))

    def check_alike(self, **facts: Any) -> None:
        """Raise, in all processes, if they do not have the same data or parameters.

        Parameters
        ----------
        **facts : dict
            What must not differ: datasets, or anything that is told by its ``repr``.

        Raises
        ------
        ValueError
            If something differs.
        """
        checks = [_checksum(fact) for fact in facts.values()]
        found = self.gather(torch.tensor(checks, device=self.device)).cpu()
        differs = (found != found[0]).nonzero().tolist()
        if differs:
            process, k = differs[0]
            name = list(facts)[k].replace("_", " ")
            raise ValueError(
                f"The {name} of process {process} is not that of process 0. With "
                "distributed=True all processes need the same X and y, whole and in the same "
                "order, and the same parameters: fit itself gives each its part of every batch."
            )

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of this process by the sums of those of all.

        Parameters
        ----------
        parameters : iterable of Parameter
            The parameters. Which have a gradient, and which a sparse one, is the same in all
            processes; how many rows a sparse one holds need not be.
        """
        there = [parameter for parameter in parameters if parameter.grad is not None]
        if dense := [parameter for parameter in there if not _gradient(parameter).is_sparse]:
            self._sum_dense(dense)
        if sparse := [parameter for parameter in there if _gradient(parameter).is_sparse]:
            self._sum_sparse(sparse)

    def _sum_dense(self, parameters: list[nn.Parameter]) -> None:
        # One exchange for all: each takes some time, however little there is to be said.
        flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
        parts = self.sum(flat).split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def _sum_sparse(self, parameters: list[nn.Parameter]) -> None:
        """Bring the rows of all processes together, one behind another."""
        # Tables whose gradients hold the same rows: a side's factors and its biases.
        groups: dict[int, list[nn.Parameter]] = {}
        for parameter in parameters:
            parameter.grad = _gradient(parameter).coalesce()
            groups.setdefault(parameter.grad._indices().data_ptr(), []).append(parameter)
        blocks = [_as_block(tables) for tables in groups.values()]
        sizes = torch.tensor([block.shape for block in blocks], device=self.device)
        # (count, n_groups) numbers of rows; their widths are the same everywhere
        n_rows = self.gather(sizes[:, 0]).tolist()
        widths = [block.shape[1] for block in blocks]
        lengths = [[n * w for n, w in zip(of, widths, strict=True)] for of in n_rows]
        flat = torch.cat([block.flatten() for block in blocks])
        longest = max(map(sum, lengths))
        gathered = self.gather(F.pad(flat, (0, longest - len(flat))))
        found = [values[: sum(of)].split(of) for values, of in zip(gathered, lengths, strict=True)]
        for tables, width, *parts in zip(groups.values(), widths, *found, strict=True):
            _from_block(torch.cat(parts).view(-1, width), tables)

    @contextmanager
    def _named_failure(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own errors of this kind are such too
            raise RuntimeError(
                f"Process {self.index} of {self.count} lost the others in the middle of the "
                f"training, and ends it ({error}). One of them failed, was killed or did not "
                "answer in time: look for the first error in what they printed, then start all of "
                "them again. The estimator is as it was before fit."
            ) from error


def common_random_state(rng: np.random.RandomState, device: torch.device) -> np.random.RandomState:
    """Give all processes the random state of the first.

    Parameters
    ----------
    rng : RandomState instance
        The process's own.
    device : torch.device
        Where they are to train.

    Returns
    -------
    RandomState instance
        A new one, seeded by a draw from the first process's; `rng` if this process is alone.
    """
    processes = Processes.joined(device)
    if processes is None:
        return rng
    seed = torch.tensor([rng.randint(2**31 - 1)], device=processes.device)
    processes.copy_first([seed])
    return np.random.RandomState(int(seed.item()))


def own_device(device: torch.device) -> torch.device:
    """Give the device of this process where there are several.

    Parameters
    ----------
    device : torch.device
        What was asked for; ``cuda`` without a number is a GPU for each process.

    Returns
    -------
    torch.device
        The device.
    """
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"distributed=True trains on device='cpu' or device='cuda', got {str(device)!r}. Set "
            "one of the two, or distributed=False."
        )
    processes = Processes.joined(device)
    return device if processes is None or device.index is not None else processes.device


class Part(NamedTuple):
    """What a process has of a batch.

    Parameters
    ----------
    weight : Tensor of shape (n,) or None
        What half the sum of squared errors weighs each rating by, so that the gradients of all
        parts add up to that of the batch; 1 if ``None``.
    alpha_factor : float or Tensor of shape ()
        What the penalty is multiplied by for the same reason.
    rows : slice
        Which of the batch's ratings these are.
    n_rows : int
        How many ratings the batch has.
    is_empty : bool
        Whether they are those of another process, and weigh nothing here.
    """

    weight: Tensor | None
    alpha_factor: float | Tensor
    rows: slice
    n_rows: int
    is_empty: bool


class Cut:
    """How batches are cut into parts.

    A process for which nothing is left takes a rating with a weight of 0: all of them go through
    the same steps, so that none waits for an exchange that another one leaves out.

    Parameters
    ----------
    processes : Processes
        Who gets the parts.
    reduction : {'mean', 'sum'}
        What of the batch's squared errors the optimiser minimises.
    """

    def __init__(self, processes: Processes, reduction: str):
        self.processes = processes
        self.reduction = reduction

    def range(self, n: int) -> tuple[slice, bool]:
        """Give this process's share of a number of things.

        Parameters
        ----------
        n : int
            How many there are, at least one.

        Returns
        -------
        rows : slice
            Which of them.
        is_empty : bool
            Whether none is left for it, and it has one of another process.
        """
        k, count = self.processes.index, self.processes.count
        first, last = n * k // count, n * (k + 1) // count
        return (slice(0, 1), True) if first == last else (slice(first, last), False)

    def __call__(self, X: dict[str, Any], ratings: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Cut a batch.

        Parameters
        ----------
        X : dict of str to Tensor
            What the module takes, and ``sample_weight`` if there is any.
        ratings : Tensor of shape (n,)
            The ratings.

        Returns
        -------
        X : dict of str to Tensor
            The same of this process's ratings, and as ``part`` the `Part` that they are.
        ratings : Tensor of shape (n_own,)
            This process's ratings.
        """
        if "lengths" in X:
            return self._whole_sequences(X, ratings)
        rows, is_empty = self.range(len(ratings))
        own = {name: values[rows] for name, values in X.items()}
        return self.weighed(own, X.get("sample_weight"), rows, len(ratings), is_empty), ratings[
            rows
        ]

    def weighed(
        self,
        own: dict[str, Any],
        sample_weight: Tensor | None,
        rows: slice,
        n_rows: int,
        is_empty: bool,
    ) -> dict[str, Any]:
        """Say what part of a batch it is that this process has.

        Parameters
        ----------
        own : dict of str to Tensor
            What the module takes of this process's ratings, and their ``sample_weight`` if there
            is any.
        sample_weight : Tensor of shape (n_rows,) or None
            Weights of the whole batch.
        rows : slice
            Which of the batch's ratings are this process's.
        n_rows : int
            How many ratings the batch has.
        is_empty : bool
            Whether they are those of another process.

        Returns
        -------
        dict of str to object
            `own` with the `Part` as ``part``.
        """
        weight = own.get("sample_weight")
        if is_empty:
            some = next(iter(own.values()))
            weight = torch.zeros(rows.stop - rows.start, device=some.device)
            own["sample_weight"] = weight
        if self.reduction == "mean":
            total = n_rows if sample_weight is None else sample_weight.sum()
            if weight is None:
                some = next(iter(own.values()))
                weight = torch.ones(rows.stop - rows.start, device=some.device)
            weight = weight * (2 / total)
        own["part"] = Part(weight, 1.0, rows, n_rows, is_empty)
        return own

    def _whole_sequences(
        self, X: dict[str, Any], ratings: Tensor
    ) -> tuple[dict[str, Any], Tensor]:
        pieces, is_empty = self.range(len(X["lengths"]))
        bounds = torch.tensor([pieces.start, pieces.stop], device=ratings.device)
        rows = slice(*torch.searchsorted(X["sequences"], bounds).tolist())
        of_pieces = {"past_items", "past_ratings", "past_gaps", "lengths"}
        own = {name: values[pieces if name in of_pieces else rows] for name, values in X.items()}
        own["sequences"] = own["sequences"] - pieces.start
        all_weights = X.get("sample_weight")
        own = self.weighed(own, all_weights, rows, len(ratings), is_empty)
        # Their penalty is one number a batch, which counts as often as the ratings weigh, and
        # is spread over as many as there are.
        factor: float | Tensor = float(not is_empty)
        if all_weights is not None and not is_empty:
            factor = all_weights.mean() / all_weights[rows].mean()
        own["part"] = own["part"]._replace(alpha_factor=factor)
        return own, ratings[rows]


class Parts:
    """What skorch iterates over: this process's parts of batches.

    Parameters
    ----------
    batches : iterable
        Batches, the same in all processes.
    cut : Cut
        What cuts them.
    """

    def __init__(self, batches: Any, cut: Cut):
        self.batches = batches
        self.cut = cut

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for X, ratings in self.batches:
            yield self.cut(X, ratings)


class PairParts(PairBatches):
    """This process's parts of batches of grouped pairs.

    Parameters
    ----------
    dataset : InteractionTensors
        The data.
    batch_size : int
        Rows in a batch.
    generator : torch.Generator
        Source of the batches and of each epoch's order.
    cut : Cut
        What cuts them.
    """

    def __init__(self, dataset: Any, batch_size: int, generator: torch.Generator, cut: Cut):
        self.generator = generator
        order = torch.randperm(len(dataset), generator=generator)
        self.batches = [_grouped_part(dataset, rows, cut) for rows in order.split(batch_size)]


def _grouped_part(dataset: Any, rows: Tensor, cut: Cut) -> tuple[dict[str, Any], Tensor]:
    # In the order of the users, so that few of them have ratings in more than one part.
    users = dataset.X["users"].index_select(0, rows)
    rows = rows.index_select(0, users.argsort(stable=True))
    batch = {name: values.index_select(0, rows) for name, values in dataset.X.items()}
    X, ratings = cut(batch, dataset.y.index_select(0, rows))
    X["pairs"] = Pairs(X.pop("users"), X.pop("items"), X["part"].weight)
    return X, ratings


class PartOfDropout(nn.Dropout):
    """Dropout that draws for a whole batch what it drops of a part.

    Together, the processes so drop what one would drop.

    Parameters
    ----------
    p : float
        Share of what is dropped.
    """

    part: Part

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values.

        Parameters
        ----------
        values : Tensor of shape (n, ...)
            What belongs to the ratings of a part.

        Returns
        -------
        Tensor of the shape of `values`
            Those that are left, scaled up.
        """
        if not self.training or self.p == 0:
            return values
        whole = torch.ones((self.part.n_rows, *values.shape[1:]), device=values.device)
        return values * F.dropout(whole, self.p)[self.part.rows]


class DistributedRatingNet(RatingNet):
    """A `RatingNet` that trains together with those of other processes.

    All of them have all data, draw the same batches and hold the same module. Each computes the
    gradient of its part of a batch; their sum is the batch's, by which all make the same step.

    skorch's ``AccelerateMixin`` would let ``DistributedDataParallel`` add up the gradients. That
    waits for autograd to reach each parameter, which it never does where a gradient has a closed
    form; it averages over processes, however their parts weigh; and a net so wrapped cannot be
    pickled. So the sums are taken here, by Accelerate's own operations.

    Parameters
    ----------
    *args : tuple
        As for `RatingNet`.
    processes : Processes
        Who trains together.
    **kwargs : dict
        As for `RatingNet`.
    """

    def __init__(self, *args, processes, **kwargs):
        super().__init__(*args, **kwargs)
        self.processes = processes
        if processes.index > 0:
            self.verbose = 0  # one progress bar is enough

    def get_iterator(self, dataset, training=False):
        cut = Cut(self.processes, self.reduction)
        if training and self.iterator_train is PairBatches:
            return PairParts(dataset, self.batch_size, self.iterator_train__generator, cut)
        return Parts(super().get_iterator(dataset, training), cut)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X, y, **kwargs)
        if hasattr(self.module_, "dropout"):
            self.module_.dropout = PartOfDropout(self.module_.dropout.p)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        super().on_train_end(net, X, y, **kwargs)
        if hasattr(self.module_, "dropout"):
            self.module_.dropout = nn.Dropout(self.module_.dropout.p)
        # What is left is a net like that of one process, and is pickled like it.
        del self.processes
        self.__class__ = RatingNet

    def infer(self, x, **fit_params):
        return super().infer({k: v for k, v in x.items() if k != "part"}, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X, training)
        return torch.zeros_like(loss) if X["part"].is_empty else loss

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        X, ratings = batch
        X = dict(X)
        part = X.pop("part")
        X["sample_weight"] = part.weight
        module = self.module_
        if hasattr(module, "dropout"):
            module.dropout.part = part
        loss, y_pred = self._backward(
            X, ratings, alpha=self.alpha * part.alpha_factor, reduction="sum", **fit_params
        )
        if self.reduction == "mean" and isinstance(module, SVDPlusPlus):
            for terms in (module.user_terms, module.item_terms):
                if terms.grad is not None:  # those of several batches
                    terms.grad /= module.n_between
        self.processes.sum_gradients(module.parameters())
        if part.is_empty:
            loss = torch.zeros_like(loss)
        return {"loss": loss, "y_pred": y_pred}

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        n_before = len(self.history[-1]["batches"])
        super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        batches = self.history[-1]["batches"][n_before:]
        if iterator is None or not batches:
            return
        # From here on all processes know the losses of whole batches, and stop together.
        names = f"{prefix}_loss", f"{prefix}_batch_size"
        own = torch.tensor([[batch[name] for name in names] for batch in batches]).double()
        own[:, 0] *= own[:, 1]
        of_all = self.processes.sum(own.to(self.processes.device)).cpu()
        of_all[:, 0] /= of_all[:, 1]
        for batch, numbers in zip(batches, of_all.tolist(), strict=True):
            batch.update(zip(names, numbers, strict=True))

    def save_params(self, *args, **kwargs):
        if self.processes.index == 0:  # all of them have the same, and would write to one file
            super().save_params(*args, **kwargs)


@cache
def _leave_at_exit() -> None:
    """End what joins the processes before Python ends.

    Else gloo's threads run on into that, and one run in five or so aborts.
    """
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _as_block(tables: list[nn.Parameter]) -> Tensor:
    """The rows that tables' gradients hold as one matrix, whose first column says which."""
    gradients = [_gradient(table) for table in tables]
    rows = gradients[0]._indices()[0].int()
    values = [gradient._values().view(len(rows), -1) for gradient in gradients]
    # The bits of an integer, since one exchange is of one dtype.
    return torch.cat([rows.view(values[0].dtype).unsqueeze(1), *values], 1)


def _from_block(block: Tensor, tables: list[nn.Parameter]) -> None:
    """Give tables the gradients that a matrix from `_as_block` holds; rows may come twice."""
    rows = block[:, 0].contiguous().view(torch.int32).long().unsqueeze(0)
    widths = [table.numel() // len(table) for table in tables]
    for table, values in zip(tables, block[:, 1:].split(widths, 1), strict=True):
        values = values.contiguous().view(-1, *table.shape[1:])
        table.grad = torch.sparse_coo_tensor(
            rows, values, table.shape, check_invariants=False, is_coalesced=False
        )


def _checksum(fact: Any, start: int = 0) -> int:
    """A number that tells data, or other things by their ``repr``, from others."""
    if isinstance(fact, Tensor):
        fact = fact.cpu().numpy()
    if isinstance(fact, np.ndarray):
        return zlib.crc32(
            np.ascontiguousarray(fact).data, zlib.crc32(repr(fact.shape).encode(), start)
        )
    if isinstance(fact, torch.utils.data.Dataset):
        fact = {
            k: v
            for k, v in vars(fact).items()
            if isinstance(v, Tensor | np.ndarray | dict | int | float)
        }
    if isinstance(fact, dict):
        for name, value in sorted(fact.items()):
            start = _checksum(value, zlib.crc32(name.encode(), start))
        return start
    return zlib.crc32(repr(fact).encode(), start)
