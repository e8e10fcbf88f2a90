//! A fresh network namespace for one test, where the system allows it.

use std::future::Future;

use nix::sched::{CloneFlags, unshare};
use rtun_system::tun::{Tun, TunConfig, TunError};

/// Runs `test` on a thread in a network namespace of its own in which TUN devices can be made;
/// where that is not possible says so and passes.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
                eprintln!("skipped: creating a network namespace: {errno}; run as root");
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let probe = Tun::create(&TunConfig { name: None, mtu: 1420 });
                match probe {
                    Err(error @ (TunError::NoDriver { .. } | TunError::NoAccess { .. })) => {
                        eprintln!("skipped: {error}");
                    }
                    probe => {
                        drop(probe);
                        test().await;
                    }
                }
            });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
