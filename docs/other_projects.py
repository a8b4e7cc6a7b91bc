"""Addresses of the pages of other projects that this documentation links to.

A build is offline, so `conf.py` writes inventories of Sphinx from the names below.
"""
# SPDX-License-Identifier: BSD-3-Clause

import zlib
from pathlib import Path

# project: (address, page of a name)
PROJECTS = {
    "sklearn": ("https://scikit-learn.org/stable/", "modules/generated/{name}.html"),
    "torch": ("https://docs.pytorch.org/docs/stable/", "generated/{name}.html"),
    "skorch": ("https://skorch.readthedocs.io/en/stable/", "callbacks.html"),
    "pandas": ("https://pandas.pydata.org/docs/", "reference/api/{name}.html"),
    "numpy": ("https://numpy.org/doc/stable/", "reference/generated/{name}.html"),
}
OTHER_PAGES = {
    "numpy.random.RandomState": "reference/random/legacy.html",
    "torch.optim.Optimizer": "optim.html",
}
NAMES = """
numpy.memmap
numpy.random.RandomState
pandas.DataFrame
pandas.Series
pandas.to_datetime
skorch.callbacks.EarlyStopping
skorch.callbacks.LRScheduler
sklearn.base.BaseEstimator
sklearn.base.OneToOneFeatureMixin
sklearn.base.clone
sklearn.dummy.DummyRegressor
sklearn.ensemble.StackingRegressor
sklearn.ensemble.VotingRegressor
sklearn.metrics.PredictionErrorDisplay
sklearn.metrics.make_scorer
sklearn.metrics.ndcg_score
sklearn.metrics.root_mean_squared_error
sklearn.model_selection.GridSearchCV
sklearn.model_selection.GroupKFold
sklearn.model_selection.GroupShuffleSplit
sklearn.model_selection.HalvingRandomSearchCV
sklearn.model_selection.KFold
sklearn.model_selection.LearningCurveDisplay
sklearn.model_selection.RandomizedSearchCV
sklearn.model_selection.StratifiedKFold
sklearn.model_selection.TimeSeriesSplit
sklearn.model_selection.cross_val_score
sklearn.model_selection.cross_validate
sklearn.pipeline.Pipeline
sklearn.preprocessing.OrdinalEncoder
sklearn.utils.Bunch
torch.compile
torch.nn.Module
torch.optim.Adam
torch.optim.Optimizer
torch.set_num_threads
""".split()


def address(name: str) -> str:
    """Return the page of a name, relative to its project."""
    page = OTHER_PAGES.get(name) or PROJECTS[name.partition(".")[0]][1].format(name=name)
    return f"{page}#{name}"


def links() -> dict[str, str]:
    """Map full names, short names and `nn.Module` to addresses."""
    full = {name: PROJECTS[name.partition(".")[0]][0] + address(name) for name in NAMES}
    short = {name.rpartition(".")[2]: url for name, url in full.items()}
    return full | short | {"nn.Module": full["torch.nn.Module"]}


def write_inventories(folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each project, and return the mapping of intersphinx."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (url, _) in PROJECTS.items():
        lines = [
            f"{name} py:{'class' if name.rpartition('.')[2][0].isupper() else 'function'} "
            f"1 {address(name)} -\n"
            for name in NAMES
            if name.startswith(f"{project}.")
        ]
        header = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        header += "# The remainder of this file is compressed using zlib.\n"
        path = folder / f"{project}.inv"
        path.write_bytes(header.encode() + zlib.compress("".join(lines).encode()))
        mapping[project] = (url, str(path))
    return mapping
