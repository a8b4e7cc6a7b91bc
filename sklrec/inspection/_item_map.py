"""The picture of which items are near each other."""
# SPDX-License-Identifier: BSD-3-Clause

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like
from sklearn.base import clone
from sklearn.decomposition import PCA

from sklrec._core.recommend import check_positive, read_ids
from sklrec.inspection._drawing import (
    COLORS,
    GREY,
    MARKERS,
    axes_for,
    check_matplotlib,
    label_points,
    style,
)
from sklrec.inspection._inputs import fitted_model

OTHER = "other"


class ItemMapDisplay:
    """Items in two dimensions, near each other where their factors are alike.

    Parameters
    ----------
    coordinates : array-like of shape (n_items, 2)
        Where the items are.
    names : array-like of shape (n_items,)
        What they are called.
    groups : array-like of shape (n_items,), default=None
        What colours them: strings, in which `separator` stands between several values, or lists
        of values.
    separator : str or None, default="|"
        What stands between several values of a string; None takes strings as they are.
    weights : array-like of shape (n_items,), default=None
        How well known they are, such as their numbers of ratings: those with most are labelled.
    axis_names : tuple of (str, str), default=("dimension 1", "dimension 2")
        What the axes are called.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    scatters_ : dict of str to matplotlib PathCollection
        The points by their group.
    text_ : list of matplotlib Annotation
        The labels.
    rings_ : matplotlib PathCollection
        Rings around the points that have one.

    See Also
    --------
    sklrec.MFRegressor.similar_items : The nearest items in all dimensions.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import ItemMapDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> genres = {item: "war|drama" if item % 3 else "comedy" for item in range(50)}
    >>> display = ItemMapDisplay.from_estimator(mf, groups=genres, annotate=[7, 8])
    >>> list(display.scatters_)
    ['war', 'comedy']
    >>> [text.get_text() for text in display.text_]
    ['7', '8']
    """

    def __init__(
        self,
        coordinates: Any,
        names: Any,
        *,
        groups: Any = None,
        separator: str | None = "|",
        weights: Any = None,
        axis_names: Sequence[str] = ("dimension 1", "dimension 2"),
    ):
        self.coordinates = coordinates
        self.names = names
        self.groups = groups
        self.separator = separator
        self.weights = weights
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        items: Any = None,
        names: Any = None,
        groups: Any = None,
        separator: str | None = "|",
        transformer: Any = None,
        annotate: Any = 10,
        max_groups: int = 6,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the factors of an estimator's items.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator of this package, a `Pipeline` that ends in one, or a search for the
            best of them.
        items : array-like of shape (n_items,), default=None
            IDs of the items to draw, as the estimator sees them. None draws all that `fit` saw.
        names : Series, dict or array-like of shape (n_items,), default=None
            What the items are called. A Series has their IDs as its index and a dict as its keys;
            an array is in the order of `items`, or of ``encoder_.categories_[1]``. None takes
            the IDs.
        groups : Series, dict or array-like of shape (n_items,), default=None
            What colours the items, such as genres, in the same forms: strings, in which
            `separator` stands between several values, or lists of values. An item of several
            groups is drawn in the first of those that are in the legend.
        separator : str or None, default="|"
            What stands between several values of a string; None takes strings as they are.
        transformer : transformer instance, default=None
            What makes two columns, or more, of which two are drawn, of the factors by its
            `fit_transform`. It is cloned. None is the first two principal components.
        annotate : int or array-like of IDs, default=10
            Which items to label: these, or so many of those with the most ratings, as far as
            there is room for their labels.
        max_groups : int, default=6
            How many groups the legend has: the most frequent ones, if there are more. All other
            items are grey.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as of ``Axes.scatter``.
        text_kwargs : dict, default=None
            Style of the labels, as of ``Axes.annotate``.

        Returns
        -------
        ItemMapDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator has no factors of items, or an item is not one that `fit` saw or is
            there twice.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        model = fitted_model(estimator)
        table = _factors(model)
        known = _known_items(model, len(table))
        items = known if items is None else pd.Index(read_ids(items, "items"), tupleize_cols=False)
        if not items.is_unique:
            repeated = items[items.duplicated()].tolist()[0]
            raise ValueError(f"items must differ, and {repeated!r} is there more than once.")
        rows = _find(known, items, "items")
        coordinates, axis_names = _in_two_dimensions(table[rows], transformer)
        display = cls(
            coordinates,
            items.astype(str) if names is None else _by_item(names, items, "names"),
            groups=None if groups is None else _by_item(groups, items, "groups"),
            separator=separator,
            weights=_n_ratings(model)[rows] if hasattr(model, "seen_") else None,
            axis_names=axis_names,
        )
        if is_list_like(annotate):
            annotate = _find(items, read_ids(annotate, "annotate"), "annotate").tolist()
        return display.plot(
            ax,
            annotate=annotate,
            max_groups=max_groups,
            scatter_kwargs=scatter_kwargs,
            text_kwargs=text_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        annotate: Any = 10,
        max_groups: int = 6,
        scatter_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the points and the labels.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        annotate : int or array-like of int, default=10
            Which items to label: those in these rows, or so many of the best known ones, as far
            as there is room for their labels.
        max_groups : int, default=6
            How many groups the legend has: the most frequent ones, if there are more. All other
            items are grey.
        scatter_kwargs : dict, default=None
            Style of the points, as of ``Axes.scatter``.
        text_kwargs : dict, default=None
            Style of the labels, as of ``Axes.annotate``.

        Returns
        -------
        ItemMapDisplay
            This display.
        """
        x, y = self._checked_coordinates()
        chosen, drop = self._chosen(annotate)
        shown, group = self._shown_groups(check_positive(max_groups, "max_groups"))
        ax = axes_for(self, ax)
        self.scatters_: dict[str, Any] = {}
        looks = zip(shown, cycle(COLORS), cycle(MARKERS), strict=False)
        # grey ones first, so that they lie below
        for name, color, marker in [(OTHER, GREY, "."), *looks]:
            rows = group == name
            if rows.any():
                options = style(
                    "collections.PathCollection",
                    scatter_kwargs,
                    color=color,
                    marker=marker,
                    s=12,
                    linewidths=0,
                    alpha=0.6,
                )
                self.scatters_[name] = ax.scatter(x[rows], y[rows], label=name, **options)
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        ax.margins(0.06)
        if shown:
            handles = [self.scatters_[name] for name in [*shown, OTHER] if name in self.scatters_]
            ax.legend(handles=handles, fontsize="small", markerscale=1.5)
        names = np.asarray(self.names, dtype=object)[chosen]
        self.text_ = label_points(
            ax, x[chosen], y[chosen], list(map(str, names)), drop=drop, given=text_kwargs
        )
        rings = np.array([text.xy for text in self.text_]).reshape(-1, 2)
        self.rings_ = ax.scatter(*rings.T, s=40, facecolor="none", edgecolor="black", zorder=4)
        return self

    def _checked_coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Both coordinates of all items."""
        coordinates = np.asarray(self.coordinates, dtype=np.float64)
        if coordinates.ndim != 2 or coordinates.shape[1] != 2:
            raise ValueError(
                f"coordinates must have 2 columns, got an array of shape {coordinates.shape}."
            )
        if not np.isfinite(coordinates).all():
            row = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))[0]
            raise ValueError(
                f"coordinates must be finite, got {coordinates[row].tolist()} in row {row}."
            )
        for name in ("names", "groups", "weights"):
            of_items = getattr(self, name)
            if of_items is not None and len(of_items) != len(coordinates):
                raise ValueError(
                    f"{name} must have an entry for each of {len(coordinates)} items, got "
                    f"{len(of_items)}."
                )
        return coordinates[:, 0], coordinates[:, 1]

    def _shown_groups(self, max_groups: int) -> tuple[list[str], np.ndarray]:
        """The groups of the legend, the most frequent first, and the group of each item."""
        if self.groups is None:
            return [], np.full(len(self.names), OTHER, dtype=object)
        of_items = [_values(value, self.separator) for value in self.groups]
        counts = Counter(value for values in of_items for value in dict.fromkeys(values))
        shown = [value for value, _ in counts.most_common(max_groups)]
        group = [next((v for v in values if v in shown), OTHER) for values in of_items]
        return shown, np.array(group, dtype=object)

    def _chosen(self, annotate: Any) -> tuple[np.ndarray, bool]:
        """Rows to label, and whether labels without room are left out."""
        if is_list_like(annotate):
            rows, n_items = pd.Index(annotate).tolist(), len(self.names)
            for row in rows:
                if row not in range(n_items):
                    raise ValueError(
                        f"annotate must hold rows, from 0 to {n_items - 1}, and {row!r} is not "
                        "one."
                    )
            return np.asarray(rows, dtype=np.int64), False
        if not isinstance(annotate, Integral) or annotate < 0:
            raise ValueError(
                f"annotate must be a number of items, or a list of items, got {annotate!r}."
            )
        weights = np.zeros(len(self.names)) if self.weights is None else np.asarray(self.weights)
        return np.argsort(-weights, kind="stable")[:annotate], True


