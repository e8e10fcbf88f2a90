//! Cables between namespaces, and switches that join any number of them.

use std::sync::{Mutex, PoisonError};

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec};

use crate::namespace::parse_address;
use crate::{LabError, NetNamespace};

const BRIDGE: &str = "bridge";

/// An Ethernet switch: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Switch {
    namespace: NetNamespace,
    ports: Mutex<Vec<SwitchPort>>,
}

#[derive(Debug)]
struct SwitchPort {
    name: String,
    attached: NetNamespace,
}

impl Switch {
    pub(crate) fn create(namespace: NetNamespace) -> Result<Switch, LabError> {
        // Without snooping every multicast packet reaches every port. IPv6 neighbour discovery needs that
        // from the first packet on.
        let message = LinkBridge::new(BRIDGE).mcast_snooping(false).up().build();
        add(&namespace, "creating a bridge", message)?;
        Ok(Switch { namespace, ports: Mutex::default() })
    }

    /// Attaches `namespace`: it gets the device `device` with `addresses` (`10.0.0.1/24`), up.
    pub fn attach(
        &self,
        namespace: &NetNamespace,
        device: &str,
        addresses: &[&str],
    ) -> Result<(), LabError> {
        for address in addresses {
            parse_address(address)?;
        }
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let port = format!("port{}", ports.len() + 1);
        cable(namespace, device, &self.namespace, &port)?;
        // A cut port must send no packets of its own.
        self.namespace.with_link(&port, async |link| link.no_made_up_addresses().await)?;
        self.plug(&port, &format!("plugging {} into a switch", namespace.name()))?;
        for address in addresses {
            namespace.addr_add(device, address)?;
        }
        ports.push(SwitchPort { name: port, attached: namespace.clone() });
        Ok(())
    }

    /// Cuts the connection of `namespace` silently: its device stays up and connected, and the switch drops
    /// its packets and the packets for it. Nothing happens if it is not attached.
    pub fn cut(&self, namespace: &NetNamespace) -> Result<(), LabError> {
        let action = format!("cutting the connection of {}", namespace.name());
        self.for_ports_of(namespace, |port| {
            // A port outside of the bridge has no connection. (The port states of the bridge are not used,
            // because the kernel changes them at the next event of any port.)
            let unplug = LinkUnspec::new_with_index(self.index(port)?).nocontroller().build();
            change(&self.namespace, &action, unplug)
        })
    }

    /// Ends a [`cut`](Switch::cut).
    pub fn restore(&self, namespace: &NetNamespace) -> Result<(), LabError> {
        let action = format!("restoring the connection of {}", namespace.name());
        self.for_ports_of(namespace, |port| self.plug(port, &action))
    }

    fn for_ports_of(
        &self,
        namespace: &NetNamespace,
        mut work: impl FnMut(&str) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports
            .iter()
            .filter(|port| port.attached.is(namespace))
            .try_for_each(|port| work(&port.name))
    }

    fn plug(&self, port: &str, action: &str) -> Result<(), LabError> {
        let bridge = self.index(BRIDGE)?;
        let plug = LinkUnspec::new_with_index(self.index(port)?).controller(bridge).build();
        change(&self.namespace, action, plug)
    }

    fn index(&self, device: &str) -> Result<u32, LabError> {
        self.namespace.with_link(device, async |link| Ok(link.index()))
    }
}

/// Connects two namespaces by a pair of virtual Ethernet devices and sets both up.
pub(crate) fn cable(
    a: &NetNamespace,
    a_device: &str,
    b: &NetNamespace,
    b_device: &str,
) -> Result<(), LabError> {
    let far_end = LinkUnspec::new_with_name(b_device).setns_by_fd(b.descriptor()).build();
    let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
        .name(a_device)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
        .build();
    let action = format!("connecting {} ({a_device}) with {} ({b_device})", a.name(), b.name());
    add(a, &action, message)?;
    a.with_link(a_device, async |link| link.up().await)?;
    b.with_link(b_device, async |link| link.up().await)
}

fn add(namespace: &NetNamespace, action: &str, message: LinkMessage) -> Result<(), LabError> {
    send(namespace, action, message, true)
}

pub(crate) fn change(
    namespace: &NetNamespace,
    action: &str,
    message: LinkMessage,
) -> Result<(), LabError> {
    send(namespace, action, message, false)
}

fn send(
    namespace: &NetNamespace,
    action: &str,
    message: LinkMessage,
    create: bool,
) -> Result<(), LabError> {
    namespace.block_on(async move {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|error| LabError::system("opening a netlink socket", error))?;
        tokio::spawn(connection);
        let link = handle.link();
        let request = if create { link.add(message) } else { link.change(message) };
        request.execute().await.map_err(|error| LabError::netlink(action, error))
    })?
}
