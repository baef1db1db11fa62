//! The start's last steps, and what systemd is told from then on.

use std::fmt::Write as _;
use std::time::Instant;

use tracing::info;

use super::ControlThread;
use crate::counted::counted;
use crate::privileges::PrivilegeError;
use crate::publish;

impl ControlThread {
    /// Once every core runs the configuration: becomes an ordinary user where that is
    /// wanted, and says that the director is ready.
    pub(super) fn begin(&mut self) -> Result<(), PrivilegeError> {
        let turning = self.shared.counters.iter().all(|core| core.turns.get() > 0);
        if self.ready || !turning || publish::adopted(&self.shared) < self.snapshot.generation {
            return Ok(());
        }
        if let Some(account) = &self.account {
            account.take(&self.files)?;
            info!("runs as {}, without capabilities", account.name());
        }
        self.ready = true;
        let state = self.state();
        self.notify.ready(&state);
        Ok(())
    }

    /// Tells systemd how the director is, and that its cores move.
    pub(super) fn tell(&mut self) {
        if !self.ready {
            return;
        }
        let state = self.state();
        self.notify.status(&state);
        let turns = &mut self.shared.counters.iter().map(|core| core.turns.get());
        self.notify.beat(Instant::now(), turns);
    }

    /// The director in a line, for `systemctl status`.
    pub(super) fn state(&self) -> String {
        let mut state = format!(
            "generation {}, {}",
            self.snapshot.generation,
            counted(self.model.services.len(), "service")
        );
        for port in self.ports.iter().filter(|port| !port.link_up) {
            let _ = write!(state, "; port {} has no link", port.name);
        }
        if let Some(problems) = &self.last_apply.problems {
            let first = problems.lines().next().unwrap_or_default();
            let _ = write!(state, "; the last change was refused: {first}");
        }
        state
    }
}
