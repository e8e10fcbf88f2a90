//! Runs a configuration until a signal ends it.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rtun_api::{ApiServer, Done, Order, OrderError};
use rtun_config::{
    ConfigParts, Document, Environment, Outcome, answered_hub, answered_proxy,
    cli::{Args, OutputFormat},
    findings::{Finding, Profile, Severity},
    load, load_parts,
};
use rtun_node::{
    ASKED, Node, NodeReader,
    control_socket::{ControlSocket, SocketLocations},
    descriptors,
    watch::{EventFacts, NodeEventKind},
};
use rtun_settings::Config;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    EXIT_CONFIG, EXIT_FAILURE, complain, core_dumps,
    hop_feeds::HopFeeds,
    logging::{FATAL, Logging},
    machine,
    orders::Api,
    reader::SystemReader,
    say,
    state::ProcessState,
};

/// Nodes that plugins name are read as those of the configuration are.
const NODE_READER: NodeReader = NodeReader { hub: answered_hub, proxy: answered_proxy };

/// How often is looked after what others may take away.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Loads what `args` name, starts it, and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> ExitCode {
    let dumps = core_dumps::prevent();
    use_one_crypto_provider();
    let environment = Environment::from_vars(|name| std::env::var(name).ok());
    if let Some(format) = args.output {
        return print_merged(args, &environment, format);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("rtun: cannot start threads: {error}"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let state = ProcessState::default();
    let mut reader = SystemReader::following(state.clone());
    let entered = runtime.enter();
    // Before anything that takes its time.
    let signals = match KeptSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return deaf(&error),
    };
    let Outcome { config, document, parts, findings, .. } = read(args, &environment, &mut reader);
    let Some(mut config) = config else {
        print_serious(&findings);
        return ExitCode::from(EXIT_CONFIG);
    };
    if config.services.is_empty() && config.api.is_none() {
        complain("rtun: the configuration has no service: there is nothing to run");
        return ExitCode::from(EXIT_CONFIG);
    }
    let logging = match Logging::start(&config) {
        Ok(logging) => logging,
        Err(error) => {
            complain(&format!("rtun: cannot write the log: {error}"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    if let Err(error) = dumps {
        warn!("a crash may leave a dump with passwords in it: {error}");
    }
    log_findings(&findings);
    descriptors::raise_limit();
    let of_process = machine::process(&mut config);
    log_findings(&of_process);
    drop(entered);
    runtime.block_on(async {
        let stopping = match stop_at_signals() {
            Ok(stopping) => stopping,
            Err(error) => return deaf(&error),
        };
        let started =
            Node::start_until(stopping.clone(), NODE_READER, &config, state.directory(&config))
                .await;
        let node = match started {
            Ok(node) => node,
            Err(_) if stopping.is_cancelled() => {
                info!("stopped");
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                error!(target: FATAL, "{error}");
                complain(&format!("rtun: {error}"));
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        logging.show_on(&node.board());
        let mut api = Api::new();
        match api.prepare(&config, &node.board()) {
            Ok(server) => commit(&node, &mut api, &mut reader, server, document, parts),
            Err(error) => {
                node.stop().await;
                error!(target: FATAL, "{error}");
                complain(&format!("rtun: {error}"));
                return ExitCode::from(EXIT_FAILURE);
            }
        }
        let mut life = Life {
            args,
            environment,
            reader,
            logging,
            state,
            control: open_control_socket(&node),
            api,
            control_lost: false,
            of_process,
            said: findings,
            is_applied: true,
            around: without_services(config),
            stopping,
            signals,
        };
        life.live(node).await;
        ExitCode::SUCCESS
    })
}

/// For `-O`: the merged configuration, also where it has errors.
fn print_merged(args: &Args, environment: &Environment, format: OutputFormat) -> ExitCode {
    let Outcome { document, findings, .. } = read(args, environment, &mut SystemReader::default());
    print_serious(&findings);
    match document {
        Some(document) => say(&document.emit(format)),
        None => ExitCode::from(EXIT_CONFIG),
    }
}

/// What a running process reacts to.
struct Life<'a> {
    args: &'a Args,
    environment: Environment,
    reader: SystemReader,
    logging: Logging,
    state: ProcessState,
    control: Option<ControlSocket>,
    api: Api,
    /// Whether it could not be made again, which was said.
    control_lost: bool,
    /// What was said of this process on its machine.
    of_process: Vec<Finding>,
    /// What was said of the configuration when it was read last.
    said: Vec<Finding>,
    /// Whether it could be applied then.
    is_applied: bool,
    /// What runs, but for the services.
    around: Config,
    /// Cancelled by SIGINT and SIGTERM.
    stopping: CancellationToken,
    signals: KeptSignals,
}

/// Signals that wait until they can be answered: from when this is made they do not end the process.
struct KeptSignals {
    hang_up: Signal,
    user_1: Signal,
}

/// Why a configuration is read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reloading {
    /// Somebody wants it, and an answer.
    Asked,
    /// A period is over; only a change is worth a word.
    Periodic,
}

/// What was put in force.
struct Applied {
    /// Whether it is not what was in force before.
    has_changed: bool,
    done: Done,
}

impl KeptSignals {
    /// To be called inside a runtime.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Life<'_> {
    async fn live(&mut self, mut node: Node) {
        let mut look_after = interval(LOOK_AFTER);
        look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_reload = self.args.reload.map(|period| Instant::now() + period);
        loop {
            let period_over = async {
                match next_reload {
                    Some(when) => tokio::time::sleep_until(when).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => break,
                _ = self.signals.user_1.recv() => {
                    self.logging.reopen();
                    node.log_report();
                }
                _ = look_after.tick() => {
                    self.look_after(&node);
                    if self.reader.hops.as_ref().is_some_and(HopFeeds::have_news) {
                        self.take_nodes(&mut node).await;
                    }
                }
                _ = self.signals.hang_up.recv() => {
                    self.said.clear();
                    self.is_applied = true;
                    let _ = self.reload(&mut node, Reloading::Asked).await;
                }
                ordered = self.api.next() => {
                    let outcome = self.carry_out(&ordered.order, &mut node).await;
                    ordered.answer(outcome);
                }
                () = period_over => {
                    let _ = self.reload(&mut node, Reloading::Periodic).await;
                    next_reload = self.args.reload.map(|period| Instant::now() + period);
                }
            }
        }
        node.log_report();
        node.stop().await;
        self.logging.look_after();
        info!("stopped");
    }

    /// Makes again what others have taken away.
    fn look_after(&mut self, node: &Node) {
        node.board().count_lost_log_lines(self.logging.look_after());
        if self.state.look_after() {
            // What they say is kept again.
            node.reload_sources();
            tokio::task::block_in_place(|| {
                self.reader.hops.iter_mut().for_each(HopFeeds::save_again);
                node.save_again();
            });
        }
        if let Some(control) = &mut self.control {
            match control.look_after() {
                Ok(had_gone) => {
                    self.control_lost = false;
                    if had_gone {
                        let path = control.path().display();
                        warn!(%path, "the control socket had gone and is made again");
                    }
                }
                Err(error) if !self.control_lost => {
                    self.control_lost = true;
                    let path = control.path().display();
                    warn!(%path, "the control socket has gone and cannot be made again: {error}");
                }
                Err(_) => {}
            }
        }
    }

    /// Reads all sources again; a configuration with an error changes nothing. What was said the last time is not said again.
    async fn reload(&mut self, node: &mut Node, why: Reloading) -> Result<Done, OrderError> {
        // The sender of the signal may have moved the log file away, whatever the configuration says.
        self.logging.reopen();
        let Self { args, environment, reader, .. } = self;
        let outcome = tokio::task::block_in_place(|| read(args, environment, reader));
        log_findings(&changed(&outcome.findings, &self.said));
        let is_same = self.said == outcome.findings;
        self.said.clone_from(&outcome.findings);
        let was_applied = std::mem::replace(&mut self.is_applied, outcome.config.is_some());
        let applied = self.apply(outcome, node).await;
        match &applied {
            Ok(Applied { has_changed, .. }) => {
                node.reload_sources();
                self.reader.hops.iter().for_each(HopFeeds::reload);
                if *has_changed || why == Reloading::Asked {
                    info!(target: ASKED, "configuration read again");
                    announce(node, "the configuration was read again and is applied");
                } else {
                    debug!("the configuration has not changed");
                }
            }
            Err(OrderError::Wrong(_)) if is_same && !was_applied => {}
            Err(OrderError::Wrong(_)) => {
                announce(node, "the new configuration is not applied: it has errors");
                error!("the new configuration is not applied: it has errors");
            }
            Err(error) => {
                announce(node, &format!("the new configuration is not applied: {error}"));
                error!("the new configuration is not applied: {error}");
            }
        }
        applied.map(|applied| applied.done)
    }

    /// Puts new nodes of hops in force, in what runs; a configuration that waits in its files stays there.
    async fn take_nodes(&mut self, node: &mut Node) {
        let Some(parts) = self.api.parts().cloned() else { return };
        let Self { args, environment, reader, .. } = self;
        let outcome = tokio::task::block_in_place(|| read_parts(&parts, args, environment, reader));
        let findings = outcome.findings.clone();
        log_findings(&changed(&findings, &self.said));
        let applied = self.apply(outcome, node).await;
        self.said = findings;
        if applied.is_err() {
            self.reader.hops.iter_mut().for_each(HopFeeds::give_up);
        }
        match applied {
            Ok(Applied { has_changed: false, .. }) => {}
            Ok(_) => announce(node, "the nodes of hops have changed"),
            Err(OrderError::Wrong(_)) => error!("new nodes of hops are not used: there are errors"),
            Err(error) => error!("new nodes of hops are not used: {error}"),
        }
    }

    /// Puts in force what was read.
    async fn apply(&mut self, outcome: Outcome, node: &mut Node) -> Result<Applied, OrderError> {
        let Outcome { config, document, parts, findings, .. } = outcome;
        let Some(mut config) = config else { return Err(OrderError::Wrong(findings)) };
        let of_process = machine::process(&mut config);
        log_findings(&changed(&of_process, &self.of_process));
        self.of_process = of_process;
        node.keep_state_in(self.state.directory(&config));
        self.logging.announce(&config);
        let failed = |error: &dyn std::fmt::Display| OrderError::Failed(error.to_string());
        let server = self.api.prepare(&config, &node.board()).map_err(|error| failed(&error))?;
        let has_changed = node.apply(&config).await.map_err(|error| failed(&error))?;
        commit(node, &mut self.api, &mut self.reader, server, document, parts);
        self.logging.apply(&config);
        let around = without_services(config);
        let has_changed = has_changed || around != self.around;
        self.around = around;
        Ok(Applied { has_changed, done: Done { findings } })
    }

    /// Does what the Web API asks for.
    async fn carry_out(&mut self, order: &Order, node: &mut Node) -> Result<Done, OrderError> {
        match order {
            Order::Change { group, action, title } => {
                let parts = self.api.edited(group, action, title)?;
                let Self { args, environment, reader, .. } = self;
                let outcome =
                    tokio::task::block_in_place(|| read_parts(&parts, args, environment, reader));
                let before = std::mem::take(&mut self.said);
                let applied = self.apply(outcome, node).await;
                // Only what has come with the change is said; after a refusal all is as it was.
                let (said, applied) = match applied {
                    Ok(Applied { done: Done { findings }, .. }) => {
                        let new = changed(&findings, &before);
                        log_findings(&new);
                        announce(node, &format!("{title}: changed over the Web API"));
                        (findings, Ok(Done { findings: new }))
                    }
                    Err(OrderError::Wrong(findings)) => {
                        let new = changed(&findings, &before);
                        (before, Err(OrderError::Wrong(new)))
                    }
                    Err(error) => (before, Err(error)),
                };
                self.said = said;
                applied
            }
            Order::Save { force } => self.api.save(*force).map(|()| Done::default()),
            Order::Reload => {
                let before = self.said.clone();
                let Done { findings } = self.reload(node, Reloading::Asked).await?;
                Ok(Done { findings: changed(&findings, &before) })
            }
            Order::ResetQuota { name, used } => {
                if node.reset_quota(name, *used).await || self.api.has_quota(name) {
                    return Ok(Done::default());
                }
                Err(OrderError::NoQuota(name.clone()))
            }
        }
    }
}

/// Says that signals cannot be listened for.
fn deaf(error: &std::io::Error) -> ExitCode {
    complain(&format!("rtun: cannot listen for signals: {error}"));
    ExitCode::from(EXIT_FAILURE)
}

/// What is cancelled by the first SIGINT or SIGTERM, also while something else is waited for.
fn stop_at_signals() -> std::io::Result<CancellationToken> {
    let stopping = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    Ok(stopping)
}

/// Loads the configuration and looks at its files; there is none if anything found is an error.
fn read(args: &Args, environment: &Environment, reader: &mut SystemReader) -> Outcome {
    reader.hops.iter_mut().for_each(HopFeeds::begin);
    look_over(load(args, environment, reader, Profile::Compat), args, environment)
}

/// The same of parts that were read before.
fn read_parts(
    parts: &ConfigParts,
    args: &Args,
    environment: &Environment,
    reader: &mut SystemReader,
) -> Outcome {
    reader.hops.iter_mut().for_each(HopFeeds::begin);
    look_over(load_parts(parts, args, environment, reader, Profile::Compat), args, environment)
}

/// What was read last runs now: its API answers by it, and its sources of nodes are followed and shown.
fn commit(
    node: &Node,
    api: &mut Api,
    reader: &mut SystemReader,
    server: Option<Arc<ApiServer>>,
    document: Option<Document>,
    parts: Option<ConfigParts>,
) {
    tokio::task::block_in_place(|| reader.hops.iter_mut().for_each(HopFeeds::settle));
    let may_change = server.is_some() || reader.hops.as_ref().is_some_and(HopFeeds::are_there);
    api.commit(server, document, parts.filter(|_| may_change));
    show_sources(node, reader);
}

/// Shows the sources of nodes as they are now.
fn show_sources(node: &Node, reader: &SystemReader) {
    let sources = reader.hops.as_ref().map(HopFeeds::shown);
    node.board().show_node_sources(sources.unwrap_or_default());
}

/// What is not of a service.
fn without_services(config: Config) -> Config {
    Config { services: Vec::new(), ..config }
}

/// Looks at the files that a configuration names.
fn look_over(mut outcome: Outcome, args: &Args, environment: &Environment) -> Outcome {
    if let Some(config) = &outcome.config {
        outcome.findings.extend(machine::files(
            args,
            environment,
            config,
            &outcome.node_files,
            Profile::Compat,
        ));
        let now = SystemTime::now();
        outcome.findings.extend(machine::certificates(config, Profile::Compat, now));
    }
    if outcome.worst() == Some(Severity::Error) {
        outcome.config = None;
    }
    outcome
}

/// For `rtun status`; without it everything else works.
fn open_control_socket(node: &Node) -> Option<ControlSocket> {
    let places = SocketLocations::from_vars(|name| std::env::var_os(name));
    match ControlSocket::open(&places, node.board()) {
        Ok(socket) => {
            info!(path = %socket.path().display(), "control socket is open");
            Some(socket)
        }
        Err(error) => {
            warn!("`rtun status` cannot ask this process: {error}");
            None
        }
    }
}

/// Adds the event of a reload.
fn announce(node: &Node, text: &str) {
    node.board().announce(NodeEventKind::Reload, &EventFacts { text, ..EventFacts::default() });
}

/// All TLS of the process uses this provider.
pub(crate) fn use_one_crypto_provider() {
    // Fails only if one is installed already, which is then this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Those of `findings` that are not among `before`.
fn changed(findings: &[Finding], before: &[Finding]) -> Vec<Finding> {
    findings.iter().filter(|finding| !before.contains(finding)).cloned().collect()
}

fn print_serious(findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Info) {
        complain(&finding.to_string());
    }
}

fn log_findings(findings: &[Finding]) {
    for finding in findings {
        let code = finding.code.map(|code| code.to_string());
        let place = finding.location.as_ref().map(ToString::to_string);
        let Finding { path, message, help, .. } = finding;
        match finding.severity {
            Severity::Info => info!(code, place, key = path, help, "{message}"),
            Severity::Warning => warn!(code, place, key = path, help, "{message}"),
            Severity::Error => error!(code, place, key = path, help, "{message}"),
        }
    }
}
