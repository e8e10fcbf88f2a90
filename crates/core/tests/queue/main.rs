//! The queue as its user sees it: each rule alone, any sequence of calls against a model, and delays over time.

#![allow(clippy::unwrap_used, reason = "a frame that is missing is a failure")]

mod delay;
mod model;
mod rules;
mod support;
