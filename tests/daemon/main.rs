//! A whole daemon on port 0, as its users meet it. (being built)
