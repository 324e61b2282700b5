"""Judge a run by what it has seen. Pure: the same evidence gives the same verdict.

The rules are tried in order and the first that speaks decides (`RULES`): what the board showed comes before
what hvrig could not see, and a pass needs every proof of decision 4 (docs/decisions/4-no-evidence-no-pass.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hvrig.model.evidence import Cause, Coverage, Evidence, Outcome, RungResult, Verdict
from hvrig.model.finding import Finding, Origin
from hvrig.model.harmless import harmless
from hvrig.model.layout import LayoutFinding, Look, Rule
from hvrig.model.phase import Phase

# hvisor's LOG= levels at which neither a fault's report nor a panic is printed (../bug.md: log_level line).
# With `error` the MMIO report itself is missing, but "mmio_handle_access: ... Invalid argument" and the panic
# come: seen on the real hvisor (tests/data/uart/hvisor-qemu-fault-log-error.raw.log).
MUTE_LOG_LEVELS = frozenset({"off"})

# An OOM kill of memtester is a wrong size for this board; the ladder says so with the numbers.
NO_FAULT_KINDS = frozenset({"oom-kill"})

# The other kinds of origin board are U-Boot's own reports.
RESET_KIND = "unexpected-reset"
FIRMWARE_KINDS = ("el3-exception", "tee-panic")


@dataclass(frozen=True)
class _Ruling:
    outcome: Outcome
    cause: Cause | None
    summary: str
    remedy: str
    phase: Phase | None


_Rule = Callable[[Evidence], _Ruling | None]


def judge(evidence: Evidence, versions: Mapping[str, str] | None = None) -> Verdict:
    """The verdict on `evidence`; `versions` is only carried along."""
    ruling = next(ruling for rule in RULES if (ruling := rule(evidence)) is not None)
    return Verdict(
        outcome=ruling.outcome,
        cause=ruling.cause,
        # The board's own words may be in them.
        summary=harmless(ruling.summary, keep_newlines=False),
        remedy=harmless(ruling.remedy, keep_newlines=False),
        phase=ruling.phase,
        evidence=evidence,
        versions=dict(versions or {}),
    )


def phase_at(evidence: Evidence, offset: int) -> Phase | None:
    """The phase that the run was in when byte `offset` of the UART came."""
    begun = [record.phase for record in evidence.phases if record.uart_offset <= offset]
    return begun[-1] if begun else None


def describe_fault(finding: Finding) -> str:
    """One clause that names a fault: kind, zone, CPU, address and access, as far as they survived."""
    fields = finding.fields
    parts = [finding.kind.replace("-", " ")]
    if "address" in fields:
        parts.append(f"at {int(fields['address']):#x}")
    if "is_write" in fields:
        size = f"{int(fields['size'])}-byte " if "size" in fields else ""
        parts.append(f"({size}{'write' if fields['is_write'] else 'read'})")
    if finding.zone is not None:
        parts.append(f"of zone {finding.zone}")
    if finding.cpu is not None:
        parts.append(f"on CPU {finding.cpu}")
    if "message" in fields:
        parts.append(f"({fields['message']})")
    return " ".join(parts)


def _faults(evidence: Evidence, *origins: Origin) -> list[Finding]:
    return [f for f in evidence.findings if f.origin in origins and f.kind not in NO_FAULT_KINDS]


def _while(evidence: Evidence, finding: Finding) -> str:
    """Where in the run the fault came, as a person would say it."""
    phase = phase_at(evidence, finding.offset)
    if phase is None:
        return ""
    if phase is Phase.GATE and evidence.rungs:
        rung = evidence.rungs[-1]
        # A rung that passed was over before the fault came.
        where = "after" if rung.outcome is Outcome.PASS else "during"
        return f" {where} memtester {rung.size}{_memtester_stage(rung) if where == 'during' else ''}"
    return f" in phase {phase.value}"


def _memtester_stage(rung: RungResult) -> str:
    if rung.run.got_bytes is None:
        return ""
    if not rung.run.locked:
        return ", while it was trying mlock"
    return f", in {rung.run.test}" if rung.run.test else ""


def _passed_before(evidence: Evidence) -> str:
    sizes = [rung.size for rung in evidence.rungs if rung.outcome is Outcome.PASS]
    return f"; {', '.join(sizes)} passed before" if sizes else ""


def _held_hypervisor(evidence: Evidence) -> Coverage | None:
    return next((r.coverage for r in evidence.rungs if r.coverage and r.coverage.hypervisor_pages), None)


def _check_reservation(evidence: Evidence) -> str:
    known = next(
        (r.coverage.hypervisor_range for r in evidence.rungs if r.coverage and r.coverage.hypervisor_range), None
    )
    where = str(known) if known is not None else "[skernel, hv_end)"
    return (
        f"Reserve the hypervisor's whole memory, {where}, with no-map under reserved-memory in root-linux's "
        "device tree: what is not reserved, Linux hands out."
    )


def _open_to_linux(evidence: Evidence) -> LayoutFinding | None:
    """What the running kernel itself proved before the first rung."""
    live = evidence.layout.get(Look.LIVE)
    return live.certain if live is not None else None


def _layout_too(evidence: Evidence) -> str:
    """For the faults that follow from it, most likely."""
    found = _open_to_linux(evidence)
    return f"; before that, the layout check had found it coming: {_clause(found.what)}" if found is not None else ""


def _clause(sentence: str) -> str:
    """A sentence as part of another one."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def _likely_cause(evidence: Evidence) -> str:
    """Of a hypervisor's fault whose address tells nothing."""
    live = evidence.layout.get(Look.LIVE)
    if live is not None and Rule.LIVE_SYSTEM_RAM in live.checked and live.certain is None:
        return (
            "The running kernel's memory map keeps off the hypervisor's memory: look for what else writes there "
            "(/dev/mem, a driver or a device), or for a fault of the hypervisor itself, in uart.log."
        )
    return "Linux has probably overwritten the hypervisor's tables. " + _check_reservation(evidence)


