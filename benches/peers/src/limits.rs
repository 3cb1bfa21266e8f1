//! What the machine itself can do: the roofline that shares are taken of.

use std::hint::black_box;

use threadscape_workloads::{Join, for_each_piece};

use crate::{Asked, Case};

pub fn open(name: &str, _: &Asked) -> Box<dyn Case + Send> {
    match name {
        "multiply_add" => Box::new(MultiplyAdd),
        "copy" => Box::new(Copy {
            from: vec![1.0; COPIED],
            into: vec![0.0; COPIED],
        }),
        _ => panic!("no case is named limits.{name}"),
    }
}

/// f32 values; twice 256 MiB are far beyond any cache.
const COPIED: usize = 64 << 20;

/// Multiply-adds in registers, as many as the units take. The driver knows the count.
struct MultiplyAdd;

/// Of 12 registers of 16 lanes each, on every thread.
const ROUNDS: usize = 20_000_000;

impl Case for MultiplyAdd {
    fn run(&mut self, join: &dyn Join) {
        for_each_piece(join, 0..join.width(), 1, &|_| burn());
    }

    fn result(&self) -> Vec<f64> {
        vec![(ROUNDS * 12 * 16 * 2) as f64]
    }
}

#[cfg(target_arch = "x86_64")]
fn burn() {
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512.
        unsafe { burn_avx512() }
    } else {
        burn_plain();
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn burn() {
    burn_plain();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn burn_avx512() {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
    let mut sums = [_mm512_set1_ps(1.0); 12];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    let total = sums.into_iter().reduce(|x, y| _mm512_add_ps(x, y)).unwrap();
    black_box(_mm512_reduce_add_ps(total));
}

fn burn_plain() {
    let (a, b) = (black_box(0.999f32), black_box(1e-3));
    let mut sums = [[1.0f32; 16]; 12];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for lane in sum {
                *lane = lane.mul_add(a, b);
            }
        }
    }
    black_box(sums);
}

/// A copy of 256 MiB: 512 MiB of traffic.
struct Copy {
    from: Vec<f32>,
    into: Vec<f32>,
}

impl Case for Copy {
    fn run(&mut self, join: &dyn Join) {
        fn halve(join: &dyn Join, from: &[f32], into: &mut [f32], pieces: usize) {
            if pieces <= 1 {
                into.copy_from_slice(from);
                return;
            }
            let middle = from.len() / 2;
            let (low, high) = into.split_at_mut(middle);
            join.join(
                || halve(join, &from[..middle], low, pieces / 2),
                || halve(join, &from[middle..], high, pieces / 2),
            );
        }
        halve(join, &self.from, &mut self.into, join.width());
    }

    fn result(&self) -> Vec<f64> {
        vec![(COPIED * 8) as f64]
    }
}
