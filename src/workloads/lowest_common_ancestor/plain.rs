//! Without preparation: what one does for a single query, and what the methods are checked against.
//!
//! `by_traversal` looks for both nodes in one walk of the tree, with its own stack instead of the
//! thread's. `by_climbing` goes up from the deeper node, then from both, until they meet; it is the
//! oracle, so simple that it can be seen to be right.

use super::tree::{NONE, Tree};

/// The lowest common ancestor of two nodes in one walk from the root: O(n) time, memory as deep as
/// the tree.
pub fn by_traversal(tree: &Tree, p: u32, q: u32) -> u32 {
    if p == q {
        return p;
    }
    // The way from the root to where we are, and which child of each comes next.
    let mut path: Vec<(u32, u8)> = vec![(0, 0)];
    // How long the path was at the node that is the answer if the second is found from here.
    let mut meeting = None;
    while let Some((node, next)) = path.last_mut() {
        let (here, side) = (*node, *next);
        if side == 0 && (here == p || here == q) {
            match meeting {
                None => meeting = Some(path.len()),
                Some(length) => return path[length - 1].0,
            }
        }
        let Some((_, next)) = path.last_mut() else { break };
        if side < 2 {
            *next += 1;
            let child = tree.children[here as usize][side as usize];
            if child != NONE {
                path.push((child, 0));
            }
        } else {
            path.pop();
            // Going above the found node's branch: the meeting point goes up with us.
            meeting = meeting.map(|length| length.min(path.len()));
        }
    }
    NONE
}

/// The lowest common ancestor by going up from both. Takes as long as they are apart.
pub(super) fn by_climbing(tree: &Tree, depths: &[u32], p: u32, q: u32) -> u32 {
    let (mut a, mut b) = (p as usize, q as usize);
    while a != b {
        if depths[a] >= depths[b] {
            a = tree.parents[a] as usize;
        } else {
            b = tree.parents[b] as usize;
        }
    }
    a as u32
}
