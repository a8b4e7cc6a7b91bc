"""Parameters of the callbacks in the list `callbacks`, with the names that skorch gives them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from sklearn.base import BaseEstimator

CALLBACKS = "callbacks"
PREFIX = f"{CALLBACKS}__"


class CallbackParameters(BaseEstimator):
    """Mixin that gets and sets ``callbacks__name`` and ``callbacks__name__parameter``."""

    callbacks: list[Any] | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the callbacks as ``callbacks__name``, and their parameters as
            ``callbacks__name__parameter``.

        Returns
        -------
        dict
            The parameters by name.
        """
        params = super().get_params(deep)
        for name, callback in named_callbacks(params.get(CALLBACKS)) if deep else ():
            params[PREFIX + name] = callback
            if hasattr(callback, "get_params") and not isinstance(callback, type):
                own = callback.get_params(deep=True)
                params |= {f"{PREFIX}{name}__{key}": value for key, value in own.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            The parameters by name. ``callbacks__name=value`` replaces a callback, or removes it
            with None. ``callbacks__name__parameter=value`` sets a parameter of a callback. The
            name of a callback without one is that of its class.

        Returns
        -------
        object
            This estimator.

        Raises
        ------
        ValueError
            If there is no such parameter or callback.
        """
        own = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
        super().set_params(**own)
        of_callbacks = {
            name.removeprefix(PREFIX): params[name] for name in params if name not in own
        }
        if of_callbacks:
            self._set_callbacks(of_callbacks)
        return self

    def _set_callbacks(self, params: Mapping[str, Any]) -> None:
        """Replace callbacks, and set parameters of callbacks."""
        found = named_callbacks(getattr(self, CALLBACKS, None))
        place = {name: k for k, (name, _) in enumerate(found)}
        # Callbacks are replaced before parameters of the new ones are set.
        for key in sorted(params, key=lambda key: "__" in key):
            name, _, parameter = key.partition("__")
            if name not in place:
                raise ValueError(
                    f"Invalid parameter {PREFIX + key!r} for estimator {type(self).__name__}: the "
                    f"names in callbacks are {sorted(place)}. Put the callback into callbacks "
                    "first, for example as a pair of a name and a callback."
                )
            k = place[name]
            _, callback = found[k]
            if not parameter:
                callback = params[key]
            elif isinstance(callback, type):
                callback = callback(**{parameter: params[key]})
            else:
                callback.set_params(**{parameter: params[key]})
            found[k] = name, callback
        self.callbacks = found


def named_callbacks(callbacks: Any) -> list[tuple[str, Any]]:
    """Pairs of names and callbacks; several callbacks of a class get numbers, as in skorch."""
    if not isinstance(callbacks, list):  # None, or a value that fit refuses
        return []
    pairs = [c if isinstance(c, tuple | list) and len(c) == 2 else (None, c) for c in callbacks]
    of_classes = [
        (callback if isinstance(callback, type) else type(callback)).__name__
        for _, callback in pairs
    ]
    names = [given or of_class for (given, _), of_class in zip(pairs, of_classes, strict=True)]
    count, number, named = Counter(names), Counter[str](), []
    for (given, callback), name in zip(pairs, names, strict=True):
        number[name] += 1
        unique = name if given or count[name] == 1 else f"{name}_{number[name]}"
        named.append((unique, callback))
    return named
