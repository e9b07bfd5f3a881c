//! The routes and the server.

use std::future::Future;
use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weave_api::{Report, Section};
use weave_model::{Cidr, Target};

use crate::command::{Command, Refused, Reply};
use crate::{metrics, template};

/// The node answers from memory; a ping of all peers takes as long as it takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Frames of one ping request.
const MAX_PINGS: u32 = 100;

type Node = mpsc::Sender<Command>;

/// Serves the API on `listener` until `stop` is done; commands go to `node`.
pub async fn serve(
    listener: TcpListener,
    node: Node,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(node)).with_graceful_shutdown(stop).await
}

pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route("/status", get(summary))
        .route("/status/{section}", get(section))
        .route("/report", get(report))
        .route("/metrics", get(prometheus))
        .route("/connect", post(connect))
        .route("/forget", post(forget))
        .route("/expose/{address}/{length}", post(expose).delete(hide))
        .route("/ping", get(ping))
        .route("/peer/{name}", delete(remove_peer))
        .route("/process", delete(stop_process))
        .with_state(node)
}

/// Sends a command and waits for its answer.
async fn ask<T>(node: &Node, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failure> {
    let unavailable = || Failure(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping".to_owned());
    let (reply, answer) = oneshot::channel();
    node.send(command(reply)).await.map_err(|_| unavailable())?;
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(Refused::Invalid(reason)))) => Err(bad_request(&reason)),
        Ok(Ok(Err(Refused::Unknown(reason)))) => Err(Failure(StatusCode::NOT_FOUND, reason)),
        Ok(Ok(Err(Refused::Conflict(reason)))) => Err(Failure(StatusCode::CONFLICT, reason)),
        Ok(Ok(Err(Refused::Failed(reason)))) => Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, reason)),
        Ok(Err(_)) => Err(unavailable()),
        Err(_) => Err(Failure(StatusCode::GATEWAY_TIMEOUT, "the gateway did not answer in time".to_owned())),
    }
}

/// A status code with one line for the caller.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

fn bad_request(reason: &str) -> Failure {
    Failure(StatusCode::BAD_REQUEST, reason.to_owned())
}

/// Not ready is said by the status code, with the same body.
fn text(report: &Report, section: Section) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text(section)).into_response()
}

async fn summary(State(node): State<Node>) -> Result<Response, Failure> {
    Ok(text(&ask(&node, Command::Report).await?, Section::Summary))
}

async fn section(State(node): State<Node>, Path(section): Path<String>) -> Result<Response, Failure> {
    let section = section
        .parse()
        .map_err(|e: weave_api::UnknownSection| Failure(StatusCode::NOT_FOUND, e.to_string()))?;
    Ok(text(&ask(&node, Command::Report).await?, section))
}

#[derive(Deserialize)]
struct ReportQuery {
    format: Option<String>,
}

async fn report(State(node): State<Node>, Query(query): Query<ReportQuery>) -> Result<Response, Failure> {
    let report = ask(&node, Command::Report).await?;
    match query.format {
        Some(format) => template::render(&format, &report)
            .map_err(|e| bad_request(&e.to_string()))
            .map(|t| t.into_response()),
        None => Ok(([(header::CONTENT_TYPE, "application/json")], indented(&report)?).into_response()),
    }
}

/// JSON indented by four spaces, as the original's.
fn indented(report: &Report) -> Result<Vec<u8>, Failure> {
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut text = Vec::new();
    report
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(text)
}

async fn prometheus(State(node): State<Node>) -> Result<Response, Failure> {
    let report = ask(&node, Command::Report).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render(&report)).into_response())
}

/// `peer` may be repeated; bad ones are named in the answer and good ones applied, as the original did.
struct Peers {
    targets: Vec<Target>,
    replace: bool,
    errors: Vec<String>,
}

