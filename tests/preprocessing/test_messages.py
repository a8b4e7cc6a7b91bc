"""What the errors and warnings of the transformers say, word for word."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest

from sklrec import IDEncoder, SequencePadder, SequenceWindower

FRAME = pd.DataFrame({"user": [1, 1, 2], "item": [3, 4, 3], "timestamp": [1, 2, 3]})
ENCODER = IDEncoder(handle_unknown="error").fit(FRAME)
WINDOWER = SequenceWindower().fit(FRAME)
NO_CODE = (
    "where the code of an item was expected, a whole number from 0 upwards. Put an IDEncoder in "
    "front, for example make_pipeline(IDEncoder(), SequenceWindower())."
)
NO_PADDING_CODE = (
    "which is no code: codes are whole numbers from 1 upwards, and 0 is that of padding. Encode "
    "items first, for example with IDEncoder, and leave out those that are missing or unknown."
)
NO_SEQUENCE = (
    "but a list, tuple or array of codes was expected. Pass X as a list of sequences, one for "
    "each row of the result, or as a two-dimensional array."
)
NO_TIME = "SequenceWindower needs to know what came first, but X has no column named 'timestamp': "
NAME_IT = "Name the column in SequenceWindower(timestamp=...), by its position or name."


def encoded(**columns):
    return lambda: ENCODER.transform(FRAME.assign(**columns))


def padded(X):
    return lambda: SequencePadder().fit(X)


def windowed(item):
    return lambda: WINDOWER.transform(FRAME.assign(item=pd.Series([3, item, 3], dtype=object)))


MESSAGES = {
    encoded(item=[8, 9, 8]): "Found unknown categories [8, 9] in column 'item' during transform. "
    "Fit on data that has these IDs, or set handle_unknown='use_encoded_value' to give them the "
    "code 0.",
    lambda: ENCODER.transform(
        pd.concat([FRAME.assign(user=range(k, k + 3)) for k in range(9, 39, 3)])
    ): (
        "Found unknown categories [9, 10, 11, 12, 13, 14, 15, 16, 17, 18] and 20 more in column "
        "'user' during transform. Fit on data that has these IDs, or set "
        "handle_unknown='use_encoded_value' to give them the code 0."
    ),
    lambda: ENCODER.transform(pd.concat([FRAME[:1].assign(user=k) for k in range(9, 19)])): (
        "Found unknown categories [9, 10, 11, 12, 13, 14, 15, 16, 17, 18] in column 'user' during "
        "transform. Fit on data that has these IDs, or set handle_unknown='use_encoded_value' to "
        "give them the code 0."
    ),
    lambda: IDEncoder(min_frequency=2).partial_fit(FRAME): "partial_fit sees only some of the "
    "rows and cannot apply min_frequency=2. Set min_frequency=None, or call fit with all rows.",
    lambda: IDEncoder(columns=()).fit(FRAME): "columns is empty: give the position or name of a "
    "column of IDs.",
    padded([]): "Found array with 0 sample(s) while a minimum of 1 is required by SequencePadder.",
    padded([[1, 2], [3, 0, 1]]): f"Sequence 1 holds 0, {NO_PADDING_CODE}",
    padded([[1], ["a", 2]]): f"Sequence 1 holds 'a', {NO_PADDING_CODE}",
    padded([[1], "ab"]): f"Sequence 1 is 'ab' of type str, {NO_SEQUENCE}",
    padded([[1], 7]): f"Sequence 1 is 7 of type int, {NO_SEQUENCE}",
    padded([[], []]): "All 2 sequences are empty, which says nothing about the width of the "
    "matrix: set max_len.",
    windowed("a"): f"Column 'item' holds 'a' in row 1 {NO_CODE}",
    windowed(np.nan): f"Input X contains NaN.\nColumn 'item' holds nan in row 1 {NO_CODE}",
    windowed(np.inf): f"Input X contains infinity.\nColumn 'item' holds inf in row 1 {NO_CODE}",
    windowed(-4): "Negative values in data passed to SequenceWindower.\nColumn 'item' holds -4 in "
    f"row 1 {NO_CODE}",
    windowed(2.5): f"Column 'item' holds 2.5 in row 1 {NO_CODE}",
    lambda: SequenceWindower().fit(FRAME[["user", "item"]]): f"{NO_TIME}its columns are 'user', "
    f"'item'. {NAME_IT}",
    lambda: SequenceWindower().fit(pd.DataFrame(0, [0], list("abcdefghijklmnopqrstuvwx"))): (
        f"{NO_TIME}its columns are {', '.join(map(repr, 'abcdefghijklmnopqrst'))}. {NAME_IT}"
    ),
    lambda: SequenceWindower().fit(FRAME.to_numpy()): f"{NO_TIME}it is an array, whose columns "
    f"have no names. {NAME_IT}",
}


@pytest.mark.parametrize(("call", "message"), MESSAGES.items(), ids=range(len(MESSAGES)))
def test_what_an_error_says(call, message):
    with pytest.raises(ValueError) as told:
        call()
    assert str(told.value) == message
