//! The frames of one read, gathered by destination host, so that each host is written to once.

use std::{ops::Range, sync::Arc};

use crate::hub::association::HostAssociation;

/// Hosts for which frames of one read are gathered; for one more host, the frames of the first are sent.
const HOSTS: usize = 16;

/// Separate positions gathered for one host; before one more they are sent. One vectored write takes this many.
const PLACES: usize = 64;

/// Keeps its memory from read to read.
pub(super) struct Bundles {
    /// The number of the association that sent them.
    from: u64,
    bundles: Vec<Bundle>,
}

#[derive(Default)]
struct Bundle {
    /// None when the bundle is free.
    to: Option<Arc<HostAssociation>>,
    /// Positions of whole frames in the read buffer, in order; adjacent ones are joined.
    places: Vec<Range<usize>>,
}

impl Bundles {
    /// For frames of the association of this number.
    pub(super) fn new(from: u64) -> Self {
        Self { from, bundles: Vec::new() }
    }

    /// Adds the frame at `place` of `bytes` after the others for this host.
    pub(super) fn add(&mut self, to: &Arc<HostAssociation>, place: Range<usize>, bytes: &[u8]) {
        let from = self.from;
        let bundle = match self.find(to) {
            Some(index) => &mut self.bundles[index],
            None => self.open(to, bytes),
        };
        if let Some(last) = bundle.places.last_mut()
            && last.end == place.start
        {
            last.end = place.end;
            return;
        }
        if bundle.places.len() >= PLACES {
            bundle.send(from, bytes);
        }
        bundle.places.push(place);
    }

    /// Sends what is gathered for this host.
    pub(super) fn send_to(&mut self, to: &Arc<HostAssociation>, bytes: &[u8]) {
        if let Some(index) = self.find(to) {
            self.bundles[index].send(self.from, bytes);
        }
    }

    /// Sends everything.
    pub(super) fn send_all(&mut self, bytes: &[u8]) {
        let from = self.from;
        for bundle in self.bundles.iter_mut().take_while(|bundle| bundle.to.is_some()) {
            bundle.send(from, bytes);
            bundle.to = None;
        }
    }

    fn find(&self, to: &Arc<HostAssociation>) -> Option<usize> {
        let used = self.bundles.iter().map_while(|bundle| bundle.to.as_ref());
        used.enumerate().find(|(_, other)| Arc::ptr_eq(other, to)).map(|(index, _)| index)
    }

    fn open(&mut self, to: &Arc<HostAssociation>, bytes: &[u8]) -> &mut Bundle {
        let free = self.bundles.iter().position(|bundle| bundle.to.is_none());
        let index = match free {
            Some(index) => index,
            None if self.bundles.len() < HOSTS => {
                self.bundles.push(Bundle::default());
                self.bundles.len() - 1
            }
            None => {
                self.bundles[0].send(self.from, bytes);
                self.bundles.rotate_left(1);
                HOSTS - 1
            }
        };
        self.bundles[index].to = Some(Arc::clone(to));
        &mut self.bundles[index]
    }
}

impl Bundle {
    fn send(&mut self, from: u64, bytes: &[u8]) {
        if let Some(to) = &self.to {
            to.send(from, bytes, &self.places);
        }
        self.places.clear();
    }
}
