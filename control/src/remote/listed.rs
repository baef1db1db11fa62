//! Connections and templates as `ipvsadm -lnc` lists them, printed as they come.

use std::path::Path;

use serde_json::Value;

use super::clients::{Failed, Rows, asked};
use crate::api::Request;
use crate::cli;
use crate::listing;
use crate::output;
use crate::page::{Form, Part, Place};

/// `director show -c`.
pub fn connections(args: &cli::Show) -> u8 {
    let socket = &args.at.socket;
    let result = if args.json {
        let mut first = true;
        let mut begin = "[";
        let result = pages(socket, Form::Json, &mut |rows| {
            let mut text = std::mem::take(&mut begin).to_owned();
            for row in rows {
                text += if std::mem::take(&mut first) { "\n  " } else { ",\n  " };
                text += &row.to_string();
            }
            shown(&text)
        });
        result.and_then(|()| shown(if first { "]\n" } else { "\n]\n" }))
    } else {
        lines(socket, args.persistent, &mut shown)
    };
    result.map_or_else(Failed::code, |()| 0)
}

/// The head of the list and then its lines, some at a time.
pub(crate) fn lines(
    socket: &Path,
    calls: bool,
    take: &mut dyn FnMut(&str) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let form = if calls { Form::LinesWithCalls } else { Form::Lines };
    // Nothing is printed before there is an answer.
    let mut head = Some(listing::connections_head(calls));
    pages(socket, form, &mut |rows| {
        let text: String = rows.iter().filter_map(Value::as_str).collect();
        take(&(head.take().unwrap_or_default() + &text))
    })
}

fn pages(
    socket: &Path,
    form: Form,
    take: &mut dyn FnMut(&[Value]) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut from = Some(Place::start(Part::Connections));
    while let Some(at) = from {
        let Rows { rows, next } = asked(socket, &Request::Listed { from: at, form })?;
        take(&rows)?;
        from = next;
    }
    Ok(())
}

/// Prints a text; a closed pipe ends the list.
pub(crate) fn shown(text: &str) -> Result<(), Failed> {
    if output::print(text) { Ok(()) } else { Err(Failed::Closed) }
}
