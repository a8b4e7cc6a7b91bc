"""MovieLens archives of a few rows, and ways to damage them."""
# SPDX-License-Identifier: BSD-3-Clause

import io
import stat
import struct
import warnings
import zipfile
from functools import partial

from sklrec.datasets._movielens_layouts import read_100k, read_100k_wheel, read_csv, read_dat


class AnyChecksum:
    """A checksum that fits any content, so that damaged content is read."""

    def __ne__(self, other):
        return False

    def __format__(self, spec):
        return "any"


ITEM = "1|Toy Story (1995)|01-Jan-1995||http://a|" + "|".join("0001110000000000000") + "\n"
WHEEL = "recbole/dataset_example/ml-100k/ml-100k."
LAYOUTS = {
    "100k": (
        partial(read_100k, ratings_sha256=AnyChecksum()),
        {
            "ml-100k/u.data": b"2\t1\t3\t881250949\n1\t267\t5\t881250950\n",
            "ml-100k/u.user": b"1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
            "ml-100k/u.item": ITEM.encode("latin-1"),
        },
    ),
    "wheel": (
        partial(read_100k_wheel, ratings_sha256=AnyChecksum()),
        {
            WHEEL + "inter": b"user_id\titem_id\trating\ttimestamp\n2\t1\t3\t881250949\n",
            WHEEL + "user": b"user_id\tage\tgender\toccupation\tzip\n1\t24\tM\tother\t85711\n",
            WHEEL + "item": b"item_id\ttitle\tyear\tclass\n1\tToy Story\t1995\tComedy\n",
        },
    ),
    "1m": (
        partial(read_dat, folder="ml-1m", encoding="latin-1"),
        {
            "ml-1m/ratings.dat": b"1::2::5::978300760\n2::1::3::978302109\n",
            "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::07006-1234\n",
            "ml-1m/movies.dat": b"1::Star Wars: IV (1977)::Action|Sci-Fi\n2::Les (1995)::Drama\n",
        },
    ),
    "25m": (
        partial(read_csv, folder="ml-25m"),
        {
            "ml-25m/ratings.csv": b"userId,movieId,rating,timestamp\r\n1,2,5.0,978300760\r\n",
            "ml-25m/movies.csv": b'movieId,title,genres\r\n1,"One, ""2"" (1990)",Drama|War\r\n',
        },
    ),
}
RARE_BYTES = [
    *(b"\0", b"\xff", b"\r", b"\r\n", b'"', b"|", b"::", b",", b"\t", b"\n", b"\xef\xbb\xbf"),
    *(b"-1", b"9" * 30, b"nan", b"1e400", b"\xe2\x80\xa8", b"(1995)", b" " * 500, b"a" * 999),
]
OUTSIDE = ["../outside.txt", "/tmp/outside.txt", "..\\outside.txt"]
RARE_NAMES = [*OUTSIDE, "ml-1m/../../x", "a\0b", "a" * 999]
# Signatures in a zip file, and offsets and lengths of the numbers after them: flags, method,
# checksum, sizes, offset.
LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
ENTRIES = {
    LOCAL: [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    CENTRAL: [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)],
    b"PK\x05\x06": [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}
RARE_NUMBERS = [0, 1, 8, 9, 12, 14, 93, 99, 0x841, 0xFFFF, 2**31 - 1, 2**32 - 1]


def make_zip(members, method=zipfile.ZIP_DEFLATED):
    """Bytes of an archive; `members` are pairs of a name, or a ZipInfo, and content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that two have the same name
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def symlink(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def with_number(content, signature, place, number):
    """Overwrite a number in all entries of the archive's structure."""
    offset, length = place
    packed = struct.pack("<I", number % 256**length)[:length]
    starts = [k for k in range(len(content)) if content.startswith(signature, k)]
    for start in starts:
        content = content[: start + offset] + packed + content[start + offset + length :]
    return content


def with_random_number(content, rng):
    signature = rng.choice(list(ENTRIES))
    return with_number(
        content, signature, rng.choice(ENTRIES[signature]), rng.choice(RARE_NUMBERS)
    )


def with_noise(content, rng):
    """Change, drop, insert or repeat some bytes."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        first = rng.randint(0, len(content))
        last = min(len(content), first + rng.choice([0, 1, 1, 2, 10, 1000]))
        content[first:last] = rng.choice(
            [
                bytes(rng.randrange(256) for _ in range(last - first)),
                b"",
                rng.choice(RARE_BYTES) + content[first:last],
                content[first:last] * rng.choice([2, 4, 100]),
            ]
        )
    return bytes(content)


def damaged(members, rng):
    """Bytes of an archive with a random fault."""
    members = list(members.items())
    if rng.random() < 0.2:
        members.insert(rng.randrange(3), (rng.choice(RARE_NAMES), b"outside"))
    k = rng.randrange(len(members))
    name, content = members[k]
    change = rng.choice("noise noise twice link missing encoding zip number cut".split())
    if change == "noise":
        members[k] = name, with_noise(content, rng)
    elif change == "twice":
        members.append((name, with_noise(content, rng)))
    elif change == "link":
        members[k] = symlink(name), b"/etc/passwd"
    elif change == "missing":
        del members[k]
    elif change == "encoding":
        members[k] = name, content.decode("latin-1").encode(rng.choice(["utf-16", "utf-7"]))
    archive = make_zip(members)
    if change == "zip":
        return with_noise(archive, rng)
    if change == "number":
        return with_random_number(archive, rng)
    return archive[: rng.randrange(len(archive))] if change == "cut" else archive
