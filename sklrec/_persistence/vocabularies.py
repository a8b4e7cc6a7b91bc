"""Vocabularies in a model file."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._data.vocabulary import Vocabulary
from sklrec._persistence.ids import read_ids, write_ids
from sklrec._persistence.parts import PartReader, PartWriter


def write_vocabulary(part: PartWriter, vocabulary: Vocabulary) -> None:
    """Write a vocabulary.

    Parameters
    ----------
    part : PartWriter
        Where to.
    vocabulary : Vocabulary
        The vocabulary.
    """
    ids, rare = vocabulary._ids, vocabulary.rare
    part.put("name", plain_name(vocabulary.name))
    write_ids(part.part("ids"), ids, vocabulary.name)
    # An array of their own is needed but for the usual one, an empty part of the IDs.
    if len(rare) or rare.dtype != ids.dtype:
        write_ids(part.part("rare"), rare, vocabulary.name)


def read_vocabulary(part: PartReader) -> Vocabulary:
    """Read what `write_vocabulary` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.

    Returns
    -------
    Vocabulary
        The vocabulary.
    """
    name = part.value("name", int, str)
    ids = read_ids(part.part("ids"))
    rare = read_ids(part.part("rare")) if part.has("rare") else None
    return Vocabulary(ids, name, rare)


def plain_name(name: int | str) -> int | str:
    """Give a column's name as Python's own string, or its position as Python's own integer.

    Parameters
    ----------
    name : int or str
        The name, perhaps of a subclass of these.

    Returns
    -------
    int or str
        The same.
    """
    return str(name) if isinstance(name, str) else int(name)
