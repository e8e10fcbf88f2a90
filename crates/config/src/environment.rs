//! Environment variables that change a configuration.

/// The variables that count, `None` where unset or empty. `RTUN_*` wins over `GOST_*` of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// `GOST_LOGGER_LEVEL`, `RTUN_LOGGER_LEVEL`: the level of the log, with the variable's name.
    pub logger_level: Option<Variable>,
    /// `GOST_API`, `RTUN_API`: the address of the Web API, verbatim.
    pub api: Option<Variable>,
    /// `GOST_METRICS`, `RTUN_METRICS`: the address of the metrics, verbatim.
    pub metrics: Option<Variable>,
    /// `GOST_PROFILING`, `RTUN_PROFILING`: the address of the profiler, verbatim.
    pub profiling: Option<Variable>,
    /// `HOME`, for the default files.
    pub home: Option<String>,
}

/// An environment variable that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, not empty.
    pub value: String,
}

impl Environment {
    /// Picks the variables with `get`, which may be `|name| std::env::var(name).ok()`.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Self {
        let either = |suffix: &str| {
            ["RTUN", "GOST"].iter().find_map(|prefix| {
                let name = format!("{prefix}_{suffix}");
                let value = get(&name).filter(|value| !value.is_empty())?;
                Some(Variable { name, value })
            })
        };
        Self {
            logger_level: either("LOGGER_LEVEL"),
            api: either("API"),
            metrics: either("METRICS"),
            profiling: either("PROFILING"),
            home: get("HOME").filter(|home| !home.is_empty()),
        }
    }
}
