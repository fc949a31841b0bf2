//! The application: carts of a shop's users, and the endpoint that Prometheus asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use scopecache::{Cache, ErrorKind, Observed, Options, Storage};

const HOUR: Duration = Duration::from_secs(3600);

/// From a get in memory to a database that is in trouble, in seconds.
const BUCKETS: [f64; 14] =
    [2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 5e-5, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5];

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) metrics: PrometheusHandle,
    /// For its gauges; everything else goes through `storage`.
    cache: Cache,
    observed: Observed,
}

/// A recorder with buckets for the durations: without them they are summaries, which cannot be
/// added up over several servers.
pub(crate) fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let durations = Matcher::Full("scopecache_op_duration_seconds".to_owned());
    Ok(PrometheusBuilder::new().set_buckets_for_metric(durations, &BUCKETS)?.build_recorder())
}

impl Shop {
    /// The recorder of `metrics` must be there already.
    pub(crate) fn new(cache: Cache, metrics: PrometheusHandle) -> Self {
        let observed = Observed::named("shop", Arc::new(cache.clone()));
        Self { storage: Arc::new(observed.clone()), metrics, cache, observed }
    }
}

pub(crate) fn router(shop: Shop) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/users/{user}", delete(forget))
        .route("/users/{user}/{session}/{key}", get(read).put(write))
        .with_state(shop)
}

async fn metrics_text(State(shop): State<Shop>) -> impl IntoResponse {
    shop.observed.record(&shop.cache.stats());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shop.metrics.render())
}

async fn read(
    State(shop): State<Shop>,
    Path((user, session, key)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    let options = Options::new().with_user_session(&user, &session);
    Ok(match shop.storage.get(&key, options).await? {
        Some(item) => item.data.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn write(
    State(shop): State<Shop>,
    Path((user, session, key)): Path<(String, String, String)>,
    data: Bytes,
) -> Result<StatusCode, Failure> {
    let options = Options::new().with_user_session(&user, &session).with_ttl(HOUR);
    shop.storage.set(&key, data, options).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user with all sessions.
async fn forget(State(shop): State<Shop>, Path(user): Path<String>) -> Result<StatusCode, Failure> {
    shop.storage.delete(Options::new().with_user(&user)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is to blame for an error, as a status.
struct Failure(scopecache::Error);

impl From<scopecache::Error> for Failure {
    fn from(error: scopecache::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::InvalidKey { .. } => StatusCode::BAD_REQUEST,
            ErrorKind::ValueTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.0.to_string()).into_response()
    }
}
