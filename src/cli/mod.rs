//! The command line: a file per command, words in, words out.

use std::fmt;

pub mod doctor;
pub mod memory;
pub mod threads;

/// How a command ends. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// Something was found: a deadlock, a missed threshold.
    Found = 1,
    /// Bad usage or a bad file.
    Usage = 2,
    /// The run is invalid: the load generator was late.
    Invalid = 3,
    TimeLimit = 4,
    NotAllowed = 5,
}

/// Why a command could not do what it was asked: what is wrong and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Usage,
            message: message.to_string(),
        }
    }

    pub fn not_allowed(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::NotAllowed,
            message: message.to_string(),
        }
    }

    pub fn other(message: impl fmt::Display) -> Failure {
        Failure {
            exit: Exit::Found,
            message: message.to_string(),
        }
    }
}
