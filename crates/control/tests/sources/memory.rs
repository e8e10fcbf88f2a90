//! The twin in memory.

use std::time::Duration;

use rtun_control::{MAX_TEXT, MemorySource, Source, SourceError};

use crate::battery::{Act, Stage, TEXT, battery};

impl Stage for MemorySource {
    fn source(&self) -> &dyn Source {
        self
    }

    fn play(&mut self, act: Act) -> bool {
        match act {
            Act::Right | Act::Slow => self.set(TEXT),
            Act::Hang => self.hang(),
            Act::Refuse => self.fail(SourceError::Status(403)),
            Act::Empty => self.set(""),
            Act::CutShort | Act::Gone => self.fail(SourceError::Unreachable("broken".into())),
            Act::TooLarge => self.fail(SourceError::TooLarge(MAX_TEXT)),
            Act::NotUtf8 => {
                self.fail(SourceError::NotText(rtun_core::text::decode(vec![0xff]).unwrap_err()))
            }
        }
        true
    }
}

#[tokio::test(start_paused = true)]
async fn the_twin_in_memory_passes_the_battery() {
    let mut source = MemorySource::new("", false);
    assert_eq!(battery(&mut source, Duration::from_secs(1)).await, 9);
}
