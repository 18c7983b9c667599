//! Users.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::filter::Select;
use super::{Doing, Error, Store, Writing, commit};
use crate::people::back_off;
use crate::people::roles::Role;
use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A person's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// UUIDv7.
    pub id: String,
    /// The name to log in with; unique.
    pub name: String,
    /// Whether a password was set.
    pub has_password: bool,
    /// Issuer and subject, of those who come from an identity provider.
    pub subject: Option<String>,
    /// What the person may do.
    pub role: Role,
    /// May not log in, nor use tokens or sessions.
    pub disabled: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Of the row.
    pub revision: i64,
}

/// A user's row, from column `first` on: id, name, password, subject, role, disabled, created_at, revision.
pub(super) fn user_of(row: &AnyRow, first: usize) -> Result<User, Error> {
    let name: String = row.get(first + 1);
    let damaged = |reason: &str| Error::Damaged { object: format!("user {name}"), reason: reason.to_owned() };
    Ok(User {
        id: row.get(first),
        has_password: !row.get::<String, _>(first + 2).is_empty(),
        subject: row.get(first + 3),
        role: Role::of(row.get(first + 4)).ok_or_else(|| damaged("its role is not known"))?,
        disabled: row.get::<i64, _>(first + 5) != 0,
        created_at: time(row.get(first + 6)).ok_or_else(|| damaged("its time is out of range"))?,
        revision: row.get(first + 7),
        name,
    })
}

pub(super) fn time(microseconds: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds).ok()
}

/// The user of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<User>, Error> {
    sqlx::query(
        "SELECT id, name, password, subject, role, disabled, created_at, revision FROM users WHERE id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(store.reader())
    .await
    .doing("read a user")?
    .map(|row| user_of(&row, 0))
    .transpose()
}

/// Up to `most` users after the name `after`, in order of names; only the one that is called `name`, if one is asked for.
pub async fn list(store: &Store, name: Option<&str>, after: &str, most: i64) -> Result<Vec<User>, Error> {
    let mut select =
        Select::new("SELECT id, name, password, subject, role, disabled, created_at, revision FROM users");
    select.only("name > ?", [after.into()]);
    if let Some(name) = name {
        select.only("name = ?", [name.into()]);
    }
    select.push("ORDER BY name LIMIT ?", [most.into()]);
    select.fetch(store, "list users").await?.iter().map(|row| user_of(row, 0)).collect()
}

/// What a log-in by password starts from.
#[derive(Debug)]
pub enum Guess {
    /// Compare with this PHC string; `None`: the account has no password, or is disabled.
    Compare(User, Option<String>),
    /// Too many wrong ones; not before then.
    Wait(Timestamp),
    /// There is nobody of that name.
    Nobody,
}

/// Counts a guess at a user's password before it is compared, so that many at once do not slip through.
pub async fn guess(store: &Store, now: Timestamp, name: &str) -> Result<Guess, Error> {
    let mut writing = store.begin().await?;
    let counted = sqlx::query(
        "UPDATE users SET failures = failures + 1 WHERE name = $1 AND locked_until <= $2
         RETURNING id, name, password, subject, role, disabled, created_at, revision, failures",
    )
    .bind(name.to_owned())
    .bind(now.as_microsecond())
    .fetch_optional(&mut *writing)
    .await
    .doing("count a log-in")?;
    let Some(row) = counted else {
        let until: Option<i64> = sqlx::query_scalar("SELECT locked_until FROM users WHERE name = $1")
            .bind(name.to_owned())
            .fetch_optional(&mut *writing)
            .await
            .doing("look up a log-in")?;
        return Ok(until.map_or(Guess::Nobody, |until| Guess::Wait(time(until).unwrap_or(Timestamp::MAX))));
    };
    let user = user_of(&row, 0)?;
    let locked_until = now.checked_add(back_off::wait(row.get(8))).unwrap_or(Timestamp::MAX);
    sqlx::query("UPDATE users SET locked_until = $1 WHERE id = $2")
        .bind(locked_until.as_microsecond())
        .bind(user.id.clone())
        .execute(&mut *writing)
        .await
        .doing("count a log-in")?;
    commit(writing, "count a log-in").await?;
    let password = Some(row.get::<String, _>(2)).filter(|password| !password.is_empty() && !user.disabled);
    Ok(Guess::Compare(user, password))
}

