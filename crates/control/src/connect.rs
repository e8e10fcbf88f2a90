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

/// The route plugin described by `settings`. Nothing is connected yet. Call this and the
/// other `connect` functions on the runtime that serves the connections.
pub fn connect_route_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn RoutePlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The ingress plugin described by `settings`.
pub fn connect_ingress_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn IngressPlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The auth plugin described by `settings`.
pub fn connect_auth_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn AuthPlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The admission plugin described by `settings`.
pub fn connect_admission_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn AdmissionPlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The limiter plugin described by `settings`.
pub fn connect_limiter_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn LimiterPlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The plugin of a hop described by `settings`.
pub fn connect_node_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn NodePlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}

/// The observer described by `settings`.
pub fn connect_observer_plugin(
    settings: &PluginSettings,
) -> Result<Arc<dyn ObserverPlugin>, PluginSetupError> {
    Ok(match settings.protocol {
        PluginProtocol::Http => Arc::new(HttpPlugin::new(settings)?),
        PluginProtocol::Grpc => Arc::new(GrpcPlugin::new(settings)?),
    })
}
