//! The page of metrics: rtun's own series, GOST's where they have a meaning here, and those of the process.
//!
//! Labels are what the configuration names, fixed words, and the addresses of admitted hosts up to a number: an
//! unauthenticated peer cannot make the page grow.

mod devices;
mod gost;
mod hubs;
mod limits;
mod plugins;
mod process;
mod sources;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

use super::page::MetricsPage;
use crate::operations::board::MetricsSample;

/// The page of what has been sampled.
pub(super) fn page(sample: MetricsSample) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricsSeries(sample)));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("writing into a string does not fail");
    page
}

struct MetricsSeries(MetricsSample);

impl fmt::Debug for MetricsSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsSeries").finish_non_exhaustive()
    }
}

impl Collector for MetricsSeries {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(sample) = self;
        let mut page = MetricsPage { encoder };
        process::encode(sample, &mut page)?;
        hubs::encode(sample, &mut page)?;
        limits::encode(sample, &mut page)?;
        sources::encode(sample, &mut page)?;
        plugins::encode(sample, &mut page)?;
        devices::encode(sample, &mut page)?;
        gost::encode(sample, &mut page)
    }
}
