//! Plugins by their settings: the protocol decides what connects.

use std::sync::Arc;

use rtun_settings::{PluginProtocol, PluginSettings};

use crate::{
    grpc::GrpcPlugin,
    http::HttpPlugin,
    plugin::{
        AdmissionPlugin, AuthPlugin, IngressPlugin, LimiterPlugin, NodePlugin, ObserverPlugin,
        PluginSetupError, RoutePlugin,
    },
};

/// One function for each kind of plugin.
macro_rules! connectors {
    ($($(#[$doc:meta])* $name:ident: $plugin:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(settings: &PluginSettings) -> Result<Arc<dyn $plugin>, PluginSetupError> {
            Ok(match settings.protocol {
                PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
                PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
            })
        }
    )*};
}

connectors! {
    /// The route plugin described by `settings`. Nothing is connected yet. Call this and the
    /// other `connect` functions on the runtime that serves the connections.
    connect_route_plugin: RoutePlugin;
    /// The ingress plugin described by `settings`.
    connect_ingress_plugin: IngressPlugin;
    /// The auth plugin described by `settings`.
    connect_auth_plugin: AuthPlugin;
    /// The admission plugin described by `settings`.
    connect_admission_plugin: AdmissionPlugin;
    /// The limiter plugin described by `settings`.
    connect_limiter_plugin: LimiterPlugin;
    /// The plugin of a hop described by `settings`.
    connect_node_plugin: NodePlugin;
    /// The observer described by `settings`.
    connect_observer_plugin: ObserverPlugin;
}
