//! Configurations and arguments.

/// A configuration file, as YAML and as JSON.
pub fn config_yaml(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        rtun_config::config_yaml(text);
    }
}

/// A `-L` or `-F` argument.
pub fn cli_url(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        rtun_config::cli_url(text);
    }
}
