"""Hypothesis strategies for reports, and one report written by hand."""

from __future__ import annotations

from hypothesis import strategies as st

from fxprof.report import (
    ITEMSIZE,
    Bound,
    Cost,
    InputProfile,
    ModuleInfo,
    OpProfile,
    Report,
    StateProfile,
    TensorSpec,
)

F32 = "float32"


def spec(*shape: int, dtype: str = F32) -> TensorSpec:
    """A TensorSpec, float32 unless told."""
    return TensorSpec(shape, dtype)


def op(name: str, kind: str, module: str, args: tuple[str, ...], out: TensorSpec, cost: Cost | None) -> OpProfile:
    """An op that allocates its one output; its inputs are as large as that."""
    read = (out,) * len(args)
    moved = sum(entry.nbytes for entry in (*read, out))
    return OpProfile(name, kind, module, read, (out,), cost, args, (name,), moved)


def hand_made() -> Report:
    """Two blocks of conv, relu and add; an unread head; one op without a rule and one assumption.

    conv: 2 x 4 x 8 x 8 outputs, each over a 4 x 3 x 3 window = 512 x 36 = 18,432 MACs,
    36,864 + 512 (bias) FLOPs.
    """
    x = spec(2, 4, 8, 8)
    conv, unit = Cost(macs=18432, flops=37376), Cost(flops=512)
    ops, modules = (
        [],
        [
            ModuleInfo("", "Net", 1, outputs=(x, spec(2, 3))),
            ModuleInfo("body", "Sequential", 1, outputs=(x,)),
        ],
    )
    last = "x"
    for i in range(2):
        path, names = f"body.{i}", [f"{kind}_{i}" for kind in ("conv2d", "relu", "add")]
        weight = StateProfile(f"{path}.conv.weight", spec(4, 4, 3, 3), "parameter", trainable=i == 0, used=True)
        bias = StateProfile(f"{path}.conv.bias", spec(4), "parameter", trainable=True, used=True)
        ops += [
            op(names[0], "conv2d", f"{path}.conv", (last, weight.name, bias.name), x, conv),
            op(names[1], "relu", f"{path}.act", (names[0],), x, unit),
            op(names[2], "add", path, (names[1], last), x, unit),
        ]
        modules += [
            ModuleInfo(path, "Block", 1, outputs=(x,)),
            ModuleInfo(f"{path}.conv", "Conv2d", 1, (weight, bias), (x,)),
            ModuleInfo(f"{path}.act", "ReLU", 1, outputs=(x,)),
        ]
        last = names[2]
    ops.append(op("stft", "stft", "", (last,), spec(2, 16), None))
    head = (
        StateProfile("head.weight", spec(10, 4), "parameter", trainable=True),
        StateProfile("head.steps", spec(dtype="int64"), "buffer"),
    )
    modules.append(ModuleInfo("head", "Linear", 0, head))
    bound = Bound("nonzero", "number of kept boxes", "1000", "body.1", "net.py:12", 2)
    return Report("net", (InputProfile("x", x),), tuple(ops), tuple(modules), (bound,), ("stft",))


# -- strategies --------------------------------------------------------------------------------

shapes = st.lists(st.integers(0, 9), max_size=4).map(tuple)
specs = st.builds(TensorSpec, shapes, st.sampled_from(sorted(ITEMSIZE)))
texts = st.text(max_size=12)
costs = st.none() | st.builds(Cost, macs=st.integers(0, 10**15), flops=st.integers(0, 10**15))
parts = st.text(st.characters(blacklist_characters=".", blacklist_categories=["Cs"]), min_size=1, max_size=5)
bounds = st.builds(Bound, texts, texts, texts, texts, texts, st.integers(1, 9))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any report that hangs together: every module has its parents, every op its module."""
    paths = [""]
    for part in draw(st.lists(parts, max_size=8, unique=True)):
        parent = draw(st.sampled_from(paths))
        paths.append(f"{parent}.{part}" if parent else part)
    types = st.sampled_from(["Conv2d", "Linear", "Block", "ReLU"])
    modules = []
    for path in paths:
        entries = draw(st.lists(st.tuples(specs, st.sampled_from(["parameter", "buffer"]), st.booleans()), max_size=3))
        state = tuple(StateProfile(f"{path}.{i}", s, kind, used, used) for i, (s, kind, used) in enumerate(entries))
        modules.append(ModuleInfo(path, draw(types), draw(st.integers(0, 2)), state))
    states = [entry.name for module in modules for entry in module.state]
    ops: list[OpProfile] = []
    for i in range(draw(st.integers(0, 12))):
        args = tuple(draw(st.lists(st.sampled_from(["x", *states, *(o.name for o in ops)]), max_size=3)))
        outputs = tuple(draw(st.lists(specs, max_size=2)))
        memory = tuple(draw(st.sampled_from([f"op{i}:{j}", "x", ""])) for j in range(len(outputs)))
        kind = draw(st.sampled_from(["conv2d", "relu", "stft"]))
        read = tuple(draw(specs) for _ in args)
        where = draw(st.sampled_from(paths))
        ops.append(OpProfile(f"op{i}", kind, where, read, outputs, draw(costs), args, memory, draw(st.integers(0, 99))))
    returned = tuple(entry.name for entry in ops[-1:])
    inputs = (InputProfile("x", draw(specs)),)
    noted = tuple(draw(st.lists(bounds, max_size=3)))
    return Report(
        draw(texts), inputs, tuple(ops), tuple(modules), noted, returned, draw(st.booleans()), {"fxprof": "0"}
    )
