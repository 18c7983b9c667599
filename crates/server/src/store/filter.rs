//! A `WHERE` made of our own fixed texts, with every value bound: lists take many filters, and one text for each
//! combination of them would be many.

use super::{Dialect, Doing, Error, Store};
use roaring::RoaringBitmap;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr};
use std::fmt::Write as _;

/// A value to bind.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A query under construction.
#[derive(Debug)]
pub(super) struct Select {
    text: String,
    values: Vec<Value>,
    filtered: bool,
}

impl Select {
    /// Starts with a fixed text without `WHERE`.
    pub(super) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new(), filtered: false }
    }

    /// Adds a condition: fixed text with a `?` for each value, in their order.
    pub(super) fn only(&mut self, condition: &'static str, values: impl IntoIterator<Item = Value>) {
        self.further();
        self.push(condition, values);
    }

    /// Adds the condition that a column has one of these numbers.
    pub(super) fn among(&mut self, column: &'static str, numbers: &RoaringBitmap, dialect: Dialect) {
        self.further();
        let numbers = serde_json::Value::from(numbers.iter().collect::<Vec<u32>>());
        self.values.push(Value::Text(numbers.to_string()));
        let rows = dialect.scalars(&format!("${}", self.values.len()));
        let _ = write!(self.text, " {column} IN (SELECT CAST(value AS BIGINT) FROM {rows})");
    }

    fn further(&mut self) {
        self.text.push_str(if self.filtered { " AND" } else { " WHERE" });
        self.filtered = true;
    }

    /// Adds fixed text with a `?` for each value, in their order: `ORDER BY … LIMIT ?`.
    pub(super) fn push(&mut self, text: &'static str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        self.text.push(' ');
        for piece in text.split_inclusive('?') {
            match (piece.strip_suffix('?'), values.next()) {
                (Some(before), Some(value)) => {
                    self.values.push(value);
                    self.text.push_str(before);
                    self.text.push('$');
                    self.text.push_str(&self.values.len().to_string());
                }
                (_, None) => self.text.push_str(piece),
                (None, Some(_)) => unreachable!("one `?` for each value"),
            }
        }
    }

    /// Asks.
    pub(super) async fn fetch(self, store: &Store, doing: &'static str) -> Result<Vec<AnyRow>, Error> {
        let text = AssertSqlSafe(self.text).into_sql_str();
        let query: Query<'_, Any, AnyArguments> =
            self.values.into_iter().fold(sqlx::query(text), |query, value| match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            });
        query.fetch_all(store.reader()).await.doing(doing)
    }
}
