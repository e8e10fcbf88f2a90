//! Log lines: their level, form and destination as configured, which a reload may change.

mod form;
mod limit;
mod output;
mod record;
mod routes;
mod tap;

use std::sync::Arc;

use rtun_node::Board;
use rtun_settings::{Config, LogSettings};
use tracing::{error, info, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry, filter::FilterExt as _, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

pub(crate) use self::record::FATAL;
use self::{
    limit::Limit,
    routes::{CurrentRoutes, LogRoutes, OutputError},
    tap::LogTap,
};

/// The log of this process. At its end the lines that wait are written.
pub(crate) struct Logging {
    log: LogSettings,
    level: reload::Handle<LevelFilter, Registry>,
    routes: CurrentRoutes,
    limit: Limit,
    tap: LogTap,
    /// Changes what goes to the tap.
    tapped: Arc<dyn Fn(LevelFilter) + Send + Sync>,
}

impl Logging {
    /// Starts logging for the rest of the process. The error says what cannot be opened, and why.
    pub(crate) fn start(config: &Config) -> Result<Self, String> {
        let (first, errors) = LogRoutes::new(config, &LogRoutes::default());
        if let Some(OutputError { logger, error }) = errors.into_iter().next() {
            return Err(match logger {
                Some(logger) => format!("logger {logger:?}: {error}"),
                None => error.to_string(),
            });
        }
        let (level, handle) = reload::Layer::new(first.level());
        let routes = CurrentRoutes::default();
        routes.set(Arc::new(first));
        let limit = Limit::default();
        let lines = routes.clone().with_filter(level.and(routes.clone()).and(limit.clone()));
        let (tap, (tap_level, tap_handle)) =
            (LogTap::default(), reload::Layer::new(LevelFilter::OFF));
        let tapping = tap.clone().with_filter(tap_level);
        tracing_subscriber::registry().with(lines).with(tapping).init();
        // Fails only where the subscriber is gone, and that lasts as long as the process.
        let tapped = Arc::new(move |level| drop(tap_handle.reload(level)));
        Ok(Self { log: config.log.clone(), level: handle, routes, limit, tap, tapped })
    }

    /// Has those who watch the process get lines of the log, whatever its own level.
    pub(crate) fn show_on(&self, board: &Arc<Board>) {
        self.tap.attach(board);
        let tapped = Arc::clone(&self.tapped);
        board.on_log_level(move |level| tapped(tap::filter(level)));
    }

    /// Opens the logs' files again, as those expect who have moved them away.
    pub(crate) fn reopen(&self) {
        for output in self.routes.get().outputs() {
            if let Err(error) = output.reopen() {
                error!("the log's file cannot be opened again, the old one is written on: {error}");
            }
        }
    }

    /// Has services that `config` starts log as it says; all else stays, until [`Logging::apply`].
    pub(crate) fn announce(&self, config: &Config) {
        let before = self.routes.get();
        let (next, _) = LogRoutes::new(config, &before);
        self.go_to(before.with_services_of(&next));
    }

    /// Goes over to what is configured now. An output that cannot be opened leaves the old one; all else changes.
    pub(crate) fn apply(&mut self, config: &Config) {
        let (routes, errors) = LogRoutes::new(config, &self.routes.get());
        let mut log = config.log.clone();
        for OutputError { logger, error } in errors {
            match logger {
                None => {
                    error!(key = "log.output", "the log stays where it was: {error}");
                    log.output = self.log.output.clone();
                    log.rotation = self.log.rotation.clone();
                }
                Some(logger) => {
                    error!(
                        key = "loggers",
                        name = logger,
                        "the log of a logger cannot be opened: {error}"
                    );
                }
            }
        }
        self.go_to(routes);
        if log != self.log {
            self.log = log;
            info!(
                level = ?self.log.level, format = ?self.log.format, output = ?self.log.output,
                "the log has changed as configured"
            );
        }
    }

    /// To be called every second: says how many lines were left out or lost, and makes files again that have gone. How many were
    /// lost since.
    pub(crate) fn look_after(&self) -> u64 {
        let outputs = self.routes.get().outputs();
        let lost = outputs.iter().map(|output| output.look_after()).sum();
        self.limit.tell();
        lost
    }

    fn go_to(&self, routes: LogRoutes) {
        // Fails only where the subscriber is gone, and that lasts as long as the process.
        let _ = self.level.reload(routes.level());
        self.routes.set(Arc::new(routes));
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.routes.set(Arc::default());
    }
}
