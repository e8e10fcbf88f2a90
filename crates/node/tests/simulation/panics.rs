//! Panics on purpose: the task that runs into one ends, and the rest has to go on.

use std::{panic, sync::Once};

const AS_ASKED: &str = "as the simulation asked";

/// Ends the task that calls this.
pub(crate) fn panic_as_asked() -> ! {
    panic!("{AS_ASKED}");
}

/// From now on panics on purpose are not printed; others are.
pub(crate) fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let asked =
                info.payload().downcast_ref::<String>().is_some_and(|text| text == AS_ASKED)
                    || info.payload().downcast_ref::<&str>().is_some_and(|text| *text == AS_ASKED);
            if !asked {
                usual(info);
            }
        }));
    });
}
