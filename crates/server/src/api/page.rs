//! Lists in pages. A page ends with where the next one begins, so that nothing is told twice or left out while things
//! come and go.

use super::problem::Problem;
use crate::seal::unhex;
use advisory::digest::hex;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};
use jiff::Timestamp;
use openidconnect::url::form_urlencoded;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// Things on a page, if nobody asks for more or fewer.
const LIMIT: u32 = 100;
/// The most.
const LIMIT_MAX: u32 = 1000;
/// Between the parts of a place; in no id or name.
const BETWEEN: char = '\u{1f}';

/// A page of a list. Endpoints document theirs by an alias of it: the macro cannot name the `Page` of something where a crate
/// gives `Cow` one more `AsRef` (`typed-path` does, which `tough` brings).
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    /// What is on it.
    pub(super) items: Vec<T>,
    /// Where the next page begins: send it as `after`. Absent on the last. A page of a filtered list may hold fewer than
    /// `limit`, even none, and yet not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let next = "Where the next page begins: send it as `after`. Absent on the last. A page of a filtered list may hold \
                    fewer than `limit`, even none, and yet not be the last.";
        ObjectBuilder::new()
            .description(Some("A page of a list"))
            .property("items", ArrayBuilder::new().items(Ref::from_schema_name(T::name())))
            .required("items")
            .property("next", ObjectBuilder::new().schema_type(Type::String).description(Some(next)))
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("Page_{}", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// What is asked of a list that begins with the newest: places are moments.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Last {
    /// How many, the newest first.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl Last {
    /// Before when what is on the page was, and how many rows to read: one more than the page has.
    pub(super) fn rows(&self) -> Result<(Timestamp, i64), Problem> {
        let most = i64::try_from(limit(self.limit)? + 1).unwrap_or(i64::MAX);
        let before = match number(self.after.as_deref())? {
            None => Timestamp::MAX,
            Some(at) => Timestamp::from_microsecond(at).map_err(|_| wrong())?,
        };
        Ok((before, most))
    }

    /// The page of those rows; `at`: when each was.
    pub(super) fn page<T>(&self, rows: Vec<T>, at: impl Fn(&T) -> Timestamp) -> Result<Page<T>, Problem> {
        Ok(cut(rows, limit(self.limit)?, |row| place(&[&at(row).as_microsecond().to_string()])))
    }
}

/// How many things a page is to have.
pub(super) fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        limit => {
            Err(Problem::malformed("limit", format!("{limit} is not from 1 to {LIMIT_MAX}")).field("limit"))
        }
    }
}

/// A place in a list, opaque to clients.
pub(super) fn place(parts: &[&str]) -> String {
    hex(parts.join(&BETWEEN.to_string()).as_bytes())
}

/// The parts of a place that we gave out.
pub(super) fn parts<const N: usize>(after: Option<&str>) -> Result<Option<[String; N]>, Problem> {
    let Some(after) = after else { return Ok(None) };
    let text = unhex(after).and_then(|bytes| String::from_utf8(bytes).ok());
    let parts: Option<Vec<String>> = text.map(|text| text.split(BETWEEN).map(str::to_owned).collect());
    let whole = parts.filter(|parts| parts.iter().all(|part| !part.contains('\0')));
    whole.and_then(|parts| parts.try_into().ok()).map(Some).ok_or_else(wrong)
}

/// A place that is a number.
pub(super) fn number(after: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some([number]) = parts(after)? else { return Ok(None) };
    number.parse().map(Some).map_err(|_| wrong())
}

/// A place that we did not give out.
pub(super) fn wrong() -> Problem {
    Problem::malformed("after", "it is not the \"next\" of a page of this list").field("after")
}

/// Cuts a list that was read with one more than `limit`; the place of the last one that stays, if there are more.
pub(super) fn cut<T>(mut items: Vec<T>, limit: usize, place: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(place);
    Page { items, next }
}

impl<T> Page<T> {
    /// The same page of other things.
    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(each).collect(), next: self.next }
    }
}

impl<T: Serialize> Page<T> {
    /// The answer to a request for that address.
    pub(super) fn answer(self, uri: &Uri) -> Response {
        let link = self.next.as_ref().map(|next| {
            let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(asked.filter(|(key, _)| key != "after")).append_pair("after", next);
            format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish())
        });
        let mut response = Json(self).into_response();
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}
