//! The words every room shares: plain data without behaviour that touches the system.
//!
//! A [`Snapshot`] is all that was read of one process at one tick. It is immutable and is the unit
//! that moves from `observe` through `history` to `http`. Every value that the kernel or the
//! program may refuse to tell is an [`Evidence`]: the value, or the reason why it is unknown.
//! Nothing here is serialised: the model may change its mind, the wire format may not.

mod evidence;
mod finding;
mod ledger;
mod lock;
mod memory;
mod pool;
mod process;
mod run;
mod signal;
mod snapshot;
mod stack;
mod thread;
mod units;

pub use evidence::{Evidence, Need, Reason, Unknown};
pub use finding::{Finding, FindingFact, FindingKind, FindingState, Severity};
pub use ledger::{HeapTally, LedgerRow, LedgerView, TaskNow};
pub use lock::{
    Chain, ChainLink, CycleStep, Deadlock, Lock, LockKind, LockPlace, LockReport, LockWait, Owner, Proof, RootDoing,
    WaitMode,
};
pub use memory::{MemoryBounds, MemoryLimit, MemoryMap, MemoryTotals, Region, RegionKind, Sizes, ThreadStack};
pub use pool::{PoolStatus, QueuePolicy, Spread, WorkerStatus};
pub use process::{Census, Condition, GroupUse, Machine, Process, ProcessDetails, Role};
pub use run::{LoadProgress, RunId, RunPhase, RunStatus};
pub use signal::SignalSet;
pub use snapshot::{SelfCost, Snapshot, StateCounts};
pub use stack::{Call, Dump, DumpThread, Frame, Function, Place, Stack, StackEnd, StackSource, Trust};
pub use thread::{
    JavaState, StackUse, Suspension, Thread, ThreadDetails, ThreadSignals, ThreadState, TimeLimit, Wait, WaitKind,
    WaitObject,
};
pub use units::{Nanos, Pid, ProcessKey, ThreadKey, Ticks, Tid};