def _factors(model: Any) -> np.ndarray:
    """The factors of all known items, a row each."""
    factors = getattr(getattr(model, "module_", None), "item_factors", None)
    if factors is None:
        raise ValueError(
            f"{type(model).__name__} has no factors of items to draw. Give an estimator of this "
            "package."
        )
    return factors.weight.detach().cpu().numpy()[1:]  # row 0 is for unknown items


def _known_items(model: Any, n_items: int) -> pd.Index:
    """The IDs of the items, or their codes if the estimator was given those."""
    if not hasattr(model, "encoder_"):
        return pd.Index(np.arange(1, n_items + 1))
    return pd.Index(model.encoder_.categories_[1], tupleize_cols=False)


def _n_ratings(model: Any) -> np.ndarray:
    """Number of training ratings of each known item."""
    return np.bincount(model.seen_.nonzero()[1], minlength=model.seen_.shape[1])[1:]


def _find(known: pd.Index, wanted: Any, name: str) -> np.ndarray:
    """Where some IDs are among others."""
    rows = known.get_indexer(pd.Index(wanted, tupleize_cols=False))
    if (rows < 0).any():
        missing = pd.Index(wanted, tupleize_cols=False)[rows < 0].tolist()[0]
        raise ValueError(
            f"{name} must hold items that are drawn, and {missing!r} is not one. The items that "
            "fit saw are in encoder_.categories_[1]."
        )
    return rows