/// The right password was given: the count starts anew.
pub async fn forgive(store: &Store, id: &str) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("UPDATE users SET failures = 0, locked_until = 0 WHERE id = $1")
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .doing("forget wrong passwords")?;
    commit(writing, "forget wrong passwords").await
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// See [`User::name`].
    pub name: &'a str,
    /// PHC string; empty: cannot log in by password.
    pub password: &'a str,
    /// See [`User::subject`].
    pub subject: Option<&'a str>,
    /// See [`User::role`].
    pub role: Role,
}

/// Makes a user; `None` if the name or the subject is taken.
pub async fn create(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    new: &NewUser<'_>,
) -> Result<Option<User>, Error> {
    let mut writing = store.begin().await?;
    let Some(user) = insert(&mut writing, now, actor, new).await? else {
        return Ok(None);
    };
    events::tell(&mut writing, now, Kind::Access, &user.id, &json!({ "user": user.name })).await?;
    commit(writing, "make a user").await?;
    Ok(Some(user))
}

/// [`create`], in a transaction; the caller tells of it.
pub(super) async fn insert(
    writing: &mut Writing,
    now: Timestamp,
    actor: &Actor,
    new: &NewUser<'_>,
) -> Result<Option<User>, Error> {
    let user = User {
        id: uuid::Uuid::now_v7().to_string(),
        name: new.name.to_owned(),
        has_password: !new.password.is_empty(),
        subject: new.subject.map(str::to_owned),
        role: new.role,
        disabled: false,
        created_at: now,
        revision: 1,
    };
    let made = sqlx::query(
        "INSERT INTO users (id, name, password, subject, role, disabled, failures, locked_until, created_at, revision)
         VALUES ($1, $2, $3, $4, $5, 0, 0, 0, $6, 1) ON CONFLICT DO NOTHING",
    )
    .bind(user.id.clone())
    .bind(user.name.clone())
    .bind(new.password.to_owned())
    .bind(user.subject.clone())
    .bind(user.role.word())
    .bind(now.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("make a user")?;
    if made.rows_affected() == 0 {
        return Ok(None);
    }
    let detail = json!({ "name": user.name, "role": user.role, "subject": user.subject });
    audit::record(writing, now, actor, "user.create", &user.id, detail).await?;
    Ok(Some(user))
}

/// What is to change of a user; `None`: nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// See [`User::role`].
    pub role: Option<Role>,
    /// See [`User::disabled`].
    pub disabled: Option<bool>,
    /// A new password's PHC string.
    pub password: Option<String>,
}

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// Done.
    Done(User),
    /// There is no such user.
    Missing,
    /// The row has another revision than was said.
    Stale,
    /// Nobody would be left who may give roles.
    LastAdmin,
}

