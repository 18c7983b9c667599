//! Lists of a server's things as tables, and one thing as lines of "name  value".

use super::table::{Look, clean};
use comfy_table::{Attribute, Cell, ContentArrangement, Table, TableStyle};
use serde_json::Value;
use std::fmt::Write as _;

/// A column: its title and where its value lies in an item, as a JSON pointer.
pub(crate) type Column = (&'static str, &'static str);

/// Items as a table, one a line.
pub(crate) fn table(items: &[Value], columns: &[Column], look: Look) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    match look.width {
        Some(width) => table.set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if look.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    for item in items {
        let text = |(_, pointer): &Column| Cell::new(item.pointer(pointer).map(text).unwrap_or_default());
        table.add_row(columns.iter().map(text));
    }
    let mut out = String::new();
    for line in table.lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The part of a finding's evidence that is for reading; the rest names the document and its digest.
pub(crate) fn evidence(words: &str) -> &str {
    words.split_once("; document ").map_or(words, |(rule, _)| rule)
}

/// One thing.
pub(crate) fn card(item: &Value, rows: &[Column]) -> String {
    let width = rows.iter().map(|(title, _)| title.len()).max().unwrap_or_default();
    let mut out = String::new();
    for (title, pointer) in rows {
        let value = item.pointer(pointer).map(text).unwrap_or_default();
        if !value.is_empty() {
            let _ = writeln!(out, "{title:width$}  {value}");
        }
    }
    out
}

/// A value for people's eyes, without what a terminal would obey.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => clean(text),
        Value::Array(values) => values.iter().map(text_of_one).collect::<Vec<_>>().join(", "),
        Value::Object(values) => {
            let pair = |(name, value): (&String, &Value)| format!("{}={}", clean(name), text_of_one(value));
            values.iter().map(pair).collect::<Vec<_>>().join(" ")
        }
    }
}

fn text_of_one(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => clean(&value.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text(value),
    }
}
