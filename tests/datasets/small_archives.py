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


U_DATA = b"2\t1\t3\t881250949\n1\t267\t5\t881250950\n1\t1412\t1\t881250951\n"
FLAGS = {  # of the films 1, 267, 543 and 1412 of MovieLens 100K
    "children": "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0",
    "unknown": "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
    "musical": "0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0",
    "cartoon": "0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
}
# Small archives in the form of GroupLens and of the wheel. MovieLens 100K has the same four films,
# two users and three ratings in both; the others have two films and two ratings.
MEMBERS = {
    "100k": {
        "ml-100k/u.data": U_DATA,
        "ml-100k/u.user": b"1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
        "ml-100k/u.item": (
            f"1|Toy Story (1995)|01-Jan-1995||http://a|{FLAGS['children']}\n"
            f"267|unknown||||{FLAGS['unknown']}\n"
            f"543|Misérables, Les (1995)|01-Jan-1995||http://b|{FLAGS['musical']}\n"
            f"1412|Land  Before Time III (1995) (V)|01-Jan-1995||http://c|{FLAGS['cartoon']}\n"
        ).encode("latin-1"),
    },
    "wheel": {
        "recbole/dataset_example/ml-100k/ml-100k.inter": (
            b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
        ),
        "recbole/dataset_example/ml-100k/ml-100k.user": (
            b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
            b"1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tT8H1N\n"
        ),
        "recbole/dataset_example/ml-100k/ml-100k.item": (
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            "1\tToy Story\t1995\tAnimation Children's Comedy\n"
            "267\tunkonwn\tunkonwn\tunknown\n"
            "543\tMisérables, Les\t1995\tDrama Musical\n"
            "1412\tLand Before Time III (1995)\tV\tAnimation Children's\n"
        ).encode(),
    },
    "1m": {
        "ml-1m/ratings.dat": b"1::2::5::978300760\n2::1::3::978302109\n",
        "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::07006-1234\n",
        "ml-1m/movies.dat": (
            "1::Star Wars: Episode IV (1977)::Action|Sci-Fi\n2::Misérables, Les (1995)::Drama\n"
        ).encode("latin-1"),
    },
    "10m": {
        "ml-10M100K/ratings.dat": b"1::2::5::978300760\n2::1::0.5::978302109\n",
        "ml-10M100K/movies.dat": (
            "1::Star Wars: Episode IV (1977)::Action|Sci-Fi\n2::Misérables, Les (1995)::Drama\n"
        ).encode(),
    },
    "25m": {
        "ml-25m/ratings.csv": (
            b"userId,movieId,rating,timestamp\r\n1,2,5.0,978300760\r\n2,1,0.5,978302109\r\n"
        ),
        "ml-25m/movies.csv": (
            'movieId,title,genres\r\n1,"One, ""Two"" (1990) (1999\u20132001)",Drama|War\r\n'
            "2,Misérables no year,(no genres listed)\r\n"
        ).encode(),
    },
}
for name in ("20m", "32m"):
    MEMBERS[name] = {
        member.replace("25m", name): content for member, content in MEMBERS["25m"].items()
    }

READERS = {
    "100k": partial(read_100k, ratings_sha256=AnyChecksum()),
    "wheel": partial(read_100k_wheel, ratings_sha256=AnyChecksum()),
    "1m": partial(read_dat, folder="ml-1m", encoding="latin-1"),
    "25m": partial(read_csv, folder="ml-25m"),
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
    """Bytes of an archive; `members` are a dict, or pairs of a name or a ZipInfo and content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that two have the same name
        for name, content in getattr(members, "items", lambda: members)():
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
