//! A whole daemon on port 0, as its users meet it: the real binary, a state folder of its own, a
//! client over a socket, and programs with known truth to look at.

mod doors;
mod events;
mod harness;
mod lifecycle;
mod memory;
mod threads;
