//! Names for addresses: functions (inlined ones too), files, lines, and the variables of modules.

use std::sync::Arc;

use super::space::{AddressSpace, ModuleCache};
use crate::model::{Pid, Place, Unknown};

/// Bounded; shared by all who ask.
#[derive(Debug)]
pub(in crate::observe) struct Symbols {
    _modules: Arc<ModuleCache>,
}

/// A name in a module's symbol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::observe) struct Variable {
    pub module: Arc<str>,
    pub name: Arc<str>,
    pub offset: u64,
}

impl Symbols {
    pub fn new(modules: Arc<ModuleCache>) -> Symbols {
        Symbols { _modules: modules }
    }

    /// What lies at each of these addresses of code, in their order. `after_call`: the address follows a
    /// call, so file and line are those of the byte before it.
    pub fn places(&self, _pid: Pid, _space: &AddressSpace, addresses: &[(u64, bool)]) -> Vec<Arc<Place>> {
        addresses
            .iter()
            .map(|(address, _)| {
                Arc::new(Place {
                    address: *address,
                    module: None,
                    module_address: 0,
                    functions: Err(Unknown::NoSymbols),
                    function_offset: None,
                })
            })
            .collect()
    }

    /// The variable of a module that holds an address of data.
    pub fn variable(&self, _space: &AddressSpace, _address: u64) -> Option<Variable> {
        None
    }

    /// The address of a module's symbol in this process: `_thread_db_pthread_tid` of libc. `None`: no such module
    /// or symbol. `module` is the beginning of the file's name (`libc.so`).
    pub fn address_of(&self, _space: &AddressSpace, _module: &str, _symbol: &str) -> Option<u64> {
        None
    }
}
