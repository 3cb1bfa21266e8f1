//! FlashAttention forward, forward and backward, and one query over many keys.

use half::{bf16, f16};
use threadscape_workloads::Join;
use threadscape_workloads::flash_attention::{Heads, HeadsMut, Mask, backward, decode, forward};
use threadscape_workloads::linear::{Element, Real};

use crate::{Asked, Case};

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    let pass = match name {
        "forward" => Pass::Forward,
        "forward_backward" => Pass::Backward,
        "decode" => Pass::Decode,
        _ => panic!("no case is named attention.{name}"),
    };
    match asked.text("dtype") {
        "f32" => Box::new(Attention::<f32>::open(pass, asked)),
        "bf16" => Box::new(Attention::<bf16>::open(pass, asked)),
        "f16" => Box::new(Attention::<f16>::open(pass, asked)),
        other => panic!("no type is named {other}"),
    }
}

enum Pass {
    Forward,
    Backward,
    Decode,
}

struct Attention<T: Element> {
    pass: Pass,
    causal: bool,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    output: Vec<T>,
    log_sum_exp: Vec<T::Sum>,
    /// Of the output, all ones; empty without a backward pass, as are the three after it.
    d_output: Vec<T>,
    d_q: Vec<T::Sum>,
    d_k: Vec<T::Sum>,
    d_v: Vec<T::Sum>,
}

impl<T: Element> Attention<T> {
    fn open(pass: Pass, asked: &Asked) -> Attention<T> {
        let values = |name: &str| -> Vec<T> {
            asked
                .values::<f32>(name)
                .into_iter()
                .map(|value| T::narrow(<T::Sum as Real>::of(f64::from(value))))
                .collect()
        };
        let (heads, queries, keys, dim) = (
            asked.size("heads"),
            asked.size("queries"),
            asked.size("keys"),
            asked.size("dim"),
        );
        let zeros = |rows: usize, wanted: bool| vec![T::Sum::default(); if wanted { heads * rows * dim } else { 0 }];
        let back = matches!(pass, Pass::Backward);
        Attention {
            causal: asked.text("causal") == "1",
            q: values("q"),
            k: values("k"),
            v: values("v"),
            output: vec![T::default(); heads * queries * dim],
            log_sum_exp: vec![T::Sum::default(); heads * queries],
            d_output: vec![T::narrow(<T::Sum as Real>::of(1.0)); if back { heads * queries * dim } else { 0 }],
            d_q: zeros(queries, back),
            d_k: zeros(keys, back),
            d_v: zeros(keys, back),
            pass,
            heads,
            queries,
            keys,
            dim,
        }
    }
}

impl<T: Element> Case for Attention<T> {
    fn run(&mut self, join: &dyn Join) {
        let (heads, queries, keys, dim) = (self.heads, self.queries, self.keys, self.dim);
        let q = Heads::dense(&self.q, 1, heads, queries, dim);
        let k = Heads::dense(&self.k, 1, heads, keys, dim);
        let v = Heads::dense(&self.v, 1, heads, keys, dim);
        let mask = if self.causal { Mask::TopLeft } else { Mask::Full };
        let attend = if matches!(self.pass, Pass::Decode) {
            decode
        } else {
            forward
        };
        let output = HeadsMut::dense(&mut self.output, 1, heads, queries, dim);
        attend(join, q, k, v, mask, None, None, output, &mut self.log_sum_exp);
        if matches!(self.pass, Pass::Backward) {
            backward(
                join,
                q,
                k,
                v,
                Heads::dense(&self.output, 1, heads, queries, dim),
                Heads::dense(&self.d_output, 1, heads, queries, dim),
                &self.log_sum_exp,
                mask,
                None,
                None,
                HeadsMut::dense(&mut self.d_q, 1, heads, queries, dim),
                HeadsMut::dense(&mut self.d_k, 1, heads, keys, dim),
                HeadsMut::dense(&mut self.d_v, 1, heads, keys, dim),
            );
        }
    }

    fn result(&self) -> Vec<f64> {
        if matches!(self.pass, Pass::Backward) {
            let all = [&self.d_q, &self.d_k, &self.d_v];
            return all.into_iter().flatten().map(|value| value.to_f64()).collect();
        }
        self.output.iter().map(|value| value.wide().to_f64()).collect()
    }
}
