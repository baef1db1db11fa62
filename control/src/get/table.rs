//! Rows as lines of columns.

use serde_json::Value;

/// A column: its head, the key of its value, the width that it has at least, and whether only a
/// wide table has it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The word above it.
    pub head: &'static str,
    /// The row's key; dots lead into a value's own keys.
    pub key: &'static str,
    /// The least width; lines of later pages keep to it.
    pub width: usize,
    /// Only in a wide table.
    pub wide: bool,
}

impl Column {
    /// A column of every table.
    pub const fn new(head: &'static str, key: &'static str, width: usize) -> Self {
        Self { head, key, width, wide: false }
    }

    /// A column of wide tables alone.
    pub const fn wide(head: &'static str, key: &'static str, width: usize) -> Self {
        Self { head, key, width, wide: true }
    }

    fn cell(&self, row: &Value) -> String {
        let value = self.key.split('.').try_fold(row, |value, key| value.get(key));
        match value {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
            Some(other) => other.to_string(),
        }
    }
}

/// A table that is written page by page; the first page decides about widths.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table of these columns.
    pub fn new(columns: &[Column], wide: bool) -> Self {
        let columns = columns.iter().copied().filter(|column| wide || !column.wide).collect();
        Self { columns, widths: None }
    }

    /// Lines for these rows, under the heads if they are the first.
    pub fn page(&mut self, rows: &[Value]) -> String {
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| self.columns.iter().map(|c| c.cell(row)).collect()).collect();
        let mut text = String::new();
        let widths = match self.widths.take() {
            Some(widths) => widths,
            None => {
                let widths = self.widths_for(&cells);
                let heads: Vec<&str> = self.columns.iter().map(|column| column.head).collect();
                push_line(&mut text, &heads, &widths);
                widths
            }
        };
        for line in &cells {
            push_line(&mut text, line, &widths);
        }
        self.widths = Some(widths);
        text
    }

    fn widths_for(&self, cells: &[Vec<String>]) -> Vec<usize> {
        let longest = |index: usize, column: &Column| {
            let of_cells = cells.iter().filter_map(|line| line.get(index)).map(String::len);
            of_cells.max().unwrap_or(0).max(column.width).max(column.head.len())
        };
        self.columns.iter().enumerate().map(|(index, column)| longest(index, column)).collect()
    }
}

fn push_line(text: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line += &format!("{:<width$}  ", cell.as_ref());
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("NAME", "name", 4),
        Column::new("UP", "up", 3),
        Column::wide("LOAD", "load.active", 1),
    ];

    #[test]
    fn columns_are_as_wide_as_their_cells_and_pages_keep_them() {
        let mut table = Table::new(COLUMNS, false);
        let rows = [json!({ "name": "web-farm", "up": true }), json!({ "name": "", "up": false })];
        assert_eq!(table.page(&rows), "NAME      UP\nweb-farm  yes\n-         no\n");
        assert_eq!(table.page(&[json!({ "name": "dns" })]), "dns       -\n");
        let mut wide = Table::new(COLUMNS, true);
        let rows = [json!({ "name": "a", "load": { "active": 7 } })];
        assert_eq!(wide.page(&rows), "NAME  UP   LOAD\na     -    7\n");
        assert_eq!(Table::new(COLUMNS, false).page(&[]), "NAME  UP\n");
    }
}
