//! Logging in through an OpenID Connect provider: discovery, authorization code with PKCE, state and nonce. Takes what
//! the provider says of a person; gives a user, whose role is that of the person's groups.

use super::roles::Role;
use super::secrets::{NoRandomness, kept, secret};
use crate::config;
use crate::store::audit::Actor;
use crate::store::people::{self, Change, Changed, NewUser, User};
use crate::store::sessions::{self, Login};
use crate::store::{Error as StoreError, Store};
use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreResponseType,
    CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a person may take at the provider.
pub const LOGIN_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// What discovery found is asked for anew after so long; keys change.
const PROVIDER_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// How long the provider may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: 1 MiB; a key set is a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The longest path to go back to, in bytes.
const BACK_TO_BYTES_MAX: usize = 1024;
/// Groups of a person that are looked at.
const GROUPS_MAX: usize = 10_000;

/// All claims that the standard does not name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Claims(BTreeMap<String, Value>);

impl AdditionalClaims for Claims {}

type Tokens = StandardTokenResponse<
    IdTokenFields<
        Claims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;
type OurClient = Client<
    Claims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider, as discovered.
#[derive(Debug)]
struct Provider {
    client: OurClient,
    /// It has a scope of the groups claim's name, and may refuse scopes that it does not know.
    has_groups_scope: bool,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The provider could not be asked, or what it said does not hold.
    #[error("{doing}: {reason}")]
    Provider {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The state is not one of a log-in under way in this browser.
    #[error("the log-in was not begun in this browser, was used already, or is older than ten minutes")]
    State,
    /// Too many log-ins are under way.
    #[error("too many log-ins are under way")]
    Busy,
    /// The person is in no group that has a role.
    #[error("{0} is in no group that has a role here")]
    NoGroup(String),
    /// The account is disabled here.
    #[error("the account {0} is disabled")]
    Disabled(String),
    /// The name is taken by somebody else.
    #[error("the name {0} is taken by another account")]
    Taken(String),
    /// No secret could be made.
    #[error(transparent)]
    Secret(#[from] NoRandomness),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where to send a person who wants to log in.
#[derive(Debug)]
pub struct Departure {
    /// The provider's page.
    pub to: String,
    /// To keep in the browser's cookie until it comes back, so that nobody can be made to finish another's log-in.
    pub state: String,
}

/// Log-ins through one provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Oidc {
    settings: Arc<config::Oidc>,
    roles: Arc<BTreeMap<String, Role>>,
    found: Arc<Mutex<Option<Found>>>,
}

/// A provider, and when it was discovered.
type Found = (Timestamp, Arc<Provider>);

impl Oidc {
    /// For these settings. Asks nobody yet.
    pub fn new(settings: &config::Oidc) -> Result<Self, Error> {
        let role = |(group, word): (&String, &String)| {
            let role = Role::of(word).ok_or_else(|| {
                Error::Settings(format!(
                    "oidc.roles: \"{word}\" is not a role; use viewer, watch, approver, operator or admin"
                ))
            })?;
            Ok((group.clone(), role))
        };
        let roles = settings.roles.iter().map(role).collect::<Result<_, Error>>()?;
        Ok(Self {
            settings: Arc::new(settings.clone()),
            roles: Arc::new(roles),
            found: Arc::new(Mutex::new(None)),
        })
    }

    /// Begins a log-in, after which the person is to be at `back_to`, a path of ours.
    pub async fn depart(&self, store: &Store, now: Timestamp, back_to: &str) -> Result<Departure, Error> {
        let provider = self.provider(now).await?;
        let (state, nonce) = (secret("")?, secret("")?);
        // 43 characters at least, 128 at most (RFC 7636): 64 hex digits.
        let verifier = PkceCodeVerifier::new(secret("")?);
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let (sent_state, sent_nonce) = (CsrfToken::new(state.clone()), Nonce::new(nonce.clone()));
        let request = provider
            .client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                || sent_state,
                || sent_nonce,
            )
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge);
        let groups = provider.has_groups_scope.then(|| Scope::new(self.settings.groups_claim.clone()));
        let (to, _, _) = request.add_scopes(groups).url();
        let login = Login { nonce, verifier: verifier.into_secret(), back_to: local(back_to).to_owned() };
        if sessions::begin_login(store, now, &kept(&state), &login, LOGIN_LIFE).await? {
            Ok(Departure { to: to.into(), state })
        } else {
            Err(Error::Busy)
        }
    }

