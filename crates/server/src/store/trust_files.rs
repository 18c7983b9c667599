//! The TUF repository's files: what approvers and the server have signed, as hosts read it. Plans are not among them: they
//! lie once, in `plans` and `words`.

use super::{Doing, Error, Store, Writing};
use sqlx::Row;

/// All files, by name.
pub async fn all(store: &Store) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let rows = sqlx::query("SELECT name, body FROM trust_files ORDER BY name")
        .fetch_all(store.reader())
        .await
        .doing("read the trust's documents")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// One file.
pub async fn get(store: &Store, name: &str) -> Result<Option<Vec<u8>>, Error> {
    sqlx::query_scalar("SELECT body FROM trust_files WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(store.reader())
        .await
        .doing("read one of the trust's documents")
}

/// Puts a file, or replaces it.
pub async fn put(writing: &mut Writing, name: &str, body: &[u8]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO trust_files (name, body) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
    )
    .bind(name.to_owned())
    .bind(body.to_vec())
    .execute(&mut **writing)
    .await
    .doing("write one of the trust's documents")?;
    Ok(())
}

/// Removes a file.
pub async fn remove(writing: &mut Writing, name: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM trust_files WHERE name = $1")
        .bind(name.to_owned())
        .execute(&mut **writing)
        .await
        .doing("remove one of the trust's documents")?;
    Ok(())
}
