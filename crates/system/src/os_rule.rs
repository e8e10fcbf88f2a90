//! Routing rules of rtun's: in which order the system asks its own routes and a tunnel's.
//!
//! The longest prefix of all tables wins, as if they were one: for each length of prefix in the tunnel's table, longest first,
//! the main table is asked for longer ones, then the tunnel's for this length. The tunnel's own packets, which have the `SO_MARK` of
//! its sockets or go to certain addresses, skip all of these rules. Each rule names the tunnel that
//! it belongs to, so that a later run knows what a killed one left.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion};

use crate::netlink::{LinkError, PROTOCOL, errno};
use crate::os_route::{Family, MAIN};

/// The first of the priorities in use; users' own rules come before with lower ones, or after with higher ones.
pub(crate) const FIRST_PRIORITY: u32 = 20_000;

/// The last of them.
pub(crate) const LAST_PRIORITY: u32 = FIRST_PRIORITY + 300;

/// Before the rules for prefixes of 128 bits, the longest.
const LENGTHS: u32 = FIRST_PRIORITY + 10;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OsRule {
    pub(crate) family: Family,
    pub(crate) kind: RuleKind,
    /// The table of the tunnel that it belongs to.
    pub(crate) table: u32,
}

/// What a rule does; in the order in which rules are to be added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RuleKind {
    /// Where packets go on that skip the rules between.
    End,
    /// Packets with this `SO_MARK` skip the rules.
    PassMarked(u32),
    /// Packets to this address skip the rules.
    PassTo(IpAddr),
    /// What has a route of more bits in the main table goes there.
    Main(u8),
    /// What has a route of at least this many bits in the tunnel's table goes there.
    Own(u8),
}

impl OsRule {
    fn priority(&self) -> u32 {
        let of_length = |bits: u8| LENGTHS + 2 * (128 - u32::from(bits.min(128)));
        match self.kind {
            RuleKind::End => LAST_PRIORITY,
            RuleKind::PassMarked(_) => FIRST_PRIORITY,
            RuleKind::PassTo(_) => FIRST_PRIORITY + 1,
            RuleKind::Main(bits) => of_length(bits),
            RuleKind::Own(bits) => of_length(bits) + 1,
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let header = &mut message.header;
        header.family = self.family.netlink();
        let mut attributes = vec![
            RuleAttribute::Priority(self.priority()),
            RuleAttribute::Protocol(PROTOCOL.into()),
        ];
        let table = match self.kind {
            RuleKind::Main(_) => MAIN,
            _ => self.table,
        };
        attributes.push(RuleAttribute::Table(table));
        match &self.kind {
            RuleKind::End => header.action = RuleAction::Nop,
            RuleKind::PassMarked(so_mark) => {
                header.action = RuleAction::Goto;
                attributes
                    .extend([RuleAttribute::Goto(LAST_PRIORITY), RuleAttribute::FwMark(*so_mark)]);
            }
            RuleKind::PassTo(address) => {
                header.action = RuleAction::Goto;
                header.dst_len = if address.is_ipv4() { 32 } else { 128 };
                attributes.extend([
                    RuleAttribute::Goto(LAST_PRIORITY),
                    RuleAttribute::Destination(*address),
                ]);
            }
            RuleKind::Main(bits) => {
                header.action = RuleAction::ToTable;
                attributes.push(RuleAttribute::SuppressPrefixLen(u32::from(*bits)));
                // No device is in this group: it only says to whom the rule belongs.
                attributes.push(RuleAttribute::SuppressIfGroup(self.table));
            }
            RuleKind::Own(bits) => {
                header.action = RuleAction::ToTable;
                let shorter = bits.checked_sub(1).map(u32::from);
                attributes.extend(shorter.map(RuleAttribute::SuppressPrefixLen));
            }
        }
        message.attributes = attributes;
        message
    }

    /// The rule in a message, if an rtun made it.
    fn parse(message: &RuleMessage) -> Option<Self> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let (mut protocol, mut so_mark, mut to, mut suppressed, mut group) =
            (0, None, None, None, None);
        let mut table = u32::from(message.header.table);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Protocol(number) => protocol = u8::from(*number),
                RuleAttribute::FwMark(number) => so_mark = Some(*number),
                RuleAttribute::Destination(address) => to = Some(*address),
                RuleAttribute::SuppressPrefixLen(bits) => suppressed = u8::try_from(*bits).ok(),
                RuleAttribute::SuppressIfGroup(number) => group = Some(*number),
                RuleAttribute::Table(number) => table = *number,
                _ => {}
            }
        }
        if protocol != PROTOCOL {
            return None;
        }
        let kind = match (message.header.action, so_mark, to) {
            (RuleAction::Nop, ..) => RuleKind::End,
            (RuleAction::Goto, Some(so_mark), _) => RuleKind::PassMarked(so_mark),
            (RuleAction::Goto, None, Some(to)) => RuleKind::PassTo(to),
            (RuleAction::ToTable, ..) if table == MAIN => {
                table = group?;
                RuleKind::Main(suppressed?)
            }
            (RuleAction::ToTable, ..) => RuleKind::Own(suppressed.map_or(0, |bits| bits + 1)),
            _ => return None,
        };
        Some(Self { family, kind, table })
    }
}

