"""The estimators and transformers that a model file can hold."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklrec._data.timestamps import DATETIMES, NUMBERS, ZONED
from sklrec._persistence.learned import read_histories, read_seen, write_histories, write_seen
from sklrec._persistence.modules import (
    read_bayesian,
    read_dense_net,
    read_factorization_machine,
    read_lstm,
    read_matrix_factorization,
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
    Columns,
    read_known_features,
    read_side_blocks,
    read_side_features,
    write_known_features,
    write_side_blocks,
    write_side_features,
)
from sklrec._persistence.vocabularies import read_vocabulary, write_vocabulary
from sklrec._utils.warnings import warn
from sklrec.estimators.bayesian import BayesianMFRegressor
from sklrec.estimators.dense import DenseRecRegressor
from sklrec.estimators.matrix_factorization import MFRegressor
from sklrec.estimators.sequence import SequenceRatingRegressor
from sklrec.modules._bayesian import BayesianMatrixFactorization
from sklrec.preprocessing import IDEncoder, SequencePadder, SequenceWindower

# Wider matrices of sequences, and windows, are not believed.
MAX_LEN = 2**24
LARGEST = 1e300
TIMESTAMP_KINDS = (NUMBERS, DATETIMES, ZONED)
# What scikit-learn keeps in an estimator's attributes beside what `fit` learns.
SETTINGS = {"_sklearn_output_config", "_metadata_request"}
CALLBACKS = "_skl_callbacks"  # where its set_callbacks puts them


class Kind(NamedTuple):
    """How what `fit` learns of one class is written and read.

    Parameters
    ----------
    attributes : set of str
        All attributes that may be there.
    write : callable
        Writes them.
    read : callable
        Reads them into an estimator that has its parameters.
    """

    attributes: set[str]
    write: Callable[[PartWriter, Any], None]
    read: Callable[[PartReader, Any], None]


def write_estimator(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write a fitted estimator.

    Parameters
    ----------
    part : PartWriter
        Where to.
    estimator : estimator instance
        One of `KINDS`.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it holds something that cannot be stored.

    Warns
    -----
    UserWarning
        If it has attributes of the user's own, or callbacks: they are not stored.
    """
    check_is_fitted(estimator)
    kind = KINDS[type(estimator)]
    if callbacks := getattr(estimator, CALLBACKS, None):
        warn(
            f"The callbacks of set_callbacks, {callbacks!r}, are code, which a model file does "
            "not hold: the loaded estimator will have none.",
            UserWarning,
        )
    known = kind.attributes | SETTINGS | set(estimator.get_params(deep=False))
    known |= {"net_", CALLBACKS}
    if unknown := sorted(set(vars(estimator)) - known):
        warn(
            f"{type(estimator).__name__} has attributes that a model file does not hold: "
            f"{', '.join(unknown)}. The loaded estimator will lack them.",
            UserWarning,
        )
    part.put("class", type(estimator).__name__)
    write_parameters(part.part("parameters"), estimator)
    write_settings(part.part("settings"), estimator)
    kind.write(part.part("learned"), estimator)


def read_estimator(part: PartReader, *kinds: type) -> Any:
    """Read what `write_estimator` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    *kinds : type
        Which classes it may be of; all of them if none is given.

    Returns
    -------
    estimator instance
        The fitted estimator.
    """
    names = {kind.__name__: kind for kind in kinds or KINDS}
    kind = names[part.choice("class", *names)]
    estimator = read_parameters(part.part("parameters"), kind)
    read_settings(part.part("settings"), estimator)
    KINDS[kind].read(part.part("learned"), estimator)
    return estimator


# --- columns of X


def _write_columns_of_X(part: PartWriter, estimator: Any) -> None:
    part.put("n_features_in_", getattr(estimator, "n_features_in_", None))
    names = getattr(estimator, "feature_names_in_", None)
    part.put("feature_names_in_", None if names is None else [str(name) for name in names])


def _read_columns_of_X(part: PartReader, estimator: Any, least: int = 2) -> Sequence[int | str]:
    """Read how many columns X has and what they are called; give names or positions."""
    n_columns = estimator.n_features_in_ = part.count("n_features_in_", least)
    names = part.value("feature_names_in_", list, None)
    if names is None:
        return range(n_columns)
    if len(names) != n_columns or not all(type(name) is str for name in names):
        part.refuse("feature_names_in_", f"should be {n_columns} strings")
    estimator.feature_names_in_ = np.array(names, dtype=object)
    return names