/// Changes a user. A new password, or disabling, ends the user's sessions.
pub async fn change(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    change: &Change,
    revision: Option<i64>,
) -> Result<Changed, Error> {
    let mut writing = store.begin().await?;
    // The lock on the audit log's head also keeps two admins from disabling each other at once.
    lock_roles(&mut writing).await?;
    let before = sqlx::query(
        "SELECT id, name, password, subject, role, disabled, created_at, revision FROM users WHERE id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(&mut *writing)
    .await
    .doing("read a user")?;
    let Some(before) = before else { return Ok(Changed::Missing) };
    let before = user_of(&before, 0)?;
    if revision.is_some_and(|revision| revision != before.revision) {
        return Ok(Changed::Stale);
    }
    let mut after = before.clone();
    after.role = change.role.unwrap_or(before.role);
    after.disabled = change.disabled.unwrap_or(before.disabled);
    after.has_password = before.has_password || change.password.is_some();
    let admin = |user: &User| user.role == Role::Admin && !user.disabled;
    if admin(&before) && !admin(&after) && admins(&mut writing).await? <= 1 {
        return Ok(Changed::LastAdmin);
    }
    if after == before && change.password.is_none() {
        return Ok(Changed::Done(before));
    }
    after.revision += 1;
    sqlx::query(
        "UPDATE users SET role = $1, disabled = $2, password = COALESCE($3, password), revision = revision + 1
         WHERE id = $4",
    )
    .bind(after.role.word())
    .bind(i64::from(after.disabled))
    .bind(change.password.clone())
    .bind(id.to_owned())
    .execute(&mut *writing)
    .await
    .doing("change a user")?;
    if after.disabled || change.password.is_some() {
        end_sessions(&mut writing, id).await?;
    }
    let detail = json!({
        "name": after.name, "role": after.role, "disabled": after.disabled, "password": change.password.is_some(),
    });
    audit::record(&mut writing, now, actor, "user.change", id, detail).await?;
    events::tell(&mut writing, now, Kind::Access, id, &json!({ "user": after.name })).await?;
    commit(writing, "change a user").await?;
    Ok(Changed::Done(after))
}

async fn lock_roles(writing: &mut Writing) -> Result<(), Error> {
    sqlx::query("UPDATE audit_head SET seq = seq WHERE one = 1")
        .execute(&mut **writing)
        .await
        .doing("wait for other changes of users")?;
    Ok(())
}

async fn admins(writing: &mut Writing) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM users WHERE role = 'admin' AND disabled = 0")
        .fetch_one(&mut **writing)
        .await
        .doing("count admins")
}

async fn end_sessions(writing: &mut Writing, owner: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM sessions WHERE owner = $1")
        .bind(owner.to_owned())
        .execute(&mut **writing)
        .await
        .doing("end sessions")?;
    Ok(())
}

/// Finds the user who comes from an identity provider.
pub async fn by_subject(store: &Store, subject: &str) -> Result<Option<User>, Error> {
    sqlx::query(
        "SELECT id, name, password, subject, role, disabled, created_at, revision FROM users WHERE subject = $1",
    )
    .bind(subject.to_owned())
    .fetch_optional(store.reader())
    .await
    .doing("look up a user")?
    .map(|row| user_of(&row, 0))
    .transpose()
}

/// The identity provider no longer gives this person a role: sessions end, tokens are revoked.
pub async fn expel(store: &Store, now: Timestamp, user: &User) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    end_sessions(&mut writing, &user.id).await?;
    sqlx::query("UPDATE api_tokens SET revoked_at = $1 WHERE owner = $2 AND revoked_at IS NULL")
        .bind(now.as_microsecond())
        .bind(user.id.clone())
        .execute(&mut *writing)
        .await
        .doing("revoke a user's tokens")?;
    let detail = json!({ "name": user.name, "reason": "in no group that has a role" });
    audit::record(&mut writing, now, &Actor::Person(user.name.clone()), "user.expel", &user.id, detail)
        .await?;
    events::tell(&mut writing, now, Kind::Access, &user.id, &json!({ "user": user.name })).await?;
    commit(writing, "end a user's sessions").await
}

/// Makes the first user, who may do everything, with an API token of that hash; `None` if there are users.
pub async fn first(
    store: &Store,
    now: Timestamp,
    name: &str,
    token_hash: &str,
    expires_at: Timestamp,
) -> Result<Option<User>, Error> {
    let mut writing = store.begin().await?;
    lock_roles(&mut writing).await?;
    let users: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users")
        .fetch_one(&mut *writing)
        .await
        .doing("count users")?;
    if users > 0 {
        return Ok(None);
    }
    let new = NewUser { name, password: "", subject: None, role: Role::Admin };
    let Some(user) = insert(&mut writing, now, &Actor::Server, &new).await? else { return Ok(None) };
    let token = super::tokens::NewToken {
        hash: token_hash,
        owner: &user,
        name: "first",
        role: Role::Admin,
        expires_at,
    };
    super::tokens::insert(&mut writing, now, &Actor::Server, &token).await?;
    events::tell(&mut writing, now, Kind::Access, &user.id, &json!({ "user": user.name })).await?;
    commit(writing, "make the first user").await?;
    Ok(Some(user))
}
