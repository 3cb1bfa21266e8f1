//! Locks of programs of known truth: kind, address, owner, waiters, cycles, chains.

use serde_json::Value;

use crate::harness::until;
use crate::seen::{ask, confirmed_deadlocks, list, lock_at, locks, wait_of};
use crate::truth::Program;

/// Threads from the lowest on, in the order in which each wants what the next one holds.
fn from_lowest(mut ring: Vec<u32>) -> Vec<u32> {
    let lowest = (0..ring.len()).min_by_key(|at| ring[*at]).unwrap();
    ring.rotate_left(lowest);
    ring
}

fn check_cycle(members: usize) {
    let program = Program::start("cycle.c", &[&members.to_string()]);
    program.settled(members + 2);
    let (answer, code) = ask("locks", program.pid(), &[]);
    let ring: Vec<u32> = (0..members).map(|at| program.tid(&format!("member-{at}"))).collect();
    let deadlocks = confirmed_deadlocks(&answer);
    assert_eq!(deadlocks, [from_lowest(ring.clone())], "{answer:#}");
    assert_eq!(code, 1);
    let steps = list(&answer["deadlocks"][0]["threads"]);
    for step in steps {
        let at = ring.iter().position(|tid| step["tid"] == *tid).unwrap();
        let address = |id: &Value| answer["locks"][id.as_u64().unwrap() as usize]["address"].clone();
        assert_eq!(address(&step["holds"]), program.lock(&format!("ring-{at}")).as_str());
        let wanted = program.lock(&format!("ring-{}", (at + 1) % members));
        assert_eq!(address(&step["wants"]), wanted.as_str());
        let frames = list(&step["frames"]);
        assert!(
            frames.iter().any(|frame| frame["function"] == "take_the_next"),
            "{frames:?}"
        );
    }
    for (at, tid) in ring.iter().enumerate() {
        let lock = lock_at(&answer, &program.lock(&format!("ring-{at}")));
        assert_eq!(lock["kind"], "pthread_mutex");
        assert_eq!(lock["owner"]["tid"], *tid);
        assert_eq!(lock["owner"]["proof"], "recorded");
        assert_eq!(lock["place"]["kind"], "global", "{lock:#}");
        assert_eq!(lock["place"]["symbol"], "ring");
        assert_eq!(lock["told_by"], "stack and memory");
    }
}

#[test]
fn a_thread_that_wants_what_it_holds_is_a_deadlock_of_one() {
    check_cycle(1);
}

#[test]
fn two_threads_in_a_circle_are_a_deadlock() {
    check_cycle(2);
}

#[test]
fn five_threads_in_a_circle_are_one_deadlock_in_order() {
    check_cycle(5);
}

/// A mutex of this kind with its owner and two waiters, one of them timed.
fn check_mutex(kind: &str, proof: &str, flag: Option<&str>) {
    let program = Program::start("mutex.c", &[kind]);
    program.blocked(&["owner", "waiter", "timed", "main"]);
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!(code, 0, "{kind}: {answer:#}");
    let lock = lock_at(&answer, &program.lock("lock"));
    assert_eq!(lock["kind"], "pthread_mutex", "{kind}: {lock:#}");
    assert_eq!(lock["owner"]["kind"], "thread", "{kind}: {lock:#}");
    assert_eq!(lock["owner"]["tid"], program.tid("owner"), "{kind}: {lock:#}");
    assert_eq!(lock["owner"]["proof"], proof, "{kind}: {lock:#}");
    if let Some(flag) = flag {
        assert!(list(&lock["flags"]).iter().any(|told| told == flag), "{kind}: {lock:#}");
    }
    let mut waiters = [program.tid("waiter"), program.tid("timed")];
    waiters.sort_unstable();
    assert_eq!(lock["waiters"], serde_json::json!(waiters), "{kind}");
    let (_, wait) = wait_of(&answer, program.tid("waiter"));
    assert_eq!((&wait["mode"], &wait["timed"]), (&"exclusive".into(), &false.into()));
    let (_, wait) = wait_of(&answer, program.tid("timed"));
    assert_eq!((&wait["mode"], &wait["timed"]), (&"exclusive".into(), &true.into()));
    // It all comes down to the owner, who sleeps for no lock.
    let chain = &answer["chains"][0];
    assert_eq!(chain["root"]["tid"], program.tid("owner"), "{answer:#}");
    assert_eq!(chain["behind_root"], 2);
    assert!(["sleeping", "waiting_for_signal"].contains(&chain["root_doing"].as_str().unwrap()));
}

