//! GOST's configuration files and command lines, checked and turned into rtun's own types.

pub mod model;