def _read_positions(part: PartReader, name: str, n: int | None, n_columns: int) -> tuple[int, ...]:
    positions = part.value(name, list)
    valid = all(type(p) is int and 0 <= p < n_columns for p in positions)
    if not (valid and len(set(positions)) == len(positions) and n in (None, len(positions))):
        part.refuse(name, f"should be different positions from 0 to {n_columns - 1}")
    return tuple(positions)


# --- transformers


def _write_encoder(part: PartWriter, encoder: IDEncoder) -> None:
    _write_columns_of_X(part, encoder)
    part.put("column_indices_", list(encoder.column_indices_))
    for k, vocabulary in enumerate(encoder.vocabularies_):
        write_vocabulary(part.part(f"vocabulary {k}"), vocabulary)


def _read_encoder(part: PartReader, encoder: IDEncoder) -> None:
    names = _read_columns_of_X(part, encoder, least=1)
    encoder.column_indices_ = _read_positions(part, "column_indices_", None, len(names))
    encoder.vocabularies_ = []
    for k, position in enumerate(encoder.column_indices_):
        encoder.vocabularies_.append(_read_vocabulary(part, f"vocabulary {k}", names[position]))
    if not encoder.vocabularies_:
        part.refuse("column_indices_", "should name a column")


def _read_vocabulary(part: PartReader, name: str, column: int | str) -> Any:
    vocabulary = read_vocabulary(part.part(name))
    if vocabulary.name != column:
        part.refuse(name, f"should be of column {column!r}")
    return vocabulary


def _write_padder(part: PartWriter, padder: SequencePadder) -> None:
    _write_columns_of_X(part, padder)
    part.put("max_len_", padder.max_len_)


def _read_padder(part: PartReader, padder: SequencePadder) -> None:
    padder.max_len_ = part.count("max_len_", 1)
    if padder.max_len_ > MAX_LEN:
        part.refuse("max_len_", f"should be at most {MAX_LEN}")
    if part.is_null("n_features_in_"):  # it was fitted on ragged sequences
        part.choice("n_features_in_", None)
        part.choice("feature_names_in_", None)
    else:
        _read_columns_of_X(part, padder, least=0)


def _write_windower(part: PartWriter, windower: SequenceWindower) -> None:
    _write_columns_of_X(part, windower)
    part.put("column_indices_", list(windower.column_indices_))
    part.put("timestamp_kind_", windower.timestamp_kind_)
    write_vocabulary(part.part("vocabulary_"), windower.vocabulary_)
    write_histories(part.part("histories_"), windower.histories_)


def _read_windower(part: PartReader, windower: SequenceWindower) -> None:
    if windower.max_len > MAX_LEN:
        part.refuse("max_len", f"should be at most {MAX_LEN}")
    names = _read_columns_of_X(part, windower)
    windower.column_indices_ = _read_positions(part, "column_indices_", 3, len(names))
    windower.timestamp_kind_ = part.choice("timestamp_kind_", *TIMESTAMP_KINDS)
    users = names[windower.column_indices_[0]]
    windower.vocabulary_ = _read_vocabulary(part, "vocabulary_", users)
    n_users = len(windower.vocabulary_) + 1
    windower.histories_ = read_histories(part.part("histories_"), n_users, 2**63)
    if not windower.histories_.timed:
        part.refuse("histories_", "should have times")


# --- what all that predict ratings have


def _write_training(part: PartWriter, estimator: Any) -> None:
    """Write what all rating estimators learn alike."""
    _write_columns_of_X(part, estimator)
    scale = estimator.rating_scale_
    part.put("rating_scale_", None if scale is None else [float(bound) for bound in scale])
    part.put("n_iter_", estimator.n_iter_)
    for name in ("loss_curve_", "validation_curve_"):
        if hasattr(estimator, name):
            part.array(name, np.array(getattr(estimator, name), dtype=np.float64))
    write_module(part.part("module_"), estimator.module_)