def _by_item(values: Any, items: pd.Index, name: str) -> list[Any]:
    """One value for each item, in the order of the items."""
    if isinstance(values, Mapping):
        values = pd.Series(list(values.values()), pd.Index(list(values), tupleize_cols=False))
    if isinstance(values, pd.Series):
        if not values.index.is_unique:
            raise ValueError(f"{name} has an item more than once. Drop the repeated ones.")
        rows = values.index.get_indexer(items)
        if (rows < 0).any():
            raise ValueError(
                f"{name} has no entry for item {items[rows < 0].tolist()[0]!r} and "
                f"{np.count_nonzero(rows < 0)} of {len(items)} items. The index of a Series, and "
                "the keys of a dict, must be the IDs of all items that are drawn."
            )
        return values.iloc[rows].tolist()
    values = list(values)
    if len(values) != len(items):
        raise ValueError(
            f"{name} must have an entry for each of {len(items)} items, got {len(values)}. Give "
            "a Series whose index holds the IDs of the items, if there are more."
        )
    return values


def _values(value: Any, separator: str | None) -> list[str]:
    """The values of an item's group; none if it is missing."""
    if is_list_like(value):
        return [str(part) for part in value]
    if pd.isna(value) or value == "":
        return []
    return str(value).split(separator) if separator else [str(value)]


def _in_two_dimensions(table: np.ndarray, transformer: Any) -> tuple[np.ndarray, tuple[str, str]]:
    """Coordinates of the rows, and names of the axes."""
    if transformer is None:
        if min(table.shape) < 2:
            raise ValueError(
                "A map needs at least 2 items with at least 2 factors each, got "
                f"{table.shape[0]} with {table.shape[1]}."
            )
        transformer = PCA(2, svd_solver="full")
    else:
        transformer = clone(transformer)
    found = np.asarray(transformer.fit_transform(table))
    if found.ndim != 2 or found.shape[0] != len(table) or found.shape[1] < 2:
        raise ValueError(
            f"{type(transformer).__name__} must make at least 2 columns of the factors, one row "
            f"for each of {len(table)} items, got an array of shape {found.shape}."
        )
    if isinstance(transformer, PCA):
        shares = transformer.explained_variance_ratio_
        first, second = (
            f"principal component {k} ({share:.0%} of the variance)"
            for k, share in enumerate(shares[:2], start=1)
        )
    else:
        first, second = (f"{type(transformer).__name__} dimension {k}" for k in (1, 2))
    return found[:, :2], (first, second)
