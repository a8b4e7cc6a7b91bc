"""Free memory."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._utils import memory


def test_the_least_of_all_limits_is_found(tmp_path, monkeypatch):
    without_group = memory.available_memory()
    assert without_group is None or without_group > 2**20
    limit, used = tmp_path / "limit", tmp_path / "used"
    monkeypatch.setattr(memory, "GROUPS", [(limit, used)])
    limit.write_text("5000000\n")
    used.write_text("4000000\n")
    assert memory.available_memory() == 1_000_000
    limit.write_text("max\n")
    assert memory.available_memory() != 1_000_000