def _read_training(part: PartReader, estimator: Any) -> Sequence[int | str]:
    names = _read_columns_of_X(part, estimator, least=1)
    scale = part.value("rating_scale_", list, None)
    if scale is not None:
        if [type(bound) for bound in scale] != [float, float]:
            part.refuse("rating_scale_", "should be two numbers")
        if not -LARGEST <= scale[0] <= scale[1] <= LARGEST:
            part.refuse("rating_scale_", "should be the lowest and the highest rating")
        scale = tuple(scale)
    estimator.rating_scale_ = scale
    estimator.loss_curve_ = part.array("loss_curve_", "float64", (ANY,)).tolist()
    estimator.n_iter_ = part.choice("n_iter_", len(estimator.loss_curve_))
    if part.has_array("validation_curve_"):
        estimator.validation_curve_ = part.array("validation_curve_", "float64", (ANY,)).tolist()
    return names


def _write_ids(part: PartWriter, estimator: Any) -> None:
    write_estimator(part.part("encoder_"), estimator.encoder_)
    write_seen(part.part("seen_"), estimator.seen_)


def _read_ids(part: PartReader, estimator: Any) -> tuple[int, int]:
    """Read IDs and who has seen what; give the numbers of users' and of items' codes."""
    encoder = estimator.encoder_ = read_estimator(part.part("encoder_"), IDEncoder)
    names = [list(getattr(e, "feature_names_in_", ())) for e in (estimator, encoder)]
    if encoder.n_features_in_ != estimator.n_features_in_ or names[0] != names[1]:
        part.refuse("encoder_", "should have the columns of the estimator")
    if len(encoder.vocabularies_) != 2:
        part.refuse("encoder_", "should have IDs of users and of items")
    n_users, n_items = (len(vocabulary) + 1 for vocabulary in encoder.vocabularies_)
    if n_users < 2 or n_items < 2:
        part.refuse("encoder_", "should know a user and an item")
    estimator.seen_ = read_seen(part.part("seen_"), n_users, n_items)
    return n_users, n_items


# --- estimators


def _write_mf(part: PartWriter, mf: MFRegressor) -> None:
    _write_training(part, mf)
    _write_ids(part, mf)
    part.put("alpha_", float(mf.alpha_))
    part.put("bayesian", isinstance(mf.module_, BayesianMatrixFactorization))


def _read_mf(part: PartReader, mf: MFRegressor) -> None:
    _read_training(part, mf)
    sizes = _read_ids(part, mf)
    mf.alpha_ = part.number("alpha_", 0, LARGEST)
    read = read_bayesian if part.value("bayesian", bool) else read_matrix_factorization
    mf.module_ = read(part.part("module_"), *sizes)


def _write_dense(part: PartWriter, dense: DenseRecRegressor) -> None:
    _write_training(part, dense)
    _write_ids(part, dense)
    write_side_features(part.part("side_features_"), dense.side_features_)
    write_known_features(part.part("known_features_"), dense.known_features_)


def _read_dense(part: PartReader, dense: DenseRecRegressor) -> None:
    names = _read_training(part, dense)
    sizes = _read_ids(part, dense)
    columns = Columns(names, dense.encoder_.column_indices_)
    side = read_side_features(part.part("side_features_"), columns)
    dense.side_features_ = side
    n_rows = dict(zip(("user", "item"), sizes, strict=True))
    dense.known_features_ = read_known_features(part.part("known_features_"), side, n_rows)
    n_columns = {name: len(getattr(side, name)) for name in GROUPS}
    dense.module_ = read_dense_net(part.part("module_"), *sizes, n_columns, side.n_values)
    if any(len(column.edges) > dense.module_.n_bins + 1 for column in side.numeric):
        part.refuse("side_features_", f"should have at most {dense.module_.n_bins} bins a column")


def _write_fm(part: PartWriter, fm: BayesianMFRegressor) -> None:
    _write_training(part, fm)
    _write_ids(part, fm)
    write_side_blocks(part.part("side_blocks_"), fm.side_blocks_)


def _read_fm(part: PartReader, fm: BayesianMFRegressor) -> None:
    names = _read_training(part, fm)
    n_users, n_items = _read_ids(part, fm)
    columns = Columns(names, fm.encoder_.column_indices_)
    fm.side_blocks_ = read_side_blocks(part.part("side_blocks_"), columns)
    sizes = {name: block.sizes for name, block in fm.side_blocks_.items()}
    fm.module_ = read_factorization_machine(part.part("module_"), n_users, n_items, sizes)
    if fm.module_.stars is not None:
        fm.stars_ = fm.module_.stars.cpu().numpy()


