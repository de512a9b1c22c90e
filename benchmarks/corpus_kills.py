"""The corpus verb killed with -9 at random instants, and started again: the digests of an undisturbed run.

    python benchmarks/corpus_kills.py [--kills 10] [--engine embedded] [--seed 1] [--gigabytes 0.02]
    python benchmarks/corpus_kills.py --kills 10 --engine ray

What is killed is drawn: the whole command, a worker under it, and with `--engine ray` a node of a cluster of three on
this machine (its raylet and what runs on it), which another replaces. A command that was not itself killed must go
on to its end. Whenever one ends, its artifact is compared with the undisturbed one, and a new one is begun.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus_scale import PAGES, RECIPE, family, make_crawl

SOURCE = """
[corpus.sources.part{number}]
kind = "files"
path = "{pages}"
members = ["{number:05d}.warc.gz"]
domain = "web"
license = "LicenseRef-Made"
"""
PARTS = 16


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--engine", choices=["embedded", "ray"], default="embedded")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--gigabytes", type=float, default=0.02)
    asked = options.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_recipe(folder, int(asked.gigabytes * 1e9))
        expected, _ = undisturbed(recipe, folder / "first")  # which compiles the kernels
        again, seconds = undisturbed(recipe, folder / "second")
        assert again == expected, "two undisturbed runs differ"
        print(f"undisturbed, embedded: {seconds:.1f} s, digest {expected[:16]}", flush=True)
        cluster = Cluster() if asked.engine == "ray" else None
        try:
            counts = kill_and_restart(recipe, folder, asked.kills, expected, seconds, chance, cluster)
        finally:
            if cluster is not None:
                cluster.end()
    print(
        f"{asked.kills} kills, {asked.engine}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}"
    )
    raise SystemExit(bool(counts["other digests"] or counts["commands that gave up"]))


def make_recipe(folder: Path, total_bytes: int) -> Path:
    """A recipe over many small sources, so that there is a shard, and something to lose, every moment."""
    pages = folder / "pages"
    for number in range(PARTS):
        make_crawl(folder / "making", [PAGES], total_bytes // PARTS, seed=number)
        pages.mkdir(exist_ok=True)
        (folder / "making" / "00000.warc.gz").rename(pages / f"{number:05d}.warc.gz")
        shutil.rmtree(folder / "making")
    base, _, rest = RECIPE.partition("[corpus.sources.crawl]")
    sources = "".join(SOURCE.format(number=number, pages=pages) for number in range(PARTS))
    recipe = folder / "kills.toml"
    recipe.write_text(base.format(workers=2) + sources + rest[rest.index("[model]") :].format())
    return recipe


def start(recipe: Path, run: Path, cluster: "Cluster | None") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fromscratch", "corpus", str(recipe), "--run", str(run)]
    if cluster is not None:
        command += ["--set", 'machine.engine="ray"', "--set", f'machine.address="{cluster.address}"']
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=recipe.parent, stdout=quiet, stderr=subprocess.PIPE, start_new_session=True)


def undisturbed(recipe: Path, run: Path) -> tuple[str, float]:
    """The digest of a run that nothing disturbs, and its seconds."""
    begun = time.monotonic()
    process = start(recipe, run, None)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said.decode())
    return digest_of(run), time.monotonic() - begun


def digest_of(run: Path) -> str:
    return str(json.loads((run / "corpus" / "manifest.json").read_text(encoding="utf-8"))["digest"])


def kill_and_restart(
    recipe: Path,
    folder: Path,
    kills: int,
    expected: str,
    seconds: float,
    chance: random.Random,
    cluster: "Cluster | None",
) -> Counter[str]:
    counts: Counter[str] = Counter()
    run = folder / "run"
    ways: dict[str, Callable[[int], bool]] = {"commands killed": kill_group, "workers killed": kill_a_worker(chance)}
    if cluster is not None:
        ways |= {"workers killed": cluster.kill_a_worker(chance), "nodes killed": cluster.kill_a_node(chance)}
    process = start(recipe, run, cluster)
    killed = 0
    while killed < kills or process.poll() is None:
        pause = chance.uniform(0, 1) * seconds if killed < kills else None
        try:
            _, said = process.communicate(timeout=pause)
        except subprocess.TimeoutExpired:
            what = chance.choice(list(ways))
            if ways[what](process.pid):
                counts[what] += 1
                killed += 1
            if what != "commands killed":
                continue
            process.communicate()
        else:
            if process.returncode:
                counts["commands that gave up"] += 1
                print(said.decode(), flush=True)
            elif digest_of(run) == expected:
                counts["runs of the same digest"] += 1
                shutil.rmtree(run)
            else:
                counts["other digests"] += 1
                shutil.rmtree(run)
            if killed >= kills:
                return counts
        process = start(recipe, run, cluster)
    return counts


def kill_group(pid: int) -> bool:
    os.killpg(pid, signal.SIGKILL)
    return True


def kill_a_worker(chance: random.Random) -> Callable[[int], bool]:
    def kill(pid: int) -> bool:
        workers = [each for each in family(pid) if b"spawn_main" in command_of(each)]
        return kill_one(workers, chance)

    return kill


def kill_one(pids: list[int], chance: random.Random) -> bool:
    if not pids:
        return False
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Cluster:
    """A head and three nodes of Ray on this machine, each with a raylet of its own; tasks run on the three."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster as RayCluster

        self._cluster: Any = RayCluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self._nodes = [self._add_node() for _ in range(3)]
        self.address: str = self._cluster.address

    def _add_node(self) -> Any:
        for _ in range(5):
            try:
                return self._cluster.add_node(num_cpus=1)
            except Exception as error:  # Ray raises just that when a busy machine takes long over a new raylet
                print(f"a node did not start: {error}", flush=True)
        raise SystemExit("no node starts here")

    def kill_a_node(self, chance: random.Random) -> Callable[[int], bool]:
        def kill(_pid: int) -> bool:
            node = self._nodes.pop(chance.randrange(len(self._nodes)))
            self._cluster.remove_node(node, allow_graceful=False)
            self._nodes.append(self._add_node())
            return True

        return kill

    def kill_a_worker(self, chance: random.Random) -> Callable[[int], bool]:
        def kill(_pid: int) -> bool:
            raylets = [each.all_processes["raylet"][0].process.pid for each in self._nodes]
            workers = [each for raylet in raylets for each in family(raylet) if b"ray::_call" in command_of(each)]
            return kill_one(workers, chance)

        return kill

    def end(self) -> None:
        self._cluster.shutdown()


if __name__ == "__main__":
    main()
