"""How work gets its processes: those of torchrun, some that are started and watched here, or none but this one.

Work is a function of the module level, ``work(job, workplace, ranks)``; job and result are pickled. Process 0 gives the
result. Each process has a ledger of its own beside that of process 0.
"""

import base64
import functools
import os
import pickle
from datetime import timedelta
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger
from fromscratch.core.stopping import Stopped
from fromscratch.core.workplace import Workplace
from fromscratch.model.device import choose_device
from fromscratch.parallel.group import Work, ledger_of, share_of
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.mesh import ALONE, joined
from fromscratch.parallel.pulse import watched_from_within
from fromscratch.parallel.supervise import supervised

__all__ = ["follow", "release_followers", "work_together"]

JOB = "job"


def work_together(work: Work, job: Any, workplace: Workplace, layout: Layout) -> Any:
    """The result of ``work`` in as many processes as the layout has.

    They are started here and watched, and again if one dies or hangs; torchrun does that for its own. Raises what one
    of them raised: FromScratchError, and Stopped after a signal, which all of them get. What fails too often is a
    FromScratchError that says of what.
    """
    if _is_torchrun():
        _announce(work, job, workplace.machine, workplace.ledger.path, layout)
        return _work_under_torchrun(work, job, workplace, layout)
    if layout == Layout() and workplace.machine.restarts == 0:
        return work(job, workplace, ALONE)
    return supervised(work, job, workplace, layout)


def follow() -> int:
    """Under torchrun, as another process than 0: wait for work, do it, and return the exit status.

    What there is to say, process 0 says.
    """
    _store().wait([JOB], timedelta(days=365))
    work, job, machine, ledger_path, layout = pickle.loads(base64.b64decode(_store().get(JOB)))
    if work is None:
        return 0
    try:
        with Ledger(ledger_of(ledger_path, int(os.environ["RANK"]))) as ledger:
            _work_under_torchrun(work, job, Workplace(machine, ledger), layout)
        return 0
    except FromScratchError as error:
        return error.exit_code
    except Stopped as stop:
        return stop.exit_code


def release_followers() -> None:
    """Let those who still wait for work under torchrun go: there is none, or it is done."""
    if _is_torchrun() and not _store().check([JOB]):
        _announce(None, None, None, None, None)


def _is_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def _store() -> Store:
    """Where the processes of torchrun meet. After a restart it holds what the dead ones said, under another prefix."""
    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _announce(*what: Any) -> None:
    _store().set(JOB, base64.b64encode(pickle.dumps(what)).decode())


def _work_under_torchrun(work: Work, job: Any, workplace: Workplace, layout: Layout) -> Any:
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    machine = share_of(workplace.machine, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    together = joined(_store(), rank, layout, choose_device(machine), local_rank)
    with together as ranks, watched_from_within(f"process {rank} of {layout.processes}") as pulse:
        return work(job, Workplace(machine, workplace.ledger), ranks.heard_by(pulse))
