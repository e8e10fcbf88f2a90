//! Hooks: commands of the configuration that run as a service starts and stops.
//!
//! They run where GOST runs them. Up: the listeners are open or the device is there, `preUp`, `postUp`, then the first
//! connection. Down: `preDown`, the listeners are closed or the device is removed, `postDown`.

mod process;

use std::fmt;

use rtun_settings::{Hook, HookCommand, ServiceHooks};
use tracing::{info, warn};

use self::process::HookFailure;
pub(crate) use self::process::ProcessGroup;
use crate::runtime::machine::Machine;

/// A hook that keeps a service from starting.
#[derive(Debug, thiserror::Error)]
#[error("{hook} hook `{command}` {failure}", hook = hook.as_str())]
pub struct HookError {
    hook: Hook,
    command: String,
    failure: HookFailure,
}

/// The hooks of a service.
#[derive(Clone, Copy)]
pub(crate) struct Hooks<'a> {
    pub(crate) service: &'a str,
    pub(crate) settings: &'a ServiceHooks,
    pub(crate) machine: &'a Machine,
}

/// What commands are informed of in their environment.
#[derive(Clone, Default)]
pub(crate) struct HookFacts {
    /// `RTUN_DEVICE`: the name of the device, of services that have one.
    device: Option<String>,
    /// `RTUN_NET`: its addresses with prefix length, separated by commas.
    net: Option<String>,
    /// `RTUN_NETNS`: the network namespace of device or listeners, if it is not that of rtun.
    netns: Option<String>,
    /// `RTUN_HUB`: the addresses where a hub or server listens, or those of a host's hubs or a client's servers as configured,
    /// separated by commas.
    hub: String,
}

impl HookFacts {
    /// Of a hub or relay that listens on `addresses`, the first of them by `listener`.
    pub(crate) fn of_listeners<A: fmt::Display>(
        listener: &rtun_settings::ListenerSettings,
        addresses: impl Iterator<Item = A>,
    ) -> Self {
        let netns = listener.sockets.netns.as_ref();
        let netns = netns.map(|it| it.path().display().to_string());
        Self { netns, hub: joined(addresses), ..Self::default() }
    }

    /// Of a host whose device is called `device`.
    pub(crate) fn of_host(config: &rtun_settings::HostSettings, device: &str) -> Self {
        let endpoints = config.all_hubs().flat_map(|hub| &hub.endpoints);
        Self::of_device(&config.device, device, endpoints.map(|endpoint| &endpoint.addr))
    }

    /// Of a service that has a device called `name`, and to do with a hub or server at `addresses`.
    pub(crate) fn of_device<A: fmt::Display>(
        device: &rtun_settings::DeviceSettings,
        name: &str,
        addresses: impl Iterator<Item = A>,
    ) -> Self {
        Self {
            device: Some(name.to_owned()),
            net: Some(joined(device.addresses.iter())),
            netns: device.netns.as_ref().map(|it| it.path().display().to_string()),
            hub: joined(addresses),
        }
    }

    fn environment<'a>(&'a self, service: &'a str, hook: Hook) -> Vec<(&'static str, &'a str)> {
        let known = [
            ("RTUN_DEVICE", self.device.as_deref()),
            ("RTUN_NET", self.net.as_deref()),
            ("RTUN_NETNS", self.netns.as_deref()),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let always =
            [("RTUN_SERVICE", service), ("RTUN_HOOK", hook.as_str()), ("RTUN_HUB", &*self.hub)];
        always.into_iter().chain(known).collect()
    }
}

impl Hooks<'_> {
    /// Runs the commands of `preUp` until one fails, and waits for them.
    pub(crate) async fn pre_up(self, facts: &HookFacts) -> Result<(), HookError> {
        for command in self.settings.of(Hook::PreUp) {
            self.run_command(Hook::PreUp, command, facts).await?;
        }
        Ok(())
    }

    /// Runs all commands of `hook` and waits for them. One that fails is logged and counted.
    pub(crate) async fn run(self, hook: Hook, facts: &HookFacts) {
        for command in self.settings.of(hook) {
            if let Err(error) = self.run_command(hook, command, facts).await {
                warn!(service = self.service, hook = hook.as_str(), "a hook fails: {error}");
                self.machine.hooks.add(self.service, hook, error.to_string());
            }
        }
    }

    async fn run_command(
        self,
        hook: Hook,
        command: &HookCommand,
        facts: &HookFacts,
    ) -> Result<(), HookError> {
        let Self { service, settings, machine } = self;
        info!(service, hook = hook.as_str(), command = command.text, "hook runs");
        let run = process::HookProcess {
            service,
            hook,
            command,
            environment: facts.environment(service, hook),
            time_limit: settings.time_limit,
        };
        // A service that would stop at once need not start; one that stops has to be tidied up after.
        let stopping = match hook {
            Hook::PreUp | Hook::PostUp => Some(&machine.stopping),
            Hook::PreDown | Hook::PostDown => None,
        };
        run.run(stopping).await.map_err(|failure| HookError {
            hook,
            command: command.text.clone(),
            failure,
        })
    }
}

fn joined<T: fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
