//! Tables made larger while the cores use them. For control, which pays for the memory.

use std::sync::PoisonError;

use super::{Shared, TableSizes};
use crate::conn::table::{Growth, TableGrowth};
use crate::table::GrowError;

/// Why a table was not made larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unable {
    /// The growth before is not over. Try again in a moment.
    Busy,
    /// This table has grown as often as it can. A restart makes it as large as is wanted.
    Exhausted(&'static str),
}

impl std::fmt::Display for Unable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("the growth before is not over"),
            Self::Exhausted(table) => write!(
                f,
                "the table of {table} has grown as often as it can; a restart makes it larger"
            ),
        }
    }
}

impl TableSizes {
    /// The larger one of every two sizes of tables that can grow.
    pub fn or_larger(self, other: &Self) -> Self {
        Self {
            connections_v4: self.connections_v4.max(other.connections_v4),
            connections_v6: self.connections_v6.max(other.connections_v6),
            templates_v4: self.templates_v4.max(other.templates_v4),
            templates_v6: self.templates_v6.max(other.templates_v6),
            clients_v4: self.clients_v4.max(other.clients_v4),
            clients_v6: self.clients_v6.max(other.clients_v6),
            ..self
        }
    }
}

impl Shared {
    /// How large the tables are meant to be by now: as at the start, and what was added.
    pub fn sizes_now(&self) -> TableSizes {
        *self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every table that is smaller than this as large as this, one family of one table
    /// with each call; the cores take it up within their next turns and lose no entry. Answers
    /// whether there may be more to do.
    ///
    /// # Errors
    /// [`Unable`]; what was done before stays done.
    pub fn grow(&self, wanted: &TableSizes) -> Result<bool, Unable> {
        let mut now = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        let (have, want) = (*now, now.or_larger(wanted));
        if want.connections_v4 > have.connections_v4 {
            self.grow_connections(have.connections_v4, want.connections_v4, false)?;
            now.connections_v4 = want.connections_v4;
        } else if want.connections_v6 > have.connections_v6 {
            self.grow_connections(have.connections_v6, want.connections_v6, true)?;
            now.connections_v6 = want.connections_v6;
        } else if want.templates_v4 > have.templates_v4 {
            let more = want.templates_v4 - have.templates_v4;
            self.templates.grow(more, 0).map_err(|error| unable(error, "templates"))?;
            now.templates_v4 = want.templates_v4;
        } else if want.templates_v6 > have.templates_v6 {
            let more = want.templates_v6 - have.templates_v6;
            self.templates.grow(0, more).map_err(|error| unable(error, "templates"))?;
            now.templates_v6 = want.templates_v6;
        } else if want.clients_v4 > have.clients_v4 {
            let more = want.clients_v4 - have.clients_v4;
            self.clients.grow(more, 0).map_err(|error| unable(error, "clients"))?;
            now.clients_v4 = want.clients_v4;
        } else if want.clients_v6 > have.clients_v6 {
            let more = want.clients_v6 - have.clients_v6;
            self.clients.grow(0, more).map_err(|error| unable(error, "clients"))?;
            now.clients_v6 = want.clients_v6;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Each core gets the memory for its share.
    fn grow_connections(&self, have: usize, want: usize, v6: bool) -> Result<(), Unable> {
        if self.mailboxes.iter().any(|mailbox| mailbox.growths.is_full()) {
            return Err(Unable::Busy);
        }
        let (more_v4, more_v6) = if v6 { (0, want - have) } else { (want - have, 0) };
        self.replies
            .grow(more_v4, more_v6)
            .map_err(|_| Unable::Exhausted("masqueraded connections"))?;
        let [have, want] = [have, want].map(|entries| entries.div_ceil(self.cores()));
        for mailbox in &self.mailboxes {
            let growth = match v6 {
                false => TableGrowth::V4(Growth::new(have, want)),
                true => TableGrowth::V6(Growth::new(have, want)),
            };
            // There is room: nobody else sends memory.
            let _ = mailbox.growths.push(growth);
        }
        Ok(())
    }
}

fn unable(error: GrowError, table: &'static str) -> Unable {
    match error {
        GrowError::Growing => Unable::Busy,
        GrowError::Exhausted => Unable::Exhausted(table),
    }
}