/// The rules of a family that rtuns have made.
pub(crate) async fn list(handle: &Handle, family: Family) -> Result<Vec<OsRule>, LinkError> {
    let version = match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    };
    let mut found = Vec::new();
    let mut answers = handle.rule().get(version).execute();
    loop {
        match answers.try_next().await {
            Ok(Some(message)) => found.extend(OsRule::parse(&message)),
            Ok(None) => return Ok(found),
            // A system without rules, or without this family.
            Err(error) if matches!(errno(&error), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
                return Ok(found);
            }
            Err(error) => return Err(LinkError::new("reading the routing rules".into(), error)),
        }
    }
}

pub(crate) async fn add(handle: &Handle, rule: &OsRule) -> Result<(), LinkError> {
    let mut request = handle.rule().add();
    *request.message_mut() = rule.message();
    // Rules that other tunnels need as well are there once for each.
    match request.replace().execute().await {
        Ok(()) => Ok(()),
        Err(error) => {
            let mut error = LinkError::new(
                "adding routing rules that keep the tunnel's own packets out of the tunnel".into(),
                error,
            );
            let unsupported = [libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
            if error.source.raw_os_error().is_some_and(|errno| unsupported.contains(&errno)) {
                error.source = std::io::Error::other(format!(
                    "{}; this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES)",
                    error.source
                ));
            }
            Err(error)
        }
    }
}

/// Removes a rule; one already gone is fine.
pub(crate) async fn remove(handle: &Handle, rule: &OsRule) -> Result<(), LinkError> {
    match handle.rule().del(rule.message()).execute().await {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        result => result.map_err(|error| LinkError::new("removing a routing rule".into(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_what_it_was_after_being_said_and_read() {
        let kinds = [
            RuleKind::End,
            RuleKind::PassMarked(7),
            RuleKind::PassTo([10, 0, 0, 1].into()),
            RuleKind::Main(0),
            RuleKind::Main(128),
            RuleKind::Own(0),
            RuleKind::Own(24),
            RuleKind::Own(128),
        ];
        for kind in kinds {
            let rule = OsRule { family: Family::V4, kind, table: 7_274_007 };
            assert_eq!(OsRule::parse(&rule.message()), Some(rule));
        }
    }

    #[test]
    fn longer_prefixes_come_first_and_the_main_table_before_the_tunnels() {
        let priority = |kind| OsRule { family: Family::V6, kind, table: 1 }.priority();
        let order = [
            RuleKind::PassMarked(1),
            RuleKind::PassTo([0; 16].into()),
            RuleKind::Main(128),
            RuleKind::Own(128),
            RuleKind::Main(24),
            RuleKind::Own(24),
            RuleKind::Main(0),
            RuleKind::Own(0),
            RuleKind::End,
        ];
        assert!(order.map(priority).is_sorted_by(|a, b| a < b));
    }
}
