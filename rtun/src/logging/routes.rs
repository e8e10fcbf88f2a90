//! Which lines go where: those of a service to its loggers, all others to the log of the process.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, PoisonError, RwLock},
};

use rtun_settings::{Config, LogFormat, LogLevel, LogOutput, LogSettings, Service, ServiceKind};
use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
};

use super::{
    form::{self, ServiceFields},
    output::Output,
    record::{LogRecord, ServiceName, level_of},
};

/// One log: what it takes, in which form, and where it goes.
struct LogSink {
    /// None: that of the process.
    logger: Option<String>,
    level: LogLevel,
    format: LogFormat,
    output: Arc<Output>,
}

/// Where the lines of a service go.
struct ServiceRoute {
    fields: ServiceFields,
    /// None: to the log of the process.
    loggers: Vec<Arc<LogSink>>,
}

/// All logs, and all services.
#[derive(Default)]
pub(super) struct LogRoutes {
    /// One; none before the start and after the end.
    of_process: Vec<Arc<LogSink>>,
    loggers: BTreeMap<String, Arc<LogSink>>,
    services: HashMap<String, Arc<ServiceRoute>>,
}

/// The routes in force; clones share them.
#[derive(Clone, Default)]
pub(super) struct CurrentRoutes(Arc<RwLock<Arc<LogRoutes>>>);

/// Why a log cannot be written.
#[derive(Debug)]
pub(super) struct OutputError {
    /// The logger; none: the log of the process.
    pub(super) logger: Option<String>,
    pub(super) error: io::Error,
}

impl LogRoutes {
    /// Those of `config`. What `before` has open stays open. What cannot be opened is returned as an error: it goes on where it
    /// went in `before`, and if it is a new logger, its lines go to the log of the process.
    pub(super) fn new(config: &Config, before: &Self) -> (Self, Vec<OutputError>) {
        let (mut outputs, mut errors) = (before.outputs(), Vec::new());
        let mut sink = |logger: Option<&str>, log: &LogSettings, old: Option<&Arc<LogSink>>| {
            let rotation = log.rotation.as_ref();
            let known = outputs.iter().find(|output| output.is(&log.output, rotation)).cloned();
            let opened =
                known.map_or_else(|| Output::open(&log.output, rotation).map(Arc::new), Ok);
            let logger = logger.map(str::to_owned);
            let output = match opened {
                Ok(output) => output,
                Err(error) => {
                    errors.push(OutputError { logger: logger.clone(), error });
                    Arc::clone(&old?.output)
                }
            };
            outputs.push(Arc::clone(&output));
            Some(Arc::new(LogSink { logger, level: log.level, format: log.format, output }))
        };
        let of_process = sink(None, &config.log, before.of_process.first());
        let mut loggers = BTreeMap::new();
        for logger in &config.loggers {
            let name = &logger.name;
            let made = sink(Some(name), &logger.log, before.loggers.get(name));
            loggers.extend(made.map(|made| (name.clone(), made)));
        }
        let route = |service: &Service| {
            let of_service = service.loggers.iter().filter_map(|name| loggers.get(name).cloned());
            let route = ServiceRoute { fields: fields(service), loggers: of_service.collect() };
            (service.name.clone(), Arc::new(route))
        };
        let services = config.services.iter().map(route).collect();
        (Self { of_process: of_process.into_iter().collect(), loggers, services }, errors)
    }

    /// These, but for new services as in `next`.
    pub(super) fn with_services_of(&self, next: &Self) -> Self {
        let mut services = next.services.clone();
        services.extend(self.services.iter().map(|(name, it)| (name.clone(), Arc::clone(it))));
        let mut loggers = next.loggers.clone();
        loggers.extend(self.loggers.iter().map(|(name, it)| (name.clone(), Arc::clone(it))));
        Self { of_process: self.of_process.clone(), loggers, services }
    }

    /// Every destination, each once.
    pub(super) fn outputs(&self) -> Vec<Arc<Output>> {
        let mut outputs: Vec<Arc<Output>> = Vec::new();
        let services = self.services.values().flat_map(|it| &it.loggers);
        for sink in self.of_process.iter().chain(self.loggers.values()).chain(services) {
            if !outputs.iter().any(|it| Arc::ptr_eq(it, &sink.output)) {
                outputs.push(Arc::clone(&sink.output));
            }
        }
        outputs
    }

    /// What any of the logs takes.
    pub(super) fn level(&self) -> LevelFilter {
        let sinks = self.of_process.iter().chain(self.loggers.values());
        let levels = sinks.filter(|sink| !sink.output.is(&LogOutput::None, None));
        levels.map(|sink| filter(sink.level)).max().unwrap_or(LevelFilter::OFF)
    }

    fn of(&self, service: Option<&str>) -> (&[Arc<LogSink>], Option<&ServiceFields>) {
        match service.and_then(|name| self.services.get(name)) {
            Some(route) if !route.loggers.is_empty() => (&route.loggers, Some(&route.fields)),
            Some(route) => (&self.of_process, Some(&route.fields)),
            None => (&self.of_process, None),
        }
    }
}

impl CurrentRoutes {
    pub(super) fn get(&self) -> Arc<LogRoutes> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes over to other routes. Destinations that are in these no more get the lines that wait for them.
    pub(super) fn set(&self, routes: Arc<LogRoutes>) {
        let before = {
            let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, routes)
        };
        // Not under the lock: the end of a destination takes time, and may have something to say.
        drop(before);
    }
}

impl<S: Subscriber> Layer<S> for CurrentRoutes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = LogRecord::of(event);
        let routes = self.get();
        let (sinks, fields) = routes.of(record.text("service"));
        for sink in sinks.iter().filter(|sink| record.level >= sink.level) {
            let (logger, detailed) = (sink.logger.as_deref(), sink.level <= LogLevel::Debug);
            sink.output.write(form::line(&record, sink.format, fields, logger, detailed));
        }
    }
}

/// Lets pass what one of the logs of its service takes.
impl<S: Subscriber> Filter<S> for CurrentRoutes {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let (level, ServiceName(service)) = (level_of(event), ServiceName::of(event));
        let routes = self.get();
        routes.of(service.as_deref()).0.iter().any(|sink| level >= sink.level)
    }
}

fn fields(service: &Service) -> ServiceFields {
    match &service.kind {
        ServiceKind::Hub(hub) => {
            ServiceFields { handler: "router", listener: hub.listener.stack.name() }
        }
        ServiceKind::Relay(relay) => {
            ServiceFields { handler: "relay", listener: relay.listener.stack.name() }
        }
        ServiceKind::Host(_) | ServiceKind::UdpServer(_) | ServiceKind::UdpClient(_) => {
            ServiceFields { handler: "tun", listener: "tun" }
        }
        ServiceKind::TapServer(_) | ServiceKind::TapClient(_) => {
            ServiceFields { handler: "tap", listener: "tap" }
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
    }
}
