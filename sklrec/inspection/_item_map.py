"""Map of the items by their factors."""
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
from sklrec.inspection._inputs import fitted_model, n_training_ratings

OTHER = "other"


class ItemMapDisplay:
    """Map of items in two dimensions, where items with similar factors are near each other.

    Parameters
    ----------
    coordinates : array-like of shape (n_items, 2)
        Coordinates of the items.
    names : array-like of shape (n_items,)
        Names of the items.
    groups : array-like of shape (n_items,), default=None
        Groups that colour the items, such as genres: strings with a bar between several values,
        or lists of values.
    weights : array-like of shape (n_items,), default=None
        Weights such as the numbers of ratings. The items with the largest weights are labelled.
    axis_names : tuple of (str, str), default=("dimension 1", "dimension 2")
        Names of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    scatters_ : dict of str to matplotlib PathCollection
        The points of each group.
    text_ : list of matplotlib Annotation
        The labels.
    rings_ : matplotlib PathCollection
        Rings around the points with a label.

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
        weights: Any = None,
        axis_names: Sequence[str] = ("dimension 1", "dimension 2"),
    ):
        self.coordinates = coordinates
        self.names = names
        self.groups = groups
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
        transformer: Any = None,
        annotate: Any = 10,
        max_groups: int = 6,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the item factors of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator of this package, or a `Pipeline` or a search that ends in one.
        items : array-like of shape (n_items,), default=None
            IDs of the items to draw, as the estimator sees them. None draws all items of `fit`.
        names : Series, dict or array-like of shape (n_items,), default=None
            Names of the items. The index of a Series, and the keys of a dict, are the IDs. An
            array is in the order of `items`, or of ``encoder_.categories_[1]``. None takes the
            IDs.
        groups : Series, dict or array-like of shape (n_items,), default=None
            Groups that colour the items, such as genres, in the same forms: strings with a bar
            between several values, or lists of values. An item with several groups has the colour
            of the first one that is in the legend.
        transformer : transformer instance, default=None
            Transformer whose `fit_transform` makes at least two columns of the factors. The first
            two are drawn. It is cloned. None draws the first two principal components.
        annotate : int or array-like of IDs, default=10
            IDs of the items to label, or the number of items. A number labels the items with the
            most ratings, if there is space for their labels.
        max_groups : int, default=6
            Maximum number of groups in the legend, which has the most frequent groups. All other
            items are grey.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as in ``Axes.scatter``.
        text_kwargs : dict, default=None
            Style of the labels, as in ``Axes.annotate``.

        Returns
        -------
        ItemMapDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator has no item factors, or if `items` has an unknown or repeated item.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        model = fitted_model(estimator)
        factors = getattr(getattr(model, "module_", None), "item_factors", None)
        if factors is None:
            raise ValueError(
                f"{type(model).__name__} has no item factors to draw. Give an estimator of this "
                "package with factors."
            )
        table = factors.weight.detach().cpu().numpy()[1:]  # row 0 is for unknown items
        if hasattr(model, "encoder_"):
            known = pd.Index(model.encoder_.categories_[1], tupleize_cols=False)
        else:  # the model was fitted on codes
            known = pd.Index(np.arange(1, len(table) + 1))
        items = known if items is None else pd.Index(read_ids(items, "items"), tupleize_cols=False)
        if not items.is_unique:
            repeated = items[items.duplicated()].tolist()[0]
            raise ValueError(f"items must be different, but {repeated!r} is repeated.")
        rows = _find(known, items, "items")
        coordinates, axis_names = _in_two_dimensions(table[rows], transformer)
        display = cls(
            coordinates,
            items.astype(str) if names is None else _by_item(names, items, "names"),
            groups=None if groups is None else _by_item(groups, items, "groups"),
            weights=n_training_ratings(model, 1)[1:][rows] if hasattr(model, "seen_") else None,
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
            The axes to draw on. None makes a new figure.
        annotate : int or array-like of int, default=10
            Rows of the items to label, or the number of items. A number labels the items with the
            largest weights, if there is space for their labels.
        max_groups : int, default=6
            Maximum number of groups in the legend, which has the most frequent groups. All other
            items are grey.
        scatter_kwargs : dict, default=None
            Style of the points, as in ``Axes.scatter``.
        text_kwargs : dict, default=None
            Style of the labels, as in ``Axes.annotate``.

        Returns
        -------
        ItemMapDisplay
            This display.
        """
        x, y = self._coordinates()
        chosen, drop = self._labelled_rows(annotate)
        shown, group = self._groups(check_positive(max_groups, "max_groups"))
        ax = axes_for(self, ax, grid=None)
        self.scatters_: dict[str, Any] = {}
        looks = zip(shown, cycle(COLORS), cycle(MARKERS), strict=False)
        # grey points first, so that they are below the others
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

    def _coordinates(self) -> np.ndarray:
        """Check all values of the items, and return their coordinates."""
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
            if getattr(self, name) is not None:
                _check_length(name, getattr(self, name), len(coordinates))
        return coordinates.T  # (2, n_items)

    def _groups(self, max_groups: int) -> tuple[list[str], np.ndarray]:
        """Return the groups of the legend, the most frequent first, and the group of each item."""
        if self.groups is None:
            return [], np.full(len(self.names), OTHER, dtype=object)
        groups = [_values(value) for value in self.groups]
        counts = Counter(value for values in groups for value in dict.fromkeys(values))
        shown = [value for value, _ in counts.most_common(max_groups)]
        group = [next((v for v in values if v in shown), OTHER) for values in groups]
        return shown, np.array(group, dtype=object)

    def _labelled_rows(self, annotate: Any) -> tuple[np.ndarray, bool]:
        """Return the rows to label, and whether labels without space are dropped."""
        if is_list_like(annotate):
            rows, n_items = pd.Index(annotate).tolist(), len(self.names)
            for row in rows:
                if row not in range(n_items):
                    raise ValueError(
                        f"annotate must hold rows from 0 to {n_items - 1}, got {row!r}."
                    )
            return np.asarray(rows, dtype=np.int64), False
        if not isinstance(annotate, Integral) or annotate < 0:
            raise ValueError(
                f"annotate must be a number of items, or a list of items, got {annotate!r}."
            )
        weights = np.zeros(len(self.names)) if self.weights is None else np.asarray(self.weights)
        return np.argsort(-weights, kind="stable")[:annotate], True


