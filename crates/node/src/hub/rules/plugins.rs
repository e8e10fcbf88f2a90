//! The plugins that a hub asks.

use std::sync::Arc;

use rtun_control::{
    AdmissionQuestions, AnswerLimits, AuthQuestions, IngressQuestions, PluginSetupError,
    PluginStatus, QuestionLimits, Released, RouteAnswers, connect_admission_plugin,
    connect_auth_plugin, connect_ingress_plugin, connect_route_plugin,
};
use rtun_core::PluginId;
use rtun_settings::{self, HubRules, Named};

use super::RulesError;
use crate::{hub::parked::Parked, runtime::surroundings::Surroundings};

/// A route plugin's answers, with the packets that wait for one.
pub(in crate::hub) type RoutePluginAnswers = RouteAnswers<Parked>;

/// Every plugin of a hub, by what it is asked for.
#[derive(Default)]
pub(in crate::hub) struct Plugins {
    routes: Vec<ConnectedPlugin<RoutePluginAnswers>>,
    authers: Vec<ConnectedPlugin<AuthQuestions>>,
    ingress: Option<ConnectedPlugin<IngressQuestions>>,
    admissions: Vec<ConnectedPlugin<AdmissionQuestions>>,
    /// The plugins of `routes`, by number.
    by_id: Arc<[Arc<RoutePluginAnswers>]>,
}

/// A plugin and its settings.
struct ConnectedPlugin<T> {
    name: String,
    settings: rtun_settings::PluginSettings,
    plugin: Arc<T>,
}

impl Plugins {
    /// The plugins of `config`. Those that `before` has with the same name and settings are kept with what they have
    /// answered.
    pub(super) fn connect(
        config: &HubRules,
        surroundings: &Surroundings,
        before: Option<&Self>,
    ) -> Result<Self, RulesError> {
        let nothing = Self::default();
        let before = before.unwrap_or(&nothing);
        let mut plugins = Self::default();
        for router in config.routers() {
            if plugins.route_plugin(&router.name).is_none() {
                let plugin = connect("router", router, &before.routes, |name, settings| {
                    route_plugin(name, settings, surroundings)
                })?;
                plugins.routes.extend(plugin);
            }
        }
        plugins.by_id =
            plugins.routes.iter().map(|connected| Arc::clone(&connected.plugin)).collect();
        for auther in config.authers.iter().flatten() {
            plugins.authers.extend(connect(
                "auther",
                auther,
                &before.authers,
                |name, settings| {
                    Ok(AuthQuestions::new(name, connect_auth_plugin(settings)?, limits(settings)))
                },
            )?);
        }
        if let Some(ingress) = &config.ingress {
            let before = before.ingress.as_slice();
            plugins.ingress = connect("ingress", ingress, before, |name, settings| {
                Ok(IngressQuestions::new(name, connect_ingress_plugin(settings)?, limits(settings)))
            })?;
        }
        for admission in &config.admissions {
            let before = &before.admissions;
            let plugin = connect("admission", &admission.matchers, before, |name, settings| {
                Ok(AdmissionQuestions::new(
                    name,
                    connect_admission_plugin(settings)?,
                    limits(settings),
                ))
            })?;
            plugins.admissions.extend(plugin);
        }
        Ok(plugins)
    }

    /// The number of the plugin that stands for the router `name`.
    pub(in crate::hub) fn route_plugin(&self, name: &str) -> Option<PluginId> {
        self.routes.iter().position(|connected| connected.name == name).map(PluginId)
    }

    /// Route plugins, by number.
    pub(in crate::hub) fn routes(&self) -> Arc<[Arc<RoutePluginAnswers>]> {
        Arc::clone(&self.by_id)
    }

    /// The plugins to ask about users, in turn.
    pub(in crate::hub) fn authers(&self) -> impl Iterator<Item = &Arc<AuthQuestions>> {
        self.authers.iter().map(|connected| &connected.plugin)
    }

    /// The plugin to ask for the namespace of a host.
    pub(in crate::hub) fn ingress(&self) -> Option<&Arc<IngressQuestions>> {
        self.ingress.as_ref().map(|connected| &connected.plugin)
    }

    /// The plugins to ask about an address; each has to admit it.
    pub(in crate::hub) fn admissions(&self) -> impl Iterator<Item = &Arc<AdmissionQuestions>> {
        self.admissions.iter().map(|connected| &connected.plugin)
    }

    /// The status of each.
    pub(in crate::hub) fn status(&self) -> Vec<PluginStatus> {
        let mut all = Vec::new();
        all.extend(self.routes.iter().map(|connected| connected.plugin.status()));
        all.extend(self.authers().map(|plugin| plugin.status()));
        all.extend(self.ingress().map(|plugin| plugin.status()));
        all.extend(self.admissions().map(|plugin| plugin.status()));
        all
    }
}

/// The plugin that answers instead of the rows of `named`, if there is one.
fn connect<R, T>(
    kind: &'static str,
    named: &Named<R>,
    before: &[ConnectedPlugin<T>],
    make: impl FnOnce(String, &rtun_settings::PluginSettings) -> Result<T, PluginSetupError>,
) -> Result<Option<ConnectedPlugin<T>>, RulesError> {
    let Some(settings) = named.plugin() else { return Ok(None) };
    let name = named.name.clone();
    let kept = before.iter().find(|other| other.name == name && other.settings == *settings);
    let plugin = match kept {
        Some(kept) => Arc::clone(&kept.plugin),
        None => {
            let made = make(name.clone(), settings);
            Arc::new(made.map_err(|source| RulesError::Plugin {
                kind,
                name: name.clone(),
                source,
            })?)
        }
    };
    Ok(Some(ConnectedPlugin { name, settings: settings.clone(), plugin }))
}

fn route_plugin(
    name: String,
    settings: &rtun_settings::PluginSettings,
    surroundings: &Surroundings,
) -> Result<RoutePluginAnswers, PluginSetupError> {
    let plugin = match surroundings {
        Surroundings::System => connect_route_plugin(settings)?,
        Surroundings::Twin(twin) => twin.route_plugin(settings),
    };
    let limits = AnswerLimits { deadline: settings.timeout, ..AnswerLimits::default() };
    Ok(RouteAnswers::new(name, plugin, limits, release))
}

fn limits(settings: &rtun_settings::PluginSettings) -> QuestionLimits {
    QuestionLimits { deadline: settings.timeout, ..QuestionLimits::default() }
}

fn release(packets: Vec<Parked>, why: Released) {
    for packet in packets {
        match why {
            Released::Answered => packet.resume(),
            Released::TimedOut => packet.give_up(),
        }
    }
}
