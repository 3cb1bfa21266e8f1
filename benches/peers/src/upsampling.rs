//! Interpolation, pixel shuffle, max-unpooling and transposed convolution. Every run fills new memory, as the
//! peers do: its page faults are part of the work.

use threadscape_workloads::Join;
use threadscape_workloads::upsampling::{
    Interpolation, KernelShape, Mode, Pixel, Pooling, Resize, Shape, Target, TransposedConvolution, Transposition,
    max_unpool_into_zeros, pixel_shuffle_into, pixel_shuffled, unpooled,
};

use crate::{Asked, Case, FromBytes};

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    let shape = Shape::new(
        asked.size("batch"),
        asked.size("channels"),
        asked.size("height"),
        asked.size("width"),
    );
    match name {
        "interpolate" if asked.text("dtype") == "u8" => interpolate::<u8>(asked, shape),
        "interpolate" => interpolate::<f32>(asked, shape),
        "pixel_shuffle" => {
            let input: Vec<f32> = asked.values("input");
            let factor = asked.size("factor");
            let made = pixel_shuffled(shape, factor).unwrap();
            over(move |join| {
                let mut output = vec![0.0; made.count()];
                pixel_shuffle_into(join, &input, shape, factor, &mut output);
                output
            })
        }
        "max_unpool" => {
            let (pooled, indices, small) = pool(&asked.values("input"), shape);
            let pooling = Pooling {
                kernel: [2; 2],
                stride: [2; 2],
                padding: [0; 2],
            };
            let made = unpooled(small, &pooling, None).unwrap();
            over(move |join| {
                let mut output = vec![0.0; made.count()];
                max_unpool_into_zeros(join, &pooled, &indices, small.height * small.width, &mut output).unwrap();
                output
            })
        }
        "conv_transpose" => {
            let input: Vec<f32> = asked.values("input");
            let side = asked.size("kernel");
            let kernel = KernelShape {
                inputs: shape.channels,
                outputs: asked.size("out_channels"),
                height: side,
                width: side,
            };
            let how = Transposition {
                stride: [asked.size("stride"); 2],
                padding: [asked.size("padding"); 2],
                ..Transposition::default()
            };
            let weight: Vec<f32> = asked.values("weight");
            over(move |join| {
                // The weights are packed inside the clock, as the peer does.
                let made = TransposedConvolution::new(shape, kernel, &weight, None, &how).unwrap();
                made.apply(join, &input)
            })
        }
        _ => panic!("no case is named upsampling.{name}"),
    }
}

fn interpolate<P: Pixel + FromBytes + Into<f64> + Send + 'static>(asked: &Asked, shape: Shape) -> Box<dyn Case + Send> {
    let factor = asked.size("factor") as f64;
    let resize = Resize {
        mode: match asked.text("mode") {
            "nearest" => Mode::Nearest,
            "bilinear" => Mode::Bilinear,
            "bicubic" => Mode::Bicubic,
            other => panic!("no mode is named {other}"),
        },
        target: Target::Factor {
            height: factor,
            width: factor,
            recomputed: false,
        },
        align_corners: asked.text("align_corners") == "1",
        antialias: false,
    };
    let input: Vec<P> = asked.values("input");
    over(move |join| {
        let made = Interpolation::<P>::new((shape.height, shape.width), &resize).unwrap();
        made.apply(join, &input)
    })
}

/// 2x2 maxima with their places, as `max_pool2d` gives them.
fn pool(input: &[f32], shape: Shape) -> (Vec<f32>, Vec<i64>, Shape) {
    let small = Shape::new(shape.images, shape.channels, shape.height / 2, shape.width / 2);
    let (mut pooled, mut indices) = (Vec::new(), Vec::new());
    for plane in input.chunks_exact(shape.height * shape.width) {
        for row in 0..small.height {
            for column in 0..small.width {
                let mut best = 2 * row * shape.width + 2 * column;
                for at in [best + 1, best + shape.width, best + shape.width + 1] {
                    if plane[at] > plane[best] {
                        best = at;
                    }
                }
                pooled.push(plane[best]);
                indices.push(best as i64);
            }
        }
    }
    (pooled, indices, small)
}

struct Over<P, F> {
    make: F,
    made: Vec<P>,
}

fn over<P, F>(make: F) -> Box<dyn Case + Send>
where
    P: Copy + Into<f64> + Send + 'static,
    F: FnMut(&dyn Join) -> Vec<P> + Send + 'static,
{
    Box::new(Over { make, made: Vec::new() })
}

impl<P: Copy + Into<f64>, F: FnMut(&dyn Join) -> Vec<P>> Case for Over<P, F> {
    fn prepare(&mut self) {
        self.made = Vec::new();
    }

    fn run(&mut self, join: &dyn Join) {
        self.made = (self.make)(join);
    }

    fn result(&self) -> Vec<f64> {
        self.made.iter().map(|value| (*value).into()).collect()
    }
}