    /// Ends a log-in: the provider sent the person back with a code. `cookie`: the state that this browser departed with.
    /// Gives the user, made or brought up to date, and where to go.
    pub async fn arrive(
        &self,
        store: &Store,
        now: Timestamp,
        state: &str,
        cookie: &str,
        code: &str,
    ) -> Result<(User, String), Error> {
        if !super::secrets::same(state, cookie) {
            return Err(Error::State);
        }
        let login = sessions::finish_login(store, now, &kept(state)).await?.ok_or(Error::State)?;
        let back_to = login.back_to.clone();
        let provider = self.provider(now).await?;
        let groups_claim = self.settings.groups_claim.clone();
        let code = code.to_owned();
        let asked = move || ask(&provider.client, &login, code, &groups_claim);
        let person = tokio::task::spawn_blocking(asked).await.map_err(|problem| Error::Provider {
            doing: "ask the identity provider",
            reason: problem.to_string(),
        })??;
        Ok((self.user(store, now, person).await?, back_to))
    }

    /// The provider, as discovered; asked again when that is old.
    async fn provider(&self, now: Timestamp) -> Result<Arc<Provider>, Error> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, provider)) = found
            && now.duration_since(at) < PROVIDER_LIFE
        {
            return Ok(provider);
        }
        let settings = Arc::clone(&self.settings);
        let discovered = tokio::task::spawn_blocking(move || discover(&settings)).await;
        let provider = Arc::new(discovered.map_err(|problem| Error::Provider {
            doing: "ask the identity provider",
            reason: problem.to_string(),
        })??);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&provider)));
        Ok(provider)
    }

    /// The user for a person, made or brought up to date.
    async fn user(&self, store: &Store, now: Timestamp, person: Person) -> Result<User, Error> {
        let subject = format!("{} {}", self.settings.issuer, person.subject);
        let known = people::by_subject(store, &subject).await?;
        let role = person.groups.iter().filter_map(|group| self.roles.get(group)).max().copied();
        let Some(role) = role else {
            if let Some(known) = &known {
                people::expel(store, now, known).await?;
            }
            return Err(Error::NoGroup(person.name));
        };
        match known {
            Some(known) if known.disabled => Err(Error::Disabled(known.name)),
            Some(known) if known.role == role => Ok(known),
            Some(known) => {
                let change = Change { role: Some(role), ..Change::default() };
                let actor = Actor::Policy("oidc.roles".to_owned());
                match people::change(store, now, &actor, &known.id, &change, None).await? {
                    Changed::Done(user) => Ok(user),
                    // Better one admin too many than none.
                    Changed::LastAdmin => Ok(known),
                    Changed::Missing | Changed::Stale => Err(Error::State),
                }
            }
            None => {
                let actor = Actor::Policy("oidc.roles".to_owned());
                // Somebody else may have the name already; then it is told apart by where it comes from.
                let host = openidconnect::url::Url::parse(&self.settings.issuer).ok();
                let host = host.as_ref().and_then(|url| url.host_str()).unwrap_or("oidc");
                let longer = name_of(&format!("{}@{host}", person.name));
                for name in [person.name.as_str(), &longer] {
                    let new = NewUser { name, password: "", subject: Some(&subject), role };
                    if let Some(user) = people::create(store, now, &actor, &new).await? {
                        return Ok(user);
                    }
                }
                Err(Error::Taken(longer))
            }
        }
    }
}

/// A path of ours, or our front page: never another site.
fn local(path: &str) -> &str {
    let ours = path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= BACK_TO_BYTES_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours { path } else { "/" }
}

/// Who came back, in the provider's words.
#[derive(Debug)]
struct Person {
    subject: String,
    name: String,
    groups: Vec<String>,
}

