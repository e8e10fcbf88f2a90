//! Keeps the rules of a server or relay up to date with its configuration and with the sources of its users.

use std::sync::Arc;

use rtun_control::in_background;
use rtun_settings::{RelayRules, UdpServerRules};
use tokio::sync::{Mutex, Notify};
use tracing::info;

use crate::feeds::{Feeds, any_change};

/// Rules whose users may come from sources.
pub(super) trait SourcedRules: Send + Sync + 'static {
    /// The same with what `feeds` have read, as if it stood in the configuration.
    fn filled(&self, feeds: &Feeds) -> Self;
}

/// What goes by such rules.
pub(super) trait RulesUser: Send + Sync + 'static {
    type Rules: SourcedRules;

    /// What its rules are made of.
    fn followed(&self) -> &FollowedRules<Self::Rules>;

    /// Goes by these, which are [filled](SourcedRules::filled), from now on; whom they do not admit has to go.
    fn go_by(&self, rules: Self::Rules);
}

/// What rules are made of.
pub(super) struct FollowedRules<R> {
    /// Held while rules are put in force, so that older ones never come after newer ones.
    made_of: Mutex<MadeOf<R>>,
    /// There is another configuration, and with it other feeds to follow.
    reconfigured: Notify,
}

struct MadeOf<R> {
    rules: Arc<R>,
    feeds: Feeds,
}

impl<R: SourcedRules> FollowedRules<R> {
    pub(super) fn new(rules: R, feeds: Feeds) -> Self {
        let made_of = MadeOf { rules: Arc::new(rules), feeds };
        Self { made_of: Mutex::new(made_of), reconfigured: Notify::new() }
    }
}

/// Has `user` go by other rules.
pub(super) async fn replace<U: RulesUser>(user: &Arc<U>, rules: U::Rules, feeds: Feeds) {
    let followed = user.followed();
    *followed.made_of.lock().await = MadeOf { rules: Arc::new(rules), feeds };
    put_in_force(user).await;
    followed.reconfigured.notify_one();
}

/// Has the user called `service` go by what sources say, without end.
pub(super) async fn follow<U: RulesUser>(service: &str, user: &Arc<U>) {
    let followed = user.followed();
    let mut by_source = false;
    loop {
        // Asked for before rows are put in force, so that none is missed.
        let changes = followed.made_of.lock().await.feeds.changes();
        put_in_force(user).await;
        if by_source {
            info!(service, "rules replaced: a source has changed");
        }
        by_source = tokio::select! {
            () = any_change(changes) => true,
            () = followed.reconfigured.notified() => false,
        };
    }
}

/// In the background, since there may be many users.
async fn put_in_force<U: RulesUser>(user: &Arc<U>) {
    let made_of = user.followed().made_of.lock().await;
    let (user, rules, feeds) =
        (Arc::clone(user), Arc::clone(&made_of.rules), made_of.feeds.clone());
    in_background(move || user.go_by(rules.filled(&feeds))).await;
}

impl SourcedRules for UdpServerRules {
    fn filled(&self, feeds: &Feeds) -> Self {
        Self { authers: feeds.filled_authers(self.authers.as_deref()), ..self.clone() }
    }
}

impl SourcedRules for RelayRules {
    fn filled(&self, feeds: &Feeds) -> Self {
        Self { authers: feeds.filled_authers(self.authers.as_deref()), ..self.clone() }
    }
}
