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
    /// Of the rows in force.
    generations: Vec<u64>,
}

impl<R: SourcedRules> FollowedRules<R> {
    /// The same rules, filled, are in force from the start.
    pub(super) fn begin(rules: R, feeds: Feeds) -> (Self, R) {
        let made_of = MadeOf::new(rules, feeds);
        let filled = made_of.rules.filled(&made_of.feeds);
        (Self { made_of: Mutex::new(made_of), reconfigured: Notify::new() }, filled)
    }
}

impl<R> MadeOf<R> {
    /// To be filled after this, so that rows that come meanwhile are not taken for those in force.
    fn new(rules: R, feeds: Feeds) -> Self {
        Self { rules: Arc::new(rules), generations: feeds.generations(), feeds }
    }
}

/// Has `user` go by other rules.
pub(super) async fn replace<U: RulesUser>(user: &Arc<U>, rules: U::Rules, feeds: Feeds) {
    let followed = user.followed();
    let mut made_of = followed.made_of.lock().await;
    *made_of = MadeOf::new(rules, feeds);
    put_in_force(user, &made_of).await;
    followed.reconfigured.notify_one();
}

/// Has the user called `service` go by what sources say, without end.
pub(super) async fn follow<U: RulesUser>(service: &str, user: &Arc<U>) {
    let followed = user.followed();
    loop {
        // Asked for before rows are looked at, so that none is missed.
        let changes = followed.made_of.lock().await.feeds.changes();
        if catch_up(user).await {
            info!(service, "rules replaced: a source has changed");
        }
        tokio::select! {
            () = any_change(changes) => {}
            () = followed.reconfigured.notified() => {}
        }
    }
}

/// Puts the rows of now in force, if others are; whether it had to.
async fn catch_up<U: RulesUser>(user: &Arc<U>) -> bool {
    let mut made_of = user.followed().made_of.lock().await;
    let generations = made_of.feeds.generations();
    if generations == made_of.generations {
        return false;
    }
    put_in_force(user, &made_of).await;
    made_of.generations = generations;
    true
}

/// In the background, since there may be many users.
async fn put_in_force<U: RulesUser>(user: &Arc<U>, made_of: &MadeOf<U::Rules>) {
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