def hypervisor_fault(evidence: Evidence) -> _Ruling | None:
    """The hypervisor reported a fault of its own."""
    faults = _faults(evidence, Origin.HYPERVISOR)
    if not faults:
        return None
    # The first one whose address tells something; a panic alone has none.
    first = next((fault for fault in faults if fault.offset in evidence.explanations), faults[0])
    said = evidence.explanations.get(first.offset)
    what = f"; the address is {said.what}" if said is not None else ""
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    held = _held_hypervisor(evidence)
    proof = f"; memtester held {held.hypervisor_pages} pages of the hypervisor's own memory" if held else ""
    return _Ruling(
        Outcome.FAIL,
        Cause.HYPERVISOR_FAULT,
        f"The hypervisor reported {describe_fault(first)}{_while(evidence, first)}{more}"
        f"{what}{_passed_before(evidence)}{proof}{_layout_too(evidence)}.",
        said.cause if said is not None else _likely_cause(evidence),
        phase_at(evidence, first.offset),
    )


def kernel_fault(evidence: Evidence) -> _Ruling | None:
    """root-linux reported a fault, and the hypervisor did not."""
    faults = _faults(evidence, Origin.KERNEL)
    if not faults:
        return None
    first = faults[0]
    return _Ruling(
        Outcome.FAIL,
        Cause.KERNEL_FAULT,
        f"root-linux's kernel reported {describe_fault(first)}{_while(evidence, first)}{_passed_before(evidence)}"
        f"{_layout_too(evidence)}.",
        "Read the lines around the fault in uart.log; the hypervisor itself reported nothing.",
        phase_at(evidence, first.offset),
    )


def board_fault(evidence: Evidence) -> _Ruling | None:
    """The board started again, without having been asked to, or what U-Boot had started took an exception.

    Before the hypervisor's turn neither is its fault: where it ended the run, the run's problem says so.
    """
    faults = [f for f in _faults(evidence, Origin.BOARD) if _hypervisor_ran(evidence, f)]
    if not faults:
        return None
    first = faults[0]
    if first.kind in FIRMWARE_KINDS:
        return _Ruling(
            Outcome.FAIL,
            Cause.HANG,
            f"The secure firmware stopped{_while(evidence, first)}, and the board with it: {describe_fault(first)}.",
            "Whether hypervisor, kernel or firmware made it stop is not said: look in uart.log for its registers and "
            "for what came before.",
            phase_at(evidence, first.offset),
        )
    if first.kind != RESET_KIND:
        return _Ruling(
            Outcome.FAIL,
            Cause.HYPERVISOR_FAULT,
            f"What U-Boot had started died before it could report by itself{_while(evidence, first)}: "
            f"{describe_fault(first)}.",
            "Check that hypervisor, kernel and device trees are built for the addresses at which they are loaded, "
            "and do not overwrite each other; then look the registers in uart.log up in the hypervisor's ELF.",
            phase_at(evidence, first.offset),
        )
    return _Ruling(
        Outcome.FAIL,
        Cause.UNEXPECTED_RESET,
        f"The board reset itself{_while(evidence, first)}{_passed_before(evidence)}.",
        "Look in uart.log for what came before the reset; a watchdog or a brown-out resets a board without a word.",
        phase_at(evidence, first.offset),
    )


