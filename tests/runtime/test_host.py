"""What the machine says of itself."""

from __future__ import annotations

import os
import shutil

from glmlite.runtime import host
from glmlite.runtime.host import inspect_host


def test_this_machine(tmp_path):
    found = inspect_host(tmp_path)
    assert found.cores == len(os.sched_getaffinity(0))
    assert abs(found.disk_free - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert found.memory_total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.memory_available is not None
    assert 0 < found.memory_available <= found.memory_total


def read(files):
    return lambda path: files.get(path, "")


def test_an_arm_server_in_a_container(monkeypatch):
    files = {
        "/proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp i8mm\n\nprocessor\t: 1\n",
        "/proc/meminfo": "MemTotal:  1024 kB\nMemAvailable: 512 kB\nHugePages_Total: 0\nodd\n",
        "/proc/self/cgroup": "0::/docker/abc\n",
        "/sys/fs/cgroup/memory.max": "4096\n",
    }
    monkeypatch.setattr(host, "_read", read(files))
    found = inspect_host()
    assert found.cpu_features == ("asimd", "asimdhp", "i8mm")
    assert (found.memory_total, found.memory_available) == (2**20, 2**19)
    assert found.memory_limit == 4096


def test_cgroups_of_the_first_version(monkeypatch):
    files = {
        "/proc/self/cgroup": "3:cpu:/a\n2:memory:/a\n",
        "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "8192",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
    }
    monkeypatch.setattr(host, "_read", read(files))
    assert inspect_host().memory_limit == 8192


def test_a_machine_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(host, "_read", read({}))
    found = inspect_host()
    assert found.memory_limit is None
    assert found.memory_available is None
    assert found.cpu_features == ()
