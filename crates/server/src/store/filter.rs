//! A `WHERE` made of our own fixed texts, with every value bound: lists take many filters, and one text for each
//! combination of them would be many.

use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::{Doing, Error, Store};

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
        self.text.push_str(if self.filtered { " AND " } else { " WHERE " });
        self.filtered = true;
        self.push(condition, values);
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
