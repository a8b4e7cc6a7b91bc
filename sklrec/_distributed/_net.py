"""The net of a process that trains together with others."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import nn

from sklrec._distributed._batches import PairParts, Parts
from sklrec._distributed._dropout import PartOfDropout
from sklrec._distributed._gradients import sum_gradients
from sklrec._distributed._parts import Cut
from sklrec._net import RatingNet
from sklrec._pair_batches import PairBatches
from sklrec.modules._svdpp import SVDPlusPlus


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
            own = self.get_params_for("iterator_train")
            return PairParts(dataset, self.batch_size, own["generator"], own["n_cohorts"], cut)
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
        sum_gradients(module.parameters(), self.processes)
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