def _check_length(name: str, values: Any, n_items: int) -> None:
    if len(values) != n_items:
        raise ValueError(
            f"{name} must have an entry for each of {n_items} items, got {len(values)}. Give a "
            "Series whose index holds the IDs of the items if there are more."
        )


def _find(known: pd.Index, wanted: Any, name: str) -> np.ndarray:
    """Return the positions of some IDs among known IDs."""
    wanted = pd.Index(wanted, tupleize_cols=False)
    rows = known.get_indexer(wanted)
    if (rows < 0).any():
        raise ValueError(
            f"{name} has {wanted[rows < 0].tolist()[0]!r}, which is not one of the drawn items. "
            "encoder_.categories_[1] holds all items that fit saw."
        )
    return rows


def _by_item(values: Any, items: pd.Index, name: str) -> list[Any]:
    """Return one value for each item, in the order of the items."""
    if isinstance(values, Mapping):
        values = pd.Series(list(values.values()), pd.Index(list(values), tupleize_cols=False))
    if isinstance(values, pd.Series):
        if not values.index.is_unique:
            raise ValueError(f"{name} has repeated items. Drop all but one entry of each item.")
        rows = values.index.get_indexer(items)
        if (rows < 0).any():
            raise ValueError(
                f"{name} has no entry for {np.count_nonzero(rows < 0)} of {len(items)} items, "
                f"such as {items[rows < 0].tolist()[0]!r}. Give a Series or dict with the IDs of "
                "all drawn items as its index or keys."
            )
        return values.iloc[rows].tolist()
    values = list(values)
    _check_length(name, values, len(items))
    return values


def _values(value: Any) -> list[str]:
    """Return the groups of an item: a list, the parts of a string, or none if it is missing."""
    if is_list_like(value):
        return [str(part) for part in value]
    return [] if pd.isna(value) or value == "" else str(value).split("|")


def _in_two_dimensions(table: np.ndarray, transformer: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return coordinates of the rows, and names of the axes."""
    if transformer is None and min(table.shape) < 2:
        raise ValueError(
            "A map needs at least 2 items with at least 2 factors each, got "
            f"{table.shape[0]} with {table.shape[1]}."
        )
    transformer = PCA(2, svd_solver="full") if transformer is None else clone(transformer)
    found = np.asarray(transformer.fit_transform(table))
    if found.ndim != 2 or found.shape[0] != len(table) or found.shape[1] < 2:
        raise ValueError(
            f"{type(transformer).__name__} must make at least 2 columns of the factors, with one "
            f"row for each of {len(table)} items, got an array of shape {found.shape}."
        )
    names = tuple(f"{type(transformer).__name__} dimension {k}" for k in (1, 2))
    if isinstance(transformer, PCA):
        shares = transformer.explained_variance_ratio_
        label = "principal component {} ({:.0%} of the variance)"
        names = (label.format(1, shares[0]), label.format(2, shares[1]))
    return found[:, :2], names
