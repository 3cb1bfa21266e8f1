//! Medusa decoding: several tokens a step from one language model with extra heads.
