//! Roles that only one server may have at a time. A lease runs out by the clock; that two holders never write is the
//! fence's work: it counts the holders, and [`hold`] looks at it in the transaction that writes.

use super::{Doing, Error, Store, Writing};
use jiff::{SignedDuration, Timestamp};

/// A role that this server has, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: &'static str,
    holder: String,
    fence: i64,
}

/// Takes a role for `lasting`, if nobody has it. `holder` names this process and no other.
pub async fn acquire(
    store: &Store,
    now: Timestamp,
    name: &'static str,
    holder: &str,
    lasting: SignedDuration,
) -> Result<Option<Lease>, Error> {
    let fence: Option<i64> = sqlx::query_scalar(
        "INSERT INTO leases (name, holder, fence, until) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = leases.fence + 1, until = excluded.until \
         WHERE leases.until <= $4 RETURNING fence",
    )
    .bind(name)
    .bind(holder.to_owned())
    .bind(end(now, lasting))
    .bind(now.as_microsecond())
    .fetch_optional(&store.writers)
    .await
    .doing("take a lease")?;
    Ok(fence.map(|fence| Lease { name, holder: holder.to_owned(), fence }))
}

/// Keeps a role for `lasting` from now on; false: somebody else has taken it.
pub async fn renew(
    store: &Store,
    now: Timestamp,
    lease: &Lease,
    lasting: SignedDuration,
) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE leases SET until = $1 WHERE name = $2 AND holder = $3 AND fence = $4")
        .bind(end(now, lasting))
        .bind(lease.name)
        .bind(lease.holder.clone())
        .bind(lease.fence)
        .execute(&store.writers)
        .await
        .doing("renew a lease")?;
    Ok(done.rows_affected() == 1)
}

/// Gives a role up, so that another server need not wait until it runs out.
pub async fn release(store: &Store, lease: &Lease) -> Result<(), Error> {
    renew(store, Timestamp::UNIX_EPOCH, lease, SignedDuration::ZERO).await.map(|_| ())
}

/// Whether the role is still ours; until the transaction ends nobody can take it. To be asked before the first write:
/// if it is not, the transaction is to be dropped.
pub async fn hold(writing: &mut Writing, lease: &Lease) -> Result<bool, Error> {
    // An update, because it locks the row: whoever takes the lease waits for us, and whoever has taken it is seen.
    let done = sqlx::query("UPDATE leases SET fence = fence WHERE name = $1 AND holder = $2 AND fence = $3")
        .bind(lease.name)
        .bind(lease.holder.clone())
        .bind(lease.fence)
        .execute(&mut **writing)
        .await
        .doing("hold a lease")?;
    Ok(done.rows_affected() == 1)
}

fn end(now: Timestamp, lasting: SignedDuration) -> i64 {
    now.saturating_add(lasting).unwrap_or(Timestamp::MAX).as_microsecond()
}
