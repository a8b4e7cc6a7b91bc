"""Estimators and transformers in a state: their parameters, settings and fitted attributes."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import copy
from functools import partial, wraps
from typing import Any, TypeVar, cast

import sklearn
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklrec._utils.runtime import own_settings
from sklrec._utils.state.kinds import Choice, Fields, Kind, Only, Part, Place, Record
from sklrec._utils.state.plain import PARAMETER_CODECS, Codec, pack_plain, unpack_plain

Method = TypeVar("Method", bound=Callable[..., Any])

PACKED = "_packed"  # in a pickle, the names of the attributes that are written as declared

# Classes by the names that files hold. A file cannot import a class.
CLASSES: dict[str, type] = {}


class DeclaredEstimator(BaseEstimator):
    """Base of estimators and transformers, which declare their fitted attributes in `_state`.

    `save` and pickles hold these attributes as plain values and arrays. A class that can be
    constructed is known by its name from its definition on.
    """

    _state: Fields = {}
    _not_kept: tuple[str, ...] = ()  # attributes that neither files nor pickles hold

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if cls.__init__ is not object.__init__:
            CLASSES[name_of(cls)] = cls

    def __getstate__(self):
        state = {n: v for n, v in super().__getstate__().items() if n not in self._not_kept}
        packed = {}
        for name in [name for name in self._state if name in state]:
            with suppress(TypeError):  # a value of another class is pickled as it is
                packed[name] = self._state[name].pack(state[name], raw=True)
        return state | packed | {PACKED: sorted(packed)}

    @own_settings()
    def __setstate__(self, state):
        state = dict(state)
        packed = {name: state.pop(name) for name in state.pop(PACKED)}
        super().__setstate__(state)
        fields = {name: kind for name, kind in self._state.items() if name in packed}
        self.__dict__.update(Record(fields).unpack(packed, Place(type(self).__name__, raw=True)))

    def __copy__(self):
        # The default copies through __getstate__.
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self))
        return copied


def in_one_step(fit: Method) -> Method:
    """Let a method work on a copy, whose attributes replace those of the estimator at the end."""

    @wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        model = copy(self)
        result = fit(model, *args, **kwargs)
        self.__dict__ = vars(model)
        return self if result is model else result

    return cast(Method, wrapper)


class Fitted(Part):
    """A fitted estimator; a pickle holds the object."""

    def pack(self, value, raw):
        return value if raw else super().pack(value, raw)

    def pack_object(self, value, raw):
        return pack_estimator(value)

    def unpack_object(self, cls, packed, place):
        return unpack_estimator(packed, place)


def name_of(cls: type) -> str:
    """Return the name of a class in files: that of its package for the classes of sklrec."""
    module = "sklrec" if cls.__module__.startswith("sklrec.") else cls.__module__
    return f"{module}.{cls.__qualname__}"


CLASSES[name_of(Pipeline)] = Pipeline


def pack_estimator(estimator: Any) -> dict[str, Any]:
    """Write a fitted estimator."""
    cls = type(estimator)
    if CLASSES.get(name_of(cls)) is not cls:
        raise TypeError(f"{estimator!r:.200} of type {cls.__name__}")
    estimator = copy(estimator)  # so that a fit in another thread changes nothing here
    check_is_fitted(estimator)
    _check_pipeline(estimator)
    return {
        "class": name_of(cls),
        "parameters": Record(_parameters(cls, vars(estimator))).pack(estimator, False),
        "settings": _pack_settings(estimator),
        "learned": Record(_fields(estimator)).pack(estimator, False),
    }


def unpack_estimator(packed: Any, place: Place) -> Any:
    """Read a fitted estimator of a class that is imported."""
    parts = Record(dict.fromkeys(("class", "parameters", "settings", "learned"), Kind()))
    name, parameters, settings, learned = parts.unpack(packed, place).values()
    cls: Any = CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        place.to("class").refuse(
            f"is {name!r:.200}, which is no imported class. If it is yours, import the module "
            "that defines it before you load the file"
        )
    place.to("parameters").checked(parameters)
    into = Record(_parameters(cls, parameters), cls)
    estimator = into.unpack(parameters, place.to("parameters"))
    estimator._validate_params()
    _check_pipeline(estimator)
    _unpack_settings(estimator, settings, place.to("settings"))
    learned = Record(_fields(estimator)).unpack(learned, Place(place.to("learned").path))
    vars(estimator).update(learned)
    getattr(estimator, "_check_state", lambda: None)()
    return estimator


class _Parameter(Kind):
    """A parameter: a plain value, or estimators, as in pipelines."""

    def pack(self, value, raw):
        return pack_plain(value, self._codecs(Place()))

    def unpack(self, packed, place):
        return unpack_plain(packed, self._codecs(place))

    def _codecs(self, place: Place) -> dict[str, Codec]:
        unpack = partial(unpack_estimator, place=place)
        estimator = Codec(BaseEstimator, pack_estimator, unpack, subclasses=True)
        return {**PARAMETER_CODECS, "estimator": estimator}


def _parameters(cls: Any, given: Iterable[str]) -> Fields:
    """Declare the parameters of a class, without callbacks, which are code."""
    names = [name for name in cls._get_param_names() if name != "callbacks"]
    if prefix := getattr(cls, "_free_parameters", ""):
        names += [name for name in given if name.startswith(prefix)]
    return {name: _Parameter() for name in names}


def _fields(estimator: Any) -> Fields:
    """Select the attributes that an estimator keeps with its parameters."""
    fields = getattr(type(estimator), "_state", {})
    return {
        name: kind.kind if isinstance(kind, Only) else kind
        for name, kind in fields.items()
        if not isinstance(kind, Only) or getattr(estimator, kind.parameter) == kind.value
    }


def _check_pipeline(estimator: Any) -> None:
    if isinstance(estimator, Pipeline):
        if estimator.memory is not None:  # a folder of pickles
            raise TypeError(f"a Pipeline with memory={estimator.memory!r} in place of memory=None")
        estimator._validate_steps()


def _pack_settings(estimator: Any) -> dict[str, Any]:
    """Write the settings of ``set_output``, ``set_fit_request`` and similar methods."""
    output = vars(estimator).get("_sklearn_output_config", {}).get("transform")
    has_requests = "_metadata_request" in vars(estimator)
    requests = estimator.get_metadata_routing()._serialize() if has_requests else {}
    return {"output": output, "requests": requests}


def _unpack_settings(estimator: Any, packed: Any, place: Place) -> None:
    fields = {"output": Choice(None, "default", "pandas", "polars"), "requests": Kind()}
    output, requests = Record(fields).unpack(packed, place).values()
    if output is not None:
        estimator.set_output(transform=output)
    for name, request in requests.items():
        with sklearn.config_context(enable_metadata_routing=True):
            getattr(estimator, f"set_{name}_request")(**request)
