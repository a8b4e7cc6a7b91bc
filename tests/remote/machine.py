"""A device that the CPU imitates, as strict as a GPU about the device of each tensor."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sklrec._utils.runtime import is_plain

# Operations that wait until the device has done all earlier work.
READS = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive"}
READS |= {"masked_select", "bincount", "equal", "is_nonzero", "repeat_interleave"}


backend_registration._setup_privateuseone_for_python_backend("remote")
# Wrapper tensors do not support inference mode.
torch.inference_mode = lambda mode=True: torch.no_grad() if mode else torch.enable_grad()


class Remote(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, kept):
        """Wrap a tensor of the CPU."""
        place = {}
        if kept.layout == torch.strided:
            place = {"strides": kept.stride(), "storage_offset": kept.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, kept.shape, dtype=kept.dtype, device="remote:0", **place
        )

    def __init__(self, kept):
        self.kept = kept

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_sparse = property(lambda self: self.kept.is_sparse)

    def tolist(self):
        """Read the numbers."""
        return self.cpu().tolist()

    def coalesce(self):
        """Add the values of each place."""
        return Remote(self.kept.coalesce())

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Run an operation."""
        return MACHINE.compute(func, args, kwargs or {})


class Machine(TorchDispatchMode):
    """Runs the operations of the device and notes the transfers inside epochs."""

    device = torch.device("remote:0")

    def __init__(self):
        super().__init__()
        self.reads, self.moves = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation."""
        return self.compute(func, args, kwargs or {})

    def compute(self, func, args, kwargs):
        """Run an operation on the CPU's copies of the device's tensors."""
        name = func.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = [x for x in tensors if not isinstance(x, Remote)]
        target = kwargs.get("device")
        arrives = target is not None and torch.device(target).type == self.device.type
        if not arrives and len(here) == len(tensors):
            return func(*args, **kwargs)
        leaves = target is not None and not arrives
        if name == "copy_" and here:
            leaves = here[0] is args[0]
            arrives = not leaves
        elif not (arrives and name == "_to_copy") and any(x.ndim for x in here):
            raise RuntimeError(f"{func} was given tensors on different devices.")
        if leaves or name in READS or (name.startswith("index") and _has_mask(args)):
            _note(self.reads, name)
        elif arrives and here:
            _note(self.moves, name)
        written = _written(func, args, kwargs)
        kwargs = {**kwargs, "device": "cpu"} if target is not None else kwargs
        args, kwargs = tree_map(lambda x: x.kept if isinstance(x, Remote) else x, (args, kwargs))
        found = LSTM_CELL.get(name, func)(*args, **kwargs)
        if not func._schema.returns:
            return None
        if written:
            return written[0] if len(func._schema.returns) == 1 else tuple(written)
        return found if leaves else tree_map(self._kept, found)

    def _kept(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        if is_plain(self.device) and value.dtype == torch.float64:
            raise TypeError("This device has no float64.")
        if is_plain(self.device) and value.layout == torch.sparse_csr:
            raise TypeError("This device has no CSR.")
        return Remote(value)


def _written(func, args, kwargs):
    """Arguments that an operation writes to and returns."""
    given = dict(zip([a.name for a in func._schema.arguments], args, strict=False)) | kwargs
    return [
        given[a.name]
        for a in func._schema.arguments
        if a.name in given and a.alias_info is not None and a.alias_info.is_write
    ]


def _has_mask(args):
    return any(x.dtype == torch.bool for x in tree_leaves(args[1:2]) if torch.is_tensor(x))


def _note(found, name):
    """Note an operation and the line that calls it, if that is inside an epoch."""
    frame, lines = sys._getframe(2), []
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_to_numbers":  # reads at the end of an epoch
            return
        lines.append(f"{name} in {code.co_filename}:{frame.f_lineno}")
        if code.co_name == "run_single_epoch" and code.co_filename.endswith("/net.py"):
            found.append(next(line for line in lines if "sklrec" in line and "remote" not in line))
            return
        frame = frame.f_back


def lstm_cell(of_input, of_hidden, cell, *biases):
    """One step of an LSTM, an operation that only devices other than the CPU have."""
    i, f, g, o = sum(biases, of_input + of_hidden).chunk(4, 1)
    gates = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    i, f, g, o = gates
    new = f * cell + i * g
    return o * new.tanh(), new, torch.cat(gates, 1)


def lstm_cell_backward(of_hidden, of_cell, cell, new, gates, has_biases):
    """Gradients of one step of an LSTM."""
    i, f, g, o = gates.chunk(4, 1)
    of_hidden, of_cell = (0 if x is None else x for x in (of_hidden, of_cell))
    out = new.tanh()
    of_new = of_cell + of_hidden * o * (1 - out**2)
    slopes = [of_new * g * i * (1 - i), of_new * cell * f * (1 - f)]
    slopes += [of_new * i * (1 - g**2), of_hidden * out * o * (1 - o)]
    of_gates = torch.cat(slopes, 1)
    return of_gates, of_new * f, of_gates.sum(0) if has_biases else None


LSTM_CELL = {
    "_thnn_fused_lstm_cell": lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward,
}
MACHINE = Machine()
