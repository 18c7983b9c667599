//! What the census adds to the agents' door: how to count, and what was counted.

use super::refusal::{Answer, Refuse, json};
use super::requests::{Desk, unstored};
use super::{add, clean};
use crate::census::intake::{self, Taken as Within};
use crate::census::{hour_of, key};
use crate::identity::Peer;
use crate::store::census::{self, DAY_HOURS, Taken};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use std::sync::atomic::Ordering;
use wire::v1::census::{Counted, Taken as Told, Terms};

impl Desk {
    /// GET: how to count. POST: what was counted.
    pub(super) async fn census(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        match *request.method() {
            Method::GET => self.terms(peer, now).await,
            Method::POST => self.counted(request, peer, now).await,
            _ => {
                let detail = "answer the request: only GET and POST are known here";
                Err(Refuse::malformed(StatusCode::METHOD_NOT_ALLOWED, detail))
            }
        }
    }

    async fn terms(&self, peer: Option<Peer>, now: Timestamp) -> Result<Answer, Refuse> {
        self.active(peer, now)?;
        let key = self.census_key(now).await?;
        let next_seconds = self.app.config.census.every_seconds;
        Ok(json(StatusCode::OK, &Terms { key: key.text.to_string(), next_seconds }))
    }

    async fn counted(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let (told, _turn): (Counted, _) = self.large_body(request, peer.host, "counts").await?;
        let settings = self.app.config.census;
        let next_seconds = settings.every_seconds;
        // It may have taken a while to arrive.
        let now = Timestamp::now();
        self.active(Some(peer), now)?;
        if told.key != self.census_key(now).await?.id {
            return Ok(json(StatusCode::OK, &Told { stored: false, next_seconds }));
        }
        let hour = hour_of(now);
        let today = hour.div_euclid(DAY_HOURS);
        let within = Within {
            now: hour,
            open: (today - i64::from(settings.hours_days)) * DAY_HOURS,
            first: (today - i64::from(settings.days)) * DAY_HOURS,
        };
        let unusable = |reason: String| {
            let detail = clean(&format!("read the counts: {reason}"), 512);
            Refuse::malformed(StatusCode::UNPROCESSABLE_ENTITY, detail)
        };
        let (counted, late) = intake::look(told, within).map_err(unusable)?;
        let counters = &self.roster.counters;
        counters.census_late.fetch_add(late.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        let host = peer.host.to_string();
        match census::take(&self.app.store, now, &host, &counted).await.map_err(unstored)? {
            Taken::Stored => {
                add(&counters.census);
                self.app.told.notify_waiters();
            }
            Taken::Unchanged => add(&counters.census_unchanged),
            Taken::TooMuch(reason) => return Err(unusable(reason)),
            Taken::Missing => {
                return Err(Refuse::revoked("the host is not known: it was removed from the fleet"));
            }
        }
        Ok(json(StatusCode::OK, &Told { stored: true, next_seconds }))
    }

    async fn census_key(&self, now: Timestamp) -> Result<&key::FleetKey, Refuse> {
        let store = &self.app.store;
        let make = || async { key::fleet_key(store, self.rollouts.signing.seal(), now).await };
        self.census_key.get_or_try_init(make).await.map_err(unstored)
    }
}
