//! Other people's programs, and small ones of known truth, as threadscape sees them from outside.
//!
//! `programs/` are C and C++ programs that tell which thread holds what and wait for the tests to look;
//! `truth` compiles and starts them. What `threadscape stacks`, `threadscape locks` and the daemon say of them is held
//! against that truth (`stacks`, `locks`, `served`), and stacks against those of gdb and eu-stack, frame by frame
//! (`judges`, `strangers`: PostgreSQL, Redis, nginx, a JVM, Python, Node.js).

#[allow(dead_code)]
#[path = "../daemon/harness.rs"]
mod harness;

mod healthy;
mod hostile;
mod judges;
mod locks;
mod rust;
mod seen;
mod served;
mod stacks;
mod strangers;
mod truth;