def _hypervisor_ran(evidence: Evidence, finding: Finding) -> bool:
    phase = phase_at(evidence, finding.offset)
    return phase is not None and phase.silence_is_hang


def layout(evidence: Evidence) -> _Ruling | None:
    """The running kernel takes the hypervisor's memory for its own.

    A rung that held such pages says it better, and comes after this rule.
    """
    found = _open_to_linux(evidence)
    failed = next((r for r in evidence.rungs if r.outcome is not Outcome.PASS), None)
    if found is None or (failed is not None and failed.cause is Cause.LAYOUT):
        return None
    hypervisor = found.stretches[-1]
    if failed is not None:
        then = f"; memtester {failed.size}: {failed.reason}{_passed_before(evidence)}"
    elif evidence.rungs:
        then = f"; memtester {', '.join(r.size for r in evidence.rungs)} passed all the same"
    else:
        then = "; this settles it without memtester"
    text = f" {found.mend.text}" if found.mend.text else ""
    anyway = "" if evidence.rungs else " To see memtester fail, run with --stress-anyway."
    stale = (
        f" Or mend the range that {hypervisor.source} gives, if the hypervisor is elsewhere by now."
        if hypervisor.source.startswith("place ")
        else ""
    )
    return _Ruling(
        Outcome.FAIL,
        Cause.LAYOUT,
        f"{found.what.removesuffix('.')}; the hypervisor's memory is {hypervisor.range} ({hypervisor.source}){then}.",
        f"{found.mend.what}{text}{stale}{anyway}",
        Phase.GATE,
    )


def failed_rung(evidence: Evidence) -> _Ruling | None:
    """A rung of the ladder did not pass."""
    rung = next((r for r in evidence.rungs if r.outcome is not Outcome.PASS), None)
    if rung is None:
        return None
    if rung.cause is Cause.HANG and evidence.gaps:
        return _dead_board_or_cable(evidence, f"during memtester {rung.size}", Phase.GATE)
    remedy = {
        Cause.LAYOUT: _check_reservation(evidence),
        Cause.MEMORY_ERROR: "Run memtester again on this board with the hypervisor's memory surely reserved; "
        "errors at the same offsets mean bad RAM.",
        Cause.HANG: "The board stood still without a word: read the end of uart.log; "
        "a hypervisor that loses its tables can die in silence.",
        Cause.NO_EVIDENCE: "Check that root-linux's console is the hypervisor's UART, and that nobody else "
        "reads the port.",
        Cause.USAGE: "Choose a smaller ladder for this board (--ladder, or the place's gate.ladder).",
    }.get(rung.cause or Cause.LAB, "Read memtester's log and uart.log, then run again.")
    return _Ruling(
        rung.outcome,
        rung.cause,
        f"memtester {rung.size}: {rung.reason}{_passed_before(evidence)}.",
        remedy,
        Phase.GATE,
    )


def stopped_early(evidence: Evidence) -> _Ruling | None:
    """The run could not go on."""
    problem = evidence.problem
    if problem is None:
        return None
    if problem.cause is Cause.HANG and evidence.gaps:
        return _dead_board_or_cable(evidence, f"in phase {problem.phase.value}" if problem.phase else "", problem.phase)
    outcome = Outcome.FAIL if problem.cause is Cause.HANG else Outcome.INFRA
    whole = evidence.ladder and [rung.size for rung in evidence.rungs if rung.outcome is Outcome.PASS] == [
        *evidence.ladder
    ]
    before = "; the whole ladder had passed before" if whole else _passed_before(evidence)
    return _Ruling(outcome, problem.cause, f"{problem.message.rstrip('.')}{before}.", problem.remedy, problem.phase)