#[test]
fn mutexes_of_every_kind_name_their_owner() {
    check_mutex("normal", "recorded", None);
    check_mutex("recursive", "recorded", Some("recursive"));
    check_mutex("error_checking", "recorded", Some("error_checking"));
    check_mutex("adaptive", "recorded", Some("adaptive"));
    check_mutex("process_shared", "recorded", Some("process_shared"));
}

#[test]
fn robust_and_priority_inheritance_mutexes_name_their_owner_in_the_futex_word() {
    check_mutex("robust", "futex_word", Some("robust"));
    check_mutex("priority_inheritance", "futex_word", Some("priority_inheritance"));
    // Its former owner has died; the new one has it though it is not yet consistent again.
    check_mutex("owner_died", "futex_word", Some("robust"));
}

#[test]
fn a_mutex_whose_owner_has_ended_is_abandoned() {
    let program = Program::start("mutex.c", &["abandoned"]);
    program.blocked(&["waiter", "timed"]);
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!(code, 0);
    let lock = lock_at(&answer, &program.lock("lock"));
    assert_eq!(lock["owner"]["kind"], "ended", "{lock:#}");
    assert_eq!(lock["owner"]["recorded_tid"], program.tid("owner"));
    assert_eq!(answer["chains"][0]["root_doing"], "ended", "{answer:#}");
}

#[test]
fn a_mutex_that_was_held_at_a_fork_belongs_to_another_process() {
    let program = Program::start("forked.c", &[]);
    let child = program.number("child", 1) as u32;
    crate::truth::settled(child, 1);
    let (answer, code) = ask("locks", child, &[]);
    assert_eq!(code, 0);
    let lock = lock_at(&answer, &program.lock("lock"));
    assert_eq!(lock["owner"]["kind"], "foreign", "{lock:#}");
    assert_eq!(lock["owner"]["recorded_tid"], program.tid("owner"));
    assert_eq!(lock["waiters"], serde_json::json!([child]));
}

fn check_rwlock(scene: &str, owner: Option<&str>, mode: &str, readers: Option<u64>) {
    let program = Program::start("rwlock.c", &[scene]);
    program.blocked(&["waiter", "main"]);
    let answer = locks(program.pid());
    let lock = lock_at(&answer, &program.lock("lock"));
    assert_eq!(lock["kind"], "pthread_rwlock", "{scene}: {lock:#}");
    let (same, wait) = wait_of(&answer, program.tid("waiter"));
    assert_eq!(same["address"], lock["address"]);
    assert_eq!(wait["mode"], mode, "{scene}");
    match owner {
        Some(owner) => {
            assert_eq!(lock["owner"]["tid"], program.tid(owner), "{scene}: {lock:#}");
            assert_eq!(lock["owner"]["proof"], "recorded", "{scene}");
        }
        None => {
            assert_eq!(lock["owner"], Value::Null, "{scene}: {lock:#}");
            assert!(lock["owner_unknown"]["code"].is_string(), "{scene}: {lock:#}");
        }
    }
    if let Some(readers) = readers {
        let told = lock["state"].as_str().unwrap();
        assert!(told.contains(&readers.to_string()), "{scene}: {lock:#}");
    }
}

#[test]
fn read_write_locks_name_their_writer_and_count_their_readers() {
    check_rwlock("writer_behind_writer", Some("owner"), "exclusive", None);
    check_rwlock("reader_behind_writer", Some("owner"), "shared", None);
    check_rwlock("writer_behind_readers", None, "exclusive", Some(2));
    check_rwlock("reader_behind_waiting_writer", None, "shared", Some(1));
}

