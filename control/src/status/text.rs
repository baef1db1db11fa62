//! `director status` as text.

use std::fmt;

use super::Report;

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "director {} on {}, pid {}, up {} s",
            self.version, self.dpdk, self.pid, self.uptime_s
        )?;
        writeln!(
            f,
            "generation {} on every core (newest {}), {} services, {} real servers",
            self.adopted_generation, self.generation, self.services, self.real_servers
        )?;
        writeln!(f, "last apply: {} {}", self.last_apply.name, self.last_apply.result)?;
        for line in self.last_apply.problems.iter().flat_map(|problems| problems.lines()) {
            writeln!(f, "    {line}")?;
        }
        self.write_cores(f)?;
        self.write_ports(f)?;
        self.write_tables(f)?;
        self.write_drains(f)?;
        self.write_neighbours(f)?;
        self.write_frames(f)
    }
}

impl Report {
    fn write_cores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\ncore  cpu  generation      received     forwarded       dropped  connections   busy"
        )?;
        for core in &self.cores {
            let cpu = core.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
            writeln!(
                f,
                "{:>4} {:>4} {:>11} {:>13} {:>13} {:>13} {:>12} {:>5.1}%",
                core.core,
                cpu,
                core.generation,
                core.received,
                core.forwarded,
                core.dropped,
                core.connections,
                core.busy_percent
            )?;
        }
        Ok(())
    }

    fn write_ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nport        link  driver          mac                queues  rss      received          sent    missed  errors"
        )?;
        for port in &self.ports {
            writeln!(
                f,
                "{:<11} {:<5} {:<15} {:<18} {:>6}  {:<3} {:>13} {:>13} {:>9} {:>7}",
                port.name,
                if port.link_up { "up" } else { "DOWN" },
                port.driver,
                port.mac,
                port.queues,
                if port.rss { "on" } else { "off" },
                port.received,
                port.sent,
                port.missed,
                port.errors
            )?;
        }
        for port in self.ports.iter().filter(|port| port.queues > 1) {
            writeln!(f, "port {} spreads packets over its queues {}", port.name, port.spread)?;
        }
        Ok(())
    }

    fn write_tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\ntable           entries      capacity   fill       MiB  bytes each  IPv4  IPv6  \
             full events"
        )?;
        let own = |each: Option<f64>| each.map_or("-".to_owned(), |each| format!("{each:.1}"));
        for table in &self.tables {
            writeln!(
                f,
                "{:<12} {:>10} {:>13} {:>5.1}% {:>9.1} {:>11.1} {:>5} {:>5} {:>12}",
                table.name,
                table.entries,
                table.capacity,
                100.0 * table.entries as f64 / table.capacity.max(1) as f64,
                mib(table.bytes),
                table.bytes_per_entry,
                own(table.bytes_per_entry_v4),
                own(table.bytes_per_entry_v6),
                table.full_events
            )?;
        }
        writeln!(
            f,
            "memory: {:.0} MiB resident, {:.0} MiB tables, {} mbufs in use, {} free",
            mib(self.memory.resident_bytes),
            mib(self.memory.tables_bytes),
            self.memory.mbufs_in_use,
            self.memory.mbufs_free
        )?;
        let pages = &self.memory.pages;
        writeln!(
            f,
            "pages of the tables: {:.0} MiB transparent hugepages, {:.0} MiB reserved hugepages, \
             {:.0} MiB ordinary",
            mib(pages.transparent_hugepages),
            mib(pages.reserved_hugepages),
            mib(pages.ordinary)
        )
    }

    fn write_drains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.drains.is_empty() {
            return Ok(());
        }
        writeln!(f, "\ndraining real server                      counts as down  service")?;
        for drain in &self.drains {
            let when = match drain.seconds_left {
                0 => "now".to_owned(),
                seconds => format!("in {seconds} s"),
            };
            writeln!(f, "{:<41} {when:<15} {}", drain.real_server, drain.service)?;
        }
        Ok(())
    }

    fn write_neighbours(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.neighbours.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\nneighbour                                port        mac                state"
        )?;
        for neighbour in &self.neighbours {
            let mac = neighbour.mac.as_deref().unwrap_or("-");
            writeln!(
                f,
                "{:<40} {:<11} {:<18} {}",
                neighbour.address, neighbour.port, mac, neighbour.state
            )?;
        }
        Ok(())
    }

    fn write_frames(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = &self.frames;
        writeln!(
            f,
            "\nreceived {} = forwarded {} + punted {} + dropped {} + unsent {} + held {}",
            frames.received,
            frames.forwarded,
            frames.punted,
            frames.dropped,
            frames.unsent,
            frames.held
        )?;
        writeln!(
            f,
            "of the forwarded: {} answers of our own, {} to the kernel; {} frames originated",
            frames.answered, frames.to_kernel, frames.originated
        )?;
        writeln!(
            f,
            "connections scheduled {}, {} of them by a binding; {} clients placed by hash",
            frames.connections_scheduled, frames.connections_by_template, frames.placed_by_hash
        )?;
        if frames.vip_claims > 0 {
            writeln!(
                f,
                "WARNING: {} ARP messages claimed a VIP: a real server does not hide it \
                 (arp_ignore=1, arp_announce=2)",
                frames.vip_claims
            )?;
        }
        for dropped in &self.drops {
            writeln!(
                f,
                "dropped {:>10}  {:<20} {}",
                dropped.frames, dropped.reason, dropped.sentence
            )?;
        }
        Ok(())
    }
}
