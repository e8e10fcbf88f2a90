//! Through proxies: scripted ones that answer byte by byte, and Debian's.

#![allow(clippy::unwrap_used)]

mod header;
mod programs;
mod relay;
mod scripted;