fn discover(settings: &config::Oidc) -> Result<Provider, Error> {
    let bad = |key: &str, reason: String| Error::Settings(format!("oidc.{key}: {reason}"));
    let issuer =
        IssuerUrl::new(settings.issuer.clone()).map_err(|problem| bad("issuer", problem.to_string()))?;
    let redirect = RedirectUrl::new(settings.redirect.clone())
        .map_err(|problem| bad("redirect", problem.to_string()))?;
    let client_secret = match &settings.client_secret_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|problem| bad("client_secret_file", format!("{}: {problem}", path.display())))?;
            Some(ClientSecret::new(text.trim().to_owned()))
        }
        None => None,
    };
    let metadata = CoreProviderMetadata::discover(&issuer, &fetcher()).map_err(|problem| {
        Error::Provider { doing: "discover the identity provider", reason: chain(&problem) }
    })?;
    let has_groups_scope = metadata
        .scopes_supported()
        .is_some_and(|scopes| scopes.iter().any(|scope| **scope == settings.groups_claim));
    let id = ClientId::new(settings.client_id.clone());
    let client = OurClient::from_provider_metadata(metadata, id, client_secret).set_redirect_uri(redirect);
    Ok(Provider { client, has_groups_scope })
}

/// Changes the code for tokens, checks them, and reads who it is.
fn ask(provider: &OurClient, login: &Login, code: String, groups_claim: &str) -> Result<Person, Error> {
    let fetch = fetcher();
    let failed = |doing, reason| Error::Provider { doing, reason };
    let tokens = provider
        .exchange_code(AuthorizationCode::new(code))
        .map_err(|problem| failed("exchange the code for tokens", chain(&problem)))?
        .set_pkce_verifier(PkceCodeVerifier::new(login.verifier.clone()))
        .request(&fetch)
        .map_err(|problem| failed("exchange the code for tokens", chain(&problem)))?;
    let id_token =
        tokens.id_token().ok_or_else(|| failed("read the ID token", "the provider sent none".to_owned()))?;
    let claims = id_token
        .claims(&provider.id_token_verifier(), &Nonce::new(login.nonce.clone()))
        .map_err(|problem| failed("verify the ID token", chain(&problem)))?;
    let mut groups = claims.additional_claims().0.get(groups_claim).cloned();
    let mut preferred = claims.preferred_username().map(|name| name.to_string());
    // Many providers tell more at their user-info endpoint than in the token.
    if (groups.is_none() || preferred.is_none()) && provider.user_info_url().is_some() {
        let info: UserInfoClaims<Claims, CoreGenderClaim> = provider
            .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))
            .map_err(|problem| failed("ask for the person's groups", chain(&problem)))?
            .request(&fetch)
            .map_err(|problem| failed("ask for the person's groups", chain(&problem)))?;
        groups = groups.or_else(|| info.additional_claims().0.get(groups_claim).cloned());
        preferred = preferred.or_else(|| info.preferred_username().map(|name| name.to_string()));
    }
    let subject = claims.subject().to_string();
    Ok(Person {
        name: name_of(preferred.as_deref().unwrap_or(&subject)),
        groups: groups.map(groups_of).unwrap_or_default(),
        subject,
    })
}

/// A name that may stand in our logs, made of any.
fn name_of(name: &str) -> String {
    let name: String = name
        .chars()
        .take(super::NAME_MAX)
        .map(|character| if super::is_name_character(character) { character } else { '_' })
        .collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

fn groups_of(claim: Value) -> Vec<String> {
    match claim {
        Value::String(group) => vec![group],
        Value::Array(groups) => groups
            .into_iter()
            .take(GROUPS_MAX)
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Speaks HTTP for `openidconnect`. Follows no redirects: they could lead into our own network.
fn fetcher() -> impl Fn(HttpRequest) -> Result<HttpResponse, ureq::Error> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build(),
    );
    move |request| {
        let (head, mut body) = agent.run(request)?.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// An error with all its causes: the outer ones say little.
fn chain(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut cause = problem.source();
    while let Some(problem) = cause {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!(": {problem}"));
        cause = problem.source();
    }
    text
}
