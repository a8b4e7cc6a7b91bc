"""Pipelines of what a model file can hold."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

from sklearn.pipeline import Pipeline

from sklrec._persistence.estimators import KINDS, read_estimator, write_estimator
from sklrec._persistence.parts import PartReader, PartWriter

CLASS = "Pipeline"
FITTED = "fitted"  # in place of a step that has a part of its own
MAX_STEPS = 100


def write_pipeline(part: PartWriter, pipeline: Pipeline) -> None:
    """Write a pipeline.

    Parameters
    ----------
    part : PartWriter
        Where to.
    pipeline : Pipeline
        The pipeline, with fitted steps.

    Raises
    ------
    TypeError
        If a step is of a class that a model file does not hold, or there is a cache.
    """
    if pipeline.memory is not None:
        raise TypeError(
            f"A model file does not hold a Pipeline with memory={pipeline.memory!r}. Set "
            "memory=None, or use joblib.dump."
        )
    part.put("class", CLASS)
    part.put("verbose", bool(pipeline.verbose))
    inputs = pipeline.transform_input
    part.put("transform_input", None if inputs is None else [str(name) for name in inputs])
    steps = [[name, step if _is_passed(step) else FITTED] for name, step in pipeline.steps]
    part.put("steps", steps)
    for k, (name, step) in enumerate(pipeline.steps):
        if _is_passed(step):
            continue
        if type(step) in KINDS:
            write_estimator(part.part(f"step {k}"), step)
        else:
            raise TypeError(
                f"A model file holds Pipelines of {', '.join(kind.__name__ for kind in KINDS)}, "
                f"but step {name!r} is of type {type(step).__name__}. Use joblib.dump."
            )


def is_pipeline(part: PartReader) -> bool:
    """Tell whether a part holds a pipeline.

    Parameters
    ----------
    part : PartReader
        The part.

    Returns
    -------
    bool
        Whether it says so.
    """
    return part.has("steps")


def read_pipeline(part: PartReader) -> Pipeline:
    """Read what `write_pipeline` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.

    Returns
    -------
    Pipeline
        The pipeline.
    """
    part.choice("class", CLASS)
    pairs = part.value("steps", list)
    if not 0 < len(pairs) <= MAX_STEPS or not all(_is_step(pair) for pair in pairs):
        part.refuse("steps", f"should be at most {MAX_STEPS} names, and what they are of")
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names) or set(names) & set(Pipeline([]).get_params(deep=False)):
        part.refuse("steps", "should have different names, other than those of parameters")
    steps: list[tuple[str, Any]] = []
    for k, (name, step) in enumerate(pairs):
        if step == FITTED:
            step = read_estimator(part.part(f"step {k}"))
            if k < len(pairs) - 1 and not hasattr(step, "transform"):
                part.refuse(f"step {k}", "should be a transformer, since another step follows")
        steps.append((name, step))
    inputs = part.value("transform_input", list, None)
    if inputs is not None and not all(type(name) is str for name in inputs):
        part.refuse("transform_input", "should be strings")
    return Pipeline(steps, verbose=part.value("verbose", bool), transform_input=inputs)


def _is_passed(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _is_step(pair: Any) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
        return False
    name, step = pair
    return "__" not in name and (_is_passed(step) or step == FITTED)
