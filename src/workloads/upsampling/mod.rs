//! Upsampling: images made larger, by PyTorch's rules.