impl Peers {
    fn parse(pairs: Vec<(String, String)>) -> Peers {
        let mut peers = Peers { targets: Vec::new(), replace: false, errors: Vec::new() };
        for (name, value) in pairs {
            match (name.as_str(), value.parse::<Target>()) {
                ("peer", Ok(target)) => peers.targets.push(target),
                ("peer", Err(error)) => peers.errors.push(error.to_string()),
                ("replace", _) => peers.replace = value == "true",
                _ => peers.errors.push(format!("unknown parameter '{name}'")),
            }
        }
        peers
    }

    fn answer(errors: &[String]) -> Result<Response, Failure> {
        if errors.is_empty() {
            Ok(StatusCode::OK.into_response())
        } else {
            Err(bad_request(&errors.join("\n")))
        }
    }
}

type Pairs = Vec<(String, String)>;
type Body = Result<Form<Pairs>, FormRejection>;

/// Parameters stand in the query, in the body or in both; a body that is no form has none.
fn parameters(Query(mut pairs): Query<Pairs>, body: Body) -> Result<Pairs, Failure> {
    match body {
        Ok(Form(form)) => pairs.extend(form),
        Err(FormRejection::InvalidFormContentType(_)) => {}
        Err(error) => return Err(bad_request(&error.body_text())),
    }
    Ok(pairs)
}

async fn connect(
    State(node): State<Node>,
    headers: HeaderMap,
    query: Query<Pairs>,
    body: Body,
) -> Result<Response, Failure> {
    own_origin(&headers)?;
    let Peers { targets, replace, errors } = Peers::parse(parameters(query, body)?);
    ask(&node, |reply| Command::Connect { targets, replace, reply }).await?;
    Peers::answer(&errors)
}

async fn forget(
    State(node): State<Node>,
    headers: HeaderMap,
    query: Query<Pairs>,
    body: Body,
) -> Result<Response, Failure> {
    own_origin(&headers)?;
    let Peers { targets, errors, .. } = Peers::parse(parameters(query, body)?);
    ask(&node, |reply| Command::Forget { targets, reply }).await?;
    Peers::answer(&errors)
}

fn cidr(address: &str, length: &str) -> Result<Cidr, Failure> {
    format!("{address}/{length}").parse().map_err(|e: weave_model::AddressError| bad_request(&e.to_string()))
}

type AddressPath = Path<(String, String)>;

async fn expose(node: State<Node>, headers: HeaderMap, path: AddressPath) -> Result<Response, Failure> {
    change_address(node, headers, path, Command::Expose).await
}

async fn hide(node: State<Node>, headers: HeaderMap, path: AddressPath) -> Result<Response, Failure> {
    change_address(node, headers, path, Command::Hide).await
}

async fn change_address(
    State(node): State<Node>,
    headers: HeaderMap,
    Path((address, length)): AddressPath,
    command: fn(Cidr, Reply<()>) -> Command,
) -> Result<Response, Failure> {
    own_origin(&headers)?;
    let cidr = cidr(&address, &length)?;
    ask(&node, |reply| command(cidr, reply)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct PingQuery {
    peer: String,
    count: Option<u32>,
}

async fn ping(State(node): State<Node>, Query(query): Query<PingQuery>) -> Result<Response, Failure> {
    let PingQuery { peer, count } = query;
    let count = count.unwrap_or(3).clamp(1, MAX_PINGS);
    Ok(Json(ask(&node, |reply| Command::Ping { peer, count, reply }).await?).into_response())
}

async fn remove_peer(
    State(node): State<Node>,
    headers: HeaderMap,
    Path(peer): Path<String>,
) -> Result<Response, Failure> {
    own_origin(&headers)?;
    let name = peer.clone();
    let count = ask(&node, |reply| Command::RemovePeer { peer, reply }).await?;
    Ok(format!("{count} IPs taken over from {name}\n").into_response())
}

async fn stop_process(State(node): State<Node>, headers: HeaderMap) -> Result<Response, Failure> {
    own_origin(&headers)?;
    ask(&node, Command::Stop).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The API is open to every program of the host, but not to web pages that a browser of the host shows.
fn own_origin(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Failure(StatusCode::FORBIDDEN, "requests of web pages are refused".to_owned()));
    }
    Ok(())
}
