"""Estimators and transformers in a state: their parameters, settings and fitted attributes."""
# SPDX-License-Identifier: BSD-3-Clause

from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import sklearn
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklrec._utils.state.kinds import (
    CONTENT,
    Choice,
    Fields,
    Maybe,
    Only,
    Part,
    Place,
    pack_fields,
    unpack_fields,
)
from sklrec._utils.state.plain import PARAMETER_CODECS, Codec, pack_plain, unpack_plain

PACKED = "_packed"  # in a pickle, the names of the attributes that are written as declared

# Classes by the names that files hold. A file cannot import a class.
CLASSES: WeakValueDictionary[str, type] = WeakValueDictionary()


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
        for name in self._state.keys() & state.keys():
            with suppress(TypeError):  # a value of another class is pickled as it is
                packed[name] = self._state[name].pack(state[name], raw=True)
        return state | packed | {PACKED: sorted(packed)}

    def __setstate__(self, state):
        state = dict(state)
        packed = {name: state.pop(name) for name in state.pop(PACKED)}
        super().__setstate__(state)
        fields = {name: kind for name, kind in self._state.items() if name in packed}
        self.__dict__.update(unpack_fields(fields, packed, Place(type(self).__name__, raw=True)))

    def __copy__(self):
        # The default copies through __getstate__.
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self))
        return copied


class Fitted(Part):
    """A fitted estimator; a pickle holds the object."""

    def pack(self, value, raw):
        return value if raw else super().pack(value, raw)

    def pack_object(self, value, raw):
        return pack_estimator(value)

    def unpack_object(self, cls, packed, place):
        found = unpack_estimator(packed, place)
        if type(found) is not cls:
            place.refuse(f"should be of class {name_of(cls)}")
        return found


def name_of(cls: type) -> str:
    """Return the name of a class in files: that of its package for the classes of sklrec."""
    module = "sklrec" if cls.__module__.startswith("sklrec.") else cls.__module__
    return f"{module}.{cls.__qualname__}"


CLASSES[name_of(Pipeline)] = Pipeline


def pack_estimator(estimator: Any) -> dict[str, Any]:
    """Write a fitted estimator."""
    cls = type(estimator)
    if CLASSES.get(name_of(cls)) is not cls:
        own = sorted(n.removeprefix("sklrec.") for n in CLASSES if n.startswith("sklrec."))
        raise TypeError(
            f"A model file holds a fitted {', '.join(own)}, a subclass of these or a scikit-learn "
            f"Pipeline of these, got {estimator!r:.200} of type {cls.__name__}. Save the "
            "best_estimator_ of a search; use joblib.dump for other objects."
        )
    check_is_fitted(estimator)
    fields = _fields(estimator)
    for name, kind in fields.items():
        if type(kind) is not Maybe and not hasattr(estimator, name):
            raise ValueError(
                f"{cls.__name__} has no attribute {name!r}, which it keeps with its present "
                "parameters. Set them back to those of fit, or fit again."
            )
    parameters = estimator.get_params(deep=False)
    if isinstance(estimator, Pipeline):
        _check_pipeline(estimator)
    return {
        "class": name_of(cls),
        "parameters": {n: _pack(cls, n, v) for n, v in parameters.items() if n != "callbacks"},
        "settings": _pack_settings(estimator),
        "learned": pack_fields(fields, estimator),
    }


def unpack_estimator(packed: Any, place: Place) -> Any:
    """Read a fitted estimator of a class that is imported."""
    parts = dict.fromkeys(("class", "parameters", "settings", "learned"), CONTENT)
    name, parameters, settings, learned = unpack_fields(parts, packed, place).values()
    cls: Any = CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        place.to("class").refuse(
            f"is {name!r:.200}, which is no imported class. If it is yours, import the module "
            "that defines it before you load the file"
        )
    names = dict.fromkeys(set(cls._get_param_names()) - {"callbacks"}, CONTENT)
    there = place.to("parameters")
    found = unpack_fields(names, parameters, there)
    codecs = _codecs(there)
    estimator = cls(**{name: unpack_plain(value, codecs) for name, value in found.items()})
    estimator._validate_params()
    if isinstance(estimator, Pipeline):
        _check_pipeline(estimator)
    _unpack_settings(estimator, settings, place.to("settings"))
    inside = Place(place.to("learned").path)
    vars(estimator).update(unpack_fields(_fields(estimator), learned, inside))
    if hasattr(estimator, "_check_state"):
        estimator._check_state()
    return estimator


def _fields(estimator: Any) -> Fields:
    """Select the attributes that an estimator keeps with its parameters."""
    fields = getattr(type(estimator), "_state", {})
    return {
        name: kind.kind if isinstance(kind, Only) else kind
        for name, kind in fields.items()
        if not isinstance(kind, Only) or getattr(estimator, kind.parameter) == kind.value
    }


def _codecs(place: Place) -> dict[str, Codec]:
    """Make the codecs of parameters, which may be estimators, as in pipelines."""
    unpack = partial(unpack_estimator, place=place)
    estimator = Codec(BaseEstimator, pack_estimator, unpack, subclasses=True)
    return {**PARAMETER_CODECS, "estimator": estimator}


def _pack(cls: type, name: str, value: Any) -> Any:
    try:
        return pack_plain(value, _codecs(Place()))
    except TypeError as error:
        raise TypeError(
            f"{cls.__name__} has the parameter {name}={value!r}, which cannot be stored in a "
            f"model file: {error}. Set it to a plain value, or use joblib.dump."
        ) from error


def _check_pipeline(pipeline: Pipeline) -> None:
    if pipeline.memory is not None:  # a folder of pickles
        raise TypeError(
            f"A model file does not hold a Pipeline with memory={pipeline.memory!r}. Set "
            "memory=None, or use joblib.dump."
        )
    pipeline._validate_steps()


def _pack_settings(estimator: Any) -> dict[str, Any]:
    """Write the settings of ``set_output``, ``set_fit_request`` and similar methods."""
    output = vars(estimator).get("_sklearn_output_config", {}).get("transform")
    has_requests = "_metadata_request" in vars(estimator)
    requests = estimator.get_metadata_routing()._serialize() if has_requests else {}
    return {"output": output, "requests": requests}


def _unpack_settings(estimator: Any, packed: Any, place: Place) -> None:
    fields = {"output": Choice(None, "default", "pandas", "polars"), "requests": CONTENT}
    output, requests = unpack_fields(fields, packed, place).values()
    if output is not None:
        estimator.set_output(transform=output)
    for name, request in requests.items():
        with sklearn.config_context(enable_metadata_routing=True):
            getattr(estimator, f"set_{name}_request")(**request)
