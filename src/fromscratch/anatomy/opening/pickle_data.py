"""A pickle read as data: what it would call is noted by name, and nothing is imported, called or made.

The opcodes are those of Python's ``pickletools`` for protocols 2 to 5. A pickle is a program for a stack machine; here
the machine's stack holds descriptions, so that a hostile program gives at most an odd description.
"""

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fromscratch.anatomy.opening.headers import DAMAGED, shown
from fromscratch.core.errors import FromScratchError

__all__ = ["Made", "Name", "Persistent", "Table", "read_pickle"]

OPCODES = {each.code.encode("latin-1"): each for each in pickletools.opcodes}
OPCODES_AT_MOST = 30_000_000
OBJECTS_AT_MOST = 12_000_000
NAME_CHARACTERS_AT_MOST = 1000
DICTIONARIES = ("OrderedDict", "defaultdict", "dict")


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True, repr=False)
class Table:
    """A dictionary, as the pairs that were put in; keys may be anything, so they are never hashed."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    def get(self, key: str) -> Any:
        """The value under a text, the last one if there are several; None without."""
        return next((value for each, value in reversed(self.pairs) if isinstance(each, str) and each == key), None)


@dataclass(eq=False, slots=True, repr=False)
class Made(Table):
    """What calling ``maker`` with ``arguments`` would have made, had anybody called it. ``pairs`` were then put in."""

    maker: Name = Name("", "")
    arguments: tuple[Any, ...] = ()
    state: Any = None
    elements: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Persistent:
    """A reference to something outside of the pickle, such as a storage."""

    reference: Any


def read_pickle(content: bytes, place: str) -> tuple[Any, frozenset[Name]]:
    """The value that a pickle describes, and the names it would have called.

    Texts, numbers, bytes and None are themselves, tuples and lists too, sets are lists; dictionaries are Table, all
    else is Made. Raises FromScratchError for a pickle that is damaged, or uses what no checkpoint does.
    """
    machine = _Machine(place)
    stream = io.BytesIO(content)
    try:
        for _ in range(OPCODES_AT_MOST):
            code = stream.read(1)
            opcode = OPCODES.get(code)
            if opcode is None or opcode.name not in STEPS:
                found = opcode.name if opcode else "its end" if not code else f"byte {code[0]}"
                raise FromScratchError(
                    f"{place}: its pickle has {found} at byte {stream.tell() - len(code):,}", DAMAGED
                )
            if opcode.name == "STOP":
                return machine.stack.pop(), frozenset(machine.called)
            if opcode.name == "GLOBAL":  # its reader would interpret escapes, of which names have none
                argument: Any = _name(*(stream.readline().rstrip(b"\n").decode() for _ in range(2)))
            else:
                argument = opcode.arg.reader(stream) if opcode.arg else None
            STEPS[opcode.name](machine, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        said = f"{type(error).__name__}: {shown(str(error))}"
        raise FromScratchError(f"{place}: its pickle breaks at byte {stream.tell():,} ({said})", DAMAGED) from None
    raise FromScratchError(f"{place}: its pickle has more than {OPCODES_AT_MOST:,} steps", "no model needs as many")


class _Machine:
    """The stack machine's state, and the steps that take more than a line."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.called: set[Name] = set()
        self.objects = 0

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def create(self, value: Any, count: int = 1) -> None:
        """Push something that takes memory of its own, of which a byte of the pickle can make a hundred."""
        self._count(count)
        self.stack.append(value)

    def _count(self, count: int = 1) -> None:
        self.objects += count
        if self.objects > OBJECTS_AT_MOST:
            raise ValueError(f"more than {OBJECTS_AT_MOST:,} objects")

    def mark(self) -> None:
        self._count()
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marks.pop()
        return values

    def pop(self, count: int) -> tuple[Any, ...]:
        """The topmost values, the deepest first. Raises IndexError if there are fewer."""
        if len(self.stack) < count:
            raise IndexError(f"{len(self.stack)} values where {count} are needed")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def make(self, maker: Any, arguments: Any) -> None:
        if not isinstance(maker, Name) or not isinstance(arguments, tuple):
            raise TypeError("what it calls is no name")
        self.called.add(maker)
        if maker.module in ("collections", "builtins", "__builtin__") and maker.name in DICTIONARIES:
            self.create(Table())
        else:
            self.create(Made(maker=maker, arguments=arguments), 2)

    def build(self) -> None:
        target, state = self.pop(2)
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, Table):  # attributes of a dictionary are nobody's weights
            raise TypeError("a state without an object")
        self.push(target)

    def put_in(self, values: list[Any]) -> None:
        """Keys and values in turn, into the table that is topmost."""
        table = self.stack[-1]
        if not isinstance(table, Table) or len(values) % 2:
            raise TypeError("pairs without a dictionary")
        table.pairs += zip(values[::2], values[1::2], strict=True)

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        elements = target.elements if isinstance(target, Made) else target
        if not isinstance(elements, list):
            raise TypeError("elements without a list")
        elements += values

    def store(self, index: int) -> None:
        self._count()
        self.memo[index] = self.stack[-1]


def _stack_global(machine: _Machine) -> None:
    module, name = machine.pop(2)
    machine.create(_name(module, name))


def _name(module: Any, name: Any) -> Name:
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > NAME_CHARACTERS_AT_MOST:
        raise TypeError("a name that is no short text")
    return Name(module, name)


def _make_with_keywords(machine: _Machine) -> None:
    maker, *arguments = machine.pop(3)
    machine.make(maker, tuple(arguments))


def _create(machine: _Machine, value: Any) -> None:
    machine.create(value)


Step = Callable[[_Machine, Any], object]
PUSHED = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "GLOBAL", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
STEPS: dict[str, Step] = dict.fromkeys(PUSHED, _create)
STEPS |= {
    "PROTO": lambda _machine, _: None,
    "FRAME": lambda _machine, _: None,
    "STOP": lambda _machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(1) if machine.stack else machine.since_mark(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "EMPTY_DICT": lambda machine, _: machine.create(Table()),
    "EMPTY_LIST": lambda machine, _: machine.create([]),
    "EMPTY_SET": lambda machine, _: machine.create([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.create(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.create(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.create(machine.pop(3)),
    "TUPLE": lambda machine, _: machine.create(tuple(machine.since_mark())),
    "LIST": lambda machine, _: machine.create(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.create(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.put_in(list(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.put_in(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append(list(machine.pop(1))),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "BINPUT": lambda machine, index: machine.store(index),
    "LONG_BINPUT": lambda machine, index: machine.store(index),
    "MEMOIZE": lambda machine, _: machine.store(len(machine.memo)),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "STACK_GLOBAL": lambda machine, _: _stack_global(machine),
    "REDUCE": lambda machine, _: machine.make(*machine.pop(2)),
    "NEWOBJ": lambda machine, _: machine.make(*machine.pop(2)),
    "NEWOBJ_EX": lambda machine, _: _make_with_keywords(machine),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.create(Persistent(machine.pop(1)[0])),
}
