//! The queue as its user sees it: each rule alone, any sequence of calls against a model, and delays over time.

mod delay;
mod model;
mod rules;
mod support;
