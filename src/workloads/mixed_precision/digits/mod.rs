//! The handwritten digits that the networks learn: 1 797 images of 8x8 pixels. Where they come from
//! and how they are packed says `README.md` beside this file.

use crate::linear::{Element, Real};
use crate::random::Random;

/// Pixels of an image.
pub const PIXELS: usize = 64;
/// 0 to 9.
pub const CLASSES: usize = 10;
/// Images there are.
pub const IMAGES: usize = 1797;
/// Images kept for testing; the others are for training.
pub const TEST_IMAGES: usize = 360;

static PACKED: &[u8; 41 * IMAGES] = include_bytes!("digits.bin");

/// The seed of the split into training and test images: one split for every run.
const SPLIT: u64 = 1998;

/// All images, unpacked, with the split.
#[derive(Debug)]
pub struct Digits {
    /// 0 to 16, image after image.
    pixels: Vec<u8>,
    labels: Vec<u8>,
    train: Vec<u16>,
    test: Vec<u16>,
}

/// Some images as a network reads them.
#[derive(Clone, Debug, Default)]
pub struct Samples<T> {
    /// 0 to 1 in steps of 1/16, which are exact in every storage type; 64 for each sample.
    pub pixels: Vec<T>,
    /// The digit.
    pub labels: Vec<u32>,
}

impl Digits {
    pub fn unpack() -> Digits {
        let mut pixels = Vec::with_capacity(IMAGES * PIXELS);
        let mut labels = Vec::with_capacity(IMAGES);
        for record in PACKED.as_chunks::<41>().0 {
            let (rows, label) = record.split_at(40);
            for row in rows.chunks_exact(5) {
                let bits = row.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
                pixels.extend((0..8).map(|x| (bits >> (5 * x) & 31) as u8));
            }
            labels.extend(label);
        }
        let mut test: Vec<u16> = (0..IMAGES as u16).collect();
        Random::new(SPLIT, 0).shuffle(&mut test);
        let train = test.split_off(TEST_IMAGES);
        Digits {
            pixels,
            labels,
            train,
            test,
        }
    }

    /// Numbers of the images for training.
    pub fn train(&self) -> &[u16] {
        &self.train
    }

    /// Numbers of the images for testing.
    pub fn test(&self) -> &[u16] {
        &self.test
    }

    /// The pixels, 0 to 16, and the label of an image.
    pub fn image(&self, number: u16) -> (&[u8], u8) {
        let number = usize::from(number);
        (&self.pixels[number * PIXELS..][..PIXELS], self.labels[number])
    }

    /// Makes `samples` hold these images and no others.
    pub fn gather<T: Element>(&self, numbers: &[u16], samples: &mut Samples<T>) {
        let mut shades = [T::default(); 17];
        for (level, shade) in shades.iter_mut().enumerate() {
            *shade = T::narrow(T::Sum::of(level as f64 / 16.0));
        }
        samples.pixels.clear();
        samples.labels.clear();
        for number in numbers {
            let (pixels, label) = self.image(*number);
            samples
                .pixels
                .extend(pixels.iter().map(|level| shades[usize::from(*level).min(16)]));
            samples.labels.push(u32::from(label));
        }
    }

    /// These images as samples.
    pub fn samples<T: Element>(&self, numbers: &[u16]) -> Samples<T> {
        let mut samples = Samples {
            pixels: Vec::with_capacity(numbers.len() * PIXELS),
            labels: Vec::with_capacity(numbers.len()),
        };
        self.gather(numbers, &mut samples);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::f16;

    #[test]
    fn the_first_image_is_the_zero_that_scikit_learn_shows() {
        let digits = Digits::unpack();
        let (pixels, label) = digits.image(0);
        assert_eq!(label, 0);
        assert_eq!(pixels[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
        assert_eq!(digits.image(1796).1, 8);
    }

    #[test]
    fn all_pixels_and_labels_are_in_range_and_every_digit_is_there() {
        let digits = Digits::unpack();
        assert_eq!((digits.pixels.len(), digits.labels.len()), (IMAGES * PIXELS, IMAGES));
        assert!(digits.pixels.iter().all(|pixel| *pixel <= 16));
        let mut counts = [0; CLASSES];
        for label in &digits.labels {
            counts[usize::from(*label)] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_split_is_fixed_and_keeps_every_image_once() {
        let digits = Digits::unpack();
        let mut all = [digits.train(), digits.test()].concat();
        assert_eq!(all.len(), IMAGES);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), IMAGES);
        assert_eq!(Digits::unpack().test(), digits.test());
    }

    #[test]
    fn samples_are_exact_in_half_width() {
        let digits = Digits::unpack();
        let samples: Samples<f16> = digits.samples(&digits.test()[..7]);
        assert_eq!((samples.pixels.len(), samples.labels.len()), (7 * 64, 7));
        let (pixels, label) = digits.image(digits.test()[6]);
        assert_eq!(samples.labels[6], u32::from(label));
        for (pixel, level) in samples.pixels[6 * 64..].iter().zip(pixels) {
            assert_eq!(pixel.to_f32() * 16.0, f32::from(*level));
        }
    }
}
