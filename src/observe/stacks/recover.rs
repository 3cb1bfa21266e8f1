//! Finds a frame pointer that the kernel does not tell: scans the stack for a saved pair and verifies the chain.
