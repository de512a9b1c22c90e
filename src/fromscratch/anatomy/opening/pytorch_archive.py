"""PyTorch's zip archives: a pickle that describes tensors, and an uncompressed member for the bytes of each storage."""

from collections.abc import Iterator, Mapping
from typing import Any

from fromscratch.anatomy.opening.headers import DAMAGED, HEADER_BYTES_AT_MOST, check_name, check_shape, is_count, shown
from fromscratch.anatomy.opening.pickle_data import Made, Name, Persistent, Table, read_pickle
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.opening.stored import number_bytes
from fromscratch.anatomy.opening.strided import Strided, tensor_over_storage
from fromscratch.anatomy.opening.trainer_state import KeyPath
from fromscratch.anatomy.opening.zip_members import zip_members
from fromscratch.anatomy.tensors import StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["DTYPES", "read_archive"]

TABLES_DEEP_AT_MOST = 64
STORAGES = {"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32"}
STORAGES |= {"Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL", "ComplexFloat": "C64", "Untyped": "U8"}
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}
DTYPES |= {"int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "uint16": "U16"}
DTYPES |= {"uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
DTYPES |= {"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0"}
REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
# What any archive may name; another name is worth a remark.
HOUSEHOLD = {"torch", "torch._utils", "torch._tensor", "torch.serialization", "torch.storage", "collections"}
HOUSEHOLD |= {"numpy", "numpy.core.multiarray", "numpy._core.multiarray", "argparse", "_codecs"}
# The tables of a module that was pickled whole; they are not in the names of its tensors.
MODULE_PARTS = ("_parameters", "_buffers", "_modules")


def read_archive(source: ByteSource, file: str) -> tuple[dict[KeyPath, StoredTensor], tuple[str, ...]]:
    """Its tensors by the keys that lead to them, and remarks. Nothing is unpickled.

    Raises FromScratchError for an archive that is not sound, and for a pickle that is no description of data.
    """
    members = zip_members(source)
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise FromScratchError(f"{source.place}: is a zip archive, and none of PyTorch's", "name a file with weights")
    if b"big" in _content(source, members, f"{roots[0]}byteorder"):
        raise FromScratchError(f"{source.place}: was written on a big-endian machine", "save it again on another one")
    value, called = read_pickle(_content(source, members, f"{roots[0]}data.pkl"), f"{source.place}/{roots[0]}data.pkl")
    storages = {
        name.removeprefix(f"{roots[0]}data/"): span
        for name, span in members.items()
        if name.startswith(f"{roots[0]}data/")
    }
    tensors: dict[KeyPath, StoredTensor] = {}
    for path, made in _tensors_below(value, source.place):
        check_name(path, source.place)
        if path in tensors:
            raise FromScratchError(f"{source.place}: tensor `{shown('.'.join(path))}` stands there twice", DAMAGED)
        tensors[path] = _tensor(".".join(path) or "tensor", made, storages, source, file)
    strange = sorted(shown(str(name)) for name in called if not _is_household(name))
    remark = f"{file}: its pickle names {', '.join(strange[:5])}{', …' * (len(strange) > 5)}, which was not called"
    return tensors, (remark,) if strange else ()


def _is_household(name: Name) -> bool:
    plain = name.module in ("builtins", "__builtin__") and name.name in ("set", "slice", "complex")
    return plain or name.module in HOUSEHOLD or name.module.startswith(("torch.nn.", "__torch__."))


def _content(source: ByteSource, members: Mapping[str, tuple[int, int]], name: str) -> bytes:
    first, count = members.get(name, (0, 0))
    if count > HEADER_BYTES_AT_MOST:
        raise FromScratchError(f"{source.place}: `{name}` has {count:,} bytes", "no model's description is as long")
    return source.read(first, count)


def _tensors_below(value: Any, place: str) -> Iterator[tuple[KeyPath, Made]]:
    """Every tensor with the keys that lead to it. A table that hangs in several places is passed once."""
    seen: set[int] = set()
    waiting: list[tuple[KeyPath, Any, bool, int]] = [((), value, False, 0)]
    while waiting:
        path, each, in_module, depth = waiting.pop()
        if isinstance(each, Made) and (tensor := _as_tensor(each)) is not None:
            yield path, tensor
        elif id(each) not in seen and depth < TABLES_DEEP_AT_MOST:
            check_name(path, place)
            seen.add(id(each))
            # The names within a module are one key, so that nobody takes its part `model` for a trainer's table.
            module = in_module or (isinstance(each, Made) and each.state is not None)
            below = [(_key_path(path, key, in_module), inner, module, depth + 1) for key, inner in _below(each)]
            waiting += reversed(below)


def _key_path(path: KeyPath, key: str, in_module: bool) -> KeyPath:
    if key in MODULE_PARTS:
        return path
    return (*path[:-1], f"{path[-1]}.{key}") if in_module and path else (*path, key)


def _below(value: Any) -> Iterator[tuple[str, Any]]:
    """What hangs below a value, by its keys."""
    if isinstance(value, Made):
        for state in value.state if isinstance(value.state, tuple) else (value.state,):
            yield from _below(state) if type(state) is Table else ()
        value = value if value.pairs else value.elements
    if isinstance(value, Table):
        yield from ((str(key), each) for key, each in value.pairs if isinstance(key, str) or is_count(key))
    elif isinstance(value, list | tuple):
        yield from ((str(index), each) for index, each in enumerate(value) if isinstance(each, Table | list | tuple))


def _as_tensor(value: Made) -> Made | None:
    """The call of PyTorch's own rebuilding function that is in a value, which parameters and subclasses wrap."""
    for _ in range(TABLES_DEEP_AT_MOST):
        maker, arguments = value.maker, value.arguments
        if maker.module == "torch._utils" and maker.name in REBUILD:
            return value
        if maker.module == "torch._utils" and maker.name.startswith("_rebuild_parameter") and arguments:
            inner = arguments[0]
        elif maker == Name("torch._tensor", "_rebuild_from_type_v2") and len(arguments) == 4:
            called, _, given, _ = arguments
            inner = (
                Made(maker=called, arguments=given) if isinstance(called, Name) and isinstance(given, tuple) else None
            )
        else:
            return None
        if not isinstance(inner, Made):
            return None
        value = inner
    return None


def _tensor(
    name: str, made: Made, storages: Mapping[str, tuple[int, int]], source: ByteSource, file: str
) -> StoredTensor:
    """The tensor that the call would make. Raises FromScratchError where it does not fit its storage."""
    place = source.place
    try:
        storage, offset, shape, strides, *rest = made.arguments
        reference: Any = storage.reference if isinstance(storage, Persistent) else None
        marker, storage_type, key, _, values, *_ = reference
        number = storage_type.name if isinstance(storage_type, Name) else ""
        kind = STORAGES.get(number.removesuffix("Storage"), f"torch.{number}")
        if made.maker.name == "_rebuild_tensor_v3":
            kind = DTYPES.get(rest[2].name, f"torch.{rest[2].name}")
        if marker != "storage" or not isinstance(key, str) or not is_count(values) or not is_count(offset):
            raise ValueError("no storage")
    except (ValueError, TypeError, AttributeError, IndexError):
        raise FromScratchError(f"{place}: tensor `{shown(name)}` is described by no storage", DAMAGED) from None
    strided = Strided(kind, offset, _size(shape, place, name), _size(strides, place, f"{name}, strides"))
    nbytes = values * (1 if number == "UntypedStorage" else number_bytes(kind, place, name)[1])
    if len(strided.shape) != len(strided.strides) or storages.get(key, (0, -1))[1] != nbytes:
        raise FromScratchError(
            f"{place}: the storage `{shown(key)}` of tensor `{shown(name)}` is missing, or has not {nbytes:,} bytes",
            DAMAGED,
        )
    return tensor_over_storage(name, strided, storages[key], file, source)


def _size(value: Any, place: str, name: str) -> tuple[int, ...]:
    """A shape or strides: a tuple, or `torch.Size` of one."""
    return check_shape(value.arguments[0] if isinstance(value, Made) and value.arguments else value, place, name)
