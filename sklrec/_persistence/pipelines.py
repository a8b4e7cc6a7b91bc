"""Pipelines in a model file."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

from sklearn.pipeline import Pipeline

from sklrec._persistence.estimators import KINDS, read_estimator, write_estimator
from sklrec._persistence.parts import PartReader, PartWriter

FITTED = "fitted"  # marks a step that has a part


def write_pipeline(part: PartWriter, pipeline: Pipeline) -> None:
    """Write a pipeline with fitted steps."""
    if pipeline.memory is not None:
        raise TypeError(
            f"A model file does not hold a Pipeline with memory={pipeline.memory!r}. Set "
            "memory=None, or use joblib.dump."
        )
    part.put("verbose", bool(pipeline.verbose))
    inputs = pipeline.transform_input
    part.put("transform_input", None if inputs is None else [str(name) for name in inputs])
    part.put(
        "steps", [[name, step if _is_empty(step) else FITTED] for name, step in pipeline.steps]
    )
    for k, (name, step) in enumerate(pipeline.steps):
        if type(step) in KINDS:
            write_estimator(part.part(f"step {k}"), step)
        elif not _is_empty(step):
            raise TypeError(
                f"A model file holds Pipelines of {', '.join(kind.__name__ for kind in KINDS)}, "
                f"but step {name!r} is of type {type(step).__name__}. Use joblib.dump."
            )


def is_pipeline(part: PartReader) -> bool:
    """Whether a part holds a pipeline."""
    return part.has("steps")


def read_pipeline(part: PartReader) -> Pipeline:
    """Read a pipeline."""
    steps: list[tuple[str, Any]] = []
    for k, (name, step) in enumerate(part.values("steps", list)):
        if step == FITTED:
            step = read_estimator(part.part(f"step {k}"))
        elif not _is_empty(step):
            part.refuse("steps", f"should have null, 'passthrough' or {FITTED!r} as steps")
        steps.append((name, step))
    verbose, inputs = part.value("verbose", bool), part.values("transform_input", str, None)
    pipeline = Pipeline(steps, verbose=verbose, transform_input=inputs)
    pipeline._validate_steps()
    return pipeline


def _is_empty(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")
