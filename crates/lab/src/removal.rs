//! Removes addresses and devices from a machine, and takes devices down and up, while programs run on it.

use rtnetlink::{Handle, LinkUnspec};

use crate::{LabError, NetNamespace, namespace::parse_address};

impl NetNamespace {
    /// Takes an address, `10.0.0.1/24`, from `device`; fails if it is not there.
    pub fn addr_remove(&self, device: &str, address: &str) -> Result<(), LabError> {
        let net = parse_address(address)?;
        let index = self.with_link(device, async |link| Ok(link.index()))?;
        let action = format!("removing {address} from {device} in {}", self.name());
        self.with_netlink(&action, async |netlink| {
            let mut same = netlink.address().add(index, net.addr(), net.prefix_len());
            let message = same.message_mut().clone();
            netlink.address().del(message).execute().await
        })
    }

    /// Deletes `device`, with its addresses and routes; fails if it is not there.
    pub fn device_remove(&self, device: &str) -> Result<(), LabError> {
        let index = self.with_link(device, async |link| Ok(link.index()))?;
        let action = format!("deleting {device} in {}", self.name());
        self.with_netlink(&action, async |netlink| netlink.link().del(index).execute().await)
    }

    /// Takes `device` down: it keeps its IPv4 addresses, and nothing passes.
    pub fn device_down(&self, device: &str) -> Result<(), LabError> {
        let index = self.with_link(device, async |link| Ok(link.index()))?;
        let action = format!("taking {device} in {} down", self.name());
        self.with_netlink(&action, async |netlink| {
            netlink.link().set(LinkUnspec::new_with_index(index).down().build()).execute().await
        })
    }

    /// Takes `device` up again.
    pub fn device_up(&self, device: &str) -> Result<(), LabError> {
        self.with_link(device, async |link| link.up().await)
    }

    /// Whether there is a device of this name.
    pub fn has_device(&self, device: &str) -> bool {
        self.with_link(device, async |_| Ok(())).is_ok()
    }

    fn with_netlink(
        &self,
        action: &str,
        work: impl AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error> + Send,
    ) -> Result<(), LabError> {
        let name = self.name().to_owned();
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| LabError::system(name, error))?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()
                    .map_err(|error| LabError::system("opening a netlink socket", error))?;
                tokio::spawn(connection);
                work(handle).await.map_err(|error| LabError::netlink(action, error))
            })
        })?
    }
}
