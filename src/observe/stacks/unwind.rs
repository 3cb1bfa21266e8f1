//! From frame to frame: unwind information first, the chain of frame pointers where there is none.
