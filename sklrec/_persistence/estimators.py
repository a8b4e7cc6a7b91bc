"""The estimators and transformers that a model file can hold."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklrec._data.statistics import RatingStatistics
from sklrec._data.timestamps import DATETIMES, NUMBERS, ZONED
from sklrec._persistence.ids import read_vocabulary, write_vocabulary
from sklrec._persistence.learned import read_histories, read_seen, write_histories, write_seen
from sklrec._persistence.modules import (
    has_static_part,
    read_biases,
    read_dense_net,
    read_gaussian,
    read_lstm,
    read_matrix_factorization,
    read_residual_lstm,
    write_module,
)
from sklrec._persistence.parameters import (
    read_parameters,
    read_settings,
    write_parameters,
    write_settings,
)
from sklrec._persistence.parts import ANY, PartReader, PartWriter
from sklrec._persistence.side import (
    GROUPS,
    read_known_features,
    read_side_blocks,
    read_side_features,
    write_known_features,
    write_side_blocks,
    write_side_features,
)
from sklrec._solvers.penalties import LearnedPenalties
from sklrec.estimators.bayesian import BayesianMFRegressor
from sklrec.estimators.bias import BiasRegressor
from sklrec.estimators.dense import DenseRecRegressor
from sklrec.estimators.matrix_factorization import MFRegressor
from sklrec.estimators.sequence import SequenceRatingRegressor
from sklrec.preprocessing import IDEncoder, SequencePadder, SequenceWindower

MAX_LEN = 2**24  # longer sequences would need too much memory
TIMESTAMP_KINDS = (NUMBERS, DATETIMES, ZONED)
CURVES = ("loss_curve_", "validation_curve_")


def write_estimator(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write a fitted estimator of a class in `KINDS`."""
    check_is_fitted(estimator)
    part.put("class", type(estimator).__name__)
    write_parameters(part.part("parameters"), estimator)
    write_settings(part.part("settings"), estimator)
    KINDS[type(estimator)][0](part.part("learned"), estimator)


def read_estimator(part: PartReader, *kinds: type) -> Any:
    """Read an estimator of one of the given classes, or of any class in `KINDS`."""
    names = {kind.__name__: kind for kind in kinds or KINDS}
    kind = names[part.choice("class", *names)]
    estimator = read_parameters(part.part("parameters"), kind)
    read_settings(part.part("settings"), estimator)
    KINDS[kind][1](part.part("learned"), estimator)
    return estimator


def _write_columns_of_X(part: PartWriter, estimator: Any) -> None:
    part.put("n_features_in_", getattr(estimator, "n_features_in_", None))
    names = getattr(estimator, "feature_names_in_", None)
    part.put("feature_names_in_", None if names is None else [str(name) for name in names])
    if hasattr(estimator, "column_indices_"):
        part.put("column_indices_", list(estimator.column_indices_))


def _read_columns_of_X(
    part: PartReader,
    estimator: Any,
    n_indices: int = 0,  # least number of positions in column_indices_
) -> Sequence[Any]:
    """Read the columns of X, and return their names or positions."""
    n_columns = part.value("n_features_in_", int, None)
    if n_columns is not None:  # a SequencePadder fitted to lists has no columns
        estimator.n_features_in_ = n_columns
    names = part.values("feature_names_in_", str, None)
    if names is None:
        names = range(n_columns or 0)
    elif len(names) != n_columns:
        part.refuse("feature_names_in_", f"should be {n_columns} strings")
    else:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    if n_indices:
        positions = tuple(part.values("column_indices_", int))
        if len(positions) < n_indices or not all(0 <= p < len(names) for p in positions):
            part.refuse("column_indices_", f"should be positions from 0 to {len(names) - 1}")
        estimator.column_indices_ = positions
    return names


def _write_encoder(part: PartWriter, encoder: IDEncoder) -> None:
    _write_columns_of_X(part, encoder)
    for k, vocabulary in enumerate(encoder.vocabularies_):
        write_vocabulary(part.part(f"vocabulary {k}"), vocabulary)


def _read_encoder(part: PartReader, encoder: IDEncoder) -> None:
    names = _read_columns_of_X(part, encoder, 1)
    encoder.vocabularies_ = [
        read_vocabulary(part.part(f"vocabulary {k}"), names[position])
        for k, position in enumerate(encoder.column_indices_)
    ]


def _write_padder(part: PartWriter, padder: SequencePadder) -> None:
    _write_columns_of_X(part, padder)
    part.put("max_len_", padder.max_len_)


def _read_padder(part: PartReader, padder: SequencePadder) -> None:
    _read_columns_of_X(part, padder)
    padder.max_len_ = part.count("max_len_", MAX_LEN)


