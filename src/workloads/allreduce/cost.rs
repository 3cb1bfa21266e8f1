//! What an exchange should take, by the alpha-beta-gamma model.
//!
//! A message of b bytes takes alpha + b beta seconds, and combining b bytes with as many takes
//! b gamma; everyone sends and receives at the same time (Thakur, Rabenseifner, Gropp 2005). With
//! N ranks, P the greatest power of two up to N, n bytes in a row:
//!
//! | algorithm | seconds |
//! |---|---|
//! | ring | 2(N-1) alpha + 2 (N-1)/N n beta + (N-1)/N n gamma |
//! | halving-doubling | 2 log2(P) alpha + 2 (P-1)/P n beta + (P-1)/P n gamma; unless N = P, 2 alpha + 2 n beta + n gamma more for the fold |
//! | tree | 2 ceil(log2 N) (alpha + n beta) + ceil(log2 N) n gamma |
//! | direct | (N-1) (alpha + n beta + n gamma) |

/// Predicted seconds of each algorithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    pub ring: f64,
    pub halving_doubling: f64,
    pub tree: f64,
    pub direct: f64,
}

impl Costs {
    pub fn of(&self, algorithm: super::Algorithm) -> f64 {
        match algorithm {
            super::Algorithm::Ring => self.ring,
            super::Algorithm::HalvingDoubling => self.halving_doubling,
            super::Algorithm::Tree => self.tree,
            super::Algorithm::Direct => self.direct,
        }
    }
}

/// `alpha` in seconds a message, `beta` and `gamma` in seconds a byte.
pub fn cost(alpha: f64, beta: f64, gamma: f64, ranks: usize, bytes: f64) -> Costs {
    let ranks = ranks.max(1);
    let others = (ranks - 1) as f64;
    let share = others / ranks as f64 * bytes;
    let core = 1_usize << ranks.ilog2();
    let core_share = (core - 1) as f64 / core as f64 * bytes;
    let fold = if core == ranks {
        0.0
    } else {
        2.0 * alpha + 2.0 * bytes * beta + bytes * gamma
    };
    let levels = f64::from(ranks.next_power_of_two().ilog2());
    Costs {
        ring: 2.0 * others * alpha + 2.0 * share * beta + share * gamma,
        halving_doubling: 2.0 * f64::from(core.ilog2()) * alpha + 2.0 * core_share * beta + core_share * gamma + fold,
        tree: 2.0 * levels * (alpha + bytes * beta) + levels * bytes * gamma,
        direct: others * (alpha + bytes * beta + bytes * gamma),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_ranks_as_in_the_table() {
        let costs = cost(1.0, 0.25, 0.5, 4, 16.0);
        assert_eq!(costs.ring, 6.0 + 1.5 * 16.0 * 0.25 + 0.75 * 16.0 * 0.5);
        assert_eq!(costs.halving_doubling, 4.0 + 6.0 + 6.0);
        assert_eq!(costs.tree, 4.0 * (1.0 + 4.0) + 2.0 * 8.0);
        assert_eq!(costs.direct, 3.0 * (1.0 + 4.0 + 8.0));
    }

    #[test]
    fn a_single_rank_costs_nothing_and_a_fold_is_paid() {
        let alone = cost(1.0, 1.0, 1.0, 1, 8.0);
        for algorithm in super::super::Algorithm::ALL {
            assert_eq!(alone.of(algorithm), 0.0);
        }
        let three = cost(1.0, 0.0, 0.0, 3, 8.0);
        assert_eq!(three.halving_doubling, 2.0 + 2.0);
        assert_eq!(three.ring, 4.0);
    }
}
