"""The least limit of the groups of processes that this one lies in, of either version."""

import pytest

from tabular_automl.core import containers
from tabular_automl.core.parallel import Machine


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes the kernel's files: our groups, and files by their path."""
    monkeypatch.setattr(containers, "_TREES", tmp_path / "cgroup")
    monkeypatch.setattr(containers, "_OWN_GROUPS", tmp_path / "own")

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


def version_2(folder, limit, used, cpu="max 100000"):
    names = {"memory.max": limit, "memory.current": used, "cpu.max": cpu}
    return {f"{folder}/{name}": value for name, value in names.items()}


def version_1(group, limit, used, quota=-1):
    memory = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used}
    cpu = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": 100_000}
    files = {f"memory/{group}/{name}": value for name, value in memory.items()}
    return files | {f"cpu/{group}/{name}": value for name, value in cpu.items()}


NO_LIMIT = 2**63 - 4096  # as version 1 writes it


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"": ("max", 5), "a": ("max", 5), "a/b": ("3000", 1000)}, 2000),
        ({"": ("max", 5), "a": ("3000", 1500), "a/b": ("9000", 1000)}, 1500),
        ({"": ("3000", 3500), "a": ("max", 5), "a/b": ("max", 5)}, 0),
        ({"": ("max", 5), "a": ("max", 5), "a/b": ("max", 5)}, None),
        ({}, None),
    ],
    ids=["own", "above", "root", "without", "no files"],
)
def test_the_fullest_group_on_the_way_up_counts(write, limits, expected):
    files = {}
    for group, (limit, used) in limits.items():
        files |= version_2(group, limit, used)
    files |= version_2("a/other", "7", 7)  # somebody else's
    write("0::/a/b\n", files)
    assert containers.free_bytes() == expected
    n_bytes = Machine.detect(1).n_bytes
    assert n_bytes > 9000 if expected is None else n_bytes == expected


def test_each_kind_of_limit_has_its_tree_in_version_1(write):
    own = "9:name=systemd:/z\n4:memory:/docker/m\n2:cpu,cpuacct:/docker/c\n0::/\n"
    files = version_1("", NO_LIMIT, 5) | version_1("docker", 8000, 2000, quota=250_000)
    files |= version_1("docker/m", 5000, 1000) | version_1("docker/c", 7, 7, quota=120_000)
    write(own, files)
    assert containers.free_bytes() == 4000
    assert containers.n_cores() == 2


def test_a_container_that_sees_its_own_group_as_the_root_is_limited_by_it(write):
    write("4:memory:/docker/absent\n1:cpu:/docker/absent\n", version_1("", 3000, 1000, 100_000))
    assert containers.free_bytes() == 2000
    assert containers.n_cores() == 1


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("max 100000", "150000 100000", 2),
        ("50000 100000", "400000 100000", 1),
        ("max 100000", "max 100000", None),
        ("", "300000 0", None),
    ],
)
def test_the_least_share_of_the_processors_counts(write, outer, inner, expected):
    write("0::/a/b\n", {"a/cpu.max": outer, "a/b/cpu.max": inner})
    assert containers.n_cores() == expected


def test_a_machine_has_no_more_cores_than_its_container(write, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    write("0::/a\n", {"a/cpu.max": "300000 100000"})
    assert Machine.detect().n_cores == 3
    assert Machine.detect(2).n_cores == 2


def test_a_path_that_leads_out_of_the_tree_is_not_followed(write):
    write("0::/../b\n", version_2("../b", "7", 7, "100000 100000"))
    assert containers.free_bytes() is None
    assert containers.n_cores() is None


@pytest.mark.parametrize(
    "stat",
    [
        "anon 900\ninactive_file 600\nactive_file 50",
        "inactive_file 7\ntotal_cache 700\ntotal_inactive_file 600",
    ],
    ids=["version 2", "version 1"],
)
def test_cached_pages_that_the_kernel_gives_back_are_free(write, stat):
    write("0::/a\n", version_2("a", "3000", 1000) | {"a/memory.stat": stat})
    assert containers.free_bytes() == 2600


def test_a_system_without_groups_has_no_limits(write):
    assert containers.free_bytes() is None
    assert containers.n_cores() is None
    assert Machine.detect(1).n_bytes > 0
