"""Transformers that make interactions and sequences ready for the estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.preprocessing._id_encoder import IDEncoder
from sklrec.preprocessing._sequence_padder import SequencePadder
from sklrec.preprocessing._sequence_windower import SequenceWindower

__all__ = ["IDEncoder", "SequencePadder", "SequenceWindower"]
