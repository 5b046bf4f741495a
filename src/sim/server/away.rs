//! How requests end while the broker is away: a proxy's page, or the connection's end without
//! an answer. Not when it is away; that is `core`.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;

use actix_web::dev::Extensions;
use actix_web::{HttpRequest, HttpResponse};

use super::rest;
use crate::sim::answers::Answer;
use crate::sim::core::Away;

/// Another handle to a connection, because the server lets go of its own only with an answer.
struct Connection(TcpStream);

/// Remembers each connection with its requests.
pub(super) fn remember(io: &dyn Any, data: &mut Extensions) {
    let stream = io.downcast_ref::<actix_web::rt::net::TcpStream>();
    if let Some(Ok(handle)) = stream.map(|s| s.as_fd().try_clone_to_owned()) {
        data.insert(Connection(handle.into()));
    }
}

/// Ends a request.
pub(super) fn end(request: &HttpRequest, away: Away) -> HttpResponse {
    if away == Away::HangUp
        && let Some(connection) = request.conn_data::<Connection>()
    {
        // What is answered below goes nowhere.
        let _ = connection.0.shutdown(Shutdown::Both);
    }
    rest::refuse(Answer::unavailable(502))
}