def _dead_board_or_cable(evidence: Evidence, when: str, phase: Phase | None) -> _Ruling:
    return _Ruling(
        Outcome.INFRA,
        Cause.NO_EVIDENCE,
        f"The board did not answer {when}, but the UART was lost too ({_gaps(evidence)}).",
        "A dead board cannot be told from a dead cable: check the serial adapter, then run again.",
        phase,
    )


def unrecorded(evidence: Evidence) -> _Ruling | None:
    """The UART was not recorded without a gap, so that a fault could have gone by unseen."""
    if not evidence.gaps:
        return None
    return _Ruling(
        Outcome.INFRA,
        Cause.NO_EVIDENCE,
        f"The UART was not recorded all the time ({_gaps(evidence)}): a fault could have gone by unseen.",
        "Check the serial adapter and its cable, and that nobody else reads the port; then run again.",
        None,
    )


def _gaps(evidence: Evidence) -> str:
    first = evidence.gaps[0]
    length = f"{first.t_end - first.t_start:.1f} s" if first.t_end is not None else "not back"
    more = f", and {len(evidence.gaps) - 1} more" if len(evidence.gaps) > 1 else ""
    return f"gap at byte {first.offset}, {length}: {first.reason}{more}"


def mute(evidence: Evidence) -> _Ruling | None:
    """The hypervisor was built so that it prints no fault."""
    if evidence.log_level is None or evidence.log_level.lower() not in MUTE_LOG_LEVELS:
        return None
    return _Ruling(
        Outcome.INFRA,
        Cause.NO_EVIDENCE,
        f"The hypervisor was built with log_level {evidence.log_level}: it prints no fault, "
        "so its silence proves nothing.",
        "Build hvisor with LOG=warn or more (make LOG=info) and run again.",
        Phase.HYPERVISOR,
    )


def unclimbed(evidence: Evidence) -> _Ruling | None:
    """Not every rung of the ladder has a result."""
    if evidence.ladder and tuple(rung.size for rung in evidence.rungs) == evidence.ladder:
        return None
    missing = [size for size in evidence.ladder if size not in {rung.size for rung in evidence.rungs}]
    return _Ruling(
        Outcome.INFRA,
        Cause.NO_EVIDENCE,
        f"The ladder was not climbed to its end: {', '.join(missing) or 'no rungs'} did not run.",
        "Run again; if this comes back, it is a fault of hvrig.",
        Phase.GATE,
    )


def proven(evidence: Evidence) -> _Ruling | None:
    """Every rung passed and every proof is there."""
    checked = all(rung.coverage and rung.coverage.hypervisor_range for rung in evidence.rungs)
    pages = (
        "no page of the hypervisor was in its hands"
        if checked
        else "whether it held pages of the hypervisor is not known"
    )
    reset = any(fault.kind == RESET_KIND for fault in _faults(evidence, Origin.BOARD))
    early = "; the board reset itself before the hypervisor ran" if reset else ""
    return _Ruling(
        Outcome.PASS,
        None,
        f"memtester got, locked and tested {', '.join(evidence.ladder)}; "
        f"the UART was recorded and shows no fault; {pages}; {_layout_said(evidence)}{early}.",
        "" if checked else "Give the place's hypervisor.start and hypervisor.end, so that the pages can be compared.",
        None,
    )


def _layout_said(evidence: Evidence) -> str:
    """What a pass says of the layout checks: what they could not see is no proof of anything."""
    static, live = evidence.layout.get(Look.STATIC), evidence.layout.get(Look.LIVE)
    if live is None:
        said = "the running kernel's memory map was not looked at"
    elif Rule.LIVE_SYSTEM_RAM in live.checked:
        said = "the running kernel keeps off the hypervisor's memory"
    else:
        why = next((one.why for one in live.unchecked if one.rule is Rule.LIVE_SYSTEM_RAM), "it was not asked")
        said = f"whether the running kernel keeps off the hypervisor's memory could not be seen ({_clause(why)})"
    count = sum(len(report.findings) for report in (static, live) if report is not None)
    if count:
        said += f", and the memory layout has {count} finding{'' if count == 1 else 's'} all the same"
    return said


RULES: tuple[_Rule, ...] = (
    hypervisor_fault,
    kernel_fault,
    board_fault,
    layout,
    failed_rung,
    stopped_early,
    unrecorded,
    mute,
    unclimbed,
    proven,
)
