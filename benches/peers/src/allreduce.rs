//! placeholder
use crate::{Asked, Case};
pub fn open(name: &str, _: &Asked) -> Box<dyn Case + Send> { panic!("no case {name}") }
