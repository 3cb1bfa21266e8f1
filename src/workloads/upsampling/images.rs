//! The shape of images in memory: image after image, channel after channel, row after row, as
//! PyTorch's contiguous NCHW.

/// How many images of how many channels, and their sides in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub images: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Shape {
    pub fn new(images: usize, channels: usize, height: usize, width: usize) -> Shape {
        Shape {
            images,
            channels,
            height,
            width,
        }
    }

    /// How many planes: one for each channel of each image.
    pub fn planes(&self) -> usize {
        self.images * self.channels
    }

    /// Pixels of a plane.
    pub fn plane(&self) -> usize {
        self.height * self.width
    }

    /// All values. Saturates: a shape too large for memory stays one.
    pub fn count(&self) -> usize {
        [self.channels, self.height, self.width]
            .into_iter()
            .fold(self.images, usize::saturating_mul)
    }

    /// Outermost first.
    pub fn lengths(&self) -> [usize; 4] {
        [self.images, self.channels, self.height, self.width]
    }
}
