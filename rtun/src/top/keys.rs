//! What keys do.

use rtun_node::watch::HostView;

use crate::hosts::SortBy;

/// Characters of a search.
const MAX_SEARCH: usize = 64;

/// What is shown, and how.
pub(super) struct TopState {
    pub(super) sort: SortBy,
    pub(super) search: String,
    /// Whether keys go into the search.
    pub(super) is_typing: bool,
    /// The host that Enter opens, from the first that is shown.
    pub(super) selected: usize,
    /// The host that is looked at.
    pub(super) opened: Option<HostKey>,
}

/// Identifies a host among those of all hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) host: String,
}

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopKey {
    Character(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    /// Control and C.
    Interrupt,
    /// The terminal has another size.
    Resized,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopStep {
    Quit,
    /// Other answers are needed.
    Ask,
    Draw,
}

impl HostKey {
    pub(super) fn of(host: &HostView) -> Self {
        Self {
            service: host.service.clone(),
            namespace: host.namespace.clone(),
            host: host.host.clone(),
        }
    }
}

impl TopState {
    pub(super) fn new(sort: SortBy, search: String) -> Self {
        Self { sort, search, is_typing: false, selected: 0, opened: None }
    }

    pub(super) fn press(&mut self, key: TopKey, hosts: &[HostView]) -> TopStep {
        match key {
            TopKey::Interrupt => return TopStep::Quit,
            TopKey::Resized => return TopStep::Ask,
            _ if self.is_typing => return self.type_in(key),
            TopKey::Character('q') => return TopStep::Quit,
            TopKey::Escape if self.opened.take().is_some() => {}
            TopKey::Escape if !self.search.is_empty() => self.search.clear(),
            TopKey::Escape => return TopStep::Quit,
            TopKey::Character('/') if self.opened.is_none() => {
                self.is_typing = true;
                return TopStep::Draw;
            }
            TopKey::Character(letter) => {
                self.sort = match letter {
                    't' => SortBy::Traffic,
                    'n' => SortBy::Name,
                    'a' => SortBy::Age,
                    'u' => SortBy::Queue,
                    'd' => SortBy::Drops,
                    _ => return TopStep::Draw,
                };
                self.selected = 0;
            }
            TopKey::Up => {
                self.selected = self.selected.saturating_sub(1);
                return TopStep::Draw;
            }
            TopKey::Down => {
                self.selected = (self.selected + 1).min(hosts.len().saturating_sub(1));
                return TopStep::Draw;
            }
            TopKey::Enter => match hosts.get(self.selected) {
                Some(host) if self.opened.is_none() => self.opened = Some(HostKey::of(host)),
                _ => return TopStep::Draw,
            },
            TopKey::Backspace => return TopStep::Draw,
        }
        TopStep::Ask
    }

    fn type_in(&mut self, key: TopKey) -> TopStep {
        match key {
            TopKey::Character(c) if self.search.chars().count() < MAX_SEARCH => self.search.push(c),
            TopKey::Backspace => drop(self.search.pop()),
            TopKey::Escape => {
                self.search.clear();
                self.is_typing = false;
            }
            TopKey::Enter => self.is_typing = false,
            _ => return TopStep::Draw,
        }
        self.selected = 0;
        TopStep::Ask
    }
}
