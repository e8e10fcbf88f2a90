//! Why a host may not join.

/// Why a host may not join. The answer on the wire says less than the operator's counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Users are required and the host presented none.
    #[error("no user name presented")]
    AuthMissing,
    /// Unknown user or wrong password.
    #[error("unknown user or wrong password")]
    AuthFailed,
    /// The plugin that knows the users does not answer.
    #[error("the auth plugin does not answer")]
    AuthUnavailable,
    /// Not an association.
    #[error("a command other than associate")]
    BadCommand,
    /// Empty or unprintable host name.
    #[error("the host name is empty or not printable")]
    NameInvalid,
    /// The user is bound to other host names.
    #[error("this user may not report that host name")]
    NameNotPermitted,
    /// Another user's host of that name is connected.
    #[error("a host of that name is connected as another user")]
    NameInUse,
    /// The namespace has neither a table nor a default router.
    #[error("the namespace has neither a table nor a default router")]
    NamespaceUnknown,
    /// No ingress rule names the host.
    #[error("no ingress rule for that host name")]
    IngressNoRule,
    /// The ingress rule names another namespace.
    #[error("the ingress rule for that host name allows another namespace")]
    IngressOtherNamespace,
    /// The ingress plugin does not answer.
    #[error("the ingress plugin does not answer")]
    IngressUnavailable,
    /// The largest allowed number of hosts is connected.
    #[error("as many hosts are connected as the quota allows (maxHosts)")]
    LimitTotal,
    /// The largest allowed number of hosts is connected as this user.
    #[error("as many hosts are connected as this user as the quota allows (maxHostsPerUser)")]
    LimitCredential,
    /// The largest allowed number of namespaces exists.
    #[error("there are as many namespaces as the quota allows (maxNamespaces)")]
    LimitNamespaces,
    /// A quota of what may pass is used up.
    #[error("a quota of this hub is used up, so nothing would pass (quotas)")]
    QuotaExceeded,
}

impl Refusal {
    /// The fixed word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthMissing => "auth_missing",
            Self::AuthFailed => "auth_failed",
            Self::AuthUnavailable => "auth_unavailable",
            Self::BadCommand => "bad_command",
            Self::NameInvalid => "name_invalid",
            Self::NameNotPermitted => "name_not_permitted",
            Self::NameInUse => "name_in_use",
            Self::NamespaceUnknown => "namespace_unknown",
            Self::IngressNoRule => "ingress_no_rule",
            Self::IngressOtherNamespace => "ingress_other_namespace",
            Self::IngressUnavailable => "ingress_unavailable",
            Self::LimitTotal => "limit_total",
            Self::LimitCredential => "limit_credential",
            Self::LimitNamespaces => "limit_namespaces",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }
}