def _write_sequence(part: PartWriter, estimator: SequenceRatingRegressor) -> None:
    _write_training(part, estimator)
    fitted = "interactions" if hasattr(estimator, "encoder_") else "sequences"
    if estimator.input != fitted:
        raise ValueError(
            f"SequenceRatingRegressor was fitted with input={fitted!r}, but has "
            f"input={estimator.input!r} now, and a model file holds no such "
            "contradiction. Set it back, or fit anew."
        )
    part.put("time_unit_", estimator.time_unit_)
    if fitted == "interactions":
        _write_ids(part, estimator)
        part.put("timestamp_index_", estimator.timestamp_index_)
        part.put("timestamp_kind_", estimator.timestamp_kind_)
        write_histories(part.part("histories_"), estimator.histories_)
    else:
        part.put("n_items_", estimator.n_items_)
        part.put("with_ratings_", estimator.with_ratings_)
        part.put("n_outputs_", estimator.n_outputs_)


def _read_sequence(part: PartReader, estimator: SequenceRatingRegressor) -> None:
    names = _read_training(part, estimator)
    estimator.time_unit_ = part.number("time_unit_", 1e-100, 1e100)
    if estimator.input == "sequences":
        histories = None
        _read_form_of_sequences(part, estimator)
    else:
        histories = _read_past(part, estimator, len(names))
    estimator.module_ = read_lstm(part.part("module_"), estimator.n_items_ + 1, histories)
    if histories is None and not (estimator.with_ratings_ or estimator.module_.items_only):
        part.refuse("with_ratings_", "should be true for a model that reads ratings")


def _read_form_of_sequences(part: PartReader, estimator: SequenceRatingRegressor) -> None:
    estimator.n_items_ = part.count("n_items_", 1)
    estimator.with_ratings_ = part.value("with_ratings_", bool)
    width, rest = divmod(estimator.n_features_in_, 1 + estimator.with_ratings_)
    if rest:
        part.refuse("n_features_in_", "should be even: items, and as many ratings")
    estimator.n_outputs_ = part.choice("n_outputs_", 1, width)


def _read_past(part: PartReader, estimator: SequenceRatingRegressor, n_columns: int) -> Any:
    n_users, n_items = _read_ids(part, estimator)
    estimator.n_items_ = n_items - 1
    index = part.value("timestamp_index_", int, None)
    estimator.timestamp_index_ = index
    taken = estimator.encoder_.column_indices_
    if index is not None and (not 0 <= index < n_columns or index in taken):
        part.refuse("timestamp_index_", "should be the position of a column without IDs")
    kinds = (None,) if index is None else TIMESTAMP_KINDS
    estimator.timestamp_kind_ = part.choice("timestamp_kind_", *kinds)
    estimator.histories_ = read_histories(part.part("histories_"), n_users, n_items)
    if estimator.histories_.timed != (index is not None):
        part.refuse("histories_", "should have times if there is a column of timestamps")
    return estimator.histories_


OF_X = {"n_features_in_", "feature_names_in_"}
OF_TRAINING = {*OF_X, "rating_scale_", "n_iter_", "loss_curve_", "validation_curve_", "module_"}
OF_IDS = {"encoder_", "seen_"}
OF_SEQUENCES = {
    *("time_unit_", "n_items_", "histories_", "timestamp_index_", "timestamp_kind_"),
    *("with_ratings_", "n_outputs_"),
}
# All that a model file can hold; nothing else is made of a file.
KINDS: dict[type, Kind] = {
    MFRegressor: Kind(OF_TRAINING | OF_IDS | {"alpha_"}, _write_mf, _read_mf),
    DenseRecRegressor: Kind(
        OF_TRAINING | OF_IDS | {"side_features_", "known_features_"}, _write_dense, _read_dense
    ),
    BayesianMFRegressor: Kind(
        OF_TRAINING | OF_IDS | {"side_blocks_", "stars_"}, _write_fm, _read_fm
    ),
    SequenceRatingRegressor: Kind(
        OF_TRAINING | OF_IDS | OF_SEQUENCES, _write_sequence, _read_sequence
    ),
    IDEncoder: Kind(OF_X | {"column_indices_", "vocabularies_"}, _write_encoder, _read_encoder),
    SequencePadder: Kind(OF_X | {"max_len_"}, _write_padder, _read_padder),
    SequenceWindower: Kind(
        OF_X | {"column_indices_", "vocabulary_", "timestamp_kind_", "histories_"},
        _write_windower,
        _read_windower,
    ),
}
