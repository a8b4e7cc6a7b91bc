"""A callback that saves a model while it is trained."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from typing import Any

from skorch.callbacks import Callback

from sklrec._data.checks import check_positive
from sklrec._persistence.files import save
from sklrec._utils.warnings import warn
from sklrec._utils.whole_files import check_file_path


class ModelCheckpoint(Callback):
    """Save the model to a file while it is trained.

    Pass it in ``callbacks`` of `MFRegressor`, `DenseRecRegressor`, `SequenceRatingRegressor` or
    `ModuleRecRegressor`.
    If the process stops, ``sklrec.load(path).set_params(warm_start=True).fit(X, y)`` continues
    from the saved weights with a new learning-rate schedule. The result differs from that of an
    uninterrupted fit.

    Parameters
    ----------
    path : str or PathLike
        Path of the file. Each save replaces it when the new file is complete, so there is a
        complete file at any time. Fits that run at the same time, as in a search, need different
        files.
    every_n_epochs : int, default=1
        Number of epochs between two saves.

    Raises
    ------
    OSError
        If the file cannot be written when the training starts.
    ValueError
        If `path` is a device, a pipe or a socket.

    Warns
    -----
    UserWarning
        If the file cannot be written later, such as on a full disk. The training continues.

    See Also
    --------
    save : Save a fitted estimator.
    load : Load a fitted estimator.

    Examples
    --------
    >>> import sklrec
    >>> from sklrec.datasets import make_ratings
    >>> from tempfile import TemporaryDirectory
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     path = f"{folder}/ratings.sklrec"
    ...     callbacks = [sklrec.ModelCheckpoint(path, every_n_epochs=5)]
    ...     mf = sklrec.MFRegressor(n_factors=8, callbacks=callbacks, random_state=0).fit(X, y)
    ...     saved = sklrec.load(path)
    >>> saved.n_iter_
    15
    >>> continued = saved.set_params(warm_start=True, max_epochs=5).fit(X, y)
    >>> continued.n_iter_
    20
    """

    def __init__(self, path: str | os.PathLike[str], every_n_epochs: int = 1):
        self.path = path
        self.every_n_epochs = every_n_epochs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        check_positive(self.every_n_epochs, "every_n_epochs")
        if not hasattr(net, "snapshot_"):
            raise TypeError(
                "ModelCheckpoint is a callback of MFRegressor, DenseRecRegressor, "
                "SequenceRatingRegressor and ModuleRecRegressor, got a "
                f"{type(net).__name__} that they did not make."
            )
        if net.is_first_process:
            check_file_path(self.path)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) % self.every_n_epochs or not net.is_first_process:
            return
        model = net.snapshot_()
        model.callbacks = None  # save warns about callbacks, which model files do not hold
        try:
            save(model, self.path)
        except OSError as error:
            warn(
                f"The model could not be saved to {os.fspath(self.path)!r}: {error}. The training "
                "continues.",
            )