def _write_windower(part: PartWriter, windower: SequenceWindower) -> None:
    _write_columns_of_X(part, windower)
    part.put("timestamp_kind_", windower.timestamp_kind_)
    write_vocabulary(part.part("vocabulary_"), windower.vocabulary_)
    write_histories(part.part("histories_"), windower.histories_)


def _read_windower(part: PartReader, windower: SequenceWindower) -> None:
    if windower.max_len > MAX_LEN:
        part.refuse("max_len", f"should be at most {MAX_LEN}")
    names = _read_columns_of_X(part, windower, 3)
    windower.timestamp_kind_ = part.choice("timestamp_kind_", *TIMESTAMP_KINDS)
    users = names[windower.column_indices_[0]]
    windower.vocabulary_ = read_vocabulary(part.part("vocabulary_"), users)
    n_users = len(windower.vocabulary_) + 1
    windower.histories_ = read_histories(part.part("histories_"), n_users, 2**63)


def _write_training(part: PartWriter, estimator: Any) -> None:
    _write_columns_of_X(part, estimator)
    scale = estimator.rating_scale_
    part.put("rating_scale_", None if scale is None else [float(bound) for bound in scale])
    part.put("rating_statistics_", list(estimator.rating_statistics_))
    for name in CURVES:
        if hasattr(estimator, name):
            part.array(name, np.array(getattr(estimator, name), dtype=np.float64))
    if hasattr(estimator, "alpha") and not hasattr(estimator, "hidden_size"):
        penalties = estimator.penalties_
        part.put("penalties_", None if penalties is None else list(astuple(penalties)))
    write_module(part.part("module_"), estimator.module_)


def _read_training(part: PartReader, estimator: Any) -> Sequence[int | str]:
    names = _read_columns_of_X(part, estimator)
    scale = part.values("rating_scale_", float, None)
    estimator.rating_scale_ = None if scale is None else (scale[0], scale[1])
    weight, mean, variance = part.values("rating_statistics_", float, n=3)
    if not (weight > 0 and variance >= 0):
        part.refuse("rating_statistics_", "should hold a weight above 0 and a variance")
    estimator.rating_statistics_ = RatingStatistics(weight, mean, variance)
    for name in CURVES:
        if part.has_array(name):
            setattr(estimator, name, part.array(name, "float64", (ANY,)).tolist())
    estimator.n_iter_ = len(estimator.loss_curve_)
    if hasattr(estimator, "alpha") and not hasattr(estimator, "hidden_size"):
        found = part.value("penalties_", list, None)
        kinds = [float] * 4 + [int]
        if found is not None and [type(value) for value in found] != kinds:
            part.refuse("penalties_", "should be null, or four numbers and a count")
        if found is not None and not (np.isfinite(found).all() and min(found) >= 0):
            part.refuse("penalties_", "should be finite and not negative")
        estimator.penalties_ = None if found is None else LearnedPenalties(*found)
    return names


def _write_ids(part: PartWriter, estimator: Any) -> None:
    write_estimator(part.part("encoder_"), estimator.encoder_)
    write_seen(part.part("seen_"), estimator.seen_)


def _read_ids(part: PartReader, estimator: Any) -> tuple[int, int]:
    """Read IDs and seen items, and return the numbers of codes of users and items."""
    encoder = estimator.encoder_ = read_estimator(part.part("encoder_"), IDEncoder)
    if len(encoder.vocabularies_) != 2:
        part.refuse("encoder_", "should have IDs of users and of items")
    n_users, n_items = (len(vocabulary) + 1 for vocabulary in encoder.vocabularies_)
    estimator.seen_ = read_seen(part.part("seen_"), n_users, n_items)
    return n_users, n_items


def _write_biases(part: PartWriter, estimator: BiasRegressor) -> None:
    _write_training(part, estimator)
    _write_ids(part, estimator)


def _read_biases(part: PartReader, estimator: BiasRegressor) -> None:
    _read_training(part, estimator)
    sizes = _read_ids(part, estimator)
    estimator.module_ = read_biases(part.part("module_"), *sizes)


def _write_mf(part: PartWriter, mf: MFRegressor) -> None:
    _write_training(part, mf)
    _write_ids(part, mf)


def _read_mf(part: PartReader, mf: MFRegressor) -> None:
    _read_training(part, mf)
    sizes = _read_ids(part, mf)
    mf.module_ = read_matrix_factorization(part.part("module_"), *sizes)