#[test]
fn waits_for_something_to_be_told_are_named_and_have_no_owner() {
    let program = Program::start("signals.c", &[]);
    program.settled(8);
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!(code, 0);
    let check = |thread: &str, kind: &str, timed: bool| {
        let (lock, wait) = wait_of(&answer, program.tid(thread));
        assert_eq!(lock["kind"], kind, "{thread}: {lock:#}");
        assert_eq!(lock["address"], program.lock(thread).as_str(), "{thread}: {lock:#}");
        assert_eq!(
            (&wait["mode"], &wait["timed"]),
            (&"signal".into(), &timed.into()),
            "{thread}"
        );
        let proved = lock["owner"]["proved"] == true;
        assert!(!proved, "{thread}: nobody is proved to hold it: {lock:#}");
    };
    check("condition", "pthread_cond", false);
    check("timed", "pthread_cond", true);
    check("barrier", "pthread_barrier", false);
    check("semaphore", "semaphore", false);
    check("once", "pthread_once", false);
}

#[test]
fn threads_that_join_each_other_in_a_ring_are_a_deadlock() {
    let program = Program::start("join.c", &["ring"]);
    program.settled(5);
    let (answer, code) = ask("locks", program.pid(), &[]);
    let ring = (0..3).map(|at| program.tid(&format!("member-{at}"))).collect();
    assert_eq!(confirmed_deadlocks(&answer), [from_lowest(ring)], "{answer:#}");
    assert_eq!(code, 1);
    assert!(list(&answer["locks"]).iter().all(|lock| lock["kind"] == "join"));
}

#[test]
fn a_join_and_a_mutex_make_a_deadlock_together() {
    let program = Program::start("join.c", &["mutex"]);
    program.settled(4);
    let (answer, code) = ask("locks", program.pid(), &[]);
    let pair = vec![program.tid("owner"), program.tid("worker")];
    assert_eq!(confirmed_deadlocks(&answer), [from_lowest(pair)], "{answer:#}");
    assert_eq!(code, 1);
    let (join, wait) = wait_of(&answer, program.tid("owner"));
    assert_eq!((&join["kind"], &wait["mode"]), (&"join".into(), &"end".into()));
    assert_eq!(join["owner"]["tid"], program.tid("worker"));
    assert_eq!(join["owner"]["proof"], "join_target");
}

#[test]
fn a_join_is_a_chain_to_the_thread_that_is_joined() {
    let program = Program::start("join.c", &["chain"]);
    program.settled(4);
    let answer = locks(program.pid());
    assert_eq!(answer["deadlocks"], serde_json::json!([]));
    assert_eq!(answer["chains"][0]["root"]["tid"], program.tid("sleeper"), "{answer:#}");
    let links = list(&answer["chains"][0]["links"]);
    assert_eq!(links[0]["tid"], program.tid("owner"));
}

#[test]
fn locks_of_cpp_are_those_of_pthread_and_atomics_record_nobody() {
    let program = Program::start("modern.cpp", &[]);
    program.blocked(&["alice", "bob", "writer", "reader", "atomic", "future", "main"]);
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!(code, 1, "{answer:#}");
    let pair = vec![program.tid("alice"), program.tid("bob")];
    assert_eq!(confirmed_deadlocks(&answer), [from_lowest(pair)]);
    let lock = lock_at(&answer, &program.lock("alice"));
    assert_eq!(lock["owner"]["tid"], program.tid("alice"));
    let (lock, wait) = wait_of(&answer, program.tid("reader"));
    assert_eq!(
        (&lock["kind"], &wait["mode"]),
        (&"pthread_rwlock".into(), &"shared".into())
    );
    assert_eq!(lock["owner"]["tid"], program.tid("writer"));
    let (lock, _) = wait_of(&answer, program.tid("atomic"));
    assert_eq!(lock["kind"], "cpp_atomic_wait", "{lock:#}");
    assert_eq!(lock["owner"], Value::Null);
}

/// Ten seconds of looking would not do; a hundred threads behind one owner must be told at a glance.
#[test]
fn many_threads_behind_one_owner_are_one_chain() {
    let program = Program::start("deep.c", &["100", "locks"]);
    program.settled(102);
    let answer = locks(program.pid());
    let lock = lock_at(&answer, &program.lock("wanted"));
    assert_eq!(lock["owner"]["tid"], program.pid());
    assert_eq!(list(&lock["waiters"]).len(), 100);
    assert_eq!(answer["chains"][0]["behind_root"], 100);
    assert_eq!(list(&answer["chains"]).len(), 1, "the longest for each root, no more");
    until("the process list still has it", || {
        crate::harness::lives(program.pid()).then_some(())
    });
}
