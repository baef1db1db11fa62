//! The ports: what the packet path knows of them, and what DPDK is to open.

use std::sync::Arc;

use dataplane::catalog::spec::{PortSpec, Site};
use dataplane::ids::PortIndex;
use dataplane::route::Route;
use dataplane::wire::{Addr, Vlan};

use crate::config::model::{self, Model};

/// The place of every device among the packet path's ports: NIC ports in the file's order,
/// each followed at the end by the kernel-facing ports in the same order.
pub fn site(model: &Model) -> Site {
    let nics = model.ports.len();
    let with_kernel: Vec<usize> = (0..nics)
        .filter(|nic| model.ports.get(*nic).is_some_and(|p| p.kernel_port.is_some()))
        .collect();
    let kernel_index = |nic: usize| {
        with_kernel
            .iter()
            .position(|other| *other == nic)
            .map(|place| PortIndex((nics + place) as u8))
    };
    let mut site = Site::default();
    for (index, port) in model.ports.iter().enumerate() {
        site.ports.push(PortSpec {
            name: port.name.as_str().into(),
            vlan: port.vlan.map_or(Vlan::UNTAGGED, |vlan| Vlan::tagged(vlan.number())),
            mtu: port.mtu,
            addresses: port.addresses.iter().map(|cidr| cidr.address().into()).collect(),
            peer: kernel_index(index),
            kernel_facing: false,
        });
        site.routes.extend(routes(port, PortIndex(index as u8)));
    }
    for nic in with_kernel {
        let Some(port) = model.ports.get(nic) else { continue };
        site.ports.push(PortSpec {
            name: Arc::from(format!("{}-kernel", port.name)),
            vlan: Vlan::UNTAGGED,
            mtu: port.mtu,
            addresses: Vec::new(),
            peer: Some(PortIndex(nic as u8)),
            kernel_facing: true,
        });
    }
    site
}

fn routes(port: &model::Port, index: PortIndex) -> Vec<Route> {
    let connected = port.addresses.iter().map(|cidr| Route {
        network: cidr.network().into(),
        length: cidr.prefix(),
        port: index,
        via: None,
    });
    let through = port.routes.iter().map(|route| Route {
        network: route.to.network().into(),
        length: route.to.prefix(),
        port: index,
        via: Some(route.via.into()),
    });
    let default_v4 = port.gateway.map(|gateway| Route {
        network: Addr::v4(0),
        length: 0,
        port: index,
        via: Some(Addr::from(gateway)),
    });
    let default_v6 = port.gateway6.map(|gateway| Route {
        network: Addr::v6(0),
        length: 0,
        port: index,
        via: Some(Addr::from(gateway)),
    });
    connected.chain(through).chain(default_v4).chain(default_v6).collect()
}

/// What DPDK is to open, in the order of [`site`]'s ports, with the core for everything that
/// polls nothing.
pub fn nic_config(model: &Model, main_core: u16) -> nic::NicConfig {
    let mut ports: Vec<nic::PortConfig> = model.ports.iter().map(nic_port).collect();
    for port in &model.ports {
        if let Some(device) = &port.kernel_port {
            let mut kernel = nic::PortConfig {
                name: format!("{}-kernel", port.name),
                device: device.to_string(),
                kernel_facing: true,
                ..nic_port(port)
            };
            // One core serves it: what the kernel sends needs no spreading.
            kernel.cores.truncate(1);
            ports.push(kernel);
        }
    }
    nic::NicConfig {
        memory: nic::Memory {
            no_huge: model.memory.no_huge,
            mib: model.memory.mib,
            file_prefix: model.memory.file_prefix.clone(),
        },
        main_core: usize::from(main_core),
        mbufs: model.memory.mbufs,
        mbuf_cache: 256,
        ports,
    }
}

fn nic_port(port: &model::Port) -> nic::PortConfig {
    let cores: Vec<usize> = port.cores.iter().map(|core| usize::from(core.0)).collect();
    nic::PortConfig {
        rx_descriptors: port.rx_descriptors,
        tx_descriptors: port.tx_descriptors,
        mtu: port.mtu,
        promiscuous: port.promiscuous,
        multicast: true,
        ..nic::PortConfig::new(&port.name, &port.device.to_string(), &cores)
    }
}
