//! A page of metrics in OpenMetrics text as it is written: families, samples, labels.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, histogram::Histogram},
};
use rtun_core::{DropReason, NamespaceId};

use crate::counters::Traffic;

/// Names and values of a sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A page that is being written. Names are without `_total`, which is added to those of counters.
pub(super) struct MetricsPage<'a> {
    pub(super) encoder: DescriptorEncoder<'a>,
}

impl MetricsPage<'_> {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_counter::<Labels, _, u64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn counter_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<Labels, _, u64>(&value, None)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    pub(super) fn histogram<'h>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in samples {
            histogram.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The label of a namespace; `other` for those without a label of their own.
pub(super) fn name_of(id: Option<NamespaceId>) -> String {
    match id {
        Some(id) if id.is_default() => "default".into(),
        Some(id) => id.to_string(),
        None => "other".into(),
    }
}

pub(super) fn truth(it: bool) -> f64 {
    f64::from(u8::from(it))
}

pub(super) fn of_service(name: &str) -> Labels {
    vec![("service", name.into())]
}

pub(super) fn directed(service: &str, direction: &str) -> Labels {
    vec![("service", service.into()), ("direction", direction.into())]
}

pub(super) fn words(reason: DropReason) -> [(&'static str, String); 2] {
    [("stage", stage(reason).into()), ("reason", reason.as_str().into())]
}

/// The drop reasons with a count above zero.
pub(super) fn drops(traffic: &Traffic) -> impl Iterator<Item = (DropReason, u64)> {
    let counts = DropReason::ALL.into_iter().map(|reason| (reason, traffic.dropped(reason)));
    counts.filter(|(_, count)| *count > 0)
}

/// The stage at which a packet is lost for this reason.
fn stage(reason: DropReason) -> &'static str {
    match reason {
        DropReason::FrameEmpty
        | DropReason::FrameTooBig
        | DropReason::FrameLengthMismatch
        | DropReason::FrameUnknown
        | DropReason::FrameMalformed => "frame",
        DropReason::IpVersion
        | DropReason::IpTruncated
        | DropReason::IpMalformed
        | DropReason::IpDisallowedDst => "ip",
        DropReason::SrcNotAllowed => "policy",
        DropReason::NoRoute
        | DropReason::NoTable
        | DropReason::RoutePendingTimeout
        | DropReason::RoutePendingFull
        | DropReason::RouteDenied
        | DropReason::Hairpin
        | DropReason::TtlExpired => "route",
        DropReason::NoGatewayConnected | DropReason::GatewayClosing => "member",
        DropReason::QueueFullOldest
        | DropReason::QueueTooOld
        | DropReason::QueueCodel
        | DropReason::QueueBudget
        | DropReason::WriteError => "queue",
        DropReason::TunWriteError | DropReason::NotConnected => "host",
        DropReason::Internal => "any",
    }
}