def _write_dense(part: PartWriter, dense: DenseRecRegressor) -> None:
    _write_training(part, dense)
    _write_ids(part, dense)
    write_side_features(part.part("side_features_"), dense.side_features_)
    part.array("value_counts_", dense.value_counts_)
    write_known_features(part.part("known_features_"), dense.known_features_, dense.side_features_)


def _read_dense(part: PartReader, dense: DenseRecRegressor) -> None:
    names = _read_training(part, dense)
    sizes = _read_ids(part, dense)
    side = dense.side_features_ = read_side_features(part.part("side_features_"), names)
    dense.value_counts_ = part.codes("value_counts_", (side.n_values + 1,), 2**62)
    dense.known_features_ = read_known_features(part.part("known_features_"), side, *sizes)
    n_columns = {name: len(getattr(side, name)) for name in GROUPS}
    dense.module_ = read_dense_net(part.part("module_"), *sizes, n_columns, side.n_values)
    if any(len(column.edges) > dense.module_.n_bins + 1 for column in side.numeric):
        part.refuse("side_features_", f"should have at most {dense.module_.n_bins} bins a column")


def _write_bayesian(part: PartWriter, bayesian: BayesianMFRegressor) -> None:
    _write_training(part, bayesian)
    _write_ids(part, bayesian)
    write_side_blocks(part.part("side_blocks_"), bayesian.side_blocks_)


def _read_bayesian(part: PartReader, bayesian: BayesianMFRegressor) -> None:
    names = _read_training(part, bayesian)
    n_codes = _read_ids(part, bayesian)
    bayesian.side_blocks_ = read_side_blocks(part.part("side_blocks_"), names)
    sizes = {name: block.sizes for name, block in bayesian.side_blocks_.items()}
    bayesian.module_ = read_gaussian(part.part("module_"), *n_codes, sizes)
    if bayesian.module_.stars is not None:
        bayesian.stars_ = bayesian.module_.stars.cpu().numpy()


def _write_sequence(part: PartWriter, estimator: SequenceRatingRegressor) -> None:
    _write_training(part, estimator)
    fitted = "interactions" if hasattr(estimator, "encoder_") else "sequences"
    if estimator.input != fitted:
        raise ValueError(
            f"SequenceRatingRegressor was fitted with input={fitted!r}, but has "
            f"input={estimator.input!r} now. Set input={fitted!r}, or fit again."
        )
    part.put("time_unit_", float(estimator.time_unit_))
    if fitted == "interactions":
        _write_ids(part, estimator)
        part.put("timestamp_index_", estimator.timestamp_index_)
        part.put("timestamp_kind_", estimator.timestamp_kind_)
        write_histories(part.part("histories_"), estimator.histories_)
    else:
        part.put("n_items", estimator.n_items_)
        part.put("with_ratings_", estimator.with_ratings_)
        part.put("n_outputs_", estimator.n_outputs_)


def _read_sequence(part: PartReader, estimator: SequenceRatingRegressor) -> None:
    names = _read_training(part, estimator)
    estimator.time_unit_ = part.value("time_unit_", float)
    if estimator.input == "sequences":
        n_items = part.value("n_items", int) + 1
        estimator.with_ratings_ = part.value("with_ratings_", bool)
        width = estimator.n_features_in_ // (1 + estimator.with_ratings_)
        estimator.n_outputs_ = part.choice("n_outputs_", 1, width)
    else:
        n_users, n_items = _read_ids(part, estimator)
        index = estimator.timestamp_index_ = part.value("timestamp_index_", int, None)
        if index is not None and not 0 <= index < len(names):
            part.refuse("timestamp_index_", "should be the position of a column")
        estimator.timestamp_kind_ = part.choice("timestamp_kind_", *TIMESTAMP_KINDS, None)
        estimator.histories_ = read_histories(part.part("histories_"), n_users, n_items)
    of_module = part.part("module_")
    read = read_residual_lstm if has_static_part(of_module) else read_lstm
    estimator.module_ = read(of_module, n_items)


# Classes that a model file can hold, with functions that write and read their fitted attributes.
KINDS: dict[type, tuple[Callable[[PartWriter, Any], None], Callable[[PartReader, Any], None]]] = {
    MFRegressor: (_write_mf, _read_mf),
    DenseRecRegressor: (_write_dense, _read_dense),
    BayesianMFRegressor: (_write_bayesian, _read_bayesian),
    BiasRegressor: (_write_biases, _read_biases),
    SequenceRatingRegressor: (_write_sequence, _read_sequence),
    IDEncoder: (_write_encoder, _read_encoder),
    SequencePadder: (_write_padder, _read_padder),
    SequenceWindower: (_write_windower, _read_windower),
}
