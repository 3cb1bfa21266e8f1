//! Pictures to enlarge: a photograph and generated test patterns, each with its own difficulty.

use crate::random::Random;

/// A photograph in the public domain; `README.md` beside it says whose.
static PHOTOGRAPH: &[u8] = include_bytes!("astronaut.ppm");
const PHOTOGRAPH_SIDE: usize = 128;
const PHOTOGRAPH_CHANNELS: usize = 3;

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motif {
    /// Real edges, skin and cloth; repeated, mirrored, when a larger picture is wanted.
    Photograph,
    /// Rings that grow finer outwards: every frequency in every direction.
    ZonePlate,
    /// A slope: bilinear must keep it straight.
    Gradient,
    /// Black and white stripes: bicubic overshoots at their edges.
    Edges,
    /// Every pixel by chance.
    Noise,
}

pub(super) const MOTIFS: [(&str, Motif); 5] = [
    ("photograph", Motif::Photograph),
    ("zone_plate", Motif::ZonePlate),
    ("gradient", Motif::Gradient),
    ("edges", Motif::Edges),
    ("noise", Motif::Noise),
];

/// Planes of `height` x `width` values from 0 to 255, whole ones. `random` moves the motif.
pub(super) fn picture(motif: Motif, channels: usize, height: usize, width: usize, random: &mut Random) -> Vec<u8> {
    let (down, across) = (random.below(997) as usize, random.below(997) as usize);
    let mut values = Vec::with_capacity(channels * height * width);
    for channel in 0..channels {
        let shift = channel * 31 + across;
        for y in 0..height {
            for x in 0..width {
                values.push(match motif {
                    Motif::Photograph => photograph(channel, y + down, x + across),
                    Motif::ZonePlate => {
                        let (v, u) = (y as f64 - height as f64 / 2.0, x as f64 - width as f64 / 2.0);
                        let side = height.max(width).max(1) as f64;
                        let phase = std::f64::consts::PI * (v * v + u * u) / side + shift as f64;
                        (127.5 + 127.5 * phase.cos()) as u8
                    }
                    Motif::Gradient => {
                        let far = (height + width).max(2) - 1;
                        (((y + x) * 255 / far + shift) % 256) as u8
                    }
                    Motif::Edges => {
                        let stripe = (x + shift) / 5 + (y + down) / 7;
                        if stripe.is_multiple_of(2) { 0 } else { 255 }
                    }
                    Motif::Noise => random.below(256) as u8,
                });
            }
        }
    }
    values
}

/// A pixel of the photograph, which goes on beyond its edges as in a mirror.
fn photograph(channel: usize, y: usize, x: usize) -> u8 {
    let fold = |at: usize| {
        let at = at % (2 * PHOTOGRAPH_SIDE);
        at.min(2 * PHOTOGRAPH_SIDE - 1 - at)
    };
    let pixels = &PHOTOGRAPH[PHOTOGRAPH.len() - PHOTOGRAPH_SIDE * PHOTOGRAPH_SIDE * PHOTOGRAPH_CHANNELS..];
    pixels[(fold(y) * PHOTOGRAPH_SIDE + fold(x)) * PHOTOGRAPH_CHANNELS + channel % PHOTOGRAPH_CHANNELS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_photograph_is_whole() {
        assert!(PHOTOGRAPH.starts_with(b"P6\n128 128\n255\n"));
        assert_eq!(PHOTOGRAPH.len(), 15 + 128 * 128 * 3);
    }

    #[test]
    fn every_motif_has_light_and_dark() {
        for (name, motif) in MOTIFS {
            let picture = picture(motif, 2, 40, 50, &mut Random::new(1, 0));
            assert_eq!(picture.len(), 4000);
            let (least, most) = (picture.iter().min().unwrap(), picture.iter().max().unwrap());
            assert!(most - least > 100, "{name}: {least} to {most}");
        }
    }
}
