//! Commands that run as a service starts and stops.

use std::time::Duration;

/// The commands of a service, each list in order.
///
/// They run with the rights of rtun. So they come from a configuration file or from the command line, whose author could start
/// any program anyway, and from nowhere else: a Web API must refuse a service whose hooks are not [empty](Self::is_empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHooks {
    /// Before the service takes part in anything, when its listeners or its device are there (`preUp`).
    pub pre_up: Vec<HookCommand>,
    /// After that, and before the first connection (`postUp`).
    pub post_up: Vec<HookCommand>,
    /// Before the service stops (`preDown`).
    pub pre_down: Vec<HookCommand>,
    /// After its listeners are closed or its device is removed (`postDown`).
    pub post_down: Vec<HookCommand>,
    /// The longest time for each command; 10 s unless configured (`hookTimeout`).
    pub time_limit: Duration,
}

/// A program and its arguments. No shell takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// A path, or a name that is looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The whole as configured, for people.
    pub text: String,
}

/// The four moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "as the lists of `ServiceHooks`")]
pub enum Hook {
    PreUp,
    PostUp,
    PreDown,
    PostDown,
}

impl Hook {
    /// All of them, in the order of a service's life.
    pub const ALL: [Self; 4] = [Self::PreUp, Self::PostUp, Self::PreDown, Self::PostDown];

    /// The key of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreUp => "preUp",
            Self::PostUp => "postUp",
            Self::PreDown => "preDown",
            Self::PostDown => "postDown",
        }
    }
}

impl Default for ServiceHooks {
    /// No commands.
    fn default() -> Self {
        let [pre_up, post_up, pre_down, post_down] = [const { Vec::new() }; 4];
        Self { pre_up, post_up, pre_down, post_down, time_limit: Duration::from_secs(10) }
    }
}

impl ServiceHooks {
    /// The commands of one moment.
    pub fn of(&self, hook: Hook) -> &[HookCommand] {
        match hook {
            Hook::PreUp => &self.pre_up,
            Hook::PostUp => &self.post_up,
            Hook::PreDown => &self.pre_down,
            Hook::PostDown => &self.post_down,
        }
    }

    /// Whether no command ever runs.
    pub fn is_empty(&self) -> bool {
        Hook::ALL.into_iter().all(|hook| self.of(hook).is_empty())
    }
}
